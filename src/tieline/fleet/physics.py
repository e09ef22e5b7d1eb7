"""How load behaves at a site: cooling, heat, modes, waking. Pure functions of floats.

Assumptions, each stated where a report is built on it: auxiliary load of air cooling is 4 % of IT load below
20 C dry bulb, rising linearly to 9 % at 40 C; hydro and immersion 6 % flat with dry coolers. Air-cooled rigs
run in full to 35 C dry bulb, then lose 2 % per C, and are off above 47 C (makers switch off near 47 C).
"""

from __future__ import annotations

import msgspec

from tieline.fleet.models import Cooling

AUX_AIR_COLD, AUX_AIR_HOT = 0.04, 0.09
AUX_COLD_C, AUX_HOT_C = 20.0, 40.0
AUX_LIQUID = 0.06
DERATE_FROM_C, DERATE_PER_C, OFF_ABOVE_C = 35.0, 0.02, 47.0


class RigMode(msgspec.Struct, frozen=True):
    """A firmware mode: shares of rated power and hashrate, plus a fixed draw in watts per rig."""

    name: str
    power_share: float
    hash_share: float
    fixed_w: float = 0.0


# Normal, low and sleep after LuxOS figures; sleep keeps the control board on.
RIG_MODES: dict[str, RigMode] = {
    "normal": RigMode("normal", 1.00, 1.00),
    "low": RigMode("low", 0.72, 0.80),
    "sleep": RigMode("sleep", 0.0, 0.0, 25.0),
    "off": RigMode("off", 0.0, 0.0),
}

# A waking rig draws from the first second and hashes after this long.
WAKE_S: dict[str, float] = {"fast": 10.0, "slow": 300.0}

# A rig boots in 180 s and is not started more than once in 5 minutes or 6 times a day (makers' advice).
REBOOT_S, MIN_BETWEEN_STARTS_S, STARTS_PER_DAY = 180.0, 300.0, 6

# PUE of a GPU hall with air handling: IT power x 1.25 (assumed).
GPU_AUX = 0.25


def aux_share(cooling: Cooling, temp_c: float | None) -> float:
    """Auxiliary watts per watt of rig load. An unknown temperature counts as hot, the safe side of a limit."""
    if cooling != "air":
        return AUX_LIQUID
    if temp_c is None:
        return AUX_AIR_HOT
    warm = min(1.0, max(0.0, (temp_c - AUX_COLD_C) / (AUX_HOT_C - AUX_COLD_C)))
    return AUX_AIR_COLD + warm * (AUX_AIR_HOT - AUX_AIR_COLD)


def derate(cooling: Cooling, temp_c: float | None) -> float:
    """Share of rated power (and hashrate) that the heat allows, 0 to 1. Unknown temperature: no derating is
    assumed, because the rigs themselves will report less."""
    if cooling != "air" or temp_c is None or temp_c <= DERATE_FROM_C:
        return 1.0
    if temp_c > OFF_ABOVE_C:
        return 0.0
    return max(0.0, 1.0 - DERATE_PER_C * (temp_c - DERATE_FROM_C))
