"""What the core does with what sites push: each item stored or set aside, the sender always told."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tieline import config, records
from tieline.app.aside import SetAsides
from tieline.app.core_part import Core
from tieline.clock import SimClock
from tieline.link import Ack, LocalLink, push
from tieline.records import Fault, Instruction, MeterReading, Plan, WeatherTick
from tieline.store import Store
from tieline.store.quarantine import Quarantine

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEATHER = WeatherTick(at=NOW, known_at=NOW, source="feed", kind="measured", station="KMAF", temp_c=21.5)
GOOD = MeterReading(
    at=NOW, known_at=NOW, source="site:na-tx-02", kind="measured", site_id="na-tx-02", length_s=300, readings=1,
    power_w=1e6, power_max_w=1e6, last_heard=NOW,
)  # fmt: skip
ORDER = Instruction(
    at=NOW, known_at=NOW, source="site:na-tx-02", kind="measured", instruction_id="i", site_id="na-tx-02",
    limit_w=1e9, until=NOW + timedelta(minutes=2),
)  # fmt: skip
DEEP = b"[" * 100_000 + b"]" * 100_000


def plain(record: records.Record, **changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(records.encode(record)) | changes)


class Bench:
    """A core around a store, without its loops."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.link = SimClock(NOW), LocalLink()
        self.store = Store(folder / "store.db", records.encode, records.decode)
        self.quarantine = Quarantine(folder / "quarantine.db")
        aside = SetAsides(self.quarantine, self.store)
        self.core = Core(config.demo(), self.clock, self.store, self.link, (), "", set_aside=aside)

    async def push(self, *items: bytes, origin: str = "na-tx-02") -> Ack:
        await self.link.serve("records.*", self.core.ingest)
        return await push(self.link, origin, b"[" + b",".join(items) + b"]")

    def stored(self, kind: type[Any]) -> list[Any]:
        return list(self.store.between(kind, datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)))


@pytest.fixture
def told(tmp_path: Path) -> Callable[[Callable[[Bench], Awaitable[None]]], None]:
    def run(story: Callable[[Bench], Awaitable[None]]) -> None:
        asyncio.run(story(Bench(tmp_path)))

    return run


BAD = {
    "an order whose until has no zone": plain(ORDER, until="2026-03-01T12:02:00"),
    "a record whose at has no zone": plain(GOOD, at="2026-03-01T12:00:00"),
    "nested brackets in an unknown field": records.encode(GOOD)[:-1] + b',"zz":' + DEEP + b"}",
    "a fault known in 9990": plain(
        Fault(at=NOW, known_at=NOW, source="s", kind="measured", site_id="na-tx-02", what="x"),
        known_at="9990-01-01T00:00:00Z",
    ),
    "no record at all": b'"x"',
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_item_is_set_aside_by_name_and_the_good_are_stored(told: Any, what: str) -> None:
    async def story(bench: Bench) -> None:
        ack = await asyncio.wait_for(bench.push(records.encode(GOOD), BAD[what], records.encode(ORDER)), 1.0)
        assert (ack.error, ack.stored) == (None, 2)
        assert [(one.place, one.kept) for one in ack.refused] == [(1, True)]
        assert bench.stored(MeterReading) == [GOOD]
        assert bench.stored(Instruction) == [ORDER]
        (held,) = bench.quarantine.each()
        assert (held.origin, held.why, held.times) == ("na-tx-02", ack.refused[0].why, 1)
        assert bench.quarantine.get(held.id) == (held, BAD[what])
        await bench.core.step(NOW)  # what was let in can be worked with
        assert len(bench.stored(Plan)) == len(bench.core.config.fleet.sites)

    told(story)


@pytest.mark.parametrize("data", [b"", b"\xff{", b"{", DEEP[:50_000], b"[1", b'{"type":"Fault"}'])
def test_what_is_no_batch_is_answered_with_never(told: Any, data: bytes) -> None:
    async def story(bench: Bench) -> None:
        reply = await bench.core.ingest("records.x", data)
        ack = msgspec.json.decode(reply, type=Ack)
        assert ack.stored == 0
        assert not ack.retry
        assert ack.error

    told(story)


def test_a_clock_that_is_ahead_is_a_fault_once_and_ends_when_it_agrees(told: Any) -> None:
    async def story(bench: Bench) -> None:
        ahead = plain(GOOD, known_at="2026-03-01T13:00:00Z")
        for _ in range(3):
            await bench.push(ahead)
        (fault,) = bench.stored(Fault)
        assert (fault.site_id, fault.what, fault.until) == ("na-tx-02", "clock", None)
        assert "3,600 s ahead" in fault.detail
        await bench.push(plain(GOOD, site_id="na-tx-03"), origin="na-tx-03")  # says nothing of this one's
        bench.clock.set(NOW + timedelta(minutes=1))
        await bench.push(records.encode(GOOD))
        assert [one.until for one in bench.stored(Fault)] == [None, NOW + timedelta(minutes=1)]
        (held,) = bench.quarantine.each()
        assert held.times == 3

    told(story)


def test_the_bound_of_one_origin_leaves_room_for_the_others_and_the_sender_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.quarantine.max_items_of_one = 2
        acks = [await bench.push(b'{"n":%d}' % n) for n in range(4)]
        assert [ack.refused[0].kept for ack in acks] == [True, True, False, False]
        again = await bench.push(b'{"n":0}')
        assert again.refused[0].kept
        other = await bench.push(b'{"n":0}', origin="na-tx-03")
        assert other.refused[0].kept
        assert len(bench.quarantine) == 3

    asyncio.run(story())


def test_one_odd_record_of_a_feed_costs_itself(tmp_path: Path) -> None:
    class Feed:
        async def read(self, now: datetime) -> list[records.Record]:
            hot = msgspec.structs.replace(WEATHER, temp_c=1e9, station="HOT")
            naive = msgspec.structs.replace(WEATHER, at=NOW.replace(tzinfo=None), station="LOST")
            return [WEATHER, hot, naive, msgspec.structs.replace(WEATHER, station="KDAL")]

    async def story() -> None:
        bench = Bench(tmp_path)
        bench.core.feeds = (Feed(),)
        await bench.core.step(NOW)
        assert {one.station for one in bench.stored(WeatherTick)} == {"KMAF", "KDAL"}
        assert [(held.origin, held.name) for held in bench.quarantine.each()] == [("feed Feed", "WeatherTick")] * 2
        assert bench.core.registry.troubles == []

    asyncio.run(story())


def test_a_push_is_answered_while_an_interval_is_decided(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(bench: Bench) -> None:
        began, go_on = threading.Event(), threading.Event()

        def decide(now: datetime) -> list[Plan]:
            began.set()
            assert go_on.wait(30)
            return []

        monkeypatch.setattr(bench.core.controller, "decide", decide)
        step = asyncio.create_task(bench.core.step(NOW))
        await asyncio.to_thread(began.wait, 30)
        ack = await asyncio.wait_for(bench.push(records.encode(GOOD)), 10.0)
        assert ack.stored == 1
        assert not step.done()
        go_on.set()
        await step
        assert bench.core.registry.troubles == []

    told(story)
