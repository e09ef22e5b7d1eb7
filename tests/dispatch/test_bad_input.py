"""What dispatch does with a world that lies, stops or contradicts itself.

Through the public Controller and a store, as a platform meets it: a clear reason each time, the last safe plan
kept, and never more asked than the interconnect carries.
"""

import asyncio
import math
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.fleets import FIVE, T0, by_unit, demand, fleet, network, price, site, store, weather

from tieline import records
from tieline.dispatch import Controller, Settings
from tieline.fleet import Contract
from tieline.records import Commitment, Fault, Instruction, Outcome, Override, Plan, PriceTick, Record

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STRIKE = Settings(policy="strike", restore_share_per_5min=None)
AHEAD = Settings(policy="lookahead", restore_share_per_5min=None, scenarios=4, horizon_s=12 * 3600)
BOTH = pytest.mark.parametrize("set_", [STRIKE, AHEAD], ids=["strike", "lookahead"])


def run(controller: Controller, now=T0) -> Plan:
    return asyncio.run(controller.step(now))[0]


def over(*batch: Record, set_=STRIKE, sites=()) -> Controller:
    return Controller(store(*batch), fleet(*sites), set_)


def mining_w(plan: Plan) -> float:
    return sum(point.target_w for point in plan.setpoints if "rigs" in point.unit_id)


def told(at=T0, **more) -> dict[str, object]:
    return {"at": at, "known_at": at, "source": "test", "kind": "measured", **more}


def prices(usd: float, start=T0 - 2 * DAY, hours: int = 72) -> list[PriceTick]:
    return [price(usd, at=start + n * HOUR) for n in range(hours)]


def safe(plan: Plan, most_w: float = 60e6) -> None:
    """Asked within the limit, each number a number, each setpoint with its reason."""
    assert sum(point.target_w for point in plan.setpoints) <= min(most_w, plan.limit_w) + 1e-6
    assert plan.limit_w <= most_w
    for point in plan.setpoints:
        assert math.isfinite(point.target_w)
        assert point.target_w >= 0
        assert point.reason.text
    records.decode(records.encode(plan))


# --- prices ------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("usd", [4858.0, 900.0])
def test_a_real_scarcity_price_is_believed(set_, usd):
    plan = run(over(*prices(usd), network(), weather(20), set_=set_))
    assert plan.price_usd_per_mwh == usd
    assert mining_w(plan) < 1e6
    assert f"{usd:.2f}" in by_unit(plan)["tx-1.rigs-1"].reason.text
    safe(plan)


@BOTH
@pytest.mark.parametrize("usd", [-50.0, 0.0, -0.0])
def test_negative_and_zero_are_prices(set_, usd):
    plan = run(over(*prices(usd), network(), weather(15), demand(1.0), set_=set_))
    assert plan.price_usd_per_mwh == usd
    assert mining_w(plan) > 45e6
    assert plan.decided_by == set_.policy
    safe(plan)


@BOTH
@pytest.mark.parametrize("usd", [1e6, -1e6, 25_001.0])
def test_an_absurd_price_is_no_price_and_the_last_plan_stays(set_, usd):
    kept = store(*prices(20, hours=48), network(), weather(15), demand(1.0))
    controller = Controller(kept, fleet(), set_)
    before = run(controller, T0 - HOUR)
    kept.append([price(usd, at=T0 + n * HOUR, known_at=T0) for n in range(5)])
    plan = run(controller, T0 + 4 * HOUR)
    assert any("HUB" in why and "absurd" in why for why in controller.outlook.refused)
    assert plan.price_usd_per_mwh is None
    assert plan.decided_by.endswith("(fallback)")
    assert f"HUB says {usd:,.10g} USD/MWh at 16:00, which is absurd" in plan.note
    assert mining_w(plan) == pytest.approx(mining_w(before), rel=0.06)
    assert "last decision kept" in by_unit(plan)["tx-1.rigs-1"].reason.text
    safe(plan)


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_never_enters_the_store(usd):
    kept = store(*prices(20), network(), weather(15))
    with pytest.raises(ValueError, match=r"PriceTick of HUB.*price_usd_per_mwh"):
        kept.append([price(usd, at=T0 + HOUR)])
    safe(run(Controller(kept, fleet(), STRIKE)))


