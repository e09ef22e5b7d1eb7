"""`tieline commit check`: whether an offered grid commitment can be kept, and pays.

Reads a data folder (what stands, what is known, what is sold already) and changes nothing; what becomes of an offer
then is in `commit_act`. With `--data` it is asked of recorded days, a day before the offer begins.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from tieline import records
from tieline.books.baselines import BASELINES
from tieline.cli.commit_act import accept, call, list_, release
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.clock import Interval, parse_utc
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.appraise import Answer, Broken, Kept, Offer, appraise
from tieline.dispatch.settings import settings_of
from tieline.feeds.folder import FolderError
from tieline.feeds.recorded import RecordedFolder
from tieline.intake import IntakeError, read
from tieline.records import Commitment
from tieline.store import Store, StoreError

# A file longer than this is no list of offers.
MAX_OFFERS, MAX_BYTES = 1_000, 1_000_000
DAY = timedelta(days=1)


class OfferText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An offer as a file has it: `from` and `until` or `hours`; megawatts."""

    site_id: str
    mw: float
    begin: str = msgspec.field(name="from")
    until: str | None = None
    hours: float | None = None
    id: str = ""
    product: str = "reserve"
    response_s: int = 600
    capacity_usd_per_mw_h: float = 0.0
    nonperformance_usd_per_mwh: float = 0.0
    deployed_share_of_hours: float = 0.0
    baseline: str = "meter before/after"


class OfferError(ValueError):
    """An offer that is none: names the field and the fix."""


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
        if file is not None:
            if given := [n for n, v in (("--site", site), ("--mw", mw), ("--from", start), ("--hours", hours)) if v]:
                raise OfferError(f"{given[0]} and a file exclude each other: the offers are in {file}")
            texts = read_offers(file)
        else:
            if None in (site, mw, start, hours):
                raise OfferError("give an offer: --site, --mw, --from and --hours, or a file")
            plain = {"site_id": site, "mw": mw, "from": start, "hours": hours, "response_s": response_s}
            plain |= {"capacity_usd_per_mw_h": usd_per_mw_h, "deployed_share_of_hours": deployed}
            texts = [msgspec.convert(plain, OfferText)]
        now = None if data is not None else config_and_now(data_dir)[1]
        offers = [offer_of(text, n, now) for n, text in enumerate(texts, 1)]
        besides = [_sold(offers[0].promise, megawatts, n) for n, megawatts in enumerate(sold, 1)]
        found = _from_store(data_dir, offers, besides) if data is None else _recorded(data, scale, offers, besides)
    except click.ClickException as error:
        raise CannotTellError(error.message) from error
    except (FolderError, StoreError, ValueError, KeyError) as error:
        raise CannotTellError(str(error.args[0] if error.args else error)) from error
    if as_json:
        click.echo(json.dumps([as_plain(one) for one in found], indent=2, default=str))
    else:
        click.echo("\n".join(line for one in found for line in as_lines(one)))
    raise SystemExit(1 if any(isinstance(one, Broken) for one in found) else 0)


# --- offers ------------------------------------------------------------------


_plain_json = msgspec.json.Decoder().decode


def _plain_toml(body: bytes | str) -> Any:
    return tomllib.loads(body if isinstance(body, str) else body.decode())


def read_offers(path: Path) -> list[OfferText]:
    """Raises OfferError naming the file, the offer, the field and the fix."""
    if path.stat().st_size > MAX_BYTES:
        raise OfferError(f"{path} has over {MAX_BYTES:,} bytes: no list of offers")
    body = path.read_bytes()
    try:
        plain: Any = read(body, _plain_json if path.suffix == ".json" else _plain_toml, MAX_BYTES)
    except IntakeError as error:
        raise OfferError(f"{path}: {error}") from error
    if isinstance(plain, dict) and "offer" in plain:
        plain = plain["offer"]
    several = plain if isinstance(plain, list) else [plain]
    if not several or len(several) > MAX_OFFERS:
        raise OfferError(f"{path} has {len(several)} offers; give 1 to {MAX_OFFERS}")
    found = []
    for n, one in enumerate(several, 1):
        if isinstance(one, dict):  # TOML has times of its own
            one = {name: v.isoformat() if isinstance(v, date) else v for name, v in one.items()}
        try:
            found.append(msgspec.convert(one, OfferText))
        except msgspec.ValidationError as error:
            raise OfferError(f"{path}: offer {n}: {error}") from error
    return found


def offer_of(text: OfferText, number: int, now: datetime | None) -> Offer:
    """`now` None: as known a day before it begins. Raises OfferError naming the field and the fix."""
    name = text.id or f"offer-{number}"
    if not (math.isfinite(text.mw) and text.mw > 0):
        raise OfferError(f"{name}: mw is {text.mw}; give megawatts above 0")
    if text.response_s < 0:
        raise OfferError(f"{name}: response_s is {text.response_s}; give seconds from 0 up")
    if not 0.0 <= text.deployed_share_of_hours <= 1.0:
        raise OfferError(f"{name}: deployed_share_of_hours is {text.deployed_share_of_hours}; give a share, 0 to 1")
    if text.baseline not in BASELINES:
        raise OfferError(f"{name}: baseline is {text.baseline!r}; write one of: {', '.join(BASELINES)}")
    at = _time(text.begin, name, "from")
    if (text.until is None) == (text.hours is None):
        raise OfferError(f"{name}: give either hours or until")
    if text.hours is not None:
        if not (math.isfinite(text.hours) and 0 < text.hours <= 24 * 366):
            raise OfferError(f"{name}: hours is {text.hours}; give hours above 0")
        until = at + timedelta(hours=text.hours)
    else:
        assert text.until is not None
        until = _time(text.until, name, "until")
        if until <= at:
            raise OfferError(f"{name}: until {until:%Y-%m-%d %H:%M} is not after from {at:%Y-%m-%d %H:%M}")
    promise = Commitment(
        at=at,
        known_at=at - DAY if now is None else now,
        source="command line",
        kind="estimated",
        commitment_id=name,
        site_id=text.site_id,
        product=text.product,
        until=until,
        power_w=text.mw * 1e6,
        response_s=text.response_s,
        capacity_usd_per_mw_h=text.capacity_usd_per_mw_h,
        status="offered",
        nonperformance_usd_per_mwh=text.nonperformance_usd_per_mwh,
        baseline=text.baseline,
    )
    return Offer(promise, text.deployed_share_of_hours)


