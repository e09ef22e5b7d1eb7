"""Every field that a fact may have, with its unit and its meaning in one line.

Words that look alike are kept apart here: coins and equivalents, rated and operating hashrate, averages and
point values, press holdings and coins on the balance sheet. `FIELDS` are those that a monthly release prints;
`FURTHER` those of balance sheets, loans, press articles and filings.
"""

from __future__ import annotations

FIELDS: dict[str, tuple[str, str]] = {
    # coins
    "btc_produced": ("BTC", "mined in the period for the company's own account, as the release counts it"),
    "avg_btc_per_day": ("BTC/day", "printed average per day"),
    "ytd_btc": ("BTC", "mined since the start of the year"),
    "btc_equivalent_not_coins": ("BTC", "power sales or credits expressed in bitcoin; no coin was mined"),
    "jv_share_btc": ("BTC", "the company's share of coins mined by a joint venture"),
    "hosted_btc_customers": ("BTC", "mined on the company's sites by customers' machines"),
    "btc_open": ("BTC", "balance at the start of the period"),
    "btc_held_end": ("BTC", "held at the end of the period, restricted and pledged coins usually included"),
    "restricted_or_pledged_btc": ("BTC", "part of the holding that is restricted, pledged or posted"),
    "lent_btc": ("BTC", "part of the holding that is lent out"),
    "free_btc": ("BTC", "part of the holding that is stated to be unrestricted or unencumbered"),
    "btc_on_balance": ("BTC", "on the balance sheet, without coins derecognised as collateral"),
    "btc_receivable_from_collateral": ("BTC", "posted as collateral and shown as a receivable"),
    "btc_sold": ("BTC", "sold, converted or monetised in the period"),
    "sold_share_pct": ("%", "sold coins as a share of production"),
    "btc_purchased": ("BTC", "bought in the period"),
    "service_fee_btc": ("BTC", "fees paid in bitcoin"),
    "btc_brought_in": ("BTC", "came to the holding in the period neither mined nor bought, at a cost of its own"),
    "btc_lenders_net": ("BTC", "came back in the period from lenders who may sell it, less what went to them; signed"),
    "btc_entered_net": ("BTC", "by entries that another ledger states without saying what happened; signed"),
    "blocks_won": ("blocks", "blocks found by the company's own pool"),
    "fee_share_pct": ("%", "transaction fees as a share of bitcoin earned"),
    "share_of_rewards_pct": ("%", "share of all miner rewards available on the network"),
    "operating_share_pct": ("%", "average operating hashrate as a share of what is deployed"),
    "btc_per_avg_ehs": ("BTC/(EH/s)", "produced per average exahash per second"),
    # hashrate and machines
    "deployed_ehs": ("EH/s", "rated capacity at the end of the period: deployed, installed, energised"),
    "avg_operating_ehs": ("EH/s", "operating, averaged over the period"),
    "operating_month_end_ehs": ("EH/s", "operating at the end of the period, where a rated figure stands beside it"),
    "self_owned_ehs": ("EH/s", "from machines that the company owns, where a managed total stands beside it"),
    "managed_ehs": ("EH/s", "under management, customers' machines included"),
    "total_energized_ehs_incl_hosting": ("EH/s", "energised at the company's sites, customers' machines included"),
    "potential_phs": ("PH/s", "rated hashrate with machines in transit or in storage"),
    "deployed_miners": ("miners", "machines deployed at the end of the period"),
    "efficiency_j_th": ("J/TH", "fleet efficiency; W/TH is the same"),
    # money
    "sale_proceeds_usd": ("USD", "received for the coins sold"),
    "avg_sale_price_usd": ("USD/BTC", "average price of the coins sold"),
    "revenue_usd": ("USD", "bitcoin mining revenue"),
    "revenue_usd_per_btc": ("USD/BTC", "mining revenue per bitcoin"),
    "value_usd_per_btc": ("USD/BTC", "price at which the release values a bitcoin mined"),
    "energy_cost_usd_per_btc": ("USD/BTC", "electricity per bitcoin"),
    "cash_cost_usd_per_btc": ("USD/BTC", "cash cost per bitcoin, as the release defines it"),
    "all_in_cost_usd_per_btc": ("USD/BTC", "cost per bitcoin with depreciation"),
    "power_cost_usd_per_kwh": ("USD/kWh", "power price paid"),
    "power_credits_usd": ("USD", "credits for power not used or sold back"),
    "demand_response_credits_usd": ("USD", "paid for taking part in demand response"),
    "total_power_credits_usd": ("USD", "all power and demand response credits"),
    # balance-sheet notes
    "open_kusd": ("kUSD", "carrying value at the start of the period"),
    "close_kusd": ("kUSD", "carrying value at the end of the period"),
    "cost_basis_kusd": ("kUSD", "cost of the coins held"),
    "receivable_kusd": ("kUSD", "receivable for bitcoin posted as collateral"),
}

