"""How likely a window is a coincident peak, from system load as it was and as it is forecast.

Pure. The model, stated whole: a day's highest hour is its forecast times a log-normal error as wide as the forecast's
own errors of the last sixty days. Whether a day as high as that is passed by one of the days to come is read off days
of stretches that have ended (months, or seasons where peaks are counted over one), those counting most that stood as
high over the week before them and had as many days left; two days' weight says that each day left is as likely as this
one. A day is one of the N peaks when fewer than N of the days that were and of those to come lie above it. Within a day
the peak is at an hour in proportion to exp((forecast - highest) / 0.5 % of the highest), in its windows alike.

What is forecast or measured later changes nothing of odds that were told: they rest on what was known.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np

from tieline.dispatch.inputs.arrays import Floats
from tieline.fleet.markets import zone_of
from tieline.fleet.peaks import PeakRule

# Where fewer than ten errors are known; published day-ahead forecasts of Texas were 2.2 % off in 2024.
USUAL_ERROR, LEAST_ERROR, ERRORS_KEPT = 0.03, 0.008, 60
WEEK = 7
# How near a past day must be to count: in height over the week before it and in days left; what another month counts.
NEAR_HEIGHT, NEAR_LEFT, OTHER_MONTH, PRIOR = 0.02, 4.0, 0.25, 2.0
HOUR_SHARE = 0.005
# Quadrature over the error: nineteen quantiles of a normal.
_QUANTILES = tuple((n + 0.5) / 19 for n in range(19))


def _normal(p: float) -> float:
    """Quantile of the standard normal (bisection on erf; called nineteen times)."""
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if 0.5 * (1.0 + math.erf(middle / math.sqrt(2.0))) < p else (low, middle)
    return (low + high) / 2.0


_ERRORS = np.array([_normal(p) for p in _QUANTILES])
_erf = np.vectorize(math.erf, otypes=[float])


@dataclass
class Loads:
    """System load of one operator by local day: the highest measured hour, and what was forecast of each day."""

    measured: dict[date, float] = field(default_factory=dict)
    forecast: dict[date, dict[int, float]] = field(default_factory=dict)
    # Days of ended stretches, by rule and the last stretch that has ended: worked out once a stretch.
    cache: dict[object, PastDays | None] = field(default_factory=dict, repr=False)

    def highest_forecast(self, day: date) -> float | None:
        found = self.forecast.get(day)
        return max(found.values()) if found else None

    def spread(self, before: date) -> tuple[float, float]:
        """(mean, standard deviation) of log(measured / forecast) of days that ended before `before`."""
        days = [d for d in sorted(self.forecast) if d < before and d in self.measured][-ERRORS_KEPT:]
        errors = [math.log(self.measured[d] / max(1.0, self.highest_forecast(d) or 1.0)) for d in days]
        if len(errors) < 10:
            return 0.0, USUAL_ERROR
        return float(np.mean(errors)), max(LEAST_ERROR, float(np.std(errors)))


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a rule and the chance that it is one of its peaks."""

    at: datetime
    probability: float


def odds_of_day(rule: PeakRule, loads: Loads, day: date, known_through: date, error_share: float = 1.0) -> list[Window]:
    """Chances of a local day's windows; empty where the rule has no peak then, or no load is forecast.

    `known_through`: the last local day whose load is measured in whole; what is measured later is not looked at.
    `error_share`: of the usual error, where part of the day is known already.
    """
    hours = loads.forecast.get(day)
    if not rule.applies(day) or not hours:
        return []
    able = {hour: watts for hour, watts in hours.items() if hour in rule.hours}
    if not able:
        return []
    chance = chance_of_day(rule, loads, day, known_through, error_share)
    top = max(able.values())
    weights = {hour: math.exp((watts - top) / (HOUR_SHARE * top)) for hour, watts in able.items()}
    total = sum(weights.values())
    per_hour = 3600 // rule.window_s
    zone = zone_of(rule.zone)
    found = []
    for hour, weight in sorted(weights.items()):
        begin = datetime.combine(day, datetime.min.time(), tzinfo=zone).replace(hour=hour)
        for n in range(per_hour):
            at = (begin + timedelta(seconds=n * rule.window_s)).astimezone(UTC)
            found.append(Window(at, round(chance * weight / total / per_hour, 6)))
    return found


