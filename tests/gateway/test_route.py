"""Routing and waiting as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tieline.gateway.routing.queue import FairQueue
from tieline.gateway.routing.route import Replica, State, Want, candidates, choose


class Load:
    """A request that holds a place."""

    def on_lost(self, reason: str) -> None: ...

    def drain(self) -> bool:
        return False


def mostly(usual: object, *others: object) -> st.SearchStrategy[object]:
    """Usually the first, so that most replicas may take the request; often enough each of the others."""
    return st.sampled_from((usual,) * (12 * len(others)) + others)


# Each of them alone can keep a request away: with all values equally likely hardly any example has two to choose from.
REPLICAS = st.builds(
    Replica,
    id=st.just(""),
    site=st.just("s"),
    region=mostly("eu", "us"),
    models=mostly(frozenset({"m"}), frozenset({"m", "n"}), frozenset({"n"})),
    engine=st.just("vllm"),
    slots=st.integers(3, 6),
    state=mostly(State.READY, State.STARTING, State.DRAINING, State.DOWN),
    rtt_s=st.sampled_from((0.0, 0.01, 0.2)),
    beat_at=mostly(None, 9.0, 0.0),
    ejected_until=mostly(0.0, 20.0),
    power_term_s=st.sampled_from((0.0, 0.5)),
    dear=st.sampled_from((0.0, 0.4)),
    demoted_s=st.sampled_from((0.0, 0.3)),
    live=st.sampled_from((0, 1, 1, 2, 2, 2, 3, 6)).map(lambda count: {Load() for _ in range(count)}),
    prefixes=st.sampled_from(({}, {7: None})),
    renter=mostly("", "t", "other"),
)
NAMES = st.permutations("abcdefgh")
WANT = Want("m", 4_000, 7, frozenset(), "", "t", 0.0, frozenset({"c"}))
EXAMPLES = 300


def able(replica: Replica, want: Want, avoid: str) -> bool:
    """Written out again, from the rules as docs/gateway.md has them."""
    if replica.state is not State.READY or "m" not in replica.models or replica.id in avoid:
        return False
    if replica.ejected_until > 10.0 or replica.beat_at == 0.0:
        return False
    if want.regions and replica.region not in want.regions:
        return False
    mine = replica.slots if replica.renter in ("", "t") else (replica.slots + 1) // 2
    return len(replica.live) < mine


def seconds(replica: Replica, want: Want) -> float:
    """What a request waits for its first token there, written out again."""
    load = len(replica.live) / replica.slots
    cold = 0.0 if 7 in replica.prefixes else 0.4  # 4,000 tokens at 10,000 a second
    rented = {"": 0.0, "t": -5.0}.get(replica.renter, 5.0)
    power = replica.power_term_s + want.patience_s * replica.dear
    return replica.rtt_s + power + replica.demoted_s + load * 0.5 + cold + rented


@pytest.mark.meets("two or more may take it", 0.5)
@pytest.mark.meets("a choice between better and worse", 0.3)
@pytest.mark.meets("a choice between warm and cold", 0.1)
@pytest.mark.meets("none may take it", 0.01)
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(REPLICAS, min_size=3, max_size=6),
    NAMES,
    mostly(frozenset(), frozenset({"eu"})),
    st.sampled_from((0.0, -0.18, 4.8)),
)
def test_the_choice_is_the_best_that_may_take_it(
    replicas: list[Replica], names: list[str], regions: frozenset[str], patience_s: float
) -> None:
    for replica, name in zip(replicas, names, strict=False):
        replica.id = name
    want = structs.replace(WANT, regions=regions, patience_s=patience_s)
    chosen = choose(replicas, want, 10.0, {"b"})
    may = [one for one in replicas if able(one, want, "bc")]
    assert (chosen is None) == (not may)
    if chosen is None:
        event("none may take it")
    else:
        assert chosen in may
        best = min(seconds(one, want) for one in may)
        assert abs(seconds(chosen, want) - best) < 1e-9
        equal = [one for one in may if seconds(one, want) == seconds(chosen, want)]
        assert len(chosen.live) == min(len(one.live) for one in equal)
    if len(may) > 1:
        event("two or more may take it")
    if len({round(seconds(one, want), 6) for one in may}) > 1:
        event("a choice between better and worse")
    if len({7 in one.prefixes for one in may}) > 1:
        event("a choice between warm and cold")
    assert {one.id for one in candidates(replicas, want, 10.0)} >= {one.id for one in may}


def test_a_warm_cache_is_preferred_to_a_cold_one_and_the_less_loaded_to_the_loaded() -> None:
    cold, warm = (Replica(name, "s", "eu", frozenset({"m"}), "vllm", 4) for name in ("cold", "warm"))
    warm.remember(7)
    assert choose([cold, warm], WANT, 10.0) is warm
    for replica in (cold, warm):
        replica.remember(7)
    cold.live.add(Load())
    assert choose([cold, warm], WANT, 10.0) is warm


def test_of_two_that_are_as_good_the_one_with_fewer_requests_is_chosen() -> None:
    large, small = (Replica(name, "s", "eu", frozenset({"m"}), "vllm", slots) for name, slots in (("l", 8), ("s", 4)))
    large.live |= {Load(), Load()}
    small.live.add(Load())
    assert choose([large, small], WANT, 10.0) is choose([small, large], WANT, 10.0) is small


@given(st.lists(st.tuples(st.sampled_from(("enter", "leave", "leave twice")), st.integers(0, 9))))
def test_a_load_neither_leaks_nor_goes_negative(steps: list[tuple[str, int]]) -> None:
    replica = Replica("a", "s", "r", frozenset({"m"}), "vllm", 4)
    inside: set[int] = set()
    for word, request in steps:
        if word == "enter":
            replica.live.add(request)
            inside.add(request)
        else:
            for _ in range(1 + (word == "leave twice")):
                replica.live.discard(request)
            inside.discard(request)
        assert len(replica.live) == len(inside) >= 0


def test_a_failed_replica_rests_longer_each_time_and_a_success_clears_it() -> None:
    replica = Replica("a", "s", "r", frozenset({"m"}), "vllm", 4)
    rests = []
    for _ in range(7):
        replica.failed(0.0)
        rests.append(replica.ejected_until)
    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    replica.succeeded(1.0)
    replica.failed(0.0)
    assert replica.ejected_until == 1.0


@given(st.lists(st.sampled_from("aaaaab"), min_size=1, max_size=60), st.floats(0.5, 4.0))
def test_a_tenant_that_floods_does_not_hold_up_another(arrivals: list[str], weight: float) -> None:
    queue: FairQueue[tuple[int, str]] = FairQueue(100)
    for number, tenant in enumerate(arrivals):
        assert queue.put((number, tenant), tenant, weight if tenant == "b" else 1.0, 99.0)
    served: list[str] = []
    while (item := queue.pop(lambda _: True)) is not None:
        served.append(item[1])
    assert sorted(served) == sorted(arrivals)
    assert len(queue) == 0
    if "b" in served and "a" in served:
        assert served.index("b") <= 1  # the other tenant's first request is among the first two


def test_nobody_waits_beyond_a_deadline_or_in_a_full_queue() -> None:
    queue: FairQueue[str] = FairQueue(2)
    assert queue.put("x", "a", 1.0, 1.0)
    assert queue.put("y", "b", 1.0, 2.0)
    assert not queue.put("z", "b", 1.0, 3.0)
    assert queue.expired(1.5) == ["x"]
    assert queue.put("late", "b", 1.0, 9.0)  # behind it stands one whose client waits less
    queue.remove("y")
    assert queue.put("y", "b", 1.0, 2.0)
    assert queue.expired(2.5) == ["y"]
    queue.remove("late")
    queue.remove("y")
    queue.remove("y")
    assert len(queue) == 0
    assert queue.pop(lambda _: True) is None
