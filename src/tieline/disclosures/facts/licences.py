"""Licences: what must be proven from a text before a candidate becomes a fact.

Pure. Each licence is closed-world: proven, or missing. `period`, `window`, `subject`, `assertion` and `token` are
proven by the sentence or by the row and its headings; `plausible` by the chain and by what the issuer printed
elsewhere; `second voice`, which news and summaries need as well, by arithmetic that
the text prints beside the figure, by an equal claim in the book, or later by a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from tieline.disclosures.comparison.chain import Chain
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.claims import Claim, places, slack_of
from tieline.disclosures.facts.fact import Fact
from tieline.disclosures.facts.fields import RAN, SIGNED

NETWORK_SPREAD = Decimal("1.12")
"""Blocks of a month against the schedule: difficulty lags a growing network by up to a tenth."""
FEES, _HIGH_FEES = Decimal("1.1"), Decimal("1.4")
"""Fees over subsidy: at most a tenth in a month, but a third in those of inscriptions, May 2023 to June 2024."""
IMPLIED_SPREAD = Decimal("1.3")
"""A month's coins may imply at most this multiple of any hashrate that the issuer printed in half a year."""
SUPPLY = Decimal(21_000_000)
_HALF_YEAR = 6


def network_btc(period: str) -> Decimal:
    """The most that the whole network can have mined in a period, fees included."""
    start, end = periods.window(period)
    month = period[:7] if len(period) > 6 else f"{period[:4]}-01"
    subsidy = next(coins for since, coins in _SUBSIDIES if since <= month)
    fees = _HIGH_FEES if "2023-04" < period[:7] < "2024-07" else FEES
    return (end - start).days * 144 * subsidy * NETWORK_SPREAD * fees


_SUBSIDIES = (
    ("2024-05", Decimal("3.125")), ("2020-06", Decimal("6.25")), ("2016-08", Decimal("12.5")), ("", Decimal(50)),
)  # fmt: skip
"""From the first whole month after each halving; the month of a halving counts as before it."""


def implausible(fact: Fact, beside: Sequence[Fact], chain: Chain) -> str | None:
    """Why a figure cannot be; None where nothing speaks against it. `beside`: the issuer's other figures."""
    field, value = fact.field, fact.value
    if value < 0 and field not in SIGNED:
        return f"{fact.printed} is negative"
    if field in ("btc_produced", "ytd_btc", "hosted_btc_customers", "blocks_won") and not periods.is_date(fact.period):
        most = network_btc(fact.period if field != "ytd_btc" else fact.period[:4])
        if value > most:
            return f"{value:,f} is more than the whole network mined in {fact.period} (at most {most:,.0f})"
    if fact.unit == "BTC" and abs(value) > SUPPLY / 20:
        return f"{value:,f} BTC is more than any company has held"
    if field != "btc_produced" or not periods.is_month(fact.period):
        return None
    return (_beyond_machines(fact, beside, chain) if fact.scope is None else None) or _beyond_days(fact, beside)


def _beyond_machines(fact: Fact, beside: Sequence[Fact], chain: Chain) -> str | None:
    """Is a month's production more than the hashrate that the issuer prints could have made?"""
    per_ehs = chain.in_period(fact.period)
    near = [f for f in beside if abs(periods.months_between(f.period, fact.period)) <= _HALF_YEAR]
    rates = [f.value for f in near if f.field in RAN and f.scope is None]
    if not per_ehs or not rates or fact.value <= max(rates) * Decimal(repr(per_ehs)) * IMPLIED_SPREAD * FEES:
        return None
    implied = fact.value / Decimal(repr(per_ehs))
    printed = f"the issuer printed at most {max(rates):,f} in half a year"
    return f"{fact.value:,f} BTC would need {implied:,.1f} EH/s; {printed}"


def _beyond_days(fact: Fact, beside: Sequence[Fact]) -> str | None:
    """Is a month's production more than the issuer's own average of a day gives?"""
    for average in beside:
        if average.field == "avg_btc_per_day" and average.period == fact.period and average.scope is None:
            most = (average.value + slack_of(average)) * periods.days(fact.period) * Decimal("1.01")
            beyond = fact.value - slack_of(fact) > most
            return f"{fact.value:,f} is more than {average.value:,f} a day gives in {fact.period}" if beyond else None
    return None


def closures(facts: Sequence[Fact], text: str) -> set[tuple[str, str]]:
    """(period, field) of the figures that arithmetic printed in the same text confirms."""
    known = {(f.period, f.field): f for f in facts if f.scope is None}
    spoken: set[tuple[str, str]] = set()
    for (period, field), fact in known.items():
        if not periods.is_month(period):
            continue
        if field == "avg_btc_per_day" and (made := known.get((period, "btc_produced"))) is not None:
            days = periods.days(period)
            if abs(fact.value * days - made.value) <= slack_of(fact) * days + slack_of(made):
                spoken |= {(period, field), (period, "btc_produced")}
        if field in _CHANGING and (before := known.get((periods.previous(period), field))) is not None and before.value:
            change = (fact.value / before.value - 1) * 100
            if _prints_change(text, fact, before, change):
                spoken |= {(period, field), (before.period, field)}
        if field == "btc_held_end":
            spoken |= _roll_forward(known, period)
    return spoken


_CHANGING = ("btc_produced", "btc_held_end", "avg_btc_per_day", "avg_operating_ehs", "deployed_ehs", "btc_sold")
_CHANGE = re.compile(r"(?<![\d.,])(\d{1,3}(?:\.\d+)?)\s?(?:%|per ?cent)")


def _prints_change(text: str, fact: Fact, before: Fact, change: Decimal) -> bool:
    """Is the change between two figures printed near them, to the digit? A change under 1 % confirms nothing."""
    if abs(change) < 1 or fact.span is None or before.span is None:
        return False
    start, end = min(fact.span[0], before.span[0]), max(fact.span[1], before.span[1])
    if end - start > 400:
        return False
    for m in _CHANGE.finditer(text, max(0, start - 120), min(len(text), end + 160)):
        printed = Decimal(m[1])
        if abs(abs(change) - printed) <= Decimal(5).scaleb(-places(printed) - 1):
            return True
    return False


def _roll_forward(known: dict[tuple[str, str], Fact], period: str) -> set[tuple[str, str]]:
    """Opening + mined + bought - sold = closing, every part printed."""
    opening = known.get((periods.previous(period), "btc_held_end")) or known.get((period, "btc_open"))
    made, closing = known.get((period, "btc_produced")), known[(period, "btc_held_end")]
    sold, bought = known.get((period, "btc_sold")), known.get((period, "btc_purchased"))
    if opening is None or made is None:
        return set()
    computed = opening.value + made.value + (bought.value if bought else 0) - (sold.value if sold else 0)
    parts = [f for f in (opening, made, closing, sold, bought) if f is not None]
    if abs(computed - closing.value) > sum((slack_of(f) for f in parts), Decimal(0)):
        return set()
    return {(f.period, f.field) for f in parts}


def confirmed_by(fact: Fact, book: Iterable[Claim]) -> bool:
    """Does another source in the book state the same figure?"""
    about = (fact.issuer, fact.period, fact.field, fact.scope)
    same = (c.fact for c in book if (c.fact.issuer, c.fact.period, c.fact.field, c.fact.scope) == about)
    return any(abs(other.value - fact.value) <= min(slack_of(other), slack_of(fact)) for other in same)
