"""Empty an outbox into the store, over a link that may be gone for days.

An item leaves the outbox only on the store's own acknowledgement. Batches are bounded, so is the wait
between attempts.
"""

from __future__ import annotations

import asyncio
import logging
import os

from tieline.link import MAX_BATCH, Ack, Link, LinkDownError, push
from tieline.store.outbox import Outbox

log = logging.getLogger("tieline.edge")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 10.0
# How often an empty outbox is looked at: half a second is what a person takes for at once.
IDLE_S = 0.5
# Items the store never takes are a defect of ours; this many bytes of them are enough to find it.
MAX_REFUSED_BYTES = 10_000_000


async def push_once(link: Link, origin: str, outbox: Outbox, limit: int = MAX_BATCH) -> int:
    """Send the oldest items; returns how many left the outbox. Raises LinkDownError, RefusedError where the
    store cannot take them now, NeverError where it never will."""
    items = outbox.take(limit)
    if not items:
        return 0
    ack: Ack = await push(link, origin, b"[" + b",".join(body for _, _, body in items) + b"]")
    if ack.error is not None:
        raise RefusedError(ack.error) if ack.retry else NeverError(ack.error)
    outbox.done(number for number, _, _ in items)
    return len(items)


class RefusedError(RuntimeError):
    """The store said: not now. Nothing was deleted."""


class NeverError(RuntimeError):
    """The store said: never. Nothing was deleted."""


async def push_always(link: Link, origin: str, outbox: Outbox) -> None:
    """For ever: what is there goes, what does not go is tried again, later and later up to a bound.

    After a `never` items go one by one, so that a bad one cannot be blamed on its neighbours. The bad one is
    written to a file beside the outbox, named in the log, and no longer stands in the way of what follows.
    """
    wait_s, limit = FIRST_WAIT_S, MAX_BATCH
    while True:
        try:
            sent = await push_once(link, origin, outbox, limit)
        except (LinkDownError, RefusedError) as error:
            if isinstance(error, RefusedError):
                log.warning("%s: the store takes nothing now: %s", origin, error)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            continue
        except NeverError as error:
            if limit == 1:
                _set_aside(outbox, str(error))
            limit = 1
            continue
        wait_s = FIRST_WAIT_S
        full = sent == limit
        limit = min(limit * 2, MAX_BATCH)
        if not full:
            await asyncio.sleep(IDLE_S)


def _set_aside(outbox: Outbox, why: str) -> None:
    """Move the oldest item to `outbox.refused`, where a person can look at it."""
    for number, key, body in outbox.take(1):
        path = outbox.path.with_suffix(".refused")
        if not path.exists() or path.stat().st_size < MAX_REFUSED_BYTES:
            with path.open("ab") as file:
                file.write(body + b"\n")
                file.flush()
                os.fsync(file.fileno())
        log.error("%s: the store never takes %s (%s); set aside in %s", outbox.path, key, why, path)
        outbox.done([number])
