"""Power markets as data: whose price it is, when it is published, in what currency, within what limits.

Read from `markets.toml` in this package, or from an operator's own copy. Nothing about a market is a constant in
code. Knows no price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from tieline.fleet import tables
from tieline.fleet.tables import TableError

MarketKind = Literal["day-ahead", "real-time", "tariff"]

# Where no row says when: the noon auctions have cleared by then (assumed).
DEFAULT_LOCAL = "14:00"
# Limits are on offers; congestion and scarcity adders take prices past them, but not past twice the cap. A floor of
# zero still leaves room for congestion.
LIMIT_FACTOR, LIMIT_MARGIN_USD = 2.0, 500.0


class Publication(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From `since` on, a day's prices are out at `local` time so many days before."""

    local: str
    days_before: int = 1
    since: date | None = None

    @property
    def clock(self) -> time:
        return time.fromisoformat(self.local)


class OfferLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Floor and cap of offers from `since` on, in the operator's currency per MWh; None: none is known."""

    since: date
    floor: float | None = None
    cap: float | None = None


class LiveSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gridstatus library is asked: class, method, column of the price, arguments."""

    iso: str
    method: str
    price: str
    arguments: dict[str, Any] = {}


class _Operator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    zone: str
    currency: str = "USD"
    usd_about: float = 1.0
    published: tuple[Publication, ...] = ()
    limits: tuple[OfferLimits, ...] = ()


class _Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    operator: str
    kind: MarketKind
    location: str = ""
    hub: bool = False
    length_s: int = 3600
    source: LiveSource | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    operator: dict[str, _Operator] = {}
    market: dict[str, _Listed] = {}


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One price of one operator. `usd_about` is rough: it tells an absurd price from a dear one, never a bill. `hub`: a
    mean over many places of the operator's grid."""

    name: str
    kind: MarketKind
    zone: str
    operator: str = ""
    location: str = ""
    hub: bool = False
    currency: str = "USD"
    usd_about: float = 1.0
    length_s: int = 3600
    published: tuple[Publication, ...] = ()
    limits: tuple[OfferLimits, ...] = ()
    source: LiveSource | None = None

    @property
    def ahead(self) -> bool:
        """Whether its prices are published before their day."""
        return self.kind != "real-time"

    def known_at(self, at: datetime, length: timedelta) -> datetime:
        """When the price of [at, at + length) is known: at its publication, or when the interval has ended."""
        if not self.ahead:
            return at + length
        zone = zone_of(self.zone)
        day = at.astimezone(zone).date()
        rule = self._published(day)
        published = datetime.combine(day - timedelta(days=rule.days_before), rule.clock, tzinfo=zone)
        return published.astimezone(UTC)

    def publication(self, now: datetime) -> Publication:
        """When a day's prices are out, by the rule in force."""
        return self._published(now.astimezone(zone_of(self.zone)).date())

    def _published(self, day: date) -> Publication:
        return _in_force(self.published, day) or Publication(local=DEFAULT_LOCAL)

    def usd_limits(self, at: datetime) -> tuple[float, float]:
        """(lowest, highest) USD/MWh that a price of this market can be; infinite where nothing is known."""
        rule = _in_force(self.limits, at.astimezone(zone_of(self.zone)).date())
        low, high = float("-inf"), float("inf")
        if rule is not None and rule.floor is not None:
            low = LIMIT_FACTOR * rule.floor * self.usd_about - LIMIT_MARGIN_USD
        if rule is not None and rule.cap is not None:
            high = LIMIT_FACTOR * rule.cap * self.usd_about + LIMIT_MARGIN_USD
        return low, high


R = TypeVar("R", Publication, OfferLimits)


_FIXED = re.compile(r"UTC([+-])(\d{1,2})(?::?(\d{2}))?(?!\d)")


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo:
    """An IANA name, or words that hold a fixed offset ("EST (UTC-5, no DST)", "IST (UTC+5:30)"). Raises ValueError
    for a zone that there is not."""
    fixed = _FIXED.search(name)
    if fixed is not None:
        sign, hours, minutes = fixed[1], int(fixed[2]), int(fixed[3] or 0)
        if hours > 14 or minutes > 59:
            raise ValueError(f"no offset {fixed[0]!r}; the furthest zones are at UTC-12 and UTC+14")
        offset = timedelta(hours=hours, minutes=minutes)
        return timezone(-offset if sign == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone {name!r}; write an IANA name, America/Chicago say") from None


def _in_force(rules: Iterable[R], day: date) -> R | None:
    """The newest rule that has begun by `day`; one without a date always has."""
    begun = [rule for rule in rules if rule.since is None or rule.since <= day]
    return max(begun, key=lambda rule: rule.since or date.min, default=None)


def read_markets(text: str, file: str) -> dict[str, Market]:
    """Every market of a table, by name. Raises TableError."""
    raw = tables.parsed(text, file, _File)
    for name, operator in raw.operator.items():
        _check(f"{file}: operator.{name}", operator)
    markets = {}
    for name, listed in raw.market.items():
        shared = raw.operator.get(listed.operator)
        if shared is None:
            known = ", ".join(sorted(raw.operator)) or "none"
            raise TableError(f"{file}: market.{name}: no operator {listed.operator!r}; the file has {known}")
        if not 60 <= listed.length_s <= 86_400 or 86_400 % listed.length_s:
            raise TableError(f"{file}: market.{name}: length_s {listed.length_s} is no part of a day; give 3600 or 900")
        markets[name] = Market(
            name=name,
            kind=listed.kind,
            zone=shared.zone,
            operator=listed.operator,
            location=listed.location,
            hub=listed.hub,
            currency=shared.currency,
            usd_about=shared.usd_about,
            length_s=listed.length_s,
            published=shared.published,
            limits=shared.limits,
            source=listed.source,
        )
    return markets


def _check(where: str, operator: _Operator) -> None:
    try:
        zone_of(operator.zone)
        for rule in operator.published:
            _ = rule.clock
    except ValueError as error:
        raise TableError(f"{where}: {error}") from None
    if not (len(operator.currency) == 3 and operator.currency.isupper()):
        raise TableError(f"{where}: currency {operator.currency!r} is none; write its three letters, EUR say")
    if operator.usd_about <= 0:
        raise TableError(f"{where}: usd_about {operator.usd_about} must be above 0")
    for limit in operator.limits:
        if limit.floor is not None and limit.cap is not None and limit.floor >= limit.cap:
            raise TableError(f"{where}: limits of {limit.since}: floor {limit.floor} is not below cap {limit.cap}")


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, Market]:
    """The table that comes with the package."""
    return read_markets(tables.shipped_text("markets.toml"), "markets.toml")


def load_markets(path: Path) -> dict[str, Market]:
    """An operator's own table. Raises TableError."""
    return tables.loaded(path, read_markets, "markets")
