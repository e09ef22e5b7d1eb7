"""The fold in an operator's words: what was heard, what was not, what changed and why."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from types import ModuleType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline import config
from tieline.console import views
from tieline.console.fold import Fold
from tieline.fleet import Fleet
from tieline.fleet.physics import GPU_AUX
from tieline.records import Fault, NetworkTick, Plan, PriceTick, Reason, Sample, Setpoint, Usage

START = datetime.fromisoformat("2026-05-14T12:00:00+00:00")
SITE, RIGS, GPU = "na-tx-01", "na-tx-01.rigs-1", "na-tx-01.gpu"
STEP = timedelta(minutes=5)


def sample(unit: str, power_w: float | None, at: datetime = START, length_s: int = 300, **more: object) -> Sample:
    return Sample(
        at=at,
        known_at=at + timedelta(seconds=length_s),
        source=f"site:{SITE}",
        kind="simulated",
        site_id=SITE,
        unit_id=unit,
        length_s=length_s,
        readings=0 if power_w is None else 60,
        power_w=power_w,
        **more,  # type: ignore[arg-type]
    )


def plan(target_w: float, at: datetime = START, rule: str = "strike", known_at: datetime | None = None) -> Plan:
    reason = Reason(rule=rule, text="because", bid_usd_per_mwh=90.0, price_usd_per_mwh=40.0)
    return Plan(
        at=at,
        known_at=known_at or at,
        source="dispatch",
        kind="estimated",
        site_id=SITE,
        length_s=300,
        valid_until=at + timedelta(minutes=15),
        mode="act",
        limit_w=58e6,
        price_usd_per_mwh=40.0,
        hashprice_usd=45.0,
        setpoints=(Setpoint(unit_id=RIGS, target_w=target_w, reason=reason, expected_usd_per_h=100.0),),
        decided_by="strike",
    )


@pytest.mark.parametrize(
    ("mode", "ownership", "expected"),
    [("act", "owned", 100.0), ("observe", "owned", None), ("act", "hosted", None), ("advise", "owned", None)],
)
def test_the_expected_margin_counts_only_plans_that_are_carried_out(
    fleet: Fleet, mode: str, ownership: str, expected: float | None
) -> None:
    sites = tuple(msgspec.structs.replace(one, ownership=ownership) if one.id == SITE else one for one in fleet.sites)
    fold = Fold(msgspec.structs.replace(fleet, sites=sites))
    fold.apply(1, msgspec.structs.replace(plan(5e6), mode=mode))
    assert views._planned(fold, START + timedelta(minutes=1)) == expected


@pytest.fixture
def fold(fleet: Fleet) -> Fold:
    return Fold(fleet)


def test_power_is_split_by_use_and_what_is_left_is_the_grids(fold: Fold) -> None:
    fold.apply(1, sample(RIGS, 50e6, hashrate_hs=2.9e18))
    fold.apply(2, sample(GPU, 1.25e6, tokens=30_000))
    (row,) = fold.rows()
    assert row.inference_w == pytest.approx(1.25e6 / (1 + GPU_AUX))
    assert (row.mining_w or 0) + (row.inference_w or 0) + (row.aux_w or 0) == pytest.approx(51.25e6)
    assert row.hashrate_hs == pytest.approx(2.9e18)
    assert row.modelled_tokens_s == pytest.approx(100.0)
    assert row.heard == 2


def test_a_silent_unit_is_counted_as_missing_and_never_as_zero(fold: Fold) -> None:
    fold.apply(1, sample(RIGS, None))
    (row,) = fold.rows()
    assert row.mining_w is None
    assert row.heard == 0
    shown = views.site_now(fold, {}, fold.sites[SITE], START + STEP)
    assert shown["mining_mw"] is None
    assert shown["does"] == "unheard"


def test_a_reading_grows_old_and_stops_counting(fold: Fold) -> None:
    fold.apply(1, sample(RIGS, 50e6, last_heard=START + timedelta(minutes=5)))
    site = fold.sites[SITE]
    fresh = views.site_now(fold, {}, site, START + timedelta(minutes=6))
    stale = views.site_now(fold, {}, site, START + timedelta(hours=1))
    assert fresh["drawn_mw"] == pytest.approx(50.0)
    assert fresh["age_s"] == pytest.approx(60.0)
    assert stale["drawn_mw"] is None
    assert stale["age_s"] == pytest.approx(55 * 60)


def test_an_hours_sample_speaks_for_each_of_its_intervals(fold: Fold) -> None:
    fold.apply(1, sample(RIGS, 12e6, length_s=3600))
    rows = fold.rows()
    assert len(rows) == 12
    assert {round(r.mining_w or 0) + round(r.aux_w or 0) for r in rows} == {12_000_000}


def test_only_a_setpoint_that_moved_is_a_decision(fold: Fold) -> None:
    fold.apply(1, plan(50e6))
    fold.apply(2, plan(50.01e6, START + STEP))
    fold.apply(3, plan(0.0, START + 2 * STEP))
    fold.apply(4, plan(0.0, START + 3 * STEP, rule="instruction"))
    moved = list(views.recent(fold.decisions, 10))
    assert [d.seq for d in moved] == [4, 3, 1]
    assert moved[1].changes[0].before_w == pytest.approx(50.01e6)
    assert moved[1].changes[0].after_w == 0.0


def test_a_past_told_late_does_not_change_what_holds_now(fold: Fold) -> None:
    fold.apply(1, plan(50e6, START))
    fold.apply(2, plan(10e6, START - timedelta(hours=2), known_at=START - timedelta(hours=2)))
    assert fold.plans[SITE][0] == 1
    assert {d.seq for d in fold.decisions} == {1, 2}
    fold.apply(3, plan(20e6, START - timedelta(days=3), known_at=START - timedelta(days=3)))
    assert {d.seq for d in fold.decisions} == {1, 2}, "three days ago is no news"


def test_the_newest_word_on_a_price_wins_and_a_forecast_never_replaces_a_measurement(fold: Fold) -> None:
    def tick(value: float, kind: str, minutes: int) -> PriceTick:
        known = START + timedelta(minutes=minutes)
        return PriceTick(
            at=START,
            known_at=known,
            source="x",
            kind=kind,
            market="M",
            price_usd_per_mwh=value,  # type: ignore[arg-type]
        )

    fold.apply(1, tick(30.0, "forecast", -60))
    fold.apply(2, tick(33.0, "forecast", -30))
    assert fold.price_now("M", START)[1].price_usd_per_mwh == 33.0  # type: ignore[index]
    fold.apply(3, tick(31.0, "measured", 0))
    fold.apply(4, tick(99.0, "forecast", 1))
    assert fold.price_now("M", START)[1].price_usd_per_mwh == 31.0  # type: ignore[index]
    assert fold.price_now("M", START + timedelta(hours=1)) is None


def test_real_tokens_are_counted_per_second_of_the_wall_clock(fold: Fold) -> None:
    fold.apply(1, sample(RIGS, 1e6))
    fold.apply(
        2,
        Usage(
            at=START, known_at=START, source="gateway", kind="measured", request_id="r", tenant="t", project="p",
            key_id="k", model="m", endpoint="/", status=200, prompt_tokens=1, output_tokens=300,
        ),
    )  # fmt: skip
    at = views.SERIES.index("real_tokens_s")
    assert views.series_view(fold, speed=1.0)["rows"][0][at] == pytest.approx(1.0)
    assert views.series_view(fold, speed=60.0)["rows"][0][at] == pytest.approx(60.0)


def test_a_fault_is_shown_until_it_ends(fold: Fold) -> None:
    fault = Fault(at=START, known_at=START, source="x", kind="measured", site_id=SITE, what="stuck rigs")
    fold.apply(1, fault)
    assert views.open_faults(fold, SITE, START + STEP)
    ended = Fault(
        at=START, known_at=START + STEP, source="x", kind="measured", site_id=SITE, what="stuck rigs",
        until=START + STEP,
    )  # fmt: skip
    fold.apply(2, ended)
    assert not views.open_faults(fold, SITE, START + 2 * STEP)


def test_what_it_keeps_is_bounded(fold: Fold) -> None:
    for n in range(400):
        fold.apply(n + 1, sample(RIGS, 1e6, START + n * STEP))
    assert len(fold.buckets) <= 26 * 12 + 1
    assert fold.rows()[-1].start == START + 399 * STEP


_FLEET = config.demo().fleet


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 5e7)), min_size=1, max_size=20), st.randoms())
def test_order_of_arrival_does_not_change_the_sums(told: list[tuple[int, float]], rng: object) -> None:
    """Samples come late and out of order; a day's chart is the same."""
    found = [sample(RIGS, w, START + n * STEP) for n, w in dict(told).items()]
    straight, shuffled = Fold(_FLEET), Fold(_FLEET)
    for n, one in enumerate(found):
        straight.apply(n + 1, one)
    rng.shuffle(found)  # type: ignore[attr-defined]
    for n, one in enumerate(found):
        shuffled.apply(n + 1, one)
    assert straight.rows() == shuffled.rows()
    assert straight.rows()


