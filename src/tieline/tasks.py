"""Long-lived tasks: what each does, whether it is well, and what became of it.

A `Registry` keeps the tasks of one process. Each is registered with a name and what it does. When one ends, by an
error or by returning, or stands still past the time it gave itself (`beat`), the registry says so at once in
`troubles`, logs the cause once, and starts it again. Nothing here knows what the tasks work on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tieline.clock import Clock, Interval

log = logging.getLogger("tieline.tasks")

Work = Callable[[], Coroutine[Any, Any, None]]

# First restart nearly at once, then slower: a task that dies at each start must not take the processor with it.
BACKOFF_S: Final = (0.05, 0.5, 1.0, 2.0, 5.0)
# A restarted task is well once it has run this long, so that a page that asks every few seconds sees the trouble.
STEADY_S: Final = 5.0
# A task that has run this long since its last end starts at the first backoff again.
FORGET_S: Final = 60.0
# How long a task that is ended for standing still may take to end.
CANCEL_S: Final = 2.0
# A task that was asked to end and has not is asked again; what it does at its end takes a second at most.
CANCEL_AGAIN_S: Final = 3.0
# The same cause of the same task is logged again after this long, with how often it happened meanwhile.
LOG_AGAIN_S: Final = 300.0
# What a connection that is ended has to send goes within that, or is left unsent.
LAST_WORD_S: Final = 0.3
# Between two looks at whether something has become well again.
LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is not well: which task, what it does, why, since when (the loop's clock) and how often it ended."""

    name: str
    what: str
    cause: str
    since: float
    times: int

    @property
    def line(self) -> str:
        again = f", {self.times} times" if self.times > 1 else ""
        return f"{self.name} ({self.what}): {self.cause}{again}"


@dataclass(slots=True)
class _TaskState:
    """One registered task or piece of work."""

    name: str
    what: str
    trouble: Trouble | None = None
    task: asyncio.Task[None] | None = None
    due: float | None = None  # standing still if it has not beaten by then; None: it gave no time
    began: float = 0.0
    stood: StoodStillError | None = None  # it is being ended for standing still
    logged_at: float = float("-inf")
    logged: str = ""
    silent: int = 0
    ignored: int = 0


_current: ContextVar[_TaskState | None] = ContextVar("tieline_task", default=None)


def beat(within_s: float) -> None:
    """Called by a registered task: I go on, and will say so again within `within_s` seconds. Elsewhere it does
    nothing, so that the same loop runs in a test without a registry."""
    state = _current.get()
    if state is not None:
        state.due = asyncio.get_running_loop().time() + within_s


def ignore() -> None:
    """Called by a registered task: one thing that came in was not taken. Elsewhere it does nothing, as `beat`."""
    state = _current.get()
    if state is not None:
        state.ignored += 1


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended. One cancellation may be swallowed (Python 3.11's `wait_for` returns
    a result that came at the same moment), so it is said again."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


