"""`tieline init`: a first configuration out of a sheet of rigs or a scan of the network."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from tieline import config as configuration
from tieline.app.beginning import FoundRig, Ground, file_text, read_rigs, scan, scanned_addresses
from tieline.books.treasury.sheets import SheetError
from tieline.cli.files.tables import sheet_of
from tieline.cli.money.imports import mapping_of
from tieline.config import ConfigError

FILE = "fleet.toml"
LATITUDE, LONGITUDE = click.FloatRange(-90, 90), click.FloatRange(-180, 180)
MEGAWATTS = PRICE = click.FloatRange(0, 5_000, min_open=True)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option(
    "--rigs",
    "sheet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A sheet of rigs: CSV, XLSX or TOML.",
)
@click.option("--from-scan", "network", help="Ask the addresses of a network, 10.0.7.0/24 say, who they are.")
@click.option("--map", "maps", multiple=True, help='Name a column of the sheet: --map "Miner IP=address".')
@click.option("--site", default="Site one", show_default=True, help="Name of the site of rigs that name none.")
@click.option("--name", default="My fleet", show_default=True, help="Name of the fleet.")
@click.option("--lat", type=LATITUDE, help="Latitude, for the weather.")
@click.option("--lon", type=LONGITUDE, help="Longitude.")
@click.option("--interconnect-mw", type=MEGAWATTS, help="Limit of the grid connection.")
@click.option("--usd-per-mwh", type=PRICE, help="A fixed price of power.")
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

    At a terminal, without --rigs and --from-scan, it asks.
    """
    target = folder / FILE
    if target.exists() and not dry_run:
        raise click.ClickException(f"{target} is there already; take it away, or name another folder")
    if sheet is None and network is None and at_a_terminal():
        sheet, network, ground = _asked(ground)
    if sheet is None and network is None:
        raise click.ClickException(
            "give --rigs FILE.csv or --from-scan 10.0.7.0/24; for an example: tieline config example"
        )
    try:
        rigs = _rigs(sheet, network, mapping_of(maps), site)
        text = file_text(name, rigs, Ground(**ground))
        configuration.loads(text)
    except (SheetError, ConfigError) as error:
        raise click.ClickException(str(error) if sheet is None else f"{sheet.name}: {error}") from error
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


def at_a_terminal() -> bool:
    return sys.stdin.isatty()


# What is asked of whoever gives no option: each question, and what its answer has to be.
QUESTIONS: Final[dict[str, tuple[str, click.FloatRange]]] = {
    "lat": ("Latitude of the site, for its weather (31.5)", LATITUDE),
    "lon": ("Longitude (-102.1)", LONGITUDE),
    "interconnect_mw": ("Limit of its grid connection in MW", MEGAWATTS),
    "usd_per_mwh": ("What a MWh costs there in USD", PRICE),
}


def _asked(ground: dict[str, Any]) -> tuple[Path | None, str | None, dict[str, Any]]:
    """(sheet, network, what is known of the ground), asked for; an empty answer leaves a figure to be assumed."""
    where = click.prompt("A list of your rigs (CSV, XLSX or TOML), or a network to ask (10.0.7.0/24)").strip()
    sheet = Path(where)
    answers = dict(ground)
    for name, (question, kind) in QUESTIONS.items():
        if answers[name] is None and not (name == "usd_per_mwh" and answers["market"]):
            answers[name] = click.prompt(
                f"{question}; empty: assumed", default="", show_default=False, value_proc=_or(kind)
            )
    if sheet.is_file():
        return sheet, None, answers
    if "/" not in where or not where[0].isdigit():
        raise click.ClickException(f"there is no file {where}, and it is no network such as 10.0.7.0/24")
    return None, where, answers


def _or(kind: click.FloatRange) -> Callable[[str], float | None]:
    def read(text: str) -> float | None:
        if not text.strip():
            return None
        given: Any = text
        return float(kind.convert(given, None, None))

    return read


def _rigs(sheet: Path | None, network: str | None, mapping: dict[str, str], site: str) -> list[FoundRig]:
    """From both, each address once. Raises SheetError."""
    rigs = [] if sheet is None else read_rigs(sheet_of(sheet, "rigs"), mapping, site)
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
