"""The air around each site and the demand on its models, as last heard over the link.

Rig groups need the temperature to turn watts at the rigs into watts at the meter. Old news is no news: past
its age a temperature is None again, and everything is then reckoned hot, the safe side of a limit.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tieline.fleet.sites import Site
from tieline.records import AnyRecord, Demand, WeatherTick

# Weather comes hourly; one missed hour is bridged. Demand holds for its own length and one more.
WEATHER_AGE = timedelta(hours=3)


class Surroundings:
    """Latest weather by station and demand by (model, region)."""

    def __init__(self) -> None:
        self._weather: dict[str, WeatherTick] = {}
        self._demand: dict[tuple[str, str], Demand] = {}

    def take(self, record: AnyRecord) -> None:
        match record:
            case WeatherTick() if record.kind != "forecast":
                held = self._weather.get(record.station)
                if held is None or (record.at, record.known_at) >= (held.at, held.known_at):
                    self._weather[record.station] = record
            case Demand():
                key = (record.model, record.region)
                last = self._demand.get(key)
                if last is None or (record.at, record.known_at) >= (last.at, last.known_at):
                    self._demand[key] = record
            case _:
                pass

    def temp_c(self, site: Site, now: datetime) -> float | None:
        """The air that cools its rigs; None where its station is silent or has none."""
        tick = self._weather.get(site.weather_station or "")
        if tick is None or tick.temp_c is None or not tick.at <= now < tick.at + WEATHER_AGE:
            return None
        return site.intake_c(tick.temp_c, tick.wet_bulb_c)

    def demand(self, now: datetime) -> dict[tuple[str, str], float]:
        """Output tokens per second asked, by (model, region)."""
        return {
            key: tick.output_tokens_per_s
            for key, tick in self._demand.items()
            if tick.at <= now < tick.at + 2 * timedelta(seconds=tick.length_s)
        }
