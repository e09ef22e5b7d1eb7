"""Sentences to claims: which verb or noun governs each number, and which month it belongs to.

Knows nothing of tables. Every number of a sentence is looked at with the words between it and its neighbours:
a gap belongs to the number on its left up to the first comma or conjunction, and to the number on its right
after it. The nearest cue before a number decides, then a cue right after it; where neither says, it stays empty.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from tieline.disclosures.reading import words as w
from tieline.disclosures.reading.claims import MEDIUM, STRONG, WEAK, Claim, convert
from tieline.disclosures.reading.context import Context
from tieline.disclosures.reading.numbers import Quantity, quantities
from tieline.disclosures.reading.periods import Period, periods, shift
from tieline.disclosures.reading.tabular import key_of

UNNAMED = "hashrate_unnamed"
"""A hashrate without a word for deployed or average; `settle` names it where an average stands beside it."""
MAX_SENTENCE = 1500
MAX_SENTENCES = 4000
"""Ten times the longest release; beyond it a page is an archive of many."""

_END = re.compile(
    r"(?<![A-Z][a-z])(?<!\bInc)(?<!\bCorp)(?<!\bLtd)(?<!\bApprox)(?<!\bapprox)(?<!\bvs)(?<!\bNo)[.!?][\"')\]]*(?:\s+(?=[\"'(\[]?[A-ZÀ-ÞА-Я0-9$])|\s*$)|(?<=[a-z)])\.(?=[A-Z][a-z]+ )|[。！？；]|\.\.\.|;\s"
)
_COMPARISON = re.compile(
    r"\b(?:vs\.?|versus|compared (?:to|with)|comparison (?:to|with)|up from|down from|from|against|relative to|than|gegenüber|nach|par rapport|contre|frente a|rispetto|em comparação|comparado)\b|较|較|相比|比",
    re.IGNORECASE,
)
_SPLIT = re.compile(
    r",(?!\d)|;|，|；|、|。|\s-\s|\b(?:while|whereas|but|and|which|with|und|et|y|e|während|tandis|mientras|и)\b|\(|\)",
    re.IGNORECASE,
)
_DELTA_BEFORE = re.compile(
    r"(?:\b(?:increas|decreas|declin|drop|ris|rose|fell|grew|gain|reduc|down|up|improv|add)\w*\s+(?:of|by)|\bby|\b(?:additional|extra|another|further)|\bum|\badded)\s*(?:approximately|about|nearly|roughly|over|an additional|another)?\s*$",
    re.IGNORECASE,
)
_DELTA_AFTER = re.compile(
    r"^\s*(?:BTC|bitcoins?|EH/s)?\s*(?:higher|lower|more|less|fewer|increase|decrease|decline|drop|above|below|month-over-month|year-over-year|mehr|weniger)\b",
    re.IGNORECASE,
)
_TOTAL_VALUE = re.compile(r"\b(?:per|each|a|/)\s?(?:bitcoin|btc|coin)\b|/btc", re.IGNORECASE)
_PRIOR_MONTH = re.compile(
    r"\b(?:previous|prior|last|preceding) month|month[- ]over[- ]month|month[- ]on[- ]month|\bm/m\b|\bmom\b|vormonat|mois précédent|mes anterior|mese precedente|上月|前月|环比",
    re.IGNORECASE,
)
_PRIOR_YEAR = re.compile(
    r"year[- ]over[- ]year|year[- ]on[- ]year|\by/y\b|\byoy\b|(?:same month|a year|one year|last year)(?: (?:ago|earlier|last year))?|prior year|previous year|vorjahr|année précédente|año anterior|anno precedente|同比|去年",
    re.IGNORECASE,
)
_APPROX = re.compile(
    r"(?:approximately|about|roughly|nearly|almost|around|over|more than|some|circa|ca\.|rund|etwa|environ|aproximadamente|unos|circa|近|约|約|超过|超過)\s*(?:[$€]|US\$)?$",
    re.IGNORECASE,
)
_NO_SALE = re.compile(
    r"(?:did not|didn't|does not|chose not to|opted not to|opting (?:not to|against)|decided not to|without|refrained from|avoided|has not|have not|not)\s+(?:sell|sold|selling|monetiz\w+|liquidat\w+)(?:ing)?(?:\s+any)?"
    r"(?!\s+(?:all|most|more|its (?:asics|machines|equity)))|\bno (?:bitcoins?|btc|coins|sales? of (?:bitcoin|btc)|(?:bitcoin|btc) (?:was|were) sold|(?:bitcoin|btc) sales)(?: (?:was|were))?(?: sold| monetized)?"
    r"|\ball (?:of the |of its |the )?(?:btc|bitcoins?) (?:produced|mined)[^.]{0,40}\b(?:was|were|is|been)\s+(?:hodl\w*|held|retained|kept)|(?:keine|keinen) (?:bitcoins?|btc) verkauft|n'a vendu aucun|no vendió|未出售|没有出售|沒有出售|売却していない|売却しなかった",
    re.IGNORECASE,
)
_YEAR_ALONE = re.compile(
    r"\b(?:in|for|during|throughout|fiscal(?: year)?|calendar(?: year)?|year|full-year|full year)\s+20[12]\d\b(?!-)|\b20[12]\d (?:fiscal|financial|full) year|\bfiscal year\b",
    re.IGNORECASE,
)
_NO_SALE_OBJECT = re.compile(w.BITCOIN.pattern + r"|holdings|production|treasury|\bany\b", re.IGNORECASE)


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
        wraps = (
            len(line.rstrip()) >= 55
            and not re.search(r"[.!?:;|]\s*$", line)
            and bool(re.match(r"\s*[a-z0-9$(%&,]", following))
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


def claims(text: str, skip: list[tuple[int, int]], ctx: Context) -> list[Claim]:
    """Every claim that the sentences make."""
    out: list[Claim] = []
    previous: list[Claim] = []
    carried: str | None = None
    for start, end in sentences(text, skip):
        marks = periods(text, start, end)
        if _YEAR_ALONE.search(text, start, end) and not marks:
            carried = "none"
        found = _sentence(text, start, end, marks, ctx, previous, carried)
        out.extend(found)
        if found:
            previous = found
        quarters = [
            p
            for p in marks
            if p.kind in ("quarter", "year", "span")
            and not _COMPARISON.search(text[max(start, p.start - 14) : p.start])
        ]
        months = [p for p in marks if p.kind in ("month", "date")]
        if months or "\n" in text[end : end + 1] or text[end - 1 : end] == "\n":
            carried = None
        if not months and _YEAR_ALONE.search(text, start, end):
            carried = "none"
        elif quarters and quarters[0].kind == "quarter" and not [p for p in marks if p.kind == "month"]:
            carried = key_of(quarters[0], ctx)
        elif quarters and quarters[0].kind != "quarter":
            carried = "none"
    return out


def _sentence(
    text: str, start: int, end: int, marks: list[Period], ctx: Context, previous: list[Claim], carried: str | None
) -> list[Claim]:
    sentence = text[start:end]
    out: list[Claim] = []
    spots = _spots(text, start, end, marks, ctx.style)
    if not re.search(r"\d|\bnine|\beight|\bseven|\bsix|\bfive|\bfour|\bthree", sentence) and not _NO_SALE.search(
        sentence
    ):
        return out
    roles: list[tuple[str, int] | None] = []
    for i, spot in enumerate(spots):
        role = _role(sentence, spot, ctx)
        if role is None and i and (spot.linked or spot.compared or _closes_range(spot, spots[i - 1])):
            role = _inherit(spot, spots, roles, i)
        roles.append(role)
    _respectively(sentence, spots, roles)
    for i, (spot, role) in enumerate(zip(spots, roles, strict=True)):
        if role is None:
            continue
        name, strength = role
        period = _period(text, start, end, marks, spot, spots, i, ctx)
        if not period or (carried == "none" and not marks):
            continue
        if carried and not marks and len(carried) == 6:
            period = carried
        amount = convert("deployed_ehs" if name == UNNAMED else name, spot.q, None)
        if isinstance(amount, str) or (
            spot.q.negative and name not in ("btc_sold", "service_fee_btc") and "(" not in spot.q.printed
        ):
            continue
        if "Q" in period and name in ("avg_operating_ehs", "deployed_ehs", "operating_month_end_ehs", UNNAMED):
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
            )
        )
    out.extend(_revenue_follows(sentence, spots, roles, previous, text, start, end, marks, ctx))
    zero = _NO_SALE.search(sentence)
    if zero is not None and _NO_SALE_OBJECT.search(sentence) and not any(c.field == "btc_sold" for c in out):
        key = _zero_period(text, start, end, marks, start + zero.start(), ctx)
        if (
            key is not None
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


def _closes_range(spot: Spot, before: Spot) -> bool:
    """Is this the second number of `from A in June to B`?"""
    return (
        before.q.unit == spot.q.unit
        and bool(re.search(r"\bto\s*(?:a record|approximately|about|just|over|nearly)?\s*$", spot.left, re.IGNORECASE))
        and bool(re.search(r"\bfrom\s*(?:approximately|about|just)?\s*(?:US)?\$?\s*$", before.before, re.IGNORECASE))
    )


def _zero_period(text: str, start: int, end: int, marks: list[Period], at: int, ctx: Context) -> str | None:
    own = [
        p
        for p in marks
        if p.kind in ("month", "quarter") and not _COMPARISON.search(text[max(start, p.start - 14) : p.start])
    ]
    if not own:
        return ctx.period
    return key_of(min(own, key=lambda p: abs(p.start - at)), ctx)


def _spots(text: str, start: int, end: int, marks: list[Period], style: str) -> list[Spot]:
    found = [
        q for q in quantities(text, start, end, style) if not any(p.start < q.end and q.start < p.end for p in marks)
    ]
    found = [
        q for q in found if not (q.unit is None and q.decimals == 0 and "," not in q.printed and 2008 < q.value < 2045)
    ]
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
            linked = not re.sub(
                _SPLIT,
                "",
                re.sub(
                    r"(?i)\b(?:or|to|approximately|about|roughly|a total of|respectively|in|from|vs\.?|versus|compared (?:to|with)|daily|per day)\b|[\s\"]",
                    "",
                    gap,
                ),
            )
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
                text[left_from : q.start],
                text[q.end : right_to],
                before,
                text[q.end : end],
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


def _is_compared(text: str, left_from: int, at: int, gap_start: int) -> bool:
    """Does a comparison word govern this number: `(vs 32`, `up from the 156`, `as compared to August production of`?"""
    lead = text[gap_start:at]
    found = None
    for m in _COMPARISON.finditer(lead):
        found = m
    if found is None:
        return False
    rest = lead[found.end() :]
    return not re.search(r",(?!\d)|;|\band\b|\bto\b|，|%", rest, re.IGNORECASE)


def _ranges(text: str, found: list[Quantity]) -> list[Quantity]:
    """`from 1,176 to 692 BTC`: the first number has the unit of the second. `11,452 and 10,428 bitcoin` likewise."""
    out = list(found)
    for i in range(len(out) - 1):
        a, b = out[i], out[i + 1]
        if a.unit is None and b.unit in ("BTC", "EH/s", "J/TH", "blocks", "miners", "USD"):
            gap = text[a.end : b.start]
            if re.fullmatch(
                r"\s*(?:to|and|or|y|und|et|bis|auf|à|a|至|到|和|vs\.?|,)\s*(?:approximately|about|just|only|over|nearly)?\s*",
                gap,
                re.IGNORECASE,
            ):
                value = a.value
                out[i] = replace(a, unit=b.unit, value=value)
    return out


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match ends, -1 without one."""
    at = -1
    for m in pattern.finditer(text):
        at = m.end()
    return at


