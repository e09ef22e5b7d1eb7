"""Who waits, in what order, and for how long. Pure.

When replicas are full, requests wait here by tenant. The next to go is the first request of the tenant that
has had the least for its weight since it began to wait: a tenant that sends half of all load gets its share,
and the others do not wait behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Line(Generic[T]):
    weight: float
    served: float = 0.0  # virtual time: requests let through, divided by weight
    waiting: deque[tuple[T, float]] = field(default_factory=deque)  # (item, deadline)


class FairQueue(Generic[T]):
    """Bounded, and every item leaves it by its deadline."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._lines: dict[str, _Line[T]] = {}
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
            line = self._lines[tenant] = _Line(weight, self._clock)
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

    def _forget(self, tenant: str, line: _Line[T]) -> None:
        if not line.waiting and line.served <= self._clock:
            del self._lines[tenant]
