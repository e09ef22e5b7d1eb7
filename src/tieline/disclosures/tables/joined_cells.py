"""Table rows whose cells ran together: `Bitcoin Held17,2757,2656,696 0%9%`.

Knows nothing of fields. The printed changes decide: among all ways to cut the digits into one value per month, with or
without the digits of notes between them, those remain whose changes round to the printed ones. A single remaining
reading is taken; several, or none, are refused. Values carry intervals of their own rounding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

MAX_DIGITS = 40
"""A row of four months of five digits with footnotes has fewer; longer runs are not a joined row."""
MAX_READINGS = 20_000

_BODY = re.compile(r"(?P<label>.*?[A-Za-z)])\*?(?P<body>\s?[\d,]*[~$]?\s?\d.*)", re.DOTALL)
_GROUPED = r"(?:[1-9]\d{0,2}(?:,\d{3})+|0|[1-9]\d*)(?:\.\d+)?"
_NUMBER = re.compile(_GROUPED)
_CELL = re.compile(
    rf"(?P<sign>[~$]\s?)?(?P<number>{_GROUPED})"
    r"(?:\s?(?P<unit>EH/s|PH/s|TH/s|J/TH|W/TH|BTC|MW|c/kWh|million|billion|m\b|bn\b))?"
)
_NOTE = re.compile(r"\d(?:,?\d)?")
_CHANGE = r"\s*(-?)\s?((?:0|[1-9]\d{0,3})(?:\.\d+)?)\s?%"
_CHANGES = re.compile(rf"(?:{_CHANGE})*\s*")


@dataclass(frozen=True, slots=True)
class JoinedCell:
    """One value of a joined row as it is printed, with its place in the row."""

    start: int
    end: int
    number: str
    sign: str
    unit: str

    @property
    def value(self) -> Decimal:
        return Decimal(self.number.replace(",", ""))

    @property
    def decimals(self) -> int:
        return len(self.number.partition(".")[2])

    def like(self, other: JoinedCell) -> bool:
        """Is it of another cell's style: money, with the same unit, or bare with as many decimals?"""
        bare = not (self.sign or self.unit)
        return (self.sign, self.unit) == (other.sign, other.unit) and (not bare or self.decimals == other.decimals)


@dataclass(frozen=True, slots=True)
class CutRow:
    """A row's label and one cell per month."""

    label: str
    cells: tuple[JoinedCell, ...]
    proven: bool
    """Printed changes, or a sign before each value, show where one cell ends."""


def solve(row: str, months: int) -> CutRow | str | None:
    """The row cut into its cells; a reason where it has two readings; None where it is no such row."""
    match = _BODY.fullmatch(row)
    if match is None or months < 2:
        return None
    if sum(c.isdigit() for c in match["body"].partition("%")[0]) > MAX_DIGITS:
        return None
    changes = "%" in match["body"]
    found = list(islice(_readings(row, match.start("body"), months, (), notes=changes), MAX_READINGS + 1))
    if len(found) > MAX_READINGS:
        return "too many ways to cut the row"
    fits = _agrees if changes else _set_apart
    readings = {tuple(cell.value for cell in cells): cells for cells, printed in found if fits(cells, printed)}
    if len(readings) == 1:
        cells = next(iter(readings.values()))
        return CutRow(match["label"], cells, changes or cells[0].sign != "")
    if not changes:
        return None
    return f"the cells ran together and {'several readings fit' if readings else 'no reading fits the printed changes'}"


def _readings(
    row: str, at: int, months: int, taken: tuple[JoinedCell, ...], *, notes: bool
) -> Iterator[tuple[tuple[JoinedCell, ...], list[str]]]:
    """Every way to cut the row from `at` into so many cells of one style and the changes behind them."""
    while row[at : at + 1] == " ":
        at += 1
    if not months:
        for end in (at, at + 1) if notes and taken[0].sign and row[at : at + 1].isdigit() else (at,):
            if _CHANGES.fullmatch(row, end):
                yield taken, [sign + number for sign, number in re.findall(_CHANGE, row[end:])]
        return
    for begin in _after_notes(row, at) if notes else (at,):
        for cell in _cells(row, begin, begin - at):
            if not taken or cell.like(taken[0]):
                yield from _readings(row, cell.end, months - 1, (*taken, cell), notes=notes)


def _after_notes(row: str, at: int) -> Iterator[int]:
    """Where a cell may begin: here, or behind the digits of a note, `3`, `12`, `3,5`."""
    yield at
    if (note := _NOTE.match(row, at)) is not None:
        yield from sorted({at + 1, note.end()})


def _cells(row: str, begin: int, noted: int) -> Iterator[JoinedCell]:
    """The cells that may begin here: one with its unit or all shorter runs of digits. Two digits in front are a note's
    only before a value with its unit."""
    longest = _CELL.match(row, begin)
    if longest is None:
        return
    sign, unit = (longest["sign"] or "").strip(), longest["unit"] or ""
    first, last = longest.span("number")
    if unit:
        yield JoinedCell(begin, longest.end(), longest["number"], sign, unit)
    elif noted < 2 or sign:
        for end in range(first + 1, last + 1):
            if _NUMBER.fullmatch(row, first, end):
                yield JoinedCell(begin, end, row[first:end], sign, unit)


def _set_apart(cells: tuple[JoinedCell, ...], printed: list[str]) -> bool:
    """Without changes: cells each with a sign and their digits grouped, each with its unit, or of as many decimals."""
    if cells[0].sign:
        return not any(re.match(r"\d{4}", cell.number) for cell in cells)
    return cells[0].unit != "" or cells[0].decimals > 0


def _agrees(cells: tuple[JoinedCell, ...], printed: list[str]) -> bool:
    """Do the printed changes follow from these values? Month on month first, then year on year."""
    first, *others = cells
    return len(printed) <= len(others) and all(
        _change_fits(first, old, change) for old, change in zip(others, printed, strict=False)
    )


def _change_fits(new: JoinedCell, old: JoinedCell, printed: str) -> bool:
    half_new, half_old, half = (
        _half(places) for places in (new.decimals, old.decimals, len(printed.partition(".")[2]))
    )
    if old.value <= half_old:
        return False
    low = ((new.value - half_new) / (old.value + half_old) - 1) * 100
    high = ((new.value + half_new) / (old.value - half_old) - 1) * 100
    return low <= Decimal(printed) + half and high >= Decimal(printed) - half


def _half(places: int) -> Decimal:
    """Half a unit of the last decimal printed."""
    return Decimal("0.5").scaleb(-places)
