"""Which month, quarter or date a number in a sentence belongs to.

Knows nothing of fields. The nearest period before the number that no comparison governs; else the one right
after it; else the document's month. A compared number needs a period of its own, or `the previous month`.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re

from tieline.disclosures.reading import words as w
from tieline.disclosures.reading.context import Context
from tieline.disclosures.reading.periods import Period, shift
from tieline.disclosures.reading.spots import COMPARISON, Spot
from tieline.disclosures.reading.tabular import key_of

_PRIOR_MONTH = re.compile(
    r"\b(?:previous|prior|last|preceding) month|\b(?:a|one) month (?:earlier|ago|before|prior)|\bthe month (?:before|prior)|month[- ]over[- ]month|month[- ]on[- ]month|\bm/m\b|\bmom\b|vormonat|mois précédent|mes anterior|mes pasado|mese (?:precedente|scorso)|mois dernier|mês (?:passado|anterior)|letzten monat|上月|前月|环比",
    re.IGNORECASE,
)
_PRIOR_YEAR = re.compile(
    r"year[- ]over[- ]year|year[- ]on[- ]year|\by/y\b|\byoy\b|(?:same month|a year|one year|last year)(?: (?:ago|earlier|last year))?|prior year|previous year|vorjahr|année précédente|año anterior|anno precedente|同比|去年|지난해|작년|전년",
    re.IGNORECASE,
)


def period_of(
    text: str, start: int, end: int, marks: list[Period], spot: Spot, spots: list[Spot], i: int, ctx: Context
) -> str | None:
    """The month, quarter or date that a number belongs to; None where the text leaves it open."""
    q = spot.q
    usable = [p for p in marks if p.kind != "span"]
    paired = _paired_period(text, start, end, usable, spot, spots, i, ctx)
    if paired is not None:
        return paired
    right_end = q.end + len(spot.right)
    labelled = _labelled(text, usable, q.start)
    if labelled is not None:
        return _key(text, labelled, ctx)
    if WHICH_WAS.search(text[start : q.start]) and (named := [p for p in usable if p.end <= q.start]):
        return _key(text, named[-1], ctx)
    if not spot.compared and (earlier := _earlier(spot.left)) is not None:
        base = base_period(text, start, [p for p in usable if p.end < spot.start], spot, ctx)
        own = [p for p in usable if spot.start <= p.start < right_end]
        if not own:
            return shift(base, -1) if earlier["month"] and base is not None and len(base) == 7 else None
    if spot.compared:
        floor = max([spot.start + m.end() for m in COMPARISON.finditer(text[spot.start : q.start])], default=spot.start)
        inside = [p for p in usable if floor <= p.start < q.start or q.end <= p.start < right_end]
        if inside:
            return _key(text, inside[0], ctx)
        near = text[max(start, q.start - 60) : min(end, max(right_end, q.end + 4))]
        base = base_period(text, start, marks, spot, ctx)
        rest = [p for p in usable if p.start > q.end]
        if ctx.statement and rest:
            return _key(text, rest[0], ctx)
        if re.search(r"same period", near, re.IGNORECASE):
            return None
        if _PRIOR_YEAR.search(near) and base is not None and len(base) == 7:
            return shift(base, -12)
        if _PRIOR_MONTH.search(near) and base is not None and len(base) == 7:
            return shift(base, -1)
        return None
    stood = [p for p in usable if p.kind == "date" and p.start >= q.end]
    if stood and re.fullmatch(r"[^.;\d]{0,60}\bas (?:of|at) (?:the )?", text[q.end : stood[0].start]):
        return key_of(stood[0], ctx)
    closed = [p for p in usable if p.kind == "quarter" and p.start >= q.end]
    if closed and re.fullmatch(r"[^;.]{0,40}\b(?:by|at|as of) the end of (?:the )?", text[q.end : closed[0].start]):
        return key_of(closed[0], ctx)
    beside = [p for p in usable if q.end <= p.start < right_end and not COMPARISON.search(text[q.end : p.start])]
    if beside and _two_months(text, marks, beside[0]):
        return None  # `954.5 BTC in April and May`
    if beside and _beside(text, q.end, beside[0]):
        return _key(text, beside[0], ctx)
    return base_period(text, start, marks, spot, ctx)


WHICH_WAS = re.compile(
    r"\b(?:from|over|than|versus|compared (?:to|with))\s+[^,;.\d]{3,24}(?:20\d\d)?, (?:which|when|where)(?: it| they| the \w+| \w+ ?\w*)? (?:was|were|stood at|mined|produced|sold|held|had)\s*(?:approximately |about |\$)?\Z",
    re.IGNORECASE,
)
"""`a 5.2-per-cent increase from October, which was 3.94 EH/s`."""
_EARLIER = re.compile(
    r"(?:(?P<month>\b(?:previous|prior|preceding) month)|\b(?:last|previous|prior|preceding) year|\ba year (?:ago|earlier))\b"
    r"(?![^.;]*(?:%|\bto\b))(?!-)",
    re.IGNORECASE,
)


def _earlier(left: str) -> re.Match[str] | None:
    """`while last year it generated 3,733 BTC`: the clause speaks of another time than the document's."""
    m = _EARLIER.search(left)
    if m is None or COMPARISON.search(left[max(0, m.start() - 30) : m.start()]):
        return None
    return None if re.search(r"[,;]\s*(?:and|but|while|with)\b", left[m.end() :]) else m


