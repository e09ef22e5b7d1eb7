"""`tieline commit check`: whether an offered grid commitment can be kept, and pays.

Reads a data folder (what stands, what is known, what is sold already) and changes nothing; what becomes of an offer
then is in `commit_act`. With `--data` it is asked of recorded days, a day before the offer begins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import click
import msgspec

from tieline import records
from tieline.cli.desk.commit_act import accept, call, list_, release
from tieline.cli.desk.offers import (
    OfferError,
    OfferText,
    as_lines,
    as_plain,
    from_store,
    offer_of,
    read_offers,
    sold_besides,
)
from tieline.cli.folder import config_and_now, data_dir
from tieline.clock import Interval
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.appraise import Answer, Broken, Offer, appraise
from tieline.feeds.days.folder import FolderError
from tieline.feeds.days.recorded import RecordedFolder
from tieline.records import Commitment
from tieline.store import Store, StoreError

DAY = timedelta(days=1)


class CannotTellError(click.ClickException):
    """Neither kept nor broken: the question or the data folder is wrong."""

    exit_code = 2


@click.group()
def commit() -> None:
    """Grid commitments: reserves and demand response."""


for one_command in (accept, call, release, list_):
    commit.add_command(one_command)


@commit.command("check")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_dir
@click.option("--site", help="Site id.")
@click.option("--mw", type=float, help="Megawatts that must be drawing and can be shed.")
@click.option("--from", "start", help="Start, UTC (2026-08-20T20:00).")
@click.option("--hours", type=float, help="How long.")
@click.option("--response", "response_s", default=600, show_default=True, help="Seconds until the load must be off.")
@click.option("--usd-per-mw-h", default=0.0, show_default=True, help="Capacity payment.")
@click.option("--deployed", default=0.0, show_default=True, help="Share of the hours in which it is called.")
@click.option("--sold", multiple=True, metavar="MW", type=float, help="Sold at this site then, besides what is kept.")
@click.option("--data", type=click.Path(path_type=Path), help="A folder of recorded days: ask a day ahead there.")
@click.option("--scale", type=float, help="Share of the folder's fleet: 0.447 where it is recorded.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def check_offer(
    file: Path | None,
    data_dir: Path,
    site: str | None,
    mw: float | None,
    start: str | None,
    hours: float | None,
    response_s: int,
    usd_per_mw_h: float,
    deployed: float,
    sold: tuple[float, ...],
    data: Path | None,
    scale: float | None,
    as_json: bool,
) -> None:
    """Say whether an offer can be kept, with how much to spare, or which promise breaks and by how many MW.

    FILE holds offers as TOML ([[offer]]) or JSON (one, a list, or {"offer": [...]}); what is kept of it counts
    as sold for what follows. Exit code 0: all can be kept; 1: one cannot; 2: it could not be asked.

    \b
    tieline commit check --site na-tx-01 --mw 12 --from 2026-08-20T20:00 --hours 4 --response 600
    """
    try:
        plain = {"site_id": site, "mw": mw, "from": start, "hours": hours, "response_s": response_s}
        plain |= {"capacity_usd_per_mw_h": usd_per_mw_h, "deployed_share_of_hours": deployed}
        texts = _asked(file, plain)
        now = None if data is not None else config_and_now(data_dir)[1]
        offers = [offer_of(text, n, now) for n, text in enumerate(texts, 1)]
        besides = [sold_besides(offers[0].promise, megawatts, n) for n, megawatts in enumerate(sold, 1)]
        answers = from_store(data_dir, offers, besides) if data is None else _recorded(data, scale, offers, besides)
    except click.ClickException as error:
        raise CannotTellError(error.message) from error
    except (FolderError, StoreError, ValueError, KeyError) as error:
        raise CannotTellError(str(error.args[0] if error.args else error)) from error
    if as_json:
        click.echo(json.dumps([as_plain(one) for one in answers], indent=2, default=str))
    else:
        click.echo("\n".join(line for one in answers for line in as_lines(one)))
    raise SystemExit(1 if any(isinstance(one, Broken) for one in answers) else 0)


def _asked(file: Path | None, plain: Mapping[str, object]) -> list[OfferText]:
    """The offers of a file, or the one of the options. Raises OfferError where both or neither are given."""
    needed = {"--site": plain["site_id"], "--mw": plain["mw"], "--from": plain["from"], "--hours": plain["hours"]}
    if file is None:
        if None in needed.values():
            raise OfferError("give an offer: --site, --mw, --from and --hours, or a file")
        return [msgspec.convert(plain, OfferText)]
    if given := [name for name, value in needed.items() if value]:
        raise OfferError(f"{given[0]} and a file exclude each other: the offers are in {file}")
    return read_offers(file)


# --- where what is known comes from ------------------------------------------


def _recorded(folder: Path, scale: float | None, offers: Sequence[Offer], sold: Sequence[Commitment]) -> list[Answer]:
    source = RecordedFolder(folder)
    scale = source.usual_scale if scale is None else scale
    fleet, settings = source.fleet(scale), Settings(policy="lookahead")
    for offer in offers:
        fleet.site(offer.promise.site_id)  # named before days are read
    length = timedelta(seconds=settings.interval_s)
    now = Interval.holding(min(o.promise.at for o in offers) - DAY, length).start
    store = Store(None, records.encode, records.decode)
    try:
        store.append(source.known_by(fleet, now, scale))
        outlook = Outlook(fleet, settings)
        outlook.read(store, now)
    finally:
        store.close()
    return appraise(outlook, fleet, settings, now, offers, sold, commanded=False)
