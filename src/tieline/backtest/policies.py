"""The policies a backtest compares. Each sees only what was known when it decides.

The simple rules are what operators use; each has at most two numbers, tuned on another period. Look-ahead is in
`backtest_tieline`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from tieline.backtest.data import ScenarioWorld
from tieline.backtest.plant import Plant, PlantTargets
from tieline.dispatch.contracts import resale_usd_per_mwh
from tieline.dispatch.inference.serving import Room, assign
from tieline.dispatch.inputs.arrays import Bools, FleetArrays, Floats, heat
from tieline.dispatch.inputs.forecast import SLOT_S, SLOTS_PER_DAY, known_value
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.inputs.outlook import SILENT_AFTER
from tieline.dispatch.mining.lookahead import Ahead, levels, stages
from tieline.dispatch.settings import Settings
from tieline.fleet import Contract
from tieline.records import Demand

# Above this a window's odds alone are dearer than most hashes.
LIKELY_PEAK_USD_PER_MWH = 100.0
# Where no price is known mining rests: a price that nothing pays.
UNKNOWN = 1e4


@dataclass
class PolicyInputs:
    """What a policy may look at when slot `slot` begins."""

    world: ScenarioWorld
    fleet: FleetArrays
    plant: Plant
    settings: Settings
    slot: int
    seconds: int

    def known(self, market: str) -> int:
        one = self.world.markets[market]
        return int(one.known[self.slot])

    def prices(self) -> tuple[Floats, Floats]:
        """(N,) marginal price above and below the contracted level, as last known."""
        sites = self.world.fleet.sites
        above, below = np.zeros(len(sites)), np.zeros(len(sites))
        prices: dict[str, tuple[float | None, bool]] = {}
        for n, site in enumerate(sites):
            contract, value = site.contract, self._price_of(site.contract, prices)
            energy = contract.fixed_usd_per_mwh or 0.0
            if contract.basis == "fixed":
                above[n] = energy + contract.adder_usd_per_mwh
                below[n] = above[n] if contract.take_share <= 0 else 0.0
                if contract.resale and value is not None:
                    below[n] = resale_usd_per_mwh(contract, value, self.settings.resale_discount)
            else:
                energy = 0.0 if value is None else value * contract.scale
                above[n] = UNKNOWN if value is None else energy + contract.adder_usd_per_mwh
                below[n] = above[n]
            if contract.network:
                charge, losses = contract.network_at(self.world.when(self.slot))
                above[n] += charge + losses * energy
                below[n] += charge + losses * energy
        return above, below

    def _price_of(self, contract: Contract, prices: dict[str, tuple[float | None, bool]]) -> float | None:
        """The contract's market as last known, the 15-minute one while it is fresh. `found`: by market, what was worked
        out before."""
        value = None
        for name in (contract.market_15min, contract.market):
            if name is None or name not in self.world.markets:
                continue
            if name not in prices:
                prices[name] = self._last_price(name)
            price, fresh = prices[name]
            value = price if value is None or (fresh and price is not None) else value
            if fresh:
                break
        return value

    def _last_price(self, name: str) -> tuple[float | None, bool]:
        """A market's price as last known, None after a day of silence; and whether it is fresh: it ended no longer ago
        than two of its own intervals."""
        market, known = self.world.markets[name], self.known(name)
        values, length = market.values, market.interval
        present = ~np.isnan(values[max(0, self.slot - SLOTS_PER_DAY) : min(known, self.slot + 1)])
        if not present.any():
            return None, False
        recent = known_value(values[: self.slot + 1], known, self.slot)
        last = min(known, self.slot + 1) - 1 - int(np.argmax(present[::-1]))
        return recent, self.slot - (last + 1) <= SILENT_AFTER * length

    @property
    def demand_known(self) -> int:
        """The first slot of demand that is not known: its windows are half hours, known when they have ended."""
        return self.slot // 2 * 2

    @property
    def hashprice_usd(self) -> float:
        return float(self.world.hashprice_usd[self.slot])

    @property
    def group_usd_per_h(self) -> Floats:
        """(G,) revenue of a whole group in normal mode, heat aside."""
        return np.asarray(self.fleet.rated_hs / 1e15 * self.hashprice_usd * self.settings.keeps / 24.0)

    @property
    def heat(self) -> tuple[Floats, Floats]:
        """(aux, derate) of each group now."""
        if self.plant.simple:
            return np.zeros(self.fleet.groups), np.ones(self.fleet.groups)
        return heat(self.fleet.air, self.world.temp_c[self.slot, self.fleet.site])

    def strike(self) -> Floats:
        """(G,) normal mode at the meter, USD/MWh."""
        return np.asarray(self.group_usd_per_h / (self.fleet.rated_w / 1e6 * (1.0 + self.heat[0])))

    def limits(self) -> Floats:
        """(N,) that bind now, by orders and faults that have begun."""
        out = self.fleet.limit_w.copy() if not self.plant.simple else np.full(len(self.fleet.limit_w), 1e12)
        now = self.world.when(self.slot)
        for event in () if self.plant.simple else self.world.events:
            if event.at <= now < event.until:
                if event.limit_w is not None:
                    out[event.site] = min(out[event.site], event.limit_w)
                elif event.kind == "outage":
                    out[event.site] = 0.0
        return out

    def demand(self, ahead: bool) -> dict[tuple[str, str], Demand]:
        """By region: the last window that ended, or with `ahead` the most that the same windows of last week
        and this moment say for the interval to come."""
        now = self.world.when(self.slot)
        demand = {}
        for region, series in self.world.demand.items():
            last = self.demand_known - 1
            tokens = float(series[last])
            if ahead:
                steps = max(1, self.seconds // SLOT_S) + 1
                back = 672
                window = series[self.slot - back : self.slot - back + steps]
                week = float(window.max())
                # A week ago, scaled by how this moment compares with it.
                level = tokens / max(1.0, float(series[last - back]))
                tokens = week * min(2.0, max(0.5, level))
            demand[(self.plant.model, region)] = Demand(
                at=now,
                known_at=now,
                source="backtest",
                kind="estimated",
                model=self.plant.model,
                region=region,
                output_tokens_per_s=tokens,
            )
        return demand

    def replicas(self, cost: Floats | None = None, ahead: bool = True, settings: Settings | None = None) -> Floats:
        """(nodes,) that carry the demand: spread at home, or with `cost` (N,) where power is cheap."""
        plant = self.plant
        if not plant.nodes:
            return np.zeros(0)
        costs = None if cost is None else {unit.id: float(cost[n]) for _, n, unit in plant.nodes}
        used = settings or self.settings
        wanted, _ = assign(self.rooms(), self.demand(ahead), plant.table, used, costs, self.replicas_running())
        return np.array([float(wanted[unit.id].replicas) for _, _, unit in plant.nodes])

    def rooms(self) -> list[Room]:
        limits, rooms = self.limits(), []
        for _, n, unit in self.plant.nodes:
            fits = int(max(0.0, limits[n]) / self.plant.full_replica_w)
            most = min(unit.nodes * unit.replicas_per_node, fits)
            rooms.append(Room(unit.id, self.world.fleet.sites[n].region, unit.model, most, 0))
        return rooms

    def replicas_running(self) -> dict[str, int]:
        return {unit.id: int(have) for (_, _, unit), have in zip(self.plant.nodes, self.plant.replicas, strict=True)}

    def all_replicas(self) -> Floats:
        return np.array([float(u.nodes * u.replicas_per_node) for _, _, u in self.plant.nodes])

    def now_ahead(self, above: Floats, below: Floats) -> Ahead:
        """This interval alone, at one price."""
        aux, derate = self.heat
        return Ahead(
            hours=np.array([self.seconds / 3600.0]),
            usd_per_h=self.group_usd_per_h,
            aux=aux[None],
            derate=derate[None],
            limit_w=self.limits()[None],
            base_w=self.plant.inference_w()[None],
            price=above[None, :, None],
            below=below[None, :, None],
            take_w=self.plant.take_w,
        )


class Policy(Protocol):
    name: str

    def decide(self, known: PolicyInputs) -> PlantTargets: ...


def _rest(known: PolicyInputs) -> Bools:
    """Simple rules rest every rig in the one mode that is set."""
    return np.full(known.fleet.groups, known.settings.rest_mode == "off")


def _yes(fleet: FleetArrays) -> Bools:
    return np.ones(fleet.groups, dtype=bool)


@dataclass
class AlwaysOn:
    """Everything runs; orders and limits are left to the edge's reflex."""

    name: str = "always-on"

    def decide(self, known: PolicyInputs) -> PlantTargets:
        return PlantTargets(np.ones(known.fleet.groups), _yes(known.fleet), _rest(known), known.replicas())


