"""How the coordinator answers many gateways at once without ever refusing falsely. Pure: messages in, messages out.

A refusal is true if at some moment between the question and the answer everything settled and reserved, plus the
request's maximum, was above the limit. What gateways hold is spread over processes that go on settling while they
are asked, so one round of recalls proves nothing: one gateway may free what it had reserved just after it was asked,
another may take what it had left just before. Hence two rounds:

    round 1   every holder gives back what is unspent; from then on it admits nothing from its share (TIGHT_S)
    moment T  all have answered: since they were asked, each one's settled + reserved can only have fallen
    round 2   every holder gives back what it freed meanwhile; grants are exact, nothing extra goes out

If it is still not enough, it was not enough at T. Who does not answer in time makes the answer "busy", not "spent".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tieline.gateway.budgets.lease import Coordinator, Granted, Lacking, Unknown, limited

# A request waits 50 ms for the coordinator; each of two rounds may take this part of it.
RECALL_S: Final = 0.020
# For so long after a recall a gateway admits nothing from what it holds; a verdict comes well before.
TIGHT_S: Final = 0.100
MARGIN_S: Final = 0.020
ROUNDS: Final = 2
UNBOUNDED: Final = 1 << 62
# Many requests of one gateway ask at once; only one of them brings home more than it needs.
FEED_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """One request's question: all of these budgets, `least` at least and no more than `most`. `more`: what else its
    gateway wants at hand, where that is bounded."""

    gateway: str
    fence: int
    names: tuple[str, ...]
    least: int
    most: int
    number: int
    more: int | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """A message to a gateway."""

    gateway: str
    message: dict[str, Any]


class Recalls:
    """Answers questions in the order they came, those that lack something together."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.deadline: float | None = None  # of the recalls under way
        self._batch: list[LeaseRequest] = []
        self._queue: list[LeaseRequest] = []
        self._pending: dict[int, tuple[str, str]] = {}  # recall -> gateway, budget
        self._asking: set[str] = set()  # budgets that this round recalls
        self._began: dict[str, float] = {}  # budget -> when its first round began
        self._done: dict[str, int] = {}  # budget -> whole rounds
        self._silent: set[str] = set()  # budgets of which a holder did not answer
        self._mute: set[str] = set()  # gateways that did not answer in time and have said nothing since
        self._called: dict[str, float] = {}  # budget -> when its holders last gave all back
        self._fed: dict[str, float] = {}  # gateway -> when it was last given more than it needed
        self._number = 0
        self._out: list[Say] = []
        self.connected: set[str] = set()

    def asked(self, ask: LeaseRequest, now: float) -> list[Say]:
        undisputed = self._began.keys().isdisjoint(ask.names)
        calm = undisputed and self._calm(ask, now)
        extra = self._extra(ask, now) if calm else 0
        if undisputed and not self._try(ask, ask.most, now, extra=extra, calm=calm):
            return self._said()
        self._queue.append(ask)
        if not self._batch:
            self._begin(now)
        return self._said()

    def given(self, gateway: str, fence: int, number: int, name: str, amount: int, now: float) -> list[Say]:
        """A holder answers a recall, in time or late."""
        self._mute.discard(gateway)
        self.coordinator.give_back(gateway, fence, {name: amount})
        if self._pending.pop(number, None) is not None and not self._pending:
            self._turn(now)
        return self._said()

    def heard(self, gateway: str) -> None:
        self.connected.add(gateway)
        self._mute.discard(gateway)

    def left(self, gateway: str, now: float) -> list[Say]:
        """Its connection is gone: it will not answer."""
        self.connected.discard(gateway)
        self._fed.pop(gateway, None)
        self._forget([number for number, (one, _) in self._pending.items() if one == gateway], now)
        return self._said()

    def late(self, now: float) -> list[Say]:
        """The recalls' deadline has passed."""
        if self.deadline is not None and now >= self.deadline:
            self._mute.update(gateway for gateway, _ in self._pending.values())
            self._forget(list(self._pending), now)
        return self._said()

    # --- within ------------------------------------------------------------------

    def _said(self) -> list[Say]:
        out, self._out = self._out, []
        return out

    def _reply(self, ask: LeaseRequest, **words: object) -> None:
        self._out.append(Say(ask.gateway, {"re": ask.number, **words}))

    def _calm(self, ask: LeaseRequest, now: float) -> bool:
        """Nothing goes out beyond the need while it is fought over."""
        return all(now - self._called.get(name, float("-inf")) > TIGHT_S for name in ask.names)

    def _extra(self, ask: LeaseRequest, now: float) -> int:
        """What is bounded, once a second."""
        if ask.more is None:
            return UNBOUNDED
        if now - self._fed.get(ask.gateway, float("-inf")) < FEED_S:
            return 0
        self._fed[ask.gateway] = now
        return ask.more

    def _try(self, ask: LeaseRequest, least: int, now: float, *, extra: int = 0, calm: bool = False) -> tuple[str, ...]:
        """Answer it if it can be granted; else the budgets that lack."""
        outcome = self.coordinator.ask(ask.gateway, ask.fence, ask.names, least, ask.most, now, extra=extra, calm=calm)
        if isinstance(outcome, Lacking):
            return outcome.names
        if isinstance(outcome, Granted):
            self._reply(ask, granted=outcome.amount, extras=outcome.extras)
        elif isinstance(outcome, Unknown):
            self._reply(ask, busy=1)
        else:
            self._reply(ask, fenced=1)
        return ()

    def _begin(self, now: float) -> None:
        self._batch, self._queue = self._queue, []
        self._began, self._done, self._silent = {}, {}, set()
        self._work(now)

    def _work(self, now: float) -> None:
        """Grant what can be granted, refuse what two rounds have judged, recall for the rest."""
        while self._batch:
            lacking: dict[str, None] = {}
            batch, self._batch = self._batch, []
            for ask in batch:
                names = self._try(ask, ask.most, now)
                unjudged = [one for one in names if one not in self._silent and self._done.get(one, 0) < ROUNDS]
                if unjudged:
                    self._batch.append(ask)
                    lacking |= dict.fromkeys(unjudged)
                elif names:
                    self._judge(ask, names, now)
            if lacking:
                self._recall(list(lacking), now)
            if self._pending:
                return
        self.deadline = None
        self._began = {}
        if self._queue:
            self._begin(now)

    def _judge(self, ask: LeaseRequest, names: tuple[str, ...], now: float) -> None:
        """All that lacks was recalled: less than the most will do, or it is refused."""
        late = any(now - self._began[name] >= TIGHT_S - MARGIN_S for name in names)
        doubtful = late or not self._silent.isdisjoint(names)
        if doubtful and not any(limited(name) for name in names):
            self._reply(ask, busy=1)
        elif lacks := self._try(ask, ask.least, now):
            name = next((one for one in lacks if limited(one)), lacks[0])
            if limited(name):  # that it may come again in a moment is all that this says, so it need not be proven
                self._reply(ask, spent=name, wait=self.coordinator.wait_s(name))
            elif doubtful:
                self._reply(ask, busy=1)
            else:
                self._reply(ask, spent=name)

    def _recall(self, names: list[str], now: float) -> None:
        self.deadline = now + RECALL_S
        self._asking = set(names)
        for name in names:
            self._began.setdefault(name, now)
            self._called[name] = now
            for gateway in self.coordinator.holders(name):
                if gateway not in self.connected or gateway in self._mute:
                    self._silent.add(name)
                    continue
                self._number += 1
                self._pending[self._number] = (gateway, name)
                self._out.append(Say(gateway, {"recall": name, "n": self._number}))
        if not self._pending:
            self._count()

    def _count(self) -> None:
        for name in self._asking:
            self._done[name] = self._done.get(name, 0) + 1

    def _turn(self, now: float) -> None:
        """A round is over."""
        self._count()
        self._work(now)

    def _forget(self, numbers: list[int], now: float) -> None:
        for number in numbers:
            self._silent.add(self._pending.pop(number)[1])
        if numbers and not self._pending:
            self._turn(now)
