"""What came in and could not be taken, by name: kept on disk until a person looks at it.

One file per process that sets things aside: the core's for what senders pushed, a sender's own for what the core would
not keep. The file is made with the first item. Bounded in all and per origin, so that one sender cannot crowd out the
others; `add` refuses at the bound and never throws away what it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from tieline.clock import from_micros, micros
from tieline.store.database import REAL, Database, Disk, Kind, open_database

NAME: Final = "quarantine.db"
# A day of one site whose clock is wrong is 30,000 records of 400 bytes; four such sites, or one that floods.
MAX_ITEMS, MAX_BYTES = 200_000, 256_000_000
MAX_ITEMS_OF_ONE, MAX_BYTES_OF_ONE = 50_000, 64_000_000
MAX_WHY = 2_000

KIND: Final = Kind(
    name="quarantine",
    application_id=0x746C7175,  # "tlqu"
    steps=(
        """
        CREATE TABLE item (
            id       INTEGER PRIMARY KEY AUTOINCREMENT,
            origin   TEXT    NOT NULL,
            name     TEXT    NOT NULL,
            why      TEXT    NOT NULL,
            first_at INTEGER NOT NULL,
            last_at  INTEGER NOT NULL,
            times    INTEGER NOT NULL,
            digest   BLOB    NOT NULL,
            body     BLOB    NOT NULL,
            UNIQUE (origin, digest)
        ) STRICT;
        """,
        """
        CREATE TABLE lost (
            origin  TEXT    PRIMARY KEY,
            items   INTEGER NOT NULL,
            last_at INTEGER NOT NULL,
            name    TEXT    NOT NULL,
            why     TEXT    NOT NULL
        ) STRICT;
        """,
    ),
    last="(SELECT max(id) FROM item)",
)

_FIELDS = "id, origin, name, why, first_at, last_at, times, length(body)"


class HeldItem(NamedTuple):
    """One item that was set aside; its bytes are asked for by `body`."""

    id: int
    origin: str
    name: str
    why: str
    first_at: datetime
    last_at: datetime
    times: int
    size: int


class LostItems(NamedTuple):
    """What one origin had to let go: neither taken, nor room to set it aside. Of the last one, name and reason."""

    origin: str
    items: int
    last_at: datetime
    name: str
    why: str


class Quarantine:
    """One file of set-aside items. Any process may read and drop; one adds."""

    def __init__(
        self,
        path: Path,
        *,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        max_items_of_one: int = MAX_ITEMS_OF_ONE,
        max_bytes_of_one: int = MAX_BYTES_OF_ONE,
        read_only: bool = False,
        disk: Disk = REAL,
    ) -> None:
        self.path, self.read_only, self._disk = path, read_only, disk
        self.max_items, self.max_bytes = max_items, max_bytes
        self.max_items_of_one, self.max_bytes_of_one = max_items_of_one, max_bytes_of_one
        self._db: Database | None = None

    def add(self, origin: str, items: Iterable[tuple[str, str, bytes]], now: datetime) -> list[bool]:
        """Keep (name, why, body) items of one origin in one durable transaction. For each: True, it is kept (again,
        where it came before), or False, a bound is reached. Raises StoreError."""
        db = self._open()
        recorded: list[bool] = []
        with db.write():
            count, size = self._fill(db, None)
            count_of_one, size_of_one = self._fill(db, origin)
            for name, why, body in items:
                digest = hashlib.sha256(body).digest()
                if db.run(
                    "UPDATE item SET times = times + 1, last_at = ?, why = ? WHERE origin = ? AND digest = ?",
                    (micros(now), why[:MAX_WHY], origin, digest),
                ):
                    recorded.append(True)
                    continue
                fits = (
                    count < self.max_items
                    and size + len(body) <= self.max_bytes
                    and count_of_one < self.max_items_of_one
                    and size_of_one + len(body) <= self.max_bytes_of_one
                )
                if fits:
                    row = (origin, name, why[:MAX_WHY], micros(now), micros(now), digest, body)
                    db.run(
                        "INSERT INTO item (origin, name, why, first_at, last_at, times, digest, body)"
                        " VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
                        row,
                    )
                    count, count_of_one = count + 1, count_of_one + 1
                    size, size_of_one = size + len(body), size_of_one + len(body)
                recorded.append(fits)
        return recorded

    def lose(self, origin: str, name: str, why: str, now: datetime) -> None:
        """Count an item that is let go because nobody has room for it. Raises StoreError."""
        db = self._open()
        with db.write():
            db.run(
                "INSERT INTO lost (origin, items, last_at, name, why) VALUES (?, 1, ?, ?, ?) ON CONFLICT (origin) DO"
                " UPDATE SET items = items + 1, last_at = excluded.last_at, name = excluded.name, why = excluded.why",
                (origin, micros(now), name, why[:MAX_WHY]),
            )

    def lost(self) -> list[LostItems]:
        """What was let go, by origin; there are few, a file has one or a fleet's."""
        if not self.path.exists():
            return []
        rows = self._open().rows("SELECT origin, items, last_at, name, why FROM lost ORDER BY origin")
        return [LostItems(origin, items, from_micros(at), name, why) for origin, items, at, name, why in rows]

    def each(self) -> Iterator[HeldItem]:
        """All of them, oldest first."""
        if self.path.exists():
            for row in self._open().each(f"SELECT {_FIELDS} FROM item ORDER BY id"):
                yield _held(row)

    def get(self, number: int) -> tuple[HeldItem, bytes] | None:
        """One item and its bytes; None: there is none of this number."""
        if not self.path.exists():
            return None
        for row in self._open().rows(f"SELECT {_FIELDS}, body FROM item WHERE id = ?", (number,)):
            return _held(row[:-1]), row[-1]
        return None

    def drop(self, numbers: Iterable[int]) -> int:
        """Forget these; returns how many there were."""
        if not self.path.exists():
            return 0
        db = self._open()
        with db.write():
            return sum(db.run("DELETE FROM item WHERE id = ?", (one,)) for one in numbers)

    def __len__(self) -> int:
        if not self.path.exists():
            return 0
        ((count,),) = self._open().rows("SELECT count(*) FROM item")
        return int(count)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> Database:
        if self._db is None:
            self._db = open_database(self.path, KIND, read_only=self.read_only, disk=self._disk)
        return self._db

    def _fill(self, db: Database, origin: str | None) -> tuple[int, int]:
        where, values = ("", ()) if origin is None else (" WHERE origin = ?", (origin,))
        ((count, size),) = db.rows(f"SELECT count(*), coalesce(sum(length(body)), 0) FROM item{where}", values)
        return int(count), int(size)


def quarantines(data: Path, *, read_only: bool = False) -> dict[str, Quarantine]:
    """All that a data folder holds, by the place in it: "core", "sites/na-tx-01" and so on."""
    files = [data / NAME, *sorted(data.glob(f"*/{NAME}")), *sorted(data.glob(f"*/*/{NAME}"))]
    return {
        "core" if path.parent == data else path.parent.relative_to(data).as_posix(): Quarantine(
            path, read_only=read_only
        )
        for path in files
        if path.exists()
    }


def count_of(data: Path) -> tuple[int, int]:
    """How many items are set aside in a data folder, and how many were let go. Raises StoreError."""
    held = lost = 0
    for one in quarantines(data, read_only=True).values():
        try:
            held += len(one)
            lost += sum(origin.items for origin in one.lost())
        finally:
            one.close()
    return held, lost


def _held(row: tuple[object, ...]) -> HeldItem:
    number, origin, name, why, first, last, times, size = row
    assert isinstance(number, int)
    assert isinstance(first, int)
    assert isinstance(last, int)
    assert isinstance(times, int)
    assert isinstance(size, int)
    return HeldItem(number, str(origin), str(name), str(why), from_micros(first), from_micros(last), times, size)
