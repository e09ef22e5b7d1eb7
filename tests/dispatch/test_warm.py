"""Replicas seen over the horizon: woken before a rise, kept through a dip, let go for a night."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline.dispatch.inference.warm import ready_now

STARTS = np.arange(12) * 300


def need(*replicas):
    return np.array(replicas, dtype=float)[:, None]


def test_replicas_wake_before_the_rise():
    assert ready_now(need(2, 8, 8, 8), 2, STARTS[:4], 300.0, np.full(4, 0.01), 0.02) == 8
    # What is needed after the next interval can still be loaded in it.
    assert ready_now(need(2, 2, 8, 8), 2, STARTS[:4], 300.0, np.full(4, 0.01), 0.02) == 2


def test_a_short_dip_is_sat_out_and_a_long_one_is_not():
    dip = need(2, 2, 2, 8, 8)
    assert ready_now(dip, 8, STARTS[:5], 0.0, np.full(5, 0.01), 0.05) == 8
    assert ready_now(dip, 8, STARTS[:5], 0.0, np.full(5, 0.02), 0.05) == 2


def test_only_as_many_are_kept_as_come_back_soon():
    assert ready_now(need(2, 5, 2, 2, 2, 8), 9, STARTS[:6], 0.0, np.full(6, 0.01), 0.04) == 5


def test_most_scenarios_of_demand_are_carried():
    scenarios = np.tile(np.arange(1.0, 21.0), (3, 1))
    assert ready_now(scenarios, 0, STARTS[:3], 0.0, np.full(3, 0.01), 0.02, risk=0.95) == 20
    assert ready_now(scenarios, 0, STARTS[:3], 0.0, np.full(3, 0.01), 0.02, risk=0.5) == 11


@settings(max_examples=150, deadline=None)
@given(
    asked=st.lists(st.integers(0, 3), min_size=2, max_size=6),
    running=st.integers(0, 3),
    idle=st.lists(st.floats(0, 3), min_size=6, max_size=6),
    reload_usd=st.floats(0, 5),
)
def test_it_is_what_trying_every_course_finds(asked, running, idle, reload_usd):
    steps = len(asked)
    found = ready_now(need(*asked), running, STARTS[:steps], 0.0, np.array(idle[:steps]), reload_usd)

    def cost(course):
        total, before = 0.0, running
        for t, up in enumerate(course):
            total += reload_usd * max(0, up - before) + idle[t] * max(0, up - asked[t])
            before = up
        return total

    courses = [
        c for c in itertools.product(range(4), repeat=steps) if all(u >= a for u, a in zip(c, asked, strict=True))
    ]
    best = min(map(cost, courses))
    assert min(cost(c) for c in courses if c[0] == max(found, asked[0])) <= best + 1e-9
