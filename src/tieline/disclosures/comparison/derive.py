"""Values that nobody printed but that follow from printed ones; marked as computed wherever they are shown.

Two rules only. A month is the quarter less its other two months. A month's closing is the next month's printed
opening, or lies between two printed closings that production alone connects: if opening + mined = closing over
the months between, nothing left, and each closing in between follows. Where a sale stands between, none does.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, slack
from tieline.disclosures.facts.verdict import show

# Printed closings further apart than this leave room for coins that left and came back.
_REACH = 2


@dataclass(frozen=True)
class Term:
    """A value that goes into a sum: printed (one claim) or computed from printed ones."""

    value: Decimal
    slack: Decimal
    claims: tuple[Claim, ...]
    computed: str | None = None
    """How it was computed; None for a printed value."""


def printed(claim: Claim | None) -> Term | None:
    return None if claim is None else Term(claim.value, slack(claim), (claim,))


def produced(book: ClaimBook, issuer: str, month: str) -> Term | None:
    """A month's production, printed or by the first rule."""
    figure = printed(book.best(issuer, month, "btc_produced"))
    if figure is not None or not periods.is_month(month):
        return figure
    total = book.best(issuer, periods.quarter_of(month), "btc_produced")
    others = [
        claim
        for name in periods.months_of(periods.quarter_of(month))
        if name != month and (claim := book.best(issuer, name, "btc_produced")) is not None
    ]
    if total is None or len(others) != 2:
        return None
    value = total.value - others[0].value - others[1].value
    if value < 0:
        return None
    how = f"{show(total.value)} of the quarter - {show(others[0].value)} - {show(others[1].value)} = {show(value)}"
    return Term(value, slack(total) + slack(others[0]) + slack(others[1]), (total, *others), how)


def held(book: ClaimBook, issuer: str, month: str) -> Term | None:
    """A month's closing, printed or by the second rule."""
    figure = printed(book.at_end(issuer, month, "btc_held_end"))
    if figure is not None or not periods.is_month(month):
        return figure
    opened = printed(book.best(issuer, periods.following(month), "btc_open"))
    if opened is not None:
        return Term(opened.value, opened.slack, opened.claims, f"the next month opens with {show(opened.value)}")
    return _between(book, issuer, month)


def _sum(terms: list[Term]) -> Decimal:
    return sum((term.value for term in terms), Decimal(0))


def _between(book: ClaimBook, issuer: str, month: str) -> Term | None:
    before = [month]
    while len(before) <= _REACH and book.at_end(issuer, periods.previous(before[0]), "btc_held_end") is None:
        before.insert(0, periods.previous(before[0]))
    after = [periods.following(month)]
    while len(after) < _REACH and book.at_end(issuer, after[-1], "btc_held_end") is None:
        after.append(periods.following(after[-1]))
    opening = printed(book.at_end(issuer, periods.previous(before[0]), "btc_held_end"))
    closing = printed(book.at_end(issuer, after[-1], "btc_held_end"))
    if opening is None or closing is None:
        return None
    mined = list(filter(None, (produced(book, issuer, name) for name in (*before, *after))))
    if len(mined) < len(before) + len(after):
        return None
    total = opening.value + _sum(mined)
    tolerance = sum((term.slack for term in (opening, closing, *mined)), Decimal(0))
    if abs(total - closing.value) > tolerance or tolerance >= 1:
        return None
    value = opening.value + _sum(mined[: len(before)])
    how = (
        f"{show(opening.value)} + {' + '.join(show(term.value) for term in mined)} = {show(total)}; printed "
        f"{show(closing.value)} at the end of {after[-1]}, so nothing left: {show(value)} at the end of {month}"
    )
    return Term(value, tolerance, (opening.claims[0], *(c for t in mined for c in t.claims), closing.claims[0]), how)
