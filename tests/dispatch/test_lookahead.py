"""Look-ahead: what a start costs, what is promised, what is known; and how far from the best it is."""

import asyncio
from dataclasses import fields, replace
from datetime import timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.fleets import FIVE, T0, by_unit, demand, fleet, network, price, site, store, weather

from tieline import records
from tieline.dispatch import Controller, Settings
from tieline.dispatch.inputs.arrays import fleet_arrays, heat
from tieline.dispatch.inputs.forecast import analog_days, persistence
from tieline.dispatch.inputs.foresight import window_adder
from tieline.dispatch.inputs.horizon import end_of, grid
from tieline.dispatch.mining import lookahead
from tieline.dispatch.mining.ahead import SHORT_USD_PER_MWH
from tieline.dispatch.mining.lookahead import Ahead, levels, look, powers
from tieline.dispatch.mining.policy import Memory, decide
from tieline.dispatch.mining.reference import build, follow, solve
from tieline.fleet import Contract
from tieline.fleet.peaks import shipped_rules
from tieline.fleet.physics import aux_share, derate
from tieline.records import Commitment, Fault, Instruction, PeakOdds, Plan

AHEAD = Settings(policy="lookahead", restore_share_per_5min=None)
HOUR = timedelta(hours=1)
FOUR_CP = shipped_rules()["4CP"]


def day_ahead(prices: list[float], start=T0) -> list[records.Record]:
    """Hourly prices from the hour before `start`, all published the day before."""
    return [price(usd, at=start + HOUR * (n - 1), known_at=start - HOUR * 20) for n, usd in enumerate(prices)]


def run(batch, hours: float, set_=AHEAD, sites=(), start=T0) -> list[Plan]:
    kept = store(*batch)
    controller = Controller(kept, fleet(*sites), set_)
    plans = []
    for n in range(int(hours * 12)):
        plans += asyncio.run(controller.step(start + n * FIVE))
    return plans


def running(plan: Plan, unit: str = "tx-1.rigs-1") -> float:
    shares = by_unit(plan)[unit].shares
    return shares.get("normal", 0.0) + shares.get("low", 0.0)


def test_a_short_spike_is_run_through_because_a_start_costs_more():
    # Strike of an S21 in low mode is about 110 USD/MWh here; a start costs 50 USD per MW.
    calm = [20.0, 20.0, 125.0, 20.0] + [20.0] * 60
    plans = run([*day_ahead(calm), network(), weather(15)], 2.2)
    spike = [p for p in plans if p.price_usd_per_mwh == 125.0]
    assert spike
    assert all(running(p) == 1.0 for p in spike)
    reason = by_unit(spike[0])["tx-1.rigs-1"].reason
    assert reason.rule == "lookahead"
    assert "a start costs" in reason.text


def test_a_long_scarcity_stops_the_rigs_and_turns_them_off():
    long = [20.0, 20.0, *[400.0] * 20] + [20.0] * 40
    plans = run([*day_ahead(long), network(), weather(15)], 2.2)
    assert running(plans[0]) == 1.0
    assert by_unit(plans[-1])["tx-1.rigs-1"].shares == {"off": 1.0}


def test_a_short_window_of_cheap_power_starts_nothing():
    dear = [300.0, 300.0, 100.0, 300.0] + [300.0] * 60
    plans = run([*day_ahead(dear), network(), weather(15)], 2.2)
    window = [p for p in plans if p.price_usd_per_mwh == 100.0]
    assert window
    assert all(running(p) == 0.0 for p in window)
    assert "not for long enough" in by_unit(window[0])["tx-1.rigs-1"].reason.text


def test_starts_of_a_day_are_bounded_and_carried_over_a_restart():
    # Each cheap hour would pay its start: 10 of them in twenty hours.
    saw = [900.0 if n % 2 else -300.0 for n in range(70)]
    batch = [*day_ahead(saw), network(), weather(15), demand(0.0)]
    set_ = msgspec.structs.replace(AHEAD, interval_s=900)
    kept = store(*batch)
    plans = []
    controller = Controller(kept, fleet(), set_)
    for n in range(80):
        if n == 40:
            controller = Controller(kept, fleet(), set_)
        plans += asyncio.run(controller.step(T0 + n * 3 * FIVE))
    on = [running(p) for p in plans]
    starts = sum(max(0.0, b - a) for a, b in zip([0.0, *on], on, strict=False))
    assert 4 <= starts <= 6 + 1e-6


