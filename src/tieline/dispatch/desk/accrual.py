"""What the coincident peaks of the running season will cost next year, as far as they are known.

Pure. The highest hour of system load in each stretch (a month, or each of the season's highest days) is its peak until
a higher one comes; a site's load in that hour, by its power bills, is what it will be billed for. System load is by the
hour, so a peak of a quarter or half hour is taken as its hour's mean, and an operator's own list may name another day:
this is an accrual, not a bill. Under a rule with a minimum billing demand no site is billed below its share of the
site's highest hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from tieline.fleet.peaks import PeakRule
from tieline.records import SystemLoad, newest_by

CENT = Decimal("0.01")
DrawnWh = Callable[[str, datetime], float | None]


@dataclass(frozen=True, slots=True)
class PeakSoFar:
    """The highest hour of a stretch so far; `over`: the stretch has ended, and no higher one can come."""

    stretch: str
    at: datetime
    system_w: float
    over: bool


@dataclass(frozen=True, slots=True)
class AccruedShare:
    """One site's share of one peak. `drawn_wh` None: its hour was not billed, and nothing is accrued for it."""

    site_id: str
    peak: PeakSoFar
    drawn_wh: float | None
    usd: Decimal


def peaks_so_far(
    rule: PeakRule, loads: Iterable[SystemLoad], now: datetime, season: int | None = None
) -> list[PeakSoFar]:
    """The peaks of a season, oldest first, by measured load; the last word on an hour counts. `season`: the year in
    which it began, by default the one that holds `now`."""
    today, running_season = rule.local_day(now), season_of(rule, now)
    season = running_season if season is None else season
    past = season < running_season
    hours = newest_by((load for load in loads if _counts(rule, load, now, season)), lambda load: load.at)
    highest: dict[str, SystemLoad] = {}
    for at, load in sorted(hours.items()):
        key = f"{rule.local_day(at)}" if rule.by == "season" else rule.season(rule.local_day(at))
        if key not in highest or load.power_w > highest[key].power_w:
            highest[key] = load
    ranking = sorted(highest.items(), key=lambda item: -item[1].power_w)
    if rule.by == "season":
        ranking = ranking[: rule.peaks]
        ended = past or today.month not in rule.months
        return sorted((PeakSoFar(k, one.at, one.power_w, ended) for k, one in ranking), key=lambda p: p.at)
    running = rule.season(today)
    return sorted((PeakSoFar(k, one.at, one.power_w, past or k != running) for k, one in ranking), key=lambda p: p.at)


def _counts(rule: PeakRule, load: SystemLoad, now: datetime, season: int) -> bool:
    """Is it measured load of the rule's system, known by `now`, of that season?"""
    known = load.kind != "forecast" and load.operator == rule.operator and load.known_at <= now
    return known and rule.applies(rule.local_day(load.at)) and season_of(rule, load.at) == season


def season_of(rule: PeakRule, moment: datetime) -> int:
    """The year in which the season of a moment began."""
    day = rule.local_day(moment)
    return day.year if day.month >= rule.season_begins else day.year - 1


def accrued(rule: PeakRule, sites: Iterable[str], peaks: Iterable[PeakSoFar], drawn: DrawnWh) -> list[AccruedShare]:
    """Each site's share of each peak, in whole cents."""
    measured = list(peaks)
    rows = []
    for site_id in sites:
        by_peak = [drawn(site_id, peak.at) for peak in measured]
        least = rule.minimum_billing_share * max((wh for wh in by_peak if wh is not None), default=0.0)
        for peak, wh in zip(measured, by_peak, strict=True):
            billed_w = 0.0 if wh is None else max(wh, least)
            usd = Decimal(repr(billed_w)) / Decimal(1_000_000) * Decimal(repr(rule.usd_per_mw_peak))
            rows.append(AccruedShare(site_id, peak, wh, usd.quantize(CENT, ROUND_HALF_EVEN)))
    return rows
