"""The book: entries checked and appended, and the balances and lots that they come to.

Booking an entry twice changes nothing and says so. Lots open with a cost and a date; which leave first is the policy's
matter. The cost that leaves with a part of a lot is its share, rounded to the cent, and what remains keeps the rest, so
no cent is lost over the life of a lot. The lots of an account always sum to its balance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from tieline.ledger.entry import Account, Amount, Entry, EntryError, Posting, ShortError, check
from tieline.ledger.journal import Journal, JournalSpan, MemoryJournal, Slot, Turnover, under
from tieline.ledger.lots import POOL, LotHeld, LotPolicy, Lots, Method, Taken, part_cost, pool_name


@dataclass(frozen=True, slots=True)
class Booked:
    entry: Entry


@dataclass(frozen=True, slots=True)
class AlreadyBooked:
    """The same key was booked before; if its content differs, `conflict` says so and the first stands."""

    entry: Entry
    conflict: bool


_LotSlot = tuple[Account, str]  # an account and a lot


class Book:
    """Balances and lots after the entries booked so far. They are read from the `journal` once, which may hold entries
    already; from then on each entry moves them."""

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        method: Method = "fifo",
        *,
        policy: LotPolicy | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.journal: Journal = MemoryJournal() if journal is None else journal
        self._balances: dict[Slot, Decimal] = defaultdict(Decimal)
        self._balances.update(self.journal.changes(JournalSpan()))
        self._lots = Lots(policy or LotPolicy(method), self.journal.lots())
        for entry in entries:
            self.book(entry)

    @property
    def policy(self) -> LotPolicy:
        """Which lots leave first; one that is set holds for what is booked from then on."""
        return self._lots.policy

    @policy.setter
    def policy(self, policy: LotPolicy) -> None:
        self._lots.choose(policy)

    @property
    def entries(self) -> Sequence[Entry]:
        """Every entry, in the order in which they were booked."""
        return self.journal.entries

    def book(self, entry: Entry) -> Booked | AlreadyBooked:
        """Check and apply one entry; it is kept with the cost and date of each lot it touched. Raises EntryError
        (nothing is applied) when it breaks a rule, ShortError when it takes more from a lot than it holds."""
        before = self.journal.find(entry.key)
        if before is not None:
            return AlreadyBooked(before, conflict=not _same(before, entry))
        check(entry)
        moved: dict[_LotSlot, LotHeld | None] = {}
        postings = entry.postings
        if any(p.lot is not None for p in postings):
            postings = tuple(p if p.lot is None else self._move(entry, p, moved) for p in postings)
            entry = replace(entry, postings=postings)
        self.journal.append(entry)
        for (account, lot), held in moved.items():
            self._lots.place(account, lot, held)
            self.journal.placed(account, lot, held)
        for posting in postings:
            self._balances[posting.account, posting.amount.commodity] += posting.amount.number
        return Booked(entry)

    def _move(self, entry: Entry, posting: Posting, moved: dict[_LotSlot, LotHeld | None]) -> Posting:
        """The posting with its lot's cost and date; `moved` then holds the lot as it is afterwards."""
        assert posting.lot is not None
        if posting.amount.number > 0:
            return self._into(entry, self._pooled(entry, posting, moved), moved)
        slot = (posting.account, posting.lot)
        held = moved[slot] if slot in moved else self._lots.get(*slot)
        number, cost = posting.amount.number, posting.cost
        if held is None or held.number < -number or held.commodity != posting.amount.commodity:
            has = "nothing" if held is None else Amount(held.number, held.commodity)
            raise ShortError(
                f"entry {entry.key}: lot {posting.lot} of {posting.account} holds {has}, "
                f"and {-posting.amount} is taken from it"
            )
        part = part_cost(held, -number) if cost is None else -cost.number
        left, rest = held.number + number, held.cost - part
        if (left == 0 and rest != 0) or rest < 0:
            raise EntryError(
                f"entry {entry.key}: lot {posting.lot} leaves {posting.account} "
                + (f"whole but without {rest} of its cost" if left == 0 else f"with {-rest} more than it cost")
            )
        moved[slot] = None if left == 0 else replace(held, number=left, cost=rest)
        return replace(posting, cost=Amount(-part, held.cost_commodity), acquired=held.at)

    def _into(self, entry: Entry, posting: Posting, moved: dict[_LotSlot, LotHeld | None]) -> Posting:
        """A lot that opens, or comes back into what is left of it."""
        assert posting.lot is not None
        slot = (posting.account, posting.lot)
        held = moved[slot] if slot in moved else self._lots.get(*slot)
        number, cost = posting.amount.number, posting.cost
        if cost is None:
            raise EntryError(f"entry {entry.key}: lot {posting.lot} opens without a cost")
        acquired = posting.acquired or entry.at
        if held is None:
            of = posting.amount.commodity
            moved[slot] = LotHeld(posting.lot, posting.account, of, number, cost.number, cost.commodity, acquired)
        elif posting.acquired != held.at or held.cost_commodity != cost.commodity:
            raise EntryError(f"entry {entry.key}: lot {posting.lot} is already open in {posting.account}")
        else:
            moved[slot] = replace(held, number=held.number + number, cost=held.cost + cost.number)
        return posting if posting.acquired == acquired else replace(posting, acquired=acquired)

    def _pooled(self, entry: Entry, posting: Posting, moved: dict[_LotSlot, LotHeld | None]) -> Posting:
        """What comes into an account that is counted at the average joins its pool, or opens it."""
        account, commodity = posting.account, posting.amount.commodity
        if self.policy.method(account, commodity, entry.at) != "average":
            return posting
        pool = self._lots.pool(account, commodity)
        if pool is not None and moved.get((account, pool.lot), pool) is not None:
            return replace(posting, lot=pool.lot, acquired=pool.at)
        opened = next((one for (place, _), one in moved.items() if place == account and one is not None), None)
        if opened is not None and opened.lot == pool_name(account, opened.at):
            return replace(posting, lot=opened.lot, acquired=opened.at)
        acquired = posting.acquired or entry.at
        return replace(posting, lot=pool_name(account, acquired), acquired=acquired)

    def booked(self, key: str) -> Entry | None:
        """The entry of a key, as it was booked."""
        return self.journal.find(key)

    def balance(
        self, account: Account, commodity: str, before: datetime | None = None, known: datetime | None = None
    ) -> Decimal:
        """Of the account and everything under it; with `before`, of what belongs to earlier moments; with `known`, as
        it was known then."""
        if before is None and known is None:
            return _sum_of(self._balances, account, commodity)
        return _sum_of(self.journal.changes(JournalSpan(None, before, known), account), account, commodity)

    def change(self, account: Account, commodity: str, start: datetime | None, end: datetime) -> Decimal:
        """How the account and everything under it moved over [start, end); without `start`, since ever."""
        return _sum_of(self.journal.changes(JournalSpan(start, end), account), account, commodity)

    def changes(self, start: datetime | None, end: datetime) -> dict[Slot, Decimal]:
        """How every account moved over [start, end)."""
        return self.journal.changes(JournalSpan(start, end))

    def between(self, start: datetime, end: datetime, account: Account | None = None) -> Iterator[Entry]:
        """Entries that belong to [start, end), month by month, each in the order in which they were booked; with
        `account`, those that touch it or what is under it."""
        return self.journal.between(JournalSpan(start, end), account)

    def newest(self, account: Account, before: int, limit: int) -> list[tuple[int, Entry]]:
        """(number from 0, entry): at most so many below `before` that touch the account (empty: all), newest first."""
        return self.journal.newest(account, before, limit)

    def turnover(self, account: Account, end: datetime) -> Iterator[Turnover]:
        """What came into and left the account and each under it, by day, before `end`."""
        return self.journal.turnover(account, end)

    def balances(self) -> dict[Slot, Decimal]:
        """Every account that is not empty, sorted."""
        return {key: number for key, number in sorted(self._balances.items()) if number != 0}

    def lots(self, account: Account) -> list[LotHeld]:
        """Open lots of one account, oldest first."""
        return self._lots.of(account)

    def lots_at(self, end: datetime) -> list[LotHeld]:
        """Lots of all accounts that what belongs to moments before `end` left open, by account, oldest first."""
        return sorted(self.journal.lots(JournalSpan(end=end)), key=lambda one: (one.account, one.at, one.lot))

    def lot(self, account: Account, lot: str) -> LotHeld | None:
        """What is left of a lot in an account."""
        return self._lots.get(account, lot)

    def places(self, lot: str) -> list[LotHeld]:
        """The parts of one lot, in each account that holds some of it."""
        return self._lots.places(lot)

    def pick(
        self, account: Account, amount: Amount, named: tuple[str, ...] = (), at: datetime | None = None
    ) -> list[Taken]:
        """(lot, number taken, its cost) that covers `amount` by the policy's method for that account at `at`, or from
        the lots `named` in their order. Raises ShortError when those do not hold that much, EntryError for a name that
        is no lot there."""
        return self._lots.pick(account, amount, named, at)

    def imbalance(self) -> dict[str, Decimal]:
        """Sum of all balances per commodity; empty when the book closes (it always must)."""
        return imbalance(self._balances)

    def as_known(self, known: datetime) -> KnownBook:
        """The book as it was known at a moment."""
        return KnownBook(self.journal, known)


