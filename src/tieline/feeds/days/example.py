"""A folder of invented days in the shape of recorded ones, so that anyone can replay and backtest at once.

Made from the synthetic world of one seed for the package's demo fleet: eleven weeks of autumn 2025 with a heat storm in
Texas (scarcity on three evenings, a coincident peak on the second), a calm week, and the days around the end of
summer time. Everything in it says that it is invented; the same seed gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tieline import config
from tieline.economics import BLOCKS_PER_EPOCH
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.manifest import MANIFEST, Days, DaysManifest
from tieline.feeds.noise import name_key, uniform
from tieline.feeds.synthetic import Synthetic
from tieline.fleet import Fleet, Site
from tieline.fleet.markets import Market, zone_of

START, END = datetime(2025, 8, 20, tzinfo=UTC), datetime(2025, 11, 6, tzinfo=UTC)
STORM = Days("storm", datetime(2025, 9, 15, 5, tzinfo=UTC), datetime(2025, 9, 18, 5, tzinfo=UTC))
CALM = Days("calm week", datetime(2025, 10, 6, 5, tzinfo=UTC), datetime(2025, 10, 13, 5, tzinfo=UTC))
CLOCK = Days("clock change", datetime(2025, 11, 1, 5, tzinfo=UTC), datetime(2025, 11, 4, 6, tzinfo=UTC))
# What simple rules are tuned on: other days than they are measured on.
TUNE = (
    Days("tune-1", datetime(2025, 9, 22, 5, tzinfo=UTC), datetime(2025, 9, 29, 5, tzinfo=UTC)),
    Days("tune-2", datetime(2025, 10, 18, 5, tzinfo=UTC), datetime(2025, 10, 25, 5, tzinfo=UTC)),
)
HOUR, QUARTER, DAY = timedelta(hours=1), timedelta(minutes=15), timedelta(days=1)
OPERATOR, RULE = "ERCOT", "4CP"
# A coincident peak comes on the hottest evening of its month.
PEAK = datetime(2025, 9, 16, 21, 45, tzinfo=UTC)
_COOLING_J_TH = {"air": 21.5, "hydro": 16.0, "immersion": 19.0}

README = """\
# Invented days

Nothing here was ever recorded: prices, weather, difficulty, demand and events come from a seeded generator, in the
shape of a folder of recorded days (docs/replay.md). A storm ({storm}), a calm week ({calm}), a clock change ({clock}).

    tieline backtest --data .
    tieline replay --data . --from {storm} --to {storm_end}
