"""Where work with a deadline is handed in and fetched: files, batches and their runner, over one store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from tieline.gateway.batch.batches import Batches
from tieline.gateway.batch.files import Files
from tieline.gateway.batch.runner import Runner
from tieline.gateway.budgets.admit import KeyAccount
from tieline.gateway.errors import Refusal
from tieline.gateway.service import Service
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.http1 import RequestHead, presented_key
from tieline.store import BatchStore, StoreError

# Calls that use the disk at once; an upload among them holds its body in memory.
MAX_CALLS: Final = 32


class BatchApi:
    """One per process; `folder` is shared by all processes of a gateway. Raises StoreError."""

    def __init__(self, svc: Service, folder: Path) -> None:
        self.svc = svc
        store = BatchStore(folder / "batches.db")
        self.runner = Runner(svc, store, folder / "batches.lock")
        self._files = Files(svc, store)
        self._batches = Batches(svc, store, self.runner.wake)
        self._calls = asyncio.Semaphore(MAX_CALLS)

    def handles(self, path: str) -> bool:
        return path.startswith(("/v1/files", "/v1/batches")) and path.split("/", 3)[2] in ("files", "batches")

    def handle(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        """Called for every framed request of these paths."""
        svc = self.svc
        account = svc.book.identify(presented_key(head), connection.peer, svc.clock.now())
        if isinstance(account, Refusal):
            connection.refuse(account)
        elif account.key.role == "billing":
            connection.refuse(Refusal(403, "a key with role 'billing' reads usage only", "role_not_allowed"))
        elif (coding := head.get(b"content-encoding:")) is not None and coding.lower() != b"identity":
            connection.refuse(Refusal(415, "send the body without a content coding", "unsupported_content_encoding"))
        else:
            connection.run(self._answer(connection, head, body, account))

    async def _answer(self, connection: ClientConnection, head: RequestHead, body: bytes, account: KeyAccount) -> None:
        one = self._files if head.path.startswith("/v1/files") else self._batches
        try:
            async with self._calls:
                refusal = await one.answer(connection, head, body, account)
        except StoreError as error:
            self.svc.log.error("%s", error)
            refusal = Refusal(503, "files and batches cannot be read or written now", "unavailable", retry_after_s=5)
        if refusal is not None:
            connection.refuse(refusal)
