"""What an agent can read and set: a group of machines behind one setpoint.

Knows no plans and no prices. A result is a type: silence is `Unreachable`, a no is `Refused`, and neither
is a zero or a False.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from tieline.records import Setpoint


@dataclass(frozen=True, slots=True)
class Reading:
    """A unit at one moment, at the meter, auxiliary load included.

    `power_w` is what the heard machines draw; `silent_w` the last known power of those that did not answer
    this time, which still counts against every limit; `estimated_w` that part of `power_w` that no machine told and
    we reckoned from its mode. `disobeying` names machines that do not do what they were told, `waiting` counts those
    that may not be started yet. `complaints`: what else is wrong now, one (kind, line) for each kind.
    """

    at: datetime
    power_w: float
    hashrate_hs: float | None = None
    temp_c: float | None = None
    devices: int | None = None
    devices_heard: int | None = None
    tokens_per_s: float | None = None
    silent_w: float = 0.0
    disobeying: tuple[str, ...] = ()
    estimated_w: float = 0.0
    waiting: int = 0
    complaints: tuple[tuple[str, str], ...] = ()

    @property
    def counted_w(self) -> float:
        """What a limit has to reckon with."""
        return self.power_w + self.silent_w


# What a unit or a meter may say, as a share of what it can carry: beyond it is a fault of the telling, not power.
MOST_OF_HIGHEST = 2.0


def believable(reading: Reading, highest_w: float) -> str | None:
    """None, or one line on what in `reading` cannot be true: a figure that is no number, negative, or beyond what
    the unit can draw."""
    for name, value in (("power", reading.power_w), ("silent power", reading.silent_w)):
        if not math.isfinite(value) or not 0.0 <= value <= MOST_OF_HIGHEST * highest_w + 1e4:
            return f"says {value:.6g} W of {name}, where at most {highest_w:.6g} W can flow"
    for name, figure in (("hashrate", reading.hashrate_hs), ("token rate", reading.tokens_per_s)):
        if figure is not None and (not math.isfinite(figure) or figure < 0.0):
            return f"says a {name} of {figure:.6g}"
    return None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nothing was heard; the unit may draw what it last drew."""

    why: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The machines took the order. Whether they obey is read back later, never assumed."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The machines answered, and the answer was no."""

    why: str


Answer = Applied | Refused | Unreachable


class Device(Protocol):
    """One unit. `highest_w` is the most it can draw at the meter (what counts while it was never heard),
    `lowest_w` what it draws when told to draw nothing."""

    @property
    def unit_id(self) -> str: ...

    @property
    def kind(self) -> Literal["measured", "simulated"]: ...

    @property
    def highest_w(self) -> float: ...

    @property
    def lowest_w(self) -> float: ...

    async def read(self, now: datetime) -> Reading | Unreachable: ...

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer: ...

    async def close(self) -> None: ...
