"""A scripted engine for cases that ask for sense: it calls tools with plausible arguments and follows a loop.

It is no model. It fills a tool's or a schema's fields from the numbers and quoted words of the last message, and
says what it is: `owned_by` is "scripted", every answer's `system_fingerprint` too. It also speaks the paths that
the self-test engines are not started for: embeddings and rerank.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from tests.gateway.engines import Scripted

_NAMES = {"created": 1, "system_fingerprint": "scripted"}


class Able(Scripted):
    """One engine on a free loopback port."""

    def __init__(self, model: str = "scripted", **given: Any) -> None:
        super().__init__(model=model, owner="scripted", **given)

    async def _answer(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path == "/v1/chat/completions":
            self._chat(body, writer)
        elif path == "/v1/rerank":
            found = [{"index": i, "relevance_score": 1.0 / (1 + i)} for i, _ in enumerate(body["documents"])]
            self._json(writer, {"model": self.model, "results": found, "usage": {"total_tokens": 9}})
        elif path == "/v1/embeddings":
            texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
            texts = [texts] if texts and isinstance(texts[0], int) else texts
            data = [{"object": "embedding", "index": i, "embedding": [0.5, len(t)]} for i, t in enumerate(texts)]
            usage = {"prompt_tokens": 7, "total_tokens": 7}
            self._json(writer, {"object": "list", "model": self.model, "data": data, "usage": usage})
        else:
            await super()._answer(path, body, writer)
            return
        await writer.drain()

    # --- chat ---------------------------------------------------------------------

    def _chat(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        text = _text_of(body["messages"][-1])
        call = None
        if body.get("tools") and body.get("tool_choice") != "none" and body["messages"][-1]["role"] != "tool":
            call = _call(body, text)
        if call is not None:
            message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
            finish, pieces = "tool_calls", []
            tokens = -(-len(call["function"]["arguments"]) // 5)
        else:
            form = body.get("response_format") or {}
            if form.get("type") == "json_schema":
                answer = json.dumps(fill(form["json_schema"]["schema"], text))
            elif form.get("type") == "json_object":  # the keys that the message names in quotes
                answer = json.dumps(dict.fromkeys(re.findall(r"'(\w+)'", text), "scripted"))
            else:
                answer = f"I heard {text!r}; I am scripted."
            message = {"role": "assistant", "content": answer}
            finish, pieces = "stop", re.findall(r"\s*\S+", answer)
            tokens = len(pieces)
        prompt = len(json.dumps(body["messages"])) // 4
        usage = {"prompt_tokens": prompt, "completion_tokens": max(1, tokens)}
        usage["total_tokens"] = prompt + usage["completion_tokens"]
        names = {"id": "chatcmpl-1", "model": self.model, **_NAMES}
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": finish, "message": message}
            self._json(writer, {**names, "object": "chat.completion", "choices": [choice], "usage": usage})
            return
        deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": None}, None)]
        if call is not None:
            whole = call["function"]["arguments"]
            opening = {**call, "index": 0, "function": {**call["function"], "arguments": ""}}
            deltas.append(({"tool_calls": [opening]}, None))
            deltas += [
                ({"tool_calls": [{"index": 0, "function": {"arguments": whole[at : at + 5]}}]}, None)
                for at in range(0, len(whole), 5)
            ]
        deltas += [({"content": piece}, None) for piece in pieces]
        deltas.append(({}, finish))
        frames: list[dict[str, Any]] = [
            {**names, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": d, "finish_reason": f}]}
            for d, f in deltas
        ]
        if (body.get("stream_options") or {}).get("include_usage"):
            frames.append({**names, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        self._stream(writer, [(None, frame) for frame in frames], done=True)

    def _stream(
        self, writer: asyncio.StreamWriter, events: list[tuple[str | None, dict[str, Any]]], *, done: bool,
        ended: bool = True,
    ) -> None:  # fmt: skip
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for name, value in events:
            text = (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"
            writer.write(b"%x\r\n%b\r\n" % (len(text), text))
        if done:
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n")
        if ended:
            writer.write(b"0\r\n\r\n")


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def _call(body: dict[str, Any], text: str) -> dict[str, Any]:
    tools = [tool["function"] for tool in body["tools"]]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        tools = [one for one in tools if one["name"] == choice["function"]["name"]]
    tool = tools[0]
    arguments = json.dumps(fill(tool.get("parameters") or {}, text), ensure_ascii=False)
    return {"id": "call_1", "type": "function", "function": {"name": tool["name"], "arguments": arguments}}


def fill(schema: dict[str, Any], text: str, root: dict[str, Any] | None = None) -> Any:
    """A value of this schema, from the numbers and quoted words in a text."""
    root = root or schema
    if "$ref" in schema:
        return fill(root["$defs"][schema["$ref"].rpartition("/")[2]], text, root)
    if "enum" in schema or "const" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    if "anyOf" in schema:
        return fill(schema["anyOf"][0], text, root)
    match schema.get("type", "object"):
        case "object":
            return {name: fill(one, text, root) for name, one in (schema.get("properties") or {}).items()}
        case "array":
            return [fill(schema.get("items") or {}, text, root)]
        case "integer" | "number":
            found = re.search(r"-?\d+", text)
            return int(found[0]) if found else 1
        case "boolean":
            return True
        case "null":
            return None
        case _:
            quoted = re.search(r"['\"«](.+?)['\"»]", text)
            return quoted[1] if quoted else "scripted"
