"""One site, one interval: clear the bids under the limits.

Pure. In order: what cannot be moved counts at its last known power; inference, as long as its power is there;
what an operator holds; then mining, best bid first, down to the price of power. Each setpoint carries the rule
that bound it and its numbers. With price or network unknown, what was last decided stays, under the same
limits, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tieline.dispatch.bids import GroupBid, Step, rig_group_bid
from tieline.dispatch.contracts import PowerCost
from tieline.dispatch.inference.gpu import GpuTable
from tieline.dispatch.inference.serving import Wanted
from tieline.dispatch.inputs.outlook import SiteView
from tieline.dispatch.reasons import (
    EPS_W,
    GroupTarget,
    limit_reason,
    more,
    mw,
    rest_reason,
    rounded,
    run_reason,
    shares_words,
)
from tieline.dispatch.settings import Settings
from tieline.fleet import NodeGroup, RigGroup
from tieline.fleet.physics import GPU_AUX, aux_share, derate
from tieline.records import Reason, Setpoint


@dataclass(frozen=True, slots=True)
class Fill:
    """How far up its curve a group runs: its rest draw, and per step the share of the group that took it."""

    rest_w: float
    steps: tuple[float, ...]

    def power_w(self, bid: GroupBid) -> float:
        return self.rest_w + sum(f * s.power_w for f, s in zip(self.steps, bid.steps, strict=True))

    def usd_per_h(self, bid: GroupBid) -> float:
        terms = zip(self.steps, bid.steps, strict=True)
        return sum(f * s.power_w * s.bid_usd_per_mwh / 1e6 for f, s in terms)

    def shares(self, bid: GroupBid) -> dict[str, float]:
        """Of the population by mode. Less than the rest draw: some of them are off."""
        if bid.rest_w > 0 and self.rest_w < bid.rest_w * (1.0 - 1e-9):
            up = max(0.0, self.rest_w / bid.rest_w)
            return {"off": 1.0 - up, bid.rest: up} if up > 0 else {"off": 1.0}
        levels = (1.0, *self.steps, 0.0)
        modes = (bid.rest, *(s.upper for s in bid.steps))
        shares = {m: a - b for m, (a, b) in zip(modes, pairwise(levels), strict=True)}
        return {m: share for m, share in shares.items() if share > 1e-9}


@dataclass(frozen=True, slots=True)
class Decision:
    """The setpoints of one site. `infeasible_w`: by how much what cannot be moved exceeds the limit."""

    setpoints: tuple[Setpoint, ...]
    decided_by: str
    note: str
    infeasible_w: float = 0.0

    @property
    def load_w(self) -> float:
        return sum(point.target_w for point in self.setpoints)


@dataclass(slots=True)
class _Room:
    """Watts left at the interconnect and on each feeder; the names of the rule that set each."""

    site_w: float
    feeders: dict[str, float]

    def left(self, feeder: str) -> float:
        return max(0.0, min(self.site_w, self.feeders[feeder]))

    def take(self, feeder: str, power_w: float) -> None:
        self.site_w -= power_w
        self.feeders[feeder] -= power_w


@dataclass(frozen=True, slots=True)
class SiteProblem:
    """All that one site's interval is decided from.

    `cost`, `hashprice_usd` None: not known, `why_unknown` says why. `last` None: nothing decided before, or too long
    ago. `targets` replace the strike where given; `restore_w` bounds how far mining may rise above what it was last
    asked to draw; `floor_w` is what promised reserves need mining to draw where no targets say so.
    """

    view: SiteView
    cost: PowerCost | None
    hashprice_usd: float | None
    why_unknown: str
    wanted: Mapping[str, Wanted]
    last: Mapping[str, Setpoint] | None
    settings: Settings
    table: GpuTable
    targets: Mapping[str, GroupTarget] | None = None
    restore_w: float | None = None
    floor_w: float = 0.0

    @property
    def unknown(self) -> bool:
        return self.cost is None or self.hashprice_usd is None

    def aux(self, group: RigGroup) -> float:
        return _aux(self.view, group)

    def target(self, group_id: str) -> GroupTarget | None:
        return None if self.targets is None else self.targets.get(group_id)


def plan_site(problem: SiteProblem) -> Decision:
    """The setpoints of every unit of the site."""
    view, site = problem.view, problem.view.site
    room = _Room(view.limit_w, {f.id: f.limit_w for f in site.feeders})
    points, stuck = _immovable(problem, room)
    infeasible_w, worst = _excess(view, room)
    _overrides_and_inference(problem, points, room)
    groups = [g for g in site.rig_groups if g.id not in points]
    bids = _bids(problem, groups)
    by = "lookahead" if problem.targets is not None else "strike"
    problem = _with_floors(problem, groups, bids)
    drawn_w = sum(p.target_w for p in points.values()) + sum(stuck[g.id] for g in groups)
    chosen = _mining(problem, groups, bids, drawn_w, room)
    for group in groups:
        fill, reason = chosen[group.id]
        points[group.id] = _mining_point(problem, group, bids[group.id], fill, reason, stuck[group.id])
    notes = [problem.why_unknown] if problem.unknown else []
    if infeasible_w > EPS_W:
        notes.append(f"infeasible by {mw(infeasible_w)}: what cannot be moved exceeds {worst}")
    decided_by = f"{by} (fallback)" if problem.unknown else by
    return Decision(tuple(points[u.id] for u in site.units), decided_by, "; ".join(notes), infeasible_w)


def _immovable(problem: SiteProblem, room: _Room) -> tuple[dict[str, Setpoint], dict[str, float]]:
    """Units that cannot be reached, and by rig group the watts of rigs that do not obey; both taken from `room`."""
    view, site = problem.view, problem.view.site
    points: dict[str, Setpoint] = {}
    for unit in site.units:
        if (held := _held(view, unit)) is not None:
            points[unit.id] = held
            room.take(unit.feeder, held.target_w)
    stuck = {g.id: _stuck_w(view, g, problem.aux(g)) for g in site.rig_groups if g.id not in points}
    for group in site.rig_groups:
        room.take(group.feeder, stuck.get(group.id, 0.0))
    return points, stuck


def _excess(view: SiteView, room: _Room) -> tuple[float, str]:
    """Watts by which the worst limit is passed, at least 0, and which limit it is."""
    over = {view.limit_note: -room.site_w} | {f"the limit of feeder {f}": -left for f, left in room.feeders.items()}
    worst = max(over, key=lambda name: over[name])
    return max(0.0, over[worst]), worst


def _overrides_and_inference(problem: SiteProblem, points: dict[str, Setpoint], room: _Room) -> None:
    """What an operator holds at a figure, then replicas, added to `points` and taken from `room`."""
    view, site = problem.view, problem.view.site
    for unit in site.units:
        word = view.unit_overrides.get(unit.id)
        if unit.id in points or word is None or word.target_w is None:
            continue
        points[unit.id] = point = _overridden(view, unit, word.target_w, room, problem.settings)
        room.take(unit.feeder, point.target_w)
    for node in site.node_groups:
        if node.id not in points:
            points[node.id] = point = _serve(problem, node, room)
            room.take(node.feeder, point.target_w)


def _bids(problem: SiteProblem, groups: list[RigGroup]) -> dict[str, GroupBid]:
    site, view, settings = problem.view.site, problem.view, problem.settings
    bids = {}
    for group in groups:
        target = problem.target(group.id)
        bids[group.id] = rig_group_bid(
            group,
            problem.hashprice_usd or 0.0,
            keeps=settings.keeps,
            aux=problem.aux(group),
            derate=derate(site.cooling_of(group), view.temp_c),
            share=1.0 - view.stuck_share,
            rest=settings.rest_mode if target is None else target.rest,
        )
    return bids


def _mining(
    problem: SiteProblem, groups: list[RigGroup], bids: Mapping[str, GroupBid], drawn_w: float, room: _Room
) -> dict[str, tuple[Fill, Reason]]:
    """How far each group runs, and why; `drawn_w` is what all else draws."""
    view = problem.view
    if problem.unknown or view.hold_plan is not None:
        return _kept(problem, groups, bids, room)
    chosen: dict[str, tuple[Fill, Reason]] = {}
    for group in groups:
        if (observed_w := _refused_w(view, group)) is None:
            continue
        # It counts at what it draws for the others' sake, and is asked again all the same.
        alone = _Room(room.site_w, dict(room.feeders))
        chosen.update(_clear(problem, [group], bids, drawn_w, alone))
        fill, reason = chosen[group.id]
        power_w = fill.power_w(bids[group.id])
        chosen[group.id] = (fill, more(reason, f"; refused its last order, counts at {mw(observed_w)}"))
        room.take(group.feeder, max(observed_w, power_w))
        drawn_w += max(observed_w, power_w)
    free = [g for g in groups if g.id not in chosen]
    return chosen | _clear(problem, free, bids, drawn_w, room)


def _mining_point(
    problem: SiteProblem, group: RigGroup, bid: GroupBid, fill: Fill, reason: Reason, stuck_w: float
) -> Setpoint:
    power_w = fill.power_w(bid)
    if stuck_w > 0:
        words = f"; {problem.view.stuck_share:.0%} of the rigs do not obey and count at {mw(stuck_w)}"
        reason = more(reason, words)
    net = None
    if problem.hashprice_usd is not None and problem.cost is not None:
        net = round(fill.usd_per_h(bid) - (power_w * problem.cost.price_usd_per_mwh) / 1e6, 4)
    return Setpoint(
        unit_id=group.id,
        target_w=_down(power_w + stuck_w),
        reason=reason,
        shares={mode: round(share, 6) for mode, share in fill.shares(bid).items()},
        expected_usd_per_h=net,
    )


def _held(view: SiteView, unit: RigGroup | NodeGroup) -> Setpoint | None:
    """A unit that cannot be reached counts at its last known power; never heard of, at its rating."""
    seen = view.observed.get(unit.id)
    if seen is None or seen.held not in ("unreachable", "silent"):
        return None
    known = seen.power_w is not None
    power_w = seen.power_w if seen.power_w is not None else unit.rated_w * (1.0 + _aux(view, unit))
    words = "last known" if known else "rated, nothing was ever heard"
    reason = Reason(rule="unreachable", text=f"{seen.held}: counts at {mw(power_w)} ({words})")
    return Setpoint(unit_id=unit.id, target_w=round(max(0.0, power_w), 1), reason=reason)


def _overridden(
    view: SiteView, unit: RigGroup | NodeGroup, target_w: float, room: _Room, settings: Settings
) -> Setpoint:
    over = view.unit_overrides[unit.id]
    most = unit.rated_w * (1.0 + _aux(view, unit))
    power_w = min(max(0.0, target_w), most, room.left(unit.feeder))
    text = f"held by {over.by} until {over.until:%m-%d %H:%M}: {over.why}"
    if power_w < target_w - EPS_W:
        text += f" ({mw(target_w)} asked, {mw(power_w)} is what limits allow)"
    reason = Reason(rule="override", text=text, limit_w=power_w)
    if isinstance(unit, NodeGroup):
        per_node = unit.gpu.rated_w * (1.0 + GPU_AUX)
        replicas = min(unit.nodes, int(power_w / per_node + 1e-9)) * unit.replicas_per_node
        return Setpoint(unit_id=unit.id, target_w=_down(power_w), reason=reason, replicas=replicas)
    aux, hot = _aux(view, unit), derate(view.site.cooling_of(unit), view.temp_c)
    bid = rig_group_bid(unit, 1.0, keeps=1.0, aux=aux, derate=hot, rest=settings.rest_mode)
    shares = {m: round(s, 6) for m, s in bid.shares_at(power_w).items()}
    return Setpoint(unit_id=unit.id, target_w=_down(power_w), reason=reason, shares=shares)


def _serve(problem: SiteProblem, node: NodeGroup, room: _Room) -> Setpoint:
    """Inference first: as many of the wanted replicas as the limits carry, whole ones."""
    view, settings, table, want = problem.view, problem.settings, problem.table, problem.wanted[node.id]
    replicas, left = want.replicas, room.left(node.feeder)
    power_w = want.power_w(table, settings.interactive_batch)
    rule, text, bound = "inference", want.why, None
    if power_w > left:
        each = table.power_w(table.tokens_per_s(settings.interactive_batch)) * (1.0 + GPU_AUX)
        replicas = min(replicas, int(left / each + 1e-9))
        power_w = min(left, want.power_w(table, settings.interactive_batch, replicas))
        rule, bound = view.limit_rule, view.limit_w
        text = f"{view.limit_note} leaves {mw(left)}: {replicas} of {want.replicas} replicas"
    tokens = table.tokens_per_s(settings.interactive_batch)
    per_replica = tokens if want.tokens_per_s is None else min(tokens, want.tokens_per_s / max(1, replicas))
    # Where a limit takes replicas, batch work waits: it is never at the cost of those who wait for an answer.
    batch = want.batch_tokens_per_s if replicas == want.replicas else min(0.0, want.batch_tokens_per_s or 0.0)
    earns = replicas * per_replica + settings.batch_tariff_share * (batch or 0.0)
    earns *= 3600.0 * settings.output_usd_per_mtok / 1e6
    bid = earns / (power_w / 1e6) if power_w > 0 else None
    price = None if problem.cost is None else problem.cost.price_usd_per_mwh
    net = None if price is None else round(earns - power_w * price / 1e6, 4)
    reason = Reason(rule=rule, text=text, bid_usd_per_mwh=rounded(bid), price_usd_per_mwh=rounded(price), limit_w=bound)
    return Setpoint(
        unit_id=node.id,
        target_w=_down(power_w),
        reason=reason,
        replicas=replicas,
        expected_usd_per_h=net,
        batch_tokens_per_s=None if batch is None else round(batch, 3),
        batch_lines=None if batch is None else math.ceil(batch / tokens * settings.interactive_batch - 1e-9),
    )


def _clear(
    problem: SiteProblem, groups: list[RigGroup], bids: Mapping[str, GroupBid], drawn_w: float, room: _Room
) -> dict[str, tuple[Fill, Reason]]:
    """Mining, best bid first, while it pays and there is room."""
    assert problem.cost is not None, "asked only where the price is known"
    cost, best, best_usd = problem.cost, None, 0.0
    # With contracted power below its resale value cost is concave: try both sides of the contracted level.
    concave = cost.take_w > 0 and cost.below_usd_per_mwh > cost.price_usd_per_mwh
    for side in (cost.below_usd_per_mwh, cost.price_usd_per_mwh) if concave else (None,):
        trial = _MeritOrder(problem, cost, bids, side, _Room(room.site_w, dict(room.feeders)), drawn_w)
        cleared, usd = trial.run(groups)
        if best is None or usd > best_usd:
            best, best_usd = cleared, usd
    assert best is not None
    return best


@dataclass(slots=True)
class _MeritOrder:
    """Groups filled step by step, the dearest bid first. `flat_price`: one price on both sides of the contracted level,
    where both are tried; `load_w`: what the site draws so far."""

    problem: SiteProblem
    cost: PowerCost
    bids: Mapping[str, GroupBid]
    flat_price: float | None
    room: _Room
    load_w: float
    rise_w: float | None = None
    rest: dict[str, float] = field(default_factory=dict)
    fills: dict[str, list[float]] = field(default_factory=dict)
    why: dict[str, Reason] = field(default_factory=dict)

    @property
    def price(self) -> float:
        """What the next MWh costs."""
        return self.flat_price if self.flat_price is not None else self.cost.marginal(self.load_w)

    def run(self, groups: list[RigGroup]) -> tuple[dict[str, tuple[Fill, Reason]], float]:
        """Each group's fill with its reason, and USD per hour of all of them."""
        self._rest(groups)
        blocked: set[str] = set()
        for _, name, n, group in self._steps(groups):
            if name not in blocked and not self._take(group, n):
                blocked.add(name)
        made = {name: Fill(self.rest[name], tuple(fill)) for name, fill in self.fills.items()}
        usd = sum(fill.usd_per_h(self.bids[name]) for name, fill in made.items()) - self.cost.usd_per_h(self.load_w)
        return {name: (fill, self.why[name]) for name, fill in made.items()}, usd

    def _rest(self, groups: list[RigGroup]) -> None:
        """What every group draws at rest, the most efficient first; how far all may rise above it."""
        for group in sorted(groups, key=lambda g: g.rig.efficiency_j_th):
            bid = self.bids[group.id]
            self.rest[group.id] = min(bid.rest_w, self.room.left(group.feeder))
            self.fills[group.id] = [0.0] * len(bid.steps)
            self.room.take(group.feeder, self.rest[group.id])
            self.load_w += self.rest[group.id]
        last, restore_w = self.problem.last, self.problem.restore_w
        before_w = sum(last[g.id].target_w for g in groups if g.id in last) if last is not None else None
        if restore_w is not None and before_w is not None:
            self.rise_w = before_w + restore_w - sum(self.rest.values())

    def _steps(self, groups: list[RigGroup]) -> list[tuple[float, str, int, RigGroup]]:
        """Every step of every group in the order in which they run; a group's reason until one does."""
        steps: list[tuple[float, str, int, RigGroup]] = []
        for group in groups:
            bid, target = self.bids[group.id], self.problem.target(group.id)
            self.why[group.id] = rest_reason(self.problem.view, bid, self.price, target)
            # What is promised runs before all else, whatever its bid.
            steps.extend(
                (-step.bid_usd_per_mwh - (1e9 if _promised(target, n) > 0 else 0.0), group.id, n, group)
                for n, step in enumerate(bid.steps)
            )
        return sorted(steps, key=lambda step: step[:3])

    def _take(self, group: RigGroup, n: int) -> bool:
        """Run what pays and fits of one step. False: the group's next steps are not to be asked."""
        bid, fill, target, price = self.bids[group.id], self.fills[group.id], self.problem.target(group.id), self.price
        step = bid.steps[n]
        pays = step.bid_usd_per_mwh > price
        if not pays and (target is None or (n > 0 and target.floor_up <= 0)):
            return False
        cap = _cap(target, fill, n, pays=pays)
        ask_w = self._asked(step, step.power_w * cap, free=target is None or target.split or n > 0)
        take = min(ask_w, self.room.left(group.feeder))
        bound = "limit" if take < ask_w - EPS_W else ""
        if self.rise_w is not None and take > max(0.0, self.rise_w) + EPS_W:
            take, bound = max(0.0, self.rise_w), "restore"
        fill[n] = take / step.power_w
        self.room.take(group.feeder, take)
        self.load_w += take
        if self.rise_w is not None:
            self.rise_w -= take
        if bound or take > 0:
            self.why[group.id] = self._reason(group, step, bound, price, target)
        return take >= step.power_w * cap - EPS_W and take > 0

    def _asked(self, step: Step, ask_w: float, *, free: bool) -> float:
        """Up to the contracted level alone, where a MWh above it would not pay."""
        below = self.cost.take_w - self.load_w
        if (
            free
            and self.flat_price is None
            and 0 < below < ask_w
            and step.bid_usd_per_mwh <= self.cost.price_usd_per_mwh
        ):
            return below
        return ask_w

    def _reason(self, group: RigGroup, step: Step, bound: str, price: float, target: GroupTarget | None) -> Reason:
        bid, fill = self.bids[group.id], Fill(self.rest[group.id], tuple(self.fills[group.id]))
        words = shares_words(fill.shares(bid))
        if bound == "limit":
            return limit_reason(self.problem.view, group, step, fill.power_w(bid), price)
        if bound == "restore":
            return Reason(
                rule="restore",
                text=f"{step.bid_usd_per_mwh:.2f} beats {price:.2f} USD/MWh, but load comes back in stages: {words}",
                bid_usd_per_mwh=rounded(step.bid_usd_per_mwh),
                price_usd_per_mwh=rounded(price),
            )
        return run_reason(self.problem.view, step, price, words, target)


