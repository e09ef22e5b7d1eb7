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
from typing import Generic, NamedTuple, Protocol, TypeVar

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
N = TypeVar("N")

# Rows read at once while a range is read to its end: 2 MB of usage, 20 ms.
PAGE = 2_000

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


class Place(NamedTuple):
    """Where a page ended: times in microseconds since 1970."""

    at: int
    known_at: int
    seq: int


@dataclass(frozen=True, slots=True)
class Page(Generic[N]):
    """Part of what was asked for, where it ended, and whether there is more behind it."""

    items: list[Stored]
    last: N
    more: bool


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

    def each(
        self,
        type_: type[R],
        start: datetime,
        end: datetime,
        *,
        now: datetime | None = None,
        subject: str | None = None,
        upto: int | None = None,
    ) -> Iterator[R]:
        """Every record with start <= at < end, in order of `at`; with `now`, only what was known by then.

        Read a page at a time, so that a year takes no more memory than a day. What is appended meanwhile is left
        out, as is what has a sequence number above `upto`: rows never change, so this is one moment's view.
        Raises StoreError while it is read.
        """
        upto = self.last_seq() if upto is None else upto
        place: Place | None = None
        while True:
            page = self.page(type_, start, end, now=now, subject=subject, limit=PAGE, after=place, upto=upto)
            for stored in page.items:
                yield stored.record  # type: ignore[misc]
            if not page.more:
                return
            place = page.last

    def between(
        self,
        type_: type[R],
        start: datetime,
        end: datetime,
        *,
        now: datetime | None = None,
        subject: str | None = None,
    ) -> list[R]:
        """`each` as a list, all of it: for stretches that are short by their nature. Sums are made with `each`."""
        return list(self.each(type_, start, end, now=now, subject=subject))

    def page(
        self,
        type_: type[R],
        start: datetime,
        end: datetime,
        *,
        limit: int,
        now: datetime | None = None,
        subject: str | None = None,
        after: Place | None = None,
        upto: int | None = None,
        newest_first: bool = False,
    ) -> Page[Place | None]:
        """At most `limit` of the records with start <= at < end, beginning behind `after`: the page before's `last`."""
        sign, order = ("<", "DESC") if newest_first else (">", "ASC")
        sql = "SELECT at, known_at, seq, body FROM record WHERE stream = ? AND at >= ? AND at < ?"
        args: list[object] = [type_.__name__, micros(start), micros(end)]
        for condition, value in (("known_at <= ?", now and micros(now)), ("subject = ?", subject), ("seq <= ?", upto)):
            if value is not None:
                sql, args = f"{sql} AND {condition}", [*args, value]
        if after is not None:
            # The first comparison is what the index seeks to; the second leaves out what the page before gave.
            sql += f" AND at {sign}= ? AND (at, known_at, seq) {sign} (?, ?, ?)"
            args += [after.at, *after]
        sql += f" ORDER BY at {order}, known_at {order}, seq {order} LIMIT ?"
        rows = list(self._rows(sql, (*args, limit + 1)))
        items = [Stored(seq, self._decode(body)) for _, _, seq, body in rows[:limit]]
        return Page(items, Place(*rows[:limit][-1][:3]) if rows else after, len(rows) > limit)

    def follow(self, after: int, limit: int = 1000, stream: type[Storable] | None = None) -> Page[int]:
        """A page of the records appended after sequence number `after`, oldest first: how a fold keeps up. Its
        `last` is the next page's `after`."""
        where, args = ("seq > ?", [after]) if stream is None else ("seq > ? AND stream = ?", [after, stream.__name__])
        sql = f"SELECT seq, body FROM record WHERE {where} ORDER BY seq LIMIT ?"
        rows = list(self._rows(sql, (*args, limit + 1)))
        items = [Stored(seq, self._decode(body)) for seq, body in rows[:limit]]
        return Page(items, rows[:limit][-1][0] if rows else after, len(rows) > limit)

    def holds(self, stream: type[Storable]) -> bool:
        """Whether anything of a stream is stored."""
        sql = "SELECT EXISTS (SELECT 1 FROM record WHERE stream = ?)"
        return any(found for (found,) in self._rows(sql, (stream.__name__,)))

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
