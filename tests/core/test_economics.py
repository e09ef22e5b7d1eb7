"""The field's formulas, each against figures worked out by hand or published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tieline import economics
from tieline.economics import LEAST, Epoch
from tieline.units import Efficiency, EnergyPrice, Hashrate

T0 = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_hashprice_and_strike_by_hand() -> None:
    # One PH/s at difficulty 100 T: 1e15 x 86400 / (1e14 x 2^32) = 2.01166e-4 blocks a day x 3.125 BTC x 100,000 USD
    price = economics.hashprice(1e14, 3.125, 0.0, 100_000.0)
    assert price == pytest.approx(62.8643, rel=1e-5)
    assert economics.strike(50.0, Efficiency(17.5)).value == pytest.approx(50 / (0.024 * 17.5))
    assert economics.strike(50.0, Efficiency(17.5), pool_fee=0.015, aux=0.05).value == pytest.approx(
        50 * 0.985 / (0.024 * 17.5 * 1.05)
    )
    # At the strike, power costs what the hashes earn.
    strike = economics.strike(50.0, Efficiency(17.5))
    assert economics.hashcost(strike, Efficiency(17.5)) == pytest.approx(50.0)


def test_expected_btc_crosses_an_epoch_and_refuses_a_gap() -> None:
    day = timedelta(days=1)
    epochs = [Epoch(T0 - day, 1e14, 3.125), Epoch(T0 + day, 2e14, 3.125)]
    first = economics.expected_btc(Hashrate.eh(50), epochs, T0, T0 + day)
    both = economics.expected_btc(Hashrate.eh(50), epochs, T0, T0 + 2 * day)
    assert both == pytest.approx(first * 1.5)
    assert first == pytest.approx(50e18 * 86400 * 3.125 / (1e14 * 2**32))
    with pytest.raises(ValueError, match="covers"):
        economics.expected_btc(Hashrate.eh(50), epochs, T0 - 2 * day, T0)
    with pytest.raises(ValueError, match="difficulty"):
        economics.expected_btc(Hashrate.eh(50), [Epoch(T0, 0.0, 3.125)], T0, T0 + day)


def test_subsidy_halves_and_difficulty_one_is_its_own_definition() -> None:
    assert economics.subsidy_btc(0) == 50.0
    assert economics.subsidy_btc(209_999) == 50.0
    assert economics.subsidy_btc(840_000) == 3.125
    assert economics.difficulty_of_target(0xFFFF << 208) == 1.0
    assert economics.ltv(Decimal(50), Decimal(1), Decimal(100)) == Decimal("0.5")
    assert economics.ltv(Decimal(50), Decimal(0), Decimal(100)) is None


def test_hashprice_counts_fees_over_the_subsidy() -> None:
    bare = economics.hashprice(1e14, 3.125, 0.0, 100_000.0)
    assert bare == pytest.approx(62.8643, rel=1e-5)
    assert economics.hashprice(1e14, 3.125, 0.04, 100_000.0) == pytest.approx(bare * 1.04)


@pytest.mark.parametrize("value", [0.0, -1.0, LEAST])
def test_a_difficulty_or_an_efficiency_that_is_not_above_zero_is_refused_by_name(value: float) -> None:
    with pytest.raises(ValueError, match=r"^difficulty must be above 0, got .*; wait for a reading or give one$"):
        economics.hashprice(value, 3.125, 0.0, 100_000.0)
    with pytest.raises(ValueError, match=r"^difficulty must be above 0"):
        economics.network_hashrate(value)
    with pytest.raises(ValueError, match=r"^efficiency must be above 0"):
        economics.strike(50.0, Efficiency(value))
    with pytest.raises(ValueError, match=r"^difficulty must be above 0"):
        economics.expected_btc(Hashrate.eh(1), [Epoch(T0, value, 3.125)], T0, T0 + DAY)


def test_power_costs_a_hash_what_it_draws_with_auxiliary_load() -> None:
    # 17.5 J/TH is 17.5 kW a PH/s: 0.42 MWh a day, at 50 USD 21.00.
    assert economics.hashcost(EnergyPrice(50.0), Efficiency(17.5)) == pytest.approx(21.0)
    assert economics.hashcost(EnergyPrice(50.0), Efficiency(17.5), aux=0.1) == pytest.approx(23.1)


def test_expected_bitcoin_takes_each_epoch_for_as_long_as_it_lasts() -> None:
    rate = Hashrate.eh(50)
    a_day = 50e18 * 86_400 * 3.125 / (1e14 * 2**32)
    epochs = [Epoch(T0 - 9 * DAY, 5e13, 6.25), Epoch(T0, 1e14, 3.125), Epoch(T0 + 2 * DAY, 2e14, 3.125)]
    assert economics.expected_btc(rate, epochs, T0, T0 + DAY) == pytest.approx(a_day)
    assert economics.expected_btc(rate, epochs, T0 + DAY, T0 + 3 * DAY) == pytest.approx(1.5 * a_day)
    assert economics.expected_btc(rate, epochs, T0 - DAY, T0 + DAY) == pytest.approx(5 * a_day)
    assert economics.expected_btc(rate, epochs, T0, T0) == 0.0
    # An epoch in which no second lies may be unknown.
    later = [epochs[1], Epoch(T0 + 2 * DAY, 0.0, 3.125)]
    assert economics.expected_btc(rate, later, T0, T0 + 2 * DAY) == pytest.approx(2 * a_day)


def test_an_epoch_that_lasts_half_a_second_counts() -> None:
    half = timedelta(milliseconds=500)
    found = economics.expected_btc(Hashrate.eh(50), [Epoch(T0, 1e14, 3.125)], T0, T0 + half)
    assert found == pytest.approx(50e18 * 0.5 * 3.125 / (1e14 * 2**32))


def test_expected_bitcoin_needs_an_epoch_that_began_before() -> None:
    for epochs in ([], [Epoch(T0 + timedelta(seconds=1), 1e14, 3.125)]):
        with pytest.raises(ValueError, match="no difficulty epoch covers 2026-11-01T00:00:00"):
            economics.expected_btc(Hashrate.eh(1), epochs, T0, T0 + DAY)


def test_the_subsidy_is_floored_to_the_satoshi_and_ends() -> None:
    assert economics.subsidy_btc(210_000) == 25.0
    assert economics.subsidy_btc(209_999) == 50.0
    assert economics.subsidy_btc(10 * 210_000) == 0.04882812  # 4,882,812.5 satoshis
    assert economics.subsidy_btc(33 * 210_000) == 0.0
    with pytest.raises(ValueError, match="height must not be negative, got -1"):
        economics.subsidy_btc(-1)


def test_network_hashrate_is_that_of_144_blocks_a_day() -> None:
    # Difficulty 1 is 2^32 hashes every ten minutes.
    assert economics.network_hashrate(1.0).value == pytest.approx(2**32 / 600)
    assert economics.network_hashrate(1.0, 72).value == pytest.approx(2**32 / 1_200)
    assert economics.network_hashrate(1.0, 144, 2 * DAY).value == pytest.approx(2**32 / 1_200)


def test_difficulty_of_a_block_that_everybody_knows() -> None:
    # Block 32,256's bits 0x1d00d86a were the first above difficulty 1: 1.18289953.
    assert economics.difficulty_of_target(0xD86A << 208) == pytest.approx(1.18289953, rel=1e-8)
    assert economics.difficulty_of_target(1) == float(0xFFFF << 208)
    for target in (0, -5):
        with pytest.raises(ValueError, match=f"target must be positive, got {target}"):
            economics.difficulty_of_target(target)


def test_a_demand_charge_is_for_the_highest_hour_or_a_share_of_the_capacity() -> None:
    assert economics.demand_charge_usd(12_345_678.0, 20e6, 4.0) == Decimal("49382.71")
    assert economics.demand_charge_usd(12e6, 20e6, 4.0, 0.8) == Decimal("64000.00")
    assert economics.demand_charge_usd(17e6, 20e6, 4.0, 0.8) == Decimal("68000.00")
    assert economics.demand_charge_usd(0.0, 20e6, 4.0) == Decimal("0.00")


def test_loan_to_value_of_a_pledge() -> None:
    assert economics.ltv(Decimal(50), Decimal(2), Decimal(100)) == Decimal("0.25")
    assert economics.ltv(Decimal(50), Decimal(1), Decimal(0)) is None
    assert economics.ltv(Decimal("0.5"), Decimal(1), Decimal(1)) == Decimal("0.5")
