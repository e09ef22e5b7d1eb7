"""One process that stands for an office: stands by, holds it, and knows when it holds it no more.

The holder renews from a thread of its own, so that a long decision does not lose the office; but only while its loop
goes on, so that a process that stands still does lose it. It calls itself the holder for HOLD_S after the beginning of
its last renewal, by monotonic time; another takes the office once it has seen no renewal for TAKE_S by its own. The
difference is for monotonic clocks that run apart. That two never hold at once does not rest on this alone: what is
written is checked by number (`fence`), and sites refuse an older number.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
from collections.abc import Callable
from typing import Final, Protocol

from tieline.clock import WallClock, wall_now
from tieline.store.database import StoreError
from tieline.store.lead.fence import Fence, FencedError
from tieline.store.lead.lease import LeaseRow, Leases, open_leases
from tieline.store.place import StorePlace

log = logging.getLogger("tieline.store")

BEAT_S: Final = 0.7
HOLD_S: Final = 3.0
TAKE_S: Final = 4.0
LOOK_S: Final = 0.3
# A loop that has not gone on for this long does not hold an office for ever; a long decision runs beside it.
STILL_S: Final = 15.0
# Whose clock is further from the store's than this does not lead: it would decide another interval, and set aside what
# sites say.
APART_S: Final = 60.0

Say = Callable[[str], None]


class Monotonic(Protocol):
    """A clock that only goes forward."""

    def monotonic(self) -> float: ...


class ClockApartError(ValueError):
    """This machine's clock and the store's differ; one line says by how much."""


class Lead:
    """An office that this process holds, or stands by for. `name`: of the machine, for people. `place`: where whoever
    needs the holder reaches it."""

    def __init__(
        self,
        store: StorePlace,
        office: str,
        name: str,
        place: str = "",
        clock: Monotonic | None = None,
        times: tuple[float, float] | None = None,
    ) -> None:
        """`times`: HOLD_S and TAKE_S of an office whose holder is missed sooner."""
        self.store, self.office, self.place = store, office, place
        self._hold_s, self._take_s = times or (HOLD_S, TAKE_S)
        self.holder = f"{name}#{secrets.token_hex(3)}"
        self.mark = 0
        self._clock: Monotonic = clock or WallClock()
        self._leases: Leases | None = None
        self._fence: Fence | None = None
        self._until = self._loop_at = float("-inf")
        self._over = threading.Event()
        self._why = "it was never held"

    @property
    def fence(self) -> Fence:
        assert self._fence is not None, "stand() first"
        return self._fence

    @property
    def number(self) -> int:
        return self.fence.number

    # --- standing by --------------------------------------------------------------------

    async def stand(self, say: Say = lambda line: None, wrong_clock: Say = lambda line: None) -> Fence:
        """Returns once this process holds the office. `say` hears who holds it meanwhile; `wrong_clock` why this one
        does not stand, and an empty line once it does. Raises StoreError where the store cannot be opened."""
        leases = self._leases = await asyncio.to_thread(open_leases, self.store)
        seen: LeaseRow | None = None
        since, said = self._clock.monotonic(), ""
        while True:
            try:
                row = await asyncio.to_thread(leases.look, self.office)
                if row != seen:
                    seen, since = row, self._clock.monotonic()
                holder = "" if row is None else row.holder
                if holder and holder != said:
                    said = holder
                    say(f"stands by; {holder} leads")
                free = not holder or self.store.url is None or self._clock.monotonic() - since >= self._take_s
                if free and await self._may_lead(leases, wrong_clock) and await self._take(leases, row):
                    return self.fence
            except StoreError as error:
                # What was seen stays seen: one that has not renewed when the store answers again has not renewed since,
                # and holds the office no longer, wherever the store answers from by then. One that has is seen anew.
                log.warning("standing by for %s: %s", self.office, error)
            await asyncio.sleep(LOOK_S)

    async def _may_lead(self, leases: Leases, wrong_clock: Say) -> bool:
        there = await asyncio.to_thread(leases.wall_s)
        apart = 0.0 if there is None else wall_now().timestamp() - there
        if abs(apart) <= APART_S:
            wrong_clock("")
            return True
        word = "ahead of" if apart > 0 else "behind"
        wrong_clock(f"this machine's clock is {abs(apart):,.0f} s {word} the store's, so that it does not lead; set it")
        return False

    async def _take(self, leases: Leases, row: LeaseRow | None) -> bool:
        began = self._clock.monotonic()
        fence = await asyncio.to_thread(leases.take, self.office, self.holder, self.place, row)
        if fence is None:
            return False
        self._fence, self.mark = fence, 0 if row is None else row.mark
        self._until = self._loop_at = began + self._hold_s
        if self.store.url is None:  # a folder has one platform, by its own lock
            self._until = float("inf")
        else:
            threading.Thread(target=self._renew_for_ever, daemon=True, name=f"lease of {self.office}").start()
        log.warning("%s leads %s, number %d", self.holder, self.office, fence.number)
        return True

    # --- holding ------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether it is the holder for certain; False is said early rather than late."""
        return self._clock.monotonic() < self._until

    def check(self) -> None:
        """Raises FencedError where it is not certain that this process still leads."""
        if not self.holds:
            raise FencedError(f"{self.holder} (number {self.number}) leads {self.office!r} no more: {self._why}")

    def reserve(self, mark: int) -> None:
        """Everything up to `mark` is this holder's to use. Raises FencedError, StoreError."""
        self.check()
        assert self._leases is not None
        self._leases.reserve(self.fence, mark)
        self.mark = mark

    async def lost(self) -> None:
        """Until this process holds the office no more. Its being awaited is what shows that the loop goes on."""
        while self.holds:
            self._loop_at = self._clock.monotonic()
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """Let the office go, where it is held: whoever stands by need not wait."""
        self._over.set()
        if self._leases is None:
            return
        if self._fence is not None:
            with contextlib.suppress(StoreError):
                self._leases.free(self._fence)
        self._until = float("-inf")
        self._leases.close()

    def _renew_for_ever(self) -> None:
        assert self._leases is not None
        self._why = f"the store has not answered for {self._hold_s:.0f} s"
        while not self._over.wait(BEAT_S):
            began = self._clock.monotonic()
            if began - self._loop_at > STILL_S:
                self._why = f"this process stood still for {STILL_S:.0f} s"
                continue
            if not self.holds:  # it may have been given up to whoever asks; it is not taken up again
                return
            try:
                self._leases.renew(self.fence)
            except FencedError as error:
                self._why, self._until = str(error), float("-inf")
                return
            except StoreError as error:
                log.warning("the lease of %s is not renewed: %s", self.office, error)
                continue
            if not self._over.is_set():
                self._until = began + self._hold_s
