"""A whole answer of an engine: what becomes of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.errors import Refusal
from tieline.gateway.requests import chunks, counting, failover
from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.body import complaint
from tieline.gateway.requests.frames import MAX_REASON
from tieline.gateway.requests.media import answered
from tieline.gateway.requests.media.asked import MediaRequest
from tieline.gateway.requests.state import RequestState
from tieline.gateway.wire import loose, sse
from tieline.gateway.wire.decoding import UNREADABLE
from tieline.gateway.wire.http1 import ResponseHead


class _Message(msgspec.Struct, frozen=True, gc=False):
    content: str | None = None


class _AnsweredChoice(msgspec.Struct, frozen=True, gc=False):
    """What is read of a choice of a whole answer."""

    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None

    @property
    def said(self) -> str:
        return (self.text if self.message is None else self.message.content) or ""


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """What is read of a whole answer."""

    usage: sse.TokenUsage | None = None
    model: str | None = None
    choices: tuple[_AnsweredChoice, ...] | None = None
    status: str | None = None


_strict_answer = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def _read_answer(body: bytes) -> tuple[_Answer, bytes]:
    """What is read of an answer of whatever form, and the answer in JSON that every client can read.
    Raises msgspec.DecodeError of what is no JSON object."""
    try:
        return _strict_answer(body), body
    except UNREADABLE:
        plain = loose.loads(body)
    if not isinstance(plain, dict):
        raise msgspec.DecodeError("an answer is no JSON object")
    listed = plain.get("choices") or []
    dicts = _dicts(listed)
    if listed and not dicts:
        raise msgspec.DecodeError("an answer has no choice")
    choices = tuple(
        _AnsweredChoice(None, loose.text(one.get("text")), loose.text(one.get("finish_reason"))) for one in dicts
    )
    usage = sse.usage_of(plain.get("usage"))
    answer = _Answer(usage, loose.text(plain.get("model")), choices, loose.text(plain.get("status")))
    return answer, loose.dumps(plain) if b"Infinity" in body or b"NaN" in body else body


# An engine that says it is busy is asked again so soon, and for so long; then the client hears that it is busy.
BUSY_AGAIN_S: Final = 0.25
BUSY_S: Final = 2.0
# An engine that says when to come again is believed for so long.
MAX_BUSY_S: Final = 30.0
# Failures alike on two replicas that still say nothing of the request.
NOT_THE_REQUESTS: Final = frozenset(f"status {one}" for one in (*range(300, 400), 401, 402, 403, 407, 502, 504))
# How much of an engine's words a client reads.
MAX_WORDS: Final = 2_000
# Statuses by which an engine says that it is busy; 529 is Anthropic's.
_BUSY: Final = (408, 425, 429, 503, 529)
# Statuses that say nothing of the request: the gateway's key for the engine, its address, a model that it was said to
# have. The client is told that the engine failed.
_OUR_FAULT: Final = (401, 402, 403, 407)


@dataclass(frozen=True, slots=True)
class Whole:
    """The client's answer, counted where its engine said what it used."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Wrong:
    """The engine's fault."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClientFault:
    """The client's fault, as the engine or the gateway says it."""

    refusal: Refusal
    well: bool  # the engine did what it should


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The engine is overloaded or broken: another one may do better."""

    status: int
    busy: bool
    words: str = ""


def read(
    state: RequestState, attempt: Attempt, head: ResponseHead, body: bytes
) -> Whole | Wrong | ClientFault | Elsewhere:
    """What an engine's answer means; its counts go to the request's state."""
    status = head.status
    if status == 200:
        if state.request.stream:
            return Wrong("the engine answered a stream request without a stream")
        return _whole(state, attempt, head, body)
    if status in _BUSY or status >= 500 or status < 400 or status in _OUR_FAULT:
        fault = complaint(state.request) if status == 500 else None
        if fault is not None:
            return ClientFault(fault, well=False)
        if status in _BUSY:
            state.retry_after_s = _seconds(head.get(b"retry-after:"))
        # What an engine says to the gateway itself, about keys and addresses, is not for the client.
        ours = status < 400 or status in _OUR_FAULT
        return Elsewhere(status, status in _BUSY, "" if ours else words_of(_plain(body)))
    if status == 404:
        return Elsewhere(status, False, words_of(_plain(body)))  # the model, or the path: not here, maybe elsewhere
    return ClientFault(_relayed(status, body), well=True)


def _media(
    request: MediaRequest, state: RequestState, attempt: Attempt, head: ResponseHead, body: bytes
) -> Whole | Wrong:
    """Sound, pictures, or what a recording says: counted here, whatever its engine says of it."""
    kind = answered.content_type(head.get(b"content-type:"))
    try:
        units = answered.units(request, kind, body)
    except answered.WrongAnswerError as error:
        return Wrong(str(error))
    state.content_type = kind
    state.prompt_tokens, state.output_tokens, state.finish = units, 0, "stop"
    state.first_token_at = attempt.first_at
    return Whole(body)


def _whole(state: RequestState, attempt: Attempt, head: ResponseHead, body: bytes) -> Whole | Wrong:
    engine, request = attempt.backend.engine, state.request
    if isinstance(request, MediaRequest):
        return _media(request, state, attempt, head, body)
    try:
        answer, body = _read_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Wrong("the engine's answer is not JSON")
    choices = answer.choices or ()
    text_bytes = 0
    for choice in choices:
        if choice.finish_reason in ("abort", "error"):
            return Wrong("the engine gave its answer up")
        text_bytes += len(choice.said)
    # Of several answers llama.cpp reports one.
    one_of_several = engine == "llama.cpp" and request.answers > 1 and state.most_output > 0
    if answer.usage is not None and not one_of_several:
        state.count(answer.usage, counting.least(0, text_bytes))
    if choices or answer.status is not None:
        state.finish = _reason(choices[0].finish_reason if choices else answer.status)
    if answer.model is not None and answer.model != request.model:
        body = renamed(body, answer.model, request.model)
    state.first_token_at = attempt.first_at
    return Whole(body)


def _reason(given: str | None) -> str | None:
    """Why an answer ended, as an engine says it."""
    return "other" if given is not None and len(given) > MAX_REASON else given or None


def busy(state: RequestState, now: float) -> None:
    """An engine says that it is busy, which is not broken: for a while it is asked again."""
    state.busy_since = now if state.busy_since is None else state.busy_since
    if now - state.busy_since < BUSY_S:
        state.tries -= 1


def exhausted(state: RequestState, status: int) -> Refusal | None:
    """What the client hears when no replica is left to ask; None: one is."""
    if state.tries < failover.MAX_TRIES:
        return None
    if status in _BUSY:
        refusal = errors.no_capacity(state.request.model)
        return refusal if state.retry_after_s is None else replace(refusal, retry_after_s=state.retry_after_s)
    if status == 404:
        return Refusal(404, state.words or "no engine offers this", "engine_refused")
    said = f": {state.words}" if state.words else ""
    return errors.engine_error(502, f"the engine failed with status {status}{said}")


def _seconds(text: bytes | None) -> float | None:
    """`retry-after` as engines write it; a date, or what is no number, says nothing."""
    return float(text) if text is not None and len(text) <= 6 and text.isdigit() else None


def _plain(body: bytes) -> object:
    try:
        return loose.decode(body)
    except msgspec.DecodeError:
        return None


def renamed(body: bytes, own: str, public: str) -> bytes:
    """An answer under the name that was asked for: one string exchanged, where it stands but once and is the one
    that is read; else the answer is written anew."""
    for form in (b'"model":%b', b'"model": %b'):
        head = form % _encode(own)
        if body.count(head) == 1:
            changed = body.replace(head, form % _encode(public))
            if _read_answer(changed)[0].model == public:
                return changed
    plain = loose.decode(body)
    plain["model"] = public
    return loose.encode(plain)


def with_usage(body: bytes, state: RequestState) -> bytes:
    """An answer that says what is billed, where its engine said nothing of it that can be true."""
    plain = loose.decode(body)
    prompt, output = state.prompt_tokens or 0, state.output_tokens or 0
    usage = chunks.usage_object(prompt, state.cached_tokens, output, state.reasoning_tokens)
    plain["usage"] = usage if state.most_output > 0 else {"prompt_tokens": prompt, "total_tokens": prompt}
    return loose.encode(plain)


def texts_of(body: bytes) -> list[tuple[str, bool]]:
    """What was generated of each choice of a whole answer, tool calls and reasoning too; did the engine end it?"""
    texts = []
    for choice in _dicts(loose.decode(body).get("choices")):
        said = [choice.get("text")]
        message = choice.get("message")
        if isinstance(message, dict):
            said += [message.get(name) for name in ("reasoning_content", "reasoning", "content", "refusal")]
            for call in _dicts(message.get("tool_calls")):
                function = call.get("function")
                if isinstance(function, dict):
                    said += [function.get("name"), function.get("arguments")]
        ended = choice.get("finish_reason") != "length"
        texts.append(("".join(one for one in said if isinstance(one, str)), ended))
    return texts


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def words_of(error: object) -> str:
    """What an engine says of a failure, in whatever form; empty where it says nothing."""
    for name in ("message", "detail", "error"):
        if isinstance(error, dict) and error.get(name):
            return words_of(error[name])
    return error[:MAX_WORDS] if isinstance(error, str) else ""


def refused_in_stream(error: object) -> Refusal | None:
    """The client's fault, where an engine says so in its stream; None: it is the engine's."""
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, int) or not 400 <= code < 500 or code in _OUR_FAULT or code in _BUSY:
        return None
    return _relayed(code, _encode({"error": error}))


def _relayed(status: int, body: bytes) -> Refusal:
    """An engine's 4xx in OpenAI's shape, whatever shape it came in."""
    message, kind, code, param = "the engine refused the request", "", "engine_refused", None
    plain = _plain(body)
    message = words_of(plain) or message
    error = plain.get("error", plain) if isinstance(plain, dict) else None
    if isinstance(error, dict):
        kind = str(error.get("type") or "")
        param = error["param"] if isinstance(error.get("param"), str) else None
        code = error["code"] if isinstance(error.get("code"), str) else code
    return Refusal(status, message, code, type=kind[:64], param=param)
