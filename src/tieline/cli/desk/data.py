"""`tieline data`: folders of days to replay and backtest."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import click

from tieline.cli.desk.replay import moment
from tieline.cli.folder import configured
from tieline.clock import wall_now
from tieline.feeds.days.example import write_example
from tieline.feeds.days.fetch import DayFetcher, FetchStoppedError
from tieline.feeds.days.folder import FolderError
from tieline.feeds.gridstatus import installed


@click.group()
def data() -> None:
    """Folders of days to replay and backtest."""


@data.command("example")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another seed, other days.")
def example(folder: Path, seed: int) -> None:
    """Write a small FOLDER of invented days: a storm, a calm week, a clock change.

    \b
    tieline data example days && tieline backtest --data days
    """
    try:
        written = write_example(folder, seed)
    except (FolderError, OSError) as error:
        raise click.ClickException(str(error)) from error
    size = sum(path.stat().st_size for path in written)
    click.echo(f"{folder}: {len(written)} files, {size / 1e6:.1f} MB of invented days (seed {seed})")
    click.echo(f"next: tieline backtest --data {folder}")


@data.command("fetch")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--config", required=True, type=click.Path(path_type=Path), help="The fleet.toml to fetch days for.")
@click.option("--from", "start", required=True, type=moment, help="First day, UTC; the weeks before it come along.")
@click.option("--to", "end", required=True, type=moment, help="End, UTC, not included.")
def fetch(folder: Path, config: Path, start: datetime, end: datetime) -> None:
    """Fill FOLDER with recorded days of your markets, stations and bitcoin, from the sources of the live feeds.

    One request at a time, with a pause between two; broken off, it goes on where it was when it is run again.

    \b
    tieline data fetch days --config fleet.toml --from 2026-06-01 --to 2026-07-01
    tieline backtest --data days --config fleet.toml
    """
    own = configured(config)
    assert own is not None, "--config is required"
    fetcher = DayFetcher(folder, own.fleet, start, end, wall_now(), installed())
    fetcher.tell = lambda line: click.echo(line, err=True)
    try:
        asyncio.run(fetcher.run())
    except (FolderError, FetchStoppedError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for line in fetcher.left_out:
        click.echo(f"left out: {line}")
    click.echo(f"{folder}: whole after {fetcher.asked} requests")
    click.echo(f"next: tieline backtest --data {folder} --config {config}")
