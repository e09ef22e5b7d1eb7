"""Fetch, read, keep: what joins the feeds to the disclosures for the command line.

Each document is kept as soon as it is read, so a run that is cut short loses nothing and runs again cheaply.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tieline import __version__
from tieline.disclosures import xbrl
from tieline.disclosures.facts.claims import Claim, SourceKind
from tieline.disclosures.facts.desk import CandidateFile, WaitingCandidate, agreement
from tieline.disclosures.facts.keep import AppendResult, FileKeeper, book
from tieline.disclosures.intake import Origin, claims_of, claims_of_tagged, waiting_of
from tieline.disclosures.read import read
from tieline.feeds.cached import CachedFetcher, FetchError
from tieline.feeds.disclosures import FetchedDocument, from_edgar, from_folder, from_page, from_wire
from tieline.feeds.edgar import DATA, HOSTS, PER_SECOND, WWW, Edgar, check_user_agent
from tieline.feeds.wires import host_of

# Wires publish no limit; one page a second is what a person clicking quickly does.
WIRE_PER_SECOND = 1.0
_NAME = f"tieline/{__version__} (disclosures reader)"


@dataclass(frozen=True)
class EdgarJob:
    ticker: str | None
    cik: int | None
    since: date
    user_agent: str
    bitcoin_units: tuple[str, ...]
    cache: Path
    data_url: str | None = None
    www_url: str | None = None


@dataclass(frozen=True)
class WireJob:
    url: str
    issuer: str | None
    matching: str
    kind: SourceKind | None
    cache: Path


@dataclass(frozen=True)
class FolderJob:
    path: Path
    issuer: str | None
    published: str | None
    kind: SourceKind | None


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What one document gave."""

    source: str
    published: str | None
    facts: int = 0
    new: int = 0
    candidates: int = 0
    contradicts: tuple[str, ...] = ()
    """Figures that differ from what other sources in the book state."""
    notes: tuple[str, ...] = ()
    problem: str | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did. `stopped`: why it ended before the end; what was kept is kept."""

    documents: tuple[Taken, ...]
    kept: AppendResult
    stopped: str | None = None


def page(url: str) -> bytes:
    """One page, kept nowhere. Raises ValueError with what to do."""

    async def run() -> bytes:
        with tempfile.TemporaryDirectory() as cache:
            async with CachedFetcher(Path(cache), frozenset({host_of(url)}), _NAME, per_second=WIRE_PER_SECOND) as web:
                return (await from_page(web, url, "issuer")).body

    try:
        return asyncio.run(run())
    except FetchError as error:
        raise ValueError(str(error)) from error


def run_edgar(job: EdgarJob, keeper: FileKeeper, now: datetime, desk: CandidateFile | None = None) -> Done:
    agent = check_user_agent(job.user_agent)
    data, www = job.data_url or DATA, job.www_url or WWW
    hosts = HOSTS if job.data_url is None and job.www_url is None else frozenset({host_of(data), host_of(www)})

    async def run(take: Callable[[FetchedDocument], None]) -> None:
        async with CachedFetcher(job.cache, hosts, agent, per_second=PER_SECOND) as web:
            source = Edgar(web, data, www)
            cik = job.cik if job.cik is not None else await source.cik(job.ticker or "")
            async for document in from_edgar(source, cik, job.since):
                take(document)

    issuer = job.ticker.upper() if job.ticker is not None else f"CIK{job.cik}"
    return _collect(run, lambda document: _found(document, issuer, None, now, job.bitcoin_units), keeper, desk)


def run_wire(job: WireJob, keeper: FileKeeper, now: datetime, desk: CandidateFile | None = None) -> Done:
    async def run(take: Callable[[FetchedDocument], None]) -> None:
        hosts = frozenset({host_of(job.url)})
        async with CachedFetcher(job.cache, hosts, _NAME, per_second=WIRE_PER_SECOND) as web:
            async for document in from_wire(web, job.url, job.matching, "issuer"):
                take(document)

    return _collect(run, lambda document: _found(document, job.issuer, job.kind, now, ()), keeper, desk)


def run_folder(job: FolderJob, keeper: FileKeeper, now: datetime, desk: CandidateFile | None = None) -> Done:
    async def run(take: Callable[[FetchedDocument], None]) -> None:
        for document in from_folder(job.path, now, "issuer"):
            take(document)

    def found(document: FetchedDocument) -> Found:
        return _found(document, job.issuer, job.kind, now, (), job.published)

    return _collect(run, found, keeper, desk)


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """One miner of a refresh: what is new of it, in one line, or why it could not be asked."""

    issuer: str
    says: str
    new: int = 0
    candidates: int = 0
    contradicts: tuple[str, ...] = ()
    failed: bool = False


MAX_FEEDS = 200
"""Feeds of one file: a few for each of the forty miners that publish."""
MATCHING = "bitcoin|production|mining|operations? update"
"""Titles of a feed that may be a release on bitcoin."""


@dataclass(frozen=True)
class Sources:
    """Where a refresh asks: EDGAR, unless it is left out, and each miner's feeds."""

    edgar: EdgarJob | None
    feeds: dict[str, list[WireJob]]


