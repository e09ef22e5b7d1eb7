"""The runner of batches: carries lines out through the same admission and relay as everybody's requests.

While there is time it takes only capacity that nobody else wants: nobody waits in the queue, a replica has a
place to spare beyond the line's own, power there is not dear. In the last quarter of its window a line stands in
the queue like any request of its tenant. One process of a gateway runs batches: the one that holds a lock on a
file, which the system releases when it dies. A line's result and its bill are each kept once: a line that was
billed and whose result was lost with the process runs again under the same request id, which the books know.

A line, a file or a batch that cannot be handled, for whatever reason, ends with an error that its owner reads; the
others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.batch.backlog import WaitingLines, mean
from tieline.gateway.batch.batches import Detail, batch_detail
from tieline.gateway.batch.files import KEPT_S, encode, new_id
from tieline.gateway.batch.in_hand import Hand, fault_of, idle, leaves_room, result_line
from tieline.gateway.batch.input import read_lines
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
from tieline.store import BatchStore, StoreError
from tieline.store.batches import Result, StoredBatch, StoredFile, StoredLine

log = logging.getLogger("tieline.gateway")

# Lines at once: what a few busy replicas batch well, and little to lose with the process.
MAX_RUNNING: Final = 64
# Lines read ahead of each batch.
PAGE: Final = 128
# Tries of a line that fails in an engine; refusals for want of room are no tries.
MAX_TRIES: Final = 3
# Pauses of a line after a refusal: doubling from the first to the last.
PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 30.0
# How often the disk is asked for new batches and cancellations; work of this process wakes the runner at once.
LOOK_S: Final = 1.0
SWEEP_S: Final = 300.0
# Deadline work waits while power costs more than it usually does, and goes where it is cheapest.
DEAR: Final = 0.5
BATCH_PATIENCE_S: Final = PATIENCE_S["batch"] - PATIENCE_S["standard"]
# This part of a window, at its end, is a batch's own right to the queue.
URGENT_SHARE: Final = 0.25
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

    def __init__(self, runner: Runner, job: Hand, line: StoredLine) -> None:
        self.runner, self.job, self.line = runner, job, line

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
        self.runner.answered(self, status, body)

    def begin_stream(self, headers: bytes) -> None:
        raise AssertionError("a line does not stream")

    send = pass_on = finish_stream = begin_stream

    def drop(self) -> None:
        raise AssertionError("a line does not stream")


class Runner:
    """One per process; it works only while it holds the lock."""

    def __init__(self, svc: Service, store: BatchStore, lock: Path) -> None:
        self.svc, self.store, self.lock = svc, store, lock
        self._jobs: dict[str, Hand] = {}
        self._landed: list[Result] = []
        self._vain: list[tuple[str, int]] = []
        self._accounts: dict[str, KeyAccount] = {}
        self._accounts_of: object = None  # the keys that they are made of
        self._halves: dict[str, tuple[ModelOffer, ModelOffer]] = {}
        self.per_line: dict[str, float] = {}  # output tokens by model
        self._woken = asyncio.Event()
        self._look = True
        self._stopped = self._closed = False
        self._looked = self._swept = float("-inf")

    def wake(self) -> None:
        self._look = True
        self._woken.set()

    async def run(self) -> None:
        """Wait to be the one, then work until cancelled or closed."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.open("ab") as file:
            while not self._closed:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    await asyncio.sleep(LOOK_S)
            await self._work()

    async def _work(self) -> None:
        while not self._closed:
            try:
                await self._step()
            except StoreError as error:
                log.error("batches wait: %s", error)
                await asyncio.sleep(LOOK_S)
            except Exception as error:  # all tenants' batches wait for this loop
                log.error("batches wait: %r", error, exc_info=error)
                await asyncio.sleep(LOOK_S)
            # `wait_for` may lose a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1 if self._jobs else LOOK_S):
                    await self._woken.wait()
            self._woken.clear()

    async def _step(self) -> None:
        now = self.svc.loop.time()
        await self._flush()
        if self._look or now - self._looked >= LOOK_S:
            self._look, self._looked = False, now
            await self._find()
        if now - self._swept >= SWEEP_S:
            self._swept = now
            today = int(self._now_s())
            await asyncio.to_thread(self.store.sweep, today, today - KEPT_S)
        for job in list(self._jobs.values()):
            try:
                await self._advance(job)
            except StoreError:
                raise
            except Exception as error:
                await self._abandon(job, error)
        await self._place()

    async def _abandon(self, job: Hand, error: Exception) -> None:
        """A batch that cannot be handled ends, with what it has and an error that its owner reads."""
        log.error("batch %s cannot be carried out: %r", job.batch.id, error, exc_info=error)
        for run in list(job.running):
            job.running.discard(run)
            if run.exchange is not None and not run.billed:
                run.exchange.cancel()
        detail = batch_detail(job.batch)
        detail.errors = [fault_of(f"the batch cannot be carried out ({type(error).__name__}); hand it in anew")]
        await self._end(job, "failed", detail)

    def stop(self) -> None:
        """Start nothing more; what runs may end while the process drains."""
        self._stopped = True

    def close(self) -> None:
        """The process ends: what ran in vain is tried anew by the next one, under another request id."""
        self._stopped = self._closed = True
        for job in self._jobs.values():
            for run in job.running:
                if not run.billed:
                    self._vain.append((job.batch.id, run.line.number))
        with contextlib.suppress(StoreError):
            self.store.land(self._landed)
            self.store.again(self._vain)
        self.store.close()

    def _now_s(self) -> float:
        return self.svc.clock.now().timestamp()

    # --- the disk ---------------------------------------------------------------------

    async def _find(self) -> None:
        found = {batch.id: batch for batch in await asyncio.to_thread(self.store.active)}
        for id_, batch in found.items():
            job = self._jobs.get(id_)
            if job is None:
                self._jobs[id_] = Hand(batch)
            else:
                job.batch = batch

    async def _flush(self) -> None:
        if self._landed:
            results, self._landed = self._landed, []
            try:
                await asyncio.to_thread(self.store.land, results)
            except StoreError:
                self._landed = results + self._landed
                raise
        if self._vain:
            vain, self._vain = self._vain, []
            await asyncio.to_thread(self.store.again, vain)

    async def _advance(self, job: Hand) -> None:
        """One step of a batch's life."""
        batch, now_s = job.batch, self._now_s()
        if batch.status == "validating" and now_s < batch.expires:
            await self._validate(job)
        elif batch.status == "cancelling" or now_s >= batch.expires:
            await self._cut_short(job)
            return
        elif not job.lines and not job.all_read:
            await self._read_ahead(job)
        if batch.status == "in_progress" and job.all_read and not (job.lines or job.later or job.running):
            await self._flush()
            await self._finish(job, "completed")

    async def _cut_short(self, job: Hand) -> None:
        """A batch that was cancelled, or whose window is over, ends with what it has."""
        for run in list(job.running):
            if not run.billed and run.exchange is not None:
                job.running.discard(run)
                run.exchange.cancel()
        await self._flush()
        if not job.running:  # else their answers are here and paid for; they land as soon as the bill is on disk
            await self._finish(job, "cancelled" if job.batch.status == "cancelling" else "expired")

    async def _read_ahead(self, job: Hand) -> None:
        page = await asyncio.to_thread(self.store.waiting, job.batch.id, job.read, PAGE)
        job.all_read = len(page) < PAGE
        if page:
            job.read = page[-1].number
            job.lines.extend(page)
            job.model = job.model or self._model_of(job, page[0])

    def _model_of(self, job: Hand, line: StoredLine) -> str:
        request = self._read(_Run(self, job, line))
        return request.model if isinstance(request, Request) else ""

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
            run.surface = Responses(run, plain, int(self._now_s()))
        return request

    def waiting(self) -> list[WaitingLines]:
        """What is owed, for the dispatcher."""
        return [
            WaitingLines(job.model, b.total - b.completed - b.failed, b.created, b.expires, b.total)
            for job in self._jobs.values()
            if (b := job.batch).status == "in_progress" and job.model
        ]

    async def _validate(self, job: Hand) -> None:
        batch = job.batch
        content = await asyncio.to_thread(self.store.content, batch.input_file)
        lines, faults = await asyncio.to_thread(read_lines, content, batch.endpoint)
        detail = batch_detail(batch)
        now = int(self._now_s())
        if faults:
            detail.errors = faults
            detail.stamps["failed_at"] = now
            await asyncio.to_thread(self.store.turn, batch.id, ("validating",), "failed", encode(detail))
            self._jobs.pop(batch.id, None)
            return
        detail.stamps["in_progress_at"] = now
        await asyncio.to_thread(self.store.begin, batch.id, lines, encode(detail))
        self._look = True  # as it is on disk now; it may have been cancelled meanwhile
        await self._find()

    async def _finish(self, job: Hand, status: str) -> None:
        await self._find()  # the counts as they are on disk
        if status == "expired":
            await self._expire_rest(job.batch)
            await self._find()
        await self._end(job, status, batch_detail(job.batch))

    async def _end(self, job: Hand, status: str, detail: Detail) -> None:
        batch, now = job.batch, int(self._now_s())
        detail.stamps |= {"finalizing_at": now, f"{status}_at": now}
        output = self._result_file(batch, "output", now) if batch.completed else None
        failed = self._result_file(batch, "errors", now) if batch.failed else None
        detail.output_file = output.id if output is not None else None
        detail.error_file = failed.id if failed is not None else None
        await asyncio.to_thread(self.store.finish, batch.id, status, encode(detail), output, failed)
        self._jobs.pop(batch.id, None)

    async def _expire_rest(self, batch: StoredBatch) -> None:
        """Every line that did not come to be carried out says so in the error file."""
        error = {"code": "batch_expired", "message": "the batch's window ended before this line was carried out"}
        after = -1
        while lines := await asyncio.to_thread(self.store.waiting, batch.id, after, PAGE):
            after = lines[-1].number
            results = [
                Result(
                    batch.id,
                    one.number,
                    False,
                    result_line(f"{batch.id}-{one.number}", one, None, b"", error),
                )
                for one in lines
            ]
            await asyncio.to_thread(self.store.land, results)

    def _result_file(self, batch: StoredBatch, what: str, now: int) -> StoredFile:
        name = f"{batch.id}_{what}.jsonl"
        return StoredFile(new_id("file-"), batch.owner, name, "batch_output", 0, now, now + KEPT_S)

    # --- lines ------------------------------------------------------------------------

    async def _place(self) -> None:
        """Start lines while there is room, project by project: who has least running goes next."""
        svc = self.svc
        full: set[Hand] = set()
        while not self._stopped and not svc.draining and svc.meter.failing is None:
            running: Counter[str] = Counter()
            for job in self._jobs.values():
                running[job.batch.owner] += len(job.running)
            if running.total() >= MAX_RUNNING:
                return
            ready = [
                job
                for job in self._jobs.values()
                if job.batch.status == "in_progress" and job not in full and job.batch.expires > self._now_s()
            ]
            if not ready:
                return
            job = min(ready, key=lambda one: (running[one.batch.owner], one.batch.expires, one.batch.id))
            line = job.next(svc.loop.time())
            if line is None or not await self._start(job, line):
                full.add(job)

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
        urgent = job.urgent(self._now_s())
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
        exchange = svc.request(run, request, offer, account, outcome, run.request_id)
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
        kept = self._halves.get(model)
        if kept is None or kept[0] is not offer:  # tariffs change
            kept = (
                offer,
                replace(
                    offer,
                    input_nano=offer.input_nano // 2,
                    output_nano=offer.output_nano // 2,
                    cached_nano=offer.cached_nano // 2,
                ),
            )
            self._halves[model] = kept
        return kept[1]

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
        self._vain.append((run.job.batch.id, run.line.number))
        run.line = replace(run.line, tries=run.line.tries + 1)

    def _pause(self, run: _Run) -> None:
        job, number = run.job, run.line.number
        pause = min(MAX_PAUSE_S, PAUSE_S * 2 ** min(job.pauses[number], 10))
        job.pauses[number] += 1
        job.later.append((self.svc.loop.time() + pause, run.line))

    def _fail(self, run: _Run, refusal: Refusal) -> None:
        self.svc.stats.refused[refusal.code] += 1
        self._land(run, refusal.status, refusal.body())

    def _land(self, run: _Run, status: int, body: bytes) -> None:
        batch, line = run.job.batch, run.line
        run.job.pauses.pop(line.number, None)
        run.job.faults.pop(line.number, None)
        text = result_line(run.request_id, line, status, body, None)
        self._landed.append(Result(batch.id, line.number, status == 200, text))
