"""The end of a request: complete, refused or left; counted, billed, and only then its last byte.

Works on an Exchange.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tieline.gateway.errors import Refusal
from tieline.gateway.requests import chunks as pieces
from tieline.gateway.requests import frames
from tieline.gateway.requests.attempt import Leg
from tieline.gateway.wire import sse
from tieline.gateway.wire.upstream import Backend

if TYPE_CHECKING:
    from tieline.gateway.requests.exchange import Exchange

JSON_HEADERS: Final = b"content-type: application/json\r\n"
WHOLE_HEADERS: Final = JSON_HEADERS + b"x-tieline-continuity: regenerate\r\n"


def on_leg_end(ex: Exchange, leg: Leg) -> None:
    """The answer ended as HTTP; without a finish before it, it was cut short."""
    if ex.done:
        return
    if leg is ex.leg and ex.finish is not None:
        complete(ex, leg)
    else:
        ex.on_leg_failed(leg, "died", "the stream ended before it was finished")


def complete(ex: Exchange, leg: Leg) -> None:
    if leg.ended is None:
        leg.backend.succeeded(ex.now())
        leg.finish_quietly(ex.finish or "stop")
        ex.record(leg, ex.finish or "stop")
        ex.svc.linger(leg)
        if ex.svc.queue.count:
            ex.svc.pump()
    if ex.held and not ex.resumed:
        ex.send(b"".join(ex.held))
        ex.held.clear()
    if ex.request.kind == "responses" and not ex.resumed:
        if ex.output_tokens is None:
            ex.output_tokens, ex.estimated = leg.tokens, True
        close_account(ex, 200)
    elif ex.output_tokens is None or ex.prompt_tokens is None:
        ex.task = ex.svc.spawn(_count_then_end(ex))
    else:
        end_stream(ex)


async def _count_then_end(ex: Exchange) -> None:
    await count_text(ex, ex.text)
    end_stream(ex)


def end_stream(ex: Exchange) -> None:
    """All is counted: what ends the stream."""
    if ex.request.kind == "responses" and ex.shape is not None:
        finish = "length" if ex.finish == "incomplete" else "stop"
        ex.tail = ex.shape.ending(
            "".join(ex.texts), finish, ex.prompt_tokens or 0, ex.cached_tokens, ex.output_tokens or 0
        )
    elif ex.request.wants_usage and ex.names is not None:
        frame = pieces.usage_frame(
            ex.public_names(), ex.request.kind, ex.prompt_tokens or 0, ex.cached_tokens,
            ex.output_tokens or 0,
        )  # fmt: skip
        ex.tail = frame + sse.DONE
    else:
        ex.tail = sse.DONE
    close_account(ex, 200)


def refuse(ex: Exchange, refusal: Refusal) -> None:
    """An error answer, or the error that ends a stream which has begun; what was delivered is billed."""
    if ex.done:
        return
    if ex.head_sent:
        if ex.request.kind == "responses":
            shape = ex.shape or frames.new_shape(ex, None)
            shape.rewind(len(ex.held))
            ex.door.send(shape.failed(refusal, ex.id))
        else:
            ex.door.send(refusal.frame())
        ex.finish = "error"
        abandon(ex, refusal.status)
        ex.door.drop()
        return
    ex.finish = "error"
    abandon(ex, refusal.status)
    if ex.idempotency is not None and not ex.idempotency.done():
        ex.idempotency.set_result((refusal.status, refusal.headers(), refusal.body()))
    ex.door.answer(refusal.status, refusal.headers(), refusal.body())


def cancel(ex: Exchange) -> None:
    """The client is gone: the engine stops now."""
    if ex.done:
        return
    ex.finish = "cancelled"
    if ex.idempotency is not None and not ex.idempotency.done():
        ex.idempotency.cancel()
    abandon(ex, 499)


def abandon(ex: Exchange, status: int) -> None:
    """Stop all legs and bill what was delivered, counting it if the engine did not."""
    ex.status = status
    ex.done = True
    task, ex.task = ex.task, None
    if task is not None and task is not asyncio.current_task():
        task.cancel()
    backend = ex.leg.backend if ex.leg is not None else None
    for leg in (ex.leg, ex.moving):
        if leg is not None:
            ex.end_leg(leg, ex.finish or "error")
    ex.svc.leave_queue(ex)
    if ex.family is not None:  # each part counts what it delivered, then all is billed
        for part in list(ex.family.live):
            cancel(part)
        return
    if ex.output_tokens is None and ex.tokens:
        ex.svc.spawn(_count_then_bill(ex, backend))
    else:
        if ex.output_tokens is None:
            ex.output_tokens = 0
            ex.prompt_tokens = ex.prompt_tokens if ex.tokens else 0
        bill(ex)


async def _count_then_bill(ex: Exchange, backend: Backend | None) -> None:
    await count_text(ex, ex.text, backend)
    bill(ex)


async def count_text(ex: Exchange, text: str, backend: Backend | None = None) -> None:
    """Tokens of what was delivered and of the prompt, by an engine's own tokenizer; else estimated."""
    if backend is None and ex.leg is not None:
        backend = ex.leg.backend
    prompt, output = await ex.svc.continuing.count(ex, text, backend)
    if ex.output_tokens is None:
        ex.output_tokens = output if output is not None and not ex.unkept else max(ex.tokens, 0)
    if ex.prompt_tokens is None:
        # A quarter of the bytes is what text usually is; it is marked as estimated, and never above the bound.
        ex.prompt_tokens = prompt if prompt is not None else ex.request.prompt_bytes // 4
    ex.estimated = True


def close_account(ex: Exchange, status: int) -> None:
    """All is counted: bill, and send the last bytes once the bill is on disk."""
    if ex.done:
        return
    ex.done = True
    ex.status = status
    if not ex.meter.bill(ex, wait=True):
        ex.on_billed()


def bill(ex: Exchange) -> None:
    """Nobody waits for this one: its client has been told how it ended, or is gone."""
    ex.meter.bill(ex, wait=False)
    _gone(ex)


def on_billed(ex: Exchange) -> None:
    """The record is durable: the answer's last bytes may go."""
    tail = ex.tail
    if ex.request.stream:
        if not ex.head_sent:
            ex.send_head()
        ex.door.finish_stream(tail)
    else:
        if ex.idempotency is not None and not ex.idempotency.done():
            ex.idempotency.set_result((200, WHOLE_HEADERS, tail))
        ex.door.answer(200, WHOLE_HEADERS, tail)
    _gone(ex)


def _gone(ex: Exchange) -> None:
    svc = ex.svc
    # A leg knows its exchange: without this cycle memory returns at once, not at a collection.
    ex.leg = None
    svc.exchanges.discard(ex)
    svc.slow.discard(ex)
    ex.family = None
    svc.kept_bytes -= ex.text_bytes
    ex.text_bytes = 0
