"""Uploaded files and batches of requests, on disk until they expire.

Knows nothing of what a line asks or an answer says: a file is bytes with an owner, a batch is lines that have a
result or have none yet, and `detail` is the gateway's own JSON. Several processes of one gateway share the file.
What a call has returned survives a power cut (WAL with `synchronous=FULL`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tieline.store.sqlite import StoreError

# Result files are written and read in pieces of this size, so that none of them is ever whole in memory.
PIECE: Final = 1024 * 1024

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS file (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT    NOT NULL UNIQUE,
    owner   TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    purpose TEXT    NOT NULL,
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    body    BLOB    NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS file_owner ON file (owner, seq);
CREATE TABLE IF NOT EXISTS batch (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    owner      TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    endpoint   TEXT    NOT NULL,
    input_file TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    total      INTEGER NOT NULL DEFAULT 0,
    completed  INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    detail     BLOB    NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS batch_owner ON batch (owner, seq);
CREATE INDEX IF NOT EXISTS batch_status ON batch (status);
CREATE TABLE IF NOT EXISTS line (
    batch     TEXT    NOT NULL,
    number    INTEGER NOT NULL,
    custom_id TEXT    NOT NULL,
    body      BLOB    NOT NULL,
    tries     INTEGER NOT NULL DEFAULT 0,
    ok        INTEGER,
    result    BLOB,
    PRIMARY KEY (batch, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS line_open ON line (batch, number) WHERE ok IS NULL;
"""

ACTIVE: Final = ("validating", "in_progress", "finalizing", "cancelling")
_OPEN: Final = ",".join(f"'{one}'" for one in ACTIVE)
_FILE: Final = "id, owner, name, purpose, size, created, expires"
_BATCH: Final = "id, owner, key_id, endpoint, input_file, status, created, expires, total, completed, failed, detail"


@dataclass(frozen=True, slots=True)
class StoredFile:
    id: str
    owner: str
    name: str
    purpose: str
    size: int
    created: int  # seconds since 1970, as the API shows them
    expires: int


@dataclass(frozen=True, slots=True)
class StoredBatch:
    id: str
    owner: str
    key_id: str
    endpoint: str
    input_file: str
    status: str
    created: int
    expires: int
    total: int
    completed: int
    failed: int
    detail: bytes


