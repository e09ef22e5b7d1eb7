"""What a Responses stream needs, whatever its engine leaves out.

Clients read `sequence_number` on every event, the indices of items and parts, and one id, model and time of the
response; llama.cpp sends none of these but the id, and calls an answer that was cut at its limit completed. An
event that lacks nothing is passed on as it came. Knows nothing of sockets or replicas.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tieline.gateway.errors import Refusal
from tieline.gateway.wire.decoding import json_reader, read_json
from tieline.gateway.wire.sse import TokenUsage

# A response holds a few items; more than these are no longer numbered.
MAX_ITEMS: Final = 4_096

_encode = msgspec.json.Encoder().encode


class _Response(msgspec.Struct, frozen=True, gc=False):
    id: str = ""
    model: str | None = None
    created_at: float | None = None
    usage: TokenUsage | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """What is read of every event."""

    type: str = ""
    sequence_number: int | None = None
    output_index: int | None = None
    response: _Response | None = None
    delta: Any = None
    item: Any = None


read: Final = json_reader(Event)

TEXT: Final = "response.output_text.delta"
# What ends a text. Held until the response itself ends: a text that is continued elsewhere is not over.
CLOSING: Final = frozenset({"response.output_text.done", "response.content_part.done", "response.output_item.done"})
END: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_PREAMBLE: Final = frozenset(
    {"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"}
)


class Shape:
    """The state of one stream as its client sees it."""

    __slots__ = ("_created", "_id", "_item", "_items", "_limit", "_model", "_number", "plain")

    def __init__(self, model: str, created: int, limit: int | None) -> None:
        """`limit`: output tokens at which an answer that is called completed was cut; None: believe the engine."""
        self._model, self._created, self._limit = model, created, limit
        self._number = -1
        self._id = ""
        self._items: dict[str, int] = {}
        self._item: dict[str, Any] = {}  # the message that the text belongs to
        self.plain = True  # one message of text so far: what can be continued

    def mend(self, event: Event, data: bytes, frame: bytes) -> bytes:
        """The event as the client gets it; `frame` itself where nothing is missing."""
        self._number += 1
        whole = event.response
        if whole is not None:
            self._id = whole.id or self._id
            if whole.created_at is not None and not self._number:
                self._created = int(whole.created_at)
        elif event.type == "response.output_item.added":
            item = event.item if isinstance(event.item, dict) else {}
            self.plain = self.plain and not self._item and item.get("type") == "message"
            self._item = item
        elif event.type != TEXT and event.type not in CLOSING and event.type not in _PREAMBLE:
            self.plain = False
        if event.sequence_number == self._number and (
            (whole is None and event.output_index is not None)
            or (whole is not None and whole.model == self._model and not self._cut(event))
        ):
            return frame
        plain: dict[str, Any] = read_json(data)
        plain["sequence_number"] = self._number
        if whole is not None:
            self._mend_whole(plain, event)
        else:
            self._mend_part(plain)
        return b"event: %b\ndata: %b\n\n" % (plain["type"].encode(), _encode(plain))

    def _cut(self, event: Event) -> bool:
        usage = None if event.response is None else event.response.usage
        return (
            self._limit is not None
            and event.type == "response.completed"
            and usage is not None
            and (usage.output_tokens or 0) >= self._limit
        )

    def _mend_whole(self, plain: dict[str, Any], event: Event) -> None:
        whole: dict[str, Any] = plain["response"]
        whole["model"], whole["created_at"] = self._model, self._created
        for name, value in _WHOLE.items():
            whole.setdefault(name, value)
        if self._cut(event):
            plain["type"], whole["status"] = "response.incomplete", "incomplete"
            whole["incomplete_details"] = {"reason": "max_output_tokens"}

    def _mend_part(self, plain: dict[str, Any]) -> None:
        item = plain.get("item")
        name = plain.get("item_id") or (item.get("id") if isinstance(item, dict) else None)
        if isinstance(name, str) and len(self._items) < MAX_ITEMS:
            plain.setdefault("output_index", self._items.setdefault(name, len(self._items)))
        kind = plain["type"]
        if kind.startswith(("response.content_part.", "response.output_text.")):
            plain.setdefault("content_index", 0)
        if kind.startswith("response.output_text."):
            plain.setdefault("logprobs", [])
        part = plain.get("part")
        if isinstance(part, dict):
            part.setdefault("annotations", [])

    def rewind(self, events: int) -> None:
        """The last so many were never sent."""
        self._number -= events

    # --- what no engine wrote ---------------------------------------------------

    def _event(self, kind: str, **more: Any) -> bytes:
        self._number += 1
        body = {"type": kind, "sequence_number": self._number, **more}
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(body))

    def _part_event(self, kind: str, **more: Any) -> bytes:
        name = self._item.get("id", "")
        return self._event(kind, item_id=name, output_index=self._items.get(name, 0), content_index=0, **more)

    def text(self, delta: str) -> bytes:
        """Text of a later hop."""
        return self._part_event(TEXT, delta=delta, logprobs=[])

    def ending(self, text: str, finish: str, prompt: int, cached: int, output: int) -> bytes:
        """The events that end a text which was continued elsewhere; `finish` as chat says it."""
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        cut = finish == "length"
        status = "incomplete" if cut else "completed"
        item = {"role": "assistant", "type": "message", **self._item, "status": status, "content": [part]}
        whole = self._whole(status, item) | {
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {"cached_tokens": cached},
                "output_tokens": output,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": prompt + output,
            },
        }
        return b"".join(
            (
                self._part_event("response.output_text.done", text=text, logprobs=[]),
                self._part_event("response.content_part.done", part=part),
                self._event("response.output_item.done", output_index=0, item=item),
                self._event(f"response.{status}", response=whole),
            )
        )

    def failed(self, refusal: Refusal, request_id: str) -> bytes:
        """The event that ends a stream which cannot go on."""
        self._id = self._id or f"resp_{request_id}"
        error = {"code": "server_error", "message": refusal.message}
        return self._event("response.failed", response=self._whole("failed") | {"error": error})

    def _whole(self, status: str, *items: dict[str, Any]) -> dict[str, Any]:
        names = {"id": self._id, "created_at": self._created, "model": self._model, "status": status}
        return _WHOLE | names | {"output": list(items)}


# What clients read of a response and engines leave out.
_WHOLE: Final[dict[str, Any]] = {
    "object": "response",
    "output": [],
    "error": None,
    "incomplete_details": None,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
}


def cut(body: bytes, limit: int) -> bytes:
    """A whole answer of an engine that calls one which was cut at its limit completed."""
    plain = read_json(body)
    if plain.get("status") == "completed" and (plain.get("usage") or {}).get("output_tokens", 0) >= limit:
        plain["status"], plain["incomplete_details"] = "incomplete", {"reason": "max_output_tokens"}
        return _encode(plain)
    return body
