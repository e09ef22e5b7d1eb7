"""Power that a contract has bought before the day: megawatts by hour, in the shapes that the market trades.

Hours are local to the market's zone. `block` is every hour; `peak` is Monday to Friday, 06:00 to 22:00 (what Texas and
the East call 5x16); `off-peak` is every other hour; `solar` follows the sun from 07:00 to 19:00 (a raised cosine, its
highest hour the whole megawatts). Holidays of an exchange are not known here: they count as the weekday they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, datetime
from typing import Literal

import msgspec

from tieline.fleet.markets import zone_of

Shape = Literal["block", "peak", "off-peak", "solar"]

PEAK_HOURS = range(6, 22)
SUN_HOURS = range(7, 19)


class Leg(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many megawatts in a shape, at a fixed price or at a market's price of the hour plus `adder_usd_per_mwh`."""

    name: str
    mw: float
    shape: Shape = "block"
    usd_per_mwh: float | None = None
    market: str | None = None
    adder_usd_per_mwh: float = 0.0
    since: date | None = None
    until: date | None = None  # local, not included

    def mistake(self) -> tuple[str, str] | None:
        """(What is wrong with it, what to write), None where it can be used."""
        if not (math.isfinite(self.mw) and self.mw > 0):
            return f"leg {self.name!r}: mw {self.mw:g}", "give megawatts above 0"
        if (self.usd_per_mwh is None) == (self.market is None):
            return f"leg {self.name!r} has no price, or two", "give usd_per_mwh (fixed) or market (index)"
        if self.since is not None and self.until is not None and self.until <= self.since:
            return f"leg {self.name!r} ends {self.until}, before it begins", "give an until after since"
        return None

    def power_w(self, zone: str, hour: datetime) -> float:
        """Watts over the hour that begins at `hour`."""
        local = hour.astimezone(zone_of(zone))
        day = local.date()
        if (self.since is not None and day < self.since) or (self.until is not None and day >= self.until):
            return 0.0
        return self.mw * 1e6 * share_of(self.shape, local)


def share_of(shape: Shape, local: datetime) -> float:
    """Share of a leg's megawatts in the local hour that begins at `local`."""
    peak = local.weekday() < 5 and local.hour in PEAK_HOURS
    match shape:
        case "block":
            return 1.0
        case "peak":
            return 1.0 if peak else 0.0
        case "off-peak":
            return 0.0 if peak else 1.0
        case "solar":
            if local.hour not in SUN_HOURS:
                return 0.0
            noon = (SUN_HOURS.start + SUN_HOURS.stop - 1) / 2.0
            width = (SUN_HOURS.stop - SUN_HOURS.start + 1) / 2.0
            return 0.5 * (1.0 + math.cos(math.pi * (local.hour - noon) / width))


def held_w(legs: Iterable[Leg], zone: str, hour: datetime) -> float:
    """What all legs together hold in an hour, in watts."""
    return sum(leg.power_w(zone, hour) for leg in legs)
