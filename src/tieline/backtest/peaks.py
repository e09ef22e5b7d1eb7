"""Coincident peaks of recorded days: the windows that were, their odds as they became known, what a MW in them cost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from tieline.dispatch.inputs.arrays import Floats
from tieline.dispatch.inputs.foresight import window_adder
from tieline.dispatch.inputs.horizon import Grid
from tieline.fleet import Fleet
from tieline.fleet.peaks import PeakRule
from tieline.records import PeakOdds


@dataclass(frozen=True, slots=True)
class Peak:
    """A window that was one of its rule's peaks."""

    rule: PeakRule
    at: datetime

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.rule.window_s)


@dataclass(frozen=True)
class Peaks:
    """All of a run. `odds` in order of `at`, then of when they were known; the last one known counts."""

    fleet: Fleet
    rules: tuple[PeakRule, ...] = ()
    was: tuple[Peak, ...] = ()
    odds: Mapping[str, tuple[PeakOdds, ...]] = field(default_factory=dict)
    _ats: dict[str, list[datetime]] = field(init=False, repr=False)
    _sites: dict[str, list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ats", {name: [one.at for one in odds] for name, odds in self.odds.items()})
        sites = {r.name: [n for n, s in enumerate(self.fleet.sites) if self.fleet.pays(s, r)] for r in self.rules}
        object.__setattr__(self, "_sites", sites)

    @classmethod
    def none(cls) -> Peaks:
        return cls(Fleet(name="", sites=()))

    @classmethod
    def of(cls, fleet: Fleet, rules: tuple[PeakRule, ...], was: tuple[Peak, ...], odds: list[PeakOdds]) -> Peaks:
        by_rule: dict[str, list[PeakOdds]] = {}
        for one in sorted(odds, key=lambda o: (o.at, o.known_at)):
            by_rule.setdefault(one.rule, []).append(one)
        return cls(fleet, rules, was, {name: tuple(newest) for name, newest in by_rule.items()})

    def __bool__(self) -> bool:
        return bool(self.was or self.odds)

    def known(
        self, rule: str, start: datetime, end: datetime, now: datetime
    ) -> list[tuple[datetime, timedelta, float]]:
        """Windows that begin in [start, end) with their odds as known at `now`."""
        ats = self._ats.get(rule, [])
        newest: dict[datetime, PeakOdds] = {}
        for one in self.odds.get(rule, ())[bisect_left(ats, start) : bisect_left(ats, end)]:
            if one.known_at <= now:
                newest[one.at] = one
        return [(at, timedelta(seconds=one.length_s), one.probability) for at, one in newest.items()]

    def adders(self, steps: Grid, now: datetime, wide: int = 1, *, perfect: bool = False) -> dict[int, Floats]:
        """By site index, (T,) USD/MWh that a chance of a peak adds; `perfect`: the peaks that were, for sure."""
        adders: dict[int, Floats] = {}
        end = steps.start + timedelta(seconds=int(steps.offset_s[-1] + steps.length_s[-1]))
        for rule in self.rules:
            if not rule.applies(rule.local_day(now)):
                continue
            start = steps.start - timedelta(seconds=rule.window_s) + timedelta(microseconds=1)
            windows = (
                [(p.at, p.length, 1.0) for p in self.was if p.rule is rule and start <= p.at < end]
                if perfect
                else self.known(rule.name, start, end, now)
            )
            if not windows:
                continue
            adder = window_adder(rule, windows, steps, wide)
            for n in self._sites[rule.name]:
                adders[n] = adders.get(n, 0.0) + adder
        return adders

    def charge_usd(self, start: datetime, seconds: float, site_w: Floats) -> float:
        """What load over [start, start + seconds) costs in peaks that it lies in."""
        total, end = 0.0, start + timedelta(seconds=seconds)
        for peak in self.was:
            if peak.at < end and peak.at + peak.length > start:
                inside = (min(end, peak.at + peak.length) - max(start, peak.at)).total_seconds()
                megawatts = sum(float(site_w[n]) for n in self._sites[peak.rule.name]) / 1e6
                total += megawatts * peak.rule.adder_usd_per_mwh(1.0) * inside / 3600.0
        return total

    def charges(self, starts: list[datetime], seconds: int) -> Floats:
        """(T, N) USD/MWh that true peaks add to steps of `seconds`."""
        out = np.zeros((len(starts), len(self.fleet.sites)))
        for peak in self.was:
            for t in range(max(0, bisect_left(starts, peak.at - timedelta(seconds=seconds))), len(starts)):
                start, end = starts[t], starts[t] + timedelta(seconds=seconds)
                if start >= peak.at + peak.length:
                    break
                inside = (min(end, peak.at + peak.length) - max(start, peak.at)).total_seconds()
                if inside > 0:
                    out[t, self._sites[peak.rule.name]] += peak.rule.adder_usd_per_mwh(1.0) * inside / seconds
        return out
