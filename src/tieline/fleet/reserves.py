"""Reserves as data: what each product asks of a load, when offers close, how often it is called and what a miss costs.

Read from `reserves.toml` in this package, or from an operator's own copy. A load reserve is load that runs and can
stop: a megawatt sold must be drawing until it is called. One that `takes` is load that rests and can run: a megawatt
sold must be free to be drawn, and is drawn while it is called, at the site's own price. Pure; knows no price.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from tieline.fleet import tables
from tieline.fleet.markets import zone_of

HOURS_PER_YEAR = 8766.0


class ReserveProduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One product of one operator. Times are local to `zone`, of the day before the one that is sold."""

    operator: str
    service: str
    zone: str
    called_by: Literal["relay", "instruction", "signal"]
    response_s: int
    lasts_s: int
    name: str = ""
    offers_close: str = "10:00"
    published: str = "13:30"
    since: date | None = None
    until: date | None = None
    calls_per_year: float = 0.0
    call_s: int = 3600
    follows_share: float = 0.0
    energy_paid: bool = False
    takes: bool = False
    penalty_usd_per_mwh: float = 2_000.0
    least_mw: float = 0.1
    source: str = ""

    def traded(self, day: date) -> bool:
        """`day` is local to the product."""
        return (self.since is None or day >= self.since) and (self.until is None or day < self.until)

    def closes(self, day: date) -> datetime:
        """When offers for a local day must be in."""
        return self._before(day, self.offers_close)

    def known_at(self, at: datetime) -> datetime:
        """When the price of the hour that begins at `at` is out."""
        return self._before(at.astimezone(zone_of(self.zone)).date(), self.published)

    def _before(self, day: date, clock: str) -> datetime:
        local = datetime.combine(day - timedelta(days=1), time.fromisoformat(clock), tzinfo=zone_of(self.zone))
        return local.astimezone(UTC)

    @property
    def called_share(self) -> float:
        """Share of the sold energy that is taken, calls and signal together."""
        return min(1.0, self.calls_per_year * self.call_s / 3600.0 / HOURS_PER_YEAR + self.follows_share)

    @property
    def calls_per_hour(self) -> float:
        return self.calls_per_year / HOURS_PER_YEAR


class _ProductsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    product: dict[str, ReserveProduct] = {}


def _problem_of(one: ReserveProduct) -> str | None:
    """What is wrong with a product, and how it is mended; None: nothing."""
    try:
        zone_of(one.zone)
        time.fromisoformat(one.offers_close)
        time.fromisoformat(one.published)
    except ValueError as error:
        return str(error)
    if not 0 <= one.response_s <= 86_400 or not 0 < one.lasts_s <= 86_400 or not 0 < one.call_s <= 86_400:
        return "response_s, lasts_s and call_s are seconds of a day"
    if not 0.0 <= one.follows_share <= 1.0 or not 0.0 <= one.calls_per_year <= HOURS_PER_YEAR:
        return "give a follows_share from 0 to 1 and calls_per_year from 0 to 8766"
    if one.penalty_usd_per_mwh < 0 or one.least_mw < 0:
        return "give a penalty_usd_per_mwh and a least_mw from 0 up"
    if one.since is not None and one.until is not None and one.until <= one.since:
        return f"until {one.until} is not after since {one.since}"
    return None


def read_reserves(text: str, file: str) -> dict[str, ReserveProduct]:
    """Every product of a table, by name. Raises TableError."""
    return tables.named(tables.parsed(text, file, _ProductsFile).product, f"{file}: product", _problem_of)


@lru_cache(maxsize=1)
def shipped_reserves() -> Mapping[str, ReserveProduct]:
    """The products that come with the package."""
    return read_reserves(tables.shipped_text("reserves.toml"), "reserves.toml")


def load_reserves(path: Path) -> dict[str, ReserveProduct]:
    """An operator's own products. Raises TableError."""
    return tables.loaded(path, read_reserves, "reserves")
