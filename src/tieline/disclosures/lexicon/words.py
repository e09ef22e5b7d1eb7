"""The field's words in the languages that miners and their press write, and closed lists of phrases.

Knows nothing of layouts or numbers. What concepts together mean, the tables of `rules` say. From `data/concepts.toml` and
`data/phrases.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated

import msgspec

from tieline.disclosures.data import shipped_toml

Concept = re.Pattern[str]


class _Concepts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parts: dict[str, str]
    concepts: dict[str, Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]]


@cache
def _file() -> _Concepts:
    return shipped_toml("concepts.toml", _Concepts)


@cache
def concept(name: str) -> Concept:
    """A concept by its name, as one pattern; ValueError where the file has none of that name, or a broken one."""
    alternatives = _file().concepts.get(name)
    if alternatives is None:
        raise ValueError(f"no concept {name!r} in data/concepts.toml")
    pattern = "|".join(alternatives)
    for part, written in _file().parts.items():
        pattern = pattern.replace(f"{{{part}}}", written)
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"concept {name!r} of data/concepts.toml: {error}") from None


def concepts(row: Mapping[str, str], column: str) -> tuple[Concept, ...]:
    """The concepts that a column of a table's row names; ValueError with the row where one of them is none."""
    try:
        return tuple(concept(name) for name in row[column].split())
    except ValueError as error:
        raise ValueError(f"{column} of the row {','.join(row.values())}: {error}") from None


class _Phrases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    words: dict[str, tuple[str, ...]]
    phrases: dict[str, tuple[str, ...]]
    cased: dict[str, tuple[str, ...]]
    languages: dict[str, str]


@cache
def _lists() -> _Phrases:
    return shipped_toml("phrases.toml", _Phrases)


@cache
def phrases(name: str) -> re.Pattern[str]:
    """A list of phrases by its name, as one pattern."""
    pattern = _written_out(name)
    whole = rf"\b(?:{pattern})\b" if name in _lists().words else pattern
    return re.compile(whole, 0 if name in _lists().cased else re.IGNORECASE)


def _written_out(name: str) -> str:
    """The phrases of a list; a name in braces stands for those of another."""
    listed = "|".join((_lists().words | _lists().phrases | _lists().cased)[name])
    return re.sub(r"\{([a-z_]+)\}", lambda m: _written_out(m[1]), listed)


@cache
def languages() -> dict[str, re.Pattern[str]]:
    """The commonest small words of each language, to be counted in a text in lower case."""
    return {name: re.compile(rf"\b(?:{'|'.join(words.split())})\b") for name, words in _lists().languages.items()}


def words_of(text: str) -> frozenset[str]:
    """The words of a list that is written as prose."""
    return frozenset(text.split())


# Those that are asked for one by one; the others stand in the tables only.
AVERAGE, BITCOIN, FUTURE = concept("average"), concept("bitcoin"), concept("future")
HASHRATE, MONTH_END, NETWORK = concept("hashrate"), concept("month_end"), concept("network")
OF_MINING, OPERATING, OTHER_BUSINESS = concept("of_mining"), concept("operating"), concept("other_business")
OTHER_COIN, PER_DAY, PRODUCED = concept("other_coin"), concept("per_day"), concept("produced")
RATED, SOLD, VALUE = concept("rated"), concept("sold"), concept("value")
AFTER_SALE, CHANGE_BEFORE, CHANGE_BEHIND = concept("after_sale"), concept("change_before"), concept("change_behind")
MORE_BEFORE = concept("more_before")
