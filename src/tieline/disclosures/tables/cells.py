"""What a cell or a line holds: headings, values, a label, or a label with its values.

Knows nothing of what stands beside a cell, and of no label's meaning. A cell is headings or values only where nothing
else stands in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from tieline.disclosures.lexicon.numbers import PrintedNumber, quantities
from tieline.disclosures.lexicon.periods import Period, as_heading, periods
from tieline.disclosures.lexicon.words import phrases

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Value:
    """A cell's figure. `zero` is a dash, `absent` is N/A or an empty cell."""

    kind: Literal["number", "zero", "absent"]
    start: int
    end: int
    quantity: PrintedNumber | None = None

    def printed(self, text: str) -> str:
        """The figure as the text prints it."""
        return self.quantity.printed if self.quantity is not None else text[self.start : self.end].strip()

    @property
    def mark(self) -> str:
        """The stars behind it."""
        return self.quantity.mark if self.quantity is not None else ""

    @property
    def is_percent(self) -> bool:
        return self.quantity is not None and self.quantity.unit == "%"

    @property
    def is_note(self) -> bool:
        """May it be the number of a footnote: `2`, `(3)`?"""
        q = self.quantity
        if q is None or q.unit is not None or q.decimals or not 0 < q.value < 20:
            return False
        return not q.negative or q.end - q.start - len(q.printed) >= len("()")

    @property
    def is_bracketed(self) -> bool:
        """Is it the number of a footnote in brackets?"""
        return self.is_note and self.quantity is not None and self.quantity.negative


@dataclass(frozen=True, slots=True)
class PeriodColumn:
    """A heading over values: a period, or a change between periods."""

    period: Period | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One line of a row's label."""

    text: str
    start: int
    end: int


@dataclass(slots=True)
class Item:
    """A cell, or a row of cells: what stands in the stream that tables are read from."""

    kind: Literal["head", "names", "label", "values", "row", "break"]
    start: int
    end: int
    columns: list[PeriodColumn] = field(default_factory=list)
    labels: list[LabelLine] = field(default_factory=list)
    """The label of a row; of `names` every one of a row that holds nothing else."""
    values: list[Value] = field(default_factory=list)
    joined: bool = False
    """Two of the headings ran together, as the cells below them have."""


CHANGE, NOISE = phrases("change_head"), phrases("beside_periods")
"""What heads a column that is no month's own, and what may stand beside the periods of a heading."""
THIS_MONTH = re.compile(r"\b(?:this|current) month\b", re.IGNORECASE)
"""A head over the figures of the document's own month."""
_GOES_ON, _MAY_HEAD, _REMARK = phrases("before_period"), phrases("may_head"), phrases("remark")
_ZERO, _ABSENT, _ABOUT, _TOKEN = phrases("zero"), phrases("absent"), phrases("about"), phrases("empty_token")
_GAP = re.compile(r"[\s|*†‡~≈]*(?:\(\d\)|\[\d\])?[\s|*†‡]*")
_MEASURED = ("BTC", "EH/s", "J/TH", "USD/kWh", "USD")


def item_of(text: str, start: int, end: int, style: str) -> Item | None:
    """What a cell, or a line that has no cells, holds; a paragraph is a break."""
    content = text[start:end]
    stripped = content.strip()
    if not stripped:
        return None
    start += len(content) - len(content.lstrip())
    end = start + len(stripped)
    if len(stripped) > 260 or (len(stripped) > 160 and stripped.endswith((".", ";"))):
        return Item("break", start, end)
    if (found := _whole(text, start, end, style) or _row(text, start, end, style)) is not None:
        return found
    if len(stripped) > 160 or (stripped.endswith(".") and len(stripped.split()) > 9):
        return Item("break", start, end)
    return Item("label", start, end, labels=[LabelLine(stripped, start, end)])


def _whole(text: str, start: int, end: int, style: str) -> Item | None:
    """The span as nothing but values, or nothing but headings."""
    printed = text[start:end]
    bare = printed.rstrip(" *†‡") or printed
    if (zero := _ZERO.fullmatch(bare)) or _ABSENT.fullmatch(bare):
        return Item("values", start, end, values=[Value("zero" if zero else "absent", start, end)])
    if (heading := _heading(text, start, end)) is not None:
        return heading
    if (remark := _REMARK.search(printed)) is not None:
        end = start + remark.start()
    marks = _marks(text, start, end, style)
    if not marks or _first_of_run(text, marks, end) > 0 or not _only_gap(text[start : marks[0].start], lead=True):
        return None
    return Item("values", start, end, values=marks)


