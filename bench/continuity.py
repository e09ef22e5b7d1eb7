"""The kill test: what a client sees when the engine behind an OpenAI-compatible endpoint dies under it.

    python bench/continuity.py [--step 1] [--peers DIR] [--out bench/out/continuity.json]
    python bench/continuity.py --base-url http://127.0.0.1:4000/v1 --key sk-... --engines 9001,9002

Two real llama.cpp engines (the self-test model) stand behind proxies that fail one answer at an exact token.
By default it starts Tieline's gateway before them, and LiteLLM too where `--peers` names a virtual environment
that has it. With `--base-url` the endpoint is yours: start this first, point it at the two addresses printed
(`--engines` fixes their ports), and press return.

Score, per fault and kind of request: visible failures, gaps or duplicates, silent truncations (a clean end with
less than the whole), wrong bills (usage that differs from the undisturbed run's), time to resume.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from continuity_faults import FAULTS, Engine

MODEL = "tieline-self-test"
SITE_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "site",
        "schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string"}, "region": {"type": "string"}, "megawatts": {"type": "integer"},
                "feeders": {"type": "integer"},
            },
            "required": ["name", "region", "megawatts", "feeders"],
            "additionalProperties": False,
        },
    },
}  # fmt: skip
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_price",
            "description": "power price of a market",
            "parameters": {"type": "object", "properties": {"market": {"type": "string"}}, "required": ["market"]},
        },
    }
]


def _ask(text: str, **more: Any) -> dict[str, Any]:
    usage = {"stream_options": {"include_usage": True}} if more.get("stream") else {}
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, **usage, **more}


KINDS: dict[str, dict[str, Any]] = {
    "greedy text": _ask("Count from 1 to 60.", stream=True, max_tokens=60),
    "not streamed": _ask("Count from 1 to 60.", max_tokens=60),
    "json schema": _ask(
        "Describe the site Aurora: 12 MW, 3 feeders.", stream=True, max_tokens=120, response_format=SITE_SCHEMA
    ),
    "tool call": _ask(
        "What is the power price in ERCOT?", stream=True, max_tokens=120, tools=TOOLS, tool_choice="required"
    ),
    "sampled": _ask("Count from 1 to 60.", stream=True, max_tokens=60) | {"temperature": 0.7, "seed": 7},
}


@dataclass
class Seen:
    """One answer as a client saw it."""

    text: str
    ended_well: bool
    status: int
    usage: dict[str, Any] | None
    ids: int
    frames: list[float]
    tool: str = ""


async def call(port: int, key: str, body: dict[str, Any], timeout_s: float = 60.0) -> Seen:
    """One request over a raw socket, so that nothing is retried or smoothed over by a client library."""
    text = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(text)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + text)
    raw, times = b"", []
    try:
        async with asyncio.timeout(timeout_s):
            while data := await reader.read(65536):
                raw += data
                if b"data: " in data:
                    times.append(time.monotonic())
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()
    top, _, rest = raw.partition(b"\r\n\r\n")
    status = int(top.split(b" ")[1]) if top.startswith(b"HTTP/") else 0
    payload, whole = _unchunk(rest) if b"chunked" in top.lower() else (rest, True)
    if not body.get("stream"):
        try:
            answer = json.loads(payload)
            choice = answer["choices"][0]["message"]
            return Seen(choice.get("content") or "", True, status, answer.get("usage"), 1, times)
        except (ValueError, KeyError, IndexError):
            return Seen("", False, status, None, 0, times)
    return _streamed(payload, whole, status, times)


def _streamed(payload: bytes, whole: bool, status: int, times: list[float]) -> Seen:
    parts, tool, names, usage, done, failed = [], "", set(), None, False, False
    for frame in payload.decode("utf-8", "replace").split("\n\n"):
        if not frame.startswith("data: "):
            continue
        if frame == "data: [DONE]":
            done = True
            continue
        try:
            event = json.loads(frame[6:])
        except ValueError:
            failed = True
            continue
        failed = failed or "error" in event
        usage = event.get("usage") or usage
        if event.get("choices"):
            names.add((event.get("id"), event.get("model")))
        for choice in event.get("choices") or []:
            delta = choice.get("delta") or {}
            parts.append(delta.get("content") or "")
            for one in delta.get("tool_calls") or []:
                tool += (one.get("function") or {}).get("arguments") or ""
    return Seen("".join(parts), whole and done and not failed, status, usage, len(names), times, tool)


def _unchunk(data: bytes) -> tuple[bytes, bool]:
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        try:
            length = int(size, 16)
        except ValueError:
            return out, False
        if length == 0:
            return out, True
        out, data = out + data[:length], data[length + 2 :]
    return out, False


# --- scoring -------------------------------------------------------------------------


def judge(kind: str, seen: Seen, whole: Seen) -> list[str]:
    """What is wrong with an answer, in words; empty: nothing."""
    if not seen.ended_well or seen.status != 200:
        return ["visible failure"]
    wrong = []
    if kind == "greedy text" or kind == "not streamed":
        if seen.text != whole.text:
            wrong.append("silent truncation" if whole.text.startswith(seen.text) else "gap or duplicate")
    elif kind == "json schema":
        wrong += _not_json(seen.text, {"name", "region", "megawatts", "feeders"})
    elif kind == "tool call":
        wrong += _not_json(seen.tool, {"market"})
    elif not seen.text:
        wrong.append("silent truncation")
    if seen.ids > 1:
        wrong.append("id changed")
    if (kind in ("greedy text", "not streamed") and _bill(seen) != _bill(whole)) or _bill(seen)[0] != _bill(whole)[0]:
        wrong.append("wrong bill")
    return wrong


def _not_json(text: str, keys: set[str]) -> list[str]:
    try:
        return [] if set(json.loads(text)) == keys else ["silent corruption"]
    except ValueError:
        return ["silent corruption"]


def _bill(seen: Seen) -> tuple[Any, Any]:
    usage = seen.usage or {}
    return usage.get("prompt_tokens"), usage.get("completion_tokens")


async def score(name: str, port: int, key: str, engines: list[Engine], options: argparse.Namespace) -> dict[str, Any]:
    """All faults and kinds against one endpoint."""
    dice = random.Random(options.seed)
    result: dict[str, Any] = {}
    for kind, body in KINDS.items():
        await _ready(port, key, engines)
        whole = await call(port, key, body)
        if not whole.ended_well:
            result[kind] = {"error": f"the undisturbed run failed with {whole.status}"}
            continue
        tokens = (whole.usage or {}).get("completion_tokens") or 30
        for fault in (*FAULTS, *(("notice",) if name == "tieline" else ())):
            if kind == "greedy text" and fault in ("kill", "cut"):
                positions = list(range(0, tokens, options.step))
            elif kind == "not streamed":  # milliseconds after the request reached the engine
                positions = [-dice.randrange(2, 40) for _ in range(options.sample)]
            else:
                positions = sorted(dice.sample(range(1, max(2, tokens - 1)), min(options.sample, max(1, tokens - 2))))
            row = {"runs": 0, "resume_ms": []}
            for at in positions:
                await _one(port, key, engines, kind, body, fault, at, whole, row)
            result[f"{kind} / {fault}"] = _summary(row)
            print(f"{name:10} {kind:13} {fault:7} {result[f'{kind} / {fault}']}", flush=True)
    return result


async def _one(
    port: int, key: str, engines: list[Engine], kind: str, body: dict[str, Any], fault: str, at: int, whole: Seen,
    row: dict[str, Any],
) -> None:  # fmt: skip
    await _ready(port, key, engines)
    for engine in engines:  # whichever serves it is the one that fails
        engine.fault, engine.at, engine.fired_at = fault, at, 0.0
    if fault == "storm":
        engines[at % 2].storming = True
    watcher = asyncio.create_task(_only_one(engines))
    seen = await call(port, key, body, 30.0)
    watcher.cancel()
    fired = max(engine.fired_at for engine in engines)
    row["runs"] += 1
    for word in judge(kind, seen, whole):
        row[word] = row.get(word, 0) + 1
    later = [moment for moment in seen.frames if fired and moment > fired + 0.002]
    if later and seen.ended_well and body.get("stream"):
        row["resume_ms"].append((later[0] - fired) * 1e3)


async def _only_one(engines: list[Engine]) -> None:
    """Once one engine has failed the others stay well."""
    while not any(engine.fired_at for engine in engines):
        await asyncio.sleep(0)
    for engine in engines:
        engine.fault = ""


async def _ready(port: int, key: str, engines: list[Engine]) -> None:
    """Both engines well, and the endpoint answers again."""
    if notice_off := getattr(engines[0], "notice_off", None):
        notice_off()
    for engine in engines:
        await engine.heal()
    for _ in range(100):
        seen = await call(port, key, _ask("What is a feeder?", max_tokens=2), 20.0)
        healthy = await _both_seen(port)
        if seen.status == 200 and healthy:
            return
        await asyncio.sleep(0.1)


async def _both_seen(port: int) -> bool:
    """Tieline says which replicas it sees; others are taken at their word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    raw = await reader.read()
    writer.close()
    try:
        replicas = json.loads(raw.partition(b"\r\n\r\n")[2])["replicas"]
    except (ValueError, KeyError, TypeError):
        return True
    return all(one["state"] == "ready" and one["usable"] for one in replicas)


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    times = sorted(row.pop("resume_ms"))
    if times:
        row["resume_p50_ms"] = round(statistics.median(times), 1)
        row["resume_p99_ms"] = round(times[min(len(times) - 1, int(len(times) * 0.99))], 1)
    return row


