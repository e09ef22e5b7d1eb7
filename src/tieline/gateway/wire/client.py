"""The client's side of a connection: requests out of bytes, answers into bytes.

One request at a time; bytes of a next one wait. Knows HTTP; a handler says what a request means. Whatever fails
while a request is answered ends here, in a framed error with the request's id, never in silence.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, cast

from tieline.gateway import errors
from tieline.gateway.errors import Refusal
from tieline.gateway.settings import Settings
from tieline.gateway.wire import http1 as http
from tieline.gateway.wire.http1 import BadMessageError, Framing, RequestHead, Unchunker

log = logging.getLogger("tieline.gateway")

# A pipelined request's bytes kept while another is answered; beyond it the socket is not read.
MAX_AHEAD: Final = 262_144
# Bytes towards a client that does not read; beyond it the engine is not read either.
WRITE_HIGH: Final = 262_144
# How long an answer to a malformed request has to be read before the connection is dropped.
LINGER_S: Final = 2.0
# The last three digits of an id.
_LOW: Final = tuple(f"{number:03x}" for number in range(4_096))

Handler = Callable[["ClientConnection", RequestHead, bytes], None]


class RequestIds:
    """Unique: 64 random bits for the process, a count within it."""

    __slots__ = ("_prefix", "_stem", "count")

    def __init__(self) -> None:
        self._prefix = f"req_{secrets.token_hex(8)}"
        self._stem = f"{self._prefix}{0:05x}"
        self.count = 0

    def __call__(self) -> str:
        number = self.count = self.count + 1
        low = number & 0xFFF
        if not low:
            self._stem = f"{self._prefix}{number >> 12:05x}"
        return self._stem + _LOW[low]


class Pending(Protocol):
    """The request that is being answered."""

    def cancel(self) -> None:
        """The client is gone."""

    def pause(self, paused: bool) -> None:
        """The client's socket is full, or has room again."""


class Counts(Protocol):
    connections: int

    def refuse(self, code: str, tenant: str) -> None: ...


class Listener(Protocol):
    """What all connections of one process share."""

    draining: bool

    @property
    def settings(self) -> Settings: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def connections(self) -> set[ClientConnection]: ...

    @property
    def stats(self) -> Counts: ...

    @property
    def new_id(self) -> Callable[[], str]: ...

    def spawn(self, coro: Coroutine[Any, Any, None]) -> object: ...


