"""One request from admission to its last byte, over as many replicas as it takes.

The client sees one stream under one id. What it has been sent is kept as text; when the replica dies, goes
silent or is told to go dark, another one continues from exactly that text (see `resume`). What cannot be
continued ends in an honest error and an aborted connection, and what was delivered is billed.
No tasks or futures stand on the usual path: each read of a socket ends in a write of the other.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import msgspec

from tieline.gateway import errors, responses, resume, sse
from tieline.gateway.admit import Account, Ticket
from tieline.gateway.body import Request, complaint
from tieline.gateway.errors import Refusal
from tieline.gateway.http import ResponseHead
from tieline.gateway.leg import Leg
from tieline.gateway.responses import Shape
from tieline.gateway.resume import Names, Way
from tieline.gateway.route import Want
from tieline.gateway.settings import Offer
from tieline.gateway.upstream import Backend
from tieline.records import Hop

if TYPE_CHECKING:
    from tieline.gateway.door import Door
    from tieline.gateway.service import Service

# One request visits at most this many replicas; a request that kills each of them is itself the cause.
MAX_HOPS: Final = 8
# Attempts before the first token.
MAX_TRIES: Final = 3
# How often a resume looks again for a replica with room.
LOOK_AGAIN_S: Final = 0.05

SSE_HEADERS: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
)
JSON_HEADERS: Final = b"content-type: application/json\r\n"


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """What is read of a whole answer."""

    usage: sse.TokenUsage | None = None
    model: str | None = None
    choices: tuple[sse.Choice, ...] | None = None
    status: str | None = None


_read_answer = msgspec.json.Decoder(_Answer).decode


class BrokenStreamError(Exception):
    """The engine wrote what is no event, or an error, into its stream."""


class Exchange:
    """A request in progress."""

    # Defaults stand on the class: most requests change few of them, and setting forty attributes is felt.
    leg: Leg | None = None
    names: Names | None = None
    text_bytes = 0
    tokens = 0  # frames with text that the client was sent
    prompt_tokens: int | None = None
    cached_tokens = 0
    output_tokens: int | None = None
    estimated = False
    finish: str | None = None
    first_token_at: float | None = None
    head_sent = False
    done = False
    status = 200
    queued_until: float | None = None
    idempotency: asyncio.Future[tuple[int, bytes, bytes]] | None = None
    trace = b""
    _hold = False
    _tries = 0
    _moving: Leg | None = None
    _resuming = False
    _task: asyncio.Task[None] | None = None
    _commit_tail = b""
    _shape: Shape | None = None
    _paused = False
    _unkept = False
    _opened = False  # the client has a frame of this stream
    _renames = False  # the engine calls the model otherwise
    _finishes = 0
    _counted: Leg | None = None  # whose answers `_prompt_sum` adds up
    _prompt_sum = 0
    _created = b""  # as the engine wrote it first; llama.cpp writes the time of each chunk
    _plain: Leg | None = None  # the leg whose frames may be passed on as they are

    def __init__(
        self,
        svc: Service,
        door: Door,
        request: Request,
        offer: Offer,
        account: Account,
        ticket: Ticket,
        limit: int,
        request_id: str,
    ) -> None:
        self.svc, self.door, self.request, self.offer = svc, door, request, offer
        self.account, self.ticket, self.limit, self.id = account, ticket, limit, request_id
        self.now = svc.loop.time
        self.began: float = self.now()
        self.want = Want(
            request.model,
            request.prompt_bytes // 4,
            request.prefix,
            account.regions,
            "",
            account.tenant.id,
        )
        self.hops: list[Hop] = []
        self.texts: list[str] = []
        self._held: list[bytes] = []
        self._last_sent = self._last_progress = self.began
        if request.kind == "responses":
            self._hold = True

    # --- placing it -------------------------------------------------------------

    def begin(self) -> None:
        self.svc.exchanges.add(self)
        self.place(frozenset())

    def place(self, avoid: frozenset[str]) -> None:
        """Send the request to the best replica with room, or wait for one."""
        svc = self.svc
        backend = svc.choose(self.want, avoid) or (svc.choose(self.want, frozenset()) if avoid else None)
        if backend is None:
            svc.wait(self)
            return
        self.go(backend)

    def go(self, backend: Backend) -> None:
        self.queued_until = None
        self._tries += 1
        body = self.request.encode(self.svc.own_name(self.offer, backend), self.limit)
        path = _PATHS[self.request.kind]
        payload = backend.head("POST", path, len(body), self.id, self.trace) + body
        self.leg = Leg(self, backend, payload)
        backend.remember(self.want.prefix)
        self.leg.start(self.svc.settings.clocks.connect_s)

    # --- a whole answer -----------------------------------------------------------

    def on_answer(self, leg: Leg, head: ResponseHead, body: bytes) -> None:
        status = head.status
        if self.done or leg is not self.leg:
            self._end_leg(leg, "error")
            return
        if status == 200 and not self.request.stream:
            self._answered(leg, body)
        elif status == 200:
            self.on_leg_failed(leg, "error", "the engine answered a stream request without a stream")
        elif status >= 500 or status in (408, 425, 429):
            self._engine_refused(leg, status, body)
        else:
            self._end_leg(leg, "error")
            leg.backend.succeeded(None)
            self.refuse(_relayed(status, body))

    def _answered(self, leg: Leg, body: bytes) -> None:
        try:
            if self.request.kind == "responses" and leg.backend.engine == "llama.cpp":
                body = responses.cut(body, self.request.limit)
            answer = _read_answer(body)
        except msgspec.DecodeError:
            self.on_leg_failed(leg, "error", "the engine's answer is not JSON")
            return
        usage = answer.usage
        if usage is not None:
            self._count(usage, 0)
            leg.tokens = self.output_tokens or 0
        if answer.choices:
            self.finish = answer.choices[0].finish_reason
        elif answer.status is not None:
            self.finish = answer.status
        if answer.model is not None and answer.model != self.request.model:
            plain = msgspec.json.decode(body)
            plain["model"] = self.request.model
            body = _encode(plain)
        self.first_token_at = leg.first_at
        leg.backend.succeeded(None if leg.first_at is None else leg.first_at - leg.started_at)
        self._end_leg(leg, self.finish or "stop")
        self._commit_tail = body
        if self.output_tokens is None and usage is None:
            self._task = self.svc.spawn(self._count_then_close(body))
        else:
            self._close_account(200)

    async def _count_then_close(self, body: bytes) -> None:
        """The engine reported no usage: count with a tokenizer, off the usual path."""
        text = _answer_text(body)
        await self._count_text(text)
        self._close_account(200)

    def _engine_refused(self, leg: Leg, status: int, body: bytes) -> None:
        """The engine is overloaded or broken: another one may do better; a malformed request will not."""
        fault = complaint(self.request) if status == 500 else None
        if fault is not None:
            self._end_leg(leg, "error")
            self.refuse(fault)
            return
        self._end_leg(leg, "error")
        if status in (429, 503):
            leg.backend.ejected_until = max(leg.backend.ejected_until, self.now() + 0.25)
        else:
            leg.backend.failed(self.now())
        self.svc.stats.failures[leg.backend.id, f"status {status}"] += 1
        if self.delivered:
            self._resume()
        elif self._tries < MAX_TRIES:
            self.place(frozenset((leg.backend.id,)))
        elif status in (429, 503):
            self.refuse(errors.no_capacity(self.request.model))
        else:
            self.refuse(errors.engine_error(502, f"the engine failed with status {status}"))

    # --- a stream -------------------------------------------------------------------

    @property
    def delivered(self) -> bool:
        """Has the client been sent any text that a new hop must not repeat?"""
        return bool(self.texts) or self._unkept

    def on_whole(self, leg: Leg, frames: list[bytes], raw: bytes) -> None:
        """Whole frames in whole chunks: passed on as they came while nothing in any of them has to change."""
        if leg is self._plain:
            texts = self._plain_texts(frames)
            if texts is not None:
                leg.tokens += len(texts)
                for text in texts:
                    self._keep(text)
                self.door.pass_on(raw, frames)
                return
        self.on_frames(leg, frames)

    def _plain_texts(self, frames: list[bytes]) -> list[str] | None:
        """The text of each frame; None where one holds anything else."""
        texts = []
        created = self._created
        for frame in frames:
            if created not in frame:
                return None
            try:
                event = sse.read_event(frame[6:-2])
            except msgspec.DecodeError:
                return None
            choices = event.choices
            if choices is None or len(choices) != 1 or event.usage is not None or event.error is not None:
                return None
            choice = choices[0]
            delta = choice.delta
            if delta is None:
                text = choice.text
            else:
                text = delta.content
                if delta.tool_calls is not None or delta.reasoning_content or delta.reasoning or delta.function_call:
                    return None
            if not text or choice.finish_reason is not None:
                return None
            texts.append(text)
        return texts

    def on_frames(self, leg: Leg, frames: list[bytes]) -> None:
        if self.done:
            return
        if leg is self._moving:
            self._switch(leg)
        if leg is not self.leg:
            return
        one = self._responses_frame if self.request.kind == "responses" else self._frame
        out: list[bytes] = []
        broken = ""
        try:
            for frame in frames:
                ready = one(leg, frame)
                if ready is not None:
                    out.append(ready)
        except BrokenStreamError as error:
            broken = str(error)
        if out:
            self._opened = True
            self._send(out[0] if len(out) == 1 else b"".join(out))
        if broken:
            self.on_leg_failed(leg, "error", broken)
        elif leg.ended is None and self.finish is not None and self._commit_tail:
            self._complete(leg)

    def _frame(self, leg: Leg, frame: bytes) -> bytes | None:
        """What the client is sent for one frame of a chat or text completion; None: nothing (now)."""
        data = sse.data_of(frame)
        if data is None or leg.ended is not None:
            return None
        if leg.translate is not None:
            return self._llama_frame(leg, data)
        if data == b"[DONE]":
            self._stream_done(leg)
            return None
        if data == b"null":  # llama.cpp's first event of several prompts
            return None
        try:
            event = sse.read_event(data)
        except msgspec.DecodeError as error:
            raise BrokenStreamError("a frame is not JSON") from error
        if event.error is not None:
            raise BrokenStreamError("the engine reported an error in its stream")
        if event.usage is not None:
            if leg.backend.engine == "llama.cpp" and self.request.answers > 1:
                self._add_up(leg, event.usage)
            else:
                self._count(event.usage, leg.base_tokens)
        choices = event.choices
        if not choices:
            return None
        choice = choices[0]
        delta = choice.delta
        text = choice.text if delta is None else delta.content
        if self.names is None:
            self._learn(data)
        if self.hops or self._renames or self._created not in frame:
            if self._opened and not text and choice.finish_reason is None and not _special(delta):
                return None  # a later hop's opening frame: the role was sent long ago
            frame = resume.renamed(data, self._public_names())
        if self.request.wants_usage and b'"usage"' not in frame:
            frame = frame[:-3] + b',"usage":null}\n\n'
        if text:
            leg.tokens += 1
            if self.first_token_at is None:
                self._first(leg)
            if self._hold and not self.request.tools:
                self._hold = False  # reasoning is over
            if not self._hold:
                self._keep(text)
                if not (self.hops or self._renames or self.request.wants_usage or self._held):
                    self._plain = leg
        if choice.finish_reason is not None:
            self._finishes += 1
            self.finish = choice.finish_reason
        if _special(delta):
            self._plain = None
            self._hold = self.request.continuity != "none"
            self._unkept = not self._hold  # sent as it comes, it cannot be taken back and made anew
            leg.tokens += 1
            if self.first_token_at is None:
                self._first(leg)
        if self._hold:
            self._held.append(frame)
            if self._finishes < self.request.answers:
                return None
            self._hold = False
            frame = self._held.pop()
        if self._held:
            self.tokens += len(self._held)
            frame = b"".join((*self._held, frame))
            self._held.clear()
            self._unkept = True  # what was held is no plain text: from here on it cannot be continued
        return frame

    def _llama_frame(self, leg: Leg, data: bytes) -> bytes | None:
        """A frame of llama.cpp's /completion, in the form the stream began in."""
        assert self.names is not None
        try:
            frame = resume.read_llama(data)
        except msgspec.DecodeError as error:
            raise BrokenStreamError("a frame is not JSON") from error
        if frame.error is not None:
            raise BrokenStreamError("the engine reported an error in its stream")
        out = b""
        kind = self.request.kind
        if frame.content:
            leg.tokens += 1
            self._keep(frame.content)
            logprobs = self._logprobs(frame)
            out = resume.chat_frame(self._public_names(), kind, frame.content, None, logprobs)
        if frame.stop:
            self.finish = resume.finish_reason(frame)
            self.output_tokens = leg.base_tokens + frame.tokens_predicted
            out += resume.chat_frame(self._public_names(), kind, None, self.finish)
            self._commit_tail = sse.DONE
        if out and self.request.wants_usage:
            out = out.replace(b"}\n\n", b',"usage":null}\n\n')
        return out or None

    def _logprobs(self, frame: resume.LlamaFrame) -> bytes | None:
        raw = self.request.fields.get("logprobs")
        if frame.completion_probabilities is None or raw is None or bytes(raw) != b"true":
            return None
        return _encode(frame.completion_probabilities)

    def _stream_done(self, leg: Leg) -> None:
        self._commit_tail = sse.DONE
        if self.finish is None:
            self.finish = "stop"

    def on_leg_end(self, leg: Leg) -> None:
        """The answer ended as HTTP; without a finish before it, it was cut short."""
        if self.done:
            return
        if leg is self.leg and self.finish is not None:
            self._complete(leg)
        else:
            self.on_leg_failed(leg, "died", "the stream ended before it was finished")

    def _complete(self, leg: Leg) -> None:
        if leg.ended is None:
            leg.backend.succeeded(None if leg.first_at is None else leg.first_at - leg.started_at)
            leg.finish_quietly(self.finish or "stop")
            self._record(leg, self.finish or "stop")
            self.svc.linger(leg)
            if self.svc.queue.count:
                self.svc.pump()
        if self._held:
            self._send(b"".join(self._held))
            self._held.clear()
        if self.request.kind == "responses":
            if self.output_tokens is None:
                self.output_tokens, self.estimated = leg.tokens, True
            self._close_account(200)
        elif self.output_tokens is None or self.prompt_tokens is None:
            self._task = self.svc.spawn(self._count_then_end())
        else:
            self._end_stream()

    async def _count_then_end(self) -> None:
        await self._count_text("".join(self.texts))
        self._end_stream()

    def _end_stream(self) -> None:
        if self.request.wants_usage and self.names is not None:
            frame = resume.usage_frame(
                self._public_names(), self.request.kind, self.prompt_tokens or 0, self.cached_tokens,
                self.output_tokens or 0,
            )  # fmt: skip
            self._commit_tail = frame + sse.DONE
        else:
            self._commit_tail = sse.DONE
        self._close_account(200)

    def _responses_frame(self, leg: Leg, frame: bytes) -> bytes | None:
        """An event of the Responses stream. Those before the first delta wait, so that a death before it can be
        retried unseen."""
        data = sse.data_of(frame)
        if data is None or data == b"[DONE]" or leg.ended is not None:
            return None
        try:
            event = responses.read(data)
        except msgspec.DecodeError as error:
            raise BrokenStreamError("an event is not JSON") from error
        if event.type == "error":
            raise BrokenStreamError("the engine reported an error in its stream")
        if self._shape is None:
            self._shape = self._new_shape(leg.backend)
        frame = self._shape.mend(event, data, frame)
        if event.type.endswith(".delta"):
            leg.tokens += 1
            self.tokens += 1
            if self.first_token_at is None:
                self._first(leg)
        if event.type in responses.END:
            if event.response is not None and event.response.usage is not None:
                self._count(event.response.usage, 0)
            self.finish = event.type.removeprefix("response.")
            self._commit_tail = b"".join((*self._held, frame))
            self._held.clear()
            return None
        if self._hold and event.type in responses.PREAMBLE:
            self._held.append(frame)
            return None
        self._hold = False
        self._unkept = True  # from here on the client has what another replica would begin anew
        if self._held:
            frame = b"".join((*self._held, frame))
            self._held.clear()
        return frame

    def _new_shape(self, backend: Backend | None) -> Shape:
        limit = self.request.limit if backend is not None and backend.engine == "llama.cpp" else None
        return Shape(self.request.model, int(self.svc.clock.now().timestamp()), limit)

    def _send(self, payload: bytes) -> None:
        if not self.head_sent:
            self._send_head()
        self._last_sent = self.svc.loop.time()
        self.door.send(payload)

    def _send_head(self) -> None:
        self.head_sent = True
        self.door.begin_stream(SSE_HEADERS + b"x-tieline-continuity: %b\r\n" % self.request.continuity.encode())

    def _first(self, leg: Leg) -> None:
        self.first_token_at = leg.last_at
        self.svc.stats.first_token(leg.last_at - self.began)

    def _keep(self, text: str) -> None:
        """Remember what was delivered, within the one budget of all streams."""
        self.tokens += 1
        if self._unkept:
            return
        size = len(text) + 64  # a short str object's own size
        if self.svc.kept_bytes + size > self.svc.settings.kept_bytes or self.request.choices * self.request.prompts > 1:
            self._unkept = True  # this stream can no longer be resumed, and says so if it has to
            self.svc.kept_bytes -= self.text_bytes
            self.text_bytes = 0
            self.texts.clear()
            return
        self.svc.kept_bytes += size
        self.text_bytes += size
        self.texts.append(text)

    def _learn(self, data: bytes) -> None:
        names = sse.read_names(data)
        self.names = Names(names.id, names.created, names.model)
        found = _CREATED.search(data)
        self._created = b"" if found is None else found[0]
        self._renames = names.model != self.request.model

    def _public_names(self) -> Names:
        assert self.names is not None
        return Names(self.names.id, self.names.created, self.request.model)

    def _count(self, usage: sse.TokenUsage, base: int) -> None:
        prompt = usage.prompt_tokens or usage.input_tokens or 0
        output = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
        self.output_tokens = base + (output or 0)
        if self.prompt_tokens is None:
            self.prompt_tokens = max(0, prompt - base)
            details = usage.prompt_tokens_details
            if details is not None and details.cached_tokens is not None:
                self.cached_tokens = details.cached_tokens

    def _add_up(self, leg: Leg, usage: sse.TokenUsage) -> None:
        """llama.cpp reports each answer by itself, with its own prompt: every prompt counts once."""
        if self._counted is not leg:
            self._counted, self._prompt_sum, self.output_tokens = leg, 0, 0
        self._prompt_sum += usage.prompt_tokens or 0
        self.prompt_tokens = self._prompt_sum // self.request.choices
        self.output_tokens = (self.output_tokens or 0) + (usage.completion_tokens or 0)

    # --- death, silence and notice -------------------------------------------------

    def on_leg_failed(self, leg: Leg, ended: str, reason: str) -> None:
        """A leg ended before its time."""
        if leg.ended is not None:
            return
        self._end_leg(leg, ended)
        if self.done:
            return
        leg.backend.failed(self.now())
        self.svc.stats.failures[leg.backend.id, ended] += 1
        self.svc.log.info("leg failed: request=%s replica=%s ended=%s: %s", self.id, leg.backend.id, ended, reason)
        if leg is self._moving:
            self._moving = None
            self._unpark()
            return
        if leg is not self.leg:
            return
        if self._moving is not None:  # it died while being moved away: the other one already continues
            self.leg, self._moving = self._moving, None
            return
        if self._resuming:
            return
        if self.finish is not None and self._finishes >= self.request.answers:
            self._complete(leg)
            return
        self._held.clear()
        self._hold, self._shape = self.request.kind == "responses", None if not self._unkept else self._shape
        self.finish, self._finishes = None, 0
        if self.delivered:
            self._resume()
        elif self._tries < MAX_TRIES:
            self.names = self.names if self._opened else None
            self.place(frozenset((leg.backend.id,)))
        else:
            self.refuse(errors.engine_error(502, f"no replica could answer: {reason}"))

    def _resume(self) -> None:
        if self._unkept or len(self.hops) >= MAX_HOPS:
            self._give_up("the replica serving this stream was lost and the stream cannot be continued")
            return
        self._resuming = True
        self._task = self.svc.spawn(self._take_over())

    async def _take_over(self) -> None:
        """Find a replica and continue there, within the resume clock."""
        svc = self.svc
        deadline = self.now() + svc.settings.clocks.resume_s
        avoid: set[str] = {self.leg.backend.id} if self.leg is not None else set()
        svc.failovers.add(self)
        try:
            while not self.done:
                if self.now() >= deadline:
                    self._give_up("no replica could continue this stream in time")
                    return
                if svc.may_fail_over(self):
                    backend = svc.choose(self.want, avoid) or svc.choose(self.want, frozenset())
                    if backend is not None:
                        if not self._way_on(backend):
                            self._give_up(f"a {backend.engine or 'plain'} engine cannot continue this stream")
                            return
                        if await self._continue_on(backend, deadline - self.now()):
                            return
                        avoid = {backend.id}
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            svc.failovers.discard(self)
            self._resuming = False

    def _way_on(self, backend: Backend) -> bool:
        return resume.way(self.request, backend.engine, "x") is not Way.NONE

    async def _continue_on(self, backend: Backend, left_s: float, *, moving: bool = False) -> bool:
        """Start a leg on `backend` from the text delivered so far. False: it could not."""
        text = "".join(self.texts)
        try:
            async with asyncio.timeout(left_s):
                leg = await self.svc.continuation(self, backend, text)
        except (OSError, TimeoutError, msgspec.DecodeError) as error:
            backend.failed(self.now())
            self.svc.log.info("resume failed: request=%s replica=%s: %s", self.id, backend.id, error)
            return False
        if self.done:
            return True
        if leg is None:  # nothing is left to generate
            self._finish_at_limit()
            return True
        if moving:
            self._moving = leg
        else:
            self.leg = leg
            self._resuming = False
        leg.start(self.svc.settings.clocks.connect_s)
        return True

    def _finish_at_limit(self) -> None:
        self.finish = "length"
        assert self.names is not None
        self._send(resume.chat_frame(self._public_names(), self.request.kind, None, "length"))
        assert self.leg is not None
        self._complete(self.leg)

    def stalled(self, now: float) -> bool:
        """Silence that is not the client's doing, on a stream that somebody else could continue."""
        leg = self.leg
        if leg is None or leg.ended is not None or self._paused or self._resuming or self._moving is not None:
            return False
        clocks = self.svc.settings.clocks
        if leg.backend.suspect(now) and self.svc.choose(self.want, {leg.backend.id}) is not None:
            return True
        silence = now - leg.last_at
        if leg.first_at is None:
            return silence > (clocks.resume_s if self.delivered else clocks.first_token_s)
        if not leg.streaming:
            return silence > clocks.idle_s
        if silence > clocks.idle_s:
            return True
        return (
            silence > max(clocks.stall_floor_s, 5.0 * leg.gap_s)
            and resume.way(self.request, leg.backend.engine, "x") is not Way.NONE
            and not self._unkept
            and self.svc.choose(self.want, {leg.backend.id}) is not None
        )

    def move(self) -> None:
        """The replica was told to go dark: start the stream elsewhere, then leave."""
        leg = self.leg
        if (
            self.done or leg is None or leg.ended is not None or self._resuming or self._moving is not None
            or not leg.streaming or not self.texts or self._unkept or self._hold or self.finish is not None
        ):  # fmt: skip
            return
        backend = self.svc.choose(self.want, {leg.backend.id})
        if backend is None or not self._way_on(backend):
            return
        leg.parked = []
        self._task = self.svc.spawn(self._move_to(backend))

    async def _move_to(self, backend: Backend) -> None:
        if not await self._continue_on(backend, 5.0, moving=True):
            self._unpark()

    def _switch(self, leg: Leg) -> None:
        """The new replica's first frame is here: the old one may stop."""
        old, self.leg, self._moving = self.leg, leg, None
        if old is not None:
            self._end_leg(old, "moved")

    def _unpark(self) -> None:
        """The move failed; the old replica's frames go on where they were held."""
        leg = self.leg
        if leg is None or leg.parked is None:
            return
        frames, leg.parked = leg.parked, None
        if leg.ended is None:
            self.on_frames(leg, frames)
        elif not self.done:
            self._resume()

    def _give_up(self, why: str) -> None:
        self.refuse(Refusal(502, why, "stream_interrupted", type="server_error"))

    # --- the end -----------------------------------------------------------------

    def refuse(self, refusal: Refusal) -> None:
        """An error answer, or the error that ends a stream which has begun; what was delivered is billed."""
        if self.done:
            return
        if self.head_sent:
            if self.request.kind == "responses":
                shape = self._shape or self._new_shape(None)
                self.door.send(shape.failed(refusal, self.id))
            else:
                self.door.send(refusal.frame())
            self.finish = "error"
            self._abandon(refusal.status)
            self.door.drop()
            return
        self.finish = "error"
        self._abandon(refusal.status)
        if self.idempotency is not None and not self.idempotency.done():
            self.idempotency.set_result((refusal.status, refusal.headers(), refusal.body()))
        self.door.answer(refusal.status, refusal.headers(), refusal.body())

    def cancel(self) -> None:
        """The client is gone: the engine stops now."""
        if self.done:
            return
        self.finish = "cancelled"
        if self.idempotency is not None and not self.idempotency.done():
            self.idempotency.cancel()
        self._abandon(499)

    def _abandon(self, status: int) -> None:
        """Stop all legs and bill what was delivered, counting it if the engine did not."""
        self.status = status
        self.done = True
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        backend = self.leg.backend if self.leg is not None else None
        for leg in (self.leg, self._moving):
            if leg is not None:
                self._end_leg(leg, self.finish or "error")
        self.svc.leave_queue(self)
        if self.output_tokens is None and self.tokens:
            self.svc.spawn(self._count_then_bill(backend))
        else:
            if self.output_tokens is None:
                self.output_tokens = 0
                self.prompt_tokens = self.prompt_tokens if self.tokens else 0
            self._bill()

    async def _count_then_bill(self, backend: Backend | None) -> None:
        await self._count_text("".join(self.texts), backend)
        self._bill()

    async def _count_text(self, text: str, backend: Backend | None = None) -> None:
        """Tokens of what was delivered and of the prompt, by an engine's own tokenizer; else estimated."""
        if backend is None and self.leg is not None:
            backend = self.leg.backend
        prompt, output = await self.svc.count(self, text, backend)
        if self.output_tokens is None:
            self.output_tokens = output if output is not None and not self._unkept else max(self.tokens, 0)
        if self.prompt_tokens is None:
            # A quarter of the bytes is what text usually is; it is marked as estimated, and never above the bound.
            self.prompt_tokens = prompt if prompt is not None else self.request.prompt_bytes // 4
        self.estimated = True

    def _close_account(self, status: int) -> None:
        """All is counted: bill, and send the last bytes once the bill is on disk."""
        if self.done:
            return
        self.done = True
        self.status = status
        if not self.svc.meter.bill(self, wait=True):
            self.on_billed()

    def _bill(self) -> None:
        self.svc.meter.bill(self, wait=False)
        self._gone()

    def on_billed(self) -> None:
        """The record is durable: the answer's last bytes may go."""
        tail = self._commit_tail
        if self.request.stream:
            if not self.head_sent:
                self._send_head()
            self.door.finish_stream(tail)
        else:
            if self.idempotency is not None and not self.idempotency.done():
                self.idempotency.set_result((200, JSON_HEADERS, tail))
            self.door.answer(200, JSON_HEADERS, tail)
        self._gone()

    def _gone(self) -> None:
        svc = self.svc
        # A leg knows its exchange: without this cycle memory returns at once, not at a collection.
        self.leg = self._plain = None
        svc.exchanges.discard(self)
        svc.kept_bytes -= self.text_bytes
        self.text_bytes = 0

    def _end_leg(self, leg: Leg, ended: str) -> None:
        if leg.ended is None:
            leg.leave(ended)
            self._record(leg, ended)
            if self.svc.queue.count:
                self.svc.pump()

    def _record(self, leg: Leg, ended: str) -> None:
        self.hops.append(
            Hop(
                replica_id=leg.backend.id,
                site_id=leg.backend.site,
                output_tokens=leg.tokens,
                ended=ended,
                first_token_ms=None if leg.first_at is None else round((leg.first_at - leg.started_at) * 1e3),
                total_ms=round((self.now() - leg.started_at) * 1e3),
            )
        )

    # --- asked by others ---------------------------------------------------------

    def pause(self, paused: bool) -> None:
        """The client's socket is full, or has room again."""
        self._paused = paused
        if self.leg is not None:
            self.leg.pause(paused)
            self.leg.last_at = self.now()

    def tick(self, now: float) -> None:
        """Ten times a second: the clocks of this request."""
        if self.done:
            return
        clocks = self.svc.settings.clocks
        if now - self.began > clocks.total_s:
            self.refuse(Refusal(504, "the request took longer than the gateway allows", "timeout"))
            return
        if self._moving is not None and now - self._moving.started_at > clocks.resume_s:
            self.on_leg_failed(self._moving, "stalled", "the move took too long")
        if self.queued_until is None and self.stalled(now):
            assert self.leg is not None
            self.on_leg_failed(self.leg, "stalled", f"silent for {now - self.leg.last_at:.1f} s")
            return
        if not self.request.stream:
            return
        if self.first_token_at is None and now - self._last_sent >= clocks.keep_alive_s and not self._paused:
            self._send(sse.KEEP_ALIVE)
        if self.tokens and now - self._last_progress >= 1.0:
            self._last_progress = now
            self.svc.meter.note(self)


