"""Where a book's entries are kept: appended, never changed, read back by number, key, day and what was known.

`MemoryJournal` keeps them in lists; the store has one on disk. Both answer the same questions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Protocol

from tieline.ledger.entry import Account, Entry, chain
from tieline.ledger.lots import LotHeld

ZERO = Decimal(0)
Slot = tuple[Account, str]  # an account and what it counts


@dataclass(frozen=True, slots=True)
class JournalSpan:
    """Entries that belong to [start, end) and were known at `known`; None: no bound on that side."""

    start: datetime | None = None
    end: datetime | None = None
    known: datetime | None = None

    def holds(self, entry: Entry) -> bool:
        return (
            (self.end is None or entry.at < self.end)
            and (self.start is None or entry.at >= self.start)
            and (self.known is None or known_of(entry) <= self.known)
        )


EVER = JournalSpan()


@dataclass(frozen=True, slots=True)
class Turnover:
    """What came into and left an account on one day (UTC, its beginning), both positive."""

    account: Account
    commodity: str
    day: datetime
    came: Decimal
    left: Decimal


def known_of(entry: Entry) -> datetime:
    """When an entry was learned; where it does not say so, when it happened."""
    return entry.at if entry.known_at is None else entry.known_at


def under(account: Account, name: Account) -> bool:
    """Whether `name` is the account or lies under it."""
    return name == account or name.startswith(account + ":")


class Journal(Protocol):
    """What a book asks of where its entries are kept."""

    @property
    def entries(self) -> Sequence[Entry]:
        """All of them, in the order in which they were booked."""
        ...

    def count(self, known: datetime) -> int:
        """How many entries were known at a moment."""
        ...

    def append(self, entry: Entry) -> None: ...

    def digests(self, start: int = 0) -> Iterator[str]:
        """The digest of each entry from number `start` (from 0) on, each over the one before it."""
        ...

    def proven(self) -> Iterator[str]:
        """The digest of each entry, made anew from what is kept of it."""
        ...

    def verify(self) -> None:
        """Whether sums and pages are what they were made of; what raises is the keeper's own error."""
        ...

    def find(self, key: str) -> Entry | None: ...

    def between(self, span: JournalSpan, account: Account | None = None) -> Iterator[Entry]:
        """By month (UTC), in each in the order in which they were booked; with `account`, those that touch it or what
        is under it."""
        ...

    def newest(self, account: Account, before: int, limit: int) -> list[tuple[int, Entry]]:
        """At most so many entries with numbers (from 0) below `before`, the newest first: those that touch the account
        or what is under it; empty: all."""
        ...

    def changes(self, span: JournalSpan, account: Account | None = None) -> dict[Slot, Decimal]:
        """How each account moved; with `account`, that one and what is under it."""
        ...

    def turnover(self, account: Account, end: datetime) -> Iterator[Turnover]:
        """By day, of the account and what is under it, before `end`; a day may come in parts."""
        ...

    def lots(self, span: JournalSpan = EVER) -> Iterator[LotHeld]:
        """Lots of all accounts that what belongs to a span, as it was known, leaves open."""
        ...

    def placed(self, account: Account, lot: str, held: LotHeld | None) -> None:
        """What is left of a lot after the entry that was appended last."""
        ...


