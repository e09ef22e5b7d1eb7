"""By how much a store grows, as the last day says: an estimate, from that day's records or an even sample of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tieline.clock import micros
from tieline.store.sqlite import Store

DAY: Final = timedelta(days=1)
# A store that has taken records for less time says nothing of a day.
LEAST: Final = timedelta(hours=1)
# Records looked at one by one; of more, so many pieces spread evenly over the day.
WHOLE, PIECES, PIECE = 200_000, 100, 2_000


@dataclass(frozen=True, slots=True)
class StreamGrowth:
    """One kind of record: how many a day, and their bytes as they are kept, without what the database adds."""

    stream: str
    records_a_day: float
    bytes_a_day: float


@dataclass(frozen=True, slots=True)
class StoreGrowth:
    """`over`: the span that it is estimated from. `disk_bytes`: what the store takes now, with its indexes;
    `disk_bytes_a_day` in the same proportion. `free_bytes`: what its disk has left; None: not known here."""

    over: timedelta
    sampled: bool
    streams: tuple[StreamGrowth, ...]
    disk_bytes: int
    disk_bytes_a_day: float
    free_bytes: int | None

    @property
    def days_left(self) -> float | None:
        """Until the disk is full, if every day is like the last one."""
        if self.free_bytes is None or self.disk_bytes_a_day <= 0:
            return None
        return self.free_bytes / self.disk_bytes_a_day


def filling(growth: StoreGrowth | None, warn_days: float, speed: float = 1.0) -> str | None:
    """One line where the disk will be full in fewer days than that; `speed`: of the world's days in one of these."""
    left = None if growth is None else growth.days_left
    if growth is None or left is None or left / speed >= warn_days:
        return None
    hours, a_day = growth.over / timedelta(hours=1), growth.disk_bytes_a_day * speed / 1e6
    return (
        f"full in {left / speed:,.1f} days, estimated from the last {hours:,.0f} h: the records grow by {a_day:,.0f} "
        f"MB a day and {(growth.free_bytes or 0) / 1e9:,.1f} GB are left; make room, or move them to a larger disk "
        "(`tieline store growth` says what grows)"
    )


def growth_of(store: Store, now: datetime, granted_bytes: int | None = None) -> StoreGrowth | None:
    """None where too little was stored in the last day to say. `granted_bytes`: what the store may take at most on a
    server, whose disk cannot be asked. Raises StoreError."""
    last = store.last_seq()
    first = _first_known(store, micros(now - DAY), last)
    begun = None if first is None else _known_at(store, first)
    if first is None or begun is None:
        return None
    over = now - begun if first == 1 else DAY  # there are older ones, so it is the whole day
    if over < LEAST:
        return None
    return growth_over(store, first, over, granted_bytes)


def growth_over(store: Store, first: int, over: timedelta, granted_bytes: int | None = None) -> StoreGrowth | None:
    """By the records from number `first` on, which came within that time. Raises StoreError."""
    last = store.last_seq()
    total = last - first + 1
    starts = [first] if total <= WHOLE else [first + n * (total - PIECE) // (PIECES - 1) for n in range(PIECES)]
    size = total if total <= WHOLE else PIECE
    seen: dict[str, tuple[int, int]] = {}
    for start in starts:
        sql = "SELECT stream, count(*), sum(length(body)) FROM record WHERE seq >= ? AND seq < ? GROUP BY stream"
        for stream, count, length in store.tables.rows(sql, (start, start + size)):
            before = seen.get(stream, (0, 0))
            seen[stream] = (before[0] + int(count), before[1] + int(length))
    looked = sum(count for count, _ in seen.values())
    if not looked:
        return None
    a_day = total / (len(starts) * size) * (DAY / over)
    streams = [StreamGrowth(name, count * a_day, length * a_day) for name, (count, length) in seen.items()]
    disk = _disk(store)
    kept = last * sum(length for _, length in seen.values()) / looked  # of all records, at the last day's length
    body_a_day = sum(one.bytes_a_day for one in streams)
    return StoreGrowth(
        over,
        total > WHOLE,
        tuple(sorted(streams, key=lambda one: -one.bytes_a_day)),
        disk,
        body_a_day * (disk / kept if kept else 1.0),
        _free(store, disk, granted_bytes),
    )


def _first_known(store: Store, since: int, last: int) -> int | None:
    """The first record, by number, that was known since then, taken that records are numbered about as they are
    known: halved again and again."""
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        rows = store.tables.rows(
            "SELECT seq, known_at FROM record WHERE seq = (SELECT min(seq) FROM record WHERE seq >= ?)", (middle,)
        )
        if not rows or rows[0][1] >= since:
            high = middle
        else:
            low = int(rows[0][0]) + 1
    return low if low <= last else None


def _known_at(store: Store, seq: int) -> datetime | None:
    rows = store.numbered([seq])
    record = rows[0].record if rows else None
    known = getattr(record, "known_at", None)
    return known if isinstance(known, datetime) else None


def _disk(store: Store) -> int:
    if store.place is None:
        ((pages,),), ((size,),) = store.tables.rows("PRAGMA page_count"), store.tables.rows("PRAGMA page_size")
        return int(pages) * int(size)
    if store.place.url is not None:
        ((size,),) = store.tables.rows("SELECT pg_total_relation_size('record')")
        return int(size)
    return sum(one.stat().st_size for one in store.place.folder.glob("store.db*"))


def _free(store: Store, disk: int, granted: int | None) -> int | None:
    if granted is not None:
        return max(0, granted - disk)
    if store.place is None or store.place.url is not None:
        return None
    return shutil.disk_usage(store.place.folder).free
