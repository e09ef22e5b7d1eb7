"""Of when a number of a sentence is: the nearest period that no comparison governs; what is compared is of another time.

Knows nothing of fields. A sentence that names no period speaks of the document's month, or of what was carried over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.lexicon.periods import Period, shift, shift_quarters
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.sentences.mentions import Mention
from tieline.disclosures.sentences.split import COMPARISON

_PRIOR_MONTH = phrases("prior_month")
_PRIOR_YEAR = phrases("prior_year")
_OTHER_SPAN = phrases("other_span")
THE_MONTH = re.compile(r"\b(?:last|this) month\b|\b(?:in|during|for) the month\b", re.IGNORECASE)
_AND = re.compile(r"\s*(?:and|to|through|&|-|und|et|y|e|bis|à|和|至|到)\s*", re.IGNORECASE)
_OPENS = re.compile(r"\s?[:：=]\s?(?:approximately |about |~|US)?\s?\$?")
_LAST_YEARS = re.compile(r"(?:지난해|작년|去年|昨年|前年同)\s?(?:의\s?)?\Z")
_YEAR_BEFORE = phrases("a_year_back")
_PRIOR_QUARTER = phrases("prior_quarter")
_WHOLE_YEAR = r"(?:the )?(?:full |calendar )?(?:year )?(?P<year>20[12]\d)\b(?![-/])"
_YEAR_BEHIND = re.compile(rf",? (?:in|for|during|throughout) {_WHOLE_YEAR}", re.IGNORECASE)
_YEAR_AHEAD = re.compile(rf"\b(?:in|for|during|throughout) {_WHOLE_YEAR}[^.;\d]{{0,40}}\Z", re.IGNORECASE)
"""A whole year right behind a number, or before it."""
_YEAR_END = phrases("year_end_behind")
_LAST_YEAR = phrases("last_year_before")
_FOR_THE_YEAR = re.compile(r",? (?:for|in|during) the (?:full |calendar )?year\b(?! ended)", re.IGNORECASE)
_TOLD_AGAIN = re.compile(r"\s*\[\s*")
"""Between a sum and the same in dollars: `£3.85 million [$4.81 million]`."""
_NO_FIGURES = ("span", "week", "year")
"""Kinds of period that date no figure."""


@dataclass(slots=True)
class Carried:
    """What the sentences read so far leave to the next: its period where it names none, and what is compared with."""

    reported: str | None
    """The quarter of a report on one."""
    period: str | None = None
    """None: the document's own. Empty: none that is known."""
    other: str | None = None
    """The month that the document has compared with so far."""

    def sentence(self, sentence: str, marks: list[Period], ctx: Context) -> None:
        """Take in what a sentence names."""
        kinds = {p.kind for p in marks}
        if kinds & {"month", "date"} or (not kinds and THE_MONTH.search(sentence)):
            self.period = self.reported
        elif "quarter" in kinds:
            self.period = next(key_of(p, ctx) for p in marks if p.kind == "quarter")
        elif kinds & set(_NO_FIGURES) or _OTHER_SPAN.search(sentence):
            self.period = ""


