"""What policies may see, what they must hold, and that the money adds up."""

from dataclasses import replace

import numpy as np
import pytest
from tests.backtest.worlds import FIRST, at, offer, peak_at, trouble, world

from tieline.backtest.calls import Call, Played, call_of
from tieline.backtest.data import PriceArray, ScenarioWorld
from tieline.backtest.lookahead import Tieline
from tieline.backtest.plant import PlantTargets
from tieline.backtest.policies import FixedStrike, Policy, PolicyInputs
from tieline.backtest.run import PERFECT, Numbers, ablations, chosen, drive, scarcity_days
from tieline.dispatch import Settings

ALL = chosen(Numbers(80.0, (70.0, 0.3), 80.0))


def settings(made: ScenarioWorld) -> Settings:
    return Settings(reach=made.reach)


class Listening:
    """Writes down what a policy asks for."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.name, self.asked = policy, policy.name, list[PlantTargets]()

    @property
    def floors(self) -> object:
        return getattr(self.policy, "floors", None)

    def decide(self, known: PolicyInputs) -> PlantTargets:
        self.asked.append(self.policy.decide(known))
        return self.asked[-1]


def asked_by(policy: Policy, made: ScenarioWorld) -> list[tuple[bytes, ...]]:
    listening = Listening(policy)
    drive(made, listening, settings(made), 3600)
    return [tuple(part.tobytes() for part in (a.run, a.up, a.off, a.replicas)) for a in listening.asked]


def with_other_future(made: ScenarioWorld, hour: int) -> ScenarioWorld:
    """The same until `hour` of the span; every price that is not known then is another."""
    from_slot, changed = FIRST + 4 * hour, {}
    for name, market in made.markets.items():
        values = market.values.copy()
        values[market.known[from_slot] :] = 500.0 - values[market.known[from_slot] :]
        changed[name] = PriceArray(values, market.known)
    return replace(made, markets=changed)


@pytest.mark.parametrize("place", range(len(ALL)), ids=[p.name for p in ALL])
def test_nothing_is_decided_on_prices_not_yet_known(place: int) -> None:
    def fresh() -> Policy:
        return chosen(Numbers(80.0, (70.0, 0.3), 80.0))[place]

    made = world(11, hours=16)
    one, two = asked_by(fresh(), made), asked_by(fresh(), with_other_future(made, 8))
    assert len(one) == 16
    if fresh().name == PERFECT:
        assert one[:9] != two[:9], "perfect forecasts do see the future"
    else:
        assert one[:9] == two[:9]
    if fresh().name != "always-on":
        assert one != two, "the other future must matter later, or this test proves nothing"


@pytest.mark.parametrize("policy", [*ALL, *ablations()], ids=lambda p: p.name)
def test_limits_hold_and_the_days_add_up(policy: Policy) -> None:
    made = world(
        7, hours=12, events=trouble(), offers=(offer(2, 15.0),), deployed_share=(0.0,), peaks=peak_at(FIRST + 30)
    )
    tally = drive(made, policy, settings(made), 900)
    assert tally.violation_minutes == 0
    assert sum(tally.by_day.values()) == pytest.approx(tally.net)
    assert sum(tally.by_span.values()) == pytest.approx(tally.net)
    assert tally.mwh > 0
    assert tally.group_days == pytest.approx(4 * 12 / 24)


def test_rigs_that_do_not_obey_an_order_are_named_not_counted_as_a_violation() -> None:
    made = world(7, hours=12, events=trouble())
    tally = drive(made, ALL[0], settings(made), 900)
    assert tally.infeasible
    assert all(words.startswith("b over by") for words in tally.infeasible)
    assert tally.penalties > 0


def test_same_world_same_figures() -> None:
    made = world(4, hours=10, events=trouble())
    one, two = (drive(made, Tieline(), settings(made), 900) for _ in range(2))
    assert one == two


def test_fixed_strike_waits_two_intervals_to_stop_and_four_to_start() -> None:
    prices = [50, 90, 50, 90, 90, 90, 50, 50, 50, 50, 50]
    runs = []
    rule = FixedStrike(80.0)
    made = world(1)
    for price in prices:
        known = _Fixed(made, float(price))
        runs.append(float(rule.decide(known).run[0]))  # type: ignore[arg-type]
    #                 one spike does not stop it; two do; four calm intervals start it
    assert runs == [1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1]


class _Fixed:
    """Every site at one price."""

    def __init__(self, made: ScenarioWorld, price: float) -> None:
        self.price, self.count = price, len(made.fleet.sites)
        self.fleet = self

    settings = Settings()
    groups = 4
    site = np.arange(4)

    def prices(self) -> tuple[np.ndarray, np.ndarray]:
        return np.full(self.count, self.price), np.full(self.count, self.price)

    def replicas(self) -> np.ndarray:
        return np.zeros(0)


def test_a_reserve_is_sold_only_where_it_pays_and_then_drawn() -> None:
    rich = world(9, hours=12, offers=(offer(6, 60.0),), deployed_share=(0.0,))
    cheap = replace(rich, markets=rich.markets | {"ERCOT_HUBAVG_DA": _flat(rich, 20.0)})
    dear = replace(rich, markets=rich.markets | {"ERCOT_HUBAVG_DA": _flat(rich, 900.0)})
    sold = drive(cheap, Tieline(), settings(rich), 900)
    assert (sold.commitments, sold.commitments_kept) == (1, 1)
    assert sold.reserves == pytest.approx(10.0 * 4 * 60.0)
    assert sold.penalties == 0
    assert drive(dear, Tieline(), settings(rich), 900).commitments == 0
    assert drive(cheap, Tieline(without=frozenset({"commitments"})), settings(rich), 900).commitments == 0


def test_a_reserve_that_is_called_sheds_in_time_and_its_return_is_no_breach() -> None:
    rich = world(9, hours=14, offers=(offer(6, 60.0),), deployed_share=(0.25,))
    cheap = replace(rich, markets=rich.markets | {"ERCOT_HUBAVG_DA": _flat(rich, 20.0)})
    call = call_of(cheap, cheap.offers[0], 0.25)
    assert call is not None
    assert call_of(cheap, cheap.offers[0], 0.0) is None
    assert cheap.slot(cheap.offers[0].at) < call.first < call.last <= cheap.slot(cheap.offers[0].until)
    asked = Tieline()
    loads: dict[int, float] = {}

    class Watching:
        name, floors = "watching", None

        def decide(self, known: PolicyInputs) -> PlantTargets:
            loads[known.slot] = float(known.plant.load_w[call.site])
            made = asked.decide(known)
            self.floors = asked.floors
            return made

    watched = drive(cheap, Watching(), settings(rich), 900)
    before = loads[call.first]
    assert all(loads[slot] <= before - call.power_w + 1e4 for slot in range(call.first + 1, call.last + 1))
    assert loads[call.last + 4] >= before - 1e5  # back within the hour, a fifth of the site per five minutes
    assert watched.penalties == 0  # neither the call nor the way back is a breach
    whole = drive(cheap, Tieline(), settings(rich), 900)
    assert (whole.calls, whole.calls_kept, whole.missed_mwh) == (1, 1, 0.0)
    assert whole.commitments_kept == 1
    never = drive(replace(cheap, deployed_share=(0.0,)), Tieline(), settings(rich), 900)
    assert never.calls == 0
    assert whole.net < never.net  # an hour of hashing and a start


def test_what_a_call_misses_is_fined_by_hand() -> None:
    # 12 MW promised, 50 before; after ten minutes 40.5 MW for fifty: 2.5 MW x 5/6 h x 2,000 = 4,166.67 USD.
    call = Call("c", 0, 4, 8, 12e6, 600, 2_000.0)
    played, load = Played(), np.array([50e6])
    assert played.limit({"c": call}, 4, load, np.array([60e6]))[0] == 38e6
    played.meter({"c": call}, 4, 600.0, load)
    played.meter({"c": call}, 5, 3000.0, np.array([40.5e6]))
    missed, usd = played.settle(call) or (0.0, 0.0)
    assert missed == pytest.approx(2.5 * 5 / 6)
    assert usd == pytest.approx(4_166.67, abs=0.01)


def _flat(made: ScenarioWorld, price: float) -> PriceArray:
    one = made.markets["ERCOT_HUBAVG_DA"]
    return PriceArray(np.full_like(one.values, price), one.known)


def test_scarcity_days_are_those_above_a_thousand() -> None:
    made = world(1)
    values = np.full_like(made.markets["ERCOT_HUBAVG_DA"].values, 40.0)
    values[FIRST + 100] = 1200.0
    values[10] = 5000.0  # before the span: not a day of it
    made = replace(made, markets={"ERCOT_HUBAVG_DA": PriceArray(values, made.markets["ERCOT_HUBAVG_DA"].known)})
    assert scarcity_days(made) == (at(25).strftime("%Y-%m-%d"),)


@pytest.mark.parametrize("policy", ALL, ids=lambda p: p.name)
def test_every_token_offered_is_served_lost_or_late(policy: Policy) -> None:
    made = world(4, hours=36, events=trouble())
    tally = drive(made, policy, settings(made), 900)
    span = made.spans[0]
    offered = sum(float(series[span.first : span.last].sum()) * 900.0 for series in made.demand.values())
    assert tally.tokens + tally.tokens_lost + tally.batch_lost == pytest.approx(offered, rel=1e-9)
    assert tally.batch_tokens + tally.batch_lost == pytest.approx(0.2 * offered, rel=1e-9)
    assert tally.batch_lost <= 1e-6 * offered, "there is room for all of it"


def test_batch_work_put_off_costs_less_power_and_loses_nothing() -> None:
    made = world(8, hours=36)
    at_once = drive(made, Tieline(perfect=True, without=frozenset({"batch"})), settings(made), 3600)
    put_off = drive(made, Tieline(perfect=True), settings(made), 3600)
    assert put_off.batch_lost <= 1.0
    assert put_off.net > at_once.net
