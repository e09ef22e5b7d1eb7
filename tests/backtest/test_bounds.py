"""No policy above the bound; the bound no further from the best than its relaxation explains."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.backtest.whole import best_net
from tests.backtest.worlds import FIRST, at, offer, peak_at, trouble, world

from tieline.backtest.bounds import bounds
from tieline.backtest.data import PriceArray, ScenarioWorld, SiteEvent
from tieline.backtest.run import Numbers, chosen, control, drive, prepare
from tieline.dispatch import Settings

EVERY = Numbers(80.0, (70.0, 0.3), 80.0)


def used(made: ScenarioWorld) -> Settings:
    return Settings(reach=made.reach)


def priced_above_zero(made: ScenarioWorld) -> ScenarioWorld:
    made.markets["ERCOT_HUBAVG_DA"].values.clip(5.0, None, out=made.markets["ERCOT_HUBAVG_DA"].values)
    return made


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("events", [(), (SiteEvent("order", 0, at(6), at(9), limit_w=9e6),)], ids=["quiet", "order"])
def test_bound_lies_just_above_the_best_that_highs_finds(seed: int, events: tuple[SiteEvent, ...]) -> None:
    made = priced_above_zero(world(seed, events=events))
    best = best_net(made, used(made))
    bound = bounds(made, used(made), 3600, simple=False).clairvoyant
    assert best <= bound * (1 + 1e-6)
    assert bound <= best * 1.01, f"the bound is loose: {bound:,.0f} against {best:,.0f}"
    for policy in chosen(EVERY):
        net = drive(made, policy, used(made), 3600).net
        assert net <= best * (1 + 1e-6), f"{policy.name} earned {net:,.0f}, the best is {best:,.0f}"


@pytest.mark.slow
@pytest.mark.parametrize("day", ["2025-09-16", "2025-10-08"])
def test_bound_is_tight_on_recorded_days(example_days: Path, day: str) -> None:
    begin = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
    task = prepare(example_days, "A", Settings(), between=(begin, begin + timedelta(hours=12)))
    best = best_net(task.world, task.settings)
    bound = bounds(task.world, task.settings, 3600, simple=False).clairvoyant
    assert best <= bound * (1 + 1e-6)
    assert bound <= best * 1.001


@pytest.mark.parametrize("policy", chosen(EVERY), ids=lambda p: p.name)
def test_no_policy_is_above_the_bound_in_trouble(policy: object) -> None:
    made = world(
        5, hours=12, events=trouble(), offers=(offer(5, 15.0),), deployed_share=(0.0,), peaks=peak_at(FIRST + 30)
    )
    bound = bounds(made, used(made), 900, simple=False)
    net = drive(made, policy, used(made), 900).net  # type: ignore[arg-type]
    assert net <= bound.clairvoyant
    assert bound.all_but_now <= bound.clairvoyant


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), pick=st.integers(0, len(chosen(EVERY)) - 1))
def test_no_policy_is_above_the_bound_whatever_the_prices(seed: int, pick: int) -> None:
    made = world(seed, hours=24)
    bound = bounds(made, used(made), 3600, simple=False).clairvoyant
    assert drive(made, chosen(EVERY)[pick], used(made), 3600).net <= bound


def test_perfect_forecasts_come_close_and_nothing_else_closer() -> None:
    made = world(3)
    bound = bounds(made, used(made), 3600, simple=False).clairvoyant
    nets = {policy.name: drive(made, policy, used(made), 3600).net for policy in chosen(EVERY)}
    best = max(nets, key=lambda name: nets[name])
    assert best == "Tieline, perfect forecasts"
    assert nets[best] > 0.95 * bound


def test_offers_of_other_days_are_not_in_the_bound() -> None:
    plain, inside = world(1), world(1, offers=(offer(5, 15.0),), deployed_share=(0.0,))
    later = world(1, offers=(offer(200, 15.0),), deployed_share=(0.0,))
    base = bounds(plain, used(plain), 3600, simple=False).clairvoyant
    assert bounds(inside, used(inside), 3600, simple=False).clairvoyant == pytest.approx(base + 600.0)
    assert bounds(later, used(later), 3600, simple=False).clairvoyant == pytest.approx(base)


def test_in_the_control_a_strike_is_optimal_and_look_ahead_finds_it() -> None:
    """Price alone, known a day ahead: the strike, look-ahead and the bound are one."""
    made = world(6, hours=24)
    market = made.markets["ERCOT_HUBAVG_DA"]
    ahead = {"ERCOT_HUBAVG_DA": PriceArray(market.values, np.full_like(market.known, len(market.values)))}
    task = control(replace(made, markets=made.markets | ahead))
    bound = bounds(task.world, task.settings, 3600, simple=True).clairvoyant
    nets = {policy.name: drive(task.world, policy, task.settings, 3600).net for policy in chosen(EVERY)}
    assert nets["per-group strike"] == pytest.approx(bound, rel=1e-9)
    assert nets["Tieline"] == pytest.approx(bound, rel=1e-9)
    assert nets["always-on"] < bound * 0.99, "or the prices of this test would prove nothing"
