"""A sentence's numbers, each with the words that belong to it.

Knows nothing of fields. A gap between two numbers belongs to the left one up to the first comma or conjunction
and to the right one after it; a number behind `compared to` or `up from` is marked as compared.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tieline.disclosures.reading.numbers import Quantity, quantities
from tieline.disclosures.reading.periods import Period

MAX_SENTENCE = 1500
MAX_SENTENCES = 4000
"""Ten times the longest release; beyond it a page is an archive of many."""
_END = re.compile(
    r"(?<![A-Z][a-z])(?<!\bInc)(?<!\bCorp)(?<!\bLtd)(?<!\bApprox)(?<!\bapprox)(?<!\bvs)(?<!\b[Aa]vg)(?<!\bAVG)(?<!\bNo)(?<!\bJan)(?<!\bFeb)(?<!\bAug)(?<!\bSept)(?<!\bSep)(?<!\bOct)(?<!\bNov)(?<!\bDec)[.!?][\"')\]]*(?!\s+[\[(](?:US)?[$€£])(?!\s+(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)\b)(?:\s+(?:- )?(?=[\"'(\[]?[A-ZÀ-ÞА-Я0-9$가-힣])|\s*$)|(?<=[a-z)])\.(?=[A-Z][a-z]+ )|[。！？；]|\.\.\.|;\s"
)
COMPARISON = re.compile(
    r"\b(?:vs\.?|versus|compared (?:to|with)|comparison (?:to|with)|up from|down from|from(?! (?:the |its |our )?(?:sales?|selling|mining|operations|power|energy|(?:bitcoins?|btc|coins) (?:sold|sales?))\b)|against|relative to|similar to|in line with|than|(?:increase|decrease|improvement|growth|gain|decline|drop|rise|reduction)s?,? (?:over|on)|gegenüber|verglichen mit|im vergleich zu|nach|ante|前月|上月|par rapport|contre|frente a|rispetto|em comparação|comparado)\b|较|較|相比|比(?!特)",
    re.IGNORECASE,
)
_SPLIT = re.compile(
    r",(?!\d)|;|，|；|、|。|\s-\s|\b(?:while|whereas|but|and|which|with|und|et|y|e|während|tandis|mientras|и)\b|\(|\)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Spot:
    """One number in its sentence with the words that belong to it."""

    q: Quantity
    left: str
    """Words before it, back to the neighbour's share of the gap."""
    right: str
    before: str
    """Everything before it in the sentence."""
    after: str
    start: int
    """Where `left` begins in the text."""
    compared: bool
    linked: bool
    """Nothing but a list mark stands between it and the number before."""
    stop: int = 0
    """Where `right` ends in the text."""


