"""A learned forecast of a price, a demand or a temperature: gradient-boosted quantiles, fitted once a day.

Behind the same interface as persistence. What it learns from is the series alone, as it was known: the last value,
the same slot of past days, the hour, the weekday, how far ahead. Five quantiles are fitted on the last four weeks;
a scenario takes its rank among past days at each step and reads the value of that rank off the fitted quantiles
(Schaake shuffle, Clark et al. 2004), so that scenarios are paths and not scattered points.

A fit is a pure function of the series up to midnight UTC: seeded, one thread, bounded in rows and trees. It is made
once a day and series when first asked for, or with `background` beside the interval: until it is ready the fit of
the day before serves, and before the first one past days do. Needs the extra `forecast`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tieline.dispatch.inputs.arrays import Floats, Ints
from tieline.dispatch.inputs.forecast import (
    SLOTS_PER_DAY,
    analog_days,
    days_back,
    fade,
    hours_past,
    last_index,
    lookup,
    published,
)

log = logging.getLogger("tieline.forecast")

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
# Four weeks hold each weekday four times; the look-ahead needs two days, and a day-ahead price one more.
TRAIN_DAYS, FURTHEST_DAYS = 28, 3
# Origins an hour apart, twelve horizons each: 8,000 rows, a tenth of a second a quantile.
HORIZONS, ROUNDS, LEAVES = 12, 60, 15
# Fits that are kept: a fleet of forty sites knows a dozen markets and as many stations.
MOST_SERIES = 256


class MissingLibraryError(RuntimeError):
    """The extra `forecast` is not installed."""


@dataclass(frozen=True)
class Fit:
    """One series' quantiles as they were learned up to `until` (absolute slot)."""

    until: int
    fade: float
    models: Sequence[Any]

    def quantiles(self, values: Floats, base: int, at: int, slots: Ints, per_day: int) -> Floats:
        """(n, levels) at `slots`, rising in each row."""
        rows, naive = features(values, base, np.full(len(slots), at), slots, per_day, self.fade)
        quantiles = np.stack([np.asarray(m.predict(rows, num_threads=1)) for m in self.models], axis=1) + naive[:, None]
        return np.sort(quantiles, axis=1)


@dataclass
class Learned:
    """A Forecaster with a memory of fits. `background` True: an interval never waits for one."""

    background: bool = False
    fits: dict[str, tuple[int, Fit | None]] = field(default_factory=dict)  # (midnight asked for, what came of it)
    # The quantiles of all slots ahead, kept while no new value is known: an hourly market says one in twelve intervals.
    _ahead: dict[str, tuple[tuple[int, int, bytes], Floats]] = field(default_factory=dict)
    _waiting: dict[str, tuple[int, Future[Fit | None]]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor | None = None

    def __post_init__(self) -> None:
        library()

    def __call__(
        self,
        values: Floats,
        now: int,
        known: int,
        wanted: Ints,
        scenarios: int,
        *,
        series: str = "",
        base: int = 0,
        per_day: int = SLOTS_PER_DAY,
    ) -> Floats:
        """As every Forecaster."""
        paths = analog_days(values, now, known, wanted, scenarios, series=series, base=base, per_day=per_day)
        unknown = np.isnan(published(values, known, wanted))
        if len(wanted) and wanted[0] <= now:
            unknown[0] = False  # the running step keeps the last known value: nothing beat it
        held = last_index(values, known, per_day)
        if held is None or not unknown.any():
            return paths
        fit = self._fit(values, now, known, series, base, per_day)
        if fit is None:
            return paths
        quantiles = self._quantiles(fit, values, base, held, wanted[unknown], per_day, series)
        # Which past day is high where: ranks in the middle of their share, 1/2S, 3/2S ...
        order = np.argsort(np.argsort(paths[unknown], axis=1, kind="stable"), axis=1, kind="stable")
        ranks = (order + 0.5) / scenarios
        paths[unknown] = np.stack([np.interp(r, LEVELS, q) for r, q in zip(ranks, quantiles, strict=True)])
        return paths

    def _quantiles(
        self, fit: Fit, values: Floats, base: int, held: int, slots: Ints, per_day: int, series: str
    ) -> Floats:
        """(n, levels) of `slots`, all after `held`."""
        reach = FURTHEST_DAYS * per_day
        if not series or slots[0] <= held or slots[-1] > held + reach:
            return fit.quantiles(values, base, held, slots, per_day)
        key = (id(fit), base + held, values[max(0, held - per_day) : held + 1].tobytes())
        seen = self._ahead.get(series)
        if seen is None or seen[0] != key:
            seen = key, fit.quantiles(values, base, held, held + 1 + np.arange(reach), per_day)
            self._ahead[series] = seen
        return np.asarray(seen[1][slots - held - 1])

    def _fit(self, values: Floats, now: int, known: int, series: str, base: int, per_day: int) -> Fit | None:
        """The fit of this day's midnight; in the background, the newest that is ready."""
        midnight = (base + now) // per_day * per_day
        asked, fit = self.fits.get(series, (-1, None))
        if asked >= midnight:
            return fit
        stop = min(known, midnight - base)
        if not self.background:
            return self._keep(series, midnight, attempt(values, base, stop, per_day))
        if series not in self._waiting:
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="forecast")
            self._waiting[series] = midnight, self._pool.submit(attempt, values.copy(), base, stop, per_day)
        asked, job = self._waiting[series]
        if not job.done():
            return fit
        del self._waiting[series]
        return self._keep(series, asked, job.result())

    def _keep(self, series: str, midnight: int, fit: Fit | None) -> Fit | None:
        if series not in self.fits and len(self.fits) >= MOST_SERIES:
            oldest = next(iter(self.fits))
            del self.fits[oldest]
            self._ahead.pop(oldest, None)
        self.fits[series] = midnight, fit
        return fit


