"""What all requests of one gateway process share: replicas, the queue, the clocks' tick, the meter.

Knows which replica may take what, and does the few engine calls around a resume; knows nothing of HTTP
towards clients.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from tieline.clock import Clock
from tieline.gateway import errors, power, rent, resume, route
from tieline.gateway.admit import Book, Short
from tieline.gateway.door import Door
from tieline.gateway.errors import Refusal
from tieline.gateway.leg import Leg
from tieline.gateway.relay import Exchange
from tieline.gateway.resume import Way
from tieline.gateway.route import MAX_UNKNOWN_SLOTS, State, Want
from tieline.gateway.settings import Engine, Model, Offer, Settings
from tieline.gateway.stats import Stats
from tieline.gateway.upstream import Backend, call
from tieline.gateway.usage import Meter
from tieline.gateway.waiting import FairQueue
from tieline.records import Instruction, Plan, ReplicaState
from tieline.store import Spool

TICK_S: Final = 0.1
# The last three digits of an id.
_LOW: Final = tuple(f"{number:03x}" for number in range(4_096))
# A few streams may always fail over at once, whatever the share: with ten live, 10 % would be one.
MIN_FAILOVERS: Final = 8
# Streams moved away from a replica that will go dark, per tick: 80 a second.
MOVES_PER_TICK: Final = 8
# A finished answer whose connection has not ended by then is dropped.
LINGER_S: Final = 1.0
TOKENIZE_S: Final = 5.0
# A notice weighs more the nearer it is.
WEIGH_S: Final = 1.0


class _Tokens(msgspec.Struct):
    tokens: list[int] | None = None
    count: int | None = None


class _Prompt(msgspec.Struct):
    prompt: str


_tokens = msgspec.json.Decoder(_Tokens).decode
_prompt = msgspec.json.Decoder(_Prompt).decode


class Leases(Protocol):
    """The way to the budgets' coordinator."""

    async def ask(self, short: Short) -> int | Refusal: ...

    def turn(self) -> None: ...


