"""The open reader: what every number of a sentence most likely is, in nine languages. It finds; it proves nothing.

Each number owns the words between it and its neighbours, split at the first comma or conjunction. The first row of
`rules.cues` that fits decides the field, else the nearest verb; the nearest period that no comparison governs dates
it. A figure behind a comparison is the same thing at another time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from tieline.disclosures.documents.context import Context, key_of
from tieline.disclosures.finding import MEDIUM, STRONG, Finding, convert
from tieline.disclosures.lexicon import words as w
from tieline.disclosures.lexicon.numbers import PrintedNumber, quantities, to_decimal
from tieline.disclosures.lexicon.periods import Period, periods, shift
from tieline.disclosures.rules.cues import (
    AFTER_SALE,
    CHANGE,
    CHANGE_BEHIND,
    COINS,
    DOLLARS,
    HASHRATE,
    MORE,
    SHARES,
    VERBS,
    Cue,
)
from tieline.disclosures.sentences.split import COMPARISON

_CUT = re.compile(
    r",(?!\d)|;|，|；|、|。|\s-\s|\b(?:while|whereas|but|and|which|with|und|et|y|e|während|tandis|mientras|и)\b|\(|\)",
    re.IGNORECASE,
)
_SPLIT_DIGITS = re.compile(
    r"(?<![\d.,])\d{1,3}(?:(?: |, )\d{3})+(?:[.,]\d{1,2})?(?![\d])(?=\s?(?:BTC|[Bb]itcoins?|EH))"
)
_APPROX = re.compile(
    r"(?:approximately|about|roughly|nearly|almost|around|over|more than|some|circa|ca\.|rund|etwa|environ|aproximadamente|unos|近|约|約|超过|超過)\s*(?:US)?[$€]?$",
    re.IGNORECASE,
)
_NO_SALE = re.compile(
    r"(?:did not|didn't|chose not to|opted not to|opting (?:not to|against)|decided not to|without|refrained from|has not|have not|not)\s+(?:sell|sold|selling|monetiz\w+|liquidat\w+)(?:ing)?(?: any)?(?! (?:all|most|more))"
    r"|\bno (?:bitcoins?|btc|coins)(?: (?:was|were))? sold|\bsold:? (?:none|nil\b|nothing|no (?:bitcoins?|btc)|zero)\b|\bnone (?:of (?:it|them|these) )?(?:was|were) sold"
    r"|\ball (?:of the |of its )?(?:btc|bitcoins?) (?:produced|mined)[^.]{0,40}\b(?:hodl\w*|held|retained|kept)|keinen? (?:bitcoins?|btc) verkauft|n'a vendu aucun|no vendió|未出售|没有出售|沒有出售|売却していない|売却しなかった",
    re.IGNORECASE,
)
_INTENT = re.compile(r"\b(?:plans?|intends?|expects?|will|policy|strategy|since|years?)\b", re.IGNORECASE)
_PRIOR_MONTH = re.compile(
    r"\b(?:previous|prior|last|preceding) month|\b(?:a|one) month (?:earlier|ago|before|prior)|month[- ]o(?:ver|n)[- ]month|\bm/m\b|\bmom\b|vormonat|mois (?:précédent|dernier)|mes (?:anterior|pasado)|mese (?:precedente|scorso)|mês (?:passado|anterior)|上月|前月|环比",
    re.IGNORECASE,
)
_PRIOR_YEAR = re.compile(
    r"year[- ]o(?:ver|n)[- ]year|\by/y\b|\byoy\b|same month (?:a year|last year)|\b(?:a|one) year (?:ago|earlier)|\blast year\b|(?:prior|previous) year|vorjahr|année précédente|año anterior|同比|去年|지난해|작년|전년",
    re.IGNORECASE,
)
_OTHER_SPAN = re.compile(
    r"\b(?:(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\d+) months|first half|second half|(?:full|fiscal|calendar) year|in 20[12]\d\b(?!-)|weeks? (?:ended|ending|to))\b",
    re.IGNORECASE,
)
_QUARTERLY = re.compile(
    r"\b(?:in|during|for|over) the quarter\b|\bquarterly\b|\b(?:previous|prior|same) quarter\b", re.IGNORECASE
)
_THE_MONTH = re.compile(r"\b(?:last|this) month\b|\b(?:in|during|for) the month\b", re.IGNORECASE)
_AND = re.compile(r"\s*(?:and|to|through|&|-|und|et|y|e|bis|à|和|至|到)\s*", re.IGNORECASE)
_GONE = re.compile(r"\b(?:this|last|over the) weekend\b", re.IGNORECASE)
_WORTH = re.compile(
    r"\d|\b(?:hodl\w*|sold|sell)\b|\b(?:none|no|not|nine|eight|seven|six|five|four|three|two|one)\b|未|没有|沒有|なかった|ない",
    re.IGNORECASE,
)
BALANCES = ("btc_held_end", "free_btc", "restricted_or_pledged_btc", "lent_btc")


@dataclass(slots=True)
class Mention:
    """One number of a sentence with its own words."""

    q: PrintedNumber
    left: str
    right: str
    at: int
    """Where `left` begins."""
    compared: bool
    field: str | None = None
    period: str | None = None
    dated: bool = False
    """Its sentence holds a period; else it is carried or the document's."""