def test_the_whole_world_folds_to_what_was_told(world: ModuleType, fleet: Fleet) -> None:
    fold = Fold(fleet)
    told: dict[tuple[datetime, str], float] = {}
    seq = 0
    for n in range(6):
        at = world.NOW.replace(second=0, minute=0) + n * STEP
        for record in world.step(fleet, at, at + timedelta(hours=1)):
            seq += 1
            fold.apply(seq, record)
            if isinstance(record, Sample) and record.power_w is not None:
                told[record.at, record.unit_id] = record.power_w
    drawn = sum((r.mining_w or 0) + (r.inference_w or 0) + (r.aux_w or 0) for r in fold.rows())
    assert drawn == pytest.approx(sum(told.values()))


def test_what_a_site_was_asked_is_all_of_it_and_not_only_what_changed(fold: Fold) -> None:
    """Every unit counts, also one whose last change fell off the list of decisions long ago."""
    fold.apply(1, plan(40e6))
    for n in range(1, 4):
        fold.apply(n + 1, plan(40e6, at=START + n * STEP))
    fold.apply(9, plan(5e6, at=START + 4 * STEP))
    fold.decisions.clear()
    assert fold.asked_w(fold.sites[SITE]) == [(START, 40e6), (START + 4 * STEP, 5e6)]


