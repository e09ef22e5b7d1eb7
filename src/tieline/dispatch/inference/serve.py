"""Inference over the horizon: replicas, where they stand, and batch work in what they leave.

Pure. The demand expected for the interval that begins, with its growth, sizes each region; the horizon then says
what to have loaded already and what not to unload; placing goes by the cost of power (`serving`); batch work
takes the room that is left (`deferred`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from tieline.dispatch.inference.afford import affordable, replica_bid_usd_per_mwh, why_stopped
from tieline.dispatch.inference.deferred import Allotted, Place, allot
from tieline.dispatch.inference.gpu import GpuTable
from tieline.dispatch.inference.serving import Room, Wanted, assign, route
from tieline.dispatch.inference.warm import ready_now
from tieline.dispatch.inputs.arrays import Floats
from tieline.dispatch.inputs.backlog import Lot
from tieline.dispatch.inputs.foresight import Foresight, Where, moments_of
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.settings import Settings
from tieline.fleet.physics import GPU_AUX
from tieline.records import Demand


@dataclass(frozen=True)
class ServingTargets:
    """By unit what is wanted, batch work included; by place what nothing can carry; by model the batch work
    that cannot run in time."""

    wanted: dict[str, Wanted]
    short: dict[Where, float]
    missed: dict[str, tuple[Lot, ...]] = field(default_factory=dict)


def serve(
    sight: Foresight,
    rooms: Sequence[Room],
    steps: Grid,
    price: Mapping[str, Floats] | None,
    running: Mapping[str, int],
    settings: Settings,
    table: GpuTable,
    *,
    ready: bool = True,
) -> ServingTargets:
    """`price`: by unit, (T,) USD/MWh at the meter; None: replicas are spread at home, for want of a price.
    `ready` False: this interval alone says how many are up, for whoever wants to know what the horizon is worth."""
    # This interval, and what follows while a replica asked for at its end would still be loading.
    seconds = moments_of(int(steps.length_s[0]) + int(table.load_s_cold))
    wide = settings.scenarios if settings.demand_scenarios else 1
    paths = sight.asked(steps.start, np.concatenate([seconds, steps.middle_s]), wide)
    soon = {place: path[: len(seconds)] for place, path in paths.items()}
    now = {place: float(path.mean(axis=1).max()) for place, path in soon.items()}
    demands = {place: _demand(place, tokens, steps) for place, tokens in now.items()}
    if price is None:
        wanted, short = assign(rooms, demands, table, settings)
        return ServingTargets(wanted, short)
    hour = np.cumsum(steps.hours) <= max(1.0, steps.hours[0]) + 1e-9
    costs = {unit: float(path[hour].mean()) for unit, path in price.items()}
    reserved = reserved_at(steps.start, settings)
    everything, bids = rooms, {(r.model, r.region): _bid(sight, r, table, settings) for r in rooms}
    rooms = affordable(rooms, costs, bids, reserved)
    ahead = {place: path[len(seconds) :] for place, path in paths.items()}
    least = dict(reserved)
    for place in ahead.keys() & soon.keys() if ready else ():
        if here := [room for room in rooms if (room.model, room.region) == place]:
            path = np.vstack([soon[place].max(axis=0)[None], ahead[place][1:]])
            least[place] = max(least.get(place, 0), _least(path, here, steps, price, running, settings, table))
    wanted, short = assign(rooms, demands, table, settings, costs, running, least)
    for before, after in zip(everything, rooms, strict=True):
        words = why_stopped(before, after, costs[before.unit_id], bids[before.model, before.region])
        wanted[before.unit_id] = replace(wanted[before.unit_id], why=wanted[before.unit_id].why + words)

    def places(here: Sequence[Room]) -> list[Place]:
        return _places(here, wanted, running, ahead, steps, price, settings, table)

    missed = _batch_work(sight, everything, wanted, places, steps, settings, table)
    return ServingTargets(wanted, short, missed)


def _batch_work(
    sight: Foresight,
    rooms: Sequence[Room],
    wanted: dict[str, Wanted],
    places: Callable[[Sequence[Room]], list[Place]],
    steps: Grid,
    settings: Settings,
    table: GpuTable,
) -> dict[str, tuple[Lot, ...]]:
    """Puts batch work on top of what is `wanted`; by model what cannot run in time."""
    owed = sight.owed(steps.start)
    missed: dict[str, tuple[Lot, ...]] = {}
    for model in sorted(owed):
        # Batch work that was taken on is a promise: its deadline is met whatever power costs.
        here = [room for room in rooms if room.model == model]
        rate = sight.arriving(model)
        allotted, late = allot(owed[model], places(here), steps.hours, table, settings.interactive_batch, rate)
        wanted |= {room.unit_id: _with(wanted[room.unit_id], allotted[room.unit_id]) for room in here}
        if late:
            missed[model] = late
    return missed


def reserved_at(moment: datetime, settings: Settings) -> dict[Where, int]:
    """Replicas of each place that somebody pays for at `moment`."""
    reserved: dict[Where, int] = {}
    for rented in settings.reserved:
        if rented.since <= moment < rented.until:
            place = (rented.model, rented.region)
            reserved[place] = max(reserved.get(place, 0), rented.replicas)
    return reserved


def _bid(sight: Foresight, room: Room, table: GpuTable, settings: Settings) -> float:
    return replica_bid_usd_per_mwh(table, settings, sight.inputs_per_output((room.model, room.region)))


def _with(want: Wanted, more: Allotted) -> Wanted:
    """The same with batch work on top; what is asked of interactive work stays as it was."""
    if more.tokens_per_s <= 0.0:
        return replace(want, batch_tokens_per_s=0.0)
    words = f"; batch work {more.tokens_per_s:,.0f} tok/s"
    if more.more_replicas:
        words += f" with {more.more_replicas} replicas loaded for it"
    return Wanted(want.replicas + more.more_replicas, want.tokens_per_s, want.why + words, more.tokens_per_s)


def _least(
    path: Floats,
    rooms: Sequence[Room],
    steps: Grid,
    price: Mapping[str, Floats],
    running: Mapping[str, int],
    settings: Settings,
    table: GpuTable,
) -> int:
    """Replicas of one place that should be up now: for the scenarios of demand, for what loads meanwhile, and
    because a reload would cost more than the wait. `path` (T, S), its first row the most of this interval."""
    per_replica = table.tokens_per_s(settings.interactive_batch)
    total = sum(room.replicas for room in rooms)
    # The growth margin is over what is expected; a scenario beyond it is carried as it is.
    asked = np.maximum(path, path.mean(axis=1, keepdims=True) * (1.0 + settings.warm_headroom))
    need = np.minimum(total, np.ceil(asked / per_replica - 1e-9))
    cost = np.maximum(0.0, np.mean([price[room.unit_id] for room in rooms], axis=0)) * (1.0 + GPU_AUX) / 1e6
    full_w = table.power_w(per_replica)
    return ready_now(
        need,
        sum(running.get(room.unit_id, 0) for room in rooms),
        steps.offset_s,
        table.load_s_cold,
        table.idle_w * cost * steps.hours,
        float(full_w * cost[0] * table.load_s_cold / 3600.0),
        settings.demand_carried,
    )


def _places(
    rooms: Sequence[Room],
    wanted: Mapping[str, Wanted],
    running: Mapping[str, int],
    ahead: Mapping[Where, Floats],
    steps: Grid,
    price: Mapping[str, Floats],
    settings: Settings,
    table: GpuTable,
) -> list[Place]:
    """Replicas up and busy over the steps ahead: now as wanted, later as each region's demand will need."""
    per_replica = table.tokens_per_s(settings.interactive_batch)
    can: dict[Where, float] = {}
    held: dict[Where, int] = {}
    for room in rooms:
        key = (room.model, room.region)
        can[key] = can.get(key, 0.0) + room.replicas * per_replica
        held[key] = held.get(key, 0) + wanted[room.unit_id].replicas
    mean = {place: path.mean(axis=1) for place, path in ahead.items() if place in can}
    load = {key: np.array(mean.get(key, np.zeros(len(steps.hours)))) for key in can}
    # Where every region carries its own there is nothing to route.
    over = np.zeros(len(steps.hours), dtype=bool)
    for key, tokens in load.items():
        over |= tokens > can[key]
    for t in map(int, np.flatnonzero(over)):
        asked = {place: float(path[t]) for place, path in mean.items()}
        carried, _ = route(can, asked, settings.reach, settings.residency)
        for key, carries in carried.items():
            load[key][t] = carries
    places = []
    for room in rooms:
        key, want = (room.model, room.region), wanted[room.unit_id]
        has = running.get(room.unit_id, 0)
        busy = load[key]
        if want.tokens_per_s is None:
            # Nothing is known of what is asked here: half of what stands ready is taken to be busy.
            up = np.full(len(steps.hours), float(want.replicas))
            places.append(Place(room.unit_id, room.replicas, has, up, up * per_replica / 2.0, price[room.unit_id]))
            continue
        whole = can[key] / per_replica
        share = want.replicas / held[key] if held[key] > 0 else room.replicas / max(1.0, whole)
        need = np.minimum(whole, np.ceil(busy * (1.0 + settings.warm_headroom) / per_replica))
        up = np.minimum(room.replicas, np.maximum(need, settings.warm_min_per_region) * share)
        up[0] = want.replicas
        places.append(Place(room.unit_id, room.replicas, has, up, busy * share, price[room.unit_id]))
    return places


def _demand(place: Where, tokens: float, steps: Grid) -> Demand:
    return Demand(
        at=steps.start,
        known_at=steps.start,
        source="dispatch",
        kind="forecast",
        model=place[0],
        region=place[1],
        output_tokens_per_s=tokens,
        length_s=int(steps.length_s[0]),
    )
