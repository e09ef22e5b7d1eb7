"""A pool against the chain, day by day: what the measured hashes were expected to earn, and what the pool stated.

Fees, the pool's fee, rejects and luck lie between the two, so a day's ratio is near one and never exact. A day that was
heard and not paid, paid and not heard, or far from one is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tieline.books.keeper import newest_of
from tieline.economics import LEAST, Epoch, expected_btc
from tieline.records import NetworkTick, Payout
from tieline.settlement.month import hashes_of, network_of, span_of
from tieline.store import Store
from tieline.units import Hashrate

DAY = timedelta(days=1)
# Luck of an FPPS pool is none, and fees have been up to a fifth of the subsidy; beyond this somebody should look.
NEAR = (0.9, 1.25)


@dataclass(frozen=True, slots=True)
class PoolDay:
    """One UTC day. `expected`: subsidy the measured hashes earn on average, BTC; None where nothing was heard or the
    network is not known. `remark` is empty where the two agree."""

    day: datetime
    hashrate_hs: float | None
    expected: float | None
    stated: Decimal
    payouts: int
    running: bool = False  # the day has not ended: what is missing may still come

    @property
    def ratio(self) -> float | None:
        return float(self.stated) / self.expected if self.expected else None

    @property
    def remark(self) -> str:
        if self.running:
            return ""
        if self.payouts and self.expected is None:
            return "stated, and nothing was heard"
        if not self.payouts and self.expected:
            return "heard, and nothing was stated"
        ratio = self.ratio
        if ratio is not None and not NEAR[0] <= ratio <= NEAR[1]:
            return f"stated is {ratio:.2f} of expected"
        return ""


def pool_days(store: Store, month: str, now: datetime) -> list[PoolDay]:
    """Every day of the month that has begun. Raises ValueError for a month of which nothing is known."""
    start, end = span_of(store, month, now)
    ticks = [t for t in network_of(store, start, end) if t.kind != "forecast" and t.difficulty > LEAST]
    ticks.sort(key=lambda t: (t.at, t.known_at))
    paid = newest_of(store.between(Payout, start, end + timedelta(microseconds=1)))
    found = []
    day = start
    while day < min(end, now):
        until = min(day + DAY, now)
        hashes, samples = hashes_of(store, day, until)
        mean = hashes / (until - day).total_seconds() if samples else None
        mine = [one for one in paid if day < one.at <= day + DAY and one.sats > 0]
        stated = Decimal(sum(one.sats for one in mine)).scaleb(-8)
        found.append(PoolDay(day, mean, _expected(mean, ticks, day, until), stated, len(mine), until < day + DAY))
        day += DAY
    return found


def _expected(mean: float | None, ticks: list[NetworkTick], start: datetime, end: datetime) -> float | None:
    if mean is None or not ticks:
        return None
    epochs = [Epoch(max(start, t.at) if n else start, t.difficulty, t.subsidy_btc) for n, t in enumerate(ticks)]
    return expected_btc(Hashrate(mean), epochs, start, end)
