"""Engines that can be failed on cue: real llama.cpp processes behind proxies that count tokens.

A request that carries a plan's name, as a stop string that no answer holds, is failed at that plan's token, once;
whatever else runs on the engine goes on. So many streams can be failed at once, each at its own token. A plan may
also kill or freeze the engine's process, and then everything on it dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

ENGINE = """
import sys, xllamacpp as x
p = x.CommonParams()
p.model.path, p.port, p.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
p.n_ctx, p.n_parallel, p.n_gpu_layers = 16384, 8, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
p.model_alias, p.use_jinja = {"tieline-self-test"}, True
s = x.Server(p)
sys.stdin.read()
"""
MODEL = str(files("tieline.edge.selftest") / "tieline-selftest.gguf")
# Of one stream; and of the whole engine.
STREAM_FAULTS = ("cut", "stall", "half", "loris", "storm")
ENGINE_FAULTS = ("kill", "freeze")
# How long all other answers are 503 in a storm.
STORM_S = 0.5
LORIS_S = 0.25
_TOKEN = re.compile(rb'"(?:content|text|delta|arguments)": ?"[^"]')
_END = re.compile(rb'"finish_reason": ?"|"response\.output_text\.done"')
_NAME = re.compile(rb"<<(plan-[0-9]+)>>")


@dataclass
class Plan:
    """What happens to one request, at which token (for a whole answer: after how many milliseconds)."""

    fault: str
    at: int
    pace_s: float = 0.0
    fired_at: float = 0.0
    left_at: float = 0.0  # when the endpoint dropped the failed connection
    seen_at: float = 0.0  # when the request reached an engine

    @property
    def fired(self) -> bool:
        return self.fired_at > 0


class Plans:
    """Plans by name; the name travels in the request, in a field that every gateway passes on."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self.storm_until = 0.0

    def add(self, plan: Plan, body: dict[str, Any]) -> dict[str, Any]:
        """The request under a plan."""
        name = f"plan-{len(self._plans)}"
        self._plans[name] = plan
        tag = f"<<{name}>>"
        return body | ({"user": tag} if "input" in body else {"stop": [tag]})

    def of(self, body: bytes) -> Plan | None:
        found = _NAME.search(body)
        return None if found is None else self._plans.get(found[1].decode())


