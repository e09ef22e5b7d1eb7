"""The link between the machines, as bad as it gets: messages lost, late, twice, overtaken, answers lost, ways cut."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.simulation.machinery import Loop, Program
from tests.store.simulate import ViolationError

from tieline.link import LinkDownError
from tieline.link.transport import Handler, _matches

HUB = "core"
Follower = tuple[Program, str, asyncio.Queue[tuple[str, bytes]]]


class Network:
    """Who serves and follows what, and which ways are cut."""

    def __init__(self, loop: Loop, draw: random.Random, seen: Counter[str]) -> None:
        self.loop, self.draw, self.seen, self.healed = loop, draw, seen, False
        self.handlers: dict[str, tuple[Program, Handler]] = {}
        self.followers: list[Follower] = []
        self.cuts: dict[tuple[str, str], float] = {}  # from, to: until when nothing passes
        self.number = itertools.count()
        self._newest: dict[object, int] = {}
        loop.way = self.way

    def cut(self, here: str, there: str, for_s: float) -> None:
        self.cuts[here, there] = self.loop.moment + for_s

    def blocked(self, here: str, there: str) -> float:
        """For how long nothing passes."""
        return 0.0 if self.healed else max(0.0, self.cuts.get((here, there), 0.0) - self.loop.moment)

    def way(self, here: str, there: str) -> float:
        """How long bytes of a connection take; they wait for a way that is cut."""
        if here == there:
            return 0.0002
        return self.blocked(here, there) + (0.002 if self.healed else 0.002 + self.draw.expovariate(1 / 0.004))

    def copies(self, here: str, there: str, what: str, late_s: float) -> list[float]:
        """When a message arrives: not at all, once, or twice."""
        draw, seen = self.draw, self.seen
        if self.healed or here == there:
            return [0.001]
        if self.blocked(here, there):
            seen[f"{what} into a way that is cut"] += 1
            return []
        fate, delay = draw.random(), draw.expovariate(1 / 0.2)
        if fate < 0.03:
            seen[f"{what} lost"] += 1
            return []
        if fate < 0.06:
            seen[f"{what} late"] += 1
            return [late_s + draw.uniform(0.1, 30.0)]
        if fate < 0.10:
            seen[f"{what} twice"] += 1
            return [delay, delay + draw.uniform(0.0, 600.0)]
        return [delay]

    def overtaken(self, where: object, number: int) -> None:
        if number < self._newest.get(where, -1):
            self.seen["message overtaken by a later one"] += 1
        else:
            self._newest[where] = number

    def later(self, delay: float, program: Program, work: Callable[[], object]) -> None:
        self.loop.call_later(delay, lambda: work() if program.alive else None, context=program.context)


class Wire:
    """One program's link; see `tieline.link.Link`."""

    def __init__(self, net: Network, program: Program) -> None:
        self.net, self.program = net, program
        program.on_death.append(self._drop)

    def _drop(self) -> None:
        net = self.net
        net.followers = [one for one in net.followers if one[0] is not self.program]
        net.handlers = {name: one for name, one in net.handlers.items() if one[0] is not self.program}

    @property
    def up(self) -> bool:
        here = self.program.machine
        return not (self.net.blocked(here, HUB) or self.net.blocked(HUB, here))

    async def request(self, subject: str, data: bytes, timeout_s: float = 10.0) -> bytes:
        net = self.net
        if not self.program.alive:
            raise LinkDownError("this program is dead")
        answer: asyncio.Future[bytes] = net.loop.create_future()
        number = next(net.number)
        for delay in net.copies(self.program.machine, HUB, "message", timeout_s):
            net.loop.call_later(delay, self._arrived, subject, data, answer, number)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise LinkDownError(f"no answer to {subject}") from None

    def _arrived(self, subject: str, data: bytes, answer: asyncio.Future[bytes], number: int) -> None:
        net = self.net
        net.overtaken((self.program.machine, HUB), number)
        for pattern, (program, handler) in net.handlers.items():
            if _matches(pattern, subject) and program.alive:
                program.spawn(self._handle(program, handler, subject, data, answer))
                return
        net.later(0.01, self.program, lambda: _fail(answer, LinkDownError(f"nobody serves {subject}")))

    async def _handle(
        self, program: Program, handler: Handler, subject: str, data: bytes, answer: asyncio.Future[bytes]
    ) -> None:
        net = self.net
        try:
            reply = await handler(subject, data)
        except Exception as error:
            if not program.alive:
                return
            raise ViolationError(f"{subject} is not answered: {type(error).__name__}: {error}") from error
        if program.alive:
            for delay in net.copies(HUB, self.program.machine, "answer", 10.0):
                net.later(delay, self.program, lambda: None if answer.done() else answer.set_result(reply))

    async def serve(self, subject: str, handler: Handler) -> None:
        self.net.handlers[subject] = (self.program, handler)

    async def publish(self, subject: str, data: bytes) -> None:
        net = self.net
        if not self.program.alive or not net.followers:
            return
        number = next(net.number)
        for program, pattern, queue in list(net.followers):
            if _matches(pattern, subject):
                for delay in net.copies(self.program.machine, program.machine, "message", 5.0):
                    net.later(delay, program, lambda q=queue, p=program: self._heard(q, p, subject, data, number))  # type: ignore[misc]

    def _heard(self, queue: Any, program: Program, subject: str, data: bytes, number: int) -> None:
        self.net.overtaken((program.machine, subject), number)
        queue.put_nowait((subject, data))

    async def follow(self, subject: str) -> AsyncIterator[tuple[str, bytes]]:
        queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.net.followers.append((self.program, subject, queue))
        while True:
            yield await queue.get()

    async def close(self) -> None:
        self._drop()


def _fail(answer: asyncio.Future[bytes], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
