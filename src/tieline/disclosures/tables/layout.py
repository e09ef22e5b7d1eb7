"""Tables in whatever shape they survived: rows of a line, one cell a line, bars at either end, cells run together.

Knows nothing of which label means what beyond asking `labels`. Every shape is brought to one stream of items
(headings, labels, values), and one small machine reads columns and rows from the stream. A row whose values do
not fit the columns is not read, and says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tieline.disclosures.finding import convert
from tieline.disclosures.lexicon.numbers import PrintedNumber
from tieline.disclosures.lexicon.periods import Period, periods
from tieline.disclosures.rules.naming import classify
from tieline.disclosures.tables.cells import footnoted, items_of
from tieline.disclosures.tables.spans import CHANGE, Item, PeriodColumn, Value

MAX_PENDING = 24
"""Labels that may wait for their values: the head of a turned table has fewer."""


@dataclass(slots=True)
class Row:
    """A label with its values, as found; `columns` is empty where no heading stands above."""

    labels: list[tuple[str, int, int]]
    """The label's possible lines, the last one nearest to the values."""
    values: list[Value]
    columns: list[PeriodColumn]
    section: str = ""
    joined: bool = False
    line: tuple[int, int] = (0, 0)
    corner: str = ""
    """What stands in the heading before the first column: `(BTC)` is the unit of rows without one."""


def rows(text: str, style: str) -> list[Row]:
    """Every row with values in the document, in order, each with the columns that stand above it."""
    return _Machine(text).run(_cards(items_of(text, style)))


def _cards(items: list[Item]) -> list[Item]:
    """Cards that print the value above its label: `212`, `BTC Mined`, `1,604`, `BTC Held`.

    A run of values and labels in turn that begins with a value is read so where more labels name a field for the
    value above them than for the value below; where both readings name as many, the run is left out.
    """
    items = _noted(items)
    out: list[Item] = []
    i = 0
    while i < len(items):
        before = items[i - 1] if i else None
        stop = i if before is not None and _figures(before) else _card_run(items, i)
        if stop - i < 4:
            out.append(items[i])
            i += 1
        else:
            out.extend(_dealt([footnoted(item) for item in items[i:stop]], before))
            i = stop
    return out


def _dealt(run: list[Item], before: Item | None) -> list[Item]:
    """A run of cards, each value with its label."""
    above = sum(map(_fits, run[1::2], run[::2]))
    below = sum(map(_fits, run[1::2], run[2::2]))
    headed = before is not None and before.kind == "label" and not _titles(before) and _fits(before, run[0])
    if headed or above < below or not above:
        return run
    if above == below:
        return [Item("break", run[0].start, run[-1].end)]
    return [
        Item("row", value.start, label.end, label=label.label, values=value.values, cells=label.cells)
        for value, label in zip(run[::2], run[1::2], strict=True)
    ]


def _noted(items: list[Item]) -> list[Item]:
    """Labels whose footnote digit looks like a value: above a value, or above the first period of a turned table."""
    out = list(items)
    turned = False
    for k in range(len(items) - 2, -1, -1):
        following = out[k + 1].kind
        if items[k].kind == "head":
            turned = len(items[k].columns) == 1 and following == "values"
        elif items[k].kind == "row" and (turned or following == "values"):
            out[k] = footnoted(items[k])
            turned = turned and out[k].kind == "label"
        elif items[k].kind != "label":
            turned = False
    return out


def _card_run(items: list[Item], i: int) -> int:
    """Where a run of one value, one label, one value, one label ends; `i` itself where none begins."""
    at = i
    while (
        at + 1 < len(items)
        and items[at].kind == "values"
        and len(items[at].values) == 1
        and items[at].values[0].kind == "number"
        and (label := footnoted(items[at + 1])).kind == "label"
        and label.label is not None
        and len(label.label[0]) <= 60
    ):
        at += 2
    if at > i and at < len(items) and items[at].kind == "values":
        at -= 2  # the last label has a value of its own below it
    return at


def _figures(item: Item) -> bool:
    """Values of a row, and not the change below a card."""
    return item.kind == "values" and not all(v.quantity is not None and v.quantity.unit == "%" for v in item.values)


def _titles(label: Item) -> bool:
    """A line that names a month or is long heads what follows and labels no value."""
    assert label.label is not None
    return len(label.label[0]) > 60 or bool(periods(label.label[0]))


def _fits(label: Item, value: Item) -> bool:
    """Does the label name a field for a value of this unit?"""
    q = value.values[0].quantity if value.values else None
    if label.label is None or q is None:
        return False
    meaning = classify(label.label[0], q.unit)
    return meaning is not None and not isinstance(convert(meaning.field, q, meaning.unit), str)


def _in_year(key: Period, label: str) -> Period:
    """`BTC Earned 2023` over a column of a table whose rows are months: the year belongs to each of them."""
    years = re.findall(r"\b20[1-4]\d\b", label)
    return replace(key, year=int(years[0])) if key.year is None and len(years) == 1 else key


def _is_year(q: PrintedNumber) -> bool:
    return q.unit is None and q.decimals == 0 and 2010 <= q.value <= 2049


