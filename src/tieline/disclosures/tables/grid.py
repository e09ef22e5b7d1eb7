"""A document as one stream of table cells: column headings, labels, values, rows.

Knows nothing of which label means what beyond asking `naming` where a card's label stands. Rows with bars, lines without
and one cell a line all come out as the same items, so that `layout` can read every shape of table.
"""

from __future__ import annotations

import re
from dataclasses import replace

from tieline.disclosures.finding import convert
from tieline.disclosures.lexicon.periods import periods
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.naming import classify
from tieline.disclosures.tables.cells import Item, LabelLine, PeriodColumn, Span, Value, footnoted, item_of

MAX_ITEMS = 10_000
"""Cells looked at; the longest filing exhibits seen have a tenth of it."""
_HEAD_CELL = 40
"""Characters of a heading's cell; what is longer is a sentence."""
_RULE, _PART, _YEAR_CELL = phrases("rule_line"), phrases("part_of_cell"), phrases("year_in_cell")


def items_of(text: str, style: str) -> list[Item]:
    """The cells and rows of a text, in order."""
    items: list[Item] = []
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        if "|" in line:
            items += [] if _is_rule(line) else _barred(text, start, end, style)
        elif (item := item_of(text, start, end, style)) is not None:
            items.append(item)
        if len(items) > MAX_ITEMS:
            break
        start = end + 1
    return _cards(_without_notes(items))


def _is_rule(line: str) -> bool:
    """The line under a heading in a table typed with bars: `|---|:--:|`. It is no row of dashes."""
    return _RULE.fullmatch(line) is not None and line.count("-") > 2 * line.count("|")


def _barred(text: str, start: int, end: int, style: str) -> list[Item]:
    """One line with bars: a head, a row, the names over a turned table, or else its cells one by one."""
    spans = [span for span in _between_bars(text, start, end) if not _PART.fullmatch(text, *span)]
    cells = {span: item for span in spans if (item := _cell(text, span, style)) is not None}
    if len(cells) > 1:
        noted = list(cells) if all(item.kind != "values" for item in cells.values()) else list(cells)[:1]
        cells |= {span: footnoted(cells[span]) for span in noted}
    items = list(cells.values())
    if len(items) < 2:
        return items
    kinds = "".join(item.kind[0] for item in items)
    whole = _head(kinds, list(cells), items) or _row(kinds, spans, cells)
    return items if whole is None else [replace(whole, start=start, end=end)]


def _head(kinds: str, spans: list[Span], items: list[Item]) -> Item | None:
    """The line as the head of a table: periods behind a corner, or the names over a turned table."""
    if re.fullmatch("lll+", kinds):
        return Item("names", 0, 0, labels=[label for item in items for label in item.labels])
    if not re.fullmatch("[hl]h+", kinds) and not _is_mixed_head(kinds, spans, items):
        return None
    columns = [c for item in items for c in item.columns or [PeriodColumn(None, item.start, item.end)]]
    return Item("head", 0, 0, columns if items[0].columns else columns[1:])


def _row(kinds: str, spans: list[Span], cells: dict[Span, Item]) -> Item | None:
    """The line as a label and its values, or as values and their label."""
    items = list(cells.values())
    if re.match("l.*v", kinds) and (values := _values_of(spans, cells)) is not None:
        return Item("row", 0, 0, labels=items[0].labels, values=values)
    last = footnoted(items[-1])
    if re.fullmatch("v+.", kinds) and last.kind == "label":
        return Item("row", 0, 0, labels=last.labels, values=[v for item in items for v in item.values])
    return None


def _cell(text: str, span: Span, style: str) -> Item | None:
    """What a cell holds; `YTD 2023` does not hold the value 2,023."""
    item = item_of(text, *span, style)
    if item is not None and item.kind == "row" and _YEAR_CELL.fullmatch(text[slice(*span)].strip()):
        label = LabelLine(text[item.start : item.end], item.start, item.end)
        return Item("label", item.start, item.end, labels=[label])
    return item


