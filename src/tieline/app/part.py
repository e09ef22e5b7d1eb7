"""One part in its own process: `python -m tieline.app.part NAME RUNTIME.json`.

Says `@ready` when it serves, `@beat` every second after, and `@ill` with the cause while one of its tasks is not
well; ends when its standard input does, which is
when the supervisor ends. Logs are JSON lines on standard error, without prompts and without secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from tieline.app.runtime import Runtime
from tieline.clock import wall_now
from tieline.tasks import Registry

BEAT_S = 1.0
# A part that does not end by itself this long after being asked is ended; of several machines its module may say more.
GRACE_S = 2.5

# name -> module with `async def run(runtime, ready, registry)`; imported only in the process that runs it.
PARTS = {
    "link": "tieline.app.link_part",
    "core": "tieline.app.core_part",
    "world": "tieline.app.demo.world_part",
    "sites": "tieline.app.sites_part",
    "gateway": "tieline.app.gateway_part",
    "console": "tieline.app.console_part",
    "alerts": "tieline.app.alerts_part",
    "budgets": "tieline.app.machines.budgets_part",
}

Ready = Callable[[str], None]
Run = Callable[[Runtime, Ready, Registry], Awaitable[None]]


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the error's type where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": wall_now().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = self.formatException(record.exc_info)[-2000:]
        return json.dumps(line, ensure_ascii=False)


def main() -> None:
    os.umask(0o077)  # logs, snapshots, sockets: what a part makes is its owner's
    name, runtime_path = sys.argv[1], Path(sys.argv[2])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tieline").setLevel(logging.INFO)
    runtime = Runtime.load(runtime_path)
    module = importlib.import_module(PARTS[name])
    grace_s = float(getattr(module, "GRACE_S", GRACE_S)) if runtime.shared else GRACE_S
    code = 0
    with contextlib.suppress(KeyboardInterrupt):
        code = _loop_runner()(_serve(module.run, runtime, grace_s))
    os._exit(code)


async def _serve(run: Run, runtime: Runtime, grace_s: float = GRACE_S) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    _end_with_parent(loop, stop, grace_s)

    def ready(detail: str = "") -> None:
        gc.collect()
        gc.freeze()  # what is alive now lives as long as the part; collections need not look at it again
        print(f"@ready {detail}", flush=True)

    def changed() -> None:
        lines = [trouble.line.replace("\n", " ") for trouble in registry.troubles]
        print(f"@ill {'; '.join(lines)}" if lines else "@well", flush=True)

    registry = Registry(changed)
    beat = asyncio.create_task(_beat())
    work = asyncio.ensure_future(run(runtime, ready, registry))
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if work in done:
        error = work.exception()
        if error is not None:
            logging.getLogger("tieline").error("%s", error, exc_info=error)
            code = 1
    else:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError, TimeoutError, Exception):
            await asyncio.wait_for(work, grace_s)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(registry.close(), 0.5)
    beat.cancel()
    return code


async def _beat() -> None:
    while True:
        await asyncio.sleep(BEAT_S)
        print("@beat", flush=True)


def _end_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, grace_s: float) -> None:
    """Notice the supervisor's end by the end of standard input, on any system."""

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        threading.Event().wait(grace_s + 0.5)
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _loop_runner() -> Callable[[Coroutine[Any, Any, int]], int]:
    try:
        import uvloop
    except ImportError:  # the platform extra brings it; plain asyncio serves as well, slower
        return asyncio.run
    return uvloop.run


if __name__ == "__main__":
    main()
