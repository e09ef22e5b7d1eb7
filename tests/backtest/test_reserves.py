"""Reserves in a backtest: decided before prices are known, held, called the same for all, paid for what was awarded."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tests.backtest.worlds import FIRST, SLOTS, world

from tieline.backtest.bounds import bounds
from tieline.backtest.data import ScenarioWorld
from tieline.backtest.lookahead import Tieline
from tieline.backtest.plant import Plant, PlantTargets
from tieline.backtest.policies import PolicyInputs
from tieline.backtest.reserved import ReserveMarket, drawn_calls
from tieline.backtest.reserves import BandWithReserves
from tieline.backtest.run import drive
from tieline.dispatch import Settings
from tieline.dispatch.inputs.arrays import Floats
from tieline.dispatch.inputs.horizon import grid
from tieline.fleet.reserves import shipped_reserves

ECRS = shipped_reserves()["ERCOT_ECRS"]
QUARTER_S = 900


def selling(seed: int = 3, usd: float = 30.0, calls: tuple[tuple[int, int], ...] = ()) -> ScenarioWorld:
    """Two sites of rigs alone that may sell one product at a price that moves by the hour."""
    bare = world(seed)
    sites = tuple(
        msgspec.structs.replace(s, node_groups=(), reserves=("ERCOT_ECRS",) if s.id in "ab" else ())
        for s in bare.fleet.sites
    )
    hours = np.random.default_rng(seed).uniform(0.0, 2.0 * usd, SLOTS // 4)
    known = np.minimum(SLOTS, (np.arange(SLOTS) // 96 + 1) * 96).astype(np.intp)
    market = ReserveMarket((ECRS,), {"ERCOT_ECRS": np.repeat(hours, 4)}, {"ERCOT_ECRS": known}, {"ERCOT_ECRS": calls})
    return replace(bare, fleet=msgspec.structs.replace(bare.fleet, sites=sites), demand={}, inputs={}, reserves=market)


@pytest.mark.parametrize("made", [Tieline, BandWithReserves])
def test_what_is_sold_is_paid_at_the_price_that_cleared_and_is_within_the_bound(made: type) -> None:
    policy, sold = made(), selling()
    tally = drive(sold, policy, Settings(), QUARTER_S)
    book = policy.desk.sold["ERCOT_ECRS"]
    usd = (book.sum(axis=1) / 1e6 * np.nan_to_num(sold.reserves.price["ERCOT_ECRS"]) / 4.0)[FIRST : sold.spans[0].last]
    assert tally.reserves == pytest.approx(usd.sum())
    assert tally.reserves > 0.0
    assert (book[:, 2:] == 0.0).all()  # who is not qualified sells nothing
    assert tally.net < bounds(sold, Settings(), QUARTER_S, simple=False).clairvoyant
    assert sum(tally.by_day.values()) == pytest.approx(tally.net)


@pytest.mark.parametrize("made", [Tieline, BandWithReserves])
def test_nothing_that_comes_after_offers_close_changes_what_is_offered(made: type) -> None:
    """Prices of power and of reserves from the next day on: what was awarded changes with the clearing price, what was
    asked does not. The clearing price of the first day stays, so its awards must stay too."""
    one = selling()
    day = FIRST + 96
    price = {n: replace(m, values=np.where(np.arange(SLOTS) >= day, 9.0, m.values)) for n, m in one.markets.items()}
    paid = {"ERCOT_ECRS": np.where(np.arange(SLOTS) >= day, 1.0, one.reserves.price["ERCOT_ECRS"])}
    other = replace(one, markets=price, reserves=replace(one.reserves, price=paid))
    first, second = made(), made()
    drive(one, first, Settings(), QUARTER_S)
    drive(other, second, Settings(), QUARTER_S)
    local_midnight = FIRST + 20  # of Texas
    a, b = (p.desk.sold["ERCOT_ECRS"][FIRST:local_midnight] for p in (first, second))
    assert a.any()
    assert np.array_equal(a, b)


def test_a_call_takes_what_was_sold_and_a_promise_is_held_otherwise() -> None:
    called = selling(calls=((FIRST + 40, FIRST + 44),))
    policy = Tieline()
    tally = drive(called, policy, Settings(), QUARTER_S)
    assert tally.calls == tally.calls_kept > 0
    assert tally.missed_mwh == 0.0
    assert tally.short_mwh < 0.02 * tally.reserve_mwh


@pytest.mark.parametrize("made", [Tieline, BandWithReserves])
def test_load_that_returns_from_a_call_is_back_in_time_and_not_before(made: type) -> None:
    """A call is known when it comes. For three hours after it nothing is owed, and
    load is back half an hour before they end."""
    called = selling(calls=((FIRST + 40, FIRST + 44),))
    policy, owed = made(), {}

    class Watched(Plant):
        def run(self, slot: int, seconds: int, asked: PlantTargets, floors: Floats | None = None) -> None:
            known = PolicyInputs(called, self.fleet, self, Settings(), slot, seconds)
            steps = grid(called.when(slot), seconds, 6 * 3600)
            owed[slot] = policy.desk.due(known)[0], policy.desk.due(known, 2)[0], policy.desk.ahead(known, steps)[:, 0]
            super().run(slot, seconds, asked, floors)

    tally = drive(called, policy, Settings(), QUARTER_S, plant=Watched)
    sold = policy.desk.whole[:, 0]
    back = FIRST + 44 + 12
    few = 0.1 * sold[back]  # the hours that are sold differ a little
    assert sold[FIRST + 36 : back + 4].all()
    assert owed[FIRST + 39][2][1:5].all()  # nobody knows of the call yet
    assert max(*owed[FIRST + 41][:2], *owed[FIRST + 41][2][:4]) < few
    assert owed[FIRST + 41][2][-1] > few
    assert max(owed[back - 3][:2]) < few
    assert owed[back - 2][0] < few < owed[back - 2][1] == pytest.approx(sold[back])
    assert owed[back][0] == pytest.approx(sold[back])
    assert tally.calls == tally.calls_kept > 0


def test_calls_are_the_same_for_everybody_and_about_as_often_as_told() -> None:
    often = msgspec.structs.replace(ECRS, calls_per_year=180.0)
    start = world(1).start
    found = drawn_calls(often, start, 365 * 96)
    assert found == drawn_calls(often, start, 365 * 96)
    assert 140 < len(found) < 220
    assert all(last - first <= ECRS.call_s // QUARTER_S for first, last in found)
