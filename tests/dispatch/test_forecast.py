"""Forecasts: the same interface for all, nothing read that is not known, and records of what was expected."""

import asyncio
import sys
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dispatch.fleets import FIVE, T0, demand, fleet, network, one_site, price, store, weather

from tieline.config import ConfigError, loads
from tieline.dispatch import Controller, Settings
from tieline.dispatch.inputs import learned as learned_
from tieline.dispatch.inputs.forecast import SLOTS_PER_DAY, analog_days, persistence
from tieline.dispatch.inputs.forecasters import FORECASTERS, forecaster_of
from tieline.records import Forecast

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
pytest.importorskip("lightgbm", reason="the extra forecast is not installed")

SLOTS = np.arange(40 * SLOTS_PER_DAY)
# A Thursday begins 1970: slots of days 2 and 3 are a weekend, when power is cheap here.
WEEKEND = ((SLOTS // SLOTS_PER_DAY) % 7 == 2) | ((SLOTS // SLOTS_PER_DAY) % 7 == 3)


def weekly() -> np.ndarray:
    noise = np.random.default_rng(3).normal(0.0, 2.0, len(SLOTS))
    return 40.0 + 15.0 * np.sin(SLOTS / SLOTS_PER_DAY * 2 * np.pi) - 25.0 * WEEKEND + noise


def ask(forecaster, values, now, scenarios=20, ahead=None, **more):
    wanted = now + (np.arange(0, 192, 4) if ahead is None else ahead)
    return forecaster(values, now, now, wanted, scenarios, **more)


@pytest.mark.parametrize("name", FORECASTERS)
def test_all_have_one_interface_and_keep_what_is_published(name):
    values, now = weekly(), 33 * SLOTS_PER_DAY + 50
    known = now + 40  # ten hours are published
    wanted = now + np.arange(0, 192, 4)
    paths = forecaster_of(name)(values, now, known, wanted, 20, series="HUB", base=0)
    assert paths.shape == (48, 20)
    assert not np.isnan(paths).any()
    told = wanted < known
    assert (paths[told] == values[wanted[told]][:, None]).all()


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(FORECASTERS)),
    first=st.integers(-40, 8 * 96),
    length=st.integers(1, 20 * 96),
    high=st.sampled_from([1e3, 1e6]),
    seed=st.integers(0, 1_000),
)
def test_hours_left_out_of_what_is_published_are_no_further_than_twice_the_range(name, first, length, high, seed):
    """A feed may publish days ahead and leave hours out, near or far; what fills them is no multiple of the prices."""
    values, now = np.full(60 * 96, np.nan), 30 * SLOTS_PER_DAY
    values[: now + 8 * 96 + 1] = np.random.default_rng(seed).choice([-high, 20.0, high], now + 8 * 96 + 1)
    values[now + first : now + first + length] = np.nan
    values[now + 26 * 96] = high  # a single hour, weeks ahead
    paths = forecaster_of(name)(values, now, len(values), now + np.arange(0, 192, 4), 20, series="HUB", base=0)
    assert np.abs(paths).max() <= 3.0 * high


@settings(max_examples=6, deadline=None)
@given(now=st.integers(31 * SLOTS_PER_DAY, 36 * SLOTS_PER_DAY), fresh=st.floats(-1e4, 1e4))
def test_the_learned_one_never_reads_what_is_not_known(now, fresh):
    values = weekly()
    seen = values.copy()
    seen[now:] = fresh
    one, two = (ask(learned_.Learned(), v, now, series="HUB") for v in (values, seen))
    assert np.array_equal(one, two)
    assert (one[0] == values[now - 1]).all()  # the step that runs keeps the last known value


