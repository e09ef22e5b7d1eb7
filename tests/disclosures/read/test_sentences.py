"""Sentences as releases and the press write them, in several languages."""

# ruff: noqa: E501 - a printed line is one line

import time
from decimal import Decimal

import pytest
from tests.disclosures.read.reading import read

from tieline.disclosures.read import read as read_release

PUBLISHED = "2025-06-05"


def figures(text: str, published: str = PUBLISHED) -> dict[tuple[str, str], str]:
    return {(f.period, f.field): str(f.value) for f in read(text, published=published).facts if f.scope is None}


def test_blocks_are_not_bitcoin() -> None:
    got = figures(
        "The miner produced 201 bitcoin blocks in May 2025 and earned 692 BTC. It won 27% more blocks than in April."
    )
    assert got == {("2025-05", "blocks_won"): "201", ("2025-05", "btc_produced"): "692"}


def test_power_sales_equivalents_and_joint_venture_are_kept_apart() -> None:
    text = (
        "In May 2025, the company mined 179 BTC. This figure includes an estimated 4 BTC from power sales and about 25 BTC "
        "mined at joint venture (JV) data centers. It sold 64 BTC and held 966 BTC, of which 379 BTC was pledged as collateral."
    )
    assert figures(text) == {
        ("2025-05", "btc_produced"): "179",
        ("2025-05", "btc_equivalent_not_coins"): "4",
        ("2025-05", "jv_share_btc"): "25",
        ("2025-05", "btc_sold"): "64",
        ("2025-05", "btc_held_end"): "966",
        ("2025-05", "restricted_or_pledged_btc"): "379",
    }


def test_respectively_pairs_labels_with_values() -> None:
    got = figures(
        "The company ended May with operational and installed hashrates at 7.27 EH/s and 8.75 EH/s, respectively."
    )
    assert got == {("2025-05", "operating_month_end_ehs"): "7.27", ("2025-05", "deployed_ehs"): "8.75"}


def test_compared_months_get_their_own_period() -> None:
    text = (
        "The company produced 616.6 Bitcoins in May, down from 663.7 in April, with an average daily production of 19.89 BTC compared "
        "to 22.12 BTC in the prior month. Total Bitcoin holdings rose to 5,810 BTC by month-end, up from 5,193.4 BTC in April."
    )
    got = figures(text)
    assert got[("2025-05", "btc_held_end")] == "5810"
    assert got[("2025-04", "btc_held_end")] == "5193.4"
    assert got[("2025-05", "avg_btc_per_day")] == "19.89"
    assert got[("2025-04", "avg_btc_per_day")] == "22.12"
    assert got[("2025-05", "btc_produced")] == "616.6"


def test_year_over_year_range() -> None:
    got = figures("BTC production decreased 41% year-over-year from 1,176 to 692 BTC.")
    assert got == {("2024-05", "btc_produced"): "1176", ("2025-05", "btc_produced"): "692"}


def test_targets_network_and_purchases_are_no_figures_of_the_fleet() -> None:
    text = (
        "In May the company mined 100 BTC. It expects to reach 40 EH/s of deployed hashrate by the end of the year. The network hash rate "
        "averaged 643 EH/s. It agreed to purchase machines with 18 EH/s. One combined figure for April and May was 190 BTC mined."
    )
    assert figures(text) == {("2025-05", "btc_produced"): "100"}


def test_dollar_treasuries_make_no_coins() -> None:
    assert figures(
        "In May 2025 it produced 130.2 BTC. Treasury holdings of BTC and ETH were $22.1 million and $23.0 million."
    ) == {("2025-05", "btc_produced"): "130.2"}


@pytest.mark.parametrize(
    "sentence",
    [
        "The company chose not to sell any of its Bitcoin holdings in May.",
        "It did not sell any bitcoin during the month of May.",
        "No bitcoin was sold in May.",
        "All BTC produced was hodl during the month.",
    ],
)
def test_no_sale_is_zero(sentence: str) -> None:
    got = figures("The miner produced 10 BTC in May 2025. " + sentence)
    assert got[("2025-05", "btc_sold")] == "0"


