"""`tieline commit accept`, `call`, `release`, `list`: the life of a promise on a platform that runs.

Each says who and why, and is done once the core has acknowledged it: a promise accepted is a floor from half an hour
before its beginning; called, the site sheds it within its response time; released, its load comes back in stages.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from tieline import records
from tieline.app.runtime import Runtime
from tieline.cli.desk.offers import OfferError, answers, as_lines, offer_of, read_offers
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.link import LinkDownError, NatsLink, push
from tieline.records import Action, AnyRecord, Commitment

# A promise older than this is over; one further ahead is not sold.
BACK, AHEAD = timedelta(days=14), timedelta(days=366)
LINK_WAIT_S = 3.0
F = TypeVar("F", bound=Callable[..., Any])


def signed(command: F) -> F:
    """Who says so."""
    return click.option("--by", default=getpass.getuser, help="Who says so; default: the user of this shell.")(command)


@click.command("accept")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_dir
@signed
@click.option("--anyway", is_flag=True, help="Accept also what cannot be kept. It is said what breaks.")
def accept(file: Path, data_dir: Path, by: str, anyway: bool) -> None:
    """Accept the offers of FILE, after checking them as `commit check` does.

    Nothing is accepted where one of them cannot be kept. Exit code 1: one cannot.
    """
    now = config_and_now(data_dir)[1]
    try:
        offers = [offer_of(text, n, now) for n, text in enumerate(read_offers(file), 1)]
        answered, broken = answers(data_dir, offers)
    except (OfferError, ValueError, KeyError) as error:
        raise click.ClickException(str(error.args[0] if error.args else error)) from error
    click.echo("\n".join(line for one in answered for line in as_lines(one)))
    if broken and not anyway:
        click.echo("nothing was accepted")
        raise SystemExit(1)
    held = {c.commitment_id for c in standing(data_dir, now)}
    batch: list[AnyRecord] = []
    for offer in offers:
        promise = offer.promise
        if promise.commitment_id in held:
            raise AnswerIsNoError(f"{promise.commitment_id} is accepted already; give the offer another id")
        batch += _told(promise, "accepted", now, by)
    tell(data_dir, batch)
    click.echo(f"accepted: {', '.join(o.promise.commitment_id for o in offers)}")


@click.command("call")
@click.argument("name")
@data_dir
@signed
@click.option("--minutes", type=click.FloatRange(min=1), help="How long; default: until released, or its end.")
def call(name: str, data_dir: Path, by: str, minutes: float | None) -> None:
    """The grid calls the promise NAME: its load is shed within its response time."""
    now = config_and_now(data_dir)[1]
    promise = _one(data_dir, name, now)
    if promise.status == "deployed":
        raise click.ClickException(f"{name} is called already")
    if not promise.at <= now < promise.until:
        raise AnswerIsNoError(
            f"{name} holds from {promise.at:%Y-%m-%d %H:%M} to {promise.until:%Y-%m-%d %H:%M} UTC; it is "
            f"{now:%Y-%m-%d %H:%M}"
        )
    if minutes is not None:
        promise = msgspec.structs.replace(promise, until=min(promise.until, now + timedelta(minutes=minutes)))
    tell(data_dir, _told(promise, "deployed", now, by))
    click.echo(f"called: {name}, {promise.power_w / 1e6:.2f} MW off within {promise.response_s} s")


@click.command("release")
@click.argument("name")
@data_dir
@signed
@click.option("--stands", is_flag=True, help="Only its call ends: the promise binds again for the rest of its time.")
def release(name: str, data_dir: Path, by: str, stands: bool) -> None:
    """The promise NAME binds no more and is paid until now; a call of it ends."""
    now = config_and_now(data_dir)[1]
    promise = _one(data_dir, name, now)
    batch = _told(promise, "released", now, by)
    if stands:
        whole = accepted(data_dir, name, now) or promise
        batch += _told(whole, "accepted", now + timedelta(microseconds=1), by)
    tell(data_dir, batch)
    click.echo(f"released: {name}" + (f", which stands until {promise_end(batch)} UTC" if stands else ""))


def accepted(folder: Path, name: str, now: datetime) -> Commitment | None:
    """The promise as it was accepted: a call may have been given an end of its own."""
    store = open_store(folder)
    try:
        commitments = store.between(Commitment, now - BACK, now + AHEAD, now=now)
    finally:
        store.close()
    mine = [c for c in commitments if c.commitment_id == name and c.status == "accepted"]
    return max(mine, key=lambda c: c.known_at, default=None)


def promise_end(batch: list[AnyRecord]) -> str:
    return next(f"{c.until:%Y-%m-%d %H:%M}" for c in reversed(batch) if isinstance(c, Commitment))


@click.command("list")
@data_dir
def list_(data_dir: Path) -> None:
    """Promises that stand, and the last that ended."""
    now = config_and_now(data_dir)[1]
    commitments = standing(data_dir, now)
    if not commitments:
        click.echo("no promise was accepted")
    for one in commitments:
        state = "over" if one.until <= now else one.status
        click.echo(
            f"{one.commitment_id:20} {one.site_id:10} {one.power_w / 1e6:8.2f} MW  {one.at:%m-%d %H:%M} to "
            f"{one.until:%m-%d %H:%M} UTC  {one.product}, {state}"
        )


def standing(folder: Path, now: datetime) -> list[Commitment]:
    """Every promise of the last fortnight and of what is ahead, as it was last told."""
    store = open_store(folder)
    try:
        commitments = store.between(Commitment, now - BACK, now + AHEAD, now=now)
    finally:
        store.close()
    held = {one.commitment_id: one for one in sorted(commitments, key=lambda c: c.known_at)}
    return sorted((c for c in held.values() if c.status != "offered"), key=lambda c: (c.at, c.commitment_id))


def tell(folder: Path, batch: list[AnyRecord]) -> None:
    """To the core, which alone writes. Raises click.ClickException where no platform runs or it refuses."""
    path = folder / "run" / "runtime.json"
    if not path.exists():
        raise NothingThereError(f"no platform ever ran on {folder}; run `tieline up` first, or name --data-dir")
    runtime = Runtime.load(path)
    if not runtime.link_url:
        raise NothingThereError(f"no platform runs on {folder}; nothing was recorded")

    async def send() -> str:
        link = await NatsLink.dial(runtime.link_user("operator"), LINK_WAIT_S)
        try:
            ack = await push(link, "commit", records.encode_batch(batch))
        finally:
            await link.close()
        return ack.trouble or ""

    try:
        refused = asyncio.run(send())
    except LinkDownError as error:
        raise NothingThereError(f"no platform runs on {folder} ({error}); nothing was recorded") from error
    if refused:
        raise click.ClickException(f"not recorded: {refused}")


def _one(folder: Path, name: str, now: datetime) -> Commitment:
    commitment = next((c for c in standing(folder, now) if c.commitment_id == name and c.until > now), None)
    if commitment is None or commitment.status in ("released", "declined"):
        raise NothingThereError(f"no promise {name!r} stands; `tieline commit list` shows those that do")
    return commitment


def _told(promise: Commitment, status: Any, now: datetime, by: str) -> list[AnyRecord]:
    """The promise in its new state, and who said so."""
    record = msgspec.structs.replace(promise, status=status, known_at=now, source="operator", kind="measured")
    words = f"{promise.commitment_id}: {promise.power_w / 1e6:.2f} MW {status}"
    who = Action(
        at=now, known_at=now, source="operator", kind="measured", by=by, what=f"promise {status}",
        target=promise.site_id, detail=words,
    )  # fmt: skip
    return [record, who]