def test_the_chance_of_a_peak_sheds():
    odds = PeakOdds(at=T0, known_at=T0 - HOUR, source="t", kind="forecast", rule="4CP", probability=0.05)
    # 60,000 USD a year / 4 peaks x 5 % in a quarter hour: 3,000 USD/MWh.
    hub = Contract(basis="spot", market="ERCOT_HUBAVG_DA")
    calm = [price(20.0, at=T0 + HOUR * (n - 1), market="ERCOT_HUBAVG_DA", known_at=T0 - HOUR) for n in range(60)]
    plans = run([*calm, network(), weather(15), odds], 0.5, sites=(site(contract=hub),))
    assert running(plans[0]) == 0.0
    assert running(plans[-1]) > 0.9


def test_a_reserve_sold_must_be_drawing_whatever_the_price():
    sold = Commitment(
        at=T0,
        known_at=T0 - HOUR * 20,
        source="t",
        kind="measured",
        commitment_id="c",
        site_id="tx-1",
        product="reserve",
        until=T0 + HOUR * 4,
        power_w=20e6,
        response_s=600,
        capacity_usd_per_mw_h=8.0,
        status="accepted",
    )
    batch = [*day_ahead([500.0] * 60), network(), weather(15), demand(0.0), sold]
    plan = run(batch, 0.1)[0]
    assert sum(p.target_w for p in plan.setpoints) >= 20e6
    assert "commitment" in {p.reason.rule for p in plan.setpoints}
    gone = msgspec.structs.replace(sold, status="released", known_at=T0 - HOUR)
    assert sum(p.target_w for p in run([*batch, gone], 0.1)[0].setpoints) < 5e6


def test_an_order_releases_the_floor():
    order = Instruction(
        at=T0,
        known_at=T0,
        source="t",
        kind="measured",
        instruction_id="o",
        site_id="tx-1",
        limit_w=3e6,
        until=T0 + HOUR,
    )
    plan = run([*day_ahead([20.0] * 60), network(), weather(15), order], 0.1)[0]
    assert sum(p.target_w for p in plan.setpoints) <= 3e6


def test_a_late_solve_falls_back_to_the_strike_and_says_so():
    late = Fault(at=T0, known_at=T0, source="t", kind="simulated", site_id="tx-1", what="late_solve")
    plan = run([*day_ahead([20.0] * 60), network(), weather(15), late], 0.1)[0]
    assert plan.decided_by == "strike (fallback)"
    assert "late" in plan.note


def test_unknown_prices_keep_the_last_plan_under_lookahead_too():
    plans = run([price(20.0, length_s=300), network(), weather(15)], 5, AHEAD)
    assert running(plans[0]) == 1.0
    assert plans[-1].decided_by.endswith("(fallback)")
    assert running(plans[-1]) == 1.0


@settings(max_examples=40, deadline=None)
@given(
    prices=st.lists(st.one_of(st.floats(-300, 300), st.just(4858.0)), min_size=0, max_size=50),
    temp=st.one_of(st.none(), st.floats(-20, 55)),
    limit_mw=st.floats(0, 80),
    tokens=st.floats(0, 1e6),
    start_mw=st.booleans(),
)
def test_the_limit_holds_under_lookahead(prices, temp, limit_mw, tokens, start_mw):
    sites = (site(limit_mw=limit_mw, feeder_mw=max(0.5, limit_mw)), site("b-2", old_rigs=0))
    batch = [*day_ahead(prices), network(), weather(temp), demand(tokens)]
    set_ = Settings(policy="lookahead") if start_mw else AHEAD
    one, two = (run(batch, 0.2, set_, sites) for _ in range(2))
    for plan in one:
        assert sum(p.target_w for p in plan.setpoints) <= plan.limit_w + 1e-6
        for point in plan.setpoints:
            assert point.reason.text
            if point.shares:
                assert sum(point.shares.values()) == pytest.approx(1.0, abs=1e-5)
    assert [records.encode(p) for p in one] == [records.encode(p) for p in two]


