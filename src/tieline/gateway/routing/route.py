"""Routing: which replica takes a request. Pure: told the time and the round trips, touches no socket.

A replica's load is the set of requests it holds, not a number that is counted up and down: a request can be
in the set once, leaving it twice changes nothing, and so the load can neither leak nor go negative.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeVar

import msgspec

# Engines that do not say how many requests they run at once (vLLM and SGLang batch hundreds).
MAX_UNKNOWN_SLOTS = 256
# A failure ends the replica's turn for 1 s, 2 s, 4 s ... up to this; a success clears it.
MAX_EJECT_S = 30.0
# Heartbeats come every 500 ms; three missed and the replica is not believed alive.
BEAT_S = 0.5
BEATS_MISSED = 3
_SILENT_S = BEAT_S * BEATS_MISSED
# A prefix is remembered for this many requests per replica: about what an engine's cache holds.
PREFIXES = 512
# First tokens and outcomes that a replica is judged by.
LATEST = 64
# A replica that could not be reached, or said that it is busy, is not even a last resort for so long.
REFUSED_S = 0.25
# So many requests that failed there and not elsewhere, within so long, are a replica's own failing.
MIN_BLAMED = 3
BLAME_S = 60.0


class State(Enum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DOWN = "down"


_READY = State.READY


class Occupant(Protocol):
    """What holds a place on a replica."""

    def on_lost(self, reason: str) -> None:
        """The replica is down."""

    def drain(self) -> bool:
        """The replica will go dark. True: it is on its way elsewhere."""


@dataclass(slots=True, eq=False)
class Replica:
    """A running model server as the router sees it."""

    id: str
    site: str
    region: str
    models: frozenset[str]
    engine: str
    slots: int
    state: State = State.READY
    rtt_s: float = 0.0
    abroad_s: float = 0.0  # what it costs that it stands in another region than the gateway
    first_tokens: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=LATEST))  # (when, seconds)
    outcomes: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=LATEST))  # (when, well)
    # Requests that failed here and not elsewhere: (when, tenant, request).
    struck: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=LATEST))
    beat_at: float | None = None  # last heartbeat by the local clock; None: this replica sends none
    tenants: set[str] = field(default_factory=set)  # two of those that were served here
    failures: int = 0
    ejected_until: float = 0.0
    barred_until: float = 0.0  # for failing too often, whatever it answers when asked how it is
    lost_at: float | None = None  # ejected since a connection was lost, and not seen alive since
    refused_at: float | None = None
    renter: str = ""  # the tenant that rents it now
    included: bool = False  # its renter pays by the hour, not by the token
    demoted_s: float = 0.0  # how much later than its peers' its first tokens come, where that is out of line
    power_term_s: float = 0.0  # price, curtailment notice and opportunity cost, as seconds of delay
    dear: float = 0.0  # worth of a MWh at its site, 0 to 1; in `power_term_s` for the standard latency class
    away_s: float = 0.0  # of `power_term_s`, what an announced curtailment adds
    price_usd_per_mtok: float = 0.0  # what power costs per million tokens there now
    power_note: str = ""
    live: set[Occupant] = field(default_factory=set)
    prefixes: dict[int, None] = field(default_factory=dict)

    def suspect(self, now: float) -> bool:
        """Heartbeats were coming and have stopped."""
        return self.beat_at is not None and now - self.beat_at > BEAT_S * BEATS_MISSED

    def late(self, now: float) -> bool:
        """A heartbeat is missing: reason enough to leave a stream that is silent as well."""
        return self.beat_at is not None and now - self.beat_at > 2 * BEAT_S

    def usable(self, now: float) -> bool:
        """Ready, not left alone for failures, and heard of lately if it sends heartbeats."""
        if self.state is not _READY or now < self.ejected_until:
            return False
        return self.beat_at is None or now - self.beat_at <= _SILENT_S

    def failed(self, now: float, *, lost: bool = False, refused: bool = False) -> None:
        """`lost`: a connection to it was; whether the replica was too, its next sign of life will say. `refused`:
        it could not even be reached."""
        self.failures += 1
        if lost:
            self.lost_at = now
        if refused:
            self.refused_at = now
        self.outcomes.append((now, False))
        self.ejected_until = now + min(MAX_EJECT_S, 2.0 ** (self.failures - 1))

    def blamed(self, now: float, tenant: str, request: str) -> None:
        """A request failed here and was answered elsewhere: the failure was this replica's own. It is left alone once
        several requests say so, of several tenants where several are served, with no success between them."""
        self.outcomes.append((now, False))
        self.struck.append((now, tenant, request))
        recent = [one for one in self.struck if now - one[0] <= BLAME_S]
        tenants = {one[1] for one in recent}
        alone = len(self.tenants) <= 1
        if len({one[2] for one in recent}) >= MIN_BLAMED and (alone or len(tenants) > 1):
            self.failures += 1
            self.ejected_until = max(self.ejected_until, now + min(MAX_EJECT_S, 2.0 ** (self.failures - 1)))
            self.struck.clear()

    def succeeded(self, now: float, tenant: str = "") -> None:
        """An answer came to its end here."""
        self.failures = 0
        self.struck.clear()
        if len(self.tenants) < 2:
            self.tenants.add(tenant)
        self.outcomes.append((now, True))

    def alive(self, now: float) -> None:
        """It answered a question, or its site says it is well: one cut link does not keep a replica away."""
        if self.lost_at is not None and now - self.lost_at >= BEAT_S:
            self.lost_at = None
            self.ejected_until = min(self.ejected_until, max(now, self.barred_until))

    def first_token(self, now: float, seconds: float) -> None:
        """A stream's first token came, so long after it was asked for."""
        self.first_tokens.append((now, seconds))

    def remember(self, prefix: int) -> None:
        self.prefixes.pop(prefix, None)
        self.prefixes[prefix] = None
        if len(self.prefixes) > PREFIXES:
            del self.prefixes[next(iter(self.prefixes))]


