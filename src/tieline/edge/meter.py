"""The site's own meter beside the sum of its units: what is drawn there that no unit accounts for.

A limit holds at the interconnect, and there also stand transformers, lights, pumps, what nobody registered and what a
unit does not admit. The meter has the last word: all that it sees beyond the units is kept free under every limit, so
that a unit that lies is paid for by the others until the limit holds. What is too much for station load is told as a
fault besides. A site without a meter is judged by its units.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Literal, Protocol

from tieline.edge.device import Reading, Unreachable, believable
from tieline.edge.faults import Faults
from tieline.edge.fold import IntervalFold
from tieline.fleet.sites import Site
from tieline.records import AnyRecord, MeterReading, Sample

# Meters and telemetry are not read in the same instant: one odd pair must not move a limit.
PAIRS = 5
# Station load of air-cooled sites is 0.5 to 2 % of what they draw (transformer losses and auxiliaries; assumed). Beyond
# this share of the interconnect it is no station load, and the difference is a fault.
MOST_SHARE = 0.03
# What is kept free moves in steps, so that noise does not move every unit's target.
STEP_SHARE = 0.0025
# A step of the meter that the units do not explain, as a share of the interconnect, is held out until it has stayed
# for so many readings: a lost digit or a wrong word order is over by then, a container that was plugged in is not.
JUMP_SHARE, JUMP_STAYS = 0.15, 3


class Meter(Protocol):
    """Reads what the whole site draws at the interconnect."""

    @property
    def kind(self) -> Literal["measured", "simulated"]: ...

    async def read(self, now: datetime) -> Reading | Unreachable: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class MeterWatch:
    """`uncounted_w` is what every limit of the site leaves free for what no unit accounts for. `reading` is the last
    that was believed, `silent` why there is none now."""

    site: Site
    meter: Meter
    fold: IntervalFold
    faults: Faults
    reading: Reading | None = None
    silent: str | None = "not read yet"
    uncounted_w: float = 0.0
    _units_w: float | None = None  # beside the last reading that was believed
    _held_out: list[Reading] = field(default_factory=list)
    _pairs: deque[float] = field(default_factory=lambda: deque(maxlen=PAIRS))
    _raised: tuple[float, float] | None = None  # what lay between meter and units when more was kept free, and they
    _firm: int = 0  # readings for which what is kept free is not lowered

    def take(self, now: datetime, answer: Reading | Unreachable, units_w: float, all_heard: bool) -> list[AnyRecord]:
        """Compare one answer with the units, silent ones at their last known power; `all_heard`: none is silent, so
        that a difference is nobody's silence."""
        if isinstance(answer, Reading):
            why = believable(answer, self.site.interconnect.limit_w)
            answer = answer if why is None else Unreachable(f"the site's meter {why}")
        if isinstance(answer, Unreachable):
            return self._lost(now, answer.why)
        if self.reading is not None and answer.at <= self.reading.at:
            return []
        if self._jumps(answer, units_w):
            self._held_out.append(answer)
            why = f"the site's meter jumped from {_mw(self.reading)} to {_mw(answer)}; held out until it stays"
            out = self._records(self.fold.add(now, None))
            # The first may be an order that the meter shows before the units do.
            return out if len(self._held_out) == 1 else [*out, *self._hold(now, "meter jump", why)]
        self._held_out.clear()
        self.reading, self.silent, self._units_w = answer, None, units_w
        out = self._records(self.fold.add(now, answer))
        out += self._hold(now, "meter silent", None)
        out += self._hold(now, "meter jump", None)
        self._pairs.append(answer.counted_w - units_w)
        if len(self._pairs) == PAIRS:
            out += self._compare(now, units_w, answer.counted_w, median(self._pairs), all_heard)
        return out

    def wait(self, now: datetime) -> list[AnyRecord]:
        """Nothing came in this step: the last reading grows older, intervals end all the same."""
        return self._records(self.fold.add(now, None))

    def above_w(self, limit_w: float) -> float:
        """How far the site is above `limit_w` by its meter; 0 where it holds or nothing is known."""
        if self.reading is None or self.silent is not None:
            return 0.0
        return max(0.0, self.reading.counted_w - limit_w)

    def _lost(self, now: datetime, why: str) -> list[AnyRecord]:
        first = self.silent is None
        self.silent = why
        out = self._records(self.fold.add(now, None))
        # One answer lost on a busy line is no fault; what is kept free stays as it was.
        return out if first else [*out, *self._hold(now, "meter silent", why)]

    def _jumps(self, answer: Reading, units_w: float) -> bool:
        if self.reading is None or self._units_w is None:
            return False
        most_w = JUMP_SHARE * self.site.interconnect.limit_w
        moved_w = (answer.counted_w - self.reading.counted_w) - (units_w - self._units_w)
        if abs(moved_w) <= most_w:
            return False
        stays = [r for r in self._held_out if abs(r.counted_w - answer.counted_w) <= most_w]
        return len(stays) + 1 < JUMP_STAYS

    def _compare(
        self, now: datetime, units_w: float, metered_w: float, apart_w: float, all_heard: bool
    ) -> list[AnyRecord]:
        most_w = MOST_SHARE * self.site.interconnect.limit_w
        step_w = STEP_SHARE * self.site.interconnect.limit_w
        wanted_w = math.ceil(max(0.0, apart_w) / step_w) * step_w
        self._firm = max(0, self._firm - 1)
        if wanted_w > self.uncounted_w:
            in_vain = self._in_vain(apart_w, units_w, step_w)
            self._raised = apart_w, units_w
            self.uncounted_w = 2 * wanted_w if in_vain else wanted_w
            self._firm = PAIRS if in_vain else 0
        elif apart_w < self.uncounted_w - 2 * step_w and not self._firm:
            self._raised, self.uncounted_w = None, wanted_w
        if not all_heard:
            return []
        text = f"the site's meter reads {metered_w / 1e6:.3f} MW, its units {units_w / 1e6:.3f} MW: "
        wrong = abs(apart_w) > most_w
        return self._hold(now, "meter", f"{text}{apart_w / 1e6:.3f} MW apart" if wrong else None)

    def _in_vain(self, apart_w: float, units_w: float, step_w: float) -> bool:
        """More was kept free, units say that they draw less for it, and the meter has seen less than half of that. One
        of them lies. Asked for no more than what is too much, it would say so each time, and a small excess of a large
        unit would take dozens of rounds until it comes to one that obeys; so twice as much is kept free each time, and
        no more than is needed once the meter moves."""
        if self._raised is None:
            return False
        fell_w = self._raised[1] - units_w
        return fell_w > step_w and apart_w - self._raised[0] > fell_w / 2

    def _hold(self, now: datetime, what: str, detail: str | None) -> list[AnyRecord]:
        return list(self.faults.hold(now, what, detail, self.meter.kind, once=True))

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


def _mw(reading: Reading | None) -> str:
    return "unknown" if reading is None else f"{reading.counted_w / 1e6:.3f} MW"
