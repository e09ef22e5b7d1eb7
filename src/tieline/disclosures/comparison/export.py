"""The table to take away: CSV, JSON, Parquet. One row for each figure, or one for each miner and month.

Every figure carries its permanent id, so that a cell in somebody's spreadsheet can be traced back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal

import msgspec

from tieline.disclosures.comparison.columns import COLUMNS
from tieline.disclosures.comparison.compare import RULE, Table

Shape = Literal["wide", "long"]


class ExportError(RuntimeError):
    """A library is missing or a file cannot be written; the message says what to do."""


def rows(tables: Iterable[Table], shape: Shape = "wide") -> list[dict[str, Any]]:
    """Plain rows: `wide` has a column for each figure; `long` has a row for each, with its id and how."""
    return [row for table in tables for row in (_long(table) if shape == "long" else _wide(table))]


def _wide(table: Table) -> Iterable[dict[str, Any]]:
    for row in table.rows:
        out: dict[str, Any] = {"month": table.month, "issuer": row.issuer, "included": row.included}
        out["rank_produced"] = row.ranks.get("produced")
        values = {name: cell.value for name, cell in row.cells.items()}
        out |= {column.name: values.get(column.name) for column in COLUMNS}
        out["computed"] = " ".join(name for name, cell in row.cells.items() if cell.computed is not None)
        yield out


def _long(table: Table) -> Iterable[dict[str, Any]]:
    for row in table.rows:
        for name, cell in row.cells.items():
            yield {
                "figure": cell.id, "month": table.month, "issuer": row.issuer, "column": name,
                "value": cell.value, "unit": cell.unit, "printed": cell.computed is None, "how": cell.computed or "",
                "claims": " ".join(cell.claims), "rank": row.ranks.get(name), "included": row.included,
            }  # fmt: skip


def to_csv(rows: list[dict[str, Any]]) -> str:
    """RFC 4180. A text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    return csv_text([list(rows[0]), *(row.values() for row in rows)], "\r\n") if rows else ""


def csv_text(lines: Iterable[Iterable[Any]], ending: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator=ending).writerows(map(_safe, line) for line in lines)
    return out.getvalue()


def to_json(tables: Iterable[Table]) -> bytes:
    """The tables in full: cells, ranks, who is absent, sums, and the rule of inclusion."""
    return msgspec.json.format(_JSON.encode(list(tables)), indent=2)


def to_parquet(rows: list[dict[str, Any]]) -> bytes:
    """One Parquet file; numbers as 64-bit floats, the rule in the file's metadata. Needs pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ExportError("Parquet needs pyarrow: pip install 'tieline[parquet]'; CSV and JSON do not") from error
    plain = [{name: float(v) if isinstance(v, Decimal) else v for name, v in row.items()} for row in rows]
    table = pa.Table.from_pylist(plain)
    # A column of nothing but gaps bears the type that it has elsewhere.
    gaps = {column.name: pa.float64() for column in table.schema if pa.types.is_null(column.type)}
    gaps |= {name: pa.int64() for name in gaps if name.startswith("rank")}
    fields = [column.with_type(gaps.get(column.name, column.type)) for column in table.schema]
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(pa.schema(fields, {"rule": RULE})), sink, compression="zstd")
    return bytes(sink.getvalue())


def _safe(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "=+-@\t\r" and value:
        return "'" + value
    return f"{value:f}" if isinstance(value, Decimal) else value


_JSON = msgspec.json.Encoder(decimal_format="number")
