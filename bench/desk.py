"""The desk on real Texan days: odds of coincident peaks, and what energy, peaks and reserves are worth beside rules.

    make bench-desk DATA=/path/to/data [MONTHS=2023-07,2023-08,2024-08]

DATA holds recorded days (docs/replay.md) and a folder `desk` with ERCOT's load, load forecast, zone prices and reserve
prices. The desk tells odds for June to September with its own load forecast in 2022 and 2023 and ERCOT's in 2024. Those
of 06:00 are judged by the day on which load was highest, those of each hour by how many hours must be shed to hit the
peaks. Value: four invented sites of 100 MW, one a load zone, quarter-hourly decisions, January 2022 to August 2024,
each month beside the best simple rule and the bound. The rules' numbers are tuned on May 2023, which is in the table
all the same. Bitcoin of 2022 stands in bench/data/bitcoin_2022; no weather of that year is recorded, so 2022 knows no
loss to heat, and cooling as on a hot day. When reserves are called is invented. One core.

Each piece (a month with one set of revenues under one policy) is kept in bench/out/desk as soon as it is done, under a
digest of the code that made it: a run that was broken off goes on where it was, and --table prints what there is.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
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
from tieline.backtest.policies import BandStrike, GroupNumbers, GroupStrike, Policy
from tieline.backtest.reserved import ReserveMarket
from tieline.backtest.reserves import BandWithReserves
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
STRIKES = (0.97, 1.03)
# Reserve prices that the rule tries, USD per MW and hour.
ASKED = (0.01, 2.0, 5.0, 10.0, 20.0)
FIRST, LAST = (2022, 1), (2024, 8)
BITCOIN_2022 = Path(__file__).parent / "data" / "bitcoin_2022"
# Rooms whose code bears on a figure.
ROOMS = ("dispatch", "backtest", "fleet", "economics", "feeds/days")

PRODUCTS = {"RRS": "ERCOT_RRS_RELAY", "ECRS": "ERCOT_ECRS", "NSPIN": "ERCOT_NSPIN", "REGUP": "ERCOT_REGUP_CLR"}

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
reserves = ["ERCOT_RRS_RELAY", "ERCOT_ECRS", "ERCOT_NSPIN"]
rigs = [{{ model = "Antminer S21", mw = 60.0 }}, {{ model = "Antminer S19j Pro", mw = 32.0 }}]
"""


def fleet() -> Fleet:
    sites = "".join(SITE.format(low=f"tx-{zone.lower()}", zone=zone) for zone in ZONES)
    return config.loads(f'[fleet]\nname = "Texas (invented)"\ninvented = true\n{sites}').fleet


def days_folder(data: Path, folder: Path) -> Path:
    """The shape of a data folder from ERCOT's own zones and loads; the rest is linked."""
    for name in ("weather", "llm_demand"):
        (folder / name).symlink_to((data / name).resolve(), target_is_directory=True)
    bitcoin(data / "bitcoin", folder / "bitcoin")
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
    (folder / "reserves").mkdir()
    paid = pq.read_table(data / "desk" / "ercot_ancillary" / "mcpc_dam_hourly.parquet")
    product = [PRODUCTS.get(name) for name in paid.column("service").to_pylist()]
    made = {"ts_utc": paid.column("ts_utc"), "product": product, "usd_per_mw_h": paid.column("mcpc_usd_per_mw_h")}
    pq.write_table(pa.table(made), folder / "reserves" / "clearing_hourly.parquet")
    events = {"weeks": [], "commitment_offers": [], "peak_odds": [], "coincident_peaks": peaks_of(data)}
    (folder / "scenario" / "events.json").write_text(json.dumps(events))
    return folder


def bitcoin(data: Path, folder: Path) -> None:
    """The year before and the folder's own, one after the other."""
    folder.mkdir()
    parts = [pq.read_table(f / "btc_usd_hourly.parquet", columns=["ts_utc", "close"]) for f in (BITCOIN_2022, data)]
    pq.write_table(pa.concat_tables([part.cast(parts[0].schema) for part in parts]), folder / "btc_usd_hourly.parquet")
    names = ("epoch", "start_height", "start_utc", "difficulty", "timespan_s")
    with (folder / "difficulty_epochs.csv").open("w", encoding="utf-8", newline="") as out:
        rows = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
        rows.writeheader()
        for part in (BITCOIN_2022, data):
            with (part / "difficulty_epochs.csv").open(encoding="utf-8") as file:
                rows.writerows(csv.DictReader(file))


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


