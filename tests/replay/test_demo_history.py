"""The demo's past: oldest first, whole hours, labelled, resumed after a kill, and nothing twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from tieline import records
from tieline.config import Config, demo
from tieline.records import Action, AnyRecord, NetworkTick, Payout, Plan, PowerBill, PriceTick, Sample, Trade
from tieline.replay.history import BEGUN, FINISHED, Past, history, wanted, write_history
from tieline.store import Store

NOW = datetime(2026, 11, 3, 7, 33, tzinfo=UTC)
HOUR = timedelta(hours=1)


def small() -> Config:
    """Five of the demo's sites, one of them only observed."""
    config = demo()
    ids = [site.id for site in config.fleet.sites if site.mode == "observe"][:1]
    ids += [site.id for site in config.fleet.sites if site.mode == "act" and site.node_groups][:4]
    sites = tuple(site for site in config.fleet.sites if site.id in ids)
    assert len(sites) == 5
    return msgspec.structs.replace(config, fleet=msgspec.structs.replace(config.fleet, sites=sites))


CONFIG = small()
PAST = Past(datetime(2026, 11, 2, 4, tzinfo=UTC), datetime(2026, 11, 3, 4, tzinfo=UTC), NOW - timedelta(minutes=3))


@pytest.fixture(scope="module")
def batches() -> list[list[AnyRecord]]:
    return list(history(CONFIG, PAST))


def memory() -> Store:
    return Store(None, records.encode, records.decode)


def test_the_past_reaches_to_the_start_of_the_month_or_a_day_back() -> None:
    late, early = Past.before(NOW + timedelta(days=17)), Past.before(datetime(2026, 11, 1, 2, 4, tzinfo=UTC))
    assert late.start == datetime(2026, 11, 1, tzinfo=UTC)
    assert late.fine_from == datetime(2026, 11, 19, 7, tzinfo=UTC)
    assert late.end == datetime(2026, 11, 20, 7, 30, tzinfo=UTC)
    assert early.start == early.fine_from == datetime(2026, 10, 31, 2, tzinfo=UTC)
    assert Past.parse(str(late)) == late


def test_the_past_sells_the_share_of_each_payout_that_the_file_says(batches: list[list[AnyRecord]]) -> None:
    share = CONFIG.treasury.sell_share
    payouts = [r for batch in batches for r in batch if isinstance(r, Payout)]
    sales = [r for batch in batches for r in batch if isinstance(r, Trade)]
    assert 0 < share < 1
    assert [sale.sats for sale in sales] == [int(one.sats * share) for one in payouts]


def test_every_record_says_that_it_never_happened(batches: list[list[AnyRecord]]) -> None:
    told = [record for batch in batches for record in batch]
    assert {r.kind for r in told} == {"simulated"}
    assert {r.source for r in told} == {"synthetic", "simulated pool", "simulated desk"}
    assert {type(r) for r in told} >= {Sample, PriceTick, NetworkTick, Plan, PowerBill, Payout}
    assert all(r.decided_by.startswith("history") for r in told if isinstance(r, Plan))
    keys = [(type(r).__name__, r.key) for r in told]
    assert len(keys) == len(set(keys))


def test_steps_are_hours_and_then_five_minutes_oldest_first(batches: list[list[AnyRecord]]) -> None:
    samples = [r for batch in batches for r in batch if isinstance(r, Sample)]
    assert [s.at for s in samples] == sorted(s.at for s in samples)
    units = sum(len(site.units) for site in CONFIG.fleet.sites)
    assert len([s for s in samples if s.length_s == 3600]) == 24 * units
    assert len([s for s in samples if s.length_s == 300]) == (3 * 12 + 6) * units
    assert all((s.length_s == 3600) == (s.at < PAST.fine_from) for s in samples)


def test_an_hours_bills_and_payout_come_with_its_last_samples(batches: list[list[AnyRecord]]) -> None:
    for batch in batches:
        paid = [r for r in batch if isinstance(r, Payout)]
        for payout in paid:
            bills = [r for r in batch if isinstance(r, PowerBill) and r.at == payout.span_start]
            assert len(bills) == len(CONFIG.fleet.sites)
            ends = [s.at + timedelta(seconds=s.length_s) for s in batch if isinstance(s, Sample)]
            assert payout.span_end in ends
    assert sum(isinstance(r, Payout) for batch in batches for r in batch) == 27


def test_a_bill_is_its_samples_energy_at_a_price(batches: list[list[AnyRecord]]) -> None:
    told = [r for batch in batches for r in batch]
    hour = PAST.fine_from + HOUR
    for bill in [r for r in told if isinstance(r, PowerBill) and r.at == hour]:
        wh = sum(
            (s.power_w or 0.0) * s.length_s / 3600
            for s in told
            if isinstance(s, Sample) and s.site_id == bill.site_id and hour <= s.at < hour + HOUR
        )
        assert bill.mining_wh + bill.inference_wh + bill.aux_wh == pytest.approx(wh, rel=1e-6)
        assert bill.cost_usd != Decimal(0)


def test_an_observed_site_ran_as_its_host_runs_it(batches: list[list[AnyRecord]]) -> None:
    told = [r for batch in batches for r in batch]
    observed = next(site for site in CONFIG.fleet.sites if site.mode == "observe")
    loads = [s.power_w or 0.0 for s in told if isinstance(s, Sample) and s.unit_id == observed.rig_groups[0].id]
    assert min(loads) > 0.8 * max(loads)
    assert max(loads) <= observed.interconnect.limit_w


def test_written_once_and_not_again() -> None:
    store, config = memory(), CONFIG
    past = Past(NOW - 3 * HOUR - timedelta(minutes=33), NOW - 2 * HOUR - timedelta(minutes=33), PAST.end)
    assert wanted(store, NOW) == Past.before(NOW)
    asyncio.run(write_history(store, config, NOW, past))
    assert wanted(store, NOW) is None
    marks = store.between(Action, NOW - HOUR, NOW + HOUR)
    assert [m.what for m in marks] == [BEGUN, FINISHED]
    before = store.digest()
    again = [r for batch in history(config, past) for r in batch]
    assert store.append(again) == 0
    assert store.digest() == before


def test_a_start_that_was_killed_is_gone_over_again() -> None:
    store = memory()
    past = Past(NOW - 3 * HOUR - timedelta(minutes=33), NOW - 2 * HOUR - timedelta(minutes=33), PAST.end)

    async def killed() -> None:
        task = asyncio.create_task(write_history(store, CONFIG, NOW, past))
        while store.last_seq() < 200:
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(killed())
    later = NOW + timedelta(minutes=20)
    assert wanted(store, later) == past
    asyncio.run(write_history(store, CONFIG, later, past))
    whole = memory()
    asyncio.run(write_history(whole, CONFIG, later, past))
    assert store.counts() == {**whole.counts(), "Action": 2}
    assert wanted(store, later) is None
