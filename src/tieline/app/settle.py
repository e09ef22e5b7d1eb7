"""Settlement: once an hour has ended, what the pool pays for it and what its power cost.

Both are made from samples and prices as they are in the store, have keys of their own, and are therefore
made once however often this runs. An hour waits for the samples of every unit: a site that is cut off sends
them when it is back. It does not wait for ever (a platform that was stopped has no samples to send), and what
is missing then earns nothing and makes the bill an estimate.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import datetime, timedelta

import msgspec

from tieline.books import mean_hashrate_hs, power_bill
from tieline.clock import Interval, intervals
from tieline.config import Config
from tieline.feeds.pools import SimulatedFpps
from tieline.fleet import NodeGroup, Site
from tieline.fleet.physics import GPU_AUX, aux_share
from tieline.records import NetworkTick, Payout, Plan, PowerBill, Sample, WeatherTick
from tieline.store import Store

log = logging.getLogger("tieline.settle")

HOUR = timedelta(hours=1)
# Samples of a site that was cut off arrive late; two days covers a long outage of a link.
LOOK_BACK = timedelta(hours=48)
# A pool pays within hours whatever we know of it; a power bill may wait for a longer outage.
PAY_AFTER, BILL_AFTER = timedelta(hours=1), timedelta(hours=6)
# The last samples of an hour are pushed within seconds; a minute is ample for a healthy link.
GRACE = timedelta(minutes=1)


class Settler:
    """Makes Payout and PowerBill records for hours that have ended."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store
        self._pool = SimulatedFpps(name=config.pool.name, fee=config.pool.fee, rejects=config.pool.rejects)
        self._settled: set[datetime] = set()

    def step(self, now: datetime) -> None:
        """Settle every hour of the last two days that is not settled yet, oldest first."""
        last = Interval.holding(now - GRACE, HOUR).start
        for hour in intervals(last - LOOK_BACK, last, HOUR):
            if hour.start not in self._settled and self.settle(hour, now):
                self._settled.add(hour.start)
        self._settled = {start for start in self._settled if start >= last - LOOK_BACK}

    def settle(self, hour: Interval, now: datetime) -> bool:
        """True when the hour needs nothing more: paid and billed, now or before."""
        paid = self._store.between(Payout, hour.end, hour.end + timedelta(microseconds=1))
        billed = {bill.site_id for bill in self._store.between(PowerBill, hour.start, hour.end)}
        if paid and len(billed) == len(self._config.fleet.sites):
            return True
        samples = self._store.between(Sample, hour.start, hour.end)
        if not samples:
            return False
        heard_s: dict[str, float] = defaultdict(float)
        for sample in samples:
            heard_s[sample.unit_id] += sample.length_s
        whole = {
            site.id: all(heard_s[unit.id] >= HOUR.total_seconds() for unit in site.units)
            for site in self._config.fleet.sites
        }
        if not paid and (all(whole.values()) or now >= hour.end + PAY_AFTER):
            self._pay(hour, samples, now)
        bills = [
            bill
            for site in self._config.fleet.sites
            if site.id not in billed
            and (whole[site.id] or now >= hour.end + BILL_AFTER)
            and (bill := self._bill(site, hour, samples, whole[site.id])) is not None
        ]
        self._store.append(bills)
        return len(billed) + len(bills) == len(self._config.fleet.sites)

    def _pay(self, hour: Interval, samples: list[Sample], now: datetime) -> None:
        rate = mean_hashrate_hs(samples, hour.start, hour.end)
        network = self._store.latest(NetworkTick, min(now, hour.end))
        if rate is None or not network:
            return
        try:
            payout = self._pool.payout(hour.start, rate, network[0])
        except ValueError as error:
            log.warning("no payout for %s: %s", hour.start.isoformat(), error)
            return
        if payout is not None:
            self._store.append([payout])

    def _bill(self, site: Site, hour: Interval, samples: list[Sample], whole: bool) -> PowerBill | None:
        """Prices are those the site's plans were made at; the energy is what was metered."""
        plans = self._store.between(Plan, hour.start, hour.end, subject=site.id)
        prices = {plan.at: plan.price_usd_per_mwh for plan in plans if plan.price_usd_per_mwh is not None}
        weather = self._store.latest(WeatherTick, hour.end, site.weather_station) if site.weather_station else []
        temp = weather[0].temp_c if weather else None
        temp_c = None if temp is None else temp + site.temp_offset_c
        nodes = frozenset(unit.id for unit in site.units if isinstance(unit, NodeGroup))
        share = GPU_AUX if nodes and not site.rig_groups else aux_share(site.cooling, temp_c)
        bill = power_bill(site.id, hour, samples, prices, nodes, share, source=f"site:{site.id}")
        if bill is None or whole or bill.kind == "simulated":
            return bill
        return msgspec.structs.replace(bill, kind="estimated")