"""


def write_example(folder: Path, seed: int = 1) -> list[Path]:
    """Write the folder; the files in the order they were written. Raises FolderError where one is already there."""
    if folder.exists() and any(folder.iterdir()):
        raise FolderError(f"{folder} is not empty; name a folder that is not there yet")
    fleet = config.demo().fleet
    # Beside it first, so that a folder that stands is a whole one.
    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    written = _Example(aside, fleet, Synthetic(fleet, seed), seed).write()
    if folder.exists():
        folder.rmdir()
    aside.rename(folder)
    return [folder / path.relative_to(aside) for path in written]


class _Example:
    def __init__(self, folder: Path, fleet: Fleet, world: Synthetic, seed: int) -> None:
        self.folder, self.fleet, self.world, self.seed = folder, fleet, world, seed
        self.written: list[Path] = []

    def write(self) -> list[Path]:
        manifest = DaysManifest(invented=True, seed=self.seed, days=(STORM, CALM, CLOCK), tune=TUNE)
        self._text(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1).decode() + "\n")
        words = {"storm": f"{STORM.start:%Y-%m-%d}", "storm_end": f"{STORM.end:%Y-%m-%d}"}
        words |= {"calm": f"{CALM.start:%Y-%m-%d}", "clock": f"{CLOCK.start:%Y-%m-%d}"}
        self._text("README.md", README.format(**words))
        self._prices()
        self._bitcoin()
        self._weather()
        self._demand()
        self._loads()
        self._text("latency/azure_rtt_p95.csv", _csv(("source", "destination", "rtt_p95_ms"), _round_trips(self.fleet)))
        self._text("scenario/sites.csv", _csv(SITE_COLUMNS, [_site_row(site) for site in self.fleet.sites]))
        self._text("scenario/events.json", msgspec.json.format(msgspec.json.encode(self._events()), indent=1).decode())
        return self.written

    def _text(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.written.append(path)

    def _parquet(self, name: str, columns: dict[str, list[object]]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            key: pa.array(values, pa.timestamp("ms", tz="UTC")) if key == "ts_utc" else pa.array(values)
            for key, values in columns.items()
        }
        pq.write_table(pa.table(arrays), path, compression="zstd")
        self.written.append(path)

    # --- prices -------------------------------------------------------------------------

    def _prices(self) -> None:
        hourly = [m for m in self._markets() if self.world.shape(m.name).length_s == 3600]
        quarters = [m for m in self._markets() if self.world.shape(m.name).length_s == 900]
        rows: dict[str, list[object]] = {"ts_utc": [], "market": [], "price_local": [], "price_usd": []}
        for market in hourly:
            for at in _steps(START, END, HOUR):
                usd = self._usd(market, at)
                rows["ts_utc"].append(at)
                rows["market"].append(market.name)
                rows["price_local"].append(round(usd / market.usd_about, 6))
                rows["price_usd"].append(usd)
        self._parquet("power_prices/hourly.parquet", rows)
        for market in quarters:
            moments = list(_steps(START, END, QUARTER))
            # The day before expects the hour: what the quarters come to, less what nobody foresaw.
            ahead = [round(0.8 * self._usd(market, t.replace(minute=0)) + 8.0, 2) for t in moments]
            self._parquet(
                f"power_prices/{market.name}_15min.parquet",
                {
                    "ts_utc": list(moments),
                    "da_price_usd": list(ahead),
                    "rt_price_usd": [self._usd(market, t) for t in moments],
                },
            )
        listed = [
            (m.name, m.location, m.kind, m.currency, m.zone, f"{m.usd_about:g}", m.operator)
            for m in hourly
        ]  # fmt: skip
        names = ("market", "node", "kind", "currency", "source_time_zone", "fx_usd_fixed", "operator")
        self._text("power_prices/markets.csv", _csv(names, listed))

    def _markets(self) -> list[Market]:
        markets = [self.fleet.market(name) for name in self.fleet.markets]
        return [market for market in markets if market is not None]

    def _usd(self, market: Market, at: datetime) -> float:
        usd = self.world.price(market.name, at)
        if market.operator == OPERATOR and STORM.start <= at < STORM.end:
            usd += _scarcity(market, at, name_key(self.seed, f"storm/{market.name}"))
        return round(usd, 2)

    # --- the rest of the world ------------------------------------------------------------

    def _bitcoin(self) -> None:
        hours = list(_steps(START, END, HOUR))
        closes = [float(self.world.network(at + HOUR).btc_usd) for at in hours]
        self._parquet("bitcoin/btc_usd_hourly.parquet", {"ts_utc": list(hours), "close": list(closes)})
        epochs = []
        for n in range(-1, 1 + (END - START) // timedelta(days=14)):
            at = START + n * timedelta(days=14)
            tick = self.world.network(at)
            epochs.append(
                (n + 1, tick.height, f"{at:%Y-%m-%dT%H:%M:%SZ}", int(tick.difficulty), BLOCKS_PER_EPOCH * 600)
            )
        self._text(
            "bitcoin/difficulty_epochs.csv",
            _csv(("epoch", "start_height", "start_utc", "difficulty", "timespan_s"), epochs),
        )

    def _weather(self) -> None:
        rows: dict[str, list[object]] = {"ts_utc": [], "station": [], "temp_c": [], "wet_bulb_c": []}
        texas = {s.weather_station for s in self.fleet.sites if self._operator(s) == OPERATOR}
        for station in self.fleet.stations:
            for at in _steps(START, END, HOUR):
                tick = self.world.weather(station, at)
                hotter = 5.0 if station in texas and STORM.start - DAY <= at < STORM.end else 0.0
                rows["ts_utc"].append(at)
                rows["station"].append(station)
                rows["temp_c"].append(None if tick.temp_c is None else tick.temp_c + hotter)
                rows["wet_bulb_c"].append(None if tick.wet_bulb_c is None else tick.wet_bulb_c + hotter / 2)
        self._parquet("weather/openmeteo_hourly.parquet", rows)

    def _operator(self, site: Site) -> str:
        market = self.fleet.market(site.contract.market)
        return "" if market is None else market.operator

    def _loads(self) -> None:
        """Texas's system: a floor, working days, and air conditioning; the forecast is off by two per cent."""
        station = next(s.weather_station for s in self.fleet.sites if self._operator(s) == OPERATOR) or ""
        market = next(m for m in self._markets() if m.operator == OPERATOR)
        rows: dict[str, list[object]] = {"ts_utc": [], "operator": [], "load_mw": []}
        ahead: dict[str, list[object]] = {"ts_utc": [], "operator": [], "forecast_mw": []}
        for at in _steps(START, END, HOUR):
            local = at.astimezone(zone_of(market.zone))
            temp = (self.world.weather(station, at).temp_c or 20.0) + (5.0 if STORM.start <= at < STORM.end else 0.0)
            day = math.exp(-(((local.hour - 17.0) / 5.5) ** 2))
            load = 41_000.0 + 9_000.0 * day + 850.0 * max(0.0, temp - 18.0)
            load *= 0.96 if local.weekday() >= 5 else 1.0
            # Heat that lasts tells on the second day.
            load *= 1.08 if PEAK - DAY / 2 < at < PEAK + DAY / 2 else 1.0
            error = 0.04 * (uniform(name_key(self.seed, "load"), (local.date() - START.date()).days) - 0.5)
            for book, name, value in ((rows, "load_mw", load), (ahead, "forecast_mw", load * (1.0 + error))):
                book["ts_utc"].append(at)
                book["operator"].append(OPERATOR)
                book[name].append(round(value, 1))
        self._parquet("load/system_load_hourly.parquet", rows)
        self._parquet("load/load_forecast_hourly.parquet", ahead)

    def _demand(self) -> None:
        rates, lengths = [], []
        for t_s in range(0, 7 * 86_400, 600):
            hour, day = t_s % 86_400 / 3600.0, t_s // 86_400
            awake = 0.5 - 0.5 * math.cos(2 * math.pi * (hour - 3.5) / 24.0)
            level = (1.2 + 2.6 * awake) * (0.85 if day >= 5 else 1.0)
            level *= 1.0 + 0.06 * (2.0 * uniform(name_key(self.seed, "requests"), t_s // 600) - 1.0)
            rates.append(("m-large", t_s, f"{level:.4f}", 300, "1.0"))
        for t_s in range(0, 7 * 86_400, 21_600):
            lengths += [("m-large", t_s, "input_tokens", 420), ("m-large", t_s, "output_tokens", 300)]
        names = ("model", "t_s", "rate_rps", "active_clients", "client_cv_weighted")
        self._text("llm_demand/servegen_model_10min.csv", _csv(names, rates))
        self._text("llm_demand/servegen_lengths_6h.csv", _csv(("model", "t_s", "field", "mean"), lengths))

    # --- what happens --------------------------------------------------------------------------

    def _events(self) -> dict[str, object]:
        texas = [s for s in self.fleet.sites if self._operator(s) == OPERATOR]
        others = [s for s in self.fleet.sites if self._operator(s) != OPERATOR]
        weeks = []
        for n, days in enumerate((STORM, CALM, CLOCK)):
            big, far, near = texas[n % len(texas)], others[5 * n], others[5 * n + 3]
            limit_mw = round(big.interconnect.limit_w / 1e6 * 0.4, 1)
            events: list[dict[str, object]] = [
                {"kind": "order", "site_id": big.id, "at": _text(days.start + 15 * HOUR), "minutes": 90,
                 "notice_s": 600, "to_mw": limit_mw, "penalty_usd_per_mwh": 5000},
                {"kind": "stuck_rigs", "site_id": near.id, "at": _text(days.start + 8 * HOUR), "minutes": 360,
                 "share": 0.03},
                {"kind": "link_loss", "site_id": far.id, "at": _text(days.start + 20 * HOUR), "minutes": 45},
                {"kind": "outage", "site_id": far.id, "at": _text(days.start + 31 * HOUR), "minutes": 40},
                {"kind": "slow_wake", "site_id": big.id, "at": _text(days.start + 40 * HOUR), "minutes": 600,
                 "factor": 2},
            ]  # fmt: skip
            weeks.append({"start": _text(days.start), "end": _text(days.end), "events": events})
        offers = [
            {"site_id": site.id, "product": "reserve_10min", "from": _text(days.start + h * HOUR), "hours": 4,
             "mw": round(site.interconnect.limit_w / 1e6 * 0.2, 1), "capacity_usd_per_mw_h": usd,
             "deployed_share_of_hours": 0.03, "nonperformance_usd_per_mwh": 2000, "baseline": "meter before/after"}
            for days in (STORM, CALM, CLOCK)
            for site, h, usd in ((texas[0], 12, 9.0), (texas[1], 32, 14.0), (texas[2], 36, 4.0))
        ]  # fmt: skip
        peaks = [{"rule": RULE, "at": _text(PEAK)}]
        return {
            "seed": self.seed, "invented": True, "weeks": weeks, "commitment_offers": offers, "peak_odds": [],
            "coincident_peaks": peaks,
        }  # fmt: skip


def _scarcity(market: Market, at: datetime, key: int) -> float:
    """USD/MWh on the storm's evenings, the second the worst; the quarter hours jump where the day ahead does not."""
    local = at.astimezone(zone_of(market.zone))
    height = (900.0, 3_200.0, 1_400.0)[min(2, (at - STORM.start) // DAY)]
    hour = local.hour + local.minute / 60.0
    bump = math.exp(-(((hour - 18.5) / 1.6) ** 2))
    jump = 1.0 if market.ahead else 0.5 + uniform(key, (at - START) // QUARTER)
    return height * bump * jump if bump > 0.02 else 0.0


SITE_COLUMNS = (
    "site_id", "region", "area", "lat", "lon", "capacity_mw", "gpu_mw", "asic_mw", "asic_j_per_th", "cooling",
    "price_basis", "price_market", "price_scale", "price_fixed_usd_mwh", "price_15min", "weather_station",
    "temp_offset_c", "azure_region", "rtt_penalty_ms",
)  # fmt: skip


def _site_row(site: Site) -> tuple[object, ...]:
    rigs_w = sum(group.rated_w for group in site.rig_groups)
    best = rigs_w / (sum(group.rated_hs for group in site.rig_groups) / 1e12) if rigs_w else _COOLING_J_TH[site.cooling]
    gpus_w = sum(group.rated_w * 1.25 for group in site.node_groups)
    contract = site.contract
    area = {0.7: "Paraguay", 0.6: "Ethiopia"}.get(contract.take_share, site.name)
    return (
        site.id, site.region, area, site.lat, site.lon, site.interconnect.limit_w / 1e6, round(gpus_w / 1e6, 3),
        round(rigs_w / 1e6, 3), round(best, 2), site.cooling, contract.basis, contract.market or "", contract.scale,
        "" if contract.fixed_usd_per_mwh is None else contract.fixed_usd_per_mwh, contract.market_15min or "",
        site.weather_station or "", site.temp_offset_c, site.network_region or "", site.rtt_penalty_ms,
    )  # fmt: skip


def _round_trips(fleet: Fleet) -> list[tuple[object, ...]]:
    """By great circle between the mean places of network regions, at two thirds of light's speed and a detour."""
    places: dict[str, list[tuple[float, float]]] = {}
    for site in fleet.sites:
        if site.network_region is not None:
            places.setdefault(site.network_region, []).append((site.lat, site.lon))
    means = {name: (sum(x for x, _ in p) / len(p), sum(y for _, y in p) / len(p)) for name, p in places.items()}
    return [
        (one, other, round(4.0 + _km(means[one], means[other]) / 100.0 * 1.6))
        for one in sorted(means)
        for other in sorted(means)
        if one != other
    ]


def _km(one: tuple[float, float], other: tuple[float, float]) -> float:
    (a, b), (c, d) = (tuple(map(math.radians, p)) for p in (one, other))
    cosine = math.sin(a) * math.sin(c) + math.cos(a) * math.cos(c) * math.cos(b - d)
    return 6371.0 * math.acos(max(-1.0, min(1.0, cosine)))


def _csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(names)
    out.writerows(rows)
    return text.getvalue()


def _steps(start: datetime, end: datetime, step: timedelta) -> Iterable[datetime]:
    at = start
    while at < end:
        yield at
        at += step


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
