"""Units refuse to mix, time is UTC and aligned, formulas agree with hand computation."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline import economics
from tieline.clock import Interval, SimClock, WallClock, from_micros, intervals, micros, parse_utc, utc, wall_now
from tieline.economics import Epoch
from tieline.fleet import RIG_MODELS
from tieline.fleet.physics import aux_share, derate
from tieline.units import Efficiency, Energy, EnergyPrice, Hashrate, Power

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def test_quantities_refuse_to_mix() -> None:
    with pytest.raises(TypeError, match="Power \\+ Energy"):
        Power.mw(1) + Energy.mwh(1)  # type: ignore[operator]
    with pytest.raises(ValueError, match="finite"):
        Power(float("nan"))
    assert Power.mw(12.5).over(timedelta(hours=2)) == Energy.mwh(25)
    assert Energy.mwh(2).cost_usd(EnergyPrice.usd_per_mwh(-50)) == -100.0
    assert Hashrate.eh(1).power_at(Efficiency.j_per_th(17.5)) == Power.mw(17.5)
    assert str(Power.mw(12.5)) == "12.500 MW"


@given(st.datetimes(datetime(2009, 1, 3), datetime(2140, 1, 1)), st.sampled_from([60, 300, 900, 3600]))
def test_a_moment_lies_in_exactly_one_interval(moment: datetime, seconds: int) -> None:
    at = moment.replace(tzinfo=UTC)
    length = timedelta(seconds=seconds)
    inside = Interval.holding(at, length)
    assert at in inside
    assert at not in inside.next()
    assert micros(inside.start) % (seconds * 1_000_000) == 0
    assert from_micros(micros(at)) == at


def test_intervals_are_half_open() -> None:
    day = list(intervals(T0, T0 + timedelta(days=1)))
    assert len(day) == 288
    assert day[-1].end == T0 + timedelta(days=1)


def test_a_time_without_a_zone_is_refused_and_a_sim_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="no zone"):
        utc(datetime(2026, 1, 1))
    assert parse_utc("2026-01-01").tzinfo is UTC
    clock = SimClock(T0)
    with pytest.raises(ValueError, match="does not go back"):
        clock.set(T0 - timedelta(seconds=1))


def test_a_faster_clock_runs_faster_and_needs_its_anchors() -> None:
    wall = wall_now()
    fast = WallClock(3600.0, wall, T0)
    assert fast.now() - T0 < timedelta(hours=1)
    assert WallClock(3600.0, wall - timedelta(seconds=10), T0).now() - T0 >= timedelta(hours=10)
    with pytest.raises(ValueError, match="anchor"):
        WallClock(60.0)


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


@given(st.floats(-40, 60), st.floats(-40, 60))
def test_heat_never_helps(one: float, two: float) -> None:
    cool, hot = sorted((one, two))
    assert derate("air", hot) <= derate("air", cool)
    assert aux_share("air", hot) >= aux_share("air", cool)
    assert 0.0 <= derate("air", hot) <= 1.0


def test_rated_efficiency_of_known_rigs() -> None:
    assert RIG_MODELS["Antminer S21"].efficiency_j_th == pytest.approx(17.5)
    assert RIG_MODELS["Antminer S19j Pro"].efficiency_j_th == pytest.approx(29.5)
