"""Documents of miners from the outside world: EDGAR, wires, a drop folder.

Gives bytes with their source, date and kind; what they say is for `disclosures` to read. Fetching twice costs
next to nothing: immutable pages come from the cache and the rest is asked for conditionally, so a run that
was cut short simply runs again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from tieline.feeds.cached import CachedFetcher, FetchError
from tieline.feeds.edgar import RELEASES, STATEMENTS, Edgar
from tieline.feeds.wires import dropped, host_of, items

Kind = Literal["issuer", "sec_exhibit", "sec_xbrl_render", "news_of_release"]
Content = Literal["release", "companyfacts", "instance"]


@dataclass(frozen=True)
class FetchedDocument:
    """One document as it came, or why it could not be had."""

    source: str
    kind: Kind
    content: Content
    body: bytes
    published: str | None
    new: bool
    problem: str | None = None


async def from_edgar(edgar: Edgar, cik: int, since: date, *, tagged: bool = True) -> AsyncIterator[FetchedDocument]:
    """Releases since a day, newest first; then tagged facts: companyfacts, and the instance of each statement.

    A document that cannot be had is told and passed over; a failure of the list itself is raised.
    """
    for filing in await edgar.filings(cik, since, RELEASES):
        try:
            addresses = await edgar.exhibits(filing)
        except FetchError as error:
            yield FetchedDocument(filing.accession, "sec_exhibit", "release", b"", filing.filed, False, str(error))
            continue
        for address in addresses:
            yield await _document(edgar, address, "release", filing.filed)
    if not tagged:
        return
    for filing in await edgar.filings(cik, since, STATEMENTS):
        try:
            url = await edgar.instance(filing)
        except FetchError as error:
            yield FetchedDocument(filing.accession, "sec_xbrl_render", "instance", b"", filing.filed, False, str(error))
            continue
        if url is not None:
            yield await _document(edgar, url, "instance", filing.filed)
    try:
        body, new = await edgar.companyfacts(cik)
    except FetchError as error:
        # Filers without tagged facts have no such page.
        yield FetchedDocument(f"companyfacts of {cik}", "sec_xbrl_render", "companyfacts", b"", None, False, str(error))
        return
    yield FetchedDocument(f"SEC companyfacts CIK{cik:010d}", "sec_xbrl_render", "companyfacts", body, None, new)


async def _document(edgar: Edgar, url: str, content: Content, filed: str) -> FetchedDocument:
    kind: Kind = "sec_exhibit" if content == "release" else "sec_xbrl_render"
    try:
        body, new = await edgar.document(url)
    except FetchError as error:
        return FetchedDocument(url, kind, content, b"", filed, False, str(error))
    return FetchedDocument(url, kind, content, body, filed, new)


async def from_wire(web: CachedFetcher, url: str, matching: str | None, kind: Kind) -> AsyncIterator[FetchedDocument]:
    """The pages behind a feed's items, on the feed's own host."""
    own = host_of(url)
    for item in await items(web, url, matching):
        if not item.link.startswith(("http://", "https://")) or host_of(item.link) != own:
            yield FetchedDocument(
                item.link, kind, "release", b"", item.published, False, f"leads away from {own}; not followed"
            )
            continue
        try:
            answer = await web.get(item.link)
        except FetchError as error:
            yield FetchedDocument(item.link, kind, "release", b"", item.published, False, str(error))
            continue
        new = answer.status in ("new", "changed")
        yield FetchedDocument(item.link, kind, "release", answer.body, item.published, new)


async def from_page(web: CachedFetcher, url: str, kind: Kind) -> FetchedDocument:
    """One page by its address. Raises FetchError."""
    answer = await web.get(url)
    return FetchedDocument(url, kind, "release", answer.body, None, answer.status in ("new", "changed"))


def from_folder(folder: Path, now: datetime, kind: Kind) -> list[FetchedDocument]:
    """Files that a person dropped, by name; those left come with the reason."""
    return [
        FetchedDocument(item.path.name, kind, "release", item.body or b"", None, item.body is not None, item.left)
        for item in dropped(folder, now)
    ]
