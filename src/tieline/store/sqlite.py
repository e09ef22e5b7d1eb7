"""The store on SQLite: one table of records, keyed so that appending twice is appending once.

Knows records only by their five common properties (at, known_at, subject, key and their type's name), and
keeps their bytes as the codec gives them. A commit is durable when `append` returns (WAL with
`synchronous=FULL`). One process writes; any number read, each over its own connection.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from tieline.clock import micros


class Storable(Protocol):
    """What the store needs to see of a record."""

    @property
    def at(self) -> datetime: ...

    @property
    def known_at(self) -> datetime: ...

    @property
    def subject(self) -> str: ...

    @property
    def key(self) -> str: ...


R = TypeVar("R", bound=Storable)

# One statement never returns more rows than this: a page of history, not the whole of it.
MAX_ROWS = 200_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    seq      INTEGER PRIMARY KEY,
    stream   TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    known_at INTEGER NOT NULL,
    body     BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS record_key ON record (stream, key);
CREATE INDEX IF NOT EXISTS record_subject ON record (stream, subject, at, known_at);
CREATE INDEX IF NOT EXISTS record_at ON record (stream, at, known_at);
"""

_INSERT = "INSERT OR IGNORE INTO record (stream, key, subject, at, known_at, body) VALUES (?,?,?,?,?,?)"


class StoreError(RuntimeError):
    """The store could not be opened or written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record with its place in the store: the permanent reference of anything shown on a page."""

    seq: int
    record: object


class Store:
    """Append, and read back as it was known.

    `encode` and `decode` come from the floor above (`records.encode`, `records.decode`): the store does not
    know what a record means. `path` None keeps everything in memory (replay, tests).
    """

    def __init__(
        self,
        path: Path | None,
        encode: Callable[..., bytes],
        decode: Callable[[bytes], object],
        *,
        read_only: bool = False,
    ) -> None:
        self._encode, self._decode = encode, decode
        self.path = path
        try:
            if path is None:
                self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            elif read_only:
                self._db = sqlite3.connect(
                    f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
                )
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA busy_timeout=5000")
            if not read_only:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot open the store at {path}: {error}; check that the folder is writable") from error

    def append(self, batch: Iterable[Storable]) -> int:
        """Append in one transaction; returns how many were new. What returned is on disk.

        Raises StoreError (disk full, file gone) with nothing of the batch kept.
        """
        rows = [(type(r).__name__, r.key, r.subject, micros(r.at), micros(r.known_at), self._encode(r)) for r in batch]
        if not rows:
            return 0
        try:
            before = self._db.total_changes
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_INSERT, rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            return self._db.total_changes - before
        except sqlite3.Error as error:
            raise StoreError(f"cannot write to the store at {self.path}: {error}") from error

    def latest(self, type_: type[R], now: datetime, subject: str | None = None) -> list[R]:
        """For each subject, the newest record that was known at `now` and holds at or before it."""
        where = "AND subject = ?" if subject is not None else ""
        subjects = f"SELECT DISTINCT subject FROM record WHERE stream = ? {where}"
        found: list[R] = []
        args = (type_.__name__, subject) if subject is not None else (type_.__name__,)
        for (one,) in self._rows(subjects, args):
            rows = self._rows(
                "SELECT body FROM record WHERE stream = ? AND subject = ? AND at <= ? AND known_at <= ?"
                " ORDER BY at DESC, known_at DESC LIMIT 1",
                (type_.__name__, one, micros(now), micros(now)),
            )
            found.extend(self._decode(body) for (body,) in rows)  # type: ignore[misc]
        return found

    def between(
        self,
        type_: type[R],
        start: datetime,
        end: datetime,
        *,
        now: datetime | None = None,
        subject: str | None = None,
        limit: int = MAX_ROWS,
    ) -> list[R]:
        """Records with start <= at < end, in order of `at`; with `now`, only what was known by then."""
        return [s.record for s in self.stored(type_, start, end, now=now, subject=subject, limit=limit)]  # type: ignore[misc]

    def stored(
        self,
        type_: type[R],
        start: datetime,
        end: datetime,
        *,
        now: datetime | None = None,
        subject: str | None = None,
        limit: int = MAX_ROWS,
        newest_first: bool = False,
    ) -> list[Stored]:
        """`between`, each with its sequence number."""
        sql = "SELECT seq, body FROM record WHERE stream = ? AND at >= ? AND at < ?"
        args: list[object] = [type_.__name__, micros(start), micros(end)]
        if now is not None:
            sql, args = sql + " AND known_at <= ?", [*args, micros(now)]
        if subject is not None:
            sql, args = sql + " AND subject = ?", [*args, subject]
        order = "DESC" if newest_first else "ASC"
        sql += f" ORDER BY at {order}, known_at {order}, seq {order} LIMIT ?"
        rows = self._rows(sql, (*args, min(limit, MAX_ROWS)))
        return [Stored(seq, self._decode(body)) for seq, body in rows]

    def follow(self, after: int, limit: int = 1000, stream: type[Storable] | None = None) -> list[Stored]:
        """Records appended after sequence number `after`, oldest first: how a page or a fold keeps up."""
        if stream is None:
            rows = self._rows("SELECT seq, body FROM record WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        else:
            rows = self._rows(
                "SELECT seq, body FROM record WHERE seq > ? AND stream = ? ORDER BY seq LIMIT ?",
                (after, stream.__name__, limit),
            )
        return [Stored(seq, self._decode(body)) for seq, body in rows]

    def get(self, seq: int) -> object | None:
        """One record by its sequence number."""
        for (body,) in self._rows("SELECT body FROM record WHERE seq = ?", (seq,)):
            return self._decode(body)
        return None

    def last_seq(self) -> int:
        return next((seq or 0 for (seq,) in self._rows("SELECT max(seq) FROM record", ())), 0)

    def last_at(self) -> int | None:
        """Latest `known_at` of anything stored, in microseconds; None when empty."""
        return next((at for (at,) in self._rows("SELECT max(known_at) FROM record", ())), None)

    def counts(self) -> dict[str, int]:
        """Records per stream."""
        return dict(self._rows("SELECT stream, count(*) FROM record GROUP BY stream ORDER BY stream", ()))

    def digest(self) -> str:
        """SHA-256 over every record's bytes in order: equal for two identical replays."""
        sha = hashlib.sha256()
        for (body,) in self._db.execute("SELECT body FROM record ORDER BY seq"):
            sha.update(body)
            sha.update(b"\n")
        return sha.hexdigest()

    def close(self) -> None:
        self._db.close()

    def _rows(self, sql: str, args: tuple[object, ...]) -> Iterator[tuple]:  # type: ignore[type-arg]
        try:
            yield from self._db.execute(sql, args).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the store at {self.path}: {error}") from error
