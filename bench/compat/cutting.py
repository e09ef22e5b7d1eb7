"""Engines that seem to die in the middle of an answer: scripted ones, once for each request or each time, and a real
one whose connections are cut, once for each request."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, Self

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


# Frames of a stream that pass before it is cut.
FRAMES = 4


class CutReal:
    """Before a real engine, under another name of its model, which is as long as its own. Each request's first answer
    is cut: a stream after some frames, another one before its first byte."""

    def __init__(self, engine: int, own: str, shown: str, deaths: Deaths) -> None:
        assert len(own) == len(shown)
        self.engine, self.own, self.shown, self.deaths = engine, own.encode(), shown.encode(), deaths
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self.engine)
        cut: list[bool] = [False]
        asked = asyncio.create_task(self._ask(reader, forth, cut))
        frames = 0
        try:
            while data := await back.read(65_536):
                frames += data.count(b"data: {")
                if cut[0] and (frames > FRAMES or (b"text/event-stream" not in data and not frames)):
                    break
                writer.write(data.replace(self.own, self.shown))
                await writer.drain()
        except OSError:
            pass
        finally:
            asked.cancel()
            forth.transport.abort()
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: list[bool]) -> None:
        try:
            while data := await reader.read(1_048_576):
                if data.startswith(b"POST /v1/chat/completions "):
                    cut[0] = self.deaths.due(data.partition(b"\r\n\r\n")[0].decode("latin-1"))
                writer.write(data.replace(self.shown, self.own))
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()
