"""The core that leads, and those that stand by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final

from tieline.app.runtime import Runtime
from tieline.clock import Interval
from tieline.records import Fault, Instruction, Override, Plan
from tieline.records.losses import PLATFORM, SHOWN
from tieline.store import Store
from tieline.store.lead.holder import ClockApartError, Lead
from tieline.tasks import Registry, end

log = logging.getLogger("tieline.core")

Ready = Callable[[str], None]

# The office of whoever reads the feeds, decides, settles, and takes records in.
CORE: Final = "core"
NOT_DECIDED: Final = "intervals not decided"


async def stand_by(runtime: Runtime, ready: Ready, registry: Registry) -> Lead:
    """Returns once this process leads. What keeps it from standing for it is a trouble of this part meanwhile."""
    lead = Lead(runtime.store, CORE, runtime.machine)

    def wrong_clock(line: str) -> None:
        with registry.attempt("clock", "agrees with the store's"):
            if line:
                raise ClockApartError(line)

    try:
        await lead.stand(ready, wrong_clock)
    except BaseException:
        lead.close()
        raise
    return lead


async def while_leading(lead: Lead, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` and ends it once this process leads no more. Raises FencedError then: the part begins anew and stands
    by, with nothing in its memory that another has decided since."""
    working, lost = asyncio.create_task(work), asyncio.create_task(lead.lost())
    try:
        await asyncio.wait({working, lost}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        lead.check()
    finally:
        await end([working, lost])
        with contextlib.suppress(Exception, asyncio.CancelledError):  # told above, where it ended first
            working.result()


def tell_gap(store: Store, now: datetime, interval: Interval) -> None:
    """Intervals that nobody decided since the last that somebody did, as a record. Raises StoreError."""
    last = store.last_turn()
    if last is None or last + interval.length >= interval.start:
        return
    missed = Interval(last, interval.length).end
    count = (interval.start - missed) // interval.length
    log.warning("%d intervals from %s were decided by nobody", count, missed.isoformat())
    text = f"{count} from {missed.isoformat()}: nobody led. Sites held their plans, then took their safe default"
    fault = Fault(
        at=missed, known_at=now, source="core", kind="measured", site_id=PLATFORM, what=NOT_DECIDED, detail=text,
        until=now + SHOWN,
    )  # fmt: skip
    store.append([fault])


def orders_after_plans(store: Store, now: datetime, ahead: datetime) -> bool:
    """Whether an order or a word came after the plans that stand: the leader before may not have come to it."""
    plans = store.latest(Plan, now)
    decided = max((plan.known_at for plan in plans), default=None)
    if decided is None:
        return False
    day = Interval(now, ahead - now).length
    orders = [*store.between(Instruction, now - day, ahead), *store.between(Override, now - day, ahead)]
    return any(one.known_at >= decided for one in orders)
