"""What a check found, with its computation in one line that a person can follow.

A verdict never changes a figure. `residual` is printed minus computed unless the check says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Literal

import msgspec

from tieline.disclosures.data import shipped_toml
from tieline.disclosures.facts.claims import Claim

Outcome = Literal["holds", "rounding", "explained", "differs", "open"]
"""holds: the computed value, rounded as printed, is the printed one.
rounding: they agree within the rounding of all printed numbers involved, or the printed one is cut off.
explained: they disagree as printed, and one rule accounts for all of it.
differs: they disagree.
open: what was printed does not settle it; the line shows what is left."""

_FILE = shipped_toml("checks.toml", dict[str, dict[str, Any]])
CHECKS: dict[str, str] = {check: findings.pop("rule") for check, findings in _FILE.items()}
"""What each check holds a figure against."""
FINDINGS: dict[str, dict[str, tuple[Outcome, str]]] = msgspec.convert(_FILE, dict[str, dict[str, tuple[Outcome, str]]])
"""What each check can find, by name: the outcome, and the sentence with its gaps."""


# A quotient of the largest value that is kept and the smallest has 27 digits before its point.
WIDE = Context(prec=100)


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
    finding: str,
    used: Sequence[Claim],
    computation: str,
    residual: Decimal | None = None,
    *,
    period: str | None = None,
    apart: str = "",
    **said: object,
) -> Verdict:
    """A finding about the first of the claims used, unless `period` says otherwise; `said` fills its sentence."""
    outcome, sentence = FINDINGS[check][finding]
    if residual is not None:
        said |= {"residual": show(residual), "off": show(abs(residual))}
    issuer, about = used[0].subject, period or used[0].fact.period
    return Verdict(
        id=f"{check}:{issuer}.{about}{'.' + apart if apart else ''}", check=check, issuer=issuer, period=about,
        outcome=outcome, computation=computation, says=sentence.format(**said), residual=residual,
        claims=tuple(claim.id for claim in used),
    )  # fmt: skip


def grade(residual: Decimal, tolerance: Decimal) -> Outcome:
    """Exactly alike, alike within the rounding of all that was printed, or not."""
    if residual == 0:
        return "holds"
    return "rounding" if abs(residual) <= tolerance else "differs"


def show(value: Decimal, places: int | None = None) -> str:
    """A number as people write it: `7,474.6`. As printed unless `places` is given."""
    return f"{value if places is None else round_to(value, places):,f}"


def addends(claims: Iterable[Claim]) -> str:
    """`310 + 295.5 + 301`, as printed."""
    return " + ".join(map(str, claims))


def millions(usd: Decimal, places: int | None = None) -> str:
    """`US$38.8m`."""
    return f"US${show(usd / 1_000_000, places)}m"


def round_to(value: Decimal, places: int) -> Decimal:
    """Half up, as people round; minus zero becomes zero."""
    rounded = value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, WIDE)
    return abs(rounded) if rounded == 0 else rounded


def signed(value: Decimal, places: int) -> str:
    rounded = round_to(value, places)
    return f"{'+' if rounded > 0 else ''}{rounded:,f}"