# --- the arrays beneath ------------------------------------------------------


def arrays_ahead(sites, prices: np.ndarray, temp: float = 15.0, **more) -> tuple:
    made = fleet(*sites)
    arrays = fleet_arrays(made, AHEAD)
    steps = len(prices)
    aux, less = heat(arrays.air, np.full((steps, arrays.groups), temp))
    usd = arrays.rated_hs / 1e15 * 55.0 * AHEAD.keeps / 24.0
    ahead = Ahead(
        hours=np.full(steps, 1.0),
        usd_per_h=usd,
        aux=aux,
        derate=less,
        limit_w=np.repeat(arrays.limit_w[None], steps, axis=0),
        base_w=np.zeros((steps, len(made.sites))),
        price=np.repeat(prices[:, None, None], len(made.sites), axis=1),
        **more,
    )
    return arrays, ahead


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    limit=st.floats(28, 70),  # all-low fits; deeper cuts are orders, held by reflex and re-planned
    restore=st.sampled_from([None, 2.4]),
    take=st.sampled_from([None, 0.6]),
)
def test_the_programme_is_within_a_tenth_of_a_per_cent_of_highs(seed, limit, restore, take):
    random = np.random.default_rng(seed)
    prices = 60.0 + 40.0 * np.sin(np.arange(30) / 4.0) + random.normal(0, 30, 30)
    sites = (site(limit_mw=limit, nodes=0, old_rigs=0), site("b", nodes=0, old_rigs=0, rigs=5_000))
    arrays, ahead = arrays_ahead(sites, prices, restore_share_per_h=restore)
    if take is not None:
        ahead = replace(ahead, below=ahead.price * 0.3, take_w=take * arrays.limit_w)
    state = random.integers(0, 2, arrays.groups).astype(float)
    best = solve(build(arrays, ahead, state, None), gap=1e-6)
    mine = follow(arrays, ahead, state)
    scale = abs(ahead.usd_per_h.sum() * 30)  # of the revenue at stake, since the value itself may be near zero
    assert best.status == "kOptimal"
    # A contracted level is a kink at which part of a group would run; a group as a whole cannot stand on it.
    assert best.value_usd - mine <= (1e-3 if take is None else 1e-2) * scale
    assert mine <= best.bound_usd + 1e-6 * scale


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9), begin=st.integers(2, 12), peak=st.booleans())
def test_what_is_sold_is_held_as_well_as_highs_would(seed, share, begin, peak):
    """Reserves over a day beside prices and a peak. What is sold is a kink too, at which part of a group would run: on
    made-up prices within a hundredth of revenue, on recorded days far less (docs/dispatch.md)."""
    random = np.random.default_rng(seed)
    prices = 60.0 + 40.0 * np.sin(np.arange(30) / 4.0) + random.normal(0, 30, 30)
    sites = (site(nodes=0), site("b", nodes=0, rigs=5_000))
    arrays, ahead = arrays_ahead(sites, prices)
    sold = np.zeros((30, 2))
    sold[begin : begin + 14] = share * np.bincount(arrays.site, weights=arrays.rated_w)
    if peak:
        ahead = replace(ahead, price=ahead.price + np.where(np.arange(30) == begin + 14, 900.0, 0.0)[:, None, None])
    ahead = replace(ahead, sold_w=sold, short_usd_per_mwh=SHORT_USD_PER_MWH)
    state = random.integers(0, 2, arrays.groups).astype(float)
    best, mine = solve(build(arrays, ahead, state, None), gap=1e-6), follow(arrays, ahead, state)
    revenue = float(ahead.usd_per_h.sum()) * 30
    assert mine <= best.bound_usd + 1e-3 * revenue
    assert best.bound_usd - mine <= 1e-2 * revenue, (mine, best.value_usd)


