"""Settlement by cause: what an hour's shortfall was due to, and how each promise, order and peak window went.

Folds the store into Shortfall and Performance records, each made once: their keys are the hour's and the event's own.
An hour is split when its samples are in; an event is settled when it has ended and its load is known, or six hours
later with what is known then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from tieline.books.baselines import BASELINES, BEFORE_AFTER, TEN_OF_TEN
from tieline.books.causes import CALLED, Lost, SiteLog, add_interval, calls_of, shortfall
from tieline.books.performance import Load, MeteredLoads, PeakWindow, deployment, obeyed, peak, reserve
from tieline.clock import Interval
from tieline.dispatch.inputs.foresight import applying
from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet, Site
from tieline.fleet.peaks import PeakRule
from tieline.records import (
    Cause,
    Commitment,
    Fault,
    Instruction,
    Kind,
    NetworkTick,
    Outcome,
    PeakOdds,
    Performance,
    Plan,
    Sample,
    Shortfall,
)
from tieline.settlement.truth import Truth
from tieline.store import Store

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# A plan is valid for a quarter hour, a day-old one for a site that holds; an order stands for at most a fortnight.
PLANS_BACK, ORDERS_BACK = timedelta(hours=1), timedelta(days=14)
# The last samples of an event are pushed within seconds of an interval's end; a site that was cut off tells later.
GRACE, LATE = timedelta(minutes=6), timedelta(hours=6)
LOOK_BACK = timedelta(hours=48)
# Windows less likely than this to be a peak are not worth a line a site.
PEAK_ODDS = 0.05


class Causes:
    """Splits hours. Remembers from one to the next why each unit was short, for load that comes back in stages."""

    def __init__(self, fleet: Fleet, keeps: float) -> None:
        self.fleet, self.keeps = fleet, keeps
        self._before: dict[str, dict[str, Cause]] = defaultdict(dict)

    def split(
        self,
        site: Site,
        hour: Interval,
        plans: Sequence[Plan],
        log: SiteLog,
        network: NetworkTick | None,
        temp_at: Callable[[str, datetime], float | None],
        source: str,
    ) -> Shortfall | None:
        """One site's hour; None where it has no rigs or nothing was heard. `plans` and `log` are this site's."""
        if not site.rig_groups:
            return None
        spans: dict[tuple[datetime, int], list[Sample]] = defaultdict(list)
        for sample in log.samples:
            spans[sample.at, sample.length_s].append(sample)
        total = Lost()
        for (at, length_s), samples in sorted(spans.items()):
            interval = Interval(at, timedelta(seconds=length_s))
            plan = _in_force(plans, interval)
            temp_c, before = temp_at(site.id, at), self._before[site.id]
            add_interval(total, site, interval, plan, replace(log, samples=samples), temp_c, before)
        if total.full_wh <= 0:
            return None
        simulated = any(s.kind == "simulated" for s in log.samples)
        kind: Kind = "simulated" if simulated else "estimated" if total.unheard_s else "measured"
        return shortfall(total, site.id, hour, network, self.keeps, source, kind)

    def hour(
        self, store: Store, hour: Interval, sites: Iterable[Site], temp_at: Callable[[str, datetime], float | None]
    ) -> list[Shortfall]:
        """Those of one hour for these sites, from the store."""
        network = store.latest(NetworkTick, hour.end)
        records = []
        for site in sites:
            plans = store.between(Plan, hour.start - PLANS_BACK, hour.end, subject=site.id)
            samples = store.between(Sample, hour.start, hour.end, subject=site.id)
            outcomes = store.between(Outcome, hour.start - HOUR, hour.end, subject=site.id)
            orders = newest(store.between(Instruction, hour.start - ORDERS_BACK, hour.end, subject=site.id))
            faults = _ends(store.between(Fault, hour.start - ORDERS_BACK, hour.end, subject=site.id))
            tick = network[0] if network else None
            log = SiteLog(samples, outcomes, orders, faults)
            one = self.split(site, hour, plans, log, tick, temp_at, f"site:{site.id}")
            if one is not None:
                records.append(one)
        return records


class Lived:
    """The same for hours that are lived through in memory: a replay, a demo's past."""

    def __init__(self, fleet: Fleet, keeps: float, source: str) -> None:
        self.causes, self.source = Causes(fleet, keeps), source
        self._plans: dict[str, list[Plan]] = defaultdict(list)
        self._samples: dict[str, list[Sample]] = defaultdict(list)

    def add(self, batch: Iterable[object]) -> None:
        for one in batch:
            if isinstance(one, Plan):
                self._plans[one.site_id].append(one)
            elif isinstance(one, Sample):
                self._samples[one.site_id].append(one)

    def close_hour(self, hour: Interval, truth: Truth) -> list[Shortfall]:
        """One per site whose samples of the hour are in; a site without its link tells too late for this."""
        records = []
        network = truth.network(hour.start)
        for site in self.causes.fleet.sites:
            samples = [s for s in self._samples.pop(site.id, []) if s.at in hour]
            mine = self._plans[site.id]
            orders = newest(o for o in truth.orders if o.site_id == site.id)
            log = SiteLog(samples, (), orders, [f for f in truth.faults if f.site_id == site.id])
            one = self.causes.split(site, hour, mine, log, network, truth.temperature, self.source)
            self._plans[site.id] = mine[-1:]
            if one is not None:
                records.append(one)
        return records


