"""What a table's row label (or the words before a colon) names: a field, and for which part of the company.

Knows nothing of layouts. A decision list over the concepts of `words`, from the special to the common, because
`average Bitcoin produced per day` also contains `Bitcoin produced`. What fits no line names no field.
"""

# ruff: noqa: E501 - a pattern is read as one line; broken up, its alternatives cannot be compared

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tieline.disclosures.lexicon import words as w
from tieline.disclosures.lexicon.commons import COMMON
from tieline.disclosures.lexicon.periods import Period, periods


@dataclass(frozen=True, slots=True)
class Label:
    """The field that a label names."""

    field: str
    scope: str | None = None
    unit: str | None = None
    """The unit written in the label itself: `(PH/s)`."""
    rule: str = ""
    weak: bool = False
    """The label fits only because nothing else in it contradicts."""


_UNITS = (
    ("EH/s", r"\beh ?/ ?s(?:ec(?:ond)?)?\b|\bexa ?hash|\beh\b"), ("PH/s", r"\bph ?/ ?s(?:ec(?:ond)?)?\b|\bpeta ?hash|\bph\b"),
    ("TH/s", r"\bth ?/ ?s\b(?!.*[jw] ?/ ?th)"), ("J/TH", r"\b[jw](?:atts?)? ?/ ?th\b|\bwatts?/th\b|\bjoules? per tera"),
    ("USD/MWh", r"(?:\$|usd|us\$) ?(?:/|per) ?mwh|\bper mwh\b|/mwh"),
    ("USD/kWh", r"(?:\$|usd|¢|c|cents?) ?(?:/|per) ?kwh|\bper kwh\b|/kwh"), ("MW", r"\bmw\b|\bmegawatt"),
    ("kUSD", r"\$ ?(?:'000|000s?|thousands?|in thousands)|\b(?:in|usd|us\$) thousands\b|\$k\b|千美元"), ("mUSD", r"\$ ?(?:mm?|millions?|in millions)\b|\bin millions\b|\$m\b|百万美元"),
    ("USD", r"\(\s*(?:in )?(?:us ?|\$ ?)?(?:\$|usd|us dollars?|dollars)\s*\)|\(\$usd\)|\busd\b|美元"), ("%", r"\(%\)|\bpercentage\b|%$"),
    ("BTC", r"\((?:in )?(?:btc|bitcoins?|coins)\)"),
)  # fmt: skip
_UNIT_PATTERNS = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _UNITS)
_FOOT = re.compile(
    r"(?<=[^\W\d_)])\d{1,2}(?:,\d{1,2})*(?=$|\s|\()|(?<=[\w)])\s*\[\d{1,2}\]|\s+\d(?:\s?,\s?\d)*$|\(\d{1,2}\)|[*†‡]+"
)
_KEEP = re.compile(r"\b(?:s\d\d|m\d\d|q\d|h\d{2,3}|cy\d+|fy\d+)\b", re.IGNORECASE)
_TOTAL = re.compile(
    r"\b(?:total|combined|consolidated|company|group|overall|fleet|portfolio|gesamt|totale?s?)\b|总|總|合计",
    re.IGNORECASE,
)
_SITE = re.compile(r"\s[-:]\s+(?P<tail>[^-:]+)$")


def clean(label: str) -> str:
    """A label without footnote marks, bullets and bars."""
    label = re.sub(r"\s+", " ", label.strip(" \n|:：-–*·.>"))
    kept = _KEEP.sub(
        lambda m: m[0].replace(m[0], "".join(chr(ord(c) + 0xE000) if c.isdigit() else c for c in m[0])), label
    )
    kept = _FOOT.sub("", kept)
    kept = _FOOT.sub("", kept)
    return re.sub(r"[\ue000-\ue0ff]", lambda m: chr(ord(m[0]) - 0xE000), kept).strip(" |:：-*")


def unit_in(label: str) -> str | None:
    """The unit that a label carries."""
    for name, pattern in _UNIT_PATTERNS:
        if pattern.search(label):
            return name
    return None


def period_in(label: str) -> Period | None:
    """The period that a label carries: `Bitcoin mined in October`."""
    found = periods(label)
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=4096)
def classify(label: str, value_unit: str | None = None, section: str = "") -> Label | None:
    """The field that a label names, given the unit of the values beside it and the heading above it."""
    text = clean(label)
    if not text or len(text) > 160 or len(text.split()) > 18:
        return None
    unit = value_unit or unit_in(text) or None
    found = _decide(text, unit, section)
    if found is None:
        return None
    name, rule, weak = found
    return Label(name, _scope(text, name), unit_in(text), rule, weak)


