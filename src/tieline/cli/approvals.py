"""`tieline approvals`: what waits for a second person, and saying yes or no to it as an account that proves itself.

Works whether the platform runs or not. A shell's user is nobody here: each word needs an account and its password, so
that one person with two shells is not two people.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import click

from tieline.app.acting import BACK
from tieline.app.machines.beside import people_of
from tieline.cli.folder import config_and_now, data_dir, open_store
from tieline.cli.money.keep import record_all
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.cli.rights import PASSWORD_ENV
from tieline.clock import wall_now
from tieline.edge.rigs.pooling.pools import read_pools
from tieline.fleet.sites import Site
from tieline.intake import IntakeError
from tieline.people import Account, People, PeopleError, Right
from tieline.people.proposals import PROPOSES, Proposed, action_of, asked, digest_of, proposed, refusal, said
from tieline.records import Proposal, ProposalStep
from tieline.records.approval import ProposalKind, ProposalWord
from tieline.store import StoreError

# What was said in this very moment is in.
LATER = timedelta(minutes=5)
_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
_AS = click.option("--as", "account", required=True, help="Your account; its password is asked for.")
_PASSWORD = click.option("--password", envvar=PASSWORD_ENV, help="Asked for where it is not given.")
_WHY = click.option("--why", default="", help="For whoever reads this tomorrow.")


@click.group()
def approvals() -> None:
    """What waits for a second person: a coin sale, a change to `act`, an invoice's issue, other pools."""


@approvals.command("list")
@click.option("--all", "everything", is_flag=True, help="Also what is decided.")
@data_dir
@_JSON
def list_(everything: bool, data_dir: Path, as_json: bool) -> None:
    """What is proposed, by whom, and how it stands."""
    now = config_and_now(data_dir)[1]
    proposals = [one for one in _found(data_dir, now).values() if everything or one.state(now) == "open"]
    if as_json:
        click.echo(json.dumps([_told(one, now) for one in proposals], indent=2))
        return
    if not proposals:
        click.echo("Nothing waits for a second person.")
    for one in proposals:
        p = one.proposal
        click.echo(f"{p.proposal_id}  {one.state(now)}, needs {one.lacks} more, until {p.until:%Y-%m-%d %H:%M} UTC")
        click.echo(f"    {p.before} -> {p.after}\n    {p.by}: {p.why}")


@approvals.command()
@click.argument("what", type=click.Choice(get_args(ProposalKind)))
@click.argument("target")
@click.option("--before", default="", help="How it stands.")
@click.option("--after", default="", help="How it will stand.")
@_WHY
@_AS
@_PASSWORD
@data_dir
@_JSON
def propose(what: ProposalKind, target: str, data_dir: Path, as_json: bool, **words: str) -> None:
    """Propose WHAT for TARGET: a site for `act`, a place of coins for `sale`, "TENANT MONTH" for `invoice`, a group of
    rigs for `pools`."""
    config, now = config_and_now(data_dir)
    about = target.partition(".")[0] if what == "pools" else target
    site = next((one for one in config.fleet.sites if one.id == about), None)
    if what == "pools":
        _check_pools(site, target, words["after"])
    if what == "act" and site is None:
        raise NothingThereError(f"no site {target!r} in this fleet")
    if what == "act":
        words |= {
            "before": f"{target}: a person confirms each plan",
            "after": f"{target} acts on its plans without asking",
        }
    who = _signed_in(data_dir, words["account"], words["password"])
    _need(who, PROPOSES[what], "" if site is None else site.id, "" if site is None else site.region)
    try:
        made = asked(what, target, (words["before"], words["after"], words["why"]), who.id, now)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    record_all(data_dir, [made, action_of(made, "propose", who.id, now)], now)
    click.echo(json.dumps({"proposal_id": made.proposal_id}) if as_json else f"{made.proposal_id}: proposed.")


def _check_pools(site: Site | None, target: str, after: str) -> None:
    if site is None or target not in [group.id for group in site.rig_groups]:
        raise NothingThereError(f"no group of rigs {target!r} in this fleet")
    try:
        read_pools(after)
    except IntakeError as error:
        raise click.ClickException(f"--after: {error}") from error


def _decision(says: ProposalWord, word: str, about: str) -> click.Command:
    @click.command(word, help=about)
    @click.argument("proposal_id")
    @_WHY
    @_AS
    @_PASSWORD
    @data_dir
    @_JSON
    def decide(proposal_id: str, why: str, account: str, password: str | None, data_dir: Path, as_json: bool) -> None:
        now = config_and_now(data_dir)[1]
        one = _found(data_dir, now).get(proposal_id)
        if one is None:
            raise NothingThereError(f"no proposal {proposal_id!r}; see: tieline approvals list")
        who = _signed_in(data_dir, account, password)
        if says != "withdrawn":
            _need(who, Right.APPROVE)
        refused = refusal(one, says, who.id, digest_of(one.proposal), now)
        if refused is not None:
            raise AnswerIsNoError(refused)
        record_all(data_dir, list(said(one, says, who.id, why, now)), now)
        click.echo(json.dumps({"proposal_id": proposal_id, "says": says}) if as_json else f"{proposal_id}: {says}.")

    return decide


for _command in (
    _decision("approved", "approve", "Want it too: with a second person it may be done."),
    _decision("rejected", "reject", "Say no; it is then over."),
    _decision("withdrawn", "withdraw", "Take back what you proposed."),
):
    approvals.add_command(_command)


def _found(folder: Path, now: datetime) -> dict[str, Proposed]:
    store = open_store(folder)
    try:
        steps = store.each(ProposalStep, now - BACK, now + LATER)
        return proposed([*store.each(Proposal, now - BACK, now + LATER), *steps])
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()


def _signed_in(folder: Path, account: str, password: str | None) -> Account:
    """Raises click.ClickException for a wrong name or password."""
    if password is None:
        password = click.prompt("Password", hide_input=True, err=True)
    try:
        store = people_of(folder)
        try:
            return People(store).sign_in(account, password, "command line", wall_now())
        finally:
            store.close()
    except (PeopleError, StoreError) as error:
        raise click.ClickException(str(error)) from error


def _need(who: Account, right: Right, site: str = "", region: str = "") -> None:
    places = [(site, region)] if site else [(place, "") for place in (*who.places, "")]
    if not any(who.may(right, *place) for place in places):
        raise AnswerIsNoError(f"{who.id} may not {right.value}")


def _told(one: Proposed, now: datetime) -> dict[str, object]:
    p = one.proposal
    steps = [{"says": s.says, "by": s.by, "at": s.at.isoformat(), "why": s.why} for s in one.steps]
    words = {"id": p.proposal_id, "what": p.what, "target": p.target, "before": p.before, "after": p.after}
    return {**words, "why": p.why, "by": p.by, "until": p.until.isoformat(), "state": one.state(now), "steps": steps}
