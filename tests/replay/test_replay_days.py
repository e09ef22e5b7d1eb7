"""Replayed days: the same bytes twice, no look ahead, orders and faults felt, money that adds up."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace as with_
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from tieline.cli.desk.replay import replay as command
from tieline.dispatch import Settings
from tieline.feeds.days.recorded import ASSUMPTIONS, RecordedFolder
from tieline.records import Fault, Payout, Plan, PowerBill, PriceTick, Sample
from tieline.replay.asked import Asked
from tieline.replay.report import Report, table
from tieline.replay.run import ReplayError, replay, replay_kept
from tieline.store import Store

START = datetime(2024, 3, 4, tzinfo=UTC)
END = START + timedelta(days=1)


def asked(folder: Path, start: datetime = START, end: datetime = END, scale: float = 1.0) -> Asked:
    recorded = RecordedFolder(folder)
    fleet = recorded.fleet(scale)
    return Asked(
        fleet=fleet,
        settings=Settings(),
        records=recorded.records(fleet, start, end, scale),
        start=start,
        end=end,
        label=folder.name,
        scale=scale,
        assumptions=ASSUMPTIONS,
    )


@pytest.fixture(scope="module")
def day(data_folder: Path) -> tuple[Report, Store]:
    return asyncio.run(replay_kept(asked(data_folder)))


def test_a_replayed_day_is_the_same_bytes_twice(data_folder: Path, day: tuple[Report, Store]) -> None:
    again = asyncio.run(replay(asked(data_folder)))
    assert again.to_json() == day[0].to_json()
    assert len(again.store_digest) == 64
    assert again.records["Plan"] >= 3 * 288


def test_a_storm_is_the_same_bytes_twice(example_days: Path) -> None:
    start = datetime(2025, 9, 16, 12, tzinfo=UTC)
    first, second = (asyncio.run(replay(asked(example_days, start, start + timedelta(hours=12)))) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert first.sites == 40
    assert first.over_limit_s == 0.0
    assert first.energy.mining_mwh > 1_000
    assert first.money.better_than_always_on_usd > 0  # the evening with 3,000 USD/MWh and more


def test_a_store_on_disk_gives_the_same_bytes(data_folder: Path, tmp_path: Path, day: tuple[Report, Store]) -> None:
    report, store = asyncio.run(replay_kept(asked(data_folder), path=tmp_path / "store.db"))
    store.close()
    assert report.to_json() == day[0].to_json()


def test_the_future_does_not_change_the_past(data_folder: Path) -> None:
    """What is recorded as known after noon leaves every plan up to noon as it was, byte for byte."""
    noon = START + timedelta(hours=12)
    whole = asked(data_folder)
    changed = [
        msgspec.structs.replace(r, price_usd_per_mwh=-999.0) if isinstance(r, PriceTick) and r.known_at > noon else r
        for r in whole.records
        if r.known_at <= noon or isinstance(r, PriceTick)
    ]
    assert any(r.known_at > noon for r in changed)
    _, store = asyncio.run(replay_kept(whole))
    _, other = asyncio.run(replay_kept(with_(whole, records=changed)))
    upto = noon + timedelta(microseconds=1)
    before = store.between(Plan, START, upto, now=noon)
    assert before == other.between(Plan, START, upto, now=noon)
    assert len(before) >= 3 * 145
    after = (noon + timedelta(hours=1), noon + timedelta(hours=8))
    assert store.between(Plan, *after) != other.between(Plan, *after)


def test_nothing_enters_the_store_before_it_is_known(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest: list[datetime] = []
    append = Store.append

    def watched(self: Store, batch: object, *more: object) -> int:
        kept = list(batch)  # type: ignore[call-overload]
        plans = [r for r in kept if isinstance(r, Plan)]
        if plans:
            newest.append(plans[0].known_at)
        late = [r for r in kept if newest and r.known_at > newest[-1] + timedelta(minutes=5)]
        assert not late
        return append(self, kept, *more)

    monkeypatch.setattr(Store, "append", watched)
    asyncio.run(replay(asked(data_folder, END - timedelta(hours=4), END)))
    assert len(newest) >= 48


def test_an_order_is_obeyed_from_the_moment_it_is_known(day: tuple[Report, Store]) -> None:
    report, store = day
    given = START + timedelta(hours=10, minutes=2, seconds=30)
    plans = [p for p in store.between(Plan, START, END, subject="tx-1") if p.known_at == given]
    assert [p.limit_w for p in plans] == [5e6]
    for sample_at in (START + timedelta(hours=10, minutes=5), START + timedelta(hours=10, minutes=55)):
        samples = store.between(Sample, sample_at, sample_at + timedelta(seconds=1), subject="tx-1")
        assert len(samples) == 2
        assert sum(s.power_w or 0.0 for s in samples) <= 5e6 + 1
    assert report.over_limit_s == 0.0
    assert report.injected == {"late_solve": 1, "link_loss": 1, "order": 1, "outage": 1, "stuck_rigs": 1}


def test_an_outage_draws_nothing_and_serves_nothing(day: tuple[Report, Store]) -> None:
    dark = day[1].between(Sample, START + timedelta(hours=12), START + timedelta(hours=12, minutes=45), subject="va-1")
    assert len(dark) == 2 * 9
    assert {(s.power_w, s.hashrate_hs or 0.0, s.tokens or 0) for s in dark} == {(0.0, 0.0, 0)}
    after = day[1].between(Sample, START + timedelta(hours=15), START + timedelta(hours=15, minutes=5), subject="va-1")
    assert sum(s.power_w or 0.0 for s in after) > 1e6


def test_a_site_without_its_link_falls_to_its_safe_default_and_tells_later(day: tuple[Report, Store]) -> None:
    lost, back = START + timedelta(hours=14), START + timedelta(hours=15, minutes=10)
    samples = day[1].between(Sample, lost, back, subject="py-1")
    assert {s.known_at for s in samples} == {back}
    by_at = {s.at: s.power_w or 0.0 for s in samples}
    # The last plan came at 13:55 and was good until 14:10; after that mining rests.
    assert by_at[lost] > 10e6
    assert by_at[lost + timedelta(minutes=15)] < 1e6
    assert by_at[back - timedelta(minutes=5)] < 1e6


def test_stuck_rigs_keep_drawing(data_folder: Path) -> None:
    """A fifth of the rigs does not obey while the price is beyond any strike: a fifth of the load stays."""
    at = START + timedelta(hours=22)  # 4,858 USD/MWh over 22:00 to 22:15, known at 22:15
    stuck = Fault(
        at=at - timedelta(hours=1), known_at=at - timedelta(hours=1), source="test", kind="simulated",
        site_id="tx-1", what="stuck_rigs", share=0.2, until=at + timedelta(hours=1),
    )  # fmt: skip
    whole = asked(data_folder, START + timedelta(hours=18), END)
    _, free = asyncio.run(replay_kept(whole))
    _, held = asyncio.run(replay_kept(with_(whole, faults=(stuck,))))

    def mining_w(store: Store) -> float:
        moment = at + timedelta(minutes=20)
        samples = store.between(Sample, moment, moment + timedelta(seconds=1), subject="tx-1")
        return sum(s.power_w or 0.0 for s in samples if s.unit_id == "tx-1.rigs-1")

    assert mining_w(free) < 0.5e6
    assert 3e6 < mining_w(held) < 4.5e6


def test_a_solver_that_stays_late_leaves_every_site_at_its_safe_default(data_folder: Path) -> None:
    late = Fault(
        at=START, known_at=START, source="test", kind="simulated",
        site_id="*", what="late_solve", until=START + timedelta(hours=1),
    )  # fmt: skip
    whole = asked(data_folder, START, START + timedelta(hours=2))
    report, store = asyncio.run(replay_kept(with_(whole, faults=(late,))))
    assert report.injected == {"late_solve": 1}

    def mining_w(minutes: int) -> float:
        at = START + timedelta(minutes=minutes)
        samples = store.between(Sample, at, at + timedelta(seconds=1))
        return sum(s.power_w or 0.0 for s in samples if "rigs" in s.unit_id)

    assert mining_w(5) > 20e6  # the plan of 23:55 is good until 00:10
    assert mining_w(15) < 1e6
    assert mining_w(55) < 1e6
    assert mining_w(115) > 20e6


def test_the_report_adds_up(day: tuple[Report, Store]) -> None:
    report, store = day
    lines = report.by_site
    assert sum(line.energy.total_mwh for line in lines) == pytest.approx(report.energy.total_mwh, abs=0.01)
    assert sum(line.money.net_usd for line in lines) == pytest.approx(report.money.net_usd, abs=0.05)
    money = report.money
    assert money.mining_usd + money.inference_usd - money.power_usd - money.wear_usd == pytest.approx(
        money.net_usd, abs=0.05
    )
    payouts = store.between(Payout, START, END + timedelta(hours=1))
    assert f"{sum(p.sats for p in payouts) / 1e8:.8f}" == report.btc
    assert sum(line.btc for line in lines) == pytest.approx(float(report.btc), rel=1e-6)
    bills = store.between(PowerBill, START, END)
    assert float(sum(b.cost_usd for b in bills)) == pytest.approx(money.power_usd, abs=0.5)
    assert report.modelled_tokens > 0


def test_hours_without_a_price_are_counted_and_not_priced(day: tuple[Report, Store]) -> None:
    report, store = day
    va = next(line for line in report.by_site if line.site_id == "va-1")
    assert va.energy.unpriced_mwh > 0
    gap = next(m for m in report.markets if m.market == "NOW_RT")
    assert (gap.hours, gap.expected_hours) == (22.0, 24.0)
    assert gap.missing == ("2024-03-04T06:00Z/2024-03-04T08:00Z",)
    billed = {b.at.hour for b in store.between(PowerBill, START, END, subject="va-1")}
    assert billed == set(range(24)) - {6, 7}


def test_the_table_says_what_is_modelled_and_assumed(day: tuple[Report, Store]) -> None:
    text = table(day[0])
    for words in ("modelled", "assumed", "invented", "always on", "2024-03-04T06:00Z", day[0].store_digest):
        assert words in text


def test_spans_that_cannot_be_replayed_say_why(data_folder: Path) -> None:
    whole = asked(data_folder)
    for change, words in (
        ({"end": START}, "not after"),
        ({"end": START + timedelta(days=200)}, "at most 92 days"),
        ({"start": START + timedelta(minutes=5)}, "whole hours"),
        ({"records": ()}, "not recorded"),
        ({"settings": Settings(interval_s=420)}, "does not divide"),
    ):
        with pytest.raises(ReplayError, match=words):
            asyncio.run(replay(with_(whole, **change)))


def test_the_command_prints_json_a_table_or_one_clear_line(data_folder: Path) -> None:
    span = ["--data", str(data_folder), "--from", "2024-03-04T02:00", "--to", "2024-03-04T05:00", "--scale", "1"]
    run = CliRunner()
    as_json = run.invoke(command, [*span, "--json"])
    assert as_json.exit_code == 0, as_json.output
    assert json.loads(as_json.stdout)["deployed_eh_s"] > 1
    as_table = run.invoke(command, span)
    assert as_table.exit_code == 0
    assert "tx-1" in as_table.stdout
    for wrong, words in (
        (["--data", "nowhere", "--from", "2024-03-04", "--to", "2024-03-05"], "no such folder"),
        (["--data", str(data_folder), "--from", "March", "--to", "2024-03-05"], "is no date"),
        (["--data", str(data_folder), "--from", "2019-03-04", "--to", "2019-03-05"], "not recorded"),
        (["--data", str(data_folder), "--from", "2024-03-05", "--to", "2024-03-04"], "not after"),
        ([*span, "--scale", "0"], "scale must be above 0"),
    ):
        failed = run.invoke(command, wrong)
        assert failed.exit_code != 0
        assert words in failed.output
        assert "Traceback" not in failed.output
