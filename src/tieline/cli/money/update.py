"""`tieline update`: the monthly production update, each number with its origin."""

from __future__ import annotations

import dataclasses
import getpass
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from tieline.books import MonthlyUpdate, month_of
from tieline.books.causes import CAUSES
from tieline.books.release import FORMS
from tieline.cli.files.tables import text_of
from tieline.cli.folder import config_and_now, data_dir, open_store, sums_in
from tieline.cli.money.keep import in_json
from tieline.cli.money.release import advance, compared, draft_in, fleet_of, policy_of
from tieline.cli.outcome import NothingThereError
from tieline.records.treasury import ReleaseState
from tieline.settlement.month import books_of, update_of
from tieline.settlement.release import STATES, shown
from tieline.store import Store

LABELS = {
    "bitcoin_produced": "Bitcoin produced",
    "bitcoin_per_day": "Average per day",
    "bitcoin_sold": "Bitcoin sold",
    "bitcoin_pledged": "Bitcoin pledged",
    "bitcoin_free": "Bitcoin unpledged",
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
@click.argument("month", required=False)
@data_dir
@click.option("--month", "named", help="YYYY-MM; default: the running month.", hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with how each number was made.")
@click.option("--form", type=click.Choice(list(FORMS)), help="The month as one publishes it, in this form.")
@click.option("--policy", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What is printed, TOML.")
@click.option("--explain", is_flag=True, help="Why the month's production changed from the one before.")
@click.option("--state", type=click.Choice(STATES), help="Take the next step: checked, approved, published.")
@click.option("--by", default=getpass.getuser, help="Who takes it; default: the user of this shell.")
@click.option("--against", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Compare a text.")
def update(month: str | None, named: str | None, data_dir: Path, as_json: bool, explain: bool, **release: Any) -> None:
    """The monthly production update, from the books: every number with how it was made and from what.

    With --form, --state or --against: the update as one publishes it. MONTH is YYYY-MM.
    """
    month = month or named
    if explain:
        if month is None:
            raise click.UsageError("name the month: tieline update 2026-11 --explain")
        _explained(data_dir, month, release["policy"], as_json)
        return
    if release["form"] or release["state"] or release["file"]:
        if month is None:
            raise click.UsageError("name the month: tieline update 2026-11 --form text")
        _release(data_dir, month, **release)
        return
    config, now = config_and_now(data_dir)
    store = open_store(data_dir)
    partial = past_being_written(data_dir, store, now)
    fleet = fleet_of(data_dir)
    try:
        books = books_of(store, config.treasury.lots)
        month = month or month_of(now, books.policy.zone)
        made = update_of(store, fleet, month, now, books, kept=sums_in(data_dir, store))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made) | {"past_being_written": partial}, default=in_json, indent=2))
    else:
        click.echo(as_text(made, fleet.name, partial=partial))


def _explained(folder: Path, month: str, policy: Path | None, as_json: bool) -> None:
    """The bridge from the month before, with the causes of what was not earned."""
    from tieline.disclosures.comparison.explain import NoBridge
    from tieline.settlement.bridge import bridge_of

    config, now = config_and_now(folder)
    store = open_store(folder)
    try:
        lots, sums = config.treasury.lots, sums_in(folder, store)
        made = bridge_of(store, fleet_of(folder), month, now, lots, policy_of(policy), sums)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()
    bridge = made.bridge
    if isinstance(bridge, NoBridge):
        raise NothingThereError(f"no bridge: {bridge.reason.replace('OWN printed', 'the books have')}")
    if as_json:
        causes = [dataclasses.asdict(one) for one in made.causes]
        printed = msgspec.to_builtins(bridge) | {"issuer": "", "claims": [], "causes": causes}
        click.echo(json.dumps(printed, default=in_json, indent=2))
        return
    click.echo(f"{bridge.base} to {bridge.month}: {bridge.before:,f} to {bridge.after:,f} BTC")
    for step in bridge.steps:
        click.echo(f"  {step.name:32} {step.btc:+12,f} BTC   {step.says}")
    click.echo(f"  {'change':32} {bridge.change:+12,f} BTC   {bridge.change_pct:+} %")
    for one in made.causes:
        click.echo(f"  not earned: {one.cause:20} {one.after:,f} BTC after {one.before:,f}")


def past_being_written(folder: Path, store: Store, now: datetime) -> bool:
    """Only a platform that ran writes a demo's past; books that are kept by hand need none of its libraries."""
    if not (folder / "run" / "runtime.json").exists():
        return False
    from tieline.replay.history import wanted

    return wanted(store, now) is not None


def _release(
    folder: Path,
    month: str,
    form: str | None,
    policy: Path | None,
    state: ReleaseState | None,
    by: str,
    file: Path | None,
) -> None:
    """Print, compare or advance the month as one publishes it."""
    draft = draft_in(folder, month, policy_of(policy))
    if file is not None:
        count, otherwise = compared(draft, text_of(file))
        click.echo("\n".join(otherwise) if otherwise else f"{file.name}: {count} figures, each as the books say")
        if otherwise or not count:
            raise SystemExit(1)
    if state is not None:
        advance(folder, draft, state, by)
        click.echo(f"{month} is {state} by {by}")
    if form is not None:
        click.echo(shown(draft, form), nl=False)
        click.echo(f"{month}: {draft.state}", err=True)
        for line in draft.faults:
            click.echo(f"not to be published: {line}", err=True)


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
        label = f"{LABELS[figure.name]}:"
        lines.append(f"  {label:36} {value:>24}   {figure.how} [{figure.count:,} x {figure.records}]")
    lines += [f"  left out: {line}" for line in made.left_out]
    lines += [f"  policy: {line}" for line in made.policy]
    return "\n".join(lines)


def _grouped(value: str) -> str:
    whole, dot, rest = value.partition(".")
    return f"{int(whole):,}{dot}{rest}" if whole.lstrip("-") not in ("", "0") else value