def _role(sentence: str, s: Spot, ctx: Context) -> tuple[str, int] | None:
    unit = s.q.unit
    change = _DELTA_BEFORE.search(s.left) or _DELTA_AFTER.search(s.right)
    if change and not re.search(r"\bto\s*(?:approximately|about)?\s*$", s.left):
        return None
    if unit == "BTC" or unit is None:
        return _coins(sentence, s, ctx)
    if unit == "USD":
        return _money(sentence, s, ctx)
    if unit == "EH/s":
        return _hashrate(sentence, s)
    if unit == "J/TH":
        near = s.left[-120:] + s.right[:40]
        if w.FUTURE.search(s.left[-80:]) or re.search(
            r"\b(?:S\d\d|M\d\d|T21|Antminer|Whatsminer|Avalon|Bitmain|MicroBT|new|latest|model)\b", near
        ):
            return None
        return (
            ("efficiency_j_th", STRONG)
            if w.EFFICIENCY.search(s.before + s.right[:60]) or re.search(r"fleet", near, re.IGNORECASE)
            else None
        )
    if unit == "USD/kWh":
        near = s.before[-160:] + s.right[:60]
        if w.FUTURE.search(s.left[-80:]) or w.CUSTOMERS.search(s.left) or w.CREDITS.search(s.left):
            return None
        return ("power_cost_usd_per_kwh", STRONG) if w.POWER.search(near) or w.COST.search(near) else None
    if unit == "%":
        return _share(s)
    if unit == "blocks":
        near = s.left[-80:] + " " + s.right[:40]
        if (
            (s.compared and not re.search(r"\bfrom\b", s.left))
            or w.FUTURE.search(s.left[-60:])
            or re.search(r"\b(?:last|previous|every|next|per|difficulty|adjust\w*)\b", near, re.IGNORECASE)
        ):
            return None
        won = re.search(
            r"\b(?:won|w[io]n|captur\w+|found|mined|solved|produced|discovered|gefunden|ganó|ganados|minad\w+|trouvé\w*)\b|挖出|获得|爆块",
            near,
            re.IGNORECASE,
        )
        return ("blocks_won", STRONG) if won else None
    if unit == "miners":
        near = s.left[-80:] + " " + s.right[:40]
        if any(p.search(near) for p in (w.FUTURE, w.BESIDES_FLEET, w.CUSTOMERS, w.MANAGED)):
            return None
        return (
            ("deployed_miners", STRONG)
            if w.RATED.search(near) or w.OPERATING.search(near) or re.search(r"\bfleet\b", near, re.IGNORECASE)
            else None
        )
    return None


