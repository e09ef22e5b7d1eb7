"""The running month's production, from the books' own fold.

The book is built anew only where money has moved since; the mean hashrate is summed by day, and a day is
read again while late samples may still come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec

from tieline.books import Invoice, InvoiceFold, build_book
from tieline.books.monthly import MonthlyUpdate, month_span, monthly_update
from tieline.fleet import Fleet
from tieline.ledger import Book
from tieline.records import (
    NetworkTick,
    Opening,
    Payout,
    Performance,
    PowerBill,
    Reserved,
    Sample,
    Shortfall,
    Trade,
    Usage,
)
from tieline.store import Place, Store, Stored

T = TypeVar("T")
# Records folded at once while the store is held: about 20 ms.
PAGE = 2_000
DAY = timedelta(days=1)
# A site that was cut off tells its samples when it is back; after this the day is taken as told.
LATE = timedelta(hours=6)
# Holdings are a balance of all that was ever credited.
BEGINNING = datetime(2009, 1, 3, tzinfo=UTC)


class Read(Protocol):
    """Runs a job with the store, off the event loop."""

    def __call__(self, job: Callable[[Store], T]) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Money:
    """What the month's figures are folds of, and the book of it."""

    openings: list[Opening]
    payouts: list[Payout]
    trades: list[Trade]
    bills: list[PowerBill]
    book: Book
    shortfalls: list[Shortfall]
    performances: list[Performance]


class Billing:
    """A month's invoices, kept up by what was stored since the last look, however late it was told."""

    def __init__(self, month: str) -> None:
        self.fold = InvoiceFold(month, keyed=True)
        self._span = month_span(month)
        self._seq: int | None = None

    async def catch_up(self, read: Read) -> None:
        """Read page by page, so that others who read are let in between."""
        if self._seq is None:
            upto = await read(lambda s: s.last_seq())
            for stream in (Usage, Reserved):
                place: Place | None = None
                more = True
                while more:
                    place, more = await read(lambda s, t=stream, p=place: self._page(s, t, p, upto))  # type: ignore[misc]
            self._seq = upto
        more = True
        while more:
            self._seq, more = await read(lambda s, a=self._seq: self._new(s, a))  # type: ignore[misc]

    def _page(
        self, store: Store, stream: type[Usage | Reserved], after: Place | None, upto: int
    ) -> tuple[Place | None, bool]:
        page = store.page(stream, *self._span, limit=PAGE, after=after, upto=upto)
        self._take(page.items)
        return page.last, page.more

    def _new(self, store: Store, after: int) -> tuple[int, bool]:
        page = store.follow(after, PAGE)
        self._take(page.items)
        return page.last, page.more

    def _take(self, items: Iterable[Stored]) -> None:
        for stored in items:
            if isinstance(stored.record, Usage | Reserved):
                self.fold.take(stored.record)


class Month:
    """One month at a time; `moved` is any number that changes when a record of money was stored."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._days: dict[datetime, tuple[float, int]] = {}
        self._money: tuple[tuple[str, int], Money] | None = None
        self._billing: Billing | None = None

    async def view(self, read: Read, now: datetime, moved: int = 0) -> dict[str, Any]:
        """The month's figures as JSON, each with how it was computed and the records behind it."""
        month = f"{now:%Y-%m}"
        start, end = month_span(month)
        if self._money is None or self._money[0] != (month, moved):
            self._money = ((month, moved), await read(lambda s: _money(s, start, end, now)))
        money = self._money[1]
        if self._billing is None or self._billing.fold.month != month:
            self._billing = Billing(month)
        await self._billing.catch_up(read)
        invoiced = self._billing.fold.made()
        hash_s, samples = await self._hashes(read, start, now)
        before = await read(lambda s: s.latest(NetworkTick, start))
        network = [*before, *await read(lambda s: s.between(NetworkTick, start, now))]
        elapsed_s = max((now - start).total_seconds(), 1.0)
        update = monthly_update(
            self.fleet,
            month,
            now,
            payouts=money.payouts,
            bills=money.bills,
            trades=money.trades,
            openings=money.openings,
            invoiced=invoiced,
            shortfalls=money.shortfalls,
            performances=money.performances,
            hashrate_hs=hash_s / elapsed_s if samples else None,
            hashrate_samples=samples,
            network=[t for t in network if t.kind != "forecast"],
            book=money.book,
        )
        return shown(update) | {"invoices": [billed(one) for one in invoiced]}

    async def _hashes(self, read: Read, start: datetime, now: datetime) -> tuple[float, int]:
        """Hashes of the month so far, and how many samples say so."""
        for day in [d for d in self._days if d < start]:
            del self._days[day]
        day = start
        while day < now:
            if day not in self._days or now < day + DAY + LATE:
                self._days[day] = await read(lambda s, d=day: _hashes_of(s, d, min(d + DAY, now)))  # type: ignore[misc]
            day += DAY
        known = [v for d, v in self._days.items() if d < now]
        return sum(h for h, _ in known), sum(n for _, n in known)

    def forget(self) -> None:
        """Read every day again: a past was told late."""
        self._days.clear()


def shown(update: MonthlyUpdate) -> dict[str, Any]:
    """As the page takes it: times in seconds since 1970, figures as the books write them."""
    return {
        "month": update.month,
        "start": update.start.timestamp(),
        "end": update.end.timestamp(),
        "complete": update.complete,
        "simulated": update.simulated,
        "figures": [msgspec.to_builtins(figure) for figure in update.figures],
    }


def billed(invoice: Invoice) -> dict[str, Any]:
    """A tenant's invoice to date, as the books would write it today."""
    return {
        "tenant": invoice.tenant,
        "total_usd": float(invoice.total_usd),
        "lines": [
            {
                "project": line.project,
                "model": line.model,
                "requests": line.requests,
                "prompt_tokens": line.prompt_tokens,
                "output_tokens": line.output_tokens,
                "replica_hours": line.replica_s / 3600,
                "usd": float(line.amount_usd),
                "exact_usd": line.nano_usd / 1e9,
            }
            for line in invoice.lines
        ],
    }


def _money(store: Store, start: datetime, end: datetime, now: datetime) -> Money:
    openings = store.between(Opening, BEGINNING, end)
    payouts = store.between(Payout, BEGINNING, now + timedelta(microseconds=1))
    trades = store.between(Trade, BEGINNING, now)
    bills = store.between(PowerBill, start, now)
    kept = store.between(Performance, BEGINNING, now)
    book = build_book([*openings, *payouts, *trades, *bills, *kept])
    short = store.between(Shortfall, start, now)
    return Money(openings, payouts, trades, bills, book, short, kept)


def _hashes_of(store: Store, start: datetime, end: datetime) -> tuple[float, int]:
    hashes, count = 0.0, 0
    for sample in store.each(Sample, start, end):
        if sample.hashrate_hs is not None:
            hashes += sample.hashrate_hs * sample.length_s
            count += 1
    return hashes, count
