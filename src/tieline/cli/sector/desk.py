"""`tieline disclosures desk` and `grid`: what waits for a person, and the grid.

Knows nothing of how a text is read. Each decision is a record with who and when.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tieline.cli.outcome import NothingThereError
from tieline.cli.sector.shared import dump, facts_option, guarded, json_option, period_option
from tieline.clock import wall_now
from tieline.disclosures.facts.desk import Action, CandidateFile, Correction, path_beside
from tieline.disclosures.facts.keep import FileKeeper, book

F = TypeVar("F", bound=Callable[..., Any])

_who = click.option("--who", default=getpass.getuser, show_default="your login", help="Who decides; it is recorded.")
_reason = click.option("--reason", default="", help="Why; asked for where something is rejected or withdrawn.")


@click.group()
def desk() -> None:
    """Candidates that wait for a person: accept, correct, reject; and take facts back."""


@desk.command("list")
@click.option("--issuer", help="Ticker.")
@facts_option
@json_option
def list_(issuer: str | None, facts: Path, as_json: bool) -> None:
    """What waits, newest document first, each with what it lacks."""
    waiting = guarded(lambda: CandidateFile(path_beside(facts)).waiting())
    waiting = tuple(w for w in waiting if issuer is None or w.candidate.fact.issuer == issuer.upper())
    if as_json:
        dump([{"id": w.id, "candidate": w.candidate, "source": w.source, "published": w.published} for w in waiting])
        return
    for w in waiting:
        fact = w.candidate.fact
        click.echo(f"{w.id}  {fact.value:,f} {fact.unit}  missing {', '.join(w.candidate.missing)}")
        click.echo(f"    {w.candidate.why}; {w.published or 'no date'} {w.source}")
        click.echo(f"    {' '.join(fact.quote.split())[:110]}")
    click.echo(f"{len(waiting)} wait")


def _decide(action: Action, target: str, who: str, reason: str, facts: Path, change: Correction | None = None) -> None:
    done = guarded(lambda: CandidateFile(path_beside(facts)).decide(action, target, who, wall_now(), reason, change))
    became = f": {done.claim.figure} = {done.claim.value:,f}" if done.claim is not None else ""
    click.echo(f"{action} {target} by {done.who}{became}")


def _deciding(command: F) -> F:
    """What every decision is told: by whom, why, and in which book."""
    return _who(_reason(facts_option(command)))


def _plain(action: Action, what: str, says: str) -> None:
    """A command that decides by its name alone."""

    @desk.command(action, help=says)
    @click.argument("target", metavar=what)
    @_deciding
    def decide(target: str, who: str, reason: str, facts: Path) -> None:
        _decide(action, target, who, reason, facts)


_plain("accept", "CANDIDATE", "Make a candidate a fact; you are its second voice.")
_plain("reject", "CANDIDATE", "Take a candidate off the desk, with a reason.")
_plain("restore", "TARGET", "Undo the last decision on a candidate or a claim.")


@desk.command()
@click.argument("candidate")
@click.option("--value", help="The figure as it should be.")
@period_option
@click.option("--field", help="One of `tieline disclosures fields`.")
@_deciding
def correct(
    candidate: str, value: str | None, period: str | None, field: str | None, who: str, reason: str, facts: Path
) -> None:
    """Make a candidate a fact with another value, period or field."""
    change = guarded(lambda: Correction.typed(value, period, field))
    _decide("correct", candidate, who, reason, facts, change)


@desk.command()
@click.argument("claim")
@_deciding
def withdraw(claim: str, who: str, reason: str, facts: Path) -> None:
    """Take a claim out of the book (its id, `CANG.2026-01.btc_sold~1a2b3c4d`): it leaves every rank, sum and check."""
    known = {one.id for one in guarded(lambda: book(FileKeeper(facts))).of(claim.partition("~")[0])}
    if claim not in known:
        raise NothingThereError(f"no claim {claim!r} in the book; `tieline disclosures figure NAME` lists them")
    _decide("withdraw", claim, who, reason, facts)


@desk.command()
@facts_option
@json_option
def log(facts: Path, as_json: bool) -> None:
    """Every decision, oldest first."""
    decisions = guarded(lambda: CandidateFile(path_beside(facts)).decisions())
    if as_json:
        dump(decisions)
        return
    for d in decisions:
        click.echo(f"{d.at:%Y-%m-%d %H:%M} {d.who} {d.action} {d.target} {d.reason}".rstrip())


@click.command()
@click.option("--field", default="btc_produced", show_default=True, help="Any of `tieline disclosures fields`.")
@click.option("--issuer", "issuers", multiple=True, help="Ticker; may be given more than once.")
@click.option("--since", default="", help="First month, YYYY-MM.")
@click.option("--until", default="", help="Last month, YYYY-MM.")
@click.option("--view", type=click.Choice(["value", "month", "year"]), default="value", help="Values, or change in %.")
@click.option("--csv", "as_csv", is_flag=True, help="What is seen, as CSV.")
@facts_option
@json_option
def grid(
    field: str, issuers: tuple[str, ...], since: str, until: str, view: str, as_csv: bool, facts: Path, as_json: bool
) -> None:
    """Miner by month for any field, newest month first; an empty cell is not in the book."""
    from tieline.disclosures.comparison import grid as grids

    ours = guarded(lambda: book(FileKeeper(facts)))
    shown: grids.View = "month" if view == "month" else "year" if view == "year" else "value"
    table = guarded(lambda: grids.grid(ours, field, issuers=issuers, since=since, until=until, view=shown))
    if as_json:
        dump(table)
        return
    if as_csv:
        click.echo(grids.to_csv(table), nl=False)
        return
    heads = table.months[:12]
    click.echo(f"{table.field} ({table.unit}): {table.meaning}")
    click.echo(f"{'':7}" + "".join(f"{m:>11}" for m in heads))
    for line in table.lines:
        cells = "".join(f"{line.cells[m].value:>11,f}" if m in line.cells else f"{'':>11}" for m in heads)
        stale = f"  {line.behind} months behind" if line.behind else ""
        click.echo(f"{line.issuer:7}{cells}{stale}")
    click.echo(f"{'of':7}" + "".join(f"{table.coverage[m]:>11}" for m in heads))
    if len(table.months) > len(heads):
        click.echo(f"{len(table.months) - len(heads)} earlier months: --csv or --until {table.months[len(heads)]}")
