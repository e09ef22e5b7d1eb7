"""One answer on its way to its client: what is sent, what is counted, and the end.

The end comes in one order: counted, billed, on disk, and only then the last byte. Where the answer comes from, and what
becomes of a request whose replica is lost, is for an Exchange to say.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from tieline.gateway.budgets.admit import owed_nano
from tieline.gateway.metering.traces import Span
from tieline.gateway.requests import answer, chunks, counting
from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.continuity import resume
from tieline.gateway.requests.continuity.resume_calls import Continuing
from tieline.gateway.requests.ports import Billing, Client, ReplicaPool, Shared
from tieline.gateway.requests.state import Phase, RequestState
from tieline.gateway.settings import NANO_PER_USD
from tieline.gateway.wire import sse
from tieline.gateway.wire.http1 import JSON_HEADERS
from tieline.gateway.wire.upstream import Backend

log = logging.getLogger("tieline.gateway")

SSE_HEADERS: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
)
WHOLE_HEADERS: Final = JSON_HEADERS + b"x-tieline-continuity: regenerate\r\n"
MEDIA_HEADERS: Final = b"content-type: %b\r\nx-tieline-continuity: regenerate\r\n"


def uncounted(state: RequestState) -> bool:
    return state.output_tokens is None or state.prompt_tokens is None


def texts_of(state: RequestState) -> dict[int, tuple[str, bool]]:
    """What was generated, of each answer by itself: what was delivered of it, and the stop string that it was cut at
    where its engine says which; did the model end it itself, with a token that nobody sees?"""
    texts: dict[int, str] = {}
    for (at, _), text in state.parts().items():
        texts[at] = texts.get(at, "") + text
    choices, found = state.choices, {}
    for at, text in texts.items():
        finish = state.finish if choices is None else choices.finished.get(at)
        stop = None if state.stopped is None else state.stopped.get(at)
        ended = finish == "stop" and ("stop" not in state.request.fields or stop == "")
        found[at] = (text + stop if stop and not text.endswith(stop) else text, ended)
    return found


def tail(state: RequestState) -> bytes:
    """What ends the stream, when all is counted."""
    prompt, output = state.prompt_tokens or 0, state.output_tokens or 0
    if state.request.wants_usage and state.names is not None:
        names = state.public_names()
        usage = chunks.usage_object(prompt, state.cached_tokens, output, state.reasoning_tokens)
        owed = owed_nano(state.offer, state.ticket, prompt, state.cached_tokens, output)
        usage["cost_usd"] = owed / NANO_PER_USD
        return chunks.usage_frame(names, state.request.kind, usage) + sse.DONE
    return sse.DONE


def at_limit(state: RequestState) -> bytes:
    """The client has all that it may: what says so."""
    state.finish = "length"
    return chunks.frame(state.public_names(), state.request.kind, None, "length", index=state.index or 0)


def take_counts(state: RequestState, prompt: int | None, output: int | None) -> None:
    """Tokens by an engine's own tokenizer, where it could be asked; else estimated. Never above what was agreed."""
    if state.output_tokens is None:
        known = None if state.unkept else output
        # A model that ends its answer itself does so with a token that no frame shows.
        frames = state.tokens + (0 if known is None else sum(ended for _, ended in texts_of(state).values()))
        state.output_tokens = counting.estimate(known, frames, state.most_output)
    if state.prompt_tokens is None:
        # A quarter of the bytes is what text usually is.
        counted = prompt if prompt is not None else state.request.prompt_bytes // 4
        state.prompt_tokens = min(max(1, counted), state.bounds(0).prompt)
    state.estimated = True


