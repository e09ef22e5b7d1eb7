"""Recorded days as records, each known no earlier than it was in the world.

Reads a folder with power prices, bitcoin, weather, demand and a scenario (Parquet and CSV). When a value is
known: a day-ahead price or a published tariff when its market publishes it (`fleet.markets`); a real-time
price when its interval has ended; an hourly candle of bitcoin when its hour has; demand when its window has;
a temperature at its hour. Missing hours are missing: nothing is filled.

Assumed, and so marked `estimated`: transaction fees are 3 % of the subsidy (no recorded source of fees may be
redistributed), and demand is a measured shape at an assumed scale.
"""

from __future__ import annotations

import gzip
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec

from tieline.clock import parse_utc
from tieline.economics import BLOCKS_PER_EPOCH, subsidy_btc
from tieline.feeds.days.events import events, odds, offers
from tieline.feeds.days.folder import FolderError, columns, number, rows
from tieline.feeds.days.loads import system_loads
from tieline.feeds.days.manifest import DaysManifest, manifest_of
from tieline.feeds.days.prices import Provenance, Rate, check_hubs, check_rates, in_dollars, rows_of, ticks
from tieline.feeds.days.rates import exchange_rates
from tieline.feeds.days.reserves import reserve_prices
from tieline.feeds.days.sites import MODEL, fleet_from_sites_csv
from tieline.fleet import Fleet, Market, shipped
from tieline.fleet.currency import RateBook
from tieline.fleet.markets import MarketKind, zone_of
from tieline.records import (
    AnyRecord,
    Demand,
    ExchangeRate,
    NetworkTick,
    PriceTick,
    ReservePrice,
    SystemLoad,
    WeatherTick,
)

SOURCE = "recorded"
FEE_SHARE = 0.03
HOUR = timedelta(hours=1)
# What a running platform has read by the start: three weeks of prices and demand, a week of weather.
HISTORY = timedelta(days=23)
# Odds of peaks look at the same weeks of the years before.
LOAD_HISTORY = timedelta(days=1_130)
# What may be known by a moment of what begins after it: prices of tomorrow, offers, odds.
AHEAD = timedelta(days=3)

# The scenario's demand: a measured rate of requests times an assumed factor, shared over regions, each
# shifted to its local day (standard time of its largest sites).
DEMAND_SERIES, DEMAND_FACTOR, DEMAND_LENGTH_S, DEMAND_WEEK_S = "m-large", 350.0, 600, 7 * 86_400
REGION_SHARES: dict[str, tuple[float, int]] = {
    "north_america": (0.55, -6),
    "south_america": (0.20, -3),
    "middle_east": (0.15, 4),
    "east_africa": (0.10, 3),
}
_TMY3_OFFSET_H = {"TMY3-PHOENIX": -7, "TMY3-TUCSON": -7, "TMY3-MIAMI": -5, "TMY3-HONOLULU": -10}
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)

ASSUMPTIONS = (
    f"transaction fees: {FEE_SHARE:.0%} of the subsidy (assumed)",
    f"demand: {DEMAND_SERIES} of the recorded week x {DEMAND_FACTOR:g} x scale, repeated weekly; shares "
    + ", ".join(f"{name} {share:.2f}" for name, (share, _) in REGION_SHARES.items())
    + ", each in its local day (assumed)",
    "sites, contracts, orders and faults: invented",
)


