"""`tieline import`: coins, loans, pool statements, rigs and tenants out of a spreadsheet, after a look at them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tieline.books.beans import journaled
from tieline.books.treasury.sheets import SHEETS, SheetError
from tieline.cli.files.tables import sheet_of, text_of
from tieline.cli.folder import config_and_now, data_dir
from tieline.cli.money.keep import fresh, keeper_of, preview, record_booked

# Sheets that change a configuration file and not the books.
FILES = ("rigs", "tenants")


@click.command(name="import")
@click.argument("what", type=click.Choice([*SHEETS, "beancount", *FILES]))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_dir
@click.option("--map", "maps", multiple=True, metavar="THEIRS=OURS", help='A column by its name: --map "Wallet=place".')
@click.option("--config", type=click.Path(path_type=Path), help="Of rigs and tenants: the file that they belong in.")
@click.option("--dry-run", is_flag=True, help="Print what it would change, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def import_(
    what: str, file: Path, data_dir: Path, maps: tuple[str, ...], config: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Read coins, loans, rates or payouts from a sheet (CSV, XLSX, TOML), or the entries of a beancount file, into the
    books; rigs or tenants into a configuration file.

    \b
    coins    date, btc, cost_usd [place, id]
    loans    loan, debt, pledged_btc [lender, currency, date, rate, initial_ltv, call_ltv, release_ltv,
             liquidation_ltv, cure_hours, matures, rehypothecation, place, reference, margin]
    rates    date, reference, rate
    payouts  date, btc, price_usd [pool, id, fee_btc, from, hashrate_ehs, rejected]
    rigs     address, model [site, firmware, watts]
    tenants  tenant [name, budget_usd_per_month, requests_per_minute, tokens_per_minute, concurrent_requests]

    A date is a day of the books' zone, a time has its offset. The same file twice changes nothing; a row that changed
    is a correction. Nothing is recorded where one row cannot.
    """
    if what in FILES:
        from tieline.cli.files.sheets import bring, say

        told = bring(what, file, config, data_dir, mapping_of(maps), dry_run=dry_run)
        say(file, told, dry_run=dry_run, as_json=as_json)
        return
    now, keeper = config_and_now(data_dir)[1], keeper_of(data_dir)
    zone = keeper.policy.zone
    try:
        batch = (
            journaled(text_of(file), now, zone)
            if what == "beancount"
            else SHEETS[what][0](sheet_of(file, what), mapping_of(maps), now, zone)
        )
    except (SheetError, ValueError) as error:
        raise click.ClickException(f"{file.name}: {error}") from error
    new, as_before = fresh(keeper, batch)
    entries = preview(keeper, new)
    if not dry_run and new:
        record_booked(data_dir, new, now)
    if as_json:
        result = {
            "read": len(batch),
            "new": len(new),
            "as_before": as_before,
            "recorded": not dry_run,
            "entries": entries,
        }
        click.echo(json.dumps(result, indent=2))
        return
    if dry_run:
        click.echo("\n".join(entries) if entries else "no entry would be made")
    word = "would be recorded" if dry_run else "recorded"
    click.echo(f"{file.name}: {len(batch)} records read, {len(new)} {word}, {as_before} as before")


def mapping_of(maps: tuple[str, ...]) -> dict[str, str]:
    """Raises click.BadParameter for what is not THEIRS=OURS."""
    mapping = {}
    for one in maps:
        theirs, equals, ours = one.rpartition("=")
        if not equals or not theirs.strip():
            raise click.BadParameter(f'{one!r}; write it like --map "Wallet=place"', param_hint="--map")
        mapping[theirs.strip()] = ours.strip()
    return mapping
