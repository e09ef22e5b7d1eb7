"""The desk on real Texan days: odds of coincident peaks, and what energy and peaks are worth beside simple rules.

    make bench-desk DATA=/path/to/data [MONTHS=2023-07,2023-08,2024-08]

DATA holds recorded days (docs/replay.md) and a folder `desk` with ERCOT's load, load forecast and zone prices. The desk
tells odds for June to September with its own load forecast in 2022 and 2023 and ERCOT's in 2024. Those of 06:00 are
judged by the day on which load was highest, those of each hour by how many hours must be shed to hit the peaks. Value:
four invented sites of 100 MW, one a load zone, quarter-hourly decisions, each month beside the best simple rule and the
bound; the dead band is tuned on May 2023. One core.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tieline import config
from tieline.backtest.bounds import bounds
from tieline.backtest.data import ScenarioWorld, load
from tieline.backtest.lookahead import Tieline
from tieline.backtest.peaks import Peaks
from tieline.backtest.policies import AlwaysOn, BandStrike, GroupStrike, LastPrice, Policy
from tieline.backtest.run import PERFECT, drive
from tieline.dispatch import Settings
from tieline.dispatch.desk.peaks import odds_over
from tieline.dispatch.inputs.forecast import SLOT_S
from tieline.feeds.days.loads import system_loads
from tieline.feeds.days.prices import Provenance
from tieline.fleet import Fleet
from tieline.fleet.peaks import shipped_rules
from tieline.records import SystemLoad

OUT = Path(__file__).parent / "out"
ZONES = ("WEST", "NORTH", "SOUTH", "HOUSTON")
RULE = shipped_rules()["4CP"]
TEXAS = ZoneInfo("America/Chicago")
BANDS = (0.0, 0.15, 0.3, 0.5, 0.8)

SITE = """
[[site]]
id = "{low}"
name = "{zone} (invented)"
region = "north_america"
lat = 31.5
lon = -100.0
interconnect_mw = 100.0
weather_station = "US-TEX-ERCO"
mode = "act"
contract = {{ basis = "spot", market = "ERCOT_LZ_{zone}_DA" }}
rigs = [{{ model = "Antminer S21", mw = 60.0 }}, {{ model = "Antminer S19j Pro", mw = 32.0 }}]
"""


def fleet() -> Fleet:
    sites = "".join(SITE.format(low=f"tx-{zone.lower()}", zone=zone) for zone in ZONES)
    return config.loads(f'[fleet]\nname = "Texas (invented)"\ninvented = true\n{sites}').fleet


def days_folder(data: Path, folder: Path) -> Path:
    """The shape of a data folder from ERCOT's own zones and loads; the rest is linked."""
    for name in ("bitcoin", "weather", "llm_demand"):
        (folder / name).symlink_to((data / name).resolve(), target_is_directory=True)
    for name in ("power_prices", "load", "scenario"):
        (folder / name).mkdir()
    table = pq.read_table(data / "desk" / "ercot_zone_prices" / "dam_spp_hourly.parquet")
    points = [f"LZ_{zone}" for zone in ZONES]
    table = table.filter(pc.is_in(table.column("point").cast(pa.string()), pa.array(points)))
    market = [f"ERCOT_{point}_DA" for point in table.column("point").to_pylist()]
    pq.write_table(
        pa.table({"ts_utc": table.column("ts_utc"), "market": market, "price_usd": table.column("price_usd")}),
        folder / "power_prices" / "hourly.parquet",
    )
    rows = "".join(f"ERCOT_{point}_DA,day-ahead,America/Chicago,USD\n" for point in points)
    (folder / "power_prices" / "markets.csv").write_text("market,kind,source_time_zone,currency\n" + rows)
    for name, given, column, column_out in (
        ("system_load_hourly", "native_load_hourly", "ercot_mw", "load_mw"),
        ("load_forecast_hourly", "dam_system_load_forecast_hourly", "forecast_mw", "forecast_mw"),
    ):
        found = pq.read_table(data / "desk" / "ercot_load" / f"{given}.parquet", columns=["ts_utc", column])
        operator = ["ERCOT"] * found.num_rows
        made = {"ts_utc": found.column("ts_utc"), "operator": operator, column_out: found.column(column)}
        pq.write_table(pa.table(made), folder / "load" / f"{name}.parquet")
    events = {"weeks": [], "commitment_offers": [], "peak_odds": [], "coincident_peaks": peaks_of(data)}
    (folder / "scenario" / "events.json").write_text(json.dumps(events))
    return folder