def _share(s: Spot) -> tuple[str, int] | None:
    left, right = s.left[-140:], s.right[:80]
    if re.search(
        r"fees?\s+(?:accounted for|represented|made up|were|comprised|contributed|constituted|equal\w* to|was)\s*(?:approximately|about|nearly|almost|over|roughly)?\s*$",
        left,
        re.IGNORECASE,
    ):
        return "fee_share_pct", STRONG
    if re.search(
        r"(?:share|percentage|proportion) of (?:the )?(?:available |total |network |global )*(?:miner |mining |block |bitcoin )?rewards?",
        left + right,
        re.IGNORECASE,
    ):
        if (
            re.search(
                r"(?:\bto|\bof|\bwas|\bat|\bstood at|\brewards?:?)\s*(?:approximately|about|nearly|almost)?\s*$",
                left,
                re.IGNORECASE,
            )
            or s.compared
        ):
            return ("share_of_rewards_pct", STRONG) if not s.compared else ("share_of_rewards_pct", MEDIUM)
        return None
    if w.SOLD.search(left[-40:]) and re.match(
        r"\s*of (?:the |its |our |all )?(?:\w+ ){0,3}(?:btc|bitcoins?|production|output|coins)", right, re.IGNORECASE
    ):
        return None if w.HELD.search(right) else ("sold_share_pct", STRONG)
    return None


