"""Reserves in a backtest: offered before prices are known, awarded at recorded prices, held, called, paid.

What a policy sells of a local day is decided once, when offers close, with what was known then; the market's recorded
clearing price awards it. When a product is called is invented: draws from its own name and day, as often as its table
says. A call takes what the site sold for its hours, at every site at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec
import numpy as np

from tieline.backtest.calls import RETURNS_SLOTS, Call
from tieline.backtest.data import ScenarioWorld
from tieline.backtest.plant import PlantTargets
from tieline.backtest.policies import LIKELY_PEAK_USD_PER_MWH, BandStrike, PolicyInputs
from tieline.backtest.reserved import HOUR_SLOTS
from tieline.backtest.sight import Recorded
from tieline.dispatch.inputs.arrays import Floats, Ints
from tieline.dispatch.inputs.forecast import SLOT_S
from tieline.dispatch.inputs.heat_errors import USUAL_C
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.mining.lookahead import held, held_share, powers
from tieline.dispatch.purchase import hours_of
from tieline.dispatch.reserves import (
    KEPT_BACK,
    LEAD,
    PeakCost,
    Steps,
    awarded,
    costs,
    limits_of,
    peaks_of,
    power_paths,
    products_of,
    steps_of,
    worth_missing,
)
from tieline.fleet.markets import zone_of
from tieline.fleet.reserves import ReserveProduct

# Load comes back in stages, so what is sold starts to run half an hour ahead.
LEAD_SLOTS = int(LEAD.total_seconds()) // SLOT_S
Sight = Callable[[PolicyInputs], Recorded]


@dataclass
class ReserveDesk:
    """What one policy sells over one span. `limit`: a rule's one price for every step; None: each at its cost.
    `heat_error_c`: how wrong a rule takes every expected temperature to be; None: as wrong as the last weeks were."""

    limit: float | None = None
    heat_error_c: float | None = None
    sold: dict[str, Floats] = field(default_factory=dict)  # by product, (slots, N) W
    whole: Floats = field(default_factory=lambda: np.zeros(0))  # (slots, N) W of all products
    usd: Floats = field(default_factory=lambda: np.zeros(0))  # (slots,) of capacity
    done: set[datetime] = field(default_factory=set)
    plant: object = None

    def step(self, known: PolicyInputs, sight: Sight) -> None:
        """Sell the days whose offers have closed and were not sold yet."""
        world = known.world
        if self.plant is not known.plant:
            self.plant, self.sold, self.done = known.plant, {}, set()
            self.usd, self.whole = np.zeros(world.slots), np.zeros((world.slots, len(world.fleet.sites)))
        now = world.when(known.slot)
        for product in world.reserves.products[:1]:
            today = now.astimezone(zone_of(product.zone)).date()
            for day in (today, today + timedelta(days=1)):
                closes = product.closes(day)
                if closes in self.done or closes > now:
                    continue
                self.done.add(closes)
                then = replace(known, slot=max(0, world.slot(closes)))
                # A span begins with nothing running: what comes up in stages within the hour cannot be held.
                hours = [h for h in hours_of(product.zone, day) if world.slot(h) >= known.slot + HOUR_SLOTS]
                self._sell(then, sight(then), hours)

    def _sell(self, known: PolicyInputs, sight: Recorded, hours: list[datetime]) -> None:
        if not hours:
            return
        world, first = known.world, hours[0]
        offsets = np.array([int((h - first).total_seconds()) for h in hours], dtype=np.intp)
        at = known.world.when(known.slot)
        late = int((first - at).total_seconds())
        steps = Grid(at, offsets + late, np.full(len(hours), 3600, dtype=np.intp))
        temps, limits = sight.temperatures(steps), sight.limits(steps)
        # What is certain is one scenario, and weighed as it is.
        settings = msgspec.structs.replace(known.settings, scenarios=1) if sight.perfect else known.settings
        known = replace(known, settings=settings)
        slots = np.array([world.slot(h) for h in hours], dtype=np.intp)
        errors_c = self._heat_errors(known, sight, steps, first)
        for n, site in enumerate(world.fleet.sites):
            products = [p for p in products_of(world.fleet, site, first) if p.name in world.reserves.price]
            if not products or not site.rig_groups:
                continue
            heat_c = [None if np.isnan(t) else float(t) for t in temps[:, n]]
            # Who knows everything knows which rigs fail.
            kept = 0.0 if sight.perfect else KEPT_BACK
            curve = steps_of(site, known.settings, known.hashprice_usd, heat_c, limits[:, n], errors_c[:, n], kept)
            peak = peaks_of(sight, n, steps)
            ask = [
                self._limits(known, sight, site_steps=curve, steps=steps, n=n, peak=peak, product=p) for p in products
            ]
            paid = [world.reserves.price[p.name][slots] for p in products]
            won = awarded(curve, ask, paid).sum(axis=1)
            for p, product in enumerate(products):
                self._keep(world, product, n, slots, won[:, p], paid[p])
                self._call(known, product, n, slots)

    def _heat_errors(self, known: PolicyInputs, sight: Recorded, steps: Grid, first: datetime) -> Floats:
        """(T, N, 2) C that the weather may be off where it is sold."""
        fleet = known.world.fleet
        if self.heat_error_c is not None:
            return np.tile(np.array([-self.heat_error_c, self.heat_error_c]), (len(steps.hours), len(fleet.sites), 1))
        sells = [products_of(fleet, site, first) for site in fleet.sites]
        miss = {names: worth_missing(sight, names, steps, known.settings) for names in map(tuple, sells)}
        return sight.heat_errors(steps, np.stack([miss[tuple(names)] for names in sells], axis=1))

    def _limits(
        self,
        known: PolicyInputs,
        sight: Recorded,
        *,
        site_steps: Steps,
        steps: Grid,
        n: int,
        peak: PeakCost,
        product: ReserveProduct,
    ) -> Floats:
        if self.limit is not None:
            out = np.full(site_steps.power_w.shape, self.limit)
            out[peak.whole > LIKELY_PEAK_USD_PER_MWH] = np.inf
            return out
        price = power_paths(sight, known.world.fleet.sites[n], steps, known.settings)
        paid = sight.reserve_paths(product.name, steps, price.shape[1])
        cost = costs(site_steps, price, peak, product, known.settings, paid)
        return limits_of(cost, paid, peak.whole)

    def _keep(
        self, world: ScenarioWorld, product: ReserveProduct, n: int, slots: Iterable[int], won: Floats, paid: Floats
    ) -> None:
        book = self.sold.setdefault(product.name, np.zeros((world.slots, len(world.fleet.sites))))
        for slot, watts, usd in zip(slots, won, np.nan_to_num(paid), strict=True):
            book[slot : slot + HOUR_SLOTS, n] = watts
            self.whole[slot : slot + HOUR_SLOTS, n] += watts
            self.usd[slot : slot + HOUR_SLOTS] += watts / 1e6 * usd / HOUR_SLOTS

    def _call(self, known: PolicyInputs, product: ReserveProduct, n: int, slots: Iterable[int]) -> None:
        begun, book, plant = set(map(int, slots)), self.sold[product.name], known.plant
        for first, last in known.world.reserves.calls.get(product.name, ()):
            if first // HOUR_SLOTS * HOUR_SLOTS not in begun or first < known.slot:
                continue
            power_w = float(book[first:last, n].min())
            if power_w <= 0.0:
                continue
            name = f"{product.name}@{known.world.fleet.sites[n].id}@{first}"
            paid = plant.true_price[0][first:last, n].mean() if product.energy_paid else 0.0
            plant.calls[name] = Call(
                name, n, first, last, power_w, product.response_s, product.penalty_usd_per_mwh, float(paid)
            )

    def due(self, known: PolicyInputs, ahead: int = 0) -> Floats:
        """(N,) load that must be drawn now, or within `ahead` slots."""
        return np.asarray(self._at(known, np.arange(known.slot, known.slot + 1 + ahead, dtype=np.intp)).max(axis=0))

    def ahead(self, known: PolicyInputs, steps: Grid) -> Floats | None:
        """(T, N) load that must be drawn over the steps ahead; None: nothing is sold."""
        if not len(self.whole):
            return None
        return self._at(known, known.slot + steps.offset_s // SLOT_S)

    def _at(self, known: PolicyInputs, slots: Ints) -> Floats:
        """(T, N) load that must be drawn in `slots`: what is sold, less what is called or returns from a call. Nobody
        knows of a call before it comes."""
        if not len(self.whole):
            return np.zeros((len(slots), len(known.world.fleet.sites)))
        out = np.array(self.whole[np.minimum(slots, len(self.whole) - 1)])
        for call in known.plant.calls.values():
            if call.first <= known.slot:
                out[slots < call.last + RETURNS_SLOTS, call.site] -= call.power_w
        return np.maximum(0.0, out)

    def hold(
        self, known: PolicyInputs, asked: PlantTargets, low_w: Floats, high_w: Floats
    ) -> tuple[PlantTargets, Floats | None]:
        """What was asked, with what is sold running; and (N,) the floor that the meter is held to."""
        due = self.due(known)
        soon = np.maximum(due, self.due(known, LEAD_SLOTS))
        if not soon.any():
            return asked, None
        need_w = np.maximum(0.0, soon - known.plant.inference_w())
        run, up = held(known.fleet, low_w, high_w, need_w)
        # A group that would run low, or less, runs as many rigs in normal mode as draw what it sold.
        more = (up > 1e-3) & ~asked.up
        whole = held_share(known.fleet, low_w, high_w, need_w)
        run = np.where(more & (asked.run <= whole + 1e-6), whole, np.maximum(asked.run, run))
        return replace(asked, run=run, up=np.asarray(asked.up | more)), due


@dataclass
class BandWithReserves(BandStrike):
    """The per-group strike with a dead band, and every megawatt offered as a reserve at one price in every hour that is
    no likely peak. Both numbers are tuned on other days."""

    reserve_usd: float = 5.0
    heat_error_c: float = USUAL_C
    name: str = "per-group strike with a dead band, reserves above a price"
    desk: ReserveDesk = field(default_factory=ReserveDesk)
    floors: Floats | None = None

    def decide(self, known: PolicyInputs) -> PlantTargets:
        asked = super().decide(known)
        self.floors = None
        if not known.world.reserves:
            return asked
        self.desk.limit, self.desk.heat_error_c = self.reserve_usd, self.heat_error_c
        self.desk.step(known, lambda then: Recorded(then, perfect=False))
        above, below = known.prices()
        low_w, high_w = powers(known.fleet, known.now_ahead(above, below))
        asked, self.floors = self.desk.hold(known, asked, low_w[0], high_w[0])
        return asked
