"""A stream of chat, completions, Responses or Messages, read as a client reads it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """What a client made of a stream."""

    texts: dict[int, str] = field(default_factory=dict)
    reasoning: str = ""
    arguments: str = ""
    output: int | None = None  # tokens billed
    error: str = ""
    frames: int = 0
    clean: bool = False

    @property
    def text(self) -> str:
        return "|".join(text for _, text in sorted(self.texts.items()))

    @property
    def said(self) -> tuple[str, str, str]:
        return self.reasoning, self.text, self.arguments

    def add(self, text: str, index: int = 0) -> None:
        self.texts[index] = self.texts.get(index, "") + text


async def ask(port: int, path: str, given: dict[str, Any], headers: str = "") -> Answer:
    """One stream, read as a client reads it."""
    if path in ("/v1/chat/completions", "/v1/completions"):
        given = given | {"stream_options": {"include_usage": True}}
    body = json.dumps(given).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_048_576)
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    found = Answer()
    async with asyncio.timeout(120):
        while line := await reader.readline():
            if line.startswith(b"data: [DONE]"):
                found.clean = True
            elif line.startswith(b"data: {"):
                take(found, json.loads(line[6:]))
            elif line.startswith(b"{"):
                found.error = line.decode()[:300]
    writer.close()
    return found


def take(found: Answer, event: dict[str, Any]) -> None:
    """One event of a stream, of whichever surface."""
    found.frames += 1
    if event.get("error"):
        found.error = str(event["error"].get("message"))
    if "type" in event:
        (take_response if event["type"].startswith("response.") else take_message)(found, event)
        return
    if event.get("usage"):
        found.output = event["usage"].get("completion_tokens")
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        found.add(delta.get("content") or choice.get("text") or "", choice.get("index") or 0)
        found.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
        for call in delta.get("tool_calls") or ():
            found.arguments += (call.get("function") or {}).get("arguments") or ""


def take_response(found: Answer, event: dict[str, Any]) -> None:
    match event["type"].removeprefix("response."):
        case "output_text.delta":
            found.add(event["delta"])
        case "reasoning_text.delta":
            found.reasoning += event["delta"]
        case "failed":
            found.error = str(event["response"]["error"]["message"])
        case "completed" | "incomplete":
            found.clean, found.output = True, event["response"]["usage"]["output_tokens"]


def take_message(found: Answer, event: dict[str, Any]) -> None:
    match event["type"]:
        case "content_block_delta":
            found.add(event["delta"].get("text") or "")
            found.reasoning += event["delta"].get("thinking") or ""
        case "message_delta":
            found.output = event["usage"]["output_tokens"]
        case "message_stop":
            found.clean = not found.error
