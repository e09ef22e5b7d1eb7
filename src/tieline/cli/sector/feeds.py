"""`tieline disclosures fetch`: SEC EDGAR, the wires' feeds, a folder that files are dropped into.

Knows nothing of what a release says: the job of each source is in `disclosures_fetch`.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from tieline.cli.sector.shared import (
    dump,
    facts_option,
    guarded,
    json_option,
    kind_option,
    parse_date,
    published_option,
    report,
)  # fmt: skip
from tieline.clock import wall_now
from tieline.disclosures.facts.claims import SourceKind
from tieline.disclosures.facts.desk import CandidateFile, path_beside
from tieline.disclosures.facts.keep import FileKeeper, book


@click.group()
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
@click.option(
    "--unit-is-bitcoin",
    "bitcoin_units",
    multiple=True,
    help="Take tagged counts in this unit as bitcoin (a filer's 'pure').",
)
@click.option("--data-url", default=None, hidden=True)
@click.option("--www-url", default=None, hidden=True)
@_cache
@facts_option
@json_option
def edgar(since: str | None, user_agent: str | None, facts: Path, as_json: bool, **filer: Any) -> None:
    """A filer's 6-K and 8-K exhibits, its statements' tagged facts and SEC companyfacts."""
    from tieline.cli.sector import fetch as fetching

    if filer["ticker"] is None and filer["cik"] is None:
        raise click.UsageError("give --ticker or --cik")
    day = parse_date(since) if since is not None else (wall_now() - timedelta(days=365)).date()
    job = fetching.EdgarJob(since=day, user_agent=user_agent or "", **filer)
    report(
        guarded(lambda: fetching.run_edgar(job, FileKeeper(facts), wall_now(), CandidateFile(path_beside(facts)))),
        facts,
        as_json,
    )


@fetch.command()
@click.argument("url")
@click.option("--issuer", help="Ticker, where every item of the feed is one issuer's.")
@click.option("--matching", default="bitcoin|production|mining|operations? update", show_default=True)
@kind_option
@_cache
@facts_option
@json_option
def wire(
    url: str, issuer: str | None, matching: str, source_kind: SourceKind | None, cache: Path, facts: Path, as_json: bool
) -> None:
    """The releases behind an RSS or Atom feed, on the feed's own host."""
    from tieline.cli.sector import fetch as fetching

    job = fetching.WireJob(url, issuer, matching, source_kind, cache)
    report(
        guarded(lambda: fetching.run_wire(job, FileKeeper(facts), wall_now(), CandidateFile(path_beside(facts)))),
        facts,
        as_json,
    )


@fetch.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--issuer", help="Ticker, where every file is one issuer's.")
@published_option
@kind_option
@facts_option
@json_option
def folder(
    path: Path, issuer: str | None, published: str | None, source_kind: SourceKind | None, facts: Path, as_json: bool
) -> None:
    """Files dropped into a folder."""
    from tieline.cli.sector import fetch as fetching

    job = fetching.FolderJob(path, issuer, published, source_kind)
    report(
        guarded(lambda: fetching.run_folder(job, FileKeeper(facts), wall_now(), CandidateFile(path_beside(facts)))),
        facts,
        as_json,
    )


@click.command()
@click.option("--issuer", "issuers", multiple=True, help="Ticker; without one, every miner of the book.")
@click.option("--since", metavar="DATE", help="First day of filing; else sixty days ago.")
@click.option("--user-agent", envvar="TIELINE_SEC_USER_AGENT", help="Your name and e-mail address, as SEC asks.")
@click.option(
    "--wires",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".tieline") / "wires.csv",
    show_default=True,
    help="Feeds of wires and company pages, a line `TICKER,ADDRESS` each; none where there is no such file.",
)
@click.option("--only-wires", is_flag=True, help="Ask no EDGAR.")
@click.option("--data-url", default=None, hidden=True)
@click.option("--www-url", default=None, hidden=True)
@_cache
@facts_option
@json_option
def refresh(issuers: tuple[str, ...], since: str | None, wires: Path, facts: Path, as_json: bool, **asked: Any) -> None:
    """Ask EDGAR and the wires for every miner of the book, keep what is new, and say it in a line each.

    Runs again where it ended. Tested on a server that answers in EDGAR's and wires' recorded shapes; never yet on
    EDGAR itself.
    """
    from tieline.cli.sector import fetch as fetching

    day = parse_date(since) if since is not None else (wall_now() - timedelta(days=60)).date()
    agent, cache = asked["user_agent"] or "", asked["cache"]
    job = fetching.EdgarJob(None, None, day, agent, (), cache, asked["data_url"], asked["www_url"])
    feeds = guarded(lambda: fetching.feeds_of(wires, cache))
    if not asked["only_wires"]:
        guarded(lambda: fetching.named_agent(job))
    elif not feeds:
        raise click.UsageError(f"no feeds in {wires}: write a line TICKER,ADDRESS for each, or leave out --only-wires")
    wanted = [one.upper() for one in issuers] or sorted({*book(FileKeeper(facts)).issuers, *feeds})
    sources = fetching.Sources(None if asked["only_wires"] else job, feeds)

    def told(one: fetching.Refreshed) -> None:
        if not as_json:
            click.echo(f"{one.issuer:6} {one.says}")
            for line in one.contradicts:
                click.echo(f"       contradicts: {line}")

    desk = CandidateFile(path_beside(facts))
    done = guarded(lambda: fetching.refresh(wanted, sources, FileKeeper(facts), wall_now(), desk, told))
    if as_json:
        dump(done)
        return
    new, waiting, failed = sum(o.new for o in done), sum(o.candidates for o in done), sum(o.failed for o in done)
    click.echo(
        f"{len(done)} miners: {new} new facts, {waiting} new candidates on the desk, {failed} not asked to the end"
    )
