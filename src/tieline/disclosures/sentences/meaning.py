"""What a number of a sentence is: the first row of `data/cues.csv` that fits, else the nearest verb.

Knows nothing of periods. A figure behind a comparison is the same thing at another time.
"""

from __future__ import annotations

import re

from tieline.disclosures.lexicon import words as w
from tieline.disclosures.lexicon.words import phrases
from tieline.disclosures.rules.cues import cues, verbs
from tieline.disclosures.sentences.mentions import Mention

PART = phrases("parts_follow")
_PAST = re.compile(r"\b(?:mined|produced|earned|sold|held|holds|was|were|currently|;)\b|;", re.IGNORECASE)
_MODELS = phrases("models")
_OR_IN_COINS = re.compile(r",? (?:or|amounting to|equal to|equating to)\s*(?:\w+ )?$")
_AT_FIRST = re.compile(r"\bat (?:the )?(?:beginning|start) of\b", re.IGNORECASE)
_AGAIN = re.compile(r"\s*(?:\(|,? or|/)\s*(?:approximately |about |roughly )?")
_INSTEAD = phrases("printed_before")
_EACH = re.compile(r"\s*(?:/ ?(?:month|week|year)|(?:per|a|each) (?:month|week|year))\b")
"""A rate over a span that no field has."""
_NOW = re.compile(r"\bas of today,? (?:we|it|[A-Z]\w+) (?:are|is)\b[^.;]{0,60}$")
"""What is done on the day of the text, and in no month."""
_NAMED = ((w.AVERAGE, "avg_operating_ehs"), (w.OPERATING, "operating_month_end_ehs"), (w.RATED, "deployed_ehs"))


def name_fields(text: str, start: int, end: int, mentions: list[Mention]) -> None:
    """Say of each number of a sentence which field it is; None where it is none.

    A number is planned where a word of the future stands before it, and no verb of the past since.
    """
    future = [hit.end() for hit in w.FUTURE.finditer(text, start, end)] if mentions else []
    for i, m in enumerate(mentions):
        last = max((at for at in future if at <= m.q.start), default=-1)
        planned = last >= 0 and not _PAST.search(text, last, m.q.start)
        m.field = None if planned else _field(text, start, end, mentions, i)


def name_in_order(text: str, end: int, mentions: list[Mention]) -> None:
    """`operational and installed hashrates at 7.27 EH/s and 8.75 EH/s, respectively`: labels and values in order."""
    rates = [m for m in mentions if m.q.unit == "EH/s"]
    if len(rates) != 2 or not re.search(r"\brespectively\b", text[rates[-1].q.end : end]):
        return
    fields = sorted((hit.start(), field) for pattern, field in _NAMED if (hit := pattern.search(rates[0].left)))
    if len(fields) == 2:
        rates[0].field, rates[1].field = fields[0][1], fields[1][1]


def _field(text: str, start: int, end: int, mentions: list[Mention], i: int) -> str | None:
    m, coins = mentions[i], mentions[i].q.unit == "BTC"
    if _of_another(m) or (coins and _NOW.search(text, start, m.q.start)):
        return None
    m.compared = (_again(m, mentions[:i]) or m).compared
    row = _row(m, text[start:end], mentions[:i])
    alike = [o for o in mentions[:i] if o.q.unit == m.q.unit]
    stem = _same_thing(text, start, m, alike, row)
    if stem is not None:
        return stem
    if coins and _is_share_in_coins(m, mentions[:i]):
        return "btc_sold"
    gap = text[alike[-1].q.end : m.q.start] if alike else "."
    if _AGAIN.fullmatch(gap) and not w.PER_DAY.search(m.right[:24]):
        return None  # the same told again
    if row is not None or not coins:
        return row or _machine(m)
    return None if PART.search(m.left) else _coins(m, text[start : m.q.start])


def _is_share_in_coins(m: Mention, earlier: list[Mention]) -> bool:
    """`sold 71% of production, or 134 BTC`."""
    return bool(earlier) and earlier[-1].field == "sold_share_pct" and _OR_IN_COINS.search(m.left) is not None


def _same_thing(text: str, start: int, m: Mention, alike: list[Mention], row: str | None) -> str | None:
    """The field of the figure that this one is compared with; None where it is compared with none, or another thing."""
    stem = next((o for o in reversed(alike) if o.field is not None), None)
    if stem is None or not (m.compared or _falls_to(text, start, stem, m)):
        return None
    if row in (None, stem.field) or not (w.HASHRATE.search(m.left) or w.RATED.search(m.left)):
        return stem.field
    m.compared = False  # `against an installed capacity of`: another thing
    return None