def claims(text: str, spans: list[tuple[int, int]], ctx: Context, reported: str | None = None) -> list[Finding]:
    """Everything that the sentences may say. `reported`: the quarter that a report on one is about."""
    out: list[Finding] = []
    carry: str | None = reported
    quarter = reported
    other: str | None = None  # the month that the document compares with
    for start, end in spans:
        if "\n" in text[max(0, start - 2) : start]:
            carry = reported
        if not _WORTH.search(text, start, end):
            continue
        marks = periods(text, start, end)
        if quarter is None:
            quarter = next((key_of(p, ctx) for p in marks if p.kind == "quarter"), None)
        sentence = text[start:end]
        carry = _carried(sentence, marks, ctx, carry, reported, quarter)
        mentions = _mentions(text, start, end, marks, ctx)
        for i, m in enumerate(mentions):
            m.field = _field(text, start, sentence, mentions, i)
            m.dated = bool(marks)
            base = ctx.period if carry is None else carry or None
            m.period = _period(Said(text, start, end, marks, mentions, ctx, base, other), i)
            if m.compared and m.period and len(m.period) == 7 and m.period != ctx.period:
                other = m.period
        _respectively(text, end, mentions)
        found = [c for m in mentions if (c := _claim(text, m, ctx)) is not None]
        found = _sold_out(text, start, end, mentions, found, ctx)
        found.extend(_none_sold(text, start, end, marks, ctx, found))
        out.extend(found)
    return _events(text, out, ctx)


def _carried(
    sentence: str, marks: list[Period], ctx: Context, carry: str | None, reported: str | None, quarter: str | None
) -> str | None:
    """The period that sentences from this one on are about: None is the document's own, "" is none that is known."""
    named = [p for p in marks if p.kind == "month" or (p.kind == "date" and not (carry or "").count("Q"))]
    only = [p for p in marks if p.kind == "quarter"]
    if only and not named:
        carry = key_of(only[0], ctx)
    elif named:
        carry = reported
    elif any(p.kind in ("span", "week", "year") for p in marks):
        carry = ""
    if not marks and _QUARTERLY.search(sentence):
        return quarter or ""
    if not marks and _THE_MONTH.search(sentence):
        return reported
    if _OTHER_SPAN.search(sentence) and not any(p.kind in ("month", "date") for p in marks):
        return ""
    return carry


# --- numbers and their words -------------------------------------------------------------------


def _mentions(text: str, start: int, end: int, marks: list[Period], ctx: Context) -> list[Mention]:
    found = _numbers(text, start, end, marks, ctx)
    _inherit_units(text, start, found)
    solid = [q for q in found if q.unit != "%"]
    out = []
    for q in found:
        beside = found if q.unit == "%" else solid
        before = next((o for o in reversed(beside) if o.end <= q.start), None)
        after = next((o for o in beside if o.start >= q.end), None)
        left_from = start if before is None else _left_from(text, before, q)
        right_to = min(end, q.end + 120) if after is None else _right_to(text, q, after)
        words = (text[left_from : q.start].replace("\n", " "), text[q.end : right_to].replace("\n", " "))
        lead = text[start if before is None else before.end : q.start]
        out.append(Mention(q, *words, left_from, _set_beside(lead, text[q.end : q.end + 8])))
    return out