def events(store: Store, fleet: Fleet, settings: Settings, now: datetime) -> list[Performance]:
    """Performances of what ended in the last two days and is not settled yet."""
    done = {p.key for p in store.between(Performance, now - ORDERS_BACK - LOOK_BACK, now)}
    rules = applying(fleet, settings, now)
    return [
        p
        for site in fleet.sites
        for p in _of_site(store, site, [rule for rule in rules if fleet.pays(site, rule)], now, done)
    ]


def _of_site(
    store: Store, site: Site, rules: Sequence[PeakRule], now: datetime, done: set[str]
) -> Iterator[Performance]:
    start, soon = now - ORDERS_BACK, now + timedelta(microseconds=1)
    commitments = store.between(Commitment, start, now + ORDERS_BACK, subject=site.id, now=now)
    orders = newest(store.between(Instruction, start, soon, subject=site.id))
    calls = calls_of(commitments)
    days = {a.date() for _, a, _ in calls} | {o.at.date() for o in orders}
    meter = StoreMeter(store, site)

    def called(moment: datetime) -> bool:
        """On the day of `moment`, a day before its own event."""
        return moment.date() in days

    def due(at: datetime, until: datetime, key: str) -> bool:
        """Ended, not settled, and heard in whole or given up on."""
        if key in done or not now - LOOK_BACK < until + GRACE <= now:
            return False
        return meter.unheard_s(at, until) == 0 or now >= until + LATE

    source = f"site:{site.id}"
    for promise in newest_promises(commitments):
        if due(promise.at, promise.until, f"reserve|{promise.commitment_id}|{promise.at.isoformat()}"):
            mine = [(a, b) for c, a, b in calls if c.commitment_id == promise.commitment_id]
            yield reserve(promise, mine, orders, meter, source=source, kind=meter.kind)
    for call, a, b in calls:
        if due(a, b, f"deployment|{call.commitment_id}|{a.isoformat()}"):
            rule = BASELINES.get(call.baseline, BEFORE_AFTER)
            yield deployment(call, a, b, meter, rule, called, source=source, kind=meter.kind)
    for order in orders:
        ours = order.instruction_id.startswith(CALLED) or order.until <= order.at
        if not ours and due(order.at, order.until, f"order|{order.instruction_id}|{order.at.isoformat()}"):
            yield obeyed(order, meter, source=source, kind=meter.kind)
    for charge, odds in _windows(store, rules, now):
        at, end = odds.at, odds.at + timedelta(seconds=odds.length_s)
        if due(at, end, f"peak|{charge.name}@{site.id}|{at.isoformat()}|{at.isoformat()}"):
            window = PeakWindow(charge.name, at, end, odds.probability, charge.usd_per_mw_peak)
            yield peak(site.id, window, meter, TEN_OF_TEN, called, source=source, kind=meter.kind)


