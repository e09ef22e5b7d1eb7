"""`tieline rig`: what a limit would do at a site, one rig that blinks or starts anew, a group that mines elsewhere.

Each goes over the link to the agent of the site, whichever machine that runs on; what it did is on record, and said
here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from tieline.app.runtime import Runtime
from tieline.cli.desk.commit_act import LINK_WAIT_S, signed, tell
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.config import Config
from tieline.edge.decide import local_source
from tieline.edge.local.words import NOT_DONE, SET_POOLS
from tieline.edge.rigs.pooling.pools import read_pools
from tieline.fleet.sites import RigGroup
from tieline.intake import IntakeError, read_json
from tieline.link import LinkDownError, NatsLink
from tieline.people.proposals import Proposed, proposed, said
from tieline.records import Action, Proposal, ProposalStep

# The agent answers a word in a second; pools are read back within two minutes by the slowest firmware, twice: one rig
# first, then the others.
ANSWER_S, POOLS_S = 15.0, 270.0
ASK_S, LOOK_S = 5.0, 0.5
BACK = timedelta(days=3_660)
LATER = timedelta(minutes=5)

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")


@click.group()
def rig() -> None:
    """What a limit would do at a site; one rig blinks or starts anew; a group mines elsewhere."""


@rig.command()
@click.argument("site")
@click.argument("limit_mw", type=float)
@data_dir
@_JSON
def preview(site: str, limit_mw: float, data_dir: Path, as_json: bool) -> None:
    """What SITE would do under a limit of LIMIT_MW: which rigs, why not others. Nothing is sent to a rig."""
    config, _ = config_and_now(data_dir)
    _site(config, site)
    shed = _asked(data_dir, f"preview.{site}", str(limit_mw).encode())
    if "error" in shed:
        raise click.ClickException(shed["error"])
    if as_json:
        click.echo(json.dumps(shed, indent=2))
        return
    for unit in shed["units"]:
        asked = "left as it is" if unit["asked_w"] is None else f"asked for {unit['asked_w'] / 1e6:.3f} MW"
        click.echo(f"{unit['unit_id']:28} draws {unit['draws_w'] / 1e6:.3f} MW, {asked}  {unit['why']}".rstrip())
        if "sleep_count" in unit:
            named = ", ".join(unit["sleep"][:10]) + (" ..." if unit["sleep_count"] > 10 else "")
            click.echo(f"    {unit['sleep_count']} rigs would sleep{': ' if named else ''}{named}")
        for one in unit.get("not", []):
            click.echo(f"    not {one['address']}: {one['why'] or 'does not obey'}")
    if shed["cannot_shed_w"] > 0:
        click.echo(f"{shed['cannot_shed_w'] / 1e6:.3f} MW above the limit cannot be shed.")
        raise SystemExit(AnswerIsNoError.exit_code)


@rig.command()
@click.argument("unit")
@click.argument("address")
@click.option("--off", is_flag=True, help="Have it stop blinking.")
@signed
@data_dir
@_JSON
def blink(unit: str, address: str, off: bool, by: str, data_dir: Path, as_json: bool) -> None:
    """Have the rig at ADDRESS of the group UNIT blink its fault light, so that it is found in its rack."""
    _told(data_dir, (unit, "light off" if off else "light on", address), by, ANSWER_S, as_json)


@rig.command()
@click.argument("unit")
@click.argument("address")
@signed
@data_dir
@_JSON
def reboot(unit: str, address: str, by: str, data_dir: Path, as_json: bool) -> None:
    """Have the rig at ADDRESS of the group UNIT start anew. One that is held down does not."""
    _told(data_dir, (unit, "reboot", address), by, ANSWER_S, as_json)


@rig.command()
@click.argument("proposal_id")
@signed
@data_dir
@_JSON
def pools(proposal_id: str, by: str, data_dir: Path, as_json: bool) -> None:
    """Set the pools that two people approved, one rig first, and read them back.

    \b
    tieline approvals propose pools na-tx-03.rigs-1 --after "stratum+tcp://POOL:3333 ACCOUNT.{rig}" --why ... --as ME
    tieline approvals approve "pools na-tx-03.rigs-1 ..." --as SOMEBODY_ELSE
    tieline rig pools "pools na-tx-03.rigs-1 ..."
    """
    one = _approved(data_dir, proposal_id)
    word = (one.proposal.target, SET_POOLS, one.proposal.after)
    _told(data_dir, word, by, POOLS_S, as_json)
    tell(data_dir, list(said(one, "done", by, "read back", config_and_now(data_dir)[1])))


def _approved(folder: Path, proposal_id: str) -> Proposed:
    now = config_and_now(folder)[1]
    store = open_store(folder)
    try:
        proposals = proposed(
            [*store.each(Proposal, now - BACK, now + LATER), *store.each(ProposalStep, now - BACK, now + LATER)]
        )
    finally:
        store.close()
    one = proposals.get(proposal_id)
    if one is None or one.proposal.what != "pools":
        raise NothingThereError(f"no proposal {proposal_id!r} of pools; see: tieline approvals list --all")
    if one.state(now) != "approved":
        raise AnswerIsNoError(f"{proposal_id}: it is {one.state(now)}, not approved; {one.lacks} more people have to")
    try:
        read_pools(one.proposal.after)
    except IntakeError as error:
        raise click.ClickException(f"{proposal_id}: {error}") from error
    return one


def _told(folder: Path, word: tuple[str, str, str], by: str, within_s: float, as_json: bool) -> None:
    """Say it and wait for what the site says of it."""
    unit, what, detail = word
    config, now = config_and_now(folder)
    site = _group(config, unit)
    action = Action(
        at=now, known_at=now, source="operator", kind="measured", by=by, what=what, target=unit, detail=detail
    )
    tell(folder, [action])
    own = local_source(site)
    waits = _waited(folder, lambda one: one.source == own and one.target == unit, now, within_s)
    answer = asyncio.run(waits)
    if answer is None:
        raise AnswerIsNoError(
            f"{site} did not answer within {within_s:.0f} s; what it did comes on record when its link is there"
        )
    if as_json:
        click.echo(json.dumps({"unit": unit, "what": answer.what, "detail": answer.detail}))
    if answer.what == NOT_DONE:
        raise AnswerIsNoError(answer.detail)
    if not as_json:
        click.echo(f"{unit}: {answer.what}: {answer.detail}")


async def _waited(folder: Path, is_it: Callable[[Action], bool], since: datetime, within_s: float) -> Action | None:
    store = open_store(folder)
    try:
        async with asyncio.timeout(within_s):
            while True:
                actions = [one for one in store.between(Action, since, config_and_now(folder)[1] + LATER) if is_it(one)]
                if actions:
                    return actions[-1]
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        return None
    finally:
        store.close()


def _asked(folder: Path, subject: str, data: bytes) -> dict[str, Any]:
    path = folder / "run" / "runtime.json"
    if not path.exists():
        raise NothingThereError(f"no platform ever ran on {folder}; run `tieline up` first, or name --data-dir")
    runtime = Runtime.load(path)

    async def ask() -> bytes:
        link = await NatsLink.dial(runtime.link_user("operator"), LINK_WAIT_S)
        try:
            return await link.request(subject, data, ASK_S)
        finally:
            await link.close()

    try:
        answer = read_json(asyncio.run(ask()))
    except LinkDownError as error:
        raise NothingThereError(f"the agent did not answer: {error}") from error
    except (IntakeError, msgspec.DecodeError) as error:
        raise click.ClickException(f"the agent's answer cannot be read: {error}") from error
    return answer if isinstance(answer, dict) else {"error": "the agent's answer is no object"}


def _site(config: Config, site: str) -> None:
    known = [one.id for one in config.fleet.sites]
    if site not in known:
        raise NothingThereError(f"no site {site!r}; the configuration has {', '.join(known[:8])}")


def _group(config: Config, unit: str) -> str:
    """The site of a group of rigs."""
    for one in config.fleet.sites:
        for group in one.units:
            if group.id == unit and isinstance(group, RigGroup):
                return one.id
    raise NothingThereError(f"no group of rigs {unit!r}; `tieline plan` lists groups by site")
