"""A synthetic world: prices, the bitcoin network, weather and demand that never were, and say so.

Any record can be made for any moment, as a pure function of (seed, moment): nothing is drawn in sequence, so
two platforms with one seed see one world, and its past can be asked for. Levels and shapes are made up after
public figures (daily shape, evening peaks, solar dips, scarcity, negative hours); no value is a quote.

Rules of this world: a day-ahead price or tariff is published at 18:00 UTC of the market's local day before; a
real-time price is posted when its interval begins, and until then there is a forecast of it from 18:00 the
day before. Every record has source "synthetic" and kind "simulated", or "forecast".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal

from tieline.economics import subsidy_btc
from tieline.feeds.noise import name_key, smooth, uniform
from tieline.feeds.wet_bulb import wet_bulb_c
from tieline.fleet import Fleet, Site
from tieline.records import AnyRecord, Demand, NetworkTick, PriceTick, WeatherTick

SOURCE = "synthetic"
What = Literal["prices", "network", "weather", "demand"]
EVERYTHING: tuple[What, ...] = ("prices", "network", "weather", "demand")

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NETWORK_EVERY, DEMAND_EVERY = timedelta(minutes=10), timedelta(minutes=5)
PUBLISHED = time(18, 0)
# A reader that comes back after longer than this is told the last two days only.
MAX_BEHIND = timedelta(hours=48)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MarketShape:
    """What one market's prices are like, in USD/MWh and local hours."""

    offset_h: float
    base: float
    evening: float = 18.0  # added around 19:00
    morning: float = 6.0  # added around 08:00
    midday: float = -8.0  # added around 13:00 (solar)
    sigma: float = 6.0  # of the hourly noise
    spike_days: float = 0.03  # share of days with scarcity in the evening
    spike: float = 400.0
    negative_days: float = 0.03  # share of days with hours below zero
    floor: float | None = None
    cap: float | None = None
    ahead: bool = False
    length_s: int = 3600
    levels: tuple[float, float, float] | None = None  # a tariff: off-peak, standard, peak


_SHAPES: dict[str, MarketShape] = {
    "ERCOT_HUBAVG_DA": MarketShape(-6, 29, evening=24, sigma=5, spike_days=0.05, spike=900, ahead=True),
    "ercot_hb_south": MarketShape(-6, 27, 20, sigma=10, spike_days=0.10, spike=1800, negative_days=0.10, length_s=900),
    "PJM_DOM_RT": MarketShape(-5, 33, evening=16, morning=10, sigma=9, spike_days=0.06, spike=300),
    "NYISO_CAPITL_DA": MarketShape(-5, 35, evening=14, morning=8, sigma=4, spike_days=0.02, spike=180, ahead=True),
    "CAISO_NP15_DA": MarketShape(-8, 43, 30, midday=-34, sigma=5, spike=250, negative_days=0.12, ahead=True),
    "IESO_HOEP_RT": MarketShape(-5, 27, evening=13, sigma=9, spike=220, negative_days=0.08),
    "BR_SE_PLD": MarketShape(-3, 19, evening=11, midday=-6, sigma=4, spike_days=0.01, spike=90, floor=11.2, cap=140),
    "CL_QUILLOTA_MC": MarketShape(-4, 58, evening=28, midday=-70, sigma=10, spike_days=0.0, floor=0.0),
    "IN_IEX_DA": MarketShape(5.5, 44, evening=42, midday=-14, sigma=7, spike=60, floor=1.0, cap=117, ahead=True),
    "ZA_MEGAFLEX_TARIFF": MarketShape(2, 0, levels=(56.0, 78.0, 108.0), ahead=True),
    "AEMO_VIC_RT": MarketShape(10, 42, evening=45, midday=-55, sigma=14, spike_days=0.06, spike=2500),
    "DE_LU_DA": MarketShape(1, 78, evening=40, midday=-45, sigma=10, negative_days=0.12, ahead=True),
    "KR_SMP_DA": MarketShape(9, 92, evening=12, midday=-12, sigma=4, spike_days=0.0, negative_days=0.0, ahead=True),
}


@dataclass(frozen=True, slots=True)
class Climate:
    """Yearly mean, half the swing over the year and over a day in C, and mean humidity in %."""

    mean_c: float
    season_c: float
    daily_c: float
    rh_pct: float


