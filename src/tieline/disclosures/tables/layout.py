"""Rows of tables: each label with its values and the columns that stand above it.

Knows nothing of which label means what beyond asking `naming` about the names over a turned table. Every shape comes as
one stream of items (headings, labels, values), and one small machine reads columns and rows from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import zip_longest

from tieline.disclosures.lexicon.numbers import quantities
from tieline.disclosures.lexicon.periods import Period
from tieline.disclosures.rules.naming import classify
from tieline.disclosures.tables.cells import CHANGE, THIS_MONTH, Item, LabelLine, PeriodColumn, Value
from tieline.disclosures.tables.grid import items_of
from tieline.disclosures.tables.joined_cells import solve

MAX_PENDING = 24
"""Labels that may wait for their values: the head of a turned table has fewer."""
_FEW = 3
"""So many columns are a table's own, and no line over it."""


@dataclass(slots=True)
class Row:
    """A label with its values, as found; `columns` is empty where no heading stands above."""

    labels: list[LabelLine]
    """The label's possible lines, the last one nearest to the values."""
    values: list[Value]
    columns: list[PeriodColumn]
    line: tuple[int, int]
    section: str = ""
    corner: str = ""
    """What stands in the heading before the first column: `(BTC)` is the unit of rows without one."""
    joined: bool = False
    """The cells ran together."""
    proven: bool = True
    """The text shows where one cell ends."""
    unread: str = ""
    """Why the cells could not be told apart."""


def rows(text: str, style: str) -> list[Row]:
    """Every row with values in the document, in order, each with the columns that stand above it."""
    return _Machine(text, style).run(items_of(text, style))


def _is_caption(columns: list[PeriodColumn]) -> bool:
    """Are the periods those of a line over the heading, which it names once or twice: `July 2025 (as of July 31, 2025)`?"""
    return len({(c.period.year, c.period.month) for c in columns if c.period is not None}) == 1 and len(columns) < _FEW


class _Machine:
    """Headings open a table, labels gather, values complete a row; a paragraph closes the table."""

    def __init__(self, text: str, style: str) -> None:
        self.text, self.style = text, style
        self.out: list[Row] = []
        self.values: list[Value] = []
        self._close()

    def _close(self) -> None:
        self.columns: list[PeriodColumn] = []
        self.joined = self.heading_open = False
        self.pending: list[LabelLine] = []
        self.names: list[LabelLine] = []
        """Labels that may head the columns of a turned table."""
        self.turned: Period | None = None
        """The period at the head of a turned table's row."""
        self.section = self.corner = ""

    def run(self, items: list[Item]) -> list[Row]:
        for item, following in zip_longest(items, items[1:]):
            if item.kind == "values":
                if not (self.heading_open and self._years(item.values)):
                    self.heading_open = False
                    self.values += item.values
                continue
            self._finish()
            if item.kind == "break":
                self._close()
            elif item.kind == "head":
                self._heading(item, following is not None and following.kind == "values")
            else:
                self._labels(item)
        self._finish()
        return self.out

    def _heading(self, item: Item, values_follow: bool) -> None:
        months = [c for c in item.columns if c.period is not None]
        if values_follow and len(months) == len(item.columns) == 1 and self._turns(months[0]):
            return
        if self.heading_open and not (len(months) > 1 and _is_caption(self.columns)):
            self.columns = [*self.columns, *item.columns]
            self.joined = self.joined or item.joined
        elif months or (len(item.columns) > 1 and THIS_MONTH.search(self.text, item.start, item.end)):
            self.columns, self.joined, self.names = item.columns, item.joined, []
            self.corner = self.text[item.start : item.columns[0].start].strip(" |\n")
        elif len(self.columns) == 1 and CHANGE.fullmatch(self.text[item.start : item.end].strip(" :*|#")):
            self.columns = item.columns  # `YTD 2025` over a list of its own
        self.heading_open = True
        self.pending = []

    def _turns(self, month: PeriodColumn) -> bool:
        """Does a month before values head the row of a turned table?"""
        if not self.names and len(self.pending) >= 2:
            self.names = self.pending
        if len(self.names) < 2:
            return False
        self.turned, self.columns, self.pending = month.period, [], []
        return True

    def _years(self, values: list[Value]) -> bool:
        """The second line of a heading: `June  June`, then `2025  2024`."""
        months = [c.period for c in self.columns if c.period is not None]
        years = [int(q.value) for v in values if (q := v.quantity) and q.unit is None and 2010 <= q.value <= 2049]
        if not len(months) == len(values) == len(years) or any(p.year for p in months):
            return False
        ahead = iter(years)
        self.columns = [replace(c, period=replace(c.period, year=next(ahead))) if c.period else c for c in self.columns]
        return True

    def _labels(self, item: Item) -> None:
        """A label, the names over a turned table, or a row that holds its values."""
        if item.kind == "names":
            self.names = item.labels
        if self.joined:
            self._joined(item)
            return
        if item.kind == "label" and self.heading_open and CHANGE.fullmatch(item.labels[0].text.strip(" *")):
            return
        self.heading_open = False
        self.pending = [*self.pending, *item.labels][-MAX_PENDING:]
        self.values = list(item.values)
        self._finish((item.start, item.end))

    def _joined(self, item: Item) -> None:
        """A row whose cells ran together, as those of the head have."""
        span = (item.start, item.end)
        line = self.text[slice(*span)]
        months = [c for c in self.columns if c.period is not None and c.period.kind == "month"]
        row = Row([LabelLine(line, *span)], [], months, span, self.section, joined=True)
        cut = solve(line, len(months))
        if isinstance(cut, str):
            row.unread = cut
        elif cut is not None:
            row.labels, row.proven = [LabelLine(cut.label, *span)], cut.proven
            row.values = [self._value(item.start + begin, item.start + end) for begin, end in cut.cells]
        self.out.append(row)
        self.pending = []

    def _value(self, start: int, end: int) -> Value:
        """A cell of such a row; the digits before it are no part of it."""
        q = quantities(self.text[start:end], 0, end - start, self.style)[0]
        return Value("number", start, end, replace(q, start=start, end=end))

    def _finish(self, line: tuple[int, int] | None = None) -> None:
        """The row whose values have all been seen."""
        if not self.values:
            return
        values, self.values = self.values, []
        if self.turned is not None:
            self._turned(self.turned, values)
        elif self.pending:
            labels, self.pending = self.pending[-3:], []
            if len(labels) > 1 and len(labels[0].text) < 60:
                self.section = labels[-2].text
            line = line or (labels[-1].start, values[-1].end)
            self.out.append(Row(labels, values, self.columns, line, self.section, self.corner))

    def _turned(self, key: Period, values: list[Value]) -> None:
        """A month's row of a table whose columns are fields: `Month | BTC Produced | BTC Sold`, `May 2025 | 49.9 | 20`."""
        self.turned = None
        spare = len(self.names) - len(values)
        if spare < 0 or (spare > 0 and classify(self.names[spare - 1].text) is not None):
            return  # more headings than values: which belongs to which is not said
        for label, value in zip(self.names[spare:], values, strict=True):
            years = re.findall(r"\b20[1-4]\d\b", label.text)  # `BTC Earned 2023` over the months of that year
            own = replace(key, year=int(years[0])) if key.year is None and len(years) == 1 else key
            column = PeriodColumn(own, key.start, key.end)
            self.out.append(Row([label], [value], [column], (key.start, value.end)))
