"""Defects that are planted into the product one at a time, to show that the simulation finds what it is there to find.

    .venv/bin/python -m tests.simulation.defects          # every one, until it is found
    .venv/bin/python -m tests.simulation.defects NAME

Each is put in by its name, says how it is found, and within how many seeds.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from tests.simulation.world import many
from tests.store.simulate import ViolationError

from tieline.app.aside import SetAsides
from tieline.app.core_part import Core
from tieline.books.keeper import Bookkeeper
from tieline.edge import agent
from tieline.edge import decide as deciding
from tieline.edge.meter import MeterWatch
from tieline.edge.orderbook import OrderBook
from tieline.edge.push import OutboxQueue
from tieline.gateway.budgets import lease
from tieline.gateway.budgets.client import LeasedBudgets
from tieline.gateway.budgets.lease import Coordinator
from tieline.gateway.metering.usage import UsageMeter
from tieline.gateway.requests import answer
from tieline.link import ItemRefusal, LinkDownError
from tieline.records import SetAside
from tieline.store import Spool
from tieline.store.database import Database
from tieline.store.ledger import LedgerStore

pushing = sys.modules["tieline.link.push"]  # its name in the package is its function's

Plant = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Defect:
    """`found`: what the violation says, as a pattern; within so many seeds of so many days."""

    plant: Plant
    found: str
    seeds: int = 8
    days: float = 1.0


# --- the gateway -----------------------------------------------------------------------


def budget_granted_twice() -> contextlib.AbstractContextManager[Any]:
    """A coordinator that begins anew does not ask what was spent before."""
    return mock.patch.object(Coordinator, "known", return_value=None)


@contextlib.contextmanager
def lease_not_returned() -> Iterator[None]:
    """A gateway takes half of what is left, and gives back nothing that it is asked for."""
    with mock.patch.object(lease, "EXTRA_SHARE", 2), mock.patch.object(LeasedBudgets, "recalled", return_value=0):
        yield


def a_dead_gateways_lease_never_ends() -> contextlib.AbstractContextManager[Any]:
    """What a gateway held that died stays with it."""
    return mock.patch.object(Coordinator, "lapsed", return_value=[])


def spent_counts_for_ever() -> contextlib.AbstractContextManager[Any]:
    """What a gateway was given and never spent counts as spent, also when it is back with its disk: it was so."""

    def known(self: Coordinator, gateway: str, totals: dict[str, int]) -> None:
        for name, value in totals.items():
            account = self.account(name)
            if account is not None:
                account.durable[gateway] = value

    return mock.patch.object(Coordinator, "known", known)


def usage_forgotten_on_crash() -> contextlib.AbstractContextManager[Any]:
    """A gateway that begins anew takes what waited for sent."""
    before = Spool._open

    def opened(self: Spool) -> Database:
        db = before(self)
        with db.write():
            db.run("UPDATE item SET sent = 1 WHERE sent = 0")
        self._count = 0
        return db

    return mock.patch.object(Spool, "_open", opened)


def told_before_it_is_on_disk() -> contextlib.AbstractContextManager[Any]:
    """An answer's last byte does not wait for its bill."""
    before = UsageMeter.bill

    def bill(self: UsageMeter, request: Any, now: float, on_disk: Any) -> bool:
        waits = before(self, request, now, (lambda: None) if on_disk is not None else None)
        if waits:
            on_disk()
        return waits

    return mock.patch.object(UsageMeter, "bill", bill)


def an_engines_word_passed_on() -> contextlib.AbstractContextManager[Any]:
    """The client is told the engine's own figures, and billed by others: it was so."""
    return mock.patch.object(answer, "with_usage", lambda body, state: body)


# --- sites -----------------------------------------------------------------------------


def order_forgotten_after_crash() -> contextlib.AbstractContextManager[Any]:
    """Orders are in memory only."""
    return mock.patch.object(OrderBook, "_save", return_value=None)


def plan_obeyed_above_order() -> contextlib.AbstractContextManager[Any]:
    """While there is a plan, it is carried out."""
    before = deciding._limit

    def limit(site: Any, now: Any, orders: Any) -> Any:
        return before(site, now, orders if orders.plan is None else replace(orders, instructions=(), ended=()))

    return mock.patch.object(deciding, "_limit", limit)


def room_taken_before_it_is_there() -> contextlib.AbstractContextManager[Any]:
    """What a plan moves from one unit to another is told to both at once: it was so."""
    return mock.patch.object(agent, "must_wait", return_value=frozenset())


def meter_not_heeded() -> contextlib.AbstractContextManager[Any]:
    """What the meter sees beyond the units is nobody's business."""
    return mock.patch.object(MeterWatch, "_compare", return_value=[])


def forgotten_when_sent() -> contextlib.AbstractContextManager[Any]:
    """What was handed to the link is taken for delivered."""
    before = OutboxQueue.take

    async def take(self: OutboxQueue, limit: int) -> Sequence[tuple[int, str, bytes]]:
        found = await before(self, limit)
        await self.done([number for number, _, _ in found])
        return found

    return mock.patch.object(OutboxQueue, "take", take)