def _scope(text: str, name: str) -> str | None:
    """The site or segment that a row is limited to; None for a total."""
    if name in ("hosted_btc_customers", "jv_share_btc", "btc_equivalent_not_coins"):
        return None
    tail = _SITE.search(text)
    candidate: str | None = None
    if tail is not None:
        candidate = tail["tail"].strip()
        if all(word.strip("()").lower() in COMMON for word in candidate.split()):
            return None
    else:
        bare = (
            re.sub(r"\((?:[^()]*)\)$", "", text).strip()
            if unit_in(text[text.rfind("(") :] if "(" in text else "")
            else text
        )
        named: list[str] = []
        for word in reversed(re.split(r"\s+", bare)):
            core = word.strip("(),")
            if not re.fullmatch(r"[A-Z][A-Za-z'.&-]{2,}|II|III|IV|JV", core) or core.lower() in COMMON:
                break
            named.insert(0, core)
        if named and len(named) < len(bare.split()):
            candidate = " ".join(named)
    if not candidate or _TOTAL.search(candidate) or _TOTAL.match(text):
        return None
    if (
        w.MONTH_END.search(candidate)
        or period_in(candidate) is not None
        or re.match(r"[\d\W]", candidate)
        or unit_in(candidate) is not None
    ):
        return None
    return candidate


_BARE_DAILY = re.compile(
    r"(?:daily|per[- ]day) (?:average|avg\.?)(?: production| output)?|(?:average|avg\.?)(?: production| output)? (?:per|/|a) ?day|(?:average|avg\.?) daily(?: production| output)?|(?:average|avg\.?) ?/ ?day",
    re.IGNORECASE,
)
"""`Average per day` without the word bitcoin: believed only where it is the month's production over its days."""
_BARE_BALANCE = re.compile(
    r"(?:(?P<open>beginning|opening|starting)|ending|closing|end|final)(?: (?:of|month|period|treasury|wallet))* (?:balance|holdings?|position)s?"
    r"|(?P<open2>balance,? (?:at |as of )?(?:the )?(?:beginning|start)(?: of (?:the )?(?:month|period|quarter|year))?)"
    r"|balance,? (?:at |as of )?(?:the )?end(?: of (?:the )?(?:month|period|quarter|year))?",
    re.IGNORECASE,
)
"""`Beginning balance` without the word bitcoin: believed only where the table's roll-forward closes."""