class StoreMeter(MeteredLoads):
    """A site's load out of the store, read a span at a time: a baseline looks at hours of many days."""

    def __init__(self, store: Store, site: Site) -> None:
        super().__init__(())
        self.store, self.site = store, site
        self.simulated = False

    @property
    def kind(self) -> Kind:
        return "simulated" if self.simulated else "measured"

    def within(self, start: datetime, end: datetime) -> list[Load]:
        samples = self.store.between(Sample, start - HOUR, end, subject=self.site.id)
        self.simulated = self.simulated or any(s.kind == "simulated" for s in samples)
        return [one for one in loads_of(samples, self.site) if one.at < end and one.until > start]


def loads_of(samples: Iterable[Sample], site: Site) -> list[Load]:
    """Site load by span; None where not every unit was heard."""
    spans: dict[tuple[datetime, int], dict[str, float | None]] = defaultdict(dict)
    for sample in samples:
        spans[sample.at, sample.length_s][sample.unit_id] = sample.power_w
    units = {unit.id for unit in site.units}
    loads = []
    for (at, length_s), readings in sorted(spans.items()):
        known = [w for w in readings.values() if w is not None]
        whole = set(readings) >= units and len(known) == len(readings)
        loads.append(Load(at, at + timedelta(seconds=length_s), sum(known) if whole else None))
    return loads


def newest(orders: Iterable[Instruction]) -> list[Instruction]:
    """Each order as it was last told."""
    held: dict[str, Instruction] = {}
    for order in sorted(orders, key=lambda o: o.known_at):
        held[order.instruction_id] = order
    return sorted(held.values(), key=lambda o: (o.at, o.instruction_id))


def newest_promises(commitments: Iterable[Commitment]) -> list[Commitment]:
    """Each promise that was accepted, as it was accepted last; one that was let go ends there."""
    held: dict[str, Commitment] = {}
    for one in sorted(commitments, key=lambda c: c.known_at):
        if one.status == "accepted":
            held[one.commitment_id] = one
        elif one.status == "released" and one.commitment_id in held:
            before = held[one.commitment_id]
            until = max(before.at, min(before.until, one.known_at))
            held[one.commitment_id] = msgspec.structs.replace(before, until=until)
    return sorted((c for c in held.values() if c.at < c.until), key=lambda c: (c.at, c.commitment_id))


def _in_force(plans: Sequence[Plan], interval: Interval) -> Plan | None:
    mine = [p for p in plans if p.at <= interval.start < p.valid_until]
    return max(mine, key=lambda p: (p.at, p.known_at), default=None)


def _ends(faults: Iterable[Fault]) -> list[Fault]:
    """Each fault as it was last told, its end included."""
    held: dict[tuple[str, datetime], Fault] = {}
    for fault in sorted(faults, key=lambda f: f.known_at):
        held[fault.what, fault.at] = fault
    return list(held.values())


def _windows(store: Store, rules: Sequence[PeakRule], now: datetime) -> Iterator[tuple[PeakRule, PeakOdds]]:
    for rule in rules:
        newest: dict[datetime, PeakOdds] = {}
        for odds in store.between(PeakOdds, now - LOOK_BACK - HOUR, now, subject=rule.name, now=now):
            if odds.known_at <= odds.at:
                newest[odds.at] = odds
        for at in sorted(newest):
            if newest[at].probability >= PEAK_ODDS:
                yield rule, newest[at]