_CREATED: Final = re.compile(rb'"created": ?[0-9]+')
_PATHS: Final = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "rerank": "/v1/rerank",
}
_encode = msgspec.json.Encoder().encode


def _special(delta: sse.Delta | None) -> bool:
    """A part of a tool call or of reasoning: held until it is whole."""
    return delta is not None and (
        delta.tool_calls is not None
        or delta.function_call is not None
        or bool(delta.reasoning_content)
        or bool(delta.reasoning)
    )


def _answer_text(body: bytes) -> str:
    """All generated text of a whole answer."""
    parts = []
    for choice in msgspec.json.decode(body).get("choices") or []:
        text = choice.get("text") or (choice.get("message") or {}).get("content")
        if isinstance(text, str):
            parts.append(text)
    return "".join(parts)


def _relayed(status: int, body: bytes) -> Refusal:
    """An engine's 4xx in OpenAI's shape, whatever shape it came in."""
    message, kind, code, param = "the engine refused the request", "", "engine_refused", None
    try:
        plain = msgspec.json.decode(body)
    except msgspec.DecodeError:
        plain = None
    if isinstance(plain, dict):
        error = plain.get("error", plain)
        if isinstance(error, dict):
            message = str(error.get("message") or error.get("detail") or message)
            kind = str(error.get("type") or "")
            param = error["param"] if isinstance(error.get("param"), str) else None
            code = error["code"] if isinstance(error.get("code"), str) else code
        elif isinstance(error, str):
            message = error
    return Refusal(status, message[:2000], code, type=kind, param=param)