def _numbers(text: str, start: int, end: int, marks: list[Period], ctx: Context) -> list[PrintedNumber]:
    """The sentence's numbers that are no dates, years or numbers of notes; split digits as one."""
    joined = [_joined(text, m, ctx.style) for m in _SPLIT_DIGITS.finditer(text, start, end)]
    found = [
        q
        for q in quantities(text, start, end, ctx.style)
        if not any(p.start < q.end and q.start < p.end for p in marks)
        and not (q.unit is None and q.decimals == 0 and "," not in q.printed and 2008 < q.value < 2045)
        and not any(j.start < q.end and q.start < j.end for j in joined)
    ]
    joined = [j for j in joined if not any(p.start < j.end and j.start < p.end for p in marks)]
    found = sorted([*found, *joined], key=lambda q: q.start)
    return [replace(q, negative=False) if q.negative else q for q in found if not _notes_number(text, q)]


def _left_from(text: str, before: PrintedNumber, q: PrintedNumber) -> int:
    """Where the words begin that belong to a number with another before it."""
    cut = _CUT.search(text[before.end : q.start])
    return before.end + (0 if cut is None else cut.start() if cut[0] in "()" else cut.end())


def _right_to(text: str, q: PrintedNumber, after: PrintedNumber) -> int:
    """Where the words end that belong to a number with another behind it."""
    gap = text[q.end : after.start]
    cut = _CUT.search(gap)
    if cut is not None and cut[0] == "(" and not gap[: cut.start()].strip():
        return after.start
    return q.end + (cut.start() if cut else len(gap))


def _set_beside(lead: str, tail: str) -> bool:
    """Is the number one that another is compared with, by the words before or behind it?"""
    if _BRACKETED.search(lead) or _COMPARED_BEHIND.match(tail):
        return True
    compared = max((m.end() for m in COMPARISON.finditer(lead)), default=-1)
    return compared >= 0 and not _NEXT_PART.search(lead[compared:])


_BRACKETED = re.compile(r"[(\[]\s*[^()\[\]\d]{2,20}(?:20\d\d)?\s?[:：]\s?(?:approximately |about |US)?\s?$")
_COMPARED_BEHIND = re.compile(r"\s?(?:BTC\s?)?(?:대비|보다|から|より)")
_NEXT_PART = re.compile(r",(?!\d)|;|\band\b|\bto\b|，|%", re.IGNORECASE)


def _notes_number(text: str, q: PrintedNumber) -> bool:
    """`Bitcoin held 2: 1,201` and `Bitcoin held (2)`: the number of a note."""
    if q.unit is not None or q.decimals or not 0 < abs(q.value) < 20:
        return False
    bracketed = "(" in text[max(0, q.start - 1) : q.start + 1] and ")" in text[q.end - 1 : q.end + 1]
    return bracketed or re.match(r"\)?\s?[:：]", text[q.end : q.end + 3]) is not None


def _joined(text: str, m: re.Match[str], style: str) -> PrintedNumber:
    """`1 412,5 bitcoins` and `1, 479 BTC`: one number that was printed with a space in it."""
    unit = "EH/s" if text[m.end() : m.end() + 3].strip().startswith("EH") else "BTC"
    digits = m[0].replace(", ", "").replace(" ", "")
    value = to_decimal(digits, "english" if style == "english" and "." in digits else "french") or Decimal(0)
    return PrintedNumber(value, unit, m.start(), m.end(), m[0], decimals=max(0, -int(value.as_tuple().exponent)))


def _inherit_units(text: str, start: int, found: list[PrintedNumber]) -> None:
    """A bare number beside coins is coins: `from 1,176 to 692 BTC`, `41 BTC, up from 38`, `of which 12 were`."""
    for i, q in enumerate(found):
        if q.unit is not None:
            continue
        after = found[i + 1] if i + 1 < len(found) else None
        before = next((o for o in reversed(found[:i]) if o.unit != "%"), None)
        if (
            after is not None
            and after.unit in ("BTC", "EH/s", "J/TH", "blocks", "miners")
            and re.fullmatch(
                r"\s*(?:to|and|or|y|und|et|bis|auf|à|a|至|到|和|vs\.?|,)\s*(?:approximately|about|just|only|over|nearly)?\s*",
                text[q.end : after.start],
                re.IGNORECASE,
            )
        ):
            found[i] = replace(q, unit=after.unit)
        elif (
            before is not None
            and before.unit in ("BTC", "EH/s", "miners", "blocks")
            and (
                COMPARISON.search(text[before.end : q.start])
                or re.search(
                    r"\b(?:of which|sold|and|comprising)\b[^.;\d]{0,24}$", text[before.end : q.start], re.IGNORECASE
                )
                or re.match(r"\s+of (?:them|these|those)\b", text[q.end : q.end + 12])
            )
            and not re.match(r"\s*(?:%|days|months|sites|percent|employees|years)", text[q.end : q.end + 12])
        ):
            found[i] = replace(q, unit=before.unit)
        elif (
            _french_day(text, start, q)
            or re.match(
                r"\s+(?:un)?(?:encumbered|restricted|pledged) (?:bitcoin|btc)|\s+of (?:them|these|those)\b|\s*(?:per|a) day\b",
                text[q.end : q.end + 32],
                re.IGNORECASE,
            )
            or (
                q.value >= 1
                and re.search(
                    r"\b(?:bitcoins?|btc)\b[^.;]{0,60}(?:\b(?:of|was|were|to|at|from|averaged|totaled|reached|mined|produced|sold|held|day|with)|:)\s*(?:approximately |about )?$",
                    text[max(start, q.start - 90) : q.start],
                    re.IGNORECASE,
                )
            )
        ):
            found[i] = replace(q, unit="BTC")


