"""What a number in a sentence is: the field that its words name, and how firmly.

Knows nothing of periods. One decision list for each unit (coins, money, hashrate, shares, counts); the nearest cue
before the number decides, then one right after it. A target, a change or another company's machine is none.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re

from tieline.disclosures.reading import words as w
from tieline.disclosures.reading.claims import MEDIUM, STRONG
from tieline.disclosures.reading.coins import coins_role
from tieline.disclosures.reading.context import Context
from tieline.disclosures.reading.money import money_role
from tieline.disclosures.reading.rates import OUTLOOK, hashrate_role
from tieline.disclosures.reading.spots import Spot

_DELTA_BEFORE = re.compile(
    r"(?:\b(?:increas|decreas|declin|drop|ris|rose|fell|grew|gain|reduc|down|up|improv|add)\w*\s+(?:of|by)|\bby|\b(?:additional|extra|another|further)|\bum|\badded)\s*(?:approximately|about|nearly|roughly|over|an additional|another)?\s*$",
    re.IGNORECASE,
)
_FURTHER = re.compile(
    r"\b(?:purchased|acquired|bought|sold|bought and held)\s+(?:an? )?(?:additional|further|another|extra)\s*(?:approximately|about)?\s*$",
    re.IGNORECASE,
)
"""`purchased an additional 1,200 BTC`: more coins, but coins bought, not a change of a figure."""
_DELTA_AFTER = re.compile(
    r"^\s*(?:BTC|bitcoins?|EH/s)?\s*(?:higher|lower|more|less|fewer|increase|decrease|decline|drop|above|below|month-over-month|year-over-year|mehr|weniger)\b",
    re.IGNORECASE,
)


def role_of(sentence: str, s: Spot, ctx: Context) -> tuple[str, int] | None:
    unit = s.q.unit
    change = _DELTA_BEFORE.search(s.left) or _DELTA_AFTER.search(s.right)
    if (
        change
        and unit == "BTC"
        and (_FURTHER.search(s.left) or (w.PRODUCED.search(s.right) and w.CUSTOMERS.search(s.right)))
    ):
        change = None
    if change and not re.search(r"\bto\s*(?:approximately|about)?\s*$", s.left):
        return None
    if (
        unit is None
        and s.q.decimals == 0
        and re.search(
            r"\bblocks? (?:wins?|won|mined|found)\b[^.;]{0,30}\b(?:to|of|was|were|at)\s*$", s.left, re.IGNORECASE
        )
    ):
        return "blocks_won", STRONG
    if unit is None and s.q.decimals == 0 and s.q.value >= 100 and _MACHINES_TO.search(s.left):
        said = w.RATED.search(s.left) or w.OPERATING.search(s.left)
        barred = any(p.search(s.left) for p in (w.FUTURE, w.CUSTOMERS, w.MANAGED)) or _ROOM.search(s.left)
        return ("deployed_miners", MEDIUM) if said and not barred else None
    if unit == "BTC" or unit is None:
        return coins_role(sentence, s, ctx)
    if unit == "USD":
        return money_role(sentence, s, ctx)
    if unit == "EH/s":
        return hashrate_role(s)
    if unit == "J/TH":
        near = s.left[-120:] + s.right[:40]
        if (
            w.FUTURE.search(s.left[-80:])
            or OUTLOOK.search(s.before)
            or _THESE_MACHINES.search(s.before)
            or re.search(r"\b(?:below|under|less than)\s*$", s.left, re.IGNORECASE)
            or re.search(r"\binstalling\b|\bto improve\b|\bchips?\b", s.left, re.IGNORECASE)
            or re.search(r"\bimproves\b", s.before, re.IGNORECASE)
            or re.search(r"\b(?:orders?|ordered|purchas\w+|acquir\w+)\b", s.before, re.IGNORECASE)
            or re.search(r"\b(?:S\d\d|M\d\d|T21|Antminer|Whatsminer|Avalon|Bitmain|MicroBT|new|latest|model)\b", near)
        ):
            return None
        return (
            ("efficiency_j_th", STRONG)
            if w.EFFICIENCY.search(s.before + s.right[:60]) or re.search(r"fleet|\baverage\b", near, re.IGNORECASE)
            else None
        )
    if unit == "USD/kWh":
        near = s.before[-160:] + s.right[:60]
        if w.FUTURE.search(s.left[-80:]) or w.CUSTOMERS.search(s.left) or w.CREDITS.search(s.left):
            return None
        if _THESE_MACHINES.search(s.before) or re.search(r"\bnegative\b", s.left, re.IGNORECASE):
            return None
        return ("power_cost_usd_per_kwh", STRONG) if w.POWER.search(near) or w.COST.search(near) else None
    if unit == "%":
        return _share(s)
    if unit == "blocks":
        near = s.left[-80:] + " " + s.right[:40]
        if (
            (s.compared and not re.search(r"\bfrom\b", s.left))
            or w.FUTURE.search(s.left[-60:])
            or re.search(r"\b(?:last(?! month)|previous|every|next|per|difficulty|adjust\w*)\b", near, re.IGNORECASE)
        ):
            return None
        won = re.search(
            r"\b(?:won|w[io]n|wins?|captur\w+|found|min(?:ed|ing)|vint\w*|solved|produced|discovered|gefunden|ganó|ganados|minad\w+|trouvé\w*)\b|挖出|获得|爆块",
            near,
            re.IGNORECASE,
        )
        return ("blocks_won", STRONG) if won else None
    if unit == "miners":
        near = s.left[-80:] + " " + s.right[:40]
        if any(p.search(near) for p in (w.FUTURE, w.BESIDES_FLEET, w.CUSTOMERS, w.MANAGED)) or _ROOM.search(s.left):
            return None
        if re.search(r"\b(?:host(?:ed|ing)|colocat\w+|customers?)\b", s.after[:120], re.IGNORECASE):
            return None
        return (
            ("deployed_miners", STRONG)
            if w.RATED.search(near)
            or w.OPERATING.search(near)
            or re.match(
                r"[^.;]{0,40}\b(?:actively )?(?:hashing|deployed|installed|energi[sz]ed|online|in operation)\b", s.after
            )
            or re.search(r"\bfleet\b", near, re.IGNORECASE)
            else None
        )
    return None


_THESE_MACHINES = re.compile(
    r"\b(?:for|across|of|on) these (?:\w+ )?(?:machines|miners|units|rigs)\b|\bper machine\b", re.IGNORECASE
)
"""Of some machines, and not of the fleet."""
_ROOM = re.compile(
    r"\b(?:capacity|capable|room|space|slots?|power|enough|sufficient)\b[^.;]{0,24}\b(?:for|of|to)\b[^.;]{0,24}$|\b(?:support|house|accommodate|host)(?:s|ing)?\s*(?:up to|approximately|about|nearly|over)?\s*$",
    re.IGNORECASE,
)
"""`capacity for nearly 32,500 miners`: room for machines, not machines."""
_MACHINES_TO = re.compile(
    r"\b(?:self-)?(?:miners|machines|rigs)\b(?!.*\b(?:bitcoins?|btc|hash ?-?rate|EH|mined|cost|price|revenue)\b)[^.;]{0,60}\b(?:to|of|was|were|at|totall?ed|reached)\s*(?:approximately|about|nearly|over|roughly|~)?\s*$",
    re.IGNORECASE,
)
"""`self-miners hashing increased 8% to approximately 15,600`."""


def _share(s: Spot) -> tuple[str, int] | None:
    left, right = s.left[-140:], s.right[:80]
    if re.search(
        r"fees?\s+(?:accounted for|represented|made up|were|comprised|contributed|constituted|equal\w* to|was)\s*(?:approximately|about|nearly|almost|over|roughly)?\s*$",
        left,
        re.IGNORECASE,
    ):
        return "fee_share_pct", STRONG
    if re.search(
        r"\bfees? as (?:an? )?(?:%|percent\w*) of (?:the )?total\b[^;]{0,50}\b(?:to|of|was|were|at)\s*$",
        s.before,
        re.IGNORECASE,
    ):
        return "fee_share_pct", STRONG
    if re.search(
        r"(?:share|percentage|proportion) of (?:the )?(?:available |total |network |global |overall |bitcoin )*(?:miner |mining |block |bitcoin )?rewards?",
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
    if re.match(
        r"\s*of (?:the |all )?(?:(?:total|bitcoin|network\S{0,2}|global|available|miner|mining|block)\S{0,2} ){0,5}rewards\b",
        right,
        re.IGNORECASE,
    ):
        return "share_of_rewards_pct", MEDIUM if s.compared else STRONG
    if w.SOLD.search(left[-40:]) and re.match(
        r"\s*of (?:the |its |our |all )?(?:\w+ ){0,3}(?:btc|bitcoins?|production|output|coins)", right, re.IGNORECASE
    ):
        return None if w.HELD.search(right) else ("sold_share_pct", STRONG)
    return None
