"""A folder of days filled from the live sources: whole, polite, and going on where it was broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tieline.backtest.data import days_of as days_in
from tieline.backtest.data import load
from tieline.cli import main
from tieline.config import loads
from tieline.dispatch import Settings
from tieline.feeds.days.fetch import PAUSE_S, RETRY_S, DayFetcher, FetchStoppedError, months_of
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.recorded import RecordedFolder
from tieline.fleet.markets import zone_of

START, END = datetime(2026, 6, 10, tzinfo=UTC), datetime(2026, 6, 12, tzinfo=UTC)
NOW = datetime(2026, 7, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEXT = """
[fleet]
name = "mine"
[[site]]
id = "tx-1"
name = "Texas"
region = "north_america"
lat = 31.5
lon = -100.0
interconnect_mw = 30.0
contract = { basis = "spot", market = "ERCOT_HUBAVG_DA" }
rigs = [{ model = "Antminer S21", mw = 20.0 }]
[[site]]
id = "br-1"
name = "Brazil"
region = "south_america"
lat = -23.0
lon = -46.0
interconnect_mw = 30.0
contract = { basis = "spot", market = "BR_SE_PLD" }
rigs = [{ model = "Antminer S21", mw = 20.0 }]
"""
FLEET = loads(TEXT).fleet


class Frame:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def to_dict(self, how: str) -> list[dict[str, Any]]:
        assert how == "records"
        return self.rows


class Library:
    """In place of gridstatus: a local day of Texas, an hour each; `fails` says which days it does not answer."""

    def __init__(self, fails: Callable[[str], bool] = lambda day: False) -> None:
        self.days: list[str] = []
        self.fails = fails

    def Ercot(self) -> Library:  # noqa: N802  # the library's own name
        return self

    def get_spp(self, date: str, **more: Any) -> Frame:
        self.days.append(date)
        if self.fails(date):
            raise ConnectionError("the portal is down")
        return Frame(list(self._rows(date)))

    def _rows(self, day: str):  # type: ignore[no-untyped-def]
        begin = datetime.fromisoformat(day).replace(tzinfo=zone_of("America/Chicago"))
        for n in range(24):
            at = begin.astimezone(UTC) + n * HOUR
            for place, usd in (("HB_HUBAVG", 20.0 + n), ("HB_WEST", 999.0)):
                yield {"Location": place, "SPP": usd, "Interval Start": at, "Interval End": at + HOUR}


class World:
    """In place of the two web services."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def ask(self, url: str, params: dict[str, str]) -> Any:
        self.asked.append(url)
        if "open-meteo" in url:
            first, last = (datetime.fromisoformat(params[k]).replace(tzinfo=UTC) for k in ("start_date", "end_date"))
            times = [int((first + n * HOUR).timestamp()) for n in range(24 * ((last - first).days + 1))]
            temps = [None if n == 5 else 20.0 + n % 24 for n in range(len(times))]
            return {"hourly": {"time": times, "temperature_2m": temps, "relative_humidity_2m": [50.0] * len(times)}}
        if "difficulty" in url:
            return [[int((START - n * 14 * DAY).timestamp()), 900_000 - 2016 * n, 1.2e14, 1.01] for n in range(4)]
        return {"prices": [{"time": int(params["timestamp"]), "USD": 100_000}]}


def fetcher(folder: Path, library: Any, world: World, waits: list[float]) -> DayFetcher:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return DayFetcher(folder, FLEET, START, END, NOW, library, world.ask, sleep)


def calls_of_ercot() -> str:
    from tieline.feeds.grid import CALLS

    return CALLS["ERCOT_HUBAVG_DA"].method


def test_a_folder_is_whole_and_a_backtest_reads_it(tmp_path: Path) -> None:
    assert calls_of_ercot() == "get_spp"
    world, waits = World(), []
    one = fetcher(tmp_path / "days", Library(), world, waits)
    asyncio.run(one.run())
    assert one.left_out == ["BR_SE_PLD: no live source"]
    # Never two requests without a pause between them.
    assert waits[0] == 0.0
    assert set(waits[1:]) == {PAUSE_S}
    folder = RecordedFolder(tmp_path / "days")
    fleet = folder.over(FLEET)
    ticks = folder.prices(fleet, START, END)
    assert len(ticks) == 48
    assert {tick.market for tick in ticks} == {"ERCOT_HUBAVG_DA"}
    # 05:00 UTC is midnight in Texas; its price was out at 13:30 there the day before.
    midnight = next(tick for tick in ticks if tick.at == START + 5 * HOUR)
    assert (midnight.price_usd_per_mwh, midnight.known_at) == (20.0, datetime(2026, 6, 9, 18, 30, tzinfo=UTC))
    found = load(tmp_path / "days", days_in(tmp_path / "days"), events=False, settings=Settings(), fleet=FLEET)
    assert found.left_out == ("br-1 (no price of BR_SE_PLD)",)
    assert (found.hashprice_usd > 0).all()


def test_broken_off_it_goes_on_where_it_was(tmp_path: Path) -> None:
    broken, world, waits = Library(lambda day: day == "2026-05-25"), World(), []
    with pytest.raises(FetchStoppedError, match="ERCOT_HUBAVG_DA/2026-05-25.*portal is down.*run it again") as caught:
        asyncio.run(fetcher(tmp_path / "days", broken, world, waits).run())
    assert "ConnectionError" in str(caught.value)
    assert broken.days.count("2026-05-25") == 3
    assert waits[-1] == PAUSE_S
    assert {RETRY_S, 2 * RETRY_S} <= set(waits)
    assert not (tmp_path / "days" / "power_prices").exists()
    before = set(broken.days)
    again = Library()
    asyncio.run(fetcher(tmp_path / "days", again, world, []).run())
    assert not before - {"2026-05-25"} & set(again.days)
    # A third time nothing is asked.
    asked = len(world.asked)
    third = fetcher(tmp_path / "days", Library(), world, [])
    asyncio.run(third.run())
    assert third.asked == 0
    assert len(world.asked) == asked


def test_without_the_library_prices_are_left_out_by_name(tmp_path: Path) -> None:
    one = fetcher(tmp_path / "days", None, World(), [])
    asyncio.run(one.run())
    assert any("gridstatus is not installed" in line for line in one.left_out)


def test_what_cannot_be_fetched_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(FolderError, match="not empty"):
        asyncio.run(fetcher(tmp_path / "mine", Library(), World(), []).run())
    late = DayFetcher(tmp_path / "a", FLEET, START, NOW, NOW)
    with pytest.raises(FolderError, match="too late"):
        asyncio.run(late.run())
    back = DayFetcher(tmp_path / "a", FLEET, END, START, NOW)
    with pytest.raises(FolderError, match="--to after --from"):
        asyncio.run(back.run())
    config = tmp_path / "fleet.toml"
    config.write_text(TEXT)
    words = [
        "data",
        "fetch",
        str(tmp_path / "b"),
        "--config",
        str(config),
        "--from",
        "2026-06-12",
        "--to",
        "2026-06-10",
    ]
    done = CliRunner().invoke(main, words)
    assert done.exit_code != 0
    assert "--to after --from" in done.output


def test_months_are_cut_to_the_span() -> None:
    found = months_of(date(2026, 1, 30), date(2026, 3, 2))
    assert [f"{first} {last}" for first, last in found] == [
        "2026-01-30 2026-01-31", "2026-02-01 2026-02-28", "2026-03-01 2026-03-02",
    ]  # fmt: skip