@BOTH
def test_a_feed_that_stops_is_named_with_its_age_then_rests_after_a_day(set_):
    kept = store(*prices(20, hours=48), network(), *(weather(15, at=T0 + n * HOUR) for n in range(60)))
    controller = Controller(kept, fleet(), set_)
    first = run(controller, T0 - FIVE)
    assert mining_w(first) > 30e6
    fresh_enough = run(controller, T0 + 2 * HOUR)
    assert "last price" in by_unit(fresh_enough)["tx-1.rigs-1"].reason.text
    assert fresh_enough.decided_by == set_.policy
    stale = run(controller, T0 + 4 * HOUR)
    assert "the last price of HUB ended 4.0 h ago" in stale.note
    assert mining_w(stale) == pytest.approx(mining_w(fresh_enough), rel=1e-6)
    gone = run(Controller(kept, fleet(), set_), T0 + 4 * HOUR + 2 * DAY)
    assert mining_w(gone) < 1e6
    assert "nothing was decided before" in by_unit(gone)["tx-1.rigs-1"].reason.text
    for plan in (first, fresh_enough, stale, gone):
        safe(plan)


@BOTH
def test_a_gap_of_a_day_ends_when_prices_come_back(set_):
    gap = [p for p in prices(20, hours=96) if not T0 <= p.at < T0 + DAY]
    kept = store(*gap, network(), demand(1.0))
    controller = Controller(kept, fleet(), set_)
    assert run(controller, T0 - FIVE).decided_by == set_.policy
    inside = run(controller, T0 + 12 * HOUR)
    assert inside.decided_by.endswith("(fallback)")
    after = run(controller, T0 + DAY)
    assert after.decided_by == set_.policy
    assert after.price_usd_per_mwh == 20.0
    assert mining_w(after) > 30e6


# --- the network, the clock, the fleet ---------------------------------------


@BOTH
@pytest.mark.parametrize(
    "tick", [network(difficulty=0.0), network(difficulty=1.0), network(usd="0"), network(usd="-5")]
)
def test_zero_difficulty_is_refused_by_name_and_earns_nothing(set_, tick):
    controller = over(*prices(20), tick, weather(15), set_=set_)
    plan = run(controller)
    assert plan.hashprice_usd is None
    assert "no reading of the bitcoin network" in plan.note
    assert any(why.startswith("network: difficulty") for why in controller.outlook.refused)
    assert mining_w(plan) < 1e6
    safe(plan)


@BOTH
def test_a_clock_that_jumps_neither_way_breaks_a_limit_nor_sees_ahead(set_):
    dear = [price(900, at=T0 + 6 * HOUR, known_at=T0 + 6 * HOUR)]
    kept = store(*prices(20, hours=50), *dear, network(), demand(1.0))
    controller = Controller(kept, fleet(), set_)
    for jump in (0.0, 6.0, 0.0, 30.0, -20.0, 1.0, 0.0):
        plan = run(controller, T0 + jump * HOUR)
        assert plan.at <= T0 + jump * HOUR < plan.at + FIVE
        safe(plan)
        if jump == 0.0:
            assert plan.price_usd_per_mwh == 20.0


@BOTH
def test_a_site_with_no_rigs_and_one_with_nothing_at_all(set_):
    sites = (site("a", rigs=0, old_rigs=0), site("b", rigs=0, old_rigs=0, nodes=0), site("c"))
    made = asyncio.run(over(*prices(20), network(), demand(50_000), set_=set_, sites=sites).step(T0))
    plans = {plan.site_id: plan for plan in made}
    assert [point.unit_id for point in plans["a"].setpoints] == ["a.gpu"]
    assert plans["b"].setpoints == ()
    assert mining_w(plans["c"]) > 30e6
    for plan in made:
        safe(plan)
    empty = asyncio.run(over(*prices(20), network(), set_=set_, sites=sites[:2]).step(T0))
    assert len(empty) == 2


