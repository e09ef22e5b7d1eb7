"""Demand charges: what a site's highest hour of the month costs, and what one more MW of it would.

Up to the demand that is billed anyway (the highest hour so far of the local month, the contract's minimum, or its
ratchet over the eleven months before) a MW adds nothing; above it each MW that stays for the rest of the month pays the
charge once, spread over the hours that are charged and left; outside those hours nothing is charged. The highest hour
is read off power bills, so that what is decided on is what will be billed. What a new peak adds to later months by the
ratchet is not counted: it binds only where these draw less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from tieline.clock import Interval
from tieline.dispatch.contracts import PowerCost
from tieline.dispatch.inputs.arrays import Floats
from tieline.dispatch.inputs.horizon import Grid
from tieline.fleet import Contract, Fleet, Site
from tieline.records import Plan, PowerBill

if TYPE_CHECKING:
    from tieline.store import Store

HOUR = timedelta(hours=1)
# A ratchet looks back over as many months, the usual rule of tariffs that have one.
RATCHET_MONTHS = 11


@dataclass
class Demands:
    """The highest charged hour of each paying site's running local month, and what its ratchet holds."""

    fleet: Fleet
    peak_w: dict[str, float] = field(default_factory=dict)
    ratchet_w: dict[str, float] = field(default_factory=dict)
    _read: datetime | None = None
    _month: dict[str, datetime] = field(default_factory=dict)

    @property
    def paying(self) -> list[Site]:
        return [s for s in self.fleet.sites if s.contract.demand_usd_per_kw_month > 0]

    def read(self, store: Store, now: datetime, last: Mapping[str, Plan]) -> None:
        """Once an hour from the bills; what was last asked counts for the hour that is not billed yet."""
        if not self.paying:
            return
        hour = Interval.holding(now, HOUR).start
        fresh, self._read = self._read != hour, hour
        for site in self.paying:
            month = site.contract.demand_month(now)[0]
            if self._month.get(site.id) != month:
                self._month[site.id] = month
                self.peak_w[site.id] = 0.0
                self.ratchet_w[site.id] = ratchet_w(store, site, month, now)
            if fresh:
                bills = store.between(PowerBill, month, now, now=now, subject=site.id)
                self._rise(site.id, highest_w(bills, site.contract))
            plan = last.get(site.id)
            if plan is not None and plan.at >= month and site.contract.charges_demand(plan.at):
                self._rise(site.id, sum(point.target_w for point in plan.setpoints))

    def _rise(self, site_id: str, watts: float) -> None:
        self.peak_w[site_id] = max(self.peak_w.get(site_id, 0.0), watts)

    def sunk_w(self, site: Site) -> float:
        least = site.contract.demand_minimum_share * site.interconnect.limit_w
        return max(self.peak_w.get(site.id, 0.0), self.ratchet_w.get(site.id, 0.0), least)

    def of(self, site: Site, now: datetime) -> tuple[float, float] | None:
        """(watts that cost nothing more, USD/MWh above them); None where no demand is charged now."""
        if not site.contract.charges_demand(now):
            return None
        return self.sunk_w(site), adder_usd_per_mwh(site.contract, now)

    def ahead(self, steps: Grid) -> dict[int, tuple[float, Floats]]:
        """By site index what look-ahead needs: watts that cost nothing more, and (T,) USD/MWh above them. Steps of the
        next month are weighed against this month's level, which is too high for them in its last two days."""
        ahead = {}
        for n, site in enumerate(self.fleet.sites):
            if site.contract.demand_usd_per_kw_month <= 0:
                continue
            contract, starts = site.contract, [steps.start + timedelta(seconds=int(s)) for s in steps.offset_s]
            hours = [Interval.holding(at, HOUR).start for at in starts]
            adder = {at: adder_usd_per_mwh(contract, at) if contract.charges_demand(at) else 0.0 for at in set(hours)}
            ahead[n] = self.sunk_w(site), np.array([adder[at] for at in hours])
        return ahead


def adder_usd_per_mwh(contract: Contract, now: datetime) -> float:
    """A new MW of demand over the charged hours that are left of its month, one at least."""
    end = contract.demand_month(now)[1]
    if not contract.demand_hours:
        left = (end - now) / HOUR
    else:
        first = Interval.holding(now, HOUR).start
        left = float(sum(contract.charges_demand(first + n * HOUR) for n in range(round((end - first) / HOUR))))
    return contract.demand_usd_per_kw_month * 1_000.0 / max(1.0, left)


def with_demand(cost: PowerCost, demand: tuple[float, float] | None) -> PowerCost:
    """`cost` is of a contract without take-or-pay: the configuration refuses both at once."""
    if demand is None:
        return cost
    sunk_w, adder = demand
    return PowerCost(cost.price_usd_per_mwh + adder, cost.price_usd_per_mwh, sunk_w)


def ratchet_w(store: Store, site: Site, month: datetime, now: datetime) -> float:
    """What a month that begins at `month` is charged for at least, by the highest hour of the eleven months before."""
    contract, begin = site.contract, month
    if contract.demand_ratchet_share <= 0:
        return 0.0
    for _ in range(RATCHET_MONTHS):
        begin = contract.demand_month(begin - HOUR)[0]
    bills = store.between(PowerBill, begin, month, now=now, subject=site.id)
    return contract.demand_ratchet_share * highest_w(bills, contract)


def highest_w(bills: list[PowerBill], contract: Contract) -> float:
    """The highest hourly mean load that was billed, of the hours that the contract charges."""
    hourly = (b for b in bills if b.length_s == HOUR.total_seconds() and contract.charges_demand(b.at))
    return max((b.mining_wh + b.inference_wh + b.aux_wh for b in hourly), default=0.0)
