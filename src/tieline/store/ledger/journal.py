"""The ledger as a journal: what is on disk and a tail in memory, which `flush` puts there.

A projection of a store's records with a watermark: how far it has read, and the state in which its keeper was then.
Whoever holds the lock writes; others read one moment's view and keep what they add in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import overload

from tieline.ledger import (
    EVER,
    Account,
    Entry,
    JournalSpan,
    LotHeld,
    MemoryJournal,
    Slot,
    Turnover,
    digest,
    known_of,
    lot_moves,
    pack,
    summed,
    unpack,
)
from tieline.ledger.wire import number, units, us
from tieline.store.database import REAL, Database, Disk, StoreError, open_database
from tieline.store.files import private_file, private_folder
from tieline.store.ledger.kept import KeptLedger, Watermark
from tieline.store.ledger.tables import DAY, KIND


class LedgerStore:
    """A journal on disk with a tail in memory; `flush` puts the tail on disk, in one transaction.

    `path` None: in memory. Where another process holds the lock it is read as it is at this moment, and what is
    appended stays in memory (`writes` is False). Raises StoreError.
    """

    def __init__(self, path: Path | None, *, disk: Disk = REAL) -> None:
        self.path = path
        self._lock = None if path is None or disk is not REAL else _locked(path)
        self.writes = path is None or disk is not REAL or self._lock is not None
        with contextlib.ExitStack() as undo:
            undo.callback(self._unlock)
            self._db: Database = open_database(path, KIND, read_only=not self.writes, disk=disk)
            undo.callback(self._db.close)
            if not self.writes:
                self._db.freeze()
            self._kept = KeptLedger(self._db)
            undo.pop_all()
        self.tail = MemoryJournal()
        self._placed: dict[tuple[Account, str], LotHeld | None] = {}
        self._standing: dict[str, bytes] = {}

    @property
    def entries(self) -> Sequence[Entry]:
        return _Entries(self)

    def count(self, known: datetime) -> int:
        return self._kept.count_known(known) + self.tail.count(known)

    def append(self, entry: Entry) -> None:
        self.tail.append(entry)

    def find(self, key: str) -> Entry | None:
        return self.tail.find(key) or self._kept.find(key)

    def between(self, span: JournalSpan, account: Account | None = None) -> Iterator[Entry]:
        """By the moment they belong to, and in the order in which they were booked: finer than by month."""
        for body in self._kept.bodies(span, account):
            yield unpack(body)
        yield from self.tail.between(span, account)

    def newest(self, account: Account, before: int, limit: int) -> list[tuple[int, Entry]]:
        kept = self._kept.count
        tail = self.tail.newest(account, before - kept, limit) if before > kept else []
        entries = [(kept + n, entry) for n, entry in tail]
        return entries + self._kept.newest(account, min(before, kept), limit - len(entries))

    def changes(self, span: JournalSpan, account: Account | None = None) -> dict[Slot, Decimal]:
        """Sums of whole days, and the postings of the days that are not whole."""
        total: dict[Slot, Decimal] = defaultdict(Decimal)
        wanted = None if account is None else self._kept.under(account)
        if self._kept.count and wanted != []:
            for slot, moved in self._kept.moved(span, wanted).items():
                name = self._kept.names[slot]
                total[name] += number(moved, name[1])
        for tail, more in self.tail.changes(span, account).items():
            total[tail] += more
        return total

    def turnover(self, account: Account, end: datetime) -> Iterator[Turnover]:
        yield from self._kept.turnover(account, end)
        yield from self.tail.turnover(account, end)

    def lots(self, span: JournalSpan = EVER) -> Iterator[LotHeld]:
        if span == EVER:
            return self._open_lots()
        if any(True for entry in self.tail.between(span) for _ in lot_moves(entry)):
            return summed(self._moves(span))
        return self._kept.lots_of(span)

    def _open_lots(self) -> Iterator[LotHeld]:
        yield from self._kept.open_lots(self._placed)
        yield from (held for held in self._placed.values() if held is not None)

    def _moves(self, span: JournalSpan) -> Iterator[LotHeld]:
        yield from self._kept.moves(span)
        for entry in self.tail.between(span):
            yield from lot_moves(entry)

    def placed(self, account: Account, lot: str, held: LotHeld | None) -> None:
        self._placed[account, lot] = held

    # --- standings, as their keeper encodes them --------------------------------------------

    def standing(self, name: str) -> bytes | None:
        standing = self._standing.get(name)
        return self._kept.standing(name) if standing is None else standing

    def stand(self, name: str, body: bytes) -> None:
        self._standing[name] = body

    # --- on disk -----------------------------------------------------------------------------

    @property
    def watermark(self) -> Watermark | None:
        """Where the last `flush` ended; None: nothing was ever flushed."""
        return self._kept.watermark

    def flush(self, watermark: Watermark) -> None:
        """Put what was appended on disk, with how far that is; on disk when it returns. Raises StoreError with nothing
        of it kept; it can be tried again.

        Coins and limits were checked against what was read here, so the same transaction looks whether that is still
        what stands: of two writers whom no lock parted, the second keeps nothing."""
        if not self.writes:
            raise StoreError(f"{self.path}: another process writes it")
        kept, added = self._kept, self.tail.entries
        with self._db.write() as transaction:
            if kept.last() != (kept.count, kept.digest):
                raise StoreError(f"{self.path}: another process wrote it since it was read here; start this one anew")
            new = self._new_slots(added)
            last, rows, bodies = kept.digest, [], []
            for offset, entry in enumerate(added, kept.count + 1):
                last, body = digest(entry, last), pack(entry)
                rows.append((offset, entry.key, us(entry.at), us(known_of(entry)), bytes.fromhex(last), body))
                bodies.append(body)
            self._db.many("INSERT INTO entry VALUES (?,?,?,?,?,?)", rows)
            self._add_postings(added, kept.slots | new)
            self._put_lots()
            self._db.many("INSERT OR REPLACE INTO standing VALUES (?,?)", sorted(self._standing.items()))
            self._db.run("INSERT OR REPLACE INTO watermark VALUES (1, ?, ?, ?)", watermark)
            transaction.keep(bodies, kept.count + len(added))
        kept.count, kept.digest = kept.count + len(added), last
        kept.slots |= new
        kept.names |= {id_: slot for slot, id_ in new.items()}
        self.tail, self._placed, self._standing = MemoryJournal(), {}, {}

    def _new_slots(self, added: Iterable[Entry]) -> dict[Slot, int]:
        """Slots that are not on disk yet, put there."""
        new = {(p.account, p.amount.commodity) for entry in added for p in entry.postings} - self._kept.slots.keys()
        numbered = {slot: len(self._kept.slots) + n for n, slot in enumerate(sorted(new), 1)}
        self._db.many("INSERT INTO slot VALUES (?,?,?)", [(id_, *slot) for slot, id_ in numbered.items()])
        return numbered

    def _add_postings(self, added: Iterable[Entry], slots: dict[Slot, int]) -> None:
        rows: list[tuple[int, ...]] = []
        moves: list[tuple[int | str, ...]] = []
        days: dict[tuple[int, int, int], int] = defaultdict(int)
        for offset, entry in enumerate(added, self._kept.count + 1):
            at, known = us(entry.at), us(known_of(entry))
            for line, posting in enumerate(entry.postings):
                amount = posting.amount
                slot, moved = slots[posting.account, amount.commodity], units(amount.number, amount.commodity)
                rows.append((slot, at, offset, line, known, moved))
                if posting.lot is not None and posting.cost is not None and posting.acquired is not None:
                    cost = posting.cost
                    spent = units(cost.number, cost.commodity)
                    moves.append((at, offset, line, known, slot, posting.lot, moved, spent, cost.commodity,
                                  us(posting.acquired)))  # fmt: skip
                days[slot, at // DAY, known // DAY] += moved
        rows.sort()
        self._db.many("INSERT INTO posting VALUES (?,?,?,?,?,?)", rows)
        self._db.many("INSERT INTO move VALUES (?,?,?,?,?,?,?,?,?,?)", moves)
        self._db.many(
            "INSERT INTO day VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET units = units + excluded.units",
            [(*key, moved) for key, moved in sorted(days.items())],
        )

    def _put_lots(self) -> None:
        gone = [key for key, held in self._placed.items() if held is None]
        self._db.many("DELETE FROM lot WHERE account = ? AND lot = ?", gone)
        self._db.many(
            "INSERT OR REPLACE INTO lot VALUES (?,?,?,?,?,?,?)",
            [
                (h.account, h.lot, h.commodity, units(h.number, h.commodity), units(h.cost, h.cost_commodity),
                 h.cost_commodity, us(h.at))
                for h in self._placed.values() if h is not None
            ],
        )  # fmt: skip

    def digests(self, start: int = 0) -> Iterator[str]:
        """The digest of each entry from number `start` (from 0) on, as it was kept when it was booked."""
        yield from self._kept.digests(start)
        yield from self._tail_digests(start)

    def _tail_digests(self, start: int) -> Iterator[str]:
        last = self._kept.digest
        for place, entry in enumerate(self.tail.entries, self._kept.count):
            last = digest(entry, last)
            if place >= start:
                yield last

    def proven(self) -> Iterator[str]:
        """The digest of each entry, made anew. Raises AlteredError for the first entry whose content or predecessor is
        not what its digest says."""
        yield from self._kept.proven()
        yield from self._tail_digests(self._kept.count)

    def verify(self) -> None:
        """Pages, indexes and the digest over all bodies, and that the sums by day are those of the postings. Raises
        StoreError."""
        self._kept.verify(self.path)

    def read(self, start: int, stop: int) -> Iterator[Entry]:
        """Entries by their numbers from 0."""
        kept = self._kept.count
        yield from self._kept.read(start, stop)
        yield from self.tail.entries[max(0, start - kept) : max(0, stop - kept)]

    def __len__(self) -> int:
        return self._kept.count + len(self.tail.entries)

    def close(self) -> None:
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _Entries(Sequence[Entry]):
    """A ledger's entries by number, read as they are asked for."""

    def __init__(self, ledger: LedgerStore) -> None:
        self._ledger = ledger

    def __len__(self) -> int:
        return len(self._ledger)

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            assert step == 1
            return list(self._ledger.read(start, stop))
        at = range(len(self))[index]
        return next(self._ledger.read(at, at + 1))

    def __iter__(self) -> Iterator[Entry]:
        return self._ledger.read(0, len(self))


def _locked(path: Path) -> int | None:
    """The lock of who writes, held until it is closed; None: another holds it, or the folder cannot be written to."""
    lock = path.with_name(path.name + ".lock")
    try:
        private_folder(path.parent)
        private_file(lock)
        lock_fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock_fd)
        return None
    return lock_fd


def remove(path: Path) -> None:
    """Forget a ledger, which is made anew from the records; who calls holds no lock of it."""
    for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-mark"))):
        with contextlib.suppress(FileNotFoundError):
            name.unlink()
