"""Replicas judged by their peers, and hedges by a replica's own past: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tieline.gateway.requests import hedge
from tieline.gateway.requests.hedge import HedgeBudget
from tieline.gateway.routing import outliers, route
from tieline.gateway.routing.route import BEAT_S, Replica, Want

WANT = Want("m")


def replica(name: str, first_tokens: float | None = None, count: int = 20) -> Replica:
    one = Replica(name, "site", "", frozenset({"m"}), "vllm", 8)
    for _ in range(count if first_tokens is not None else 0):
        one.first_token(0.0, first_tokens or 0.0)
    return one


def test_a_replica_whose_first_tokens_are_late_comes_last_until_it_is_not() -> None:
    a, b, slow = replica("a", 0.1), replica("b", 0.12), replica("slow", 0.9)
    outliers.judge([a, b, slow], 1.0)
    assert (a.demoted_s, b.demoted_s) == (0.0, 0.0)
    assert 0.7 < slow.demoted_s < 0.9
    slow.power_term_s = -0.5  # cheap power does not make up for it
    assert route.choose([a, b, slow], WANT, 1.0) is a
    outliers.judge([a, b, slow], 100.0)  # nothing is known of the last minute: it is tried again
    assert slow.demoted_s == 0.0
    assert route.choose([a, b, slow], WANT, 100.0) is slow


def test_little_is_no_outlier() -> None:
    assert outliers.lateness([replica("a", 0.001), replica("b", 0.02)], 1.0) == {}  # 20 times, but 19 ms
    assert outliers.lateness([replica("a", 1.0), replica("b", 2.5)], 1.0) == {}  # 1.5 s, but 2.5 times
    assert outliers.lateness([replica("a", 0.1), replica("b", 9.0, 7)], 1.0) == {}  # too few to say
    assert outliers.lateness([replica("a", 9.0)], 1.0) == {}  # nobody to compare with


def test_failing_most_of_the_time_ends_a_replicas_turn_but_never_most_replicas() -> None:
    good, bad, worse = replica("good", 0.1), replica("bad"), replica("worse")
    for n in range(10):
        for _ in range(3):
            bad.failed(float(n))
            worse.failed(float(n))
        bad.succeeded(float(n))
    for one in (bad, worse):
        one.ejected_until = 0.0
    assert outliers.failing([good, bad, worse], 10.0) == [worse]  # one of three: two stay
    outliers.judge([good, bad, worse], 10.0)
    assert not worse.usable(10.0)
    worse.lost_at = 10.0
    worse.alive(12.0)  # it answers when asked how it is; that is not what it fails at
    assert not worse.usable(12.0)
    assert worse.usable(10.0 + outliers.EJECT_S)
    assert bad.usable(10.0)


@given(st.lists(st.lists(st.booleans(), max_size=30), min_size=1, max_size=9))
def test_at_least_half_of_the_peers_stay(histories: list[list[bool]]) -> None:
    peers = [replica(str(n)) for n in range(len(histories))]
    for one, history in zip(peers, histories, strict=True):
        one.outcomes.extend((0.0, well) for well in history)
    assert len(outliers.failing(peers, 1.0)) <= len(peers) // 2


def test_a_lost_connection_is_forgiven_at_the_next_sign_of_life() -> None:
    one = replica("a")
    one.failed(0.0, lost=True)
    one.alive(BEAT_S / 2)  # a heartbeat that was already on its way
    assert not one.usable(BEAT_S / 2)
    one.alive(BEAT_S)
    assert one.usable(BEAT_S)


def test_where_all_are_ejected_a_stream_tries_the_one_that_failed_first() -> None:
    a, b = replica("a"), replica("b")
    a.failed(0.0)
    assert route.last_resort([a, b], WANT, 0.1, set()) is None  # b is well
    assert route.last_resort([a, b], WANT, 0.1, {"b"}) is a  # but b is where the stream has just been lost
    b.failed(0.1)
    assert route.choose([a, b], WANT, 0.2) is None
    assert route.last_resort([a, b], WANT, 0.2, set()) is a
    assert route.last_resort([a, b], WANT, 0.2, {"a"}) is b
    busy = replica("busy")
    busy.ejected_until = 9.0  # overloaded, as it said itself: not a failure
    assert route.last_resort([busy], WANT, 0.2, set()) is None


def test_a_95th_percentile_needs_a_past() -> None:
    assert hedge.p95([0.1] * (hedge.MIN_SAMPLES - 1)) is None
    assert hedge.p95([n / 100 for n in range(100)]) == 0.95


@given(st.lists(st.integers(0, 50), max_size=60), st.floats(0.0, 0.5))
def test_hedges_never_exceed_their_share(steps: list[int], share: float) -> None:
    budget, seen, taken = HedgeBudget(share), 0, 0
    for step in steps:
        seen += step
        budget.refill(seen)
        while budget.take():
            taken += 1
    assert taken <= seen * share + 1e-6
