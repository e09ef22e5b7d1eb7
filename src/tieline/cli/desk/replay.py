"""`tieline replay`: recorded days through the same code, and what they would have earned."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from tieline.cli.desk.past import told
from tieline.cli.folder import configured, fleet_file
from tieline.clock import parse_utc
from tieline.dispatch import Settings
from tieline.dispatch.settings import Policy, settings_of
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.recorded import RecordedFolder
from tieline.replay.asked import Asked
from tieline.replay.report import table
from tieline.replay.run import ReplayError
from tieline.replay.run import replay as run_replay


def moment(value: str) -> datetime:
    """A date or an ISO time; UTC unless it says otherwise."""
    try:
        return parse_utc(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no date; write 2024-08-17 or 2024-08-17T06:00") from None


def span_options(command: Callable[..., None]) -> Callable[..., None]:
    """--from and --to, as one value: [start, end)."""

    @click.option("--from", "start", required=True, type=moment, help="First hour, UTC.")
    @click.option("--to", "end", required=True, type=moment, help="End, UTC, not included.")
    @wraps(command)
    def spanned(start: datetime, end: datetime, **given: Any) -> None:
        command(span=(start, end), **given)

    return spanned


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of recorded days (see docs/replay.md).")
@click.option(
    "--store", type=click.Path(path_type=Path), help="A platform's data folder: what it did beside what policies would."
)
@span_options
@fleet_file
@click.option("--scale", type=float, help="Share of the folder's fleet: 0.447, about 50 EH/s, where it is recorded.")
@click.option("--policy", type=click.Choice(get_args(Policy)), help="How megawatts are decided. Default: lookahead.")
@click.option("--no-events", is_flag=True, help="Leave out the folder's orders and faults.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def replay(
    data: Path | None,
    store: Path | None,
    span: tuple[datetime, datetime],
    config: Path | None,
    scale: float | None,
    policy: Policy | None,
    no_events: bool,
    as_json: bool,
) -> None:
    """Run recorded days through the same code on simulated time.

    Rigs and engines are modelled; nothing depends on the wall clock, so the same days give the same bytes.
    """
    start, end = span
    if (data is None) == (store is None):
        raise click.UsageError("give --data, a folder of days, or --store, a platform's data folder")
    if store is not None:
        if config is not None or scale is not None or no_events:
            raise click.UsageError("--store replays what was: leave out --config, --scale and --no-events")
        told(store, start, end, policy, as_json)
        return
    assert data is not None, "one of the two is given"
    try:
        folder, own = RecordedFolder(data), configured(config)
        if own is not None and scale is not None:
            raise click.UsageError("--scale is of the folder's fleet; leave it out with --config")
        if scale is None:
            scale = folder.usual_scale if own is None else 1.0
        fleet = folder.fleet(scale) if own is None else folder.over(own.fleet)
        settings = Settings() if own is None else settings_of(own)
        asked = Asked(
            fleet=fleet,
            settings=settings if policy is None else msgspec.structs.replace(settings, policy=policy),
            records=folder.records(fleet, start, end, scale, with_events=not no_events),
            start=start,
            end=end,
            label=data.name,
            scale=scale,
            assumptions=folder.assumptions,
        )
        steps = max(0, int((end - start).total_seconds() // asked.settings.interval_s))
        hidden = not sys.stderr.isatty()
        with click.progressbar(length=steps, label="replaying", file=sys.stderr, hidden=hidden) as bar:
            report = asyncio.run(run_replay(asked, bar.update))
    except (FolderError, ReplayError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.to_json() if as_json else table(report))
