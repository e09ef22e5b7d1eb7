"""Recorded days through the same code, on simulated time.

One forecast path, rigs and engines modelled. The controller is the live one and reads the store as of now;
each record is appended at the moment it is known, so nothing can be seen early. Nothing here asks what time
it is: two replays of the same records give identical bytes, the store's digest included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from tieline import records as records_
from tieline.clock import Interval, SimClock, intervals
from tieline.dispatch import Controller
from tieline.feeds.pools import SimulatedFpps
from tieline.records import AnyRecord
from tieline.replay.accounts import HourlySettlement
from tieline.replay.asked import WARM_UP, Asked
from tieline.replay.modelled import ReplayFleet
from tieline.replay.report import Report, report_of
from tieline.settlement.calls import call_orders
from tieline.settlement.causes import Lived, events, newest
from tieline.settlement.truth import Truth
from tieline.store import Store

SOURCE = "replay (modelled)"
HOUR = timedelta(hours=1)
# A week of 40 sites is 250,000 records, 300 MB in memory; a longer run keeps them in a file that is deleted
# at its end, 30 MB a day, and a quarter is the most one run is asked to hold.
IN_MEMORY, MAX_SPAN = timedelta(days=8), timedelta(days=92)


class ReplayError(ValueError):
    """The span or the records do not allow a replay; the message says what to give instead."""


async def replay(asked: Asked, progress: Callable[[int], None] = lambda steps: None) -> Report:
    """Run the days and report. Raises ReplayError for a span that cannot be run."""
    if asked.end - asked.start <= IN_MEMORY:
        report, store = await replay_kept(asked, progress)
        store.close()
        return report
    with tempfile.TemporaryDirectory(prefix="tieline-replay-") as folder:
        report, store = await replay_kept(asked, progress, Path(folder) / "store.db")
        store.close()
        return report


async def replay_kept(
    asked: Asked, progress: Callable[[int], None] = lambda steps: None, path: Path | None = None
) -> tuple[Report, Store]:
    """The same, with the store of what happened, in memory or in a new file; the caller closes it."""
    _check(asked)
    length = timedelta(seconds=asked.settings.interval_s)
    store = Store(path, records_.encode, records_.decode)
    clock = SimClock(asked.start - WARM_UP)
    recorded = _by_known(asked)
    truth = Truth(recorded, asked.fleet, asked.settings)
    plant = ReplayFleet(asked.fleet, asked.settings, SOURCE)
    pool = SimulatedFpps(fee=asked.settings.pool_fee, rejects=asked.settings.rejects)
    accounts = HourlySettlement(asked.fleet, plant.world, asked.settings, pool, SOURCE)
    controller = Controller(store, asked.fleet, asked.settings)
    lived = Lived(asked.fleet, asked.settings.keeps, SOURCE)
    given = 0
    fresh: list[AnyRecord] = []  # what the world has said since the last append
    for interval in intervals(asked.start - WARM_UP, asked.end, length):
        span = plant.begin(interval)
        moments = [interval.start, *truth.turns(interval.start, interval.end)]
        for moment, until in zip(moments, [*moments[1:], interval.end], strict=True):
            clock.set(moment)
            upto = _known_by(recorded, given, moment)
            store.append([*recorded[given:upto], *fresh])
            calls = call_orders(store, recorded[given:upto])
            store.append(calls)
            if calls:
                truth.orders = newest([*truth.orders, *calls])
            given, fresh = upto, []
            plans = await controller.step(clock.now())
            lived.add(plans)
            plant.deliver(plans, moment, truth)
            plant.run(span, moment, until, truth)
        clock.set(interval.end)
        samples = plant.samples(span, truth)
        lived.add(samples)
        fresh += samples
        if interval.start < asked.start:
            continue
        accounts.add(span, truth)
        hour = Interval.holding(interval.start, HOUR)
        if interval.end == hour.end:
            fresh += accounts.close_hour(hour, truth)
            fresh += lived.close_hour(hour, truth)
            fresh += events(store, asked.fleet, asked.settings, interval.end)
        progress(1)
    upto = _known_by(recorded, given, asked.end)
    store.append([*recorded[given:upto], *fresh])
    return report_of(asked, accounts, truth, store), store


def _check(asked: Asked) -> None:
    if asked.end <= asked.start:
        raise ReplayError(f"--to {asked.end:%Y-%m-%d %H:%M} is not after --from {asked.start:%Y-%m-%d %H:%M}")
    if asked.end - asked.start > MAX_SPAN:
        raise ReplayError(f"a replay runs at most {MAX_SPAN.days} days at once; ask for less")
    if asked.start != Interval.holding(asked.start, HOUR).start or asked.end != Interval.holding(asked.end, HOUR).start:
        raise ReplayError("--from and --to are whole hours in UTC")
    if HOUR % timedelta(seconds=asked.settings.interval_s):
        raise ReplayError(f"interval_s {asked.settings.interval_s} does not divide an hour")
    kinds = {type(record).__name__ for record in asked.records}
    for needed in ("PriceTick", "NetworkTick"):
        if needed not in kinds:
            raise ReplayError(
                f"no {needed} between {asked.start:%Y-%m-%d} and {asked.end:%Y-%m-%d}: "
                "these days are not recorded in this folder"
            )


def _by_known(asked: Asked) -> list[AnyRecord]:
    records = [*asked.records, *asked.faults]
    records.sort(key=lambda r: (r.known_at, type(r).__name__, r.subject, r.at))
    return records


def _known_by(recorded: Sequence[AnyRecord], given: int, moment: datetime) -> int:
    """Index after the last record known at `moment`."""
    upto = given
    while upto < len(recorded) and recorded[upto].known_at <= moment:
        upto += 1
    return upto
