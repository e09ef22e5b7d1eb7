"""The demo's past: the days before a first start, lived through the same code over the synthetic world.

From the start of the month (or a day ago, whichever is earlier) in steps of an hour, then the last day in
five-minute steps, oldest first. What comes out says that it never happened: kind "simulated", source
"synthetic", and every plan was `decided_by` "history". Sites that are only observed ran as their hosts run
them. Bills and payouts are made with the hours they belong to, in one append.

A start that is killed half-way leaves a mark; the next start finds it and goes over the same hours again,
which the records' keys make harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from tieline import records as records_
from tieline.books import sale_of
from tieline.clock import Interval, intervals, parse_utc
from tieline.config import Config
from tieline.dispatch import Controller
from tieline.dispatch.settings import settings_of
from tieline.feeds.pools import simulated_pool
from tieline.feeds.synthetic import SOURCE, Synthetic
from tieline.fleet import Fleet
from tieline.records import Action, AnyRecord, Payout, Plan
from tieline.replay.accounts import HourlySettlement
from tieline.replay.modelled import ReplayFleet
from tieline.settlement.causes import Lived
from tieline.settlement.truth import Truth
from tieline.store import Store

log = logging.getLogger("tieline.history")

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FINE = timedelta(minutes=5)
# Values that still hold at the start began before it; a day-ahead price was published up to two days before.
LEAD = timedelta(hours=26)
BY, BEGUN, FINISHED = "history", "history begun", "history finished"


@dataclass(frozen=True, slots=True)
class Past:
    """Hours in coarse steps over [start, fine_from), then fine steps up to `end`."""

    start: datetime
    fine_from: datetime
    end: datetime

    @classmethod
    def before(cls, now: datetime) -> Past:
        month = datetime(now.year, now.month, 1, tzinfo=UTC)
        fine_from = Interval.holding(now - DAY, HOUR).start
        return cls(min(month, fine_from), fine_from, Interval.holding(now, FINE).start)

    def __str__(self) -> str:
        return "/".join(moment.isoformat() for moment in (self.start, self.fine_from, self.end))

    @classmethod
    def parse(cls, text: str) -> Past:
        start, fine_from, end = (parse_utc(part) for part in text.split("/"))
        return cls(start, fine_from, end)


def wanted(store: Store, now: datetime) -> Past | None:
    """The past to write: all of it into an empty store, the same again where a start was cut short, else none."""
    if store.last_seq() == 0:
        return Past.before(now)
    marks = store.between(Action, now - 400 * DAY, now + 400 * DAY, subject=BY)
    begun = next((mark for mark in marks if mark.what == BEGUN), None)
    if begun is None or any(mark.what == FINISHED for mark in marks):
        return None
    return Past.parse(begun.target)


async def write_history(store: Store, config: Config, now: datetime, past: Past | None = None) -> None:
    """Append the past to the store, an hour at a time, giving way to everything else in between."""
    past = past or Past.before(now)
    store.append([_mark(BEGUN, past, now)])
    count = 0
    steps = history(config, past)
    # The work is done beside the loop, so that a platform that has just started answers at once.
    while (batch := await asyncio.to_thread(next, steps, None)) is not None:
        if batch:
            count += store.append(batch)
    store.append([_mark(FINISHED, past, now)])
    log.info("history written: %d simulated records from %s to %s", count, past.start, past.end)


def history(config: Config, past: Past) -> Iterator[list[AnyRecord]]:
    """The records of the past, oldest first: a list each finished hour, an empty one after each other step."""
    fleet = config.fleet
    recorded = _synthetic_records(fleet, config.feeds.seed, past)
    base = settings_of(config)
    truth = Truth(recorded, fleet, base)
    recorded.sort(key=lambda r: (r.known_at, type(r).__name__, r.subject, r.at))
    own = Store(None, records_.encode, records_.decode)  # what the controller of the past may know
    plant = ReplayFleet(fleet, base, SOURCE)
    terms = config.pool
    pool = simulated_pool(terms.scheme, terms.name, terms.fee, terms.rejects, terms.others_ehs * 1e18)
    accounts = HourlySettlement(fleet, plant.world, base, pool, SOURCE)
    lived = Lived(fleet, base.keeps, SOURCE)
    given = 0
    records: list[AnyRecord] = []
    fresh: list[AnyRecord] = []
    for start, end, length in ((past.start, past.fine_from, HOUR), (past.fine_from, past.end, FINE)):
        seconds = int(length.total_seconds())
        settings = msgspec.structs.replace(base, interval_s=seconds, valid_for_s=3 * seconds)
        controller = Controller(own, fleet, settings)
        for interval in intervals(start, end, length):
            upto = given
            while upto < len(recorded) and recorded[upto].known_at <= interval.start:
                upto += 1
            own.append(recorded[given:upto])
            records += [*recorded[given:upto], *fresh]
            given, fresh = upto, []
            plans = [_as_history(plan) for plan in controller.decide(interval.start)]
            own.append(plans)
            records += plans
            lived.add(plans)
            plant.deliver(plans, interval.start, truth)
            span = plant.begin(interval)
            plant.run(span, interval.start, interval.end, truth)
            samples = plant.samples(span, truth)
            lived.add(samples)
            fresh += samples
            accounts.add(span, truth)
            hour = Interval.holding(interval.start, HOUR)
            if interval.end == hour.end:
                closed = accounts.close_hour(hour, truth)
                sold = [sale_of(one, config.treasury.sell_share) for one in closed if isinstance(one, Payout)]
                records += [*fresh, *closed, *(sale for sale in sold if sale is not None)]
                records += lived.close_hour(hour, truth)
                fresh = []
                yield records
                records = []
            else:
                yield []
    own.close()
    yield [*records, *fresh, *recorded[given : _known_by(recorded, given, past.end)]]


def _synthetic_records(fleet: Fleet, seed: int, past: Past) -> list[AnyRecord]:
    """The world of those days: every price, hourly readings of the rest until the fine steps begin."""
    world = Synthetic(fleet, seed)
    prices = world.records(past.start - LEAD, past.end + 2 * DAY, ("prices",), forecasts=False)
    coarse: list[AnyRecord] = []
    for interval in intervals(past.start - LEAD, past.fine_from, HOUR):
        coarse.append(world.network(interval.start))
        coarse += [world.weather(station, interval.start) for station in world.stations]
        coarse += [world.demand(model, region, interval.start) for model, region in world.served]
    return [*prices, *coarse, *world.records(past.fine_from, past.end, ("network", "weather", "demand"))]


def _as_history(plan: Plan) -> Plan:
    return msgspec.structs.replace(plan, source=SOURCE, kind="simulated", decided_by=f"history ({plan.decided_by})")


def _known_by(recorded: list[AnyRecord], given: int, moment: datetime) -> int:
    upto = given
    while upto < len(recorded) and recorded[upto].known_at <= moment:
        upto += 1
    return upto


def _mark(what: str, past: Past, now: datetime) -> Action:
    return Action(
        at=past.end,
        known_at=past.end if what == BEGUN else now,
        source=SOURCE,
        kind="simulated",
        by=BY,
        what=what,
        target=str(past),
        detail="the demo's past is simulated over the synthetic world",
    )
