"""The coordinator's socket and a gateway's end of it: lines of JSON over a Unix socket.

A gateway asks (`join`, `renew`, `ask`), the coordinator may call back (`recall`), and is answered (`given`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from tieline.gateway import errors
from tieline.gateway.admit import Book, Purse, Scope, Short
from tieline.gateway.errors import Refusal
from tieline.gateway.lease import LEASE_S, RENEW_EVERY_S, Coordinator, Granted, Lacking
from tieline.store import Spool

log = logging.getLogger("tieline.gateway")

# One request waits this long for the coordinator; recalls take part of it.
ASK_S: Final = 0.050
RECALL_S: Final = 0.025
MAX_LINE: Final = 65_536
# A request lacks in at most three budgets: key, project, tenant.
MAX_ROUNDS: Final = 4

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

Audit = Callable[[str], dict[str, int] | None]


@dataclass(frozen=True, slots=True)
class _Ask:
    gateway: str
    fence: int
    needs: dict[str, int]
    number: int
    writer: asyncio.StreamWriter


class CoordinatorServer:
    """Serves a Coordinator to the gateways of one machine."""

    def __init__(self, coordinator: Coordinator, audit: Audit) -> None:
        self.coordinator, self.audit = coordinator, audit
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._recalls: dict[int, asyncio.Future[int]] = {}
        self._number = 0
        self._queue: list[_Ask] = []
        self._worker: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None

    async def start(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_LINE)
        path.chmod(0o600)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers.values():
            writer.close()

    def sweep(self) -> None:
        """Once a second: free what dead gateways held."""
        for gateway in self.coordinator.lapsed(asyncio.get_running_loop().time()):
            log.warning("gateway %s is gone; its slices are freed", gateway)
            self.coordinator.drop(gateway, self.audit(gateway))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gateway = ""
        try:
            while line := await reader.readline():
                message = _decode(line)
                word = message["do"]
                now = asyncio.get_running_loop().time()
                if word == "join":
                    gateway = message["gateway"]
                    self._writers[gateway] = writer
                    fence = self.coordinator.join(gateway, message["totals"], now)
                    self._say(writer, {"re": message["n"], "fence": fence})
                elif word == "renew":
                    ok = self.coordinator.renew(gateway, message["fence"], now)
                    self._say(writer, {"re": message["n"], "ok": ok})
                elif word == "given":
                    self.coordinator.give_back(gateway, message["fence"], {message["name"]: message["amount"]})
                    waiting = self._recalls.pop(message["n"], None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message["amount"])
                elif word == "ask":
                    self._queue.append(_Ask(gateway, message["fence"], message["needs"], message["n"], writer))
                    if self._worker is None:
                        self._worker = asyncio.create_task(self._work())
        except (ConnectionError, msgspec.DecodeError, KeyError, ValueError, asyncio.IncompleteReadError) as error:
            log.info("gateway %s: %r", gateway, error)
        finally:
            if self._writers.get(gateway) is writer:
                del self._writers[gateway]
            writer.close()

    async def _work(self) -> None:
        """Answer what was asked, in batches: those that lack something share one round of recalls, which is
        exact for all of them since it came after they asked."""
        while self._queue:
            batch, self._queue = self._queue, []
            for _ in range(MAX_ROUNDS):
                lacking = [(ask, lack) for ask in batch if (lack := self._try(ask)) is not None]
                if not lacking:
                    break
                wanted = sorted({(holder, lack.name) for _, lack in lacking for holder in lack.holders})
                given = await asyncio.gather(*(self._recall(holder, name) for holder, name in wanted))
                silent = {name for (_, name), amount in zip(wanted, given, strict=True) if amount is None}
                batch = []
                for ask, lack in lacking:
                    again = self._try(ask)
                    if again is None:
                        continue
                    if again.name != lack.name:
                        batch.append(ask)  # another budget lacks now: one more round
                    else:  # a silent holder may have something unspent: not spent, only not to be had yet
                        self._say(
                            ask.writer,
                            {"re": ask.number, **({"busy": 1} if lack.name in silent else {"spent": lack.name})},
                        )
            else:
                for ask in batch:
                    self._say(ask.writer, {"re": ask.number, "busy": 1})
        self._worker = None

    def _try(self, ask: _Ask) -> Lacking | None:
        outcome = self.coordinator.ask(ask.gateway, ask.fence, ask.needs, asyncio.get_running_loop().time())
        if isinstance(outcome, Lacking):
            return outcome
        reply = {"granted": outcome.amounts} if isinstance(outcome, Granted) else {"fenced": 1}
        self._say(ask.writer, {"re": ask.number, **reply})
        return None

    async def _recall(self, gateway: str, name: str) -> int | None:
        writer = self._writers.get(gateway)
        if writer is None:
            return None
        self._number += 1
        number = self._number
        waiting = self._recalls[number] = asyncio.get_running_loop().create_future()
        self._say(writer, {"recall": name, "n": number})
        try:
            return await asyncio.wait_for(waiting, RECALL_S)
        except TimeoutError:
            self._recalls.pop(number, None)
            return None

    @staticmethod
    def _say(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        if not writer.is_closing():
            writer.write(_encode(message) + b"\n")


@dataclass(slots=True)
class _Hold:
    """What is set aside in one purse for a request that waits for the coordinator."""

    purse: Purse
    name: str
    cost: int
    held: int


class LeaseClient:
    """A gateway's slices: asked for when short, given back when called, given up when the lease runs out."""

    def __init__(self, path: Path, gateway: str, book: Book, spool: Spool, abandon: Callable[[], None]) -> None:
        self.path, self.gateway, self.book, self.spool, self.abandon = path, gateway, book, spool, abandon
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._fence = 0
        self._loop = asyncio.get_running_loop()
        self._held: dict[int, list[_Hold]] = {}

    async def run(self) -> None:
        """Join, renew every second, join again after a loss. Never returns."""
        while True:
            try:
                await self._live()
            except (OSError, asyncio.IncompleteReadError, TimeoutError, msgspec.DecodeError) as error:
                log.info("the budgets' coordinator is away: %r", error)
            self._writer = None
            await asyncio.sleep(0.1)
            self._lapse()

    async def _live(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(self.path, limit=MAX_LINE)
        reading = asyncio.create_task(self._read(reader))
        try:
            # A new fence means new slices: what the old ones had reserved must be over before.
            if self._fence:
                self.abandon()
                await asyncio.sleep(0.05)
            for scope in self._leased():
                assert scope.purse is not None
                scope.purse.granted = scope.purse.settled
            totals = await asyncio.to_thread(self.spool.totals)
            sent = self._loop.time()
            self._fence = (await self._call({"do": "join", "gateway": self.gateway, "totals": totals}, 2.0))["fence"]
            self._extend(sent)
            while not reading.done():
                await asyncio.sleep(RENEW_EVERY_S)
                sent = self._loop.time()
                if not (await self._call({"do": "renew", "fence": self._fence}, 2.0))["ok"]:
                    return
                self._extend(sent)
        finally:
            reading.cancel()
            if self._writer is not None:
                self._writer.close()

    def _leased(self) -> list[Scope]:
        return [s for s in self.book.scopes.values() if s.purse is not None and s.purse.leased]

    def _extend(self, sent: float) -> None:
        """The lease counts from when we asked, so that ours always ends before the coordinator's."""
        for scope in self._leased():
            assert scope.purse is not None
            scope.purse.expires = sent + LEASE_S

    def _lapse(self) -> None:
        """Past the lease nothing reserved may go on: it would spend what is freed to others."""
        if any(
            s.purse is not None and s.purse.reserved and self._loop.time() >= s.purse.expires for s in self._leased()
        ):
            self.abandon()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            message = _decode(line)
            if "recall" in message:
                self._recalled(message)
            else:
                self._answered(message)
                waiting = self._waiting.pop(message["re"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
        raise ConnectionResetError("the coordinator closed the connection")

    def _recalled(self, message: dict[str, Any]) -> None:
        amount = 0
        for scope in self._leased():
            if self.book.total_name(scope) == message["recall"]:
                assert scope.purse is not None
                amount = max(0, scope.purse.free)
                scope.purse.granted -= amount
        self._tell(
            {"do": "given", "n": message["n"], "fence": self._fence, "name": message["recall"], "amount": amount}
        )

    def _tell(self, message: dict[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            raise ConnectionResetError("not connected to the coordinator")
        self._writer.write(_encode(message) + b"\n")

    def _new_number(self) -> int:
        self._number += 1
        return self._number

    async def _call(self, message: dict[str, Any], timeout_s: float, number: int | None = None) -> dict[str, Any]:
        number = self._new_number() if number is None else number
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            self._tell({**message, "n": number})
            return await asyncio.wait_for(waiting, timeout_s)
        finally:
            self._waiting.pop(number, None)

    async def ask(self, short: Short) -> Refusal | None:
        """None: there is enough now; admit again without waiting for anything else.

        What is free here is held for the asker while the rest is asked for, and the grant too until it wakes,
        so that no other request can take it in between.
        """
        holds = []
        for scope_id, cost in short.needs:
            scope = self.book.scopes[scope_id]
            assert scope.purse is not None
            hold = max(0, min(scope.purse.free, cost))
            scope.purse.reserved += hold
            holds.append(_Hold(scope.purse, self.book.total_name(scope), cost, hold))
        number = self._new_number()
        self._held[number] = holds
        needs = {one.name: one.cost - one.held for one in holds if one.held < one.cost}
        try:
            reply = await self._call({"do": "ask", "fence": self._fence, "needs": needs}, ASK_S, number)
        except (OSError, TimeoutError):
            return _AWAY
        finally:
            self._release(number)
        if "granted" in reply:
            return None
        if "spent" in reply:
            return errors.spent(reply["spent"].partition("|")[0])
        return _AWAY

    def _answered(self, message: dict[str, Any]) -> None:
        """A grant becomes a hold of its asker; anything else ends the asker's hold, before the next message."""
        granted = message.get("granted")
        if granted is None:
            self._release(message["re"])
            return
        for one in self._held.get(message["re"], ()):
            if one.name in granted:
                one.purse.granted += granted.pop(one.name)
                one.purse.reserved += one.cost - one.held
                one.held = one.cost
        for scope in self._leased():  # the asker gave up waiting: the slice is ours all the same
            assert scope.purse is not None
            scope.purse.granted += granted.get(self.book.total_name(scope), 0)

    def _release(self, number: int) -> None:
        for one in self._held.pop(number, ()):
            one.purse.reserved -= one.held

    def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()


_AWAY: Final = Refusal(503, "the budgets' coordinator cannot answer now", "budget_unavailable", retry_after_s=1)
