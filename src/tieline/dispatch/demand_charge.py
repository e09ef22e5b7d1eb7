"""Demand charges: what a site's highest hour of the month costs, and what one more MW of it would.

Up to the demand that is billed anyway (the month's highest hour so far, or the contract's minimum) a MW adds nothing;
above it each MW that stays for the rest of the month pays the charge once, spread over the hours that are left. The
month's highest hour is read off its power bills, so that what is decided on is what will be billed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tieline.clock import Interval
from tieline.dispatch.contracts import PowerCost
from tieline.fleet import Contract, Fleet, Site
from tieline.records import Plan, PowerBill

if TYPE_CHECKING:
    from tieline.store import Store

HOUR = timedelta(hours=1)


@dataclass
class Demands:
    """The highest hour of the running month (UTC) of each site that pays for it."""

    fleet: Fleet
    peak_w: dict[str, float] = field(default_factory=dict)
    _read: datetime | None = None
    _month: datetime | None = None

    @property
    def paying(self) -> list[Site]:
        return [s for s in self.fleet.sites if s.contract.demand_usd_per_kw_month > 0]

    def read(self, store: Store, now: datetime, last: Mapping[str, Plan]) -> None:
        """Once an hour from the bills; what was last asked counts for the hour that is not billed yet."""
        if not self.paying:
            return
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        hour = Interval.holding(now, HOUR).start
        if self._month != month:
            self.peak_w, self._month = {}, month
        if self._read != hour:
            self._read = hour
            for site in self.paying:
                bills = store.between(PowerBill, month, now, now=now, subject=site.id)
                self._rise(site.id, highest_w(bills))
        for site in self.paying:
            plan = last.get(site.id)
            if plan is not None and plan.at >= month:
                self._rise(site.id, sum(point.target_w for point in plan.setpoints))

    def _rise(self, site_id: str, watts: float) -> None:
        self.peak_w[site_id] = max(self.peak_w.get(site_id, 0.0), watts)

    def sunk_w(self, site: Site) -> float:
        return max(self.peak_w.get(site.id, 0.0), site.contract.demand_minimum_share * site.interconnect.limit_w)

    def binds(self, site: Site) -> bool:
        """Whether the site could draw more than is billed anyway."""
        return site.contract.demand_usd_per_kw_month > 0 and self.sunk_w(site) < site.interconnect.limit_w

    def of(self, site: Site, now: datetime) -> tuple[float, float] | None:
        """(watts that cost nothing more, USD/MWh above them); None where no demand is charged."""
        if site.contract.demand_usd_per_kw_month <= 0:
            return None
        return self.sunk_w(site), adder_usd_per_mwh(site.contract, now)


def adder_usd_per_mwh(contract: Contract, now: datetime) -> float:
    """A new MW of demand over the hours that are left of its month, one at least."""
    end = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)
    return contract.demand_usd_per_kw_month * 1_000.0 / max(1.0, (end - now) / HOUR)


def with_demand(cost: PowerCost, demand: tuple[float, float] | None) -> PowerCost:
    """`cost` is of a contract without take-or-pay: the configuration refuses both at once."""
    if demand is None:
        return cost
    sunk_w, adder = demand
    return PowerCost(cost.price_usd_per_mwh + adder, cost.price_usd_per_mwh, sunk_w)


def highest_w(bills: list[PowerBill]) -> float:
    """The highest hourly mean load that was billed."""
    return max(
        (b.mining_wh + b.inference_wh + b.aux_wh for b in bills if b.length_s == HOUR.total_seconds()), default=0.0
    )
