"""What a table's row label (or the words before a colon) names: a field, and for which part of the company.

Knows nothing of layouts. A decision list over concepts (`data/labels.csv`), from the special to the common, because
`average Bitcoin produced per day` also contains `Bitcoin produced`. What fits no row names no field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tieline.disclosures.lexicon import words as w
from tieline.disclosures.lexicon.periods import Period, periods, shift
from tieline.disclosures.lexicon.printed import PRINTED
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.labels import BUSINESS, MINING, LabelRule, label_rules
from tieline.disclosures.rules.wordlists import COLUMNS, PROVES

_NO_SITE = COLUMNS | {"north", "us", "american", "america"}
"""Words that a label may end in without naming a site."""


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


_UNITS = {name: re.compile("|".join(ways), re.IGNORECASE) for name, ways in PRINTED.label_units.items()}
_FOOT, _KEEP, _TOTAL = phrases("note_in_label"), phrases("no_note"), phrases("total")
_HIDDEN = {ord("0") + digit: 0xE000 + digit for digit in range(10)}
_SHOWN = {hidden: digit for digit, hidden in _HIDDEN.items()}
_SITE = re.compile(r"\s[-:]\s+(?P<tail>[^-:]+)$")
_SITE_FIRST = re.compile(r"(?P<head>[A-Z][^-–:|]{2,40}?)\s+[-–]\s+(?P<label>[a-z].*)")
_EARLIER = phrases("earlier")


def clean(label: str) -> str:
    """A label without footnote marks, bullets and bars."""
    label = re.sub(r"\s+", " ", label.strip(" \n|:：-–*·.>"))
    kept = _KEEP.sub(lambda m: m[0].translate(_HIDDEN), label)
    return _FOOT.sub("", _FOOT.sub("", kept)).translate(_SHOWN).strip(" |:：-*")


def unit_in(label: str) -> str | None:
    """The unit that a label carries."""
    return next((name for name, pattern in _UNITS.items() if pattern.search(label)), None)


def period_in(label: str) -> Period | None:
    """The period that a label carries: `Bitcoin mined in October`."""
    spans = periods(label)
    return spans[0] if len(spans) == 1 else None


def earlier(label: str, period: str | None) -> str | None:
    """The month of a label that says `prior month` or `prior year`; else the one given."""
    m = _EARLIER.search(label)
    return period if m is None or period is None or len(period) != 7 else shift(period, -1 if m["month"] else -12)


@lru_cache(maxsize=4096)
def classify(label: str, value_unit: str | None = None, section: str = "") -> Label | None:
    """The field that a label names, given the unit of the values beside it and the heading above it."""
    text = clean(label)
    if not text or len(text) > 160 or len(text.split()) > 18:
        return None
    unit = value_unit or unit_in(text)
    row = _decide(text, unit, section)
    if row is None or row.field is None:
        return None
    return Label(row.field, _scope(text, row.field), unit_in(text), f"label:{row.rule}", row.weak)


def stray_words(label: str, field: str, scope: str | None = None) -> list[str]:
    """The words of a label, its dates taken out, that do not prove the field: each may name something else."""
    proves = PROVES.get(field, frozenset())
    words = [word.strip(".'-/") for word in re.sub(r"[^\w\s/.'%-]", " ", label).lower().split()]
    return [
        word
        for word in words
        if not proves.issuperset((word,))
        and not proves.issuperset(filter(None, word.split("/")))
        and not (scope and word in scope.lower())
    ]


def proven_field(name: str, unit: str | None) -> str | None:
    """The field that words beside a number prove; None where they fit only for want of another, or name a part."""
    label = classify(name, unit)
    if label is None or label.weak or label.scope is not None or stray_words(name, label.field):
        return None
    return label.field


def _scope(text: str, name: str) -> str | None:
    """The site or segment that a row is limited to; None for a total."""
    if name in ("hosted_btc_customers", "jv_share_btc", "btc_equivalent_not_coins") or _TOTAL.match(text):
        return None
    if (first := _site_before(text)) is not None:
        return first
    tail = _SITE.search(text)
    if tail is not None:
        named = tail["tail"].strip()
        plain = all(word.strip("()").lower() in _NO_SITE for word in named.split())
    else:
        named = _named(text)
        plain = False
    if not named or plain or any(p.search(named) for p in (_TOTAL, w.MONTH_END)) or re.match(r"[\d\W]", named):
        return None
    return named if period_in(named) is None and unit_in(named) is None else None


def _site_before(text: str) -> str | None:
    """The site that stands before what the row names: `Lake Mariner - bitcoin mined`."""
    m = _SITE_FIRST.match(text)
    if m is None or _NO_SITE.issuperset(re.findall(r"[^\W\d_]+", m["head"].lower())):
        return None
    return m["head"].strip() if classify(m["label"]) is not None else None


def _named(text: str) -> str:
    """The capitalised words that a label ends in, where others stand before them: `Bitcoin mined Lake Mariner`."""
    bracket = text.rfind("(")
    bare = re.sub(r"\([^()]*\)$", "", text).strip() if bracket >= 0 and unit_in(text[bracket:]) else text
    words = bare.split()
    first = len(words)
    while first and _is_name(words[first - 1].strip("(),")):
        first -= 1
    return " ".join(word.strip("(),") for word in words[first:]) if first else ""


def _is_name(word: str) -> bool:
    return re.fullmatch(r"[A-Z][A-Za-z'.&-]{2,}|II|III|IV|JV", word) is not None and word.lower() not in _NO_SITE


def _decide(text: str, unit: str | None, section: str) -> LabelRule | None:
    """The first row of `data/labels.csv` that fits."""
    other = w.OTHER_BUSINESS.search(text) or (w.OTHER_BUSINESS.search(section) and not w.BITCOIN.search(text))
    label = text + (BUSINESS if other else "") + (MINING if w.OF_MINING.search(section) else "")
    return next((rule for rule in label_rules(unit) if rule.fits(label)), None)
