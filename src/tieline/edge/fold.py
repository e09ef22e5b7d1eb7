"""Readings of one unit into one sample per interval.

A mean is over time, not over readings: each reading holds until the next, for at most `hold`; what no
reading covers is not in the mean. An interval without a reading gives a sample whose figures are None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from tieline.clock import FIVE_MINUTES, Interval
from tieline.edge.device import Reading
from tieline.records import Sample

# After a silence the intervals missed are written one by one, but not for ever: a day says it.
MAX_CATCH_UP = 288


@dataclass(slots=True)
class _Tally:
    """What an interval adds up to; its means are over the time that readings cover, None where none does."""

    readings: int = 0
    seconds: float = 0.0
    watt_s: float = 0.0
    power_max_w: float | None = None
    hash_s: float = 0.0
    hash_seconds: float = 0.0
    tokens: float = 0.0
    token_seconds: float = 0.0
    silent: bool = False

    @property
    def heard(self) -> bool:
        return self.readings > 0 and self.seconds > 0

    @property
    def power_w(self) -> float | None:
        return self.watt_s / self.seconds if self.heard else None

    @property
    def hashrate_hs(self) -> float | None:
        return self.hash_s / self.hash_seconds if self.heard and self.hash_seconds else None

    @property
    def whole_tokens(self) -> int | None:
        return round(self.tokens) if self.heard and self.token_seconds else None


@dataclass(slots=True)
class IntervalFold:
    """The running interval of one unit."""

    site_id: str
    unit_id: str
    kind: Literal["measured", "simulated"]
    length: timedelta = FIVE_MINUTES
    hold: timedelta = timedelta(seconds=60)
    _interval: Interval | None = None
    _tally: _Tally = field(default_factory=_Tally)
    _last: Reading | None = None
    _seen: datetime | None = None

    def add(self, now: datetime, reading: Reading | None) -> list[Sample]:
        """Take one reading, or None for silence; returns the samples of intervals that have ended."""
        done: list[Sample] = []
        if self._interval is None:
            self._interval = Interval.holding(now, self.length)
            self._seen = now
        while now >= self._interval.end:
            self._cover(self._interval.end)
            if len(done) < MAX_CATCH_UP:
                done.append(self._sample(self._interval, now))
            self._tally = _Tally()
            self._interval = self._interval.next()
        self._cover(now)
        if reading is not None and (self._last is None or reading.at > self._last.at):
            self._take(reading)
        return done

    def _cover(self, until: datetime) -> None:
        """Let the last reading hold from where we are to `until`, or to the end of its hold."""
        start, last = self._seen, self._last
        self._seen = until
        if start is None or last is None:
            return
        seconds = (min(until, last.at + self.hold) - start).total_seconds()
        if seconds <= 0:
            return
        tally = self._tally
        tally.seconds += seconds
        tally.watt_s += last.counted_w * seconds
        if last.hashrate_hs is not None:
            tally.hash_s += last.hashrate_hs * seconds
            tally.hash_seconds += seconds
        if last.tokens_per_s is not None:
            tally.tokens += last.tokens_per_s * seconds
            tally.token_seconds += seconds

    def _take(self, reading: Reading) -> None:
        tally = self._tally
        tally.readings += 1
        tally.silent = tally.silent or reading.silent_w > 0 or reading.estimated_w > 0
        if tally.power_max_w is None or reading.counted_w > tally.power_max_w:
            tally.power_max_w = reading.counted_w
        self._last = reading

    def _sample(self, interval: Interval, now: datetime) -> Sample:
        tally, last = self._tally, self._last
        shown = last if tally.heard else None
        estimated = self.kind == "measured" and tally.silent
        return Sample(
            at=interval.start,
            known_at=now,
            source=f"site:{self.site_id}",
            kind="estimated" if estimated else self.kind,
            site_id=self.site_id,
            unit_id=self.unit_id,
            length_s=int(self.length.total_seconds()),
            readings=tally.readings,
            power_w=tally.power_w,
            power_max_w=tally.power_max_w if tally.heard else None,
            hashrate_hs=tally.hashrate_hs,
            temp_c=shown.temp_c if shown is not None else None,
            devices=last.devices if last is not None else None,
            devices_heard=shown.devices_heard if shown is not None else None,
            tokens=tally.whole_tokens,
            last_heard=last.at if last is not None else None,
        )