@dataclass(frozen=True, slots=True)
class RecordedFolder:
    """One folder of recorded days. Every method raises FolderError naming the file and the column."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise FolderError(f"{self.folder}: no such folder; give one with scenario/sites.csv in it")

    def fleet(self, scale: float = 1.0) -> Fleet:
        return self.over(fleet_from_sites_csv(self.folder / "scenario" / "sites.csv", scale))

    def over(self, fleet: Fleet) -> Fleet:
        """The same fleet, knowing the folder's markets as well as its own."""
        own = {market.name for market in fleet.market_table}
        others = tuple(market for name, market in self.markets().items() if name not in own)
        return msgspec.structs.replace(fleet, market_table=(*fleet.market_table, *others))

    @property
    def manifest(self) -> DaysManifest:
        return manifest_of(self.folder)

    @property
    def usual_scale(self) -> float:
        """Of the folder's fleet: the invented one has the size that it is meant for, the recorded one is 2.2 times a
        fleet of 50 EH/s."""
        return 1.0 if self.manifest.invented else 0.447

    @property
    def provenance(self) -> Provenance:
        """Where its records say that they come from."""
        invented = self.manifest.invented
        return Provenance("example days (invented)", "simulated") if invented else Provenance(SOURCE, "measured")

    @property
    def assumptions(self) -> tuple[str, ...]:
        if not self.manifest.invented:
            return ASSUMPTIONS
        return (f"INVENTED days of seed {self.manifest.seed}: prices, weather, difficulty and demand", *ASSUMPTIONS)

    def records(
        self, fleet: Fleet, start: datetime, end: datetime, scale: float = 1.0, *, with_events: bool = True
    ) -> list[AnyRecord]:
        """Everything that bears on [start, end), sorted by when it is known: the weeks before it that a running
        platform has read, and what is known by `end` of what begins later. `scale` is the fleet's."""
        records: list[AnyRecord] = [
            *self.prices(fleet, start - HISTORY, end + AHEAD),
            *self.network(start - HISTORY, end),
            *self.weather(fleet, start - HISTORY, end),
            *self.demand(fleet, start - HISTORY, end, scale),
        ]
        records += self.loads(fleet, start - LOAD_HISTORY, end + AHEAD)
        records += self.reserves(fleet, start - HISTORY, end + AHEAD)
        records += exchange_rates(self.folder, start - HISTORY, end, self.provenance)
        path = self.folder / "scenario" / "events.json"
        if with_events and path.exists():
            ids = frozenset(site.id for site in fleet.sites)
            records += events(path, start, end, ids, scale)
            records += [offer.promise for offer in offers(path, start, end + AHEAD, ids, scale)]
            records += odds(path, start - HISTORY, end + AHEAD, fleet.peak_rules)
        records = [record for record in records if record.at < end or record.known_at <= end]
        return sorted(records, key=lambda r: (r.known_at, type(r).__name__, r.subject, r.at))

    def known_by(self, fleet: Fleet, now: datetime, scale: float = 1.0) -> list[AnyRecord]:
        """Everything that is known at `now`, what begins later included: what a running platform would have read."""
        return [record for record in self.records(fleet, now, now, scale) if record.known_at <= now]

    def markets(self) -> dict[str, Market]:
        """What the folder says of its markets, on top of what is known of them: publication, limits, operator."""
        path = self.folder / "power_prices" / "markets.csv"
        markets = {}
        for n, row in enumerate(rows(path, ("market", "kind", "source_time_zone"))):
            name, words = row["market"], row["kind"]
            zone = row["source_time_zone"]
            try:
                zone_of(zone)
            except ValueError as error:
                raise FolderError(f"{path}:{n + 2}: column source_time_zone is {zone!r}; {error}") from None
            kind: MarketKind = "tariff" if "tariff" in words else "day-ahead" if "day-ahead" in words else "real-time"
            known = shipped().get(name) or Market(name=name, kind=kind, zone=zone)
            stated = {"operator": row.get("operator"), "currency": row.get("currency")}
            stated = {field: value for field, value in stated.items() if value}
            markets[name] = msgspec.structs.replace(known, kind=kind, zone=zone, **stated)
        return markets

    def rates(self) -> dict[str, Rate]:
        """USD per unit of each market's currency, where the folder states one."""
        path = self.folder / "power_prices" / "markets.csv"
        return {
            row["market"]: Rate(row["currency"], number(path, n + 2, row, "fx_usd_fixed"))
            for n, row in enumerate(rows(path, ("market",)))
            if row.get("fx_usd_fixed") and row.get("currency")
        }

    def prices(self, fleet: Fleet, start: datetime, end: datetime) -> list[PriceTick]:
        """Prices of every market the fleet names; a market the folder lacks is a FolderError."""
        path = self.folder / "power_prices" / "hourly.parquet"
        known, wanted = self.markets(), set(fleet.markets)
        stated = self.rates()
        check_rates(path, stated, known)
        check_hubs(path, known)
        rates, book = exchange_rates(self.folder, start - HISTORY, end, self.provenance), RateBook()
        for one in rates:
            book.learn(one.currency, one.at, one.usd_per_unit)
        records = []
        for name, listed in rows_of(path).items():
            if name not in wanted or name not in known:
                continue
            mine = ticks(known[name], listed, start, end, self.provenance)
            dated = rates and known[name].currency != "USD" and name not in stated
            records += in_dollars(path, known[name], listed, mine, book) if dated else mine
        for name in sorted(wanted - set(known)):
            hourly = next(
                (known.get(s.contract.market or "") for s in fleet.sites if s.contract.market_15min == name), None
            )
            records += self._quarter_hours(name, hourly, start, end)
        return records

    def _quarter_hours(self, name: str, hourly: Market | None, start: datetime, end: datetime) -> list[PriceTick]:
        """A 15-minute file named after its market, `<market>_15min.parquet`: real-time, and beside it the day-ahead
        price as market `<market>_da`. One that no table has lies in the zone of the hourly market it stands beside."""
        path = self.folder / "power_prices" / f"{name}_15min.parquet"
        if not path.exists():
            raise FolderError(
                f"{self.folder / 'power_prices'}: market {name!r} is named by the fleet, but neither "
                f"markets.csv nor {path.name} has it"
            )
        zone = "UTC" if hourly is None else hourly.zone
        real_time = shipped().get(name) or Market(name=name, kind="real-time", zone=zone, length_s=900)
        other = f"{name}_da"
        ahead = shipped().get(other) or Market(name=other, kind="day-ahead", zone=real_time.zone)
        return [
            msgspec.structs.replace(tick, length_s=900)
            for market, column in ((ahead, "da_price_usd"), (real_time, "rt_price_usd"))
            for tick in ticks(market, rows_of(path, column, by_market=False)[""], start, end, self.provenance)
        ]

    def loads(self, fleet: Fleet, start: datetime, end: datetime) -> list[SystemLoad]:
        """System load of the operators whose peaks some rule counts, measured and forecast."""
        zones = {rule.operator: rule.zone for rule in fleet.peak_rules.values()}
        return system_loads(self.folder, start, end, zones, self.provenance)

    def reserves(self, fleet: Fleet, start: datetime, end: datetime) -> list[ReservePrice]:
        """Clearing prices of the products that some site is qualified for."""
        known, wanted = fleet.reserve_products, {name for site in fleet.sites for name in site.reserves}
        products = {name: one for name, one in known.items() if name in wanted}
        return reserve_prices(self.folder, start, end, products, self.provenance)

    def exchange_rates(self, start: datetime, end: datetime) -> list[ExchangeRate]:
        """Rates that become known in [start, end)."""
        return exchange_rates(self.folder, start, end, self.provenance)

    def network(self, start: datetime, end: datetime) -> list[NetworkTick]:
        """Difficulty, subsidy and price: at each hour's close, and at each new difficulty."""
        path = self.folder / "bitcoin" / "difficulty_epochs.csv"
        epochs: list[tuple[datetime, float, float, float]] = []
        for n, row in enumerate(rows(path, ("start_height", "start_utc", "difficulty", "timespan_s"))):
            height, difficulty, span_s = (
                number(path, n + 2, row, c) for c in ("start_height", "difficulty", "timespan_s")
            )
            epochs.append((parse_utc(row["start_utc"]), height, difficulty, span_s))
        epochs.sort()
        starts = [epoch[0] for epoch in epochs]
        prices = self.folder / "bitcoin" / "btc_usd_hourly.parquet"
        table = columns(prices, ("ts_utc", "close"), ("ts_utc", start - 2 * HOUR, end))
        closes = sorted(
            (at.astimezone(UTC) + HOUR, close)
            for at, close in zip(table["ts_utc"], table["close"], strict=True)
            if close is not None
        )
        moments = dict(closes)
        ends = [moment for moment, _ in closes]
        for moment in starts:
            at = bisect_right(ends, moment) - 1
            if start <= moment < end and at >= 0:
                moments.setdefault(moment, closes[at][1])
        records = []
        for moment, close in sorted(moments.items()):
            index = bisect_right(starts, moment) - 1
            if not start <= moment < end or index < 0:
                continue
            began, height, difficulty, timespan_s = epochs[index]
            part = min(1.0, (moment - began).total_seconds() / timespan_s)
            now_height = int(height) + min(BLOCKS_PER_EPOCH - 1, int(part * BLOCKS_PER_EPOCH))
            records.append(
                NetworkTick(
                    at=moment,
                    known_at=moment,
                    source=f"{SOURCE}; fees assumed {FEE_SHARE:.0%}",
                    kind="estimated",
                    difficulty=difficulty,
                    subsidy_btc=subsidy_btc(now_height),
                    fee_share=FEE_SHARE,
                    btc_usd=Decimal(str(close)),
                    height=now_height,
                )
            )
        return records

    def weather(self, fleet: Fleet, start: datetime, end: datetime) -> list[WeatherTick]:
        """Temperatures of the fleet's stations: measured hours, or a typical year where a site names one."""
        wanted, (source, kind) = set(fleet.stations), self.provenance
        path = self.folder / "weather" / "openmeteo_hourly.parquet"
        names = ("ts_utc", "station", "temp_c", "wet_bulb_c")
        table = columns(path, names, ("ts_utc", start, end))
        weather = [
            WeatherTick(
                at=at.astimezone(UTC),
                known_at=at.astimezone(UTC),
                source=source,
                kind=kind,
                station=station,
                temp_c=round(temp, 2),
                wet_bulb_c=None if wet is None else round(wet, 2),
            )
            for at, station, temp, wet in zip(*(table[name] for name in names), strict=True)
            if station in wanted and temp is not None
        ]
        typical = wanted & set(_TMY3_OFFSET_H) - {tick.station for tick in weather}
        if typical:
            weather += self._typical_year(typical, start, end)
        return weather

    def _typical_year(self, stations: set[str], start: datetime, end: datetime) -> list[WeatherTick]:
        path = self.folder / "weather" / "tmy3_hourly.csv.gz"
        try:
            text = gzip.decompress(path.read_bytes()).decode("utf-8")
        except FileNotFoundError:
            raise FolderError(f"{path}: no such file; {', '.join(sorted(stations))} is read from it") from None
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise FolderError(f"{path}: not a gzip of text ({type(error).__name__})") from error
        names = ("station", "month", "day", "hour_ending_lst", "temp_c", "wet_bulb_c")
        cells: dict[tuple[str, int, int, int], tuple[float, float | None]] = {}
        for n, row in enumerate(rows(path, names, text)):
            if row["station"] in stations:
                month, day, hour = (int(number(path, n + 2, row, c)) for c in ("month", "day", "hour_ending_lst"))
                wet = number(path, n + 2, row, "wet_bulb_c") if row["wet_bulb_c"] else None
                cells[(row["station"], month, day, hour - 1)] = (number(path, n + 2, row, "temp_c"), wet)
        weather = []
        for station in sorted(stations):
            offset = timedelta(hours=_TMY3_OFFSET_H[station])
            at = start.replace(minute=0, second=0, microsecond=0)
            while at < end:
                local = at + offset
                cell = cells.get((station, local.month, local.day, local.hour))
                if cell is not None and at >= start:  # 29 February is in no typical year
                    weather.append(
                        WeatherTick(
                            at=at,
                            known_at=at,
                            source=f"{SOURCE}; typical year",
                            kind="estimated",
                            station=station,
                            temp_c=cell[0],
                            wet_bulb_c=cell[1],
                        )
                    )
                at += HOUR
        return weather

    def demand(self, fleet: Fleet, start: datetime, end: datetime, scale: float) -> list[Demand]:
        """Tokens asked for by region, where the fleet has nodes that serve the model; none otherwise."""
        if not any(group.model == MODEL for site in fleet.sites for group in site.node_groups):
            return []
        rates = self._rates()
        if not rates:
            return []
        output, input_ = (self._mean_length(field) for field in ("output_tokens", "input_tokens"))
        step = timedelta(seconds=DEMAND_LENGTH_S)
        at = start - (start - _MONDAY) % step
        demand = []
        while at < end:
            for region, (share, offset_h) in REGION_SHARES.items():
                local_s = int((at - _MONDAY).total_seconds() + offset_h * 3600) % DEMAND_WEEK_S
                rate = rates.get(local_s)
                if rate is None:  # a hole in the recording is not an absence of demand
                    continue
                requests_per_s = rate * DEMAND_FACTOR * share * scale
                window = local_s // 21_600 * 21_600
                demand.append(
                    Demand(
                        at=at,
                        known_at=at + step,
                        source=f"{SOURCE}; scale assumed",
                        kind="estimated",
                        model=MODEL,
                        region=region,
                        output_tokens_per_s=round(requests_per_s * output[window], 3),
                        input_tokens_per_s=round(requests_per_s * input_[window], 3),
                        length_s=DEMAND_LENGTH_S,
                    )
                )
            at += step
        return demand

    def _rates(self) -> dict[int, float]:
        path = self.folder / "llm_demand" / "servegen_model_10min.csv"
        rates: dict[int, float] = {}
        for n, row in enumerate(rows(path, ("model", "t_s", "rate_rps"))):
            if row["model"] == DEMAND_SERIES and row["rate_rps"]:
                rates[int(number(path, n + 2, row, "t_s"))] = number(path, n + 2, row, "rate_rps")
        return rates

    def _mean_length(self, field: str) -> dict[int, float]:
        """Mean tokens per request by 6-hour window; a window without a figure takes the week's mean."""
        path = self.folder / "llm_demand" / "servegen_lengths_6h.csv"
        means: dict[int, float] = {}
        for n, row in enumerate(rows(path, ("model", "t_s", "field", "mean"))):
            if row["model"] == DEMAND_SERIES and row["field"] == field and row["mean"]:
                means[int(number(path, n + 2, row, "t_s"))] = number(path, n + 2, row, "mean")
        if not means:
            raise FolderError(f"{path}: no row with model {DEMAND_SERIES} and field {field}")
        overall = sum(means.values()) / len(means)
        filled: dict[int, float] = defaultdict(lambda: overall)
        filled.update(means)
        return filled
