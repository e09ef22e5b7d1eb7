"""Metering: one Usage record per admitted request, durable before the answer's last byte.

The spool commits in groups on its own thread; an exchange that waits is told on the event loop. A pusher
sends what is committed over the link and forgets it when the store has acknowledged it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from tieline import records
from tieline.clock import Clock
from tieline.gateway.budgets.admit import Book, cost_nano
from tieline.gateway.metering.stats import Stats
from tieline.gateway.metering.usage_lines import Bill, Forms, moment
from tieline.link import MAX_BATCH, Link, LinkDownError, push
from tieline.records import Action, Record, Usage
from tieline.store import Spool, StoreError
from tieline.store.spool import Group

if TYPE_CHECKING:
    from tieline.gateway.requests.exchange import Exchange

log = logging.getLogger("tieline.gateway")

# How soon new usage is pushed, and how long after a failure the link is tried again.
PUSH_EVERY_S: Final = 0.5
PUSH_AGAIN_S: Final = 2.0


def _nowhere(lines: list[bytes]) -> None:
    """Where an access log goes that nobody asked for."""


class Meter:
    """Turns ended exchanges into records and money."""

    def __init__(self, spool: Spool, book: Book, stats: Stats, clock: Clock, source: str) -> None:
        self.spool, self.book, self.stats, self.clock, self.source = spool, book, stats, clock, source
        self.failing: StoreError | None = None
        self.log_lines: Callable[[list[bytes]], object] = _nowhere
        self._lines: list[bytes] = []  # of the group that is being written
        self._loop = asyncio.get_running_loop()
        self._forms = Forms(source)
        self._told, self._told_at = b"", -1.0
        spool.render, spool.landed = self._render, self._landed

    def bill(self, ex: Exchange, *, wait: bool) -> bool:
        """Settle in memory and queue the record. True: `ex.on_billed` will be called when it is on disk."""
        prompt, output = ex.prompt_tokens or 0, ex.output_tokens or 0
        offer, ticket = ex.offer, ex.ticket
        if ex.cached_tokens:
            cost = cost_nano(offer, prompt, ex.cached_tokens, output)
        else:
            cost = prompt * offer.input_nano + output * offer.output_nano
        if ticket.account.purses and cost > ticket.reserved:
            cost = ticket.reserved  # an engine cannot make it dearer than what was agreed
        self.book.settle(ticket, cost, prompt + output)
        now = ex.now()
        told = self._told if now == self._told_at else self._moment(now)
        bill = Bill(ex, cost, told, round((now - ex.began) * 1e3), wait)
        try:
            self.spool.put_thing(bill)
        except StoreError as error:
            self._say(error)
            self._count(bill)
            return False
        return wait

    def _moment(self, now: float) -> bytes:
        """The time as it stands in a record; the loop's time moves in milliseconds, and this with it."""
        if now != self._told_at:
            self._told, self._told_at = moment(self.clock.now()), now
        return self._told

    def record_action(self, by: str, what: str, target: str, detail: str = "") -> None:
        """The audit trail of the door's operators."""
        now = self.clock.now()
        action = Action(
            at=now, known_at=now, source=self.source, kind="measured", by=by, what=what, target=target, detail=detail
        )
        self.spool.put(action.key, records.encode(action))

    def keep(self, kept: Sequence[Record]) -> None:
        """Any other record, on its way to the store with the usage. Raises StoreError."""
        for record in kept:
            self.spool.put(record.key, records.encode(record))

    def note(self, ex: Exchange) -> None:
        """Progress of a stream: what a successor bills if this process dies. Only delivered tokens count, so
        the shortfall is the operator's."""
        prompt, output = ex.prompt_tokens or 0, ex.tokens
        cost = cost_nano(ex.offer, prompt, ex.cached_tokens, output)
        now = ex.now()
        bill = Bill(ex, cost, self._moment(now), round((now - ex.began) * 1e3), False)
        self.spool.progress([(ex.id, self._forms.line(ex, bill, prompt, output, "gateway_lost", True))])

    # --- on the spool's thread -------------------------------------------------

    def _render(self, bills: list[Bill], group: Group) -> None:
        """The rows of a group. What they are made of no longer changes."""
        values, shares = group
        named: dict[int, tuple[str, ...]] = {}
        line = self._forms.line
        self._lines = lines = []
        for bill in bills:
            ex = bill.ex
            try:
                text = line(ex, bill, ex.prompt_tokens or 0, ex.output_tokens or 0, ex.finish or "", ex.estimated)
            except (
                ValueError,
                OverflowError,
            ) as error:  # an engine's absurd number must not cost the rest of the group its records
                log.error("usage of %s cannot be written: %s", ex.id, error)
                continue
            values += (ex.id, text)
            lines.append(text)
            account = ex.ticket.account
            names = named.get(id(account))
            if names is None:
                names = named[id(account)] = tuple([self.book.total_name(scope) for scope in account.purses])
            shares.append((names, bill.cost))

    def _landed(self, bills: list[Bill], error: StoreError | None) -> None:
        """A group is on disk, or is not. An answer is not withheld for a full disk: the loss is the operator's,
        and nothing new is admitted until a write succeeds."""
        # The loop is closed: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._tell, bills, error)
        if self._lines:
            self.log_lines(self._lines)
            self._lines = []

    # --- on the loop again -------------------------------------------------------

    def _tell(self, bills: list[Bill], error: StoreError | None) -> None:
        if error is not None:
            self._say(error)
        else:
            self.failing = None
        for bill in bills:
            self._count(bill)
            if bill.waits:
                bill.ex.on_billed()

    def _count(self, bill: Bill) -> None:
        stats, ex = self.stats, bill.ex
        stats.count(ex.offer.name, ex.status, ex.prompt_tokens or 0, ex.output_tokens or 0)
        if len(ex.hops) > 1 and sum(hop.ended != "hedged" for hop in ex.hops) > 1:
            stats.resumed += 1
        for hop in ex.hops:
            stats.hops[hop.ended] += 1
        stats.totals.add(bill.total_ms / 1e3)

    def _say(self, error: StoreError) -> None:
        if self.failing is None:
            log.error("usage cannot be written: %s", error)
        self.failing = error

    async def try_again(self) -> None:
        """While usage cannot be written nothing is admitted, so no request would ever find the disk mended."""
        try:
            await asyncio.to_thread(self.spool.try_write)
        except StoreError:
            return
        log.warning("usage can be written again")
        self.failing = None

    # --- at start and in the background ------------------------------------------

    def recover(self) -> int:
        """Bill what a killed predecessor was streaming, from its last progress rows."""
        rows = self.spool.unfinished()
        for key, body in rows:
            usage = records.decode(body)
            assert isinstance(usage, Usage)
            names = self.book.total_names(usage.tenant, usage.project, usage.key_id)
            self.spool.put(key, body, tuple(names), usage.cost_nano_usd)
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
