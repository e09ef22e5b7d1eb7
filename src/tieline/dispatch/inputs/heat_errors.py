"""How far off a temperature is that is expected a day ahead, by what the last weeks were. Pure."""

from __future__ import annotations

import numpy as np

from tieline.dispatch.inputs.arrays import Floats, Ints

# Where the last weeks say too little, and at most.
USUAL_C = 6.0
DAYS, LEAST_SAMPLES = 28, 40
# An error beyond these is a miss: it costs some hundred times what the last megawatts earn.
LOW, HIGH = 0.01, 0.99


def heat_errors(past_c: Floats, known: int, wanted: Ints, per_hour: int) -> Floats:
    """(T, 2) C below and above what is expected at `wanted` places of `past_c`, of which the first `known` are known.

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
    enough = (~np.isnan(errors)).sum(axis=1) >= LEAST_SAMPLES
    if enough.any():
        low, high = np.nanquantile(errors[enough], [LOW, HIGH], axis=1)
        out[enough, 0], out[enough, 1] = np.clip(low, -USUAL_C, 0.0), np.clip(high, 0.0, USUAL_C)
    return out