def _hashrate(sentence: str, s: Spot) -> tuple[str, int] | None:
    left, right = s.left[-200:], s.right[:70]
    near = left + " " + right
    if (
        w.FUTURE.search(left[-110:])
        or w.NETWORK.search(near)
        or re.search(
            r"\bby (?:the end of|year[- ]end|mid|late|early|Q[1-4])[^.]{0,12}\b20\d\d|\bby year[- ]end|\bacquir|\bpurchas|\border",
            right,
            re.IGNORECASE,
        )
    ):
        return None
    if (
        w.PER_EH.search(near)
        or re.search(r"\b(?:per|/)\s*$", left)
        or re.search(r"\badd(?:ed|ing|s|itional)\b|\bnew\b|\bof which\b|\bexpansion\b", left[-50:], re.IGNORECASE)
    ):
        return None
    if w.POTENTIAL.search(near):
        return "potential_phs", STRONG
    if w.MANAGED.search(near):
        return ("managed_ehs", STRONG) if w.HASHRATE.search(near) else None
    if re.search(r"\bself-?owned\b|自有", near, re.IGNORECASE):
        return "self_owned_ehs", STRONG
    if w.CUSTOMERS.search(near) or re.search(r"\bleased\b|租", near):
        return None
    cues: list[tuple[int, str, int]] = []
    average, rated, operating = _last(w.AVERAGE, left), _last(_RATED_HASH, left), _last(w.OPERATING, left)
    has_hash = (
        w.HASHRATE.search(left)
        or w.HASHRATE.search(right[:40])
        or re.search(r"\b(?:rate|figure|capacity|speed|operat\w+)\b", left)
    )
    named = re.search(
        r"(?:deployed|installed|energi[sz]ed|average|operating|operational|active)\s+(?:\w+\s+){0,2}hash ?-?rate",
        left,
        re.IGNORECASE,
    )
    if not named and re.search(
        r"\b(?:acquir\w*|purchas\w*|order\w*|plan\w*|next|worth of|opportunit\w*|delivering)\b",
        s.before[-170:] + right[:14],
        re.IGNORECASE,
    ):
        return None
    if average >= 0:
        cues.append((average, "avg_operating_ehs", STRONG))
    if rated >= 0:
        cues.append((rated, "deployed_ehs", STRONG))
    if cues:
        if average >= 0 and operating > average and rated == operating:
            return ("avg_operating_ehs", STRONG) if has_hash else None  # `average active hashrate`
        if (
            average >= 0
            and rated > average
            and re.search(r"average[^,;]{0,30}(?:deployed|installed|energi)", left, re.IGNORECASE)
        ):
            return None
        _, name, strength = max(cues)
        return (name, strength) if has_hash else None
    if re.match(
        r"\s*(?:of |in )?(?:\w+ ){0,2}(?:installed|deployed|energi[sz]ed|(?:mining |self-mining |total )?capacity|mining power|of mining capacity|active)\b",
        right,
        re.IGNORECASE,
    ):
        return "deployed_ehs", STRONG
    if (
        re.match(
            r"\s*(?:\w+ ){0,2}(?:on average|average|durchschnittlich|en moyenne|en promedio)\b", right, re.IGNORECASE
        )
        and has_hash
    ):
        return "avg_operating_ehs", STRONG
    if operating >= 0 and w.HASHRATE.search(left[max(0, operating - 30) :] + right):
        return "operating_month_end_ehs", STRONG
    if re.match(r"\s*(?:operational|operating|online|running|in operation)\b", right, re.IGNORECASE):
        return "operating_month_end_ehs", STRONG
    if has_hash and re.search(r"\btotal\b[^,;]{0,20}hash|总算力|總算力", left, re.IGNORECASE):
        return "deployed_ehs", WEAK
    if w.HASHRATE.search(left[-90:]) and re.search(
        r"(?:\bto|\bof|\bat|\bwas|\bis|\breached|auf|达到?|至)\s*(?:approximately|about|around|over|nearly|estimated at)?\s*$|estimated at\s*$",
        left,
        re.IGNORECASE,
    ):
        return UNNAMED, MEDIUM
    return None


_RATED_HASH = re.compile(w.RATED.pattern + r"|\bexpanded\b|\bhashrate capacity\b", re.IGNORECASE)


