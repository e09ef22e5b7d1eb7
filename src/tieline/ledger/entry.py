"""Amounts, postings, entries, and the rule they keep: each commodity sums to zero.

2026-11-02  payout sim-fpps:2026-11-02T00Z:0
    Assets:Bitcoin:Treasury      0.42100000 BTC   {lot sim-fpps:..., cost 42,100.00 USD}
    Trading:Bitcoin             -0.42100000 BTC
    Trading:USD                   42,100.00 USD
    Income:Mining                -42,100.00 USD
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

Account = str  # colon-separated words; the first is one of ROOTS

ROOTS = ("Assets", "Liabilities", "Equity", "Income", "Expenses", "Trading")
BTC, USD = "BTC", "USD"

# Decimal places a commodity is counted in: the satoshi, the cent.
PLACES: dict[str, int] = {BTC: 8, USD: 2}


class EntryError(ValueError):
    """The entry breaks a rule; the message names the posting and the amount."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An exact number of one commodity, in no more decimals than the commodity has."""

    number: Decimal
    commodity: str

    def __post_init__(self) -> None:
        places = PLACES.get(self.commodity)
        if places is None:
            raise EntryError(f"commodity {self.commodity!r} is not known; known: {', '.join(PLACES)}")
        if not self.number.is_finite():
            raise EntryError(f"amount {self.number} {self.commodity} is not a number")
        exponent = self.number.as_tuple().exponent
        if not isinstance(exponent, int) or -exponent > places:
            raise EntryError(f"{self.number} {self.commodity} has more than {places} decimals; round it first")

    def __neg__(self) -> Amount:
        return Amount(-self.number, self.commodity)

    def __str__(self) -> str:
        return f"{self.number:,.{PLACES[self.commodity]}f} {self.commodity}"


def usd(value: Decimal | int | str) -> Amount:
    """Dollars, rounded to the cent (half to even): the one place where a dollar amount is rounded."""
    return Amount(Decimal(value).quantize(Decimal("0.01")), USD)


def btc(value: Decimal | str) -> Amount:
    """Bitcoin, exact; more than eight decimals are refused, not rounded."""
    return Amount(Decimal(value), BTC)


def btc_of_sats(sats: int) -> Amount:
    return Amount(Decimal(sats).scaleb(-8), BTC)


@dataclass(frozen=True, slots=True)
class Posting:
    """One line. A positive amount with `lot` opens that lot at `cost`; a negative amount of a commodity held in
    lots reduces lots, oldest first, or the named one."""

    account: Account
    amount: Amount
    lot: str | None = None
    cost: Amount | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened, in money. `key` is idempotent; `refs` are the keys of the records behind it."""

    at: datetime
    key: str
    narration: str
    postings: tuple[Posting, ...]
    refs: tuple[str, ...] = ()
    simulated: bool = False


def check(entry: Entry) -> None:
    """Raises EntryError unless accounts are well formed and every commodity sums to zero."""
    if len(entry.postings) < 2:
        raise EntryError(f"entry {entry.key}: needs at least two postings, has {len(entry.postings)}")
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for posting in entry.postings:
        root = posting.account.split(":", 1)[0]
        if root not in ROOTS or not all(posting.account.split(":")):
            raise EntryError(f"entry {entry.key}: account {posting.account!r} must start with {', '.join(ROOTS)}")
        if posting.cost is not None and posting.lot is None:
            raise EntryError(f"entry {entry.key}: {posting.account} has a cost but names no lot")
        sums[posting.amount.commodity] += posting.amount.number
    for commodity, total in sums.items():
        if total != 0:
            raise EntryError(f"entry {entry.key}: {commodity} sums to {total}, not to zero")
