"""`/v1/files`: what batches read and write, kept on disk until it expires.

A file belongs to a project: every key of it sees the file, no other key does. Uploads are bounded by the size
of a body and by what a project may hold; result files are sent in pieces. Knows nothing of batches.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from tieline.gateway.budgets.admit import KeyAccount
from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.service import Service
from tieline.gateway.wire.client import WRITE_HIGH, ClientConnection
from tieline.gateway.wire.http1 import RequestHead
from tieline.store import BatchStore
from tieline.store.batches import StoredFile

# A project's files: what forty full uploads take, and their results.
MAX_FILES: Final = 10_000
MAX_HELD_BYTES: Final = 4 * 1024 * 1024 * 1024
# How long a file is kept where its owner says nothing, and the least and most they may say (OpenAI's numbers).
KEPT_S: Final = 30 * 86_400
MIN_KEPT_S: Final = 3_600
# A form has three or four fields; a part's head names one of them.
MAX_PARTS: Final = 16
MAX_PART_HEAD: Final = 4_096
MAX_NAME: Final = 512
MAX_PAGE: Final = 10_000

JSON: Final = b"content-type: application/json\r\n"
# Ids are words of ours; a client's cursor or path is looked up only where it could be one.
ID: Final = re.compile(r"(?:file|batch)[-_][0-9a-z_]{1,64}")

encode: Final = msgspec.json.Encoder().encode
_BOUNDARY = re.compile(rb'multipart/form-data\s*;.*?boundary=(?:"([\x20-\x7e]{1,70})"|([^\s;"]{1,70}))', re.I)
_DISPOSITION = re.compile(rb"content-disposition:[ \t]*form-data((?:[^\r\n]*))", re.I)
_PARAMETER = re.compile(rb';[ \t]*(name|filename)="((?:[^"\\]|\\.)*)"', re.I)

Work = Callable[[], Coroutine[Any, Any, None]]


class Files:
    """The paths under /v1/files."""

    def __init__(self, svc: Service, store: BatchStore) -> None:
        self.svc, self.store = svc, store

    async def answer(
        self, connection: ClientConnection, head: RequestHead, body: bytes, account: KeyAccount
    ) -> Refusal | None:
        """Answer the request; a refusal is left to the caller."""
        owner = owner_of(account)
        parts = head.path.removeprefix("/v1/files").strip("/").split("/")
        if parts == [""]:
            if head.method == "POST":
                return await self._upload(connection, head, body, owner)
            return await self._list(connection, head, owner) if head.method == "GET" else wrong_method("GET or POST")
        stored = await asyncio.to_thread(self.store.file, parts[0], owner) if ID.fullmatch(parts[0]) else None
        if stored is None or parts[1:] not in ([], ["content"]):
            return Refusal(404, f"no such file: {parts[0][:80]}", "file_not_found", param="file_id")
        if parts[1:] == ["content"]:
            return await self._content(connection, stored) if head.method == "GET" else wrong_method("GET")
        if head.method == "GET":
            connection.answer(200, JSON, encode(shown(stored)))
        elif head.method == "DELETE":
            await asyncio.to_thread(self.store.drop_file, stored.id, owner)
            connection.answer(200, JSON, encode({"id": stored.id, "object": "file", "deleted": True}))
        else:
            return wrong_method("GET or DELETE")
        return None

    async def _upload(self, connection: ClientConnection, head: RequestHead, body: bytes, owner: str) -> Refusal | None:
        form = await asyncio.to_thread(read_form, head.get(b"content-type:") or b"", body)
        if isinstance(form, Refusal):
            return form
        fields, name, content = form
        if fields.get("purpose") != "batch":
            return bad_request("'purpose' must be 'batch': files are taken for batches", "invalid_value", "purpose")
        if content is None:
            return bad_request("give the file's content in 'file'", "missing_required_parameter", "file")
        if not content:
            return bad_request("the file is empty", "invalid_value", "file")
        keep_s = KEPT_S
        if (given := fields.get("expires_after[seconds]")) is not None:
            if not given.isascii() or not given.isdigit() or not MIN_KEPT_S <= int(given[:10]) <= KEPT_S:
                where = "expires_after[seconds]"
                return bad_request(f"'{where}' must be {MIN_KEPT_S} to {KEPT_S}", "invalid_value", where)
            keep_s = int(given)
        count, size = await asyncio.to_thread(self.store.held, owner)
        if count >= MAX_FILES or size + len(content) > MAX_HELD_BYTES:
            return Refusal(
                429, "this project holds as many files as it may; delete some", "file_quota", should_retry=False
            )
        now = int(self.svc.clock.now().timestamp())
        file = StoredFile(new_id("file-"), owner, name, "batch", len(content), now, now + keep_s)
        await asyncio.to_thread(self.store.add_file, file, content)
        connection.answer(200, JSON, encode(shown(file)))
        return None

    async def _list(self, connection: ClientConnection, head: RequestHead, owner: str) -> Refusal | None:
        asked = page_of(head, MAX_PAGE)
        if isinstance(asked, Refusal):
            return asked
        query, after, limit = asked
        rows = await asyncio.to_thread(
            self.store.files,
            owner,
            query.get("purpose", ""),
            after,
            limit + 1,
            oldest_first=query.get("order") == "asc",
        )
        connection.answer(200, JSON, encode(page([shown(row) for row in rows], limit)))
        return None

    async def _content(self, connection: ClientConnection, file: StoredFile) -> Refusal | None:
        """In pieces, at the client's pace: a result file may be larger than what this process should hold."""
        connection.begin_stream(b"content-type: application/octet-stream\r\n", b"")
        offset = 0
        while offset < file.size and connection.transport is not None:
            if connection.transport.get_write_buffer_size() > WRITE_HIGH:
                await asyncio.sleep(0.02)
                continue
            piece = await asyncio.to_thread(self.store.piece, file.id, offset)
            if not piece:  # deleted meanwhile: no clean end for half a file
                connection.drop()
                return None
            offset += len(piece)
            connection.send(piece)
        connection.finish_stream(b"")
        return None