def attempt(values: Floats, base: int, stop: int, per_day: int) -> Fit | None:
    """A fit, or none for today where the library refuses the series; past days then serve."""
    try:
        return train(values, base, stop, per_day)
    except (ValueError, MemoryError, library().basic.LightGBMError) as error:
        log.warning("no forecast was fitted: %s", error)
        return None


def train(values: Floats, base: int, stop: int, per_day: int) -> Fit | None:
    """Quantiles of what the series did after each hour of the last four weeks, from `values` before `stop`; None
    where fewer than a thousand rows are known."""
    lgb = library()
    known = np.where(np.arange(len(values)) < stop, values, np.nan)
    hour = max(1, per_day // 24)
    origins = np.arange(max(0, stop - TRAIN_DAYS * per_day), stop, hour)
    if len(origins) == 0:
        return None
    # The same draw at every start: a fit depends on the series alone.
    draw = np.random.default_rng(base + stop)
    ahead = draw.integers(1, FURTHEST_DAYS * per_day, size=(len(origins), HORIZONS))
    # Half of the horizons within six hours, where the money is.
    ahead[:, ::2] = draw.integers(1, per_day // 4 + 1, size=ahead[:, ::2].shape)
    at, slots = np.repeat(origins, HORIZONS), (origins[:, None] + ahead).ravel()
    good = (slots < stop) & ~np.isnan(lookup(known, at)) & ~np.isnan(lookup(known, slots))
    at, slots = at[good], slots[good]
    if len(at) < 1_000:
        return None
    decay = fade(known, stop - 1, per_day)
    rows, naive = features(known, base, at, slots, per_day, decay)
    target = lookup(known, slots) - naive
    data = lgb.Dataset(rows, target, params={"verbose": -1, "num_threads": 1}, free_raw_data=False)
    models = []
    for alpha in LEVELS:
        given = {
            "objective": "quantile",
            "alpha": alpha,
            "num_leaves": LEAVES,
            "learning_rate": 0.1,
            "min_data_in_leaf": 40,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "seed": 1,
            "verbose": -1,
        }
        models.append(lgb.train(given, data, num_boost_round=ROUNDS))
    return Fit(base + stop, decay, models)


def features(values: Floats, base: int, at: Ints, slots: Ints, per_day: int, decay: float) -> tuple[Floats, Floats]:
    """(n, features) of `slots` as seen when `at` was the last known slot, and what is learned against (n,): the mean
    of the same slot on the last seven days, plus today's surprise as far as it has not faded. nan: not known, which
    a tree may split on."""
    days, hours = days_back(slots, at, per_day), hours_past(slots, at, per_day)
    back = slots[:, None] - (days[:, None] + np.arange(7)) * per_day
    past = lookup(values, back)
    same = lookup(values, at[:, None] - np.arange(1, 8) * per_day)
    last = lookup(values, at)
    day = lookup(values, at[:, None] - np.arange(0, per_day, max(1, per_day // 24)))
    with np.errstate(all="ignore"):
        level, here = mean_of(past), mean_of(same)
        level, here = np.where(np.isnan(level), last, level), np.where(np.isnan(here), last, here)
        naive = level + (last - here) * decay**hours
        whole = mean_of(day)
        spread = np.sqrt(mean_of((day - whole[:, None]) ** 2))
    number = base + slots
    rows = np.stack(
        [
            hours,
            last - here,
            naive - level,
            past[:, 0] - level,
            past[:, 1] - level,
            past[:, 6] - level,
            whole - level,
            lookup(values, at - max(1, per_day // 24)) - last,
            spread,
            level,
            (number % per_day) / (per_day / 24.0),
            (number // per_day + 3) % 7,  # 1 January 1970 was a Thursday
        ],
        axis=1,
    )
    return rows, naive


def mean_of(values: Floats) -> Floats:
    """Row means over what is known; nan where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(1, count), np.nan)


def library() -> Any:
    """LightGBM. Raises MissingLibraryError where the extra is not installed."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        raise MissingLibraryError(
            f'forecaster "learned" needs the extra: pip install "tieline[forecast]" ({error})'
        ) from error
    return lightgbm
