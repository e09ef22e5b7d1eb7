"""Sentences to claims: which verb or noun governs each number, and which month it belongs to.

Knows nothing of tables. Every number of a sentence is looked at with the words between it and its neighbours:
a gap belongs to the number on its left up to the first comma or conjunction, and to the number on its right
after it. The nearest cue before a number decides, then a cue right after it; where neither says, it stays empty.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from tieline.disclosures.reading import words as w
from tieline.disclosures.reading.claims import STRONG, Claim, convert
from tieline.disclosures.reading.context import Context
from tieline.disclosures.reading.dating import WHICH_WAS, period_of
from tieline.disclosures.reading.neighbours import (
    another_thing,
    bracketed,
    closes_range,
    inherit,
    mined_and_sold,
    respectively,
    revenue_follows,
    told_before,
    translated,
)
from tieline.disclosures.reading.periods import Period, periods
from tieline.disclosures.reading.rates import TOTAL, UNNAMED
from tieline.disclosures.reading.roles import role_of
from tieline.disclosures.reading.spots import COMPARISON, Spot, sentences, spots_in
from tieline.disclosures.reading.tabular import key_of

_APPROX = re.compile(
    r"(?:approximately|about|roughly|nearly|almost|around|over|more than|some|circa|ca\.|rund|etwa|environ|aproximadamente|unos|circa|近|约|約|超过|超過)\s*(?:[$€]|US\$)?$",
    re.IGNORECASE,
)
_NO_SALE = re.compile(
    r"(?:did not|didn't|does not|chose not to|opted not to|opting (?:not to|against)|decided not to|without|refrained from|avoided|has not|have not|not)\s+(?:sell|sold|selling|monetiz\w+|liquidat\w+)(?:ing)?(?:\s+any)?"
    r"(?!\s+(?:all|most|more|its (?:asics|machines|equity)))|\bno (?:bitcoins?|btc|coins|sales? of (?:bitcoin|btc)|(?:bitcoin|btc) (?:was|were) sold|(?:bitcoin|btc) sales)(?: (?:was|were))?(?: sold| monetized)?|\bsold:? (?:none|nil\b|nothing|no (?:bitcoins?|btc|coins)|zero)\b|\bzero (?:bitcoins?|btc) (?:was |were )?sold|\bnone (?:of (?:it|them|these|this|which) )?(?:was|were) sold"
    r"|\ball (?:of the |of its |the )?(?:btc|bitcoins?) (?:produced|mined)[^.]{0,40}\b(?:was|were|is|been)\s+(?:hodl\w*|held|retained|kept)|(?:keine|keinen) (?:bitcoins?|btc) verkauft|n'a vendu aucun|no vendió|未出售|没有出售|沒有出售|売却していない|売却しなかった",
    re.IGNORECASE,
)
_YEAR_ALONE = re.compile(
    r"\b(?:in|for|during|throughout|fiscal(?: year)?|calendar(?: year)?|year|full-year|full year)\s+20[12]\d\b(?!-)|\b20[12]\d (?:fiscal|financial|full) year|\bfiscal year\b|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven) months\b|\b(?:first|second) half\b",
    re.IGNORECASE,
)
_QUARTERLY = re.compile(
    r"\b(?:previous|prior|preceding|last|same|this) quarter\b|\bquarter[- ](?:over|on)[- ]quarter\b|\bsequentially\b|\b(?:during|in|for|over|throughout) the quarter\b|\bquarterly\b",
    re.IGNORECASE,
)
"""A sentence on a quarter that does not name it, or that compares with another."""
_WORTH = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b|\b(?:sold|sell|sales?|hodl|held|retained)|verkauft|vend|未|没有|沒有|売却",
    re.IGNORECASE,
)
"""A figure, or a word that may say that nothing was sold."""
_NO_SALE_OBJECT = re.compile(w.BITCOIN.pattern + r"|holdings|production|treasury|\bany\b", re.IGNORECASE)


_PARTS = re.compile(
    r"\bof which\b|\bincluding\b|\bincludes?\b|\bcompris\w+|\bconsist\w+|\bmade up of\b|\bacross all\b|\bfor (?:itself|its own account) and\b|其中|包括|davon|dont\b|de los cuales|dei quali",
    re.IGNORECASE,
)


def claims(text: str, skip: list[tuple[int, int]], ctx: Context) -> list[Claim]:
    """Every claim that the sentences make."""
    out: list[Claim] = []
    previous: list[Claim] = []
    reported = quarter = _reported_quarter(text, ctx)  # or the quarter that the document has named first
    # What a statement without a period speaks of: in a quarter's report the quarter, else the document's month
    base = reported if reported and _QUARTER_REPORT.search(text[:800]) and not _MONTHLY.search(text[:2000]) else None
    carried = base
    ctx = replace(ctx, reported=base)
    for start, end in sentences(text, skip):
        if "\n" in text[max(0, start - 2) : start] and not _GOES_ON.match(text, start, end):
            carried = base  # a new paragraph speaks of the document's own period again
        if not _WORTH.search(text, start, end):
            continue
        marks = periods(text, start, end)
        if not marks and _OF_THE_MONTH.match(text, start, end):
            carried = None
        if not marks and _QUARTERLY.search(text, start, end):
            carried = quarter or "none"
        elif not marks and _YEAR_ALONE.search(text, start, end) and not w.YTD.search(text, start, end):
            carried = "none"
        found = _sentence(text, start, end, marks, ctx, previous, carried, quarter)
        if reported and not marks:
            found = [c for c in found if c.field != "ytd_btc"]  # a quarter's report counts to its own end
        out.extend(found)
        if found:
            previous = found
        quarters = [
            p
            for p in marks
            if p.kind in ("quarter", "year", "span")
            and not COMPARISON.search(text[max(start, p.start - 14) : p.start])
            and not _SINCE.search(text, max(start, p.start - 10), p.start)
        ]
        months = [p for p in marks if p.kind == "month" or (p.kind == "date" and not (carried and "Q" in carried))]
        if quarter is None and quarters and quarters[0].kind == "quarter":
            quarter = key_of(quarters[0], ctx)
        if months or "\n" in text[end : end + 1] or text[end - 1 : end] == "\n":
            carried = base
        if not months and _YEAR_ALONE.search(text, start, end) and not w.YTD.search(text, start, end):
            carried = "none"
        elif quarters and quarters[0].kind == "quarter" and not [p for p in marks if p.kind == "month"]:
            carried = key_of(quarters[0], ctx)
        elif quarters and quarters[0].kind != "quarter":
            carried = "none"
    return out


_QUARTER_REPORT = re.compile(r"\bquarter\b|\bQ[1-4]\b|\bthree months end", re.IGNORECASE)
_MONTHLY = re.compile(
    r"\b(?:monthly|(?:updates?|results|highlights) for (?:the month of )?(?:January|February|March|April|May|June|July|August|September|October|November|December))\b"
    r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December)(?: 20\d\d)?(?:'s)? (?:bitcoin |production|operation|mining|update|highlights)",
    re.IGNORECASE,
)
_OF_THE_MONTH = re.compile(r"\W*(?:Last|This) month\b|\W*(?:In|During|For) the month\b")
"""A sentence that comes back from a quarter to the document's month."""
_GOES_ON = re.compile(r"\s*(?:Furthermore|Moreover|Additionally|In addition|Besides)\b")
"""A paragraph that speaks of the period of the one before."""
_SINCE = re.compile(r"\b(?:over|on|since) (?:the )?\Z")
_BALANCES = ("btc_held_end", "free_btc", "restricted_or_pledged_btc")
_ENDED = re.compile(
    r"\b(?:quarter|three months) end(?:ed|ing) (?:on )?[A-Z][a-z]+ \d{1,2}(?:, 20\d\d\b)?"
    r"|\b(?:[Ff]irst|[Ss]econd|[Tt]hird|[Ff]ourth)[- ][Qq]uarter(?: (?:of )?20\d\d)?(?= (?:earnings|results|report)\b)"
    r"|\bQ[1-4](?: 20\d\d)?(?= (?:earnings|results|report)\b)"
)


