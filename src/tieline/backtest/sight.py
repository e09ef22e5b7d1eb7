"""Recorded days as a Foresight: what the live controller would know when a slot begins, or all of it.

The scenario's own conventions stand here and nowhere else: an order's end is known when it begins, a fault is
taken to last two hours more, a day of grace belongs to batch work.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from tieline.backtest.data import ScenarioWorld
from tieline.backtest.policies import PolicyInputs
from tieline.backtest.tokens import BATCH_SHARE, BATCH_SLOTS
from tieline.clock import micros
from tieline.dispatch.inputs.arrays import Floats, Ints
from tieline.dispatch.inputs.backlog import Lot
from tieline.dispatch.inputs.demand import asked_paths
from tieline.dispatch.inputs.forecast import SLOT_S, SLOTS_PER_DAY, Forecaster, analog_days
from tieline.dispatch.inputs.foresight import Where
from tieline.dispatch.inputs.heat_errors import heat_errors
from tieline.dispatch.inputs.horizon import Grid

_FAULT_LASTS_S = 7200.0


class Recorded:
    """Foresight at one slot. `perfect`: prices, temperatures, demand, peaks and the end of faults are true."""

    def __init__(self, known: PolicyInputs, *, perfect: bool, odds: bool = True, forecaster: Forecaster = analog_days):
        self.known, self.perfect, self.odds, self.forecaster = known, perfect, odds, forecaster
        self.world: ScenarioWorld = known.world

    def paths(self, market: str, steps: Grid, wide: int) -> Floats | None:
        one = self.world.markets.get(market)
        if one is None:
            return None
        if self.perfect:
            return np.repeat(self._means(market, steps)[:, None], wide, axis=1)
        wanted = self.known.slot + steps.middle_s // SLOT_S
        known = self.known.known(market)
        base = micros(self.world.start) // (SLOT_S * 1_000_000)
        return self.forecaster(one.values, self.known.slot, known, wanted, wide, series=market, base=base)

    def reserve_paths(self, product: str, steps: Grid, wide: int) -> Floats | None:
        values = self.world.reserves.price.get(product)
        if values is None:
            return None
        wanted = self.known.slot + steps.middle_s // SLOT_S
        if self.perfect:
            return np.repeat(values[np.clip(wanted, 0, self.world.slots - 1)][:, None], wide, axis=1)
        known = int(self.world.reserves.known[product][self.known.slot])
        base = micros(self.world.start) // (SLOT_S * 1_000_000)
        return self.forecaster(values, self.known.slot, known, wanted, wide, series=f"reserve {product}", base=base)

    def _means(self, market: str, steps: Grid) -> Floats:
        """(T,) of what was settled: mean over each step."""
        sums = self.known.plant.sums_of(market)
        last = self.world.slots
        first = np.minimum(self.known.slot + steps.offset_s // SLOT_S, last - 1)
        end = np.clip(self.known.slot + (steps.offset_s + steps.length_s) // SLOT_S, first + 1, last)
        return np.asarray((sums[end] - sums[first]) / (end - first))

    def temperatures(self, steps: Grid) -> Floats:
        place = self.known.slot + steps.middle_s // SLOT_S
        if not self.perfect:
            place = place - np.maximum(0, -(-(place - self.known.slot) // SLOTS_PER_DAY)) * SLOTS_PER_DAY
        return self.world.temp_c[np.clip(place, 0, self.world.slots - 1)]

    def heat_errors(self, steps: Grid, miss: Floats) -> Floats:
        shape = (len(steps.hours), len(self.world.fleet.sites), 2)
        if self.perfect:
            return np.zeros(shape)
        wanted = self.known.slot + steps.middle_s // SLOT_S
        columns = zip(self.world.temp_c.T, miss.T, strict=True)
        found = [heat_errors(temp_c, self.known.slot, wanted, 3600 // SLOT_S, likely) for temp_c, likely in columns]
        return np.stack(found, axis=1)

    def limits(self, steps: Grid) -> Floats:
        out = np.repeat(self.known.fleet.limit_w[None], len(steps.hours), axis=0)
        if self.known.plant.simple:
            return np.full_like(out, 1e12)
        now = self.world.when(self.known.slot)
        for event in self.world.events:
            limit = 0.0 if event.kind == "outage" else event.limit_w
            if limit is None or not event.at <= now < event.until:
                continue
            sure = event.kind == "order" or self.perfect
            last = (event.until - now).total_seconds() if sure else _FAULT_LASTS_S
            hit = steps.offset_s < last
            out[hit, event.site] = np.minimum(out[hit, event.site], limit)
        return out

    def peaks(self, steps: Grid, wide: int = 1) -> dict[int, Floats]:
        if not self.odds or not self.world.peaks or self.known.plant.simple:
            return {}
        return self.world.peaks.adders(steps, self.world.when(self.known.slot), wide, perfect=self.perfect)

    def asked(self, start: datetime, seconds: Ints, wide: int) -> Mapping[Where, Floats]:
        wanted = self.known.slot + seconds // SLOT_S
        known = self.known.demand_known
        paths: dict[Where, Floats] = {}
        for region, series in self.world.demand.items():
            if self.perfect:
                path = np.repeat(series[np.clip(wanted, 0, self.world.slots - 1)][:, None], wide, axis=1)
            else:
                forecast = asked_paths(series[:known], known, wanted, wide)
                if forecast is None:
                    continue
                path = forecast
            paths[(self.known.plant.model, region)] = path * (1.0 - BATCH_SHARE)
        return paths

    def inputs_per_output(self, place: Where) -> float:
        series = self.world.inputs.get(place[1])
        return 0.0 if series is None else float(series[max(0, self.known.demand_known - 1)])

    def owed(self, start: datetime) -> dict[str, list[Lot]]:
        """What the plant holds, and the batch work of the interval that begins, as it is expected."""
        plant = self.known.plant
        backlog = plant.tokens.backlog
        lots = backlog.lots(self.known.slot)
        span = np.arange(0, self.known.seconds, SLOT_S, dtype=np.intp)
        soon = sum(float(path.mean()) for path in self.asked(start, span, 1).values())
        if soon > 0:
            due = min(BATCH_SLOTS, backlog.end - self.known.slot) * float(SLOT_S)
            lots.append(Lot(due, soon * BATCH_SHARE / (1.0 - BATCH_SHARE) * self.known.seconds))
        return {plant.model: lots} if plant.model and lots else {}

    def arriving(self, model: str) -> float:
        """A day of batch work: the last day's."""
        known = self.known.demand_known
        day = slice(max(0, known - SLOTS_PER_DAY), known)
        return sum(float(series[day].sum()) * SLOT_S * BATCH_SHARE for series in self.world.demand.values())
