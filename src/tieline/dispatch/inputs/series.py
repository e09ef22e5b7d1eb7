"""One market's or station's values over time, as they were known: a sorted list per subject.

A value learned later for the same moment replaces the earlier one. Bounded: what ended long ago is dropped.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import numpy as np

from tieline.clock import micros
from tieline.dispatch.inputs.arrays import Floats, Ints

T = TypeVar("T")

# Eight days back cover a week-ago forecast and a day's outage of a feed.
KEEP = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """A value, the moment it is from, how long it holds, and how far past its own end it is used (zero while it
    holds)."""

    value: T
    at: datetime
    length: timedelta
    stale: timedelta
    kind: str
    source: str


@dataclass(slots=True)
class _SeriesEntry(Generic[T]):
    known_at: datetime
    length: timedelta
    value: T
    kind: str
    source: str


@dataclass(slots=True)
class Series(Generic[T]):
    """Values that hold over [at, at + length)."""

    _ats: list[datetime] = field(default_factory=list)
    _by_at: dict[datetime, _SeriesEntry[T]] = field(default_factory=dict)

    def learn(self, at: datetime, known_at: datetime, length: timedelta, value: T, kind: str, source: str) -> None:
        entry = self._by_at.get(at)
        if entry is None:
            if not self._ats or at > self._ats[-1]:
                self._ats.append(at)
            else:
                bisect.insort(self._ats, at)
        elif entry.known_at > known_at:
            return
        self._by_at[at] = _SeriesEntry(known_at, length, value, kind, source)

    def at(self, moment: datetime) -> Known[T] | None:
        """What holds at `moment`; where nothing does, the last that held, with its staleness."""
        index = bisect.bisect_right(self._ats, moment) - 1
        if index < 0:
            return None
        at = self._ats[index]
        entry = self._by_at[at]
        stale = max(timedelta(0), moment - (at + entry.length))
        return Known(entry.value, at, entry.length, stale, entry.kind, entry.source)

    @property
    def last(self) -> T | None:
        """The value that begins last."""
        return self._by_at[self._ats[-1]].value if self._ats else None

    def window(self, start: datetime, end: datetime) -> list[tuple[datetime, timedelta, T]]:
        """Entries with start <= at < end, oldest first."""
        left, right = bisect.bisect_left(self._ats, start), bisect.bisect_left(self._ats, end)
        return [(at, (e := self._by_at[at]).length, e.value) for at in self._ats[left:right]]

    def forget(self, before: datetime) -> None:
        """Drop what started before `before`, but keep the newest, so that a dead feed still has a last word."""
        index = min(bisect.bisect_left(self._ats, before), len(self._ats) - 1)
        for at in self._ats[: max(0, index)]:
            del self._by_at[at]
        del self._ats[: max(0, index)]


# Twenty past days for scenarios, the days back until one is known, and what is published ahead.
HISTORY = timedelta(days=23)
_DAYS_KEPT = 30


@dataclass(slots=True)
class Slots:
    """The same values on a regular grid, for arithmetic: nan where nothing is known. Bounded to thirty days."""

    slot_s: int
    base: int | None = None
    values: Floats = field(default_factory=lambda: np.empty(0))
    version: int = 0  # moves with all that is learned

    def learn(self, at: datetime, length: timedelta, value: float) -> None:
        self.version += 1
        first = micros(at) // (self.slot_s * 1_000_000)
        count = max(1, round(length.total_seconds() / self.slot_s))
        size = _DAYS_KEPT * 86_400 // self.slot_s
        if self.base is None:
            self.base, self.values = first - size // 3, np.full(size, np.nan)
        if (over := first + count - self.base - size) > 0:
            shift = over + 86_400 // self.slot_s
            if shift >= size:
                self.base, self.values = first - size // 3, np.full(size, np.nan)
            else:
                self.values[:-shift] = self.values[shift:]
                self.values[-shift:] = np.nan
                self.base += shift
        if first >= self.base:
            self.values[first - self.base : first - self.base + count] = value

    def index(self, start: datetime, offset_s: Ints) -> Ints:
        """Places in `values` of moments after `start`; they may lie outside."""
        return (micros(start) // 1_000_000 + offset_s) // self.slot_s - (self.base or 0)
