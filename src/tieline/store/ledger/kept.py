"""What of a ledger is on disk: entries for ever, and what they come to as known at any moment.

Balances are sums by account and day, each in the day it belongs to and the day it was learned, so that any balance as
known at any moment is a few whole days' sums and the postings of two days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tieline.ledger import Account, Entry, JournalSpan, LotHeld, Slot, Turnover, digest, under, unpack
from tieline.ledger.wire import moment, number, us
from tieline.store.database import Database, StoreError
from tieline.store.ledger.tables import DAY, DAY_OF, FAR, HALF, PAGE, SUM, sum_of


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


class KeptLedger:
    """What of a ledger is on disk, read as it was known at any moment: `count` entries, the last of which has `digest`.
    It knows of no tail."""

    def __init__(self, db: Database) -> None:
        self.db = db
        slots = db.rows("SELECT id, account, commodity FROM slot")
        self.slots: dict[Slot, int] = {(account, of): id_ for id_, account, of in slots}
        self.names: dict[int, Slot] = {id_: slot for slot, id_ in self.slots.items()}
        self.count, self.digest = self.last()

    def last(self) -> tuple[int, str]:
        """The number (from 1) and the digest of the last entry on disk."""
        rows = self.db.rows("SELECT number, digest FROM entry WHERE number = (SELECT max(number) FROM entry)")
        return (int(rows[0][0]), bytes(rows[0][1]).hex()) if rows else (0, "")

    def find(self, key: str) -> Entry | None:
        if not self.count:
            return None
        return next((unpack(body) for (body,) in self.db.rows("SELECT body FROM entry WHERE key = ?", (key,))), None)

    def count_known(self, known: datetime) -> int:
        ((counted,),) = self.db.rows("SELECT count(*) FROM entry WHERE known_at <= ?", (us(known),))
        return int(counted)

    def bodies(self, span: JournalSpan, account: Account | None) -> Iterator[bytes]:
        """A page at a time: the database is not held while the entries are worked with."""
        where = f"at >= ? AND (at, number) > (?, ?) AND at < ? AND known_at <= ? ORDER BY at, number LIMIT {PAGE}"
        sql = f"SELECT at, number, body FROM entry WHERE {where}"
        if account is not None:
            slots = ",".join(map(str, self.under(account)))
            some = f"SELECT DISTINCT at, number FROM posting WHERE slot IN ({slots}) AND {where}"
            sql = f"SELECT p.at, p.number, e.body FROM ({some}) p JOIN entry e USING (number) ORDER BY p.at, p.number"
        end, known = (FAR if one is None else us(one) for one in (span.end, span.known))
        after, more = (-FAR if span.start is None else us(span.start), 0), True
        while more:
            rows = self.db.rows(sql, (after[0], *after, end, known))
            for at, entry, body in rows:
                after = at, entry
                yield body
            more = len(rows) == PAGE

    def newest(self, account: Account, before: int, limit: int) -> list[tuple[int, Entry]]:
        numbers = "SELECT number FROM entry WHERE number <= ? ORDER BY number DESC LIMIT ?"
        if account:
            slots = ",".join(map(str, self.under(account)))
            numbers = (
                f"SELECT DISTINCT number FROM posting WHERE slot IN ({slots}) AND number <= ?"
                " ORDER BY number DESC LIMIT ?"
            )
        sql = f"SELECT number, body FROM entry WHERE number IN ({numbers}) ORDER BY number DESC"
        rows = self.db.rows(sql, (before, limit))
        return [(number_ - 1, unpack(body)) for number_, body in rows]

    def moved(self, span: JournalSpan, wanted: list[int] | None) -> dict[int, int]:
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
        sums = f"SELECT slot, {SUM} FROM day WHERE {within} AND at < ? AND known < ? GROUP BY slot"
        for slot, high, low in self.db.rows(sums, (day, learned_day)):
            total[slot] += high * HALF + low
        parts: list[tuple[int, int, int]] = []  # slot, and moments from and to, whose postings are looked at
        if end is not None:
            parts += [(slot, day * DAY, at) for slot in (self.names if wanted is None else wanted)]
        if known is not None:
            late = f"SELECT slot, at FROM day WHERE {within} AND at < ? AND known = ?"
            parts += [(slot, one * DAY, (one + 1) * DAY) for slot, one in self.db.rows(late, (day, learned_day))]
        for slot, first, last in parts:
            # Of the days before the last, those learned on earlier days are in the sums.
            since = -FAR if first == day * DAY else learned_day * DAY
            ((high, low),) = self.db.rows(
                f"SELECT {SUM} FROM posting WHERE slot = ? AND at >= ? AND at < ? AND known_at >= ? AND known_at <= ?",
                (slot, first, last, since, learned),
            )
            total[slot] += (high or 0) * HALF + (low or 0)
        return total

    def under(self, account: Account) -> list[int]:
        return [id_ for (name, _), id_ in self.slots.items() if under(account, name)]

    def turnover(self, account: Account, end: datetime) -> Iterator[Turnover]:
        slots = self.under(account)
        sql = (
            f"SELECT slot, {DAY_OF.format('at')}, {sum_of('max(units, 0)')}, {sum_of('min(units, 0)')} FROM posting"
            f" WHERE slot IN ({','.join(map(str, slots))}) AND at < ? GROUP BY 1, 2 ORDER BY 2"
        )
        for slot, day, more, more_low, less, less_low in self.db.rows(sql, (us(end),)):
            (name, of), came, left = self.names[slot], more * HALF + more_low, less * HALF + less_low
            yield Turnover(name, of, moment(day * DAY), number(came, of), number(-left, of))

    def open_lots(self, without: Container[tuple[Account, str]]) -> Iterator[LotHeld]:
        """Lots as they stand, but for those `without` whose standing is known elsewhere."""
        sql = "SELECT account, lot, commodity, units, cost, cost_commodity, at FROM lot"
        for account, lot, of, count, cost, cost_of, at in self.db.rows(sql):
            if (account, lot) not in without:
                yield LotHeld(lot, account, of, number(count, of), number(cost, cost_of), cost_of, moment(at))

    def lots_of(self, span: JournalSpan) -> Iterator[LotHeld]:
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
                (account, of), cost_of = self.names[slot], of_cost[slot, lot]
                yield LotHeld(lot, account, of, number(count, of), number(cost, cost_of), cost_of, moment(acquired))

    def moves(self, span: JournalSpan) -> Iterator[LotHeld]:
        for slot, lot, moved, cost, cost_of, acquired in self._kept_moves(span):
            account, of = self.names[slot]
            yield LotHeld(lot, account, of, number(moved, of), number(cost, cost_of), cost_of, moment(acquired))

    def _kept_moves(self, span: JournalSpan) -> list[tuple[int, str, int, int, str, int]]:
        start, end = -FAR if span.start is None else us(span.start), FAR if span.end is None else us(span.end)
        known = FAR if span.known is None else us(span.known)
        return self.db.rows(
            "SELECT slot, lot, units, cost, cost_commodity, acquired FROM move"
            " WHERE at >= ? AND at < ? AND known_at <= ? ORDER BY at, number, line",
            (start, end, known),
        )

    def standing(self, name: str) -> bytes | None:
        if not self.count:
            return None
        return next((body for (body,) in self.db.rows("SELECT body FROM standing WHERE name = ?", (name,))), None)

    @property
    def watermark(self) -> Watermark | None:
        """Where the last `flush` ended; None: nothing was ever flushed."""
        rows = self.db.rows("SELECT read, seq, state FROM watermark")
        return Watermark(*rows[0]) if rows else None

    def digests(self, start: int = 0) -> Iterator[str]:
        """The digest of each entry from number `start` (from 0) on, as it was kept when it was booked."""
        for (stored,) in self.db.each("SELECT digest FROM entry WHERE number > ? ORDER BY number", (start,)):
            yield stored.hex()

    def proven(self) -> Iterator[str]:
        """The digest of each entry, made anew. Raises AlteredError for the first entry whose content or predecessor is
        not what its digest says."""
        last = ""
        for start in range(0, self.count, PAGE):
            rows = self.db.rows(
                "SELECT number, digest, body FROM entry WHERE number > ? AND number <= ? ORDER BY number",
                (start, min(start + PAGE, self.count)),
            )
            if len(rows) != min(PAGE, self.count - start):
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

    def verify(self, path: Path | None) -> None:
        """Pages, indexes and the digest over all bodies, and that the sums by day are those of the postings. Raises
        StoreError."""
        self.db.verify()
        at, known = DAY_OF.format("at"), DAY_OF.format("known_at")
        sums = f"SELECT slot, {at}, {known}, sum(units) FROM posting GROUP BY 1, 2, 3"
        days = "SELECT slot, at, known, units FROM day"
        ((apart,),) = self.db.rows(f"SELECT count(*) FROM (SELECT * FROM ({sums}) EXCEPT SELECT * FROM ({days}))")
        if apart:
            raise StoreError(f"{path}: {apart:,} sums by day are not those of their postings; remove the file, "
                             "the books are made anew from the records")  # fmt: skip
        moved = "SELECT slot, lot, sum(units), sum(cost) FROM move GROUP BY 1, 2 HAVING sum(units) <> 0"
        held = (
            "SELECT s.id, l.lot, l.units, l.cost FROM lot l"
            " JOIN slot s ON s.account = l.account AND s.commodity = l.commodity"
        )
        ((apart,),) = self.db.rows(f"SELECT count(*) FROM (SELECT * FROM ({moved}) EXCEPT SELECT * FROM ({held}))")
        if apart:
            raise StoreError(f"{path}: {apart:,} lots are not the sum of their moves; remove the file, the books "
                             "are made anew from the records")  # fmt: skip

    def read(self, start: int, stop: int) -> Iterator[Entry]:
        """Entries by their numbers from 0."""
        first, stop = start, min(stop, self.count)
        while first < stop:
            upto = min(first + PAGE, stop)
            for (body,) in self.db.rows(
                "SELECT body FROM entry WHERE number > ? AND number <= ? ORDER BY number", (first, upto)
            ):
                yield unpack(body)
            first = upto
