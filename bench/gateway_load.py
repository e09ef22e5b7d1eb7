"""Mock engine and load for `bench/gateway.py`: one process, one core, raw protocols on uvloop.

`python bench/gateway_load.py ENGINES` prints the engines' ports, then reads one JSON line per job from stdin and
prints one JSON line per result. A job that holds leaves its streams open until one that releases.
Simulated: the engine answers fixed bytes, whole or as a paced stream.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from typing import Any

import uvloop

WHOLE = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef", "object": "chat.completion", "created": 1_790_000_000,
        "model": "mock", "system_fingerprint": "b0-unknown",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "power " * 50}}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 50, "total_tokens": 90},
    }
).encode()  # fmt: skip
CHUNK = (
    b'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1790000000,'
    b'"model":"mock","system_fingerprint":"b0-unknown","choices":[{"index":0,"delta":{"content":"power "},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
LAST = CHUNK.replace(b'"content":"power "', b"").replace(b'"finish_reason":null', b'"finish_reason":"stop"')
USAGE = (
    b'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1790000000,'
    b'"model":"mock","choices":[],"usage":{"prompt_tokens":40,"completion_tokens":50,"total_tokens":90}}\n\n'
)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE) + WHOLE
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_CHUNK = _chunked(CHUNK)
STREAM_END = _chunked(LAST) + _chunked(USAGE) + _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"mock","object":"model","owned_by":"vllm"}]}'
LISTED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(MODELS) + MODELS


class Mock(asyncio.Protocol):
    """One connection from a gateway."""

    pace_s = 0.005
    chunks = 100

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buf, self.left = transport, b"", 0

    def connection_lost(self, exc: BaseException | None) -> None:
        self.left = -1

    def data_received(self, data: bytes) -> None:
        self.buf += data
        end = self.buf.find(b"\r\n\r\n")
        if end < 0:
            return
        low = self.buf[:end].lower()
        at = low.find(b"\ncontent-length:")
        length = int(low[at + 16 : (low.find(b"\r", at + 1)) if low.find(b"\r", at + 1) > 0 else end]) if at >= 0 else 0
        if len(self.buf) < end + 4 + length:
            return
        body, self.buf = self.buf[end + 4 : end + 4 + length], self.buf[end + 4 + length :]
        if low.startswith(b"get"):
            self.transport.write(LISTED)
        elif b'"stream":true' in body or b'"stream": true' in body:
            self.transport.write(STREAM_HEAD)
            self.left = self.chunks
            self._next()
        else:
            self.transport.write(ANSWER)

    def _next(self) -> None:
        if self.left < 0:
            return
        if self.left == 0:
            self.transport.write(STREAM_END)
            return
        self.left -= 1
        self.transport.write(STREAM_CHUNK)
        asyncio.get_running_loop().call_later(self.pace_s, self._next)


class Caller(asyncio.Protocol):
    """One client connection in a closed loop."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buf, self.need, self.chunks = b"", 0, 0
        self._send()

    def _send(self) -> None:
        self.began, self.first = time.perf_counter(), 0.0
        self.transport.write(self.job.payload)

    def data_received(self, data: bytes) -> None:
        job = self.job
        if job.stream:
            pieces = data.count(b"data: {")
            job.pieces += pieces
            if pieces and not self.first:
                self.first = time.perf_counter() - self.began
                job.latencies.append(self.first)
            if data.endswith(b"0\r\n\r\n"):
                job.streams += 1
                job.next(self)
            return
        self.buf += data
        if not self.need:
            end = self.buf.find(b"\r\n\r\n")
            if end < 0:
                return
            low = self.buf[:end].lower()
            if not low.startswith(b"http/1.1 200"):
                job.errors += 1
            at = low.find(b"content-length:")
            stop = low.find(b"\r", at)
            self.need = end + 4 + int(low[at + 15 : stop if stop > 0 else None])
        if len(self.buf) >= self.need:
            job.requests += 1
            job.latencies.append(time.perf_counter() - self.began)
            self.buf, self.need = b"", 0
            job.next(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self.job.over:
            self.job.errors += 1


class Job:
    """Some seconds of load on one port, or so many requests."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.port, self.connections, self.seconds = given["port"], given["connections"], given["seconds"]
        self.stream, self.hold, self.stop_after = given["stream"], given.get("hold", 0), given.get("stop_after", 0)
        self.tls = _no_questions() if given.get("tls") else None
        self.enough = asyncio.Event()
        content = "How much power does the site draw now? " * 4
        if given.get("prompt_bytes"):
            content = ("site " * (given["prompt_bytes"] // 5))[: given["prompt_bytes"]]
        body = json.dumps(
            {"model": "mock", "messages": [{"role": "user", "content": content}], "max_tokens": 200, "temperature": 0}
            | ({"stream": True} if self.stream else {}),
            separators=(",", ":"),
        ).encode()
        self.payload = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n"
            b"content-type: application/json\r\nuser-agent: bench\r\nauthorization: Bearer %b\r\n"
            b"content-length: %d\r\n\r\n" % (given["key"].encode(), len(body)) + body
        )
        self.requests = self.streams = self.pieces = self.errors = 0
        self.latencies: list[float] = []
        self.over = False
        self.made: list[Any] = []

    def next(self, caller: Caller) -> None:
        if self.stop_after and self.requests >= self.stop_after:
            self.enough.set()
        elif not self.over:
            caller._send()

    async def run(self) -> dict[str, Any]:
        await self._connect(self.connections)
        try:
            async with asyncio.timeout(self.seconds):
                await self.enough.wait()
        except TimeoutError:
            pass
        self.over = True
        result = {
            "requests": self.requests, "streams": self.streams, "chunks": self.pieces, "errors": self.errors,
            "p50_ms": _quantile(self.latencies, 0.5), "p99_ms": _quantile(self.latencies, 0.99),
        }  # fmt: skip
        await self.close()
        return result

    async def open(self) -> dict[str, Any]:
        """Streams that stay: each has its first frame when this returns, or a minute is over."""
        until = time.perf_counter() + 60.0
        for _ in range(0, self.hold, 100):
            await self._connect(min(100, self.hold - len(self.made)))
            while self.pieces < len(self.made) and time.perf_counter() < until:
                await asyncio.sleep(0.01)
        return {"held": sum(1 for one in self.made if not one.is_closing()), "chunks": self.pieces}

    async def close(self) -> None:
        self.over = True
        for transport in self.made:
            transport.abort()
        await asyncio.sleep(0.05)

    async def _connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            transport, _ = await loop.create_connection(lambda: Caller(self), "127.0.0.1", self.port, ssl=self.tls)
            self.made.append(transport)


def _no_questions() -> ssl.SSLContext:
    """TLS towards a certificate made for this run."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _quantile(values: list[float], q: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1e3, 3) if ordered else None


async def main() -> None:
    loop = asyncio.get_running_loop()
    ports = []
    for _ in range(int(sys.argv[1])):
        server = await loop.create_server(Mock, "127.0.0.1", 0, backlog=4096)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps({"engines": ports}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    held: Job | None = None
    while line := await reader.readline():
        given = json.loads(line)
        if given.get("release"):
            answer: dict[str, Any] = {"errors": 0}
            if held is not None:
                answer = {"errors": held.errors, "chunks": held.pieces}
                await held.close()
            print(json.dumps(answer), flush=True)
            continue
        Mock.pace_s, Mock.chunks = given.get("pace_s", 0.005), given.get("chunks", 100)
        job = Job(given)
        if job.hold:
            held = job
            print(json.dumps(await job.open()), flush=True)
        else:
            print(json.dumps(await job.run()), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