# --- the link and the core ---------------------------------------------------------------


def no_answer_taken_for_yes() -> contextlib.AbstractContextManager[Any]:
    """A push without an answer has gone well."""
    before = pushing.push

    async def push(link: Any, origin: str, batch: bytes, timeout_s: float = 10.0) -> Any:
        try:
            return await before(link, origin, batch, timeout_s)
        except LinkDownError:
            return pushing.Ack(1)

    return mock.patch.object(pushing, "push", push)


def acknowledged_before_it_is_stored() -> contextlib.AbstractContextManager[Any]:
    """The core says yes, whatever its disk says."""
    before = Core._take_in

    async def take_in(self: Core, origin: str, data: bytes) -> Any:
        found = await before(self, origin, data)
        return pushing.Ack() if found.retry else found

    return mock.patch.object(Core, "_take_in", take_in)


def refused_and_not_kept() -> contextlib.AbstractContextManager[Any]:
    """What may not come in is said to be kept, and is not."""

    def take(self: SetAsides, origin: str, items: Sequence[SetAside], now: Any) -> tuple[ItemRefusal, ...]:
        return tuple(ItemRefusal(one.place, one.why, kept=True) for one in items)

    return mock.patch.object(SetAsides, "take", take)


# --- the books -----------------------------------------------------------------------------


def unbookable_in_silence() -> contextlib.AbstractContextManager[Any]:
    """What cannot be booked is left out and named nowhere."""
    return mock.patch.object(Bookkeeper, "_set_aside", return_value=None)


def postings_not_put_on_disk() -> contextlib.AbstractContextManager[Any]:
    """The ledger keeps entries and not what they come to."""
    return mock.patch.object(LedgerStore, "_add_postings", return_value=None)


LOST = "neither stored nor set aside"
LIMIT = "under a limit of"
DEFECTS: dict[str, Defect] = {
    "budget_granted_twice": Defect(budget_granted_twice, "has spent"),
    "lease_not_returned": Defect(lease_not_returned, "nano-dollars are left of"),
    "a_dead_gateways_lease_never_ends": Defect(a_dead_gateways_lease_never_ends, "nano-dollars are left of"),
    "spent_counts_for_ever": Defect(spent_counts_for_ever, "nano-dollars are left of", days=3.0),
    "usage_forgotten_on_crash": Defect(usage_forgotten_on_crash, "its usage is not in the store"),
    "told_before_it_is_on_disk": Defect(told_before_it_is_on_disk, "its usage is not in the store|is billed"),
    "an_engines_word_passed_on": Defect(an_engines_word_passed_on, "is billed"),
    "order_forgotten_after_crash": Defect(order_forgotten_after_crash, "has forgotten"),
    "plan_obeyed_above_order": Defect(plan_obeyed_above_order, LIMIT),
    "room_taken_before_it_is_there": Defect(room_taken_before_it_is_there, LIMIT, days=3.0),
    "meter_not_heeded": Defect(meter_not_heeded, LIMIT),
    "forgotten_when_sent": Defect(forgotten_when_sent, LOST),
    "no_answer_taken_for_yes": Defect(no_answer_taken_for_yes, f"{LOST}|usage is not in the store"),
    "acknowledged_before_it_is_stored": Defect(acknowledged_before_it_is_stored, f"{LOST}|usage is not in the store"),
    "refused_and_not_kept": Defect(refused_and_not_kept, LOST),
    "unbookable_in_silence": Defect(unbookable_in_silence, "neither booked nor named"),
    "postings_not_put_on_disk": Defect(postings_not_put_on_disk, "folded anew|trial balance"),
}


def hunt(defect: Defect) -> tuple[int, str]:
    """How many seeds it took, and what was said. Raises AssertionError where it was not found, or by another sign."""
    for seed in range(defect.seeds):
        try:
            with defect.plant():
                many(range(seed, seed + 1), defect.days)
        except ViolationError as error:
            if not re.search(defect.found, str(error)):
                raise AssertionError(f"found by another sign: {error}") from error
            return seed + 1, str(error)
    raise AssertionError(f"not found within {defect.seeds} seeds of {defect.days:g} days")


def _each(names: Sequence[str]) -> Iterator[tuple[str, Defect]]:
    return ((name, DEFECTS[name]) for name in names or DEFECTS)


def main(names: Sequence[str]) -> int:
    logging.disable()
    missed = 0
    for name, defect in _each(names):
        began = time.process_time()
        try:
            seeds, words = hunt(defect)
            said = f"found within {seeds} of {defect.seeds} seeds: {words[:160]}"
        except AssertionError as error:
            missed, said = missed + 1, f"MISSED: {str(error)[:300]}"
        print(f"{name} ({time.process_time() - began:.1f} s): {said}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
