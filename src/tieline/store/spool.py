"""The spool: an outbox that many requests share, committed in groups by its own thread.

A commit with `synchronous=FULL` costs the same for one row as for two hundred, so rows wait for each other: at
most `linger_s`, or until `max_group` are there. Beside the rows that wait for the store it keeps *progress* (the
last known state of what is not finished yet, one row each, replaced in place) and *totals* (integers per name,
added to in the same transaction as the row that earned them, so that they agree with the rows after any crash).
One thread owns the connection; everything is asked of it. `landed` is called on that thread, once per group.

What is put may be a row, or what a row is made of: `render` then writes a whole group of rows at once, on this
thread. A putter only appends to a list, and rings only when the thread sleeps: on one core each wakeup, lock and
statement hands the interpreter over and back, which costs more than the row.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from tieline.store.sqlite import StoreError

# A request's answer waits for its commit. Alone it waits 1 ms; when rows come in numbers they wait for each
# other, so that one sync serves many.
LINGER_S: Final = 0.004
LINGER_ALONE_S: Final = 0.001
BUSY_GROUP: Final = 4
MAX_GROUP: Final = 256
# Rows that wait for the disk; at 10,000 requests/s this is six seconds of a disk that stands still.
MAX_WAITING: Final = 65_536
# Rows kept for a store that does not answer; 600 bytes each, so 1.5 GB at most.
MAX_ITEMS: Final = 2_500_000
# Rows in one statement. A statement of each size is prepared once and kept.
MAX_STATEMENT: Final = 64

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS item (
    id   INTEGER PRIMARY KEY,
    key  TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS progress (key TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

# What is put for each row: key, body, the totals it counts in, and how much in each.
Row = tuple[str, bytes, tuple[str, ...], int]


class Group(NamedTuple):
    """Rows of one commit, laid out as they are written."""

    values: list[str | bytes]  # key, body, key, body ...
    shares: list[tuple[tuple[str, ...], int]]  # of each row: the totals it counts in, and how much in each


# Adds the rows of things that were put, one each; called on the spool's thread.
Render = Callable[[list[Any], Group], None]
# Told once per group, on the spool's thread: the things in it, and None or why none of them is on disk.
Landed = Callable[[list[Any], StoreError | None], None]


@dataclass(slots=True)
class _Job:
    run: Callable[[sqlite3.Connection], object]
    finished: threading.Event
    result: object = None
    error: BaseException | None = None


class Spool:
    """One process owns one spool; any thread of it may call."""

    def __init__(
        self,
        path: Path,
        *,
        linger_s: float = LINGER_S,
        max_group: int = MAX_GROUP,
        max_items: int = MAX_ITEMS,
        keep_last: int | None = None,
    ) -> None:
        """`keep_last`: nobody takes the rows (a gateway alone), so only the newest of them are kept."""
        self.path, self.linger_s, self.max_group = path, linger_s, max_group
        self.max_items, self.keep_last = max_items, keep_last
        self.render: Render | None = None
        self.landed: Landed | None = None
        self._rows: list[Row] = []
        self._things: list[object] = []  # rows that are still to be rendered
        self._in_progress: set[str] = set()  # keys that have a progress row on disk
        self._progress: dict[str, bytes] = {}
        self._jobs: deque[_Job] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._asleep = False
        self._closing = False
        self._ready = threading.Event()
        self._failed: StoreError | None = None
        self._count = 0
        self._last_group = 0
        self.commits = 0
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed

    # --- asked by others ----------------------------------------------------

    def put(self, key: str, body: bytes, names: tuple[str, ...] = (), amount: int = 0) -> None:
        """Queue one finished row, which adds `amount` to each of the totals `names`. The progress row of the same
        key goes in the same transaction. Raises StoreError where the disk does not keep up."""
        if len(self._rows) >= MAX_WAITING:
            raise self._too_slow()
        self._rows.append((key, body, names, amount))
        if self._asleep:
            self._ring()

    def put_thing(self, thing: object) -> None:
        """Queue what `render` makes a row of; `landed` is told of it. Raises StoreError like `put`."""
        if len(self._things) >= MAX_WAITING:
            raise self._too_slow()
        self._things.append(thing)
        if self._asleep:  # said before the thread looks a last time, so nothing is overlooked
            self._ring()

    def _too_slow(self) -> StoreError:
        return StoreError(f"the disk under {self.path} does not keep up: {MAX_WAITING} rows wait for it")

    def _ring(self) -> None:
        self._asleep = False
        self._bell.put(None)

    def progress(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """What is not finished, as of now; nobody waits for it."""
        self._progress.update(rows)
        if self._asleep:
            self._ring()

    def take(self, limit: int = 256) -> list[tuple[int, str, bytes]]:
        """The oldest (id, key, body), still kept until `forget`."""
        sql = "SELECT id, key, body FROM item ORDER BY id LIMIT ?"
        return self._ask(lambda db: db.execute(sql, (limit,)).fetchall())  # type: ignore[return-value]

    def forget(self, ids: Iterable[int]) -> None:
        """Delete what the store has acknowledged."""
        rows = [(one,) for one in ids]

        def delete(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("DELETE FROM item WHERE id = ?", rows)
            db.execute("COMMIT")
            self._count -= len(rows)

        self._ask(delete)

    def try_write(self) -> None:
        """Write and take back a little, after a write has failed. Raises StoreError while the disk takes nothing."""

        def write(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT OR REPLACE INTO progress VALUES ('', zeroblob(4096))")
            db.execute("DELETE FROM progress WHERE key = ''")
            db.execute("COMMIT")

        self._ask(write)

    def unfinished(self) -> list[tuple[str, bytes]]:
        """Progress rows: at start, what a killed predecessor left."""
        return self._ask(lambda db: db.execute("SELECT key, body FROM progress ORDER BY key").fetchall())  # type: ignore[return-value]

    def totals(self) -> dict[str, int]:
        return dict(self._ask(lambda db: db.execute("SELECT name, value FROM total").fetchall()))  # type: ignore[call-overload, no-any-return]

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Commit what is queued, then stop."""
        self._closing = True
        self._ring()
        self._thread.join(10.0)

    # --- the thread ----------------------------------------------------------

    def _ask(self, run: Callable[[sqlite3.Connection], object]) -> object:
        job = _Job(run, threading.Event())
        if self._closing:
            raise StoreError(f"the outbox {self.path} is closed")
        self._jobs.append(job)
        self._ring()
        while not job.finished.wait(1.0):
            if not self._thread.is_alive():
                raise StoreError(f"the outbox {self.path} is closed")
        if job.error is not None:
            raise StoreError(f"cannot use the outbox at {self.path}: {job.error}") from job.error
        return job.result

    def _run(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, isolation_level=None, cached_statements=2 * MAX_STATEMENT)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA busy_timeout=5000")
            db.executescript(_SCHEMA)
            (self._count,) = db.execute("SELECT count(*) FROM item").fetchone()
            self._in_progress = {key for (key,) in db.execute("SELECT key FROM progress")}
        except (sqlite3.Error, OSError) as error:
            self._failed = StoreError(f"cannot open the outbox at {self.path}: {error}; check that it is writable")
            self._ready.set()
            return
        self._ready.set()
        while self._sleep():
            self._commit(db)
            while self._jobs:
                while self._rows or self._things:  # who asks sees all that was put before
                    self._commit(db)
                self._do(db, self._jobs.popleft())
        db.close()

    def _sleep(self) -> bool:
        """Until there is something to do and others have had time to join it. False: closed, and all is done."""
        while not self._busy():
            if self._closing:
                return False
            self._asleep = True
            if self._busy() or self._closing:
                self._asleep = False
            else:
                self._bell.get()
        full = len(self._rows) + len(self._things) >= self.max_group
        if not (full or self._jobs or self._closing):
            with contextlib.suppress(Empty):
                self._bell.get(timeout=self.linger_s if self._last_group >= BUSY_GROUP else LINGER_ALONE_S)
        return True

    def _busy(self) -> bool:
        return bool(self._things or self._rows or self._jobs or self._progress)

    def _do(self, db: sqlite3.Connection, job: _Job) -> None:
        try:
            job.result = job.run(db)
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            job.error = error
        job.finished.set()

    def _commit(self, db: sqlite3.Connection) -> None:
        # Cut off in one step each, since others append meanwhile.
        rows = self._rows[: self.max_group]
        del self._rows[: len(rows)]
        things = self._things[: self.max_group - len(rows)]
        del self._things[: len(things)]
        progress: dict[str, bytes] = {}
        while self._progress:
            key, body = self._progress.popitem()
            progress[key] = body
        if not (rows or things or progress):
            return
        self._last_group = len(rows) + len(things)
        failed = self._keep(db, rows, things, progress)
        if things and self.landed is not None:
            self.landed(things, failed)

    def _keep(
        self, db: sqlite3.Connection, rows: list[Row], things: list[object], progress: dict[str, bytes]
    ) -> StoreError | None:
        if self.keep_last is None and self._count + len(rows) + len(things) > self.max_items:
            return StoreError(f"outbox {self.path} holds its bound of {self.max_items} rows; restore the link")
        group = Group([], [])
        values, shares = group
        try:
            for key, body, names, amount in rows:
                values += (key, body)
                shares.append((names, amount))
            if things:
                assert self.render is not None
                self.render(things, group)
            self._write(db, group, progress)
        except Exception as error:  # a row that cannot be made must not end the thread that all others wait for
            if db.in_transaction:
                db.execute("ROLLBACK")
            return StoreError(f"cannot write to the outbox at {self.path}: {error}")
        return None

    def _write(self, db: sqlite3.Connection, group: Group, progress: dict[str, bytes]) -> None:
        """One transaction."""
        values = group.values
        ended: list[str] = []
        if progress or self._in_progress:
            for key in values[::2]:
                assert isinstance(key, str)
                progress.pop(key, None)
                if key in self._in_progress:
                    ended.append(key)
        db.execute("BEGIN IMMEDIATE")
        shares = _insert(db, group)
        count = len(shares)
        sums: dict[tuple[str, ...], int] = {}
        for names, amount in shares:
            sums[names] = sums.get(names, 0) + amount
        totals: dict[str, int] = {}
        for names, amount in sums.items():
            for name in names if amount else ():
                totals[name] = totals.get(name, 0) + amount
        if totals:
            db.execute(_add_totals(len(totals)), [value for pair in totals.items() for value in pair])
        if ended:
            db.executemany("DELETE FROM progress WHERE key = ?", [(key,) for key in ended])
        if progress:
            db.executemany("INSERT OR REPLACE INTO progress VALUES (?, ?)", progress.items())
        if self.keep_last is not None and self._count + count > self.keep_last * 1.1:
            db.execute("DELETE FROM item WHERE id <= (SELECT max(id) FROM item) - ?", (self.keep_last,))
            (kept,) = db.execute("SELECT count(*) FROM item").fetchone()
            self._count = kept - count
        db.execute("COMMIT")
        self._count += count
        self.commits += 1
        self._in_progress.difference_update(ended)
        self._in_progress.update(progress)


