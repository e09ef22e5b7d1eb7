"""Every write by its name, and crashes just before and just after each of them.

A write has the name of what it is done to and what it does: "store: INSERT record", "outbox: UPDATE item", or of its
file: "orders.json".
While the simulation runs, `Database` tells each statement to the disk it lies on. A disk is given a name and a side at
its start, and the power goes, or its program is killed, when that write comes.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.store.simdisk import PowerLossError, SimulatedDisk

from tieline.store.database import Database, Transaction
from tieline.store.mark import Mark

_NAME = re.compile(
    r"\s*(INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM|PRAGMA (?:user_version|application_id) =|CREATE \w+(?: INDEX)?)"
    r"\s*(?:IF NOT EXISTS\s+)?(\w*)"
)


class TimedDisk(SimulatedDisk):
    """A disk of one program, which crashes when it is told to. `crashes` counts them by (write, side)."""

    def __init__(self, folder: Path, draw: random.Random, crashes: Counter[tuple[str, str]], known: set[str]) -> None:
        super().__init__(folder, draw)
        self.crashes, self.known = crashes, known
        self.aim: tuple[str, str, int] | None = None  # this write, before or after it, this time
        self.on_crash: Callable[[], None] = lambda: None

    def step(self) -> None:
        try:
            super().step()
        except PowerLossError:
            self.on_crash()
            raise

    def crash(self) -> None:
        self.off = True
        self.on_crash()

    def named(self, name: str, side: str) -> None:
        """A write of this name is about to be done, or was. Raises PowerLossError."""
        self.known.add(name)
        if self.off:
            raise PowerLossError("the power is off")
        if self.aim is None or self.aim[:2] != (name, side):
            return
        if self.aim[2] > 0:
            self.aim = (name, side, self.aim[2] - 1)
            return
        self.aim = None
        self.crashes[name, side] += 1
        self.crash()
        raise PowerLossError(f"the power went {side} {name}")

    def write_file(self, path: Path, data: bytes) -> None:
        self.named(path.name, "before")
        super().write_file(path, data)
        self.named(path.name, "after")


def name_of(kind: str, sql: str) -> str | None:
    """What a statement is called; None: it reads."""
    found = _NAME.match(sql)
    if found is None:
        return None
    verb = re.sub(r" OR \w+| INTO| FROM| =", "", found[1])
    return f"{kind}: {verb} {found[2]}".rstrip(" 0123456789")


def _disk_of(database: Database) -> TimedDisk | None:
    disk = getattr(database._marks, "_disk", None)
    return disk if isinstance(disk, TimedDisk) else None


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """While this holds, every statement that writes is told to its disk."""
    run, many, advance, write = Database.run, Database.many, Database.advance, Database.write

    def around(database: Database, sql: str, work: Callable[[], Any]) -> Any:
        disk = _disk_of(database)
        name = None if disk is None else name_of(database.kind.name, sql)
        if disk is None or name is None:
            return work()
        with database._named("write to"):
            disk.named(name, "before")
            found = work()
            disk.named(name, "after")
        return found

    def advanced(database: Database, mark: Mark) -> None:
        advance(database, mark)
        disk = _disk_of(database)
        if disk is not None:
            disk.named(f"{database.kind.name}: COMMIT", "before")

    @contextlib.contextmanager
    def written(database: Database) -> Iterator[Transaction]:
        with write(database) as transaction:
            yield transaction
        disk = _disk_of(database)
        if disk is not None:
            with database._named("write to"):
                disk.named(f"{database.kind.name}: COMMIT", "after")

    with (
        mock.patch.object(Database, "run", lambda db, sql, values=(): around(db, sql, lambda: run(db, sql, values))),
        mock.patch.object(Database, "many", lambda db, sql, rows: around(db, sql, lambda: many(db, sql, rows))),
        mock.patch.object(Database, "advance", advanced),
        mock.patch.object(Database, "write", written),
    ):
        yield
