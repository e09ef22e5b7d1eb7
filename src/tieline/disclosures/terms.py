"""Words of balance sheets, loans and press articles that a monthly release does not use.

`fields.FIELDS` names what a release prints. These are the further fields that typed-in facts and regulatory
filings have: debts, collateral, sales announced for a day, percentages that an article states.
"""

from __future__ import annotations

from tieline.disclosures.facts.fields import FIELDS

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


def unit_of(field: str) -> str:
    """The unit that a field's values are in; ValueError names the nearest thing to do for a wrong name."""
    if field not in ALL:
        raise ValueError(f"no field {field!r}; `tieline disclosures fields` lists those there are")
    return ALL[field][0]
