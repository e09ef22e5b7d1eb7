"""Each shape a table survives in, with figures made up for it."""

# ruff: noqa: E501 - a printed line is one line

import re
from decimal import Decimal

import pytest
from tests.disclosures.read.reading import read

from tieline.disclosures.read import read as read_release
from tieline.disclosures.tables.joined_cells import CutRow, solve


def figures(text: str, published: str | None = None, issuer: str | None = None) -> dict[tuple[str, str], Decimal]:
    reading = read(text, published=published, issuer=issuer)
    assert reading.refused is None, reading.refused
    return {(f.period, f.field): f.value for f in reading.facts if f.scope is None}


def expect(got: dict[tuple[str, str], Decimal], period: str, **fields: str) -> None:
    for name, value in fields.items():
        assert got.pop((period, name), None) == Decimal(value), (period, name)


def test_one_value_per_line_with_footnotes_and_changes() -> None:
    text = """Metric
June 2025 1
May 2025 1
Month/Month
Bitcoin Produced
450
463
-3 %
Bitcoin Held 2
19,2733
19,225
0 %
Bitcoin Sold
397
-
N/A
Net Proceeds of Bitcoin Sales
$41.7 million
-
N/A
Deployed Hash Rate - Total 2
35.4 EH/s
33.9 EH/s
4 %
All-in Power Cost - Total 7
3.4c/kWh
3.8c/kWh
-11 %
"""
    got = figures(text)
    expect(got, "2025-06", btc_produced="450", btc_held_end="19273", btc_sold="397", deployed_ehs="35.4")
    expect(got, "2025-06", sale_proceeds_usd="41700000", power_cost_usd_per_kwh="0.034")
    expect(got, "2025-05", btc_produced="463", btc_held_end="19225", btc_sold="0", deployed_ehs="33.9")
    expect(got, "2025-05", power_cost_usd_per_kwh="0.038")
    assert got == {}


def test_barred_cells_one_per_line_with_labels_broken_in_two() -> None:
    text = "|\nMetric\n|\nMarch\n2024\n|\nFebruary 2024 1\n|\n|\nBitcoin\nProduced 2\n|\n425\n|\n418\n|\n|\nHash Rate Deployed\n|\n12.4\nEH/s\n|\n12.4\nEH/s\n|\n"
    got = figures(text)
    expect(got, "2024-03", btc_produced="425", deployed_ehs="12.4")
    expect(got, "2024-02", btc_produced="418", deployed_ehs="12.4")
    assert got == {}


def test_html_table_with_superscripts_and_split_currency_cells() -> None:
    text = """<html><body><h1>Example Corp Announces August 2025 Production</h1><table>
    <tr><th>Metric</th><th>August 2025<sup>1</sup></th><th></th><th>July 2025</th></tr>
    <tr><td>Bitcoin<br>produced</td><td>663.7</td><td></td><td>650.5</td></tr>
    <tr><td>Bitcoin held<sup>2</sup></td><td>5,193.4<sup>3</sup></td><td></td><td>4,529.7</td></tr>
    <tr><td>Average operating hashrate</td><td>43.74 EH/s</td><td></td><td>40.91 EH/s</td></tr>
    </table></body></html>"""
    got = figures(text)
    expect(got, "2025-08", btc_produced="663.7", btc_held_end="5193.4", avg_operating_ehs="43.74")
    expect(got, "2025-07", btc_produced="650.5", btc_held_end="4529.7", avg_operating_ehs="40.91")
    assert got == {}


def test_transposed_table() -> None:
    text = """Month | BTC Produced | BTC Sold | BTC Held | Average Operating Hashrate (PH/s)
May 2025 | 49.9 | (20.0) | 340.4 | 905
June 2025 | 47.1 | - | 387.5 | 913
"""
    got = figures(text)
    expect(got, "2025-05", btc_produced="49.9", btc_sold="20.0", btc_held_end="340.4", avg_operating_ehs="0.905")
    expect(got, "2025-06", btc_produced="47.1", btc_sold="0", btc_held_end="387.5", avg_operating_ehs="0.913")
    assert got == {}


