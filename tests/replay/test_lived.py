"""The platform's own past: what it did, out of its books, beside what each policy would have done in the same days."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from tests.replay.test_live_beside_backtest import mining_alone

from tieline import records
from tieline.backtest.data import load
from tieline.backtest.policies import GroupStrike
from tieline.backtest.run import drive
from tieline.cli.desk.past import lines
from tieline.dispatch import Settings
from tieline.feeds.days.example import CALM, write_example
from tieline.feeds.days.recorded import RecordedFolder
from tieline.feeds.days.written import write_days
from tieline.fleet import Fleet
from tieline.records import Commitment, Fault, NetworkTick, Payout, PowerBill, PriceTick
from tieline.replay.asked import Asked
from tieline.replay.lived import did, world_of
from tieline.replay.run import replay, replay_kept
from tieline.store import Store

START = CALM.start + timedelta(days=1)
END = START + timedelta(hours=6)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Fleet]:
    """A platform that lived six hours: its store is one of a replay."""
    folder = tmp_path_factory.mktemp("past") / "days"
    write_example(folder)
    source = RecordedFolder(folder)
    fleet = mining_alone(source.fleet())
    told = source.records(fleet, START, END, 1.0, with_events=False)
    _, store = asyncio.run(replay_kept(Asked(fleet, Settings(interval_s=900), told, START, END, "days")))
    return store, fleet


def test_what_it_did_is_its_bills_and_payouts(past: tuple[Store, Fleet]) -> None:
    store, fleet = past
    found = did(store, START, END)
    bills, payouts = store.between(PowerBill, START, END), store.between(Payout, START, END + timedelta(hours=1))
    assert found.hours == 6
    assert found.sites == len(fleet.sites)
    assert found.power_usd == sum((b.cost_usd for b in bills), Decimal(0))
    assert found.sats == sum(p.sats for p in payouts) > 0
    assert found.unpriced_sats == 0
    assert found.net_usd == found.mining_usd - found.power_usd


def test_a_bill_that_is_corrected_counts_once(past: tuple[Store, Fleet]) -> None:
    store, _ = past
    before = did(store, START, END)
    own = Store(None, records.encode, records.decode)
    bills = store.between(PowerBill, START, END)
    own.append([*bills, *store.between(Payout, START, END + timedelta(hours=1))])
    own.append([msgspec.structs.replace(bills[0], cost_usd=bills[0].cost_usd + 5, known_at=END + timedelta(days=1))])
    after = did(own, START, END)
    assert after.power_usd == before.power_usd + 5
    assert (after.sats, after.mining_usd) == (before.sats, before.mining_usd)


def test_the_same_policy_over_the_same_world_comes_to_the_same_money(past: tuple[Store, Fleet]) -> None:
    store, fleet = past
    world = world_of(store, START, END)
    assert not any(isinstance(one, Fault) and one.site_id.startswith("feed:") for one in world)
    assert not any(isinstance(one, Commitment) and one.status == "declined" for one in world)
    again = asyncio.run(replay(Asked(fleet, Settings(interval_s=900), world, START, END, "past")))
    found = did(store, START, END)
    assert again.money.power_usd == pytest.approx(float(found.power_usd), rel=1e-6)
    assert again.money.mining_usd == pytest.approx(float(found.mining_usd), rel=1e-3)


def test_a_span_that_was_not_lived_is_named(past: tuple[Store, Fleet], tmp_path: Path) -> None:
    store, _ = past
    assert did(store, START - timedelta(days=9), START - timedelta(days=8)).hours == 0


def test_a_past_is_written_as_days_that_are_read_back(past: tuple[Store, Fleet], tmp_path: Path) -> None:
    store, fleet = past
    world = world_of(store, START, END)
    write_days(tmp_path, world, fleet)
    back = RecordedFolder(tmp_path)
    told = {(t.market, t.at): t.price_usd_per_mwh for t in world if isinstance(t, PriceTick) and t.kind != "forecast"}
    read = {(t.market, t.at): t.price_usd_per_mwh for t in back.prices(back.over(fleet), START, END)}
    assert read
    assert read == {key: usd for key, usd in told.items() if START <= key[1] < END and key[0] in fleet.markets}
    assert back.network(START, END)[0].difficulty == store.latest(NetworkTick, START)[0].difficulty
    made = load(tmp_path, [("past", START, END)], events=False, settings=Settings(), fleet=fleet)
    net = drive(made, GroupStrike(), Settings(), 900).net
    assert net == pytest.approx(float(did(store, START, END).net_usd), rel=0.2)


def test_the_table_has_a_line_for_what_was_and_one_a_policy(past: tuple[Store, Fleet]) -> None:
    store, fleet = past
    world, found = world_of(store, START, END), did(store, START, END)
    report = asyncio.run(replay(Asked(fleet, Settings(interval_s=900, policy="strike"), world, START, END, "past")))
    told = lines(found, {"strike": report})
    assert told[1].startswith("the platform, as billed and paid")
    assert f"{found.net_usd:,.2f}" in told[1]
    assert told[2].startswith("strike, replayed (modelled)")
