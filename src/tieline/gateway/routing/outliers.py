"""Replicas that are out of line with their peers: late with first tokens, or failing too often. Pure.

Peers are the replicas of the same models. A late one is scored by how much later it is, so that it gets what the
others cannot take; a failing one is left alone for a while. Both are judged by the latest minute only, so that
a replica which is spared is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Final

from tieline.gateway.routing.route import Replica, State

# Late: its median first token takes this many times its peers', and at least this much longer.
TIMES: Final = 3.0
LATER_S: Final = 0.05
MIN_FIRST_TOKENS: Final = 8
# Failing: at least so many of the latest answers did not come to their end there.
MIN_OUTCOMES: Final = 8
FAILING_SHARE: Final = 0.7
EJECT_S: Final = 10.0
# What is older says nothing of now.
RECENT_S: Final = 60.0


def judge(replicas: Iterable[Replica], now: float) -> None:
    """Once a second: demote the late, eject the failing, give the others back their standing."""
    groups: dict[frozenset[str], list[Replica]] = {}
    for replica in replicas:
        if replica.state is State.READY:
            groups.setdefault(replica.models, []).append(replica)
    for peers in groups.values():
        late = lateness(peers, now)
        for replica in peers:
            replica.demoted_s = late.get(replica.id, 0.0)
        for replica in failing(peers, now):
            replica.barred_until = now + EJECT_S
            replica.ejected_until = max(replica.ejected_until, replica.barred_until)
            replica.outcomes.clear()


def lateness(peers: Iterable[Replica], now: float) -> dict[str, float]:
    """Replicas that are late, and by how many seconds."""
    medians = {}
    for replica in peers:
        recent = [seconds for at, seconds in replica.first_tokens if now - at <= RECENT_S]
        if len(recent) >= MIN_FIRST_TOKENS:
            medians[replica.id] = median(recent)
    late = {}
    for name, own in medians.items():
        others = [value for other, value in medians.items() if other != name]
        usual = median(others) if others else own
        if own >= TIMES * usual and own - usual >= LATER_S:
            late[name] = own - usual
    return late


def failing(peers: list[Replica], now: float) -> list[Replica]:
    """Replicas to leave alone: the worst first, and never so many that fewer than half are left."""
    shares = []
    left = 0
    for replica in peers:
        left += replica.usable(now)
        recent = [well for at, well in replica.outcomes if now - at <= RECENT_S]
        if len(recent) >= MIN_OUTCOMES and recent.count(False) >= FAILING_SHARE * len(recent):
            shares.append((recent.count(False) / len(recent), replica))
    shares.sort(key=lambda pair: -pair[0])
    able = max(0, left - (len(peers) + 1) // 2)
    return [replica for _, replica in shares[:able]]
