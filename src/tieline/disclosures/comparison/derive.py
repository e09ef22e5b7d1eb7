"""Values that nobody printed but that follow from printed ones; marked as computed wherever they are shown.

Two rules only. A month is the quarter less its other two months. A month's closing is the next month's printed
opening, or lies between two printed closings that production alone connects: if opening + mined = closing over
the months between, nothing left, and each closing in between follows. Where a sale stands between, none does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import Claim, slack, total
from tieline.disclosures.facts.verdict import show

# Printed closings further apart than this leave room for coins that left and came back.
_REACH = 2


@dataclass(frozen=True)
class Term:
    """A value that goes into a sum: printed (one claim) or computed from printed ones."""

    value: Decimal
    claims: tuple[Claim, ...]
    computed: str | None = None
    """How it was computed; None for a printed value."""
    slack: Decimal = Decimal(0)
    """How far the rounding of what was printed may carry it, where that matters."""

    def __str__(self) -> str:
        """As it stands in a computation: `310.5`."""
        return f"{self.value:,f}"


def printed(claim: Claim | None) -> Term | None:
    return None if claim is None else Term(claim.value, (claim,), slack=slack(claim))


def computed(
    formula: str, value: Decimal, claims: Iterable[Claim], after: str = "", *, slack: Decimal = Decimal(0)
) -> Term:
    """A value with the formula that gives it: `formula = value`, and what follows the value there."""
    return Term(value, tuple(claims), f"{formula} = {value:,f}{after}", slack)


def produced_in(month: IssuerPeriod) -> Term | None:
    """A month's production, printed or by the first rule."""
    figure = printed(month.best("btc_produced"))
    if figure is not None or not periods.is_month(month.period):
        return figure
    whole, others = month.quarter.best("btc_produced"), others_of_quarter(month)
    if whole is None or len(others) != 2:
        return None
    value = whole.value - total(others)
    if value < 0:
        return None
    how = f"{whole} of the quarter - {others[0]} - {others[1]} = {show(value)}"
    return Term(value, (whole, *others), how, slack(whole, *others))


def others_of_quarter(month: IssuerPeriod) -> list[Claim]:
    """The printed production of the quarter's other two months."""
    return [claim for other in month.quarter.months if other != month for claim in other.printed("btc_produced")]


def held_at(month: IssuerPeriod) -> Term | None:
    """A month's closing, printed or by the second rule."""
    figure = printed(month.at_end("btc_held_end"))
    if figure is not None or not periods.is_month(month.period):
        return figure
    opened = printed(month.after.best("btc_open"))
    if opened is not None:
        return replace(opened, computed=f"the next month opens with {opened}")
    return _between(month)


def _sum(terms: list[Term]) -> Decimal:
    return sum((term.value for term in terms), Decimal(0))


def _between(month: IssuerPeriod) -> Term | None:
    before = [month]
    while len(before) <= _REACH and before[0].before.at_end("btc_held_end") is None:
        before.insert(0, before[0].before)
    after = [month.after]
    while len(after) < _REACH and after[-1].at_end("btc_held_end") is None:
        after.append(after[-1].after)
    opening, closing = printed(before[0].before.at_end("btc_held_end")), printed(after[-1].at_end("btc_held_end"))
    if opening is None or closing is None:
        return None
    mined = list(filter(None, (produced_in(each) for each in (*before, *after))))
    if len(mined) < len(before) + len(after):
        return None
    connected = opening.value + _sum(mined)
    tolerance = sum((term.slack for term in (opening, closing, *mined)), Decimal(0))
    if abs(connected - closing.value) > tolerance or tolerance >= 1:
        return None
    value = opening.value + _sum(mined[: len(before)])
    how = (
        f"{opening} + {' + '.join(show(term.value) for term in mined)} = {show(connected)}; printed "
        f"{closing} at the end of {after[-1].period}, so nothing left: {show(value)} at the end of "
        f"{month.period}"
    )
    used = (claim for term in (opening, *mined, closing) for claim in term.claims)
    return Term(value, tuple(used), how, tolerance)
