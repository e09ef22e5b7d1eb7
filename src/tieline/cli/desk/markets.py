"""`tieline markets`: every market that a contract may name, and where its prices come from."""

from __future__ import annotations

import json
from datetime import datetime
from importlib import resources
from pathlib import Path

import click

from tieline.cli.folder import configured, fleet_file
from tieline.clock import wall_now
from tieline.fleet.markets import Market, shipped


@click.command()
@fleet_file
@click.option("--toml", "as_toml", is_flag=True, help="The package's table as a file, to copy and edit.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def markets(config: Path | None, as_toml: bool, as_json: bool) -> None:
    """List the markets that a contract may name: currency, interval, publication, limits, live source."""
    if as_toml:
        click.echo((resources.files("tieline.fleet") / "markets.toml").read_text(encoding="utf-8"), nl=False)
        return
    own = configured(config)
    table = {**shipped(), **({} if own is None else {market.name: market for market in own.fleet.market_table})}
    now = wall_now()
    if as_json:
        click.echo(json.dumps([_plain(market, now) for market in table.values()], indent=2))
        return
    click.echo(_line("market", "operator", "kind", "per MWh", "minutes", "zone", "known, live source"))
    for market in table.values():
        known = f"{_known(market, now)}; {'gridstatus' if market.source else 'none'}"
        minutes = str(market.length_s // 60)
        click.echo(_line(market.name, market.operator, market.kind, market.currency, minutes, market.zone, known))


def _line(*cells: str) -> str:
    widths = (22, 8, 10, 8, 7, 20)
    return " ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[-1]])


def _known(market: Market, now: datetime) -> str:
    if not market.ahead:
        return "when its interval has ended"
    rule = market.publication(now)
    days = "the day before" if rule.days_before == 1 else f"{rule.days_before} days before"
    return f"{rule.local} local {days}"


def _plain(market: Market, now: datetime) -> dict[str, object]:
    low, high = market.usd_limits(now)
    return {
        "name": market.name,
        "operator": market.operator,
        "location": market.location,
        "kind": market.kind,
        "currency": market.currency,
        "zone": market.zone,
        "length_s": market.length_s,
        "known": _known(market, now),
        "usd_per_mwh_believed": [None if abs(x) == float("inf") else round(x, 2) for x in (low, high)],
        "live": market.source is not None,
    }