def test_it_learns_what_past_days_cannot_say():
    # Friday noon: tomorrow is cheap, and every past day within reach of an analog says otherwise.
    values = weekly()
    now = 34 * SLOTS_PER_DAY + SLOTS_PER_DAY // 2
    first = next(d for d in range(34, 40) if WEEKEND[d * SLOTS_PER_DAY])
    now = (first - 1) * SLOTS_PER_DAY + SLOTS_PER_DAY // 2
    ahead = np.arange(SLOTS_PER_DAY // 2 + 8, SLOTS_PER_DAY + 40, 4)
    came = values[now + ahead]
    error = {
        name: np.abs(np.median(ask(forecaster_of(name), values, now, ahead=ahead, series="HUB"), axis=1) - came).mean()
        for name in ("persistence", "analog", "learned")
    }
    assert error["learned"] < 0.5 * error["analog"]


def test_a_fit_is_made_once_a_day_and_is_the_same_at_every_start(monkeypatch):
    values, now, made = weekly(), 33 * SLOTS_PER_DAY + 4, []
    train = learned_.train
    monkeypatch.setattr(learned_, "train", lambda *given: made.append(given[2]) or train(*given))
    one = learned_.Learned()
    first = [ask(one, values, now + n, series="HUB") for n in range(0, 80, 20)]
    assert made == [33 * SLOTS_PER_DAY]  # up to midnight, nothing later
    again = ask(learned_.Learned(), values, now + 60, series="HUB")
    assert np.array_equal(again, first[3])
    made.clear()
    ask(one, values, now + SLOTS_PER_DAY, series="HUB")
    ask(one, values, now, series="OTHER")
    assert made == [34 * SLOTS_PER_DAY, 33 * SLOTS_PER_DAY]


def test_in_the_background_no_interval_waits_and_past_days_serve_until_then(monkeypatch):
    values, now, go = weekly(), 33 * SLOTS_PER_DAY + 4, threading.Event()
    train = learned_.train

    def slow(*given):
        assert go.wait(30)
        return train(*given)

    monkeypatch.setattr(learned_, "train", slow)
    live = learned_.Learned(background=True)
    assert np.array_equal(ask(live, values, now, series="HUB"), ask(analog_days, values, now))
    go.set()
    for _ in range(600):
        if all(job.done() for _, job in live._waiting.values()):
            break
        threading.Event().wait(0.05)
    whole = ask(live, values, now + 4, series="HUB")
    assert np.array_equal(whole, ask(learned_.Learned(), values, now + 4, series="HUB"))
    assert not np.array_equal(whole, ask(analog_days, values, now + 4))


def test_a_fit_that_fails_leaves_past_days_and_is_not_tried_again_that_day(monkeypatch):
    values, now, tries = weekly(), 33 * SLOTS_PER_DAY + 4, []

    def broken(*given):
        tries.append(given[2])
        raise ValueError("no")

    monkeypatch.setattr(learned_, "train", broken)
    one = learned_.Learned()
    for n in (0, 4, 8):
        assert np.array_equal(ask(one, values, now + n, series="HUB"), ask(analog_days, values, now + n))
    assert len(tries) == 1


def test_quantiles_are_read_once_per_new_value_and_are_the_same_as_read_anew(monkeypatch):
    values, now, read = weekly(), 33 * SLOTS_PER_DAY + 4, []
    plain = learned_.Fit.quantiles
    monkeypatch.setattr(
        learned_.Fit, "quantiles", lambda fit, v, b, at, *more: read.append(at) or plain(fit, v, b, at, *more)
    )
    one = learned_.Learned()
    known, found = now, []
    for step in range(4):  # the clock moves on, the last known value does not
        wanted = now + step + np.arange(0, 190, 4)
        found.append(one(values, now + step, known, wanted, 20, series="HUB"))
    assert read == [known - 1]
    anew = learned_.Learned()
    again = anew(values, now + 3, known, now + 3 + np.arange(0, 190, 4), 20, series="HUB")
    assert np.allclose(again, found[3], rtol=0, atol=1e-9)
    changed = values.copy()
    changed[known - 1] += 5.0
    one(changed, now + 3, known, now + 3 + np.arange(0, 190, 4), 20, series="HUB")
    one(values, now + 4, known + 1, now + 4 + np.arange(0, 190, 4), 20, series="HUB")
    assert len(read) == 4  # once anew, once for a value that was revised, once for a new one


def test_a_short_or_flat_or_missing_history_is_no_fit_and_no_error():
    short = np.full(3 * SLOTS_PER_DAY, np.nan)
    short[: SLOTS_PER_DAY // 2] = 30.0
    now = SLOTS_PER_DAY // 2
    assert np.array_equal(ask(learned_.Learned(), short, now), ask(analog_days, short, now))
    flat = np.full(len(SLOTS), 30.0)
    assert ask(learned_.Learned(), flat, 33 * SLOTS_PER_DAY) == pytest.approx(30.0)
    nothing = np.full(len(SLOTS), np.nan)
    assert np.isnan(ask(learned_.Learned(), nothing, 33 * SLOTS_PER_DAY)).all()


def test_hours_are_slots_too():
    hours = np.arange(40 * 24)
    temps = 20.0 + 8.0 * np.sin(hours / 24 * 2 * np.pi)
    wanted = 30 * 24 + np.arange(48)
    for name in FORECASTERS:
        paths = forecaster_of(name)(temps, 30 * 24, 30 * 24, wanted, 1, per_day=24)
        assert paths.shape == (48, 1)
        worst = np.abs(paths[:, 0] - temps[wanted]).max()
        assert worst < (20.0 if name == "persistence" else 3.0)


# --- records of what was expected ----------------------------------------------------


def expected(controller, now) -> list[Forecast]:
    asyncio.run(controller.step(now))
    return controller.store.between(Forecast, now - DAY, now + DAY)


def test_what_is_expected_is_kept_once_an_hour_as_a_forecast_with_its_moment():
    prices = [price(30.0, at=T0 - 3 * DAY + n * HOUR, known_at=T0 - 4 * DAY) for n in range(80)]
    kept = store(*prices, network(), weather(20), demand(1_000.0))
    controller = Controller(kept, fleet(), Settings(policy="lookahead"))
    now = T0 + 3 * FIVE
    found = expected(controller, now)
    assert {(f.what, f.series) for f in found} == {
        ("price", "HUB"), ("temperature", "W"), ("demand", "m@north_america"),
    }  # fmt: skip
    for one in found:
        assert (one.kind, one.known_at, one.at) == ("forecast", now, T0)
        assert one.source == ("dispatch: last week's demand" if one.what == "demand" else "dispatch: analog")
        assert len(one.values) == len(one.low) == len(one.high) == 48
        assert all(a <= b <= c for a, b, c in zip(one.low, one.values, one.high, strict=True))
    assert len(expected(controller, now + FIVE)) == len(found)
    assert len(expected(controller, T0 + HOUR)) == 2 * len(found)


def test_a_day_ahead_price_is_in_no_forecast_before_it_is_published():
    out = T0.replace(hour=18)
    tomorrow = T0.replace(hour=0) + DAY
    today = [price(30.0, at=tomorrow - 3 * DAY + n * HOUR, known_at=tomorrow - 4 * DAY) for n in range(72)]
    dear = [price(777.0, at=tomorrow + n * HOUR, known_at=out) for n in range(24)]
    controller = Controller(store(*today, *dear, network()), fleet(), Settings(policy="lookahead"))
    before = expected(controller, out - FIVE)[-1]
    assert 777.0 not in before.values
    after = expected(controller, out)[-1]
    assert after.at == out
    assert after.values[:30] == (30.0,) * 6 + (777.0,) * 24
    assert after.low[:30] == after.high[:30] == after.values[:30]


# --- chosen by name ------------------------------------------------------------------


def test_it_is_chosen_in_the_configuration_by_name():
    from tieline.dispatch.settings import settings_of

    site = one_site('basis = "fixed", fixed_usd_per_mwh = 40.0')
    for name in FORECASTERS:
        config = loads(f'[dispatch]\nforecaster = "{name}"\n' + site)
        assert settings_of(config).forecaster == name
    with pytest.raises(ConfigError, match="forecaster"):
        loads('[dispatch]\nforecaster = "oracle"\n' + site)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(learned_.MissingLibraryError, match=r"tieline\[forecast\]"):
        forecaster_of("learned")
    assert forecaster_of("persistence") is persistence


def test_a_controller_with_learned_forecasts_decides_the_same_twice():
    start = datetime(2024, 7, 20, tzinfo=UTC)
    usd = weekly()
    prices = [price(float(usd[n * 4]), at=start + n * HOUR, known_at=start + n * HOUR) for n in range(31 * 24 + 12)]
    plans = []
    for _ in range(2):
        controller = Controller(
            store(*prices, network(), weather(20)), fleet(), Settings(policy="lookahead", forecaster="learned")
        )
        plans.append(asyncio.run(controller.step(T0)))
    assert plans[0] == plans[1]
    assert plans[0][0].decided_by == "lookahead"
