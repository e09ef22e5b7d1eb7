"""`tieline people`: who has an account on a data folder, and what each may do."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
from collections.abc import Iterator
from pathlib import Path

import click

from tieline.app.machines.beside import people_of
from tieline.app.runtime import Runtime
from tieline.cli.folder import config_and_now, data_dir
from tieline.cli.outcome import NothingThereError
from tieline.cli.rights import caller_name
from tieline.clock import wall_now
from tieline.people import ROLES, Account, People, PeopleError, Role
from tieline.people.accounts import PARTNER, Who
from tieline.store import StoreError

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
_ROLE = click.option(
    "--role", "roles", type=click.Choice(ROLES), multiple=True, required=True, help="May be given several times."
)
_PLACE = click.option("--place", "places", multiple=True, help="A site or region that commands are narrowed to.")


@click.group()
def people() -> None:
    """Accounts, roles and sessions. Works whether the platform runs or not."""


@people.command("list")
@data_dir
@_JSON
def list_(data_dir: Path, as_json: bool) -> None:
    """Who has an account, with roles and sessions."""
    with _open(data_dir) as known:
        accounts = known.accounts()
        sessions = {one.id: len(known.sessions(one.id, wall_now())) for one in accounts}
    if as_json:
        rows = [{**dataclasses.asdict(one), "sessions": sessions[one.id]} for one in accounts]
        click.echo(json.dumps(rows, indent=2))
        return
    if not accounts:
        click.echo("Nobody has an account. `tieline up` prints a one-time link for the first admin.")
    for one in accounts:
        state = "disabled" if one.disabled else "joined" if one.has_password else "invited"
        where = f" at {', '.join(one.places)}" if one.places else ""
        of = f" of {one.tenant}" if one.tenant else ""
        click.echo(f"{one.id:20} {one.name:24} {', '.join(one.roles)}{where}{of}  {state}, {sessions[one.id]} sessions")


@people.command()
@click.argument("id_", metavar="ID")
@_ROLE
@_PLACE
@click.option("--name", default="", help="As it stands on records; they may set it themselves.")
@click.option("--tenant", default="", help="For a tenant's roles: owner, developer, billing.")
@click.option("--partner", default="", help="For the role partner: which organisation of the configuration.")
@data_dir
@_JSON
def add(
    id_: str,
    roles: tuple[str, ...],
    places: tuple[str, ...],
    name: str,
    tenant: str,
    partner: str,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Make an account and print its one-time link, good for a day."""
    if tenant and partner:
        raise click.UsageError("--tenant and --partner: an account is of one of them")
    account = Account(
        id_, name or id_, _roles(roles), _places(places, data_dir), PARTNER + partner if partner else tenant
    )
    with _open(data_dir) as known:
        _print_link(known.add(account, _me(), wall_now()), data_dir, as_json)


@people.command()
@click.argument("id_", metavar="ID")
@data_dir
@_JSON
def invite(id_: str, data_dir: Path, as_json: bool) -> None:
    """A new one-time link for an account: to join, or after a forgotten password."""
    with _open(data_dir) as known:
        _print_link(known.invite(id_, _me(), wall_now()), data_dir, as_json)


@people.command()
@click.argument("id_", metavar="ID")
@_ROLE
@_PLACE
@data_dir
def role(id_: str, roles: tuple[str, ...], places: tuple[str, ...], data_dir: Path) -> None:
    """Give an account these roles instead of those it has."""
    with _open(data_dir) as known:
        before = known.account(id_)
        if before is None:
            raise NothingThereError(f"no account {id_!r}; see: tieline people list")
        known.change(
            dataclasses.replace(before, roles=_roles(roles), places=_places(places, data_dir)), _me(), wall_now()
        )
    click.echo(f"{id_}: {', '.join(roles)}")


@people.command()
@click.argument("id_", metavar="ID")
@data_dir
def remove(id_: str, data_dir: Path) -> None:
    """Remove an account, its sessions and links. The last admin stays."""
    with _open(data_dir) as known:
        known.remove(id_, _me(), wall_now())
    click.echo(f"{id_} is gone.")


@people.command("sign-out")
@click.argument("id_", metavar="ID")
@data_dir
def sign_out(id_: str, data_dir: Path) -> None:
    """End every session of an account."""
    with _open(data_dir) as known:
        known.revoke(id_, None, _me(), wall_now())
    click.echo(f"{id_} is signed out everywhere.")


@contextlib.contextmanager
def _open(data_dir: Path) -> Iterator[People]:
    """The accounts of a data folder; what is wrong is one line."""
    if not data_dir.is_dir():
        raise NothingThereError(f"{data_dir} is no data folder; start the platform once, or give --data-dir")
    try:
        store = people_of(data_dir)
        try:
            yield People(store)
        finally:
            store.close()
    except (PeopleError, StoreError) as error:
        kind = NothingThereError if "no account" in str(error) else click.ClickException
        raise kind(str(error)) from error


def _print_link(secret: str, data_dir: Path, as_json: bool) -> None:
    with contextlib.suppress(OSError, ValueError):
        url = Runtime.load(data_dir / "run" / "runtime.json").console_url
        _print_once(f"{url}/join#{secret}", as_json)
        return
    _print_once(f"/join#{secret}", as_json)


def _print_once(link: str, as_json: bool) -> None:
    click.echo(json.dumps({"link": link}) if as_json else f"{link}  (once, for a day)")


def _roles(given: tuple[str, ...]) -> tuple[Role, ...]:
    return tuple(role for role in ROLES if role in given)


def _places(given: tuple[str, ...], data_dir: Path) -> tuple[str, ...]:
    """Sites and regions as the fleet spells them: a person writes "South America" for south_america."""
    sites = config_and_now(data_dir)[0].fleet.sites if given else ()
    known = {word for site in sites for word in (site.id, site.region)}
    spelt = {place: place if place in known else place.strip().lower().replace(" ", "_") for place in given}
    if unknown := [place for place, one in spelt.items() if one not in known]:
        raise click.ClickException(
            f"no site or region {unknown[0]!r} in this fleet; see: tieline site list, or its file"
        )
    return tuple(spelt.values())


def _me() -> Who:
    proved = caller_name()
    return Who(f"{getpass.getuser()} (command line)") if proved is None else Who(proved, "command line")
