"""Double entry with lots; knows no mining.

Every entry sums to zero per commodity. What changes commodity passes through trading accounts, so that a
sale of bitcoin for dollars still balances in each. Amounts are exact decimals with the commodity's own
precision; nothing is rounded silently.
"""

from tieline.ledger.book import METHODS, AlreadyBooked, Book, Booked, LotHeld, Method
from tieline.ledger.entry import (
    BTC,
    COMMODITIES,
    USD,
    Account,
    Amount,
    Commodity,
    Entry,
    EntryError,
    Posting,
    ShortError,
    btc,
    btc_of_sats,
    chain,
    check,
    digest,
    mirrored,
    money,
    usd,
)

__all__ = [
    "BTC",
    "COMMODITIES",
    "METHODS",
    "USD",
    "Account",
    "AlreadyBooked",
    "Amount",
    "Book",
    "Booked",
    "Commodity",
    "Entry",
    "EntryError",
    "LotHeld",
    "Method",
    "Posting",
    "ShortError",
    "btc",
    "btc_of_sats",
    "chain",
    "check",
    "digest",
    "mirrored",
    "money",
    "usd",
]
