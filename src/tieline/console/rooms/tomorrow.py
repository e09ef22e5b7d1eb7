"""The page of tomorrow: what power costs then, what to buy, the odds of a coincident peak, which reserves are offered.

Each part opens to the records that it rests on. Purchases are worked out by the same code as `tieline bid`, and nothing
is submitted from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from tieline.console.door import Row
from tieline.console.events import Hub
from tieline.console.forms import answer, failed
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.inputs.foresight import FromOutlook, rules_of
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.purchase import HourBid, bought_in, hours_of, purchase
from tieline.dispatch.reserves import ReserveOffer, offers_of_tomorrow
from tieline.fleet import Fleet
from tieline.fleet.markets import Market, zone_of
from tieline.people import Right
from tieline.records import Commitment, PeakOdds, Plan, newest_by
from tieline.store import Store, StoreError

Json = dict[str, Any]

# Reading what is new costs little, working tomorrow out some tens of milliseconds a site: once a minute is enough.
KEEP_S = 60.0
# A page shows the windows that a person would act on; the records hold the others.
LEAST_ODDS = 0.001
MOST_WINDOWS, MOST_RESERVES = 40, 200
HOUR = timedelta(hours=1)


class TomorrowRoom:
    """`/api/tomorrow`. Holds what it has read, as the controller does."""

    def __init__(self, hub: Hub, settings: Settings, now: Callable[[], datetime]) -> None:
        self._hub, self._settings, self._now = hub, settings, now
        self._outlook = Outlook(hub.fleet, settings)
        self._lock = asyncio.Lock()
        self._made: tuple[datetime, Json] | None = None

    def rows(self) -> list[Row]:
        return [("/api/tomorrow", "GET", Right.SEE, self.shown)]

    async def shown(self, request: Request) -> Response:
        async with self._lock:
            now = self._now()
            if self._made is None or not timedelta(0) <= now - self._made[0] < timedelta(seconds=KEEP_S):
                try:
                    self._made = now, await self._hub.read(lambda store: self._view(store, now))
                except StoreError as error:
                    return failed(503, str(error))
            return answer(self._made[1])

    def _view(self, store: Store, now: datetime) -> Json:
        self._outlook.read(store, now)
        fleet, _ = self._hub.fleet.at_rates(self._outlook.rates, now)
        bids, why = _purchases(self._outlook, fleet, self._settings, store, now)
        promised = _promised(store, now)
        offers, no_offer = _offers(self._outlook, fleet, self._settings, now, promised)
        return {
            "now": now.timestamp(),
            "markets": [_market(self._outlook, fleet, self._settings, name, now) for name in fleet.markets],
            "purchase": _sites(bids, fleet),
            "purchase_note": why,
            "peaks": _peaks(fleet, self._settings, store, now),
            "reserves": _reserves(promised),
            "offers": offers,
            "offers_note": no_offer,
        }


def _purchases(
    outlook: Outlook, fleet: Fleet, settings: Settings, store: Store, now: datetime
) -> tuple[list[HourBid], str]:
    """Every site's curve, and in words why there is none."""
    plans = {plan.site_id: plan for plan in store.latest(Plan, now)}
    bids: list[HourBid] = []
    for site in fleet.sites:
        if bought_in(site, fleet) is None:
            continue
        plan, nodes = plans.get(site.id), {node.id for node in site.node_groups}
        serving = None if plan is None else sum(p.target_w for p in plan.setpoints if p.unit_id in nodes)
        try:
            bids += purchase(outlook, fleet, settings, now, site, serving)
        except ValueError as error:
            return [], str(error)
    return bids, "" if bids else "no site buys its power in a day-ahead market"


def _sites(bids: list[HourBid], fleet: Fleet) -> list[Json]:
    by_site: dict[str, list[HourBid]] = {}
    for one in bids:
        by_site.setdefault(one.site_id, []).append(one)
    return [
        {
            "site_id": site_id,
            "name": fleet.site(site_id).name,
            "market": mine[0].market,
            "mwh": round(sum(one.expected_w for one in mine) / 1e6, 1),
            "held_mwh": round(sum(one.held_w for one in mine) / 1e6, 1),
            "closed": all(one.known for one in mine),
            "hours": [
                {"at": one.at.timestamp(), "mw": round(one.expected_w / 1e6, 2), "reason": one.reason} for one in mine
            ],
        }
        for site_id, mine in by_site.items()
    ]


