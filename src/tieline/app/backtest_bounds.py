"""What no policy can beat, computed from the future.

The clairvoyant bound is the exact programme of `dispatch.lookahead` over a whole span at true prices,
temperatures and limits, without staged restore; inference is as the run with perfect forecasts served it. It
bounds mining for sites with one rig group, which is what the scenario has. The second bound sees all but the
price of the running interval where a market is real-time: it decides on the last known one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tieline.app.backtest_data import Span, World
from tieline.app.backtest_plant import PEAK_USD_PER_MW, Plant
from tieline.dispatch.arrays import Floats, Ints, fleet_arrays, heat
from tieline.dispatch.forecast import SLOT_S
from tieline.dispatch.lookahead import Ahead, stages, values
from tieline.dispatch.settings import Settings


@dataclass(frozen=True)
class Bounds:
    """Net USD over all spans; `base_usd` is the part that is not mining and stands in both."""

    clairvoyant: float
    all_but_now: float
    base_usd: float


def bounds(world: World, perfect: Plant, settings: Settings, seconds: int) -> Bounds:
    """`perfect` is the plant that ran with perfect forecasts, with its inference load recorded."""
    tally = perfect.tally
    base = tally.inference - tally.credits + tally.reserves
    best = late = 0.0
    for span in world.spans:
        ahead, inference_usd = _ahead(world, perfect, settings, span, seconds)
        base -= inference_usd
        one, two = _span(world, perfect, settings, span, seconds, ahead)
        best, late = best + one, late + two
    return Bounds(base + best, base + late, base)


def _ahead(world: World, plant: Plant, settings: Settings, span: Span, seconds: int) -> tuple[Ahead, float]:
    """The whole span as steps, and what the load that is not mining costs in it."""
    fleet, per = fleet_arrays(world.fleet, settings), seconds // SLOT_S
    steps = np.arange(span.first, span.last, per)
    above, below = plant.true_price
    price = np.stack([above[steps + i] for i in range(per)]).mean(axis=0)
    under = np.stack([below[steps + i] for i in range(per)]).mean(axis=0)
    temp = world.temp_c[steps]
    aux, derate = heat(fleet.air, temp[:, fleet.site])
    limit = np.repeat(fleet.limit_w[None], len(steps), axis=0)
    if plant.simple:
        aux, derate, limit = np.zeros_like(aux), np.ones_like(derate), np.full_like(limit, 1e12)
    else:
        for event in world.events:
            cap = 0.0 if event.kind == "outage" else event.limit_w
            if cap is None:
                continue
            # A step counts as limited only where the limit holds in all of it: the bound stays a bound.
            inside = [
                t
                for t, slot in enumerate(steps)
                if world.when(int(slot)) >= event.at
                and (world.when(int(slot)) - event.at).total_seconds() >= event.notice_s
                and world.when(int(slot + per)) <= event.until
            ]
            limit[inside, event.site] = np.minimum(limit[inside, event.site], cap)
    base = np.stack([plant.recorded.get(int(s), np.zeros(limit.shape[1])) for s in steps]) / seconds
    if not plant.simple:
        for slot in world.peaks:
            if span.first <= slot < span.last:
                t = (slot - span.first) // per
                adder = PEAK_USD_PER_MW / (seconds / 3600.0)
                for n in plant.peak_sites:
                    price[t, n] += adder
                    under[t, n] += adder
    hashprice = np.stack([world.hashprice_usd[steps + i] for i in range(per)]).mean(axis=0)
    mean = float(hashprice.mean())
    hours = np.full(len(steps), seconds / 3600.0)
    take = plant.take_w
    load = base / 1e6
    cost = price * np.maximum(0.0, load - take / 1e6) + under * np.minimum(load, take / 1e6)
    # Contracted power is paid whether drawn or not, and sold where it may be.
    owed = np.where(plant.fixed & (take > 0), (price - under) * take / 1e6, 0.0)
    usd = float(((cost + owed) * hours[:, None]).sum())
    ahead = Ahead(
        hours=hours,
        usd_per_h=fleet.rated_hs / 1e15 * mean * settings.keeps / 24.0,
        aux=aux,
        derate=derate,
        limit_w=limit,
        base_w=base,
        price=price[:, :, None],
        below=under[:, :, None],
        take_w=take,
    )
    return replace(ahead, level=hashprice / mean), usd


def _span(
    world: World, plant: Plant, settings: Settings, span: Span, seconds: int, ahead: Ahead
) -> tuple[float, float]:
    fleet, per = fleet_arrays(world.fleet, settings), seconds // SLOT_S
    stage = stages(fleet, ahead)
    run, sleep, off = values(stage, ahead.hours)
    # All rigs sleep before the first step.
    first = np.maximum(stage.run[0] + run[0] - stage.wake[0][:, None], np.maximum(stage.sleep[0] + sleep[0], off[0]))
    best = float(first.sum())
    # The same, each step chosen before its real-time price is known.
    steps = np.arange(span.first, span.last, per)
    seen = _seen_prices(world, plant, steps)
    guess = stages(fleet, replace(ahead, price=seen[0][:, :, None], below=seen[1][:, :, None]))
    state = np.ones(fleet.groups, dtype=np.intp)  # 0 runs, 1 sleeps, 2 is off
    total = 0.0
    for t in range(len(steps)):
        start = np.stack([np.zeros(fleet.groups), stage.wake[t], stage.boot[t]])[state, np.arange(fleet.groups)]
        choice = np.stack(
            [
                guess.run[t, :, 0] + run[t, :, 0] - start,
                guess.sleep[t, :, 0] + sleep[t, :, 0],
                off[t, :, 0],
            ]
        ).argmax(axis=0)
        gain = np.stack([stage.run[t, :, 0] - start, stage.sleep[t, :, 0], np.zeros(fleet.groups)])
        total += float(gain[choice, np.arange(fleet.groups)].sum())
        state = choice
    return best, total


def _seen_prices(world: World, plant: Plant, steps: Ints) -> tuple[Floats, Floats]:
    """(T, N) true prices, but for real-time markets the last interval's."""
    above, below = plant.true_price
    price, under = above[steps].copy(), below[steps].copy()
    for n, site in enumerate(world.fleet.sites):
        name = site.contract.market_15min or site.contract.market
        if name is None or name not in world.markets:
            continue
        late = world.markets[name].known[steps] <= steps
        price[late, n], under[late, n] = above[steps[late] - 1, n], below[steps[late] - 1, n]
    return price, under
