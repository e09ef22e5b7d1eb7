"""What really held at each moment of a run of known days: prices, weather, demand, network, orders, faults.

The world is what it is whether or not anyone knew: these look-ups go by `at`, not by `known_at`. Only the
modelled hardware and the settlement ask here; whoever decides asks the store, as of now.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from tieline.dispatch.settings import Settings, plausible
from tieline.fleet import Contract, Fleet, Site
from tieline.fleet.currency import RateBook
from tieline.records import AnyRecord, Demand, ExchangeRate, Fault, Instruction, NetworkTick, PriceTick, WeatherTick

T = TypeVar("T")


@dataclass(slots=True)
class Held(Generic[T]):
    """Values that hold over [at, at + length), by the moment they start."""

    ats: list[datetime] = field(default_factory=list)
    values: list[tuple[timedelta, T]] = field(default_factory=list)

    def add(self, at: datetime, length: timedelta, value: T) -> None:
        """In order of `at`; what is said later of the same moment replaces it."""
        if self.ats and at == self.ats[-1]:
            self.values[-1] = (length, value)
            return
        self.ats.append(at)
        self.values.append((length, value))

    def at(self, moment: datetime) -> T | None:
        index = bisect.bisect_right(self.ats, moment) - 1
        if index < 0:
            return None
        length, value = self.values[index]
        return value if moment < self.ats[index] + length else None


_HOUR, _NO_END = timedelta(hours=1), timedelta(days=36_500)


class Truth:
    """All records of a run, indexed by what they are about. Forecasts are not truth and are left out."""

    def __init__(self, records: Iterable[AnyRecord], fleet: Fleet, settings: Settings) -> None:
        """A record that says what another has said before (the same key) changes nothing, as in the store. A price
        that cannot be true is none: nobody decided by it, and nobody is billed by it."""
        self.fleet = fleet
        self.prices: dict[str, Held[float]] = {}
        self._weather: dict[str, Held[WeatherTick]] = {}
        self._demand: dict[tuple[str, str], Held[float]] = {}
        self._inputs: dict[tuple[str, str], Held[float]] = {}
        self._network: Held[NetworkTick] = Held()
        self.rates = RateBook()
        self.orders: list[Instruction] = []
        self.faults: list[Fault] = []
        stated: set[str] = set()
        for record in sorted(records, key=lambda r: (r.at, r.known_at)):
            if record.kind == "forecast":
                continue
            match record:
                case PriceTick():
                    if record.key in stated or not plausible(record, fleet, settings):
                        continue
                    stated.add(record.key)
                    length = timedelta(seconds=record.length_s)
                    self.prices.setdefault(record.market, Held()).add(record.at, length, record.price_usd_per_mwh)
                case WeatherTick():
                    self._weather.setdefault(record.station, Held()).add(record.at, _HOUR, record)
                case Demand():
                    where, length = (record.model, record.region), timedelta(seconds=record.length_s)
                    self._demand.setdefault(where, Held()).add(record.at, length, record.output_tokens_per_s)
                    self._inputs.setdefault(where, Held()).add(record.at, length, record.input_tokens_per_s)
                case NetworkTick():
                    self._network.add(record.at, _NO_END, record)
                case ExchangeRate():
                    self.rates.learn(record.currency, record.at, record.usd_per_unit)
                case Instruction():
                    self.orders.append(record)
                case Fault():
                    if record.until is not None:  # the record of its beginning says nothing more
                        self.faults.append(record)
                case _:
                    pass

    def network(self, moment: datetime) -> NetworkTick | None:
        return self._network.at(moment)

    def market_price(self, site: Site, moment: datetime) -> float | None:
        """What the site's market cost: its 15-minute series where that has the moment, else the hourly one."""
        for market in (site.contract.market_15min, site.contract.market):
            held = None if market is None else self.prices.get(market)
            price = None if held is None else held.at(moment)
            if price is not None:
                return price
        return None

    def contract(self, site: Site, moment: datetime) -> Contract:
        """The site's contract in dollars at the rate of the moment; without one its power has no price."""
        if not site.contract.local:
            return site.contract
        rate = self.rates.rate(site.contract.currency, moment).usd_per_unit
        return site.contract.in_usd(None if rate is None else float(rate))

    def temperature(self, site_id: str, moment: datetime) -> float | None:
        """The air that cools the rigs of one site."""
        return self._intake_c(self.fleet.site(site_id), moment)

    def temperatures(self, moment: datetime) -> dict[str, float | None]:
        """The air that cools the rigs, by site."""
        return {site.id: self._intake_c(site, moment) for site in self.fleet.sites}

    def _intake_c(self, site: Site, moment: datetime) -> float | None:
        held = self._weather.get(site.weather_station or "")
        tick = None if held is None else held.at(moment)
        return None if tick is None or tick.temp_c is None else site.intake_c(tick.temp_c, tick.wet_bulb_c)

    def demand(self, moment: datetime) -> dict[tuple[str, str], float]:
        """Output tokens per second by (model, region), where it is known to have been."""
        paths = ((where, held.at(moment)) for where, held in self._demand.items())
        return {where: asked for where, asked in paths if asked is not None}

    def input_share(self, where: tuple[str, str], moment: datetime) -> float:
        """Input tokens per output token asked for."""
        if where not in self._demand:
            return 0.0
        asked, given = self._demand[where].at(moment), self._inputs[where].at(moment)
        return 0.0 if not asked or given is None else given / asked

    def active(self, what: str, moment: datetime) -> list[Fault]:
        """Faults of one kind that hold at `moment`."""
        return [f for f in self.faults if f.what == what and f.at <= moment and moment < (f.until or f.at)]

    def turns(self, start: datetime, end: datetime) -> list[datetime]:
        """Moments strictly inside (start, end) at which an order or a fault begins or ends."""
        edges = [o.known_at for o in self.orders] + [o.until for o in self.orders]
        edges += [f.at for f in self.faults] + [f.until for f in self.faults if f.until is not None]
        return sorted({edge for edge in edges if start < edge < end})
