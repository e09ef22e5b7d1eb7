"""Table rows to findings: which field a label names, which month each value belongs to.

Knows nothing of sentences. A row is read only where its values and the columns agree in number; otherwise it
says so and stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.facts.fact import Licence
from tieline.disclosures.finding import FLOWS, STRONG, WEAK, Finding, convert
from tieline.disclosures.lexicon.numbers import PrintedNumber, exact
from tieline.disclosures.lexicon.periods import as_heading
from tieline.disclosures.rules.labels import PERCENTAGES
from tieline.disclosures.rules.naming import Label, classify, period_in, unit_in
from tieline.disclosures.tables import joined_cells
from tieline.disclosures.tables.layout import Row
from tieline.disclosures.tables.pairs import pairs
from tieline.disclosures.tables.spans import PeriodColumn, Value

_RESTATED = re.compile(
    r"restate|revis|recast|adjust(?:ed|ment)|correct(?:ed|ion)|reflects|更正|修正|重述|angepasst|corrig", re.IGNORECASE
)
_OPEN_ENDED = re.compile(
    r"(?:\b(?:by|of|per|and|for|the|from|in|at|on|to|net|total|average|avg\.?|self-mined)|[-/(,&])\s*$", re.IGNORECASE
)
_IN_COINS = re.compile(
    r"\(?\s*(?:in |all figures in )?(?:BTC|bitcoins?)\s*\)?(?: \((?:unaudited|BTC)\))?:?", re.IGNORECASE
)
"""A table's corner that gives the unit of its rows."""
_ADD_UP = ("managed_ehs",)
"""Fields of which a segment prints a row under the same name; of others a total counts customers' coins as well."""
_GLUED: tuple[Licence, str] = ("token", "the cells ran together, and no change is printed that shows where one ends")
Cells = list[tuple[PeriodColumn | None, Value]]


def claims(text: str, rows: list[Row], ctx: Context) -> tuple[list[Finding], list[str]]:
    """Every figure that the tables print, and a note for each row that could not be read."""
    tables = _Tables(text, ctx)
    for row in rows:
        (tables.joined if row.joined else tables.row)(row)
    tables.out.extend(pairs(text, ctx))
    return _totals_first(text, tables.out), tables.notes


def _totals_first(text: str, findings: list[Finding]) -> list[Finding]:
    """`Total hashrate under management` outranks a segment's row that the label names as the same field."""
    whole = [c.scope is None and bool(re.match(r"\W*total\b", text[c.start : c.start + 12], re.I)) for c in findings]
    totals = {(c.period, c.field) for c, total in zip(findings, whole, strict=True) if total and c.field in _ADD_UP}
    return [
        c
        for c, total in zip(findings, whole, strict=True)
        if total or c.scope is not None or (c.period, c.field) not in totals
    ]


