"""`tieline books peaks`: what the coincident peaks of this season will cost next year, booked when each is over;
where a platform runs, its core does so by itself once a day.

Drawing power in a peak is what makes the charge, so it is an expense of that month and is owed to the operator from
then on; next year's bills pay it off. One accrual a rule, peak and site, told anew where bills or loads are corrected.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.money.keep import fresh, keeper_of, preview, record_booked


@click.command()
@data_dir
@click.option("--dry-run", is_flag=True, help="Print the entries, and record nothing.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def peaks(data_dir: Path, dry_run: bool, as_json: bool) -> None:
    """Book what coincident peaks that are over will cost next year, by the power that each site drew in them."""
    # The desk's libraries are not in the light install, whose books know no peaks.
    from tieline.dispatch.inputs.foresight import rules_of
    from tieline.dispatch.settings import settings_of
    from tieline.settlement.peaks import charges

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
        record_booked(data_dir, new, now)
    recorded = bool(new) and not dry_run
    if as_json:
        result = {"new": len(new), "as_before": as_before, "recorded": recorded, "entries": entries}
        click.echo(json.dumps(result, indent=2))
        return
    click.echo("\n".join(entries) if entries else "no charge is new")
    total = sum(one.amount_usd for one in due)
    word = "recorded" if recorded else "not recorded" if new else "booked already"
    click.echo(f"{len(due)} charges of peaks that are over, {total:,.2f} USD in all; {len(new)} new: {word}")
