"""Look-ahead as a backtest runs it: the product's own programme on recorded days.

What is expected (`ahead`), replicas and batch work (`serve`), and what runs (`policy.decide` with its memory of
starts) are the live controller's code; only the Foresight it reads is the backtest's. Around it stands offers
taken or declined a day ahead and floors under what was sold. Couplings can be left out one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec
import numpy as np

from tieline.backtest.calls import RETURNS_SLOTS, call_of
from tieline.backtest.plant import PlantTargets
from tieline.backtest.policies import UNKNOWN, PolicyInputs, margins
from tieline.backtest.reserves import ReserveDesk
from tieline.backtest.sight import Recorded
from tieline.dispatch.inference.serve import serve
from tieline.dispatch.inputs.arrays import Floats
from tieline.dispatch.inputs.forecast import Forecaster
from tieline.dispatch.inputs.forecasters import forecaster_of
from tieline.dispatch.inputs.horizon import grid
from tieline.dispatch.mining.ahead import SHORT_USD_PER_MWH, SiteConditions, build, surroundings
from tieline.dispatch.mining.lookahead import Ahead
from tieline.dispatch.mining.policy import Memory, decide
from tieline.dispatch.settings import Settings
from tieline.records import Commitment


@dataclass
class Tieline:
    """Look-ahead. `without` leaves couplings out, by the names of `backtest.COUPLINGS`."""

    name: str = "Tieline"
    perfect: bool = False
    without: frozenset[str] = frozenset()
    scenarios: int = 20
    accepted: dict[str, Commitment] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    floors: Floats | None = None
    forecaster: Forecaster | None = None
    desk: ReserveDesk = field(default_factory=ReserveDesk)
    _memory: Memory | None = None
    _last: int = -1

    def decide(self, known: PolicyInputs) -> PlantTargets:
        fleet, now = known.fleet, known.world.when(known.slot)
        settings = self.settings(known)
        sight, around = self.around(known, settings)
        selling = bool(known.world.reserves) and "reserves" not in self.without
        if selling:
            self.desk.step(known, lambda then: Recorded(then, perfect=self.perfect, forecaster=self._forecaster(then)))
        replicas, batch = self._serve(known, sight, around, settings)
        ahead = self.ahead(known, around, settings)
        if selling and (sold := self.desk.ahead(known, around.steps)) is not None:
            ahead = replace(ahead, sold_w=sold, short_usd_per_mwh=SHORT_USD_PER_MWH)
        if "starts" in self.without:
            fleet = replace(fleet, wear_usd=np.zeros(fleet.groups))
        if "wake" in self.without:
            fleet = replace(fleet, wake_h=np.zeros(fleet.groups), boot_h=np.zeros(fleet.groups))
        wish = decide(fleet, ahead, self._remembered(known, now), settings, now)
        run, off = wish.run, np.asarray(wish.off, dtype=bool)
        if "off" in self.without:
            off = np.zeros_like(off)
        first = replace(ahead.first(), restore_share_per_h=None, sold_w=None)
        low, high = margins(fleet, first)
        self.floors, soon = self._floors(known, settings, around)
        if soon is not None:
            # By rigs alone: what inference draws moves with its users.
            share = np.clip(soon[fleet.site] / np.maximum(1.0, wish.seen.low_w), 0.0, 1.0)
            run = np.maximum(run, np.where(fleet.first == 0, share, 0.0))
        asked = PlantTargets(run, high > low, off, replicas, batch)
        if selling:
            asked, due = self.desk.hold(known, asked, wish.seen.low_w, wish.seen.high_w)
            self.floors = due if self.floors is None else self.floors if due is None else self.floors + due
        return asked

    def _forecaster(self, known: PolicyInputs) -> Forecaster:
        self.forecaster = self.forecaster or forecaster_of(known.settings.forecaster)
        return self.forecaster

    def around(self, known: PolicyInputs, settings: Settings) -> tuple[Recorded, SiteConditions]:
        """What is known, and what is expected of it."""
        odds = "peaks" not in self.without
        sight = Recorded(known, perfect=self.perfect, odds=odds, forecaster=self._forecaster(known))
        steps = grid(known.world.when(known.slot), known.seconds, settings.horizon_s)
        fleet = known.world.fleet
        return sight, surroundings(sight, fleet, known.fleet, settings, steps, known.hashprice_usd)

    def expected(self, known: PolicyInputs) -> Ahead:
        """The arrays that the programme decides on, for whoever wants to see or time them alone."""
        settings = self.settings(known)
        return self.ahead(known, self.around(known, settings)[1], settings)

    def settings(self, known: PolicyInputs) -> Settings:
        wide = 1 if self.perfect else self.scenarios
        used = msgspec.structs.replace(known.settings, scenarios=wide)
        if "demand" in self.without:
            used = msgspec.structs.replace(used, demand_scenarios=False)
        if "outages" in self.without or self.perfect or known.plant.simple:
            used = msgspec.structs.replace(used, outages_per_year=0.0)
        if "expected peaks" in self.without:
            used = msgspec.structs.replace(used, peak_scenarios=True)
        if "daily" in self.without:
            used = msgspec.structs.replace(used, starts_per_day=1e9, min_up_s=0, min_down_s=0)
        return used

    def _remembered(self, known: PolicyInputs, now: datetime) -> Memory:
        """What ran until now, as it was seen: a change since the last decision was made then."""
        running, asleep = known.plant.running, known.plant.asleep
        if self._memory is None or not 0 < known.slot - self._last <= 96:
            # A new span: nothing ran, and nothing is too recent.
            self._memory = Memory.of(known.fleet.groups)
            self._memory.note(now, running, asleep)
        else:
            self._memory.note(known.world.when(self._last), running, asleep)
        self._last = known.slot
        return self._memory

    def _serve(
        self, known: PolicyInputs, sight: Recorded, around: SiteConditions, settings: Settings
    ) -> tuple[Floats, float | None]:
        """(nodes,) replicas and tokens/s of batch work."""
        nodes = known.plant.nodes
        if not nodes:
            return np.zeros(0), None
        if "routing" in self.without:
            return known.replicas(), None
        cost = around.cost_of_power(known.fleet, UNKNOWN)
        price = {unit.id: cost[:, n] for _, n, unit in nodes}
        serving = serve(
            sight,
            known.rooms(),
            around.steps,
            price,
            known.replicas_running(),
            settings,
            known.plant.table,
            ready="ready" not in self.without,
        )
        replicas = np.array([float(serving.wanted[unit.id].replicas) for _, _, unit in nodes])
        if "batch" in self.without:
            return replicas, None
        return replicas, sum(serving.wanted[unit.id].batch_tokens_per_s or 0.0 for _, _, unit in nodes)

    def ahead(self, known: PolicyInputs, around: SiteConditions, settings: Settings) -> Ahead:
        base = dict(zip((s.id for s in known.world.fleet.sites), known.plant.inference_w(), strict=True))
        steps = build(around, known.world.fleet, settings, base)
        if known.plant.simple:
            steps = replace(steps, aux=np.zeros_like(steps.aux), derate=np.ones_like(steps.derate))
        if known.plant.simple or "restore" in self.without:
            steps = replace(steps, restore_share_per_h=None)
        if "contract" in self.without:
            steps = replace(steps, below=None, take_w=None)
        if "limit" in self.without:
            steps = replace(steps, limit_w=np.full_like(steps.limit_w, 1e12))
        return steps

    def _floors(
        self, known: PolicyInputs, settings: Settings, around: SiteConditions
    ) -> tuple[Floats | None, Floats | None]:
        """(N,) load that accepted reserves need drawn now, and what to run so that it is there in half an hour;
        offers of the next day are decided on the way."""
        if "commitments" in self.without or not known.world.offers:
            return None, None
        now, world = known.world.when(known.slot), known.world
        self._accept(known, around, now)
        lead = timedelta(minutes=30)
        due, soon = np.zeros(len(world.fleet.sites)), np.zeros(len(world.fleet.sites))
        place = {s.id: n for n, s in enumerate(world.fleet.sites)}
        for offer in self.accepted.values():
            call = known.plant.calls.get(offer.commitment_id)
            if call is not None and call.first <= known.slot < call.last:
                continue  # called: it must not draw
            if offer.at - lead <= now < offer.until:
                soon[place[offer.site_id]] += offer.power_w
            returning = call is not None and call.last <= known.slot < call.last + RETURNS_SLOTS
            if offer.at <= now < offer.until and not returning:
                due[place[offer.site_id]] += offer.power_w
        return (due if due.any() else None), (soon if soon.any() else None)

    def _accept(self, known: PolicyInputs, around: SiteConditions, now: datetime) -> None:
        """Offers that were told and have not begun: each is decided once."""
        world = known.world
        for n, offer in enumerate(world.offers):
            if offer.commitment_id in self.seen or not offer.known_at <= now < offer.at:
                continue
            self.seen.add(offer.commitment_id)
            if self.worth(known, around, offer, world.deployed_share[n]):
                self.accepted[offer.commitment_id] = offer
                call = call_of(world, offer, world.deployed_share[n])
                if call is not None:
                    known.plant.calls[offer.commitment_id] = call

    def worth(self, known: PolicyInputs, around: SiteConditions, offer: Commitment, deployed: float) -> bool:
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
        steps, price = around.steps, np.nan_to_num(around.prices.above, nan=UNKNOWN)
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
