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
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar, cast

from tieline.store import used
from tieline.store.database import REAL, Database, Disk, Kind, Loss, StoreError, closed_on_failure, open_database
from tieline.store.outbox import FORGET_OLDEST
from tieline.store.peer import STEP, Peer, StoreState

log = logging.getLogger("tieline.store")

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
# Between two tries to write rows that the disk refused.
AGAIN_S: Final = 0.1
# Rows in one statement. A statement of each size is prepared once and kept.
MAX_STATEMENT: Final = 64

# Rows kept after the store has acknowledged them, newest first, 600 bytes each: a store that has lost its end asks
# for them again, and who asks what was used or done lately is told from here.
KEEP_SENT: Final = 1_000_000

KIND: Final = Kind(
    name="usage spool",
    application_id=0x746C7573,  # "tlus"
    steps=(
        """
        CREATE TABLE IF NOT EXISTS item (
            id   INTEGER PRIMARY KEY,
            key  TEXT NOT NULL UNIQUE,
            body BLOB NOT NULL
        ) STRICT;
        CREATE TABLE IF NOT EXISTS progress (key TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        ALTER TABLE item ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX item_waiting ON item (id) WHERE sent = 0;
        CREATE TABLE peer (id INTEGER PRIMARY KEY CHECK (id = 1), epoch TEXT NOT NULL) STRICT;
        """,
        used.SCHEMA,
        STEP,
        used.UNITS,
    ),
    last="(SELECT max(id) FROM item)",
)