def _french_day(text: str, start: int, q: PrintedNumber) -> bool:
    """`production de bitcoins ... de 12,94 en juillet`: the coin is told once, before."""
    told = w.BITCOIN.search(text, start, q.start) and w.PRODUCED.search(text, start, q.start)
    return bool(told) and re.match(r"\s*(?:en|im|em|nel)\s", text[q.end : q.end + 6]) is not None


# --- what a number is ----------------------------------------------------------------------------


def _field(text: str, start: int, sentence: str, mentions: list[Mention], i: int) -> str | None:
    m = mentions[i]
    clause = f"{m.left} {m.right}"
    if _of_another(text[start : m.q.start], m, clause):
        return None
    row = _row(m, sentence, mentions[:i])
    before = next((o for o in reversed(mentions[:i]) if o.q.unit == m.q.unit), None)
    gap = text[before.q.end : m.q.start] if before is not None else ""
    stem = next((o for o in reversed(mentions[:i]) if o.q.unit == m.q.unit and o.field is not None), None)
    if stem is not None and stem.field is not None and (m.compared or _falls_to(text, start, stem, m)):
        if row is None or row == stem.field or not (w.HASHRATE.search(m.left) or w.RATED.search(m.left)):
            return stem.field
        m.compared = False  # `against an installed capacity of`: another thing
    if (
        m.q.unit == "BTC"
        and i
        and mentions[i - 1].field == "sold_share_pct"
        and re.search(r",? (?:or|amounting to|equal to|equating to)\s*(?:\w+ )?$", m.left)
    ):
        return "btc_sold"
    if (
        before is not None
        and re.fullmatch(r"\s*(?:\(|,? or|/)\s*(?:approximately |about |roughly )?", gap)
        and not w.PER_DAY.search(m.right[:24])
    ):
        return None  # the same told again
    if row is not None:
        return row
    if m.q.unit == "BTC":
        return None if _is_part(m, before, gap) else _coins(m, text[start : m.q.start])
    return _machine(m, clause)


def _is_part(m: Mention, before: Mention | None, gap: str) -> bool:
    """`of which 12 and 30`: is the number a part of one told before?"""
    if _PART.search(m.left):
        return True
    listed = before is not None and before.field is None and _PART.search(before.left)
    return bool(listed) and re.match(r"[^.;]*\band\b", gap) is not None


def _of_another(head: str, m: Mention, clause: str) -> bool:
    """Is the number planned, the network's, a change, or another coin's?"""
    if _to_come(head) or w.NETWORK.search(m.left) or CHANGE.search(m.left) or CHANGE_BEHIND.match(m.right):
        return True
    if MORE.search(m.left) and _nearest(m.left) is None:
        return True
    return bool(w.OTHER_COIN.search(clause)) and not w.BITCOIN.search(clause) and m.q.unit != "BTC"


def _to_come(head: str) -> bool:
    """Is the number planned: a word of the future before it, and no verb of the past since?"""
    at = max((m.end() for m in w.FUTURE.finditer(head)), default=-1)
    return at >= 0 and not _PAST.search(head, at)


_PAST = re.compile(r"\b(?:mined|produced|earned|sold|held|holds|was|were|currently|;)\b|;", re.IGNORECASE)
_PART = re.compile(
    r"\b(?:including|includes|comprising|comprises|of which|consisting of)\b|其中|包括|davon|dont\b", re.IGNORECASE
)