def test_an_intention_not_to_sell_is_no_zero() -> None:
    assert ("2025-05", "btc_sold") not in figures(
        "It produced 10 BTC in May 2025 and does not plan to sell any bitcoin this year."
    )


def test_numbers_as_words_and_odd_units() -> None:
    got = figures(
        "It produced an average of nine BTC per day in May, 2025, with an average hash rate of 3,830 PH/second for the month of May, 2025."
    )
    assert got[("2025-05", "avg_btc_per_day")] == "9"
    assert Decimal(got[("2025-05", "avg_operating_ehs")]) == Decimal("3.83")


def test_a_date_in_the_middle_of_a_month_stays_a_date() -> None:
    assert figures("As of May 15, 2025, the company held 7,500.5 BTC.") == {("2025-05-15", "btc_held_end"): "7500.5"}


def test_quarter_and_month_in_neighbouring_sentences() -> None:
    got = figures(
        "It mined 921 bitcoins in May 2025, but held only 171 bitcoins by month-end. Q1 2025 mining output reached 2,033 BTC but holdings were a mere 31 BTC."
    )
    assert got == {
        ("2025-05", "btc_produced"): "921",
        ("2025-05", "btc_held_end"): "171",
        ("2025Q1", "btc_produced"): "2033",
        ("2025-03", "btc_held_end"): "31",
    }


def test_annual_totals_are_no_months() -> None:
    assert figures(
        "It mined 50 BTC in May 2025.\nIn 2024 it produced 12,852 BTC and sold 74% of the bitcoins mined."
    ) == {("2025-05", "btc_produced"): "50", ("2024", "btc_produced"): "12852"}


def test_two_readings_of_one_figure_leave_it_empty_and_say_so() -> None:
    reading = read(
        "In May 2025 the company mined 550 BTC. It held 100 BTC at the end of May 2025. In May 2025 it produced 560 BTC.",
        published=PUBLISHED,
    )
    assert {f.field for f in reading.facts} == {"btc_held_end"}
    assert any("550" in n and "560" in n for n in reading.notes)


def test_a_rounded_figure_yields_to_the_exact_one() -> None:
    assert figures("It held 1,025.69 BTC at the end of May 2025. In all it held 1,026 BTC.") == {
        ("2025-05", "btc_held_end"): "1025.69"
    }


def test_roundup_gives_each_figure_its_company() -> None:
    text = "Riot Platforms\nIn May, the miner produced 514 BTC and held 19,225 BTC.\nCleanSpark\nIn May, the company produced 694 BTC. Riot did not comment.\n"
    facts = {(f.issuer, f.field): f.value for f in read(text, published=PUBLISHED).facts}
    assert facts == {("RIOT", "btc_produced"): 514, ("RIOT", "btc_held_end"): 19225, ("CLSK", "btc_produced"): 694}
    only = read(text, published=PUBLISHED, issuer="CLSK")
    assert {(f.issuer, f.value) for f in only.facts} == {("CLSK", Decimal(694))}
    assert any("RIOT" in n for n in only.notes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Im Mai 2025 wurden 123,4 BTC geschürft, durchschnittlich 3,98 BTC pro Tag. Die Gesellschaft verkaufte 50 BTC. Zum 31. Mai 2025 hielt das "
            "Unternehmen 1.234,5 BTC. Die installierte Hashrate lag bei 3,1 EH/s.",
            {
                "btc_produced": "123.4",
                "avg_btc_per_day": "3.98",
                "btc_sold": "50",
                "btc_held_end": "1234.5",
                "deployed_ehs": "3.1",
            },
        ),
        (
            "En mayo de 2025, la compañía minó 88,5 BTC, un promedio de 2,85 BTC por día. Al 31 de mayo de 2025 mantiene 512,3 BTC en tesorería.",
            {"btc_produced": "88.5", "avg_btc_per_day": "2.85", "btc_held_end": "512.3"},
        ),
        (
            "En mai 2025, la société a miné 45,7 BTC, soit une moyenne de 1,47 BTC par jour. Au 31 mai 2025, elle détient 1 250,8 BTC.",
            {"btc_produced": "45.7", "avg_btc_per_day": "1.47", "btc_held_end": "1250.8"},
        ),
        (
            "2025年5月,公司共生产650.5枚比特币,日均产量20.98枚。截至5月31日,公司持有4,529.7枚比特币。本月未出售任何比特币。",
            {"btc_produced": "650.5", "avg_btc_per_day": "20.98", "btc_held_end": "4529.7", "btc_sold": "0"},
        ),
        (
            "2025年5月のビットコイン生産量は12.3BTCでした。5月末時点のビットコイン保有量は1,112BTCです。平均稼働ハッシュレートは0.35 EH/sです。",
            {"btc_produced": "12.3", "btc_held_end": "1112", "avg_operating_ehs": "0.35"},
        ),
    ],
    ids=["de", "es", "fr", "zh", "ja"],
)
def test_other_languages(text: str, expected: dict[str, str]) -> None:
    assert figures(text) == {("2025-05", k): v for k, v in expected.items()}


