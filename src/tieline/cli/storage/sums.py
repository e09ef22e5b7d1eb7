"""`tieline store sums`: a site over months by hour or day, out of sums that are made from records, and held against
them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import click
import msgspec

from tieline.books.reports.sums import RolledSums, site_subject, total_of
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.fleet import Site
from tieline.settlement.rolled import RollUp, parts_between, rolled_between, summed
from tieline.settlement.spans import SpanRow, size_of, span_rows
from tieline.store import Store, StoreError
from tieline.store.rolled.kept import DAY_S, HOUR_S, ROLLED_FILE, OvertakenError, RolledStore

SIZES: Final = {"hour": HOUR_S, "day": DAY_S}
# How long a look at records may be: a week of one site is 20,000 of them, a year a million.
MOST_DAYS: Final = 3 * 366


@click.command()
@data_dir
@click.argument("site")
@click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=90, show_default=True, help="Whole days before today."
)
@click.option("--by", type=click.Choice(list(SIZES)), help="Left out: hours up to 31 days, days beyond.")
@click.option("--check", is_flag=True, help="Add the records up as well, and say whether the sums are the same.")
@click.option("--rebuild", is_flag=True, help="Throw the sums away and make them anew from the records first.")
@click.option("--csv", "as_csv", is_flag=True, help="A table for a sheet.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, a line for each row.")
def sums(
    data_dir: Path, site: str, days: int, by: str | None, check: bool, rebuild: bool, as_csv: bool, as_json: bool
) -> None:
    """Power, hashes, tokens, cost and what was earned of SITE by hour or day, whole numbers added up from records.

    The sums lie in rolled.db of the data folder, where the console keeps them up, and are first brought up to the last
    record. They can be thrown away at any time.
    """
    config, now = config_and_now(data_dir)
    found = next((one for one in config.fleet.sites if one.id == site), None)
    if found is None:
        raise NothingThereError(f"no site {site!r} in the fleet of {data_dir}; its configuration names them")
    start = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    try:
        with closing(open_store(data_dir)) as store, _rolled(data_dir, store, rebuild) as kept:
            rows = list(span_rows(kept, found, SIZES[by] if by else size_of(days), start, now, now))
            total = total_of(one for _, one in rolled_between(kept, site_subject(site), DAY_S, start, now))
            if check:
                _checked(kept, store, found, start, now)
    except StoreError as error:
        raise AnswerIsNoError(str(error)) from error
    if as_json or as_csv:
        _table(rows, as_json)
        return
    _said(found, rows, total, start, now)
    if check:
        click.echo("The sums are those of the records.")


@contextmanager
def _rolled(folder: Path, store: Store, rebuild: bool) -> Iterator[RolledStore]:
    path = folder / ROLLED_FILE
    with closing(RolledStore(path)) as kept:
        if rebuild:
            kept.forget()
        roll, more = RollUp(kept), True
        while more:
            try:
                more = roll.step(store)
            except OvertakenError:
                more = True  # the console is at it too
        yield kept


def _checked(kept: RolledStore, store: Store, site: Site, start: datetime, now: datetime) -> None:
    """Raises AnswerIsNoError for the first hour whose sums are not the records'."""
    hour = now.replace(minute=0, second=0, microsecond=0)  # this one is still being told
    subject = site_subject(site.id)
    read = {at: one for (of, at), one in summed(parts_between(store, [site.id], start, hour)).items() if of == subject}
    there = {at: one for at, one in rolled_between(kept, subject, HOUR_S, start, hour) if one != RolledSums()}
    for at in sorted(read.keys() | there.keys()):
        if read.get(at) != there.get(at):
            raise AnswerIsNoError(
                f"{site.id} at {at:%Y-%m-%d %H:%M}: the sums are not those of the records (records told since? call it "
                f"again; else: --rebuild)"
            )


def _table(rows: list[SpanRow], as_json: bool) -> None:
    named = [{**msgspec.structs.asdict(row), "at": row.at.isoformat()} for row in rows]
    if as_json:
        for one in named:
            click.echo(json.dumps(one, default=str))
        return
    writer = csv.DictWriter(sys.stdout, SpanRow.__struct_fields__)
    writer.writeheader()
    writer.writerows(named)


def _said(site: Site, rows: list[SpanRow], total: RolledSums, start: datetime, now: datetime) -> None:
    click.echo(
        f"{site.id}, {start:%Y-%m-%d} to {now:%Y-%m-%d %H:%M} UTC: {total.records:,} records in {len(rows)} rows."
    )
    click.echo(
        f"{'':16} {'MWh':>10} {'heard':>7} {'EH/s':>8} {'cost USD':>12} {'USD/MWh':>8} {'sats':>12} {'tokens':>12}"
    )
    for row in rows:
        cost = _shown(None if row.cost_usd is None else float(row.cost_usd), 2)
        click.echo(
            f"{row.at:%Y-%m-%d %H:%M} {_shown(row.mwh, 1):>10} {_share(row.heard):>7} {_shown(row.ehs, 3):>8}"
            f" {cost:>12} {_shown(row.market_usd_per_mwh, 2):>8}"
            f" {_shown(row.made_sats, 0):>12} {_shown(row.served_tokens, 0):>12}"
        )
    cost = "unknown" if total.cost_usd is None else f"{total.cost_usd:f} USD"
    sats = f"{total.made_sats:,} sats" if total.settled else "unknown"
    click.echo(
        f"In all, exactly: {total.power_ws // 3_600:,} Wh as far as heard, power {cost}, mining {sats}, tokens "
        f"{total.nano_usd:,} nano-USD."
    )


def _shown(value: float | int | None, places: int) -> str:
    return "-" if value is None else f"{value:,.{places}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"
