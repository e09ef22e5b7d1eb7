"""Which of several PostgreSQL servers takes records now: `store.url` may name a primary and its standbys.

A standby says so itself and is passed over. Of two that both take records, which is what a promotion leaves behind
while the old primary lives, the one of the higher timeline is the primary: PostgreSQL counts a timeline up with each
promotion. A process that has seen one never goes back to an older.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pg8000.exceptions import DatabaseError, InterfaceError

# Until a server that is asked has taken the connection and said what it is; another may be the primary.
CONNECT_S: Final = 2.0
# One that took the connection and said nothing is frozen or cut off, most likely: so long only, but each fourth time,
# which one that is merely slow is found by.
SILENT_S, FOURTH = 0.5, 4
# The timeline is the first eight digits of the name of the log that is written now; a standby writes none.
_TIMELINE: Final = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_walfile_name(pg_current_wal_lsn()) END"


class ServerPlace(NamedTuple):
    """Where one of them listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Primary(NamedTuple):
    """A connection to whichever is it."""

    connection: Any
    place: ServerPlace


# Dials one, over a socket that is connected.
Dial = Callable[[ServerPlace, socket.socket], Any]


class Servers:
    """What this process knows of the servers that one address names. Any thread may ask."""

    def __init__(self, places: Sequence[ServerPlace]) -> None:
        self._order, self._timeline, self._lock = list(places), 0, threading.Lock()
        self._silent: dict[ServerPlace, int] = {}  # how often one after another nothing was said

    def dial(self, dial: Dial, timeout_s: float) -> Primary:
        """The primary, over a connection whose calls may take `timeout_s`. Raises InterfaceError, naming what each of
        them said."""
        said = []
        for place in list(self._order):
            patience_s = SILENT_S if self._silent.get(place, 0) % FOURTH else CONNECT_S
            try:
                connection = _connected(place, dial, patience_s, timeout_s)
            except (InterfaceError, DatabaseError, OSError, EOFError) as error:
                self._silent[place] = self._silent.get(place, 0) + 1 if _timed_out(error) else 0
                said.append(f"{place}: {_why(error)}")
                continue
            self._silent[place] = 0
            why = self._judge(place, connection)
            if not why:
                return Primary(connection, place)
            said.append(f"{place} {why}")
            with contextlib.suppress(InterfaceError, OSError):
                connection.close()
        raise InterfaceError("none of its servers takes records: " + "; ".join(said))

    def broke(self, place: ServerPlace) -> None:
        """A connection to it did: the others are asked first."""
        with self._lock:
            if self._order[0] == place:
                self._order.append(self._order.pop(0))

    def _judge(self, place: ServerPlace, connection: Any) -> str:
        """What is wrong with it; "": it is the primary."""
        try:
            ((name,),) = connection.run(_TIMELINE)
        except (InterfaceError, DatabaseError, OSError, EOFError) as error:
            return f"did not say what it is ({_why(error)})"
        if not name:
            return "is a standby"
        timeline = int(name[:8], 16)
        with self._lock:
            if timeline < self._timeline:
                return "is the primary of before; another was promoted since, so stop it"
            self._timeline = timeline
            self._order.remove(place)
            self._order.insert(0, place)
        return ""


_known: dict[tuple[ServerPlace, ...], Servers] = {}


def servers_at(places: tuple[ServerPlace, ...]) -> Servers:
    """One for the whole process, so that what one connection learns all know."""
    return _known.setdefault(places, Servers(places))


def _connected(place: ServerPlace, dial: Dial, patience_s: float, timeout_s: float) -> Any:
    sock = socket.create_connection(place, patience_s)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = dial(place, sock)
    except BaseException:
        sock.close()
        raise
    connection._usock.settimeout(timeout_s)  # over TLS another than `sock`
    return connection


def _timed_out(error: BaseException | None) -> bool:
    """Whether a wait was what ended it: the driver says so, or only that its socket did."""
    while error is not None and not isinstance(error, TimeoutError):
        error = error.__cause__ or error.__context__
    return error is not None


def _why(error: Exception) -> str:
    fields = error.args[0] if error.args else ""
    return str(fields.get("M", fields)) if isinstance(fields, dict) else str(error)
