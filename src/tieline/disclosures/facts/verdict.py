"""What a check found, with its computation in one line that a person can follow.

A verdict never changes a figure. `residual` is printed minus computed unless the check says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import msgspec

from tieline.disclosures.facts.claims import Claim

Outcome = Literal["holds", "rounding", "explained", "differs", "open"]
"""holds: the computed value, rounded as printed, is the printed one.
rounding: they agree within the rounding of all printed numbers involved, or the printed one is cut off.
explained: they disagree as printed, and one rule accounts for all of it.
differs: they disagree.
open: what was printed does not settle it; the line shows what is left."""

Judged = tuple[Outcome, str, str]
"""An outcome, its computation in one line, and what it says."""

CHECKS: dict[str, str] = {
    "average": "average per day x days = produced",
    "growth": "printed change = this month / the month before - 1",
    "quarter": "the months of a quarter add up to the quarter",
    "roll-forward": "opening + produced + bought - sold - fees = closing; residual > 0 left the balance unexplained",
    "quarter-roll-forward": "the same over a quarter, with sales printed or announced",
    "announced-sale": "holding before an announced sale - coins sold = holding after it",
    "proceeds": "coins sold x price = proceeds",
    "held": "held = on the balance sheet or free + pledged, restricted or posted",
    "collateral": "receivable for collateral / price = coins posted, against coins held",
    "parts": "the parts of a total add up to it",
    "month-end": "a month's figure and the figure at its last day agree",
    "claims": "two sources print one figure alike; else which of them the arithmetic supports",
    "restated": "a figure printed again later is the same",
    "date": "a document comes out after the period it reports",
    "chain": "produced / (average operating hashrate x subsidy per EH/s) = fees x pool fee, luck and measurement",
    "deployed": "produced at deployed hashrate is not above what the chain pays",
    "loan": "loan / (coins x price) = printed loan to value",
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One check of one figure or group of figures."""

    id: str
    """Permanent: the check, the figure's issuer and period, and what else sets it apart."""
    check: str
    issuer: str
    period: str
    outcome: Outcome
    computation: str
    says: str
    residual: Decimal | None = None
    claims: tuple[str, ...] = ()
    """Ids of the claims that went in."""


def verdict(
    check: str,
    used: Sequence[Claim],
    outcome: Outcome,
    computation: str,
    says: str,
    residual: Decimal | None = None,
    *,
    period: str | None = None,
    apart: str = "",
) -> Verdict:
    """A verdict on the first of the claims used, unless `period` says otherwise."""
    assert check in CHECKS, f"no check is called {check!r}"
    fact = used[0].fact
    issuer, about = fact.issuer or "unknown", period or fact.period
    return Verdict(
        id=f"{check}:{issuer}.{about}{'.' + apart if apart else ''}",
        check=check,
        issuer=issuer,
        period=about,
        outcome=outcome,
        computation=computation,
        says=says,
        residual=residual,
        claims=tuple(claim.id for claim in used),
    )


def grade(residual: Decimal, tolerance: Decimal) -> Outcome:
    """Exactly alike, alike within the rounding of all that was printed, or not."""
    if residual == 0:
        return "holds"
    return "rounding" if abs(residual) <= tolerance else "differs"


def show(value: Decimal | float, places: int | None = None) -> str:
    """A number as people write it: `7,474.6`. Decimals as printed unless `places` is given."""
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if places is not None:
        number = round_to(number, places)
    return f"{number:,f}"


def addends(claims: Iterable[Claim]) -> str:
    """`310 + 295.5 + 301`, as printed."""
    return " + ".join(show(claim.value) for claim in claims)


def millions(usd: Decimal, places: int | None = None) -> str:
    """`US$38.8m`."""
    return f"US${show(usd / 1_000_000, places)}m"


def round_to(value: Decimal, places: int) -> Decimal:
    """Half up, as people round; minus zero becomes zero."""
    rounded = value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return abs(rounded) if rounded == 0 else rounded


def signed(value: Decimal, places: int) -> str:
    rounded = round_to(value, places)
    return f"{'+' if rounded > 0 else ''}{rounded:,f}"