def _decide(text: str, unit: str | None, section: str) -> tuple[str, str, bool] | None:
    def has(*patterns: re.Pattern[str]) -> bool:
        return all(p.search(text) for p in patterns)

    def any_of(*patterns: re.Pattern[str]) -> bool:
        return any(p.search(text) for p in patterns)

    coins = unit in (None, "BTC", "BTC/day")
    money = unit in ("USD", "kUSD", "mUSD")
    hashing = unit in ("EH/s", "PH/s", "TH/s") or (unit is None and has(w.HASHRATE))
    bitcoin = has(w.BITCOIN)
    if any_of(w.FUTURE, w.NETWORK) and not has(w.SHARE):
        return None
    if has(w.OTHER_COIN) and not bitcoin:
        return None
    if unit in ("other coin", "power", "energy", "MW", "other", "other money"):
        return None
    business = w.OTHER_BUSINESS.search(text) or (w.OTHER_BUSINESS.search(section) and not bitcoin)

    if unit in (None, "BTC", "BTC/day", "EH/s") and bitcoin and has(w.PER_EH) and not has(w.COST):
        return "btc_per_avg_ehs", "label:per-exahash", False
    if has(w.EFFICIENCY) and unit in (None, "J/TH") and not has(w.MACHINES, w.FUTURE):
        if re.search(r"\b(?:peak|best|new|latest|s2\d|s19|m\d\d|immersion|cooling|pue)\b", text, re.IGNORECASE):
            return None
        return "efficiency_j_th", "label:efficiency", False
    if unit == "J/TH":
        return None
    if unit in ("USD/kWh", "USD/MWh") or (
        unit in (None, "USD") and re.search(r"kwh|mwh|千瓦时|度电", text, re.IGNORECASE)
    ):
        if any_of(w.COST, w.PRICE, w.POWER) and not any_of(w.CUSTOMERS, w.CREDITS):
            return "power_cost_usd_per_kwh", "label:power-cost", False
        return None
    if unit == "%":
        if has(w.SHARE) and re.search(r"reward", text, re.IGNORECASE):
            return "share_of_rewards_pct", "label:reward-share", False
        if has(w.FEES):
            return "fee_share_pct", "label:fee-share", False
        if has(w.SOLD) and any_of(w.PRODUCED, w.SHARE) and not money:
            return "sold_share_pct", "label:sold-share", False
        return None
    if unit == "blocks" or (unit is None and has(w.BLOCKS)):
        if any_of(w.SHARE, w.PER_DAY, w.AVERAGE) or re.search(r"reward|height|%", text, re.IGNORECASE):
            return None
        return "blocks_won", "label:blocks", False
    if hashing:
        return _hashrate(text, has, any_of)
    if unit in (None, "miners") and has(w.MACHINES) and not bitcoin and not any_of(w.EFFICIENCY, w.COST, w.REVENUE):
        if any_of(w.MANAGED, w.CUSTOMERS, w.POTENTIAL, w.BESIDES_FLEET) or not any_of(w.RATED, w.OPERATING):
            return None
        return "deployed_miners", "label:miners", False
    if unit == "miners":
        return None
    if has(w.CREDITS) and any_of(w.POWER, w.DEMAND_RESPONSE) and unit in (None, "USD", "kUSD", "mUSD"):
        if has(w.PER_BTC) or re.search(r"per kwh", text, re.IGNORECASE):
            return None
        if re.search(r"\btotal\b", text, re.IGNORECASE):
            return "total_power_credits_usd", "label:credits", False
        if has(w.DEMAND_RESPONSE):
            return "demand_response_credits_usd", "label:credits", False
        return "power_credits_usd", "label:credits", False
    if has(w.PER_BTC) or (has(w.AVERAGE, w.PRICE) and has(w.SOLD)):
        if coins and not any_of(w.COST, w.PRICE, w.REVENUE, w.VALUE) and unit != "USD":
            return None
        if has(w.COST):
            if has(w.CREDITS) and not has(w.POWER):
                return None
            if any_of(w.ALL_IN):
                return "all_in_cost_usd_per_btc", "label:cost-per-coin", False
            if has(w.CASH):
                return "cash_cost_usd_per_btc", "label:cost-per-coin", False
            if has(w.POWER):
                return "energy_cost_usd_per_btc", "label:cost-per-coin", False
            return None
        if has(w.REVENUE):
            return None if business else ("revenue_usd_per_btc", "label:revenue-per-coin", False)
        if has(w.SOLD) or (has(w.PRICE) and re.search(r"realis?z?ed", text, re.IGNORECASE)):
            return "avg_sale_price_usd", "label:sale-price", False
        if has(w.VALUE):
            return "value_usd_per_btc", "label:value-per-coin", False
        return None
    if any_of(w.COST) and not has(w.SERVICE_FEE):
        return None
    if has(w.SOLD) and bitcoin and (has(w.PROCEEDS) or money) and unit != "BTC" and not has(w.EQUITY):
        return (
            None
            if has(w.PRICE) or re.search(r"\bcost of\b|carrying", text, re.IGNORECASE)
            else ("sale_proceeds_usd", "label:proceeds", False)
        )
    if (
        has(w.PROCEEDS)
        and (bitcoin or has(w.SOLD))
        and money
        and re.search(r"proceeds|erlös|所得", text, re.IGNORECASE)
        and not any_of(w.PRODUCED, w.EQUITY, w.MACHINES)
    ):
        return "sale_proceeds_usd", "label:proceeds", False
    if has(w.REVENUE) and (money or unit is None):
        if (
            business
            or any_of(w.CUSTOMERS, w.POWER, w.PER_DAY)
            or re.search(r"\btotal\b|other|margin|收益率", text, re.IGNORECASE)
        ):
            return None
        mining = re.search(r"mining|mined|bitcoin|btc|挖矿|挖礦", text + " " + section, re.IGNORECASE)
        plain = re.fullmatch(r"(?:mining |net )?revenues?(?: \(.*\))?", text, re.IGNORECASE)
        return ("revenue_usd", "label:revenue", not mining) if mining or plain else None
    if money:
        if has(w.VALUE) or has(w.HELD):
            return None
        return None
    if any_of(w.DELTA) and not has(w.YTD):
        return None
    if has(w.YTD) and has(w.PRODUCED) and coins:
        return "ytd_btc", "label:year-to-date", False
    if has(w.VALUE) or has(w.PRICE):
        return None
    if has(w.PER_DAY) and any_of(w.PRODUCED, w.AVERAGE) and (bitcoin or unit == "BTC") and not has(w.CUSTOMERS):
        if re.search(r"\b(?:high|highest|peak|max\w*|record|low\w*)\b", text, re.IGNORECASE):
            return None
        return "avg_btc_per_day", "label:per-day", False
    if not (bitcoin or unit == "BTC"):
        if has(w.SERVICE_FEE) and unit is None:
            return "service_fee_btc", "label:fee", True
        if unit is None and _BARE_DAILY.fullmatch(re.sub(r"\s*\([^()]*\)$", "", text)):
            return "avg_btc_per_day", "label:bare-daily", True
        bare = _BARE_BALANCE.fullmatch(re.sub(r"\s*\([^()]*\)$", "", text))
        if bare is not None and unit is None:
            return ("btc_open" if bare["open"] or bare["open2"] else "btc_held_end"), "label:bare-balance", True
        return None
    if has(w.RESTRICTED) and not has(w.UNRESTRICTED):
        if re.search(r"receivable (?:from|for)|^receivable", text, re.IGNORECASE):
            return "btc_receivable_from_collateral", "label:receivable", False
        if re.search(r"\bexclud|\bnet of\b|\bnot\b", text, re.IGNORECASE):
            return None
        if re.search(r"\binclud(?:ing|es)\b", text, re.IGNORECASE):
            return "btc_held_end", "label:held", False
        return "restricted_or_pledged_btc", "label:restricted", False
    if has(w.UNRESTRICTED):
        return "free_btc", "label:free", False
    if has(w.LENT):
        return "lent_btc", "label:lent", False
    if has(w.OPENING) and not has(w.PRODUCED):
        return "btc_open", "label:opening", False
    if has(w.SERVICE_FEE):
        return "service_fee_btc", "label:fee", False
    if has(w.EQUIVALENT) and has(w.POWER):
        return "btc_equivalent_not_coins", "label:equivalent", False
    if has(w.EQUIVALENT, w.PRODUCED) and re.search(r"\b(?:actual|total|and equiv|plus)", text, re.IGNORECASE):
        return "btc_produced", "label:produced-with-equivalents", True
    if has(w.CUSTOMERS) and any_of(w.PRODUCED, w.SHARE):
        return "hosted_btc_customers", "label:customers", False
    if has(w.JOINT) and has(w.PRODUCED):
        return "jv_share_btc", "label:joint-venture", False
    if has(w.SOLD):
        return None if has(w.AVERAGE) else ("btc_sold", "label:sold", False)
    if has(w.PURCHASED):
        return "btc_purchased", "label:purchased", False
    if has(w.HELD) or (has(w.CLOSING) and re.search(r"balance", text, re.IGNORECASE)):
        if any_of(w.CUSTOMERS):
            return None
        return "btc_held_end", "label:held", False
    if has(w.PRODUCED):
        return None if has(w.AVERAGE) else ("btc_produced", "label:produced", False)
    return None