def _machine(m: Mention, clause: str) -> str | None:
    if m.q.unit == "miners":
        fleet = w.RATED.search(clause) or w.OPERATING.search(clause) or re.search(r"\bfleet of", m.left)
        return "deployed_miners" if fleet else None
    if m.q.unit == "J/TH" and re.search(
        r"\b(?:per machine|machines? (?:with|of)|miners? (?:with|of|and)|order\w*|underclock\w*|[SMA]\d\d)\b", clause
    ):
        return None  # a model's rating, not the fleet's
    return {"J/TH": "efficiency_j_th", "blocks": "blocks_won", "USD/kWh": "power_cost_usd_per_kwh"}.get(m.q.unit or "")


def _respectively(text: str, end: int, mentions: list[Mention]) -> None:
    """`operational and installed hashrates at 7.27 EH/s and 8.75 EH/s, respectively`: labels and values in order."""
    rates = [m for m in mentions if m.q.unit == "EH/s"]
    if len(rates) != 2 or not re.search(r"\brespectively\b", text[rates[-1].q.end : end]):
        return
    named = ((w.AVERAGE, "avg_operating_ehs"), (w.OPERATING, "operating_month_end_ehs"), (w.RATED, "deployed_ehs"))
    found = sorted((hit.start(), field) for pattern, field in named if (hit := pattern.search(rates[0].left)))
    if len(found) == 2:
        for m, (_, field) in zip(rates, found, strict=True):
            m.field = field


def _falls_to(text: str, start: int, before: Mention, m: Mention) -> bool:
    return bool(
        re.search(r"\bfrom\b[^.;]{0,20}$", text[max(start, before.q.start - 24) : before.q.start])
        and re.fullmatch(r"[^.;\d]{0,40}\bto\b[^.;\d]{0,16}", text[before.q.end : m.q.start])
    )


def _row(m: Mention, sentence: str, earlier: list[Mention]) -> str | None:
    rows: tuple[Cue, ...] = {"BTC": COINS, "EH/s": HASHRATE, "USD": DOLLARS, "%": SHARES}.get(m.q.unit or "", ())
    left = m.left
    if earlier and earlier[-1].q.unit == "other money" and re.fullmatch(r"\s*[\[(]\s*", left):
        left = earlier[-1].left  # `£3.85 million [$4.81 million]`
    near = {"left": left, "right": m.right[:70], "clause": f"{left} | {m.right[:70]}", "sentence": sentence}
    coins = next((o.field for o in reversed(earlier) if o.q.unit == "BTC"), None)
    for row in rows:
        words = near[row.near]
        if all(p.search(words) for p in row.needs) and not any(p.search(near["clause"]) for p in row.never):
            sale = row.field in ("sale_proceeds_usd", "avg_sale_price_usd")
            if sale and (coins in ("btc_purchased", "btc_held_end") or not (coins or w.SOLD.search(sentence))):
                return None
            return row.field
    if m.q.unit == "USD" and coins == "btc_receivable_from_collateral" and w.VALUE.search(left):
        return "receivable_kusd"
    return None


def _coins(m: Mention, head: str) -> str | None:
    """Coins by the nearest verb: before the number, then right behind it, then anywhere before it."""
    near = _nearest(m.left) or _nearest_after(m.right[:60])
    day = (
        w.PER_DAY.search(m.right[:28].partition("(")[0])
        or (w.AVERAGE.search(m.left) and w.PER_DAY.search(m.left))
        or (w.PER_DAY.search(m.left[-40:]) and not w.SOLD.search(m.left))
        or (near is None and w.AVERAGE.search(head) and w.PER_DAY.search(head))
    )
    verb = near or _nearest(head)
    if day:
        return "avg_btc_per_day" if verb in ("btc_produced", None) else None
    return None if re.search(r"\bcarrying\b|\b(?:value|fees?) of\b[^.;]{0,20}$", m.left) else verb


def _nearest(words: str) -> str | None:
    best, field = -1, None
    for name, pattern in VERBS:
        at = max((m.end() for m in pattern.finditer(words)), default=-1)
        if at > best:
            best, field = at, name
    return field


def _nearest_after(words: str) -> str | None:
    found = [(m.start(), name) for name, pattern in VERBS if (m := pattern.search(words)) is not None]
    return min(found)[1] if found else None


# --- of when it is -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence with its periods and numbers, and the time of which it speaks where it names none."""

    text: str
    start: int
    end: int
    marks: list[Period]
    mentions: list[Mention]
    ctx: Context
    base: str | None
    """The document's month, or the quarter that is carried over."""
    other: str | None
    """The month that the document has compared with so far."""


