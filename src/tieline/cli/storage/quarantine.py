"""`tieline quarantine`: what came in and could not be taken, by name; look at it, offer it again, or drop it.

An item is named by its place and number: `core:12` is the twelfth that the core set aside, `sites/na-tx-01:3` one that
a site kept itself because the core had no room.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tieline.app.runtime import Runtime
from tieline.cli.folder import data_dir
from tieline.cli.outcome import NothingThereError
from tieline.link import Ack, LinkDownError, NatsLink, push
from tieline.store import StoreError
from tieline.store.quarantine import HeldItem, Quarantine, quarantines

LINK_WAIT_S = 2.0
# A group is named by its reason; beyond this many characters reasons differ in figures only.
REASON = 120

Place = tuple[str, Quarantine]


@click.group()
def quarantine() -> None:
    """What came in and could not be taken, by name."""


@quarantine.command("list")
@data_dir
@click.option("--each", is_flag=True, help="Every item on a line of its own, not grouped by reason.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable: every item.")
def list_(data_dir: Path, each: bool, as_json: bool) -> None:
    """Say what is set aside: how much, from whom, and why."""
    with _opened(data_dir) as places:
        items = [(f"{place}:{held.id}", held) for place, one in places for held in one.each()]
        lost = [of_one for _, one in places for of_one in one.lost()]
    for gone in lost:
        last = f"the last, {gone.name}, at {gone.last_at:%Y-%m-%d %H:%M:%S}: {gone.why}"
        click.echo(f"{gone.items:6} of {gone.origin} were let go for want of room; {last}", err=True)
    if as_json:
        click.echo(json.dumps([_plain(name, held) for name, held in items], indent=2))
    elif not items:
        click.echo("Nothing is set aside.")
    elif each:
        for name, held in items:
            click.echo(f"{name:12} {held.last_at:%Y-%m-%d %H:%M:%S} {held.origin}: {held.name}: {held.why}")
    else:
        _echo_groups(items)


def _echo_groups(items: list[tuple[str, HeldItem]]) -> None:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, held in items:
        groups.setdefault((held.origin, held.name, held.why[:REASON]), []).append(name)
    for (origin, what, why), names in groups.items():
        span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1].rpartition(':')[2]}"
        click.echo(f"{len(names):6} of {origin} ({span}): {what}: {why}")
    click.echo("See one with: tieline quarantine show ID; offer them again with: tieline quarantine replay ID ...")


@quarantine.command()
@data_dir
@click.argument("name", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def show(data_dir: Path, name: str, as_json: bool) -> None:
    """Show one item with its bytes."""
    with _opened(data_dir) as places:
        ((_, held, body),) = _picked(places, (name,))
    text = body.decode("utf-8", "backslashreplace")
    if as_json:
        click.echo(json.dumps({**_plain(name, held), "body": text}, indent=2))
        return
    click.echo(f"{name}: {held.name}, from {held.origin}, {held.size:,} bytes, came {held.times} times")
    click.echo(f"first {held.first_at.isoformat()}, last {held.last_at.isoformat()}")
    click.echo(f"why: {held.why}\n")
    click.echo("".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text))


@quarantine.command()
@data_dir
@click.argument("names", metavar="ID...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every item there is.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def replay(data_dir: Path, names: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Offer items to the core again; what it stores is dropped here. Exit code 1 where some are refused again."""
    with _opened(data_dir) as places:
        picked = _picked(places, names, every)
        by_place = dict(places)
        results = asyncio.run(_offer(data_dir, picked)) if picked else []
        for (name, held, _), refused in zip(picked, results, strict=True):
            if refused is None:
                by_place[name.rpartition(":")[0]].drop([held.id])
    done = [{"id": name, "refused": refused} for (name, _, _), refused in zip(picked, results, strict=True)]
    if as_json:
        click.echo(json.dumps(done, indent=2))
    else:
        for one in done:
            if one["refused"] is not None:
                click.echo(f"{one['id']}: refused again: {one['refused']}")
        click.echo(f"{sum(one['refused'] is None for one in done)} of {len(done)} are stored now.")
    sys.exit(0 if all(one["refused"] is None for one in done) else 1)


async def _offer(folder: Path, picked: list[tuple[str, HeldItem, bytes]]) -> list[str | None]:
    """For each item None, it is stored, or why it is not. Raises click.ClickException where no platform runs."""
    path = folder / "run" / "runtime.json"
    try:
        runtime = Runtime.load(path)
        link = await NatsLink.dial(runtime.link_user("operator"), LINK_WAIT_S)
    except (OSError, ValueError, LinkDownError) as error:
        raise NothingThereError(f"no platform runs on {folder}; start it with: tieline up") from error
    try:
        refusals: list[str | None] = []
        for _, held, body in picked:
            ack: Ack = await push(link, held.origin, b"[" + body + b"]")
            refusals.append(ack.trouble)
        return refusals
    except LinkDownError as error:
        raise click.ClickException(f"the core does not answer ({error}); nothing was dropped") from error
    finally:
        await link.close()


@quarantine.command()
@data_dir
@click.argument("names", metavar="ID...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every item there is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def drop(data_dir: Path, names: tuple[str, ...], every: bool, yes: bool, as_json: bool) -> None:
    """Forget items for good."""
    with _opened(data_dir) as places:
        picked = _picked(places, names, every)
        if picked and not yes:
            click.confirm(f"Drop {len(picked)} items for good?", abort=True)
        by_place = dict(places)
        dropped = sum(by_place[name.rpartition(":")[0]].drop([held.id]) for name, held, _ in picked)
    click.echo(json.dumps({"dropped": dropped}) if as_json else f"{dropped} dropped.")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[list[Place]]:
    if not folder.is_dir():
        raise NothingThereError(f"no data folder {folder}; name one with --data-dir")
    places = list(quarantines(folder).items())
    try:
        yield places
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    finally:
        for _, one in places:
            one.close()


def _picked(places: list[Place], names: tuple[str, ...], every: bool = False) -> list[tuple[str, HeldItem, bytes]]:
    """The items of these names. Raises click.ClickException for a name that is none."""
    if every == bool(names):
        raise click.ClickException("name items by their ID (tieline quarantine list --each), or give --all")
    by_place = dict(places)
    if every:
        names = tuple(f"{place}:{held.id}" for place, one in places for held in list(one.each()))
    picked = []
    for name in names:
        place, _, number = name.rpartition(":")
        one = by_place.get(place)
        item = one.get(int(number)) if one is not None and number.isdecimal() and len(number) < 19 else None
        if item is None:
            raise NothingThereError(f"{name}: nothing of that name is set aside; see tieline quarantine list --each")
        picked.append((name, *item))
    return picked


def _plain(name: str, held: HeldItem) -> dict[str, Any]:
    return {
        "id": name,
        "origin": held.origin,
        "what": held.name,
        "why": held.why,
        "first_at": held.first_at.isoformat(),
        "last_at": held.last_at.isoformat(),
        "times": held.times,
        "bytes": held.size,
    }
