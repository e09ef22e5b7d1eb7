"""Calls that are tried again under an Idempotency-Key: one call, one bill.

What runs or was answered in this process is known here. Where several processes share a coordinator, that says who
makes a call, and keeps its answer for all of them; while it is away nothing under a key is begun.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tieline.gateway.budgets.claims import KEEP_S, MAX_CLAIMS
from tieline.gateway.budgets.client import CONFLICT, Answer, LeaseClient
from tieline.gateway.errors import Refusal
from tieline.gateway.wire.client import ClientConnection

# Larger answers are not kept.
MAX_BODY: Final = 262_144
_REPEATED: Final = b"x-tieline-repeated: true\r\n"

Call = asyncio.Future[Answer]
"""Told the answer of a call; cancelled where there is none."""
# Makes a call; None: ask once more whether it may be made.
Again = Callable[[Call | None], None]


@dataclass(slots=True)
class _Kept:
    at: float
    digest: bytes
    call: Call


class Process(Protocol):
    """What is needed of the process: its loop, and the coordinator where several share one."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def leases(self) -> LeaseClient | None: ...

    def spawn(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...


class Repeats:
    """The calls of one process by their keys."""

    def __init__(self, svc: Process) -> None:
        self.svc = svc
        self._kept: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()

    def begin(self, connection: ClientConnection, key_id: str, given: bytes, body: bytes, again: Again) -> Call | None:
        """The call, where it is to be made now. None: it is answered here, or `again` is called later."""
        svc, name = self.svc, f"{key_id}|{hashlib.sha256(given).hexdigest()}"
        digest = hashlib.sha256(body).digest()
        # Whether another body is a conflict is for the coordinator to say, where there is one.
        slot = (name, b"" if svc.leases is None else digest)
        answer = self._kept.get(slot)
        if answer is not None and svc.loop.time() - answer.at <= KEEP_S:
            if answer.digest != digest:
                connection.refuse(CONFLICT)
            else:
                self._attach(connection, answer.call, again)
            return None
        call = self._remember(slot, digest)
        if svc.leases is None:
            return call
        connection.run(self._claim(connection, name, digest, call, again))
        return None

    def _remember(self, slot: tuple[str, bytes], digest: bytes) -> Call:
        call: Call = self.svc.loop.create_future()
        self._kept[slot] = _Kept(self.svc.loop.time(), digest, call)
        self._kept.move_to_end(slot)
        while len(self._kept) > MAX_CLAIMS:
            self._kept.popitem(last=False)

        def judge(done: Call) -> None:
            """Only what succeeded is repeated; an error may be tried again."""
            answer = self._kept.get(slot)
            if answer is not None and answer.call is done and (slot[1] or not _lasting(done)):
                del self._kept[slot]

        call.add_done_callback(judge)
        return call

    def _attach(self, connection: ClientConnection, call: Call, again: Again) -> None:
        """The first one's answer, once it is there."""
        number = connection.request_id

        def answer(done: Call) -> None:
            if connection.request_id != number or connection.transport is None:
                return
            if done.cancelled():
                again(None)
            else:
                status, head, text = done.result()
                connection.answer(status, head + _REPEATED, text)

        call.add_done_callback(answer)

    async def _claim(self, connection: ClientConnection, name: str, digest: bytes, call: Call, again: Again) -> None:
        """Make the call if no other process does or did."""
        number, leases = connection.request_id, self.svc.leases
        assert leases is not None
        outcome = await leases.claim(name, digest.hex())
        here = connection.request_id == number and connection.transport is not None
        if outcome is None:

            def ended(done: Call) -> None:
                answer = None if done.cancelled() or len(done.result()[2]) > MAX_BODY else done.result()
                leases.ended(name, answer, keep=_lasting(done))

            call.add_done_callback(ended)
            if here:
                again(call)
            else:
                call.cancel()
        elif isinstance(outcome, Refusal):
            call.set_result((outcome.status, outcome.headers(), outcome.body()))
            if here:
                connection.refuse(outcome)
        else:
            call.set_result(outcome)
            if here:
                connection.answer(outcome[0], outcome[1] + _REPEATED, outcome[2])


def _lasting(done: Call) -> bool:
    return not done.cancelled() and done.result()[0] < 400 and len(done.result()[2]) <= MAX_BODY
