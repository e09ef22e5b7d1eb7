"""The outside world: prices, the network, the weather, what users ask for, what was expected of each."""

from typing import Annotated, Literal

from msgspec import Meta

from tieline.intake import (
    Btc,
    Celsius,
    Count,
    Difficulty,
    Factor,
    Figure,
    IntervalSeconds,
    Label,
    Money,
    Rate,
    Seconds,
    Share,
    UsdPerMwh,
    Watts,
    WholeWattHours,
    Word,
)
from tieline.records.base import REVISED, Record

# Steps of one forecast: two weeks of five minutes.
Series = Annotated[tuple[Figure, ...], Meta(max_length=20_000)]


class PriceTick(Record, frozen=True, kw_only=True, subject="{market}", key=REVISED):
    """Power price of one market over [at, at + length); beside it, where the market has another currency, its own."""

    market: Label
    price_usd_per_mwh: UsdPerMwh
    length_s: IntervalSeconds = 3600
    currency: Label = "USD"
    price_local_per_mwh: Figure | None = None


class NetworkTick(Record, frozen=True, kw_only=True, key=REVISED):
    """The bitcoin network and its price from `at` on. `fee_share` is fees over subsidy."""

    difficulty: Difficulty
    subsidy_btc: Btc
    fee_share: Factor
    btc_usd: Money
    height: Count | None = None


class WeatherTick(Record, frozen=True, kw_only=True, subject="{station}", key=REVISED):
    """Weather at one station over the hour from `at`."""

    station: Label
    temp_c: Celsius | None
    wet_bulb_c: Celsius | None = None


class Demand(Record, frozen=True, kw_only=True, subject="{model}@{region}", key=REVISED):
    """Output tokens per second asked of one model by users of one region over [at, at + length)."""

    model: Label
    region: Label
    output_tokens_per_s: Rate
    input_tokens_per_s: Rate = 0.0
    length_s: IntervalSeconds = 300


class PeakOdds(Record, frozen=True, kw_only=True, subject="{rule}", key=REVISED):
    """How likely [at, at + length) is one of the coincident peaks that a transmission charge counts."""

    rule: Label
    probability: Share
    length_s: IntervalSeconds = 900


class SystemLoad(Record, frozen=True, kw_only=True, subject="{operator}", key=REVISED):
    """Load of a grid operator's whole system over [at, at + length), measured or forecast as `kind` says."""

    operator: Label
    power_w: Watts
    length_s: IntervalSeconds = 3600


class Purchase(Record, frozen=True, kw_only=True, subject="{site_id}", key="{purchase_id}|{at}|{known_at}"):
    """Power that a market awarded to a site over [at, at + length): bought where `energy_wh` is above 0, else sold. One
    told later under the same id for the same hour corrects it."""

    purchase_id: Label
    site_id: Word
    market: Label
    energy_wh: WholeWattHours
    price_usd_per_mwh: Money
    length_s: IntervalSeconds = 3600


class ReservePrice(Record, frozen=True, kw_only=True, subject="{product}", key=REVISED):
    """What the market paid a MW of one reserve product for each hour of [at, at + length), called or not."""

    product: Label
    price_usd_per_mw_h: UsdPerMwh
    length_s: IntervalSeconds = 3600


class ExchangeRate(Record, frozen=True, kw_only=True, subject="{currency}", key=REVISED):
    """A reference rate of the day from `at` on: what one unit of a currency is worth in US dollars."""

    currency: Label
    usd_per_unit: Money


class Forecast(Record, frozen=True, kw_only=True, subject="{series}", key="{what}|" + REVISED):
    """What was expected of one series from `at` on, a value a step, and the band that nine paths in ten stay in.

    USD/MWh, degrees Celsius or output tokens per second. `source` names the method; `kind` is always "forecast".
    """

    what: Literal["price", "temperature", "demand"]
    series: Label
    step_s: Seconds
    values: Series
    low: Series
    high: Series


# Those that are stored and travel.
MarketRecord = (
    PriceTick
    | NetworkTick
    | WeatherTick
    | Demand
    | PeakOdds
    | SystemLoad
    | ReservePrice
    | ExchangeRate
    | Purchase
    | Forecast
)
