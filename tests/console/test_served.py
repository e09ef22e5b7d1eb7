"""Interruptions of a model, in the words of an operator's log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tieline.console.served import interruptions
from tieline.records import ReplicaState

T0 = datetime(2026, 5, 1, tzinfo=UTC)


def said(minute: int, replica: str, state: str, model: str = "m") -> ReplicaState:
    at = T0 + timedelta(minutes=minute)
    return ReplicaState(
        at=at, known_at=at, source="site:s", kind="measured", replica_id=replica, site_id="s", region="r", model=model,
        base_url="http://127.0.0.1:1", state=state,
    )  # fmt: skip


def spans(*states: ReplicaState) -> list[tuple[str, int, int | None]]:
    minutes = [(one.model, one.since - T0, one.until and one.until - T0) for one in interruptions(states)]
    return [(m, int(a.total_seconds() // 60), b and int(b.total_seconds() // 60)) for m, a, b in minutes]


def test_one_replica_that_stays_is_enough_and_the_last_one_is_missed() -> None:
    """00 a ready, 05 b ready, 10 a down, 20 b draining, 25 a ready, 30 a down: away from 20 to 25 and since 30."""
    log = [said(0, "a", "ready"), said(5, "b", "ready"), said(10, "a", "down"), said(20, "b", "draining"),
           said(25, "a", "ready"), said(30, "a", "down")]  # fmt: skip
    assert spans(*log) == [("m", 20, 25), ("m", 30, None)]


def test_before_it_was_ready_once_it_was_not_interrupted_and_models_do_not_stand_in_for_each_other() -> None:
    assert spans(said(0, "a", "starting"), said(3, "a", "ready")) == []
    assert spans(said(0, "a", "ready"), said(0, "x", "ready", "n"), said(5, "a", "down")) == [("m", 5, None)]


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("ab"), st.sampled_from(["ready", "down", "starting"]))))
def test_spans_of_one_model_follow_each_other(log: list[tuple[int, str, str]]) -> None:
    found = spans(*(said(*one) for one in log))
    assert all(until is not None for _, _, until in found[:-1])
    ends = [edge for _, since, until in found for edge in (since, until if until is not None else 99)]
    assert ends == sorted(ends)
