"""The checker of `make fleet-test` finds what is wrong: a whole history, and a violation of each kind planted in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

from fleet_history import History, Operation  # noqa: E402
from fleet_judge import Limits, OnRecord, Planned, Used, Verdict, judge  # noqa: E402

T0 = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIMITS = Limits(budgets_nano={"thin": 2_000}, few_per_minute=60, few_at_once=2)
HOSTS = {"a": "control", "b": "control", "c": "control", "d": "site", "e": "site", "x": "store", "y": "store"}
Plant = Callable[[History, OnRecord], None]


def done(history: History, who: str, what: str, began: float, ended: float, result: str, **about: object) -> Operation:
    one = Operation(who, what, began, dict(about), ended, result)
    history.operations.append(one)
    return one


def fault(history: History, hosts: str, way: str, began: float, ended: float, result: str = "well") -> None:
    named = ["the store" if host == "*" else host for host in hosts]
    done(history, "trouble", "fault", began, ended, result, hosts=named, ways=[way] * len(named), how=f"{way} {hosts}")


def whole() -> tuple[History, OnRecord]:
    """Ten minutes in which nothing was wrong but what is excused."""
    history, on = History(), OnRecord()
    for host, kind in HOSTS.items():
        done(history, "fleet", "host", 0.0, 0.0, "ok", host=host, kind=kind)
    for number, at in ((1, 0.0), (2, 300.0)):
        done(history, "store", "leads", at, at, "ok", office="budgets", number=number, holder="ma")
    fault(history, "a", "kill", 290.0, 310.0)
    for n in range(40):
        began = 5.0 + n
        done(history, "client 0", "ask", began, began + 0.5, "ok", request=f"r{n}", tokens=12, cuts=[])
        on.used.append(Used(f"r{n}", "demo", 12, 24, began + 0.4, 0.3))
        done(history, "few 0", "few", began, began + 0.5, "ok", request=f"f{n}", door="b", status=200)
        on.used.append(Used(f"f{n}", "few", 12, 24, began + 0.45, 0.4))
    for turn in range(2):
        about = {"key": "call-1", "door": "ab"[turn], "request": f"o{turn}", "answer": "chat-1", "tokens": 12}
        done(history, "once", "once", 50.0 + turn, 50.5 + turn, "ok", **about)
    on.used.append(Used("o0", "once", 12, 24, 50.4, 0.3, user="call-1"))
    on.used.append(Used("t0", "thin", 8, 1_900, 51.0, 0.3))
    done(history, "onlooker", "look", 52.0, 52.1, "ok", site="site-d", why="ok", by="a")
    on.plans = [
        Planned(site, T0 + n * MINUTE, 1 + (n > 4)) for n in range(10) if n != 5 for site in ("site-d", "site-e")
    ]
    on.told = [(T0 + 5 * MINUTE, T0 + 6 * MINUTE)]
    for one in on.used:
        on.keys["Usage", one.request] += 1
    for plan in on.plans:
        on.keys["Plan", f"{plan.site}|{plan.at}"] += 1
    on.numbers = sum(on.keys.values())
    on.acknowledged = {one.request for one in on.used}
    return history, on


def judged(plant: Plant) -> Verdict:
    history, on = whole()
    plant(history, on)
    return judge(history, on, LIMITS)


def test_a_whole_history_has_no_violation_and_all_of_it_was_looked_at() -> None:
    verdict = judged(lambda history, on: None)
    assert verdict.violations == []
    counts = verdict.counts
    assert (counts["whole answers"], counts["requests under limits"], counts["slots"]) == (40, 40, 40)
    assert (counts["calls under a key"], counts["leaders"], counts["intervals of sites"]) == (1, 2, 18)
    assert counts["known as acknowledged"] == 82


def lost(history: History, on: OnRecord) -> None:
    on.acknowledged.add("s|2026")


def twice(history: History, on: OnRecord) -> None:
    on.keys["Usage", "r3"] += 1
    on.numbers += 1


def gap(history: History, on: OnRecord) -> None:
    on.numbers += 1


def altered(history: History, on: OnRecord) -> None:
    on.damage = "the digest over its rows is another"


def billed_twice(history: History, on: OnRecord) -> None:
    on.used.append(on.used[0])


def cut_billed_twice(history: History, on: OnRecord) -> None:
    done(history, "client 0", "ask", 60.0, 61.0, "ok", request="r60", tokens=12, cuts=[["c1", 5]])
    on.used += [Used("r60", "demo", 12, 24, 60.9, 0.3)] + [Used("c1", "demo", 5, 10, 60.4, 0.3)] * 2


def not_billed(history: History, on: OnRecord) -> None:
    on.used = [one for one in on.used if one.request != "r7"]


def other_tokens(history: History, on: OnRecord) -> None:
    on.used[0].tokens += 1


def made_twice(history: History, on: OnRecord) -> None:
    on.used.append(Used("o1", "once", 12, 24, 51.4, 0.3, user="call-1"))


def other_answer(history: History, on: OnRecord) -> None:
    next(one for one in history.of("once") if one.began > 50.5).about["answer"] = "chat-2"


def overspent(history: History, on: OnRecord) -> None:
    on.used.append(Used("t1", "thin", 8, 101, 52.0, 0.3))


def older_leader(history: History, on: OnRecord) -> None:
    on.plans.append(Planned("site-d", T0 + 10 * MINUTE, 1))


def two_leaders(history: History, on: OnRecord) -> None:
    on.plans.insert(8, Planned("site-d", T0 + 4 * MINUTE, 1))
    on.plans.append(Planned("site-d", T0 + 4 * MINUTE, 2))


def nobody_decided(history: History, on: OnRecord) -> None:
    on.plans = [plan for plan in on.plans if (plan.site, plan.at) != ("site-e", T0 + 7 * MINUTE)]


def nobody_said(history: History, on: OnRecord) -> None:
    on.told = []


def too_often(history: History, on: OnRecord) -> None:
    for n in range(60):
        done(history, "few 1", "few", 100.0 + n / 10, 100.05 + n / 10, "ok", request=f"g{n}", door="b")
    for n in range(9):
        done(history, "few 1", "few", 106.0 + n / 10, 106.05 + n / 10, "ok", request=f"h{n}", door="c")


def too_many_at_once(history: History, on: OnRecord) -> None:
    for n in range(3):
        done(history, f"few {n}", "few", 200.0, 201.0, "ok", request=f"m{n}", door="abc"[n])
        on.used.append(Used(f"m{n}", "few", 12, 24, 200.9, 0.7))


def unanswered(history: History, on: OnRecord) -> None:
    fault(history, "ad", "kill", 400.0, 440.0)
    done(history, "client 1", "ask", 405.0, 435.0, "unanswered", why="503", cuts=[])


def not_shown(history: History, on: OnRecord) -> None:
    fault(history, "a", "freeze", 400.0, 440.0)
    done(history, "onlooker", "look", 405.0, 435.0, "unanswered", why="503", by="b")


def stays_ill(history: History, on: OnRecord) -> None:
    fault(history, "c", "cut", 500.0, 590.0, "not well again")


def revoked_key(history: History, on: OnRecord) -> None:
    done(history, "administrator", "revoked", 70.0, 73.0, "taken", why="key k1, revoked at a, is taken at b")


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        (lost, "was acknowledged to its sender and is not on record"),
        (twice, "is on record 2 times"),
        (gap, "numbers were given for"),
        (altered, "does not verify"),
        (billed_twice, "is billed 2 times"),
        (cut_billed_twice, "c1 is billed 2 times"),
        (not_billed, "r7 was answered with 12 tokens; on record: []"),
        (other_tokens, "r0 was answered with 12 tokens; on record: [13]"),
        (made_twice, "the call call-1 was made more than once"),
        (other_answer, "the call call-1 was made more than once: 2 answers"),
        (overspent, "the tenant thin spent 2001 nano-dollars of 2000"),
        (older_leader, "a plan of leader 1 for site-d stands behind one of leader 2"),
        (two_leaders, "was decided for site-d by 2 leaders"),
        (nobody_decided, "was decided by nobody for site-e"),
        (nobody_said, "was decided by nobody for site-d, and nobody says so"),
        (too_often, "with 60 a minute"),
        (too_many_at_once, "3 requests of a tenant at once"),
        (unanswered, "client 1 stayed without an answer for 30 s"),
        (not_shown, "onlooker stayed without an answer for 30 s"),
        (stays_ill, "not well again within its time after cut c: c"),
        (revoked_key, "key k1, revoked at a, is taken at b"),
    ],
)
def test_a_violation_is_found_and_named(plant: Plant, named: str) -> None:
    assert any(named in one for one in judged(plant).violations)


def second_uncounted(history: History, on: OnRecord) -> None:
    """After the coordinator's death at 300 s a second's requests may come beyond the limit."""
    for n in range(64):
        began = 299.0 + n / 10 if n < 8 else 300.5 + n / 100
        done(history, "few 1", "few", began, began + 0.05, "ok", request=f"g{n}", door="b")


def all_gateways_gone(history: History, on: OnRecord) -> None:
    for host in "abc":
        fault(history, host, "cut", 400.0, 440.0)
    done(history, "client 1", "ask", 405.0, 435.0, "unanswered", why="ConnectError", cuts=[])


def store_gone(history: History, on: OnRecord) -> None:
    fault(history, "x*", "kill", 400.0, 440.0)
    done(history, "onlooker", "look", 405.0, 435.0, "unanswered", why="503", by="b")


def frozen_past_its_lease(history: History, on: OnRecord) -> None:
    made_twice(history, on)
    fault(history, "b", "freeze", 45.0, 56.0)


@pytest.mark.parametrize("plant", [second_uncounted, all_gateways_gone, store_gone, frozen_past_its_lease])
def test_what_is_promised_less_of_is_excused_and_counted(plant: Plant) -> None:
    verdict = judged(plant)
    assert verdict.violations == []


def test_an_excuse_reaches_no_further() -> None:
    """A console is no reason for a client to stay without an answer, nor a second away enough."""

    def plant(history: History, on: OnRecord) -> None:
        for host in "abc":
            fault(history, host, "cut", 404.0, 406.0)
        fault(history, "x*", "kill", 400.0, 440.0)
        done(history, "client 1", "ask", 405.0, 435.0, "unanswered", why="503", cuts=[])

    assert len(judged(plant).violations) == 1
