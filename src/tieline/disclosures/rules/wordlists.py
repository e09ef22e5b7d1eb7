"""The closed lists of words by which labels, headings and titles prove, from `data/words.toml`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tieline.disclosures.data import shipped_toml
from tieline.disclosures.facts.fields import unit_of


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shared: dict[str, str]
    labels: dict[str, str]
    headings: dict[str, str]


def _list(words: str, shared: Mapping[str, str]) -> frozenset[str]:
    return frozenset(" ".join(shared.get(word, word) for word in words.split()).split())


_WORDS = shipped_toml("words.toml", _Words)
_ANY, _MONEY = _list(_WORDS.labels["any"], {}), _list(_WORDS.labels["money"], {})
PROVES = {
    field: _ANY | _list(words, _WORDS.shared) | (_MONEY if unit_of(field) in ("USD", "USD/BTC") else frozenset())
    for field, words in _WORDS.labels.items()
    if field not in ("any", "money")
}
"""For each field the words of which a label is made that proves it: another word may name a part, a plan or somebody
else, and leaves the figure a candidate."""
_HEADINGS = {name: _list(words, {}) for name, words in _WORDS.headings.items()}
HEADING, DATED, OPENERS, STARTERS = (_HEADINGS[name] for name in ("heading", "dated", "openers", "starters"))
COLUMNS = HEADING.union(*PROVES.values())
"""Words of a head of columns: labels may stand there, too, over months as rows."""
TITLE, PREFACE = COLUMNS | _HEADINGS["title"], COLUMNS | _HEADINGS["preface"]
