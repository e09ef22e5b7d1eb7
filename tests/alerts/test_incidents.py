"""Incidents told as a night would go: one trouble is one message, and what nobody takes is said again."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from tieline.alerts.incidents import Incident, IncidentLine, Incidents, Timing, lines_of

T = Timing(raise_after_s=10, clear_after_s=120, escalate_after_s=900)


def play(spans: list[tuple[float, list[IncidentLine]]], timing: Timing = T) -> list[tuple[float, str, str]]:
    """Each (seconds, lines) stands until the next; looked at each second. (time, event, what) of all notices."""
    incidents, told, now = Incidents(timing), [], 0.0
    for seconds, lines in spans:
        for _ in range(int(seconds)):
            told += [(now, one.event, one.what) for one in incidents.step(lines, now)[0]]
            now += 1
    return told


SILENT = [IncidentLine("bad", "not heard", "2 of 3 units", f"site {n}") for n in range(40)]
QUIET: list[IncidentLine] = []


def test_forty_sites_with_one_trouble_are_one_message() -> None:
    assert play([(60, SILENT), (300, QUIET)]) == [(10.0, "raised", "not heard"), (179.0, "ended", "not heard")]


def test_a_hundred_flaps_are_one_alert() -> None:
    told = play([(15, SILENT), (30, QUIET)] * 100 + [(300, QUIET)])
    assert [event for _, event, _ in told if event != "escalated"] == ["raised", "ended"]


def test_what_stands_for_a_moment_is_nothing() -> None:
    assert play([(5, SILENT), (20, QUIET)] * 50) == []


def test_what_nobody_takes_is_said_once_more_and_what_somebody_took_is_not() -> None:
    assert [e for _, e, _ in play([(3000, SILENT)])] == ["raised", "escalated"]
    incidents = Incidents(T)
    for now in range(20):
        incidents.step(SILENT, now)
    incidents.acknowledge("not heard", "ada")
    assert [n.event for now in range(20, 3000) for n in incidents.step(SILENT, now)[0]] == []


def test_whatever_is_told_is_told_once_though_each_look_is_by_one_who_started_anew() -> None:
    kept: dict[str, Incident] = {}
    told: list[str] = []
    for now in range(0, 2_000, 5):
        level = IncidentLine("warn" if now < 1_500 else "bad", "replica down", "one of two")
        notices, changed = Incidents(T, copy.deepcopy(list(kept.values()))).step([level], float(now))
        kept |= {one.key: one for one in changed}
        told += [one.event for one in notices]
    assert told == ["raised", "escalated", "worse"]


def test_a_warning_that_becomes_bad_is_told_again_though_somebody_had_it() -> None:
    warn, bad = [IncidentLine("warn", "budget")], [IncidentLine("bad", "budget")]
    incidents = Incidents(T)
    for now in range(20):
        incidents.step(warn, now)
    incidents.acknowledge("budget", "ada")
    assert [n.event for now in range(20, 40) for n in incidents.step(bad, now)[0]] == ["worse"]
    assert incidents.now["budget"].state == "open"


def test_notes_call_nobody() -> None:
    assert play([(600, [IncidentLine("note", "held by hand")])]) == []


def test_a_message_names_some_places_and_counts_the_others() -> None:
    incidents = Incidents(T)
    (notice,) = [n for now in range(12) for n in incidents.step(SILENT, now)[0]]
    assert notice.words.startswith("not heard (site 0, site 1, ")
    assert notice.words.endswith(" and 32 more): 2 of 3 units")


def test_lines_of_strangers_are_left_out() -> None:
    told = [
        {"level": "bad", "what": "fault"},
        {"level": "fatal", "what": "x"},
        {"what": "y"},
        {"level": "warn", "what": 7},
    ]
    assert lines_of(told) == [IncidentLine("bad", "fault")]


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=30))
def test_every_raised_incident_ends_once_and_never_before_it_was_raised(spans: list[tuple[int, bool]]) -> None:
    told = play([(float(n), SILENT if on else QUIET) for n, on in spans] + [(400, QUIET)])
    events = [event for _, event, _ in told if event in ("raised", "ended")]
    assert events == ["raised", "ended"] * (len(events) // 2)
    assert len(events) % 2 == 0


def test_a_node_that_answers_on_tuesdays_is_one_incident_a_week_and_each_is_told_to_its_end() -> None:
    minute, day = 60.0, 86_400.0
    incidents, told = Incidents(T), []
    for step in range(int(4 * 7 * day / minute)):
        now = step * minute
        there = int(now // day) % 7 == 1
        told += [(now // day, one.event) for one in incidents.step(QUIET if there else SILENT, now)[0]]
    raised = [at for at, event in told if event == "raised"]
    assert raised == [0.0, 2.0, 9.0, 16.0, 23.0]
    assert [event for _, event in told] == ["raised", "escalated", "ended"] * 4 + ["raised", "escalated"]
