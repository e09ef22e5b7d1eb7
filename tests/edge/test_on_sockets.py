"""What once broke a site, each through a running agent in front of fakes that listen on loopback.

| what | held by |
|---|---|
| silent rigs hold up the well | `test_silent_rigs_*` |
| one rig says `Watts: "N/A"` | `test_one_rigs_bad_watts_*` |
| absurd figures, a terawatt as last known power | `test_absurd_figures_*`, `test_a_terawatt_is_not_*` |
| rigs that tell no watts | `test_rigs_that_tell_no_watts_*` |
| a meter or a device that raises or hangs | `test_a_sick_meter_and_sick_rigs_*` |
| a group that says 0 W and draws on | `test_a_group_that_says_it_sleeps_*` |
| asked for power, draws none | `test_rigs_that_draw_nothing_*` |
| shares of a lower mode | `test_the_lower_mode_of_a_plan_*` |
| a target that flips | `test_a_target_that_flips_*` |
| another rig, another pool | `test_a_stranger_*` |
| a clock off by a day | `test_a_clock_that_is_off_*` |
| whoever holds a site's credentials | `tests/app/test_link_users.py`, `tests/app/test_commands.py` |
| a power cut, a full spool | `tests/edge/test_power_cuts.py`, `test_a_full_spool_*` |
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.edge.rack import EACH_W, Running, running

from tieline.edge import unit
from tieline.edge.plant import modbus
from tieline.edge.rigs import group, state
from tieline.fleet.models import RIG_MODELS
from tieline.records import Fault, MeterReading, Outcome, Sample
from tieline.sim.modbus import FakeModbus

linux = pytest.mark.skipif(sys.platform != "linux", reason="many loopback addresses are a Linux feature")
DOWN_W = 25.0


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


@linux
def test_silent_rigs_do_not_delay_the_well(tmp_path: Path) -> None:
    """250 of 300 accept and never answer; an order of 1 kW: the 50 others sleep within seconds."""

    async def story() -> None:
        async with running(tmp_path, 300) as it:
            sick = list(it.rigs.rigs)[:250]
            for address in sick:
                it.rigs.inject(address, "hang")
            it.group._swept_at = float("-inf")
            await it.until(lambda: it.unit()["devices_heard"] == 50)
            it.order(1000.0)
            well = [rig for address, rig in it.rigs.rigs.items() if address not in sick]
            await it.until(lambda: all(rig.asleep for rig in well), within_s=30)  # seconds on a quiet machine
            assert it.unit()["devices_heard"] == 50

    run(story)


@linux
def test_silent_rigs_that_fell_silent_with_the_order_do_not_delay_it_either(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, 300) as it:
            sick = list(it.rigs.rigs)[:250]
            for address in sick:
                it.rigs.inject(address, "hang")
            it.order(1000.0)
            well = [rig for address, rig in it.rigs.rigs.items() if address not in sick]
            await it.until(lambda: all(rig.asleep for rig in well), within_s=30)

    run(story)


@linux
def test_one_rigs_bad_watts_neither_end_the_poll_nor_leave_old_power_as_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit, "OBEY", timedelta(seconds=1))

    async def story() -> None:
        async with running(tmp_path, 12) as it:
            bad = list(it.rigs.rigs)[3]
            it.rigs.rigs[bad].says["watts"] = "N/A"
            it.order(1000.0)
            await it.until(lambda: it.rigs.power_w == 12 * 25)
            await it.until(lambda: it.unit()["power_w"] < 1000)
            await it.until(lambda: [o for o in it.outcomes() if o.result == "applied"])
            assert it.unit()["devices_heard"] == 12
            assert it.unit()["estimated_w"] > 0
            (fault,) = it.faults("telemetry")
            assert bad in fault.detail
            assert "'N/A'" in fault.detail
            it.rigs.mend(bad)
            await it.until(lambda: [f for f in it.faults("telemetry") if f.until is not None])

    run(story)


@linux
@pytest.mark.parametrize(
    ("field", "value"),
    [("watts", -5000), ("watts", float("nan")), ("watts", 1e12), ("rate_ghs", -200_000), ("watts", [])],
)
def test_absurd_figures_are_named_and_never_taken(tmp_path: Path, field: str, value: object) -> None:
    async def story() -> None:
        async with running(tmp_path) as it:
            it.rigs.rigs[next(iter(it.rigs.rigs))].says[field] = value
            await it.until(lambda: it.faults("telemetry"))
            shown = it.unit()
            assert shown["power_w"] == pytest.approx(6 * EACH_W, rel=0.01)
            assert shown["hashrate_hs"] == pytest.approx((5 if field == "rate_ghs" else 6) * 200e12)

    run(story)


@linux
@pytest.mark.parametrize("firmware", ["luxos", "antminer"])
def test_rigs_that_tell_no_watts_are_estimated_marked_and_obey(tmp_path: Path, firmware: str) -> None:
    """Antminers' own firmware tells none."""

    async def story() -> None:
        async with running(tmp_path, firmware=firmware) as it:
            for address in it.rigs.rigs:
                it.rigs.inject(address, "no_watts")
            await it.until(lambda: it.unit()["estimated_w"] == pytest.approx(6 * EACH_W, rel=0.01))
            shown = it.unit()
            assert (shown["heard"], shown["devices_heard"]) == (True, 6)
            assert shown["hashrate_hs"] == pytest.approx(6 * 200e12)
            it.order(1000.0)
            await it.until(lambda: it.rigs.power_w == 6 * 25)
            await it.until(lambda: it.unit()["power_w"] < 1000)
            now = it.clock.now()
            fold = it.agent._units["s.rigs-1"].fold
            (sample,) = fold.add(now + timedelta(minutes=5), None)[:1]
            assert sample.kind in ("estimated", "simulated")

    run(story)


