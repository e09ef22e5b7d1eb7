"""A replica's own state, and each rule of routing by itself: told the time, nothing started."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tieline.gateway.routing import route
from tieline.gateway.routing.route import (
    BEAT_S,
    BEATS_MISSED,
    BLAME_S,
    LATEST,
    MAX_EJECT_S,
    MAX_PREFILL_S,
    MIN_BLAMED,
    OVERLOAD_S,
    PREFIXES,
    QUEUE_WEIGHT_S,
    REFUSED_S,
    RENTED_S,
    Replica,
    State,
    Want,
    candidates,
    choose,
    has_room,
    last_resort,
    may_take,
    score,
)


class Request:
    """What holds a place."""

    def on_lost(self, reason: str) -> None: ...

    def drain(self) -> bool:
        return False


def replica(name: str = "a", *, slots: int = 4, live: int = 0, prefixes: Iterable[int] = (0,)) -> Replica:
    """With the prefix of a plain request, so that it is neither warm nor cold to it."""
    made = Replica(name, "s", "eu", frozenset({"m"}), "vllm", slots)
    made.live |= {Request() for _ in range(live)}
    for one in prefixes:
        made.remember(one)
    return made


WANT = Want("m")


# --- what it is worth ---------------------------------------------------------------------------------------------


def test_a_score_is_the_seconds_until_the_first_token_term_by_term() -> None:
    one = replica()
    assert score(one, WANT) == 0.0
    one.rtt_s, one.power_term_s, one.demoted_s, one.dear = 0.01, 0.2, 0.3, 0.5
    assert score(one, WANT) == pytest.approx(0.51)
    assert score(one, Want("m", patience_s=2.0)) == pytest.approx(1.51)


def test_a_load_waits_its_share_and_what_is_beyond_the_slots_for_whole_answers() -> None:
    assert score(replica(live=2), WANT) == pytest.approx(0.5 * QUEUE_WEIGHT_S)
    assert score(replica(live=4), WANT) == pytest.approx(QUEUE_WEIGHT_S)
    assert score(replica(live=6), WANT) == pytest.approx(1.5 * QUEUE_WEIGHT_S + 0.5 * OVERLOAD_S)


def test_a_cold_prompt_is_read_at_10_000_tokens_a_second_for_a_second_at_most() -> None:
    cold = replica(prefixes=())
    assert score(cold, Want("m", 4_000, 7)) == pytest.approx(0.4)
    assert score(cold, Want("m", 10_000, 7)) == pytest.approx(1.0)
    assert score(cold, Want("m", 90_000, 7)) == MAX_PREFILL_S
    assert score(replica(prefixes=(7,)), Want("m", 4_000, 7)) == 0.0


def test_whoever_rents_it_comes_first_there_and_everybody_else_last() -> None:
    one = replica()
    one.renter = "t"
    assert score(one, Want("m", tenant="t")) == -RENTED_S
    assert score(one, Want("m", tenant="u")) == RENTED_S
    assert score(one, WANT) == RENTED_S
    one.rtt_s = 0.25
    assert score(one, WANT) == RENTED_S + 0.25


# --- who may take it ----------------------------------------------------------------------------------------------


def test_only_a_ready_replica_of_the_model_in_the_region_below_the_price_may_take_it() -> None:
    one = replica()
    assert may_take(one, WANT)
    assert not may_take(one, Want("n"))
    assert may_take(one, Want("m", regions=frozenset({"us", "eu"})))
    assert not may_take(one, Want("m", regions=frozenset({"us"})))
    assert not may_take(one, Want("m", barred=frozenset({"a"})))
    for state in State:
        one.state = state
        assert may_take(one, WANT) == (state is State.READY)


def test_a_place_is_free_and_of_what_another_rents_one_of_the_first_half() -> None:
    assert [has_room(replica(slots=4, live=n), WANT) for n in range(6)] == [True] * 4 + [False] * 2
    rented = [replica(slots=5, live=n) for n in range(6)]
    for one in rented:
        one.renter = "t"
    assert [has_room(one, Want("m", tenant="t")) for one in rented] == [True] * 5 + [False]
    assert [has_room(one, Want("m", tenant="u")) for one in rented] == [True] * 3 + [False] * 3
    even = [replica(slots=4, live=n) for n in range(3)]
    for one in even:
        one.renter = "t"
    assert [has_room(one, Want("m", tenant="u")) for one in even] == [True, True, False]


def test_it_is_usable_while_it_beats_and_rests_for_its_failures() -> None:
    one = replica()
    assert one.usable(1e9)  # it never sent a beat
    one.beat_at = 10.0
    assert one.usable(10.0 + BEATS_MISSED * BEAT_S)
    assert not one.usable(10.01 + BEATS_MISSED * BEAT_S)
    one.beat_at, one.ejected_until = None, 20.0
    assert not one.usable(19.9)
    assert one.usable(20.0)
    one.state = State.DRAINING
    assert not one.usable(20.0)


def test_a_missed_beat_is_late_and_three_are_suspect() -> None:
    one = replica()
    assert not one.late(1e9)
    assert not one.suspect(1e9)
    one.beat_at = 8.0
    assert [one.late(8.0 + s) for s in (0.5, 1.0, 1.25)] == [False, False, True]
    assert [one.suspect(8.0 + s) for s in (1.25, 1.5, 1.75)] == [False, False, True]


def test_candidates_are_well_and_need_no_room() -> None:
    full, away, other, resting = replica("full", live=9), replica("away"), replica("other"), replica("resting")
    away.state, other.models, resting.ejected_until = State.DOWN, frozenset({"n"}), 11.0
    assert candidates([full, away, other, resting], WANT, 10.0) == [full]
    assert candidates([resting], WANT, 11.0) == [resting]


# --- the choice ---------------------------------------------------------------------------------------------------


def test_a_router_that_prefers_cold_caches_would_choose_another() -> None:
    want = Want("m", 4_000, 7)
    replicas = [replica("cold", prefixes=()), replica("warm", prefixes=(7,)), replica("cold too", prefixes=(8,))]
    for order in (replicas, replicas[::-1]):
        assert choose(order, want, 0.0).id == "warm"  # type: ignore[union-attr]
        assert choose(order, want, 0.0, by=lambda r, w: -score(r, w)).id != "warm"  # type: ignore[union-attr]


def test_the_best_of_several_wherever_it_stands_and_never_what_is_avoided_or_full() -> None:
    near, far, full = replica("near"), replica("far"), replica("full", live=4)
    far.rtt_s = 0.1
    for order in ([near, far, full], [full, far, near], [far, near, full]):
        assert choose(order, WANT, 0.0) is near
        assert choose(order, WANT, 0.0, {"near"}) is far
        assert choose(order, WANT, 0.0, {"near", "far"}) is None
    assert choose([], WANT, 0.0) is None
    near.ejected_until = 1.0
    assert choose([near, far], WANT, 0.0) is far


def test_what_is_as_good_goes_to_the_less_loaded_and_else_to_the_first() -> None:
    less, more = replica("less", slots=4, live=1), replica("more", slots=8, live=2)
    assert choose([more, less], WANT, 0.0) is less
    assert choose([less, more], WANT, 0.0) is less
    first, second = replica("first"), replica("second")
    assert choose([first, second], WANT, 0.0) is first
    better = replica("better", slots=8, live=3)  # more requests, but a better score
    better.power_term_s = -1.0
    assert choose([less, better], WANT, 0.0) is better


# --- failures -----------------------------------------------------------------------------------------------------


def test_each_failure_doubles_the_rest_up_to_half_a_minute() -> None:
    one = replica()
    for count, rest in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, MAX_EJECT_S, MAX_EJECT_S), 1):
        one.failed(100.0)
        assert (one.failures, one.ejected_until) == (count, 100.0 + rest)
    assert list(one.outcomes) == [(100.0, False)] * 7
    assert (one.lost_at, one.refused_at) == (None, None)
    one.failed(200.0, lost=True)
    assert (one.lost_at, one.refused_at) == (200.0, None)
    one.failed(300.0, refused=True)
    assert (one.lost_at, one.refused_at) == (200.0, 300.0)


def test_an_answer_clears_failures_and_remembers_two_of_its_tenants() -> None:
    one = replica()
    one.failed(1.0)
    one.blamed(1.0, "t", "r")
    for tenant in ("t", "u", "v"):
        one.succeeded(2.0, tenant)
    assert (one.failures, len(one.struck), one.tenants) == (0, 0, {"t", "u"})
    assert list(one.outcomes)[-3:] == [(2.0, True)] * 3
    other = replica()
    other.succeeded(1.0)
    assert other.tenants == {""}


def blame(one: Replica, *said: tuple[float, str, str]) -> Replica:
    for now, tenant, request in said:
        one.blamed(now, tenant, request)
    return one


def test_it_is_blamed_for_three_requests_within_a_minute_that_went_well_elsewhere() -> None:
    assert (MIN_BLAMED, BLAME_S) == (3, 60.0)
    three = ((1.0, "t", "r1"), (2.0, "t", "r2"), (3.0, "t", "r3"))
    one = blame(replica(), *three[:2])
    assert (one.failures, one.ejected_until) == (0, 0.0)
    blame(one, three[2])
    assert (one.failures, one.ejected_until, len(one.struck)) == (1, 4.0, 0)
    assert list(one.outcomes) == [(1.0, False), (2.0, False), (3.0, False)]
    blame(one, (10.0, "t", "r4"), (10.0, "t", "r5"), (10.0, "t", "r6"))
    assert (one.failures, one.ejected_until) == (2, 12.0)
    one.ejected_until = 90.0
    blame(one, (20.0, "t", "r4"), (20.0, "t", "r5"), (20.0, "t", "r6"))
    assert (one.failures, one.ejected_until) == (3, 90.0)  # a longer rest is not made shorter
    one.failures = 9
    blame(one, (100.0, "t", "r4"), (100.0, "t", "r5"), (100.0, "t", "r6"))
    assert one.ejected_until == 100.0 + MAX_EJECT_S


def test_blame_from_before_the_minute_or_of_the_same_request_does_not_count() -> None:
    assert blame(replica(), (0.0, "t", "r1"), (1.0, "t", "r2"), (60.0, "t", "r3")).failures == 1
    assert blame(replica(), (0.0, "t", "r1"), (1.0, "t", "r2"), (60.5, "t", "r3")).failures == 0
    assert blame(replica(), (0.0, "t", "r1"), (1.0, "t", "r2"), (2.0, "t", "r2")).failures == 0


def test_where_several_tenants_are_served_one_alone_cannot_put_a_replica_away() -> None:
    own = replica()
    own.succeeded(0.0, "t")  # the only one that is served there
    blame(own, (1.0, "t", "r1"), (1.0, "t", "r2"), (1.0, "t", "r3"))
    assert own.failures == 1
    shared = replica()
    shared.succeeded(0.0, "t")
    shared.succeeded(0.0, "u")
    blame(shared, (1.0, "t", "r1"), (1.0, "t", "r2"), (1.0, "t", "r3"), (1.0, "t", "r4"))
    assert shared.failures == 0
    blame(shared, (1.0, "u", "r5"))
    assert shared.failures == 1


def test_a_sign_of_life_ends_the_rest_that_one_cut_link_began() -> None:
    one = replica()
    one.failed(10.0, lost=True)
    one.alive(10.0 + BEAT_S / 2)
    assert (one.lost_at, one.ejected_until) == (10.0, 11.0)  # that beat was already on its way
    one.alive(10.0 + BEAT_S)
    assert (one.lost_at, one.ejected_until) == (None, 10.0 + BEAT_S)
    one.failed(20.0)
    one.alive(21.0)
    assert one.ejected_until == 22.0  # it failed; that it is alive does not excuse it
    barred = replica()
    barred.failed(10.0, lost=True)
    barred.ejected_until, barred.barred_until = 40.0, 30.0
    barred.alive(11.0)
    assert barred.ejected_until == 30.0
    soon = replica()
    soon.failed(10.0, lost=True)
    soon.alive(15.0)
    assert soon.ejected_until == 11.0


def test_it_remembers_what_an_engines_cache_holds_the_latest_last() -> None:
    one = replica(prefixes=())
    for prefix in range(PREFIXES):
        one.remember(prefix)
    one.remember(0)
    assert len(one.prefixes) == PREFIXES
    one.remember(PREFIXES)
    assert len(one.prefixes) == PREFIXES
    assert 0 in one.prefixes
    assert 1 not in one.prefixes
    one.first_token(3.0, 0.25)
    assert list(one.first_tokens) == [(3.0, 0.25)]
    assert {one.first_tokens.maxlen, one.outcomes.maxlen, one.struck.maxlen} == {LATEST}


# --- where all are away -------------------------------------------------------------------------------------------


def resting(name: str, until: float = 20.0) -> Replica:
    one = replica(name)
    one.failures, one.ejected_until = 1, until
    return one


def test_where_all_rest_for_failures_the_one_that_failed_first_is_tried() -> None:
    late, early = resting("late", 30.0), resting("early", 20.0)
    assert last_resort([late, early], WANT, 10.0, set()) is early
    assert last_resort([late, early], WANT, 10.0, {"early"}) is late
    assert last_resort([], WANT, 10.0, set()) is None
    well = replica("well")
    assert last_resort([late, well], WANT, 10.0, set()) is None
    assert last_resort([late, well], WANT, 10.0, {"well"}) is late
    assert last_resort([late, resting("now", 10.0)], WANT, 10.0, set()) is None


def test_a_last_resort_has_room_is_heard_of_and_is_not_anothers() -> None:
    def taken(**changes: object) -> bool:
        one = resting("a")
        for name, value in changes.items():
            setattr(one, name, value)
        return last_resort([one], Want("m", tenant="t"), 10.0, frozenset()) is one

    assert taken()
    assert not taken(models=frozenset({"n"}))
    assert not taken(failures=0)  # away, but for nothing that it did
    assert taken(failures=0, barred_until=11.0)
    assert not taken(failures=0, barred_until=10.0)
    assert taken(live={Request() for _ in range(3)})
    assert not taken(live={Request() for _ in range(4)})
    assert taken(beat_at=9.0)
    assert not taken(beat_at=8.0)
    assert taken(refused_at=10.0 - 2 * REFUSED_S)
    assert not taken(refused_at=10.0 - REFUSED_S)
    assert taken(renter="t")
    assert not taken(renter="u")


def test_the_figures_that_operators_plan_with() -> None:
    """docs/gateway.md states them; who changes one changes what an operator was told."""
    assert (BEAT_S, BEATS_MISSED, MAX_EJECT_S, PREFIXES, REFUSED_S) == (0.5, 3, 30.0, 512, 0.25)
    assert (route.PREFILL_S_PER_TOKEN, MAX_PREFILL_S, OVERLOAD_S, RENTED_S, QUEUE_WEIGHT_S) == (1e-4, 1, 10, 5, 0.5)
