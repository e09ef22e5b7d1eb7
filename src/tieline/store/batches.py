"""Uploaded files and batches of requests, on disk until they expire.

Knows nothing of what a line asks or an answer says: a file is bytes with an owner, a batch is lines that have a
result or have none yet, and `detail` is the gateway's own JSON. Several processes of one gateway share the file.
What a call has returned survives a power cut (WAL with `synchronous=FULL`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tieline.store.database import REAL, Disk, Kind, Loss, Row, Value, open_database

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

KIND: Final = Kind(
    name="batches",
    application_id=0x746C6261,  # "tlba"
    steps=(_SCHEMA,),
    last="(SELECT max(seq) FROM batch)",
)

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

    def __init__(self, path: Path, *, disk: Disk = REAL) -> None:
        self.path = path
        self._db = open_database(path, KIND, disk=disk)

    def untold(self) -> list[Loss]:
        """What was acknowledged and lost, and is not on record yet; `told` once it is."""
        return self._db.untold()

    def told(self, loss: Loss) -> None:
        self._db.told(loss)

    def _read(self, sql: str, values: Sequence[Value]) -> list[Row]:
        return self._db.rows(sql, values)

    # --- files ------------------------------------------------------------------

    def add_file(self, file: StoredFile, body: bytes) -> None:
        with self._db.write() as transaction:
            self._db.run(
                "INSERT INTO file (id, owner, name, purpose, size, created, expires, body) VALUES (?,?,?,?,?,?,?,?)",
                (file.id, file.owner, file.name, file.purpose, file.size, file.created, file.expires, body),
            )
            transaction.keep([file.id.encode()])

    def file(self, id_: str, owner: str) -> StoredFile | None:
        rows = self._read(f"SELECT {_FILE} FROM file WHERE id = ? AND owner = ?", (id_, owner))
        return StoredFile(*rows[0]) if rows else None

    def files(self, owner: str, purpose: str, after: str, limit: int, *, oldest_first: bool) -> list[StoredFile]:
        """A page of an owner's files; `after` is the id of the page before's last one, or empty."""
        sign, order = (">", "ASC") if oldest_first else ("<", "DESC")
        rows = self._read(
            f"SELECT {_FILE} FROM file WHERE owner = ? AND (? = '' OR purpose = ?) AND "
            f"(? = '' OR seq {sign} (SELECT seq FROM file WHERE id = ?)) ORDER BY seq {order} LIMIT ?",
            (owner, purpose, purpose, after, after, limit),
        )
        return [StoredFile(*row) for row in rows]

    def held(self, owner: str) -> tuple[int, int]:
        """(files, bytes) of an owner."""
        ((count, size),) = self._read("SELECT count(*), coalesce(sum(size), 0) FROM file WHERE owner = ?", (owner,))
        return int(count), int(size)

    def piece(self, id_: str, offset: int) -> bytes:
        """Up to PIECE bytes of a file's content; empty at its end, or where it is gone."""
        for seq, size in self._db.rows("SELECT seq, size FROM file WHERE id = ?", (id_,)):
            if offset < size:
                with self._db.blob("file", "body", seq) as blob:
                    blob.seek(offset)
                    return blob.read(PIECE)
        return b""

    def content(self, id_: str) -> bytes:
        rows = self._read("SELECT body FROM file WHERE id = ?", (id_,))
        return rows[0][0] if rows else b""

    def drop_file(self, id_: str, owner: str) -> bool:
        with self._db.write():
            return self._db.run("DELETE FROM file WHERE id = ? AND owner = ?", (id_, owner)) == 1

    # --- batches ------------------------------------------------------------------

    def add_batch(self, batch: StoredBatch) -> None:
        with self._db.write() as transaction:
            self._db.run(
                f"INSERT INTO batch ({_BATCH}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    batch.id, batch.owner, batch.key_id, batch.endpoint, batch.input_file, batch.status, batch.created,
                    batch.expires, batch.total, batch.completed, batch.failed, batch.detail,
                ),
            )  # fmt: skip
            transaction.keep([batch.id.encode()])

    def batch(self, id_: str, owner: str) -> StoredBatch | None:
        rows = self._read(f"SELECT {_BATCH} FROM batch WHERE id = ? AND owner = ?", (id_, owner))
        return StoredBatch(*rows[0]) if rows else None

    def batches(self, owner: str, after: str, limit: int) -> list[StoredBatch]:
        """A page of an owner's batches, newest first."""
        rows = self._read(
            f"SELECT {_BATCH} FROM batch WHERE owner = ? AND "
            "(? = '' OR seq < (SELECT seq FROM batch WHERE id = ?)) ORDER BY seq DESC LIMIT ?",
            (owner, after, after, limit),
        )
        return [StoredBatch(*row) for row in rows]

    def active(self) -> list[StoredBatch]:
        """All that is not over, the earliest deadline first."""
        rows = self._read(f"SELECT {_BATCH} FROM batch WHERE status IN ({_OPEN}) ORDER BY expires, seq", ())
        return [StoredBatch(*row) for row in rows]

    def turn(self, id_: str, before: Iterable[str], status: str, detail: bytes) -> bool:
        """Change a batch's status where it is still one of `before`."""
        allowed = tuple(before)
        marks = ",".join("?" * len(allowed))
        with self._db.write() as transaction:
            sql = f"UPDATE batch SET status = ?, detail = ? WHERE id = ? AND status IN ({marks})"
            transaction.keep([id_.encode()])
            return self._db.run(sql, (status, detail, id_, *allowed)) == 1

    def begin(self, id_: str, lines: Sequence[tuple[str, bytes]], detail: bytes) -> bool:
        """Validated: its (custom_id, body) lines and its status in one step, so that a crash between is neither."""
        with self._db.write() as transaction:
            sql = (
                "UPDATE batch SET status = 'in_progress', total = ?, detail = ? WHERE id = ? AND status = 'validating'"
            )
            if self._db.run(sql, (len(lines), detail, id_)) != 1:
                return False
            transaction.keep([id_.encode()])
            self._db.many(
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
        return [StoredLine(*row) for row in rows]

    def land(self, results: Sequence[Result]) -> None:
        """Results and their counts; a line that has one keeps it."""
        with self._db.write() as transaction:
            for one in results:
                sql = "UPDATE line SET ok = ?, result = ? WHERE batch = ? AND number = ? AND ok IS NULL"
                if self._db.run(sql, (int(one.ok), one.text, one.batch, one.number)):
                    name = "completed" if one.ok else "failed"
                    self._db.run(f"UPDATE batch SET {name} = {name} + 1 WHERE id = ?", (one.batch,))
                    transaction.keep([one.text])

    def again(self, lines: Iterable[tuple[str, int]]) -> None:
        """These (batch, number) were tried in vain: their next try is another one."""
        with self._db.write():
            self._db.many("UPDATE line SET tries = tries + 1 WHERE batch = ? AND number = ?", lines)

    def finish(
        self, id_: str, status: str, detail: bytes, output: StoredFile | None, errors: StoredFile | None
    ) -> bool:
        """Gather the results into files and end the batch, in one step; None: no such file. Sizes are measured
        here."""
        with self._db.write() as transaction:
            sql = f"UPDATE batch SET status = ?, detail = ? WHERE id = ? AND status IN ({_OPEN})"
            if self._db.run(sql, (status, detail, id_)) != 1:
                return False
            transaction.keep([id_.encode()])
            for ok, file in ((1, output), (0, errors)):
                if file is not None:
                    self._gather(id_, ok, file)
            self._db.run("DELETE FROM line WHERE batch = ?", (id_,))
            return True

    def _gather(self, id_: str, ok: int, file: StoredFile) -> None:
        """The results of a batch as one file."""
        where = "FROM line WHERE batch = ? AND ok = ?"
        ((size,),) = self._db.rows(f"SELECT coalesce(sum(length(result)), 0) {where}", (id_, ok))
        ((row,),) = self._db.many(
            "INSERT INTO file (id, owner, name, purpose, size, created, expires, body) "
            "VALUES (?,?,?,?,?,?,?,zeroblob(?)) RETURNING seq",
            [(file.id, file.owner, file.name, file.purpose, size, file.created, file.expires, size)],
        )
        with self._db.blob("file", "body", row, writable=True) as blob:
            for (text,) in self._db.each(f"SELECT result {where} ORDER BY number", (id_, ok)):
                blob.write(text)

    def sweep(self, now: int, older: int) -> None:
        """Forget files that have expired and batches that ended before `older`."""
        with self._db.write():
            self._db.run("DELETE FROM file WHERE expires <= ?", (now,))
            self._db.run(f"DELETE FROM batch WHERE expires <= ? AND status NOT IN ({_OPEN})", (older,))

    def close(self) -> None:
        self._db.close()
