"""Small documents that several machines share: each a name, a version that counts up, and its bytes.

Whoever writes names the version that was read, so that of two who change a document at once one reads it again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tieline.store.database import StoreError, open_database
from tieline.store.lead.fence import Fence, refuse_older
from tieline.store.place import FILE, StorePlace
from tieline.store.sqlite import KIND, RecordTables

TIMEOUT_S: Final = 5.0
# A document is read and written whole.
MAX_BYTES: Final = 16 << 20


class KeptDocument(NamedTuple):
    """`version` 0: there is none yet."""

    version: int
    body: bytes


NONE: Final = KeptDocument(0, b"")


class Kept:
    """The documents of one store, over a connection of their own. Everything raises StoreError."""

    def __init__(self, tables: RecordTables, blob: str = "BLOB") -> None:
        self._tables = tables
        with tables.write():
            columns = f"name text PRIMARY KEY, version bigint NOT NULL, body {blob} NOT NULL"
            tables.run(f"CREATE TABLE IF NOT EXISTS kept ({columns})")

    def read(self, name: str) -> KeptDocument:
        rows = self._tables.rows("SELECT version, body FROM kept WHERE name = ?", (name,))
        return next((KeptDocument(int(version), bytes(body)) for version, body in rows), NONE)

    def write(self, name: str, version: int, body: bytes, fence: Fence | None = None) -> bool:
        """False where it is not that version any more. Raises FencedError where `fence` is older than who leads."""
        if len(body) > MAX_BYTES:
            raise StoreError(f"{name} has {len(body):,} bytes, at most {MAX_BYTES:,} are kept")
        with self._tables.write():
            if fence is not None:
                refuse_older(self._tables, fence)
            if version == 0:
                sql = "INSERT INTO kept (name, version, body) VALUES (?, 1, ?) ON CONFLICT (name) DO NOTHING"
                return self._tables.run(sql, (name, body)) == 1
            sql = "UPDATE kept SET version = version + 1, body = ? WHERE name = ? AND version = ?"
            return self._tables.run(sql, (body, name, version)) == 1

    def put(self, name: str, body: bytes, fence: Fence) -> None:
        """Whatever stood there, by its one writer, who leads. Raises FencedError where another does."""
        with self._tables.write():
            refuse_older(self._tables, fence)
            sql = "INSERT INTO kept (name, version, body) VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET"
            self._tables.run(f"{sql} version = kept.version + 1, body = excluded.body", (name, body))

    def drop(self, name: str, fence: Fence) -> None:
        """The same for one that is needed no more."""
        with self._tables.write():
            refuse_older(self._tables, fence)
            self._tables.run("DELETE FROM kept WHERE name = ?", (name,))

    def named(self, prefix: str) -> dict[str, bytes]:
        """All whose names begin so, by what follows."""
        sql = "SELECT name, body FROM kept WHERE substr(name, 1, ?) = ? ORDER BY name"
        rows = self._tables.rows(sql, (len(prefix), prefix))
        return {str(name)[len(prefix) :]: bytes(body) for name, body in rows}

    def close(self) -> None:
        self._tables.close()


def open_kept(place: StorePlace) -> Kept:
    """Of the store at `place`. Raises StoreError."""
    if place.url is None:
        return Kept(open_database(place.folder / FILE, KIND))
    from tieline.store.postgres import open_server  # not there in the light install

    return Kept(open_server(place.url, place.password, KIND, timeout_s=TIMEOUT_S), "bytea")
