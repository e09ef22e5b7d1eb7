"""The book: a fold of entries into balances and lots.

Booking an entry twice changes nothing and says so. Lots open with a cost and a date and are reduced oldest
first; the cost that leaves with a part of a lot is its share, rounded to the cent, and what remains keeps
the rest, so no cent is lost over the life of a lot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from tieline.ledger.entry import Account, Amount, Entry, EntryError, check


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


class Book:
    """Balances and lots after the entries booked so far."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: list[Entry] = []
        self._by_key: dict[str, Entry] = {}
        self._balances: dict[tuple[Account, str], Decimal] = defaultdict(Decimal)
        self._lots: dict[tuple[Account, str], LotHeld] = {}
        for entry in entries:
            self.book(entry)

    def book(self, entry: Entry) -> Booked | AlreadyBooked:
        """Check and apply one entry. Raises EntryError (nothing is applied) when it breaks a rule or takes more
        from a lot than it holds."""
        before = self._by_key.get(entry.key)
        if before is not None:
            return AlreadyBooked(before, conflict=before != entry)
        check(entry)
        lots = dict(self._lots)
        for posting in entry.postings:
            if posting.lot is None:
                continue
            slot = (posting.account, posting.lot)
            if posting.amount.number > 0:
                if slot in lots:
                    raise EntryError(f"entry {entry.key}: lot {posting.lot} is already open in {posting.account}")
                if posting.cost is None:
                    raise EntryError(f"entry {entry.key}: lot {posting.lot} opens without a cost")
                lots[slot] = LotHeld(
                    posting.lot,
                    posting.account,
                    posting.amount.commodity,
                    posting.amount.number,
                    posting.cost.number,
                    posting.cost.commodity,
                    entry.at,
                )
            else:
                held = lots.get(slot)
                if held is None or held.number < -posting.amount.number:
                    has = "nothing" if held is None else str(held.number)
                    raise EntryError(
                        f"entry {entry.key}: takes {-posting.amount.number} from lot {posting.lot} of "
                        f"{posting.account}, which holds {has}"
                    )
                left = held.number + posting.amount.number
                if left == 0:
                    del lots[slot]
                else:
                    lots[slot] = replace(held, number=left, cost=held.cost - part_cost(held, -posting.amount.number))
        self._lots = lots
        for posting in entry.postings:
            self._balances[posting.account, posting.amount.commodity] += posting.amount.number
        self._by_key[entry.key] = entry
        self.entries.append(entry)
        return Booked(entry)

    def balance(self, account: Account, commodity: str) -> Decimal:
        """Of the account and everything under it."""
        below = account + ":"
        return sum(
            (n for (a, c), n in self._balances.items() if c == commodity and (a == account or a.startswith(below))),
            Decimal(0),
        )

    def balances(self) -> dict[tuple[Account, str], Decimal]:
        """Every account that is not empty, sorted."""
        return {key: number for key, number in sorted(self._balances.items()) if number != 0}

    def lots(self, account: Account) -> list[LotHeld]:
        """Open lots of one account, oldest first: the order in which they are sold."""
        return sorted((lot for lot in self._lots.values() if lot.account == account), key=lambda lot: (lot.at, lot.lot))

    def pick(self, account: Account, amount: Amount) -> list[tuple[LotHeld, Decimal, Decimal]]:
        """(lot, number taken, its cost) that covers `amount` from the oldest lots. Raises EntryError when the
        account does not hold that much."""
        need, taken = amount.number, []
        for held in self.lots(account):
            if need <= 0:
                break
            if held.commodity != amount.commodity:
                continue
            part = min(need, held.number)
            taken.append((held, part, part_cost(held, part)))
            need -= part
        if need > 0:
            raise EntryError(f"{account} holds {amount.number - need} {amount.commodity}, not {amount.number}")
        return taken

    def imbalance(self) -> dict[str, Decimal]:
        """Sum of all balances per commodity; empty when the book closes (it always must)."""
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for (_, commodity), number in self._balances.items():
            sums[commodity] += number
        return {commodity: total for commodity, total in sums.items() if total != 0}


def part_cost(held: LotHeld, part: Decimal) -> Decimal:
    """Cost that leaves with `part` of a lot: its share to the cent; all that is left when all of it leaves."""
    if part == held.number:
        return held.cost
    return (held.cost * part / held.number).quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)