def _cap(target: GroupTarget | None, fill: list[float], n: int, *, pays: bool) -> float:
    """Share of a group that may take step `n`: by its target, or what took the step below."""
    if target is None or (target.above_by_strike and pays):
        return 1.0
    if n > 0:
        return fill[n - 1] if pays else min(fill[n - 1], target.floor_up)
    return target.run


def _promised(target: GroupTarget | None, n: int) -> float:
    """Share of a group that must take step `n` because it was sold."""
    if target is None:
        return 0.0
    return target.floor if n == 0 else target.floor_up


def _kept(
    problem: SiteProblem, groups: list[RigGroup], bids: Mapping[str, GroupBid], room: _Room
) -> dict[str, tuple[Fill, Reason]]:
    """What was last decided, under today's limits; least efficient rigs give way first. A floor that is promised holds
    whatever is not known."""
    view, why_unknown = problem.view, problem.why_unknown if problem.unknown else ""
    standing = {}
    for group in sorted(groups, key=lambda g: g.rig.efficiency_j_th):
        bid = bids[group.id]
        before = None if problem.last is None else problem.last.get(group.id)
        asked = bid.rest_w if before is None else min(before.target_w, bid.full_w)
        floor_w = _floor_of(bid, problem.target(group.id))
        promised = floor_w > asked + EPS_W
        asked = max(asked, floor_w)
        power_w = min(asked, room.left(group.feeder))
        room.take(group.feeder, power_w)
        hold = view.hold_plan
        if hold is not None and not why_unknown:
            rule, text = "override", f"plan held by {hold.by} until {hold.until:%m-%d %H:%M}: {hold.why}"
        else:
            rule = "fallback"
            text = f"{why_unknown}: " + (
                f"{problem.settings.rest_mode}, nothing was decided before" if before is None else "last decision kept"
            )
        if promised:
            rule, text = "commitment", f"{text}; a reserve sold must be drawing {mw(floor_w)} here"
        if power_w < asked - EPS_W:
            rule, text = view.limit_rule, f"{text}; {view.limit_note} allows {mw(power_w)}"
        standing[group.id] = (_fill_of(bid, power_w), Reason(rule=rule, text=text, limit_w=view.limit_w))
    return standing


