"""What a price, a demand or a temperature may do next: scenarios that share what is known.

Pure, on arrays of slots, of a quarter hour unless said otherwise (nan: not known). Where a day-ahead price is
published the scenarios agree on it. Elsewhere each scenario is one past day's path, anchored to the last known
value; the anchor fades at the pace that the series' own hourly autocorrelation shows. The step that runs now takes
the last known value itself: on recorded real-time prices nothing simple beat it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from tieline.dispatch.inputs.arrays import Floats, Ints

SLOT_S = 900
SLOTS_PER_DAY = 96


class Forecaster(Protocol):
    """`values` (slots,) known up to and without `known`; returns (T, scenarios) at slots `wanted`.

    `series` names what it is, for whoever remembers; `base` is the number of slot 0, counted from 1970, so that
    the hour and the weekday are known; `per_day` slots make a day.
    """

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
    ) -> Floats: ...


def persistence(
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
    """The last known value for ever; what is published stays as it is."""
    one = published(values, known, wanted)
    index = last_index(values, min(known, now + 1), per_day)
    one[np.isnan(one)] = np.nan if index is None else values[index]
    return np.repeat(one[:, None], scenarios, axis=1)


def analog_days(
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
    """One past day per scenario, anchored to the last known value."""
    one = published(values, known, wanted)
    unknown = np.isnan(one)
    out = np.repeat(one[:, None], scenarios, axis=1)
    if not unknown.any():
        return out
    at = last_index(values, known, per_day)
    if at is None:
        return out
    slots = wanted[unknown]
    last = float(values[at])
    ahead_days = days_back(slots, at, per_day)
    back = (np.arange(scenarios) + ahead_days[:, None]) * per_day  # (unknown, scenarios)
    rows, then = slots[:, None] - back, at - (np.arange(scenarios) + 1) * per_day
    path, anchor = lookup(values, rows), lookup(values, then)
    left = fade(values, at, per_day) ** hours_past(slots, at, per_day)
    path = path + (last - anchor)[None, :] * left[:, None]
    out[unknown] = np.where(np.isnan(path), last, path)
    if unknown[0] and wanted[0] <= now:
        out[0] = last
    return out


def known_value(values: Floats, known: int, now: int) -> float | None:
    """The value of the slot `now` where it is known, else the last known one; None where there is none."""
    if now < known and now < len(values) and not np.isnan(values[now]):
        return float(values[now])
    index = last_index(values, min(known, now + 1))
    return None if index is None else float(values[index])


def published(values: Floats, known: int, wanted: Ints) -> Floats:
    inside = (wanted < known) & (wanted < len(values)) & (wanted >= 0)
    return np.where(inside, values[np.clip(wanted, 0, len(values) - 1)], np.nan)


def last_index(values: Floats, before: int, per_day: int = SLOTS_PER_DAY) -> int | None:
    stop = min(before, len(values))
    # A feed that was silent for a fortnight has no last word worth anchoring to.
    start = max(0, stop - 14 * per_day)
    present = np.flatnonzero(~np.isnan(values[start:stop]))
    return None if len(present) == 0 else start + int(present[-1])


def lookup(values: Floats, slots: npt.NDArray[np.intp]) -> Floats:
    inside = (slots >= 0) & (slots < len(values))
    return np.where(inside, values[np.clip(slots, 0, len(values) - 1)], np.nan)


def days_back(slots: Ints, at: Ints | int, per_day: int) -> Ints:
    """Whole days back from each slot until one is known, at least one: a slot that was left out of what is published
    lies before the last known one."""
    return np.asarray(np.maximum(1, -(-(slots - at) // per_day)))


def hours_past(slots: Ints, at: Ints | int, per_day: int) -> Floats:
    """Hours from the last known slot to each; none for a slot that was left out before it. A surprise fades with time
    and does not grow the further back one looks."""
    return np.asarray(np.maximum(0, slots - at) / (per_day / 24.0))


def fade(values: Floats, at: int, per_day: int) -> float:
    """Share of a surprise that is left an hour later: lag-one-hour autocorrelation of the last two weeks,
    kept between 0.3 and 0.98, because two weeks with one spike say little."""
    window = values[max(0, at - 14 * per_day) : at + 1][:: max(1, per_day // 24)]
    one, two = window[:-1], window[1:]
    good = ~(np.isnan(one) | np.isnan(two))
    if good.sum() < 24:
        return 0.8
    one, two = one[good], two[good]
    # Clipped to its own 2nd and 98th percentile: a spike would otherwise set the figure alone.
    low, high = np.percentile(one, (2, 98))
    one, two = np.clip(one, low, high), np.clip(two, low, high)
    spread = float(one.std() * two.std())
    if spread < 1e-9:
        return 0.98
    return float(np.clip(np.mean((one - one.mean()) * (two - two.mean())) / spread, 0.3, 0.98))
