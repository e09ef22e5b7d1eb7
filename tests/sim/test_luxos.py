"""Fake LuxOS rigs on loopback sockets, driven through the real pyasic, with every fault."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from tests.edge.edge_bench import make_site

from tieline.edge import asic
from tieline.edge.asic import AsicGroup
from tieline.edge.device import Answer, Applied, Reading, Unreachable
from tieline.fleet.sites import RigGroup
from tieline.records import Reason, Setpoint
from tieline.sim.luxos import FakeRigs

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="many loopback addresses are a Linux feature; the rigs need them"
)

NOW = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)
BLOCK = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"  # apart from a platform that runs here
RIGS = 6
EACH_W = 3500 * 1.04  # an S21 with the auxiliary load of a 15 C day


class Rack:
    """Six fake rigs and the group that drives them, polled each time instead of every ten seconds."""

    def __init__(self, rigs: FakeRigs, group: AsicGroup) -> None:
        self.rigs, self.group = rigs, group
        self.addresses = list(rigs.rigs)

    async def ask(self, watts: float, **shares: float) -> Answer:
        reason = Reason(rule="test", text="test")
        setpoint = Setpoint(unit_id="s.rigs-1", target_w=watts, shares=shares, reason=reason)
        return await self.group.apply(setpoint, NOW)

    async def read(self) -> Reading | Unreachable:
        self.group._polled_at = float("-inf")
        answer = await self.group.read(NOW)
        assert self.group._polling is not None
        await self.group._polling  # a step does not wait for silent rigs; a test does
        return answer if isinstance(answer, Unreachable) and self.group._last is None else await self.group.read(NOW)

    async def heard(self) -> Reading:
        reading = await self.read()
        assert isinstance(reading, Reading)
        return reading


@asynccontextmanager
async def rack(count: int = RIGS) -> AsyncIterator[Rack]:
    unit = RigGroup(
        id="s.rigs-1", feeder="s.f-mine", model="Antminer S21", rigs=count, firmware="luxos", hardware="fake",
        addresses=tuple(f"{BLOCK}.{n + 1}" for n in range(count)),
    )  # fmt: skip
    rigs = FakeRigs(unit.addresses, unit.rig)
    assert await rigs.start() == count, rigs.problem
    it = Rack(rigs, AsicGroup(make_site(), unit, temp_of=lambda _: 15.0))
    try:
        yield it
    finally:
        await it.group.close()
        await rigs.stop()


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

            assert isinstance(await it.ask(2.5 * EACH_W), Applied)
            assert sum(not rig.asleep for rig in it.rigs.rigs.values()) == 2
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
            assert sum(rig.asleep for rig in it.rigs.rigs.values()) == 3

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
    monkeypatch.setattr(asic, "OBEY_S", 0.0)

    async def story() -> None:
        async with rack() as it:
            await it.heard()
            it.rigs.inject(it.addresses[1], "stuck")
            assert isinstance(await it.ask(0), Applied)
            reading = await it.heard()
            assert reading.disobeying == (it.addresses[1],)
            assert reading.power_w > 3500
            it.rigs.mend(it.addresses[1])
            await it.ask(0)  # told again
            assert (await it.heard()).disobeying == ()

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
            assert it.rigs.power_w * 1.04 <= 3 * EACH_W * 1.01 + 10
            assert sum(not rig.asleep for rig in it.rigs.rigs.values()) == 3 - (it.rigs.power_w < 3 * 3500)
            it.rigs.mend(it.addresses[0])
            await it.heard()
            await it.ask(0)
            assert all(rig.asleep for rig in it.rigs.rigs.values())

    run(story)


def test_a_wrong_readback_is_believed_for_limits_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asic, "OBEY_S", 0.0)

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


def test_a_slow_rig_draws_at_once_and_hashes_later() -> None:
    seconds = [0.0]
    rigs = FakeRigs([f"{BLOCK}.99"], RigGroup(id="g", feeder="f", model="Antminer S21", rigs=1).rig,
                    seconds=lambda: seconds[0])  # fmt: skip
    (rig,) = rigs.rigs.values()
    rig.curtail("sleep")
    rig.curtail("wakeup")
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