def test_two_columns_without_a_heading_take_the_month_of_the_title() -> None:
    text = """Example Mining: Operational Update for March 2025
Bitcoin mined | 101.3
Average selling price per bitcoin | $84,000
Fleet efficiency | 19.5 J/TH
Installed hashrate | 5.2 EH/s
"""
    got = figures(text)
    expect(got, "2025-03", btc_produced="101.3", avg_sale_price_usd="84000", efficiency_j_th="19.5", deployed_ehs="5.2")
    assert got == {}


def test_label_and_value_with_the_prior_month_in_brackets() -> None:
    got = figures(
        "Bitcoin Mined:\n 28 BTC (vs 30 BTC in Apr 2025)\nBitcoin Holdings: 341 BTC (vs 351 BTC in Apr 2025)\n",
        "2025-06-04",
    )
    expect(got, "2025-05", btc_produced="28", btc_held_end="341")
    expect(got, "2025-04", btc_produced="30", btc_held_end="351")
    assert got == {}


def test_quarter_column_stays_a_quarter_and_a_span_is_left_out() -> None:
    text = "Metric | June 2024 | May 2024 | Second Qtr. 2024 | Six Months June 30, 2024\nBitcoin mined | 5.4 | 14.0 | 44.1 | 130.5\n"
    got = figures(text)
    expect(got, "2024-06", btc_produced="5.4")
    expect(got, "2024-05", btc_produced="14.0")
    expect(got, "2024Q2", btc_produced="44.1")
    assert got == {}


def test_a_sparse_row_is_not_read() -> None:
    text = "Metrics May 2024 June 2024 July 2024\nBitcoin Mined 14.0 5.4 6.1\nBitcoin Sold 6.0 8.0\n"
    reading = read(text)
    assert {f.field for f in reading.facts} == {"btc_produced"}
    assert any("Bitcoin Sold" in n for n in reading.notes)


def test_a_table_cut_in_half_keeps_its_whole_rows() -> None:
    text = "Metric | June 2025 | May 2025 | June 2024\nBitcoin Produced | 450 | 463 | 255\nBitcoin Held | 19,273 | 19,2"
    reading = read(text)
    assert {f.field for f in reading.facts} == {"btc_produced"}
    assert any("Bitcoin Held" in n for n in reading.notes)


def test_sites_have_a_scope_and_their_total_has_none() -> None:
    text = "Metric | July 2024 | June 2024\nAvg. Operating Hash Rate - Westfield | 9.6 EH/s | 7.7 EH/s\nAvg. Operating Hash Rate - Total | 15.5 EH/s | 11.4 EH/s\n"
    scopes = {(f.period, f.scope): f.value for f in read(text).facts}
    assert scopes[("2024-07", "Westfield")] == Decimal("9.6")
    assert scopes[("2024-07", None)] == Decimal("15.5")


def test_sites_make_no_total_that_is_not_printed() -> None:
    table = "Key Metrics | April 2024 | March 2024 |\nBitcoin Self-Mined Lakeside | 269 | 290 |\nBitcoin Self-Mined Ridgeway2 | 79 | 89 |\n"
    alone = read(table)
    assert not [f for f in alone.facts if f.scope is None]
    proven = read("- Self-mined 348 bitcoin in April.\n" + table, published="2024-05-02")
    totals = {f.period: (f.value, f.method) for f in proven.facts if f.scope is None}
    assert totals == {"2024-04": (Decimal(348), "rule")}


