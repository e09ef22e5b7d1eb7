"""A document as one stream of cells: column headings, labels, values, rows.

Knows nothing of which label means what. Lines, barred lines and one-cell-a-line runs all come out as the same
items, so that one small machine can read every shape of table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tieline.disclosures.lexicon.numbers import exact
from tieline.disclosures.tables.spans import NOISE, Item, PeriodColumn, Value, mixed_of, whole_of

MAX_ITEMS = 10_000
"""Cells looked at; the longest filing exhibits seen have a tenth of it."""
MAX_RUN = 5_000
"""Barred lines of one run that a line above may still head."""
_HEAD_CELL = 40  # characters; what is longer is a sentence
_CURRENCY = re.compile(r"\s*(?:(?:appx|approx)\.?\s*|[~≈])?(?:US)?\$\s*", re.IGNORECASE)
_BEHIND = re.compile(r"\)?\s?(?:%|EH/s|BTC|J/TH|MW|million|\))\)?\*?", re.IGNORECASE)
_YEAR_CELL = re.compile(r"[^\d|]*20[1-4]\d\W*")
_LAST_CELL = re.compile(r"\s*(?:[($\d-]|N/A|EH/s|million)")
_BEHIND_UNITS = (("%", "%"), ("eh/s", "EH/s"), ("btc", "BTC"), ("j/th", "J/TH"), ("mw", "power"))
Span = tuple[int, int]


def items_of(text: str, style: str) -> list[Item]:
    items: list[Item] = []
    for run, mode in _blocks(text):
        if len(items) > MAX_ITEMS:
            break
        if mode == "line":
            items.extend(_line_items(text, *run[0], style))
        elif mode == "rows":
            for start, end in run:
                items.extend(_bar_row(text, start, end, style))
        else:
            items.extend(_cell_run(text, _cut(text, run[0][0], run[-1][1]), style))
    return items


def _cell_run(text: str, cells: list[Span], style: str) -> list[Item]:
    """Barred cells that stand one a line; a `$` of its own belongs to the next."""
    items: list[Item] = []
    prefix: int | None = None
    for start, end in cells:
        if not text[start:end].strip():
            continue
        if _CURRENCY.fullmatch(text, start, end):
            prefix = start
            continue
        cell = _cell(text, start, end, style)
        if prefix is not None and cell and cell[0].values and cell[0].values[0].quantity is not None:
            cell[0].values[0] = _with_currency(cell[0].values[0], prefix)
        prefix = None
        items.extend(cell)
    return items


def _blocks(text: str) -> list[tuple[list[Span], str]]:
    """Lines, or runs of lines that hold bars, with the way in which the run is to be cut."""
    lines: list[Span] = []
    for content in text.split("\n"):
        at = lines[-1][1] + 1 if lines else 0
        lines.append((at, at + len(content)))
    out: list[tuple[list[Span], str]] = []
    i = 0
    while i < len(lines):
        if "|" not in text[slice(*lines[i])]:
            out.append(([lines[i]], "line"))
            i += 1
            continue
        last = _run_end(text, lines, i)
        run = [line for line in lines[i : last + 1] if not _ruled(text[slice(*line)])] or [lines[i]]
        mode = _bar_mode(text, run)
        if mode == "cells":
            if out and len(run) < MAX_RUN and _heads_run(text, *out[-1]):
                run = [out.pop()[0][0], *run]
            for cell in lines[last + 1 : last + 3]:  # a last cell that is not followed by a bar
                if not 0 < len(text[slice(*cell)].strip()) <= 24 or not _LAST_CELL.match(text, *cell):
                    break
                run.append(cell)
                last += 1
        out.append((run, mode))
        i = last + 1
    return out


def _run_end(text: str, lines: list[Span], i: int) -> int:
    """The last line with a bar of the run that begins at line i."""
    last = j = i
    while j < len(lines) and j - last <= 3:
        content = text[slice(*lines[j])]
        if "|" in content:
            last = j
        elif _ends_run(content, text[slice(*lines[j + 1])] if j + 1 < len(lines) else ""):
            break
        j += 1
    return last


def _heads_run(text: str, run: list[Span], mode: str) -> bool:
    """A short line right above cells is the first of them."""
    line = text[slice(*run[0])]
    return mode == "line" and 0 < len(line.strip()) <= 40 and not line.rstrip().endswith((".", ":"))


def _ruled(line: str) -> bool:
    """The line under a heading in a table typed with bars: `|---|:--:|`. It is no row of dashes."""
    return bool(re.fullmatch(r"[\s|:=+_-]*-{2,}[\s|:=+_-]*", line)) and line.count("-") > 2 * line.count("|")


def _ends_run(line: str, following: str) -> bool:
    """A paragraph, a bullet, or a blank line with no bar after it ends a run of barred lines."""
    if not line.strip():
        return "|" not in following and bool(following.strip())
    return len(line) > 100 or line.rstrip().endswith((".", ";")) or bool(re.match(r"\s*- ", line))


def _bar_mode(text: str, run: list[Span]) -> str:
    full = sum(1 for s, e in run if sum(1 for c in text[s:e].split("|") if c.strip()) >= 2)
    barred = sum(1 for s, e in run if text[s:e].strip(" |"))
    return "rows" if full * 2 >= barred and full else "cells"


def _cut(text: str, start: int, end: int) -> list[Span]:
    """The cells between bars, empty ones included."""
    cells: list[Span] = []
    for part in text[start:end].split("|"):
        at = cells[-1][1] + 1 if cells else start
        cells.append((at, at + len(part)))
    return cells


def _with_currency(value: Value, start: int) -> Value:
    q = value.quantity
    assert q is not None
    unit = "USD" if q.unit is None else q.unit
    return Value(value.kind, start, value.end, replace(q, unit=unit, start=start, currency="USD"))


@dataclass(slots=True)
class _Cell:
    """One filled cell of a row with what it holds."""

    span: Span
    items: list[Item]

    @property
    def kind(self) -> str:
        return self.items[0].kind if len(self.items) == 1 else "row"

    @property
    def short(self) -> bool:
        return self.span[1] - self.span[0] <= _HEAD_CELL

    @property
    def columns(self) -> list[PeriodColumn]:
        return self.items[0].columns if self.kind == "head" else []


def _bar_row(text: str, start: int, end: int, style: str) -> list[Item]:
    """One table row on one line. Empty cells are kept as absent, so that sparse rows keep their places."""
    raw = _bars(text, start, end)
    cells = [_Cell(c, _cell(text, *c, style)) for c in raw if text[slice(*c)].strip()]
    if len(cells) < 2:
        return cells[0].items if cells else []
    names_only = all(cell.items[0].kind != "values" for cell in cells)
    for cell in cells if names_only else cells[:1]:
        if len(cell.items) == 1:
            cell.items = [footnoted(cell.items[0])]
    for reading in (_head_row, _mixed_head, _labelled, _values_first):
        row = reading(text, (start, end), raw, cells)
        if row is not None:
            return row
    spans = [cell.span for cell in cells]
    return [_label(text, cell, spans) if cell.kind == "label" else cell.items[0] for cell in cells]


def _label(text: str, cell: _Cell, cells: list[Span]) -> Item:
    return Item("label", *cell.span, label=(text[slice(*cell.span)].strip(), *cell.span), cells=cells)


def _head_row(text: str, span: Span, raw: list[Span], cells: list[_Cell]) -> list[Item] | None:
    """The row as the head of a table: a label or a period, and periods."""
    first, *rest = cells
    if first.kind not in ("label", "head") or any(cell.kind != "head" for cell in rest):
        return None
    columns = [c for cell in cells for c in cell.columns]
    first_noise = first.kind == "head" and not NOISE.sub("", text[slice(*first.span)])
    return [Item("head", *span, columns)] if columns or not first_noise else []


def _mixed_head(text: str, span: Span, raw: list[Span], cells: list[_Cell]) -> list[Item] | None:
    """Months beside `YTD 2023` or `Target Q4 2025`, a column that is no period's own; None where cells are no heads.

    A cell such as `YTD 2023` is made a label: it does not hold the value 2,023.
    """
    first, *rest = cells
    for cell in rest:
        if cell.kind == "row" and cell.short and _YEAR_CELL.fullmatch(text[slice(*cell.span)].strip()):
            cell.items = [_label(text, cell, [cell.span])]
    kinds = [cell.kind for cell in cells]
    others = [cell.short for cell in rest if cell.kind == "label"]
    if len(cells) < 3 or not set(kinds) <= {"head", "label"} or not 0 < len(others) <= kinds.count("head"):
        return None
    columns = [*first.columns, *(column for cell in rest for column in _columns_of(cell))]
    return [Item("head", *span, columns)] if all(others) and any(c.period is not None for c in columns) else None


def _columns_of(cell: _Cell) -> list[PeriodColumn]:
    return cell.columns if cell.kind == "head" else [PeriodColumn(None, *cell.span)]


def _labelled(text: str, span: Span, raw: list[Span], cells: list[_Cell]) -> list[Item] | None:
    """A label and its values."""
    first, *rest = cells
    if first.kind != "label" or all(cell.kind != "values" for cell in rest):
        return None
    values = _values_of(text, raw, cells)
    return (
        None if values is None else [Item("row", *span, label=first.items[0].label, values=values, cells=[first.span])]
    )


def _values_first(text: str, span: Span, raw: list[Span], cells: list[_Cell]) -> list[Item] | None:
    """Values and then their label; or a period and its values, as in a turned table."""
    *values, last = cells
    label = footnoted(last.items[0])
    if label.kind == "label" and all(cell.kind == "values" for cell in values):
        printed = [v for cell in values for v in cell.items[0].values]
        return [Item("row", *span, label=label.label, values=printed, cells=[last.span])]
    if cells[0].kind == "head" and all(cell.kind == "values" for cell in cells[1:]):
        return [cells[0].items[0], *(item for cell in cells[1:] for item in cell.items)]
    return None


def _bars(text: str, start: int, end: int) -> list[Span]:
    """The cells between bars, without the empty ones before the first bar and behind the last."""
    raw = _cut(text, start, end)
    first = len(raw) > 1 and not text[slice(*raw[0])].strip()
    last = not text[slice(*raw[-1])].strip()
    return raw[first : len(raw) - last]


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


def _values_of(text: str, raw: list[Span], cells: list[_Cell]) -> list[Value] | None:
    """The values of a row, its `$` and `)` cells joined to their numbers, its empty cells kept."""
    out: list[Value] = []
    prefix: int | None = None
    filled = {cell.span: cell for cell in cells}
    for cell in raw[raw.index(cells[0].span) + 1 :]:
        content = text[slice(*cell)].strip()
        if not content:
            out.append(Value("absent", *cell))
        elif _CURRENCY.fullmatch(content):
            prefix = cell[0]
        elif out and out[-1].kind == "number" and _BEHIND.fullmatch(content):
            out[-1] = _joined(text, out[-1], cell[1])
        elif content.strip("*†‡"):
            if filled[cell].kind != "values":
                return None
            for value in filled[cell].items[0].values:
                priced = prefix is not None and value.quantity is not None
                out.append(_with_currency(value, prefix) if priced and prefix is not None else value)
                prefix = None
    return out


def _joined(text: str, value: Value, end: int) -> Value:
    """A number with the unit or the closing bracket that stands in the next cell."""
    q = value.quantity
    assert q is not None
    tail = text[value.end : end].lower()
    negative = q.negative or ("(" in text[value.start : value.start + 3] and ")" in tail)
    unit = q.unit or next((name for mark, name in _BEHIND_UNITS if mark in tail), None)
    number = exact(q.value * 10**6) if "million" in tail else q.value
    return Value(value.kind, value.start, end, replace(q, value=number, unit=unit, end=end, negative=negative))


def _cell(text: str, start: int, end: int, style: str) -> list[Item]:
    """A cell of a table; a cell with a line break may hold the end of one row and the start of the next."""
    content = text[start:end]
    if "\n" in content.strip():
        split = start + content.rstrip().rfind("\n")
        first = whole_of(text, start, split, style)
        if first is not None and first.kind == "values" and whole_of(text, start, end, style) is None:
            return [first, *_cell(text, split + 1, end, style)]
        if len(content) > 160:
            return [Item("break", start, split + 1), *_cell(text, split + 1, end, style)]
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
    items = whole_of(text, start, end, style) or mixed_of(text, start, end, style)
    if items is not None:
        return [items]
    if len(stripped) > 160 or (stripped.endswith(".") and len(stripped.split()) > 9):
        return [Item("break", start, end)]
    return [Item("label", start, end, label=(stripped, start, end), cells=[(start, end)])]
