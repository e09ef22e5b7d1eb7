"""`tieline disclosures`: read what miners publish, keep it, check it, explain and compare it.

Runs on the light install, with no service: facts of one's own are kept in one file beside the shipped ones.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import click

from tieline.cli.outcome import NothingThereError
from tieline.cli.sector.desk import desk, grid
from tieline.cli.sector.feeds import fetch, refresh
from tieline.cli.sector.shared import (
    as_of_option,
    counts,
    dump,
    epochs_option,
    facts_option,
    guarded,
    json_option,
    kind_option,
    period_option,
    published_option,
    table_text,
    verdicts_text,
)  # fmt: skip
from tieline.clock import parse_utc, wall_now
from tieline.disclosures.checks import check as check_book
from tieline.disclosures.comparison.chain import Chain, extended, heard_since, shipped_chain
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, SourceKind
from tieline.disclosures.facts.desk import CandidateFile, agreement, path_beside
from tieline.disclosures.facts.keep import FileKeeper, book
from tieline.disclosures.facts.verdict import CHECKS

# One byte more than the reader takes, so that it is the reader that refuses.
MAX_INPUT_BYTES = 50 * 2**20 + 1


@click.group()
def disclosures() -> None:
    """Read, check and compare what miners publish."""


@disclosures.command()
@click.argument("source")
@click.option("--issuer", help="Ticker, where the text does not name it.")
@published_option
@kind_option
@click.option("--keep", is_flag=True, help="Keep the facts.")
@click.option("--endpoint", metavar="URL", help="An OpenAI-compatible endpoint, for what the rules left empty.")
@click.option("--model", help="The endpoint's model. Its key, where it needs one, is in TIELINE_API_KEY.")
@facts_option
@json_option
def read(
    source: str,
    issuer: str | None,
    published: str | None,
    source_kind: SourceKind | None,
    keep: bool,
    facts: Path,
    as_json: bool,
    **engine: str | None,
) -> None:
    """Read a release from a file, a web address or - (standard input). Exit 3 where it yields nothing."""
    endpoint, model = engine["endpoint"], engine["model"]
    if (endpoint is None) != (model is None):
        raise click.UsageError("--endpoint and --model go together")
    from tieline.cli.sector.shown import reading_json, show_reading
    from tieline.disclosures.intake import Origin, claims_of, waiting_of
    from tieline.disclosures.read import read as read_release

    body = _body(source)
    ours = _book(facts, None)
    reading = read_release(body, issuer=issuer, published=published, source_kind=source_kind, known=ours.all)
    if endpoint is not None and model is not None:
        from tieline.disclosures.extract.llm import fill

        reading = fill(reading, base_url=endpoint, model=model, api_key=os.environ.get("TIELINE_API_KEY"))
    origin = Origin(source, source_kind, published, wall_now())
    claims = claims_of(reading, origin)
    held = agreement(ours, claims_of(reading, origin, candidates=True))
    appended, desk = None, 0
    if keep and reading.refused is None:
        appended = guarded(lambda: FileKeeper(facts).append(claims))
        desk = guarded(lambda: CandidateFile(path_beside(facts)).put(waiting_of(reading, origin)))
    if as_json:
        dump(reading_json(reading, source, held, appended, desk))
    else:
        show_reading(reading, held)
        if appended is not None:
            click.echo(f"kept {appended.new} new, {appended.already} already there, in {facts}; {desk} new on the desk")
    if reading.refused is not None:
        click.echo(f"nothing read: {reading.refused}", err=True)
        sys.exit(3)


@disclosures.command()
@click.argument("file", required=False)
@click.option("--issuer", help="Ticker.")
@period_option
@click.option("--check", "only", type=click.Choice(sorted(CHECKS)), help="One check.")
@click.option("--findings", is_flag=True, help="Leave out what simply holds.")
@published_option
@kind_option
@as_of_option
@epochs_option
@facts_option
@json_option
def check(
    file: str | None,
    issuer: str | None,
    period: str | None,
    only: str | None,
    findings: bool,
    published: str | None,
    source_kind: SourceKind | None,
    as_of: str | None,
    epochs: Path | None,
    facts: Path,
    as_json: bool,
) -> None:
    """Check the book, or a release (FILE, address, -) against the book. Each verdict shows its computation."""
    ours = _book(facts, as_of)
    mine: set[str] | None = None
    held = None
    notes: tuple[str, ...] = ()
    if file is not None:
        claims, notes = _claims_of_file(file, issuer, published, source_kind)
        held = agreement(ours, claims)
        mine = {claim.id for claim in claims}
        ours = ClaimBook((*ours.all, *claims))
    miner = _miner(ours, issuer)
    verdicts = list(check_book(ours.on(_chain(epochs, facts)), issuer=miner, period=period))
    if only is not None:
        verdicts = [verdict for verdict in verdicts if verdict.check == only]
    if mine is not None:
        verdicts = [verdict for verdict in verdicts if mine & set(verdict.claims)]
    ran = len(verdicts)
    if findings:
        verdicts = [verdict for verdict in verdicts if verdict.outcome not in ("holds", "rounding")]
    if as_json:
        compared = {} if held is None else {"against_the_book": held.says(), "differ": held.differ, "notes": notes}
        dump({"verdicts": verdicts, "counts": counts(verdicts), "rules": CHECKS, **compared})
    else:
        for note in notes:
            click.echo(f"note: {note}")
        click.echo(verdicts_text(verdicts, held, ran))


@disclosures.command()
@click.argument("issuer")
@click.argument("month")
@click.option("--base", help="The month to start from; else the month before.")
@as_of_option
@epochs_option
@facts_option
@json_option
def explain(
    issuer: str, month: str, base: str | None, as_of: str | None, epochs: Path | None, facts: Path, as_json: bool
) -> None:
    """Why a month's output changed: a bridge that sums exactly to the printed change."""
    from tieline.disclosures.comparison.explain import Bridge, bridge
    from tieline.disclosures.facts.periods import is_month

    for name, given in (("MONTH", month), ("--base", base)):
        if given is not None and not is_month(given):
            raise click.BadParameter(f"{given!r}: write YYYY-MM", param_hint=name)
    steps = bridge(_book(facts, as_of).on(_chain(epochs, facts)), issuer.upper(), month, base)
    if as_json:
        dump(steps)
    if not isinstance(steps, Bridge):
        if not as_json:
            click.echo(f"no bridge: {steps.reason}", err=True)
        sys.exit(3)
    if as_json:
        return
    click.echo(f"{steps.issuer} {steps.base} to {steps.month}: {steps.before:,f} to {steps.after:,f} BTC")
    for step in steps.steps:
        click.echo(f"  {step.name:32} {step.btc:+12,f} BTC   {step.says}")
    computed = " (one month follows from its quarter)" if steps.computed else ""
    click.echo(f"  {'change':32} {steps.change:+12,f} BTC   {steps.change_pct:+} %{computed}")


