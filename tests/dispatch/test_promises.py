"""Promises: what can be sold, what a peak costs, what a baseline is."""

import asyncio
from datetime import date, timedelta

import msgspec
import pytest
from tests.dispatch.fleets import T0, demand, fleet, network, price, store, weather

from tieline.dispatch import Controller, Settings
from tieline.dispatch.commitments import (
    Keepable,
    NotKeepable,
    check,
    floor_w,
    sheddable,
)
from tieline.fleet.peaks import shipped_rules
from tieline.records import Commitment, Fault

HOUR = timedelta(hours=1)
FOUR_CP, TWELVE_CP = shipped_rules()["4CP"], shipped_rules()["12CP"]


def offer(mw: float, response_s: int = 600, status: str = "offered", start=T0) -> Commitment:
    return Commitment(
        at=start,
        known_at=start - HOUR * 24,
        source="t",
        kind="measured",
        commitment_id=f"c{mw}",
        site_id="tx-1",
        product="reserve",
        until=start + HOUR * 4,
        power_w=mw * 1e6,
        response_s=response_s,
        capacity_usd_per_mw_h=5.0,
        status=status,
    )


def test_what_can_be_shed_in_time_can_be_sold():
    can = sheddable(mining_w=50e6, rest_w=1e6, inference_w=2e6)
    found = check(offer(40), can, 55e6, [], floor_costs_usd=100.0)
    assert isinstance(found, Keepable)
    assert found.pays_usd == 40 * 4 * 5
    assert found.worth_it
    assert found.spare_w == pytest.approx(11e6)  # replicas drain within ten minutes


def test_no_megawatt_is_sold_twice():
    can = sheddable(50e6, 1e6, 0.0)
    found = check(offer(30), can, 50e6, [offer(25, status="accepted")])
    assert isinstance(found, NotKeepable)
    assert found.missing_w == pytest.approx(6e6)
    assert "25.0 MW of it is sold" in found.why
    later = offer(25, status="accepted", start=T0 + HOUR * 5)
    assert isinstance(check(offer(30), can, 50e6, [later]), Keepable)


def test_inference_is_too_slow_for_a_fast_response():
    can = sheddable(10e6, 0.0, 5e6)
    assert isinstance(check(offer(12, response_s=600), can, 20e6, []), Keepable)
    assert isinstance(check(offer(12, response_s=60), can, 20e6, []), NotKeepable)


def test_an_empty_offer_is_refused():
    assert isinstance(check(offer(0), sheddable(1e6, 0, 0), 1e6, []), NotKeepable)


def test_a_floor_holds_from_half_an_hour_ahead_until_released():
    sold = offer(10, status="accepted")
    lead = timedelta(minutes=30)
    assert floor_w([sold], T0 - HOUR, T0 - HOUR + lead, lead) == 0.0
    assert floor_w([sold], T0 - lead, T0, lead) == 10e6
    assert floor_w([sold], T0 + HOUR * 4, T0 + HOUR * 5, lead) == 0.0
    assert floor_w([msgspec.structs.replace(sold, status="released")], T0, T0 + HOUR, lead) == 0.0


def test_a_peak_is_worth_its_chance_times_its_share_of_the_year():
    assert FOUR_CP.applies(date(2024, 8, 1))
    assert not FOUR_CP.applies(date(2024, 10, 1))
    assert not TWELVE_CP.applies(date(2024, 8, 1))
    # 10 % of 60,000 / 4 USD per MW in a quarter hour
    assert FOUR_CP.adder_usd_per_mwh(0.1) == pytest.approx(6_000.0)
    half_hour = msgspec.structs.replace(TWELVE_CP, status="in force", effective=date(2024, 9, 1))
    assert not half_hour.applies(date(2024, 8, 31))
    assert half_hour.applies(date(2024, 9, 1))
    assert half_hour.adder_usd_per_mwh(0.1) == pytest.approx(1_000.0)


def test_odds_of_a_month_name_no_more_peaks_than_it_has():
    assert FOUR_CP.calibrated([0.2, 0.3]) == 1.0
    assert FOUR_CP.calibrated([0.5] * 4) == 0.5


# --- a floor holds whatever decides ---------------------------------------------------


def reserve(mw: float, **more) -> Commitment:
    return msgspec.structs.replace(offer(mw), status="accepted", commitment_id="c-1", **more)


def drawn_by(policy: str, *batch, start=T0) -> tuple[float, list]:
    told = [*(price(900.0, at=T0 - 48 * HOUR + n * HOUR) for n in range(72)), network(), weather(15), demand(0.0)]
    settings = Settings(policy=policy, restore_share_per_5min=None)
    plan = asyncio.run(Controller(store(*told, *batch), fleet(), settings).step(start))[0]
    return sum(p.target_w for p in plan.setpoints if "rigs" in p.unit_id), [p.reason for p in plan.setpoints]


LATE = Fault(at=T0, known_at=T0, source="t", kind="simulated", site_id="tx-1", what="late_solve")


@pytest.mark.parametrize(
    ("policy", "more"), [("strike", ()), ("lookahead", ()), ("lookahead", (LATE,))], ids=["strike", "lookahead", "late"]
)
def test_below_the_floor_on_price_would_be_a_breach_whoever_decides(policy, more):
    # 900 USD/MWh is nine times any strike here: without a promise all rigs rest.
    assert drawn_by(policy, *more)[0] < 1e6
    watts, reasons = drawn_by(policy, reserve(20), *more)
    assert watts == pytest.approx(20e6, rel=0.01) if policy == "strike" else watts >= 20e6 * 0.99
    assert "commitment" in {r.rule for r in reasons}
    called = msgspec.structs.replace(reserve(20), status="deployed", known_at=T0)
    assert drawn_by(policy, reserve(20), called, *more)[0] < 1e6


def test_a_floor_holds_where_the_price_is_not_known():
    told = [network(), weather(15), demand(0.0), reserve(20)]
    for policy in ("strike", "lookahead"):
        controller = Controller(store(*told), fleet(), Settings(policy=policy, restore_share_per_5min=None))
        plan = asyncio.run(controller.step(T0))[0]
        assert plan.decided_by.endswith("(fallback)")
        assert sum(p.target_w for p in plan.setpoints if "rigs" in p.unit_id) >= 20e6 * 0.99
        assert any("a reserve sold must be drawing" in p.reason.text for p in plan.setpoints)


def test_above_its_floor_the_strike_decides():
    told = [*(price(20.0, at=T0 - 48 * HOUR + n * HOUR) for n in range(72)), network(), weather(15), demand(0.0)]
    for batch in (told, [*told, reserve(20)]):
        controller = Controller(store(*batch), fleet(), Settings(policy="strike", restore_share_per_5min=None))
        plan = asyncio.run(controller.step(T0))[0]
        assert sum(p.target_w for p in plan.setpoints if "rigs" in p.unit_id) > 45e6
