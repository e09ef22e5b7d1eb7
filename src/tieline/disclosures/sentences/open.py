"""The open reader: what every number of a sentence most likely is, in nine languages. It finds; it proves nothing.

`mentions` gives each number its words, `meaning` says which field it is, `dating` of when; here they become findings,
and sales are told from events.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.facts.fields import FLOWS
from tieline.disclosures.finding import MEDIUM, STRONG, Finding, convert
from tieline.disclosures.lexicon.periods import Period, periods
from tieline.disclosures.lexicon.words import AFTER_SALE, OF_MINING, phrases
from tieline.disclosures.sentences.changes import changes
from tieline.disclosures.sentences.dating import THE_MONTH, Carried, Dated, governed
from tieline.disclosures.sentences.meaning import PART, name_fields, name_in_order
from tieline.disclosures.sentences.mentions import Mention, mentions_of
from tieline.disclosures.sentences.passage import is_heading, section_of

_APPROX = phrases("about_a_number")
_NO_SALE = phrases("no_sale")
_INTENT = re.compile(r"\b(?:plans?|intends?|expects?|will|policy|strategy|since|years?)\b", re.IGNORECASE)
_GONE = re.compile(r"\b(?:this|last|over the) weekend\b", re.IGNORECASE)
_WORTH = phrases("worth_reading")
BALANCES = ("btc_held_end", "free_btc", "restricted_or_pledged_btc", "lent_btc")


def _taken_up(text: str, start: int, end: int, carried: Carried, reported: str | None, ctx: Context) -> None:
    """What a heading, and a line's beginning, say of when the sentences behind them are."""
    if is_heading(text, start, end):
        carried.reported = section_of(text[start:end], ctx) or reported
    if "\n" in text[max(0, start - 2) : start]:
        carried.period = carried.reported


def claims(text: str, spans: list[tuple[int, int]], ctx: Context, reported: str | None = None) -> list[Finding]:
    """Everything that the sentences may say. `reported`: the quarter that a report on one is about."""
    out: list[Finding] = []
    carried = Carried(reported, reported)
    for start, end in spans:
        _taken_up(text, start, end, carried, reported, ctx)
        if not _WORTH.search(text, start, end):
            continue
        marks = periods(text, start, end)
        carried.sentence(text[start:end], [p for p in marks if not governed(text, start, p)], ctx)
        mentions = mentions_of(text, start, end, marks, ctx.style)
        name_fields(text, start, end, mentions)
        base = ctx.period if carried.period is None else carried.period or None
        _date(Dated(text, start, end, marks, mentions, ctx, base, carried.other), carried)
        name_in_order(text, end, mentions)
        findings = [c for m in mentions if (c := _claim(text, m, ctx)) is not None]
        findings = _sold_out(text, start, end, mentions, findings, ctx)
        findings.extend(_none_sold(text, start, end, marks, ctx, findings))
        findings.extend(changes(text, start, marks, mentions, ctx))
        out.extend(findings)
    return _events(text, out, ctx)


def _date(sentence: Dated, carried: Carried) -> None:
    """Say of each number of a sentence of when it is."""
    for i, m in enumerate(sentence.mentions):
        m.dated = bool(sentence.marks)
        m.period = replace(sentence, other=carried.other).period(i)
        if m.compared and m.period and len(m.period) == 7 and m.period != sentence.ctx.period:
            carried.other = m.period


_STANDS_FOR = {
    "hashrate_unnamed": "deployed_ehs",
    "hashrate_total": "deployed_ehs",
    "btc_held_after_sale": "btc_held_end",
}


def _claim(text: str, m: Mention, ctx: Context) -> Finding | None:
    if m.field is None or m.period is None:
        return None
    name = m.field
    if _is_never(name, m.period):
        return None
    if "Q" in m.period and (name in BALANCES or (name.endswith("_ehs") and name != "avg_operating_ehs")):
        m.period = f"{m.period[:4]}-{int(m.period[5]) * 3:02d}"
    if ctx.other_dollars and m.q.unit == "USD" and "US" not in text[max(0, m.q.start - 3) : m.q.end]:
        return None  # another country's dollars
    value = convert(_STANDS_FOR.get(name, name), m.q, None)
    if isinstance(value, str):
        return None
    start, end = min(m.at, m.q.start), m.q.end + min(60, len(m.right))
    whole = name == "revenue_usd" and OF_MINING.search(m.clause) is None  # of what business is not said
    strength = MEDIUM if name == "hashrate_unnamed" or whole else STRONG
    finding = Finding(name, value, m.period, start, end, m.q.printed, f"open:{name}", strength, at=m.q.start)
    finding.dated = m.dated
    finding.holds_parts = bool(PART.search(m.right + text[m.q.end : m.q.end + 90].split(". ")[0]))
    finding.approximate = bool(_APPROX.search(text[max(0, m.q.start - 24) : m.q.start].rstrip()))
    return finding


_OF_YEARS = FLOWS | {"revenue_usd", "sale_proceeds_usd"}
_OF_NO_DAY = ("btc_produced", "avg_btc_per_day", "avg_operating_ehs", "blocks_won")


def _is_never(field: str, period: str) -> bool:
    """Has a field no figure for such a period: what flows none for a day, what stands none for a year?"""
    length = len(period)
    if length == 4:
        return field not in _OF_YEARS
    return length == 10 and field in _OF_NO_DAY


