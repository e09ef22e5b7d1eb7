"""Table rows whose cells ran together: `Bitcoin Held17,2757,2656,696 0%9%`.

Knows nothing of fields. The printed changes decide: among all ways to cut the digits into one value per month, with or
without the digits of notes between them, those remain whose changes round to the printed ones. A single remaining
reading is taken; several, or none, are refused. Values carry intervals of their own rounding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from tieline.disclosures.lexicon.words import phrases

MAX_DIGITS = 40
"""A row of four months of five digits with footnotes has fewer; longer runs are not a joined row."""
MAX_READINGS = 20_000

_BODY = re.compile(r"(?P<label>.*?[A-Za-z)])\*?(?P<body>\s?[\d,]*[~$]?\s?\d.*)", re.DOTALL)
_CELL, _NOTE = phrases("joined_cell"), phrases("note_digits")
_CHANGE, _CHANGES = phrases("change_in_row"), phrases("changes_in_row")
Cells = tuple[re.Match[str], ...]


class CutRow(NamedTuple):
    """A row's label, where each month's cell begins and ends in it, and whether the text shows that."""

    label: str
    cells: list[tuple[int, int]]
    proven: bool


def solve(row: str, months: int) -> CutRow | str | None:
    """The row cut into its cells; a reason where it has two readings; None where it is no such row."""
    match = _BODY.fullmatch(row)
    if match is None or months < 2 or len(re.sub(r"\D", "", match["body"].partition("%")[0])) > MAX_DIGITS:
        return None
    changes = "%" in match["body"]
    found = list(islice(_readings(row, match.start("body"), months, (), notes=changes), MAX_READINGS + 1))
    if len(found) > MAX_READINGS:
        return "too many ways to cut the row"
    fits = _agrees if changes else _set_apart
    readings = {tuple(map(_value, cells)): cells for cells, printed in found if fits(cells, printed)}
    if len(readings) == 1:
        cells = next(iter(readings.values()))
        return CutRow(match["label"], [cell.span() for cell in cells], changes or cells[0]["sign"] is not None)
    if not changes:
        return None
    return f"the cells ran together and {'several readings fit' if readings else 'no reading fits the printed changes'}"


def _readings(row: str, at: int, months: int, taken: Cells, *, notes: bool) -> Iterator[tuple[Cells, list[str]]]:
    """Every way to cut the row from `at` into so many cells of one style and the changes behind them."""
    while row[at : at + 1] == " ":
        at += 1
    if not months:
        for end in (at, at + 1) if notes and taken[0]["sign"] and row[at : at + 1].isdigit() else (at,):
            if _CHANGES.fullmatch(row, end):
                yield taken, [sign + number for sign, number in _CHANGE.findall(row, end)]
        return
    note = _NOTE.match(row, at) if notes else None
    for begin in sorted({at, at + 1, note.end()}) if note is not None else (at,):
        for cell in _cells(row, begin, begin - at):
            if not taken or _style(cell) == _style(taken[0]):
                yield from _readings(row, cell.end(), months - 1, (*taken, cell), notes=notes)


def _cells(row: str, begin: int, noted: int) -> Iterator[re.Match[str]]:
    """The cells that may begin here, behind so many characters of notes: one with its unit, or all shorter runs of
    digits. Two digits in front are a note's only before a value with its unit or a sign."""
    longest = _CELL.match(row, begin)
    if longest is not None and longest["unit"]:
        yield longest
    elif longest is not None and (noted < 2 or longest["sign"]):
        ends = range(longest.start("number") + 1, longest.end() + 1)
        yield from filter(None, (_CELL.fullmatch(row, begin, end) for end in ends))


def _style(cell: re.Match[str]) -> tuple[str | None, str | None, int]:
    """Money, with the same unit, or bare with as many decimals: the cells of a row are of one style."""
    return cell["sign"], cell["unit"], 0 if cell["sign"] or cell["unit"] else _decimals(cell["number"])


def _set_apart(cells: Cells, printed: list[str]) -> bool:
    """Without changes: cells each with a sign and their digits grouped, each with its unit, or of as many decimals."""
    if cells[0]["sign"]:
        return not any(re.match(r"\d{4}", cell["number"]) for cell in cells)
    return cells[0]["unit"] is not None or _decimals(cells[0]["number"]) > 0


def _agrees(cells: Cells, printed: list[str]) -> bool:
    """Do the printed changes follow from these values? Month on month first, then year on year."""
    first, *others = cells
    return len(printed) <= len(others) and all(
        _change_fits(first, old, change) for old, change in zip(others, printed, strict=False)
    )


def _change_fits(new: re.Match[str], old: re.Match[str], printed: str) -> bool:
    half_new, half_old, half = (_half(number) for number in (new["number"], old["number"], printed))
    if _value(old) <= half_old:
        return False
    low = ((_value(new) - half_new) / (_value(old) + half_old) - 1) * 100
    high = ((_value(new) + half_new) / (_value(old) - half_old) - 1) * 100
    return low <= Decimal(printed) + half and high >= Decimal(printed) - half


def _value(cell: re.Match[str]) -> Decimal:
    return Decimal(cell["number"].replace(",", ""))


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _half(number: str) -> Decimal:
    """Half a unit of the last decimal printed."""
    return Decimal("0.5").scaleb(-_decimals(number))
