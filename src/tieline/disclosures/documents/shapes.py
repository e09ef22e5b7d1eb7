"""Tables of a text in one shape: a row to a line with bars between its cells, or a cell to a line.

Copies of pages break them otherwise: separated values, a wiki's markup, cells broken over lines, a currency's sign in a
cell of its own, a whole table in one line. Knows nothing of fields. What fits in two ways stays as it is.
"""

from __future__ import annotations

import csv
import re
from itertools import groupby

from tieline.disclosures.lexicon.words import phrases

_SIGN_CELL, _UNIT_CELL, _LEADERS = phrases("sign_cell"), phrases("unit_cell"), phrases("leaders")
_BARRED_LINES, _BROKEN_HEAD = phrases("barred_lines"), phrases("broken_head")
_HEAD_IN_LINE, _ROW_IN_LINE = phrases("head_in_line"), phrases("row_in_line")
_PAIR_IN_LINE, _PAIRS_IN_LINE = phrases("pair_in_line"), phrases("pairs_in_line")
_LONGEST = 1000
"""Characters of a line of separated values."""
_LEAST = 3
"""Rows by which lines of separated values, or a line, are known as a table."""


def set_out(text: str) -> str:
    """The text with the rows of its tables in lines."""
    text = _separated(re.sub(r"[^\n]{120,}", _unrolled, _LEADERS.sub(" | ", text)))
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
        is_table = fields > 1 and len(block) >= _LEAST and _is_dated(block)
        out += (" | ".join(line[1:]) if is_table else line[0] for line in block)
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


def _unrolled(line: re.Match[str]) -> str:
    """A table that fills one line, its head and each of its rows in a line of their own; as it is if none stands in it.

    Metric July 2025 June 2025 Month/Month Bitcoin Produced 41 40 3% Bitcoin Held 1 300 280 7%
    """
    head = _HEAD_IN_LINE.search(line[0])
    if head is None:
        return _PAIRS_IN_LINE.sub(lambda run: "\n" + _PAIR_IN_LINE.sub(r"\n\1", run[0]) + "\n", line[0])
    rows, at = [], head.end()
    while (row := _ROW_IN_LINE.match(line[0], at)) is not None:
        rows.append(row[1])
        at = row.end()
    if len(rows) < _LEAST:
        return line[0]
    return "\n".join([line[0][: head.start()].rstrip(), head[0], *rows, line[0][at:].lstrip()])
