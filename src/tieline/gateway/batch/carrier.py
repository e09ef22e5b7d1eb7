"""Lines of batches, carried out through the same admission and relay as everybody's requests.

While there is time a line takes only capacity that nobody else wants: nobody waits in the queue, a replica has a place
to spare beyond the line's own, power there is not dear. In the last quarter of its window it stands in the queue like
any request of its tenant. What fails in an engine is tried again; what is refused for want of room waits and comes
back. A line that cannot be handled, for whatever reason, ends with an error that its owner reads; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.batch.backlog import mean
from tieline.gateway.batch.in_hand import DoneLines, Hand, idle, leaves_room, result_line
from tieline.gateway.budgets.admit import Admitted, KeyAccount, Short
from tieline.gateway.errors import Refusal
from tieline.gateway.requests import body as bodies
from tieline.gateway.requests.body import Kind, Request
from tieline.gateway.requests.exchange import Exchange
from tieline.gateway.routing import route
from tieline.gateway.routing.route import State, Want
from tieline.gateway.service import Service
from tieline.gateway.settings import PATIENCE_S, ModelOffer
from tieline.gateway.surfaces import responses
from tieline.gateway.surfaces.responses import Responses
from tieline.gateway.wire import loose
from tieline.gateway.wire.decoding import read_json
from tieline.gateway.wire.upstream import Backend
from tieline.store import StoreError
from tieline.store.batches import Result, StoredLine

log = logging.getLogger("tieline.gateway")

# Lines at once: what a few busy replicas batch well, and little to lose with the process.
MAX_RUNNING: Final = 64
# Tries of a line that fails in an engine; refusals for want of room are no tries.
MAX_TRIES: Final = 3
# Pauses of a line after a refusal: doubling from the first to the last.
PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 30.0
BATCH_PATIENCE_S: Final = PATIENCE_S["batch"] - PATIENCE_S["standard"]
# Lines at once that stand in the queue by a batch's own right.
MAX_URGENT: Final = 16

_KINDS: Final[dict[str, Kind]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "chat",
    "/v1/rerank": "rerank",
}


class _Run:
    """One line in progress; to its request it is the client."""

    exchange: Exchange | None = None
    surface: Responses | None = None  # the form that its answer goes out in
    site: str | None = None  # where it was placed; None: it stood in the queue

    def __init__(self, carrier: LineCarrier, job: Hand, line: StoredLine) -> None:
        self.carrier, self.job, self.line = carrier, job, line

    @property
    def request_id(self) -> str:
        again = f".{self.line.tries}" if self.line.tries else ""
        return f"{self.job.batch.id}-{self.line.number}{again}"

    @property
    def billed(self) -> bool:
        """Its bill stands under its id, whether or not the answer has been handed over yet."""
        return self.exchange is not None and self.exchange.state.done and self.exchange.state.status == 200

    def translated(self, body: bytes) -> bytes:
        return body if self.surface is None else self.surface.translated(body)

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        self.carrier.answered(self, status, body)

    def begin_stream(self, headers: bytes, payload: bytes) -> None:
        raise AssertionError("a line does not stream")

    def send(self, payload: bytes) -> None:
        raise AssertionError("a line does not stream")

    pass_on = finish_stream = send

    def drop(self) -> None:
        raise AssertionError("a line does not stream")


class LineCarrier:
    """Of one process. `done` takes what came of each line; `woken` is set where one is over."""

    def __init__(self, svc: Service, done: DoneLines, woken: asyncio.Event) -> None:
        self.svc, self._done, self._woken = svc, done, woken
        self._accounts: dict[str, KeyAccount] = {}
        self._accounts_of: object = None  # the keys that they are made of
        self._halves: dict[str, tuple[ModelOffer, ModelOffer]] = {}
        self._jobs: Mapping[str, Hand] = {}
        self.per_line: dict[str, float] = {}  # output tokens by model
        self.stopped = False

    def model_of(self, job: Hand, line: StoredLine) -> str:
        """The model that a line asks for; empty where it is no request."""
        request = self._read(_Run(self, job, line))
        return request.model if isinstance(request, Request) else ""

    async def place(self, jobs: Mapping[str, Hand]) -> None:
        """Start lines while there is room, project by project: who has least running goes next."""
        svc, self._jobs = self.svc, jobs
        full: set[Hand] = set()
        while not self.stopped and not svc.draining and svc.meter.failing is None:
            now_s, running = svc.clock.now().timestamp(), Counter[str]()
            for job in self._jobs.values():
                running[job.batch.owner] += len(job.running)
            if running.total() >= MAX_RUNNING:
                return
            ready = [
                job
                for job in self._jobs.values()
                if job.batch.status == "in_progress" and job not in full and job.batch.expires > now_s
            ]
            if not ready:
                return
            job = min(ready, key=lambda one: (running[one.batch.owner], one.batch.expires, one.batch.id))
            line = job.next(svc.loop.time())
            if line is None or not await self._start(job, line):
                full.add(job)

    def _read(self, run: _Run) -> Request | Refusal:
        """What a line asks for; a response is carried out as a chat."""
        endpoint, body = run.job.batch.endpoint, run.line.body
        if endpoint != "/v1/responses":
            return bodies.read(_KINDS[endpoint], body)
        try:
            plain = read_json(body)
        except msgspec.DecodeError as error:
            return errors.bad_request(f"the body is not JSON: {error}", "invalid_json")
        chat = responses.of_line(plain)
        if isinstance(chat, Refusal):
            return chat
        request = bodies.read("chat", loose.encode(chat))
        if isinstance(request, Request):
            request.surface = "responses"
            run.surface = Responses(run, plain, lambda: self.svc.clock.now().timestamp())
        return request

    async def _start(self, job: Hand, line: StoredLine) -> bool:
        """Begin one line, or put it back where there is no room for it now (False)."""
        run = _Run(self, job, line)
        try:
            return await self._begin(run)
        except StoreError:
            raise
        except Exception as error:
            log.error("line %s cannot be carried out: %r", run.request_id, error, exc_info=error)
            job.running.discard(run)
            if run.exchange is not None:
                run.exchange.cancel()
            self._fail(run, errors.internal(run.request_id))
            return True

    async def _begin(self, run: _Run) -> bool:
        """Start a line; False: there is no room for it now, or it is too early to say."""
        job, line = run.job, run.line
        account = self._account(job.batch.key_id)
        request = self._asked(run, account)
        if account is None or isinstance(request, Refusal):
            assert isinstance(request, Refusal)
            self._fail(run, request)
            return True
        offer = self._half(request.model)
        if offer is None and self.svc.any_model and not self._any_ready():
            job.lines.appendleft(line)  # nothing has been heard of yet: too early to say
            return False
        if offer is None or (account.models and offer.name not in account.models):
            self._fail(run, errors.unknown_model(request.model))
            return True
        beyond = request.beyond(offer)
        if beyond is not None:
            self._fail(run, beyond)
            return True
        urgent = job.urgent(self.svc.clock.now().timestamp())
        want = Want(
            offer.name,
            regions=account.regions,
            tenant=account.tenant.id,
            patience_s=BATCH_PATIENCE_S,
            barred=account.barred,
        )
        if not self._room(account, want, urgent=urgent):
            job.lines.appendleft(line)
            return False
        return await self._admit(run, request, offer, account, want, urgent=urgent)

    def _asked(self, run: _Run, account: KeyAccount | None) -> Request | Refusal:
        """What a line asks for, where its batch's key still holds."""
        if account is None:
            return Refusal(401, "the key that made this batch is no longer valid", "invalid_api_key")
        expires = account.key.expires
        if expires is not None and self.svc.clock.now() >= expires:
            return Refusal(401, "the key that made this batch has expired", "expired_api_key")
        request = self._read(run)
        if isinstance(request, Request) and request.stream:
            return errors.bad_request("a batch does not stream", "unsupported_parameter", "stream")
        return request

    def _room(self, account: KeyAccount, want: Want, *, urgent: bool) -> bool:
        if urgent:
            return sum(len(one.running) for one in self._jobs.values()) < MAX_URGENT
        return self._spare(want) is not None and leaves_room(account, self.svc.loop.time())

    async def _admit(
        self, run: _Run, request: Request, offer: ModelOffer, account: KeyAccount, want: Want, *, urgent: bool
    ) -> bool:
        svc = self.svc
        outcome = svc.book.admit(account, offer, request.ask(offer), svc.loop.time())
        if isinstance(outcome, Short):
            granted = await svc.lease(outcome)
            if isinstance(granted, Refusal):
                outcome = granted
            else:
                outcome = svc.book.admit(account, offer, request.ask(offer), svc.loop.time(), granted)
        if isinstance(outcome, Short):
            outcome = Refusal(503, "the budget is being shared out", "budget_busy", retry_after_s=1)
        if isinstance(outcome, Refusal):
            if outcome.status in (429, 503) and outcome.code != "insufficient_quota":
                self._pause(run)
                return False
            self._fail(run, outcome)
            return True
        assert isinstance(outcome, Admitted)
        exchange = Exchange.of(outcome, request, offer, run.request_id, run, svc, svc.shared)
        run.exchange = exchange
        run.job.running.add(run)
        backend = None if urgent else self._spare(want)
        if backend is None:
            exchange.begin()
        else:
            run.site = backend.site
            svc.exchanges.add(exchange)
            exchange.go(backend)
        return True

    def _account(self, key_id: str) -> KeyAccount | None:
        """Of a key that is valid now."""
        book = self.svc.book
        if self._accounts_of is not book.by_digest:  # made anew whenever keys change
            self._accounts_of = book.by_digest
            self._accounts = {one.key.id: one for one in book.by_digest.values()}
        if book.open is not None and key_id == book.open.key.id:
            return book.open
        return self._accounts.get(key_id)

    def _half(self, model: str) -> ModelOffer | None:
        """The model at half its tariff, each price rounded down to whole nano-dollars."""
        offer = self.svc.offer(model)
        if offer is None:
            return None
        half = self._halves.get(model)
        if half is None or half[0] is not offer:  # tariffs change
            half = (
                offer,
                replace(
                    offer,
                    input_nano=offer.input_nano // 2,
                    output_nano=offer.output_nano // 2,
                    cached_nano=offer.cached_nano // 2,
                ),
            )
            self._halves[model] = half
        return half[1]

    def _any_ready(self) -> bool:
        return any(backend.state is State.READY for backend in self.svc.backends.values())

    def _spare(self, want: Want) -> Backend | None:
        """A replica with a place that nobody else wants."""
        svc = self.svc
        if len(svc.queue):
            return None
        able = route.candidates(svc.backends.values(), want, svc.loop.time())
        at = Counter(run.site for job in self._jobs.values() for run in job.running)
        now = svc.clock.now()
        spare = []
        for one in able:
            # What the plan allots to a site, where it says something of batch work.
            most = svc.table.power.batch_lines(one.site, now)
            if one.renter in ("", want.tenant) and idle(one) and (most is None or at[one.site] < most):
                spare.append(one)
        return min(spare, key=lambda one: route.score(one, want), default=None)

    # --- results ----------------------------------------------------------------------

    def answered(self, run: _Run, status: int, body: bytes) -> None:
        """An exchange is over."""
        job, line = run.job, run.line
        if run not in job.running:  # cancelled meanwhile
            return
        job.running.discard(run)
        self._woken.set()
        if status == 200:
            if run.exchange is not None and run.exchange.state.output_tokens is not None:
                before = self.per_line.get(job.model)
                self.per_line[job.model] = mean(before, run.exchange.state.output_tokens)
            self._land(run, status, body)
        elif status in (429, 503) or (status >= 500 and job.faults[line.number] + 1 < MAX_TRIES):
            job.faults[line.number] += status not in (429, 503)
            self._again(run)
            self._pause(run)
        else:
            self._land(run, status, body)

    def _again(self, run: _Run) -> None:
        """It has a bill under this id, for nothing: the next try needs another."""
        self._done.vain.append((run.job.batch.id, run.line.number))
        run.line = replace(run.line, tries=run.line.tries + 1)

    def _pause(self, run: _Run) -> None:
        job, number = run.job, run.line.number
        pause = min(MAX_PAUSE_S, PAUSE_S * 2 ** min(job.pauses[number], 10))
        job.pauses[number] += 1
        job.later.append((self.svc.loop.time() + pause, run.line))

    def _fail(self, run: _Run, refusal: Refusal) -> None:
        self.svc.stats.refuse(refusal.code, run.job.batch.owner.partition("/")[0])
        self._land(run, refusal.status, refusal.body())

    def _land(self, run: _Run, status: int, body: bytes) -> None:
        batch, line = run.job.batch, run.line
        run.job.pauses.pop(line.number, None)
        run.job.faults.pop(line.number, None)
        text = result_line(run.request_id, line, status, body, None)
        self._done.results.append(Result(batch.id, line.number, status == 200, text))
