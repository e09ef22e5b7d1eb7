"""Replicas for tenants in poor standing: few, always the same, and the last that others are sent to. Pure.

The peers of a model share its work; where one tenant's requests hold engines up or kill them, they do so on one replica
in four, at least one, while all others serve everybody else. Nothing is set apart where a model has only one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tieline.gateway.routing.route import Replica, State

ONE_IN: Final = 4
# How much later than its peers a replica that is set apart counts for others.
ASIDE_S: Final = 5.0
_AWAY: Final = (State.DOWN, State.STARTING)


def chosen(replicas: Iterable[Replica], before: frozenset[str]) -> frozenset[str]:
    """Which are set apart. Those of `before` stay, also while they start anew after a death: what killed one would go
    on to the next."""
    groups: dict[frozenset[str], list[Replica]] = {}
    for one in replicas:
        if one.models and one.state is not State.DOWN:
            groups.setdefault(one.models, []).append(one)
    names: list[str] = []
    for peers in groups.values():
        if len(peers) < 2:
            continue
        count = max(1, len(peers) // ONE_IN)
        peers.sort(key=lambda one: (one.id not in before, one.state in _AWAY, bool(one.renter), one.id))
        names += [one.id for one in peers[:count]]
    return frozenset(names)


def elsewhere(replicas: Iterable[Replica], apart: frozenset[str], regions: frozenset[str]) -> frozenset[str]:
    """Where a tenant in poor standing may not go: to all others that serve what those do, if some of those are in its
    regions."""
    known = list(replicas)
    models = {one.models for one in known if one.id in apart and (not regions or one.region in regions)}
    return frozenset(one.id for one in known if one.models in models and one.id not in apart)
