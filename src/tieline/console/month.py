"""The running month's production, from the books' own fold.

Payouts, bills, trades and usage are read once and then followed; the mean hashrate is summed by day, and
only the last two days are summed anew, because samples arrive late.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from tieline.books.monthly import month_span, monthly_update
from tieline.fleet import Fleet
from tieline.records import NetworkTick, Opening, Payout, PowerBill, Sample, Trade, Usage
from tieline.store import Store

T = TypeVar("T")
DAY = timedelta(days=1)
# Holdings are a balance of all that was ever credited.
BEGINNING = datetime(2009, 1, 3, tzinfo=UTC)


class Read(Protocol):
    def __call__(self, job: Callable[[Store], T]) -> Awaitable[T]: ...


class Month:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._days: dict[datetime, tuple[float, int]] = {}

    async def view(self, read: Read, now: datetime) -> dict[str, Any]:
        """The month's figures as JSON, each with how it was computed and the records behind it."""
        month = f"{now:%Y-%m}"
        start, end = month_span(month)
        hash_s, samples = await self._hashes(read, start, now)
        payouts = await read(lambda s: s.between(Payout, BEGINNING, now + DAY))
        trades = await read(lambda s: s.between(Trade, BEGINNING, now + DAY))
        openings = await read(lambda s: s.between(Opening, BEGINNING, now + DAY))
        bills = await read(lambda s: s.between(PowerBill, start, end))
        usage = await read(lambda s: s.between(Usage, start, end))
        before = await read(lambda s: s.latest(NetworkTick, start))
        network = [*before, *await read(lambda s: s.between(NetworkTick, start, now))]
        elapsed_s = max((now - start).total_seconds(), 1.0)

        def fold(_: Store) -> dict[str, Any]:
            update = monthly_update(
                self.fleet,
                month,
                now,
                payouts=payouts,
                bills=bills,
                trades=trades,
                openings=openings,
                usage=usage,
                hashrate_hs=hash_s / elapsed_s if samples else None,
                hashrate_samples=samples,
                network=[t for t in network if t.kind != "forecast"],
            )
            return {
                "month": month,
                "start": update.start.timestamp(),
                "end": update.end.timestamp(),
                "complete": update.complete,
                "simulated": update.simulated,
                "figures": [
                    {
                        "name": f.name,
                        "value": f.value,
                        "unit": f.unit,
                        "how": f.how,
                        "records": f.records,
                        "count": f.count,
                    }
                    for f in update.figures
                ],
            }

        return await read(fold)

    async def _hashes(self, read: Read, start: datetime, now: datetime) -> tuple[float, int]:
        """Hashes of the month so far, and how many samples say so."""
        for day in [d for d in self._days if d < start]:
            del self._days[day]
        day = start
        while day < now:
            if day not in self._days or day >= now - 2 * DAY:
                self._days[day] = await read(lambda s, d=day: _hashes_of(s, d, min(d + DAY, now)))  # type: ignore[misc]
            day += DAY
        known = [v for d, v in self._days.items() if d < now]
        return sum(h for h, _ in known), sum(n for _, n in known)


def _hashes_of(store: Store, start: datetime, end: datetime) -> tuple[float, int]:
    heard = [s for s in store.between(Sample, start, end) if s.hashrate_hs is not None]
    return sum((s.hashrate_hs or 0.0) * s.length_s for s in heard), len(heard)
