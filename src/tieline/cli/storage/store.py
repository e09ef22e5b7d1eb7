"""`tieline store`: where a data folder's records lie, whether they are whole, and how they move."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import click

from tieline import records
from tieline.app.up import read_state
from tieline.cli.folder import data_dir, place_in
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.store import DamagedError, Store, StoreError
from tieline.store.copy import copy as copy_all
from tieline.store.copy import same
from tieline.store.place import FILE, StorePlace, name
from tieline.store.sqlite import KIND


@click.group()
def store() -> None:
    """Where the records lie: in a file of the data folder, or on PostgreSQL ([store] url in the configuration)."""


@store.command()
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def check(data_dir: Path, as_json: bool) -> None:
    """Read every record and make the digest over all of them anew."""
    place = _there(data_dir)
    try:
        with closing(Store(place, records.encode, records.decode, read_only=True)) as one:
            one.verify()
            counts = one.counts()
            state = {"place": str(place), "form": KIND.version, "records": sum(counts.values()), "last": one.last_seq(),
                     "digest": one.digest(), "streams": counts}  # fmt: skip
    except DamagedError as error:
        raise AnswerIsNoError(str(error)) from error
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(state))
        return
    click.echo(f"{place}: {state['records']:,} records of {len(counts)} streams, form {KIND.version}, whole.")
    click.echo(f"digest {state['digest']}")


@store.command()
@data_dir
def migrate(data_dir: Path) -> None:
    """Bring the records to this version's form; `tieline up` does the same."""
    place = _there(data_dir)
    try:
        Store(place, records.encode, records.decode).close()
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{place}: form {KIND.version}.")


@store.command()
@data_dir
@click.option("--to", "url", metavar="URL", help="postgresql://user@host:port/database")
@click.option("--password-file", type=click.Path(dir_okay=False, path_type=Path), help="Holds the server's password.")
@click.option("--to-file", is_flag=True, help="Bring them back from a server into the folder's file.")
def copy(data_dir: Path, url: str | None, password_file: Path | None, to_file: bool) -> None:
    """Move the records to a server, or back into a file, each under its own number, and compare the digests.

    A copy that was cut short goes on where it stopped. What they were copied from is left as it is.
    """
    place = _there(data_dir)
    if (url is None) != to_file:
        raise click.UsageError("name where to: --to URL, or --to-file")
    if read_state(data_dir).pid is not None:
        raise AnswerIsNoError(f"the platform of {data_dir} runs; stop it first: tieline down --data-dir {data_dir}")
    to = StorePlace(data_dir, url, None if password_file is None else password_file.resolve())
    if to.url == place.url:
        raise AnswerIsNoError(f"the records of {data_dir} lie at {place} already")
    try:
        with (
            closing(Store(place, records.encode, records.decode, read_only=True)) as source,
            closing(Store(to, records.encode, records.decode)) as target,
        ):
            done = copy_all(source, target, _say)
            if not same(source, target):
                raise AnswerIsNoError(f"{to} does not hold what {place} holds; the folder still names {place}")
            total = target.last_seq()
        name(to)
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{to}: {done:,} records came over, the last is number {total:,}; digests agree. {place} is as it was.")
    if to.url is not None:
        click.echo(f'Name it in the configuration:\n[store]\nurl = "{to.url}"')
    else:
        click.echo(f"Take [store] out of the configuration; {FILE} is used from now on.")


def _there(data_dir: Path) -> StorePlace:
    place = place_in(data_dir)
    if not place.exists():
        raise NothingThereError(f"no records in {data_dir}; run `tieline up` first, or name a folder with --data-dir")
    return place


def _say(done: int) -> None:
    if done % 100_000 == 0:
        click.echo(f"{done:,} ...", err=True)
