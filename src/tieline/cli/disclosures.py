"""`tieline disclosures`: read what miners publish, keep it, check it, explain and compare it.

Runs on the light install, with no service: facts of one's own are kept in one file beside the shipped ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import msgspec

from tieline.clock import parse_utc, wall_now
from tieline.disclosures.book import Book
from tieline.disclosures.chain import Chain, extended, shipped_chain
from tieline.disclosures.checks import check as check_book
from tieline.disclosures.claims import Claim, SourceKind
from tieline.disclosures.keep import FileKeeper, KeepError, book
from tieline.disclosures.verdict import CHECKS, Verdict

F = TypeVar("F", bound=Callable[..., Any])

# One byte more than the reader takes, so that it is the reader that refuses.
MAX_INPUT_BYTES = 50 * 2**20 + 1

_facts = click.option(
    "--facts",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".tieline") / "disclosures.jsonl",
    show_default=True,
    envvar="TIELINE_DISCLOSURES",
    help="The file that keeps your own facts, beside those shipped.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
_as_of = click.option("--as-of", metavar="DATE", help="Only what could be known then (YYYY-MM-DD).")
_epochs = click.option(
    "--epochs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Difficulty of later epochs: lines of first height and bits, as in a block header.",
)
_kind = click.option(
    "--source-kind", type=click.Choice(get_args(SourceKind)), default=None, help="How near the source is to the issuer."
)
_published = click.option("--published", metavar="DATE", help="When it came out, YYYY-MM-DD or YYYY-MM.")


@click.group()
def disclosures() -> None:
    """Read, check and compare what miners publish."""


@disclosures.command()
@click.argument("source")
@click.option("--issuer", help="Ticker, where the text does not name it.")
@_published
@_kind
@click.option("--keep", is_flag=True, help="Keep the facts.")
@click.option("--endpoint", metavar="URL", help="An OpenAI-compatible endpoint, for what the rules left empty.")
@click.option("--model", help="The endpoint's model. Its key, where it needs one, is in TIELINE_API_KEY.")
@_facts
@_json
def read(
    source: str,
    issuer: str | None,
    published: str | None,
    source_kind: SourceKind | None,
    keep: bool,
    endpoint: str | None,
    model: str | None,
    facts: Path,
    as_json: bool,
) -> None:
    """Read a release from a file, a web address or - (standard input). Exit 3 where it yields nothing."""
    if (endpoint is None) != (model is None):
        raise click.UsageError("--endpoint and --model go together")
    from tieline.disclosures.intake import claims_of
    from tieline.disclosures.read import read as read_release

    body = _body(source)
    reading = read_release(body, issuer=issuer, published=published)
    if endpoint is not None and model is not None:
        from tieline.disclosures.reading.llm import fill

        reading = fill(reading, base_url=endpoint, model=model, api_key=os.environ.get("TIELINE_API_KEY"))
    found = claims_of(reading, source, source_kind or "issuer_release_copy", published, wall_now())
    kept = None
    if keep and reading.refused is None:
        kept = _guard(lambda: FileKeeper(facts).append(found))
    if as_json:
        out = {
            "source": source,
            "issuer": reading.issuer,
            "period": reading.period,
            "published": reading.published,
            "kind": reading.kind,
            "refused": reading.refused,
            "notes": reading.notes,
            "facts": reading.facts,
            "kept": kept,
        }
        _dump(out)
    else:
        for fact in reading.facts:
            scope = f" ({fact.scope})" if fact.scope else ""
            quote = " ".join(fact.quote.split())
            click.echo(f"{fact.issuer or '?':6} {fact.period:10} {fact.field}{scope} = {fact.value:,f} {fact.unit}")
            click.echo(f"       {fact.span or ''} {quote[:100]}")
        for note in reading.notes:
            click.echo(f"note: {note}")
        if kept is not None:
            click.echo(f"kept {kept.new} new, {kept.already} already there, in {facts}")
    if reading.refused is not None:
        click.echo(f"nothing read: {reading.refused}", err=True)
        sys.exit(3)


@disclosures.command()
@click.argument("file", required=False)
@click.option("--issuer", help="Ticker.")
@click.option("--period", help="YYYY-MM, YYYYQn or YYYY-MM-DD.")
@click.option("--check", "only", type=click.Choice(sorted(CHECKS)), help="One check.")
@click.option("--findings", is_flag=True, help="Leave out what simply holds.")
@_published
@_kind
@_as_of
@_epochs
@_facts
@_json
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
    if file is not None:
        claims = _claims_of_file(file, issuer, published, source_kind)
        mine = {claim.id for claim in claims}
        ours = Book((*ours.all, *claims))
    verdicts = [
        found
        for found in check_book(ours, _chain(epochs), issuer=issuer, period=period)
        if (only is None or found.check == only)
        and (not findings or found.outcome not in ("holds", "rounding"))
        and (mine is None or mine & set(found.claims))
    ]
    if as_json:
        _dump({"verdicts": verdicts, "counts": _counts(verdicts), "rules": CHECKS})
        return
    for found in verdicts:
        click.echo(f"{found.outcome:9} {found.issuer} {found.period} {found.check}: {found.computation}")
        click.echo(f"          {found.says}")
    click.echo(", ".join(f"{count} {name}" for name, count in _counts(verdicts).items() if count) or "nothing to check")


@disclosures.command()
@click.argument("issuer")
@click.argument("month")
@click.option("--base", help="The month to start from; else the month before.")
@_as_of
@_epochs
@_facts
@_json
def explain(
    issuer: str, month: str, base: str | None, as_of: str | None, epochs: Path | None, facts: Path, as_json: bool
) -> None:
    """Why a month's output changed: a bridge that sums exactly to the printed change."""
    from tieline.disclosures.explain import Bridge, bridge

    found = bridge(_book(facts, as_of), issuer.upper(), month, _chain(epochs), base)
    if as_json:
        _dump(found)
    if not isinstance(found, Bridge):
        if not as_json:
            click.echo(f"no bridge: {found.reason}", err=True)
        sys.exit(3)
    if as_json:
        return
    click.echo(f"{found.issuer} {found.base} to {found.month}: {found.before:,f} to {found.after:,f} BTC")
    for step in found.steps:
        click.echo(f"  {step.name:32} {step.btc:+12,f} BTC   {step.says}")
    computed = " (one month follows from its quarter)" if found.computed else ""
    click.echo(f"  {'change':32} {found.change:+12,f} BTC   {found.change_pct:+} %{computed}")


