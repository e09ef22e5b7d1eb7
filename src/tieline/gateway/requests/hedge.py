"""Hedging: a first token that is late is asked of a second, idle replica; whoever has one first goes on.

Only for a share of requests, only beyond the 95th percentile of what this replica itself usually takes. The
loser is stopped at once. The request is billed once; both hops are in its record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from tieline.gateway.requests import resume
from tieline.gateway.requests.attempt import Leg

if TYPE_CHECKING:
    from tieline.gateway.requests.exchange import Exchange

# A 95th percentile of fewer first tokens than these says nothing.
MIN_SAMPLES: Final = 20
# Clock of the tick; a first token is never late before that.
MIN_WAIT_S: Final = 0.1
# Hedges that may be saved up.
MAX_SAVED: Final = 10.0


def p95(seconds: Iterable[float]) -> float | None:
    """The 95th percentile; None: too few to say."""
    known = sorted(seconds)
    return known[int(len(known) * 0.95)] if len(known) >= MIN_SAMPLES else None


class HedgeBudget:
    """So many hedges for so many requests."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.saved = 0.0
        self._seen = 0

    def refill(self, requests: int) -> None:
        """Told how many requests there have been in all."""
        self.saved = min(MAX_SAVED, self.saved + (requests - self._seen) * self.share)
        self._seen = requests

    def take(self) -> bool:
        if self.saved < 1.0:
            return False
        self.saved -= 1.0
        return True


def consider(ex: Exchange, now: float) -> None:
    """Ten times a second for a stream without a first token."""
    leg = ex.leg
    if (
        leg is None
        or leg.first_at is not None
        or leg.ended is not None
        or ex.moving is not None
        or ex.index is not None
    ):
        return
    waited = now - leg.started_at
    if waited < MIN_WAIT_S or ex.svc.hedges.saved < 1.0:
        return
    usual = p95(seconds for _, seconds in leg.backend.first_tokens)
    if usual is None or waited <= usual:
        return
    other = ex.svc.choose(ex.want, {leg.backend.id})
    if other is None or other.live or not ex.svc.hedges.take():
        return
    if ex.ids is not None and other.engine != leg.backend.engine:
        return
    body = ex.request.encode(ex.svc.own_name(ex.offer, other), ex.limit)
    if ex.ids is not None:
        body = ex.ids.ask(body)
    path = resume.PATHS[ex.request.kind]
    second = Leg(ex, other, other.head("POST", path, len(body), ex.id, ex.trace) + body)
    ex.moving, ex.hedging = second, True
    ex.svc.stats.hedged += 1
    second.start(ex.svc.settings.clocks.connect_s)


def drop(ex: Exchange) -> None:
    """The first replica was first after all."""
    second, ex.moving, ex.hedging = ex.moving, None, False
    if second is not None:
        ex.end_leg(second, "hedged")
