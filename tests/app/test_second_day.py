"""A site that only observes, played into its second day: the report of each day adds up to its records.

Eighteen rigs, twelve on LuxOS and six with stock firmware, run on whatever is asked; each hour has its price, on the
first day below what they earn and on the second mostly above. The platform's own controller plans each interval.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from tests.dispatch.fleets import FREE, fleet, network, price, site, store, weather

from tieline.clock import SimClock
from tieline.dispatch import Controller
from tieline.fleet import RigGroup
from tieline.records import Plan, Sample
from tieline.settlement.observed import observed_in

BEGIN = datetime.fromisoformat("2026-03-02T00:00:00+00:00")
# Told at the meter: rigs at their rating, and what cools them.
AUX = 1.04


def two_days() -> list[float]:
    """USD/MWh by hour: rigs of 17.5 J/TH earn about 100 of it here."""
    return [20.0 + 2 * hour for hour in range(24)] + [90.0 + 10 * hour for hour in range(24)]


def test_on_the_second_day_each_days_report_adds_up_to_its_records() -> None:
    groups = (
        RigGroup(id="tx-1.luxos", feeder="tx-1.f-mine", model="Antminer S21", rigs=12, firmware="luxos"),
        RigGroup(id="tx-1.stock", feeder="tx-1.f-mine", model="Antminer S19j Pro", rigs=6),
    )
    observing = msgspec.structs.replace(site(mode="observe", nodes=0), rig_groups=groups)
    prices = [price(usd, BEGIN + timedelta(hours=hour)) for hour, usd in enumerate(two_days())]
    world = store(*prices, network(BEGIN - timedelta(hours=1)), weather(20, BEGIN - timedelta(hours=1)))
    clock = SimClock(BEGIN)
    controller = Controller(world, fleet(observing), FREE)

    async def play(until: datetime) -> None:
        while clock.now() < until:
            world.append(await controller.step(clock.now()))
            world.append([_reading(group, clock.now(), clock.now() + timedelta(minutes=15)) for group in groups])
            await clock.sleep_until(clock.now() + timedelta(minutes=15))
            if clock.now().hour == 0 and clock.now().minute == 0:
                world.append([network(clock.now()), weather(20, clock.now())])

    asyncio.run(play(BEGIN + timedelta(hours=44)))

    days = observed_in(world, [observing], clock.now(), 2, FREE.keeps)
    assert [day.day.isoformat() for day in days] == ["2026-03-02", "2026-03-03"]
    samples = world.between(Sample, BEGIN, clock.now())
    plans = {plan.at: plan for plan in world.between(Plan, BEGIN, clock.now())}
    assert {plan.mode for plan in plans.values()} == {"observe"}
    for day in days:
        mine = [one for one in samples if one.at.date() == day.day]
        asked = {(s.unit_id, plan.at): (plan, s) for plan in plans.values() for s in plan.setpoints}
        hours = sum(Decimal(one.length_s) / 3600 for one in mine)
        assert day.missing_hours == 0.0
        assert day.hours == pytest.approx(float(hours))
        power_mwh = sum((one.power_w or 0.0) / 1e6 * one.length_s / 3600 for one in mine)
        assert day.done_mwh == pytest.approx(power_mwh)
        earned = paid = would = 0.0
        for one in mine:
            plan, setpoint = asked[one.unit_id, one.at]
            assert plan.hashprice_usd is not None
            assert plan.price_usd_per_mwh == two_days()[int((one.at - BEGIN).total_seconds() // 3600)]
            share = one.length_s / 3600
            earned += (one.hashrate_hs or 0.0) / 1e15 * plan.hashprice_usd / 24 * FREE.keeps * share
            paid += (one.power_w or 0.0) / 1e6 * plan.price_usd_per_mwh * share
            would += (setpoint.expected_usd_per_h or 0.0) * share
        assert day.done_usd == pytest.approx(earned - paid)
        assert day.would_usd == pytest.approx(would)
        assert day.difference_usd == pytest.approx(would - (earned - paid))
    first, second = days
    assert first.would_usd == pytest.approx(first.done_usd, rel=0.2)  # cheap all day: the plans mine too
    assert second.difference_usd > 1.0  # dear: a plan that rests would have been better than mining on
    assert second.would_mwh < 0.5 * second.done_mwh


def _reading(group: RigGroup, start: datetime, end: datetime) -> Sample:
    """Nothing is sent to them, so they run."""
    length_s = int((end - start).total_seconds())
    return Sample(
        at=start, known_at=end, source="test", kind="measured", site_id="tx-1", unit_id=group.id, length_s=length_s,
        readings=30, power_w=group.rated_w * AUX, hashrate_hs=group.rigs * group.rig.hashrate_ths * 1e12,
    )  # fmt: skip
