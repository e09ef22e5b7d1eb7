"""The peers' dashboard by month: a row for each miner, ranks, sums over the sector, and how much of it is here.

Who is ranked and summed is one rule for every month, `RULE`. Every rank and sum says of how many: the miners that the
book knows to have printed this month or one in the year before it. A miner without this month is `not in the book`;
that it stopped publishing is said only where a source says it (`data/stopped.toml`).
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache, lru_cache

import msgspec

from tieline.disclosures.comparison.columns import COLUMNS, Cell
from tieline.disclosures.data import shipped_toml
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook, IssuerPeriod

RULE = (
    "Ranked and summed: every miner whose production for the calendar month is a fact of the book, printed by itself, "
    "carried by its release or by news, or typed in from a named source. Computed values and trackers are shown but "
    "neither ranked nor summed."
)
# Columns that are ranked, largest first.
RANKED = ("produced", "per_ehs", "operating_share", "held", "unencumbered")
# Columns that are summed over the sector. Each sum says how many miners are in it.
SUMMED = ("produced", "held", "sold", "implied_outflow", "unexplained_outflow", "deployed", "operating")


class IssuerMonth(msgspec.Struct, frozen=True, kw_only=True):
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


class ComparedSum(msgspec.Struct, frozen=True, kw_only=True):
    column: str
    value: Decimal
    unit: str
    miners: tuple[str, ...]
    of: int = 0
    """How many miners are known to have published around the month."""

    @property
    def coverage(self) -> str:
        return f"{len(self.miners)} of {self.of} that published"


class Stopped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A miner that ended its monthly updates, and who says so."""

    issuer: str
    since: str
    source: str
    says: str


class Table(msgspec.Struct, frozen=True, kw_only=True):
    month: str
    rows: tuple[IssuerMonth, ...]
    absent: tuple[Absent, ...]
    sums: tuple[ComparedSum, ...]
    published: tuple[str, ...] = ()
    """Miners that printed this month or one in the year before it, and are not said to have stopped."""
    rule: str = RULE

    @property
    def ranked(self) -> int:
        return sum(row.included for row in self.rows)

    @property
    def coverage(self) -> str:
        return f"{self.ranked} of {len(self.published)} that published"


def months(book: ClaimBook) -> tuple[str, ...]:
    """Every month in which some miner printed something."""
    return tuple(sorted({month for issuer in book.issuers for month in book.months(issuer)}))


@lru_cache(maxsize=512)
def table(book: ClaimBook, month: str) -> Table:
    rows = _ranked([row for issuer in book.issuers if (row := _row(book, issuer, month)) is not None])
    present = {row.issuer for row in rows if "produced" in row.cells}
    published = published_around(book, month)
    gone = (_absent(book, issuer, month) for issuer in book.issuers if issuer not in present)
    return Table(
        month=month,
        # By rank; those outside the ranking last, by name.
        rows=tuple(sorted(rows, key=lambda row: (row.ranks.get("produced", 10_000), row.issuer))),
        absent=tuple(one for one in gone if one is not None),
        sums=_sums(rows, len(published)),
        published=published,
    )


@lru_cache(maxsize=512)
def published_around(book: ClaimBook, month: str) -> tuple[str, ...]:
    """Of how many a month's rank or sum is: the miners that published it or, not long before, another."""
    return tuple(issuer for issuer in book.issuers if _published(book, issuer, month))


def _published(book: ClaimBook, issuer: str, month: str) -> bool:
    """Did the miner print monthly production in the month or in the year before it, and is not said to have stopped?"""
    upto = [name for name in _produced_months(book, issuer) if name <= month]
    if not upto:
        return False
    recently = periods.months_between(upto[-1], month) <= 12
    return upto[-1] == month or (recently and not _stopped_by(issuer, month))


def _produced_months(book: ClaimBook, issuer: str) -> list[str]:
    """The months whose production somebody printed."""
    return [name for name in book.months(issuer) if book.best(issuer, name, "btc_produced") is not None]


def _stopped_by(issuer: str, month: str) -> Stopped | None:
    """Who says that the miner had stopped when this month's update would have come out."""
    ended = stopped().get(issuer)
    return ended if ended is not None and ended.since <= periods.following(month) else None


@cache
def stopped() -> dict[str, Stopped]:
    """Who is said to have stopped, by ticker."""
    file = shipped_toml("stopped.toml", dict[str, list[Stopped]])
    return {one.issuer: one for one in file["stopped"]}


def _row(book: ClaimBook, issuer: str, month: str) -> IssuerMonth | None:
    known = book.periods(issuer)
    # Outside its own history an issuer has no cell: nothing to work out.
    if not known or not _first_month(known) <= month <= max(map(periods.month_of, known)):
        return None
    at = IssuerPeriod(book, issuer, month)
    cells = {column.name: cell for column in COLUMNS if (cell := column.cell(at)) is not None}
    if not cells:
        return None
    best, included = at.best("btc_produced"), is_ranked(book, issuer, month)
    if included and best is not None:
        why = f"production printed ({best.source_kind})"
    elif best is not None:
        why = f"production known only from {best.source_kind}"
    elif "produced" in cells:
        why = "production is computed, not printed"
    else:
        why = "no production for the month is in the book"
    return IssuerMonth(issuer=issuer, month=month, included=included, why=why, cells=cells, ranks={})


def is_ranked(book: ClaimBook, issuer: str, month: str) -> bool:
    """Is the month's production a fact of the book, and not a tracker's?"""
    best = book.best(issuer, month, "btc_produced")
    return best is not None and best.source_kind != "aggregator"


@lru_cache(maxsize=256)
def _first_month(names: tuple[str, ...]) -> str:
    # A closing can follow for the month before an opening that was printed.
    return periods.previous(min(periods.window(name)[0].strftime("%Y-%m") for name in names))


def _ranked(rows: list[IssuerMonth]) -> list[IssuerMonth]:
    """Equal values share a rank, and the next rank is skipped: 1, 2, 2, 4."""
    ranks: dict[str, dict[str, int]] = {row.issuer: {} for row in rows}
    for name in RANKED:
        values = [(row.cells[name].value, row.issuer) for row in rows if row.included and name in row.cells]
        for value, issuer in values:
            ranks[issuer][name] = 1 + sum(1 for other, _ in values if other > value)
    return [msgspec.structs.replace(row, ranks=ranks[row.issuer]) for row in rows]


def _absent(book: ClaimBook, issuer: str, month: str) -> Absent | None:
    made = _produced_months(book, issuer)
    last = max((name for name in made if name < month), default=None)
    following = min((name for name in made if name > month), default=None)
    if last is None:
        return None
    says = f"not in the book: the last month here is {last}"
    if following is not None:
        says = f"not in the book for {month}: the last is {last}, the next {following}"
    elif (ended := _stopped_by(issuer, month)) is not None:
        says = f"stopped by {ended.since}: {ended.says} ({ended.source}); the last month in the book is {last}"
    return Absent(issuer=issuer, last=last, following=following, says=says)


def _sums(rows: list[IssuerMonth], of: int) -> tuple[ComparedSum, ...]:
    units = {column.name: column.unit for column in COLUMNS}
    sums = []
    for name in SUMMED:
        values = {row.issuer: row.cells[name].value for row in rows if row.included and name in row.cells}
        if values:
            summed, miners = sum(values.values(), Decimal(0)), tuple(values)
            sums.append(ComparedSum(column=name, value=summed, unit=units[name], miners=miners, of=of))
    return tuple(sums)
