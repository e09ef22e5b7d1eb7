"""`tieline plan`: what each site is asked to do, and why."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import click
import msgspec

from tieline import records
from tieline.clock import Interval, parse_utc, wall_now
from tieline.dispatch import Controller, Settings
from tieline.dispatch.settings import Policy
from tieline.feeds.folder import FolderError
from tieline.feeds.recorded import RecordedFolder
from tieline.records import Plan
from tieline.store import Store, StoreError

# Decided from a folder, an hour is run before the moment, so that what already runs is not a blank.
LEAD = timedelta(hours=1)
HISTORY = timedelta(days=23)


@click.command()
@click.option("--at", "when", help="A moment, UTC (2024-08-20T20:00). Default: now.")
@click.option("--site", "only", help="One site's plan.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".tieline"),
    show_default=True,
    envvar="TIELINE_DATA_DIR",
    help="Of a platform that runs or ran: print the plan it kept.",
)
@click.option("--data", type=click.Path(path_type=Path), help="A folder of recorded days: decide anew as of --at.")
@click.option("--scale", default=0.447, show_default=True, help="Share of the folder's fleet.")
@click.option("--policy", type=click.Choice(get_args(Policy)), default="lookahead", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the Plan records as JSON.")
def plan(
    when: str | None, only: str | None, data_dir: Path, data: Path | None, scale: float, policy: Policy, as_json: bool
) -> None:
    """Print what each site is asked to do, and why, now or at a past moment."""
    try:
        moment = wall_now() if when is None else parse_utc(when)
    except ValueError:
        raise click.BadParameter(f"{when!r} is no time; write 2024-08-20T20:00", param_hint="--at") from None
    if data is not None and when is None:
        raise click.BadParameter("recorded days need a moment", param_hint="--at")
    try:
        found = _kept(data_dir, moment, when is None) if data is None else _decided(data, moment, scale, policy)
    except (FolderError, StoreError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if only is not None:
        known = ", ".join(sorted(p.site_id for p in found))
        found = [p for p in found if p.site_id == only]
        if not found:
            raise click.BadParameter(f"no plan of a site {only!r}; there are {known}", param_hint="--site")
    if not found:
        raise click.ClickException(f"no plan was kept by {moment:%Y-%m-%d %H:%M} UTC in {data_dir}")
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for one in found:
        _show(one)


def _kept(data_dir: Path, moment: datetime, newest: bool) -> list[Plan]:
    """Plans that a platform made; its world may run faster than the wall, so "now" is its newest."""
    path = data_dir / "store.db"
    if not path.exists():
        raise StoreError(f"no store at {path}; run `tieline up`, or give recorded days with --data")
    store = Store(path, records.encode, records.decode, read_only=True)
    try:
        if newest:
            latest = store.last_at()
            moment = moment if latest is None else max(moment, datetime.fromtimestamp(latest / 1e6, moment.tzinfo))
        return sorted(store.latest(Plan, moment), key=lambda p: p.site_id)
    finally:
        store.close()


def _decided(folder: Path, moment: datetime, scale: float, policy: Policy) -> list[Plan]:
    source = RecordedFolder(folder)
    fleet = source.fleet(scale)
    store = Store(None, records.encode, records.decode)
    settings = Settings(policy=policy)
    store.append(source.records(fleet, moment - HISTORY, moment + timedelta(days=2), scale))
    controller = Controller(store, fleet, settings)
    length = timedelta(seconds=settings.interval_s)
    at = Interval.holding(moment - LEAD, length).start
    made: list[Plan] = []
    while at <= moment:
        made = asyncio.run(controller.step(at))
        at += length
    store.close()
    return made


def _show(one: Plan) -> None:
    price = "unknown" if one.price_usd_per_mwh is None else f"{one.price_usd_per_mwh:.2f} USD/MWh"
    hashprice = "unknown" if one.hashprice_usd is None else f"{one.hashprice_usd:.2f} USD/PH/day"
    total = sum(point.target_w for point in one.setpoints) / 1e6
    click.echo(
        f"{one.site_id}  {one.at:%Y-%m-%d %H:%M} UTC  {one.mode}  {total:.2f} of {one.limit_w / 1e6:.2f} MW  "
        f"price {price}  hashprice {hashprice}  by {one.decided_by}"
    )
    for point in one.setpoints:
        what = (
            f"{point.replicas} replicas"
            if point.replicas is not None
            else " ".join(f"{mode} {share:.0%}" for mode, share in point.shares.items())
        )
        click.echo(f"  {point.unit_id:<24} {point.target_w / 1e6:8.3f} MW  {what}")
        click.echo(f"  {'':<24} {point.reason.rule}: {point.reason.text}")
    if one.note:
        click.echo(f"  note: {one.note}")