def _period(said: Said, i: int) -> str | None:
    """The month, quarter or date of the number of mention i; None where it dates no figure."""
    text, start, marks, m, ctx = said.text, said.start, said.marks, said.mentions[i], said.ctx
    told = _labelled(said, m)
    if told is not None:
        return key_of(told, ctx)
    following = said.mentions[i + 1].q.start if i + 1 < len(said.mentions) else said.end
    after = [p for p in marks if m.q.end <= p.start < min(following, m.q.end + len(m.right) + 2)]
    if after and _right_behind(text, m, after[0]):
        joined = len(after) > 1 and after[0].kind == after[1].kind == "month"
        if joined and _AND.fullmatch(text[after[0].end : after[1].start]):
            return None  # one figure for two months
        return None if after[0].kind in ("span", "week", "year") else _key(text, after[0], ctx)
    falls = re.search(r"\bfrom\b[^.;\d]{0,24}$", text[start : m.q.start]) and i + 1 < len(said.mentions)
    if m.compared or (falls and re.match(r"[^.;\d]{0,40}\bto\b", text[m.q.end : said.end])):
        return _compared_period(said, m)
    before = _before(text, start, marks, m, ctx)
    if before is not None:
        return before or None
    return _behind(text, marks, m, ctx, following) or said.base


def _labelled(said: Said, m: Mention) -> Period | None:
    """`(October 2024: 41.2 BTC)`, and `X and Y ..., respectively`: the period that is set against the number."""
    text = said.text
    opens = re.compile(r"\s?[:：=]\s?(?:approximately |about |~|US)?\s?\$?")
    for p in reversed(said.marks):
        bracketed = "(" in text[max(said.start, p.start - 2) : p.start]
        if p.end <= m.q.start and bracketed and opens.fullmatch(text, p.end, m.q.start):
            return p
    if re.search(r"respectively|分别|jeweils|respectivement", text[m.q.end : said.end]):
        same = [o for o in said.mentions if o.q.unit == m.q.unit]
        dated = [p for p in said.marks if p.end <= same[0].q.start]
        if len(same) == len(dated) > 1:
            return dated[same.index(m)]
    return None


def _right_behind(text: str, m: Mention, p: Period) -> bool:
    """`41 BTC in July`, `41 BTC (July)`; a comparison between them is of another figure."""
    gap = text[m.q.end : p.start]
    bracketed = re.fullmatch(r"\s*\((?:in |for |as of )?", gap) and text[p.end : p.end + 1] == ")"
    return bool(re.fullmatch(r"[^,;.，。\d(]{0,50}", gap) or bracketed) and not COMPARISON.search(gap)


def _compared_period(said: Said, m: Mention) -> str | None:
    """The time of a figure that is compared with: named beside it, the month or year before, or the one told earlier."""
    text, marks, ctx = said.text, said.marks, said.ctx
    inside = [p for p in marks if m.at <= p.start < m.q.start and COMPARISON.search(text[m.at : p.start])]
    if inside:
        return _key(text, inside[-1], ctx)
    if ctx.statement and (rest := [p for p in marks if p.start > m.q.end]):
        return key_of(rest[0], ctx)
    near = text[max(said.start, m.q.start - 70) : min(said.end, m.q.end + 70)]
    stem = _before(text, said.start, marks, m, ctx) or said.base
    if stem is None or len(stem) != 7:
        return None
    if _PRIOR_YEAR.search(near) and not _PRIOR_MONTH.search(near):
        return shift(stem, -12)
    if _PRIOR_MONTH.search(near):
        return shift(stem, -1)
    return said.other if said.other != stem else None


_LAST_YEARS = re.compile(r"(?:지난해|작년|去年|昨年|前年同)\s?(?:의\s?)?\Z")
_YEAR_BEFORE = re.compile(
    r"\s*,? (?:of (?:the )?(?:previous|prior|last) year|(?:a|one) year (?:ago|earlier)|last year)\b", re.IGNORECASE
)


def _key(text: str, p: Period, ctx: Context) -> str | None:
    """The period as facts carry it; `August of last year` is a year back."""
    key = key_of(p, ctx)
    back = _YEAR_BEFORE.match(text, p.end) or _LAST_YEARS.search(text, max(0, p.start - 8), p.start)
    if p.year is None and p.kind == "month" and key is not None and back:
        return shift(f"{ctx.period[:5]}{key[5:7]}" if ctx.period else key, -12)
    return key


