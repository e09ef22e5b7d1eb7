"""Double entry with lots; knows no mining.

Every entry sums to zero per commodity. What changes commodity passes through trading accounts, so that a
sale of bitcoin for dollars still balances in each. Amounts are exact decimals with the commodity's own
precision; nothing is rounded silently.
"""

from tieline.ledger.book import AlreadyBooked, Book, Booked, LotHeld
from tieline.ledger.entry import (
    BTC,
    USD,
    Account,
    Amount,
    Entry,
    EntryError,
    Posting,
    btc,
    btc_of_sats,
    check,
    usd,
)

__all__ = [
    "BTC",
    "USD",
    "Account",
    "AlreadyBooked",
    "Amount",
    "Book",
    "Booked",
    "Entry",
    "EntryError",
    "LotHeld",
    "Posting",
    "btc",
    "btc_of_sats",
    "check",
    "usd",
]
