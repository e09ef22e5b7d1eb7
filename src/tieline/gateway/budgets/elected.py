"""What an elected coordinator keeps in the store, so that the next one goes on from there.

By gateway what it may have spent at most, before more is granted; each call that is to be made once, before it may be
made, and its answer, before that is confirmed; once a second how full the limits are that fill again; and what was
changed at run time at any gateway. All of it is written under the coordinator's fence: one that was frozen and wakes up
grants and changes nothing.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tieline.gateway.budgets.claims import IdempotencyClaim
from tieline.gateway.budgets.coordinator import CoordinatorServer
from tieline.gateway.budgets.lease import GRACE_S, LEASE_S, Coordinator
from tieline.gateway.budgets.ordered import InForce, unpack
from tieline.gateway.budgets.remote import MAX_GATEWAYS
from tieline.store import StoreError
from tieline.store.lead.fence import Fence
from tieline.store.lead.kept import Kept

_MOST, _CALL, _USED = "budgets/most/", "budgets/call/", "budgets/used"
_CHANGES: Final = "changes"
# A gateway that runs is back within this; until then what it has is not known.
BACK_S: Final = 1.0


class _Call(msgspec.Struct, frozen=True):
    """A call as it is written down."""

    digest: str
    owner: str
    number: int
    answer: dict[str, Any] | None = None


_read_most = msgspec.json.Decoder(dict[str, int]).decode
_read_call = msgspec.json.Decoder(_Call).decode


class StoredBudgets:
    """Of one coordinator that leads. What cannot be written raises OSError, as a disk does."""

    def __init__(self, store: Kept, fence: Fence) -> None:
        self._kept, self._fence = store, fence
        self._most: dict[str, dict[str, int]] = {}
        self._number, self._used = 0, b""

    # --- what gateways may have spent -----------------------------------------------------

    def load(self) -> dict[str, dict[str, int]]:
        """Raises StoreError."""
        self._most = {gateway: _read_most(body) for gateway, body in self._kept.named(_MOST).items()}
        return self._most

    def keep(self, gateway: str, most: dict[str, int]) -> None:
        if self._most.get(gateway) == most:
            return
        if gateway not in self._most and len(self._most) >= MAX_GATEWAYS:
            raise OSError(f"{MAX_GATEWAYS} gateways are known already")
        self._put(_MOST + gateway, msgspec.json.encode(most))
        self._most[gateway] = most

    # --- calls that are made once ---------------------------------------------------------

    def calls(self, now: float) -> dict[str, IdempotencyClaim]:
        """The oldest first. Raises StoreError."""
        calls = {name: _read_call(body) for name, body in self._kept.named(_CALL).items()}
        self._number = max((one.number for one in calls.values()), default=0)
        ordered = sorted(calls.items(), key=lambda item: item[1].number)
        return {name: IdempotencyClaim(one.digest, now, one.owner, one.answer) for name, one in ordered}

    def keep_call(self, name: str, claim: IdempotencyClaim | None) -> None:
        if claim is None:
            try:
                self._kept.drop(_CALL + name, self._fence)
            except StoreError as error:
                raise OSError(str(error)) from error
            return
        self._number += 1
        self._put(_CALL + name, msgspec.json.encode(_Call(claim.digest, claim.owner, self._number, claim.answer)))

    # --- limits that fill again -----------------------------------------------------------

    def used(self) -> dict[str, int]:
        """What was used of them when the coordinator before wrote last. Raises StoreError."""
        body = self._kept.read(_USED).body
        return _read_most(body) if body else {}

    def keep_used(self, coordinator: Coordinator) -> None:
        changed = {
            name: account.durable.get("", 0) + sum(account.leased.values())
            for name, account in coordinator.accounts.items()
            if account.drains
        }
        body = msgspec.json.encode({name: used for name, used in changed.items() if used})
        if body != self._used:
            self._put(_USED, body)
            self._used = body

    # --- what was changed at run time -----------------------------------------------------

    def changes(self) -> InForce:
        """Raises StoreError, SettingsError."""
        body = self._kept.read(_CHANGES).body
        return unpack(body) if body else InForce()

    def keep_changes(self, body: bytes) -> None:
        self._put(_CHANGES, body)

    def _put(self, name: str, body: bytes) -> None:
        try:
            self._kept.put(name, body, self._fence)
        except StoreError as error:
            raise OSError(str(error)) from error


def take_over(stored: StoredBudgets, coordinator: Coordinator, now: float) -> CoordinatorServer:
    """A coordinator that goes on from what the one before had written down. Raises StoreError."""
    server = CoordinatorServer(coordinator, lambda gateway: None, stored, stored.keep_call)
    for gateway in stored.load():  # what they may have spent is taken in when it listens
        server.awaited[gateway] = now + BACK_S
    for name, claim in stored.calls(now).items():
        server.claims.taken_over(name, claim)
        if claim.answer is None:
            server.owners[claim.owner] = now + LEASE_S + GRACE_S
    for name, used in stored.used().items():
        account = coordinator.account(name)
        if account is not None and account.drains:
            account.at = now
            account.use(used)
    return server
