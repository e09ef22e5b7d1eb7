"""A site's own meter beside the sum of its units."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.edge.edge_bench import Bench, ScriptedDevice

from tieline.edge.agent import Agent, Equipment
from tieline.edge.device import Reading, Unreachable
from tieline.records import Fault, MeterReading


class SumMeter:
    """Reads what the bench's devices truly draw, and `more_w` beside them."""

    kind: Literal["measured", "simulated"] = "measured"

    def __init__(self, bench: Bench, more_w: float) -> None:
        self.bench, self.more_w, self.answers = bench, more_w, True

    async def read(self, now: datetime) -> Reading | Unreachable:
        if not self.answers:
            return Unreachable("silent by script")
        return Reading(at=now, power_w=self.bench.true_mw * 1e6 + self.more_w)

    async def close(self) -> None:
        pass


def metered(path: Path, more_w: float) -> tuple[Bench, SumMeter]:
    bench = Bench(path)
    meter = SumMeter(bench, more_w)
    bench.agent = Agent(bench.clock, bench.site, Equipment(bench.devices, meter), bench.outbox, bench.link)
    return bench, meter


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_a_limit_leaves_room_for_what_no_unit_accounts_for(tmp_path: Path) -> None:
    async def story() -> None:
        bench, meter = metered(tmp_path, more_w=120e3)
        bench.plan(gpu=2, old=4, new=4)
        bench.order(limit_mw=6)
        await bench.step(12)
        assert bench.true_mw + meter.more_w / 1e6 <= 6
        assert bench.true_mw == pytest.approx(6 - 0.125)  # steps of 0.25 % of 10 MW
        assert not [r for r in bench.kept() if isinstance(r, Fault)]

    run(story())


def test_what_is_too_much_for_station_load_is_named_once_and_ends(tmp_path: Path) -> None:
    async def story() -> None:
        bench, meter = metered(tmp_path, more_w=0.0)
        bench.plan(gpu=2, old=3, new=3)
        await bench.step(8)
        meter.more_w = 900e3  # someone plugged in a container
        await bench.step(20)
        meter.more_w = 0.0
        await bench.step(20)
        faults = [r for r in bench.kept() if isinstance(r, Fault)]
        assert [(f.what, f.until is None) for f in faults] == [("meter", True), ("meter", False)]
        assert "8.900 MW" in faults[0].detail
        assert "0.900 MW apart" in faults[0].detail
        assert faults[0].at == faults[1].at

    run(story())


def test_one_odd_reading_moves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        bench, meter = metered(tmp_path, more_w=0.0)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(8)
        meter.more_w = 2e6
        await bench.step()
        meter.more_w = 0.0
        await bench.step(4)
        assert bench.true_mw == pytest.approx(10)
        assert not [r for r in bench.kept() if isinstance(r, Fault)]

    run(story())


class Liar(ScriptedDevice):
    """Draws what it always drew, and says that it draws what it was told."""

    async def read(self, now: datetime) -> Reading | Unreachable:
        said_w = self.told[-1].target_w if self.told else self.true_w
        return Reading(at=now, power_w=said_w, devices=1, devices_heard=1)


@pytest.mark.parametrize("limit_mw", [9.7, 8.0, 6.5])
def test_a_unit_that_lies_is_paid_for_by_the_others_in_a_few_rounds(tmp_path: Path, limit_mw: float) -> None:
    async def story() -> None:
        bench = Bench(tmp_path)
        bench.old = Liar("s.rigs-1", 4e6)
        bench.old.obeys = False
        bench.devices[1] = bench.old
        meter = SumMeter(bench, more_w=0.0)
        bench.agent = Agent(bench.clock, bench.site, Equipment(bench.devices, meter), bench.outbox, bench.link)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(8)
        assert bench.true_mw == pytest.approx(10)
        bench.order(limit_mw)
        took = 0
        while bench.true_mw > limit_mw and took < 200:
            await bench.step()
            took += 1
        assert took <= 30  # 43 of them when each round took no more than the excess
        await bench.step(20)
        assert limit_mw - 0.3 <= bench.true_mw <= limit_mw  # and no more than that

    run(story())


def test_a_unit_that_is_not_heard_is_not_compared(tmp_path: Path) -> None:
    async def story() -> None:
        bench, meter = metered(tmp_path, more_w=0.0)
        bench.plan(gpu=2, old=4, new=4)
        await bench.step(8)
        bench.old.answers = False
        meter.more_w = 5e6
        await bench.step(10)
        assert not [r for r in bench.kept() if isinstance(r, Fault) and r.what == "meter"]

    run(story())


def test_the_meter_is_told_by_interval_and_silence_is_none(tmp_path: Path) -> None:
    async def story() -> None:
        bench, meter = metered(tmp_path, more_w=50e3)
        bench.plan(gpu=2, old=3, new=3)
        await bench.step(61)
        meter.answers = False
        await bench.step(61)
        told = [r for r in bench.kept() if isinstance(r, MeterReading)]
        assert [r.power_w is None for r in told] == [False, False]
        await bench.step(61)
        told = [r for r in bench.kept() if isinstance(r, MeterReading)]
        assert told[0].power_w == pytest.approx(8.05e6, rel=0.3)
        assert (told[-1].readings, told[-1].power_w) == (0, None)
        assert told[-1].subject == "s"

    run(story())
