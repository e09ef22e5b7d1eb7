"""Records at the ends of what their types can hold stop no decision: every site gets its plan."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.dispatch.fleets import FIVE, T0, fleet, network, price, site, store

from tieline.dispatch import Controller, Settings
from tieline.records import (
    Backlog,
    Commitment,
    Demand,
    Fault,
    Instruction,
    Override,
    Owed,
    PeakOdds,
    Record,
    ReplicaState,
    Sample,
    WeatherTick,
)

TOLD: dict[str, Any] = {"at": T0, "known_at": T0, "source": "t", "kind": "measured"}
DAY = timedelta(days=1)
SITE = {"site_id": "tx-1"}
EXTREMES: list[Record] = [
    price(1e6),
    price(-1e6, T0 + FIVE),
    price(40.0, T0 + 2 * FIVE, length_s=1),
    WeatherTick(**TOLD, station="W", temp_c=-273.0),
    WeatherTick(**TOLD | {"at": T0 + FIVE}, station="W", temp_c=1000.0),
    WeatherTick(**TOLD | {"at": T0 - FIVE}, station="W", temp_c=None),
    Demand(**TOLD, model="m", region="north_america", output_tokens_per_s=1e15, length_s=1),
    Sample(**TOLD, **SITE, unit_id="tx-1.rigs-1", length_s=1, readings=1, power_w=-1e12, hashrate_hs=1e27),
    Sample(**TOLD, **SITE, unit_id="tx-1.gpu", length_s=320_000_000, readings=1, power_w=1e12),
    Instruction(**TOLD, **SITE, instruction_id="i", limit_w=-1e12, until=T0 - DAY),
    Instruction(**TOLD, **SITE, instruction_id="k", limit_w=-1e12, until=T0 + 365_000 * DAY),
    Fault(**TOLD, **SITE, what="stuck", share=1.0, factor=1e6),
    Fault(**TOLD, site_id="none", what="x"),
    Commitment(
        **TOLD, **SITE, commitment_id="c", product="reserve", until=T0 - DAY, power_w=-1e12, response_s=0,
        capacity_usd_per_mw_h=1e6, status="accepted", baseline="none such",
    ),
    Backlog(**TOLD, gateway="g", model="m", lots=(Owed(due=T0 - DAY, output_tokens=1e15),), day_tokens=1e15),
    PeakOdds(**TOLD, rule="none such", probability=1.0, length_s=1),
    Override(**TOLD, **SITE, override_id="o", unit_id="none", target_w=-1e12, until=T0 + DAY, by="x", why="y"),
    ReplicaState(
        **TOLD, replica_id="r", site_id="none", region="nowhere", model="z", base_url="http://x", state="ready"
    ),
]  # fmt: skip
NETWORKS: list[dict[str, Any]] = [
    {"difficulty": 0.0},
    {"difficulty": 1e-300},
    {"difficulty": 1e24},
    {"btc_usd": Decimal(0)},
    {"btc_usd": Decimal(-5)},
    {"btc_usd": Decimal(10**15)},
    {"subsidy_btc": 0.0, "fee_share": 0.0},
]


@pytest.mark.parametrize("policy", ["lookahead", "strike"])
def test_everything_at_once(policy: str) -> None:
    known = [price(40.0, T0 + timedelta(hours=h)) for h in range(-24, 30)]
    read = [msgspec.structs.replace(network(T0 - FIVE), **more) for more in NETWORKS]
    told = [msgspec.structs.replace(one, known_at=T0 - FIVE + timedelta(seconds=n)) for n, one in enumerate(read)]
    controller = Controller(
        store(*known, network(), *told, *EXTREMES), fleet(site(), site("tx-2")), Settings(policy=policy)
    )
    for n in range(3):
        assert {plan.site_id for plan in controller.decide(T0 + n * FIVE)} == {"tx-1", "tx-2"}


@pytest.mark.parametrize("more", NETWORKS)
def test_a_reading_of_the_network_that_cannot_be_true(more: dict[str, Any]) -> None:
    wrong = msgspec.structs.replace(network(T0 - FIVE), **more)
    controller = Controller(store(price(40.0), network(), wrong), fleet(), Settings(policy="strike"))
    assert len(controller.decide(T0)) == 1
