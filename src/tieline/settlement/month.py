"""A month out of the store: the one place where the monthly update meets the records it folds.

Page and command read the same records with the same functions here and give them to the same fold; they differ only
in what they keep between two looks.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeGuard

from tieline.books import (
    MONEY,
    Bookkeeper,
    Invoice,
    MonthlyUpdate,
    MonthRecords,
    invoices,
    known_month,
    month_of,
    month_span,
    monthly_update,
)
from tieline.books.accounts import MINED
from tieline.books.keeper import newest_of
from tieline.books.reports.emissions import EmissionsOfMonth, emissions_of
from tieline.books.reports.margins import Margins, SitesMeasured, margins_of
from tieline.books.reports.sums import RolledSums, total_of
from tieline.fleet import Fleet
from tieline.ledger import BTC, Method
from tieline.records import (
    Closing,
    Deployed,
    EnergyEvidence,
    Loan,
    NetworkTick,
    Operated,
    Payout,
    Performance,
    PolicyChosen,
    PowerBill,
    RateFixing,
    Record,
    Reserved,
    Sample,
    Trade,
    Usage,
)
from tieline.settlement.kept import LedgerOfStore, ledger_of
from tieline.settlement.rolled import SumsOfSpans
from tieline.store import Selection, Store, Stored, StoreError
from tieline.store.database import REAL, Disk
from tieline.store.ledger import LedgerStore
from tieline.store.rolled.kept import RolledStore

log = logging.getLogger("tieline.settlement")

# No record of money is older than the first block, and none is dated later than this.
BEGINNING, END = datetime(2009, 1, 3, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
# Records of one stream read at once while the books are read from the start.
PAGE = 2_000
# Behind by more than this, only records of money are read, and looked for among so many others at once.
MANY, STRETCH = 20_000, 100_000
# Entries kept in memory while another process writes the ledger, before it is asked for again.
WAITED = 500
# The network tells itself every few minutes; a forecast may be the last that was said before a month.
TOLD = timedelta(days=2)
# What says how money is booked, and not that any was there.
RULES = (Closing, Loan, PolicyChosen, RateFixing, EnergyEvidence)
SOON = timedelta(microseconds=1)


class Books:
    """The books of a store, kept up by what was stored since the last look; never folded anew.

    They lie on disk beside the store and go on where they were left; of a store in memory they are in memory.
    Records are booked in the order in which they were stored, so what is booked stays: a late one is a late entry.
    `known` folds, in memory, only what was learned by that moment.
    """

    def __init__(self, lots: Method = "fifo", known: datetime | None = None, disk: Disk = REAL) -> None:
        self._disk = disk
        self.keeper = Bookkeeper(lots)
        self._lots: Method = lots
        self._known = known
        self._seq: int | None = None
        self._begun = False
        self._kept: LedgerOfStore | None = None
        self._flushed, self._unwritten = 0, False
        self._midway = False  # the last step left more to book

    def catch_up(self, store: Store) -> int:
        """Book what is new; returns how many records that were. Raises StoreError."""
        count, more = 0, True
        while more:
            some, more = self.step(store)
            count += some
        return count

    def step(self, store: Store) -> tuple[int, bool]:
        """Book a page of what is new, in a fraction of a second however far behind the books are: (how many records
        that were, whether there is more). Raises StoreError; what was booked before stays."""
        if not self._midway:
            self._open(store)
        upto, after = store.last_seq(), self._seq or 0
        if upto - after > MANY:
            last, more = min(upto, after + STRETCH), True
            numbers = store.numbers(MONEY, after, last, PAGE)
            count = self._booked(store.numbered(numbers)) if numbers else 0
            last = numbers[-1] if len(numbers) == PAGE else last
        else:
            page = store.follow(after, PAGE)
            count = self._booked(page.items)
            last, more = page.last, page.more
        self._seq, self._midway = last, more
        if count or last - self._flushed > MANY:
            self._flush(last)
        return count, more

    def _open(self, store: Store) -> None:
        """The ledger on disk as it was left, unless it is open already."""
        if self._kept is not None and not self._kept.ledger.writes and len(self._kept.ledger.tail.entries) > WAITED:
            self.close()  # who wrote them may have gone
            self._begun = False
        if self._begun:
            return
        self._kept = None if self._known is not None else ledger_of(store, self._lots, self._disk)
        if self._kept is not None:
            self.keeper, self._seq = self._kept.keeper(self._lots)
            self._flushed = self._seq or 0
        elif self._seq is not None:
            self.keeper, self._seq = Bookkeeper(self._lots), None
        self._begun = True

    def _flush(self, seq: int) -> None:
        """Where the disk takes nothing the books go on in memory: the records they are made of are on disk already."""
        if self._kept is None:
            return
        try:
            self._kept.flush(self.keeper, seq)
            self._flushed, self._unwritten = seq, False
        except StoreError as error:
            if not self._unwritten:
                log.warning("the books go on in memory: %s", error)
            self._unwritten = True

    def _booked(self, page: Sequence[Stored]) -> int:
        return sum(self._take(stored) for stored in page)

    def _take(self, stored: Stored) -> int:
        record = stored.record
        if not isinstance(record, MONEY) or (self._known is not None and record.known_at > self._known):
            return 0
        self.keeper.take(record, stored.seq)
        return 1

    @property
    def ledger(self) -> LedgerStore | None:
        """Where they lie on disk; None: in memory."""
        return None if self._kept is None else self._kept.ledger

    def close(self) -> None:
        """Let another process write them."""
        if self._kept is not None:
            self._kept.ledger.close()
            self._kept = None


def books_of(store: Store, lots: Method = "fifo", known: datetime | None = None) -> Bookkeeper:
    """Every entry there is; with `known`, as one would have seen the books at that moment."""
    books = Books(lots, known)
    books.catch_up(store)
    return books.keeper


def update_of(
    store: Store,
    fleet: Fleet,
    month: str,
    now: datetime,
    books: Bookkeeper | Method = "fifo",
    *,
    kept: RolledStore | None = None,
) -> MonthlyUpdate:
    """The month's update as of `now`; `books` where they are read already, else the method of their lots; `kept`: sums
    that hold every record. Raises ValueError for a month that is not YYYY-MM, has not begun, or ended before the first
    record."""
    keeper = books if isinstance(books, Bookkeeper) else books_of(store, books)
    start, end = month_span(month, keeper.policy.zone)
    sums = sums_between(store, start, min(end, now), kept)
    read = month_records(store, month, keeper)
    return monthly_update(fleet, month, now, dataclasses.replace(read, invoiced=invoices_of(store, month), sums=sums))


def sums_between(store: Store, start: datetime, end: datetime, kept: RolledStore | None = None) -> RolledSums:
    """Of all sites together over [start, end)."""
    return total_of(SumsOfSpans(store, kept).of_sites(start, end).values())


def invoices_of(store: Store, month: str) -> list[Invoice]:
    """What each tenant owes for a month (UTC). Raises ValueError for one that is not YYYY-MM."""
    start, end = month_span(month)
    return invoices(store.each(Usage, start, end), month, store.each(Reserved, start, end), keyed=True)


def month_records(store: Store, month: str, keeper: Bookkeeper) -> MonthRecords:
    """The records of money and machines that a month's update is made of, without invoices and sums of sites."""
    start, end = month_span(month, keeper.policy.zone)
    return MonthRecords(
        book=keeper.book,
        zone=keeper.policy.zone,
        policy=tuple(keeper.policy.lines()),
        unbookable=keeper.unbookable,
        payouts=store.between(Payout, start, end + timedelta(microseconds=1)),
        trades=store.between(Trade, start, end),
        performances=store.between(Performance, start, end),
        network=network_of(store, start, end),
        operated=store.between(Operated, start, end),
        deployed=[*store.latest(Deployed, start - SOON), *store.between(Deployed, start, end)],
        recorded_from=recorded_from(store),
    )


