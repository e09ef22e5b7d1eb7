"""`tieline site`, `join` and `agent`: sites that run elsewhere, with credentials of their own."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from tieline.app.agent_run import join as join_platform
from tieline.app.agent_run import run_agent
from tieline.app.joins import Credentials, JoinBook, JoinError, TokenText
from tieline.app.machines.book import change_joins, is_shared, joins_of
from tieline.app.runtime import Runtime
from tieline.app.up import read_state
from tieline.cli.folder import data_dir
from tieline.cli.outcome import NothingThereError
from tieline.clock import wall_now
from tieline.edge.local.door import LocalDoor
from tieline.edge.local.password import make_password
from tieline.edge.local.password import path_of as local_password_path

P = ParamSpec("P")
R = TypeVar("R")

# A site's clock is the wall's; a world further from it than this is not its world.
SAME_TIME = timedelta(seconds=2)


def _one_line(command: Callable[P, R]) -> Callable[P, R]:
    """What does not go is one line."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except JoinError as error:
            kind = NothingThereError if str(error).startswith("no ") else click.ClickException
            raise kind(str(error)) from error

    return run


@click.group()
def site() -> None:
    """Sites that run elsewhere: tokens to join with, who joined, cutting off."""


@site.command()
@data_dir
@click.argument("site_id", metavar="SITE")
@_one_line
def token(data_dir: Path, site_id: str) -> None:
    """Print a token that lets one folder join as SITE: once, within 30 minutes."""
    runtime = _running(data_dir)
    _known(runtime, site_id)
    if abs(runtime.clock.now() - wall_now()) > SAME_TIME or runtime.speed != 1:
        raise JoinError("the world here does not run in the wall's time; a site elsewhere does: start without --speed")

    def offer(book: JoinBook) -> TokenText:
        name = book.offer(site_id, wall_now())
        password, url = book.tokens[name].password, runtime.link_public or runtime.link_url
        return TokenText(url=url, site_id=site_id, name=name, password=password, authority=runtime.link_authority)

    click.echo(str(change_joins(data_dir, offer)))


@site.command("list")
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@_one_line
def list_(data_dir: Path, as_json: bool) -> None:
    """Each site: run here, joined from elsewhere, or cut off."""
    runtime, book = _started(data_dir), joins_of(data_dir)
    rows, at_first = [], "not joined" if is_shared(data_dir) else "here"
    for one in runtime.load_config().fleet.sites:
        joined = book.sites.get(one.id)
        how = at_first if joined is None else "revoked" if joined.password is None else "joined"
        rows.append({"site": one.id, "runs": how, "since": None if joined is None else joined.since.isoformat()})
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['site']:24} {row['runs']:8} {row['since'] or ''}".rstrip())


@site.command()
@data_dir
@click.argument("site_id", metavar="SITE")
@_one_line
def revoke(data_dir: Path, site_id: str) -> None:
    """Cut SITE off the link at once. It may join again with a new token."""
    _known(_started(data_dir), site_id)
    change_joins(data_dir, lambda book: book.revoke(site_id, wall_now()))
    click.echo(f"{site_id} is cut off. A new `tieline site token {site_id}` lets it join again.")


@site.command()
@data_dir
@click.argument("site_id", metavar="SITE")
@_one_line
def take(data_dir: Path, site_id: str) -> None:
    """Have the platform run SITE itself again, from its next start; what joined as SITE is cut off at once."""

    def taken(book: JoinBook) -> None:
        if book.sites.pop(site_id, None) is None:
            raise JoinError(f"{site_id} did not join from elsewhere; `tieline site list` shows those that did")

    change_joins(data_dir, taken)
    click.echo(f"{site_id} runs here again from the next `tieline up`.")


@click.command()
@click.argument("text", metavar="TOKEN")
@data_dir
@_one_line
def join(text: str, data_dir: Path) -> None:
    """Join a platform as one of its sites, with a token of `tieline site token`."""
    site_id = asyncio.run(join_platform(text, data_dir))
    click.echo(f"Joined as {site_id}. Start its agent with: tieline agent --data-dir {data_dir}")
    if not local_password_path(data_dir).exists():
        _tell_password(data_dir)


@click.command()
@data_dir
@click.option("--local-port", type=click.IntRange(1, 65535), help="Open the page for who stands at the site there.")
@click.option("--local-host", default="127.0.0.1", show_default=True, help="Beyond loopback it is not encrypted.")
@click.option("--new-password", is_flag=True, help="Make another password for the page, print it once, and end.")
@_one_line
def agent(data_dir: Path, local_port: int | None, local_host: str, new_password: bool) -> None:
    """Run the agent of the site that this folder joined as. Ctrl-C stops it."""
    if new_password:
        Credentials.load(data_dir)
        _tell_password(data_dir)
        return
    door = None if local_port is None else LocalDoor(data_dir, local_port, local_host)
    if door is not None:
        click.echo(f"The site's page: http://{local_host}:{local_port}")
    asyncio.run(run_agent(data_dir, click.echo, door))


def _tell_password(folder: Path) -> None:
    password = make_password(folder)
    click.echo(f"Password of the site's own page (tieline agent --local-port PORT), shown this once: {password}")


def _started(folder: Path) -> Runtime:
    try:
        return Runtime.load(folder / "run" / "runtime.json")
    except (OSError, ValueError) as error:
        raise JoinError(f"no platform ever ran on {folder}; start it with: tieline up --data-dir {folder}") from error


def _running(folder: Path) -> Runtime:
    if not is_shared(folder) and not read_state(folder).ready:
        raise JoinError(f"no platform runs on {folder}; start it with: tieline up --data-dir {folder}")
    return _started(folder)


def _known(runtime: Runtime, site_id: str) -> None:
    known = [one.id for one in runtime.load_config().fleet.sites]
    if site_id not in known:
        raise JoinError(
            f"no site {site_id!r}; the configuration has {', '.join(known[:8])}{', ...' * (len(known) > 8)}"
        )
