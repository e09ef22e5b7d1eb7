"""What a rig can be asked and told, whatever its make: the interface that every firmware's driver fulfils.

Knows no groups and no watts at the meter. What a rig says of itself is foreign: `said` takes each figure through the
bounds of its model, and what is not believable is named and left out, never taken and never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.fleet.models import RigModel
from tieline.fleet.physics import RIG_MODES

Mode = Literal["normal", "low", "sleep"]

# Rigs vary by a few per cent around their rating and may be tuned far above it; no air-cooled hash board takes twice.
MOST_OF_RATED = 2.0
# Presets are round numbers: one that is above a limit by less than a rig's own reading wanders is within it.
FITS = 1.01
# A chip is no colder than a site in winter and dead long before this.
COLDEST_C, HOTTEST_C = -40.0, 150.0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a firmware does, declared. Times are typical, in seconds from the command."""

    pause: bool = True
    watts: bool = False  # takes a power limit
    presets: bool = False  # takes named profiles, each with its watts
    tells_watts: bool = True
    reboot: bool = False
    light: bool = False
    pools: bool = False
    down_s: float = 10.0  # from the command to the standby draw
    up_s: float = 60.0  # from the command to hashing
    polled: Literal["socket", "http", "library"] = "socket"

    @property
    def low(self) -> bool:
        """Whether a mode between normal and sleep can be carried out."""
        return self.watts or self.presets


@dataclass(frozen=True, slots=True)
class RigOrder:
    """What one rig is told. `watts`: the limit that goes with `low`, before auxiliary load."""

    mode: Mode
    watts: float | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """What one rig said, as it said it: any field may be any type, or absent. Rates in hashes per second."""

    watts: object = None
    hashrate_hs: object = None
    chip_c: object = None
    asleep: object = None
    mac: object = None
    serial: object = None
    model: object = None
    pool: object = None
    worker: object = None


@dataclass(frozen=True, slots=True)
class RigSample:
    """One rig at one moment, believable. `asked_at`: the loop's time before the question went out. `estimated`: the
    watts are our own estimate from its model and mode. `doubts` names each figure that was not believed."""

    asked_at: float
    watts: float
    estimated: bool = False
    hashrate_hs: float | None = None
    chip_c: float | None = None
    asleep: bool | None = None
    mac: str | None = None
    serial: str | None = None
    model: str | None = None
    pool: str | None = None
    worker: str | None = None
    doubts: tuple[str, ...] = ()


class RigDriver(Protocol):
    """One rig. Each call is one or a few bounded questions; raises SilentError or RefusalError, nothing else.

    `normal` is the preset or power target that was found and to which the normal mode returns, None where there is none
    or nothing was lowered yet. Its owner keeps it through a restart, so that a lowered rig is not taken for normal.
    """

    normal: str | None

    @property
    def firmware(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def poll(self) -> Raw: ...

    async def tell(self, order: RigOrder) -> None: ...

    async def reboot(self) -> None: ...

    async def light(self, on: bool) -> None: ...

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        """These and no others, the first with the highest priority. Read back by the next polls, never assumed."""


def said(raw: Raw, model: RigModel, asked_at: float, mode: Mode | None = None) -> RigSample:
    """`raw` through the bounds of `model`. Watts that were not told, or not believably, are estimated from what the
    rig says of its mode, else from its hashrate, else from `mode` (what it was last told), else as running in full:
    the safe side of a limit."""
    doubts: list[str] = []
    hashrate = _figure("hashrate", raw.hashrate_hs, MOST_OF_RATED * model.hashrate_ths * 1e12, doubts)
    watts = _figure("watts", raw.watts, MOST_OF_RATED * model.power_w, doubts)
    chip_c = _figure("chip temperature", raw.chip_c, HOTTEST_C, doubts, COLDEST_C)
    asleep = raw.asleep if isinstance(raw.asleep, bool) else None
    estimated = watts is None
    if watts is None:
        watts = _estimate(model, asleep, hashrate, mode)
    return RigSample(
        asked_at,
        watts,
        estimated,
        hashrate,
        chip_c,
        asleep,
        _mac(raw.mac),
        _text(raw.serial),
        _text(raw.model),
        _text(raw.pool),
        _text(raw.worker),
        tuple(doubts),
    )


def _estimate(model: RigModel, asleep: bool | None, hashrate_hs: float | None, mode: Mode | None) -> float:
    sleep_w = RIG_MODES["sleep"].fixed_w
    if asleep:
        return sleep_w
    if hashrate_hs:
        share = hashrate_hs / (model.hashrate_ths * 1e12)
        low = RIG_MODES["low"]
        # Between low and normal watts follow the hashrate; below that a lost board still leaves the rest its fans.
        slope = (1.0 - low.power_share) / (1.0 - low.hash_share)
        return model.power_w * max(0.3, 1.0 - slope * max(0.0, 1.0 - share))
    if mode == "sleep" and hashrate_hs == 0 and asleep is None:
        return sleep_w
    return model.power_w


def _figure(name: str, value: object, most: float, doubts: list[str], least: float = 0.0) -> float | None:
    """A finite number within bounds, else None and a doubt. Firmwares write numbers as text, too."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value
        try:
            value = float(text)
        except ValueError:
            doubts.append(f"{name} {text[:20]!r}")
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        doubts.append(f"{name} of type {type(value).__name__}")
        return None
    if not math.isfinite(value) or not least <= value <= most:
        doubts.append(f"{name} {value:.6g} (believed from {least:g} to {most:.6g})")
        return None
    return float(value)


def _text(value: object) -> str | None:
    """A short printable text: what a stranger writes is shown to people."""
    if not isinstance(value, str) or not value:
        return None
    return "".join(c if c.isprintable() else "?" for c in value[:120])


def _mac(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    digits = "".join(c for c in value.lower() if c in "0123456789abcdef")
    if len(digits) != 12 or not digits.strip("0"):
        return None
    return ":".join(digits[n : n + 2] for n in range(0, 12, 2))
