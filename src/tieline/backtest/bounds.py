"""What no policy can beat, computed from the future.

An upper bound by relaxation: the limit of each site is moved into the price (a multiplier per site and step),
take-or-pay is replaced by a line that never lies above it, replicas need no load time, no spare and no whole
number, load returns at once, every offer is paid, no penalty is. What is left falls apart into one exact
dynamic programme per rig group (run low or normal, sleep, off; wear and waking at each start) and one
assignment of tokens per step. Any multipliers give a bound; good ones give a tight one. They are read off each
site's merit order.

`all_but_now` is the same choice made without the price of the running interval where a market is real-time
(the last known one stands for it), at the same relaxed margins. It is a reference, not a bound: a rule that
guessed the running price better could stand above it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tieline.backtest.data import ScenarioWorld, SlotSpan
from tieline.backtest.plant import groups_of, true_prices
from tieline.backtest.tokens import BATCH_SHARE, BATCH_SLOTS
from tieline.dispatch import load_table
from tieline.dispatch.inputs.arrays import LOW, FleetArrays, Floats, Ints, heat
from tieline.dispatch.inputs.forecast import SLOT_S
from tieline.dispatch.mining.lookahead import Stages, values
from tieline.dispatch.settings import Settings
from tieline.fleet.physics import GPU_AUX

_LOW_W, _LOW_HS = LOW.power_share, LOW.hash_share


@dataclass(frozen=True)
class Bounds:
    """Net USD over all spans, and the parts of the clairvoyant one."""

    clairvoyant: float
    all_but_now: float
    mining: float
    inference: float
    offers: float


@dataclass(frozen=True)
class Facts:
    """What holds in each step of a span; T steps, G groups, N sites, K node groups."""

    hours: float
    slots: Ints  # (T,) first slot of each step
    meter_w: Floats  # (T, G) normal mode at the meter
    sleep_w: Floats  # (T, G)
    usd_per_h: Floats  # (T, G)
    limit_w: Floats  # (T, N)
    above: Floats  # (T, N) USD/MWh
    below: Floats
    peaks: Floats  # (T, N) of it, a coincident peak's charge
    take_w: Floats  # (N,)
    fixed: Floats  # (N,) 1 where power is contracted
    per_hour: int  # steps of an hour that are billed together


def bounds(world: ScenarioWorld, settings: Settings, seconds: int, simple: bool) -> Bounds:
    fleet = groups_of(world, settings, simple)
    truth = true_prices(world, settings)
    mining = inference = late = 0.0
    for span in world.spans:
        facts = _facts(world, fleet, settings, truth, span, seconds, simple)
        serve = _Serving(world, settings, facts)
        slope = _slopes(fleet, facts, serve.most_w)
        # Twice: what inference draws moves the multiplier a little.
        shadow = _shadows(fleet, facts, slope, np.zeros_like(slope))
        shadow = _shadows(fleet, facts, slope, serve.best(slope + shadow)[1])
        one, two = _mining(world, fleet, facts, slope, shadow)
        fixed = _constant(facts, slope, shadow)
        mining, late = mining + one + fixed, late + two + fixed
        inference += serve.best(slope + shadow)[0]
    runs = [(world.when(s.first), world.when(s.last)) for s in world.spans]
    offers = sum(
        o.power_w / 1e6 * (o.until - o.at).total_seconds() / 3600.0 * o.capacity_usd_per_mw_h
        for o in world.offers
        if any(a <= o.at < b for a, b in runs)
    )
    base = inference + offers
    return Bounds(mining + base, late + base, mining, inference, offers)


def _facts(
    world: ScenarioWorld,
    fleet: FleetArrays,
    settings: Settings,
    truth: tuple[Floats, Floats],
    span: SlotSpan,
    seconds: int,
    simple: bool,
) -> Facts:
    per, sites = seconds // SLOT_S, world.fleet.sites
    slots = np.arange(span.first, span.last, per)
    above, below = truth[0][slots].copy(), truth[1][slots].copy()
    limit = np.repeat(fleet.limit_w[None], len(slots), axis=0)
    if simple:
        aux, derate = np.zeros((len(slots), fleet.groups)), np.ones((len(slots), fleet.groups))
        limit = np.full_like(limit, 1e12)
    else:
        aux, derate = heat(fleet.air, world.temp_c[slots][:, fleet.site])
    lit = np.ones_like(limit)
    meter = fleet.rated_w * derate * (1.0 + aux)
    begin = np.array([world.when(int(s)).timestamp() for s in slots])
    stuck = np.zeros_like(limit)
    for event in () if simple else world.events:
        first, last = event.at.timestamp(), event.until.timestamp()
        # A limit counts only where it holds in all of a step, what loosens one wherever it touches a step.
        inside = (begin >= first + event.notice_s) & (begin + seconds <= last)
        touched = (begin + seconds > first) & (begin < last)
        n = event.site
        if event.kind == "outage":
            lit[inside, n] = 0.0
        elif event.kind == "stuck_rigs":
            full = meter[:, fleet.site == n].sum(axis=1)
            stuck[touched, n] = np.maximum(stuck[touched, n], (event.share * full)[touched])
        elif event.limit_w is not None:
            limit[inside, n] = np.minimum(limit[inside, n], event.limit_w)
    # Rigs that do not obey an order draw and earn on: an order bounds the others.
    limit = limit + stuck
    peaks = np.zeros_like(limit)
    if not simple and world.peaks.was:
        peaks = world.peaks.charges([world.when(int(s)) for s in slots], seconds)
    # A MW that draws could be sold: whatever is earned so, it is never more than the dearest product pays.
    paid = np.zeros_like(limit) if simple else world.reserves.best(world.fleet, slots)
    price = np.stack([world.hashprice_usd[slots + i] for i in range(per)]).max(axis=0)
    whole_usd = fleet.rated_hs / 1e15 / 24.0 * settings.keeps
    dark = lit[:, fleet.site]
    contracts = [s.contract for s in sites]
    return Facts(
        hours=seconds / 3600.0,
        slots=slots,
        meter_w=meter * dark,
        sleep_w=fleet.sleep_w * (1.0 + aux) * dark,
        usd_per_h=whole_usd * price[:, None] * derate * dark,
        limit_w=limit * lit,
        above=above + peaks - paid,
        below=below + peaks - paid,
        peaks=peaks,
        take_w=np.array([c.take_share * s.interconnect.limit_w for c, s in zip(contracts, sites, strict=True)]),
        fixed=np.array([float(c.basis == "fixed") for c in contracts]),
        per_hour=max(1, 3600 // seconds),
    )


def _steps(fleet: FleetArrays, facts: Facts) -> list[tuple[Ints, Floats, Floats]]:
    """Each site's merit order as (groups, W, USD/MWh) with (T, groups) arrays, best first."""
    steps = []
    for groups, up in fleet.ranks:
        meter, sleep = facts.meter_w[:, groups], facts.sleep_w[:, groups]
        width = (1.0 - _LOW_W) * meter if up else np.maximum(1e-9, _LOW_W * meter - sleep)
        usd = facts.usd_per_h[:, groups] * ((1.0 - _LOW_HS) if up else _LOW_HS)
        steps.append((groups, width, np.divide(usd * 1e6, width, out=np.zeros_like(usd), where=width > 1.0)))
    return steps


