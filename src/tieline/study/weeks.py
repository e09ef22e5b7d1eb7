"""Which recorded days dispatch is run on, and how what it did there is carried to the whole month.

The first `days_of_month` days of each month are run, and every day that holds a coincident peak which a site pays for:
these stand for themselves alone. What the others say of a month is carried by the whole month's hourly prices: a rig
that follows a plain strike (on while its hashes are worth more than its power) is reckoned on the days that were run
and on all of the month, and dispatch is moved by the difference (the control variate of sampling). Where every day is
run nothing is moved.

Knows nothing of studies: days, prices and rigs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tieline.backtest.data import HISTORY, TAIL, ScenarioWorld
from tieline.backtest.plant import true_prices
from tieline.dispatch import Settings
from tieline.dispatch.inputs.arrays import LOW, fleet_arrays, heat
from tieline.dispatch.inputs.horizon import Grid
from tieline.feeds.days.events import peaks
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.recorded import RecordedFolder
from tieline.fleet import Fleet
from tieline.study.file import Operation

Floats = NDArray[np.float64]
Stretch = tuple[str, datetime, datetime]

# Where days are looked for when the file names no months.
EARLIEST: Final = datetime(2012, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2040, 1, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
# A stretch begins with every rig asleep: so long before its first day it is run and not counted. Without it seven days
# of 2024 lost 0.3 % of a month's net.
WARM_UP: Final = timedelta(hours=2)
# Slots of a quarter of an hour.
HOUR_SLOTS: Final = 4
# Where dispatch did more than so many times what the plain strike would, the strike is no guide to the rest.
MOST_RATIO: Final = 2.0


@dataclass(frozen=True)
class RunDays:
    """`run`: unbroken stretches of days, by their first. `months`: all that was recorded of each. `apart`: the days
    ("2024-08-15") with a coincident peak, which stand for themselves alone."""

    run: tuple[Stretch, ...]
    months: tuple[Stretch, ...]
    apart: frozenset[str]

    def slots(self, world: ScenarioWorld) -> NDArray[np.bool_]:
        """(slots,) whether it lies in a day that is run."""
        slots = np.zeros(world.slots, dtype=bool)
        for _, begin, end in self.run:
            slots[world.slot(begin) : world.slot(end)] = True
        return slots

    @property
    def whole(self) -> RunDays:
        """All days of these months."""
        return RunDays(_merged([(begin, end) for _, begin, end in self.months]), self.months, self.apart)


def days_to_run(folder: Path, operation: Operation, used: Fleet) -> RunDays:
    """Raises FolderError where the folder has no whole day of these sites' prices."""
    first, last = (operation.first or "2009-01"), (operation.last or "2100-12")
    begin, end = _beginning(first), _after(_beginning(last))
    source = RecordedFolder(folder)
    measured = [
        tick.at for tick in source.prices(source.over(used), max(begin - HISTORY, EARLIEST), min(end + TAIL, LATEST))
    ]
    if not measured:
        raise FolderError(f"{folder}: no prices of these sites' markets; give a folder that has them")
    begin = max(begin, _midnight(min(measured) + HISTORY))
    end = min(end, _midnight(max(measured) - TAIL) + DAY)
    apart = [day for day in _peak_days(folder, used) if begin <= day and day + DAY <= end]
    months = _months(begin, end)
    run = [(first, min(until, first + _usual(first, operation, apart))) for _, first, until in months]
    if not months:
        raise FolderError(f"{folder}: no whole day of prices; give a folder with days")
    run += [(day, day + DAY) for day in apart if not any(a <= day < b for a, b in run)]
    return RunDays(_merged(sorted(run)), tuple(months), frozenset(f"{day:%Y-%m-%d}" for day in apart))


def _months(begin: datetime, end: datetime) -> list[Stretch]:
    """What lies between the two of each month, where that is a day or more."""
    months = []
    while begin < end:
        until = min(_after(begin), end)
        if until - begin >= DAY:
            months.append((f"{begin:%Y-%m}", begin, until))
        begin = until
    return months


