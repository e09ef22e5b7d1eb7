"""How far off a temperature is that is expected a day ahead, by what the last weeks were. Pure."""

from __future__ import annotations

import numpy as np

from tieline.dispatch.inputs.arrays import Floats, Ints

# Where the last weeks say too little, and at most.
USUAL_C = 6.0
DAYS, LEAST_SAMPLES = 28, 40
# How likely a miss may be: what the last megawatt is paid over what a miss costs, within these. Nobody promises what
# fails one time in ten, whatever it pays.
RAREST, OFTENEST = 0.01, 0.1


def heat_errors(past_c: Floats, known: int, wanted: Ints, per_hour: int, miss: Floats) -> Floats:
    """(T, 2) C below and above what is expected at `wanted` places of `past_c`, of which the first `known` are known;
    `miss` (T,): how likely it may lie beyond each of them.

    Measured on what is known: how far the hour, and those beside it, lay from the same hour so many days before, over
    four weeks, but for the most that is usual: where days differ by more, a forecast is published that does better."""
    out = np.tile(np.array([-USUAL_C, USUAL_C]), (len(wanted), 1))
    day = 24 * per_hour
    lag = np.maximum(1, -(-(wanted + 1 - known) // day)) * day  # (T,) how far back the hour is known
    back = (np.arange(DAYS)[:, None] * day - np.array([-1, 0, 1])[None, :] * per_hour).ravel()
    place = (wanted - lag)[:, None] - back[None, :]
    before = place - lag[:, None]
    able = (before >= 0) & (place < min(known, len(past_c)))
    size = max(1, len(past_c))
    errors = np.where(able, past_c[np.clip(place, 0, size - 1)] - past_c[np.clip(before, 0, size - 1)], np.nan)
    count = (~np.isnan(errors)).sum(axis=1)
    rows = np.flatnonzero(count >= LEAST_SAMPLES)
    ordered = np.sort(errors[rows], axis=1)  # what is not known comes last
    beyond = np.floor(np.clip(miss[rows], RAREST, OFTENEST) * count[rows]).astype(np.intp)
    each = np.arange(len(rows))
    out[rows, 0] = np.clip(ordered[each, beyond], -USUAL_C, 0.0)
    out[rows, 1] = np.clip(ordered[each, count[rows] - 1 - beyond], 0.0, USUAL_C)
    return out
