"""Each kind of contract by examples worked by hand: what a MWh costs to decide on, and what the bill then says."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from tests.dispatch.fleets import FIVE, T0, demand, fleet, network, one_site, site, store, weather

from tieline.books import build_book, demand_bill, power_bill
from tieline.clock import Interval
from tieline.config import ConfigError, loads
from tieline.dispatch import Controller, Settings
from tieline.dispatch.contracts import PowerCost, cost_usd, power_cost
from tieline.dispatch.demand_charge import adder_usd_per_mwh, with_demand
from tieline.economics import demand_charge_usd
from tieline.fleet.peaks import shipped_rules
from tieline.ledger import USD
from tieline.records import PowerBill, Sample

HOUR = timedelta(hours=1)
MW = 1e6
FOUR_CP, TWELVE_CP = shipped_rules()["4CP"], shipped_rules()["12CP"]


def contract(**more):
    return site(contract=None).contract.__class__(**{"basis": "fixed", "fixed_usd_per_mwh": 40.0, **more})


def billed(cost: PowerCost, mw: float) -> float:
    """An hour's bill in USD for a mean load."""
    return cost_usd(cost, mw * MW, 1.0)


def test_fixed_price_with_adder():
    cost = power_cost(contract(adder_usd_per_mwh=3.0), None, 100 * MW, 0.1, None)
    assert cost == PowerCost(43.0, 43.0, 0.0)
    assert billed(cost, 20) == pytest.approx(860.0)  # 20 MWh x 43


@pytest.mark.parametrize(("market", "usd"), [(50.0, 1_160.0), (0.0, 60.0), (-50.0, -1_040.0)])
def test_spot_with_scale_and_adder(market, usd):
    spot = contract(basis="spot", fixed_usd_per_mwh=None, market="HUB", scale=1.1, adder_usd_per_mwh=3.0)
    cost = power_cost(spot, market, 100 * MW, 0.1, None)
    assert billed(cost, 20) == pytest.approx(usd)  # 20 x (1.1 x market + 3)
    assert power_cost(spot, None, 100 * MW, 0.1, None) is None


def test_time_of_use_bills_each_hour_at_its_own_tariff():
    tou = contract(basis="tou", fixed_usd_per_mwh=None, market="TARIFF", scale=0.5)
    night, evening = (power_cost(tou, usd, 100 * MW, 0.1, None) for usd in (30.0, 120.0))
    assert (billed(night, 10), billed(evening, 10)) == (pytest.approx(150.0), pytest.approx(600.0))


def test_take_or_pay_without_resale_costs_nothing_below_what_is_paid_anyway():
    # 60 % of 100 MW at 31.40: 60 MW are paid drawn or not.
    cost = power_cost(contract(fixed_usd_per_mwh=31.4, take_share=0.6), None, 100 * MW, 0.1, None)
    assert (cost.marginal(59 * MW), cost.marginal(61 * MW)) == (0.0, 31.4)
    assert billed(cost, 0) == pytest.approx(1_884.0)  # 60 x 31.40
    assert billed(cost, 60) == pytest.approx(1_884.0)
    assert billed(cost, 80) == pytest.approx(2_512.0)  # 80 x 31.40


@pytest.mark.parametrize(
    ("market", "undrawn", "half", "full"),
    [
        # 70 of 100 MW at 46; what is not drawn is sold at the market less 10 %.
        (30.0, 1_330.0, 2_140.0, 4_600.0),  # 70x46 - 70x27; 70x46 - 40x27; 100x46
        (100.0, -3_080.0, -380.0, 4_600.0),  # 70x46 - 70x90; 70x46 - 40x90
    ],
)
def test_take_or_pay_with_resale_costs_what_its_sale_would_bring(market, undrawn, half, full):
    sold = contract(fixed_usd_per_mwh=46.0, take_share=0.7, resale=True, market="HUB")
    cost = power_cost(sold, market, 100 * MW, 0.1, None)
    assert cost.marginal(10 * MW) == pytest.approx(0.9 * market)
    assert [billed(cost, mw) for mw in (0, 30, 100)] == pytest.approx([undrawn, half, full])
    assert power_cost(sold, None, 100 * MW, 0.1, None) is None


def test_the_bill_of_an_hour_is_its_intervals_at_their_own_loads():
    # Take-or-pay of 6 MW at 40 without resale; five minutes at 12 MW, five at nothing: 12 x 40 / 12 and 6 x 40 / 12.
    cost = power_cost(contract(take_share=0.6), None, 10 * MW, 0.1, None)
    span = Interval(T0, HOUR)
    samples = [
        Sample(
            at=T0 + n * FIVE, known_at=T0 + HOUR, source="t", kind="measured", site_id="a", unit_id="a.rigs",
            length_s=300, readings=10, power_w=watts,
        )
        for n, watts in enumerate([12 * MW, 0.0])
    ]  # fmt: skip
    bill = power_bill(
        "a", span, samples, lambda moment, load_w: cost_usd(cost, load_w, 1.0), frozenset(), lambda unit: 0.25, "t"
    )
    assert bill.cost_usd == Decimal("60.000000")
    assert (bill.mining_wh, bill.aux_wh) == (pytest.approx(800_000.0), pytest.approx(200_000.0))
    assert build_book([bill]).balance("Liabilities:Power:a", USD) == Decimal("-60.00")


# --- demand charges -------------------------------------------------------------------