@linux
def test_rigs_that_draw_nothing_though_asked_are_no_obedience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "OBEY", timedelta(seconds=1))
    monkeypatch.setattr(state, "WAKE_OBEY_S", 1.0)

    async def story() -> None:
        async with running(tmp_path) as it:
            it.plan(0.0)
            await it.until(lambda: it.rigs.power_w == 6 * 25)
            await it.until(lambda: [o for o in it.outcomes() if o.result == "applied"])
            for address in it.rigs.rigs:
                it.rigs.inject(address, "stuck")
            it.plan(6 * EACH_W)
            await it.until(lambda: [o for o in it.outcomes() if o.result == "refused"])
            (refused,) = [o for o in it.outcomes() if o.result == "refused"]
            assert next(iter(it.rigs.rigs)) in refused.detail

    run(story)


@linux
def test_a_stranger_and_another_pool_are_faults_with_both_values(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as it:
            one, other, *_ = it.rigs.rigs.values()
            one.model = RIG_MODELS["Antminer S9"]
            other.pool, other.worker = "stratum+tcp://thief.example:3333", "thief.1"
            await it.until(lambda: it.faults("identity") and it.faults("pool"))
            assert "Antminer S9, expected Antminer S21" in it.faults("identity")[0].detail
            assert "thief.1, expected stratum+tcp://pool.simulated:3333" in it.faults("pool")[0].detail
            it.order(1000.0)
            await it.until(lambda: sum(rig.asleep for rig in it.rigs.rigs.values()) == 5)
            assert not one.asleep

    run(story)


@linux
def test_a_late_joiner_is_put_down_without_a_new_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "ASK_AGAIN_S", 0.5)

    async def story() -> None:
        async with running(tmp_path) as it:
            late = next(iter(it.rigs.rigs.values()))
            it.rigs.inject(late.address, "unreachable")
            await it.until(lambda: it.unit()["devices_heard"] == 5)
            it.order(1000.0)
            await it.until(lambda: it.rigs.power_w == 3500 + 5 * 25)
            it.rigs.mend(late.address)
            await it.until(lambda: late.asleep)

    run(story)


