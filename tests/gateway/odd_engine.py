"""An engine that answers whatever a test writes: frames as bytes, pauses, a death; a status with headers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.engines import Scripted

DIE = "die"
NAMES = {"id": "chatcmpl-odd", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@dataclass
class Odd(Scripted):
    """`frames`: what a stream is made of: bytes as they go out, objects as `data:` lines, seconds to wait, DIE.
    `whole`: (status, header lines, body) of every other answer; `by_prompt`: the same for prompts that hold a word."""

    frames: list[Any] = field(default_factory=list)
    whole: tuple[int, str, Any] = (200, "", {})
    by_prompt: dict[str, tuple[int, str, Any]] = field(default_factory=dict)

    async def _answer(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path not in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"):
            await super()._answer(path, body, writer)
            return
        for word, given in self.by_prompt.items():
            if word in json.dumps(body):
                await self._say(*given, writer)
                return
        if body.get("stream") and self.frames:
            await self._frames(writer)
        elif self.whole[2] or self.whole[0] != 200:
            await self._say(*self.whole, writer)
        else:
            await super()._answer(path, body, writer)

    async def _say(self, status: int, head: str, body: Any, writer: asyncio.StreamWriter) -> None:
        if body == DIE:
            writer.transport.abort()
            raise ConnectionResetError
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        first = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{head}content-length: {len(text)}\r\n\r\n"
        writer.write(first.encode() + text)
        await writer.drain()

    async def _frames(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        self.running += 1
        for frame in self.frames:
            if frame == DIE:
                await writer.drain()
                writer.transport.abort()
                raise ConnectionResetError
            if isinstance(frame, float):
                await asyncio.sleep(frame)
                continue
            text = frame if isinstance(frame, bytes) else b"data: " + json.dumps(frame).encode() + b"\n\n"
            writer.write(b"%x\r\n%b\r\n" % (len(text), text))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        self.running -= 1


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {**NAMES, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def usage(**counts: Any) -> dict[str, Any]:
    return {**NAMES, "choices": [], "usage": counts}


END = b"data: [DONE]\n\n"


def answer(text: str = "hello there", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **more}