def test_a_record_that_cannot_be_shown_is_named_and_the_next_is_folded(fold: Fold) -> None:
    def tick(difficulty: float, minutes: int) -> NetworkTick:
        at = START + timedelta(minutes=minutes)
        return NetworkTick(
            at=at, known_at=at, source="t", kind="measured", difficulty=difficulty, subsidy_btc=3.125, fee_share=0.0,
            btc_usd=Decimal(60_000),
        )  # fmt: skip

    fold.apply(1, tick(1e14, 0))
    for seq in range(2, 50):
        fold.apply(seq, tick(0.0, seq))
    fold.apply(50, sample(RIGS, 1e6))
    assert fold.hashprice_now() is not None
    assert fold.seq == 50
    assert fold.samples[RIGS][0] == 50
    assert fold.unfit_count == 48
    assert len(fold.unfit) == 20
    assert "NetworkTick 49" in fold.unfit[-1][1]


def test_a_sample_of_no_length_tells_no_rate(fleet: Fleet, world: ModuleType) -> None:
    fold, site = Fold(fleet), next(s for s in fleet.sites if s.node_groups)
    group = site.node_groups[0]
    told = world.sample(site, group, world.setpoint(site, group, world.NOW), world.NOW)
    fold.apply(1, msgspec.structs.replace(told, length_s=0, tokens=700))
    assert views.now_view(fold, {}, world.NOW, 1.0, {})["keys"]["modelled_tokens_s"] is None
