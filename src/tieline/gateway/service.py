"""What all requests of one gateway process share: replicas, the queue, the clocks' tick, the meter.

Knows which replica may take what; knows nothing of HTTP towards clients.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from tieline import records
from tieline.clock import Clock
from tieline.gateway import errors
from tieline.gateway.budgets.admit import Book, Short
from tieline.gateway.errors import Refusal
from tieline.gateway.metering.stats import Stats
from tieline.gateway.metering.usage import Meter
from tieline.gateway.requests.attempt import Leg
from tieline.gateway.requests.exchange import Exchange
from tieline.gateway.requests.hedge import HedgeBudget
from tieline.gateway.requests.resume_calls import Continuing
from tieline.gateway.routing import outliers, power, route
from tieline.gateway.routing import rented as rent
from tieline.gateway.routing.queue import FairQueue
from tieline.gateway.routing.route import MAX_UNKNOWN_SLOTS, State, Want
from tieline.gateway.settings import Engine, Model, Offer, Settings
from tieline.gateway.wire.client import Door
from tieline.gateway.wire.upstream import Backend
from tieline.records import Instruction, Plan, ReplicaState
from tieline.store import Spool, StoreError
from tieline.tasks import beat

if TYPE_CHECKING:
    from tieline.gateway.metering.traces import Traces

TICK_S: Final = 0.1
# A tick takes milliseconds; one that is not over by then stands still.
STILL_S: Final = 5.0
# The last three digits of an id.
_LOW: Final = tuple(f"{number:03x}" for number in range(4_096))
# A few streams may always fail over at once, whatever the share: with ten live, 10 % would be one.
MIN_FAILOVERS: Final = 8
# Streams moved away from a replica that will go dark, per tick: 80 a second.
MOVES_PER_TICK: Final = 8
# A finished answer whose connection has not ended by then is dropped.
LINGER_S: Final = 1.0
# A notice weighs more the nearer it is.
WEIGH_S: Final = 1.0
# How often replicas are compared with their peers.
JUDGE_EVERY_S: Final = 1.0


class Leases(Protocol):
    """The way to the coordinator of several processes."""

    async def ask(self, short: Short) -> int | Refusal: ...

    async def claim(self, name: str, digest: str) -> tuple[int, bytes, bytes] | Refusal | None: ...

    def ended(self, name: str, answer: tuple[int, bytes, bytes] | None, *, keep: bool) -> None: ...

    def turn(self) -> None: ...


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
        self.book = Book(settings, leased=leased, at=self.loop.time())
        self.book.turn(clock.now(), self.totals())
        self.stats = Stats()
        self.meter = Meter(spool, self.book, self.stats, clock, source)
        self.models = {model.name: Offer.of(model) for model in settings.models}
        self.any_model = not settings.models
        self.backends: dict[str, Backend] = {}
        self.exchanges: set[Exchange] = set()
        self.doors: set[Door] = set()
        self.queue: FairQueue[Exchange] = FairQueue(settings.queue_length)
        self.failovers: set[Exchange] = set()
        self.slow: set[Exchange] = set()  # left a silent replica and have no token of the next one yet
        self.hedges = HedgeBudget(settings.hedge_share)
        self.continuing = Continuing(self)
        self.kept_bytes = 0
        self.leases: Leases | None = None
        self.traces: Traces | None = None
        self.troubles: Callable[[], list[str]] = list  # of the process's long-lived tasks
        self.exchange: type[Exchange] = Exchange  # the traced kind where traces are on: the usual one pays nothing
        self.power = power.Power()
        self.rented = rent.Meter()
        # One process of several writes down the hours of rented replicas.
        self.tells_rent = "." not in source or source.endswith(".worker-0")
        self._free: dict[str, Offer] = {}
        self._owed: list[records.Reserved] = []
        self.draining = False
        self.origins = frozenset(origin.encode() for origin in settings.origins)
        self._weighed = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._lingering: list[tuple[float, Leg]] = []
        self._prefix = f"req_{secrets.token_hex(8)}"
        self._number = 0
        self._stem = f"{self._prefix}{0:05x}"
        self._judged = self.loop.time()

    # --- names and small things -------------------------------------------------

    def new_id(self) -> str:
        """Unique: 64 random bits for the process, a count within it."""
        number = self._number = self._number + 1
        low = number & 0xFFF
        if not low:
            self._stem = f"{self._prefix}{number >> 12:05x}"
        return self._stem + _LOW[low]

    def spawn(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("a background task failed: %r", error, exc_info=error)

    def offer(self, name: str) -> Offer | None:
        """The model on offer under a name; with no models configured, whatever an engine serves, free of charge."""
        model = self.models.get(name)
        if model is None and self.any_model and any(name in b.models for b in self.backends.values()):
            model = self.models[name] = Offer.of(Model(name=name))
        return model

    def totals(self) -> dict[str, int]:
        """What was spent of each budget, on disk."""
        return dict(Counter(self.spool.totals()) + Counter(self._others))

    def included(self, offer: Offer) -> Offer:
        """The model for a request that its tenant's rental pays for."""
        free = self._free.get(offer.name)
        if free is None:
            free = self._free[offer.name] = replace(offer, input_nano=0, output_nano=0, cached_nano=0)
        return free

    def own_name(self, offer: Offer, backend: Backend) -> str:
        """What this engine calls the model."""
        return backend.served.get(offer.name, offer.own_name)

    # --- replicas -----------------------------------------------------------------

    def choose(self, want: Want, avoid: frozenset[str] | set[str]) -> Backend | None:
        return route.choose(self.backends.values(), want, self.now(), avoid)  # type: ignore[return-value]

    def choose_at_all(self, want: Want, avoid: frozenset[str] | set[str]) -> Backend | None:
        """The same for a stream that has lost its replica."""
        found = self.choose(want, avoid)
        if found is None:
            now = self.loop.time()
            found = route.last_resort(self.backends.values(), want, now, avoid)  # type: ignore[assignment]
        return found

    def wait(self, ex: Exchange) -> None:
        """No room: wait in the fair queue, or hear why that is no use."""
        known = any(ex.want.model in b.models and b.state is not State.DOWN for b in self.backends.values())
        if not known:
            ex.refuse(errors.no_capacity(ex.want.model))
            return
        # Who has stopped waiting for an answer is not let through ahead of those who wait.
        ex.queued_until = self.loop.time() + min(self.settings.clocks.queue_s, ex.client_s)
        tenant = ex.account.tenant
        if not self.queue.put(ex, tenant.id, tenant.weight, ex.queued_until):
            ex.refuse(errors.overloaded(2.0))

    def leave_queue(self, ex: Exchange) -> None:
        if ex.queued_until is not None:
            ex.queued_until = None
            self.queue.remove(ex)

    def pump(self) -> None:
        """A place may be free: let the next ones through."""
        while self.queue.count:
            ex = self.queue.pop(lambda one: self.choose(one.want, frozenset()) is not None)
            if ex is None:
                return
            backend = self.choose(ex.want, frozenset())
            assert backend is not None
            ex.go(backend)

    def may_fail_over(self, ex: Exchange) -> bool:
        """Unannounced failovers go ahead for a share of live requests at a time, oldest first."""
        allowed = max(MIN_FAILOVERS, int(len(self.exchanges) * self.settings.failover_share))
        if len(self.failovers) <= allowed:
            return True
        return sum(1 for one in self.failovers if one.began < ex.began) < allowed

    def may_leave(self, ex: Exchange) -> bool:
        """The same for leaving a replica that is only silent: until its next one has sent a token, a stream counts.
        One slow site starts no storm; the others wait for it meanwhile."""
        allowed = max(MIN_FAILOVERS, int(len(self.exchanges) * self.settings.failover_share))
        return ex in self.slow or len(self.slow) < allowed

    def serving(self, want: Want) -> list[Backend]:
        """Replicas of a model that are well, full or not."""
        return [b for b in route.candidates(self.backends.values(), want, self.loop.time()) if isinstance(b, Backend)]

    def linger(self, leg: Leg) -> None:
        conn = leg.connection
        if conn is not None and conn.owner is leg:
            self._lingering.append((self.loop.time() + LINGER_S, leg))

    async def lease(self, short: Short) -> int | Refusal:
        """Ask the coordinator for a slice; with what is granted, admit again at once."""
        if self.leases is None:
            return Refusal(503, "the budgets' coordinator is away", "budget_unavailable", retry_after_s=1)
        return await self.leases.ask(short)

    def abandon_budgeted(self) -> None:
        """The lease is over: what still runs on budgets, and calls that another process may make by now, end here,
        billed for what was delivered."""
        for ex in list(self.exchanges):
            if ex.ticket.account.purses or ex.idempotency is not None:
                ex.refuse(Refusal(503, "this gateway lost its share of the budget", "budget_unavailable"))

    # --- what a site's agent says ---------------------------------------------------

    def heard(self, state: ReplicaState) -> None:
        """A heartbeat of a replica, or its change of state."""
        backend = self.backends.get(state.replica_id)
        if backend is None or backend.authority != urlsplit(state.base_url).netloc:
            if state.state == "down" or not state.base_url:  # an engine that starts has no address yet
                return
            if backend is not None:
                backend.close()
            backend = self.backends[state.replica_id] = backend_of(
                Engine(
                    url=state.base_url,
                    id=state.replica_id,
                    site=state.site_id,
                    region=state.region,
                    kind=state.engine if state.engine in ("llama.cpp", "vllm", "sglang") else "other",  # type: ignore[arg-type]
                    models=(state.model,),
                    slots=state.slots,
                )
            )
            backend.given = False
            backend.rtt_s = self.settings.round_trips_ms.get(state.region, 0.0) / 1e3
            self.weigh()
        backend.label = state.label
        backend.beat_at = self.loop.time()
        if state.state == "ready":
            backend.alive(backend.beat_at)
        self.turn(backend, State(state.state))

    def adopt(self, settings: Settings) -> None:
        """Keys, tenants and limits as they are from now on."""
        self.settings = settings
        self.book.adopt(settings, self.totals(), self.loop.time())
        if self.leases is not None:
            self.leases.turn()
        for door in self.doors:
            door.forget()
        self.weigh()

    def replicas(self, *, brief: bool = False) -> list[dict[str, object]]:
        """The replica table; `brief`: what anybody may know."""
        now = self.loop.time()
        found: list[dict[str, object]] = []
        for b in self.backends.values():
            one: dict[str, object] = {
                "id": b.id,
                "site": b.site,
                "state": b.state.value,
                "usable": b.usable(now),
                "live": len(b.live),
                "slots": b.slots,
            }
            if not brief:
                one["region"], one["rtt_ms"] = b.region, round(b.rtt_s * 1e3, 1)
                one["power"] = {
                    "term_s": round(b.power_term_s, 3),
                    "usd_per_mtok": round(b.price_usd_per_mtok, 4),
                    "note": b.power_note,
                }
            found.append(one)
        return found

    def heard_power(self, record: Plan | Instruction) -> None:
        """What a site's power will cost, or that it will end: new requests go elsewhere from now on."""
        self.power.heard(record)
        self.weigh()

    def weigh(self) -> None:
        """Power's part of every score, and who is above whose price ceiling: when a record comes, and once a second."""
        power.apply(self.power, self.backends.values(), self.settings.kwh_per_mtok, self.clock.now())
        self._weighed = self.loop.time()
        for account in self.book.by_digest.values():
            ceiling = account.tenant.max_usd_per_mtok
            if ceiling is not None:
                dearer = (b.id for b in self.backends.values() if b.price_usd_per_mtok > ceiling)
                account.barred = frozenset(dearer)

    def turn(self, backend: Backend, state: State) -> None:
        """A replica changes its state; what that means for its streams."""
        if backend.state is state:
            return
        before, backend.state = backend.state, state
        self.log.info("replica %s: %s -> %s", backend.id, before.value, state.value)
        if state is State.READY:
            backend.failures, backend.ejected_until = 0, 0.0
            self.pump()
        elif state is State.DOWN:
            backend.close()
            for leg in list(backend.live):
                assert isinstance(leg, Leg)
                leg.on_lost("its site says it is down")

    # --- time ---------------------------------------------------------------------------

    async def tick_for_ever(self) -> None:
        while True:
            beat(STILL_S)
            await asyncio.sleep(TICK_S)
            self.tick(self.loop.time())

    def tick(self, now: float) -> None:
        """Ten times a second: every live request's clocks, moves, the queue's deadlines."""
        for ex in list(self.exchanges):
            ex.tick(now)
        for ex in self.queue.expired(now):
            ex.queued_until = None
            ex.refuse(errors.no_capacity(ex.want.model))
        if self.queue.count:
            self.pump()
        for backend in self.backends.values():
            if backend.state is State.DRAINING and backend.live:
                moved = 0
                for leg in list(backend.live):
                    if moved >= MOVES_PER_TICK:
                        break
                    assert isinstance(leg, Leg)
                    holder = leg.holder
                    if isinstance(holder, Exchange) and holder.leg is leg and leg.parked is None:
                        holder.move()
                        moved += 1
        while self._lingering and self._lingering[0][0] <= now:
            _, late = self._lingering.pop(0)
            conn = late.connection
            if conn is not None and conn.owner is late:
                conn.abort()
        if now - self._weighed >= WEIGH_S:
            self.weigh()
        self.hedges.refill(self._number)
        if now - self._judged >= JUDGE_EVERY_S:
            self._judged = now
            outliers.judge(self.backends.values(), now)
        today = self.clock.now()
        if self.settings.rentals:
            short = rent.assign(self.settings.rentals, self.backends.values(), today)
            if self.tells_rent:
                self._owed += self.rented.step(short, today, self.meter.source)
                self._write_rent()
        if self.book.turned(today):
            self.book.turn(today, self.totals())
            if self.leases is not None:
                self.leases.turn()

    def _write_rent(self) -> None:
        """Hours of rented replicas; what cannot be written now is tried again."""
        while self._owed:
            try:
                self.spool.put(self._owed[0].key, records.encode(self._owed[0]))
            except StoreError:
                return
            del self._owed[0]

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for backend in self.backends.values():
            backend.close()


def backend_of(engine: Engine) -> Backend:
    """A backend from its address; what it serves is learned by asking it."""
    parts = urlsplit(engine.url)
    secure = parts.scheme == "https"
    kind = engine.kind
    return Backend(
        id=engine.name,
        site=engine.site or "local",
        region=engine.region,
        models=frozenset(engine.models),
        engine=kind,
        slots=engine.slots or MAX_UNKNOWN_SLOTS,
        state=State.STARTING,
        host=parts.hostname or "",
        port=parts.port or (443 if secure else 80),
        base=parts.path.rstrip("/").removesuffix("/v1"),
        authority=parts.netloc.rpartition("@")[2],
        key=os.environ.get(engine.key_env, "") if engine.key_env else "",
        ssl=ssl.create_default_context() if secure else None,
        reuse_after_stream=kind not in ("", "llama.cpp"),
        given=True,
    )