@dataclass
class LastPrice:
    """Run while the last known price is below the normal mode's strike; `odds` adds the chance of a peak."""

    name: str = "last-price rule"
    odds: bool = False

    def decide(self, known: PolicyInputs) -> PlantTargets:
        price = known.prices()[0]
        if self.odds:
            price = price + chance_of_peak(known)
        run = (price[known.fleet.site] < known.strike()).astype(float)
        return PlantTargets(run, _yes(known.fleet), _rest(known), known.replicas())


@dataclass
class FixedStrike:
    """One price for the fleet: off after two intervals above it, on after four below."""

    usd_per_mwh: float = 80.0
    name: str = "fixed strike, hysteresis"
    _above: Floats | None = None
    _below: Floats | None = None
    _run: Floats | None = None

    def decide(self, known: PolicyInputs) -> PlantTargets:
        price = known.prices()[0][known.fleet.site]
        if self._run is None or self._above is None or self._below is None:
            self._above, self._below = np.zeros(len(price)), np.zeros(len(price))
            self._run = np.ones(len(price))
        high = price > self.usd_per_mwh
        self._above = np.where(high, self._above + 1, 0)
        self._below = np.where(high, 0, self._below + 1)
        self._run = np.where(self._above >= 2, 0.0, np.where(self._below >= 4, 1.0, self._run))
        return PlantTargets(self._run, _yes(known.fleet), _rest(known), known.replicas())


