"""SEC EDGAR: a filer's submissions, the exhibits of its 6-K and 8-K, and its tagged facts.

Knows nothing of what a release says. SEC asks for at most ten requests a second and a User-Agent with a name
and an e-mail address (sec.gov, "Accessing EDGAR Data"); both are kept here. Documents of a filing never
change, so each is fetched once; the list of submissions is asked for conditionally.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from tieline.feeds.cached import CachedFetcher, FetchError
from tieline.intake import IntakeError, read

DATA, WWW = "https://data.sec.gov", "https://www.sec.gov"
HOSTS = frozenset({"data.sec.gov", "www.sec.gov"})
# Ten a second are allowed for all of a user's machines together; this is one of them.
PER_SECOND = 8.0

# Where miners print months and quarters: foreign filers on 6-K, 20-F, 40-F; others on 8-K, 10-Q, 10-K.
RELEASES = ("6-K", "8-K", "6-K/A", "8-K/A")
STATEMENTS = ("10-Q", "10-K", "20-F", "40-F", "10-Q/A", "10-K/A", "20-F/A")
# A filer has some hundred filings a year; thirty pages of a thousand are more than any has.
MAX_PAGES = 30
# The facts of the oldest filers are 30 MB.
MAX_JSON_BYTES = 200_000_000
# An 8-K has a handful of exhibits.
MAX_EXHIBITS = 20

_EXHIBIT_99 = re.compile(r"(?:ex|exhibit|dex)[-_. ]?99|(?:^|[-_.])a?99[-_.]\d", re.IGNORECASE)
_DOCUMENT = re.compile(r"\.(?:html?|txt|pdf)$", re.IGNORECASE)
_NOT_A_DOCUMENT = re.compile(r"^R\d+\.html?$|-index(?:-headers)?\.html?$|^FilingSummary", re.IGNORECASE)
_LINKBASE = re.compile(r"_(?:cal|def|lab|pre)\.xml$|FilingSummary\.xml$", re.IGNORECASE)
_ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")


@dataclass(frozen=True)
class Filing:
    cik: int
    accession: str
    form: str
    filed: str
    primary: str

    @property
    def folder(self) -> str:
        return f"/Archives/edgar/data/{self.cik}/{self.accession.replace('-', '')}"


def check_user_agent(text: str) -> str:
    """SEC refuses requests without a name and an address; so do we, before the first. Raises ValueError."""
    if not re.fullmatch(r"[^\r\n]*\S[^\r\n]*\s[^\s@]+@[^\s@]+\.[^\s@]+[^\r\n]*", text.strip()) or "example." in text:
        raise ValueError(
            "SEC asks for a User-Agent with your name and e-mail address, such as 'Jane Doe jane@doe.org': "
            "give --user-agent or set TIELINE_SEC_USER_AGENT"
        )
    return text.strip()


class Edgar:
    """Reads EDGAR through a polite client whose hosts include the two bases."""

    def __init__(self, web: CachedFetcher, data: str = DATA, www: str = WWW) -> None:
        self._web, self._data, self._www = web, data, www

    async def cik(self, ticker: str) -> int:
        """The filer's number by ticker, from SEC's own list. Raises FetchError for an unknown one."""
        listed = await self._json(f"{self._www}/files/company_tickers.json")
        for row in listed.values():
            if isinstance(row, dict) and str(row.get("ticker", "")).upper() == ticker.upper():
                return int(row["cik_str"])
        raise FetchError(f"SEC lists no ticker {ticker!r}; give the filer's number with --cik")

    async def filings(self, cik: int, since: date, forms: tuple[str, ...]) -> list[Filing]:
        """Filings of these forms since a day, newest first. Older pages are read only where needed."""
        first = await self._json(f"{self._data}/submissions/CIK{cik:010d}.json")
        try:
            pages = first["filings"].get("files", [])[:MAX_PAGES]
            filings = _filings(cik, first["filings"]["recent"])
            for page in pages:
                if str(page.get("filingTo", "9999")) >= since.isoformat():
                    name = str(page["name"])
                    if not re.fullmatch(r"[\w.-]+\.json", name):
                        raise FetchError(f"submissions of {cik} name a page {name!r}")
                    filings.extend(_filings(cik, await self._json(f"{self._data}/submissions/{name}")))
        except (KeyError, TypeError, AttributeError) as error:
            raise FetchError(f"submissions of {cik} have another shape than expected: {error!r}") from error
        wanted = [one for one in filings if one.form in forms and one.filed >= since.isoformat()]
        return sorted(wanted, key=lambda one: (one.filed, one.accession), reverse=True)

    async def exhibits(self, filing: Filing) -> list[str]:
        """Addresses of a filing's press releases: its exhibits 99, else its documents."""
        names = [name for name in await self._names(filing) if _DOCUMENT.search(name)]
        names = [name for name in names if not _NOT_A_DOCUMENT.search(name) and not _is_full_text(name)]
        releases = [name for name in names if _EXHIBIT_99.search(name)]
        if not releases:
            releases = [filing.primary] if filing.primary in names else names
        return [f"{self._www}{filing.folder}/{name}" for name in releases[:MAX_EXHIBITS]]

    async def instance(self, filing: Filing) -> str | None:
        """Address of the filing's extracted instance of tagged facts; None where it has none."""
        names = [name for name in await self._names(filing) if name.lower().endswith(".xml")]
        names = [name for name in names if not _LINKBASE.search(name)]
        extracted = [name for name in names if name.lower().endswith("_htm.xml")]
        chosen = extracted or [name for name in names if re.search(r"-\d{8}\.xml$", name)]
        return f"{self._www}{filing.folder}/{chosen[0]}" if chosen else None

    async def document(self, url: str) -> tuple[bytes, bool]:
        """A document of a filing, and whether it is new here. It never changes."""
        answer = await self._web.get(url, immutable=True)
        return answer.body, answer.status == "new"

    async def companyfacts(self, cik: int) -> tuple[bytes, bool]:
        """SEC's companyfacts, and whether they are new or changed since the last time."""
        answer = await self._web.get(f"{self._data}/api/xbrl/companyfacts/CIK{cik:010d}.json")
        return answer.body, answer.status in ("new", "changed")

    async def _names(self, filing: Filing) -> list[str]:
        # The folder's listing is final once the filing is out, like its documents.
        url = f"{self._www}{filing.folder}/index.json"
        listing = _parsed(url, (await self._web.get(url, immutable=True)).body)
        try:
            names = [str(item["name"]) for item in listing["directory"]["item"]]
        except (KeyError, TypeError) as error:
            raise FetchError(f"the listing of {filing.accession} has another shape than expected: {error!r}") from error
        # A name is a file of this folder: nothing that climbs out of it.
        return [name for name in names if re.fullmatch(r"[\w.()+ -]+", name) and not name.startswith(".")]

    async def _json(self, url: str) -> dict[str, Any]:
        return _parsed(url, (await self._web.get(url)).body)


def _parsed(url: str, body: bytes) -> dict[str, Any]:
    try:
        content = read(body, json.loads, MAX_JSON_BYTES)
    except IntakeError as error:
        raise FetchError(f"{url}: no JSON ({error}); the server sent something else") from error
    if not isinstance(content, dict):
        raise FetchError(f"{url}: not the shape expected")
    return content


def _filings(cik: int, columns: dict[str, list[Any]]) -> list[Filing]:
    """Submissions come as columns of equal length."""
    rows = zip(
        columns["accessionNumber"], columns["form"], columns["filingDate"], columns["primaryDocument"], strict=True
    )
    try:
        return [
            Filing(cik, accession, str(form), str(filed), str(primary))
            for accession, form, filed, primary in rows
            if _ACCESSION.fullmatch(str(accession))
        ]
    except ValueError as error:
        raise FetchError(f"submissions of {cik} have columns of unequal length") from error


def _is_full_text(name: str) -> bool:
    """`0001104659-26-012345.txt` holds every document of the filing at once."""
    return re.fullmatch(r"\d{10}-\d{2}-\d{6}\.txt", name) is not None
