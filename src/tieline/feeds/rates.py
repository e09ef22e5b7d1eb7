"""Reference exchange rates of the European Central Bank, as records: one a currency and day, in dollars a unit.

The ECB publishes what a euro is worth about 16:00 Frankfurt time on working days; a rate between dollars and another
currency is the quotient of two of them. API: https://data-api.ecb.europa.eu (SDMX, `format=jsondata`), free of use with
the source named. Reference rates are no dealing rates. Only the currencies that a fleet needs are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from tieline.feeds.faults import FaultBook, number
from tieline.feeds.http import TIMEOUT_S, Fetched, Source, Unavailable
from tieline.fleet import Fleet
from tieline.records import AnyRecord, ExchangeRate

FRANKFURT, PUBLISHED = ZoneInfo("Europe/Berlin"), time(16, 0)
# Units a euro: from a thousandth (none is so dear) to a million.
PER_EURO = (1e-3, 1e7)
# New once a working day.
EVERY_S = 3 * 3600.0
MOST_CURRENCIES, DAYS = 40, 8
PLACES = Decimal("0.0000000001")


def known_at(day: date) -> datetime:
    """When the rate of a day is out."""
    return datetime.combine(day, PUBLISHED, tzinfo=FRANKFURT).astimezone(UTC)


def needed(fleet: Fleet) -> tuple[str, ...]:
    """Currencies that some contract is priced in. No market with a live source here has another one than dollars."""
    currencies = {site.contract.currency for site in fleet.sites if site.contract.local}
    return tuple(sorted(currencies))[:MOST_CURRENCIES]


@dataclass
class RatesFeed:
    """`api` is the address up to the data flow."""

    currencies: tuple[str, ...]
    api: str = "https://data-api.ecb.europa.eu/service/data/EXR"
    timeout_s: float = TIMEOUT_S
    faults: FaultBook = field(default_factory=lambda: FaultBook("exchange rates"))
    _told: set[tuple[str, date, Decimal]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.source = urlsplit(self.api).netloc or self.api
        units = "+".join(sorted({*self.currencies, "USD"} - {"EUR"}))
        self._asked = Source(f"{self.api.rstrip('/')}/D.{units}.EUR.SP00.A", EVERY_S, self.timeout_s)

    async def read(self, now: datetime) -> list[AnyRecord]:
        """New rates of the last days; Faults when the source failed, told an absurd one, or left a currency out."""
        if not self.currencies:
            return []
        answer = await self._asked.get({"lastNObservations": DAYS, "format": "jsondata", "detail": "dataonly"})
        if isinstance(answer, Unavailable):
            return [*self.faults.open("unavailable", answer.why, now)]
        if not isinstance(answer, Fetched):
            return []
        records: list[AnyRecord] = [*self.faults.close("unavailable", now)]
        per_euro = _observations(answer.body)
        if per_euro is None:
            return [*records, *self.faults.open("absurd", f"{self._asked.url}: no rates in its answer; not used", now)]
        records += self.faults.close("absurd", now)
        dollars = per_euro.get("USD", {})
        for currency in self.currencies:
            units = per_euro.get(currency, {}) if currency != "EUR" else dict.fromkeys(dollars, Decimal(1))
            days = sorted(set(units) & set(dollars))
            what = f"{currency} missing"
            if not days:
                records += self.faults.open(what, f"{self._asked.url}: no rate of {currency}; it has none to give", now)
                continue
            records += self.faults.close(what, now)
            records += self._new(currency, {day: dollars[day] / units[day] for day in days}, now)
        return records

    def _new(self, currency: str, rates: dict[date, Decimal], now: datetime) -> list[ExchangeRate]:
        records = []
        for day, exact in rates.items():
            usd = exact.quantize(PLACES)
            if (currency, day, usd) in self._told or known_at(day) > now:
                continue
            self._told.add((currency, day, usd))
            records.append(
                ExchangeRate(
                    at=known_at(day),
                    known_at=now,
                    source=self.source,
                    kind="measured",
                    currency=currency,
                    usd_per_unit=usd,
                )
            )
        if len(self._told) > 4 * DAYS * MOST_CURRENCIES:
            self._told = {one for one in self._told if one[1] >= min(rates)}
        return records


def _observations(body: Any) -> dict[str, dict[date, Decimal]] | None:
    """Units a euro by currency and day, out of SDMX-JSON; None where it is something else. A value that cannot be is
    left out."""
    try:
        dimensions = body["structure"]["dimensions"]
        place = next(n for n, one in enumerate(dimensions["series"]) if one["id"] == "CURRENCY")
        names = [value["id"] for value in dimensions["series"][place]["values"]]
        days = [date.fromisoformat(value["id"]) for value in dimensions["observation"][0]["values"]]
        observations: dict[str, dict[date, Decimal]] = {}
        for key, one in body["dataSets"][0]["series"].items():
            held = observations.setdefault(names[int(key.split(":")[place])], {})
            for at, values in one["observations"].items():
                rate = number(values[0], *PER_EURO)
                if rate is not None:
                    held[days[int(at)]] = Decimal(repr(rate))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration):
        return None
    return observations or None
