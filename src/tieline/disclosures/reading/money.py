"""What an amount of dollars in a sentence is: proceeds, a price, revenue, a cost or a credit.

Knows nothing of periods. What stands per coin is no total, and a dollar value of coins held is no figure here.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re
from decimal import Decimal

from tieline.disclosures.reading import words as w
from tieline.disclosures.reading.claims import MEDIUM, STRONG
from tieline.disclosures.reading.context import Context
from tieline.disclosures.reading.rates import last_end
from tieline.disclosures.reading.spots import Spot

_AT_AVERAGE = re.compile(
    r"\b(?:at|for) (?:an? )?(?:weighted |net |realized )?(?:average|avg\.?|mean)(?: (?:net )?(?:sale |sales |selling |realized )?(?:price|value|rate))?(?: of)?\s*(?:approximately|about|roughly|around)?\s*(?:US)?\$?\s*$",
    re.IGNORECASE,
)
_TOTAL_VALUE = re.compile(r"\b(?:per|each|a|/)\s?(?:bitcoin|btc|coin)\b|/btc", re.IGNORECASE)
_OF_MINING = re.compile(
    r"mining|bitcoin|挖矿|挖礦|майнинг|miner[ií]a|mineração|minage|マイニング|採掘|schürf", re.IGNORECASE
)


def money_role(sentence: str, s: Spot, ctx: Context) -> tuple[str, int] | None:
    left, right = s.left, s.right[:60]
    if w.FUTURE.search(left[-60:]):
        return None
    if ctx.other_dollars and not re.search(r"U\.?S|USD", s.q.printed):
        return None  # C$42,288 here and $9M there: whose dollars is not said
    if (
        _TOTAL_VALUE.match(right.lstrip(" ,"))
        or re.match(
            r"\s*(?:USD|US dollars)?\s*(?:per|each|a|pro|je|par|por|/)\s?(?:self-mined |mined )?(?:bitcoin|btc|coin|unit)|\s*apiece|\s*each\b|\s*每枚",
            right,
            re.IGNORECASE,
        )
        or (w.AVERAGE.search(left) and w.PRICE.search(left))
        or (re.search(r"(?:每枚|每个|每個)\s*$", left) and w.PRICE.search(right[:12]))
        or (_AT_AVERAGE.search(left) and Decimal(500) <= s.q.value < 2_000_000 and w.SOLD.search(s.before))
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
    if re.match(
        r"\s*(?:in (?:net )?proceeds )?(?:from|by|through) (?:the |its )?(?:sales?|selling|disposal)\b",
        right,
        re.IGNORECASE,
    ) and (w.BITCOIN.search(right + s.after[:60]) and not w.EQUITY.search(right)):
        return "sale_proceeds_usd", STRONG
    if (
        re.search(r"\braised\s*(?:approximately |about )?$", left)
        and re.search(r"\b(?:by )?selling\b", s.before, re.IGNORECASE)
        and w.BITCOIN.search(s.before)
    ):
        return "sale_proceeds_usd", STRONG
    if re.search(
        r"\b(?:valued?|worth|cash|market|liquidity|debt|loan|notes?|equity|offering|capex|raised|facility|assets?|wert|valor|valeur)\b|价值|市值",
        left[-60:],
        re.IGNORECASE,
    ):
        return None
    if w.CREDITS.search(left + right) and (w.POWER.search(left + right) or w.DEMAND_RESPONSE.search(left + right)):
        both = re.search(r"curtailment (?:and|&|plus)\b", left, re.IGNORECASE)
        if w.DEMAND_RESPONSE.search(left + right) and not both:
            return "demand_response_credits_usd", STRONG
        if both:
            return "total_power_credits_usd", STRONG
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
    if (
        last_end(w.SOLD, s.before) >= 0
        and w.BITCOIN.search(s.before)
        and re.search(
            r"\b(?:earning|generating|netting|making|receiving|raising|realizing|bringing in)\b[^.;]{0,24}\b(?:revenue|total|income|sum)\b of\s*(?:approximately |about |around |roughly )?$",
            left,
            re.IGNORECASE,
        )
    ):
        return "sale_proceeds_usd", STRONG
    if w.REVENUE.search(left[-80:]):
        if re.search(r"\b(?:total|hosting|cloud|ai|hpc|other|annual|quarterly|per)\b", left[-60:], re.IGNORECASE):
            return None
        if _OF_MINING.search(left):
            return "revenue_usd", STRONG
        return ("revenue_usd", MEDIUM) if re.search(r"\boperating revenues?\b", left, re.IGNORECASE) else None
    sold_before = last_end(w.SOLD, s.before)
    if sold_before >= 0 and re.search(
        r"(?:\bfor|\bnetting|\bnetted|\btotall?ing|\bgenerating|\bgenerated|\brealizing|\byielding|\braising|\bfetching|\bbringing in|\bfür|\bpour|\bpor|\bper|获得|獲得|换得|換得|套现)\s*(?:a total of|an? (?:estimated|approximate)|approximately|about|around|nearly|over|some|rund|environ|unos|net|约)?\s*(?:of )?$",
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
    if last_end(w.PURCHASED, s.before) > last_end(w.SOLD, s.before):
        return None
    if w.SOLD.search(s.before + right + s.after[:70]) and (
        w.AVERAGE.search(near)
        or w.PRICE.search(near)
        or re.search(r"每[枚个個]\s*$", near)
        or re.search(r"\bat\b|\bzu\b|à", near[-30:])
    ):
        return "avg_sale_price_usd", STRONG
    if re.search(r"\baverage (?:net|sale|sales|selling|realized) (?:sale )?price\b", near, re.IGNORECASE):
        return "avg_sale_price_usd", MEDIUM
    return None
