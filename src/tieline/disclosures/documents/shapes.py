"""Tables of a text in one shape: a row to a line with bars between its cells, or a cell to a line.

Copies of pages break them otherwise: separated values, a wiki's markup, cells broken over lines, a currency's sign in a
cell of its own, a whole table in one line. Knows nothing of fields. What fits in two ways stays as it is.
"""

from __future__ import annotations

import csv
import re
from itertools import groupby, pairwise

from tieline.disclosures.lexicon.periods import periods

_SIGN_CELL = re.compile(r"(?<=[|\n])( *(?:(?:appx|approx)\.? *|[~≈])?(?:US)?\$)\s*\|\s*(?=[\d(.~])", re.IGNORECASE)
"""A currency's sign in a cell of its own."""
_UNIT_CELL = re.compile(
    r"(?<!20[1-4]\d)((?:[\d)]|million)[*†‡]*) *\| *"
    r"(\)? ?(?:%|EH/s|BTC|J/TH|MW|million|\))\)?\*?)(?= *(?:\||\n|\Z))",
    re.IGNORECASE,
)
"""A unit, or a bracket's end, in a cell of its own; behind a year it heads a column."""
_BETWEEN_BARS = r"(?![ \t]*- )[^\n|]{1,100}(?<![.;])\n|[ \t]*\n(?=[ \t]*\n|[^\n]*\|)"
_BARRED_LINES = re.compile(rf"(?m)^[^\n]*\|[^\n]*(?:\n(?:{_BETWEEN_BARS}){{0,3}}[^\n]*\|[^\n]*)*")
"""Lines with bars, at most three others apart, none of them a paragraph or a bullet."""
_BREAK = r"(?: {0,2}\n){1,3} {0,2}"
_BROKEN_HEAD = re.compile(
    rf"(?:(?:One Month(?: Ended)?{_BREAK})?[A-Z][a-z]{{2,8}} \d\d?,{_BREAK}20\d\d(?:{_BREAK}|\Z)){{2,}}"
)
"""A head of dates each of which fills several lines: `One Month`, `July 31,`, `2025`."""
_LONGEST = 1000
"""Characters of a line of separated values."""
_LEAST = 3
"""Rows by which lines of separated values, or a line, are known as a table."""


def set_out(text: str) -> str:
    """The text with the rows of its tables in lines."""
    text = _separated(_unrolled(text))
    if "\n|-\n" in text and ("||" in text or "!!" in text):  # a table in a wiki's markup
        text = re.sub(r"(?m)^!", "|", text).replace("!!", "|").replace("||", "|")
    if "|" in text:
        text = _UNIT_CELL.sub(r"\1 \2", _SIGN_CELL.sub(r"\1", text))
        text = _BARRED_LINES.sub(_cell_a_line, text)
    return _BROKEN_HEAD.sub(lambda m: re.sub(r"\s*\n\s*", "  ", m[0].rstrip()) + "\n", text)


def _cell_a_line(run: re.Match[str]) -> str:
    """Cells that a copy broke over lines (`|`, `Bitcoin`, `Produced`, `|`, `425`), each in a line of its own."""
    lines = [line for line in run[0].split("\n") if line.strip(" |")]
    rows = sum(len([cell for cell in line.split("|") if cell.strip()]) > 1 for line in lines)
    if rows and rows * 2 >= len(lines):
        return run[0]
    return "\n".join(" ".join(cell.split()) for cell in run[0].split("|"))


def _separated(text: str) -> str:
    """Comma or semicolon separated lines: three or more with as many fields each, dated at the top or the side."""
    out: list[str] = []
    for fields, run in groupby(map(_fields, text.split("\n")), key=len):
        block = list(run)
        if fields > 1 and len(block) >= _LEAST and _is_dated(block):
            out += (" | ".join(line[1:]) for line in block)
        else:
            out += (line[0] for line in block)
    return "\n".join(out)