def ambiguous(data: Path) -> set[str]:
    """Months whose peak two sources put on different days, or that one hour won by next to nothing."""
    path = data / "desk" / "coincident_peaks" / "ercot_4cp_hours_derived.csv"
    if not path.exists():
        return set()
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    doubtful = [row for row in rows if row["day_agree"] == "False" or row["confidence"] == "low"]
    return {f"{int(row['year'])}-{int(row['month']):02d}" for row in doubtful}


def published_credits(data: Path) -> dict[str, list[float]]:
    """Million USD a month that a miner of Texas reported for demand response, first to last publication."""
    path = data / "desk" / "miner_power_credits" / "credits_monthly.csv"
    found: dict[str, list[float]] = {}
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["demand_response_credits_musd"] and len(row["period"]) == 7:
                    found.setdefault(row["period"], []).append(float(row["demand_response_credits_musd"]))
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


class Pieces:
    """What was worked out already, one file a piece, by a digest of the code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        package, found = Path(config.__file__).parents[1], hashlib.sha256(SITE.encode())
        for room in ROOMS:
            for path in sorted((package / room).rglob("*")):
                if path.suffix in (".py", ".toml", ".csv"):
                    found.update(path.read_bytes())
        self.digest = found.hexdigest()[:16]

    def of(self, name: str, make: Callable[[], Any] | None) -> Any:
        """The piece `name`, made now where it is not there or of other code. None where `make` is None and it is not
        there; whatever code made it counts then."""
        path = self.folder / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text())
            if make is None or kept["code"] == self.digest:
                return kept["value"]
        if make is None:
            return None
        begin = time.process_time()
        value = make()
        whole = {"code": self.digest, "cpu_s": round(time.process_time() - begin, 1), "value": value}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(whole))
        part.rename(path)
        return value

    def cpu_s(self) -> float:
        return float(sum(json.loads(path.read_text())["cpu_s"] for path in self.folder.glob("*.json")))


def best_numbers(folder: Path) -> dict[str, Any]:
    """The rules' numbers, each by what earned most: one dead band for all without reserves, then dead band and strike
    of each model of rigs, then what to ask for a reserve."""
    world = world_of(folder, [("tune", *month("2023-05"))])
    bare = replace(world, reserves=ReserveMarket())

    def net(band: float, by_model: Mapping[str, GroupNumbers]) -> float:
        return drive(bare, BandStrike(band, by_model=by_model), Settings(), SLOT_S).net

    nets = {band: net(band, {}) for band in BANDS}
    band = max(nets, key=lambda x: nets[x])
    best, chosen = nets[band], dict[str, GroupNumbers]()
    for model in sorted({group.model for site in world.fleet.sites for group in site.rig_groups}):
        for name, values in (("share", BANDS), ("strike", STRIKES)):
            now = chosen.get(model, GroupNumbers(band))
            for tried in (replace(now, **{name: x}) for x in values if x != getattr(now, name)):
                if (usd := net(band, {**chosen, model: tried})) > best:
                    best, chosen[model] = usd, tried
    asked = max(ASKED, key=lambda x: drive(world, with_reserves(band, chosen, x), Settings(), SLOT_S).net)
    by_model = {model: asdict(one) for model, one in chosen.items()}
    return {"band": band, "by_model": by_model, "reserve_usd": asked}


def with_reserves(band: float, by_model: Mapping[str, GroupNumbers], usd: float) -> BandWithReserves:
    return BandWithReserves(band, by_model=by_model, reserve_usd=usd)


def policies(numbers: dict[str, Any], name: str) -> list[Policy]:
    """Those of one set of revenues. Who sells no reserves is compared where there are some, too."""
    band, by_model = numbers["band"], {model: GroupNumbers(**one) for model, one in numbers["by_model"].items()}
    tuned = "per-group strike with a dead band, tuned by group"
    rules: list[Policy] = [BandStrike(band)]
    if by_model:
        rules.append(BandStrike(band, tuned, by_model))
    if "peaks" in name:
        rules.append(GroupStrike())
    if name in ("energy and reserves", "all"):
        rules = [with_reserves(band, {}, numbers["reserve_usd"])]
        if by_model:
            rules.append(replace(with_reserves(band, by_model, numbers["reserve_usd"]), name=f"{tuned}, reserves"))
    return [*rules, Tieline(), Tieline(name=PERFECT, perfect=True)]


def summer(text: str) -> bool:
    return int(text[5:]) in RULE.months


# Outside the months of the peaks a set with peaks is the same as the one without, and nothing is run twice.
REVENUES = {"energy": "energy", "energy and peaks": "energy", "energy and reserves": "energy and reserves",
            "all": "energy and reserves"}  # fmt: skip


def used(name: str, text: str) -> str:
    """The set of revenues that stands for `name` in a month."""
    return name if summer(text) else REVENUES[name]


FIGURES = ("net", "peaks", "wear", "power", "mining", "reserves", "penalties")


def value(
    pieces: Pieces, folder: Path | None, text: str, name: str, numbers: dict[str, Any], perfect: bool = True
) -> list[dict[str, Any]]:
    """One month with one set of revenues under every policy, perfect forecasts and the bound where `perfect` asks for
    them; with no folder, those pieces that there are."""
    if REVENUES[name] != name and not summer(text):
        return []
    loaded: list[ScenarioWorld] = []

    def world() -> ScenarioWorld:
        assert folder is not None
        if not loaded:
            loaded.append(world_of(folder, [(text, *month(text))]))
        found = loaded[0] if name in ("energy and peaks", "all") else replace(loaded[0], peaks=Peaks.none())
        return found if name in ("energy and reserves", "all") else replace(found, reserves=ReserveMarket())

    def run(policy: Policy) -> dict[str, Any]:
        tally = drive(world(), policy, Settings(), SLOT_S)
        if not np.isfinite(tally.net):
            sys.exit(f"{text}: no bitcoin price is recorded in the folder; leave the month out of MONTHS")
        usd = {f"{name}_usd": round(getattr(tally, name), 2) for name in FIGURES}
        return {**usd, "mwh": round(tally.mwh, 1), "reserve_mwh": round(tally.reserve_mwh, 1)}

    key = f"{text}-{name.replace(' ', '-')}"

    def bound() -> float:
        return float(bounds(world(), Settings(), SLOT_S, simple=False).clairvoyant)

    best, found = pieces.of(f"{key}-bound", None if folder is None or not perfect else bound), []
    for policy in policies(numbers, name):
        if policy.name == PERFECT and not perfect:
            continue

        def made(policy: Policy = policy) -> dict[str, Any]:
            return run(policy)

        short = "".join(c if c.isalnum() else "-" for c in policy.name)
        one = pieces.of(f"{key}-{short}", None if folder is None else made)
        if one is not None:
            found.append(
                {
                    "month": text,
                    "with": name,
                    "policy": policy.name,
                    "bound_usd": float("nan") if best is None else best,
                    **one,
                }
            )
    if folder is not None:
        print(f"{text} {name}: done", file=sys.stderr, flush=True)
    return found


def by_year(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whole years (the months that there are) of each set of revenues: each policy's sum, beside the best rule's."""
    found = []
    for year in sorted({v["month"][:4] for v in values}):
        for name in REVENUES:
            mine = [v for v in values if v["month"].startswith(year)]
            # Where a month has no peaks, energy alone is what it earns with them too.
            chosen = [v for v in mine if v["with"] == (name if summer(v["month"]) else REVENUES[name])]
            months = sorted({v["month"] for v in chosen})
            sums: dict[str, dict[str, float]] = {}
            for v in chosen:
                total = sums.setdefault(v["policy"], {})
                for key in ("net_usd", "peaks_usd", "wear_usd", "bound_usd", "reserves_usd", "reserve_mwh"):
                    total[key] = total.get(key, 0.0) + v[key]
            found += [
                {"year": year, "with": name, "months": len(months), "policy": policy, **total}
                for policy, total in sums.items()
            ]
    return found


