"""Live load of grid operators' systems, measured and forecast, through the `gridstatus` library where it is installed.

Odds of coincident peaks rest on it. Only operators are asked whose peaks a site of the fleet pays for. Measured load
comes in five-minute or hourly steps and is kept as the mean of each hour that is whole; a forecast is kept as it is
published, and again where it has changed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tieline.feeds.faults import FaultBook, number
from tieline.feeds.gridstatus import TIMEOUT_S, LibraryCalls, moment
from tieline.fleet import Fleet
from tieline.records import AnyRecord, SystemLoad

# The library's class of each operator.
CLASSES = {"ERCOT": "Ercot", "PJM": "PJM", "NYISO": "NYISO", "IESO": "IESO", "CAISO": "CAISO"}
# What the column of a forecast is called: one word in most classes, another for Texas.
FORECASTS = ("Load Forecast", "System Total", "SystemTotal")
EVERY_S = 900.0
# The largest system of these has peaked at 165 GW.
MW = (100.0, 400_000.0)
HOUR, AHEAD = timedelta(hours=1), timedelta(days=8)
MOST_ROWS = 2_000


def paid_for(fleet: Fleet) -> tuple[str, ...]:
    """Operators whose peaks some site pays for and the library has a class of."""
    rules = fleet.peak_rules.values()
    operators = {rule.operator for rule in rules if any(fleet.pays(site, rule) for site in fleet.sites)}
    return tuple(sorted(operators & CLASSES.keys()))


@dataclass
class LoadFeed:
    """`library` is the module (given by hand in tests)."""

    operators: tuple[str, ...]
    library: Any
    timeout_s: float = TIMEOUT_S
    source: str = "gridstatus"
    faults: FaultBook = field(default_factory=lambda: FaultBook("system load"))
    _kept: dict[tuple[str, str, datetime], float] = field(default_factory=dict)
    calls: LibraryCalls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = LibraryCalls(EVERY_S, self.timeout_s, self.faults)

    async def read(self, now: datetime) -> list[AnyRecord]:
        """New hours of each operator, measured and forecast; Faults for what failed."""
        records: list[AnyRecord] = []
        for operator in self.operators:
            for what in ("load", "load forecast"):
                name = f"{operator} {what}"
                call = partial(asyncio.to_thread, self._rows, operator, what)
                rows, faults = await self.calls.ask(name, call, now)
                records += faults
                if rows is None:
                    continue
                hours, loads = _hours(rows, now, whole=what == "load")
                if rows and not loads:
                    records += self.faults.open(f"{name} absurd", f"none of its {len(rows)} rows is a load", now)
                    continue
                records += self.faults.close(f"{name} absurd", now)
                records += self._new(operator, what, hours, now)
        return records

    def _rows(self, operator: str, what: str) -> list[dict[str, Any]]:
        iso = getattr(self.library, CLASSES[operator])()
        frame = iso.get_load(date="today") if what == "load" else iso.get_load_forecast(date="today")
        return list(frame.to_dict("records"))[-MOST_ROWS:]

    def _new(self, operator: str, what: str, hours: dict[datetime, float], now: datetime) -> list[SystemLoad]:
        records = []
        for at, megawatts in sorted(hours.items()):
            key = (operator, what, at)
            if self._kept.get(key) == megawatts:
                continue
            self._kept[key] = megawatts
            records.append(
                SystemLoad(
                    at=at,
                    known_at=now,
                    source=self.source,
                    kind="measured" if what == "load" else "forecast",
                    operator=operator,
                    power_w=megawatts * 1e6,
                )
            )
        self._kept = {key: mw for key, mw in self._kept.items() if key[2] > now - AHEAD}
        return records


def _hours(rows: list[dict[str, Any]], now: datetime, *, whole: bool) -> tuple[dict[datetime, float], int]:
    """MW by hour, and how many rows are loads. `whole`: means of hours that have ended, each with all its steps; else
    hours to come."""
    steps: dict[datetime, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if (step := _step(row, measured=whole)) is not None:
            start, seconds, megawatts = step
            steps[start.replace(minute=0, second=0, microsecond=0)].append((seconds, megawatts))
    hours = {}
    for at, parts in steps.items():
        seconds = sum(s for s, _ in parts)
        over = at + HOUR <= now and seconds >= 3600.0
        if seconds > 0 and (over if whole else now - HOUR < at <= now + AHEAD):
            hours[at] = round(sum(s * mw for s, mw in parts) / seconds, 1)
    return hours, sum(len(parts) for parts in steps.values())


def _step(row: dict[str, Any], *, measured: bool) -> tuple[datetime, float, float] | None:
    """When a row's step begins, how many seconds it is long, and its MW; None for what is no load."""
    column = "Load" if measured else next((name for name in FORECASTS if name in row), "")
    megawatts = number(row.get(column), *MW)
    start, end = moment(row.get("Interval Start") or row.get("Time")), moment(row.get("Interval End"))
    if megawatts is None or start is None:
        return None
    return start, 300.0 if end is None else (end - start).total_seconds(), megawatts