class _Tables:
    """The tables of one text: what was found in them, and what could not be read."""

    def __init__(self, text: str, ctx: Context) -> None:
        self.text, self.ctx = text, ctx
        self.out: list[Finding] = []
        self.notes: list[str] = []
        # A footnote that begins with the star and speaks of a restatement.
        self.starred = any(_RESTATED.search(m[0]) for m in re.finditer(r"(?m)^\s*[*†]\s*[A-Z(].{8,300}", text))

    def row(self, row: Row) -> None:
        label, name, start = _label(row, _unit_of(row))
        if label is None:
            return
        cells = _align(self.text, row, label.field in PERCENTAGES)
        if isinstance(cells, str):
            self.notes.append(f"{name!r}: {cells}")
            return
        if not row.columns and not _stands_alone(self.text, row):
            return
        cells = _without_twins(cells)
        if not label.field.endswith("_pct") and any(_percentage(c, v) for c, v in cells):
            self.notes.append(f"{name!r}: a percentage stands where a month's value belongs")
            return
        for column, value in cells:
            self._cell(label, name, start, column, value, row.columns)

    def _cell(
        self,
        label: Label,
        name: str,
        start: int,
        column: PeriodColumn | None,
        value: Value,
        columns: list[PeriodColumn],
    ) -> None:
        """One value under one heading."""
        period = _period(column, name, self.ctx)
        if period is None or value.kind == "absent":
            return
        begin = start if 0 <= value.start - start <= 400 else value.start
        amount: Decimal | str = Decimal(0)
        printed, rule = self.text[value.start : value.end].strip(), "table:dash"
        if value.kind == "zero":
            if label.field not in FLOWS or "Q" in period:
                return
        else:
            assert value.quantity is not None
            amount = convert(label.field, value.quantity, label.unit)
            printed, rule = value.quantity.printed, f"table:{label.rule}"
        if isinstance(amount, str):
            self.notes.append(f"{name!r}: {amount}")
            return
        self.out.append(
            Finding(
                label.field, amount, period, begin, value.end, printed, rule, WEAK if label.weak else STRONG,
                label.scope, label=name, at=value.start, dated=column is not None or period_in(name) is not None,
                restated=self.starred and value.quantity is not None and "*" in value.quantity.mark,
                lacks=_of_a_date(label.field, column, columns),
            )
        )  # fmt: skip

    def joined(self, row: Row) -> None:
        """A row whose cells ran together."""
        line, start, _ = row.labels[0]
        months = [c for c in row.columns if c.period is not None and c.period.kind == "month"]
        solved = joined_cells.solve(line, len(months))
        if isinstance(solved, str) and classify(re.sub(r"\d.*$", "", line)) is not None:
            self.notes.append(f"{line[:60]!r}: {solved}")
        if solved is None or isinstance(solved, str):
            return
        name, pieces = solved
        label = re.sub(r"[\d,$]+$", "", name)
        meaning = classify(label, _unit(pieces[0].unit))
        for column, piece in zip(months, pieces, strict=True):
            period = _period(column, name, self.ctx)
            if meaning is None or period is None:
                continue
            begin, end = start + piece.start, start + piece.end
            value = exact(piece.value.scaleb(piece.scale)) if piece.scale else piece.value
            q = PrintedNumber(value, _unit(piece.unit), begin, end, self.text[begin:end])
            amount = convert(meaning.field, q, meaning.unit or unit_in(name))
            if not isinstance(amount, str):
                self.out.append(
                    Finding(
                        meaning.field, amount, period, start, end, q.printed, "table:glued", scope=meaning.scope,
                        label=label, dated=True, at=begin, lacks=None if joined_cells.proves(line) else _GLUED,
                    )
                )  # fmt: skip


def _unit_of(row: Row) -> str | None:
    """The unit of a row's values, its changes aside."""
    units = [v.quantity.unit for v in row.values if v.quantity is not None]
    measured = next((unit for unit in units if unit not in (None, "%")), None)
    first = row.values[0].quantity if row.values else None
    return measured if measured is not None or first is None else first.unit


def _unit(unit: str | None) -> str | None:
    return {"W/TH": "J/TH", "MW": "power"}.get(unit or "", unit)


def _label(row: Row, unit: str | None) -> tuple[Label | None, str, int]:
    """The field of the nearest label line, joined with the lines above it as far as needed."""
    lines = row.labels
    count = 1
    while count < len(lines) and _goes_on(lines[-count - 1][0], lines[-count][0]):
        count += 1
    in_coins = unit is None and _IN_COINS.fullmatch(row.corner) is not None
    for k in range(count, len(lines) + 1):
        name = " ".join(line for line, _, _ in lines[-k:])
        section = row.section if k < len(lines) or row.section not in name else ""
        units = (unit, "BTC") if in_coins and k == count else (unit,)
        tried = (classify(re.sub(r"\s+", " ", name), one, section) for one in units)
        if (label := next(filter(None, tried), None)) is not None:
            return label, name, lines[-k][1]
        if k > count and len(lines[-k][0]) > 60:
            break
    return None, lines[-1][0] if lines else "", 0


def _goes_on(above: str, line: str) -> bool:
    return bool(re.match(r"[a-z(]", line) or _OPEN_ENDED.search(above))


def _align(text: str, row: Row, share: bool) -> Cells | str:
    """Each value with its column; a reason where they do not fit. `share`: the row's label names a percentage."""
    columns = row.columns
    filled = [v for v in row.values if v.kind != "absent" or text[v.start : v.end].strip()]
    if not columns or not filled:
        return _lone(filled, share)
    noted = _bracketed_note(filled)
    for heads, cells in _fits(row, filled):
        if len(heads) == len(cells) > noted:
            return list(zip(heads, cells, strict=True))
    rest = filled[len(columns) :]
    # Dashes behind the last column are bullets of what follows; percentages are changes.
    changes = all(c.period is not None for c in columns) and all(map(_is_percent, rest))
    if rest and (changes or all(v.kind == "zero" for v in rest)):
        return list(zip(columns, filled, strict=False))
    return f"{len(filled)} values under {len(columns)} headings: not read"


