"""Live power prices of US markets through the `gridstatus` library, where it is installed.

Markets without a live source here (Brazil, India, South Africa, PJM, which wants an account) are left to others;
nothing is made up for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any

from tieline.feeds.faults import FaultBook, number
from tieline.feeds.gridstatus import TIMEOUT_S, LibraryCalls, moment
from tieline.fleet.markets import shipped, zone_of
from tieline.records import AnyRecord, PriceTick

# Beyond any cap in force (17,500 AUD/MWh) and any floor (-1,000).
USD_PER_MWH = (-2_000.0, 25_000.0)
EVERY_S = 300.0
MAX_ROWS = 400  # a day of 5-minute intervals at one location


@dataclass(frozen=True, slots=True)
class LibraryCall:
    """How one market's price is asked for."""

    iso: str
    method: str
    location: str
    price: str
    arguments: dict[str, Any]


# Every market of the package's table that names a live source.
CALLS: dict[str, LibraryCall] = {
    name: LibraryCall(m.source.iso, m.source.method, m.location, m.source.price, m.source.arguments)
    for name, m in shipped().items()
    if m.source is not None
}
# Prices of tomorrow that are not there so long after their publication are a fault of the source.
LATE = timedelta(hours=2)


@dataclass
class GridFeed:
    """Prices of the markets that have a live source; `library` is the module (given by hand in tests)."""

    markets: tuple[str, ...]
    library: Any
    timeout_s: float = TIMEOUT_S
    source: str = "gridstatus"
    faults: FaultBook = field(default_factory=lambda: FaultBook("power prices"))
    _kept: dict[str, set[tuple[datetime, float]]] = field(default_factory=dict)
    # Frames of this round, by what was asked: one file holds every place of a market, and is read once.
    _frames: dict[str, Any] = field(default_factory=dict)
    calls: LibraryCalls = field(init=False)

    def __post_init__(self) -> None:
        self.calls = LibraryCalls(EVERY_S, self.timeout_s, self.faults)

    @staticmethod
    def supported(markets: Iterable[str]) -> tuple[str, ...]:
        return tuple(market for market in markets if market in CALLS)

    async def read(self, now: datetime) -> list[AnyRecord]:
        """New PriceTicks of each market that may be asked again; Faults for what failed."""
        records: list[AnyRecord] = []
        self._frames.clear()
        for market in self.supported(self.markets):
            answer, faults = await self.calls.ask(market, partial(self._both_days, market, now), now)
            records += faults
            if answer is None:
                continue
            rows, late = answer
            what = f"{market} of tomorrow"
            records += self.faults.open(what, f"{market}: {late}", now) if late else self.faults.close(what, now)
            records += self._ticks(market, rows, now)
        self._frames.clear()
        return records

    def day(self, market: str, day: date) -> list[dict[str, Any]]:
        """A local day's prices as {"at", "usd_per_mwh"}; a price that cannot be true is left out. Raises whatever the
        library does."""
        records = []
        self._frames.clear()
        for row in self._rows(CALLS[market], day.isoformat()):
            price, start = number(row.get(CALLS[market].price), *USD_PER_MWH), moment(row.get("Interval Start"))
            if price is not None and start is not None:
                records.append({"at": start.isoformat(), "usd_per_mwh": price})
        return records

    async def _both_days(self, market: str, now: datetime) -> tuple[list[dict[str, Any]], str]:
        """Today's prices and tomorrow's, and what is wrong with the latter."""
        rows = await asyncio.to_thread(self._today, market, now)
        tomorrow, late = await self._tomorrow(market, now)
        return [*rows, *tomorrow], late

    async def _tomorrow(self, market: str, now: datetime) -> tuple[list[dict[str, Any]], str]:
        """Tomorrow's prices once they are published, and what is wrong where they are late."""
        asked = shipped()[market]
        day = now.astimezone(zone_of(asked.zone)).date() + timedelta(days=1)
        noon = datetime.combine(day, time(12), tzinfo=zone_of(asked.zone))
        published = asked.known_at(noon, timedelta(hours=1))
        if asked.kind != "day-ahead" or now < published:
            return [], ""
        try:
            rows = await asyncio.to_thread(self._rows, CALLS[market], day.isoformat())
        except Exception as error:  # the library raises whatever its parsers and its transport raise
            rows, why = [], f"{type(error).__name__} {error}"
        else:
            why = "" if rows else "no row"
        return rows, f"tomorrow's prices: {why}" if why and now >= published + LATE else ""

    def _today(self, market: str, now: datetime) -> list[dict[str, Any]]:
        """Today's prices; of a market that publishes a file an interval, those since the last that are known."""
        call, zone = CALLS[market], zone_of(shipped()[market].zone)
        midnight = datetime.combine(now.astimezone(zone).date(), time(0), tzinfo=zone)
        known = max((at for at, _ in self._kept.get(market, ()) if at >= midnight), default=None)
        if shipped()[market].kind == "day-ahead" or known is None:
            return self._rows(call, "today")
        # The last known one once more: a file that holds nothing new is an answer, no file at all is an error.
        return self._rows(call, known.astimezone(zone).isoformat(), now.astimezone(zone).isoformat())

    def _rows(self, call: LibraryCall, day: str, end: str | None = None) -> list[dict[str, Any]]:
        asked = repr((call.iso, call.method, sorted(call.arguments.items()), day, end))
        if asked not in self._frames:
            iso = getattr(self.library, call.iso)()
            span = {"date": day} if end is None else {"date": day, "end": end}
            self._frames[asked] = getattr(iso, call.method)(**span, **call.arguments)
        frame = self._frames[asked]
        rows = [row for row in frame.to_dict("records") if row.get("Location") == call.location]
        return rows[-MAX_ROWS:]

    def _ticks(self, market: str, rows: list[dict[str, Any]], now: datetime) -> list[AnyRecord]:
        ticks: list[AnyRecord] = []
        seen = self._kept.setdefault(market, set())
        bad: object = None
        for row in rows:
            price = number(row.get(CALLS[market].price), *USD_PER_MWH)
            start, end = moment(row.get("Interval Start")), moment(row.get("Interval End"))
            if price is None or start is None or end is None or end <= start:
                bad = row.get(CALLS[market].price) if price is None else row.get("Interval Start")
                continue
            if (start, price) in seen:
                continue
            seen.add((start, price))
            ticks.append(
                PriceTick(
                    at=start,
                    known_at=now,
                    source=self.source,
                    kind="measured",
                    market=market,
                    price_usd_per_mwh=price,
                    length_s=int((end - start).total_seconds()),
                )
            )
        if len(seen) > 4 * MAX_ROWS:  # yesterday's are not sent again
            seen.intersection_update(sorted(seen)[-2 * MAX_ROWS :])
        if bad is not None:
            detail = f"{market}: {CALLS[market].price} {str(bad)[:80]!r} is absurd; not used"
            return [*ticks, *self.faults.open(f"{market} absurd", detail, now)]
        return [*ticks, *self.faults.close(f"{market} absurd", now)]
