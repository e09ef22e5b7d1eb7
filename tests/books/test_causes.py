"""Why mining was below full operation: shares that sum exactly, whatever was asked, told and measured."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.books.causes import CALLED, CAUSES, Lost, SiteLog, add_interval, calls_of, shortfall, split
from tieline.clock import FIVE_MINUTES, Interval
from tieline.fleet import Contract, Feeder, Interconnect, RigGroup, Site
from tieline.records import Cause, Commitment, Fault, Instruction, NetworkTick, Outcome, Plan, Reason, Sample, Setpoint

T0 = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOW = Interval(T0, FIVE_MINUTES)
STAMP = {"source": "test", "kind": "measured"}
SITE = Site(
    id="a",
    name="A",
    region="r",
    lat=0.0,
    lon=0.0,
    interconnect=Interconnect(limit_w=10e6),
    feeders=(Feeder(id="a.f", load="mining", limit_w=10e6),),
    contract=Contract(basis="fixed", fixed_usd_per_mwh=40.0),
    rig_groups=(RigGroup(id="a.rigs", feeder="a.f", model="Antminer S21", rigs=1000),),
    mode="act",
)
RATED_W = SITE.rig_groups[0].rated_w * 1.04  # air, below 20 C
RATED_HS = SITE.rig_groups[0].rated_hs
NETWORK = NetworkTick(
    at=T0, known_at=T0, difficulty=1.5e14, subsidy_btc=3.125, fee_share=0.03, btc_usd=Decimal(100_000), **STAMP
)


def plan(asked_w: float, rule: str, mode: str = "act") -> Plan:
    point = Setpoint(unit_id="a.rigs", target_w=asked_w, reason=Reason(rule=rule, text="test"))
    return Plan(
        at=T0, known_at=T0, site_id="a", length_s=300, valid_until=T0 + 3 * FIVE_MINUTES, mode=mode, limit_w=10e6,
        price_usd_per_mwh=40.0, hashprice_usd=50.0, setpoints=(point,), decided_by="test", **STAMP,
    )  # fmt: skip


def sample(power_w: float | None, hashes: float | None = None) -> Sample:
    if hashes is None and power_w is not None:
        hashes = power_w / RATED_W
    return Sample(
        at=T0, known_at=T0 + FIVE_MINUTES, site_id="a", unit_id="a.rigs", length_s=300, readings=10, power_w=power_w,
        hashrate_hs=None if hashes is None else hashes * RATED_HS, **STAMP,
    )  # fmt: skip


def order(name: str, limit_w: float) -> Instruction:
    return Instruction(
        at=T0 - FIVE_MINUTES, known_at=T0 - FIVE_MINUTES, instruction_id=name, site_id="a", limit_w=limit_w,
        until=T0 + FIVE_MINUTES, **STAMP,
    )  # fmt: skip


def reflex(asked_w: float, cause: Cause, after_s: int = 0) -> Outcome:
    at = T0 + timedelta(seconds=after_s)
    return Outcome(
        at=at, known_at=at + timedelta(seconds=5), site_id="a", unit_id="a.rigs", plan_known_at=at, result="applied",
        asked_w=asked_w, observed_w=asked_w, cause=cause, **STAMP,
    )  # fmt: skip


def outage(seconds: int) -> Fault:
    return Fault(at=T0, known_at=T0, site_id="a", what="outage", until=T0 + timedelta(seconds=seconds), **STAMP)


def why(plan_, drawn, outcomes=(), orders=(), faults=(), temp=15.0, before=None, hashes=None):
    total = Lost()
    memory = {} if before is None else before
    log = SiteLog([sample(drawn, hashes)], outcomes, orders, faults)
    add_interval(total, SITE, NOW, plan_, log, temp, memory)
    return total


def shares(total: Lost) -> dict[str, float]:
    """MW by cause, rounded."""
    return {c: round(wh * 12 / 1e6, 2) for c, wh in total.short_wh.items() if wh > 1.0}


@pytest.mark.parametrize(
    ("asked", "rule", "drawn", "more", "found"),
    [
        (1e6, "strike", 1e6, {}, {"economic": 2.64}),
        (1e6, "lookahead", 1e6, {}, {"economic": 2.64}),
        (1e6, "instruction", 1e6, {"orders": [order("o-1", 1e6)]}, {"order": 2.64}),
        (1e6, "instruction", 1e6, {"orders": [order(f"{CALLED}c-1", 1e6)]}, {"commitment": 2.64}),
        (1e6, "override", 1e6, {}, {"override": 2.64}),
        (1e6, "fault", 1e6, {}, {"fault": 2.64}),
        (1e6, "fallback", 1e6, {}, {"fault": 2.64}),
        # Asked in full, half of it did not come: broken.
        (RATED_W, "strike", 1.64e6, {}, {"fault": 2.0}),
        # 3 % below rating is within what makers' ratings vary by.
        (RATED_W, "strike", 3.53e6, {}, {"none": 0.11}),
        # Shed on price, and then half of the rest did not obey either.
        (2e6, "strike", 1e6, {}, {"economic": 1.64, "fault": 1.0}),
        # No supply for all of the interval takes what price would have left.
        (3e6, "strike", 0.0, {"faults": [outage(300)]}, {"fault": 3.64}),
        (RATED_W, "strike", 1.82e6, {"faults": [outage(150)]}, {"fault": 1.82}),
        # An order inside the interval, before any new plan: the reflex's word.
        (RATED_W, "strike", 1e6, {"outcomes": [reflex(1e6, "order")], "orders": [order("o-1", 1e6)]}, {"order": 2.64}),
    ],
)
def test_each_megawatt_has_the_cause_that_took_it(asked, rule, drawn, more, found):
    total = why(plan(asked, rule), drawn, **more)
    assert shares(total) == pytest.approx(found, abs=0.02)


def test_heat_takes_first_and_price_what_heat_left():
    # At 45 C air-cooled rigs run at 80 %, and cooling draws 9 % of load.
    hot = why(plan(1e6, "strike"), 1e6, temp=45.0)
    rated = SITE.rig_groups[0].rated_w * 1.09
    assert shares(hot) == {"weather": round(0.2 * rated / 1e6, 2), "economic": round((0.8 * rated - 1e6) / 1e6, 2)}


def test_load_that_comes_back_in_stages_is_short_for_what_had_shed_it():
    memory: dict[str, Cause] = {}
    why(plan(1e6, "instruction"), 1e6, orders=[order("o-1", 1e6)], before=memory)
    assert memory == {"a.rigs": "order"}
    assert shares(why(plan(2e6, "restore"), 2e6, before=memory)) == {"order": 1.64}
    why(plan(RATED_W, "strike"), RATED_W, before=memory)
    assert memory == {}
    assert shares(why(plan(2e6, "restore"), 2e6, before=memory)) == {"economic": 1.64}


def test_a_reflex_that_brings_load_back_after_a_call_is_the_calls():
    over = order(f"{CALLED}c-1", 1e6)
    over = over.__class__(**{n: getattr(over, n) for n in over.__struct_fields__} | {"until": T0 - FIVE_MINUTES})
    total = why(plan(RATED_W, "strike"), 2e6, [reflex(2e6, "order")], [over])
    assert shares(total) == {"commitment": 1.64}


def test_what_was_not_heard_is_in_no_figure_but_its_own():
    total = why(plan(1e6, "strike"), None)
    made = shortfall(total, "a", NOW, NETWORK, 1.0, "test", "estimated")
    assert (made.full_wh, made.drawn_wh, made.short_wh, made.unheard_s) == (0, 0, {}, 300)


def test_a_site_that_is_only_watched_was_asked_nothing():
    assert set(shares(why(plan(1e6, "strike", mode="observe"), 1e6))) == {"fault"}  # it may act, and was not asked
    total = Lost()
    hosted = SITE.__class__(**{n: getattr(SITE, n) for n in SITE.__struct_fields__} | {"mode": "observe"})
    add_interval(total, hosted, NOW, plan(1e6, "strike", mode="observe"), SiteLog([sample(1e6)]), 15.0, {})
    assert set(shares(total)) == {"none"}


def test_rigs_that_draw_and_do_not_hash_lose_bitcoin_to_a_fault():
    made = shortfall(why(plan(RATED_W, "strike"), RATED_W, hashes=0.0), "a", NOW, NETWORK, 0.982, "test", "measured")
    assert made.short_wh == {}
    assert made.made_sats == 0
    assert made.lost_sats == {"fault": made.full_sats}
    # 0.2 EH/s for 300 s at difficulty 1.5e14: 60e18 / (1.5e14 x 2^32) blocks x 3.21875 BTC x 0.982.
    assert made.full_sats == round(RATED_HS * 300 / (1.5e14 * 2**32) * 3.125 * 1.03 * 0.982 * 1e8)


def test_without_a_network_satoshi_are_not_known():
    made = shortfall(why(plan(1e6, "strike"), 1e6), "a", NOW, None, 1.0, "test", "measured")
    assert (made.full_sats, made.made_sats, made.lost_sats) == (None, None, {})
    assert sum(made.short_wh.values()) == made.full_wh - made.drawn_wh > 0


WEIGHTS = st.dictionaries(st.sampled_from(CAUSES), st.floats(0, 1e12), max_size=7)


@given(total=st.integers(0, 10**15), weights=WEIGHTS)
def test_parts_sum_to_the_whole(total, weights):
    parts = split(total, weights)
    assert sum(parts.values()) == total
    assert all(part > 0 for part in parts.values())
    assert not set(parts) - set(weights) - {"none"}


RULES = st.sampled_from(["strike", "instruction", "override", "restore", "fallback", "derate", "odd"])
WATTS = st.floats(0, 6e6)


@given(
    asked=WATTS, rule=RULES, drawn=st.one_of(st.none(), WATTS), hashes=st.one_of(st.none(), st.floats(0, 2)),
    cut=st.one_of(st.none(), st.tuples(WATTS, st.sampled_from(["order", "fault", "override"]), st.integers(0, 294))),
    dark=st.integers(0, 300), temp=st.one_of(st.none(), st.floats(-40, 60)), mode=st.sampled_from(["act", "observe"]),
)  # fmt: skip
def test_whatever_happened_the_shares_sum_exactly(asked, rule, drawn, hashes, cut, dark, temp, mode):
    outcomes = [] if cut is None else [reflex(*cut)]
    total = why(plan(asked, rule, mode), drawn, outcomes, [order("o", 1e6)], [outage(dark)], temp, {}, hashes)
    made = shortfall(total, "a", NOW, NETWORK, 0.98, "test", "measured")
    assert sum(made.short_wh.values()) == made.full_wh - made.drawn_wh
    assert made.full_sats is not None
    assert made.made_sats is not None
    assert sum(made.lost_sats.values()) == made.full_sats - made.made_sats
    assert all(part > 0 for part in (*made.short_wh.values(), *made.lost_sats.values()))


def told(status: str, at: datetime, until: datetime = T0 + timedelta(hours=4)) -> Commitment:
    return Commitment(
        at=T0, known_at=at, commitment_id="c-1", site_id="a", product="reserve", until=until, power_w=1e6,
        response_s=600,
        capacity_usd_per_mw_h=5.0, status=status, **STAMP,
    )  # fmt: skip


def test_a_call_lasts_until_it_is_released_or_its_promise_ends():
    hour = timedelta(hours=1)
    history = [told("accepted", T0 - hour), told("deployed", T0 + hour), told("released", T0 + 2 * hour)]
    history += [told("deployed", T0 + 3 * hour)]
    assert [(a, b) for _, a, b in calls_of(history)] == [
        (T0 + hour, T0 + 2 * hour), (T0 + 3 * hour, T0 + 4 * hour),
    ]  # fmt: skip
    # Told twice it is one call; called before its beginning it begins then.
    early = [told("deployed", T0 - hour), told("deployed", T0 - hour / 2)]
    assert [(a, b) for _, a, b in calls_of(early)] == [(T0, T0 + 4 * hour)]