def test_a_fleet_without_sites_decides_nothing():
    from tieline.fleet import Fleet

    for set_ in (STRIKE, AHEAD):
        assert asyncio.run(Controller(store(), Fleet(name="none", sites=()), set_).step(T0)) == []


# --- promises that cannot all be kept ----------------------------------------


@BOTH
def test_orders_that_contradict_are_settled_by_the_lowest(set_):
    orders = [
        Instruction(**told(), instruction_id=f"o-{mw}", site_id="tx-1", limit_w=mw * 1e6, until=T0 + HOUR)
        for mw in (30, 10, 20, -5)
    ]
    plan = run(over(*prices(20), network(), demand(1.0), *orders[:3], set_=set_))
    assert plan.limit_w == 10e6
    assert "o-10" in " ".join(point.reason.text for point in plan.setpoints)
    safe(plan, 10e6)
    below = run(over(*prices(20), network(), demand(1.0), *orders, set_=set_))
    assert below.limit_w == 0.0
    safe(below, 0.0)


@BOTH
def test_what_cannot_be_moved_beyond_an_order_is_named_in_megawatts(set_):
    gone = Outcome(
        **told(T0 - FIVE), site_id="tx-1", unit_id="tx-1.rigs-1", plan_known_at=T0 - FIVE, result="unreachable",
        asked_w=0.0, observed_w=None, last_known_w=25e6,
    )  # fmt: skip
    order = Instruction(**told(), instruction_id="o-7", site_id="tx-1", limit_w=10e6, until=T0 + HOUR)
    plan = run(over(*prices(20), network(), demand(50_000), gone, order, set_=set_))
    assert "infeasible by 15.0 MW" in plan.note
    assert "o-7" in plan.note
    units = by_unit(plan)
    assert units["tx-1.rigs-2"].target_w == units["tx-1.gpu"].target_w == 0.0  # all that obeys is off


@BOTH
def test_a_reserve_sold_never_lifts_a_limit(set_):
    sold = Commitment(
        **told(), commitment_id="c-1", site_id="tx-1", product="reserve", until=T0 + HOUR, power_w=55e6, response_s=600,
        capacity_usd_per_mw_h=5.0, status="accepted",
    )  # fmt: skip
    order = Instruction(**told(), instruction_id="o-7", site_id="tx-1", limit_w=12e6, until=T0 + HOUR)
    safe(run(over(*prices(900), network(), demand(1.0), sold, order, set_=set_)), 12e6)


@BOTH
def test_promises_that_cannot_all_be_kept_are_named_with_their_megawatts(set_):
    def sold(name: str, mw: float, hours_ago: int) -> Commitment:
        return Commitment(
            **told(T0 - hours_ago * HOUR), commitment_id=name, site_id="tx-1", product="reserve", until=T0 + HOUR,
            power_w=mw * 1e6, response_s=600, capacity_usd_per_mw_h=5.0, status="accepted",
        )  # fmt: skip

    world = (*prices(20), network(), weather(15), demand(0.0))
    kept = run(over(*world, sold("c-1", 20, 3), sold("c-2", 15, 2), set_=set_))
    assert "cannot be kept" not in kept.note
    derate = Fault(**told(), site_id="tx-1", what="derate", limit_w=25e6)
    plan = run(over(*world, sold("c-1", 20, 3), sold("c-2", 15, 2), derate, set_=set_))
    safe(plan, 25e6)
    # 25 MW may be drawn: the older promise is kept in whole, the newer one is short of 10 MW.
    assert "promise c-2 cannot be kept, short of 10.0 MW" in plan.note
    assert "derate" in plan.note
    assert "c-1" not in plan.note
    dark = run(over(*world, sold("c-1", 20, 3), Fault(**told(), site_id="tx-1", what="outage"), set_=set_))
    assert "promise c-1 cannot be kept, short of 20.0 MW" in dark.note


