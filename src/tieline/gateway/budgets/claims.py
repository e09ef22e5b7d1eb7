"""One call, one bill, over all processes of a gateway: who makes the call of an Idempotency-Key. Pure.

The first process that claims a key makes its call; the others wait for its answer, which is kept here for a while.
A claim is its process's as long as that process's lease: it is free when the process joins again without it, or when
the lease is over. Whoever waited longest then makes the call anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tieline.gateway.budgets.recall import Say

# As long as a client's own retries last.
KEEP_S: Final = 600.0
MAX_CLAIMS: Final = 4_096
# One answer as it travels (base64), and all that are kept.
MAX_ANSWER: Final = 360_000
MAX_BYTES: Final = 64 * 2**20


@dataclass(slots=True)
class IdempotencyClaim:
    """A key that was used with one body. `owner` makes its call until `answer` is there."""

    digest: str
    at: float
    owner: str
    answer: dict[str, Any] | None = None
    size: int = 0
    waiting: list[tuple[str, int]] = field(default_factory=list)  # gateway, question; the oldest first


# Writes a claim down by its name, None: that it is over. Raises OSError where that is not possible.
KeepClaim = Callable[[str, "IdempotencyClaim | None"], None]


class Claims:
    """All claims of a coordinator. `keep`: where another may take its place, each is written down before it is told."""

    def __init__(self, keep: KeepClaim = lambda name, claim: None) -> None:
        self._keep = keep
        self.claims: dict[str, IdempotencyClaim] = {}  # the oldest first
        self.bytes = 0

    def asked(self, gateway: str, name: str, digest: str, number: int, now: float) -> list[Say]:
        """May this call be made? Answered now, or when the call that runs has ended."""
        self.sweep(now)
        claim = self.claims.get(name)
        if claim is None:
            if not self._room():
                return [Say(gateway, {"re": number, "claim": "busy"})]
            claim = IdempotencyClaim(digest, now, gateway)
            self._keep(name, claim)
            self.claims[name] = claim
            return [_yours(gateway, number, name, digest)]
        if claim.digest != digest:
            return [Say(gateway, {"re": number, "claim": "conflict"})]
        if claim.answer is not None:
            return [Say(gateway, {"re": number, "claim": "answered", **claim.answer})]
        claim.waiting.append((gateway, number))
        return []

    def ended(self, gateway: str, name: str, answer: dict[str, Any] | None, *, keep: bool) -> list[Say]:
        """Its call is over. `answer` None: there is none, so it may be made anew. `keep`: also for those who ask
        later; an error is for those who wait."""
        claim = self.claims.get(name)
        if claim is None or claim.owner != gateway or claim.answer is not None:
            return []  # its lease was over, and the call is another's
        if answer is None:
            return self._free(name)
        if keep:
            self._keep(name, IdempotencyClaim(claim.digest, claim.at, gateway, answer))
        says = [Say(one, {"re": number, "claim": "answered", **answer}) for one, number in claim.waiting]
        claim.waiting = []
        if keep:
            claim.answer, claim.size = answer, len(answer["text"])
            self.bytes += claim.size
            while self.bytes > MAX_BYTES:
                self._forget_oldest()
        else:
            self._over(name)
        return says

    def taken_over(self, name: str, claim: IdempotencyClaim) -> None:
        """As the coordinator before had written it down; its owner is to join again."""
        self.claims[name] = claim
        if claim.answer is not None:
            claim.size = len(claim.answer["text"])
            self.bytes += claim.size

    def joined(self, gateway: str, running: dict[str, str], now: float) -> list[Say]:
        """A gateway begins, or is back: these calls of its own still run, by name and digest."""
        self.left(gateway)
        says: list[Say] = []
        for name in [one for one, claim in self.claims.items() if self._runs(claim, gateway) and one not in running]:
            says += self._free(name)
        for name, digest in running.items():
            if name not in self.claims and self._room():
                self.claims[name] = IdempotencyClaim(digest, now, gateway)
                self._keep(name, self.claims[name])
        return says

    def left(self, gateway: str) -> None:
        """Its connection is gone: what it waits for it will ask again; what it makes may still run."""
        for claim in self.claims.values():
            claim.waiting = [one for one in claim.waiting if one[0] != gateway]

    def dropped(self, gateway: str) -> list[Say]:
        """Its lease is over."""
        return self.joined(gateway, {}, 0.0)

    def sweep(self, now: float) -> None:
        """Forget answers that are too old; a call that runs is never forgotten."""
        for name, claim in list(self.claims.items()):
            if now - claim.at <= KEEP_S:
                return
            if claim.answer is not None:
                self._forget(name)

    # --- within ------------------------------------------------------------------

    @staticmethod
    def _runs(claim: IdempotencyClaim, gateway: str) -> bool:
        return claim.owner == gateway and claim.answer is None

    def _free(self, name: str) -> list[Say]:
        """Nobody makes it now: the first who waits does."""
        claim = self.claims[name]
        if not claim.waiting:
            self._over(name)
            return []
        self._keep(name, IdempotencyClaim(claim.digest, claim.at, claim.waiting[0][0]))
        claim.owner, number = claim.waiting.pop(0)
        return [_yours(claim.owner, number, name, claim.digest)]

    def _room(self) -> bool:
        return len(self.claims) < MAX_CLAIMS or self._forget_oldest()

    def _forget_oldest(self) -> bool:
        for name, claim in self.claims.items():
            if claim.answer is not None:
                self._forget(name)
                return True
        return False

    def _forget(self, name: str) -> None:
        self.bytes -= self.claims[name].size
        self._over(name)

    def _over(self, name: str) -> None:
        del self.claims[name]
        self._keep(name, None)


def _yours(gateway: str, number: int, name: str, digest: str) -> Say:
    return Say(gateway, {"re": number, "claim": "yours", "name": name, "digest": digest})
