"""What a client is sent for each frame of an engine's stream, and what is read of it on the way.

A frame that nothing has to change in is passed on as the bytes it came in. Works on an Exchange: its names,
what is held back, what was delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tieline.gateway.requests import chunks as pieces
from tieline.gateway.requests import responses
from tieline.gateway.requests.attempt import Leg
from tieline.gateway.requests.chunks import Piece
from tieline.gateway.requests.responses import Shape
from tieline.gateway.wire import passthrough as mould
from tieline.gateway.wire import sse
from tieline.gateway.wire.upstream import Backend

if TYPE_CHECKING:
    from tieline.gateway.requests.exchange import Exchange

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
    if leg.read is not None:
        return _continued(ex, leg, data)
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
            if ex.answers is not None:
                ex.answers.report(event.usage.completion_tokens)
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
    answers, ids = ex.answers, ex.ids
    if answers is not None:
        answers.opened.add(choice.index)
    shown = None
    if ids is not None:
        ready = ids.came(ids.read(data), with_text=bool(text))
        shown = ready if ids.shown else None
    if ex.hops or ex.renames or ex.created not in frame:
        if ex.opened and not text and choice.finish_reason is None and not _special(delta):
            return None  # a later hop's opening frame: the role was sent long ago
        frame = pieces.renamed(data, ex.public_names(), ex.index, () if ids is None else ids.drop, shown)
    if ex.request.wants_usage and b'"usage"' not in frame:
        frame = frame[:-3] + b',"usage":null}\n\n'
    if text:
        leg.tokens += 1
        if ex.first_token_at is None:
            ex.first(leg)
        elif ex.resumed:
            ex.svc.slow.discard(ex)
        if ex.hold and not ex.request.tools:
            ex.hold = False  # reasoning is over
        if answers is not None and not ex.hold:
            ex.keep_answer(choice.index, text)
        elif not ex.hold:
            ex.keep(text)
            if ids is None and not ex.held and ex.request.answers == 1 and leg.moulds < MAX_MOULDS:
                leg.moulds += 1
                leg.mould = mould.of(came, frame)
    if choice.finish_reason is not None:
        ex.finishes += 1
        ex.finish = choice.finish_reason
        if answers is not None:
            answers.finish(choice.index, choice.finish_reason)
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
        if ids is not None:
            ex.reasoned = True  # its ids go before those of the text
        else:
            ex.unkept = True  # what was held is no plain text: from here on it cannot be continued
    return frame


def _continued(ex: Exchange, leg: Leg, data: bytes) -> bytes | None:
    """A frame of a later hop that speaks another form, in the form the stream began in."""
    piece = _piece(ex, leg, data)
    out = b""
    ready = [] if ex.ids is None else ex.ids.came(piece.ids, with_text=bool(piece.text))
    names, kind, index = ex.public_names(), ex.request.kind, ex.index or 0
    if piece.text:
        shown = ready if ex.ids is not None and ex.ids.shown else None
        logprobs = piece.logprobs if ex.request.asks("logprobs") else None
        out = pieces.frame(names, kind, piece.text, None, logprobs, index=index, ids=shown)
    if piece.finish is not None:
        ex.finish, ex.finishes = piece.finish, 1
        out += pieces.frame(names, kind, None, ex.finish, index=index)
    if piece.last:
        _done(ex, leg)
    if out and ex.request.wants_usage:
        out = out.replace(b"}\n\n", b',"usage":null}\n\n')
    return out or None


def _piece(ex: Exchange, leg: Leg, data: bytes) -> Piece:
    """Read, counted and kept."""
    assert leg.read is not None
    try:
        piece = leg.read(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenStreamError("a frame is not JSON") from error
    if piece.error:
        raise BrokenStreamError("the engine reported an error in its stream")
    if piece.usage is not None:
        ex.count(piece.usage, leg.base_tokens)
    if piece.text:
        leg.tokens += 1
        ex.keep(piece.text)
        ex.svc.slow.discard(ex)
    return piece


def _done(ex: Exchange, leg: Leg) -> None:
    ex.tail = sse.DONE
    if ex.finish is None:
        ex.finish = "stop"


def responses_event(ex: Exchange, leg: Leg, frame: bytes) -> bytes | None:
    """An event of the Responses stream. What comes before the first text waits, so that a death before it can be
    made good unseen; so does what ends a text, until the response has ended."""
    data = sse.data_of(frame)
    if data is None or leg.ended is not None:
        return None
    if leg.read is not None:
        return _responses_continued(ex, leg, data)
    if data == b"[DONE]":
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
        if ex.first_token_at is None:
            ex.first(leg)
    if event.type in responses.END:
        if event.response is not None and event.response.usage is not None:
            ex.count(event.response.usage, 0)
        ex.finish = event.type.removeprefix("response.")
        ex.tail = b"".join((*ex.held, frame))
        ex.held.clear()
        return None
    text = event.type == responses.TEXT
    if ex.request.continuity != "none" and ((ex.hold and not text) or event.type in responses.CLOSING):
        ex.held.append(frame)
        return None
    ex.hold = False
    if not ex.shape.plain or not text:
        ex.tokens += event.type.endswith(".delta")
        ex.unkept = True  # more than one message of text: another replica would begin anew
    elif isinstance(event.delta, str):
        ex.keep(event.delta)
    if ex.held:
        frame = b"".join((*ex.held, frame))
        ex.held.clear()
    return frame


def _responses_continued(ex: Exchange, leg: Leg, data: bytes) -> bytes | None:
    """Text that a later hop writes as a chat. Its ending is written when all is counted."""
    assert ex.shape is not None
    piece = _piece(ex, leg, data)
    if piece.finish is not None:
        ex.finish = "incomplete" if piece.finish == "length" else "completed"
    if piece.last:
        ex.finish = ex.finish or "completed"
        ex.tail = sse.DONE
    return ex.shape.text(piece.text) if piece.text else None


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
