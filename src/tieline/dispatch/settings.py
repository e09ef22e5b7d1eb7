"""What an operator can set about dispatch, with defaults that are safe and say why.

Assumptions are named as such; every report built on them repeats them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from tieline.config import Config
from tieline.fleet import Fleet
from tieline.fleet.markets import LIMIT_MARGIN_USD
from tieline.records import PriceTick

Policy = Literal["strike", "lookahead"]
Forecasting = Literal["persistence", "analog", "learned"]


class ReservedReplicas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replicas that somebody pays for whether used or not: they must be up from `since` until `until`."""

    model: str
    region: str
    replicas: int
    since: datetime
    until: datetime


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen; unknown fields are refused by name."""

    # "strike" looks at one interval alone: exact where nothing couples it to the next, and a little faster.
    policy: Policy = "lookahead"
    interval_s: int = 300
    # Three intervals: one lost message does not drop a site to its safe default, a lost quarter hour does.
    valid_for_s: int = 900

    # What a hash earns after the pool: FPPS fee and rejected shares (assumed, near published figures).
    pool_fee: float = 0.015
    rejects: float = 0.003
    # Mode a curtailed rig rests in: "sleep" wakes in seconds, "off" saves its last watts but must boot.
    rest_mode: Literal["sleep", "off"] = "sleep"
    wear_usd_per_kw_start: float = 0.05

    # A price outside this is a fault of the feed. The highest caps in force are near 17,500 AUD/MWh, and
    # floors near -1,000; both have been reached.
    price_min_usd_per_mwh: float = -2_000.0
    price_max_usd_per_mwh: float = 25_000.0
    # A real-time hourly price is known when its hour has ended, so an hour old is normal; three is stale.
    price_stale_s: int = 3 * 3600
    # Difficulty moves each two weeks, the price of bitcoin some per cent a day.
    network_stale_s: int = 3 * 86_400
    weather_stale_s: int = 6 * 3600
    demand_stale_s: int = 2 * 3600
    # How long the last decided plan stands in for an unknown price before units go to rest.
    keep_plan_s: int = 24 * 3600

    # How far look-ahead sees, over how many scenarios that share the first step.
    horizon_s: int = 48 * 3600
    scenarios: int = 20
    # How often a site goes dark, from its operator's own record; one a year is assumed.
    outages_per_year: float = 1.0
    # Whether a coming window is a peak in some scenarios and none in others, or costs its chance in all of them.
    # Nobody learns which it was before it is over, so a scenario that knows is too sure: it earns less.
    peak_scenarios: bool = False
    # Where scenarios come from: the last value for ever, past days, or boosted quantiles (extra `forecast`). Past days
    # earn most on recorded days; `bench/forecasts.py` compares.
    forecaster: Forecasting = "analog"
    # Makers advise not more than one start in five minutes and six a day.
    min_up_s: int = 300
    min_down_s: int = 300
    starts_per_day: float = 6.0
    # Coincident peak rules that apply, by name; the chance of each window comes as a record.
    peak_rules: tuple[str, ...] = ("4CP",)

    # Share of a site's limit by which mining may rise per 5 minutes; None: no bound.
    restore_share_per_5min: float | None = 0.20
    # Contracted power that is not drawn is sold at the market less this share.
    resale_discount: float = 0.10

    # Inference tariffs, USD per million tokens; batch work is sold at this share of them.
    output_usd_per_mtok: float = 0.60
    input_usd_per_mtok: float = 0.20
    batch_tariff_share: float = 0.50
    # Share of an hour's bill credited when its service level is missed.
    sla_credit_share: float = 0.10
    # Concurrent streams per replica for interactive work; read in the measured table.
    interactive_batch: int = 128
    # Replicas kept warm beyond the expected need, for growth within an interval.
    warm_headroom: float = 0.15
    warm_min_per_region: int = 1
    # Share of the demand scenarios that the replicas of the next interval carry, and whether there are any.
    demand_carried: float = 0.99
    demand_scenarios: bool = True
    reserved: tuple[ReservedReplicas, ...] = ()
    # A replica moves to cheaper power only for a saving above this: loading draws five minutes for nothing,
    # which over the hour that a saving typically lasts is a tenth of its power.
    move_margin_usd_per_mwh: float = 5.0
    # Regions that may serve each region's users (round trip short enough), nearest first.
    reach: dict[str, tuple[str, ...]] = {}
    # Share of each region's demand that may be served nowhere else, by law or by contract.
    residency: dict[str, float] = {}
    # Name of the measured table of a replica, in this package or a path.
    gpu_table: str = "llama-3.1-70b_4xh100"

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Settings:
        """From a configuration section. Raises msgspec.ValidationError naming the field."""
        return msgspec.convert(dict(mapping), cls)

    @property
    def keeps(self) -> float:
        """Share of a hash's value that is left after pool fee and rejects."""
        return (1.0 - self.pool_fee) * (1.0 - self.rejects)

    def __post_init__(self) -> None:
        for name in ("interval_s", "valid_for_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"dispatch.{name} must be above 0, got {getattr(self, name)}")
        if not 0.0 <= self.outages_per_year <= 8766.0:
            raise ValueError(f"dispatch.outages_per_year is from 0 to 8766, got {self.outages_per_year:g}")
        if not 0.0 < self.demand_carried <= 1.0:
            raise ValueError(f"dispatch.demand_carried is a share above 0 and at most 1, got {self.demand_carried}")
        for region, share in self.residency.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"dispatch.residency of {region} is a share from 0 to 1, got {share:g}")
        for one in self.reserved:
            if one.replicas < 0 or one.until <= one.since:
                raise ValueError(
                    f"dispatch.reserved for {one.model} in {one.region}: replicas from 0 and 'until' after 'since'"
                )
        if self.price_min_usd_per_mwh >= self.price_max_usd_per_mwh:
            raise ValueError("dispatch.price_min_usd_per_mwh must be below price_max_usd_per_mwh")


