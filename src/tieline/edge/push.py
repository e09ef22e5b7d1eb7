"""Empty an outbox into the store, over a link that may be gone for days.

An item leaves the outbox only on the store's own acknowledgement. What the store never takes and its side does not
keep is set aside in a file beside the outbox, where a person can look at it (`tieline quarantine`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from tieline.clock import wall_now
from tieline.link import MAX_BATCH, Link, QueuedItem
from tieline.link import push_always as push_queue_always
from tieline.link import push_once as push_queue_once
from tieline.records import Record, encode
from tieline.records.losses import tell_losses
from tieline.store.outbox import Outbox
from tieline.store.peer import StoreState
from tieline.store.quarantine import NAME, Quarantine

log = logging.getLogger("tieline.edge")


class OutboxQueue:
    """An outbox as the link empties it."""

    def __init__(
        self,
        origin: str,
        outbox: Outbox,
        quarantine: Quarantine | None = None,
        now: Callable[[], datetime] = wall_now,
    ) -> None:
        """`quarantine`: where the store's side keeps nothing; None: beside the outbox."""
        self.origin, self.outbox, self._now = origin, outbox, now
        self.quarantine = quarantine or Quarantine(outbox.path.with_name(NAME))

    async def take(self, limit: int) -> Sequence[tuple[int, str, bytes]]:
        return self.outbox.take(limit)

    async def done(self, numbers: Iterable[int]) -> None:
        self.outbox.done(numbers)

    async def heard(self, state: StoreState) -> None:
        again = self.outbox.heard(state)
        if again:
            log.warning("%s: the store over there is another; %d items are sent again", self.origin, again)
            tell_losses([(f"store, as {self.origin} knew it", self.outbox)], self._now(), self._keep)

    def _keep(self, records: Sequence[Record]) -> None:
        self.outbox.put([(f"{type(one).__name__}|{one.key}", encode(one)) for one in records])

    async def aside(self, item: QueuedItem, why: str) -> None:
        (recorded,) = self.quarantine.add(self.origin, [(item.key, why, item.body)], self._now())
        if not recorded:
            self.quarantine.lose(self.origin, item.key, why, self._now())
        where = f"set aside in {self.quarantine.path}" if recorded else f"lost: {self.quarantine.path} is full"
        log.error("%s: the store never takes %s (%s); %s", self.origin, item.key, why, where)


async def push_once(link: Link, origin: str, outbox: Outbox, limit: int = MAX_BATCH) -> int:
    """Send the oldest items; returns how many left the outbox. Raises LinkDownError, LaterError where the
    store cannot take them now, NeverError where it never will."""
    return await push_queue_once(link, origin, OutboxQueue(origin, outbox), limit)


async def push_always(link: Link, origin: str, outbox: Outbox) -> None:
    """For ever: what is there goes, what does not go is tried again, later and later up to a bound."""
    await push_queue_always(link, origin, OutboxQueue(origin, outbox))