class Want(msgspec.Struct, frozen=True, gc=False):
    """What a request asks of a replica."""

    model: str
    prompt_tokens: int = 0
    prefix: int = 0
    regions: frozenset[str] = frozenset()
    home: str = ""
    tenant: str = ""
    patience_s: float = 0.0  # what a cheap site may cost, beyond the standard class
    barred: frozenset[str] = frozenset()  # replicas above the tenant's price ceiling


# Seconds of prefill per token; 10,000 tokens/s is one GPU with an 8 B model. Beyond a second of it a warm cache
# is not worth more waiting.
PREFILL_S_PER_TOKEN = 1e-4
MAX_PREFILL_S = 1.0
# A replica that holds more than its slots makes the surplus wait for whole answers.
OVERLOAD_S = 10.0
# A tenant's rented replicas come first unless they are worse by this much, and last for everybody else.
RENTED_S = 5.0
# What holding one more request on a busy replica costs, in mean service times.
QUEUE_WEIGHT_S = 0.5


def score(replica: Replica, want: Want) -> float:
    """Expected seconds until the first token, plus the power term. Lower is better."""
    load = len(replica.live) / replica.slots
    expected = (
        replica.rtt_s + replica.abroad_s + replica.power_term_s + replica.demoted_s + want.patience_s * replica.dear
    )
    expected += load * QUEUE_WEIGHT_S
    if load > 1.0:
        expected += (load - 1.0) * OVERLOAD_S
    if want.prefix not in replica.prefixes:
        prefill = want.prompt_tokens * PREFILL_S_PER_TOKEN
        expected += prefill if prefill < MAX_PREFILL_S else MAX_PREFILL_S
    if replica.renter:
        expected += -RENTED_S if replica.renter == want.tenant else RENTED_S
    return expected


Score = Callable[[Replica, Want], float]
# A replica as its caller knows it: with an address, or in a test without one.
R = TypeVar("R", bound=Replica)


def may_take(replica: Replica, want: Want) -> bool:
    """Is this replica for this request at all, whether or not it is well or has room?"""
    return (
        replica.state is _READY
        and want.model in replica.models
        and (not want.regions or replica.region in want.regions)
        and replica.id not in want.barred
    )


def has_room(replica: Replica, want: Want) -> bool:
    """A free place; of what another tenant rents, one of the first half."""
    live, slots = len(replica.live), replica.slots
    return live < slots and (not replica.renter or replica.renter == want.tenant or live * 2 < slots)


def candidates(replicas: Iterable[R], want: Want, now: float) -> list[R]:
    """Replicas that may take it and are well, whether or not they have room."""
    return [r for r in replicas if may_take(r, want) and r.usable(now)]


def last_resort(replicas: Iterable[R], want: Want, now: float, avoid: frozenset[str] | set[str]) -> R | None:
    """Where all are ejected for failures, one of them may be well all the same: the one that failed first. For
    streams that have nowhere else to go."""
    ready = [r for r in replicas if may_take(r, want) and r.id not in avoid]
    if any(now >= r.ejected_until for r in ready):
        return None
    return min((r for r in ready if _may_be_well(r, want, now)), key=lambda r: r.ejected_until, default=None)


def _may_be_well(replica: Replica, want: Want, now: float) -> bool:
    """One that was ejected, with room, and not just heard to refuse."""
    if not (replica.failures or now < replica.barred_until):
        return False
    if len(replica.live) >= replica.slots or replica.suspect(now) or (replica.renter and replica.renter != want.tenant):
        return False
    return replica.refused_at is None or now - replica.refused_at > REFUSED_S


def choose(
    replicas: Iterable[R],
    want: Want,
    now: float,
    avoid: frozenset[str] | set[str] = frozenset(),
    by: Score = score,
) -> R | None:
    """The best replica with room; None where all are full or away. Equal scores go to the less loaded."""
    best: R | None = None
    best_score = best_live = 0.0
    for replica in replicas:
        if not (may_take(replica, want) and replica.usable(now) and has_room(replica, want)) or replica.id in avoid:
            continue
        value, live = by(replica, want), len(replica.live)
        if best is None or value < best_score or (value == best_score and live < best_live):
            best, best_score, best_live = replica, value, live
    return best
