"""Responses and conversations that a later request goes on from: files in the gateway's folder, for all its processes.

One file each, written whole and renamed, named by an id that nobody can guess and owned by a tenant's project. Bounded
by age and by number; what is not there any more is said to be gone, never taken for empty.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tieline.gateway.wire.decoding import read_json

# OpenAI keeps responses for 30 days; a conversation is kept for as long after its last turn.
KEPT_S: Final = 30 * 86_400.0
MAX_FILES: Final = 100_000
MAX_BYTES: Final = 16 * 1024 * 1024
_SWEEP_EVERY: Final = 1_000
_ID: Final = re.compile(r"(resp|conv)_[0-9a-f]{8,64}")


class StoredResponse(msgspec.Struct):
    """`response`: as its client saw it; `items`: the conversation up to its end."""

    id: str
    owner: str
    items: list[dict[str, Any]]
    response: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    created: int = 0


class Shelf:
    """The folder of one gateway."""

    def __init__(self, folder: Path, now_s: Callable[[], float]) -> None:
        self.folder, self._now_s = folder, now_s
        self._written = 0

    def get(self, id_: str, owner: str) -> StoredResponse | None:
        """None: there is none, or it is somebody else's."""
        if _ID.fullmatch(id_) is None:
            return None
        path = self.folder / f"{id_}.json"
        try:
            if self._now_s() - path.stat().st_mtime > KEPT_S:
                return None
            stored = read_json(path.read_bytes(), StoredResponse)
        except (OSError, msgspec.DecodeError):
            return None
        return stored if stored.owner == owner else None

    def put(self, response: StoredResponse) -> bool:
        """False: too large to be kept, or the disk would not take it; its client is told so by `store`."""
        text = msgspec.json.encode(response)
        if len(text) > MAX_BYTES:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._written % _SWEEP_EVERY == 0 and not self._sweep():
                return False
            self._written += 1
            aside = self.folder / f"{response.id}.{secrets.token_hex(4)}.new"
            aside.write_bytes(text)
            aside.replace(self.folder / f"{response.id}.json")
        except OSError:
            return False
        return True

    def delete(self, id_: str, owner: str) -> bool:
        if self.get(id_, owner) is None:
            return False
        (self.folder / f"{id_}.json").unlink(missing_ok=True)
        return True

    def _sweep(self) -> bool:
        """Take away what is too old. False: there is no room for more."""
        count, now = 0, self._now_s()
        for path in self.folder.iterdir():
            try:
                if now - path.stat().st_mtime > KEPT_S:
                    path.unlink(missing_ok=True)
                else:
                    count += 1
            except OSError:
                continue
        return count < MAX_FILES


def new_conversation(owner: str, items: list[dict[str, Any]], metadata: dict[str, Any], created: int) -> StoredResponse:
    return StoredResponse(f"conv_{secrets.token_hex(16)}", owner, items, None, metadata, created)
