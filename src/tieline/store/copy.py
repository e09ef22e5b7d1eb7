"""All records from one store to another, each under its own number: how a file moves to a server and back.

The target must be empty, or hold the first part of the same records (a copy that was cut short goes on). What came
over is compared by the running digest over all records, and only then does the target take the source's name (its
epoch), so that sites and gateways find the store that acknowledged what they sent.
"""

from __future__ import annotations

from collections.abc import Callable

from tieline.store.database import StoreError
from tieline.store.mark import EMPTY, chained
from tieline.store.sqlite import PAGE, RecordTables, Store
from tieline.store.tail import INSERT

_ROWS = "SELECT seq, stream, key, subject, at, known_at, body FROM record WHERE seq > ? ORDER BY seq LIMIT ?"
_LOSSES = "SELECT why, commits, first_lost, last_lost, since, told FROM loss ORDER BY id"


def copy(source: Store, target: Store, progress: Callable[[int], None] = lambda records: None) -> int:
    """Returns how many records came over. Nobody may write to either meanwhile.

    Raises StoreError, with the source as it was: the target holds other records, or does not take one.
    """
    start = target.last_seq()
    _same_so_far(source.tables, target.tables, start)
    last, done = start, 0
    while rows := source.tables.rows(_ROWS, (last, PAGE)):
        with target.tables.write() as transaction:
            copied = target.tables.many(INSERT, rows)
            if len(copied) != len(rows):
                raise StoreError(f"record {rows[0][0]} and those behind it name keys that {target.place} holds already")
            last = int(rows[-1][0])
            transaction.keep((row[-1] for row in rows), last)
        done += len(rows)
        progress(done)
    _named_alike(source.tables, target.tables)
    return done


def same(source: Store, target: Store) -> bool:
    """Whether both hold the same records in the same order."""
    return source.last_seq() == target.last_seq() and source.digest() == target.digest()


def _same_so_far(source: RecordTables, target: RecordTables, upto: int) -> None:
    if upto == 0:
        return
    bodies = source.each("SELECT body FROM record WHERE seq <= ? ORDER BY seq", (upto,))
    if chained(EMPTY, (body for (body,) in bodies)) != target.tail().digest:
        raise StoreError("the target holds other records; name an empty database, or one that this copy had begun")


def _named_alike(source: RecordTables, target: RecordTables) -> None:
    tail, had = source.tail(), target.rows("SELECT count(*) FROM loss")
    with target.write():
        # Beyond what any sender was told, so that none takes the move for a loss.
        values = (tail.commits + 1, tail.last, source.epoch)
        target.run("UPDATE tail SET commits = ?, last = ?, epoch = ?", values)
        if had == [(0,)]:
            sql = "INSERT INTO loss (why, commits, first_lost, last_lost, since, told) VALUES (?, ?, ?, ?, ?, ?)"
            target.many(sql, source.rows(_LOSSES))