# --- what batches use too ------------------------------------------------------------


def owner_of(account: KeyAccount) -> str:
    return f"{account.tenant.id}/{account.key.project}"


def new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


def wrong_method(allowed: str) -> Refusal:
    return Refusal(405, f"use {allowed} here", "method_not_allowed")


def page_of(head: RequestHead, most: int) -> tuple[dict[str, str], str, int] | Refusal:
    """(query, after, limit) of a list."""
    query = dict(
        parse_qsl(head.target.partition("?")[2], keep_blank_values=True, max_num_fields=16)
        if head.target.count("&") < 16
        else []
    )
    given = query.get("limit", str(min(most, 100)))
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:10]) <= most:
        return bad_request(f"'limit' must be 1 to {most}", "invalid_value", "limit")
    after = query.get("after", "")
    if after and ID.fullmatch(after) is None:
        return bad_request("'after' must be an id of the page before", "invalid_value", "after")
    return query, after, int(given)


def page(rows: list[dict[str, object]], limit: int) -> dict[str, object]:
    """A page in OpenAI's shape, from one row more than it holds."""
    data = rows[:limit]
    ids = [row["id"] for row in data]
    return {
        "object": "list",
        "data": data,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": len(rows) > limit,
    }


def shown(file: StoredFile) -> dict[str, object]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created,
        "expires_at": file.expires,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


# --- forms -------------------------------------------------------------------------------


def read_form(content_type: bytes, body: bytes) -> tuple[dict[str, str], str, bytes | None] | Refusal:
    """(fields, the file's name, its content) of a multipart form (RFC 7578), or what is wrong with it."""
    match = _BOUNDARY.match(content_type)
    if match is None:
        return Refusal(415, "send the file as multipart/form-data with a boundary", "unsupported_media_type")
    line = b"--" + (match[1] or match[2])
    if not body.startswith(line):
        return bad_request("the form does not begin with its boundary", "invalid_form")
    fields: dict[str, str] = {}
    name, content = "", None
    at = len(line)
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", at):
            return fields, name, content
        if not body.startswith(b"\r\n", at):
            break
        blank = body.find(b"\r\n\r\n", at, at + MAX_PART_HEAD)
        end = body.find(b"\r\n" + line, blank + 4)
        if blank < 0 or end < 0:
            break
        disposition = _DISPOSITION.search(body, at, blank + 2)
        given = (
            {key.lower(): value for key, value in _PARAMETER.findall(disposition[1])} if disposition is not None else {}
        )
        value = body[blank + 4 : end]
        try:
            field = given[b"name"].decode()
            if field == "file":
                name, content = given.get(b"filename", b"file").decode()[:MAX_NAME], value
            else:
                fields[field] = value[:MAX_NAME].decode()
        except (KeyError, UnicodeDecodeError):
            return bad_request("a part of the form has no name, or one that is not UTF-8", "invalid_form")
        at = end + 2 + len(line)
    return bad_request("the form is cut short or malformed", "invalid_form")
