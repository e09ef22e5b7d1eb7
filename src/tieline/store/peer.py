"""What a sender remembers of the store that acknowledges its items, and how it notices that the store went back.

A store tells with each acknowledgement who it is and how far it has got. Who sends remembers both. A store that names
another epoch has noticed a loss of its own. One that was opened anew and began with fewer commits than it had
acknowledged before has lost its end without noticing it: a disk that forgot the database's end and its mark's, or a
file that was put back together with its mark. Either way what is still kept here is sent again; keys make twice the
same as once.
"""

from typing import Final

import msgspec

from tieline.store.database import Database

# To be a step of the forms of those who remember.
STEP: Final = """
ALTER TABLE peer ADD COLUMN run TEXT NOT NULL DEFAULT '';
ALTER TABLE peer ADD COLUMN commits INTEGER NOT NULL DEFAULT 0;
"""


class StoreState(msgspec.Struct, frozen=True):
    """Which store answers (`epoch`), since which opening (`run`, another word each time), with how many commits it
    began then and how many it has now. Without a run nothing is known but the epoch."""

    epoch: str
    run: str = ""
    began: int = 0
    commits: int = 0


NOBODY: Final = StoreState("")


class Peer:
    """The store on the other side, as it is remembered in a sender's database. Not for two threads."""

    def __init__(self, db: Database) -> None:
        known = [StoreState(*row) for row in db.rows("SELECT epoch, run, commits, commits FROM peer")]
        self._kept = self._known = known[0] if known else NOBODY

    def heard(self, db: Database, state: StoreState) -> int:
        """A store answered; returns how many items wait again because what it had acknowledged may be gone."""
        if not state.epoch or state == self._known:
            return 0
        known = self._known
        if known.epoch == state.epoch and not self._went_back(known, state):
            self._known = state
            return 0
        with db.write():
            count = db.run("UPDATE item SET sent = 0 WHERE sent = 1") if known.epoch else 0
            if known.epoch == state.epoch:
                lost = known.commits - state.began
                why = "the store had acknowledged more than it has: its end is missing"
                db.run("INSERT INTO loss (why, commits) VALUES (?, ?)", (why, lost))
            self._put(db, state)
        self._known = self._kept = state  # not before it is on disk: a disk that refuses is asked again
        return count

    def remember(self, db: Database) -> None:
        """Within a transaction that marks what was acknowledged: how far the store had got then."""
        if self._known != self._kept:
            self._put(db, self._known)
            self._kept = self._known

    def _went_back(self, known: StoreState, state: StoreState) -> bool:
        return state.run not in ("", known.run) and state.began < known.commits

    @staticmethod
    def _put(db: Database, state: StoreState) -> None:
        values = (state.epoch, state.run, state.commits)
        db.run("INSERT OR REPLACE INTO peer (id, epoch, run, commits) VALUES (1, ?, ?, ?)", values)
