"""The answers of one request (`n` > 1), each continued on its own when the replica of all is lost.

Each unfinished answer becomes a Part: an exchange for one answer, begun at what was delivered of it, whose door
is its parent's stream. Parts find replicas, die and move like any exchange. The parent ends when the last part
has, and is billed for all: the prompt once, each answer's output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from msgspec import structs

from tieline.gateway.requests import chunks as pieces
from tieline.gateway.requests import finish as ending

if TYPE_CHECKING:
    from tieline.gateway.metering.usage import Meter
    from tieline.gateway.requests.exchange import Exchange
    from tieline.gateway.wire.client import Door


class Answers:
    """What has been delivered of each answer of a stream."""

    __slots__ = ("_last", "finished", "opened", "texts", "tokens")

    def __init__(self) -> None:
        self.opened: set[int] = set()
        self.texts: dict[int, list[str]] = {}
        self.finished: dict[int, str] = {}
        self.tokens: dict[int, int] = {}  # as the engine reported them for a finished answer
        self._last = -1

    def finish(self, index: int, reason: str) -> None:
        self.finished[index] = reason
        self._last = index

    def report(self, tokens: int | None) -> None:
        """llama.cpp reports each answer by itself, right after its end."""
        if tokens is not None and self._last >= 0:
            self.tokens[self._last] = tokens


class Family:
    """The parts of one exchange."""

    def __init__(self, parent: Exchange) -> None:
        self.parent = parent
        self.live: list[Exchange] = []
        self.counting = False
        self.finish = parent.finish
        self.output = 0
        self.estimated = False
        self.failed = self.settled = False

    def reported(self, part: Exchange) -> None:
        """A part has ended and its tokens are counted."""
        parent = self.parent
        self.live.remove(part)
        self.output += part.output_tokens or 0
        self.estimated = self.estimated or part.estimated
        parent.hops.extend(part.hops)
        if parent.prompt_tokens is None:
            parent.prompt_tokens = part.prompt_tokens
        if part.finish == "error":
            self.lost()
        self.finish = part.finish or self.finish
        self.settle()

    def settle(self) -> None:
        """All have ended and all is counted: so has the parent."""
        parent = self.parent
        if self.live or self.counting or self.settled:
            return
        self.settled = True
        parent.output_tokens, parent.estimated = self.output, self.estimated
        if parent.done:
            ending.bill(parent)
        else:
            parent.finish = self.finish
            ending.end_stream(parent)

    def lost(self) -> None:
        """A part could not be continued; the client has been told so."""
        if not self.failed:
            self.failed = True
            self.parent.finish = "error"
            ending.abandon(self.parent, 502)
            self.parent.door.drop()


class _Way:
    """A part's door: its parent's stream."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def send(self, payload: bytes) -> None:
        parent = self.family.parent
        if not parent.done:
            parent.tokens += 1
            parent.send(payload)

    def pass_on(self, raw: bytes) -> None:
        """One frame in its chunk."""
        parent = self.family.parent
        if not parent.done:
            parent.tokens += 1
            parent.door.pass_on(raw)

    def finish_stream(self, tail: bytes) -> None:
        """The parent ends the stream, when all parts have."""

    def drop(self) -> None:
        self.family.lost()


class _Till:
    """A part's meter: its parent's bill."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def bill(self, ex: Exchange, *, wait: bool) -> bool:
        self.family.reported(ex)
        return False

    def note(self, ex: Exchange) -> None:
        """Progress is the parent's."""


def split(ex: Exchange) -> list[Exchange]:
    """The replica is lost: a part for each unfinished answer, to be started."""
    answers = ex.answers
    assert answers is not None
    family = ex.family = Family(ex)
    ex.leg = None
    request = ex.request
    ex.output_tokens = ex.prompt_tokens = None  # what was reported is of some answers only
    family.output = sum(answers.tokens.values())
    uncounted = ["".join(answers.texts.get(i, [])) for i in answers.finished if i not in answers.tokens]
    for index in range(request.answers):
        if index in answers.finished:
            continue
        fields = {name: value for name, value in request.fields.items() if name != "n"}
        part = ex.sibling(structs.replace(request, fields=fields, choices=1, answers=1))
        part.index = index
        part.door, part.meter = cast("Door", _Way(family)), cast("Meter", _Till(family))
        part.names, part.opened, part.head_sent, part.renames = ex.names, True, True, True
        part.first_token_at, part.tries = ex.first_token_at, ex.tries
        part.texts = answers.texts.get(index, [])
        part.tokens = len(part.texts)
        family.live.append(part)
        if index not in answers.opened:
            ex.send(pieces.opening(ex.public_names(), request.kind, index))
    if uncounted:  # finished before the death, and reported only at the end of all: their text is counted now
        family.counting = True
        ex.svc.spawn(_count(ex, family, uncounted))
    return list(family.live)


async def _count(ex: Exchange, family: Family, texts: list[str]) -> None:
    for text in texts:
        _, output = await ex.svc.continuing.count(ex, text, None)
        family.output += output if output is not None else len(text) // 4
        family.estimated = True
    family.counting = False
    family.settle()