def _slopes(fleet: FleetArrays, facts: Facts, gpu_w: Floats) -> Floats:
    """(T, N) USD/MWh: spot as it is; under take-or-pay a line that the bill is never below."""
    slope = facts.above.copy()
    mine = np.flatnonzero((facts.fixed > 0) & (facts.take_w > 0))
    if len(mine) == 0:
        return slope
    drawn = np.zeros_like(facts.limit_w)
    np.add.at(drawn.T, fleet.site, facts.sleep_w.T)
    margin = np.full_like(facts.limit_w, np.inf)  # bid of the step that crosses the contracted level
    crossed = drawn >= facts.take_w
    full = drawn.copy()
    for groups, width, bid in _steps(fleet, facts):
        sites = fleet.site[groups]
        full[:, sites] += width
        over = ~crossed[:, sites] & (full[:, sites] >= facts.take_w[sites])
        margin[:, sites] = np.where(over, bid, margin[:, sites])
        crossed[:, sites] |= over
    # The level is never reached: a MWh more only ever costs what it could be sold for.
    margin = np.where(crossed, margin, -np.inf)
    convex = np.clip(margin, facts.below, facts.above)
    most = np.minimum(fleet.limit_w, full + gpu_w)
    most = np.maximum(most, facts.take_w + 1.0)
    chord = (facts.below * facts.take_w + facts.above * (most - facts.take_w)) / most
    line = np.where(facts.below > facts.above, chord, convex)
    # Billed by the hour: one line for all steps of an hour.
    hourly = np.arange(len(facts.slots)) // facts.per_hour * facts.per_hour
    slope[:, mine] = line[hourly][:, mine]
    return slope