@disclosures.command()
@click.option("--month", multiple=True, help="YYYY-MM; may be given more than once. Without it, all months.")
@click.option("--format", "form", type=click.Choice(["text", "csv", "json", "parquet"]), default="text")
@click.option("--long", is_flag=True, help="A row for each figure, with its permanent id and how it was got.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
@_as_of
@_epochs
@_facts
@_json
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
    from tieline.disclosures import export
    from tieline.disclosures.compare import months, table
    from tieline.disclosures.periods import is_month

    for name in month:
        if not is_month(name):
            raise click.BadParameter(f"{name!r}: write YYYY-MM", param_hint="--month")
    ours = _book(facts, as_of)
    chain = _chain(epochs)
    tables = [table(ours, name, chain) for name in month or months(ours)]
    form = "json" if as_json else form
    if form == "text":
        content = "\n".join(_table_text(one) for one in tables).encode()
    elif form == "json":
        content = export.to_json(tables) + b"\n"
    else:
        found = export.rows(tables, "long" if long else "wide")
        try:
            content = export.to_csv(found).encode() if form == "csv" else export.to_parquet(found)
        except export.ExportError as error:
            raise click.ClickException(str(error)) from error
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
@_as_of
@_facts
@_json
def figure(name: str, as_of: str | None, facts: Path, as_json: bool) -> None:
    """One figure by its permanent name (CANG.2026-01.btc_sold): every source, and the checks it went into."""
    from tieline.disclosures import page

    try:
        found = page.figure(_book(facts, as_of), name)
    except page.NoFigureError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        _dump(found)
        return
    click.echo(f"{found['id']} = {found['value']:,} {found['unit']}  ({found['meaning']})")
    if found["computed"]:
        click.echo(f"  computed: {found['computed']}")
    for claim in found["claims"]:
        best = "*" if claim["id"] == found["best"] else " "
        click.echo(f" {best} {claim['shown']} {claim['unit']}  {claim['source_kind']} {claim['published'] or ''}")
        click.echo(f"     {claim['source']}")
        if claim["quote"]:
            click.echo(f"     {claim['span'] or ''} {' '.join(claim['quote'].split())[:100]}")
    for verdict in found["verdicts"]:
        click.echo(f"  {verdict['outcome']:9} {verdict['check']}: {verdict['computation']}")


@disclosures.command()
@_json
def fields(as_json: bool) -> None:
    """The names that a fact may have, with units and meanings."""
    from tieline.disclosures.terms import ALL

    if as_json:
        _dump({name: {"unit": unit, "meaning": meaning} for name, (unit, meaning) in ALL.items()})
        return
    for name, (unit, meaning) in ALL.items():
        click.echo(f"{name:34} {unit:14} {meaning}")


@disclosures.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_facts
@_json
def keep(file: Path, facts: Path, as_json: bool) -> None:
    """Keep typed-in facts: a .toml file of documents, or a .jsonl file of claims."""
    from tieline.disclosures.shipped import parse

    def load() -> list[Claim]:
        if file.suffix == ".jsonl":
            return list(FileKeeper(file).claims())
        return list(parse(file.read_text("utf-8"), file.name))

    claims = _guard(load)
    kept = _guard(lambda: FileKeeper(facts).append(claims))
    if as_json:
        _dump(kept)
    else:
        click.echo(f"kept {kept.new} new, {kept.already} already there, in {facts}")


@disclosures.group()
def fetch() -> None:
    """Fetch releases and tagged facts, read them and keep what they say."""


_cache = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".tieline") / "fetched",
    show_default=True,
    help="Where pages are kept, so that nothing is fetched twice.",
)


