"""Tables that lost their spaces, and companies told apart: figures and names are made up."""

# ruff: noqa: E501 - a printed line is one line

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.disclosures.read.reading import read

from tieline.disclosures.documents.unglue import unglue


def test_a_one_column_run_is_cut_into_lines() -> None:
    run = "Key MetricsJanuary 2024*BTC Mined412Power Sales Equivalent BTC18BTC Sold34BTC Held1,132Deployed Mining Rigs70,000"
    lines = [line.strip() for line in unglue(run).split("\n") if line.strip()]
    assert lines[-10:] == [
        "BTC Mined", "412", "Power Sales Equivalent BTC", "18", "BTC Sold", "34", "BTC Held", "1,132",
        "Deployed Mining Rigs", "70,000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "The S19kPro and M50SPlus and T21Hydro machines of January 2024 run beside other machines at the same site.",
        "January 2024December 2023BTC Mined412398BTC Sold3432BTC Held1,1321,104 and so the columns run into each other",
    ],
)
def test_a_model_number_and_two_columns_stay_as_they_are(line: str) -> None:
    assert unglue(line) == line


@given(st.text(max_size=300))
def test_nothing_but_line_breaks_is_added(text: str) -> None:
    assert "".join(unglue(text).split()) == "".join(text.split())


def test_a_ticker_in_brackets_is_the_companys_other_name() -> None:
    text = (
        "Core Scientific (CORZQ) and Cipher Mining (CIFR) rose.\nArgo Blockchain (ARBK)\n"
        "Argo Blockchain mined 136 Bitcoin during September 2023."
    )
    facts = {(f.issuer, f.period, f.field): f.value for f in read(text, issuer="ARBK").facts}
    assert facts == {("ARBK", "2023-09", "btc_produced"): Decimal(136)}


def test_a_company_that_is_not_listed_keeps_its_figures_in_a_numbered_roundup() -> None:
    text = (
        "Bitcoin miners in September 2024\n1. Heron Compute (HRNC):\n- Produced 702 BTC.\n- Did not sell any of its holdings, "
        "which now total 21,842 BTC.\n2. Riot Platforms (RIOT):\n- Mined 402 BTC.\n- Holds 9,427 BTC in total.\n"
    )
    by_issuer = {(f.issuer, f.field): f.value for f in read(text, published="2024-10-14").facts}
    assert by_issuer == {
        ("HRNC", "btc_produced"): 702,
        ("HRNC", "btc_sold"): 0,
        ("HRNC", "btc_held_end"): 21842,
        ("RIOT", "btc_produced"): 402,
        ("RIOT", "btc_held_end"): 9427,
    }


def test_korean_verbs_stand_behind_their_figures_and_a_comparison_is_no_production() -> None:
    text = (
        "라이엇 플랫폼스는 8월에 총 417 BTC를 채굴하였다고 밝혔으며, 이는 지난해 같은 기간의 322 BTC 대비 증가한 수치이다. "
        "회사는 이 중 390 BTC를 매도하였다."
    )
    facts = {(f.period, f.field): f.value for f in read(text, issuer="RIOT", published="2025-09-05").facts}
    assert (facts["2025-08", "btc_produced"], facts["2025-08", "btc_sold"]) == (417, 390)


def test_last_years_month_told_before_the_month() -> None:
    text = "라이엇 플랫폼스는 2025년 8월에 417 BTC를 채굴하였다. 라이엇은 지난해 8월 322 BTC를 채굴하였다."
    facts = {(f.period, f.field): f.value for f in read(text, issuer="RIOT", published="2025-09-05").facts}
    assert facts == {("2025-08", "btc_produced"): 417, ("2024-08", "btc_produced"): 322}
