"""The steps ahead: fine near now, coarse far out, each ending on a round boundary.

5-minute steps for the first hour, 15-minute steps to four hours, then hours to the end. A decision made each
quarter hour or hour starts with that step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from tieline.clock import micros
from tieline.dispatch.inputs.arrays import Floats, Ints


@dataclass(frozen=True)
class Grid:
    """Step starts and lengths after `start`; shapes (T,)."""

    start: datetime
    offset_s: Ints
    length_s: Ints

    @property
    def hours(self) -> Floats:
        return self.length_s / 3600.0

    @property
    def starts(self) -> list[datetime]:
        return [self.start + timedelta(seconds=int(s)) for s in self.offset_s]

    @property
    def middle_s(self) -> Ints:
        return self.offset_s + self.length_s // 2


def grid(start: datetime, interval_s: int, horizon_s: int) -> Grid:
    """Steps that cover [start, start + horizon), the first of one interval."""
    now_s = micros(start) // 1_000_000
    offsets, lengths, at = [0], [interval_s], interval_s
    while at < horizon_s:
        size = 300 if at < 3600 else 900 if at < 4 * 3600 else 3600
        size = max(size, min(interval_s, 3600))
        # Shorten to the next boundary of the step's own size, so that later steps lie on whole hours.
        step = size - (now_s + at) % size
        if step < size and (now_s + at) % 300 == 0:
            step = min(step, 300 if step % 900 else 900)
        offsets.append(at)
        lengths.append(step)
        at += step
    return Grid(start, np.array(offsets, dtype=np.intp), np.array(lengths, dtype=np.intp))


def end_of(grid: Grid) -> datetime:
    return grid.start + timedelta(seconds=int(grid.offset_s[-1] + grid.length_s[-1]))
