"""What to offer of tomorrow's load as reserves: megawatts by hour and product, and what to ask for each.

Pure, on arrays: T hours, K steps of a site's load (best first), S scenarios of the price, P products. A megawatt sold
must be drawing, so an hour of it costs what the step loses in the scenarios in which it would not run, and the calls
cost what it would have earned, with a start each. An hour that may be a coincident peak is not offered: load that is
not sold can still stop in the hour itself, when more is known of it. Scarcity makes power and reserves dear in the same
hours, so both are read off the same scenarios. A price taker is awarded where the market pays more than it asks, and
of several products the one that leaves most. Each step is sold once, whatever the products. That is the optimum of one
programme of energy, peaks and reserves for as long as hours do not couple; wear and waking couple them, and are seen by
look-ahead, which knows what is sold (`sold_w`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from tieline.dispatch.bids import rig_group_bid
from tieline.dispatch.contracts import network_path
from tieline.dispatch.inputs.arrays import Bools, Floats
from tieline.dispatch.inputs.foresight import Foresight, FromOutlook
from tieline.dispatch.inputs.heat_errors import USUAL_C
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.inputs.outlook import Outlook
from tieline.dispatch.purchase import hours_of
from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet, Site
from tieline.fleet.markets import zone_of
from tieline.fleet.physics import aux_share, derate
from tieline.fleet.reserves import ReserveProduct
from tieline.records import Commitment

HOUR = timedelta(hours=1)
# Load comes back in stages, so what is sold runs from so long before its hour.
LEAD = timedelta(minutes=30)
# Rigs that fail take a little of what can be drawn, and so does weather other than expected: cooling draws less on a
# colder day, rigs on a hotter one. A miss costs far more than the last megawatts earn.
KEPT_BACK = 0.01
# A step that is free to hold is still not given away.
LEAST_USD = 0.01
# On recorded days an expected loss was refused best where it was twice the payment.
DOUBT = 0.5
# Of past days that say what a product is paid.
LEAST_DAYS = 3
# Above this the odds of a peak alone are dearer than most hashes.
LIKELY_PEAK_USD_PER_MWH = 100.0


@dataclass(frozen=True)
class Steps:
    """What a site's rigs can draw above rest, best first: (T, K) watts, what a MWh of each is worth, and what starting
    a MW of it costs, USD; rigs that run already change their mode for nothing."""

    power_w: Floats
    bid: Floats
    start_usd: Floats


@dataclass(frozen=True, slots=True)
class ReserveOffer:
    """So many watts of one hour at no less than `limit_usd_per_mw_h`; the parts of an offer are what it costs."""

    at: datetime
    site_id: str
    product: str
    power_w: float
    limit_usd_per_mw_h: float
    floor_usd: float
    calls_usd: float
    price_usd_per_mwh: float
    peak_usd_per_mwh: float
    takes: bool = False

    @property
    def reason(self) -> str:
        words = (
            f"{'resting for it' if self.takes else 'holding it'} costs {self.floor_usd:,.2f} USD per MW and hour at "
            f"{self.price_usd_per_mwh:,.2f} USD/MWh expected, its calls {self.calls_usd:,.2f}"
        )
        if self.peak_usd_per_mwh >= 0.01:
            words += f"; the chance of a peak is worth {self.peak_usd_per_mwh:,.0f} USD/MWh"
        return words


def steps_of(
    site: Site,
    settings: Settings,
    hashprice_usd: float,
    temps: Sequence[float | None],
    limits_w: Floats,
    error_c: Floats | None = None,
    kept_back: float = KEPT_BACK,
) -> Steps:
    """A site's steps in each hour as far as `limits_w` (T,) carry them, at the least that they draw within `error_c`
    (T, 2) C below and above the expected temperature, less what is `kept_back`; inference is not sold."""
    rows = []
    for t, temp in enumerate(temps):
        tried: list[float | None] = [temp]
        if temp is None:
            tried += [0.0, 30.0]  # the ends of what cooling draws
        else:
            tried += [temp + error for error in ((-USUAL_C, USUAL_C) if error_c is None else error_c[t]) if error]
        steps = [_at_heat(site, settings, hashprice_usd, one, float(limits_w[t])) for one in tried]
        rows.append([(bid, min(row[k][1] for row in steps), start) for k, (bid, _, start) in enumerate(steps[0])])
    wide = max((len(row) for row in rows), default=0)
    power, bid_usd, start_usd = (np.zeros((len(rows), wide)) for _ in range(3))
    for t, row in enumerate(rows):
        for k, (bid, watts, start) in enumerate(row):
            power[t, k], bid_usd[t, k], start_usd[t, k] = watts * (1.0 - kept_back), bid, start
    return Steps(power, bid_usd, start_usd)


def _at_heat(
    site: Site, settings: Settings, hashprice_usd: float, temp: float | None, limit_w: float
) -> list[tuple[float, float, float]]:
    """(bid, watts, USD to start a MW) of every step, best first; too hot to run, a step draws nothing."""
    found: list[tuple[float, float, float, float]] = []
    left = limit_w
    for group in site.rig_groups:
        cooling = site.cooling_of(group)
        aux, hot = aux_share(cooling, temp), derate(cooling, temp)
        bid = rig_group_bid(
            group, hashprice_usd, keeps=settings.keeps, aux=aux, derate=hot or 1.0, rest=settings.rest_mode
        )
        left -= bid.rest_w
        for step in bid.steps:
            wear_usd = group.rated_w / 1e3 * settings.wear_usd_per_kw_start if step.lower == bid.rest else 0.0
            found.append((step.bid_usd_per_mwh, step.power_w, wear_usd / max(1e-3, step.power_w / 1e6), hot))
    steps = []
    for bid_usd, watts, start, hot in sorted(found, reverse=True):
        steps.append((bid_usd, max(0.0, min(watts, left)) if hot > 0 else 0.0, start))
        left -= watts
    return steps


@dataclass(frozen=True)
class Costs:
    """(T, K, S) USD per MW and hour of holding each step for a product, and of its calls."""

    floor: Floats
    calls: Floats

    @property
    def whole(self) -> Floats:
        return np.asarray(self.floor + self.calls)


@dataclass(frozen=True)
class PeakCost:
    """(T,) what the chance of a peak adds: USD/MWh over each hour, and USD per MW over the lead before it."""

    inside: Floats
    lead: Floats

    @property
    def whole(self) -> Floats:
        """USD per MW of whoever holds load over each hour from its lead on."""
        return np.asarray(self.inside + self.lead)


def costs(
    steps: Steps,
    price: Floats,
    peak: PeakCost,
    product: ReserveProduct,
    settings: Settings,
    paid: Floats | None = None,
) -> Costs:
    """What each hour costs that is sold, beside the best that can be done with the hours around it; the hours follow
    one another. `price` (T, S) USD/MWh, `paid` (T, S) USD per MW and hour of the same product, where it is expected.

    A step runs or rests in each hour and pays a start in between. Sold, it runs from the lead before the hour on, so an
    hour between two that are sold spares a start, and one alone in a dear evening costs one and its lead. While it is
    called a step draws nothing: what it would have lost is saved, what it would have earned is gone."""
    # Odds told a day ahead named 36 peaks where 26 months had one each, and most are gone by the hour itself, when load
    # that was not sold stops only where they are not: as a cost of every offer they took more than they spared.
    if price.shape[1] > 1:
        peak = PeakCost(np.zeros_like(peak.inside), np.zeros_like(peak.lead))
    gain = steps.bid[:, :, None] - price[:, None, :] - peak.inside[:, None, None]
    share = product.called_share
    called = share * np.maximum(0.0, gain) + product.calls_per_hour * settings.wear_usd_per_kw_start * 1e3
    if product.energy_paid:
        called = called - share * price[:, None, :]
    sold = np.where(gain > 0.0, gain, (1.0 - share) * gain) - called
    loss = np.concatenate([np.zeros_like(gain[:1]), np.maximum(0.0, -gain[:-1])])  # of the hour before
    lead = peak.lead[:, None, None] + loss * (LEAD / HOUR)
    start = np.broadcast_to(steps.start_usd[:, :, None], gain.shape)
    best = sold if paid is None else sold + np.nan_to_num(paid)[:, None, :]
    run = gain if paid is None else np.maximum(gain, best)
    # What the hours before each are worth at best, ended running and resting, and those after it, begun so. A day
    # begins and ends as it likes.
    hours = len(gain)
    ran, rested, runs, rests = (np.zeros_like(gain) for _ in range(4))
    from_rest = (gain if paid is None else np.maximum(gain, best - lead)) - start
    for t in range(1, hours):
        ran[t] = np.maximum(ran[t - 1] + run[t - 1], rested[t - 1] + from_rest[t - 1])
        rested[t] = np.maximum(ran[t - 1], rested[t - 1])
    for t in range(hours - 1, 0, -1):
        runs[t - 1] = np.maximum(run[t] + runs[t], rests[t])
        rests[t - 1] = np.maximum(from_rest[t] + runs[t], rests[t])
    unsold = np.maximum(
        np.maximum(ran, rested - start) + gain + runs,
        np.maximum(ran, rested) + rests,
    )
    held = np.maximum(ran, rested - start - lead) + sold + runs
    return Costs(np.maximum(0.0, unsold - held - called), called)


def costs_taking(steps: Steps, price: Floats, peak: PeakCost, product: ReserveProduct, settings: Settings) -> Costs:
    """What each hour costs in which a step rests so that it can be drawn when it is called: what it would have earned
    while it is not, and what a call draws above its worth, with a start. `price` (T, S) USD/MWh; hours stand alone."""
    gain = steps.bid[:, :, None] - price[:, None, :] - peak.inside[:, None, None]
    share = product.called_share
    calls = share * np.maximum(0.0, -gain) + product.calls_per_hour * settings.wear_usd_per_kw_start * 1e3
    if product.energy_paid:
        calls = calls - share * price[:, None, :]
    return Costs(np.asarray((1.0 - share) * np.maximum(0.0, gain)), np.asarray(calls))


def known_days(paid: Floats | None) -> Bools:
    """(S,) the scenarios of `paid` (T, S) that are known whole; none where they are too few to say anything: a product
    that is new is judged by the days that it has."""
    if paid is None:
        return np.zeros(0, dtype=bool)
    able = np.asarray(~np.isnan(paid).any(axis=0))
    return able if able.sum() >= min(LEAST_DAYS, len(able)) else np.zeros_like(able)


def limits_of(cost: Costs, paid: Floats | None, peak: Floats) -> Floats:
    """(T, K) what to ask for each step; `paid` (T, S) USD per MW and hour, `peak` (T,) USD/MWh; infinite: not offered.

    Next to nothing, unless it is expected to be paid less than half of its cost: past days say too little of scarcity
    to refuse on a close call, and a price of its own would sell in the cheap hours alone. Where it is, or nothing is
    known of `paid`: the cost of the middle scenario. What is certain (one scenario) is weighed as it is."""
    whole = cost.whole
    middle = np.maximum(LEAST_USD, np.median(whole, axis=2))
    sure = whole.shape[2] == 1
    able = known_days(paid)
    if paid is None or not able.any():
        limit = middle
    else:
        pays = paid[:, able].mean(axis=1)[:, None] > (1.0 if sure else DOUBT) * whole[:, :, able].mean(axis=2)
        limit = np.where(pays, LEAST_USD, middle)
    if not sure:
        limit = np.where((peak > LIKELY_PEAK_USD_PER_MWH)[:, None], np.inf, limit)
    return np.asarray(limit)


def resting_limits(cost: Costs) -> Floats:
    """(T, K) what to ask for each step that rests: its cost in the middle scenario."""
    return np.maximum(LEAST_USD, np.median(cost.whole, axis=2))


def peaks_of(sight: Foresight, place: int, steps: Grid) -> PeakCost:
    """What the chance of a peak adds to each hour of a site and to the lead before it."""
    before = Grid(steps.start - LEAD, steps.offset_s, np.full_like(steps.length_s, int(LEAD.total_seconds())))
    none = np.zeros(len(steps.hours))
    inside, lead = (sight.peaks(one).get(place, none) for one in (steps, before))
    return PeakCost(inside, np.asarray(lead * (LEAD / HOUR)))


def sold_first(steps: Steps, taken_w: Floats) -> Steps:
    """The same with (T,) watts that are promised already taken off, best steps first: no megawatt is sold twice."""
    before = np.cumsum(steps.power_w, axis=1) - steps.power_w
    covered = np.clip(taken_w[:, None] - before, 0.0, steps.power_w)
    return Steps(steps.power_w - covered, steps.bid, steps.start_usd)


def awarded(
    steps: Steps, limits: Sequence[Floats], clearing: Sequence[Floats], takes: Sequence[bool] | None = None
) -> Floats:
    """(T, K, P) watts that a market awards a price taker: each step to the product that leaves most above its limit,
    none where none does. `limits` (T, K) and `clearing` (T,) by product; nan: not traded; `takes`: by product, whether
    it is sold what rests."""
    if not limits:
        return np.zeros((*steps.power_w.shape, 0))
    gains = np.stack(
        [np.nan_to_num(paid[:, None] - limit, nan=-1.0) for limit, paid in zip(limits, clearing, strict=True)], axis=2
    )
    best = gains.argmax(axis=2)
    won = np.take_along_axis(gains, best[:, :, None], axis=2)[:, :, 0] >= 0.0
    # Load runs best first, so a step is held only with all better ones: a gap would be filled by them unsold. What
    # rests for a product that takes load rests with all that are worse.
    resting = np.array(takes or [False] * len(limits))[best] & won
    empty = steps.power_w <= 0.0
    runs = np.logical_and.accumulate((won & ~resting) | empty, axis=1)
    rests = np.logical_and.accumulate((resting | empty)[:, ::-1], axis=1)[:, ::-1]
    won &= runs | rests
    awards = np.zeros_like(gains)
    np.put_along_axis(awards, best[:, :, None], np.where(won, steps.power_w, 0.0)[:, :, None], axis=2)
    return awards


def products_of(fleet: Fleet, site: Site, hour: datetime) -> list[ReserveProduct]:
    """The products that a site may sell in the local day of an hour, in the order it names them."""
    known = fleet.reserve_products
    named = [known[name] for name in site.reserves if name in known]
    return [one for one in named if one.traded(hour.astimezone(zone_of(one.zone)).date())]


def worth_missing(sight: Foresight, sells: Sequence[ReserveProduct], steps: Grid, settings: Settings) -> Floats:
    """(T,) how likely a miss may be for the last megawatt still to pay: the most that it is expected to be paid over
    what its miss costs; 0 where nothing is expected."""
    out = np.zeros(len(steps.hours))
    for product in sells:
        paid = sight.reserve_paths(product.name, steps, settings.scenarios)
        able = known_days(paid)
        if paid is not None and able.any() and product.penalty_usd_per_mwh > 0.0:
            out = np.maximum(out, paid[:, able].mean(axis=1) / product.penalty_usd_per_mwh)
    return out


def offers(
    sight: Foresight,
    fleet: Fleet,
    settings: Settings,
    site: Site,
    hours: Sequence[datetime],
    hashprice_usd: float,
    taken_w: Floats | None = None,
) -> list[ReserveOffer]:
    """What to offer of a site for `hours`; `taken_w` (T,) is promised already. Raises ValueError where nothing is
    expected of the price of its power."""
    place = fleet.sites.index(site)
    first = min(hours).replace(minute=0, second=0, microsecond=0)
    offsets = np.array([int((hour - first).total_seconds()) for hour in hours], dtype=np.intp)
    steps = Grid(first, offsets, np.full(len(hours), 3600, dtype=np.intp))
    price = power_paths(sight, site, steps, settings)
    temps = [None if np.isnan(t) else float(t) for t in sight.temperatures(steps)[:, place]]
    sells = products_of(fleet, site, hours[0])
    miss = np.repeat(worth_missing(sight, sells, steps, settings)[:, None], len(fleet.sites), axis=1)
    errors_c = sight.heat_errors(steps, miss)[:, place]
    curve = steps_of(site, settings, hashprice_usd, temps, sight.limits(steps)[:, place], errors_c)
    if taken_w is not None:
        curve = sold_first(curve, taken_w)
    peak = peaks_of(sight, place, steps)
    bids: list[ReserveOffer] = []
    for product in sells:
        paid = sight.reserve_paths(product.name, steps, price.shape[1])
        if product.takes:
            limit = resting_limits(cost := costs_taking(curve, price, peak, product, settings))
        else:
            cost = costs(curve, price, peak, product, settings, paid)
            limit = limits_of(cost, paid, peak.whole)
        bids += [
            ReserveOffer(
                at=hours[t],
                site_id=site.id,
                product=product.name,
                power_w=float(curve.power_w[t, k]),
                limit_usd_per_mw_h=round(float(limit[t, k]), 2),
                floor_usd=float(cost.floor[t, k].mean()),
                calls_usd=float(cost.calls[t, k].mean()),
                price_usd_per_mwh=float(price[t].mean()),
                peak_usd_per_mwh=float(peak.whole[t]),
                takes=product.takes,
            )
            for t, k in np.argwhere((curve.power_w >= product.least_mw * 1e6) & np.isfinite(limit))
        ]
    return bids


def offers_of_tomorrow(
    outlook: Outlook, fleet: Fleet, settings: Settings, now: datetime, held: Sequence[Commitment] = ()
) -> list[ReserveOffer]:
    """Every site's offers for the next local day; `held` are promises that stand besides. Raises ValueError where
    none can be made, saying why."""
    able = [site for site in fleet.sites if site.reserves and site.rig_groups]
    if not able:
        raise ValueError("no site sells reserves; name the products a site is qualified for in its reserves = [...]")
    hashprice_usd, why = outlook.hashprice(now)
    if hashprice_usd is None:
        raise ValueError(f"no offer without what a hash earns: {why}")
    sight, curves = FromOutlook(outlook, fleet, settings), []
    for site in able:
        zone = fleet.reserve_products[site.reserves[0]].zone
        hours = hours_of(zone, now.astimezone(zone_of(zone)).date() + timedelta(days=1))
        mine = [one for one in held if one.site_id == site.id]
        taken = [sum(c.power_w for c in mine if c.at < h + HOUR and c.until > h) for h in hours]
        curves += offers(sight, fleet, settings, site, hours, hashprice_usd, np.array(taken, dtype=float))
    return curves


def power_paths(sight: Foresight, site: Site, steps: Grid, settings: Settings) -> Floats:
    """(T, S) what a MWh more costs the site. Raises ValueError where its market says nothing."""
    contract = site.contract
    if contract.basis == "fixed":
        fixed = np.full((len(steps.hours), 1), contract.fixed_usd_per_mwh or 0.0)
        return np.asarray(fixed + contract.adder_usd_per_mwh + network_path(contract, steps.starts, fixed))
    for name in (contract.market_15min, contract.market):
        paths = None if name is None else sight.paths(name, steps, settings.scenarios)
        if paths is not None and not np.isnan(paths).any():
            energy = paths * contract.scale
            return np.asarray(energy + contract.adder_usd_per_mwh + network_path(contract, steps.starts, energy))
    raise ValueError(f"{site.id}: nothing is known of the price of {contract.market}; no reserve is offered")
