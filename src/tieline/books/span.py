"""Months as spans of time, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def month_span(month: str) -> tuple[datetime, datetime]:
    """First moment of a month and of the next. Raises ValueError unless `month` is YYYY-MM."""
    try:
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"month {month!r} must be written YYYY-MM, like 2026-11") from error
    return start, (start + timedelta(days=32)).replace(day=1)
