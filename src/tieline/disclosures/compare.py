"""The peers' dashboard by month: a row for each miner, ranks, sums over the sector.

Inclusion rule, the same for every month: a miner is ranked and summed in a month if its production for that
calendar month was printed, by itself or by text that carries its release. Computed production, and production
that only trackers or other news state, is shown but neither ranked nor summed. A miner with earlier months in
the book and none for this one is listed as absent, with its last month: those that stop publishing monthly
drop out, and the page says when.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

import msgspec

from tieline.disclosures import periods
from tieline.disclosures.book import Book
from tieline.disclosures.chain import Chain, shipped_chain
from tieline.disclosures.claims import OF_THE_ISSUER
from tieline.disclosures.columns import COLUMNS, At, Cell

RULE = (
    "Ranked and summed: every miner whose production for the calendar month was printed by itself or by text that "
    "carries its release. Computed values, trackers and other news are shown but neither ranked nor summed."
)
# Columns that are ranked, largest first.
RANKED = ("produced", "per_ehs", "operating_share", "held", "unencumbered")
# Columns that are summed over the sector. Each sum says how many miners are in it.
SUMMED = ("produced", "held", "sold", "implied_outflow", "unexplained_outflow", "deployed", "operating")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    issuer: str
    month: str
    included: bool
    why: str
    cells: dict[str, Cell]
    ranks: dict[str, int]


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """A miner of the book without a row in the month."""

    issuer: str
    last: str
    following: str | None
    says: str


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    column: str
    value: Decimal
    unit: str
    miners: tuple[str, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    month: str
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]
    sums: tuple[Sum, ...]
    rule: str = RULE


def months(book: Book) -> tuple[str, ...]:
    """Every month in which some miner printed something."""
    return tuple(sorted({month for issuer in book.issuers for month in book.months(issuer)}))


def table(book: Book, month: str, chain: Chain | None = None) -> Table:
    return _table(book, month, chain or shipped_chain())


@lru_cache(maxsize=512)
def _table(book: Book, month: str, chain: Chain) -> Table:
    rows = [row for issuer in book.issuers if (row := _row(book, issuer, month, chain)) is not None]
    ranked = _rank(rows)
    present = {row.issuer for row in rows if "produced" in row.cells}
    absent = [gone for issuer in book.issuers if issuer not in present and (gone := _absent(book, issuer, month))]
    # By rank; those outside the ranking last, by name.
    ordered = sorted(ranked, key=lambda row: (row.ranks.get("produced", 10_000), row.issuer))
    return Table(month=month, rows=tuple(ordered), absent=tuple(absent), sums=_sums(ranked))


def _row(book: Book, issuer: str, month: str, chain: Chain) -> Row | None:
    known = book.periods(issuer)
    # Outside its own history an issuer has no cell: nothing to work out.
    if not known or not _first_month(known) <= month <= _last_month(known):
        return None
    at = At(book, chain, issuer, month)
    cells = {column.name: cell for column in COLUMNS if (cell := column.of(at)) is not None}
    if not cells:
        return None
    best = book.best(issuer, month, "btc_produced")
    if best is None:
        computed = "produced" in cells
        why = "production is computed, not printed" if computed else "no production was printed for the month"
        return Row(issuer=issuer, month=month, included=False, why=why, cells=cells, ranks={})
    if best.source_kind not in OF_THE_ISSUER:
        why = f"production is known only from {best.source_kind}"
        return Row(issuer=issuer, month=month, included=False, why=why, cells=cells, ranks={})
    why = f"production printed ({best.source_kind})"
    return Row(issuer=issuer, month=month, included=True, why=why, cells=cells, ranks={})


@lru_cache(maxsize=256)
def _first_month(names: tuple[str, ...]) -> str:
    # A closing can follow for the month before an opening that was printed.
    return periods.previous(min(periods.window(name)[0].strftime("%Y-%m") for name in names))


@lru_cache(maxsize=256)
def _last_month(names: tuple[str, ...]) -> str:
    return max(periods.month_of(name) for name in names)


def _rank(rows: list[Row]) -> list[Row]:
    """Equal values share a rank, and the next rank is skipped: 1, 2, 2, 4."""
    ranks: dict[str, dict[str, int]] = {row.issuer: {} for row in rows}
    for name in RANKED:
        values = [(row.cells[name].value, row.issuer) for row in rows if row.included and name in row.cells]
        for value, issuer in values:
            ranks[issuer][name] = 1 + sum(1 for other, _ in values if other > value)
    return [msgspec.structs.replace(row, ranks=ranks[row.issuer]) for row in rows]


def _absent(book: Book, issuer: str, month: str) -> Absent | None:
    printed = [name for name in book.months(issuer) if book.best(issuer, name, "btc_produced") is not None]
    earlier, later = [name for name in printed if name < month], [name for name in printed if name > month]
    if not earlier:
        return None
    if later:
        says = f"no production found for {month}; last {earlier[-1]}, next {later[0]}"
        return Absent(issuer=issuer, last=earlier[-1], following=later[0], says=says)
    says = f"dropped: the last monthly production in the book is that of {earlier[-1]}"
    return Absent(issuer=issuer, last=earlier[-1], following=None, says=says)


def _sums(rows: list[Row]) -> tuple[Sum, ...]:
    units = {column.name: column.unit for column in COLUMNS}
    sums = []
    for name in SUMMED:
        inside = [row for row in rows if row.included and name in row.cells]
        if inside:
            value = sum((row.cells[name].value for row in inside), Decimal(0))
            miners = tuple(row.issuer for row in inside)
            sums.append(Sum(column=name, value=value, unit=units[name], miners=miners))
    return tuple(sums)
