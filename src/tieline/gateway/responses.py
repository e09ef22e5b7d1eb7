"""What a Responses stream needs, whatever its engine leaves out.

Clients read `sequence_number` on every event, the indices of items and parts, and one id, model and time of the
response; llama.cpp sends none of these but the id, and calls an answer that was cut at its limit completed. An
event that lacks nothing is passed on as it came. Knows nothing of sockets or replicas.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tieline.gateway.errors import Refusal
from tieline.gateway.sse import TokenUsage

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


read: Final = msgspec.json.Decoder(Event).decode

PREAMBLE: Final = frozenset(
    {"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"}
)
END: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


class Shape:
    """The state of one stream as its client sees it."""

    __slots__ = ("_created", "_id", "_items", "_limit", "_model", "_number")

    def __init__(self, model: str, created: int, limit: int | None) -> None:
        """`limit`: output tokens at which an answer that is called completed was cut; None: believe the engine."""
        self._model, self._created, self._limit = model, created, limit
        self._number = -1
        self._id = ""
        self._items: dict[str, int] = {}

    def mend(self, event: Event, data: bytes, frame: bytes) -> bytes:
        """The event as the client gets it; `frame` itself where nothing is missing."""
        self._number += 1
        whole = event.response
        if whole is not None and whole.id:
            self._id = whole.id
        if event.sequence_number == self._number and (
            (whole is None and event.output_index is not None)
            or (whole is not None and whole.model == self._model and not self._cut(event))
        ):
            return frame
        plain: dict[str, Any] = msgspec.json.decode(data)
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
        whole["model"] = self._model
        for name, value in (
            ("object", "response"), ("created_at", self._created), ("output", []), ("error", None),
            ("incomplete_details", None), ("tools", []), ("tool_choice", "auto"), ("parallel_tool_calls", True),
        ):  # fmt: skip
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

    def failed(self, refusal: Refusal, request_id: str) -> bytes:
        """The event that ends a stream which cannot go on."""
        body = {
            "type": "response.failed",
            "sequence_number": self._number + 1,
            "response": {
                "id": self._id or f"resp_{request_id}",
                "object": "response",
                "created_at": self._created,
                "model": self._model,
                "status": "failed",
                "error": {"code": "server_error", "message": refusal.message},
                "output": [],
                "incomplete_details": None,
                "tools": [],
                "tool_choice": "auto",
                "parallel_tool_calls": True,
            },
        }
        return b"event: response.failed\ndata: " + _encode(body) + b"\n\n"


def cut(body: bytes, limit: int) -> bytes:
    """A whole answer of an engine that calls one which was cut at its limit completed."""
    plain = msgspec.json.decode(body)
    if plain.get("status") == "completed" and (plain.get("usage") or {}).get("output_tokens", 0) >= limit:
        plain["status"], plain["incomplete_details"] = "incomplete", {"reason": "max_output_tokens"}
        return _encode(plain)
    return body
