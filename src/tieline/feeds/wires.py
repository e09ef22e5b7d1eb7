"""Release wires by RSS or Atom, and a folder to drop files into.

Knows nothing of what a release says. A feed's links are followed only to the feed's own host: a feed is
somebody else's text.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from tieline.feeds.cached import CachedFetcher, FetchError

# Wires list the last 20 to 100 releases.
MAX_ITEMS = 200
MAX_FEED_BYTES = 8 * 2**20
# A folder of dropped files is emptied by a person now and then.
MAX_FILES = 2_000
MAX_FILE_BYTES = 50 * 2**20
# A file touched within this time may still be being written.
SETTLED = timedelta(seconds=2)
ENDINGS = frozenset({".html", ".htm", ".txt", ".md", ".pdf", ".json", ".csv", ".tsv"})

_ATOM = "{http://www.w3.org/2005/Atom}"


@dataclass(frozen=True)
class WireItem:
    title: str
    link: str
    published: str | None


@dataclass(frozen=True)
class Dropped:
    """A file, or why it was left."""

    path: Path
    body: bytes | None
    modified: datetime
    left: str | None = None


def host_of(url: str) -> str:
    """The host whose pages a feed may lead to. Raises ValueError for an address without one."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{url!r} is no web address; write https://...")
    return parts.netloc


async def items(web: CachedFetcher, url: str, matching: str | None = None) -> list[WireItem]:
    """A feed's items whose title matches. Raises FetchError."""
    answer = await web.get(url)
    entries = list(parse(answer.body, url))
    if matching is not None:
        try:
            wanted = re.compile(matching, re.IGNORECASE)
        except re.error as error:
            raise FetchError(f"{matching!r} is no pattern: {error}") from error
        entries = [item for item in entries if wanted.search(item.title)]
    return entries


def parse(body: bytes, url: str) -> Iterator[WireItem]:
    """Items of RSS 2.0 or Atom. Raises FetchError for anything else."""
    if len(body) > MAX_FEED_BYTES:
        raise FetchError(f"{url}: {len(body):,} bytes are more than a feed has")
    # A feed has no document type with entities; one that has could swell on reading.
    if b"<!ENTITY" in body:
        raise FetchError(f"{url}: declares entities; not read")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise FetchError(f"{url}: no feed ({error})") from error
    entries = [*root.iter("item"), *root.iter(f"{_ATOM}entry")]
    if not entries and root.tag not in ("rss", f"{_ATOM}feed"):
        raise FetchError(f"{url}: no feed (its root is {root.tag})")
    for entry in entries[:MAX_ITEMS]:
        title = entry.findtext("title") or entry.findtext(f"{_ATOM}title") or ""
        link = _link(entry)
        when = entry.findtext("pubDate") or entry.findtext(f"{_ATOM}published") or entry.findtext(f"{_ATOM}updated")
        try:
            address = urljoin(url, link)
        except ValueError:  # no address at all, such as `http://[`: it costs itself, not the feed
            continue
        if link:
            yield WireItem(" ".join(title.split()), address, _day(when))


def _link(entry: ElementTree.Element) -> str:
    """An item's address: the text of RSS, or Atom's alternate link; empty where there is none."""
    if link := (entry.findtext("link") or "").strip():
        return link
    links = entry.findall(f"{_ATOM}link")
    chosen = next((one for one in links if one.get("rel", "alternate") == "alternate"), None)
    return (chosen.get("href") or "").strip() if chosen is not None else ""


def _day(text: str | None) -> str | None:
    """The day of an item, from either of the two ways feeds write time; None also for the first day of a clock that
    was never set (1970, or the year 1)."""
    if text is None:
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            day = read(text.strip()).date()
            return day.isoformat() if day.year >= 2009 else None
        except ValueError:
            continue
    return None


def dropped(folder: Path, now: datetime) -> Iterator[Dropped]:
    """Files of a folder by name. Links, hidden files and files still being written are left, and it says so."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise FetchError(f"cannot read {folder}: {error.strerror}; give a folder that exists") from error
    for index, path in enumerate(paths):
        if index >= MAX_FILES:
            raise FetchError(f"{folder} has more than {MAX_FILES:,} files; move those read to another folder")
        if path.is_symlink() or not path.is_file():
            continue
        try:
            stat = path.stat()
            modified = datetime.fromtimestamp(stat.st_mtime, UTC)
            left = None
            if path.suffix.lower() not in ENDINGS:
                left = f"its ending is none of {' '.join(sorted(ENDINGS))}"
            elif stat.st_size > MAX_FILE_BYTES:
                left = f"{stat.st_size:,} bytes are more than a release has"
            elif now - modified < SETTLED:
                left = "it is still being written; it is read next time"
            yield Dropped(path, None if left is not None else path.read_bytes(), modified, left)
        except OSError as error:
            yield Dropped(path, None, now, f"cannot be read: {error.strerror}")
