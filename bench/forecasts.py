"""Which forecast is good, and which earns: the last value, past days, learned quantiles.

    python bench/forecasts.py [--data FOLDER] [--quick]

First accuracy on recorded months that nothing was chosen on: mean absolute error of the middle path and pinball loss
of twenty paths, by horizon, each series counted from its own mean size, so that markets can be averaged. Only what
is not published counts: a day-ahead price that is known is no forecast. Then what each earns: the same look-ahead
on the same days, paths from each, and told the truth as a ceiling. One process. Writes bench/out/forecasts.json.
Needs the extra `forecast`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from machine import processor
from tieline.backtest.data import ScenarioWorld, load
from tieline.backtest.lookahead import Tieline
from tieline.backtest.run import one_run, prepare
from tieline.clock import micros
from tieline.dispatch import Settings
from tieline.dispatch.inputs.forecast import SLOT_S, SLOTS_PER_DAY, Forecaster
from tieline.dispatch.inputs.forecasters import FORECASTERS, forecaster_of
from tieline.dispatch.inputs.learned import library

OUT = Path(__file__).parent / "out" / "forecasts.json"
AHEAD = {"15 min": 1, "1 h": 4, "4 h": 16, "12 h": 48, "24 h": 96, "48 h": 192}
WIDE = 20
# Origins seven hours apart visit every hour of the day and every day of the week in a month.
EVERY = 28
MONTHS = (("2023-08", 2023, 8), ("2024-10", 2024, 10))
# Every third station: a fit a day and series is what this bench spends its time on.
STATIONS = 3


@dataclass(frozen=True)
class Series:
    """One series: `known` (slots,) gives the first slot not known when a slot begins; `step` slots of a value."""

    what: str
    name: str
    values: np.ndarray
    known: np.ndarray
    step: int = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("DATA", os.environ.get("TIELINE_DATA", "../shared/data")))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--quick", action="store_true", help="one month, no earnings")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        sys.exit(f"no data folder at {asked.data}; give one with --data or DATA=...")
    begin = time.perf_counter()
    found: dict[str, object] = {
        "cpu": processor(),
        "cores": f"{os.cpu_count()}, one used; load average at the start {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "lightgbm": library().__version__,
    }
    print(json.dumps(found, indent=1))
    months = MONTHS[:1] if asked.quick else MONTHS
    found["accuracy"] = accuracy(asked.data, months)
    if not asked.quick:
        found["earned"] = earned(asked.data)
    found["took_s"] = round(time.perf_counter() - begin)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['took_s']} s in all; written to {OUT}")


# --- accuracy ------------------------------------------------------------------


def accuracy(folder: Path, months: tuple[tuple[str, int, int], ...]) -> dict[str, object]:
    sums: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    by_series: dict[str, dict[str, list[float | None]]] = {}
    cost: dict[str, list[float]] = defaultdict(list)
    for label, year, month in months:
        start = datetime(year, month, 1, tzinfo=UTC)
        end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        world = load(folder, [(label, start, end)], events=False)
        for series in _series(world):
            for name in FORECASTERS:
                forecaster = forecaster_of(name)
                took = time.perf_counter()
                mae, pinball, calls = _score(world, series, forecaster)
                cost[name].append((time.perf_counter() - took) / max(1, calls) * 1e3)
                by_series.setdefault(f"{series.what} {series.name} {label}", {})[name] = [
                    None if np.isnan(v) else round(float(v), 4) for v in (*mae, *pinball)
                ]
                for horizon, one, two in zip(AHEAD, mae, pinball, strict=True):
                    if not np.isnan(one):
                        sums[series.what, name, horizon, "mae"].append(float(one))
                        sums[series.what, name, horizon, "pinball"].append(float(two))
    table: dict[str, object] = {"months": [m[0] for m in months], "horizons": list(AHEAD)}
    for what in ("real-time price", "day-ahead price", "temperature", "demand"):
        for measure in ("mae", "pinball"):
            rows = {
                name: [_mean(sums.get((what, name, horizon, measure))) for horizon in AHEAD] for name in FORECASTERS
            }
            table[f"{what}, {measure}"] = rows
            print(f"\n{what}, {measure}, share of the series' mean size; ahead: {', '.join(AHEAD)}")
            for name, values in rows.items():
                print(f"  {name:12} " + " ".join("     -" if v is None else f"{v:6.3f}" for v in values))
    table["ms_per_call_fits_included"] = {name: round(float(np.mean(values)), 2) for name, values in cost.items()}
    print(f"\nms a call, daily fits included: {table['ms_per_call_fits_included']}", flush=True)
    table["by_series"] = by_series
    return table


def _score(world: ScenarioWorld, series: Series, forecaster: Forecaster) -> tuple[np.ndarray, np.ndarray, int]:
    """(horizons,) mean absolute error and pinball loss over the mean size of what came; nan where all is known."""
    ahead = np.array(list(AHEAD.values()))
    levels = (np.arange(WIDE) + 0.5) / WIDE
    base = micros(world.start) // (SLOT_S * 1_000_000)
    errors, losses, sizes = [], [], []
    span = world.spans[0]
    for slot in range(span.first, span.last, EVERY):
        known, wanted = int(series.known[slot]), slot + ahead
        paths = forecaster(series.values, slot, known, wanted, WIDE, series=series.name, base=base)
        came = series.values[wanted]
        counts = (wanted >= known) & ~np.isnan(came) & ~np.isnan(paths).any(axis=1)
        ranked = np.sort(paths, axis=1)
        over = came[:, None] - ranked
        loss = np.maximum(levels * over, (levels - 1.0) * over).mean(axis=1)
        errors.append(np.where(counts, np.abs(came - np.median(paths, axis=1)), np.nan))
        losses.append(np.where(counts, loss, np.nan))
        sizes.append(np.where(np.isnan(came), 0.0, np.abs(came)).mean())
    size = max(1e-9, float(np.mean(sizes)))
    return _column_means(errors) / size, _column_means(losses) / size, len(errors)


def _column_means(rows: list[np.ndarray]) -> np.ndarray:
    stack = np.stack(rows)
    counted = (~np.isnan(stack)).sum(axis=0)
    return np.where(counted >= 20, np.nansum(stack, axis=0) / np.maximum(1, counted), np.nan)


def _series(world: ScenarioWorld) -> list[Series]:
    found = []
    for name, market in world.markets.items():
        # Known past its own beginning: published the day before.
        middle = world.spans[0].first
        day = np.arange(middle, middle + SLOTS_PER_DAY)
        published = bool((market.known[day] > day + 4).mean() > 0.5)
        found.append(Series("day-ahead price" if published else "real-time price", name, market.values, market.known))
    slots = np.arange(world.slots)
    seen: set[str] = set()
    for n, site in enumerate(world.fleet.sites):
        if site.weather_station is None or site.weather_station in seen:
            continue
        seen.add(site.weather_station)
        if len(seen) % STATIONS == 0:
            found.append(Series("temperature", site.weather_station, world.temp_c[:, n], slots))
    found += [Series("demand", region, values, slots) for region, values in world.demand.items()]
    return found


def _mean(values: list[float] | None) -> float | None:
    return None if not values else round(float(np.mean(values)), 4)


# --- earnings --------------------------------------------------------------------


def earned(folder: Path) -> dict[str, object]:
    """Net USD of the same look-ahead with paths from each forecaster."""
    spans: dict[str, Callable[[Settings], object]] = {
        "A 2023-08": lambda s: prepare(folder, "A", s, between=_month(2023, 8)),
        "A 2023-11": lambda s: prepare(folder, "A", s, between=_month(2023, 11)),
        "B three weeks": lambda s: prepare(folder, "B", s, limit_spans=3),
    }
    out: dict[str, object] = {}
    for label, make in spans.items():
        rows: dict[str, dict[str, float]] = {}
        for name in (*FORECASTERS, "perfect"):
            settings = Settings() if name == "perfect" else Settings(forecaster=name)
            task = make(settings)
            took = time.perf_counter()
            row = one_run(task, Tieline(name=name, perfect=name == "perfect"))  # type: ignore[arg-type]
            took = time.perf_counter() - took
            rows[name] = {"net_usd": round(row.tally.net), "wear_usd": round(row.tally.wear), "wall_s": round(took, 1)}
            print(f"{label:14} {name:12} {row.tally.net / 1e6:10.3f} M USD net, {took:6.1f} s", flush=True)
        best = rows["analog"]["net_usd"]
        for one in rows.values():
            one["to_past_days_percent"] = round(100.0 * (one["net_usd"] / best - 1.0), 4)
        out[label] = rows
    return out


def _month(year: int, month: int) -> tuple[datetime, datetime]:
    return datetime(year, month, 1, tzinfo=UTC), datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


if __name__ == "__main__":
    main()
