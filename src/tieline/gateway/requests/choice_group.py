"""The choices of one request (`n` > 1), each continued on its own when the replica of all is lost.

Each unfinished choice becomes a part: a request for one choice, begun at what was delivered of it, whose client is
its parent's stream. Parts find replicas, die and move like any request. The parent ends when the last part has, and
is billed for all: the prompt once, each choice's output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import structs

from tieline.gateway.metering.usage_lines import Metered
from tieline.gateway.requests.ports import Client, LiveRequest
from tieline.gateway.requests.state import RequestState


class Parent(Protocol):
    """The request whose choices these are."""

    client: Client
    state: RequestState

    def send(self, payload: bytes) -> None: ...

    def abandon(self, status: int) -> None: ...

    def bill(self) -> None: ...

    def end_stream(self) -> None: ...


class ChoiceGroup:
    """The parts of one request. To each it is both client and till."""

    def __init__(self, parent: Parent) -> None:
        self.parent = parent
        self.live: list[LiveRequest] = []
        self.counting = False
        self.finish = parent.state.finish
        self.output = 0
        self.estimated = False
        self.failed = self.settled = False

    # --- a part's till: its parent's bill -------------------------------------------

    def bill(self, request: Metered, now: float, on_disk: Callable[[], None] | None) -> bool:
        """A part has ended and its tokens are counted."""
        state = self.parent.state
        self.live = [one for one in self.live if one.state is not request]
        self.output += request.output_tokens or 0
        self.estimated = self.estimated or request.estimated
        state.hops.extend(request.hops)
        if state.prompt_tokens is None:
            state.prompt_tokens = request.prompt_tokens
        if request.finish == "error":
            self.drop()
        self.finish = request.finish or self.finish
        self.settle()
        return False

    def note(self, request: Metered, now: float) -> None:
        """Progress is the parent's."""

    def counted(self, tokens: int) -> None:
        """Those of a choice that had ended before, by a tokenizer."""
        self.output += tokens
        self.estimated = True

    def settle(self) -> None:
        """All have ended and all is counted: so has the parent."""
        parent = self.parent
        if self.live or self.counting or self.settled:
            return
        self.settled = True
        parent.state.output_tokens, parent.state.estimated = self.output, self.estimated
        if parent.state.done:
            parent.bill()
        else:
            parent.state.finish = self.finish
            parent.end_stream()

    # --- a part's client: its parent's stream -----------------------------------------

    def translated(self, body: bytes) -> bytes:
        raise AssertionError("a part streams")

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        raise AssertionError("a part streams")

    def begin_stream(self, headers: bytes, payload: bytes) -> None:
        raise AssertionError("a part goes on")

    def send(self, payload: bytes) -> None:
        parent = self.parent
        if not parent.state.done:
            parent.state.tokens += 1
            parent.send(payload)

    def pass_on(self, raw: bytes) -> None:
        """One frame in its chunk."""
        parent = self.parent
        if not parent.state.done:
            parent.state.tokens += 1
            parent.client.pass_on(raw)

    def finish_stream(self, tail: bytes) -> None:
        """The parent ends the stream, when all parts have."""

    def drop(self) -> None:
        """A part could not be continued; the client has been told so."""
        if not self.failed:
            self.failed = True
            self.parent.state.finish = "error"
            self.parent.abandon(502)
            self.parent.client.drop()


def part(state: RequestState, index: int) -> RequestState:
    """The state of a part: one choice, as far as it was delivered."""
    assert state.choices is not None
    request = state.request
    fields = {name: value for name, value in request.fields.items() if name != "n"}
    alone = structs.replace(request, fields=fields, choices=1, answers=1)
    one = RequestState(
        alone, state.offer, state.account, state.ticket, state.limit, state.id, state.began, state.memory
    )
    one.index = index
    one.names, one.opened, one.head_sent, one.renames = state.names, True, True, True
    one.first_token_at, one.tries = state.first_token_at, state.tries
    one.texts = state.choices.texts.get(index, [])
    one.tokens = len(one.texts)
    return one
