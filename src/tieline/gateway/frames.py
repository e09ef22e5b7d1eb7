"""What a client is sent for each frame of an engine's stream, and what is read of it on the way.

A frame that nothing has to change in is passed on as the bytes it came in. Works on an Exchange: its names,
what is held back, what was delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tieline.gateway import mould, responses, resume, sse
from tieline.gateway.leg import Leg
from tieline.gateway.responses import Shape
from tieline.gateway.upstream import Backend

if TYPE_CHECKING:
    from tieline.gateway.relay import Exchange

_encode = msgspec.json.Encoder().encode

# Frames in a row that a mould is made of in vain: llama.cpp's changes each second with the time it states, but a
# stream with logprobs has none.
MAX_MOULDS: Final = 8


class BrokenStreamError(Exception):
    """The engine wrote what is no event, or an error, into its stream."""


def chat_frame(ex: Exchange, leg: Leg, frame: bytes) -> bytes | None:
    """What the client is sent for one frame of a chat or text completion; None: nothing (now)."""
    came = frame
    data = sse.data_of(frame)
    if data is None or leg.ended is not None:
        return None
    if leg.translate is not None:
        return _llama(ex, leg, data)
    if data == b"[DONE]":
        _done(ex, leg)
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
        if leg.backend.engine == "llama.cpp" and ex.request.answers > 1:
            ex.add_up(leg, event.usage)
        else:
            ex.count(event.usage, leg.base_tokens)
    choices = event.choices
    if not choices:
        return None
    choice = choices[0]
    delta = choice.delta
    text = choice.text if delta is None else delta.content
    if ex.names is None:
        ex.learn(data)
    if ex.hops or ex.renames or ex.created not in frame:
        if ex.opened and not text and choice.finish_reason is None and not _special(delta):
            return None  # a later hop's opening frame: the role was sent long ago
        frame = resume.renamed(data, ex.public_names())
    if ex.request.wants_usage and b'"usage"' not in frame:
        frame = frame[:-3] + b',"usage":null}\n\n'
    if text:
        leg.tokens += 1
        if ex.first_token_at is None:
            ex.first(leg)
        if ex.hold and not ex.request.tools:
            ex.hold = False  # reasoning is over
        if not ex.hold:
            ex.keep(text)
            if not ex.held and ex.request.answers == 1 and leg.moulds < MAX_MOULDS:
                leg.moulds += 1
                leg.mould = mould.of(came, frame)
    if choice.finish_reason is not None:
        ex.finishes += 1
        ex.finish = choice.finish_reason
    if _special(delta):
        leg.mould = None
        ex.hold = ex.request.continuity != "none"
        ex.unkept = not ex.hold  # sent as it comes, it cannot be taken back and made anew
        leg.tokens += 1
        if ex.first_token_at is None:
            ex.first(leg)
    if ex.hold:
        ex.held.append(frame)
        if ex.finishes < ex.request.answers:
            return None
        ex.hold = False
        frame = ex.held.pop()
    if ex.held:
        ex.tokens += len(ex.held)
        frame = b"".join((*ex.held, frame))
        ex.held.clear()
        ex.unkept = True  # what was held is no plain text: from here on it cannot be continued
    return frame


def _llama(ex: Exchange, leg: Leg, data: bytes) -> bytes | None:
    """A frame of llama.cpp's /completion, in the form the stream began in."""
    assert ex.names is not None
    try:
        frame = resume.read_llama(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenStreamError("a frame is not JSON") from error
    if frame.error is not None:
        raise BrokenStreamError("the engine reported an error in its stream")
    out = b""
    kind = ex.request.kind
    if frame.content:
        leg.tokens += 1
        ex.keep(frame.content)
        logprobs = _logprobs(ex, frame)
        out = resume.chat_frame(ex.public_names(), kind, frame.content, None, logprobs)
    if frame.stop:
        ex.finish = resume.finish_reason(frame)
        ex.output_tokens = leg.base_tokens + frame.tokens_predicted
        out += resume.chat_frame(ex.public_names(), kind, None, ex.finish)
        ex.tail = sse.DONE
    if out and ex.request.wants_usage:
        out = out.replace(b"}\n\n", b',"usage":null}\n\n')
    return out or None


def _logprobs(ex: Exchange, frame: resume.LlamaFrame) -> bytes | None:
    raw = ex.request.fields.get("logprobs")
    if frame.completion_probabilities is None or raw is None or bytes(raw) != b"true":
        return None
    return _encode(frame.completion_probabilities)


def _done(ex: Exchange, leg: Leg) -> None:
    ex.tail = sse.DONE
    if ex.finish is None:
        ex.finish = "stop"


def responses_event(ex: Exchange, leg: Leg, frame: bytes) -> bytes | None:
    """An event of the Responses stream. Those before the first delta wait, so that a death before it can be
    retried unseen."""
    data = sse.data_of(frame)
    if data is None or data == b"[DONE]" or leg.ended is not None:
        return None
    try:
        event = responses.read(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenStreamError("an event is not JSON") from error
    if event.type == "error":
        raise BrokenStreamError("the engine reported an error in its stream")
    if ex.shape is None:
        ex.shape = new_shape(ex, leg.backend)
    frame = ex.shape.mend(event, data, frame)
    if event.type.endswith(".delta"):
        leg.tokens += 1
        ex.tokens += 1
        if ex.first_token_at is None:
            ex.first(leg)
    if event.type in responses.END:
        if event.response is not None and event.response.usage is not None:
            ex.count(event.response.usage, 0)
        ex.finish = event.type.removeprefix("response.")
        ex.tail = b"".join((*ex.held, frame))
        ex.held.clear()
        return None
    if ex.hold and event.type in responses.PREAMBLE:
        ex.held.append(frame)
        return None
    ex.hold = False
    ex.unkept = True  # from here on the client has what another replica would begin anew
    if ex.held:
        frame = b"".join((*ex.held, frame))
        ex.held.clear()
    return frame


def new_shape(ex: Exchange, backend: Backend | None) -> Shape:
    limit = ex.request.limit if backend is not None and backend.engine == "llama.cpp" else None
    return Shape(ex.request.model, int(ex.svc.clock.now().timestamp()), limit)


def _special(delta: sse.Delta | None) -> bool:
    """A part of a tool call or of reasoning: held until it is whole."""
    return delta is not None and (
        delta.tool_calls is not None
        or delta.function_call is not None
        or bool(delta.reasoning_content)
        or bool(delta.reasoning)
    )
