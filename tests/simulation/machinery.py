"""Simulated time, programs that can be killed, and the sockets between them.

The loop's time passes only when everybody waits. A `Program` is one running process: what it starts ends with it, and
what a killed one still does reaches nobody. Sockets are pipes in memory whose bytes take time, and wait while the way
between their machines is cut.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.store.simulate import ViolationError

T0 = datetime(2026, 11, 1, tzinfo=UTC)

RUNNING: contextvars.ContextVar[Program | None] = contextvars.ContextVar("running", default=None)


class Loop(asyncio.SelectorEventLoop):
    """An event loop with a time of its own, sockets in memory, and work for other threads done in place."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__(_Selector(self))
        self.set_task_factory(_owned_task)
        self.listening: dict[object, _Listener] = {}
        self.way: Callable[[str, str], float] = lambda here, there: 0.0005  # seconds that bytes take

    def time(self) -> float:
        return self.moment

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def create_unix_server(self, factory: Any, path: Any = None, **_: Any) -> Any:
        Path(path).touch()
        return self._listen(factory, str(path))

    async def create_server(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        return self._listen(factory, port)

    async def create_unix_connection(self, factory: Any, path: Any = None, **_: Any) -> Any:
        return await self._connect(factory, str(path))

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        return await self._connect(factory, port)

    def _listen(self, factory: Any, place: object) -> _Listener:
        listener = self.listening[place] = _Listener(self, factory, place)
        return listener

    async def _connect(self, factory: Any, place: object) -> Any:
        listener, program = self.listening.get(place), RUNNING.get()
        assert program is not None
        if listener is None or not listener.program.alive:
            raise ConnectionRefusedError(f"nobody listens at {place}")
        await asyncio.sleep(self.way(program.machine, listener.program.machine))
        if not listener.program.alive:
            raise ConnectionRefusedError(f"nobody listens at {place}")
        here, there = Pipe(self, program), Pipe(self, listener.program)
        here.peer, there.peer = there, here
        protocol = factory()
        here.begin(protocol)
        there.program.call_soon(lambda: there.begin(listener.factory()))
        return here, protocol


class _Selector(selectors.BaseSelector):
    """Nothing outside is ever heard: waiting is the passing of time."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Any:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise ViolationError("everybody waits, and nothing will ever happen")
        self._loop.moment += max(timeout, 0.0)
        return []

    def close(self) -> None:
        self._keys.clear()


def _owned_task(loop: Any, coro: Any, context: Any = None) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
    program = context.get(RUNNING) if context is not None else RUNNING.get()
    if program is not None:
        program.tasks[task] = None
        task.add_done_callback(program.ended)
    return task


class SimulatedClock:
    """A machine's clock: it steps and drifts."""

    speed = 1.0

    def __init__(self, loop: Loop) -> None:
        self._loop, self.offset_s, self.drift, self._since = loop, 0.0, 0.0, 0.0

    def now(self) -> datetime:
        moment = self._loop.moment
        return T0 + timedelta(seconds=moment + (moment - self._since) * self.drift + self.offset_s)

    def monotonic(self) -> float:
        return self._loop.moment

    def set(self, offset_s: float, drift: float) -> None:
        self.offset_s, self.drift, self._since = offset_s, drift, self._loop.moment

    @property
    def off_s(self) -> float:
        """How far it is from the truth."""
        return self.offset_s + (self._loop.moment - self._since) * self.drift

    async def sleep_until(self, moment: datetime) -> None:
        while (left := (moment - self.now()).total_seconds()) > 0:
            await asyncio.sleep(min(left, 900.0))


class Program:
    """One running process on a machine."""

    def __init__(self, loop: Loop, machine: str, name: str) -> None:
        self.loop, self.machine, self.name, self.alive = loop, machine, name, True
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in the order in which they began
        self.pipes: dict[Pipe, None] = {}
        self.on_death: list[Callable[[], None]] = []
        self.failed: BaseException | None = None
        self.context = contextvars.copy_context()
        self.context.run(RUNNING.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it as part of this program."""
        return self.loop.create_task(work, context=self.context.copy())

    def call_soon(self, work: Callable[[], object]) -> None:
        if self.alive:
            self.loop.call_soon(work, context=self.context)

    def ended(self, task: asyncio.Task[Any]) -> None:
        """A broken promise anywhere ends the run, whoever waits for the task."""
        self.tasks.pop(task, None)
        if not task.cancelled() and isinstance(error := task.exception(), ViolationError):
            self.failed = error

    def kill(self, *, silently: bool = False) -> None:
        """From here on it says and does nothing. `silently`: the power went, nobody is told that its sockets closed."""
        if not self.alive:
            return
        self.alive = False
        for pipe in list(self.pipes):
            pipe.die(silently)
        for tell in self.on_death:
            tell()
        for task in list(self.tasks):
            task.cancel()


class _Listener:
    def __init__(self, loop: Loop, factory: Any, place: object) -> None:
        program = RUNNING.get()
        assert program is not None
        self.program, self.factory, self._loop, self.place = program, factory, loop, place
        self.sockets = [self]

    def getsockname(self) -> tuple[str, object]:
        return "127.0.0.1", self.place

    def close(self) -> None:
        if self._loop.listening.get(self.place) is self:
            del self._loop.listening[self.place]


class Pipe(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, loop: Loop, program: Program) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self._loop, self.program, self.closed = loop, program, False
        self.peer: Pipe = self
        self._protocol: Any = None
        self._coming: deque[bytes | None] = deque()
        self._last = 0.0
        self._paused, self._held = False, False
        program.pipes[self] = None

    def begin(self, protocol: Any) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    # --- writing ---

    def write(self, data: Any) -> None:
        if not self.closed and data:
            self._carry(bytes(data))

    def _carry(self, what: bytes | None) -> None:
        if not self.program.alive:
            return
        peer = self.peer
        takes = self._loop.way(self.program.machine, peer.program.machine)
        self._last = max(self._last, self._loop.moment + takes)
        peer._coming.append(what)
        self._loop.call_at(self._last, peer._arrived, context=peer.program.context)

    def _arrived(self) -> None:
        """The next in line is here: bytes keep their order."""
        if self._paused:
            self._held = True
            return
        if not self._coming or self.closed or not self.program.alive:
            return
        if self._protocol is None:
            self._loop.call_at(self._loop.moment + 0.0001, self._arrived, context=self.program.context)
            return
        what = self._coming.popleft()
        if what is None:
            self._lose(None)
        else:
            self._protocol.data_received(what)

    def close(self) -> None:
        if not self.closed:
            self._carry(None)
            self._lose(None)

    def abort(self) -> None:
        self.close()

    def die(self, silently: bool) -> None:
        self.closed = True
        if not silently and not self.peer.closed:
            self.peer._coming.append(None)
            self._loop.call_at(self._loop.moment + 0.001, self.peer._arrived, context=self.peer.program.context)

    def _lose(self, error: BaseException | None) -> None:
        self.closed = True
        self.program.pipes.pop(self, None)
        if self.program.alive and self._protocol is not None:
            self._loop.call_soon(self._protocol.connection_lost, error, context=self.program.context)

    # --- what streams ask of a transport ---

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def can_write_eof(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        for _ in range(len(self._coming)):
            self._loop.call_soon(self._arrived, context=self.program.context)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever full."""

    def get_write_buffer_size(self) -> int:
        return 0
