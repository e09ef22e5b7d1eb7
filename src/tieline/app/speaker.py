"""Which records a site may push: its own. The link holds who may speak on `records.<site>`; what a record says of its
site is only the word of who sent it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tieline.edge.decide import local_source
from tieline.edge.local.words import NOT_DONE, POOLS_SET, WORDS
from tieline.records import (
    Accepted,
    Action,
    AnyRecord,
    Commitment,
    Fault,
    Instruction,
    MeterReading,
    Outcome,
    Override,
    PartnerAsk,
    Plan,
    Proposal,
    ProposalStep,
    ReplicaState,
    Sample,
    SetAside,
    encode,
)
from tieline.records.losses import PLATFORM, outbox_lost, store_lost

# What a site is there to say. Prices, plans, money and other people's words are not among it.
SAYS = (Sample, MeterReading, Outcome, Fault, ReplicaState, Instruction, Override, Action)
# Operators' words of a whole site that its agent acts on; those of its rigs are beside what does them.
OF_SITES = ("accept", "abort")
# What a person at a site did on its own page, and what it did when an operator elsewhere asked.
DONE_THERE = (
    "stop at site", "resume at site", "light on at site", "light off at site", "reboot at site", POOLS_SET, NOT_DONE,
)  # fmt: skip
# What binds sites or counts as a person's word. A gateway has credentials of its own, and is there to say none of it.
GATEWAY = "gateway"
NOT_A_GATEWAYS = (Plan, Instruction, Override, Commitment, PartnerAsk, Proposal, ProposalStep)


def not_its_own(site_id: str, record: AnyRecord) -> str | None:
    """Why this site may not say this; None where it may."""
    if not isinstance(record, SAYS):
        return f"type: a site may not say a {type(record).__name__}"
    if isinstance(record, Fault) and record.site_id == PLATFORM and record.what in (
        outbox_lost(site_id), store_lost(site_id),
    ):  # fmt: skip
        return None
    if isinstance(record, Action | Override):
        return _not_done_there(site_id, record)
    if record.site_id != site_id:
        return f"site_id: {site_id} may not speak for {record.site_id}"
    if isinstance(record, ReplicaState) and not record.replica_id.startswith(f"{site_id}-"):
        return f"replica_id: replicas of {site_id} are named {site_id}-..., not {record.replica_id}"
    return None


def _not_done_there(site_id: str, record: Action | Override) -> str | None:
    """A person at a site speaks of it alone, and in nobody else's name."""
    place = record.target if isinstance(record, Action) else record.site_id
    if place != site_id and not (isinstance(record, Action) and place.startswith(f"{site_id}.")):
        return f"site_id: {site_id} may not speak for {place}"
    if isinstance(record, Override) and not (record.unit_id or "").startswith(f"{site_id}."):
        return f"unit_id: {site_id} may hold its own groups, not {record.unit_id}"
    if record.source != local_source(site_id) or not record.by.startswith(f"{site_id}: "):
        return f"by: what is done at {site_id} is said by '{site_id}: NAME'"
    if isinstance(record, Action) and record.what not in DONE_THERE:
        return f"what: at a site one may {' or '.join(DONE_THERE)}"
    return None


def meant_for(word: Action) -> str | None:
    """The site that acts on an operator's word; None where none does."""
    if word.what in OF_SITES:
        return word.target
    return word.target.partition(".")[0] if word.what in WORDS else None


def not_a_gateways(record: AnyRecord) -> str | None:
    """Why a gateway may not say this; None where it may."""
    if isinstance(record, NOT_A_GATEWAYS) or (isinstance(record, Action) and meant_for(record) is not None):
        return f"type: a gateway may not say a {type(record).__name__} that binds a site"
    return None


def heard_from(
    origin: str, arrivals: Sequence[Accepted | SetAside], is_site: Callable[[str], bool]
) -> list[Accepted | SetAside]:
    """The same items, those that their sender may not say set aside by name."""
    if is_site(origin):
        judge: Callable[[AnyRecord], str | None] = partial(not_its_own, origin)
    elif origin.partition(".")[0] == GATEWAY:
        judge = not_a_gateways
    else:
        return list(arrivals)
    judged: list[Accepted | SetAside] = []
    for one in arrivals:
        why = judge(one.record) if isinstance(one, Accepted) else None
        if why is None or isinstance(one, SetAside):
            judged.append(one)
            continue
        name = f"{type(one.record).__name__} of {one.record.subject}"
        judged.append(SetAside(one.place, encode(one.record), name, why))
    return judged
