"""One SQLite database: the only place that opens one.

Opening makes the file and its folder private, checks whose file it is and of which version, brings an older one up to
this version in a transaction, looks through its pages, and compares its end with the mark beside it. What is damaged
is refused in one line, with advice that destroys nothing; what has lost its end opens, and the loss is kept in the
database until somebody has told it (`untold`, `told`). A commit is on disk when it returns (WAL, `synchronous=FULL`).

SQLite comes with `apsw`: the standard library's is whatever the machine has, and from 3.7.0 to 3.51.2 two connections
that write and checkpoint at the same moment could lose a commit (`docs/decisions/0012-sqlite-of-our-own.md`).
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import apsw

from tieline.store.files import private_file, private_folder
from tieline.store.mark import EMPTY, Mark, MarkFile, Marks, chained
from tieline.store.tail import Loss as Loss
from tieline.store.tail import Row as Row
from tieline.store.tail import TailState
from tieline.store.tail import Value as Value

log = logging.getLogger("tieline.store")

BUSY_MS: Final = 5_000
# The reset of a log could race with another connection's commit: sqlite.org/wal.html, "The WAL-reset bug".
RACE: Final = (3_007_000, 3_051_002)
_DAMAGED: Final = (apsw.CorruptError, apsw.NotADBError)

_COMMON: Final = """
CREATE TABLE tail (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    commits INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    digest  BLOB    NOT NULL,
    epoch   TEXT    NOT NULL
) STRICT;
CREATE TABLE loss (
    id         INTEGER PRIMARY KEY,
    why        TEXT    NOT NULL,
    commits    INTEGER,
    first_lost INTEGER,
    last_lost  INTEGER,
    since      TEXT,
    told       INTEGER NOT NULL DEFAULT 0
) STRICT;
"""


class StoreError(RuntimeError):
    """A database could not be opened, read or written; the message says what to do."""


class DamagedError(StoreError):
    """What is on disk is not what was written."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of our four databases. `steps[n]` brings version n to n + 1; version 0 is an empty file, or one made
    before versions were kept, so that the first step makes only what is missing. `chained` reads the bodies that the
    digest is over, in order, where rows stay for ever; else None."""

    name: str
    application_id: int
    steps: tuple[str, ...]
    last: str  # an SQL expression: the highest row number there is
    chained: str | None = None
    # For those that grow to gigabytes: what is kept in memory of the file, and pages that the log holds before a commit
    # is followed by a checkpoint. With SQLite's own (2 MB, 1,000) each batch reads and writes large indexes anew.
    cache_kib: int | None = None
    checkpoint_pages: int | None = None

    @property
    def version(self) -> int:
        return len(self.steps)


class Closeable(Protocol):
    """What is open."""

    def close(self) -> None: ...


class Disk(Protocol):
    """What a database lies on. The simulation has one that loses and tears what was not synced."""

    vfs: str | None

    def prepare(self, path: Path) -> None: ...

    def mark(self, path: Path) -> Marks: ...


class RealDisk:
    """The machine's own, by SQLite's own means."""

    vfs: str | None = None

    def prepare(self, path: Path) -> None:
        """Folder and file, private. Raises OSError."""
        private_folder(path.parent)
        private_file(path)
        for end in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                beside = path.with_name(path.name + end)
                beside.stat()
                private_file(beside)

    def mark(self, path: Path) -> Marks:
        return MarkFile(mark_of(path))


REAL: Final = RealDisk()


def mark_of(path: Path) -> Path:
    """The file that says how far a database has got."""
    return path.with_name(path.name + "-mark")


class Database(TailState):
    """An open one. Any thread may ask; calls wait for each other. Everything raises StoreError."""

    def __init__(self, connection: apsw.Connection, kind: Kind, path: Path | None, marks: Marks | None) -> None:
        self._connection, self.kind, self.path, self._marks = connection, kind, path, marks
        self._lock = threading.RLock()
        # Which opening this is, and how far it had got then.
        self.run_id, self.began = secrets.token_hex(4), 0

    # --- asking ------------------------------------------------------------------

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """All rows of a statement."""
        with self._lock, self._named("read"):
            return self._connection.execute(sql, values).fetchall()

    def each(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        """Row by row, for results that are larger than memory should be; the database is held meanwhile."""
        with self._lock, self._named("read"):
            yield from self._connection.execute(sql, values)

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run one statement that changes rows; returns how many."""
        with self._lock, self._named("write to"):
            before = self._connection.total_changes()
            self._connection.execute(sql, values)
            return self._connection.total_changes() - before

    def many(self, sql: str, rows: Iterable[Sequence[Value]]) -> list[Row]:
        """Run one statement for each of `rows`; returns what it gave back (RETURNING)."""
        with self._lock, self._named("write to"):
            return self._connection.executemany(sql, rows).fetchall()

    def last_row(self) -> int:
        """The number of the row that was inserted last over this connection."""
        with self._lock:
            return int(self._connection.last_insert_rowid())

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction: all of it, on disk when this returns, or nothing."""
        with self._lock, self._named("write to"):
            self._connection.execute("BEGIN IMMEDIATE")
            mark = None
            try:
                transaction = Transaction()
                yield transaction
                if transaction:
                    mark = transaction.mark_after(self.tail())
                    self.advance(mark)
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                    mark = None
            if mark is not None and self._marks is not None:
                self._marks.write(mark)

    def freeze(self) -> None:
        """Read it as it is at this moment from here on, whatever others write: one read transaction."""
        self.rows("BEGIN")
        self.rows("SELECT commits FROM tail")

    @contextlib.contextmanager
    def blob(self, table: str, column: str, row: int, *, writable: bool = False) -> Iterator[apsw.Blob]:
        """The bytes of one value, to read or write in pieces."""
        with self._lock, self._named("read"):
            blob = self._connection.blob_open("main", table, column, row, writable)
            try:
                yield blob
            finally:
                blob.close()

    # --- its own state -----------------------------------------------------------

    def restored(self, since: str, last: int | None) -> None:
        """It was brought back from a backup of `since`. Where it is known how far the one in its place had got
        (`last`), numbering goes on behind that."""
        tail = self.tail()
        first, upto = (tail.last + 1, last) if last is not None and last > tail.last else (None, None)
        with self.write():
            row = ("restored from a backup", first, upto, since)
            self.run("INSERT INTO loss (why, first_lost, last_lost, since) VALUES (?, ?, ?, ?)", row)
            values = (max(tail.last, last or 0), secrets.token_hex(8))
            self.run("UPDATE tail SET commits = commits + 1, last = ?, epoch = ?", values)
        if self._marks is not None:
            self._marks.write(self.tail())

    def verify(self) -> None:
        """Look through every page and index, and make the digest anew where rows stay. Raises DamagedError."""
        self.check_pages("integrity_check")
        if self.kind.chained is not None:
            chain = chained(EMPTY, (body for (body,) in self.each(self.kind.chained)))
            if chain != self.tail().digest:
                raise damaged(self.path, "the digest over its rows is not the one it was written with")

    def check_pages(self, pragma: str = "quick_check") -> None:
        """Raises DamagedError."""
        ((answer,),) = self.rows(f"PRAGMA {pragma}(1)")
        if answer != "ok":
            raise damaged(self.path, str(answer).replace("\n", " "))

    def copy_to(self, path: Path) -> None:
        """A consistent copy under load, as one file. Raises StoreError."""
        with self._lock, self._named("copy"):
            target = apsw.Connection(str(path))
            try:
                with target.backup("main", self._connection, "main") as backup:
                    backup.step(-1)  # in one read transaction: in steps, each commit meanwhile would begin it anew
                target.execute("PRAGMA journal_mode=DELETE")
            finally:
                target.close()

    def close(self) -> None:
        with self._lock:
            with contextlib.suppress(apsw.Error, OSError):
                self._connection.close()
            if self._marks is not None:
                self._marks.close()
                self._marks = None

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            raise damaged(self.path, str(error)) from error
        except (apsw.Error, OSError) as error:
            raise StoreError(f"cannot {what} the {self.kind.name} at {self.path}: {error}") from error


class Transaction:
    """What one transaction adds that must not be lost."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []
        self._last = 0

    def keep(self, bodies: Iterable[bytes], last: int = 0) -> None:
        """These bodies are acknowledged once it is committed; `last` is the highest row number among them."""
        self._bodies.extend(bodies)
        self._last = max(self._last, last)

    def __bool__(self) -> bool:
        return bool(self._bodies)

    def mark_after(self, before: Mark) -> Mark:
        """The database's mark once this is committed; `before`: the one that stands."""
        return Mark(before.commits + 1, max(before.last, self._last), chained(before.digest, self._bodies))


