"""What a document is about before any figure is read: its language, its month, whether it is a monthly update.

Knows nothing of fields. The month comes from the columns or the title; where neither says it, from the month
before publication. Without any year nothing is dated and nothing can be stored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tieline.disclosures.lexicon.numbers import style_of
from tieline.disclosures.lexicon.periods import (
    QUARTERS,
    Period,
    as_heading,
    periods,
    resolve,
    shift,
    shift_quarters,
    without,
)
from tieline.disclosures.lexicon.words import languages, phrases

_STATEMENT, _UPDATE, _WIRES = phrases("statement"), phrases("of_update"), phrases("wires")
_STANDS_AT, _OF_MONTHS, _COMPARED = phrases("stands_at"), phrases("of_months"), phrases("compared")
_OTHER_DOLLARS, _US_DOLLARS = phrases("other_dollars"), phrases("us_dollars")
_OWN_QUARTER, _YEAR_TOLD = phrases("own_quarter"), phrases("year_told")
Month = tuple[int, int]
"""Year and month."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the reader knows before it reads figures."""

    language: str
    style: str
    period: str | None
    """The document's month, YYYY-MM."""
    reference: Month | None
    """The month against which a month without a year is resolved."""
    statement: bool
    """A note to financial statements, not a monthly update: dates stay dates."""
    published: str | None
    other_dollars: bool = False
    """Some amounts are in another country's dollars and none is marked as in those of the United States."""
    fiscal: int = 0
    """Quarters by which the calendar is off from the issuer's own: -1 where its first quarter ends with December."""


def _is_ahead(p: Period, ctx: Context) -> bool:
    """Is a quarter without its year one that was not over: an outlook, or one of a year of the issuer's own?"""
    if p.kind != "quarter" or p.year is not None or ctx.fiscal or ctx.reference is None:
        return False
    return 0 < p.month * 3 - ctx.reference[1] < 3


def key_of(p: Period, ctx: Context) -> str | None:
    """The period as facts carry it: a month-end date in a monthly update is that month."""
    if _is_ahead(p, ctx):
        return None
    resolved = resolve(p, ctx.reference)
    if p.numbered and ctx.fiscal and resolved.key is not None:
        return shift_quarters(resolved.key, ctx.fiscal)
    if resolved.kind == "date" and resolved.ends_month and not ctx.statement:
        resolved = replace(resolved, kind="month", day=None)
    if resolved.kind == "date" and p.loose is not None and p.year is None and p.loose >= 20 and not resolved.ends_month:
        return None
    return resolved.key


def understand(text: str, title: str | None, published: str | None) -> Context:
    """Read a document's frame."""
    language = language_of(text)
    date = _month_in(published) or dated(text)
    statement = len(_STATEMENT.findall(text[:60_000])) >= 2 and not _UPDATE.search(text[:60_000])
    month, against = _month(text[:60_000], title, date)
    foreign = bool(_OTHER_DOLLARS.search(text[:60_000])) and not _US_DOLLARS.search(text[:60_000])
    style = style_of(text, language)
    return Context(language, style, month, _reference(against), statement, published, foreign, _fiscal(text[:6000]))


