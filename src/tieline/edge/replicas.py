"""Real replicas of one site: starts engine processes, watches them, restarts what dies, drains what is shed.

Knows no requests. A replica's state is published when it changes and again after each health check that
answered, every half second: who hears nothing knows that it does not answer. A change is also a record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tieline.clock import Clock
from tieline.edge.engine import EXIT_HOPELESS
from tieline.edge.nodes.command import HEALTH, SWEEP_S, EngineCommand, free_port, guarded, running
from tieline.edge.nodes.command import HEALTH_TIMEOUT_S as COMMAND_HEALTH_S
from tieline.edge.nodes.guard import end_left
from tieline.edge.selftest import SELFTEST_LABEL, SELFTEST_MODEL, SELFTEST_NAME, damage
from tieline.feeds.gguf import ModelFetchError, WrongWeightsError, check_weights, fetch_gguf
from tieline.fleet.sites import NodeGroup, Site
from tieline.intake import read_json
from tieline.link import Link
from tieline.records import AnyRecord, ReplicaState, Setpoint, encode

log = logging.getLogger("tieline.edge")

HEARTBEAT_S = 0.5
# The engine answers /health in a millisecond, under full load in some tens; three misses in a row are a stall.
HEALTH_TIMEOUT_S, MISSES = 1.0, 3
# A server that starts refuses connections; one that is not there yet is asked again in half a second.
STARTING_TIMEOUT_S = 1.0
# A small model is ready in half a second, 70 GB from a cold disk in five minutes.
START_TIMEOUT_S = 330.0
FIRST_WAIT_S, LONGEST_WAIT_S, STEADY_S = 0.25, 10.0, 30.0
# The state of 256 slots is under 100 KB.
MAX_ANSWER = 1_000_000
# What no restart mends is looked at again this often: someone may have put the file there.
HOPELESS_WAIT_S = 30.0
# Weights that are not the right ones are large, and seldom others an hour later.
FETCH_AGAIN_S = 3600.0
# Streams are moved by the gateway within this time of `draining`; then the engine stops.
DRAIN_S = 4.0
STOP_S = 1.0

_FETCHING = threading.Lock()

State = Literal["starting", "ready", "draining", "down"]
Keep = Callable[[list[AnyRecord]], None]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a replica serves."""

    name: str = SELFTEST_NAME
    path: Path = SELFTEST_MODEL
    label: str = SELFTEST_LABEL
    context_tokens: int = 1024
    slots: int = 8
    threads: int = 1
    url: str | None = None  # where the weights are fetched from, into the folder of `path`
    sha256: str | None = None
    command: EngineCommand | None = None  # the site's own, in place of llama.cpp from its wheel
    left: Path | None = None  # the folder that says what was started by command


