"""What the network takes by the hour: in the plan, look-ahead, the bid, the backtest's harness and the bill alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from tests.backtest.worlds import world
from tests.dispatch.fleets import T0, fleet, network, price, site, store, weather
from tests.dispatch.test_bad_input import mining_w, over, run

from tieline.backtest.plant import true_prices
from tieline.backtest.policies import PolicyInputs
from tieline.cli.desk.awards import currency_of, in_currency, rates_of, statement_of
from tieline.config import ConfigError, loads
from tieline.dispatch import Outlook, Settings
from tieline.dispatch.contracts import cost_usd, power_cost
from tieline.dispatch.inputs.foresight import FromOutlook
from tieline.dispatch.inputs.horizon import grid
from tieline.dispatch.mining.ahead import prices
from tieline.dispatch.purchase import purchase
from tieline.fleet import Contract
from tieline.fleet.network import NetworkBand
from tieline.records import ExchangeRate, PowerBill

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# 20 August 2024 is a Tuesday; 17:00 in Texas is 22:00 UTC.
EVENING = NetworkBand(name="evening", usd_per_mwh=60.0, hours=(17, 18, 19), days="weekdays", months=(6, 7, 8, 9))
ALWAYS = NetworkBand(name="wires", usd_per_mwh=3.0, losses=0.02)
HEAT = NetworkBand(name="losses", losses=0.03, hours=(14, 15, 16, 17))
SPOT = Contract(
    basis="spot", market="HUB", scale=1.01, adder_usd_per_mwh=2.0, demand_zone="America/Chicago",
    network=(EVENING, ALWAYS, HEAT),
)  # fmt: skip


def test_bands_hold_by_local_hours_days_and_months_and_add_up() -> None:
    def at(month: int, day: int, hour: int) -> tuple[float, float]:
        found = SPOT.network_at(datetime(2024, month, day, hour, 30, tzinfo=UTC))
        return round(found.usd_per_mwh, 9), round(found.losses, 9)

    assert at(8, 20, 22) == (63.0, 0.05)  # 17:30 on a Tuesday in summer
    assert at(8, 20, 23) == (63.0, 0.02)
    assert at(8, 24, 22) == (3.0, 0.05)  # Saturday
    assert at(11, 5, 22) == (3.0, 0.05)  # winter: 16:30
    assert at(11, 5, 23) == (3.0, 0.05)  # 17:30, not in the charge's months
    assert Contract(basis="spot", market="HUB").network_at(T0) == (0.0, 0.0)


def test_what_is_contracted_pays_the_network_for_what_it_draws_alone() -> None:
    contracted = Contract(
        basis="fixed", fixed_usd_per_mwh=40.0, take_share=0.5, demand_zone="America/Chicago", network=(EVENING, ALWAYS)
    )
    evening = T0.replace(hour=22)
    found = power_cost(contracted, None, 100e6, 0.1, evening)
    assert found is not None
    assert cost_usd(found, 0.0, 1.0) == pytest.approx(50 * 40.0)
    # 80 MW: 30 above the contract, and the network takes 63 and 2 % of 40 of each.
    assert cost_usd(found, 80e6, 1.0) == pytest.approx(50 * 40.0 + 30 * 40.0 + 80 * (63.0 + 0.8))


def test_look_ahead_and_the_harness_see_the_price_that_the_plan_and_the_bill_pay() -> None:
    where = fleet(site(contract=SPOT))
    told = [price(30.0 + n, at=T0 + n * HOUR, known_at=T0 - DAY) for n in range(-30, 48)]
    outlook = Outlook(where, Settings())
    outlook.read(store(*told, network(), weather(20.0)), T0)
    steps = grid(T0, 300, 24 * 3600)
    ahead = prices(FromOutlook(outlook, where, Settings()), where, steps, Settings()).above[:, 0, 0]
    for n, moment in enumerate(steps.starts):
        market = outlook.price(where.sites[0], moment)[0]
        cost = power_cost(SPOT, market, 60e6, 0.1, moment)
        assert cost is not None
        assert ahead[n] == pytest.approx(cost.price_usd_per_mwh, abs=0.02)
    made = world(3)
    own = msgspec.structs.replace(SPOT, market="ERCOT_HUBAVG_DA")
    sites = tuple(msgspec.structs.replace(s, contract=own) if n == 0 else s for n, s in enumerate(made.fleet.sites))
    made = replace(made, fleet=msgspec.structs.replace(made.fleet, sites=sites))
    above = true_prices(made, Settings())[0][:, 0]
    series = made.markets["ERCOT_HUBAVG_DA"].values
    for slot in range(0, made.slots, 7):
        cost = power_cost(own, float(series[slot]), 60e6, 0.1, made.when(slot))
        assert cost is not None
        assert above[slot] == pytest.approx(cost.price_usd_per_mwh)
    slot = made.spans[0].first + 70
    seen = PolicyInputs(made, None, None, Settings(), slot, 900).prices()[0][0]  # type: ignore[arg-type]
    known = float(series[int(made.markets["ERCOT_HUBAVG_DA"].known[slot]) - 1])
    cost = power_cost(own, known, 60e6, 0.1, made.when(slot))
    assert cost is not None
    assert seen == pytest.approx(cost.price_usd_per_mwh)


@pytest.mark.parametrize("policy", ["strike", "lookahead"])
def test_rigs_rest_where_the_network_makes_cheap_power_dear(policy: str) -> None:
    evening = T0.replace(hour=22)
    dear = msgspec.structs.replace(SPOT, network=(msgspec.structs.replace(EVENING, usd_per_mwh=400.0),))
    told = [price(20.0, at=T0 + n * HOUR, known_at=T0 - 2 * DAY) for n in range(-40, 60)]
    for moment, works in ((T0, True), (evening, False), (evening + 3 * HOUR, True)):
        known = [*told, network(at=moment - HOUR), weather(20.0, at=moment)]
        plan = run(over(*known, set_=Settings(policy=policy), sites=(site(contract=dear),)), moment)
        assert (mining_w(plan) > 10e6) == works, moment
        assert plan.price_usd_per_mwh == pytest.approx(20.0 * 1.01 + 2.0 + (0.0 if works else 400.0))


def test_tomorrow_is_bid_less_what_the_network_takes() -> None:
    plain = Contract(basis="spot", market="ERCOT_LZ_WEST_RT", day_ahead="ERCOT_LZ_WEST_DA")
    charged = msgspec.structs.replace(plain, demand_zone="America/Chicago", network=(EVENING, ALWAYS))
    limits = []
    for contract in (plain, charged):
        where = fleet(site(contract=contract, nodes=0))
        told = [price(40.0, at=T0 - n * HOUR, market="ERCOT_LZ_WEST_DA", known_at=T0 - n * HOUR) for n in range(72)]
        outlook = Outlook(where, Settings())
        outlook.read(store(*told, network(at=T0 - HOUR)), T0)
        found = purchase(outlook, where, Settings(), T0, where.sites[0])
        limits.append({b.at.hour: b.curve[-1].limit_usd_per_mwh for b in found})
    assert limits[1][15] == pytest.approx((limits[0][15] - 3.0) / 1.02, abs=0.01)
    assert limits[1][22] == pytest.approx((limits[0][22] - 63.0) / 1.02, abs=0.01)


def test_a_bill_with_network_and_kroner_is_the_one_made_by_hand() -> None:
    """Two hours of 10.5 MWh at 30.00, rate 0.1 USD per NOK, then 0.09.

    17:00 local: bought 10.5 x 1.01 x 1.02 = 10.8171 MWh -> 324.51; adder 2.00 -> 21.00; evening 60 -> 630.00; wires
    3.00 + 5 NOK = 3.50 -> 36.75; adder of 20 NOK = 2.00 -> 21.00. 20:00: the same energy, no evening: 324.51 + 21.00;
    wires 3.45 -> 36.22 (36.225 to even); NOK adder 1.80 -> 18.90.
    """
    mine = msgspec.structs.replace(
        SPOT, currency="NOK", adder_local_per_mwh=20.0,
        network=(EVENING, msgspec.structs.replace(ALWAYS, local_per_mwh=5.0)),
    )  # fmt: skip
    where, begin = fleet(site(contract=mine)), T0.replace(hour=22)
    span = (begin, begin + 4 * HOUR)
    bills = [
        PowerBill(at=at, known_at=at + HOUR, source="m", kind="measured", site_id="tx-1", length_s=3600,
                  mining_wh=10_500_000, inference_wh=0, aux_wh=0, cost_usd=Decimal(0))
        for at in (begin, begin + 3 * HOUR)
    ]  # fmt: skip
    rates = [
        ExchangeRate(at=at, known_at=at, source="t", kind="measured", currency="NOK", usd_per_unit=Decimal(usd))
        for at, usd in ((begin - HOUR, "0.1"), (begin + 2 * HOUR, "0.09"))
    ]
    kept = store(*bills, *rates, *(price(30.0, at=begin + n * HOUR) for n in range(4)))
    found = statement_of(kept, where, "tx-1", span, begin + DAY)
    assert {kind: usd for kind, (_, usd) in found.by_kind().items()} == {
        "real time": Decimal("649.02"), "adder": Decimal("42.00"), "network evening": Decimal("630.00"),
        "network wires": Decimal("72.97"), "network adder NOK": Decimal("39.90"),
    }  # fmt: skip
    assert len(found.unmetered) == 2
    # 1,033.26 USD at 0.1 and 400.63 at 0.09, each line in whole cents.
    assert currency_of(where, "tx-1") == "NOK"
    local = in_currency(found, "NOK", rates_of(kept, span, begin + DAY))
    assert local == Decimal("10332.60") + Decimal("3605.67") + Decimal("233.33") + Decimal("402.44") + Decimal("210.00")
    bare = store(*bills, *(price(30.0, at=begin + n * HOUR) for n in range(4)))
    with pytest.raises(ValueError, match="no exchange rate of NOK is known; what tx-1 pays in it cannot be converted"):
        statement_of(bare, where, "tx-1", span, begin + DAY)


@pytest.mark.parametrize(
    ("band", "words"),
    [
        ('{ name = "a", losses = 3 }', "losses 3"),
        ('{ name = "a", usd_per_mwh = 3, hours = [24] }', "local hours from 0 to 23"),
        ('{ name = "a", usd_per_mwh = 3, months = [0] }', "months from 1 to 12"),
        ('{ name = "a", local_per_mwh = 3 }', "a local price without a currency"),
        ('{ name = "a", usd_per_kwh = 3 }', "usd_per_kwh"),
    ],
)
def test_a_band_with_a_mistake_is_one_line(band: str, words: str) -> None:
    text = """
[fleet]
name = "f"
[[site]]
id = "a"
name = "A"
region = "r"
lat = 30.0
lon = -100.0
interconnect_mw = 10.0
contract = { basis = "spot", market = "ERCOT_HUBAVG_DA", network = [BAND] }
rigs = [{ model = "Antminer S21", mw = 5.0 }]
"""
    with pytest.raises(ConfigError) as caught:
        loads(text.replace("BAND", band))
    assert words in str(caught.value)
    (made,) = loads(text.replace("BAND", '{ name = "a", usd_per_mwh = 3, days = "weekends" }')).fleet.sites
    assert np.isclose(made.contract.network_at(datetime(2024, 8, 24, 12, tzinfo=UTC)).usd_per_mwh, 3.0)
