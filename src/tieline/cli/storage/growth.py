"""`tieline store growth`: what grows, by how much a day, and how long the disk lasts."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.store import StoreError
from tieline.store.rolled.growth import StoreGrowth, filling, growth_of

# What grows with requests; all else grows with sites and intervals.
BY_REQUESTS: Final = frozenset({"Usage", "Reserved", "Backlog", "DoorRefusals"})


@click.command()
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def growth(data_dir: Path, as_json: bool) -> None:
    """By kind of record, how many a day and how many bytes, and when the disk is full.

    An estimate from the last day. The answer is no (1) where the disk lasts fewer days than store.warn_days.
    """
    config, now = config_and_now(data_dir)
    try:
        with closing(open_store(data_dir)) as store:
            grown = growth_of(store, now, config.store.granted_bytes)
    except StoreError as error:
        raise AnswerIsNoError(str(error)) from error
    if grown is None:
        raise NothingThereError(f"{data_dir} has less than an hour of records in the last day: too little to say")
    sites = len(config.fleet.sites)
    if as_json:
        whole = {**dataclasses.asdict(grown), "over": grown.over.total_seconds(), "days_left": grown.days_left}
        click.echo(json.dumps({**whole, "sites": sites, "bytes_a_site_and_day": _by_site(grown, sites)}))
    else:
        _say(grown, sites)
    line = filling(grown, config.store.warn_days)
    if line is not None:
        raise AnswerIsNoError(f"the store's disk is {line}")


def _by_site(grown: StoreGrowth, sites: int) -> float | None:
    """Bytes of records, without those of requests."""
    own = sum(one.bytes_a_day for one in grown.streams if one.stream not in BY_REQUESTS)
    return own / sites if sites else None


def _say(grown: StoreGrowth, sites: int) -> None:
    how = "an even sample of" if grown.sampled else "all records of"
    click.echo(f"Estimated from {how} the last {grown.over / timedelta(hours=1):,.1f} h:")
    for one in grown.streams:
        each = f"{one.bytes_a_day / one.records_a_day if one.records_a_day else 0.0:,.0f} B each"
        click.echo(
            f"  {one.stream:16} {one.records_a_day:>14,.0f} a day {one.bytes_a_day / 1e6:>12,.2f} MB  {each:>14}"
        )
    by_site = _by_site(grown, sites)
    if by_site is not None:
        click.echo(f"{by_site / 1e6:,.2f} MB of records a site and day without requests, {sites} sites.")
    disk, a_day = grown.disk_bytes / 1e6, grown.disk_bytes_a_day / 1e6
    click.echo(f"On disk {disk:,.0f} MB with indexes, growing by {a_day:,.1f} MB a day.")
    left = grown.days_left
    if left is None:
        click.echo("How long the server's disk lasts is not known here: say what the records may take, store.disk_gb.")
    else:
        click.echo(f"{(grown.free_bytes or 0) / 1e9:,.1f} GB are left: full in {left:,.0f} days.")