def _shadows(fleet: FleetArrays, facts: Facts, slope: Floats, base_w: Floats) -> Floats:
    """(T, N) what a MW more of the limit would earn, USD/MWh; 0 where it does not bind."""
    left = facts.limit_w - base_w
    np.subtract.at(left.T, fleet.site, facts.sleep_w.T)
    shadow, done = np.zeros_like(left), np.zeros(left.shape, dtype=bool)
    for groups, width, bid in _steps(fleet, facts):
        sites = fleet.site[groups]
        gain = bid - slope[:, sites]
        binds = ~done[:, sites] & (gain > 0) & (left[:, sites] < width)
        shadow[:, sites] = np.where(binds, gain, shadow[:, sites])
        done[:, sites] |= binds | (gain <= 0)
        left[:, sites] -= width
    return shadow


def _constant(facts: Facts, slope: Floats, shadow: Floats) -> float:
    """The limit at its multiplier, less what a contract costs whatever is drawn."""
    rent = shadow * facts.limit_w / 1e6
    concave = facts.below > facts.above
    owed = np.where(concave, facts.above - facts.below, facts.above - slope) * facts.take_w / 1e6
    owed = np.where((facts.fixed > 0) & (facts.take_w > 0), owed, 0.0)
    return float(((rent - owed) * facts.hours).sum())


def _stages(fleet: FleetArrays, facts: Facts, price: Floats) -> Stages:
    """Margins of whole groups at a price (T, N) that holds the limit's multiplier."""
    at = price[:, fleet.site] / 1e6
    low = _LOW_HS * facts.usd_per_h - _LOW_W * facts.meter_w * at
    run = np.maximum(low, facts.usd_per_h - facts.meter_w * at) * facts.hours
    sleep = -facts.sleep_w * at * facts.hours
    # At least the low mode's revenue is lost while waking.
    wake = fleet.wear_usd + np.minimum(facts.hours, fleet.wake_h) * _LOW_HS * facts.usd_per_h
    boot = fleet.wear_usd + np.minimum(facts.hours, fleet.boot_h) * _LOW_HS * facts.usd_per_h
    return Stages(run[:, :, None], sleep[:, :, None], wake, boot, facts.meter_w, facts.meter_w)


