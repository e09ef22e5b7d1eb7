"""Table rows to findings: which field a label names, which month each value belongs to.

Knows nothing of sentences. A row is read only where its values and the columns agree in number; otherwise it
says so and stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.facts.fact import Licence
from tieline.disclosures.facts.fields import FLOWS, unit_of
from tieline.disclosures.finding import STRONG, WEAK, Finding, convert
from tieline.disclosures.lexicon.periods import Period, as_heading, resolve
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.labels import PERCENTAGES
from tieline.disclosures.rules.naming import Label, classify, earlier, period_in, unit_in
from tieline.disclosures.rules.vocabulary import NOT_OWN
from tieline.disclosures.tables.cells import THIS_MONTH, PeriodColumn, Value
from tieline.disclosures.tables.layout import Row
from tieline.disclosures.tables.pairs import pairs

_RESTATED, _OPEN_ENDED, _IN_COINS = phrases("restating"), phrases("open_ended"), phrases("in_coins")
_IN_THOUSANDS, _COINS_IN_THOUSANDS = phrases("in_thousands"), phrases("coins_in_thousands")
_TO_DATE = phrases("sum_to_date")
_ADD_UP = ("managed_ehs",)
"""Fields of which a segment prints a row under the same name; of others a total counts customers' coins as well."""
_GLUED: tuple[Licence, str] = ("token", "the cells ran together, and no change is printed that shows where one ends")
_SCALED: tuple[Licence, str] = ("token", "the text speaks of thousands or millions of dollars, and its row does not")
_SLACK = 3
"""Characters by which a value may stand nearer to the head of another column than to its own."""
_FEW_MONTHS = 3
"""Of so many months down a table's side each is dated alone."""
Cells = list[tuple[PeriodColumn | None, Value]]


def claims(text: str, rows: list[Row], ctx: Context) -> tuple[list[Finding], list[str]]:
    """Every figure that the tables print, and a note for each row that could not be read."""
    tables = _Tables(text, ctx)
    for row in _with_years(rows, ctx):
        tables.row(row)
    return _totals_first(text, [*tables.out, *pairs(text, ctx)]), tables.notes


def _with_years(rows: list[Row], ctx: Context) -> list[Row]:
    """Rows of months down a table's side that bear no year, January to December, are all of the last one's."""
    runs: list[list[tuple[Row, Period]]] = [[]]
    for row in rows:
        month = row.columns[0].period if len(row.columns) == 1 else None
        if month is None or month.kind != "month" or month.year is not None:
            runs.append([])
        elif runs[-1] and month.month < runs[-1][-1][1].month:
            runs.append([(row, month)])
        else:
            runs[-1].append((row, month))
    for run in runs:
        if len({month.month for _, month in run}) > _FEW_MONTHS:
            year = resolve(run[-1][1], ctx.reference).year
            for row, month in run:
                row.columns = [replace(row.columns[0], period=replace(month, year=year))]
    return rows


def _totals_first(text: str, findings: list[Finding]) -> list[Finding]:
    """`Total hashrate under management` outranks a segment's row that the label names as the same field."""

    def is_total(c: Finding) -> bool:
        return c.scope is None and re.match(r"\W*total\b", text[c.start : c.start + 12], re.IGNORECASE) is not None

    totals = {(c.period, c.field) for c in findings if c.field in _ADD_UP and is_total(c)}
    return [c for c in findings if c.scope is not None or (c.period, c.field) not in totals or is_total(c)]


