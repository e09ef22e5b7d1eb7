"""The treasury under stress: given falls of the price, and the price's own hours played from each of them on.

The history is what was told of the network here, by the hour; `tieline treasury stress --history` plays any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from tieline.books.treasury.ladder import AskedError, Holding, play, shocks
from tieline.records import NetworkTick
from tieline.settlement.month import BEGINNING, END
from tieline.store import Selection, Store

HOUR = timedelta(hours=1)
# As the command has it where nothing else is asked.
FALLS, DAYS = (Decimal("-0.1"), Decimal("-0.2"), Decimal("-0.3"), Decimal("-0.5")), 7
# Two years of hours; more is played by the command.
MOST_HOURS = 2 * 365 * 24
# Of the first reading: so that others are let in between.
STRETCH = timedelta(days=30)


@dataclass(slots=True)
class HourlyPrices:
    """USD per bitcoin at the end of each hour in which one was told, as far as it was read."""

    by_hour: dict[datetime, float] = field(default_factory=dict)
    read: datetime | None = None

    def further(self, store: Store, now: datetime) -> bool:
        """Read the next stretch; True where there is more. The running hour is read again until it is over."""
        begin = self.read or max(now - HOUR * MOST_HOURS, _first(store) or now)
        end = min(begin + STRETCH, now)
        for tick in store.each(NetworkTick, begin, end, now=now):
            if tick.btc_usd > 0 and tick.kind != "forecast":
                self.by_hour[_hour(tick.at)] = float(tick.btc_usd)
        self.read = _hour(end) - HOUR  # what is told late of the hour before is read the next time
        while len(self.by_hour) > MOST_HOURS:
            del self.by_hour[next(iter(self.by_hour))]
        return end < now

    def series(self) -> list[float]:
        """Each hour from the first to the last; one in which nothing was told has the price before it."""
        if not self.by_hour:
            return []
        prices, at, last = [], min(self.by_hour), 0.0
        while at <= max(self.by_hour):
            last = self.by_hour.get(at, last)
            prices.append(last)
            at += HOUR
        return prices


def _first(store: Store) -> datetime | None:
    """When the network was first told of."""
    page = store.page(Selection(NetworkTick, BEGINNING, END), 1)
    return next((stored.record.at for stored in page.items if isinstance(stored.record, NetworkTick)), None)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def stress_view(
    holding: Holding, price: Decimal | None, prices: HourlyPrices, query: Mapping[str, str]
) -> dict[str, Any]:
    """Every loan after each fall, and how many hours of the history lead to a call or a liquidation, how soon. Raises
    AskedError for a fall or days that are none."""
    falls, days = _falls(query.get("shocks", "")), _days(query.get("days", ""))
    series = prices.series()
    view: dict[str, Any] = {"price": price, "falls": [f"{fall * 100:f}" for fall in falls], "days": days,
                            "shocks": [], "played": [], "hours": len(series), "why_not": None,
                            "since": min(prices.by_hour).timestamp() if prices.by_hour else None,
                            "cure_hours": {loan.loan_id: loan.cure_hours for loan in holding.loans}}  # fmt: skip
    if price is None:
        return view | {"why_not": "no price is known yet"}
    view["shocks"] = [asdict(one) for one in shocks(holding, price, falls)]
    try:
        view["played"] = [asdict(one) for one in play(holding, price, series, days * 24)]
    except AskedError:
        known = f"{len(series):,} hours of prices are known here"
        view["why_not"] = f"{known}; more than {days * 24:,} are needed to play {days} days"
    return view


def _falls(text: str) -> Sequence[Decimal]:
    """`-10, -30 %` in percent."""
    parts = [part.strip(" %") for part in text.replace(";", ",").split(",") if part.strip(" %")]
    if not parts:
        return FALLS
    if len(parts) > 12:
        raise AskedError(f"shocks: {len(parts)} are given; at most 12 are shown")
    try:
        falls = [Decimal(part.replace("−", "-")) / 100 for part in parts]
    except InvalidOperation as error:
        raise AskedError(f"shocks: {text!r} are no changes in percent; write -10, -30") from error
    if not all(one.is_finite() and -1 < one <= 10 for one in falls):
        raise AskedError(f"shocks: {text!r}; give changes above -100 percent, like -10, -30")
    return falls


def _days(text: str) -> int:
    if not text:
        return DAYS
    if not text.isdecimal() or not 1 <= int(text) <= 365:
        raise AskedError(f"days: {text!r}; give whole days, 1 to 365")
    return int(text)
