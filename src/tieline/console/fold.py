"""The records of the last day, folded to what a page shows; kept up record by record.

Knows no HTTP, no store and no clock: it is given (sequence number, record) pairs in the store's order, and
the time. A figure that was not heard stays None and is counted as not heard; it is never taken as zero.
Samples are at the meter, auxiliary load included; the split is the site's own cooling (`fleet.physics`).
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tieline.clock import FIVE_MINUTES, Interval
from tieline.console.placed import Placed
from tieline.console.traffic import RefusedAtDoors, Traffic
from tieline.economics import hashprice
from tieline.fleet import Fleet, NodeGroup, RigGroup, Site
from tieline.fleet.physics import GPU_AUX, aux_share
from tieline.records import (
    Action,
    Commitment,
    DoorRefusals,
    Fault,
    Instruction,
    MeterReading,
    NetworkTick,
    Opening,
    Outcome,
    Override,
    Payout,
    Performance,
    Plan,
    PowerBill,
    PriceTick,
    Proposal,
    ProposalStep,
    Reason,
    Record,
    ReplicaState,
    Sample,
    Setpoint,
    Shortfall,
    Trade,
    Usage,
    WeatherTick,
)

T = TypeVar("T", bound=Record)

STEP = FIVE_MINUTES
STEP_S = int(STEP.total_seconds())
# A page shows one day; two hours more so that its left edge is whole while the day moves on.
KEEP = timedelta(hours=26)
# A site's page splits one day by cause, and shows the last promises and orders that were settled.
HOURS_SHORT, PERFORMANCES = 26, 12
# Day-ahead prices are published about 36 hours ahead; further forecasts are not drawn.
AHEAD = timedelta(hours=36)
# About two hours of decisions where every site changes in every interval, a day of them where few do.
MAX_DECISIONS = 1_000
# A unit's target that moved by less is the same decision.
SAME_SHARE, SAME_W = 0.02, 50_000.0
# A treasury proposes a few sales a week; a year of them and of what was said fits.
MAX_PROPOSALS = 2_000
# Records that cannot be shown are named one by one up to this many; beyond it they are counted.
MAX_UNFIT = 20

log = logging.getLogger("tieline.console")


@dataclass(frozen=True, slots=True)
class Unit:
    """One rig group or node group, with what the fold needs of its site."""

    site: Site
    group: RigGroup | NodeGroup

    @property
    def id(self) -> str:
        return self.group.id

    @property
    def mining(self) -> bool:
        return isinstance(self.group, RigGroup)


@dataclass(slots=True)
class UnitSums:
    """One unit in one interval: time-weighted sums."""

    heard_s: float = 0.0
    power_ws: float = 0.0
    hash_s: float = 0.0
    hash_hs_s: float = 0.0
    tokens: float | None = None


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """The fleet (or one site) in one interval. None: nobody was heard."""

    start: datetime
    mining_w: float | None
    inference_w: float | None
    aux_w: float | None
    limit_w: float
    hashrate_hs: float | None
    modelled_tokens_s: float | None
    real_tokens: int
    heard: int
    missing: int


@dataclass(slots=True)
class Bucket:
    start: datetime
    cells: dict[str, UnitSums] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)  # site -> watts over all its units
    real_tokens: int = 0
    requests: int = 0
    row: IntervalRow | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A record with its permanent reference."""

    seq: int
    record: Record


@dataclass(frozen=True, slots=True)
class SetpointChange:
    """One unit's setpoint as it was and as it is."""

    unit_id: str
    before_w: float | None
    after_w: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class WatchEntry:
    """Something that a person on watch reads: a plan that differs from the one before it, a grid order, a
    fault, an operator's word."""

    seq: int
    at: datetime
    site_id: str
    record: Plan | Instruction | Commitment | Fault | Override | Action
    changes: tuple[SetpointChange, ...] = ()


