"""How likely a window is a coincident peak, from system load as it was and as it is forecast.

Pure. The model, stated whole: a day's highest hour is its forecast times a log-normal error as wide as the forecast's
own errors of the last sixty days. Whether a day as high as that is passed by one of the days to come is read off days
of stretches that have ended (months, or seasons where peaks are counted over one), those counting most that stood as
high over the week before them and had as many days left; two days' weight says that each day left is as likely as this
one. Where the next day's forecast is out, it says by itself how likely that day is higher, and the past days say it of
the days after. A day is one of the N peaks when fewer than N of the days that were and of those to come lie above it.
Within a day the peak is at an hour in proportion to exp((forecast - highest) / 0.5 % of the highest) and to the root of
how often past days of the season had theirs then, in its windows alike: a forecast's shape alone named the hour before
the usual one three times as often as it came. Once hours are measured, one to come is the day's highest only where it
passes the highest of these, by an error that shrinks with the hour (what was left of the day-ahead error at each hour
of Texas's summers, 2022 to 2024). Last, a day's chance is drawn towards what any day of its stretch has (KEPT_SURE).

What is forecast or measured later changes nothing of odds that were told: they rest on what was known.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np

from tieline.dispatch.inputs.arrays import Floats, Ints
from tieline.fleet.markets import zone_of
from tieline.fleet.peaks import PeakRule

# Where fewer than ten errors are known; published day-ahead forecasts of Texas were 2.2 % off in 2024.
USUAL_ERROR, LEAST_ERROR, ERRORS_KEPT = 0.03, 0.008, 60
WEEK = 7
# How near a past day must be to count: in height over the week before it and in days left; what another month counts.
NEAR_HEIGHT, NEAR_LEFT, OTHER_MONTH, PRIOR = 0.02, 4.0, 0.25, 2.0
HOUR_SHARE = 0.005
# The model is surer than it should be: what is left of the distance, in log odds, between a day's chance by it and what
# any day of its stretch has. Over 26 months from July 2022 days told at under 2 % had their month's peak more often
# than said and those over 10 % less. Told ahead, 0.7 fits best in the months that are no summer (16 peaks) and in
# summers alike; told within the day it fits the summers (10 peaks), the other months would have it nearer 1.
KEPT_SURE = 0.7
# Of the day-ahead forecast's error, what is left when the hours before this one are measured; before 11:00 all of it.
ERROR_LEFT = {11: 0.84, 12: 0.77, 13: 0.68, 14: 0.55, 15: 0.40, 16: 0.23}
LEAST_LEFT = 0.12
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
# The highest of hours that each err by a Gumbel of scale HOUR_SHARE errs by one too, whichever hour it is; mean 0.
_HOURS = np.array([-math.log(-math.log(p)) for p in _QUANTILES]) - 0.5772156649
_erf = np.vectorize(math.erf, otypes=[float])


@dataclass
class Loads:
    """System load of one operator by local day: the highest measured hour, and what was forecast of each day."""

    measured: dict[date, float] = field(default_factory=dict)
    forecast: dict[date, dict[int, float]] = field(default_factory=dict)
    # Days of ended stretches, by rule and the last stretch that has ended: worked out once a stretch.
    cache: dict[object, PastDays | None] = field(default_factory=dict, repr=False)
    # How many past days of the season had their highest hour at each hour.
    peak_hours: Mapping[int, int] = field(default_factory=dict)
    # The next day's highest hour by a published forecast, where one is out.
    next_day: dict[date, float] = field(default_factory=dict)

    def highest_forecast(self, day: date) -> float | None:
        highest = self.forecast.get(day)
        return max(highest.values()) if highest else None

    def usual(self, hour: int) -> float:
        """Weight of an hour by past days, any hour counting as one more of them."""
        return math.sqrt((self.peak_hours.get(hour, 0) + 1.0) / (sum(self.peak_hours.values()) + 24.0))

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


def odds_of_day(
    rule: PeakRule, loads: Loads, day: date, known_through: date, last_hour: int | None = None
) -> list[Window]:
    """Chances of a local day's windows; empty where the rule has no peak then, or no load is forecast.

    `known_through`: the last local day whose load is measured in whole; what is measured later is not looked at.
    `last_hour`: of the day, the last one measured; the day's forecast then holds what was measured up to it, and the
    windows are of the hours after it.
    """
    hours = loads.forecast.get(day)
    if not rule.applies(day) or not hours:
        return []
    able = {h: w for h, w in hours.items() if h in rule.hours and (last_hour is None or h > last_hour)}
    if not able:
        return []
    top = max(able.values())
    if last_hour is None:
        chance = chance_of_day(rule, loads, day, known_through)
    else:
        was = max(w for h, w in hours.items() if h <= last_hour)
        chance = _chance_left(rule, loads, day, known_through, (last_hour, was, top))
    weights = {hour: math.exp((watts - top) / (HOUR_SHARE * top)) * loads.usual(hour) for hour, watts in able.items()}
    total = sum(weights.values())
    per_hour = 3600 // rule.window_s
    zone = zone_of(rule.zone)
    odds = []
    for hour, weight in sorted(weights.items()):
        begin = datetime.combine(day, datetime.min.time(), tzinfo=zone).replace(hour=hour)
        for n in range(per_hour):
            at = (begin + timedelta(seconds=n * rule.window_s)).astimezone(UTC)
            odds.append(Window(at, round(chance * weight / total / per_hour, 6)))
    return odds


def chance_of_day(rule: PeakRule, loads: Loads, day: date, known_through: date) -> float:
    """Chance that the day's highest hour is one of the rule's peaks."""
    highest = loads.highest_forecast(day)
    if highest is None:
        return 0.0
    mean, width = loads.spread(min(day, known_through + timedelta(days=1)))
    told = float(_chances(rule, loads, day, known_through, highest * np.exp(mean + width * _ERRORS)).mean())
    return _tempered(rule, day, told)


def _tempered(rule: PeakRule, day: date, told: float) -> float:
    count = 1 if rule.by == "month" else rule.peaks
    return tempered(told, count / ((_end_of(rule, day) - _begin_of(rule, day)).days + 1))


def tempered(told: float, usual: float) -> float:
    """A day's chance with its log odds drawn towards the `usual` of its stretch; what cannot be, or must, stays."""
    if not 0.0 < told < 1.0 or not 0.0 < usual < 1.0:
        return told
    ahead, base = math.log(told / (1.0 - told)), math.log(usual / (1.0 - usual))
    return 1.0 / (1.0 + math.exp(-(base + KEPT_SURE * (ahead - base))))


