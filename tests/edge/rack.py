"""A rack of fake rigs on loopback sockets, the group that drives it, and a running agent in front of it."""

from __future__ import annotations

import asyncio
import os
import struct
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
from tieline.edge.plant.modbus import METERS, ModbusLine, ModbusMeter
from tieline.edge.rigs.group import AsicGroup
from tieline.edge.rigs.register import Register
from tieline.fleet.sites import RigGroup
from tieline.link import LocalLink
from tieline.records import AnyRecord, Fault, Instruction, Outcome, Plan, Reason, Sample, Setpoint, decode
from tieline.sim.modbus import FakeModbus
from tieline.sim.rigs.server import FakeRigs
from tieline.store.outbox import MAX_ITEMS, Outbox

BLOCK = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 200}"  # apart from a platform that runs here
AUX = 1.04  # the auxiliary load of a 15 C day
EACH_W = 3500 * AUX  # an S21 with it


def addresses(count: int, first: int = 0) -> tuple[str, ...]:
    net, third = BLOCK.rsplit(".", 1)
    return tuple(f"{net}.{int(third) + n // 250}.{n % 250 + 1}" for n in range(first, first + count))


def rig_unit(
    count: int, model: str = "Antminer S21", firmware: str = "luxos", name: str = "s.rigs-1", first: int = 0
) -> RigGroup:
    return RigGroup(
        id=name, feeder="s.f-mine", model=model, rigs=count, firmware=firmware, hardware="fake",
        addresses=addresses(count, first),
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


class ShiftedClock(WallClock):
    """The machine's clock, and what somebody set it off by."""

    off = timedelta()

    def now(self) -> datetime:
        return super().now() + self.off


class Running:
    """An agent that runs by the wall clock in front of a rack, a step every `every_s`."""

    def __init__(
        self, path: Path, racks: dict[str, tuple[FakeRigs, RigGroup]], meter_port: int | None = None, **more: Any
    ) -> None:
        site = make_site(limit_mw=more.pop("limit_mw", 100))
        units = tuple(unit for _, unit in racks.values())
        self.site = msgspec.structs.replace(site, rig_groups=units, node_groups=())
        self.rigs, self.clock = next(iter(racks.values()))[0], ShiftedClock()
        self.racks = {name: rigs for name, (rigs, _) in racks.items()}
        register = Register(path)
        self.groups = [AsicGroup(self.site, unit, lambda _: 15.0, register) for unit in units]
        self.group = self.groups[0]
        for group in self.groups:
            group.poll_s = 0.3
        meter = None
        if meter_port is not None:
            meter = ModbusMeter(ModbusLine("127.0.0.1", meter_port), METERS["eastron-sdm630"])
        self.outbox = Outbox(path / "outbox.db", more.pop("most_items", MAX_ITEMS))
        self.agent = Agent(
            self.clock,
            self.site,
            Equipment(self.groups, meter),
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
        """Of the first group."""
        now = self.clock.now()
        self.agent.take(
            Plan(
                at=now, known_at=now, source="dispatch", kind="forecast", site_id="s", length_s=300,
                valid_until=now + timedelta(minutes=15), mode="act", limit_w=100e6, price_usd_per_mwh=40.0,
                hashprice_usd=50.0, setpoints=(setpoint(watts, **shares),), decided_by="test",
            ),
            now,
        )  # fmt: skip

    def unit(self, name: str = "s.rigs-1") -> dict[str, Any]:
        return dict(msgspec.json.decode(self.agent.live(self.clock.now()))["units"][name])

    @property
    def true_w(self) -> float:
        """What all racks truly draw, whatever they say, with the auxiliary load of this day."""
        return AUX * sum(rigs.power_w for rigs in self.racks.values())

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
async def running(
    path: Path, count: int = 6, beside: int = 0, meter: FakeModbus | None = None, **more: Any
) -> AsyncIterator[Running]:
    """An agent and its rack, heard in full. `beside`: so many rigs in a second group, `s.rigs-2`; `meter`: it reads
    there, over its socket, what all of them truly draw."""
    model, firmware = more.pop("model", "Antminer S21"), more.pop("firmware", "luxos")
    units = [rig_unit(count, model, firmware)]
    if beside:
        units.append(rig_unit(beside, model, firmware, "s.rigs-2", count))
    racks = {unit.id: (FakeRigs(unit.addresses, unit.rig, firmware=unit.firmware), unit) for unit in units}
    for rigs, unit in racks.values():
        assert await rigs.start() == unit.rigs, rigs.problem
    port = None if meter is None else await meter.start()
    it = Running(path, racks, port, **more)
    if meter is not None:
        meter.computed[52] = lambda: list(struct.unpack(">HH", struct.pack(">f", it.true_w)))
    it.go()
    try:
        await it.until(lambda: all(it.unit(unit.id)["devices_heard"] == unit.rigs for unit in units))
        yield it
    finally:
        await it.stop()
        for rigs, _ in racks.values():
            await rigs.stop()
        if meter is not None:
            await meter.stop()
