"""`tieline update`: the monthly production update, each number with its origin."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from tieline.books import MonthlyUpdate
from tieline.books.causes import CAUSES
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.replay.history import wanted
from tieline.settlement.month import update_of

LABELS = {
    "bitcoin_produced": "Bitcoin produced",
    "bitcoin_per_day": "Average per day",
    "bitcoin_sold": "Bitcoin sold",
    "bitcoin_pledged": "Bitcoin pledged",
    "bitcoin_held": "Bitcoin held",
    "hashrate_deployed": "Deployed hashrate",
    "hashrate_operating": "Average operating hashrate",
    "chain_expected_bitcoin": "Expected from the chain, no fees",
    "produced_over_expected": "Produced / expected",
    "energy_mining": "Energy, mining",
    "energy_inference": "Energy, inference",
    "energy_auxiliary": "Energy, auxiliary",
    "power_cost_mining": "Power cost of mining",
    "power_cost_per_bitcoin": "Power cost per bitcoin",
    "inference_tokens": "Tokens served",
    "inference_billed": "Inference billed",
    "cash": "Cash",
    **{f"curtailed_{cause}": f"Mining curtailed: {cause}" for cause in CAUSES},
    **{f"bitcoin_lost_{cause}": f"Bitcoin not earned: {cause}" for cause in CAUSES},
    "grid_paid": "Paid for reserves",
    "grid_penalties": "Grid penalties",
    "grid_missed": "Missed of promises and orders",
}


@click.command()
@data_dir
@click.option("--month", help="YYYY-MM; default: the running month.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with how each number was made.")
def update(data_dir: Path, month: str | None, as_json: bool) -> None:
    """The monthly production update, from the books: every number with how it was made and from what."""
    config, now = config_and_now(data_dir)
    store = open_store(data_dir)
    partial = wanted(store, now) is not None
    try:
        made = update_of(store, config.fleet, month or f"{now:%Y-%m}", now, config.treasury.lots)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made) | {"past_being_written": partial}, default=str, indent=2))
    else:
        click.echo(as_text(made, config.fleet.name, partial=partial))


def as_text(made: MonthlyUpdate, fleet: str, *, partial: bool = False) -> str:
    """The update as a person reads it; `partial` while the demo's past is still being written."""
    state = "complete" if made.complete else f"running, up to {made.end:%Y-%m-%d %H:%M} UTC"
    lines = [f"{fleet}: production update {made.month} ({state})"]
    if made.simulated:
        lines.append("SIMULATED: made from an invented fleet and a simulated pool, not from real machines")
    if partial:
        lines.append("PARTIAL: the demo's past is still being written; ask again in a minute")
    for figure in made.figures:
        value = "not known" if figure.value is None else f"{_grouped(figure.value)} {figure.unit}".rstrip()
        lines.append(f"  {LABELS[figure.name]:34} {value:>24}   {figure.how} [{figure.count:,} x {figure.records}]")
    lines += [f"  left out: {line}" for line in made.left_out]
    return "\n".join(lines)


def _grouped(value: str) -> str:
    whole, dot, rest = value.partition(".")
    return f"{int(whole):,}{dot}{rest}" if whole.lstrip("-") not in ("", "0") else value
