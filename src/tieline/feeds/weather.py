"""Weather at the fleet's stations, now and as it is forecast by the hour, from an Open-Meteo API.

One request for all stations. A station is where its first site stands. Wet bulb is derived from humidity.
API: https://open-meteo.com/en/docs (`current=temperature_2m,relative_humidity_2m`), data CC BY 4.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from tieline.clock import from_micros
from tieline.feeds.faults import FaultBook, number
from tieline.feeds.http import TIMEOUT_S, Fetched, Source, Unavailable
from tieline.feeds.wet_bulb import wet_bulb_c
from tieline.fleet import Fleet
from tieline.records import AnyRecord, WeatherTick

# The lowest and highest air temperatures ever measured are -89.2 and 56.7 C (WMO).
TEMP_C, RH_PCT = (-90.0, 60.0), (0.0, 100.0)
# The source's model gives a value each 15 minutes.
EVERY_S = 600.0
# Decisions look two days ahead; a forecast is kept again where it has moved, every three hours.
FORECAST_DAYS, FORECAST_EVERY, MOVED_C = 3, timedelta(hours=3), 0.3
# One address must stay short; a fleet with more stations is asked for in part.
MAX_STATIONS = 100


@dataclass
class WeatherFeed:
    """`stations` maps each station to (latitude, longitude)."""

    stations: dict[str, tuple[float, float]]
    api: str = "https://api.open-meteo.com/v1/forecast"
    timeout_s: float = TIMEOUT_S
    faults: FaultBook = field(default_factory=lambda: FaultBook("weather"))

    def __post_init__(self) -> None:
        self.source = urlsplit(self.api).netloc or self.api
        self._asked = Source(self.api, EVERY_S, self.timeout_s)
        self._names = sorted(self.stations)[:MAX_STATIONS]
        self._last: dict[str, datetime] = {}
        self._forecast_at: dict[str, datetime] = {}
        self._foretold: dict[tuple[str, datetime], float] = {}

    @classmethod
    def of(cls, fleet: Fleet, api: str, timeout_s: float = TIMEOUT_S) -> WeatherFeed:
        places: dict[str, tuple[float, float]] = {}
        for site in fleet.sites:
            if site.weather_station is not None:
                places.setdefault(site.weather_station, (site.lat, site.lon))
        return cls(places, api, timeout_s)

    async def read(self, now: datetime) -> list[AnyRecord]:
        """One WeatherTick per station with a new value; Faults when the source failed or told an absurd one."""
        if not self._names:
            return []
        answer = await self._asked.get(
            {
                "latitude": ",".join(f"{self.stations[name][0]:.4f}" for name in self._names),
                "longitude": ",".join(f"{self.stations[name][1]:.4f}" for name in self._names),
                "current": "temperature_2m,relative_humidity_2m",
                "hourly": "temperature_2m,relative_humidity_2m",
                "forecast_days": FORECAST_DAYS,
                "timeformat": "unixtime",
            }
        )
        if isinstance(answer, Unavailable):
            return [*self.faults.open("unavailable", answer.why, now)]
        if not isinstance(answer, Fetched):
            return []
        records: list[AnyRecord] = [*self.faults.close("unavailable", now)]
        bodies = answer.body if isinstance(answer.body, list) else [answer.body]
        if len(bodies) != len(self._names):
            detail = f"{self.api}: {len(bodies)} places for {len(self._names)} asked; not used"
            return [*records, *self.faults.open("absurd", detail, now)]
        for name, place in zip(self._names, bodies, strict=True):
            records += self._station(name, place, now)
            records += self._ahead(name, place, now)
        return records

    def _ahead(self, name: str, place: object, now: datetime) -> list[AnyRecord]:
        """Hours to come whose forecast is new or has moved; none where the source tells none."""
        due = self._forecast_at.get(name)
        hourly = place.get("hourly") if isinstance(place, dict) else None
        if not isinstance(hourly, dict) or (due is not None and timedelta(0) <= now - due < FORECAST_EVERY):
            return []
        times, temps, humid = (hourly.get(key) for key in ("time", "temperature_2m", "relative_humidity_2m"))
        if not (isinstance(times, list) and isinstance(temps, list) and isinstance(humid, list)):
            return []
        self._forecast_at[name] = now
        records: list[AnyRecord] = []
        for stamp, one, wet in zip(times, temps, humid, strict=False):
            unix, temp, rh = number(stamp, 946_684_800, 4_102_444_800), number(one, *TEMP_C), number(wet, *RH_PCT)
            if unix is None or temp is None:
                continue
            at = from_micros(int(unix) * 1_000_000)
            before = self._foretold.get((name, at))
            if not now < at <= now + timedelta(days=FORECAST_DAYS) or (
                before is not None and abs(before - temp) < MOVED_C
            ):
                continue
            self._foretold[name, at] = temp
            records.append(self._tick("forecast", name, at, now, temp, rh))
        self._foretold = {key: temp for key, temp in self._foretold.items() if key[1] > now}
        return records

    def _tick(
        self,
        kind: Literal["forecast", "measured"],
        name: str,
        at: datetime,
        now: datetime,
        temp: float,
        rh: float | None,
    ) -> WeatherTick:
        """`temp` in °C, `rh` in %; no wet bulb is above its dry one, whatever rounding says."""
        wet = None if rh is None else round(min(temp, wet_bulb_c(temp, rh)), 2)
        return WeatherTick(
            at=at, known_at=now, source=self.source, kind=kind, station=name, temp_c=temp, wet_bulb_c=wet
        )

    def _station(self, name: str, place: object, now: datetime) -> list[AnyRecord]:
        current = place.get("current") if isinstance(place, dict) else None
        values = current if isinstance(current, dict) else {}
        temp = number(values.get("temperature_2m"), *TEMP_C)
        rh = number(values.get("relative_humidity_2m"), *RH_PCT)
        # From 2000 to 2100: anything else is not the time of a measurement.
        unix = number(values.get("time"), 946_684_800, 4_102_444_800)
        if temp is None or unix is None:
            value = values.get("temperature_2m") if temp is None else values.get("time")
            field_name = "temperature_2m" if temp is None else "time"
            detail = f"{self.api}: {field_name} {str(value)[:80]!r} at {name} is absurd; not used"
            return [*self.faults.open(f"absurd at {name}", detail, now)]
        records: list[AnyRecord] = [*self.faults.close(f"absurd at {name}", now)]
        at = min(from_micros(int(unix) * 1_000_000), now)  # a reading is never from the future
        if self._last.get(name) == at:
            return records
        self._last[name] = at
        records.append(self._tick("measured", name, at, now, temp, rh))
        return records
