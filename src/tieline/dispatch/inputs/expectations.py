"""What dispatch expects, as records: price, temperature and demand of the next two days, hour by hour.

Folds an Outlook, as it is known now; a day-ahead price that is published is in it as it was published. Kept so that
a decision can be held against what was believed, and the belief against what came.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from tieline.clock import Interval
from tieline.dispatch.inputs.demand import asked_paths
from tieline.dispatch.inputs.forecast import Forecaster
from tieline.dispatch.inputs.foresight import paths_of
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.inputs.outlook import Outlook
from tieline.dispatch.inputs.series import KEEP, Slots
from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet
from tieline.records import Forecast

HOURS, WIDE = 48, 20
LOW, HIGH = 5.0, 95.0


def expectations(
    outlook: Outlook, fleet: Fleet, settings: Settings, now: datetime, forecaster: Forecaster
) -> list[Forecast]:
    """One per series that is known here and that a site of the fleet waits for."""
    start = Interval.holding(now, timedelta(hours=1)).start
    steps = Grid(start, np.arange(HOURS) * 3600, np.full(HOURS, 3600))
    rows = []
    for what, name, slots in _series(outlook, fleet, now):
        if what == "demand":
            known = np.flatnonzero(~np.isnan(slots.values))
            asked = asked_paths(slots.values, int(known[-1]) + 1, slots.index(start, steps.middle_s), WIDE)
            if asked is None:
                continue
            paths, how = asked, "last week's demand"
        else:
            paths, how = paths_of(slots, name, steps, WIDE, forecaster), settings.forecaster
        if not np.isfinite(paths).all():
            continue
        low, middle, high = np.percentile(paths, (LOW, 50.0, HIGH), axis=1)
        rows.append(
            Forecast(
                at=start,
                known_at=now,
                source=f"dispatch: {how}",
                kind="forecast",
                what=what,
                series=name,
                step_s=3600,
                values=_rounded(middle),
                low=_rounded(low),
                high=_rounded(high),
            )
        )
    return rows


def _series(
    outlook: Outlook, fleet: Fleet, now: datetime
) -> Iterator[tuple[Literal["price", "temperature", "demand"], str, Slots]]:
    markets = {m for s in fleet.sites for m in (s.contract.market, s.contract.market_15min) if m is not None}
    for name in sorted(markets & outlook.price_slots.keys()):
        yield "price", name, outlook.price_slots[name]
    stations = {s.weather_station for s in fleet.sites if s.weather_station is not None}
    for name in sorted(stations & outlook.temp_slots.keys()):
        yield "temperature", name, outlook.temp_slots[name]
    for name in sorted(outlook.demand_slots):
        series = outlook.demand.get(name)
        value = None if series is None else series.at(now)
        if value is not None and value.stale <= KEEP:
            yield "demand", name, outlook.demand_slots[name]


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(v), 3) for v in values)