class Connections:
    """Those that a server of streams has open, so that it ends them itself: one that the loop cancels at its own end is
    told as an error, with a traceback, where nothing was wrong."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    @contextlib.contextmanager
    def serving(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        """While one is served, by the task that this is."""
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            yield
        finally:
            self._open.pop(task, None)
            writer.close()

    async def close(self) -> None:
        """Each sends what it has to send, hears that nothing comes any more, and ends."""
        left = dict(self._open)
        for writer in left.values():
            writer.close()
        if left:
            await asyncio.wait(left, timeout=LAST_WORD_S)
        for task, writer in left.items():
            if not task.done():
                writer.transport.abort()  # who does not read keeps nobody
        if still := [task for task in left if not task.done()]:
            await asyncio.wait(still, timeout=LAST_WORD_S)


@dataclass
class Registry:
    """The long-lived tasks of one process. `on_change` is called on the loop whenever `troubles` changed."""

    on_change: Callable[[], None] | None = None
    _states: dict[str, _TaskState] = field(default_factory=dict)
    _guards: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _looking: asyncio.Task[None] | None = None

    def keep(self, name: str, what: str, work: Work) -> None:
        """Run `work()` until `close`, again whenever it ends. `name` is unique in the process; raises ValueError
        where it is taken."""
        if name in self._guards:
            raise ValueError(f"a task named {name!r} is registered already")
        state = self._states[name] = _TaskState(name, what)
        self._guards[name] = asyncio.create_task(self._guard(state, work), name=f"guard of {name}")
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="look after tasks")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks that are kept running."""
        return tuple(self._guards)

    def task(self, name: str) -> asyncio.Task[None] | None:
        """The running task of a name, None while it waits to be started again."""
        return self._states[name].task

    @property
    def ignored(self) -> dict[str, int]:
        """How much of what came in each task did not take since this process began; tasks with none are left out."""
        return {name: state.ignored for name, state in self._states.items() if state.ignored}

    @property
    def troubles(self) -> list[Trouble]:
        """What is not well now, oldest first."""
        return sorted((s.trouble for s in self._states.values() if s.trouble is not None), key=lambda t: t.since)

    async def drop(self, name: str) -> None:
        """End one task and forget it; what is not registered is not missed."""
        state, guard = self._states.pop(name, None), self._guards.pop(name, None)
        await end([t for t in (guard, None if state is None else state.task) if t is not None])
        if state is not None and state.trouble is not None:
            self._changed()

    @contextlib.contextmanager
    def attempt(self, name: str, what: str) -> Iterator[None]:
        """A piece of work inside a loop that must go on whatever happens to it: what it raises is logged once and
        is a trouble until an attempt of the same name succeeds."""
        state = self._states.setdefault(name, _TaskState(name, what))
        try:
            yield
        except Exception as error:  # any: that is what it is for; the cause is said, and shown until it is mended
            self._fail(state, _cause(error), error)
        else:
            if state.trouble is not None and name not in self._guards:
                self._well(state)

    async def close(self) -> None:
        """End all tasks and wait for them."""
        looking = [] if self._looking is None else [self._looking]
        running = [s.task for s in self._states.values() if s.task is not None]
        await end([*looking, *self._guards.values(), *running])
        self._guards.clear()
        self._states.clear()
        self._looking = None

    # --- how it is done ---------------------------------------------------------------------

    async def _guard(self, state: _TaskState, work: Work) -> None:
        loop = asyncio.get_running_loop()
        ends = 0
        while True:
            state.due, state.began = None, loop.time()
            state.task = task = asyncio.create_task(_run(state, work), name=state.name)
            try:
                error = await self._until_over(state, task)
            finally:
                task.cancel()
            state.task = None
            if loop.time() - state.began > FORGET_S:
                ends = 0
            self._fail(state, _cause(error), error)
            await asyncio.sleep(BACKOFF_S[min(ends, len(BACKOFF_S) - 1)])
            ends += 1

    async def _until_over(self, state: _TaskState, task: asyncio.Task[None]) -> BaseException:
        """Why the task is over: its error, that it returned, or that it stood still and was ended for it."""
        await asyncio.wait({task})
        stood, state.stood = state.stood, None
        if stood is not None:
            return stood
        if task.cancelled():
            return EndedError("was cancelled")
        return task.exception() or EndedError("returned")

    async def _look(self) -> None:
        """One look at all tasks: who stands still, and who has run well for long enough to be well again."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            now = loop.time()
            for name in list(self._guards):
                state = self._states[name]
                if state.task is None:
                    continue
                if state.due is not None and now > state.due:
                    self._end_still(state, state.task, now - state.due)
                elif state.trouble is not None and now - state.began >= STEADY_S:
                    self._well(state)

    def _end_still(self, state: _TaskState, task: asyncio.Task[None], late_s: float) -> None:
        """Ended once; never two of one task at a time, so one that does not end stays, and stays a trouble."""
        if state.stood is None:
            state.stood = StoodStillError(f"stood still past the time it gave itself ({late_s:.1f} s)")
            self._fail(state, "stands still", state.stood)
            task.cancel()
        elif late_s > CANCEL_S and state.trouble is not None and "does not end" not in state.trouble.cause:
            self._fail(state, "stands still and does not end", state.stood)

    def _fail(self, state: _TaskState, cause: str, error: BaseException | None) -> None:
        now = asyncio.get_running_loop().time()
        before = state.trouble
        since, times = (now, 1) if before is None else (before.since, before.times + 1)
        state.trouble = Trouble(state.name, state.what, cause, since, times)
        if cause != state.logged or now - state.logged_at >= LOG_AGAIN_S:
            again = f" ({state.silent} times more since it was last said)" if state.silent else ""
            log.error("%s (%s): %s%s", state.name, state.what, cause, again, exc_info=error)
            state.logged, state.logged_at, state.silent = cause, now, 0
        else:
            state.silent += 1
        if before is None or before.cause != cause:
            self._changed()

    def _well(self, state: _TaskState) -> None:
        log.info("%s (%s): well again", state.name, state.what)
        state.trouble = None
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()


class EndedError(Exception):
    """A task that should run for ever is over without an error."""


class StoodStillError(Exception):
    """A task that has not said that it goes on by the time it gave itself."""


async def every(clock: Clock, step: Callable[[datetime], Awaitable[None]], length: timedelta, work_s: float) -> None:
    """Call `step(now)` at each multiple of `length`, for ever, as a registered task: a step that takes longer than
    `work_s` stands still. A step that overran is not made up for: the next is the next boundary after now."""
    speed = float(getattr(clock, "speed", 1.0))
    while True:
        boundary = Interval.holding(clock.now(), length).end
        beat((boundary - clock.now()).total_seconds() / speed + work_s)
        await clock.sleep_until(boundary)
        beat(work_s)
        await step(clock.now())


async def _run(state: _TaskState, work: Work) -> None:
    _current.set(state)
    await work()


def _cause(error: BaseException) -> str:
    """One line: what a person needs to know first."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_cause(one) for one in error.exceptions)
    words = " ".join(str(error).split())[:300]
    if isinstance(error, EndedError | StoodStillError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
