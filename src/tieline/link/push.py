"""Records leave here when the store over there has them, and not before.

The far side answers for each item of a batch (`Ack`): it is stored, or it was set aside and why. Three answers mean
three things: *later* (a full disk) is tried again with everything; *never* for the whole batch makes the sender go one
by one until the one is found; *set aside* takes that one out of the way. Whatever it is, what follows goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from tieline.intake import IntakeError, read
from tieline.link.transport import REQUEST_TIMEOUT_S, Link, LinkDownError
from tieline.store.peer import StoreState

log = logging.getLogger("tieline.link")

# One push carries at most this many records and bytes: NATS' default payload limit is 1 MB, and a Plan is about 2 KB.
MAX_BATCH = 256
MAX_PUSH_BYTES = 900_000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 10.0
# How often an empty queue is looked at: half a second is what a person takes for at once.
IDLE_S = 0.5
# Looks at an empty queue between two empty pushes: within half a minute a sender with nothing new to say hears that the
# store is another one (restored from a backup), and sends again what that one has not.
ASK_EVERY = 60


class ItemRefusal(msgspec.Struct, frozen=True):
    """One item of a batch that was not stored. `kept`: it is set aside there, by name; else its sender keeps it."""

    place: int
    why: str
    kept: bool = False


class Ack(msgspec.Struct, frozen=True):
    """The far side's answer to a push: how many records its store took, or why none. With an error, `retry` says
    whether the same batch may be taken later (a full disk) or never (not records). Without one every item is stored,
    known already, or in `refused`. `store` says which store answered and how far it has got."""

    stored: int = 0
    error: str | None = None
    retry: bool = False
    refused: tuple[ItemRefusal, ...] = ()
    store: StoreState | None = None

    @property
    def trouble(self) -> str | None:
        """Why something of the batch is not stored; None where all of it is."""
        return self.error or (self.refused[0].why if self.refused else None)


_read_ack = msgspec.json.Decoder(Ack).decode
_pieces = msgspec.json.Decoder(list[msgspec.Raw]).decode
_piece = msgspec.json.Decoder(msgspec.Raw).decode


async def push(link: Link, origin: str, batch: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> Ack:
    """Send one encoded batch; returns what the store said. Raises LinkDownError, also where the answer is none."""
    reply = await link.request(f"records.{origin}", batch, timeout_s)
    try:
        return read(reply, _read_ack)
    except IntakeError as error:
        raise LinkDownError(f"the answer to a push was none: {error}") from error


class QueuedItem(NamedTuple):
    """What waits: its number in the queue, its key, and its bytes."""

    number: int
    key: str
    body: bytes


class Queue(Protocol):
    """What holds items until they are acknowledged. `aside` takes one out of the way, named and with the reason;
    `heard` is told which store answered."""

    async def take(self, limit: int) -> Sequence[tuple[int, str, bytes]]: ...

    async def done(self, numbers: Iterable[int]) -> None: ...

    async def aside(self, item: QueuedItem, why: str) -> None: ...

    async def heard(self, state: StoreState) -> None: ...


class LaterError(RuntimeError):
    """The store said: not now. Nothing was deleted."""


class NeverError(RuntimeError):
    """The store said: never. Nothing was deleted."""


async def push_once(link: Link, origin: str, queue: Queue, limit: int = MAX_BATCH, *, ask: bool = False) -> int:
    """Send the oldest items; returns how many left the queue. With `ask` an empty batch is sent where none waits, to
    hear which store answers. Raises LinkDownError, LaterError where the
    store cannot take them now, NeverError where it never will."""
    fitting = _fitting([QueuedItem(*one) for one in await queue.take(limit)])
    items = _whole(fitting)
    if fitting and not items:
        await queue.aside(fitting[0], _odd(fitting[0].body) or "it is no item of a list")
        await queue.done([fitting[0].number])
        return 1
    if not items and not ask:
        return 0
    ack = await push(link, origin, b"[" + b",".join(item.body for item in items) + b"]")
    if ack.error is not None:
        raise LaterError(ack.error) if ack.retry else NeverError(ack.error)
    for refusal in ack.refused:
        if 0 <= refusal.place < len(items):
            await _out_of_the_way(origin, queue, items[refusal.place], refusal)
    if ack.store is not None:
        await queue.heard(ack.store)
    await queue.done(item.number for item in items)
    return len(items)


def _fitting(items: list[QueuedItem]) -> list[QueuedItem]:
    """The first that fit into one message. Raises NeverError where not even one does."""
    total = 0
    for count, item in enumerate(items):
        total += len(item.body) + 1
        if total > MAX_PUSH_BYTES:
            if count == 0:
                raise NeverError(f"{len(item.body):,} bytes; a message carries {MAX_PUSH_BYTES:,}")
            return items[:count]
    return items


def _whole(items: list[QueuedItem]) -> list[QueuedItem]:
    """The first that are JSON, each by itself; empty where the first is none. Such a one is never sent: in a list its
    quotes, commas and brackets take in its neighbours or make several items of it, which would be kept in pieces."""
    if _are_whole(items):
        return items
    first = next((place for place, item in enumerate(items) if not _are_whole([item])), len(items))
    return items[:first]


def _are_whole(items: list[QueuedItem]) -> bool:
    try:
        pieces = read(b"[" + b",".join(item.body for item in items) + b"]", _pieces)
    except IntakeError:
        return False
    return len(pieces) == len(items) and all(
        bytes(piece) == item.body.strip() for piece, item in zip(pieces, items, strict=True)
    )


def _odd(body: bytes) -> str | None:
    """Why this is not one JSON value; None: it is."""
    try:
        read(body, _piece)
    except IntakeError as error:
        return f"not sent: {error}"
    return None


async def _out_of_the_way(origin: str, queue: Queue, item: QueuedItem, refusal: ItemRefusal) -> None:
    if refusal.kept:
        log.warning("%s: %s was set aside by the store's side: %s", origin, item.key, refusal.why)
    else:
        await queue.aside(item, refusal.why)


async def push_always(
    link: Link,
    origin: str,
    queue: Queue,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """For ever: what is there goes, what does not go is tried again, later and later up to a bound.

    After a `never` items go one by one, so that a bad one cannot be blamed on its neighbours. The bad one is set
    aside here, named in the log, and no longer stands in the way of what follows.
    """
    wait_s, limit, said, idle = FIRST_WAIT_S, MAX_BATCH, "", 0
    while True:
        try:
            sent = await push_once(link, origin, queue, limit, ask=idle % ASK_EVERY == 0)
        except (LinkDownError, LaterError) as error:
            if isinstance(error, LaterError) and str(error) != said:
                said = str(error)
                log.warning("%s: the store takes nothing now: %s", origin, error)
            await pause(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            continue
        except NeverError as error:
            if limit == 1:
                for one in await queue.take(1):
                    await queue.aside(QueuedItem(*one), str(error))
                    await queue.done([one[0]])
            limit = 1
            continue
        wait_s, said = FIRST_WAIT_S, ""
        idle = 1 if sent else idle + 1
        full = sent == limit
        limit = min(limit * 2, MAX_BATCH)
        if not full:
            await pause(IDLE_S)