def test_note_to_a_statement_keeps_dates_and_balance_sheet_words() -> None:
    text = (
        "As of December 31, 2025 and September 30, 2025, the Company held 11,452 and 10,428 bitcoin, respectively. At December 31, 2025, the Company "
        "reported Receivable from bitcoin collateral related to 1,648 bitcoin with a fair value of $144,163, compared to 2,583 bitcoin with a fair value "
        "of $294,648 posted as of September 30, 2025."
    )
    assert figures(text, "2026-02-05") == {
        ("2025-12-31", "btc_on_balance"): "11452",
        ("2025-09-30", "btc_on_balance"): "10428",
        ("2025-12-31", "btc_receivable_from_collateral"): "1648",
        ("2025-12-31", "receivable_kusd"): "144163",
        ("2025-09-30", "btc_receivable_from_collateral"): "2583",
        ("2025-09-30", "receivable_kusd"): "294648",
    }


def test_a_figure_in_brackets_has_the_month_in_the_brackets() -> None:
    got = figures("Mining revenue in May 2025 amounted to $3.1 million (April 2025: $2.9 million).")
    assert got == {("2025-05", "revenue_usd"): "3100000", ("2025-04", "revenue_usd"): "2900000"}


def test_a_total_with_hosted_coins_is_no_production_of_its_own() -> None:
    reading = read(
        "In May 2025 the company produced approximately 295 bitcoin, of which 218 bitcoin was from datacenter hosting. It held 58 bitcoin.",
        published=PUBLISHED,
    )
    assert {(f.field, int(f.value)) for f in reading.facts} == {("hosted_btc_customers", 218), ("btc_held_end", 58)}
    assert any("customers' coins" in n for n in reading.notes)


def test_including_pledged_coins_is_the_whole_holding() -> None:
    assert figures("As of May 31, 2025, the company held 610 BTC including pledged Bitcoin.") == {
        ("2025-05", "btc_held_end"): "610"
    }


def test_an_outlook_is_not_last_years_month() -> None:
    text = "- In May the company produced 152 Bitcoin\n- June end of month hash rate expected to be 1.5 EH/s, producing approximately 6.8 bitcoin per day\n"
    assert figures(text) == {("2025-05", "btc_produced"): "152"}


def test_a_hashrate_that_grew_is_the_rated_one() -> None:
    beside = figures(
        "In May the hash rate increased by 7% to 26.4 EH/s. The average operational rate fell by 14% to 19.3 EH/s. It mined 10 BTC."
    )
    assert beside[("2025-05", "deployed_ehs")] == "26.4"
    assert beside[("2025-05", "avg_operating_ehs")] == "19.3"
    alone = figures("In May the hash rate increased by 7% to 26.4 EH/s. It mined 10 BTC.")
    assert alone == {("2025-05", "btc_produced"): "10", ("2025-05", "deployed_ehs"): "26.4"}
    bare = figures("In May the hash rate was 26.4 EH/s. It mined 10 BTC.")
    assert bare == {("2025-05", "btc_produced"): "10", ("2025-05", "deployed_ehs"): "26.4"}
    undated = figures("It mined 10 BTC in May. The hash rate was 26.4 EH/s.")
    assert undated == {("2025-05", "btc_produced"): "10"}


