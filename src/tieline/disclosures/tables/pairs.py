"""`Label: value` lines, with the other month's value beside it: `30 BTC (vs 32 BTC in Mar 2025)`.

Knows nothing of tables. The value stands right behind the label; what else the line holds is another month's figure
where it names that month, and nothing otherwise.
"""

from __future__ import annotations

import re
from typing import Literal

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.finding import STRONG, WEAK, Finding, convert
from tieline.disclosures.lexicon.numbers import PrintedNumber, quantities
from tieline.disclosures.lexicon.periods import Period, as_heading, periods
from tieline.disclosures.rules.labels import PERCENTAGES
from tieline.disclosures.rules.naming import classify, period_in
from tieline.disclosures.tables.cells import CHANGE

_PAIR = re.compile(
    r"(?m)(?:^|(?<=[.;][ \t])(?<!Avg\.[ \t])(?<!avg\.[ \t])(?<!AVG\.[ \t]))[ \t>*-]*(?P<label>[^\n|:：;]{3,90}?)[ \t]*[:：][ \t]*(?:\n[ \t]*){0,2}(?=[\w$€£(~≈])"
)
_FIRST_PERIOD = re.compile(r"[ \t]*[(\[][ \t]*(?P<when>[^()\[\]:：\n]{3,24}?)[ \t]*[:：=][ \t]*")
"""`44.7 BTC (October 2024: 41.2 BTC)`: the month stands before the other figure."""
_BESIDE = re.compile(
    r"[ \t]*[,(\[]?[ \t]*(?:(?:an? )?\d[\d.,]*[ ]?%[^,;.()\d]{0,30}(?:from|than|against|vs\.?)|vs\.?|versus|compared (?:to|with)|up from|down from|from|against"
    r"|prior month:?|previous month:?|前月|上月|较|vorher|vormonat:?)[ \t]*",
    re.IGNORECASE,
)
_LEAD = re.compile(r"\s*(?:approx(?:imately|\.)?|about|ca\.|约|約|rund|~|≈)?\s*", re.IGNORECASE)
_VALUE_LINE = re.compile(
    r"[^\n]{0,12}\n\s*(?:[~≈]\s?)?[($€£]{0,2}\d[\d.,]*[^\n]{0,12}(?:\n|\Z)|[^\n]{0,12}\n\s*(?:-|N/A)\s*(?:\n|\Z)"
)


def pairs(text: str, ctx: Context) -> list[Finding]:
    """Every figure that stands behind a label and a colon."""
    out: list[Finding] = []
    for m in _PAIR.finditer(text):
        end = text.find("\n", m.end())
        end = len(text) if end < 0 else end
        numbers = quantities(text, m.end(), min(end, m.end() + 160), ctx.style)
        label = re.sub(r"\s+", " ", m["label"])
        named = classify(label, numbers[0].unit) if numbers and _is_pair(text, m, numbers[0]) else None
        if named is not None and numbers[0].unit == "%" and named.field not in PERCENTAGES:
            continue
        over = _heads_list(text, m.start()) if named is not None else None
        if named is None or over is False:
            continue
        for number, key, dated in _told(text, m, numbers, end, ctx, over):
            value = convert(named.field, number, named.unit)
            if isinstance(value, str) or number.unit not in (numbers[0].unit, None):
                continue
            out.append(
                Finding(
                    named.field, value, key, m.start("label"), number.end, number.printed, f"pair:{named.rule}",
                    WEAK if named.weak else STRONG, named.scope, label=label, dated=dated, at=number.start,
                )
            )  # fmt: skip
    return out


def _told(
    text: str, m: re.Match[str], numbers: list[PrintedNumber], end: int, ctx: Context, over: Period | None
) -> list[tuple[PrintedNumber, str, bool]]:
    """The figure and that of another month beside it, each with its period and whether that is stated."""
    q = numbers[0]
    if "\n" in text[m.end("label") : q.start] and _VALUE_LINE.match(text, q.end):
        return []  # the first of several columns
    own = period_in(m["label"]) or over
    period = key_of(own, ctx) if own is not None else ctx.period
    dated = [] if period is None else [(q, period, own is not None)]
    other = _other_month(text, numbers, end, ctx)
    if other is not None and other[1] is not None and other[1] != period:
        dated.append((other[0], other[1], True))
    return dated


def _is_pair(text: str, m: re.Match[str], q: PrintedNumber) -> bool:
    """Does the value stand right behind the label, and is what stands before it a label?"""
    label = m["label"]
    if label.count("(") != label.count(")") or re.search(r"[$€£]\s?\d|\d[,.]\d", label):
        return False  # a sentence with figures of its own, not a label
    whole = not re.match(r"\s*(?:-|to|bis|和|至)\s*\d", text[q.end : q.end + 8])
    return whole and _LEAD.fullmatch(text, m.end(), q.start) is not None and not _notes_only(text, q)


def _notes_only(text: str, q: PrintedNumber) -> bool:
    """`Bitcoin sold:3`, `Bitcoin sold: (3)`, `Bitcoin sold: 3 | 41`: the number of a note, with no value or before it."""
    if q.unit is not None or q.decimals or not 0 < abs(q.value) < 10:
        return False
    beside = re.match(r"\)?:?\s*(?:\||[($€£~]*\d)", text[q.end : q.end + 8])
    return q.negative or text[q.start - 1] in ":：(" or beside is not None


def _other_month(
    text: str, numbers: list[PrintedNumber], end: int, ctx: Context
) -> tuple[PrintedNumber, str | None] | None:
    """The value of another month on the same line, which names it: before the figure and a colon, or behind it."""
    q = numbers[0]
    earlier = _FIRST_PERIOD.match(text, q.end)
    if earlier is not None:
        behind = [x for x in numbers[1:] if x.start >= earlier.end()]
        named = periods(text, earlier.start("when"), earlier.end("when") + 1)
        if behind and len(named) == 1 and not text[earlier.end() : behind[0].start].strip(" $US€£"):
            return behind[0], key_of(named[0], ctx)
        return None
    beside = _BESIDE.match(text, q.end)
    others = [x for x in numbers[1:] if x.unit != "%"]
    if beside is None or not others or others[0].start != beside.end():
        return None
    when = [p for p in periods(text, others[0].end, end) if p.start - others[0].end < 30]
    return (others[0], key_of(when[0], ctx)) if when else None


def _heads_list(text: str, at: int) -> Period | Literal[False] | None:
    """The month that stands alone over a list of pairs: `June 2025`, then `Bitcoin mined: 41`.

    False where what stands there is no month: `YTD 2025`. Two months above one another head columns.
    """
    above: Period | None = None
    for line in reversed(text[max(0, at - 1500) : at].split("\n")[:-1]):
        if not line.strip() or _PAIR.match(line):
            if above is not None:
                return above
            continue
        if CHANGE.fullmatch(line.strip(" :*#|")):
            return False if above is None else None
        spans = periods(line)
        alone = len(spans) == 1 and len(line.strip(" :*-#|")) <= spans[0].end - spans[0].start + 2
        if above is not None:
            return None if alone else above
        if not alone:
            return None
        above = as_heading(spans[0])
    return above
