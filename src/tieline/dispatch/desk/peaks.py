"""The desk's word on coincident peaks: odds as records, twice a day, from system load as it is known.

At 10:00 local time the windows of tomorrow, when the forecast that feeds the day-ahead market is out; at 06:00 those of
today, when yesterday's load is known in whole; from 11:00 on each hour those still to come, with the hours left of the
day's forecast moved as the last measured hour lay against it. The same in the running platform, in a replay and in a
backtest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from tieline.dispatch.desk.odds import Loads, PastDays, odds_of_day, own_forecast
from tieline.fleet import Fleet
from tieline.fleet.markets import zone_of
from tieline.fleet.peaks import PeakRule
from tieline.records import PeakOdds, SystemLoad
from tieline.store import Store

DAY_BEFORE, SAME_DAY, HOURLY_FROM = time(10, 0), time(6, 0), 11
# Three years and the month after: with one year of past days the odds of a month's first hot day came out at a third of
# what three years say, and Texas's peak of July 2024 was not shed.
HISTORY = timedelta(days=1_130)
SOURCE = "desk: odds from system load"
# Where nobody published a forecast of the day, or one that stopped.
OWN_FORECAST = f"{SOURCE}; no load forecast is published, the desk's own of the last days"
# A day with fewer measured hours than this has no highest hour.
LEAST_HOURS = 20


@dataclass
class OperatorLoads:
    """One operator's system load by local day and hour."""

    zone: str
    measured: dict[date, dict[int, float]] = field(default_factory=dict)
    forecast: dict[date, dict[int, float]] = field(default_factory=dict)

    def learn(self, load: SystemLoad) -> None:
        local = load.at.astimezone(zone_of(self.zone))
        book = self.forecast if load.kind == "forecast" else self.measured
        hours = book.setdefault(local.date(), {})
        # An hour that a clock change repeats counts at its higher load.
        hours[local.hour] = max(load.power_w, hours.get(local.hour, 0.0)) if book is self.measured else load.power_w

    def loads(self, rule: PeakRule, day: date, through: date) -> Loads:
        """What bears on a day, as known with loads through `through`."""
        whole = {d: hours for d, hours in self.measured.items() if d <= through and len(hours) >= LEAST_HOURS}
        loads = Loads(
            measured={d: max(hours.values()) for d, hours in whole.items()},
            cache=self._cache,
            peak_hours=self._peak_hours(rule, whole),
        )
        for d in {*self.forecast, *whole, day}:
            if d > day:
                continue
            if self.forecast.get(d):
                loads.forecast[d] = self.forecast[d]
            elif d.month in rule.months:
                known = through - (day - d)
                if (own := self._own.get((d, known))) is None:
                    recent = {x: whole[x] for x in whole if known - timedelta(days=28) < x <= known}
                    own = self._own[d, known] = own_forecast(recent, d, known)
                if own:
                    loads.forecast[d] = own
        following = day + timedelta(days=1)
        if len(ahead := self.forecast.get(following, {})) >= LEAST_HOURS and rule.season(following) == rule.season(day):
            loads.next_day[day] = max(ahead.values())
        return loads

    def _peak_hours(self, rule: PeakRule, whole: dict[date, dict[int, float]]) -> Mapping[int, int]:
        """How many days of the rule's months had their highest hour at each hour."""
        key = (rule.months, len(whole), max(whole, default=None))
        if self._hours_by[0] != key:
            season = (hours for day, hours in whole.items() if day.month in rule.months)
            self._hours_by = key, Counter(max(hours, key=lambda hour: hours[hour]) for hours in season)
        return self._hours_by[1]

    def adjust(self, loads: Loads, day: date) -> int | None:
        """Replace a day's forecast by what was measured of it, the hours left moved as the last of these lay against
        its forecast. The last measured hour; None where nothing of use was measured yet."""
        forecast, was = loads.forecast.get(day, {}), self.measured.get(day, {})
        known = [hour for hour in sorted(was) if forecast.get(hour, 0.0) > 0.0]
        if not known or known[-1] < HOURLY_FROM - 1:
            return None
        ratio = was[known[-1]] / forecast[known[-1]]
        loads.forecast[day] = {h: was[h] if h in was and h <= known[-1] else w * ratio for h, w in forecast.items()}
        return known[-1]

    _own: dict[tuple[date, date], dict[int, float]] = field(default_factory=dict)
    _cache: dict[object, PastDays | None] = field(default_factory=dict)
    _hours_by: tuple[object, Mapping[int, int]] = (None, {})

    def forget(self, before: date) -> None:
        for book in (self.measured, self.forecast):
            for day in [d for d in book if d < before]:
                del book[day]
        for key in [key for key in self._own if key[0] < before]:
            del self._own[key]