class EngineProcess:
    """One engine process and its watch."""

    def __init__(
        self, replica_id: str, site: Site, spec: EngineSpec, clock: Clock, link: Link, keep: Keep, index: int = 0
    ) -> None:
        self.replica_id, self.spec, self._index = replica_id, spec, index
        self._site, self._clock, self._link, self._keep = site, clock, link, keep
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._unwanted = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._errors: deque[str] = deque(maxlen=8)
        self._wrong: tuple[str, float] | None = None  # the weights that came were others, and when to look again
        self.state: State = "down"
        self.base_url = ""
        self.told_url: str | None = None  # what others are told, where nobody can dial this site
        self.detail = "not started"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def want(self, running: bool) -> None:
        """Asked by a setpoint; takes effect at once, draining first."""
        if running:
            self._unwanted.clear()
            self._wanted.set()
        else:
            self._wanted.clear()
            self._unwanted.set()

    async def run(self) -> None:
        """For ever: start, watch, and after an end start again, later each time up to a bound."""
        wait_s = FIRST_WAIT_S
        loop = asyncio.get_running_loop()
        try:
            while True:
                if not self._wanted.is_set():
                    await self._tell("down", "shed by order")
                    await self._wanted.wait()
                started = loop.time()
                hopeless = await self._once()
                await self._stop()
                if not self._wanted.is_set():
                    wait_s = FIRST_WAIT_S
                    continue
                if loop.time() - started > STEADY_S:
                    wait_s = FIRST_WAIT_S
                await self._wait(HOPELESS_WAIT_S if hopeless else wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        finally:
            await self._stop()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._unwanted.wait()

    async def _once(self) -> bool:
        """One life of the engine; True where a restart cannot help."""
        await self._tell("starting", "")
        wrong = await self._weights()
        if wrong is not None:
            log.warning("replica %s: %s", self.replica_id, wrong)
            await self._tell("down", wrong)
            return True
        command = self.spec.command
        start_s = START_TIMEOUT_S if command is None else command.start_s
        try:
            async with asyncio.timeout(start_s):
                problem = await (self._start() if command is None else self._start_command(command))
        except TimeoutError:
            problem = f"not ready within {start_s:.0f} s"
        if problem is not None:
            code = await self._code()
            log.warning("replica %s: %s", self.replica_id, problem)
            await self._tell("down", problem)
            return code == EXIT_HOPELESS or code == -4
        await self._tell("ready", "")
        why = await self._watch()
        if why is not None:
            log.warning("replica %s: %s", self.replica_id, why)
            await self._tell("down", why)
        return False

    async def _weights(self) -> str | None:
        """Have the weights here, and the right ones; why not, else None. Shed meanwhile, it goes on another time: what
        arrived is kept."""
        spec, ended = self.spec, threading.Event()
        if spec.url is None and spec.sha256 is None:
            return None
        if self._wrong is not None and asyncio.get_running_loop().time() < self._wrong[1]:
            return self._wrong[0]
        waiting = asyncio.create_task(asyncio.to_thread(_have_weights, spec, ended))
        shed = asyncio.create_task(self._unwanted.wait())
        try:
            while not waiting.done() and not shed.done():
                await asyncio.wait({waiting, shed}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                await self._publish()
            if not waiting.done():
                return "shed by order"
            waiting.result()
        except WrongWeightsError as error:
            self._wrong = str(error), asyncio.get_running_loop().time() + FETCH_AGAIN_S
            return str(error)
        except ModelFetchError as error:
            return str(error)
        except OSError as error:
            return f"no model file at {spec.path}: {error.strerror}"
        else:
            return None
        finally:
            ended.set()
            shed.cancel()

    async def _start(self) -> str | None:
        """Start the process and wait for its word; returns what went wrong, or None."""
        spec = self.spec
        if spec.path == SELFTEST_MODEL and (wrong := await asyncio.to_thread(damage)):
            return wrong
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TIELINE_", "LLAMA_"))}
        self._errors.clear()
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tieline.edge.engine",
            "--model", str(spec.path), "--name", spec.name, "--slots", str(spec.slots),
            "--context", str(spec.context_tokens), "--threads", str(spec.threads),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=environment,
        )  # fmt: skip
        self._drains = [asyncio.create_task(self._listen(process.stderr))]
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode("utf-8", "replace").strip()
            if line.startswith("@ready "):
                try:
                    self.base_url = str(read_json(line.removeprefix("@ready "))["url"])
                except (ValueError, TypeError, KeyError) as error:
                    return f"it did not say where it listens: {error}"
                self._drains.append(asyncio.create_task(self._listen(process.stdout)))
                return None
            if line.startswith("@failed "):
                return line.removeprefix("@failed ")
        return self._ended(await process.wait())

    async def _start_command(self, command: EngineCommand) -> str | None:
        """The same for a command of the site's own, which is well when its door says so."""
        file = (self.spec.left or Path()) / f"{self.replica_id}.engine.json"
        if (count := await asyncio.to_thread(end_left, file)) > 0:
            log.warning("replica %s: %d processes of an earlier start were ended", self.replica_id, count)
        port = free_port()
        words, more = command.filled(port, self.spec.name, self.spec.path, self._index)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TIELINE_", "LLAMA_"))} | more
        self._errors.clear()
        self._process = process = await asyncio.create_subprocess_exec(
            *guarded(file, words, command.stop_s), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env=environment,
        )  # fmt: skip
        self._drains = [asyncio.create_task(self._listen(process.stdout))]
        self.base_url = f"http://127.0.0.1:{port}"
        ended = asyncio.create_task(process.wait())
        shed = asyncio.create_task(self._unwanted.wait())
        try:
            while not ended.done() and not shed.done():
                if await _get(self.base_url, HEALTH[command.kind], STARTING_TIMEOUT_S) is not None:
                    return None
                await self._publish()
                await asyncio.wait({ended, shed}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            return self._ended(ended.result()) if ended.done() else "shed by order"
        finally:
            ended.cancel()
            shed.cancel()

    async def _listen(self, stream: asyncio.StreamReader | None) -> None:
        """Read what the engine says, so that it never blocks on a full pipe; keep the last lines."""
        assert stream is not None
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # a line longer than the reader's bound is dropped
                continue
            if not line:
                return
            self._errors.append(line.decode("utf-8", "replace").strip())

    def _ended(self, code: int) -> str:
        if code == -4:
            return "this CPU lacks instructions the engine was built for (AVX2); use a newer machine"
        last = next((line for line in reversed(self._errors) if line), "")
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"the engine {how}" + (f": {last}" if last else "")

    async def _code(self) -> int | None:
        if self._process is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                return await self._process.wait()
        return None

    async def _watch(self) -> str | None:
        """Until it dies, stalls or is shed; returns why, None where it was shed."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        shed = asyncio.create_task(self._unwanted.wait())
        misses = 0
        try:
            while True:
                done, _ = await asyncio.wait({ended, shed}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if ended in done:
                    return self._ended(ended.result())
                if shed in done:
                    await self._drain(ended)
                    return None
                if await self._well():
                    misses = 0
                    await self._publish()
                elif (misses := misses + 1) >= MISSES:
                    return f"no answer to {MISSES} health checks"
        finally:
            ended.cancel()
            shed.cancel()

    async def _well(self) -> bool:
        command = self.spec.command
        if command is None:
            return await _get(self.base_url, "/health") is not None
        return await _get(self.base_url, HEALTH[command.kind], COMMAND_HEALTH_S) is not None

    async def _idle(self) -> bool:
        """Whether it says that it runs no request."""
        if self.spec.command is not None:
            body = await _get(self.base_url, "/metrics")
            return body is not None and running(body) == 0
        body = await _get(self.base_url, "/slots")
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return body is not None and not any(slot["is_processing"] for slot in read_json(body))
        return False

    async def _drain(self, ended: asyncio.Task[int]) -> None:
        """No new streams; those that run may end or be moved, for a bounded time."""
        await self._tell("draining", "shed by order")
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_S
        while loop.time() < until and not ended.done() and not self._wanted.is_set():
            if await self._idle():
                return
            await asyncio.sleep(0.1)
            await self._publish()

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                command = self.spec.command
                async with asyncio.timeout(STOP_S if command is None else command.stop_s + SWEEP_S):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for task in self._drains:
            task.cancel()
        self._drains = []

    _drains: list[asyncio.Task[None]]

    # --- telling ------------------------------------------------------------

    async def _tell(self, state: State, detail: str) -> None:
        changed = (state, detail) != (self.state, self.detail)
        self.state, self.detail = state, detail
        if changed:
            self._keep([self.snapshot()])
        await self._publish()

    async def _publish(self) -> None:
        await self._link.publish(f"replica.{self._site.id}.{self.replica_id}", encode(self.snapshot()))

    def snapshot(self) -> ReplicaState:
        now = self._clock.now()
        return ReplicaState(
            at=now,
            known_at=now,
            source=f"site:{self._site.id}",
            kind="measured",
            replica_id=self.replica_id,
            site_id=self._site.id,
            region=self._site.region,
            model=self.spec.name,
            base_url=self.told_url if self.told_url is not None and self.base_url else self.base_url,
            state=self.state,
            slots=self.spec.slots,
            label=self.spec.label,
            detail=self.detail,
            context_tokens=self.spec.context_tokens,
            engine="llama.cpp" if self.spec.command is None else self.spec.command.kind,
        )


def _have_weights(spec: EngineSpec, ended: threading.Event) -> None:
    """In a thread, one at a time: the replicas of a node share their weights. Raises ModelFetchError, OSError."""

    def progress(done: int, total: int | None) -> None:
        if ended.is_set():
            raise ModelFetchError("no longer wanted; what arrived is kept")

    with _FETCHING:
        if spec.url is not None:
            fetch_gguf(spec.url, spec.path.parent, progress, spec.sha256)
        elif spec.sha256 is not None:
            check_weights(spec.path, spec.sha256)


class Replicas:
    """The real replicas of one node group; a setpoint says how many of them may run."""

    def __init__(self, site: Site, group: NodeGroup, spec: EngineSpec, clock: Clock, link: Link, keep: Keep) -> None:
        base = group.id.replace(".", "-")
        self.group = group
        self.replicas = [
            EngineProcess(f"{base}-{n + 1}", site, spec, clock, link, keep, n) for n in range(group.replicas_real)
        ]

    async def on_target(self, setpoint: Setpoint) -> None:
        """Real replicas are the last of their group to be shed."""
        if setpoint.target_w <= 0:
            wanted = 0
        elif setpoint.replicas is None:
            wanted = len(self.replicas)
        else:
            wanted = min(len(self.replicas), setpoint.replicas)
        for n, replica in enumerate(self.replicas):
            replica.want(n < wanted)

    def runs(self) -> list[Awaitable[None]]:
        return [replica.run() for replica in self.replicas]


async def _get(base_url: str, path: str, within_s: float | None = None) -> bytes | None:
    """GET on a fresh connection; None for anything but 200 in time. llama.cpp's server breaks kept ones."""
    host, _, port = base_url.removeprefix("http://").partition(":")
    writer = None
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_S if within_s is None else within_s):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while chunk := await reader.read(65_536):
                answer += chunk
                if len(answer) > MAX_ANSWER:
                    return None
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        if writer is not None:
            writer.close()
    return answer.partition(b"\r\n\r\n")[2] if answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) else None
