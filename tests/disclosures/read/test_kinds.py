"""Kinds of text and of doubt that were met in releases never seen, each by a text of its own."""

# ruff: noqa: E501 - a printed line is one line

from __future__ import annotations

import pytest
from tests.disclosures.read.test_licences import SETS, facts, false_facts, lacks, load, update

TITLE = "Heron Mining Announces July 2025 Production\n"


def test_what_is_known_to_be_false_still_is_and_nothing_else() -> None:
    """Texts of the thirteenth set; one that is mended moves to its set, and the docs say one fewer."""
    known = load(SETS.parent / "still_false.jsonl")
    assert [e["id"] for e in known if false_facts([e])] == [e["id"] for e in known]
    assert len(known) == 50


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("1) Bitcoin mined in July: 47.8, versus 50.9 in June 2025.", {"2025-07": "47.8", "2025-06": "50.9"}),
        ("Heron Mining said today that it mined 47.8 BTC in July 2025.", {"2025-07": "47.8"}),
        ("July 2025 highlights (as of July 31, 2025)\n\nMetric   July 2025   June 2025\nBitcoin mined   40   38\n", {"2025-07": "40", "2025-06": "38"}),
    ],
)  # fmt: skip
def test_points_by_number_and_tables_under_a_caption_are_read(text: str, got: dict[str, str]) -> None:
    assert {p: v for (p, f), v in facts(update(text, title=TITLE)).items() if f == "btc_produced"} == got


def test_a_quarter_named_in_the_sentence_dates_its_figure_and_its_comparison() -> None:
    text = "Heron Mining produced 957 bitcoin during the first quarter of 2025, compared to 1,031 bitcoin in the first quarter of 2024."
    got = facts(update(text, title="Heron Mining Reports First Quarter 2025 Results\n", published="2025-05-08"))
    assert got == {("2025Q1", "btc_produced"): "957", ("2024Q1", "btc_produced"): "1031"}


def test_a_quarter_told_as_done_that_was_not_over_leaves_all_quarters_open() -> None:
    text = "Heron Mining produced 957 bitcoin during the second quarter of 2025. In the first quarter of 2025 it produced 800 bitcoin."
    reading = update(text, title="Heron Mining Reports Second Quarter 2025 Results\n", published="2025-05-08")
    assert not reading.facts
    assert lacks(reading) <= {"period", "window"}


def test_the_mark_of_a_note_that_ran_together_with_its_value_is_no_digit() -> None:
    table = (
        " July 2025 June 2025\nBitcoin sold 1003 60\nBitcoin held 450 510\n1 Unaudited. 2 Revised. 3 Sold on July 22.\n"
    )
    assert ("2025-07", "btc_sold") not in facts(update(table, title=TITLE))
    printed_elsewhere = table + "Heron sold 1003 BTC in July 2025.\n"
    assert facts(update(printed_elsewhere, title=TITLE))[("2025-07", "btc_sold")] == "1003"


def test_a_total_that_holds_customers_coins_is_for_a_person() -> None:
    table = "| Metric | July 2025 |\n| Total BTC production | 391 |\n| of which cloud mining for customers | 249 |\n"
    assert ("2025-07", "btc_produced") not in facts(update(table, title=TITLE))
    said = "| Metric | July 2025 |\n| Total BTC production | 391 |\nTotal BTC production includes coins of our hosting customers.\n"
    assert ("2025-07", "btc_produced") not in facts(update(said, title=TITLE))


def test_legal_words_do_not_disown_the_figures_over_them() -> None:
    legal = (
        "Forward-looking statements rest on expectations. They are for illustrative purposes and could prove incorrect."
    )
    assert facts(update(f"Heron mined 41 BTC in July 2025.\n\n{legal}", title=TITLE))
    table = "The figures in the table above are for illustrative purposes. Forward-looking statements follow."
    assert not facts(update(f"Heron mined 41 BTC in July 2025.\n\n{table}", title=TITLE))


@pytest.mark.parametrize(
    "text",
    [
        "In June and in July 2025 Heron mined 79 BTC.",
        "As of July 2025, Heron had mined 480 BTC.",
        "Heron ended July 2025 at a daily rate of 1.6 BTC.",
        "Osprey Hash rents a third of our yard. In July 2025 it mined 41 BTC and paid Heron a fee.",
        "Heron has agreed to buy Osprey Hash Ltd. (\"Osprey\"). Osprey mined 41 BTC in July 2025.",
        "| Metric | Customers |\n| Bitcoin mined | 41 |",
        "Top 10 Public Peers\nBitcoin mined: 41",
        "Budget, July 31, 2025\nBitcoin mined: 41",
    ],
)  # fmt: skip
def test_what_another_time_or_somebody_else_did_is_no_fact(text: str) -> None:
    assert not facts(update(text, title=TITLE))


def test_a_change_since_the_month_before_is_found_with_its_sign() -> None:
    for told, value in (
        ("down 8.8% from June", "-8.8"),
        ("+8.5% vs June 2025", "8.5"),
        ("an increase of 20% month over month", "20"),
    ):
        reading = update(f"Heron mined 41 BTC in July 2025, {told}.", title=TITLE)
        found = {c.fact.field: str(c.fact.value) for c in reading.candidates}
        assert found["btc_produced_mom_pct"] == value
    reading = update("Heron mined 41 BTC in July 2025, down 20% from July 2024.", title=TITLE)
    assert "btc_produced_mom_pct" not in {c.fact.field for c in reading.candidates}


@pytest.mark.parametrize("text", ["", " - | -- ", "|", "| --- | --- |", "\n\n- | -\n", "| |\n| |"])
def test_bars_and_rules_with_nothing_between_them_are_no_table(text: str) -> None:
    assert not facts(update(text, title=""))
    assert not facts(update(text, title=TITLE))
