"""Whose fault a failure is. Pure.

A failure is first only a suspicion. The request is asked elsewhere: answered there, the failure was the first
replica's; failing alike there, it is the request's own, and nobody is struck.

An engine that dies is dearer than a failure. A request that it had not answered yet is asked elsewhere if it is like
others that were answered here: it was there by chance. One that is unlike all of them (other fields, a longer prompt, a
larger grammar), or whose text nobody writes, is not carried to a second engine; it is refused for half a minute, then
may try once more. Requests on which engines died twice are refused for some minutes. Both are known by their digest.
A tenant whose request killed engines, or whose requests are mostly refused, is not taken for a bystander as long. Nor
is a request that had an engine's attention to itself: where nobody is waiting for a first byte nine tenths of the
time, an engine that dies in the first quarter second of the only one who is has hardly died by chance. And none is
carried on after two deaths. So a killer in ordinary words costs two engines where they are busy, and one where they
are not.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from tieline.gateway.errors import Refusal
from tieline.gateway.requests.body import PLAIN, Request
from tieline.gateway.routing.route import LATEST, Replica
from tieline.gateway.routing.standing import Standings

# A request that killed engines is refused for so long.
REFUSE_S: Final = 300.0
MAX_REFUSED: Final = 4_096
# One that is unlike others and met a death waits for so long: a small engine is back by then.
SUSPECT_S: Final = 30.0
MAX_SHAPES: Final = 4_096
MAX_TENANTS: Final = 1_024
# Deaths before a request is refused; one that was among several suspects counts as its share.
DEATHS: Final = 1.5
# Deaths of one replica within so long are one.
SAME_DEATH_S: Final = 1.0
# What an engine refused of a tenant in poor standing is not asked again for so long: a client that repeats itself.
REPEAT_S: Final = 60.0
MAX_REPEATS: Final = 1_024
# What kills an engine by its words does so when it is read, compiled or first computed; one that has run for longer is
# a bystander.
FRESH_S: Final = 0.25
# Where somebody waits for a first byte less of the time than this, a death beside the only one who does is no chance.
WAITED_SHARE: Final = 0.1
WAITED_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Strike:
    """A suspicion: this replica, or the request. `kind`: what is compared; `words`: what the engine said."""

    replica: Replica
    kind: str
    words: str = ""


def alike(strikes: list[Strike], strike: Strike, *, alone: bool = False) -> bool:
    """Did another replica fail on this request in the same way? `alone`: it has no other to go to, and the same one
    says the same again."""
    return any(
        (alone or one.replica is not strike.replica) and (one.kind, one.words) == (strike.kind, strike.words)
        for one in strikes
    )


def own_fault(strike: Strike) -> Refusal:
    """What a request hears that two replicas failed on alike."""
    if strike.words:
        return Refusal(400, strike.words, "engine_refused")
    why = f"two engines failed on this request alike: {strike.kind}"
    return Refusal(502, why, "engine_error", should_retry=False)


def killer() -> Refusal:
    """What a request hears that engines died on."""
    why = "engines died on this request; it is refused for some minutes"
    return Refusal(400, why, "request_rejected", should_retry=False)


def suspect() -> Refusal:
    """What a request hears that may be what an engine died of."""
    why = "an engine died while it had this request, which may be why; no other is asked for now"
    return Refusal(503, why, "engine_died", retry_after_s=round(SUSPECT_S))


def waited(replica: Replica, now: float) -> float:
    """The share of the last minute in which somebody had begun to wait there for a first byte, at most: as if nobody
    had waited beside another. An answer that is not streamed counts as the others' first tokens, or in full."""
    since = now - WAITED_S
    if len(replica.outcomes) == LATEST:  # no more are known
        since = max(since, replica.outcomes[0][0])
    waits = [min(FRESH_S, seconds) for at, seconds in replica.first_tokens if at >= since]
    whole = max(0, sum(at >= since for at, _ in replica.outcomes) - len(waits))
    usual = sum(waits) / len(waits) if waits else FRESH_S
    return (sum(waits) + whole * usual) / max(1.0, now - since)


def hardly_chance(replica: Replica, peers: Iterable[Replica], age_s: float, now: float) -> bool:
    """A replica died with one request that it had not answered, which it was given `age_s` before: is that request why,
    more likely than not? Where others were lost in the same moment something else is."""
    if age_s > FRESH_S or waited(replica, now) >= WAITED_SHARE:
        return False
    return not any(one is not replica and one.lost_at is not None and now - one.lost_at < SAME_DEATH_S for one in peers)


class Shape(msgspec.Struct, frozen=True):
    """What is unusual about a request. Sizes in powers of two."""

    of: tuple[str, str, frozenset[str]]  # its kind, model and unusual fields
    prompt: int
    fields: int
    images: int


def shape(request: Request) -> Shape | None:
    """None: nothing is unusual about it."""
    fields = request.fields
    if request.plain:
        return None
    odd = fields.keys() - PLAIN
    size = sum(len(memoryview(fields[name])) for name in odd)
    of = (request.kind, request.model, frozenset(odd))
    return Shape(of, request.prompt_bytes.bit_length(), size.bit_length(), len(request.images))


# How much of a prompt is looked at: some 50 ms at most.
_LOOKED_AT: Final = 65_536
# In a prompt as JSON: control characters, the marks that templates are made of, one short piece over and over.
_ODD_TEXT: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*\\(?:u00[01]|[bf])|\x7f|<\|[a-z_]+\|>|</?s>|<unk>|<pad>|\[/?INST\]|<(?:start|end)_of_turn>"
    rb"|(.{1,12}?)\1{127}",
    re.DOTALL,
)


