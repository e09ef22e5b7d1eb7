"""The licences of sentences that no grammar proves: of texts in other languages than English.

Knows nothing of fields. A finding of the open reader keeps its licences where its sentence states its month itself, or
the title does and the sentence names no other, and no row of `rules.foreign` bars it. It is a fact only where a second
voice says the same.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.facts.fact import Licence
from tieline.disclosures.finding import Finding
from tieline.disclosures.lexicon.periods import periods, shift
from tieline.disclosures.rules.foreign import barred
from tieline.disclosures.sentences.frame import Frame


def license_foreign(
    text: str, found: Iterable[Finding], spans: list[tuple[int, int]], ctx: Context, frame: Frame
) -> None:
    """Mark the open reader's figures that their sentences leave as they are; say in `lacks` what the others lack."""
    starts = [start for start, _ in spans]
    for c in found:
        k = bisect_right(starts, c.at) - 1
        if c.rule.startswith("open") and k >= 0 and not c.licensed:
            c.lacks = _lacks(text, c, spans[k], ctx, frame)
            c.licensed = c.lacks is None


def _lacks(text: str, c: Finding, span: tuple[int, int], ctx: Context, frame: Frame) -> tuple[Licence, str] | None:
    sentence = text[slice(*span)]
    if (missing := barred(sentence)) is not None:
        return missing
    named = periods(text, *span)
    year_before = any(0 <= c.at - p.end <= 2 for p in named)
    if not year_before and re.search(r"\d[ ,.']?$", text[max(0, c.at - 2) : c.at]):
        return "token", f"digits stand right before {c.printed}"
    if any(p.kind in ("year", "span", "week", "quarter") for p in named):
        return "window", "the sentence speaks of a span that is no month"
    keys = {key_of(p, ctx) for p in named}
    stated = c.period in keys or (frame.period is not None and not (keys - {frame.period, shift(frame.period, -1)}))
    known = {frame.period, shift(frame.period, -1) if frame.period else None, *keys}
    return None if stated and c.period in known else ("period", f"nothing states {c.period}")