def sentences(text: str, skip: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sentence bounds, tables left out. A line break ends a sentence unless the next line goes on with it."""
    taken = sorted(skip)
    out: list[tuple[int, int]] = []
    start = 0
    paragraphs: list[tuple[int, int]] = []
    lines = text.split("\n")
    at = 0
    for i, line in enumerate(lines):
        end = at + len(line)
        following = lines[i + 1] if i + 1 < len(lines) else ""
        solid = not any(s < end and at < e for s, e in taken) if len(taken) < 400 else False
        wraps = (
            solid
            and not re.search(r"[.!?:;|]\s*$", line)
            and not re.match(r"\s*[-*•>]?\s*[A-Z][\w() /%-]{2,60}:\s", following)
            and (
                (len(line.rstrip()) >= 55 and bool(re.match(r"\s*[a-z0-9$(%&,]", following)))
                or (
                    # narrow columns: a line of words that goes on in lower case
                    len(line.split()) >= 2 and len(following.split()) >= 2 and bool(re.match(r"[a-z]{2,} ", following))
                )
                or (
                    # a wrapped paragraph: two lines of words without an end between them
                    _worded(line) >= 5
                    and _worded(following) >= 5
                    and not re.match(r"\s*[-*>|(]|[A-Z]{4,}[A-Z .]*,", following)
                )
            )
        )
        if not wraps:
            paragraphs.append((start, end))
            start = end + 1
        at = end + 1
    index = 0
    for begin, stop in paragraphs:
        while index < len(taken) and taken[index][1] <= begin:
            index += 1
        if index < len(taken) and taken[index][0] < stop and taken[index][1] > begin:
            continue
        if "|" in text[begin:stop] or not text[begin:stop].strip():
            continue
        at = begin
        for m in _END.finditer(text, begin, stop):
            if m.end() - at > 3:
                out.append((at, m.end()))
                at = m.end()
        if stop - at > 3:
            out.append((at, stop))
        if len(out) > MAX_SENTENCES:
            break
    return [(s, min(e, s + MAX_SENTENCE)) for s, e in out]


def _worded(line: str) -> int:
    """Words of a line that are no numbers."""
    return sum(1 for word in line.split() if re.match(r"[\W]*[^\W\d_]{2,}", word))


def spots_in(text: str, start: int, end: int, marks: list[Period], style: str) -> list[Spot]:
    found = [
        q for q in quantities(text, start, end, style) if not any(p.start < q.end and q.start < p.end for p in marks)
    ]
    found = [
        q for q in found if not (q.unit is None and q.decimals == 0 and "," not in q.printed and 2008 < q.value < 2045)
    ]
    found = [replace(q, negative=False) if q.negative and _no_sign(text, q.start) else q for q in found]
    found = _ranges(text, found)
    out: list[Spot] = []
    solid = [q for q in found if q.unit not in ("%", "other")]
    for q in solid:
        earlier = [p for p in solid if p.end <= q.start]
        later = [p for p in solid if p.start >= q.end]
        left_from = start
        linked = False
        if earlier:
            gap_start = earlier[-1].end
            gap = text[gap_start : q.start]
            cut = _SPLIT.search(gap)
            left_from = gap_start + (cut.end() if cut and cut[0] not in ("(", ")") else (cut.start() if cut else 0))
            linked = not re.sub(_LINK, "", re.sub(_SPLIT, "", _without(gap, gap_start, marks)))
        right_to = end
        if later:
            gap = text[q.end : later[0].start]
            cut = _SPLIT.search(gap)
            right_to = q.end + (cut.start() if cut else len(gap))
            if cut and cut[0] == "(" and not gap[: cut.start()].strip():
                right_to = later[0].start
        before = text[start : q.start]
        compared = _is_compared(text, left_from, q.start, earlier[-1].end if earlier else start)
        out.append(
            Spot(
                q,
                text[left_from : q.start].replace("\n", " "),
                text[q.end : right_to].replace("\n", " "),
                before.replace("\n", " "),
                text[q.end : end].replace("\n", " "),
                left_from,
                compared,
                linked,
                right_to,
            )
        )
    shares = [q for q in found if q.unit == "%"]
    for q in shares:
        lo = max([p.end for p in found if p.end <= q.start], default=start)
        hi = min([p.start for p in found if p.start >= q.end], default=end)
        out.append(
            Spot(
                q,
                text[lo : q.start],
                text[q.end : hi],
                text[start : q.start],
                text[q.end : end],
                lo,
                _is_compared(text, lo, q.start, lo),
                False,
                hi,
            )
        )
    out.sort(key=lambda s: s.q.start)
    return out


def _no_sign(text: str, at: int) -> bool:
    """In a sentence a bracket is a bracket, and a dash with a space at the start of a line is a bullet."""
    return text[at] == "(" or (
        text[at] == "-" and text[at + 1 : at + 2] == " " and not text[text.rfind("\n", 0, at) + 1 : at].strip()
    )


_LINK = re.compile(
    r"(?i)\b(?:or|to|the|approximately|about|roughly|a total of|respectively|in|from|vs\.?|versus|compared (?:to|with)|daily|per day)\b|[\s\":]"
)


def _without(gap: str, at: int, marks: list[Period]) -> str:
    """The gap without the periods in it."""
    for p in reversed(marks):
        if at <= p.start and p.end <= at + len(gap):
            gap = gap[: p.start - at] + gap[p.end - at :]
    return gap


def _is_compared(text: str, left_from: int, at: int, gap_start: int) -> bool:
    """Does a comparison word govern this number: `(vs 32`, `up from the 156`, `as compared to August production of`?"""
    lead = text[gap_start:at]
    found = None
    for m in COMPARISON.finditer(lead):
        found = m
    if found is None:
        return False
    rest = lead[found.end() :]
    return not re.search(r",(?!\d)|;|\band\b|\bto\b|，|%", rest, re.IGNORECASE)


def _ranges(text: str, found: list[Quantity]) -> list[Quantity]:
    """`from 1,176 to 692 BTC`: the first number has the unit of the second. `11,452 and 10,428 bitcoin` likewise."""
    out = list(found)
    for i in range(len(out) - 1):
        b = out[i + 1]
        a = next((c for c in reversed(out[: i + 1]) if c.unit != "%" or b.unit is not None), out[i])
        if a is out[i] and a.unit is None and b.unit in ("BTC", "EH/s", "J/TH", "blocks", "miners", "USD"):
            gap = text[a.end : b.start]
            if re.fullmatch(
                r"\s*(?:to|and|or|y|und|et|bis|auf|à|a|至|到|和|vs\.?|,)\s*(?:approximately|about|just|only|over|nearly)?\s*",
                gap,
                re.IGNORECASE,
            ):
                value = a.value
                out[i] = replace(a, unit=b.unit, value=value)
        if (
            a is out[i]
            and a.unit is None
            and b.unit is None
            and _ROSE.search(text[max(0, a.start - 90) : a.start])
            and re.fullmatch(r"\s*to\s*", text[a.end : b.start])
        ):
            out[i], out[i + 1] = replace(a, unit="BTC"), replace(b, unit="BTC")
        if (
            a.unit == "BTC"
            and b.unit is None
            and re.fullmatch(
                r"[^.;]{0,70}\b(?:versus|vs\.?|compared (?:to|with)|from|against|contre|gegenüber|frente a|contra)\s*(?:the |just |only |about |los |les )?(?:[A-Z][a-z]+'s )?",
                text[a.end : b.start],
            )
            and (
                re.search(r"'s $", text[a.end : b.start])
                or re.match(
                    r"\)?\s*(?:mined |produced |sold |held )?(?:in|for|during|at the end of|as of|a month|the month|en|im|em|\()\s?",
                    text[b.end : b.end + 26],
                )
            )
        ):
            out[i + 1] = replace(b, unit="BTC")
        if (
            b.unit is None
            and _PARTED.match(text[b.end : b.end + 40])
            and re.search(r"(?:bitcoins?|btc)\b", text[max(0, b.start - 200) : b.start], re.IGNORECASE)
        ):
            out[i + 1] = replace(b, unit="BTC")
        coins_before = any(c.unit == "BTC" for c in out[: i + 1])
        if b.unit is None and coins_before and re.match(r"\s+of (?:them|these|those)\b", text[b.end : b.end + 12]):
            out[i + 1] = replace(b, unit="BTC")
        if (
            b.unit is None
            and coins_before
            and (
                re.search(
                    r"\b(?:sold|mined|produced|bought|purchased|held|holds)\s*(?:approximately |about |all )?$",
                    text[max(0, b.start - 40) : b.start],
                )
                or re.search(
                    r"\btotal (?:bitcoins? |btc )?(?:mined|produced|production)\b[^.;]{0,60}\bto\s*$",
                    text[max(0, b.start - 110) : b.start],
                )
            )
            and re.match(r"\s*(?:[,.;]|$|\band\b|\bin\b|\bduring\b)", text[b.end : b.end + 10])
        ):
            out[i + 1] = replace(b, unit="BTC")
        if (
            b.unit is None
            and coins_before
            and re.search(r"\band\s*$", text[a.end : b.start])
            and re.match(r"\s+in the \w+\s+(?:quarter|month)", text[b.end : b.end + 30], re.IGNORECASE)
        ):
            out[i + 1] = replace(b, unit="BTC")
        if (
            a is out[i]
            and a.unit is None
            and b.unit is None
            and re.fullmatch(r"[^.;]{0,30}\bto\s*", text[a.end : b.start])
        ):
            for noun, unit in ((_COINS_FROM, "BTC"), (_MINERS_FROM, "miners")):
                if noun.search(text[max(0, a.start - 60) : a.start]):
                    out[i], out[i + 1] = replace(a, unit=unit), replace(b, unit=unit)
        if a.unit == "BTC" and b.unit is None and _PART.search(text[a.end : b.start]):
            out[i + 1] = replace(b, unit="BTC")
    return out


_COINS_FROM = re.compile(
    r"\b(?:bitcoins?|btc) (?:mined|produced|sold|held|production|holdings|sales)\b[^.;\d]{0,24}\bfrom\s*$",
    re.IGNORECASE,
)
_MINERS_FROM = re.compile(
    r"\b(?:deployed|installed|energized|operating|total) (?:miners|machines|rigs)\b[^.;\d]{0,24}\bfrom\s*$",
    re.IGNORECASE,
)
"""`decrease in Bitcoin mined from 14.0 in May to 5.4 in June`."""
_PARTED = re.compile(
    r"\s+(?:(?:was|were|is|are) )?(?:pledged|posted as|restricted|on loan|loaned|lent|encumbered|unencumbered|unrestricted|held as collateral|held as security)\b",
    re.IGNORECASE,
)
_ROSE = re.compile(
    r"(?:bitcoins?|btc)\b[^.;\d]{0,60}\b(?:increased|rose|grew|climbed|fell|decreased|declined|dropped|went|expanded)\s+from\s*$",
    re.IGNORECASE,
)
_PART = re.compile(
    r"^[^.;]{0,90}\bof which\s*(?:approximately|about|roughly|some)?\s*$|^\s(?:were|was|came|is|are)\b[^,.;]{0,60}\band\s*(?:approximately|about|roughly|some|the remaining)?\s*$",
    re.IGNORECASE,
)
"""`254 bitcoin, of which 181 were ... and 73 by`: parts of a count of coins are coins."""