@dataclass
class Engine:
    """One engine process and the proxy before it."""

    name: str
    plans: Plans
    port: int = 0
    engine_port: int = 0
    requests: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _server: asyncio.Server | None = None
    _live: set[asyncio.Task[None]] = field(default_factory=set)
    on_notice: Callable[[Engine], None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]
            self.engine_port = await free_port()
        await self.heal()

    async def heal(self) -> None:
        """The process runs and answers."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", ENGINE, MODEL, str(self.engine_port)],
                    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            with suppress(OSError, TimeoutError):
                if (await fetch(self.engine_port, "GET", "/health", timeout_s=1.0))[0] == 200:
                    return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"engine {self.name} did not start")

    def kill(self) -> None:
        """kill -9, and every connection with it."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for task in list(self._live):
            task.cancel()

    def freeze(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        self.kill()
        if self._server is not None:
            self._server.close()

    # --- the proxy --------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._live.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.I)
            body = await reader.readexactly(int(length[1])) if length else b""
            await self._answer(head, body, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        except asyncio.CancelledError:  # the engine was killed
            writer.transport.abort()
        finally:
            self._live.discard(task)
            writer.close()

    async def _answer(
        self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One request, one connection: the engine is asked to close after it, and so do we."""
        plan = self.plans.of(body)
        asked = head.startswith(b"POST /v1/")
        if asked and time.monotonic() < self.plans.storm_until:
            text = b'{"error": {"message": "busy", "type": "overloaded", "param": null, "code": "busy"}}'
            writer.write(
                b"HTTP/1.1 503 Busy\r\ncontent-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n" % len(text) + text
            )
            await writer.drain()
            return
        if asked:
            self.requests += 1
        gone = asyncio.create_task(reader.read(1))  # ends when the endpoint drops the connection
        if plan is not None:
            plan.seen_at = plan.seen_at or time.monotonic()
            gone.add_done_callback(lambda _: _mark_left(plan))
        back = forth = None
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.engine_port, limit=1 << 24)
            lines = [one for one in head.split(b"\r\n")[:-2] if not one.lower().startswith(b"connection:")]
            forth.write(b"\r\n".join((*lines, b"connection: close", b"", b"")) + body)
            top = await back.readuntil(b"\r\n\r\n")
            if b"text/event-stream" in top:
                work = asyncio.create_task(self._stream(top, back, writer, plan))
            else:
                work = asyncio.create_task(self._whole(top, back, writer, plan))
            try:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                work.cancel()
                await asyncio.wait({work})
            if not work.cancelled() and (error := work.exception()) is not None:
                raise error
        finally:
            gone.cancel()
            if forth is not None:
                forth.transport.abort()

    async def _stream(
        self, top: bytes, back: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: Plan | None
    ) -> None:
        writer.write(top)
        tokens = 0
        tail = b""
        while (size := int((await back.readline()).strip() or b"0", 16)) > 0:
            tail += await back.readexactly(size)
            await back.readexactly(2)
            *frames, tail = tail.split(b"\n\n")
            for frame in frames:
                frame += b"\n\n"
                token = _TOKEN.search(frame) is not None and b'_text.done"' not in frame
                if (
                    plan is not None and plan.fault and not plan.fired and tokens == plan.at
                    and (token or (tokens and _END.search(frame)))
                ):  # fmt: skip
                    await self._fire(plan, frame, writer)
                tokens += token
                writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))
                await writer.drain()
                if token and plan is not None and plan.pace_s:
                    await asyncio.sleep(plan.pace_s)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _whole(
        self, top: bytes, back: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: Plan | None
    ) -> None:
        body = await back.read(-1)
        if plan is not None and plan.fault and not plan.fired:
            await asyncio.sleep(plan.at / 1e3)
            await self._fire(plan, top + body, writer, chunked=False)
        writer.write(top + body)
        await writer.drain()

    async def _fire(self, plan: Plan, data: bytes, writer: asyncio.StreamWriter, *, chunked: bool = True) -> None:
        """Never returns for a fault that ends this answer."""
        framed = b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
        plan.fired_at = time.monotonic()
        match plan.fault:
            case "kill":
                self.kill()
                raise ConnectionResetError
            case "freeze":
                self.freeze()
            case "storm":
                self.plans.storm_until = plan.fired_at + STORM_S
            case "half":
                writer.write(framed[: len(framed) // 2])
                await writer.drain()
                await asyncio.sleep(0.005)
            case "loris":
                for byte in framed * 400:
                    writer.write(bytes((byte,)))
                    await asyncio.sleep(LORIS_S)
        if plan.fault in ("stall", "freeze"):
            await asyncio.sleep(3_600)
        writer.transport.abort()
        raise ConnectionResetError


def _mark_left(plan: Plan) -> None:
    if not plan.left_at:
        plan.left_at = time.monotonic()


async def free_port() -> int:
    probe = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(probe.sockets[0].getsockname()[1])
    probe.close()
    await probe.wait_closed()
    return port


async def fetch(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    host: str = "127.0.0.1",
    timeout_s: float = 10.0,
    key: str = "",
) -> tuple[int, bytes]:
    """A small call: (status, body)."""
    text = b"" if body is None else json.dumps(body).encode()
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n"
            f"authorization: Bearer {key or 'none'}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n".encode()
            + text
        )
        raw = await reader.read(-1)
        writer.close()
    head, _, rest = raw.partition(b"\r\n\r\n")
    return (int(head.split(b" ")[1]) if head.startswith(b"HTTP/") else 0), rest