@BOTH
@pytest.mark.parametrize("target_w", [1e12, -1.0, 0.0])
def test_an_override_beyond_reason_is_bounded_and_says_so(set_, target_w):
    held = Override(
        **told(), override_id="v", site_id="tx-1", unit_id="tx-1.rigs-1", target_w=target_w, until=T0 + HOUR, by="kim",
        why="test",
    )  # fmt: skip
    plan = run(over(*prices(20), network(), demand(1.0), held, set_=set_))
    unit = by_unit(plan)["tx-1.rigs-1"]
    assert unit.reason.rule == "override"
    assert 0 <= unit.target_w <= 35e6 * 1.1
    if target_w > 35e6 * 1.1:
        assert "is what limits allow" in unit.reason.text
    safe(plan)


@BOTH
def test_records_about_what_is_not_there_change_nothing(set_):
    world = (*prices(20), network(), weather(15), demand(50_000))
    strange = [
        Instruction(**told(), instruction_id="o", site_id="nowhere", limit_w=0.0, until=T0 + HOUR),
        Fault(**told(), site_id="nowhere", what="outage"),
        Override(**told(), override_id="v", site_id="tx-1", unit_id="tx-1.none", target_w=0.0, until=T0 + HOUR, by="k",
                 why="?"),
        price(900, market="ELSEWHERE"),
        demand(1e9, region="nowhere"),
    ]  # fmt: skip
    assert run(over(*world, *strange, set_=set_)).setpoints == run(over(*world, set_=set_)).setpoints


# --- all of it at once -------------------------------------------------------

MOMENT = st.integers(-48, 48).map(lambda n: T0 + n * timedelta(minutes=37))
PRICE = st.one_of(st.sampled_from([0.0, -50.0, 4858.0, 1e6, -1e6, 24_999.0]), st.floats(-3_000, 30_000))
ODD = st.floats(-1e12, 1e12, allow_nan=False)


def ticks() -> st.SearchStrategy[Record]:
    def one(at, late, usd, hours):
        return price(usd, at=at, known_at=at + late, length_s=hours * 3600)

    return st.builds(one, MOMENT, st.sampled_from([-DAY, -HOUR, HOUR, DAY]), PRICE, st.integers(1, 5))


def orders() -> st.SearchStrategy[Record]:
    def one(at, mw, hours, n):
        return Instruction(**told(at), instruction_id=n, site_id="tx-1", limit_w=mw * 1e6, until=at + hours * HOUR)

    return st.builds(one, MOMENT, st.floats(-10, 100), st.integers(-1, 9), st.sampled_from("ab"))


def overrides() -> st.SearchStrategy[Record]:
    def one(at, unit, watts, hours):
        return Override(
            **told(at), override_id="v", site_id="tx-1", unit_id=unit, target_w=watts, until=at + hours * HOUR, by="k",
            why="?",
        )  # fmt: skip

    units = st.sampled_from([None, "tx-1.rigs-1", "tx-1.gpu"])
    return st.builds(one, MOMENT, units, st.one_of(st.none(), ODD), st.integers(0, 9))


def faults() -> st.SearchStrategy[Record]:
    def one(at, what, limit_w, hours):
        until = None if hours is None else at + hours * HOUR
        return Fault(**told(at), site_id="tx-1", what=what, limit_w=limit_w, until=until)

    whats = st.sampled_from(["outage", "derate", "late_solve"])
    return st.builds(one, MOMENT, whats, st.one_of(st.none(), ODD), st.one_of(st.none(), st.integers(0, 9)))


def sold() -> st.SearchStrategy[Record]:
    def one(at, mw, hours, n):
        return Commitment(
            **told(at), commitment_id=n, site_id="tx-1", product="reserve", until=at + hours * HOUR, power_w=mw * 1e6,
            response_s=600, capacity_usd_per_mw_h=5.0, status="accepted",
        )  # fmt: skip

    return st.builds(one, MOMENT, st.floats(-5, 200), st.integers(0, 9), st.sampled_from("cd"))


def others() -> st.SearchStrategy[Record]:
    networks = st.builds(network, MOMENT, st.sampled_from([0.0, 1.0, 8.7e13, 1e24]), st.sampled_from(["60000", "0"]))
    weathers = st.builds(weather, st.one_of(st.none(), st.floats(-273, 400)), MOMENT)
    demands = st.builds(demand, st.one_of(st.floats(0, 1e12), st.just(0.0)), MOMENT)
    return st.one_of(networks, weathers, demands)