def _reported_quarter(text: str, ctx: Context) -> str | None:
    """The quarter of a report that names one alone by its last day."""
    keys = {key_of(p, ctx) for m in _ENDED.finditer(text) for p in periods(text, m.start(), m.end())}
    keys = {key for key in keys if key and len(key) == 6}
    return keys.pop() if len(keys) == 1 else None


def _sentence(
    text: str,
    start: int,
    end: int,
    marks: list[Period],
    ctx: Context,
    previous: list[Claim],
    carried: str | None,
    quarter: str | None,
) -> list[Claim]:
    sentence = text[start:end]
    out: list[Claim] = []
    spots = [s for s in spots_in(text, start, end, marks, ctx.style) if not _notes_label(text, s)]
    beside = {id(s) for a, b in pairwise(spots) if re.fullmatch(r"\s+/\s+", text[a.q.end : b.q.start]) for s in (a, b)}
    spots = [s for s in spots if id(s) not in beside]  # `31.5 EH/s / 30.1 EH/s`: columns, of which months is not said
    if not re.search(r"\d|\bnine|\beight|\bseven|\bsix|\bfive|\bfour|\bthree", sentence) and not _NO_SALE.search(
        sentence
    ):
        return out
    roles: list[tuple[str, int] | None] = []
    for i, spot in enumerate(spots):
        role = role_of(sentence, spot, ctx)
        if i and spot.q.unit == "EH/s" and closes_range(spot, spots[i - 1]):
            # `in network hash rate, from 214 EH/s as of June 30 to 370 EH/s`: the words stand before the first
            role = role_of(sentence, replace(spot, left=spots[i - 1].left + " to ", compared=False), ctx)
        if (
            role is None
            and i
            and (
                spot.linked
                or bracketed(text, spots[i - 1], spot, marks)
                or spot.compared
                or closes_range(spot, spots[i - 1])
                or WHICH_WAS.search(text[start : spot.q.start])
            )
        ):
            role = inherit(spot, spots, roles, i)
        if i and closes_range(spot, spots[i - 1]) and spot.q.unit == "BTC" and (first := roles[i - 1]) is not None:
            role = first
        if i and spot.q.unit == "BTC" and re.search(r", or\s*(?:approximately |about )?$", spot.left):
            share = roles[i - 1]
            if share is not None and share[0] == "sold_share_pct":
                role = ("btc_sold", STRONG)  # `sold 63% of the Bitcoins it produced, or 147 BTC`
        if role is None and i and translated(text, spots[i - 1], spot):
            role = role_of(sentence, replace(spots[i - 1], q=replace(spots[i - 1].q, unit="USD")), ctx)
            if role is None and any(re.search(r"[(\[]\s?$", text[max(0, p.start - 2) : p.start]) for p in marks):
                role = inherit(spot, spots, roles, i)
        if role is None:
            role = told_before(sentence, spot, spots, roles, i, previous)
        of_others = _SHARE_OF_TOTAL.match(spot.right + spot.after[:60]) or _WITH_CUSTOMERS.match(spot.after)
        if role is not None and role[0] == "btc_produced" and of_others:
            role = None
        roles.append(role)
        if role is not None and spot.compared and role[1] == STRONG and another_thing(spot, role, spots, roles, i):
            spots[i] = replace(spot, compared=False)
    respectively(sentence, spots, roles)
    for i, (spot, role) in enumerate(zip(spots, roles, strict=True)):
        if role is None:
            continue
        name, strength = role
        dated = i - 1 if i and translated(text, spots[i - 1], spot) else i
        period = period_of(text, start, end, marks, spots[dated], spots, dated, ctx)
        if _THE_QUARTER.search(spot.right[:50]):
            period = quarter
        if not period and carried and len(carried) == 6 and not marks and not spot.compared and name != "ytd_btc":
            period = carried
        if period and name in _BALANCES and period == ctx.reported and not any(p.kind == "quarter" for p in marks):
            period = f"{period[:4]}-{int(period[5]) * 3:02d}"  # what stands at a quarter's end stands at its month's
        if not period or (
            carried == "none" and not marks and name != "ytd_btc" and not _at_year_end(sentence, name, period)
        ):
            continue
        if carried and not marks and len(carried) == 6 and name != "ytd_btc" and name not in _BALANCES:
            period = carried
        if "Q" in period and re.search(r"(?:Monthly|\bmonthly)\b[^.;,]{0,30}$", spot.before):
            continue  # `by the end of Q4 … Monthly operating revenue of` is not the quarter's
        amount = convert("deployed_ehs" if name in (UNNAMED, TOTAL) else name, spot.q, None)
        if isinstance(amount, str) or (
            spot.q.negative and name not in ("btc_sold", "service_fee_btc") and "(" not in spot.q.printed
        ):
            continue
        if name == "ytd_btc" and len(period) == 10:
            period = ctx.period or period  # the day on which it was announced
        if name == "ytd_btc" and len(period) != 7:
            continue
        if "Q" in period and name in ("avg_operating_ehs", "deployed_ehs", "operating_month_end_ehs", UNNAMED, TOTAL):
            continue
        approximate = bool(_APPROX.search(text[max(start, spot.q.start - 24) : spot.q.start].rstrip()))
        out.append(
            Claim(
                name,
                amount,
                period,
                max(start, min(spot.start, spot.q.start)),
                max(spot.q.end, min(spot.stop, spot.q.end + 60)),
                spot.q.printed,
                f"prose:{name}",
                strength,
                None,
                None,
                _restated(spot),
                approximate,
                holds_parts=bool(_PARTS.search(spot.right + text[spot.q.end : min(end, spot.q.end + 90)])),
            )
        )
    out.extend(mined_and_sold(out, text, end))
    out.extend(revenue_follows(sentence, spots, roles, previous, text, start, end, marks, ctx))
    zero = _NO_SALE.search(sentence)
    told = zero is not None and (
        _NO_SALE_OBJECT.search(sentence)
        or (zero[0].lower().startswith("none") and any(c.field == "btc_produced" for c in previous))
    )
    if zero is not None and told:
        key = _zero_period(text, start, end, marks, start + zero.start(), ctx)
        if (
            key is not None
            and not any(c.field == "btc_sold" and c.period == key for c in out)
            and not w.FUTURE.search(zero[0])
            and not re.search(
                r"\b(?:plans?|intends?|expects?|will|policy|strategy|since|years?)\b",
                sentence[max(0, zero.start() - 60) : zero.end() + 40],
                re.IGNORECASE,
            )
        ):
            out.append(
                Claim(
                    "btc_sold",
                    Decimal(0),
                    key,
                    start + zero.start(),
                    start + zero.end(),
                    zero[0],
                    "prose:no-sale",
                    STRONG,
                )
            )
    return out