def test_a_company_may_be_known_under_another_ticker() -> None:
    text = "Argo Blockchain plc June update\nIn May 2025, Argo mined 47 Bitcoin. Its rival Riot mined 514 BTC.\n"
    reading = read(text, published=PUBLISHED, issuer="ARBK")
    assert {(f.issuer, f.field, int(f.value)) for f in reading.facts} == {("ARBK", "btc_produced", 47)}


@pytest.mark.parametrize(
    "text",
    [
        "Wren Compute underclocked some of its bitcoin machines in September 2023, to 80 TH/s per machine at an efficiency level of 26.3 J/TH.",
        "Wren Compute mined a net total of 125.1 Bitcoins over the seven months ending July 31, 2024.",
        "Wren Compute mined a total of 854.5 BTC in April and May 2024.",
        "In April 2024 one transaction of the bitcoin pool generated a fee of 0.85 BTC.",
        "The new site supports hashrate growth from 4.6 EH/s to 8.1 EH/s for the bitcoin miner in August 2024.",
    ],
)
def test_what_dates_no_month_or_is_no_figure_of_the_fleet(text: str) -> None:
    assert figures(text, published="2024-08-29") == {}


def test_a_quarter_is_named_by_its_last_month() -> None:
    text = "Wren Compute update for August 2022. In the June quarter, Wren sold 161 bitcoin. Last month, Wren mined 63 bitcoin."
    assert figures(text, published="2022-09-08") == {
        ("2022Q2", "btc_sold"): "161",
        ("2022-08", "btc_produced"): "63",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Riot (NASDAQ : RIOT), une société de minage, a extrait 378 bitcoins en août 2024, contre 394 en juillet.",
            {("2024-08", "btc_produced"): "378", ("2024-07", "btc_produced"): "394"},
        ),
        (
            "La production quotidienne moyenne de bitcoins de la société a diminué en août 2024, passant de 12,94 en juillet à 12,43 en août.",
            {("2024-07", "avg_btc_per_day"): "12.94", ("2024-08", "avg_btc_per_day"): "12.43"},
        ),
        (
            "Riot gab bekannt, dass die Mining-Ausbeute im August 2024 228 BTC betrug und die Produktion im Juli 241 BTC.",
            {("2024-08", "btc_produced"): "228", ("2024-07", "btc_produced"): "241"},
        ),
        (
            "Riot reported growth for August 2024, with the month marking a new production high of 405 BTC.",
            {("2024-08", "btc_produced"): "405"},
        ),
    ],
)
def test_comparisons_and_daily_averages_in_other_languages(text: str, expected: dict[tuple[str, str], str]) -> None:
    assert figures(text, published="2024-09-05") == expected


def test_a_quarters_report_speaks_of_its_quarter_throughout() -> None:
    text = (
        "Wren Compute, a bitcoin miner, announced its results for the three months ended September 30, 2025.\n\n"
        "Third Quarter 2025 Highlights\n\nMining revenue hit a record of US$20.6 million, as the Company mined 187 bitcoins at an "
        "average revenue of US$110,160 per bitcoin.\n\nIts treasury expanded to 1,081.9 BTC by the end of the third quarter in 2025."
    )
    assert figures(text, published="2025-11-18") == {
        ("2025Q3", "btc_produced"): "187",
        ("2025Q3", "revenue_usd"): "20600000",
        ("2025Q3", "revenue_usd_per_btc"): "110160",
        ("2025-09", "btc_held_end"): "1081.9",
    }


def test_a_quarters_report_dates_no_month() -> None:
    text = (
        "Mining revenue reached $30.6 million, the treasury 1,610 BTC as of October-end 2025\n"
        "Heron Compute today announced its results for the three months ended September 30, 2025.\n"
        "The company's total self mining hash rate jumped 67% to 5.5 EH/s.\n"
    )
    got = figures(text, "2025-11-18")
    assert not [k for k in got if k[1] == "deployed_ehs"]
    assert got["2025-10", "btc_held_end"] == "1610"


