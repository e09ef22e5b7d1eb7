"""A whole answer of an engine: what becomes of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.errors import Refusal
from tieline.gateway.requests import failover, responses
from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.body import complaint
from tieline.gateway.requests.state import RequestState
from tieline.gateway.wire import sse
from tieline.gateway.wire.decoding import json_reader, read_json


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """What is read of a whole answer."""

    usage: sse.TokenUsage | None = None
    model: str | None = None
    choices: tuple[sse.Choice, ...] | None = None
    status: str | None = None


_read_answer = json_reader(_Answer)
_encode = msgspec.json.Encoder().encode
# An engine that says it is busy is asked again so soon, and for so long; then the client hears that it is busy.
BUSY_AGAIN_S: Final = 0.25
BUSY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Whole:
    """The client's answer, counted where its engine said what it used."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Wrong:
    """The engine's fault."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The client's fault, as the engine or the gateway says it."""

    refusal: Refusal
    well: bool  # the engine did what it should


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The engine is overloaded or broken: another one may do better."""

    status: int
    busy: bool


def read(state: RequestState, attempt: Attempt, status: int, body: bytes) -> Whole | Wrong | Refused | Elsewhere:
    """What an engine's answer means; its counts go to the request's state."""
    if status == 200:
        if state.request.stream:
            return Wrong("the engine answered a stream request without a stream")
        return _whole(state, attempt, body)
    if status >= 500 or status in (408, 425, 429):
        fault = complaint(state.request) if status == 500 else None
        return Elsewhere(status, status in (429, 503)) if fault is None else Refused(fault, well=False)
    return Refused(_relayed(status, body), well=True)


def _whole(state: RequestState, attempt: Attempt, body: bytes) -> Whole | Wrong:
    try:
        if state.request.kind == "responses" and attempt.backend.engine == "llama.cpp":
            body = responses.cut(body, state.request.limit)
        answer = _read_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Wrong("the engine's answer is not JSON")
    if answer.usage is not None:
        state.count(answer.usage, 0)
        attempt.tokens = state.output_tokens or 0
    if answer.choices:
        state.finish = answer.choices[0].finish_reason
    elif answer.status is not None:
        state.finish = answer.status
    if answer.model is not None and answer.model != state.request.model:
        body = renamed(body, answer.model, state.request.model)
    state.first_token_at = attempt.first_at
    return Whole(body)


def busy(state: RequestState, now: float) -> None:
    """An engine says that it is busy, which is not broken: for a while it is asked again."""
    state.busy_since = now if state.busy_since is None else state.busy_since
    if now - state.busy_since < BUSY_S:
        state.tries -= 1


def exhausted(state: RequestState, status: int) -> Refusal | None:
    """What the client hears when no replica is left to ask; None: one is."""
    if state.tries < failover.MAX_TRIES:
        return None
    if status in (429, 503):
        return errors.no_capacity(state.request.model)
    return errors.engine_error(502, f"the engine failed with status {status}")


def renamed(body: bytes, own: str, public: str) -> bytes:
    """An answer under the name that was asked for: one string exchanged, where it stands but once and is the one
    that is read; else the answer is written anew."""
    for form in (b'"model":%b', b'"model": %b'):
        found = form % _encode(own)
        if body.count(found) == 1:
            changed = body.replace(found, form % _encode(public))
            if _read_answer(changed).model == public:
                return changed
    plain = read_json(body)
    plain["model"] = public
    return _encode(plain)


def text_of(body: bytes) -> str:
    """All generated text of a whole answer."""
    parts = []
    for choice in read_json(body).get("choices") or []:
        text = choice.get("text") or (choice.get("message") or {}).get("content")
        if isinstance(text, str):
            parts.append(text)
    return "".join(parts)


def _relayed(status: int, body: bytes) -> Refusal:
    """An engine's 4xx in OpenAI's shape, whatever shape it came in."""
    message, kind, code, param = "the engine refused the request", "", "engine_refused", None
    try:
        plain = read_json(body)
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