_ALL = re.compile(r"\bsold (?:all|the whole|everything)\b[^.;]{0,20}$", re.IGNORECASE)
_REST = phrases("rest_of_a_holding")
_NONE_LEFT = phrases("none_left")


def _sold_out(
    text: str, start: int, end: int, mentions: list[Mention], findings: list[Finding], ctx: Context
) -> list[Finding]:
    """`sold all 189.8 BTC mined and its remaining reserve of 943.1 BTC; reserves were zero`: mined, sold in sum, none held."""
    by_place = {c.at: c for c in findings}
    for m, rest in zip(mentions, [*mentions[1:], None], strict=False):
        sale = by_place.get(m.q.start)
        if sale is None or sale.field != "btc_sold" or not _ALL.search(text[start : m.q.start]):
            continue
        if re.match(r"\s*(?:that (?:it|were) )?(?:mined|produced)\b", m.right):
            findings.append(replace(sale, field="btc_produced", rule="open:btc_produced"))
        if rest is not None and rest.q.unit == "BTC" and _REST.search(rest.left):
            findings = [c for c in findings if c is not sale and c.at != rest.q.start]
            total, printed = sale.value + rest.q.value, f"{m.q.printed} + {rest.q.printed}"
            findings.append(replace(sale, value=total, printed=printed, end=rest.q.end, method="sum"))
    none = _NONE_LEFT.search(text, start, end)
    key = _nearest_key(text, start, periods(text, start, end), ("month", "date"), ctx, -1)
    if none is not None and key is not None:
        begin, stop = none.span()
        zero = Finding(
            "btc_held_end", Decimal(0), key, begin, stop, none["none"], "open:none-held", at=none.start("none")
        )
        findings.append(zero)
    return findings


def _nearest_key(
    text: str, start: int, marks: list[Period], kinds: tuple[str, ...], ctx: Context, which: int
) -> str | None:
    """The first (0) or last (-1) period of a sentence that no comparison governs; else the document's month."""
    near = [p for p in marks if p.kind in kinds and not governed(text, start, p)]
    return key_of(near[which], ctx) if near else ctx.period


def _none_sold(
    text: str, start: int, end: int, marks: list[Period], ctx: Context, findings: list[Finding]
) -> list[Finding]:
    m = _NO_SALE.search(text, start, end)
    if m is None or _INTENT.search(text[max(start, m.start() - 60) : m.end() + 40]):
        return []
    key = _nearest_key(text, start, marks, ("month",), ctx, 0)
    if key is None or any(c.field == "btc_sold" and c.period == key for c in findings):
        return []
    return [Finding("btc_sold", Decimal(0), key, *m.span(), m[0], "open:no-sale", at=m.start())]


def _events(text: str, findings: list[Finding], ctx: Context) -> list[Finding]:
    """A sale that no month is told for, beside one that has its month, was announced when the text came out.

    A day is taken from the text; `this weekend` is the Sunday before publication; else it is the month of publication.
    """
    sales = [c for c in findings if c.field == "btc_sold"]
    of_a_day = [c for c in sales if len(c.period) == 10]
    days = {c.value: c.period for c in of_a_day}
    for c in of_a_day:
        c.field = "btc_announced_sale"
    if (when := _told_on(text, ctx)) is not None:
        _announce(text, [c for c in sales if c not in of_a_day], days, when, ctx)
        _date_with_sales(text, findings, days, when)
    return findings


def _announce(text: str, sales: list[Finding], days: dict[Decimal, str], when: str, ctx: Context) -> None:
    dated = [c for c in sales if _dated(text, c)]
    values = {c.value for c in dated if c.period == ctx.period}
    announced = bool(values) or AFTER_SALE.search(text) is not None
    for c in sales:
        if c not in dated and c.value not in values and (announced or c.value in days):
            c.field, c.period = "btc_announced_sale", days.get(c.value, when)


def _date_with_sales(text: str, findings: list[Finding], days: dict[Decimal, str], when: str) -> None:
    """What was received for an announced sale, and what was left after it, are of its day."""
    spans = [(text.rfind(".", 0, c.at) + 1, c.at + 160, c.period) for c in findings if c.field == "btc_announced_sale"]
    for c in findings:
        if c.field == "btc_held_after_sale" and len(c.period) == 7 and c.value not in days:
            c.period = next(iter(days.values()), when)
        elif c.field == "sale_proceeds_usd":
            c.period = next((period for a, b, period in spans if a <= c.at <= b), c.period)


def _dated(text: str, c: Finding) -> bool:
    """Does the sentence of a claim name a month?"""
    start = max(text.rfind(mark, 0, c.at) for mark in (". ", ".\n", "\n"))
    ends = [e for e in (text.find(". ", c.at), text.find("\n", c.at)) if e >= 0]
    sentence = text[start + 1 : min(ends) if ends else len(text)]
    return any(p.kind == "month" for p in periods(sentence)) or bool(THE_MONTH.search(sentence))


def _told_on(text: str, ctx: Context) -> str | None:
    published = ctx.published or ""
    if _GONE.search(text) and len(published) == 10:
        day = date.fromisoformat(published)
        return (day - timedelta(days=(day.weekday() + 1) % 7 or 7)).isoformat()
    return published[:7] or None
