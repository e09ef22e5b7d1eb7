"""Fills a folder of recorded days from the sources of the live feeds: one small piece after another, each kept at once.

Prices come a market and local day at a time through the gridstatus library, weather a station and month at a time from
Open-Meteo's archive, difficulty and bitcoin's price from a mempool.space API. A piece that is there is not asked for
again, so a run that was broken off goes on where it was; between two requests it waits, and a piece that fails three
times ends the run with its name. Nothing is filled in: what a source does not tell is missing in the folder.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tieline import __version__
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.manifest import MANIFEST, Days, DaysManifest
from tieline.feeds.days.recorded import HISTORY
from tieline.feeds.grid import CALLS, GridFeed
from tieline.feeds.gridstatus import EXTRA
from tieline.feeds.http import MAX_BODY_BYTES
from tieline.feeds.wet_bulb import wet_bulb_c
from tieline.fleet import Fleet
from tieline.fleet.markets import zone_of
from tieline.intake import IntakeError, read_json

# Free public services: one request at a time, with a pause that nobody there has to ask for.
PAUSE_S = 1.5
TRIES, RETRY_S = 3, 10.0
TIMEOUT_S = 60.0
WEATHER_API = "https://archive-api.open-meteo.com/v1/archive"
BITCOIN_API = "https://mempool.space/api"
# A price of bitcoin is told for a moment; as many a day keep a backtest from calling the network stale.
PRICES_A_DAY = 8
MOST_DAYS = 800
DAY = timedelta(days=1)
# A day is asked for once, so only when all of it is there: archives of weather are a day or two behind.
SETTLED = timedelta(days=2)

Ask = Callable[[str, dict[str, str]], Awaitable[Any]]


class FetchStoppedError(Exception):
    """A piece could not be had; the message names it. What came before is kept."""


@dataclass
class DayFetcher:
    """Fills one folder. `library`: gridstatus, or what stands in for it; tests give `ask` and `sleep` by hand."""

    folder: Path
    fleet: Fleet
    start: datetime
    end: datetime
    now: datetime
    library: Any | None = None
    ask: Ask | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    tell: Callable[[str], None] = lambda line: None
    asked: int = 0
    left_out: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Raises FolderError for days or a folder that cannot be, FetchStoppedError where a source gives up."""
        if self.end - self.start > MOST_DAYS * DAY or self.end <= self.start:
            raise FolderError(f"give --to after --from, at most {MOST_DAYS} days of them")
        if self.end > self.now - SETTLED:
            latest = f"{self.now - SETTLED:%Y-%m-%d}"
            raise FolderError(
                f"--to {self.end:%Y-%m-%d} is too late: a day is whole two days on; give {latest} or before"
            )
        if self.folder.exists() and any(self.folder.iterdir()) and not self.parts.exists():
            raise FolderError(f"{self.folder} is not empty and no fetch began it; name a folder that is not there yet")
        self.parts.mkdir(parents=True, exist_ok=True)
        begin = self.start - HISTORY - DAY
        await self._prices(begin)
        await self._weather(begin)
        await self._bitcoin(begin)
        self._write(begin)

    @property
    def parts(self) -> Path:
        return self.folder / "parts"

    # --- pieces ------------------------------------------------------------------------------------

    async def _piece(self, name: str, get: Callable[[], Awaitable[Any]]) -> Any:
        """The piece as it was kept, or asked for now and kept."""
        path = self.parts / f"{name}.json"
        if path.exists():
            try:
                return read_json(path.read_bytes(), 50 * MAX_BODY_BYTES)
            except IntakeError:
                path.unlink()  # half written by another hand: asked for again
        for number in range(1, TRIES + 1):
            await self.sleep(PAUSE_S if self.asked else 0.0)
            self.asked += 1
            try:
                piece = await get()
                break
            except Exception as error:  # the library raises whatever its parsers and its transport raise
                if number == TRIES:
                    words = f"{name}: {type(error).__name__} {error}"[:300]
                    raise FetchStoppedError(f"{words}; run it again to go on there") from error
                await self.sleep(RETRY_S * number)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(piece))
        part.rename(path)
        self.tell(name)
        return piece

    async def _json(self, url: str, params: dict[str, str]) -> Any:
        if self.ask is not None:
            return await self.ask(url, params)
        async with httpx.AsyncClient(timeout=TIMEOUT_S, headers={"user-agent": f"tieline/{__version__}"}) as client:
            answer = await client.get(url, params=params)
        answer.raise_for_status()
        return read_json(answer.content, 10 * MAX_BODY_BYTES)

    async def _prices(self, begin: datetime) -> None:
        for market in self.fleet.markets:
            if market not in CALLS:
                self.left_out.append(f"{market}: no live source")
                continue
            if self.library is None:
                self.left_out.append(f"{market}: gridstatus is not installed; {EXTRA}")
                continue
            known = self.fleet.market(market)
            zone = zone_of("UTC" if known is None else known.zone)
            feed = GridFeed((market,), self.library)
            for day in days_of(begin.astimezone(zone).date(), (self.end + DAY).astimezone(zone).date()):

                async def get(feed: GridFeed = feed, market: str = market, day: date = day) -> list[dict[str, Any]]:
                    rows = await asyncio.to_thread(feed.day, market, day)
                    if not rows:
                        raise LookupError("the source has no price of this day")
                    return rows

                await self._piece(f"prices/{market}/{day}", get)

    async def _weather(self, begin: datetime) -> None:
        places = {s.weather_station: s for s in self.fleet.sites if s.weather_station is not None}
        for station, site in sorted(places.items()):
            for first, last in months_of(begin.date(), self.end.date()):
                asked = {
                    "latitude": f"{site.lat:.4f}", "longitude": f"{site.lon:.4f}", "start_date": f"{first}",
                    "end_date": f"{last}", "hourly": "temperature_2m,relative_humidity_2m", "timeformat": "unixtime",
                }  # fmt: skip

                async def get(asked: dict[str, str] = asked) -> Any:
                    return (await self._json(WEATHER_API, asked))["hourly"]

                await self._piece(f"weather/{station}/{first:%Y-%m}", get)

    async def _bitcoin(self, begin: datetime) -> None:
        async def epochs() -> Any:
            return await self._json(f"{BITCOIN_API}/v1/mining/difficulty-adjustments", {})

        await self._piece(f"bitcoin/epochs-{self.end:%Y-%m-%d}", epochs)
        for day in days_of(begin.date(), self.end.date() + DAY):
            for n in range(PRICES_A_DAY):
                at = datetime.combine(day, time(24 // PRICES_A_DAY * n), tzinfo=UTC)

                async def get(at: datetime = at) -> Any:
                    asked = {"currency": "USD", "timestamp": str(int(at.timestamp()))}
                    return (await self._json(f"{BITCOIN_API}/v1/historical-price", asked))["prices"][0]["USD"]

                await self._piece(f"bitcoin/{day}/{at:%H}", get)

    # --- the folder --------------------------------------------------------------------------------

    def _write(self, begin: datetime) -> None:
        prices = [
            (datetime.fromisoformat(row["at"]), market, float(row["usd_per_mwh"]))
            for market in self.fleet.markets
            for row in self._kept(f"prices/{market}")
        ]
        _table(self.folder / "power_prices" / "hourly.parquet", prices, ("ts_utc", "market", "price_usd"))
        rows = [["market", "kind", "source_time_zone", "currency", "operator"]]
        # Also those that nothing was told of: their sites are then left out by name.
        known = [market for name in self.fleet.markets if (market := self.fleet.market(name)) is not None]
        rows += [[market.name, market.kind, market.zone, "USD", market.operator] for market in known]
        _csv(self.folder / "power_prices" / "markets.csv", rows)
        weather = []
        for station in self.fleet.stations:
            for month in self._kept(f"weather/{station}", whole=True):
                columns = (month["time"], month["temperature_2m"], month["relative_humidity_2m"])
                for unix, temp, humidity in zip(*columns, strict=True):
                    wet = None if temp is None or humidity is None else round(min(temp, wet_bulb_c(temp, humidity)), 2)
                    weather.append((datetime.fromtimestamp(unix, UTC), station, temp, wet))
        names = ("ts_utc", "station", "temp_c", "wet_bulb_c")
        _table(self.folder / "weather" / "openmeteo_hourly.parquet", weather, names)
        self._write_bitcoin()
        manifest = DaysManifest(days=(Days("fetched", self.start, self.end),))
        (self.folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")

    def _write_bitcoin(self) -> None:
        file = self._kept_file(f"bitcoin/epochs-{self.end:%Y-%m-%d}")
        epochs = sorted((int(row[0]), int(row[1]), float(row[2])) for row in file)
        rows = [["start_height", "start_utc", "difficulty", "timespan_s"]]
        for n, (unix, height, difficulty) in enumerate(epochs):
            span = epochs[n + 1][0] - unix if n + 1 < len(epochs) else 1_209_600
            at = datetime.fromtimestamp(unix, UTC)
            rows.append([str(height), f"{at:%Y-%m-%dT%H:%M:%SZ}", repr(difficulty), str(span)])
        _csv(self.folder / "bitcoin" / "difficulty_epochs.csv", rows)
        closes = []
        for path in sorted((self.parts / "bitcoin").glob("*/*.json")):
            at = datetime.fromisoformat(f"{path.parent.name}T{path.stem}:00:00+00:00")
            # A close holds for the hour that ends with it: told for 03:00, it is the close of 02:00 to 03:00.
            closes.append((at - timedelta(hours=1), float(read_json(path.read_bytes(), MAX_BODY_BYTES))))
        _table(self.folder / "bitcoin" / "btc_usd_hourly.parquet", closes, ("ts_utc", "close"))

    def _kept(self, under: str, *, whole: bool = False) -> list[Any]:
        contents: list[Any] = []
        for path in sorted((self.parts / under).glob("*.json")):
            piece = read_json(path.read_bytes(), 50 * MAX_BODY_BYTES)
            contents += [piece] if whole else piece
        return contents

    def _kept_file(self, name: str) -> Any:
        return read_json((self.parts / f"{name}.json").read_bytes(), 50 * MAX_BODY_BYTES)


def days_of(first: date, end: date) -> list[date]:
    return [first + n * DAY for n in range((end - first).days)]


def months_of(first: date, last: date) -> list[tuple[date, date]]:
    """(first day, last day) of each calendar month that the span touches, cut to it."""
    months, at = [], first
    while at <= last:
        after = (at.replace(day=1) + timedelta(days=32)).replace(day=1)
        months.append((at, min(last, after - DAY)))
        at = after
    return months


def _csv(path: Path, rows: Iterable[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")


def _table(path: Path, rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> None:
    columns = list(zip(*sorted(rows, key=lambda row: row[:2]), strict=True)) if rows else [()] * len(names)
    kinds = {"ts_utc": pa.timestamp("ms", tz="UTC"), "market": pa.string(), "station": pa.string()}
    arrays = {
        name: pa.array(list(column), kinds.get(name, pa.float64())) for name, column in zip(names, columns, strict=True)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), path)
