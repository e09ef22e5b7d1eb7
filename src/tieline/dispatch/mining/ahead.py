"""From what is known to what is expected: the arrays that look-ahead decides on.

Reads a Foresight, never a store. Prices are scenarios that agree where a price is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tieline.dispatch.contracts import network_path, power_cost, resale_path
from tieline.dispatch.inputs.arrays import LOW, Bools, FleetArrays, Floats, heat
from tieline.dispatch.inputs.foresight import Foresight
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.mining.lookahead import Ahead
from tieline.dispatch.settings import Settings
from tieline.fleet import Contract, Fleet

# What a MWh that was sold and is not drawn counts as: above what any product fines, so that it gives way last.
SHORT_USD_PER_MWH = 10_000.0

Demanded = Mapping[int, tuple[float, Floats]]


@dataclass(frozen=True)
class Prices:
    """(T, N, S) marginal USD/MWh above and below the contracted level (N,); None: one price. `split`: (N,) sites where
    the level is of a demand charge, up to which part of a group may run."""

    above: Floats
    below: Floats | None
    take_w: Floats | None
    split: Bools | None = None

    @property
    def usual(self) -> Floats:
        """(T, N, S) what load that comes first pays: below the level where that is of a demand charge."""
        if self.split is None or self.below is None:
            return self.above
        return np.where(self.split[None, :, None], self.below, self.above)


@dataclass(frozen=True)
class SiteConditions:
    """What bears on every site whatever is decided: prices, heat, limits."""

    steps: Grid
    prices: Prices
    aux: Floats  # (T, G)
    derate: Floats  # (T, G)
    limit_w: Floats  # (T, N)
    usd_per_h: Floats  # (G,)

    def cost_of_power(self, arrays: FleetArrays, unknown: float) -> Floats:
        """(T, N) what a MWh costs a replica: its expected price, or the mining it displaces where rigs at full
        load do not fit. A price that is not known counts as `unknown`."""
        price = np.nan_to_num(self.prices.usual.mean(axis=2), nan=unknown)
        meter = arrays.rated_w * self.derate * (1.0 + self.aux)
        full = np.zeros_like(self.limit_w)
        np.add.at(full.T, arrays.site, meter.T)
        # The step that gives way first is the worst group's from low to normal.
        share_usd, share_w = 1.0 - LOW.hash_share, 1.0 - LOW.power_share
        bid = np.divide(self.usd_per_h * self.derate * share_usd * 1e6, meter * share_w, where=meter > 1.0,
                        out=np.full_like(meter, np.inf))  # fmt: skip
        last = np.full_like(self.limit_w, np.inf)
        np.minimum.at(last.T, arrays.site, bid.T)
        bound = (full > self.limit_w) & np.isfinite(last)
        return np.asarray(np.where(bound, np.maximum(price, np.where(bound, last, 0.0)), price))


def surroundings(
    sight: Foresight,
    fleet: Fleet,
    arrays: FleetArrays,
    settings: Settings,
    steps: Grid,
    hashprice_usd: float,
    demand: Demanded | None = None,
) -> SiteConditions:
    """`demand`: by site index, watts that cost no demand charge and (T,) USD/MWh that one adds above them."""
    temps = sight.temperatures(steps)
    aux, derate = heat(arrays.air, temps[:, arrays.site])
    return SiteConditions(
        steps=steps,
        prices=_floored(_with_demand(prices(sight, fleet, steps, settings), demand or {}), fleet),
        aux=aux,
        derate=derate,
        limit_w=sight.limits(steps),
        usd_per_h=arrays.rated_hs / 1e15 * hashprice_usd * settings.keeps / 24.0,
    )


def build(
    around: SiteConditions,
    fleet: Fleet,
    settings: Settings,
    base_w: Mapping[str, float],
    sold_w: Floats | None = None,
) -> Ahead:
    """`base_w`: by site, the load that comes before mining; `sold_w` (T, N): what reserves sold need drawn."""
    base = np.array([base_w.get(site.id, 0.0) for site in fleet.sites])
    share = settings.restore_share_per_5min
    return Ahead(
        hours=around.steps.hours,
        usd_per_h=around.usd_per_h,
        aux=around.aux,
        derate=around.derate,
        limit_w=around.limit_w,
        base_w=np.repeat(base[None, :], len(around.steps.hours), axis=0),
        price=around.prices.above,
        below=around.prices.below,
        take_w=around.prices.take_w,
        split=around.prices.split,
        restore_share_per_h=None if share is None else share * 12.0,
        sold_w=sold_w,
        short_usd_per_mwh=0.0 if sold_w is None else SHORT_USD_PER_MWH,
        outages_per_h=settings.outages_per_year / 8766.0,
    )


def _with_demand(prices: Prices, demand: Demanded) -> Prices:
    """The same with demand charges: two prices at each site that pays one, with what is billed anyway as the level."""
    if not demand:
        return prices
    sites = prices.above.shape[1]
    below = prices.above.copy() if prices.below is None else prices.below.copy()
    take_w = np.zeros(sites) if prices.take_w is None else prices.take_w.copy()
    above, split = prices.above.copy(), np.zeros(sites, dtype=bool)
    for n, (sunk_w, adder) in demand.items():
        below[:, n], take_w[n], split[n] = prices.above[:, n], sunk_w, True
        above[:, n] += adder[:, None]
    return Prices(above, below, take_w, split)


def _floored(prices: Prices, fleet: Fleet) -> Prices:
    """The same, no cheaper than the floors that partners set at their sites."""
    floors = [None if (one := fleet.partner_of(site.id)) is None else one.floor_usd_per_mwh for site in fleet.sites]
    if all(floor is None for floor in floors):
        return prices
    least = np.array([-np.inf if floor is None else floor for floor in floors])[None, :, None]
    below = None if prices.below is None else np.maximum(prices.below, least)
    return Prices(np.maximum(prices.above, least), below, prices.take_w, prices.split)


def _paths(
    sight: Foresight, contract: Contract, steps: Grid, wide: int, columns: dict[str, Floats | None]
) -> Floats | None:
    """(T, S) of the contract's market, the 15-minute one first; None where neither is known whole. `found`: by market,
    what was asked for before."""
    for name in (contract.market_15min, contract.market):
        if name is None:
            continue
        if name not in columns:
            columns[name] = sight.paths(name, steps, wide)
        paths = columns[name]
        if paths is not None and not np.isnan(paths).any():
            return paths
    return None


def prices(sight: Foresight, fleet: Fleet, steps: Grid, settings: Settings) -> Prices:
    count, sites, wide = len(steps.hours), len(fleet.sites), settings.scenarios
    market: dict[str, Floats | None] = {}
    out = np.zeros((count, sites, wide))
    below, take_w, two = np.zeros_like(out), np.zeros(sites), False
    adders, starts = sight.peaks(steps, wide if settings.peak_scenarios else 1), steps.starts
    for n, site in enumerate(fleet.sites):
        contract = site.contract
        paths = _paths(sight, contract, steps, wide, market)
        if contract.basis != "fixed":
            # Without any path the site is not looked ahead for: the strike, or the last plan, decides there.
            energy = np.full((count, wide), np.nan) if paths is None else paths * contract.scale
            out[:, n] = energy + contract.adder_usd_per_mwh
        else:
            cost = power_cost(contract, 0.0, site.interconnect.limit_w, settings.resale_discount, None)
            assert cost is not None
            out[:, n] = cost.price_usd_per_mwh
            energy = np.full((count, wide), contract.fixed_usd_per_mwh or 0.0)
            take_w[n], two = cost.take_w, two or cost.take_w > 0
            if contract.resale and cost.take_w > 0:
                below[:, n] = np.nan if paths is None else resale_path(contract, paths, settings.resale_discount)
        taken = network_path(contract, starts, energy)
        out[:, n] += taken
        below[:, n] += taken
        if n in adders:
            adder = adders[n] if adders[n].ndim == 2 else adders[n][:, None]
            out[:, n] += adder
            below[:, n] += adder
    below = np.where(take_w[None, :, None] > 0, below, out)
    return Prices(out, below, take_w) if two else Prices(out, None, None)
