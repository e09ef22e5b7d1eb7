"""The platform's own past: what its world was, and what it did in it, out of its store.

What a policy would have done in those days is a replay of the same records of the outside world; what the platform did
is read off its bills and payouts. The two differ by more than the policy: rigs were real or fake and are modelled in a
replay, and what operators held by hand is in the one alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tieline.economics import SATS_PER_BTC
from tieline.feeds.days.recorded import AHEAD, HISTORY, LOAD_HISTORY
from tieline.records import (
    AnyRecord,
    Commitment,
    Demand,
    ExchangeRate,
    Fault,
    Instruction,
    NetworkTick,
    Payout,
    PowerBill,
    PriceTick,
    Record,
    ReservePrice,
    SystemLoad,
    WeatherTick,
    newest_by,
)
from tieline.store import Store

# What comes from outside and would have come whatever was decided.
WORLD: tuple[type[Record], ...] = (
    PriceTick,
    NetworkTick,
    WeatherTick,
    Demand,
    Instruction,
    Fault,
    Commitment,
    SystemLoad,
    ReservePrice,
    ExchangeRate,
)
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Did:
    """What stands in the books of the span. Amounts exact; `hours` of the span that have a bill of every site."""

    hours: int
    sites: int
    energy_wh: float
    power_usd: Decimal
    sats: int
    mining_usd: Decimal
    unpriced_sats: int  # paid while no price of bitcoin was known

    @property
    def net_usd(self) -> Decimal:
        """Mining less power: inference is not in the records of those days' tariffs, nor is wear."""
        return self.mining_usd - self.power_usd


def world_of(store: Store, start: datetime, end: datetime) -> list[AnyRecord]:
    """Everything from outside that bears on [start, end), sorted by when it was known. A fault of a feed is no site's;
    a promise that was declined was the platform's own deed."""
    records: list[Any] = []
    for kind in WORLD:
        back = LOAD_HISTORY if kind is SystemLoad else HISTORY
        records += [
            one
            for one in store.between(kind, start - back, end + AHEAD)
            if one.known_at <= end
            and not (isinstance(one, Fault) and one.site_id.startswith("feed:"))
            and not (isinstance(one, Commitment) and one.status == "declined")
        ]
    return sorted(records, key=lambda r: (r.known_at, type(r).__name__, r.subject, r.at))


def _worth(payouts: Iterable[Payout], prices: Sequence[tuple[datetime, Decimal]]) -> tuple[Decimal, int]:
    """USD at the price of bitcoin of each payout's time, and satoshi for which none was known."""
    usd, unpriced = Decimal(0), 0
    for one in payouts:
        price = one.btc_usd or next((p for at, p in reversed(prices) if at <= one.span_end), None)
        if price is None:
            unpriced += one.sats
        else:
            usd += one.sats * price / SATS_PER_BTC
    return usd, unpriced


def did(store: Store, start: datetime, end: datetime) -> Did:
    """The newest bill of each site and hour, and what pools paid for the span at the price of bitcoin of the time."""
    hourly = (bill for bill in store.between(PowerBill, start, end) if bill.length_s == HOUR_S)
    bills = newest_by(hourly, lambda bill: (bill.site_id, bill.at))
    paid = (one for one in store.between(Payout, start, end + timedelta(hours=1)) if start < one.span_end <= end)
    payouts = newest_by(paid, lambda one: one.payout_id)
    prices = sorted((t.at, t.btc_usd) for t in store.between(NetworkTick, start - timedelta(days=3), end))
    usd, unpriced = _worth(payouts.values(), prices)
    sites = {site for site, _ in bills}
    hours = {at for _, at in bills}
    return Did(
        hours=sum(all((site, at) in bills for site in sites) for at in hours),
        sites=len(sites),
        energy_wh=sum(b.mining_wh + b.inference_wh + b.aux_wh for b in bills.values()),
        power_usd=sum((b.cost_usd for b in bills.values()), Decimal(0)),
        sats=sum(one.sats for one in payouts.values()),
        mining_usd=usd.quantize(Decimal("0.01")),
        unpriced_sats=unpriced,
    )
