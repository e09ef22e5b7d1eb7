"""The time a site goes by: its wall clock at the start, carried on by a clock that only runs forwards.

A wall clock that is set forwards or back at run time is a fault and moves no load: what is in force is reckoned by
elapsed time. The site takes the wall's new time when the control plane, heard just now, agrees with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.clock import Clock, WallClock

# Beyond this the wall clock is wrong; below it the site follows it, as NTP slews it.
OFF = timedelta(seconds=60)


@dataclass(slots=True)
class SiteTime:
    """`off` is the wall clock's distance from the site's time while it is a fault, else None."""

    clock: Clock
    off: timedelta | None = None
    _time: datetime | None = None
    _ticks: float = 0.0

    def at(self, wall: datetime) -> datetime:
        """The site's time when the wall clock says `wall`."""
        speed = self.clock.speed if isinstance(self.clock, WallClock) else 1.0
        ticks = self.clock.monotonic()
        if self._time is None:
            self._time, self._ticks = wall, ticks
            return wall
        carried = self._time + timedelta(seconds=max(0.0, ticks - self._ticks) * speed)
        apart = wall - carried
        if abs(apart) <= OFF * speed:
            # Never back: an order that ended has ended.
            carried, self.off = max(wall, self._time), None
        else:
            self.off = apart
        self._time, self._ticks = carried, ticks
        return carried

    def heard(self, sent_at: datetime, wall: datetime) -> None:
        """The control plane said something at `sent_at`, just now: where it agrees with a wall clock that was held
        to be off, the wall is right."""
        speed = self.clock.speed if isinstance(self.clock, WallClock) else 1.0
        if self.off is not None and abs(wall - sent_at) <= OFF * speed:
            self._time, self._ticks, self.off = wall, self.clock.monotonic(), None
