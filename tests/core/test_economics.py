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


def test_what_each_kind_of_pool_credits_by_hand() -> None:
    # One EH/s, a day, difficulty 1e14: 8.64e22 / (1e14 x 2^32) = 0.2011656761 blocks of 3.125 BTC and 0.03 of fees.
    hashes, difficulty = Decimal(10**18 * 86_400), Decimal(10**14)
    fee = Decimal("0.02")
    fpps = economics.pay_per_share(hashes, difficulty, 312_500_000, 3_000_000, fee, fee)
    # 62,864,273.79 and 603,497.03 satoshi before the fee, 61,606,988 and 591,427 after it, each floored.
    assert (fpps.sats, fpps.tx_fees_sats, fpps.kept_sats) == (61_606_988 + 591_427, 591_427, 63_467_770 - 62_198_415)
    plus = economics.pay_per_share(hashes, difficulty, 312_500_000, 0, fee, fee)
    assert (plus.sats, plus.tx_fees_sats) == (61_606_988, 0)
    # PPS+: its fees of two blocks that were found, one's share of them a quarter, none kept of fees.
    fees = economics.pay_of_found([(0, 3_000_001), (0, 5_000_000)], Decimal("0.25"), fee, Decimal(0))
    assert (fees.sats, fees.tx_fees_sats, fees.kept_sats) == (2_000_000, 2_000_000, 0)
    # PPLNS: 1 % of a block's last shares; one's own pool: all of it.
    pplns = economics.pay_of_found([(312_500_000, 3_000_000)], Decimal("0.01"), fee)
    assert (pplns.sats, pplns.kept_sats) == (3_062_500 + 29_400, 3_155_000 - 3_091_900)
    own = economics.pay_of_found([(312_500_000, 3_000_000)], Decimal(1), Decimal(0))
    assert (own.sats, own.kept_sats) == (315_500_000, 0)
    assert economics.pay_of_found([], Decimal("0.01"), fee).sats == 0
    assert economics.pay_of_found([(312_500_000, 3_000_000)], Decimal(0), fee).sats == 0
    with pytest.raises(ValueError, match="share must be 0 to 1"):
        economics.pay_of_found([(1, 1)], Decimal("1.1"), fee)
    with pytest.raises(ValueError, match="difficulty must be above 0"):
        economics.pay_per_share(hashes, Decimal(0), 1, 1, fee, fee)


def test_luck_and_how_often_chance_alone_gives_it() -> None:
    few = economics.luck(1, 3.0)
    # Poisson of mean 3: e^-3 (1 + 3) = 0.19915; five or more: 1 - e^-3 (1 + 3 + 4.5 + 4.5 + 3.375) = 0.18474
    assert (few.ratio, few.chance) == (pytest.approx(1 / 3), pytest.approx(0.19915, abs=1e-5))
    assert economics.luck(5, 3.0).chance == pytest.approx(0.18474, abs=1e-5)
    # As many as expected are on the lucky side: three or more, 1 - e^-3 (1 + 3 + 4.5).
    assert economics.luck(3, 3.0).chance == pytest.approx(0.57681, abs=1e-5)
    assert economics.luck(0, 0.5).chance == pytest.approx(0.60653, abs=1e-5)  # e^-0.5
    assert economics.luck(0, 0.0).ratio is None
    assert economics.luck(0, 0.0).chance == 1.0
    assert economics.luck(1, 0.0).chance == 0.0
    assert 0 < economics.luck(4_000, 4_100.0).chance < 0.07
    with pytest.raises(ValueError, match="must not be negative"):
        economics.luck(-1, 1.0)


def test_a_block_can_be_spent_after_a_hundred_more() -> None:
    assert [economics.matures_in(920_000, tip) for tip in (920_000, 920_099, 920_100, 930_000)] == [100, 1, 0, 0]
