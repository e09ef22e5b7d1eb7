"""How many replicas each node group keeps ready, and the tokens each is expected to serve.

Pure. Each region's demand stays at home while home has room, spread over its sites by what they can carry;
what does not fit goes to regions within reach. Demand that is not known keeps every replica ready: a token
earns an order of magnitude more per MWh than a hash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tieline.dispatch.inference.gpu import GpuTable
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
    """What one node group is asked for. `tokens_per_s` of interactive work, None: demand unknown;
    `batch_tokens_per_s` at most of batch work besides, None: nobody has decided about it."""

    replicas: int
    tokens_per_s: float | None
    why: str
    batch_tokens_per_s: float | None = None

    def power_w(self, table: GpuTable, batch: int, replicas: int | None = None) -> float:
        """At the meter, cooling included; with unknown demand at the full interactive load, the safe side."""
        count = self.replicas if replicas is None else replicas
        if count <= 0:
            return 0.0
        full = table.tokens_per_s(batch)
        busy = None if self.tokens_per_s is None else self.tokens_per_s + (self.batch_tokens_per_s or 0.0)
        load = full if busy is None else min(full, busy / count)
        return count * table.power_w(load) * (1.0 + GPU_AUX)


def assign(
    rooms: Iterable[Room],
    demands: Mapping[tuple[str, str], Demand],
    table: GpuTable,
    settings: Settings,
    cost_usd_per_mwh: Mapping[str, float] | None = None,
    running: Mapping[str, int] | None = None,
    least: Mapping[Place, int] | None = None,
) -> tuple[dict[str, Wanted], dict[tuple[str, str], float]]:
    """Replicas per node group, and tokens/s per (model, region) that nothing can carry.

    With `cost_usd_per_mwh` (what a MWh costs at each group now, mining it displaces included) replicas go
    where power is cheap, one site's loss is covered by the others, and what already runs is only moved for a
    saving that repays its load. `least`: replicas of a place that should be up whatever this interval asks.
    """
    per_replica = table.tokens_per_s(settings.interactive_batch)
    groups: dict[tuple[str, str], list[Room]] = {}
    for room in rooms:
        groups.setdefault((room.model, room.region), []).append(room)
    can = {key: sum(r.replicas for r in places) * per_replica for key, places in groups.items()}
    tokens = {key: asked.output_tokens_per_s for key, asked in demands.items()}
    load, short = route(can, tokens, settings.reach, settings.residency)
    wanted: dict[str, Wanted] = {}
    for key, places in groups.items():
        total = sum(r.replicas for r in places)
        if key not in demands and load[key] == 0:
            for room in places:
                wanted[room.unit_id] = Wanted(room.replicas, None, "demand unknown: every replica stays ready")
            continue
        need = math.ceil(load[key] * (1.0 + settings.warm_headroom) / per_replica)
        need = min(total, max(need, settings.warm_min_per_region, (least or {}).get(key, 0)))
        if cost_usd_per_mwh is None:
            counts = _spread(places, need)
        else:
            counts = _cheapest(places, need, load[key] / per_replica, cost_usd_per_mwh, running or {}, settings)
            need = sum(counts)
        for room, count in zip(places, counts, strict=True):
            share = load[key] * count / max(1, sum(counts))
            why = f"{load[key]:,.0f} tok/s in {key[1]} need {need} replicas, {count} here"
            wanted[room.unit_id] = Wanted(count, share, why)
    return wanted, short


Place = tuple[str, str]  # (model, region)


def route(
    can: Mapping[Place, float],
    asked: Mapping[Place, float],
    reach: Mapping[str, tuple[str, ...]],
    residency: Mapping[str, float] | None = None,
) -> tuple[dict[Place, float], dict[Place, float]]:
    """(load per place, what nothing can carry). Home first, then the nearest in reach with room; where all in
    reach is full, work of others moves on to their next place, so that nothing is lost that could be carried.
    `residency`: by region, the share of its demand that the law or a contract keeps there; it has the first room."""
    if residency and any(residency.values()):
        return _resident(can, asked, reach, residency)
    flow: dict[tuple[Place, Place], float] = {}
    load = dict.fromkeys(can, 0.0)
    left = dict(sorted(asked.items()))
    for key in left:
        _send(flow, load, left, key, key, can)
    for model, region in left:
        for other in reach.get(region, ()):
            _send(flow, load, left, (model, region), (model, other), can)
    for key in left:
        while left[key] > 1e-6 and (path := _path(key, flow, load, can, reach)) is not None:
            most = _moved(path, left[key], flow, load, can)
            if most <= 1e-6:
                break
            left[key] -= most
    return load, {key: tokens for key, tokens in left.items() if tokens > 1e-6}


def _resident(
    can: Mapping[Place, float],
    asked: Mapping[Place, float],
    reach: Mapping[str, tuple[str, ...]],
    residency: Mapping[str, float],
) -> tuple[dict[Place, float], dict[Place, float]]:
    """The same where a share of a region's demand must stay there: that share first, the rest in what is left."""
    bound = {key: tokens * residency.get(key[1], 0.0) for key, tokens in asked.items()}
    stays = {key: min(bound[key], can.get(key, 0.0)) for key in bound}
    spare = {key: can[key] - stays.get(key, 0.0) for key in can}
    load, short = route(spare, {key: asked[key] - bound[key] for key in asked}, reach)
    for key in stays:
        if key in load:
            load[key] += stays[key]
        if (lost := bound[key] - stays[key]) > 1e-6:
            short[key] = short.get(key, 0.0) + lost
    return load, short


