"""Batch work: in the cheap hours, before its deadline, in what interactive work leaves."""

import highspy
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline.dispatch import Settings, load_table
from tieline.dispatch.inference.deferred import Place, allot, programme
from tieline.dispatch.inputs.backlog import Lot

TABLE = load_table(Settings().gpu_table)
FULL = TABLE.tokens_per_s(128)
HOURS = np.ones(24)
ENDS = np.cumsum(HOURS) * 3600.0


def place(name="x", *, replicas=10, running=4, up=4.0, busy=0.5, price=None, steps=24):
    ups = np.full(steps, up)
    return Place(
        name, replicas, running, ups, ups * FULL * busy, np.full(steps, 50.0) if price is None else np.asarray(price)
    )


def test_work_that_may_wait_runs_in_the_cheap_hours():
    usd = np.full((24, 1), 5.0)
    usd[3:6] = 1.0
    plan = programme([Lot(24 * 3600.0, 25.0)], ENDS, np.full((24, 1), 10.0), usd)
    assert plan.missed == ()
    assert plan.tokens[3:6].sum() == 25.0


def test_what_is_due_soon_does_not_wait_for_them():
    usd = np.full((24, 1), 5.0)
    usd[3:6] = 1.0
    plan = programme([Lot(2 * 3600.0, 15.0), Lot(24 * 3600.0, 20.0)], ENDS, np.full((24, 1), 10.0), usd)
    assert plan.tokens[:2].sum() == 15.0
    assert plan.tokens[3:6].sum() == 20.0


def test_what_cannot_run_in_time_is_named_and_the_rest_runs():
    plan = programme([Lot(3600.0, 14.0), Lot(7200.0, 5.0)], ENDS, np.full((24, 1), 10.0), np.ones((24, 1)))
    assert plan.missed == (Lot(3600.0, 4.0),)
    assert plan.tokens[1].sum() == 5.0


def test_an_hour_of_margin_is_kept_where_there_is_room_and_given_up_where_there_is_not():
    cheap_late = np.linspace(5.0, 1.0, 24)[:, None]
    room = np.full((24, 1), 10.0)
    plan = programme([Lot(4 * 3600.0, 10.0)], ENDS, room, cheap_late, margin_s=3600.0)
    assert plan.tokens[2].sum() == 10.0
    plan = programme([Lot(4 * 3600.0, 40.0)], ENDS, room, cheap_late, margin_s=3600.0)
    assert plan.missed == ()


