"""The sector's grid: miner by month for any field, newest month first, with a link for each month.

Pure. A cell is what the best witness prints; an empty cell is not in the book. Changes are on the month or the year
before, where both are in the book. Each month says how many of the miners that published are in it, and each miner how
old its newest month is beside the newest of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Literal

import msgspec

from tieline.disclosures.comparison.compare import months, published_around
from tieline.disclosures.comparison.export import csv_text
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.fields import ALL, unit_of
from tieline.disclosures.facts.verdict import round_to

View = Literal["value", "month", "year"]


class Square(msgspec.Struct, frozen=True, kw_only=True):
    """One miner's month."""

    figure: str
    value: Decimal
    printed: Decimal
    source_kind: str
    source: str


class IssuerMonths(msgspec.Struct, frozen=True, kw_only=True):
    """One miner's months, by month."""

    issuer: str
    last: str
    behind: int
    """Months between its newest and the newest of all."""
    cells: dict[str, Square]


class MonthGrid(msgspec.Struct, frozen=True, kw_only=True):
    field: str
    unit: str
    meaning: str
    view: View
    months: tuple[str, ...]
    """Newest first."""
    lines: tuple[IssuerMonths, ...]
    coverage: dict[str, str]


def grid(
    book: ClaimBook, field: str, *, issuers: Iterable[str] = (), since: str = "", until: str = "", view: View = "value"
) -> MonthGrid:
    """The grid of one field. Raises ValueError for a field, a miner or a month that there is not."""
    unit_of(field)
    for name in (since, until):
        if name and not periods.is_month(name):
            raise ValueError(f"month {name!r}: write YYYY-MM")
    wanted = {issuer.upper() for issuer in issuers}
    unknown = sorted(wanted - set(book.issuers))
    if unknown:
        raise ValueError(f"not in the book: {', '.join(unknown)}; it has {', '.join(book.issuers)}")
    return _grid(book, field, tuple(sorted(wanted or book.issuers)), since, until, view)


@lru_cache(maxsize=128)
def _grid(book: ClaimBook, field: str, issuers: tuple[str, ...], since: str, until: str, view: View) -> MonthGrid:
    shown = tuple(m for m in reversed(months(book)) if since <= m <= (until or m))
    lines = {issuer: cells for issuer in issuers if (cells := _line(book, issuer, shown, field, view))}
    # The newest month first, and among miners of the same month by name, backwards.
    newest = sorted(((max(cells), issuer) for issuer, cells in lines.items()), reverse=True)
    rows = tuple(
        IssuerMonths(issuer=issuer, last=last, behind=periods.months_between(last, newest[0][0]), cells=lines[issuer])
        for last, issuer in newest
    )
    used = tuple(month for month in shown if any(month in line.cells for line in rows))
    here = {month: sum(month in line.cells for line in rows) for month in used}
    coverage = {month: f"{n} of {max(n, len(published_around(book, month)))}" for month, n in here.items()}
    unit, meaning = ALL[field]
    return MonthGrid(
        field=field, unit=unit if view == "value" else "%", meaning=meaning, view=view, months=used, lines=rows,
        coverage=coverage,
    )  # fmt: skip


def _line(book: ClaimBook, issuer: str, shown: tuple[str, ...], field: str, view: View) -> dict[str, Square]:
    """A miner's cells by month, newest first; months without one are left out."""
    squares = ((month, _square(book, issuer, month, field, view)) for month in shown)
    return {month: cell for month, cell in squares if cell is not None}


def _square(book: ClaimBook, issuer: str, month: str, field: str, view: View) -> Square | None:
    claim = book.best(issuer, month, field)
    if claim is None:
        return None
    value = claim.value
    if view != "value":
        other = periods.previous(month) if view == "month" else f"{int(month[:4]) - 1}{month[4:]}"
        before = book.best(issuer, other, field)
        if before is None or before.value == 0:
            return None
        value = round_to((claim.value / before.value - 1) * 100, 1)
    return Square(
        figure=claim.figure, value=value, printed=claim.value, source_kind=claim.source_kind, source=claim.source
    )


def to_csv(grid: MonthGrid) -> str:
    """What is seen, as CSV: a row for each miner, newest month first, and the coverage as the last row."""
    lines = [
        [line.issuer, grid.field, grid.unit, line.last, line.behind]
        + [line.cells[month].value if month in line.cells else None for month in grid.months]
        for line in grid.lines
    ]
    head = ["issuer", "field", "unit", "last", "months_behind", *grid.months]
    counted = ["in the book", "", "", "", "", *(grid.coverage[month] for month in grid.months)]
    return csv_text([head, *lines, counted], "\n")
