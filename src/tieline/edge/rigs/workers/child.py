"""The process that speaks to a site's rigs: `python -m tieline.edge.rigs.workers.child`, started by its agent.

Hears on standard input whose rigs they are and then one call after another, answers on standard output in any order,
and ends when its input does, or on Linux with its parent in whatever way that ended. Decides nothing: which group draws
how much is said by the agent, and what is not said stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from tieline.clock import wall_now
from tieline.edge.engine import die_with_parent
from tieline.edge.rigs.breakers import BreakerPace
from tieline.edge.rigs.group import AsicGroup
from tieline.edge.rigs.history import RawHistory
from tieline.edge.rigs.register import Register
from tieline.edge.rigs.workers.frames import RigCall, RigOpening, next_frame, read_call, read_opening, replied
from tieline.intake import IntakeError

log = logging.getLogger("tieline.edge")


class Rigs:
    """The groups of one site, and the weather as it was told last."""

    def __init__(self, opening: RigOpening) -> None:
        folder = None if opening.folder is None else Path(opening.folder)
        register, pace = Register(folder), BreakerPace(opening.breakers)
        self.temp_c: float | None = None
        self.groups: dict[str, AsicGroup] = {}
        for group in opening.groups:
            raw = None if folder is None else RawHistory(folder / "raw" / group.id)
            made = AsicGroup(
                opening.site, group, self._temp, register, opening.ports.get(group.id), raw, opening.passwords
            )
            made.pace = pace
            self.groups[group.id] = made

    def _temp(self, _now: datetime) -> float | None:
        return self.temp_c

    async def answer(self, call: RigCall) -> object:
        """Raises what the group raises."""
        if call.what == "beat":
            return None
        group, now = self.groups[call.unit_id], call.now or wall_now()
        if call.now is not None:
            self.temp_c = call.temp_c
        match call.what:
            case "read":
                return await group.read(now)
            case "apply" if call.setpoint is not None:
                return await group.apply(call.setpoint, now)
            case "preview" if call.setpoint is not None:
                return await group.preview(call.setpoint, now)
            case "page":
                return await group.page(call.first, call.most)
            case "tend":
                await group.tend(call.address, cast("Any", call.word))
                return None
            case "pools":
                return await group.set_pools(call.pools)
            case _:
                raise ValueError(f"nothing is called {call.what!r}")

    async def close(self) -> None:
        for group in self.groups.values():
            await group.close()


async def serve(stream: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
    """Until the input ends."""
    rigs = Rigs(read_opening(await next_frame(stream)))
    calls: set[asyncio.Task[None]] = set()

    async def one(call: RigCall) -> None:
        try:
            value: object = await rigs.answer(call)
        except Exception as error:
            value = error
        out.write(replied(call.number, value))
        await out.drain()

    try:
        while True:
            task = asyncio.create_task(one(read_call(await next_frame(stream))))
            calls.add(task)
            task.add_done_callback(calls.discard)
    except asyncio.IncompleteReadError:
        pass
    finally:
        for task in calls:
            task.cancel()
        await rigs.close()


async def run() -> None:
    loop = asyncio.get_running_loop()
    # The pipes are for frames; whatever else prints goes where errors go.
    reading, writing = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    stream = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", buffering=0))
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(writing, "wb", buffering=0)
    )
    out = asyncio.StreamWriter(transport, protocol, None, loop)
    with contextlib.suppress(IntakeError, ConnectionError):
        await serve(stream, out)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    die_with_parent(os.getppid())
    try:
        import uvloop
    except ImportError:  # the platform extra brings it; plain asyncio serves as well, slower
        asyncio.run(run())
        return
    uvloop.run(run())


if __name__ == "__main__":
    main()
