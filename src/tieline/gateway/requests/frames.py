"""What a client is sent for each frame of an engine's stream, and what is read of it on the way.

Nothing waits: reasoning and the parts of a tool call leave as they come, and are remembered, so that a run which
repeats them can go on behind them. A frame that nothing has to change in is passed on as the bytes it came in.
Changes the request's state and its attempt's counts; touches nothing else.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

import msgspec

from tieline.gateway.requests import chunks
from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.chunks import Chunk
from tieline.gateway.requests.continuity import resume
from tieline.gateway.requests.continuity.replay import DivergedError, Replay
from tieline.gateway.requests.state import RequestState
from tieline.gateway.wire import loose, passthrough, sse
from tieline.gateway.wire.decoding import UNREADABLE

# Frames in a row that a template is made of in vain: llama.cpp's changes each second with the time it states, but a
# stream with logprobs has none.
MAX_TEMPLATES: Final = 8


class BrokenStreamError(Exception):
    """The engine put no frame, or an error, into its stream. `error`: what it said, in whatever form."""

    def __init__(self, why: str, error: object = None) -> None:
        super().__init__(why)
        self.error = error


# What a delta may hold beside its text.
_beside_text = attrgetter(
    "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "audio", "reasoning_details"
)
_NOTHING: Final = (None,) * 7
# How an engine says that it gave an answer up.
_GAVE_UP: Final = ("abort", "error")
# No reason to finish is longer; what is, is none.
MAX_REASON: Final = 64


def all_of(state: RequestState, attempt: Attempt, payloads: list[bytes]) -> tuple[bytes, BrokenStreamError | None]:
    """(what the client is sent for these frames, what broke the stream in the midst of them)."""
    out: list[bytes] = []
    broken = None
    try:
        for frame in payloads:
            ready = chat_frame(state, attempt, frame)
            if ready is not None:
                out.append(ready)
    except BrokenStreamError as error:
        broken = error
    return out[0] if len(out) == 1 else b"".join(out), broken


def chat_frame(state: RequestState, attempt: Attempt, frame: bytes) -> bytes | None:
    """What the client is sent for one frame of a chat or text completion; None: nothing.
    Raises BrokenStreamError."""
    data = sse.data_of(frame)
    if data is None or attempt.ended is not None:
        return None
    if attempt.read is not None:
        return _continued(state, attempt, data)
    if data == b"[DONE]":
        _done(state, attempt)
        return None
    if data == b"null":  # llama.cpp's first event of several prompts
        return None
    event, odd, mended = _event(frame, data)
    if event.usage is not None:
        _report(state, attempt, event.usage)
    if not event.choices:
        return None
    if mended is not None:
        data = mended
        frame = b"data: " + data + b"\n\n"
    if attempt.replay is not None:
        rest = _replayed(attempt, attempt.replay, data)
        if rest is None:
            return None
        data = rest
        frame = b"data: " + data + b"\n\n"
        event, odd, _ = _event(frame, data)
    return _sent(state, attempt, event, frame, data, odd=odd)


def _event(frame: bytes, data: bytes) -> tuple[sse.Event, bool, bytes | None]:
    """(the chunk, is it of a form that cannot be gone on from, itself in readable JSON where it was not)."""
    odd, mended = False, None
    try:
        event = sse.decode_event(data)
    except UNREADABLE:
        try:
            loosely = sse.read_loosely(data)
        except msgspec.DecodeError as error:
            raise BrokenStreamError("a frame is not JSON") from error
        event, odd, mended = loosely.event, loosely.odd, loosely.mended
    if event.error is not None:
        raise BrokenStreamError("the engine reported an error in its stream", event.error)
    if not event.choices and b"event:" in frame and sse.event_name(frame) == "error":
        raise BrokenStreamError("the engine reported an error in its stream", loose.decode(data))
    return event, odd, mended


def _replayed(attempt: Attempt, replay: Replay, data: bytes) -> bytes | None:
    """What of a chunk is new to the client."""
    try:
        rest = replay.rest(data)
    except DivergedError as error:
        raise BrokenStreamError(str(error)) from error
    if rest is None:
        attempt.tokens += 1
    elif replay.over:
        attempt.replay = None
    return rest


def _sent(
    state: RequestState, attempt: Attempt, event: sse.Event, frame: bytes, data: bytes, *, odd: bool
) -> bytes | None:
    """A chunk that says something, as its client gets it; counted and kept."""
    choices = event.choices
    assert choices
    if state.names is None:
        state.learn(data)
    if odd:
        state.unkept = True
    said = [_said(state, attempt, choice) for choice in choices]
    some = any(said)
    ready = None if state.ids is None else state.ids.came(state.ids.read(data), with_text=some)
    ends = any(choice.finish_reason for choice in choices)
    sent = _worded(state, frame, data, ready, empty=not some and not ends)
    if sent is None:
        return None
    if ends:
        _finished(state, attempt, choices)
    elif all(said) and not odd:
        delta = choices[0].delta
        if delta is None or delta.role is None or state.tokens > 1:  # most engines give the role once
            _template(state, attempt, frame, sent)
    return sent


def _worded(state: RequestState, frame: bytes, data: bytes, ready: list[int] | None, *, empty: bool) -> bytes | None:
    """The frame with the names that its stream began with; None: there is nothing in it for the client. `ready`: ids
    that its text stands for."""
    if state.hops or state.renames or state.created not in frame:
        if state.opened and empty:
            return None  # a later hop's opening frame: the role was sent long ago
        ids = state.ids
        drop, shown = ((), None) if ids is None else (ids.drop, ready if ids.shown else None)
        drop = ("usage",) if state.usage_in_frames else drop
        frame = chunks.renamed(data, state.public_names(), state.index, drop, shown)
    if state.request.wants_usage and b'"usage"' not in frame:
        frame = frame[:-3] + b',"usage":null}\n\n'
    return frame


def _said(state: RequestState, attempt: Attempt, choice: sse.Choice) -> bool:
    """Count and keep what one choice says; does it say anything?"""
    delta = choice.delta
    text = choice.text if delta is None else delta.content
    special = delta is not None and _beside_text(delta) != _NOTHING and _special(state, choice.at, delta)
    if state.choices is not None:
        state.choices.opened.add(choice.at)
    if text:
        if state.choices is not None:
            state.keep_choice(choice.at, text)
        else:
            state.keep(text)
    elif special:
        state.tokens += 1
    if text or special:
        attempt.tokens += 1
        if state.first_token_at is None:
            state.first_token_at = attempt.last_at
    if special:
        attempt.template = None
    return bool(text) or special


def _special(state: RequestState, at: int, delta: sse.Delta) -> bool:
    """Reasoning, a refusal, the parts of a tool call: kept by where they stand."""
    said = False
    for name in ("reasoning_content", "reasoning", "refusal"):
        if text := getattr(delta, name):
            state.keep_special((at, name), text)
            said = True
    for call in delta.tool_calls or ():
        number = f"tool{call.index or 0}"
        if call.id:
            state.keep_special((at, f"{number}.id"), "")
        if call.function is not None:
            state.keep_special((at, f"{number}.name"), call.function.name or "")
            state.keep_special((at, f"{number}.arguments"), call.function.arguments or "")
        said = True
    if delta.audio is not None or delta.reasoning_details is not None or delta.function_call is not None:
        state.unkept = said = True  # forms that are passed on, and not compared
    return said


def _finished(state: RequestState, attempt: Attempt, choices: tuple[sse.Choice, ...]) -> None:
    for choice in choices:
        reason = choice.finish_reason
        if not reason:
            continue
        if reason in _GAVE_UP:
            raise BrokenStreamError(f"the engine ended its answer with {reason!r}")
        state.finishes += 1
        state.finish = reason if len(reason) <= MAX_REASON else "other"
        if state.choices is not None:
            state.choices.finish(choice.at, state.finish)
        if attempt.backend.engine == "vllm" and "stop" in state.request.fields:
            state.stopped = state.stopped or {}
            stop = choice.stop_reason
            state.stopped[choice.at] = stop if isinstance(stop, str) and stop in resume.stops(state.request) else ""


def _report(state: RequestState, attempt: Attempt, usage: sse.TokenUsage) -> None:
    """What the engine says that it used."""
    if attempt.backend.engine == "llama.cpp" and state.request.answers > 1:
        state.add_up(attempt, usage)
        if state.choices is not None:
            state.choices.report(usage.completion_tokens)
    else:
        state.count_stream(usage, attempt.base_tokens, attempt.repeated)


def _template(state: RequestState, attempt: Attempt, frame: bytes, sent: bytes) -> None:
    """The frames to come may be like this one."""
    if (
        state.ids is None and state.choices is None and state.request.answers == 1 and attempt.replay is None
        and attempt.templates < MAX_TEMPLATES
    ):  # fmt: skip
        attempt.templates += 1
        attempt.template = passthrough.of(frame, sent)


def _continued(state: RequestState, attempt: Attempt, data: bytes) -> bytes | None:
    """A frame of a later hop that speaks another form, in the form the stream began in."""
    chunk = _chunk(state, attempt, data)
    out = b""
    ready = [] if state.ids is None else state.ids.came(chunk.ids, with_text=bool(chunk.text))
    names, kind, index = state.public_names(), state.request.kind, state.index or 0
    if chunk.text:
        shown = ready if state.ids is not None and state.ids.shown else None
        logprobs = chunk.logprobs if state.request.asks("logprobs") else None
        out = chunks.frame(names, kind, chunk.text, None, logprobs, index=index, ids=shown)
    if chunk.finish is not None:
        state.finish, state.finishes = chunk.finish, 1
        out += chunks.frame(names, kind, None, state.finish, index=index)
    if chunk.last:
        _done(state, attempt)
    if out and state.request.wants_usage:
        out = out.replace(b"}\n\n", b',"usage":null}\n\n')
    return out or None


def _chunk(state: RequestState, attempt: Attempt, data: bytes) -> Chunk:
    """Read, counted and kept."""
    assert attempt.read is not None
    try:
        chunk = attempt.read(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenStreamError("a frame is not JSON") from error
    if chunk.error is not None:
        raise BrokenStreamError("the engine reported an error in its stream", chunk.error)
    if chunk.finish in _GAVE_UP:
        raise BrokenStreamError(f"the engine ended its answer with {chunk.finish!r}")
    if chunk.text:
        attempt.tokens += 1
        state.keep(chunk.text)
    if chunk.usage is not None:
        state.count_stream(chunk.usage, attempt.base_tokens, attempt.repeated)
    return chunk


def _done(state: RequestState, attempt: Attempt) -> None:
    if attempt.replay is not None:
        raise BrokenStreamError("the new run of this answer ended before what was delivered")
    state.tail = sse.DONE
    if state.finish is None:
        state.finish = "stop"