def _before(text: str, start: int, marks: list[Period], m: Mention, ctx: Context) -> str | None:
    """The nearest period before the number that no comparison governs; empty where that dates no figure."""
    free = [p for p in marks if p.end <= m.q.start and not _governed(text, start, p)]
    if not free:
        return None
    p = free[-1]
    if p.kind in ("span", "week", "year"):
        return ""
    if len(free) > 1 and p.kind == free[-2].kind == "month" and _AND.fullmatch(text[free[-2].end : p.start]):
        return ""
    return _key(text, p, ctx)


def _behind(text: str, marks: list[Period], m: Mention, ctx: Context, following: int) -> str | None:
    """Else the first one after it, told of a month or a month's end."""
    later = [p for p in marks if p.start >= m.q.end]
    if (
        later
        and "(" in text[max(0, later[0].start - 2) : later[0].start]
        and re.match(r"\s?[:：]", text[later[0].end : later[0].end + 2])
    ):
        return None  # `44.7 BTC (October 2024: 41.2 BTC)` dates what follows it
    if (
        not later
        or later[0].kind not in ("month", "date", "quarter")
        or COMPARISON.search(text[m.q.end : later[0].start])
        or len(text[m.q.end : later[0].start]) > 110
    ):
        return None
    if later[0].start > following and re.search(
        r"\b(?:as of|as at|at the end of|by)\s+(?:the )?$", text[following : later[0].start]
    ):
        return None  # the day of the later figure
    key = key_of(later[0], ctx)
    return key if key is not None and (ctx.period is None or key[:7] <= ctx.period or len(key) == 10) else None


def _governed(text: str, start: int, p: Period) -> bool:
    if re.match(r"\s?(?:から|より|比(?!特)|に比べ|と比[べ較]|보다|대비)", text[p.end : p.end + 5]):
        return True
    lead = text[max(start, p.start - 70) : p.start]
    at = max((m.end() for m in COMPARISON.finditer(lead)), default=-1)
    return at >= 0 and not re.search(r",(?!\d)|;|\bto\b|\bat\b", lead[at:])


# --- claims --------------------------------------------------------------------------------------


_STANDS_FOR = {
    "hashrate_unnamed": "deployed_ehs",
    "hashrate_total": "deployed_ehs",
    "btc_held_after_sale": "btc_held_end",
}


def _claim(text: str, m: Mention, ctx: Context) -> Finding | None:
    if m.field is None or m.period is None:
        return None
    name = m.field
    if "Q" in m.period and name.endswith("_ehs"):
        return None
    if len(m.period) == 10 and name in ("btc_produced", "avg_btc_per_day", "avg_operating_ehs", "blocks_won"):
        return None  # what flows has no day
    if name in BALANCES and "Q" in m.period and not m.dated:
        m.period = f"{m.period[:4]}-{int(m.period[5]) * 3:02d}"
    if ctx.other_dollars and m.q.unit == "USD" and "US" not in text[max(0, m.q.start - 3) : m.q.end]:
        return None  # another country's dollars
    value = convert(_STANDS_FOR.get(name, name), m.q, None)
    if isinstance(value, str):
        return None
    start, end = min(m.at, m.q.start), m.q.end + min(60, len(m.right))
    strength = MEDIUM if name == "hashrate_unnamed" else STRONG
    found = Finding(name, value, m.period, start, end, m.q.printed, f"open:{name}", strength, at=m.q.start)
    found.holds_parts = bool(_PART.search(m.right + text[m.q.end : m.q.end + 90].split(". ")[0]))
    found.approximate = bool(_APPROX.search(text[max(0, m.q.start - 24) : m.q.start].rstrip()))
    return found


_ALL = re.compile(r"\bsold (?:all|the whole|everything)\b[^.;]{0,20}$", re.IGNORECASE)
_REST = re.compile(
    r"\b(?:remaining|rest of|whole|entire)\b[^.;]{0,30}\b(?:reserves?|holdings?|balance|treasury|position)\b",
    re.IGNORECASE,
)
_NONE_LEFT = re.compile(
    r"\b(?:reserves?|holdings?|balance|treasury)\b[^.;\d]{0,24}\b(?:were|was|is|are|stood at|of)\s+(?P<none>zero|nil|nothing)\b",
    re.IGNORECASE,
)


