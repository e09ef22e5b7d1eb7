"""Organisations that join the fleet with sites of their own, and what they ask of whoever dispatches them.

A floor price is the least that a megawatt-hour drawn at their sites has to earn; below it nothing is started there.
Hours are those of the day, in UTC, in which the platform may run them at all; outside them it asks for nothing. Shares
are the partner's part of what its sites bring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

DAY_H = 24
_HOURS = re.compile(r"([01][0-9]|2[0-3])-([01][0-9]|2[0-4])")


def hours_of(text: str) -> tuple[int, int] | None:
    """Of "06-22"; None: all day, which is "". Raises ValueError."""
    if not text:
        return None
    match = _HOURS.fullmatch(text)
    if match is None or match[1] == match[2]:
        raise ValueError(f'{text!r} are no hours; give two different ones of the day in UTC: "06-22"')
    return int(match[1]), int(match[2])


class Partner(msgspec.Struct, frozen=True, kw_only=True):
    """One organisation. `hours`: (from, to) in whole hours of the day in UTC, `to` before `from` over midnight; None:
    all day. `floor_usd_per_mwh` None: none."""

    id: str
    name: str
    sites: tuple[str, ...]
    mining_share: Decimal = Decimal(1)
    inference_share: Decimal = Decimal(1)
    floor_usd_per_mwh: float | None = None
    hours: tuple[int, int] | None = None

    def open_at(self, moment: datetime) -> bool:
        """Whether the platform may run its sites then."""
        if self.hours is None:
            return True
        first, last = self.hours
        hour = moment.astimezone(UTC).hour
        return first <= hour < last if first < last else hour >= first or hour < last

    def shut(self, start: datetime, end: datetime) -> bool:
        """Whether any part of [start, end) is outside its hours."""
        if self.hours is None:
            return False
        step = timedelta(hours=1)
        at = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        while at < end:
            if not self.open_at(at):
                return True
            at += step
        return False

    def closings(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Spans outside its hours that reach into [start, end), each an hour of the clock."""
        at = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        while at < end:
            if not self.open_at(at):
                yield at, at + timedelta(hours=1)
            at += timedelta(hours=1)

    @property
    def span(self) -> str:
        """Its hours as they are written."""
        return "" if self.hours is None else f"{self.hours[0]:02}-{self.hours[1]:02}"

    @property
    def asks(self) -> str:
        """Its hours in words."""
        return "" if self.hours is None else f"{self.hours[0]:02}:00 to {self.hours[1]:02}:00 UTC"