class KnownBook:
    """A book as it was known at a moment: what was learned later is in none of its figures. Read only."""

    def __init__(self, journal: Journal, known: datetime) -> None:
        self.known = known
        self._journal = journal
        self._balances = journal.changes(JournalSpan(known=known))

    @property
    def entries(self) -> Sequence[Entry]:
        """Every entry that was known, by month."""
        return list(self._journal.between(JournalSpan(known=self.known)))

    def balances(self) -> dict[Slot, Decimal]:
        """Every account that was not empty, sorted."""
        return {key: number for key, number in sorted(self._balances.items()) if number != 0}

    def count(self) -> int:
        """How many entries were known."""
        return self._journal.count(self.known)

    def imbalance(self) -> dict[str, Decimal]:
        """Sum of all balances per commodity; empty when the book closes."""
        return imbalance(self._balances)

    def lots(self) -> list[LotHeld]:
        """Lots of all accounts, by account, oldest first."""
        return sorted(self._journal.lots(JournalSpan(known=self.known)), key=lambda one: (one.account, one.at, one.lot))


def imbalance(balances: dict[Slot, Decimal]) -> dict[str, Decimal]:
    """Sum per commodity of what does not come to zero."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for (_, commodity), number in balances.items():
        sums[commodity] += number
    return {commodity: total for commodity, total in sums.items() if total != 0}


def _sum_of(moved: dict[Slot, Decimal], account: Account, commodity: str) -> Decimal:
    return sum((n for (name, of), n in moved.items() if of == commodity and under(account, name)), Decimal(0))


def _same(booked: Entry, entry: Entry) -> bool:
    """Whether they say the same; a booked entry knows the cost and date of lots that the other may leave open."""
    if replace(booked, postings=()) != replace(entry, postings=()) or len(booked.postings) != len(entry.postings):
        return False
    return all(
        (a.account, a.amount) == (b.account, b.amount)
        and (a.lot == b.lot or (a.lot or "").startswith(POOL))
        and (b.cost is None or a.cost == b.cost)
        and (b.acquired is None or a.acquired == b.acquired)
        for a, b in zip(booked.postings, entry.postings, strict=True)
    )
