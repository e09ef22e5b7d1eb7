"""The ledger's tables, and how amounts are summed in them."""

from __future__ import annotations

from typing import Final

from tieline.store.database import Kind

DAY: Final = 86_400_000_000  # microseconds
# Entries read at once.
PAGE: Final = 2_000
FAR: Final = 1 << 62
# A moment's day, also before 1970: SQLite's division cuts towards zero.
DAY_OF: Final = f"({{0}} - ({{0}} % {DAY} + {DAY}) % {DAY}) / {DAY}"

# Sums in two halves: what is as large as an amount may be must not take a sum out of what the database counts with.
HALF: Final = 10**9


def sum_of(units: str) -> str:
    return f"sum({units} / {HALF}), sum({units} % {HALF})"


SUM: Final = sum_of("units")

KIND: Final = Kind(
    name="ledger",
    application_id=0x746C626B,  # "tlbk"
    steps=(
        """
        CREATE TABLE slot (
            id        INTEGER PRIMARY KEY,
            account   TEXT NOT NULL,
            commodity TEXT NOT NULL,
            UNIQUE (account, commodity)
        ) STRICT;
        CREATE TABLE entry (
            number   INTEGER PRIMARY KEY,
            key      TEXT    NOT NULL,
            at       INTEGER NOT NULL,
            known_at INTEGER NOT NULL,
            digest   BLOB    NOT NULL,
            body     BLOB    NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX entry_key ON entry (key);
        CREATE INDEX entry_at ON entry (at);
        CREATE TABLE posting (
            slot     INTEGER NOT NULL,
            at       INTEGER NOT NULL,
            number   INTEGER NOT NULL,
            line     INTEGER NOT NULL,
            known_at INTEGER NOT NULL,
            units    INTEGER NOT NULL,
            PRIMARY KEY (slot, at, number, line)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE day (
            slot  INTEGER NOT NULL,
            at    INTEGER NOT NULL,
            known INTEGER NOT NULL,
            units INTEGER NOT NULL,
            PRIMARY KEY (slot, at, known)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE lot (
            account        TEXT    NOT NULL,
            lot            TEXT    NOT NULL,
            commodity      TEXT    NOT NULL,
            units          INTEGER NOT NULL,
            cost           INTEGER NOT NULL,
            cost_commodity TEXT    NOT NULL,
            at             INTEGER NOT NULL,
            PRIMARY KEY (account, lot)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE standing (
            name TEXT PRIMARY KEY,
            body BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE watermark (
            id    INTEGER PRIMARY KEY CHECK (id = 1),
            read  TEXT    NOT NULL,
            seq   INTEGER NOT NULL,
            state BLOB    NOT NULL
        ) STRICT;
        """,
        # What each posting adds to a lot or takes from it, so that lots as known at a moment are summed from rows of
        # numbers, and no entry is unpacked. Ledgers made before are made anew (`settlement.kept.FORM`).
        """
        CREATE TABLE move (
            at             INTEGER NOT NULL,
            number         INTEGER NOT NULL,
            line           INTEGER NOT NULL,
            known_at       INTEGER NOT NULL,
            slot           INTEGER NOT NULL,
            lot            TEXT    NOT NULL,
            units          INTEGER NOT NULL,
            cost           INTEGER NOT NULL,
            cost_commodity TEXT    NOT NULL,
            acquired       INTEGER NOT NULL,
            PRIMARY KEY (at, number, line)
        ) STRICT, WITHOUT ROWID;
        """,
    ),
    last="(SELECT max(number) FROM entry)",
    chained="SELECT body FROM entry ORDER BY number",
    cache_kib=64_000,
    checkpoint_pages=4_000,
)
