"""A span of a line as what a table holds: headings, values, or a label with its values.

Knows nothing of what stands in which line, and of no label's meaning. A span is headings or values only where
nothing else stands in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from tieline.disclosures.lexicon.numbers import PrintedNumber, quantities
from tieline.disclosures.lexicon.periods import Period, as_heading, periods


@dataclass(frozen=True, slots=True)
class Value:
    """A cell's figure. `zero` is a dash, `absent` is N/A or an empty cell."""

    kind: Literal["number", "zero", "absent"]
    start: int
    end: int
    quantity: PrintedNumber | None = None


@dataclass(frozen=True, slots=True)
class PeriodColumn:
    """A heading over values: a period, or a change between periods."""

    period: Period | None
    start: int
    end: int


@dataclass(slots=True)
class Item:
    """One piece of the stream."""

    kind: Literal["head", "label", "values", "row", "break"]
    start: int
    end: int
    columns: list[PeriodColumn] = field(default_factory=list)
    label: tuple[str, int, int] | None = None
    values: list[Value] = field(default_factory=list)
    joined: bool = False
    cells: list[tuple[int, int]] = field(default_factory=list)


_CHANGE = (
    r"(?:month|year|quarter|mth|yr)[- ]?(?:/|over|on|to|-)[- ]?(?:month|year|quarter|mth|yr)|[MQY]o[MQY](?: (?:increase|change|growth|decrease))?"
    r"|[mqy]/[mqy]|(?:%|percent(?:age)?) ?(?:change|chg\.?|increase|variance)|change(?: ?\(?%\)?)?|variance|% ?ch\.?|(?:increase|decrease)(?:/\(?decrease\)?)?"
    r"|difference|growth|Δ|(?:YTD|FY|H[12]|CY)[ -]?20[1-4]\d\b|20[1-4]\d[ -]?(?:YTD|H[12])\b|YTD\b|year[- ]to[- ]date|环比|同比|變化|变化|前月比|前年比|veränderung|variación|variation|var\.?"
)

CHANGE = re.compile(r"(?:" + _CHANGE + r")(?:\s*\(?%\)?)?", re.IGNORECASE)

NOISE = re.compile(
    r"\b(?:key|metrics?|comparison|kpis?|key performance indicators?|operating|operational|operations?|highlights?|unaudited|indicators?|mining|production|summary"
    r"|results?|data|statistics|statistik|description|item|period|for the|month(?:s)?(?: ended| of)?|in|the|of|monthly|bitcoin|update|as of|ended|prior|current|kennzahl(?:en)?"
    r"|métricas?|indicateurs?|indicadores?|dati|operativ\w*|total)\b|指标|指標|项目|項目|単位|单位|單位|[\s|*†‡:()\[\]%#/.,-]|(?<![\d])\d{1,2}(?![\d])",
    re.IGNORECASE,
)

_MAY_HEAD = re.compile(r"[^\W\d_]|20\d\d|\d[/.]\d|[%Δ]")

_ZERO = re.compile(
    r"(?:[$€£]\s?)?(?:-{1,2}|nil|none|zero|keine?|ninguno|néant)(?:\s?(?:%|BTC|bitcoins?))?", re.IGNORECASE
)

_ABSENT = re.compile(
    r"(?:n\.?\s?/?\s?a\.?|nm|n\.m\.|not applicable|not available|不适用|不適用|k\.\s?a\.|n\.\s?d\.|s/o|\*+)",
    re.IGNORECASE,
)

_GAP = re.compile(r"[\s|*†‡~≈]*(?:\(\d\)|\[\d\])?[\s|*†‡]*")

_TOKEN = re.compile(r"(?<![^\s|])(?:(?P<zero>[$€£]?\s?-{1,2})|(?P<na>N/?A|n/?a|NM|n\.?m\.?))(?=\s|$|\|)")

_MEASURED = ("BTC", "EH/s", "J/TH", "USD/kWh", "USD")

_REMARK = re.compile(r"(?<=[\d%])\s*\([^()]*[^\W\d_]{3,}[^()]*\)\s*\d?\*?$")
"""`11,956 (10,608 adj)3`: a figure with a remark on it."""


def whole_of(text: str, start: int, end: int, style: str) -> Item | None:
    """The span as nothing but values, or nothing but headings."""
    content = text[start:end]
    stripped = content.strip()
    if not stripped:
        return None
    start += len(content) - len(content.lstrip())
    end = start + len(stripped)
    bare = stripped.rstrip(" *†‡") or stripped
    if _ZERO.fullmatch(bare):
        return Item("values", start, end, values=[Value("zero", start, end)])
    if _ABSENT.fullmatch(bare):
        return Item("values", start, end, values=[Value("absent", start, end)])
    heading = _heading(text, start, end)
    if heading is not None:
        return heading
    remark = _REMARK.search(stripped)
    if remark is not None:
        end = start + remark.start()
    values = _run_of_values(text, start, end, style)
    return Item("values", start, end, values=values) if values else None


def _heading(text: str, start: int, end: int) -> Item | None:
    """One or more periods or changes as column headings, with nothing beside them but `Metric` and footnotes."""
    if end - start > 260 or not _MAY_HEAD.search(text, start, end):
        return None
    columns, joined = _columns(text, start, end)
    if not columns:
        return None
    rest = "".join(
        text[a:b] for a, b in zip([start, *(c.end for c in columns)], [*(c.start for c in columns), end], strict=True)
    )
    rest = re.sub(
        r"\b(?:actual|total|ytd|restated|revised|unaudited|three|six|nine|twelve)\b", "", rest, flags=re.IGNORECASE
    )
    if NOISE.sub("", rest):
        between = [text[a.end : b.start] for a, b in pairwise(columns)]
        lead = text[start : columns[0].start]
        tail = text[columns[-1].end : end]
        tight = all(not NOISE.sub("", gap) for gap in between) and not NOISE.sub("", tail)
        if (
            len(columns) < 2
            or not tight
            or len(lead) > 70
            or re.search(r"[.;:]\s|\b(?:vs|and|to|from|versus)\b\.?\s*$", lead)
        ):
            return None
    return Item("head", start, end, columns, joined=joined)


