"""A request in progress as plain values: one phase, what its client was sent, what is counted. Touches nothing.

Frames, failover and finish read and change it; an Exchange carries out what they return. A phase changes only to
one of those `after` it: what happens to a request that is done, or twice, is a fault of this code and is asserted.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from msgspec import structs

from tieline.gateway.budgets.admit import KeyAccount, Ticket
from tieline.gateway.requests import counting
from tieline.gateway.requests.blame import Strike
from tieline.gateway.requests.body import Request
from tieline.gateway.requests.choices import Choices
from tieline.gateway.requests.continuity import resume
from tieline.gateway.requests.continuity.replay import Key
from tieline.gateway.requests.continuity.resume import Way
from tieline.gateway.requests.continuity.token_ids import Ids
from tieline.gateway.requests.counting import CountBounds
from tieline.gateway.routing.route import Want
from tieline.gateway.settings import ModelOffer
from tieline.gateway.wire import loose, sse
from tieline.gateway.wire.sse import Names
from tieline.records import Hop


class Phase(Enum):
    """What a request is doing."""

    QUEUED = "queued"  # it has no replica yet
    CONNECTING = "connecting"  # a replica was asked and has not answered
    STREAMING = "streaming"  # frames come
    RESUMING = "resuming"  # its replica is lost and another is looked for
    MOVING = "moving"  # a second replica is asked beside the first: a drain, or a first token that is late
    ENDING = "ending"  # the answer is here and is being counted
    DONE = "done"  # its account is closed; the last bytes may still wait for the bill to be on disk

    after: frozenset[str]  # the phases that may come next


# By their words: an Enum's own hash is slow, and three phases pass in the shortest request.
for _phase, _after in (
    (Phase.QUEUED, "connecting resuming done"),
    (Phase.CONNECTING, "queued connecting streaming resuming moving ending done"),
    (Phase.STREAMING, "queued connecting resuming moving ending done"),
    (Phase.RESUMING, "connecting ending done"),
    (Phase.MOVING, "queued connecting streaming resuming ending done"),
    (Phase.ENDING, "done"),
    (Phase.DONE, ""),
):
    _phase.after = frozenset(_after.split())
_CREATED: Final = re.compile(rb'"created": ?[0-9]+')
# A short str object's own size.
STR_BYTES: Final = 64


class KeptText:
    """The memory that all streams together may use to remember what they delivered."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0