class Service:
    """One per process."""

    def __init__(
        self, settings: Settings, clock: Clock, spool: Spool, source: str = "gateway", *, leased: bool = False
    ) -> None:
        self.settings, self.clock, self.spool = settings, clock, spool
        self.loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self.loop.time
        self.log = logging.getLogger("tieline.gateway")
        self.book = Book(settings, leased=leased)
        self.book.turn(clock.now(), spool.totals())
        self.stats = Stats()
        self.meter = Meter(spool, self.book, self.stats, clock, source)
        if settings.access_log:
            self.meter.log_line = self.log_line
        self.models = {model.name: Offer.of(model) for model in settings.models}
        self.any_model = not settings.models
        self.backends: dict[str, Backend] = {}
        self.exchanges: set[Exchange] = set()
        self.doors: set[Door] = set()
        self.queue: FairQueue[Exchange] = FairQueue(settings.queue_length)
        self.failovers: set[Exchange] = set()
        self.kept_bytes = 0
        self.leases: Leases | None = None
        self.power = power.Power()
        self.draining = False
        self.origins = frozenset(origin.encode() for origin in settings.origins)
        self.access: list[bytes] = []
        self._weighed = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._lingering: list[tuple[float, Leg]] = []
        self._prefix = f"req_{secrets.token_hex(8)}"
        self._number = 0
        self._stem = f"{self._prefix}{0:05x}"

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

    def own_name(self, offer: Offer, backend: Backend) -> str:
        """What this engine calls the model."""
        return backend.served.get(offer.name, offer.own_name)

    # --- replicas -----------------------------------------------------------------

    def choose(self, want: Want, avoid: frozenset[str] | set[str]) -> Backend | None:
        return route.choose(self.backends.values(), want, self.now(), avoid)  # type: ignore[return-value]

    def wait(self, ex: Exchange) -> None:
        """No room: wait in the fair queue, or hear why that is no use."""
        known = any(ex.want.model in b.models and b.state is not State.DOWN for b in self.backends.values())
        if not known:
            ex.refuse(errors.no_capacity(ex.want.model))
            return
        ex.queued_until = self.loop.time() + self.settings.clocks.queue_s
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

    def linger(self, leg: Leg) -> None:
        conn = leg.connection
        if conn is not None and conn.owner is leg:
            self._lingering.append((self.loop.time() + LINGER_S, leg))

    def log_line(self, line: bytes) -> None:
        """The access log is the usage record: who, what, how much, by which hops; never a word of what was said."""
        if len(self.access) < MAX_ACCESS_LINES:
            self.access.append(line)

    async def lease(self, short: Short) -> int | Refusal:
        """Ask the coordinator for a slice; with what is granted, admit again at once."""
        if self.leases is None:
            return Refusal(503, "the budgets' coordinator is away", "budget_unavailable", retry_after_s=1)
        return await self.leases.ask(short)

    def abandon_budgeted(self) -> None:
        """The lease on the budgets is over: what still runs on them ends now, billed for what was delivered."""
        for ex in list(self.exchanges):
            if ex.ticket.account.purses:
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
        self.turn(backend, State(state.state))

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
        today = self.clock.now()
        if self.settings.rentals:
            rent.assign(self.settings.rentals, self.backends.values(), today)
        if self.book.turned(today):
            self.book.turn(today, self.spool.totals())
            if self.leases is not None:
                self.leases.turn()

    # --- continuing elsewhere -----------------------------------------------------------

    async def continuation(self, ex: Exchange, backend: Backend, text: str) -> Leg | None:
        """A leg that continues after `text`; None where the output limit is already used up. Raises OSError."""
        request = ex.request
        way = resume.way(request, backend.engine, text)
        own = self.own_name(ex.offer, backend)
        hop = len(ex.hops)
        base = 0
        names = None
        if way is Way.TOKENS:
            prompt, delivered = await asyncio.gather(
                self._prompt_tokens(ex, backend), self._tokenize(backend, text, special=False)
            )
            ex.prompt_tokens = len(prompt)
            base = len(delivered)
            if resume.remaining(request, base) <= 0:
                ex.output_tokens = base
                return None
            body, path, names = resume.tokens_body(request, prompt, delivered, hop), "/completion", ex.names
        elif way in (Way.TURN, Way.PROMPT):
            count = await self._count(backend, text, own)
            base = ex.tokens if count is None else count
            if resume.remaining(request, base) <= 0:
                ex.output_tokens = base
                return None
            if way is Way.TURN:
                if backend.engine == "llama.cpp":
                    ex.prompt_tokens = len(await self._prompt_tokens(ex, backend))
                body, path = resume.turn_body(request, backend.engine, own, text, base, hop), "/v1/chat/completions"
            else:
                plain = resume.prompt_body(request, own, text, base, hop)
                if plain is None:
                    raise OSError("the prompt is token ids")
                body, path = plain, "/v1/completions"
        elif way is Way.AFRESH:
            body, path = request.encode(own, ex.limit), "/v1/" + _LAST_PART[request.kind]
        else:
            raise OSError("the engine cannot continue this")
        leg = Leg(ex, backend, backend.head("POST", path, len(body), ex.id, ex.trace) + body)
        leg.base_tokens = base
        leg.translate = names
        return leg

    async def _prompt_tokens(self, ex: Exchange, backend: Backend) -> list[int]:
        request = ex.request
        if request.kind == "completions":
            plain = msgspec.json.decode(request.fields["prompt"])
            if isinstance(plain, list) and plain and isinstance(plain[0], int):
                return plain
            prompt = plain[0] if isinstance(plain, list) else plain
        else:
            status, body = await call(backend, "POST", "/apply-template", resume.template_body(request), TOKENIZE_S)
            if status != 200:
                raise OSError(f"/apply-template answered {status}")
            prompt = _prompt(body).prompt
        return await self._tokenize(backend, prompt, special=True)

    async def _tokenize(self, backend: Backend, text: str, *, special: bool) -> list[int]:
        body = resume.tokenize_body(text, special=special)
        status, answer = await call(backend, "POST", "/tokenize", body, TOKENIZE_S)
        if status != 200:
            raise OSError(f"/tokenize answered {status}")
        return _tokens(answer).tokens or []

    async def _count(self, backend: Backend, text: str, model: str) -> int | None:
        """Tokens of a text by the engine's tokenizer; None where it has none to ask."""
        if backend.engine == "llama.cpp":
            return len(await self._tokenize(backend, text, special=False))
        if backend.engine in ("vllm", "sglang"):
            body = msgspec.json.encode({"model": model, "prompt": text, "add_special_tokens": False})
            status, answer = await call(backend, "POST", "/tokenize", body, TOKENIZE_S)
            if status == 200:
                found = _tokens(answer)
                return found.count if found.count is not None else len(found.tokens or [])
        return None

    async def count(self, ex: Exchange, text: str, backend: Backend | None) -> tuple[int | None, int | None]:
        """(prompt, output) tokens by any live engine of the model; None: not to be had."""
        now = self.loop.time()
        able = [b for b in route.candidates(self.backends.values(), ex.want, now) if isinstance(b, Backend)]
        if backend in able:
            able.sort(key=lambda b: b is not backend)
        for one in able[:2]:
            try:
                output = await self._count(one, text, self.own_name(ex.offer, one))
                prompt = ex.prompt_tokens
                if prompt is None and one.engine == "llama.cpp" and ex.request.kind in ("chat", "completions"):
                    prompt = len(await self._prompt_tokens(ex, one))
            except (OSError, msgspec.DecodeError):
                continue
            return prompt, output
        return None, None

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for backend in self.backends.values():
            backend.close()


_LAST_PART: Final = {
    "chat": "chat/completions",
    "completions": "completions",
    "embeddings": "embeddings",
    "responses": "responses",
    "rerank": "rerank",
}
# Lines between two writes of the access log; at 10,000 requests/s it is written long before.
MAX_ACCESS_LINES: Final = 20_000


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
