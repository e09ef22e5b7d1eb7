"""`tieline replay`: recorded days through the same code, and what they would have earned."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import get_args

import click

from tieline.clock import parse_utc
from tieline.dispatch import Settings
from tieline.dispatch.settings import Policy
from tieline.feeds.folder import FolderError
from tieline.feeds.recorded import ASSUMPTIONS, RecordedFolder
from tieline.replay.report import table
from tieline.replay.run import Asked, ReplayError
from tieline.replay.run import replay as run_replay


def moment(value: str) -> datetime:
    """A date or an ISO time; UTC unless it says otherwise."""
    try:
        return parse_utc(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date; write 2024-08-17 or 2024-08-17T06:00") from None


@click.command()
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Folder of recorded days (see docs/replay.md)."
)
@click.option("--from", "start", required=True, type=moment, help="First hour, UTC.")
@click.option("--to", "end", required=True, type=moment, help="End, UTC, not included.")
@click.option("--scale", default=0.447, show_default=True, help="Share of the folder's fleet; 0.447 is about 50 EH/s.")
@click.option(
    "--policy",
    type=click.Choice(get_args(Policy)),
    default="lookahead",
    show_default=True,
    help="How megawatts are decided.",
)
@click.option("--no-events", is_flag=True, help="Leave out the folder's orders and faults.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def replay(
    data: Path, start: datetime, end: datetime, scale: float, policy: Policy, no_events: bool, as_json: bool
) -> None:
    """Run recorded days through the same code on simulated time.

    Rigs and engines are modelled; nothing depends on the wall clock, so the same days give the same bytes.
    """
    try:
        folder = RecordedFolder(data)
        fleet = folder.fleet(scale)
        asked = Asked(
            fleet=fleet,
            settings=Settings(policy=policy),
            records=folder.records(fleet, start, end, scale, with_events=not no_events),
            start=start,
            end=end,
            label=data.name,
            scale=scale,
            assumptions=ASSUMPTIONS,
        )
        steps = max(0, int((end - start).total_seconds() // asked.settings.interval_s))
        hidden = not sys.stderr.isatty()
        with click.progressbar(length=steps, label="replaying", file=sys.stderr, hidden=hidden) as bar:
            report = asyncio.run(run_replay(asked, bar.update))
    except (FolderError, ReplayError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.to_json() if as_json else table(report))
