"""What observing sites would have earned, by day: done, asked by the plans, and the difference in USD.

A site in `observe` is planned like any other and nothing is sent to it. For each interval and mining unit that was
heard:

- done: measured hashrate x hashprice / 24 x what the pool keeps, less measured power x the price at the meter;
- would have: what the plan expected of its setpoint, with the same hashprice and price.

An interval without a price, a hashprice or a reading counts as missing, never as zero. What it assumes is `ASSUMES`.
Page and command print the same days: both ask `observed_in`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from tieline.fleet import Site
from tieline.records import Plan, Sample, Setpoint
from tieline.store import Store

# Days that a report looks back.
MOST_DAYS = 400
# Hashes per second.
PH = 1e15
ASSUMES = (
    "assumes that units would have done what was asked at once and without wear, and that the plan's price and "
    "hashprice held for its interval"
)


@dataclass(frozen=True, slots=True)
class ObservedDay:
    """One site and day (UTC). Hours are unit-hours of mining units; USD are net of power."""

    site_id: str
    day: date
    hours: float
    missing_hours: float
    done_mwh: float
    would_mwh: float
    done_usd: float
    would_usd: float

    @property
    def difference_usd(self) -> float:
        """What following the plans would have added; negative where what was done earned more."""
        return self.would_usd - self.done_usd


def observed_days(
    sites: Iterable[Site], plans: Iterable[Plan], samples: Iterable[Sample], keeps: float
) -> list[ObservedDay]:
    """Days of the sites in `observe`, oldest first. `keeps`: the share of the reward that a pool's fee and rejects
    leave."""
    mining = {group.id: site.id for site in sites if site.mode == "observe" for group in site.rig_groups}
    asked = _asked(plans, mining)
    days: dict[tuple[str, date], list[float]] = {}
    for sample in samples:
        site_id = mining.get(sample.unit_id)
        if site_id is None:
            continue
        sums = days.setdefault((site_id, sample.at.date()), [0.0] * 6)
        hours = sample.length_s / 3600.0
        known = asked.get((sample.unit_id, sample.at))
        figures = None if known is None else _figures(*known, sample, keeps)
        if figures is None:
            sums[1] += hours
            continue
        sums[0] += hours
        for index, value in enumerate(figures, start=2):
            sums[index] += value * hours
    return [ObservedDay(site, day, *sums) for (site, day), sums in sorted(days.items())]


def observed_in(store: Store, sites: Iterable[Site], now: datetime, days: int, keeps: float) -> list[ObservedDay]:
    """The last `days` days of a store, today's included, site by site. Raises StoreError."""
    start = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    observed: list[ObservedDay] = []
    for one in sites:
        plans = store.each(Plan, start, now, subject=one.id)
        samples = store.each(Sample, start, now, subject=one.id)
        observed += observed_days([one], plans, samples, keeps)
    return observed


def _asked(plans: Iterable[Plan], units: Container[str]) -> dict[tuple[str, datetime], tuple[Plan, Setpoint]]:
    """Unit and interval -> what was asked; a plan made anew within its interval replaces the one before."""
    asked: dict[tuple[str, datetime], tuple[Plan, Setpoint]] = {}
    for plan in plans:
        for setpoint in plan.setpoints if plan.mode == "observe" else ():
            before = asked.get((setpoint.unit_id, plan.at))
            if setpoint.unit_id in units and (before is None or before[0].known_at < plan.known_at):
                asked[setpoint.unit_id, plan.at] = (plan, setpoint)
    return asked


def _figures(plan: Plan, asked: Setpoint, sample: Sample, keeps: float) -> tuple[float, float, float, float] | None:
    """(MW done, MW asked, USD/h done, USD/h asked); None where something of it is not known."""
    price, hashprice, power_w, hashrate = plan.price_usd_per_mwh, plan.hashprice_usd, sample.power_w, sample.hashrate_hs
    expected = asked.expected_usd_per_h
    if price is None or hashprice is None or power_w is None or hashrate is None or expected is None:
        return None
    done_usd_per_h = hashrate / PH * hashprice / 24.0 * keeps - power_w / 1e6 * price
    return power_w / 1e6, asked.target_w / 1e6, done_usd_per_h, expected
