"""A site on a bench: scripted devices that do what a test says, and a store that acknowledges when told to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from tieline.clock import SimClock
from tieline.edge.agent import Agent, Equipment
from tieline.edge.device import Answer, Applied, Reading, Unreachable
from tieline.edge.orderbook import OrderBook
from tieline.fleet.sites import Contract, Feeder, Interconnect, NodeGroup, RigGroup, Site
from tieline.link import Ack, LocalLink
from tieline.records import AnyRecord, Instruction, Outcome, Plan, Reason, Sample, Setpoint, decode, decode_batch
from tieline.store.outbox import Outbox

NOON = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)
STEP = timedelta(seconds=5)


class ScriptedDevice:
    """Draws what it was told, unless the test has made it deaf (`obeys`) or unreachable (`answers`)."""

    kind: Literal["measured", "simulated"] = "measured"

    def __init__(self, unit_id: str, highest_w: float, drawing_w: float | None = None) -> None:
        self.unit_id, self.highest_w, self.lowest_w = unit_id, highest_w, 0.0
        self.true_w = highest_w if drawing_w is None else drawing_w
        self.answers = self.obeys = True
        self.told: list[Setpoint] = []

    async def read(self, now: datetime) -> Reading | Unreachable:
        if not self.answers:
            return Unreachable("silent by script")
        return Reading(at=now, power_w=self.true_w, hashrate_hs=self.true_w / 20 * 1e12, devices=1, devices_heard=1)

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        self.told.append(setpoint)
        if not self.answers:
            return Unreachable("silent by script")
        if self.obeys:
            self.true_w = min(setpoint.target_w, self.highest_w)
        return Applied()

    async def close(self) -> None:
        pass


class Bench:
    """One site of 10 MW: two rig groups (30 and 17.5 J/TH) of 4 MW and GPUs of 2 MW, all on."""

    def __init__(self, path: Path, keep_orders: bool = False, **site: Any) -> None:
        self.site = make_site(**site)
        self.old = ScriptedDevice("s.rigs-1", 4e6)
        self.new = ScriptedDevice("s.rigs-2", 4e6)
        self.gpu = ScriptedDevice("s.gpu", 2e6)
        self.devices = [self.gpu, self.old, self.new]
        self.clock, self.link, self.outbox = SimClock(NOON), LocalLink(), Outbox(path / "outbox.db")
        orders = OrderBook("s", path / "orders.json") if keep_orders else None
        self.agent = Agent(self.clock, self.site, Equipment(self.devices), self.outbox, self.link, orders)

    async def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.set(self.clock.now() + STEP)
            await self.agent.step(self.clock.now())

    def plan(self, gpu: float, old: float, new: float, valid: timedelta = timedelta(minutes=15)) -> Plan:
        """Megawatts for each unit from now on."""
        now = self.clock.now()
        plan = make_plan(now, {"s.gpu": gpu, "s.rigs-1": old, "s.rigs-2": new}, valid)
        self.agent.take(plan, now)
        return plan

    def order(self, limit_mw: float, minutes: float = 30) -> Instruction:
        now = self.clock.now()
        until = now + timedelta(minutes=minutes)
        order = Instruction(
            at=now, known_at=now, source="grid", kind="measured", instruction_id=f"i{now.isoformat()}",
            site_id="s", limit_w=limit_mw * 1e6, until=until,
        )  # fmt: skip
        self.agent.take(order, now)
        return order

    @property
    def true_mw(self) -> float:
        return sum(device.true_w for device in self.devices) / 1e6

    def kept(self) -> list[AnyRecord]:
        return [decode(body) for _, _, body in self.outbox.take(10_000)]

    def outcomes(self) -> list[Outcome]:
        return [r for r in self.kept() if isinstance(r, Outcome)]

    def samples(self) -> list[Sample]:
        return [r for r in self.kept() if isinstance(r, Sample)]


def make_site(limit_mw: float = 10, rigs: Sequence[str] = ("Antminer S19j Pro", "Antminer S21"), **more: Any) -> Site:
    return Site(
        id="s", name="Bench", region="r", lat=0, lon=0, interconnect=Interconnect(limit_w=limit_mw * 1e6),
        feeders=(
            Feeder(id="s.f-gpu", load="inference", limit_w=limit_mw * 1e6),
            Feeder(id="s.f-mine", load="mining", limit_w=limit_mw * 1e6),
        ),
        contract=Contract(basis="spot", market="M"),
        rig_groups=tuple(
            RigGroup(id=f"s.rigs-{n + 1}", feeder="s.f-mine", model=model, rigs=100) for n, model in enumerate(rigs)
        ),
        node_groups=(NodeGroup(id="s.gpu", feeder="s.f-gpu", node="8xH100", nodes=10, model="m"),),
        **({"mode": "act"} | more),
    )  # fmt: skip


def make_plan(now: datetime, megawatts: dict[str, float], valid: timedelta = timedelta(minutes=15)) -> Plan:
    return Plan(
        at=now, known_at=now, source="dispatch", kind="forecast", site_id="s", length_s=300,
        valid_until=now + valid, mode="act", limit_w=10e6, price_usd_per_mwh=40.0, hashprice_usd=50.0,
        setpoints=tuple(
            Setpoint(unit_id=unit, target_w=mw * 1e6, reason=Reason(rule="strike", text="test"))
            for unit, mw in megawatts.items()
        ),
        decided_by="test",
    )  # fmt: skip


class FarStore:
    """The far side of the link. `refuses`: its disk is full; `deaf`: it stores, and the answer is lost."""

    def __init__(self, link: LocalLink) -> None:
        self.link, self.keys, self.refuses, self.deaf = link, [], False, False  # type: ignore[var-annotated]
        self.poison = ""

    async def serve(self) -> None:
        await self.link.serve("records.*", self._take)

    async def _take(self, subject: str, data: bytes) -> bytes:
        batch = decode_batch(data)
        if self.refuses:
            return msgspec.json.encode(Ack(0, "disk full", retry=True))
        if any(record.key == self.poison for record in batch):
            return msgspec.json.encode(Ack(0, "not records"))
        self.keys.extend(record.key for record in batch)
        if self.deaf:
            raise TimeoutError("the answer was lost")
        return msgspec.json.encode(Ack(len(batch)))
