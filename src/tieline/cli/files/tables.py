"""Sheets as people save them: CSV, TOML, or a workbook of Excel's, each read into what the readers of records take.

A workbook is read by calamine, without formulas being run: what was saved last stands in each cell. What a workbook
would unpack to is looked at before it is, for a file of a few kilobytes can be made to fill any memory.
"""

from __future__ import annotations

import re
import tomllib
import zipfile
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import click

from tieline.books.treasury.sheets import MOST_ROWS, SheetError, SheetTable

# A million rows of a spreadsheet are about this much.
MAX_BYTES: Final = 64 * 2**20
MAX_UNPACKED: Final = 256 * 2**20
# A reader of workbooks holds every cell up to the last that is filled: this many are 200 MB.
MOST_CELLS: Final = 8_000_000
# Digits that a spreadsheet keeps of a number: 0.1 + 0.2 is 0.3 in it.
DIGITS: Final = 15
_CELL: Final = re.compile(rb'<(?:\w+:)?c\s[^>]*?\br="([A-Z]{1,3})([0-9]{1,7})"')


def sheet_of(file: Path, named: str) -> str | SheetTable:
    """What stands in `file`. `named`: of a workbook with several sheets, the one that is called so.

    Raises SheetError, and click.ClickException for what is too large or no text."""
    kind = file.suffix.lower()
    if kind in (".xlsx", ".xlsm"):
        return _of_workbook(file, named)
    if kind in (".xls", ".ods", ".numbers"):
        raise SheetError(f"a {kind} file is not read; save it as .xlsx or CSV")
    return _of_toml(text_of(file)) if kind == ".toml" else text_of(file)


def text_of(file: Path) -> str:
    """The file's text. Raises click.ClickException for what is too large or no text."""
    _small(file)
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file.name} is not UTF-8 text; save it as CSV UTF-8") from error


def _small(file: Path) -> None:
    if file.stat().st_size > MAX_BYTES:
        raise click.ClickException(f"{file.name} is larger than {MAX_BYTES // 2**20} MiB; split it")


# --- TOML ---------------------------------------------------------------------------------------------------


def _of_toml(text: str) -> SheetTable:
    """The file's one list of tables, [[rig]] say: a table a row, its keys the columns."""
    try:
        raw = tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        raise SheetError(str(error)) from error
    lists = {key: value for key, value in raw.items() if isinstance(value, list)}
    if len(lists) != 1 or len(raw) != 1:
        raise SheetError(f"it has {', '.join(raw) or 'nothing'} at its top; give one list of tables, such as [[rig]]")
    ((name, tables),) = lists.items()
    lines = _lines_of(text, name, len(tables))
    if len(tables) > MOST_ROWS:
        raise SheetError(f"the file has {len(tables):,} tables; at most {MOST_ROWS:,} are read, split it")
    for line, table in zip(lines, tables, strict=True):
        _plain_table(line, table, name)
    columns = list(dict.fromkeys(key for table in tables for key in table))
    body = (
        (line, tuple(_cell(table.get(key, "")) for key in columns)) for line, table in zip(lines, tables, strict=True)
    )
    return SheetTable(tuple(columns), tuple(body))


def _lines_of(text: str, name: str, tables: int) -> Sequence[int]:
    """Where each table of the list begins; their numbers, where they are not written as [[name]]."""
    head = re.compile(rf"\s*\[\[\s*{re.escape(name)}\s*\]\]")
    found = [n for n, line in enumerate(text.splitlines(), 1) if head.match(line)]
    return found if len(found) == tables else range(1, tables + 1)


def _plain_table(line: int, table: object, name: str) -> None:
    """Raises SheetError for what is no table of single values."""
    if not isinstance(table, dict):
        raise SheetError(f"line {line}: {table!r} is no table; write [[{name}]] and a key a line")
    if nested := next((key for key, value in table.items() if isinstance(value, (dict, list))), None):
        raise SheetError(f"line {line}, {nested}: is a list or a table; write one value")


# --- workbooks ----------------------------------------------------------------------------------------------


def _of_workbook(file: Path, named: str) -> SheetTable:
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{file.name}: a workbook needs python-calamine; pip install 'tieline[sheets]', or save it as CSV"
        ) from error
    _small(file)
    _look_before(file)
    try:
        with CalamineWorkbook.from_path(str(file)) as book:
            filled = {name: book.get_sheet_by_name(name) for name in book.sheet_names}
            filled = {name: sheet for name, sheet in filled.items() if sheet.height}
            if not filled:
                raise SheetError("the workbook is empty; its first line names the columns")
            chosen = next(iter(filled)) if len(filled) == 1 else _called(named, list(filled))
            rows = filled[chosen].to_python(skip_empty_area=False, nrows=MOST_ROWS + 2)
    except CalamineError as error:
        raise SheetError(f"it cannot be read as a workbook ({error}); save it as .xlsx again, or as CSV") from error
    return _table_of(rows)


def _called(named: str, names: Sequence[str]) -> str:
    found = [name for name in names if name.strip().lower() == named]
    if len(found) != 1:
        raise SheetError(
            f"it has the sheets {', '.join(names)}; call the one that is meant {named!r}, or save it alone"
        )
    return found[0]


def _table_of(rows: Sequence[Sequence[Any]]) -> SheetTable:
    lines = [(n, tuple(_cell(cell) for cell in row)) for n, row in enumerate(rows, 1)]
    lines = [(n, cells) for n, cells in lines if any(cell.strip() for cell in cells)]
    if not lines:
        raise SheetError("the sheet is empty; its first line names the columns")
    header = lines[0][1]
    width = max(n for n, cell in enumerate(header, 1) if cell.strip())
    body = []
    for n, cells in lines[1:]:
        if any(cell.strip() for cell in cells[width:]):
            raise SheetError(f"line {n}: a cell stands under no column; name its column, or take it out")
        body.append((n, cells[:width]))
    if len(body) > MOST_ROWS:
        raise SheetError(f"the sheet has more than {MOST_ROWS:,} lines; split it")
    return SheetTable(header[:width], tuple(body))


def _look_before(file: Path) -> None:
    """Raises SheetError for what is no workbook, and for one that would not fit into memory."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > MAX_UNPACKED:
                raise SheetError(
                    f"it unpacks to {unpacked / 2**20:,.0f} MiB; at most {MAX_UNPACKED // 2**20}, split it"
                )
            sheets = (e for e in entries if e.filename.startswith("xl/worksheets/") and e.filename.endswith(".xml"))
            for entry in sheets:
                _look_at_cells(archive.read(entry))
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        if isinstance(error, SheetError):
            raise
        raise SheetError(f"it is no workbook of Excel's ({error}); save it as .xlsx again, or as CSV") from error


def _look_at_cells(xml: bytes) -> None:
    last_row = last_column = 0
    for letters, number in _CELL.findall(xml):
        column = 0
        for letter in letters:
            column = 26 * column + letter - 64
        last_row, last_column = max(last_row, int(number)), max(last_column, column)
    if last_row * last_column > MOST_CELLS:
        raise SheetError(
            f"its cells reach to line {last_row:,} and column {last_column:,}; delete what stands far outside, or save "
            "it as CSV"
        )


def _cell(value: Any) -> str:
    """A cell as a sheet of text would have it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, datetime):
        return value.date().isoformat() if (value.hour, value.minute, value.second) == (0, 0, 0) else value.isoformat()
    return value.isoformat() if isinstance(value, date) else " ".join(str(value).split())
