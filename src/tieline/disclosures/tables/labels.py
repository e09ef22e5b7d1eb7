"""What a table's row label (or the words before a colon) names: a field, and for which part of the company.

Knows nothing of layouts. A decision list over the concepts of `words`, from the special to the common, because
`average Bitcoin produced per day` also contains `Bitcoin produced`. What fits no line names no field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tieline.disclosures.lexicon import words as w
from tieline.disclosures.lexicon.commons import COMMON
from tieline.disclosures.lexicon.periods import Period, periods
from tieline.disclosures.rules.labels import BUSINESS, MINING, ROWS


@dataclass(frozen=True, slots=True)
class Label:
    """The field that a label names."""

    field: str
    scope: str | None = None
    unit: str | None = None
    """The unit written in the label itself: `(PH/s)`."""
    rule: str = ""
    weak: bool = False
    """The label fits only because nothing else in it contradicts."""


_UNITS = (
    ("EH/s", r"\beh ?/ ?s(?:ec(?:ond)?)?\b|\bexa ?hash|\beh\b"), ("PH/s", r"\bph ?/ ?s(?:ec(?:ond)?)?\b|\bpeta ?hash|\bph\b"),
    ("TH/s", r"\bth ?/ ?s\b(?!.*[jw] ?/ ?th)"), ("J/TH", r"\b[jw](?:atts?)? ?/ ?th\b|\bwatts?/th\b|\bjoules? per tera"),
    ("USD/MWh", r"(?:\$|usd|us\$) ?(?:/|per) ?mwh|\bper mwh\b|/mwh"),
    ("USD/kWh", r"(?:\$|usd|¢|c|cents?) ?(?:/|per) ?kwh|\bper kwh\b|/kwh"), ("MW", r"\bmw\b|\bmegawatt"),
    ("kUSD", r"\$ ?(?:'000|000s?|thousands?|in thousands)|\b(?:in|usd|us\$) thousands\b|\$k\b|千美元"), ("mUSD", r"\$ ?(?:mm?|millions?|in millions)\b|\bin millions\b|\$m\b|百万美元"),
    ("USD", r"\(\s*(?:in )?(?:us ?|\$ ?)?(?:\$|usd|us dollars?|dollars)\s*\)|\(\$usd\)|\busd\b|美元"), ("%", r"\(%\)|\bpercentage\b|%$"),
    ("BTC", r"\((?:in )?(?:btc|bitcoins?|coins)\)"),
)  # fmt: skip
_UNIT_PATTERNS = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _UNITS)
_FOOT = re.compile(
    r"(?<=[^\W\d_)])\d{1,2}(?:,\d{1,2})*(?=$|\s|\()|(?<=[\w)])\s*\[\d{1,2}\]|\s+\d(?:\s?,\s?\d)*$|\(\d{1,2}\)|[*†‡]+"
)
_KEEP = re.compile(r"\b(?:s\d\d|m\d\d|q\d|h\d{2,3}|cy\d+|fy\d+)\b", re.IGNORECASE)
_TOTAL = re.compile(
    r"\b(?:total|combined|consolidated|company|group|overall|fleet|portfolio|gesamt|totale?s?)\b|总|總|合计",
    re.IGNORECASE,
)
_SITE = re.compile(r"\s[-:]\s+(?P<tail>[^-:]+)$")


def clean(label: str) -> str:
    """A label without footnote marks, bullets and bars."""
    label = re.sub(r"\s+", " ", label.strip(" \n|:：-–*·.>"))
    kept = _KEEP.sub(
        lambda m: m[0].replace(m[0], "".join(chr(ord(c) + 0xE000) if c.isdigit() else c for c in m[0])), label
    )
    kept = _FOOT.sub("", kept)
    kept = _FOOT.sub("", kept)
    return re.sub(r"[\ue000-\ue0ff]", lambda m: chr(ord(m[0]) - 0xE000), kept).strip(" |:：-*")


def unit_in(label: str) -> str | None:
    """The unit that a label carries."""
    for name, pattern in _UNIT_PATTERNS:
        if pattern.search(label):
            return name
    return None


def period_in(label: str) -> Period | None:
    """The period that a label carries: `Bitcoin mined in October`."""
    found = periods(label)
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=4096)
def classify(label: str, value_unit: str | None = None, section: str = "") -> Label | None:
    """The field that a label names, given the unit of the values beside it and the heading above it."""
    text = clean(label)
    if not text or len(text) > 160 or len(text.split()) > 18:
        return None
    unit = value_unit or unit_in(text) or None
    found = _decide(text, unit, section)
    if found is None:
        return None
    name, rule, weak = found
    return Label(name, _scope(text, name), unit_in(text), rule, weak)


def _scope(text: str, name: str) -> str | None:
    """The site or segment that a row is limited to; None for a total."""
    if name in ("hosted_btc_customers", "jv_share_btc", "btc_equivalent_not_coins"):
        return None
    tail = _SITE.search(text)
    candidate: str | None = None
    if tail is not None:
        candidate = tail["tail"].strip()
        if all(word.strip("()").lower() in COMMON for word in candidate.split()):
            return None
    else:
        bare = (
            re.sub(r"\((?:[^()]*)\)$", "", text).strip()
            if unit_in(text[text.rfind("(") :] if "(" in text else "")
            else text
        )
        named: list[str] = []
        for word in reversed(re.split(r"\s+", bare)):
            core = word.strip("(),")
            if not re.fullmatch(r"[A-Z][A-Za-z'.&-]{2,}|II|III|IV|JV", core) or core.lower() in COMMON:
                break
            named.insert(0, core)
        if named and len(named) < len(bare.split()):
            candidate = " ".join(named)
    if not candidate or _TOTAL.search(candidate) or _TOTAL.match(text):
        return None
    if (
        w.MONTH_END.search(candidate)
        or period_in(candidate) is not None
        or re.match(r"[\d\W]", candidate)
        or unit_in(candidate) is not None
    ):
        return None
    return candidate


def _decide(text: str, unit: str | None, section: str) -> tuple[str, str, bool] | None:
    """The first row of `rules.labels` that fits."""
    other = w.OTHER_BUSINESS.search(text) or (w.OTHER_BUSINESS.search(section) and not w.BITCOIN.search(text))
    mining = re.search(r"mining|mined|bitcoin|btc|挖矿|挖礦", section, re.IGNORECASE)
    label = text + (BUSINESS if other else "") + (MINING if mining else "")
    for row in ROWS:
        if row.units is not None and unit not in row.units:
            continue
        if not all(p.search(label) for p in row.needs) or (row.some and not any(p.search(label) for p in row.some)):
            continue
        if any(p.search(label) for p in row.never):
            continue
        if row.field == "hashrate":
            return _hashrate(text)
        return None if row.field is None else (row.field, f"label:{row.rule}", row.weak)
    return None


def _hashrate(text: str) -> tuple[str, str, bool] | None:
    def said(*patterns: re.Pattern[str]) -> bool:
        return any(p.search(text) for p in patterns)

    if said(w.EFFICIENCY, w.COST, w.REVENUE, w.DELTA) or re.search(
        r"utili[sz]ation|uptime|hashprice|%", text, re.IGNORECASE
    ):
        return None
    if said(w.POTENTIAL):
        return "potential_phs", "label:potential", False
    if said(w.MANAGED) and not re.search(r"\bself[- ]?min", text, re.IGNORECASE):
        return "managed_ehs", "label:managed", False
    own = re.search(r"\bself[- ]?min|\bproprietary|自营|自營", text, re.IGNORECASE)
    if said(w.CUSTOMERS) and not own:
        return None
    if said(w.AVERAGE):
        return (
            ("avg_operating_ehs", "label:average", False)
            if not re.search(r"deployed|installed|部署", text, re.IGNORECASE)
            else None
        )
    rated = re.search(
        r"deployed|installed|energi[sz]ed|nameplate|capacity|peak|rated|current|active|plugged|install|deploy|kapazität|capaci|instal|despleg|部署|装机|裝機|安装|安裝|設置|導入",
        text,
        re.IGNORECASE,
    )
    if rated:
        if re.search(r"\btotal\b", text, re.IGNORECASE) and re.search(r"energi[sz]ed", text, re.IGNORECASE) and not own:
            return "deployed_ehs", "label:rated-total", False
        return "deployed_ehs", "label:rated", False
    if said(w.SELF_OWNED):
        return "self_owned_ehs", "label:self-owned", False
    if said(w.OPERATING) or said(w.MONTH_END):
        return "operating_month_end_ehs", "label:operating", False
    bare = re.fullmatch(
        r"(?:bitcoin |btc |mining |total )*(?:hash ?-?rate|hash power|hashpower|算力|hashleistung|taux de hachage|tasa de hash|ハッシュレート)(?: ?\([^)]*\))?",
        text,
        re.IGNORECASE,
    )
    if bare:
        if re.search(r"total", text, re.IGNORECASE):
            return "deployed_ehs", "label:total-hashrate", True
        return "avg_operating_ehs", "label:bare-hashrate", True
    return None
