"""Notes that a text lists and whose marks stand nowhere: one may have run together with the value before it.

`Bitcoin sold 1003`, where `3 Sold on January 22.` stands under the table: 100 coins and the mark of a note.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import log10

_NOTE = re.compile(r"(?:^|(?<=[.;] ))[ \t]*(?:Note )?[(\[]?(?P<n>[1-9])[)\].:]? ?(?=[A-Z])", re.MULTILINE)
_MARK = r"(?<=[^\W\d_])[ \t\xa0]?(?:\d,)*{n}(?:,\d)*(?![\d.%\w])|[(\[](?:\d,)*{n}(?:,\d)*[)\]]"


@lru_cache(maxsize=8)
def _listed(text: str) -> tuple[tuple[str, int], ...]:
    """The notes of the last list that counts from 1, each with where it stands."""
    run: list[tuple[str, int]] = []
    best: list[tuple[str, int]] = []
    for m in _NOTE.finditer(text):
        n = int(m["n"])
        if n == len(run) + 1:
            run.append((m["n"], m.start("n")))
        elif n == 1:
            run = [(m["n"], m.start("n"))]
        best = list(run) or best
    return tuple(best)


@lru_cache(maxsize=8)
def _lost(text: str) -> frozenset[str]:
    """Of those notes the ones whose mark stands nowhere above the list."""
    listed = _listed(text)
    above = text[: listed[0][1]] if listed else ""
    return frozenset(n for n, _ in listed if re.search(_MARK.format(n=n), above) is None)


def may_hold_mark(text: str, at: int, printed: str, row: list[str]) -> bool:
    """May the last digit of a table's whole number be the mark of a note: one that is listed below and marked nowhere,
    where the number without it is as near to another of its row, or to that without its own?"""
    listed, lost = _listed(text), _lost(text)
    if not listed or at > listed[0][1] or printed not in row or len(mine := _forms(printed, lost)) < 2:
        return False
    if len(re.findall(rf"(?<![\d.,]){printed}(?![\d.%]|,\d)", text)) > 1:
        return False  # printed elsewhere, too
    others = [form for one in row if one != printed for form in _forms(one, lost)]
    return not others or min(_apart(mine[1], o) for o in others) <= min(_apart(mine[0], o) for o in others) + _ALIKE


_ALIKE = 0.05


def _apart(a: int, b: int) -> float:
    return abs(log10(max(a, 1) / max(b, 1)))


def _forms(printed: str, lost: frozenset[str]) -> list[int]:
    """A whole number as it is printed, and without a last digit that may be a mark."""
    digits = printed.replace(",", "")
    if not digits.isdigit() or re.fullmatch(r"\d{1,3}(?:,\d{3})+\d", printed):
        return []  # `3,1182`: the mark was read as one
    return [int(digits), *([int(digits[:-1])] if len(digits) > 1 and digits[-1] in lost else [])]
