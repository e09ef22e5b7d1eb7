"""Live system load and temperature forecasts: whole hours as measured, hours to come as forecast, faults by name."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.dispatch.fleets import fleet, site

from tieline.dispatch.inputs.outlook import Outlook
from tieline.dispatch.settings import Settings
from tieline.edge.surroundings import Surroundings
from tieline.feeds.http import Fetched
from tieline.feeds.loads import LoadFeed, paid_for
from tieline.feeds.weather import WeatherFeed
from tieline.fleet import Contract
from tieline.records import Fault, SystemLoad, WeatherTick

NOW = datetime(2026, 8, 20, 15, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Frame:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def to_dict(self, how: str) -> list[dict[str, Any]]:
        assert how == "records"
        return self.rows


class Library:
    """Stands in for the library: Texas in five-minute steps, a forecast with its own column."""

    def __init__(self, load: object, forecast: object) -> None:
        outer = self

        class Ercot:
            def get_load(self, date: str) -> Frame:
                return outer.give(load)

            def get_load_forecast(self, date: str) -> Frame:
                return outer.give(forecast)

        self.Ercot = Ercot

    @staticmethod
    def give(told: object) -> Frame:
        if isinstance(told, Exception):
            raise told
        return Frame(list(told))


def steps(start: datetime, count: int, mw: object = 70_000.0) -> list[dict[str, Any]]:
    five = timedelta(minutes=5)
    return [
        {"Interval Start": start + n * five, "Interval End": start + (n + 1) * five, "Load": mw} for n in range(count)
    ]


def ahead(hours: int, mw: object = 80_000.0) -> list[dict[str, Any]]:
    first = NOW.replace(minute=0) - 3 * HOUR
    return [
        {"Interval Start": first + n * HOUR, "Interval End": first + (n + 1) * HOUR, "System Total": mw}
        for n in range(hours)
    ]


def read(feed: LoadFeed) -> list[Any]:
    return asyncio.run(feed.read(NOW))


def test_whole_hours_are_measured_and_hours_to_come_forecast() -> None:
    feed = LoadFeed(("ERCOT",), Library(steps(NOW.replace(minute=0) - 2 * HOUR, 28), ahead(30)))
    found = read(feed)
    measured = [one for one in found if one.kind == "measured"]
    assert [(one.at, one.power_w) for one in measured] == [
        (NOW.replace(minute=0) - 2 * HOUR, 70e9),
        (NOW.replace(minute=0) - HOUR, 70e9),
    ]
    foretold = [one for one in found if one.kind == "forecast"]
    assert foretold[0].at == NOW.replace(minute=0)
    assert len(foretold) == 27
    feed.calls.forget_waits()
    assert read(feed) == []


def test_a_library_that_fails_or_tells_nonsense_is_a_fault_and_the_other_half_is_kept() -> None:
    found = read(LoadFeed(("ERCOT",), Library(RuntimeError("503"), ahead(6))))
    assert [type(one) for one in found[:1]] == [Fault]
    assert all(isinstance(one, SystemLoad) for one in found[1:])
    found = read(LoadFeed(("ERCOT",), Library(steps(NOW - 3 * HOUR, 20, "much"), ahead(6, -5.0))))
    assert [one.what for one in found] == ["ERCOT load absurd", "ERCOT load forecast absurd"]


def test_an_hour_that_is_not_whole_is_no_measurement() -> None:
    found = read(LoadFeed(("ERCOT",), Library(steps(NOW.replace(minute=0) - HOUR, 11), [])))
    assert found == []


def test_only_operators_whose_peaks_are_paid_are_asked() -> None:
    assert paid_for(fleet()) == ()
    texan = site(contract=Contract(basis="spot", market="ERCOT_LZ_WEST_DA"))
    assert paid_for(fleet(texan)) == ("ERCOT",)


# --- temperatures ------------------------------------------------------------------------------------


class Said:
    def __init__(self, body: object) -> None:
        self.body = body

    async def get(self, params: dict[str, object]) -> Fetched:
        assert "hourly" in params
        return Fetched(self.body)


def place(*temps: object) -> dict[str, Any]:
    first = int(NOW.replace(minute=0).timestamp())
    hours = [first + 3600 * n for n in range(len(temps))]
    return {
        "current": {"time": int(NOW.timestamp()) - 300, "temperature_2m": 30.0, "relative_humidity_2m": 40},
        "hourly": {"time": hours, "temperature_2m": list(temps), "relative_humidity_2m": [40] * len(temps)},
    }


def weather(feed: WeatherFeed, body: object, now: datetime = NOW) -> list[Any]:
    feed._asked = Said(body)
    return asyncio.run(feed.read(now))


def test_hours_to_come_are_forecasts_and_told_again_where_they_moved() -> None:
    feed = WeatherFeed({"W": (31.0, -100.0)})
    found = weather(feed, [place(30.0, 33.0, 36.0, "hot", 39.0)])
    assert [(one.kind, one.temp_c) for one in found] == [
        ("measured", 30.0), ("forecast", 33.0), ("forecast", 36.0), ("forecast", 39.0),
    ]  # fmt: skip
    assert all(one.at > NOW for one in found[1:])
    later = NOW + 3 * HOUR
    again = weather(feed, [place(30.0, 33.0, 36.1, 37.0, 38.0)], later)
    assert [(one.at - NOW.replace(minute=0), one.temp_c) for one in again if one.kind == "forecast"] == [
        (4 * HOUR, 38.0)
    ]


def test_a_forecast_is_what_look_ahead_expects_and_no_rig_is_cooled_by_it() -> None:
    outlook, near = Outlook(fleet(), Settings()), Surroundings()
    for one in weather(WeatherFeed({"W": (31.0, -100.0)}), [place(30.0, 33.0, 36.0)]):
        outlook.learn(one)
        near.take(one)
    slots = outlook.temp_slots["W"]
    at = int(slots.index(NOW.replace(minute=0) + 2 * HOUR, 0))
    assert slots.values[at] == 36.0
    assert near.temp_c(fleet().sites[0], NOW) == 30.0
    assert isinstance(outlook.weather["W"].at(NOW).value, WeatherTick)
    assert outlook.temperature(fleet().sites[0], NOW) == 30.0