def _of_another(m: Mention) -> bool:
    """Is the number the network's, a change, or another coin's?"""
    if (
        w.NETWORK.search(m.left)
        or _AT_FIRST.search(m.right[:60])
        or w.CHANGE_BEFORE.search(m.left)
        or w.CHANGE_BEHIND.match(m.right)
    ):
        return True
    if _INSTEAD.search(m.left) or (m.q.unit == "BTC" and _EACH.match(m.right)):
        return True
    if w.MORE_BEFORE.search(m.left) and _nearest(m.left) is None:
        return True
    return m.q.unit != "BTC" and bool(w.OTHER_COIN.search(m.clause)) and not w.BITCOIN.search(m.clause)


def _falls_to(text: str, start: int, before: Mention, m: Mention) -> bool:
    """`from 41 to 38`."""
    leads = re.search(r"\bfrom\b[^.;]{0,20}$", text[max(start, before.q.start - 24) : before.q.start])
    return bool(leads) and re.fullmatch(r"[^.;\d]{0,40}\bto\b[^.;\d]{0,16}", text[before.q.end : m.q.start]) is not None


def _row(m: Mention, sentence: str, earlier: list[Mention]) -> str | None:
    left = _left_of(m, earlier)
    near = {"left": left, "right": m.right[:70], "clause": f"{left} | {m.right[:70]}", "sentence": sentence}
    coins = next((o.field for o in reversed(earlier) if o.q.unit == "BTC"), None)
    field = next((row.field for row in cues(m.q.unit) if row.fits(near)), None)
    if field in ("sale_proceeds_usd", "avg_sale_price_usd"):
        sold = coins not in ("btc_purchased", "btc_held_end") and (coins or w.SOLD.search(sentence))
        return field if sold else None
    receivable = field is None and m.q.unit == "USD" and coins == "btc_receivable_from_collateral"
    return "receivable_kusd" if receivable and w.VALUE.search(left) else field


def _again(m: Mention, earlier: list[Mention]) -> Mention | None:
    """`£3.85 million [$4.81 million]`: the sum that this one tells again, whose words and time are its own."""
    again = earlier and earlier[-1].q.unit == "other money" and re.fullmatch(r"\s*[\[(]\s*", m.left)
    return earlier[-1] if again else None


def _left_of(m: Mention, earlier: list[Mention]) -> str:
    again = _again(m, earlier)
    return m.left if again is None else again.left


def _machine(m: Mention) -> str | None:
    if m.q.unit == "miners":
        fleet = w.RATED.search(m.clause) or w.OPERATING.search(m.clause) or re.search(r"\bfleet of", m.left)
        return "deployed_miners" if fleet else None
    if m.q.unit == "J/TH":
        return None if _MODELS.search(m.clause) else "efficiency_j_th"
    return {"blocks": "blocks_won", "USD/kWh": "power_cost_usd_per_kwh"}.get(m.q.unit or "")


def _coins(m: Mention, head: str) -> str | None:
    """Coins by the nearest verb: before the number, then right behind it, then anywhere before it."""
    near = _nearest(m.left) or _nearest_after(m.right[:60])
    verb = near or _nearest(head)
    if _daily(m, head, near):
        return "avg_btc_per_day" if verb in ("btc_produced", None) else None
    return None if re.search(r"\bcarrying\b|\b(?:value|fees?) of\b[^.;]{0,20}$", m.left) else verb


def _daily(m: Mention, head: str, near: str | None) -> bool:
    if w.PER_DAY.search(m.right[:28].partition("(")[0]):
        return True
    if w.PER_DAY.search(m.left) and (
        w.AVERAGE.search(m.left) or (w.PER_DAY.search(m.left[-40:]) and not w.SOLD.search(m.left))
    ):
        return True
    return near is None and bool(w.AVERAGE.search(head) and w.PER_DAY.search(head))


def _nearest(words: str) -> str | None:
    best, field = -1, None
    for name, pattern in verbs():
        at = max((m.end() for m in pattern.finditer(words)), default=-1)
        if at > best:
            best, field = at, name
    return field


def _nearest_after(words: str) -> str | None:
    found = [(m.start(), name) for name, pattern in verbs() if (m := pattern.search(words)) is not None]
    return min(found)[1] if found else None
