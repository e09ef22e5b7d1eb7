"""Many readers cost little: the same bytes for all, a bound on each, and the live readings on top."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import ModuleType

import msgspec
import pytest

from tieline.clock import SimClock
from tieline.console import events
from tieline.console.events import QUEUE, RESYNC, Hub
from tieline.fleet import Fleet
from tieline.link import LocalLink
from tieline.store import Store


async def _until(true: object, tries: int = 2000) -> None:
    for _ in range(tries):
        if true():  # type: ignore[operator]
            return
        await asyncio.sleep(0.005)
    raise AssertionError("did not come about")


def test_readers_share_bytes_and_a_slow_one_is_told_to_load_anew(
    world: ModuleType, fleet: Fleet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TELL_S", 0.01)

    async def scene() -> None:
        hub = Hub(store, fleet, SimClock(world.NOW), None, dict)
        await hub.start()
        await _until(lambda: hub.caught_up >= 1.0)
        quick, twin, slow = hub.events(), hub.events(), hub.events()
        for reader in (quick, twin, slow):
            assert (await anext(reader)).startswith(b"retry")
        pending = [asyncio.ensure_future(anext(r)) for r in (quick, twin)]
        first, second = await asyncio.gather(*pending)
        assert first is second
        assert first.startswith(b"event: now\ndata: {")
        waiting = asyncio.ensure_future(anext(slow))
        await waiting
        for _ in range(QUEUE + 3):
            hub._publish("now", {"n": 1})
        got = [await anext(slow) for _ in range(2)]
        assert RESYNC in got
        assert all(len(q._queue) <= QUEUE for q in hub._readers)  # type: ignore[attr-defined]
        assert hub.readers == 3
        for reader in (quick, twin, slow):
            await reader.aclose()
        assert hub.readers == 0
        await hub.stop()

    asyncio.run(scene())


def test_a_live_reading_stands_over_the_stored_sample(world: ModuleType, fleet: Fleet, store: Store) -> None:
    async def scene() -> None:
        link = LocalLink()
        hub = Hub(store, fleet, SimClock(world.NOW), link, dict)
        await hub.start()
        await _until(lambda: hub.caught_up >= 1.0 and bool(link._followers))
        before = next(s for s in hub.overview()["sites"] if s["id"] == "na-tx-01")
        said = {
            "site_id": "na-tx-01",
            "at": world.NOW - timedelta(seconds=1),
            "units": {"na-tx-01.rigs-1": {"power_w": 7e6, "hashrate_hs": 4e17}},
        }
        await link.publish("live.na-tx-01", msgspec.json.encode(said))
        await link.publish("live.nowhere", b"{broken")
        await _until(lambda: "na-tx-01" in hub.live)
        after = next(s for s in hub.overview()["sites"] if s["id"] == "na-tx-01")
        assert before["ehs"] > 1
        assert after["ehs"] == pytest.approx(0.4)
        assert after["drawn_mw"] == pytest.approx(7.0 + before["inference_mw"] * 1.25, abs=0.01)
        await hub.stop()

    asyncio.run(scene())


def test_no_more_readers_than_the_machine_bears(
    world: ModuleType, fleet: Fleet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_READERS", 1)

    async def scene() -> None:
        hub = Hub(store, fleet, SimClock(world.NOW), None, dict)
        one, two = hub.events(), hub.events()
        await anext(one)
        assert b"event: full" in await anext(two)
        await one.aclose()

    asyncio.run(scene())


def test_the_month_is_the_books_own(world: ModuleType, fleet: Fleet, store: Store) -> None:
    async def scene() -> None:
        hub = Hub(store, fleet, SimClock(world.NOW), None, dict)
        view = await hub.month.view(hub.read, world.NOW)
        figures = {f["name"]: f for f in view["figures"]}
        sats = sum(2_288_000_000 + day * 1_234_567 for day in range(13))
        assert figures["bitcoin_produced"]["value"] == f"{sats / 1e8:.8f}"
        assert figures["bitcoin_produced"]["count"] == 13
        assert view["simulated"] is True
        assert float(figures["energy_mining"]["value"]) > 0

    asyncio.run(scene())
