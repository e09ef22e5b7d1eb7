"""A batch that a runner has in hand: its lines that are read, that wait and that run; what a line leaves behind."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from tieline.gateway.batch.files import encode
from tieline.gateway.budgets.admit import KeyAccount
from tieline.gateway.requests.exchange import Exchange
from tieline.gateway.routing.route import Replica
from tieline.store import BatchStore, StoreError
from tieline.store.batches import Result, StoredBatch, StoredLine

# This part of a window, at its end, is a batch's own right to the queue.
URGENT_SHARE: Final = 0.25
# Deadline work waits while power costs more than it usually does, and goes where it is cheapest.
DEAR: Final = 0.5


class Running(Protocol):
    """One line in progress."""

    line: StoredLine
    exchange: Exchange | None
    site: str | None

    @property
    def billed(self) -> bool: ...


@dataclass(slots=True, eq=False)
class Hand:
    """A batch in hand."""

    batch: StoredBatch
    lines: deque[StoredLine] = field(default_factory=deque)
    later: list[tuple[float, StoredLine]] = field(default_factory=list)  # (not before, line)
    read: int = -1  # the last line read from disk
    all_read: bool = False
    running: set[Running] = field(default_factory=set)
    model: str = ""  # of its first line that is a request
    pauses: Counter[int] = field(default_factory=Counter)  # by line
    faults: Counter[int] = field(default_factory=Counter)

    def urgent(self, now_s: float) -> bool:
        window = self.batch.expires - self.batch.created
        return self.batch.expires - now_s < window * URGENT_SHARE

    def next(self, now: float) -> StoredLine | None:
        for index, (at, line) in enumerate(self.later):
            if at <= now:
                del self.later[index]
                return line
        return self.lines.popleft() if self.lines else None


@dataclass(slots=True, eq=False)
class DoneLines:
    """What came of lines and is not on disk yet: results, and lines (batch, number) to be tried again."""

    results: list[Result] = field(default_factory=list)
    vain: list[tuple[str, int]] = field(default_factory=list)

    async def flush(self, store: BatchStore) -> None:
        """Raises StoreError; the results are then still here."""
        if self.results:
            results, self.results = self.results, []
            try:
                await asyncio.to_thread(store.land, results)
            except StoreError:
                self.results = results + self.results
                raise
        if self.vain:
            vain, self.vain = self.vain, []
            await asyncio.to_thread(store.again, vain)


def idle(replica: Replica) -> bool:
    """Room beyond this line's own place, and power that costs no more than it usually does."""
    spare = replica.slots - len(replica.live)
    return (spare >= 2 or spare == replica.slots) and replica.dear <= DEAR and not replica.away_s


def leaves_room(account: KeyAccount, now: float) -> bool:
    """Does the half of each limit stay free for the tenant's own requests?"""
    for scope in account.scopes:
        if scope.concurrent is not None and len(scope.live) * 2 >= scope.concurrent > 1:
            return False
        for bucket in (scope.requests, scope.tokens):
            if bucket is not None and bucket.wait_s(bucket.per_minute / 2, now) > 0:
                return False
    return True


def fault_of(message: str) -> dict[str, object]:
    """An error of a whole batch, as its owner reads it."""
    return {"code": "batch_failed", "message": message, "line": None, "param": None}


def result_line(id_: str, line: StoredLine, status: int | None, body: bytes, error: object) -> bytes:
    """A line of an output or error file. An answer that an engine wrote over several lines becomes one; what is no
    JSON becomes an error."""
    response = None
    if status is not None:
        try:
            plain = msgspec.Raw(msgspec.json.format(body, indent=-1) if b"\n" in body else body)
            response = {"status_code": status, "request_id": id_, "body": plain}
        except (msgspec.DecodeError, RecursionError, ValueError):
            error = {"code": "engine_error", "message": "the engine's answer is not JSON"}
    return encode({"id": id_, "custom_id": line.custom_id, "response": response, "error": error}) + b"\n"