@dataclass(slots=True)
class _Month:
    """The entries of one month (UTC), and how each account moved in it."""

    entries: list[Entry] = field(default_factory=list)
    moved: dict[Slot, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


class MemoryJournal:
    """In memory, a list and sums by month."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._by_key: dict[str, Entry] = {}
        self._months: dict[str, _Month] = {}

    def count(self, known: datetime) -> int:
        return sum(known_of(entry) <= known for entry in self.entries)

    def append(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._by_key[entry.key] = entry
        name = _month_of(entry.at)
        month = self._months.get(name)
        if month is None:
            month = self._months[name] = _Month()
        month.entries.append(entry)
        for posting in entry.postings:
            month.moved[posting.account, posting.amount.commodity] += posting.amount.number

    def digests(self, start: int = 0) -> Iterator[str]:
        return islice(chain(self.entries), start, None)

    def proven(self) -> Iterator[str]:
        return chain(self.entries)

    def verify(self) -> None:
        """Nothing: what is in memory is what was put there."""

    def find(self, key: str) -> Entry | None:
        return self._by_key.get(key)

    def between(self, span: JournalSpan, account: Account | None = None) -> Iterator[Entry]:
        first = "" if span.start is None else _month_of(span.start)
        last = "9999-99" if span.end is None else _month_of(span.end)
        for name in sorted(name for name in self._months if first <= name <= last):
            for entry in self._months[name].entries:
                if span.holds(entry) and (account is None or touches(entry, account)):
                    yield entry

    def newest(self, account: Account, before: int, limit: int) -> list[tuple[int, Entry]]:
        numbers = range(min(before, len(self.entries)) - 1, -1, -1)
        numbered = ((n, self.entries[n]) for n in numbers if not account or touches(self.entries[n], account))
        return list(islice(numbered, limit))

    def changes(self, span: JournalSpan, account: Account | None = None) -> dict[Slot, Decimal]:
        """Whole months are summed already; of the others each entry is."""
        total: dict[Slot, Decimal] = defaultdict(Decimal)
        first = "" if span.start is None else _month_of(span.start)
        last = "9999-99" if span.end is None else _month_of(span.end)
        for name, month in self._months.items():
            if not first <= name <= last:
                continue
            if first < name < last and span.known is None:
                for slot, number in month.moved.items():
                    total[slot] += number
                continue
            for entry in filter(span.holds, month.entries):
                for posting in entry.postings:
                    total[posting.account, posting.amount.commodity] += posting.amount.number
        if account is None:
            return total
        return {slot: number for slot, number in total.items() if under(account, slot[0])}

    def turnover(self, account: Account, end: datetime) -> Iterator[Turnover]:
        for entry in sorted(self.between(JournalSpan(end=end), account), key=lambda one: one.at):
            day = entry.at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            for p in entry.postings:
                if under(account, p.account):
                    number = p.amount.number
                    yield Turnover(p.account, p.amount.commodity, day, max(number, ZERO), max(-number, ZERO))

    def lots(self, span: JournalSpan = EVER) -> Iterator[LotHeld]:
        """Summed from the moves of each, which carry cost and date."""
        return summed(move for entry in filter(span.holds, self.entries) for move in lot_moves(entry))

    def placed(self, account: Account, lot: str, held: LotHeld | None) -> None:
        """Nothing: lots are summed when they are asked for."""


def touches(entry: Entry, account: Account) -> bool:
    return any(under(account, posting.account) for posting in entry.postings)


def lot_moves(entry: Entry) -> Iterator[LotHeld]:
    """What an entry as it is booked adds to lots; negative what it takes from them."""
    for p in entry.postings:
        if p.lot is not None and p.cost is not None and p.acquired is not None:
            amount = p.amount
            yield LotHeld(
                p.lot, p.account, amount.commodity, amount.number, p.cost.number, p.cost.commodity, p.acquired
            )


def summed(moves: Iterator[LotHeld]) -> Iterator[LotHeld]:
    """Lots out of their moves; those of which nothing is left are none."""
    numbers: dict[tuple[Account, str, str], list[Decimal]] = {}
    newest: dict[tuple[Account, str, str], LotHeld] = {}
    for move in moves:
        key = move.account, move.lot, move.commodity
        known = numbers.setdefault(key, [Decimal(0), Decimal(0)])
        newest[key] = move  # a lot that was emptied may be opened again, at another date
        known[0] += move.number
        known[1] += move.cost
    for key, (number, cost) in numbers.items():
        if number:
            one = newest[key]
            yield LotHeld(one.lot, one.account, one.commodity, number, cost, one.cost_commodity, one.at)


def _month_of(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at.year:04}-{at.month:02}"
