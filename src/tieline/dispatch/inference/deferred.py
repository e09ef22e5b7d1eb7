"""Batch work with deadlines: when and where a backlog runs.

Pure. The tokens of a backlog may run at any place up to their deadline. What a place can carry besides
interactive work comes in two tiers: room in replicas that are up anyway, at the little power that more tokens
add, and replicas loaded for it, at their whole power. Deadlines are nested (what may run by noon may run by
evening), so taking the most urgent tokens first, each at the cheapest room left before its deadline, is
exactly cheapest, and misses no deadline that can be met.

What is promised runs whatever it costs; what cannot run in time is named. Interactive work is never displaced:
only what it leaves is offered here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tieline.dispatch.inference.gpu import GpuTable
from tieline.dispatch.inputs.arrays import Floats
from tieline.dispatch.inputs.backlog import Lot
from tieline.fleet.physics import GPU_AUX

# Room that is left when the day's work is in; with less of it waiting is a risk, and work runs at once.
TIGHT = 0.9
# Spare room later is less sure than spare room now: each hour of waiting counts as this share of what a replica's
# power costs on average.
WAITING = 0.01
# Work is planned to be done this long before it is due: demand may grow, and replicas take minutes to load.
MARGIN_S = 3600.0


@dataclass(frozen=True)
class Programme:
    """(T, K) tokens per step and supply, and what cannot run in time."""

    tokens: Floats
    missed: tuple[Lot, ...]


def programme(lots: Sequence[Lot], ends_s: Floats, room: Floats, usd: Floats, margin_s: float = 0.0) -> Programme:
    """Cheapest way to run every lot before it is due. `room` (T, K) tokens, `usd` (T, K) per token, `ends_s`
    (T,) when each step ends. Work due inside the first step may use all of it; later steps count only
    where they end in time. With `margin_s` work is planned to be done that much early, and what does not fit so
    takes the time there is."""
    steps, supplies = room.shape
    taken, left = np.zeros(steps * supplies), np.maximum(0.0, room).ravel()
    order = np.argsort(usd.ravel(), kind="stable")
    step = order // max(1, supplies)
    todo = sorted(lots, key=lambda lot: lot.due_s)
    for early_s in (margin_s, 0.0) if margin_s > 0 else (0.0,):
        late: list[Lot] = []
        for due_s, need in _by_step(todo, ends_s, early_s):
            last = max(0, int(np.searchsorted(ends_s, due_s - early_s + 1e-6, side="right")) - 1)
            able = order[step <= last]
            before = np.cumsum(left[able])
            take = np.clip(need - (before - left[able]), 0.0, left[able])
            taken[able] += take
            left[able] -= take
            if (short := need - float(take.sum())) > 1e-6 * max(1.0, need):
                late.append(Lot(due_s, short))
        todo = late
    return Programme(taken.reshape(steps, supplies), tuple(todo))


def _by_step(lots: Sequence[Lot], ends_s: Floats, early_s: float) -> list[tuple[float, float]]:
    """(latest due, tokens) of lots that end with the same step, earliest first."""
    hours: dict[int, list[float]] = {}
    for lot in lots:
        one = hours.setdefault(int(np.searchsorted(ends_s, lot.due_s - early_s + 1e-6, side="right")), [0.0, 0.0])
        one[0], one[1] = max(one[0], lot.due_s), one[1] + lot.tokens
    return [(due_s, tokens) for _, (due_s, tokens) in sorted(hours.items())]


@dataclass(frozen=True)
class Place:
    """What a node group can carry over the steps ahead: (T,) replicas that are up for interactive work, the
    tokens/s these are expected to serve, and USD/MWh there. `replicas`: the most it holds; `running`: loaded now."""

    unit_id: str
    replicas: int
    running: int
    up: Floats
    load: Floats
    price: Floats


@dataclass(frozen=True, slots=True)
class Allotted:
    """What a node group runs now besides interactive work."""

    tokens_per_s: float
    more_replicas: int


def allot(
    lots: Sequence[Lot],
    places: Sequence[Place],
    hours: Floats,
    table: GpuTable,
    batch: int,
    arriving: float = 0.0,
) -> tuple[dict[str, Allotted], tuple[Lot, ...]]:
    """The first step of the programme. `arriving`: tokens of the same kind expected within a day."""
    allotted = {place.unit_id: Allotted(0.0, 0) for place in places}
    owed = sum(lot.tokens for lot in lots)
    if owed <= 0 or not places:
        return allotted, tuple(lot for lot in lots if lot.tokens > 0)
    full = table.tokens_per_s(batch)
    seconds, ends_s = hours * 3600.0, np.cumsum(hours) * 3600.0
    up = np.stack([p.up for p in places], axis=1)
    load = np.minimum(np.stack([p.load for p in places], axis=1), up * full)
    most = np.array([float(p.replicas) for p in places])
    price = np.stack([p.price for p in places], axis=1)
    loaded = np.maximum(up, np.minimum(most, np.array([float(p.running) for p in places])))
    warm, spare, cold = up * full - load, (loaded - up) * full, (most - loaded) * full
    # More tokens in a replica that is up for others add little power; one that is kept for them draws all of
    # it, and one that is loaded for them draws for its load time before it serves.
    each = np.divide(load, up, out=np.zeros_like(load), where=up > 0)
    full_w = table.power_w(full)
    idle = full - each
    more_w = np.divide(full_w - watts(table, each), idle, out=np.zeros_like(each), where=idle > 1e-9)
    whole_w, loading_w = full_w / full, full_w / full * (1.0 + table.load_s_cold / 3600.0)
    per_j = price * (1.0 + GPU_AUX) / 3.6e9  # USD per J at the meter
    room = np.concatenate([warm, spare, cold], axis=1) * seconds[:, None]
    room[0, 2 * len(places) :] *= max(0.0, 1.0 - table.load_s_cold / seconds[0])
    usd = np.concatenate([more_w * per_j, whole_w * per_j, loading_w * per_j], axis=1)
    usd += WAITING * (ends_s / 3600.0)[:, None] * max(0.0, whole_w * float(per_j.mean()))
    # What is asked for now serves when it has loaded: in this step, or in a later one where steps are short.
    lead = 0 if seconds[0] > table.load_s_cold else int(np.searchsorted(ends_s - seconds, table.load_s_cold))
    lead = min(lead, len(hours) - 1)
    day = ends_s <= 86_400.0 + 1.0
    if owed + arriving > TIGHT * float(room[day].sum()):
        usd[: lead + 1] -= 1e3  # waiting for cheaper power could cost a deadline
    plan = programme(lots, ends_s, room, usd, MARGIN_S)
    count = len(places)
    for k, place in enumerate(places):
        now = float(plan.tokens[0, k] / seconds[0])
        mine = plan.tokens[:, count + k :: count].sum(axis=1) / seconds
        loaded_for = float(max(mine[0], mine[lead]))
        # Whole replicas, and what is loaded for a part of its hour works for all of it.
        more = min(math.ceil(loaded_for / full - 1e-9), max(0, place.replicas - int(up[0, k])))
        allotted[place.unit_id] = Allotted(now + more * full, more)
    return allotted, plan.missed


def watts(table: GpuTable, tokens_per_s: Floats) -> Floats:
    """(...) W of a replica before cooling, as `GpuTable.power_w`, for arrays."""
    speeds = [0.0, *(row[1] for row in table.rows)]
    draws = [table.idle_w, *(row[2] * (1.0 + table.host_share) for row in table.rows)]
    return np.asarray(np.interp(tokens_per_s, speeds, draws))


def owed_words(model: str, missed: Sequence[Lot]) -> list[str]:
    """What cannot run in time, for a plan's note."""
    return [
        f"batch work of {model}: {lot.tokens:,.0f} tokens due in {lot.due_s / 3600.0:.1f} h cannot run in time"
        for lot in missed
    ]


Backlogs = Mapping[str, Sequence[Lot]]  # by model
