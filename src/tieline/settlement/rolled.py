"""Hours and days of a site and of a market, kept as whole-number sums of records, and read back over any span.

A roll-up is made from records alone and holds what they say up to one of them, by number; it is nobody's only home of
anything, and nothing is billed from it. What is told late is added where it belongs; of what may be told anew (a bill,
a price) the hour is read again, as it stood before and as it stands now, and the difference is added. Each record
counts in the hour and the day (UTC) that its `at` lies in, whatever its length. What is summed, and how exactly, is
said by `books.reports.sums`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

from tieline.books.reports.sums import (
    ONCE,
    PLACE,
    Part,
    RolledSums,
    add,
    added_up,
    bills_parts,
    parts_of,
    prices_parts,
    site_in,
    sums_in,
)
from tieline.records import PowerBill, PriceTick, Record, Usage
from tieline.store import Selection, Store
from tieline.store.rolled.kept import DAY_S, HOUR_S, OvertakenError, RolledStore

# Another number throws away what is kept and begins again: whenever a field or what is added to it changes.
FORM: Final = 2
# Records taken at once while the store is held: about 20 ms.
PAGE: Final = 2_000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Sums that lack no more records than this are brought up to the last one before they are read: about a third of a
# second. Of what lacks more the records themselves are read.
NEAR: Final = 20_000


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


# What may be told anew, and how an hour of it is summed.
_ANEW: Final[Mapping[type[Record], Any]] = {PowerBill: bills_parts, PriceTick: prices_parts}


def summed(parts: Iterable[Part]) -> dict[tuple[str, datetime], RolledSums]:
    """By subject and hour: what a roll-up of these parts holds."""
    added: dict[tuple[str, datetime], list[int]] = {}
    for subject, at, sums in parts:
        add(added, (subject, hour_of(at)), sums)
    return {place: sums_in(numbers) for place, numbers in added.items()}


def parts_between(store: Store, subjects: Iterable[str], start: datetime, end: datetime) -> Iterator[Part]:
    """The same straight from records, for spans of whole hours: what a roll-up is held against. `subjects`: sites and
    markets whose bills and prices are read; usage is read of all."""
    once: tuple[type[Record], ...] = (*ONCE, Usage)
    for type_ in once:
        for record in store.each(type_, start, end):
            yield from parts_of(record)
    for subject in subjects:
        for type_, summing in _ANEW.items():
            yield from summing(store.each(type_, start, end, subject=subject))


class RollUp:
    """Keeps a roll-up up to the records of one store."""

    def __init__(self, kept: RolledStore) -> None:
        self.kept = kept

    def step(self, store: Store) -> bool:
        """Take a page of records in; True: there are more. Raises StoreError with nothing of the page counted."""
        epoch = store.epoch
        after = self.kept.reached(epoch, FORM)
        page = store.follow(after, PAGE)
        if page.last == after:
            return False
        added: dict[tuple[str, datetime], list[int]] = {}
        anew: dict[type[Record], set[tuple[str, datetime]]] = defaultdict(set)
        for stored in page.items:
            record = stored.record
            if type(record) in _ANEW:
                assert isinstance(record, Record)
                anew[type(record)].add((record.subject, hour_of(record.at)))
            elif isinstance(record, Record):
                for subject, at, sums in parts_of(record):
                    add(added, (subject, hour_of(at)), sums)
        for type_, hours in anew.items():
            for subject, hour in hours:
                for upto, sign in ((after, -1), (page.last, 1)):
                    of: Selection[Any] = Selection(type_, hour, hour + HOUR, subject=subject, upto=upto)
                    for place, _, sums in _ANEW[type_](_all(store, of)):
                        add(added, (place, hour), sums, sign)
        self.kept.add({place: sums for place, sums in added.items() if any(sums)}, after, page.last, epoch, FORM)
        return page.more

    def ready(self, store: Store) -> RolledStore | None:
        """The sums where they hold every record, brought up to the last one where little is lacking; None: much is
        lacking, or somebody else is at it. Raises StoreError."""
        if store.last_seq() - self.reached(store) > NEAR:
            return None
        try:
            while self.step(store):
                pass
        except OvertakenError:
            return None
        return self.kept

    def reached(self, store: Store) -> int:
        """The number of the record up to which everything is counted."""
        return self.kept.reached(store.epoch, FORM)


def _all(store: Store, of: Selection[Any]) -> Iterator[Any]:
    return store.each(of.stream, of.start, of.end, subject=of.subject, upto=of.upto)


def rolled_between(
    kept: RolledStore, subject: str, size: int, start: datetime, end: datetime
) -> Iterator[tuple[datetime, RolledSums]]:
    """Hours or days (`size` in seconds) that begin in [start, end); one of which nothing was told is not there."""
    for at, numbers in kept.between(subject, size, start, end):
        yield at, sums_in(numbers)


# Of a span: how it is summed (days, hours, 0: from records), and from when to when.
Piece = tuple[int, datetime, datetime]


class SumsOfSpans:
    """Sums of sites over any span of one store: of whole days and hours from what is kept, of what is left at its ends
    from the records; of all from the records where nothing is kept. Both are the same to the last unit."""

    def __init__(self, store: Store, kept: RolledStore | None) -> None:
        self._store, self._kept = store, kept
        self._read: dict[tuple[datetime, datetime], dict[str, list[int]]] = {}

    @property
    def kept(self) -> bool:
        return self._kept is not None

    def of_sites(self, start: datetime, end: datetime) -> dict[str, RolledSums]:
        """By site, of those of which anything was told."""
        pieces = list(_pieces(start, end, kept=self.kept))
        sums = {site: added_up(self._rows(subject, pieces)) for subject, site in self._sites(pieces)}
        return {site: one for site, one in sums.items() if one.records}

    def hashes(self, spans: Sequence[tuple[datetime, datetime]]) -> list[dict[str, int]]:
        """By site, of those whose machines were heard: what a payout of each span is shared by. However many spans
        there are, a row is read once."""
        pieces = [list(_pieces(start, end, kept=self.kept)) for start, end in spans]
        every = list(chain.from_iterable(pieces))
        reach = _reach(every)
        found: list[dict[str, int]] = [{} for _ in spans]
        for subject, site in self._sites(every):
            rows = {size: dict(self._between(subject, size, *span)) for size, span in reach.items()}
            for own, by_site in zip(pieces, found, strict=True):
                made = [row for piece in own for row in self._rows_in(rows, subject, *piece)]
                if any(row[PLACE["hash_samples"]] for row in made):
                    by_site[site] = sum(row[PLACE["hashes"]] for row in made)
        return found

    def _rows_in(
        self, rows: Mapping[int, Mapping[datetime, list[int]]], subject: str, size: int, start: datetime, end: datetime
    ) -> Iterator[list[int]]:
        if not size:
            if (read := self._records(start, end).get(subject)) is not None:
                yield read
            return
        while start < end:
            if (row := rows[size].get(start)) is not None:
                yield row
            start += timedelta(seconds=size)

    def of(self, subject: str, start: datetime, end: datetime) -> RolledSums:
        return added_up(self._rows(subject, list(_pieces(start, end, kept=self.kept))))

    def _sites(self, pieces: Iterable[Piece]) -> Iterator[tuple[str, str]]:
        """(subject, site) of all of which anything may be told there."""
        subjects = set() if self._kept is None else set(self._kept.subjects())
        subjects |= {one for size, start, end in pieces if not size for one in self._records(start, end)}
        for subject in sorted(subjects):
            if (site := site_in(subject)) is not None:
                yield subject, site

    def _between(self, subject: str, size: int, start: datetime, end: datetime) -> Iterator[tuple[datetime, list[int]]]:
        return iter(()) if self._kept is None else self._kept.between(subject, size, start, end)

    def _rows(self, subject: str, pieces: Iterable[Piece]) -> list[list[int]]:
        rows: list[list[int]] = []
        for size, start, end in pieces:
            if size:
                rows += [numbers for _, numbers in self._between(subject, size, start, end)]
            elif (read := self._records(start, end).get(subject)) is not None:
                rows.append(read)
        return rows

    def _records(self, start: datetime, end: datetime) -> dict[str, list[int]]:
        known = self._read.get((start, end))
        if known is None:
            known = {}
            bills = bills_parts(self._store.each(PowerBill, start, end))
            once: tuple[type[Record], ...] = (*ONCE, Usage)
            for type_ in once:
                for record in self._store.each(type_, start, end):
                    for subject, _, sums in parts_of(record):
                        add(known, subject, sums)
            for subject, _, sums in bills:
                add(known, subject, sums)
            self._read[start, end] = known
        return known


def _reach(pieces: Iterable[Piece]) -> dict[int, tuple[datetime, datetime]]:
    """From when to when days and hours are needed."""
    reach: dict[int, tuple[datetime, datetime]] = {}
    for size, start, end in pieces:
        if size:
            low, high = reach.get(size, (start, end))
            reach[size] = min(low, start), max(high, end)
    return reach


def _pieces(start: datetime, end: datetime, *, kept: bool) -> Iterator[Piece]:
    """A span as whole days (86,400), whole hours (3,600) and what is read of the records (0), a day of them at most."""
    while start < end:
        day = start.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        if not kept:
            size, until = 0, min(day, end)
        elif hour_of(start) != start or start + HOUR > end:
            size, until = 0, min(hour_of(start) + HOUR, end)
        elif day - DAY == start and start + DAY <= end:
            size, until = DAY_S, end.replace(hour=0, minute=0, second=0, microsecond=0)
        else:
            size, until = HOUR_S, min(day, hour_of(end))
        yield size, start, until
        start = until
