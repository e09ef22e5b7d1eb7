"""Breakers of a site and how many of their rigs may start at once: an inrush trips what its feeder carries well.

Knows addresses. Stopping is never held up. What stands behind no breaker that is named starts with its group's waves
alone.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Breaker:
    """`at_once` of its rigs, whatever group they are of, are told to start within `every_s` seconds."""

    name: str
    addresses: frozenset[str]
    at_once: int
    every_s: float = 10.0


@dataclass(slots=True)
class BreakerPace:
    """Who started behind which breaker lately; one for all groups of a site."""

    breakers: Sequence[Breaker] = ()
    _behind: dict[str, Breaker] = field(default_factory=dict)
    _started: dict[str, deque[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._behind = {address: one for one in self.breakers for address in one.addresses}

    def start(self, address: str, now_s: float) -> bool:
        """True where this rig may be told to start now, and is counted. `now_s`: of a clock that only runs forwards."""
        breaker = self._behind.get(address)
        if breaker is None:
            return True
        started = self._started.setdefault(breaker.name, deque())
        while started and now_s - started[0] >= breaker.every_s:
            started.popleft()
        if len(started) >= breaker.at_once:
            return False
        started.append(now_s)
        return True


def addresses_of(items: Iterable[str]) -> frozenset[str]:
    """ "10.0.7.1" is one address, "10.0.7.1-36" a range of the last number. Raises ValueError naming the item."""
    addresses: set[str] = set()
    for item in items:
        first, dash, last = item.partition("-")
        try:
            start = ipaddress.IPv4Address(first)
            low = int(start) & 0xFF
            end = int(last) if dash else low
        except ValueError:
            raise ValueError(f"{item!r} is no address; write 10.0.7.1 or 10.0.7.1-36") from None
        if not low <= end <= 255:
            raise ValueError(f"{item!r} is no range; end it between {low} and 255")
        addresses.update(str(start + step) for step in range(end - low + 1))
    return frozenset(addresses)
