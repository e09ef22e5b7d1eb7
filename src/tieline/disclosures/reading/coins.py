"""What a number of coins in a sentence is: produced, held, sold, bought, pledged, lent, a part or an equivalent.

Knows nothing of periods or of money. The nearest cue before the number decides, then one right after it; a site's
coins, a mark that was passed and what is expected are none.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re

from tieline.disclosures.reading import words as w
from tieline.disclosures.reading.claims import MEDIUM, STRONG, WEAK
from tieline.disclosures.reading.context import Context
from tieline.disclosures.reading.rates import last_end
from tieline.disclosures.reading.spots import Spot

_EXPECTED = re.compile(r"\b(?:expected to|expects? to|on track|anticipat\w+|projected|guidance)\b", re.IGNORECASE)


def coins_role(sentence: str, s: Spot, ctx: Context) -> tuple[str, int] | None:
    left, right = s.left, s.right
    bare = s.q.unit is None
    daily = (
        bare
        and re.match(r"\s*(?:per|a|each) (?:calendar )?day\b", right, re.IGNORECASE)
        and w.AVERAGE.search(left)
        and w.BITCOIN.search(s.before)
    )
    if daily and not re.search(r"\d{4,}", s.q.printed):
        return "avg_btc_per_day", STRONG
    if re.search(
        r"(?:bitcoins?|btc)(?: mined| produced)? ?(?:per|/) ?(?:average |avg\.? )?(?:EH|exa)[^.;\d]{0,40}\b(?:of|to|from|was|at|reached|averaged)\s*(?:approximately |about |~)?$",
        left,
        re.IGNORECASE,
    ):
        return "btc_per_avg_ehs", STRONG
    if not bare and re.search(
        r"\bdaily (?:production |mining |output )?(?:rate|average|output|production)(?: \w+)? of\s*(?:approximately |about |~|around )?$",
        left,
        re.IGNORECASE,
    ):
        return "avg_btc_per_day", STRONG
    if bare and (s.q.negative or not w.BITCOIN.search(left + right[:32])):
        return None
    if bare and (_WORTH_OF.search(left) or _UNIT_TOLD.search(left)):
        return None  # `Carrying value of bitcoin sold (37,929)` is money
    if re.search(r"\bnetwork (?:\w+ )?(?:generat|produc|mint|min|issu)\w* (?:\w+ )?$", left):
        return None  # everybody's
    if re.search(r"[:：]\s*(?:an? )?(?:purchase|acquisition|sale) of\s*$", s.before, re.IGNORECASE):
        return None  # `December 12: Purchase of 512 BTC`: one of several
    if re.match(r"\s*(?:BTC|bitcoins?)?\s*(?:/|per )day (?:at|as of) [A-Z][a-z]+\.? \d", right):
        return None  # the rate on a day is no month's average
    near_right = right[:45]
    if re.match(
        r"\s*(?:bitcoin |BTC )?(?:treasury|miners?|rigs|ETF|price|network|shares|holders|holding compan|mining (?:rigs|machines|compan|fac))",
        near_right,
        re.IGNORECASE,
    ):
        return None
    if re.match(r"\s*-?equivalents?\b", near_right, re.IGNORECASE) and not re.search(r"\bor\s*$", left):
        return None if not w.POWER.search(s.before) else ("btc_equivalent_not_coins", MEDIUM)
    if s.compared and re.search(r"\bequivalents?\b[^.;]{0,70}$", s.before, re.IGNORECASE):
        return None  # compared with coins and equivalents
    if re.match(r"\s*(?:\([^)]*\) )?(?:equals?\b(?! to)|=|is worth|costs)", near_right) or re.search(
        r"\b(?:difficulty|price)\b[^,;]{0,40}$", left, re.IGNORECASE
    ):
        return None  # `1 Bitcoin equals 100 million Satoshis`
    if _THRESHOLD.search(left) and s.q.value >= 1000 and s.q.value % 500 == 0:
        return None  # `holdings above 7,500 BTC`: a mark that was passed, no figure
    if re.search(
        r"\b(?:end(?:ed|ing|s)?|finish(?:ed|ing)?|clos(?:ed|ing)|exit(?:ed|ing)?)\b (?:the |out )?(?:month|period|quarter|year|20\d\d|\w+)(?: of \w+)? (?:with|at|holding)\s*(?:a total of |approximately |about |a balance of )?$",
        left,
        re.IGNORECASE,
    ):
        return "btc_held_end", STRONG
    if w.OTHER_COIN.search(left[-25:]) and not w.BITCOIN.search(left[-25:]):
        return None
    if (
        re.match(
            r"\s*(?:that )?(?:it |the company |we |was |were )?(?:had )?(?:mined|produced|earned)\b(?! by| per| a day)",
            near_right,
        )
        and re.search(r"\b(?:sell|sold|hold|held|retain\w*)\b[^,;]{0,30}\b(?:the|all|its)\s*$", left)
        and w.FUTURE.search(left[-70:])
    ):
        return "btc_produced", MEDIUM
    if (
        w.FUTURE.search(left[-70:])
        or _EXPECTED.search(s.before[-110:])
        or (
            re.search(r"\b(?:high|record high|peak|low|maximum) of\s*$", left, re.IGNORECASE)
            and not re.search(r"\b(?:production|output) (?:high|record) of\s*$", left, re.IGNORECASE)
        )
    ):
        return None
    if re.search(r"\b(?:high|highest|peak|maximum)\b[^,;]{0,30}$", left, re.IGNORECASE) and re.match(
        r"\s*(?:per |/ ?|a )?(?:day|daily)", right, re.IGNORECASE
    ):
        return None
    if re.search(
        r"\b(?:total supply|21 million|block subsid|(?<!-)halving|per block|block reward)\b",
        left[-50:].rpartition(", ")[2] + near_right.partition(",")[0],
        re.IGNORECASE,
    ):
        return None
    if re.match(r"\s*blocks?\b", right):
        return "blocks_won", STRONG
    if re.match(
        r"\s*(?:\([^)]*\)\s*)?(?:was |were |is |are |had been |being )?(?:mined |produced )?(?:per |for each |a |je |pro |/ ?)?(?:average )?(?:exa-?hash|EH)",
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
                r"[\s\"']*(?:of |in |units of )?(?:restricted|pledged|unrestricted|encumbered|unencumbered|unpledged|self-mined|mined|gross|net|total|additional)\s+(?:bitcoins?|btc)",
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
    if _WHICH_TOTALS.match(left) and re.search(
        r"(?:treasury|holdings?|reserves?|balance|inventory)\s*,?\s*$",
        s.before[: len(s.before) - len(left)],
        re.IGNORECASE,
    ):
        return "btc_held_end", STRONG
    if re.search(r"\bquarter(?:'s|s')? (?:total|production|output)(?: production)? to\s*$", left, re.IGNORECASE):
        return "btc_produced", STRONG
    if w.HELD.search(s.before) and re.search(
        r"\b(?:bring|rais|tak|lift|push)\w* (?:the|its|their|our) (?:overall )?total(?: \w+)? to\s*$",
        left,
        re.IGNORECASE,
    ):
        return "btc_held_end", STRONG
    if w.HELD.search(s.before) and re.search(r"\$[\d.,]+ ?(?:million|billion)[^.;]*\bincluding\s*$", s.before):
        return "btc_held_end", STRONG  # `$55.1 million in cryptocurrency assets, including 450 Bitcoins`
    cue = cue_in(left)
    if cue == "btc_produced" and bare and w.PER_DAY.search(s.before) and w.AVERAGE.search(s.before) and s.q.decimals:
        return "avg_btc_per_day", MEDIUM  # `la production quotidienne moyenne …, passant de 15,94`
    if cue == "btc_held_end" and _AT_START.search(left):
        return None
    if cue == "btc_produced" and _ONE_SITE.match(sentence):
        return None
    if re.match(
        r"\s*(?:self-?)?mined (?:bitcoins?|btc) (?:held )?in (?:its |our )?(?:reserve|custody|treasury)",
        right,
        re.IGNORECASE,
    ):
        return "btc_held_end", STRONG
    if re.search(r"\b(?:fees? of|run[- ]rate of)\s*(?:approximately |about |over |only )?$", left, re.IGNORECASE):
        return None  # `generated a fee of 0.85 BTC`, `a run rate of over 120 coins`
    if re.match(r"\s*(?:대비|보다|에서|から(?!の)|より|と比)", right):
        return None  # `322 BTC 대비 48% 증가`: what is compared with
    if re.match(r"\W*(?:この|同)(?:合弁)?事業|\W*合弁|\W*(?:该|該)?合资", sentence):
        return None  # a joint venture's
    if (
        cue in (None, "btc_held_end")
        and w.HELD.search(s.before)
        and re.search(r"\d[\d,.]*\s?(?:BTC|[Bb]itcoins?|coins)", s.before)
        and re.search(r"\b(?:includ(?:es|ing)|of which|comprising)\s*(?:approximately |about )?$", left, re.IGNORECASE)
    ):
        return None  # a part of what was counted before
    if cue is None:
        follow = right[:60]
        if re.match(
            r"\s*(?:\([^)]*\)\s*)?(?:that |which |it |they |the company |we )?(?:was |were |has been |have been |having been |had been |wurden |fueron |ont été |a été |sono stati )?(?:self-)?(?:produced|mined|earned|extrait\w*|extra[íi]d\w+|добыт\w*|produziert|geschürft|gemined|minad\w+|producid\w+|minés|produits|prodotti|estratti)",
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
            r"\s*(?:\([^)]*\)\s*)?(?:held|in (?:its |our |the )?(?:treasury|reserves?|holdings|custody|inventory)|on (?:its |our |the )?(?:balance sheet|books)|en (?:su |la )?tesorería|in (?:der )?treasury|en trésorerie|em caixa|em tesouraria|en caja|in cassa|in tesoreria)",
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
        if ctx.language in ("ja", "zh", "ko", "ru", "de"):
            cue = _cue_after(follow) or _cue_after(re.sub(r"\([^()]*\)", "", s.after[:90]))
        if cue is None and s.linked and not s.compared:
            cue = cue_in(re.sub(w.PER_DAY, "", s.before))
            return (cue, MEDIUM) if cue in ("btc_produced", "btc_sold") and "equivalent" not in left else None
    return (cue, STRONG) if cue is not None else None


def _attached(left: str) -> bool:
    """A number without a unit counts as coins only right behind its noun: `bitcoin holdings to`, `BTC mined was`."""
    return bool(
        re.search(
            r"(?:bitcoins?|btc)\s+(?:self-)?(?:mined|produced|sold|held|purchased|holdings)(?: in the (?:month|period))?\s*[:=]?\s*$|(?:bitcoins?|btc|比特[币幣]|ビットコイン)(?:\W+\w+){0,11}?\W*(?:to|of|at|was|were|is|are|reached|averaged|totall?ed|stood at|came (?:in )?(?:at|to)|rose to|fell to|:|为|達|达|至|は|auf|bei|a|à|de)\s*(?:approximately|about|a (?:total|record) of|a|around|roughly|just|only|over|nearly|约|約)?\s*$",
            left,
            re.IGNORECASE,
        )
    )


def _per_day(sentence: str, s: Spot, left: str, right: str) -> bool:
    if re.search(
        r"halbier|\bhalv(?:ed|ing)\b|blockbelohnung|block reward|récompense|recompensa",
        s.before + s.after[:60],
        re.IGNORECASE,
    ):
        return False  # what the network pays
    if re.match(
        r"\s*(?:\([^)]*\)\s*)?(?:were |was |are |is )?(?:self-)?(?:mined |produced |earned |generated |minés |extraits |produits |minados |geschürft )?(?:on average |each )?,?\s*(?:per (?:calendar |operating )?day|/ ?day|daily|a day|each day|every day|pro Tag|täglich|am Tag|par jour|quotidien\w*|por día|por dia|al día|al giorno|diari[oa]s?|в день|в сутки|/天|每天|/日)",
        right,
        re.IGNORECASE,
    ):
        return True
    at = last_end(w.PER_DAY, left)
    if at >= 0 and re.search(r"[,;](?!\d)|%", left[at:]):
        return False  # `per day` closed a clause of its own
    return (
        at >= 0
        and len(left) - at < 70
        and not re.search(r"\b(?:closing|price|volume|report)\b", left[max(0, at - 30) :], re.IGNORECASE)
        and (
            bool(w.AVERAGE.search(left))
            or cue_in(left[:at]) == "btc_produced"
            or cue_in(left[at:]) == "btc_produced"
            or bool(w.BITCOIN.search(left))
        )
    )


_UNIT_TOLD = re.compile(r"\([^()]*(?:\$|USD|\bmillions?\b|\bthousands?\b|'000|%|[EPT]H/s)[^()]*\)\d?\s*[:=]?\s*$")
"""`Net proceeds from bitcoin sold ($ millions): 30.5`: the label says that the number is no coins."""
_WORTH_OF = re.compile(
    r"\b(?:(?:carrying|fair|book|market) (?:value|amount)|cost (?:basis )?|gains?|loss(?:es)?|impairment|revaluation)\b[^,;.\d]{0,50}$",
    re.IGNORECASE,
)
_THRESHOLD = re.compile(
    r"(?:surpass\w*|exceed\w*|above|topp(?:ed|ing)|cross(?:ed|ing)|more than|over|past|beyond|超过|超過|突破|über|oltre|más de|plus de|более)\s*$",
    re.IGNORECASE,
)
_AT_START = re.compile(
    r"\b(?:at|as of|from) (?:the )?(?:beginning|start)\b[^,;.\d]{0,40}$"
    r"|\b(?:opening|beginning|starting) (?:\w+ ){0,3}(?:balance|holdings?|position)\b[^,;.\d]{0,30}$",
    re.IGNORECASE,
)
"""`Bitcoin balance at the beginning of the month: 163.1` is not the one at its end."""
_ONE_SITE = re.compile(
    r"\W*(?:The |Our |At (?:the |our )?)?(?:[A-Z]\w+ ){1,3}(?:[Dd]ata ?[Cc]ent\w+|[Ff]acility|[Ss]ite|[Mm]ine|[Pp]lant|[Cc]ampus)\b"
)
"""A sentence on one site says nothing of the total."""
_WHICH_TOTALS = re.compile(
    r"\s*(?:which |that )?(?:now |then )?(?:totall?(?:ed|s|ing)|stood at|stands at|standing at|reached|reaching|amount(?:ed|s|ing) to|now at|bringing it to)\s*(?:approximately |about |a total of )?$",
    re.IGNORECASE,
)
"""`to treasury, which totaled 837 BTC`."""
_OWN_PART = re.compile(
    r"\s*(?:(?:was|were|are) )?(?:produced |mined |earned )?(?:by|from|with) (?:its |our |the company's |the )?(?:own\b|[\w'.-]+-owned\b|company-owned\b|owned\b)(?!.*\bincluding\b)",
    re.IGNORECASE,
)
"""`73 by its own miners`: of a total with customers' coins, the company's part."""


def _special(sentence: str, s: Spot, left: str, right: str) -> tuple[str, int] | None:
    follow = right[:70]
    tail = left[-60:]
    if re.search(r"\bequivalent (?:btc|bitcoin) production\b", left, re.IGNORECASE):
        return ("btc_equivalent_not_coins", STRONG) if w.POWER.search(left) else ("", 0)
    if re.search(r"\b(?:actual|total|combined)\b[^.;,]{0,50}\band equivalents?\b", left, re.IGNORECASE):
        return "btc_produced", WEAK  # coins and what power sales are worth in coins
    if w.YTD.search(follow) or (
        last_end(w.YTD, left) >= 0
        and (
            "," not in left[last_end(w.YTD, left) :]
            or not re.search(r"\w", re.sub(w.YTD, "", s.before[: s.before.find(",") + 1]))
        )
        and w.PRODUCED.search(left + follow)
    ):
        if (w.PRODUCED.search(left + follow) or cue_in(s.before) == "btc_produced") and not w.SOLD.search(tail):
            return "ytd_btc", STRONG
        return "", 0
    if w.JOINT.search(s.before[-160:]) and re.match(
        r"[^.;]{0,30}\b(?:our|its|nostra|notre|nuestra|unser) (?:share|quota|part)", follow
    ):
        return "jv_share_btc", STRONG
    if (
        w.JOINT.search(left)
        and w.PRODUCED.search(left[last_end(w.JOINT, left) :])
        and not re.search(r"\bincluding\b", left)
    ):
        return "", 0  # the venture's coins, of which only a share is the company's
    if w.JOINT.search(follow) and not re.search(r"includ", follow, re.IGNORECASE):
        return "jv_share_btc", STRONG
    if re.match(
        r"\s*(?:\([^)]*\)\s*)?(?:\w+ ){0,2}?(?:from|of|through|via|as)? ?(?:estimated )?(?:power sales|energy sales|curtailment|(?:power|energy|electricity) (?:sold|credits))",
        follow,
        re.IGNORECASE,
    ):
        return "btc_equivalent_not_coins", STRONG
    if re.search(r"equivalent (?:to|of)|equates? to|equals?\b|entspricht|équivalent", tail, re.IGNORECASE) and (
        w.POWER.search(s.before) or w.CREDITS.search(s.before)
    ):
        return "btc_equivalent_not_coins", STRONG
    if w.HELD.search(left) and re.search(r"assets? equivalent to\s*(?:approximately |about )?$", tail, re.IGNORECASE):
        return "btc_held_end", STRONG
    if re.search(r"\b(?:equivalent (?:to|of)|equates? to|average of (?:the )?(?:\w+ )?price)\b", tail, re.IGNORECASE):
        return "", 0
    if re.match(
        r"\s*(?:\([^)]*\)\s*)?(?:(?:was|were|is|are|has been|have been|had been|wurden|ist|sind|fueron|está[n]?|étaient|sont) )?(?!includ|exclud|net of|with )(?:\w+ ){0,2}?(?:as collateral|pledged|restricted|encumbered|posted|locked|verpfändet|als Sicherheit|en garantía|en garantie|nantis|as security|in collateral|collateral)",
        follow,
        re.IGNORECASE,
    ) or (
        re.search(r"\b(?:includ\w+|of which|had|has|with|and)\b[^,;]{0,20}$", left, re.IGNORECASE)
        and re.match(r"[\s\"']*(?:of |in )?(?:restricted|pledged|collateral|encumbered)", follow, re.IGNORECASE)
    ):
        return ("restricted_or_pledged_btc", STRONG)
    if (
        w.LENT.search(follow)
        and w.RESTRICTED.search(follow)
        and re.match(r"[^,;.]{0,14}\b(?:lent|loaned|on loan|pledged|restricted|actively)", follow)
    ):
        return "", 0  # lent and pledged in one figure: no part of its own
    if w.UNRESTRICTED.search(left[-50:].rpartition(", ")[2]) or w.UNRESTRICTED.search(follow[:30]):
        return "free_btc", STRONG
    if re.search(
        r"\b(?:pledged|restricted|collaterali[sz]ed|encumbered|posted|verpfändet\w*|nantis|质押|質押|抵押)\b(?!.*\b(?:holds?|held|total|including)\b)[^,;]{0,30}$|(?:质押|質押|抵押)[^,;，]{0,12}$",
        left,
        re.IGNORECASE,
    ):
        return "restricted_or_pledged_btc", STRONG
    if re.search(r"\b(?:collateral|loan|borrow\w*|credit facility|deposit\w*|transfer\w*)\b", tail, re.IGNORECASE):
        return "", 0
    if (w.LENT.search(follow[:30]) and not re.match(r"\s*[(,]?\s*(?:includ|exclud|of which)", follow)) or w.LENT.search(
        tail[-30:]
    ):
        return "lent_btc", STRONG
    if re.match(_OWN_PART, follow):
        return "btc_produced", MEDIUM
    hosts = re.sub(r"\bhosting (?:provider|company|firm|business|operator)s?\b", "", tail, flags=re.IGNORECASE)
    if w.CUSTOMERS.search(hosts) or re.search(
        r"^[^.,;]{0,40}\b(?:by|for|to|from) (?:\w+'s )?(?:our |its |hosting |hosted |colocation )*(?:customers?|clients?|third[- ]part\w+|hosted|(?:\w+ )?hosting)",
        follow,
        re.IGNORECASE,
    ):
        return (
            ("hosted_btc_customers", STRONG)
            if w.PRODUCED.search(s.before[-120:] + follow) and not re.search(r"self", tail, re.IGNORECASE)
            else ("", 0)
        )
    return None


_CUES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("btc_produced", w.PRODUCED),
    ("btc_sold", w.SOLD),
    ("btc_held_end", w.HELD),
    ("btc_purchased", w.PURCHASED),
)


def cue_in(left: str) -> str | None:
    """The role of the last cue in the words before a number."""
    best, where = None, -1
    for name, pattern in _CUES:
        at = last_end(pattern, left)
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
