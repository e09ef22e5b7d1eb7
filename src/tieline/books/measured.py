"""Bitcoin at a close: what it is carried at above or below its cost, as the policy has it.

US GAAP: to fair value through income (ASC 350-60-35-1). IFRS at cost: an impairment where fair value is below cost,
taken back up to cost (IAS 36.59, 36.117). IFRS at revalued amounts: a rise in other comprehensive income as far as it
does not take back a loss, a fall in profit or loss as far as no surplus bears it (IAS 38.85, 86); coins that were sold
since the last close take their revaluation with them, out of the gain, and their surplus to retained earnings (IAS
38.87, 38.113). Measured for the whole holding, claims to coins that a lender may sell included. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tieline.books.accounts import (
    COINS,
    COLLATERAL,
    FAIR_VALUE,
    IMPAIRED,
    IMPAIRMENT,
    KEPT_SURPLUS,
    REVALUED,
    REVALUED_BELOW,
    REVALUED_SOLD,
    SURPLUS,
    TRADING_USD,
    UNREALISED,
)
from tieline.books.policy import Measurement
from tieline.ledger import BTC, USD, Book, Entry, Posting, btc, usd

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class PricedClose:
    """A month's end with the price of bitcoin there."""

    end: datetime
    btc_usd: Decimal


@dataclass(frozen=True, slots=True)
class _HeldCoins:
    """What is held at a close: how much, its cost, its fair value."""

    coins: Decimal
    cost: Decimal
    fair: Decimal


def measured(
    book: Book, measurement: Measurement, close: PricedClose, before: PricedClose | None, name: str
) -> Entry | None:
    """The entry that takes bitcoin to what it is carried at; None where nothing changes under IFRS. `before`: the last
    close with a price; `name` is the month's."""
    end = close.end
    coins = book.change(COINS, BTC, None, end) + book.change(COLLATERAL, BTC, None, end)
    held = _HeldCoins(coins, book.change(TRADING_USD, USD, None, end), usd(coins * close.btc_usd).number)
    if measurement == "fair-value":
        change = held.fair - held.cost - book.change(FAIR_VALUE, USD, None, end)
        lines = [(FAIR_VALUE, change), (UNREALISED, -change)]
    elif measurement == "cost":
        change = min(ZERO, held.fair - held.cost) - book.change(IMPAIRED, USD, None, end)
        lines = [(IMPAIRED, change), (IMPAIRMENT, -change)] if change else []
    else:
        lines = _revalued(book, held, close, before)
    if not lines:
        return None
    words = f"{btc(coins)} at {close.btc_usd:,.2f} USD/BTC"
    at = end - timedelta(microseconds=1)
    return Entry(at, f"fair value|{name}", words, tuple(Posting(account, usd(n)) for account, n in lines))


def _revalued(
    book: Book, held: _HeldCoins, close: PricedClose, before: PricedClose | None
) -> list[tuple[str, Decimal]]:
    above, surplus = book.change(REVALUED, USD, None, close.end), -book.change(SURPLUS, USD, None, close.end)
    sold = ZERO if before is None else _revaluation_sold(book, before, close)
    relieved = min(surplus, max(sold, ZERO))
    lines = [(REVALUED, -sold), (REVALUED_SOLD, sold), (SURPLUS, relieved), (KEPT_SURPLUS, -relieved)]
    above, surplus = above - sold, surplus - relieved
    change = held.fair - held.cost - above
    lost = max(ZERO, surplus - above)  # of what is still held, in profit or loss before
    if change >= 0:
        back = min(change, lost)
        lines += [(REVALUED, change), (REVALUED_BELOW, -back), (SURPLUS, -(change - back))]
    else:
        borne = min(-change, surplus)
        lines += [(REVALUED, change), (SURPLUS, borne), (REVALUED_BELOW, -change - borne)]
    total: dict[str, Decimal] = defaultdict(Decimal)
    for account, number in lines:
        total[account] += number
    return [(account, number) for account, number in total.items() if number]


def _revaluation_sold(book: Book, before: PricedClose, close: PricedClose) -> Decimal:
    """By how much the coins that left since the last close had been revalued there: its price less their cost."""
    coins = cost = ZERO
    for account in (COINS, COLLATERAL):
        for entry in book.between(before.end, close.end, account):
            if account == COLLATERAL and any(p.account.startswith(f"{COINS}:") for p in entry.postings):
                continue  # seen under the coins
            for p in entry.postings:
                owned = p.account.startswith((f"{COINS}:", f"{COLLATERAL}:"))
                if owned and p.cost is not None and p.acquired is not None and p.acquired < before.end:
                    coins -= p.amount.number
                    cost -= p.cost.number
    return usd(coins * before.btc_usd - cost).number
