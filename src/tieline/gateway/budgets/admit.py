"""Admission: who asks, may they, can they pay. Pure: told the time, touches memory only.

A key is found by the SHA-256 digest of what was presented: the lookup's timing depends on a hash nobody can
steer, never on the secret. A request holds a Ticket from admission to settlement; the ticket's maximum cost
stays reserved in the budgets of its key, project and tenant until it is settled at what was delivered.
Money is integer nano-dollars.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec

from tieline.gateway import errors
from tieline.gateway.budgets.lease import CONCURRENT, REQUESTS, TOKENS
from tieline.gateway.errors import Refusal
from tieline.gateway.settings import PATIENCE_S, Key, Limits, ModelOffer, Settings, Tenant, Unit

OPEN_TENANT = "local"
_LEFT = b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%.3fs\r\n"
_REQUESTS_LEFT = _LEFT % ((REQUESTS.encode(),) * 3)
_TOKENS_LEFT = _LEFT % ((TOKENS.encode(),) * 3)


@dataclass(slots=True)
class TokenBucket:
    """A token bucket over one minute; it may go below zero when more was used than asked for."""

    per_minute: int
    level: float
    at: float

    def refill(self, now: float) -> None:
        if now > self.at:
            self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / 60.0)
            self.at = now

    def wait_s(self, amount: float, now: float) -> float:
        """0 where `amount` may be taken, else seconds until it may."""
        self.refill(now)
        return 0.0 if self.level >= amount else (amount - self.level) * 60.0 / self.per_minute

    def left(self) -> tuple[int, int, float]:
        """(a minute's worth, what may be taken now, seconds until it is full again)."""
        level, full = self.level, self.per_minute
        return full, int(level) if level > 0.0 else 0, (full - level) * 60.0 / full


@dataclass(slots=True)
class LocalBudget:
    """What one scope may still spend here. `granted` is the whole budget, or the shares a coordinator leased."""

    granted: int
    settled: int = 0
    reserved: int = 0
    leased: bool = False
    expires: float = float("-inf")  # of the lease, by the local clock; past it nothing is admitted
    tight_until: float = float("-inf")  # until then only what was granted for a request is admitted

    @property
    def free(self) -> int:
        return self.granted - self.settled - self.reserved

    def covers(self, cost: int, granted: int, now: float) -> bool:
        """May a leased budget take this on? `granted`: of it, what was leased for this very request."""
        return now < self.expires and self.free >= cost and (now >= self.tight_until or cost <= granted)


def shared_limits(limits: Limits) -> dict[str, int]:
    """What a coordinator shares out besides the budget."""
    rpm, tpm = limits.requests_per_minute, limits.tokens_per_minute
    given = {CONCURRENT: limits.concurrent, REQUESTS: rpm, TOKENS: tpm}
    return {kind: limit for kind, limit in given.items() if limit is not None}


@dataclass(slots=True)
class Share:
    """What this process has leased of one limit. Slots are reserved while a request runs, the others are used."""

    scope: str
    kind: str
    limit: int
    budget: LocalBudget
    refused_until: float = float("-inf")  # the coordinator has just said no
    wait_s: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.scope}|{self.kind}"

    def lacks(self, now: float, granted: int | None) -> bool:
        """Is there nothing left of it? `granted`: a request is there for which something was just leased."""
        if granted is None:
            return self.budget.free < 1 or now < self.budget.tight_until
        # Tokens are counted when they are there, so that others may have used what was just granted.
        return self.budget.free < 1 and self.kind != TOKENS

    def refusal(self) -> Refusal:
        if self.kind == CONCURRENT:
            return errors.too_many(self.scope, self.limit)
        return errors.too_fast(self.scope, self.kind, self.wait_s)


