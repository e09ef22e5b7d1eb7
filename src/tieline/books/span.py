"""Months as spans of time, in the zone in which the books are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo


def month_span(month: str, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """First moment of a month and of the next in a zone, both in UTC. Raises ValueError unless `month` is YYYY-MM."""
    try:
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=zone)
    except ValueError as error:
        raise ValueError(f"month {month!r} must be written YYYY-MM, like 2026-11") from error
    after = (start.replace(day=28) + timedelta(days=4)).replace(day=1)
    return start.astimezone(UTC), after.astimezone(UTC)


def month_before(month: str) -> str:
    """The name of the month before. Raises ValueError as `month_span` does."""
    return f"{month_span(month)[0] - timedelta(days=1):%Y-%m}"


def month_of(at: datetime, zone: tzinfo = UTC) -> str:
    """The month that a moment belongs to."""
    return f"{at.astimezone(zone):%Y-%m}"


def known_month(month: str, now: datetime, since: datetime | None, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """The span of a month of which something may be known; `since`: when the first record holds, None: none does.

    Raises ValueError as `month_span` does, for a month that has not begun, and for one that ended before anything was
    recorded: nothing is known of it, which is not zero.
    """
    start, end = month_span(month, zone)
    if start > now:
        raise ValueError(f"month {month} has not begun; it is {now:%Y-%m-%d}")
    if since is not None and end <= since:
        raise ValueError(f"month {month} is not known: the first record is of {since:%Y-%m-%d}")
    return start, end