# --- subjects --------------------------------------------------------------------------


def _tieline(folder: Path, engines: list[Engine], port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tieline", "gateway", "--port", str(port), "--data", str(folder / "data")]
    for engine in engines:
        command += ["--upstream", engine.url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _litellm(peers: Path, folder: Path, engines: list[Engine], port: int) -> subprocess.Popen[bytes]:
    models = [
        {
            "model_name": MODEL,
            "litellm_params": {"model": f"openai/{MODEL}", "api_base": f"{engine.url}/v1", "api_key": "x"},
        }
        for engine in engines
    ]
    settings = {"num_retries": 2, "allowed_fails": 1, "cooldown_time": 1}
    (folder / "litellm.yaml").write_text(json.dumps({"model_list": models, "router_settings": settings}))
    command = [str(peers / "bin" / "litellm"), "--config", str(folder / "litellm.yaml"), "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=1, help="every n-th token position for greedy text")
    parser.add_argument("--sample", type=int, default=4, help="positions for the other kinds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--base-url")
    parser.add_argument("--key", default="any")
    parser.add_argument("--engines", help="ports of the two engine addresses, for --base-url")
    parser.add_argument("--out", type=Path, default=Path("bench/out/continuity.json"))
    options = parser.parse_args()
    engines = [Engine("a"), Engine("b")]
    for engine in engines:
        await engine.start()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tieline-continuity-") as name:
        folder = Path(name)
        try:
            if options.base_url:
                print("point your endpoint at", *(engine.url for engine in engines), "and press return")
                await asyncio.to_thread(sys.stdin.readline)
                port = int(options.base_url.split(":")[2].split("/")[0])
                results["endpoint"] = await score("endpoint", port, options.key, engines, options)
            else:
                subjects = {"tieline": lambda port: _tieline(folder, engines, port)}
                if options.peers is not None and (options.peers / "bin" / "litellm").exists():
                    subjects["litellm"] = lambda port: _litellm(options.peers, folder, engines, port)
                for subject, begin in subjects.items():
                    results[subject] = await _subject(subject, begin, engines, options)
        finally:
            for engine in engines:
                engine.stop()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    hardware = {"cores": os.cpu_count(), "kernel": platform.release(), "load_average": os.getloadavg()[0]}
    report = {"hardware": hardware, "model": MODEL, "step": options.step, "results": results}
    options.out.write_text(json.dumps(report, indent=2) + "\n")


async def _subject(name: str, begin: Any, engines: list[Engine], options: argparse.Namespace) -> dict[str, Any]:
    probe = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    for engine in engines:
        await engine.heal()
    process = begin(port)
    try:
        for _ in range(600):
            try:
                if (await call(port, options.key, _ask("x", max_tokens=1), 10.0)).status == 200:
                    break
            except OSError:
                pass
            await asyncio.sleep(0.2)
        else:
            return {"error": "did not start"}
        if name == "tieline":
            _wire_notice(port, engines)
        return await score(name, port, options.key, engines, options)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _wire_notice(port: int, engines: list[Engine]) -> None:
    """An announced curtailment: the replica is set to draining, and killed a second later."""
    loop = asyncio.get_running_loop()

    async def tell(engine: Engine, state: str) -> None:
        text = json.dumps({"state": state}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        name = engine.url.removeprefix("http://")
        writer.write(
            f"POST /admin/replicas/{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            f"content-length: {len(text)}\r\n\r\n".encode() + text
        )  # fmt: skip
        await reader.read()
        writer.close()

    tasks: set[asyncio.Task[None]] = set()
    timers: list[asyncio.TimerHandle] = []

    def notice(engine: Engine) -> None:
        task = loop.create_task(tell(engine, "draining"))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        timers.append(loop.call_later(1.0, engine.kill))

    def notice_off() -> None:
        while timers:
            timers.pop().cancel()
        for engine in engines:
            task = loop.create_task(tell(engine, "ready"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    for engine in engines:
        engine.notice = notice
    engines[0].notice_off = notice_off  # type: ignore[attr-defined]


if __name__ == "__main__":
    asyncio.run(main())