@dataclass(slots=True)
class Scope:
    """A tenant, a project or a key: each may limit."""

    id: str
    requests: TokenBucket | None = None
    tokens: TokenBucket | None = None
    concurrent: int | None = None
    budget: LocalBudget | None = None
    period: str = "month"
    live: set[int] = field(default_factory=set)
    shares: tuple[Share, ...] = ()  # of the first three, where a coordinator shares them out

    @classmethod
    def of(cls, id_: str, limits: Limits, leased: bool, at: float) -> Scope:
        rpm, tpm, budget = limits.requests_per_minute, limits.tokens_per_minute, limits.budget_nano_usd
        shares = shared_limits(limits).items() if leased else ()
        return cls(
            id_,
            None if rpm is None else TokenBucket(rpm, float(rpm), at),
            None if tpm is None else TokenBucket(tpm, float(tpm), at),
            limits.concurrent,
            None if budget is None else LocalBudget(0 if leased else budget, leased=leased),
            limits.budget_period,
            shares=tuple(Share(id_, kind, limit, LocalBudget(0, leased=True)) for kind, limit in shares),
        )

    @property
    def limiting(self) -> bool:
        """Is there anything that it limits?"""
        return not (self.requests is None and self.tokens is None and self.concurrent is None and self.budget is None)

    @property
    def rated(self) -> bool:
        """Has it a limit per minute that is counted here?"""
        return not self.shares and not (self.requests is None and self.tokens is None)

    def hold(self, number: int, cost: int) -> None:
        """A request was admitted."""
        self.live.add(number)
        if self.requests is not None:
            self.requests.level -= 1.0
        if self.budget is not None:
            self.budget.reserved += cost
        for share in self.shares:
            if share.kind == CONCURRENT:
                share.budget.reserved += 1
            elif share.kind == REQUESTS:
                share.budget.settled += 1


@dataclass(slots=True)
class KeyAccount:
    """A key as admission sees it: its scopes from the narrowest out."""

    key: Key
    tenant: Tenant
    scopes: tuple[Scope, ...]
    limited: bool
    models: frozenset[str]
    regions: frozenset[str]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    budgets: tuple[Scope, ...]
    shares: tuple[Share, ...] = ()
    patience_s: float = 0.0  # beyond the standard latency class
    barred: frozenset[str] = frozenset()  # replicas above the tenant's price ceiling now
    rated: bool = False  # it has limits per minute that are counted here


class Ticket(msgspec.Struct):
    """What a request holds while it runs. Settling or dropping it twice is settling it once."""

    number: int
    account: KeyAccount
    reserved: int
    open: bool = True