def test_restated_cell_is_marked() -> None:
    text = "Key Metrics Aug 25 Jul 25*\nBitcoin mined4 668 BTC 728 BTC\nNet electricity cost per Bitcoin mined2 ($38,791) ($32,266)*\n*Restatement of July 2025 cost reflects an invoice received later.\n"
    facts = {(f.period, f.field): f for f in read(text).facts}
    assert facts[("2025-07", "energy_cost_usd_per_btc")].restated
    assert facts[("2025-07", "energy_cost_usd_per_btc")].value == Decimal(32266)
    assert not facts[("2025-08", "energy_cost_usd_per_btc")].restated
    assert not facts[("2025-07", "btc_produced")].restated


def test_ai_revenue_is_no_mining_revenue() -> None:
    text = "Key Metrics Aug 25 Jul 25\nBitcoin Mining\nRevenue $76.7m $83.6m\nAI Cloud\nRevenue $2.4m $2.3m\n"
    got = figures(text)
    expect(got, "2025-08", revenue_usd="76700000")
    expect(got, "2025-07", revenue_usd="83600000")
    assert got == {}


def test_managed_and_potential_hashrate_are_kept_apart() -> None:
    text = "Metric | December 2023 | November 2023\nTotal hashrate under management | 21.5 EH/s | 21.6 EH/s\nDeployed hashrate6 | 7.2 EH/s | 7.3 EH/s\nPotential Hash Rate at Month End (PH/s) | 639 | 615\nMiners In-Transit at Month End | 370 | 402\n"
    got = figures(text)
    expect(got, "2023-12", managed_ehs="21.5", deployed_ehs="7.2", potential_phs="639")
    expect(got, "2023-11", managed_ehs="21.6", deployed_ehs="7.3", potential_phs="615")
    assert got == {}


def test_a_table_of_companies_gives_nobody_a_figure() -> None:
    text = "August 2025 miner production\nCompany | BTC Produced | BTC Held | Deployed Hashrate (EH/s)\nRiot | 477 | 19,309 | 36.4\nBitdeer | 375 | 1,934 | 30.0\nOther | 12 | 13 | 1.0\n"
    assert read(text, published="2025-09-08").facts == ()


def test_json_that_wraps_escaped_html() -> None:
    text = '"content":{"rendered":"<div>\\n<p>SINGAPORE, June 12, 2026 (GLOBE NEWSWIRE) metrics for May 2026.<\\/p>\\n<p>Our self-owned hashrate held at 3.1 EH\\/s.<\\/p>'
    got = figures(text)
    expect(got, "2026-05", self_owned_ehs="3.1")
    assert got == {}


@pytest.mark.parametrize(
    ("row", "values"),
    [
        ("Bitcoin Produced410460318 -11%29%", ["410", "460", "318"]),
        ("Bitcoin Held17,2757,2656,696 0%9%", ["7275", "7265", "6696"]),
        ("Average Bitcoin Produced per Day13.215.310.2 -14%29%", ["13.2", "15.3", "10.2"]),
        ("Deployed Hash Rate110.7 EH/s210.7 EH/s24.2 EH/s 0%157%", ["10.7", "10.7", "4.2"]),
        ("Average Net Price per Bitcoin Sold$30,293$26,456$20,262 15%50%", ["30293", "26456", "20262"]),
        ("Average Bitcoin Produced per Day12.110.811.812%2%", ["12.1", "10.8", "11.8"]),
        ("Power Credits3,5$6.4 million6$8.4 million$9.4 million -24%-32%", ["6.4", "8.4", "9.4"]),
    ],
)
def test_glued_cells_are_cut_where_the_percentages_agree(row: str, values: list[str]) -> None:
    solved = solve(row, 3)
    assert isinstance(solved, CutRow)
    assert [re.sub(r"[^\d.]", "", row[slice(*cell)]) for cell in solved.cells] == values


def test_glued_cells_without_a_proof_are_refused() -> None:
    assert solve("Bitcoin Produced410460318", 3) is None
    assert isinstance(solve("Bitcoin Produced410460318 -50%90%", 3), str)


