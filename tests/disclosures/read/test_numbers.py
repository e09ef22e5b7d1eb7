"""Numbers and periods as printed."""

from decimal import Decimal

import pytest

from tieline.disclosures.lexicon.numbers import quantities, style_of
from tieline.disclosures.lexicon.periods import as_heading, periods, resolve, shift


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("19,2113", "19211", None),
        ("205,7592", "205759", None),
        ("$38.8 million", "38800000", "USD"),
        ("($25.9m)", "25900000", "USD"),
        ("3.7c/kWh", "0.037", "USD/kWh"),
        ("US$0.046/kWh", "0.046", "USD/kWh"),
        ("639 PH/s", "0.639", "EH/s"),
        ("3.83 EH/second", "3.83", "EH/s"),
        ("21.5 EH/s3", "21.5", "EH/s"),
        ("16.07 joules per terahash (J/TH)", "16.07", "J/TH"),
        ("25 w/TH", "25", "J/TH"),
        ("4,451枚比特币", "4451", "BTC"),
        ("1.5万枚", "15000", "BTC"),
        ("75,000 mining rigs", "75000", "miners"),
        ("GBP 3.09 million", "3090000", "other money"),
        ("5.6-per-cent", "5.6", "%"),
    ],
)
def test_printed_quantities(text: str, value: str, unit: str | None) -> None:
    (q,) = quantities(text, 0, len(text))
    assert (q.value, q.unit) == (Decimal(value), unit)


def test_digits_in_names_are_no_quantities() -> None:
    assert quantities("CY2023 S19 H100 Q1", 0, 18) == []


def test_decimal_style_follows_the_evidence() -> None:
    assert style_of("wurden 1.234,5 BTC und 44,1 EH/s", "de") == "european"
    assert style_of("the hash rate was 44.1 EH/s and 1,234 BTC", "en") == "english"
    assert style_of("elle détient 1 250,8 BTC et 45,7", "fr") == "french"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Key Metrics Aug 25 Jul 25*", ["2025-08", "2025-07"]),
        ("MetricJuly 2023June 2023July 2022", ["2023-07", "2023-06", "2022-07"]),
        ("Aug-22 | Aug-21", ["2022-08", "2021-08"]),
        ("Third Qtr. 2024", ["2024Q3"]),
        ("three months ended June 30, 2024", ["2024Q2"]),
        ("One Month January 31, 2024", ["2024-01"]),
        ("2024年7月", ["2024-07"]),
        ("30 de junio de 2025", ["2025-06"]),
        ("we may sell", []),
    ],
)
def test_period_headings(text: str, keys: list[str]) -> None:
    assert [as_heading(p).key for p in periods(text)] == keys


def test_a_month_without_a_year_is_the_latest_one() -> None:
    (p,) = periods("in December")
    assert resolve(p, (2025, 3)).key == "2024-12"
    assert shift("2025-01", -1) == "2024-12"
