"""What a number of a sentence has from its neighbours: the one before it, the sentence before, a list of names.

Knows nothing of periods beyond asking for one. Where a number's own words do not say what it is, it is what it is
compared with, what it translates, or what the sentence before spoke of.
"""

from __future__ import annotations

import re
from dataclasses import replace

from tieline.disclosures.reading import words as w
from tieline.disclosures.reading.claims import MEDIUM, STRONG, Claim
from tieline.disclosures.reading.coins import cue_in
from tieline.disclosures.reading.context import Context
from tieline.disclosures.reading.dating import period_of
from tieline.disclosures.reading.periods import Period
from tieline.disclosures.reading.rates import last_end
from tieline.disclosures.reading.spots import Spot

_SAME_THING = re.compile(
    r"\W*(?:This|That|It|These|The (?:figure|total|number|reading|output|amount))\b", re.IGNORECASE
)


def told_before(
    sentence: str,
    spot: Spot,
    spots: list[Spot],
    roles: list[tuple[str, int] | None],
    i: int,
    previous: list[Claim],
) -> tuple[str, int] | None:
    """What the sentence before says that a number is."""
    if not previous:
        return None
    if spot.q.unit == "USD" and any(c.field == "btc_sold" for c in previous):
        sale = re.match(
            r"\W*(?:The|This|These|Its) (?:\w+ )?sales? (?:generated|netted|brought in|yielded|raised)\s", sentence
        )
        if sale is not None and sale.end() + 20 >= len(spot.before):
            return "sale_proceeds_usd", MEDIUM
    mined = any(c.field in ("btc_produced", "btc_held_end") for c in previous)
    of_them = re.search(r"\bsold\s*(?:approximately |about )?(?:\d[\d,.]*)?\s*of (?:them|those|these)\b", sentence)
    if mined and of_them is not None and spot.q.unit is None and re.match(r"\s*of (?:them|those|these)\b", spot.right):
        return "btc_sold", MEDIUM  # `It mined 163 bitcoin. It sold 150 of them`
    if (
        mined
        and of_them is not None
        and spot.q.unit == "USD"
        and re.search(r"\bproceeds of\s*(?:approximately |about )?$", spot.left)
    ):
        return "sale_proceeds_usd", MEDIUM
    told = [c for c in previous if c.field in ("btc_produced", "btc_held_end", "btc_sold", "avg_btc_per_day")]
    coins = spot.q.unit == "BTC" or (
        spot.q.unit is None and told and told[0].value / 5 < spot.q.value < told[0].value * 5 and spot.q.decimals == 0
    )
    same = _SAME_THING.match(sentence) and "equivalent" not in sentence.lower()
    if coins and spot.compared and i < 2 and same and told and not any(roles):
        return told[0].field, MEDIUM  # `This is a 12% decrease from May's 514 BTC`
    return None


_IT_MINED = re.compile(
    r"\s*(?:that |which )?(?:it|they|the company|we) (?:had )?(?:self-)?(?:mined|produced|earned)\b(?! per)",
    re.IGNORECASE,
)


def mined_and_sold(found: list[Claim], text: str, end: int) -> list[Claim]:
    """`sold the 188 BTC it mined in January`: all that was mined was sold."""
    return [
        replace(c, field="btc_produced", rule="prose:sold-as-mined", strength=MEDIUM)
        for c in found
        if c.field == "btc_sold"
        and re.search(
            r"\b(?:sold|sell|sale of|selling) (?:all )?(?:of )?the\s*$",
            text[max(0, c.start - 16) : c.end].split(c.printed)[0],
        )
        and _IT_MINED.match(text, text.index(c.printed, c.start) + len(c.printed) + _coin_word(text, c, end))
    ]


def _coin_word(text: str, c: Claim, end: int) -> int:
    at = text.index(c.printed, c.start) + len(c.printed)
    m = w.BITCOIN.search(text, at, min(end, at + 12))
    return m.end() - at if m is not None else 0


def translated(text: str, before: Spot, spot: Spot) -> bool:
    """`£5.50 million ($7.59 million)`: the amount in brackets is the same one in dollars."""
    return (
        before.q.unit == "other money"
        and spot.q.unit == "USD"
        and bool(
            re.fullmatch(r"\W{0,4}[(\[]\s?(?:or |approximately |about |c\. ?|US)?", text[before.q.end : spot.q.start])
        )
    )


def bracketed(text: str, before: Spot, spot: Spot, marks: list[Period]) -> bool:
    """Is this the figure of `$4.81 million (April 2023: $4.28 million`, of the same thing in another month?"""
    between = [p for p in marks if before.q.end <= p.start and p.end <= spot.q.start]
    if not between or before.q.unit != spot.q.unit:
        return len(between) == 1 and before.q.unit == "other money"
    return bool(
        re.fullmatch(r"[^()]{0,30}\(\s*", text[before.q.end : between[0].start])
        and re.fullmatch(r"\s?[:：=]?\s?", text[between[-1].end : spot.q.start])
    )


def another_thing(
    spot: Spot, role: tuple[str, int], spots: list[Spot], roles: list[tuple[str, int] | None], i: int
) -> bool:
    """`6.1 EH/s against an installed capacity of 7.0 EH/s` compares two things, not two months."""
    if not re.search(
        r"\b(?:against|compared (?:to|with)|versus|vs\.?)\s+(?:an?|the|its|our|total)\s", spot.left, re.IGNORECASE
    ):
        return False
    earlier = roles[i - 1] if i else None
    return earlier is not None and spots[i - 1].q.unit == spot.q.unit and earlier[0] != role[0]


def closes_range(spot: Spot, before: Spot) -> bool:
    """Is this the second number of `from A in June to B`?"""
    return (
        before.q.unit == spot.q.unit
        and bool(
            re.search(
                r"\b(?:to|a|à|auf|hasta|до)\s*(?:a record|approximately|about|just|over|nearly)?\s*$",
                spot.left,
                re.IGNORECASE,
            )
        )
        and bool(
            re.search(
                r"\b(?:from|da|de|von|desde|с)\s*(?:approximately|about|just)?\s*(?:US)?\$?\s*$",
                before.before,
                re.IGNORECASE,
            )
        )
    )


def inherit(spot: Spot, spots: list[Spot], roles: list[tuple[str, int] | None], i: int) -> tuple[str, int] | None:
    """A compared or listed number without a cue has the role of the one before it of the same unit."""
    for j in range(i - 1, -1, -1):
        if spots[j].q.unit == spot.q.unit:
            role = roles[j]
            if role is None or cue_in(spot.left) is not None:
                return None
            return role[0], MEDIUM
    return None


def respectively(sentence: str, spots: list[Spot], roles: list[tuple[str, int] | None]) -> None:
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
        at = last_end(pattern, lead)
        if at >= 0 and not (name == "operating_month_end_ehs" and any(n == "avg_operating_ehs" for _, n in named)):
            named.append((at, name))
    if len(named) == 2:
        named.sort()
        for i, (_, name) in zip(rates, named, strict=True):
            roles[i] = (name, STRONG)


def revenue_follows(
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
            period = period_of(text, start, end, marks, spot, spots, i, ctx)
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
