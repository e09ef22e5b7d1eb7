"""Ten times a second: the clocks of all requests, moves away from replicas that go dark, the queue's deadlines."""

from __future__ import annotations

import logging
from typing import Final

from tieline.gateway import errors
from tieline.gateway.requests.ports import LiveRequest, Shared
from tieline.gateway.routing.queue import RequestQueue
from tieline.gateway.routing.replicas import ReplicaTable

log = logging.getLogger("tieline.gateway")

# Streams moved away from a replica that will go dark, per tick: 80 a second.
MOVES_PER_TICK: Final = 8


class Tick:
    """One per process."""

    def __init__(self, shared: Shared, table: ReplicaTable, queue: RequestQueue) -> None:
        self.shared, self.table, self.queue = shared, table, queue

    def step(self, now: float, requests: int) -> None:
        """`requests`: how many there have been."""
        for live in list(self.shared.live):
            try:
                live.tick(now)
            except Exception as error:  # the clocks of all others go on
                give_up(live, self.shared.live, error)
        self.queue.expire(now)
        self.queue.pump()
        for backend in self.table.draining():
            moved = 0
            for occupant in list(backend.live):
                if moved >= MOVES_PER_TICK:
                    break
                moved += occupant.drain()
        lingering = self.shared.lingering
        while lingering and lingering[0][0] <= now:
            _, owner, connection = lingering.popleft()
            if connection.owner is owner:
                connection.abort()
        self.shared.hedges.refill(requests)
        self.table.judge(now)


def give_up(one: LiveRequest, live: set[LiveRequest], error: BaseException) -> None:
    """A fault of ours on the way of one request: its client hears so, and nobody else."""
    id_ = one.state.id
    log.error("request %s failed: %r", id_, error, exc_info=error)
    try:
        one.refuse(errors.internal(id_))
    except Exception as again:
        log.error("request %s cannot be refused: %r", id_, again, exc_info=again)
        live.discard(one)