def plausible(tick: PriceTick, fleet: Fleet, settings: Settings) -> bool:
    """Whether a price can be true: a number within what the settings allow and what its market can reach.

    Who decides and who settles ask this same question, so that a price that nobody believed is not billed either.
    """
    price = tick.price_usd_per_mwh
    if not (math.isfinite(price) and settings.price_min_usd_per_mwh <= price <= settings.price_max_usd_per_mwh):
        return False
    if abs(price) <= LIMIT_MARGIN_USD:  # within every market's
        return True
    market = fleet.market(tick.market)
    if market is None:
        return True
    low, high = market.usd_limits(tick.at)
    return low <= price <= high


def settings_of(config: Config) -> Settings:
    """The dispatcher's settings from the configuration's sections."""
    return Settings.of(
        {
            "policy": config.dispatch.policy,
            "forecaster": config.dispatch.forecaster,
            "interval_s": config.dispatch.interval_s,
            "valid_for_s": config.dispatch.valid_for_s,
            "warm_min_per_region": config.dispatch.warm_replicas,
            "reach": config.dispatch.reach,
            "residency": config.dispatch.residency,
            "outages_per_year": config.dispatch.outages_per_year,
            "peak_rules": config.dispatch.peak_rules,
            "peak_scenarios": config.dispatch.peak_scenarios,
            "price_min_usd_per_mwh": config.dispatch.price_min_usd_per_mwh,
            "price_max_usd_per_mwh": config.dispatch.price_max_usd_per_mwh,
            "resale_discount": config.dispatch.resale_discount,
            "reserved": msgspec.to_builtins([*config.dispatch.reserved, *rented(config)]),
            "pool_fee": config.pool.fee,
            "rejects": config.pool.rejects,
        }
    )


def rented(config: Config) -> list[ReservedReplicas]:
    """Replicas that tenants rent in a region are up whether used or not; which region "any" is, dispatch chooses."""
    return [
        ReservedReplicas(model=one.model, region=one.region, replicas=one.replicas, since=one.since, until=one.until)
        for one in config.rentals
        if one.region
    ]
