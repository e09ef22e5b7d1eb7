"""Exchange rates of a data folder, as records: `fx/daily.csv` (date, currency, usd_per_unit), which may be absent.

A rate is known about 16:00 Frankfurt time on its day. Weekends and holidays have none; whoever converts takes the last.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tieline.feeds.days.folder import FolderError, rows
from tieline.feeds.days.prices import Provenance
from tieline.feeds.rates import known_at
from tieline.fleet.currency import CURRENCY
from tieline.records import ExchangeRate

FILE = ("fx", "daily.csv")


def exchange_rates(folder: Path, start: datetime, end: datetime, provenance: Provenance) -> list[ExchangeRate]:
    """Rates that become known in [start, end). Raises FolderError with file and row."""
    path = folder.joinpath(*FILE)
    if not path.exists():
        return []
    rates: dict[tuple[str, date], ExchangeRate] = {}
    for number, row in enumerate(rows(path, ("date", "currency", "usd_per_unit")), 2):
        where = f"{path}: row {number}"
        try:
            day, usd = date.fromisoformat(row["date"]), Decimal(row["usd_per_unit"])
        except (ValueError, InvalidOperation, TypeError):
            raise FolderError(
                f"{where}: {row['date']!r}, {row['usd_per_unit']!r}; a date (2024-08-20) and USD per unit are expected"
            ) from None
        if CURRENCY.fullmatch(row["currency"] or "") is None or not usd.is_finite() or not 0 < usd < 1_000_000:
            raise FolderError(
                f"{where}: {row['currency']!r} at {row['usd_per_unit']}; write its three letters and USD per unit"
            )
        before = rates.get((row["currency"], day))
        if before is not None and before.usd_per_unit != usd:
            raise FolderError(
                f"{where}: {row['currency']} of {day} stands twice, {before.usd_per_unit} and {usd}; keep one"
            )
        moment = known_at(day)
        if start <= moment < end:
            rates[row["currency"], day] = ExchangeRate(
                at=moment,
                known_at=moment,
                source=provenance.source,
                kind=provenance.kind,
                currency=row["currency"],
                usd_per_unit=usd.quantize(Decimal("0.0000000001")),
            )
    return sorted(rates.values(), key=lambda one: (one.at, one.currency))