class Fold:
    """What a page shows, from records in the store's order."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.units = {g.id: Unit(s, g) for s in fleet.sites for g in s.units}
        self.sites = {s.id: s for s in fleet.sites}
        self.seq = 0
        self.buckets: dict[datetime, Bucket] = {}
        self.samples: dict[str, tuple[int, Sample]] = {}
        self.outcomes: dict[str, tuple[int, Outcome]] = {}
        self.meters: dict[str, tuple[int, MeterReading]] = {}
        self.plans: dict[str, tuple[int, Plan]] = {}
        self.prices: dict[str, dict[datetime, tuple[int, PriceTick]]] = {}
        self.network: tuple[int, NetworkTick] | None = None
        self.hashprices: dict[datetime, float] = {}
        self.weather: dict[str, tuple[int, WeatherTick]] = {}
        # Changes with each record of money: what the month is a fold of.
        self.money = 0
        self.replicas: dict[str, tuple[int, ReplicaState]] = {}
        self.traffic, self.placed, self.refused = Traffic(), Placed(), RefusedAtDoors()
        self.decisions: deque[WatchEntry] = deque(maxlen=MAX_DECISIONS)
        self.overrides: dict[str, tuple[int, Override]] = {}
        self.actions: deque[tuple[int, Action]] = deque(maxlen=200)
        self.faults: dict[tuple[str, str], tuple[int, Fault]] = {}
        self.shortfalls: dict[str, deque[tuple[int, Shortfall]]] = {}
        self.performances: dict[str, deque[tuple[int, Performance]]] = {}
        self.commitments: dict[str, tuple[int, Commitment]] = {}
        self.instructions: dict[str, tuple[int, Instruction]] = {}
        # stream name -> {(source, kind): newest at}: what the banner says is real and what is not.
        self.origins: dict[str, dict[tuple[str, str], datetime]] = {}
        # Records that could not be folded, the last of them by name, and how many there were.
        self.unfit: deque[tuple[int, str]] = deque(maxlen=MAX_UNFIT)
        self.unfit_count = 0
        self._newest: datetime | None = None
        self._past: dict[str, Plan] = {}
        self._price_times: dict[str, list[datetime]] = {}
        # What waits for a second person, and what was said to it.
        self.proposals: dict[str, Proposal | ProposalStep] = {}
        self._takes: dict[type[Record], Callable[[int, Any], None]] = {
            Sample: self._sample,
            Plan: self._plan,
            PriceTick: self._price,
            Outcome: self._outcome,
            MeterReading: self._meter,
            NetworkTick: self._network,
            WeatherTick: self._weather,
            ReplicaState: self._replica,
            Usage: self._usage,
            DoorRefusals: lambda seq, one: self.refused.add(one),
            Override: self._override,
            Action: self._action,
            Fault: self._fault,
            Commitment: self._commitment,
            Instruction: self._instruction,
            Shortfall: self._shortfall,
            Performance: self._performance,
            Proposal: self._proposal,
            ProposalStep: self._proposal,
            **dict.fromkeys((Payout, Trade, PowerBill, Opening), self._money),
        }

    def apply(self, seq: int, record: Record) -> None:
        """Fold one record in. Records of units and sites that this fleet does not have are passed over; one that
        cannot be shown is named in `unfit` and in the log, and what comes after it is folded all the same."""
        self.seq = max(self.seq, seq)
        try:
            self._apply(seq, record)
        except Exception as error:  # whatever is wrong with one record, the page goes on without it
            self.unfit_count += 1
            self.unfit.append((seq, f"cannot be shown: {type(record).__name__} {seq}: {error}"))
            if self.unfit_count <= MAX_UNFIT:
                log.warning("%s", self.unfit[-1][1])

    def _apply(self, seq: int, record: Record) -> None:
        self._origin(record)
        take = self._takes.get(type(record))
        if take is not None:
            take(seq, record)

    # --- one method per kind of record ---------------------------------------------------------

    def _outcome(self, seq: int, outcome: Outcome) -> None:
        if _newer(self.outcomes.get(outcome.unit_id), outcome):
            self.outcomes[outcome.unit_id] = (seq, outcome)

    def _meter(self, seq: int, reading: MeterReading) -> None:
        if _newer(self.meters.get(reading.site_id), reading):
            self.meters[reading.site_id] = (seq, reading)

    def _weather(self, seq: int, tick: WeatherTick) -> None:
        if tick.kind != "forecast" and _newer(self.weather.get(tick.station), tick):
            self.weather[tick.station] = (seq, tick)

    def _replica(self, seq: int, state: ReplicaState) -> None:
        if _newer(self.replicas.get(state.replica_id), state):
            self.replicas[state.replica_id] = (seq, state)

    def _usage(self, seq: int, usage: Usage) -> None:
        self.money += 1
        self.traffic.add(seq, usage)
        bucket = self._bucket(usage.at)
        if bucket is not None:
            bucket.real_tokens += usage.output_tokens
            bucket.requests += 1

    def _override(self, seq: int, held: Override) -> None:
        self.overrides[held.override_id] = (seq, held)
        self._say(WatchEntry(seq, held.known_at, held.site_id, held))

    def _action(self, seq: int, action: Action) -> None:
        self.actions.append((seq, action))
        if action.source != "people":  # who has an account is for the audit, not for who runs the fleet
            self._say(WatchEntry(seq, action.at, _site_of(action.target), action))

    def _fault(self, seq: int, fault: Fault) -> None:
        self.faults[fault.site_id, fault.what] = (seq, fault)
        self._say(WatchEntry(seq, fault.at, fault.site_id, fault))

    def _commitment(self, seq: int, promise: Commitment) -> None:
        self.commitments[promise.commitment_id] = (seq, promise)
        self._say(WatchEntry(seq, promise.known_at, promise.site_id, promise))

    def _instruction(self, seq: int, order: Instruction) -> None:
        self.instructions[order.instruction_id] = (seq, order)
        self._say(WatchEntry(seq, order.known_at, order.site_id, order))

    def _shortfall(self, seq: int, hour: Shortfall) -> None:
        self.money += 1
        self.shortfalls.setdefault(hour.site_id, deque(maxlen=HOURS_SHORT)).append((seq, hour))

    def _performance(self, seq: int, settled: Performance) -> None:
        self.money += 1
        self.performances.setdefault(settled.site_id, deque(maxlen=PERFORMANCES)).append((seq, settled))

    def _money(self, seq: int, record: Record) -> None:
        self.money += 1

    def _proposal(self, seq: int, record: Proposal | ProposalStep) -> None:
        self.proposals[record.key] = record
        while len(self.proposals) > MAX_PROPOSALS:
            del self.proposals[next(iter(self.proposals))]

    def _sample(self, seq: int, sample: Sample) -> None:
        if sample.unit_id not in self.units:
            return
        if _newer(self.samples.get(sample.unit_id), sample):
            self.samples[sample.unit_id] = (seq, sample)
        # A coarser sample (an hour of the past) speaks for each interval that it covers.
        spans = max(1, sample.length_s // STEP_S)
        for n in range(min(spans, 24)):
            bucket = self._bucket(sample.at + n * STEP)
            if bucket is not None:
                self._add(bucket.cells.setdefault(sample.unit_id, UnitSums()), sample, spans)

    @staticmethod
    def _add(cell: UnitSums, sample: Sample, spans: int) -> None:
        seconds = sample.length_s / spans
        if sample.power_w is not None:
            cell.heard_s += seconds
            cell.power_ws += sample.power_w * seconds
        if sample.hashrate_hs is not None:
            cell.hash_s += seconds
            cell.hash_hs_s += sample.hashrate_hs * seconds
        if sample.tokens is not None:
            cell.tokens = (cell.tokens or 0.0) + sample.tokens / spans

    def _plan(self, seq: int, plan: Plan) -> None:
        if plan.site_id not in self.sites:
            return
        bucket = self._bucket(plan.at)
        if bucket is not None:
            bucket.limits[plan.site_id] = plan.limit_w
            bucket.asked[plan.site_id] = sum(setpoint.target_w for setpoint in plan.setpoints)
        before = self.plans.get(plan.site_id)
        if _newer(before, plan):
            self.plans[plan.site_id] = (seq, plan)
            self.placed.take(seq, plan)
            earlier = before[1] if before else None
        else:  # told late: compared with the plan told late before it
            earlier = self._past.get(plan.site_id)
            self._past[plan.site_id] = plan
        changes = tuple(changes_between(earlier, plan, self.units))
        if changes:
            self._say(WatchEntry(seq, plan.at, plan.site_id, plan, changes))

    def _price(self, seq: int, tick: PriceTick) -> None:
        ticks = self.prices.setdefault(tick.market, {})
        _keep(ticks, seq, tick)
        self._price_times.pop(tick.market, None)
        if len(ticks) > 1_200:  # 26 h back and 36 h ahead at 5 minutes is 744; drop what no page shows
            newest = self._newest or tick.at
            for at in [a for a in ticks if a < newest - KEEP or a > newest + AHEAD]:
                del ticks[at]
            for at in sorted(ticks)[: max(0, len(ticks) - 1_200)]:
                del ticks[at]

    def _network(self, seq: int, tick: NetworkTick) -> None:
        if tick.kind == "forecast":
            return
        price = hashprice(tick.difficulty, tick.subsidy_btc, tick.fee_share, float(tick.btc_usd))
        if _newer(self.network, tick):
            self.network = (seq, tick)
        self.hashprices[tick.at] = price
        if len(self.hashprices) > 1_000:
            for at in sorted(self.hashprices)[:200]:
                del self.hashprices[at]

    def _say(self, decision: WatchEntry) -> None:
        """A past that is told late must not push out what was decided just now."""
        if self._newest is None or decision.at >= self._newest - KEEP:
            self.decisions.append(decision)

    def _origin(self, record: Record) -> None:
        self._newest = record.known_at if self._newest is None else max(self._newest, record.known_at)
        origins = self.origins.setdefault(type(record).__name__, {})
        source = "site" if record.source.startswith("site:") else record.source
        known = origins.get((source, record.kind))
        if known is not None or len(origins) < 32:  # a stream has a handful of sources; 32 is a broken feed
            origins[source, record.kind] = record.known_at if known is None else max(known, record.known_at)

    def _bucket(self, at: datetime) -> Bucket | None:
        """The interval's bucket, marked as changed; None where it is older than a page shows."""
        start = Interval.holding(at, STEP).start
        newest = self._newest or at
        if start < newest - KEEP:
            return None
        bucket = self.buckets.get(start)
        if bucket is None:
            bucket = self.buckets[start] = Bucket(start)
            for old in [s for s in self.buckets if s < newest - KEEP]:
                del self.buckets[old]
        bucket.row = None
        return bucket

    # --- read ----------------------------------------------------------------------------------

    def rows(self, since: datetime | None = None) -> list[IntervalRow]:
        """The fleet by interval, in order; only changed intervals are summed anew."""
        out = []
        for start in sorted(self.buckets):
            if since is not None and start < since:
                continue
            bucket = self.buckets[start]
            if not bucket.cells and bucket.real_tokens == 0:
                continue
            if bucket.row is None:
                bucket.row = self._sum(bucket, self.units.values(), self.fleet.sites)
            out.append(bucket.row)
        return out

    def site_rows(self, site: Site) -> list[IntervalRow]:
        units = [self.units[g.id] for g in site.units]
        buckets = (self.buckets[s] for s in sorted(self.buckets))
        return [self._sum(b, units, (site,)) for b in buckets if any(u.id in b.cells for u in units)]

    def asked_w(self, site: Site) -> list[tuple[datetime, float]]:
        """The site's total setpoint by the plan of each interval, where it moved."""
        steps: list[tuple[datetime, float]] = []
        for start in sorted(self.buckets):
            asked = self.buckets[start].asked.get(site.id)
            if asked is not None and (not steps or steps[-1][1] != asked):
                steps.append((start, asked))
        return steps

    def temp_c(self, site: Site) -> float | None:
        """Air temperature at a site, as its station last told it, with the site's own offset."""
        known = self.weather.get(site.weather_station or "")
        tick = known[1] if known else None
        return None if tick is None or tick.temp_c is None else site.intake_c(tick.temp_c, tick.wet_bulb_c)

    def split(self, unit: Unit, power_w: float) -> tuple[float, float]:
        """(load, auxiliary) watts of a unit's power at the meter."""
        share = aux_share(unit.site.cooling_of(unit.group), self.temp_c(unit.site)) if unit.mining else GPU_AUX
        load = power_w / (1.0 + share)
        return load, power_w - load

    def _sum(self, bucket: Bucket, units: Iterable[Unit], sites: Iterable[Site]) -> IntervalRow:
        mining = inference = aux = hashes = tokens = 0.0
        answering = missing = hash_heard = token_heard = 0
        for unit in units:
            cell = bucket.cells.get(unit.id)
            if cell is None or cell.heard_s == 0:
                missing += 1
                continue
            answering += 1
            load, extra = self.split(unit, cell.power_ws / cell.heard_s)
            aux += extra
            if unit.mining:
                mining += load
            else:
                inference += load
            if cell.hash_s:
                hash_heard += 1
                hashes += cell.hash_hs_s / cell.hash_s
            if cell.tokens is not None:
                token_heard += 1
                tokens += cell.tokens / cell.heard_s
        return IntervalRow(
            start=bucket.start,
            mining_w=mining if answering else None,
            inference_w=inference if answering else None,
            aux_w=aux if answering else None,
            limit_w=sum(bucket.limits.get(s.id, s.interconnect.limit_w) for s in sites),
            hashrate_hs=hashes if hash_heard else None,
            modelled_tokens_s=tokens if token_heard else None,
            real_tokens=bucket.real_tokens,
            heard=answering,
            missing=missing,
        )

    def price_now(self, market: str | None, now: datetime) -> tuple[int, PriceTick] | None:
        """The price that holds at `now`, by the newest word on it; None where none does."""
        ticks = self.prices.get(market or "", {})
        times = self._price_times.get(market or "")
        if times is None:
            times = self._price_times[market or ""] = sorted(ticks)
        index = bisect_right(times, now) - 1
        if index < 0:
            return None
        seq, tick = ticks[times[index]]
        return (seq, tick) if now < tick.at + timedelta(seconds=tick.length_s) else None

    def hashprice_now(self) -> float | None:
        if self.network is None:
            return None
        tick = self.network[1]
        return hashprice(tick.difficulty, tick.subsidy_btc, tick.fee_share, float(tick.btc_usd))


