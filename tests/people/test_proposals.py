"""Two people: who may say what to a proposal, what then stands, and that nobody counts twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tieline.people.proposals import Proposed, digest_of, proposed, refusal, standing
from tieline.records import Proposal, ProposalStep, decode, encode
from tieline.records.approval import ProposalWord

NOW = datetime(2026, 5, 14, 18, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def asked(by: str = "tora", *, person: bool = True, id_: str = "p1", at: datetime = NOW) -> Proposal:
    return Proposal(
        at=at,
        known_at=at,
        source="console",
        kind="measured",
        proposal_id=id_,
        what="sale",
        target="Treasury",
        before="7,474.6 BTC held",
        after="4,451 BTC sold at 68,524 USD or more",
        why="the loan's trigger is near",
        by=by,
        person=person,
        until=at + timedelta(days=7),
    )


def step(proposal: Proposal, says: ProposalWord, by: str, at: datetime = LATER) -> ProposalStep:
    return ProposalStep(
        at=at,
        known_at=at,
        source="console",
        kind="measured",
        proposal_id=proposal.proposal_id,
        says=says,
        by=by,
        digest=digest_of(proposal),
    )


def of(proposal: Proposal, *said: tuple[ProposalWord, str]) -> Proposed:
    steps = [step(proposal, says, by, LATER + timedelta(minutes=n)) for n, (says, by) in enumerate(said)]
    return proposed([proposal, *steps])["p1"]


@pytest.mark.parametrize(
    ("by", "person", "said", "state"),
    [
        ("tora", True, [], "open"),
        ("tora", True, [("approved", "axel")], "approved"),
        ("tora", True, [("approved", "tora")], "open"),  # nobody counts twice, however the record came to be
        ("policy weekly", False, [("approved", "axel")], "open"),
        ("policy weekly", False, [("approved", "axel"), ("approved", "axel")], "open"),
        ("policy weekly", False, [("approved", "axel"), ("approved", "ada")], "approved"),
        ("tora", True, [("rejected", "axel"), ("approved", "ada")], "rejected"),
        ("tora", True, [("approved", "axel"), ("withdrawn", "tora")], "withdrawn"),
        ("tora", True, [("approved", "axel"), ("done", "tora")], "done"),
    ],
)
def test_a_proposal_stands_as_two_people_want_it(
    by: str, person: bool, said: list[tuple[ProposalWord, str]], state: str
) -> None:
    assert of(asked(by, person=person), *said).state(LATER + timedelta(hours=1)) == state


def test_an_approval_of_other_words_binds_nobody() -> None:
    first = asked()
    changed = msgspec.structs.replace(first, after="7,474.6 BTC sold at any price", known_at=LATER + timedelta(hours=1))
    found = proposed([first, step(first, "approved", "axel"), changed])["p1"]
    assert found.state(LATER + timedelta(hours=2)) == "open"
    assert found.lacks == 1
    assert "read it again" in (refusal(found, "approved", "axel", digest_of(first), LATER) or "")


def test_it_lapses_and_a_late_approval_binds_nobody() -> None:
    late = NOW + timedelta(days=8)
    found = proposed([asked(), step(asked(), "approved", "axel", late)])["p1"]
    assert found.state(late) == "lapsed"
    assert (
        refusal(found, "approved", "axel", digest_of(asked()), late) == "proposal_id: it is lapsed and decided no more"
    )


@pytest.mark.parametrize(
    ("says", "by", "why"),
    [
        ("approved", "axel", None),
        ("approved", "tora", "a second person"),
        ("rejected", "axel", None),
        ("rejected", "tora", None),
        ("withdrawn", "tora", None),
        ("withdrawn", "axel", "tora proposed it"),
        ("done", "tora", "it is open, not approved"),
    ],
)
def test_who_may_say_what(says: ProposalWord, by: str, why: str | None) -> None:
    said = refusal(of(asked()), says, by, digest_of(asked()), LATER)
    assert said is None if why is None else why in (said or "")


def test_nobody_decides_what_is_not_there_or_over() -> None:
    assert "no such" in (refusal(None, "approved", "axel", "", NOW) or "")
    over = of(asked(), ("rejected", "axel"))
    assert "is rejected" in (refusal(over, "approved", "ada", digest_of(asked()), LATER + timedelta(hours=2)) or "")
    twice = of(asked("policy", person=False), ("approved", "axel"))
    said = refusal(twice, "approved", "axel", digest_of(asked("policy", person=False)), LATER)
    assert "you approved it already" in (said or "")


def test_what_stands_for_a_target_is_the_last_that_is_approved_and_not_done() -> None:
    first, second = asked(), asked(id_="p2", at=NOW + timedelta(minutes=1))
    records = [first, second, step(first, "approved", "axel"), step(second, "approved", "axel")]
    late = LATER + timedelta(minutes=5)
    assert standing(proposed(records).values(), "sale", "Treasury", late) == proposed(records)["p2"]
    records.append(step(second, "done", "tora", late))
    assert standing(proposed(records).values(), "sale", "Treasury", late) == proposed(records)["p1"]
    assert standing(proposed(records).values(), "act", "Treasury", late) is None


def test_both_records_come_back_as_they_were() -> None:
    for record in (asked(), step(asked(), "approved", "axel")):
        assert decode(encode(record)) == record
