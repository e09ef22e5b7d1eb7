"""Amounts, postings, entries, and the rule they keep: each commodity sums to zero.

2026-11-02  payout sim-fpps:2026-11-02T00Z:0
    Assets:Bitcoin:Treasury      0.42100000 BTC   {lot sim-fpps:..., cost 42,100.00 USD}
    Trading:Bitcoin             -0.42100000 BTC
    Trading:USD                   42,100.00 USD
    Income:Mining                -42,100.00 USD
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

Account = str  # colon-separated words; the first is one of ROOTS

ROOTS = ("Assets", "Liabilities", "Equity", "Income", "Expenses", "Trading")
BTC, USD = "BTC", "USD"


@dataclass(frozen=True, slots=True)
class Commodity:
    """What is counted, in how many decimals. `lots`: every amount of it that is owned lies in a lot."""

    name: str
    places: int
    lots: bool = False


# Open: a commodity is a row. No peg is assumed: a dollar token is not a dollar.
COMMODITIES: dict[str, Commodity] = {
    one.name: one
    for one in (
        Commodity(BTC, 8, lots=True),
        Commodity(USD, 2),
        Commodity("EUR", 2),
        Commodity("GBP", 2),
        Commodity("CAD", 2),
        Commodity("AED", 2),
        Commodity("HKD", 2),
        Commodity("CNY", 2),
        Commodity("SGD", 2),
        Commodity("JPY", 0),
        Commodity("USDT", 6),
        Commodity("USDC", 6),
    )
}


def declare(commodity: Commodity) -> None:
    """Make a commodity known, for good: amounts that were counted in its decimals stay. Raises ValueError where it is
    known with others, or its name or decimals cannot be."""
    name, known = commodity.name, COMMODITIES.get(commodity.name)
    if known is not None and known != commodity:
        raise ValueError(f"{name} is known already, in {known.places} decimals; leave it out or name another")
    if not re.fullmatch(r"[A-Z][A-Z0-9]{1,11}", name):
        raise ValueError(f"{name!r} is no commodity's name; write 2 to 12 capital letters and digits, like CHF")
    if not 0 <= commodity.places <= MOST_PLACES:
        raise ValueError(f"{name} in {commodity.places} decimals; give 0 to {MOST_PLACES}")
    COMMODITIES[name] = commodity


# Beyond it an amount of a million would have more digits than are counted with.
MOST_PLACES = 9
# Of an amount in units of its last decimal: four times all bitcoin there will be, a hundred trillion dollars, ten
# billion of a token with six decimals. Nine hundred such in one account and day can still be counted with (2^63).
MOST_DIGITS = 16


class EntryError(ValueError):
    """The entry breaks a rule; the message names the posting and the amount."""


class ShortError(EntryError):
    """An account or a lot holds less than is taken from it; what comes in later may cover it."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An exact number of one commodity, in no more decimals than the commodity has."""

    number: Decimal
    commodity: str

    def __post_init__(self) -> None:
        known = COMMODITIES.get(self.commodity)
        if known is None:
            raise EntryError(f"commodity {self.commodity!r} is not known; known: {', '.join(COMMODITIES)}")
        if not self.number.is_finite():
            raise EntryError(f"amount {self.number} {self.commodity} is not a number")
        exponent = self.number.as_tuple().exponent
        if not isinstance(exponent, int) or -exponent > known.places:
            raise EntryError(f"{self.number} {self.commodity} has more than {known.places} decimals; round it first")
        if not self.number and self.number.is_signed():  # what rounds to nothing from below is nothing
            object.__setattr__(self, "number", abs(self.number))

    def __neg__(self) -> Amount:
        return Amount(-self.number, self.commodity)

    def __str__(self) -> str:
        return f"{self.number:,.{COMMODITIES[self.commodity].places}f} {self.commodity}"


def money(value: Decimal | int | str, commodity: str = USD) -> Amount:
    """An amount rounded (half to even) to what its commodity is counted in."""
    known = COMMODITIES.get(commodity)
    if known is None:
        raise EntryError(f"commodity {commodity!r} is not known; known: {', '.join(COMMODITIES)}")
    number = Decimal(value)
    if not number.is_finite():
        raise EntryError(f"amount {number} {commodity} is not a number")
    return Amount(number.quantize(Decimal(1).scaleb(-known.places)), commodity)


