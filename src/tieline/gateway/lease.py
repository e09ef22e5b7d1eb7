"""Budgets shared by several gateway processes: who may spend how much of what. Pure.

A budget is cut into slices. A gateway admits from its slices in memory and asks only when they are too small.
For every budget, always:  durable + sum of granted slices <= limit,  where `durable` is what gateways had
written to disk before they joined or when they died, and a slice is all that a living gateway was ever given
and has not given back. Since no gateway spends beyond its slice, no budget is overshot. That none is refused
falsely is the business of `rounds`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# A gateway renews once a second; it stops admitting when LEASE_S passed without an answer, and the
# coordinator frees its slices GRACE_S later, so that the two clocks never both own a slice. 10 s together.
LEASE_S: Final = 6.0
GRACE_S: Final = 3.0
RENEW_EVERY_S: Final = 1.0
# What is granted beyond the need, as a share of what is left: at 1/8 ten gateways leave a quarter unsliced.
EXTRA_SHARE: Final = 8


@dataclass(slots=True)
class Account:
    """One budget in one period."""

    limit: int
    durable: dict[str, int] = field(default_factory=dict)  # gateway -> spent and on disk, slices aside
    slices: dict[str, int] = field(default_factory=dict)  # living gateway -> granted and not given back

    @property
    def free(self) -> int:
        return self.limit - sum(self.durable.values()) - sum(self.slices.values())


@dataclass(slots=True)
class Member:
    fence: int
    expires: float


@dataclass(frozen=True, slots=True)
class Granted:
    """`amount` in each of the budgets asked for, and with it what each slice grows by beyond that."""

    amount: int
    extras: dict[str, int]


@dataclass(frozen=True, slots=True)
class Lacking:
    """Not enough is free in these budgets; what their members have not spent may make it enough."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fenced:
    """The asker's lease is over: join again."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A budget that the coordinator has not been told of, or not yet."""


class Coordinator:
    """All budgets. `limits` by scope; an account's name is `scope|period`."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits
        self.accounts: dict[str, Account] = {}
        self.members: dict[str, Member] = {}
        self._fence = 0

    def account(self, name: str) -> Account | None:
        found = self.accounts.get(name)
        if found is None:
            limit = self.limits.get(name.partition("|")[0])
            if limit is None:
                return None
            found = self.accounts[name] = Account(limit)
        return found

    def set_limits(self, limits: dict[str, int]) -> None:
        """Budgets as they are from now on; one that is lowered below what is spent grants nothing more."""
        self.limits = limits
        for name, account in self.accounts.items():
            account.limit = limits.get(name.partition("|")[0], account.limit)

    def known(self, gateway: str, totals: dict[str, int]) -> None:
        """What a gateway that is not a member has on disk."""
        for name, value in totals.items():
            account = self.account(name)
            if account is not None:
                account.durable[gateway] = value

    def join(self, gateway: str, totals: dict[str, int], now: float, claims: dict[str, int] | None = None) -> int:
        """A gateway begins, with what its disk says; any earlier self of it is over. `claims` is what it had
        reserved as that self and will still settle. Returns its fence."""
        self.drop(gateway, totals)
        for name, amount in (claims or {}).items():
            account = self.account(name)
            if account is not None and amount > 0:
                account.slices[gateway] = amount
        self._fence += 1
        self.members[gateway] = Member(self._fence, now + LEASE_S)
        return self._fence

    def renew(self, gateway: str, fence: int, now: float) -> bool:
        member = self.members.get(gateway)
        if member is None or member.fence != fence:
            return False
        member.expires = now + LEASE_S
        return True

    def ask(
        self, gateway: str, fence: int, names: tuple[str, ...], least: int, most: int, now: float, *, extra: int
    ) -> Granted | Lacking | Fenced | Unknown:
        """`most` in all of these budgets, else what all of them still have if that is `least`; or which lacks.
        `extra`: by how much the slices may grow beyond the need, so that the next requests need not ask."""
        if not self.renew(gateway, fence, now):
            return Fenced()
        accounts = [(name, account) for name in names if (account := self.account(name)) is not None]
        if len(accounts) < len(names):
            return Unknown()
        lacking = tuple(name for name, account in accounts if account.free < least)
        if lacking:
            return Lacking(lacking)
        amount = min((most, *(account.free for _, account in accounts)))
        extras = {}
        for name, account in accounts:
            more = min(extra, (account.free - amount) // EXTRA_SHARE)
            extras[name] = more
            account.slices[gateway] = account.slices.get(gateway, 0) + amount + more
        return Granted(amount, extras)

    def most(self, gateway: str) -> dict[str, int]:
        """What it may have spent at most, by budget."""
        found = {}
        for name, account in self.accounts.items():
            amount = account.durable.get(gateway, 0) + account.slices.get(gateway, 0)
            if amount:
                found[name] = amount
        return found

    def holders(self, name: str) -> tuple[str, ...]:
        """Who has a slice of this budget."""
        account = self.accounts.get(name)
        return () if account is None else tuple(one for one, held in account.slices.items() if held > 0)

    def give_back(self, gateway: str, fence: int, amounts: dict[str, int]) -> None:
        """What a member has not spent and will not."""
        member = self.members.get(gateway)
        if member is None or member.fence != fence:
            return
        for name, amount in amounts.items():
            account = self.accounts.get(name)
            if account is not None and amount > 0:
                assert account.slices.get(gateway, 0) >= amount
                account.slices[gateway] -= amount

    def lapsed(self, now: float) -> list[str]:
        """Members whose lease and grace are over; each is to be dropped with what its disk says."""
        return [one for one, member in self.members.items() if now >= member.expires + GRACE_S]

    def drop(self, gateway: str, totals: dict[str, int] | None) -> None:
        """A member is over. `totals` None: its disk cannot be read, so all it was given counts as spent."""
        self.members.pop(gateway, None)
        for account in self.accounts.values():
            held = account.slices.pop(gateway, 0)
            if totals is None and held:
                account.durable[gateway] = account.durable.get(gateway, 0) + held
        if totals is not None:
            self.known(gateway, totals)
