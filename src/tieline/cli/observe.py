"""`tieline observe`: what observing sites did by day, what the plans would have earned, and the difference."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path

import click

from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.outcome import NothingThereError
from tieline.config import Config
from tieline.dispatch.settings import settings_of
from tieline.settlement.observed import ASSUMES, MOST_DAYS, ObservedDay, observed_in


@click.command()
@click.argument("site", required=False)
@click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=7, show_default=True, help="Days back, today included."
)
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def observe(site: str | None, days: int, data_dir: Path, as_json: bool) -> None:
    """What observing sites did by day, and what following the plans would have earned instead."""
    config, now = config_and_now(data_dir)
    observed = _days_of(config, site, now, days, data_dir)
    if as_json:
        rows = [
            {**dataclasses.asdict(d), "day": d.day.isoformat(), "difference_usd": d.difference_usd} for d in observed
        ]
        click.echo(json.dumps({"assumes": ASSUMES, "days": rows}, indent=2))
        return
    heads = ("done MWh", "asked MWh", "done USD", "would USD", "more USD")
    click.echo(f"{'day':10}  {'site':12} " + " ".join(f"{head:>12}" for head in heads))
    for d in observed:
        missing = f"  {d.missing_hours:.1f} unit-hours not known" if d.missing_hours else ""
        click.echo(
            f"{d.day}  {d.site_id:12} {d.done_mwh:12.2f} {d.would_mwh:12.2f} {d.done_usd:12,.2f} "
            f"{d.would_usd:12,.2f} {d.difference_usd:12,.2f}{missing}"
        )
    if not observed:
        click.echo("\nNo interval has been heard and planned yet; the first comes with the next five minutes.")
        return
    if not any(d.hours for d in observed):
        click.echo(f"\nNothing can be compared yet: no interval has a reading, a price and a hashprice. It {ASSUMES}.")
        return
    more = sum(d.difference_usd for d in observed)
    click.echo(f"\nFollowing the plans would have added {more:,.2f} USD net of power. It {ASSUMES}.")


def _days_of(config: Config, site: str | None, now: datetime, days: int, data_dir: Path) -> list[ObservedDay]:
    """Of the observing sites, or of one. Raises click.ClickException where there is none."""
    observing = [one for one in config.fleet.sites if one.mode == "observe"]
    sites = [one for one in observing if site in (None, one.id)]
    if not sites:
        known = ", ".join(one.id for one in observing) or "none"
        raise NothingThereError(f"no observing site {site or ''}".rstrip() + f"; sites in observe: {known}")
    store = open_store(data_dir)
    return observed_in(store, sites, now, days, settings_of(config).keeps)
