"""What waits for a second person, and whether one may decide it. Pure: records in, states out.

Two different people have to want what a proposal says: its proposer, where that is a person, and those who approve.
Nobody counts twice, whatever their roles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from tieline.people.rights import Right
from tieline.records import Action, Proposal, ProposalStep
from tieline.records.approval import ProposalKind, ProposalWord

State = Literal["open", "approved", "rejected", "withdrawn", "lapsed", "done"]

PEOPLE_NEEDED: Final = 2
# A proposal is about a price, a plan or a month as they are now; after a working week it has to be looked at anew.
STANDS_FOR: Final = timedelta(days=7)
MAX_WHY: Final = 500
# Who may propose what.
PROPOSES: Final[Mapping[ProposalKind, Right]] = {
    "sale": Right.BOOK,
    "act": Right.COMMAND,
    "invoice": Right.BOOK,
    "pools": Right.COMMAND,
}


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal and all that was said to it, in order."""

    proposal: Proposal
    steps: tuple[ProposalStep, ...]

    @property
    def wanted_by(self) -> tuple[str, ...]:
        """The people who want it, the proposer first."""
        own = (self.proposal.by,) if self.proposal.person else ()
        return tuple(dict.fromkeys((*own, *(s.by for s in self._binding if s.says == "approved"))))

    @property
    def _binding(self) -> tuple[ProposalStep, ...]:
        """Steps that are about these words, said before the proposal lapsed."""
        digest = digest_of(self.proposal)
        return tuple(s for s in self.steps if s.digest == digest and (s.says == "done" or s.at < self.proposal.until))

    def state(self, now: datetime) -> State:
        said = {step.says for step in self._binding}
        if "done" in said:
            return "done"
        if "withdrawn" in said:
            return "withdrawn"
        if "rejected" in said:
            return "rejected"
        if len(self.wanted_by) >= PEOPLE_NEEDED:
            return "approved"
        return "open" if now < self.proposal.until else "lapsed"

    @property
    def lacks(self) -> int:
        """How many people still have to approve."""
        return max(0, PEOPLE_NEEDED - len(self.wanted_by))


def proposed(records: Iterable[Proposal | ProposalStep]) -> dict[str, Proposed]:
    """By id, the oldest first. Of proposals with one id the last that was told stands."""
    proposals: dict[str, Proposal] = {}
    steps: dict[str, dict[str, ProposalStep]] = {}
    for record in sorted(records, key=lambda one: one.known_at):
        if isinstance(record, Proposal):
            proposals[record.proposal_id] = record
        else:
            steps.setdefault(record.proposal_id, {}).setdefault(record.key, record)
    return {id_: Proposed(one, tuple(steps.get(id_, {}).values())) for id_, one in proposals.items()}


def digest_of(proposal: Proposal) -> str:
    """Of what an approver reads."""
    words = (proposal.proposal_id, proposal.what, proposal.target, proposal.before, proposal.after)
    return hashlib.sha256("\x1f".join(words).encode()).hexdigest()[:16]


def standing(proposals: Iterable[Proposed], what: ProposalKind, target: str, now: datetime) -> Proposed | None:
    """The last proposal of this kind for this target that is approved and not yet done; None where none is."""
    fitting = [one for one in proposals if (one.proposal.what, one.proposal.target) == (what, target)]
    return next((one for one in reversed(fitting) if one.state(now) == "approved"), None)


def refusal(one: Proposed | None, says: ProposalWord, by: str, digest: str, now: datetime) -> str | None:
    """Why `by` may not say this to a proposal; None where they may. Rights are for the caller to ask."""
    if one is None:
        return "proposal_id: there is no such proposal"
    state = one.state(now)
    if digest != digest_of(one.proposal):
        return "digest: this is not what the proposal says now; read it again"
    if says == "done":
        return None if state == "approved" else f"proposal_id: it is {state}, not approved"
    if state != "open" and not (state == "approved" and says in ("rejected", "withdrawn")):
        return f"proposal_id: it is {state} and decided no more"
    mine = one.proposal.person and by == one.proposal.by
    if says == "withdrawn" and not mine:
        return f"by: {one.proposal.by} proposed it and alone may withdraw it; reject it instead"
    if says == "approved" and mine:
        return "by: a second person has to approve what you proposed"
    if says == "approved" and by in one.wanted_by:
        return "by: you approved it already; another person has to"
    return None


def asked(what: ProposalKind, target: str, words: tuple[str, str, str], by: str, now: datetime) -> Proposal:
    """A person's proposal; `words` are how it stands, how it will, and why. Raises ValueError, field first."""
    before, after, why = (" ".join(text.split()) for text in words)
    for field, text in (("target", target.strip()), ("after", after), ("why", why)):
        if not text:
            raise ValueError(f"{field}: say it; a second person decides by it")
        if len(text) > MAX_WHY:
            raise ValueError(f"{field}: {len(text)} characters; keep it under {MAX_WHY}")
    return Proposal(
        at=now,
        known_at=now,
        source="people",
        kind="measured",
        proposal_id=f"{what} {target.strip()} {now:%Y-%m-%d %H:%M:%S}",
        what=what,
        target=target.strip(),
        before=before,
        after=after,
        why=why,
        by=by,
        person=True,
        until=now + STANDS_FOR,
    )


def said(one: Proposed, says: ProposalWord, by: str, why: str, now: datetime) -> tuple[ProposalStep, Action]:
    """What `by` says to it, and its line for the audit. `refusal` is asked first."""
    proposal = one.proposal
    # Known after what it answers, also where a world's clock stands still.
    known_at = max(now, proposal.known_at + timedelta(microseconds=1))
    step = ProposalStep(
        at=now,
        known_at=known_at,
        source="people",
        kind="measured",
        proposal_id=proposal.proposal_id,
        says=says,
        by=by,
        digest=digest_of(proposal),
        why=" ".join(why.split())[:MAX_WHY],
    )
    return step, action_of(proposal, says, by, known_at)


def action_of(proposal: Proposal, did: str, by: str, now: datetime) -> Action:
    """The line of the audit: what it was before, what after."""
    return Action(
        at=now,
        known_at=now,
        source="people",
        kind="measured",
        by=by,
        what=f"{did} {proposal.what}",
        target=proposal.target,
        detail=f"{proposal.before} -> {proposal.after}: {proposal.why}",
    )
