"""The only place that reads time.

A Clock tells the time of the world that is being run: the wall's own (`WallClock`), the wall's made faster
(`WallClock(speed=60)`), or none at all (`SimClock`, moved by hand, in replay and tests). Everything else is
told `now`. Times are aware datetimes in UTC; stored times are integer microseconds since 1970.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Protocol

FIVE_MINUTES = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """What services are given; `monotonic` measures durations for people and metrics, never for decisions."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep_until(self, moment: datetime) -> None: ...


@dataclass(frozen=True)
class WallClock:
    """World time = anchor_world + (wall time - anchor_wall) x speed. Without anchors and speed, UTC itself."""

    speed: float = 1.0
    anchor_wall: datetime | None = None
    anchor_world: datetime | None = None

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"speed must be above 0, got {self.speed}")
        if (self.anchor_wall is None) != (self.anchor_world is None):
            raise ValueError("anchor_wall and anchor_world are given together or not at all")
        if self.speed != 1.0 and self.anchor_wall is None:
            raise ValueError("a clock that runs faster needs anchor_wall and anchor_world")

    def now(self) -> datetime:
        wall = wall_now()
        if self.anchor_wall is None or self.anchor_world is None:
            return wall
        return self.anchor_world + (wall - self.anchor_wall) * self.speed

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep_until(self, moment: datetime) -> None:
        """Sleep in pieces of at most a minute, so that a wall clock set back or forward is noticed."""
        while (left := (moment - self.now()).total_seconds() / self.speed) > 0:
            await asyncio.sleep(min(left, 60.0))


class SimClock:
    """Time that moves only when told to; `sleep_until` moves it."""

    def __init__(self, start: datetime) -> None:
        self._now = utc(start)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return micros(self._now) / 1e6

    def set(self, moment: datetime) -> None:
        if moment < self._now:
            raise ValueError(f"time does not go back: {moment.isoformat()} is before {self._now.isoformat()}")
        self._now = utc(moment)

    async def sleep_until(self, moment: datetime) -> None:
        if moment > self._now:
            self.set(moment)
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Half-open [start, start + length), in UTC."""

    start: datetime
    length: timedelta = FIVE_MINUTES

    @property
    def end(self) -> datetime:
        return self.start + self.length

    @property
    def hours(self) -> float:
        return self.length.total_seconds() / 3600.0

    @classmethod
    def holding(cls, moment: datetime, length: timedelta = FIVE_MINUTES) -> Interval:
        """The aligned interval (counted from 1970) that `moment` falls in."""
        return cls(utc(moment) - (utc(moment) - _EPOCH) % length, length)

    def next(self) -> Interval:
        return Interval(self.end, self.length)

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


def intervals(start: datetime, end: datetime, length: timedelta = FIVE_MINUTES) -> Iterator[Interval]:
    """The aligned intervals that start in [start, end)."""
    interval = Interval.holding(start, length)
    if interval.start < start:
        interval = interval.next()
    while interval.start < end:
        yield interval
        interval = interval.next()


async def run(clock: Clock, step: Callable[[datetime], Awaitable[None]], every: timedelta) -> None:
    """Call `step(now)` at each multiple of `every`, for ever. A step that overran is not made up for:
    the next one is the next boundary after now."""
    while True:
        boundary = Interval.holding(clock.now(), every).end
        await clock.sleep_until(boundary)
        await step(clock.now())


def wall_now() -> datetime:
    """UTC now by this machine's clock."""
    return datetime.now(UTC)


def utc(moment: datetime) -> datetime:
    """The same moment in UTC; a moment without a zone is refused."""
    if moment.tzinfo is None:
        raise ValueError(f"time {moment.isoformat()} has no zone; write it as {moment.isoformat()}Z")
    return moment.astimezone(UTC)


def parse_utc(text: str) -> datetime:
    """A date or an ISO time; without a zone it is read as UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def day_or_moment(text: str) -> date | datetime:
    """A day (YYYY-MM-DD), or a moment in UTC. Raises ValueError for neither, and for a time that does not say of which
    zone it is."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} does not say of which zone it is; write it with Z or its offset, like {text}Z")
    return moment.astimezone(UTC)


def begun(when: date | datetime, zone: tzinfo) -> datetime:
    """The moment, or that in which a day of the zone begins; in UTC."""
    if isinstance(when, datetime):
        return when
    return datetime(when.year, when.month, when.day, tzinfo=zone).astimezone(UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 in UTC, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)