def _usual(first: datetime, operation: Operation, apart: list[datetime]) -> timedelta:
    """So many usual days of a month, and the days apart that lie among them."""
    usual = operation.days_of_month * DAY
    return usual + sum(first <= day < first + usual for day in apart) * DAY


def _peak_days(folder: Path, used: Fleet) -> list[datetime]:
    """The days (UTC) in which a coincident peak began that one of the sites pays for."""
    path = folder / "scenario" / "events.json"
    if not path.exists():
        return []
    paying = {name: rule for name, rule in used.peak_rules.items() if any(used.pays(site, rule) for site in used.sites)}
    days = {at.replace(hour=0, minute=0) for rule, at in peaks(path, used.peak_rules) if rule.name in paying}
    return sorted(days)


def _merged(stretches: list[tuple[datetime, datetime]]) -> tuple[Stretch, ...]:
    """Neighbours as one: each stretch that is run begins with every rig asleep."""
    spans: list[tuple[datetime, datetime]] = []
    for begin, end in stretches:
        if spans and spans[-1][1] >= begin:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((begin, end))
    return tuple((f"{begin:%Y-%m-%d}", begin, end) for begin, end in spans)


def _beginning(month: str) -> datetime:
    return datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)


def _after(at: datetime) -> datetime:
    """The first of the next month."""
    return datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)


