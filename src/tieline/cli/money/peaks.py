"""`tieline books peaks`: what the coincident peaks of this season will cost next year, booked when each is over.

Drawing power in a peak is what makes the charge, so it is an expense of that month and is owed to the operator from
then on; next year's bills pay it off. One accrual a rule, peak and site, told anew where bills or loads are corrected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click

from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.money.keep import fresh, keeper_of, preview, record_all
from tieline.fleet import Fleet
from tieline.fleet.peaks import PeakRule
from tieline.records import VendorBill
from tieline.store import Store

EXPENSE = "Peak charges"


@click.command()
@data_dir
@click.option("--dry-run", is_flag=True, help="Print the entries, and record nothing.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def peaks(data_dir: Path, dry_run: bool, as_json: bool) -> None:
    """Book what coincident peaks that are over will cost next year, by the power that each site drew in them."""
    # The desk's libraries are not in the light install, whose books know no peaks.
    from tieline.dispatch.inputs.foresight import rules_of
    from tieline.dispatch.settings import settings_of

    config, now = config_and_now(data_dir)
    store = open_store(data_dir)
    try:
        due = list(charges(store, config.fleet, rules_of(config.fleet, settings_of(config)), now))
    finally:
        store.close()
    keeper = keeper_of(data_dir)
    new, as_before = fresh(keeper, due)
    entries = preview(keeper, new)
    if new and not dry_run:
        record_all(data_dir, new, now)
    recorded = bool(new) and not dry_run
    if as_json:
        result = {"new": len(new), "as_before": as_before, "recorded": recorded, "entries": entries}
        click.echo(json.dumps(result, indent=2))
        return
    click.echo("\n".join(entries) if entries else "no charge is new")
    total = sum(one.amount_usd for one in due)
    word = "recorded" if recorded else "not recorded" if new else "booked already"
    click.echo(f"{len(due)} charges of peaks that are over, {total:,.2f} USD in all; {len(new)} new: {word}")


def charges(store: Store, fleet: Fleet, rules: Sequence[PeakRule], now: datetime) -> Iterator[VendorBill]:
    """Of every rule: one for each peak that is over and each site that pays for it and was billed for its hour."""
    from tieline.cli.desk.peaks import accrued_shares

    invented = {site.id for site in fleet.sites if site.invented}
    for rule in rules:
        for one in accrued_shares(store, rule, fleet, now):
            if not one.peak.over or one.usd <= 0:
                continue
            yield VendorBill(
                at=one.peak.at,
                known_at=now,
                source="peaks",
                kind="simulated" if one.site_id in invented else "estimated",
                bill_id=f"{rule.name} {one.peak.stretch} {one.site_id}",
                payee=rule.operator,
                amount_usd=one.usd,
                expense=EXPENSE,
                site_id=one.site_id,
            )