def chance_of_day(rule: PeakRule, loads: Loads, day: date, known_through: date, error_share: float = 1.0) -> float:
    """Chance that the day's highest hour is one of the rule's peaks."""
    highest = loads.highest_forecast(day)
    level = _level(loads, known_through)
    if highest is None or level is None:
        return 0.0
    mean, width = loads.spread(min(day, known_through + timedelta(days=1)))
    could_be = highest * np.exp(error_share * (mean + width * _ERRORS))  # (E,)
    count = 1 if rule.by == "month" else rule.peaks
    stretch = rule.season(day)
    was = np.array([w for d, w in loads.measured.items() if d <= known_through and rule.season(d) == stretch])
    above = (was[None, :] > could_be[:, None]).sum(axis=1) if was.size else np.zeros(len(could_be), dtype=int)
    left = (_end_of(rule, day) - day).days
    if left <= 0:
        return float(np.mean(above < count))
    ended = _begin_of(rule, known_through + timedelta(days=1)) - timedelta(days=1)
    key = (rule.name, ended, count, sum(1 for d in loads.measured if d <= ended))
    if key not in loads.cache:
        loads.cache.clear()
        loads.cache[key] = _past_days(rule, loads, known_through, count)
    past = loads.cache[key]
    if past is None:
        return min(1.0, count / (left + 1))
    chance = np.zeros(len(could_be))
    # Higher than any day of the past: like the highest of them.
    heights = np.minimum(could_be / level, np.quantile(past.height, 0.99))
    for e, (height, taken) in enumerate(zip(heights, above, strict=True)):
        if taken < count:
            weight = past.weight * np.exp(-0.5 * ((past.height - height) / NEAR_HEIGHT) ** 2)
            weight = weight * np.exp(-0.5 * ((past.left - left) / NEAR_LEFT) ** 2)
            fewer = past.passed_by < count - int(taken)
            prior = PRIOR * min(1.0, (count - int(taken)) / (left + 1))
            chance[e] = float((weight * fewer).sum() + prior) / float(weight.sum() + PRIOR)
    return float(chance.mean())


@dataclass(frozen=True, slots=True)
class PastDays:
    """(H,) days of stretches that have ended: over the week before, days left then, how many of them went higher."""

    height: Floats
    left: Floats
    passed_by: Floats
    weight: Floats


def _level(loads: Loads, through: date) -> float | None:
    """Mean of the highest hours of the week that ends with `through`; None where half of it is not known."""
    days = (through - timedelta(days=n) for n in range(WEEK))
    found = [loads.measured[d] for d in days if d in loads.measured]
    return sum(found) / len(found) if len(found) > WEEK // 2 else None


def _past_days(rule: PeakRule, loads: Loads, through: date, count: int) -> PastDays | None:
    found = []
    for day in sorted(loads.measured):
        end = _end_of(rule, day)
        level = _level(loads, day - timedelta(days=2))
        if end > through or level is None or (rule.by == "season" and day.month not in rule.months):
            continue
        left = (end - day).days
        later = (loads.measured.get(day + timedelta(days=n)) for n in range(1, left + 1))
        above = sum(1 for w in later if w is not None and w > loads.measured[day])
        weight = 1.0 if day.month in rule.months else OTHER_MONTH
        found.append((loads.measured[day] / level, float(left), float(min(above, count)), weight))
    return PastDays(*(np.array(column) for column in zip(*found, strict=True))) if found else None


def _begin_of(rule: PeakRule, day: date) -> date:
    if rule.by == "month":
        return day.replace(day=1)
    year = day.year if day.month >= rule.season_begins else day.year - 1
    return date(year, rule.season_begins, 1)


def _end_of(rule: PeakRule, day: date) -> date:
    if rule.by == "month":
        return day.replace(day=calendar.monthrange(day.year, day.month)[1])
    begin = _begin_of(rule, day)
    after = begin.replace(year=begin.year + 1) - timedelta(days=1)
    while after.month not in rule.months:
        after -= timedelta(days=1)
    return after


def own_forecast(loads: Mapping[date, Mapping[int, float]], day: date, known_through: date) -> dict[int, float]:
    """A day's hourly load where nobody publishes a forecast: the last known day's hours of the same kind of day, at the
    level of the last known day. Empty where too little is known."""
    days = [d for d in sorted(loads) if d <= known_through][-28:]
    same = [d for d in days if (d.weekday() >= 5) == (day.weekday() >= 5)]
    if not days or not same:
        return {}
    last, shape = days[-1], same[-1]
    top = max(loads[shape].values())
    level = max(loads[last].values())
    if (last.weekday() >= 5) != (day.weekday() >= 5):
        # From weekdays to a weekend or back: by how these lay apart in the last four weeks.
        kinds = [[max(loads[d].values()) for d in days if (d.weekday() >= 5) == kind] for kind in (False, True)]
        if kinds[0] and kinds[1]:
            ratio = float(np.median(kinds[1]) / np.median(kinds[0]))
            level *= ratio if day.weekday() >= 5 else 1.0 / ratio
    return {hour: watts / top * level for hour, watts in loads[shape].items()}
