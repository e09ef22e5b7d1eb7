"""Dispatch as an operator's log: what is known, and what is asked."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.fleets import FIVE, FREE, T0, by_unit, demand, fleet, network, price, site, store, weather

from tieline import records
from tieline.dispatch import Controller, Settings
from tieline.fleet import Contract
from tieline.records import Fault, Instruction, Outcome, Override, Plan, Sample


def decide(*batch, sites=(), now=T0, set_=FREE) -> dict[str, Plan]:
    """One step over the usual known world plus `batch`."""
    controller = Controller(store(*batch), fleet(*sites), set_)
    return {plan.site_id: plan for plan in asyncio.run(controller.step(now))}


def one(*batch, **more) -> Plan:
    return next(iter(decide(*batch, **more).values()))


def order(limit_mw: float, at=T0, minutes: int = 60) -> Instruction:
    return Instruction(
        at=at,
        known_at=at,
        source="grid",
        kind="measured",
        instruction_id="o-1",
        site_id="tx-1",
        limit_w=limit_mw * 1e6,
        until=at + timedelta(minutes=minutes),
    )


def test_price_below_every_strike_mines_in_full():
    plan = one(price(20), network(), weather(15), demand(50_000))
    units = by_unit(plan)
    assert units["tx-1.rigs-1"].shares == {"normal": 1.0}
    assert units["tx-1.rigs-1"].target_w == pytest.approx(10_000 * 3500 * 1.04)
    assert units["tx-1.rigs-1"].reason.rule == "strike"
    assert units["tx-1.gpu"].replicas == 15  # 50,000 x 1.15 / 3,876 tok/s
    assert plan.decided_by == "strike"


def test_between_two_strikes_old_rigs_rest_and_new_ones_run_low():
    # S21 17.5 J/TH: low at 47.0/(0.024*17.5)*1.1 ..., S19j Pro 29.5 J/TH
    hashprice = one(price(20), network(), weather(15)).hashprice_usd
    normal_21 = hashprice * FREE.keeps / (0.024 * 17.5 * 1.04) * 0.2 / 0.28
    low_19 = hashprice * FREE.keeps / (0.024 * 29.5 * 1.04)
    units = by_unit(one(price((normal_21 + low_19 * 1.1) / 2 + 8), network(), weather(15)))
    assert units["tx-1.rigs-1"].shares == {"low": 1.0}
    assert units["tx-1.rigs-2"].shares == {"sleep": 1.0}
    assert units["tx-1.rigs-2"].target_w == pytest.approx(4_000 * 25 * 1.04, rel=1e-6)


def test_a_scarcity_price_rests_all_mining_and_serves():
    units = by_unit(one(price(900), network(), weather(30), demand(100_000)))
    assert units["tx-1.rigs-1"].shares == {"sleep": 1.0}
    assert units["tx-1.gpu"].replicas == 30
    assert "900.00" in units["tx-1.rigs-1"].reason.text


def test_a_negative_price_runs_every_rig():
    units = by_unit(one(price(-50), network(), weather(15)))
    assert units["tx-1.rigs-1"].shares == units["tx-1.rigs-2"].shares == {"normal": 1.0}


def test_a_price_of_zero_is_a_price():
    plan = one(price(0.0), network(), weather(0.0))
    assert plan.price_usd_per_mwh == 0.0
    assert by_unit(plan)["tx-1.rigs-1"].reason.rule == "strike"
    assert by_unit(plan)["tx-1.rigs-1"].target_w == pytest.approx(10_000 * 3500 * 1.04)


def test_no_price_keeps_the_last_decision_and_says_so():
    kept = store(price(20), network(), weather(15))
    controller = Controller(kept, fleet(), FREE)
    first = asyncio.run(controller.step(T0))[0]
    later = T0 + timedelta(hours=5)
    second = asyncio.run(controller.step(later))[0]
    assert second.decided_by == "strike (fallback)"
    assert second.price_usd_per_mwh is None
    assert by_unit(second)["tx-1.rigs-1"].target_w <= by_unit(first)["tx-1.rigs-1"].target_w * 1.06
    assert by_unit(second)["tx-1.rigs-1"].shares == {"normal": 1.0} or second.setpoints
    assert "last decision kept" in by_unit(second)["tx-1.rigs-1"].reason.text
    third = asyncio.run(Controller(kept, fleet(), FREE).step(later + FIVE))[0]
    assert by_unit(third)["tx-1.rigs-1"].target_w == by_unit(second)["tx-1.rigs-1"].target_w


def test_nothing_known_at_all_rests_mining_and_keeps_inference_ready():
    plan = one()
    assert plan.decided_by == "strike (fallback)"
    assert by_unit(plan)["tx-1.rigs-1"].shares == {"sleep": 1.0}
    assert by_unit(plan)["tx-1.gpu"].replicas == 80


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e7, -1e6])
def test_an_absurd_price_is_refused_by_name(bad):
    controller = Controller(store(network()), fleet(), FREE)
    controller.outlook.learn(price(bad))
    assert "HUB" in controller.outlook.refused[0]
    assert controller.outlook.prices == {}


def test_zero_difficulty_is_refused():
    plan = one(price(20), network(difficulty=0.0), weather(15))
    assert plan.hashprice_usd is None
    assert plan.decided_by.endswith("(fallback)")


def test_an_order_sheds_the_least_efficient_first_and_serves_on():
    plan = one(price(20), network(), weather(15), demand(100_000), order(20))
    units = by_unit(plan)
    assert sum(u.target_w for u in plan.setpoints) <= 20e6
    assert units["tx-1.gpu"].replicas == 30
    assert units["tx-1.rigs-2"].shares == {"sleep": 1.0}
    assert units["tx-1.rigs-1"].reason.rule == "instruction"
    assert plan.limit_w == 20e6


def test_an_order_to_zero_turns_all_off():
    plan = one(price(-20), network(), weather(15), demand(100_000), order(0))
    assert all(u.target_w == 0.0 for u in plan.setpoints)
    assert by_unit(plan)["tx-1.rigs-1"].shares == {"off": 1.0}
    assert by_unit(plan)["tx-1.gpu"].replicas == 0


def test_an_order_that_starts_inside_the_interval_binds_all_of_it():
    plan = one(price(20), network(), order(10, at=T0 + timedelta(minutes=3)), now=T0 + timedelta(minutes=4), set_=FREE)
    assert sum(u.target_w for u in plan.setpoints) <= 10e6


def test_load_comes_back_in_stages():
    kept = store(price(20), network(), weather(15), demand(0.0), order(5, minutes=10))
    controller = Controller(kept, fleet(), Settings())
    totals = []
    for n in range(7):
        plan = asyncio.run(controller.step(T0 + n * FIVE))[0]
        totals.append(sum(u.target_w for u in plan.setpoints) / 1e6)
    assert totals[0] <= 5
    assert totals[1] <= 5
    rises = [b - a for a, b in pairwise(totals)]
    assert max(rises) <= 12.0 + 0.01  # 20 % of 60 MW
    assert totals[-1] > 45


def test_unreachable_rigs_count_at_their_last_known_power():
    gone = Outcome(
        at=T0 - FIVE,
        known_at=T0 - FIVE,
        source="site:tx-1",
        kind="measured",
        site_id="tx-1",
        unit_id="tx-1.rigs-2",
        plan_known_at=T0 - FIVE,
        result="unreachable",
        asked_w=0.0,
        observed_w=None,
        last_known_w=12e6,
    )
    plan = one(price(20), network(), weather(15), gone, order(30))
    units = by_unit(plan)
    assert units["tx-1.rigs-2"].target_w == 12e6
    assert units["tx-1.rigs-2"].reason.rule == "unreachable"
    assert sum(u.target_w for u in plan.setpoints) <= 30e6


def test_what_cannot_be_moved_beyond_the_limit_is_named_in_mw():
    gone = Sample(
        at=T0 - FIVE,
        known_at=T0,
        source="site:tx-1",
        kind="measured",
        site_id="tx-1",
        unit_id="tx-1.rigs-1",
        length_s=300,
        readings=0,
        power_w=None,
    )
    plan = one(price(20), network(), weather(15), gone, order(10))
    assert "infeasible by" in plan.note
    assert by_unit(plan)["tx-1.rigs-2"].target_w == 0.0


def test_an_override_holds_until_it_expires():
    over = Override(
        at=T0,
        known_at=T0,
        source="console",
        kind="measured",
        override_id="v1",
        site_id="tx-1",
        unit_id="tx-1.rigs-1",
        target_w=5e6,
        until=T0 + FIVE,
        by="kim",
        why="work on row 4",
    )
    controller = Controller(store(price(20), network(), over), fleet(), FREE)
    first, second = (asyncio.run(controller.step(T0 + n * FIVE))[0] for n in range(2))
    assert by_unit(first)["tx-1.rigs-1"].target_w == 5e6
    assert "kim" in by_unit(first)["tx-1.rigs-1"].reason.text
    assert by_unit(second)["tx-1.rigs-1"].target_w > 30e6


def test_heat_derates_and_then_stops_air_cooled_rigs():
    warm = by_unit(one(price(20), network(), weather(40)))["tx-1.rigs-1"].target_w
    assert warm == pytest.approx(10_000 * 3500 * 0.9 * 1.09, rel=1e-6)
    hot = by_unit(one(price(20), network(), weather(48)))["tx-1.rigs-1"]
    assert hot.shares == {"sleep": 1.0}
    assert hot.reason.rule == "derate"


def test_take_or_pay_makes_contracted_power_cheap():
    fixed = Contract(basis="fixed", fixed_usd_per_mwh=200.0, take_share=0.6)
    plan = one(network(), weather(15), demand(0.0), sites=(site(contract=fixed),))
    total = sum(u.target_w for u in plan.setpoints)
    assert total == pytest.approx(36e6, rel=1e-3)  # 60 % of 60 MW is paid for anyway, no more is worth 200


def test_dear_resale_sells_the_contract_and_mines_nothing():
    resale = Contract(basis="fixed", fixed_usd_per_mwh=46.0, take_share=0.7, resale=True, market="HUB")
    rich = one(price(500), network(), weather(15), demand(0.0), sites=(site(contract=resale),))
    assert by_unit(rich)["tx-1.rigs-1"].shares == {"sleep": 1.0}
    poor = one(price(12), network(), weather(15), demand(0.0), sites=(site(contract=resale),))
    assert by_unit(poor)["tx-1.rigs-1"].shares == {"normal": 1.0}


def test_demand_moves_to_a_region_within_reach():
    set_ = Settings(policy="strike", restore_share_per_5min=None, reach={"north_america": ("east",)})
    sites = (site(nodes=10), site("ea-1", nodes=40, region="east"))
    plans = decide(price(20), network(), demand(160_000), sites=sites, set_=set_)
    assert by_unit(plans["tx-1"])["tx-1.gpu"].replicas == 20
    assert by_unit(plans["ea-1"])["ea-1.gpu"].replicas > 20


def test_stuck_rigs_count_against_the_limit():
    stuck = Fault(
        at=T0, known_at=T0, source="t", kind="measured", site_id="tx-1", what="stuck_rigs", share=0.2, until=None
    )
    plan = one(price(900), network(), weather(15), stuck)
    assert by_unit(plan)["tx-1.rigs-1"].target_w > 0.2 * 35e6
    assert "do not obey" in by_unit(plan)["tx-1.rigs-1"].reason.text


def test_observe_is_planned_and_hosted_is_only_advised():
    assert one(price(20), network(), sites=(site(mode="observe"),)).mode == "observe"
    hosted = msgspec.structs.replace(site(), ownership="hosted")
    assert one(price(20), network(), sites=(hosted,)).mode == "advise"


def test_a_clock_set_back_does_not_see_what_it_learned_ahead():
    kept = store(price(20), price(900, at=T0 + timedelta(hours=1), known_at=T0 + timedelta(hours=1)), network())
    controller = Controller(kept, fleet(), FREE)
    before = controller.decide(T0)
    controller.decide(T0 + timedelta(hours=1))
    again = controller.decide(T0)
    assert [p.price_usd_per_mwh for p in before] == [p.price_usd_per_mwh for p in again] == [20.0]


def test_a_replan_in_the_same_interval_is_a_second_record():
    kept = store(price(20), network())
    controller = Controller(kept, fleet(), FREE)
    asyncio.run(controller.step(T0))
    kept.append([order(10, at=T0 + timedelta(minutes=1))])
    plan = asyncio.run(controller.step(T0 + timedelta(minutes=1)))[0]
    assert sum(u.target_w for u in plan.setpoints) <= 10e6
    assert kept.counts()["Plan"] == 2


PRICES = st.one_of(st.none(), st.floats(-3000, 30_000), st.sampled_from([0.0, -50.0, 4858.0, float("nan")]))


@settings(max_examples=150, deadline=None)
@given(
    usd=PRICES,
    temp=st.one_of(st.none(), st.floats(-40, 60)),
    tokens=st.one_of(st.none(), st.floats(0, 1e6)),
    limit_mw=st.one_of(st.none(), st.floats(0, 80)),
    stuck=st.one_of(st.none(), st.floats(0, 1)),
    feeder_mw=st.floats(0.1, 80),
    rigs=st.integers(0, 30_000),
    difficulty=st.sampled_from([0.0, 1.0, 8.7e13]),
    contract=st.sampled_from(
        [
            None,
            Contract(basis="fixed", fixed_usd_per_mwh=46.0, take_share=0.7, resale=True, market="HUB"),
            Contract(basis="fixed", fixed_usd_per_mwh=31.4, take_share=0.6),
        ]
    ),
)
def test_the_limit_holds_and_nothing_crashes(usd, temp, tokens, limit_mw, stuck, feeder_mw, rigs, difficulty, contract):
    where = site(rigs=rigs, feeder_mw=feeder_mw, contract=contract)
    controller = Controller(store(), fleet(where), FREE)
    known = [network(difficulty=difficulty), weather(temp)]
    known += [] if usd is None else [price(usd)]
    known += [] if tokens is None else [demand(tokens)]
    known += [] if limit_mw is None else [order(limit_mw)]
    for record in known:
        controller.outlook.learn(record)
    if stuck is not None:
        fault = Fault(at=T0, known_at=T0, source="t", kind="measured", site_id="tx-1", what="stuck_rigs", share=stuck)
        controller.outlook.learn(fault)
    plan = controller.decide(T0)[0]
    total = sum(u.target_w for u in plan.setpoints)
    if "infeasible" not in plan.note:
        # What cannot be moved and exceeds a limit by less than a watt is not worth a word.
        assert total <= plan.limit_w + 1.0
        mining = sum(u.target_w for u in plan.setpoints if "rigs" in u.unit_id)
        assert mining <= feeder_mw * 1e6 + 1.0
    else:
        assert stuck
    for unit in plan.setpoints:
        assert unit.reason.text
        if unit.shares:
            assert sum(unit.shares.values()) == pytest.approx(1.0, abs=1e-5)
    assert records.encode(plan) == records.encode(Controller_again(controller, plan))


def Controller_again(controller: Controller, plan: Plan) -> Plan:  # noqa: N802
    """The same knowledge decided again by a controller that has decided nothing yet."""
    controller.last = {}
    return controller.decide(T0)[0]


def test_wet_pads_keep_rigs_running_in_dry_heat_and_do_not_help_in_damp_heat():
    def tick(wet_c):
        return msgspec.structs.replace(weather(44.0), wet_bulb_c=wet_c)

    wet_site = msgspec.structs.replace(site(), evaporative=0.8)

    def load(*more, one=wet_site):
        (made,) = asyncio.run(Controller(store(price(20.0), network(), *more), fleet(one), FREE).step(T0))
        return sum(p.target_w for p in made.setpoints if p.replicas is None)

    plain = load(tick(22.0), one=site())
    assert load(tick(22.0)) > plain * 1.1, "dry heat: the pads bring 44 C to 26 C"
    assert load(tick(44.0)) == pytest.approx(plain)
    assert load(tick(None)) == pytest.approx(plain), "an unknown wet bulb is no help"


@given(dry=st.floats(-40, 60), depression=st.floats(0, 30), share=st.floats(0, 1))
def test_intake_air_lies_between_wet_and_dry_bulb(dry, depression, share):
    one = msgspec.structs.replace(site(), evaporative=share, temp_offset_c=0.0)
    assert dry - depression - 1e-9 <= one.intake_c(dry, dry - depression) <= dry + 1e-9
