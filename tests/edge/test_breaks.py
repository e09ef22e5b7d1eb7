"""What once broke a site, each through a running agent on real sockets or scripted devices that hang, raise and lie."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.edge.edge_bench import Bench, ScriptedDevice
from tests.edge.test_meter import SumMeter

from tieline.edge import agent as agent_module
from tieline.edge.agent import Agent, Equipment
from tieline.edge.device import Answer, Reading, Unreachable
from tieline.edge.spool import SiteSpool
from tieline.records import Action, Fault, MeterReading, Outcome, Sample, Setpoint, decode
from tieline.store import StoreError, files
from tieline.store.outbox import Outbox

linux = pytest.mark.skipif(sys.platform != "linux", reason="many loopback addresses are a Linux feature")


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


# --- devices and meters that hang, raise and lie ----------------------------


class Hangs(ScriptedDevice):
    async def read(self, now: datetime) -> Reading | Unreachable:
        await asyncio.sleep(3600)
        raise AssertionError

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        await asyncio.sleep(3600)
        raise AssertionError


class Raises(ScriptedDevice):
    async def read(self, now: datetime) -> Reading | Unreachable:
        raise KeyError("wattage")

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        raise ConnectionResetError("in the middle")


class Says(ScriptedDevice):
    """Says `said_w`, whatever it draws."""

    said_w = float("nan")

    async def read(self, now: datetime) -> Reading | Unreachable:
        return Reading(at=now, power_w=self.said_w)


class Liar(ScriptedDevice):
    """Says that it obeyed, and draws on."""

    async def read(self, now: datetime) -> Reading | Unreachable:
        asked = self.told[-1].target_w if self.told else self.true_w
        return Reading(at=now, power_w=asked, devices=1, devices_heard=1)

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        self.obeys = False
        return await super().apply(setpoint, now)


def with_device(bench: Bench, device: ScriptedDevice, meter: SumMeter | None = None) -> None:
    """The bench with one of its devices replaced."""
    bench.devices = [device if d.unit_id == device.unit_id else d for d in bench.devices]
    bench.agent = Agent(bench.clock, bench.site, Equipment(bench.devices, meter), bench.outbox, bench.link)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is scripted answers at once or never."""
    monkeypatch.setattr(agent_module, "PATIENCE_S", 0.02)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sick", [Hangs, Raises, Says])
def test_a_device_that_hangs_raises_or_says_nan_does_not_stop_the_reflex(
    tmp_path: Path, sick: type[ScriptedDevice]
) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        with_device(bench, sick("s.gpu", 2e6))
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(2)
        bench.order(limit_mw=5)
        async with asyncio.timeout(10):
            await bench.step(3)
        assert bench.true_mw <= 5.0 + 1e-6  # it counts at its highest power
        await bench.step(15)
        said = [o for o in bench.outcomes() if o.unit_id == "s.gpu"]
        assert said[-1].result == "unreachable"
        await bench.agent.close()

    run(story)


class Slow(ScriptedDevice):
    """Answers, and after the step has gone on."""

    after_s = 0.1

    async def read(self, now: datetime) -> Reading | Unreachable:
        await asyncio.sleep(self.after_s)
        return await super().read(now)


@pytest.mark.parametrize(("after_s", "heard"), [(0.1, True), (60.0, False)])
def test_what_comes_between_two_steps_is_heard_at_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_s: float, heard: bool
) -> None:
    """An answer, and that there is none: neither is thrown away because the next question begins."""
    monkeypatch.setattr(agent_module, "PATIENCE_S", 0.01)
    monkeypatch.setattr(agent_module, "READ_TIMEOUT_S", 0.3)

    async def story() -> None:
        bench = Bench(tmp_path)
        slow = Slow("s.gpu", 2e6)
        slow.after_s = 0.0
        with_device(bench, slow)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(2)
        slow.after_s, slow.obeys, slow.true_w = after_s, False, 1e6
        await bench.step()
        await asyncio.sleep(0.6)
        await bench.step()
        told = msgspec.json.decode(bench.agent.live(bench.clock.now()))["units"]["s.gpu"]
        assert told["heard"] is heard
        assert told["power_w"] == (1e6 if heard else 2e6)
        await bench.agent.close()

    run(story)


