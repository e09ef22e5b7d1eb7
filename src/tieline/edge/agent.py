"""The agent of one site: reads its units, carries out what binds it, reports what was observed.

Survives alone: without a link it goes on with the plan it holds until `valid_until`, then takes the site's
safe default; grid orders and the interconnect limit are kept by `decide` on the spot. Every device, meter and contactor
is spoken to beside the step, which waits for none of them: what hangs, raises or says nonsense is silent, and the
rest goes on. What it saw goes into an outbox on disk and leaves it when the store has acknowledged (`push`). In
`observe` and at hosted sites nothing is ever sent to a machine; in `advise` an operator's confirmation is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

import msgspec

from tieline.clock import FIVE_MINUTES, Clock
from tieline.edge.beside import Beside, Failed, settle
from tieline.edge.decide import Target, UnitTargets, UnitView, decide, local_source, must_wait
from tieline.edge.device import Answer, Applied, Device, Reading, Refused, Unreachable, believable
from tieline.edge.faults import Faults
from tieline.edge.fold import IntervalFold
from tieline.edge.meter import Meter, MeterWatch
from tieline.edge.orderbook import OrderBook
from tieline.edge.plant.contactor import Contactor, Trips
from tieline.edge.plant.fans import FanWatch
from tieline.edge.sitetime import SiteTime
from tieline.edge.spool import SiteSpool
from tieline.edge.unit import NEVER, UnitState
from tieline.feeds.notices.standing import OrderSource, SilencePolicy
from tieline.fleet.sites import Site
from tieline.link import Link
from tieline.records import Action, AnyRecord, Fault, Instruction, Outcome, Override, Record, Setpoint, encode
from tieline.records.dispatch import Obedience
from tieline.store.outbox import Outbox
from tieline.tasks import Work

# A device that has not answered by then counts as unreachable until it does.
READ_TIMEOUT_S = 8.0
# A step waits this long for what it began to read or to set, all of it together, and then goes on without.
PATIENCE_S = 0.25
PUBLISH_TIMEOUT_S = 2.0
# A forged or repeated command is a fault until none came for so long.
REFUSED_FOR = timedelta(minutes=5)
# A group draws no more than this over its lowest when all of its rigs are down: one rig more is above it.
DOWN_BELOW = 1.1
# What units complain of besides their power; each is one fault of the site.
COMPLAINTS = ("identity", "pool", "telemetry")

GpuTarget = Callable[[Setpoint], Awaitable[None]]


@dataclass(frozen=True)
class Equipment:
    """What an agent reads and sets at its site. `on_gpu_target` carries out what is asked of replicas."""

    devices: Sequence[Device]
    meter: Meter | None = None
    contactors: Sequence[Contactor] = ()
    on_gpu_target: Mapping[str, GpuTarget] = field(default_factory=dict)


class Agent:
    """One site. `step` does all; `run` in `sites` calls it in time and keeps the link's ends."""

    def __init__(
        self,
        clock: Clock,
        site: Site,
        equipment: Equipment,
        outbox: Outbox,
        link: Link,
        orders: OrderBook | None = None,
        interval: timedelta = FIVE_MINUTES,
        hold: timedelta = timedelta(seconds=60),
    ) -> None:
        self.clock, self.site, self.outbox, self.link = clock, site, outbox, link
        self.orders = orders if orders is not None else OrderBook(site.id)
        self.time = SiteTime(clock)
        self.faults = Faults(site.id)
        self.spool = SiteSpool(site.id, outbox, self.faults)
        groups = {group.id: group for group in site.units}
        self._units = {
            device.unit_id: UnitState(
                device,
                groups[device.unit_id],
                IntervalFold(site.id, device.unit_id, device.kind, interval, hold),
                2 * hold,
            )
            for device in equipment.devices
        }
        self._on_gpu_target = equipment.on_gpu_target
        self._meter = None
        self._meter_call: Beside[Reading | Unreachable] = Beside()
        if (meter := equipment.meter) is not None:
            self._meter = MeterWatch(site, meter, IntervalFold(site.id, "", meter.kind, interval, hold), self.faults)
        self._trips = Trips(site, equipment.contactors)
        self.fans = FanWatch(())
        self.sources: tuple[tuple[OrderSource, SilencePolicy], ...] = ()  # the site's own, beside the link
        self.processes: tuple[tuple[str, str, Work], ...] = ()  # beside this one: name, what it does, one life of it
        self.on_word: Callable[[Action], None] | None = None  # hears what an operator says just now
        self._publish: Beside[None] = Beside()
        self._short: datetime | None = None
        self._refused: tuple[datetime, str] | None = None
        self._refusals = 0
        self.decision: UnitTargets | None = None
        self.waiting: frozenset[str] = frozenset()  # units that are not told to draw more yet: others have not gone
        self.awake = asyncio.Event()  # set by an order that cannot wait for the next step

    async def step(self, wall: datetime) -> None:
        """Read, report what ended, decide, set, confirm, show. Waits for nobody longer than `PATIENCE_S`."""
        now = self.time.at(wall)
        out: list[AnyRecord] = list(self._clock_fault(now))
        await self._read_all(now, out)
        self._hear_meter(now, out)
        uncounted_w = self._meter.uncounted_w if self._meter is not None else 0.0
        views = self._views()
        self.decision = decide(self.site, now, self.orders.orders(now), views, uncounted_w)
        self.waiting = must_wait(self.site, self.decision, views, uncounted_w)
        self._tell_short(now, out)
        self._tell_refused(now, out)
        self._tell_complaints(now, out)
        setting = [self._units[t.unit_id].setter for t in self.decision.targets if self._carry_out(t, now)]
        await settle(setting, PATIENCE_S)
        for target in self.decision.targets:
            self._finish(target, now, out)
        self._trip(now, out)
        self._tend_fans(now, out)
        self.keep(out)
        live = self.live(now)
        self._publish.start(lambda: self.link.publish(f"live.{self.site.id}", live), PUBLISH_TIMEOUT_S)
        await settle([self._publish], PATIENCE_S)
        self._publish.take()

    def take(self, record: AnyRecord, wall: datetime, fresh: bool = False, local: bool = False) -> None:
        """An order from the link, or from the grid operator's own line at the site. `fresh`: it was sent just now.
        `local`: a person at the site says it; what was said there is changed from nowhere else."""
        if not local and isinstance(record, Override) and record.source == local_source(self.site.id):
            return
        if fresh:
            self.time.heard(record.known_at, wall)
            if isinstance(record, Action) and self.on_word is not None:
                self.on_word(record)
        if self.orders.take(record, self.time.at(wall)):
            self.awake.set()

    def refused_command(self, subject: str, why: str) -> None:
        """A message that would have bound this site was not the platform's, or not new. It is told as a fault."""
        self._refusals += 1
        self._refused = self.time.at(self.clock.now()), f"a message on {subject} was not taken: {why}"

    def would(self, order: Instruction, now: datetime) -> UnitTargets:
        """What would be decided with one order more; nothing is sent or kept."""
        held = self.orders.orders(now)
        uncounted_w = self._meter.uncounted_w if self._meter is not None else 0.0
        with_it = replace(held, instructions=(*held.instructions, order))
        return decide(self.site, now, with_it, self._views(), uncounted_w)

    @property
    def now(self) -> datetime:
        """The site's own time."""
        return self.time.at(self.clock.now())

    @property
    def units(self) -> Mapping[str, UnitState]:
        return self._units

    @property
    def meter_reading(self) -> Reading | None:
        """What the site's meter last said that was believed."""
        return None if self._meter is None else self._meter.reading

    def keep(self, records: Sequence[AnyRecord]) -> None:
        """Into the outbox, or as far as a full disk lets it; the site obeys its limits all the same."""
        self.spool.keep(records)

    def keep_all(self, records: Sequence[Record]) -> None:
        """Into the outbox, all or none. Raises StoreError."""
        self.outbox.put([(f"{type(r).__name__}|{r.key}", encode(r)) for r in records])

    # --- reading ------------------------------------------------------------

    async def _read_all(self, now: datetime, out: list[AnyRecord]) -> None:
        begun = [unit.reader for unit in self._units.values() if unit.begin_reading(now, READ_TIMEOUT_S)]
        meter = self._meter
        call = self._meter_call
        if meter is not None and not call.ended and call.start(lambda: meter.meter.read(now), READ_TIMEOUT_S):
            begun.append(call)
        await settle(begun, PATIENCE_S)
        for unit in self._units.values():
            self._hear(unit, unit.reader.take(), now, out)

    def _hear(
        self, unit: UnitState, answer: Reading | Unreachable | Failed | None, now: datetime, out: list[AnyRecord]
    ) -> None:
        taken: Reading | None = None
        if isinstance(answer, Reading):
            why = believable(answer, unit.device.highest_w)
            if why is None:
                taken = unit.hear(now, answer)
            else:
                unit.silent = why
        elif isinstance(answer, Unreachable | Failed):
            unit.silent = answer.why
        unit.age(now)
        out.extend(unit.fold.add(now, taken))

    def _hear_meter(self, now: datetime, out: list[AnyRecord]) -> None:
        if self._meter is None:
            return
        answer = self._meter_call.take()
        if isinstance(answer, Failed):
            answer = Unreachable(answer.why)
        units = self._units.values()
        if answer is None:
            out.extend(self._meter.wait(now))
        else:
            known_w = sum(unit.known_w for unit in units)
            out.extend(self._meter.take(now, answer, known_w, all(unit.heard for unit in units)))

    def _views(self) -> list[UnitView]:
        may_act = self.site.ownership != "hosted" and self.site.mode != "observe"
        return [unit.view(may_act) for unit in self._units.values()]

    # --- setting ------------------------------------------------------------

    def _carry_out(self, target: Target, now: datetime) -> bool:
        """Begin to set one unit; True where something was sent."""
        unit, setpoint = self._units[target.unit_id], target.setpoint
        self._hear_answer(unit)
        if setpoint is None or target.unit_id in self.waiting or not self._may_send(target, now):
            return False
        unit.ask(target, now)
        if not unit.must_send(setpoint, now):
            return False
        if setpoint.target_w > unit.device.lowest_w and not self.fans.may_run(target.unit_id, now):
            return False  # no rig runs without air; sent as soon as its fans read back on
        if unit.setter.busy:
            unit.setter.cancel()  # a newer word; what hangs is not waited for
        unit.tell(setpoint, now)
        return unit.setter.start(lambda: self._send(unit, setpoint, now), READ_TIMEOUT_S)

    def _may_send(self, target: Target, now: datetime) -> bool:
        """In `advise`: an operator accepted this plan, or it is their own override."""
        if self.site.may_act:
            return True
        if self.site.mode != "advise" or self.site.ownership == "hosted":
            return False
        plan = self.orders.orders(now).plan
        return target.cause == "override" or (plan is not None and self.orders.accepted(plan))

    async def _send(self, unit: UnitState, setpoint: Setpoint, now: datetime) -> Answer:
        callback = self._on_gpu_target.get(setpoint.unit_id)
        if callback is not None:
            await callback(setpoint)
        return await unit.device.apply(setpoint, now)

    @staticmethod
    def _hear_answer(unit: UnitState) -> None:
        """Take the answer to a command, where there is one."""
        answer = unit.setter.take()
        match answer:
            case None:
                pass
            case Applied():
                unit.refused = None
            case Refused():
                unit.refused, unit.told_w = answer.why, unit.told_before_w
            case Unreachable():
                unit.silent, unit.told_w = unit.silent or answer.why, unit.told_before_w
            case Failed():
                unit.silent = unit.silent or answer.why
            case _:
                assert_never(answer)

    def _finish(self, target: Target, now: datetime, out: list[AnyRecord]) -> None:
        """Say how the unit does what it was asked: once."""
        unit, setpoint = self._units[target.unit_id], target.setpoint
        self._hear_answer(unit)
        if target.unit_id in self.waiting:
            return  # not told yet, so not judged by it
        if setpoint is None:
            # Left as it is: under a limit that already holds. What it was asked before is still judged, once.
            if unit.pending is None or unit.pending.setpoint is None:
                return
            target, setpoint = unit.pending, unit.pending.setpoint
            verdict = unit.judge(setpoint, now)
            if verdict is not None:
                self._report(unit, target, verdict, now, out)
                unit.pending = None
            return
        if not self._may_send(target, now):
            hosted = self.site.ownership == "hosted" or self.site.mode == "observe"
            self._report(unit, target, "observed_only" if hosted else "awaiting_operator", now, out)
            return
        verdict = unit.judge(setpoint, now)
        if verdict is not None:
            self._report(unit, target, verdict, now, out)

    def _trip(self, now: datetime, out: list[AnyRecord]) -> None:
        """Cut a feeder where the meter stays above the limit with everything shed."""
        if self._meter is None or not self.site.may_act or not self._trips.contactors:
            return
        assert self.decision is not None
        above_w = self._meter.above_w(self.decision.limit_w)
        line = self._trips.step(now, above_w, self.decision.short_w > 0)
        if line is not None:
            out.extend(self.faults.hold(now, "contactor", line))

    def _tend_fans(self, now: datetime, out: list[AnyRecord]) -> None:
        if self.site.may_act:
            for unit_id, unit in self._units.items():
                if unit.heard and unit.reading is not None:
                    down = unit.reading.counted_w <= DOWN_BELOW * unit.device.lowest_w
                    self.fans.seen(unit_id, now, down)
            out.extend(self.faults.hold(now, "fans", self.fans.trouble(now)))

    # --- telling ------------------------------------------------------------

    def _report(self, unit: UnitState, target: Target, result: Obedience, now: datetime, out: list[AnyRecord]) -> None:
        """One Outcome per order and unit."""
        setpoint = target.setpoint
        assert setpoint is not None
        once = (target.at, target.known_at, setpoint.target_w)
        if target.cause == "fault":  # the safe default and the site's own limits are decided anew each step
            once = (NEVER, NEVER, round(setpoint.target_w, -3))
        if unit.reported == once:
            return
        unit.reported = once
        reading = unit.reading if unit.silent is None else None
        detail = unit.detail(setpoint, result)
        if target.cause == "order" and self._meter is not None and self._meter.reading is not None:
            detail += f"; the site's meter reads {self._meter.reading.counted_w / 1e6:.3f} MW"
        out.append(
            Outcome(
                at=target.at,
                known_at=now,
                source=f"site:{self.site.id}",
                kind=unit.device.kind,
                site_id=self.site.id,
                unit_id=setpoint.unit_id,
                plan_known_at=target.known_at,
                result=result,
                asked_w=setpoint.target_w,
                observed_w=None if reading is None else reading.counted_w,
                last_known_w=unit.known_w,
                cause=target.cause,
                detail=detail,
            )
        )

    def _clock_fault(self, now: datetime) -> list[Fault]:
        off = self.time.off
        line = None
        if off is not None:
            way = "ahead of" if off > timedelta(0) else "behind"
            span = timedelta(seconds=round(abs(off).total_seconds()))
            line = f"the wall clock is {span} {way} the site's own time; it moves no load"
        return self.faults.hold(now, "clock", line, once=True)

    def _tell_complaints(self, now: datetime, out: list[AnyRecord]) -> None:
        lines: dict[str, list[str]] = {}
        for unit_id, unit in self._units.items():
            if unit.reading is not None and unit.silent is None:
                for what, line in unit.reading.complaints:
                    lines.setdefault(what, []).append(f"{unit_id}: {line}")
        out.extend(self.faults.hold_all(now, COMPLAINTS, lines, "measured"))

    def _tell_refused(self, now: datetime, out: list[AnyRecord]) -> None:
        """Said while somebody tries, and for as long again as `REFUSED_FOR`."""
        line = None
        if self._refused is not None and now - self._refused[0] < REFUSED_FOR:
            line = self._refused[1] + (f"; {self._refusals} so far" if self._refusals > 1 else "")
        out.extend(self.faults.hold(now, "command", line))

    def _tell_short(self, now: datetime, out: list[AnyRecord]) -> None:
        """Say once that a limit cannot be kept by anything that can be commanded here, and when it is over."""
        assert self.decision is not None
        short_w = self.decision.short_w
        if (short_w > 0) == (self._short is not None):
            return
        started = self._short if self._short is not None else now
        self._short = now if short_w > 0 else None
        text = f"{short_w / 1e6:.3f} MW above the {self.decision.bound_by} limit cannot be shed"
        out.append(
            Fault(
                at=started,
                known_at=now,
                source=f"site:{self.site.id}",
                kind="measured",
                site_id=self.site.id,
                what="limit",
                detail=text if short_w > 0 else "the limit holds again",
                limit_w=self.decision.limit_w,
                until=None if short_w > 0 else now,
            )
        )

    def live(self, now: datetime) -> bytes:
        """What a page shows of this site right now."""
        units = {unit_id: unit.live(now) for unit_id, unit in self._units.items()}
        said: dict[str, object] = {"site_id": self.site.id, "at": now, "mode": self.site.mode, "units": units}
        if self._meter is not None and self._meter.reading is not None:
            said["meter_w"], said["meter_at"] = self._meter.reading.counted_w, self._meter.reading.at
        return msgspec.json.encode(said)

    async def close(self) -> None:
        for unit in self._units.values():
            await unit.reader.close()
            await unit.setter.close()
            await unit.device.close()
        await self._meter_call.close()
        await self._publish.close()
        if self._meter is not None:
            await self._meter.meter.close()
        await self._trips.end()
        await self.fans.close()
        self.outbox.close()
