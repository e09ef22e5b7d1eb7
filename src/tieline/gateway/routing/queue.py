"""Who waits for a replica, in what order, and for how long.

When replicas are full, requests wait here by tenant. The next to go is the first request of the tenant that
has had the least for its weight since it began to wait: a tenant that sends half of all load gets its share,
and the others do not wait behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from tieline.gateway import errors
from tieline.gateway.budgets.admit import KeyAccount
from tieline.gateway.errors import Refusal
from tieline.gateway.routing.replicas import ReplicaTable
from tieline.gateway.routing.route import Want
from tieline.gateway.wire.upstream import Backend

T = TypeVar("T")


@dataclass(slots=True)
class _TenantLine(Generic[T]):
    weight: float
    served: float = 0.0  # virtual time: requests let through, divided by weight
    waiting: deque[tuple[T, float]] = field(default_factory=deque)  # (item, deadline)


class FairQueue(Generic[T]):
    """Bounded, and every item leaves it by its deadline."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._lines: dict[str, _TenantLine[T]] = {}
        self.count = 0
        self._clock = 0.0

    def __len__(self) -> int:
        return self.count

    def put(self, item: T, tenant: str, weight: float, deadline: float) -> bool:
        """False: full; nothing was taken."""
        if self.count >= self.length:
            return False
        line = self._lines.get(tenant)
        if line is None:
            line = self._lines[tenant] = _TenantLine(weight, self._clock)
        if not line.waiting:  # who was away does not come back with credit
            line.served = max(line.served, self._clock)
        line.waiting.append((item, deadline))
        self.count += 1
        return True

    def pop(self, fits: Callable[[T], bool]) -> T | None:
        """The next item that `fits`, asking only the head of each tenant's line."""
        for tenant, line in sorted(self._lines.items(), key=lambda pair: (pair[1].served, pair[0])):
            if not line.waiting:
                continue
            item, _ = line.waiting[0]
            if fits(item):
                line.waiting.popleft()
                self.count -= 1
                self._clock = line.served
                line.served += 1.0 / line.weight
                self._forget(tenant, line)
                return item
        return None

    def remove(self, item: T) -> None:
        """An item whose client left; nothing where it is not here."""
        for tenant, line in list(self._lines.items()):
            for pair in line.waiting:
                if pair[0] is item:
                    line.waiting.remove(pair)
                    self.count -= 1
                    self._forget(tenant, line)
                    return

    def expired(self, now: float) -> list[T]:
        """Take out all whose deadline has passed. Most come in order of it; who brings its own may not."""
        late: list[T] = []
        for tenant, line in list(self._lines.items()):
            if any(deadline <= now for _, deadline in line.waiting):
                late += [item for item, deadline in line.waiting if deadline <= now]
                line.waiting = deque(pair for pair in line.waiting if pair[1] > now)
            self._forget(tenant, line)
        self.count -= len(late)
        return late

    def _forget(self, tenant: str, line: _TenantLine[T]) -> None:
        if not line.waiting and line.served <= self._clock:
            del self._lines[tenant]


class Queued(Protocol):
    """What is known of a request that waits."""

    queued_until: float | None
    client_s: float
    retry_after_s: float | None  # as engines that were busy said

    @property
    def want(self) -> Want: ...

    @property
    def account(self) -> KeyAccount: ...


class Waiting(Protocol):
    """A request that waits: told to go, or that it was in vain."""

    @property
    def state(self) -> Queued: ...

    def go(self, backend: Backend) -> None: ...

    def refuse(self, refusal: Refusal) -> None: ...


class RequestQueue:
    """The requests of one process that found no replica with room."""

    def __init__(self, length: int, table: Callable[[], ReplicaTable], now: Callable[[], float]) -> None:
        self.line: FairQueue[Waiting] = FairQueue(length)
        self._table, self._now = table, now

    def __len__(self) -> int:
        return self.line.count

    def wait(self, one: Waiting, queue_s: float) -> None:
        """Take a place in the line, or hear why that is no use."""
        state = one.state
        if not self._table().known(state.want.model):
            one.refuse(errors.no_capacity(state.want.model))
            return
        # Who has stopped waiting for an answer is not let through ahead of those who wait.
        state.queued_until = self._now() + min(queue_s, state.client_s)
        tenant = state.account.tenant
        if not self.line.put(one, tenant.id, tenant.weight, state.queued_until):
            one.refuse(errors.overloaded(2.0))

    def leave(self, one: Waiting) -> None:
        if one.state.queued_until is not None:
            one.state.queued_until = None
            self.line.remove(one)

    def pump(self) -> None:
        """A place may be free: let the next ones through."""
        while self.line.count:
            places: list[Backend] = []

            def fits(one: Waiting, places: list[Backend] = places) -> bool:
                place = self._table().choose(one.state.want, frozenset())
                if place is not None:
                    places.append(place)
                return place is not None

            one = self.line.pop(fits)
            if one is None:
                return
            one.go(places[0])

    def expire(self, now: float) -> None:
        """Tell those whose time is over."""
        for one in self.line.expired(now):
            one.state.queued_until = None
            refusal = errors.no_capacity(one.state.want.model)
            wait_s = one.state.retry_after_s
            one.refuse(refusal if wait_s is None else replace(refusal, retry_after_s=wait_s))
