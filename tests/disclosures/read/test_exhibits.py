"""Releases of full length as a filing prints them: HTML with a dateline, headings, `$` cells, notes and legal text.

Names and figures are invented; the shapes are those of four listed miners.
"""

from __future__ import annotations

import time

import pytest

from tieline.disclosures.read import read

LEGAL = (
    "<p><b>Safe Harbor</b></p><p>Statements in this press release that are not statements of historical fact are "
    "forward-looking statements. Words such as anticipates, plans and expects identify them. Actual results could "
    "differ materially, as our annual report on Form 10-K for the year ended December 31, 2024 sets out.</p>"
    * 20
    + "<p><b>About Heron</b></p><p>Heron is a bitcoin miner with sites in Texas. It has 1,200 MW of capacity and 300 "
    "employees.</p><p>Investor Contact: Jane Roe 303-555-0100</p>"
)


def table(*rows: str) -> str:
    cells = ("".join(f"<td>{cell}</td>" for cell in row.split("|")) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def exhibit(title: str, *parts: str) -> str:
    return f"<html><body><p>EX-99.1</p><h1>{title}</h1>{''.join(parts)}{LEGAL}</body></html>"


WIDE = exhibit(
    "Heron Announces April 2025 Production and Operations Updates",
    "<p>CASTLE ROCK, Colo., May 5, 2025 (GLOBE NEWSWIRE) -- Heron Platforms, Inc. (NASDAQ: HRN) (“Heron”) announces "
    "unaudited production and operations updates for April 2025.</p>",
    table(
        "Metric|April 2025<sup>1</sup>|March 2025<sup>1</sup>|April 2024|Month/Month|Year/Year",
        "Bitcoin Produced|463|533|375|-13|%|23|%",
        "Bitcoin Held<sup>2</sup>|19,211|19,223|8,872|0%|117%",
        "Bitcoin Sold|475|-|-|N/A|N/A",
        "Bitcoin Sales - Net Proceeds|$|38.8 million|-|-|N/A|N/A",
        "Avg. Operating Hash Rate - Total<sup>4</sup>|29.3 EH/s|30.3 EH/s|8.8 EH/s|-3%|234%",
    ),
    "<p>2. Includes 1,900 restricted bitcoin as of April 30, 2025.</p>",
)
DATED = exhibit(
    "Heron Announces Bitcoin Production Updates for May 2025",
    "<p>Miami, FL, June 3, 2025 /PRNewswire/</p>",
    "<p>Heron Holdings, Inc. (NASDAQ: HRN) today published unaudited bitcoin production updates for May 2025.</p>",
    table(
        "Metric|5/31/2025|4/30/2025|% Δ", "Number of Blocks Won<sup>1</sup>|282|205|38%", "BTC Produced|950|705|35%",
        "Energized Hashrate (EH/s)<sup>1</sup>|58.3|57.3|2%",
    ),
    "<p>As of May 31, 2025, the Company holds a total of 49,179 BTC. Heron did not sell any BTC in May.</p>",
)  # fmt: skip
LISTED = exhibit(
    "Heron Releases June 2025 Bitcoin Mining Update",
    "<p>LAS VEGAS, July 3, 2025 /PRNewswire/ -- Heron, Inc. (Nasdaq: HRN) today released its unaudited update for the "
    "month ended June 30, 2025.</p><ul><li>Bitcoin produced in June: 685</li><li>CY2025 Bitcoin produced: 3,995</li>"
    "<li>Total bitcoin holdings as of June 30: 12,608</li><li>Bitcoin sold in June: 578.51</li></ul>"
    "<p>The Company sold 578.51 BTC in June 2025 at an average of approximately $105,860 per BTC.</p>",
)
BY_MONTH = exhibit(
    "Heron Provides July 2024 Production and Operations Update",
    "<p>Toronto, Ontario (August 1, 2024) - Heron Ltd. (NASDAQ/TSX: HRN) provides its monthly production report.</p>",
    table("Month|BTC Earned 2024|BTC Earned 2023", "January|357|486", "June|189|385", "July|253|378"),
)
EXPECTED = {
    ("wide", WIDE, "2025-05-05"): {
        "2025-04": {"btc_produced": 463, "btc_held_end": 19211, "btc_sold": 475, "sale_proceeds_usd": 38_800_000,
                    "avg_operating_ehs": 29.3},
        "2025-03": {"btc_produced": 533, "btc_held_end": 19223, "btc_sold": 0, "avg_operating_ehs": 30.3},
        "2024-04": {"btc_produced": 375, "btc_held_end": 8872, "btc_sold": 0, "avg_operating_ehs": 8.8},
    },
    ("dated", DATED, "2025-06-03"): {
        "2025-05": {"blocks_won": 282, "btc_produced": 950, "deployed_ehs": 58.3, "btc_held_end": 49179, "btc_sold": 0},
        "2025-04": {"blocks_won": 205, "btc_produced": 705, "deployed_ehs": 57.3},
    },
    ("listed", LISTED, "2025-07-03"): {
        "2025-06": {"btc_produced": 685, "ytd_btc": 3995, "btc_held_end": 12608, "btc_sold": 578.51,
                    "avg_sale_price_usd": 105_860},
    },
    ("by month", BY_MONTH, "2024-08-01"): {
        "2024-01": {"btc_produced": 357}, "2024-06": {"btc_produced": 189}, "2024-07": {"btc_produced": 253},
        "2023-01": {"btc_produced": 486}, "2023-06": {"btc_produced": 385}, "2023-07": {"btc_produced": 378},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "expected"), EXPECTED.items(), ids=lambda one: one[0] if isinstance(one, tuple) else ""
)
def test_an_exhibit_of_full_length_gives_its_figures_as_facts(
    told: tuple[str, str, str], expected: dict[str, dict[str, float]]
) -> None:
    _, source, published = told
    reading = read(source, issuer="HRN", published=published, source_kind="sec_exhibit")
    got: dict[str, dict[str, float]] = {}
    for fact in reading.facts:
        got.setdefault(fact.period, {})[fact.field] = float(fact.value)
    assert got == expected


def test_an_exhibit_of_full_length_is_read_in_fifty_milliseconds() -> None:
    took = []
    for _ in range(5):
        began = time.process_time()
        read(WIDE, issuer="HRN", published="2025-05-05", source_kind="sec_exhibit")
        took.append(time.process_time() - began)
    print(f"{len(WIDE):,} bytes of HTML read in {min(took) * 1000:.1f} ms of CPU")
    assert min(took) < 0.05


def grid(*rows: str) -> str:
    """A table as a filing lays it: cells between bars, `3:April` over three columns, `^2025` over two rows."""

    def cell(printed: str) -> str:
        wide, _, words = printed.rpartition(":") if printed[:1].isdigit() and ":" in printed else ("1", "", printed)
        high = 2 if words.startswith("^") else 1
        return f'<td colspan="{wide}" rowspan="{high}"><p>{words.lstrip("^")}</p></td>'

    return f"<table>{''.join('<tr>' + ''.join(map(cell, row.split('|'))) + '</tr>' for row in rows)}</table>"


MONTHS = "Metric|April 2025|March 2025"
GRIDS: dict[str, tuple[str, dict[str, dict[str, float]]]] = {
    "signs and brackets in cells of their own, between empty ones": (
        grid("||2:April 30, 2025|||2:March 31, 2025|", "Bitcoin produced|||463||||533|",
             "Bitcoin sold||(|475|)||(|20|)", "Net proceeds from bitcoin sold||$|38,800,000|||$|1,200,000|",
             "Change in hash rate|||1.2|%|||2|%"),
        {"2025-04": {"btc_produced": 463, "btc_sold": 475, "sale_proceeds_usd": 38_800_000},
         "2025-03": {"btc_produced": 533, "btc_sold": 20, "sale_proceeds_usd": 1_200_000}},
    ),
    "empty cells keep their places": (
        grid("Metric||April 2025||March 2025||April 2024", "Bitcoin produced||463||533||375", "Bitcoin sold||||20||31",
             "Bitcoin held||19,211||||"),
        {"2025-04": {"btc_produced": 463, "btc_held_end": 19211}, "2025-03": {"btc_produced": 533, "btc_sold": 20},
         "2024-04": {"btc_produced": 375, "btc_sold": 31}},
    ),
    "a head over three rows": (
        grid("|2:Month Ended", "|April 30,|March 31,", "|2025|2025", "Bitcoin produced|463|533"),
        {"2025-04": {"btc_produced": 463}, "2025-03": {"btc_produced": 533}},
    ),
    "the years over the months": (
        grid("^Metric|2:2025|2024", "April|March|April", "Bitcoin produced|463|533|375"),
        {"2025-04": {"btc_produced": 463}, "2025-03": {"btc_produced": 533}, "2024-04": {"btc_produced": 375}},
    ),
    "months beside a quarter": (
        grid("|2:Month Ended|Three Months Ended", "|April 30, 2025|March 31, 2025|March 31, 2025",
             "Bitcoin produced|463|533|1,500"),
        {"2025-04": {"btc_produced": 463}, "2025-03": {"btc_produced": 533}, "2025Q1": {"btc_produced": 1500}},
    ),
    "quarters alone": (
        grid("|2:Three Months Ended", "|March 31,|December 31,", "|2025|2024", "Bitcoin produced|1,463|1,533"),
        {"2025Q1": {"btc_produced": 1463}, "2024Q4": {"btc_produced": 1533}},
    ),
    "marks of notes": (
        grid("Metric|April 2025<sup>(1)</sup>|March 2025", "Bitcoin<br>produced<sup>2</sup>|463<sup>3</sup>|533",
             "Bitcoin held (3)|19,211 (4)|19,223 (4)"),
        {"2025-04": {"btc_produced": 463, "btc_held_end": 19211},
         "2025-03": {"btc_produced": 533, "btc_held_end": 19223}},
    ),
    "units in the labels": (
        grid(MONTHS, "Average operating hashrate (PH/s)|4,903|4,803", "Mining revenue (US$'000)|8,785|8,700"),
        {"2025-04": {"avg_operating_ehs": 4.903, "revenue_usd": 8_785_000},
         "2025-03": {"avg_operating_ehs": 4.803, "revenue_usd": 8_700_000}},
    ),
    "thousands of dollars said in the corner": (
        grid("($ in thousands)|April 2025|March 2025", "Mining revenue|$|8,785|$|8,700"),
        {"2025-04": {"revenue_usd": 8_785_000}, "2025-03": {"revenue_usd": 8_700_000}},
    ),
    "thousands of dollars said over the table prove no amount": (
        "<p>(dollars in thousands)</p>" + grid(MONTHS, "Mining revenue|$8,785|$8,700", "Bitcoin produced|463|533"),
        {"2025-04": {"btc_produced": 463}, "2025-03": {"btc_produced": 533}},
    ),
    "a caption and a group that name others, a hidden row, a note on a label that speaks of others": (
        "<table><caption>Made by hosted clients</caption><tr><td></td><td>April 2025</td><td>March 2025</td></tr>"
        "<tr><td>Bitcoin sold</td><td>96</td><td>91</td></tr></table><p>Heron</p>"
        + grid("|Metric|April 2025|March 2025", "^Heron|Bitcoin produced|463|533", "Bitcoin held<sup>1</sup>|700|640",
               "^Osprey JV|Bitcoin purchased|12|11", "Average operating hashrate|3 EH/s|3 EH/s")
        + "<table style='display:none'><tr></tr><tr hidden><td hidden>Blocks won</td><td>9</td></tr></table>"
        "<p><sup>1</sup> Includes coins of hosted clients.</p>",
        {"2025-04": {"btc_produced": 463}, "2025-03": {"btc_produced": 533}},
    ),
    "a table turned, its names over two columns each": (
        grid("Month||2:Bitcoin Produced||2:Bitcoin Sold", "April 2025|||463|||475", "March 2025|||533|||-"),
        {"2025-04": {"btc_produced": 463, "btc_sold": 475}, "2025-03": {"btc_produced": 533, "btc_sold": 0}},
    ),
    "changes with their signs apart": (
        grid("Metric|April 2025|March 2025|% Change", "Bitcoin produced|463|533|(13|%)",
             "Bitcoin held|19,211|19,223|-|%").replace("</table>", "<tr></tr></table>"),
        {"2025-04": {"btc_produced": 463, "btc_held_end": 19211},
         "2025-03": {"btc_produced": 533, "btc_held_end": 19223}},
    ),
    "sections, and a table that lays the page out": (
        f"<table><tr><td>{grid(MONTHS, '3:Bitcoin mining', 'Bitcoin produced|463|533')}<tr></tr></td></tr></table>",
        {"2025-04": {"btc_produced": 463}, "2025-03": {"btc_produced": 533}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_a_table_of_a_filing_is_read_as_its_grid(name: str) -> None:
    table, expected = GRIDS[name]
    title = "Heron Announces April 2025 Production and Operations Updates"
    dateline = "<p>CASTLE ROCK, Colo., May 5, 2025 (GLOBE NEWSWIRE) -- Heron Platforms, Inc. (NASDAQ: HRN)</p>"
    reading = read(exhibit(title, dateline, table), issuer="HRN", published="2025-05-05", source_kind="sec_exhibit")
    got: dict[str, dict[str, float]] = {}
    for fact in reading.facts:
        got.setdefault(fact.period, {})[fact.field] = float(fact.value)
    assert got == expected
