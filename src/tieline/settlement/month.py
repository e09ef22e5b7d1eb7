"""A month out of the store: the one place where the monthly update meets the records it folds."""

from __future__ import annotations

from datetime import datetime, timedelta

from tieline.books import MonthlyUpdate, build_book, invoices, month_span, monthly_update
from tieline.fleet import Fleet
from tieline.ledger import Book
from tieline.records import (
    NetworkTick,
    Opening,
    Payout,
    Performance,
    PowerBill,
    Reserved,
    Sample,
    Shortfall,
    Trade,
    Usage,
)
from tieline.store import Store

_BEGINNING = timedelta(days=365 * 20)


def books_of(store: Store, until: datetime) -> Book:
    """Every entry up to `until`."""
    start = until - _BEGINNING
    return build_book(
        [
            *store.between(Opening, start, until),
            *store.between(Payout, start, until + timedelta(microseconds=1)),
            *store.between(Trade, start, until),
            *store.between(PowerBill, start, until),
            *store.between(Performance, start, until),
        ]
    )


def update_of(store: Store, fleet: Fleet, month: str, now: datetime) -> MonthlyUpdate:
    """The month's update as of `now`. Raises ValueError for a month that is not YYYY-MM or has not begun."""
    start, month_end = month_span(month)
    if start > now:
        raise ValueError(f"month {month} has not begun; it is {now:%Y-%m-%d}")
    end = min(now, month_end)
    rate, count = operating_hashrate(store, start, end)
    before = store.latest(NetworkTick, start)
    return monthly_update(
        fleet,
        month,
        now,
        payouts=store.between(Payout, start - _BEGINNING, end + timedelta(microseconds=1)),
        bills=store.between(PowerBill, start, end),
        trades=store.between(Trade, start - _BEGINNING, end),
        openings=store.between(Opening, start - _BEGINNING, end),
        invoiced=invoices(store.each(Usage, start, end), month, store.each(Reserved, start, end), keyed=True),
        hashrate_hs=rate,
        hashrate_samples=count,
        shortfalls=store.between(Shortfall, start, end),
        performances=store.between(Performance, start - _BEGINNING, end),
        network=[*before, *store.between(NetworkTick, start, end, now=end)],
    )


def operating_hashrate(store: Store, start: datetime, end: datetime) -> tuple[float | None, int]:
    """(mean hashrate over [start, end) in hashes per second, samples it is made of)."""
    hashes, count = 0.0, 0
    for sample in store.each(Sample, start, end):
        if sample.hashrate_hs is not None:
            hashes += sample.hashrate_hs * sample.length_s
            count += 1
    seconds = (end - start).total_seconds()
    return (hashes / seconds if count and seconds > 0 else None), count
