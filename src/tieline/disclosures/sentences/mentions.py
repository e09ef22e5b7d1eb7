"""The numbers of a sentence, each with the words that are its own.

Knows nothing of fields. A number owns the words between it and its neighbours, split at the first comma or conjunction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from tieline.disclosures.lexicon import words as w
from tieline.disclosures.lexicon.numbers import PrintedNumber, quantities, to_decimal
from tieline.disclosures.lexicon.periods import Period
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.sentences.split import COMPARISON

_CUT = phrases("own_words_end")
_SPLIT_DIGITS = phrases("split_digits")
_TWO_COINS = phrases("two_coins")
_TURNS = {"own": "BTC", "other": "other coin"}
_BRACKETED = re.compile(r"[(\[]\s*[^()\[\]\d]{2,20}(?:20\d\d)?\s?[:：]\s?(?:approximately |about |US)?\s?$")
_COMPARED_BEHIND = re.compile(r"\s?(?:BTC\s?)?(?:대비|보다|から|より)")
_NEXT_PART = re.compile(r",(?!\d)|;|\band\b|\bto\b|，|%", re.IGNORECASE)
_LISTED = phrases("listed_numbers")
_OF_WHICH = re.compile(r"\b(?:of which|sold|and|comprising)\b[^.;\d]{0,24}$", re.IGNORECASE)
_OF_THEM = re.compile(r"\s+of (?:them|these|those)\b")
_NO_COINS = re.compile(r"\s*(?:%|days|months|sites|percent|employees|years)")
_COINS_BEHIND = phrases("coins_behind")
_COINS_BEFORE = phrases("coins_before")


@dataclass(slots=True)
class Mention:
    """One number of a sentence with its own words."""

    q: PrintedNumber
    left: str
    right: str
    at: int
    """Where `left` begins."""
    compared: bool
    field: str | None = None
    period: str | None = None
    dated: bool = False
    """Its sentence holds a period; else it is carried or the document's."""

    @property
    def clause(self) -> str:
        return f"{self.left} {self.right}"


def mentions_of(text: str, start: int, end: int, marks: list[Period], style: str) -> list[Mention]:
    """Every number of text[start:end] that is no date, year or note's mark, in order."""
    numbers = _numbers(text, start, end, marks, style)
    for i, q in enumerate(numbers):
        if q.unit is None and (unit := _inherited(text, start, numbers, i)) is not None:
            numbers[i] = replace(q, unit=unit)
    in_turn = {m.start(unit): _TURNS[unit] for m in _TWO_COINS.finditer(text, start, end) for unit in _TURNS}
    numbers = [replace(q, unit=in_turn.get(q.start, q.unit)) for q in numbers]
    solid = [q for q in numbers if q.unit != "%"]
    return [_mention(text, start, end, numbers if q.unit == "%" else solid, q) for q in numbers]


def _mention(text: str, start: int, end: int, beside: list[PrintedNumber], q: PrintedNumber) -> Mention:
    """A number with its own words, up to those beside it."""
    before = next((o for o in reversed(beside) if o.end <= q.start), None)
    after = next((o for o in beside if o.start >= q.end), None)
    left_from = start if before is None else _left_from(text, before, q)
    right_to = min(end, q.end + 120) if after is None else _right_to(text, q, after)
    left, right = text[left_from : q.start].replace("\n", " "), text[q.end : right_to].replace("\n", " ")
    lead = text[start if before is None else before.end : q.start]
    return Mention(q, left, right, left_from, _set_beside(lead, text[q.end : q.end + 8]))


def _numbers(text: str, start: int, end: int, marks: list[Period], style: str) -> list[PrintedNumber]:
    """The sentence's numbers; split digits as one."""
    dates = [(p.start, p.end) for p in marks]
    split = [_joined(text, m, style) for m in _SPLIT_DIGITS.finditer(text, start, end)]
    whole = [(j.start, j.end) for j in split]
    numbers = [q for q in quantities(text, start, end, style) if not _is_year(q) and _free(q, whole)]
    numbers = sorted((q for q in (*numbers, *split) if _free(q, dates)), key=lambda q: q.start)
    return [replace(q, negative=False) if q.negative else q for q in numbers if not _notes_number(text, q)]


