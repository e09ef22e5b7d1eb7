"""A document as one stream of cells: column headings, labels, values, rows.

Knows nothing of which label means what. Lines, barred lines and one-cell-a-line runs all come out as the same
items, so that one small machine can read every shape of table.
"""

from __future__ import annotations

import re
from decimal import Decimal

from tieline.disclosures.lexicon.numbers import PrintedNumber
from tieline.disclosures.tables.stretches import NOISE, Item, PeriodColumn, Value, mixed_of, whole_of

MAX_ITEMS = 10_000
"""Cells looked at; the longest filing exhibits seen have a tenth of it."""


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
        PrintedNumber(q.value, unit, start, q.end, q.printed, q.negative, q.mark, q.footnote, q.decimals, "USD"),
    )


def _bar_row(text: str, start: int, end: int, style: str) -> list[Item]:
    """One table row on one line. Empty cells are kept as absent, so that sparse rows keep their places."""
    raw = _bars(text, start, end)
    filled = [c for c in raw if text[slice(*c)].strip()]
    if not filled:
        return []
    if len(filled) == 1:
        return _cell(text, *filled[0], style)
    items, kinds = _kinds(text, filled, style)
    if (head := _head_row(text, start, end, filled, items, kinds)) is not None:
        return head
    label = items[0][0].label
    if kinds[0] == "label" and any(k == "values" for k in kinds[1:]):
        values = _values_of(text, raw, filled, items, kinds)
        if values is not None:
            return [Item("row", start, end, label=label, values=values, cells=[filled[0]])]
    last = footnoted(items[-1][0])
    if len(kinds) > 1 and last.kind == "label" and all(k == "values" for k in kinds[:-1]):
        values = [v for group in items[:-1] for v in group[0].values]
        return [Item("row", start, end, label=last.label, values=values, cells=[filled[-1]])]
    if kinds[0] == "head" and all(k == "values" for k in kinds[1:]):
        return [items[0][0], *(i for group in items[1:] for i in group)]
    return [
        Item("label", s, e, label=(text[s:e].strip(), s, e), cells=filled) if k == "label" else g[0]
        for (s, e), k, g in zip(filled, kinds, items, strict=True)
    ]


def _kinds(text: str, filled: list[tuple[int, int]], style: str) -> tuple[list[list[Item]], list[str]]:
    """What each filled cell of a row holds, and its kind."""
    items = [_cell(text, s, e, style) for s, e in filled]
    names_only = not any(group[0].kind == "values" for group in items)
    items = [
        [footnoted(group[0])] if (i == 0 or names_only) and len(group) == 1 else group for i, group in enumerate(items)
    ]
    kinds: list[str] = [group[0].kind if len(group) == 1 else "row" for group in items]
    return items, kinds


def _head_row(
    text: str, start: int, end: int, filled: list[tuple[int, int]], items: list[list[Item]], kinds: list[str]
) -> list[Item] | None:
    """The row as the head of a table, or None. A cell such as `YTD 2023` is made a label in `items` and `kinds`."""
    heads = [group[0] for group, kind in zip(items, kinds, strict=True) if kind == "head"]
    if heads and kinds[0] in ("label", "head") and all(k == "head" for k in kinds[1:]):
        first_noise = kinds[0] == "head" and not NOISE.sub("", text[slice(*filled[0])])
        columns = [c for h in heads for c in h.columns]
        return [Item("head", start, end, columns)] if columns or not first_noise else []
    for n, (s, e) in enumerate(filled):
        if n and kinds[n] == "row" and e - s <= _HEAD_CELL and _YEAR_CELL.fullmatch(text[s:e].strip()):
            kinds[n] = "label"  # `YTD 2023` is no label with the value 2,023
            items[n] = [Item("label", s, e, label=(text[s:e].strip(), s, e), cells=[(s, e)])]
    if len(filled) > 2 and any(c.period is not None for h in heads for c in h.columns):
        return _mixed_head(start, end, filled, items, kinds)
    return None


def _mixed_head(
    start: int, end: int, filled: list[tuple[int, int]], items: list[list[Item]], kinds: list[str]
) -> list[Item] | None:
    """Months beside `YTD 2023` or `Target Q4 2025`, a column that is no period's own; None where cells are no heads."""
    others = [c for c, k in zip(filled[1:], kinds[1:], strict=True) if k == "label"]
    if not others or len(others) > kinds.count("head") or any(e - s > _HEAD_CELL for s, e in others):
        return None
    if any(k not in ("head", "label") for k in kinds):
        return None
    found: list[PeriodColumn] = []
    for cell, kind, group in list(zip(filled, kinds, items, strict=True))[1 if kinds[0] == "label" else 0 :]:
        found.extend([PeriodColumn(None, *cell)] if kind == "label" else group[0].columns)
    return [Item("head", start, end, found)]


_HEAD_CELL = 40  # characters; what is longer is a sentence
_YEAR_CELL = re.compile(r"[^\d|]*20[1-4]\d\W*")


def _bars(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The cells between bars, without the empty ones before the first bar and behind the last."""
    raw: list[tuple[int, int]] = []
    at = start
    for part in text[start:end].split("|"):
        raw.append((at, at + len(part)))
        at += len(part) + 1
    if raw and not text[slice(*raw[0])].strip() and len(raw) > 1:
        raw = raw[1:]
    if raw and not text[slice(*raw[-1])].strip():
        raw = raw[:-1]
    return raw


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
        PrintedNumber(number, unit, q.start, end, q.printed, negative, q.mark, q.footnote, q.decimals, q.currency),
    )


def _cell(text: str, start: int, end: int, style: str) -> list[Item]:
    """A cell of a table; a cell with a line break may hold the end of one row and the start of the next."""
    content = text[start:end]
    if "\n" in content.strip():
        head = content.rstrip().rpartition("\n")[0]
        split = start + len(head)
        first = whole_of(text, start, split, style)
        if first is not None and first.kind == "values" and whole_of(text, start, end, style) is None:
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
    whole = whole_of(text, start, end, style)
    if whole is not None:
        return [whole]
    mixed = mixed_of(text, start, end, style)
    if mixed is not None:
        return [mixed]
    if len(stripped) > 160 or (stripped.endswith(".") and len(stripped.split()) > 9):
        return [Item("break", start, end)]
    return [Item("label", start, end, label=(stripped, start, end), cells=[(start, end)])]
