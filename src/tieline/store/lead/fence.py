"""What a leader writes is checked in the transaction that writes it: that it still leads, and decides nothing twice.

The tables are made where they are missing, beside the records' own form, so that a version that does not know them
reads and writes the same records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

from tieline.clock import micros
from tieline.store.database import StoreError
from tieline.store.tail import Row, Value

# Turns are remembered this long; nobody decides what is further back.
TURNS_FOR: Final = timedelta(days=2)

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS lease (name text PRIMARY KEY, fence bigint NOT NULL, holder text NOT NULL,"
    " place text NOT NULL, beats bigint NOT NULL, mark bigint NOT NULL)",
    "CREATE TABLE IF NOT EXISTS decided (at bigint NOT NULL, subject text NOT NULL, turn bigint NOT NULL,"
    " fence bigint NOT NULL, PRIMARY KEY (at, subject, turn))",
)


class FencedError(StoreError):
    """Another leads now; nothing was written."""


class TakenError(StoreError):
    """Somebody has decided this; nothing was written."""


class Fence(NamedTuple):
    """What a leader shows: of what, its number, and who it is. Numbers grow with every change of the holder."""

    name: str
    number: int
    holder: str


class Turn(NamedTuple):
    """One decision about one subject for the interval that begins at `at`. Turn 0 is the interval's own, each later one
    is made because something new came (an order)."""

    subject: str
    at: datetime
    turn: int


class FencedTables(Protocol):
    """What is asked here of a database."""

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]: ...

    def run(self, sql: str, values: Sequence[Value] = ()) -> int: ...

    def many(self, sql: str, rows: Iterable[Sequence[Value]]) -> list[Row]: ...

    def write(self) -> AbstractContextManager[Any]: ...


def make_tables(tables: FencedTables) -> None:
    """Those of leases, where they are missing. Raises StoreError."""
    with tables.write():
        for statement in _TABLES:
            tables.run(statement)


def refuse_older(tables: FencedTables, fence: Fence) -> None:
    """Within a transaction. Raises FencedError where another leads now."""
    rows = tables.rows("SELECT fence, holder FROM lease WHERE name = ?", (fence.name,))
    if not rows or (rows[0][0], rows[0][1]) != (fence.number, fence.holder):
        now = "nobody" if not rows else f"{rows[0][1] or 'nobody'} (number {rows[0][0]})"
        raise FencedError(f"{fence.holder} (number {fence.number}) does not lead {fence.name!r} any more: {now} does")


def take_turns(tables: FencedTables, fence: Fence, turns: Sequence[Turn]) -> None:
    """Within a transaction. Raises TakenError where one of them was taken."""
    if not turns:
        return
    sql = (
        "INSERT INTO decided (at, subject, turn, fence) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (at, subject, turn) DO NOTHING RETURNING subject"
    )
    taken = tables.many(sql, [(micros(one.at), one.subject, one.turn, fence.number) for one in turns])
    if len(taken) != len(turns):
        first = turns[0]
        raise TakenError(
            f"turn {first.turn} of the interval from {first.at.isoformat()} was decided already for "
            f"{len(turns) - len(taken)} of {len(turns)}; nothing of it is kept"
        )
    tables.run("DELETE FROM decided WHERE at < ?", (micros(min(one.at for one in turns) - TURNS_FOR),))