lots_ = st.lists(st.tuples(st.integers(1, 6), st.floats(0, 40)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    lots=lots_,
    room=st.lists(st.lists(st.floats(0, 20), min_size=2, max_size=2), min_size=6, max_size=6),
    usd=st.lists(st.lists(st.floats(-3, 9), min_size=2, max_size=2), min_size=6, max_size=6),
)
def test_no_other_plan_is_cheaper_and_none_runs_more(lots, room, usd):
    """Against a linear programme that pays a fortune for every token that is late."""
    room, usd = np.array(room), np.array(usd)
    found = programme([Lot(3600.0 * due, tokens) for due, tokens in lots], ENDS[:6], room, usd)
    late = sum(lot.tokens for lot in found.missed)
    assert (found.tokens <= room + 1e-6).all()
    assert (found.tokens >= 0).all()
    assert abs(found.tokens.sum() + late - sum(tokens for _, tokens in lots)) < 1e-4
    mine = (found.tokens * usd).sum() + 1e3 * late
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    cost, used = [], {(t, k): [] for t in range(6) for k in range(2)}
    for due, tokens in lots:
        miss = model.addVariable(lb=0.0, ub=tokens)
        cost.append(1e3 * miss)
        run = [miss]
        for t in range(due):
            for k in range(2):
                one = model.addVariable(lb=0.0)
                run.append(one)
                used[t, k].append(one)
                cost.append(float(usd[t, k]) * one)
        model.addConstr(sum(run) == tokens)
    for (t, k), ones in used.items():
        if ones:
            model.addConstr(sum(ones) <= float(room[t, k]))
    best = 0.0
    if lots:
        model.minimize(sum(cost))
        best = model.getObjectiveValue()
    assert abs(mine - best) < 1e-3 + 1e-6 * abs(best)


def test_spare_replicas_first_and_none_loaded_for_what_they_can_carry():
    found, missed = allot([Lot(86_400.0, FULL * 2.0 * 3600.0)], [place()], HOURS, TABLE, 128)
    assert missed == ()
    assert found["x"].more_replicas == 0


def test_replicas_are_loaded_where_the_spare_ones_do_not_suffice():
    # Four replicas half busy leave two; five replicas' work is due in two hours.
    found, missed = allot([Lot(7200.0, FULL * 5.0 * 7200.0)], [place()], HOURS, TABLE, 128)
    assert missed == ()
    assert found["x"].more_replicas >= 3


def test_it_waits_for_cheap_power_and_goes_where_that_is():
    dear_now = np.r_[np.full(6, 300.0), np.full(18, 10.0)]
    here, there = place("here", price=dear_now, up=0.0, running=0), place("there", up=0.0, running=0, price=dear_now)
    found, _ = allot([Lot(86_400.0, FULL * 3600.0)], [here, there], HOURS, TABLE, 128)
    assert sum(one.tokens_per_s for one in found.values()) == 0.0
    cheap = place("cheap", up=0.0, running=0, price=np.full(24, 5.0))
    found, _ = allot([Lot(2 * 3600.0, FULL * 3600.0)], [here, cheap], HOURS, TABLE, 128)
    assert found["here"].tokens_per_s == 0.0
    assert found["cheap"].tokens_per_s > 0.0


def test_where_the_day_leaves_little_room_nothing_waits():
    dear_now = np.r_[np.full(6, 300.0), np.full(18, 10.0)]
    owed = FULL * 10.0 * 86_400.0 * 0.5
    found, _ = allot([Lot(86_400.0, owed)], [place(price=dear_now)], HOURS, TABLE, 128, arriving=owed)
    assert found["x"].tokens_per_s > FULL * 2.0


@settings(max_examples=150, deadline=None)
@given(
    owed=st.floats(0, 1e10),
    due=st.floats(600, 86_400),
    replicas=st.integers(0, 20),
    up=st.integers(0, 20),
    busy=st.floats(0, 1),
    price=st.floats(-50, 5_000),
)
def test_interactive_work_is_never_displaced_and_no_place_overfull(owed, due, replicas, up, busy, price):
    up = min(up, replicas)
    one = place(replicas=replicas, running=up, up=float(up), busy=busy, price=np.full(24, price))
    found, missed = allot([Lot(due, owed)], [one], HOURS, TABLE, 128)
    more = found["x"]
    assert 0 <= more.more_replicas <= replicas - up
    assert up * FULL * busy + more.tokens_per_s <= (up + more.more_replicas) * FULL * (1 + 1e-9) + 1e-6
    assert sum(lot.tokens for lot in missed) <= owed + 1e-6


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), fill=st.floats(0.2, 0.85))
def test_replanned_hour_by_hour_no_deadline_is_missed_that_can_be_met(seed, fill):
    """Work comes each hour with a day to run; prices are what they are; replicas take minutes to load."""
    rng = np.random.default_rng(seed)
    price = rng.normal(50, 40, 96)
    busy = np.clip(rng.normal(0.5, 0.2, 96), 0.0, 0.9)
    most = 12
    lots: list[list[float]] = []
    running = 4
    for hour in range(72):
        free = most * (1 - busy[hour : hour + 24]).mean()
        lots.append([hour + 24, fill * free * FULL * 3600.0 * 0.9])
        ups = np.ceil(busy[hour : hour + 24] * most)
        one = Place("x", most, running, ups, busy[hour : hour + 24] * most * FULL, price[hour : hour + 24])
        owed = [Lot((due - hour) * 3600.0, t) for due, t in lots]
        found, missed = allot(owed, [one], HOURS, TABLE, 128, arriving=24 * lots[-1][1])
        assert missed == ()
        more = found["x"]
        running = int(ups[0]) + more.more_replicas
        left = more.tokens_per_s * 3600.0
        for lot in lots:
            take = min(left, lot[1])
            lot[1] -= take
            left -= take
        lots = [lot for lot in lots if lot[1] > 1.0]
        assert all(lot[0] > hour + 1 for lot in lots), f"work was late in hour {hour}"