def _between_bars(text: str, start: int, end: int) -> list[Span]:
    """The cells between bars, without the empty ones before the first bar and behind the last."""
    spans: list[Span] = []
    for part in text[start:end].split("|"):
        at = spans[-1][1] + 1 if spans else start
        spans.append((at, at + len(part)))
    first = not text[slice(*spans[0])].strip()
    last = len(spans) > 1 and not text[slice(*spans[-1])].strip()
    return spans[first : len(spans) - last]


def _is_mixed_head(kinds: str, spans: list[Span], items: list[Item]) -> bool:
    """Months beside `YTD 2023` or `Target Q4 2025`, short cells that are no period's own: no more of them than months."""
    others = [end - start <= _HEAD_CELL for (start, end), kind in zip(spans[1:], kinds[1:], strict=True) if kind == "l"]
    dated = any(c.period is not None for item in items for c in item.columns)
    return re.fullmatch("[hl]{3,}", kinds) is not None and 0 < len(others) <= kinds.count("h") and all(others) and dated


def _values_of(spans: list[Span], cells: dict[Span, Item]) -> list[Value] | None:
    """The values behind a label, empty cells among them as absent ones; None where other words stand among them."""
    behind = spans[spans.index(next(iter(cells))) + 1 :]
    if any(span in cells and cells[span].kind != "values" for span in behind):
        return None
    return [v for span in behind for v in (cells[span].values if span in cells else [Value("absent", *span)])]


def _without_notes(items: list[Item]) -> list[Item]:
    """Labels whose footnote digit looks like a value: above a value, or above the first period of a turned table."""
    out: list[Item] = []
    turned = values_follow = False
    for item in reversed(items):
        if item.kind == "row" and (turned or values_follow):
            item = footnoted(item)
        turned = (turned and item.kind == "label") or (values_follow and len(item.columns) == 1)
        values_follow = item.kind == "values"
        out.append(item)
    return out[::-1]


def _cards(items: list[Item]) -> list[Item]:
    """Cards that print the value above its label: `212`, `BTC Mined`, `1,604`, `BTC Held`.

    A run of values and labels in turn that begins with a value is read so where more labels name a field for the
    value above them than for the value below; where both readings name as many, the run is left out.
    """
    out: list[Item] = []
    i = 0
    while i < len(items):
        before = items[i - 1] if i else None
        behind_figures = before is not None and before.kind == "values" and not all(v.is_percent for v in before.values)
        run = [] if behind_figures else _card_run(items, i)
        out += _dealt(run, before) if run else [items[i]]
        i += len(run) or 1
    return out


def _card_run(items: list[Item], i: int) -> list[Item]:
    """A run of one value, one label, one value, one label; of two cards or more."""
    at = i
    while at + 1 < len(items) and _is_card(items[at], footnoted(items[at + 1])):
        at += 2
    if at < len(items) and items[at].kind == "values":
        at -= 2  # the last label has a value of its own below it
    return [footnoted(item) for item in items[i:at]] if at - i >= 4 else []


def _is_card(value: Item, label: Item) -> bool:
    one = value.kind == "values" and [v.kind for v in value.values] == ["number"]
    return one and label.kind == "label" and len(label.labels[0].text) <= 60


def _dealt(run: list[Item], before: Item | None) -> list[Item]:
    """A run of cards, each value with its label."""
    above = sum(map(_fits, run[1::2], run[::2]))
    below = sum(map(_fits, run[1::2], run[2::2]))
    if not above or above < below or (before is not None and before.kind == "label" and _heads(before, run[0])):
        return run
    if above == below:
        return [Item("break", run[0].start, run[-1].end)]
    return [
        Item("row", value.start, label.end, labels=label.labels, values=value.values)
        for value, label in zip(run[::2], run[1::2], strict=True)
    ]


def _heads(label: Item, value: Item) -> bool:
    """Does a line above a value name its field? One that names a month or is long heads what follows."""
    line = label.labels[0].text
    return len(line) <= 60 and not periods(line) and _fits(label, value)


def _fits(label: Item, value: Item) -> bool:
    """Does the label name a field for a value of this unit?"""
    q = value.values[0].quantity
    meaning = classify(label.labels[0].text, q.unit) if q is not None else None
    return q is not None and meaning is not None and not isinstance(convert(meaning.field, q, meaning.unit), str)