def test_a_demand_charge_is_the_months_highest_hour_or_its_minimum():
    # 52 MW x 12 USD per kW = 624,000; never below 60 % of 100 MW: 720,000.
    assert demand_charge_usd(52 * MW, 100 * MW, 12.0) == Decimal("624000.00")
    assert demand_charge_usd(52 * MW, 100 * MW, 12.0, 0.6) == Decimal("720000.00")


def bill(at, mw: float) -> PowerBill:
    return PowerBill(
        at=at, known_at=at + HOUR, source="t", kind="measured", site_id="tx-1", length_s=3600, mining_wh=mw * MW,
        inference_wh=0.0, aux_wh=0.0, cost_usd=Decimal(0),
    )  # fmt: skip


def test_a_new_megawatt_of_demand_is_spread_over_what_is_left_of_the_month():
    charged = contract(demand_usd_per_kw_month=7.2)
    assert adder_usd_per_mwh(charged, datetime(2024, 6, 1, tzinfo=UTC)) == pytest.approx(10.0)  # 7,200 / 720 h
    assert adder_usd_per_mwh(charged, datetime(2024, 6, 30, 12, tzinfo=UTC)) == pytest.approx(600.0)  # 12 h left
    cost = with_demand(PowerCost(40.0, 40.0, 0.0), (30 * MW, 600.0))
    assert (cost.marginal(29 * MW), cost.marginal(31 * MW)) == (40.0, 640.0)


@pytest.mark.parametrize("policy", ["strike", "lookahead"])
def test_at_the_months_end_no_new_peak_is_made_but_the_old_one_is_used(policy):
    late = datetime(2024, 8, 31, 20, tzinfo=UTC)
    where = site(contract=contract(fixed_usd_per_mwh=30.0, demand_usd_per_kw_month=10.0), nodes=0)
    world = [network(late - HOUR), weather(15, late), demand(0.0, late)]
    before = [bill(late - 48 * HOUR, 20.0)]
    for bills, most, least in ((before, 20.0, 15.0), ([bill(late - 48 * HOUR, 60.0)], 60.0, 40.0)):
        settings = Settings(policy=policy, restore_share_per_5min=None)
        plan = asyncio.run(Controller(store(*world, *bills), fleet(where), settings).step(late))[0]
        drawn = sum(p.target_w for p in plan.setpoints) / MW
        assert least <= drawn <= most * 1.02 + 0.5
        assert plan.price_usd_per_mwh == 30.0  # the energy's own price; the charge is apart


def test_the_months_demand_is_billed_once_as_its_own_entry():
    where = site(limit_mw=100, contract=contract(demand_usd_per_kw_month=12.0, demand_minimum_share=0.6))
    start, end = datetime(2024, 8, 1, tzinfo=UTC), datetime(2024, 9, 1, tzinfo=UTC)
    made = demand_bill(where, start, end, [bill(start + n * HOUR, mw) for n, mw in enumerate((10.0, 72.5, 30.0))])
    assert made.cost_usd == Decimal("870000.00")  # 72.5 MW x 12 USD per kW
    book = build_book([made, made])
    assert book.balance("Expenses:Power:Mining", USD) == Decimal("870000.00")
    assert [entry.narration for entry in book.entries] == ["tx-1: demand charge"]


def test_contracts_that_cannot_be_are_refused_by_name():
    text = one_site('basis = "fixed", fixed_usd_per_mwh = 40.0, %s')
    for more, words in (
        ("demand_usd_per_kw_month = -1", "demand_usd_per_kw_month"),
        ("demand_usd_per_kw_month = 5, demand_minimum_share = 2", "demand_minimum_share"),
        ("demand_usd_per_kw_month = 5, take_share = 0.5", "take-or-pay with a demand charge"),
        ("take_share = 1.5", "take_share"),
    ):
        with pytest.raises(ConfigError, match=words):
            loads(text % more)
    assert loads(text % "demand_usd_per_kw_month = 5").fleet.sites[0].contract.demand_usd_per_kw_month == 5.0


# --- peaks ------------------------------------------------------------------------------


def test_peak_rules_carry_status_effective_date_and_minimum_billing():
    """In force, ended, proposed, not yet: and a bill that never falls below a share of it leaves less to save."""
    import datetime as dt

    import msgspec

    june = dt.date(2024, 6, 1)
    assert FOUR_CP.applies(june)
    assert not FOUR_CP.applies(dt.date(2024, 5, 31))
    assert not TWELVE_CP.applies(june)
    soon = msgspec.structs.replace(TWELVE_CP, status="in force", effective=dt.date(2027, 1, 1))
    assert not soon.applies(dt.date(2026, 12, 31))
    assert soon.applies(dt.date(2027, 1, 1))
    gone = msgspec.structs.replace(FOUR_CP, ended=dt.date(2027, 1, 1))
    assert not gone.applies(dt.date(2027, 6, 1))
    # Odds 0.1 x 60,000 / 4 peaks over a quarter hour: 6,000 USD per MWh drawn in it; 12 CP over half an hour: 1,000.
    assert FOUR_CP.adder_usd_per_mwh(0.1) == pytest.approx(6_000.0)
    assert soon.adder_usd_per_mwh(0.1) == pytest.approx(1_000.0)
    half = msgspec.structs.replace(FOUR_CP, minimum_billing_share=0.5)
    assert half.adder_usd_per_mwh(0.1) == pytest.approx(3_000.0)
