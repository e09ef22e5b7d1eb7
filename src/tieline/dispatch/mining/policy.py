"""Look-ahead as a policy with memory: which share of each group runs, when it started, how often today.

Pure but for that memory, which is rebuilt from plans at a start and carried from one re-plan to the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from tieline.dispatch.inputs.arrays import FleetArrays, Floats
from tieline.dispatch.mining.lookahead import Ahead, Look, held_share, look
from tieline.dispatch.settings import Settings
from tieline.records import Plan

_DAY_S = 86_400.0
# Load comes back in stages, so what is sold is bound a little ahead; within the longer span rigs run on for it rather
# than stop and start again, where that is cheap.
LEAD_H, BOUND_H = 0.25, 6.0


@dataclass
class Memory:
    """Shares of each group that run and sleep (G,), seconds since the last start and stop, starts of a day."""

    running: Floats
    asleep: Floats
    since_start_s: Floats
    since_stop_s: Floats
    starts: deque[tuple[datetime, Floats]] = field(default_factory=deque)
    at: datetime | None = None

    @classmethod
    def of(cls, groups: int) -> Memory:
        """Nothing decided yet: all rest, and nothing is too recent."""
        long_ago = np.full(groups, _DAY_S)
        return cls(np.zeros(groups), np.ones(groups), long_ago.copy(), long_ago.copy())

    def used(self, now: datetime) -> Floats:
        """Starts of each group in the last day, as shares of the group."""
        while self.starts and now - self.starts[0][0] >= timedelta(seconds=_DAY_S):
            self.starts.popleft()
        total = np.zeros_like(self.running)
        for _, started in self.starts:
            total += started
        return total

    def note(self, now: datetime, running: Floats, asleep: Floats) -> None:
        """What was asked at `now`. Asked again at the same moment, it replaces nothing that already ran."""
        passed = 0.0 if self.at is None else max(0.0, (now - self.at).total_seconds())
        self.since_start_s = self.since_start_s + passed
        self.since_stop_s = self.since_stop_s + passed
        up, down = running - self.running, self.running - running
        if (up > 1e-6).any():
            self.starts.append((now, np.maximum(0.0, up)))
        self.since_start_s = np.where(up > 1e-6, 0.0, self.since_start_s)
        self.since_stop_s = np.where(down > 1e-6, 0.0, self.since_stop_s)
        self.running, self.asleep, self.at = running, asleep, now


@dataclass(frozen=True)
class Wish:
    """(G,) share that runs, share of the rest that is better off than asleep, and the numbers behind it."""

    run: Floats
    off: Floats
    seen: Look


def decide(fleet: FleetArrays, ahead: Ahead, memory: Memory, settings: Settings, now: datetime) -> Wish:
    """The first step's wish, with what was promised to the machines: time up, time down, starts a day."""
    seen = look(fleet, ahead)
    run, off = seen.wants(memory.running, memory.asleep)
    if ahead.sold_w is not None and ahead.sold_w.any():
        run, off = _with_sold(fleet, ahead, seen, memory)
    passed = 0.0 if memory.at is None else max(0.0, (now - memory.at).total_seconds())
    too_new = memory.since_start_s + passed < settings.min_up_s
    too_fresh = memory.since_stop_s + passed < settings.min_down_s
    run = np.where(too_new, np.maximum(run, memory.running), run)
    run = np.where(too_fresh, np.minimum(run, memory.running), run)
    left = np.maximum(0.0, settings.starts_per_day - memory.used(now))
    run = np.minimum(run, memory.running + left)
    return Wish(run, np.where(run < 1.0, off > 0, False), seen)


def _with_sold(fleet: FleetArrays, ahead: Ahead, seen: Look, memory: Memory) -> tuple[Floats, Floats]:
    """(G,) what `Look.wants` says where reserves are sold. Rigs that a reserve needs now are decided by `seen`, those
    that run already first; rigs that run and that it needs within a few hours run on where `seen` would and an hour of
    it costs less than a start; all others are decided as if nothing were sold."""
    assert ahead.sold_w is not None, "asked only where something is sold"
    alone = look(fleet, replace(ahead, sold_w=None))
    need_w, begin_h = np.maximum(0.0, ahead.sold_w - ahead.base_w), np.cumsum(ahead.hours) - ahead.hours
    now = held_share(fleet, seen.low_w, seen.high_w, need_w[begin_h < LEAD_H].max(axis=0))
    later = held_share(fleet, seen.low_w, seen.high_w, need_w[begin_h < BOUND_H].max(axis=0))
    later = np.where(-alone.run_usd_per_h < fleet.wear_usd, np.maximum(now, later), now)
    running = np.minimum(memory.running, later)  # of these, some are needed now
    asleep = np.minimum(memory.asleep, np.maximum(0.0, now - memory.running))
    out = np.maximum(0.0, now - memory.running - asleep)
    held_run = running * seen.stays + asleep * seen.wakes + out * seen.boots
    free = (memory.running - running, memory.asleep - asleep, 1.0 - memory.running - memory.asleep - out)
    run = held_run + free[0] * alone.stays + free[1] * alone.wakes + free[2] * alone.boots
    return np.asarray(run), np.where(running + asleep + out < 1.0, alone.outside(run), seen.outside(run))


def remember(fleet: FleetArrays, plans: Iterable[Plan], memory: Memory) -> None:
    """Fold what plans asked, oldest first; one batch of plans per moment."""
    place = {name: n for n, name in enumerate(fleet.unit_ids)}
    moments: dict[datetime, dict[int, Mapping[str, float]]] = {}
    for plan in plans:
        for point in plan.setpoints:
            if point.unit_id in place and point.shares:
                moments.setdefault(plan.known_at, {})[place[point.unit_id]] = point.shares
    for moment in sorted(moments):
        running, asleep = memory.running.copy(), memory.asleep.copy()
        for n, shares in moments[moment].items():
            running[n] = shares.get("normal", 0.0) + shares.get("low", 0.0)
            asleep[n] = shares.get("sleep", 0.0)
        memory.note(moment, running, asleep)
