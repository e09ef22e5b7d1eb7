"""What a request in progress needs of the world: its client's connection, a pool of replicas, and what all requests
of one process share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from tieline.clock import Clock
from tieline.gateway.errors import Refusal
from tieline.gateway.metering.stats import Stats
from tieline.gateway.metering.traces import Traces
from tieline.gateway.metering.usage_lines import Metered
from tieline.gateway.requests.blame import RefusedRequests
from tieline.gateway.requests.hedge import HedgeBudget
from tieline.gateway.requests.state import KeptText, RequestState
from tieline.gateway.routing.queue import Waiting
from tieline.gateway.routing.route import Want
from tieline.gateway.settings import ModelOffer, Settings
from tieline.gateway.wire.upstream import Backend, Conn, Owner


class Client(Protocol):
    """Where an answer goes."""

    def translated(self, body: bytes) -> bytes:
        """A whole answer of a chat in the client's own form."""

    def answer(self, status: int, headers: bytes, body: bytes) -> None: ...

    def begin_stream(self, headers: bytes, payload: bytes) -> None:
        """The head, and the first bytes where there are any."""

    def send(self, payload: bytes) -> None: ...

    def pass_on(self, raw: bytes) -> None:
        """One frame in its chunk."""

    def finish_stream(self, tail: bytes) -> None: ...

    def drop(self) -> None:
        """End a stream so that no client can take it for complete."""


class WaitingLine(Protocol):
    """Who waits for a place."""

    count: int


class ReplicaPool(Protocol):
    """Where a request may run."""

    @property
    def replicas(self) -> Collection[Backend]: ...

    @property
    def line(self) -> WaitingLine: ...

    def choose_at_all(self, want: Want, avoid: frozenset[str] | set[str]) -> Backend | None:
        """The same for a stream that has lost its replica."""

    def serving(self, want: Want) -> list[Backend]:
        """Replicas that are well, full or not."""

    def included(self, offer: ModelOffer) -> ModelOffer: ...

    def wait(self, waiting: Waiting) -> None:
        """No room: `go` or `refuse` of it will be called."""

    def leave(self, waiting: Waiting) -> None: ...

    def pump(self) -> None:
        """A place may be free for those in the line."""


class Billing(Protocol):
    """Where an ended request is billed."""

    def bill(self, request: Metered, now: float, on_disk: Callable[[], None] | None) -> bool:
        """True: `on_disk` will be called."""

    def note(self, request: Metered, now: float) -> None: ...


class LiveRequest(Protocol):
    """A request in progress, as those who watch over all of them see it."""

    state: RequestState

    @property
    def binding(self) -> bool:
        """Does it hold a share of a budget, or the right to make a call that nobody else makes?"""

    def tick(self, now: float) -> None: ...

    def refuse(self, refusal: Refusal) -> None: ...

    def cancel(self) -> None: ...

    def pause(self, paused: bool) -> None: ...


# A few streams may always fail over at once, whatever the share: with ten live, 10 % would be one.
MIN_FAILOVERS = 8


@dataclass(slots=True, eq=False)
class Shared:
    """What all requests of one process share."""

    settings: Settings
    clock: Clock
    now: Callable[[], float]
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    meter: Billing
    stats: Stats
    memory: KeptText
    hedges: HedgeBudget
    live: set[LiveRequest]
    failovers: set[RequestState]
    slow: set[RequestState]  # left a silent replica and have no token of the next one yet
    # Answers that are whole but for the end of their HTTP: until when that is waited for, whose, and on what.
    lingering: deque[tuple[float, Owner, Conn]] = field(default_factory=deque)
    traces: Traces | None = None
    refused: RefusedRequests = field(default_factory=RefusedRequests)

    def _allowed(self) -> int:
        return max(MIN_FAILOVERS, int(len(self.live) * self.settings.failover_share))

    def may_fail_over(self, state: RequestState) -> bool:
        """Unannounced failovers go ahead for a share of live requests at a time, oldest first."""
        allowed = self._allowed()
        if len(self.failovers) <= allowed:
            return True
        return sum(1 for one in self.failovers if one.began < state.began) < allowed

    def may_leave(self, state: RequestState) -> bool:
        """The same for leaving a replica that is only silent: until its next one has sent a token, a stream counts.
        One slow site starts no storm; the others wait for it meanwhile."""
        return state in self.slow or len(self.slow) < self._allowed()
