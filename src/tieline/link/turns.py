"""Messages of many speakers, taken in turn: one of each after another, so that whoever floods delays himself.

Who speaks is read from the subject, on which the link's server lets nobody else speak. Each speaker's messages keep
their order; of one who is further ahead than the bound the oldest are dropped, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Subjects whose second word says what is asked, and whose third who asks.
_ASKS: Final = frozenset({"plan.get", "orders.get", "config.get", "tunnel.site", "tunnel.cut"})
# An honest site has a batch and a question or two under way; a gateway's heartbeats come some a second.
MOST_EACH: Final = 256
# More than any fleet has sites; beyond it speakers share a turn.
MOST_SPEAKERS: Final = 4096


def speaker(subject: str) -> str:
    """The site, or the part, that a subject belongs to; the whole where it names none."""
    words = subject.split(".", 3)
    if len(words) > 2 and f"{words[0]}.{words[1]}" in _ASKS:
        return words[2]
    return words[1] if len(words) > 1 else subject


class Turns(Generic[T]):
    """`put` never waits; `take` waits for somebody to speak."""

    def __init__(self, most_each: int = MOST_EACH) -> None:
        self._most = most_each
        self._waiting: dict[str, deque[T]] = {}  # whose turn is next comes first
        self._some = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def put(self, subject: str, message: T) -> None:
        name = speaker(subject)
        if name not in self._waiting and len(self._waiting) >= MOST_SPEAKERS:
            name = next(iter(self._waiting))
        queue = self._waiting.get(name)
        if queue is None:
            queue = self._waiting[name] = deque()
        if len(queue) >= self._most:
            queue.popleft()
            self.dropped += 1
        queue.append(message)
        self._some.set()

    @property
    def crowded(self) -> bool:
        """Somebody is far ahead of what is done here: much more may still lie before others' messages, unread."""
        return any(4 * len(queue) >= self._most for queue in self._waiting.values())

    def next(self) -> T | None:
        """The next in turn; None where nobody waits."""
        if not self._waiting:
            return None
        name = next(iter(self._waiting))
        queue = self._waiting.pop(name)
        message = queue.popleft()
        if queue:
            self._waiting[name] = queue  # behind the others
        return message

    async def take(self) -> T | None:
        """The next in turn, waited for; None once it is closed and empty."""
        while (message := self.next()) is None:
            if self._closed:
                return None
            self._some.clear()
            await self._some.wait()
        return message

    def close(self) -> None:
        """Nobody speaks any more."""
        self._closed = True
        self._some.set()
