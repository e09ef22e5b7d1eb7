"""Records of the outside world as a folder of days, in the shape that is read back: a platform's own past to backtest.

Each value once, as it was told last. Demand is not written: a folder has it as a measured week at a scale, which a
platform's own is not; whoever backtests its past leaves inference out and says so.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tieline.clock import Interval
from tieline.economics import BLOCKS_PER_EPOCH
from tieline.fleet import Fleet, Market
from tieline.records import (
    AnyRecord,
    ExchangeRate,
    NetworkTick,
    PriceTick,
    Record,
    ReservePrice,
    SystemLoad,
    WeatherTick,
    newest_by,
)

HOUR = timedelta(hours=1)
BLOCKS_PER_HALVING, FIRST_SUBSIDY = 210_000, 50.0
R = TypeVar("R", bound=Record)


def write_days(folder: Path, records: Sequence[AnyRecord], fleet: Fleet) -> None:
    """Into a folder that is there and empty."""
    for name in ("power_prices", "bitcoin", "weather", "load", "reserves", "fx"):
        (folder / name).mkdir(parents=True)
    _prices(folder / "power_prices", _last(records, PriceTick), fleet)
    _bitcoin(folder / "bitcoin", sorted(_last(records, NetworkTick), key=lambda t: t.at))
    weather = _last(records, WeatherTick)
    _parquet(
        folder / "weather" / "openmeteo_hourly.parquet",
        [t.at for t in weather],
        station=[t.station for t in weather],
        temp_c=[t.temp_c for t in weather],
        wet_bulb_c=[t.wet_bulb_c for t in weather],
    )
    loads = _last(records, SystemLoad)
    for name, column, kinds in (
        ("system_load_hourly", "load_mw", ("measured", "simulated", "estimated")),
        ("load_forecast_hourly", "forecast_mw", ("forecast",)),
    ):
        mine = [one for one in loads if one.kind in kinds]
        columns: dict[str, Sequence[object]] = {
            "operator": [o.operator for o in mine],
            column: [o.power_w / 1e6 for o in mine],
        }
        _parquet(folder / "load" / f"{name}.parquet", [o.at for o in mine], **columns)
    paid = _last(records, ReservePrice)
    _parquet(
        folder / "reserves" / "clearing_hourly.parquet",
        [p.at for p in paid],
        product=[p.product for p in paid],
        usd_per_mw_h=[p.price_usd_per_mw_h for p in paid],
    )
    rates = {(one.currency, one.at.date()): one for one in _last(records, ExchangeRate)}
    rows = [(f"{day}", currency, f"{one.usd_per_unit:f}") for (currency, day), one in rates.items()]
    _csv(folder / "fx" / "daily.csv", ("date", "currency", "usd_per_unit"), rows)


def _last(records: Iterable[AnyRecord], kind: type[R]) -> list[R]:
    """Of one kind, one a subject and moment (and forecast or not): what was told last."""
    times = (
        one for one in records if isinstance(one, kind) and not (isinstance(one, PriceTick) and one.kind == "forecast")
    )
    return list(newest_by(times, lambda one: (one.subject, one.at, one.kind == "forecast")).values())


def _prices(folder: Path, ticks: list[PriceTick], fleet: Fleet) -> None:
    # An interval that begins at no five minutes is a feed's fault, and no row.
    ticks = sorted((t for t in ticks if t.at.minute % 5 == 0 and t.at.second == 0), key=lambda t: (t.market, t.at))
    _parquet(
        folder / "hourly.parquet",
        [t.at for t in ticks],
        market=[t.market for t in ticks],
        price_usd=[t.price_usd_per_mwh for t in ticks],
    )
    named = sorted({t.market for t in ticks})
    known = [fleet.market(name) or Market(name=name, kind="real-time", zone="UTC") for name in named]
    rows = [(m.name, m.kind, m.zone, m.operator) for m in known]
    _csv(folder / "markets.csv", ("market", "kind", "source_time_zone", "operator"), rows)


def _bitcoin(folder: Path, ticks: list[NetworkTick]) -> None:
    closes = {Interval.holding(t.at, HOUR).start: float(t.btc_usd) for t in ticks}
    _parquet(folder / "btc_usd_hourly.parquet", list(closes), close=list(closes.values()))
    epochs: list[tuple[object, ...]] = []
    before = None
    for tick in ticks:
        if tick.difficulty != before:
            height = tick.height
            if height is None:  # any of the right subsidy
                height = int(BLOCKS_PER_HALVING * math.log2(FIRST_SUBSIDY / tick.subsidy_btc)) + 1
            epochs.append((height, f"{tick.at:%Y-%m-%dT%H:%M:%SZ}", repr(tick.difficulty), BLOCKS_PER_EPOCH * 600))
            before = tick.difficulty
    _csv(folder / "difficulty_epochs.csv", ("start_height", "start_utc", "difficulty", "timespan_s"), epochs)


def _parquet(path: Path, at: list[datetime], **columns: Sequence[object]) -> None:
    stamps = pa.array(at, pa.timestamp("ms", tz="UTC"))
    # A column of nothing has the type that its values would have.
    words = ("market", "station", "operator", "product")
    plain = {n: pa.array(v, pa.string() if n in words else pa.float64()) for n, v in columns.items()}
    pq.write_table(pa.table({"ts_utc": stamps, **plain}), path)


def _csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(names)
        out.writerows(rows)
