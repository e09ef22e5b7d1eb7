"""What is known now about prices, the network, weather, demand, orders and the units themselves.

Reads the store incrementally: each step folds only records appended since the last, and reveals each when the
world's clock reaches its `known_at`, so a replay with all its records loaded cannot see ahead. A clock set
back starts the fold anew. A value that cannot be true (NaN, beyond the caps of any market, zero difficulty)
is not folded and is named in `refused`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from tieline.dispatch.inputs.arrays import Floats
from tieline.dispatch.inputs.backlog import Lot
from tieline.dispatch.inputs.series import HISTORY, KEEP, Known, Series, Slots
from tieline.dispatch.inputs.taking import drawable_w, free_w
from tieline.dispatch.settings import Settings, plausible
from tieline.economics import LEAST, hashprice
from tieline.fleet import Fleet, Site
from tieline.fleet.currency import RateBook
from tieline.fleet.partners import Partner, hours_of
from tieline.records import (
    Backlog,
    Commitment,
    Demand,
    ExchangeRate,
    Fault,
    Instruction,
    NetworkTick,
    Outcome,
    Override,
    PartnerAsk,
    PeakOdds,
    PriceTick,
    Record,
    ReservePrice,
    Sample,
    WeatherTick,
)

if TYPE_CHECKING:  # what is planned from an outlook stays free of the store
    from tieline.store import Store

STREAMS: tuple[type[Record], ...] = (
    PriceTick,
    NetworkTick,
    WeatherTick,
    Demand,
    Instruction,
    Override,
    PartnerAsk,
    Fault,
    Commitment,
    PeakOdds,
    ReservePrice,
    ExchangeRate,
    Backlog,
    Sample,
    Outcome,
)
# Of which scenarios are past days.
_PATHS = (PriceTick, Demand, ReservePrice)
_EVER = datetime.min.replace(tzinfo=UTC)
_FOREVER = datetime.max.replace(tzinfo=UTC)
# A page of the store; a step appends a few hundred records.
_PAGE = 5_000
# How far back a start reads: observations of the last hours, the outside world of the last eight days.
_RECENT = timedelta(hours=6)
_MAX_REFUSED = 32
# USD per PH/s and day; the first years, when nobody had a petahash, were near ten million.
MOST_USD_PER_PH = 1e9
# A price is known when its interval has ended, so the last one is an interval old as a rule; two are a silence.
SILENT_AFTER = 2


@dataclass(frozen=True, slots=True)
class Observed:
    """A unit as last heard: `power_w` None: never heard; `held` says why it cannot be moved."""

    known_at: datetime
    power_w: float | None
    held: str | None = None


@dataclass(frozen=True, slots=True)
class SiteView:
    """All that bears on one site in one interval."""

    site: Site
    market_usd_per_mwh: float | None
    price_note: str
    temp_c: float | None
    limit_w: float
    limit_rule: str
    limit_note: str
    unit_overrides: dict[str, Override]
    hold_plan: Override | None
    stuck_share: float
    observed: dict[str, Observed]


@dataclass
class Outlook:
    """The fold. `views(start, end)` is what dispatch decides from."""

    fleet: Fleet
    settings: Settings
    prices: dict[str, Series[float]] = field(default_factory=dict)
    # Prices that cannot be true, in words: an interval whose price was refused has none, not the one before it.
    barred: dict[str, Series[str]] = field(default_factory=dict)
    weather: dict[str, Series[WeatherTick]] = field(default_factory=dict)
    demand: dict[str, Series[Demand]] = field(default_factory=dict)
    network: Series[NetworkTick] = field(default_factory=Series)
    instructions: dict[str, Instruction] = field(default_factory=dict)
    overrides: dict[str, Override] = field(default_factory=dict)
    faults: dict[tuple[str, str, datetime], Fault] = field(default_factory=dict)
    observed: dict[str, Observed] = field(default_factory=dict)
    commitments: dict[str, Commitment] = field(default_factory=dict)
    peak_odds: dict[str, Series[float]] = field(default_factory=dict)
    price_slots: dict[str, Slots] = field(default_factory=dict)
    reserve_slots: dict[str, Slots] = field(default_factory=dict)
    rates: RateBook = field(default_factory=RateBook)
    temp_slots: dict[str, Slots] = field(default_factory=dict)
    wet_slots: dict[str, Slots] = field(default_factory=dict)
    demand_slots: dict[str, Slots] = field(default_factory=dict)
    backlogs: dict[str, Backlog] = field(default_factory=dict)
    # What was worked out from a series, with what it was worked out from; asked each interval, new once an hour.
    worked_out: dict[str, tuple[tuple[int, ...], Floats]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    # What partners ask by the configuration, where they have asked something else since.
    _configured: tuple[Partner, ...] | None = None
    _pending: list[tuple[datetime, int, Record]] = field(default_factory=list)
    _order: int = 0
    _seq: int | None = None
    _now: datetime | None = None

    def read(self, store: Store, now: datetime) -> None:
        """Fold what the store has learned since the last call, as it was known at `now`."""
        if self._now is not None and now < self._now:
            self.__init__(self._written(), self.settings)  # type: ignore[misc]  # anew: what was known then is less
        self._now = now
        self.refused.clear()
        if self._seq is None:
            self._seq = store.last_seq()
            for stream in STREAMS:
                back = _RECENT if stream in (Sample, Outcome) else HISTORY if stream in _PATHS else KEEP
                # What a partner asks stands until it asks something else.
                since = _EVER if stream is PartnerAsk else now - back
                self._await(store.each(stream, since, _FOREVER))
        else:
            # All streams at once: by row number this reads only what is new.
            more = True
            while more:
                page = store.follow(self._seq, _PAGE)
                self._await(s.record for s in page.items if isinstance(s.record, STREAMS))
                self._seq, more = page.last, page.more
        while self._pending and self._pending[0][0] <= now:
            self.learn(heapq.heappop(self._pending)[2])
        self._forget(now)

    def _written(self) -> Fleet:
        """As it was configured."""
        return self.fleet if self._configured is None else self._asking(self._configured)

    def _asking(self, partners: tuple[Partner, ...]) -> Fleet:
        return msgspec.structs.replace(self.fleet, partners=partners)

    def _await(self, records: Iterable[Record]) -> None:
        for record in records:
            self._order += 1
            heapq.heappush(self._pending, (record.known_at, self._order, record))

    def learn(self, record: Record) -> None:
        """Fold one record that is known now."""
        match record:
            case Sample() | Outcome():
                self._learn_unit(record)
            case PriceTick():
                self._learn_price(record)
            case NetworkTick():
                self._learn_network(record)
            case WeatherTick():
                self._learn_weather(record)
            case Demand():
                self._learn_demand(record)
            case Backlog():
                self._learn_backlog(record)
            case Instruction():
                self.instructions[record.instruction_id] = record
            case Override() | PartnerAsk():
                self._hear(record)
            case Commitment():
                self.commitments[record.commitment_id] = record
            case PeakOdds():
                self._learn_odds(record)
            case ExchangeRate():
                self.rates.learn(record.currency, record.at, record.usd_per_unit)
            case ReservePrice():
                length = timedelta(seconds=record.length_s)
                self.reserve_slots.setdefault(record.product, Slots(900)).learn(
                    record.at, length, record.price_usd_per_mw_h
                )
            case Fault():
                self.faults[(record.site_id, record.what, record.at)] = record
            case _:
                pass

    def _hear(self, record: Override | PartnerAsk) -> None:
        """A person's word. From now on a partner asks this, in place of what its configuration says."""
        if isinstance(record, Override):
            self.overrides[record.override_id] = record
            return
        if self._configured is None:
            self._configured = self.fleet.partners
        asked = {"floor_usd_per_mwh": record.floor_usd_per_mwh, "hours": hours_of(record.hours)}
        partners = tuple(
            msgspec.structs.replace(one, **asked) if one.id == record.partner else one for one in self.fleet.partners
        )
        self.fleet = self._asking(partners)

    def _learn_unit(self, record: Sample | Outcome) -> None:
        if isinstance(record, Sample):
            # What refused its last order still counts as refusing: only an outcome clears that.
            before = self.observed.get(record.unit_id)
            held = "refused" if before is not None and before.held == "refused" else None
            silent = record.readings == 0 or record.power_w is None
            self._heard(record.unit_id, record.known_at, record.power_w, "silent" if silent else held)
        elif record.result == "unreachable":
            self._heard(record.unit_id, record.known_at, record.last_known_w, "unreachable")
        else:
            held = "refused" if record.result == "refused" else None
            self._heard(record.unit_id, record.known_at, record.observed_w, held)

    def _learn_network(self, tick: NetworkTick) -> None:
        if _earns(tick):
            self.network.learn(tick.at, tick.known_at, timedelta(0), tick, tick.kind, tick.source)
        else:
            self._refuse(f"network: difficulty {tick.difficulty}, {tick.btc_usd} USD per BTC is absurd")

    def _learn_odds(self, record: PeakOdds) -> None:
        if 0.0 <= record.probability <= 1.0:
            odds = self.peak_odds.setdefault(record.rule, Series())
            length = timedelta(seconds=record.length_s)
            odds.learn(record.at, record.known_at, length, record.probability, record.kind, record.source)

    def _learn_price(self, tick: PriceTick) -> None:
        price, length = tick.price_usd_per_mwh, timedelta(seconds=tick.length_s)
        if not plausible(tick, self.fleet, self.settings):
            words = f"{price:,.10g} USD/MWh"
            barred = self.barred.setdefault(tick.market, Series())
            barred.learn(tick.at, tick.known_at, length, words, tick.kind, tick.source)
            self._refuse(f"{tick.market}: {words} at {tick.at:%m-%d %H:%M} is absurd")
            return
        series = self.prices.setdefault(tick.market, Series())
        series.learn(tick.at, tick.known_at, length, price, tick.kind, tick.source)
        self.price_slots.setdefault(tick.market, Slots(900)).learn(tick.at, length, price)

    def _learn_weather(self, tick: WeatherTick) -> None:
        station, temp, hour = tick.station, tick.temp_c, timedelta(hours=1)
        if temp is not None and not -60.0 <= temp <= 65.0:
            self._refuse(f"{station}: {temp} C is absurd")
            return
        if temp is not None:
            self.temp_slots.setdefault(station, Slots(3600)).learn(tick.at, hour, temp)
            if tick.wet_bulb_c is not None:
                self.wet_slots.setdefault(station, Slots(3600)).learn(tick.at, hour, tick.wet_bulb_c)
        stations = self.weather.setdefault(station, Series())
        stations.learn(tick.at, tick.known_at, hour, tick, tick.kind, tick.source)

    def _learn_demand(self, demand: Demand) -> None:
        rate, length = demand.output_tokens_per_s, timedelta(seconds=demand.length_s)
        if not (math.isfinite(rate) and rate >= 0):
            self._refuse(f"{demand.subject}: demand {rate} is absurd")
            return
        series = self.demand.setdefault(demand.subject, Series())
        series.learn(demand.at, demand.known_at, length, demand, demand.kind, demand.source)
        self.demand_slots.setdefault(demand.subject, Slots(900)).learn(demand.at, length, rate)

    def _learn_backlog(self, backlog: Backlog) -> None:
        amounts = [*(lot.output_tokens for lot in backlog.lots), backlog.day_tokens]
        if any(not (math.isfinite(tokens) and tokens >= 0) for tokens in amounts):
            self._refuse(f"backlog of {backlog.subject}: tokens below 0, or no number")
            return
        before = self.backlogs.get(backlog.subject)
        if before is None or before.known_at <= backlog.known_at:
            self.backlogs[backlog.subject] = backlog

    def _heard(self, unit_id: str, known_at: datetime, power_w: float | None, held: str | None) -> None:
        before = self.observed.get(unit_id)
        if before is not None and before.known_at > known_at:
            return
        if power_w is None and before is not None:
            power_w = before.power_w
        self.observed[unit_id] = Observed(known_at, power_w, held)

    def _refuse(self, why: str) -> None:
        if len(self.refused) < _MAX_REFUSED:
            self.refused.append(why)

    def _forget(self, now: datetime) -> None:
        before = now - KEEP
        for book in (self.prices, self.barred, self.weather, self.demand, self.peak_odds):
            for series in book.values():
                series.forget(before)
        self.network.forget(before)
        for name in [n for n, b in self.backlogs.items() if b.known_at < before]:
            del self.backlogs[name]
        for orders in (self.instructions, self.overrides, self.commitments):
            for name in [n for n, o in orders.items() if o.until < before]:
                del orders[name]
        for key in [k for k, f in self.faults.items() if f.until is not None and f.until < before]:
            del self.faults[key]

    # --- views -------------------------------------------------------------

    def price(self, site: Site, moment: datetime) -> tuple[float | None, str]:
        """The market price that holds at `moment`, or the last one where that is fresh enough, and in words
        what it is. The 15-minute series is preferred where the site has one, until it falls silent: a price that
        ended longer ago than two of its own intervals gives way to one that holds."""
        notes: list[str] = []
        late: tuple[float, str] | None = None
        for market in (site.contract.market_15min, site.contract.market):
            if market is None:
                continue
            known, why = self._market_price(market, moment)
            if known is None:
                notes.append(why)
            elif known.stale <= SILENT_AFTER * known.length:
                return known.value, _price_words(market, known)
            elif late is None:
                late = known.value, _price_words(market, known)
        return (None, "; ".join(notes)) if late is None else late

    def _market_price(self, market: str, moment: datetime) -> tuple[Known[float] | None, str]:
        """One market's price for `moment`, or why there is none."""
        series, barred = self.prices.get(market), self.barred.get(market)
        known = series.at(moment) if series is not None else None
        refused = barred.at(moment) if barred is not None else None
        if refused is not None and (known is None or refused.at > known.at):
            return None, f"{market} says {refused.value} at {refused.at:%H:%M}, which is absurd"
        if known is None:
            return None, f"no price of {market} is known"
        if known.stale > timedelta(seconds=self.settings.price_stale_s):
            return None, f"the last price of {market} ended {_ago(known.stale)} ago"
        return known, ""

    def hashprice(self, moment: datetime) -> tuple[float | None, str]:
        """USD per PH/s and day at `moment` by the newest network reading, or why there is none."""
        known = self.network.at(moment)
        if known is None:
            return None, "no reading of the bitcoin network"
        age = moment - known.at
        if age > timedelta(seconds=self.settings.network_stale_s):
            return None, f"the last reading of the bitcoin network is {_ago(age)} old"
        tick = known.value
        return hashprice(tick.difficulty, tick.subsidy_btc, tick.fee_share, float(tick.btc_usd)), ""

    def temperature(self, site: Site, moment: datetime) -> float | None:
        if site.weather_station is None or (series := self.weather.get(site.weather_station)) is None:
            return None
        known = series.at(moment)
        if known is None or known.value.temp_c is None or known.stale.total_seconds() > self.settings.weather_stale_s:
            return None
        return site.intake_c(known.value.temp_c, known.value.wet_bulb_c)

    def demands(self, moment: datetime) -> dict[tuple[str, str], Demand]:
        """By (model, region); a demand too old to count is absent."""
        demands = {}
        for series in self.demand.values():
            known = series.at(moment)
            if known is not None and known.stale.total_seconds() <= self.settings.demand_stale_s:
                demands[(known.value.model, known.value.region)] = known.value
        return demands

    def inputs_per_output(self, place: tuple[str, str]) -> float:
        """Input tokens that came with an output token of (model, region) last; 0 where that is not known."""
        series = self.demand.get(f"{place[0]}@{place[1]}")
        last = series.last if series is not None else None
        return (
            0.0 if last is None or last.output_tokens_per_s <= 0 else last.input_tokens_per_s / last.output_tokens_per_s
        )

    def owed(self, start: datetime) -> dict[str, list[Lot]]:
        """Batch work by model, most urgent first, due in seconds after `start`; what is past due is over."""
        waiting: dict[str, list[Lot]] = {}
        for backlog in self.backlogs.values():
            for lot in backlog.lots:
                due_s = (lot.due - start).total_seconds()
                if due_s > 0 and lot.output_tokens > 0:
                    waiting.setdefault(backlog.model, []).append(Lot(due_s, lot.output_tokens))
        return {model: sorted(lots, key=lambda lot: (lot.due_s, lot.tokens)) for model, lots in sorted(waiting.items())}

    def _faults(self, site: Site, start: datetime, end: datetime) -> list[Fault]:
        """Those of the site that last into [start, end)."""
        return [
            fault
            for fault in self.faults.values()
            if fault.site_id == site.id and fault.at < end and (fault.until is None or fault.until > start)
        ]

    def _limit(self, site: Site, start: datetime, end: datetime, faults: list[Fault]) -> tuple[float, str, str]:
        """The lowest limit on a site by its interconnect, orders, faults and its owner's hours, W; which, and why."""
        limit_w, rule, why = site.interconnect.limit_w, "interconnect", "interconnect limit"
        for order in self.instructions.values():
            if order.site_id == site.id and order.at < end and order.until > start and order.limit_w < limit_w:
                limit_w, rule = max(0.0, order.limit_w), "instruction"
                why = f"grid order {order.instruction_id} until {order.until:%H:%M}"
        for fault in faults:
            cap = 0.0 if fault.what == "outage" else fault.limit_w
            if cap is not None and cap < limit_w:
                limit_w, rule, why = max(0.0, cap), "fault", f"{fault.what} since {fault.at:%m-%d %H:%M}"
        free = free_w((c for c in self.commitments.values() if c.site_id == site.id), start, end)
        if free > 0.0 and (most_w := drawable_w(site, self.temperature(site, start)) - free) < limit_w:
            limit_w, rule = max(0.0, most_w), "kept free"
            why = f"{free / 1e6:.1f} MW must be free to be drawn when they are called"
        return self._shut(site, start, end) or (limit_w, rule, why)

    def _shut(self, site: Site, start: datetime, end: datetime) -> tuple[float, str, str] | None:
        """The limit outside its owner's hours; None: open."""
        partner = self.fleet.partner_of(site.id)
        if partner is None or not partner.shut(start, end):
            return None
        return 0.0, "partner", f"{partner.name} opens its sites from {partner.asks}"

    def view(self, site: Site, start: datetime, end: datetime) -> SiteView:
        """What bears on a site in [start, end). An order that begins inside the interval binds all of it."""
        market, note = self.price(site, start)
        faults = self._faults(site, start, end)
        limit_w, rule, why = self._limit(site, start, end, faults)
        shares = [f.share for f in faults if f.what == "stuck_rigs" and f.share is not None]
        stuck = max((min(1.0, max(0.0, share)) for share in shares), default=0.0)
        units, hold = {}, None
        for over in self.overrides.values():
            if over.site_id != site.id or over.at >= end or over.until <= start:
                continue
            if over.unit_id is not None:
                units[over.unit_id] = over
            elif over.target_w is None:
                hold = over
            elif over.target_w < limit_w:
                limit_w, rule = max(0.0, over.target_w), "override"
                why = f"override by {over.by} until {over.until:%H:%M}: {over.why}"
        observed = {u.id: self.observed[u.id] for u in site.units if u.id in self.observed}
        temp = self.temperature(site, start)
        return SiteView(site, market, note, temp, limit_w, rule, why, units, hold, stuck, observed)


def _earns(tick: NetworkTick) -> bool:
    """Whether a reading of the network can be true: what a hash earns by it is above nothing and below a marvel."""
    if not (math.isfinite(tick.difficulty) and tick.difficulty > LEAST and tick.btc_usd > 0):
        return False
    return 0.0 < hashprice(tick.difficulty, tick.subsidy_btc, tick.fee_share, float(tick.btc_usd)) <= MOST_USD_PER_PH


def _price_words(market: str, known: Known[float]) -> str:
    if known.stale == timedelta(0):
        return f"{market} {known.kind}" if known.kind == "forecast" else market
    return f"{market}, last price of {known.at:%H:%M}"


def _ago(age: timedelta) -> str:
    hours = age.total_seconds() / 3600.0
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h"
