"""On another replica: after a death, away from one that will go dark, beside one whose first token is late.

A stream goes on from exactly what its client has. Whether it may, and how, is said by `failover` and `resume`; this
file looks for a replica, asks it, and says when it is ahead. Off the path of a request whose one replica answers.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import Final

import msgspec

from tieline.gateway.errors import Refusal
from tieline.gateway.requests import choice_group, chunks, counting, delivery, failover
from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.choice_group import ChoiceGroup
from tieline.gateway.requests.continuity import resume
from tieline.gateway.requests.continuity.resume_calls import CannotContinueError, Continuing
from tieline.gateway.requests.delivery import Delivery
from tieline.gateway.requests.state import Phase
from tieline.gateway.wire.upstream import Backend

log = logging.getLogger("tieline.gateway")

NOBODY: Final[frozenset[str]] = frozenset()


class Moving(Delivery):
    """An answer whose replica may have to be another one."""

    second: Attempt | None = None  # runs beside the first until one of them is ahead
    group: ChoiceGroup | None = None  # of choices that go on by themselves
    trace = b""  # a `traceparent` header line for engines

    @property
    @abstractmethod
    def binding(self) -> bool:
        """Does it hold a share of a budget, or the right to make a call that nobody else makes?"""

    @abstractmethod
    def tick(self, now: float) -> None: ...

    @abstractmethod
    def cancel(self) -> None: ...

    @abstractmethod
    def abandon(self, status: int) -> None: ...

    @abstractmethod
    def pause(self, paused: bool) -> None: ...

    @abstractmethod
    def best(self, avoid: frozenset[str] | set[str]) -> Backend | None:
        """The best replica with room."""

    @abstractmethod
    def place(self, avoid: frozenset[str]) -> None:
        """Send the request to the best replica with room, or wait for one."""

    @abstractmethod
    def ask(self, backend: Backend, path: str, body: bytes) -> Attempt:
        """An attempt there, to be started."""

    @abstractmethod
    def on_frames(self, attempt: Attempt, payloads: list[bytes]) -> None: ...

    @abstractmethod
    def complete(self, attempt: Attempt) -> None:
        """All of the answer is here."""

    @abstractmethod
    def end(self, attempt: Attempt, ended: str) -> None:
        """Stop an attempt, and record how it ended."""

    @abstractmethod
    def refuse(self, refusal: Refusal) -> None:
        """An error answer, or the error that ends a stream which has begun."""

    def take_over(self) -> None:
        """Continue what was delivered in part on another replica."""
        state = self.state
        why = failover.hopeless(state, self.now(), self.shared.settings.clocks.resume_s)
        if why is not None:
            self.give_up(why)
            return
        state.resumed = True
        state.turn(Phase.RESUMING)
        self.task = self.shared.spawn(self._search())

    async def _search(self) -> None:
        """Find a replica and continue there, within the resume clock."""
        state, pool, shared = self.state, self.pool, self.shared
        assert state.adrift_since is not None
        deadline = state.adrift_since + shared.settings.clocks.resume_s
        avoid: set[str] = {self.attempt.backend.id} if self.attempt is not None else set()
        unable: dict[str, str] = {}  # replica: why not there
        shared.failovers.add(state)
        try:
            while not state.done:
                if self.now() >= deadline:
                    self.give_up("no replica could continue this stream in time")
                    return
                if shared.may_fail_over(state):
                    want = state.want
                    backend = pool.choose_at_all(want, avoid | unable.keys()) or pool.choose_at_all(want, set(unable))
                    if backend is not None:
                        try:
                            if await self._continue_on(backend, deadline - self.now()):
                                return
                        except CannotContinueError as error:
                            unable[backend.id] = str(error)
                            continue
                        avoid = {backend.id}
                    elif unable and all(one.id in unable for one in pool.serving(want)):
                        self.give_up("this stream cannot be continued: " + "; ".join(sorted(set(unable.values()))))
                        return
                await asyncio.sleep(failover.LOOK_AGAIN_S)
        finally:
            shared.failovers.discard(state)

    async def _continue_on(self, backend: Backend, left_s: float) -> bool:
        """Start an attempt on `backend` from the text delivered so far: instead of the one that is lost, or beside
        the one that is left. False: it could not. Raises CannotContinueError."""
        state = self.state
        phase = state.phase
        try:
            async with asyncio.timeout(left_s):
                plan = await Continuing(self.pool).plan(state, backend, state.text)
        except (OSError, TimeoutError, msgspec.DecodeError) as error:
            backend.failed(self.now(), lost=True, refused=isinstance(error, OSError))
            log.info("resume failed: request=%s replica=%s: %s", state.id, backend.id, error)
            return False
        if state.phase is not phase:  # it ended meanwhile, or has lost the replica that it was to leave
            return True
        if plan is None:  # nothing is left to generate
            self._end_at_limit()
            return True
        attempt = self.ask(backend, plan.path, plan.body)
        attempt.base_tokens, attempt.repeated = plan.base, plan.repeated
        attempt.read, attempt.replay = plan.read, plan.replay
        if phase is Phase.MOVING:
            self.second = attempt
        else:
            self.attempt = attempt
            state.turn(Phase.CONNECTING)
        attempt.start(self.shared.settings.clocks.connect_s)
        return True

    def _end_at_limit(self) -> None:
        self.send(delivery.at_limit(self.state))
        if self.attempt is None:
            self.end_stream()
        else:
            self.complete(self.attempt)

    def drain(self, attempt: Attempt) -> bool:
        """Its replica was told to go dark: start the stream elsewhere, then leave. True: it is being moved."""
        state = self.state
        if attempt is not self.attempt or not failover.may_move(state, attempt):
            return False
        backend = self.best({attempt.backend.id})
        if backend is None or not failover.can_go_on(state, backend.engine):
            return False
        attempt.parked = []
        state.resumed = True
        state.turn(Phase.MOVING)
        self.task = self.shared.spawn(self._move_to(backend))
        return True

    async def _move_to(self, backend: Backend) -> None:
        try:
            if await self._continue_on(backend, failover.MOVE_S):
                return
        except CannotContinueError as error:
            log.info("not moved: request=%s replica=%s: %s", self.state.id, backend.id, error)
        if self.state.phase is Phase.MOVING and self.second is None:
            self.stay()

    def hedge(self, attempt: Attempt) -> None:
        """Ask a second, idle replica too."""
        state, shared = self.state, self.shared
        other = self.best({attempt.backend.id})
        if other is None or other.live or not shared.hedges.take():
            return
        if state.ids is not None and other.engine != attempt.backend.engine:
            return
        body = state.request.encode(other.name_of(state.offer), state.limit)
        if state.ids is not None:
            body = state.ids.ask(body)
        self.second = second = self.ask(other, resume.PATHS[state.request.kind], body)
        second.hedges = True
        state.turn(Phase.MOVING)
        shared.stats.hedged += 1
        second.start(shared.settings.clocks.connect_s)

    def ahead(self, attempt: Attempt) -> None:
        """Frames of an attempt while two run: the new one takes over, or the hedge was in vain."""
        first, second = self.attempt, self.second
        assert second is not None
        if attempt is second:
            self.attempt, self.second = second, None
            self.state.turn(Phase.STREAMING)
            if first is not None:
                self.end(first, "hedged" if second.hedges else "moved")
        elif second.hedges:
            self.second = None
            self.state.turn(Phase.STREAMING)
            self.end(second, "hedged")

    def stay(self) -> None:
        """There is no second attempt, or not any more: the first goes on, with the frames that were held back."""
        state, attempt, second = self.state, self.attempt, self.second
        if second is not None:
            self.second = None
            self.end(second, "moved")
        if attempt is None:
            return
        state.turn(Phase.STREAMING if attempt.streaming else Phase.CONNECTING)
        payloads, attempt.parked = attempt.parked, None
        if payloads and attempt.ended is None:
            self.on_frames(attempt, payloads)

    def split(self) -> None:
        """The replica is lost: a part for each unfinished choice."""
        state, choices = self.state, self.state.choices
        assert choices is not None
        group = self.group = ChoiceGroup(self)
        self.attempt = None
        state.turn(Phase.RESUMING)
        state.output_tokens = state.prompt_tokens = None  # what was reported is of some choices only
        group.output = sum(choices.tokens.values())
        parts: list[Moving] = []
        for index in range(state.request.answers):
            if index in choices.finished:
                continue
            one = type(self)(choice_group.part(state, index), group, self.pool, self.shared)
            one.meter, one.trace = group, self.trace
            parts.append(one)
            if index not in choices.opened:
                self.send(chunks.opening(state.public_names(), state.request.kind, index))
        group.live.extend(parts)
        texts = delivery.texts_of(state)
        uncounted = [
            (*texts.get(at, ("", False)), len(choices.texts.get(at, ())))
            for at in choices.finished
            if at not in choices.tokens
        ]
        if uncounted:  # finished before the death, and reported only at the end of all: their text is counted now
            group.counting = True
            self.shared.spawn(self._count_choices(group, uncounted))
        for part in parts:
            self.shared.live.add(part)
            if part.state.delivered:
                part.take_over()
            else:
                part.place(NOBODY)

    def give_up(self, why: str) -> None:
        words = self.state.words
        reason = f"{why}; the engine said: {words}" if words else why
        self.refuse(Refusal(502, reason, "stream_interrupted", type="server_error"))

    async def _count_choices(self, group: ChoiceGroup, texts: list[tuple[str, bool, int]]) -> None:
        """Of each: what it says, whether the model ended it, and in how many frames it came."""
        for text, ended, frames in texts:
            _, output = await Continuing(self.pool).count_whole(self.state, [(text, ended)], None)
            frames += ended and output is not None
            group.counted(counting.estimate(output, frames, self.state.limit))
        group.counting = False
        group.settle()
