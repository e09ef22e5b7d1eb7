"""Live prices and loads of Texas through the true gridstatus library, its transport replaced.

Requests and pandas' own download are answered from files made here in the shape of ERCOT's; parsing, time zones,
location types and column names are the library's. Run where the extra `grid` is installed (`make grid-test`).
"""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any

import pytest

from tieline.feeds.grid import GridFeed
from tieline.feeds.loads import LoadFeed
from tieline.fleet.markets import zone_of
from tieline.records import Fault, PriceTick, SystemLoad

gridstatus = pytest.importorskip("gridstatus", reason="the extra grid is not installed")
requests = pytest.importorskip("requests")

TEXAS = zone_of("America/Chicago")
HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
PLACES = ("HB_HUBAVG", "HB_WEST", "LZ_WEST", "LZ_HOUSTON", "A_NODE")
# ERCOT's report types.
DAY_AHEAD, REAL_TIME, MAPPING, FORECAST = 12331, 12301, 10008, 12311


class Portal:
    """In place of ERCOT's portal: files of a day, published as ERCOT publishes them. `now` is what it has by then."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()

    def documents(self, report: int) -> list[dict[str, Any]]:
        local = self.now.astimezone(TEXAS)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        made: list[tuple[datetime, str, str]] = []
        if report == DAY_AHEAD:
            for back in (1, 0):
                out = (midnight - timedelta(days=back)).replace(hour=12, minute=45)
                made.append((out, f"DAMSPNP4190_csv{back}", self._day_ahead(out + timedelta(days=1))))
        elif report == REAL_TIME:
            made = [
                (
                    midnight + n * QUARTER,
                    f"SPPHLZNP6905_{midnight + n * QUARTER:%Y%m%d_%H%M}_csv",
                    self._quarter(midnight, n),
                )
                for n in range(1, 96)
            ]
        elif report == FORECAST:
            made = [(midnight + HOUR * n, f"LFCWEATHERNP3560_{n}_csv", self._forecast(midnight)) for n in range(24)]
        else:
            made = [(midnight, "SP_List_EB_Mapping", "RESOURCE_NODE,HUB\nA_NODE,HB_WEST\n")]
        found = []
        for at, name, text in made:
            if at > local:
                continue
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("Settlement_Points.csv" if report == MAPPING else f"{name}.csv", text)
            self.files[name] = file.getvalue()
            found.append({"Document": {"DocID": name, "FriendlyName": name, "PublishDate": at.isoformat(),
                                       "ConstructedName": f"x.{name}.csv.zip"}})  # fmt: skip
        return found[::-1]

    @staticmethod
    def _day_ahead(day: datetime) -> str:
        rows = "".join(
            f"{day:%m/%d/%Y},{hour:02d}:00,{place},{hour + 100 * n:.2f},N\n"
            for hour in range(1, 25)
            for n, place in enumerate(PLACES)
        )
        return "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n" + rows

    @staticmethod
    def _quarter(midnight: datetime, n: int) -> str:
        begin = midnight + (n - 1) * QUARTER
        kinds = {"H": "HU", "L": "LZ", "A": "RN"}
        when = f"{begin:%m/%d/%Y},{begin.hour + 1},{begin.minute // 15 + 1}"
        rows = "".join(f"{when},{p},{kinds[p[0]]},{n + 100 * k:.2f},N\n" for k, p in enumerate(PLACES))
        columns = "SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag"
        return f"DeliveryDate,DeliveryHour,DeliveryInterval,{columns}\n{rows}"

    @staticmethod
    def _forecast(midnight: datetime) -> str:
        rows = "".join(
            f"{midnight + timedelta(days=day):%m/%d/%Y},{hour:02d}:00,1,2,3,4,{50_000 + 100 * hour},N\n"
            for day in range(3)
            for hour in range(1, 25)
        )
        return "DeliveryDate,HourEnding,North,South,West,Houston,SystemTotal,DSTFlag\n" + rows

    # --- transport ---------------------------------------------------------------------------------

    def body(self, url: str) -> bytes:
        if "IceDocListJsonWS" in url:
            report = int(url.split("reportTypeId=")[1].split("&")[0])
            self.asked["list"] += 1
            return json.dumps({"ListDocsByRptTypeRes": {"DocumentList": self.documents(report)}}).encode()
        if "doclookupId=" in url:
            self.asked["file"] += 1
            return self.files[url.split("doclookupId=")[1]]
        if "supply-demand" in url or "todays-outlook" in url:
            end = int(self.now.timestamp()) // 300 * 300
            rows = [
                {"epoch": (end - 300 * n) * 1000, "demand": 60_000 + n, "forecast": 0, "capacity": 1} for n in range(60)
            ]
            return json.dumps({"data": rows}).encode()
        raise AssertionError(f"nothing is at {url}")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def get(_session: object, method: str, url: str, **_more: object) -> Any:
            assert method.lower() == "get"
            answer = requests.Response()
            answer.status_code, answer._content = 200, self.body(url)
            return answer

        class Opened(io.BytesIO):
            headers = Message()

        def opened(request: Any, *_args: object, **_more: object) -> Opened:
            return Opened(self.body(getattr(request, "full_url", request)))

        monkeypatch.setattr(requests.Session, "request", get)
        monkeypatch.setattr("urllib.request.urlopen", opened)


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Portal:
    found = Portal(datetime.now(UTC))
    found.install(monkeypatch)
    return found


def test_the_released_library_answers_for_hubs_zones_and_quarter_hours_of_texas(portal: Portal) -> None:
    markets = ("ERCOT_HUBAVG_DA", "ERCOT_LZ_WEST_DA", "ERCOT_LZ_WEST_RT", "ERCOT_LZ_HOUSTON_RT")
    feed = GridFeed(markets, gridstatus)
    records = asyncio.run(feed.read(portal.now))
    ticks = [r for r in records if isinstance(r, PriceTick)]
    local = portal.now.astimezone(TEXAS)
    # In a day's first quarter of an hour there is no file of it yet, and the library says so by an error.
    assert not [r for r in records if isinstance(r, Fault)] or (local.hour, local.minute // 15) == (0, 0)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    day = {t.at: t.price_usd_per_mwh for t in ticks if t.market == "ERCOT_HUBAVG_DA"}
    assert day[midnight] == 1.0
    assert {t.length_s for t in ticks if t.market.endswith("_DA")} == {3600}
    zone = {t.at: t.price_usd_per_mwh for t in ticks if t.market == "ERCOT_LZ_WEST_DA"}
    assert zone[midnight + 5 * HOUR] == 206.0
    published = local.hour * 60 + local.minute >= 13 * 60 + 30
    assert (
        max(day) >= midnight + timedelta(days=2) - 2 * HOUR
        if published
        else max(day) < midnight + timedelta(days=1, hours=1)
    )
    for market, base in (("ERCOT_LZ_WEST_RT", 200.0), ("ERCOT_LZ_HOUSTON_RT", 300.0)):
        live = {t.at: t.price_usd_per_mwh for t in ticks if t.market == market}
        quarters = int((local - midnight).total_seconds() // 900)
        assert len(live) == min(95, quarters)
        if quarters:
            assert live[midnight] == base + 1.0
            assert {t.length_s for t in ticks if t.market == market} == {900}


def test_a_poll_reads_what_is_new_and_once_for_all_markets_of_a_file(portal: Portal) -> None:
    midnight = portal.now.astimezone(TEXAS).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    one, two = (
        GridFeed(("ERCOT_LZ_WEST_RT",), gridstatus),
        GridFeed(("ERCOT_LZ_WEST_RT", "ERCOT_LZ_HOUSTON_RT"), gridstatus),
    )
    asyncio.run(one.read(portal.now))
    alone = portal.asked["file"]
    asyncio.run(two.read(portal.now))
    assert portal.asked["file"] == 2 * alone
    portal.asked.clear()
    two.calls.forget_waits()
    again = asyncio.run(two.read(portal.now))
    if portal.now - midnight > HOUR:
        assert portal.asked["file"] <= 4  # the last quarter hours again, and the list of places
    assert not [r for r in again if isinstance(r, PriceTick)]
    assert not [r for r in again if isinstance(r, Fault)]


def test_the_released_library_answers_for_load_and_its_forecast(portal: Portal) -> None:
    records = asyncio.run(LoadFeed(("ERCOT",), gridstatus).read(portal.now))
    assert not [r for r in records if isinstance(r, Fault)]
    loads = [r for r in records if isinstance(r, SystemLoad)]
    ahead = {r.at: r.power_w for r in loads if r.kind == "forecast"}
    hour = portal.now.replace(minute=0, second=0, microsecond=0)
    assert {hour + HOUR * n for n in range(1, 24)} <= set(ahead)
    local = (hour + HOUR).astimezone(TEXAS)
    assert ahead[hour + HOUR] == pytest.approx(50_100e6 + 100e6 * local.hour)
    measured = [r for r in loads if r.kind == "measured"]
    assert measured
    assert all(60_000e6 <= r.power_w <= 60_060e6 for r in measured)
