"""What a chat says, read from the frames or the answer that a client would get, for a surface of another form. Pure.

A surface stands where the client stands: it is sent what the client of a chat is sent, continuity, errors and the bill
included, and says it in its own words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from tieline.gateway.wire import loose, sse
from tieline.gateway.wire.sse import Framer


class Inner(Protocol):
    """The connection that a surface writes to."""

    def answer(self, status: int, headers: bytes, body: bytes) -> None: ...

    def begin_stream(self, headers: bytes, payload: bytes) -> None: ...

    def send(self, payload: bytes) -> None: ...

    def finish_stream(self, tail: bytes) -> None: ...

    def drop(self) -> None: ...


@dataclass(slots=True)
class ChatToolCall:
    """A tool call, as far as it has come."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class ChatOutput:
    """All that one chat said."""

    reasoning: str = ""
    text: str = ""
    refusal: str = ""
    calls: dict[int, ChatToolCall] = field(default_factory=dict)
    finish: str = "stop"
    usage: dict[str, Any] = field(default_factory=dict)

    def tokens(self) -> tuple[int, int, int, int]:
        """(prompt, of it cached, output, of it reasoning)."""
        prompt, output = self.usage.get("prompt_tokens") or 0, self.usage.get("completion_tokens") or 0
        cached = (self.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        reasoning = (self.usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        return prompt, min(prompt, cached), output, min(output, reasoning)


def of_answer(body: bytes) -> ChatOutput:
    """A whole answer."""
    plain = loose.decode(body)
    said = ChatOutput(usage=plain.get("usage") or {})
    choice = (plain.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    said.text = loose.text(message.get("content")) or ""
    said.refusal = message.get("refusal") or ""
    said.reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    said.finish = choice.get("finish_reason") or "stop"
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        said.calls[index] = ChatToolCall(
            call.get("id") or "", function.get("name") or "", function.get("arguments") or ""
        )
    return said


class Surface(ABC):
    """A client of a chat that tells another client, in another form. One per request."""

    ends_failed = False  # the form has an end that says that it failed; others break off, which nobody takes for an end

    def __init__(self, inner: Inner) -> None:
        self.inner = inner
        self.said = ChatOutput()
        self._framer = Framer()
        self._failed = False  # and the client was told

    # --- what a form of its own says ------------------------------------------------

    @abstractmethod
    def opening(self) -> bytes:
        """What a stream begins with."""

    @abstractmethod
    def delta(self, kind: str, text: str) -> bytes:
        """More `reasoning`, `text` or `refusal`."""

    @abstractmethod
    def call(self, index: int, call: ChatToolCall, arguments: str, *, new: bool) -> bytes:
        """A tool call that begins, or more of its arguments."""

    @abstractmethod
    def ending(self) -> bytes:
        """What a stream ends with, all being said and counted."""

    @abstractmethod
    def failed(self, error: dict[str, Any]) -> bytes:
        """What a stream ends with that cannot go on."""

    @abstractmethod
    def whole(self, said: ChatOutput) -> bytes:
        """An answer that is not streamed."""

    def refused(self, status: int, body: bytes) -> bytes:
        """An error in this form; OpenAI's own unless it says otherwise."""
        return body

    # --- the client of a chat ---------------------------------------------------------

    def translated(self, body: bytes) -> bytes:
        self.said = of_answer(body)
        return self.whole(self.said)

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        self.inner.answer(status, headers, body if status < 400 else self.refused(status, body))

    def begin_stream(self, headers: bytes, payload: bytes) -> None:
        self.inner.begin_stream(headers, self.opening())
        if payload:
            self.send(payload)

    def send(self, payload: bytes) -> None:
        if payload.startswith(b":"):
            self.inner.send(payload)
            return
        out = self._read(payload)
        if out:
            self.inner.send(out)

    def pass_on(self, raw: bytes) -> None:
        self.send(raw[raw.index(b"\r\n") + 2 : -2])

    def finish_stream(self, tail: bytes) -> None:
        self.inner.finish_stream(self._read(tail) + self.ending())

    def drop(self) -> None:
        if self.ends_failed and self._failed:
            self.inner.finish_stream(b"")
        else:
            self.inner.drop()

    def _read(self, payload: bytes) -> bytes:
        """Frames of a chat, said in this form."""
        out: list[bytes] = []
        for frame in self._framer.feed(payload):
            data = sse.data_of(frame)
            if data is None or data == b"[DONE]":
                continue
            try:
                plain = loose.decode(data)
            except msgspec.DecodeError:  # nothing of a chat: there is nothing to say
                continue
            if plain.get("error"):
                self._failed = True
                out.append(self.failed(plain["error"]))
                continue
            self.said.usage = plain.get("usage") or self.said.usage
            for choice in plain.get("choices") or ():
                out += self._choice(choice)
        return b"".join(out)

    def _choice(self, choice: dict[str, Any]) -> list[bytes]:
        out: list[bytes] = []
        said, delta = self.said, choice.get("delta") or {}
        for kind, text in (
            ("reasoning", delta.get("reasoning_content") or delta.get("reasoning")),
            ("text", delta.get("content")),
            ("refusal", delta.get("refusal")),
        ):
            if isinstance(text, str) and text:
                setattr(said, kind, getattr(said, kind) + text)
                out.append(self.delta(kind, text))
        out += map(self._called, delta.get("tool_calls") or ())
        if choice.get("finish_reason"):
            said.finish = choice["finish_reason"]
        return out

    def _called(self, part: dict[str, Any]) -> bytes:
        """More of a tool call."""
        index, function = part.get("index") or 0, part.get("function") or {}
        call, arguments = self.said.calls.get(index), function.get("arguments") or ""
        new = call is None
        if call is None:
            call = ChatToolCall(part.get("id") or f"call_{index}", function.get("name") or "")
            self.said.calls[index] = call
        call.arguments += arguments
        return self.call(index, call, arguments, new=new) if new or arguments else b""
