"""A whole answer of an engine: relayed, counted, or asked for again elsewhere. Works on an Exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.errors import Refusal
from tieline.gateway.requests import failover, responses
from tieline.gateway.requests import finish as ending
from tieline.gateway.requests.attempt import Leg
from tieline.gateway.requests.body import complaint
from tieline.gateway.wire import sse
from tieline.gateway.wire.http1 import ResponseHead

if TYPE_CHECKING:
    from tieline.gateway.requests.exchange import Exchange


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """What is read of a whole answer."""

    usage: sse.TokenUsage | None = None
    model: str | None = None
    choices: tuple[sse.Choice, ...] | None = None
    status: str | None = None


_read_answer = msgspec.json.Decoder(_Answer).decode
# An engine that says it is busy is asked again so soon, and for so long; then the client hears that it is busy.
BUSY_AGAIN_S: Final = 0.25
BUSY_S: Final = 2.0
_encode = msgspec.json.Encoder().encode


def on_answer(ex: Exchange, leg: Leg, head: ResponseHead, body: bytes) -> None:
    status = head.status
    if ex.done or leg is not ex.leg:
        ex.end_leg(leg, "error")
        return
    if status == 200 and not ex.request.stream:
        _answered(ex, leg, body)
    elif status == 200:
        ex.on_leg_failed(leg, "error", "the engine answered a stream request without a stream")
    elif status >= 500 or status in (408, 425, 429):
        _engine_refused(ex, leg, status, body)
    else:
        ex.end_leg(leg, "error")
        leg.backend.succeeded(ex.now())
        ex.refuse(_relayed(status, body))


def _answered(ex: Exchange, leg: Leg, body: bytes) -> None:
    try:
        if ex.request.kind == "responses" and leg.backend.engine == "llama.cpp":
            body = responses.cut(body, ex.request.limit)
        answer = _read_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        ex.on_leg_failed(leg, "error", "the engine's answer is not JSON")
        return
    usage = answer.usage
    if usage is not None:
        ex.count(usage, 0)
        leg.tokens = ex.output_tokens or 0
    if answer.choices:
        ex.finish = answer.choices[0].finish_reason
    elif answer.status is not None:
        ex.finish = answer.status
    if answer.model is not None and answer.model != ex.request.model:
        body = renamed(body, answer.model, ex.request.model)
    ex.first_token_at = leg.first_at
    leg.backend.succeeded(ex.now())
    ex.end_leg(leg, ex.finish or "stop")
    ex.tail = body
    if ex.output_tokens is None and usage is None:
        ex.task = ex.svc.spawn(_count_then_close(ex, body))
    else:
        ending.close_account(ex, 200)


def renamed(body: bytes, own: str, public: str) -> bytes:
    """An answer under the name that was asked for: one string exchanged, where it stands but once and is the one
    that is read; else the answer is written anew."""
    for form in (b'"model":%b', b'"model": %b'):
        found = form % _encode(own)
        if body.count(found) == 1:
            changed = body.replace(found, form % _encode(public))
            if _read_answer(changed).model == public:
                return changed
    plain = msgspec.json.decode(body)
    plain["model"] = public
    return _encode(plain)


async def _count_then_close(ex: Exchange, body: bytes) -> None:
    """The engine reported no usage: count with a tokenizer, off the usual path."""
    text = _answer_text(body)
    await ending.count_text(ex, text)
    ending.close_account(ex, 200)


def _engine_refused(ex: Exchange, leg: Leg, status: int, body: bytes) -> None:
    """The engine is overloaded or broken: another one may do better; a malformed request will not."""
    fault = complaint(ex.request) if status == 500 else None
    if fault is not None:
        ex.end_leg(leg, "error")
        ex.refuse(fault)
        return
    busy = status in (429, 503)
    ex.end_leg(leg, "busy" if busy else "error")
    if busy:
        now = ex.now()
        leg.backend.refused_at = now
        leg.backend.ejected_until = max(leg.backend.ejected_until, now + BUSY_AGAIN_S)
        ex.busy_since = now if ex.busy_since is None else ex.busy_since
        if now - ex.busy_since < BUSY_S:
            ex.tries -= 1  # busy is not broken: it is asked again
    else:
        leg.backend.failed(ex.now())
    ex.svc.stats.failures[leg.backend.id, f"status {status}"] += 1
    if ex.delivered:
        failover.go_on(ex, f"status {status}")
    elif ex.tries < failover.MAX_TRIES:
        ex.place(frozenset((leg.backend.id,)))
    elif status in (429, 503):
        ex.refuse(errors.no_capacity(ex.request.model))
    else:
        ex.refuse(errors.engine_error(502, f"the engine failed with status {status}"))


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