def _with_floors(problem: SiteProblem, groups: list[RigGroup], bids: Mapping[str, GroupBid]) -> SiteProblem:
    """The problem with the floor that was promised as targets, where look-ahead set none."""
    if problem.floor_w <= 0 or any(problem.target(g.id) is not None for g in groups):
        return problem
    return replace(problem, targets={**(problem.targets or {}), **_floors(groups, bids, problem.floor_w)})


def _floors(groups: list[RigGroup], bids: Mapping[str, GroupBid], floor_w: float) -> dict[str, GroupTarget]:
    """Which share of which group must run for a floor, the best steps first; the strike decides above it."""
    steps = sorted(
        (-step.bid_usd_per_mwh, group.id, n, step.power_w + (bids[group.id].rest_w if n == 0 else 0.0))
        for group in groups
        for n, step in enumerate(bids[group.id].steps)
    )
    shares: dict[str, list[float]] = {}
    left_w = floor_w
    for _, name, n, width in steps:
        if left_w <= EPS_W or (n > 0 and len(shares.get(name, ())) < n):
            continue
        share = min(1.0, left_w / width)
        left_w -= share * width
        shares.setdefault(name, []).append(share)
    return {
        name: GroupTarget(
            of_unit[0],
            bids[name].rest,
            0.0,
            0.0,
            floor=of_unit[0],
            floor_up=of_unit[1] if len(of_unit) > 1 else 0.0,
            above_by_strike=True,
        )
        for name, of_unit in shares.items()
    }


