"""Periods as miners print them, turned into days and UTC windows.

`YYYY-MM` is a calendar month, `YYYYQn` a calendar quarter, `YYYY` a calendar year, `YYYY-MM-DD` a date for a
point value. Windows are half-open and in UTC: miners print no time zone, and an hour moves a month's expected
bitcoin by 0.1 %, well inside every tolerance used here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_QUARTER = re.compile(r"(\d{4})Q([1-4])")
_DATE = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-(\d{2})")
_YEAR = re.compile(r"\d{4}")


@lru_cache(maxsize=4096)
def window(period: str) -> tuple[datetime, datetime]:
    """[start, end) in UTC. Raises ValueError for a period of no known shape."""
    if match := _MONTH.fullmatch(period):
        year, month = int(match[1]), int(match[2])
        return datetime(year, month, 1, tzinfo=UTC), _first_after(year, month)
    if match := _QUARTER.fullmatch(period):
        year, last = int(match[1]), 3 * int(match[2])
        return datetime(year, last - 2, 1, tzinfo=UTC), _first_after(year, last)
    if match := _DATE.fullmatch(period):
        start = datetime(int(match[1]), int(match[2]), int(match[3]), tzinfo=UTC)
        return start, start + timedelta(days=1)
    if _YEAR.fullmatch(period):
        return datetime(int(period), 1, 1, tzinfo=UTC), datetime(int(period) + 1, 1, 1, tzinfo=UTC)
    raise ValueError(f"period {period!r} is none of YYYY-MM, YYYYQn, YYYY, YYYY-MM-DD")


def days(period: str) -> int:
    start, end = window(period)
    return (end - start).days


def is_month(period: str) -> bool:
    return _MONTH.fullmatch(period) is not None


def is_quarter(period: str) -> bool:
    return _QUARTER.fullmatch(period) is not None


def is_date(period: str) -> bool:
    return _DATE.fullmatch(period) is not None


def months_between(earlier: str, later: str) -> int:
    """From the month of one period to that of another, both by their first."""
    start, end = window(earlier)[0], window(later)[0]
    return (end.year - start.year) * 12 + end.month - start.month


@lru_cache(maxsize=4096)
def previous(month: str) -> str:
    """The month before."""
    start, _ = window(month)
    return (start - timedelta(days=1)).strftime("%Y-%m")


@lru_cache(maxsize=4096)
def following(month: str) -> str:
    """The month after."""
    _, end = window(month)
    return end.strftime("%Y-%m")


def months_of(quarter: str) -> tuple[str, str, str]:
    start, _ = window(quarter)
    first = start.strftime("%Y-%m")
    second = following(first)
    return first, second, following(second)


def quarter_of(month: str) -> str:
    start, _ = window(month)
    return f"{start.year}Q{(start.month + 2) // 3}"


@lru_cache(maxsize=4096)
def last_day(period: str) -> str:
    """The date of the last day of a month or quarter, as point values print it."""
    _, end = window(period)
    return (end - timedelta(days=1)).date().isoformat()


def month_of(period: str) -> str:
    """The month that a period ends in: a date's own month, a quarter's last."""
    return last_day(period)[:7]


def _first_after(year: int, month: int) -> datetime:
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