FURTHER: dict[str, tuple[str, str]] = {
    # sales told outside the monthly table
    "btc_announced_sale": ("BTC", "coins whose sale was announced for a day or a month"),
    "btc_held_before_sale": ("BTC", "holding that an article states for just before an announced sale"),
    "btc_held_after_sale": ("BTC", "holding that an article states for just after an announced sale"),
    # what an article says of change
    "btc_produced_mom_pct": ("%", "change of production on the month before, as printed"),
    "revenue_usd_mom_pct": ("%", "change of revenue on the month before, as printed"),
    "mom_pct": ("%", "a change on the month before whose subject the text leaves open"),
    "btc_produced_prior": ("BTC", "production of the month before, as an article states it for its comparison"),
    # hashrate
    "total_ehs": ("EH/s", "total hashrate at a date; its parts carry a scope"),
    "acquired_ehs": ("EH/s", "hashrate acquired on a date"),
    "self_mined_btc": ("BTC", "mined for the company's own account, beside coins mined for customers"),
    # balance sheet
    "receivable_usd": ("USD", "receivable for bitcoin posted as collateral"),
    "cryptocurrencies_usd": ("USD", "balance-sheet line of coins, without those posted as collateral"),
    "btc_fair_value_usd": ("USD", "fair value of the coins on the balance sheet"),
    "short_term_debt_usd": ("USD", "short-term debt"),
    "long_term_debt_usd": ("USD", "long-term debt"),
    "cash_usd": ("USD", "cash and equivalents"),
    "equity_raised_usd": ("USD", "new equity; its parts carry a scope"),
    # what analysts look for next; the scope of a contract is the tenant
    "market_cap_usd": ("USD", "market value of all shares at a date"),
    "capex_usd": ("USD", "spent on machines and sites in the period"),
    "ai_contract_mw": ("MW", "critical IT load of an AI hosting contract, signed at the date"),
    "ai_contract_usd": ("USD", "revenue over the term of an AI hosting contract"),
    "ai_contract_years": ("years", "term of an AI hosting contract"),
    # loans backed by coins, scope is the lender
    "loan_balance_usd": ("USD", "drawn under a loan backed by coins"),
    "loan_facility_usd": ("USD", "limit of a loan backed by coins"),
    "loan_collateral_btc": ("BTC", "coins pledged for a loan"),
    "loan_collateral_usd": ("USD", "value of the coins pledged, as stated"),
    "loan_ltv_initial": ("share", "loan to value at the start"),
    "loan_ltv_margin_call": ("share", "loan to value at which more collateral is due"),
    "loan_ltv_liquidation": ("share", "loan to value at which the lender may sell"),
    "loan_trigger_price_usd": ("USD/BTC", "bitcoin price at which a margin call is due, as stated"),
}

ALL: dict[str, tuple[str, str]] = {**FIELDS, **FURTHER}

SIGNED = frozenset({"btc_lenders_net", "btc_entered_net", "btc_produced_mom_pct", "cash_usd"})
"""Fields that may lie below zero, and are read with the sign that is printed."""


def unit_of(field: str) -> str:
    """The unit that a field's values are in; ValueError names the nearest thing to do for a wrong name."""
    if field not in ALL:
        raise ValueError(f"no field {field!r}; `tieline disclosures fields` lists those there are")
    return ALL[field][0]
