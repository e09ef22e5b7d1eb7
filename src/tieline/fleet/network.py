"""What the network takes of a megawatt-hour by the hour it is drawn in: charges and losses of its bands.

A band holds in local hours of some days and months. Where several hold at once their charges and losses add up. Losses
are a share of the metered energy that is bought besides. Pure; the zone is the contract's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from tieline.fleet.markets import zone_of


class NetworkBand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One charge, one share of losses, or both; without hours, days or months it holds always."""

    name: str
    usd_per_mwh: float = 0.0
    local_per_mwh: float = 0.0  # in the contract's currency
    losses: float = 0.0
    hours: tuple[int, ...] = ()
    days: Literal["all", "weekdays", "weekends"] = "all"
    months: tuple[int, ...] = ()

    def mistake(self) -> tuple[str, str] | None:
        """(What is wrong with it, what to write), None where it can be used."""
        if not all(map(math.isfinite, (self.usd_per_mwh, self.local_per_mwh))):
            return f"band {self.name!r}: a charge that is no number", "give USD per MWh"
        if not 0.0 <= self.losses < 1.0:
            return f"band {self.name!r}: losses {self.losses:g}", "give a share of the metered energy, 0.03 say"
        if not all(0 <= hour <= 23 for hour in self.hours):
            return f"band {self.name!r}: hours {list(self.hours)}", "give local hours from 0 to 23"
        if not all(1 <= month <= 12 for month in self.months):
            return f"band {self.name!r}: months {list(self.months)}", "give months from 1 to 12"
        return None

    def holds(self, local: datetime) -> bool:
        if (self.hours and local.hour not in self.hours) or (self.months and local.month not in self.months):
            return False
        return self.days == "all" or (self.days == "weekdays") == (local.weekday() < 5)


class NetworkNow(NamedTuple):
    """Of one moment: USD per metered MWh, and losses as a share of it."""

    usd_per_mwh: float = 0.0
    losses: float = 0.0


def network_at(bands: tuple[NetworkBand, ...], zone: str, moment: datetime) -> NetworkNow:
    if not bands:
        return NetworkNow()
    return _of_hour(bands, zone, moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0))


# Quarters of an hour, since zones stand off by as little: the weeks of a look-ahead, each asked for again every step.
@lru_cache(maxsize=100_000)
def _of_hour(bands: tuple[NetworkBand, ...], zone: str, quarter: datetime) -> NetworkNow:
    there = list(holding(bands, zone, quarter))
    return NetworkNow(sum(band.usd_per_mwh for band in there), sum(band.losses for band in there))


def holding(bands: Iterable[NetworkBand], zone: str, moment: datetime) -> Iterable[NetworkBand]:
    """The bands that hold at a moment."""
    local = moment.astimezone(zone_of(zone))
    return (band for band in bands if band.holds(local))
