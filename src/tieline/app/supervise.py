"""Keeps the parts of the platform running: starts them, notices when one dies or stalls, mends it, stops all.

A part is one process. It says `@ready` and then `@beat` every second on its standard output, `@ill` with the cause
when one of its tasks is not well, `@well` when all are again; its standard input is a pipe from here, so that it
ends when this process does, however this process ends. What it writes to standard error goes to a rotating log.
Parts live in process groups of their own: ending a part ends what it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from tieline.clock import wall_now
from tieline.store.files import write_private

# A part that has not said a word for this long is taken for hung: the longest pause seen in a healthy part on
# a loaded two-core machine was about 4 s.
STALL_S = 20.0
# ... and for not well before that.
SILENT_S = 5.0
# Starting includes imports, opening data and loading a model.
START_S = 90.0
# First restart at once; a part that ends again before it has served SERVED_S, slower each time. After MANY of these in
# a row it is tried once a minute and shown as failed. One that had served a while comes back at once however often it
# ended: its restarts are counted, and waiting would only take away what it serves between them.
BACKOFF_S, SERVED_S = (0.1, 0.5, 1.0, 2.0, 5.0), 15.0
MANY, SLOW_RETRY_S = 10, 60.0
# A part that ended twice in a row so soon is called ready only after it has served this long: one that dies a second
# after each start is not well, however often it says that it is ready.
STEADY_S = 5.0
STOP_S = 3.0
LAST_WORDS_S = 0.5
LOG_BYTES, LOG_FILES = 2_000_000, 2
# One line of a part's own troubles.
MAX_ILL = 600

State = Literal["starting", "ready", "unwell", "restarting", "failed", "stopped"]


class PartStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `tieline status` says of a part."""

    name: str
    state: State
    pid: int | None
    restarts: int
    since: datetime
    detail: str = ""


@dataclass
class Part:
    """One process to keep alive."""

    name: str
    argv: Sequence[str]
    state: State = "stopped"
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    since: datetime = field(default_factory=wall_now)
    detail: str = ""
    served: str = ""  # what it said when it was ready
    last_word: float = 0.0
    serving_since: float | None = None  # when it last said that it serves
    ill: str = ""  # what it says of its own tasks
    silent: bool = False
    shaky: bool = False  # ended more than once in a row before it had served a while
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=5))

    def served_s(self, now: float) -> float:
        """How long it has served since it was last started; nothing where it never came to that."""
        return 0.0 if self.serving_since is None else now - self.serving_since

    @property
    def status(self) -> PartStatus:
        pid = self.process.pid if self.process is not None and self.process.returncode is None else None
        return PartStatus(
            name=self.name, state=self.state, pid=pid, restarts=self.restarts, since=self.since, detail=self.detail
        )