@linux
def test_a_terawatt_is_not_the_last_known_power_of_a_rig_that_falls_silent(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as it:
            one = next(iter(it.rigs.rigs.values()))
            one.says["watts"] = 1e12
            await it.until(lambda: it.faults("telemetry"))
            it.rigs.inject(one.address, "unreachable")
            await it.until(lambda: it.unit()["devices_heard"] == 5)
            assert it.unit()["power_w"] == pytest.approx(6 * EACH_W, rel=0.01)

    run(story)


@linux
@pytest.mark.parametrize("manner", ["hang", "garbage"])
def test_a_sick_meter_and_sick_rigs_do_not_stop_the_reflex(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    """While the meter and a third of the rigs hang, cut, or talk rubbish, the rest obeys an order."""
    monkeypatch.setattr(modbus, "TIMEOUT_S", 0.2)

    async def story() -> None:
        meter = FakeModbus()
        async with running(tmp_path, 12, meter=meter) as it:
            meter.manner = manner  # type: ignore[assignment]
            for address, fault in zip(it.rigs.rigs, ("hang", "half_frame", "flood", "html"), strict=False):
                it.rigs.inject(address, fault)  # type: ignore[arg-type]
            await it.until(lambda: it.unit()["devices_heard"] == 8 and it.faults("meter silent"))
            it.order(4 * EACH_W + 8 * DOWN_W * 1.1)
            await it.until(lambda: sum(rig.asleep for rig in it.rigs.rigs.values()) == 8)

    run(story)


@linux
def test_a_group_that_says_it_sleeps_and_draws_on_is_paid_for_by_the_others(tmp_path: Path) -> None:
    """12 rigs say that they sleep and draw 44 kW, 12 others obey: the meter holds the order, and the liar is named."""

    async def story() -> None:
        async with running(tmp_path, 12, beside=12, meter=FakeModbus(), limit_mw=0.1) as it:
            liars = it.racks["s.rigs-2"].rigs.values()
            for rig in liars:
                rig.faults |= {"stuck", "says_asleep"}
            limit_w = 12 * EACH_W + 4 * EACH_W
            it.order(limit_w)
            await it.until(lambda: it.true_w <= limit_w)
            await it.until(lambda: it.faults("meter"))
            assert not any(rig.asleep for rig in liars)
            assert "MW apart" in it.faults("meter")[0].detail

    run(story)


@linux
def test_the_lower_mode_of_a_plan_is_carried_out_by_a_running_agent(tmp_path: Path) -> None:
    """All 36 run low at 72 % of their power and none sleeps: not 27 in full."""

    async def story() -> None:
        async with running(tmp_path, 36) as it:
            it.plan(0.72 * 36 * EACH_W, low=1.0)
            await it.until(lambda: it.rigs.power_w == pytest.approx(0.72 * 36 * 3500, rel=0.03))
            assert not any(rig.asleep for rig in it.rigs.rigs.values())
            hashrate = sum(rig.hashrate_ths for rig in it.rigs.rigs.values())
            assert hashrate == pytest.approx(0.8 * 36 * 200, rel=0.03)

    run(story)


@linux
def test_a_target_that_flips_starts_no_rig_twice_within_minutes(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as it:
            for _ in range(3):
                it.plan(0.0)
                await it.until(lambda: all(rig.asleep or rig.starts for rig in it.rigs.rigs.values()))
                it.plan(6 * EACH_W)
                await asyncio.sleep(0.6)
            assert {rig.starts for rig in it.rigs.rigs.values()} == {1}

    run(story)


@linux
@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_off_by_a_day_moves_no_load_and_is_said(tmp_path: Path, days: int) -> None:
    async def story() -> None:
        async with running(tmp_path) as it:
            it.plan(6 * EACH_W)
            it.order(3 * EACH_W + 3 * DOWN_W * 1.1)
            await it.until(lambda: sum(rig.asleep for rig in it.rigs.rigs.values()) == 3)
            it.clock.off = timedelta(days=days)
            await it.until(lambda: it.faults("clock"))
            await asyncio.sleep(1.0)  # some steps: mining stays on, the order binds
            assert sum(rig.asleep for rig in it.rigs.rigs.values()) == 3

    run(story)


@linux
def test_a_full_spool_keeps_the_newest_and_every_reading_of_the_meter(tmp_path: Path) -> None:
    def old(it: Running, n: int) -> Sample:
        at = it.clock.now() - timedelta(minutes=5 * (100 - n))
        return Sample(
            at=at, known_at=at, source="site:s", kind="measured", site_id="s", unit_id="s.rigs-1", length_s=300,
            readings=1, power_w=1.0,
        )  # fmt: skip

    async def story() -> None:
        more = {"most_items": 60, "interval": timedelta(seconds=1)}
        async with running(tmp_path, meter=FakeModbus(), **more) as it:
            it.agent.keep([old(it, n) for n in range(55)])
            it.order(1000.0)
            await it.until(lambda: sum(isinstance(r, MeterReading) for r in it.kept()) >= 4)
            await it.until(lambda: [r for r in it.kept() if isinstance(r, Fault) and r.what == "spool"])
            await it.until(lambda: [r for r in it.kept() if isinstance(r, Outcome) and r.result == "applied"])
            readings = [r.at for r in it.kept() if isinstance(r, MeterReading)]
            gaps = {b - a for a, b in itertools.pairwise(readings)}
            assert gaps <= {timedelta(seconds=1)}  # none of them made room for another
            assert len(it.outbox) <= 60

    run(story)
