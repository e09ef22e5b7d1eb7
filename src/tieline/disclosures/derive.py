"""Values that nobody printed but that follow from printed ones; marked as computed wherever they are shown.

Two rules only, both exact: a month is the quarter less its other two months; a month's closing is the next
month's closing less what was mined and bought, plus what was printed as sold (a sale that was not printed is
not zero, so nothing follows then).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from tieline.disclosures import periods
from tieline.disclosures.book import Book
from tieline.disclosures.claims import Claim, slack
from tieline.disclosures.verdict import show


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


def produced(book: Book, issuer: str, month: str) -> Term | None:
    """A month's production, printed or by the first rule."""
    found = printed(book.best(issuer, month, "btc_produced"))
    if found is not None or not periods.is_month(month):
        return found
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


def held(book: Book, issuer: str, month: str) -> Term | None:
    """A month's closing, printed or by the second rule."""
    found = printed(book.at_end(issuer, month, "btc_held_end"))
    if found is not None or not periods.is_month(month):
        return found
    after = periods.following(month)
    closing, sold = book.at_end(issuer, after, "btc_held_end"), book.best(issuer, after, "btc_sold")
    mined = book.best(issuer, after, "btc_produced")
    if closing is None or sold is None or mined is None:
        return None
    if book.best(issuer, after, "btc_equivalent_not_coins") is not None:
        return None
    bought = book.best(issuer, after, "btc_purchased")
    fees = book.best(issuer, after, "service_fee_btc")
    terms = [claim for claim in (closing, mined, sold, bought, fees) if claim is not None]
    value = closing.value - mined.value + sold.value
    value += fees.value if fees is not None else Decimal(0)
    value -= bought.value if bought is not None else Decimal(0)
    if value < 0:
        return None
    how = (
        f"{show(closing.value)} at the end of {after} - {show(mined.value)} mined + {show(sold.value)} sold "
        f"{'' if bought is None else f'- {show(bought.value)} bought '}"
        f"{'' if fees is None else f'+ {show(fees.value)} fees '}= {show(value)}"
    )
    return Term(value, sum((slack(claim) for claim in terms), Decimal(0)), tuple(terms), how)
