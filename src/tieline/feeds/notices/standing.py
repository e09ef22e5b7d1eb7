"""What a source of orders says, as instructions: begun once, renewed, changed, ended, and what its silence means.

Pure: values in, instructions out. The same word twice does nothing twice; an order that is no longer said is over,
which is what an implied cancel is. A source that has been silent past its bound takes the policy that was declared
for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from tieline.records import Instruction

# An order without an end holds for this long and is renewed while it is said.
ROLLING = timedelta(minutes=10)
RENEW_BELOW = timedelta(minutes=5)
# A grid operator's point has one or two orders at a time; more than this is nonsense and is refused by name.
MAX_ORDERS = 16
# No site can be asked for more.
MOST_W = 10e9


class SourceError(Exception):
    """The source cannot be read now; one line says why."""


@dataclass(frozen=True, slots=True)
class StatedOrder:
    """One order as its source says it now. `until` None: for as long as it is said."""

    order_id: str
    limit_w: float
    start: datetime | None = None
    until: datetime | None = None


class OrderSource(Protocol):
    """`doubt`: one line on what it said besides that could not be read, while that stands."""

    @property
    def name(self) -> str: ...

    @property
    def doubt(self) -> str | None: ...

    async def read(self, now: datetime) -> list[StatedOrder]: ...

    def tell(self, now: datetime, taken: list[str]) -> None: ...

    async def close(self) -> None: ...


def chosen_delay(window: timedelta | None, key: str) -> timedelta:
    """Where an event asks for a start at random within `window`: a moment of it, the same each time the event is read
    and another for each `key`, so that many sites do not shed in one second."""
    if window is None or window <= timedelta(0):
        return timedelta(0)
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return timedelta(seconds=int(window.total_seconds() * share))


@dataclass(frozen=True, slots=True)
class SilencePolicy:
    """What a source's silence means after `after`: "hold" what it said last, "ignore" it, or draw at most
    `limit_w`."""

    after: timedelta = timedelta(minutes=5)
    policy: Literal["hold", "ignore", "curtail"] = "hold"
    limit_w: float = 0.0


@dataclass(slots=True)
class StandingOrders:
    """The orders of one source at one site."""

    site_id: str
    name: str
    silence: SilencePolicy = field(default_factory=SilencePolicy)
    origin: str = "site"  # who asks the source: the site's agent, or the platform's desk
    silent: bool = False
    _held: dict[str, Instruction] = field(default_factory=dict)
    _heard: datetime | None = None

    @property
    def source(self) -> str:
        """What its records say of where they come from."""
        return f"{self.origin}:{self.site_id}/{self.name}"

    def adopt(self, orders: Iterable[Instruction], now: datetime) -> None:
        """After a restart: what this source had said before and still stands, so that it can also be taken back."""
        said = sorted((one for one in orders if one.source == self.source), key=lambda one: one.known_at)
        self._held = {
            key: order for key, order in {one.instruction_id: one for one in said}.items() if order.until > now
        }

    def hear(self, now: datetime, said: list[StatedOrder]) -> list[Instruction]:
        """All that the source says now; what it said before and says no more is over."""
        self._heard, self.silent = now, False
        wanted = {one.order_id: one for one in said[:MAX_ORDERS]}
        return [*self._end_others(now, set(wanted)), *self._take(now, wanted.values())]

    def miss(self, now: datetime) -> list[Instruction]:
        """The source did not answer. Within its bound, and under "hold", its orders go on."""
        self._heard = self._heard or now
        if now - self._heard < self.silence.after:
            return self._renew(now)
        self.silent = True
        match self.silence.policy:
            case "hold":
                return self._renew(now)
            case "ignore":
                return self._end_others(now, set())
            case "curtail":
                order = StatedOrder(f"{self.name}-silent", self.silence.limit_w)
                return [*self._renew(now), *self._take(now, [order])]

    def _take(self, now: datetime, said: Iterable[StatedOrder]) -> list[Instruction]:
        out = []
        for one in said:
            start, held = one.start or now, self._held.get(one.order_id)
            until = one.until or now + ROLLING
            if held is not None:
                start = one.start or held.at
                same = held.limit_w == one.limit_w and held.at == start
                if same and (one.until == held.until or (one.until is None and held.until - now > RENEW_BELOW)):
                    continue
            if until <= now and held is None:
                continue  # over before it was heard
            order = self._instruction(one.order_id, start, now, until, one.limit_w)
            self._held[one.order_id] = order
            out.append(order)
        return out

    def _renew(self, now: datetime) -> list[Instruction]:
        """Orders without an end of their own go on while nothing else is said."""
        out = []
        for key, held in list(self._held.items()):
            if held.until <= now:
                del self._held[key]
            elif held.until - now <= RENEW_BELOW and held.until - held.known_at <= ROLLING:
                self._held[key] = self._instruction(key, held.at, now, now + ROLLING, held.limit_w)
                out.append(self._held[key])
        return out

    def _end_others(self, now: datetime, keep: set[str]) -> list[Instruction]:
        ended = []
        for key in [key for key in self._held if key not in keep]:
            held = self._held.pop(key)
            if held.until > now:
                ended.append(self._instruction(key, min(held.at, now), now, now, held.limit_w))
        return ended

    def _instruction(
        self, order_id: str, at: datetime, known_at: datetime, until: datetime, limit_w: float
    ) -> Instruction:
        return Instruction(
            at=at, known_at=known_at, source=self.source, kind="measured",
            instruction_id=order_id, site_id=self.site_id, limit_w=limit_w, until=until,
        )  # fmt: skip