def _sold_out(
    text: str, start: int, end: int, mentions: list[Mention], found: list[Finding], ctx: Context
) -> list[Finding]:
    """`sold all 189.8 BTC mined and its remaining reserve of 943.1 BTC; reserves were zero`: mined, sold in sum, none held."""
    by_place = {c.at: c for c in found}
    for i, m in enumerate(mentions):
        sale = by_place.get(m.q.start)
        if sale is None or sale.field != "btc_sold" or not _ALL.search(text[start : m.q.start]):
            continue
        if re.match(r"\s*(?:that (?:it|were) )?(?:mined|produced)\b", m.right):
            found.append(replace(sale, field="btc_produced", rule="open:btc_produced"))
        rest = mentions[i + 1] if i + 1 < len(mentions) else None
        if rest is not None and rest.q.unit == "BTC" and _REST.search(rest.left):
            printed = f"{m.q.printed} + {rest.q.printed}"
            found = [c for c in found if c is not sale and c.at != rest.q.start]
            total = replace(sale, value=sale.value + rest.q.value, printed=printed, end=rest.q.end, method="sum")
            found.append(total)
    none = _NONE_LEFT.search(text, start, end)
    near = [p for p in periods(text, start, end) if p.kind in ("month", "date") and not _governed(text, start, p)]
    key = key_of(near[-1], ctx) if near else ctx.period
    if none is not None and key is not None:
        at = none.start("none")
        zero = Finding("btc_held_end", Decimal(0), key, none.start(), none.end(), none["none"], "open:none-held", at=at)
        found.append(zero)
    return found


def _none_sold(
    text: str, start: int, end: int, marks: list[Period], ctx: Context, found: list[Finding]
) -> list[Finding]:
    m = _NO_SALE.search(text, start, end)
    if m is None or _INTENT.search(text[max(start, m.start() - 60) : m.end() + 40]):
        return []
    near = [p for p in marks if p.kind == "month" and not _governed(text, start, p)]
    key = key_of(near[0], ctx) if near else ctx.period
    if key is None or any(c.field == "btc_sold" and c.period == key for c in found):
        return []
    return [Finding("btc_sold", Decimal(0), key, m.start(), m.end(), m[0], "open:no-sale", STRONG, at=m.start())]


def _events(text: str, found: list[Finding], ctx: Context) -> list[Finding]:
    """A sale that no month is told for, beside one that has its month, was announced when the text came out.

    A day is taken from the text; `this weekend` is the Sunday before publication; else it is the month of publication.
    """
    for c in found:
        if c.field == "btc_sold" and len(c.period) == 10:
            c.field = "btc_announced_sale"
    sold = {c.value for c in found if c.field == "btc_sold" and c.period == ctx.period and _dated(text, c)}
    dated = {c.value: c.period for c in found if c.field == "btc_announced_sale"}
    when = _told_on(text, ctx)
    if when is None:
        return found
    loose = [c for c in found if c.field == "btc_sold" and not _dated(text, c) and c.value not in sold]
    sales = {c.value for c in loose if (sold or AFTER_SALE.search(text)) or c.value in dated}
    for c in found:
        if c.field == "btc_sold" and c in loose and c.value in sales:
            c.field, c.period = "btc_announced_sale", dated.get(c.value, when)
        elif c.field == "btc_held_after_sale":
            c.period = next(iter(dated.values()), when) if len(c.period) == 7 and not dated.get(c.value) else c.period
    spans = [(text.rfind(".", 0, c.at) + 1, c.at + 160, c.period) for c in found if c.field == "btc_announced_sale"]
    for c in found:
        if c.field == "sale_proceeds_usd" and (near := [p for a, b, p in spans if a <= c.at <= b]):
            c.period = near[0]
    return found


def _dated(text: str, c: Finding) -> bool:
    """Does the sentence of a claim name a month?"""
    start = max(text.rfind(mark, 0, c.at) for mark in (". ", ".\n", "\n"))
    ends = [e for e in (text.find(". ", c.at), text.find("\n", c.at)) if e >= 0]
    sentence = text[start + 1 : min(ends) if ends else len(text)]
    return any(p.kind == "month" for p in periods(sentence)) or bool(_THE_MONTH.search(sentence))


def _told_on(text: str, ctx: Context) -> str | None:
    published = ctx.published or ""
    if _GONE.search(text) and len(published) == 10:
        day = date.fromisoformat(published)
        return (day - timedelta(days=(day.weekday() + 1) % 7 or 7)).isoformat()
    return published[:7] or None
