"""Fetch, read, keep: what joins the feeds to the disclosures for the command line.

Each document is kept as soon as it is read, so a run that is cut short loses nothing and runs again cheaply.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import msgspec

from tieline import __version__
from tieline.disclosures import xbrl
from tieline.disclosures.claims import Claim, SourceKind
from tieline.disclosures.intake import claims_of, claims_of_tagged
from tieline.disclosures.keep import Keeper, Kept
from tieline.disclosures.read import read
from tieline.feeds.disclosures import Document, from_edgar, from_folder, from_page, from_wire
from tieline.feeds.edgar import DATA, HOSTS, PER_SECOND, WWW, Edgar, check_user_agent
from tieline.feeds.polite import FetchError, Polite
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
    kind: SourceKind
    cache: Path


@dataclass(frozen=True)
class FolderJob:
    path: Path
    issuer: str | None
    published: str | None
    kind: SourceKind


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What one document gave."""

    source: str
    published: str | None
    facts: int = 0
    new: int = 0
    notes: tuple[str, ...] = ()
    problem: str | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did. `stopped`: why it ended before the end; what was kept is kept."""

    documents: tuple[Taken, ...]
    kept: Kept
    stopped: str | None = None


def page(url: str) -> bytes:
    """One page, kept nowhere. Raises ValueError with what to do."""

    async def run() -> bytes:
        with tempfile.TemporaryDirectory() as cache:
            async with Polite(Path(cache), frozenset({host_of(url)}), _NAME, per_second=WIRE_PER_SECOND) as web:
                return (await from_page(web, url, "issuer")).body

    try:
        return asyncio.run(run())
    except FetchError as error:
        raise ValueError(str(error)) from error


def run_edgar(job: EdgarJob, keeper: Keeper, now: datetime) -> Done:
    agent = check_user_agent(job.user_agent)
    data, www = job.data_url or DATA, job.www_url or WWW
    hosts = HOSTS if job.data_url is None and job.www_url is None else frozenset({host_of(data), host_of(www)})

    async def run(take: Callable[[Document], None]) -> None:
        async with Polite(job.cache, hosts, agent, per_second=PER_SECOND) as web:
            source = Edgar(web, data, www)
            cik = job.cik if job.cik is not None else await source.cik(job.ticker or "")
            async for document in from_edgar(source, cik, job.since):
                take(document)

    issuer = job.ticker.upper() if job.ticker is not None else f"CIK{job.cik}"
    return _collect(run, lambda document: _claims(document, issuer, None, now, job.bitcoin_units), keeper)


def run_wire(job: WireJob, keeper: Keeper, now: datetime) -> Done:
    async def run(take: Callable[[Document], None]) -> None:
        hosts = frozenset({host_of(job.url)})
        async with Polite(job.cache, hosts, _NAME, per_second=WIRE_PER_SECOND) as web:
            async for document in from_wire(web, job.url, job.matching, "issuer"):
                take(document)

    return _collect(run, lambda document: _claims(document, job.issuer, job.kind, now, ()), keeper)


def run_folder(job: FolderJob, keeper: Keeper, now: datetime) -> Done:
    async def run(take: Callable[[Document], None]) -> None:
        for document in from_folder(job.path, now, "issuer"):
            take(document)

    def claims(document: Document) -> tuple[list[Claim], tuple[str, ...], str | None]:
        return _claims(document, job.issuer, job.kind, now, (), job.published)

    return _collect(run, claims, keeper)


def _collect(
    run: Callable[[Callable[[Document], None]], object],
    claims: Callable[[Document], tuple[list[Claim], tuple[str, ...], str | None]],
    keeper: Keeper,
) -> Done:
    taken: list[Taken] = []
    new = already = 0

    def take(document: Document) -> None:
        nonlocal new, already
        if document.problem is not None:
            taken.append(Taken(source=document.source, published=document.published, problem=document.problem))
            return
        found, notes, refused = claims(document)
        kept = keeper.append(found)
        new, already = new + kept.new, already + kept.already
        taken.append(
            Taken(
                source=document.source,
                published=document.published,
                facts=len(found),
                new=kept.new,
                notes=notes,
                problem=refused,
            )
        )

    stopped = None
    try:
        asyncio.run(run(take))  # type: ignore[arg-type]
    except FetchError as error:
        stopped = str(error)
    return Done(documents=tuple(taken), kept=Kept(new, already), stopped=stopped)


def _claims(
    document: Document,
    issuer: str | None,
    kind: SourceKind | None,
    now: datetime,
    bitcoin_units: tuple[str, ...],
    published: str | None = None,
) -> tuple[list[Claim], tuple[str, ...], str | None]:
    """Claims of one document, remarks, and why there are none."""
    day, witness = document.published or published, kind or document.kind
    if document.content == "release":
        said = kind or (document.kind if document.kind.startswith("sec") else None)
        reading = read(document.body, issuer=issuer, published=day, source_kind=said)
        return claims_of(reading, document.source, said, day, now), reading.notes, reading.refused
    parse = xbrl.companyfacts if document.content == "companyfacts" else xbrl.instance
    tagged = parse(document.body, issuer or "unknown", bitcoin_units)
    return claims_of_tagged(tagged, document.source, witness, day, now), tagged.notes, tagged.refused
