"""A sample of the simulated fleet, and proof that it finds what it is there to find.

More of it: `make simulate SEED=n RUNS=n`.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.store import simulate_fleet
from tests.store.simulate import ViolationError
from tests.store.simulate_fleet import many

from tieline.app.aside import SetAsides
from tieline.app.core_part import Core
from tieline.edge.push import OutboxQueue
from tieline.link import ItemRefusal, LinkDownError
from tieline.records import SetAside

pushing = sys.modules["tieline.link.push"]  # its name in the package is its function's


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong on purpose is logged thousands of times."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_whatever_goes_wrong_at_once_each_record_arrives_once_or_is_set_aside_by_name() -> None:
    total = many(range(3), hours=8.0)
    for name in ("lost", "late", "twice", "answer lost", "cut off", "clock stepped", "hostile", "set aside"):
        assert total[name] >= 5, f"{name} is hardly reached: {total}"
    assert total["power loss of the core"] + total["power loss of a site"] >= 10


def test_a_seed_tells_the_same_story_each_time(tmp_path: Path) -> None:
    first, second = (simulate_fleet.run(5, tmp_path / name, 3.0) for name in "ab")
    assert first == second


Plant = Callable[[pytest.MonkeyPatch], None]


def _forgotten_when_sent(patch: pytest.MonkeyPatch) -> None:
    before = OutboxQueue.take

    async def take(self: OutboxQueue, limit: int) -> Sequence[tuple[int, str, bytes]]:
        found = await before(self, limit)
        await self.done([number for number, _, _ in found])
        return found

    patch.setattr(OutboxQueue, "take", take)


def _no_answer_taken_for_yes(patch: pytest.MonkeyPatch) -> None:
    before = pushing.push

    async def push(link: Any, origin: str, batch: bytes, timeout_s: float = 10.0) -> Any:
        try:
            return await before(link, origin, batch, timeout_s)
        except LinkDownError:
            return pushing.Ack(1)

    patch.setattr(pushing, "push", push)


def _acknowledged_before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    before = Core._take_in

    async def take_in(self: Core, origin: str, data: bytes) -> Any:
        found = await before(self, origin, data)
        return pushing.Ack() if found.retry else found

    patch.setattr(Core, "_take_in", take_in)


def _refused_and_not_kept(patch: pytest.MonkeyPatch) -> None:
    def take(self: SetAsides, origin: str, items: Sequence[SetAside], now: Any) -> tuple[ItemRefusal, ...]:
        return tuple(ItemRefusal(one.place, one.why, kept=True) for one in items)

    patch.setattr(SetAsides, "take", take)


def _a_bad_one_blocks_the_good(patch: pytest.MonkeyPatch) -> None:
    async def done(self: OutboxQueue, numbers: Iterable[int]) -> None:
        known = list(numbers)
        if len(known) > 1 or not self.outbox.take(1) or b"x" not in self.outbox.take(1)[0][2][:80]:
            self.outbox.done(known)

    async def aside(self: OutboxQueue, item: Any, why: str) -> None:
        raise pushing.LaterError("kept where it is")

    patch.setattr(OutboxQueue, "aside", aside)
    patch.setattr(OutboxQueue, "done", done)


PLANTED: list[Plant] = [
    _forgotten_when_sent, _no_answer_taken_for_yes, _acknowledged_before_it_is_stored, _refused_and_not_kept,
    _a_bad_one_blocks_the_good,
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_defect_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(ViolationError, match="seed"):
        many(range(12), hours=5.0)
