"""`tieline doctor`: what is missing on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from tieline.app.machines.doctor import examine
from tieline.cli.folder import data_dir
from tieline.cli.outcome import NothingThereError


@click.command()
@data_dir
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The fleet's file: looks at its store.")
@click.option(
    "--wait",
    type=click.IntRange(0, 3600),
    default=0,
    metavar="SECONDS",
    help="Where anything is wrong, look again for so long: parts that were just started take some seconds.",
)
def doctor(data_dir: Path, config: Path | None, wait: int) -> None:
    """Say what this machine lacks for its parts, and what to do. Exit code 1 where anything is wrong."""
    if not data_dir.exists():
        raise NothingThereError(
            f"no folder {data_dir}; name this machine's with --data-dir, or make one: tieline machine"
        )
    looks = list(examine(data_dir, config))
    for _ in range(wait):
        if not any(look.wrong for look in looks):
            break
        time.sleep(1.0)
        looks = list(examine(data_dir, config))
    wrong = any(look.wrong for look in looks)
    for look in looks:
        click.echo(f"{'!!' if look.wrong else 'ok'}  {look.wrong or look.what}")
    sys.exit(1 if wrong else 0)
