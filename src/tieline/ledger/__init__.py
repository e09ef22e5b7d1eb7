"""Double entry with lots; knows no mining.

Every entry sums to zero per commodity. What changes commodity passes through trading accounts, so that a
sale of bitcoin for dollars still balances in each. Amounts are exact decimals with the commodity's own
precision; nothing is rounded silently.
"""

from tieline.ledger.book import AlreadyBooked, Book, Booked, KnownBook
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
from tieline.ledger.journal import (
    EVER,
    Journal,
    JournalSpan,
    MemoryJournal,
    Slot,
    Turnover,
    known_of,
    lot_moves,
    summed,
    touches,
    under,
)
from tieline.ledger.lots import METHODS, POOL, LotHeld, LotPolicy, LotRule, Method, Taken, part_cost
from tieline.ledger.wire import pack, unpack

__all__ = [
    "BTC",
    "COMMODITIES",
    "EVER",
    "METHODS",
    "POOL",
    "USD",
    "Account",
    "AlreadyBooked",
    "Amount",
    "Book",
    "Booked",
    "Commodity",
    "Entry",
    "EntryError",
    "Journal",
    "JournalSpan",
    "KnownBook",
    "LotHeld",
    "LotPolicy",
    "LotRule",
    "MemoryJournal",
    "Method",
    "Posting",
    "ShortError",
    "Slot",
    "Taken",
    "Turnover",
    "btc",
    "btc_of_sats",
    "chain",
    "check",
    "digest",
    "known_of",
    "lot_moves",
    "mirrored",
    "money",
    "pack",
    "part_cost",
    "summed",
    "touches",
    "under",
    "unpack",
    "usd",
]
