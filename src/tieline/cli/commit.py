"""`tieline commit check`: whether an offered grid commitment can be kept, and pays."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import click

from tieline.app.appraise import appraise
from tieline.clock import parse_utc
from tieline.dispatch import Settings
from tieline.dispatch.promises import Keepable
from tieline.feeds.folder import FolderError
from tieline.feeds.recorded import RecordedFolder
from tieline.records import Commitment


@click.group()
def commit() -> None:
    """Grid commitments: reserves and demand response."""


@commit.command("check")
@click.option("--site", required=True, help="Site id.")
@click.option("--mw", required=True, type=float, help="Megawatts that must be drawing and can be shed.")
@click.option("--from", "start", required=True, help="Start, UTC.")
@click.option("--hours", required=True, type=float)
@click.option("--response", "response_s", default=600, show_default=True, help="Seconds until the load must be off.")
@click.option("--usd-per-mw-h", default=0.0, show_default=True, help="Capacity payment.")
@click.option("--deployed", default=0.0, show_default=True, help="Share of the hours in which it is called.")
@click.option("--sold", multiple=True, metavar="MW", type=float, help="Already sold at this site in these hours.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder of recorded days.")
@click.option("--scale", default=0.447, show_default=True, help="Share of the folder's fleet.")
@click.option("--json", "as_json", is_flag=True)
def check_offer(
    site: str,
    mw: float,
    start: str,
    hours: float,
    response_s: int,
    usd_per_mw_h: float,
    deployed: float,
    sold: tuple[float, ...],
    data: Path,
    scale: float,
    as_json: bool,
) -> None:
    """Say whether an offer can be kept, by how much or why not, and what its floor is expected to cost.

    It is appraised a day ahead, with what was known then.
    """
    try:
        at = parse_utc(start)
    except ValueError:
        raise click.BadParameter(f"{start!r} is no time; write 2024-08-20T20:00", param_hint="--from") from None
    until = at + timedelta(hours=hours)
    offer = _offer("offer", site, at, until, mw, response_s, usd_per_mw_h, "offered")
    taken = [_offer(f"sold-{n}", site, at, until, one, response_s, 0.0, "accepted") for n, one in enumerate(sold)]
    try:
        folder = RecordedFolder(data)
        fleet = folder.fleet(scale)
        found = appraise(folder, fleet, Settings(policy="lookahead"), offer, taken, deployed, scale)
    except (FolderError, KeyError, ValueError) as error:
        raise click.ClickException(str(error.args[0] if error.args else error)) from error
    verdict: dict[str, object]
    match found:
        case Keepable():
            verdict = {
                "keepable": True,
                "worth_it": found.worth_it,
                "spare_mw": round(found.spare_w / 1e6, 3),
                "pays_usd": round(found.pays_usd, 2),
                "floor_costs_usd": None if found.floor_costs_usd is None else round(found.floor_costs_usd, 2),
            }
        case _:
            verdict = {"keepable": False, "why": found.why, "missing_mw": round(found.missing_w / 1e6, 3)}
    if as_json:
        click.echo(json.dumps(verdict))
    elif isinstance(found, Keepable):
        costs = "unknown" if found.floor_costs_usd is None else f"{found.floor_costs_usd:,.0f} USD"
        click.echo(
            f"It can be kept, with {found.spare_w / 1e6:.1f} MW to spare. It pays {found.pays_usd:,.0f} USD; its floor "
            f"and its calls are expected to cost {costs}: {'accept' if found.worth_it else 'decline'}."
        )
    else:
        click.echo(f"It cannot be kept: {found.why} ({found.missing_w / 1e6:.1f} MW missing).")


def _offer(
    name: str, site: str, at: datetime, until: datetime, mw: float, response_s: int, usd: float, status: str
) -> Commitment:
    return Commitment(
        at=at,
        known_at=at - timedelta(days=1),
        source="command line",
        kind="estimated",
        commitment_id=name,
        site_id=site,
        product="reserve",
        until=until,
        power_w=mw * 1e6,
        response_s=response_s,
        capacity_usd_per_mw_h=usd,
        status=status,  # type: ignore[arg-type]
    )
