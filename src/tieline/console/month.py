"""The running month's production, from the books' own fold.

The books are kept up by what was stored since the last look. What machines, bills and settled hours come to is read of
the console's sums by hour and day; while those are behind, of the records, a stretch at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from tieline.books import Invoice, InvoiceFold, MonthRecords
from tieline.books.monthly import MonthlyUpdate, monthly_update
from tieline.books.reports.sums import RolledSums, total_of
from tieline.books.span import month_of, month_span
from tieline.fleet import Fleet
from tieline.ledger import Method
from tieline.records import Reserved, Usage
from tieline.settlement.month import Books, month_records, network_of, sums_between
from tieline.store import Cursor, Selection, Store, Stored
from tieline.store.rolled.kept import RolledStore

log = logging.getLogger("tieline.console")

T = TypeVar("T")
# Records folded at once while the store is held: about 20 ms.
PAGE = 2_000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Records of so many sites are read a day at a time, of more an hour.
FEW_SITES = 20
# The sums of a store where they hold every record of it.
Kept = Callable[[Store], RolledStore | None]


class Read(Protocol):
    """Runs a job with the store, off the event loop."""

    def __call__(self, job: Callable[[Store], T]) -> Awaitable[T]: ...


class RunningInvoices:
    """A month's invoices, kept up by what was stored since the last look, however late it was told."""

    def __init__(self, month: str, fold: InvoiceFold | None = None) -> None:
        """`fold`: what takes the records, where it is not a plain one."""
        self.fold = fold or InvoiceFold(month, keyed=True)
        self._span = month_span(month)
        self._seq: int | None = None

    async def catch_up(self, read: Read) -> None:
        """Read page by page, so that others who read are let in between."""
        seq = self._seq
        if seq is None:
            upto = await read(lambda s: s.last_seq())
            for stream in (Usage, Reserved):
                place: Cursor | None = None
                more = True
                while more:
                    place, more = await read(partial(self._page, stream=stream, after=place, upto=upto))
            self._seq = seq = upto
        last, more = seq, True
        while more:
            last, more = await read(partial(self._new, after=last))
            self._seq = last

    def _page(
        self, store: Store, stream: type[Usage | Reserved], after: Cursor | None, upto: int
    ) -> tuple[Cursor | None, bool]:
        page = store.page(Selection(stream, *self._span, upto=upto), PAGE, after)
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
    """One month at a time; `moved` is any number that changes when a record of money was stored.

    The fold is `settlement.month`'s; kept between two looks are the books and the invoices.
    `left_out` names what could not be booked or reckoned with.
    """

    def __init__(self, fleet: Fleet, lots: Method = "fifo") -> None:
        self.fleet = fleet
        self.left_out: tuple[str, ...] = ()
        self.lots: Method = lots
        self.books = Books(lots)
        self._read: tuple[tuple[str, int], MonthRecords] | None = None
        self._billing: RunningInvoices | None = None

    async def view(self, read: Read, now: datetime, moved: int = 0, kept: Kept = lambda store: None) -> dict[str, Any]:
        """The month's figures as JSON, each with how it was computed and the records behind it. `kept`: the sums, where
        they hold every record."""
        zone = self.books.keeper.policy.zone
        month = month_of(now, zone)
        start, end = month_span(month, zone)
        if self._read is None or self._read[0] != (month, moved):
            await self.booked(read)
            self._read = ((month, moved), await read(lambda s: month_records(s, month, self.books.keeper)))
        if self._billing is None or self._billing.fold.month != month:
            self._billing = RunningInvoices(month)
        await self._billing.catch_up(read)
        sums = await self._sums(read, start, min(end, now), kept)
        records = replace(
            self._read[1],
            invoiced=self._billing.fold.made(),
            sums=sums,
            network=await read(lambda s: network_of(s, start, end)),
        )
        update = monthly_update(self.fleet, month, now, records)
        self._say_once(update.left_out)
        return shown(update) | {"invoices": [billed(one) for one in records.invoiced]}

    async def booked(self, read: Read) -> None:
        """Book what is new, a page at a time, so that others who read are let in between."""
        more = True
        while more:
            _, more = await read(self.books.step)

    def _say_once(self, left_out: tuple[str, ...]) -> None:
        """Each record once, however its reason is worded later: what a waiting sale lacks changes by the hour."""
        names = {_named(line) for line in self.left_out}
        for line in left_out:
            if _named(line) not in names:
                log.warning("left out of the month: %s", line)
        self.left_out = left_out

    async def _sums(self, read: Read, start: datetime, end: datetime, kept: Kept) -> RolledSums:
        """Of all sites over [start, end); the same figures either way."""

        def summed(store: Store) -> RolledSums | None:
            rolled = kept(store)
            return None if rolled is None else sums_between(store, start, end, rolled)

        whole = await read(summed)
        if whole is not None:
            return whole
        step, parts = DAY if len(self.fleet.sites) <= FEW_SITES else HOUR, list[RolledSums]()
        while start < end:
            until = min(end, start + step)
            parts.append(await read(partial(sums_between, start=start, end=until)))
            start = until
        return total_of(parts)


def _named(line: str) -> str:
    """The record that a line of what is left out names, at its end."""
    return line.rpartition(" [")[2]


def shown(update: MonthlyUpdate) -> dict[str, Any]:
    """As the page takes it: times in seconds since 1970, figures as the books write them."""
    return {
        "month": update.month,
        "start": update.start.timestamp(),
        "end": update.end.timestamp(),
        "complete": update.complete,
        "simulated": update.simulated,
        "left_out": list(update.left_out),
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
                "unit": line.unit,
                "units": line.units,
                "usd": float(line.amount_usd),
                "exact_usd": line.nano_usd / 1e9,
            }
            for line in invoice.lines
        ],
    }
