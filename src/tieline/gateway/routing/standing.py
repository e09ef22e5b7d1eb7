"""Tenants whose requests are mostly refused: they work apart from the others. Pure.

What engines hate comes in numbers, and from one tenant: a load test gone wrong, a fuzzer, a client that tries fields.
Most of it is refused before or by an engine, and that is what it is known by; the rest, a grammar that takes seconds to
compile or a prompt as long as the context, holds an engine up for everybody. A tenant in poor standing is therefore
served on few replicas, which others are sent to last (`routing.apart`), and its requests are carried to no second
engine that might die of them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

# So many were refused as bad within a window, and more than this share of all.
MIN_BAD: Final = 10
WINDOW_S: Final = 60.0
BAD_SHARE: Final = 0.25
# How long a poor standing lasts after the last reason for it.
POOR_S: Final = 60.0
MAX_TENANTS: Final = 1_024
# Statuses that say: the request itself cannot be carried out.
BAD: Final = frozenset({400, 413, 415, 422})


@dataclass(slots=True)
class _Count:
    """What became of a tenant's latest requests."""

    since: float
    bad: int = 0
    good: int = 0
    poor_until: float = float("-inf")


class Standings:
    """Of tenants that had a bad request lately; the oldest make room."""

    def __init__(self) -> None:
        self.counts: OrderedDict[str, _Count] = OrderedDict()

    def bad(self, tenant: str, now: float) -> None:
        """A request that cannot be carried out, or that an engine died of."""
        count = self.counts.get(tenant)
        if count is None:
            count = self.counts[tenant] = _Count(now)
            if len(self.counts) > MAX_TENANTS:
                self.counts.popitem(last=False)
        elif now - count.since > WINDOW_S:
            count.since, count.bad, count.good = now, 0, 0
            self.counts.move_to_end(tenant)
        count.bad += 1
        if count.bad >= MIN_BAD and count.bad > BAD_SHARE * (count.bad + count.good):
            count.poor_until = now + POOR_S

    def good(self, tenant: str) -> None:
        """One was answered. Need not be called while `counts` is empty."""
        if (count := self.counts.get(tenant)) is not None:
            count.good += 1

    def is_poor(self, tenant: str, now: float) -> bool:
        count = self.counts.get(tenant)
        return count is not None and now < count.poor_until

    def poor(self, now: float) -> frozenset[str]:
        """Tenants in poor standing."""
        if not self.counts:
            return frozenset()
        return frozenset(name for name, count in self.counts.items() if now < count.poor_until)