def _midnight(at: datetime) -> datetime:
    """The first midnight that is not before it."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day == at else day + DAY


# --- from the days that were run to the month ------------------------------------------------


class PlainStrike:
    """What each site's rigs would do in every recorded hour by the strike alone: in low or in normal mode while the
    mode's hashes are worth more than its power at the meter, in the heat of the hour; no waking, no wear, no view
    ahead. What turning on would wear is counted beside it."""

    def __init__(self, world: ScenarioWorld, days: RunDays, steady: float = 1.0) -> None:
        """`steady`: what nodes beside the rigs draw on the mean, over what they may."""
        self.sites, self.steady = world.fleet.sites, steady
        settings = Settings()
        self.keeps = settings.keeps
        self.fleet = fleet_arrays(world.fleet, settings)
        hours = np.concatenate([np.arange(world.slot(a), world.slot(b), HOUR_SLOTS) for _, a, b in days.months])
        self.above, self.below = (prices[hours] for prices in true_prices(world, settings))
        self.fixed = np.array([site.contract.basis == "fixed" for site in self.sites])
        self.asked = self._known(world, hours) + _adders(world, hours)
        aux, derate = heat(self.fleet.air, world.temp_c[hours][:, self.fleet.site])
        self.aux, self.meter_mw = aux, self.fleet.rated_w / 1e6 * derate * (1.0 + aux)
        self.derate = derate
        counts = [(world.slot(b) - world.slot(a)) // HOUR_SLOTS for _, a, b in days.months]
        self.ends = np.cumsum(counts)
        self.begins = self.ends - counts
        self.ran = days.slots(world)[hours]
        day = [f"{world.when(slot):%Y-%m-%d}" for slot in hours[::24].tolist()]
        self.usual = ~np.isin(np.repeat(day, 24)[: len(hours)], sorted(days.apart))
        ones = np.ones((len(hours), 1))
        self.hours = self._by_month(ones)[:, 0]
        self.scale = self._by_month(ones * self.usual[:, None]) / self._by_month(
            ones * (self.usual & self.ran)[:, None]
        )

    def _known(self, world: ScenarioWorld, hours: NDArray[np.intp]) -> Floats:
        """(hours, N) marginal prices as they are known when the hour begins: a real-time price is that of the last hour
        that is known, where the settled one is not yet."""
        levels = self.below.copy()
        for n, site in enumerate(self.sites):
            market = world.markets.get(site.contract.market or "")
            if self.fixed[n] or market is None:
                continue
            last = np.minimum(market.known[hours], hours + 1) - 1
            newest = np.where(np.isnan(market.values), 0, np.arange(len(market.values)))
            place = np.maximum.accumulate(newest)
            behind = market.values[place[np.maximum(last, 0)]] - market.values[place[hours]]
            levels[:, n] += np.where(last >= hours, 0.0, np.nan_to_num(behind)) * site.contract.scale
        return np.asarray(levels)

    def _by_month(self, values: Floats) -> Floats:
        """(months, N) sums of (hours, N)."""
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
        return np.asarray(sums[self.ends] - sums[self.begins])

    def does(self, how: str, level: float, room: float) -> dict[str, Floats]:
        """(hours, N) PH-days, MWh, bill and wear at one point of the grid; the best rigs have the room first. Beside
        nodes `room` is their share, and they draw what they do on the mean."""
        nodes = room * self.steady if how == "beside" else 0.0
        room = 1.0 - nodes if how == "beside" else room
        limits = self.fleet.limit_w / 1e6
        left = np.broadcast_to(limits * room, self.below.shape).copy()
        sums = {name: np.zeros(self.below.shape) for name in ("ph_days", "mwh", "power_usd", "wear_usd")}
        for groups, up in self.fleet.ranks:
            at = self.fleet.site[groups]
            watts, hashes = LOW.power_share, LOW.hash_share
            watts, hashes = (1.0 - watts, 1.0 - hashes) if up else (watts, hashes)
            asks = self.meter_mw[:, groups] * watts
            brings = self.fleet.rated_hs[groups] / 1e15 * self.derate[:, groups] * hashes  # PH/s
            gain = level * brings / 24.0 * self.keeps
            on = np.ones(asks.shape) if how == "always" else (gain > self.asked[:, at] * asks).astype(float)
            part = on * np.clip(left[:, at] / np.maximum(asks, 1e-9), 0.0, 1.0)
            left[:, at] -= part * asks
            sums["mwh"][:, at] += part * asks
            sums["ph_days"][:, at] += part * brings / 24.0
            if not up:
                turned = np.maximum(0.0, np.diff(part, axis=0, prepend=part[:1]))
                sums["wear_usd"][:, at] += turned * self.fleet.wear_usd[groups]
        sums["mwh"] += nodes * limits
        take = np.array([site.contract.take_share for site in self.sites]) * limits * room * self.fixed
        load = sums["mwh"]
        sums["power_usd"] = self.above * np.maximum(load, take) - self.below * np.maximum(0.0, take - load)
        return sums

    def carried(
        self, point: tuple[str, float, float], usual: dict[str, Floats], apart: dict[str, Floats]
    ) -> dict[str, Floats]:
        """(months, N) of all that was recorded of each month, from the same of the usual days that were run, which
        stand for the others, and of the days apart. Peak charges are the peaks' own, all of which were run."""
        carried = {name: values if name == "peaks_usd" else values * self.scale for name, values in usual.items()}
        if not np.all(self.scale == 1.0):
            plain = self.does(*point)
            ran = {name: self._by_month(values * (self.usual & self.ran)[:, None]) for name, values in plain.items()}
            for name, values in plain.items():
                like = "mwh" if name == "power_usd" else name
                share = np.divide(usual[like], ran[like], out=np.ones_like(ran[like]), where=ran[like] > 1e-9)
                ahead = self._by_month(values * self.usual[:, None]) - ran[name] * self.scale
                carried[name] = carried[name] + np.clip(share, 0.0, MOST_RATIO) * ahead
        return {name: values + apart[name] for name, values in carried.items()}


def _adders(world: ScenarioWorld, hours: NDArray[np.intp]) -> Floats:
    """(hours, N) USD/MWh that the odds of a coincident peak add, as they are known when the hour begins."""
    adders = np.zeros((len(hours), len(world.fleet.sites)))
    if not world.peaks:
        return adders
    one, length = np.zeros(1, dtype=np.intp), np.array([3600], dtype=np.intp)
    for n, slot in enumerate(hours.tolist()):
        now = world.when(slot)
        for site, usd in world.peaks.adders(Grid(now, one, length), now).items():
            adders[n, site] = usd[0]
    return adders
