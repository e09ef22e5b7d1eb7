"""Hedging: a first token that is late is asked of a second, idle replica; whoever has one first goes on. Pure.

Only for a share of requests, only beyond the 95th percentile of what this replica itself usually takes. The
loser is stopped at once. The request is billed once; both hops are in its record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tieline.gateway.requests.attempt import Attempt
from tieline.gateway.requests.state import Phase, RequestState

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


def due(state: RequestState, attempt: Attempt, now: float) -> bool:
    """Is the first token of this attempt later than its replica's usually are?"""
    if state.phase is not Phase.CONNECTING or attempt.first_at is not None or state.index is not None:
        return False
    waited = now - attempt.started_at
    if waited < MIN_WAIT_S:
        return False
    usual = p95(seconds for _, seconds in attempt.backend.first_tokens)
    return usual is not None and waited > usual
