"""The outbox: what has happened here and is not yet acknowledged there.

On disk with `synchronous=FULL`, so that what `put` returned survives a power cut. An item leaves only when
`done` is called, and that is called when the store, not the transport, has acknowledged it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tieline.store.sqlite import StoreError

# At 100 records of about 400 bytes per site and 5 minutes, this is more than three months of a lost link.
MAX_ITEMS = 2_500_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    key  TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL
) STRICT
"""


class Outbox:
    """A bounded first-in-first-out queue on disk. One process owns one outbox."""

    def __init__(self, path: Path, max_items: int = MAX_ITEMS) -> None:
        self.path, self.max_items = path, max_items
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA busy_timeout=5000")
            self._db.execute(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot open the outbox at {path}: {error}; check that it is writable") from error

    def put(self, items: Iterable[tuple[str, bytes]]) -> int:
        """Store (key, body) pairs in one durable transaction; a key already waiting is kept as it is.

        Raises StoreError when the disk refuses or the bound is reached; then nothing was taken.
        """
        rows = list(items)
        if not rows:
            return 0
        if len(self) + len(rows) > self.max_items:
            raise StoreError(f"outbox {self.path} holds its bound of {self.max_items} items; restore the link")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                cursor = self._db.executemany("INSERT OR IGNORE INTO item (key, body) VALUES (?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            return cursor.rowcount
        except sqlite3.Error as error:
            raise StoreError(f"cannot write to the outbox at {self.path}: {error}") from error

    def take(self, limit: int = 256) -> list[tuple[int, str, bytes]]:
        """The oldest (id, key, body), still kept until `done`."""
        return self._db.execute("SELECT id, key, body FROM item ORDER BY id LIMIT ?", (limit,)).fetchall()

    def done(self, ids: Iterable[int]) -> None:
        """Forget what the store has acknowledged."""
        self._db.executemany("DELETE FROM item WHERE id = ?", [(one,) for one in ids])

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM item").fetchone()
        return int(count)

    def close(self) -> None:
        self._db.close()
