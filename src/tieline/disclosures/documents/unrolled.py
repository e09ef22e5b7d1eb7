"""A table that a page's copy printed as one line, set out again with a cell on each line.

    Metric July 2025 June 2025 Month/Month Bitcoin Produced 41 40 3% Bitcoin Held 1 300 280 7%

Knows nothing of fields. The head says how many months and changes stand in a row; a row is set out only where its cells
are as many, one way, footnotes' digits aside. What does not fit stays as it is.
"""

from __future__ import annotations

import re

from tieline.disclosures.lexicon.periods import periods

_CHANGE = (
    r"(?:(?:month|year|quarter)[/-](?:over[/-])?(?:month|year|quarter)|[MYQ]/[MYQ]|[MYQ]o[MYQ]|%|% ?change|change)"
)
_CHANGES = re.compile(rf"\s*((?:{_CHANGE}\s*)*)", re.IGNORECASE)
_UNIT = r"(?:\s?(?:million|billion|thousand|EH/s|PH/s|J/TH|W/TH|BTC|MW|%))"
_VALUE = re.compile(rf"(?:-|N/?A|\(?[-+]?\$?\d[\d,]*(?:\.\d+)?\)?{_UNIT}?\d?)(?=\s|$)")
_LABEL = re.compile(r"[A-Z][A-Za-z][^\d$\n]{1,70}?(?:\d(?:,\d)?)?(?=\s+[-(]?\$?\d)")
_MARK = re.compile(r"\d(?:,\d)?")
_LEAST = 3
"""Rows by which a line is known as a table."""


def unrolled(text: str) -> str:
    """The text with such tables set out."""
    if not re.search(r"20\d\d [A-Z][a-z]{2,8} 20\d\d [^\n]{80}", text):
        return text
    return "\n".join(_set_out(line) if len(line) > 120 else line for line in text.split("\n"))


def _set_out(line: str) -> str:
    heads = [p for p in periods(line) if p.kind == "month" and p.year is not None]
    first = next((k for k in range(len(heads) - 1) if line[heads[k].end : heads[k + 1].start] == " "), None)
    if first is None:
        return line
    last = first + 1
    while last + 1 < len(heads) and line[heads[last].end : heads[last + 1].start] == " ":
        last += 1
    changes = _CHANGES.match(line, heads[last].end)
    assert changes is not None, "it may be empty"
    names = re.findall(_CHANGE, changes[1], re.IGNORECASE)
    months = heads[first : last + 1]
    rows, end = _rows(line, changes.end(), len(months), len(names))
    if len(rows) < _LEAST:
        return line
    head = [line[p.start : p.end] for p in months] + names
    before = re.sub(r"\s+(?=(?:Key )?Metrics?\s*$)", "\n", line[: months[0].start].rstrip())
    return "\n".join([before, *head, *(cell for row in rows for cell in row), line[end:].lstrip()])


def _rows(line: str, at: int, months: int, changes: int) -> tuple[list[list[str]], int]:
    """Labels with their cells, one after the other, as far as they fit; and where they end."""
    rows: list[list[str]] = []
    while (label := _LABEL.match(line, at)) is not None:
        cells, end = _cells(line, label.end())
        row = _without_marks(cells, months, changes)
        if row is None:
            break
        rows.append([label[0], *row])
        at = end
    return rows, at


def _cells(line: str, at: int) -> tuple[list[str], int]:
    cells: list[str] = []
    while (m := re.compile(rf"\s*({_VALUE.pattern})").match(line, at)) is not None:
        cells.append(m[1])
        at = m.end()
    return cells, at + len(line[at:]) - len(line[at:].lstrip())


def _without_marks(cells: list[str], months: int, changes: int) -> list[str] | None:
    """The cells of a row without footnotes' digits between them; None where there is more than one way."""
    spare = len(cells) - months - changes
    marks = [i for i, cell in enumerate(cells) if _MARK.fullmatch(cell)]
    if spare not in (0, len(marks)) or spare < 0 or not all(c.endswith("%") for c in cells[len(cells) - changes :]):
        return None
    return [cell for i, cell in enumerate(cells) if not spare or i not in marks]
