"""A document as one stream of cells: column headings, labels, values, rows.

Knows nothing of which label means what. Lines, barred lines and one-cell-a-line runs all come out as the same
items, so that one small machine can read every shape of table.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import Literal

from tieline.disclosures.reading.numbers import Quantity, quantities
from tieline.disclosures.reading.periods import Period, as_heading, periods

MAX_ITEMS = 10_000
"""Cells looked at; the longest filing exhibits seen have a tenth of it."""


@dataclass(frozen=True, slots=True)
class Value:
    """A cell's figure. `zero` is a dash, `absent` is N/A or an empty cell."""

    kind: Literal["number", "zero", "absent"]
    start: int
    end: int
    quantity: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Column:
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
    columns: list[Column] = field(default_factory=list)
    label: tuple[str, int, int] | None = None
    values: list[Value] = field(default_factory=list)
    glued: bool = False
    cells: list[tuple[int, int]] = field(default_factory=list)


_CHANGE = (
    r"(?:month|year|quarter|mth|yr)[- ]?(?:/|over|on|to|-)[- ]?(?:month|year|quarter|mth|yr)|[MQY]o[MQY](?: (?:increase|change|growth|decrease))?"
    r"|[mqy]/[mqy]|(?:%|percent(?:age)?) ?(?:change|chg\.?|increase|variance)|change(?: ?\(?%\)?)?|variance|% ?ch\.?|(?:increase|decrease)(?:/\(?decrease\)?)?"
    r"|difference|growth|Δ|(?:YTD|FY|H[12]|CY)[ -]?20[1-4]\d\b|20[1-4]\d[ -]?(?:YTD|H[12])\b|YTD\b|year[- ]to[- ]date|环比|同比|變化|变化|前月比|前年比|veränderung|variación|variation|var\.?"
)
CHANGE = re.compile(r"(?:" + _CHANGE + r")(?:\s*\(?%\)?)?", re.IGNORECASE)
_NOISE = re.compile(
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


def items_of(text: str, style: str) -> list[Item]:
    items: list[Item] = []
    for block, mode in _blocks(text):
        if len(items) > MAX_ITEMS:
            break
        if mode == "line":
            items.extend(_line_items(text, *block[0], style))
        elif mode == "rows":
            for start, end in block:
                items.extend(_bar_row(text, start, end, style))
        else:
            cells = _cut(text, block[0][0], block[-1][1])
            prefix: tuple[int, int] | None = None
            for start, end in cells:
                if re.fullmatch(r"\s*(?:(?:appx|approx)\.?\s*)?(?:US)?\$\s*", text[start:end], re.IGNORECASE):
                    prefix = (start, end)
                    continue
                found = _cell(text, start, end, style)
                if prefix is not None and found and found[0].values and found[0].values[0].quantity is not None:
                    found[0].values[0] = _with_currency(found[0].values[0], prefix[0])
                prefix = None
                items.extend(found)
    return items


def _blocks(text: str) -> list[tuple[list[tuple[int, int]], str]]:
    """Lines, or runs of lines that hold bars, with the way in which the run is to be cut."""
    lines: list[tuple[int, int]] = []
    at = 0
    for line in text.split("\n"):
        lines.append((at, at + len(line)))
        at += len(line) + 1
    out: list[tuple[list[tuple[int, int]], str]] = []
    i = 0
    while i < len(lines):
        if "|" not in text[slice(*lines[i])]:
            out.append(([lines[i]], "line"))
            i += 1
            continue
        j = last = i
        while j < len(lines) and j - last <= 3:
            content = text[slice(*lines[j])]
            if "|" in content:
                last = j
            elif _ends_run(content, text[slice(*lines[j + 1])] if j + 1 < len(lines) else ""):
                break
            j += 1
        run = [line for line in lines[i : last + 1] if not _ruled(text[slice(*line)])] or [lines[i]]
        mode = _bar_mode(text, run)
        if mode == "cells":
            while (
                out and out[-1][1] == "line" and 0 < len(text[slice(*out[-1][0][0])].strip()) <= 40 and len(run) < 5000
            ):
                previous = text[slice(*out[-1][0][0])]
                if previous.rstrip().endswith((".", ":")) or len(out) < 1:
                    break
                run = [out.pop()[0][0], *run]
                break
            tail = last + 1
            while tail < len(lines) and tail <= last + 2 and _continues(text[slice(*lines[tail])]):
                run.append(lines[tail])
                last = tail
                tail += 1
        out.append((run, mode))
        i = last + 1
    return out


def _ruled(line: str) -> bool:
    """The line under a heading in a table typed with bars: `|---|:--:|`. It is no row of dashes."""
    return bool(re.fullmatch(r"[\s|:=+_-]*-{2,}[\s|:=+_-]*", line)) and line.count("-") > 2 * line.count("|")


def _ends_run(line: str, following: str) -> bool:
    """A paragraph, a bullet, or a blank line with no bar after it ends a run of barred lines."""
    if not line.strip():
        return "|" not in following and bool(following.strip())
    return len(line) > 100 or line.rstrip().endswith((".", ";")) or bool(re.match(r"\s*- ", line))


def _continues(line: str) -> bool:
    """A last cell that is not followed by a bar."""
    return 0 < len(line.strip()) <= 24 and bool(re.match(r"\s*(?:[($\d-]|N/A|EH/s|million)", line))


def _bar_mode(text: str, run: list[tuple[int, int]]) -> str:
    full = sum(1 for s, e in run if sum(1 for c in text[s:e].split("|") if c.strip()) >= 2)
    barred = sum(1 for s, e in run if text[s:e].strip(" |"))
    return "rows" if full * 2 >= barred and full else "cells"


def _cut(text: str, start: int, end: int) -> list[tuple[int, int]]:
    cells = []
    at = start
    for part in text[start:end].split("|"):
        cells.append((at, at + len(part)))
        at += len(part) + 1
    return [(s, e) for s, e in cells if text[s:e].strip()]


def _with_currency(value: Value, start: int) -> Value:
    q = value.quantity
    assert q is not None
    unit = "USD" if q.unit is None else q.unit
    return Value(
        value.kind,
        start,
        value.end,
        Quantity(q.value, unit, start, q.end, q.printed, q.negative, q.mark, q.footnote, q.decimals, "USD"),
    )


def _bar_row(text: str, start: int, end: int, style: str) -> list[Item]:
    """One table row on one line. Empty cells are kept as absent, so that sparse rows keep their places."""
    raw = []
    at = start
    for part in text[start:end].split("|"):
        raw.append((at, at + len(part)))
        at += len(part) + 1
    if raw and not text[slice(*raw[0])].strip() and len(raw) > 1:
        raw = raw[1:]
    if raw and not text[slice(*raw[-1])].strip():
        raw = raw[:-1]
    filled = [c for c in raw if text[slice(*c)].strip()]
    if not filled:
        return []
    if len(filled) == 1:
        return _cell(text, *filled[0], style)
    items = [_cell(text, s, e, style) for s, e in filled]
    names_only = not any(group[0].kind == "values" for group in items)
    items = [
        [footnoted(group[0])] if (i == 0 or names_only) and len(group) == 1 else group for i, group in enumerate(items)
    ]
    kinds: list[str] = [group[0].kind if len(group) == 1 else "row" for group in items]
    heads = [group[0] for group, kind in zip(items, kinds, strict=True) if kind == "head"]
    if (
        heads
        and all(k in ("head", "label") for k in kinds)
        and (kinds[0] in ("label", "head"))
        and all(k == "head" for k in kinds[1:])
    ):
        first_noise = kinds[0] == "head" and not _NOISE.sub("", text[slice(*filled[0])])
        columns = [c for h in heads for c in h.columns]
        return [Item("head", start, end, columns)] if columns or not first_noise else []
    months = [h for h in heads if any(c.period is not None for c in h.columns)]
    for n, (s, e) in enumerate(filled):
        if n and kinds[n] == "row" and e - s <= 40 and re.fullmatch(r"[^\d|]*20[1-4]\d\W*", text[s:e].strip()):
            kinds[n] = "label"  # `YTD 2023` is no label with the value 2,023
            items[n] = [Item("label", s, e, label=(text[s:e].strip(), s, e), cells=[(s, e)])]
    others = [c for c, k in zip(filled[1:], kinds[1:], strict=True) if k == "label"]
    if (
        months
        and others
        and len(filled) > 2
        and kinds[0] in ("label", "head")
        and all(k in ("head", "label") for k in kinds[1:])
        and len(others) <= len(heads)
        and all(e - s <= 40 for s, e in others)
    ):
        found: list[Column] = []
        for cell, kind, group in list(zip(filled, kinds, items, strict=True))[1 if kinds[0] == "label" else 0 :]:
            found.extend([Column(None, *cell)] if kind == "label" else group[0].columns)
        return [Item("head", start, end, found)]  # `YTD 2023`, `Target Q4 2025`: a column that is no period's own
    if kinds[0] == "label" and any(k == "values" for k in kinds[1:]):
        values = _values_of(text, raw, filled, items, kinds)
        if values is not None:
            label = items[0][0].label
            return [Item("row", start, end, label=label, values=values, cells=[filled[0]])]
    if len(kinds) > 1 and kinds[-1] == "label" and all(k == "values" for k in kinds[:-1]):
        label = items[-1][0].label
        values = [v for group in items[:-1] for v in group[0].values]
        return [Item("row", start, end, label=label, values=values, cells=[filled[-1]])]
    if kinds[0] == "head" and all(k == "values" for k in kinds[1:]):
        return [items[0][0], *(i for group in items[1:] for i in group)]
    return [
        Item("label", s, e, label=(text[s:e].strip(), s, e), cells=filled) if k == "label" else g[0]
        for (s, e), k, g in zip(filled, kinds, items, strict=True)
    ]


def footnoted(item: Item) -> Item:
    """`Bitcoin Held 2` above or beside its values: the digit is a footnote."""
    if item.kind != "row" or len(item.values) != 1 or item.label is None:
        return item
    q = item.values[0].quantity
    if q is None or q.unit is not None or q.decimals or not 0 < q.value < 10:
        return item
    if q.negative and q.end - q.start != len("(1)"):
        return item
    return Item("label", item.start, item.end, label=item.label, cells=item.cells)


def _values_of(
    text: str, raw: list[tuple[int, int]], filled: list[tuple[int, int]], items: list[list[Item]], kinds: list[str]
) -> list[Value] | None:
    """The values of a row, its `$` and `)` cells joined to their numbers, its empty cells kept."""
    by_cell = {cell: (group, kind) for cell, group, kind in zip(filled, items, kinds, strict=True)}
    out: list[Value] = []
    prefix: int | None = None
    for cell in raw[raw.index(filled[0]) + 1 :]:
        content = text[slice(*cell)].strip()
        if not content:
            out.append(Value("absent", cell[0], cell[1]))
            continue
        if re.fullmatch(r"[*†‡]+", content):
            continue
        if re.fullmatch(r"(?:(?:appx|approx)\.?\s*|[~≈])?(?:US)?\$", content, re.IGNORECASE):
            prefix = cell[0]
            continue
        if (
            re.fullmatch(r"\)?\s?(?:%|EH/s|BTC|J/TH|MW|million|\))\)?\*?", content, re.IGNORECASE)
            and out
            and out[-1].kind == "number"
        ):
            out[-1] = _joined(text, out[-1], cell[1])
            continue
        group, kind = by_cell[cell]
        if kind != "values":
            return None
        for value in group[0].values:
            out.append(_with_currency(value, prefix) if prefix is not None and value.quantity is not None else value)
            prefix = None
    return out


def _joined(text: str, value: Value, end: int) -> Value:
    """A number with the unit or the closing bracket that stands in the next cell."""
    q = value.quantity
    assert q is not None
    tail = text[value.end : end]
    negative = q.negative or ("(" in text[value.start : value.start + 3] and ")" in tail)
    unit = q.unit
    number = q.value
    for mark, name in (("%", "%"), ("EH/s", "EH/s"), ("BTC", "BTC"), ("J/TH", "J/TH"), ("MW", "power")):
        if mark.lower() in tail.lower() and unit is None:
            unit = name
    if "million" in tail.lower():
        number = (
            Decimal(int(number * 10**6)) if (number * 10**6) == (number * 10**6).to_integral_value() else number * 10**6
        )
    return Value(
        value.kind,
        value.start,
        end,
        Quantity(number, unit, q.start, end, q.printed, negative, q.mark, q.footnote, q.decimals, q.currency),
    )


def _cell(text: str, start: int, end: int, style: str) -> list[Item]:
    """A cell of a table; a cell with a line break may hold the end of one row and the start of the next."""
    content = text[start:end]
    if "\n" in content.strip():
        head = content.rstrip().rpartition("\n")[0]
        split = start + len(head)
        first = _whole(text, start, split, style)
        if first is not None and first.kind == "values" and _whole(text, start, end, style) is None:
            return [first, *_cell(text, split + 1, end, style)]
        if len(content) > 160:
            cut = start + content.rstrip().rfind("\n") + 1
            return [Item("break", start, cut), *_cell(text, cut, end, style)]
    return _line_items(text, start, end, style)


def _line_items(text: str, start: int, end: int, style: str) -> list[Item]:
    content = text[start:end]
    stripped = content.strip()
    if not stripped:
        return []
    start += len(content) - len(content.lstrip())
    end = start + len(stripped)
    if len(stripped) > 260 or (len(stripped) > 160 and stripped.endswith((".", ";"))):
        return [Item("break", start, end)]
    whole = _whole(text, start, end, style)
    if whole is not None:
        return [whole]
    mixed = _mixed(text, start, end, style)
    if mixed is not None:
        return [mixed]
    if len(stripped) > 160 or (stripped.endswith(".") and len(stripped.split()) > 9):
        return [Item("break", start, end)]
    return [Item("label", start, end, label=(stripped, start, end), cells=[(start, end)])]


_REMARK = re.compile(r"(?<=[\d%])\s*\([^()]*[^\W\d_]{3,}[^()]*\)\s*\d?\*?$")
"""`11,956 (10,608 adj)3`: a figure with a remark on it."""


def _whole(text: str, start: int, end: int, style: str) -> Item | None:
    """The stretch as nothing but values, or nothing but headings."""
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
    columns, glued = _columns(text, start, end)
    if not columns:
        return None
    rest = "".join(
        text[a:b] for a, b in zip([start, *(c.end for c in columns)], [*(c.start for c in columns), end], strict=True)
    )
    rest = re.sub(
        r"\b(?:actual|total|ytd|restated|revised|unaudited|three|six|nine|twelve)\b", "", rest, flags=re.IGNORECASE
    )
    if _NOISE.sub("", rest):
        between = [text[a.end : b.start] for a, b in pairwise(columns)]
        lead = text[start : columns[0].start]
        tail = text[columns[-1].end : end]
        tight = all(not _NOISE.sub("", gap) for gap in between) and not _NOISE.sub("", tail)
        if (
            len(columns) < 2
            or not tight
            or len(lead) > 70
            or re.search(r"[.;:]\s|\b(?:vs|and|to|from|versus)\b\.?\s*$", lead)
        ):
            return None
    return Item("head", start, end, columns, glued=glued)


def _marked(text: str, p: Period) -> Period:
    """`April 2025 1 March 2025`: the digit behind a year is a footnote's, not the day of the next month."""
    day = re.match(r"\d\s+", text[p.start : p.end])
    if p.kind != "date" or day is None or not re.search(r"20[1-4]\d\s+\Z", text[max(0, p.start - 8) : p.start]):
        return p
    return replace(p, kind="month", day=None, start=p.start + day.end())


def _columns(text: str, start: int, end: int) -> tuple[list[Column], bool]:
    found = [as_heading(_marked(text, p)) for p in periods(text, start, end)]
    if any(p.kind == "date" for p in found):
        return [], False
    columns = [Column(p, p.start, p.end) for p in found]
    at = start
    while (m := CHANGE.search(text, at, end)) is not None:
        over = max((c.end for c in columns if c.start < m.end() and m.start() < c.end), default=0)
        at = over if over > m.start() else m.end()  # `2024 YTD 2025`: the year belongs to the month before it
        if not over:
            columns.append(Column(None, m.start(), m.end()))
    columns.sort(key=lambda c: c.start)
    glued = any(
        a.end == b.start and a.period is not None and b.period is not None and text[b.start].isupper()
        for a, b in pairwise(columns)
    )
    if columns and all(c.period is None for c in columns):
        rest = _NOISE.sub("", CHANGE.sub("", text[start:end]))
        return ([], False) if rest else (columns, False)
    return columns, glued


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
    """Every number, dash and N/A of a stretch, in order."""
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
    return q is not None and q.unit is None and q.negative and q.end - q.start == len("(1)")


def _only_gap(gap: str, lead: bool) -> bool:
    if _GAP.fullmatch(gap):
        return True
    return lead and bool(
        re.fullmatch(r"\s*(?:approx(?:imately|\.)?|appx\.?|about|ca\.?|circa|~|约|約|>|<)\s*", gap, re.IGNORECASE)
    )


def _mixed(text: str, start: int, end: int, style: str) -> Item | None:
    """A label followed by its values on one line: the longest run of values at the end."""
    marks = _marks(text, start, end, style)
    dates = [p for p in periods(text, start, end) if p.year is not None or p.day is not None]
    marks = [v for v in marks if not any(p.start < v.end and v.start < p.end for p in dates)]
    if not marks:
        return None
    if not _only_gap(text[marks[-1].end : end], False):
        return None
    first = len(marks) - 1
    if any(
        a.quantity is not None
        and a.quantity.unit in _MEASURED
        and not _only_gap(text[a.end : b.start], False)
        and re.search(r"[^\W\d_]{2}", text[a.end : b.start])
        for a, b in pairwise(marks)
    ):
        return None  # a line with a figure of its own before the last label is two statements
    while first > 0 and _only_gap(text[marks[first - 1].end : marks[first].start], False):
        first -= 1
    label_end = marks[first].start
    label = text[start:label_end].rstrip(" :|")
    if not re.search(r"[^\W\d_]", label) or len(label) > 110 or len(label.split()) > 14:
        return None
    return Item(
        "row", start, end, label=(label, start, start + len(label)), values=marks[first:], cells=[(start, label_end)]
    )
