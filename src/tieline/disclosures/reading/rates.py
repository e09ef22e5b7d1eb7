"""What a hashrate in a sentence is: rated, averaged, at month end, managed, owned or with customers' machines.

Knows nothing of periods or of other units. The nearest cue before the number decides; a target, an order and the
network's hashrate are none; a rate without any word is handed on unnamed.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re

from tieline.disclosures.reading import words as w
from tieline.disclosures.reading.claims import MEDIUM, STRONG, WEAK
from tieline.disclosures.reading.spots import Spot

UNNAMED = "hashrate_unnamed"
"""A hashrate without a word for deployed or average; `settle` names it where an average stands beside it."""


TOTAL = "hashrate_total"
"""A total hashrate: with customers' machines where the text counts customers' coins, else the rated one."""


def last_end(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match ends, -1 without one."""
    at = -1
    for m in pattern.finditer(text):
        at = m.end()
    return at


def hashrate_role(s: Spot) -> tuple[str, int] | None:
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
        or re.search(
            r"\badd(?:ed|ing|s|itional)\b|\bnew\b(?! (?:\w+ )?(?:milestone|record|high|peak|all-time))|\bof which\b|\bexpansion\b",
            left[-50:],
            re.IGNORECASE,
        )
        or OUTLOOK.search(s.before)
        or re.search(r"\b(?:these|new|such) (?:\w+ )?(?:miners|machines|rigs)\b", s.before, re.IGNORECASE)
        or re.search(r"\b(?:acquisition|purchase|order|delivery|deployment) of\b", s.before[-220:], re.IGNORECASE)
    ):
        return None
    if re.search(r"\bcombined\b", left[-60:], re.IGNORECASE) and not re.search(r"self[- ]?min", left, re.IGNORECASE):
        return None  # of one's own and others' machines
    if re.search(r"\bsupport(?:s|ing)?\b[^.;]{0,20}\bgrowth\b", s.before, re.IGNORECASE):
        return None  # what a site would bear
    if re.search(r"\b(?:weekly|seven-day|7-day)\b|週平均|周平均", left[-60:], re.IGNORECASE):
        return None  # the network's, as trackers average it
    if _AT_SITE.match(right) or re.search(
        r"\b(?:where|at which) (?:we|it|the company) (?:now )?(?:have|has)\s*$", left
    ):
        return None
    if re.search(r"\b(?:maximum|theoretical\w*|up to)\b[^,;]{0,40}$", left, re.IGNORECASE):
        return None  # what machines could do
    if w.POTENTIAL.search(near):
        return "potential_phs", STRONG
    if re.match(r"\s*(?:of |in )?(?:self-?owned|自有)", right, re.IGNORECASE):
        return "self_owned_ehs", STRONG
    if w.MANAGED.search(near):
        return ("managed_ehs", STRONG) if w.HASHRATE.search(near) else None
    if re.search(r"\bself-?owned\b|自有", near, re.IGNORECASE):
        return "self_owned_ehs", STRONG
    if (
        re.search(r"\btotal\b", left, re.IGNORECASE)
        and w.RATED.search(left)
        and re.search(r"\b(?:includ\w+|with|and)\b[^,;]{0,30}\b(?:host|customer|colocat)", near, re.IGNORECASE)
    ):
        return "total_energized_ehs_incl_hosting", STRONG
    if w.CUSTOMERS.search(near) or re.search(r"\bleased\b|租", near):
        return None
    if re.match(r"[^.;,]{0,45}\bon average\b", right, re.IGNORECASE):
        return "avg_operating_ehs", STRONG
    cues: list[tuple[int, str, int]] = []
    average, rated, operating = last_end(w.AVERAGE, left), last_end(_RATED_HASH, left), last_end(w.OPERATING, left)
    has_hash = (
        w.HASHRATE.search(left)
        or w.HASHRATE.search(right[:40])
        or re.search(r"\b(?:rate|figure|capaci\w+|speed|operat\w+)\b", left)
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
    ends = last_end(_MONTH_END_RATE, left)
    if ends >= 0 and ends > max(average, rated) and has_hash:
        return "operating_month_end_ehs", STRONG
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
        if name == "deployed_ehs" and rated == last_end(_TOTAL_HASH, left):
            name = TOTAL
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
    if re.search(
        r"\b(?:miners?|machines|rigs)\b,? (?:\w+ )?(?:represent\w*|totall?ing|with|equal\w*|rappresentan\w*)[^.;]{0,40}$",
        s.before,
        re.IGNORECASE,
    ) and (w.OPERATING.search(s.after[:60]) or w.RATED.search(s.after[:60]) or w.RATED.search(s.before[-120:])):
        return (TOTAL if re.search(r"\btotal (?:\w+ )?hash", left, re.IGNORECASE) else "deployed_ehs"), MEDIUM
    if re.search(r"\bself-?mining hash ?-?rate\b[^,;]{0,30}$", left, re.IGNORECASE) or (
        re.search(r"\b(?:with|at) an?\s*$", left) and re.match(r"\s*(?:of )?hash ?-?rate\b", right, re.IGNORECASE)
    ):
        return "deployed_ehs", WEAK
    if has_hash and re.search(r"\btotal\b[^,;]{0,20}(?:hash|comput|mining power)|总算力|總算力", left, re.IGNORECASE):
        return TOTAL, WEAK
    if w.HASHRATE.search(left[-150:]) and re.search(
        r"(?:\bto|\bof|\bat|\bwas|\bis|\breach(?:ed|es|ing)|\bhit(?:ting)?|\ba|\bà|\bai|\bi|\bsurpass(?:ed|ing)|\bachiev(?:ed|ing)|auf|达到?|至)\s*(?:approximately|about|around|over|nearly|a record|estimated at|~)?\s*$|estimated at\s*$",
        left,
        re.IGNORECASE,
    ):
        ended = w.MONTH_END.search(s.before[-120:]) or re.match(
            r"[^.;]{0,12}\b(?:at|by|as of|as at) (?:the )?(?:\w+ )?(?:end|month[- ]end|year[- ]end)|[^.;]{0,8}\bas (?:of|at)\b",
            right,
        )
        if ended:
            return "operating_month_end_ehs", MEDIUM
        return ("deployed_ehs", WEAK) if _GREW.search(left) else (UNNAMED, MEDIUM)
    return None


_AT_SITE = re.compile(
    r"\s*(?:(?:online|operational|installed|running|energized|deployed|hashing|of miners) )*(?:in|at) (?:our |the |its )?(?!January|February|March|April|May|June|July|August|September|October|November|December|North America|The |Total)[A-Z][a-z]+"
)
"""`2.3 exahashes online in Abu Dhabi`: one site."""
OUTLOOK = re.compile(
    r"\b(?:expects?|plans|aims|intends?|anticipates?|forecasts?|targets|will|(?:is|are) expected|expected to|potentially|planned|prevede|prevé|prévoit|espera|pretende|erwartet|plant|планирует|ожидает)\b",
    re.IGNORECASE,
)
"""The sentence looks ahead: what follows such a verb is not yet there."""
_GREW = re.compile(
    r"\b(?:hash ?-?rate|hash ?power|capacity|puissance de calcul|hashleistung|tasa de hash)\b[^.;]{0,60}\b(?:increas|grew|grow|ris|rose|climb|reach|expand|surg|jump|improv|hit|boost|remain|held|stood|stand|passat|passé|aument|alcanz|gestieg)\w*"
    r"|\b(?:porté|portato|elev)\w*[^.;]{0,40}\b(?:hash ?-?rate|puissance de calcul|capaci\w+)\b"
    r"|\b(?:increas|grew|grow|rais|reach|expand|boost|achiev|hit|lift|surpass)\w*[^.;]{0,40}\b(?:hash ?-?rate|hash ?power)\b"
    r"|\b(?:with|at) (?:a|its) (?:\w+ )?hash ?-?rate\b",
    re.IGNORECASE,
)
"""A hashrate that grew or reached a level, without a word for average, is what stands at the end."""


_RATED_HASH = re.compile(w.RATED.pattern + r"|\bexpanded\b|\bhashrate capacity\b", re.IGNORECASE)


_TOTAL_HASH = re.compile(r"\btotal hash", re.IGNORECASE)
_MONTH_END_RATE = re.compile(
    r"\b(?:month|period|year|quarter)[- ]end(?:ing)?\s+(?:\w+\s+){0,2}?(?:hash ?-?rate|hash ?power|capacity)|\b(?:ended|finished|closed|exited) (?:the )?(?:month|period|quarter|\w+) (?:with|at)(?: an?)?\s*(?:\w+\s+){0,2}?(?:hash ?-?rate)?",
    re.IGNORECASE,
)
"""`a month-end hashrate of`: a point value, whatever average stands before it."""
