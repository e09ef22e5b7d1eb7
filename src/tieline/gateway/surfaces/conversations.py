"""What is kept of responses and conversations, read and changed by their paths, as OpenAI's clients do.

A conversation's items have ids, so that one can be taken away again. Lists are pages: newest first unless `order=asc`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.surfaces import responses
from tieline.gateway.surfaces.kept import Shelf, StoredResponse, new_conversation
from tieline.gateway.wire import loose
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.decoding import read_json
from tieline.gateway.wire.http1 import JSON_HEADERS, RequestHead

MAX_PAGE: Final = 100
PAGE: Final = 20
PATHS: Final = ("/v1/responses/", "/v1/conversations")
# What the ids of items begin with.
_PREFIXES: Final = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}

Told = dict[str, Any] | Refusal


def as_items(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items as a conversation keeps them: each with an id, a message's text in parts."""
    return [_as_item(one) for one in given]


def _as_item(given: dict[str, Any]) -> dict[str, Any]:
    kind = str(given.get("type") or "message")
    item = given | {"type": kind}
    if not isinstance(item.get("id"), str) or not item["id"]:
        item["id"] = f"{_PREFIXES.get(kind, 'item')}_{secrets.token_hex(12)}"
    if kind == "message":
        item.setdefault("status", "completed")
        if isinstance(item.get("content"), str):
            part: dict[str, Any] = {"type": "input_text", "text": item["content"]}
            if item.get("role") == "assistant":
                part |= {"type": "output_text", "annotations": []}
            item["content"] = [part]
    return item


class Conversations:
    """The paths below /v1/responses/{id} and /v1/conversations of one process."""

    def __init__(self, shelf: Shelf, now_s: Callable[[], float]) -> None:
        self.shelf, self._now_s = shelf, now_s

    def handle(self, connection: ClientConnection, head: RequestHead, body: bytes, owner: str) -> None:
        """Read, begin, change or take away what is this owner's."""
        method = "GET" if head.method == "HEAD" else head.method
        answer = self._told(method, head.path.split("/")[2:], head.target.partition("?")[2], body, owner)
        if isinstance(answer, Refusal):
            connection.refuse(answer)
        else:
            connection.answer(200, JSON_HEADERS, loose.encode(answer), head_only=head.method == "HEAD")

    def _told(self, method: str, words: list[str], query: str, body: bytes, owner: str) -> Told:
        """`words`: responses | conversations, id, what of it, and which of those."""
        kind, id_ = words[0], words[1] if len(words) > 1 else ""
        if kind == "conversations" and not id_:
            return self._begin(owner, body) if method == "POST" else _wrong(method)
        stored = self.shelf.get(id_, owner) if id_ else None
        if stored is None or (kind == "responses") != (stored.response is not None):
            return Refusal(404, f"there is no {kind[:-1]} {id_[:80]!r} here", "not_found")
        if len(words) == 2:
            return self._one(method, kind, stored, body)
        if words[2] != ("input_items" if kind == "responses" else "items") or len(words) > 4:
            return Refusal(404, f"a {kind[:-1]} has no {'/'.join(words[2:])[:80]!r}", "not_found")
        return self._items(method, kind, stored, words[3:], query, body)

    def _items(
        self, method: str, kind: str, stored: StoredResponse, of: list[str], query: str, body: bytes
    ) -> Told:  # fmt: skip
        if of:
            return self._item(method, stored, of[0])
        if method == "POST" and kind == "conversations":
            return self._add(stored, body)
        return _listed(stored, query) if method == "GET" else _wrong(method)

    def _one(self, method: str, kind: str, stored: StoredResponse, body: bytes) -> Told:
        if method == "DELETE":
            self.shelf.delete(stored.id, stored.owner)
            return {"id": stored.id, "object": f"{kind[:-1]}.deleted", "deleted": True}
        if method == "POST" and kind == "conversations":
            plain = _object(body)
            if isinstance(plain, Refusal):
                return plain
            stored = msgspec.structs.replace(stored, metadata=plain.get("metadata") or {})
            return conversation(stored) if self.shelf.put(stored) else _full()
        return stored.response or conversation(stored) if method == "GET" else _wrong(method)

    def _begin(self, owner: str, body: bytes) -> Told:
        plain = _object(body)
        given = plain if isinstance(plain, Refusal) else responses.items(plain.get("items") or [])
        if isinstance(plain, Refusal) or isinstance(given, Refusal):
            return given if isinstance(given, Refusal) else plain
        stored = new_conversation(owner, as_items(given), plain.get("metadata") or {}, int(self._now_s()))
        return conversation(stored) if self.shelf.put(stored) else _full()

    def _add(self, stored: StoredResponse, body: bytes) -> Told:
        plain = _object(body)
        given = plain if isinstance(plain, Refusal) else responses.items(plain.get("items"))
        if isinstance(given, Refusal):
            return given
        added = as_items(given)
        stored = msgspec.structs.replace(stored, items=[*stored.items, *added])
        return _page(added, more=False) if self.shelf.put(stored) else _full()

    def _item(self, method: str, stored: StoredResponse, id_: str) -> Told:
        item = next((one for one in stored.items if one.get("id") == id_), None)
        if item is None or stored.response is not None:
            return Refusal(404, f"there is no item {id_[:80]!r} here", "not_found")
        if method == "DELETE":
            stored = msgspec.structs.replace(stored, items=[one for one in stored.items if one is not item])
            return conversation(stored) if self.shelf.put(stored) else _full()
        return item if method == "GET" else _wrong(method)


def conversation(stored: StoredResponse) -> dict[str, Any]:
    return {"id": stored.id, "object": "conversation", "created_at": stored.created, "metadata": stored.metadata}


def _listed(stored: StoredResponse, query: str) -> Told:
    """A page of its items; of a response's, those that it was asked with."""
    asked = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    limit = asked.get("limit", str(PAGE))
    if not limit.isdecimal() or not 1 <= int(limit[:4]) <= MAX_PAGE:
        return bad_request(f"'limit' must be between 1 and {MAX_PAGE}", "invalid_value", "limit")
    if asked.get("order", "desc") not in ("asc", "desc"):
        return bad_request("'order' is asc or desc", "invalid_value", "order")
    rows = stored.items[: len(stored.items) - len((stored.response or {}).get("output") or ())]
    if asked.get("order") != "asc":
        rows = rows[::-1]
    if "after" in asked:
        at = next((number for number, one in enumerate(rows) if one.get("id") == asked["after"]), None)
        if at is None:
            return bad_request("'after' must be the id of an item", "invalid_value", "after")
        rows = rows[at + 1 :]
    return _page(rows[: int(limit)], more=len(rows) > int(limit))


def _page(rows: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    first, last = (rows[0].get("id"), rows[-1].get("id")) if rows else (None, None)
    return {"object": "list", "data": rows, "has_more": more, "first_id": first, "last_id": last}


def _object(body: bytes) -> Told:
    try:
        plain = read_json(body) if body else {}
    except msgspec.DecodeError as error:
        return bad_request(f"the body is not a JSON object: {error}", "invalid_json")
    return plain if isinstance(plain, dict) else bad_request("the body is not a JSON object", "invalid_json")


def _wrong(method: str) -> Refusal:
    return Refusal(405, f"{method} is not offered here", "method_not_allowed")


def _full() -> Refusal:
    return Refusal(503, "conversations cannot be kept now", "unavailable", retry_after_s=5)
