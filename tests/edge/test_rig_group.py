"""Fake rigs on loopback sockets, driven by their group, with every fault."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.edge.rack import AUX, BLOCK, EACH_W, rack, setpoint

from tieline.edge.device import Applied, Refused, Unreachable
from tieline.edge.rigs import group, state
from tieline.edge.rigs.breakers import Breaker, BreakerPace, addresses_of
from tieline.edge.rigs.register import Register
from tieline.fleet.sites import RigGroup
from tieline.sim.rigs.server import FakeRigs

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="many loopback addresses are a Linux feature; the rigs need them"
)

RIGS = 6


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_rigs_are_recognised_read_paused_and_woken() -> None:
    async def story() -> None:
        async with rack() as it:
            reading = await it.heard()
            assert (reading.devices, reading.devices_heard) == (RIGS, RIGS)
            assert reading.power_w == pytest.approx(RIGS * EACH_W)
            assert reading.hashrate_hs == pytest.approx(RIGS * 200e12)
            assert reading.temp_c is not None
            assert reading.complaints == ()

            assert isinstance(await it.ask(2.5 * EACH_W), Applied)
            assert it.awake == 2
            assert (await it.heard()).power_w <= 2.5 * EACH_W

            assert isinstance(await it.ask(0), Applied)
            assert it.rigs.power_w == pytest.approx(RIGS * 25)  # the control boards stay on
            assert (await it.heard()).power_w <= it.group.lowest_w

            assert isinstance(await it.ask(RIGS * EACH_W), Applied)
            assert it.rigs.power_w == RIGS * 3500
            assert (await it.heard()).hashrate_hs == 0  # awake, drawing, not yet hashing

    run(story)


def test_shares_of_modes_are_taken_as_rigs() -> None:
    async def story() -> None:
        async with rack() as it:
            await it.heard()
            await it.ask(RIGS * EACH_W, normal=0.5, sleep=0.5)
            assert it.awake == 3

    run(story)


def test_only_rigs_that_differ_are_told() -> None:
    async def story() -> None:
        async with rack() as it:
            await it.heard()
            await it.ask(3 * EACH_W)
            awake = {a for a, rig in it.rigs.rigs.items() if not rig.asleep}
            await it.heard()
            calls = {a: rig.calls for a, rig in it.rigs.rigs.items()}
            await it.ask(3 * EACH_W)
            assert {a: rig.calls for a, rig in it.rigs.rigs.items()} == calls
            await it.ask(2 * EACH_W)
            assert {a for a, rig in it.rigs.rigs.items() if not rig.asleep} < awake

    run(story)


def test_a_stuck_rig_takes_the_order_and_is_named_when_it_does_not_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "OBEY_S", 0.0)

    async def story() -> None:
        async with rack() as it:
            await it.heard()
            it.rigs.inject(it.addresses[1], "stuck")
            assert isinstance(await it.ask(0), Applied)
            reading = await it.heard()
            assert reading.disobeying == (it.addresses[1],)
            assert reading.power_w > 3500
            it.rigs.mend(it.addresses[1])
            monkeypatch.setattr(group, "TELL_AGAIN_S", 0.0)
            await it.heard()  # told again
            assert (await it.heard()).disobeying == ()

    run(story)


def test_a_rig_that_will_not_wake_is_named_and_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "WAKE_OBEY_S", 0.0)

    async def story() -> None:
        async with rack() as it:
            await it.heard()
            await it.ask(0)
            await it.heard()
            it.rigs.inject(it.addresses[0], "stuck")
            await it.ask(3 * EACH_W + 3 * 25 * AUX)
            reading = await it.heard()
            assert it.awake == 2
            assert reading.disobeying == (it.addresses[0],)
            await it.ask(3 * EACH_W + 3 * 25 * AUX)
            assert it.awake == 3

    run(story)


def test_an_unreachable_rig_counts_at_its_last_known_power_and_others_make_room() -> None:
    async def story() -> None:
        async with rack() as it:
            await it.heard()
            it.rigs.inject(it.addresses[0], "unreachable")
            reading = await it.heard()
            assert reading.devices_heard == RIGS - 1
            assert reading.silent_w == pytest.approx(EACH_W)
            await it.ask(3 * EACH_W)
            assert it.rigs.power_w * AUX <= 3 * EACH_W * 1.01 + 10
            await it.ask(0)
            it.rigs.mend(it.addresses[0])
            await it.heard()  # off holds for late joiners, without a new order
            assert it.awake == 0

    run(story)


def test_a_wrong_readback_is_believed_for_limits_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "OBEY_S", 0.0)

    async def story() -> None:
        async with rack() as it:
            await it.heard()
            it.rigs.inject(it.addresses[2], "wrong_readback")
            await it.ask(0)
            reading = await it.heard()
            assert it.rigs.power_w == pytest.approx(RIGS * 25)
            assert reading.disobeying == (it.addresses[2],)

    run(story)


def test_a_rig_that_forgot_its_session_is_logged_on_again() -> None:
    async def story() -> None:
        async with rack() as it:
            await it.heard()
            await it.ask(0)
            for rig in it.rigs.rigs.values():
                rig.session = ""  # as after a restart
            await it.heard()
            await it.ask(RIGS * EACH_W)
            assert it.rigs.power_w == RIGS * 3500

    run(story)


def test_nobody_there_is_unreachable_and_no_zero() -> None:
    async def story() -> None:
        async with rack() as it:
            await it.rigs.stop()
            assert isinstance(await it.read(), Unreachable)
            assert isinstance(await it.ask(0), Unreachable)

    run(story)


def test_rigs_that_say_no_are_a_refusal() -> None:
    async def story() -> None:
        async with rack(2) as it:
            await it.heard()
            for address in it.addresses:
                it.rigs.inject(address, "refuse")
            await it.ask(0)
            answer = await it.ask(0)
            assert isinstance(answer, Refused)
            assert "curtail failed" in answer.why

    run(story)


def test_the_low_mode_of_a_plan_is_carried_out() -> None:
    """A plan of 72 % of power for 80 % of the hashrate, not 72 % of the rigs in full."""

    async def story() -> None:
        async with rack() as it:
            await it.heard()
            for rig in it.rigs.rigs.values():
                rig.woken_at = float("-inf")
            await it.ask(0.72 * RIGS * EACH_W, low=1.0)
            assert {rig.profile for rig in it.rigs.rigs.values()} == {"-2step"}
            reading = await it.heard()
            assert reading.power_w / (RIGS * EACH_W) == pytest.approx(0.72, abs=0.01)
            assert (reading.hashrate_hs or 0) / (RIGS * 200e12) == pytest.approx(0.80, abs=0.01)
            await it.ask(RIGS * EACH_W, normal=1.0)
            assert (await it.heard()).power_w == pytest.approx(RIGS * EACH_W)

    run(story)


def test_a_rig_is_not_started_twice_within_five_minutes_nor_seven_times_a_day() -> None:
    async def story() -> None:
        async with rack() as it:
            await it.heard()
            for _ in range(8):  # a target that flips every few seconds
                await it.ask(0)
                await it.heard()
                await it.ask(RIGS * EACH_W)
                await it.heard()
            assert {rig.starts for rig in it.rigs.rigs.values()} == {1}
            assert (await it.heard()).waiting == RIGS
            for _ in range(8):
                it.now += timedelta(minutes=6)
                await it.ask(0)
                await it.heard()
                await it.ask(RIGS * EACH_W)
                await it.heard()
            assert {rig.starts for rig in it.rigs.rigs.values()} == {6}
            await it.ask(0)
            await it.heard()
            await it.ask(RIGS * EACH_W, rule="restore")  # an order is excepted, and counted
            assert {rig.starts for rig in it.rigs.rigs.values()} == {7}
            assert {h.excepted for h in map(it.group.register.at, it.addresses)} == {1}

    run(story)


def test_starts_are_counted_through_a_restart_of_the_agent(tmp_path: Path) -> None:
    async def story() -> None:
        async with rack(2, register=Register(tmp_path)) as it:
            await it.heard()
            await it.ask(0)
            await it.heard()
            await it.ask(2 * EACH_W)
            await it.heard()
        assert [len(Register(tmp_path).at(a).starts) for a in it.addresses] == [1, 1]

    run(story)


def test_a_rig_that_moved_keeps_its_history_and_a_stranger_is_not_commanded(tmp_path: Path) -> None:
    async def story() -> None:
        async with rack(3, register=Register(tmp_path)) as it:
            await it.heard()
            first, second, third = it.addresses
            it.group.register.at(second).excepted = 7
            one, other = it.rigs.rigs[first], it.rigs.rigs[second]
            one.mac, other.mac = other.mac, one.mac
            one.worker, other.worker = other.worker, one.worker
            assert (await it.heard()).complaints == ()
            assert it.group.register.at(first).excepted == 7

            ours, it.rigs.rigs[third].mac = it.rigs.rigs[third].mac, "02:aa:aa:aa:aa:aa"
            ((what, line),) = (await it.heard()).complaints
            assert what == "identity"
            assert line == f"{third} has MAC 02:aa:aa:aa:aa:aa, expected {ours}"
            await it.ask(0)
            assert it.awake == 1  # it may be anybody's
            (tmp_path / "rigs.accepted").write_text("  " + third + "\n")
            assert (await it.heard()).complaints == ()
            await it.ask(0)
            assert it.awake == 0

    run(story)


def test_another_model_at_an_address_is_named_and_not_commanded() -> None:
    async def story() -> None:
        async with rack(2) as it:
            from tieline.fleet.models import RIG_MODELS

            it.rigs.rigs[it.addresses[1]].model = RIG_MODELS["Antminer S9"]
            ((what, line),) = (await it.heard()).complaints
            assert (what, line) == ("identity", f"{it.addresses[1]} is a Antminer S9, expected Antminer S21")
            await it.ask(0)
            assert it.awake == 1

    run(story)


def test_another_pool_or_worker_is_told_with_both_values() -> None:
    async def story() -> None:
        async with rack(2) as it:
            await it.heard()
            rig = it.rigs.rigs[it.addresses[0]]
            before = rig.worker
            rig.pool, rig.worker = "stratum+tcp://thief.example:3333", "thief.1"
            ((what, line),) = (await it.heard()).complaints
            assert what == "pool"
            assert "thief.example" in line
            assert "thief.1" in line
            assert "pool.simulated" in line
            assert before in line

    run(story)


BAD = ["N/A", -5000, float("nan"), 1e12, [], {}, True, None]


@pytest.mark.parametrize("watts", BAD, ids=repr)
def test_watts_that_cannot_be_believed_are_estimated_and_named(watts: object) -> None:
    async def story() -> None:
        async with rack(3) as it:
            await it.heard()
            it.rigs.rigs[it.addresses[0]].says["watts"] = watts
            reading = await it.heard()
            assert reading.devices_heard == 3
            assert reading.power_w == pytest.approx(3 * EACH_W, rel=0.01)
            assert reading.estimated_w == pytest.approx(EACH_W)
            assert [what for what, _ in reading.complaints] == ([] if watts is None else ["telemetry"])
            await it.ask(0)
            assert (await it.heard()).power_w <= it.group.lowest_w
            it.rigs.inject(it.addresses[0], "unreachable")
            assert (await it.heard()).silent_w <= EACH_W  # the last known power is one that was believed

    run(story)


@pytest.mark.parametrize("rate", ["-200000", "nan", "1e30", "abc", -200_000, float("inf"), None])
def test_a_hashrate_that_cannot_be_believed_is_none_of_the_sum(rate: object) -> None:
    async def story() -> None:
        async with rack(3) as it:
            it.rigs.rigs[it.addresses[0]].says["rate_ghs"] = rate
            reading = await it.heard()
            assert reading.hashrate_hs == pytest.approx(2 * 200e12)
            assert reading.power_w == pytest.approx(3 * EACH_W)

    run(story)


@pytest.mark.parametrize("fault", ["half_frame", "html", "flood", "hang", "unreachable"])
def test_a_rig_with_bad_manners_is_silent_and_no_one_else(fault: str) -> None:
    async def story() -> None:
        async with rack(3) as it:
            await it.heard()
            it.rigs.inject(it.addresses[0], fault)  # type: ignore[arg-type]
            reading = await it.heard()
            assert reading.devices_heard == 2
            assert reading.silent_w == pytest.approx(EACH_W)
            assert it.group.rigs[0].why_silent

    run(story)


def test_behind_a_breaker_no_more_start_at_once_than_it_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "WAVE_EVERY_S", 0.1)

    async def story() -> None:
        async with rack(10) as it:
            behind = frozenset(it.addresses[:6])
            pace = it.group.pace = BreakerPace((Breaker("b", behind, 2, 0.5),))
            told: dict[str, float] = {}
            start = pace.start

            def noted(address: str, now_s: float) -> bool:
                if may := start(address, now_s):
                    told[address] = now_s
                return may

            monkeypatch.setattr(BreakerPace, "start", lambda _, address, now_s: noted(address, now_s))
            await it.heard()
            await it.ask(0.0)
            await it.heard()
            assert it.awake == 0
            await it.group.apply(setpoint(10 * EACH_W, "restore"), it.now)
            async with asyncio.timeout(20):
                while it.awake < 10:
                    await asyncio.sleep(0.02)
            # The four that stand elsewhere go at once; of the six behind it two, and two more each half second.
            assert {told[address] for address in it.addresses[6:]} == {min(told.values())}
            late = sorted(told[address] for address in behind)
            assert late[0] == late[1]
            assert all(later - one >= 0.5 for one, later in zip(late, late[2:], strict=False))

    run(story)


def test_addresses_behind_a_breaker() -> None:
    assert addresses_of(["10.0.7.9-11", "10.0.8.1"]) == {"10.0.7.9", "10.0.7.10", "10.0.7.11", "10.0.8.1"}
    for wrong in ("x", "10.0.7.9-3", "10.0.7.9-256", "10.0.7"):
        with pytest.raises(ValueError, match="is no"):
            addresses_of([wrong])


def test_starts_go_in_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "WAVE_LEAST", 2)
    monkeypatch.setattr(group, "WAVE_EVERY_S", 0.3)

    async def story() -> None:
        async with rack() as it:
            await it.heard()
            await it.ask(0)
            await it.heard()
            seen = set()
            await it.group.apply(setpoint(RIGS * EACH_W), it.now)
            async with asyncio.timeout(5):
                while it.awake < RIGS:
                    seen.add(it.awake)
                    await asyncio.sleep(0.005)
            assert {2, 4} <= seen

    run(story)


def test_a_slow_rig_draws_at_once_and_hashes_later() -> None:
    seconds = [0.0]
    rigs = FakeRigs([f"{BLOCK}.99"], RigGroup(id="g", feeder="f", model="Antminer S21", rigs=1).rig,
                    seconds=lambda: seconds[0])  # fmt: skip
    (rig,) = rigs.rigs.values()
    rig.pause()
    rig.resume()
    assert (rig.power_w, rig.hashing) == (3500, False)
    seconds[0] = 11
    assert rig.hashing
    rigs.inject(rig.address, "slow_wake")
    assert not rig.hashing
    seconds[0] = 301
    assert rig.hashing


def test_an_address_that_is_taken_is_one_line() -> None:
    async def story() -> None:
        async with rack(2) as it:
            again = FakeRigs(it.addresses, it.rigs.rigs[it.addresses[0]].model)
            assert await again.start() == 0
            assert again.problem is not None
            assert "2 of 2 fake rigs cannot listen" in again.problem

    run(story)
