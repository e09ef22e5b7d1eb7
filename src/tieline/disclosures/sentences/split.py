"""Sentence bounds, tables left out, and the words of comparison.

Knows nothing of numbers or fields. A line break ends a sentence unless the next line goes on with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tieline.disclosures.lexicon.words import phrases

MAX_SENTENCE = 1500
MAX_SENTENCES = 4000
"""Ten times the longest release; beyond it a page is an archive of many."""
_END = phrases("sentence_end")
COMPARISON = phrases("comparison")


_HEADING = phrases("capital_line")

_OPEN = re.compile(r"\b(?:for|of|in|and|the|to|by|with|a|an|its|our|from|at|on)\s*$")
"""A line that ends so goes on."""


_WIDEST = 110
"""Characters of a line that was broken by hand; a longer one ends where its paragraph does."""


def _wraps(line: str, following: str, first: bool = False) -> bool:
    """Does the next line go on with this one's sentence? A title does not: the text's `first` line, before a capital."""
    if first and re.match(r"\s*[\"“]?[A-Z0-9]", following):
        return False
    if _is_open(line, following):
        return True
    if _HEADING.fullmatch(line) and re.match(r"\s*[A-Z]", following):
        return False
    if re.search(r"[.!?:;|]\s*$", line) or re.match(r"\s*[-*•>]?\s*[A-Z][\w() /%-]{2,60}:\s", following):
        return False
    if len(line.rstrip()) >= 55 and re.match(r"\s*[a-z0-9$(%&,]", following):
        return True
    # Narrow columns: a line of words that goes on in lower case.
    if line.strip() and len(following.split()) >= 2 and re.match(r"[a-z]{2,} ", following):
        return True
    # A wrapped paragraph: two lines of words without an end between them.
    worded = len(line) <= _WIDEST and min(_worded(line), _worded(following)) >= 5 and not _VALUE_LAST.search(line)
    return worded and not re.match(r"\s*[-*>|(]|[A-Z]{4,}[A-Z .]*,", following)


def _is_open(line: str, following: str) -> bool:
    """Does a line end in a word that goes on, or within a bracket that the next one closes?"""
    if _OPEN.search(line) and following.strip() and len(line.split()) > 3:
        return True
    return line.rfind("(") > line.rfind(")") and ")" in following and len(line) <= _WIDEST


_VALUE_LAST = re.compile(r":\s*[\d,.]+\s*$")


def sentences(text: str, skip: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sentence bounds, tables left out. A line break ends a sentence unless the next line goes on with it."""
    taken = sorted(skip)
    out: list[tuple[int, int]] = []
    index = 0
    for begin, stop in _paragraphs(text, taken):
        while index < len(taken) and taken[index][1] <= begin:
            index += 1
        tabled = index < len(taken) and taken[index][0] < stop
        if tabled or "|" in text[begin:stop] or not text[begin:stop].strip():
            continue
        at = begin
        for end in (*(m.end() for m in _END.finditer(text, begin, stop)), stop):
            if end - at > 3:
                out.append((at, min(end, at + MAX_SENTENCE)))
                at = end
        if len(out) > MAX_SENTENCES:
            break
    return out


def _paragraphs(text: str, taken: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Lines, with those that go on joined."""
    lines = text.split("\n")
    start = at = 0
    seen = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        end = at + len(line)
        solid = len(taken) < 400 and not any(s < end and at < e for s, e in taken)
        if not solid or not _wraps(line, following, not seen):
            yield start, end
            start = end + 1
        seen = seen or len(line.split()) > 3  # `Exhibit 99.1` stands before a title
        at = end + 1


def _worded(line: str) -> int:
    """Words of a line that are no numbers."""
    return sum(1 for word in line.split() if re.match(r"[\W]*[^\W\d_]{2,}", word))
