"""Server-sent events of OpenAI-compatible engines: whole frames in, what each one means out.

Knows nothing of sockets. A frame is passed on as the bytes it came in wherever nothing in it must change; it
is read once, into the few fields that billing and a later resume need.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from tieline.gateway.wire import loose
from tieline.gateway.wire.decoding import UNREADABLE, json_reader

DONE: Final = b"data: [DONE]\n\n"
# Comments are the only thing sent before a first token: every client skips them, and none counts them.
KEEP_ALIVE: Final = b": keep-alive\n\n"
# One frame larger than this is not a token; a frame with a whole held tool call stays far below it.
MAX_FRAME: Final = 4 * 1024 * 1024


class Function(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, frozen=True, gc=False):
    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    audio: Any = None
    reasoning_details: Any = None


class Choice(msgspec.Struct, frozen=True, gc=False):
    index: int | None = None
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: Any = None  # vLLM: the stop string that it was cut at, a token's id, or null

    @property
    def at(self) -> int:
        """Which of several choices it is."""
        return self.index or 0


class PromptDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None


class OutputDetails(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = None


class TokenUsage(msgspec.Struct, frozen=True, gc=False):
    """What an engine says that it used: to be judged before it is money (see `counting`)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    completion_tokens_details: OutputDetails | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: OutputDetails | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a chat or text completion."""

    choices: tuple[Choice, ...] | None = None
    usage: TokenUsage | None = None
    error: Any = None


class Loose(msgspec.Struct, frozen=True, gc=False):
    """A chunk that the strict reader refused. `odd`: it holds text in a form that no replica could go on from;
    `mended`: the chunk in JSON that every client can read, where it was not."""

    event: Event
    odd: bool
    mended: bytes | None


class Names(msgspec.Struct, frozen=True, gc=False):
    """What must not change across a stream."""

    id: str = ""
    created: int = 0
    model: str = ""


read_event = json_reader(Event)
decode_event = msgspec.json.Decoder(Event).decode  # the same, and raises whatever is UNREADABLE
_decode_names = msgspec.json.Decoder(Names).decode


def read_loosely(data: bytes) -> Loose:
    """A chunk in whatever form engines write one. Raises msgspec.DecodeError of what is no JSON object."""
    plain = loose.loads(data)
    if not isinstance(plain, dict):
        raise msgspec.DecodeError("a frame is no JSON object")
    choices = [one for one in plain.get("choices") or () if isinstance(one, dict)]
    event = Event(tuple(_choice(one) for one in choices), usage_of(plain.get("usage")), plain.get("error"))
    mended = b"Infinity" in data or b"NaN" in data
    odd = any(not isinstance(_content(one), str | None) for one in choices)
    return Loose(event, odd, loose.dumps(plain) if mended else None)


def read_names(data: bytes) -> Names:
    """Id, time and model of a chunk; empty where they are not what they should be."""
    try:
        return _decode_names(data)
    except UNREADABLE:
        plain = loose.loads(data)
        created = plain.get("created")
        return Names(
            loose.text(plain.get("id")) or "",
            int(created) if isinstance(created, int | float) and 0 <= created < 1e12 else 0,
            loose.text(plain.get("model")) or "",
        )


def usage_of(plain: Any) -> TokenUsage | None:
    """A report of any form; None where there is none."""
    if not isinstance(plain, dict):
        return None
    prompt = _detail(plain, "prompt_tokens_details", "input_tokens_details", "cached_tokens")
    output = _detail(plain, "completion_tokens_details", "output_tokens_details", "reasoning_tokens")
    count = [loose.whole(plain.get(name)) for name in _COUNTS]
    return TokenUsage(
        prompt_tokens=count[0],
        completion_tokens=count[1],
        input_tokens=count[2],
        output_tokens=count[3],
        total_tokens=count[4],
        prompt_tokens_details=None if prompt is None else PromptDetails(prompt),
        completion_tokens_details=None if output is None else OutputDetails(output),
    )


_COUNTS: Final = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")


def _detail(plain: dict[str, Any], name: str, other: str, what: str) -> int | None:
    details = plain.get(name) or plain.get(other)
    return loose.whole(details.get(what)) if isinstance(details, dict) else None


def _content(choice: dict[str, Any]) -> Any:
    delta = choice.get("delta")
    return delta.get("content") if isinstance(delta, dict) else choice.get("text")


def _choice(plain: dict[str, Any]) -> Choice:
    index, delta = loose.whole(plain.get("index")), plain.get("delta")
    finish = loose.text(plain.get("finish_reason"))
    if not isinstance(delta, dict):
        return Choice(index, None, _text_in(plain.get("text")), finish)
    words = {name: loose.text(delta.get(name)) for name in ("role", "reasoning_content", "reasoning", "refusal")}
    calls = delta.get("tool_calls")
    tools = [_call(one) for one in calls if isinstance(one, dict)] if isinstance(calls, list) else None
    old = delta.get("function_call")
    return Choice(
        index,
        Delta(
            content=_text_in(delta.get("content")),
            tool_calls=tools,
            function_call=_function(old),
            audio=delta.get("audio"),
            reasoning_details=delta.get("reasoning_details"),
            **words,
        ),
        None,
        finish,
    )


def _call(plain: dict[str, Any]) -> ToolCall:
    return ToolCall(loose.whole(plain.get("index")), loose.text(plain.get("id")), _function(plain.get("function")))


def _function(plain: Any) -> Function | None:
    if not isinstance(plain, dict):
        return None
    return Function(loose.text(plain.get("name")), loose.text(plain.get("arguments")))


def _text_in(value: Any) -> str | None:
    """A text, also where it came in parts."""
    if isinstance(value, list):
        return "".join(loose.text(one.get("text")) or "" for one in value if isinstance(one, dict)) or " "
    return loose.text(value)


_BLANK: Final = re.compile(rb"\r?\n\r?\n")


class Framer:
    """Cuts a byte stream into whole events; what is not yet whole stays here and is never passed on."""

    __slots__ = ("tail",)

    def __init__(self) -> None:
        self.tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Whole frames, each with its blank line. Raises ValueError for one frame beyond MAX_FRAME."""
        searched = max(0, len(self.tail) - 3)
        if self.tail:
            data = self.tail + data
            self.tail = b""
        elif data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data:
            return [data]
        frames = []
        at = 0
        while (blank := _BLANK.search(data, max(at, searched))) is not None:
            frame = data[at : blank.start()].lstrip(b"\r\n")
            if frame:
                frames.append(frame.replace(b"\r\n", b"\n") + b"\n\n")
            at = blank.end()
        self.tail = data[at:]
        if len(self.tail) > MAX_FRAME:
            raise ValueError("an event is larger than 4 MiB")
        return frames

    @property
    def partial(self) -> bool:
        return bool(self.tail)


def data_of(frame: bytes) -> bytes | None:
    """The payload of a frame's `data:` lines joined; None for a comment or an event without data."""
    if frame.startswith(b"data: ") and frame.find(b"\n") == len(frame) - 2:
        return frame[6:-2]
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
    joined = b"\n".join(lines)
    return joined or None


def event_name(frame: bytes) -> str | None:
    """The `event:` field, for the Responses stream and engines that mark errors with it."""
    for line in frame.split(b"\n"):
        if line.startswith(b"event:"):
            return line[6:].strip().decode("utf-8", "replace")
    return None
