"""The passthrough template of a stream: its frames are the same bytes but for one string, the text.

Once a frame has been read in full and found to be plain text, the bytes before and after its text are kept. A later
frame that begins and ends with those bytes, and has one whole JSON string between them, is the same document with
another text: nothing else in it can have changed, so nothing else has to be read. It is passed on as it came, or
between the bytes that its client is to see instead (another model's name, the first hop's id). Anything else,
a usage, an error, a reason to finish, a tool call, is another document and goes to the careful reader.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tieline.gateway.wire import sse
from tieline.gateway.wire.decoding import UNREADABLE
from tieline.gateway.wire.http1 import MAX_SIZE_LINE, SIZES

# Where text may stand; which it was is proved by reading the frame with another text in that place.
_NAMES: Final = (b'"content":', b'"text":')
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_text = msgspec.json.Decoder(str).decode
# A frame whose fixed part is longer than this is read in full each time.
MAX_TEMPLATE: Final = 16_384


class PassthroughTemplate:
    """`head` and `tail` of the frames as they come, and as they are sent; the text's quotes belong to the text."""

    __slots__ = (
        "_around",
        "_chunk_tail",
        "_head",
        "_least",
        "_start",
        "_stop",
        "_tail",
        "same",
        "sent_head",
        "sent_tail",
    )

    def __init__(self, head: bytes, tail: bytes, sent_head: bytes, sent_tail: bytes) -> None:
        self._head, self._tail, self.sent_head, self.sent_tail = head, tail, sent_head, sent_tail
        self._chunk_tail = tail + b"\r\n"
        self._start, self._stop = len(head), -len(tail)
        self._around = len(sent_head) + len(sent_tail)
        self._least = len(head) + len(tail) + 3  # a text of at least one character
        self.same = head == sent_head and tail == sent_tail

    def texts(self, frames: list[bytes]) -> list[str] | None:
        """The text of each frame, never empty; None where any of them is another document."""
        head, tail, least, start, stop = self._head, self._tail, self._least, self._start, self._stop
        texts = []
        try:
            for frame in frames:
                if len(frame) < least or not (frame.startswith(head) and frame.endswith(tail)):
                    return None
                texts.append(_text(frame[start:stop]))
        except (msgspec.DecodeError, UnicodeDecodeError):  # not one string: it ends earlier, or is no JSON or UTF-8
            return None
        return texts

    def take(self, raw: bytes) -> tuple[str, bytes] | None:
        """(the text of one frame that is one whole chunk as it was framed, the chunk that its client gets); what most
        reads of a stream are."""
        eol = raw.find(b"\r\n", 0, MAX_SIZE_LINE)
        start = eol + 2 + self._start
        if (
            len(raw) < self._least + eol + 4
            or SIZES.get(raw[:eol]) != len(raw) - eol - 4
            or not (raw.startswith(self._head, eol + 2) and raw.endswith(self._chunk_tail))
        ):
            return None
        string = raw[start : self._stop - 2]
        try:
            text = _text(string)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if self.same:
            return text, raw
        return text, b"%x\r\n%b%b%b\r\n" % (len(string) + self._around, self.sent_head, string, self.sent_tail)

    def sent(self, frame: bytes) -> bytes:
        """A frame of this template as its client gets it."""
        return b"%b%b%b" % (self.sent_head, frame[self._start : self._stop], self.sent_tail)


def of(frame: bytes, sent: bytes) -> PassthroughTemplate | None:
    """The template of a frame and of what was sent for it; None where text is not all that may differ."""
    came = _cut(frame)
    if came is None:
        return None
    head, string, tail = came
    if sent == frame:
        return PassthroughTemplate(head, tail, head, tail)
    # The text stands in what was sent as it came: where it does so once, under its name, that is its place.
    before, _, after = sent.partition(string)
    if string in after or not before.rstrip(b" ").endswith(_NAMES):
        goes = _cut(sent)
        if goes is None:
            return None
        before, _, after = goes
    return PassthroughTemplate(head, tail, before, after)


def plain_text(event: sse.Event) -> str | None:
    """The text of an event that holds nothing else to act on; None of any other."""
    choices = event.choices
    if choices is None or len(choices) != 1 or event.usage is not None or event.error is not None:
        return None
    choice = choices[0]
    delta = choice.delta
    if choice.finish_reason is not None:
        return None
    if delta is None:
        return choice.text
    if delta.tool_calls is not None or delta.function_call is not None or delta.reasoning_content or delta.reasoning:
        return None
    return delta.content


def _cut(frame: bytes) -> tuple[bytes, bytes, bytes] | None:
    """The bytes before the text of a plain frame, the text with its quotes, and the bytes after it."""
    if not frame.startswith(b"data: {") or frame.find(b"\n") != len(frame) - 2 or len(frame) > MAX_TEMPLATE:
        return None
    for name in _NAMES:
        at = frame.find(name)
        if at < 0:
            continue
        start = at + len(name)
        if frame[start : start + 1] == b" ":
            start += 1
        string = _STRING.match(frame, start)
        if string is None:
            continue
        head, tail = frame[:start], frame[string.end() :]
        try:
            # Two texts, so that a frame which holds one of them anyway is not mistaken.
            read = [plain_text(sse.decode_event(b"".join((head, mark, tail))[6:-2])) for mark in (b'"~1"', b'"~2"')]
        except UNREADABLE:
            continue
        if read == ["~1", "~2"]:
            return head, string[0], tail
    return None
