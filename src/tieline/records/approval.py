"""What two people have to want before it is done: a proposal, and what others said to it."""

from typing import Literal

from tieline.intake import Label, Moment, Text
from tieline.records.base import OBSERVED, Record

# What needs a second person: bitcoin sold, a site that begins to act on its plans, an invoice issued, rigs that are to
# mine elsewhere.
ProposalKind = Literal["sale", "act", "invoice", "pools"]
ProposalWord = Literal["approved", "rejected", "withdrawn", "done"]


class Proposal(Record, frozen=True, kw_only=True, subject="{what}", key="{proposal_id}|{known_at}", reach=OBSERVED):
    """Something that is to be done to `target` (a place of coins, a site, a tenant and month) once a second person
    approves it: how it stands now and how it will, in words that a person can judge. `by` is an account, or the name of
    a rule where `person` is false; a rule's proposal needs two people. After `until` it has lapsed."""

    proposal_id: Label
    what: ProposalKind
    target: Label
    before: Text
    after: Text
    why: Text
    by: Label
    person: bool
    until: Moment


class ProposalStep(
    Record, frozen=True, kw_only=True, subject="{proposal_id}", key="{proposal_id}|{says}|{by}", reach=OBSERVED
):
    """What one person says to a proposal, each thing once; "done" is said by what carried it out. `digest` is of the
    proposal's words, so that what is approved is what was read."""

    proposal_id: Label
    says: ProposalWord
    by: Label
    digest: Label
    why: Text = ""


# Those that are stored and travel.
ApprovalRecord = Proposal | ProposalStep
