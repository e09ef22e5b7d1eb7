"""The runner of batches: what each goes through on disk, from the file handed in to the files of results.

One process of a gateway runs batches: the one that holds a lock on a file, which the system releases when it dies. A
line's result and its bill are each kept once: a line that was billed and whose result was lost with the process runs
again under the same request id, which the books know. A batch that cannot be handled, for whatever reason, ends with
an error that its owner reads; the others go on. How a line is carried out: `batch.carrier`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
from pathlib import Path
from typing import Final

from tieline.gateway.batch.backlog import WaitingLines
from tieline.gateway.batch.batches import Detail, batch_detail
from tieline.gateway.batch.carrier import LineCarrier
from tieline.gateway.batch.files import KEPT_S, encode, new_id
from tieline.gateway.batch.in_hand import DoneLines, Hand, fault_of, result_line
from tieline.gateway.batch.input import read_lines
from tieline.gateway.service import Service
from tieline.store import BatchStore, StoreError
from tieline.store.batches import Result, StoredBatch, StoredFile

log = logging.getLogger("tieline.gateway")

# Lines read ahead of each batch.
PAGE: Final = 128
# How often the disk is asked for new batches and cancellations; work of this process wakes the runner at once.
LOOK_S: Final = 1.0
SWEEP_S: Final = 300.0


class Runner:
    """One per process; it works only while it holds the lock."""

    def __init__(self, svc: Service, store: BatchStore, lock: Path) -> None:
        self.svc, self.store, self.lock = svc, store, lock
        self._jobs: dict[str, Hand] = {}
        self._done = DoneLines()
        self._woken = asyncio.Event()
        self._lines = LineCarrier(svc, self._done, self._woken)
        self.per_line = self._lines.per_line
        self._look = True
        self._closed = False
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
        await self._done.flush(self.store)
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
        await self._lines.place(self._jobs)

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
        self._lines.stopped = True

    def close(self) -> None:
        """The process ends: what ran in vain is tried anew by the next one, under another request id."""
        self._lines.stopped = self._closed = True
        for job in self._jobs.values():
            for run in job.running:
                if not run.billed:
                    self._done.vain.append((job.batch.id, run.line.number))
        with contextlib.suppress(StoreError):
            self.store.land(self._done.results)
            self.store.again(self._done.vain)
        self.store.close()

    def _now_s(self) -> float:
        return self.svc.clock.now().timestamp()

    # --- the disk ---------------------------------------------------------------------

    async def _find(self) -> None:
        active = {batch.id: batch for batch in await asyncio.to_thread(self.store.active)}
        for id_, batch in active.items():
            job = self._jobs.get(id_)
            if job is None:
                self._jobs[id_] = Hand(batch)
            else:
                job.batch = batch

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
            await self._done.flush(self.store)
            await self._finish(job, "completed")

    async def _cut_short(self, job: Hand) -> None:
        """A batch that was cancelled, or whose window is over, ends with what it has."""
        for run in list(job.running):
            if not run.billed and run.exchange is not None:
                job.running.discard(run)
                run.exchange.cancel()
        await self._done.flush(self.store)
        if not job.running:  # else their answers are here and paid for; they land as soon as the bill is on disk
            await self._finish(job, "cancelled" if job.batch.status == "cancelling" else "expired")

    async def _read_ahead(self, job: Hand) -> None:
        page = await asyncio.to_thread(self.store.waiting, job.batch.id, job.read, PAGE)
        job.all_read = len(page) < PAGE
        if page:
            job.read = page[-1].number
            job.lines.extend(page)
            job.model = job.model or self._lines.model_of(job, page[0])

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