class Supervisor:
    """Runs parts until told to stop. `on_change` hears every change of state (to write it down, to print it)."""

    def __init__(self, parts: Sequence[Part], log_dir: Path, on_change: Callable[[], None]) -> None:
        self.parts = list(parts)
        self._log_dir = log_dir
        self._on_change = on_change
        self.stop_s = STOP_S  # more, where a part has something to bring to its end
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        return all(part.state == "ready" for part in self.parts)

    @property
    def troubles(self) -> dict[str, str]:
        """Parts that are not well, each with why."""
        return {p.name: f"{p.state}: {p.detail}" if p.detail else p.state for p in self.parts if p.state != "ready"}

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep(part), name=part.name) for part in self.parts]

    async def wait_ready(self, seconds: float) -> bool:
        """True once every part is ready; False when one failed or time ran out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.ready:
                    if self._stopping.is_set() or any(part.state == "failed" for part in self.parts):
                        return False
                    await asyncio.sleep(0.05)
                return True
        return False

    def request_stop(self) -> None:
        self._stopping.set()

    async def run_until_stopped(self) -> None:
        await self._stopping.wait()
        await self.stop()

    async def stop(self) -> None:
        """Ask all parts to end, wait for a while, then end them and whatever they started."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        alive = [p for p in self.parts if p.process is not None and p.process.returncode is None]
        for part in alive:
            _ask_to_end(part)
        if alive:
            waits = [asyncio.create_task(p.process.wait()) for p in alive if p.process is not None]
            await asyncio.wait(waits, timeout=self.stop_s)
            for wait in waits:
                wait.cancel()
        for part in self.parts:
            _end_group(part)
            if part.process is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(part.process.wait(), 1.0)
            self._set(part, "stopped")

    async def _keep(self, part: Part) -> None:
        loop = asyncio.get_running_loop()
        logger = _logger(part.name, self._log_dir)
        soon = 0  # ends in a row that came before it had served a while
        while True:
            part.shaky = soon > 1
            part.serving_since, part.ill, part.silent = None, "", False
            self._set(part, "starting" if part.restarts == 0 else "restarting")
            try:
                code = await self._run_once(part, logger)
                reason = f"ended with {_words(code)}"
            except OSError as error:
                reason = f"could not be started: {error}"
            _end_group(part)
            part.restarts += 1
            soon = 0 if part.served_s(loop.time()) >= SERVED_S else soon + 1
            last = part.last_lines[-1] if part.last_lines else ""
            part.detail = f"{reason}; {last}" if last else reason
            logger.warning("part %s %s", part.name, reason)
            many = soon >= MANY
            self._set(part, "failed" if many else "restarting")
            await asyncio.sleep(SLOW_RETRY_S if many else BACKOFF_S[min(max(soon, 1), len(BACKOFF_S)) - 1])

    async def _run_once(self, part: Part, logger: logging.Logger) -> int:
        loop = asyncio.get_running_loop()
        part.last_lines.clear()
        process = await asyncio.create_subprocess_exec(
            *part.argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=1 << 20,
        )
        part.process, part.last_word = process, loop.time()
        readers = (
            asyncio.create_task(self._hear(part, process)),
            asyncio.create_task(_log_lines(part, process, logger)),
            asyncio.create_task(self._watch_stall(part, process)),
        )
        try:
            code = await process.wait()
            # Its last words say why it ended; what it left behind may hold the pipe open, so not for ever.
            await asyncio.wait(readers[:2], timeout=LAST_WORDS_S)
            return code
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _hear(self, part: Part, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            part.last_word = asyncio.get_running_loop().time()
            part.silent = False
            word, _, said = line.decode(errors="replace").strip().partition(" ")
            if word == "@ready":
                part.serving_since, part.served = part.last_word, said
            elif word in ("@ill", "@well"):
                part.ill = said[:MAX_ILL] if word == "@ill" else ""
            self._judge(part)

    def _judge(self, part: Part) -> None:
        """What a part that runs is now, by what it has said."""
        if part.serving_since is None:
            return
        if part.silent:
            state: State = "unwell"
            detail = f"silent for more than {SILENT_S:.0f} s"
        elif part.ill:
            state, detail = "unwell", part.ill
        elif part.shaky and part.last_word - part.serving_since < STEADY_S:
            return  # still "restarting", with why it last ended
        else:
            state, detail = "ready", part.served
        changed = part.detail != detail
        part.detail = detail
        if part.state != state:
            self._set(part, state)
        elif changed:
            self._on_change()

    async def _watch_stall(self, part: Part, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            quiet = loop.time() - part.last_word
            allowed = START_S if part.serving_since is None else STALL_S
            if quiet > SILENT_S and part.serving_since is not None and not part.silent:
                part.silent = True
                self._judge(part)
            if quiet > allowed:
                part.last_lines.append(f"silent for {allowed:.0f} s")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                return

    def _set(self, part: Part, state: State) -> None:
        if part.state != state:
            part.state, part.since = state, wall_now()
            self._on_change()


async def _log_lines(part: Part, process: asyncio.subprocess.Process, logger: logging.Logger) -> None:
    assert process.stderr is not None
    while True:
        try:
            line = await process.stderr.readline()
        except ValueError:  # a line past the limit: what is left of it follows
            continue
        if not line:
            return
        text = line.decode(errors="replace").rstrip()
        part.last_lines.append(text[:300])
        logger.info(text)


def _logger(name: str, folder: Path) -> logging.Logger:
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger(f"tieline.part.{name}.{folder}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.handlers.RotatingFileHandler(
            folder / f"{name}.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    return logger


def _ask_to_end(part: Part) -> None:
    assert part.process is not None
    if part.process.stdin is not None:
        part.process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        part.process.terminate()


def _end_group(part: Part) -> None:
    """End the part's process group: itself, and what it started and left behind."""
    if part.process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(part.process.pid, signal.SIGKILL)


def _words(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def python_part(name: str, runtime_path: Path) -> Part:
    """A part that is this package's own code in a process of its own."""
    return Part(name, (sys.executable, "-m", "tieline.app.part", name, str(runtime_path)))


def save_state(path: Path, state: msgspec.Struct) -> None:
    write_private(path, msgspec.json.format(msgspec.json.encode(state)))
