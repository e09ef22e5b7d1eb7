"""From what is known to what is expected: the arrays that look-ahead decides on.

Reads an Outlook, never a store. Prices are scenarios that agree where a price is published; temperature is
one path of the same forecaster where no forecast was published; an order or a fault without an end is taken to last.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np

from tieline.clock import micros
from tieline.dispatch.arrays import FleetArrays, Floats, heat
from tieline.dispatch.contracts import power_cost
from tieline.dispatch.forecast import Forecaster, analog_days
from tieline.dispatch.horizon import Grid, grid
from tieline.dispatch.lookahead import Ahead
from tieline.dispatch.outlook import Outlook
from tieline.dispatch.promises import PEAK_RULES, PeakRule
from tieline.dispatch.series import Slots
from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet, Site


def build(
    outlook: Outlook,
    fleet: Fleet,
    arrays: FleetArrays,
    settings: Settings,
    start: datetime,
    hashprice_usd: float,
    base_w: Mapping[str, float],
    forecaster: Forecaster = analog_days,
) -> Ahead:
    """`base_w`: by site, the load that comes before mining."""
    steps = grid(start, settings.interval_s, settings.horizon_s)
    temps = _temperatures(outlook, fleet, steps, forecaster)
    aux, derate = heat(arrays.air, temps[:, arrays.site])
    price, below, take_w = _prices(outlook, fleet, steps, settings, forecaster)
    base = np.array([base_w.get(site.id, 0.0) for site in fleet.sites])
    share = settings.restore_share_per_5min
    return Ahead(
        hours=steps.hours,
        usd_per_h=arrays.rated_hs / 1e15 * hashprice_usd * settings.keeps / 24.0,
        aux=aux,
        derate=derate,
        limit_w=_limits(outlook, fleet, arrays, steps),
        base_w=np.repeat(base[None, :], len(steps.hours), axis=0),
        price=price,
        below=below,
        take_w=take_w,
        restore_share_per_h=None if share is None else share * 12.0,
    )


def _temperatures(outlook: Outlook, fleet: Fleet, steps: Grid, forecaster: Forecaster) -> Floats:
    """(T, N), one path; nan where a site's station has said nothing for a fortnight."""
    out = np.full((len(steps.hours), len(fleet.sites)), np.nan)
    cache: dict[str, Floats] = {}
    for n, site in enumerate(fleet.sites):
        name = site.weather_station
        if name is None or name not in outlook.temp_slots:
            continue
        if name not in cache:
            slots = outlook.temp_slots[name]
            cache[name] = paths_of(slots, name, steps, 1, forecaster)[:, 0]
        out[:, n] = cache[name] + site.temp_offset_c
    return out


def _prices(
    outlook: Outlook, fleet: Fleet, steps: Grid, settings: Settings, forecaster: Forecaster
) -> tuple[Floats, Floats | None, Floats | None]:
    """(T, N, S) above and below the contracted level, and the level (N,)."""
    count, sites, wide = len(steps.hours), len(fleet.sites), settings.scenarios
    market: dict[str, Floats] = {}
    out = np.zeros((count, sites, wide))
    below, take_w, two = np.zeros_like(out), np.zeros(sites), False
    adders = peak_adders(outlook, fleet, steps, settings)
    for n, site in enumerate(fleet.sites):
        contract = site.contract
        paths: Floats | None = None
        for name in (contract.market_15min, contract.market):
            if name is None or name not in outlook.price_slots:
                continue
            if name not in market:
                market[name] = scenarios_of(outlook, name, steps, wide, forecaster)
            if not np.isnan(market[name]).any():
                paths = market[name]
                break
        if contract.basis != "fixed":
            # Without any path the site is not looked ahead for: the strike, or the last plan, decides there.
            out[:, n] = np.nan if paths is None else paths * contract.scale + contract.adder_usd_per_mwh
        else:
            cost = power_cost(contract, 0.0, site.interconnect.limit_w, settings.resale_discount)
            assert cost is not None
            out[:, n] = cost.price_usd_per_mwh
            take_w[n], two = cost.take_w, two or cost.take_w > 0
            if contract.resale and cost.take_w > 0:
                share = contract.scale * (1.0 - settings.resale_discount)
                below[:, n] = np.nan if paths is None else paths * share
        if n in adders:
            out[:, n] += adders[n][:, None]
    below = np.where(take_w[None, :, None] > 0, below, out)
    return (out, below, take_w) if two else (out, None, None)


def scenarios_of(outlook: Outlook, market: str, steps: Grid, wide: int, forecaster: Forecaster) -> Floats:
    """(T, S) of one market. What is known is nothing but what the outlook has folded by now."""
    return paths_of(outlook.price_slots[market], market, steps, wide, forecaster)


def paths_of(slots: Slots, series: str, steps: Grid, wide: int, forecaster: Forecaster) -> Floats:
    """(T, S) of one series."""
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


def peak_adders(outlook: Outlook, fleet: Fleet, steps: Grid, settings: Settings) -> dict[int, Floats]:
    """By site index, (T,) USD/MWh that a chance of a coincident peak adds."""
    found: dict[int, Floats] = {}
    end = steps.start + timedelta(seconds=int(steps.offset_s[-1] + steps.length_s[-1]))
    for rule in applying(settings, steps.start):
        odds = outlook.peak_odds.get(rule.name)
        windows = [] if odds is None else odds.window(steps.start - timedelta(hours=1), end)
        if not windows:
            continue
        adder = np.zeros(len(steps.hours))
        for at, length, chance in windows:
            first = (micros(at) - micros(steps.start)) / 1e6
            inside = np.minimum(first + length.total_seconds(), steps.offset_s + steps.length_s) - np.maximum(
                first, steps.offset_s
            )
            adder += rule.adder_usd_per_mwh(chance) * np.clip(inside / steps.length_s, 0.0, 1.0)
        for n, site in enumerate(fleet.sites):
            if pays(site, rule):
                found[n] = found.get(n, 0.0) + adder
    return found


def applying(settings: Settings, moment: datetime) -> list[PeakRule]:
    return [r for r in PEAK_RULES if r.name in settings.peak_rules and r.applies(moment.date())]


def pays(site: Site, rule: PeakRule) -> bool:
    return site.contract.market in rule.markets or site.contract.market_15min in rule.markets


def _limits(outlook: Outlook, fleet: Fleet, arrays: FleetArrays, steps: Grid) -> Floats:
    """(T, N) under orders, faults and overrides as far as they are known."""
    out = np.repeat(arrays.limit_w[None, :], len(steps.hours), axis=0)
    place = {name: n for n, name in enumerate(arrays.site_ids)}
    begin = micros(steps.start) / 1e6

    def cap(site_id: str, at: datetime, until: datetime | None, limit_w: float) -> None:
        n = place.get(site_id)
        if n is None:
            return
        first = micros(at) / 1e6 - begin
        last = np.inf if until is None else micros(until) / 1e6 - begin
        hit = (steps.offset_s < last) & (steps.offset_s + steps.length_s > first)
        out[hit, n] = np.minimum(out[hit, n], max(0.0, limit_w))

    for order in outlook.instructions.values():
        cap(order.site_id, order.at, order.until, order.limit_w)
    for fault in outlook.faults.values():
        limit_w = 0.0 if fault.what == "outage" else fault.limit_w
        if limit_w is not None:
            cap(fault.site_id, fault.at, fault.until, limit_w)
    for over in outlook.overrides.values():
        if over.unit_id is None and over.target_w is not None:
            cap(over.site_id, over.at, over.until, over.target_w)
    return out