def _notes_label(text: str, spot: Spot) -> bool:
    """`Bitcoin held 3` and `Bitcoin sold (3)`: a footnote's number, not a figure; `Bitcoin sold was 3` is one."""
    q = spot.q
    if q.unit is not None or q.decimals or not 0 < abs(q.value) < 20:
        return False
    if abs(q.value) < 10:
        bracketed = q.negative or bool(re.search(r"[(\[]", text[max(0, q.start - 1) : q.start + 1]))
        return bracketed or not _SAID.search(text, max(0, q.start - 24), q.start)
    line = text[text.rfind("\n", 0, q.start) + 1 : q.start]
    alone = re.match(r"[)\]]?[ \t]*(?:[\n|,]|\Z)", text[q.end : q.end + 6])
    return bool(alone) and len(line.split()) <= 9 and not re.search(r"[:：=]|\d", line) and not _SAID.search(line)


_SAID = re.compile(
    r"(?:\b(?:was|were|is|are|at|to|of|from|reached|totall?ed|averaged|about|approximately|only|just|and)\s+"
    r"|[:：=为為は]\s+|[为為は约約])\Z",
    re.IGNORECASE,
)
"""What stands before a figure, and not before a footnote's number."""


def _at_year_end(sentence: str, name: str, period: str) -> bool:
    """`ended the year with 1,704 BTC` in a December update."""
    return name == "btc_held_end" and bool(
        re.search(
            r"\bend(?:s|ed|ing)? with (?:a |an )?(?:\w+ )?(?:balance|total|treasury|holding)", sentence, re.IGNORECASE
        )
        or (
            period.endswith("-12")
            and re.search(r"\b(?:ended|finished|closed) the year\b|\byear[- ]end\b", sentence, re.IGNORECASE)
        )
    )


