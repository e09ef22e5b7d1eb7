"""Whose fault a failure is. Pure.

A failure is first only a suspicion. The request is asked elsewhere: answered there, the failure was the first
replica's; failing alike there, it is the request's own, and nobody is struck. Requests on which engines died are
remembered by their digest and refused for a while: one that kills its engine is not carried round.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tieline.gateway.errors import Refusal
from tieline.gateway.requests.body import Request
from tieline.gateway.routing.route import Replica

# A request that killed engines is refused for so long.
REFUSE_S: Final = 300.0
MAX_REFUSED: Final = 4_096
# Deaths before a request is refused; one that was among several suspects counts as its share.
DEATHS: Final = 1.5
# Deaths of one replica within so long are one.
SAME_DEATH_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Strike:
    """A suspicion: this replica, or the request. `kind`: what is compared; `words`: what the engine said."""

    replica: Replica
    kind: str
    words: str = ""


def alike(strikes: list[Strike], strike: Strike) -> bool:
    """Did another replica fail on this request in the same way?"""
    return any(
        one.replica is not strike.replica and (one.kind, one.words) == (strike.kind, strike.words) for one in strikes
    )


def own_fault(strike: Strike) -> Refusal:
    """What a request hears that two replicas failed on alike."""
    if strike.words:
        return Refusal(400, strike.words, "engine_refused")
    why = f"two engines failed on this request alike: {strike.kind}"
    return Refusal(502, why, "engine_error", should_retry=False)


def killer() -> Refusal:
    """What a request hears that engines died on."""
    why = "engines died on this request; it is refused for some minutes"
    return Refusal(400, why, "request_rejected", should_retry=False)


# What is written anew for each engine.
_OURS: Final = frozenset({"model", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens"})


def digest(request: Request) -> bytes:
    """The same for the same request, whoever sends it."""
    made = hashlib.sha256(f"{request.kind} {request.model}".encode())
    for name in sorted(request.fields.keys() - _OURS):
        made.update(name.encode())
        made.update(memoryview(request.fields[name]))
    return made.digest()


class RefusedRequests:
    """Requests that killed engines, by digest; the oldest make room."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._suspects: dict[str, tuple[float, int]] = {}

    def add(self, request: Request, now: float) -> None:
        key = digest(request)
        self._until[key] = now + REFUSE_S
        self._until.move_to_end(key)
        while len(self._until) > MAX_REFUSED:
            self._until.popitem(last=False)

    def holds(self, request: Request, now: float) -> bool:
        """Is it refused? Costs nothing while nothing is."""
        if not self._until:
            return False
        until = self._until.get(digest(request))
        return until is not None and now < until

    def share(self, replica: str, suspects: int, now: float) -> float:
        """The part of a replica's death that is one suspect's, of so many that had no answer yet."""
        at, most = self._suspects.get(replica, (float("-inf"), 0))
        most = max(suspects, most) if now - at <= SAME_DEATH_S else suspects
        self._suspects[replica] = (now, most)
        return 1.0 / max(1, most)