@dataclass(frozen=True, slots=True)
class Dated:
    """One sentence with its periods and numbers, and the time of which it speaks where it names none."""

    text: str
    start: int
    end: int
    marks: list[Period]
    mentions: list[Mention]
    ctx: Context
    base: str | None
    """The document's month, or the quarter that is carried over."""
    other: str | None

    def period(self, i: int) -> str | None:
        """The month, quarter or date of the number of mention i; None where it dates no figure."""
        text, m = self.text, self.mentions[i]
        if i and m.q.unit == "USD" and _TOLD_AGAIN.fullmatch(text, self.mentions[i - 1].q.end, m.q.start):
            return self.period(i - 1)
        if (labelled := self._labelled(m)) is not None:
            return key_of(labelled, self.ctx)
        following = self.mentions[i + 1].q.start if i + 1 < len(self.mentions) else self.end
        if (year := self._year(m)) is not None:
            return year
        after = [p for p in self.marks if m.q.end <= p.start < min(following, m.q.end + len(m.right) + 2)]
        if after and _right_behind(text, m, after[0]):
            return self._told_behind(after)
        if m.compared:
            return self._compared(m)
        before = self._before(m)
        return (before or None) if before is not None else self.base

    def _year(self, m: Mention) -> str | None:
        """The whole year for which a number is told: `3,812 BTC in 2021`, `for the year` of a December's update."""
        behind = _YEAR_BEHIND.match(self.text, m.q.end) or _YEAR_AHEAD.search(self.text, self.start, m.q.start)
        if behind is not None:
            return behind["year"]
        if (end := _YEAR_END.match(self.text, m.q.end)) is not None:
            return f"{end['year']}-12"
        if _LAST_YEAR.search(self.text, self.start, m.q.start) and (self.ctx.published or "")[:4].isdigit():
            return str(int((self.ctx.published or "")[:4]) - 1)
        ends = self.ctx.period is not None and self.ctx.period.endswith("-12")
        return self.ctx.period[:4] if self.ctx.period and ends and _FOR_THE_YEAR.match(self.text, m.q.end) else None

    def _told_behind(self, after: list[Period]) -> str | None:
        joined = any(_are_joined(self.text, after[0], p) for p in after[1:2])
        return None if joined or after[0].kind in _NO_FIGURES else self._key(after[0])

    def _labelled(self, m: Mention) -> Period | None:
        """`(October 2024: 41.2 BTC)`, and `X and Y ..., respectively`: the period that is set against the number."""
        text = self.text
        for p in reversed(self.marks):
            bracketed = "(" in text[max(self.start, p.start - 2) : p.start]
            if p.end <= m.q.start and bracketed and _OPENS.fullmatch(text, p.end, m.q.start):
                return p
        if re.search(r"respectively|分别|jeweils|respectivement", text[m.q.end : self.end]):
            same = [o for o in self.mentions if o.q.unit == m.q.unit]
            dated = [p for p in self.marks if p.end <= same[0].q.start]
            if len(same) == len(dated) > 1:
                return dated[same.index(m)]
        return None

    def _compared(self, m: Mention) -> str | None:
        """The time of a figure that is compared with: named beside it, the month or year before, or the one told
        earlier."""
        text = self.text
        inside = [p for p in self.marks if m.at <= p.start < m.q.start and COMPARISON.search(text[m.at : p.start])]
        if inside:
            return self._key(inside[-1])
        if self.ctx.statement and (rest := [p for p in self.marks if p.start > m.q.end]):
            return key_of(rest[0], self.ctx)
        near = text[max(self.start, m.q.start - 70) : min(self.end, m.q.end + 70)]
        stem = self._before(m) or self.base or ""
        if len(stem) in (len("2024Q1"), len("2024-01")) and (earlier := _earlier(stem, near)) is not None:
            return earlier
        return self.other if len(stem) == len("2024-01") and self.other != stem else None

    def _key(self, p: Period) -> str | None:
        """The period as facts carry it; `August of last year` is a year back."""
        key, text = key_of(p, self.ctx), self.text
        back = _YEAR_BEFORE.match(text, p.end) or _LAST_YEARS.search(text, max(0, p.start - 8), p.start)
        if p.year is None and p.kind in ("month", "quarter") and key is not None and back:
            year = int((self.base or self.ctx.period or key)[:4]) - 1
            return f"{year}{key[4:]}"
        return key

    def _before(self, m: Mention) -> str | None:
        """The nearest period before the number that no comparison governs; empty where that dates no figure."""
        free = [p for p in self.marks if p.end <= m.q.start and not governed(self.text, self.start, p)]
        if not free:
            return None
        if free[-1].kind in _NO_FIGURES or (len(free) > 1 and _are_joined(self.text, free[-2], free[-1])):
            return ""
        return self._key(free[-1])


def _earlier(stem: str, near: str) -> str | None:
    """The month or quarter before, or that of a year before, where the words near a number say so."""
    before, whole, months = (_PRIOR_QUARTER, 4, shift_quarters) if "Q" in stem else (_PRIOR_MONTH, 12, shift)
    if before.search(near):
        return months(stem, -1)
    return months(stem, -whole) if _PRIOR_YEAR.search(near) else None


def _right_behind(text: str, m: Mention, p: Period) -> bool:
    """`41 BTC in July`, `41 BTC (July)`; a comparison between them is of another figure."""
    gap = text[m.q.end : p.start]
    bracketed = re.fullmatch(r"\s*\((?:in |for |as of )?", gap) and text[p.end : p.end + 1] == ")"
    return bool(re.fullmatch(r"[^,;.，。\d(]{0,50}", gap) or bracketed) and not COMPARISON.search(gap)


def _are_joined(text: str, a: Period, b: Period) -> bool:
    """`June and July`: one figure for two months."""
    return a.kind == b.kind == "month" and _AND.fullmatch(text[a.end : b.start]) is not None


def governed(text: str, start: int, p: Period) -> bool:
    """Does a comparison govern the period?"""
    if re.match(r"\s?(?:から|より|比(?!特)|に比べ|と比[べ較]|보다|대비)", text[p.end : p.end + 5]):
        return True
    lead = text[max(start, p.start - 70) : p.start]
    at = max((m.end() for m in COMPARISON.finditer(lead)), default=-1)
    return at >= 0 and not re.search(r",(?!\d)|;|\bto\b|\bat\b", lead[at:])