@dataclass(frozen=True, slots=True)
class StoredLine:
    number: int
    custom_id: str
    body: bytes
    tries: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one line: its line in the output file (`ok`) or in the error file."""

    batch: str
    number: int
    ok: bool
    text: bytes


class BatchStore:
    """Any thread may call; calls of one process wait for each other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA busy_timeout=5000")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot open the batches at {path}: {error}; check that it is writable") from error

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreError(f"cannot use the batches at {self.path}: {error}") from error
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _read(self, sql: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"cannot read the batches at {self.path}: {error}") from error

    # --- files ------------------------------------------------------------------

    def add_file(self, file: StoredFile, body: bytes) -> None:
        with self._use() as db:
            db.execute(
                "INSERT INTO file (id, owner, name, purpose, size, created, expires, body) VALUES (?,?,?,?,?,?,?,?)",
                (file.id, file.owner, file.name, file.purpose, file.size, file.created, file.expires, body),
            )

    def file(self, id_: str, owner: str) -> StoredFile | None:
        rows = self._read(f"SELECT {_FILE} FROM file WHERE id = ? AND owner = ?", (id_, owner))
        return StoredFile(*rows[0]) if rows else None  # type: ignore[arg-type]

    def files(self, owner: str, purpose: str, after: str, limit: int, *, oldest_first: bool) -> list[StoredFile]:
        """A page of an owner's files; `after` is the id of the page before's last one, or empty."""
        sign, order = (">", "ASC") if oldest_first else ("<", "DESC")
        rows = self._read(
            f"SELECT {_FILE} FROM file WHERE owner = ? AND (? = '' OR purpose = ?) AND "
            f"(? = '' OR seq {sign} (SELECT seq FROM file WHERE id = ?)) ORDER BY seq {order} LIMIT ?",
            (owner, purpose, purpose, after, after, limit),
        )
        return [StoredFile(*row) for row in rows]  # type: ignore[arg-type]

    def held(self, owner: str) -> tuple[int, int]:
        """(files, bytes) of an owner."""
        ((count, size),) = self._read("SELECT count(*), coalesce(sum(size), 0) FROM file WHERE owner = ?", (owner,))
        return int(count), int(size)  # type: ignore[call-overload]

    def piece(self, id_: str, offset: int) -> bytes:
        """Up to PIECE bytes of a file's content; empty at its end, or where it is gone."""
        with self._lock:
            try:
                row = self._db.execute("SELECT seq, size FROM file WHERE id = ?", (id_,)).fetchone()
                if row is None or offset >= row[1]:
                    return b""
                with self._db.blobopen("file", "body", row[0], readonly=True) as blob:
                    blob.seek(offset)
                    return blob.read(PIECE)
            except sqlite3.Error as error:
                raise StoreError(f"cannot read the batches at {self.path}: {error}") from error

    def content(self, id_: str) -> bytes:
        rows = self._read("SELECT body FROM file WHERE id = ?", (id_,))
        return rows[0][0] if rows else b""  # type: ignore[return-value]

    def drop_file(self, id_: str, owner: str) -> bool:
        with self._use() as db:
            return db.execute("DELETE FROM file WHERE id = ? AND owner = ?", (id_, owner)).rowcount == 1

    # --- batches ------------------------------------------------------------------

    def add_batch(self, batch: StoredBatch) -> None:
        with self._use() as db:
            db.execute(
                f"INSERT INTO batch ({_BATCH}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    batch.id, batch.owner, batch.key_id, batch.endpoint, batch.input_file, batch.status, batch.created,
                    batch.expires, batch.total, batch.completed, batch.failed, batch.detail,
                ),
            )  # fmt: skip

    def batch(self, id_: str, owner: str) -> StoredBatch | None:
        rows = self._read(f"SELECT {_BATCH} FROM batch WHERE id = ? AND owner = ?", (id_, owner))
        return StoredBatch(*rows[0]) if rows else None  # type: ignore[arg-type]

    def batches(self, owner: str, after: str, limit: int) -> list[StoredBatch]:
        """A page of an owner's batches, newest first."""
        rows = self._read(
            f"SELECT {_BATCH} FROM batch WHERE owner = ? AND "
            "(? = '' OR seq < (SELECT seq FROM batch WHERE id = ?)) ORDER BY seq DESC LIMIT ?",
            (owner, after, after, limit),
        )
        return [StoredBatch(*row) for row in rows]  # type: ignore[arg-type]

    def active(self) -> list[StoredBatch]:
        """All that is not over, the earliest deadline first."""
        rows = self._read(f"SELECT {_BATCH} FROM batch WHERE status IN ({_OPEN}) ORDER BY expires, seq", ())
        return [StoredBatch(*row) for row in rows]  # type: ignore[arg-type]

    def turn(self, id_: str, before: Iterable[str], status: str, detail: bytes) -> bool:
        """Change a batch's status where it is still one of `before`."""
        allowed = tuple(before)
        marks = ",".join("?" * len(allowed))
        with self._use() as db:
            sql = f"UPDATE batch SET status = ?, detail = ? WHERE id = ? AND status IN ({marks})"
            return db.execute(sql, (status, detail, id_, *allowed)).rowcount == 1

    def begin(self, id_: str, lines: Sequence[tuple[str, bytes]], detail: bytes) -> bool:
        """Validated: its (custom_id, body) lines and its status in one step, so that a crash between is neither."""
        with self._use() as db:
            sql = (
                "UPDATE batch SET status = 'in_progress', total = ?, detail = ? WHERE id = ? AND status = 'validating'"
            )
            if db.execute(sql, (len(lines), detail, id_)).rowcount != 1:
                return False
            db.executemany(
                "INSERT INTO line (batch, number, custom_id, body) VALUES (?, ?, ?, ?)",
                ((id_, number, custom_id, body) for number, (custom_id, body) in enumerate(lines)),
            )
            return True

    def waiting(self, id_: str, after: int, limit: int) -> list[StoredLine]:
        """Lines beyond number `after` that have no result."""
        rows = self._read(
            "SELECT number, custom_id, body, tries FROM line WHERE batch = ? AND number > ? AND ok IS NULL "
            "ORDER BY number LIMIT ?",
            (id_, after, limit),
        )
        return [StoredLine(*row) for row in rows]  # type: ignore[arg-type]

    def land(self, results: Sequence[Result]) -> None:
        """Results and their counts; a line that has one keeps it."""
        with self._use() as db:
            for one in results:
                sql = "UPDATE line SET ok = ?, result = ? WHERE batch = ? AND number = ? AND ok IS NULL"
                if db.execute(sql, (int(one.ok), one.text, one.batch, one.number)).rowcount:
                    name = "completed" if one.ok else "failed"
                    db.execute(f"UPDATE batch SET {name} = {name} + 1 WHERE id = ?", (one.batch,))

    def again(self, lines: Iterable[tuple[str, int]]) -> None:
        """These (batch, number) were tried in vain: their next try is another one."""
        with self._use() as db:
            db.executemany("UPDATE line SET tries = tries + 1 WHERE batch = ? AND number = ?", lines)

    def finish(
        self, id_: str, status: str, detail: bytes, output: StoredFile | None, errors: StoredFile | None
    ) -> bool:
        """Gather the results into files and end the batch, in one step; None: no such file. Sizes are measured
        here."""
        with self._use() as db:
            sql = f"UPDATE batch SET status = ?, detail = ? WHERE id = ? AND status IN ({_OPEN})"
            if db.execute(sql, (status, detail, id_)).rowcount != 1:
                return False
            for ok, file in ((1, output), (0, errors)):
                if file is None:
                    continue
                where = "FROM line WHERE batch = ? AND ok = ?"
                (size,) = db.execute(f"SELECT coalesce(sum(length(result)), 0) {where}", (id_, ok)).fetchone()
                row = db.execute(
                    "INSERT INTO file (id, owner, name, purpose, size, created, expires, body) "
                    "VALUES (?,?,?,?,?,?,?,zeroblob(?))",
                    (file.id, file.owner, file.name, file.purpose, size, file.created, file.expires, size),
                ).lastrowid
                assert row is not None
                with db.blobopen("file", "body", row) as blob:
                    for (text,) in db.execute(f"SELECT result {where} ORDER BY number", (id_, ok)):
                        blob.write(text)
            db.execute("DELETE FROM line WHERE batch = ?", (id_,))
            return True

    def sweep(self, now: int, older: int) -> None:
        """Forget files that have expired and batches that ended before `older`."""
        with self._use() as db:
            db.execute("DELETE FROM file WHERE expires <= ?", (now,))
            db.execute(f"DELETE FROM batch WHERE expires <= ? AND status NOT IN ({_OPEN})", (older,))

    def close(self) -> None:
        with self._lock:
            self._db.close()
