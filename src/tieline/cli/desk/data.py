"""`tieline data`: folders of days to replay and backtest."""

from __future__ import annotations

from pathlib import Path

import click

from tieline.feeds.days.example import write_example
from tieline.feeds.days.folder import FolderError


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