# --- opening ---------------------------------------------------------------------------


def open_database(path: Path | None, kind: Kind, *, read_only: bool = False, disk: Disk = REAL) -> Database:
    """Open one of ours; `path` None: in memory. A missing one is made, unless `read_only`.

    Raises StoreError: it cannot be read, is no database of this kind or is of a later version; DamagedError.
    """
    _warn_of_the_race()
    marks = None
    try:
        if path is not None and not read_only:
            disk.prepare(path)
            marks = disk.mark(path)
        connection = _connect(path, read_only, disk)
    except (apsw.Error, OSError) as error:
        raise StoreError(
            f"cannot open the {kind.name} at {path}: {error}; check that it is there and its folder can be written to"
        ) from error
    database = Database(connection, kind, path, marks)
    try:
        _agree(database, kind, read_only, disk)
        if not read_only:
            database.check_pages()
            _compare(database, marks)
        database.began = database.tail().commits
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def closed_on_failure(database: Closeable) -> Iterator[None]:
    """What begins with an open database and fails leaves it closed."""
    try:
        yield
    except BaseException:
        database.close()
        raise


def damaged(path: Path | None, what: str) -> DamagedError:
    """One line: what is wrong, that nothing was changed, and the way back."""
    folder = path.parent if path is not None else "its folder"
    return DamagedError(
        f"{path} is damaged ({what}). Nothing was changed or removed. Keep a copy of {folder}, then bring back a "
        "backup into another folder: tieline restore BACKUP --data-dir FOLDER"
    )


