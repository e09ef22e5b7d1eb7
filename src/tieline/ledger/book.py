"""The book: a fold of entries into balances and lots.

Booking an entry twice changes nothing and says so. Lots open with a cost and a date; which leave first is the
book's method. The cost that leaves with a part of a lot is its share, rounded to the cent, and what remains keeps
the rest, so no cent is lost over the life of a lot. The lots of an account always sum to its balance.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal

from tieline.ledger.entry import COMMODITIES, Account, Amount, Entry, EntryError, Posting, ShortError, check

Method = Literal["fifo", "lifo", "hifo", "average"]
METHODS: tuple[Method, ...] = ("fifo", "lifo", "hifo", "average")


@dataclass(frozen=True, slots=True)
class LotHeld:
    """What is left of a lot: `number` of a commodity acquired at `at`, which cost `cost` in all."""

    lot: str
    account: Account
    commodity: str
    number: Decimal
    cost: Decimal
    cost_commodity: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Booked:
    entry: Entry


@dataclass(frozen=True, slots=True)
class AlreadyBooked:
    """The same key was booked before; if its content differs, `conflict` says so and the first stands."""

    entry: Entry
    conflict: bool


@dataclass(slots=True)
class _Month:
    """The entries of one month (UTC), and how each account moved in it."""

    entries: list[Entry] = field(default_factory=list)
    moved: dict[tuple[Account, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))


Slot = tuple[Account, str]
Taken = tuple[LotHeld, Decimal, Decimal]  # the lot, how much of it, and what that cost


class Book:
    """Balances and lots after the entries booked so far. `method`: which lots leave first where none is named; oldest,
    newest, dearest, or of each the same share (the average)."""

    def __init__(self, entries: Iterable[Entry] = (), method: Method = "fifo") -> None:
        self.method = method
        self.entries: list[Entry] = []
        self._by_key: dict[str, Entry] = {}
        self._balances: dict[tuple[Account, str], Decimal] = defaultdict(Decimal)
        self._lots: dict[Account, dict[str, LotHeld]] = defaultdict(dict)
        self._dated: dict[Account, list[tuple[datetime, str]]] = defaultdict(list)
        self._months: dict[str, _Month] = defaultdict(_Month)
        for entry in entries:
            self.book(entry)

    def book(self, entry: Entry) -> Booked | AlreadyBooked:
        """Check and apply one entry; it is kept with the cost and date of each lot it touched. Raises EntryError
        (nothing is applied) when it breaks a rule, ShortError when it takes more from a lot than it holds."""
        before = self._by_key.get(entry.key)
        if before is not None:
            return AlreadyBooked(before, conflict=not _same(before, entry))
        check(entry)
        moved: dict[Slot, LotHeld | None] = {}
        postings = tuple(p if p.lot is None else self._move(entry, p, moved) for p in entry.postings)
        entry = replace(entry, postings=postings)
        for (account, lot), held in moved.items():
            self._place(account, lot, held)
        month = self._months[entry.at.astimezone(UTC).strftime("%Y-%m")]
        month.entries.append(entry)
        for posting in postings:
            key = posting.account, posting.amount.commodity
            self._balances[key] += posting.amount.number
            month.moved[key] += posting.amount.number
        self._by_key[entry.key] = entry
        self.entries.append(entry)
        return Booked(entry)

    def _move(self, entry: Entry, posting: Posting, moved: dict[Slot, LotHeld | None]) -> Posting:
        """The posting with its lot's cost and date; `moved` then holds the lot as it is afterwards."""
        assert posting.lot is not None
        slot = (posting.account, posting.lot)
        held = moved[slot] if slot in moved else self._lots.get(posting.account, {}).get(posting.lot)
        number, cost = posting.amount.number, posting.cost
        where = f"entry {entry.key}: lot {posting.lot}"
        if number > 0:
            if cost is None:
                raise EntryError(f"{where} opens without a cost")
            acquired = posting.acquired or entry.at
            if held is None:
                of = posting.amount.commodity
                moved[slot] = LotHeld(posting.lot, posting.account, of, number, cost.number, cost.commodity, acquired)
            elif posting.acquired != held.at or held.cost_commodity != cost.commodity:
                raise EntryError(f"{where} is already open in {posting.account}")
            else:
                moved[slot] = replace(held, number=held.number + number, cost=held.cost + cost.number)
            return replace(posting, acquired=acquired)
        if held is None or held.number < -number or held.commodity != posting.amount.commodity:
            has = "nothing" if held is None else f"{held.number} {held.commodity}"
            raise ShortError(
                f"entry {entry.key}: takes {-number} from lot {posting.lot} of {posting.account}, which holds {has}"
            )
        part = part_cost(held, -number) if cost is None else -cost.number
        left = held.number + number
        if left == 0 and part != held.cost:
            raise EntryError(f"{where} leaves {posting.account} whole but without {held.cost - part} of its cost")
        moved[slot] = None if left == 0 else replace(held, number=left, cost=held.cost - part)
        return replace(posting, cost=Amount(-part, held.cost_commodity), acquired=held.at)

    def _place(self, account: Account, lot: str, held: LotHeld | None) -> None:
        lots, dated = self._lots[account], self._dated[account]
        was = lots.get(lot)
        if was is not None and held is None:
            del dated[bisect_left(dated, (was.at, lot))]
            del lots[lot]
        elif held is not None:
            if was is None:
                insort(dated, (held.at, lot))
            lots[lot] = held

    def booked(self, key: str) -> Entry | None:
        """The entry of a key, as it was booked."""
        return self._by_key.get(key)

    def balance(self, account: Account, commodity: str, before: datetime | None = None) -> Decimal:
        """Of the account and everything under it; with `before`, of what belongs to earlier moments."""
        below = account + ":"
        if before is not None:
            return self.change(account, commodity, None, before)
        return sum(
            (n for (a, c), n in self._balances.items() if c == commodity and (a == account or a.startswith(below))),
            Decimal(0),
        )

    def change(self, account: Account, commodity: str, start: datetime | None, end: datetime) -> Decimal:
        """How the account and everything under it moved over [start, end); without `start`, since ever."""
        below = account + ":"
        return sum(
            (
                number
                for (name, counted), number in self.changes(start, end).items()
                if counted == commodity and (name == account or name.startswith(below))
            ),
            Decimal(0),
        )

    def changes(self, start: datetime | None, end: datetime) -> dict[tuple[Account, str], Decimal]:
        """How every account moved over [start, end). Whole months are summed already; of the others each entry is."""
        total: dict[tuple[Account, str], Decimal] = defaultdict(Decimal)
        first = "" if start is None else start.astimezone(UTC).strftime("%Y-%m")
        last = end.astimezone(UTC).strftime("%Y-%m")
        for name, month in self._months.items():
            if not first <= name <= last:
                continue
            if first < name < last:
                for key, number in month.moved.items():
                    total[key] += number
                continue
            for entry in month.entries:
                if entry.at < end and (start is None or entry.at >= start):
                    for posting in entry.postings:
                        total[posting.account, posting.amount.commodity] += posting.amount.number
        return total

    def between(self, start: datetime, end: datetime) -> Iterator[Entry]:
        """Entries that belong to [start, end), month by month, each in the order in which they were booked."""
        first, last = (moment.astimezone(UTC).strftime("%Y-%m") for moment in (start, end))
        for name in sorted(name for name in self._months if first <= name <= last):
            yield from (entry for entry in self._months[name].entries if start <= entry.at < end)

    def balances(self) -> dict[tuple[Account, str], Decimal]:
        """Every account that is not empty, sorted."""
        return {key: number for key, number in sorted(self._balances.items()) if number != 0}

    def lots(self, account: Account) -> list[LotHeld]:
        """Open lots of one account, oldest first."""
        held = self._lots.get(account, {})
        return [held[lot] for _, lot in self._dated.get(account, [])]

    def places(self, lot: str) -> list[LotHeld]:
        """The parts of one lot, in each account that holds some of it."""
        return [held[lot] for _, held in sorted(self._lots.items()) if lot in held]

    def pick(self, account: Account, amount: Amount, named: tuple[str, ...] = ()) -> list[Taken]:
        """(lot, number taken, its cost) that covers `amount` by the book's method, or from the lots `named` in their
        order. Raises ShortError when those do not hold that much, EntryError for a name that is no lot there."""
        need, taken = amount.number, []
        if self.method == "average" and not named:
            return self._share_of_each(account, amount)
        for held in self._leaving(account, named):
            if need <= 0:
                break
            if held.commodity != amount.commodity:
                continue
            part = min(need, held.number)
            taken.append((held, part, part_cost(held, part)))
            need -= part
        if need > 0:
            raise ShortError(f"{account} holds {Amount(amount.number - need, amount.commodity)}, not {amount}")
        return taken

    def _leaving(self, account: Account, named: tuple[str, ...]) -> Iterator[LotHeld]:
        held, dated = self._lots.get(account, {}), self._dated.get(account, [])
        if named:
            missing = [lot for lot in named if lot not in held]
            if missing:
                raise EntryError(f"{account} holds no lot {missing[0]!r}; `tieline books lots` lists what it holds")
            return iter([held[lot] for lot in named])
        if self.method == "hifo":
            return iter(sorted(held.values(), key=lambda one: (-one.cost / one.number, one.at, one.lot)))
        order = reversed(dated) if self.method == "lifo" else iter(dated)
        return (held[lot] for _, lot in order)

    def _share_of_each(self, account: Account, amount: Amount) -> list[Taken]:
        lots = [held for held in self.lots(account) if held.commodity == amount.commodity]
        whole = sum((held.number for held in lots), Decimal(0))
        if whole < amount.number:
            raise ShortError(f"{account} holds {Amount(whole, amount.commodity)}, not {amount}")
        unit = Decimal(1).scaleb(-COMMODITIES[amount.commodity].places)
        parts = [(held.number * amount.number / whole).quantize(unit, ROUND_FLOOR) for held in lots]
        rest = amount.number - sum(parts, Decimal(0))
        for index, held in enumerate(lots):  # what rounding left over, from the oldest that hold it
            more = min(rest, held.number - parts[index])
            parts[index], rest = parts[index] + more, rest - more
        return [(held, part, part_cost(held, part)) for held, part in zip(lots, parts, strict=True) if part]

    def imbalance(self) -> dict[str, Decimal]:
        """Sum of all balances per commodity; empty when the book closes (it always must)."""
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for (_, commodity), number in self._balances.items():
            sums[commodity] += number
        return {commodity: total for commodity, total in sums.items() if total != 0}


def part_cost(held: LotHeld, part: Decimal) -> Decimal:
    """Cost that leaves with `part` of a lot: its share to what the cost is counted in; all of it with the whole lot."""
    if part == held.number:
        return held.cost
    unit = Decimal(1).scaleb(-COMMODITIES[held.cost_commodity].places)
    return (held.cost * part / held.number).quantize(unit, rounding=ROUND_HALF_EVEN)


def _same(booked: Entry, entry: Entry) -> bool:
    """Whether they say the same; a booked entry knows the cost and date of lots that the other may leave open."""
    if replace(booked, postings=()) != replace(entry, postings=()) or len(booked.postings) != len(entry.postings):
        return False
    return all(
        (a.account, a.amount, a.lot) == (b.account, b.amount, b.lot)
        and (b.cost is None or a.cost == b.cost)
        and (b.acquired is None or a.acquired == b.acquired)
        for a, b in zip(booked.postings, entry.postings, strict=True)
    )
