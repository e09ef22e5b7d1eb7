"""By how much production changed since the month before: `mined 88 BTC, up 8.8% from September`, `grew 27% M/M to 88 BTC`.

Finds; proves nothing. The percentage stands beside the month's production and says of which month it is a change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.finding import Finding
from tieline.disclosures.lexicon.periods import Period, shift
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.sentences.mentions import Mention

_DOWN, _UP = phrases("moved_down"), phrases("moved_up")
_MONTHLY = phrases("since_the_month_before")
_FIELD = "btc_produced_mom_pct"
_SINCE = phrases("since_a_month")
_NEAR, _BEFORE = 70, 40
"""Characters between a production and the change told behind it, and from a change to the production told behind it."""


def changes(text: str, start: int, marks: list[Period], mentions: list[Mention], ctx: Context) -> Iterator[Finding]:
    """The changes that a sentence tells of production since the month before."""
    produced = list(filter(_is_production, mentions))
    for m in (m for m in mentions if m.q.unit == "%" and m.field is None):
        of = next((p for p in produced if _is_beside(text, p, m, mentions)), None)
        sign = _sign(text, start, m)
        if of is not None and sign is not None and _is_monthly(text, of.period or "", m, marks, ctx):
            begin, stop = min(of.q.start, m.q.start), max(of.q.end, m.q.end)
            rule, value = f"open:{_FIELD}", sign * abs(m.q.value)
            yield Finding(_FIELD, value, of.period or "", begin, stop, m.q.printed, rule, at=m.q.start)


def _is_production(m: Mention) -> bool:
    return m.field == "btc_produced" and not m.compared and len(m.period or "") == 7


def _is_beside(text: str, produced: Mention, change: Mention, mentions: list[Mention]) -> bool:
    """Does no other number but a percentage stand between a production and its change?"""
    a, b = sorted((produced.q, change.q), key=lambda q: q.start)
    if b.start - a.end > (_NEAR if a is produced.q else _BEFORE) or re.search(r"[.;]\s", text[a.end : b.start]):
        return False
    return not any(a.end <= m.q.start < b.start and m.q.unit != "%" for m in mentions)


def _sign(text: str, start: int, m: Mention) -> int | None:
    """Up or down, by the sign or the nearest word beside it; None where neither is told."""
    before, behind = text[max(start, m.q.start - 60) : m.q.start], text[m.q.end : m.q.end + 20]
    printed = re.search(r"[-−–+]\s?\Z", before) or re.match(r"[-−–+]", text[m.q.start])
    if printed is not None:
        return 1 if "+" in printed[0] else -1
    down = [hit.start() for hit in _DOWN.finditer(before)] or [-1]
    up = [hit.start() for hit in _UP.finditer(before)] or [-1]
    if (down[-1], up[-1]) == (-1, -1):
        return -1 if _DOWN.search(behind) else 1 if _UP.search(behind) else None
    return -1 if down[-1] > up[-1] else 1


def _is_monthly(text: str, of: str, m: Mention, marks: list[Period], ctx: Context) -> bool:
    """Is the change one since the month before that of the production?"""
    behind = text[m.q.end : m.q.end + 60]
    named = next((p for p in marks if 0 <= p.start - m.q.end < len(behind)), None)
    if named is not None and _SINCE.match(text[m.q.end : named.start]):
        return key_of(named, ctx) == shift(of, -1)
    monthly = _MONTHLY.search(behind)
    return monthly is not None and not re.search(r"[\d%;]|\. ", behind[: monthly.start()])
