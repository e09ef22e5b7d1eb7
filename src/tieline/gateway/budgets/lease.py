"""Budgets shared by several gateway processes: who may spend how much of what. Pure.

A budget is leased in shares. A gateway admits from its shares in memory and asks only when they are too small.
For every budget, always:  durable + sum of granted shares <= limit,  where `durable` is what gateways had
written to disk before they joined or when they died, and a share is all that a living gateway was ever given
and has not given back. Since no gateway spends beyond its share, no budget is overshot. That none is refused
falsely is the business of `recall`.

Limits are shared as budgets are, an account each, named `scope|limit`. Of these a request takes 1: a slot, which comes
back when it ends; a request, a token, which come back with time: `durable` drains by the limit a minute, as a bucket
fills, and what a gateway has used leaves its share for it when that tells (once a second, and before it asks).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# A gateway renews once a second; it stops admitting when LEASE_S passed without an answer, and the
# coordinator frees its shares GRACE_S later, so that the two clocks never both own a share. 10 s together.
LEASE_S: Final = 6.0
GRACE_S: Final = 3.0
RENEW_EVERY_S: Final = 1.0
# What is granted beyond the need, as a share of what is left: at 1/8 ten gateways leave a quarter unsliced.
EXTRA_SHARE: Final = 8
CONCURRENT: Final = "concurrent"
REQUESTS: Final = "requests"
TOKENS: Final = "tokens"
# What no gateway has in its share any more.
_USED: Final = ""


def limited(name: str) -> str:
    """Which limit an account is of; "": it is a budget."""
    kind = name.rpartition("|")[2]
    return kind if kind in (CONCURRENT, REQUESTS, TOKENS) else ""


@dataclass(slots=True)
class LeaseAccount:
    """One budget in one period, or one limit."""

    limit: int
    drains: bool = False  # by its limit a minute
    at: float = 0.0
    durable: dict[str, int] = field(default_factory=dict)  # gateway -> spent and on disk, shares aside
    leased: dict[str, int] = field(default_factory=dict)  # living gateway -> granted and not given back

    @property
    def free(self) -> int:
        return self.limit - sum(self.durable.values()) - sum(self.leased.values())

    def drain(self, now: float) -> None:
        """What was used comes back with time, in whole units."""
        if not self.drains:
            return
        used = self.durable.get(_USED, 0)
        back = int((now - self.at) * self.limit / 60.0)
        if back >= used:
            self.durable[_USED], self.at = 0, now
        elif back > 0:
            self.durable[_USED] = used - back
            self.at += back * 60.0 / self.limit

    def use(self, amount: int) -> None:
        self.durable[_USED] = self.durable.get(_USED, 0) + amount


@dataclass(slots=True)
class Member:
    fence: int
    expires: float


@dataclass(frozen=True, slots=True)
class Granted:
    """`amount` in each of the budgets asked for, and with it what each share grows by beyond that."""

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
        self.accounts: dict[str, LeaseAccount] = {}
        self.members: dict[str, Member] = {}
        self._fence = 0

    def account(self, name: str) -> LeaseAccount | None:
        account = self.accounts.get(name)
        if account is None:
            kind = limited(name)
            limit = self.limits.get(name if kind else name.partition("|")[0])
            if limit is None:
                return None
            account = self.accounts[name] = LeaseAccount(limit, drains=kind in (REQUESTS, TOKENS))
        return account

    def set_limits(self, limits: dict[str, int]) -> None:
        """Budgets as they are from now on; one that is lowered below what is spent grants nothing more."""
        self.limits = limits
        for name, account in self.accounts.items():
            account.limit = limits.get(name if limited(name) else name.partition("|")[0], account.limit)

    def known(self, gateway: str, totals: dict[str, int]) -> None:
        """All that a gateway that is not a member has on disk: where that names nothing, it has spent nothing, whatever
        it was once given and never settled."""
        for name in self.accounts.keys() - totals.keys():
            self.accounts[name].durable.pop(gateway, None)
        for name, value in totals.items():
            account = self.account(name)
            if account is not None:
                account.durable[gateway] = value

    def join(self, gateway: str, totals: dict[str, int], now: float, claims: dict[str, int] | None = None) -> int:
        """A gateway begins, with what its disk says; any earlier self of it is over. `claims` is what it had
        reserved as that self and will still settle, and has in its shares of what drains. Returns its fence."""
        self.drop(gateway, totals, now)
        for name, amount in (claims or {}).items():
            account = self.account(name)
            if account is not None and amount > 0:
                account.leased[gateway] = amount
                if account.drains:  # it was taken for used a moment ago
                    account.use(-min(amount, account.durable.get(_USED, 0)))
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
        self,
        gateway: str,
        fence: int,
        names: tuple[str, ...],
        least: int,
        most: int,
        now: float,
        *,
        extra: int,
        calm: bool = False,
    ) -> Granted | Lacking | Fenced | Unknown:
        """`most` in all of these budgets, else what all of them still have if that is `least`; or which lacks. Of a
        limit it is 1. `extra`: by how much shares may grow beyond the need, so that the next requests need not ask;
        those of limits only if `calm`, and to a share of the limit."""
        if not self.renew(gateway, fence, now):
            return Fenced()
        accounts = [(name, account) for name in names if (account := self.account(name)) is not None]
        if len(accounts) < len(names):
            return Unknown()
        for _, account in accounts:
            account.drain(now)
        lacking = tuple(name for name, account in accounts if account.free < (1 if limited(name) else least))
        if lacking:
            return Lacking(lacking)
        amount = min((most, *(account.free for name, account in accounts if not limited(name))))
        extras = {}
        for name, account in accounts:
            held, need, most_more = account.leased.get(gateway, 0), amount, extra
            if limited(name):
                need, most_more = 1, max(0, account.limit // EXTRA_SHARE - held) if calm else 0
            more = min(most_more, (account.free - need) // EXTRA_SHARE)
            extras[name] = more
            account.leased[gateway] = held + need + more
        return Granted(amount, extras)

    def used(self, gateway: str, fence: int, amounts: dict[str, tuple[int, int]], now: float) -> None:
        """What a member has used of what drains, and how much of that was in its share."""
        member = self.members.get(gateway)
        if member is None or member.fence != fence:
            return
        for name, (amount, sliced) in amounts.items():
            account = self.accounts.get(name)
            if account is not None and account.drains and amount >= 0:
                account.drain(now)
                account.leased[gateway] = max(0, account.leased.get(gateway, 0) - sliced)
                account.use(amount)

    def wait_s(self, name: str) -> float:
        """Until one more of a limit may be there."""
        account = self.accounts.get(name)
        if account is None or not account.drains:
            return 1.0
        return max(1.0, (1 - account.limit + account.durable.get(_USED, 0)) * 60.0 / account.limit)

    def most(self, gateway: str) -> dict[str, int]:
        """What it may have spent at most, by budget."""
        most = {}
        for name, account in self.accounts.items():
            amount = account.durable.get(gateway, 0) + account.leased.get(gateway, 0)
            if amount and not limited(name):
                most[name] = amount
        return most

    def holders(self, name: str) -> tuple[str, ...]:
        """Who has a share of this budget."""
        account = self.accounts.get(name)
        return () if account is None else tuple(one for one, held in account.leased.items() if held > 0)

    def give_back(self, gateway: str, fence: int, amounts: dict[str, int]) -> None:
        """What a member has not spent and will not."""
        member = self.members.get(gateway)
        if member is None or member.fence != fence:
            return
        for name, amount in amounts.items():
            account = self.accounts.get(name)
            if account is not None and amount > 0:
                assert account.leased.get(gateway, 0) >= amount
                account.leased[gateway] -= amount

    def free_slots(self, gateway: str) -> None:
        """It is gone for all that can be seen: what it ran runs no more. All else that it was given stays so until its
        lease is over, or it joins again, which says how many slots it does hold."""
        for name, account in self.accounts.items():
            if limited(name) == CONCURRENT:
                account.leased.pop(gateway, None)

    def lapsed(self, now: float) -> list[str]:
        """Members whose lease and grace are over; each is to be dropped with what its disk says."""
        return [one for one, member in self.members.items() if now >= member.expires + GRACE_S]

    def drop(self, gateway: str, totals: dict[str, int] | None, now: float) -> None:
        """A member is over. `totals` None: its disk cannot be read, so all it was given counts as spent."""
        self.members.pop(gateway, None)
        for name, account in self.accounts.items():
            held = account.leased.pop(gateway, 0)
            if account.drains:
                account.drain(now)
                account.use(held)  # it may have been
            elif totals is None and held and not limited(name):
                account.durable[gateway] = account.durable.get(gateway, 0) + held
        if totals is not None:
            self.known(gateway, totals)