def _marked(text: str, p: Period) -> Period:
    """`April 2025 1 March 2025`: the digit behind a year is a footnote's, not the day of the next month."""
    day = re.match(r"\d\s+", text[p.start : p.end])
    if p.kind != "date" or day is None or not re.search(r"20[1-4]\d\s+\Z", text[max(0, p.start - 8) : p.start]):
        return p
    return replace(p, kind="month", day=None, start=p.start + day.end())


def _columns(text: str, start: int, end: int) -> tuple[list[PeriodColumn], bool]:
    """The columns that a span heads, and whether two of them ran together."""
    headings = [as_heading(_marked(text, p)) for p in periods(text, start, end)]
    if any(p.kind == "date" for p in headings):
        return [], False
    columns = [PeriodColumn(p, p.start, p.end) for p in headings]
    at = start
    while (m := CHANGE.search(text, at, end)) is not None:
        over = max((c.end for c in columns if c.start < m.end() and m.start() < c.end), default=0)
        at = over if over > m.start() else m.end()  # `2024 YTD 2025`: the year belongs to the month before it
        if not over:
            columns.append(PeriodColumn(None, m.start(), m.end()))
    columns.sort(key=lambda c: c.start)
    if not headings:
        return ([] if NOISE.sub("", CHANGE.sub("", text[start:end])) else columns), False
    return columns, any(_ran_together(text, a, b) for a, b in pairwise(columns))


def _ran_together(text: str, a: PeriodColumn, b: PeriodColumn) -> bool:
    return a.period is not None and b.period is not None and a.end == b.start and text[b.start].isupper()


def _run_of_values(text: str, start: int, end: int, style: str) -> list[Value] | None:
    """Values with nothing but spaces, bars and footnote marks between them; None where other words stand."""
    marks = _marks(text, start, end, style)
    at = start
    for value in marks:
        if not _only_gap(text[at : value.start], at == start):
            return None
        at = value.end
    return marks if marks and _only_gap(text[at:end], False) else None


def _marks(text: str, start: int, end: int, style: str) -> list[Value]:
    """Every number, dash and N/A of a span, in order."""
    marks: list[Value] = [Value("number", q.start, q.end, q) for q in quantities(text, start, end, style)]
    for m in _TOKEN.finditer(text, start, end):
        if not any(v.start < m.end() and m.start() < v.end for v in marks):
            marks.append(Value("zero" if m["zero"] else "absent", m.start(), m.end()))
    marks.sort(key=lambda v: v.start)
    if len(marks) > 1 and not len(marks) % 2 and all(map(_bracketed_digit, marks[1::2])):
        pairs = list(zip(marks[::2], marks[1::2], strict=True))
        if not any(_bracketed_digit(v) or not _only_gap(text[v.end : n.start], False) for v, n in pairs):
            return [replace(v, end=n.end) for v, n in pairs]  # `450 (1) 463 (1)`
    return marks


def _bracketed_digit(value: Value) -> bool:
    q = value.quantity
    return (
        q is not None
        and q.unit is None
        and q.negative
        and bool(re.fullmatch(r"\(\d\)\*?", q.printed.strip()) or q.end - q.start == len("(1)"))
    )


def _only_gap(gap: str, lead: bool) -> bool:
    if _GAP.fullmatch(gap):
        return True
    return lead and bool(
        re.fullmatch(r"\s*(?:approx(?:imately|\.)?|appx\.?|about|ca\.?|circa|~|约|約|>|<)\s*", gap, re.IGNORECASE)
    )


def mixed_of(text: str, start: int, end: int, style: str) -> Item | None:
    """A label followed by its values on one line: the longest run of values at the end."""
    marks = _undated_marks(text, start, end, style)
    if not marks or not _only_gap(text[marks[-1].end : end], False):
        return None
    if any(_ends_statement(a, text[a.end : b.start]) for a, b in pairwise(marks)):
        return None  # a line with a figure of its own before the last label is two statements
    first = len(marks) - 1
    while first > 0 and _only_gap(text[marks[first - 1].end : marks[first].start], False):
        first -= 1
    label_end = marks[first].start
    label = text[start:label_end].rstrip(" :|")
    if label.endswith("/") or not re.search(r"[^\W\d_]", label) or len(label) > 110 or len(label.split()) > 14:
        return None
    named = (label, start, start + len(label))
    return Item("row", start, end, label=named, values=marks[first:], cells=[(start, label_end)])


def _undated_marks(text: str, start: int, end: int, style: str) -> list[Value]:
    """The values of a span that are no part of a date."""
    dates = [p for p in periods(text, start, end) if p.year is not None or p.day is not None]
    marks = _marks(text, start, end, style)
    return [v for v in marks if not any(p.start < v.end and v.start < p.end for p in dates)]


def _ends_statement(value: Value, gap: str) -> bool:
    measured = value.quantity is not None and value.quantity.unit in _MEASURED
    return measured and not _only_gap(gap, False) and re.search(r"[^\W\d_]{2}", gap) is not None