def _money(sentence: str, s: Spot, ctx: Context) -> tuple[str, int] | None:
    left, right = s.left, s.right[:60]
    if w.FUTURE.search(left[-60:]):
        return None
    if (
        _TOTAL_VALUE.match(right.lstrip(" ,"))
        or re.match(
            r"\s*(?:USD|US dollars)?\s*(?:per|each|a|pro|je|par|por|/)\s?(?:self-mined |mined )?(?:bitcoin|btc|coin|unit)|\s*apiece|\s*每枚",
            right,
            re.IGNORECASE,
        )
        or (w.AVERAGE.search(left) and w.PRICE.search(left))
        or (
            w.PER_BTC.search(left)
            and re.search(r"(?:cost|price|revenue|kosten|coût|costo|成本|均价)", left, re.IGNORECASE)
        )
    ):
        return _per_coin(s, left, right)
    if (
        w.RESTRICTED.search(s.before)
        and re.search(r"fair value of\s*$", left, re.IGNORECASE)
        and re.search(r"receivable", sentence, re.IGNORECASE)
    ):
        return ("receivable_kusd", STRONG) if ctx.statement else None
    if re.search(
        r"\b(?:valued?|worth|cash|market|liquidity|debt|loan|notes?|equity|offering|capex|raised|facility|assets?|wert|valor|valeur)\b|价值|市值",
        left[-60:],
        re.IGNORECASE,
    ):
        return None
    if w.CREDITS.search(left + right) and (w.POWER.search(left + right) or w.DEMAND_RESPONSE.search(left + right)):
        if w.DEMAND_RESPONSE.search(left + right):
            return "demand_response_credits_usd", STRONG
        return (
            "total_power_credits_usd" if re.search(r"\btotal\b", left, re.IGNORECASE) else "power_credits_usd"
        ), STRONG
    if re.search(r"\bproceeds\b|erlös|所得款", left[-70:] + right[:25], re.IGNORECASE):
        return (
            ("sale_proceeds_usd", STRONG)
            if w.SOLD.search(s.before + right)
            and w.BITCOIN.search(s.before + right)
            and not re.search(r"\b(?:equity|atm|notes?|shares?|offering)\b", left, re.IGNORECASE)
            else None
        )
    if w.REVENUE.search(left[-80:]):
        if re.search(r"\b(?:total|hosting|cloud|ai|hpc|other|annual|quarterly|per)\b", left[-60:], re.IGNORECASE):
            return None
        return ("revenue_usd", STRONG) if re.search(r"mining|bitcoin|挖矿", left, re.IGNORECASE) else None
    sold_before = _last(w.SOLD, s.before)
    if sold_before >= 0 and re.search(
        r"(?:\bfor|\bnetting|\bnetted|\bgenerating|\bgenerated|\brealizing|\byielding|\braising|\bfetching|\bbringing in|\bfür|\bpour|\bpor|\bper|获得|套现)\s*(?:a total of|an? (?:estimated|approximate)|approximately|about|around|nearly|over|some|rund|environ|unos|net|约)?\s*(?:of )?$",
        left,
        re.IGNORECASE,
    ):
        return ("sale_proceeds_usd", STRONG) if w.BITCOIN.search(s.before) or re.search(r"coins|枚", s.before) else None
    return None


def _per_coin(s: Spot, left: str, right: str) -> tuple[str, int] | None:
    near = left[-160:]
    if re.search(
        r"\b(?:closing|market|spot|current|based on|using|assum\w+|computed|daily closing|hash ?price)\b",
        near,
        re.IGNORECASE,
    ):
        return None
    cost = w.COST.search(near + right)
    if cost:
        if w.ALL_IN.search(near):
            return "all_in_cost_usd_per_btc", STRONG
        if w.CASH.search(near):
            return "cash_cost_usd_per_btc", STRONG
        return ("energy_cost_usd_per_btc", STRONG) if w.POWER.search(near) else None
    if w.REVENUE.search(near):
        return "revenue_usd_per_btc", STRONG
    if _last(w.PURCHASED, s.before) > _last(w.SOLD, s.before):
        return None
    if w.SOLD.search(s.before + right) and (
        w.AVERAGE.search(near) or w.PRICE.search(near) or re.search(r"\bat\b|\bzu\b|à", near[-30:])
    ):
        return "avg_sale_price_usd", STRONG
    return None


def _coins(sentence: str, s: Spot, ctx: Context) -> tuple[str, int] | None:
    left, right = s.left, s.right
    bare = s.q.unit is None
    if bare and (s.q.negative or not w.BITCOIN.search(left + right[:32])):
        return None
    near_right = right[:45]
    if re.match(
        r"\s*(?:bitcoin |BTC )?(?:treasury|miners?|rigs|ETF|price|network|shares|holders|holding compan|mining (?:rigs|machines|compan|fac))",
        near_right,
        re.IGNORECASE,
    ):
        return None
    if w.OTHER_COIN.search(left[-25:]) and not w.BITCOIN.search(left[-25:]):
        return None
    if w.FUTURE.search(left[-70:]) or re.search(r"\b(?:high|record high|peak|low|maximum) of\s*$", left, re.IGNORECASE):
        return None
    if re.search(r"\b(?:high|highest|peak|maximum)\b[^,;]{0,30}$", left, re.IGNORECASE) and re.match(
        r"\s*(?:per |/ ?|a )?(?:day|daily)", right, re.IGNORECASE
    ):
        return None
    if re.search(
        r"\b(?:total supply|21 million|block subsid|halving|per block|block reward)\b",
        left[-50:] + near_right,
        re.IGNORECASE,
    ):
        return None
    if re.match(r"\s*blocks?\b", right):
        return "blocks_won", STRONG
    if re.match(
        r"\s*(?:\([^)]*\)\s*)?(?:was |were |is |are |had been |being )?(?:mined |produced )?(?:per |for each |a |je |pro )?(?:average )?(?:exa-?hash|EH)",
        near_right,
        re.IGNORECASE,
    ):
        return "btc_per_avg_ehs", STRONG
    if _per_day(sentence, s, left, right):
        return "avg_btc_per_day", STRONG
    if (
        bare
        and not _attached(left)
        and not (
            re.match(
                r"\s*(?:of |in |units of )?(?:restricted|pledged|unrestricted)\s+(?:bitcoins?|btc)",
                right,
                re.IGNORECASE,
            )
        )
    ):
        return None
    if w.RESTRICTED.search(left) and re.search(r"receivable", left, re.IGNORECASE):
        return "btc_receivable_from_collateral", STRONG
    special = _special(sentence, s, left, right)
    if special is not None:
        return special if special[0] else None
    cue = _cue(left)
    if cue is None:
        follow = right[:60]
        if re.match(
            r"\s*(?:\([^)]*\)\s*)?(?:that |which |it |they |the company |we )?(?:was |were |has been |have been |had been |wurden |fueron |ont été |a été |sono stati )?(?:self-)?(?:produced|mined|earned|produziert|geschürft|gemined|minad\w+|producid\w+|minés|produits|prodotti|estratti)",
            follow,
            re.IGNORECASE,
        ):
            return "btc_produced", STRONG
        if re.match(
            r"\s*(?:\([^)]*\)\s*)?(?:it |they |the company )?(?:was |were |wurden |fueron |ont été )?(?:sold|monetized|liquidated|verkauft|vendid\w+|vendus)",
            follow,
            re.IGNORECASE,
        ):
            return "btc_sold", STRONG
        if re.match(
            r"\s*(?:\([^)]*\)\s*)?(?:held|in (?:its |our |the )?(?:treasury|reserves?|holdings|custody|inventory)|on (?:its |our |the )?balance sheet)",
            follow,
            re.IGNORECASE,
        ) or (
            re.search(
                r"\b(?:had|has|have|with|hatte|avait|tenía)\s*(?:approximately|about|a total of|over|nearly|rund)?\s*$",
                left,
                re.IGNORECASE,
            )
            and w.MONTH_END.search(follow + " " + s.before[-80:])
        ):
            return "btc_held_end", STRONG
        if ctx.language in ("ja", "zh", "ru", "de"):
            cue = _cue_after(follow)
        if cue is None and s.linked and not s.compared:
            cue = _cue(re.sub(w.PER_DAY, "", s.before))
            return (cue, MEDIUM) if cue in ("btc_produced", "btc_sold") and "equivalent" not in left else None
    return (cue, STRONG) if cue is not None else None


