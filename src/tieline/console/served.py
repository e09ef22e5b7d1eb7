"""When a model was served and when not: spans in which none of its replicas was ready. Pure.

Knows what replicas said of themselves. Of a time in which nothing was told (the whole platform was away) nothing is
known, and no span is made of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from tieline.records import ReplicaState


class Interruption(NamedTuple):
    """No replica of `model` was ready. `until` None: it lasts."""

    model: str
    since: datetime
    until: datetime | None


def interruptions(states: Iterable[ReplicaState]) -> list[Interruption]:
    """Of each model from its first replica's first word on, the oldest first. Before a model was ready for the first
    time it was not served yet, which is no interruption."""
    known: dict[str, ReplicaState] = {}
    served: set[str] = set()
    since: dict[str, datetime] = {}
    found: list[Interruption] = []
    for state in sorted(states, key=lambda one: one.known_at):
        known[state.replica_id] = state
        model = state.model
        if any(one.model == model and one.state == "ready" for one in known.values()):
            served.add(model)
            if model in since:
                found.append(Interruption(model, since.pop(model), state.known_at))
        elif model in served:
            since.setdefault(model, state.known_at)
    found += [Interruption(model, begun, None) for model, begun in since.items()]
    return sorted(found, key=lambda one: one.since)