def peaks_of(data: Path) -> list[dict[str, str]]:
    """The quarter hour of the highest generation in each summer month, or of its highest hour where none is known."""
    found = []
    with (data / "desk" / "coincident_peaks" / "ercot_4cp_hours_derived.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["peak_hour_start_utc"].replace("Z", "+00:00"))
            if row["gen15_interval_start_cpt"] and row["day_agree"] == "True":
                local = datetime.fromisoformat(row["gen15_interval_start_cpt"]).replace(tzinfo=TEXAS)
                at = local.astimezone(UTC)
            found.append({"rule": "4CP", "at": f"{at:%Y-%m-%dT%H:%M:%SZ}"})
    return found


# --- odds ------------------------------------------------------------------------------------------------


def recorded_loads(data: Path) -> list[SystemLoad]:
    """Load known when its hour has ended; the forecast from 10:00 of the day before."""
    with tempfile.TemporaryDirectory(prefix="tieline-desk-") as name:
        folder = days_folder(data, Path(name))
        span = (datetime(2021, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
        return system_loads(folder, *span, {"ERCOT": RULE.zone}, Provenance("bench", "measured"))


def odds(data: Path) -> list[dict[str, object]]:
    """By year: Brier scores of daily odds, of climatology and of a threshold rule, and hours that must be shed."""
    loads = recorded_loads(data)
    highest: dict[date, tuple[float, int]] = {}
    for one in loads:
        if one.kind == "measured":
            local = one.at.astimezone(TEXAS)
            highest[local.date()] = max(highest.get(local.date(), (0.0, 0)), (one.power_w, local.hour))
    by_day: dict[date, float] = {}
    by_hour: dict[tuple[date, int], float] = {}
    years = sorted({day.year for day in highest if day.month in RULE.months})
    for year in years:
        start, end = datetime(year, 5, 31, 5, tzinfo=UTC), datetime(year, 10, 1, 5, tzinfo=UTC)
        for one in odds_over(fleet(), (RULE,), loads, start, end):
            at, known = one.at.astimezone(TEXAS), one.known_at.astimezone(TEXAS)
            if at.date() == known.date() and known.hour == 6:
                by_day[at.date()] = by_day.get(at.date(), 0.0) + one.probability
            if at.date() == known.date() and at.hour == known.hour:
                by_hour[at.date(), at.hour] = by_hour.get((at.date(), at.hour), 0.0) + one.probability
    return [judged(year, highest, by_day, by_hour) for year in years]


def judged(
    year: int,
    highest: dict[date, tuple[float, int]],
    by_day: dict[date, float],
    by_hour: dict[tuple[date, int], float],
) -> dict[str, object]:
    days = [d for d in sorted(highest) if d.year == year and d.month in RULE.months]
    peak = {m: max((highest[d], d) for d in days if d.month == m)[1] for m in {d.month for d in days}}
    was = np.array([float(day == peak[day.month]) for day in days])
    chance = np.array([by_day.get(day, 0.0) for day in days])
    base = np.full(len(days), was.mean())
    over, so_far = [], 0.0
    for day in days:
        so_far = 0.0 if day.day == 1 else max(so_far, highest[day - timedelta(days=1)][0])
        yesterday = highest.get(day - timedelta(days=1), (0.0, 0))[0]
        over.append(float(0 < so_far <= yesterday / 0.98))
    hours = sorted((h for h in by_hour if h[0].year == year and h[0].month in peak), key=lambda h: (-by_hour[h], h))
    hit = [n + 1 for n, (day, hour) in enumerate(hours) if day == peak[day.month] and hour == highest[day][1]]
    return {
        "year": year,
        "days": len(days),
        "peaks": len(peak),
        "told": round(float(chance.sum()), 2),
        "brier": round(float(((chance - was) ** 2).mean()), 4),
        "brier_climatology": round(float(((base - was) ** 2).mean()), 4),
        "brier_threshold": round(float(((np.array(over) - was) ** 2).mean()), 4),
        "hours_for_peaks": hit,
    }


# --- value -------------------------------------------------------------------------------------------------


def month(text: str) -> tuple[datetime, datetime]:
    begin = datetime.fromisoformat(f"{text}-01").replace(tzinfo=TEXAS)
    end = (begin + timedelta(days=32)).replace(day=1)
    return begin.astimezone(UTC).replace(minute=0), end.astimezone(UTC)


def world_of(folder: Path, spans: list[tuple[str, datetime, datetime]]) -> ScenarioWorld:
    return load(folder, spans, events=True, settings=Settings(), fleet=fleet())


def best_band(folder: Path) -> float:
    world = world_of(folder, [("tune", *month("2023-05"))])
    nets = [drive(world, BandStrike(x), Settings(), SLOT_S).net for x in BANDS]
    return BANDS[int(np.argmax(nets))]


def value(folder: Path, text: str, band: float) -> list[dict[str, object]]:
    """One month: energy alone, and with peaks."""
    from dataclasses import replace

    whole, found = world_of(folder, [(text, *month(text))]), []
    for name, world in (("energy", replace(whole, peaks=Peaks.none())), ("energy and peaks", whole)):
        runs: list[Policy] = [
            AlwaysOn(),
            LastPrice(name="last price, odds", odds=True),
            GroupStrike(),
            BandStrike(band),
            Tieline(),
            Tieline(name=PERFECT, perfect=True),
        ]
        bound = bounds(world, Settings(), SLOT_S, simple=False).clairvoyant
        for policy in runs:
            begin = time.process_time()
            tally = drive(world, policy, Settings(), SLOT_S)
            found.append(
                {
                    "month": text, "with": name, "policy": policy.name, "net_usd": round(tally.net, 2),
                    "peaks_usd": round(tally.peaks, 2), "of_bound": round(tally.net / bound, 5),
                    "cpu_s": round(time.process_time() - begin, 1),
                }
            )  # fmt: skip
            print(f"{text} {name}: {policy.name} {tally.net:,.0f} USD", file=sys.stderr)
    return found


def table(found_odds: list[dict[str, object]], values: list[dict[str, object]]) -> str:
    lines = [
        "| year | days | peaks | odds add up to | Brier | climatology | threshold | hours shed for 1, 2, ... peaks |"
    ]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---|"]
    for one in found_odds:
        hours = ", ".join(map(str, one["hours_for_peaks"]))  # type: ignore[call-overload]
        cells = [one[k] for k in ("year", "days", "peaks", "told", "brier", "brier_climatology", "brier_threshold")]
        lines.append("| " + " | ".join(map(str, [*cells, hours])) + " |")
    lines += ["", "| month | with | policy | net, M USD | peaks, M USD | of bound | to the best rule |"]
    lines += ["|---|---|---|---:|---:|---:|---:|"]
    for one in values:
        rules = [v for v in values if v["month"] == one["month"] and v["with"] == one["with"]]
        best = max(float(str(v["net_usd"])) for v in rules if "Tieline" not in str(v["policy"]))
        net = float(str(one["net_usd"]))
        lines.append(
            f"| {one['month']} | {one['with']} | {one['policy']} | {net / 1e6:.3f} | "
            f"{float(str(one['peaks_usd'])) / 1e6:.3f} | {float(str(one['of_bound'])):.2%} | {net / best - 1:+.2%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA", "../shared/data")))
    parser.add_argument("--months", default=os.environ.get("MONTHS", "2023-07,2023-08,2024-08"))
    asked = parser.parse_args()
    if not (asked.data / "desk").is_dir():
        sys.exit(f"no folder desk in {asked.data}; give recorded days with --data or DATA=... (docs/desk.md)")
    begin = time.perf_counter()
    found = odds(asked.data)
    values: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="tieline-desk-") as name:
        folder = days_folder(asked.data, Path(name))
        band = best_band(folder) if asked.months else 0.0
        for one in filter(None, asked.months.split(",")):
            values += value(folder, one, band)
    text = table(found, values)
    OUT.mkdir(exist_ok=True)
    wall_s = round(time.perf_counter() - begin)
    kept = {"odds": found, "value": values, "band": band, "wall_s": wall_s}
    (OUT / "desk.json").write_text(json.dumps(kept, indent=1))
    (OUT / "desk.md").write_text(text + "\n")
    print(text)
    print(f"\ndead band tuned on May 2023: {band:g}; {wall_s} s", file=sys.stderr)


if __name__ == "__main__":
    main()
