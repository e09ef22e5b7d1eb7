"""What a client is sent for each frame of an engine's stream, and what is read of it on the way.

A frame that nothing has to change in is passed on as the bytes it came in. Changes the request's state and its
attempt's counts; touches nothing else.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tieline.gateway.requests import chunks, responses
from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.chunks import Chunk
from tieline.gateway.requests.responses import Shape
from tieline.gateway.requests.state import RequestState
from tieline.gateway.wire import passthrough, sse

# Frames in a row that a template is made of in vain: llama.cpp's changes each second with the time it states, but a
# stream with logprobs has none.
MAX_TEMPLATES: Final = 8


class BrokenStreamError(Exception):
    """The engine put no frame, or an error, into its stream."""


def chat_frame(state: RequestState, attempt: Attempt, frame: bytes) -> bytes | None:
    """What the client is sent for one frame of a chat or text completion; None: nothing (now).
    Raises BrokenStreamError."""
    data = sse.data_of(frame)
    if data is None or attempt.ended is not None:
        return None
    if attempt.read is not None:
        return _continued(state, attempt, data)
    if data == b"[DONE]":
        _done(state)
        return None
    if data == b"null":  # llama.cpp's first event of several prompts
        return None
    try:
        event = sse.read_event(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenStreamError("a frame is not JSON") from error
    if event.error is not None:
        raise BrokenStreamError("the engine reported an error in its stream")
    if event.usage is not None:
        _report(state, attempt, event.usage)
    if not event.choices:
        return None
    choice = event.choices[0]
    text = choice.text if choice.delta is None else choice.delta.content
    if state.names is None:
        state.learn(data)
    if state.choices is not None:
        state.choices.opened.add(choice.index)
    shown = None
    if state.ids is not None:
        ready = state.ids.came(state.ids.read(data), with_text=bool(text))
        shown = ready if state.ids.shown else None
    sent = frame
    if state.hops or state.renames or state.created not in frame:
        if state.opened and not text and choice.finish_reason is None and not _special(choice.delta):
            return None  # a later hop's opening frame: the role was sent long ago
        drop = () if state.ids is None else state.ids.drop
        sent = chunks.renamed(data, state.public_names(), state.index, drop, shown)
    if state.request.wants_usage and b'"usage"' not in sent:
        sent = sent[:-3] + b',"usage":null}\n\n'
    if text:
        _text(state, attempt, choice.index, text)
        if not state.hold and state.choices is None:
            _template(state, attempt, frame, sent)
    if choice.finish_reason is not None:
        state.finishes += 1
        state.finish = choice.finish_reason
        if state.choices is not None:
            state.choices.finish(choice.index, choice.finish_reason)
    return _held(state, attempt, sent, special=_special(choice.delta))


def _report(state: RequestState, attempt: Attempt, usage: sse.TokenUsage) -> None:
    """What the engine says that it used."""
    if attempt.backend.engine == "llama.cpp" and state.request.answers > 1:
        state.add_up(attempt, usage)
        if state.choices is not None:
            state.choices.report(usage.completion_tokens)
    else:
        state.count(usage, attempt.base_tokens)


def _text(state: RequestState, attempt: Attempt, index: int, text: str) -> None:
    """Counted and kept."""
    attempt.tokens += 1
    if state.first_token_at is None:
        state.first_token_at = attempt.last_at
    if state.hold and not state.request.tools:
        state.hold = False  # reasoning is over
    if state.hold:
        return
    if state.choices is not None:
        state.keep_choice(index, text)
    else:
        state.keep(text)


def _template(state: RequestState, attempt: Attempt, frame: bytes, sent: bytes) -> None:
    """The frames to come may be like this one."""
    if (
        state.ids is None
        and not state.held
        and state.request.answers == 1
        and attempt.templates < MAX_TEMPLATES
    ):  # fmt: skip
        attempt.templates += 1
        attempt.template = passthrough.of(frame, sent)


def _held(state: RequestState, attempt: Attempt, sent: bytes, *, special: bool) -> bytes | None:
    """What goes out now: a part of a tool call or of reasoning waits until it is whole."""
    if special:
        attempt.template = None
        state.hold = state.request.continuity != "none"
        state.unkept = not state.hold  # sent as it comes, it cannot be taken back and made anew
        attempt.tokens += 1
        if state.first_token_at is None:
            state.first_token_at = attempt.last_at
    if state.hold:
        state.held.append(sent)
        if state.finishes < state.request.answers:
            return None
        state.hold = False
        sent = state.held.pop()
    if state.held:
        state.tokens += len(state.held)
        sent = b"".join((*state.held, sent))
        state.held.clear()
        if state.ids is not None:
            state.reasoned = True  # its ids go before those of the text
        else:
            state.unkept = True  # what was held is no plain text: from here on it cannot be continued
    return sent


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
        _done(state)
    if out and state.request.wants_usage:
        out = out.replace(b"}\n\n", b',"usage":null}\n\n')
    return out or None


def _chunk(state: RequestState, attempt: Attempt, data: bytes) -> Chunk:
    """Read, counted and kept."""
    assert attempt.read is not None
    try:
        chunk = attempt.read(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenStreamError("a frame is not JSON") from error
    if chunk.error:
        raise BrokenStreamError("the engine reported an error in its stream")
    if chunk.usage is not None:
        state.count(chunk.usage, attempt.base_tokens)
    if chunk.text:
        attempt.tokens += 1
        state.keep(chunk.text)
    return chunk


def _done(state: RequestState) -> None:
    state.tail = sse.DONE
    if state.finish is None:
        state.finish = "stop"


def responses_event(state: RequestState, attempt: Attempt, frame: bytes) -> bytes | None:
    """An event of the Responses stream. What comes before the first text waits, so that a death before it can be
    made good unseen; so does what ends a text, until the response has ended. Raises BrokenStreamError."""
    data = sse.data_of(frame)
    if data is None or attempt.ended is not None:
        return None
    if attempt.read is not None:
        return _responses_continued(state, attempt, data)
    if data == b"[DONE]":
        return None
    try:
        event = responses.read(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenStreamError("an event is not JSON") from error
    if event.type == "error":
        raise BrokenStreamError("the engine reported an error in its stream")
    assert state.shape is not None, "made before the first event"
    frame = state.shape.mend(event, data, frame)
    if event.type.endswith(".delta"):
        attempt.tokens += 1
        if state.first_token_at is None:
            state.first_token_at = attempt.last_at
    if event.type in responses.END:
        if event.response is not None and event.response.usage is not None:
            state.count(event.response.usage, 0)
        state.finish = event.type.removeprefix("response.")
        state.tail = b"".join((*state.held, frame))
        state.held.clear()
        return None
    text = event.type == responses.TEXT
    if state.request.continuity != "none" and ((state.hold and not text) or event.type in responses.CLOSING):
        state.held.append(frame)
        return None
    state.hold = False
    if not state.shape.plain or not text:
        state.tokens += event.type.endswith(".delta")
        state.unkept = True  # more than one message of text: another replica would begin anew
    elif isinstance(event.delta, str):
        state.keep(event.delta)
    if state.held:
        frame = b"".join((*state.held, frame))
        state.held.clear()
    return frame


def _responses_continued(state: RequestState, attempt: Attempt, data: bytes) -> bytes | None:
    """Text that a later hop writes as a chat. Its ending is written when all is counted."""
    assert state.shape is not None
    chunk = _chunk(state, attempt, data)
    if chunk.finish is not None:
        state.finish = "incomplete" if chunk.finish == "length" else "completed"
    if chunk.last:
        state.finish = state.finish or "completed"
        state.tail = sse.DONE
    return state.shape.text(chunk.text) if chunk.text else None


def new_shape(state: RequestState, engine: str, wall_s: int) -> Shape:
    """For the first event of a Responses stream; `wall_s`: when it began, as the client will read it."""
    return Shape(state.request.model, wall_s, state.request.limit if engine == "llama.cpp" else None)


def _special(delta: sse.Delta | None) -> bool:
    """A part of a tool call or of reasoning: held until it is whole."""
    return delta is not None and (
        delta.tool_calls is not None
        or delta.function_call is not None
        or bool(delta.reasoning_content)
        or bool(delta.reasoning)
    )
