"""Listed miners by the names that their releases and the press use, with their tickers.

Knows nothing of layouts: a directory, not a set of rules, used to say whose figure a sentence prints. A company
that is not listed here is still read; its figures carry the issuer that the caller names, or none.
"""

from __future__ import annotations

import re

NAMES: dict[str, tuple[str, ...]] = {
    "ABTC": ("American Bitcoin",),
    "ANY": ("Sphere 3D",),
    "ARB": ("Argo Blockchain", "Argo"),
    "BITF": ("Bitfarms",),
    "BTBT": ("Bit Digital",),
    "BTCM": ("BIT Mining",),
    "BTCS": ("BTCS",),
    "BTDR": ("Bitdeer",),
    "BTOG": ("Bit Origin",),
    "CAN": ("Canaan", "嘉楠"),
    "CANG": ("Cango", "灿谷", "燦谷"),
    "CIFR": ("Cipher Mining", "Cipher Digital", "Cipher"),
    "CLSK": ("CleanSpark", "Cleanspark"),
    "CORZ": ("Core Scientific",),
    "DGHI": ("Digihost", "Digi Power X"),
    "DMGI": ("DMG Blockchain", "DMG"),
    "FUFU": ("BitFuFu", "Bitfufu"),
    "GREE": ("Greenidge",),
    "GRYP": ("Gryphon",),
    "HIVE": ("HIVE Digital", "HIVE Blockchain", "HIVE", "Hive"),
    "HUT": ("Hut 8", "Hut8"),
    "IREN": ("IREN", "Iris Energy", "Iren"),
    "LMFA": ("LM Funding",),
    "MARA": ("MARA Holdings", "Marathon Digital", "MARA", "Marathon"),
    "MIGI": ("Mawson",),
    "NB2": ("Northern Data",),
    "RIOT": ("Riot Platforms", "Riot Blockchain", "Riot"),
    "SAI": ("SAI.TECH", "SAIHEAT"),
    "SDIG": ("Stronghold",),
    "SLNH": ("Soluna",),
    "SOS": ("SOS Limited",),
    "WULF": ("TeraWulf", "Terawulf"),
    "BTCT": ("BTC Digital",),
    "MGT": ("MGT Capital",),
    "CBIT": ("Cathedra",),
    "NDA": ("Neptune Digital",),
    "BRTX": ("BitRiver",),
    "EBON": ("Ebang",),
    "NCTY": ("The9",),
    "FGDL": ("Phoenix Group",),
    "GDA": ("Genesis Digital Assets",),
    "RHDM": ("Rhodium",),
    "BITN": ("Bitnile", "Ault Alliance", "Hyperscale Data"),
}
_TICKER = {name: ticker for ticker, names in NAMES.items() for name in names}
_PATTERN = re.compile(
    r"(?<![A-Za-z])(?:" + "|".join(sorted(map(re.escape, _TICKER), key=len, reverse=True)) + r")(?![a-z])"
)
_LISTED = re.compile(
    r"\((?:NASDAQ|Nasdaq|NYSE(?: American)?|TSXV?|TSX-V|LSE|AIM|ASX|OTC\w*|ARCA)[^):]{0,20}:\s*(?P<ticker>[A-Z]{2,5})\b"
)


def mentions(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, str]]:
    """Where a known miner is named, with its ticker."""
    return [(m.start(), _TICKER[m[0]]) for m in _PATTERN.finditer(text, start, len(text) if end is None else end)]


def main_issuer(text: str, title: str | None) -> str | None:
    """The one company that a document is about: named in the title, else first with its exchange, else most named."""
    titled = {ticker for _, ticker in mentions(title or "")}
    if len(titled) == 1:
        return titled.pop()
    listed = _LISTED.search(text[:8000])
    if listed is not None and len(titled) < 2:
        return listed["ticker"]
    counts: dict[str, int] = {}
    for _, ticker in mentions(text[:60_000]):
        counts[ticker] = counts.get(ticker, 0) + 1
    if not counts:
        return None
    best = max(counts, key=lambda t: counts[t])
    return best if counts[best] * 2 > sum(counts.values()) else None