def _chance_left(
    rule: PeakRule, loads: Loads, day: date, known_through: date, so_far: tuple[int, float, float]
) -> float:
    """Chance that the day's highest hour is yet to come and is a peak. `so_far`: the last measured hour of the day, the
    highest measured, and the highest that is expected of the hours left."""
    last_hour, was, top = so_far
    width = loads.spread(min(day, known_through + timedelta(days=1)))[1]
    left = ERROR_LEFT.get(last_hour + 1, 1.0 if last_hour < min(ERROR_LEFT) else LEAST_LEFT)
    both = np.sort((left * width * _ERRORS[:, None] + HOUR_SHARE * _HOURS[None, :]).ravel())
    could_be = top * np.exp(both[len(_QUANTILES) // 2 :: len(_QUANTILES)])  # (E,)
    return _tempered(rule, day, float((_chances(rule, loads, day, known_through, could_be) * (could_be > was)).mean()))


def _chances(rule: PeakRule, loads: Loads, day: date, known_through: date, could_be: Floats) -> Floats:
    """(E,) chances that the day is one of the rule's peaks, were its highest hour `could_be` (E,)."""
    level = _level(loads, known_through)
    if level is None:
        return np.zeros(len(could_be))
    count = 1 if rule.by == "month" else rule.peaks
    stretch = rule.season(day)
    was = np.array([w for d, w in loads.measured.items() if d <= known_through and rule.season(d) == stretch])
    above = (was[None, :] > could_be[:, None]).sum(axis=1) if was.size else np.zeros(len(could_be), dtype=int)
    left = (_end_of(rule, day) - day).days
    if left <= 0:
        return np.asarray(above < count, dtype=float)
    ended = _begin_of(rule, known_through + timedelta(days=1)) - timedelta(days=1)
    key = (rule.name, ended, count, sum(1 for d in loads.measured if d <= ended))
    if key not in loads.cache:
        loads.cache.clear()
        loads.cache[key] = _past_days(rule, loads, known_through, count)
    past = loads.cache[key]
    if past is None:
        return np.full(len(could_be), min(1.0, count / (left + 1)))
    # Higher than any day of the past: like the highest of them.
    heights = np.minimum(could_be / level, np.quantile(past.height, 0.99))
    free = np.maximum(0, count - above)  # (E,) places that no day so far has taken
    following = loads.next_day.get(day)
    if following is None:
        return past.fewer(heights, left, free, past.passed_by)
    mean, width = loads.spread(min(day, known_through + timedelta(days=1)))
    passes = 0.5 - 0.5 * _erf((np.log(could_be / following) - mean) / (width * math.sqrt(2.0)))
    lower = past.fewer(heights, left - 1, free, past.passed_later)
    higher = past.fewer(heights, left - 1, np.maximum(0, free - 1), past.passed_later)
    return np.asarray((1.0 - passes) * lower + passes * higher)


@dataclass(frozen=True, slots=True)
class PastDays:
    """(H,) days of stretches that have ended: over the week before, days left then, how many of them went higher, and
    how many of those but the first."""

    height: Floats
    left: Floats
    passed_by: Floats
    passed_later: Floats
    weight: Floats

    def fewer(self, heights: Floats, left: int, free: Ints, passed: Floats) -> Floats:
        """(E,) chances that fewer than `free` (E,) of the `left` days to come pass a day of `heights` (E,) over its
        week; `passed`: by how many each past day was."""
        away = (self.height[None, :] - heights[:, None]) / NEAR_HEIGHT
        ahead = self.left - (0 if passed is self.passed_by else 1)
        weight = self.weight * np.exp(-0.5 * (away**2 + ((ahead - left) / NEAR_LEFT) ** 2))
        fewer = passed[None, :] < free[:, None]
        prior = PRIOR * np.minimum(1.0, free / (left + 1))
        return np.asarray(((weight * fewer).sum(axis=1) + prior) / (weight.sum(axis=1) + PRIOR))


def _level(loads: Loads, through: date) -> float | None:
    """Mean of the highest hours of the week that ends with `through`; None where half of it is not known."""
    days = (through - timedelta(days=n) for n in range(WEEK))
    levels = [loads.measured[d] for d in days if d in loads.measured]
    return sum(levels) / len(levels) if len(levels) > WEEK // 2 else None


def _past_days(rule: PeakRule, loads: Loads, through: date, count: int) -> PastDays | None:
    days = []
    for day in sorted(loads.measured):
        end = _end_of(rule, day)
        level = _level(loads, day - timedelta(days=2))
        if end > through or level is None or (rule.by == "season" and day.month not in rule.months):
            continue
        left = (end - day).days
        later = [loads.measured.get(day + timedelta(days=n), 0.0) > loads.measured[day] for n in range(1, left + 1)]
        weight = 1.0 if day.month in rule.months else OTHER_MONTH
        passed = float(min(sum(later), count)), float(min(sum(later[1:]), count))
        days.append((loads.measured[day] / level, float(left), *passed, weight))
    return PastDays(*(np.array(column) for column in zip(*days, strict=True))) if days else None


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