def _insert(db: sqlite3.Connection, group: Group) -> list[tuple[tuple[str, ...], int]]:
    """The shares of the rows that were not there before. Nearly all are new; a line of a batch that ran again after
    a crash comes under its old key, and counts once."""
    values, shares = group
    added = 0
    for at in range(0, len(values), 2 * MAX_STATEMENT):
        part = values[at : at + 2 * MAX_STATEMENT]
        added += db.execute(_insert_rows(len(part) // 2), part).rowcount
    if added == len(shares):
        return shares
    db.execute("ROLLBACK")
    db.execute("BEGIN IMMEDIATE")
    pairs = zip(values[::2], values[1::2], strict=True)
    return [share for share, pair in zip(shares, pairs, strict=True) if db.execute(_insert_rows(1), pair).rowcount]


@cache
def _insert_rows(count: int) -> str:
    """At most MAX_STATEMENT of these are ever made."""
    return "INSERT OR IGNORE INTO item (key, body) VALUES " + ", ".join(["(?, ?)"] * count)


def _add_totals(count: int) -> str:
    """Few names are added to at a time: those of one key, one project and one tenant, or of several."""
    return (
        f"INSERT INTO total VALUES {', '.join(['(?, ?)'] * count)}"
        " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
    )


# --- read beside the thread, from a connection of its own --------------------------------


def spent_by(path: Path, tenant: str, since: datetime, until: datetime) -> list[tuple[Any, ...]]:
    """(project, key, model, requests, prompt tokens, output tokens, nano-dollars) of a tenant's Usage rows that are
    still here. Raises StoreError."""
    sql = """
        SELECT body ->> 'project', body ->> 'key_id', body ->> 'model', count(*),
               sum(body ->> 'prompt_tokens'), sum(body ->> 'output_tokens'), sum(coalesce(body ->> 'cost_nano_usd', 0))
        FROM (SELECT key, CAST(body AS TEXT) AS body FROM item GROUP BY key)
        WHERE body ->> 'type' = 'Usage' AND body ->> 'tenant' = ?
          AND julianday(body ->> 'at') >= julianday(?) AND julianday(body ->> 'at') < julianday(?)
        GROUP BY 1, 2, 3
    """
    return _look(path, sql, (tenant, since.isoformat(), until.isoformat()))


def trail(path: Path, limit: int) -> list[bytes]:
    """The newest Action rows that are still here. Raises StoreError."""
    sql = "SELECT body FROM item WHERE CAST(body AS TEXT) ->> 'type' = 'Action' ORDER BY id DESC LIMIT ?"
    return [body for (body,) in _look(path, sql, (limit,))]


def _look(path: Path, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(sql, values).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"cannot read the outbox at {path}: {error}") from error