_CLIMATES: dict[str, Climate] = {
    "US-TEX-ERCO": Climate(19.5, 11.0, 6.0, 62),
    "US-MIDA-PJM": Climate(13.5, 11.5, 5.0, 66),
    "US-NY-NYIS": Climate(12.0, 12.0, 4.5, 66),
    "US-CAL-CISO": Climate(16.0, 6.0, 6.5, 65),
    "CA-ON": Climate(9.0, 13.0, 4.5, 72),
    "BR-SP": Climate(20.5, 4.0, 5.0, 75),
    "CL-SIC": Climate(15.0, 6.5, 7.5, 62),
    "TMY3-PHOENIX": Climate(24.5, 10.5, 7.0, 34),
    "ZA": Climate(16.5, 5.5, 6.5, 56),
}

# Bitcoin: 110 T at height 877,185 on 1 January 2025, then about 1.2 % more each fortnight: made up, in the
# right order of magnitude.
_ANCHOR = datetime(2025, 1, 1, tzinfo=UTC)
_ANCHOR_HEIGHT, _ANCHOR_DIFFICULTY, _ANCHOR_USD = 877_185, 110e12, 95_000.0
_FORTNIGHT = timedelta(days=14)
# Sizes synthetic demand: output tokens per second one replica is taken to carry.
TOKENS_PER_REPLICA = 3_500.0