def test_what_fell_silent_before_it_was_seen_to_rise_counts_as_it_was_told(tmp_path: Path) -> None:
    """It was told to draw more and heard it; its last reading is of before."""

    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=0)
        await bench.step(2)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step()
        assert bench.new.true_w == 4e6
        bench.new.answers = False
        bench.order(limit_mw=5)
        await bench.step(3)
        assert bench.true_mw <= 5.0 + 1e-6
        await bench.agent.close()

    asyncio.run(story())


class SickMeter(SumMeter):
    manner: Literal["hangs", "raises", "nan", "infinite", "negative"] = "hangs"

    async def read(self, now: datetime) -> Reading | Unreachable:
        match self.manner:
            case "hangs":
                await asyncio.sleep(3600)
            case "raises":
                raise ConnectionError("no route")
            case "nan":
                return Reading(at=now, power_w=float("nan"))
            case "infinite":
                return Reading(at=now, power_w=float("inf"))
            case "negative":
                return Reading(at=now, power_w=-1e9)
        raise AssertionError


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("manner", ["hangs", "raises", "nan", "infinite", "negative"])
def test_a_meter_that_is_sick_does_not_stop_the_reflex_and_is_told(tmp_path: Path, manner: str) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        meter = SickMeter(bench, 0.0)
        meter.manner = manner  # type: ignore[assignment]
        with_device(bench, bench.old, meter)
        bench.plan(gpu=2, old=4, new=4)
        async with asyncio.timeout(10):
            await bench.step(3)
            bench.order(limit_mw=5)
            await bench.step(3)
        assert bench.true_mw == pytest.approx(5)
        if manner != "hangs":  # that one is told when its time is over
            (fault,) = [r for r in bench.kept() if isinstance(r, Fault) and r.what == "meter silent"]
            assert fault.until is None
        assert not [r for r in bench.kept() if isinstance(r, MeterReading) and r.power_w is not None]
        await bench.agent.close()

    run(story)


def test_the_meter_has_the_last_word_over_a_liar(tmp_path: Path) -> None:
    """A group says 0 W and draws 4 MW under an order of 5 MW: the others make room until the meter holds."""

    async def story() -> None:
        bench = Bench(tmp_path)
        liar = Liar("s.rigs-1", 4e6)
        with_device(bench, liar, SumMeter(bench, 0.0))
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(8)
        bench.order(limit_mw=5)
        await bench.step(12)
        assert liar.true_w == 4e6
        assert bench.true_mw <= 5.0
        assert bench.gpu.true_w > 0  # inference last, and only as far as needed
        assert bench.new.true_w == 0
        (fault,) = [r for r in bench.kept() if isinstance(r, Fault) and r.what == "meter"]
        assert "4.000 MW apart" in fault.detail

    run(story)


def test_a_unit_asked_for_power_that_draws_none_did_not_obey(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=0)
        await bench.step(3)
        bench.new.obeys = False
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(20)
        last = [o for o in bench.outcomes() if o.unit_id == "s.rigs-2"][-1]
        assert last.result == "refused"
        assert "draws 0.000 MW of 4.000 MW asked" in last.detail

    run(story)