def changes_between(before: Plan | None, after: Plan, units: dict[str, Unit]) -> Iterable[SetpointChange]:
    """Which setpoints moved, or are now bound by another rule."""
    old: dict[str, Setpoint] = {s.unit_id: s for s in before.setpoints} if before else {}
    for setpoint in after.setpoints:
        unit, was = units.get(setpoint.unit_id), old.get(setpoint.unit_id)
        rated = unit.group.rated_w if unit else 0.0
        same = was is not None and abs(was.target_w - setpoint.target_w) <= max(SAME_W, SAME_SHARE * rated)
        if was is None or not same or was.reason.rule != setpoint.reason.rule:
            yield SetpointChange(setpoint.unit_id, was.target_w if was else None, setpoint.target_w, setpoint.reason)


def _newer(known: tuple[int, Record] | None, record: Record) -> bool:
    return known is None or (record.at, record.known_at) >= (known[1].at, known[1].known_at)


def _keep(ticks: dict[datetime, tuple[int, T]], seq: int, tick: T) -> None:
    """The newest word on a moment wins; what was measured is not replaced by a forecast."""
    known = ticks.get(tick.at)
    if known is not None:
        old = known[1]
        if old.kind != "forecast" and tick.kind == "forecast":
            return
        if old.known_at > tick.known_at and old.kind == tick.kind:
            return
    ticks[tick.at] = (seq, tick)
    if len(ticks) > 3_000:
        for at in sorted(ticks)[:500]:
            del ticks[at]


def _site_of(target: str) -> str:
    return target.split("|", 1)[0].split(".", 1)[0]
