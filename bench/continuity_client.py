"""What a client sees of one answer, and what is wrong with it.

A raw socket: nothing is retried or smoothed over by a client library.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

SITE_KEYS = {"name", "region", "megawatts", "feeders"}


@dataclass
class Seen:
    """One answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)  # by choice
    tool: str = ""
    finishes: dict[int, str] = field(default_factory=dict)
    well: bool = False  # ended the way its protocol says a whole answer ends
    error: str = ""
    usage: tuple[int | None, int | None] = (None, None)
    names: set[tuple[Any, ...]] = field(default_factory=set)
    broken: str = ""  # a rule of the protocol that was broken
    asked_at: float = 0.0
    token_at: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.texts.get(0, "")


@dataclass
class Target:
    """An endpoint."""

    port: int
    key: str = "any"
    host: str = "127.0.0.1"
    path: str = "/v1"

    async def ask(
        self, body: dict[str, Any], *, timeout_s: float = 30.0, leave_after: int | None = None,
        seen: Seen | None = None,
    ) -> Seen:  # fmt: skip
        """One request; `leave_after`: the client hangs up after so many tokens; `seen` can be watched meanwhile."""
        path = "responses" if "input" in body else "chat/completions"
        text = json.dumps(body).encode()
        seen = seen or Seen()
        seen.asked_at = time.monotonic()
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 24)
        writer.write(
            f"POST {self.path}/{path} HTTP/1.1\r\nhost: {self.host}\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(text)}\r\n\r\n".encode()
            + text
        )
        reading = _Reading(seen, streamed=bool(body.get("stream")), responses=path == "responses")
        try:
            async with asyncio.timeout(timeout_s):
                while data := await reader.read(65_536):
                    reading.feed(data, time.monotonic())
                    if leave_after is not None and len(seen.token_at) >= leave_after:
                        break
        except TimeoutError:
            seen.error = f"nothing more within {timeout_s:g} s"
        except OSError as error:
            seen.error = str(error)
        finally:
            writer.transport.abort()
        reading.end()
        return seen


