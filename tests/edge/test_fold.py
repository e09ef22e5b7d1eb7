"""Readings folded into intervals: means over time, silence as None."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.edge.device import Reading
from tieline.edge.fold import MAX_CATCH_UP, IntervalFold

START = datetime(2026, 8, 20, 12, 0, tzinfo=UTC)


def fold(hold_s: float = 60, kind: str = "measured") -> IntervalFold:
    return IntervalFold("s", "s.u", kind, hold=timedelta(seconds=hold_s))  # type: ignore[arg-type]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_a_mean_is_over_time_and_not_over_readings() -> None:
    one = fold()
    for second in range(0, 50, 10):  # five quick readings of 100 W
        one.add(at(second), Reading(at=at(second), power_w=100.0))
    for second in range(50, 300, 50):  # five slow ones of 200 W
        one.add(at(second), Reading(at=at(second), power_w=200.0))
    (sample,) = one.add(at(300), None)
    assert sample.power_w == pytest.approx((50 * 100 + 250 * 200) / 300)
    assert sample.power_max_w == 200.0
    assert sample.at == START


def test_a_reading_holds_only_so_long() -> None:
    one = fold(hold_s=60)
    one.add(at(0), Reading(at=at(0), power_w=100.0, tokens_per_s=10.0))
    (sample,) = one.add(at(400), None)
    assert sample.power_w == 100.0
    assert sample.tokens == 600  # one minute's, not five
    (silent,) = one.add(at(600), None)
    assert (silent.readings, silent.power_w, silent.tokens) == (0, None, None)
    assert silent.last_heard == START


def test_a_silent_machine_makes_a_measured_sample_an_estimate() -> None:
    one = fold()
    one.add(at(0), Reading(at=at(0), power_w=100.0, silent_w=50.0, devices=3, devices_heard=2))
    (sample,) = one.add(at(300), None)
    assert (sample.kind, sample.power_w, sample.devices, sample.devices_heard) == ("estimated", 150.0, 3, 2)


def test_a_long_sleep_writes_a_bounded_number_of_samples() -> None:
    one = fold()
    one.add(at(0), Reading(at=at(0), power_w=1.0))
    assert len(one.add(at(90 * 86400), None)) == MAX_CATCH_UP


@given(st.lists(st.tuples(st.floats(0.5, 90), st.floats(0, 1e7)), min_size=1, max_size=60))
def test_energy_is_neither_lost_nor_invented(steps: list[tuple[float, float]]) -> None:
    one, now, watt_s, last_w, samples = fold(hold_s=1000), 0.0, 0.0, 0.0, []
    for seconds, power_w in steps:
        samples += one.add(at(now), Reading(at=at(now), power_w=power_w))
        last_w = power_w
        watt_s += power_w * seconds
        now += seconds
    end = 300 * (int(now) // 300 + 1)
    watt_s += last_w * (end - now)
    samples += one.add(at(end), None)
    told = sum(s.power_w * 300 for s in samples if s.power_w is not None)
    unheard = sum(300 for s in samples if s.power_w is None)
    assert unheard == 0 or any(s.readings == 0 for s in samples)
    if not unheard:
        assert told == pytest.approx(watt_s, rel=1e-6, abs=1)
