"""Which model runs where by dispatch's plan: how many replicas of it at which site, since when, and why.

A fold of plans: of each group of nodes the newest number, when it last changed and from what, and the reason that the
plan gives now. Knows no HTTP and no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieline.fleet import Fleet, NodeGroup
from tieline.records import Plan, ReplicaState, Setpoint

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Placing:
    """`since`: the first plan with this number; `before`: what stood until then, None where that is before the records
    that were read, and then it is at least since."""

    replicas: int
    since: datetime
    seq: int  # of that plan
    before: int | None
    plan: int  # the newest plan's number
    setpoint: Setpoint


class Placed:
    """By group of nodes; kept up plan by plan, in the order of when they hold."""

    def __init__(self) -> None:
        self.groups: dict[str, Placing] = {}

    def take(self, seq: int, plan: Plan) -> None:
        """A plan that is newer than those before it of its site."""
        for setpoint in plan.setpoints:
            if setpoint.replicas is None:
                continue
            was = self.groups.get(setpoint.unit_id)
            count = setpoint.replicas
            if was is not None and was.replicas == count:
                since, first, before = was.since, was.seq, was.before
            else:
                since, first, before = plan.at, seq, None if was is None else was.replicas
            self.groups[setpoint.unit_id] = Placing(count, since, first, before, seq, setpoint)


def placed_view(placed: Placed, fleet: Fleet, states: Iterable[ReplicaState]) -> list[Json]:
    """A row for each group of nodes that a plan speaks of; those with replicas first. `ready` are real ones that say
    so; a group that is modelled alone has none."""
    ready = Counter((one.site_id, one.model) for one in states if one.state == "ready")
    rows = []
    for site in fleet.sites:
        for group in site.units:
            known = placed.groups.get(group.id)
            if known is not None and isinstance(group, NodeGroup):
                real = bool(group.replicas_real)
                rows.append(_row(site.id, group, known) | {"ready": _of(ready, site.id, real=real)})
    return sorted(rows, key=lambda row: (row["replicas"] == 0, row["model"], -row["replicas"], row["unit"]))


def _of(ready: Counter[tuple[str, str]], site_id: str, *, real: bool) -> int | None:
    return sum(count for (site, _), count in ready.items() if site == site_id) if real else None


def _row(site_id: str, group: NodeGroup, known: Placing) -> Json:
    reason = known.setpoint.reason
    return {
        "unit": group.id,
        "site_id": site_id,
        "model": group.model or "",
        "replicas": known.replicas,
        "before": known.before,
        "since": known.since.timestamp(),
        "at_least": known.before is None,
        "since_seq": known.seq,
        "plan_seq": known.plan,
        "rule": reason.rule,
        "why": reason.text,
    }
