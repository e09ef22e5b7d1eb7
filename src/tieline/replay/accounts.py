"""What known days earned and cost: the folds that a replay's report and a demo's bills are made of.

In a span whose price or network is not known, a site's money is left out, revenue and cost alike, and the
energy is counted as unpriced: a gap is neither free power nor zero revenue.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal

import numpy as np

from tieline.clock import Interval
from tieline.dispatch import Settings
from tieline.dispatch.contracts import PowerCost, cost_usd, power_cost
from tieline.economics import HASHES_PER_DIFFICULTY
from tieline.feeds.pools import SimulatedPool
from tieline.fleet import Fleet, Site
from tieline.records import NetworkTick, Payout, PowerBill
from tieline.replay.modelled import IntervalTotals
from tieline.settlement.truth import Truth
from tieline.sim.world import Floats, World


@dataclass
class Totals:
    """Running totals by site. USD as floats: a report's figures, not postings. Arrays are (sites,)."""

    sites: int
    mining_wh: Floats = field(init=False)
    inference_wh: Floats = field(init=False)
    aux_wh: Floats = field(init=False)
    unpriced_wh: Floats = field(init=False)
    btc: Floats = field(init=False)
    tokens: Floats = field(init=False)
    started: Floats = field(init=False)
    mining_usd: Floats = field(init=False)
    inference_usd: Floats = field(init=False)
    power_usd: Floats = field(init=False)
    wear_usd: Floats = field(init=False)
    over_limit_s: Floats = field(init=False)
    always_on_wh: Floats = field(init=False)
    always_on_btc: Floats = field(init=False)
    always_on_mining_usd: Floats = field(init=False)
    always_on_power_usd: Floats = field(init=False)
    unserved: dict[tuple[str, str], float] = field(default_factory=dict)
    sats: int = 0
    hashes: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            if not one.init:
                setattr(self, one.name, np.zeros(self.sites))

    @property
    def net_usd(self) -> Floats:
        return self.mining_usd + self.inference_usd - self.power_usd - self.wear_usd

    @property
    def always_on_net_usd(self) -> Floats:
        """The same inference, and mining never curtailed on price."""
        return self.always_on_mining_usd + self.inference_usd - self.always_on_power_usd


@dataclass(frozen=True, slots=True)
class _Part:
    """One span by site, kept until its hour is closed. `cost_usd` is NaN where the price is not known."""

    start: datetime
    mining_wh: Floats
    inference_wh: Floats
    aux_wh: Floats
    cost_usd: Floats
    hashes: float


