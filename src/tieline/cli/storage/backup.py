"""`tieline backup`, `restore` and `verify`: copies of a data folder, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import click

from tieline import __version__
from tieline.app.joins import verify_joins
from tieline.app.up import read_state
from tieline.cli.folder import data_dir, place_in
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.clock import wall_now
from tieline.store import StoreError
from tieline.store.backup import back_up, restore_store
from tieline.store.backup import restore as restore_folder
from tieline.store.backup import verify as verify_folder

_BACKUP = click.argument("backup_dir", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@_BACKUP
@data_dir
def backup(backup_dir: Path, data_dir: Path) -> None:
    """Copy the data folder into DIR, a new one, while everything runs.

    Store, outboxes of sites, usage, batches, orders and keys, each database as of one moment, with a digest of every
    file. Logs and models are left out. The configuration file is yours: keep it with the backup.
    """
    try:
        made = back_up(data_dir, backup_dir, wall_now(), __version__)
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    size = sum(one.bytes for one in made.files)
    databases = sum(one.kind != "file" for one in made.files)
    place = place_in(data_dir)
    if place.url is not None:
        click.echo(f"The records lie at {place} and are not in it: back that server up with its own means.", err=True)
    click.echo(f"{backup_dir}: {len(made.files)} files, {databases} of them databases, {size / 1e6:,.1f} MB, checked.")


@click.command()
@_BACKUP
@data_dir
@click.option(
    "--store-only", is_flag=True, help="Replace only the store of a folder whose sites and gateways lived on."
)
def restore(backup_dir: Path, data_dir: Path, store_only: bool) -> None:
    """Bring the backup in DIR back.

    Into a new or empty data folder; or, with --store-only, in place of a damaged store, which is kept beside it.
    Nothing is ever overwritten or removed. At the next start the gap since the backup goes on record as a fault, and
    sites and gateways send again what they still have.
    """
    if read_state(data_dir).pid is not None:
        raise AnswerIsNoError(f"a platform runs on {data_dir}; stop it first: tieline down --data-dir {data_dir}")
    try:
        if store_only:
            made, aside = restore_store(backup_dir, data_dir, f"{wall_now():%Y%m%dT%H%M%S}")
        else:
            made, aside = restore_folder(backup_dir, data_dir), None
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    aside_line = f" What was there is kept as {aside}." if aside is not None else ""
    click.echo(
        f"{data_dir}: restored as of {made.made_at:%Y-%m-%d %H:%M:%S} UTC, by version {made.version}.{aside_line} "
        f"Start it with: tieline up --data-dir {data_dir}"
    )


@click.command()
@data_dir
def verify(data_dir: Path) -> None:
    """Look through every page and index of each database, make the digest over all records anew, and read what sites
    elsewhere join by."""
    good, bad = 0, 0
    for path, error in (*verify_folder(data_dir), *verify_joins(data_dir)):
        good += 1
        bad += error is not None
        click.echo(f"{path}: {'whole' if error is None else error}")
    if not good:
        raise NothingThereError(f"no database in {data_dir}; name a folder with --data-dir")
    if bad:
        raise AnswerIsNoError(f"{bad} of {good} files are not whole")
