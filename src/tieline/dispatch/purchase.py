"""What to buy of tomorrow's power: a curve of megawatts against prices for each hour, with its reasons.

Pure. A price taker's bid is its worth: what runs whatever power costs stands without a limit, each step of each rig
group at what it earns, at the market's own point of settlement. The chance of a coincident peak is taken off an hour's
limits, since a MWh in it costs that besides. What legs hold already is not bought again; where an hour would use less
than they hold, the rest settles at real time. Submitting stays with a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from tieline.dispatch.bids import rig_group_bid
from tieline.dispatch.inputs.foresight import FromOutlook
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.inputs.outlook import Outlook
from tieline.dispatch.settings import Settings
from tieline.fleet import Fleet, Site
from tieline.fleet.markets import Market, zone_of
from tieline.fleet.physics import GPU_AUX, aux_share, derate
from tieline.fleet.positions import held_w

HOUR = timedelta(hours=1)
# Steps whose limits lie closer than this are one: a market takes some ten points of a curve.
SAME_USD_PER_MWH = 0.005
# Nothing less than this is bought: markets deal in tenths of a megawatt.
LEAST_W = 50_000.0


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """So many watts at most `limit_usd_per_mwh`, at the market; None: at any price."""

    power_w: float
    limit_usd_per_mwh: float | None
    what: str


@dataclass(frozen=True, slots=True)
class HourBid:
    """One hour of one site. `curve` is what is left to buy when legs are counted; `expected_usd_per_mwh` None: nothing
    is expected of the price; `known`: it is published."""

    at: datetime
    site_id: str
    market: str
    curve: tuple[CurvePoint, ...]
    held_w: float
    over_w: float  # held, and not used at any price
    expected_usd_per_mwh: float | None
    known: bool
    peak_usd_per_mwh: float

    @property
    def expected_w(self) -> float:
        """What is bought at the expected price."""
        price = self.expected_usd_per_mwh
        return sum(
            point.power_w
            for point in self.curve
            if point.limit_usd_per_mwh is None or (price is not None and point.limit_usd_per_mwh > price)
        )

    @property
    def reason(self) -> str:
        blocks = [f"{p.power_w / 1e6:.1f} MW {_limit(p)} ({p.what})" for p in self.curve] or ["nothing to buy"]
        if self.held_w > 0:
            blocks.append(f"{self.held_w / 1e6:.1f} MW held by legs")
        if self.over_w > LEAST_W:
            blocks.append(f"{self.over_w / 1e6:.1f} MW of it more than runs, settles at real time")
        if self.peak_usd_per_mwh >= 0.01:
            blocks.append(f"the chance of a peak takes {self.peak_usd_per_mwh:,.0f} USD/MWh off each limit")
        return "; ".join(blocks)


def _limit(point: CurvePoint) -> str:
    return "at any price" if point.limit_usd_per_mwh is None else f"to {point.limit_usd_per_mwh:,.2f}"


def bought_in(site: Site, fleet: Fleet) -> Market | None:
    """The day-ahead market that a site buys in; None where its contract has none."""
    contract = site.contract
    name = contract.day_ahead or contract.market
    if contract.basis != "spot" or name is None:
        return None
    market = fleet.market(name)
    return market if market is not None and market.kind == "day-ahead" else None


def hours_of(zone: str, day: date) -> list[datetime]:
    """The hours of a local day, UTC: 23 or 25 where the clock changes."""
    begin = datetime.combine(day, time(), tzinfo=zone_of(zone)).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), tzinfo=zone_of(zone)).astimezone(UTC)
    return [begin + n * HOUR for n in range(round((end - begin) / HOUR))]


def next_day(market: Market, now: datetime) -> date:
    """The local day whose auction is next: tomorrow."""
    return now.astimezone(zone_of(market.zone)).date() + timedelta(days=1)


def purchase(
    outlook: Outlook, fleet: Fleet, settings: Settings, now: datetime, site: Site, inference_w: float | None = None
) -> list[HourBid]:
    """Tomorrow's curve, an hour each. `inference_w`: what inference is expected to draw; None: its rating.

    Raises ValueError where the site buys in no day-ahead market, or nothing is known of what bitcoin earns.
    """
    market = bought_in(site, fleet)
    if market is None:
        raise ValueError(f"{site.id} buys no power a day ahead; name a market in day_ahead of its spot contract")
    hashprice_usd, why = outlook.hashprice(now)
    if hashprice_usd is None:
        raise ValueError(f"no bid without what a hash earns: {why}")
    hours = hours_of(market.zone, next_day(market, now))
    first = now.replace(minute=0, second=0, microsecond=0)
    offsets = np.array([int((hour - first).total_seconds()) for hour in hours], dtype=np.intp)
    steps = Grid(first, offsets, np.full(len(hours), 3600, dtype=np.intp))
    sight, place = FromOutlook(outlook, fleet, settings), fleet.sites.index(site)
    paths = sight.paths(market.name, steps, settings.scenarios)
    price = np.full(len(hours), np.nan) if paths is None else paths.mean(axis=1)
    temps = sight.temperatures(steps)[:, place]
    peaks = sight.peaks(steps).get(place, np.zeros(len(hours)))
    series = outlook.prices.get(market.name)
    bids = []
    for t, hour in enumerate(hours):
        usd = None if series is None else series.at(hour)
        temp = None if np.isnan(temps[t]) else float(temps[t])
        worth = _worth(site, settings, hashprice_usd, temp, inference_w)
        curve = [_at_market(point, site, hour, float(peaks[t])) for point in worth]
        held = held_w(site.contract.legs, market.zone, hour)
        left, over = _beyond(_within(curve, site.interconnect.limit_w), held)
        bids.append(
            HourBid(
                at=hour,
                site_id=site.id,
                market=market.name,
                curve=tuple(point for point in _merged(left) if point.power_w >= LEAST_W),
                held_w=held,
                over_w=over,
                expected_usd_per_mwh=None if np.isnan(price[t]) else float(price[t]),
                known=usd is not None and hour < usd.at + usd.length,
                peak_usd_per_mwh=float(peaks[t]),
            )
        )
    return bids


def _worth(
    site: Site, settings: Settings, hashprice_usd: float, temp_c: float | None, inference_w: float | None
) -> list[CurvePoint]:
    """What each part of a site's load is worth at its meter, USD/MWh; None: it runs whatever power costs."""
    serving = sum(node.rated_w * (1.0 + GPU_AUX) for node in site.node_groups) if inference_w is None else inference_w
    points = [CurvePoint(serving, None, "inference")] if serving > 0 else []
    for group in site.rig_groups:
        cooling = site.cooling_of(group)
        aux, hot = aux_share(cooling, temp_c), derate(cooling, temp_c)
        bid = rig_group_bid(group, hashprice_usd, keeps=settings.keeps, aux=aux, derate=hot, rest=settings.rest_mode)
        if bid.rest_w > 0:
            points.append(CurvePoint(bid.rest_w, None, "rigs at rest"))
        points += [
            CurvePoint(step.power_w, step.bid_usd_per_mwh, f"{group.rig.name} to {step.upper}") for step in bid.steps
        ]
    # Dearest first; what has no limit before all.
    return sorted(points, key=lambda p: (p.limit_usd_per_mwh is not None, -(p.limit_usd_per_mwh or 0.0)))


