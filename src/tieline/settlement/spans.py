"""A site over a long span, by hour or day, out of roll-ups: one row for each that anything was told of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from tieline.books.reports.sums import RolledSums, market_subject, site_subject
from tieline.fleet import Site
from tieline.settlement.rolled import rolled_between
from tieline.store.rolled.kept import DAY_S, HOUR_S, RolledStore

# Hours of so many days are drawn one by one, beyond it days: 800 points are what a chart has room for.
MOST_HOURLY_DAYS = 31


class SpanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One hour or day of one site. None: nobody told it. `heard`: of the time of all its units, the share in which
    their power is known; `mwh` is of that share alone. `ehs` is the mean over the whole time that has passed."""

    at: datetime
    mwh: float | None
    heard: float | None
    ehs: float | None
    modelled_tokens: int | None
    metered_mwh: float | None
    billed_mwh: float | None
    cost_usd: Decimal | None
    market_usd_per_mwh: float | None
    made_sats: int | None
    full_sats: int | None
    requests: int
    served_tokens: int
    nano_usd: int
    simulated: bool


def span_rows(
    kept: RolledStore, site: Site, size: int, start: datetime, end: datetime, now: datetime
) -> Iterator[SpanRow]:
    """Those that begin in [start, end) and have begun by `now`."""
    contract = site.contract
    market = contract.market_15min or contract.market
    priced = market_subject(market) if market else ""
    prices = dict(rolled_between(kept, priced, size, start, end)) if priced else {}
    own = dict(rolled_between(kept, site_subject(site.id), size, start, end))
    for at in sorted(own.keys() | prices.keys()):
        if at <= now:
            elapsed = min(timedelta(seconds=size), now - at).total_seconds()
            yield row_of(
                at, own.get(at, RolledSums()), prices.get(at, RolledSums()), elapsed * len(site.units), elapsed
            )


def row_of(at: datetime, own: RolledSums, market: RolledSums, unit_s: float, elapsed_s: float) -> SpanRow:
    """`unit_s`: unit-seconds that were there to be heard."""
    return SpanRow(
        at=at,
        mwh=own.power_ws / 3.6e9 if own.power_s else None,
        heard=min(1.0, own.power_s / unit_s) if unit_s else None,
        ehs=own.hashes / elapsed_s / 1e18 if own.hash_s and elapsed_s else None,
        modelled_tokens=own.modelled_tokens if own.token_samples else None,
        metered_mwh=own.meter_ws / 3.6e9 if own.meter_s else None,
        billed_mwh=float(own.billed_wh) / 1e6 if own.bills else None,
        cost_usd=own.cost_usd,
        market_usd_per_mwh=market.price_usd_per_mwh,
        made_sats=own.made_sats if own.settled else None,
        full_sats=own.full_sats if own.settled else None,
        requests=own.requests,
        served_tokens=own.served_tokens,
        nano_usd=own.nano_usd,
        simulated=own.simulated > 0,
    )


def size_of(days: int) -> int:
    """Hours or days, so that a chart has room for them."""
    return HOUR_S if days <= MOST_HOURLY_DAYS else DAY_S
