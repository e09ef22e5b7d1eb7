"""How promises, calls, orders and peak windows were kept, worked by hand, in MW and to the cent."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tieline.books import build_book
from tieline.books.baselines import BEFORE_AFTER, TEN_OF_TEN, baseline_of
from tieline.books.performance import Load, MeteredLoads, PeakWindow, deployment, obeyed, peak, reserve
from tieline.ledger import USD
from tieline.records import Commitment, Instruction

T0 = datetime(2026, 11, 3, 18, tzinfo=UTC)  # a Tuesday
FIVE, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
STAMP = {"source": "test", "kind": "measured"}
PROMISE = Commitment(
    at=T0, known_at=T0 - DAY, commitment_id="c-1", site_id="a", product="reserve", until=T0 + 4 * HOUR, power_w=12e6,
    response_s=600, capacity_usd_per_mw_h=8.0, status="accepted", nonperformance_usd_per_mwh=2_000.0, **STAMP,
)  # fmt: skip


def flat(watts: float | None, start: datetime, end: datetime) -> list[Load]:
    count = int((end - start) / FIVE)
    return [Load(start + n * FIVE, start + (n + 1) * FIVE, watts) for n in range(count)]


def never(moment: datetime) -> bool:
    return False


def test_a_call_kept_in_full_costs_nothing():
    # 52 MW before; down to 40 MW ten minutes after the call at 19:00, until 20:00.
    call = T0 + HOUR
    loads = [*flat(52e6, T0, call), *flat(52e6, call, call + 2 * FIVE), *flat(40e6, call + 2 * FIVE, call + HOUR)]
    kept = deployment(PROMISE, call, call + HOUR, MeteredLoads(loads), BEFORE_AFTER, never, **STAMP)
    assert (kept.baseline_w, kept.mean_w, kept.delivered_w) == (52e6, 40e6, 12e6)
    assert (kept.missed_wh, kept.penalty_usd) == (0, Decimal("0.00"))
    assert build_book([kept]).entries == []


def test_half_a_megawatt_missing_for_fifty_minutes_is_fined_in_one_line():
    # 0.5 MW x 50 min = 0.416667 MWh; x 2,000 = 833.33 USD (worked by hand).
    call = T0 + HOUR
    loads = [*flat(52e6, T0, call + 2 * FIVE), *flat(40.5e6, call + 2 * FIVE, call + HOUR)]
    kept = deployment(PROMISE, call, call + HOUR, MeteredLoads(loads), BEFORE_AFTER, never, **STAMP)
    assert kept.missed_wh == 416_667
    assert kept.penalty_usd == Decimal("833.33")
    assert kept.line == (
        "c-1: called 11-03 19:00 to 20:00; 52.00 baseline (meter before/after) - 40.50 metered from 19:10 = 11.50 of "
        "12.00 MW; 0.50 MW x 0.83 h x 2,000.00 USD/MWh = 833.33 USD penalty"
    )
    book = build_book([kept])
    assert book.balance("Expenses:Grid:Penalties", USD) == Decimal("833.33")
    assert book.balance("Assets:Receivable:Grid:a", USD) == Decimal("-833.33")


def test_a_meter_that_was_not_heard_says_nothing_and_fines_nothing():
    call = T0 + HOUR
    for loads in (flat(None, T0, call + HOUR), flat(52e6, T0, call), []):
        kept = deployment(PROMISE, call, call + HOUR, MeteredLoads(loads), BEFORE_AFTER, never, **STAMP)
        assert kept.delivered_w is None
        assert kept.penalty_usd == 0
        assert "too little was heard" in kept.line


def test_a_reserve_is_paid_for_its_megawatts_and_fined_below_its_floor():
    # 12 MW x 4 h x 8 USD = 384; ten minutes at 9 MW: 3 MW x 1/6 h = 0.5 MWh x 2,000 = 1,000.
    loads = [*flat(20e6, T0, T0 + HOUR), *flat(9e6, T0 + HOUR, T0 + HOUR + 2 * FIVE)]
    loads += flat(20e6, T0 + HOUR + 2 * FIVE, T0 + 4 * HOUR)
    kept = reserve(PROMISE, (), (), MeteredLoads(loads), **STAMP)
    assert (kept.paid_usd, kept.missed_wh, kept.penalty_usd) == (Decimal("384.00"), 500_000, Decimal("1000.00"))
    book = build_book([kept])
    assert book.balance("Income:Grid:Reserves", USD) == Decimal("-384.00")
    assert book.balance("Assets:Receivable:Grid:a", USD) == Decimal("-616.00")


def test_called_ordered_down_or_coming_back_its_load_need_not_draw():
    loads = [*flat(20e6, T0, T0 + HOUR), *flat(5e6, T0 + HOUR, T0 + 4 * HOUR)]
    meter = MeteredLoads(loads)
    assert reserve(PROMISE, (), (), meter, **STAMP).missed_wh == 21_000_000  # 7 MW for three hours
    assert reserve(PROMISE, [(T0 + HOUR, T0 + 2 * HOUR)], (), meter, **STAMP).missed_wh == 0
    order = Instruction(
        at=T0 + HOUR, known_at=T0 + HOUR, instruction_id="o-1", site_id="a", limit_w=5e6, until=T0 + 2 * HOUR, **STAMP
    )
    assert reserve(PROMISE, (), [order], meter, **STAMP).missed_wh == 0


def test_an_order_is_fined_for_what_was_drawn_above_it_after_its_notice():
    order = Instruction(
        at=T0, known_at=T0, instruction_id="o-1", site_id="a", limit_w=10e6, until=T0 + HOUR, notice_s=600,
        penalty_usd_per_mwh=5_000.0, **STAMP,
    )  # fmt: skip
    loads = [*flat(30e6, T0, T0 + 2 * FIVE), *flat(16e6, T0 + 2 * FIVE, T0 + 4 * FIVE)]
    kept = obeyed(order, MeteredLoads([*loads, *flat(9e6, T0 + 4 * FIVE, T0 + HOUR)]), **STAMP)
    assert (kept.missed_wh, kept.penalty_usd) == (1_000_000, Decimal("5000.00"))  # 6 MW for ten minutes


def days(usual: float, today: float, extra: dict[int, float] | None = None) -> MeteredLoads:
    """The last 30 days: `usual` MW all day, today `today` MW before the event at 18:00."""
    loads = [
        one for n in range(1, 31) for one in flat((extra or {}).get(n, usual) * 1e6, T0 - n * DAY, T0 - n * DAY + HOUR)
    ]
    loads += [one for n in range(1, 31) for one in flat(usual * 1e6, T0 - n * DAY - 4 * HOUR, T0 - n * DAY)]
    return MeteredLoads([*loads, *flat(today * 1e6, T0 - 4 * HOUR, T0)])


def test_ten_of_ten_is_the_mean_of_ten_like_days_adjusted_within_a_fifth():
    end = T0 + HOUR
    assert TEN_OF_TEN.watts(days(40, 40), T0, end, never) == pytest.approx(40e6)
    assert TEN_OF_TEN.watts(days(40, 44), T0, end, never) == pytest.approx(44e6)
    assert TEN_OF_TEN.watts(days(40, 80), T0, end, never) == pytest.approx(48e6)  # the cap
    assert TEN_OF_TEN.watts(days(40, 10), T0, end, never) == pytest.approx(32e6)
    # Weekends (days 2 and 3 back) are not like a Tuesday; a day with a call is left out; both shed to nothing here.
    odd = {2: 0.0, 3: 0.0, 1: 0.0}
    assert TEN_OF_TEN.watts(days(40, 40, odd), T0, end, lambda m: m.date() == (T0 - DAY).date()) == pytest.approx(40e6)
    short = MeteredLoads([one for n in range(1, 12) for one in flat(40e6, T0 - n * DAY, T0 - n * DAY + HOUR)])
    assert TEN_OF_TEN.watts(short, T0, end, never) is None  # nine working days


def test_a_peak_window_is_worth_its_odds_and_books_nothing():
    meter = MeteredLoads([*days(40, 40).loads, *flat(10e6, T0, T0 + 3 * FIVE)])
    # 30 MW shed x 25 % x 15,000 USD per MW = 112,500 USD.
    window = PeakWindow("4CP", T0, T0 + 3 * FIVE, 0.25, 15_000.0)
    found = peak("a", window, meter, TEN_OF_TEN, never, **STAMP)
    assert found.delivered_w == pytest.approx(30e6)
    assert "112,500.00 USD expected to be saved, not booked" in found.line
    assert build_book([found]).entries == []


def test_rules_say_where_they_come_from_and_a_wrong_name_names_them():
    for rule in (BEFORE_AFTER, TEN_OF_TEN):
        assert baseline_of(rule.name) is rule
        assert "NAESB" in rule.source
    with pytest.raises(ValueError, match=r"10 of 10"):
        baseline_of("gut feeling")
