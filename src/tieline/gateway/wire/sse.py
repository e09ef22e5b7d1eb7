"""Server-sent events of OpenAI-compatible engines: whole frames in, what each one means out.

Knows nothing of sockets. A frame is passed on as the bytes it came in wherever nothing in it must change; it
is read once, into the few fields that billing and a later resume need.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from tieline.gateway.wire.decoding import json_reader

DONE: Final = b"data: [DONE]\n\n"
# Comments are the only thing sent before a first token: every client skips them, and none counts them.
KEEP_ALIVE: Final = b": keep-alive\n\n"
# One frame larger than this is not a token; a frame with a whole held tool call stays far below it.
MAX_FRAME: Final = 4 * 1024 * 1024


class Delta(msgspec.Struct, frozen=True, gc=False):
    role: str | None = None
    content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None
    function_call: dict[str, msgspec.Raw] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Choice(msgspec.Struct, frozen=True, gc=False):
    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None


class TokenUsage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a chat or text completion."""

    choices: tuple[Choice, ...] | None = None
    usage: TokenUsage | None = None
    error: Any = None


class Names(msgspec.Struct, frozen=True, gc=False):
    id: str = ""
    created: int = 0
    model: str = ""


read_event = json_reader(Event)
read_names = json_reader(Names)


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
