"""A scripted vLLM: it is no model, and stands in where a real one would need a GPU.

It behaves as vLLM documents: `return_token_ids` puts `prompt_token_ids` into the first chunk of a chat (in its
choice for a completion) and `token_ids` into each chunk's choice; half a character and what may become a stop
string are held back, their ids are not; `/v1/completions` takes a prompt of ids; `/tokenize` and `/detokenize`.

Its answer is a fixed row of tokens which its own tokenizer would never make of the same text ("po" + "wer " where
it knows "power "), and it goes on only from exactly those: whoever continues it from text gets another text.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.gateway.engines import Faults, Scripted

_WORDS = ("po", "wer ", "Zür", "ich ", "«", "grid", "» ", b"\xe6\x9d", b"\xb1", "京 ", "END", "s here ", "site ")
_CANON = ("power ", "Zürich ", "«grid» ", "東京 ")
PIECES = tuple(p.encode() if isinstance(p, str) else p for p in (*_WORDS, *_CANON)) + tuple(
    bytes((i,)) for i in range(256)
)
ANSWER = tuple(range(13)) * 5
TEXT = b"".join(PIECES[i] for i in ANSWER).decode()
OTHER = " -- another text --"
THOUGHT = ("Let ", "me ", "think. ")
_THINK = 1_000  # ids of reasoning, with its closing tag: not part of the answer's text
_MARK = 2_000  # the assistant's turn begins


class ScriptedVllm(Scripted):
    """One engine on a free loopback port."""

    def __init__(self, name: str = "scripted-vllm", **given: Any) -> None:
        super().__init__(name=name, owner="vllm", **given)

    def tokens(self, text: str) -> list[int]:
        """The longest known piece each time."""
        data, found = text.encode(), []
        order = sorted(range(len(PIECES)), key=lambda i: -len(PIECES[i]))
        while data:
            found.append(next(i for i in order if data.startswith(PIECES[i])))
            data = data[len(PIECES[found[-1]]) :]
        return found

    def text(self, tokens: list[int]) -> str:
        out = b""
        for token in tokens:
            if token < _THINK:
                out += PIECES[token]
            elif token < _MARK:
                out += THOUGHT[token - _THINK].encode() if token - _THINK < len(THOUGHT) else b"</think>"
        return out.decode("utf-8", "replace")

    async def _answer(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path == "/tokenize":
            found = self.tokens(body["prompt"])
            self._json(writer, {"count": len(found), "tokens": found})
        elif path == "/detokenize":
            self._json(writer, {"prompt": self.text(body["tokens"])})
        elif path in ("/v1/chat/completions", "/v1/completions") and body.get("stream"):
            await self._stream(path, body, writer)
        else:
            await super()._answer(path, body, writer)
            return
        await writer.drain()

    async def _stream(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        faults = self.faults if self.faults.times > 0 else Faults()
        faults.times -= 1
        chat = path == "/v1/chat/completions"
        if chat:
            given = [m for m in body["messages"] if m["role"] != "assistant"]
            prompt = [*self.tokens(self.prompt(given)), _MARK]
            if body.get("continue_final_message"):
                prompt += self.tokens(body["messages"][-1]["content"])
        else:
            prompt = body["prompt"] if isinstance(body["prompt"], list) else [*self.tokens(body["prompt"]), _MARK]
        begun = prompt[prompt.index(_MARK) + 1 :]
        thoughts = [_THINK + i for i in range(self.reasoning and len(THOUGHT) + 1)]
        row = [*thoughts, *ANSWER]
        rest = row[len(begun) :] if row[: len(begun)] == begun else [*OTHER.encode()]
        if rest[:1] == [*OTHER.encode()][:1]:
            rest = [len(_WORDS) + len(_CANON) + byte for byte in OTHER.encode()]
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 9_999
        rest, finish = rest[:limit], "length" if limit < len(rest) else "stop"
        ids = bool(body.get("return_token_ids"))
        names = {"id": "chatcmpl-1" if chat else "cmpl-1", "created": 7, "model": self.model}
        names["object"] = "chat.completion.chunk" if chat else "text_completion"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

        def send(value: object) -> None:
            text = b"data: " + json.dumps(value).encode() + b"\n\n"
            writer.write(b"%x\r\n%b\r\n" % (len(text), text))

        async def chunks(index: int) -> None:
            first = True
            held = b""
            stops = [s.encode() for s in body.get("stop") or ()]
            if chat:
                more = {"prompt_token_ids": prompt} if ids else {}
                opening = {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
                send({**names, "choices": [opening], **more})
                first = False
            for count, token in enumerate(rest):
                if faults.die_after == count:
                    await writer.drain()
                    writer.transport.abort()
                    raise ConnectionResetError
                await self.gate.wait()
                await asyncio.sleep(self.pause_s)
                if token >= _THINK:
                    word = THOUGHT[token - _THINK] if token - _THINK < len(THOUGHT) else ""
                    delta = {"reasoning": word} if word else {}
                    choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": None}
                else:
                    held += PIECES[token]
                    out, held = _ready(held, stops)
                    choice = {"index": index, "finish_reason": None}
                    choice |= {"delta": {"content": out}} if chat else {"text": out}
                if ids:
                    choice["token_ids"] = [token]
                    if first:
                        choice["prompt_token_ids"] = prompt
                first = False
                send({**names, "choices": [choice]})
            last: dict[str, Any] = {"index": index, "finish_reason": finish}
            tail = held.decode()
            last |= {"delta": {"content": tail}} if chat else {"text": tail}
            send({**names, "choices": [last | ({"token_ids": []} if ids else {})]})

        self.running += 1
        for index in range(body.get("n") or 1):
            await chunks(index)
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": len(prompt), "completion_tokens": len(rest) * (body.get("n") or 1)}
            send({**names, "choices": [], "usage": usage})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        self.running -= 1


def _ready(held: bytes, stops: list[bytes]) -> tuple[str, bytes]:
    """(what may be shown, what is held back): no half character, nothing that may become a stop string."""
    keep = max((k for s in stops for k in range(1, len(s)) if held.endswith(s[:k])), default=0)
    shown, back = held[: len(held) - keep], held[len(held) - keep :]
    try:
        return shown.decode(), back
    except UnicodeDecodeError as error:
        return shown[: error.start].decode(), shown[error.start :] + back
