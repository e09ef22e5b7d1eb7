"""Live feeds against a source on loopback: right values, absurd values, silence, floods, and nothing there."""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tieline.config import Feeds, demo
from tieline.feeds import http
from tieline.feeds.bitcoin import BitcoinFeed
from tieline.feeds.choose import choose
from tieline.feeds.grid import GridFeed
from tieline.feeds.weather import WeatherFeed
from tieline.records import AnyRecord, Demand, Fault, NetworkTick, PriceTick, WeatherTick

NOW = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
FLEET = demo().fleet
# Shapes as the sources document them; values made up.
BLOCKS = [
    {"height": 923_000 - n, "difficulty": 155e12, "timestamp": 1_700_000_000, "extras": {"totalFees": 3_125_000}}
    for n in range(15)
]
PRICES = {"time": 1_700_000_000, "USD": 91_234, "EUR": 80_000}


def place(temp: object = 31.5, rh: object = 40) -> dict[str, Any]:
    return {"current": {"time": int(NOW.timestamp()) - 300, "temperature_2m": temp, "relative_humidity_2m": rh}}


class FakeSource:
    """An HTTP server that answers each path with what it was told to."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, dict[str, str]]] = []

    async def __aenter__(self) -> FakeSource:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = head[0].split(" ")[1].split("?")[0]
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        self.seen.append((path, headers))
        answer = self.answers.get(path, 404)
        if answer == "silence":
            await asyncio.sleep(2)
            writer.close()
            return
        if isinstance(answer, int):
            writer.write(f"HTTP/1.1 {answer} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        else:
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            writer.write(
                b'HTTP/1.1 200 OK\r\netag: "v1"\r\nconnection: close\r\n'
                + f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
        writer.close()


def run(answers: dict[str, object], use: Callable[[FakeSource], Awaitable[object]]) -> Any:
    async def lived() -> object:
        async with FakeSource(answers) as source:
            return await use(source)

    return asyncio.run(lived())


def read_bitcoin(blocks: object, prices: object) -> list[AnyRecord]:
    return run(
        {"/api/v1/blocks": blocks, "/api/v1/prices": prices},
        lambda s: BitcoinFeed(f"{s.url}/api", timeout_s=0.5).read(NOW),
    )


def test_bitcoin_is_read_from_blocks_and_price() -> None:
    (tick,) = read_bitcoin(BLOCKS, PRICES)
    assert isinstance(tick, NetworkTick)
    assert (tick.difficulty, tick.height, tick.subsidy_btc) == (155e12, 923_000, 3.125)
    assert tick.fee_share == pytest.approx(0.01)
    assert tick.btc_usd == Decimal("91234.0")
    assert tick.kind == "measured"
    assert tick.source.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("blocks", "prices", "words"),
    [
        (BLOCKS, {"USD": 0}, "USD '0' is absurd"),
        (BLOCKS, {"USD": 1e12}, "USD"),
        (BLOCKS, {"EUR": 5}, "USD 'None'"),
        (BLOCKS, ["USD"], "USD 'None'"),
        ([{**BLOCKS[0], "difficulty": 0}], PRICES, "difficulty '0'"),
        ([{**BLOCKS[0], "difficulty": "high"}], PRICES, "difficulty 'high'"),
        ([{**BLOCKS[0], "height": -4}], PRICES, "height '-4'"),
        ([{**BLOCKS[0], "extras": {"totalFees": 1e14}}], PRICES, "totalFees"),
        ([], PRICES, "blocks '[]'"),
        (BLOCKS, b"<html>", "not JSON"),
        (BLOCKS, 429, "answered 429"),
        (BLOCKS, "silence", "did not answer within 0.5 s"),
        (BLOCKS, b"[" + b"1," * 1_100_000 + b"1]", "more than 2,000,000 bytes"),
    ],
)
def test_what_cannot_be_true_is_a_fault_that_names_it(blocks: object, prices: object, words: str) -> None:
    (fault,) = read_bitcoin(blocks, prices)
    assert isinstance(fault, Fault)
    assert words in fault.detail
    assert fault.site_id == "feed:bitcoin"


def test_a_failure_is_told_once_waits_and_its_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_BACKOFF_S", 0.5)

    async def lived(source: FakeSource) -> list[list[AnyRecord]]:
        feed = BitcoinFeed(f"{source.url}/api")
        told = [await feed.read(NOW), await feed.read(NOW + timedelta(minutes=5))]
        asked = len(source.seen)
        await asyncio.sleep(0.55)
        told.append(await feed.read(NOW + timedelta(minutes=10)))
        assert len(source.seen) == asked + 1  # only the one that failed; blocks were read a moment ago
        source.answers["/api/v1/prices"] = PRICES
        await asyncio.sleep(1.05)  # the second failure waits twice as long
        told.append(await feed.read(NOW + timedelta(minutes=15)))
        return told

    first, second, third, fourth = run({"/api/v1/blocks": BLOCKS, "/api/v1/prices": 500}, lived)
    assert [type(r) for r in first] == [Fault]
    assert (second, third) == ([], [])
    assert [type(r) for r in fourth] == [Fault, NetworkTick]
    assert fourth[0].until == NOW + timedelta(minutes=15)
    assert fourth[0].at == NOW


def test_a_source_is_asked_for_changes_only() -> None:
    async def lived(source: FakeSource) -> dict[str, str]:
        one = http.Source(f"{source.url}/x", every_s=0.0)
        await one.get()
        await one.get()
        return source.seen[1][1]

    assert run({"/x": {}}, lived)["if-none-match"] == '"v1"'


def test_weather_of_every_station_in_one_request() -> None:
    async def lived(source: FakeSource) -> list[AnyRecord]:
        feed = WeatherFeed({"A": (31.0, -97.0), "B": (-25.0, -55.0)}, f"{source.url}/v1/forecast")
        found = await feed.read(NOW)
        assert await feed.read(NOW + timedelta(minutes=5)) == []  # too soon to be asked again
        assert len(source.seen) == 1
        return found

    a, b = run({"/v1/forecast": [place(), place(-5.0, None)]}, lived)
    assert isinstance(a, WeatherTick)
    assert (a.station, a.temp_c, a.at) == ("A", 31.5, NOW - timedelta(minutes=5))
    assert a.wet_bulb_c == pytest.approx(21.2, abs=0.5)
    assert (b.station, b.wet_bulb_c) == ("B", None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([place(71.0), place()], "temperature_2m '71.0' at A is absurd"),
        ([place("warm"), place()], "temperature_2m 'warm' at A"),
        ([{}, place()], "temperature_2m 'None' at A"),
        ([{"current": {**place()["current"], "time": 5}}, place()], "time '5' at A"),
        ([place()], "1 places for 2 asked"),
    ],
)
def test_absurd_weather_is_a_fault_and_the_rest_is_used(body: list[object], words: str) -> None:
    found = run({"/w": body}, lambda s: WeatherFeed({"A": (1.0, 1.0), "B": (2.0, 2.0)}, f"{s.url}/w").read(NOW))
    assert words in found[0].detail
    assert [type(r) for r in found[1:]] == ([WeatherTick] if len(body) == 2 else [])


class Frame:
    """What of a pandas frame is used."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self._rows = rows

    def to_dict(self, orient: str) -> list[dict[str, object]]:
        assert orient == "records"
        return self._rows