def test_the_rule_under_a_typed_heading_is_no_row_of_dashes() -> None:
    text = (
        "Ridge Digital July 2024 production\n\n| Metric | July 2024 | June 2024 |\n|---|---:|:---:|\n"
        "| Bitcoin Produced | 322 | 370 |\n| Bitcoin Held | 10,019 | 9,704 |\n"
    )
    facts = read(text).facts
    assert {(f.field, f.period, f.printed) for f in facts} == {
        ("btc_produced", "2024-07", "322"),
        ("btc_produced", "2024-06", "370"),
        ("btc_held_end", "2024-07", "10,019"),
        ("btc_held_end", "2024-06", "9,704"),
    }
    assert all(f.quote.startswith("Bitcoin") for f in facts)


def test_footnote_digits_behind_values_with_units() -> None:
    rows = """Ridge Digital Announces November 2023 Production
Metric November 2023 October 2023 November 2022 Month/Month Year/Year
Bitcoin Produced 452 358 421 26% 7%
Deployed Hash Rate1 11.4 EH/s 10.7 EH/s2 6.7 EH/s 7% 70%
Power Credits3 $0.3 million5 $1.1 million5 $0.2 million -73% 50%
"""
    lines = """Ridge Digital Announces November 2023 Production
Metric
November 2023
October 2023
November 2022
Month/Month
Year/Year
Bitcoin Produced
452
358
421
26%
7%
Deployed Hash Rate1
11.4 EH/s
10.7 EH/s 2
6.7 EH/s
7%
70%
Deployed Miners1
92,944
86,674 2
52,428
7%
77%
Power Credits3
$0.3 million 5
$1.1 million 5
$0.2 million
-73%
50%
"""
    for text in (rows, lines):
        got = figures(text)
        expect(got, "2023-11", btc_produced="452", deployed_ehs="11.4", power_credits_usd="300000")
        expect(got, "2023-10", btc_produced="358", deployed_ehs="10.7", power_credits_usd="1100000")
        expect(got, "2022-11", btc_produced="421", deployed_ehs="6.7", power_credits_usd="200000")
        if text is lines:
            expect(got, "2023-11", deployed_miners="92944")
            expect(got, "2023-10", deployed_miners="86674")
            expect(got, "2022-11", deployed_miners="52428")
        assert got == {}


def test_the_mark_of_the_first_note_is_no_value_of_the_last_row() -> None:
    text = """|
Metric
|December 2023
|November 2023
|
Bitcoin Sold
|1,111
|911
|
Average Fleet Efficiency (J/TH)5
|26.94
|27.77
|1
|
Bitcoin sold represents coins sold from the treasury of the company in the month
"""
    got = figures(text)
    expect(got, "2023-12", btc_sold="1111", efficiency_j_th="26.94")
    expect(got, "2023-11", btc_sold="911", efficiency_j_th="27.77")
    assert got == {}


def test_a_total_under_management_outranks_a_segments_row_of_that_name() -> None:
    text = """Ridge Digital operations update for December 2023
December 2023 November 2023
Total hashrate under management 20.5 EH/s 20.6 EH/s
Deployed hashrate 6.2 EH/s 6.3 EH/s
Bitcoin produced 353 BTC 290 BTC
Managed Services
Hashrate under management 16.9 EH/s 16.9 EH/s
"""
    got = figures(text)
    expect(got, "2023-12", managed_ehs="20.5", deployed_ehs="6.2", btc_produced="353")
    expect(got, "2023-11", managed_ehs="20.6", deployed_ehs="6.3", btc_produced="290")
    assert got == {}


