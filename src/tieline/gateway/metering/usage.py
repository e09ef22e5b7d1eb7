"""Metering: one Usage record per admitted request, durable before the answer's last byte.

The spool commits in groups on its own thread; a request that waits is told on the event loop. A pusher
sends what is committed over the link and forgets it when the store has acknowledged it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from tieline import records
from tieline.clock import Clock, wall_now
from tieline.gateway.budgets.admit import KeyAccounts, cost_nano, owed_nano
from tieline.gateway.metering.stats import Stats
from tieline.gateway.metering.usage_lines import Bill, Forms, Metered, moment
from tieline.intake import IntakeError, read
from tieline.link import Link, QueuedItem, push_always
from tieline.records import Action, Record, Usage
from tieline.records.losses import tell_losses
from tieline.store import Spool, StoreError
from tieline.store.peer import StoreState
from tieline.store.quarantine import NAME as QUARANTINE
from tieline.store.quarantine import Quarantine
from tieline.store.spool import Group

log = logging.getLogger("tieline.gateway")


def _nowhere(lines: list[bytes]) -> None:
    """Where an access log goes that nobody asked for."""


class UsageMeter:
    """Turns ended requests into records and money."""

    def __init__(
        self, spool: Spool, book: KeyAccounts, stats: Stats, clock: Clock, source: str, region: str = ""
    ) -> None:
        self.spool, self.book, self.stats, self.clock, self.source = spool, book, stats, clock, source
        self.region = region
        self.failing: StoreError | None = None
        self.log_lines: Callable[[list[bytes]], object] = _nowhere
        self._lines: list[bytes] = []  # of the group that is being written
        self._loop = asyncio.get_running_loop()
        self._forms = Forms(source, region)
        self._at, self._at_s = b"", -1.0
        spool.render, spool.landed = self._render, self._landed

    def bill(self, request: Metered, now: float, on_disk: Callable[[], None] | None) -> bool:
        """Settle in memory and queue the record. True: `on_disk` will be called when it is there."""
        prompt, output = request.prompt_tokens or 0, request.output_tokens or 0
        ticket = request.ticket
        cost = owed_nano(request.offer, ticket, prompt, request.cached_tokens, output)
        self.book.settle(ticket, cost, 0 if request.request.unit else prompt + output)
        request.cost_nano = cost
        at = self._at if now == self._at_s else self._moment(now)
        bill = Bill(request, cost, at, round((now - request.began) * 1e3), on_disk)
        try:
            self.spool.put_thing(bill, last=not self.book.live)
        except StoreError as error:
            self._say(error)
            self._count(bill)
            return False
        return on_disk is not None

    def _moment(self, now: float) -> bytes:
        """The time as it stands in a record; the loop's time moves in milliseconds, and this with it."""
        if now != self._at_s:
            self._at, self._at_s = moment(self.clock.now()), now
        return self._at

    def record_action(self, by: str, what: str, target: str, detail: str = "") -> None:
        """The audit trail of the door's operators."""
        now = self.clock.now()
        action = Action(
            at=now, known_at=now, source=self.source, kind="measured", by=by, what=what, target=target, detail=detail
        )
        self.spool.put(action.key, records.encode(action))

    def keep(self, batch: Sequence[Record]) -> None:
        """Any other record, on its way to the store with the usage. Raises StoreError."""
        for record in batch:
            self.spool.put(record.key, records.encode(record))

    def note(self, request: Metered, now: float) -> None:
        """Progress of a stream: what a successor bills if this process dies. Only delivered tokens count, so
        the shortfall is the operator's."""
        prompt, output = request.prompt_tokens or 0, request.tokens
        cost = cost_nano(request.offer, prompt, request.cached_tokens, output)
        bill = Bill(request, cost, self._moment(now), round((now - request.began) * 1e3), None)
        self.spool.progress([(request.id, self._forms.line(bill, prompt, output, "gateway_lost", True))])

    # --- on the spool's thread -------------------------------------------------

    def _render(self, bills: list[Bill], group: Group) -> None:
        """The rows of a group. What they are made of no longer changes."""
        values, shares = group
        named: dict[int, tuple[str, ...]] = {}
        line = self._forms.line
        self._lines = lines = []
        for bill in bills:
            request = bill.request
            try:
                text = line(
                    bill,
                    request.prompt_tokens or 0,
                    request.output_tokens or 0,
                    request.finish or "",
                    request.estimated,
                )
            except (
                ValueError,
                OverflowError,
            ) as error:  # an engine's absurd number must not cost the rest of the group its records
                log.error("usage of %s cannot be written: %s", request.id, error)
                continue
            values += (request.id, text)
            lines.append(text)
            account = request.ticket.account
            names = named.get(id(account))
            if names is None:
                names = named[id(account)] = tuple([self.book.total_name(scope) for scope in account.budgets])
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
            if bill.on_disk is not None:
                bill.on_disk()

    def _count(self, bill: Bill) -> None:
        stats, request = self.stats, bill.request
        of_tokens = not request.request.unit  # as `tokens_of`, in place: every request comes by
        prompt = (request.prompt_tokens or 0) if of_tokens else 0
        output = (request.output_tokens or 0) if of_tokens else 0
        model, tenant = request.offer.name, request.account.tenant.id
        stats.count(model, request.status, prompt, output, bill.cost)
        stats.count_tenant(tenant, model, prompt, output, bill.cost)
        first = request.first_token_at
        if first is not None:
            stats.first_tokens.add(model, first - request.began)
            if output > 1:
                gap_s = max(0.0, bill.total_ms / 1e3 - (first - request.began)) / (output - 1)
                stats.gaps.add(model, gap_s)
                stats.count_gap(tenant, model, gap_s)
        if len(request.hops) > 1 and sum(hop.ended != "hedged" for hop in request.hops) > 1:
            stats.resumed += 1
        for hop in request.hops:
            stats.hops[hop.ended] += 1
            if hop.region != self.region:
                stats.count_crossed(self.region, hop, prompt)
        stats.totals.add(model, bill.total_ms / 1e3)

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
            try:
                usage = read(body, records.decode)
                if not isinstance(usage, Usage):
                    raise IntakeError(f"a {type(usage).__name__} is no usage")
            except IntakeError as error:  # of a later version, or damaged: the gateway starts all the same
                log.error("what %s had used cannot be billed: %s", key, error)
                continue
            names = self.book.total_names(usage.tenant, usage.project, usage.key_id)
            self.spool.put(key, body, tuple(names), usage.cost_nano_usd)
        return len(rows)

    async def push_for_ever(self, link: Link, origin: str) -> None:
        """Records leave the spool when the store, not the link, has acknowledged them; what it never takes is set
        aside and holds up nothing."""
        await push_always(link, origin, SpoolQueue(origin, self.spool))


