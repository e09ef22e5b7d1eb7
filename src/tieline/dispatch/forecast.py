"""What a price or a demand may do next: scenarios that share what is known.

Pure, on arrays of slots of a quarter hour (nan: not known). Where a day-ahead price is published the scenarios
agree on it. Elsewhere each scenario is one past day's path, anchored to the last known value; the anchor fades
at the pace that the series' own hourly autocorrelation shows. The step that runs now takes the last known
value itself: on recorded real-time prices nothing simple beat it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from tieline.dispatch.arrays import Floats, Ints

SLOT_S = 900
SLOTS_PER_DAY = 96


class Forecaster(Protocol):
    """`values` (slots,) known up to and without `known`; returns (T, scenarios) at slots `wanted`."""

    def __call__(self, values: Floats, now: int, known: int, wanted: Ints, scenarios: int) -> Floats: ...


def persistence(values: Floats, now: int, known: int, wanted: Ints, scenarios: int) -> Floats:
    """The last known value for ever; what is published stays as it is."""
    one = _published(values, known, wanted)
    one[np.isnan(one)] = _last(values, min(known, now + 1))
    return np.repeat(one[:, None], scenarios, axis=1)


def analog_days(values: Floats, now: int, known: int, wanted: Ints, scenarios: int) -> Floats:
    """One past day per scenario, anchored to the last known value."""
    one = _published(values, known, wanted)
    unknown = np.isnan(one)
    out = np.repeat(one[:, None], scenarios, axis=1)
    if not unknown.any():
        return out
    at = _last_index(values, known)
    if at is None:
        return out
    slots = wanted[unknown]
    last = float(values[at])
    ahead_days = -(-(slots - at) // SLOTS_PER_DAY)  # whole days back until the slot is known
    back = (np.arange(scenarios) + ahead_days[:, None]) * SLOTS_PER_DAY  # (unknown, scenarios)
    rows, then = slots[:, None] - back, at - (np.arange(scenarios) + 1) * SLOTS_PER_DAY
    path, anchor = _lookup(values, rows), _lookup(values, then)
    fade = _fade(values, at) ** ((slots - at) / 4.0)
    path = path + (last - anchor)[None, :] * fade[:, None]
    out[unknown] = np.where(np.isnan(path), last, path)
    if unknown[0] and wanted[0] <= now:
        out[0] = last
    return out


def known_value(values: Floats, known: int, now: int) -> float | None:
    """The value of the slot `now` where it is known, else the last known one; None where there is none."""
    if now < known and now < len(values) and not np.isnan(values[now]):
        return float(values[now])
    index = _last_index(values, min(known, now + 1))
    return None if index is None else float(values[index])


def _published(values: Floats, known: int, wanted: Ints) -> Floats:
    inside = (wanted < known) & (wanted < len(values)) & (wanted >= 0)
    return np.where(inside, values[np.clip(wanted, 0, len(values) - 1)], np.nan)


def _last_index(values: Floats, before: int) -> int | None:
    stop = min(before, len(values))
    # A feed that was silent for a fortnight has no last word worth anchoring to.
    start = max(0, stop - 14 * SLOTS_PER_DAY)
    found = np.flatnonzero(~np.isnan(values[start:stop]))
    return None if len(found) == 0 else start + int(found[-1])


def _last(values: Floats, before: int) -> float:
    index = _last_index(values, before)
    return float("nan") if index is None else float(values[index])


def _lookup(values: Floats, slots: npt.NDArray[np.intp]) -> Floats:
    inside = (slots >= 0) & (slots < len(values))
    return np.where(inside, values[np.clip(slots, 0, len(values) - 1)], np.nan)


def _fade(values: Floats, at: int) -> float:
    """Share of a surprise that is left an hour later: lag-one-hour autocorrelation of the last two weeks,
    kept between 0.3 and 0.98, because two weeks with one spike say little."""
    window = values[max(0, at - 14 * SLOTS_PER_DAY) : at + 1][::4]
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
