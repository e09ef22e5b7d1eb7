"""`tieline discover`: which rigs answer in a range of addresses, to copy into a fleet's file."""

from __future__ import annotations

import asyncio

import click

from tieline.edge.discover import Discovered, addresses_of
from tieline.edge.discover import discover as ask


@click.command()
@click.argument("network")
def discover(network: str) -> None:
    """Ask every address of NETWORK who it is; nothing is set.

    \b
    tieline discover 10.0.4.0/22
    """
    try:
        addresses = addresses_of(network)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    answers = asyncio.run(ask(addresses))
    for one in answers:
        click.echo(_line(one))
    click.echo(f"{len(answers)} of {len(addresses)} addresses answered")


def _line(one: Discovered) -> str:
    if one.problem:
        return f"{one.address:15}  {one.firmware:14} {one.problem}"
    said = one.raw
    shown = [str(value)[:60] for value in (said.model, said.mac, said.pool, said.worker)]
    return f"{one.address:15}  {one.firmware:14} {shown[0]:24} {shown[1]:17}  {shown[2]} as {shown[3]}"
