"""A gateway's end of the budgets' coordination: its shares of each budget.

Asked for when they are too small, given back when called, given up when the lease runs out.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.budgets.admit import KeyAccounts, LocalBudget, Share, Short
from tieline.gateway.budgets.coordinator import MAX_LINE, decode, encode
from tieline.gateway.budgets.followed import FollowedChanges
from tieline.gateway.budgets.greeting import first_greeting
from tieline.gateway.budgets.lease import CONCURRENT, LEASE_S, RENEW_EVERY_S, limited
from tieline.gateway.budgets.ordered import NumberedChange, patch_from
from tieline.gateway.budgets.recall import TIGHT_S
from tieline.gateway.budgets.remote import Remote, proof
from tieline.gateway.errors import Refusal
from tieline.store import Spool

log = logging.getLogger("tieline.gateway")

Answer = tuple[int, bytes, bytes]
"""Status, header lines, body."""

# One request waits this long for the coordinator.
ASK_S: Final = 0.050
# ... and, where several may coordinate, so long for the next: it leads 2.8 s after the last sign of life of one that
# died, sooner after one that was stopped, and up to 2.5 s after a standby of a frozen store was promoted. As long as a
# lease, which is what requests that need no more live on meanwhile. No more than so many requests at once.
FOLLOWED_S: Final = LEASE_S
ASK_AGAIN_S: Final = 0.1
MAX_PATIENT: Final = 1_000
CALL_S: Final = 2.0
# Seconds of its own spending that a gateway far from the coordinator keeps at hand.
SLACK_S: Final = 4
# A limit that was refused is not asked for again so soon: clients above theirs cost no call each.
REFUSED_S: Final = 0.100
SLOT_REFUSED_S: Final = 0.020
# Reading the disk while nothing settles: it takes a millisecond.
JOIN_TRIES: Final = 20


@dataclass(slots=True)
class _Asker:
    """A request that waits: what is granted is reserved for it until it wakes."""

    budgets: dict[str, LocalBudget]  # by the budget's name
    held: int | None = None

    def part(self, name: str) -> int:
        """What is held of this one."""
        return 0 if self.held is None else 1 if limited(name) else self.held


class LeasedBudgets:
    """What a gateway has of budgets that are leased, and who waits for more. Pure."""

    def __init__(self, book: KeyAccounts) -> None:
        self.book = book
        self._askers: dict[int, _Asker] = {}
        self._spent: dict[str, int] = {}
        self._keep: dict[str, int] = {}

    def leased(self) -> dict[str, LocalBudget]:
        """Leased budgets by their names."""
        scopes = self.book.scopes.values()
        return {self.book.total_name(s): s.budget for s in scopes if s.budget is not None and s.budget.leased}

    def shares(self) -> list[Share]:
        return [share for scope in self.book.scopes.values() for share in scope.shares]

    def share(self, name: str) -> Share | None:
        """A limit's, by the name of its account."""
        id_, _, kind = name.rpartition("|")
        scope = self.book.scopes.get(id_)
        return next((one for one in scope.shares if one.kind == kind), None) if scope is not None else None

    def budget(self, name: str) -> LocalBudget | None:
        """What there is of a budget or a limit."""
        if limited(name):
            share = self.share(name)
            return share.budget if share is not None else None
        scope = self.book.scopes.get(name.rpartition("|")[0])
        return scope.budget if scope is not None and self.book.total_name(scope) == name else None

    def used(self, names: Iterable[str] | None = None) -> dict[str, tuple[int, int]]:
        """Take out what was used of limits that fill again, and how much of that was in the share."""
        shares: Iterable[Share | None] = self.shares() if names is None else map(self.share, names)
        used = {}
        for share in shares:
            if share is not None and share.budget.settled:
                budget = share.budget
                sliced = max(0, min(budget.settled, budget.granted - budget.reserved))
                used[share.name] = (budget.settled, sliced)
                budget.granted -= sliced
                budget.settled = 0
        return used

    def restart(self, *, lapsed: bool = False) -> dict[str, int]:
        """All shares are over; what is reserved, to be claimed anew. Limits that fill again are kept, unless the lease
        is over: they may have been given to others."""
        budgets = self.leased()
        for budget in budgets.values():
            budget.granted = budget.settled + budget.reserved
        claims = {name: budget.reserved for name, budget in budgets.items()}
        for share in self.shares():
            if share.kind == CONCURRENT:
                share.budget.granted = share.budget.reserved
            elif lapsed:
                share.budget.granted = share.budget.settled = 0
            claims[share.name] = share.budget.granted
        return claims

    def settled(self) -> int:
        return sum(budget.settled for budget in self.leased().values())

    def extend(self, until: float) -> None:
        for budget in (*self.leased().values(), *(share.budget for share in self.shares())):
            budget.expires = until

    def lapsed(self, now: float) -> bool:
        """Is anything reserved beyond the lease?"""
        return any(budget.reserved and now >= budget.expires for budget in self.leased().values())

    def begin(self, number: int, short: Short) -> tuple[str, ...]:
        """A request waits for a grant of these budgets."""
        short_of = ((name, self.budget(name)) for name in short.names)
        asker = self._askers[number] = _Asker({name: budget for name, budget in short_of if budget is not None})
        return tuple(asker.budgets)

    def end(self, number: int) -> None:
        """It wakes, or has given up."""
        asker = self._askers.pop(number)
        for name, budget in asker.budgets.items():
            budget.reserved -= asker.part(name)

    def recalled(self, name: str, now: float) -> int:
        """Give back what is unspent. Until the verdict nothing is admitted from what is freed from now on."""
        budget = self.budget(name)
        if budget is None:
            return 0
        amount = max(0, budget.free)
        budget.granted -= amount
        budget.tight_until = now + TIGHT_S
        return amount

    def more(self, names: tuple[str, ...]) -> int:
        """What a request may bring home beyond its need, by the spending of the last second."""
        return min((self._keep.get(name, 0) for name in names if not limited(name)), default=0)

    def slack(self) -> dict[str, int]:
        """Take out what is free beyond SLACK_S of the spending since this was last asked."""
        slack = {}
        for name, budget in self.leased().items():
            spent = budget.settled + budget.reserved
            keep = self._keep[name] = SLACK_S * max(0, spent - self._spent.get(name, spent))
            self._spent[name] = spent
            if budget.free > keep:
                slack[name] = budget.free - keep
                budget.granted -= slack[name]
        return slack

    def granted(self, number: int, amount: int, extras: dict[str, int]) -> None:
        """Slices grow; the asker's part is held for it. One who gave up waiting leaves it to others."""
        for name, extra in extras.items():
            budget = self.budget(name)
            if budget is not None:
                budget.granted += (1 if limited(name) else amount) + extra
        asker = self._askers.get(number)
        if asker is not None:
            asker.held = amount
            for name, budget in asker.budgets.items():
                budget.reserved += asker.part(name)

    def refused(self, name: str, wait_s: float, now: float) -> Refusal:
        """The coordinator has no more of this."""
        share = self.share(name)
        if share is None:
            return errors.spent(name.partition("|")[0])
        share.refused_until = now + (SLOT_REFUSED_S if share.kind == CONCURRENT else REFUSED_S)
        share.wait_s = wait_s
        return share.refusal()


