"""How many replicas each node group keeps ready, and the tokens each is expected to serve.

Pure. Each region's demand stays at home while home has room, spread over its sites by what they can carry;
what does not fit goes to regions within reach. Demand that is not known keeps every replica ready: a token
earns an order of magnitude more per MWh than a hash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tieline.dispatch.gpu import GpuTable
from tieline.dispatch.settings import Settings
from tieline.fleet.physics import GPU_AUX
from tieline.records import Demand


@dataclass(frozen=True, slots=True)
class Room:
    """What one node group can carry now."""

    unit_id: str
    region: str
    model: str
    replicas: int
    keep: int  # replicas that are real processes here, never planned away while power allows


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one node group is asked for. `tokens_per_s` None: demand unknown."""

    replicas: int
    tokens_per_s: float | None
    why: str

    def power_w(self, table: GpuTable, batch: int, replicas: int | None = None) -> float:
        """At the meter, cooling included; with unknown demand at the full interactive load, the safe side."""
        count = self.replicas if replicas is None else replicas
        if count <= 0:
            return 0.0
        full = table.tokens_per_s(batch)
        load = full if self.tokens_per_s is None else min(full, self.tokens_per_s / count)
        return count * table.power_w(load) * (1.0 + GPU_AUX)


def assign(
    rooms: Iterable[Room],
    demands: Mapping[tuple[str, str], Demand],
    table: GpuTable,
    settings: Settings,
    cost_usd_per_mwh: Mapping[str, float] | None = None,
    running: Mapping[str, int] | None = None,
) -> tuple[dict[str, Wanted], dict[tuple[str, str], float]]:
    """Replicas per node group, and tokens/s per (model, region) that nothing can carry.

    With `cost_usd_per_mwh` (what a MWh costs at each group now, mining it displaces included) replicas go
    where power is cheap, one site's loss is covered by the others, and what already runs is only moved for a
    saving that repays its load.
    """
    per_replica = table.tokens_per_s(settings.interactive_batch)
    groups: dict[tuple[str, str], list[Room]] = {}
    for room in rooms:
        groups.setdefault((room.model, room.region), []).append(room)
    can = {key: sum(r.replicas for r in found) * per_replica for key, found in groups.items()}
    load = dict.fromkeys(groups, 0.0)
    short: dict[tuple[str, str], float] = {}
    for (model, region), asked in sorted(demands.items()):
        left = asked.output_tokens_per_s
        for where in (region, *settings.reach.get(region, ())):
            key = (model, where)
            if key in can and left > 0:
                take = min(left, max(0.0, can[key] - load[key]))
                load[key] += take
                left -= take
        if left > 0:
            short[(model, region)] = left
    wanted: dict[str, Wanted] = {}
    for key, found in groups.items():
        total = sum(r.replicas for r in found)
        if key not in demands and load[key] == 0:
            for room in found:
                wanted[room.unit_id] = Wanted(room.replicas, None, "demand unknown: every replica stays ready")
            continue
        need = math.ceil(load[key] * (1.0 + settings.warm_headroom) / per_replica)
        need = min(total, max(need, min(total, settings.warm_min_per_region)))
        if cost_usd_per_mwh is None:
            counts = _spread(found, need)
        else:
            counts = _cheapest(found, need, load[key] / per_replica, cost_usd_per_mwh, running or {}, settings)
            need = sum(counts)
        for room, count in zip(found, counts, strict=True):
            share = load[key] * count / max(1, sum(counts))
            why = f"{load[key]:,.0f} tok/s in {key[1]} need {need} replicas, {count} here"
            wanted[room.unit_id] = Wanted(count, share, why)
    return wanted, short


def _cheapest(
    rooms: list[Room],
    need: int,
    busy: float,
    cost: Mapping[str, float],
    running: Mapping[str, int],
    settings: Settings,
) -> list[int]:
    """Cheapest sites first. What runs has an edge: moving a replica loads it anew, drawing without serving."""

    def fill(place: int, have: int) -> list[int]:
        order = []
        for i, room in enumerate(rooms):
            if i == place:
                continue
            up = min(room.replicas, max(room.keep, running.get(room.unit_id, 0)))
            order.append((cost[room.unit_id] - settings.move_margin_usd_per_mwh, room.unit_id, i, up))
            order.append((cost[room.unit_id], room.unit_id, i, room.replicas - up))
        counts, left = [min(r.keep, r.replicas) for r in rooms], have
        left -= sum(counts)
        for _, _, i, room_for in sorted(order):
            take = min(max(0, left), room_for, rooms[i].replicas - counts[i])
            counts[i] += take
            left -= take
        return counts

    counts = fill(-1, need)
    # Losing the largest site must leave enough for what is asked now, without the growth margin.
    largest = max(range(len(rooms)), key=lambda i: (counts[i], rooms[i].unit_id))
    if len(rooms) > 1 and sum(counts) - counts[largest] < busy:
        # Raise the others evenly until they can carry it, or until they are full.
        others = fill(largest, math.ceil(busy))
        counts = [c if i == largest else max(c, o) for i, (c, o) in enumerate(zip(counts, others, strict=True))]
        spare = sum(counts) - max(need, math.ceil(busy))
        give = min(counts[largest] - rooms[largest].keep, max(0, spare))
        # The largest keeps what growth needs and the others do not give.
        counts[largest] -= max(0, min(give, spare))
    return counts


def _spread(rooms: list[Room], need: int) -> list[int]:
    """Largest remainder over what each can carry, and never below what is kept."""
    total = sum(room.replicas for room in rooms)
    if total == 0:
        return [0] * len(rooms)
    exact = [need * room.replicas / total for room in rooms]
    counts = [math.floor(x) for x in exact]
    order = sorted(range(len(rooms)), key=lambda i: (counts[i] - exact[i], rooms[i].unit_id))
    for i in order[: need - sum(counts)]:
        counts[i] += 1
    return [min(r.replicas, max(n, r.keep)) for r, n in zip(rooms, counts, strict=True)]