@fetch.command()
@click.option("--ticker", help="The filer's ticker.")
@click.option(
    "--cik", type=click.IntRange(1, 9_999_999_999), help="The filer's number, where the ticker is not listed."
)
@click.option("--since", metavar="DATE", help="First day of filing; else a year ago.")
@click.option("--user-agent", envvar="TIELINE_SEC_USER_AGENT", help="Your name and e-mail address, as SEC asks.")
@click.option("--unit-is-bitcoin", multiple=True, help="Take tagged counts in this unit as bitcoin (a filer's 'pure').")
@click.option("--data-url", default=None, hidden=True)
@click.option("--www-url", default=None, hidden=True)
@_cache
@_facts
@_json
def edgar(
    ticker: str | None,
    cik: int | None,
    since: str | None,
    user_agent: str | None,
    unit_is_bitcoin: tuple[str, ...],
    data_url: str | None,
    www_url: str | None,
    cache: Path,
    facts: Path,
    as_json: bool,
) -> None:
    """A filer's 6-K and 8-K exhibits, its statements' tagged facts and SEC companyfacts."""
    from tieline.cli import disclosures_fetch as fetching

    if ticker is None and cik is None:
        raise click.UsageError("give --ticker or --cik")
    day = parse_date(since) if since is not None else (wall_now() - timedelta(days=365)).date()
    job = fetching.EdgarJob(ticker, cik, day, user_agent or "", unit_is_bitcoin, cache, data_url, www_url)
    _report(_guard(lambda: fetching.run_edgar(job, FileKeeper(facts), wall_now())), facts, as_json)


@fetch.command()
@click.argument("url")
@click.option("--issuer", help="Ticker, where every item of the feed is one issuer's.")
@click.option("--matching", default="bitcoin|production|mining|operations? update", show_default=True)
@_kind
@_cache
@_facts
@_json
def wire(
    url: str,
    issuer: str | None,
    matching: str,
    source_kind: SourceKind | None,
    cache: Path,
    facts: Path,
    as_json: bool,
) -> None:
    """The releases behind an RSS or Atom feed, on the feed's own host."""
    from tieline.cli import disclosures_fetch as fetching

    job = fetching.WireJob(url, issuer, matching, source_kind or "issuer", cache)
    _report(_guard(lambda: fetching.run_wire(job, FileKeeper(facts), wall_now())), facts, as_json)


