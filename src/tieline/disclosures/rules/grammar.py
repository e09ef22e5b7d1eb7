"""The closed grammar: what a sentence says of one number, and what may stand beside it, from `data/grammar.toml`.

Each row of the file bears a sentence that it reads and one that it must not, and each form an example; the tests read
them all.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

import msgspec

from tieline.disclosures.data import shipped_toml

Kind = Literal["flow", "stock", "mean", "ytd", "event"]
"""How a figure stands in time: over a month, at its end, as its mean, from January to its end, on a day."""


class SentenceRule(msgspec.Struct, frozen=True):
    """One way of saying a figure."""

    field: str
    kind: Kind
    pattern: str = ""
    reads: str = ""
    never: str = ""


class Form(msgspec.Struct, frozen=True):
    """What may stand beside figures that are read."""

    pattern: str
    example: str


class _Beside(msgspec.Struct, frozen=True):
    compared: tuple[str, ...]
    no_sale: tuple[str, ...]


class _Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    macros: dict[str, str | list[str]]
    beside: _Beside
    row: tuple[SentenceRule, ...]
    form: tuple[Form, ...]


@cache
def _grammar() -> _Grammar:
    return shipped_toml("grammar.toml", _Grammar)


def expand(pattern: str) -> str:
    """A pattern with its macros written out and the number that it reads named `n`."""
    while (m := re.search(r"\{([A-Z]+)\}", pattern)) is not None:
        macro = _grammar().macros[m[1]]
        pattern = pattern.replace(m[0], macro if isinstance(macro, str) else f"(?:{'|'.join(macro)})")
    return re.sub(r"(?<!\?P)<([a-z]+)>", r"(?P<n>#[\1])(?= |$)", pattern)


@cache
def rows() -> tuple[tuple[SentenceRule, tuple[str, ...], re.Pattern[str]], ...]:
    """Every way of saying a figure, in the file's order, with the units of the number that it reads and its pattern."""
    out = []
    for rule in _grammar().row:
        units = re.search(r"(?<!\?P)<([a-z]+)>", rule.pattern)
        assert units is not None, rule.pattern
        out.append((rule, tuple(f"#{unit}" for unit in units[1]), re.compile(expand(rule.pattern))))
    return tuple(out)


def forms() -> tuple[Form, ...]:
    """All that may stand beside figures."""
    return _grammar().form


@cache
def patterns(kind: Literal["forms", "compared", "no_sale"]) -> tuple[re.Pattern[str], ...]:
    """Forms, what may follow a number that was read, and how nothing was sold, to be matched on a template."""
    if kind == "forms":
        return tuple(re.compile(rf"(?:{expand(form.pattern)})(?: |\Z)") for form in forms())
    return tuple(re.compile(expand(pattern)) for pattern in getattr(_grammar().beside, kind))
