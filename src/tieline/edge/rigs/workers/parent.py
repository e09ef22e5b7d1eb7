"""The agent's end of the process that speaks to its rigs: started, watched, begun again, and asked.

A call waits for an answer and never for the process: where that is not there, or stands still, its groups are
unreachable and say why, and the agent goes on with what it knows. A process that was begun anew is told at once what
its groups were told last, so that off holds for rigs that come later.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from tieline.edge.device import Answer, Reading, Unreachable
from tieline.edge.rigs.group import highest_w, lowest_w
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.pooling.repool import Repooled
from tieline.edge.rigs.wire import SilentError
from tieline.edge.rigs.workers.frames import RigCall, RigOpening, framed, next_frame, read_reply, value_of
from tieline.edge.rigs.workers.rows import RackPage, RigPreview, Tending
from tieline.fleet.sites import RigGroup
from tieline.intake import IntakeError
from tieline.records import Setpoint

log = logging.getLogger("tieline.edge")

# Something is answered at least this often, for a question without work is asked in between; else it stands still.
ASK_S, STANDS_STILL_S = 3.0, 15.0
# Until its first answer: it begins in a second, on a machine that begins everything at once in many.
START_S = 60.0
# What it writes down at its end takes a moment; then it is ended.
CLOSE_S = 3.0
# Rigs that restart their miner say their new pool after a minute or two, one after another where one went first.
POOLS_S: Final = 300.0
PAGE_S: Final = 10.0


class RigWorkerError(Exception):
    """The process ended, or stood still and was ended; one line."""


@dataclass
class RigWorker:
    """The process of one site's rigs. `run` is kept running by whoever owns it."""

    opening: RigOpening
    temp_of: Callable[[datetime], float | None]
    pid: int | None = None
    _process: asyncio.subprocess.Process | None = None
    _waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _last: dict[str, tuple[Setpoint, datetime]] = field(default_factory=dict)
    _heard_at: float = 0.0
    _answered: bool = False

    def devices(self) -> list[WorkedGroup]:
        return [WorkedGroup(self, group) for group in self.opening.groups]

    async def run(self) -> None:
        """One life of the process; whoever keeps this running begins the next. Raises RigWorkerError at its end."""
        words = [sys.executable, "-m", "tieline.edge.rigs.workers.child"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
        assert process.stdin is not None
        self.pid = process.pid
        loop = asyncio.get_running_loop()
        try:
            process.stdin.write(framed(self.opening))
            for unit_id, (setpoint, now) in self._last.items():
                process.stdin.write(framed(self._call(unit_id, "apply", now=now, setpoint=setpoint)))
            self._process, self._heard_at = process, loop.time()
            self._answered = False
            reading = asyncio.create_task(self._read(process))
            try:
                while not reading.done():
                    await asyncio.wait({reading}, timeout=ASK_S)
                    most_s = STANDS_STILL_S if self._answered else START_S
                    if loop.time() - self._heard_at > most_s:
                        raise RigWorkerError(f"the rigs' process answered nothing for {most_s:.0f} s")
                    if not reading.done():
                        process.stdin.write(framed(self._call("", "beat")))
                reading.result()
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            raise RigWorkerError(f"the rigs' process ended with code {await process.wait()}")
        except ConnectionError as error:
            raise RigWorkerError(f"the rigs' process ended: {error}") from error
        finally:
            self._process = None
            self._fail()
            await _ended(process)

    async def call(self, unit_id: str, what: str, within_s: float, **more: Any) -> Any:
        """The answer. Raises what the group raised, SilentError where there was none."""
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            raise SilentError("the rigs' process is being started")
        call = self._call(unit_id, what, **more)
        answer = self._waiting[call.number] = asyncio.get_running_loop().create_future()
        try:
            process.stdin.write(framed(call))
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError:
            raise SilentError(f"the rigs' process did not answer within {within_s:.0f} s") from None
        finally:
            self._waiting.pop(call.number, None)

    def remember(self, setpoint: Setpoint, now: datetime) -> None:
        """What this group is told last, for a process that begins anew."""
        self._last[setpoint.unit_id] = (setpoint, now)

    def _call(self, unit_id: str, what: str, **more: Any) -> RigCall:
        now = more.get("now")
        temp_c = None if now is None else self.temp_of(now)
        return RigCall(number=next(self._numbers), unit_id=unit_id, what=what, temp_c=temp_c, **more)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Until it ends."""
        assert process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                reply = read_reply(await next_frame(process.stdout))
                self._heard_at, self._answered = asyncio.get_running_loop().time(), True
                answer = self._waiting.get(reply.number)
                if answer is None or answer.done():
                    continue
                try:
                    answer.set_result(value_of(reply))
                except Exception as error:
                    answer.set_exception(error)

    def _fail(self) -> None:
        """Nobody answers any more."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(SilentError("the rigs' process ended"))
        self._waiting.clear()


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Until it is gone, which is bounded; who is cancelled meanwhile, once or twice, still leaves nothing behind."""
    ending, cancelled = asyncio.ensure_future(_end(process)), False
    while not ending.done():
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def _end(process: asyncio.subprocess.Process) -> None:
    """Its input ends, and it has a moment to write down what it knows."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.stdout is not None:  # to its end: a pipe with something in it is not closed
        await process.stdout.read()


class WorkedGroup:
    """A rig group whose rigs another process speaks to; see `AsicGroup`, which is there."""

    def __init__(self, worker: RigWorker, group: RigGroup) -> None:
        self._worker, self.group = worker, group
        self.unit_id = group.id
        self.kind: Literal["measured", "simulated"] = "measured" if group.hardware == "real" else "simulated"
        cooling = worker.opening.site.cooling_of(group)
        self.highest_w, self.lowest_w = highest_w(group, cooling), lowest_w(group, cooling)

    async def read(self, now: datetime) -> Reading | Unreachable:
        try:
            answer: Reading | Unreachable = await self._worker.call(self.unit_id, "read", PAGE_S, now=now)
        except (SilentError, IntakeError) as error:
            return Unreachable(str(error))
        return answer

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        self._worker.remember(setpoint, now)
        try:
            answer: Answer = await self._worker.call(self.unit_id, "apply", PAGE_S, now=now, setpoint=setpoint)
        except (SilentError, IntakeError) as error:
            return Unreachable(str(error))
        return answer

    async def page(self, first: int, most: int) -> RackPage:
        """Raises SilentError where the process is not there."""
        page: RackPage = await self._worker.call(self.unit_id, "page", PAGE_S, first=first, most=most)
        return page

    async def preview(self, setpoint: Setpoint, now: datetime) -> RigPreview:
        """Raises SilentError where the process is not there."""
        preview: RigPreview = await self._worker.call(self.unit_id, "preview", PAGE_S, now=now, setpoint=setpoint)
        return preview

    async def tend(self, address: str, what: Tending) -> None:
        await self._worker.call(self.unit_id, "tend", PAGE_S, address=address, word=what)

    async def set_pools(self, pools: tuple[PoolSetting, ...]) -> Repooled:
        repooled: Repooled = await self._worker.call(self.unit_id, "pools", POOLS_S, pools=pools)
        return repooled

    async def close(self) -> None:
        """Its process is ended by whoever keeps it running."""
