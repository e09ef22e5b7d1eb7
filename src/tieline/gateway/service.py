"""One gateway process put together: the replica table, the queue, the tick, budgets and the meter.

Makes requests and carries what its parts tell each other; knows nothing of HTTP towards clients.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from tieline import records
from tieline.clock import Clock
from tieline.gateway.budgets.admit import KeyAccounts, Short
from tieline.gateway.budgets.client import LeaseClient
from tieline.gateway.errors import Refusal
from tieline.gateway.metering.stats import Stats
from tieline.gateway.metering.usage import UsageMeter
from tieline.gateway.requests.exchange import Exchange
from tieline.gateway.requests.hedge import HedgeBudget
from tieline.gateway.requests.ports import LiveRequest, Shared
from tieline.gateway.requests.state import KeptText
from tieline.gateway.routing import rented as rent
from tieline.gateway.routing.queue import RequestQueue, Waiting
from tieline.gateway.routing.replicas import ReplicaTable
from tieline.gateway.routing.route import State
from tieline.gateway.settings import Model, ModelOffer, Settings
from tieline.gateway.tick import Tick, give_up
from tieline.gateway.wire.client import ClientConnection, RequestIds
from tieline.gateway.wire.upstream import Backend
from tieline.records import Instruction, Plan, ReplicaState
from tieline.store import Spool, StoreError
from tieline.tasks import beat

TICK_S: Final = 0.1
# A tick takes milliseconds; one that is not over by then stands still.
STILL_S: Final = 5.0
# A notice weighs more the nearer it is.
WEIGH_S: Final = 1.0


class Service:
    """One per process."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        spool: Spool,
        source: str = "gateway",
        *,
        leased: bool = False,
        others: Mapping[str, int] | None = None,
    ) -> None:
        """`others`: what processes that no longer run have spent of the budgets, by their names."""
        self._others = others or {}
        self.settings, self.clock, self.spool = settings, clock, spool
        self.loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self.loop.time
        self.log = logging.getLogger("tieline.gateway")
        self.book = KeyAccounts(settings, leased=leased, at=self.loop.time())
        self.book.turn(clock.now(), self.totals())
        self.stats = Stats()
        self.meter = UsageMeter(spool, self.book, self.stats, clock, source, settings.region)
        self.models: dict[str, ModelOffer] = {}
        self.any_model = not settings.models
        self.connections: set[ClientConnection] = set()
        self.memory = KeptText(settings.kept_bytes)
        self.exchanges: set[LiveRequest] = set()
        self.shared = Shared(
            settings, clock, self.now, self.spawn, self.meter, self.stats, self.memory,
            HedgeBudget(settings.hedge_share), self.exchanges, set(), set(),
        )  # fmt: skip
        self.queue = RequestQueue(settings.queue_length, lambda: self.table, self.now)
        self.table = ReplicaTable(settings, self.now, self.queue.pump)
        self.backends = self.table.backends
        self.replicas = self.backends.values()
        self.choose_at_all, self.serving = self.table.choose_at_all, self.table.serving
        self.line, self.pump, self.leave = self.queue.line, self.queue.pump, self.queue.leave
        self.ticks = Tick(self.shared, self.table, self.queue)
        self.leases: LeaseClient | None = None
        self.troubles: Callable[[], list[str]] = list  # of the process's long-lived tasks
        self.ignored: Callable[[], dict[str, int]] = dict  # what came in over the link and was not taken, by task
        self.rented = rent.RentalMeter()
        # One process of several writes down the hours of rented replicas.
        self.tells_rent = "." not in source or source.endswith(".worker-0")
        self._free: dict[str, ModelOffer] = {}
        self._prices_until: datetime | None = None  # when a tariff of a later moment begins
        self._offer_models()
        self._owed: list[records.Record] = []
        self.tells_refusals = False  # where somebody hears of them
        self.draining = False  # it stops: balancers are told so
        self.closed = False  # and takes nothing more
        self.origins = frozenset(origin.encode() for origin in settings.origins)
        self._weighed = 0.0
        self.apart: frozenset[str] = frozenset()  # tenants that are served apart
        self._tasks: set[asyncio.Task[None]] = set()
        self.new_id = RequestIds()

    # --- names and small things -------------------------------------------------

    def spawn(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("a background task failed: %r", error, exc_info=error)
            for one in [one for one in self.exchanges if isinstance(one, Exchange) and one.task is task]:
                give_up(one, self.exchanges, error)

    def offer(self, name: str) -> ModelOffer | None:
        """The model on offer under a name; with no models configured, whatever an engine serves, free of charge."""
        model = self.models.get(name)
        if model is None and self.any_model and any(name in b.models for b in self.backends.values()):
            model = self.models[name] = ModelOffer.of(Model(name=name), self.clock.now())
        return model

    def _offer_models(self) -> None:
        """Every model under each of its names, at the tariffs of now."""
        now = self.clock.now()
        offers = {model.name: ModelOffer.of(model, now) for model in self.settings.models}
        self.models = {n: offers[m.name] for m in self.settings.models for n in (m.name, *m.aliases)}
        self._free = {}
        later = [one.since for model in self.settings.models for one in model.tariffs if one.since > now]
        self._prices_until = min(later, default=None)

    def stand_in(self, offer: ModelOffer, allowed: frozenset[str]) -> ModelOffer | None:
        """Another model that answers now while no replica of this one can; None: it can, or there is none."""
        if not offer.fallbacks or self.table.ready(offer.name):
            return None
        for name in offer.fallbacks:
            other = self.models.get(name)
            if other is not None and (not allowed or name in allowed) and self.table.ready(name):
                return other
        return None

    def totals(self) -> dict[str, int]:
        """What was spent of each budget, on disk."""
        return dict(Counter(self.spool.totals()) + Counter(self._others))

    def included(self, offer: ModelOffer) -> ModelOffer:
        """The model for a request that its tenant's rental pays for."""
        free = self._free.get(offer.name)
        if free is None:
            free = self._free[offer.name] = replace(offer, input_nano=0, output_nano=0, cached_nano=0)
        return free

    @property
    def kept_bytes(self) -> int:
        """Delivered text that is remembered for resumes."""
        return self.memory.used

    def coordinator_heard_s(self) -> float | None:
        """Since the coordinator was last heard; None where budgets and changes are this process's own."""
        return None if self.leases is None else self.leases.heard_s()

    def budgets_left(self) -> list[tuple[str, float]]:
        """By scope, in USD, where this process knows: those that are leased out nobody here does."""
        budgets = [(scope.id, scope.budget) for scope in self.book.scopes.values() if scope.budget is not None]
        return [(name, budget.free / 1e9) for name, budget in budgets if not budget.leased]

    # --- the pool of replicas, as a request sees it -----------------------------------

    def wait(self, waiting: Waiting) -> None:
        self.queue.wait(waiting, self.settings.clocks.queue_s)

    # --- budgets -------------------------------------------------------------------------

    async def lease(self, short: Short) -> int | Refusal:
        """Ask the coordinator for a share; with what is granted, admit again at once."""
        if self.leases is None:
            return Refusal(503, "the budgets' coordinator is away", "budget_unavailable", retry_after_s=1)
        return await self.leases.ask(short)

    def abandon_budgeted(self) -> None:
        """The lease is over: what still runs on budgets, and calls that another process may make by now, end here,
        billed for what was delivered."""
        for ex in list(self.exchanges):
            if ex.binding:
                ex.refuse(Refusal(503, "this gateway lost its share of the budget", "budget_unavailable"))

    # --- what a site's agent says ---------------------------------------------------

    def heard(self, state: ReplicaState) -> None:
        """A heartbeat of a replica, or its change of state."""
        if self.table.heard(state):
            self.weigh()

    def heard_power(self, record: Plan | Instruction) -> None:
        """What a site's power will cost, or that it will end: new requests go elsewhere from now on."""
        self.table.heard_power(record)
        self.weigh()

    def adopt(self, settings: Settings) -> None:
        """Keys, tenants and limits as they are from now on."""
        self.settings = self.shared.settings = self.table.settings = settings
        self.any_model = not settings.models
        self.origins = frozenset(origin.encode() for origin in settings.origins)
        self._offer_models()
        others = self.book.adopt(settings, self.totals(), self.loop.time())
        if others and self.leases is not None:
            self.leases.turn()
        for connection in self.connections:
            connection.forget()
        self.weigh()

    def weigh(self) -> None:
        """Power's part of every score, and who is above whose price ceiling: when a record comes, and once a second."""
        self.table.weigh(self.clock.now())
        self._weighed = self.loop.time()
        poor = self.shared.refused.standings.poor(self._weighed) if len(self.settings.tenants) > 1 else frozenset()
        if poor != self.apart:
            self.log.warning(
                "tenants whose requests are mostly refused, served apart: %s", ", ".join(sorted(poor)) or "none"
            )
        if poor or self.apart:
            self.table.set_apart(bool(poor))
        for account in self.book.by_digest.values():
            ceiling, tenant = account.tenant.max_usd_per_mtok, account.tenant.id
            if ceiling is None and tenant not in poor and tenant not in self.apart:
                continue
            account.barred = frozenset() if ceiling is None else self.table.dearer(ceiling)
            if tenant in poor:
                account.barred |= self.table.elsewhere(account.regions)
        self.apart = poor

    def turn(self, backend: Backend, state: State) -> None:
        """A replica changes its state."""
        self.table.turn(backend, state)

    # --- time ---------------------------------------------------------------------------

    async def tick_for_ever(self) -> None:
        while True:
            beat(STILL_S)
            await asyncio.sleep(TICK_S)
            self.tick(self.loop.time())

    def tick(self, now: float) -> None:
        """Ten times a second."""
        self.ticks.step(now, self.new_id.count)
        if now - self._weighed >= WEIGH_S:
            self.weigh()
        today = self.clock.now()
        if self.settings.rentals:
            short = rent.assign(self.settings.rentals, self.backends.values(), today)
            if self.tells_rent:
                self._owed += self.rented.step(short, today, self.meter.source)
        if self.tells_refusals and not self._owed:
            self._owed += self.stats.door.due(today, now, self.meter.source)
        self._write_owed()
        if self._prices_until is not None and today >= self._prices_until:
            self._offer_models()
        if self.book.turned(today):
            self.book.turn(today, self.totals())
            if self.leases is not None:
                self.leases.turn()

    def _write_owed(self) -> None:
        """Hours of rented replicas and of refusals; what cannot be written now is tried again."""
        while self._owed:
            try:
                self.spool.put(self._owed[0].key, records.encode(self._owed[0]))
            except StoreError:
                return
            del self._owed[0]

    def close(self) -> None:
        if self.tells_refusals:
            self._owed += self.stats.door.due(self.clock.now(), self.now(), self.meter.source, last=True)
            self._write_owed()
        for task in list(self._tasks):
            task.cancel()
        self.table.close()
