"""The site's own meter beside the sum of its units: what is drawn there that no unit accounts for.

A limit holds at the interconnect, and there also stand transformers, lights, pumps and what nobody registered. Units
answer for themselves; the meter answers for the site. Their difference is kept free under every limit while it is
small enough to be station load, and told as a fault where it is not. A site without a meter is judged by its units.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Literal, Protocol

from tieline.edge.device import Reading, Unreachable
from tieline.edge.fold import Fold
from tieline.fleet.sites import Site
from tieline.records import AnyRecord, Fault, MeterReading, Sample

# Meters and telemetry are not read in the same instant: one odd pair must not move a limit.
PAIRS = 5
# Station load of air-cooled sites is 0.5 to 2 % of what they draw (transformer losses and auxiliaries; assumed). Beyond
# this share of the interconnect it is no station load, and the difference is a fault.
MOST_SHARE = 0.03
# What is kept free moves in steps, so that noise does not move every unit's target.
STEP_SHARE = 0.0025


class Meter(Protocol):
    """Reads what the whole site draws at the interconnect."""

    @property
    def kind(self) -> Literal["measured", "simulated"]: ...

    async def read(self, now: datetime) -> Reading | Unreachable: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class MeterWatch:
    """`uncounted_w` is what every limit of the site leaves free for what no unit accounts for."""

    site: Site
    meter: Meter
    fold: Fold
    reading: Reading | None = None
    uncounted_w: float = 0.0
    _pairs: deque[float] = field(default_factory=lambda: deque(maxlen=PAIRS))
    _open: datetime | None = None

    async def read(self, now: datetime, units_w: float | None) -> list[AnyRecord]:
        """Read and compare; `units_w` None: not all units were heard, so there is nothing to compare with."""
        answer = await self.meter.read(now)
        if isinstance(answer, Unreachable):
            return self._records(self.fold.add(now, None))
        self.reading = answer
        out = self._records(self.fold.add(now, answer))
        if units_w is not None:
            self._pairs.append(answer.counted_w - units_w)
            if len(self._pairs) == PAIRS:
                out += self._compare(now, units_w, answer.counted_w, median(self._pairs))
        return out

    def _compare(self, now: datetime, units_w: float, metered_w: float, apart_w: float) -> list[AnyRecord]:
        most_w = MOST_SHARE * self.site.interconnect.limit_w
        step_w = STEP_SHARE * self.site.interconnect.limit_w
        wanted_w = math.ceil(min(max(0.0, apart_w), most_w) / step_w) * step_w
        if wanted_w > self.uncounted_w or apart_w < self.uncounted_w - 2 * step_w:
            self.uncounted_w = wanted_w
        wrong = abs(apart_w) > most_w
        if wrong == (self._open is not None):
            return []
        began = self._open if self._open is not None else now
        self._open = now if wrong else None
        text = f"the site's meter reads {metered_w / 1e6:.3f} MW, its units {units_w / 1e6:.3f} MW"
        return [
            Fault(
                at=began,
                known_at=now,
                source=f"site:{self.site.id}",
                kind=self.meter.kind,
                site_id=self.site.id,
                what="meter",
                detail=f"{text}: {apart_w / 1e6:.3f} MW apart" if wrong else f"{text} again",
                until=None if wrong else now,
            )
        ]

    @staticmethod
    def _records(samples: list[Sample]) -> list[AnyRecord]:
        return [
            MeterReading(
                at=s.at,
                known_at=s.known_at,
                source=s.source,
                kind=s.kind,
                site_id=s.site_id,
                length_s=s.length_s,
                readings=s.readings,
                power_w=s.power_w,
                power_max_w=s.power_max_w,
                last_heard=s.last_heard,
            )
            for s in samples
        ]