def _hashrate(text: str, has: object, any_of: object) -> tuple[str, str, bool] | None:
    def said(*patterns: re.Pattern[str]) -> bool:
        return any(p.search(text) for p in patterns)

    if said(w.EFFICIENCY, w.COST, w.REVENUE, w.DELTA) or re.search(
        r"utili[sz]ation|uptime|hashprice|%", text, re.IGNORECASE
    ):
        return None
    if said(w.POTENTIAL):
        return "potential_phs", "label:potential", False
    if said(w.MANAGED) and not re.search(r"\bself[- ]?min", text, re.IGNORECASE):
        return "managed_ehs", "label:managed", False
    own = re.search(r"\bself[- ]?min|\bproprietary|自营|自營", text, re.IGNORECASE)
    if said(w.CUSTOMERS) and not own:
        return None
    if said(w.AVERAGE):
        return (
            ("avg_operating_ehs", "label:average", False)
            if not re.search(r"deployed|installed|部署", text, re.IGNORECASE)
            else None
        )
    rated = re.search(
        r"deployed|installed|energi[sz]ed|nameplate|capacity|peak|rated|current|active|plugged|install|deploy|kapazität|capaci|instal|despleg|部署|装机|裝機|安装|安裝|設置|導入",
        text,
        re.IGNORECASE,
    )
    if rated:
        if re.search(r"\btotal\b", text, re.IGNORECASE) and re.search(r"energi[sz]ed", text, re.IGNORECASE) and not own:
            return "deployed_ehs", "label:rated-total", False
        return "deployed_ehs", "label:rated", False
    if said(w.SELF_OWNED):
        return "self_owned_ehs", "label:self-owned", False
    if said(w.OPERATING) or said(w.MONTH_END):
        return "operating_month_end_ehs", "label:operating", False
    bare = re.fullmatch(
        r"(?:bitcoin |btc |mining |total )*(?:hash ?-?rate|hash power|hashpower|算力|hashleistung|taux de hachage|tasa de hash|ハッシュレート)(?: ?\([^)]*\))?",
        text,
        re.IGNORECASE,
    )
    if bare:
        if re.search(r"total", text, re.IGNORECASE):
            return "deployed_ehs", "label:total-hashrate", True
        return "avg_operating_ehs", "label:bare-hashrate", True
    return None
