"""Figures that a sentence names by the words of a table's label, before the number or behind it."""

import pytest
from tests.disclosures.read.test_licences import facts, update

NAMED = (
    ("btc_produced", "Bitcoin production for July 2025 was 41 BTC.", "Network production for July 2025 was 41 BTC."),
    (
        "btc_produced",
        "In July 2025, our BTC production was 41 in July 2025.",
        "In July 2025, our share production was 41 in July 2025.",
    ),
    ("btc_produced", "Bitcoin mined in July 2025 was 41 BTC.", "Bitcoin mined since 2021 was 41 BTC."),
    ("ytd_btc", "Year-to-date production was 241 BTC.", "Year-to-date hosting was 241 BTC."),
    (
        "avg_btc_per_day",
        "Average bitcoin produced per day in July 2025 was 1.3 BTC.",
        "Maximum bitcoin produced per day in July 2025 was 1.3 BTC.",
    ),
    ("avg_btc_per_day", "July daily bitcoin mined averaged 1.3.", "July daily bitcoin mined reached 3.0."),
    (
        "btc_held_end",
        "Bitcoin holdings at July 31, 2025 were 300 BTC.",
        "Customer holdings at July 31, 2025 were 300 BTC.",
    ),
    (
        "btc_held_end",
        "In July 2025 Heron mined 41 BTC, bringing its bitcoin holdings to 300 BTC as of July 31, 2025.",
        "In July 2025 Heron aims at bringing its holdings to 300 BTC.",
    ),
    (
        "restricted_or_pledged_btc",
        "Heron held 300 BTC on July 31, 2025, of which 100 BTC was pledged as collateral.",
        "Heron held 300 BTC on July 31, 2025, of which 100 BTC was mined.",
    ),
    (
        "btc_held_end",
        "At July 31, 2025, our bitcoin holdings stood at 3,140.",
        "At July 31, 2025, our share holdings stood at 3,140.",
    ),
    ("btc_sold", "- 12 BTC sold during July 2025.", "- 12 BTC sold by customers during July 2025."),
    ("btc_sold", "Bitcoin sold in July 2025 was 12 BTC.", "Bitcoin sold since June 2025 was 12 BTC."),
    (
        "sale_proceeds_usd",
        "Net proceeds from bitcoin sales in July 2025 were $1.4 million.",
        "Net proceeds of the offering in July 2025 were $1.4 million.",
    ),
    (
        "avg_sale_price_usd",
        "The average price realized in July 2025 was $117,000 per bitcoin.",
        "The average price realized by our peers in July 2025 was $117,000 per bitcoin.",
    ),
    (
        "energy_cost_usd_per_btc",
        "Power cost in July 2025 averaged $41,000 per bitcoin.",
        "Hosting cost in July 2025 averaged $41,000 per bitcoin.",
    ),
    (
        "energy_cost_usd_per_btc",
        "Energy cost per bitcoin mined in July 2025 was $41,000.",
        "Cash cost per bitcoin mined in July 2025 was $41,000.",
    ),
    (
        "cash_cost_usd_per_btc",
        "Average cash cost per BTC in July 2025 was $59,000.",
        "Average electricity cost per BTC in July 2025 was $59,000.",
    ),
    (
        "cash_cost_usd_per_btc",
        "Average cash cost in July 2025 was $59,000 per bitcoin.",
        "Average cost in July 2025 was $59,000 per bitcoin.",
    ),
    ("revenue_usd", "Mining revenue in July 2025 was $4.8 million.", "Hosting revenue in July 2025 was $4.8 million."),
    (
        "efficiency_j_th",
        "Fleet efficiency at July 31, 2025 was 18.2 J/TH.",
        "The S21 efficiency in July 2025 was 17.5 J/TH.",
    ),
    (
        "power_cost_usd_per_kwh",
        "Average power cost in July 2025 was $0.045 per kWh.",
        "Contracted power in July 2025 was $0.045 per kWh.",
    ),
    ("deployed_ehs", "- 3.9 EH/s installed capacity at July 31, 2025", "- 3.9 EH/s ordered capacity at July 31, 2025"),
    (
        "deployed_ehs",
        "Heron increased energized hash rate 9% m/m to 3.9 EH/s in July 2025.",
        "Heron increased contracted hash rate 9% m/m to 3.9 EH/s in July 2025.",
    ),
    (
        "energy_cost_usd_per_btc",
        "- $41,000 electricity cost per bitcoin in July 2025",
        "- $41,000 hosting cost per bitcoin in July 2025",
    ),
    (
        "btc_produced",
        "Self-mining bitcoin production in July 2025 totaled 41 BTC.",
        "Self-mining bitcoin production at our Texan site in July 2025 totaled 41 BTC.",
    ),
    (
        "revenue_usd",
        "Total mining revenue in July 2025 was $4.8 million.",
        "Total revenue in July 2025 was $4.8 million.",
    ),
)
"""A field, a sentence that states it, and one that states something else."""


@pytest.mark.parametrize(("field", "reads", "never"), NAMED, ids=[reads[:50] for _, reads, _ in NAMED])
def test_a_name_beside_a_number_proves_its_field_and_no_other_name_does(field: str, reads: str, never: str) -> None:
    assert field in {name for _, name in facts(update(reads))}
    assert field not in {name for _, name in facts(update(never))}
