"""Metering: one Usage record per admitted request, durable before the answer's last byte.

The spool commits in groups on its own thread; an exchange that waits is told on the event loop. A pusher
sends what is committed over the link and forgets it when the store has acknowledged it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tieline import records
from tieline.clock import Clock
from tieline.gateway.admit import Book, cost_nano
from tieline.gateway.stats import Stats
from tieline.link import MAX_BATCH, Link, LinkDownError, push
from tieline.records import Action, Usage
from tieline.store import Spool, StoreError

if TYPE_CHECKING:
    from tieline.gateway.relay import Exchange

log = logging.getLogger("tieline.gateway")

# How soon new usage is pushed, and how long after a failure the link is tried again.
PUSH_EVERY_S: Final = 0.5
PUSH_AGAIN_S: Final = 2.0

_ENDPOINTS: Final = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "rerank": "/v1/rerank",
}


def _nowhere(line: bytes) -> None:
    """Where an access log goes that nobody asked for."""


class Meter:
    """Turns ended exchanges into records and money."""

    def __init__(self, spool: Spool, book: Book, stats: Stats, clock: Clock, source: str) -> None:
        self.spool, self.book, self.stats, self.clock, self.source = spool, book, stats, clock, source
        self.failing: StoreError | None = None
        self.log_line: Callable[[bytes], object] = _nowhere
        self._loop = asyncio.get_running_loop()

    def bill(self, ex: Exchange, *, wait: bool) -> bool:
        """Settle in memory and queue the record. True: `ex.on_billed` will be called when it is on disk."""
        prompt, output = ex.prompt_tokens or 0, ex.output_tokens or 0
        cost = cost_nano(ex.offer, prompt, ex.cached_tokens, output)
        ticket = ex.ticket
        if ticket.account.purses:
            cost = min(cost, ticket.reserved)  # an engine cannot make it dearer than what was agreed
        self.book.settle(ticket, cost, prompt + output)
        stats = self.stats
        stats.count(ex.offer.name, ex.status, prompt, output)
        if len(ex.hops) > 1:
            stats.resumed += 1
        for hop in ex.hops:
            stats.hops[hop.ended] += 1
        now = ex.now()
        stats.totals.add(now - ex.began)
        body = records.encode(self._usage(ex, prompt, output, cost, now))
        self.log_line(body)
        purses = ticket.account.purses
        totals = tuple([(self.book.total_name(scope), cost) for scope in purses]) if cost and purses else ()
        try:
            self.spool.put(ex.id, body, totals, ex if wait else None)
        except StoreError as error:
            self._say(error)
            return False
        return wait

    def record_action(self, by: str, what: str, target: str) -> None:
        """The audit trail of the door's operators."""
        now = self.clock.now()
        action = Action(at=now, known_at=now, source=self.source, kind="measured", by=by, what=what, target=target)
        self.spool.put(action.key, records.encode(action))

    def note(self, ex: Exchange) -> None:
        """Progress of a stream: what a successor bills if this process dies. Only delivered tokens count, so
        the shortfall is the operator's."""
        output = ex.tokens
        prompt = ex.prompt_tokens or 0
        cost = cost_nano(ex.offer, prompt, ex.cached_tokens, output)
        usage = self._usage(ex, prompt, output, cost, ex.now(), finish="gateway_lost")
        self.spool.progress([(ex.id, records.encode(usage))])

    def _usage(self, ex: Exchange, prompt: int, output: int, cost: int, now: float, finish: str | None = None) -> Usage:
        key = ex.account.key
        told = self.clock.now()
        took_s = now - ex.began
        return Usage(
            at=told,
            known_at=told,
            source=self.source,
            kind="measured",
            request_id=ex.id,
            tenant=key.tenant,
            project=key.project,
            key_id=key.id,
            model=ex.offer.name,
            endpoint=_ENDPOINTS[ex.request.kind],
            status=ex.status,
            prompt_tokens=prompt,
            output_tokens=output,
            cached_tokens=min(ex.cached_tokens, prompt),
            cost_nano_usd=cost,
            estimated=ex.estimated or finish is not None,
            streamed=ex.request.stream,
            finish=finish or ex.finish or "",
            hops=tuple(ex.hops),
            first_token_ms=None if ex.first_token_at is None else round((ex.first_token_at - ex.began) * 1e3),
            total_ms=round(took_s * 1e3),
        )

    # --- on the spool's thread -------------------------------------------------

    def landed(self, tickets: list[object], error: StoreError | None) -> None:
        """A group is on disk, or is not. An answer is not withheld for a full disk: the loss is the operator's,
        and nothing new is admitted until a write succeeds."""
        try:
            self._loop.call_soon_threadsafe(self._tell, tickets, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _tell(self, tickets: list[object], error: StoreError | None) -> None:
        if error is not None:
            self._say(error)
        else:
            self.failing = None
        for one in tickets:
            if one is not None:
                one.on_billed()  # type: ignore[attr-defined]

    def _say(self, error: StoreError) -> None:
        if self.failing is None:
            log.error("usage cannot be written: %s", error)
        self.failing = error

    # --- at start and in the background ------------------------------------------

    def recover(self) -> int:
        """Bill what a killed predecessor was streaming, from its last progress rows."""
        rows = self.spool.unfinished()
        for key, body in rows:
            usage = records.decode(body)
            assert isinstance(usage, Usage)
            names = self.book.total_names(usage.tenant, usage.project, usage.key_id)
            self.spool.put(key, body, tuple((name, usage.cost_nano_usd) for name in names))
        return len(rows)

    async def push_for_ever(self, link: Link, origin: str) -> None:
        """Records leave the spool when the store, not the link, has acknowledged them."""
        while True:
            try:
                sent = await self._push_once(link, origin)
            except (LinkDownError, StoreError, OSError) as error:
                log.debug("usage waits for the link: %s", error)
                await asyncio.sleep(PUSH_AGAIN_S)
                continue
            if sent < MAX_BATCH:
                await asyncio.sleep(PUSH_EVERY_S)

    async def _push_once(self, link: Link, origin: str) -> int:
        rows = await asyncio.to_thread(self.spool.take, MAX_BATCH) if len(self.spool) else []
        if not rows:
            return 0
        ack = await push(link, origin, b"[" + b",".join(body for _, _, body in rows) + b"]")
        if ack.error is not None:
            raise LinkDownError(ack.error)
        await asyncio.to_thread(self.spool.forget, [id_ for id_, _, _ in rows])
        return len(rows)
