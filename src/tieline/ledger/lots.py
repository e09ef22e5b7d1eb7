"""Lots: what is open in which account, and which of it leaves first.

By its policy an account counts a commodity first in first out, last in first out, the dearest first, or at the average:
then it holds one lot, the pool, which what comes in joins. Orders are kept sorted as lots come and go, so that a pick
costs what it takes, not what is there.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal

from tieline.ledger.entry import COMMODITIES, Account, Amount, EntryError, ShortError

Method = Literal["fifo", "lifo", "hifo", "average"]
METHODS: tuple[Method, ...] = ("fifo", "lifo", "hifo", "average")
POOL = "average of "


@dataclass(frozen=True, slots=True)
class LotRule:
    """A method for one commodity, one account with all under it, one year; None: for any."""

    method: Method
    commodity: str | None = None
    account: Account | None = None
    year: int | None = None

    def covers(self, account: Account, commodity: str, year: int) -> bool:
        return (
            self.commodity in (None, commodity)
            and self.year in (None, year)
            and (self.account is None or f"{account}:".startswith(f"{self.account}:"))
        )


@dataclass(frozen=True, slots=True)
class LotPolicy:
    """Which lots leave first where none is named: by the last of `rules` that covers the case, else `default`. Years
    are those of `zone`."""

    default: Method = "fifo"
    rules: tuple[LotRule, ...] = ()
    zone: tzinfo = UTC

    def method(self, account: Account, commodity: str, at: datetime | None) -> Method:
        if not self.rules:
            return self.default
        year = 0 if at is None else at.astimezone(self.zone).year
        methods = (one.method for one in reversed(self.rules) if one.covers(account, commodity, year))
        return next(methods, self.default)


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


Taken = tuple[LotHeld, Decimal, Decimal]  # the lot, how much of it, and what that cost
_Dear = tuple[Decimal, datetime, str]  # minus the cost of one, the date, the lot


@dataclass(slots=True)
class _Shelf:
    """The lots of one account, in the orders in which they may leave. `dear` is made when it may be asked for."""

    lots: dict[str, LotHeld] = field(default_factory=dict)
    dated: list[tuple[datetime, str]] = field(default_factory=list)
    dear: list[_Dear] | None = None

    def place(self, lot: str, held: LotHeld | None) -> None:
        was = self.lots.get(lot)
        if was is not None:
            if self.dear is not None:
                del self.dear[bisect_left(self.dear, _dear(was))]
            if held is None:
                del self.dated[bisect_left(self.dated, (was.at, lot))]
                del self.lots[lot]
        if held is None:
            return
        if was is None:
            insort(self.dated, (held.at, lot))
        if self.dear is not None:
            insort(self.dear, _dear(held))
        self.lots[lot] = held

    def dearest(self) -> Iterator[LotHeld]:
        if self.dear is None:
            self.dear = sorted(map(_dear, self.lots.values()))
        return (self.lots[lot] for _, _, lot in self.dear)


def _dear(held: LotHeld) -> _Dear:
    return -held.cost / held.number, held.at, held.lot


class Lots:
    """The open lots of every account."""

    def __init__(self, policy: LotPolicy, held: Iterable[LotHeld] = ()) -> None:
        self._shelves: dict[Account, _Shelf] = defaultdict(_Shelf)
        self._pools: dict[tuple[Account, str], str] = {}
        for one in held:
            self._shelves[one.account].lots[one.lot] = one
            if _is_pool(one):
                self._pools[one.account, one.commodity] = one.lot
        for shelf in self._shelves.values():
            shelf.dated = sorted((one.at, one.lot) for one in shelf.lots.values())
        self.choose(policy)

    def choose(self, policy: LotPolicy) -> None:
        """From now on. Orders that it may ask for are made now: with many lots the first sale should not wait."""
        self.policy = policy
        if "hifo" in (policy.default, *(one.method for one in policy.rules)):
            for shelf in self._shelves.values():
                shelf.dearest()

    def get(self, account: Account, lot: str) -> LotHeld | None:
        shelf = self._shelves.get(account)
        return None if shelf is None else shelf.lots.get(lot)

    def place(self, account: Account, lot: str, held: LotHeld | None) -> None:
        """What is left of a lot now; None: nothing."""
        shelf = self._shelves[account]
        if lot.startswith(POOL):
            one = held or shelf.lots.get(lot)
            if one is not None and _is_pool(one):
                self._pools.pop((account, one.commodity), None)
                if held is not None:
                    self._pools[account, one.commodity] = lot
        shelf.place(lot, held)

    def of(self, account: Account) -> list[LotHeld]:
        """Open lots of one account, oldest first."""
        shelf = self._shelves.get(account)
        return [] if shelf is None else [shelf.lots[lot] for _, lot in shelf.dated]

    def places(self, lot: str) -> list[LotHeld]:
        """The parts of one lot, in each account that holds some of it."""
        return [shelf.lots[lot] for _, shelf in sorted(self._shelves.items()) if lot in shelf.lots]

    def pool(self, account: Account, commodity: str) -> LotHeld | None:
        """The lot that coins of an account counted at the average join; None where none is open."""
        name = self._pools.get((account, commodity))
        return None if name is None else self.get(account, name)

    def pick(self, account: Account, amount: Amount, named: tuple[str, ...], at: datetime | None) -> list[Taken]:
        """See `Book.pick`."""
        if not named and self.policy.method(account, amount.commodity, at) == "average":
            return self._share_of_each(account, amount)
        need, taken = amount.number, []
        for held in self._leaving(account, amount.commodity, named, at):
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

    def _leaving(
        self, account: Account, commodity: str, named: tuple[str, ...], at: datetime | None
    ) -> Iterable[LotHeld]:
        shelf = self._shelves.get(account) or _Shelf()
        if named:
            missing = [lot for lot in named if lot not in shelf.lots]
            if missing:
                raise EntryError(f"{account} holds no lot {missing[0]!r}; `tieline books lots` lists what it holds")
            return [shelf.lots[lot] for lot in named]
        method = self.policy.method(account, commodity, at)
        if method == "hifo":
            return shelf.dearest()
        order = reversed(shelf.dated) if method == "lifo" else iter(shelf.dated)
        return (shelf.lots[lot] for _, lot in order)

    def _share_of_each(self, account: Account, amount: Amount) -> list[Taken]:
        """At the average. Where an account has come to it from another method its older lots stand beside the pool:
        of each the same share leaves."""
        lots = [held for held in self.of(account) if held.commodity == amount.commodity]
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


def pool_name(account: Account, at: datetime) -> str:
    """The pool of an account that was opened at `at`: one that was emptied and opened again is another lot."""
    return f"{POOL}{account.split(':', 1)[-1]} since {at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _is_pool(held: LotHeld) -> bool:
    """Another account's pool, moved here, is a lot like others."""
    return held.lot.startswith(POOL) and held.lot == pool_name(held.account, held.at)


def part_cost(held: LotHeld, part: Decimal) -> Decimal:
    """Cost that leaves with `part` of a lot: its share to what the cost is counted in; all of it with the whole lot."""
    if part == held.number:
        return held.cost
    unit = Decimal(1).scaleb(-COMMODITIES[held.cost_commodity].places)
    return (held.cost * part / held.number).quantize(unit, rounding=ROUND_HALF_EVEN)
