"""Charges of coincident peaks that are over, as bills: what each site drew in them is what it will be billed for.

The platform's core books them day by day, `tieline books peaks` when it is asked to; both by `charges`. There is one
bill a rule, peak and site, told anew where loads or power bills are corrected, so that asking again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from tieline.dispatch.desk.accrual import AccruedShare, accrued, peaks_so_far, season_of
from tieline.fleet import Fleet
from tieline.fleet.peaks import PeakRule
from tieline.records import PowerBill, SystemLoad, VendorBill, newest_by
from tieline.store import Store

EXPENSE, SOURCE = "Peak charges", "peaks"
# A year and a few days: a season, with the hours before it.
SEASON = timedelta(days=370)
# A season's last peaks are over when the next one begins; for so long what is corrected of them is looked at.
LATE = timedelta(days=45)


def accrued_shares(
    store: Store, rule: PeakRule, fleet: Fleet, now: datetime, season: int | None = None
) -> list[AccruedShare]:
    """What each site that pays for a rule's peaks will owe for those of a season so far, by its hourly bills; `season`:
    the year in which it began, by default the one that holds `now`."""
    sites = [site.id for site in fleet.sites if fleet.pays(site, rule)]
    if not sites:
        return []
    back = SEASON if season is None else SEASON + LATE
    loads = store.each(SystemLoad, now - back, now, subject=rule.operator, now=now)

    def drawn(site_id: str, at: datetime) -> float | None:
        bills = store.between(PowerBill, at, at + timedelta(hours=1), subject=site_id, now=now)
        hourly = [bill for bill in bills if bill.length_s == 3600 and bill.at == at]
        last = max(hourly, key=lambda bill: bill.known_at, default=None)
        return None if last is None else last.mining_wh + last.inference_wh + last.aux_wh

    return accrued(rule, sites, peaks_so_far(rule, loads, now, season), drawn)


def charges(store: Store, fleet: Fleet, rules: Sequence[PeakRule], now: datetime) -> Iterator[VendorBill]:
    """Of every rule: one for each peak that is over and each site that pays for it and was billed for its hour."""
    invented = {site.id for site in fleet.sites if site.invented}
    for rule in rules:
        shares = accrued_shares(store, rule, fleet, now)
        before = season_of(rule, now - LATE)
        if before != season_of(rule, now):
            shares += accrued_shares(store, rule, fleet, now, before)
        for one in shares:
            if not one.peak.over or one.usd <= 0:
                continue
            yield VendorBill(
                at=one.peak.at,
                known_at=now,
                source=SOURCE,
                kind="simulated" if one.site_id in invented else "estimated",
                bill_id=f"{rule.name} {one.peak.stretch} {one.site_id}",
                payee=rule.operator,
                amount_usd=one.usd,
                expense=EXPENSE,
                site_id=one.site_id,
            )


def new_charges(store: Store, fleet: Fleet, rules: Sequence[PeakRule], now: datetime) -> list[VendorBill]:
    """Those of `charges` that say something else than what is stored; each known after what it corrects."""
    new: list[VendorBill] = []
    stored: dict[str, VendorBill] = {}
    for operator in {rule.operator for rule in rules}:
        told = store.between(VendorBill, now - SEASON - LATE, now, subject=operator)
        stored |= newest_by(told, lambda bill: bill.bill_id)
    for bill in charges(store, fleet, rules, now):
        known = stored.get(bill.bill_id)
        if known is None:
            new.append(bill)
        elif Decimal(known.amount_usd) != bill.amount_usd or known.at != bill.at:
            after = max(now, known.known_at + timedelta(microseconds=1))
            new.append(msgspec.structs.replace(bill, known_at=after))
    return new