def answers() -> st.SearchStrategy[Record]:
    """What units say of themselves, an unreachable one's last power among it."""

    def one(at, unit, result, watts):
        observed = None if result == "unreachable" else watts
        return Outcome(
            **told(at), site_id="tx-1", unit_id=unit, plan_known_at=at, result=result, asked_w=0.0, observed_w=observed,
            last_known_w=watts,
        )  # fmt: skip

    units = st.sampled_from(["tx-1.rigs-1", "tx-1.gpu", "tx-1.none"])
    results = st.sampled_from(["unreachable", "refused", "applied"])
    return st.builds(one, MOMENT, units, results, st.one_of(st.none(), st.floats(-1e6, 80e6)))


CONTRACTS = st.sampled_from(
    [
        None,
        Contract(basis="fixed", fixed_usd_per_mwh=46.0, take_share=0.7, resale=True, market="HUB"),
        Contract(basis="fixed", fixed_usd_per_mwh=31.4, take_share=0.6),
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.lists(st.one_of(ticks(), orders(), overrides(), faults(), sold(), answers(), others()), max_size=25),
    moments=st.lists(MOMENT, min_size=1, max_size=5),
    contract=CONTRACTS,
    rigs=st.sampled_from([0, 10_000, 30_000]),
    set_=st.sampled_from([STRIKE, AHEAD, Settings()]),
)
def test_whatever_the_world_says_the_limit_holds_and_replays_agree(batch, moments, contract, rigs, set_):
    where = site(rigs=rigs, old_rigs=0 if rigs == 0 else 4_000, contract=contract)
    made = []
    for _ in range(2):
        kept = store(*batch)
        controller = Controller(kept, fleet(where), set_)
        for moment in moments:
            plan = run(controller, moment)
            if "infeasible" in plan.note:  # only what does not answer is beyond reach, and all else is off
                held = {p.unit_id for p in plan.setpoints if p.reason.rule == "unreachable"}
                refusing = any(isinstance(r, Outcome) and r.result == "refused" for r in batch)
                assert held or refusing
                within = sum(p.target_w for p in plan.setpoints) <= plan.limit_w + 1e-6  # a feeder alone is over
                assert within or all(p.target_w == 0 for p in plan.setpoints if p.unit_id not in held)
            else:
                safe(plan)
            if plan.price_usd_per_mwh is None or plan.hashprice_usd is None:
                assert plan.note, "a fallback says why"
                assert plan.decided_by.endswith("(fallback)")
        made.append(kept.digest())
    assert made[0] == made[1]


def test_rigs_that_answer_on_tuesdays_count_at_their_last_known_power_and_are_asked_again_when_they_are_there():
    """Heard for a day of each week: nothing is built on them while they are away, and no plan breaks a limit."""
    monday = T0 - timedelta(days=T0.weekday())

    def heard(at, power_w: float | None) -> records.Sample:
        return records.Sample(
            unit_id="tx-1.rigs-1", site_id="tx-1", length_s=300, readings=0 if power_w is None else 5, power_w=power_w,
            hashrate_hs=None, **told(at),
        )  # fmt: skip

    kept = store(*prices(20, start=monday - 2 * DAY, hours=24 * 24), network(at=monday - HOUR), weather(15, at=monday))
    controller = Controller(kept, fleet(), STRIKE)
    for week in range(3):
        for day in range(7):
            now = monday + timedelta(days=7 * week + day, hours=12)
            away = day != 1
            kept.append([heard(now - FIVE, None if away else 31e6), weather(15, at=now), network(at=now - HOUR)])
            point = by_unit(plan := run(controller, now))["tx-1.rigs-1"]
            safe(plan)
            if not away:
                assert point.reason.rule != "unreachable"
                assert point.target_w > 30e6, "asked like any other"
            else:
                known = "31.0 MW (last known)" if (week, day) > (0, 1) else "rated, nothing was ever heard"
                assert point.reason.rule == "unreachable"
                assert known in point.reason.text