def library(price: object = 4858.0, *, fails: bool = False, asked: list[tuple[str, str]] | None = None) -> Any:
    class Ercot:
        def get_spp(self, date: str, market: str, location_type: str, end: str = "") -> Frame:
            if asked is not None:
                asked.append((date, end))
            if fails:
                raise RuntimeError("the page has changed")
            start = NOW - timedelta(minutes=20)
            zone = ZoneInfo("America/Chicago")
            row = {"Interval Start": start.astimezone(zone), "Interval End": NOW - timedelta(minutes=5), "SPP": price}
            return Frame([{**row, "Location": "HB_SOUTH"}, {**row, "Location": "HB_WEST", "SPP": 1.0}])

    return types.SimpleNamespace(Ercot=Ercot)


def test_grid_prices_come_from_the_library_once_each() -> None:
    asked: list[tuple[str, str]] = []

    async def lived() -> list[list[AnyRecord]]:
        feed = GridFeed(("ercot_hb_south",), library(asked=asked))
        first = await feed.read(NOW)
        feed.calls.forget_waits()
        return [first, await feed.read(NOW)]

    (tick,), again = asyncio.run(lived())
    assert isinstance(tick, PriceTick)
    assert (tick.price_usd_per_mwh, tick.length_s, tick.known_at) == (4858.0, 900, NOW)
    assert tick.at == NOW - timedelta(minutes=20)
    assert again == []
    # A day of quarter hours is a file each: after the first poll, those since the last that is known.
    assert asked[0] == ("today", "")
    assert [datetime.fromisoformat(text) for text in asked[1]] == [tick.at, NOW]


def day_ahead(*, published: bool = True) -> tuple[Any, list[str]]:
    asked: list[str] = []

    class Ercot:
        def get_spp(self, date: str, market: str, location_type: str) -> Frame:
            asked.append(date)
            if date != "today" and not published:
                raise ValueError("no document for this day")
            begin = datetime(2026, 8, 20 if date == "today" else 21, tzinfo=ZoneInfo("America/Chicago"))
            hours = [begin + timedelta(hours=h) for h in range(24)]
            rows = [{"Interval Start": at, "Interval End": at + timedelta(hours=1), "SPP": 30.0} for at in hours]
            return Frame([{**row, "Location": "LZ_WEST"} for row in rows])

    return types.SimpleNamespace(Ercot=Ercot), asked


