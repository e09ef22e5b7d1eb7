"""Values that nobody printed but that follow from printed ones; marked as computed wherever they are shown.

Coins by two rules only. A month is the quarter less its other two months. A month's closing is the next month's printed
opening, or lies between two printed closings that production alone connects: if opening + mined = closing over
the months between, nothing left, and each closing in between follows. Where a sale stands between, none does.

A price near a date comes from what miners themselves printed, for the light install knows no market feed: an average
sale price, proceeds over coins, and a receivable over the coins behind it. The nearest in time answers, and says whose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.claims import OF_THE_ISSUER, Claim, slack, total
from tieline.disclosures.facts.verdict import show

# Printed closings further apart than this leave room for coins that left and came back.
_REACH = 2
# Bitcoin moved by more than a third within two months in 2024 to 2026: an older price says too little.
_NEAR = timedelta(days=62)


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
    formula = f"{whole} of the quarter - {others[0]} - {others[1]}"
    return computed(formula, value, (whole, *others), slack=slack(whole, *others))


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


def _between(month: IssuerPeriod) -> Term | None:
    before = [month]
    while len(before) <= _REACH and before[0].before.at_end("btc_held_end") is None:
        before.insert(0, before[0].before)
    after = [month.after]
    while len(after) < _REACH and after[-1].at_end("btc_held_end") is None:
        after.append(after[-1].after)
    opening, closing = before[0].before.at_end("btc_held_end"), after[-1].at_end("btc_held_end")
    upto, whole = _mined(before), _mined([*before, *after])
    if opening is None or closing is None or upto is None or whole is None:
        return None
    connected, tolerance = opening.value + whole.value, slack(opening, closing) + whole.slack
    if abs(connected - closing.value) > tolerance or tolerance >= 1:
        return None
    value = opening.value + upto.value
    how = (
        f"{opening} + {whole.computed} = {show(connected)}; printed {closing} at the end of {after[-1].period}, "
        f"so nothing left: {show(value)} at the end of {month.period}"
    )
    return Term(value, (opening, *whole.claims, closing), how, tolerance)


def _mined(months: list[IssuerPeriod]) -> Term | None:
    """What months in a row produced together; None where one of them is not known."""
    terms = [term for month in months if (term := produced_in(month)) is not None]
    if len(terms) < len(months):
        return None
    claims = tuple(claim for term in terms for claim in term.claims)
    value, rounding = sum((term.value for term in terms), Decimal(0)), sum((term.slack for term in terms), Decimal(0))
    return Term(value, claims, " + ".join(map(str, terms)), rounding)


@dataclass(frozen=True)
class Price:
    at: datetime
    usd_per_btc: Decimal
    how: str
    """`294,648k / 2,583 of CLSK at 2025-09-30`"""
    claims: tuple[Claim, ...]

    def __str__(self) -> str:
        return f"US${show(self.usd_per_btc, 0)} ({self.how})"


def price_near(book: ClaimBook, period: str) -> Price | None:
    """The price nearest to a date, a month's end or a quarter's end; None where none is near enough."""
    _, moment = periods.window(period)
    near = [price for price in _prices(book) if abs(price.at - moment) <= _NEAR]
    return min(near, key=lambda price: (abs(price.at - moment), price.how), default=None)


@lru_cache(maxsize=8)
def _prices(book: ClaimBook) -> tuple[Price, ...]:
    return tuple(price for issuer in book.issuers for price in _prices_of(book, issuer) if price.usd_per_btc > 0)


def _prices_of(book: ClaimBook, issuer: str) -> Iterator[Price]:
    for period in book.periods(issuer):
        if not (periods.is_date(period) or periods.is_month(period)):
            continue
        here = IssuerPeriod(book, issuer, period)
        start, end = periods.window(period)
        # A date's value stands at its end; a month's average in its middle.
        at = end if periods.is_date(period) else start + (end - start) / 2
        if (pair := here.pair("receivable_kusd", "btc_receivable_from_collateral")) is not None:
            receivable, posted = pair
            how = f"{receivable}k / {posted} of {issuer} at {period}"
            yield Price(at, receivable.value * 1000 / posted.value, how, pair)
        proceeds = here.best("sale_proceeds_usd")
        sold = here.best("btc_sold") or here.best("btc_announced_sale")
        # Only what the issuer's text says of its own sale is a price; an article's may be the thing in doubt.
        if proceeds is not None and sold is not None and sold.value > 0 and proceeds.source_kind in OF_THE_ISSUER:
            how = f"{proceeds} / {sold} of {issuer} in {period}"
            yield Price(at, proceeds.value / sold.value, how, (proceeds, sold))
        elif (average := here.best("avg_sale_price_usd")) is not None:
            yield Price(at, average.value, f"{average} printed by {issuer} for {period}", (average,))