@fetch.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--issuer", help="Ticker, where every file is one issuer's.")
@_published
@_kind
@_facts
@_json
def folder(
    path: Path,
    issuer: str | None,
    published: str | None,
    source_kind: SourceKind | None,
    facts: Path,
    as_json: bool,
) -> None:
    """Files dropped into a folder."""
    from tieline.cli import disclosures_fetch as fetching

    job = fetching.FolderJob(path, issuer, published, source_kind or "issuer_release_copy")
    _report(_guard(lambda: fetching.run_folder(job, FileKeeper(facts), wall_now())), facts, as_json)


def parse_date(text: str) -> Any:
    try:
        return parse_utc(text).date()
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no date; write YYYY-MM-DD") from error


def _claims_of_file(file: str, issuer: str | None, published: str | None, kind: SourceKind | None) -> list[Claim]:
    from tieline.disclosures.intake import claims_of
    from tieline.disclosures.read import read as read_release

    reading = read_release(_body(file), issuer=issuer, published=published)
    if reading.refused is not None:
        raise click.ClickException(f"nothing read: {reading.refused}")
    claims = claims_of(reading, file, kind or "issuer_release_copy", published, wall_now())
    if not claims:
        raise click.ClickException("whose figures these are is not said; give --issuer")
    return claims


def _body(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read(MAX_INPUT_BYTES)
    if source.startswith(("http://", "https://")):
        from tieline.cli import disclosures_fetch as fetching

        return _guard(lambda: fetching.page(source))
    try:
        with Path(source).open("rb") as file:
            return file.read(MAX_INPUT_BYTES)
    except OSError as error:
        raise click.ClickException(f"cannot read {source}: {error.strerror}; give a file, an address or -") from error


def _chain(epochs: Path | None) -> Chain:
    return shipped_chain() if epochs is None else _guard(lambda: extended(epochs.read_text("utf-8")))


def _book(facts: Path, as_of: str | None) -> Book:
    ours = _guard(lambda: book(FileKeeper(facts)))
    if as_of is None:
        return ours
    try:
        # A date means the end of that day.
        moment = parse_utc(as_of)
    except ValueError as error:
        raise click.BadParameter(f"{as_of!r} is no date; write YYYY-MM-DD", param_hint="--as-of") from error
    return ours.as_of(moment + timedelta(days=1) if len(as_of) == 10 else moment)


T = TypeVar("T")


def _guard(job: Callable[[], T]) -> T:
    """Errors that a person can mend are one line."""
    try:
        return job()
    except (KeepError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except (OSError, UnicodeError) as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error


def _report(done: Any, facts: Path, as_json: bool) -> None:
    if as_json:
        _dump(done)
    else:
        for one in done.documents:
            says = one.problem or f"{one.facts} facts, {one.new} new"
            click.echo(f"{one.published or '':10} {one.source}: {says}")
        click.echo(f"{len(done.documents)} documents, {done.kept.new} new facts kept in {facts}")
    if done.stopped is not None:
        raise click.ClickException(done.stopped)


def _table_text(table: Any) -> str:
    lines = [f"{table.month}"]
    coins = ("held", "unencumbered", "sold", "unexplained_outflow")
    names = ("produced", "per_ehs", "operating_share", "implied_realised", *coins, "hashcost", "ltv")
    lines.append(f"{'':8}{'rank':>5}" + "".join(f"{name[:12]:>14}" for name in names))
    for row in table.rows:
        values = (row.cells.get(name) for name in names)
        shown = ("" if cell is None else f"{cell.value:,f}{'*' if cell.computed else ''}" for cell in values)
        rank = row.ranks.get("produced", "-")
        lines.append(f"{row.issuer:8}{rank:>5}" + "".join(f"{text:>14}" for text in shown))
    lines.extend(f"sum {one.column}: {one.value:,f} {one.unit} over {len(one.miners)} miners" for one in table.sums)
    lines.extend(f"{gone.issuer}: {gone.says}" for gone in table.absent)
    lines.extend(["* computed. " + table.rule, ""])
    return "\n".join(lines)


def _counts(verdicts: list[Verdict]) -> dict[str, int]:
    names = ("holds", "rounding", "explained", "differs", "open")
    return {name: sum(1 for found in verdicts if found.outcome == name) for name in names}


def _dump(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.format(_ENCODER.encode(value), indent=2) + b"\n")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")
