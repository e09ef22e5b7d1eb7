"""Routing and waiting as pure functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tieline.gateway.routing.queue import FairQueue
from tieline.gateway.routing.route import Replica, State, Want, choose, score

REPLICAS = st.builds(
    Replica,
    id=st.sampled_from("abcdef"),
    site=st.just("s"),
    region=st.sampled_from(("eu", "us")),
    models=st.sampled_from((frozenset({"m"}), frozenset({"m", "n"}), frozenset({"n"}))),
    engine=st.just("vllm"),
    slots=st.integers(1, 4),
    state=st.sampled_from(State),
    rtt_s=st.sampled_from((0.0, 0.01, 0.2)),
    beat_at=st.sampled_from((None, 0.0, 9.0)),
    ejected_until=st.sampled_from((0.0, 20.0)),
    power_term_s=st.sampled_from((0.0, 0.5)),
    dear=st.sampled_from((0.0, 0.4)),
    live=st.sets(st.integers(0, 5), max_size=4).map(set),
    prefixes=st.sampled_from(({}, {7: None})),
    renter=st.sampled_from(("", "t", "other")),
)


@given(
    st.lists(REPLICAS, max_size=6, unique_by=lambda one: one.id),
    st.sampled_from((frozenset(), frozenset({"eu"}))),
    st.sampled_from((0.0, -0.18, 4.8)),
)
def test_the_choice_is_the_best_that_may_take_it(
    replicas: list[Replica], regions: frozenset[str], patience_s: float
) -> None:
    want = Want("m", 4_000, 7, regions, "", "t", patience_s, frozenset({"c"}))
    found = choose(replicas, want, 10.0, {"b"})
    able = [
        r for r in replicas
        if r.usable(10.0) and "m" in r.models and len(r.live) < r.slots and r.id not in "bc"
        and (not regions or r.region in regions)
        and (r.renter in ("", "t") or len(r.live) * 2 < r.slots)
    ]  # fmt: skip
    assert (found is None) == (not able)
    if found is not None:
        assert found in able
        assert score(found, want) <= min(score(r, want) for r in able) + 1e-9
    again = choose(replicas, want, 10.0, {"b"}, by=lambda replica, one: score(replica, one))
    assert again is found or again is None or found is None or abs(score(again, want) - score(found, want)) < 1e-9


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