def _attached(left: str) -> bool:
    """A number without a unit counts as coins only right behind its noun: `bitcoin holdings to`, `BTC mined was`."""
    return bool(
        re.search(
            r"(?:bitcoins?|btc|比特[币幣]|ビットコイン)(?:\W+\w+){0,7}?\W*(?:to|of|at|was|were|is|are|reached|averaged|totall?ed|stood at|came (?:in )?(?:at|to)|rose to|fell to|:|为|達|达|至|は|auf|bei|a|à|de)\s*(?:approximately|about|a (?:total|record) of|a|around|roughly|just|only|over|nearly|约|約)?\s*$",
            left,
            re.IGNORECASE,
        )
    )


def _per_day(sentence: str, s: Spot, left: str, right: str) -> bool:
    if re.match(
        r"\s*(?:\([^)]*\)\s*)?(?:were |was |are |is )?(?:mined |produced |on average |each )?,?\s*(?:per (?:calendar |operating )?day|/ ?day|daily|a day|each day|every day|pro Tag|täglich|am Tag|par jour|por día|por dia|al día|al giorno|diari[oa]s?|в день|в сутки|/天|每天|/日)",
        right,
        re.IGNORECASE,
    ):
        return True
    at = _last(w.PER_DAY, left)
    return (
        at >= 0
        and len(left) - at < 70
        and not re.search(r"\b(?:closing|price|volume|report)\b", left[max(0, at - 30) :], re.IGNORECASE)
        and (
            bool(w.AVERAGE.search(left))
            or _cue(left[:at]) == "btc_produced"
            or _cue(left[at:]) == "btc_produced"
            or bool(w.BITCOIN.search(left))
        )
    )


def _special(sentence: str, s: Spot, left: str, right: str) -> tuple[str, int] | None:
    follow = right[:70]
    tail = left[-60:]
    if w.YTD.search(follow) or (
        _last(w.YTD, left) >= 0 and "," not in left[_last(w.YTD, left) :] and w.PRODUCED.search(left + follow)
    ):
        if w.PRODUCED.search(left + follow) and not w.SOLD.search(tail):
            return "ytd_btc", STRONG
        return "", 0
    if w.JOINT.search(follow) and not re.search(r"includ", follow, re.IGNORECASE):
        return "jv_share_btc", STRONG
    if re.match(
        r"\s*(?:\([^)]*\)\s*)?(?:\w+ ){0,2}?(?:from|of|through|via|as)? ?(?:estimated )?(?:power sales|energy sales|curtailment)",
        follow,
        re.IGNORECASE,
    ):
        return "btc_equivalent_not_coins", STRONG
    if re.search(r"equivalent (?:to|of)|equates? to|equals?\b|entspricht|équivalent", tail, re.IGNORECASE) and (
        w.POWER.search(s.before) or w.CREDITS.search(s.before)
    ):
        return "btc_equivalent_not_coins", STRONG
    if re.search(r"\b(?:equivalent (?:to|of)|equates? to|average of (?:the )?(?:\w+ )?price)\b", tail, re.IGNORECASE):
        return "", 0
    if re.match(
        r"\s*(?:\([^)]*\)\s*)?(?:(?:was|were|is|are|has been|have been|had been|wurden|ist|sind|fueron|está[n]?|étaient|sont) )?(?:\w+ ){0,2}?(?:as collateral|pledged|restricted|encumbered|posted|locked|verpfändet|als Sicherheit|en garantía|en garantie|nantis|as security|in collateral|collateral)",
        follow,
        re.IGNORECASE,
    ) or (
        re.search(r"\b(?:includ\w+|of which|had|has|with|and)\b[^,;]{0,20}$", left, re.IGNORECASE)
        and re.match(r"\s*(?:of |in )?(?:restricted|pledged|collateral|encumbered)", follow, re.IGNORECASE)
    ):
        return ("restricted_or_pledged_btc", STRONG)
    if w.UNRESTRICTED.search(left[-50:]) or w.UNRESTRICTED.search(follow[:30]):
        return "free_btc", STRONG
    if re.search(
        r"\b(?:pledged|restricted|collaterali[sz]ed|encumbered|posted|verpfändet\w*|nantis|质押|質押|抵押)\b(?!.*\b(?:holds?|held|total|including)\b)[^,;]{0,30}$|(?:质押|質押|抵押)[^,;，]{0,12}$",
        left,
        re.IGNORECASE,
    ):
        return "restricted_or_pledged_btc", STRONG
    if re.search(r"\b(?:collateral|loan|borrow\w*|credit facility|deposit\w*|transfer\w*)\b", tail, re.IGNORECASE):
        return "", 0
    if w.LENT.search(follow[:30]) or w.LENT.search(tail[-30:]):
        return "lent_btc", STRONG
    if w.CUSTOMERS.search(tail) or re.search(
        r"^\s*(?:\w+ ){0,4}(?:by|for|to|from) (?:our |its |hosting |hosted |colocation )*(?:customers?|clients?|third[- ]part\w+|hosted)",
        follow,
        re.IGNORECASE,
    ):
        return (
            ("hosted_btc_customers", STRONG)
            if w.PRODUCED.search(tail + follow) and not re.search(r"self", tail, re.IGNORECASE)
            else ("", 0)
        )
    return None