@dataclass(frozen=True, slots=True)
class Short:
    """The local shares do not cover it: `least` at least is needed in each of these budgets, `most` at most, and 1 of
    each of these limits."""

    names: tuple[str, ...]
    least: int
    most: int


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What a request may cost at most."""

    prompt_bound: int
    max_output: int | None
    choices: int = 1
    unit: Unit = ""


class Admitted(msgspec.Struct, frozen=True):
    ticket: Ticket
    max_output: int


def _having_limits(scopes: dict[str, Limits]) -> dict[str, Limits]:
    return {id_: limits for id_, limits in scopes.items() if limits != Limits()}


class KeyAccounts:
    """All accounts of this process, by key digest."""

    def __init__(self, settings: Settings, *, leased: bool = False, at: float = 0.0) -> None:
        """`at`: now, by the clock that `admit` is told; buckets are full then."""
        self.scopes: dict[str, Scope] = {}
        self.by_digest: dict[bytes, KeyAccount] = {}
        self.leased = leased
        self._next = 0
        self._names: dict[str, str] = {}
        self._before: dict[str, Limits] = {}
        self._at = at
        self.live: dict[int, Ticket] = {}
        self.today = datetime.min.replace(tzinfo=UTC)
        self.open: KeyAccount | None = None
        self.adopt(settings, {}, at)

    def adopt(self, settings: Settings, totals: dict[str, int], at: float) -> bool:
        """Keys and limits as they are from now on; returns whether any limit is another. What runs goes on under what
        it was admitted by. `totals`: what was spent under the names of budgets that are new here."""
        before, self._before, self._at = self._before, {}, at
        tenants = {tenant.id: tenant for tenant in settings.tenants}
        for tenant in settings.tenants:
            self._scope(f"tenant:{tenant.id}", tenant.limits, before, totals)
            for project in tenant.projects:
                self._scope(f"project:{tenant.id}/{project.id}", project.limits, before, totals)
        for key in settings.keys:
            self._scope(f"key:{key.id}", key.limits, before, totals)
        self.by_digest = {}
        for key in settings.keys:
            account = self.by_digest[bytes.fromhex(key.sha256)] = self._account(key, tenants[key.tenant])
            for former in key.former:  # the same account, for a while
                until = former.until if key.expires is None else min(former.until, key.expires)
                old = msgspec.structs.replace(key, expires=until)
                self.by_digest[bytes.fromhex(former.sha256)] = replace(account, key=old, limited=True)
        self.open = None
        if not settings.keys:
            anyone = Key(id="open", sha256="0" * 64, tenant=OPEN_TENANT)
            self._scope("key:open", Limits(), before, totals)
            self.open = self._account(anyone, tenants.get(OPEN_TENANT, Tenant(id=OPEN_TENANT)))
        return _having_limits(before) != _having_limits(self._before)

    def _scope(self, id_: str, limits: Limits, before: dict[str, Limits], totals: dict[str, int]) -> None:
        """The scope as it is from now on: the same object, since what runs holds it."""
        self._before[id_] = limits
        old = self.scopes.get(id_)
        if old is not None and before.get(id_) == limits:
            return
        new = Scope.of(id_, limits, self.leased, self._at)
        self.scopes[id_] = new if old is None else old
        scope = self.scopes[id_]
        had = old.budget if old is not None and old.period == new.period else None
        scope.requests, scope.tokens = new.requests, new.tokens
        scope.concurrent, scope.period = new.concurrent, new.period
        if old is not None:
            scope.shares = tuple(self._go_on(scope, share) for share in new.shares)
        if new.budget is None or had is None:
            scope.budget = new.budget
        elif not had.leased:
            had.granted = new.budget.granted
        self._names[id_] = self._name(scope)
        if scope.budget is not None and scope.budget is not had:
            self._fill(scope, scope.budget, totals)

    def _fill(self, scope: Scope, budget: LocalBudget, totals: dict[str, int]) -> None:
        """A budget that is new, with what is reserved and spent already."""
        budget.reserved = sum(one.reserved for one in self.live.values() if scope in one.account.scopes)
        if budget.leased:
            budget.granted = budget.reserved
        else:
            budget.settled = totals.get(self._names[scope.id], 0)

    def _go_on(self, scope: Scope, new: Share) -> Share:
        """A limit that is changed or new, with what its scope holds of it."""
        had = next((one.budget for one in scope.shares if one.kind == new.kind), None)
        if had is not None:
            new.budget = had
        elif new.kind == CONCURRENT:
            new.budget.reserved = new.budget.granted = len(scope.live)
        return new

    def _account(self, key: Key, tenant: Tenant) -> KeyAccount:
        ids = (f"key:{key.id}", f"project:{tenant.id}/{key.project}", f"tenant:{tenant.id}")
        limiting = tuple(self.scopes[one] for one in ids if one in self.scopes and self.scopes[one].limiting)
        return KeyAccount(
            key,
            tenant,
            limiting,
            bool(limiting) or key.expires is not None or bool(key.networks),
            frozenset(key.models),
            _regions(key, tenant),
            tuple(ipaddress.ip_network(one, strict=False) for one in key.networks),
            tuple(s for s in limiting if s.budget is not None),
            tuple(share for s in limiting for share in s.shares),
            PATIENCE_S[tenant.latency_class] - PATIENCE_S["standard"],
            rated=any(s.rated for s in limiting),
        )

    # --- who ---------------------------------------------------------------

    def identify(self, authorization: bytes | None, peer: str, now: datetime) -> KeyAccount | Refusal:
        """The account behind an Authorization header."""
        if authorization is None:
            if self.open is not None:
                return self.open
            return Refusal(401, "give your key as 'Authorization: Bearer <key>'", "missing_api_key")
        if authorization[:7].lower() != b"bearer ":
            return Refusal(401, "the Authorization header must be 'Bearer <key>'", "invalid_api_key")
        account = self.by_digest.get(hashlib.sha256(authorization[7:].strip()).digest())
        if account is None:
            if self.open is not None:  # clients insist on sending some key; an open door takes any
                return self.open
            return Refusal(401, "the key is not valid here", "invalid_api_key")
        if account.key.expires is not None and now >= account.key.expires:
            return Refusal(401, "the key has expired", "expired_api_key")
        if account.tenant.disabled:
            return Refusal(403, f"tenant {account.tenant.id!r} is disabled", "tenant_disabled")
        if account.networks and not _inside(peer, account.networks):
            return Refusal(403, "the key may not be used from this address", "address_not_allowed")
        return account

    def tenant_of(self, authorization: bytes | None) -> str:
        """Whose key that is, whether or not it is good for anything now; "": nobody's."""
        shown = b"" if authorization is None else authorization[7:].strip()
        account = self.by_digest.get(hashlib.sha256(shown).digest())
        return "" if account is None else account.tenant.id

    # --- may they, can they pay --------------------------------------------

    def admit(
        self, account: KeyAccount, model: ModelOffer, ask: Ask, now: float, granted: int | None = None
    ) -> Admitted | Short | Refusal:
        """Reserve the request's maximum in every budget, or say why not. All or nothing.

        `granted`: what the coordinator has just granted for this very request."""
        if account.models and model.name not in account.models:
            return errors.unknown_model(model.name)
        if model.unit != ask.unit and (model.unit or model.input_nano or model.output_nano):
            return errors.other_unit(model.name, model.unit)
        scopes = account.scopes
        refusal = _limited(scopes, now) if scopes else None
        if refusal is not None:
            return refusal
        wanted = model.max_output_tokens if ask.max_output is None else ask.max_output
        least = cost = 0
        if account.budgets:
            if ask.max_output is None and (granted or not self.leased):
                wanted = _affordable(account, model, ask, wanted, granted)
            prompt_cost, per_output = _prices(model, ask)
            cost = prompt_cost + wanted * per_output
            least = cost if ask.max_output is not None else prompt_cost + min(wanted, 1) * per_output
        if account.budgets or account.shares:
            short = self._short(account, least, cost, now, granted)
            if short is not None:
                return short
        self._next += 1
        ticket = Ticket(self._next, account, cost)
        for scope in scopes:
            scope.hold(ticket.number, cost)
        self.live[ticket.number] = ticket
        return Admitted(ticket, wanted)

    def _short(
        self, account: KeyAccount, least: int, cost: int, now: float, granted: int | None
    ) -> Short | Refusal | None:
        short = False
        for share in account.shares:
            lacks = share.lacks(now, granted)
            if lacks and granted is None and now < share.refused_until:
                return share.refusal()
            short = short or lacks or now >= share.budget.expires
        for scope in account.budgets:
            budget = scope.budget
            assert budget is not None
            if budget.leased:
                short = short or not budget.covers(cost, granted or 0, now)
            elif budget.free < cost:
                return errors.spent(scope.id)
        return Short(self._shared_names(account), least, cost) if short else None

    def _shared_names(self, account: KeyAccount) -> tuple[str, ...]:
        """Budgets and limits that a coordinator shares out, by the names that it knows them by."""
        return (*map(self.total_name, account.budgets), *(share.name for share in account.shares))

    # --- afterwards --------------------------------------------------------

    def settle(self, ticket: Ticket, cost: int, tokens: int) -> None:
        """Give the reservation back and book what was delivered. An engine cannot make a request cost more
        than was reserved: the rest is the operator's."""
        if not ticket.open:
            return
        ticket.open = False
        del self.live[ticket.number]
        for scope in ticket.account.scopes:
            scope.live.discard(ticket.number)
            if scope.tokens is not None:
                scope.tokens.level -= tokens
            if scope.budget is not None:
                scope.budget.reserved -= ticket.reserved
                scope.budget.settled += min(cost, ticket.reserved)
            for share in scope.shares:
                if share.kind == CONCURRENT:
                    share.budget.reserved -= 1
                elif share.kind == TOKENS:
                    share.budget.settled += tokens

    # --- the budgets' calendar --------------------------------------------

    def turn(self, now: datetime, totals: dict[str, int]) -> None:
        """Begin the period that `now` falls in: what was spent in it before, by the names below."""
        self.today = now
        self._names = {id_: self._name(scope) for id_, scope in self.scopes.items()}
        for scope in self.scopes.values():
            if scope.budget is not None and not scope.budget.leased:
                scope.budget.settled = totals.get(self.total_name(scope), 0)

    def _name(self, scope: Scope) -> str:
        today = self.today
        period = {"day": f"{today:%Y-%m-%d}", "month": f"{today:%Y-%m}", "total": "all"}[scope.period]
        return f"{scope.id}|{period}"

    def turned(self, now: datetime) -> bool:
        """Has a day begun since the last `turn`?"""
        return now.date() != self.today.date()

    def total_name(self, scope: Scope) -> str:
        """What a scope's spending in the current period is summed under."""
        return self._names[scope.id]

    def total_names(self, tenant: str, project: str, key_id: str) -> list[str]:
        """The same for a record of usage: the budgets it counts against."""
        ids = (f"key:{key_id}", f"project:{tenant}/{project}", f"tenant:{tenant}")
        scopes = (self.scopes.get(one) for one in ids)
        return [self.total_name(scope) for scope in scopes if scope is not None and scope.budget is not None]


