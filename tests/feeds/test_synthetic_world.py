"""The synthetic world: any moment, in any order, the same; believable; always labelled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tieline.config import demo
from tieline.feeds.synthetic import EVERYTHING, Synthetic, SyntheticFeed
from tieline.records import Demand, NetworkTick, PriceTick, WeatherTick, encode

FLEET = demo().fleet
WORLD = Synthetic(FLEET, seed=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 7, 15, 12, tzinfo=UTC)
moments = st.datetimes(datetime(2015, 1, 1), datetime(2045, 1, 1), timezones=st.just(UTC))


@given(start=moments, hours=st.integers(1, 30))
@settings(max_examples=10, deadline=None)
def test_any_span_is_a_pure_function_of_seed_and_moment(start: datetime, hours: int) -> None:
    end = start + hours * HOUR
    whole = [encode(r) for r in WORLD.records(start, end)]
    assert whole == [encode(r) for r in Synthetic(FLEET, seed=1).records(start, end)]
    middle = start + (end - start) / 2
    halves = WORLD.records(middle, end), WORLD.records(start, middle)
    assert sorted(whole) == sorted(encode(r) for half in halves for r in half)


def test_another_seed_is_another_world() -> None:
    other = Synthetic(FLEET, seed=2)
    assert WORLD.records(NOON, NOON + DAY) != other.records(NOON, NOON + DAY)


@given(at=moments)
@settings(max_examples=60, deadline=None)
def test_values_are_possible_and_labelled(at: datetime) -> None:
    for record in WORLD.records(at, at + HOUR):
        assert record.source == "synthetic"
        assert record.kind in ("simulated", "forecast")
        match record:
            case PriceTick():
                assert -500 < record.price_usd_per_mwh < 10_000
                assert (record.kind == "forecast") <= (record.known_at < record.at)
            case WeatherTick():
                assert record.temp_c is not None
                assert record.wet_bulb_c is not None
                assert -40 < record.wet_bulb_c <= record.temp_c < 56
            case NetworkTick():
                assert record.difficulty > 1e12
                assert 5_000 < record.btc_usd < 500_000
                assert 0 < record.fee_share < 0.1
            case Demand():
                assert record.output_tokens_per_s >= 0


def test_prices_have_a_day_spikes_and_negative_hours() -> None:
    quarter = [NOON + h * HOUR for h in range(24 * 90)]
    texas = [WORLD.price("ERCOT_HUBAVG_DA", at) for at in quarter]
    evening = [p for p, at in zip(texas, quarter, strict=True) if at.hour in (0, 1)]  # 18:00 and 19:00 in Texas
    night = [p for p, at in zip(texas, quarter, strict=True) if at.hour in (9, 10)]
    assert sum(evening) / len(evening) > 1.5 * sum(night) / len(night)
    assert max(texas) > 200
    assert min(texas) < 0
    assert 20 < sorted(texas)[len(texas) // 2] < 45
    chile = [WORLD.price("CL_QUILLOTA_MC", at) for at in quarter]
    assert min(chile) == 0.0
    assert {WORLD.price("ZA_MEGAFLEX_TARIFF", at) for at in quarter} == {56.0, 78.0, 108.0}


def test_summer_is_in_july_in_texas_and_in_january_in_chile() -> None:
    def mean(station: str, day: datetime) -> float:
        return sum(WORLD.weather(station, day + h * HOUR).temp_c or 0.0 for h in range(24 * 14)) / (24 * 14)

    july, january = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    assert mean("US-TEX-ERCO", july) > mean("US-TEX-ERCO", january) + 12
    assert mean("CL-SIC", january) > mean("CL-SIC", july) + 6


def test_difficulty_holds_for_a_fortnight_and_then_moves() -> None:
    found = {WORLD.network(NOON + n * DAY).difficulty for n in range(28)}
    assert 2 <= len(found) <= 3


def test_a_market_nobody_knows_has_a_price_all_the_same() -> None:
    assert isinstance(WORLD.price("NOWHERE_DA", NOON), float)


def test_a_feed_tells_each_thing_once_when_it_is_known() -> None:
    async def lived() -> list[object]:
        feed = SyntheticFeed(Synthetic(FLEET, 1), EVERYTHING)
        told: list[object] = []
        for step in range(24 * 12 + 1):
            now = NOON + step * timedelta(minutes=5)
            found = await feed.read(now)
            assert all(r.known_at <= now for r in found)
            told += found
        return told

    told = asyncio.run(lived())
    keys = [(type(r).__name__, r.key) for r in told]  # type: ignore[attr-defined]
    assert len(keys) == len(set(keys))
    wanted = {encode(r) for r in WORLD.records(NOON, NOON + DAY) if r.known_at <= NOON + DAY}
    assert wanted <= {encode(r) for r in told}  # type: ignore[arg-type]
    ahead = [r for r in told if isinstance(r, PriceTick) and r.at > NOON + DAY]
    assert {r.known_at.hour for r in ahead} == {18}


def test_a_feed_that_slept_does_not_tell_a_year() -> None:
    async def slept() -> int:
        feed = SyntheticFeed(WORLD)
        await feed.read(NOON)
        return len(await feed.read(NOON + 365 * DAY))

    assert asyncio.run(slept()) < 2_000
