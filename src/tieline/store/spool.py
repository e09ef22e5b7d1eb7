"""The spool: an outbox that many requests share, committed in groups by its own thread.

A commit with `synchronous=FULL` costs the same for one row as for two hundred, so rows wait for each other: at
most `linger_s`, or until `max_group` are there. Beside the rows that wait for the store it keeps *progress* (the
last known state of what is not finished yet, one row each, replaced in place) and *totals* (integers per name,
added to in the same transaction as the row that earned them, so that they agree with the rows after any crash).
One thread owns the connection; everything is asked of it. `landed` is called on that thread, once per group.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

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

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS item (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    key  TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS progress (key TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

# Told once per group, on the spool's thread: the tickets of its rows, and None or why none of them is on disk.
Landed = Callable[[list[object], StoreError | None], None]


class _Row(NamedTuple):
    key: str
    body: bytes
    totals: tuple[tuple[str, int], ...]
    ticket: object


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
        self.landed: Landed | None = None
        self._rows: deque[_Row] = deque()
        self._in_progress: set[str] = set()  # keys that have a progress row on disk
        self._progress: dict[str, bytes] = {}
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
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

    def put(self, key: str, body: bytes, totals: tuple[tuple[str, int], ...] = (), ticket: object = None) -> None:
        """Queue one finished row; its ticket is told when it is on disk or cannot be. The progress row of the
        same key goes in the same transaction."""
        if len(self._rows) >= MAX_WAITING:
            raise StoreError(f"the disk under {self.path} does not keep up: {MAX_WAITING} rows wait for it")
        self._rows.append(_Row(key, body, totals, ticket))
        if len(self._rows) in (1, self.max_group):
            with self._wake:
                self._wake.notify()

    def progress(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """What is not finished, as of now; nobody waits for it."""
        self._progress.update(rows)
        with self._wake:
            self._wake.notify()

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

    def unfinished(self) -> list[tuple[str, bytes]]:
        """Progress rows: at start, what a killed predecessor left."""
        return self._ask(lambda db: db.execute("SELECT key, body FROM progress ORDER BY key").fetchall())  # type: ignore[return-value]

    def totals(self) -> dict[str, int]:
        return dict(self._ask(lambda db: db.execute("SELECT name, value FROM total").fetchall()))  # type: ignore[call-overload, no-any-return]

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Commit what is queued, then stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(10.0)

    # --- the thread ----------------------------------------------------------

    def _ask(self, run: Callable[[sqlite3.Connection], object]) -> object:
        job = _Job(run, threading.Event())
        with self._wake:
            if self._closing:
                raise StoreError(f"the outbox {self.path} is closed")
            self._jobs.append(job)
            self._wake.notify()
        job.finished.wait()
        if job.error is not None:
            raise StoreError(f"cannot use the outbox at {self.path}: {job.error}") from job.error
        return job.result

    def _run(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, isolation_level=None)
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
        while True:
            with self._wake:
                while not (self._rows or self._jobs or self._progress or self._closing):
                    self._wake.wait()
                if self._rows and len(self._rows) < self.max_group and not self._jobs and not self._closing:
                    self._wake.wait(self.linger_s if self._last_group >= BUSY_GROUP else LINGER_ALONE_S)
                if self._closing and not (self._rows or self._jobs or self._progress):
                    break
            self._commit(db)
            while self._jobs:
                while self._rows:  # who asks sees all that was put before
                    self._commit(db)
                self._do(db, self._jobs.popleft())
        db.close()

    def _do(self, db: sqlite3.Connection, job: _Job) -> None:
        try:
            job.result = job.run(db)
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            job.error = error
        job.finished.set()

    def _commit(self, db: sqlite3.Connection) -> None:
        group = [self._rows.popleft() for _ in range(min(len(self._rows), self.max_group))]
        progress: dict[str, bytes] = {}
        while self._progress:  # popped one by one: other threads add to it meanwhile
            key, body = self._progress.popitem()
            progress[key] = body
        if not group and not progress:
            return
        self._last_group = len(group)
        for row in group:
            progress.pop(row.key, None)
        if self.keep_last is None and self._count + len(group) > self.max_items:
            failed: StoreError | None = StoreError(
                f"outbox {self.path} holds its bound of {self.max_items} rows; restore the link"
            )
        else:
            failed = self._write(db, group, progress)
        if group and self.landed is not None:
            self.landed([row.ticket for row in group], failed)

    def _write(self, db: sqlite3.Connection, group: list[_Row], progress: dict[str, bytes]) -> StoreError | None:
        try:
            db.execute("BEGIN IMMEDIATE")
            new = self._insert(db, group)
            sums: dict[str, int] = {}
            for row in new:
                for name, value in row.totals:
                    sums[name] = sums.get(name, 0) + value
            if sums:
                db.executemany(
                    "INSERT INTO total VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                    sums.items(),
                )
            ended = [(row.key,) for row in group if row.key in self._in_progress]
            if ended:
                db.executemany("DELETE FROM progress WHERE key = ?", ended)
            if progress:
                db.executemany("INSERT OR REPLACE INTO progress VALUES (?, ?)", progress.items())
            if self.keep_last is not None and self._count + len(new) > self.keep_last * 1.1:
                db.execute("DELETE FROM item WHERE id <= (SELECT max(id) FROM item) - ?", (self.keep_last,))
                (kept,) = db.execute("SELECT count(*) FROM item").fetchone()
                self._count = kept - len(new)
            db.execute("COMMIT")
            self._count += len(new)
            self.commits += 1
            self._in_progress.difference_update(key for (key,) in ended)
            self._in_progress.update(progress)
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            return StoreError(f"cannot write to the outbox at {self.path}: {error}")
        return None

    def _insert(self, db: sqlite3.Connection, group: list[_Row]) -> list[_Row]:
        """The rows that were not there before.

        Many rows go in one statement: each statement hands the interpreter to the event loop and back, which on
        one core costs more than the row. Keys are unique by construction, so the second branch all but never runs.
        """
        at = added = 0
        while at < len(group):
            size = next(size for size in _SIZES if size <= len(group) - at)
            values = [value for row in group[at : at + size] for value in (row.key, row.body)]
            added += db.execute(_INSERTS[size], values).rowcount
            at += size
        if added == len(group):
            return group
        db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        return [row for row in group if db.execute(_INSERTS[1], (row.key, row.body)).rowcount]


_SIZES: Final = (64, 16, 4, 1)
_INSERTS: Final = {
    size: "INSERT OR IGNORE INTO item (key, body) VALUES " + ", ".join(["(?, ?)"] * size) for size in _SIZES
}
