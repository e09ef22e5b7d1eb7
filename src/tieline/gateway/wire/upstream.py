"""Connections to engines: one protocol object each, no tasks or futures per request.

Knows HTTP framing and who owns the connection now; nothing of models or clients. A connection serves one
request at a time and goes back to its backend's pool only after a complete answer.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as tls
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from tieline.gateway.routing.route import Replica
from tieline.gateway.settings import ModelOffer
from tieline.gateway.wire.http1 import (
    BadMessageError,
    Framing,
    Repeat,
    ResponseHead,
    Unchunker,
    parse_response,
    whole_chunks,
)

log = logging.getLogger("tieline.gateway")

# Idle connections kept per engine: more than a busy pool of 64 slots needs.
MAX_IDLE: Final = 64
# 100 and 103 answers before the real one.
MAX_INFORMATIONAL: Final = 8


class Owner(Protocol):
    """Whoever waits for an answer. After `on_end` or `on_lost` it hears nothing more."""

    def on_head(self, head: ResponseHead) -> None: ...

    def on_data(self, data: bytes) -> None: ...

    def on_chunks(self, payloads: list[bytes]) -> None:
        """What one or several whole chunks hold."""

    def pass_on(self, raw: bytes) -> bool:
        """True: this is one whole chunk, as it was framed, that its client has by now."""

    def on_end(self) -> None: ...

    def on_reply(self, head: ResponseHead, body: bytes) -> None:
        """A whole answer at once, instead of `on_head`, `on_data` and `on_end`."""

    def on_lost(self, reason: str) -> None: ...


@dataclass(slots=True, eq=False)
class Backend(Replica):
    """A replica with its address and its idle connections."""

    host: str = ""
    port: int = 80
    base: str = ""  # path before /v1
    authority: str = ""
    key: str = ""
    ssl: tls.SSLContext | None = None
    reuse_after_stream: bool = True
    idle: list[Conn] = field(default_factory=list)
    heads: dict[tuple[str, str], bytes] = field(default_factory=dict)  # the same for every request to a path
    given: bool = False  # named by address rather than by a site's agent
    held: bool = False  # an operator's word stands; health checks do not overrule it
    label: str = ""
    configured: frozenset[str] = frozenset()  # models by the operator's word, listed or not
    lacks: set[str] = field(default_factory=set)  # ... that it said it has not
    served: dict[str, str] = field(default_factory=dict)  # public model name -> the engine's own
    road: Road | None = None  # how a connection is had where the engine cannot be dialled

    def name_of(self, offer: ModelOffer) -> str:
        """What this engine calls the model."""
        return self.served.get(offer.name, offer.own_name)

    def take(self) -> Conn | None:
        while self.idle:
            conn = self.idle.pop()
            if conn.open:
                return conn
        return None

    def close(self) -> None:
        while self.idle:
            self.idle.pop().abort()

    def head(
        self, method: str, path: str, length: int, request_id: str, extra: bytes = b"", kind: str = "application/json"
    ) -> bytes:
        """A request head of our own making; nothing of the client's travels but what is named here."""
        start = self.heads.get((method, path))
        if start is None:
            auth = f"authorization: Bearer {self.key}\r\n" if self.key else ""
            start = self.heads[method, path] = (
                f"{method} {self.base}{path} HTTP/1.1\r\nhost: {self.authority}\r\n"
                f"content-type: {kind}\r\naccept: */*\r\n{auth}"
            ).encode()
        return b"%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n" % (start, length, request_id.encode(), extra)


# A connection to a backend within so many seconds. Raises OSError.
Road = Callable[[Backend, float], Awaitable["Conn"]]


async def connect(backend: Backend, timeout_s: float) -> Conn:
    """A new connection. Raises OSError (refused, unreachable, not in time)."""
    if backend.road is not None:
        return await backend.road(backend, timeout_s)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, conn = await loop.create_connection(lambda: Conn(backend), backend.host, backend.port, ssl=backend.ssl)
    except TimeoutError as error:
        raise OSError(f"no connection within {timeout_s:g} s") from error
    return conn


# Engines that say at /health whether they can serve.
HEALTH: Final = frozenset({"llama.cpp", "vllm", "sglang"})


async def answers(backend: Backend, timeout_s: float, *, healthy: bool = False) -> bool:
    """Does it take a connection, and say that it is well where it is asked that too?"""
    try:
        if healthy:
            status, _ = await call(backend, "GET", "/health", b"", timeout_s)
            return status < 500
        conn = await connect(backend, timeout_s)
    except OSError:
        return False
    conn.abort()
    return True


