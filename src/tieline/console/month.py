"""The running month's production, from the books' own fold.

The book is built anew only where money has moved since; the mean hashrate is summed by day, and a day is
read again while late samples may still come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec

from tieline.books import Invoice, build_book, invoices
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
from tieline.store import Store

T = TypeVar("T")
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
    usage: list[Usage]
    reserved: list[Reserved]
    book: Book
    invoices: list[Invoice]
    shortfalls: list[Shortfall]
    performances: list[Performance]


class Month:
    """One month at a time; `moved` is any number that changes when a record of money was stored."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._days: dict[datetime, tuple[float, int]] = {}
        self._money: tuple[tuple[str, int], Money] | None = None

    async def view(self, read: Read, now: datetime, moved: int = 0) -> dict[str, Any]:
        """The month's figures as JSON, each with how it was computed and the records behind it."""
        month = f"{now:%Y-%m}"
        start, end = month_span(month)
        if self._money is None or self._money[0] != (month, moved):
            self._money = ((month, moved), await read(lambda s: _money(s, start, end, now)))
        money = self._money[1]
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
            usage=money.usage,
            reserved=money.reserved,
            shortfalls=money.shortfalls,
            performances=money.performances,
            hashrate_hs=hash_s / elapsed_s if samples else None,
            hashrate_samples=samples,
            network=[t for t in network if t.kind != "forecast"],
            book=money.book,
        )
        return shown(update) | {"invoices": [billed(one) for one in money.invoices]}

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
    usage = store.between(Usage, start, end)
    kept = store.between(Performance, BEGINNING, now)
    book = build_book([*openings, *payouts, *trades, *bills, *kept])
    short = store.between(Shortfall, start, now)
    reserved = store.between(Reserved, start, end)
    billed = invoices(usage, f"{start:%Y-%m}", reserved)
    return Money(openings, payouts, trades, bills, usage, reserved, book, billed, short, kept)


def _hashes_of(store: Store, start: datetime, end: datetime) -> tuple[float, int]:
    heard = [s for s in store.between(Sample, start, end) if s.hashrate_hs is not None]
    return sum((s.hashrate_hs or 0.0) * s.length_s for s in heard), len(heard)