def versions_of(path: Path) -> tuple[int, int]:
    """(application id, schema version) of a database file. Raises StoreError."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(BUSY_MS)  # after a power cut whoever comes first brings it back, alone
        try:
            return int(connection.pragma("application_id")), int(connection.pragma("user_version"))
        finally:
            connection.close()
    except _DAMAGED as error:
        raise damaged(path, str(error)) from error
    except apsw.Error as error:
        raise StoreError(f"cannot read {path}: {error}") from error


def _connect(path: Path | None, read_only: bool, disk: Disk) -> apsw.Connection:
    if path is None:
        return apsw.Connection(":memory:")
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags=flags, vfs=disk.vfs, statementcachesize=200)
    connection.set_busy_timeout(BUSY_MS)
    return connection


def _agree(database: Database, kind: Kind, read_only: bool, disk: Disk) -> None:
    """Whose file and which version; an older one is brought up to this one."""
    ((owner,),), ((version,),) = database.rows("PRAGMA application_id"), database.rows("PRAGMA user_version")
    if owner not in (0, kind.application_id):
        raise StoreError(f"{database.path} is no {kind.name} of Tieline's but another program's database; name another")
    if version > kind.version:
        raise StoreError(
            f"{database.path} was written by a later version of Tieline (its form is {version}, this version reads up "
            f"to {kind.version}); run that version, or restore a backup that this one made"
        )
    if not read_only and database.path is not None:
        database.rows("PRAGMA journal_mode=WAL")
        database.rows("PRAGMA synchronous=FULL")
        if kind.checkpoint_pages is not None and disk is REAL:  # a simulated one makes its own
            database.rows(f"PRAGMA wal_autocheckpoint={kind.checkpoint_pages}")
    if kind.cache_kib is not None:
        database.rows(f"PRAGMA cache_size=-{kind.cache_kib}")
    if version == kind.version:
        return
    if read_only:
        assert database.path is not None
        open_database(database.path, kind, disk=disk).close()
        return
    _migrate(database, kind)


def _migrate(database: Database, kind: Kind) -> None:
    """In one transaction: after a crash it is the old form or the new."""
    with database.write():
        # Another process may have been quicker.
        ((version,),) = database.rows("PRAGMA user_version")
        had_rows = bool(database.rows("SELECT name FROM sqlite_schema WHERE type = 'table'"))
        for step in range(version, kind.version):
            if step == 0:
                _script(database, _COMMON)
            _script(database, kind.steps[step])
        if version == 0:
            bodies = database.each(kind.chained) if kind.chained else iter(())
            digest = chained(EMPTY, (body for (body,) in bodies))
            ((last,),) = database.rows(f"SELECT coalesce({kind.last}, 0)")
            row = (0, last, digest, secrets.token_hex(8))
            database.run("INSERT INTO tail VALUES (1, ?, ?, ?, ?)", row)
        database.run(f"PRAGMA application_id = {kind.application_id}")
        database.run(f"PRAGMA user_version = {kind.version}")
    if had_rows:
        log.warning("%s: brought from form %d to form %d", database.path, version, kind.version)


def _script(database: Database, statements: str) -> None:
    database.run(statements)


def _compare(database: Database, marks: Marks | None) -> None:
    """The database with its mark: behind it, its end is missing."""
    if marks is None:
        return
    mark, tail = marks.read(), database.tail()
    if mark is None:
        if tail.commits:
            log.warning("%s is missing or unreadable: whether the end of %s is whole cannot be told this time",
                        mark_of(database.path or Path()), database.path)  # fmt: skip
        marks.write(tail)
        return
    if mark.commits > tail.commits and tail.commits == tail.last == 0:
        raise damaged(
            database.path,
            f"it is empty but held {mark.commits:,} commits; if you removed it yourself, remove "
            f"{mark_of(database.path or Path()).name} too",
        )
    if mark.commits > tail.commits:
        _name_loss(database, "its end is missing", mark, tail)
    elif mark.commits < tail.commits:
        # Written by a process that was killed before its sync: on disk before the mark says so.
        database.rows("PRAGMA wal_checkpoint(FULL)")
    elif mark.digest != tail.digest:
        _name_loss(database, "it is not the file its mark was written for", mark, tail)
    marks.write(database.tail())


def _name_loss(database: Database, why: str, mark: Mark, tail: Mark) -> None:
    """Counts on behind the mark, so that no row number is given twice; kept until it is told."""
    with database.write():
        if database.tail() != tail:  # another process that opened it at the same time has named it
            return
        lost = max(mark.commits - tail.commits, 0)
        row = (why, lost, tail.last + 1, max(mark.last, tail.last))
        database.run("INSERT INTO loss (why, commits, first_lost, last_lost) VALUES (?, ?, ?, ?)", row)
        values = (max(mark.commits, tail.commits) + 1, max(mark.last, tail.last), secrets.token_hex(8))
        database.run("UPDATE tail SET commits = ?, last = ?, epoch = ?", values)
    log.error(
        "%s: %s. Copies elsewhere (sites, gateways, the newest backup) are asked again; keep a copy of %s to look into",
        database.path, database.untold()[-1], (database.path or Path()).parent,
    )  # fmt: skip


def _warn_of_the_race() -> None:
    version = apsw.SQLITE_VERSION_NUMBER
    if RACE[0] <= version <= RACE[1] and not _warned:
        _warned.append(version)
        log.warning(
            "SQLite %s has a race in which two writers lose a commit; install an apsw with SQLite 3.51.3 or later",
            apsw.sqlite_lib_version(),
        )


_warned: list[int] = []
