"""Incidents, silences and what is to be delivered of them, in one small database: a message outlives a restart.

Knows no rules and no channels. An incident's change and the messages that it makes are one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tieline.store.database import REAL, Disk, Kind, open_database

# Ended incidents and delivered messages kept to be looked at.
KEEP: Final = 2_000
# Messages that wait for their channels; beyond it nobody reads them anyway, and the page says so.
MOST_WAITING: Final = 5_000

KIND: Final = Kind(
    name="alerts",
    application_id=0x746C616C,  # "tlal"
    steps=(
        """
        CREATE TABLE incident (key TEXT PRIMARY KEY, changed REAL NOT NULL, body BLOB NOT NULL) STRICT;
        CREATE TABLE silence (
            what  TEXT PRIMARY KEY,
            until REAL NOT NULL,
            by    TEXT NOT NULL,
            why   TEXT NOT NULL
        ) STRICT;
        CREATE TABLE message (
            id      INTEGER PRIMARY KEY,
            channel TEXT    NOT NULL,
            made    REAL    NOT NULL,
            body    BLOB    NOT NULL,
            tries   INTEGER NOT NULL DEFAULT 0,
            due     REAL    NOT NULL,
            ended   REAL,
            error   TEXT    NOT NULL DEFAULT ''
        ) STRICT;
        CREATE INDEX message_due ON message (due) WHERE ended IS NULL;
        """,
    ),
    last="(SELECT max(id) FROM message)",
)


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """What one channel is to be told. `ended` None: still to be delivered; `error`: why its last try failed."""

    id: int
    channel: str
    made: float
    body: bytes
    tries: int
    due: float
    ended: float | None
    error: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is sent of `what` until then."""

    what: str
    until: float
    by: str
    why: str


_MESSAGE: Final = "id, channel, made, body, tries, due, ended, error"


class AlertStore:
    """Any thread and several processes may use it. Everything raises StoreError."""

    def __init__(self, path: Path | None, *, disk: Disk = REAL) -> None:
        self._db = open_database(path, KIND, disk=disk)

    def incidents(self) -> list[bytes]:
        """All that are kept, the latest changed first."""
        return [body for (body,) in self._db.rows("SELECT body FROM incident ORDER BY changed DESC")]

    def put(
        self, incidents: Iterable[tuple[str, float, bytes]], messages: Sequence[tuple[str, bytes]], now: float
    ) -> int:
        """Incidents as they are now, and what channels are to be told of it; returns how many messages did not fit."""
        with self._db.write():
            self._db.many("INSERT OR REPLACE INTO incident (key, changed, body) VALUES (?,?,?)", incidents)
            ((waiting,),) = self._db.rows("SELECT count(*) FROM message WHERE ended IS NULL")
            taken = messages[: max(0, MOST_WAITING - int(waiting))]
            self._db.many(
                "INSERT INTO message (channel, made, body, due) VALUES (?,?,?,?)",
                [(channel, now, body, now) for channel, body in taken],
            )
            self._db.run(
                "DELETE FROM incident WHERE key NOT IN (SELECT key FROM incident ORDER BY changed DESC LIMIT ?)",
                (KEEP,),
            )
            self._db.run(
                "DELETE FROM message WHERE ended IS NOT NULL AND id NOT IN "
                "(SELECT id FROM message WHERE ended IS NOT NULL ORDER BY id DESC LIMIT ?)",
                (KEEP,),
            )
        return len(messages) - len(taken)

    def due(self, now: float) -> list[AlertMessage]:
        """What is to be tried now, oldest first."""
        sql = f"SELECT {_MESSAGE} FROM message WHERE ended IS NULL AND due <= ? ORDER BY id"
        return [AlertMessage(*row) for row in self._db.rows(sql, (now,))]

    def delivered(self, id_: int, now: float) -> None:
        self._db.run("UPDATE message SET ended = ?, tries = tries + 1, error = '' WHERE id = ?", (now, id_))

    def failed(self, id_: int, error: str, due: float | None, now: float) -> None:
        """`due`: when it is tried again; None: never."""
        self._db.run(
            "UPDATE message SET tries = tries + 1, error = ?, due = coalesce(?, due), "
            "ended = CASE WHEN ? IS NULL THEN ? END WHERE id = ?",
            (error[:500], due, due, now, id_),
        )

    def messages(self) -> list[AlertMessage]:
        """What waits and what has ended lately, newest first."""
        return [AlertMessage(*row) for row in self._db.rows(f"SELECT {_MESSAGE} FROM message ORDER BY id DESC")]

    def silence(self, one: Silence) -> None:
        self._db.run("INSERT OR REPLACE INTO silence VALUES (?,?,?,?)", (one.what, one.until, one.by, one.why))

    def silences(self, now: float) -> list[Silence]:
        """Those that have not ended."""
        return [Silence(*row) for row in self._db.rows("SELECT * FROM silence WHERE until > ? ORDER BY what", (now,))]

    def close(self) -> None:
        self._db.close()
