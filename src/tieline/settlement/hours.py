"""Settlement: once an hour has ended, what the pool pays for it, what its power cost, and why mining was below full.

All are made from samples, plans and prices as they are in the store, have keys of their own, and are therefore made
once however often this runs. An hour waits for the samples of every unit: a site that is cut off sends them when it is
back. It does not wait for ever (a platform that was stopped has no samples to send), and what is missing then earns
nothing and makes the bill an estimate. Promises, orders and peak windows are settled when they have ended.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec

from tieline.books import demand_bill, mean_hashrate_hs, power_bill, sale_of
from tieline.books.accounts import IMMATURE_PLACE, matured_id
from tieline.clock import Interval, intervals
from tieline.config import Config
from tieline.dispatch.contracts import cost_usd, power_cost
from tieline.dispatch.demand_charge import ratchet_w
from tieline.dispatch.inputs.foresight import rules_of
from tieline.dispatch.settings import settings_of
from tieline.economics import SATS_PER_BTC, matures_in
from tieline.feeds.pools import SimulatedPool, simulated_pool
from tieline.fleet import NodeGroup, Site
from tieline.fleet.currency import RateBook
from tieline.fleet.physics import GPU_AUX, aux_share
from tieline.records import (
    Deployed,
    ExchangeRate,
    NetworkTick,
    Opening,
    Payout,
    PowerBill,
    PriceTick,
    Sample,
    Shortfall,
    Transfer,
    WeatherTick,
)
from tieline.settlement.causes import Causes, events
from tieline.settlement.month import BEGINNING
from tieline.settlement.peaks import new_charges
from tieline.settlement.truth import Truth
from tieline.store import Store, StoreError

log = logging.getLogger("tieline.settle")

HOUR = timedelta(hours=1)
# Samples of a site that was cut off arrive late; two days covers a long outage of a link.
LOOK_BACK = timedelta(hours=48)
# A pool pays within hours whatever we know of it; a power bill may wait for a longer outage.
PAY_AFTER, BILL_AFTER = timedelta(hours=1), timedelta(hours=6)
# The last samples of an hour are pushed within seconds; a minute is ample for a healthy link.
GRACE = timedelta(minutes=1)
# A rate holds over weekends and holidays; what is older is stale.
RATES_BACK = timedelta(days=8)
# A hundred blocks take seventeen hours; where none was looked at since a start, all there are.
MATURES_WITHIN, EVER_MATURED = timedelta(days=3), timedelta(days=400)
# How often promises, orders and peak windows are looked at that may have ended.
EVENTS_EVERY = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class HourState:
    """How far an hour's settlement has come: whether it is paid for, and each site's newest bill."""

    hour: Interval
    sites: int
    paid: bool
    late: bool  # samples are waited for no longer
    stands: dict[str, PowerBill]

    @property
    def measured(self) -> set[str]:
        """Sites whose bill needs no correction."""
        return {site_id for site_id, bill in self.stands.items() if bill.kind != "estimated"}

    @property
    def done(self) -> bool:
        return self.paid and len(self.measured) == self.sites

    @property
    def waits(self) -> bool:
        """Only samples that come late can change anything: it is looked at again now and then."""
        return self.late and len(self.stands) == self.sites

    def due(self, site_id: str, heard_whole: bool) -> bool:
        """Whether a site is to be billed, or its estimate corrected."""
        return site_id not in self.measured and (heard_whole or (self.late and site_id not in self.stands))


class Settler:
    """Makes Payout and PowerBill records for hours that have ended."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store
        self._pool = _pool(config)
        self._settings = settings_of(config)
        self._causes = Causes(config.fleet, self._settings.keeps)
        self._settled: set[datetime] = set()
        self._events_at: datetime | None = None
        self._peaks_on: date | None = None
        self._looked: dict[datetime, datetime] = {}
        # What could not be settled: when it was last tried, and why not.
        self._unsettled: dict[str, tuple[datetime, str]] = {}
        self._now = BEGINNING

    def step(self, now: datetime) -> None:
        """Settle every hour of the last two days that is not settled yet, oldest first."""
        self._now = now
        last = Interval.holding(now - GRACE, HOUR).start
        for hour in intervals(last - LOOK_BACK, last, HOUR):
            if hour.start in self._settled:
                continue
            with self._alone(f"the hour from {hour.start.isoformat()}"):
                if self.settle(hour, now):
                    self._settled.add(hour.start)
        self._settled = {start for start in self._settled if start >= last - LOOK_BACK}
        self._looked = {start: when for start, when in self._looked.items() if start >= last - LOOK_BACK}
        self._unsettled = {what: why for what, why in self._unsettled.items() if why[0] >= last - LOOK_BACK}
        with self._alone("last month's demand charges"):
            self._demand_bills(now)
        quarter = Interval.holding(now, EVENTS_EVERY).start
        if self._config.pool.scheme == "solo" and self._events_at != quarter:
            with self._alone("blocks of one's own that may be spent"):
                self._mature(now, now - (MATURES_WITHIN if self._events_at is not None else EVER_MATURED))
        if self._events_at != quarter:
            self._events_at = quarter
            with self._alone("promises and orders that have ended"):
                self._store.append(events(self._store, self._config.fleet, self._settings, now))
        if self._peaks_on != now.date():
            with self._alone("charges of coincident peaks that are over"):
                rules = rules_of(self._config.fleet, self._settings)
                self._store.append(new_charges(self._store, self._config.fleet, rules, now))
                self._peaks_on = now.date()

    @contextlib.contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """What cannot be settled is said once, is tried again at the next step, and stops nothing beside it."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # a record that a formula cannot take must not stop the hours after it
            why = f"{type(error).__name__}: {error}"
            if self._unsettled.get(what, (None, ""))[1] != why:
                log.error("%s cannot be settled: %s", what, why)
            self._unsettled[what] = (self._now, why)

    def settle(self, hour: Interval, now: datetime) -> bool:
        """True when the hour needs nothing more: paid, and billed as it was measured."""
        state = self._state(hour, now)
        if state.done:
            return True
        if state.waits and now < self._looked.get(hour.start, BEGINNING) + HOUR:
            return False
        self._looked[hour.start] = now
        samples = self._store.between(Sample, hour.start, hour.end)
        if not samples:
            return False
        whole = self._heard_whole(samples)
        paid = state.paid
        if not paid and (len(whole) == state.sites or now >= hour.end + PAY_AFTER):
            with self._alone(f"the payout for the hour from {hour.start.isoformat()}"):
                paid = self._pay(hour, samples, now)
        billed = self._bill_hour(state, samples, whole, now)
        measured = state.measured | {bill.site_id for bill in billed if bill.kind != "estimated"}
        return paid and len(measured) == state.sites

    def _state(self, hour: Interval, now: datetime) -> HourState:
        # Without a simulated pool payouts are entered: an hour waits for none.
        paid = self._pool is None or bool(self._store.between(Payout, hour.end, hour.end + timedelta(microseconds=1)))
        late = now >= hour.end + BILL_AFTER
        return HourState(hour, len(self._config.fleet.sites), paid, late, self._standing_bills(hour))

    def _bill_hour(self, state: HourState, samples: list[Sample], whole: set[str], now: datetime) -> list[PowerBill]:
        """Bill each site that was heard for the whole hour, or has no bill yet when it is late, and say why mining was
        below full. Returns the bills."""
        hour, sites = state.hour, self._config.fleet.sites
        due = [one for one in sites if state.due(one.id, one.id in whole)]
        split = {one.site_id for one in self._store.between(Shortfall, hour.start, hour.end)}
        ready = [site for site in sites if site.id not in split and (site.id in whole or state.late)]
        if not due and not ready:
            return []
        truth = self._truth(hour)
        bills = [bill for s in due if (bill := self._bill(s, hour, samples, s.id in whole, truth)) is not None]
        # A correction is known now; a first word at the end of the hour, however often it is made.
        dated = [msgspec.structs.replace(b, known_at=now) if b.site_id in state.stands else b for b in bills]
        self._store.append([*dated, *self._causes.hour(self._store, hour, ready, truth.temperature)])
        return bills

    def _standing_bills(self, hour: Interval) -> dict[str, PowerBill]:
        """The newest bill of each site for the hour; one that was estimated is made again when its samples come."""
        bills = self._store.between(PowerBill, hour.start, hour.end)
        hourly = [bill for bill in bills if bill.length_s == HOUR.total_seconds()]
        return {bill.site_id: bill for bill in sorted(hourly, key=lambda b: b.known_at)}

    def _heard_whole(self, samples: list[Sample]) -> set[str]:
        """Sites of which every unit was heard for the whole hour."""
        heard_s: dict[str, float] = defaultdict(float)
        for sample in samples:
            heard_s[sample.unit_id] += sample.length_s
        full = HOUR.total_seconds()
        return {s.id for s in self._config.fleet.sites if all(heard_s[unit.id] >= full for unit in s.units)}

    def _demand_bills(self, now: datetime) -> None:
        """Last month's charge for its highest hour, once, when the month's hours are billed."""
        rates = RateBook()
        for rate in self._store.between(ExchangeRate, now - RATES_BACK, now, now=now):
            rates.learn(rate.currency, rate.at, rate.usd_per_unit)
        fleet, _ = self._config.fleet.at_rates(rates, now)
        paying = [s for s in fleet.sites if s.contract.demand_usd_per_kw_month > 0]
        for site in paying:
            end = site.contract.demand_month(now)[0]
            if not end + BILL_AFTER <= now < end + LOOK_BACK:
                continue
            start = site.contract.demand_month(end - HOUR)[0]
            bills = self._store.between(PowerBill, start, end, subject=site.id)
            if bills and not any(b.length_s > HOUR.total_seconds() for b in bills):
                held_w = ratchet_w(self._store, site, start, now)
                self._store.append([demand_bill(site, start, end, bills, held_w)])

    def _pay(self, hour: Interval, samples: list[Sample], now: datetime) -> bool:
        """Whether nothing is left to pay. Raises ValueError for a network that no payout follows from."""
        if self._pool is None:
            return True
        rate = mean_hashrate_hs(samples, hour.start, hour.end)
        network = self._store.latest(NetworkTick, min(now, hour.end))
        if rate is None or not network:
            return False
        for payout in self._pool.payouts(hour.start, rate, network[0]):
            # What cannot be spent yet is sold by nobody.
            sale = None if payout.block is not None else sale_of(payout, self._config.treasury.sell_share)
            self._store.append([payout] if sale is None else [payout, sale])
        return True

    def _mature(self, now: datetime, since: datetime) -> None:
        """Coins of simulated blocks of one's own that have a hundred blocks above them, to where they may be spent."""
        tip = next((one.height for one in self._store.latest(NetworkTick, now) if one.height is not None), None)
        blocks = [one for one in self._store.between(Payout, since, now) if one.block is not None]
        if tip is None or not blocks:
            return
        moved = {one.transfer_id for one in self._store.between(Transfer, since, now + timedelta(microseconds=1))}
        self._store.append(
            Transfer(
                at=now, known_at=now, source=f"simulated pool, block {tip}", kind="simulated",
                transfer_id=matured_id(one.payout_id), sats=one.sats, from_place=IMMATURE_PLACE, to_place=one.place,
                lots=(one.payout_id,),
            )
            for one in blocks
            if one.kind == "simulated" and one.block is not None and not matures_in(one.block, tip)
            and matured_id(one.payout_id) not in moved
        )  # fmt: skip

    def note_deployed(self, at: datetime) -> None:
        """What stands on the racks from `at` on, where that is not what was noted last."""
        fleet = self._config.fleet
        known = self._store.latest(Deployed, at)
        if known and (known[0].hashrate_hs, known[0].sites) == (fleet.deployed_hs, len(fleet.sites)):
            return
        deployed = Deployed(
            at=at,
            known_at=at,
            source="configuration",
            kind="measured",
            hashrate_hs=fleet.deployed_hs,
            sites=len(fleet.sites),
        )
        self._store.append([deployed])

    def open_books(self, at: datetime, simulated: bool) -> None:
        """Opening balances, once: the store's first word on money."""
        self.note_deployed(at)
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
        prices = self._store.between(PriceTick, start, hour.end)
        weather = self._store.between(WeatherTick, start, hour.end)
        rates = self._store.between(ExchangeRate, hour.start - RATES_BACK, hour.end)
        return Truth([*prices, *weather, *rates], self._config.fleet, self._settings)

    def _bill(self, site: Site, hour: Interval, samples: list[Sample], whole: bool, truth: Truth) -> PowerBill | None:
        """At the prices that held, which for a real-time market are known later than the plan was made."""
        nodes = frozenset(unit.id for unit in site.units if isinstance(unit, NodeGroup))
        temp_c = truth.temperatures(hour.start)[site.id]
        cooling = {group.id: aux_share(site.cooling_of(group), temp_c) for group in site.rig_groups}
        resale_discount = self._settings.resale_discount

        def usd_per_h(moment: datetime, load_w: float) -> float | None:
            market = truth.market_price(site, moment)
            limit_w = site.interconnect.limit_w
            power = power_cost(truth.contract(site, moment), market, limit_w, resale_discount, moment)
            return None if power is None else cost_usd(power, load_w, 1.0)

        def aux(unit_id: str) -> float:
            return GPU_AUX if unit_id in nodes else cooling.get(unit_id, aux_share(site.cooling, temp_c))

        bill = power_bill(site.id, hour, samples, usd_per_h, nodes, aux, source=f"site:{site.id}")
        if bill is None:
            return None
        bill = msgspec.structs.replace(bill, fence=self._store.fence_number)
        if whole or bill.kind == "simulated":
            return bill
        return msgspec.structs.replace(bill, kind="estimated")


def _pool(config: Config) -> SimulatedPool | None:
    """The simulated pool where there is one: where the file says so, or it says nothing and the fleet is invented."""
    sites = config.fleet.sites
    simulated = config.pool.simulated
    if simulated is None:
        simulated = bool(sites) and all(site.invented for site in sites)
    pool = config.pool
    if not simulated:
        return None
    return simulated_pool(pool.scheme, pool.name, pool.fee, pool.rejects, pool.others_ehs * 1e18)
