"""The agent of one site: reads its units, carries out what binds it, reports what was observed.

Survives alone: without a link it goes on with the plan it holds until `valid_until`, then takes the site's
safe default; grid orders and the interconnect limit are kept by `decide` on the spot. What it saw goes into
an outbox on disk and leaves it when the store has acknowledged (`push`). In `observe` and at hosted sites
nothing is ever sent to a machine; in `advise` an operator's confirmation is needed.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never

import msgspec

from tieline.clock import FIVE_MINUTES, Clock
from tieline.edge.decide import Decision, Target, UnitView, decide
from tieline.edge.device import Applied, Device, Reading, Refused, Unreachable
from tieline.edge.fold import Fold
from tieline.edge.meter import Meter, MeterWatch
from tieline.edge.orderbook import OrderBook
from tieline.fleet.sites import NodeGroup, RigGroup, Site
from tieline.link import Link
from tieline.records import AnyRecord, Cause, Fault, Outcome, Record, Setpoint, encode
from tieline.store import StoreError
from tieline.store.outbox import Outbox

log = logging.getLogger("tieline.edge")

# A device that has not answered by then counts as unreachable for this step; pyasic alone may take 10 s a rig.
READ_TIMEOUT_S = 8.0
# How long a unit has to obey before it is named: rigs pause in seconds, a slow group wakes in minutes, and at
# least this many readings, so that fast worlds give it a chance too.
OBEY = timedelta(seconds=60)
OBEY_READINGS = 3
# A unit that draws more than asked is told again this often; one that draws less, less often.
REPEAT_ABOVE, REPEAT_BELOW = timedelta(seconds=10), timedelta(seconds=60)
# A group's meter error, and what its control boards draw: above asked by this much is obeyed all the same.
SLACK_OF_ASKED, SLACK_OF_HIGHEST = 0.03, 0.005

GpuTarget = Callable[[Setpoint], Awaitable[None]]


@dataclass(slots=True)
class _Unit:
    """What the agent remembers of one unit."""

    device: Device
    group: RigGroup | NodeGroup
    fold: Fold
    reading: Reading | None = None
    silent: str | None = None  # why nothing was heard the last time
    sent: Setpoint | None = None  # what the machines were last told
    sent_at: datetime | None = None
    refused: str | None = None
    pending: Target | None = None  # asked, not yet confirmed
    pending_since: datetime | None = None
    pending_readings: int = 0
    stuck_w: float = 0.0
    reported: tuple[datetime, datetime, float] | None = None

    @property
    def known_w(self) -> float:
        return self.device.highest_w if self.reading is None else self.reading.counted_w


class Agent:
    """One site. `step` does all; `run` in `sites` calls it in time and keeps the link's ends."""

    def __init__(
        self,
        clock: Clock,
        site: Site,
        devices: Sequence[Device],
        outbox: Outbox,
        link: Link,
        orders: OrderBook | None = None,
        interval: timedelta = FIVE_MINUTES,
        hold: timedelta = timedelta(seconds=60),
        on_gpu_target: dict[str, GpuTarget] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.clock, self.site, self.outbox, self.link = clock, site, outbox, link
        self.orders = orders if orders is not None else OrderBook(site.id)
        groups = {group.id: group for group in site.units}
        self._units = {
            device.unit_id: _Unit(
                device,
                groups[device.unit_id],
                Fold(site.id, device.unit_id, device.kind, interval, hold),
            )
            for device in devices
        }
        self._on_gpu_target = on_gpu_target or {}
        self._meter = None
        if meter is not None:
            self._meter = MeterWatch(site, meter, Fold(site.id, "", meter.kind, interval, hold))
        self._short: datetime | None = None
        self.decision: Decision | None = None
        self.awake = asyncio.Event()  # set by an order that cannot wait for the next step

    async def step(self, now: datetime) -> None:
        """Read, report what ended, decide, set, confirm, show."""
        out: list[AnyRecord] = []
        await asyncio.gather(*(self._read(unit, now, out) for unit in self._units.values()))
        uncounted_w = 0.0
        if self._meter is not None:
            heard = all(unit.silent is None and unit.reading is not None for unit in self._units.values())
            out.extend(await self._meter.read(now, sum(u.known_w for u in self._units.values()) if heard else None))
            uncounted_w = self._meter.uncounted_w
        self.decision = decide(self.site, now, self.orders.orders(now), self._views(), uncounted_w)
        self._tell_short(now, out)
        targets = self.decision.targets
        await asyncio.gather(*(self._carry_out(self._units[t.unit_id], t, now, out) for t in targets))
        self.keep(out)
        await self.link.publish(f"live.{self.site.id}", self.live(now))

    def take(self, record: AnyRecord, now: datetime) -> None:
        """An order from the link, or from the grid operator's own line at the site."""
        if self.orders.take(record, now):
            self.awake.set()

    def keep(self, records: Sequence[AnyRecord]) -> None:
        """Into the outbox. A full disk is said and does not stop the site from obeying its limits."""
        try:
            self.keep_all(records)
        except StoreError as error:
            log.error("%s: %d records lost: %s", self.site.id, len(records), error)

    def keep_all(self, records: Sequence[Record]) -> None:
        """Into the outbox, all or none. Raises StoreError."""
        self.outbox.put([(f"{type(r).__name__}|{r.key}", encode(r)) for r in records])

    # --- reading ------------------------------------------------------------

    async def _read(self, unit: _Unit, now: datetime, out: list[AnyRecord]) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                answer = await unit.device.read(now)
        except TimeoutError:
            answer = Unreachable(f"no answer within {READ_TIMEOUT_S:.0f} s")
        match answer:
            case Reading():
                if unit.reading is None or answer.at > unit.reading.at:
                    unit.pending_readings += 1
                unit.reading, unit.silent = answer, None
                out.extend(unit.fold.add(now, answer))
            case Unreachable():
                unit.silent = answer.why
                out.extend(unit.fold.add(now, None))
            case _:
                assert_never(answer)

    def _views(self) -> list[UnitView]:
        may_act = self._may_act()
        views = []
        for unit_id, unit in self._units.items():
            group = unit.group
            views.append(
                UnitView(
                    unit_id=unit_id,
                    feeder=group.feeder,
                    load="mining" if isinstance(group, RigGroup) else "inference",
                    rank=group.rig.efficiency_j_th if isinstance(group, RigGroup) else 0.0,
                    known_w=unit.known_w,
                    highest_w=unit.device.highest_w,
                    lowest_w=unit.device.lowest_w,
                    # Where nothing may be sent the decision is what would have been done.
                    commandable=not may_act or (unit.silent is None and unit.refused is None),
                    stuck_w=unit.stuck_w if may_act else 0.0,
                )
            )
        return views

    def _may_act(self) -> bool:
        return self.site.ownership != "hosted" and self.site.mode != "observe"

    # --- setting ------------------------------------------------------------

    async def _carry_out(self, unit: _Unit, target: Target, now: datetime, out: list[AnyRecord]) -> None:
        setpoint = target.setpoint
        if setpoint is None:
            unit.pending = None
            return
        if not self.site.may_act and not self._confirmed(target, now):
            hosted = self.site.ownership == "hosted" or self.site.mode == "observe"
            self._report(unit, target, "observed_only" if hosted else "awaiting_operator", now, out)
            return
        asked_before = unit.pending.setpoint if unit.pending is not None else None
        new = asked_before is None or _differs(setpoint, asked_before) or _origin(unit.pending) != _origin(target)
        if new:
            unit.pending, unit.pending_since, unit.pending_readings = target, now, 0
        if self._must_send(unit, setpoint, now):
            await self._send(unit, setpoint, now)
        self._confirm(unit, target, now, out)

    def _confirmed(self, target: Target, now: datetime) -> bool:
        """In `advise`: an operator accepted this plan, or it is their own override."""
        if self.site.mode != "advise" or self.site.ownership == "hosted":
            return False
        plan = self.orders.orders(now).plan
        return target.cause == "override" or (plan is not None and self.orders.accepted(plan))

    def _must_send(self, unit: _Unit, setpoint: Setpoint, now: datetime) -> bool:
        if unit.sent is None or unit.sent_at is None or _differs(setpoint, unit.sent):
            return True
        since = now - unit.sent_at
        if unit.silent is not None or unit.refused is not None:
            return since >= REPEAT_ABOVE
        if unit.reading is None:
            return False
        slack_w = self._slack_w(unit, setpoint)
        if unit.reading.disobeying or unit.reading.counted_w > setpoint.target_w + slack_w:
            return since >= REPEAT_ABOVE  # a late joiner, or one that did not hear
        return unit.reading.counted_w < setpoint.target_w - slack_w and since >= REPEAT_BELOW

    async def _send(self, unit: _Unit, setpoint: Setpoint, now: datetime) -> None:
        unit.sent, unit.sent_at = setpoint, now
        callback = self._on_gpu_target.get(setpoint.unit_id)
        if callback is not None:
            await callback(setpoint)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                answer = await unit.device.apply(setpoint, now)
        except TimeoutError:
            answer = Unreachable(f"no answer within {READ_TIMEOUT_S:.0f} s")
        match answer:
            case Applied():
                unit.refused = None
            case Refused():
                unit.refused = answer.why
            case Unreachable():
                unit.silent = unit.silent or answer.why
            case _:
                assert_never(answer)

    def _confirm(self, unit: _Unit, target: Target, now: datetime, out: list[AnyRecord]) -> None:
        """Compare the readback with what was asked; say it once, when it is obeyed or its time is over."""
        setpoint = target.setpoint
        if setpoint is None or unit.pending_since is None:
            return
        waited = now - unit.pending_since
        over = waited >= OBEY and unit.pending_readings >= OBEY_READINGS
        if unit.silent is not None:
            if waited >= OBEY:
                self._report(unit, target, "unreachable", now, out)
            return
        if unit.pending_readings == 0 or unit.reading is None or unit.reading.at <= unit.pending_since:
            return  # the reading at hand is older than the order
        excess_w = unit.reading.counted_w - setpoint.target_w - self._slack_w(unit, setpoint)
        obeyed = excess_w <= 0 and not unit.reading.disobeying and unit.refused is None
        if obeyed:
            unit.stuck_w = self._overshoot_w(unit, setpoint)
            self._report(unit, target, "applied", now, out)
        elif over or unit.refused is not None:
            unit.stuck_w = max(0.0, unit.reading.counted_w - max(setpoint.target_w, unit.device.lowest_w))
            self._report(unit, target, "refused", now, out)

    def _overshoot_w(self, unit: _Unit, setpoint: Setpoint) -> float:
        """What an obedient unit still draws above its order, in steps of its meter error, so that a limit made
        of many such units holds and noise does not move targets."""
        assert unit.reading is not None
        step_w = SLACK_OF_HIGHEST * unit.device.highest_w / 2
        above_w = unit.reading.counted_w - max(setpoint.target_w, unit.device.lowest_w)
        if abs(above_w - unit.stuck_w) < step_w:
            return unit.stuck_w
        return max(0.0, math.ceil(above_w / step_w) * step_w)

    def _slack_w(self, unit: _Unit, setpoint: Setpoint) -> float:
        above_lowest = max(0.0, unit.device.lowest_w - setpoint.target_w)
        return SLACK_OF_ASKED * setpoint.target_w + SLACK_OF_HIGHEST * unit.device.highest_w + above_lowest

    # --- telling ------------------------------------------------------------

    def _report(self, unit: _Unit, target: Target, result: str, now: datetime, out: list[AnyRecord]) -> None:
        """One Outcome per order and unit."""
        setpoint = target.setpoint
        assert setpoint is not None
        once = (target.at, target.known_at, setpoint.target_w)
        if target.cause == "fault":  # the safe default and the site's own limits are decided anew each step
            once = (_NEVER, _NEVER, round(setpoint.target_w, -3))
        if unit.reported == once:
            return
        unit.reported = once
        reading = unit.reading if unit.silent is None else None
        out.append(
            Outcome(
                at=target.at,
                known_at=now,
                source=f"site:{self.site.id}",
                kind=unit.device.kind,
                site_id=self.site.id,
                unit_id=setpoint.unit_id,
                plan_known_at=target.known_at,
                result=result,  # type: ignore[arg-type]
                asked_w=setpoint.target_w,
                observed_w=None if reading is None else reading.counted_w,
                last_known_w=unit.known_w,
                cause=target.cause,
                detail=self._detail(unit, setpoint, result),
            )
        )

    def _detail(self, unit: _Unit, setpoint: Setpoint, result: str) -> str:
        if result == "unreachable":
            heard = "never heard" if unit.reading is None else f"last heard {unit.reading.at.isoformat()}"
            return f"{unit.silent}; {heard}; counted at {unit.known_w / 1e6:.3f} MW"
        if result == "refused" and unit.refused is not None:
            return unit.refused
        if result == "refused" and unit.reading is not None:
            named = ", ".join(unit.reading.disobeying[:10])
            more = len(unit.reading.disobeying) - 10
            named += f" and {more} more" if more > 0 else ""
            return f"did not obey: {named or 'the group draws more than asked'}"
        if unit.reading is not None and unit.reading.counted_w < setpoint.target_w - self._slack_w(unit, setpoint):
            return f"draws {unit.reading.counted_w / 1e6:.3f} MW of {setpoint.target_w / 1e6:.3f} MW asked"
        return setpoint.reason.rule

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
        units = {}
        for unit_id, unit in self._units.items():
            reading = unit.reading
            units[unit_id] = {
                "power_w": None if reading is None else reading.counted_w,
                "hashrate_hs": None if reading is None else reading.hashrate_hs,
                "tokens_per_s": None if reading is None else reading.tokens_per_s,
                "age_s": None if reading is None else (now - reading.at).total_seconds(),
                "heard": unit.silent is None and reading is not None,
                "devices": None if reading is None else reading.devices,
                "devices_heard": None if reading is None else reading.devices_heard,
                "asked_w": None if unit.sent is None else unit.sent.target_w,
                "kind": unit.device.kind,
            }
        said: dict[str, object] = {"site_id": self.site.id, "at": now, "mode": self.site.mode, "units": units}
        if self._meter is not None and self._meter.reading is not None:
            said["meter_w"], said["meter_at"] = self._meter.reading.counted_w, self._meter.reading.at
        return msgspec.json.encode(said)

    async def close(self) -> None:
        for unit in self._units.values():
            await unit.device.close()
        if self._meter is not None:
            await self._meter.meter.close()
        self.outbox.close()


_NEVER = datetime.min.replace(tzinfo=UTC)


def _origin(target: Target | None) -> tuple[datetime, datetime, Cause] | None:
    if target is None:
        return None
    if target.cause in ("fault", "none"):
        return (_NEVER, _NEVER, target.cause)
    return (target.at, target.known_at, target.cause)


def _differs(a: Setpoint, b: Setpoint) -> bool:
    return a.target_w != b.target_w or a.shares != b.shares or a.replicas != b.replicas
