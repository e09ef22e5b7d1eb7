"""Never and later are told apart for whatever is pushed: a bad item costs itself, and the others arrive."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tieline.edge.push import OutboxQueue
from tieline.gateway.metering.usage import SpoolQueue
from tieline.link import Ack, ItemRefusal, LocalLink, Queue, push_always
from tieline.link.push import MAX_PUSH_BYTES
from tieline.store import Outbox, Spool
from tieline.store.quarantine import Quarantine, count_of

BODIES = [b'{"n":%d}' % n for n in range(9)]
BAD = BODIES[4]


def outbox(folder: Path, bodies: list[bytes]) -> Queue:
    box = Outbox(folder / "outbox.db")
    box.put([(f"k{n}", body) for n, body in enumerate(bodies)])
    return OutboxQueue("s", box)


def spool(folder: Path, bodies: list[bytes]) -> Queue:
    box = Spool(folder / "usage.db")
    for n, body in enumerate(bodies):
        box.put(f"k{n}", body)
    while len(box) < len(bodies):  # written by a thread of its own
        time.sleep(0.001)
    return SpoolQueue("g", box)


class Far:
    """A store that never takes one item. `whole`: as one that judges batches, not items, and is full at first."""

    def __init__(self, *, whole: bool, kept: bool = False) -> None:
        self.whole, self.kept, self.full = whole, kept, whole
        self.taken: list[bytes] = []

    async def take(self, _: str, data: bytes) -> bytes:
        if self.full:
            self.full = False
            return msgspec.json.encode(Ack(error="disk full", retry=True))
        items = [bytes(one) for one in msgspec.json.decode(data, type=list[msgspec.Raw])]
        if self.whole and BAD in items:
            return msgspec.json.encode(Ack(error="not records"))
        refused = tuple(ItemRefusal(n, "no zone", self.kept) for n, one in enumerate(items) if one == BAD)
        self.taken += [one for one in items if one != BAD]
        return msgspec.json.encode(Ack(len(items) - len(refused), refused=refused))


async def until_empty(queue: Queue, far: Far) -> None:
    link = LocalLink()
    await link.serve("records.*", far.take)

    async def pause(_: float) -> None:
        await asyncio.sleep(0.001)

    pusher = asyncio.create_task(push_always(link, "s", queue, pause))
    async with asyncio.timeout(20):
        while await queue.take(1):
            await asyncio.sleep(0.005)
    pusher.cancel()


@pytest.mark.parametrize("make", [outbox, spool])
@pytest.mark.parametrize("whole", [True, False])
def test_what_the_store_never_takes_is_set_aside_here_and_the_rest_arrives_in_order(
    make: Callable[[Path, list[bytes]], Queue], whole: bool, tmp_path: Path
) -> None:
    far = Far(whole=whole)

    async def story() -> None:
        await until_empty(make(tmp_path, BODIES), far)

    asyncio.run(story())
    assert far.taken == [one for one in BODIES if one != BAD]
    box = Quarantine(tmp_path / "quarantine.db")
    (held,) = box.each()
    assert box.get(held.id) == (held, BAD)
    assert held.why == ("not records" if whole else "no zone")


@pytest.mark.parametrize("make", [outbox, spool])
def test_what_is_kept_over_there_is_not_kept_here_too(
    make: Callable[[Path, list[bytes]], Queue], tmp_path: Path
) -> None:
    far = Far(whole=False, kept=True)

    async def story() -> None:
        await until_empty(make(tmp_path, BODIES), far)

    asyncio.run(story())
    assert len(far.taken) == 8
    assert not (tmp_path / "quarantine.db").exists()


@pytest.mark.parametrize("make", [outbox, spool])
def test_what_no_message_carries_is_not_sent_for_ever(
    make: Callable[[Path, list[bytes]], Queue], tmp_path: Path
) -> None:
    far = Far(whole=False)
    huge = b'{"n":"' + b"x" * MAX_PUSH_BYTES + b'"}'
    large = b'{"n":"' + b"x" * (MAX_PUSH_BYTES // 2) + b'"}'

    async def story() -> None:
        await until_empty(make(tmp_path, [BODIES[0], huge, large, large, BODIES[1]]), far)

    asyncio.run(story())
    assert far.taken == [BODIES[0], large, large, BODIES[1]]
    assert [held.size for held in Quarantine(tmp_path / "quarantine.db").each()] == [len(huge)]


@pytest.mark.parametrize("make", [outbox, spool])
def test_what_finds_no_room_anywhere_is_counted_where_a_person_looks(
    make: Callable[[Path, list[bytes]], Queue], tmp_path: Path
) -> None:
    far = Far(whole=False)

    async def story() -> None:
        queue = make(tmp_path, [BODIES[0], BAD, BODIES[1]])
        queue.quarantine.max_items = 0  # type: ignore[attr-defined]
        await until_empty(queue, far)

    asyncio.run(story())
    assert far.taken == BODIES[:2]
    assert [(gone.items, gone.why) for gone in Quarantine(tmp_path / "quarantine.db").lost()] == [(1, "no zone")]
    assert count_of(tmp_path) == (0, 1)


def test_an_item_is_set_aside_before_it_leaves_the_queue(tmp_path: Path) -> None:
    """Killed between the two, it is there twice, never not at all."""
    far, steps = Far(whole=False), []

    class Watched(OutboxQueue):
        async def aside(self, item, why):  # type: ignore[no-untyped-def]
            await super().aside(item, why)
            steps.append(("aside", len(self.quarantine), len(self.outbox)))

        async def done(self, numbers):  # type: ignore[no-untyped-def]
            await super().done(numbers)
            steps.append(("done", len(self.quarantine), len(self.outbox)))

    async def story() -> None:
        box = Outbox(tmp_path / "outbox.db")
        box.put([(f"k{n}", body) for n, body in enumerate(BODIES)])
        await until_empty(Watched("s", box), far)

    asyncio.run(story())
    assert steps[:2] == [("aside", 1, 9), ("done", 1, 0)]