def usd(value: Decimal | int | str) -> Amount:
    """Dollars, rounded to the cent (half to even): the one place where a dollar amount is rounded."""
    return money(value, USD)


def btc(value: Decimal | str) -> Amount:
    """Bitcoin, exact; more than eight decimals are refused, not rounded."""
    return Amount(Decimal(value), BTC)


def btc_of_sats(sats: int) -> Amount:
    return Amount(Decimal(sats).scaleb(-8), BTC)


@dataclass(frozen=True, slots=True)
class Posting:
    """One line. With `lot`, a positive amount opens that lot at `cost`, or comes back into it where `acquired` is the
    lot's own date; a negative one leaves it, with the part `-cost` of its cost (None: its share, to the cent).
    """

    account: Account
    amount: Amount
    lot: str | None = None
    cost: Amount | None = None
    acquired: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened, in money. `key` is idempotent; `refs` are the keys of the records behind it. `at` is the day it
    belongs to, `known_at` when it was learned (None: at once). `reverses` is the key of the entry it takes back."""

    at: datetime
    key: str
    narration: str
    postings: tuple[Posting, ...]
    refs: tuple[str, ...] = ()
    simulated: bool = False
    known_at: datetime | None = None
    reverses: str | None = None


def check(entry: Entry) -> None:
    """Raises EntryError unless accounts are well formed, every commodity sums to zero, and what is owned of a
    commodity with lots lies in one."""
    if len(entry.postings) < 2:
        raise EntryError(f"entry {entry.key}: needs at least two postings, has {len(entry.postings)}")
    if entry.at.tzinfo is None:
        raise EntryError(f"entry {entry.key}: its time {entry.at.isoformat()} has no zone; write it with its offset")
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for posting in entry.postings:
        wrong = _wrong_posting(posting)
        if wrong:
            raise EntryError(f"entry {entry.key}: {wrong}")
        sums[posting.amount.commodity] += posting.amount.number
    for commodity, total in sums.items():
        if total != 0:
            raise EntryError(f"entry {entry.key}: {commodity} sums to {total}, not to zero")


def _wrong_posting(posting: Posting) -> str:
    """What is wrong with a line by itself; empty: nothing."""
    amount, counted = posting.amount, COMMODITIES[posting.amount.commodity]
    if amount.number.adjusted() + counted.places >= MOST_DIGITS:
        return f"{amount} in {posting.account} is out of all bounds"
    parts = posting.account.split(":")
    if parts[0] not in ROOTS or not all(parts):
        return f"account {posting.account!r} must start with {', '.join(ROOTS)}"
    if posting.lot is None:
        if posting.cost is not None:
            return f"{posting.account} has a cost but names no lot"
        owned = parts[0] == "Assets" and counted.lots
        return f"{amount} in {posting.account} names no lot; say which" if owned else ""
    return f"lot {posting.lot} of {posting.account} moves by nothing" if amount.number == 0 else ""


def mirrored(entry: Entry, key: str, narration: str, at: datetime, known_at: datetime) -> Entry:
    """The entry that takes `entry` back: each posting negated, lots and their dates as they were. Every lot posting of
    `entry` must carry its cost and date, as those in a book do."""
    postings = tuple(
        Posting(p.account, -p.amount, p.lot, None if p.cost is None else -p.cost, p.acquired) for p in entry.postings
    )
    return Entry(at, key, narration, postings, entry.refs, entry.simulated, known_at, entry.key)


def digest(entry: Entry, before: str = "") -> str:
    """SHA-256 (hex) over an entry and the digest of the one before it: a chain that no entry can leave unseen."""
    sha = hashlib.sha256()
    known = "" if entry.known_at is None else entry.known_at.astimezone(UTC).isoformat()
    head = (
        before,
        entry.at.astimezone(UTC).isoformat(),
        known,
        entry.key,
        entry.narration,
        *entry.refs,
        str(entry.simulated),
    )
    for part in (*head, entry.reverses or ""):
        sha.update(part.encode() + b"\0")
    for p in entry.postings:
        sha.update(f"{p.account}\0{p.amount}\0{p.lot or ''}\0{p.cost or ''}\0{_utc(p.acquired)}\0".encode())
    return sha.hexdigest()


def _utc(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat()


def chain(entries: Iterable[Entry]) -> Iterator[str]:
    """The digest of each entry, each over the one before it."""
    last = ""
    for entry in entries:
        last = digest(entry, last)
        yield last