class Delivery(ABC):
    """An answer in progress, whoever makes it."""

    attempt: Attempt | None = None  # whose answer it is
    task: asyncio.Task[None] | None = None
    idempotency: asyncio.Future[tuple[int, bytes, bytes]] | None = None
    span: Span | None = None

    def __init__(self, state: RequestState, client: Client, pool: ReplicaPool, shared: Shared) -> None:
        self.state, self.client, self.pool, self.shared = state, client, pool, shared
        self.now = shared.now
        self.meter: Billing = shared.meter

    @abstractmethod
    def gone(self) -> None:
        """Nothing is left to do for this request."""

    def send(self, payload: bytes) -> None:
        state = self.state
        state.last_sent = self.now()
        if state.head_sent:
            self.client.send(payload)
        else:
            self._open(payload)

    def _open(self, payload: bytes) -> None:
        """The head of the stream and its first bytes, in one write."""
        state = self.state
        state.head_sent = True
        engine = self.attempt.backend.engine if self.attempt is not None else ""
        # vLLM's first chunk shows whether it gives ids; an older one ignores that it was asked.
        state.exact = state.ids is not None and state.opened and (engine == "llama.cpp" or bool(state.ids.prompt))
        holds = resume.holds(state.request, engine, ids=state.exact)
        self.client.begin_stream(SSE_HEADERS + b"x-tieline-continuity: %b\r\n" % holds.encode(), payload)

    # --- the end ---------------------------------------------------------------------------

    def end_stream(self) -> None:
        """All is counted: what ends the stream."""
        state = self.state
        if state.phase is not Phase.ENDING:
            state.turn(Phase.ENDING)
        state.tail = tail(state)
        self.close()

    async def _count(self, backend: Backend | None) -> None:
        if backend is None and self.attempt is not None:
            backend = self.attempt.backend
        texts = list(texts_of(self.state).values())
        take_counts(self.state, *await Continuing(self.pool).count_whole(self.state, texts, backend))

    async def count_then_bill(self, backend: Backend | None) -> None:
        await self._count(backend)
        self.bill()

    async def count_then_end(self) -> None:
        await self._count(None)
        self.end_stream()

    async def count_whole(self, body: bytes) -> None:
        """The engine reported no usage that can be true: count with a tokenizer, off the usual path."""
        state = self.state
        backend = self.attempt.backend if self.attempt is not None else None
        prompt, output = await Continuing(self.pool).count_whole(state, answer.texts_of(body), backend)
        if output is None:
            output = sum(-(-len(text.encode()) // 4) for text, _ in answer.texts_of(body))
        take_counts(state, prompt, output)
        state.tail = answer.with_usage(body, state)
        self.close()

    def close(self) -> None:
        """All is counted: bill, and send the last bytes once the bill is on disk."""
        if self.state.done:
            return
        self.state.turn(Phase.DONE)
        self.state.status = 200
        if not self._bill(self._billed):
            self._billed()

    def bill(self) -> None:
        """Nobody waits for this one: its client has been told how it ended, or is gone."""
        self._bill(None)
        self.gone()

    def _bill(self, on_disk: Callable[[], None] | None) -> bool:
        state = self.state
        state.settle()
        if state.false_report:
            self._untrue(state.false_report)
        waits = self.meter.bill(state, self.now(), on_disk)
        if self.span is not None:
            self.span.end(state, self.now())
        return waits

    def _untrue(self, report: str) -> None:
        """An engine's report that cannot be true: the bill does without it, and the operator hears which engine."""
        replica = self.state.hops[-1].replica_id if self.state.hops else ""
        self.shared.stats.failures[replica, "false usage"] += 1
        log.warning("replica %s reports usage that cannot be: request=%s: %s", replica, self.state.id, report)

    def _billed(self) -> None:
        """The record is durable: the answer's last bytes may go."""
        state = self.state
        if state.request.stream:
            if not state.head_sent:
                self._open(b"")
            self.client.finish_stream(state.tail)
        else:
            kind = state.content_type
            head = MEDIA_HEADERS % kind if kind else WHOLE_HEADERS
            head += b"x-tieline-cost-usd: %d.%09d\r\n" % divmod(state.cost_nano, NANO_PER_USD)
            body = self.client.translated(state.tail)
            if self.idempotency is not None and not self.idempotency.done():
                self.idempotency.set_result((200, head, body))
            self.client.answer(200, head, body)
        self.gone()
