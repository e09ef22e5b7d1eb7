"""What stands at a site: units and a meter that obey, lie, hang, refuse or talk nonsense, and what truly flows."""

from __future__ import annotations

import asyncio
import math
import random
from datetime import datetime, timedelta
from typing import Literal

from tests.simulation.machinery import Loop

from tieline.edge.device import Answer, Applied, Reading, Refused, Unreachable
from tieline.fleet import NodeGroup, RigGroup, Site
from tieline.records import Setpoint

Manner = Literal["well", "lies", "deaf", "hangs", "refuses", "raises", "nonsense", "away"]
MANNERS: tuple[Manner, ...] = ("lies", "deaf", "hangs", "refuses", "raises", "nonsense", "away")
METER_MANNERS: tuple[Manner, ...] = ("hangs", "raises", "nonsense", "away")
RAMP_S = 5.0
STATION_SHARE = 0.01
NONSENSE = (math.nan, -5.0, 1e15, math.inf)


async def silent(manner: Manner) -> Unreachable | None:
    """A device that does not answer, each in its way; None: it answers."""
    match manner:
        case "hangs":
            await asyncio.sleep(9e4)
        case "raises":
            raise ZeroDivisionError("a driver's own mistake")
        case "away":
            return Unreachable("connection refused")
        case _:
            pass
    return None


async def misread(manner: Manner, draw: random.Random, now: datetime) -> Reading | Unreachable | None:
    """A reading that is none; None: it is read as it should be."""
    if manner == "nonsense":
        return Reading(at=now, power_w=draw.choice(NONSENSE))
    return await silent(manner)


class SimulatedUnit:
    """One unit; see `tieline.edge.device.Device`. `true_w` is what it draws, whatever it says."""

    kind: Literal["measured", "simulated"] = "simulated"

    def __init__(self, loop: Loop, draw: random.Random, site: Site, unit: RigGroup | NodeGroup) -> None:
        self._loop, self._draw, self.unit = loop, draw, unit
        self.unit_id, self.highest_w = unit.id, unit.rated_w * 1.05
        self.lowest_w = 0.0
        self.manner: Manner = "well"
        self._from_w = self._to_w = 0.5 * self.highest_w
        self._moved_at = -RAMP_S
        self._said_w = self._to_w

    @property
    def true_w(self) -> float:
        share = min(1.0, (self._loop.moment - self._moved_at) / RAMP_S)
        return self._from_w + (self._to_w - self._from_w) * share

    def turn(self, manner: Manner) -> None:
        """From now on it behaves like this."""
        self._said_w = self._to_w
        self.manner = manner

    async def read(self, now: datetime) -> Reading | Unreachable:
        if (odd := await misread(self.manner, self._draw, now)) is not None:
            return odd
        said_w = self._said_w if self.manner == "lies" else self.true_w
        rate = self.unit.rated_hs * said_w / self.highest_w if isinstance(self.unit, RigGroup) else None
        return Reading(at=now, power_w=said_w, hashrate_hs=rate, devices=1, devices_heard=1)

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        target_w = min(max(0.0, setpoint.target_w), self.highest_w)
        if (away := await silent(self.manner)) is not None:
            return away
        if self.manner == "refuses":
            return Refused("not now")
        if self.manner in ("lies", "deaf"):
            self._said_w = target_w
            return Applied()
        self._from_w, self._to_w, self._moved_at = self.true_w, target_w, self._loop.moment
        return Applied()

    async def close(self) -> None:
        """It stands there whoever watches."""


class SimulatedMeter:
    """The site's meter: all units and the station's own load."""

    kind: Literal["measured", "simulated"] = "simulated"

    def __init__(self, loop: Loop, draw: random.Random, site: Site, units: list[SimulatedUnit]) -> None:
        self._loop, self._draw, self._units = loop, draw, units
        self._fixed_w = 0.002 * site.interconnect.limit_w
        self.manner: Manner = "well"

    @property
    def true_w(self) -> float:
        return sum(unit.true_w for unit in self._units) * (1 + STATION_SHARE) + self._fixed_w

    async def read(self, now: datetime) -> Reading | Unreachable:
        if (odd := await misread(self.manner, self._draw, now)) is not None:
            return odd
        return Reading(at=now - timedelta(seconds=0.5), power_w=self.true_w)

    async def close(self) -> None:
        """It stands there whoever watches."""
