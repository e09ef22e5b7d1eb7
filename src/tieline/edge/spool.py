"""What a site saw, on its way into the outbox, also when the disk is full.

A full outbox thins its oldest aggregates and never a meter reading, a usage or an outcome. What a disk refuses is
held in memory, as much as `MAX_HELD`, and written as soon as the disk takes it; either is a fault while it lasts.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tieline.edge.faults import Faults
from tieline.records import AnyRecord, Fault, Sample, encode
from tieline.store import StoreError
from tieline.store.outbox import Outbox

log = logging.getLogger("tieline.edge")

# Aggregates of units: there is a next one in minutes, and the site's meter says what the money needs.
THINNED = (Sample.__name__,)
# The fault is over when so much of the outbox is left at most.
ROOM_AGAIN = 0.9
# 20,000 records are 10 MB: an hour of forty units at a reading a minute, time to empty a disk.
MAX_HELD = 20_000


@dataclass(slots=True)
class SiteSpool:
    """The door to one site's outbox."""

    site_id: str
    outbox: Outbox
    faults: Faults
    _held: deque[tuple[str, bytes]] = field(default_factory=deque)

    def keep(self, records: Sequence[AnyRecord]) -> None:
        """Write durably what came, and first what could not be written before. Never raises."""
        rows = [row for record in records if (row := _row(record)) is not None]
        waiting = [*self._held, *rows]
        if not waiting:
            return
        try:
            before = self.outbox.thinned
            self.outbox.put(waiting, thin=THINNED)
        except StoreError as error:
            self._hold(rows, str(error))
            return
        self._held.clear()
        if "spool" in self.faults.open() and records and len(self.outbox) < ROOM_AGAIN * self.outbox.max_items:
            self._tell(records[-1].known_at, None)
        if self.outbox.thinned > before and records:
            line = f"the outbox is full; {self.outbox.thinned} of its oldest samples were thinned"
            self._tell(records[-1].known_at, line)

    def _hold(self, rows: list[tuple[str, bytes]], why: str) -> None:
        self._held.extend(rows)
        if len(self._held) > MAX_HELD:
            # The same order as on disk: aggregates go first, and only then is anything refused.
            rest = [row for row in self._held if row[0].partition("|")[0] not in THINNED]
            lost = len(self._held) - min(len(rest), MAX_HELD)
            self._held = deque(rest[-MAX_HELD:])
            log.error("%s: %d records lost: %s", self.site_id, lost, why)
        log.error("%s: %d records wait in memory: %s", self.site_id, len(self._held), why)

    def _tell(self, now: datetime, line: str | None) -> None:
        faults: list[Fault] = self.faults.hold(now, "spool", line, once=True)
        if faults:
            self._held.extend((f"Fault|{fault.key}", encode(fault)) for fault in faults)


def _row(record: AnyRecord) -> tuple[str, bytes] | None:
    """A record that cannot be written (a number that is none) is named and set aside alone."""
    try:
        return f"{type(record).__name__}|{record.key}", encode(record)
    except ValueError as error:
        log.error("a record cannot be kept: %s", error)
        return None