_CUES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("btc_produced", w.PRODUCED),
    ("btc_sold", w.SOLD),
    ("btc_held_end", w.HELD),
    ("btc_purchased", w.PURCHASED),
)


def _cue(left: str) -> str | None:
    """The role of the last cue in the words before a number."""
    best, where = None, -1
    for name, pattern in _CUES:
        at = _last(pattern, left)
        if at > where:
            best, where = name, at
    if best is None:
        return None
    tail = left[where:]
    if best == "btc_produced" and re.search(r"\b(?:cost|price|revenue|target)\b", tail, re.IGNORECASE):
        return None
    if best == "btc_held_end" and re.search(
        r"\b(?:position of|meeting|company|balance of (?:the )?(?:loan|debt))\b", tail, re.IGNORECASE
    ):
        return None
    if best == "btc_sold" and re.search(r"\b(?:proceeds|price|average)\b", tail, re.IGNORECASE):
        return None
    if best == "btc_purchased" and re.search(r"\b(?:miners?|machines?|rigs?)\b", tail, re.IGNORECASE):
        return None
    return best if len(tail) < 110 else None


def _cue_after(right: str) -> str | None:
    """Verb-final languages: the first cue after the number."""
    best, where = None, 999
    for name, pattern in _CUES:
        m = pattern.search(right[:40])
        if m is not None and m.start() < where:
            best, where = name, m.start()
    return best


def _inherit(spot: Spot, spots: list[Spot], roles: list[tuple[str, int] | None], i: int) -> tuple[str, int] | None:
    """A compared or listed number without a cue has the role of the one before it of the same unit."""
    for j in range(i - 1, -1, -1):
        if spots[j].q.unit == spot.q.unit:
            role = roles[j]
            if role is None or _cue(spot.left) is not None:
                return None
            return role[0], MEDIUM
    return None


def _respectively(sentence: str, spots: list[Spot], roles: list[tuple[str, int] | None]) -> None:
    """`operational and installed hashrates at 7.27 EH/s and 8.75 EH/s, respectively`: labels in order of values."""
    if not re.search(
        r"respectively|jeweils|respectivement|respectivamente|rispettivamente|分别", sentence, re.IGNORECASE
    ):
        return
    rates = [i for i, s in enumerate(spots) if s.q.unit == "EH/s"]
    if len(rates) != 2:
        return
    lead = spots[rates[0]].left
    named: list[tuple[int, str]] = []
    for name, pattern in (
        ("deployed_ehs", re.compile(r"\binstalled\b|\bdeployed\b|\benergi[sz]ed\b", re.IGNORECASE)),
        ("avg_operating_ehs", w.AVERAGE),
        ("operating_month_end_ehs", re.compile(r"\boperat(?:ing|ional)\b", re.IGNORECASE)),
    ):
        at = _last(pattern, lead)
        if at >= 0 and not (name == "operating_month_end_ehs" and any(n == "avg_operating_ehs" for _, n in named)):
            named.append((at, name))
    if len(named) == 2:
        named.sort()
        for i, (_, name) in zip(rates, named, strict=True):
            roles[i] = (name, STRONG)