class ClientConnection(asyncio.Protocol):
    """One client connection."""

    # Defaults stand on the class: most connections change few of them.
    wording: Callable[[int, bytes], bytes] | None = None  # of errors, where it is not OpenAI's
    transport: asyncio.Transport | None = None
    exchange: Pending | None = None
    peer = ""
    request_id = ""
    tenant = ""  # whose key the request shows; "": nobody's, or not read yet
    extra = b""  # header lines of this answer alone
    closing = False
    began: float | None = None  # when the first byte of an unfinished request came
    _buf = b""
    _head: RequestHead | None = None
    _have = 0
    _chunks: Unchunker | None = None
    _repeat: http.Repeat[RequestHead] | None = None
    _keep = True
    _chunked_out = True
    _ahead_paused = False
    _begun = False  # a stream whose head is sent

    def __init__(self, listener: Listener, route: Handler) -> None:
        self.listener, self.route = listener, route
        self.idle_since = listener.loop.time()
        self._body: list[bytes] = []

    # --- the socket ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        listener = self.listener
        if len(listener.connections) >= listener.settings.max_connections:
            full = Refusal(503, "this gateway has as many connections as it takes", "overloaded", retry_after_s=1)
            self.transport.write(http.response(503, full.headers(), full.body(), keep_alive=False))
            self.closing = True
            self.transport.close()
            return
        listener.connections.add(self)
        listener.stats.connections += 1
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""

    def connection_lost(self, exc: BaseException | None) -> None:
        listener = self.listener
        if self in listener.connections:
            listener.connections.discard(self)
            listener.stats.connections -= 1
        self.transport = None
        self.closing = True
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.cancel()

    def eof_received(self) -> bool:
        return False  # a client that has stopped sending is taken to be gone, as nginx does

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause(True)

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause(False)

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        if self.request_id:  # a request is being answered
            self._buf += data
            if len(self._buf) > MAX_AHEAD and not self._ahead_paused and self.transport is not None:
                self._ahead_paused = True
                self.transport.pause_reading()
            return
        try:
            repeat = self._repeat
            if repeat is not None and not self._buf and self._head is None:
                body = repeat.whole(data)
                if body is not None and len(body) <= self.listener.settings.max_body_bytes:
                    # The head of the request before, with another body, and all of it in one read.
                    head = repeat.head
                    self._keep = head.keep_alive and not self.listener.draining
                    self._chunked_out = not head.http10
                    self.extra = b""
                    self.request_id = self.listener.new_id()
                    self._hand_over(head, body)
                    return
            self._read(self._buf + data if self._buf else data)
        except BadMessageError as error:
            self._refuse_and_close(errors.bad_request(str(error), "bad_http", status=error.status))

    # --- what answers it ----------------------------------------------------------

    def _hand_over(self, head: RequestHead, body: bytes) -> None:
        try:
            self.route(self, head, body)
        except Exception as error:  # the last place that can still say so to the client
            self.failed(error)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer this request by a task."""
        self.listener.spawn(self._until_answered(work))

    async def _until_answered(self, work: Coroutine[Any, Any, None]) -> None:
        number = self.request_id
        try:
            await work
        except Exception as error:  # as above
            if self.request_id == number:
                self.failed(error)
            else:
                log.exception("after request %s had been answered", number)

    def failed(self, error: Exception) -> None:
        """This request cannot be answered, by a fault of ours: a framed error with its id, and the cause in the log."""
        log.error("request %s failed: %r", self.request_id, error, exc_info=error)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.cancel()
        if self._begun:
            self.drop()
        elif self.request_id:
            self._keep = False
            self.refuse(errors.internal(self.request_id))

    # --- framing ----------------------------------------------------------------------

    def _read(self, buf: bytes) -> None:
        self._buf = b""
        head = self._head
        if head is None:
            begun = self._next_head(buf)
            if begun is None:
                return
            head, buf = begun
        if head.framing is Framing.LENGTH:
            take = buf[: head.length - self._have]
            self._have += len(take)
            if self._have < head.length:
                self._body.append(take)
                return
            rest = buf[len(take) :]
            body = take if not self._body else b"".join((*self._body, take))
        elif self._chunks is not None:
            for piece in self._chunks.feed(buf):
                self._have += len(piece)
                if self._have > self.listener.settings.max_body_bytes:
                    raise BadMessageError(413, "the body is larger than this gateway takes")
                self._body.append(piece)
            if not self._chunks.done:
                return
            rest, body = self._chunks.rest, b"".join(self._body)
        else:
            rest, body = buf, b""
        self._buf = rest
        self._head, self._chunks, self.began = None, None, None
        if self._body:
            self._body = []
        self.request_id = self.listener.new_id()
        self._hand_over(head, body)

    def _next_head(self, buf: bytes) -> tuple[RequestHead, bytes] | None:
        """(the head that begins here, what follows it); None: it is not all here. Raises BadMessageError."""
        if self.began is None:
            self.began = self.listener.loop.time()
        if buf.startswith(b"\r\n"):
            buf = http.after_blanks(buf)
            if not buf:
                self.began = None
                return None
        end = buf.find(b"\r\n\r\n")
        if end < 0:
            http.check_beginning(buf)
            self._buf = buf
            return None
        raw, rest = buf[: end + 4], buf[end + 4 :]
        head = None if self._repeat is None else self._repeat.match(raw)
        if head is None:
            head = http.parse_request(raw)
            if head.keep_alive and head.framing is Framing.LENGTH:
                self._repeat = http.Repeat(raw, head)
        self._begin(head, bool(rest))
        return head, rest

    def _begin(self, head: RequestHead, more: bool) -> None:
        self._head = head
        self._keep = head.keep_alive and not self.listener.draining
        self._chunked_out = not head.http10
        self._have = 0
        self.extra = b""
        if head.framing is Framing.LENGTH and head.length > self.listener.settings.max_body_bytes:
            raise BadMessageError(413, "the body is larger than this gateway takes")
        if head.framing is Framing.CHUNKED:
            self._chunks = Unchunker()
        if head.expects_continue and not more and head.framing is not Framing.NONE and self.transport is not None:
            self.transport.write(http.CONTINUE)

    # --- answers --------------------------------------------------------------------------

    def _common(self) -> bytes:
        return b"x-request-id: %b\r\n%b" % (self.request_id.encode(), self.extra)

    def answer(self, status: int, headers: bytes, body: bytes, *, head_only: bool = False) -> None:
        """A whole answer, then the next request."""
        if self.transport is None:
            return
        self.transport.write(
            b"%bcontent-length: %d\r\n%bx-request-id: %b\r\n%b%b\r\n%b"
            % (
                http.status_line(status),
                len(body),
                headers,
                self.request_id.encode(),
                self.extra,
                b"" if self._keep else b"connection: close\r\n",
                b"" if head_only else body,
            )
        )
        self._next()

    def refuse(self, refusal: Refusal) -> None:
        self.listener.stats.refuse(refusal.code, self.tenant)
        body = refusal.body()
        self.answer(
            refusal.status, refusal.headers(), body if self.wording is None else self.wording(refusal.status, body)
        )

    def translated(self, body: bytes) -> bytes:
        """An answer of a chat as this client gets it."""
        return body

    def _refuse_and_close(self, refusal: Refusal) -> None:
        """After bytes that could not be framed nothing more on this connection can be trusted."""
        if not self.request_id:
            self.request_id = self.listener.new_id()
        self.listener.stats.refuse(refusal.code, self.tenant)
        if self.transport is not None:
            headers = refusal.headers() + self._common()
            self.transport.write(http.response(refusal.status, headers, refusal.body(), keep_alive=False))
            # Closing now with bytes unread would reset the connection and take the answer with it: end our side,
            # read and discard until the client has seen it, a second or two.
            if self.transport.can_write_eof():
                self.transport.write_eof()
        self.closing = True
        self._buf, self._body, self._head, self._chunks = b"", [], None, None
        self.idle_since = self.listener.loop.time()

    def begin_stream(self, headers: bytes, payload: bytes) -> None:
        """The head of a stream and its first bytes, in one write."""
        if self.transport is None:
            return
        self._begun = True
        coding = b"transfer-encoding: chunked\r\n" if self._chunked_out else b""
        self._keep = self._keep and self._chunked_out
        closing = b"" if self._keep else b"connection: close\r\n"
        first = http.chunk(payload) if payload and self._chunked_out else payload
        head = (http.status_line(200), headers, coding, self._common(), closing, b"\r\n")
        self.transport.write(b"".join((*head, first)))

    def send(self, payload: bytes) -> None:
        if self.transport is not None:
            self.transport.write(http.chunk(payload) if self._chunked_out else payload)

    def pass_on(self, raw: bytes) -> None:
        """One frame in its chunk."""
        if self.transport is not None:
            self.transport.write(raw if self._chunked_out else raw[raw.index(b"\r\n") + 2 : -2])

    def finish_stream(self, tail: bytes) -> None:
        if self.transport is None:
            return
        if self._chunked_out:
            self.transport.write(http.chunk(tail) + http.LAST_CHUNK if tail else http.LAST_CHUNK)
        else:
            self.transport.write(tail)
        self._next()

    def drop(self) -> None:
        """End a stream so that no client can take it for complete: no last chunk, the connection closed."""
        self.exchange = None
        self.closing = True
        self.idle_since = self.listener.loop.time() + 10.0  # time to drain what is written
        if self.transport is not None:
            self.transport.close()

    def _next(self) -> None:
        self.exchange = None
        self.request_id = ""
        self._begun = False
        if not self._keep or self.closing:
            self.closing = True
            self.idle_since = self.listener.loop.time() + 10.0
            if self.transport is not None:
                self.transport.close()
            return
        self.idle_since = self.listener.loop.time()
        if self._ahead_paused and self.transport is not None:
            self._ahead_paused = False
            self.transport.resume_reading()
        if self._buf:
            self.listener.loop.call_soon(self._again)

    def _again(self) -> None:
        """A pipelined request whose bytes are already here."""
        if not self.request_id and not self.closing:
            self.data_received(b"")

    def forget(self) -> None:
        """Keys changed: what was made of a head that repeats no longer holds."""
        if self._repeat is not None:
            self._repeat.head.read = None

    def tick(self, now: float) -> None:
        """Once a second: slow heads, slow bodies, idle connections."""
        clocks = self.listener.settings.clocks
        if self.closing:
            if self.exchange is None and now - self.idle_since > LINGER_S and self.transport is not None:
                self.transport.abort()
            return
        if self.request_id:
            return
        if self.began is None:
            if now - self.idle_since > clocks.client_idle_s and self.transport is not None:
                self.closing = True
                self.transport.close()
        elif now - self.began > (clocks.head_s if self._head is None else clocks.body_s):
            self._refuse_and_close(Refusal(408, "the request did not arrive in time", "request_timeout"))