def network_of(store: Store, start: datetime, end: datetime) -> list[NetworkTick]:
    """What was said of the network over [start, end), and last before."""
    return [*store.latest(NetworkTick, start), *store.between(NetworkTick, start - TOLD, end)]


def span_of(store: Store, month: str, now: datetime, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """The span of a month of which something may be known. Raises ValueError as `known_month` does."""
    return known_month(month, now, recorded_from(store), zone)


def recorded_from(store: Store) -> datetime | None:
    """When the first record of money or of machines holds; None where there is none."""
    types: tuple[type[Record], ...] = (*MONEY, Sample, Usage)
    first = [stored.record for type_ in types for stored in store.page(Selection(type_, BEGINNING, END), 1).items]
    begun = [record.span_start if isinstance(record, Payout) else record.at for record in first if _holds(record)]
    return min(begun, default=None)


def _holds(record: object) -> TypeGuard[Record]:
    """Whether it says that something was there: a closed month and a loan's terms do not."""
    return isinstance(record, Record) and not isinstance(record, RULES)


def emissions_in(store: Store, month: str, keeper: Bookkeeper) -> EmissionsOfMonth:
    """A month's CO2, certificates used up in order from the first on. Raises ValueError for one not YYYY-MM."""
    start, end = month_span(month, keeper.policy.zone)
    evidence = store.between(EnergyEvidence, BEGINNING, end)
    first = min((one.at for one in evidence if one.what == "certificate"), default=start)
    since = min(start, month_span(month_of(first, keeper.policy.zone), keeper.policy.zone)[0])
    tokens = sum(used.output_tokens for used in store.each(Usage, start, end))
    produced = -keeper.book.change(MINED, BTC, start, end)
    bills = store.each(PowerBill, since, end)
    return emissions_of(bills, evidence, month, (produced, tokens), keeper.policy.zone)


def margins_in(
    store: Store, month: str, now: datetime, keeper: Bookkeeper, hashes: Mapping[str, float] | None = None
) -> Margins:
    """A month's margins by site and use; `hashes` by site, where they are known already. Raises ValueError for a month
    of which nothing is known."""
    start, end = span_of(store, month, now, keeper.policy.zone)
    energy: dict[tuple[str, str], float] = defaultdict(float)
    for bill in newest_of(store.between(PowerBill, start, end)):
        load = bill.mining_wh + bill.inference_wh
        for use, wh in (("mining", bill.mining_wh), ("inference", bill.inference_wh)):
            if wh:
                energy[bill.site_id, use] += wh + bill.aux_wh * wh / load
    delivered: dict[str, int] = defaultdict(int)
    for used in store.each(Usage, start, end):
        tokens = sum(hop.output_tokens for hop in used.hops)
        for hop in used.hops:
            delivered[hop.site_id] += used.cost_nano_usd * hop.output_tokens // tokens if tokens else 0
        if not tokens and used.hops:  # embeddings, sound, pictures: whoever answered
            delivered[used.hops[-1].site_id] += used.cost_nano_usd
    made = hashes_by_site(store, start, min(end, now)) if hashes is None else hashes
    measured = SitesMeasured(made, delivered, energy)
    return margins_of(keeper, month, measured)


def hashes_by_site(store: Store, start: datetime, end: datetime) -> dict[str, float]:
    """Hashes that the machines of each site made over [start, end), as their samples say."""
    return counted_hashes(store, start, end)[0]


def counted_hashes(store: Store, start: datetime, end: datetime) -> tuple[dict[str, float], int]:
    """(by site, samples that say so)."""
    hashes: dict[str, float] = {}
    count = 0
    for sample in store.each(Sample, start, end):
        if sample.hashrate_hs is not None and sample.hashrate_hs >= 0:
            hashes[sample.site_id] = hashes.get(sample.site_id, 0.0) + sample.hashrate_hs * sample.length_s
            count += 1
    return hashes, count


def hashes_of(store: Store, start: datetime, end: datetime) -> tuple[float, int]:
    """(hashes made over [start, end), samples that say so)."""
    hashes, count = 0.0, 0
    for sample in store.each(Sample, start, end):
        if sample.hashrate_hs is not None and sample.hashrate_hs >= 0:
            hashes += sample.hashrate_hs * sample.length_s
            count += 1
    return hashes, count