class RequestState:
    """One request. Defaults stand on the class: most requests change few of them, and setting forty is felt."""

    phase = Phase.QUEUED
    # towards a replica
    tries = 0
    queued_until: float | None = None
    client_s = float("inf")  # how long the client says it waits
    busy_since: float | None = None  # engines say that they are
    retry_after_s: float | None = None  # ... and when to come again
    strikes: list[Strike] | None = None  # whom it failed at
    deaths = 0.0  # of engines, as far as they are its own
    died_under = 0  # engines that were gone before they answered it
    adrift_since: float | None = None  # no replica has written since
    resumed = False
    words = ""  # of the last engine that failed
    paused = False  # the client's socket is full
    # towards the client
    names: Names | None = None
    created = b""  # as the engine wrote it first; llama.cpp writes the time of each chunk
    renames = False  # the engine calls the model otherwise
    usage_in_frames = False  # each of its frames says what was used so far
    head_sent = False
    opened = False  # the client has a frame of this stream
    index: int | None = None  # of the one choice that this is a part for
    tail = b""  # the answer, or what ends its stream
    # what was delivered
    first_token_at: float | None = None
    text_bytes = 0
    unkept = False  # it is no longer known in full
    tokens = 0  # frames with text that the client was sent
    specials: dict[Key, list[str]] | None = None  # reasoning, tool calls: what can only come again, not go on
    ids: Ids | None = None
    exact = False  # the client was promised that the stream goes on from those
    choices: Choices | None = None  # of several, where each may be continued
    # what was not
    finishes = 0
    finish: str | None = None
    stopped: dict[int, str] | None = None  # by its index: the stop string that an answer ended at; "": at none
    # what is billed
    status = 200
    prompt_tokens: int | None = None
    cached_tokens = 0
    output_tokens: int | None = None
    content_type = b""  # of an answer that is no JSON of ours
    reasoning_tokens: int | None = None  # of the output, where the engine says so
    estimated = False
    cost_nano = 0
    false_report = ""  # what an engine said of its usage that cannot be
    counted: object = None  # the attempt whose choices `prompt_sum` adds up
    prompt_sum = 0

    def __init__(
        self, request: Request, offer: ModelOffer, account: KeyAccount, ticket: Ticket, limit: int, request_id: str,
        began: float, memory: KeptText,
    ) -> None:  # fmt: skip
        self.request, self.offer, self.account, self.ticket = request, offer, account, ticket
        self.limit, self.id, self.memory = limit, request_id, memory
        self.began = self.last_sent = self.last_progress = began
        self.want = Want(
            offer.name, request.prompt_bytes // 4, request.prefix, account.regions, "", account.tenant.id,
            account.patience_s, account.barred,
        )  # fmt: skip
        self.hops: list[Hop] = []
        self.texts: list[str] = []
        if request.choices > 1 and request.stream and resume.each(request):
            self.choices = Choices()

    def turn(self, phase: Phase) -> None:
        """The next phase."""
        assert phase._value_ in self.phase.after, f"{self.id}: {self.phase.value} -> {phase.value}"
        self.phase = phase

    @property
    def done(self) -> bool:
        return self.phase is Phase.DONE

    @property
    def delivered(self) -> bool:
        """Has the client been sent anything that a new hop must not repeat?"""
        return (
            bool(self.texts) or self.unkept or self.specials is not None
            or (self.choices is not None and bool(self.choices.texts))
        )  # fmt: skip

    @property
    def text(self) -> str:
        """All that was delivered and kept."""
        if self.choices is not None:
            return loose.joined([text for texts in self.choices.texts.values() for text in texts])
        return loose.joined(self.texts)

    def way(self, engine: str) -> Way:
        """How this stream would go on on an engine of this kind, from what was delivered so far."""
        if self.unkept:
            return Way.NONE
        special = self.specials is not None
        return resume.way(
            self.request, engine, bool(self.texts), ids=self.exact, special=special, delivered=self.delivered
        )

    def parts(self) -> dict[Key, str]:
        """All that was delivered, by where it stands."""
        if self.choices is not None:
            parts = {(at, "content"): loose.joined(texts) for at, texts in self.choices.texts.items()}
        else:
            parts = {(0, "content"): loose.joined(self.texts)}
        return parts | {key: loose.joined(texts) for key, texts in (self.specials or {}).items()}

    # --- what was delivered -------------------------------------------------------

    def keep(self, text: str) -> None:
        """Remember a text that is delivered, within the one budget of all streams."""
        self.tokens += 1
        if not self.unkept:
            self.remember(text)

    def remember(self, text: str) -> None:
        memory = self.memory
        size = len(text) + STR_BYTES
        used = memory.used + size
        if used > memory.limit or self.request.answers > 1:
            self.unkept = True  # this stream can no longer be resumed, and says so if it has to
            self.forget()
            self.texts.clear()
            return
        memory.used = used
        self.text_bytes += size
        self.texts.append(text)

    def keep_choice(self, index: int, text: str) -> None:
        """The same for one choice of several."""
        self.tokens += 1
        assert self.choices is not None
        size = len(text) + STR_BYTES
        if self.unkept or self.memory.used + size > self.memory.limit:
            self.unkept = True
            return
        self.memory.used += size
        self.text_bytes += size
        self.choices.texts.setdefault(index, []).append(text)

    def keep_special(self, key: Key, text: str) -> None:
        """The same for reasoning and the parts of a tool call."""
        size = len(text) + STR_BYTES
        if self.specials is None:
            self.specials = {}
        if self.unkept or self.memory.used + size > self.memory.limit:
            self.unkept = True
            return
        self.memory.used += size
        self.text_bytes += size
        self.specials.setdefault(key, []).append(text)

    def forget(self) -> None:
        """Give the memory back."""
        self.memory.used -= self.text_bytes
        self.text_bytes = 0

    # --- names --------------------------------------------------------------------

    def learn(self, data: bytes) -> None:
        """The stream's names, from its first chunk; an engine that gives none, or odd ones, gets ours."""
        names = sse.read_names(data)
        self.names = Names(names.id or f"chatcmpl-{self.id}", names.created, names.model)
        created = _CREATED.search(data)
        self.created = b"" if created is None else created[0]
        self.renames = self.renames or names.model != self.request.model or not names.id or not names.created

    def public_names(self) -> Names:
        assert self.names is not None
        return Names(self.names.id, self.names.created, self.request.model)

    # --- counts -------------------------------------------------------------------

    @property
    def most_output(self) -> int:
        """The most tokens that all answers may be."""
        return 0 if self.request.kind in resume.SILENT else self.limit * self.request.answers

    def bounds(self, least: int) -> CountBounds:
        return CountBounds(self.request.ask(self.offer).prompt_bound, self.most_output, least)

    def count(self, usage: sse.TokenUsage, least: int, base: int = 0, repeated: int = 0) -> None:
        """What an engine reports, as far as it can be true (see `counting.read`). The usual report is judged in place,
        by the same bounds: it costs a third."""
        if self.prompt_tokens is None and not repeated and self._as_usual(usage, least, base):
            return
        report = counting.read(usage, self.bounds(least), base, repeated)
        if report.false:
            self.false_report, self.estimated = report.false, True
        self.output_tokens = report.output
        if self.prompt_tokens is None:
            self.prompt_tokens, self.cached_tokens = report.prompt, report.cached
        self.reasoning_tokens = report.reasoning if not base else None

    def _as_usual(self, usage: sse.TokenUsage, least: int, base: int) -> bool:
        """Taken over as it stands, where it is of the usual form and can be true."""
        prompt, output = usage.prompt_tokens, usage.completion_tokens
        if prompt is None or output is None or usage.output_tokens_details or usage.input_tokens_details:
            return False
        read, written = usage.prompt_tokens_details, usage.completion_tokens_details
        cached = 0 if read is None else read.cached_tokens or 0
        reasoning = None if written is None else written.reasoning_tokens
        if reasoning is not None and (base or not 0 <= reasoning <= output):
            return False
        true = 0 < prompt <= self.request.prompt_bound(self.offer) and 0 <= cached <= prompt
        if true and least <= output + base <= self.most_output:
            self.prompt_tokens, self.output_tokens = prompt, output + base
            self.cached_tokens, self.reasoning_tokens = cached, reasoning
            return True
        return False

    def count_stream(self, usage: sse.TokenUsage, base: int, repeated: int) -> None:
        frames, output = self.tokens, usage.completion_tokens
        if output is None or output < frames:  # a token for each frame is enough in any case
            frames = 0 if self.request.asks("echo") else counting.least(frames)
        self.count(usage, frames, base, repeated)

    def add_up(self, attempt: object, usage: sse.TokenUsage) -> None:
        """llama.cpp reports each choice of a stream by itself, with its own prompt: every prompt counts once."""
        if self.counted is not attempt:
            self.counted, self.prompt_sum, self.output_tokens = attempt, 0, 0
        most = self.bounds(0)
        report = counting.read(usage, CountBounds(most.prompt, self.limit))
        if report.false:
            self.false_report, self.estimated = report.false, True
        self.prompt_sum += report.prompt or 0
        self.prompt_tokens = min(most.prompt, self.prompt_sum // self.request.choices)
        self.output_tokens = min(most.output, (self.output_tokens or 0) + (report.output or 0))

    def settle(self) -> None:
        """Before it is billed: nothing below nothing or above what was agreed, and hops that add up."""
        prompt, output = self.prompt_tokens or 0, self.output_tokens or 0
        if len(self.hops) == 1 and self.hops[0].output_tokens == output and not self.cached_tokens:
            return
        if sum(hop.output_tokens for hop in self.hops) != output:
            shares = counting.balance([hop.output_tokens for hop in self.hops], output)
            self.hops = [
                hop if hop.output_tokens == share else structs.replace(hop, output_tokens=share)
                for hop, share in zip(self.hops, shares, strict=True)
            ]
        if self.cached_tokens > prompt:
            self.cached_tokens = prompt
