"""Engines that can be failed on cue: a real llama.cpp process behind a proxy that counts tokens.

The proxy passes bytes both ways and, at the token it was told, does to one answer what happens at sites: the
process is killed with SIGKILL, the link is cut, falls silent, breaks inside a frame, answers 503, or crawls.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files

ENGINE = """
import sys, xllamacpp as x
p = x.CommonParams()
p.model.path, p.port, p.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
p.n_ctx, p.n_parallel, p.n_gpu_layers = 8192, 4, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
p.model_alias, p.use_jinja = {"tieline-self-test"}, True
s = x.Server(p)
sys.stdin.read()
"""
MODEL = str(files("tieline.edge.selftest") / "tieline-selftest.gguf")
FAULTS = ("kill", "cut", "stall", "half", "storm", "loris")


@dataclass
class Engine:
    """One engine and its proxy. Arm it with `fault` and `at`; it disarms itself after one answer."""

    name: str
    fault: str = ""
    at: int = 0
    fired_at: float = 0.0
    port: int = 0
    engine_port: int = 0
    notice: Callable[[Engine], None] | None = None
    _process: subprocess.Popen[bytes] | None = None
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _silent: bool = False
    _crawl: bool = False
    storming: bool = False
    cut_off: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            probe = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            self.engine_port = probe.sockets[0].getsockname()[1]
            probe.close()
            await probe.wait_closed()
        self._spawn()
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.engine_port)
                writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                answer = await reader.read(64)
                writer.close()
                if b" 200 " in answer:
                    return
            except OSError:
                self._spawn()
            await asyncio.sleep(0.05)
        raise TimeoutError(f"engine {self.name} did not start")

    def _spawn(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", ENGINE, MODEL, str(self.engine_port)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    async def heal(self) -> None:
        """All well again."""
        self.fault, self._silent, self.storming, self.cut_off, self._crawl = "", False, False, False, False
        for task in list(self._tasks):
            task.cancel()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0.01)
        await self.start()

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        self.kill()
        if self._server is not None:
            self._server.close()

    # --- the proxy --------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            if self.cut_off:
                writer.transport.abort()
                return
            back, forth = await asyncio.open_connection("127.0.0.1", self.engine_port)
            self._writers.add(forth)
            up = asyncio.create_task(self._up(reader, writer, forth))
            try:
                await self._down(back, writer)
            finally:
                up.cancel()
                forth.close()
                self._writers.discard(forth)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forth: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if self.storming and data.startswith(b"POST "):
                writer.write(b"HTTP/1.1 503 Busy\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nbusy")
                continue
            if self.fault and self.at < 0 and b" /v1/chat/completions " in data:  # -at ms into a whole answer
                asyncio.get_running_loop().call_later(-self.at / 1e3, self._strike)
            forth.write(data)
        forth.close()

    def _strike(self) -> None:
        """The armed fault, by the clock instead of the token: for answers that come in one piece."""
        fault, self.fault = self.fault, ""
        if not fault or fault == "storm":
            return
        self.fired_at = time.monotonic()
        if fault == "kill":
            self.kill()
        elif fault in ("cut", "half"):
            self.cut_off = fault == "cut"
            for one in list(self._writers):
                one.transport.abort()
        elif fault == "stall":
            self._silent = True
        elif fault == "loris":
            self._crawl = True
        elif fault == "notice" and self.notice is not None:
            self.notice(self)

    async def _down(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tokens = 0
        while data := await back.read(65536):
            # Only what is generated counts; an armed fault waits for an answer with that many tokens.
            counted = data.count(b'"content":"') - data.count(b'"content":""')
            if (
                not self.fault
                or self.fault == "storm"
                or self.at < 0
                or tokens + counted < self.at
                or not (counted or self.at == 0)
            ):
                tokens += counted
                await self._pass(data, writer)
                continue
            tokens += counted
            await self._fire(data, writer)
        if self._silent:
            await asyncio.sleep(3600)

    async def _fire(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        fault, self.fault = self.fault, ""
        if fault == "half":
            writer.write(data[: len(data) // 2])
            await writer.drain()
        elif fault != "stall":
            writer.write(data)
            await writer.drain()
        self.fired_at = time.monotonic()
        if fault == "kill":
            self.kill()
        elif fault in ("cut", "half"):
            self.cut_off = fault == "cut"
            for one in list(self._writers):
                one.transport.abort()
            raise ConnectionResetError
        elif fault == "stall":
            self._silent = True
            writer.write(data)
        elif fault == "loris":
            self._crawl = True
        elif fault == "notice" and self.notice is not None:
            self.notice(self)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._silent:
            await asyncio.sleep(3600)
        if self._crawl:
            for byte in data:
                if writer.is_closing():
                    raise ConnectionResetError
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.25)
            return
        writer.write(data)
        await writer.drain()
