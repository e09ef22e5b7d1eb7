"""The store: one table of records, keyed so that appending twice is appending once; a file, or a server's.

Knows records only by their five common properties (at, known_at, subject, key and their type's name), and
keeps their bytes as the codec gives them. A commit is durable when `append` returns (WAL with `synchronous=FULL`; on a
server, what it calls committed). One process writes; any number read, each over its own connection.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Generic, NamedTuple, Protocol, TypeVar, cast

from tieline.clock import from_micros, micros
from tieline.store.database import REAL, Disk, Kind, Loss, Row, StoreError, Value, closed_on_failure, open_database
from tieline.store.lead.fence import Fence, Turn, refuse_older, take_turns
from tieline.store.mark import Mark
from tieline.store.peer import StoreState
from tieline.store.place import FILE, StorePlace
from tieline.store.tail import INSERT, UNPROVEN_INSERT

log = logging.getLogger("tieline.store")


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


class Transacting(Protocol):
    """A transaction that is open."""

    def keep(self, bodies: Iterable[bytes], last: int = 0) -> None: ...


class RecordTables(Protocol):
    """What records are kept in. Statements are written once, with question marks; what they call raises StoreError."""

    run_id: str
    began: int

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]: ...

    def each(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]: ...

    def run(self, sql: str, values: Sequence[Value] = ()) -> int: ...

    def many(self, sql: str, rows: Iterable[Sequence[Value]]) -> list[Row]: ...

    def write(self) -> AbstractContextManager[Transacting]: ...

    def tail(self) -> Mark: ...

    @property
    def epoch(self) -> str: ...

    def untold(self) -> list[Loss]: ...

    def told(self, loss: Loss) -> None: ...

    def verify(self) -> None: ...

    def close(self) -> None: ...


R = TypeVar("R", bound=Storable)
N = TypeVar("N")

# Rows read at once while a range is read to its end: 2 MB of usage, 20 ms.
PAGE = 2_000

KIND: Final = Kind(
    name="store",
    application_id=0x746C7374,  # "tlst"
    steps=(
        """
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
        """,
    ),
    last="(SELECT max(seq) FROM record)",
    chained="SELECT body FROM record ORDER BY seq",
    cache_kib=32_000,
    checkpoint_pages=4_000,
)

# Rows set aside are counted one by one up to here; a page says "or more" beyond.
MAX_ASIDE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A record with its place in the store: the permanent reference of anything shown on a page."""

    seq: int
    record: object


@dataclass(frozen=True, slots=True)
class Selection(Generic[R]):
    """Records of one stream with start <= at < end; `known_by`: only what was known by then; `upto`: only what has no
    higher sequence number."""

    stream: type[R]
    start: datetime
    end: datetime
    known_by: datetime | None = None
    subject: str | None = None
    upto: int | None = None

    def where(self) -> tuple[str, list[Value]]:
        """As SQL, and the values for its question marks."""
        sql = "stream = ? AND at >= ? AND at < ?"
        values: list[Value] = [self.stream.__name__, micros(self.start), micros(self.end)]
        known_by = None if self.known_by is None else micros(self.known_by)
        for condition, value in (("known_at <= ?", known_by), ("subject = ?", self.subject), ("seq <= ?", self.upto)):
            if value is not None:
                sql, values = f"{sql} AND {condition}", [*values, value]
        return sql, values


class Cursor(NamedTuple):
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


@dataclass(slots=True)
class Aside:
    """Rows of one stream that this version cannot read: counted, and left where they are."""

    stream: str
    why: str  # of the first one
    seqs: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        count = f"{len(self.seqs):,}" + ("" if len(self.seqs) < MAX_ASIDE else " or more")
        return f"unreadable by this version: {count} of stream {self.stream}, record {min(self.seqs)} first: {self.why}"


