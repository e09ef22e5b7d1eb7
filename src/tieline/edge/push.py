"""Empty an outbox into the store, over a link that may be gone for days.

An item leaves the outbox only on the store's own acknowledgement. Batches are bounded, so is the wait
between attempts.
"""

from __future__ import annotations

import asyncio
import logging

from tieline.link import MAX_BATCH, Ack, Link, LinkDownError, push
from tieline.store.outbox import Outbox

log = logging.getLogger("tieline.edge")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 10.0
# How often an empty outbox is looked at: half a second is what a person takes for at once.
IDLE_S = 0.5


async def push_once(link: Link, origin: str, outbox: Outbox, limit: int = MAX_BATCH) -> int:
    """Send the oldest items; returns how many left the outbox. Raises LinkDownError, or RefusedError where
    the store answered no."""
    items = outbox.take(limit)
    if not items:
        return 0
    ack: Ack = await push(link, origin, b"[" + b",".join(body for _, _, body in items) + b"]")
    if ack.error is not None:
        raise RefusedError(ack.error)
    outbox.done(number for number, _, _ in items)
    return len(items)


class RefusedError(RuntimeError):
    """The store said no; nothing was deleted."""


async def push_always(link: Link, origin: str, outbox: Outbox) -> None:
    """For ever: what is there goes, what does not go is tried again, later and later up to a bound.

    After a refusal single items go, so that one bad item cannot be blamed on its neighbours; it stays, and
    the log names it, because nothing that was observed is thrown away by a machine.
    """
    wait_s, limit = FIRST_WAIT_S, MAX_BATCH
    while True:
        try:
            sent = await push_once(link, origin, outbox, limit)
        except LinkDownError:
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            continue
        except RefusedError as error:
            log.warning("%s: the store refused %d item(s): %s", origin, limit, error)
            limit = 1
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            continue
        wait_s = FIRST_WAIT_S
        limit = min(limit * 2, MAX_BATCH)
        if sent < limit:
            await asyncio.sleep(IDLE_S)