def feeds_of(path: Path, cache: Path) -> dict[str, list[WireJob]]:
    """Ticker -> its feeds, of a file of lines `TICKER,ADDRESS`; empty where there is no file. Raises ValueError."""
    feeds: dict[str, list[WireJob]] = {}
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    urls = [(n, line.strip()) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if len(urls) > MAX_FEEDS:
        raise ValueError(f"{path}: {len(urls)} feeds, at most {MAX_FEEDS}; split the file")
    for number, line in urls:
        ticker, _, address = (part.strip() for part in line.partition(","))
        if not ticker or not address.startswith(("https://", "http://")):
            raise ValueError(f"{path}:{number}: {line!r} is no feed; write TICKER,https://address-of-the-feed")
        feeds.setdefault(ticker.upper(), []).append(WireJob(address, ticker.upper(), MATCHING, "issuer", cache))
    return feeds


def refresh(
    issuers: list[str],
    sources: Sources,
    keeper: FileKeeper,
    now: datetime,
    desk: CandidateFile | None,
    report: Callable[[Refreshed], None],
) -> list[Refreshed]:
    """Every issuer in turn from EDGAR and its feeds, each kept as it is read; one that fails is named, the next asked.

    Documents that were fetched before are not asked for again, so a run that was cut short goes on where it ended.
    """
    out = []
    for issuer in issuers:
        runs: list[Callable[[], Done]] = []
        if (job := sources.edgar) is not None:
            named = replace(job, ticker=TICKERS.get(issuer, issuer))
            runs.append(partial(run_edgar, named, keeper, now, desk))
        runs += [partial(run_wire, feed, keeper, now, desk) for feed in sources.feeds.get(issuer, ())]
        if runs:
            out.append(_refreshed(issuer, runs))
            report(out[-1])
    return out


def named_agent(job: EdgarJob) -> str:
    """The name and address that SEC asks for. Raises ValueError before anything is asked."""
    return check_user_agent(job.user_agent)


TICKERS = {"ARB": "ARBK", "DGHI": "DGXX", "DMGI": "DMGGF"}
"""Where SEC lists a miner under another ticker than the book."""


def _refreshed(issuer: str, runs: list[Callable[[], Done]]) -> Refreshed:
    """What all sources of one miner gave, in one line; a source that fails leaves the others."""
    read_ = new = waiting = 0
    failed: list[str] = []
    contradicts: list[str] = []
    for run in runs:
        try:
            done = run()
        except (FetchError, ValueError) as error:
            failed.append(f"not asked: {error}")
            continue
        good = [one for one in done.documents if one.problem is None]
        read_, new = read_ + len(good), new + sum(one.new for one in good)
        waiting += sum(one.candidates for one in good)
        # What was read before is not said again.
        contradicts += [line for one in good if one.new or one.candidates for line in one.contradicts]
        failed += [f"stopped: {done.stopped}"] if done.stopped is not None else []
    counts = (
        [f"{read_} documents read, {new} new facts, {waiting} new candidates"]
        if len(failed) < len(runs) or read_
        else []
    )
    says = "; ".join([*counts, *failed])
    return Refreshed(
        issuer=issuer, says=says, new=new, candidates=waiting, contradicts=tuple(contradicts), failed=bool(failed)
    )


class Found(msgspec.Struct, frozen=True):
    """What one document gave before it is kept."""

    claims: list[Claim]
    notes: tuple[str, ...] = ()
    refused: str | None = None
    waiting: list[WaitingCandidate] = []


def _collect(
    run: Callable[[Callable[[FetchedDocument], None]], Coroutine[Any, Any, None]],
    find: Callable[[FetchedDocument], Found],
    keeper: FileKeeper,
    desk: CandidateFile | None,
) -> Done:
    taken: list[Taken] = []
    new = already = 0
    ours = book(keeper, desk)

    def take(document: FetchedDocument) -> None:
        nonlocal new, already
        if document.problem is not None:
            taken.append(Taken(source=document.source, published=document.published, problem=document.problem))
            return
        reading = find(document)
        held = agreement(ours, [*reading.claims, *(one.claim() for one in reading.waiting)])
        appended = keeper.append(reading.claims)
        waiting = desk.put(reading.waiting) if desk is not None else 0
        new, already = new + appended.new, already + appended.already
        taken.append(
            Taken(
                source=document.source,
                published=document.published,
                facts=len(reading.claims),
                new=appended.new,
                candidates=waiting,
                contradicts=held.differ,
                notes=reading.notes,
                problem=reading.refused,
            )
        )

    stopped = None
    try:
        asyncio.run(run(take))
    except FetchError as error:
        stopped = str(error)
    return Done(documents=tuple(taken), kept=AppendResult(new, already), stopped=stopped)


def _found(
    document: FetchedDocument,
    issuer: str | None,
    kind: SourceKind | None,
    now: datetime,
    bitcoin_units: tuple[str, ...],
    published: str | None = None,
) -> Found:
    """Claims of one document, what waits for a person, remarks, and why there is nothing.

    Who speaks is said by the caller or by the place (an exhibit of a filing); else the text must show it.
    """
    day = document.published or published
    if document.content == "release":
        said = kind or ("sec_exhibit" if document.kind == "sec_exhibit" else None)
        reading = read(document.body, issuer=issuer, published=day, source_kind=said)
        origin = Origin(document.source, said, day, now)
        return Found(claims_of(reading, origin), reading.notes, reading.refused, waiting_of(reading, origin))
    parse = xbrl.companyfacts if document.content == "companyfacts" else xbrl.instance
    tagged = parse(document.body, issuer or "unknown", bitcoin_units)
    return Found(
        claims_of_tagged(tagged, document.source, kind or document.kind, day, now), tagged.notes, tagged.refused
    )