def _moved(
    path: list[tuple[Place, Place]],
    most: float,
    flow: dict[tuple[Place, Place], float],
    load: dict[Place, float],
    can: Mapping[Place, float],
) -> float:
    """Tokens/s, at most `most`, sent along a path: each home gives up room to the one before it and takes the next."""
    for at, (_, place) in enumerate(path):
        room = can[place] - load[place] if at == len(path) - 1 else flow[(path[at + 1][0], place)]
        most = min(most, room)
    if most <= 1e-6:
        return most
    for at, (home, place) in enumerate(path):
        flow[(home, place)] = flow.get((home, place), 0.0) + most
        if at < len(path) - 1:
            flow[(path[at + 1][0], place)] -= most
    load[path[-1][1]] += most
    return most


def _send(
    flow: dict[tuple[Place, Place], float],
    load: dict[Place, float],
    left: dict[Place, float],
    home: Place,
    place: Place,
    can: Mapping[Place, float],
) -> None:
    take = min(left[home], can.get(place, 0.0) - load.get(place, 0.0))
    if take > 0:
        flow[(home, place)] = flow.get((home, place), 0.0) + take
        load[place] += take
        left[home] -= take


def _path(
    start: Place,
    flow: Mapping[tuple[Place, Place], float],
    load: Mapping[Place, float],
    can: Mapping[Place, float],
    reach: Mapping[str, tuple[str, ...]],
) -> list[tuple[Place, Place]] | None:
    """Breadth first: from a home to a place, from there to another home that uses it, and so on to room."""
    queue: list[tuple[Place, list[tuple[Place, Place]]]] = [(start, [])]
    seen = {start}
    while queue:
        home, so_far = queue.pop(0)
        for region in (home[1], *reach.get(home[1], ())):
            place = (home[0], region)
            if place not in can:
                continue
            path = [*so_far, (home, place)]
            if can[place] - load[place] > 1e-6:
                return path
            for (other, used), tokens in flow.items():
                if used == place and tokens > 1e-6 and other not in seen:
                    seen.add(other)
                    queue.append((other, path))
    return None


def _cheapest(
    rooms: list[Room],
    need: int,
    busy: float,
    cost: Mapping[str, float],
    running: Mapping[str, int],
    settings: Settings,
) -> list[int]:
    """Cheapest sites first. What runs has an edge: moving a replica loads it anew, drawing without serving."""

    order = []
    for i, room in enumerate(rooms):
        up = min(room.replicas, max(room.keep, running.get(room.unit_id, 0)))
        order.append((cost[room.unit_id] - settings.move_margin_usd_per_mwh, room.unit_id, i, up))
        order.append((cost[room.unit_id], room.unit_id, i, room.replicas - up))
    order.sort()
    total = sum(room.replicas for room in rooms)
    # Losing the largest site must leave enough for what is asked now, without the growth margin: no site holds
    # more than what the sum can spare. The smallest sum that allows it, in steps of a fiftieth.
    count, most = need, total
    for tried in range(need, total + 1, max(1, total // 50)):
        spare = max(0, tried - math.ceil(busy))
        if sum(min(room.replicas, spare) for room in rooms) >= tried:
            count, most = tried, spare
            break
    counts = [min(r.keep, r.replicas) for r in rooms]
    left = count - sum(counts)
    for _, _, i, places in order:
        take = min(max(0, left), places, max(0, min(rooms[i].replicas, most) - counts[i]))
        counts[i] += take
        left -= take
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
