"""Rows of what a table's label names: the first that fits decides, from the special to the common.

`units` are those of the values beside it (None: no unit stands there, which is a unit of its own); `needs` must all be
in the label, of `some` at least one, of `never` none. A row without a field says that such a label names none. `weak`
labels fit only because nothing else in them contradicts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tieline.disclosures.lexicon import words as w

Patterns = tuple[re.Pattern[str], ...]
Units = tuple[str | None, ...] | None


class LabelRule(NamedTuple):
    """One row."""

    field: str | None
    rule: str
    units: Units
    needs: Patterns = ()
    some: Patterns = ()
    never: Patterns = ()
    weak: bool = False

    def fits(self, label: str) -> bool:
        """Do the words of a label meet the row?"""
        if not all(p.search(label) for p in self.needs) or any(p.search(label) for p in self.never):
            return False
        return not self.some or any(p.search(label) for p in self.some)


def _p(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


BUSINESS, MINING = "\x01another business\x01", "\x01mining\x01"
"""Marks behind a label whose heading speaks of another business, or of mining."""
_BUSINESS = _p(BUSINESS)
_BARE_END = r"(?: ?\([^()]*\))?(?:\x01.*)?\Z"
_DAILY = _p(
    r"\A(?:(?:daily|per[- ]day) (?:average|avg\.?)(?: production| output)?|(?:average|avg\.?)(?: production| output)? (?:per|/|a) ?day|(?:average|avg\.?) daily(?: production| output)?|(?:average|avg\.?) ?/ ?day)"
    + _BARE_END
)
_OPEN = _p(
    r"\A(?:(?:beginning|opening|starting)(?: (?:of|month|period|treasury|wallet))* (?:balance|holdings?|position|bitcoins?|btc)s?|balance,? (?:at |as of )?(?:the )?(?:beginning|start)(?: of (?:the )?(?:month|period|quarter|year))?)"
    + _BARE_END
)
_CLOSE = _p(
    r"\A(?:(?:ending|closing|end|final)(?: (?:of|month|period|treasury|wallet))* (?:balance|holdings?|position|bitcoins?|btc)s?|balance,? (?:at |as of )?(?:the )?end(?: of (?:the )?(?:month|period|quarter|year))?)"
    + _BARE_END
)
_ONE_MODEL = _p(r"\b(?:peak|best|new|latest|s2\d|s19|m\d\d|immersion|cooling|pue)\b")
_KWH = _p(r"kwh|mwh|千瓦时|度电")
_REWARD, _TOTAL, _BALANCE = _p(r"reward"), _p(r"\btotal\b"), _p(r"balance")
_NO_BLOCKS = _p(r"reward|height|%")
_EXTREME = _p(r"\b(?:high|highest|peak|max\w*|record|low\w*)\b")
_RECEIVABLE = _p(r"receivable (?:from|for)|^receivable")
_WITHOUT, _WITH = _p(r"\bexclud|\bnet of\b|\bnot\b"), _p(r"\binclud(?:ing|es)\b")
_CARRYING, _REALISED = _p(r"\bcost of\b|carrying"), _p(r"realis?z?ed")
_SALES = _p(r"\bsales?\b|proceeds|received|verkauf|erlös|vent|所得|收入")
_WORD_PROCEEDS = _p(r"proceeds|erlös|所得")
_NO_REVENUE = _p(r"\btotal\b(?! (?:bitcoin |btc )?(?:self-)?mining)|other|margin|收益率")
_OF_MINING = _p(r"mining|mined|bitcoin|btc|挖矿|挖礦")
_PLAIN_REVENUE = _p(r"\A(?:mining |net )?revenues?(?: \(.*\))?(?:\x01.*)?\Z")
_ACTUAL = _p(r"\b(?:actual|total|and equiv|plus)")

# What Tieline's own updates print beside what others print: each by its whole label.
_OWN_SHARE = _p(r"\Aoperating share of deployed hash ?rate\Z")
_OWN_CHANGE = _p(r"\Abitcoin produced, change from the month before\Z")
_OWN_CASH = _p(r"\Acash at month end\Z")
_OWN_BROUGHT = _p(r"\Abitcoin brought into the books\Z")
_OWN_LENDERS = _p(r"\Abitcoin back from lenders with control of it, less what went to them\Z")
_OWN_ENTERED = _p(r"\Abitcoin by entries of another ledger, net\Z")
PERCENTAGES = frozenset({"operating_share_pct", "btc_produced_mom_pct"})
"""Fields of which a percentage that stands alone behind its label is the figure; behind others it is a change."""

COIN: tuple[str | None, ...] = (None, "BTC", "BTC/day")
MONEY = ("USD", "kUSD", "mUSD")
_R = LabelRule
_NO_RATE = _p(r"utili[sz]ation|uptime|hashprice|%")
_SELF_MINING, _OWN = _p(r"\bself[- ]?min"), _p(r"\bself[- ]?min|\bproprietary|自营|自營")
_POTENTIAL = _p(r"\bpoten[tc]i\w*|潜在")
_DEPLOYED, _ENERGIZED = _p(r"deployed|installed|部署"), _p(r"energi[sz]ed")
_RATED = _p(
    r"deployed|installed|energi[sz]ed|nameplate|capacity|peak|rated|current|active|plugged|install|deploy|kapazität|capaci|instal|despleg|部署|装机|裝機|安装|安裝|設置|導入"
)
_BARE_HASHRATE = _p(
    r"\A(?:bitcoin |btc |mining |total )*(?:hash ?-?rate|hash power|hashpower|算力|hashleistung|taux de hachage|tasa de hash|ハッシュレート)(?: ?\([^)]*\))?(?:\x01.*)?\Z"
)


# fmt: off
def _hashrates(units: Units, *needs: re.Pattern[str]) -> tuple[LabelRule, ...]:
    """Rows of a hashrate, known by its unit or by its name."""
    return (
        _R(None, "", units, needs, (w.EFFICIENCY, w.COST, w.REVENUE, w.DELTA, _NO_RATE)),
        _R("potential_phs", "potential", units, (*needs, w.POTENTIAL, _POTENTIAL)),
        _R("potential_phs", "potential", units, (*needs, w.POTENTIAL), weak=True),
        _R("managed_ehs", "managed", units, (*needs, w.MANAGED), (), (_SELF_MINING,)),
        _R(None, "", units, (*needs, w.CUSTOMERS), (), (_OWN,)),
        _R(None, "", units, (*needs, w.AVERAGE, _DEPLOYED)),
        _R("avg_operating_ehs", "average", units, (*needs, w.AVERAGE)),
        _R("deployed_ehs", "rated-total", units, (*needs, _RATED, _TOTAL, _ENERGIZED), (), (_OWN,)),
        _R("deployed_ehs", "rated", units, (*needs, _RATED)),
        _R("self_owned_ehs", "self-owned", units, (*needs, w.SELF_OWNED)),
        _R("operating_month_end_ehs", "operating", units, needs, (w.OPERATING, w.MONTH_END)),
        _R("deployed_ehs", "total-hashrate", units, (*needs, _BARE_HASHRATE, _TOTAL), weak=True),
        _R("avg_operating_ehs", "bare-hashrate", units, (*needs, _BARE_HASHRATE), weak=True),
        _R(None, "", units, needs),
    )


ROWS: tuple[LabelRule, ...] = (
    _R("operating_share_pct", "operating-share", ("%",), (_OWN_SHARE,)),
    _R("btc_produced_mom_pct", "change", ("%",), (_OWN_CHANGE,)),
    _R("cash_usd", "cash", ("USD",), (_OWN_CASH,)),
    _R("btc_brought_in", "brought-in", ("BTC",), (_OWN_BROUGHT,)),
    _R("btc_lenders_net", "lenders", ("BTC",), (_OWN_LENDERS,)),
    _R("btc_entered_net", "entered", ("BTC",), (_OWN_ENTERED,)),
    # what names no figure of the company at all
    _R(None, "", None, (), (w.FUTURE, w.NETWORK), (w.SHARE,)),
    _R(None, "", None, (w.OTHER_COIN,), (), (w.BITCOIN,)),
    _R(None, "", ("other coin", "power", "energy", "MW", "other", "other money")),
    # rates and shares
    _R("btc_per_avg_ehs", "per-exahash", (*COIN, "EH/s"), (w.BITCOIN, w.PER_EH), (), (w.COST,)),
    _R(None, "", (None, "J/TH"), (w.EFFICIENCY, _ONE_MODEL)),
    _R("efficiency_j_th", "efficiency", (None, "J/TH"), (w.EFFICIENCY,)),
    _R(None, "", ("J/TH",)),
    _R("power_cost_usd_per_kwh", "power-cost", ("USD/kWh", "USD/MWh"), (), (w.COST, w.PRICE, w.POWER), (w.CUSTOMERS, w.CREDITS)),
    _R("power_cost_usd_per_kwh", "power-cost", (None, "USD"), (_KWH,), (w.COST, w.PRICE, w.POWER), (w.CUSTOMERS, w.CREDITS)),
    _R(None, "", ("USD/kWh", "USD/MWh")),
    _R(None, "", (None, "USD"), (_KWH,)),
    _R("share_of_rewards_pct", "reward-share", ("%",), (w.SHARE, _REWARD)),
    _R("fee_share_pct", "fee-share", ("%",), (w.FEES,)),
    _R("sold_share_pct", "sold-share", ("%",), (w.SOLD,), (w.PRODUCED, w.SHARE)),
    _R(None, "", ("%",)),
    # blocks and machines
    _R(None, "", ("blocks",), (), (w.SHARE, w.PER_DAY, w.AVERAGE, _NO_BLOCKS)),
    _R("blocks_won", "blocks", ("blocks",)),
    _R(None, "", (None,), (w.BLOCKS,), (w.SHARE, w.PER_DAY, w.AVERAGE, _NO_BLOCKS)),
    _R("blocks_won", "blocks", (None,), (w.BLOCKS,)),
    *_hashrates(("EH/s", "PH/s", "TH/s")),
    *_hashrates((None,), w.HASHRATE),
    _R(None, "", (None, "miners"), (w.MACHINES,), (w.MANAGED, w.CUSTOMERS, w.POTENTIAL, w.BESIDES_FLEET), (w.BITCOIN, w.EFFICIENCY, w.COST, w.REVENUE)),
    _R("deployed_miners", "miners", (None, "miners"), (w.MACHINES,), (w.RATED, w.OPERATING), (w.BITCOIN, w.EFFICIENCY, w.COST, w.REVENUE)),
    _R(None, "", (None,), (w.MACHINES,), (), (w.BITCOIN, w.EFFICIENCY, w.COST, w.REVENUE)),
    _R(None, "", ("miners",)),
    # credits
    _R(None, "", (None, *MONEY), (w.CREDITS, w.PER_BTC), (w.POWER, w.DEMAND_RESPONSE)),
    _R("total_power_credits_usd", "credits", (None, *MONEY), (w.CREDITS, _TOTAL), (w.POWER, w.DEMAND_RESPONSE)),
    _R("demand_response_credits_usd", "credits", (None, *MONEY), (w.CREDITS, w.DEMAND_RESPONSE)),
    _R("power_credits_usd", "credits", (None, *MONEY), (w.CREDITS, w.POWER)),
    # money per coin
    _R(None, "", COIN, (w.PER_BTC,), (), (w.COST, w.PRICE, w.REVENUE, w.VALUE)),
    _R(None, "", None, (w.PER_BTC, w.COST, w.CREDITS), (), (w.POWER,)),
    _R("all_in_cost_usd_per_btc", "cost-per-coin", None, (w.PER_BTC, w.COST, w.ALL_IN)),
    _R("cash_cost_usd_per_btc", "cost-per-coin", None, (w.PER_BTC, w.COST, w.CASH)),
    _R("energy_cost_usd_per_btc", "cost-per-coin", None, (w.PER_BTC, w.COST, w.POWER)),
    _R(None, "", None, (w.PER_BTC, w.COST)),
    _R("revenue_usd_per_btc", "revenue-per-coin", None, (w.PER_BTC, w.REVENUE), (), (_BUSINESS, w.OTHER_BUSINESS)),
    _R(None, "", None, (w.PER_BTC, w.REVENUE)),
    _R("avg_sale_price_usd", "sale-price", None, (w.PER_BTC, w.SOLD)),
    _R("avg_sale_price_usd", "sale-price", None, (w.PER_BTC, w.PRICE, _REALISED)),
    _R("avg_sale_price_usd", "sale-price", None, (w.AVERAGE, w.PRICE, w.SOLD), (), (w.COST, w.REVENUE)),
    _R("value_usd_per_btc", "value-per-coin", None, (w.PER_BTC, w.VALUE)),
    _R(None, "", None, (w.PER_BTC,)),
    _R(None, "", None, (w.COST,), (), (w.SERVICE_FEE,)),
    # sums of money
    _R(None, "", None, (w.SOLD, w.BITCOIN, w.PROCEEDS), (w.PRICE, _CARRYING), (w.EQUITY,)),
    _R("sale_proceeds_usd", "proceeds", (None, *MONEY), (w.SOLD, w.BITCOIN, w.PROCEEDS), (), (w.EQUITY,)),
    _R(None, "", MONEY, (w.SOLD, w.BITCOIN), (w.PRICE, _CARRYING), (w.EQUITY,)),
    _R("sale_proceeds_usd", "proceeds", MONEY, (w.SOLD, w.BITCOIN, _SALES), (), (w.EQUITY,)),
    _R("sale_proceeds_usd", "proceeds", MONEY, (w.SOLD, w.BITCOIN), (), (w.EQUITY,), weak=True),
    _R("sale_proceeds_usd", "proceeds", MONEY, (w.PROCEEDS, _WORD_PROCEEDS), (w.BITCOIN, w.SOLD), (w.PRODUCED, w.EQUITY, w.MACHINES)),
    _R(None, "", (None, *MONEY), (w.REVENUE,), (_BUSINESS, w.OTHER_BUSINESS, w.CUSTOMERS, w.POWER, w.PER_DAY, _NO_REVENUE)),
    _R("revenue_usd", "revenue", (None, *MONEY), (w.REVENUE,), (_OF_MINING,)),
    _R("revenue_usd", "revenue", (None, *MONEY), (w.REVENUE, _PLAIN_REVENUE), weak=True),
    _R(None, "", (None,), (w.REVENUE,)),
    _R(None, "", MONEY),
    # coins
    _R(None, "", None, (w.DELTA,), (), (w.YTD,)),
    _R("ytd_btc", "year-to-date", COIN, (w.YTD, w.PRODUCED)),
    _R(None, "", None, (), (w.VALUE, w.PRICE)),
    _R(None, "", None, (w.PER_DAY, _EXTREME, w.BITCOIN), (w.PRODUCED, w.AVERAGE), (w.CUSTOMERS,)),
    _R("avg_btc_per_day", "per-day", None, (w.PER_DAY, w.BITCOIN), (w.PRODUCED, w.AVERAGE), (w.CUSTOMERS,)),
    _R("avg_btc_per_day", "per-day", ("BTC",), (w.PER_DAY,), (w.PRODUCED, w.AVERAGE), (w.CUSTOMERS, _EXTREME)),
    _R("service_fee_btc", "fee", (None,), (w.SERVICE_FEE,), (), (w.BITCOIN,), weak=True),
    _R("avg_btc_per_day", "bare-daily", (None,), (_DAILY,), (), (w.BITCOIN,), weak=True),
    _R("btc_open", "bare-balance", (None,), (_OPEN,), (), (w.BITCOIN,), weak=True),
    _R("btc_held_end", "bare-balance", (None,), (_CLOSE,), (), (w.BITCOIN,), weak=True),
    _R(None, "", (None, "BTC/day"), (), (), (w.BITCOIN,)),
    _R("btc_receivable_from_collateral", "receivable", None, (w.RESTRICTED, _RECEIVABLE), (), (w.UNRESTRICTED,)),
    _R(None, "", None, (w.RESTRICTED, _WITHOUT), (), (w.UNRESTRICTED,)),
    _R("btc_held_end", "held", None, (w.RESTRICTED, _WITH), (), (w.UNRESTRICTED,)),
    _R("restricted_or_pledged_btc", "restricted", None, (w.RESTRICTED,), (), (w.UNRESTRICTED,)),
    _R("free_btc", "free", None, (w.UNRESTRICTED,)),
    _R("lent_btc", "lent", None, (w.LENT,)),
    _R("btc_open", "opening", None, (w.OPENING,), (), (w.PRODUCED,)),
    _R("service_fee_btc", "fee", None, (w.SERVICE_FEE,)),
    _R("btc_equivalent_not_coins", "equivalent", None, (w.EQUIVALENT, w.POWER)),
    _R("btc_produced", "produced-with-equivalents", None, (w.EQUIVALENT, w.PRODUCED, _ACTUAL), weak=True),
    _R("hosted_btc_customers", "customers", None, (w.CUSTOMERS,), (w.PRODUCED, w.SHARE)),
    _R("jv_share_btc", "joint-venture", None, (w.JOINT, w.PRODUCED)),
    _R(None, "", None, (w.SOLD, w.AVERAGE)),
    _R("btc_sold", "sold", None, (w.SOLD,)),
    _R("btc_purchased", "purchased", None, (w.PURCHASED,)),
    _R(None, "", None, (w.HELD, w.CUSTOMERS)),
    _R("btc_held_end", "held", None, (w.HELD,)),
    _R("btc_held_end", "held", None, (_CLOSE,)),
    _R("btc_held_end", "held", None, (w.CLOSING, _BALANCE), (), (w.CUSTOMERS,)),
    _R(None, "", None, (w.PRODUCED, w.AVERAGE)),
    _R("btc_produced", "produced", None, (w.PRODUCED,)),
)
# fmt: on