class _Machine:
    """Headings open a table, labels gather, values complete a row; a paragraph closes the table."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.columns: list[PeriodColumn] = []
        self.heading_open = False
        self.joined = False
        self.pending: list[tuple[str, int, int]] = []
        self.header_labels: list[tuple[str, int, int]] = []
        self.values: list[Value] = []
        self.key: Period | None = None
        self.section = ""
        self.corner = ""
        self.fields: list[tuple[str, int, int]] = []
        self.out: list[Row] = []

    def run(self, items: list[Item]) -> list[Row]:
        for index, item in enumerate(items):
            following = items[index + 1].kind if index + 1 < len(items) else "break"
            if item.kind == "break":
                self._finish()
                self._close()
            elif item.kind == "head":
                self._heading(item, following)
            elif item.kind == "label":
                self._label(item)
            elif item.kind == "values" and self.heading_open and self._years(item.values):
                continue
            elif item.kind == "values":
                self.heading_open = False
                self.values.extend(item.values)
            else:
                self._row(item)
        self._finish()
        return self.out

    def _heading(self, item: Item, following: str) -> None:
        self._finish()
        months = [c for c in item.columns if c.period is not None]
        if following == "values" and len(months) == 1 and len(item.columns) == 1 and len(self._header()) >= 2:
            self.key = months[0].period  # a transposed table: this row begins with its period
            self.columns = []
            return
        self.key = None
        if self.heading_open:
            self.columns = [*self.columns, *item.columns]
            self.joined = self.joined or item.joined
        elif months:
            self.columns = list(item.columns)
            self.joined = item.joined
            self.corner = self.text[item.start : item.columns[0].start].strip(" |\n")
            self.header_labels = []
        elif len(self.columns) == 1 and CHANGE.fullmatch(self.text[item.start : item.end].strip(" :*|#")):
            self.columns = list(item.columns)  # `YTD 2025` over a list of its own
        self.heading_open = True
        self.pending = []

    def _years(self, values: list[Value]) -> bool:
        """The second line of a heading: `June  June`, then `2025  2024`."""
        months = [c.period for c in self.columns if c.period is not None]
        years = [int(v.quantity.value) for v in values if v.quantity is not None and _is_year(v.quantity)]
        if len(months) != len(values) or len(years) != len(values) or any(p.year for p in months):
            return False
        ahead = iter(years)
        self.columns = [replace(c, period=replace(c.period, year=next(ahead))) if c.period else c for c in self.columns]
        return True

    def _header(self) -> list[tuple[str, int, int]]:
        if not self.header_labels and len(self.pending) >= 2:
            self.header_labels = list(self.pending)
            self.pending = []
        return self.header_labels

    def _label(self, item: Item) -> None:
        self._finish()
        assert item.label is not None
        if len(item.cells) > 2:
            self._field(item)
        if self.joined and self._joined(item):
            return
        if self.heading_open and CHANGE.fullmatch(item.label[0].strip(" *")):
            return
        self.heading_open = False
        self.key = None
        self.pending.append(item.label)
        del self.pending[:-MAX_PENDING]

    def _field(self, item: Item) -> None:
        """Gather the labels of a row that holds nothing else: they may head columns."""
        assert item.label is not None
        if self.fields and not (item.cells[0][0] <= self.fields[0][1] <= item.cells[-1][1]):
            self.fields = []
        self.fields.append(item.label)

    def _row(self, item: Item) -> None:
        self._finish()
        assert item.label is not None
        self.heading_open = False
        if self.joined and self._joined(item):
            return
        self.pending.append(item.label)
        self.values = list(item.values)
        self._finish(line=(item.start, item.end))

    def _joined(self, item: Item) -> bool:
        span = (item.start, item.end)
        self.out.append(Row([(self.text[slice(*span)], *span)], [], self.columns, self.section, True, span))
        self.pending = []
        return True

    def _finish(self, line: tuple[int, int] | None = None) -> None:
        if not self.values:
            return
        values, self.values = self.values, []
        if self.key is not None:
            self._transposed(values)
            return
        if not self.pending:
            return
        labels, self.pending = self.pending[-3:], []
        if len(labels) > 1 and len(labels[0][0]) < 60:
            self.section = labels[-2][0]
        begin, stop = labels[-1][1], values[-1].end
        self.out.append(Row(labels, values, self.columns, self.section, False, line or (begin, stop), self.corner))

    def _transposed(self, values: list[Value]) -> None:
        header = self.fields if len(self.fields) in (len(values), len(values) + 1) else self.header_labels
        spare = len(header) - len(values)
        if spare < 0 or (spare > 0 and classify(header[spare - 1][0]) is not None):
            self.key = None
            return  # more headings than values: which belongs to which is not said
        header = header[spare:]
        assert self.key is not None
        for label, value in zip(header, values, strict=False):
            key = _in_year(self.key, label[0])
            column = PeriodColumn(key, key.start, key.end)
            self.out.append(Row([label], [value], [column], "", False, (key.start, value.end)))
        self.key = None

    def _close(self) -> None:
        self.columns = []
        self.joined = False
        self.heading_open = False
        self.pending = []
        self.header_labels = []
        self.fields = []
        self.section = ""
