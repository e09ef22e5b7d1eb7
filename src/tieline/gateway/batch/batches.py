"""`/v1/batches`: many requests with a deadline instead of a client that waits, at half the tariff.

Here: the paths, and what a batch looks like to its owner. `batchrun` carries them out. A batch belongs to a
project and runs on the key that made it: that key's models, regions, limits and budget hold for every line.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

import msgspec

from tieline.gateway.batch.files import ID, JSON, encode, new_id, owner_of, page, page_of, wrong_method
from tieline.gateway.budgets.admit import KeyAccount
from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.service import Service
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.decoding import json_reader
from tieline.gateway.wire.http1 import RequestHead
from tieline.store import BatchStore
from tieline.store.batches import ACTIVE, StoredBatch

ENDPOINTS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/rerank")
# OpenAI's numbers, so that what its documentation promises holds here.
MAX_PAGE: Final = 100
MAX_METADATA: Final = 16
# Batches of one project that are not over; the next one is taken when one of them is.
MAX_ACTIVE: Final = 100

_WINDOW: Final = re.compile(r"([1-9]|1[0-9]|2[0-4])h")


class Detail(msgspec.Struct, omit_defaults=True):
    """What the store keeps for us: a batch's own data that nothing is searched by."""

    window: str = "24h"
    metadata: dict[str, str] | None = None
    errors: list[dict[str, object]] = []
    output_file: str | None = None
    error_file: str | None = None
    stamps: dict[str, int] = {}


class _Asked(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


_read_detail: Final = json_reader(Detail)
_asked: Final = json_reader(_Asked)


def batch_detail(batch: StoredBatch) -> Detail:
    """What the store keeps of it; where that cannot be read, a batch without detail can still be ended and shown."""
    try:
        return _read_detail(batch.detail)
    except msgspec.DecodeError:
        return Detail()


class Batches:
    """The paths under /v1/batches. `wake` tells the runner of this process that there is something to do."""

    def __init__(self, svc: Service, store: BatchStore, wake: Callable[[], None]) -> None:
        self.svc, self.store, self.wake = svc, store, wake

    async def answer(
        self, connection: ClientConnection, head: RequestHead, body: bytes, account: KeyAccount
    ) -> Refusal | None:
        """Answer the request; a refusal is left to the caller."""
        owner = owner_of(account)
        parts = head.path.removeprefix("/v1/batches").strip("/").split("/")
        if parts == [""]:
            if head.method == "POST":
                return await self._create(connection, body, account)
            return await self._list(connection, head, owner) if head.method == "GET" else wrong_method("GET or POST")
        batch = await asyncio.to_thread(self.store.batch, parts[0], owner) if ID.fullmatch(parts[0]) else None
        if batch is None or parts[1:] not in ([], ["cancel"]):
            return Refusal(404, f"no such batch: {parts[0][:80]}", "batch_not_found", param="batch_id")
        if parts[1:] == ["cancel"]:
            return await self._cancel(connection, batch) if head.method == "POST" else wrong_method("POST")
        if head.method != "GET":
            return wrong_method("GET")
        connection.answer(200, JSON, encode(shown(batch)))
        return None

    async def _create(self, connection: ClientConnection, body: bytes, account: KeyAccount) -> Refusal | None:
        try:
            asked = _asked(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return bad_request(f"the body is not a batch: {error}", "invalid_request")
        if asked.endpoint not in ENDPOINTS:
            return bad_request(f"'endpoint' must be one of {', '.join(ENDPOINTS)}", "invalid_value", "endpoint")
        window = _WINDOW.fullmatch(asked.completion_window)
        if window is None:
            where = "completion_window"
            return bad_request(f"'{where}' must be '24h', or fewer whole hours", "invalid_value", where)
        metadata = asked.metadata or {}
        if len(metadata) > MAX_METADATA or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
            return bad_request("'metadata' takes 16 pairs of 64 and 512 characters", "invalid_value", "metadata")
        owner = owner_of(account)
        file = None
        if ID.fullmatch(asked.input_file_id):
            file = await asyncio.to_thread(self.store.file, asked.input_file_id, owner)
        if file is None or file.purpose != "batch":
            where = "input_file_id"
            return bad_request(f"'{where}' names no file uploaded for a batch", "file_not_found", where)
        active = [one for one in await asyncio.to_thread(self.store.active) if one.owner == owner]
        if len(active) >= MAX_ACTIVE:
            return Refusal(
                429, f"{MAX_ACTIVE} batches of this project are not over yet", "batch_limit", retry_after_s=60
            )
        now = int(self.svc.clock.now().timestamp())
        batch = StoredBatch(
            new_id("batch_"), owner, account.key.id, asked.endpoint, file.id, "validating", now,
            now + int(window[1]) * 3_600, 0, 0, 0, encode(Detail(asked.completion_window, asked.metadata)),
        )  # fmt: skip
        await asyncio.to_thread(self.store.add_batch, batch)
        self.wake()
        connection.answer(200, JSON, encode(shown(batch)))
        return None

    async def _list(self, connection: ClientConnection, head: RequestHead, owner: str) -> Refusal | None:
        asked = page_of(head, MAX_PAGE)
        if isinstance(asked, Refusal):
            return asked
        _, after, limit = asked
        rows = await asyncio.to_thread(self.store.batches, owner, after, limit + 1)
        connection.answer(200, JSON, encode(page([shown(row) for row in rows], limit)))
        return None

    async def _cancel(self, connection: ClientConnection, batch: StoredBatch) -> Refusal | None:
        if batch.status not in ACTIVE:
            return Refusal(409, f"the batch is {batch.status}; there is nothing to cancel", "batch_over")
        detail = batch_detail(batch)
        detail.stamps.setdefault("cancelling_at", int(self.svc.clock.now().timestamp()))
        await asyncio.to_thread(self.store.turn, batch.id, ("validating", "in_progress"), "cancelling", encode(detail))
        self.wake()
        stored = await asyncio.to_thread(self.store.batch, batch.id, batch.owner)
        connection.answer(200, JSON, encode(shown(stored or batch)))
        return None


def shown(batch: StoredBatch) -> dict[str, object]:
    detail = batch_detail(batch)
    names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "input_file_id": batch.input_file,
        "completion_window": detail.window,
        "status": batch.status,
        "errors": {"object": "list", "data": detail.errors} if detail.errors else None,
        "output_file_id": detail.output_file,
        "error_file_id": detail.error_file,
        "created_at": batch.created,
        "expires_at": batch.expires,
        **{f"{name}_at": detail.stamps.get(f"{name}_at") for name in names},
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": detail.metadata,
    }
