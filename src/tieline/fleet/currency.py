"""Exchange rates of a day, and contracts that are priced in another currency than dollars.

A day without a rate (a weekend, a holiday) takes the last one. One older than five days is stale: nothing is converted
at it, and whoever asks is told which currency and of which day. Pure; knows no record and no source.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

STALE = timedelta(days=5)
# A week of holidays and the days a source may fail; rates of another month are of no use to a decision.
_KEPT = 40
CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class RateOfDay:
    """USD per unit, and the day from which it holds. `why` says what is wrong where there is no usable rate."""

    usd_per_unit: Decimal | None
    at: datetime | None
    why: str = ""


@dataclass
class RateBook:
    """What is known of exchange rates, by currency, in order of their days; a later word on a day replaces it."""

    _ats: dict[str, list[datetime]] = field(default_factory=dict)
    _usd: dict[str, dict[datetime, Decimal]] = field(default_factory=dict)

    def learn(self, currency: str, at: datetime, usd_per_unit: Decimal) -> None:
        ats, usd = self._ats.setdefault(currency, []), self._usd.setdefault(currency, {})
        if at not in usd:
            bisect.insort(ats, at)
        usd[at] = usd_per_unit

    def forget(self) -> None:
        """Keep the newest of each currency."""
        for currency, ats in self._ats.items():
            for at in ats[:-_KEPT]:
                del self._usd[currency][at]
            del ats[:-_KEPT]

    def rate(self, currency: str, moment: datetime) -> RateOfDay:
        """What a unit is worth at `moment`: the last day's rate, where that is fresh."""
        if currency == "USD":
            return RateOfDay(Decimal(1), moment)
        ats = self._ats.get(currency, [])
        index = bisect.bisect_right(ats, moment) - 1
        if index < 0:
            return RateOfDay(None, None, f"no exchange rate of {currency} is known")
        at = ats[index]
        if moment - at > STALE:
            days = (moment - at).days
            return RateOfDay(None, at, f"the last exchange rate of {currency} is {days} days old ({at:%Y-%m-%d})")
        return RateOfDay(self._usd[currency][at], at)