def test_rigs_that_rest_are_not_started_because_others_run_on():
    """Half a group is needed by a reserve, a third of it rests: a dear half hour before a cheap day is run through by
    what runs, since a start costs more, and waited out by what rests."""
    arrays, ahead = arrays_ahead((site(nodes=0, old_rigs=0),), np.array([170.0, 20.0, 20.0, 20.0, 20.0, 20.0]))
    ahead = replace(ahead, hours=np.array([0.5, 1.0, 1.0, 1.0, 1.0, 1.0]), restore_share_per_h=None)
    sold = np.full((6, 1), 0.5 * arrays.rated_w.sum())
    for sold_w in (None, sold):
        memory = Memory(np.full(1, 0.7), np.full(1, 0.3), np.full(1, 86_400.0), np.full(1, 86_400.0))
        given_ = replace(ahead, sold_w=sold_w, short_usd_per_mwh=SHORT_USD_PER_MWH)
        wish = decide(arrays, given_, memory, AHEAD, T0)
        assert wish.run[0] == pytest.approx(0.7), sold_w


def test_what_rests_is_not_woken_hours_before_a_reserve_needs_it():
    arrays, ahead = arrays_ahead((site(nodes=0, old_rigs=0),), np.full(6, 150.0))
    sold = np.zeros((6, 1))
    sold[4:] = 0.9 * arrays.rated_w.sum()
    ahead = replace(ahead, sold_w=sold, short_usd_per_mwh=SHORT_USD_PER_MWH, restore_share_per_h=2.4)
    memory = Memory.of(1)
    assert decide(arrays, ahead, memory, AHEAD, T0).run[0] == 0.0
    first = replace(ahead, sold_w=np.roll(sold, -4))
    assert decide(arrays, first, memory, AHEAD, T0).run[0] == pytest.approx(0.9, abs=0.1)


def test_more_than_one_group_shares_a_site_in_merit_order():
    arrays, ahead = arrays_ahead((site(limit_mw=30, nodes=0),), np.full(3, 20.0))
    low, high = powers(arrays, ahead)
    assert (high.sum(axis=1) <= 30e6 + 1).all()
    best = arrays.unit_ids.index("tx-1.rigs-1")
    assert low[0, best] == pytest.approx(0.72 * 35e6 * 1.04)
    assert levels(arrays, ahead)[1][0, best, 0] > 0


def test_scenarios_share_the_first_step():
    arrays, ahead = arrays_ahead((site(nodes=0),), np.full(24, 20.0))
    fan = replace(ahead, price=np.concatenate([ahead.price, ahead.price + 30.0], axis=2))
    one, two = look(arrays, ahead), look(arrays, fan)
    mean = look(arrays, replace(ahead, price=ahead.price + 30.0))
    assert two.run == pytest.approx((one.run + mean.run) / 2.0)


@pytest.mark.parametrize("numbers", [1, 40, 100])
def test_sites_taken_in_blocks_are_worth_the_same(monkeypatch, numbers):
    sites = (site("tx-1", limit_mw=30), site("tx-2", nodes=0), site("tx-3", limit_mw=50), site("tx-4", nodes=0))
    arrays, ahead = arrays_ahead(sites, 40.0 + 30.0 * np.sin(np.arange(24)))
    whole = look(arrays, ahead)
    monkeypatch.setattr(lookahead, "BLOCK_NUMBERS", numbers)
    parts = look(arrays, ahead)
    for one in fields(whole):
        assert np.array_equal(getattr(whole, one.name), getattr(parts, one.name)), one.name


def test_time_up_and_time_down_are_kept_across_replans():
    arrays, ahead = arrays_ahead((site(nodes=0),), np.full(24, 900.0))
    long = msgspec.structs.replace(AHEAD, min_up_s=3600)
    memory = Memory.of(arrays.groups)
    memory.note(T0, np.ones(arrays.groups), np.zeros(arrays.groups))
    assert (decide(arrays, ahead, memory, long, T0 + FIVE).run == 1.0).all()
    assert (decide(arrays, ahead, memory, long, T0 + HOUR).run == 0.0).all()