def of_bound(row: Mapping[str, Any]) -> str:
    """Empty where no bound was worked out yet."""
    return "" if np.isnan(row["bound_usd"]) else f"{row['net_usd'] / row['bound_usd']:.2%}"


def rule_of(rows: list[dict[str, Any]]) -> float:
    return max(float(row["net_usd"]) for row in rows if "Tieline" not in row["policy"])


def worst_month(values: list[dict[str, Any]], year: str, name: str) -> str:
    """The month in which Tieline stands worst to the best rule of that month."""
    found = []
    for text in sorted({v["month"] for v in values if v["month"].startswith(year)}):
        there = [v for v in values if (v["month"], v["with"]) == (text, used(name, text))]
        tieline = next((v for v in there if v["policy"] == "Tieline"), None)
        if tieline is not None:
            found.append((float(tieline["net_usd"]) / rule_of(there) - 1.0, text))
    return f"{min(found)[0]:+.2%} ({min(found)[1]})" if found else ""


def table(found_odds: list[dict[str, Any]], values: list[dict[str, Any]], data: Path) -> str:
    doubtful = ambiguous(data)
    lines = [
        "| year | days | peaks | odds add up to | Brier | climatology | threshold | hours shed for 1, 2, ... peaks |"
    ]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---|"]
    for one in found_odds:
        hours = ", ".join(map(str, one["hours_for_peaks"]))
        cells = [one[k] for k in ("year", "days", "peaks", "told", "brier", "brier_climatology", "brier_threshold")]
        lines.append("| " + " | ".join(map(str, [*cells, hours])) + " |")
    lines += [
        "",
        "| year (months) | with | policy | net, M USD | peaks | reserves | wear | of bound | to the best rule | "
        "worst month |",
    ]
    lines += ["|---|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    years = by_year(values)
    whole = {(one["year"], one["with"]): one["months"] for one in years if one["policy"] == "Tieline"}
    for one in years:
        if one["months"] != whole.get((one["year"], one["with"])):
            continue  # a rule of the summers alone: a sum of three months is no year's
        best = rule_of([v for v in years if v["year"] == one["year"] and v["with"] == one["with"]])
        worst = worst_month(values, one["year"], one["with"]) if one["policy"] == "Tieline" else ""
        millions = " | ".join(f"{one[f'{key}_usd'] / 1e6:.3f}" for key in ("net", "peaks", "reserves", "wear"))
        shares = f"{of_bound(one)} | {one['net_usd'] / best - 1:+.2%}"
        lines.append(
            f"| {one['year']} ({one['months']}) | {one['with']} | {one['policy']} | {millions} | {shares} | {worst} |"
        )
    lines += ["", "| summer month, energy and peaks | best rule | M USD | Tieline | to it | perfect, of bound |"]
    lines += ["|---|---|---:|---:|---:|---:|"]
    for text in sorted({v["month"] for v in values if summer(v["month"])}):
        rows = {v["policy"]: v for v in values if v["month"] == text and v["with"] == "energy and peaks"}
        rules = {name: row for name, row in rows.items() if "Tieline" not in name}
        if "Tieline" not in rows or PERFECT not in rows or not rules:
            continue
        name = max(rules, key=lambda n: float(rules[n]["net_usd"]))
        best, mine, perfect = rules[name]["net_usd"], rows["Tieline"]["net_usd"], rows[PERFECT]
        lines.append(
            f"| {text}{'*' * (text in doubtful)} | {name} | {best / 1e6:.3f} | {mine / 1e6:.3f} | "
            f"{mine / best - 1:+.2%} | {of_bound(perfect)} |"
        )
    lines += ["", f"\\* the month's peak is ambiguous: {', '.join(sorted(doubtful)) or 'none'}"]
    return "\n".join([*lines, *all_lines(values, doubtful), *credits_lines(values, published_credits(data))])


def all_lines(values: list[dict[str, Any]], doubtful: set[str]) -> list[str]:
    """All revenues month by month, beside the best rule of the month."""
    lines = ["", "| month, all revenues | best rule | M USD | Tieline | to it | of bound | perfect, of bound |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|"]
    for text in sorted({v["month"] for v in values}):
        rows = {v["policy"]: v for v in values if (v["month"], v["with"]) == (text, used("all", text))}
        rules = {name: row for name, row in rows.items() if "Tieline" not in name}
        if "Tieline" not in rows or not rules:
            continue
        name = max(rules, key=lambda n: float(rules[n]["net_usd"]))
        best, mine = rules[name]["net_usd"], rows["Tieline"]
        perfect = of_bound(rows[PERFECT]) if PERFECT in rows else ""
        lines.append(
            f"| {text}{'*' * (text in doubtful)} | {name} | {best / 1e6:.3f} | {mine['net_usd'] / 1e6:.3f} | "
            f"{mine['net_usd'] / best - 1:+.2%} | {of_bound(mine)} | {perfect} |"
        )
    return lines


def credits_lines(values: list[dict[str, Any]], published: dict[str, list[float]]) -> list[str]:
    """Reserve revenue by month, of 400 MW, beside what a miner of Texas published."""
    lines = [
        "",
        "| month | reserves of Tieline, M USD | USD per MW and year | MW sold on average | published, M USD |",
        "|---|---:|---:|---:|---:|",
    ]
    for text in sorted({v["month"] for v in values}):
        key = (text, used("all", text), "Tieline")
        one = next((v for v in values if (v["month"], v["with"], v["policy"]) == key), None)
        if one is None:
            continue
        begin, end = month(text)
        hours = (end - begin).total_seconds() / 3600.0
        per_mw = one["reserves_usd"] / 400.0 / hours * 8766.0
        told = " / ".join(f"{usd:g}" for usd in dict.fromkeys(published.get(text, [])))
        lines.append(
            f"| {text} | {one['reserves_usd'] / 1e6:.2f} | {per_mw:,.0f} | {one['reserve_mwh'] / hours:.0f} | {told} |"
        )
    lines += [
        "",
        "What the miner published is below what is sold here: a price taker sells all that it draws in nearly every "
        "hour to the product that pays most, moves no price, and is called as seldom as assumed; the miner sold a part "
        "of its load, and does not say which.",
    ]
    return lines


def months() -> list[str]:
    """Every month of the bench, summers first."""
    found, (year, number) = [], FIRST
    while (year, number) <= LAST:
        found.append(f"{year}-{number:02d}")
        year, number = (year, number + 1) if number < 12 else (year + 1, 1)
    return sorted(found, key=lambda text: (not summer(text), text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA", "../shared/data")))
    parser.add_argument("--months", default=os.environ.get("MONTHS", ""), help="Default: all, summers first.")
    parser.add_argument("--pieces", type=Path, default=OUT / "desk", help="Where pieces are kept.")
    parser.add_argument("--table", action="store_true", help="Work nothing out; print what there is.")
    asked = parser.parse_args()
    pieces, wanted = Pieces(asked.pieces), list(filter(None, asked.months.split(","))) or months()
    if asked.table:
        numbers = pieces.of("numbers", None) or {"band": 0.0, "by_model": {}, "reserve_usd": 0.0}
        found = pieces.of("odds", None) or []
        values = [one for name in REVENUES for text in wanted for one in value(pieces, None, text, name, numbers)]
    else:
        if not (asked.data / "desk").is_dir():
            sys.exit(f"no folder desk in {asked.data}; give recorded days with --data or DATA=... (docs/desk.md)")
        values = []
        with tempfile.TemporaryDirectory(prefix="tieline-desk-") as made:
            folder = days_folder(asked.data, Path(made))
            found = pieces.of("odds", lambda: odds(asked.data))
            numbers = pieces.of("numbers", lambda: best_numbers(folder))
            # What the aims are about comes first: all revenues by rules and Tieline; then perfect forecasts and bounds.
            sets = [(name, text) for name in reversed(REVENUES) for text in wanted]
            sets.sort(key=lambda one: one[0] != used("all", one[1]))
            for perfect in (False, True):
                for name, text in sets:
                    rows = value(pieces, folder, text, name, numbers, perfect)
                    values += rows if perfect else []
    text = table(found, values, asked.data)
    kept = {"odds": found, "value": values, "numbers": numbers, "cpu_s": round(pieces.cpu_s())}
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "desk.json").write_text(json.dumps(kept, indent=1))
    (OUT / "desk.md").write_text(text + "\n")
    print(text)
    print(f"\nrules tuned on May 2023: {numbers}; {pieces.cpu_s():.0f} s of one core in all pieces", file=sys.stderr)


if __name__ == "__main__":
    main()
