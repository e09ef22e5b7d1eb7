"""Demand charges over the steps ahead: their hours, their local month, their ratchet, part of a group under them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from tests.dispatch.fleets import demand, fleet, network, one_site, site, store, weather

from tieline.books import demand_bill
from tieline.config import ConfigError, loads
from tieline.dispatch import Controller, Settings
from tieline.dispatch.demand_charge import Demands, adder_usd_per_mwh, highest_w, ratchet_w
from tieline.dispatch.inputs.arrays import fleet_arrays
from tieline.dispatch.inputs.horizon import grid
from tieline.dispatch.mining.lookahead import Ahead, look, stages
from tieline.fleet import Contract
from tieline.records import PowerBill

HOUR, DAY, MW = timedelta(hours=1), timedelta(days=1), 1e6


def contract(**more: Any) -> Contract:
    return Contract(basis="fixed", fixed_usd_per_mwh=30.0, demand_usd_per_kw_month=10.0, **more)


def bill(at: datetime, mw: float) -> PowerBill:
    return PowerBill(
        at=at, known_at=at + HOUR, source="t", kind="measured", site_id="tx-1", length_s=3600, mining_wh=mw * MW,
        inference_wh=0.0, aux_wh=0.0, cost_usd=Decimal(0),
    )  # fmt: skip


EVENINGS = contract(demand_hours=(17, 18, 19, 20), demand_zone="America/Chicago")


def test_only_the_hours_that_are_charged_count_and_they_are_local() -> None:
    # Tuesday 20 August 2024: 17:00 in Texas is 22:00 UTC.
    assert not EVENINGS.charges_demand(datetime(2024, 8, 20, 21, tzinfo=UTC))
    assert EVENINGS.charges_demand(datetime(2024, 8, 20, 22, tzinfo=UTC))
    assert not EVENINGS.charges_demand(datetime(2024, 8, 24, 22, tzinfo=UTC))  # Saturday
    bills = [bill(datetime(2024, 8, 20, 15, tzinfo=UTC), 80.0), bill(datetime(2024, 8, 20, 23, tzinfo=UTC), 30.0)]
    assert highest_w(bills, EVENINGS) == 30 * MW
    assert highest_w(bills, contract()) == 80 * MW


def test_a_local_month_begins_at_its_own_midnight_and_the_charge_is_spread_over_charged_hours() -> None:
    begin, end = EVENINGS.demand_month(datetime(2024, 11, 3, 12, tzinfo=UTC))
    assert (begin, end) == (datetime(2024, 11, 1, 5, tzinfo=UTC), datetime(2024, 12, 1, 6, tzinfo=UTC))
    # 02:00 UTC of 1 September is still August in Texas.
    assert EVENINGS.demand_month(datetime(2024, 9, 1, 2, tzinfo=UTC))[0] == datetime(2024, 8, 1, 5, tzinfo=UTC)
    # Friday 30 August is the last working day: four charged hours are left of the month.
    assert adder_usd_per_mwh(EVENINGS, datetime(2024, 8, 30, 12, tzinfo=UTC)) == pytest.approx(10_000 / 4)


def test_a_ratchet_holds_a_share_of_the_highest_hour_of_the_months_before() -> None:
    where = site(contract=contract(demand_ratchet_share=0.8), limit_mw=100)
    july, now = datetime(2024, 7, 10, 12, tzinfo=UTC), datetime(2024, 8, 20, 12, tzinfo=UTC)
    long_ago = datetime(2023, 8, 20, 12, tzinfo=UTC)  # twelve months: out of its reach
    kept = store(bill(july, 50.0), bill(long_ago, 90.0), bill(now - 2 * HOUR, 10.0))
    assert ratchet_w(kept, where, datetime(2024, 8, 1, tzinfo=UTC), now) == 40 * MW
    found = Demands(fleet(where))
    found.read(kept, now, {})
    assert found.sunk_w(where) == 40 * MW
    # The bill says the same.
    month = datetime(2024, 8, 1, tzinfo=UTC), datetime(2024, 9, 1, tzinfo=UTC)
    made = demand_bill(where, *month, [bill(now - 2 * HOUR, 10.0)], 40 * MW)
    assert made.cost_usd == Decimal("400000.00")


def test_outside_its_hours_nothing_is_charged() -> None:
    where = site(contract=EVENINGS)
    found = Demands(fleet(where))
    assert found.of(where, datetime(2024, 8, 20, 12, tzinfo=UTC)) is None
    evening = found.of(where, datetime(2024, 8, 20, 22, tzinfo=UTC))
    assert evening is not None
    steps = grid(datetime(2024, 8, 20, 12, tzinfo=UTC), 300, 48 * 3600)
    _, adder = found.ahead(steps)[0]
    charged = [EVENINGS.charges_demand(steps.start + timedelta(seconds=int(s))) for s in steps.offset_s]
    assert ((adder > 0) == np.array(charged)).all()


@pytest.mark.parametrize("sunk_mw", [0.0, 8.0, 20.0, 33.0, 45.0, 80.0])
@pytest.mark.parametrize("adder", [5.0, 60.0, 500.0])
def test_the_best_part_of_a_group_under_the_level_is_found(sunk_mw: float, adder: float) -> None:
    """Every part in hundredths, by hand: what one step of one group is worth at the level, and above it."""
    where = fleet(site(contract=contract(), nodes=0, old_rigs=0))
    arrays = fleet_arrays(where, Settings())
    usd_per_h = arrays.rated_w / 1e6 * 70.0  # worth 70 USD/MWh in normal mode
    one = np.ones((1, 1))
    price = np.full((1, 1, 1), 30.0)
    ahead = Ahead(
        hours=np.ones(1), usd_per_h=usd_per_h, aux=0 * one, derate=one, limit_w=one * 60e6, base_w=0 * one,
        price=price + adder, below=price, take_w=np.array([sunk_mw * MW]), split=np.array([True]),
    )  # fmt: skip
    found = stages(arrays, ahead)
    meter = float(arrays.rated_w[0])

    def worth(watts: float, usd: float) -> float:
        over = max(0.0, watts - sunk_mw * MW)
        return usd - watts / 1e6 * 30.0 - over / 1e6 * adder

    parts = np.linspace(0.0, 1.0, 101)
    best = max(worth(part * meter, part * float(usd_per_h[0])) for part in parts)
    # Nothing at all is another state: it is worth 0.
    assert max(0.0, float(found.run[0, 0, 0])) >= best - 0.011 * float(usd_per_h[0])
    if sunk_mw == 0.0 and adder == 500.0:
        assert float(look(arrays, ahead).run[0]) < 0.0
    if sunk_mw >= 20.0:
        assert float(found.run[0, 0, 0]) > 0.0


def test_look_ahead_decides_where_a_demand_charge_binds() -> None:
    """At the month's end: as much as is billed anyway runs, no more; and a start that does not pay is not made."""
    late = datetime(2024, 8, 31, 12, tzinfo=UTC)
    where = site(contract=contract(), nodes=0)
    world = [network(late - HOUR), weather(15, late), demand(0.0, late), bill(late - 48 * HOUR, 20.0)]
    settings = Settings(policy="lookahead", restore_share_per_5min=None)
    plan = asyncio.run(Controller(store(*world), fleet(where), settings).step(late))[0]
    drawn = sum(p.target_w for p in plan.setpoints) / MW
    assert 18.0 < drawn <= 20.5
    assert plan.decided_by == "lookahead"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("demand_ratchet_share = 1.5", "demand_ratchet_share"),
        ("demand_hours = [25]", "hours [25]"),
        ('demand_zone = "Texas"', "Texas"),
    ],
)
def test_a_demand_charge_with_a_mistake_is_one_line(more: str, words: str) -> None:
    text = one_site(f'basis = "fixed", fixed_usd_per_mwh = 40.0, demand_usd_per_kw_month = 5, {more}')
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert words in str(caught.value)
