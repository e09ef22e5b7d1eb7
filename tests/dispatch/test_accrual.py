"""Next year's bill of coincident peaks: the highest hour so far, what was drawn in it, to the cent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tieline.dispatch.desk.accrual import accrued, peaks_so_far
from tieline.fleet.peaks import shipped_rules
from tieline.records import SystemLoad

FOUR_CP, TOP_FIVE = shipped_rules()["4CP"], shipped_rules()["PJM-5CP"]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2024, 8, 20, 21, tzinfo=UTC)


def load(at: datetime, gw: float, operator: str = "ERCOT", kind: str = "measured", known: datetime | None = None):
    return SystemLoad(
        at=at, known_at=known or at + HOUR, source="t", kind=kind, operator=operator, power_w=gw * 1e9
    )  # fmt: skip


def test_each_month_of_the_season_has_its_highest_hour_and_the_last_word_counts() -> None:
    june, july = datetime(2024, 6, 30, 22, tzinfo=UTC), datetime(2024, 7, 9, 22, tzinfo=UTC)
    loads = [
        load(june, 79.7), load(june - DAY, 79.0), load(july, 80.0), load(NOON, 85.0),
        load(NOON + HOUR, 99.0, kind="forecast"), load(NOON, 84.0, known=NOON + 2 * HOUR),
        load(NOON - DAY, 84.5), load(datetime(2023, 8, 10, 22, tzinfo=UTC), 90.0), load(NOON, 99.0, operator="PJM"),
    ]  # fmt: skip
    found = peaks_so_far(FOUR_CP, loads, NOON + HOUR)
    assert [(p.stretch, p.at, p.over) for p in found] == [
        ("2024-06", june, True), ("2024-07", july, True), ("2024-08", NOON, False),
    ]  # fmt: skip
    later = peaks_so_far(FOUR_CP, loads, NOON + 3 * HOUR)
    assert later[-1].at == NOON - DAY  # what was measured first was corrected downwards


def test_a_season_of_five_days_takes_one_hour_of_each_of_the_highest() -> None:
    days = [datetime(2024, 7, 1 + n, 21, tzinfo=UTC) for n in range(8)]
    loads = [load(at + h * HOUR, 140 + n + h / 10, operator="PJM") for n, at in enumerate(days) for h in range(2)]
    found = peaks_so_far(TOP_FIVE, loads, datetime(2024, 7, 20, tzinfo=UTC))
    assert [p.at for p in found] == [at + HOUR for at in days[-5:]]
    assert len({p.stretch for p in found}) == 5
    assert not any(p.over for p in found)


def test_what_was_drawn_in_the_hour_is_what_is_accrued() -> None:
    found = peaks_so_far(FOUR_CP, [load(NOON, 85.0)], NOON + HOUR)
    shares = accrued(FOUR_CP, ["a", "b"], found, lambda site, at: {"a": 12_345_678.0}.get(site))
    assert [(s.site_id, s.drawn_wh, s.usd) for s in shares] == [
        ("a", 12_345_678.0, Decimal("185185.17")), ("b", None, Decimal("0.00")),
    ]  # fmt: skip


def test_a_minimum_billing_demand_holds_a_site_to_a_share_of_its_highest() -> None:
    rule = msgspec.structs.replace(FOUR_CP, minimum_billing_share=0.5)
    found = peaks_so_far(rule, [load(NOON, 85.0), load(NOON - 30 * DAY, 80.0)], NOON + HOUR)
    drawn = {NOON: 10e6, NOON - 30 * DAY: 0.0}
    usd = [s.usd for s in accrued(rule, ["a"], found, lambda site, at: drawn[at])]
    assert usd == [Decimal("75000.00"), Decimal("150000.00")]


@given(st.lists(st.floats(40.0, 90.0), min_size=1, max_size=40))
def test_nothing_measured_later_changes_what_was_accrued_as_known_then(gws: list[float]) -> None:
    start = datetime(2024, 7, 2, 12, tzinfo=UTC)
    loads = [load(start + n * HOUR, gw) for n, gw in enumerate(gws)]
    now = start + (len(gws) // 2 + 1) * HOUR
    known = [one for one in loads if one.known_at <= now]
    assert peaks_so_far(FOUR_CP, loads, now) == peaks_so_far(FOUR_CP, known, now)
