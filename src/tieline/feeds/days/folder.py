"""Reading a data folder's files: columns checked by name before anything is used.

Knows no market and no record. A folder of the wrong shape is one `FolderError` that names the file, the
column and what was expected.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tieline.intake import read

# The largest recorded file is a few hundred thousand rows; one of this size is not a data file of this shape.
MAX_ROWS = 20_000_000
ROW = "_row"  # place in the file, from 1, for whoever must name one
MAX_JSON_BYTES = 200_000_000


class FolderError(ValueError):
    """The folder does not have the shape it should; the message names the file, the column and the fix."""


def table_of(
    path: Path,
    names: Sequence[str],
    window: tuple[str, datetime, datetime] | None = None,
    also: Sequence[str] = (),
) -> pa.Table:
    """Columns of a Parquet file, and of `also` those it has; optionally only rows with start <= column < end; `ROW`
    besides. Every `ts_utc` is a time with the zone UTC. Raises FolderError."""
    try:
        columns = pq.read_schema(path).names
    except FileNotFoundError:
        raise FolderError(f"{path}: no such file; a data folder has it") from None
    except (pa.ArrowException, OSError) as error:
        raise FolderError(f"{path}: not a readable Parquet file ({type(error).__name__})") from error
    _need(path, names, columns)
    table = pq.read_table(path, columns=[*names, *(name for name in also if name in columns)])
    table = table.append_column(ROW, pa.array(np.arange(1, table.num_rows + 1)))
    if table.num_rows > MAX_ROWS:
        raise FolderError(f"{path}: {table.num_rows:,} rows; at most {MAX_ROWS:,} are read")
    for name in ("ts_utc",) if "ts_utc" in names else ():
        stamp = table.column(name)
        if not pa.types.is_timestamp(stamp.type) or stamp.type.tz is None:
            raise FolderError(f"{path}: column {name} must be a timestamp with the zone UTC, is {stamp.type}")
        if stamp.null_count:
            row = stamp.is_null().to_pylist().index(True) + 1
            raise FolderError(f"{path}: row {row}: column {name} is empty; every row has its time")
    if window is not None:
        name, start, end = window
        stamp = table.column(name)
        low = pa.scalar(start, type=stamp.type)
        high = pa.scalar(end, type=stamp.type)
        table = table.filter(pc.and_(pc.greater_equal(stamp, low), pc.less(stamp, high)))
    return table


def finite(path: Path, table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers; an empty cell is nan. Raises FolderError naming the row of one that is no number."""
    column = table.column(name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)):
        shown = next((value for value in column.to_pylist() if value is not None), None)
        raise FolderError(f"{path}: column {name} is {column.type}, its first value {shown!r}; numbers are expected")
    values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values) & ~np.asarray(column.is_null().to_numpy()))
    if wrong.size:
        n = int(wrong[0])
        row = table.column(ROW)[n].as_py()
        raise FolderError(
            f"{path}: row {row}: column {name} is {values[n]}; leave the cell empty where nothing was recorded"
        )
    return values


def columns(
    path: Path, names: Sequence[str], window: tuple[str, datetime, datetime] | None = None
) -> dict[str, list[Any]]:
    """Columns of a Parquet file as lists, optionally only rows with start <= column < end. A number that is none is
    refused with its row; an empty cell is None."""
    table = table_of(path, names, window)
    for name in names:
        kind = table.schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_timestamp(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            finite(path, table, name)
    return {name: table.column(name).to_pylist() for name in names}


def rows(path: Path, names: Sequence[str], text: str | None = None) -> list[dict[str, str]]:
    """Rows of a CSV file (or of its `text`, already decompressed), each a dict of its columns."""
    if text is None:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise FolderError(f"{path}: no such file; a data folder has it") from None
        except (OSError, UnicodeDecodeError) as error:
            raise FolderError(f"{path}: cannot be read as text ({type(error).__name__})") from error
    reader = csv.DictReader(text.splitlines())
    _need(path, names, reader.fieldnames or ())
    return list(reader)


def number(path: Path, line: int, row: dict[str, str], column: str) -> float:
    """One cell as a number; the error names the file, the line and the column."""
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise FolderError(f"{path}:{line}: column {column} is {row[column]!r}; a number is expected")
    return value


def json_object(path: Path) -> dict[str, Any]:
    try:
        content = read(path.read_bytes(), json.loads, MAX_JSON_BYTES)
    except FileNotFoundError:
        raise FolderError(f"{path}: no such file; a data folder has it") from None
    except (OSError, ValueError) as error:
        raise FolderError(f"{path}: not readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise FolderError(f"{path}: an object is expected, found {type(content).__name__}")
    return content


def _need(path: Path, wanted: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise FolderError(f"{path}: column {', '.join(missing)} is missing; found {', '.join(names) or 'nothing'}")
