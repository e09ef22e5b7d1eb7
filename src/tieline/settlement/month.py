"""A month out of the store: the one place where the monthly update meets the records it folds.

Page and command read the same records with the same functions here and give them to the same fold; they differ only
in what they keep between two looks.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

from tieline.books import MONEY, Bookkeeper, MonthlyUpdate, MonthRecords, invoices, month_span, monthly_update
from tieline.fleet import Fleet
from tieline.ledger import Method
from tieline.records import (
    Closing,
    Deployed,
    Loan,
    NetworkTick,
    Operated,
    Payout,
    Performance,
    PowerBill,
    Record,
    Reserved,
    Sample,
    Shortfall,
    Trade,
    Usage,
)
from tieline.store import Selection, Store, Stored

# No record of money is older than the first block, and none is dated later than this.
BEGINNING, END = datetime(2009, 1, 3, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
# Records of one stream read at once while the books are read from the start.
PAGE = 2_000
# The network tells itself every few minutes; a forecast may be the last that was said before a month.
TOLD = timedelta(days=2)
SOON = timedelta(microseconds=1)


class Books:
    """The books of a store, kept up by what was stored since the last look; never folded anew.

    Records are booked in the order in which they were stored, so what is booked stays: a late one is a late entry.
    `known` leaves out what was learned after that moment.
    """

    def __init__(self, lots: Method = "fifo", known: datetime | None = None) -> None:
        self.keeper = Bookkeeper(lots)
        self._known = known
        self._seq: int | None = None

    def catch_up(self, store: Store) -> int:
        """Book what is new; returns how many records that were. Raises StoreError."""
        upto, count = store.last_seq(), 0
        if self._seq is None:
            for stored in heapq.merge(*(_in_store_order(store, type_, upto) for type_ in MONEY), key=lambda s: s.seq):
                count += self._take(stored)
        else:
            after, more = self._seq, True
            while more:
                page = store.follow(after, PAGE)
                for stored in page.items:
                    count += self._take(stored)
                after, more = page.last, page.more
            upto = max(upto, after)
        self._seq = upto
        return count

    def _take(self, stored: Stored) -> int:
        record = stored.record
        if not isinstance(record, MONEY) or (self._known is not None and record.known_at > self._known):
            return 0
        self.keeper.take(record)
        return 1


def _in_store_order(store: Store, type_: type[Record], upto: int) -> Iterator[Stored]:
    found: list[Stored] = []
    place, more = None, True
    while more:
        page = store.page(Selection(type_, BEGINNING, END, upto=upto), PAGE, place)
        found += page.items
        place, more = page.last, page.more
    return iter(sorted(found, key=lambda s: s.seq))


def books_of(store: Store, lots: Method = "fifo", known: datetime | None = None) -> Bookkeeper:
    """Every entry there is; with `known`, as one would have seen the books at that moment."""
    books = Books(lots, known)
    books.catch_up(store)
    return books.keeper


def update_of(store: Store, fleet: Fleet, month: str, now: datetime, lots: Method = "fifo") -> MonthlyUpdate:
    """The month's update as of `now`. Raises ValueError for a month that is not YYYY-MM, has not begun, or ended before
    the first record."""
    start, end = month_span(month)
    hashes, samples = hashes_of(store, start, min(end, now))
    invoiced = invoices(store.each(Usage, start, end), month, store.each(Reserved, start, end), keyed=True)
    read = month_records(store, month, books_of(store, lots))
    whole = dataclasses.replace(read, invoiced=invoiced, hashes=hashes, hashrate_samples=samples)
    return monthly_update(fleet, month, now, whole)


def month_records(store: Store, month: str, keeper: Bookkeeper) -> MonthRecords:
    """The records of money and machines that a month's update is made of, without invoices and hashes."""
    start, end = month_span(month)
    return MonthRecords(
        book=keeper.book,
        unbookable=keeper.unbookable,
        payouts=store.between(Payout, start, end + timedelta(microseconds=1)),
        trades=store.between(Trade, start, end),
        bills=store.between(PowerBill, start, end),
        shortfalls=store.between(Shortfall, start, end),
        performances=store.between(Performance, start, end),
        network=network_of(store, start, end),
        operated=store.between(Operated, start, end),
        deployed=[*store.latest(Deployed, start - SOON), *store.between(Deployed, start, end)],
        recorded_from=recorded_from(store),
    )


def network_of(store: Store, start: datetime, end: datetime) -> list[NetworkTick]:
    """What was said of the network over [start, end), and last before."""
    return [*store.latest(NetworkTick, start), *store.between(NetworkTick, start - TOLD, end)]


def recorded_from(store: Store) -> datetime | None:
    """When the first record of money or of machines holds; None where there is none."""
    types: tuple[type[Record], ...] = (*MONEY, Sample)
    first = [stored.record for type_ in types for stored in store.page(Selection(type_, BEGINNING, END), 1).items]
    begun = [record.span_start if isinstance(record, Payout) else record.at for record in first if _holds(record)]
    return min(begun, default=None)


def _holds(record: object) -> TypeGuard[Record]:
    """Whether it says that something was there: a closed month and a loan's terms do not."""
    return isinstance(record, Record) and not isinstance(record, Closing | Loan)


def hashes_of(store: Store, start: datetime, end: datetime) -> tuple[float, int]:
    """(hashes made over [start, end), samples that say so)."""
    hashes, count = 0.0, 0
    for sample in store.each(Sample, start, end):
        if sample.hashrate_hs is not None and sample.hashrate_hs >= 0:
            hashes += sample.hashrate_hs * sample.length_s
            count += 1
    return hashes, count