@dataclass
class GroupStrike:
    """The product's `strike`: every mode of every group against the last known price, contract and chance of a
    peak included; no memory. `expected` also puts inference where power is cheap: the uncoupled LP."""

    name: str = "per-group strike"
    expected: bool = False

    def decide(self, known: PolicyInputs) -> PlantTargets:
        above, below = known.prices()
        adder = chance_of_peak(known)
        above, below = above + adder, below + adder
        one = known.now_ahead(above, below)
        stage = stages(known.fleet, replace(one, restore_share_per_h=None))
        low, high = margins(known.fleet, one)
        rest = 0.0 if known.settings.rest_mode == "off" else stage.sleep[0, :, 0]
        run = (stage.run[0, :, 0] > rest + 1e-9).astype(float)
        replicas = known.replicas(above) if self.expected else known.replicas()
        return PlantTargets(run, high > low, _rest(known), replicas)


@dataclass(frozen=True)
class GroupNumbers:
    """What a desk sets a group's rule to: the dead band as a share of a start's wear, and the strike as a multiple of
    what the group's hashes are worth."""

    share: float
    strike: float = 1.0


@dataclass
class BandStrike:
    """The per-group strike with a memory, as a good desk sets it: what runs goes on until it loses more than `share` of
    the wear of a start, and in a window that is likely a peak rigs are off, not asleep. `by_model` sets the groups of a
    model apart. Inference stays at home."""

    share: float = 0.3
    name: str = "per-group strike with a dead band"
    by_model: Mapping[str, GroupNumbers] = field(default_factory=dict)

    def decide(self, known: PolicyInputs) -> PlantTargets:
        above, below = known.prices()
        adder = chance_of_peak(known)
        share, strike = self._numbers(known)
        one = known.now_ahead(above + adder, below + adder)
        one = replace(one, usd_per_h=one.usd_per_h * strike)
        stage = stages(known.fleet, replace(one, restore_share_per_h=None))
        low, high = margins(known.fleet, one)
        gain = stage.run[0, :, 0] - stage.sleep[0, :, 0]
        band = share * known.fleet.wear_usd
        run = np.where(known.plant.running > 0.5, gain > -band, gain > 0.0).astype(float)
        off = _rest(known) | (adder[known.fleet.site] > LIKELY_PEAK_USD_PER_MWH)
        return PlantTargets(run, high > low, off, known.replicas(above))

    def _numbers(self, known: PolicyInputs) -> tuple[Floats, Floats]:
        """(G,) dead band and strike of each group."""
        models = {group.id: group.model for site in known.world.fleet.sites for group in site.rig_groups}
        usual = GroupNumbers(self.share)
        numbers = [self.by_model.get(models[unit_id], usual) for unit_id in known.fleet.unit_ids]
        return np.array([one.share for one in numbers]), np.array([one.strike for one in numbers])


@dataclass
class WorstFirst:
    """When the mean price of the fleet's markets is above a figure, shed a fixed load, worst J/TH first."""

    usd_per_mwh: float = 80.0
    shed_share: float = 0.3
    name: str = "worst-J/TH-first, fixed kW"

    def decide(self, known: PolicyInputs) -> PlantTargets:
        price = known.prices()[0]
        run = np.ones(known.fleet.groups)
        spot = price[price < UNKNOWN]
        if len(spot) and spot.mean() > self.usd_per_mwh:
            worst = np.argsort(-known.fleet.rated_w / known.fleet.rated_hs, kind="stable")
            left = self.shed_share * known.fleet.rated_w.sum()
            for g in worst:
                cut = min(left, known.fleet.rated_w[g])
                run[g] = 1.0 - cut / known.fleet.rated_w[g]
                left -= cut
        return PlantTargets(run, _yes(known.fleet), _rest(known), known.replicas())


@dataclass
class StaticOrder:
    """Every replica always, then mining under a fixed strike, else curtail."""

    usd_per_mwh: float = 80.0
    name: str = "static inference > mining > curtail"

    def decide(self, known: PolicyInputs) -> PlantTargets:
        price = known.prices()[0][known.fleet.site]
        run = (price < self.usd_per_mwh).astype(float)
        return PlantTargets(run, _yes(known.fleet), _rest(known), known.all_replicas())


def chance_of_peak(known: PolicyInputs) -> Floats:
    """(N,) USD/MWh that the odds of a peak add in the interval that begins."""
    world = known.world
    out = np.zeros(len(world.fleet.sites))
    if not world.peaks or known.plant.simple:
        return out
    now = world.when(known.slot)
    steps = Grid(now, np.zeros(1, dtype=np.intp), np.array([known.seconds], dtype=np.intp))
    for n, adder in world.peaks.adders(steps, now).items():
        out[n] = adder[0]
    return out


def margins(fleet: FleetArrays, one: Ahead) -> tuple[Floats, Floats]:
    """(G,) mean USD/h of the first step: running at the least, and at the most the limit leaves."""
    low, high = levels(fleet, one)
    return low[0].mean(axis=1), high[0].mean(axis=1)
