"""Odds of coincident peaks: calibrated in themselves, causal, twice a day, and the same from store and from folder."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from click.testing import CliRunner
from tests.dispatch.fleets import fleet, site, store

from tieline.cli import main
from tieline.dispatch.desk.odds import Loads, chance_of_day, odds_of_day, own_forecast, tempered
from tieline.dispatch.desk.peaks import PeakDesk, odds_over
from tieline.fleet import Contract
from tieline.fleet.peaks import PeakRule, read_peaks, shipped_rules
from tieline.fleet.tables import TableError
from tieline.records import PeakOdds, SystemLoad

RULE = shipped_rules()["4CP"]
FIVE_CP = shipped_rules()["PJM-5CP"]
GW = 1e9
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def shape(top_gw: float) -> dict[int, float]:
    """Hours of a day that peaks at 16:00."""
    return {hour: top_gw * GW * (0.7 + 0.3 * math.exp(-(((hour - 16) / 4.0) ** 2))) for hour in range(24)}


def summer(tops: dict[date, float], forecasts: dict[date, float]) -> Loads:
    return Loads(
        measured={day: top * GW for day, top in tops.items()},
        forecast={day: shape(top) for day, top in {**tops, **forecasts}.items()},
    )


def calm(year: int = 2024, top: float = 70.0) -> dict[date, float]:
    """May to mid August, each day a little different."""
    begin = date(year, 5, 1)
    return {begin + n * DAY: top + 2.0 * math.sin(n * 1.7) + 1.5 * math.sin(n * 0.31) for n in range(106)}


def test_a_day_that_stands_out_is_likelier_than_one_that_does_not() -> None:
    tops = calm()
    day = max(tops) + 2 * DAY
    chances = [chance_of_day(RULE, summer(tops, {day: top}), day, max(tops)) for top in (66.0, 72.0, 76.0, 84.0)]
    assert chances == sorted(chances)
    assert chances[0] < 0.01
    assert chances[-1] > 0.10  # seventeen days are left
    assert all(0.0 <= chance <= 1.0 for chance in chances)


def test_odds_told_ahead_are_drawn_towards_any_days_and_what_cannot_be_stays() -> None:
    usual = 1.0 / 31.0
    assert tempered(0.0, usual) == 0.0
    assert tempered(1.0, usual) == 1.0
    assert tempered(usual, usual) == pytest.approx(usual)
    assert 0.009 < tempered(0.009, usual) < usual < tempered(0.3, usual) < 0.3
    told = [tempered(p / 1000.0, usual) for p in range(1001)]
    assert told == sorted(told)


def test_a_day_below_what_the_month_has_seen_cannot_be_its_peak() -> None:
    tops = calm()
    tops[date(2024, 8, 3)] = 90.0
    day = max(tops) + 2 * DAY
    assert chance_of_day(RULE, summer(tops, {day: 76.0}), day, max(tops)) == 0.0
    # Five of a season: one higher day takes one of five places.
    assert chance_of_day(FIVE_CP, summer(tops, {day: 76.0}), day, max(tops)) > 0.0


def test_odds_of_a_day_lie_in_the_rules_hours_and_add_up_to_the_days_chance() -> None:
    tops = calm()
    day = max(tops) + DAY
    loads = summer(tops, {day: 78.0})
    windows = odds_of_day(RULE, loads, day, max(tops))
    assert len(windows) == 4 * len(RULE.hours)
    assert sum(w.probability for w in windows) == pytest.approx(chance_of_day(RULE, loads, day, max(tops)), abs=1e-4)
    best = max(windows, key=lambda w: w.probability)
    assert best.at.hour == 21  # 16:00 in Texas
    assert odds_of_day(RULE, loads, date(2024, 10, 5), max(tops)) == []
    half_hours = msgspec.structs.replace(shipped_rules()["12CP"], status="in force")
    assert {w.at.minute for w in odds_of_day(half_hours, loads, day, max(tops))} == {0, 30}


def test_an_hour_at_which_days_usually_peak_is_likelier_than_its_neighbour() -> None:
    """A forecast that has two hours alike; in sixty days of the season fifty-nine were highest at the later one."""
    tops = calm()
    day = max(tops) + DAY
    loads = summer(tops, {day: 78.0})
    loads.forecast[day][15] = loads.forecast[day][16]

    def by_hour() -> dict[int, float]:
        windows = odds_of_day(RULE, loads, day, max(tops))
        return {hour: sum(w.probability for w in windows if w.at.hour == hour + 5) for hour in (15, 16)}

    alike = by_hour()
    assert alike[15] == pytest.approx(alike[16])
    loads.peak_hours = {16: 59, 17: 1}
    usual = by_hour()
    assert usual[16] == pytest.approx(math.sqrt(60.0) * usual[15], rel=0.01)
    assert sum(usual.values()) == pytest.approx(sum(alike.values()), rel=0.2)  # the day is as likely as before


def test_what_is_measured_or_forecast_later_changes_nothing() -> None:
    tops = calm()
    day = max(tops) + 2 * DAY
    before = odds_of_day(RULE, summer(tops, {day: 77.0}), day, max(tops))
    later = {day + n * DAY: 95.0 for n in range(10)}
    changed = summer({**tops, **later}, {day: 77.0})
    changed.forecast[day] = shape(77.0)
    assert odds_of_day(RULE, changed, day, max(tops)) == before


def test_an_hour_to_come_counts_only_where_it_passes_what_was_measured() -> None:
    tops = calm()
    day = max(tops) + DAY
    loads = summer(tops, {day: 78.0})
    whole = sum(w.probability for w in odds_of_day(RULE, loads, day, max(tops)))
    left = {hour: odds_of_day(RULE, loads, day, max(tops), hour) for hour in (10, 14, 15, 16, 17)}
    told = {hour: sum(w.probability for w in found) for hour, found in left.items()}
    # The day peaks at 16:00: while that is to come nearly all of its chance is left, and after it hardly any.
    assert told[14] > 0.6 * whole
    assert told[16] < 0.5 * told[15]
    assert told[17] < 0.1 * told[15]
    assert all((w.at - 5 * HOUR).hour > hour for hour, found in left.items() for w in found)


def test_a_hotter_tomorrow_in_the_forecast_lowers_todays_odds() -> None:
    tops = calm()
    day = max(tops) + DAY
    loads = summer(tops, {day: 78.0})
    alone = chance_of_day(RULE, loads, day, max(tops))
    found = {}
    for following in (70.0, 78.0, 86.0):
        loads.next_day[day] = following * GW
        found[following] = chance_of_day(RULE, loads, day, max(tops))
    assert found[70.0] > alone
    assert found[70.0] > found[78.0] > found[86.0]
    assert found[86.0] < 0.05 * found[70.0]


def test_odds_told_at_any_hour_never_change_when_their_future_does() -> None:
    """The same days up to a moment, and then a heat wave or rain, measured and forecast: what was told stays."""
    tops = calm()
    today = max(tops) + DAY
    told = loads_of({**tops, today: 74.0}, {today: 75.0, today + DAY: 77.0})
    begin = datetime(today.year, today.month, today.day, 5, tzinfo=UTC)
    for hour in (11, 16, 20, 22):
        now = begin + (hour - 5) * HOUR
        runs = []
        for later in (60.0, 95.0):
            known = [one for one in told if one.known_at <= now]
            changed = [
                msgspec.structs.replace(one, power_w=later * GW) for one in told if one.known_at > now
            ] + loads_of({today + DAY: later}, {today + 2 * DAY: later})
            found = odds_over(TEXAS, (RULE,), [*known, *changed], begin - DAY, begin + DAY)
            runs.append([one for one in found if one.known_at <= now])
        assert runs[0] == runs[1]
        assert any(one.known_at == now for one in runs[0]) or hour == 22


def test_over_months_the_chances_of_days_come_to_about_one_peak_a_month() -> None:
    """Seeded weather, a forecast two per cent off: neither a desk that cries wolf nor one that sleeps."""
    import random

    draw = random.Random(7)
    tops: dict[date, float] = {}
    heat = 0.0
    for n in range(3 * 365):
        day = date(2022, 1, 1) + n * DAY
        heat = 0.8 * heat + draw.gauss(0.0, 2.0)
        tops[day] = 62.0 - 14.0 * math.cos(2 * math.pi * n / 365.25) + heat
    told, months = 0.0, 0
    known: dict[date, float] = {}
    cache: dict[object, object] = {}
    forecasts = {day: top * math.exp(draw.gauss(0.0, 0.02)) for day, top in tops.items()}
    for day in sorted(tops):
        if day.year == 2024 and day.month in RULE.months:
            loads = Loads(
                {d: t * GW for d, t in known.items()}, {d: shape(forecasts[d]) for d in [*known, day][-61:]}, cache
            )
            told += chance_of_day(RULE, loads, day, day - DAY)
            months += day.day == 1
        known[day] = tops[day]
    assert months == 4
    assert 2.0 < told < 8.0


def test_a_weekend_is_forecast_from_weekends_at_the_level_of_the_last_day() -> None:
    loads = {
        date(2024, 8, 1) + n * DAY: shape(60.0 if (date(2024, 8, 1) + n * DAY).weekday() >= 5 else 70.0)
        for n in range(16)
    }
    saturday = own_forecast(loads, date(2024, 8, 17), date(2024, 8, 16))
    assert max(saturday.values()) == pytest.approx(60.0 * GW)
    assert own_forecast({}, date(2024, 8, 17), date(2024, 8, 16)) == {}


# --- as records ------------------------------------------------------------------------------


def loads_of(tops: dict[date, float], ahead: dict[date, float]) -> list[SystemLoad]:
    found = []
    for book, kind in ((tops, "measured"), (ahead, "forecast")):
        for day, top in book.items():
            for hour, watts in shape(top).items():
                at = datetime(day.year, day.month, day.day, tzinfo=UTC) + (hour + 5) * HOUR
                known = (
                    at + HOUR if kind == "measured" else datetime(day.year, day.month, day.day, 15, tzinfo=UTC) - DAY
                )
                found.append(SystemLoad(at=at, known_at=known, source="t", kind=kind, operator="ERCOT", power_w=watts))
    return found


TEXAS = fleet(site(contract=Contract(basis="spot", market="ERCOT_LZ_WEST_DA")))


def test_the_desk_counts_the_hours_of_past_days_of_the_season_alone() -> None:
    desk = PeakDesk(TEXAS, (RULE,))
    begin = date(2024, 5, 20)
    for one in loads_of({begin + n * DAY: 70.0 + n for n in range(30)}, {}):
        desk.learn(one)
    counted = desk.loads["ERCOT"].loads(RULE, date(2024, 6, 9), date(2024, 6, 7)).peak_hours
    assert counted == {16: 7}  # the first seven days of June


def test_the_desk_tells_tomorrow_at_ten_and_today_at_six_and_each_hour_from_eleven() -> None:
    tops = calm()
    today = max(tops) + DAY
    told = loads_of(tops, {today: 71.0, today + DAY: 78.0})
    kept = store(*told)
    desk = PeakDesk(TEXAS, (RULE,))
    begin = datetime(today.year, today.month, today.day, 6, tzinfo=UTC)  # 01:00 in Texas
    days = {}
    for n in range(20):
        found = desk.step(kept, begin + n * HOUR)
        if found:
            days[(begin + n * HOUR - 5 * HOUR).hour] = {RULE.local_day(one.at) for one in found}
            assert all(one.known_at == begin + n * HOUR and one.kind == "forecast" for one in found)
    # and from eleven on each hour what is left of today
    assert days == {6: {today}, 10: {today + DAY}, **{hour: {today} for hour in range(11, 20)}}
    # The same from a list as from the store.
    again = odds_over(TEXAS, (RULE,), told, begin, begin + 20 * HOUR)
    fresh = PeakDesk(TEXAS, (RULE,))
    assert again == [one for n in range(20) for one in fresh.step(kept, begin + n * HOUR)]


def test_hours_that_run_above_their_forecast_raise_the_odds_of_those_to_come() -> None:
    tops = calm()
    today = max(tops) + DAY
    chances = {}
    for top in (68.0, 74.0, 80.0):
        told = loads_of({**tops, today: top}, {today: 74.0})
        desk = PeakDesk(TEXAS, (RULE,))
        now = datetime(today.year, today.month, today.day, 20, tzinfo=UTC)  # 15:00 in Texas
        for load in told:
            if load.known_at <= now:
                desk.learn(load)
        chances[top] = sum(one.probability for one in desk.tell(now) if RULE.local_day(one.at) == today)
    assert chances[68.0] < chances[74.0] < chances[80.0]


def test_a_load_forecast_that_stops_leaves_the_desks_own() -> None:
    tops = calm()
    today = max(tops) + DAY
    desk = PeakDesk(TEXAS, (RULE,))
    now = datetime(today.year, today.month, today.day, 16, tzinfo=UTC)
    found = desk.step(store(*loads_of(tops, {})), now)
    assert {RULE.local_day(one.at) for one in found} == {today, today + DAY}
    assert PeakDesk(TEXAS, (RULE,)).step(store(), now) == []  # no load at all: no odds, and no guess


def test_the_controller_keeps_odds_and_plans_with_them() -> None:
    import asyncio

    from tests.dispatch.fleets import network, price

    from tieline.dispatch import Controller, Settings

    tops = calm()
    today = max(tops) + DAY
    now = datetime(today.year, today.month, today.day, 21, 0, tzinfo=UTC)
    prices = [price(20.0, at=now + n * HOUR, market="ERCOT_LZ_WEST_DA", known_at=now - DAY) for n in range(-3, 30)]
    kept = store(*loads_of(tops, {today: 86.0, today + DAY: 70.0}), *prices, network(at=now - HOUR))
    controller = Controller(kept, TEXAS, Settings(policy="strike"))
    (first,) = asyncio.run(controller.step(now - 10 * timedelta(minutes=5)))
    odds = kept.between(PeakOdds, now - DAY, now + 2 * DAY, subject="4CP")
    assert max(one.probability for one in odds) > 0.025
    (second,) = asyncio.run(controller.step(now))
    drawn = [sum(p.target_w for p in plan.setpoints) for plan in (first, second)]
    assert drawn[1] < 0.1 * drawn[0]  # 3 % of 15,000 USD over a quarter of an hour is dearer than any hash


def test_peaks_are_shown_to_a_person(example_days) -> None:
    done = CliRunner().invoke(main, ["peaks", "--data", str(example_days), "--at", "2025-09-16T12:30"])
    assert done.exit_code == 0, done.output
    assert "4CP (ERCOT, in force)" in done.output
    assert "Tue 09-16 17:" in done.output
    assert "told at 09-16 07:30 local by desk: odds from system load" in done.output
    done = CliRunner().invoke(main, ["peaks", "--data", str(example_days), "--at", "2025-10-10T16:00"])
    assert "out of season" in done.output
    done = CliRunner().invoke(main, ["peaks", "--data", str(example_days)])
    assert done.exit_code == 2
    assert "--at" in done.output


def test_markets_are_listed_with_what_they_are() -> None:
    done = CliRunner().invoke(main, ["markets"])
    assert done.exit_code == 0
    assert "CAISO_NP15_DA" in done.output
    assert "12:57 local the day before" in done.output
    assert CliRunner().invoke(main, ["markets", "--toml"]).output.startswith("# Power markets")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("months = [6, 7, 8, 9]", "months = [6, 13]", "rule.4CP: months"),
        ("window_s = 900", "window_s = 1000", "rule.4CP: window_s 1000"),
        ("peaks = 4", "peaks = 0", "rule.4CP: give peaks"),
        ('zone = "America/Chicago"', 'zone = "Texas"', "rule.4CP: no time zone"),
        ('by = "month"', 'by = "week"', "by"),
    ],
)
def test_a_table_of_rules_with_a_mistake_is_one_line(old: str, new: str, words: str) -> None:
    from importlib import resources

    text = (resources.files("tieline.fleet") / "peaks.toml").read_text()
    with pytest.raises(TableError) as caught:
        read_peaks(text.replace(old, new, 1), "mine.toml")
    assert words in str(caught.value)
    assert isinstance(RULE, PeakRule)
