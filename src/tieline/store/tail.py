"""What databases of records have in common, file or server: how a record comes in, how far they have got, and what they
have lost."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from tieline.store.mark import Mark

Row = tuple[Any, ...]
Value = str | bytes | int | float | None

# The next number where none is given, and nothing where the key is there.
UNPROVEN_INSERT: Final = (
    "INSERT INTO record (seq, stream, key, subject, at, known_at, body)"
    " VALUES (coalesce(?, (SELECT coalesce(max(seq), 0) + 1 FROM record)),?,?,?,?,?,?)"
    " ON CONFLICT (stream, key) DO NOTHING"
)
INSERT: Final = f"{UNPROVEN_INSERT} RETURNING seq, body"


class Loss(NamedTuple):
    """Something acknowledged that is not here any more. `commits` and row numbers None: not known how many."""

    id: int
    why: str
    commits: int | None
    first_lost: int | None
    last_lost: int | None
    since: str | None  # ISO time from which on things may be missing, where it is known

    def __str__(self) -> str:
        lines = [self.why]
        if self.since is not None:
            lines.append(f"what came after {self.since} may be missing")
        if self.commits is not None:
            lines.append(f"{self.commits:,} commits")
        if self.first_lost is not None and self.last_lost is not None and self.last_lost >= self.first_lost:
            lines.append(f"rows {self.first_lost:,} to {self.last_lost:,}")
        return ", ".join(lines)


class TailState:
    """The rows `tail` and `loss` of a database, over its own way of asking."""

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]: ...

    @abstractmethod
    def run(self, sql: str, values: Sequence[Value] = ()) -> int: ...

    @abstractmethod
    def write(self) -> AbstractContextManager[Any]: ...

    def tail(self) -> Mark:
        """How far it has got, and the digest over all so far."""
        ((commits, last, digest),) = self.rows("SELECT commits, last, digest FROM tail")
        return Mark(commits, last, digest)

    def advance(self, mark: Mark) -> None:
        """Within the transaction that adds the rows `mark` stands for."""
        self.run("UPDATE tail SET commits = ?, last = ?, digest = ?", mark)

    @property
    def epoch(self) -> str:
        """Another word whenever something that was acknowledged may be gone: who sent here asks whether to send again
        when it changes."""
        ((epoch,),) = self.rows("SELECT epoch FROM tail")
        return str(epoch)

    def untold(self) -> list[Loss]:
        """What was lost and has not been put on record yet."""
        sql = "SELECT id, why, commits, first_lost, last_lost, since FROM loss WHERE told = 0 ORDER BY id"
        return [Loss(*row) for row in self.rows(sql)]

    def told(self, loss: Loss) -> None:
        """It is on record."""
        with self.write():
            self.run("UPDATE loss SET told = 1 WHERE id = ?", (loss.id,))