def _mining(
    world: ScenarioWorld, fleet: FleetArrays, facts: Facts, slope: Floats, shadow: Floats
) -> tuple[float, float]:
    """USD of mining with everything known, and with everything but the running price."""
    if fleet.groups == 0:
        return 0.0, 0.0
    stage = _stages(fleet, facts, slope + shadow)
    run, sleep, off = values(stage, np.full(len(facts.slots), facts.hours))
    # All rigs sleep before the first step.
    rest = np.maximum(stage.sleep[0] + sleep[0], off[0])
    best = float(np.maximum(stage.run[0] + run[0] - stage.wake[0][:, None], rest).sum())

    seen = _seen(world, facts, slope)
    dual = np.where(seen == slope, shadow, _shadows(fleet, facts, seen, np.zeros_like(seen)))
    guess = _stages(fleet, facts, seen + dual)
    at, sees = (slope + shadow)[:, fleet.site] / 1e6, (seen + dual)[:, fleet.site] / 1e6
    normal = facts.usd_per_h * (1.0 - _LOW_HS) > (1.0 - _LOW_W) * facts.meter_w * sees
    usd = np.where(normal, facts.usd_per_h, _LOW_HS * facts.usd_per_h)
    true_run = (usd - np.where(normal, 1.0, _LOW_W) * facts.meter_w * at) * facts.hours
    groups, total = np.arange(fleet.groups), 0.0
    state = np.ones(fleet.groups, dtype=np.intp)  # 0 runs, 1 sleeps, 2 is off
    for t in range(len(facts.slots)):
        start = np.stack([np.zeros(fleet.groups), stage.wake[t], stage.boot[t]])[state, groups]
        hopes = (
            guess.run[t, :, 0] + run[t, :, 0] - start,
            guess.sleep[t, :, 0] + sleep[t, :, 0],
            off[t, :, 0],
        )
        state = np.stack(hopes).argmax(axis=0)
        gains = np.stack([true_run[t] - start, stage.sleep[t, :, 0], np.zeros(fleet.groups)])
        total += float(gains[state, groups].sum())
    return best, total


def _seen(world: ScenarioWorld, facts: Facts, slope: Floats) -> Floats:
    """(T, N) true prices, but for real-time markets the last known interval's; peaks are known."""
    seen, power = slope.copy(), slope - facts.peaks
    for n, site in enumerate(world.fleet.sites):
        name = site.contract.market_15min or site.contract.market
        if name is None or name not in world.markets or facts.fixed[n]:
            continue
        late = np.flatnonzero(world.markets[name].known[facts.slots] <= facts.slots)
        seen[late, n] = power[np.maximum(0, late - 1), n] + facts.peaks[late, n]
    return seen