def _floor_of(bid: GroupBid, target: GroupTarget | None) -> float:
    if target is None or target.floor <= 0 or not bid.steps:
        return 0.0
    above_w = target.floor_up * sum(step.power_w for step in bid.steps[1:])
    return target.floor * (bid.rest_w + bid.steps[0].power_w) + above_w


def _stuck_w(view: SiteView, group: RigGroup, aux: float) -> float:
    """Rigs that do not obey draw what the group was last seen to draw per rig; unknown: their rating."""
    if view.stuck_share <= 0:
        return 0.0
    seen = view.observed.get(group.id)
    most = group.rated_w * (1.0 + aux)
    whole = most if seen is None or seen.power_w is None else min(seen.power_w, most)
    return view.stuck_share * whole


def _fill_of(bid: GroupBid, power_w: float) -> Fill:
    """The cheapest way to draw this much: best steps first."""
    left, fills = power_w - bid.rest_w, []
    for step in bid.steps:
        take = min(max(0.0, left), step.power_w)
        fills.append(take / step.power_w)
        left -= take
    return Fill(min(power_w, bid.rest_w), tuple(fills))


def _refused_w(view: SiteView, group: RigGroup) -> float | None:
    seen = view.observed.get(group.id)
    return seen.power_w if seen is not None and seen.held == "refused" else None


def _aux(view: SiteView, unit: RigGroup | NodeGroup) -> float:
    return GPU_AUX if isinstance(unit, NodeGroup) else aux_share(view.site.cooling_of(unit), view.temp_c)


def _down(power_w: float) -> float:
    """To a tenth of a watt, downwards: rounding never breaks a limit."""
    return math.floor(power_w * 10.0) / 10.0