def test_what_stands_at_a_quarters_end_stands_at_its_last_month() -> None:
    text = "Update for the second quarter ended June 30, 2025.\n- It earned 562.9 bitcoins in the second quarter.\n- Treasury holdings of bitcoin increased to 588.4."
    assert figures(text, "2025-07") == {("2025Q2", "btc_produced"): "562.9", ("2025-06", "btc_held_end"): "588.4"}


def test_an_announcement_of_a_day_dates_no_month() -> None:
    text = "Heron has acquired approximately 1,414 Bitcoin, bringing its total holdings to 3,865 Bitcoin as of October 24, 2025."
    got = figures(text, "2025-10-27")
    assert got["2025-10-24", "btc_held_end"] == "3865"
    assert not [k for k in got if len(k[0]) == 7]


def test_a_total_hashrate_beside_customers_coins_holds_their_machines() -> None:
    text = "In May 2025 it mined 447 bitcoins, while customers mined 128 bitcoins. It ran 219,000 miners with a total hash rate of 26.1 EH/s."
    got = figures(text)
    assert got["2025-05", "total_energized_ehs_incl_hosting"] == "26.1"
    assert ("2025-05", "deployed_ehs") not in got


def test_dollars_of_which_country_is_not_said() -> None:
    text = "In May 2025 it sold 171 bitcoin at an average price of C$38,934 generating $6.7M of cash."
    assert ("2025-05", "sale_proceeds_usd") not in figures(text)


def test_equivalents_in_the_month_before_are_no_coins() -> None:
    text = "It mined 196 Bitcoin in September 2023. This equates to approximately 203 of Bitcoin-equivalent production in September 2023 compared to approximately 235 in August 2023."
    got = figures(text)
    assert got["2023-09", "btc_produced"] == "196"
    assert ("2023-08", "btc_produced") not in got


def test_money_and_rates_on_a_day_are_no_coins_of_a_month() -> None:
    assert figures("In May 2025 it mined 10 BTC. Carrying value of Bitcoin sold (37,929).") == {
        ("2025-05", "btc_produced"): "10"
    }


def test_no_sale_stands_beside_the_sale_of_another_month() -> None:
    text = "The company did not sell any Bitcoin in December 2024, a shift from the 590 BTC sold in the same month last year."
    assert figures(text) == {("2024-12", "btc_sold"): "0", ("2023-12", "btc_sold"): "590"}


def test_the_networks_coins_and_single_purchases_are_no_months() -> None:
    text = "In May 2025 it mined 10 BTC, while the network generated only 900 Bitcoin that day.\n- May 12: Purchase of 512 BTC for $51 million."
    got = figures(text)
    assert got["2025-05", "btc_produced"] == "10"
    assert ("2025-05", "btc_purchased") not in got


def test_a_long_headline_in_capitals_is_split_at_once() -> None:
    line = "HERON REPORTS A RECORD OF ITS BITCOINS MINED IN ADDITION TO A GROWTH IN PRODUCTION AND A RESTATEMENT OF IT"
    begin = time.process_time()
    read(f"{line}!\n{line} 328% x\nIn May 2025 the company mined 41 BTC.", published=PUBLISHED)
    assert time.process_time() - begin < 1


def test_a_fiscal_quarter_is_no_calendar_quarter() -> None:
    text = "Heron Q3 FY2026 Update (quarter ended September 30, 2025)\nBitcoin mined: 171"
    assert not read_release(text, issuer="HRN", published="2025-10-03", source_kind="issuer").facts


def test_a_long_line_ends_where_its_paragraph_does() -> None:
    title = "Heron July 2025 Update\n"
    first = "- Heron commissioned its new containers at the campus in the north while it went on with all of the other works of the year"
    got = read_release(
        f"{title}{first}\nHeron mined 41 BTC in July 2025.", issuer="HRN", published="2025-08-05", source_kind="issuer"
    )
    assert [(f.field, str(f.value)) for f in got.facts] == [("btc_produced", "41")]