@pytest.mark.parametrize(
    ("hour", "published", "dates", "ticks", "faults"),
    [
        (17, True, ["today"], 24, 0),  # 12:00 in Texas: the auction is not out
        (19, True, ["today", "2026-08-21"], 48, 0),  # 14:00
        (19, False, ["today", "2026-08-21"], 24, 0),  # a little late
        (22, False, ["today", "2026-08-21"], 24, 1),  # too late
    ],
)
def test_tomorrow_is_asked_for_when_it_is_published(
    hour: int, published: bool, dates: list[str], ticks: int, faults: int
) -> None:
    lib, asked = day_ahead(published=published)
    now = datetime(2026, 8, 20, hour, tzinfo=UTC)
    found = asyncio.run(GridFeed(("ERCOT_LZ_WEST_DA",), lib).read(now))
    assert asked == dates
    assert sum(isinstance(r, PriceTick) for r in found) == ticks
    assert [r.detail for r in found if isinstance(r, Fault)] == [
        "ERCOT_LZ_WEST_DA: tomorrow's prices: ValueError no document for this day"
    ] * faults
    assert all(r.known_at == now for r in found)


@pytest.mark.parametrize(
    ("lib", "words"),
    [(library(1e9), "absurd"), (library(float("nan")), "'nan' is absurd"), (library(fails=True), "page has changed")],
)
def test_a_grid_that_fails_or_lies_is_a_fault(lib: Any, words: str) -> None:
    (fault,) = asyncio.run(GridFeed(("ercot_hb_south",), lib).read(NOW))
    assert isinstance(fault, Fault)
    assert words in fault.detail


def test_offline_everything_is_synthetic_and_says_why() -> None:
    feeds = Feeds(bitcoin_api="http://127.0.0.1:9/api", weather_api="http://127.0.0.1:9/v1")
    chosen = asyncio.run(choose(feeds, FLEET, NOW, probe_s=1.0))
    assert [c.live for c in chosen.choices] == [False, False, False, False]
    assert "cannot be reached" in chosen.note
    assert "tieline[grid]" in chosen.note
    found = asyncio.run(chosen.feeds[0].read(NOW))
    assert {type(r) for r in found} == {PriceTick, NetworkTick, WeatherTick, Demand}
    assert {r.source for r in found} == {"synthetic"}


def test_what_answers_is_live_the_rest_is_synthetic_and_nothing_is_both() -> None:
    async def lived(source: FakeSource) -> None:
        stations = len(FLEET.stations)
        source.answers["/w"] = [place()] * stations
        feeds = Feeds(bitcoin_api=f"{source.url}/api", weather_api=f"{source.url}/w")
        chosen = await choose(feeds, FLEET, NOW, library=library())
        assert {c.what: c.live for c in chosen.choices if "of " not in c.what} == {
            "bitcoin": True, "weather": True, "power prices": True, "inference demand": False,
        }  # fmt: skip
        told = [r for feed in chosen.feeds for r in await feed.read(NOW)]
        for kind in (NetworkTick, WeatherTick):
            assert {r.source for r in told if isinstance(r, kind)} == {source.url.removeprefix("http://")}
        prices = [r for r in told if isinstance(r, PriceTick)]
        assert {r.source for r in prices if r.market == "ercot_hb_south"} == {"gridstatus"}
        assert {r.source for r in prices if r.market == "BR_SE_PLD"} == {"synthetic"}
        # Live from the start, so a gap later stays a gap.
        assert not any(r.source == "synthetic" for r in prices if r.market in ("ercot_hb_south", "ERCOT_HUBAVG_DA"))
        assert len([r for r in told if isinstance(r, WeatherTick)]) == stations

    run({"/api/v1/blocks": BLOCKS, "/api/v1/prices": PRICES}, lived)


def test_live_by_order_never_falls_back() -> None:
    feeds = Feeds(source="live", bitcoin_api="http://127.0.0.1:9/api", weather_api="http://127.0.0.1:9/v1")

    async def lived() -> list[AnyRecord]:
        chosen = await choose(feeds, FLEET, NOW, probe_s=1.0)
        assert [c.source for c in chosen.choices if c.what == "power prices"] == ["none"]
        return [r for feed in chosen.feeds for r in await feed.read(NOW)]

    told = asyncio.run(lived())
    assert {type(r) for r in told} <= {Demand, Fault}


def test_synthetic_by_order_asks_nobody() -> None:
    chosen = asyncio.run(choose(Feeds(source="synthetic", bitcoin_api="http://127.0.0.1:9"), FLEET, NOW))
    assert chosen.note == "all feeds: synthetic (as configured)"