def test_a_jump_of_the_meter_is_held_out_and_told_and_taken_when_it_stays(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        meter = SumMeter(bench, 0.0)
        with_device(bench, bench.old, meter)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(8)
        meter.more_w = -9e6  # a digit is lost
        await bench.step(2)
        assert bench.agent._meter is not None
        assert bench.agent._meter.reading is not None
        assert bench.agent._meter.reading.power_w == pytest.approx(10e6)
        meter.more_w = 0.0
        await bench.step(2)
        meter.more_w = 2e6
        bench.order(limit_mw=6)
        await bench.step(14)
        assert bench.true_mw + 2 <= 6
        jumps = [r for r in bench.kept() if isinstance(r, Fault) and r.what == "meter jump"]
        assert [f.until is None for f in jumps] == [True, False, True, False]

    run(story)


class FakeContactor:
    def __init__(self, feeder: str, devices: list[ScriptedDevice], works: bool = True) -> None:
        self.feeder, self.devices, self.works, self.opened = feeder, devices, works, False

    async def open(self) -> bool:
        if self.works:
            self.opened = True
            for device in self.devices:
                device.true_w = 0.0
        return self.works

    async def close(self) -> None:
        pass


def test_what_nothing_else_sheds_is_cut_at_its_feeder_and_mining_first(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        mining = FakeContactor("s.f-mine", [bench.old, bench.new])
        gpu = FakeContactor("s.f-gpu", [bench.gpu])
        bench.agent = Agent(
            bench.clock, bench.site, Equipment(bench.devices, SumMeter(bench, 0.0), (gpu, mining)), bench.outbox,
            bench.link,
        )  # fmt: skip
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(8)
        for device in bench.devices:
            device.obeys = False
        bench.order(limit_mw=3)
        await bench.step(10)
        assert not mining.opened  # a minute to obey
        await bench.step(20)
        assert mining.opened
        assert not gpu.opened
        assert bench.true_mw <= 3
        assert [r.detail for r in bench.kept() if isinstance(r, Fault) and r.what == "contactor"]

    run(story)


@pytest.mark.parametrize("days", [1, -1, 400])
def test_a_wall_clock_that_is_off_is_a_fault_and_moves_no_load(tmp_path: Path, days: int) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        bench.order(limit_mw=6, minutes=60)
        await bench.step(3)
        before = bench.true_mw
        for seconds in (0, 5, 10):
            await bench.agent.step(bench.clock.now() + timedelta(days=days, seconds=seconds))
        assert bench.true_mw == before == pytest.approx(6)
        assert bench.agent.decision is not None
        assert bench.agent.decision.bound_by == "instruction"
        (fault,) = [r for r in bench.kept() if isinstance(r, Fault)]
        assert fault.what == "clock"
        assert str(abs(days)) in fault.detail
        await bench.step(2)
        assert [r.until is None for r in bench.kept() if isinstance(r, Fault)] == [True, False]

    run(story)


def test_a_wall_clock_is_taken_again_when_the_control_plane_agrees_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step()
        wall = bench.clock.now() + timedelta(days=1)
        await bench.agent.step(wall)
        assert bench.agent.time.off is not None
        accept = Action(
            at=wall, known_at=wall, source="console", kind="measured", by="ops", what="accept", target="s"
        )  # fmt: skip
        bench.agent.take(accept, wall, fresh=True)
        assert bench.agent.time.off is None
        assert bench.agent.time.at(wall) == wall

    run(story)


def test_an_operator_ends_a_stuck_order(tmp_path: Path) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.plan(gpu=2, old=4, new=4)
        order = bench.order(limit_mw=5, minutes=600)
        await bench.step(2)
        assert bench.true_mw == pytest.approx(5)
        now = bench.clock.now()
        bench.agent.take(
            Action(
                at=now, known_at=now, source="console", kind="measured", by="ops", what="abort", target="s",
                detail=order.instruction_id,
            ),
            now,
        )  # fmt: skip
        await bench.step(2)
        assert bench.true_mw == pytest.approx(10)

    run(story)


# --- what is written down ---------------------------------------------------


def test_orders_are_synced_before_they_are_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after `take` keeps the order: its bytes and its name are synced before the file counts."""
    calls: list[str] = []
    fsync = os.fsync

    def synced(fd: int) -> None:
        there = (tmp_path / "orders.json").exists()
        calls.append("folder, renamed" if stat.S_ISDIR(os.fstat(fd).st_mode) and there else "file")
        fsync(fd)

    bench = Bench(tmp_path, keep_orders=True)
    monkeypatch.setattr(files.os, "fsync", synced)
    bench.order(limit_mw=5)
    assert calls == ["file", "folder, renamed"]
    assert b"Instruction" in (tmp_path / "orders.json").read_bytes()


NOON = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)


def sample(n: int) -> Sample:
    at = NOON + timedelta(minutes=5 * n)
    return Sample(at=at, known_at=at, source="site:s", kind="measured", site_id="s", unit_id="u", length_s=300,
                  readings=1, power_w=1.0)  # fmt: skip


def meter_reading(n: int) -> MeterReading:
    at = NOON + timedelta(minutes=5 * n)
    return MeterReading(at=at, known_at=at, source="site:s", kind="measured", site_id="s", length_s=300, readings=1,
                        power_w=1.0)  # fmt: skip


def outcome(n: int) -> Outcome:
    at = NOON + timedelta(minutes=5 * n)
    return Outcome(at=at, known_at=at, source="site:s", kind="measured", site_id="s", unit_id="u", plan_known_at=at,
                   result="applied", asked_w=1.0, observed_w=1.0)  # fmt: skip


def test_a_full_outbox_thins_its_oldest_samples_and_never_readings_or_outcomes(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench")
    outbox = Outbox(tmp_path / "outbox.db", max_items=60)
    spool = SiteSpool("s", outbox, bench.agent.faults)
    for n in range(100):
        if n < 20:
            spool.keep([meter_reading(n), outcome(n)])
        spool.keep([sample(n)])
    kept = [decode(body) for _, _, body in outbox.take(1000)]
    assert sum(isinstance(r, MeterReading) for r in kept) == 20
    assert sum(isinstance(r, Outcome) for r in kept) == 20
    samples = [r for r in kept if isinstance(r, Sample)]
    assert samples[-1] == sample(99)  # the newest are there
    assert len(kept) <= 60
    assert [r.what for r in kept if isinstance(r, Fault)] == ["spool"]
    outbox.close()


def test_what_the_disk_refuses_waits_in_memory_and_lands_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    put = Outbox.put

    def full(self: Outbox, *_: object, **__: object) -> int:
        raise StoreError("disk full")

    monkeypatch.setattr(Outbox, "put", full)
    bench.agent.keep([meter_reading(0), outcome(0)])
    monkeypatch.setattr(Outbox, "put", put)
    bench.agent.keep([sample(1)])
    assert {type(r) for r in bench.kept()} == {MeterReading, Outcome, Sample}


# --- the property -----------------------------------------------------------

UNITS = ("s.gpu", "s.rigs-1", "s.rigs-2")
HIGHEST_W = {"s.gpu": 2e6, "s.rigs-1": 4e6, "s.rigs-2": 4e6}
MANNERS = ("well", "well", "deaf", "liar", "corpse", "late")


METERS = ("well", "well", "digits lost", "silent", "nan", "none")


class OddMeter(SumMeter):
    """A meter with a manner of its own from the order on."""

    manner = "well"
    readings = 0

    async def read(self, now: datetime) -> Reading | Unreachable:
        self.readings += 1
        if self.manner == "silent":
            return Unreachable("silent by script")
        if self.manner == "nan":
            return Reading(at=now, power_w=float("nan"))
        true_w = self.bench.true_mw * 1e6 + self.more_w
        return Reading(
            at=now, power_w=true_w / 10 if self.manner == "digits lost" and self.readings % 5 < 2 else true_w
        )


@settings(max_examples=40, deadline=None)
@given(
    manners=st.lists(st.sampled_from(MANNERS), min_size=3, max_size=3),
    meter_manner=st.sampled_from(METERS),
    limit_mw=st.floats(0.5, 9.5),
    station_kw=st.floats(0, 250),
    late_after=st.integers(1, 12),
)
def test_the_limit_holds_at_the_meter_whenever_it_can(
    tmp_path_factory: pytest.TempPathFactory, manners: list[str], meter_manner: str, limit_mw: float,
    station_kw: float, late_after: int,
) -> None:  # fmt: skip
    """Over random liars, corpses, late joiners and meters: what truly flows is under the limit, or everything that
    obeys is off. Without a meter that is heard nobody sees a liar, nor what the station draws beside the units."""

    async def story() -> None:
        bench = Bench(tmp_path_factory.mktemp("bench"))
        devices = []
        for unit_id, manner in zip(UNITS, manners, strict=True):
            kind = Liar if manner == "liar" else ScriptedDevice
            devices.append(kind(unit_id, HIGHEST_W[unit_id]))
        bench.devices = devices
        meter = OddMeter(bench, station_kw * 1e3)
        watched = None if meter_manner == "none" else meter
        bench.agent = Agent(bench.clock, bench.site, Equipment(devices, watched), bench.outbox, bench.link)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(7)
        for device, manner in zip(devices, manners, strict=True):
            device.obeys = manner != "deaf"
            device.answers = manner not in ("corpse", "late")
        meter.manner = meter_manner
        bench.order(limit_mw)
        await bench.step(late_after)
        for device, manner in zip(devices, manners, strict=True):
            device.answers = device.answers or manner == "late"
        await bench.step(30)
        blind = meter_manner in ("silent", "nan", "none")
        metered_mw = bench.true_mw + (0.0 if blind else station_kw / 1e3)
        obedient_mw = sum(
            d.true_w for d, m in zip(devices, manners, strict=True) if m in ("well", "late")
        ) / 1e6  # fmt: skip
        if metered_mw <= limit_mw + 1e-6:
            event("holds")
        elif blind and "liar" in manners:
            event("nobody sees the liar")
        else:
            event("cannot hold")
            assert obedient_mw <= 1e-6
        await bench.agent.close()

    run(story)
