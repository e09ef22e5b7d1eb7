"""The ledger on disk: entries for ever, and what they come to, kept up with them.

A projection of a store's records with a watermark: how far it has read, and the state in which its keeper was then.
Whoever holds the lock writes; others read one moment's view and keep what they add in memory. Balances are sums by
account and day, each in the day it belongs to and the day it was learned, so that any balance as known at any moment
is a few whole days' sums and the postings of two days.
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
from typing import Final, NamedTuple, overload

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
    under,
    unpack,
)
from tieline.ledger.wire import moment, number, units, us
from tieline.store.database import REAL, Database, Disk, Kind, StoreError, open_database
from tieline.store.files import private_file, private_folder

DAY: Final = 86_400_000_000  # microseconds
# Entries read at once.
PAGE: Final = 2_000
FAR: Final = 1 << 62
# A moment's day, also before 1970: SQLite's division cuts towards zero.
_DAY_OF: Final = f"({{0}} - ({{0}} % {DAY} + {DAY}) % {DAY}) / {DAY}"

# Sums in two halves: what is as large as an amount may be must not take a sum out of what the database counts with.
_HALF: Final = 10**9


def _sum_of(units: str) -> str:
    return f"sum({units} / {_HALF}), sum({units} % {_HALF})"


_SUM: Final = _sum_of("units")

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


class Watermark(NamedTuple):
    """What was read: `read` says of what and how, `seq` how far, `state` is what the reader wants to find again."""

    read: str
    seq: int
    state: bytes


class AlteredError(ValueError):
    """The entry at `number` (from 0) is not what it was when it was booked."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__("was altered, or one before it")


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
            slots = self._db.rows("SELECT id, account, commodity FROM slot")
            self._slots = {(account, of): id_ for id_, account, of in slots}
            self._names = {id_: slot for slot, id_ in self._slots.items()}
            self._count, self._digest = self._last()
            undo.pop_all()
        self.tail = MemoryJournal()
        self._placed: dict[tuple[Account, str], LotHeld | None] = {}
        self._standing: dict[str, bytes] = {}

    def _last(self) -> tuple[int, str]:
        """The number (from 1) and the digest of the last entry on disk."""
        rows = self._db.rows("SELECT number, digest FROM entry WHERE number = (SELECT max(number) FROM entry)")
        return (int(rows[0][0]), bytes(rows[0][1]).hex()) if rows else (0, "")

    # --- a journal -----------------------------------------------------------------------

    @property
    def entries(self) -> Sequence[Entry]:
        return _Entries(self)

    def count(self, known: datetime) -> int:
        ((counted,),) = self._db.rows("SELECT count(*) FROM entry WHERE known_at <= ?", (us(known),))
        return int(counted) + self.tail.count(known)

    def append(self, entry: Entry) -> None:
        self.tail.append(entry)

    def find(self, key: str) -> Entry | None:
        entry = self.tail.find(key)
        if entry is not None or not self._count:
            return entry
        return next((unpack(body) for (body,) in self._db.rows("SELECT body FROM entry WHERE key = ?", (key,))), None)

    def between(self, span: JournalSpan, account: Account | None = None) -> Iterator[Entry]:
        """By the moment they belong to, and in the order in which they were booked: finer than by month."""
        for body in self._bodies(span, account):
            yield unpack(body)
        yield from self.tail.between(span, account)

    def _bodies(self, span: JournalSpan, account: Account | None) -> Iterator[bytes]:
        """A page at a time: the database is not held while the entries are worked with."""
        where = f"at >= ? AND (at, number) > (?, ?) AND at < ? AND known_at <= ? ORDER BY at, number LIMIT {PAGE}"
        sql = f"SELECT at, number, body FROM entry WHERE {where}"
        if account is not None:
            slots = ",".join(map(str, self._under(account)))
            some = f"SELECT DISTINCT at, number FROM posting WHERE slot IN ({slots}) AND {where}"
            sql = f"SELECT p.at, p.number, e.body FROM ({some}) p JOIN entry e USING (number) ORDER BY p.at, p.number"
        end, known = (FAR if one is None else us(one) for one in (span.end, span.known))
        after, more = (-FAR if span.start is None else us(span.start), 0), True
        while more:
            rows = self._db.rows(sql, (after[0], *after, end, known))
            for at, entry, body in rows:
                after = at, entry
                yield body
            more = len(rows) == PAGE

    def newest(self, account: Account, before: int, limit: int) -> list[tuple[int, Entry]]:
        tail = self.tail.newest(account, before - self._count, limit) if before > self._count else []
        entries = [(self._count + n, entry) for n, entry in tail]
        numbers = "SELECT number FROM entry WHERE number <= ? ORDER BY number DESC LIMIT ?"
        if account:
            slots = ",".join(map(str, self._under(account)))
            numbers = (
                f"SELECT DISTINCT number FROM posting WHERE slot IN ({slots}) AND number <= ?"
                " ORDER BY number DESC LIMIT ?"
            )
        sql = f"SELECT number, body FROM entry WHERE number IN ({numbers}) ORDER BY number DESC"
        rows = self._db.rows(sql, (min(before, self._count), limit - len(entries)))
        return entries + [(number_ - 1, unpack(body)) for number_, body in rows]

    def changes(self, span: JournalSpan, account: Account | None = None) -> dict[Slot, Decimal]:
        """Sums of whole days, and the postings of the days that are not whole."""
        total: dict[Slot, Decimal] = defaultdict(Decimal)
        wanted = None if account is None else self._under(account)
        if self._count and wanted != []:
            for slot, moved in self._moved(span, wanted).items():
                name = self._names[slot]
                total[name] += number(moved, name[1])
        for tail, more in self.tail.changes(span, account).items():
            total[tail] += more
        return total

    def _moved(self, span: JournalSpan, wanted: list[int] | None) -> dict[int, int]:
        """Units by slot. [start, end) is the end's sum less the start's: each is a few whole days and a part of one."""
        if span.start is not None and span.end is not None and span.start >= span.end:
            return {}
        end = self._before(span.end, span.known, wanted)
        if span.start is not None:
            for slot, moved in self._before(span.start, span.known, wanted).items():
                end[slot] = end.get(slot, 0) - moved
        return end

    def _before(self, end: datetime | None, known: datetime | None, wanted: list[int] | None) -> dict[int, int]:
        at, learned = FAR if end is None else us(end), FAR if known is None else us(known)
        day, learned_day = at // DAY, learned // DAY
        total: dict[int, int] = defaultdict(int)
        within = "1" if wanted is None else f"slot IN ({','.join(map(str, wanted))})"
        sums = f"SELECT slot, {_SUM} FROM day WHERE {within} AND at < ? AND known < ? GROUP BY slot"
        for slot, high, low in self._db.rows(sums, (day, learned_day)):
            total[slot] += high * _HALF + low
        parts: list[tuple[int, int, int]] = []  # slot, and moments from and to, whose postings are looked at
        if end is not None:
            parts += [(slot, day * DAY, at) for slot in (self._names if wanted is None else wanted)]
        if known is not None:
            late = f"SELECT slot, at FROM day WHERE {within} AND at < ? AND known = ?"
            parts += [(slot, one * DAY, (one + 1) * DAY) for slot, one in self._db.rows(late, (day, learned_day))]
        for slot, first, last in parts:
            # Of the days before the last, those learned on earlier days are in the sums.
            since = -FAR if first == day * DAY else learned_day * DAY
            ((high, low),) = self._db.rows(
                f"SELECT {_SUM} FROM posting WHERE slot = ? AND at >= ? AND at < ? AND known_at >= ? AND known_at <= ?",
                (slot, first, last, since, learned),
            )
            total[slot] += (high or 0) * _HALF + (low or 0)
        return total

    def _under(self, account: Account) -> list[int]:
        return [id_ for (name, _), id_ in self._slots.items() if under(account, name)]

    def turnover(self, account: Account, end: datetime) -> Iterator[Turnover]:
        slots = self._under(account)
        sql = (
            f"SELECT slot, {_DAY_OF.format('at')}, {_sum_of('max(units, 0)')}, {_sum_of('min(units, 0)')} FROM posting"
            f" WHERE slot IN ({','.join(map(str, slots))}) AND at < ? GROUP BY 1, 2 ORDER BY 2"
        )
        for slot, day, more, more_low, less, less_low in self._db.rows(sql, (us(end),)):
            (name, of), came, left = self._names[slot], more * _HALF + more_low, less * _HALF + less_low
            yield Turnover(name, of, moment(day * DAY), number(came, of), number(-left, of))
        yield from self.tail.turnover(account, end)

    def lots(self, span: JournalSpan = EVER) -> Iterator[LotHeld]:
        if span == EVER:
            return self._open_lots()
        if any(True for entry in self.tail.between(span) for _ in lot_moves(entry)):
            return summed(self._moves(span))
        return self._lots_of(span)

    def _open_lots(self) -> Iterator[LotHeld]:
        sql = "SELECT account, lot, commodity, units, cost, cost_commodity, at FROM lot"
        for account, lot, of, count, cost, cost_of, at in self._db.rows(sql):
            if (account, lot) not in self._placed:
                yield LotHeld(lot, account, of, number(count, of), number(cost, cost_of), cost_of, moment(at))
        yield from (held for held in self._placed.values() if held is not None)

    def _lots_of(self, span: JournalSpan) -> Iterator[LotHeld]:
        """`summed` of what is on disk, in whole numbers."""
        left: dict[tuple[int, str], list[int]] = {}
        of_cost: dict[tuple[int, str], str] = {}
        for slot, lot, moved, cost, cost_of, acquired in self._kept_moves(span):
            known = left.setdefault((slot, lot), [0, 0, 0])
            known[0] += moved
            known[1] += cost
            known[2] = acquired  # a lot that was emptied may be opened again, at another date
            of_cost[slot, lot] = cost_of
        for (slot, lot), (count, cost, acquired) in left.items():
            if count:
                (account, of), cost_of = self._names[slot], of_cost[slot, lot]
                yield LotHeld(lot, account, of, number(count, of), number(cost, cost_of), cost_of, moment(acquired))

    def _moves(self, span: JournalSpan) -> Iterator[LotHeld]:
        for slot, lot, moved, cost, cost_of, acquired in self._kept_moves(span):
            account, of = self._names[slot]
            yield LotHeld(lot, account, of, number(moved, of), number(cost, cost_of), cost_of, moment(acquired))
        for entry in self.tail.between(span):
            yield from lot_moves(entry)

    def _kept_moves(self, span: JournalSpan) -> list[tuple[int, str, int, int, str, int]]:
        start, end = -FAR if span.start is None else us(span.start), FAR if span.end is None else us(span.end)
        known = FAR if span.known is None else us(span.known)
        return self._db.rows(
            "SELECT slot, lot, units, cost, cost_commodity, acquired FROM move"
            " WHERE at >= ? AND at < ? AND known_at <= ? ORDER BY at, number, line",
            (start, end, known),
        )

    def placed(self, account: Account, lot: str, held: LotHeld | None) -> None:
        self._placed[account, lot] = held

    # --- standings, as their keeper encodes them --------------------------------------------

    def standing(self, name: str) -> bytes | None:
        standing = self._standing.get(name)
        if standing is not None or not self._count:
            return standing
        return next((body for (body,) in self._db.rows("SELECT body FROM standing WHERE name = ?", (name,))), None)

    def stand(self, name: str, body: bytes) -> None:
        self._standing[name] = body

    # --- on disk -----------------------------------------------------------------------------

    @property
    def watermark(self) -> Watermark | None:
        """Where the last `flush` ended; None: nothing was ever flushed."""
        rows = self._db.rows("SELECT read, seq, state FROM watermark")
        return Watermark(*rows[0]) if rows else None

    def flush(self, watermark: Watermark) -> None:
        """Put what was appended on disk, with how far that is; on disk when it returns. Raises StoreError with nothing
        of it kept; it can be tried again.

        Coins and limits were checked against what was read here, so the same transaction looks whether that is still
        what stands: of two writers whom no lock parted, the second keeps nothing."""
        if not self.writes:
            raise StoreError(f"{self.path}: another process writes it")
        added = self.tail.entries
        with self._db.write() as transaction:
            if self._last() != (self._count, self._digest):
                raise StoreError(f"{self.path}: another process wrote it since it was read here; start this one anew")
            new = self._new_slots(added)
            last, rows, bodies = self._digest, [], []
            for offset, entry in enumerate(added, self._count + 1):
                last, body = digest(entry, last), pack(entry)
                rows.append((offset, entry.key, us(entry.at), us(known_of(entry)), bytes.fromhex(last), body))
                bodies.append(body)
            self._db.many("INSERT INTO entry VALUES (?,?,?,?,?,?)", rows)
            self._add_postings(added, self._slots | new)
            self._put_lots()
            self._db.many("INSERT OR REPLACE INTO standing VALUES (?,?)", sorted(self._standing.items()))
            self._db.run("INSERT OR REPLACE INTO watermark VALUES (1, ?, ?, ?)", watermark)
            transaction.keep(bodies, self._count + len(added))
        self._count, self._digest = self._count + len(added), last
        self._slots |= new
        self._names |= {id_: slot for slot, id_ in new.items()}
        self.tail, self._placed, self._standing = MemoryJournal(), {}, {}

    def _new_slots(self, added: Iterable[Entry]) -> dict[Slot, int]:
        """Slots that are not on disk yet, put there."""
        new = {(p.account, p.amount.commodity) for entry in added for p in entry.postings} - self._slots.keys()
        numbered = {slot: len(self._slots) + n for n, slot in enumerate(sorted(new), 1)}
        self._db.many("INSERT INTO slot VALUES (?,?,?)", [(id_, *slot) for slot, id_ in numbered.items()])
        return numbered

    def _add_postings(self, added: Iterable[Entry], slots: dict[Slot, int]) -> None:
        rows: list[tuple[int, ...]] = []
        moves: list[tuple[int | str, ...]] = []
        days: dict[tuple[int, int, int], int] = defaultdict(int)
        for offset, entry in enumerate(added, self._count + 1):
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
        last = self._digest
        for (stored,) in self._db.each("SELECT digest FROM entry WHERE number > ? ORDER BY number", (start,)):
            yield stored.hex()
        for place, entry in enumerate(self.tail.entries, self._count):
            last = digest(entry, last)
            if place >= start:
                yield last

    def proven(self) -> Iterator[str]:
        """The digest of each entry, made anew. Raises AlteredError for the first entry whose content or predecessor is
        not what its digest says."""
        last = ""
        for start in range(0, self._count, PAGE):
            rows = self._db.rows(
                "SELECT number, digest, body FROM entry WHERE number > ? AND number <= ? ORDER BY number",
                (start, min(start + PAGE, self._count)),
            )
            if len(rows) != min(PAGE, self._count - start):
                numbers = {entry for entry, _, _ in rows}
                raise AlteredError(next(n for n in range(start, start + PAGE) if n + 1 not in numbers))
            for entry, stored, body in rows:
                try:
                    last = digest(unpack(body), last)
                except ValueError as error:
                    raise AlteredError(entry - 1) from error
                if stored.hex() != last:
                    raise AlteredError(entry - 1)
                yield last
        yield from self.digests(self._count)

    def verify(self) -> None:
        """Pages, indexes and the digest over all bodies, and that the sums by day are those of the postings. Raises
        StoreError."""
        self._db.verify()
        at, known = _DAY_OF.format("at"), _DAY_OF.format("known_at")
        sums = f"SELECT slot, {at}, {known}, sum(units) FROM posting GROUP BY 1, 2, 3"
        days = "SELECT slot, at, known, units FROM day"
        ((apart,),) = self._db.rows(f"SELECT count(*) FROM (SELECT * FROM ({sums}) EXCEPT SELECT * FROM ({days}))")
        if apart:
            raise StoreError(f"{self.path}: {apart:,} sums by day are not those of their postings; remove the file, "
                             "the books are made anew from the records")  # fmt: skip
        moved = "SELECT slot, lot, sum(units), sum(cost) FROM move GROUP BY 1, 2 HAVING sum(units) <> 0"
        held = (
            "SELECT s.id, l.lot, l.units, l.cost FROM lot l"
            " JOIN slot s ON s.account = l.account AND s.commodity = l.commodity"
        )
        ((apart,),) = self._db.rows(f"SELECT count(*) FROM (SELECT * FROM ({moved}) EXCEPT SELECT * FROM ({held}))")
        if apart:
            raise StoreError(f"{self.path}: {apart:,} lots are not the sum of their moves; remove the file, the books "
                             "are made anew from the records")  # fmt: skip

    def read(self, start: int, stop: int) -> Iterator[Entry]:
        """Entries by their numbers from 0."""
        first = start
        while first < min(stop, self._count):
            upto = min(first + PAGE, stop, self._count)
            for (body,) in self._db.rows(
                "SELECT body FROM entry WHERE number > ? AND number <= ? ORDER BY number", (first, upto)
            ):
                yield unpack(body)
            first = upto
        yield from self.tail.entries[max(0, start - self._count) : max(0, stop - self._count)]

    def __len__(self) -> int:
        return self._count + len(self.tail.entries)

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