def _regions(key: Key, tenant: Tenant) -> frozenset[str]:
    """Where both allow it; empty: anywhere."""
    if key.regions and tenant.regions:
        return frozenset(key.regions) & frozenset(tenant.regions)
    return frozenset(key.regions or tenant.regions)


def _limited(scopes: tuple[Scope, ...], now: float) -> Refusal | None:
    """Which limit is reached, of those that are counted here."""
    for scope in scopes:
        if scope.concurrent is not None and len(scope.live) >= scope.concurrent:
            return errors.too_many(scope.id, scope.concurrent)
        for kind, bucket in ((REQUESTS, scope.requests), (TOKENS, scope.tokens)):
            if bucket is not None and bucket.level < 1.0 and (wait := bucket.wait_s(1.0, now)) > 0:
                return errors.too_fast(scope.id, kind, wait)
    return None


def _prices(model: ModelOffer, ask: Ask) -> tuple[int, int]:
    """(the most that the prompt can cost, what each token of output costs), in nano-dollars."""
    return ask.prompt_bound * max(model.input_nano, model.cached_nano), model.output_nano * ask.choices


def _affordable(account: KeyAccount, model: ModelOffer, ask: Ask, wanted: int, granted: int | None) -> int:
    """How much output of `wanted` the budgets cover; at least 1, so that a refusal states a real maximum."""
    prompt_cost, per_output = _prices(model, ask)
    if not per_output:
        return wanted
    free = granted or min(s.budget.free for s in account.budgets if s.budget is not None)
    return min(wanted, max(1, (free - prompt_cost) // per_output))


def limit_headers(account: KeyAccount, now: float) -> bytes:
    """What is left of the tightest limits per minute, as official clients read it. Limits that several processes share
    out are known to none of them, and not told."""
    requests: TokenBucket | None = None
    tokens: TokenBucket | None = None
    for scope in account.scopes:
        if scope.shares:
            continue
        bucket = scope.requests
        if bucket is not None:
            bucket.refill(now)
            if requests is None or bucket.level < requests.level:
                requests = bucket
        bucket = scope.tokens
        if bucket is not None:
            bucket.refill(now)
            if tokens is None or bucket.level < tokens.level:
                tokens = bucket
    lines = b""
    if requests is not None:
        lines = _REQUESTS_LEFT % requests.left()
    return lines if tokens is None else lines + _TOKENS_LEFT % tokens.left()


def cost_nano(model: ModelOffer, prompt_tokens: int, cached_tokens: int, output_tokens: int) -> int:
    cached = min(cached_tokens, prompt_tokens)
    return (prompt_tokens - cached) * model.input_nano + cached * model.cached_nano + output_tokens * model.output_nano


def owed_nano(offer: ModelOffer, ticket: Ticket, prompt: int, cached: int, output: int) -> int:
    """What an ended request costs: an engine cannot make it dearer than what was agreed."""
    cost = (
        cost_nano(offer, prompt, cached, output) if cached else prompt * offer.input_nano + output * offer.output_nano
    )
    return min(cost, ticket.reserved) if ticket.account.budgets else cost


def _inside(peer: str, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in networks)