class PeakDesk:
    """Odds of the rules that the fleet's sites pay for."""

    def __init__(self, fleet: Fleet, rules: tuple[PeakRule, ...]) -> None:
        self.fleet = fleet
        self.rules = tuple(r for r in rules if any(fleet.pays(site, r) for site in fleet.sites))
        self.loads: dict[str, OperatorLoads] = {r.operator: OperatorLoads(r.zone) for r in self.rules}
        self._told: set[tuple[str, date, int]] = set()
        self._read: datetime | None = None

    def step(self, store: Store, now: datetime) -> list[PeakOdds]:
        """Odds that are due at `now` and were not told yet, by what the store knows."""
        if not any(self._due(rule, now) for rule in self.rules):
            return []
        self.read(store, now)
        return self.tell(now)

    def tell(self, now: datetime) -> list[PeakOdds]:
        """The same by what was learned so far."""
        due = [(rule, day, hour) for rule in self.rules for day, hour in self._due(rule, now)]
        odds: list[PeakOdds] = []
        for rule, day, hour in due:
            self._told.add((rule.name, day, hour))
            odds += self.odds(rule, day, now)
        self._told = {one for one in self._told if one[1] >= now.date() - timedelta(days=3)}
        return odds

    def odds(self, rule: PeakRule, day: date, now: datetime) -> list[PeakOdds]:
        """Odds of a local day's windows with what is known at `now`."""
        loads, through = self.loads[rule.operator], rule.local_day(now) - timedelta(days=1)
        known = loads.loads(rule, day, through)
        last_hour = loads.adjust(known, day) if day == through + timedelta(days=1) else None
        source = SOURCE if self.loads[rule.operator].forecast.get(day) else OWN_FORECAST
        windows = [w for w in odds_of_day(rule, known, day, through, last_hour) if w.at >= now - _window(rule)]
        return [
            PeakOdds(
                at=window.at,
                known_at=now,
                source=source,
                kind="forecast",
                rule=rule.name,
                probability=window.probability,
                length_s=rule.window_s,
            )
            for window in windows
        ]

    def _due(self, rule: PeakRule, now: datetime) -> list[tuple[date, int]]:
        """(day, hour at which it is told, less 24 the day before) of what should have been told by now and was not."""
        local = now.astimezone(zone_of(rule.zone))
        today, due = local.date(), []
        if HOURLY_FROM <= local.hour <= max(rule.hours):
            due.append((today, local.hour))
        elif local.time() >= SAME_DAY and local.hour < HOURLY_FROM:
            due.append((today, SAME_DAY.hour))
        if local.time() >= DAY_BEFORE:
            due.append((today + timedelta(days=1), DAY_BEFORE.hour - 24))
        return [(d, hour) for d, hour in due if (rule.name, d, hour) not in self._told and rule.applies(d)]

    def learn(self, load: SystemLoad) -> None:
        if load.operator in self.loads:
            self.loads[load.operator].learn(load)

    def read(self, store: Store, now: datetime) -> None:
        """What the store has learned of loads since the last time, as known at `now`."""
        since = now - HISTORY if self._read is None else self._read - timedelta(days=3)
        self._read = now
        for load in store.between(SystemLoad, since, now + timedelta(days=3), now=now):
            self.learn(load)
        for loads in self.loads.values():
            loads.forget((now - HISTORY - timedelta(days=30)).date())


def _window(rule: PeakRule) -> timedelta:
    return timedelta(seconds=rule.window_s)


def odds_over(
    fleet: Fleet, rules: tuple[PeakRule, ...], loads: Iterable[SystemLoad], start: datetime, end: datetime
) -> list[PeakOdds]:
    """What the desk would have told between `start` and `end`, with each load known when it was."""
    desk, odds = PeakDesk(fleet, rules), []
    waiting = sorted(loads, key=lambda load: (load.known_at, load.at))
    given, at = 0, start.replace(minute=0, second=0, microsecond=0)
    while at < end:
        while given < len(waiting) and waiting[given].known_at <= at:
            desk.learn(waiting[given])
            given += 1
        odds += desk.tell(at)
        at += timedelta(hours=1)
    return odds