class Synthetic:
    """The world of one seed, seen by one fleet: its markets, its stations, its regions."""

    def __init__(self, fleet: Fleet, seed: int = 1) -> None:
        self.seed = seed
        self.markets = fleet.markets
        self.stations = fleet.stations
        self._at: dict[str, Site] = {}  # where a station's or a market's day is
        self._capacity: dict[tuple[str, str], float] = {}
        self._lon: dict[str, float] = {}
        for site in fleet.sites:
            for name in (site.weather_station, site.contract.market, site.contract.market_15min):
                if name is not None:
                    self._at.setdefault(name, site)
            self._lon.setdefault(site.region, site.lon)
            for group in site.node_groups:
                where = (group.model, site.region)
                replicas = max(0, group.nodes * group.replicas_per_node - group.replicas_real)
                self._capacity[where] = self._capacity.get(where, 0.0) + replicas * TOKENS_PER_REPLICA

    @property
    def served(self) -> tuple[tuple[str, str], ...]:
        """(model, region) of every demand there is."""
        return tuple(self._capacity)

    # --- records ---------------------------------------------------------------

    def records(
        self, start: datetime, end: datetime, what: Iterable[What] = EVERYTHING, *, forecasts: bool = True
    ) -> list[AnyRecord]:
        """Everything that begins in [start, end), in order of `at`; forecasts and published prices keep their
        own earlier `known_at`."""
        records: list[AnyRecord] = []
        for one in what:
            if one == "prices":
                for market in self.markets:
                    length = timedelta(seconds=self.shape(market).length_s)
                    for at in _steps(start, end, length):
                        records.append(self.price_tick(market, at))
                        if forecasts and not self.shape(market).ahead:
                            records.append(self.forecast_tick(market, at))
            elif one == "network":
                records += [self.network(at) for at in _steps(start, end, NETWORK_EVERY)]
            elif one == "weather":
                records += [self.weather(s, at) for at in _steps(start, end, HOUR) for s in self.stations]
            else:
                records += [self.demand(*w, at) for at in _steps(start, end, DEMAND_EVERY) for w in self.served]
        return sorted(records, key=lambda r: (r.at, type(r).__name__, r.subject, r.known_at))

    def price_tick(self, market: str, at: datetime) -> PriceTick:
        """The price of the interval that begins at `at`."""
        shape = self.shape(market)
        known_at = self.published(market, at) if shape.ahead else at
        return self._tick(market, at, known_at, self.price(market, at), "simulated")

    def forecast_tick(self, market: str, at: datetime) -> PriceTick:
        """What was expected of a real-time price the evening before: its shape without its noise."""
        usual = self._bounded(self.shape(market), self._daily(self.shape(market), at))
        error = 0.15 * smooth(name_key(self.seed, f"{market}/expected"), at, 3 * HOUR)
        return self._tick(market, at, self.published(market, at), round(usual * (1.0 + error), 2), "forecast")

    def network(self, at: datetime) -> NetworkTick:
        """Difficulty, subsidy, fees and price from `at` on."""
        height = _ANCHOR_HEIGHT + max(-_ANCHOR_HEIGHT, int((at - _ANCHOR) / timedelta(minutes=10)))
        fortnight = (at - _ANCHOR) // _FORTNIGHT
        growth = max(-3.0, min(3.0, 0.012 * fortnight))
        jitter = 2.0 * uniform(name_key(self.seed, "difficulty"), fortnight & 0xFFFF) - 1.0
        price = name_key(self.seed, "btc")
        moves = 0.22 * smooth(price, at, 30 * DAY) + 0.05 * smooth(price + 1, at, 2 * DAY)
        moves += 0.006 * smooth(price + 2, at, HOUR)
        fees = 0.02 + 0.012 * smooth(name_key(self.seed, "fees"), at, 12 * HOUR)
        return NetworkTick(
            at=at,
            known_at=at,
            source=SOURCE,
            kind="simulated",
            difficulty=round(_ANCHOR_DIFFICULTY * math.exp(growth + 0.025 * jitter)),
            subsidy_btc=subsidy_btc(height),
            fee_share=round(fees, 4),
            btc_usd=Decimal(f"{_ANCHOR_USD * math.exp(moves):.2f}"),
            height=height,
        )

    def weather(self, station: str, at: datetime) -> WeatherTick:
        site = self._at.get(station)
        lat, lon = (30.0, 0.0) if site is None else (site.lat, site.lon)
        climate = _CLIMATES.get(station) or Climate(28.0 - 0.35 * abs(lat), 0.28 * abs(lat), 5.5, 60.0)
        local_h = (at - _EPOCH).total_seconds() / 3600.0 + lon / 15.0
        year = (at - datetime(at.year, 1, 1, tzinfo=UTC)) / (365.25 * DAY)
        summer = -math.cos(2 * math.pi * (year - 0.055)) * (1.0 if lat >= 0 else -1.0)
        key = name_key(self.seed, f"weather/{station}")
        front = 4.5 * smooth(key, at, 4 * DAY) + 1.0 * smooth(key + 1, at, 5 * HOUR)
        daily = climate.daily_c * math.cos(2 * math.pi * (local_h - 15.0) / 24.0)
        temp = climate.mean_c + climate.season_c * summer + daily + front
        rh = climate.rh_pct - 2.2 * daily + 14.0 * smooth(key + 2, at, 2 * DAY)
        return WeatherTick(
            at=at,
            known_at=at,
            source=SOURCE,
            kind="simulated",
            station=station,
            temp_c=round(temp, 2),
            wet_bulb_c=round(min(temp, wet_bulb_c(temp, rh)), 2),
        )

    def demand(self, model: str, region: str, at: datetime) -> Demand:
        """A region's users over five minutes: a day and a week, with bursts."""
        local = at + timedelta(hours=round(self._lon.get(region, 0.0) / 15.0))
        hour = local.hour + local.minute / 60.0
        awake = 0.5 - 0.5 * math.cos(2 * math.pi * (hour - 3.5) / 24.0)
        evening = math.exp(-(((hour - 20.5) / 2.5) ** 2))
        level = 0.26 + 0.46 * awake + 0.10 * evening
        level *= 0.86 if local.weekday() >= 5 else 1.0
        key = name_key(self.seed, f"demand/{model}/{region}")
        level *= 1.0 + 0.08 * smooth(key, at, HOUR) + 0.05 * smooth(key + 1, at, DEMAND_EVERY)
        if uniform(key + 2, (at - _EPOCH) // DAY) < 0.12:  # a busy afternoon, about one day in eight
            level *= 1.0 + 0.35 * math.exp(-(((hour - 15.0) / 1.5) ** 2))
        tokens = max(0.0, level) * self._capacity.get((model, region), 0.0)
        return Demand(
            at=at,
            known_at=at,
            source=SOURCE,
            kind="simulated",
            model=model,
            region=region,
            output_tokens_per_s=round(tokens, 1),
            input_tokens_per_s=round(tokens * 1.4, 1),
            length_s=int(DEMAND_EVERY.total_seconds()),
        )

    # --- prices -----------------------------------------------------------------

    def shape(self, market: str) -> MarketShape:
        """A known market's, or one derived from the name and where its first site lies."""
        known = _SHAPES.get(market)
        if known is not None:
            return known
        key = name_key(self.seed, f"shape/{market}")
        site = self._at.get(market)
        return MarketShape(
            offset_h=round(site.lon / 15.0) if site is not None else 0,
            base=25.0 + 35.0 * uniform(key, 0),
            evening=10.0 + 25.0 * uniform(key, 1),
            sigma=4.0 + 6.0 * uniform(key, 2),
            ahead=market.endswith("_DA"),
        )

    def price(self, market: str, at: datetime) -> float:
        """USD/MWh over the interval that begins at `at`."""
        shape, key = self.shape(market), name_key(self.seed, f"price/{market}")
        price = self._daily(shape, at)
        if shape.levels is None:
            length = timedelta(seconds=shape.length_s)
            step = 2.0 * uniform(key, (at - _EPOCH) // length) - 1.0
            price += shape.sigma * (
                1.2 * smooth(key + 1, at, 2 * DAY) + 0.9 * smooth(key + 2, at, 4 * HOUR) + 0.5 * step
            )
            price += self._scarcity(shape, key, at)
        return round(self._bounded(shape, price), 2)

    def _daily(self, shape: MarketShape, at: datetime) -> float:
        local = at + timedelta(hours=shape.offset_h)
        hour = local.hour + local.minute / 60.0
        weekday = local.weekday() < 5
        if shape.levels is not None:
            low, standard, peak = shape.levels
            if not weekday or hour < 6 or hour >= 22:
                return low
            return peak if 7 <= hour < 10 or 18 <= hour < 20 else standard
        price = shape.base + shape.evening * _bump(hour, 19.0, 2.2) + shape.morning * _bump(hour, 8.0, 1.8)
        price += shape.midday * _bump(hour, 13.0, 2.8) - 0.12 * shape.base * _bump(hour, 3.5, 3.0)
        return price if weekday else price - 0.10 * shape.base

    def _scarcity(self, shape: MarketShape, key: int, at: datetime) -> float:
        """Some evenings are short of power; some middays and nights have too much."""
        local = at + timedelta(hours=shape.offset_h)
        day, hour = (local - _EPOCH) // DAY, local.hour + local.minute / 60.0
        extra = 0.0
        if uniform(key + 3, day) < shape.spike_days:
            size = shape.spike * (0.3 + 1.7 * uniform(key + 4, day) ** 2)
            extra += size * _bump(hour, 17.0 + 3.0 * uniform(key + 5, day), 0.8)
        if uniform(key + 6, day) < shape.negative_days:
            centre = 13.0 if shape.midday < -20 else 3.0
            extra -= (shape.base + 45.0 * uniform(key + 7, day)) * _bump(hour, centre, 1.6)
        return extra

    @staticmethod
    def _bounded(shape: MarketShape, price: float) -> float:
        price = price if shape.floor is None else max(shape.floor, price)
        return price if shape.cap is None else min(shape.cap, price)

    def published(self, market: str, at: datetime) -> datetime:
        """18:00 UTC on the day before the market's local day."""
        local_day: date = (at + timedelta(hours=self.shape(market).offset_h)).date()
        return datetime.combine(local_day - DAY, PUBLISHED, tzinfo=UTC)

    def _tick(
        self, market: str, at: datetime, known_at: datetime, price: float, kind: Literal["simulated", "forecast"]
    ) -> PriceTick:
        return PriceTick(
            at=at,
            known_at=known_at,
            source=SOURCE,
            kind=kind,
            market=market,
            price_usd_per_mwh=price,
            length_s=self.shape(market).length_s,
        )


class SyntheticFeed:
    """The world as a feed: each read tells what has begun or been published since the last."""

    def __init__(
        self, world: Synthetic, what: Iterable[What] = EVERYTHING, markets: Iterable[str] | None = None
    ) -> None:
        self.world, self.what = world, tuple(what)
        self.markets = frozenset(world.markets if markets is None else markets)
        self.source = SOURCE
        self._last: datetime | None = None

    async def read(self, now: datetime) -> list[AnyRecord]:
        last, self._last = self._last, now
        first = last is None or now - last > MAX_BEHIND or now < last
        since = now - HOUR if last is None or first else last
        # Only prices are told ahead, and only when 18:00 UTC has passed since.
        published = datetime.combine(now.date(), PUBLISHED, tzinfo=UTC)
        published = published if published <= now else published - DAY
        ahead = now + 2 * DAY if first or published > since else now + timedelta(microseconds=1)
        records = self.world.records(since, ahead, [one for one in self.what if one == "prices"])
        records += self.world.records(since, now + timedelta(microseconds=1), [w for w in self.what if w != "prices"])
        after = None if first else since
        return [record for record in records if self._is_new(record, after, now)]

    def _is_new(self, record: AnyRecord, after: datetime | None, now: datetime) -> bool:
        """Known by `now` and not by `after`; of prices, those of this feed's markets."""
        if record.known_at > now or (after is not None and record.known_at <= after):
            return False
        return not isinstance(record, PriceTick) or record.market in self.markets


def _steps(start: datetime, end: datetime, length: timedelta) -> Iterable[datetime]:
    """Aligned moments in [start, end)."""
    at = start + (_EPOCH - start) % length
    while at < end:
        yield at
        at += length


def _bump(hour: float, centre: float, width: float) -> float:
    """1 at `centre`, falling off over `width` hours, around the clock."""
    away = abs(hour - centre)
    away = min(away, 24.0 - away)
    return math.exp(-((away / width) ** 2))
