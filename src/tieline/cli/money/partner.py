"""`tieline books partner`: what a partner's sites drew, made and brought in a month; each line opens to its records."""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import click

from tieline.books import month_span
from tieline.books.reports.partner import PartnerLine, PartnerStatement
from tieline.cli.folder import config_and_now, data_dir, open_store, sums_in
from tieline.cli.money.keep import in_json, keeper_of
from tieline.cli.outcome import NothingThereError
from tieline.settlement.partners import LINES, LineOpened, NoPartnerError, opened, partner_named, partner_statement
from tieline.settlement.rolled import SumsOfSpans


@click.command()
@data_dir
@click.argument("partner")
@click.argument("month")
@click.option("--open", "what", type=click.Choice(LINES), help="The records behind one line, instead of the statement.")
@click.option("--site", default="", help="Of which site; with --open.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Of which day; with --open.")
@click.option("--payout", default="", help="Of which payout; with --open mining.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def partner(
    data_dir: Path, partner: str, month: str, what: str | None, site: str, day: date | None, payout: str, as_json: bool
) -> None:
    """A partner's statement of MONTH (YYYY-MM): MWh, hashes, tokens, its share of revenue, availability."""
    config, now = config_and_now(data_dir)
    store, zone = open_store(data_dir), keeper_of(data_dir).policy.zone
    try:
        month_span(month, zone)
        of = partner_named(config.fleet, partner)
        if what is not None:
            if site not in of.sites:
                raise click.BadParameter(f"give one of {', '.join(of.sites)}", param_hint="--site")
            line = LineOpened(what, site, None if day is None else date(day.year, day.month, day.day), payout)
            for row in opened(store, line, month, zone):
                click.echo(json.dumps(row, default=in_json))
            return
        sums = SumsOfSpans(store, sums_in(data_dir, store))
        made = partner_statement(store, config.fleet, of, month, now, zone, sums=sums)
    except NoPartnerError as error:
        raise NothingThereError(str(error)) from error
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(as_told(made), default=in_json, indent=2))
        return
    for text in shown(made):
        click.echo(text)


def as_told(made: PartnerStatement) -> dict[str, object]:
    """The statement for machines: totals beside the lines that they are sums of."""
    totals = {
        "energy_wh": str(made.total("energy")), "hashes": made.total("hashes"), "tokens": made.tokens,
        "mining_sats": made.total("mining"), "mining_part_sats": made.part("mining"),
        "inference_nano_usd": made.total("inference"), "inference_part_nano_usd": made.part("inference"),
        "heard_s": made.heard_s, "elapsed_s": made.total("elapsed"), "fault_wh": made.total("faults"),
    }  # fmt: skip
    plain = {"partner": made.partner, "name": made.name, "month": made.month, "sites": made.sites}
    shares = {"mining_share": str(made.mining_share), "inference_share": str(made.inference_share)}
    lines = [dataclasses.asdict(line) for line in made.lines]
    return {**plain, **shares, "simulated": made.simulated, "totals": totals, "lines": lines}


def shown(made: PartnerStatement) -> list[str]:
    """In words, line by line."""
    said = " (simulated)" if made.simulated else ""
    mining, inference = made.part("mining"), made.part("inference")
    share = made.availability
    available = (
        "not known yet: no meter told" if share is None else f"{share * 100:.2f} % of the time meters were heard"
    )
    return [
        f"{made.name} ({made.partner}), {made.month}{said}: {', '.join(made.sites)}",
        *(_line(line) for line in made.lines if line.what != "elapsed"),
        f"energy        {Decimal(made.total('energy')) / 10**6:,.6f} MWh",
        f"hashes        {made.total('hashes'):,}",
        f"mining        {made.total('mining'):,} sats, of which {made.mining_share} is the partner's: {mining:,} sats",
        f"tokens        {made.tokens:,}",
        f"inference     {_usd(int(made.total('inference')))} USD, of which {made.inference_share} is the partner's: "
        f"{_usd(inference)} USD",
        f"availability  {available}; faults took {made.total('faults'):,} Wh of mining",
    ]


def _line(line: PartnerLine) -> str:
    amount = _usd(int(line.amount)) + " USD" if line.what == "inference" else f"{line.amount:,} {line.unit}"
    part = "" if line.part is None else f", part {_usd(line.part) if line.what == 'inference' else f'{line.part:,}'}"
    of = f", {line.tokens:,} tokens" if line.tokens is not None else f", payout {line.payout}" if line.payout else ""
    return f"  {line.day} {line.site:16} {line.what:10} {amount}{part}{of}  ({line.records} records)"


def _usd(nano: int) -> str:
    return f"{Decimal(nano) / 10**9:,.9f}"
