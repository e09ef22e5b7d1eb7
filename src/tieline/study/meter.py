"""What each site does on the days that are run: hashes, energy, bill, wear and peak charges, by recorded month."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tieline.backtest.data import ScenarioWorld
from tieline.backtest.lookahead import Tieline
from tieline.backtest.plant import Plant
from tieline.backtest.policies import AlwaysOn, Policy
from tieline.backtest.run import drive, settings_for
from tieline.dispatch import Settings
from tieline.study.nodes import BesideNodes, InteractiveTokens, beside
from tieline.study.weeks import RunDays

Floats = NDArray[np.float64]

# What is kept of each site and month, per month of 730.5 hours.
KEPT: Final = ("ph_days", "mwh", "power_usd", "wear_usd", "peaks_usd", "off_hours", "tokens", "gpu_mwh", "gpu_usd")
# Marks the sums of a month's days apart.
APART: Final = " apart"


@dataclass
class SiteMeter:
    """(N,) sums of each recorded month; those of the days `apart` under a name of their own. Slots that are not
    `counted` warm up the rigs before the first day of a stretch."""

    sites: int
    counted: NDArray[np.bool_]
    apart: frozenset[str] = frozenset()
    months: dict[str, dict[str, Floats]] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)

    def of(self, day: str) -> dict[str, Floats]:
        """The sums that a day ("2024-08-15") belongs to."""
        return self.months.setdefault(self.key(day), {name: np.zeros(self.sites) for name in KEPT})

    def key(self, day: str) -> str:
        return day[:7] + APART if day in self.apart else day[:7]


class MeteredPlant(Plant):
    """The plant of the backtest, with each site's own account."""

    def __init__(self, *given: Any, meter: SiteMeter, **named: Any) -> None:
        super().__init__(*given, **named)
        self.meter = meter
        if self.nodes:
            self.tokens = InteractiveTokens(self.world, self.settings, self.model, self.tokens.backlog.end)

    def _book(self, step: Any, drawn: Any, served: Any) -> None:
        super()._book(step, drawn, served)
        if not self.meter.counted[step.slot]:
            return
        sites, hours = len(self.world.fleet.sites), step.hours
        day = self.world.when(step.slot).strftime("%Y-%m-%d")
        booked, key = self.meter.of(day), self.meter.key(day)
        self.meter.hours[key] = self.meter.hours.get(key, 0.0) + hours
        hash_hs, started = np.zeros(sites), np.zeros(sites)
        np.add.at(hash_hs, self.physics.site_of, drawn.hashrate_hs)
        turned = drawn.started[self.rig_rows] / np.maximum(1.0, self.physics.rigs[self.rig_rows])
        np.add.at(started, self.fleet.site, turned * self.fleet.wear_usd)
        mwh = self.load_w / 1e6 * hours
        rows = self.physics.site_of[self.node_rows]
        np.add.at(booked["tokens"], rows, drawn.tokens_per_s[self.node_rows] * step.seconds)
        nodes_mwh = drawn.power_w[self.node_rows] / 1e6 * hours
        np.add.at(booked["gpu_mwh"], rows, nodes_mwh)
        np.add.at(booked["gpu_usd"], rows, nodes_mwh * self.true_price[0][step.slot][rows])
        booked["ph_days"] += hash_hs / 1e15 * hours / 24.0
        booked["mwh"] += mwh
        booked["power_usd"] += np.where(self.fixed, 0.0, mwh * self.true_price[0][step.slot])
        booked["wear_usd"] += started
        booked["off_hours"] += (hash_hs <= 0.0) * hours
        booked["peaks_usd"] += self._peaks_usd(step.begin, step.seconds)

    def _peaks_usd(self, begin: datetime, seconds: int) -> Floats:
        """(N,) what each site's load costs in the peaks that this step lies in."""
        end = begin + timedelta(seconds=seconds)
        if not any(peak.at < end and peak.at + peak.length > begin for peak in self.world.peaks.was):
            return np.zeros(len(self.load_w))
        return np.asarray(self.world.peaks.charges([begin], seconds)[0] * self.load_w / 1e6 * seconds / 3600.0)

    def _close_hour(self, above: Floats, below: Floats, next_slot: int, day: str) -> None:
        take = self.take_w / 1e6
        paid = above * np.maximum(self.hour_mwh, take) - below * np.maximum(0.0, take - self.hour_mwh)
        if self.meter.counted[next_slot - 1]:
            self.meter.of(day)["power_usd"] += np.where(self.fixed, paid, 0.0)
        super()._close_hour(above, below, next_slot, day)


def run_point(world: ScenarioWorld, point: tuple[str, float, float], days: RunDays, gpu_load: float) -> SiteMeter:
    """All days at one point of the grid: how ("always", "dispatch", "beside"), the hashprice in USD per PH/s and day,
    and the share of the interconnect that is left, or that nodes may draw."""
    how, level, room = point
    if how == "beside":
        world, room = beside(world, room, gpu_load), 1.0
    else:
        world = replace(world, demand={}, inputs={})
    sites = tuple(
        msgspec.structs.replace(
            site, interconnect=msgspec.structs.replace(site.interconnect, limit_w=site.interconnect.limit_w * room)
        )
        for site in world.fleet.sites
    )
    here = replace(
        world,
        fleet=msgspec.structs.replace(world.fleet, sites=sites),
        hashprice_usd=np.full(world.slots, level),
    )
    meter = SiteMeter(len(sites), days.slots(world), days.apart)
    policy: Policy = {"always": AlwaysOn, "dispatch": Tieline, "beside": BesideNodes}[how]()

    def plant(*given: Any, **named: Any) -> Plant:
        return MeteredPlant(*given, meter=meter, **named)

    drive(here, policy, settings_for(Settings(), here), 3600, plant=plant)
    return meter