def _row(text: str, start: int, end: int, style: str) -> Item | None:
    """A label followed by its values on one line: the longest run of values at the end."""
    dates = [p for p in periods(text, start, end) if p.year is not None or p.day is not None]
    marks = _marks(text, start, end, style)
    marks = [v for v in marks if not any(p.start < v.end and v.start < p.end for p in dates)]
    first = _first_of_run(text, marks, end)
    if first == len(marks) or any(_ends_statement(a, text[a.end : b.start]) for a, b in pairwise(marks)):
        return None  # a line with a figure of its own before the last label is two statements
    label = text[start : marks[first].start].rstrip(" :|")
    if label.endswith("/") or not re.search(r"[^\W\d_]", label) or len(label) > 110 or len(label.split()) > 14:
        return None
    return Item("row", start, end, labels=[LabelLine(label, start, start + len(label))], values=marks[first:])


def footnoted(item: Item) -> Item:
    """`Bitcoin Held 2` above or beside its values: the digit is a footnote."""
    value = item.values[0] if item.kind == "row" and len(item.values) == 1 else None
    if value is None or not value.is_note or value.quantity is None or value.quantity.value >= 10:
        return item
    return Item("label", item.start, item.end, labels=item.labels)


def _heading(text: str, start: int, end: int) -> Item | None:
    """One or more periods or changes as column headings, with nothing beside them but `Metric` and footnotes."""
    columns = _columns(text, start, end) if end - start <= 260 and _MAY_HEAD.search(text, start, end) else []
    if not columns:
        return None
    edges = zip([start, *(c.end for c in columns)], [*(c.start for c in columns), end], strict=True)
    lead, *gaps = (text[a:b] for a, b in edges)
    corner = len(columns) > 1 and len(lead) <= 70 and not _GOES_ON.search(lead)  # short words before several periods
    if NOISE.sub("", "|".join(gaps if corner else [lead, *gaps])):
        return None
    months = [c for c in columns if c.period is not None]
    tight = any(a.end == b.start and text[b.start].isupper() for a, b in pairwise(months))
    return Item("head", start, end, columns, joined=tight)


def _columns(text: str, start: int, end: int) -> list[PeriodColumn]:
    """The columns that a span heads; none where a date stands in it that is no month's end."""
    headings = [as_heading(_unmarked(text, p)) for p in periods(text, start, end)]
    if any(p.kind == "date" for p in headings) or (not headings and NOISE.sub("", CHANGE.sub("", text[start:end]))):
        return []
    columns = [PeriodColumn(p, p.start, p.end) for p in headings]
    at = start
    while (m := CHANGE.search(text, at, end)) is not None:
        over = max((c.end for c in columns if c.start < m.end() and m.start() < c.end), default=0)
        at = over if over > m.start() else m.end()  # `2024 YTD 2025`: the year belongs to the month before it
        if not over:
            columns.append(PeriodColumn(None, m.start(), m.end()))
    return sorted(columns, key=lambda c: c.start)


def _unmarked(text: str, p: Period) -> Period:
    """`April 2025 1 March 2025`: the digit behind a year is a footnote's, not the day of the next month."""
    day = re.match(r"\d\s+", text[p.start : p.end])
    if p.kind != "date" or day is None or not re.search(r"20[1-4]\d\s+\Z", text[max(0, p.start - 8) : p.start]):
        return p
    return replace(p, kind="month", day=None, start=p.start + day.end())


def _marks(text: str, start: int, end: int, style: str) -> list[Value]:
    """Every number, dash and N/A of a span, in order."""
    marks = [Value("number", q.start, q.end, q) for q in quantities(text, start, end, style)]
    for m in _TOKEN.finditer(text, start, end):
        if not any(v.start < m.end() and m.start() < v.end for v in marks):
            marks.append(Value("zero" if m["zero"] else "absent", m.start(), m.end()))
    return sorted(marks, key=lambda v: v.start)


def _first_of_run(text: str, marks: list[Value], end: int) -> int:
    """The first of the values that nothing parts from one another and from the end; past the last where something does."""
    first = len(marks)
    while first > 0 and _only_gap(text[marks[first - 1].end : marks[first].start if first < len(marks) else end]):
        first -= 1
    return first


def _only_gap(gap: str, lead: bool = False) -> bool:
    """Nothing but spaces, bars and footnote marks; as `lead` also `approximately`."""
    return _GAP.fullmatch(gap) is not None or (lead and _ABOUT.fullmatch(gap) is not None)


def _ends_statement(value: Value, gap: str) -> bool:
    measured = value.quantity is not None and value.quantity.unit in _MEASURED
    return measured and not _only_gap(gap) and re.search(r"[^\W\d_]{2}", gap) is not None
