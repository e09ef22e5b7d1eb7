"""`tieline init`: a first configuration out of a sheet of rigs or a scan of the network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from tieline import config as configuration
from tieline.app.beginning import FoundRig, Ground, file_text, read_rigs, scan, scanned_addresses
from tieline.books.treasury.sheets import SheetError
from tieline.cli.money.imports import mapping_of, text_of
from tieline.config import ConfigError

FILE = "fleet.toml"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--rigs", "sheet", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="CSV of rigs.")
@click.option("--from-scan", "network", help="Ask the addresses of a network, 10.0.7.0/24 say, who they are.")
@click.option("--map", "maps", multiple=True, help='Name a column of the sheet: --map "Miner IP=address".')
@click.option("--site", default="Site one", show_default=True, help="Name of the site of rigs that name none.")
@click.option("--name", default="My fleet", show_default=True, help="Name of the fleet.")
@click.option("--lat", type=click.FloatRange(-90, 90), help="Latitude, for the weather.")
@click.option("--lon", type=click.FloatRange(-180, 180), help="Longitude.")
@click.option("--interconnect-mw", type=click.FloatRange(0, 5_000, min_open=True), help="Limit of the grid connection.")
@click.option("--usd-per-mwh", type=click.FloatRange(0, 5_000, min_open=True), help="A fixed price of power.")
@click.option("--market", help="A market whose spot price is paid.")
@click.option("--dry-run", is_flag=True, help="Print the file instead of writing it.")
def init(
    folder: Path,
    sheet: Path | None,
    network: str | None,
    maps: tuple[str, ...],
    site: str,
    name: str,
    dry_run: bool,
    **ground: Any,
) -> None:
    """Write FOLDER/fleet.toml: what was found, and what was assumed, marked. A site is never more than observed.

    \b
    tieline init --rigs rigs.csv --lat 31.5 --lon -102.1 --interconnect-mw 12 --usd-per-mwh 48
    tieline init --from-scan 10.0.7.0/24 --site "Hall A"
    """
    target = folder / FILE
    if target.exists() and not dry_run:
        raise click.ClickException(f"{target} is there already; take it away, or name another folder")
    if sheet is None and network is None:
        raise click.ClickException(
            "give --rigs FILE.csv or --from-scan 10.0.7.0/24; for an example: tieline config example"
        )
    try:
        rigs = _rigs(sheet, network, mapping_of(maps), site)
        text = file_text(name, rigs, Ground(**ground))
        configuration.loads(text)
    except (SheetError, ConfigError) as error:
        raise click.ClickException(str(error)) from error
    if dry_run:
        click.echo(text)
        return
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    assumed = text.count("# ASSUMED:")
    click.echo(
        f"{target}: {len(rigs)} rigs; {assumed} figures are assumed, look for ASSUMED. Then:\n\n"
        f"  tieline up --config {target}"
    )


def _rigs(sheet: Path | None, network: str | None, mapping: dict[str, str], site: str) -> list[FoundRig]:
    """From both, each address once. Raises SheetError."""
    rigs = [] if sheet is None else read_rigs(text_of(sheet), mapping, site)
    if network is not None:
        addresses = scanned_addresses(network)
        known = {rig.address for rig in rigs}
        answered, unknown = asyncio.run(scan([a for a in addresses if a not in known], site))
        for line in unknown:
            click.echo(f"left out: {line}", err=True)
        click.echo(f"{len(answered)} rigs of a known model answered on {network}", err=True)
        rigs += answered
    if not rigs:
        raise SheetError(f"no rig answered on {network}; check that this machine is on their network")
    return rigs
