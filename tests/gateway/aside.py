"""A gateway in a thread of its own, for suites that call it from many loops, from none, or from a process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.gateway.engines import Scripted
from tests.gateway.rig import Gateway, settings, start


@contextmanager
def gateway(folder: Path, *urls: str, scripted: tuple[Scripted, ...] = (), **changes: Any) -> Iterator[Gateway]:
    """Serves while the block runs, before engines at `urls` and scripted ones that live in the same thread."""
    told = threading.Event()
    found: list[Gateway | BaseException] = []
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        try:
            async with AsyncExitStack() as stack:
                for engine in scripted:
                    await stack.enter_async_context(engine)
                given = settings(*urls, *(engine.url for engine in scripted), **changes)
                g = await stack.enter_async_context(start(given, folder))
                over = asyncio.Event()
                loops.append((asyncio.get_running_loop(), over))
                found.append(g)
                told.set()
                await over.wait()
        except BaseException as error:
            found.append(error)
            told.set()
            raise

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert told.wait(30)
    first = found[0]
    if isinstance(first, BaseException):
        raise first
    try:
        yield first
    finally:
        loop, over = loops[0]
        loop.call_soon_threadsafe(over.set)
        thread.join(15)