def _fields(line: str) -> list[str]:
    """A line and its separated fields; one with bars, without a separator or of a paragraph's length has none."""
    separator = ";" if ";" in line else ","
    if "|" in line or separator not in line or len(line) > _LONGEST:
        return [line]
    return [line, *next(csv.reader([line], delimiter=separator), [])]


def _is_dated(block: list[list[str]]) -> bool:
    """Are the lines a table: no field like a sentence's, months over its columns or beside its rows?"""
    plain = all(len(field) <= 60 and not field.startswith(" ") for line in block for field in line[1:])
    return plain and (_all_months(block[0][2:]) or _all_months([line[1] for line in block[1:]]))


def _all_months(cells: list[str]) -> bool:
    """Months, but for columns of changes."""
    dated = [c for c in cells if re.search(r"20[1-4]\d|\b[A-Z][a-z]{2}[- ]'?\d\d\b", c)]
    return bool(dated) and all(c in dated or not re.search(r"\d", c) for c in cells)


_CHANGE = (
    r"(?:(?:month|year|quarter)[/-](?:over[/-])?(?:month|year|quarter)|[MYQ]/[MYQ]|[MYQ]o[MYQ]|%|% ?change|change)"
)
_CHANGES = re.compile(rf"\s*((?:{_CHANGE}\s*)*)", re.IGNORECASE)
_UNIT = r"(?:\s?(?:million|billion|thousand|EH/s|PH/s|J/TH|W/TH|BTC|MW|%))"
_VALUE = rf"(?:-|N/?A|\(?[-+]?\$?\d[\d,]*(?:\.\d+)?\)?{_UNIT}?\d?)"
_CELLS = re.compile(rf"(?:\s*{_VALUE}(?=\s|$))+\s*")
_LABEL = re.compile(r"[A-Z][A-Za-z][^\d$\n]{1,70}?(?:\d(?:,\d)?)?(?=\s+[-(]?\$?\d)")
_MARK = re.compile(r"\d(?:,\d)?")


def _unrolled(text: str) -> str:
    """The text with tables that fill one line set out again, a cell on each line.

    Metric July 2025 June 2025 Month/Month Bitcoin Produced 41 40 3% Bitcoin Held 1 300 280 7%
    """
    if not re.search(r"20\d\d [A-Z][a-z]{2,8} 20\d\d [^\n]{80}", text):
        return text
    return "\n".join(_unrolled_line(line) if len(line) > 120 else line for line in text.split("\n"))


def _unrolled_line(line: str) -> str:
    """The head says how many months and changes stand in a row; rows are set out as long as their cells are as many."""
    heads = [p for p in periods(line) if p.kind == "month" and p.year is not None]
    follows = [line[a.end : b.start] == " " for a, b in pairwise(heads)]
    if True not in follows:
        return line
    first = follows.index(True)
    months = heads[first : [*follows, False].index(False, first) + 1]
    changes = _CHANGES.match(line, months[-1].end)
    assert changes is not None, "it may be empty"
    head = [line[p.start : p.end] for p in months] + re.findall(_CHANGE, changes[1], re.IGNORECASE)
    rows, at = [], changes.end()
    while (label := _LABEL.match(line, at)) is not None and (cells := _CELLS.match(line, label.end())) is not None:
        row = _without_marks(re.findall(rf"{_VALUE}(?=\s|$)", cells[0]), len(months), len(head))
        if row is None:
            break
        rows.append([label[0], *row])
        at = cells.end()
    if len(rows) < _LEAST:
        return line
    before = re.sub(r"\s+(?=(?:Key )?Metrics?\s*$)", "\n", line[: months[0].start].rstrip())
    return "\n".join([before, *head, *(cell for row in rows for cell in row), line[at:]])


def _without_marks(cells: list[str], months: int, columns: int) -> list[str] | None:
    """The cells of a row without footnotes' digits between them; None where there is more than one way."""
    spare = len(cells) - columns
    own = [cell for cell in cells if not _MARK.fullmatch(cell)]
    row = own if spare else cells
    if len(row) != columns or not all(cell.endswith("%") for cell in row[months:]):
        return None
    return row
