"""Rules of coincident peaks as data: which windows count, how many, what a MW in all of them costs.

Read from `peaks.toml` in this package, or from an operator's own copy. Rules change; code should not. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from tieline.fleet import tables
from tieline.fleet.markets import zone_of


class PeakRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A charge on load in a season's coincident peaks.

    Shedding a MW for a peak saves `usd_per_mw_year / peaks` if it is one; the chance of that is a record.
    """

    operator: str
    zone: str
    months: tuple[int, ...]
    peaks: int
    window_s: int
    usd_per_mw_year: float
    name: str = ""
    by: Literal["month", "season"] = "month"
    hours: tuple[int, ...] = tuple(range(24))  # local, in which a peak can begin
    season_begins: int = 1  # month
    status: Literal["in force", "proposed", "ended"] = "in force"
    effective: date | None = None
    ended: date | None = None
    # Share of the highest billed demand below which a bill never falls; 0: none.
    minimum_billing_share: float = 0.0
    billed: Literal["next year", "same year"] = "next year"
    source: str = ""

    def applies(self, day: date) -> bool:
        """`day` is local to the rule."""
        started = self.effective is None or day >= self.effective
        over = self.ended is not None and day >= self.ended
        return self.status == "in force" and started and not over and day.month in self.months

    def local_day(self, moment: datetime) -> date:
        return moment.astimezone(zone_of(self.zone)).date()

    def season(self, day: date) -> str:
        """The stretch that its peaks are counted in: a month, or the season by the year in which it began."""
        if self.by == "month":
            return f"{day:%Y-%m}"
        return str(day.year if day.month >= self.season_begins else day.year - 1)

    @property
    def most(self) -> float:
        """Peaks that one stretch can have."""
        return self.peaks / len(self.months) if self.by == "month" else float(self.peaks)

    def calibrated(self, odds: Sequence[float]) -> float:
        """Factor for the odds of one stretch as far as they are known: together they cannot name more peaks than
        it has."""
        total = sum(odds)
        return 1.0 if total <= self.most else self.most / total

    @property
    def usd_per_mw_peak(self) -> float:
        return self.usd_per_mw_year / self.peaks

    def adder_usd_per_mwh(self, probability: float) -> float:
        """What drawing a MWh in a window costs that may be a peak."""
        return probability * self.usd_per_mw_peak * (1.0 - self.minimum_billing_share) / (self.window_s / 3600.0)


class _RulesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rule: dict[str, PeakRule] = {}


def _problem_of(rule: PeakRule) -> str | None:
    """What is wrong with a rule, and how it is mended; None: nothing."""
    try:
        zone_of(rule.zone)
    except ValueError as error:
        return str(error)
    if not rule.months or not all(1 <= month <= 12 for month in (*rule.months, rule.season_begins)):
        return f"months {list(rule.months)}; give months from 1 to 12"
    if not rule.hours or not all(0 <= hour <= 23 for hour in rule.hours):
        return f"hours {list(rule.hours)}; give local hours from 0 to 23"
    if rule.peaks < 1 or rule.usd_per_mw_year < 0 or not 0.0 <= rule.minimum_billing_share <= 1.0:
        return "give peaks from 1, a rate from 0 and a minimum_billing_share from 0 to 1"
    if rule.window_s < 300 or 3600 % rule.window_s:
        return f"window_s {rule.window_s} is no part of an hour; give 900, 1800 or 3600"
    return None


def read_peaks(text: str, file: str) -> dict[str, PeakRule]:
    """Every rule of a table, by name. Raises TableError."""
    return tables.named(tables.parsed(text, file, _RulesFile).rule, f"{file}: rule", _problem_of)


@lru_cache(maxsize=1)
def shipped_rules() -> Mapping[str, PeakRule]:
    """The rules that come with the package."""
    return read_peaks(tables.shipped_text("peaks.toml"), "peaks.toml")


def load_peaks(path: Path) -> dict[str, PeakRule]:
    """An operator's own rules. Raises TableError."""
    return tables.loaded(path, read_peaks, "peak rules")
