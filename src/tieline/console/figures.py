"""Figures as they leave for a page: MW, EH/s, seconds since 1970; what is not known leaves as null."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


def mw(value_w: float | None) -> float | None:
    return None if value_w is None else round(value_w / 1e6, 4)


def ehs(value_hs: float | None) -> float | None:
    return None if value_hs is None else round(value_hs / 1e18, 5)


def seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def scaled(value: float | None, by: float, digits: int | None = None) -> float | None:
    """`value` in units of `by`, rounded where `digits` says so; None stays None."""
    if value is None:
        return None
    return value / by if digits is None else round(value / by, digits)


def total(values: Iterable[float | None]) -> float | None:
    """The sum of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