@disclosures.command()
@click.option("--month", multiple=True, help="YYYY-MM; may be given more than once. Without it, all months.")
@click.option("--format", "form", type=click.Choice(["text", "csv", "json", "parquet"]), default="text")
@click.option("--long", is_flag=True, help="A row for each figure, with its permanent id and how it was got.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
@as_of_option
@epochs_option
@facts_option
@json_option
def compare(
    month: tuple[str, ...],
    form: str,
    long: bool,
    out: Path | None,
    as_of: str | None,
    epochs: Path | None,
    facts: Path,
    as_json: bool,
) -> None:
    """The peers' dashboard by month."""
    from tieline.disclosures.comparison import export
    from tieline.disclosures.comparison.compare import months, table
    from tieline.disclosures.facts.periods import is_month

    for name in month:
        if not is_month(name):
            raise click.BadParameter(f"{name!r}: write YYYY-MM", param_hint="--month")
    ours = _book(facts, as_of).on(_chain(epochs, facts))
    if nothing := [name for name in month if name not in months(ours)]:
        raise NothingThereError(f"month {nothing[0]} is not known: no miner published anything for it")
    tables = [table(ours, name) for name in month or months(ours)]
    form = "json" if as_json else form
    if form == "text":
        content = "\n".join(table_text(one) for one in tables).encode()
    elif form == "json":
        content = export.to_json(tables) + b"\n"
    else:
        rows = export.rows(tables, "long" if long else "wide")
        try:
            content = export.to_csv(rows).encode() if form == "csv" else export.to_parquet(rows)
        except export.ExportError as error:
            raise click.ClickException(str(error)) from error
    _write(content, out, form)


def _write(content: bytes, out: Path | None, form: str) -> None:
    if out is not None:
        try:
            out.write_bytes(content)
        except OSError as error:
            raise click.ClickException(f"cannot write {out}: {error.strerror}") from error
    elif form == "parquet" and sys.stdout.isatty():
        raise click.ClickException("Parquet is not for a terminal: give --out FILE")
    else:
        sys.stdout.buffer.write(content)


@disclosures.command()
@click.argument("name")
@as_of_option
@facts_option
@json_option
def figure(name: str, as_of: str | None, facts: Path, as_json: bool) -> None:
    """One figure by its permanent name (CANG.2026-01.btc_sold): every source, and the checks it went into."""
    from tieline.disclosures.comparison import page

    try:
        shown = page.figure(_book(facts, as_of), name)
    except page.NoFigureError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        dump(shown)
        return
    click.echo(f"{shown['id']} = {shown['value']:,} {shown['unit']}  ({shown['meaning']})")
    if shown["computed"]:
        click.echo(f"  computed: {shown['computed']}")
    for claim in shown["claims"]:
        best = "*" if claim["id"] == shown["best"] else " "
        click.echo(f" {best} {claim['shown']} {claim['unit']}  {claim['source_kind']} {claim['published'] or ''}")
        click.echo(f"     {claim['source']}")
        if claim["quote"]:
            click.echo(f"     {claim['span'] or ''} {' '.join(claim['quote'].split())[:100]}")
    for verdict in shown["verdicts"]:
        click.echo(f"  {verdict['outcome']:9} {verdict['check']}: {verdict['computation']}")


@disclosures.command()
@json_option
def fields(as_json: bool) -> None:
    """The names that a fact may have, with units and meanings."""
    from tieline.disclosures.facts.fields import ALL

    if as_json:
        dump({name: {"unit": unit, "meaning": meaning} for name, (unit, meaning) in ALL.items()})
        return
    for name, (unit, meaning) in ALL.items():
        click.echo(f"{name:34} {unit:14} {meaning}")


@disclosures.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@facts_option
@json_option
def keep(file: Path, facts: Path, as_json: bool) -> None:
    """Keep typed-in facts: a .toml file of documents, or a .jsonl file of claims."""
    from tieline.disclosures.facts.shipped import parse

    def load() -> list[Claim]:
        if file.suffix == ".jsonl":
            return list(FileKeeper(file).claims())
        return list(parse(file.read_text("utf-8"), file.name))

    claims = guarded(load)
    appended = guarded(lambda: FileKeeper(facts).append(claims))
    if as_json:
        dump(appended)
    else:
        click.echo(f"kept {appended.new} new, {appended.already} already there, in {facts}")


disclosures.add_command(fetch)
disclosures.add_command(desk)
disclosures.add_command(grid)
disclosures.add_command(refresh)


def _miner(ours: ClaimBook, issuer: str | None) -> str | None:
    if issuer is not None and (issuer := issuer.upper()) not in ours.issuers:
        raise NothingThereError(f"no miner {issuer} in the book; it has {', '.join(ours.issuers)}")
    return issuer


def _claims_of_file(
    file: str, issuer: str | None, published: str | None, kind: SourceKind | None
) -> tuple[list[Claim], tuple[str, ...]]:
    """What a text claims, proven or not, and what a person should know of its reading."""
    from tieline.disclosures.intake import Origin, claims_of
    from tieline.disclosures.read import read as read_release

    reading = read_release(_body(file), issuer=issuer, published=published, source_kind=kind)
    if reading.refused is not None:
        raise click.ClickException(f"nothing read: {reading.refused}")
    claims = claims_of(reading, Origin(file, kind, published, wall_now()), candidates=True)
    if not claims:
        raise click.ClickException("whose figures these are is not said; give --issuer")
    return claims, reading.notes


def _body(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read(MAX_INPUT_BYTES)
    if source.startswith(("http://", "https://")):
        from tieline.cli.sector import fetch as fetching

        return guarded(lambda: fetching.page(source))
    try:
        with Path(source).open("rb") as file:
            return file.read(MAX_INPUT_BYTES)
    except OSError as error:
        raise click.ClickException(f"cannot read {source}: {error.strerror}; give a file, an address or -") from error


def _chain(epochs: Path | None, facts: Path) -> Chain:
    """The shipped series of difficulty, and after it a file's epochs, else what the platform's feed has heard.

    The platform's records stand beside the kept facts; without them the series ends where it was shipped.
    """
    if epochs is not None:
        return guarded(lambda: extended(epochs.read_text("utf-8")))
    shipped = shipped_chain()
    from tieline.cli.folder import open_store, place_in

    if not place_in(facts.parent).exists():
        return shipped
    from tieline.console.rooms.disclosed import network_ticks

    store = open_store(facts.parent)
    try:
        return heard_since(shipped, network_ticks(store, shipped.epochs[-1].start, wall_now()))
    finally:
        store.close()


def _book(facts: Path, as_of: str | None) -> ClaimBook:
    ours = guarded(lambda: book(FileKeeper(facts)))
    if as_of is None:
        return ours
    try:
        # A date means the end of that day.
        moment = parse_utc(as_of) + timedelta(days=1 if len(as_of) == 10 else 0)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{as_of!r} is no date; write YYYY-MM-DD", param_hint="--as-of") from error
    return ours.as_of(moment)
