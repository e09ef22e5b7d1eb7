"""A one-column table that lost every space: `January 2024*BTC Mined371Power Sales Equivalent BTC18BTC Sold34`.

Knows nothing of fields. Labels and values are set on lines of their own where each value stands between two labels
and one period heads them all. Where the run holds footnote digits, a value that could begin with one stays glued:
`(US$)23,925` may be 23,925 or footnote 2 and 3,925.
"""

from __future__ import annotations

import re

from tieline.disclosures.lexicon.periods import Period, periods

MIN_VALUES = 3
"""Fewer may be a model number in a sentence that lost a space."""
MAX_LABEL = 70

_BETWEEN = re.compile(r"(?<=[a-zC)\]])\$?\d[\d,]*(?:\.\d+)?(?=[A-Z][A-Za-z])")
_VALUE = re.compile(r"(?<=[a-zC)\]])\$?(?P<digits>\d[\d,]*(?:\.\d+)?)(?=[A-Z][A-Za-z]|\s|$)")
_GROUPED = re.compile(r"(?:[1-9]\d{0,2}(?:,\d{3})*|0)(?:\.\d+)?")


def unglue(text: str) -> str:
    """The text with such runs cut into lines; everything else as it was."""
    return "\n".join(_cut(line) if len(line) > 60 else line for line in text.split("\n"))


def _cut(line: str) -> str:
    between = list(_BETWEEN.finditer(line))
    if len(between) < MIN_VALUES:
        return line
    first = between[0].start()
    heads = [p for p in periods(line, max(0, first - MAX_LABEL - 20), first) if p.kind in ("month", "date", "quarter")]
    if not heads or first - heads[-1].end > MAX_LABEL:
        return line
    if len(heads) > 1 and heads[-1].start - heads[-2].end < 4:
        return line  # two months side by side leave open where one value ends
    values = _run(line, first)
    return _lines(line, heads[-1], values, _footnoted(line, heads[-1], values))


def _run(line: str, first: int) -> list[re.Match[str]]:
    """The values from the first on, as long as no label is longer than labels are."""
    values: list[re.Match[str]] = []
    for m in _VALUE.finditer(line, first):
        if values and m.start() - values[-1].end() > MAX_LABEL:
            break
        values.append(m)
        if not re.match(r"[A-Z]", line[m.end() : m.end() + 1]):
            break
    return values


def _footnoted(line: str, head: Period, values: list[re.Match[str]]) -> bool:
    """Do labels in this run carry footnote digits?"""
    printed = [m["digits"] for m in values]
    grouped = any("," in digits for digits in printed)
    marked = bool(re.search(r"[a-z]\d{1,2}$", line[: head.start]))
    return marked or (grouped and any(re.fullmatch(r"\d{4,}", digits) for digits in printed))


def _lines(line: str, head: Period, values: list[re.Match[str]], footnoted: bool) -> str:
    mark = re.match(r"[*†\d]{0,2}", line[head.end :])
    after = head.end + (mark.end() if mark is not None else 0)
    out = [line[: head.start], "\n", line[head.start : after], "\n"]
    at = after
    for m in values:
        begin = m.start()
        if footnoted:
            rest = m["digits"][1:]
            if not _GROUPED.fullmatch(m["digits"]):
                begin = m.start("digits") + 1  # `mined3148` where thousands are grouped: footnote 3, then 148
            elif "$" not in m[0] and _GROUPED.fullmatch(rest):
                continue  # two readings
        out += [line[at:begin], "\n", line[begin : m.end()], "\n"]
        at = m.end()
    out.append(line[at:])
    return "".join(out)