T = TypeVar("T")

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
    run: Callable[[Database], Any]
    finished: threading.Event
    result: Any = None
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
        keep_sent: int = KEEP_SENT,
        disk: Disk = REAL,
    ) -> None:
        """`keep_last`: nobody takes the rows (a gateway alone), so only the newest of them are kept."""
        self.path, self.linger_s, self.max_group = path, linger_s, max_group
        self.max_items, self.keep_last, self.keep_sent, self._disk = max_items, keep_last, keep_sent, disk
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
        self._failing: StoreError | None = None  # rows of `put` wait for the disk
        self._count = 0
        self._peer: Peer
        self._last_group = 0
        self._usual_group = 0.0  # the largest of late
        self._lingers = False  # others may join the group; a ring ends it
        self._complete = False  # ... and none is to come
        self.commits = 0
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._begin()
        if self._failed is not None:
            raise self._failed

    def _begin(self) -> None:
        """Start the thread. The simulation, whose time is not the threads', does the thread's work in turns instead."""
        self._thread.start()
        self._ready.wait()

    # --- asked by others ----------------------------------------------------

    def put(self, key: str, body: bytes, names: tuple[str, ...] = (), amount: int = 0) -> None:
        """Queue one finished row, which adds `amount` to each of the totals `names`. The progress row of the same
        key goes in the same transaction. Where the disk refuses it, it waits and is tried again. Raises StoreError
        where too many wait."""
        if len(self._rows) >= MAX_WAITING:
            raise self._too_slow()
        self._rows.append((key, body, names, amount))
        if self._asleep:
            self._ring()

    def put_thing(self, thing: object, *, last: bool = False) -> None:
        """Queue what `render` makes a row of; `landed` is told of it. `last`: none is to come soon, so a group half as
        large as they are of late waits for no others. Raises StoreError like `put`."""
        if len(self._things) >= MAX_WAITING:
            raise self._too_slow()
        self._things.append(thing)
        self._complete = last and 2 * len(self._things) >= self._usual_group
        if self._asleep or (self._complete and self._lingers):
            # Said before the thread looks a last time, so nothing is overlooked.
            self._ring()

    def _too_slow(self) -> StoreError:
        return StoreError(f"the disk under {self.path} does not keep up: {MAX_WAITING} rows wait for it")

    def _ring(self) -> None:
        self._asleep = self._lingers = False
        self._bell.put(None)

    def progress(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """What is not finished, as of now; nobody waits for it."""
        self._progress.update(rows)
        if self._asleep:
            self._ring()

    def take(self, limit: int = 256) -> list[tuple[int, str, bytes]]:
        """The oldest (id, key, body) that wait, until `forget`."""
        sql = "SELECT id, key, body FROM item WHERE sent = 0 ORDER BY id LIMIT ?"
        return [(id_, key, body) for id_, key, body in self._ask(lambda db: db.rows(sql, (limit,)))]

    def forget(self, ids: Iterable[int]) -> None:
        """The store has acknowledged these: they wait no longer, and the oldest beyond what is kept go."""
        rows = [(one,) for one in ids]

        def mark(db: Database) -> None:
            with db.write():
                count = len(db.many("UPDATE item SET sent = 1 WHERE id = ? AND sent = 0 RETURNING id", rows))
                db.run(FORGET_OLDEST, (self.keep_sent,))
                self._peer.remember(db)
            self._count -= count
            if self._count < 0:  # another hand was in the file
                ((self._count,),) = db.rows("SELECT count(*) FROM item WHERE sent = 0")

        self._ask(mark)

    def heard(self, state: StoreState) -> int:
        """Which store answered, as it came with an acknowledgement. Where it may have lost what it had acknowledged,
        all that is still kept waits again, and how much that is is returned."""

        def wait_again(db: Database) -> int:
            count = self._peer.heard(db, state)
            self._count += count
            return count

        return self._ask(wait_again)

    def untold(self) -> list[Loss]:
        """What was acknowledged and lost, and is not on record yet; `told` once it is."""
        return self._ask(lambda db: db.untold())

    def told(self, loss: Loss) -> None:
        self._ask(lambda db: db.told(loss))

    def try_write(self) -> None:
        """Write and take back a little, after a write has failed. Raises StoreError while the disk takes nothing."""

        def write(db: Database) -> None:
            with db.write():
                db.run("INSERT OR REPLACE INTO progress VALUES ('', zeroblob(4096))")
                db.run("DELETE FROM progress WHERE key = ''")

        self._ask(write)

    def unfinished(self) -> list[tuple[str, bytes]]:
        """Progress rows: at start, what a killed predecessor left."""
        rows = self._ask(lambda db: db.rows("SELECT key, body FROM progress ORDER BY key"))
        return [(key, body) for key, body in rows]

    def totals(self) -> dict[str, int]:
        rows = self._ask(lambda db: db.rows("SELECT name, value FROM total"))
        return dict(cast("list[tuple[str, int]]", rows))

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Commit what is queued, then stop."""
        self._closing = True
        self._ring()
        self._thread.join(10.0)

    # --- the thread ----------------------------------------------------------

    def _ask(self, run: Callable[[Database], T]) -> T:
        job = _Job(run, threading.Event())
        if self._closing:
            raise StoreError(f"the outbox {self.path} is closed")
        self._jobs.append(job)
        self._ring()
        while not job.finished.wait(1.0):
            if not self._thread.is_alive():
                raise StoreError(f"the outbox {self.path} is closed")
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _run(self) -> None:
        try:
            db = self._open()
        except StoreError as error:
            self._failed = error
            self._ready.set()
            return
        self._ready.set()
        while self._sleep():
            self._turn(db)
        db.close()

    def _open(self) -> Database:
        """Raises StoreError."""
        db = open_database(self.path, KIND, disk=self._disk)
        with closed_on_failure(db):
            ((self._count,),) = db.rows("SELECT count(*) FROM item WHERE sent = 0")
            self._peer = Peer(db)
            self._in_progress = {key for (key,) in db.rows("SELECT key FROM progress")}
            used.fold_old(db)
        return db

    def _turn(self, db: Database) -> None:
        """Commit what waits, then do what is asked."""
        self._commit(db)
        while self._jobs:
            while (self._rows or self._things) and self._commit(db):  # who asks sees all that was put before
                pass
            self._do(db, self._jobs.popleft())

    def _sleep(self) -> bool:
        """Until there is something to do and others have had time to join it. False: closed, and all is done.

        While rows come in numbers it looks every `linger_s` and is not rung for: on one core a bell is two changes of
        thread, which cost as much as ten rows."""
        while self._last_group < BUSY_GROUP and not self._busy():
            if self._closing:
                return False
            self._asleep = True
            if self._busy() or self._closing:
                self._asleep = False
            else:
                self._bell.get()
        full = len(self._rows) + len(self._things) >= self.max_group
        if not (full or self._jobs or self._closing):
            self._lingers = True
            if not self._complete:  # looked at after it was said that a ring is heard
                with contextlib.suppress(Empty):
                    self._bell.get(timeout=self.linger_s if self._last_group >= BUSY_GROUP else LINGER_ALONE_S)
            self._lingers = self._complete = False
        return True

    def _busy(self) -> bool:
        return bool(self._things or self._rows or self._jobs or self._progress)

    def _do(self, db: Database, job: _Job) -> None:
        try:
            job.result = job.run(db)
        except Exception as error:  # what one asks must not end the thread that all others wait for
            job.error = error
        job.finished.set()

    def _commit(self, db: Database) -> bool:
        """One group; False where the disk takes it not."""
        # Cut off in one step each, since others append meanwhile. Rows that were refused go by themselves.
        rows = [] if self._failing is not None and self._things else self._rows[: self.max_group]
        del self._rows[: len(rows)]
        things = self._things[: self.max_group - len(rows)]
        del self._things[: len(things)]
        progress: dict[str, bytes] = {}
        while self._progress:
            key, body = self._progress.popitem()
            progress[key] = body
        self._last_group = len(rows) + len(things)
        self._usual_group = max(float(self._last_group), 0.95 * self._usual_group)
        if not (rows or things or progress):
            return True
        failed = self._keep(db, rows, things, progress)
        if things and self.landed is not None:
            self.landed(things, failed)
        if rows and failed is not None:
            self._again(rows, failed)
        elif rows and self._failing is not None:
            self._failing = None
            log.warning("%s: what waited for the disk is written", self.path)
        return failed is None

    def _again(self, rows: list[Row], failed: StoreError) -> None:
        """Nobody waits for these, so they wait for the disk; `put` refuses more once they are MAX_WAITING."""
        if self._closing:
            log.error("%s: %d rows are lost, the last chance to write them is gone: %s", self.path, len(rows), failed)
            return
        if self._failing is None:
            log.error("%s: %d rows wait for the disk: %s", self.path, len(rows), failed)
        self._failing = failed
        self._rows[:0] = rows
        with contextlib.suppress(Empty):
            self._bell.get(timeout=AGAIN_S)

    def _keep(
        self, db: Database, rows: list[Row], things: list[object], progress: dict[str, bytes]
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
        except StoreError as error:
            return error
        except Exception as error:  # a row that cannot be made must not end the thread that all others wait for
            return StoreError(f"cannot write to the outbox at {self.path}: {error}")
        return None

    def _write(self, db: Database, group: Group, progress: dict[str, bytes]) -> None:
        """One transaction."""
        values = group.values
        ended: list[str] = []
        if progress or self._in_progress:
            for key in values[::2]:
                assert isinstance(key, str)
                progress.pop(key, None)
                if key in self._in_progress:
                    ended.append(key)
        with db.write() as transaction:
            shares, bodies = _insert(db, group)
            transaction.keep(bodies, db.last_row())
            used.add(db, bodies)
            totals = _sums(shares)
            if totals:
                db.run(_add_totals(len(totals)), [value for pair in totals.items() for value in pair])
            if ended:
                db.many("DELETE FROM progress WHERE key = ?", [(key,) for key in ended])
            if progress:
                db.many("INSERT OR REPLACE INTO progress VALUES (?, ?)", progress.items())
            count = self._count + len(shares)
            if self.keep_last is not None and count > self.keep_last * 1.1:
                db.run("DELETE FROM item WHERE id <= (SELECT max(id) FROM item) - ?", (self.keep_last,))
                ((count,),) = db.rows("SELECT count(*) FROM item WHERE sent = 0")
        self._count = count
        self.commits += 1
        self._in_progress.difference_update(ended)
        self._in_progress.update(progress)


def _sums(shares: list[tuple[tuple[str, ...], int]]) -> dict[str, int]:
    """What is added to each total."""
    by_names: dict[tuple[str, ...], int] = {}
    for names, amount in shares:
        by_names[names] = by_names.get(names, 0) + amount
    totals: dict[str, int] = {}
    for names, amount in by_names.items():
        for name in names if amount else ():
            totals[name] = totals.get(name, 0) + amount
    return totals


def _insert(db: Database, group: Group) -> tuple[list[tuple[tuple[str, ...], int]], list[bytes]]:
    """The shares and the bodies of the rows that were not there before. Nearly all are new; a line of a batch that ran
    again after a crash comes under its old key, and counts once."""
    values, shares = group
    db.run("SAVEPOINT rows")
    parts = [values[at : at + 2 * MAX_STATEMENT] for at in range(0, len(values), 2 * MAX_STATEMENT)]
    added = sum(db.run(_insert_rows(len(part) // 2), part) for part in parts)
    if added == len(shares):
        return shares, cast("list[bytes]", values[1::2])  # every second one is a body
    db.run("ROLLBACK TO rows")
    rows = zip(shares, values[::2], cast("list[bytes]", values[1::2]), strict=True)
    new = [(share, body) for share, key, body in rows if db.run(_insert_rows(1), (key, body))]
    return [share for share, _ in new], [body for _, body in new]


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


@contextlib.contextmanager
def look(path: Path) -> Iterator[Database | None]:
    """A spool that another process or thread may write, to be read; None where there is none yet. Raises
    StoreError."""
    if not path.exists():
        yield None
        return
    db = open_database(path, KIND, read_only=True)
    try:
        yield db
    finally:
        db.close()