class HourlySettlement:
    """Adds spans up, and closes each hour with the site's bills and the pool's payout."""

    def __init__(self, fleet: Fleet, world: World, settings: Settings, pool: SimulatedPool, source: str) -> None:
        self.fleet, self.world, self.settings, self.pool, self.source = fleet, world, settings, pool, source
        self.total = Totals(len(fleet.sites))
        self._parts: list[_Part] = []
        self._inference = ~world.is_rig
        self._kw_each = np.where(world.rigs > 0, world.rated_w / np.maximum(world.rigs, 1.0), 0.0) / 1e3

    def add(self, span: IntervalTotals, truth: Truth) -> None:
        """One finished interval."""
        total, world, start, hours = self.total, self.world, span.interval.start, span.interval.hours
        mining_wh = self._by_site(span.load_wh * world.is_rig)
        inference_wh = self._by_site(span.load_wh * self._inference)
        aux_wh, hashes = self._by_site(span.aux_wh), self._by_site(span.hashes)
        drawn_wh = mining_wh + inference_wh + aux_wh
        serving_wh = self._by_site((span.load_wh + span.aux_wh) * self._inference)
        wear_usd = self._by_site(span.started * world.is_rig * self._kw_each) * self.settings.wear_usd_per_kw_start
        tokens_usd = self._by_site(span.tokens * self._usd_per_token(truth, start))
        total.mining_wh += mining_wh
        total.inference_wh += inference_wh
        total.aux_wh += aux_wh
        total.tokens += self._by_site(span.tokens)
        total.started += self._by_site(span.started * world.is_rig)
        total.over_limit_s += span.over_limit_s
        total.hashes += float(span.hashes.sum())
        total.always_on_wh += span.always_on_wh
        for where, lost in span.unserved.items():
            total.unserved[where] = total.unserved.get(where, 0.0) + lost
        network = truth.network(start)
        per_hash = None if network is None else _btc_per_hash(network) * self.settings.keeps
        if per_hash is not None:
            total.btc += hashes * per_hash
            total.always_on_btc += span.always_on_hashes * per_hash
        cost = np.full(len(self.fleet.sites), np.nan)
        for n, site in enumerate(self.fleet.sites):
            power = self.price(site, truth, start)
            if power is not None:
                cost[n] = cost_usd(power, float(drawn_wh[n]) / hours, hours)
            if power is None or per_hash is None or network is None:
                total.unpriced_wh[n] += drawn_wh[n]
                continue
            usd_per_hash = per_hash * float(network.btc_usd)
            total.mining_usd[n] += hashes[n] * usd_per_hash
            total.inference_usd[n] += tokens_usd[n]
            total.power_usd[n] += cost[n]
            total.wear_usd[n] += wear_usd[n]
            total.always_on_mining_usd[n] += span.always_on_hashes[n] * usd_per_hash
            always_w = float(span.always_on_wh[n] + serving_wh[n]) / hours
            total.always_on_power_usd[n] += cost_usd(power, always_w, hours)
        self._parts.append(_Part(start, mining_wh, inference_wh, aux_wh, cost, float(span.hashes.sum())))

    def price(self, site: Site, truth: Truth, moment: datetime) -> PowerCost | None:
        market, contract = truth.market_price(site, moment), truth.contract(site, moment)
        return power_cost(contract, market, site.interconnect.limit_w, self.settings.resale_discount, moment)

    def close_hour(self, hour: Interval, truth: Truth) -> list[PowerBill | Payout]:
        """Bills and the payout of an hour whose spans are all in; a site with an unpriced part gets no bill."""
        parts, self._parts = [part for part in self._parts if part.start in hour], []
        if not parts:
            return []
        mine, serve, aux, cost = (
            np.sum([getattr(part, name) for part in parts], axis=0)
            for name in ("mining_wh", "inference_wh", "aux_wh", "cost_usd")
        )
        records: list[PowerBill | Payout] = [
            PowerBill(
                at=hour.start,
                known_at=hour.end,
                source=self.source,
                kind="simulated",
                site_id=site.id,
                length_s=int(hour.length.total_seconds()),
                mining_wh=round(float(mine[n]), 3),
                inference_wh=round(float(serve[n]), 3),
                aux_wh=round(float(aux[n]), 3),
                cost_usd=Decimal(f"{cost[n]:.6f}"),
            )
            for n, site in enumerate(self.fleet.sites)
            if not np.isnan(cost[n])
        ]
        network = truth.network(hour.start)
        if network is not None:
            rate = sum(part.hashes for part in parts) / hour.length.total_seconds()
            for payout in self.pool.payouts(hour.start, round(rate, -6), network):
                records.append(payout)
                self.total.sats += payout.sats
        return records

    def _by_site(self, values: Floats) -> Floats:
        return np.bincount(self.world.site_of, values, len(self.fleet.sites)).astype(np.float64, copy=False)

    def _usd_per_token(self, truth: Truth, moment: datetime) -> Floats:
        """(units,) USD per output token, its input included, at the tariffs of the settings."""
        rates = np.zeros(len(self.world.units))
        for where, places in self.world.places.items():
            per_mtok = self.settings.output_usd_per_mtok
            per_mtok += truth.input_share(where, moment) * self.settings.input_usd_per_mtok
            rates[places] = per_mtok / 1e6
        return rates


def _btc_per_hash(network: NetworkTick) -> float:
    """Subsidy and fees a hash is expected to find."""
    reward = network.subsidy_btc * (1.0 + network.fee_share)
    return reward / (network.difficulty * HASHES_PER_DIFFICULTY)
