"""What commands that read a data folder share: where it is, its store, its fleet, its time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from tieline import config as configuration
from tieline import records
from tieline.app.runtime import Runtime
from tieline.cli.outcome import NothingThereError
from tieline.clock import wall_now
from tieline.config import Config
from tieline.store import Store, StoreError
from tieline.store.place import StorePlace, place_of
from tieline.store.rolled.kept import ROLLED_FILE, RolledStore

F = TypeVar("F", bound=Callable[..., Any])


def data_dir(command: F) -> F:
    """The --data-dir option."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(".tieline"),
        show_default=True,
        envvar="TIELINE_DATA_DIR",
        help="The platform's data folder.",
    )(command)


def fleet_file(command: F) -> F:
    """The --config option of commands that read a folder of days."""
    return click.option(
        "--config", type=click.Path(path_type=Path), help="A fleet.toml in place of the folder's own sites."
    )(command)


def configured(path: Path | None) -> Config | None:
    """The configuration of a file. Raises click.ClickException."""
    if path is None:
        return None
    try:
        return configuration.load(path)
    except configuration.ConfigError as error:
        raise click.ClickException(str(error)) from error


def place_in(folder: Path) -> StorePlace:
    """Where a folder's records lie. Raises click.ClickException."""
    try:
        return place_of(folder)
    except StoreError as error:
        raise click.ClickException(str(error)) from error


def open_store(folder: Path) -> Store:
    """The folder's store, to read. Raises click.ClickException."""
    place = place_in(folder)
    if not place.exists():
        raise NothingThereError(f"no records in {folder}; run `tieline up` first, or name a folder with --data-dir")
    try:
        return Store(place, records.encode, records.decode, read_only=True)
    except StoreError as error:
        raise click.ClickException(str(error)) from error


def sums_in(folder: Path, store: Store) -> RolledStore | None:
    """The sums by hour and day that a console of the folder keeps, where they hold every record of the store; None: the
    records are to be read, which say the same."""
    from tieline.settlement.rolled import RollUp  # of no use to most commands, which start the sooner without it

    if not (folder / ROLLED_FILE).exists():
        return None
    try:
        return RollUp(RolledStore(folder / ROLLED_FILE)).ready(store)
    except StoreError:
        return None


def config_and_now(folder: Path) -> tuple[Config, datetime]:
    """The configuration the folder was last run with, and its world's time."""
    path = folder / "run" / "runtime.json"
    if not path.exists():
        return configuration.demo(), wall_now()
    runtime = Runtime.load(path)
    try:
        config = configuration.load(runtime.config) if runtime.config else configuration.demo()
    except configuration.ConfigError as error:
        raise click.ClickException(str(error)) from error
    return config, runtime.clock.now()
