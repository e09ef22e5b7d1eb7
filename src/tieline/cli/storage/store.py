"""`tieline store`: where a data folder's records lie, whether they are whole, and how they move."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import get_args

import click

from tieline import records
from tieline.app.up import read_state
from tieline.cli.folder import config_and_now, data_dir, place_in
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.cli.storage.growth import growth
from tieline.cli.storage.sums import sums
from tieline.records import AnyRecord
from tieline.store import DamagedError, Store, StoreError
from tieline.store.archive import RecordArchive
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


@store.command()
@data_dir
@click.argument("address")
@click.option("--older-than", type=click.IntRange(1, 36_500), default=90, show_default=True, help="Days.")
@click.option("--check", "only_check", is_flag=True, help="Read what is archived there whole, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, a line for each file.")
def archive(data_dir: Path, address: str, older_than: int, only_check: bool, as_json: bool) -> None:
    """Copy older records to ADDRESS as Parquet, a file for each stream and day; ADDRESS: a folder, or s3://bucket/prefix.

    The store keeps them. What is there already and the same stays as it is.
    """
    _, now = config_and_now(data_dir)
    files = new = kept = size = count = 0
    try:
        there = RecordArchive(
            address, records.encode, records.decode, {one.__name__: one for one in get_args(AnyRecord)}
        )
        with closing(Store(_there(data_dir), records.encode, records.decode, read_only=True)) as one:
            before = (now - timedelta(days=older_than)).date()
            for made in there.verify() if only_check else there.archive(one, before):
                files, new, count = files + 1, new + made.new, count + made.records
                kept, size = kept + made.kept, size + made.size
                if as_json:
                    click.echo(json.dumps(dataclasses.asdict(made), default=str))
    except StoreError as error:
        raise AnswerIsNoError(str(error)) from error
    if not as_json:
        what = "whole" if only_check else f"{new} of them written now"
        click.echo(f"{files} files, {what}: {count:,} records, {kept:,} bytes as kept, {size:,} as Parquet.")


store.add_command(sums)
store.add_command(growth)
