"""Engines for tests: a scripted one that fails on command, and real llama.cpp processes with the self-test model.

The scripted engine speaks the same paths as llama.cpp and answers with a fixed text, one word per token, so
that any gap or duplicate shows. It stands in where the self-test model is too small for a case.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

WORDS = tuple(
    f"{word}{index} " for index, word in enumerate(("Zürich", "power", "«grid»", "pool", "東京", "site") * 20)
)
# How many words each of several answers is behind the one before.
LAG = 10
_PIECE = re.compile(r"\s*\S+\s?|\s+")


@dataclass
class Faults:
    """What goes wrong, counted in tokens of one answer; None: nothing."""

    die_after: int | None = None
    stall_after: int | None = None
    half_frame_after: int | None = None
    error_after: int | None = None
    status: int | None = None
    no_usage: bool = False
    times: int = 1_000_000  # how many answers are spoilt


@dataclass
class Scripted:
    """One engine on a free loopback port."""

    name: str = "scripted"
    owner: str = "llamacpp"
    model: str = "m"
    slots: int = 16
    pause_s: float = 0.0
    words: tuple[str, ...] = WORDS
    faults: Faults = field(default_factory=Faults)
    tool_call: bool = False
    reasoning: int = 0
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    cancelled: int = 0
    running: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.opening = asyncio.Event()  # before an answer's head, as while a prompt is read
        self.opening.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await asyncio.sleep(0)

    def kill(self) -> None:
        """What `kill -9` looks like from outside: every connection is reset, the port is closed."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    # --- tokens ---------------------------------------------------------------

    def tokens(self, text: str) -> list[int]:
        found = []
        for piece in _PIECE.findall(text):
            if piece not in self._ids:
                self._ids[piece] = len(self._pieces)
                self._pieces.append(piece)
            found.append(self._ids[piece])
        return found

    def text(self, tokens: list[int]) -> str:
        return "".join(self._pieces[token] for token in tokens)

    def prompt(self, messages: list[dict[str, Any]]) -> str:
        return "".join(f"<{m['role']}> {m.get('content') or ''} " for m in messages) + "<assistant>\n"

    # --- HTTP ---------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(re.search(r"content-length: (\d+)", head, re.I)[1])  # type: ignore[index]
                body = json.loads(await reader.readexactly(length) or b"{}")
                path = head.split(" ")[1]
                if not path.endswith("/models"):
                    self.seen.append((path, body))
                    self.heads.append(head)
                await self._answer(path, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.cancelled += self.running
            self.running = 0
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path == "/v1/models":
            self._json(writer, {"object": "list", "data": [{"id": self.model, "owned_by": self.owner}]})
        elif path == "/props":
            self._json(writer, {"total_slots": self.slots})
        elif path == "/apply-template":
            self._json(writer, {"prompt": self.prompt(body["messages"])})
        elif path == "/tokenize":
            self._json(writer, {"tokens": self.tokens(body.get("content", body.get("prompt", "")))})
        elif path == "/v1/embeddings":
            texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
            data = [{"object": "embedding", "index": i, "embedding": [0.5, len(t)]} for i, t in enumerate(texts)]
            self._json(
                writer,
                {"object": "list", "model": self.model, "data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}},
            )
        elif path == "/health":
            self._json(writer, {"status": "ok"})
        elif self.faults.status is not None and self.faults.times > 0:
            self.faults.times -= 1
            self._json(writer, {"error": {"message": "scripted", "code": self.faults.status}}, self.faults.status)
        else:
            await self._generate(path, body, writer)
        await writer.drain()

    def _json(self, writer: asyncio.StreamWriter, value: object, status: int = 200) -> None:
        text = json.dumps(value).encode()
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(text))
            + text
        )

    async def _generate(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        native = path == "/completion"
        done = 0  # words that the prompt already holds
        if native:
            prompt = self.text(body["prompt"])
            done = len(self.tokens(prompt.partition("<assistant>\n")[2]))
            prompt_tokens, limit = len(body["prompt"]), body.get("n_predict")
        else:
            messages = body.get("messages") or [{"role": "user", "content": str(body.get("prompt"))}]
            if messages[-1]["role"] == "assistant":
                done = len(self.tokens(messages[-1]["content"]))
            begun = messages[-1]["role"] == "assistant"
            prompt_tokens = len(self.tokens(self.prompt(messages[:-1] if begun else messages))) + done
            limit = body.get("max_tokens") or body.get("max_completion_tokens")
        words = list(self.words[done:])
        finish = "stop"
        if limit is not None and limit < len(words):
            words, finish = words[:limit], "length"
        if not body.get("stream"):
            await self.opening.wait()
            await self._whole(path, words, finish, prompt_tokens, writer)
            return
        faults = self.faults if self.faults.times > 0 else Faults()
        faults.times -= 1
        self.running += 1
        await self.opening.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        names = {"id": f"chatcmpl-{self.name}", "created": 1, "model": self.model, "object": "chat.completion.chunk"}

        def frame(value: object) -> bytes:
            text = b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
            return b"%x\r\n%b\r\n" % (len(text), text)

        def chunk(delta: dict[str, Any], finish: str | None = None, at: int = 0) -> bytes:
            return frame({**names, "choices": [{"index": at, "delta": delta, "finish_reason": finish}]})

        if not native:
            writer.write(chunk({"role": "assistant", "content": None}))
        for index in range(self.reasoning if not native else 0):
            writer.write(chunk({"reasoning_content": f"think{index} "}))
        several = body.get("n") or 1
        for index in range(len(words) + LAG * (several - 1) + 1):
            if faults.die_after == index:
                writer.transport.abort()
                raise ConnectionResetError
            if faults.stall_after == index:
                await asyncio.sleep(3600)
            if faults.half_frame_after == index:
                writer.write(b'40\r\ndata: {"choices":[{"index":0,"delta":{"content":"HALF')
                await writer.drain()
                writer.transport.close()
                raise ConnectionResetError
            if faults.error_after == index:
                writer.write(frame({"error": {"message": "scripted", "type": "server_error"}}))
                writer.write(b"0\r\n\r\n")
                self.running -= 1
                return
            if index == len(words) + LAG * (several - 1):
                break
            await self.gate.wait()
            if self.pause_s:
                await asyncio.sleep(self.pause_s)
            if several > 1:  # each answer some words behind the one before
                for at in range(several):
                    if 0 <= (place := index - LAG * at) < len(words):
                        writer.write(chunk({"content": words[place]}, at=at))
                    if place == len(words) - 1:
                        writer.write(chunk({}, finish, at))
                await writer.drain()
                continue
            word = words[index]
            if native:
                writer.write(frame({"index": 0, "content": word, "tokens": [], "stop": False}))
            elif self.tool_call:
                call = {"index": 0, "function": {"arguments": word}}
                if index == 0:
                    call |= {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": word}}
                writer.write(chunk({"tool_calls": [call]}))
            else:
                writer.write(chunk({"content": word}))
            await writer.drain()
        if native:
            writer.write(
                frame(
                    {
                        "index": 0, "content": "", "stop": True, "stop_type": "limit" if finish == "length" else "eos",
                        "tokens_predicted": len(words), "tokens_evaluated": prompt_tokens,
                    }
                )
            )  # fmt: skip
        else:
            if several == 1:
                writer.write(chunk({}, "tool_calls" if self.tool_call else finish))
            if (body.get("stream_options") or {}).get("include_usage") and not faults.no_usage:
                usage = {"prompt_tokens": prompt_tokens, "completion_tokens": several * len(words) + self.reasoning}
                writer.write(frame({**names, "choices": [], "usage": usage}))
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n")
        writer.write(b"0\r\n\r\n")
        self.running -= 1

    async def _whole(self, path: str, words: list[str], finish: str, prompt_tokens: int, writer: Any) -> None:
        faults = self.faults if self.faults.times > 0 else Faults()
        faults.times -= 1
        self.running += 1
        if faults.die_after is not None:
            writer.transport.abort()
            raise ConnectionResetError
        if faults.stall_after is not None:
            await asyncio.sleep(3600)
        await self.gate.wait()
        text = "".join(words)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": finish, "message": message}
        if path == "/v1/completions":
            choice = {"index": 0, "finish_reason": finish, "text": text}
        answer: dict[str, Any] = {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self.model, "choices": [choice],
        }  # fmt: skip
        if not faults.no_usage:
            answer["usage"] = {
                "prompt_tokens": prompt_tokens, "completion_tokens": len(words),
                "total_tokens": prompt_tokens + len(words),
            }  # fmt: skip
        self.running -= 1
        self._json(writer, answer)


# --- the real engine ---------------------------------------------------------------

MODEL = str(files("tieline.edge.selftest") / "tieline-selftest.gguf")

_LLAMA = """
import sys, time, xllamacpp as x
p = x.CommonParams()
p.model.path, p.port = sys.argv[1], int(sys.argv[2])
p.hostnames = ["127.0.0.1"]
p.n_ctx, p.n_parallel, p.n_gpu_layers = 8192, 4, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
p.model_alias, p.use_jinja = {"tieline-self-test"}, True
s = x.Server(p)
print(s.listening_address, flush=True)
sys.stdin.read()
"""


class Llama:
    """A real llama.cpp process; `kill` is kill -9."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LLAMA, MODEL, str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError(f"llama.cpp did not start at {self.url}")

    def kill(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        self.kill()