def _at_market(point: CurvePoint, site: Site, hour: datetime, peak_usd_per_mwh: float) -> CurvePoint:
    """The same limit where the market settles: less the contract's adder, the network's charge of the hour and the
    chance of a peak, over its scale and the hour's losses."""
    if point.limit_usd_per_mwh is None:
        return point
    contract = site.contract
    charge, losses = contract.network_at(hour)
    limit = point.limit_usd_per_mwh - contract.adder_usd_per_mwh - charge - peak_usd_per_mwh
    limit /= contract.scale * (1.0 + losses)
    return CurvePoint(point.power_w, round(limit, 2), point.what)


def _within(curve: Iterable[CurvePoint], limit_w: float) -> list[CurvePoint]:
    """As much of a curve, dearest first, as the interconnect carries."""
    points, left = [], limit_w
    for point in curve:
        take = min(point.power_w, left)
        left -= take
        if take > 0:
            points.append(CurvePoint(take, point.limit_usd_per_mwh, point.what))
    return points


def _beyond(curve: Iterable[CurvePoint], held: float) -> tuple[list[CurvePoint], float]:
    """What is left of a curve, dearest first, when `held` watts of it are bought; and what of these nothing uses."""
    points, left = [], held
    for point in curve:
        covered = min(point.power_w, left)
        left -= covered
        if point.power_w > covered:
            points.append(CurvePoint(point.power_w - covered, point.limit_usd_per_mwh, point.what))
    return points, left


def _merged(curve: Iterable[CurvePoint]) -> list[CurvePoint]:
    """Points of one limit as one."""
    points: list[CurvePoint] = []
    for point in curve:
        last = points[-1] if points else None
        if last is not None and _same(last.limit_usd_per_mwh, point.limit_usd_per_mwh):
            words = last.what if point.what in last.what else f"{last.what}, {point.what}"
            points[-1] = CurvePoint(last.power_w + point.power_w, last.limit_usd_per_mwh, words)
        else:
            points.append(point)
    return points


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) < SAME_USD_PER_MWH


def totals(bids: Iterable[HourBid]) -> Mapping[str, float]:
    """MWh by site that are bought at the expected prices."""
    sums: dict[str, float] = {}
    for bid in bids:
        sums[bid.site_id] = sums.get(bid.site_id, 0.0) + bid.expected_w / 1e6
    return sums