class Conn(asyncio.Protocol):
    """One connection to an engine."""

    transport: asyncio.Transport | None = None
    owner: Owner | None = None
    open = False
    fresh = True
    _buf = b""
    _head: ResponseHead | None = None
    _left = 0
    _repeat: Repeat[ResponseHead] | None = None
    _chunks: Unchunker | None = None
    _informed = 0

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.open = True

    def send(self, owner: Owner, data: bytes) -> None:
        assert self.transport is not None
        self.owner = owner
        self._head = None
        self._informed = 0
        self.transport.write(data)

    def abort(self) -> None:
        """Drop it now: the engine sees the client gone and stops."""
        self.owner = None
        self.open = False
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        owner = self.owner
        if owner is None:  # bytes nobody asked for: this connection is out of step
            self.abort()
            return
        try:
            chunks = self._chunks
            if chunks is not None and chunks.between:
                if owner.pass_on(data):
                    return
                if (payloads := whole_chunks(data)) is not None:
                    owner.on_chunks(payloads)
                else:
                    self._read_body(data)
            elif self._head is None:
                repeat = None if self._buf else self._repeat
                if repeat is not None and (body := repeat.whole(data)) is not None:
                    self._free(repeat.head, b"")
                    owner.on_reply(repeat.head, body)
                    return
                self._read_head(data)
            else:
                self._read_body(data)
        except BadMessageError as error:
            self._lose(f"malformed answer: {error}")
        except Exception as error:  # whatever an engine writes costs the request that it was written for
            log.error("an answer of %s cannot be read: %r", self.backend.id, error, exc_info=error)
            self.abort()
            owner.on_lost(f"an answer that cannot be read: {type(error).__name__}")

    def _read_head(self, data: bytes) -> None:
        buf = self._buf + data if self._buf else data
        while True:
            end = buf.find(b"\r\n\r\n")
            if end < 0:
                if len(buf) > 65_536:
                    raise BadMessageError(502, "the head does not end")
                self._buf = buf
                return
            head, buf = self._head_of(buf[: end + 4]), buf[end + 4 :]
            if head.status >= 200:
                break
        self._buf, self._head, self._left = b"", head, head.length
        self._chunks = Unchunker() if head.framing is Framing.CHUNKED else None
        owner = self.owner
        assert owner is not None
        owner.on_head(head)
        if self.owner is not owner:
            return
        if head.framing is Framing.NONE or (head.framing is Framing.LENGTH and not head.length):
            self._finish(buf)
        elif buf:
            self._read_body(buf)

    def _head_of(self, text: bytes) -> ResponseHead:
        """Raises BadMessageError."""
        head = None if self._repeat is None else self._repeat.match(text)
        if head is None:
            head = parse_response(text)
            if head.keep_alive and head.framing is Framing.LENGTH:
                self._repeat = Repeat(text, head)
        if head.status < 200:
            self._informed += 1
            if head.status == 101 or self._informed > MAX_INFORMATIONAL:
                raise BadMessageError(502, "too many informational answers")
        return head

    def _read_body(self, data: bytes) -> None:
        owner, chunks = self.owner, self._chunks
        assert owner is not None
        assert self._head is not None
        if chunks is not None:
            pieces = chunks.feed(data)
            if pieces:
                owner.on_data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if chunks.done and self.owner is owner:
                self._finish(chunks.rest)
        elif self._head.framing is Framing.LENGTH:
            body, rest = (data, b"") if len(data) <= self._left else (data[: self._left], data[self._left :])
            self._left -= len(body)
            owner.on_data(body)
            if not self._left and self.owner is owner:
                self._finish(rest)
        else:
            owner.on_data(data)

    def _finish(self, rest: bytes) -> None:
        owner, head = self.owner, self._head
        assert owner is not None
        assert head is not None
        self._head, self._chunks = None, None
        self._free(head, rest)
        owner.on_end()

    def _free(self, head: ResponseHead, rest: bytes) -> None:
        """After a complete answer the connection is kept, unless either side or a surplus byte speaks against it."""
        self.owner = None
        self.fresh = False
        backend = self.backend
        keep = head.keep_alive and not rest and (backend.reuse_after_stream or not head.streamed)
        if keep and len(backend.idle) < MAX_IDLE:
            backend.idle.append(self)
        else:
            self.abort()

    def eof_received(self) -> bool:
        return False  # the transport closes; connection_lost tells the owner

    def connection_lost(self, exc: BaseException | None) -> None:
        self.open = False
        owner = self.owner
        if owner is None:
            return
        self.owner = None
        head = self._head
        if exc is None and head is not None and head.framing is Framing.UNTIL_CLOSE:
            owner.on_end()
        else:
            owner.on_lost("connection closed" if exc is None else f"connection lost: {type(exc).__name__}")

    def _lose(self, reason: str) -> None:
        owner = self.owner
        self.abort()
        if owner is not None:
            owner.on_lost(reason)


class Answer:
    """An owner that gathers one whole small answer, for the calls around a resume and for health checks."""

    __slots__ = ("_size", "body", "future", "head")

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.head: ResponseHead | None = None
        self.body: list[bytes] = []
        self._size = 0

    def on_head(self, head: ResponseHead) -> None:
        self.head = head

    def on_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_ANSWER:
            self.body.append(data)

    def on_chunks(self, payloads: list[bytes]) -> None:
        self.on_data(b"".join(payloads))

    def pass_on(self, raw: bytes) -> bool:
        return False

    def on_end(self) -> None:
        if not self.future.done():
            if self._size > MAX_ANSWER:
                self.future.set_exception(OSError("the answer is too large"))
            else:
                self.future.set_result(b"".join(self.body))

    def on_reply(self, head: ResponseHead, body: bytes) -> None:
        self.head = head
        self.on_data(body)
        self.on_end()

    def on_lost(self, reason: str) -> None:
        if not self.future.done():
            self.future.set_exception(OSError(reason))


# Token ids of a 126,000-token prompt are under 1 MB of JSON.
MAX_ANSWER: Final = 16 * 1024 * 1024


async def call(
    backend: Backend, method: str, path: str, body: bytes, timeout_s: float, request_id: str = "internal"
) -> tuple[int, bytes]:
    """One request outside the hot path: (status, body). Raises OSError."""
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(2):
                conn = backend.take() or await connect(backend, timeout_s)
                answer = Answer()
                fresh = conn.fresh
                conn.send(answer, backend.head(method, path, len(body), request_id) + body)
                try:
                    text = await answer.future
                except OSError:
                    if fresh or answer.head is not None:
                        raise
                    continue  # a kept connection the engine had closed: once more on a new one
                except asyncio.CancelledError:
                    conn.abort()
                    raise
                assert answer.head is not None
                return answer.head.status, text
            raise OSError("kept connections were closed")
    except TimeoutError as error:
        raise OSError(f"no answer within {timeout_s:g} s") from error
