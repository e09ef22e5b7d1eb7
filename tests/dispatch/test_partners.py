"""What a partner asks of dispatch at its own sites, and that nobody else's are bound by it."""

import asyncio
from datetime import datetime, timedelta

import msgspec
import pytest
from tests.dispatch.fleets import FREE, T0, by_unit, demand, fleet, network, price, site, store, weather

from tieline.dispatch import Controller, Settings
from tieline.fleet import Partner
from tieline.records import PartnerAsk, Plan


def plans(set_: Settings, partner: Partner, at_usd: float = 20.0) -> dict[str, Plan]:
    whole = msgspec.structs.replace(fleet(site("tx-1"), site("tx-2")), partners=(partner,))
    hours = [price(at_usd, at=T0 + timedelta(hours=n)) for n in range(-48, 4)]
    known = store(*hours, network(), weather(15), demand(50_000))
    return {plan.site_id: plan for plan in asyncio.run(Controller(known, whole, set_).step(T0))}


def mining_w(plan: Plan) -> float:
    return sum(point.target_w for unit, point in by_unit(plan).items() if ".rigs" in unit)


@pytest.mark.parametrize("policy", ["strike", "lookahead"])
def test_below_its_floor_nothing_mines_at_a_partner_s_site_and_the_others_do(policy: str) -> None:
    set_ = msgspec.structs.replace(FREE, policy=policy)
    free = plans(set_, Partner(id="p", name="Plains Power", sites=("tx-1",)))
    assert mining_w(free["tx-1"]) == pytest.approx(mining_w(free["tx-2"]))
    assert mining_w(free["tx-1"]) > 30e6
    bound = plans(set_, Partner(id="p", name="Plains Power", sites=("tx-1",), floor_usd_per_mwh=500.0))
    assert mining_w(bound["tx-1"]) < 1e6, "rigs that sleep draw a little"
    assert mining_w(bound["tx-2"]) == pytest.approx(mining_w(free["tx-2"]))
    assert "Plains Power's floor of 500 USD/MWh stands in for 20.00" in bound["tx-1"].note
    assert (bound["tx-1"].price_usd_per_mwh, bound["tx-2"].note) == (20.0, free["tx-2"].note), (
        "the price is the true one"
    )


@pytest.mark.parametrize("policy", ["strike", "lookahead"])
def test_outside_its_hours_a_partner_s_site_is_asked_for_nothing_and_says_why(policy: str) -> None:
    set_ = msgspec.structs.replace(FREE, policy=policy)
    shut = plans(set_, Partner(id="p", name="Plains Power", sites=("tx-1",), hours=(22, 6)))
    assert mining_w(shut["tx-1"]) == 0.0 == shut["tx-1"].limit_w
    assert by_unit(shut["tx-1"])["tx-1.rigs-1"].reason.rule == "partner"
    assert "Plains Power opens its sites from 22:00 to 06:00 UTC" in by_unit(shut["tx-1"])["tx-1.rigs-1"].reason.text
    assert mining_w(shut["tx-2"]) > 30e6
    noon = plans(set_, Partner(id="p", name="Plains Power", sites=("tx-1",), hours=(6, 22)))
    assert mining_w(noon["tx-1"]) == pytest.approx(mining_w(noon["tx-2"]))


def ask(at: datetime, floor: float | None, hours: str = "", partner: str = "p") -> PartnerAsk:
    return PartnerAsk(
        at=at, known_at=at, source="console", kind="measured", partner=partner, floor_usd_per_mwh=floor, hours=hours,
        by="ann",
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["strike", "lookahead"])
def test_what_a_partner_asks_holds_from_the_next_interval_until_it_asks_something_else(policy: str) -> None:
    partner = Partner(id="p", name="Plains Power", sites=("tx-1",), floor_usd_per_mwh=500.0)
    whole = msgspec.structs.replace(fleet(site("tx-1"), site("tx-2")), partners=(partner,))
    hours = [price(20.0, at=T0 + timedelta(hours=n)) for n in range(-48, 24)]
    kept = store(*hours, network(), weather(15), demand(50_000))
    # Long ago, before what is kept of anything else.
    kept.append([ask(T0 - timedelta(days=900), None), ask(T0 - timedelta(days=1), 700.0, "", "another")])
    set_ = msgspec.structs.replace(FREE, policy=policy)
    controller = Controller(kept, whole, set_)

    def at(minutes: int, one: Controller = controller) -> Plan:
        now = T0 + timedelta(minutes=minutes)
        return next(plan for plan in asyncio.run(one.step(now)) if plan.site_id == "tx-1")

    assert mining_w(at(0)) > 30e6, "its own word stands in place of the file's, however old"
    kept.append([ask(T0 + timedelta(minutes=6), 500.0)])
    assert mining_w(at(5)) > 30e6, "an interval that has begun is not what it is about"
    assert "Plains Power's floor of 500 USD/MWh stands in for 20.00" in (said := at(10)).note
    assert mining_w(said) < 1e6
    kept.append([ask(T0 + timedelta(minutes=11), 10.0, "22-06")])
    assert by_unit(at(15))["tx-1.rigs-1"].reason.rule == "partner"
    kept.append([ask(T0 + timedelta(minutes=16), None)])
    assert mining_w(at(20)) > 30e6
    # Whoever leads next knows it too, and a clock that is set back knows what was known then.
    assert mining_w(at(12, Controller(kept, whole, set_))) < 1e6
    assert mining_w(at(0)) > 30e6