def _fits(row: Row, filled: list[Value]) -> Iterator[tuple[list[PeriodColumn], list[Value]]]:
    """Ways to set values under columns, the likeliest first: what is filled, what has a place, what is left without a
    note's mark, dated columns alone."""
    dated = [c for c in row.columns if c.period is not None]
    first, *others = (_is_footnote(v) for v in filled)
    yield row.columns, filled
    yield row.columns, row.values
    yield row.columns, filled[first:]
    if others and others[-1] and not first and not any(others[:-1]):
        yield row.columns, filled[:-1]
    yield dated, filled
    yield [c for c in dated if c.period is not None and c.period.kind == "month"], filled


def _lone(filled: list[Value], share: bool) -> Cells | str:
    """The one value of a label without a heading."""
    numbers = [v for v in filled if share or not _is_percent(v)]
    if len(numbers) != 1 or len(filled) > 2:
        return "values without a heading above them"
    return "a footnote's number and no value" if _bracketed_note(filled) else [(None, numbers[0])]


def _bracketed_note(filled: list[Value]) -> bool:
    """`(3)` and nothing else."""
    q = filled[0].quantity if len(filled) == 1 else None
    return q is not None and q.negative and _is_footnote(filled[0])


def _is_percent(value: Value) -> bool:
    return value.quantity is not None and value.quantity.unit == "%"


def _percentage(column: PeriodColumn | None, value: Value) -> bool:
    """Is it a percentage in a period's own column?"""
    return (column is None or column.period is not None) and _is_percent(value)


def _is_footnote(value: Value) -> bool:
    q = value.quantity
    if q is None or q.unit is not None or q.decimals or not 0 < q.value < 20:
        return False
    return not q.negative or q.end - q.start <= len("(12)")


def _without_twins(cells: Cells) -> Cells:
    """A month that heads two columns: the second is its change where it prints a percentage; else neither is read."""
    out: Cells = []
    seen: set[str | None] = set()
    for column, value in cells:
        key = _heads(column)
        if key is None or key not in seen:
            out.append((column, value))
        elif value.kind == "number" and not _is_percent(value):
            out = [(c, v) for c, v in out if _heads(c) != key]
        seen.add(key)
    return out


def _of_a_date(field: str, column: PeriodColumn | None, columns: list[PeriodColumn]) -> tuple[Licence, str] | None:
    """What flows under a head that is a date, `June 30, 2025`, may have flown in a month or in a quarter; the date of
    the month before in another head says that it is a month."""
    if field not in FLOWS or column is None or column.period is None or column.period.day is None:
        return None
    months = {c.period.year * 12 + c.period.month for c in columns if c.period is not None and c.period.year}
    if any(month + 1 in months for month in months):
        return None
    return "window", "a date heads the column: of how long a time is not said"


def _heads(column: PeriodColumn | None) -> str | None:
    p = column.period if column is not None else None
    return None if p is None else f"{p.kind} {p.year} {p.month} {p.day}"


def _stands_alone(text: str, row: Row) -> bool:
    """A label and one value without a heading: read where a colon, a bar or a line of its own sets them apart."""
    (name, begin, stop), value = row.labels[-1], row.values[0]
    gap = text[stop : value.start] if stop <= value.start else text[value.end : begin]
    apart = re.search(r"[:：|\n]", gap) or re.match(r"\s*[:：]", text[stop : stop + 3])
    return apart is not None or name.rstrip().endswith((":", "："))


def _period(column: PeriodColumn | None, name: str, ctx: Context) -> str | None:
    """The key of the period that a value belongs to."""
    if column is not None and column.period is None:
        return None
    own = period_in(name)
    if own is not None and (column is None or (column.period is not None and column.period.year is None)):
        return key_of(own, ctx)
    return ctx.period if column is None or column.period is None else key_of(as_heading(column.period), ctx)
