"""Reserves: offered before prices are known, no megawatt twice, never below what holding them costs for sure."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.fleets import T0, demand, fleet, network, one_site, price, store, weather

from tieline import config
from tieline.books.baselines import BASELINES
from tieline.books.causes import _BY_RULE
from tieline.books.performance import Load, MeteredLoads, deployment, reserve
from tieline.config import ConfigError
from tieline.dispatch import Controller, Outlook, Settings
from tieline.dispatch.commitments import Keepable, NotKeepable, check, sheddable
from tieline.dispatch.inputs.arrays import fleet_arrays
from tieline.dispatch.inputs.heat_errors import USUAL_C, heat_errors
from tieline.dispatch.inputs.horizon import Grid
from tieline.dispatch.mining.lookahead import held
from tieline.dispatch.reserves import (
    PeakCost,
    Steps,
    awarded,
    costs,
    costs_taking,
    limits_of,
    offers_of_tomorrow,
    peaks_of,
    resting_limits,
    sold_first,
    steps_of,
)
from tieline.fleet.reserves import ReserveProduct, read_reserves, shipped_reserves
from tieline.fleet.tables import TableError
from tieline.records import Commitment

HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
RRS, ECRS = shipped_reserves()["ERCOT_RRS_RELAY"], shipped_reserves()["ERCOT_ECRS"]
NEVER = msgspec.structs.replace(ECRS, calls_per_year=0.0)
numbers = st.floats(0.0, 500.0)


def curve(*steps: tuple[float, float], hours: int = 1) -> Steps:
    """(MW, bid) of each step, best first, the same in every hour."""
    power_w, bid = (np.array([[step[n] * scale for step in steps]] * hours) for n, scale in ((0, 1e6), (1, 1.0)))
    return Steps(power_w, bid, np.zeros_like(bid))


def peak(*inside: float) -> PeakCost:
    """USD/MWh that the chance of a peak adds to each hour, none in its lead."""
    return PeakCost(np.array(inside), np.zeros(len(inside)))


# --- what a product is -------------------------------------------------------------------------


def test_offers_close_before_prices_are_out_also_where_the_clock_changes() -> None:
    for day in (date(2024, 3, 10), date(2024, 7, 1), date(2024, 11, 3)):
        for product in shipped_reserves().values():
            noon = datetime(day.year, day.month, day.day, 18, tzinfo=UTC)
            assert product.closes(day) < product.known_at(noon) < noon - timedelta(hours=12)
    assert ECRS.closes(date(2024, 7, 2)) == datetime(2024, 7, 1, 15, tzinfo=UTC)
    assert not ECRS.traded(date(2023, 6, 9))
    assert ECRS.traded(date(2023, 6, 10))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('called_by = "hope"', "called_by"),
        ("response_s = -1", "response_s"),
        ('offers_close = "25:00"', "hour must be in"),
        ("follows_share = 1.5", "follows_share"),
        ("since = 2024-01-01\nuntil = 2023-01-01", "not after"),
        ('zone = "Mars/Olympus"', "time zone"),
    ],
)
def test_a_product_that_cannot_be_is_refused_by_name(change: str, said: str) -> None:
    plain = 'operator = "X"\nservice = "S"\nlasts_s = 3600\n'
    others = {"zone": '"UTC"', "called_by": '"relay"', "response_s": "10"}
    plain += "".join(f"{k} = {v}\n" for k, v in others.items() if not change.startswith(k))
    with pytest.raises(TableError, match=said) as wrong:
        read_reserves(f"[product.P]\n{plain}{change}\n", "mine.toml")
    assert "mine.toml" in str(wrong.value)


def test_a_site_names_products_that_there_are() -> None:
    text = one_site('basis = "spot", market = "ERCOT_LZ_WEST_DA"', 'reserves = ["ERCOT_ECRX"]')
    with pytest.raises(ConfigError, match="ERCOT_ECRS"):
        config.loads(text)
    assert config.loads(text.replace("ECRX", "ECRS")).fleet.sites[0].reserves == ("ERCOT_ECRS",)


# --- what it costs, what is asked, what is awarded ---------------------------------------------


def test_holding_costs_what_the_step_would_lose_and_calls_what_it_would_earn() -> None:
    price_ = np.array([[40.0, 100.0, 160.0]])
    found = costs(curve((10, 100.0)), price_, peak(0.0), NEVER, Settings())
    assert found.floor[0, 0].tolist() == [0.0, 0.0, 60.0]
    assert found.calls.sum() == 0.0
    often = msgspec.structs.replace(ECRS, calls_per_year=876.6, call_s=3600)  # a tenth of all hours
    found = costs(curve((10, 100.0)), price_, peak(0.0), often, Settings())
    start = 0.1 * Settings().wear_usd_per_kw_start * 1e3
    assert found.calls[0, 0] == pytest.approx([0.1 * 60.0 + start, start, start])
    assert found.floor[0, 0] == pytest.approx([0.0, 0.0, 0.9 * 60.0])
    pays = msgspec.structs.replace(often, energy_paid=True)
    paid = costs(curve((10, 100.0)), price_, peak(0.0), pays, Settings())
    assert paid.calls[0, 0] == pytest.approx(found.calls[0, 0] - 0.1 * price_[0])


def test_an_hour_that_is_likely_a_peak_is_not_offered() -> None:
    cost = costs(curve((10, 100.0), hours=2), np.full((2, 3), 40.0), peak(0.0, 0.0), NEVER, Settings())
    ask = limits_of(cost, np.full((2, 3), 9.0), np.array([0.0, 400.0]))
    assert np.isfinite(ask[0]).all()
    assert np.isinf(ask[1]).all()


def test_an_hour_is_not_held_where_its_lead_lies_in_a_likely_peak() -> None:
    """Load that was sold from 17:00 runs from 16:30: a peak at 16:45 is paid by whoever holds 16:00 or 17:00."""
    quarter = T0 + 4 * HOUR + 3 * HOUR / 4

    class OneWindow:
        def peaks(self, steps: Grid, wide: int = 1) -> dict[int, np.ndarray]:
            begin = (quarter - steps.start).total_seconds()
            inside = np.minimum(steps.offset_s + steps.length_s, begin + 900) - np.maximum(steps.offset_s, begin)
            return {0: 6_000.0 * np.maximum(0.0, inside) / steps.length_s}

    steps = Grid(T0, np.arange(8, dtype=np.intp) * 3600, np.full(8, 3600, dtype=np.intp))
    found = peaks_of(OneWindow(), 0, steps)  # type: ignore[arg-type]
    assert found.whole.tolist() == [0.0, 0.0, 0.0, 0.0, 1_500.0, 1_500.0, 0.0, 0.0]
    assert peaks_of(OneWindow(), 1, steps).whole.tolist() == [0.0] * 8  # type: ignore[arg-type]


def test_a_new_product_is_judged_by_the_days_that_it_has() -> None:
    """Of twenty days four are known and say that a dear hour is paid; of two nothing is believed, its cost is asked."""
    cost = costs(curve((10, 100.0)), np.full((1, 20), 160.0), peak(0.0), NEVER, Settings())
    for days, asked in ((4, 0.01), (2, 60.0)):
        paid = np.full((1, 20), np.nan)
        paid[:, :days] = 70.0
        assert limits_of(cost, paid, np.zeros(1))[0, 0] == pytest.approx(asked)


def test_what_is_certain_is_weighed_with_its_peak() -> None:
    cost = costs(curve((10, 100.0), hours=2), np.full((2, 1), 40.0), peak(0.0, 400.0), NEVER, Settings())
    ask = limits_of(cost, np.array([[9.0], [9.0]]), np.array([0.0, 400.0]))
    assert ask[0, 0] < 9.0 < ask[1, 0] == pytest.approx(340.0)


def best_of_day(gain: list[float], paid: list[float], at: int, sold: bool) -> float:
    """By trying every plan of a day: the most that a MW earns where hour `at` is sold, its payment aside, or is not. A
    start costs 50, and so does what the half hour loses in which an hour that is sold is begun from rest."""
    found = -1e9
    for plan in itertools.product(("rest", "run", "sold"), repeat=len(gain)):
        if (plan[at] == "sold") is not sold:
            continue
        usd = 0.0
        for t, what in enumerate(plan):
            if what != "rest":
                usd += gain[t] + (paid[t] if what == "sold" and t != at else 0.0)
                if t and plan[t - 1] == "rest":
                    usd -= 50.0 + (0.5 * max(0.0, -gain[t - 1]) if what == "sold" else 0.0)
        found = max(found, usd)
    return found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-200.0, 100.0), st.floats(0.0, 150.0)), min_size=2, max_size=5))
def test_an_hour_costs_what_it_takes_from_the_best_plan_of_its_day(hours: list[tuple[float, float]]) -> None:
    """Two dear hours beside one another cost one start, not two; one in a dear evening costs its start and lead."""
    gain, paid = [gain for gain, _ in hours], [usd for _, usd in hours]
    step = curve((10, 100.0), hours=len(hours))
    step = Steps(step.power_w, step.bid, np.full_like(step.bid, 50.0))
    price_, pays = np.array([[100.0 - usd] for usd in gain]), np.array(paid)[:, None]
    found = costs(step, price_, peak(*[0.0] * len(hours)), NEVER, Settings(), pays).whole[:, 0, 0]
    for t in range(len(hours)):
        wanted = best_of_day(gain, paid, t, sold=False) - best_of_day(gain, paid, t, sold=True)
        assert found[t] == pytest.approx(max(0.0, wanted), abs=1e-6)


def test_a_start_is_of_the_step_from_rest_alone() -> None:
    site = fleet().sites[0]
    steps = steps_of(site, Settings(), 60.0, [20.0], np.array([site.interconnect.limit_w]))
    low = steps.start_usd[0] > 0.0
    assert low.sum() == len(site.rig_groups) < low.size
    rated = sum(group.rated_w for group in site.rig_groups) / 1e3
    assert (steps.start_usd * steps.power_w)[0].sum() / 1e6 == pytest.approx(0.99 * 0.05 * rated, rel=0.1)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 50.0), numbers), min_size=1, max_size=5),
    st.lists(st.tuples(numbers, numbers, st.booleans()), min_size=1, max_size=4),
)
def test_what_runs_and_what_rests_for_a_reserve_is_never_the_same(
    steps: list[tuple[float, float]], products: list[tuple[float, float, bool]]
) -> None:
    """Best first what runs, worst first what rests, and never more than there is."""
    one = curve(*sorted(steps, key=lambda step: -step[1]))
    ask, paid = [np.full(one.power_w.shape, limit) for limit, _, _ in products], [np.array([p]) for _, p, _ in products]
    takes = [rests for _, _, rests in products]
    won = awarded(one, ask, paid, takes)[0]
    assert (won.sum(axis=1) <= one.power_w[0] + 1e-6).all()
    there = one.power_w[0] > 0
    running, resting = ((won[there][:, [t is kind for t in takes]] > 0).any(axis=1) for kind in (False, True))
    assert not (running & resting).any()
    assert running.tolist() == sorted(running.tolist(), reverse=True)
    assert resting.tolist() == sorted(resting.tolist())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 50.0), numbers), min_size=1, max_size=5),
    st.lists(st.tuples(numbers, st.one_of(st.just(float("nan")), numbers)), min_size=1, max_size=3),
)
def test_each_step_is_sold_once_to_what_leaves_most_and_never_below_its_price(
    steps: list[tuple[float, float]], products: list[tuple[float, float]]
) -> None:
    made = curve(*sorted(steps, key=lambda s: -s[1]))
    limits = [np.full(made.power_w.shape, ask) for ask, _ in products]
    won = awarded(made, limits, [np.array([paid]) for _, paid in products])[0]
    assert (won.sum(axis=1) <= made.power_w[0] + 1e-6).all()
    assert (np.count_nonzero(won, axis=1) <= 1).all()
    gains = [paid - ask for ask, paid in products]
    for p, gain in enumerate(gains):
        if won[:, p].any():
            assert gain >= 0.0
            assert gain == max(g for g in gains if g == g)
    if any(g >= 0.0 for g in gains):
        assert won.sum() == pytest.approx(made.power_w[0].sum())


def test_a_worse_step_is_not_sold_over_a_better_one() -> None:
    made = curve((10, 120.0), (10, 60.0))
    won = awarded(made, [np.array([[50.0, 1.0]])], [np.array([20.0])])
    assert won.sum() == 0.0  # the better step would run first, and what it draws was not sold


@given(st.floats(0.0, 40.0))
def test_what_is_promised_already_is_not_offered_again(taken: float) -> None:
    made = curve((10, 120.0), (10, 60.0), hours=1)
    left = sold_first(made, np.array([taken * 1e6]))
    assert left.power_w.sum() == pytest.approx(max(0.0, 20e6 - taken * 1e6), abs=1.0)
    assert left.power_w[0, 1] == pytest.approx(min(10e6, max(0.0, 20e6 - taken * 1e6)), abs=1.0)


def test_no_more_is_sold_than_the_interconnect_and_the_heat_leave() -> None:
    site = fleet().sites[0]
    most = steps_of(site, Settings(), 60.0, [20.0], np.array([site.interconnect.limit_w])).power_w.sum()
    small = steps_of(site, Settings(), 60.0, [20.0], np.array([site.interconnect.limit_w / 4])).power_w.sum()
    assert 0.0 < small < site.interconnect.limit_w / 4 < most < site.interconnect.limit_w
    assert steps_of(site, Settings(), 60.0, [70.0], np.array([1e9])).power_w.sum() == 0.0


# --- held ----------------------------------------------------------------------------------------


def test_what_was_sold_of_normal_mode_runs_in_normal_mode() -> None:
    """Also where power costs more than any hash: a promise is a floor."""
    held_ = store(price(400.0), network(), weather(20.0), demand(1000.0))
    site = next(s for s in fleet().sites if s.id == "tx-1")
    whole = sum(g.rated_w for g in site.rig_groups)
    for share in (0.5, 0.9):
        sold = Commitment(
            at=T0 - HOUR, known_at=T0 - HOUR * 20, source="t", kind="measured", commitment_id="r", site_id="tx-1",
            product="ERCOT_ECRS", until=T0 + HOUR * 3, power_w=share * whole, response_s=600,
            capacity_usd_per_mw_h=9.0, status="accepted",
        )  # fmt: skip
        held_.append([msgspec.structs.replace(sold, known_at=sold.known_at + timedelta(seconds=round(share * 10)))])
        for policy in ("strike", "lookahead"):
            rules = Settings(policy=policy, restore_share_per_5min=None)
            plans = asyncio.run(Controller(held_, fleet(), rules).step(T0))
            mining = sum(p.target_w for p in plans[0].setpoints if p.shares)
            assert mining >= sold.power_w - 1e5, (policy, share)
            assert mining <= whole * 1.12


@given(st.floats(0.0, 1.2))
def test_held_fills_the_best_steps_first(share: float) -> None:
    arrays = fleet_arrays(fleet(), Settings())
    low, high = 0.72 * arrays.rated_w, arrays.rated_w.copy()
    need = np.zeros(len(arrays.site_ids))
    np.add.at(need, arrays.site, share * high)
    run, up = held(arrays, low, high, need)
    drawn = np.zeros_like(need)
    np.add.at(drawn, arrays.site, run * low + up * (high - low))
    most = np.zeros_like(need)
    np.add.at(most, arrays.site, high)
    assert drawn == pytest.approx(np.minimum(need, most), abs=2.0)


def test_a_product_of_ones_own_stands_over_the_package() -> None:
    mine = msgspec.structs.replace(ECRS, penalty_usd_per_mwh=1.0)
    told = msgspec.structs.replace(fleet(), reserve_table=(mine,))
    assert told.reserve_products["ERCOT_ECRS"].penalty_usd_per_mwh == 1.0
    assert isinstance(told.reserve_products["ERCOT_RRS_RELAY"], ReserveProduct)
    assert RRS.response_s == 1


# --- how wrong the weather may be ----------------------------------------------------------------


def a_month(swing: float, per_hour: int, days: int = 32) -> np.ndarray:
    """C: hot afternoons, each day up to `swing` away from the one before it."""
    hours = np.repeat(np.arange(days * 24), per_hour)
    return 30.0 + 8.0 * np.sin(hours / 24.0 * 2.0 * np.pi) + swing * np.cos(hours // 24 * 2.1)


@pytest.mark.parametrize("per_hour", [1, 4])
def test_weather_is_taken_to_be_as_wrong_as_it_was(per_hour: int) -> None:
    known, wanted = 31 * 24 * per_hour, np.arange(31, 32).repeat(24) * 24 * per_hour + np.arange(24) * per_hour
    rare, often = np.zeros(24), np.full(24, 0.5)
    calm_, wild = (heat_errors(a_month(swing, per_hour), known, wanted, per_hour, rare) for swing in (0.5, 2.0))
    assert (calm_[:, 0] >= -3.2).all()  # an hour's own course and half a degree
    assert (calm_[:, 1] <= 3.2).all()
    assert (wild[:, 1] - wild[:, 0] > calm_[:, 1] - calm_[:, 0]).all()
    assert (wild <= USUAL_C).all()
    # Where it pays more, more is ventured; never what fails one time in ten.
    dearer = heat_errors(a_month(2.0, per_hour), known, wanted, per_hour, often)
    assert (dearer[:, 1] <= wild[:, 1]).all()
    assert (dearer[:, 1] < wild[:, 1]).any()
    assert dearer.tolist() == heat_errors(a_month(2.0, per_hour), known, wanted, per_hour, np.full(24, 0.1)).tolist()
    few = heat_errors(a_month(0.5, per_hour, days=2), 48 * per_hour, wanted[:1] * 0 + 50 * per_hour, per_hour, rare[:1])
    assert few.tolist() == [[-USUAL_C, USUAL_C]]


@settings(max_examples=25, deadline=None)
@given(st.integers(24 * 20, 24 * 31), st.lists(st.floats(-40.0, 50.0), min_size=1, max_size=48))
def test_how_wrong_it_is_taken_to_be_does_not_look_ahead(known: int, future: list[float]) -> None:
    past = a_month(3.0, 1, days=34)
    other = past.copy()
    other[known : known + len(future)] = future[: len(past) - known]
    wanted = known + np.arange(40)
    miss = np.linspace(0.0, 0.2, 40)
    assert heat_errors(past, known, wanted, 1, miss).tolist() == heat_errors(other, known, wanted, 1, miss).tolist()


# --- reserves that take load ---------------------------------------------------------------------

REGDN = shipped_reserves()["ERCOT_REGDN_CLR"]


def test_resting_for_a_call_costs_what_it_would_earn_and_a_call_what_it_draws_above_its_worth() -> None:
    price_ = np.array([[40.0, 100.0, 160.0]])
    found = costs_taking(curve((10, 100.0)), price_, peak(0.0), REGDN, Settings())
    assert found.floor[0, 0] == pytest.approx([0.85 * 60.0, 0.0, 0.0])
    assert found.calls[0, 0] == pytest.approx([0.0, 0.0, 0.15 * 60.0])
    paid = costs_taking(
        curve((10, 100.0)), price_, peak(0.0), msgspec.structs.replace(REGDN, energy_paid=True), Settings()
    )
    assert paid.calls[0, 0] == pytest.approx(found.calls[0, 0] - 0.15 * price_[0])
    assert resting_limits(found)[0, 0] == pytest.approx(9.0)  # of 51, 0.01 and 9
    assert resting_limits(costs_taking(curve((10, 90.0)), price_[:, 1:2], peak(0.0), REGDN, Settings()))[0, 0] > 0.0


def taking(mw: float, status: str = "accepted", **more: object) -> Commitment:
    return Commitment(
        at=T0, known_at=T0 - HOUR, source="t", kind="measured", commitment_id="down", site_id="tx-1",
        product=REGDN.name, until=T0 + HOUR, power_w=mw * 1e6, response_s=300, capacity_usd_per_mw_h=9.0,
        status=status, takes=True, **more,
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["strike", "lookahead"])
def test_what_is_to_be_taken_rests_until_it_is_called_and_then_runs_whatever_power_costs(policy: str) -> None:
    drawn = {}
    for usd in (20.0, 900.0):
        told = [price(usd, at=T0 + n * HOUR) for n in range(-48, 24)]
        called = msgspec.structs.replace(taking(10), status="deployed", known_at=T0)
        for name, batch in {"free": [], "sold": [taking(10)], "called": [taking(10), called]}.items():
            kept = store(*told, network(), weather(15), *batch)
            set_ = Settings(policy=policy, restore_share_per_5min=None)
            (plan,) = asyncio.run(Controller(kept, fleet(), set_).step(T0))
            drawn[usd, name] = sum(point.target_w for point in plan.setpoints) / 1e6
            if name == "sold" and usd == 20.0:
                assert "10.0 MW must be free to be drawn when they are called" in " ".join(
                    point.reason.text for point in plan.setpoints
                )
                # What was short of full operation is the promise's doing in the month's causes.
                assert "kept free" in {point.reason.rule for point in plan.setpoints}
    assert _BY_RULE["kept free"] == "commitment"
    assert drawn[20.0, "sold"] == pytest.approx(drawn[20.0, "free"] - 10.0, abs=0.6)
    assert drawn[20.0, "called"] == pytest.approx(drawn[20.0, "free"], abs=0.01)
    assert drawn[900.0, "sold"] == pytest.approx(drawn[900.0, "free"])
    assert drawn[900.0, "called"] >= 10.0 * 0.99


def test_running_and_resting_promises_share_a_sites_megawatts() -> None:
    can = sheddable(50e6, 1e6, 0.0)
    sheds = msgspec.structs.replace(taking(30), takes=False, commitment_id="up")
    found = check(taking(25), can, 50e6, [sheds])
    assert isinstance(found, NotKeepable)
    assert "55.0 MW must be drawing or free to be" in found.why
    assert isinstance(check(taking(20), can, 50e6, [sheds]), Keepable)
    slow = check(msgspec.structs.replace(taking(5), response_s=30), can, 50e6, [])
    assert isinstance(slow, NotKeepable)
    assert "rigs at rest take 300 s to run" in slow.why


def test_tomorrows_offers_of_rest_are_dear_where_power_is_cheap() -> None:
    at = T0.replace(hour=14)
    told = [price(20.0, at=T0 + n * HOUR) for n in range(-21 * 24, 48)]
    site = msgspec.structs.replace(fleet().sites[0], reserves=(REGDN.name, RRS.name))
    own = msgspec.structs.replace(fleet(), sites=(site,))
    outlook = Outlook(own, Settings())
    outlook.read(store(*told, network(at=at - HOUR), weather(15, at=at)), at)
    made = offers_of_tomorrow(outlook, own, Settings(), at)
    rest = [one for one in made if one.product == REGDN.name]
    assert rest
    assert all(one.takes and one.limit_usd_per_mw_h > 5.0 for one in rest)
    assert "resting for it costs" in rest[0].reason
    assert all(one.limit_usd_per_mw_h < 1.0 for one in made if one.product == RRS.name)


def test_a_call_to_take_load_is_kept_by_what_is_drawn_more() -> None:
    loads = [Load(T0 + n * QUARTER, T0 + (n + 1) * QUARTER, 5e6 if n < 0 else 14e6) for n in range(-4, 4)]
    meter, stamp = MeteredLoads(loads), {"source": "t", "kind": "measured"}
    promise = taking(10, nonperformance_usd_per_mwh=2_000.0)
    rule = BASELINES["meter before/after"]
    found = deployment(promise, T0, T0 + HOUR, meter, rule, lambda _: False, **stamp)
    assert found.delivered_w == pytest.approx(9e6)
    assert found.missed_wh == pytest.approx(1e6 * 55 / 60, rel=0.01)
    assert " metered from 12:05 - 5." in found.line
    held = reserve(promise, [], [], meter, **stamp)
    assert (held.paid_usd, held.missed_wh) == (Decimal("90.00"), 0)