def odd_text(request: Request) -> bool:
    """Is there something in its prompt that people do not write? Looked at only when an engine has died."""
    fields = request.fields
    return any(_ODD_TEXT.search(memoryview(fields[name])[:_LOOKED_AT]) for name in _PROMPTS & fields.keys())


# What is written anew for each engine.
_PROMPTS: Final = frozenset({"messages", "prompt", "input", "query", "documents"})
_OURS: Final = frozenset({"model", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens"})


def digest(request: Request) -> bytes:
    """The same for the same request, whoever sends it."""
    made = hashlib.sha256(f"{request.kind} {request.model}".encode())
    for name in sorted(request.fields.keys() - _OURS):
        made.update(name.encode())
        made.update(memoryview(request.fields[name]))
    return made.digest()


class RefusedRequests:
    """Requests that killed engines, and what was refused of tenants in poor standing, by digest; the oldest make
    room."""

    def __init__(self) -> None:
        # By digest: refused until, and the deaths that it met, as far as they are its own; they count for so long.
        self.deaths: OrderedDict[bytes, tuple[float, float, float]] = OrderedDict()
        self._suspects: dict[str, tuple[float, int]] = {}
        self._answered: OrderedDict[tuple[str, str, frozenset[str]], Shape] = OrderedDict()
        self._killers: OrderedDict[str, float] = OrderedDict()  # tenant -> not taken for a bystander until then
        self.standings = Standings()
        # By tenant, output limit and digest: until when it hears the same again, and what.
        self.repeats: OrderedDict[tuple[str, int | None, bytes], tuple[float, Refusal]] = OrderedDict()

    def bad(self, request: Request, tenant: str, refusal: Refusal, now: float) -> None:
        """An engine says that it cannot be carried out."""
        self.standings.bad(tenant, now)
        if not self.standings.is_poor(tenant, now):
            return
        key = tenant, request.max_output, digest(request)
        self.repeats[key] = now + REPEAT_S, refusal
        self.repeats.move_to_end(key)
        if len(self.repeats) > MAX_REPEATS:
            self.repeats.popitem(last=False)

    def repeated(self, request: Request, tenant: str, now: float) -> Refusal | None:
        """What it was told a moment ago, where its tenant is in poor standing."""
        if not self.repeats or not self.standings.is_poor(tenant, now):
            return None
        until, refusal = self.repeats.get((tenant, request.max_output, digest(request)), (0.0, None))
        if now >= until:
            return None
        self.standings.bad(tenant, now)
        return refusal

    def met(self, request: Request, tenant: str, deaths: float, now: float) -> Refusal:
        """Engines died on it so often, as far as these deaths are its own: what it hears."""
        self.standings.bad(tenant, now)
        key = digest(request)
        _, before, counts_until = self.deaths.get(key, (0.0, 0.0, 0.0))
        deaths += before if now < counts_until else 0.0
        kills = deaths >= DEATHS
        self.deaths[key] = (now + (REFUSE_S if kills else SUSPECT_S), deaths, now + REFUSE_S)
        self.deaths.move_to_end(key)
        while len(self.deaths) > MAX_REFUSED:
            self.deaths.popitem(last=False)
        if kills:
            self._killers[tenant] = now + REFUSE_S
            self._killers.move_to_end(tenant)
            if len(self._killers) > MAX_TENANTS:
                self._killers.popitem(last=False)
        return killer() if kills else suspect()

    def refusal(self, request: Request, now: float) -> Refusal | None:
        """Is it refused? Costs nothing while nothing is."""
        if not self.deaths:
            return None
        until, deaths, _ = self.deaths.get(digest(request), (0.0, 0.0, 0.0))
        if now >= until:
            return None
        return killer() if deaths >= DEATHS else suspect()

    def answered(self, request: Request) -> None:
        """An engine answered it to the end: it and what is like it is no danger."""
        form = shape(request)
        if form is None:
            return
        known = self._answered.get(form.of, form)
        most = (max(known.prompt, form.prompt), max(known.fields, form.fields), max(known.images, form.images))
        self._answered[form.of] = Shape(form.of, *most)
        self._answered.move_to_end(form.of)
        if len(self._answered) > MAX_SHAPES:
            self._answered.popitem(last=False)

    def risky(self, request: Request, tenant: str, now: float) -> bool:
        """May an engine have died of it, so that no second one is risked?"""
        if now < self._killers.get(tenant, float("-inf")) or self.standings.is_poor(tenant, now):
            return True
        return self.unlike(request) or odd_text(request)

    def unlike(self, request: Request) -> bool:
        """Is there something about it that no answered request had?"""
        form = shape(request)
        if form is None:
            return False
        known = self._answered.get(form.of)
        if known is None:
            return True
        return form.prompt > known.prompt or form.fields > known.fields or form.images > known.images

    def share(self, replica: str, suspects: int, now: float) -> float:
        """The part of a replica's death that is one suspect's, of so many that had no answer yet."""
        at, most = self._suspects.get(replica, (float("-inf"), 0))
        most = max(suspects, most) if now - at <= SAME_DEATH_S else suspects
        self._suspects[replica] = (now, most)
        return 1.0 / max(1, most)
