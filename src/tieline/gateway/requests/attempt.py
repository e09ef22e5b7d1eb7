"""One replica's part of a request: sends it, cuts the answer into frames, says once how it ended.

Knows its request only by these calls. Its place in the replica's load is taken in `start` and given back in
`leave`, which may be called any number of times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from tieline.gateway.requests.chunks import Chunk
from tieline.gateway.requests.continuity.replay import Replay
from tieline.gateway.requests.state import RequestState
from tieline.gateway.wire.http1 import ResponseHead
from tieline.gateway.wire.passthrough import PassthroughTemplate
from tieline.gateway.wire.sse import Framer
from tieline.gateway.wire.upstream import Backend, Conn, connect
from tieline.records import Hop

# A whole answer that is not a stream: embeddings of a full batch are the largest.
MAX_ANSWER: Final = 64 * 1024 * 1024


class Receiver(Protocol):
    """Who gets what is passed on."""

    def pass_on(self, raw: bytes) -> None:
        """One frame in its chunk."""


class Holder(Protocol):
    """What an attempt tells its request."""

    @property
    def state(self) -> RequestState: ...

    @property
    def client(self) -> Receiver: ...

    def now(self) -> float: ...

    def on_answer(self, attempt: Attempt, head: ResponseHead, body: bytes) -> None: ...

    def on_frames(self, attempt: Attempt, frames: list[bytes]) -> None: ...

    def on_texts(self, template: PassthroughTemplate, texts: list[str], frames: list[bytes]) -> None: ...

    def on_attempt_end(self, attempt: Attempt) -> None: ...

    def on_attempt_failed(self, attempt: Attempt, ended: str, reason: str) -> None: ...

    def drain(self, attempt: Attempt) -> bool:
        """Its replica was told to go dark. True: the stream is being moved."""


class Attempt:
    """`ended` is None while it runs, then the word its hop is recorded with."""

    # Defaults stand on the class: most attempts change few of them.
    ended: str | None = None
    first_at: float | None = None
    gap_s = 0.0  # the stream's own p99 silence, as estimated
    frames = 0
    tokens = 0
    base_tokens = 0  # delivered by earlier hops
    repeated = 0  # ... as far as its prompt holds them
    replay: Replay | None = None  # what has to come again before anything is new
    streaming = False
    hedges = False  # it runs beside another because that one's first token is late
    template: PassthroughTemplate | None = None  # of the frames that may be passed on unread
    templates = 0
    parked: list[bytes] | None = None  # frames held back while the stream is being moved away
    read: Callable[[bytes], Chunk] | None = None  # set: its frames are not in the form the stream began in
    task: asyncio.Task[None] | None = None
    connection: Conn | None = None
    _head: ResponseHead | None = None
    _framer: Framer | None = None
    _size = 0
    _retried = False

    def __init__(self, holder: Holder, backend: Backend, payload: bytes) -> None:
        self.holder, self.backend, self.payload = holder, backend, payload
        self.state, self.client = holder.state, holder.client
        self._now = now = holder.now
        self.started_at = self.last_at = now()
        self._body: list[bytes] = []

    def start(self, connect_s: float) -> None:
        self.backend.live.add(self)
        conn = self.backend.take()
        if conn is not None:
            self.connection = conn
            conn.send(self, self.payload)
        else:
            self._dial(connect_s)

    def _dial(self, connect_s: float) -> None:
        self.task = asyncio.get_running_loop().create_task(self._connect(connect_s))

    async def _connect(self, connect_s: float) -> None:
        try:
            conn = await connect(self.backend, connect_s)
        except OSError as error:
            # It was there a moment ago, and is gone since it was sent this.
            self._fail("died" if self._retried else "unreachable", str(error))
            return
        if self.ended is not None:
            conn.abort()
            return
        self.connection = conn
        conn.send(self, self.payload)

    def leave(self, ended: str) -> None:
        """Give the place back and drop the connection if it still works for us."""
        if self.ended is not None:
            return
        self.ended = ended
        self.backend.live.discard(self)
        if self.connection is not None and self.connection.owner is self:
            self.connection.abort()
        if self.task is not None and not self.task.done() and self.connection is None:
            self.task.cancel()

    def drain(self) -> bool:
        """Its replica was told to go dark. True: the stream is being moved."""
        return self.parked is None and self.holder.drain(self)

    def finish_quietly(self, ended: str) -> None:
        """The last frame is here; the end of the answer may still be on its way and frees the connection."""
        if self.ended is None:
            self.ended = ended
            self.backend.live.discard(self)

    def pause(self, paused: bool) -> None:
        """The client does not read fast enough: neither do we."""
        if self.connection is not None and self.connection.owner is self and self.connection.transport is not None:
            if paused:
                self.connection.transport.pause_reading()
            else:
                self.connection.transport.resume_reading()

    # --- told by the connection ----------------------------------------------

    def on_head(self, head: ResponseHead) -> None:
        self._head = head
        if head.status == 200 and head.streamed:
            self.streaming = True
            self._framer = Framer()

    def on_data(self, data: bytes) -> None:
        if self.ended is not None:
            return
        now = self._now()
        if self.first_at is None:
            self.first_at = now
        framer = self._framer
        if framer is None:
            self._size += len(data)
            if self._size > MAX_ANSWER:
                self._fail("error", "the engine's answer is too large")
                return
            self._body.append(data)
            self.last_at = now
            return
        try:
            frames = framer.feed(data)
        except ValueError as error:
            self._fail("error", str(error))
            return
        if not frames:
            return
        self._heard(now, len(frames))
        if self.parked is not None:
            self.parked.extend(frames)
        else:
            self.holder.on_frames(self, frames)

    def pass_on(self, raw: bytes) -> bool:
        """The usual read of a stream, one whole chunk and in it one frame of text and nothing else: found to be that,
        counted, kept and sent in one step."""
        template, framer = self.template, self._framer
        if template is None or framer is None or framer.tail or self.parked is not None or self.ended is not None:
            return False
        taken = template.take(raw)
        if taken is None:
            return False
        text, chunk = taken
        self.templates = 0
        self.tokens += 1
        self.frames += 1
        now = self._now()
        gap, usual = now - self.last_at, self.gap_s
        self.gap_s = gap if gap > usual else usual - 0.01 * (usual - gap)
        self.last_at = now
        self.state.keep(text)
        self.client.pass_on(chunk)
        return True

    def on_chunks(self, payloads: list[bytes]) -> None:
        """The next usual case: several of them in one read."""
        template, framer = self.template, self._framer
        if (
            template is not None
            and framer is not None
            and not framer.tail
            and self.parked is None
            and self.ended is None
        ):
            texts = template.texts(payloads)
            if texts is not None:
                self.templates = 0
                self.tokens += len(texts)
                self._heard(self._now(), len(texts))
                self.holder.on_texts(template, texts, payloads)
                return
        self.on_data(payloads[0] if len(payloads) == 1 else b"".join(payloads))

    def _heard(self, now: float, frames: int) -> None:
        if self.frames:
            gap = now - self.last_at
            # A high quantile, followed: up at once when exceeded, down slowly when not.
            self.gap_s = gap if gap > self.gap_s else self.gap_s - 0.01 * (self.gap_s - gap)
        self.last_at = now
        self.frames += frames

    def on_end(self) -> None:
        if self.ended is not None:
            return
        if self._framer is not None:
            self.holder.on_attempt_end(self)
            return
        assert self._head is not None
        self.holder.on_answer(self, self._head, self._body[0] if len(self._body) == 1 else b"".join(self._body))

    def on_reply(self, head: ResponseHead, body: bytes) -> None:
        if head.streamed:
            self.on_head(head)
            self.on_data(body)
            self.on_end()
        elif self.ended is None:
            self._head = head
            self.first_at = self.last_at = self._now()
            self.holder.on_answer(self, head, body)

    def on_lost(self, reason: str) -> None:
        if self.ended is not None:
            return
        conn = self.connection
        if conn is not None and not conn.fresh and self._head is None and not self._retried:
            self._retried = True  # a kept connection that the engine had closed meanwhile: not the engine's death
            self.connection = None
            self._dial(2.0)
            return
        self._fail("died", reason)

    def _fail(self, ended: str, reason: str) -> None:
        if self.ended is None:
            self.holder.on_attempt_failed(self, ended, reason)

    def hop(self, ended: str, output_tokens: int | None = None) -> Hop:
        """Its line in the record of the request; without a count of what it delivered, frames are counted."""
        return Hop(
            replica_id=self.backend.id,
            site_id=self.backend.site,
            output_tokens=self.tokens if output_tokens is None else output_tokens,
            ended=ended,
            first_token_ms=None if self.first_at is None else round((self.first_at - self.started_at) * 1e3),
            total_ms=round((self._now() - self.started_at) * 1e3),
            region=self.backend.region,
        )