def _time(given: str, name: str, field: str) -> datetime:
    try:
        return parse_utc(given)
    except ValueError:
        raise OfferError(f"{name}: {field} {given!r} is no time; write 2026-08-20T20:00") from None


def _sold(offer: Commitment, megawatts: float, number: int) -> Commitment:
    if not (math.isfinite(megawatts) and megawatts > 0):
        raise OfferError(f"--sold {megawatts}: give megawatts above 0")
    return msgspec.structs.replace(
        offer, commitment_id=f"sold-{number}", power_w=megawatts * 1e6, status="accepted", detail="--sold"
    )


# --- where what is known comes from ------------------------------------------


def answers(folder: Path, offers: Sequence[Offer]) -> tuple[list[Answer], bool]:
    """What `check` says of each, and whether one cannot be kept."""
    found = _from_store(folder, offers, ())
    return found, any(isinstance(one, Broken) for one in found)


def _from_store(folder: Path, offers: Sequence[Offer], sold: Sequence[Commitment]) -> list[Answer]:
    store = open_store(folder)
    try:
        config, now = config_and_now(folder)
        settings = settings_of(config)
        outlook = Outlook(config.fleet, settings)
        outlook.read(store, now)
    finally:
        store.close()
    return appraise(outlook, config.fleet, settings, now, offers, sold)


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


# --- as a program and as a person reads it -----------------------------------


def as_plain(answer: Answer) -> dict[str, Any]:
    promise = answer.offer.promise
    plain: dict[str, Any] = {
        "offer": promise.commitment_id,
        "site_id": promise.site_id,
        "mw": round(promise.power_w / 1e6, 3),
        "from": promise.at.isoformat(),
        "until": promise.until.isoformat(),
        "response_s": promise.response_s,
        "keepable": isinstance(answer, Kept),
    }
    match answer:
        case Kept():
            back = answer.rebound
            plain |= {
                "spare_mw": round(answer.spare_w / 1e6, 3),
                "sheddable_mw": round(answer.sheddable_w / 1e6, 3),
                "sold_before_mw": round(answer.sold_w / 1e6, 3),
                "tightest": answer.tightest.isoformat(),
                "rebound_mw_per_5min": None if back.watts_per_5min is None else round(back.watts_per_5min / 1e6, 3),
                "rebound_minutes": round(back.minutes, 1),
                "rebound_limit_mw": round(back.most_w / 1e6, 3),
                "pays_usd": round(answer.pays_usd, 2),
                "costs_usd": None if answer.costs_usd is None else round(answer.costs_usd, 2),
                "worth_it": answer.worth_it,
            }
        case Broken():
            plain |= {
                "breaks": answer.promise,
                "at": answer.at.isoformat(),
                "missing_mw": round(answer.missing_w / 1e6, 3),
                "why": answer.why,
            }
    return plain | {"notes": list(answer.notes)}


def as_lines(answer: Answer) -> list[str]:
    promise = answer.offer.promise
    lines = [
        f"{promise.commitment_id}: {promise.power_w / 1e6:.1f} MW at {promise.site_id} within {promise.response_s} s, "
        f"{promise.at:%Y-%m-%d %H:%M} to {promise.until:%m-%d %H:%M} UTC ({promise.product})"
    ]
    match answer:
        case Kept():
            lines += _kept_lines(answer)
        case Broken():
            lines.append(
                f"  CANNOT BE KEPT: {answer.promise} breaks by {answer.missing_w / 1e6:.1f} MW at "
                f"{answer.at:%Y-%m-%d %H:%M} UTC"
            )
            lines.append(f"  {answer.why}")
    return lines + [f"  note: {note}" for note in answer.notes]


def _kept_lines(answer: Kept) -> list[str]:
    back = answer.rebound
    speed = "at once" if back.watts_per_5min is None else f"at {back.watts_per_5min / 1e6:.1f} MW per 5 min"
    lines = [
        f"  CAN BE KEPT, with {answer.spare_w / 1e6:.1f} MW to spare in its tightest hour, from "
        f"{answer.tightest:%m-%d %H:%M} UTC",
        f"  then rigs can draw {answer.draw_w / 1e6:.1f} MW, {answer.sheddable_w / 1e6:.1f} MW of it can be shed in "
        f"time, {answer.sold_w / 1e6:.1f} MW is sold before; inference is not counted",
        f"  after a call load comes back {speed}: {back.minutes:.0f} min, never above {back.most_w / 1e6:.1f} MW",
    ]
    if answer.pays_usd == 0 and answer.costs_usd is not None:
        return [*lines, f"  no payment was given; its floor and calls are expected to cost {answer.costs_usd:,.0f} USD"]
    if answer.costs_usd is None:
        return [*lines, f"  pays {answer.pays_usd:,.0f} USD; what it costs is not known"]
    verdict = "worth it" if answer.worth_it else "NOT worth it"
    return [
        *lines,
        f"  pays {answer.pays_usd:,.0f} USD; its floor and calls are expected to cost {answer.costs_usd:,.0f} USD: "
        f"{verdict}",
    ]
