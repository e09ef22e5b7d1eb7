"""The outbox: what has happened here and is not yet acknowledged there.

On disk with `synchronous=FULL`, so that what `put` returned survives a power cut. An item waits until `done` is called,
and that is called when the store, not the transport, has acknowledged it. What was acknowledged is kept a while longer:
a store that has lost its end or was restored from a backup can ask for it again (`heard`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tieline.store.database import REAL, Disk, Kind, Loss, StoreError, closed_on_failure, open_database
from tieline.store.peer import STEP, Peer, StoreState

# At 100 records of about 400 bytes per site and 5 minutes, this is more than three months of a lost link.
MAX_ITEMS: Final = 2_500_000
# Acknowledged items kept, newest first: 20 MB; at the demo's six records per site and interval about four weeks.
KEEP: Final = 50_000

KIND: Final = Kind(
    name="outbox",
    application_id=0x746C6F62,  # "tlob"
    steps=(
        """
        CREATE TABLE IF NOT EXISTS item (
            id   INTEGER PRIMARY KEY AUTOINCREMENT,
            key  TEXT NOT NULL UNIQUE,
            body BLOB NOT NULL
        ) STRICT;
        ALTER TABLE item ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX item_waiting ON item (id) WHERE sent = 0;
        CREATE TABLE peer (id INTEGER PRIMARY KEY CHECK (id = 1), epoch TEXT NOT NULL) STRICT;
        """,
        STEP,
    ),
    last="(SELECT max(id) FROM item)",
)

# Acknowledged items but the newest. All before the oldest that waits are acknowledged, so a backlog is not looked
# through again with each acknowledgement.
FORGET_OLDEST: Final = (
    "DELETE FROM item WHERE id <= min((SELECT max(id) FROM item) - ?,"
    " coalesce((SELECT min(id) FROM item WHERE sent = 0) - 1, 9223372036854775807))"
)
_OF_KIND = "sent = 0 AND key >= ? || '|' AND key < ? || '}'"
_COUNT_KIND = f"SELECT count(*) FROM item WHERE {_OF_KIND}"
_THIN_HALF = f"DELETE FROM item WHERE id IN (SELECT id FROM item WHERE {_OF_KIND} AND id % 2 = 0 ORDER BY id LIMIT ?)"
_THIN_ALL = f"DELETE FROM item WHERE id IN (SELECT id FROM item WHERE {_OF_KIND} ORDER BY id LIMIT ?)"


class Outbox:
    """A bounded first-in-first-out queue on disk. One process owns one outbox."""

    def __init__(self, path: Path, max_items: int = MAX_ITEMS, *, keep: int = KEEP, disk: Disk = REAL) -> None:
        """Raises StoreError: cannot be opened, of a later version, or damaged."""
        self.path, self.max_items, self.keep, self.thinned = path, max_items, keep, 0
        self._db = open_database(path, KIND, disk=disk)
        with closed_on_failure(self._db):
            ((self._waiting,),) = self._db.rows("SELECT count(*) FROM item WHERE sent = 0")
            self._peer = Peer(self._db)

    def put(self, items: Iterable[tuple[str, bytes]], thin: Sequence[str] = ()) -> int:
        """Store (key, body) pairs in one durable transaction; a key already here is kept as it is.

        `thin` names the kinds (what stands before the first `|` of a key) whose oldest items make room when the bound
        is reached: every second one first, so that an hour keeps some of its figures. `thinned` counts them. Raises
        StoreError when the disk refuses or the bound is reached all the same; then nothing was taken.
        """
        rows = list(items)
        if not rows:
            return 0
        over = self._waiting + len(rows) - self.max_items
        if over > 0 and self._thinnable(thin) < over:
            raise StoreError(f"outbox {self.path} holds its bound of {self.max_items} items; restore the link")
        with self._db.write() as transaction:
            gone = self._thin(over, thin) if over > 0 else 0
            inserted = self._db.many("INSERT OR IGNORE INTO item (key, body) VALUES (?, ?) RETURNING id, body", rows)
            if inserted:
                transaction.keep((body for _, body in inserted), inserted[-1][0])
        self._waiting += len(inserted) - gone
        self.thinned += gone
        return len(inserted)

    def _thinnable(self, kinds: Sequence[str]) -> int:
        return sum(int(self._db.rows(_COUNT_KIND, (kind, kind))[0][0]) for kind in kinds)

    def _thin(self, over: int, kinds: Sequence[str]) -> int:
        """Delete at least `over` items, and a hundredth of the bound at once, so that it is not done with each put;
        returns how many."""
        wanted = most = max(over, min(self._thinnable(kinds), self.max_items // 100))
        for statement in (_THIN_HALF, _THIN_ALL):
            for kind in kinds:
                if wanted > 0:
                    wanted -= self._db.run(statement, (kind, kind, wanted))
        return most - wanted

    def take(self, limit: int = 256) -> list[tuple[int, str, bytes]]:
        """The oldest (id, key, body) that wait, until `done`."""
        return self._db.rows("SELECT id, key, body FROM item WHERE sent = 0 ORDER BY id LIMIT ?", (limit,))

    def done(self, ids: Iterable[int]) -> None:
        """The store has acknowledged these; the oldest beyond what is kept go."""
        with self._db.write():
            count = sum(self._db.run("UPDATE item SET sent = 1 WHERE id = ? AND sent = 0", (one,)) for one in ids)
            self._db.run(FORGET_OLDEST, (self.keep,))
            self._peer.remember(self._db)
        self._waiting -= count
        if self._waiting < 0:  # another hand was in the file
            ((self._waiting,),) = self._db.rows("SELECT count(*) FROM item WHERE sent = 0")

    def heard(self, state: StoreState) -> int:
        """Which store answered, as it came with an acknowledgement. Where it may have lost what it had acknowledged,
        all that is still kept waits again, and how much that is is returned."""
        count = self._peer.heard(self._db, state)
        self._waiting += count
        return count

    def untold(self) -> list[Loss]:
        """What was acknowledged and lost, and is not on record yet; `told` once it is."""
        return self._db.untold()

    def told(self, loss: Loss) -> None:
        self._db.told(loss)

    def __len__(self) -> int:
        return int(self._waiting)

    def close(self) -> None:
        self._db.close()