class _Reading:
    def __init__(self, seen: Seen, *, streamed: bool, responses: bool) -> None:
        self.seen, self.streamed, self.responses = seen, streamed, responses
        self.raw = b""
        self.headed = self.whole = self.chunked = False
        self.payload = b""
        self.done = False
        self.number = -1
        self.ended = ""
        self.final = ""

    def feed(self, data: bytes, now: float) -> None:
        self.raw += data
        if not self.headed:
            head, blank, rest = self.raw.partition(b"\r\n\r\n")
            if not blank:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            self.seen.status = int(first.split(" ")[1])
            self.seen.headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
            self.headed, self.raw = True, rest
            self.chunked = "chunked" in self.seen.headers.get("transfer-encoding", "").lower()
        if self.chunked:
            while not self.whole:
                line, blank, rest = self.raw.partition(b"\r\n")
                size = int(line, 16) if blank else -1
                if size < 0 or len(rest) < size + 2:
                    break
                self.payload, self.raw = self.payload + rest[:size], rest[size + 2 :]
                self.whole = size == 0
        else:
            self.payload, self.raw = self.payload + self.raw, b""
            self.whole = len(self.payload) >= int(self.seen.headers.get("content-length", 1 << 60))
        if self.streamed and self.seen.status == 200:
            *frames, self.payload = self.payload.split(b"\n\n")
            for frame in frames:
                self._frame(frame, now)

    def _frame(self, frame: bytes, now: float) -> None:
        seen = self.seen
        lines = [line for line in frame.split(b"\n") if not line.startswith(b":")]
        if not lines:
            return
        for line in lines:
            if line.startswith((b"id:", b"retry:")) or line == b"data:":
                seen.broken = f"a line that clients break on: {line[:20]!r}"
        data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        if not data:
            seen.broken = "an event without data"
            return
        if self.done or self.ended:
            seen.broken = "an event after the end"
        if data == b"[DONE]":
            self.done = True
            return
        try:
            event = json.loads(data)
        except ValueError:
            seen.broken = "an event that is not JSON"
            return
        if self.responses:
            self._event(event, now)
        else:
            self._chunk(event, now)

    def _chunk(self, event: dict[str, Any], now: float) -> None:
        seen = self.seen
        if event.get("error"):
            seen.error = str(event["error"].get("message"))
            return
        if event.get("usage"):
            usage = event["usage"]
            seen.usage = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        if event.get("choices"):
            seen.names.add((event.get("id"), event.get("created"), event.get("model")))
        for choice in event.get("choices") or []:
            index, delta = choice.get("index", 0), choice.get("delta") or {}
            calls = delta.get("tool_calls") or []
            text = delta.get("content") or ""
            if text or calls:
                seen.token_at.append(now)
            seen.texts[index] = seen.texts.get(index, "") + text
            seen.tool += "".join((one.get("function") or {}).get("arguments") or "" for one in calls)
            if choice.get("finish_reason"):
                if index in seen.finishes:
                    seen.broken = "an answer that ends twice"
                seen.finishes[index] = choice["finish_reason"]

    def _event(self, event: dict[str, Any], now: float) -> None:
        seen, kind = self.seen, event.get("type", "")
        if event.get("sequence_number") != self.number + 1:
            seen.broken = f"sequence number {event.get('sequence_number')} after {self.number}"
        self.number = event.get("sequence_number") or 0
        if kind == "response.output_text.delta":
            seen.token_at.append(now)
            seen.texts[0] = seen.texts.get(0, "") + event["delta"]
        if whole := event.get("response"):
            seen.names.add((whole.get("id"), whole.get("created_at"), whole.get("model")))
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            self.ended = kind
            usage = event["response"].get("usage") or {}
            seen.usage = (usage.get("input_tokens"), usage.get("output_tokens"))
            parts = [p for item in event["response"].get("output") or [] for p in item.get("content") or []]
            self.final = "".join(part.get("text") or "" for part in parts)
            if kind == "response.failed":
                seen.error = str((event["response"].get("error") or {}).get("message"))
        elif kind == "error":
            seen.error = str(event.get("message"))

    def end(self) -> None:
        seen = self.seen
        if seen.status != 200 or not self.streamed:
            self._whole_answer()
            return
        if self.responses:
            seen.well = self.whole and bool(self.ended) and not seen.error and not self.done
            seen.finishes[0] = self.ended.removeprefix("response.")
            if seen.well and self.final != seen.text:
                seen.broken = "the whole text is not that of the deltas"
        else:
            seen.well = self.whole and self.done and not seen.error

    def _whole_answer(self) -> None:
        seen = self.seen
        try:
            answer = json.loads(self.payload)
        except ValueError:
            seen.error = seen.error or "no JSON"
            return
        if seen.status != 200:
            error = answer.get("error") if isinstance(answer, dict) else None
            seen.error = str(error.get("message") if isinstance(error, dict) else answer)[:200]
            return
        for choice in answer.get("choices") or []:
            seen.texts[choice["index"]] = choice["message"].get("content") or ""
            seen.finishes[choice["index"]] = choice.get("finish_reason") or ""
        usage = answer.get("usage") or {}
        seen.usage = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        seen.well = self.whole and bool(seen.texts) and not seen.error


def judge(kind: str, seen: Seen, whole: Seen, limit: int) -> list[str]:
    """What is wrong with an answer, in words; empty: nothing."""
    if not seen.well or seen.status != 200:
        return ["visible failure"]
    wrong = []
    if kind in ("greedy text", "not streamed", "n=2", "responses", "notice"):
        for index, text in whole.texts.items():
            wrong += _compare(seen.texts.get(index, ""), text)
        if seen.usage != whole.usage:
            wrong.append("wrong bill")
    elif kind == "json schema":
        wrong += _part(seen, seen.text, SITE_KEYS)
    elif kind == "tool call":
        wrong += _part(seen, seen.tool, {"market"})
    elif not seen.text or set(seen.finishes) != {0}:
        wrong.append("silent truncation")
    if seen.usage[0] != whole.usage[0] or (
        seen.finishes.get(0) == "length" and seen.usage[1] != limit * len(seen.texts)
    ):
        wrong.append("wrong bill")
    if len(seen.names) > 1:
        wrong.append("id, time or model changed")
    if seen.broken:
        wrong.append(seen.broken)
    return sorted(set(wrong))


def _compare(text: str, whole: str) -> list[str]:
    if text == whole:
        return []
    if whole.startswith(text):
        return ["silent truncation"]
    same = next((i for i, (a, b) in enumerate(zip(text, whole, strict=False)) if a != b), min(len(text), len(whole)))
    if len(text) < len(whole) and whole.endswith(text[same:]):
        return ["gap"]
    return ["duplicate" if len(text) > len(whole) else "other text"]


def _part(seen: Seen, text: str, keys: set[str]) -> list[str]:
    """An object that ran into the output limit is no surprise to a client that reads `finish_reason`."""
    if _holds(text, keys):
        return []
    return ["cut at its limit, and says so" if seen.finishes.get(0) == "length" else "silent corruption"]


def _holds(text: str, keys: set[str]) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and set(value) == keys
