"""A rack of fake rigs on loopback sockets, the group that drives it, and a running agent in front of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from tests.edge.edge_bench import make_site

from tieline.clock import WallClock
from tieline.edge.agent import Agent, Equipment
from tieline.edge.device import Answer, Reading, Unreachable
from tieline.edge.orderbook import OrderBook
from tieline.edge.rigs.group import AsicGroup
from tieline.edge.rigs.register import Register
from tieline.fleet.sites import RigGroup
from tieline.link import LocalLink
from tieline.records import AnyRecord, Fault, Instruction, Outcome, Plan, Reason, Sample, Setpoint, decode
from tieline.sim.rigs.server import FakeRigs
from tieline.store.outbox import Outbox

BLOCK = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 200}"  # apart from a platform that runs here
AUX = 1.04  # the auxiliary load of a 15 C day
EACH_W = 3500 * AUX  # an S21 with it


def addresses(count: int) -> tuple[str, ...]:
    first = BLOCK.rsplit(".", 1)
    return tuple(f"{first[0]}.{int(first[1]) + n // 250}.{n % 250 + 1}" for n in range(count))


def rig_unit(count: int, model: str = "Antminer S21", firmware: str = "luxos") -> RigGroup:
    return RigGroup(
        id="s.rigs-1", feeder="s.f-mine", model=model, rigs=count, firmware=firmware, hardware="fake",
        addresses=addresses(count),
    )  # fmt: skip


def setpoint(watts: float, rule: str = "strike", **shares: float) -> Setpoint:
    return Setpoint(unit_id="s.rigs-1", target_w=watts, shares=shares, reason=Reason(rule=rule, text="test"))


class Rack:
    """Fake rigs and their group, polled when the test says so."""

    def __init__(self, rigs: FakeRigs, group: AsicGroup, now: datetime) -> None:
        self.rigs, self.group, self.now = rigs, group, now
        self.addresses = list(rigs.rigs)

    async def ask(self, watts: float, rule: str = "strike", **shares: float) -> Answer:
        answer = await self.group.apply(setpoint(watts, rule, **shares), self.now)
        await self.told()
        return answer

    async def told(self) -> None:
        """Until every command under way has ended."""
        async with asyncio.timeout(30):
            while any(rig.telling is not None and not rig.telling.done() for rig in self.group.rigs):
                await asyncio.sleep(0.005)

    async def read(self) -> Reading | Unreachable:
        self.now += timedelta(seconds=1)
        self.group._swept_at = float("-inf")
        for rig in self.group.rigs:
            rig.asked_at = min(rig.asked_at, rig.asked_at if rig.heard else -1e9)  # silent ones now, not in 5 s
        await self.group.read(self.now)
        assert self.group._sweep is not None
        await self.group._sweep  # a step does not wait for silent rigs; a test does
        for rig in self.group.rigs:
            if rig.polling is not None:
                await asyncio.wait({rig.polling}, timeout=10)
        self.group._last = self.group._reading(self.now)
        self.group._swept_at = asyncio.get_running_loop().time()
        await self.told()
        return await self.group.read(self.now)

    async def heard(self) -> Reading:
        reading = await self.read()
        assert isinstance(reading, Reading), reading
        return reading

    @property
    def awake(self) -> int:
        return sum(not rig.asleep for rig in self.rigs.rigs.values())


@asynccontextmanager
async def rack(
    count: int = 6, now: datetime | None = None, register: Register | None = None, **unit: Any
) -> AsyncIterator[Rack]:
    group = rig_unit(count, **unit)
    rigs = FakeRigs(group.addresses, group.rig, firmware=group.firmware)
    assert await rigs.start() == count, rigs.problem
    start = now if now is not None else WallClock().now()
    it = Rack(rigs, AsicGroup(make_site(), group, lambda _: 15.0, register), start)
    try:
        yield it
    finally:
        await it.group.close()
        await rigs.stop()


class Running:
    """An agent that runs by the wall clock in front of a rack, a step every `every_s`."""

    def __init__(self, path: Path, rigs: FakeRigs, unit: RigGroup, **more: Any) -> None:
        site = make_site(limit_mw=100)
        self.site = msgspec.structs.replace(site, rig_groups=(unit,), node_groups=())
        self.rigs, self.clock = rigs, WallClock()
        self.group = AsicGroup(self.site, unit, lambda _: 15.0, Register(path))
        self.group.poll_s = 0.3
        self.outbox = Outbox(path / "outbox.db")
        self.agent = Agent(
            self.clock,
            self.site,
            Equipment([self.group]),
            self.outbox,
            LocalLink(),
            OrderBook("s", path / "orders.json"),
            **more,
        )
        self._steps: asyncio.Task[None] | None = None

    def go(self, every_s: float = 0.25) -> None:
        async def forever() -> None:
            while True:
                await self.agent.step(self.clock.now())
                await asyncio.sleep(every_s)

        self._steps = asyncio.create_task(forever())

    async def until(self, condition: Callable[[], Any], within_s: float = 40.0) -> float:
        """Wait for `condition`; returns after how many seconds it held."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not condition():
            assert self._steps is None or not self._steps.done(), self._steps.exception() if self._steps else None
            assert loop.time() - began < within_s, f"not within {within_s} s"
            await asyncio.sleep(0.02)
        return loop.time() - began

    def order(self, limit_w: float, minutes: float = 30) -> Instruction:
        now = self.clock.now()
        order = Instruction(
            at=now, known_at=now, source="grid", kind="measured", instruction_id=f"i{now.isoformat()}", site_id="s",
            limit_w=limit_w, until=now + timedelta(minutes=minutes),
        )  # fmt: skip
        self.agent.take(order, now)
        return order

    def plan(self, watts: float, **shares: float) -> None:
        now = self.clock.now()
        self.agent.take(
            Plan(
                at=now, known_at=now, source="dispatch", kind="forecast", site_id="s", length_s=300,
                valid_until=now + timedelta(minutes=15), mode="act", limit_w=100e6, price_usd_per_mwh=40.0,
                hashprice_usd=50.0, setpoints=(setpoint(watts, **shares),), decided_by="test",
            ),
            now,
        )  # fmt: skip

    def unit(self) -> dict[str, Any]:
        return dict(msgspec.json.decode(self.agent.live(self.clock.now()))["units"]["s.rigs-1"])

    def kept(self) -> list[AnyRecord]:
        return [decode(body) for _, _, body in self.outbox.take(10_000)]

    def faults(self, what: str) -> list[Fault]:
        return [r for r in self.kept() if isinstance(r, Fault) and r.what == what]

    def outcomes(self) -> list[Outcome]:
        return [r for r in self.kept() if isinstance(r, Outcome)]

    def samples(self) -> list[Sample]:
        return [r for r in self.kept() if isinstance(r, Sample)]

    async def stop(self) -> None:
        if self._steps is not None:
            self._steps.cancel()
            await asyncio.gather(self._steps, return_exceptions=True)
        await self.agent.close()


@asynccontextmanager
async def running(path: Path, count: int = 6, **more: Any) -> AsyncIterator[Running]:
    """An agent and its rack, heard in full."""
    unit = rig_unit(count, more.pop("model", "Antminer S21"), more.pop("firmware", "luxos"))
    rigs = FakeRigs(unit.addresses, unit.rig, firmware=unit.firmware)
    assert await rigs.start() == count, rigs.problem
    it = Running(path, rigs, unit, **more)
    it.go()
    try:
        await it.until(lambda: it.unit()["devices_heard"] == count)
        yield it
    finally:
        await it.stop()
        await rigs.stop()
