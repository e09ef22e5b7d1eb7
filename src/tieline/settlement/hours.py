"""Settlement: once an hour has ended, what the pool pays for it, what its power cost, and why mining was below full.

All are made from samples, plans and prices as they are in the store, have keys of their own, and are therefore made
once however often this runs. An hour waits for the samples of every unit: a site that is cut off sends them when it is
back. It does not wait for ever (a platform that was stopped has no samples to send), and what is missing then earns
nothing and makes the bill an estimate. Promises, orders and peak windows are settled when they have ended.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from tieline.books import demand_bill, mean_hashrate_hs, power_bill
from tieline.clock import Interval, intervals
from tieline.config import Config
from tieline.dispatch import Settings
from tieline.dispatch.contracts import cost_usd, power_cost
from tieline.economics import SATS_PER_BTC
from tieline.feeds.pools import SimulatedFpps
from tieline.fleet import NodeGroup, Site
from tieline.fleet.physics import GPU_AUX, aux_share
from tieline.records import NetworkTick, Opening, Payout, PowerBill, PriceTick, Sample, Shortfall, Trade, WeatherTick
from tieline.settlement.causes import Causes, events
from tieline.settlement.truth import Truth
from tieline.store import Store

log = logging.getLogger("tieline.settle")

HOUR = timedelta(hours=1)
# Samples of a site that was cut off arrive late; two days covers a long outage of a link.
LOOK_BACK = timedelta(hours=48)
# A pool pays within hours whatever we know of it; a power bill may wait for a longer outage.
PAY_AFTER, BILL_AFTER = timedelta(hours=1), timedelta(hours=6)
# The last samples of an hour are pushed within seconds; a minute is ample for a healthy link.
GRACE = timedelta(minutes=1)
# How often promises, orders and peak windows are looked at that may have ended.
EVENTS_EVERY = timedelta(minutes=15)


class Settler:
    """Makes Payout and PowerBill records for hours that have ended."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store
        self._pool = SimulatedFpps(name=config.pool.name, fee=config.pool.fee, rejects=config.pool.rejects)
        self._settings = Settings(pool_fee=config.pool.fee, rejects=config.pool.rejects)
        self._causes = Causes(config.fleet, self._settings.keeps)
        self._settled: set[datetime] = set()
        self._events_at: datetime | None = None

    def step(self, now: datetime) -> None:
        """Settle every hour of the last two days that is not settled yet, oldest first."""
        last = Interval.holding(now - GRACE, HOUR).start
        for hour in intervals(last - LOOK_BACK, last, HOUR):
            if hour.start not in self._settled and self.settle(hour, now):
                self._settled.add(hour.start)
        self._settled = {start for start in self._settled if start >= last - LOOK_BACK}
        self._demand_bills(now)
        quarter = Interval.holding(now, EVENTS_EVERY).start
        if self._events_at != quarter:
            self._events_at = quarter
            self._store.append(events(self._store, self._config.fleet, self._settings, now))

    def settle(self, hour: Interval, now: datetime) -> bool:
        """True when the hour needs nothing more: paid and billed, now or before."""
        paid = self._store.between(Payout, hour.end, hour.end + timedelta(microseconds=1))
        bills = self._store.between(PowerBill, hour.start, hour.end)
        billed = {bill.site_id for bill in bills if bill.length_s == HOUR.total_seconds()}
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
        truth = self._truth(hour)
        bills = [
            bill
            for site in self._config.fleet.sites
            if site.id not in billed
            and (whole[site.id] or now >= hour.end + BILL_AFTER)
            and (bill := self._bill(site, hour, samples, whole[site.id], truth)) is not None
        ]
        split = {one.site_id for one in self._store.between(Shortfall, hour.start, hour.end)}
        ready = [
            site
            for site in self._config.fleet.sites
            if site.id not in split and (whole[site.id] or now >= hour.end + BILL_AFTER)
        ]
        self._store.append([*bills, *self._causes.hour(self._store, hour, ready, truth.temperature)])
        return len(billed) + len(bills) == len(self._config.fleet.sites)

    def _demand_bills(self, now: datetime) -> None:
        """Last month's charge for its highest hour, once, when the month's hours are billed."""
        paying = [s for s in self._config.fleet.sites if s.contract.demand_usd_per_kw_month > 0]
        end = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        if not paying or not end + BILL_AFTER <= now < end + LOOK_BACK:
            return
        start = (end - timedelta(days=1)).replace(day=1)
        for site in paying:
            bills = self._store.between(PowerBill, start, end, subject=site.id)
            if bills and not any(b.length_s > HOUR.total_seconds() for b in bills):
                self._store.append([demand_bill(site, start, end, bills)])

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
            sale = self._sale(payout)
            self._store.append([payout] if sale is None else [payout, sale])

    def _sale(self, payout: Payout) -> Trade | None:
        """The configured share of a payout, sold at once at its own price on a simulated desk, without a fee."""
        sats = int(payout.sats * self._config.treasury.sell_share)
        if sats < 1 or payout.btc_usd is None:
            return None
        return Trade(
            at=payout.at,
            known_at=payout.at,
            source="simulated desk",
            kind="simulated",
            trade_id=f"sale-of:{payout.payout_id}",
            sats=sats,
            price_usd=payout.btc_usd,
            fee_usd=Decimal(0),
            venue="simulated desk",
        )

    def open_books(self, at: datetime, simulated: bool) -> None:
        """Opening balances, once: the store's first word on money."""
        treasury = self._config.treasury
        if self._store.holds(Opening):
            return
        self._store.append(
            [
                Opening(
                    at=at,
                    known_at=at,
                    source="configuration",
                    kind="simulated" if simulated else "measured",
                    opening_id="opening",
                    cash_usd=treasury.opening_usd,
                    sats=int(treasury.opening_btc * SATS_PER_BTC),
                    cost_usd=treasury.opening_btc_cost_usd or Decimal(0),
                )
            ]
        )

    def _truth(self, hour: Interval) -> Truth:
        """Prices and weather that held in the hour; a value may hold for a day from when it began."""
        start = hour.start - timedelta(days=1)
        prices, weather = (self._store.between(t, start, hour.end) for t in (PriceTick, WeatherTick))
        return Truth([*prices, *weather], self._config.fleet)  # type: ignore[list-item]

    def _bill(self, site: Site, hour: Interval, samples: list[Sample], whole: bool, truth: Truth) -> PowerBill | None:
        """At the prices that held, which for a real-time market are known later than the plan was made."""
        nodes = frozenset(unit.id for unit in site.units if isinstance(unit, NodeGroup))
        cooling = aux_share(site.cooling, truth.temperatures(hour.start)[site.id])
        resale_discount = Settings().resale_discount

        def usd_per_h(moment: datetime, load_w: float) -> float | None:
            market = truth.market_price(site, moment)
            power = power_cost(site.contract, market, site.interconnect.limit_w, resale_discount)
            return None if power is None else cost_usd(power, load_w, 1.0)

        def aux(unit_id: str) -> float:
            return GPU_AUX if unit_id in nodes else cooling

        bill = power_bill(site.id, hour, samples, usd_per_h, nodes, aux, source=f"site:{site.id}")
        if bill is None or whole or bill.kind == "simulated":
            return bill
        return msgspec.structs.replace(bill, kind="estimated")
