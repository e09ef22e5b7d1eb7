"""Hours and days of whole numbers, and how far into the records they reach, in one small database of a machine's own.

Knows no records: a row is a subject, a span and a list of numbers, and what is given is added to it. The numbers and
the record that they reach are one transaction, so that a record counts once whatever happens between two of them.
Everything here is made from records and can be made anew: a file that is damaged is thrown away.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from tieline.clock import from_micros, micros
from tieline.store.database import REAL, DamagedError, Database, Disk, Kind, StoreError, mark_of, open_database

log = logging.getLogger("tieline.store")

ROLLED_FILE: Final = "rolled.db"
HOUR_S: Final = 3_600
DAY_S: Final = 86_400

KIND: Final = Kind(
    name="roll-ups",
    application_id=0x746C726F,  # "tlro"
    steps=(
        """
        CREATE TABLE rolled (
            subject TEXT    NOT NULL,
            size    INTEGER NOT NULL,
            at      INTEGER NOT NULL,
            sums    BLOB    NOT NULL,
            PRIMARY KEY (subject, size, at)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE reached (
            id    INTEGER PRIMARY KEY CHECK (id = 1),
            seq   INTEGER NOT NULL,
            epoch TEXT    NOT NULL,
            form  INTEGER NOT NULL
        ) STRICT;
        INSERT INTO reached VALUES (1, 0, '', 0);
        """,
    ),
    last="0",
    cache_kib=16_000,
)

# (subject, beginning of the hour) -> what is added there.
Added = Mapping[tuple[str, datetime], Sequence[int]]

_decode = msgspec.json.Decoder(list[int]).decode


class OvertakenError(StoreError):
    """Somebody else has rolled up meanwhile; nothing of this was kept."""


class RolledStore:
    """The file. Everything raises StoreError."""

    def __init__(self, path: Path | None, *, read_only: bool = False, disk: Disk = REAL) -> None:
        """`path` None: in memory."""
        self.path = path
        try:
            self._db: Database = open_database(path, KIND, read_only=read_only, disk=disk)
        except DamagedError as error:
            if read_only or path is None:
                raise
            log.warning("%s is thrown away and made anew from the records: %s", path, error)
            for one in (*(path.with_name(path.name + end) for end in ("", "-wal", "-shm")), mark_of(path)):
                with contextlib.suppress(FileNotFoundError):
                    one.unlink()
            self._db = open_database(path, KIND, disk=disk)

    def reached(self, epoch: str, form: int) -> int:
        """The record up to which everything is counted; 0 where what is kept is of another store or another form."""
        ((seq, of, made),) = self._db.rows("SELECT seq, epoch, form FROM reached")
        return int(seq) if (of, made) == (epoch, form) else 0

    def forget(self) -> None:
        """Nothing is counted any more: the next `add` begins at 0."""
        with self._db.write():
            self._db.run("DELETE FROM rolled")
            self._db.run("UPDATE reached SET seq = 0, epoch = '', form = 0")

    def add(self, added: Added, after: int, upto: int, epoch: str, form: int) -> None:
        """Add to hours and their days, which then hold every record up to `upto`. `after`: what `reached` said. From 0
        all that was kept before is gone. Raises OvertakenError."""
        with self._db.write():
            if self.reached(epoch, form) != after:
                raise OvertakenError(f"{self.path} was rolled up by somebody else; this goes on behind them")
            if after == 0:
                self._db.run("DELETE FROM rolled")
            for size in (HOUR_S, DAY_S):
                spans: dict[tuple[str, int], list[int]] = {}
                for (subject, hour), numbers in added.items():
                    at = micros(hour) // 1_000_000 // size * size
                    before = spans.get((subject, at))
                    spans[subject, at] = (
                        list(numbers) if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
                    )
                self._put(size, spans)
            self._db.run("UPDATE reached SET seq = ?, epoch = ?, form = ?", (upto, epoch, form))

    def between(self, subject: str, size: int, start: datetime, end: datetime) -> Iterator[tuple[datetime, list[int]]]:
        """Hours (`size` HOUR_S) or days (DAY_S) that begin in [start, end), in order; one without a record is not
        there."""
        sql = "SELECT at, sums FROM rolled WHERE subject = ? AND size = ? AND at >= ? AND at < ? ORDER BY at"
        span = (-(-micros(start) // 1_000_000), -(-micros(end) // 1_000_000))
        for at, sums in self._db.rows(sql, (subject, size, *span)):
            yield from_micros(at * 1_000_000), _decode(sums)

    def subjects(self) -> list[str]:
        """All of which anything is kept, in order; each is found by a step of the index, not by reading every row."""
        sql = """
            WITH RECURSIVE next(subject) AS (
                SELECT min(subject) FROM rolled
                UNION ALL
                SELECT (SELECT min(r.subject) FROM rolled r WHERE r.subject > next.subject) FROM next
                WHERE next.subject IS NOT NULL
            )
            SELECT subject FROM next WHERE subject IS NOT NULL
        """
        return [str(subject) for (subject,) in self._db.rows(sql)]

    def close(self) -> None:
        self._db.close()

    def _put(self, size: int, spans: Mapping[tuple[str, int], Sequence[int]]) -> None:
        rows = []
        for (subject, at), numbers in spans.items():
            kept = self._db.rows(
                "SELECT sums FROM rolled WHERE subject = ? AND size = ? AND at = ?", (subject, size, at)
            )
            for (sums,) in kept:
                numbers = [a + b for a, b in zip(_decode(sums), numbers, strict=True)]
            rows.append((subject, size, at, msgspec.json.encode(list(numbers))))
        self._db.many("INSERT OR REPLACE INTO rolled (subject, size, at, sums) VALUES (?,?,?,?)", rows)
