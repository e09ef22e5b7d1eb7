"""The last means at a site: opening the contactor, breaker or PDU of a feeder when rigs cannot be made to obey.

Only the site's own meter can call for it, only under an order or the interconnect's limit, only when everything that
can be commanded has been shed and the limit still does not hold after `TRIP_AFTER`. Mining feeders before inference,
one at a time, each with time for the meter to show it. Closing again is a person's decision and not made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from tieline.edge.beside import Beside, Failed
from tieline.fleet.sites import Site

# Rigs have a minute to obey; what the meter still sees above the limit then is cut.
TRIP_AFTER = timedelta(seconds=60)
# From one feeder to the next: a contactor opens in under a second, and the meter has been read several times since.
NEXT_AFTER = timedelta(seconds=15)
OPEN_TIMEOUT_S = 5.0


class Contactor(Protocol):
    """Cuts one feeder. `open` returns whether the coil, read back, is open; it raises nothing that it means."""

    @property
    def feeder(self) -> str: ...

    async def open(self) -> bool: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Trips:
    """Which feeders were cut, and when the next may be. `step` never waits."""

    site: Site
    contactors: Sequence[Contactor]
    above_since: datetime | None = None
    last: datetime | None = None
    opened: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    _call: Beside[bool] = field(default_factory=Beside)
    _calling: str = ""

    def step(self, now: datetime, above_w: float, nothing_left: bool) -> str | None:
        """`above_w`: over the limit by the meter; `nothing_left`: all that can be commanded was shed. Returns a line
        when a feeder was cut, or could not be."""
        line = self._take()
        if above_w <= 0 or not nothing_left:
            self.above_since = None
            return line
        self.above_since = self.above_since or now
        ready = now - self.above_since >= TRIP_AFTER and (self.last is None or now - self.last >= NEXT_AFTER)
        following = self._next() if ready and not self._call.busy else None
        if following is not None:
            self.last, self._calling = now, following.feeder
            self._call.start(following.open, OPEN_TIMEOUT_S)
        return line

    def _next(self) -> Contactor | None:
        loads = {feeder.id: feeder.load for feeder in self.site.feeders}
        left = [c for c in self.contactors if c.feeder not in self.opened]
        # One that failed is tried again after the others.
        left.sort(key=lambda c: (c.feeder in self.failed, loads.get(c.feeder) == "inference", c.feeder))
        return left[0] if left else None

    def _take(self) -> str | None:
        result = self._call.take()
        if result is None:
            return None
        if result is True:
            self.opened.append(self._calling)
            self.failed.pop(self._calling, None)
            return f"the contactor of {self._calling} was opened: the meter stayed above the limit"
        why = result.why if isinstance(result, Failed) else "it read back closed"
        self.failed[self._calling] = why
        return f"the contactor of {self._calling} did not open: {why}"

    async def end(self) -> None:
        await self._call.close()
        for contactor in self.contactors:
            await contactor.close()