_YEAR_BEFORE = re.compile(
    r"\s*(?:,? of (?:the )?(?:previous|prior|preceding|last) year|,? (?:a|one) year (?:ago|earlier|before)|,? last year|,? the (?:previous|prior) year)\b",
    re.IGNORECASE,
)


_LAST_YEARS = re.compile(r"(?:지난해|작년|去年|昨年|前年同)\s?(?:의\s?)?\Z")
"""`지난해 8월`: August of last year, told before the month."""


def _key(text: str, p: Period, ctx: Context) -> str | None:
    """The period as facts carry it; `August of the previous year` is a year back."""
    key = key_of(p, ctx)
    last_year = _YEAR_BEFORE.match(text, p.end) or _LAST_YEARS.search(text, max(0, p.start - 8), p.start)
    if p.year is None and p.kind == "month" and key is not None and last_year:
        return shift(ctx.period[:5] + key[5:7] if ctx.period else key, -12)
    return key


def _labelled(text: str, marks: list[Period], at: int) -> Period | None:
    """`(October 2024: 41.2 BTC)`: in brackets, a period and a colon date the figure behind them."""
    before = [p for p in marks if p.end <= at]
    if not before:
        return None
    gap = text[before[-1].end : at]
    lead = text[max(0, before[-1].start - 30) : before[-1].start]
    if re.fullmatch(r"\s?[:：=]\s?(?:approximately |about |~|US\s?)?\$?", gap) and re.search(
        r"[(\[][^()\[\]:]{0,28}$", lead
    ):
        return before[-1]
    if re.fullmatch(r"\s?", gap) and re.search(r"[(\[]\s?$", lead):
        return before[-1]  # `(June 2022 £3.38m)`
    return None


def _two_months(text: str, marks: list[Period], p: Period) -> bool:
    """Is the period the first of two months in one breath?"""
    after = [m for m in marks if m.start >= p.end]
    return bool(after) and after[0].kind == p.kind == "month" and bool(_AND.fullmatch(text[p.end : after[0].start]))


_AND = re.compile(r"\s*(?:and|to|through|&|-|und|et|y|e|bis|à|和|至|到)\s*", re.IGNORECASE)


def _beside(text: str, at: int, p: Period) -> bool:
    """`463 BTC in April`, `463 BTC (April)`; not `$3.1 million (May: $2.9 million)`."""
    gap = text[at : p.start]
    if "(" in gap:
        return bool(re.fullmatch(r"\s*\((?:in |for |as of |at )?", gap)) and text[p.end : p.end + 1] == ")"
    return bool(re.fullmatch(r"[^,;，、]{0,60}", gap))


def base_period(text: str, start: int, marks: list[Period], spot: Spot, ctx: Context) -> str | None:
    """The nearest period before the number that no comparison governs; else after it; else the document's."""
    q = spot.q
    told = [
        p for p in marks if p.end <= q.start and not _governed(text, start, p) and not _closed(text, start, p, q.start)
    ]
    if told and told[-1].kind == "span":
        return None  # `over the eight months ended August 31`
    spans = [p for p in marks if p.kind == "span" and p.start >= q.end]
    if spans and re.fullmatch(r"[^,;.\d]{0,50}\b(?:over|in|during|for) the ", text[q.end : spans[0].start]):
        return None  # `135.1 Bitcoins over the seven months ending July 31`
    free = [
        p
        for p in marks
        if p.kind != "span"
        and not _governed(text, start, p)
        and not _HALVING.match(text, p.end)
        and not (p.kind == "date" and _TOLD_ON.search(text, max(start, p.start - 90), p.start))
    ]
    before = [p for p in free if p.end <= q.start and not _closed(text, start, p, q.start)]
    if (
        len(before) > 1
        and before[-1].kind == before[-2].kind == "month"
        and _AND.fullmatch(text[before[-2].end : before[-1].start])
    ):
        return None  # one figure for two months
    if before:
        return _key(text, before[-1], ctx)
    after = [
        p
        for p in free
        if p.start >= q.end
        and not _for_another(text, q.end, p)
        and not _STANDS.search(text[q.end : p.start] + text[p.start : p.end + 8])
        and not re.search(
            r"%|"
            + w.DELTA.pattern
            + r"|\b(?:reduction|drop|decline|rise|up|down|higher|lower|due to|because|owing|attribut\w+|reflect\w*|following|after|since|driven|expected|until|before|ahead|by)\b",
            text[q.end : p.start],
            re.IGNORECASE,
        )
    ]
    if after and not ctx.statement and after[0].kind == "quarter" and ctx.period is not None:
        return ctx.reported or ctx.period
    if after and (ctx.statement or after[0].kind == "month" or (after[0].kind == "date" and after[0].ends_month)):
        key = _key(text, after[0], ctx)
        if (
            key is None
            or ctx.statement
            or ctx.period is None
            or (key[:4].isdigit() and key <= ctx.period)
            or key == ctx.period
        ):
            return key
    return ctx.reported or ctx.period