@given(temp=st.one_of(st.just(float("nan")), st.floats(-40, 60)), air=st.booleans())
def test_heat_of_arrays_is_heat_of_sites(temp, air):
    aux, less = heat(np.array([float(air)]), np.array([temp]))
    known = None if np.isnan(temp) else temp
    cooling = "air" if air else "hydro"
    assert aux[0] == pytest.approx(aux_share(cooling, known))
    assert less[0] == pytest.approx(derate(cooling, known))


@settings(max_examples=30, deadline=None)
@given(known=st.integers(200, 700), fresh=st.floats(-1e4, 1e4))
def test_a_forecast_never_reads_what_is_not_known(known, fresh):
    values = 40.0 + 20.0 * np.sin(np.arange(1200) / 15.0)
    wanted = known - 1 + np.arange(0, 192, 4)
    seen = values.copy()
    seen[known:] = fresh
    for forecaster in (analog_days, persistence):
        one, two = (forecaster(v, known - 1, known, wanted, 5) for v in (values, seen))
        assert np.array_equal(one, two)
        assert not np.isnan(one).any()
        assert (one[0] == values[known - 1]).all()


def test_steps_ahead_are_contiguous_and_end_on_hours():
    for minute in (0, 5, 20, 50):
        found = grid(T0 + timedelta(minutes=minute), 300, 48 * 3600)
        assert (found.offset_s[1:] == (found.offset_s + found.length_s)[:-1]).all()
        assert end_of(found).minute == 0
        assert (found.length_s[:12] == 300).all()
        assert len(found.offset_s) < 80


def test_a_short_history_is_a_history():
    # Half a day of a published price, high now: nothing before it, and the last value stands for what follows.
    tariff = [300.0] * 5 + [40.0] * 8
    plans = run([*day_ahead(tariff), network(), weather(15)], 0.2)
    assert running(plans[0]) == 0.0
    cheap = [40.0] * 5 + [300.0] * 8
    assert running(run([*day_ahead(cheap), network(), weather(15)], 0.2)[0]) == 1.0


def test_a_site_without_a_path_of_prices_is_left_to_the_strike():
    # A price of four hours ago is stale, its market still names a last value; the other site is looked ahead for.
    far = site("far", contract=Contract(basis="spot", market="GONE"), nodes=0)
    batch = [*day_ahead([20.0] * 60), network(), weather(15)]
    plans = {p.site_id: p for p in run(batch, 0.1, sites=(site(), far))}
    assert plans["far"].decided_by.endswith("(fallback)")
    assert running(plans["far"], "far.rigs-1") == 0.0
    assert running(plans["tx-1"]) == 1.0


def test_the_chance_of_an_outage_makes_a_start_worth_less():
    """Rigs that may go dark soon have less time to earn a start back."""
    one = fleet()
    arrays = fleet_arrays(one, AHEAD)
    ahead = Ahead(
        hours=np.ones(24),
        usd_per_h=np.full(arrays.groups, 100.0),
        aux=np.zeros((24, arrays.groups)),
        derate=np.ones((24, arrays.groups)),
        limit_w=np.full((24, 1), 1e9),
        base_w=np.zeros((24, 1)),
        price=np.full((24, 1, 3), 1.0),
    )
    sure = look(arrays, ahead)
    unsure = look(arrays, replace(ahead, outages_per_h=0.2))
    assert (unsure.run - unsure.sleep < sure.run - sure.sleep + 1e-9).all()
    assert (unsure.run < sure.run).all()
    never = look(arrays, replace(ahead, outages_per_h=0.0))
    assert np.array_equal(never.run, sure.run)


@settings(max_examples=60, deadline=None)
@given(odds=st.lists(st.floats(0, 1), min_size=1, max_size=6), wide=st.integers(2, 20))
def test_peaks_on_or_off_keep_their_chance_and_share_the_first_step(odds, wide):
    steps = grid(T0, 300, 48 * 3600)
    windows = [(T0 + timedelta(hours=2 * n), timedelta(minutes=15), chance) for n, chance in enumerate(odds)]
    expected = window_adder(FOUR_CP, windows, steps)
    by_scenario = window_adder(FOUR_CP, windows, steps, wide)
    assert np.allclose(by_scenario.mean(axis=1), expected)
    assert np.allclose(by_scenario[0], expected[0])
    assert (by_scenario >= 0).all()
