"""A reserve in a replay: drawn until called, shed in time, kept down, brought back in stages, settled by cause."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from tests.replay.test_replay_days import asked

from tieline.books.causes import CALLED
from tieline.records import Commitment, Instruction, Performance, Plan, Sample, Shortfall
from tieline.replay.report import Report, table
from tieline.replay.run import replay_kept
from tieline.store import Store

DAY = datetime(2024, 3, 4, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BEGIN, CALL, RELEASE, END = (DAY + timedelta(hours=h) for h in (8, 10, 11, 13))


def promise(status: str, known_at: datetime, power_w: float = 6e6) -> Commitment:
    return Commitment(
        at=BEGIN, known_at=known_at, source="test", kind="simulated", commitment_id="c-1", site_id="py-1",
        product="reserve", until=END, power_w=power_w, response_s=600, capacity_usd_per_mw_h=8.0, status=status,
        nonperformance_usd_per_mwh=2_000.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def played(data_folder: Path) -> tuple[Report, Store]:
    told = [
        promise("accepted", DAY - timedelta(hours=1)), promise("deployed", CALL), promise("released", RELEASE),
        promise("accepted", RELEASE + timedelta(microseconds=1)),  # the call ends, the promise stands
    ]  # fmt: skip
    plain = asked(data_folder, DAY + timedelta(hours=6), DAY + timedelta(hours=16))
    return asyncio.run(replay_kept(replace(plain, records=[*plain.records, *told])))


def load_w(store: Store, at: datetime, site: str = "py-1") -> float:
    return sum(s.power_w or 0.0 for s in store.between(Sample, at, at + MINUTE, subject=site))


def test_it_is_drawn_until_called_then_down_in_time_and_for_as_long(played: tuple[Report, Store]) -> None:
    _, store = played
    before = load_w(store, CALL - 5 * MINUTE)
    assert before >= 6e6
    order = store.between(Instruction, DAY, END, subject="py-1")[0]
    assert order.instruction_id == f"{CALLED}c-1"
    assert order.limit_w == pytest.approx(before - 6e6)
    for minute in range(10, 60, 5):
        assert load_w(store, CALL + minute * MINUTE) <= before - 6e6 + 1.0


def test_it_comes_back_by_a_fifth_of_the_site_each_five_minutes(played: tuple[Report, Store]) -> None:
    _, store = played
    loads = [load_w(store, RELEASE + n * 5 * MINUTE) for n in range(-1, 6)]
    assert all(after - before <= 0.2 * 15e6 * 1.001 for before, after in pairwise(loads))
    assert loads[-1] >= load_w(store, CALL - 5 * MINUTE) - 1e5


def test_plans_name_the_call_and_the_hour_is_split_by_it(played: tuple[Report, Store]) -> None:
    _, store = played
    plans = store.between(Plan, CALL, RELEASE, subject="py-1")
    assert any(CALLED in point.reason.text for plan in plans for point in plan.setpoints)
    hour = store.between(Shortfall, CALL, CALL + MINUTE, subject="py-1")[0]
    assert sum(hour.short_wh.values()) == hour.full_wh - hour.drawn_wh
    assert hour.short_wh["commitment"] == pytest.approx(6e6, rel=0.02)  # 6 MW for an hour
    back = store.between(Shortfall, RELEASE, RELEASE + MINUTE, subject="py-1")[0]
    assert 0 < back.short_wh["commitment"] < 1e6  # what had not come back yet
    assert "order" not in hour.short_wh


def test_call_and_reserve_are_settled_once_each_with_a_line(played: tuple[Report, Store]) -> None:
    report, store = played
    kept = {p.what: p for p in store.between(Performance, DAY, END, subject="py-1")}
    assert set(kept) == {"reserve", "deployment"}
    assert kept["deployment"].delivered_w == pytest.approx(6e6, abs=2e4)
    assert kept["deployment"].penalty_usd == 0
    assert kept["reserve"].paid_usd == Decimal("240.00")  # 6 MW x 5 h x 8 USD
    assert kept["reserve"].missed_wh == 0
    assert kept["reserve"].line in report.performances
    assert report.injected["call"] == 1
    assert "commitment" in report.short_mwh
    assert "MWh of mining" in table(report)


def test_other_causes_of_the_day_are_split_too(played: tuple[Report, Store]) -> None:
    _, store = played
    ordered = store.between(Shortfall, DAY + timedelta(hours=10), DAY + timedelta(hours=10, minutes=1), subject="tx-1")
    assert ordered[0].short_wh["order"] > 1e6
    dark = store.between(Shortfall, DAY + timedelta(hours=12), DAY + timedelta(hours=12, minutes=1), subject="va-1")[0]
    assert dark.short_wh["fault"] > 0.5 * dark.full_wh  # three quarters of the hour without supply
    assert dark.full_sats is not None
    assert sum(dark.lost_sats.values()) == dark.full_sats - (dark.made_sats or 0)
    orders = [p for p in store.between(Performance, DAY, END, subject="tx-1") if p.what == "order"]
    assert [(p.missed_wh, p.penalty_usd) for p in orders] == [(0, Decimal(0))]
