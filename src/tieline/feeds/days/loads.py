"""Recorded system load and load forecasts of a data folder as records.

`load/system_load_hourly.parquet` (ts_utc, operator, load_mw) is known when its hour has ended, as a control room's load
is; `load/load_forecast_hourly.parquet` (ts_utc, operator, forecast_mw) from 10:00 local of the day before, when the
day-ahead market that it feeds closes. Either may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from tieline.feeds.days.folder import columns
from tieline.feeds.days.prices import Provenance
from tieline.fleet.markets import zone_of
from tieline.records import SystemLoad

FORECAST_KNOWN = time(10, 0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def system_loads(
    folder: Path, start: datetime, end: datetime, zones: Mapping[str, str], provenance: Provenance
) -> list[SystemLoad]:
    """Of the operators in `zones` (name -> time zone), hours that begin in [start, end). Raises FolderError."""
    loads = []
    for name, column in (("system_load_hourly", "load_mw"), ("load_forecast_hourly", "forecast_mw")):
        path = folder / "load" / f"{name}.parquet"
        if not path.exists():
            continue
        table = columns(path, ("ts_utc", "operator", column), ("ts_utc", start, end))
        for at, operator, megawatts in zip(table["ts_utc"], table["operator"], table[column], strict=True):
            if operator not in zones or megawatts is None:
                continue
            at, forecast = at.astimezone(UTC), column == "forecast_mw"
            loads.append(
                SystemLoad(
                    at=at,
                    known_at=_known_at(at, zones[operator]) if forecast else at + HOUR,
                    source=provenance.source,
                    kind="forecast" if forecast else provenance.kind,
                    operator=operator,
                    power_w=megawatts * 1e6,
                )
            )
    return loads


def _known_at(at: datetime, zone: str) -> datetime:
    local = zone_of(zone)
    day = at.astimezone(local).date() - DAY
    return datetime.combine(day, FORECAST_KNOWN, tzinfo=local).astimezone(UTC)
