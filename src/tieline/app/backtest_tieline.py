"""Look-ahead as a backtest runs it: the product's own programme, with couplings that can be left out one by one.

`dispatch.lookahead` decides; around it stands what the live controller does: scenarios from what is known,
offers taken or declined a day ahead, floors under what was sold, replicas where power is cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np

from tieline.app.backtest_plant import Asked
from tieline.app.backtest_policies import UNKNOWN, Known, margins, peak_adder
from tieline.clock import micros
from tieline.dispatch.arrays import Floats, heat
from tieline.dispatch.forecast import SLOT_S, Forecaster
from tieline.dispatch.forecasters import forecaster_of
from tieline.dispatch.horizon import Grid, grid
from tieline.dispatch.lookahead import Ahead, look
from tieline.records import Commitment


@dataclass
class Tieline:
    """Look-ahead. `without` leaves couplings out: starts, wake, restore, peaks, contract, limit, scenarios,
    commitments, routing, off."""

    name: str = "Tieline"
    perfect: bool = False
    without: frozenset[str] = frozenset()
    scenarios: int = 20
    accepted: dict[str, Commitment] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    floors: Floats | None = None
    forecaster: Forecaster | None = None

    def decide(self, known: Known) -> Asked:
        fleet = known.fleet
        if self.perfect:
            known = replace(known, perfect=True)
        ahead = self.ahead(known)
        if "starts" in self.without:
            fleet = replace(fleet, wear_usd=np.zeros(fleet.groups))
        if "wake" in self.without:
            fleet = replace(fleet, wake_h=np.zeros(fleet.groups), boot_h=np.zeros(fleet.groups))
        found = look(fleet, ahead)
        run, off = found.wants(known.plant.running, known.plant.asleep)
        if "off" in self.without:
            off = np.zeros_like(off)
        first = replace(ahead.first(), restore_share_per_h=None)
        low, high = margins(fleet, first)
        self.floors, soon = self._floors(known)
        if soon is not None:
            # By rigs alone: what inference draws moves with its users.
            share = np.clip(soon[fleet.site] / np.maximum(1.0, found.low_w), 0.0, 1.0)
            run = np.maximum(run, np.where(fleet.first == 0, share, 0.0))
        cost = None
        if "routing" not in self.without:
            cost = self.inference_cost(known, ahead, found.high_w)
        return Asked(run, high > low, off > 0, known.replicas(cost))

    def inference_cost(self, known: Known, ahead: Ahead, high_w: Floats) -> Floats:
        """(N,) what a MWh costs a replica: the price of the next hour, or the mining it displaces."""
        soon = np.cumsum(ahead.hours) <= 1.0 + 1e-9
        price = ahead.price[soon].mean(axis=(0, 2))
        fleet = known.fleet
        meter = fleet.rated_w * (1.0 + ahead.aux[0]) * ahead.derate[0]
        bound = (high_w < meter * 0.999).astype(float)
        up = known.strike() * (0.2 / 0.28)
        worth = np.zeros(len(fleet.limit_w))
        np.maximum.at(worth, fleet.site, bound * up)
        return np.asarray(np.maximum(price, worth))

    def ahead(self, known: Known) -> Ahead:
        world, fleet, settings = known.world, known.fleet, known.settings
        steps = grid(world.when(known.slot), known.seconds, settings.horizon_s)
        wide = 1 if self.perfect else self.scenarios
        price, below = self._prices(known, steps, wide)
        temp = _temps(known, steps)
        aux, derate = heat(fleet.air, temp[:, fleet.site])
        if known.plant.simple:
            aux, derate = np.zeros_like(aux), np.ones_like(derate)
        limit = self._limits(known, steps)
        share = settings.restore_share_per_5min
        plain = known.plant.simple or "restore" in self.without or share is None
        return Ahead(
            hours=steps.hours,
            usd_per_h=known.group_usd_per_h,
            aux=aux,
            derate=derate,
            limit_w=np.full_like(limit, 1e12) if "limit" in self.without else limit,
            base_w=np.repeat(known.plant.inference_w()[None], len(steps.hours), axis=0),
            price=price,
            below=price if "contract" in self.without else below,
            take_w=known.plant.take_w,
            restore_share_per_h=None if plain or share is None else share * 12.0,
        )

    def _prices(self, known: Known, steps: Grid, wide: int) -> tuple[Floats, Floats]:
        """(T, N, S) above and below the contracted level."""
        above, below = (
            known.plant.mean_prices(known.slot, steps) if self.perfect else self._expected(known, steps, wide)
        )
        if "peaks" not in self.without:
            adder = peak_adder(known, steps.offset_s.astype(float), steps.length_s.astype(float))
            above, below = above + adder[:, :, None], below + adder[:, :, None]
        return above, below

    def _expected(self, known: Known, steps: Grid, wide: int) -> tuple[Floats, Floats]:
        world, settings = known.world, known.settings
        sites = world.fleet.sites
        wanted = known.slot + steps.middle_s // SLOT_S
        self.forecaster = self.forecaster or forecaster_of(settings.forecaster)
        base = micros(world.start) // (SLOT_S * 1_000_000)
        cache: dict[str, Floats] = {}
        price, below = np.zeros((len(wanted), len(sites), wide)), np.zeros((len(wanted), len(sites), wide))
        for n, site in enumerate(sites):
            contract, paths = site.contract, None
            for name in (contract.market_15min, contract.market):
                if name is None or name not in world.markets:
                    continue
                if name not in cache:
                    values = world.markets[name].values
                    cache[name] = self.forecaster(
                        values, known.slot, known.known(name), wanted, wide, series=name, base=base
                    )
                if not np.isnan(cache[name]).any():
                    paths = cache[name]
                    break
            if contract.basis == "fixed":
                price[:, n] = (contract.fixed_usd_per_mwh or 0.0) + contract.adder_usd_per_mwh
                below[:, n] = price[:, n] if contract.take_share <= 0 else 0.0
                if contract.resale and paths is not None:
                    below[:, n] = paths * contract.scale * (1.0 - settings.resale_discount)
            else:
                price[:, n] = UNKNOWN if paths is None else paths * contract.scale + contract.adder_usd_per_mwh
                below[:, n] = price[:, n]
        return price, below

    def _limits(self, known: Known, steps: Grid) -> Floats:
        """(T, N): what binds now is taken to bind for two hours, orders until their known end."""
        world, fleet = known.world, known.fleet
        out = np.repeat(fleet.limit_w[None], len(steps.hours), axis=0)
        if known.plant.simple:
            return np.full_like(out, 1e12)
        now = world.when(known.slot)
        for event in world.events:
            if not event.at <= now < event.until:
                continue
            limit = 0.0 if event.kind == "outage" else event.limit_w
            if limit is None:
                continue
            sure = event.kind == "order" or known.perfect
            last = (event.until - now).total_seconds() if sure else 7200.0
            hit = steps.offset_s < last
            out[hit, event.site] = np.minimum(out[hit, event.site], limit)
        return out

    def _floors(self, known: Known) -> tuple[Floats | None, Floats | None]:
        """(N,) load that accepted reserves need drawn now, and what to run so that it is there in half an hour;
        offers of the next day are decided on the way."""
        if "commitments" in self.without or not known.world.offers:
            return None, None
        now, world = known.world.when(known.slot), known.world
        for n, offer in enumerate(world.offers):
            if offer.commitment_id in self.seen or not offer.known_at <= now < offer.at:
                continue
            self.seen.add(offer.commitment_id)
            if self.worth(known, offer, world.deployed_share[n]):
                self.accepted[offer.commitment_id] = offer
        lead = timedelta(minutes=30)
        due, soon = np.zeros(len(world.fleet.sites)), np.zeros(len(world.fleet.sites))
        place = {s.id: n for n, s in enumerate(world.fleet.sites)}
        for offer in self.accepted.values():
            if offer.at - lead <= now < offer.until:
                soon[place[offer.site_id]] += offer.power_w
            if offer.at <= now < offer.until:
                due[place[offer.site_id]] += offer.power_w
        return (due if due.any() else None), (soon if soon.any() else None)

    def worth(self, known: Known, offer: Commitment, deployed: float) -> bool:
        """Whether the payment beats what the floor is expected to cost, a margin for error included."""
        world, fleet = known.world, known.fleet
        n = next(i for i, s in enumerate(world.fleet.sites) if s.id == offer.site_id)
        taken = sum(
            c.power_w
            for c in self.accepted.values()
            if c.site_id == offer.site_id and c.at < offer.until and offer.at < c.until
        )
        hours = (offer.until - offer.at).total_seconds() / 3600.0
        pays = offer.power_w / 1e6 * hours * offer.capacity_usd_per_mw_h
        steps = grid(world.when(known.slot), known.seconds, known.settings.horizon_s)
        price, _ = self._prices(known, steps, 1 if self.perfect else self.scenarios)
        begin = (offer.at - world.when(known.slot)).total_seconds()
        inside = (steps.offset_s >= begin) & (steps.offset_s < begin + hours * 3600.0)
        groups = np.flatnonzero(fleet.site == n)
        low_w = 0.72 * fleet.rated_w[groups].sum() * 1.04
        if taken + offer.power_w > low_w:
            return False
        strike = float(known.strike()[groups].max()) * (0.80 / 0.72)
        loss = np.maximum(0.0, price[inside, n] - strike).mean(axis=1) * steps.hours[inside]
        cost = float(loss.sum()) * offer.power_w / 1e6
        # Called, the load is off: it loses its margin and pays a start.
        gain = np.maximum(0.0, strike - price[inside, n]).mean() if inside.any() else 0.0
        calls = deployed * hours * (float(gain) + 50.0) * offer.power_w / 1e6
        return pays > 1.2 * (cost + calls)


def _temps(known: Known, steps: Grid) -> Floats:
    """(T, N) yesterday's at the same hour; with perfect forecasts, what came."""
    place = known.slot + steps.middle_s // SLOT_S
    if not known.perfect:
        ahead = np.maximum(0, -(-(place - known.slot) // 96))
        place = place - ahead * 96
    return known.world.temp_c[np.clip(place, 0, known.world.slots - 1)]
