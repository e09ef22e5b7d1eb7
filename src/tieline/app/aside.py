"""What the core could not take in: kept by name, its sender told, and a sender's wrong clock made a fault."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.intake import Id, spelt
from tieline.link import ItemRefusal
from tieline.records import Fault, SetAside
from tieline.store import Store
from tieline.store.quarantine import Quarantine

log = logging.getLogger("tieline.core")

# What a fault of a sender's clock is called.
CLOCK = "clock"
# A clock that is still wrong is put on record again after this long.
SAY_AGAIN = timedelta(hours=1)
# Origins whose clocks are watched at once; a fleet has dozens.
MAX_ORIGINS = 1_000


@dataclass
class _Clock:
    """A sender's clock that is wrong: since when, by how much it was, and when that was said last."""

    since: datetime
    said_at: datetime


class SetAsides:
    """Sets items aside. `quarantine` None: nothing can be kept here, so senders keep what is refused."""

    def __init__(self, quarantine: Quarantine | None, store: Store) -> None:
        self.quarantine, self.store = quarantine, store
        self._clocks: dict[str, _Clock] = {}

    def take(self, origin: str, items: Sequence[SetAside], now: datetime) -> tuple[ItemRefusal, ...]:
        """Keep these items of one push; returns what their sender is told of each. Raises StoreError."""
        self._watch_clock(origin, items, now)
        if not items:
            return ()
        recorded = [False] * len(items)
        if self.quarantine is not None:
            recorded = self.quarantine.add(origin, [(one.name, one.why, one.body) for one in items], now)
        first = items[0]
        log.warning(
            "%s: %d of its records are set aside, first %s: %s", origin, len(items), first.name, first.why[:300]
        )
        if not all(recorded):
            log.error("no room to set aside what %s sends; it keeps it itself", origin)
        return tuple(
            ItemRefusal(one.place, one.why[:300], is_kept) for one, is_kept in zip(items, recorded, strict=True)
        )

    def _watch_clock(self, origin: str, items: Sequence[SetAside], now: datetime) -> None:
        """A fault while a sender's clock is ahead, and its end with the first push that is not."""
        ahead = max((one.ahead for one in items if one.ahead is not None), default=None)
        known = self._clocks.get(origin)
        if ahead is None:
            if known is not None:
                del self._clocks[origin]
                self._put(origin, known.since, now, "its clock agrees again", now)
            return
        if known is not None and now - known.said_at < SAY_AGAIN:
            return
        if known is None and len(self._clocks) >= MAX_ORIGINS:
            return
        since = now if known is None else known.since
        self._clocks[origin] = _Clock(since, now)
        seconds = min(ahead.total_seconds(), 1e12)
        self._put(origin, since, now, f"its clock is {seconds:,.0f} s ahead: what it says it will know is set aside")

    def _put(self, origin: str, since: datetime, now: datetime, detail: str, until: datetime | None = None) -> None:
        site = origin if spelt(Id, origin) is None else "an unknown sender"
        fault = Fault(
            at=since, known_at=now, source="core", kind="measured", site_id=site, what=CLOCK, detail=detail, until=until
        )
        self.store.append([fault])