class _Serving:
    """Tokens at the best the fleet could do: every replica full, spread by margin, no spare and no loading."""

    def __init__(self, world: ScenarioWorld, settings: Settings, facts: Facts) -> None:
        table = load_table(settings.gpu_table)
        speed = table.tokens_per_s(settings.interactive_batch)
        speeds = [row[1] for row in table.rows if row[1] < speed] + [speed]
        self.w_per_token = min(table.power_w(x) / x for x in speeds) * (1.0 + GPU_AUX)
        each_w = table.power_w(table.rows[-1][1]) * (1.0 + GPU_AUX)
        nodes = [(n, u) for n, s in enumerate(world.fleet.sites) for u in s.node_groups]
        self.facts, self.sites = facts, np.array([n for n, _ in nodes], dtype=np.intp)
        replicas = np.array([float(u.nodes * u.replicas_per_node) for _, u in nodes])
        self.most_w = np.zeros(len(world.fleet.sites))
        np.add.at(self.most_w, self.sites, replicas * each_w)
        regions = [world.fleet.sites[n].region for n, _ in nodes]
        limit = facts.limit_w[:, self.sites]
        self.room = np.minimum(replicas * speed, limit / self.w_per_token)  # (T, K) tokens/s
        per = max(1, round(facts.hours * 3600 / SLOT_S))
        # Batch work may run in the step it comes in and for a day after.
        self.window = 1 + -(-BATCH_SLOTS // per)
        self.batch_share = settings.batch_tariff_share
        self.usd: dict[str, Floats] = {}  # (T,) per token/s and hour, where its users are
        self.demand: dict[str, Floats] = {}  # (T,) interactive tokens/s
        self.batch: dict[str, Floats] = {}  # (T,) tokens/s that may wait
        self.reach: dict[str, list[int]] = {}
        for region, series in world.demand.items():
            inputs = np.stack([world.inputs[region][facts.slots + i] for i in range(per)]).max(axis=0)
            per_mtok = settings.output_usd_per_mtok + settings.input_usd_per_mtok * inputs
            self.usd[region] = per_mtok * 3600.0 / 1e6
            offered = np.stack([series[facts.slots + i] for i in range(per)]).mean(axis=0)
            self.demand[region] = offered * (1.0 - BATCH_SHARE)
            self.batch[region] = offered * BATCH_SHARE
            able = (region, *world.reach.get(region, ()))
            self.reach[region] = [k for k, r in enumerate(regions) if r in able]

    def best(self, price: Floats) -> tuple[float, Floats]:
        """USD net of power at `price` (T, N), and what is drawn for it (T, N)."""
        drawn = np.zeros_like(price)
        if len(self.sites) == 0 or not self.demand:
            return 0.0, drawn
        cost = self.w_per_token * np.maximum(0.0, price[:, self.sites]) / 1e6
        alone = np.zeros(len(cost))
        for region, wanted in self.demand.items():
            able = self.reach[region]
            usd, taken = _fill(self.usd[region][:, None] - cost[:, able], self.room[:, able], wanted)
            alone += usd
            np.add.at(drawn.T, self.sites[able], taken.T * self.w_per_token)
        # Regions share their replicas: all demand over all of them is a bound as well.
        usd, wants = np.stack(list(self.usd.values()), axis=1), np.stack(list(self.demand.values()), axis=1)
        pooled = np.array([_pool(*one) for one in zip(usd, wants, cost, self.room, strict=True)])
        # Where power is paid for being drawn, every replica draws all it can.
        paid = np.maximum(0.0, -price) * np.minimum(self.most_w, self.facts.limit_w) / 1e6
        total = (np.minimum(alone, pooled).sum() + paid.sum() + self._batch(cost)) * self.facts.hours
        return float(total), np.minimum(drawn, self.most_w)

    def _batch(self, cost: Floats) -> float:
        """USD/h, summed over steps, of batch work where and when power is cheapest within its day, as if every
        replica were free for it: more than any plan can earn with it."""
        cheapest = np.where(self.room > 0, cost, np.inf).min(axis=1)
        best = cheapest.copy()
        for later in range(1, min(self.window, len(best))):
            best[:-later] = np.minimum(best[:-later], cheapest[later:])
        best = np.where(np.isfinite(best), best, 0.0)
        return float(
            sum((np.maximum(0.0, self.usd[r] * self.batch_share - best) * d).sum() for r, d in self.batch.items())
        )


def _fill(margin: Floats, room: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """(T,) USD/h of serving `wanted` where it earns most, and (T, K) tokens/s."""
    order = np.argsort(-margin, axis=1, kind="stable")
    rooms, gains = np.take_along_axis(room, order, axis=1), np.take_along_axis(margin, order, axis=1)
    before = np.cumsum(rooms, axis=1) - rooms
    take = np.clip(wanted[:, None] - before, 0.0, rooms) * (gains > 0)
    taken = np.zeros_like(room)
    np.put_along_axis(taken, order, take, axis=1)
    return np.asarray((take * gains).sum(axis=1)), taken


def _pool(usd: Floats, wanted: Floats, cost: Floats, room: Floats) -> float:
    """USD/h of the best match of all demand (R,) with all replicas (K,): dearest tokens, cheapest power."""
    dear, cheap = np.argsort(-usd, kind="stable"), np.argsort(cost, kind="stable")
    sold, made = np.append(0.0, np.cumsum(wanted[dear])), np.append(0.0, np.cumsum(room[cheap]))
    earned, spent = np.append(0.0, np.cumsum((wanted * usd)[dear])), np.append(0.0, np.cumsum((room * cost)[cheap]))
    # Concave and piecewise linear: the best amount is one of the corners.
    most = min(sold[-1], made[-1])
    corners = np.minimum(np.concatenate([sold, made]), most)
    return float((np.interp(corners, sold, earned) - np.interp(corners, made, spent)).max())
