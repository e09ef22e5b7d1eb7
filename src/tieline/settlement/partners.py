"""A partner's month out of the store, and the records behind each of its lines.

What is opened says nothing of anybody else: of a request neither tenant nor key, of a payout no other site's hashes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from tieline.books import month_span
from tieline.books.keeper import newest_of
from tieline.books.reports.partner import PartnerStatement, PayoutHashes, SitesOfMonth
from tieline.books.reports.sums import RolledSums, by_site, parted, site_subject
from tieline.fleet import Fleet, Partner
from tieline.records import MeterReading, Payout, PowerBill, Sample, Shortfall, Usage
from tieline.settlement.month import BEGINNING, SOON, span_of
from tieline.settlement.rolled import SumsOfSpans
from tieline.store import Selection, Store

LINES = ("energy", "hashes", "mining", "inference", "heard", "faults")


class NoPartnerError(ValueError):
    """There is none of that name; one line says which there are."""


@dataclass(frozen=True, slots=True)
class LineOpened:
    """Which line: `what` of a day, at one site, or of one payout."""

    what: str
    site: str
    day: date | None = None
    payout: str = ""


def partner_named(fleet: Fleet, name: str) -> Partner:
    """Raises NoPartnerError."""
    found = next((one for one in fleet.partners if one.id == name), None)
    if found is None:
        named = ", ".join(one.id for one in fleet.partners) or "none; add a [[partner]] to the configuration"
        raise NoPartnerError(f"no partner {name!r}; there are: {named}")
    return found


def sites_of_month(
    store: Store,
    month: str,
    now: datetime,
    zone: tzinfo = UTC,
    *,
    sites: Collection[str] | None = None,
    sums: SumsOfSpans | None = None,
) -> SitesOfMonth:
    """What a month's records say, day by day, of `sites`; None: of all. `sums`: of the store; None: of its records.
    Raises ValueError for a month of which nothing is known."""
    start, end = span_of(store, month, now, zone)
    sums = SumsOfSpans(store, None) if sums is None else sums
    days: dict[tuple[date, str], RolledSums] = {}
    for day, first, last in _days(start, end, zone):
        if sites is None:
            days |= {(day, site): one for site, one in sums.of_sites(first, last).items()}
        else:
            days |= {(day, site): sums.of(site_subject(site), first, last) for site in sites}
    simulated = any(one.simulated_bills for one in sums.of_sites(start, end).values())
    payouts = _payouts(store, start, end)
    hashes = sums.hashes([(payout.span_start, payout.span_end) for payout in payouts])
    paid_for = [PayoutHashes(payout, made) for payout, made in zip(payouts, hashes, strict=True)]
    simulated |= any(payout.kind == "simulated" for payout in payouts)
    first_told = {site: _metered_from(store, site, end) for site in sites or {site for _, site in days}}
    metered = {site: at for site, at in first_told.items() if at is not None}
    return SitesOfMonth(zone, days, paid_for, metered, simulated)


def _metered_from(store: Store, site: str, end: datetime) -> datetime | None:
    """When the first thing that its meter told holds, be it that nothing was heard; None: it has none, or none yet."""
    first = store.page(Selection(MeterReading, BEGINNING, end, subject=site), 1).items
    return next((one.record.at for one in first if isinstance(one.record, MeterReading)), None)


def _days(start: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[date, datetime, datetime]]:
    """Each day of the zone in [start, end), with where it begins and ends."""
    at = start
    while at < end:
        day = at.astimezone(zone).date()
        last = min(end, datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC))
        yield day, at, last
        at = last


def partner_statement(
    store: Store,
    fleet: Fleet,
    partner: Partner,
    month: str,
    now: datetime,
    zone: tzinfo = UTC,
    *,
    sums: SumsOfSpans | None = None,
) -> PartnerStatement:
    """`sums` as in `sites_of_month`. Raises ValueError for a month of which nothing is known."""
    start, end = month_span(month, zone)
    whole = sites_of_month(store, month, now, zone, sites=partner.sites, sums=sums)
    return whole.statement(partner, month, start, end, now)


def opened(store: Store, of: LineOpened, month: str, zone: tzinfo = UTC) -> Iterator[dict[str, Any]]:
    """The records behind one line, with what each adds to it. Raises ValueError for a line that is none."""
    if of.what not in LINES:
        raise ValueError(f"no line {of.what!r}; there are: {', '.join(LINES)}")
    start, end = month_span(month, zone)
    if of.what == "mining":
        yield from _mining(store, of, start, end)
        return
    if of.day is None:
        raise ValueError("name the day of the line: YYYY-MM-DD")
    first = max(start, datetime.combine(of.day, time(), zone).astimezone(UTC))
    last = min(end, datetime.combine(of.day + timedelta(days=1), time(), zone).astimezone(UTC))
    if of.what == "inference":
        for usage in store.each(Usage, first, last):
            if (found := by_site(usage).get(of.site)) is not None:
                yield _row(usage.at, usage.request_id, nano_usd=found[0], tokens=found[1], model=usage.model)
        return
    if of.what == "energy":
        for bill in newest_of(store.between(PowerBill, first, last)):
            if bill.site_id == of.site:
                named = {"mining_wh": bill.mining_wh, "inference_wh": bill.inference_wh, "aux_wh": bill.aux_wh}
                yield _row(bill.at, bill.key, **named, metered=bill.kind)
        return
    yield from _of_site(store, of, first, last)


def _mining(store: Store, of: LineOpened, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    for payout in _payouts(store, start, end):
        if payout.payout_id != of.payout:
            continue
        hashes: dict[str, int] = {}
        for sample in store.each(Sample, payout.span_start, payout.span_end):
            if sample.hashrate_hs is not None and sample.hashrate_hs >= 0:
                made = round(sample.hashrate_hs * sample.length_s)
                hashes[sample.site_id] = hashes.get(sample.site_id, 0) + made
        yield _row(
            payout.at, payout.payout_id, pool=payout.pool, span_start=payout.span_start.isoformat(),
            span_end=payout.span_end.isoformat(), hashes=hashes.get(of.site, 0),
            sats=parted(payout.sats, hashes).get(of.site, 0), kind=payout.kind,
        )  # fmt: skip


def _of_site(store: Store, of: LineOpened, first: datetime, last: datetime) -> Iterator[dict[str, Any]]:
    if of.what == "hashes":
        for sample in store.each(Sample, first, last):
            if sample.site_id == of.site and sample.hashrate_hs is not None and sample.hashrate_hs >= 0:
                yield _row(
                    sample.at, sample.key, unit=sample.unit_id, hashes=round(sample.hashrate_hs * sample.length_s)
                )
    elif of.what == "heard":
        for reading in store.each(MeterReading, first, last):
            if reading.site_id == of.site:
                yield _row(reading.at, reading.key, seconds=reading.length_s if reading.readings else 0)
    else:
        for one in store.each(Shortfall, first, last):
            if one.site_id == of.site:
                yield _row(one.at, one.key, wh=one.short_wh.get("fault", 0), full_wh=one.full_wh)


def _payouts(store: Store, start: datetime, end: datetime) -> list[Payout]:
    """Those of the month, each in its newest word. One at the month's first instant pays for the month before, as in
    the monthly update."""
    paid = newest_of(store.between(Payout, BEGINNING if start < BEGINNING else start, end + SOON))
    return [one for one in paid if start < one.at <= end and one.kind != "forecast"]


def _row(at: datetime, key: str, **more: Any) -> dict[str, Any]:
    return {"at": at.isoformat(), "record": key, **more}
