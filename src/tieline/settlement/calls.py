"""A call of a promise as an order: the site's load before the call, less what was promised.

As an order the site's own reflex sheds it in seconds, without a link and without a solver, every plan holds it, and
load comes back in stages when it is released. The baseline here is what the meter said just before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from tieline.books.causes import CALLED
from tieline.records import Commitment, Instruction, Sample
from tieline.store import Store

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# No promise is called longer after its own beginning than this.
ORDERS_BACK = timedelta(days=14)


def call_orders(store: Store, records: Iterable[object]) -> list[Instruction]:
    """The order that each call or release among `told` means; none for one that was told before."""
    orders: list[Instruction] = []
    for one in records:
        if not isinstance(one, Commitment) or one.takes or one.status not in ("deployed", "released"):
            continue  # what is to be taken is a floor of the next plan, no limit
        name = f"{CALLED}{one.commitment_id}"
        held = [
            o
            for o in store.between(Instruction, one.at - ORDERS_BACK, one.until + DAY, subject=one.site_id)
            if o.instruction_id == name
        ]
        last = max(held, key=lambda o: o.known_at, default=None)
        if one.status == "released":
            if last is not None and last.until > one.known_at:
                orders.append(msgspec.structs.replace(last, until=one.known_at, known_at=one.known_at))
            continue
        if last is not None and last.until > one.known_at:
            continue  # called already
        start = max(one.at, one.known_at)
        before_w = _load_before(store, one.site_id, start)
        if start >= one.until or before_w is None:
            continue
        orders.append(
            Instruction(
                at=start,
                known_at=one.known_at,
                source=f"call of {one.commitment_id}",
                kind=one.kind,
                instruction_id=name,
                site_id=one.site_id,
                limit_w=max(0.0, before_w - one.power_w),
                until=one.until,
                notice_s=one.response_s,
                penalty_usd_per_mwh=one.nonperformance_usd_per_mwh,
            )
        )
    return orders


def _ended(order: Instruction, now: datetime) -> Instruction:
    return Instruction(
        **{name: getattr(order, name) for name in order.__struct_fields__} | {"until": now, "known_at": now}
    )


def _load_before(store: Store, site_id: str, moment: datetime) -> float | None:
    """What every unit of a site was last heard to draw, within an hour; None where nothing was."""
    held: dict[str, Sample] = {}
    for sample in store.between(Sample, moment - HOUR, moment, subject=site_id):
        if sample.power_w is not None and sample.known_at <= moment:
            held[sample.unit_id] = max(held.get(sample.unit_id, sample), sample, key=lambda s: s.at)
    return sum(s.power_w or 0.0 for s in held.values()) if held else None