def _period(
    text: str, start: int, end: int, marks: list[Period], spot: Spot, spots: list[Spot], i: int, ctx: Context
) -> str | None:
    """The month, quarter or date that a number belongs to; None where the text leaves it open."""
    q = spot.q
    usable = [p for p in marks if p.kind != "span"]
    paired = _paired_period(text, start, end, usable, spot, spots, i, ctx)
    if paired is not None:
        return paired
    right_end = q.end + len(spot.right)
    if spot.compared:
        inside = [p for p in usable if spot.start <= p.start < q.start or q.end <= p.start < right_end]
        if inside:
            return key_of(inside[0], ctx)
        near = text[max(start, q.start - 60) : min(end, q.end + 80)]
        base = _base_period(text, start, marks, spot, ctx)
        rest = [p for p in usable if p.start > q.end]
        if ctx.statement and rest:
            return key_of(rest[0], ctx)
        if _PRIOR_YEAR.search(near) and base is not None and len(base) == 7:
            return shift(base, -12)
        if _PRIOR_MONTH.search(near) and base is not None and len(base) == 7:
            return shift(base, -1)
        return None
    beside = [p for p in usable if q.end <= p.start < right_end and not _COMPARISON.search(text[q.end : p.start])]
    if beside and re.fullmatch(r"[^,;]{0,60}", text[q.end : beside[0].start]):
        return key_of(beside[0], ctx)
    return _base_period(text, start, marks, spot, ctx)


def _base_period(text: str, start: int, marks: list[Period], spot: Spot, ctx: Context) -> str | None:
    """The nearest period before the number that no comparison governs; else after it; else the document's."""
    q = spot.q
    free = [p for p in marks if p.kind != "span" and not _governed(text, start, p)]
    before = [p for p in free if p.end <= q.start]
    if (
        len(before) > 1
        and before[-1].kind == before[-2].kind == "month"
        and re.fullmatch(
            r"\s*(?:and|to|through|&|-|und|et|y|e|bis|à|和|至|到)\s*",
            text[before[-2].end : before[-1].start],
            re.IGNORECASE,
        )
    ):
        return None  # one figure for two months
    if before:
        return key_of(before[-1], ctx)
    after = [
        p
        for p in free
        if p.start >= q.end
        and not re.search(
            r"%|" + w.DELTA.pattern + r"|\b(?:reduction|drop|decline|rise|up|down|higher|lower)\b",
            text[q.end : p.start],
            re.IGNORECASE,
        )
    ]
    if after and not ctx.statement and after[0].kind == "quarter" and ctx.period is not None:
        return ctx.period
    if after and (ctx.statement or after[0].kind == "month" or (after[0].kind == "date" and after[0].ends_month)):
        key = key_of(after[0], ctx)
        if (
            key is None
            or ctx.statement
            or ctx.period is None
            or (key[:4].isdigit() and key <= ctx.period)
            or key == ctx.period
        ):
            return key
    return ctx.period


def _governed(text: str, start: int, p: Period) -> bool:
    lead = text[max(start, p.start - 70) : p.start]
    found = None
    for m in _COMPARISON.finditer(lead):
        found = m
    return found is not None and not re.search(r",(?!\d)|;|\bto\b|\bat\b", lead[found.end() :])


def _paired_period(
    text: str, start: int, end: int, marks: list[Period], spot: Spot, spots: list[Spot], i: int, ctx: Context
) -> str | None:
    """`As of December 31, 2025 and September 30, 2025 ... 11,452 and 10,428, respectively`; `from X in June to Y in July`; `from X to Y`."""
    if re.search(r"respectively|分别|jeweils|respectivement", text[spot.q.end : end]):
        same = [s for s in spots if s.q.unit == spot.q.unit]
        dated = [p for p in marks if p.end <= same[0].q.start]
        if len(same) == len(dated) and len(same) > 1:
            return key_of(dated[same.index(spot)], ctx)
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
            return key_of(own[0], ctx)
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
            base = _base_period(text, start, marks, following, ctx) or ctx.period
            if _PRIOR_YEAR.search(near) and not _PRIOR_MONTH.search(near) and len(base) == 7:
                return shift(base, -12)
            if _PRIOR_MONTH.search(near) and not _PRIOR_YEAR.search(near) and len(base) == 7:
                return shift(base, -1)
            return ""
    return None


def _restated(spot: Spot) -> bool:
    return bool(re.search(r"\b(?:restated|revised|corrected) (?:to|from|figure)", spot.left[-60:], re.IGNORECASE))


def _revenue_follows(
    sentence: str,
    spots: list[Spot],
    roles: list[tuple[str, int] | None],
    previous: list[Claim],
    text: str,
    start: int,
    end: int,
    marks: list[Period],
    ctx: Context,
) -> list[Claim]:
    """A comparison right after a sentence on mining revenue may call the same thing earnings or income."""
    if not any(c.field == "revenue_usd" for c in previous) or any(
        r is not None and r[0] == "revenue_usd" for r in roles
    ):
        return []
    if not re.match(r"\W*(?:meanwhile|while|whereas|in comparison|by comparison|compared)\b", sentence, re.IGNORECASE):
        return []
    out = []
    for i, (spot, role) in enumerate(zip(spots, roles, strict=True)):
        if (
            role is None
            and spot.q.unit == "USD"
            and re.search(r"\b(?:earnings|income|figure|it)\b", spot.left, re.IGNORECASE)
        ):
            period = _period(text, start, end, marks, spot, spots, i, ctx)
            if period and period != previous[0].period:
                out.append(
                    Claim(
                        "revenue_usd",
                        spot.q.value,
                        period,
                        spot.start,
                        spot.q.end,
                        spot.q.printed,
                        "prose:revenue-compared",
                        MEDIUM,
                    )
                )
    return out