_THE_QUARTER = re.compile(r"^[^,;.]{0,20}\b(?:during|in|for) the quarter\b", re.IGNORECASE)
_SHARE_OF_TOTAL = re.compile(
    r"[^.;]{0,16}(?:, | \()?or (?:about |approximately |roughly )?\d+(?:\.\d+)?\s?(?:%|per cent|percent) of [^.;]{0,30}\b(?:total|production|output)",
    re.IGNORECASE,
)
"""`mined before the halving was 236, or 68% of the month's production`: a part of it."""
_WITH_CUSTOMERS = re.compile(
    r"[^.;]{0,50}\bwith [\d,.]+ (?:\w+ )?(?:from|by|for) (?:own|self)\b[^.;]{0,40}\b(?:clients?|customers?|cloud|host\w+)\b",
    re.IGNORECASE,
)
"""`1,060 were produced, with 143 from self mining and 917 from client cloud mining`: a total of both."""


def _zero_period(text: str, start: int, end: int, marks: list[Period], at: int, ctx: Context) -> str | None:
    own = [
        p
        for p in marks
        if p.kind in ("month", "quarter") and not COMPARISON.search(text[max(start, p.start - 14) : p.start])
    ]
    if not own:
        return ctx.period
    return key_of(min(own, key=lambda p: abs(p.start - at)), ctx)


def _restated(spot: Spot) -> bool:
    return bool(re.search(r"\b(?:restated|revised|corrected) (?:to|from|figure)", spot.left[-60:], re.IGNORECASE))