class SpoolQueue:
    """The spool as the link empties it; its disk is waited for on another thread."""

    def __init__(
        self,
        origin: str,
        spool: Spool,
        quarantine: Quarantine | None = None,
        now: Callable[[], datetime] = wall_now,
    ) -> None:
        self.origin, self.spool, self._now = origin, spool, now
        self.quarantine = quarantine or Quarantine(spool.path.with_name(QUARANTINE))

    async def take(self, limit: int) -> Sequence[tuple[int, str, bytes]]:
        return await asyncio.to_thread(self.spool.take, limit) if len(self.spool) else []

    async def done(self, numbers: Iterable[int]) -> None:
        await asyncio.to_thread(self.spool.forget, list(numbers))

    async def heard(self, state: StoreState) -> None:
        again = await asyncio.to_thread(self.spool.heard, state)
        if again:
            log.warning("%s: the store is another; %d rows are sent again", self.origin, again)
            named = [(f"store, as {self.origin} knew it", self.spool)]
            await asyncio.to_thread(tell_losses, named, self._now(), self._keep)

    def _keep(self, batch: Sequence[Record]) -> None:
        for one in batch:
            self.spool.put(one.key, records.encode(one))

    async def aside(self, item: QueuedItem, why: str) -> None:
        one = [(item.key, why, item.body)]
        (recorded,) = await asyncio.to_thread(self.quarantine.add, self.origin, one, self._now())
        if not recorded:
            await asyncio.to_thread(self.quarantine.lose, self.origin, item.key, why, self._now())
        where = f"set aside in {self.quarantine.path}" if recorded else f"lost: {self.quarantine.path} is full"
        log.error("the store never takes the usage of %s (%s); %s", item.key, why, where)