def _free(q: PrintedNumber, taken: list[tuple[int, int]]) -> bool:
    return not any(start < q.end and q.start < end for start, end in taken)


def _is_year(q: PrintedNumber) -> bool:
    return q.unit is None and q.decimals == 0 and "," not in q.printed and 2008 < q.value < 2045


def _left_from(text: str, before: PrintedNumber, q: PrintedNumber) -> int:
    """Where the words begin that belong to a number with another before it."""
    cut = _CUT.search(text[before.end : q.start])
    return before.end + (0 if cut is None else cut.start() if cut[0] in "()" else cut.end())


def _right_to(text: str, q: PrintedNumber, after: PrintedNumber) -> int:
    """Where the words end that belong to a number with another behind it."""
    gap = text[q.end : after.start]
    cut = _CUT.search(gap)
    if cut is not None and cut[0] == "(" and not gap[: cut.start()].strip():
        return after.start
    return q.end + (cut.start() if cut else len(gap))


def _set_beside(lead: str, tail: str) -> bool:
    """Is the number one that another is compared with, by the words before or behind it?"""
    if _BRACKETED.search(lead) or _COMPARED_BEHIND.match(tail):
        return True
    compared = max((m.end() for m in COMPARISON.finditer(lead)), default=-1)
    return compared >= 0 and not _NEXT_PART.search(lead[compared:])


def _notes_number(text: str, q: PrintedNumber) -> bool:
    """`Bitcoin held 2: 1,201` and `Bitcoin held (2)`: the number of a note."""
    if q.unit is not None or q.decimals or not 0 < abs(q.value) < 20:
        return False
    bracketed = "(" in text[max(0, q.start - 1) : q.start + 1] and ")" in text[q.end - 1 : q.end + 1]
    return bracketed or re.match(r"\)?\s?[:：]", text[q.end : q.end + 3]) is not None


def _joined(text: str, m: re.Match[str], style: str) -> PrintedNumber:
    """`1 412,5 bitcoins` and `1, 479 BTC`: one number that was printed with a space in it."""
    unit = "EH/s" if text[m.end() : m.end() + 3].strip().startswith("EH") else "BTC"
    digits = m[0].replace(", ", "").replace(" ", "")
    value = to_decimal(digits, "english" if style == "english" and "." in digits else "french") or Decimal(0)
    return PrintedNumber(value, unit, m.start(), m.end(), m[0], decimals=max(0, -int(value.as_tuple().exponent)))


def _inherited(text: str, start: int, numbers: list[PrintedNumber], i: int) -> str | None:
    """The unit of a bare number beside coins: `from 1,176 to 692 BTC`, `41 BTC, up from 38`, `of which 12 were`."""
    q, after = numbers[i], next(iter(numbers[i + 1 :]), None)
    if after is not None and after.unit in _COUNTED and _LISTED.fullmatch(text, q.end, after.start):
        return after.unit
    before = next((o for o in reversed(numbers[:i]) if o.unit != "%"), None)
    if before is not None and before.unit in _COUNTED - {"J/TH"} and _beside(text, before, q):
        return before.unit
    match = q.value >= 1 and _COINS_BEFORE.search(text[max(start, q.start - 90) : q.start])
    return "BTC" if match or _COINS_BEHIND.match(text[q.end : q.end + 32]) or _french_day(text, start, q) else None


_COUNTED = frozenset({"BTC", "EH/s", "J/TH", "blocks", "miners"})


def _beside(text: str, before: PrintedNumber, q: PrintedNumber) -> bool:
    gap, tail = text[before.end : q.start], text[q.end : q.end + 12]
    match = COMPARISON.search(gap) or _OF_WHICH.search(gap) or _OF_THEM.match(tail)
    return match is not None and not _NO_COINS.match(tail)


def _french_day(text: str, start: int, q: PrintedNumber) -> bool:
    """`production de bitcoins ... de 12,94 en juillet`: the coin is told once, before."""
    match = w.BITCOIN.search(text, start, q.start) and w.PRODUCED.search(text, start, q.start)
    return bool(match) and re.match(r"\s*(?:en|im|em|nel)\s", text[q.end : q.end + 6]) is not None
