"""Units refuse to mix, time is UTC and aligned, formulas agree with hand computation."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.clock import Interval, SimClock, WallClock, from_micros, intervals, micros, parse_utc, utc, wall_now
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


@given(st.floats(-40, 60), st.floats(-40, 60))
def test_heat_never_helps(one: float, two: float) -> None:
    cool, hot = sorted((one, two))
    assert derate("air", hot) <= derate("air", cool)
    assert aux_share("air", hot) >= aux_share("air", cool)
    assert 0.0 <= derate("air", hot) <= 1.0


def test_rated_efficiency_of_known_rigs() -> None:
    assert RIG_MODELS["Antminer S21"].efficiency_j_th == pytest.approx(17.5)
    assert RIG_MODELS["Antminer S19j Pro"].efficiency_j_th == pytest.approx(29.5)