def _market(outlook: Outlook, fleet: Fleet, settings: Settings, name: str, now: datetime) -> Json:
    """Tomorrow's local hours of a market: published where they are, expected where not."""
    market = fleet.market(name) or Market(name=name, kind="real-time", zone="UTC")
    day = now.astimezone(zone_of(market.zone)).date() + timedelta(days=1)
    hours = hours_of(market.zone, day)
    first = now.replace(minute=0, second=0, microsecond=0)
    offsets = np.array([int((hour - first).total_seconds()) for hour in hours], dtype=np.intp)
    steps = Grid(first, offsets, np.full(len(hours), 3600, dtype=np.intp))
    paths = FromOutlook(outlook, fleet, settings).paths(name, steps, settings.scenarios)
    series = outlook.prices.get(name)
    prices = []
    for t, hour in enumerate(hours):
        price = None if series is None else series.at(hour)
        known = price is not None and hour < price.at + price.length
        mean = None if paths is None or np.isnan(paths[t]).all() else round(float(paths[t].mean()), 2) + 0.0
        prices.append({"at": hour.timestamp(), "usd_per_mwh": mean, "published": known})
    rate = outlook.rates.rate(market.currency, now).usd_per_unit
    return {
        "market": name,
        "operator": market.operator,
        "kind": market.kind,
        "zone": market.zone,
        "currency": market.currency,
        "usd_per_unit": None if rate is None else float(rate),
        "published_at": _published(market, day),
        "prices": prices,
        "published": all(one["published"] for one in prices),
    }


def _published(market: Market, day: date) -> float | None:
    """When the day's prices are out; None where they are known only as they settle."""
    if market.kind != "day-ahead":
        return None
    noon = datetime.combine(day, time(12), tzinfo=zone_of(market.zone)).astimezone(UTC)
    return market.known_at(noon, HOUR).timestamp()


def _peaks(fleet: Fleet, settings: Settings, store: Store, now: datetime) -> list[Json]:
    odds = store.between(PeakOdds, now - HOUR, now + timedelta(days=3), now=now)
    held = newest_by(odds, lambda one: (one.rule, one.at))
    peaks = []
    for rule in rules_of(fleet, settings):
        sites = [site for site in fleet.sites if fleet.pays(site, rule)]
        if not sites:
            continue
        mine = [one for one in held.values() if one.rule == rule.name and one.at >= now - HOUR]
        shown = sorted((o for o in mine if o.probability >= LEAST_ODDS), key=lambda o: -o.probability)[:MOST_WINDOWS]
        peaks.append(
            {
                "rule": rule.name,
                "operator": rule.operator,
                "zone": rule.zone,
                "in_season": rule.applies(rule.local_day(now)),
                "usd_per_mw": rule.usd_per_mw_peak,
                "sites": len(sites),
                "told": len(mine),
                "hours": _by_hour(mine),
                "windows": [
                    {
                        "at": one.at.timestamp(),
                        "probability": one.probability,
                        "usd_per_mwh": round(rule.adder_usd_per_mwh(one.probability), 0),
                        "known_at": one.known_at.timestamp(),
                    }
                    for one in sorted(shown, key=lambda o: o.at)
                ],
            }
        )
    return peaks


def _by_hour(odds: list[PeakOdds]) -> list[Json]:
    """Chance of each hour, whatever it is: the windows that are shown leave the smallest out."""
    sums: dict[datetime, float] = {}
    for one in odds:
        hour = one.at.replace(minute=0)
        sums[hour] = sums.get(hour, 0.0) + one.probability
    return [{"at": at.timestamp(), "probability": round(sums[at], 5)} for at in sorted(sums)]


def _promised(store: Store, now: datetime) -> list[Commitment]:
    """Promises of the next days that are offered or stand, each as it was told last."""
    promises = store.between(Commitment, now - timedelta(days=14), now + timedelta(days=3), now=now)
    held = newest_by(promises, lambda one: one.commitment_id)
    return [one for one in held.values() if one.status in ("offered", "accepted", "deployed") and one.until > now]


def _offers(
    outlook: Outlook, fleet: Fleet, settings: Settings, now: datetime, promised: list[Commitment]
) -> tuple[list[Json], str]:
    """What would be offered of tomorrow by site and product, and in words why nothing is."""
    try:
        offers = offers_of_tomorrow(outlook, fleet, settings, now, [c for c in promised if c.status != "offered"])
    except ValueError as error:
        return [], str(error)
    by_key: dict[tuple[str, str], list[ReserveOffer]] = {}
    for one in offers:
        by_key.setdefault((one.site_id, one.product), []).append(one)
    shown = []
    for (site_id, name), mine in by_key.items():
        product = fleet.reserve_products[name]
        hours = sorted({one.at for one in mine})
        steps = {at: [one for one in mine if one.at == at] for at in hours}
        shown.append(
            {
                "site_id": site_id,
                "product": name,
                "zone": product.zone,
                "closes": product.offers_close,
                "called_by": product.called_by,
                "hours": [
                    {
                        "at": at.timestamp(),
                        "mw": round(sum(one.power_w for one in steps[at]) / 1e6, 1),
                        "asks": sorted({one.limit_usd_per_mw_h for one in steps[at]}),
                        "reason": steps[at][-1].reason,
                    }
                    for at in hours
                ],
            }
        )
    return shown, "" if shown else "every hour is sold, too hot, or likely a coincident peak"


def _reserves(promised: list[Commitment]) -> list[Json]:
    return [
        {
            "id": one.commitment_id,
            "site_id": one.site_id,
            "product": one.product,
            "status": one.status,
            "mw": round(one.power_w / 1e6, 2),
            "at": one.at.timestamp(),
            "until": one.until.timestamp(),
            "usd_per_mw_h": one.capacity_usd_per_mw_h,
        }
        for one in sorted(promised, key=lambda one: one.at)[:MOST_RESERVES]
    ]
