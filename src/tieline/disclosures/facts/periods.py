"""Periods as miners print them, turned into days and UTC windows.

`YYYY-MM` is a calendar month, `YYYYQn` a calendar quarter, `YYYY` a calendar year, `YYYY-MM-DD` a date for a
point value. Windows are half-open and in UTC: miners print no time zone, and an hour moves a month's expected
bitcoin by 0.1 %, well inside every tolerance used here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_SHAPE = re.compile(
    r"(?P<year>[1-8]\d{3})(?:Q(?P<quarter>[1-4])|-(?P<month>0[1-9]|1[0-2])(?:-(?P<day>\d\d))?)?", re.ASCII
)
FIRST_YEAR, LAST_YEAR = 2009, 2199
"""Bitcoin's first block is of 2009; what a miner prints of the time after 2199 is a typing error."""


@lru_cache(maxsize=4096)
def window(period: str) -> tuple[datetime, datetime]:
    """[start, end) in UTC. Raises ValueError for a period of no known shape."""
    match = _SHAPE.fullmatch(period)
    if match is None:
        raise ValueError(f"period {period!r} is none of YYYY-MM, YYYYQn, YYYY, YYYY-MM-DD")
    year, quarter, month, day = match.groups()
    first = 3 * int(quarter) - 2 if quarter else int(month or 1)
    try:
        start = datetime(int(year), first, int(day or 1), tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"period {period!r}: {error}") from error
    if day:
        return start, start + timedelta(days=1)
    after = start.month - 1 + (3 if quarter else 1 if month else 12)
    return start, start.replace(year=start.year + after // 12, month=after % 12 + 1)


@lru_cache(maxsize=4096)
def kind(period: str) -> str | None:
    """`year`, `quarter`, `month` or `day`; None for what no miner can have printed."""
    match = _SHAPE.fullmatch(period)
    if match is None or not FIRST_YEAR <= int(match["year"]) <= LAST_YEAR:
        return None
    try:
        window(period)
    except ValueError:  # the thirty-first of a shorter month
        return None
    return match.lastgroup


def is_month(period: str) -> bool:
    return kind(period) == "month"


def is_quarter(period: str) -> bool:
    return kind(period) == "quarter"


def is_date(period: str) -> bool:
    return kind(period) == "day"


def checked(period: str) -> str:
    """The period itself. Raises ValueError for one of no known shape, or that no miner can have printed."""
    window(period)
    if kind(period) is None:
        raise ValueError(f"period {period!r}: give one of the years {FIRST_YEAR} to {LAST_YEAR}")
    return period


def days(period: str) -> int:
    start, end = window(period)
    return (end - start).days


def months_between(earlier: str, later: str) -> int:
    """From the month of one period to that of another, both by their first."""
    start, end = window(earlier)[0], window(later)[0]
    return (end.year - start.year) * 12 + end.month - start.month


@lru_cache(maxsize=4096)
def previous(month: str) -> str:
    """The month before."""
    return (window(month)[0] - timedelta(days=1)).strftime("%Y-%m")


@lru_cache(maxsize=4096)
def following(month: str) -> str:
    """The month after."""
    return window(month)[1].strftime("%Y-%m")


def months_of(quarter: str) -> tuple[str, str, str]:
    first = window(quarter)[0].strftime("%Y-%m")
    second = following(first)
    return first, second, following(second)


def quarter_of(month: str) -> str:
    start, _ = window(month)
    return f"{start.year}Q{(start.month + 2) // 3}"


@lru_cache(maxsize=4096)
def last_day(period: str) -> str:
    """The date of the last day of a month or quarter, as point values print it."""
    return (window(period)[1] - timedelta(days=1)).date().isoformat()


def month_of(period: str) -> str:
    """The month that a period ends in: a date's own month, a quarter's last."""
    return last_day(period)[:7]
