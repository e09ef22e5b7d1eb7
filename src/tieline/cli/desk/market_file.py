"""Files that go to a market and come back from it, as CSV: what to buy or to offer, and what was awarded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tieline.clock import parse_utc

# A year of hours for a hundred sites; a longer file is cut into parts.
MOST_ROWS = 900_000
MOST_MW = Decimal(100_000)


class AwardError(ValueError):
    """A file of awards, or a month, that cannot be used; the message says where and what to give."""


def written(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(columns)
    out.writerows(rows)
    return text.getvalue()


def hour_begins(at: datetime, local: datetime) -> tuple[str, str]:
    """An hour as a market reads it: in UTC, and by its own clock."""
    return f"{at:%Y-%m-%dT%H:%MZ}", f"{local:%Y-%m-%dT%H:%M%z}"


def rows_of(file: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row and where it stands. Raises AwardError for a column that is missing, too many rows, or none."""
    number = 1
    with file.open(encoding="utf-8", newline="") as text:
        rows = csv.DictReader(text)
        if missing := [name for name in needed if name not in (rows.fieldnames or ())]:
            raise AwardError(f"{file}: no column {', '.join(missing)}; give {', '.join(needed)}")
        for number, row in enumerate(rows, 2):
            if number > MOST_ROWS:
                raise AwardError(f"{file}: over {MOST_ROWS:,} rows; cut it into parts")
            yield f"{file} row {number}", row
    if number == 1:
        raise AwardError(f"{file}: no rows; give one for each hour that was awarded")


def hour_of(row: dict[str, str], where: str) -> datetime:
    """`hour_begins_utc`. Raises AwardError."""
    try:
        at = parse_utc(row["hour_begins_utc"])
    except ValueError:
        raise AwardError(
            f"{where}: hour_begins_utc {row['hour_begins_utc']!r} is no time; write 2026-10-05T14:00, and hours by "
            "their beginning (the one that ends at 24:00 begins at 23:00)"
        ) from None
    if at.minute or at.second:
        raise AwardError(f"{where}: {at:%H:%M} begins no hour; awards are by the hour")
    return at


def number_of(text: str, where: str) -> Decimal:
    """Megawatts or a price. Raises AwardError for what is none, or no market's."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise AwardError(f"{where} {text!r} is no number; write 12.5")
    if abs(number) > MOST_MW:
        raise AwardError(f"{where} {text} is beyond any market; give megawatts, and USD per MWh")
    return number