_TOLD_ON = re.compile(
    r"\b(?:reported|announced|released|published|disclosed|filed)\b[^.;,]{0,60}\bon (?:\w+day, )?\Z", re.IGNORECASE
)
"""`reported its earnings on August 15`: the day of the telling."""
_STANDS = re.compile(r"\d[^;]*\b(?:as (?:of|at)|at the end of|by)\s+(?:the )?\w+(?:[- ]end)?\b[^;]{0,16}\Z")
"""`revenue reached $30.6 million, the treasury 1,610 BTC as of October`: the day is that of the later figure."""
_HALVING = re.compile(r"(?:'s)? (?:\d{4} )?(?:bitcoin )?(?:halving|conference|storm|outage|meeting)\b", re.IGNORECASE)
"""`the April halving` names an event and dates no figure."""


def _closed(text: str, start: int, p: Period, at: int) -> bool:
    """A period that dated a bracket of its own, closed before the number: `98 (October: 101), or 3.3 per day`."""
    lead = text[max(start, p.start - 30) : p.start]
    return (
        bool(re.search(r"[(\[][^()\[\]]{0,28}$", lead))
        and bool(re.match(r"\s?[:：=]", text[p.end : p.end + 3]))
        and bool(re.search(r"[)\]]", text[p.end : at]))
    )


def _for_another(text: str, at: int, p: Period) -> bool:
    """A period that heads a bracket of its own, `44.7 BTC (October 2024: 41.2 BTC)`, dates what follows it."""
    gap = text[at : p.start]
    return gap.count("(") + gap.count("[") > gap.count(")") + gap.count("]") and bool(
        re.match(r"\s?[:：=]", text[p.end : p.end + 3])
    )


_COMPARED_CJK = re.compile(r"\s?(?:から|より|比(?!特)|に比べ|と比[べ較]|보다|대비)")
"""`7月から9%減少`: the comparison stands behind its month."""


def _governed(text: str, start: int, p: Period) -> bool:
    if _COMPARED_CJK.match(text, p.end):
        return True
    lead = text[max(start, p.start - 70) : p.start]
    found = None
    for m in COMPARISON.finditer(lead):
        found = m
    if found is not None and re.search(
        r"\b(?:update|report|release|statement|results|figures|data)s? from\s*$", lead[: found.end()]
    ):
        return False  # `a prior update from August`
    return found is not None and not re.search(r",(?!\d)|;|\bto\b|\bat\b", lead[found.end() :])


def _paired_period(
    text: str, start: int, end: int, marks: list[Period], spot: Spot, spots: list[Spot], i: int, ctx: Context
) -> str | None:
    """`As of December 31, 2025 and September 30, 2025 ... 11,452 and 10,428, respectively`; `from X in June to Y in July`; `from X to Y`."""
    if re.search(r"respectively|分别|jeweils|respectivement", text[spot.q.end : end]):
        same = [s for s in spots if s.q.unit == spot.q.unit]
        dated = [p for p in marks if p.end <= same[0].q.start]
        if len(same) == len(dated) and len(same) > 1:
            return _key(text, dated[same.index(spot)], ctx)
    before = text[start : spot.q.start]
    falling = re.search(r"\bfrom\s*(?:approximately|about|nearly|a )?\s*(?:US)?\$?\s*$", before, re.IGNORECASE)
    if falling is not None:
        following = spots[i + 1] if i + 1 < len(spots) else None
        own = [p for p in marks if spot.q.end <= p.start < (following.q.start if following else end)]
        if own and re.fullmatch(
            r"\s*(?:BTC|bitcoins?|EH/s)?\s*(?:in|for|at the end of|as of|during)?\s*",
            text[spot.q.end : own[0].start],
            re.IGNORECASE,
        ):
            return _key(text, own[0], ctx)
        if (
            following is not None
            and following.q.unit == spot.q.unit
            and re.search(
                r"\bto\s*(?:a record|approximately|about|just|over|nearly)?\s*$",
                text[spot.q.end : following.q.start],
                re.IGNORECASE,
            )
            and ctx.period is not None
        ):
            if re.search(r"beginning|start of", text[spot.q.end : following.q.start], re.IGNORECASE):
                return ""
            near = text[start:end]
            base = base_period(text, start, marks, following, ctx) or ctx.period
            if _PRIOR_YEAR.search(near) and not _PRIOR_MONTH.search(near) and len(base) == 7:
                return shift(base, -12)
            if _PRIOR_MONTH.search(near) and not _PRIOR_YEAR.search(near) and len(base) == 7:
                return shift(base, -1)
            return ""
    return None
