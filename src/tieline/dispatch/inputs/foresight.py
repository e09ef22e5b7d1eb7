"""What can be known of the steps ahead, as arrays: the seam between what is known and what is decided.

The live controller fills it from an Outlook, a backtest from its recorded days; `ahead` and `serve` decide from
either by the same code. Temperature is one path of the same forecaster where no forecast was published; an order
or a fault without an end is taken to last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from tieline.clock import Interval, micros
from tieline.dispatch.inputs.arrays import Floats, Ints
from tieline.dispatch.inputs.backlog import Lot
from tieline.dispatch.inputs.demand import asked_paths
from tieline.dispatch.inputs.forecast import Forecaster, analog_days
from tieline.dispatch.inputs.heat_errors import USUAL_C, heat_errors
from tieline.dispatch.inputs.horizon import Grid, end_of
from tieline.dispatch.inputs.outlook import Outlook
from tieline.dispatch.inputs.series import Slots
from tieline.dispatch.inputs.taking import drawable_w, free_w
from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet
from tieline.fleet.peaks import PeakRule

Where = tuple[str, str]  # (model, region)


class Foresight(Protocol):
    """N sites, T steps, S scenarios."""

    def paths(self, market: str, steps: Grid, wide: int) -> Floats | None:
        """(T, S) USD/MWh of a market; None or nan: unknown."""

    def reserve_paths(self, product: str, steps: Grid, wide: int) -> Floats | None:
        """(T, S) USD per MW and hour that a reserve clears at, a past day a scenario as prices have them."""

    def temperatures(self, steps: Grid) -> Floats:
        """(T, N) C; nan: unknown."""

    def heat_errors(self, steps: Grid, miss: Floats) -> Floats:
        """(T, N, 2) C that a temperature may lie below and above what is expected; `miss` (T, N): how likely beyond."""

    def limits(self, steps: Grid) -> Floats:
        """(T, N) W under orders, faults and overrides as far as they are known."""

    def peaks(self, steps: Grid, wide: int = 1) -> Mapping[int, Floats]:
        """By site index, (T,) USD/MWh that a chance of a coincident peak adds; with `wide` above 1 (T, S)."""

    def asked(self, start: datetime, seconds: Ints, wide: int) -> Mapping[Where, Floats]:
        """(len(seconds), S) interactive output tokens/s at moments after `start`; a place that is absent is
        unknown."""

    def inputs_per_output(self, place: Where) -> float:
        """Input tokens that come with an output token asked for; 0 where that is not known."""

    def owed(self, start: datetime) -> Mapping[str, Sequence[Lot]]:
        """Batch work by model, due in seconds after `start`."""

    def arriving(self, model: str) -> float:
        """Batch tokens of a model expected within a day."""


class FromOutlook:
    """Foresight of the live controller."""

    def __init__(self, outlook: Outlook, fleet: Fleet, settings: Settings, forecaster: Forecaster = analog_days):
        self.outlook, self.fleet, self.settings, self.forecaster = outlook, fleet, settings, forecaster

    def paths(self, market: str, steps: Grid, wide: int) -> Floats | None:
        slots = self.outlook.price_slots.get(market)
        return None if slots is None else paths_of(slots, market, steps, wide, self.forecaster)

    def reserve_paths(self, product: str, steps: Grid, wide: int) -> Floats | None:
        slots = self.outlook.reserve_slots.get(product)
        return None if slots is None else paths_of(slots, f"reserve {product}", steps, wide, self.forecaster)

    def temperatures(self, steps: Grid) -> Floats:
        """One path; nan where a site's station has said nothing for a fortnight."""
        out = np.full((len(steps.hours), len(self.fleet.sites)), np.nan)
        cache: dict[str, Floats] = {}
        wet: dict[str, Floats] = {}
        for n, site in enumerate(self.fleet.sites):
            name = site.weather_station
            if name is None or name not in self.outlook.temp_slots:
                continue
            if name not in cache:
                cache[name] = self._hourly(self.outlook.temp_slots[name], name, steps)
            out[:, n] = cache[name] + site.temp_offset_c
            if site.evaporative > 0.0 and name in self.outlook.wet_slots:
                if name not in wet:
                    wet[name] = self._hourly(self.outlook.wet_slots[name], f"wet {name}", steps)
                help_c = site.evaporative * np.maximum(0.0, cache[name] - wet[name])
                out[:, n] -= np.nan_to_num(help_c)
        return out

    def heat_errors(self, steps: Grid, miss: Floats) -> Floats:
        out = np.tile(np.array([-USUAL_C, USUAL_C]), (len(steps.hours), len(self.fleet.sites), 1))
        for n, site in enumerate(self.fleet.sites):
            if (slots := self.outlook.temp_slots.get(site.weather_station or "")) is None:
                continue
            known = int(slots.index(steps.start, np.zeros(1, dtype=np.intp))[0])
            wanted = slots.index(steps.start, steps.middle_s)
            out[:, n] = heat_errors(slots.values, known, wanted, 3600 // slots.slot_s, miss[:, n])
        return out

    def _hourly(self, slots: Slots, name: str, steps: Grid) -> Floats:
        """(T,) one path of an hourly series, worked out by the hour and kept while nothing new is known."""
        start = Interval.holding(steps.start, timedelta(hours=1)).start
        count = int((steps.offset_s[-1] + steps.length_s[-1]) // 3600) + 2
        key = (slots.version, micros(start), count)
        cached = self.outlook.worked_out.get(name)
        if cached is None or cached[0] != key:
            hours = Grid(start, np.arange(count, dtype=np.intp) * 3600, np.full(count, 3600, dtype=np.intp))
            cached = (key, paths_of(slots, name, hours, 1, self.forecaster)[:, 0])
            self.outlook.worked_out[name] = cached
        late_s = (micros(steps.start) - micros(start)) // 1_000_000
        return cached[1][(steps.middle_s + late_s) // 3600]

    def limits(self, steps: Grid) -> Floats:
        limit_w = [site.interconnect.limit_w for site in self.fleet.sites]
        out = np.repeat(np.array(limit_w, dtype=float)[None, :], len(steps.hours), axis=0)
        place = {site.id: n for n, site in enumerate(self.fleet.sites)}
        begin = micros(steps.start) / 1e6

        def cap(site_id: str, at: datetime, until: datetime | None, limit_w: float) -> None:
            n = place.get(site_id)
            if n is None:
                return
            first = micros(at) / 1e6 - begin
            last = np.inf if until is None else micros(until) / 1e6 - begin
            hit = (steps.offset_s < last) & (steps.offset_s + steps.length_s > first)
            out[hit, n] = np.minimum(out[hit, n], max(0.0, limit_w))

        for order in self.outlook.instructions.values():
            cap(order.site_id, order.at, order.until, order.limit_w)
        for fault in self.outlook.faults.values():
            most = 0.0 if fault.what == "outage" else fault.limit_w
            if most is not None:
                cap(fault.site_id, fault.at, fault.until, most)
        for over in self.outlook.overrides.values():
            if over.unit_id is None and over.target_w is not None:
                cap(over.site_id, over.at, over.until, over.target_w)
        for partner in self.outlook.fleet.partners:
            for at, until in partner.closings(steps.start, end_of(steps)):
                for site_id in partner.sites:
                    cap(site_id, at, until, 0.0)
        self._keep_free(steps, out)
        return out

    def _keep_free(self, steps: Grid, limit_w: Floats) -> None:
        """Lower `limit_w` (T, N) to what is left below the load that must be free to be drawn."""
        takes = [c for c in self.outlook.commitments.values() if c.takes and c.status == "accepted"]
        if not takes:
            return
        for n, site in enumerate(self.fleet.sites):
            mine = [c for c in takes if c.site_id == site.id]
            most_w = drawable_w(site, self.outlook.temperature(site, steps.start)) if mine else 0.0
            for t, (start, length) in enumerate(zip(steps.starts, steps.length_s, strict=True)) if mine else ():
                free = free_w(mine, start, start + timedelta(seconds=int(length)))
                if free > 0.0:
                    limit_w[t, n] = min(limit_w[t, n], max(0.0, most_w - free))

    def peaks(self, steps: Grid, wide: int = 1) -> dict[int, Floats]:
        return peak_adders(self.outlook, self.fleet, steps, self.settings, wide)

    def asked(self, start: datetime, seconds: Ints, wide: int) -> dict[Where, Floats]:
        demand = {}
        for place in self.outlook.demands(start):
            slots = self.outlook.demand_slots.get(f"{place[0]}@{place[1]}")
            if slots is None:
                continue
            known = np.flatnonzero(~np.isnan(slots.values))
            last = int(known[-1]) + 1 if len(known) else 0
            paths = asked_paths(slots.values, last, slots.index(start, seconds), wide)
            if paths is not None:
                demand[place] = paths
        return demand

    def inputs_per_output(self, place: Where) -> float:
        return self.outlook.inputs_per_output(place)

    def owed(self, start: datetime) -> dict[str, list[Lot]]:
        return self.outlook.owed(start)

    def arriving(self, model: str) -> float:
        return sum(b.day_tokens for b in self.outlook.backlogs.values() if b.model == model)


def paths_of(slots: Slots, series: str, steps: Grid, wide: int, forecaster: Forecaster) -> Floats:
    """(T, S) of one series. What is known is nothing but what the outlook has folded by now."""
    wanted = slots.index(steps.start, steps.middle_s)
    now = int(slots.index(steps.start, np.zeros(1, dtype=np.intp))[0])
    known = np.flatnonzero(~np.isnan(slots.values))
    return forecaster(
        slots.values,
        now,
        int(known[-1]) + 1 if len(known) else 0,
        wanted,
        wide,
        series=series,
        base=slots.base or 0,
        per_day=86_400 // slots.slot_s,
    )


def peak_adders(outlook: Outlook, fleet: Fleet, steps: Grid, settings: Settings, wide: int = 1) -> dict[int, Floats]:
    """By site index, (T,) USD/MWh that a chance of a coincident peak adds; with `wide` above 1 (T, S)."""
    adders: dict[int, Floats] = {}
    end = steps.start + timedelta(seconds=int(steps.offset_s[-1] + steps.length_s[-1]))
    for rule in applying(fleet, settings, steps.start):
        odds = outlook.peak_odds.get(rule.name)
        windows = [] if odds is None else odds.window(steps.start - timedelta(hours=1), end)
        if not windows:
            continue
        adder = window_adder(rule, windows, steps, wide)
        for n, site in enumerate(fleet.sites):
            if fleet.pays(site, rule):
                adders[n] = adders.get(n, 0.0) + adder
    return adders


def window_adder(
    rule: PeakRule, windows: Iterable[tuple[datetime, timedelta, float]], steps: Grid, wide: int = 1
) -> Floats:
    """(T,) USD/MWh that chances of a peak in (start, length, probability) windows add.

    With `wide` above 1 (T, S): after the first step, which all share, a window is a peak in its share of the
    scenarios and none in the others; their mean stays the chance's.
    """
    adder = np.zeros((len(steps.hours), wide))
    for k, (at, length, chance) in enumerate(windows):
        first = (micros(at) - micros(steps.start)) / 1e6
        inside = np.minimum(first + length.total_seconds(), steps.offset_s + steps.length_s) - np.maximum(
            first, steps.offset_s
        )
        share = np.clip(inside / steps.length_s, 0.0, 1.0)
        # Spread evenly: another part of the scenarios for each window.
        on = ((np.arange(wide) + 0.5) / wide + k * 0.618034) % 1.0 < chance
        weight = on / on.mean() if on.any() else np.ones(wide)
        weights = np.repeat(weight[None, :], len(steps.hours), axis=0)
        weights[0] = 1.0
        adder += rule.adder_usd_per_mwh(chance) * share[:, None] * weights
    return adder if wide > 1 else adder[:, 0]


def applying(fleet: Fleet, settings: Settings, moment: datetime) -> list[PeakRule]:
    """The rules in force at `moment` that are set for all, or that a site names."""
    return [rule for rule in rules_of(fleet, settings) if rule.applies(rule.local_day(moment))]


def rules_of(fleet: Fleet, settings: Settings) -> tuple[PeakRule, ...]:
    """The rules that are set for all, or that a site names, in force or not."""
    named = {name for site in fleet.sites for name in site.contract.peak_rules or ()}
    rules = fleet.peak_rules
    return tuple(rules[name] for name in sorted({*settings.peak_rules, *named}) if name in rules)


def moments_of(length_s: int) -> Ints:
    """Seconds, five minutes apart, over an interval that begins now."""
    return np.arange(0, max(1, length_s), 300, dtype=np.intp)
