"""A scripted engine whose process seems to die in the middle of an answer: once for each request, or each time."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.able import Able


@dataclass
class Deaths:
    """What engines of one model have died on; they share it, so that a request is cut once wherever it is."""

    always: bool = False
    met: set[str] = field(default_factory=set)

    def due(self, head: str) -> bool:
        """Is the request with this head cut now? The gateway asks each engine under the request's one id."""
        found = re.search(r"x-request-id: (\S+)", head, re.I)
        id_ = found[1] if found else ""
        due = self.always or id_ not in self.met
        self.met.add(id_)
        return due


class Cutting(Able):
    """It cuts a stream in its middle, and an answer that is not streamed before its first byte."""

    def __init__(self, model: str, deaths: Deaths) -> None:
        super().__init__(model=model)
        self.deaths = deaths
        self._cut = False

    def _chat(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self._cut = self.deaths.due(self.heads[-1])
        if self._cut and not body.get("stream"):
            raise self._die(writer)
        super()._chat(body, writer)

    def _stream(
        self, writer: asyncio.StreamWriter, events: list[tuple[str | None, dict[str, Any]]], *, done: bool,
        ended: bool = True,
    ) -> None:  # fmt: skip
        if not self._cut:
            super()._stream(writer, events, done=done, ended=ended)
            return
        super()._stream(writer, events[: 1 + len(events) // 2], done=False, ended=False)
        raise self._die(writer)

    @staticmethod
    def _die(writer: asyncio.StreamWriter) -> ConnectionResetError:
        writer.close()  # what is written goes out first; the answer is not ended
        return ConnectionResetError("cut")
