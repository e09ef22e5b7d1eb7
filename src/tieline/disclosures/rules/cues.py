"""Rows of the open reader: what a number may be, by its unit and the words near it, from the special to the common.

The open reader only finds; whether a figure is a fact is for the licences. `near` says where the words are sought:
`left` and `right` are the number's own words up to its neighbours', `clause` is both, `sentence` the whole. The first
row that fits decides. `kind` is for the reader of dates: see `rules.grammar`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from tieline.disclosures.lexicon import words as w


class Cue(NamedTuple):
    """One row: all of `needs` stand near, and none of `never`."""

    field: str
    near: Literal["left", "right", "clause", "sentence"]
    needs: tuple[re.Pattern[str], ...]
    never: tuple[re.Pattern[str], ...] = ()

    def fits(self, words: Mapping[str, str]) -> bool:
        """Do the words near a number meet the row? `words`: by where they stand."""
        needed = all(p.search(words[self.near]) for p in self.needs)
        return needed and not any(p.search(words["clause"]) for p in self.never)


def _p(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


AFTER_SALE = _p(r"\b(?:after|following) (?:the|this|that|its) (?:\w+ )?(?:sale|transaction|disposal)\b")
KEEPS = _p(
    r"\bleaving (?:it|them|us|the company) with\b|\bretains?\b|\bended\b[^.;]{0,24}\bwith\b|\bclosed\b[^.;]{0,24}\bwith\b|\bhad\s*(?:approximately |about |a total of )?$|\bencerrou\b|\bcerró\b|\bterminó\b"
)
CHANGE = _p(
    r"\b(?:up|down|by|added|adds|adding|increase of|decrease of|growth of|daily high of|reached a high of|low of|peak of|up to|as much as|at least)\s*(?:approximately |about |an? )?$"
)
MORE = _p(r"\b(?:additional|further|another|other)\s*(?:approximately |about )?$")
CHANGE_BEHIND = _p(r"\s*(?:higher|lower|more|less|fewer|increase|decrease|transaction)\b")
AT_EACH = _p(r"^\s*(?:for |at )(?:an average (?:of |price of )?)?")
AT_AVERAGE = _p(r"\bat an? average(?: of)?\s*(?:approximately |about )?(?:US)?$")
CLOSING_PRICE = _p(r"\bclosing\b|\bmarket price\b|\bspot\b|\btrading at\b|\bprice of bitcoin\b")
SHARE_SOLD = _p(r"\bof (?:the |its |our |all )?(?:bitcoins?|btc|production|output|coins)\b|\bof (?:what|those)")

# fmt: off
COINS: tuple[Cue, ...] = (
    Cue("btc_held_after_sale", "sentence", (AFTER_SALE, w.HELD)),
    Cue("btc_receivable_from_collateral", "clause", (_p(r"receivable"),)),
    Cue("btc_equivalent_not_coins", "clause", (w.EQUIVALENT,), (_p(r"or \W?(?:bitcoin|btc) equiv|\(together|including equiv"),)),
    Cue("btc_equivalent_not_coins", "left", (_p(r"\b(?:equat\w+|equal|equivalent) to\s*(?:approximately |about |roughly )?$"),)),
    Cue("hosted_btc_customers", "clause", (w.CUSTOMERS,), (w.HELD, w.SOLD, _p(r"hosting (?:provider|company)"))),
    Cue("jv_share_btc", "clause", (w.JOINT,)),
    Cue("btc_per_avg_ehs", "right", (w.PER_EH,)),
    Cue("ytd_btc", "clause", (w.YTD, w.PRODUCED)),
    Cue("service_fee_btc", "clause", (w.SERVICE_FEE,)),
    Cue("free_btc", "clause", (w.UNRESTRICTED,)),
    Cue("restricted_or_pledged_btc", "right", (w.RESTRICTED,), (_p(r"\bincluding (?:pledged|restricted)"),)),
    Cue("restricted_or_pledged_btc", "left", (w.RESTRICTED,), (w.HELD,)),
    Cue("lent_btc", "clause", (w.LENT,)),
    Cue("btc_open", "left", (w.OPENING, w.HELD)),
)
HASHRATE: tuple[Cue, ...] = (
    Cue("managed_ehs", "clause", (w.MANAGED,)),
    Cue("hashrate_total", "left", (_p(r"\btotal (?:self-mining |mining )?(?:hash|computing)"),), (w.AVERAGE, _p(r"deployed|installed|energi[sz]ed|operat"))),
    Cue("deployed_ehs", "left", (w.HASHRATE, _p(r"\b(?:increased|grew|rose|expanded)\b[^.;]{0,40}\bto\s*$")), (w.AVERAGE, w.OPERATING)),
    Cue("potential_phs", "clause", (w.POTENTIAL,)),
    Cue("avg_operating_ehs", "left", (w.AVERAGE,)),
    Cue("avg_operating_ehs", "right", (w.AVERAGE,)),
    Cue("self_owned_ehs", "clause", (w.SELF_OWNED,)),
    Cue("deployed_ehs", "left", (w.RATED,), (w.OPERATING,)),
    Cue("operating_month_end_ehs", "left", (w.OPERATING,)),
    Cue("deployed_ehs", "clause", (w.RATED,)),
    Cue("operating_month_end_ehs", "clause", (w.OPERATING,)),
    Cue("avg_operating_ehs", "clause", (w.AVERAGE,)),
    Cue("hashrate_unnamed", "clause", (w.HASHRATE,)),
)
DOLLARS: tuple[Cue, ...] = (
    Cue("demand_response_credits_usd", "clause", (w.DEMAND_RESPONSE, w.CREDITS)),
    Cue("power_credits_usd", "clause", (w.POWER, w.CREDITS)),
    Cue("all_in_cost_usd_per_btc", "clause", (w.PER_BTC, w.COST, w.ALL_IN)),
    Cue("cash_cost_usd_per_btc", "clause", (w.PER_BTC, w.COST, w.CASH)),
    Cue("energy_cost_usd_per_btc", "clause", (w.PER_BTC, w.COST, w.POWER)),
    Cue("energy_cost_usd_per_btc", "clause", (w.PER_BTC, w.POWER)),
    Cue("revenue_usd_per_btc", "clause", (w.PER_BTC, w.REVENUE)),
    Cue("avg_sale_price_usd", "clause", (w.AVERAGE, w.PRICE), (CLOSING_PRICE,)),
    Cue("avg_sale_price_usd", "left", (AT_AVERAGE,)),
    Cue("avg_sale_price_usd", "clause", (w.PER_BTC, w.SOLD)),
    Cue("avg_sale_price_usd", "clause", (AT_EACH, w.PER_BTC), (w.VALUE,)),
    Cue("value_usd_per_btc", "clause", (w.PER_BTC, w.VALUE)),
    Cue("sale_proceeds_usd", "left", (w.SOLD, w.PROCEEDS), (w.EQUITY,)),
    Cue("revenue_usd", "clause", (w.REVENUE,), (w.CUSTOMERS, w.OTHER_BUSINESS, w.POWER)),
    Cue("sale_proceeds_usd", "left", (w.PROCEEDS,), (w.EQUITY, w.REVENUE)),
    Cue("sale_proceeds_usd", "left", (_p(r"\bfor\b|\bor\b|\braising\b|\bnetting\b|\bgenerating\b|\byielding\b|\breceiv"),), (w.EQUITY, w.COST)),
)
SHARES: tuple[Cue, ...] = (
    Cue("share_of_rewards_pct", "clause", (_p(r"rewards?"), w.SHARE)),
    Cue("fee_share_pct", "clause", (w.FEES,)),
    Cue("sold_share_pct", "clause", (w.SOLD, SHARE_SOLD)),
)
# fmt: on
VERBS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("btc_produced", w.PRODUCED),
    ("btc_sold", w.SOLD),
    ("btc_held_end", w.HELD),
    ("btc_held_end", KEEPS),
    ("btc_purchased", w.PURCHASED),
)
"""Of these the nearest to the number says what its coins did."""
