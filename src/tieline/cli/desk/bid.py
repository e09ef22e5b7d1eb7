"""`tieline bid`: tomorrow's purchase by hour with its reasons, a file to submit, and what a month settles to.

Nothing is submitted from here: a person takes the file to the market, and brings back what was awarded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import click

from tieline.books import month_span
from tieline.cli.desk.awards import awards_of, currency_of, in_currency, month_of, rates_of, statement_of
from tieline.cli.desk.commit_act import tell
from tieline.cli.desk.known import known, known_options
from tieline.cli.desk.market_file import AwardError, hour_begins, written
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.outcome import NothingThereError
from tieline.clock import parse_utc
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.desk.statement import PositionBill, correction
from tieline.dispatch.purchase import HourBid, bought_in, next_day, purchase, totals
from tieline.feeds.days.folder import FolderError
from tieline.fleet import Fleet
from tieline.fleet.markets import zone_of
from tieline.records import Plan
from tieline.store import Store

COLUMNS = ("site_id", "market", "location", "hour_begins_utc", "hour_begins_local", "point", "mw", "limit_usd_per_mwh")


@click.group(invoke_without_command=True)
@known_options
@click.option("--site", "only", multiple=True, help="Only this site; may be given several times.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the curves as CSV, to submit.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def bid(
    context: click.Context,
    data_dir: Path,
    data: Path | None,
    when: str | None,
    config: Path | None,
    only: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Say what to buy of tomorrow's power, hour by hour, and why. Submitting it stays with you.

    \b
    tieline bid --out tomorrow.csv
    tieline bid award awards.csv
    tieline bid bill 2026-10 --site tx-1
    """
    if context.invoked_subcommand is not None:
        return
    try:
        fleet, settings, now, store = known(data_dir, data, when, config)
        try:
            bids = _bids(store, fleet, settings, now, only)
        finally:
            store.close()
    except KeyError as error:
        raise NothingThereError(str(error.args[0])) from error
    except (FolderError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([_plain(one) for one in bids], indent=2))
    else:
        click.echo("\n".join(_lines(fleet, bids, now)))
    if out is not None:
        out.write_text(as_csv(fleet, bids), encoding="utf-8")
        click.echo(f"written to {out}: submit it yourself; nothing was sent", err=True)