class _Tables:
    """The tables of one text: what was found in them, and what could not be read."""

    def __init__(self, text: str, ctx: Context) -> None:
        self.text, self.ctx = text, ctx
        self.out: list[Finding] = []
        self.notes: list[str] = []
        self.scaled = _IN_THOUSANDS.search(text) is not None
        # A footnote that begins with the star and speaks of a restatement.
        self.starred = any(_RESTATED.search(m[0]) for m in re.finditer(r"(?m)^\s*[*†]\s*[A-Z(].{8,300}", text))

    def row(self, row: Row) -> None:
        """Every value of a row under its heading, or a note why none was read."""
        label, name, start = _label(row)
        if row.unread and classify(re.sub(r"\d.*$", "", name)) is not None:
            self.notes.append(f"{name[:60]!r}: {row.unread}")
        if label is None or not row.values:
            return
        cells = _align(self.text, row, label.field in PERCENTAGES)
        if isinstance(cells, str):
            self.notes.append(f"{name!r}: {cells}")
        elif row.columns or _stands_alone(self.text, row):
            self._cells(row, label, name, start, _without_twins(cells))

    def _cells(self, row: Row, label: Label, name: str, start: int, cells: Cells) -> None:
        """Every value of a row; none where a percentage stands in a period's own column."""
        of_period = [v for column, v in cells if column is None or column.period is not None]
        if not label.field.endswith("_pct") and any(v.is_percent for v in of_period):
            self.notes.append(f"{name!r}: a percentage stands where a month's value belongs")
            return
        for column, value in cells:
            self._cell(row, label, name, start, column, value)

    def _cell(self, row: Row, label: Label, name: str, start: int, column: PeriodColumn | None, value: Value) -> None:
        """One value under one heading."""
        period = _period(column, name, self.ctx)
        if period is None and column is not None:
            label, period = self._by_words(label, self.text[column.start : column.end])
        if period is None or not _is_told(label.field, period, value):
            return
        q = value.quantity
        amount = Decimal(0) if q is None else convert(label.field, q, label.unit or _scale_of(row))
        if isinstance(amount, str):
            self.notes.append(f"{name!r}: {amount}")
            return
        dated = column is not None or period_in(name) is not None
        rule = "glued" if row.joined else "dash" if q is None else label.rule
        self.out.append(
            Finding(
                label.field, amount, period,
                start=start if 0 <= value.start - start <= 400 else value.start,
                end=row.line[1] if row.joined else value.end,
                printed=value.printed(self.text),
                rule=f"table:{rule}", strength=WEAK if label.weak else STRONG, scope=label.scope, label=name, at=value.start,
                dated=dated, restated=self.starred and "*" in value.mark,
                lacks=self._of_note(row) or self._lacks(row, label, column, amount),
            )
        )  # fmt: skip

    def _by_words(self, label: Label, head: str) -> tuple[Label, str | None]:
        """What a head says without a date: `This month`, `Prior month`, and of coins mined the year so far, `YTD 2025`."""
        if THIS_MONTH.fullmatch(head):
            return label, self.ctx.period
        if (before := earlier(head, self.ctx.period)) != self.ctx.period and not re.search(r"(?i)change", head):
            return label, before
        own = (self.ctx.period or "none")[:4] in head or "20" not in head
        to_date = own and label.field == "btc_produced" and _TO_DATE.search(head) is not None
        return (replace(label, field="ytd_btc"), self.ctx.period) if to_date else (label, None)

    def _lacks(
        self, row: Row, label: Label, column: PeriodColumn | None, amount: Decimal
    ) -> tuple[Licence, str] | None:
        """The licence that a value lacks by how its table prints it."""
        if not row.proven:
            return _GLUED
        scaled = label.unit or _scale_of(row)
        coins = unit_of(label.field) == "BTC" and _COINS_IN_THOUSANDS.search(self.text) is not None
        if self.scaled and not scaled and (coins or (unit_of(label.field) == "USD" and 0 < amount < 100_000)):
            return _SCALED
        return _of_a_date(label.field, column, row.columns)

    def _of_note(self, row: Row) -> tuple[Licence, str] | None:
        """What is said of others in the note whose mark a label bears: `Bitcoin Produced (1)`."""
        label = row.labels[-1]
        mark = re.search(r"\(\d\)", self.text[label.start : label.end + len(" (1)")])
        note = re.search(rf"(?m)^\s*{re.escape(mark[0])}\s+(.{{3,400}})", self.text) if mark is not None else None
        if mark is None or note is None or NOT_OWN.search(note[1]) is None:
            return None
        return "subject", f"the note {mark[0]} on {label.text!r} speaks of others"


def _scale_of(row: Row) -> str | None:
    """Thousands or millions of dollars, where the table's corner says so: `($ in thousands)`."""
    unit = unit_in(row.corner)
    return unit if unit in ("kUSD", "mUSD") else None


def _is_told(field: str, period: str, value: Value) -> bool:
    """Does a cell tell a figure? A dash says that nothing was mined, sold or bought in a month."""
    return value.kind == "number" or (value.kind == "zero" and field in FLOWS and "Q" not in period)


def _label(row: Row) -> tuple[Label | None, str, int]:
    """The field of the nearest label line, joined with the lines above it as far as needed; its words and their start."""
    lines, unit, count = row.labels, _unit_of(row), 1
    while count < len(lines) and _goes_on(lines[-count - 1].text, lines[-count].text):
        count += 1
    in_coins = unit is None and _IN_COINS.fullmatch(row.corner) is not None
    for k in range(count, len(lines) + 1):
        name = " ".join(line.text for line in lines[-k:])
        section = row.section if k < len(lines) or row.section not in name else ""
        units = (unit, "BTC") if in_coins and k == count else (unit,)
        tried = (classify(re.sub(r"\s+", " ", name), one, section) for one in units)
        if (label := next(filter(None, tried), None)) is not None:
            return label, name, lines[-k].start
        if k > count and len(lines[-k].text) > 60:
            break
    return None, lines[-1].text, 0


def _unit_of(row: Row) -> str | None:
    """The unit of a row's values, its changes aside."""
    units = [v.quantity.unit for v in row.values if v.quantity is not None]
    first = row.values[0].quantity if row.values else None
    return next((unit for unit in units if unit not in (None, "%")), first.unit if first is not None else None)


