"""What users may ask: last week's hours at today's level, with the spread the last week had."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline.dispatch.inputs.demand import asked_paths

WEEK = 100.0 + 50.0 * np.sin(np.arange(672) / 96 * 2 * np.pi)


def test_a_week_that_repeats_is_known():
    values = np.tile(WEEK, 4)
    wanted = np.arange(2 * 672, 2 * 672 + 192)
    found = asked_paths(values[: 2 * 672], 2 * 672, wanted, 20)
    assert np.allclose(found, values[wanted][:, None])


def test_a_surge_raises_the_next_hours_and_fades():
    values = np.tile(WEEK, 3)
    values[-1] *= 1.5
    found = asked_paths(values, len(values), len(values) + np.arange(192), 1)[:, 0]
    plain = np.tile(WEEK, 1)[:192]
    assert found[0] / plain[0] > 1.45
    assert abs(found[-1] / plain[-1] - 1.0) < 0.01


def test_a_week_of_surprises_widens_the_scenarios():
    rng = np.random.default_rng(1)
    values = np.tile(WEEK, 4) * np.exp(rng.normal(0, 0.2, 4 * 672))
    found = asked_paths(values, len(values), len(values) + np.arange(96), 20)
    assert (np.diff(found, axis=1) >= -1e-9).all()
    assert 1.2 < (found[-1, -1] / found[-1, 10]) < 2.5


def test_little_history_is_still_a_history():
    assert asked_paths(np.full(100, np.nan), 100, np.arange(100, 104), 5) is None
    found = asked_paths(np.r_[np.full(50, np.nan), 7.0], 51, np.arange(51, 55), 5)
    assert (found == 7.0).all()


@settings(max_examples=60, deadline=None)
@given(known=st.integers(1, 2000), fresh=st.floats(0, 1e6), wide=st.integers(1, 20))
def test_nothing_is_read_before_it_is_known(known, fresh, wide):
    values = np.tile(WEEK, 3)
    other = values.copy()
    other[known:] = fresh
    wanted = known + np.arange(0, 192, 7)
    one, two = asked_paths(values, known, wanted, wide), asked_paths(other, known, wanted, wide)
    assert np.array_equal(one, two)
    assert np.isfinite(one).all()
    assert (one >= 0).all()
