"""Who leads: one row for each office, with a fencing number that grows with every change of its holder.

No clock is compared with another. A holder changes its row (`renew`) about once a second; whoever stands by watches the
row by its own monotonic time and takes it (`take`) once it has not changed for long enough. Both are one statement that
names what was seen, so that of two who take at once one does. What a holder writes is checked in the same transaction
(`Store.fence`): an older holder that wakes up finds another number there and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Final, NamedTuple

from tieline.store.database import open_database
from tieline.store.lead.fence import Fence, make_tables, refuse_older
from tieline.store.place import FILE, StorePlace
from tieline.store.sqlite import KIND, RecordTables

# Of a connection that only holds a lease: what takes longer is as good as gone.
TIMEOUT_S: Final = 3.0


class LeaseRow(NamedTuple):
    """An office as it stands. `holder` empty: free. `place`: where its holder is reached. `mark`: a number that all
    holders together count up."""

    number: int
    holder: str
    place: str
    beats: int
    mark: int


class Leases:
    """The offices of one store, over a connection of their own. Any thread may ask. Everything raises StoreError."""

    def __init__(self, tables: RecordTables, *, server: bool = False) -> None:
        self._tables, self._server = tables, server
        make_tables(tables)

    def look(self, name: str) -> LeaseRow | None:
        """How an office stands; None where nobody ever held it."""
        sql = "SELECT fence, holder, place, beats, mark FROM lease WHERE name = ?"
        return next((LeaseRow(*row) for row in self._tables.rows(sql, (name,))), None)

    def take(self, name: str, holder: str, place: str, seen: LeaseRow | None) -> Fence | None:
        """Hold an office that stands as it was `seen`; None where it does not any more. In turn with whoever writes:
        what an older holder was writing is whole or is refused."""
        with self._tables.write():
            if seen is None:
                sql = "INSERT INTO lease VALUES (?, 1, ?, ?, 0, 0) ON CONFLICT (name) DO NOTHING"
                done = self._tables.run(sql, (name, holder, place))
                return Fence(name, 1, holder) if done else None
            sql = (
                "UPDATE lease SET fence = fence + 1, beats = beats + 1, holder = ?, place = ?"
                " WHERE name = ? AND fence = ? AND beats = ? AND holder = ?"
            )
            done = self._tables.run(sql, (holder, place, name, seen.number, seen.beats, seen.holder))
        return Fence(name, seen.number + 1, holder) if done else None

    def renew(self, fence: Fence) -> None:
        """Raises FencedError where it is another's."""
        self._change("beats = beats + 1", (), fence)

    def free(self, fence: Fence) -> None:
        """Let go, so that whoever stands by need not wait. Raises FencedError."""
        self._change("beats = beats + 1, holder = ''", (), fence)

    def reserve(self, fence: Fence, mark: int) -> None:
        """Everything up to `mark` is this holder's to use; who comes after it begins above. Raises FencedError."""
        self._change("mark = ?", (mark,), fence)

    def wall_s(self) -> float | None:
        """The wall clock of the server that keeps the offices, in seconds since 1970; None where that is this
        machine's own."""
        if not self._server:
            return None
        sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
        ((seconds,),) = self._tables.rows(sql)
        return float(seconds)

    def close(self) -> None:
        self._tables.close()

    def _change(self, what: str, values: tuple[int, ...], fence: Fence) -> None:
        sql = f"UPDATE lease SET {what} WHERE name = ? AND fence = ? AND holder = ?"
        if not self._tables.run(sql, (*values, fence.name, fence.number, fence.holder)):
            refuse_older(self._tables, fence)


def open_leases(place: StorePlace) -> Leases:
    """Of the store at `place`, which must be there. Raises StoreError."""
    if place.url is None:
        return Leases(open_database(place.folder / FILE, KIND))
    from tieline.store.postgres import open_server  # not there in the light install

    return Leases(open_server(place.url, place.password, KIND, timeout_s=TIMEOUT_S), server=True)


def look_at(place: StorePlace, names: Iterable[str]) -> dict[str, LeaseRow | None]:
    """How offices stand, for whoever only asks. Raises StoreError."""
    with closing(open_leases(place)) as leases:
        return {name: leases.look(name) for name in names}