def _goes_on(above: str, line: str) -> bool:
    """Is a line the end of the label that the line above it begins?"""
    return bool(re.match(r"[a-z(]", line) or _OPEN_ENDED.search(above))


def _align(text: str, row: Row, share: bool) -> Cells | str:
    """Each value with its column; a reason where they do not fit. `share`: the row's label names a percentage."""
    filled = [v for v in row.values if v.kind != "absent" or text[v.start : v.end].strip()]
    if not row.columns or not filled:
        return _lone(filled, share)
    only_note = len(filled) == 1 and filled[0].is_bracketed
    for heads, cells in _fits(row, filled):
        if len(heads) == len(cells) > only_note:
            told: Cells = list(zip(heads, cells, strict=True))
            return "a value stands under another column than its own" if _is_misplaced(text, row, told) else told
    return f"{len(filled)} values under {len(row.columns)} headings: not read"


def _is_misplaced(text: str, row: Row, told: Cells) -> bool:
    """In columns that spaces align: does a value stand plainly under another head than the one that it was given?"""
    start, end = min(c.start for c in row.columns), max(c.end for c in row.columns)
    line = text[row.line[0] : row.line[1]]
    if re.search(r"[|\t\n]", text[start:end] + line) or not re.search(r"\S {3,}\S", line):
        return False

    def apart(column: PeriodColumn, value: Value) -> int:
        head, cell = (text.rfind("\n", 0, at) for at in (column.start, value.start))
        begins = abs((column.start - head) - (value.start - cell))
        return min(begins, abs((column.end - head) - (value.end - cell)))

    return any(
        column is not None and min(apart(one, value) for one in row.columns) + _SLACK < apart(column, value)
        for column, value in told
    )


def _lone(filled: list[Value], share: bool) -> Cells | str:
    """The one value of a label without a heading."""
    numbers = [v for v in filled if share or not v.is_percent]
    if len(numbers) != 1 or len(filled) > 2:
        return "values without a heading above them"
    return "a footnote's number and no value" if filled[0].is_bracketed and not filled[1:] else [(None, numbers[0])]


def _fits(row: Row, filled: list[Value]) -> Iterator[tuple[list[PeriodColumn], list[Value]]]:
    """Ways to set values under columns, the likeliest first: what is filled, what has a place, what is left without the
    marks of notes, dated columns alone, which hold no changes."""
    dated = [c for c in row.columns if c.period is not None]
    yield row.columns, filled
    yield row.columns, row.values
    yield row.columns, [v for v in filled if not v.is_note]
    yield dated, filled
    yield dated, [v for v in filled if not v.is_percent]
    yield [c for c in dated if c.period is not None and c.period.kind == "month"], filled


def _without_twins(cells: Cells) -> Cells:
    """A month that heads two columns: the second is its change where it prints a percentage; else neither is read."""
    out: Cells = []
    seen: set[str | None] = set()
    for column, value in cells:
        key = _heads(column)
        if key is None or key not in seen:
            out.append((column, value))
        elif value.kind == "number" and not value.is_percent:
            out = [(c, v) for c, v in out if _heads(c) != key]
        seen.add(key)
    return out


def _heads(column: PeriodColumn | None) -> str | None:
    p = column.period if column is not None else None
    return None if p is None else f"{p.kind} {p.year} {p.month} {p.day}"


def _of_a_date(field: str, column: PeriodColumn | None, columns: list[PeriodColumn]) -> tuple[Licence, str] | None:
    """What flows under a head that is a date, `June 30, 2025`, may have flown in a month or in a quarter; the date of
    the month before in another head says that it is a month."""
    over = field in FLOWS or field.startswith("avg_") or "_per_" in field
    if not over or column is None or column.period is None or column.period.day is None:
        return None
    months = {c.period.year * 12 + c.period.month for c in columns if c.period is not None and c.period.year}
    follow = any(month + 1 in months for month in months)
    return None if follow else ("window", "a date heads the column: of how long a time is not said")


def _stands_alone(text: str, row: Row) -> bool:
    """A label and one value without a heading: read where a colon, a bar or a line of its own sets them apart."""
    label, value = row.labels[-1], row.values[0]
    gap = text[label.end : value.start] if label.end <= value.start else text[value.end : label.start]
    apart = re.search(r"[:：|\n]|  ", gap) or re.match(r"\s*[:：]", text[label.end : label.end + 3])
    return apart is not None or label.text.rstrip().endswith((":", "："))


def _period(column: PeriodColumn | None, name: str, ctx: Context) -> str | None:
    """The key of the period that a value belongs to."""
    head, own = column.period if column is not None else None, period_in(name)
    if column is not None and head is None:
        return None
    if own is not None and (head is None or head.year is None):
        return key_of(own, ctx)
    return earlier(name, ctx.period) if head is None else key_of(as_heading(head), ctx)
