"""Look-ahead as a policy with memory: which share of each group runs, when it started, how often today.

Pure but for that memory, which is rebuilt from plans at a start and carried from one re-plan to the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from tieline.dispatch.inputs.arrays import FleetArrays, Floats
from tieline.dispatch.mining.lookahead import Ahead, Look, look
from tieline.dispatch.settings import Settings
from tieline.records import Plan

_DAY_S = 86_400.0


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
    passed = 0.0 if memory.at is None else max(0.0, (now - memory.at).total_seconds())
    too_new = memory.since_start_s + passed < settings.min_up_s
    too_fresh = memory.since_stop_s + passed < settings.min_down_s
    run = np.where(too_new, np.maximum(run, memory.running), run)
    run = np.where(too_fresh, np.minimum(run, memory.running), run)
    left = np.maximum(0.0, settings.starts_per_day - memory.used(now))
    run = np.minimum(run, memory.running + left)
    return Wish(run, np.where(run < 1.0, off > 0, False), seen)


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
