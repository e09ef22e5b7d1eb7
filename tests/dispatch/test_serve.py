"""Inference over the horizon, as the live controller decides it."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from tests.dispatch.fleets import FIVE, T0, by_unit, demand, fleet, network, price, site, store

from tieline.dispatch import Controller, Settings, load_table
from tieline.dispatch.settings import ReservedReplicas
from tieline.records import Backlog, Demand, Instruction, Owed, Plan

AHEAD = Settings(policy="lookahead", restore_share_per_5min=None)
TABLE = load_table(AHEAD.gpu_table)
FULL = TABLE.tokens_per_s(128)
HOUR = timedelta(hours=1)


def prices(usd: list[float]) -> list:
    return [price(x, at=T0 + HOUR * (n - 1), known_at=T0 - HOUR * 20) for n, x in enumerate(usd)]


def owed(hours: float, tokens: float, at=T0 - FIVE, day: float = 0.0) -> Backlog:
    return Backlog(
        at=at,
        known_at=at,
        source="gateway",
        kind="measured",
        gateway="g1",
        model="m",
        lots=(Owed(due=T0 + timedelta(hours=hours), output_tokens=tokens),) if tokens else (),
        day_tokens=day,
    )


def plan(*batch, set_=AHEAD, sites=(), now=T0) -> list[Plan]:
    return asyncio.run(Controller(store(*batch), fleet(*sites), set_).step(now))


def gpu(made: Plan):
    return by_unit(made)[f"{made.site_id}.gpu"]


def test_batch_work_waits_for_the_cheap_hours_and_runs_in_them():
    dear, cheap = 300.0, 10.0
    work = [network(), demand(0.0), owed(20, FULL * 3600.0)]
    (waits,) = plan(*work, *prices([dear] * 6 + [cheap] * 30))
    assert gpu(waits).batch_tokens_per_s == 0.0
    (runs,) = plan(*work, *prices([cheap] * 6 + [dear] * 30))
    assert gpu(runs).batch_tokens_per_s > 0.0
    assert "batch work" in gpu(runs).reason.text
    assert gpu(runs).replicas >= gpu(waits).replicas


def test_a_deadline_is_met_whatever_power_costs():
    (made,) = plan(network(), demand(0.0), owed(1.0, FULL * 3600.0 * 3), *prices([4_000.0] * 40))
    assert gpu(made).batch_tokens_per_s >= FULL * 2.5
    assert gpu(made).replicas >= 3


def test_a_backlog_that_cannot_be_met_is_named_and_what_can_runs():
    (made,) = plan(network(), demand(10_000.0), owed(1.0, 1e12), *prices([40.0] * 40))
    assert "batch work of m" in made.note
    assert "cannot run in time" in made.note
    # All that interactive work leaves, and not more.
    assert gpu(made).replicas == 80
    assert gpu(made).batch_tokens_per_s <= 80 * FULL - 10_000.0


def test_a_newer_backlog_replaces_the_one_before():
    kept = store(network(), demand(0.0), owed(1.0, FULL * 3600.0 * 3), *prices([40.0] * 40))
    controller = Controller(kept, fleet(), AHEAD)
    (first,) = asyncio.run(controller.step(T0))
    assert gpu(first).batch_tokens_per_s > 0.0
    kept.append([owed(1.0, 0.0, at=T0 + FIVE / 2)])
    (second,) = asyncio.run(controller.step(T0 + FIVE))
    assert not gpu(second).batch_tokens_per_s


def test_without_a_backlog_the_gateway_is_left_alone():
    (made,) = plan(network(), demand(1_000.0), *prices([40.0] * 40))
    assert gpu(made).batch_tokens_per_s is None


def test_a_limit_that_takes_replicas_takes_batch_work_first():
    order = Instruction(
        at=T0, known_at=T0, source="grid", kind="measured", instruction_id="i", site_id="tx-1", limit_w=20e3,
        until=T0 + HOUR,
    )  # fmt: skip
    (made,) = plan(network(), demand(FULL * 4), owed(0.5, FULL * 3600 * 40), order, *prices([40.0] * 40))
    point = gpu(made)
    assert point.target_w <= 20e3
    assert (point.batch_tokens_per_s or 0.0) <= max(0.0, point.replicas * FULL - FULL * 4) + 1e-3


@pytest.mark.parametrize("bad", [float("inf"), -1.0])
def test_a_backlog_that_cannot_be_true_is_refused(bad):
    made = Controller(store(), fleet(), AHEAD)
    made.outlook.learn(owed(1.0, bad))
    assert made.outlook.backlogs == {}
    assert any("backlog" in words for words in made.outlook.refused)


def week_of_mornings() -> list[Demand]:
    """Two weeks of little until 13:00 and much after it."""
    found = []
    for n in range(14 * 24, -1, -1):
        at = T0 - HOUR * n
        tokens = FULL * 20 if at.hour >= 13 else FULL * 2
        found.append(demand(tokens, at=at))
    return found


def test_replicas_wake_before_the_morning_rises():
    batch = [network(), *week_of_mornings(), *prices([40.0] * 40)]
    kept = store(*batch)
    controller = Controller(kept, fleet(), AHEAD)
    counts = {}
    for minutes in (0, 30, 50, 55):
        now = T0 + timedelta(minutes=minutes)
        (made,) = asyncio.run(controller.step(now))
        counts[minutes] = gpu(made).replicas
    assert counts[0] < 5
    assert counts[30] < 5
    assert counts[55] >= 20, "the rise at 13:00 finds nobody ready"


def test_reserved_capacity_is_up_whether_it_is_used_or_not():
    rented = ReservedReplicas(model="m", region="north_america", replicas=30, since=T0 - HOUR, until=T0 + HOUR)
    set_ = msgspec.structs.replace(AHEAD, reserved=(rented,))
    batch = [network(), demand(0.0), *prices([4_000.0] * 40)]
    (made,) = plan(*batch, set_=set_)
    assert gpu(made).replicas >= 30
    (later,) = plan(*batch, demand(0.0, at=T0 + 2 * HOUR), set_=set_, now=T0 + 2 * HOUR)
    assert gpu(later).replicas < 30


def test_reserved_capacity_without_an_end_after_its_beginning_is_refused():
    with pytest.raises(ValueError, match="until"):
        Settings(reserved=(ReservedReplicas(model="m", region="r", replicas=1, since=T0, until=T0),))


def test_two_sites_share_a_backlog():
    sites = (site("a", nodes=2), site("b", nodes=2))
    made = plan(network(), demand(0.0), owed(2.0, FULL * 7200.0 * 6), *prices([40.0] * 40), sites=sites)
    assert sum(gpu(p).batch_tokens_per_s for p in made) >= FULL * 5
    assert all(gpu(p).replicas <= 4 for p in made)