@bid.command("award")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_dir
def award(file: Path, data_dir: Path) -> None:
    """Keep what the market awarded: FILE with purchase_id, site_id, market, hour_begins_utc, mw, price_usd_per_mwh.

    A row given again with another figure corrects it: both stay on record, the later one counts.
    """
    config, now = config_and_now(data_dir)
    try:
        awards = awards_of(file, config.fleet, now)
    except (AwardError, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    tell(data_dir, [*awards])
    mwh = sum(one.energy_wh for one in awards) / 1e6
    click.echo(f"kept: {len(awards)} hours, {mwh:,.1f} MWh bought")


@bid.command("bill")
@click.argument("month")
@data_dir
@click.option("--site", help="Site id; may be left out where one site buys a day ahead.")
@click.option("--known", "as_known", help="As it was known then, UTC: what has changed since is shown as a correction.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def bill(month: str, data_dir: Path, site: str | None, as_known: str | None, as_json: bool) -> None:
    """The two-settlement bill of MONTH (2026-10): legs and awards at their price, the rest at real time."""
    config, now = config_and_now(data_dir)
    store = open_store(data_dir)
    try:
        month_span(month)
        where = _one_site(config.fleet, site)
        span = month_of(month, config.fleet, where, now)
        statement = statement_of(store, config.fleet, where, span, now)
        currency = currency_of(config.fleet, where)
        local = None if currency == "USD" else in_currency(statement, currency, rates_of(store, span, now))
        changed = (
            None
            if as_known is None
            else correction(statement_of(store, config.fleet, where, span, parse_utc(as_known)), statement)
        )
    except KeyError as error:
        raise NothingThereError(str(error.args[0])) from error
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()
    if as_json:
        totals = {
            "bill": _as_plain(statement),
            "correction": changed and _as_plain(changed),
            "currency": currency,
            "local": None if local is None else str(local),
        }
        click.echo(json.dumps(totals, indent=2))
        return
    click.echo("\n".join([f"{where} {month}, {len({line.at for line in statement.lines})} hours:", *_kinds(statement)]))
    if currency != "USD":
        said = "a rate of a day is not known" if local is None else f"{local:,.2f} {currency}"
        click.echo(f"  in {currency} at each day's rate: {said}")
    if changed is not None:
        click.echo("\n".join([f"correction since {as_known}:", *_kinds(changed)]))


def _bids(store: Store, fleet: Fleet, settings: Settings, now: datetime, only: Sequence[str]) -> list[HourBid]:
    for name in only:
        fleet.site(name)  # a site that is not there is named before anything is read
    sites = [s for s in fleet.sites if (s.id in only if only else bought_in(s, fleet) is not None)]
    if not sites:
        raise ValueError("no site of this fleet buys power a day ahead; give a spot contract day_ahead = a market")
    outlook = Outlook(fleet, settings)
    outlook.read(store, now)
    fleet, _ = fleet.at_rates(outlook.rates, now)
    plans = {plan.site_id: plan for plan in store.latest(Plan, now)}
    bids: list[HourBid] = []
    for site in (fleet.site(one.id) for one in sites):
        plan, nodes = plans.get(site.id), {node.id for node in site.node_groups}
        serving = None if plan is None else sum(p.target_w for p in plan.setpoints if p.unit_id in nodes)
        bids += purchase(outlook, fleet, settings, now, site, serving)
    return bids


def _one_site(fleet: Fleet, site: str | None) -> str:
    if site is not None:
        return fleet.site(site).id
    able = [s.id for s in fleet.sites if s.contract.legs or s.contract.day_ahead is not None]
    if len(able) != 1:
        raise AwardError(f"{len(able)} sites hold positions; name one with --site")
    return able[0]


# --- as a person, a program and a market read it ------------------------------------------------


def _lines(fleet: Fleet, bids: Sequence[HourBid], now: datetime) -> list[str]:
    lines: list[str] = []
    whole = totals(bids)
    for site_id in dict.fromkeys(one.site_id for one in bids):
        mine = [one for one in bids if one.site_id == site_id]
        market = bought_in(fleet.site(site_id), fleet)
        assert market is not None, "only sites that buy a day ahead bid"
        zone = zone_of(market.zone)
        lines.append(
            f"{site_id}  {market.name}, {next_day(market, now)}: {whole[site_id]:,.1f} MWh at the expected prices"
        )
        if all(one.known for one in mine):
            lines.append(
                "  the prices of this day are published: the auction has closed, this is what it would bid now"
            )
        for one in mine:
            price = "unknown" if one.expected_usd_per_mwh is None else f"{one.expected_usd_per_mwh:,.2f}"
            word = "published" if one.known else "expected"
            lines.append(
                f"  {one.at.astimezone(zone):%H:%M} local  buy {one.expected_w / 1e6:6.1f} MW  {word} {price} USD/MWh"
            )
            lines.append(f"      {one.reason}")
    lines.append("limits are USD/MWh at the market; submitting stays with you (--out FILE)")
    return lines


def as_csv(fleet: Fleet, bids: Iterable[HourBid]) -> str:
    """A row for each point of each hour's curve; an empty limit buys at any price."""
    rows = []
    for one in bids:
        market = fleet.market(one.market)
        local = one.at if market is None else one.at.astimezone(zone_of(market.zone))
        for n, point in enumerate(one.curve, 1):
            limit = "" if point.limit_usd_per_mwh is None else f"{point.limit_usd_per_mwh:.2f}"
            place = "" if market is None else market.location
            begins = hour_begins(one.at, local)
            rows.append((one.site_id, one.market, place, *begins, n, f"{point.power_w / 1e6:.1f}", limit))
    return written(COLUMNS, rows)


def _plain(one: HourBid) -> dict[str, object]:
    return {
        "site_id": one.site_id,
        "market": one.market,
        "at": one.at.isoformat(),
        "buy_mw": round(one.expected_w / 1e6, 3),
        "expected_usd_per_mwh": None if one.expected_usd_per_mwh is None else round(one.expected_usd_per_mwh, 2),
        "published": one.known,
        "held_mw": round(one.held_w / 1e6, 3),
        "held_unused_mw": round(one.over_w / 1e6, 3),
        "peak_usd_per_mwh": round(one.peak_usd_per_mwh, 2),
        "curve": [{"mw": round(p.power_w / 1e6, 3), "limit_usd_per_mwh": p.limit_usd_per_mwh} for p in one.curve],
        "reason": one.reason,
    }


def _kinds(statement: PositionBill) -> list[str]:
    lines = [
        f"  {kind:<28} {wh / 1e6:>12,.3f} MWh {usd:>16,.2f} USD" for kind, (wh, usd) in statement.by_kind().items()
    ]
    lines.append(f"  {'in all':<28} {'':>16} {statement.usd:>16,.2f} USD")
    if statement.unmetered:
        lines.append(
            f"  not final: {len(statement.unmetered)} hours have no meter reading and are left out, the first "
            f"{statement.unmetered[0]:%Y-%m-%d %H:%M} UTC"
        )
    return lines


def _as_plain(statement: PositionBill) -> dict[str, object]:
    return {
        "usd": str(statement.usd),
        "by_kind": {kind: {"wh": wh, "usd": str(usd)} for kind, (wh, usd) in statement.by_kind().items()},
        "unmetered": [at.isoformat() for at in statement.unmetered],
        "hours": [
            {"at": line.at.isoformat(), "what": line.what, "wh": line.energy_wh, "usd_per_mwh": str(line.usd_per_mwh),
             "usd": str(line.usd)}
            for line in statement.lines
        ],
    }  # fmt: skip
