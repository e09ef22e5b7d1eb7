"""Which records a site may push: its own. The link holds who may speak on `records.<site>`; what a record says of its
site is only the word of who sent it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tieline.records import (
    Accepted,
    AnyRecord,
    Fault,
    Instruction,
    MeterReading,
    Outcome,
    ReplicaState,
    Sample,
    SetAside,
    encode,
)
from tieline.records.losses import PLATFORM, outbox_lost

# What a site is there to say. Prices, plans, money and other people's words are not among it.
SAYS = (Sample, MeterReading, Outcome, Fault, ReplicaState, Instruction)


def not_its_own(site_id: str, record: AnyRecord) -> str | None:
    """Why this site may not say this; None where it may."""
    if not isinstance(record, SAYS):
        return f"type: a site may not say a {type(record).__name__}"
    if isinstance(record, Fault) and record.site_id == PLATFORM and record.what == outbox_lost(site_id):
        return None
    if record.site_id != site_id:
        return f"site_id: {site_id} may not speak for {record.site_id}"
    if isinstance(record, ReplicaState) and not record.replica_id.startswith(f"{site_id}-"):
        return f"replica_id: replicas of {site_id} are named {site_id}-..., not {record.replica_id}"
    return None


def heard_from(
    origin: str, found: Sequence[Accepted | SetAside], is_site: Callable[[str], bool]
) -> list[Accepted | SetAside]:
    """The same items, those that their sender may not say set aside by name."""
    if not is_site(origin):
        return list(found)
    judged: list[Accepted | SetAside] = []
    for one in found:
        why = not_its_own(origin, one.record) if isinstance(one, Accepted) else None
        if why is None or isinstance(one, SetAside):
            judged.append(one)
            continue
        name = f"{type(one.record).__name__} of {one.record.subject}"
        judged.append(SetAside(one.place, encode(one.record), name, why))
    return judged
