"""`tieline alerts`: what stands open, who has it, and whether a channel works."""

from __future__ import annotations

import asyncio
import getpass
import json
from pathlib import Path

import click
import msgspec

from tieline.alerts.channels import ChannelError, send
from tieline.alerts.incidents import Incident
from tieline.alerts.response import acknowledge
from tieline.alerts.response import silence as silence_kind
from tieline.app.machines.beside import alerts_of
from tieline.app.machines.book import is_shared
from tieline.app.runtime import ALERTS_FILE
from tieline.cli.folder import config_and_now, data_dir
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.cli.rights import caller_name
from tieline.clock import wall_now
from tieline.store import StoreError
from tieline.store.alerts import AlertStore

TEST = "This is a test: nothing is wrong."


@click.group()
def alerts() -> None:
    """Incidents, who has taken them, and the channels that call somebody."""


@alerts.command("list")
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_(data_dir: Path, as_json: bool) -> None:
    """Incidents that stand open, and messages that could not be delivered."""
    store = _open(data_dir)
    incidents = [msgspec.json.decode(body, type=Incident) for body in store.incidents()]
    standing = [one for one in incidents if one.state in ("open", "acknowledged")]
    stuck = [one for one in store.messages() if one.error]
    if as_json:
        undelivered = [{"channel": m.channel, "error": m.error, "tries": m.tries} for m in stuck]
        click.echo(json.dumps({"open": msgspec.to_builtins(standing), "undelivered": undelivered}, indent=2))
        return
    if not standing:
        click.echo("Nothing stands open.")
    for one in standing:
        taken = f"taken by {one.acknowledged_by}" if one.acknowledged_by else "nobody has it"
        places = (
            f" at {len(one.places)} places" if len(one.places) > 1 else f" at {one.places[0]}" if one.places else ""
        )
        click.echo(f"{one.level:5} {one.key}{places}: {one.text} ({taken})")
    for message in stuck:
        click.echo(f"not delivered to {message.channel} after {message.tries} tries: {message.error}")


@alerts.command()
@click.argument("channel")
@data_dir
def test(channel: str, data_dir: Path) -> None:
    """Send one message over CHANNEL, marked as a test."""
    config, _ = config_and_now(data_dir)
    known = {one.id: one for one in config.alerts.channels}
    if channel not in known:
        names = ", ".join(known) or "none; add [[alerts.channel]] to the configuration"
        raise NothingThereError(f"no channel {channel!r}; configured: {names}")
    body = msgspec.json.encode({"event": "test", "what": "test", "words": TEST})
    try:
        asyncio.run(send(known[channel], "Tieline: test", TEST, body, wall_now().timestamp()))
    except ChannelError as error:
        raise AnswerIsNoError(f"{channel}: {error}") from error
    click.echo(f"{channel}: taken by the other side.")


@alerts.command()
@click.argument("what")
@data_dir
def take(what: str, data_dir: Path) -> None:
    """Say that you have it: WHAT is an incident's name as listed."""
    if not acknowledge(_open(data_dir), what, caller_name() or getpass.getuser(), wall_now().timestamp()):
        raise NothingThereError(f"nothing called {what!r} is open and untaken; see: tieline alerts list")
    click.echo(f"{what}: yours.")


@alerts.command()
@click.argument("what")
@click.option("--minutes", type=float, required=True, help="For how long; up to a week.")
@click.option("--why", required=True, help="For whoever reads it tomorrow.")
@data_dir
def silence(what: str, minutes: float, why: str, data_dir: Path) -> None:
    """Send nothing of WHAT for a while."""
    try:
        silence_kind(_open(data_dir), what, minutes, caller_name() or getpass.getuser(), why, wall_now().timestamp())
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{what}: silent for {minutes:g} minutes.")


def _open(data_dir: Path) -> AlertStore:
    if not is_shared(data_dir) and not (data_dir / ALERTS_FILE).exists():
        raise NothingThereError(f"no alerts in {data_dir}; run `tieline up` first, or name a folder with --data-dir")
    try:
        return alerts_of(data_dir)
    except StoreError as error:
        raise click.ClickException(str(error)) from error