def _fiscal(text: str) -> int:
    """By how many quarters the issuer's own year runs ahead: `its third quarter, the three months ended March 31`."""
    for m in _OWN_QUARTER.finditer(text):
        ends = [p for p in periods(m["end"]) if p.kind == "date" and p.ends_month and p.month % 3 == 0]
        number = int(m["digit"] or 0) or QUARTERS[(m["word"] or m["after"]).lower()[:4]]
        if ends:
            return -((number - ends[0].month // 3) % 4)
    return 0


def language_of(text: str) -> str:
    """The language by its commonest small words; Chinese, Japanese and Korean by their script."""
    sample = text[:6_000]
    kana = len(re.findall(r"[ぁ-んァ-ヶ]", sample))
    han = len(re.findall(r"[一-鿿]", sample))
    if len(re.findall(r"[가-힣]", sample)) > max(20, len(sample) * 0.15):
        return "ko"
    if han + kana > max(10, len(sample) * 0.05):
        return "ja" if kana > han * 0.3 else "zh"
    lowered = sample.lower()
    counts = {name: len(re.findall(pattern, lowered)) for name, pattern in languages().items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] > counts["en"] * 1.3 and counts[best] >= 3 else "en"


def _reference(month: str | None) -> Month | None:
    return (int(month[:4]), int(month[5:7])) if month else None


def _month_in(published: str | None) -> str | None:
    m = re.match(r"20\d\d-(?:0[1-9]|1[0-2])", published or "")
    return m[0] if m else None


def dated(text: str) -> str | None:
    """The month of a document's own dateline, YYYY-MM.

    `SINGAPORE, May 14, 2026 (GLOBE NEWSWIRE)`: a full date near a wire's name, or a line that is only a date.
    """
    head = text[:6000]
    wire = _WIRES.search(head)
    beside = head[max(0, wire.start() - 120) : wire.end() + 40] if wire else ""
    alone = (line for line in head.split("\n")[:12] if len(line) < 60 and _is_date(line))
    days = (p for line in (beside, *alone) for p in periods(line) if p.kind == "date" and p.year is not None)
    return next(map(_key, days), None)


def _is_date(line: str) -> bool:
    """Is a line one date, perhaps with the time of day, and no other number?"""
    dates = periods(line)
    digits = re.search(r"\d", re.sub(r"\d{1,2}:\d\d(?::\d\d)?", "", without(line, dates)))
    return len(dates) == 1 and digits is None and not re.search(r"as of|ended|\bvs\b", line, re.IGNORECASE)


def is_dateline(line: str, dated: Sequence[Period]) -> bool:
    """`AUSTIN, Texas, May 5, 2025 /PRNewswire/`: a place, a day, perhaps a wire; it heads nothing."""
    days = [p for p in dated if p.kind == "date"]
    if not days or len(line.split()) > 14:
        return bool(_WIRES.search(line)) and len(line.split()) <= 6
    words = _WIRES.sub("", without(line, days[:1]))
    return all(word[:1].isupper() for word in re.findall(r"[^\W\d_]+", words))


def date_notes(text: str, published: str | None) -> list[str]:
    """A warning where the date that the caller gives is not the one that the document bears."""
    given, borne = _month_in(published), dated(text)
    if given is None and borne is None:
        return ["the text bears no date and none was given: give --published, so that what is not over can be told"]
    differ = given is not None and borne is not None and given != borne
    return [f"published {published} was given, but the text is dated {borne}: check --published"] if differ else []


def _month(body: str, title: str | None, date: str | None) -> tuple[str | None, str | None]:
    """The document's month, and that against which months without a year are resolved."""
    every = [as_heading(p) if _in_heading(body, p) else p for p in _by_line(body)]
    own = [p for p in every if not _compared(body, p)]
    titled = _titled(title or "", date)
    if titled is not None:
        return titled, titled
    named = list(filter(_names_month, own))
    months = Counter(_key(p) for p in named if p.year is not None)
    if date is not None:
        bare = {p.month for p in named if p.year is None}
        return _published_month(body, own, months, bare, date), shift(date, -1)
    if months:  # the last one named; one that is mentioned a single time may be an outlook
        last = max(filter(lambda month: months[month] > 1, months), default=next(iter(months)))
        return last, last
    return None, max((f"{p.year}-12" for p in every if p.year is not None), default=None)


def _names_month(p: Period) -> bool:
    return p.kind == "month" or (p.kind == "date" and p.ends_month)


def _key(p: Period) -> str:
    return f"{p.year:04d}-{p.month:02d}"


def _published_month(body: str, own: list[Period], months: Counter[str], bare: set[int], date: str) -> str | None:
    """Of a text whose date is known: the month before it, unless it names other months or is on another span.

    `months` are those named with their year, `bare` those without.
    """
    before = shift(date, -1)
    if months[before] or int(before[5:]) in bare:
        return before
    if not (months or bare) and _of_another_span(body, own, before[:4]):
        return None
    if not months and _of_a_day(body, own, date):
        return None
    return max((m for m in months if shift(before, -4) <= m <= shift(before, 1)), default=before)


def _of_another_span(body: str, own: list[Period], year: str) -> bool:
    """A report on a year that is over, or on a quarter, which names no month."""
    years = {m[1] for m in _YEAR_TOLD.finditer(body)}
    return (bool(years - {year}) and year not in years) or any(
        p.kind == "quarter" and p.year and p.start < 300 for p in own
    )


def _of_a_day(body: str, own: list[Period], date: str) -> bool:
    """An announcement that tells of a day in the month of its publication and speaks of no month."""
    days = [p.start for p in own if p.kind == "date" and p.year is not None and _key(p) == date]
    told = any(at > 200 or _STANDS_AT.search(body, max(0, at - 12), at) for at in days)
    return told and _OF_MONTHS.search(body) is None


def _by_line(text: str) -> list[Period]:
    """Every period, sought only in the lines that may hold one."""
    return [p for line in re.finditer(r"[^\n]+", text) for p in periods(text, *line.span())]


def _compared(text: str, p: Period) -> bool:
    """Does the expression date a figure of another month: `from June`, `(vs 32 BTC in Mar 2025)`?"""
    lead = text[max(0, p.start - 60) : p.start]
    bracketed = re.search(r"[(\[][^()\[\]:]{0,20}$", lead) and re.match(r"\s?[:：=]", text[p.end : p.end + 3])
    return bool(bracketed) or _COMPARED.search(lead) is not None


def _titled(title: str, date: str | None) -> str | None:
    """The month in the title, when it is one month and no later than publication."""
    spans = [p for p in periods(title) if p.kind in ("month", "date") and not _compared(title, p)]
    resolved = [resolve(p, _reference(date and shift(date, -1))) for p in spans]
    keys = {_key(p) for p in resolved if p.year is not None and _names_month(p)}
    key = keys.pop() if len(keys) == 1 else None
    return key if date is None or key is None or shift(date, -5) <= key <= date else None


def _in_heading(text: str, p: Period) -> bool:
    """Does the expression stand in a line of little else, as headings do?"""
    start = text.rfind("\n", 0, p.start) + 1
    end = text.find("\n", p.end)
    line = text[start : end if end >= 0 else len(text)]
    if len(line) > 400 or (line.rstrip().endswith(".") and len(line.split()) > 9):
        return False
    return len(periods(line)) >= 2 or len(line.strip()) <= len(text[p.start : p.end]) + 6
