"""Bridges sum exactly to the printed change."""

import math
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.disclosures.comparison.explain import Bridge, NoBridge, bridge, sum_to
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.shipped import shipped

from .conftest import typed_claims


def test_every_bridge_of_the_first_day_sums_to_the_printed_change() -> None:
    book, found = shipped(), 0
    for issuer in book.issuers:
        for month in book.months(issuer):
            made = bridge(book, issuer, month)
            if isinstance(made, Bridge):
                assert sum((step.btc for step in made.steps), Decimal(0)) == made.change == made.after - made.before
                product = math.prod(step.after for step in made.steps) / math.prod(step.before for step in made.steps)
                assert product == pytest.approx(float(made.after / made.before), rel=1e-9)
                found += 1
    assert found >= 45


def test_why_did_output_fall_in_november() -> None:
    """Cango, November 2025: a day less, machines off, and difficulty; nothing is left for luck."""
    made = bridge(shipped(), "CANG", "2025-11")
    assert isinstance(made, Bridge)
    steps = {step.name: step.btc for step in made.steps}
    assert made.change == Decimal("-55.9")
    assert steps["deployed hashrate"] == 0
    assert steps["days"] == Decimal("-18.8")
    assert steps["operating share"] == Decimal("-21.7")
    assert steps["difficulty"] == Decimal("-15.5")
    assert steps["fees and luck"] == Decimal("0.1")


def test_the_halving_has_its_own_step() -> None:
    made = bridge(shipped(), "RIOT", "2024-05")
    assert isinstance(made, Bridge)
    steps = {step.name: step for step in made.steps}
    assert steps["subsidy"].btc < -100
    assert steps["subsidy"].after == pytest.approx(3.125)


def test_what_was_not_printed_is_one_step_with_the_rest(book_of: Callable[..., ClaimBook]) -> None:
    book = book_of("X", {"2025-02": {"btc_produced": 100}, "2025-03": {"btc_produced": 120}})
    made = bridge(book, "X", "2025-03")
    assert isinstance(made, Bridge)
    assert [step.name for step in made.steps] == ["days", "difficulty", "hashrate, fees and luck"]


@pytest.mark.parametrize(
    ("month", "why"), [("2025-01", "2024-12"), ("2025-03", "nothing"), ("2025", "no month"), ("2025-09", "2025-08")]
)
def test_no_bridge_says_why(book_of: Callable[..., ClaimBook], month: str, why: str) -> None:
    facts = {"2025-01": {"btc_produced": 100}, "2025-02": {"btc_produced": 0}, "2025-03": {"btc_produced": 9}}
    made = bridge(book_of("X", facts), "X", month)
    assert isinstance(made, NoBridge)
    assert why in made.reason


def test_a_month_from_its_quarter_is_marked_computed() -> None:
    made = bridge(shipped(), "CANG", "2026-03")
    assert isinstance(made, Bridge)
    assert made.computed
    assert made.after == Decimal("314.82")


RATE = st.decimals(min_value=Decimal("0.01"), max_value=Decimal(100), places=2)
COINS = st.decimals(min_value=Decimal("0.01"), max_value=Decimal(10_000), places=2)


@given(COINS, COINS, RATE, RATE, RATE, RATE)
def test_random_months_sum_exactly(
    old: Decimal, new: Decimal, rate_old: Decimal, rate_new: Decimal, on_old: Decimal, on_new: Decimal
) -> None:
    facts = {
        "2024-04": {"btc_produced": old, "deployed_ehs": rate_old, "avg_operating_ehs": on_old},
        "2024-05": {"btc_produced": new, "deployed_ehs": rate_new, "avg_operating_ehs": on_new},
    }
    made = bridge(ClaimBook(typed_claims("X", facts)), "X", "2024-05")
    assert isinstance(made, Bridge)
    assert sum((step.btc for step in made.steps), Decimal(0)) == new - old


def test_what_floats_lose_of_many_digits_goes_around_the_parts() -> None:
    total = Decimal("999999999999999.123456789012")
    parts = sum_to([3e14, 3e14, 3.99e14], total, 12)
    assert sum(parts) == total


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8), st.integers(0, 3))
def test_rounding_moves_no_part_by_more_than_a_unit(parts: list[float], digits: int) -> None:
    total = Decimal(repr(sum(parts))).quantize(Decimal(1).scaleb(-digits))
    rounded = sum_to(parts, total, digits)
    assert sum(rounded, Decimal(0)) == total
    for exact, part in zip(parts, rounded, strict=True):
        assert abs(part - Decimal(repr(exact))) <= Decimal(1).scaleb(-digits) * 2
