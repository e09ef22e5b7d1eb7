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
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.labels import PERCENTAGES
from tieline.disclosures.rules.naming import classify, earlier, period_in
from tieline.disclosures.tables.cells import CHANGE

_PAIR, _FIRST_PERIOD, _BESIDE = phrases("pair"), phrases("period_first"), phrases("beside")
_LEAD, _VALUE_LINE = phrases("lead_of_value"), phrases("value_line")


def pairs(text: str, ctx: Context) -> list[Finding]:
    """Every figure that stands behind a label and a colon."""
    out: list[Finding] = []
    for m in _PAIR.finditer(text):
        end = (text.find("\n", m.end()) + 1 or len(text) + 1) - 1
        numbers = quantities(text, m.end(), min(end, m.end() + 160), ctx.style)
        label = re.sub(r"\s+", " ", m["label"])
        named = classify(label, numbers[0].unit) if numbers and _is_pair(text, m, numbers[0]) else None
        if named is None or (numbers[0].unit == "%" and named.field not in PERCENTAGES):
            continue
        for number, key, dated in _told(text, m, numbers, end, ctx):
            value = convert(named.field, number, named.unit)
            if not isinstance(value, str) and number.unit in (numbers[0].unit, None):
                out.append(
                    Finding(
                        named.field, value, key, m.start("label"), number.end, number.printed, f"pair:{named.rule}",
                        WEAK if named.weak else STRONG, named.scope, label=label, dated=dated, at=number.start,
                    )
                )  # fmt: skip
    return out


def _is_pair(text: str, m: re.Match[str], q: PrintedNumber) -> bool:
    """Does the value stand right behind the label, and is what stands before it a label?"""
    label, behind = m["label"], text[q.end : q.end + 8]
    if label.count("(") != label.count(")") or re.search(r"[$€£]\s?\d|\d[,.]\d", label):
        return False  # a sentence with figures of its own, not a label
    if _LEAD.fullmatch(text, m.end(), q.start) is None or re.match(r"\s*(?:-|to|bis|和|至)\s*\d", behind):
        return False
    if q.unit is not None or q.decimals or not 0 < abs(q.value) < 10:
        return True
    # `Bitcoin sold:3`, `Bitcoin sold: (3)`, `Bitcoin sold: 3 | 41`: the number of a note, with no value or before it.
    return not (q.negative or text[q.start - 1] in ":：(" or re.match(r"\)?:?\s*(?:\||[($€£~]*\d)", behind))


def _told(
    text: str, m: re.Match[str], numbers: list[PrintedNumber], end: int, ctx: Context
) -> list[tuple[PrintedNumber, str, bool]]:
    """The figure and that of another month beside it, each with its period and whether that is stated."""
    q = numbers[0]
    over = _heads_list(text, m.start())
    if over is False or ("\n" in text[m.end("label") : q.start] and _VALUE_LINE.match(text, q.end)):
        return []  # of no month, or the first of several columns
    own = period_in(m["label"]) or over
    period = key_of(own, ctx) if own is not None else earlier(m["label"], ctx.period)
    dated = [] if period is None else [(q, period, own is not None)]
    other, named = _other_month(text, numbers, end)
    key = key_of(named, ctx) if named is not None else None
    if other is not None and key is not None and key != period:
        dated.append((other, key, True))
    return dated


def _other_month(text: str, numbers: list[PrintedNumber], end: int) -> tuple[PrintedNumber | None, Period | None]:
    """The value of another month on the same line, which names it: before the figure and a colon, or behind it."""
    q, *others = numbers
    if (earlier := _FIRST_PERIOD.match(text, q.end)) is not None:
        other = next((x for x in others if x.start >= earlier.end()), None)
        when = periods(text, *earlier.span("when"))
        fits = other is not None and len(when) == 1 and not text[earlier.end() : other.start].strip(" $US€£")
    else:
        beside = _BESIDE.match(text, q.end)
        other = next((x for x in others if x.unit != "%"), None)
        when = [p for p in periods(text, other.end, end) if p.start - other.end < 30] if other is not None else []
        fits = beside is not None and other is not None and other.start == beside.end()
    return (other, when[0]) if fits and when else (None, None)


def _heads_list(text: str, at: int) -> Period | Literal[False] | None:
    """The month that stands alone over a list of pairs: `June 2025`, then `Bitcoin mined: 41`.

    False where what stands there is no month: `YTD 2025`. Two months above one another head columns.
    """
    lines = text[max(0, at - 1500) : at].split("\n")[:-1]
    while lines and (not lines[-1].strip() or _PAIR.match(lines[-1])):
        lines.pop()
    above, head = _alone(lines[-2]) if lines[1:] else None, _alone(lines[-1]) if lines else None
    if lines and CHANGE.fullmatch(lines[-1].strip(" :*#|")):
        return False
    return as_heading(head) if head is not None and above is None else None


def _alone(line: str) -> Period | None:
    """The period that a line is made of."""
    spans = periods(line)
    alone = len(spans) == 1 and len(line.strip(" :*-#|")) <= spans[0].end - spans[0].start + 2
    return spans[0] if alone else None
