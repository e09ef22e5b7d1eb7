"""Listed miners by the names that their releases and the press use, with their tickers.

Knows nothing of layouts: a directory, not a set of rules, used to say whose figure a sentence prints. A company
that is not listed here is still read; its figures carry the issuer that the caller names, or none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from tieline.disclosures.data import shipped_toml
from tieline.disclosures.lexicon.words import phrases

NAMES = shipped_toml("issuers.toml", dict[str, list[str]])
"""Ticker -> names."""
_TICKER = {name: ticker for ticker, names in NAMES.items() for name in names}
_PATTERN = re.compile(
    r"(?<![A-Za-z])(?:" + "|".join(sorted(map(re.escape, _TICKER), key=len, reverse=True)) + r")(?![a-z])"
)
_LISTED = re.compile(rf"\((?:{phrases('exchanges').pattern})[^):]{{0,20}}:\s*(?P<ticker>[A-Z]{{2,5}})\b")
_HEADING = phrases("head_of_part")


@lru_cache(maxsize=8)
def mentions(text: str) -> tuple[tuple[int, str], ...]:
    """Where a known miner is named, with its ticker. Kept, since several readers ask it of one text."""
    return tuple((m.start(), _TICKER[m[0]]) for m in _PATTERN.finditer(text))


def headed(text: str, named: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """With them the companies over a part of a roundup that the directory does not know: `1. Heron Compute (HRNC):`."""
    known = {at for at, _ in named}
    headings = [(m.start("name"), m["ticker"]) for m in _HEADING.finditer(text)]
    if len(headings) < 2 or not any(m[0] in known for m in headings):
        return list(named)
    return sorted({*named, *(m for m in headings if m[0] not in known)})


def main_issuer(text: str, title: str | None) -> str | None:
    """The one company that a document is about: named in the title, else first with its exchange, else most named."""
    titled = {ticker for _, ticker in mentions(title or "")}
    if len(titled) == 1:
        return titled.pop()
    listed = _LISTED.search(text[:8000])
    if listed is not None and len(titled) < 2:
        return listed["ticker"]
    counts = Counter(ticker for _, ticker in mentions(text[:60_000]))
    return next((ticker for ticker, times in counts.items() if times * 2 > counts.total()), None)