def test_a_head_of_dates_may_fill_several_lines_each() -> None:
    text = """Metrics * One Month
July 31,
2024
 One Month
June 30,
2025

 One Month
July 31,
2025

Bitcoin Mined, net 36.9  6.6  7.3
Bitcoin Sold (55.0) -  (9.0)
Bitcoin Holdings at Month End 72.0  142.3  140.5
"""
    got = figures(text)
    expect(got, "2025-07", btc_produced="7.3", btc_sold="9.0", btc_held_end="140.5")
    expect(got, "2025-06", btc_produced="6.6", btc_sold="0", btc_held_end="142.3")
    expect(got, "2024-07", btc_produced="36.9", btc_sold="55.0", btc_held_end="72.0")
    assert got == {}
    assert read(text.replace("One Month", "Three Months")).facts == ()


ONE_LINE = (
    "Heron Mining July 2025 Production Update\n\nComparison (%) Metric July 2025 June 2025 July 2024 Month/Month Year/Year "
    "Bitcoin Produced 41 40 36 3% 14% Bitcoin Held 1 300 280 201 7% 49% Deployed Hash Rate 1 3.9 EH/s 2 3.8 EH/s 2 "
    "2.9 EH/s 3% 34% Bitcoin Sales - Net Proceeds $1.4 million $1.3 million $0.9 million 8% 56% 1. As of month end. "
    "2. Exahash per second."
)


def test_a_table_printed_as_one_line_is_set_out_again() -> None:
    got = {
        (f.period, f.field): str(f.value)
        for f in read_release(ONE_LINE, issuer="HRN", published="2025-08-05", source_kind="issuer").facts
    }
    assert got == {
        **{("2025-07", f): v for f, v in zip(OF_ROWS, ("41", "300", "3.9", "1400000"), strict=True)},
        **{("2025-06", f): v for f, v in zip(OF_ROWS, ("40", "280", "3.8", "1300000"), strict=True)},
        **{("2024-07", f): v for f, v in zip(OF_ROWS, ("36", "201", "2.9", "900000"), strict=True)},
    }


OF_ROWS = ("btc_produced", "btc_held_end", "deployed_ehs", "sale_proceeds_usd")


@pytest.mark.parametrize("row", ["4 5 6 7 3% 14%", "41 40 3% 14%", "41 40 39 36 3% 14%"])
def test_a_row_of_such_a_line_whose_cells_fit_two_ways_is_left(row: str) -> None:
    text = ONE_LINE.replace("41 40 36 3% 14%", row)
    assert not [
        f
        for f in read_release(text, issuer="HRN", published="2025-08-05", source_kind="issuer").facts
        if f.field == "btc_produced"
    ]


def test_cells_of_one_kind_that_ran_together_are_candidates_and_no_facts() -> None:
    text = (
        "Heron Mining July 2025 Production Update\n\nUptime was 83%.\n\nMetricsJul 2024Jun 2025Jul 2025\n"
        "Bitcoin Mined10.963.669.2\nBitcoin Sold4.1 49.974.3\nDeployed Miners~1,000~12,450~12,450\n"
    )
    reading = read_release(text, issuer="HRN", published="2025-08-05", source_kind="issuer")
    assert {(f.period, f.field): str(f.value) for f in reading.facts} == {
        ("2024-07", "deployed_miners"): "1000",
        ("2025-06", "deployed_miners"): "12450",
        ("2025-07", "deployed_miners"): "12450",
    }
    got = {(c.fact.period, c.fact.field): (str(c.fact.value), c.missing) for c in reading.candidates}
    assert got == {
        (period, field): (value, ("token",))
        for field, values in (("btc_produced", ("10.9", "63.6", "69.2")), ("btc_sold", ("4.1", "49.9", "74.3")))
        for period, value in zip(("2024-07", "2025-06", "2025-07"), values, strict=True)
    }


@pytest.mark.parametrize("row", ["Bitcoin Mined10.963.6", "Bitcoin Mined1,0963,669", "Bitcoin Mined10.9 x63.669.2"])
def test_cells_that_could_be_cut_two_ways_are_left(row: str) -> None:
    assert not isinstance(solve(row, 3), CutRow)
