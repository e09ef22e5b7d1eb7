"""One request from admission to its last byte, over as many replicas as it takes.

The client sees one stream under one id. What it has been sent is kept as text; when the replica dies, goes
silent or is told to go dark, another one continues from exactly that text (see `failover`). What cannot be
continued ends in an honest error and an aborted connection, and what was delivered is billed (see `ending`).
No tasks or futures stand on the usual path: each read of a socket ends in a write of the other.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from tieline.gateway.budgets.admit import Account, Ticket
from tieline.gateway.errors import Refusal
from tieline.gateway.requests import answer, failover, hedge, resume
from tieline.gateway.requests import finish as ending
from tieline.gateway.requests import token_ids as exact
from tieline.gateway.requests.attempt import Leg
from tieline.gateway.requests.body import Request
from tieline.gateway.requests.choices import Answers, Family
from tieline.gateway.requests.chunks import Names
from tieline.gateway.requests.frames import BrokenStreamError, chat_frame, responses_event
from tieline.gateway.requests.responses import Shape
from tieline.gateway.routing.route import Want
from tieline.gateway.settings import Offer
from tieline.gateway.wire import sse
from tieline.gateway.wire.passthrough import Mould
from tieline.gateway.wire.upstream import Backend
from tieline.records import Hop

if TYPE_CHECKING:
    from tieline.gateway.service import Service
    from tieline.gateway.wire.client import Door

SSE_HEADERS: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
)


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
    client_s = float("inf")  # how long the client says it waits
    idempotency: asyncio.Future[tuple[int, bytes, bytes]] | None = None
    trace = b""
    hold = False
    tries = 0
    busy_since: float | None = None  # engines say that they are
    adrift_since: float | None = None  # no replica has written since
    moving: Leg | None = None  # runs beside `leg` until its first frame is here
    hedging = False  # ... because the first token is late, not because the replica goes dark
    resuming = False
    resumed = False
    ids: exact.Ids | None = None  # of what was delivered
    exact = False  # the client was promised that the stream goes on from those
    reasoned = False
    answers: Answers | None = None  # of several, where each may be continued
    family: Family | None = None  # ... and is
    index: int | None = None  # of the one answer that this is a part for
    task: asyncio.Task[None] | None = None
    tail = b""
    shape: Shape | None = None
    paused = False
    unkept = False
    opened = False  # the client has a frame of this stream
    renames = False  # the engine calls the model otherwise
    finishes = 0
    counted: Leg | None = None  # whose answers `prompt_sum` adds up
    prompt_sum = 0
    created = b""  # as the engine wrote it first; llama.cpp writes the time of each chunk

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
        self.meter = svc.meter
        self.now = svc.now
        self.began: float = svc.now()
        self.want = Want(
            request.model,
            request.prompt_bytes // 4,
            request.prefix,
            account.regions,
            "",
            account.tenant.id,
            account.patience_s,
            account.barred,
        )
        self.hops: list[Hop] = []
        self.texts: list[str] = []
        self.held: list[bytes] = []
        self.last_sent = self.last_progress = self.began
        if request.kind == "responses":
            self.hold = True
        elif request.choices > 1 and request.stream and resume.each(request):
            self.answers = Answers()

    # The parts of its life have a file each.
    on_answer = answer.on_answer
    on_leg_failed = failover.on_leg_failed
    on_leg_end = ending.on_leg_end
    move = failover.move
    refuse = ending.refuse
    cancel = ending.cancel
    on_billed = ending.on_billed

    def begin(self) -> None:
        svc = self.svc
        svc.exchanges.add(self)
        backend = svc.choose(self.want, _NOBODY)
        if backend is None:
            svc.wait(self)
        else:
            self.go(backend)

    def place(self, avoid: frozenset[str]) -> None:
        """Send the request to the best replica with room, or wait for one."""
        svc = self.svc
        backend = svc.choose(self.want, avoid) or (svc.choose(self.want, frozenset()) if avoid else None)
        if backend is None and self.tries:  # it has lost a replica before its first token
            backend = svc.choose_at_all(self.want, avoid)
        if backend is None:
            svc.wait(self)
            return
        self.go(backend)

    def go(self, backend: Backend) -> None:
        self.queued_until = None
        self.tries += 1
        if backend.included and backend.renter == self.want.tenant and not self.hops:
            self.offer = self.svc.included(self.offer)  # wherever it has to go on
        body = self.request.encode(self.svc.own_name(self.offer, backend), self.limit)
        if self.request.continuity == "token":
            body = self._ask_for_ids(backend.engine, body)
        head = backend.head("POST", resume.PATHS[self.request.kind], len(body), self.id, self.trace)
        self.leg = Leg(self, backend, head + body)
        backend.remember(self.want.prefix)
        self.leg.start(self.svc.settings.clocks.connect_s)

    def _ask_for_ids(self, engine: str, body: bytes) -> bytes:
        """Ask this engine for token ids too, if a stream can go on from them."""
        if not exact.possible(self.request, engine):
            self.ids = None
            return body
        self.ids = exact.Ids(self.request, engine)
        self.renames = True  # its frames hold what is not for the client, or not yet
        return self.ids.ask(body)

    def sibling(self, request: Request) -> Exchange:
        """Another exchange on the same account and ticket."""
        return Exchange(self.svc, self.door, request, self.offer, self.account, self.ticket, self.limit, self.id)

    @property
    def delivered(self) -> bool:
        """Has the client been sent any text that a new hop must not repeat?"""
        return bool(self.texts) or self.unkept or (self.answers is not None and bool(self.answers.texts))

    @property
    def stuck(self) -> bool:
        """Has the client been sent what no other replica can go on from?"""
        return self.unkept or (self.reasoned and not self.exact)

    @property
    def text(self) -> str:
        """All that was delivered and kept."""
        if self.answers is not None:
            return "".join(piece for texts in self.answers.texts.values() for piece in texts)
        return "".join(self.texts)

    def on_text(self, mould: Mould, text: str, raw: bytes) -> None:
        """One frame of nothing but text in one chunk: passed on as it came, or with the bytes around the text
        exchanged."""
        self.tokens += 1
        if not self.unkept:
            self.remember(text)
        if mould.same:
            self.door.pass_on(raw)
        else:
            self.door.send(mould.sent(raw[raw.index(b"\r\n") + 2 : -2]))

    def on_texts(self, mould: Mould, texts: list[str], frames: list[bytes]) -> None:
        """Several of them at once."""
        for text in texts:
            self.keep(text)
        self.door.send(b"".join(frames if mould.same else [mould.sent(frame) for frame in frames]))

    def on_frames(self, leg: Leg, frames: list[bytes]) -> None:
        if self.done:
            return
        self.busy_since = self.adrift_since = None
        if self.moving is not None:
            if leg is self.moving:
                failover.switch(self, leg)
            elif self.hedging:
                hedge.drop(self)
        if self.paused and self.resumed:  # a new replica's connection does not know yet
            leg.pause(True)
        if leg is not self.leg:
            return
        one = responses_event if self.request.kind == "responses" else chat_frame
        out: list[bytes] = []
        broken = ""
        try:
            for frame in frames:
                ready = one(self, leg, frame)
                if ready is not None:
                    out.append(ready)
        except BrokenStreamError as error:
            broken = str(error)
        if out:
            self.opened = True
            self.send(out[0] if len(out) == 1 else b"".join(out))
        if broken:
            self.on_leg_failed(leg, "error", broken)
        elif leg.ended is None and self.finish is not None and self.tail:
            ending.complete(self, leg)

    def send(self, payload: bytes) -> None:
        if not self.head_sent:
            self.send_head()
        self.last_sent = self.svc.loop.time()
        self.door.send(payload)

    def send_head(self) -> None:
        self.head_sent = True
        engine = self.leg.backend.engine if self.leg is not None else ""
        # vLLM's first chunk shows whether it gives ids; an older one ignores that it was asked.
        self.exact = self.ids is not None and self.opened and (engine == "llama.cpp" or bool(self.ids.prompt))
        holds = resume.holds(self.request, engine, ids=self.exact)
        self.door.begin_stream(SSE_HEADERS + b"x-tieline-continuity: %b\r\n" % holds.encode())

    def first(self, leg: Leg) -> None:
        self.first_token_at = leg.last_at
        self.svc.slow.discard(self)
        leg.backend.first_token(leg.last_at, leg.last_at - leg.started_at)
        self.svc.stats.first_token(leg.last_at - self.began)

    def keep(self, text: str) -> None:
        """Remember what was delivered, within the one budget of all streams."""
        self.tokens += 1
        if not self.unkept:
            self.remember(text)

    def remember(self, text: str) -> None:
        svc = self.svc
        size = len(text) + 64  # a short str object's own size
        kept = svc.kept_bytes + size
        if kept > svc.settings.kept_bytes or self.request.answers > 1:
            self.unkept = True  # this stream can no longer be resumed, and says so if it has to
            svc.kept_bytes -= self.text_bytes
            self.text_bytes = 0
            self.texts.clear()
            return
        svc.kept_bytes = kept
        self.text_bytes += size
        self.texts.append(text)

    def keep_answer(self, index: int, text: str) -> None:
        """The same for one answer of several."""
        self.tokens += 1
        assert self.answers is not None
        size = len(text) + 64
        if self.unkept or self.svc.kept_bytes + size > self.svc.settings.kept_bytes:
            self.unkept = True
            return
        self.svc.kept_bytes += size
        self.text_bytes += size
        self.answers.texts.setdefault(index, []).append(text)

    def learn(self, data: bytes) -> None:
        names = sse.read_names(data)
        self.names = Names(names.id, names.created, names.model)
        found = _CREATED.search(data)
        self.created = b"" if found is None else found[0]
        self.renames = self.renames or names.model != self.request.model

    def public_names(self) -> Names:
        assert self.names is not None
        return Names(self.names.id, self.names.created, self.request.model)

    def count(self, usage: sse.TokenUsage, base: int) -> None:
        prompt = usage.prompt_tokens or usage.input_tokens or 0
        output = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
        self.output_tokens = base + (output or 0)
        if self.prompt_tokens is None:
            self.prompt_tokens = max(0, prompt - base)
            details = usage.prompt_tokens_details
            if details is not None and details.cached_tokens is not None:
                self.cached_tokens = details.cached_tokens

    def add_up(self, leg: Leg, usage: sse.TokenUsage) -> None:
        """llama.cpp reports each answer by itself, with its own prompt: every prompt counts once."""
        if self.counted is not leg:
            self.counted, self.prompt_sum, self.output_tokens = leg, 0, 0
        self.prompt_sum += usage.prompt_tokens or 0
        self.prompt_tokens = self.prompt_sum // self.request.choices
        self.output_tokens = (self.output_tokens or 0) + (usage.completion_tokens or 0)

    def end_leg(self, leg: Leg, ended: str) -> None:
        if leg.ended is None:
            leg.leave(ended)
            self.record(leg, ended)
            if self.svc.queue.count:
                self.svc.pump()

    def record(self, leg: Leg, ended: str) -> None:
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

    def pause(self, paused: bool) -> None:
        """The client's socket is full, or has room again."""
        self.paused = paused
        if self.leg is not None:
            self.leg.pause(paused)
            self.leg.last_at = self.now()
        if self.family is not None:
            for part in self.family.live:
                part.pause(paused)

    def tick(self, now: float) -> None:
        """Ten times a second: the clocks of this request."""
        if self.done:
            return
        clocks = self.svc.settings.clocks
        if now - self.began > clocks.total_s:
            self.refuse(Refusal(504, "the request took longer than the gateway allows", "timeout"))
            return
        if self.moving is not None and not self.hedging and now - self.moving.started_at > clocks.resume_s:
            self.on_leg_failed(self.moving, "stalled", "the move took too long")
        if self.queued_until is None and failover.stalled(self, now):
            assert self.leg is not None
            self.on_leg_failed(self.leg, "stalled", f"silent for {now - self.leg.last_at:.1f} s")
            return
        if not self.request.stream:
            return
        if self.first_token_at is None and self.queued_until is None:
            hedge.consider(self, now)
        if self.first_token_at is None and now - self.last_sent >= clocks.keep_alive_s and not self.paused:
            self.send(sse.KEEP_ALIVE)
        if self.tokens and now - self.last_progress >= 1.0:
            self.last_progress = now
            self.meter.note(self)


_NOBODY: Final[frozenset[str]] = frozenset()
_CREATED: Final = re.compile(rb'"created": ?[0-9]+')
