"""What a command of the desk works from: the running platform's records, or those of a folder of days at a moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from tieline import records
from tieline.cli.folder import config_and_now, configured, data_dir, fleet_file, open_store
from tieline.clock import parse_utc
from tieline.dispatch import Settings
from tieline.dispatch.desk.peaks import PeakDesk
from tieline.dispatch.inputs.foresight import rules_of
from tieline.dispatch.settings import settings_of
from tieline.feeds.days.recorded import RecordedFolder
from tieline.fleet import Fleet
from tieline.store import Store

F = TypeVar("F", bound=Callable[..., Any])


class KnownThen(NamedTuple):
    """A fleet, how it is dispatched, and what is on record at `now`; whoever asked closes the store."""

    fleet: Fleet
    settings: Settings
    now: datetime
    store: Store


def known_options(command: F) -> F:
    """--data-dir, --data, --at and --config."""
    days = click.option("--data", type=click.Path(path_type=Path), help="A folder of days: what was known there.")
    moment = click.option("--at", "when", help="With --data: the moment, UTC (2024-08-20T15:00).")
    return data_dir(days(moment(fleet_file(command))))


def known(data_dir: Path, data: Path | None, when: str | None, config: Path | None) -> KnownThen:
    """Raises FolderError, ValueError, click.ClickException."""
    if data is None:
        if when is not None or config is not None:
            raise click.UsageError("--at and --config go with --data; the running platform says what is now")
        running, now = config_and_now(data_dir)
        return KnownThen(running.fleet, settings_of(running), now, open_store(data_dir))
    if when is None:
        raise click.UsageError("days of a folder need a moment: --at 2024-08-20T15:00")
    return _of_days(data, parse_utc(when), config)


def _of_days(folder: Path, now: datetime, config: Path | None) -> KnownThen:
    source, own = RecordedFolder(folder), configured(config)
    fleet = source.fleet(source.usual_scale) if own is None else source.over(own.fleet)
    settings = Settings() if own is None else settings_of(own)
    store = Store(None, records.encode, records.decode)
    store.append(source.known_by(fleet, now))
    store.append(PeakDesk(fleet, rules_of(fleet, settings)).step(store, now))
    return KnownThen(fleet, settings, now, store)
