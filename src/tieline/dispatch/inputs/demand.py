"""What users may ask over the steps ahead: the same time last week, at today's level, with the spread it had.

Pure, on arrays of slots of a quarter hour (nan: not known). The level of now against last week holds at first
and fades over hours, since a surge passes. How far the truth was from this rule over the last week, near and
far, gives the scenarios: each is one quantile of it. With less than a week of history yesterday stands in for
last week, and with less than a day the last value.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tieline.dispatch.inputs.arrays import Floats, Ints

SLOTS_PER_HOUR, SLOTS_PER_DAY, SLOTS_PER_WEEK = 4, 96, 672
# A surge of demand is half over in four hours: between an incident's half hour and a working day.
_HALF_LIFE_H = 4.0
# Today's level against last week's: beyond a factor of two the past says nothing.
_LEVEL = (0.5, 2.0)


def asked_paths(values: Floats, known: int, wanted: Ints, scenarios: int) -> Floats | None:
    """(T, scenarios) at slots `wanted`, from `values` known up to and without `known`; None: nothing is known.

    Scenarios are ordered from little to much; with one it is the expectation.
    """
    stop = min(known, len(values))
    present = np.flatnonzero(~np.isnan(values[max(0, stop - SLOTS_PER_WEEK) : stop]))
    if len(present) == 0:
        return None
    last = max(0, stop - SLOTS_PER_WEEK) + int(present[-1])
    back = _period(values, last)
    if back is None:
        base, level = np.full(len(wanted), values[last]), 1.0
    else:
        base = _at(values, wanted - back * (-(-(wanted - last) // back)))
        base = np.where(np.isnan(base), values[last], base)
        level = _ratio(values[last], values[last - back])
    fade = 0.5 ** (np.maximum(0, wanted - last) / SLOTS_PER_HOUR / _HALF_LIFE_H)
    path = base * (1.0 + (level - 1.0) * fade)
    inside = (wanted <= last) & (wanted >= 0)
    path = np.where(inside, np.nan_to_num(_at(values, wanted), nan=float(values[last])), path)
    if scenarios <= 1 or back is None:
        return np.repeat(path[:, None], max(1, scenarios), axis=1)
    near, far = _errors(values, last, back, scenarios)
    spread = near[None, :] * fade[:, None] + far[None, :] * (1.0 - fade[:, None])
    spread[inside] = 0.0
    return np.asarray(path[:, None] * np.exp(spread))


def _period(values: Floats, last: int) -> int | None:
    """How far back the like of now lies: a week, else a day."""
    for back in (SLOTS_PER_WEEK, SLOTS_PER_DAY):
        if last - back >= 0 and not np.isnan(values[last - back]):
            return back
    return None


def _ratio(now: float, then: float) -> float:
    return float(np.clip(now / then, *_LEVEL)) if then > 0 else 1.0


def _errors(values: Floats, last: int, back: int, scenarios: int) -> tuple[Floats, Floats]:
    """(scenarios,) quantiles of log(truth / rule) over the last week: an hour ahead with the level of then,
    and far ahead without it."""
    at = np.arange(max(back + SLOTS_PER_HOUR, last - SLOTS_PER_WEEK), last + 1)
    truth, then = _at(values, at), _at(values, at - back)
    before, then_before = _at(values, at - SLOTS_PER_HOUR), _at(values, at - SLOTS_PER_HOUR - back)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.log(truth / then)
        near = far - np.log(np.clip(before / then_before, *_LEVEL))
    quantiles = (np.arange(scenarios) + 0.5) / scenarios
    drawn = []
    for errors in (near, far):
        good = errors[np.isfinite(errors)]
        # A day of quarter hours is the least that says something of a spread.
        drawn.append(np.quantile(good, quantiles) if len(good) >= SLOTS_PER_DAY else np.zeros(scenarios))
    return drawn[0], drawn[1]


def _at(values: Floats, slots: npt.NDArray[np.intp]) -> Floats:
    inside = (slots >= 0) & (slots < len(values))
    return np.where(inside, values[np.clip(slots, 0, len(values) - 1)], np.nan)