class LeaseClient:
    """One gateway process's way to the coordinator: a socket of this machine, or another machine's."""

    def __init__(
        self, where: Path | Remote, gateway: str, book: KeyAccounts, spool: Spool, abandon: Callable[[], None]
    ) -> None:
        self.where, self.gateway, self.spool, self.abandon = where, gateway, spool, abandon
        self._followed = isinstance(where, Remote) and bool(where.others)  # there is another where this one ends
        self.budgets = LeasedBudgets(book)
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._fence = 0
        self._turning = False
        self._loop = asyncio.get_running_loop()
        self._until = float("-inf")  # of the lease
        self._heard = float("-inf")  # when the coordinator last answered for a lease
        self._up = asyncio.Event()  # joined
        self._patient = 0  # requests that wait for the next coordinator
        self._calls: dict[str, str] = {}  # calls that only this process makes: name, digest
        self._ended: dict[str, dict[str, Any]] = {}  # ... whose end the coordinator has not confirmed
        self.changes: FollowedChanges | None = None  # where all gateways share what is changed at run time

    async def run(self) -> None:
        """Join, renew every second, join again after a loss. Never returns."""
        while True:
            try:
                await self._live()
            except (OSError, asyncio.IncompleteReadError, TimeoutError, msgspec.DecodeError, KeyError) as error:
                log.info("the budgets' coordinator is away: %r", error)
            self._writer = None
            if not self._turning:
                await asyncio.sleep(0.1)
            self._lapse()

    async def joined(self) -> None:
        """Wait a moment for the coordinator, so that the first requests find it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._up.wait(), CALL_S)

    def heard_s(self) -> float:
        """Since the coordinator that leads last answered; what was changed before that is in force here a second later
        at most."""
        return self._loop.time() - self._heard

    def turn(self) -> None:
        """A new period has begun: the shares were of the old one. Join again for the new; what runs goes on."""
        self.budgets.restart()
        self._turning = True
        self._up.clear()
        if self._writer is not None:
            self._writer.close()

    async def _live(self) -> None:
        if isinstance(self.where, Path):
            reader, self._writer = await asyncio.open_unix_connection(self.where, limit=MAX_LINE)
            nonce = ""
        else:
            greeting = await first_greeting((self.where, *self.where.others))
            reader, self._writer, nonce = greeting.reader, greeting.writer, greeting.nonce
        reading = asyncio.create_task(self._read(reader))
        try:
            await self._join(nonce)
            while not reading.done():
                await asyncio.wait({reading}, timeout=RENEW_EVERY_S)
                sent = self._loop.time()
                self._tell_used()
                if reading.done():
                    return
                renewed = await self._call({"do": "renew", "fence": self._fence}, CALL_S)
                if not renewed["ok"]:
                    return
                self._extend(sent + LEASE_S)
                if self.changes is not None:
                    self.changes.renewed(renewed.get("changes"))
                if isinstance(self.where, Remote):
                    self._return_slack()
        finally:
            reading.cancel()
            self._up.clear()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionResetError("the coordinator closed the connection"))
            if self._writer is not None:
                self._writer.close()

    def _tell_used(self, names: Iterable[str] | None = None) -> None:
        if self._up.is_set() and (used := self.budgets.used(names)):
            self._tell({"do": "used", "n": 0, "fence": self._fence, "used": used})

    def _return_slack(self) -> None:
        """The coordinator cannot read this machine's disk: what is held idle here would count as spent if it died."""
        for name, amount in self.budgets.slack().items():
            self._tell({"do": "given", "n": 0, "fence": self._fence, "name": name, "amount": amount})

    async def _join(self, nonce: str) -> None:
        """A new fence means new shares; what runs on the old ones is claimed anew, unless their lease is over."""
        self._turning = False
        self._lapse()
        for _ in range(JOIN_TRIES):
            claims = self.budgets.restart(lapsed=self._loop.time() >= self._until)
            before = self.budgets.settled()
            totals = await asyncio.to_thread(self.spool.totals)
            if self.budgets.settled() == before:
                break  # else what settled meanwhile would stand in both
        sent = self._loop.time()  # the lease counts from when we asked: ours ends before the coordinator's
        message: dict[str, Any] = {
            "do": "join",
            "gateway": self.gateway,
            "totals": totals,
            "claims": claims,
            "calls": self._calls,
        }
        if isinstance(self.where, Remote):
            message["proof"] = proof(self.where.secret, nonce, self.gateway)
        if self.changes is not None:
            message["changes"] = self.changes.number
        joined = await self._call(message, CALL_S)
        self._fence = joined["fence"]
        if self.changes is not None:
            self.changes.joined(joined.get("changes"))
        self._extend(sent + LEASE_S)
        for ended in self._ended.values():
            self._tell({**ended, "n": self._new_number()})
        self._up.set()

    def _extend(self, until: float) -> None:
        self._until, self._heard = until, self._loop.time()
        self.budgets.extend(until)

    def _lapse(self) -> None:
        """Past the lease nothing reserved may go on: it would spend what is freed to others. Nor may a call that
        another process may make by now."""
        now = self._loop.time()
        if self.budgets.lapsed(now) or (self._calls and now >= self._until):
            self.abandon()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            message = decode(line)
            if "recall" in message:
                name = message["recall"]
                amount = self.budgets.recalled(name, self._loop.time())
                self._tell({"do": "given", "n": message["n"], "fence": self._fence, "name": name, "amount": amount})
                continue
            if "granted" in message:
                self.budgets.granted(message["re"], message["granted"], message["extras"])
            if message.get("claim") == "yours":
                self._calls[message["name"]] = message["digest"]
            if "ended" in message:
                self._ended.pop(message["ended"], None)
                self._calls.pop(message["ended"], None)
            if "change" in message and self.changes is not None:
                change = message["change"]
                heard = NumberedChange(change["number"], patch_from(change["patch"]))
                self.changes.changed(heard, message["base"])
            # What a newer coordinator says beside is no answer, and nothing to end the connection for.
            waiting = self._waiting.pop(message.get("re", 0), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
        raise ConnectionResetError("the coordinator closed the connection")

    def _tell(self, message: dict[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            raise ConnectionResetError("not connected to the coordinator")
        self._writer.write(encode(message) + b"\n")

    def _new_number(self) -> int:
        self._number += 1
        return self._number

    async def _call(
        self, message: dict[str, Any], timeout_s: float | None, number: int | None = None
    ) -> dict[str, Any]:
        number = self._new_number() if number is None else number
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            self._tell({**message, "n": number})
            return await asyncio.wait_for(waiting, timeout_s)
        finally:
            self._waiting.pop(number, None)

    async def call(self, message: dict[str, Any]) -> dict[str, Any]:
        """One question about changes. Raises OSError where the coordinator does not answer."""
        async with asyncio.timeout(CALL_S):
            await self._up.wait()
            return await self._call(message, None)

    async def ask(self, short: Short) -> int | Refusal:
        """What was granted of each budget; admit with it at once, without waiting for anything else. Where another
        coordinator may follow the one that led, a request waits for that."""
        until = self._loop.time() + FOLLOWED_S
        while True:
            outcome = await self._asked_once(short)
            patient = self._followed and self._patient < MAX_PATIENT and self._loop.time() < until
            if outcome is not _AWAY or not patient:
                return outcome
            self._patient += 1
            try:
                await asyncio.sleep(ASK_AGAIN_S)
            finally:
                self._patient -= 1

    async def _asked_once(self, short: Short) -> int | Refusal:
        try:
            async with asyncio.timeout(ASK_S):
                await self._up.wait()  # it may be joining again for keys that have just been made
                reply = await self._question(short)
        except (OSError, TimeoutError):
            return _AWAY
        if "granted" in reply:
            return int(reply["granted"])
        if "spent" in reply:
            return self.budgets.refused(reply["spent"], reply.get("wait", 0.0), self._loop.time())
        return _AWAY

    async def _question(self, short: Short) -> dict[str, Any]:
        number = self._new_number()
        names = self.budgets.begin(number, short)
        question: dict[str, Any] = {
            "do": "ask", "fence": self._fence, "names": names, "least": short.least, "most": short.most
        }  # fmt: skip
        if isinstance(self.where, Remote):
            question["more"] = self.budgets.more(names)
        try:
            self._tell_used(names)
            return await self._call(question, None, number)
        finally:
            self.budgets.end(number)

    # --- calls that are made once ------------------------------------------------

    async def claim(self, name: str, digest: str) -> Answer | Refusal | None:
        """None: make the call, and tell `ended` of it. Else what another process's call was answered, or why it is
        not known. Waits for a call that runs, also over losses of the connection."""
        while True:
            try:
                await asyncio.wait_for(self._up.wait(), CALL_S)
                question = {"do": "claim", "fence": self._fence, "name": name, "digest": digest}
                reply = await self._call(question, None)
            except TimeoutError:
                return _UNSURE
            except OSError:
                await asyncio.sleep(0.05)
                continue
            word = reply["claim"]
            if word == "yours":
                return None
            if word == "answered":
                return int(reply["status"]), reply["head"].encode(), base64.b64decode(reply["text"])
            return CONFLICT if word == "conflict" else _UNSURE

    def ended(self, name: str, answer: Answer | None, *, keep: bool) -> None:
        """A call of ours is over; None: without an answer that could be repeated."""
        body = None
        if answer is not None:
            status, head, text = answer
            body = {"status": status, "head": head.decode(), "text": base64.b64encode(text).decode()}
        self._ended[name] = message = {"do": "ended", "name": name, "answer": body, "keep": keep}
        with contextlib.suppress(OSError):  # else when it has joined again
            if self._up.is_set():
                self._tell({**message, "n": self._new_number()})


CONFLICT: Final = Refusal(409, "this Idempotency-Key was used with another body", "idempotency_conflict")
_UNSURE: Final = Refusal(
    503, "whether this Idempotency-Key was used before cannot be known now", "idempotency_unavailable", retry_after_s=1
)
_AWAY: Final = Refusal(503, "the budgets' coordinator cannot answer now", "budget_unavailable", retry_after_s=1)