class Store:
    """Append, and read back as it was known.

    `encode` and `decode` come from the floor above (`records.encode`, `records.decode`): the store does not
    know what a record means. `place`: a file, or where a data folder's records lie; None keeps everything in memory
    (replay, tests). A row that `decode` refuses (of a type that a later version writes) is set aside by name, and never
    in the way of the rows behind it.
    """

    def __init__(
        self,
        place: Path | StorePlace | None,
        encode: Callable[..., bytes],
        decode: Callable[[bytes], object],
        *,
        read_only: bool = False,
        disk: Disk = REAL,
    ) -> None:
        """Raises StoreError: cannot be opened, of a later version, or damaged."""
        self._encode, self._decode = encode, decode
        self.place = StorePlace(place.parent) if isinstance(place, Path) else place
        self._db: RecordTables
        if self.place is not None and self.place.url is not None:
            try:
                from tieline.store.postgres import open_server  # not there in the light install
            except ModuleNotFoundError as error:
                raise StoreError(f"a store on a server needs {error.name}: pip install 'tieline[platform]'") from error
            self._db = open_server(self.place.url, self.place.password, KIND, read_only=read_only)
        else:
            path = place.folder / FILE if isinstance(place, StorePlace) else place
            self._db = open_database(path, KIND, read_only=read_only, disk=disk)
        self._aside: dict[str, Aside] = {}
        # Whom everything that is written here is written by; None: whoever may write.
        self.fence: Fence | None = None
        with closed_on_failure(self._db):
            # Where the end was lost, numbering goes on behind what was lost: a number names one record for ever.
            last = self._db.tail().last
            self._skip_to = last + 1 if last > self.last_seq() else None

    def append(self, batch: Iterable[Storable], turns: Sequence[Turn] = ()) -> int:
        """Append in one transaction; returns how many were new. What returned is on disk. `turns`: what the batch
        decides, each once for ever.

        Raises StoreError (disk full, file gone) with nothing of the batch kept; FencedError where `fence` is older than
        who leads; TakenError where a turn was taken.
        """
        rows: list[tuple[Value, ...]] = [
            (None, type(r).__name__, r.key, r.subject, micros(r.at), micros(r.known_at), self._encode(r)) for r in batch
        ]
        if not rows:
            return 0
        if self.place is None:  # nothing of it outlives the process: no chain to prove, no rows to give back
            before = self.last_seq()
            with self._db.write():
                self._db.many(UNPROVEN_INSERT, rows)
            return self.last_seq() - before
        with self._db.write() as transaction:
            if self.fence is not None:
                refuse_older(self._db, self.fence)
                take_turns(self._db, self.fence, turns)
            inserted: list[Row] = []
            while self._skip_to is not None and rows and not inserted:
                inserted = self._db.many(INSERT, [(self._skip_to, *rows.pop(0)[1:])])
            inserted += self._db.many(INSERT, rows)
            if inserted:
                transaction.keep((body for _, body in inserted), inserted[-1][0])
        if inserted:
            self._skip_to = None
        return len(inserted)

    def latest(self, type_: type[R], now: datetime, subject: str | None = None) -> list[R]:
        """For each subject, the newest record that was known at `now` and holds at or before it."""
        where = "AND subject = ?" if subject is not None else ""
        subjects = f"SELECT DISTINCT subject FROM record WHERE stream = ? {where}"
        stream = type_.__name__
        latest: list[Stored] = []
        for (one,) in self._db.rows(subjects, (stream,) if subject is None else (stream, subject)):
            rows = self._db.rows(
                "SELECT seq, stream, body FROM record WHERE stream = ? AND subject = ? AND at <= ? AND known_at <= ?"
                " ORDER BY at DESC, known_at DESC LIMIT 1",
                (stream, one, micros(now), micros(now)),
            )
            latest += self._read(rows)
        return [cast("R", s.record) for s in latest]

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
        of = Selection(type_, start, end, now, subject, self.last_seq() if upto is None else upto)
        last: Cursor | None = None
        more = True
        while more:
            page = self.page(of, PAGE, last)
            for stored in page.items:
                yield cast("R", stored.record)
            last, more = page.last, page.more

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
        self, of: Selection[R], limit: int, after: Cursor | None = None, *, newest_first: bool = False
    ) -> Page[Cursor | None]:
        """At most `limit` of the selected records, by `at`, beginning behind `after`: the page before's `last`."""
        sign, order = ("<", "DESC") if newest_first else (">", "ASC")
        where, values = of.where()
        sql = f"SELECT at, known_at, seq, stream, body FROM record WHERE {where}"
        if after is not None:
            # The first comparison is what the index seeks to; the second leaves out what the page before gave.
            sql += f" AND at {sign}= ? AND (at, known_at, seq) {sign} (?, ?, ?)"
            values += [after.at, *after]
        sql += f" ORDER BY at {order}, known_at {order}, seq {order} LIMIT ?"
        rows = self._db.rows(sql, (*values, limit + 1))
        items = self._read([row[2:] for row in rows[:limit]])
        return Page(items, Cursor(*rows[:limit][-1][:3]) if rows else after, len(rows) > limit)

    def follow(self, after: int, limit: int = 1000, stream: type[Storable] | None = None) -> Page[int]:
        """A page of the records appended after sequence number `after`, oldest first: how a fold keeps up. Its
        `last` is the next page's `after`."""
        where = "seq > ?" if stream is None else "seq > ? AND stream = ?"
        args = (after,) if stream is None else (after, stream.__name__)
        sql = f"SELECT seq, stream, body FROM record WHERE {where} ORDER BY seq LIMIT ?"
        rows = self._db.rows(sql, (*args, limit + 1))
        return Page(self._read(rows[:limit]), rows[:limit][-1][0] if rows else after, len(rows) > limit)

    def holds(self, stream: type[Storable]) -> bool:
        """Whether anything of a stream is stored."""
        sql = "SELECT EXISTS (SELECT 1 FROM record WHERE stream = ?)"
        return any(held for (held,) in self._db.rows(sql, (stream.__name__,)))

    def get(self, seq: int) -> object | None:
        """One record by its sequence number."""
        for stored in self._read(self._db.rows("SELECT seq, stream, body FROM record WHERE seq = ?", (seq,))):
            return stored.record
        return None

    def numbers(self, streams: Sequence[type[Storable]], after: int, upto: int, most: int) -> list[int]:
        """The sequence numbers above `after` and up to `upto` of records of these streams, in their order; the first
        `most` of them."""
        marks = ",".join("?" * len(streams))
        values: list[Value] = [*(one.__name__ for one in streams), after, upto, most]
        # By number and not by the index of streams, which would read all of them, and sort, for each page.
        sql = f"SELECT seq FROM record WHERE stream || '' IN ({marks}) AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        return [seq for (seq,) in self._db.each(sql, values)]

    def numbered(self, seqs: Sequence[int]) -> list[Stored]:
        """Records by their sequence numbers, in the order of those; at most a page of them."""
        assert len(seqs) <= PAGE
        sql = f"SELECT seq, stream, body FROM record WHERE seq IN ({','.join(map(str, seqs))}) ORDER BY seq"
        return self._read(self._db.rows(sql))

    def last_seq(self) -> int:
        return next((seq or 0 for (seq,) in self._db.rows("SELECT max(seq) FROM record")), 0)

    def last_at(self) -> int | None:
        """Latest `known_at` of anything stored, in microseconds; None when empty."""
        return next((at for (at,) in self._db.rows("SELECT max(known_at) FROM record")), None)

    def counts(self) -> dict[str, int]:
        """Records per stream."""
        return dict(self._db.rows("SELECT stream, count(*) FROM record GROUP BY stream ORDER BY stream"))

    def digest(self) -> str:
        """SHA-256 over every record's bytes in order: equal for two identical replays."""
        sha = hashlib.sha256()
        for (body,) in self._db.each("SELECT body FROM record ORDER BY seq"):
            sha.update(body)
            sha.update(b"\n")
        return sha.hexdigest()

    @property
    def fence_number(self) -> int | None:
        """What a leader's records carry."""
        return None if self.fence is None else self.fence.number

    def turns(self, at: datetime) -> dict[str, int]:
        """How many turns of the interval that begins at `at` were taken, by subject. Only under a fence."""
        assert self.fence is not None
        sql = "SELECT subject, count(*) FROM decided WHERE at = ? GROUP BY subject"
        return {subject: int(count) for subject, count in self._db.rows(sql, (micros(at),))}

    def last_turn(self) -> datetime | None:
        """The beginning of the last interval of which a turn was taken. Only under a fence."""
        assert self.fence is not None
        ((last,),) = self._db.rows("SELECT max(at) FROM decided")
        return None if last is None else from_micros(last)

    # --- the life of the data -----------------------------------------------------------

    @property
    def epoch(self) -> str:
        """Another word whenever something that was acknowledged may be gone."""
        return self._db.epoch

    @property
    def state(self) -> StoreState:
        """Told with each acknowledgement, so that senders notice a loss that this store does not."""
        return StoreState(self._db.epoch, self._db.run_id, self._db.began, self._db.tail().commits)

    def untold(self) -> list[Loss]:
        """What was acknowledged and lost, and is not on record yet; `told` once it is."""
        return self._db.untold()

    def told(self, loss: Loss) -> None:
        self._db.told(loss)

    def aside(self) -> list[Aside]:
        """What this version could not read so far, by stream."""
        return list(self._aside.values())

    @property
    def tables(self) -> RecordTables:
        """What it is kept in, for what copies it."""
        return self._db

    def verify(self) -> None:
        """Every page, every index, and the running digest over all records. Raises DamagedError."""
        self._db.verify()

    def close(self) -> None:
        self._db.close()

    def _read(self, rows: Sequence[Row]) -> list[Stored]:
        """(seq, stream, body) decoded; what cannot be is set aside."""
        records = []
        for seq, stream, body in rows:
            try:
                records.append(Stored(seq, self._decode(body)))
            except Exception as error:  # whatever one row does to its decoder, the rows behind it are read
                self._set_aside(seq, stream, error)
        return records

    def _set_aside(self, seq: int, stream: str, error: Exception) -> None:
        aside = self._aside.get(stream)
        if aside is None:
            aside = self._aside[stream] = Aside(stream, str(error))
            log.error("%s: record %d of stream %s cannot be read by this version and is left out, as others like it "
                      "will be: %s", self.place, seq, stream, error)  # fmt: skip
        if len(aside.seqs) < MAX_ASIDE:
            aside.seqs.add(seq)
