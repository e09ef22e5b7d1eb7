"""A bitcoin price near a date, from what miners themselves printed.

Knows no market feed: the light install works alone. A printed average sale price, proceeds over coins, and a
receivable over the coins behind it are prices; the nearest in time answers, and says where it is from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod
from tieline.disclosures.facts.claims import OF_THE_ISSUER, Claim
from tieline.disclosures.facts.verdict import show

# Bitcoin moved by more than a third within two months in 2024 to 2026: an older price says too little.
REACH = timedelta(days=62)


@dataclass(frozen=True)
class Price:
    at: datetime
    usd_per_btc: Decimal
    how: str
    """`294,648k / 2,583 of CLSK at 2025-09-30`"""
    claims: tuple[Claim, ...]

    def __str__(self) -> str:
        return f"US${show(self.usd_per_btc, 0)} ({self.how})"


def price_near(book: ClaimBook, period: str, reach: timedelta = REACH) -> Price | None:
    """The price nearest to a date, a month's end or a quarter's end; None where none is near enough."""
    _, moment = periods.window(period)
    near = [price for price in _prices(book) if abs(price.at - moment) <= reach]
    return min(near, key=lambda price: (abs(price.at - moment), price.how), default=None)


@lru_cache(maxsize=8)
def _prices(book: ClaimBook) -> tuple[Price, ...]:
    prices = (price for issuer in book.issuers for price in _of_issuer(book, issuer))
    return tuple(price for price in prices if price.usd_per_btc > 0)


def _of_issuer(book: ClaimBook, issuer: str) -> Iterator[Price]:
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
        elif (printed := here.best("avg_sale_price_usd")) is not None:
            yield Price(at, printed.value, f"{printed} printed by {issuer} for {period}", (printed,))
