"""Orders that the desk itself hears over OpenADR: the same client as a site's agent, on record and passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tieline import config, records
from tieline.app.core_part import Core
from tieline.clock import SimClock
from tieline.config import ConfigError
from tieline.feeds.notices.desk import NoticeDesk
from tieline.feeds.notices.openadr2 import OpenAdr2Source, VenIdentity
from tieline.feeds.notices.openadr3 import POLL_EVERY, limits
from tieline.feeds.notices.standing import StatedOrder, chosen_delay
from tieline.link import LocalLink
from tieline.records import Fault, Instruction
from tieline.sim.vtn import CLIENT, SECRET, FakeVtn, event
from tieline.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FLEET = """
[fleet]
name = "f"
[[site]]
id = "tx-1"
name = "A"
region = "r"
lat = 30.0
lon = -100.0
interconnect_mw = 10.0
contract = { basis = "spot", market = "ERCOT_HUBAVG_DA" }
rigs = [{ model = "Antminer S21", mw = 5.0 }]
[[notice]]
site = "tx-1"
source = "openadr3"
url = "http://127.0.0.1:1"
program = "p"
client_id = "simulated-ven"
secret_env = "VTN_SECRET"
ven = "fleet-tx-1"
limit_mw = 2.0
silent_after_s = 60
when_silent = "curtail"
silent_limit_mw = 1.0
"""


def desk_of(port: int, **more: object) -> NoticeDesk:
    text = FLEET.replace("http://127.0.0.1:1", f"http://127.0.0.1:{port}")
    for key, value in more.items():
        text = text.replace(key, str(value))
    return NoticeDesk.of(config.loads(text).notice[0], {"VTN_SECRET": SECRET})


def orders(found: Iterable[object]) -> list[tuple[str, float, datetime]]:
    return [(one.instruction_id, one.limit_w / 1e6, one.until) for one in found if isinstance(one, Instruction)]


def test_an_event_is_begun_changed_and_cancelled_by_no_longer_being_said() -> None:
    async def story() -> None:
        server = FakeVtn()
        desk = desk_of(await server.start())
        assert CLIENT == "simulated-ven"
        now = NOW
        assert await desk.read_once(now) == []
        late = (NOW - 5 * MINUTE).isoformat()
        server.events = [event("e", "p", late, "PT1H", [5000])]
        now += POLL_EVERY
        (order,) = await desk.read_once(now)
        # It comes five minutes late: it binds from now on and ends when it would have.
        assert orders([order]) == [("e.0", 5.0, NOW + 55 * MINUTE)]
        assert (order.source, order.site_id, order.known_at) == ("desk:tx-1/openadr3", "tx-1", now)
        assert await desk.read_once(now + POLL_EVERY) == []  # said twice
        server.events = [
            event("e", "p", late, "PT1H", [3000]) | {"modificationDateTime": "2026-03-01T12:01:00Z"},
            event("f", "p", late, "PT0S", [4000]),  # overlaps, and lasts until it is cancelled
        ]
        now += 3 * POLL_EVERY
        assert orders(await desk.read_once(now)) == [
            ("e.0", 3.0, NOW + 55 * MINUTE), ("f.0", 4.0, now + 10 * MINUTE)
        ]  # fmt: skip
        old = event("e", "p", late, "PT1H", [9000]) | {"modificationDateTime": "2026-03-01T11:00:00Z"}
        server.events = [old]
        now += POLL_EVERY
        assert orders(await desk.read_once(now)) == [("f.0", 4.0, now)]  # implied cancel; an older version is none
        server.manner = "error"
        now += POLL_EVERY
        (fault,) = await desk.read_once(now)
        assert isinstance(fault, Fault)
        assert "answered 500" in fault.detail
        now += 7 * POLL_EVERY  # silent past its bound
        (order,) = await desk.read_once(now)
        assert orders([order]) == [("openadr3-silent", 1.0, now + 10 * MINUTE)]
        server.manner = "well"
        now += POLL_EVERY
        found = await desk.read_once(now)
        assert orders(found) == [("openadr3-silent", 1.0, now)]
        assert [one.until for one in found if isinstance(one, Fault)] == [now]
        await desk.close()
        await server.stop()

    asyncio.run(story())


def test_what_was_said_before_a_restart_can_still_be_taken_back(tmp_path: Path) -> None:
    """The core hears an event, dies, and hears when it is back that it was cancelled meanwhile."""

    async def heard(server: FakeVtn, port: int, clock: SimClock, store: Store) -> list[Any]:
        told = config.loads(FLEET.replace("127.0.0.1:1", f"127.0.0.1:{port}"))
        link, passed = LocalLink(), []

        async def take() -> None:
            async for _, data in link.follow("command.tx-1"):
                passed.append(records.decode(data))

        site = asyncio.create_task(take())
        await asyncio.sleep(0)
        core = Core(told, clock, store, link, (), "")
        (desk,) = core.notices
        following = asyncio.create_task(core._follow(desk))
        before = server.requests
        while server.requests < before + 2 or (server.events and not passed):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        following.cancel()
        site.cancel()
        await desk.close()
        return passed

    async def story(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VTN_SECRET", SECRET)
        server, clock = FakeVtn(), SimClock(NOW)
        port = await server.start()
        store = Store(tmp_path / "store.db", records.encode, records.decode)
        server.events = [event("e", "p", NOW.isoformat(), "PT2H", [5000])]
        (first,) = await heard(server, port, clock, store)
        assert orders([first]) == [("e.0", 5.0, NOW + 120 * MINUTE)]
        assert store.between(Instruction, NOW - MINUTE, NOW + MINUTE, subject="tx-1") == [first]
        server.events = []
        clock.set(NOW + 10 * MINUTE)
        (ended,) = await heard(server, port, clock, store)
        assert orders([ended]) == [("e.0", 5.0, NOW + 10 * MINUTE)]
        await server.stop()
        store.close()

    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(story(monkeypatch))


def test_a_start_at_random_is_within_its_window_the_same_each_time_and_another_elsewhere() -> None:
    told = event("e", "p", NOW.isoformat(), "PT30M", [5000, 3000])
    told["intervalPeriod"]["randomizeStart"] = "PT10M"
    by_site = {ven: list(limits(told, 0.0, ven)) for ven in ("a", "b", "c", "d")}
    assert by_site["a"] == list(limits(told, 0.0, "a"))
    starts = {found[0].start for found in by_site.values()}
    assert len(starts) == 4
    for first, second in by_site.values():
        assert first.start is not None
        assert NOW <= first.start < NOW + 10 * MINUTE
        assert first.until == second.start == first.start + 30 * MINUTE
    assert chosen_delay(None, "x") == chosen_delay(timedelta(0), "x") == timedelta(0)
    # OpenADR 2.0b says the same in other words.
    signal = {"signal_name": "SIMPLE", "signal_type": "level", "intervals": [{"signal_payload": 1.0}]}
    period = {"dtstart": NOW, "duration": 20 * MINUTE, "tolerance": {"tolerate": {"startafter": 10 * MINUTE}}}
    about = {"event_id": "e", "modification_number": 0, "event_status": "far", "test_event": False}
    told2 = {"event_descriptor": about, "active_period": period, "event_signals": [signal]}
    (found,) = OpenAdr2Source("http://x", VenIdentity("a"), 5e6)._said([told2])
    first = by_site["a"][0].start
    assert found == StatedOrder("e.0.0", 5e6, first, None if first is None else first + 20 * MINUTE)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('site = "tx-1"\nsource', 'site = "tx-2"\nsource', "notice[1].site: no site 'tx-2'"),
        ("http://127.0.0.1:1", "http://vtn.example", "no https address"),
        ('program = "p"\n', "", "notice[1].program: missing"),
        ('secret_env = "VTN_SECRET"\n', "", "client_id or secret_env alone"),
        ("silent_after_s = 60", "silent_after_s = 0", "give more than 0"),
        ('source = "openadr3"', 'source = "openadr2b"\ncert_file = "c"', "cert_file or key_file alone"),
        ('source = "openadr3"', 'source = "openadr4"', "openadr2b"),
    ],
)
def test_a_source_of_notices_with_a_mistake_is_one_line(old: str, new: str, words: str) -> None:
    assert old in FLEET
    with pytest.raises(ConfigError) as caught:
        config.loads(FLEET.replace(old, new))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
