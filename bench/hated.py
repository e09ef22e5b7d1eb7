"""Fifty kinds of request that engines hate, from one tenant, while another one works: is the other served?

    python bench/hated.py [--seconds 600] [--undisturbed 200] [--rate 10] [--others 2] [--kinds a,b]

Two llama.cpp (the shipped self-test model), started anew whenever they die, behind a gateway in a process of its own.
The other tenant asks for a short chat so many times a second: `RUNS` undisturbed spans first, then one while the hated
kinds are asked in turn at their rate. Counted: what the others were answered, their median and 99th percentile, which
statuses each kind met, how often an engine died and while which kinds were asked. The flood lasts `--seconds`, the
undisturbed spans `--undisturbed` each. All run on one machine: the gateway, both engines and those who ask.

Writes bench/out/hated.json. Exits 1 where an other request was not served, where their 99th percentile under the flood
is above the undisturbed ones' highest by over a tenth, or where one kind was near more deaths than one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from continuity_faults import free_port
from engines import _up, engine_llama
from machine import processor
from tieline.gateway.settings import hash_key

OUT = Path(__file__).parent / "out" / "hated.json"
RUNS = 3
# A death is laid at the kinds that were asked within so long before it was seen.
NEAR_S = 2.0
CHAT = "/v1/chat/completions"
CONFIG = """
port = {port}
access_log = false
[[models]]
name = "m"
upstream_name = "tieline-self-test"
{engines}
{tenants}
"""


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        inner = {"type": "object", "properties": {"a": inner}, "required": ["a"]}
    return inner


def schema(one: object) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": one}}}


def tool(parameters: object, name: str = "t") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def said(text: object, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text}]}


# One pixel.
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
CYCLE = {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}
NOT_THERE = {"type": "function", "function": {"name": "x"}}
PICTURE = [{"type": "image_url", "image_url": {"url": PIXEL}}]
KINDS: dict[str, dict[str, Any]] = {
    "grammar of opening brackets": {"grammar": "(" * 60_000},
    "grammar that calls itself first": {"grammar": 'root ::= root "a" | "a"'},
    "grammar that never ends": {"grammar": 'root ::= "a" root'},
    "grammar without a root": {"grammar": 'x ::= "a"'},
    "grammar with a count of a million": {"grammar": 'root ::= "a"{1000000}'},
    "grammar of nothing": {"grammar": 'root ::= ""'},
    "grammar of 60 KB": {"grammar": "root ::= " + " | ".join(f'"{n}"' for n in range(7_000))},
    "schema three hundred deep": schema(nested(300)),
    "schema sixty deep": schema(nested(60)),
    "schema that refers to itself": schema({"$ref": "#"}),
    "schema with a cycle": schema({"$defs": CYCLE, "$ref": "#/$defs/a"}),
    "schema of five thousand words": schema({"enum": [f"w{n}" for n in range(5_000)]}),
    "schema with a pattern that explodes": schema({"type": "string", "pattern": "^(a+)+$"}),
    "schema with a bad pattern": schema({"type": "string", "pattern": "([" * 50}),
    "schema of an unknown type": schema({"type": "nothing"}),
    "schema that is a list": schema([]),
    "schema with a length of a million": schema({"type": "string", "minLength": 1_000_000}),
    "schema with many items": schema({"type": "array", "items": {"type": "array", "minItems": 900}, "minItems": 900}),
    "response format of another kind": {"response_format": {"type": "xml"}},
    "prompt of 3 MB": said("power " * 500_000),
    "prompt as long as the context": said("power " * 1_900),
    "prompt of one letter, often": said("a" * 200_000),
    "prompt of emoji": said("\U0001f469\u200d\U0001f680" * 5_000),
    "prompt of nothing": said(""),
    "prompt of NULs": said("\0" * 500),
    "prompt of marks over marks": said("e" + "\u0301" * 5_000),
    "prompt of special tokens": said("<|im_end|><|im_start|>system\n<tool_call>" * 50),
    "a lone surrogate": {"messages": [{"role": "user", "content": "\ud800"}]},
    "a role of its own": said("hi", "wizard"),
    "a tool's answer without a call": {"messages": [{"role": "tool", "tool_call_id": "x", "content": "1"}]},
    "no messages": {"messages": []},
    "a thousand messages": {"messages": [{"role": "user", "content": "hi"}] * 1_000},
    "a picture for a text model": said(PICTURE),
    "a sound for a text model": said([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]),
    "five hundred tools": {"tools": [tool({"type": "object", "properties": {}}, f"t{n}") for n in range(500)]},
    "a tool with a deep schema": {"tools": [tool(nested(200))], "tool_choice": "required"},
    "a tool that is not there": {"tools": [tool({"type": "object"})], "tool_choice": NOT_THERE},
    "a hundred answers": {"n": 100, "max_tokens": 200},
    "a bias of infinity": {"logit_bias": {"1": 1e38}},
    "a bias on no token": {"logit_bias": {"999999999": 100}},
    "a temperature of a million": {"temperature": 1e6},
    "a temperature below nothing": {"temperature": -5},
    "penalties without measure": {"presence_penalty": 1e30, "frequency_penalty": -1e30},
    "no token at all": {"max_tokens": 0},
    "a billion tokens": {"max_tokens": 1_000_000_000},
    "a thousand stop strings": {"stop": [f"s{n}" for n in range(1_000)]},
    "an empty stop string": {"stop": [""]},
    "a seed below nothing": {"seed": -(2**62)},
    "twenty log probabilities of each": {"logprobs": True, "top_logprobs": 20, "max_tokens": 200},
    "a template of one's own": {"chat_template": "{% for a in range(10**9) %}x{% endfor %}"},
    "template arguments that are none": {"chat_template_kwargs": {"messages": "x", "enable_thinking": [[]]}},
    "prompts of unknown tokens": {"path": "/v1/completions", "prompt": [10**9] * 10},
    "a thousand prompts": {"path": "/v1/completions", "prompt": ["a"] * 1_000},
    "no JSON": {"raw": b"{" * 30_000},
    "a body that ends early": {"raw": b'{"model":"m","messages":[', "claims": 500},
    "gone after the first byte": {"leaves": True, "stream": True, "max_tokens": 500},
}  # fmt: skip


@dataclass
class Flood:
    """What came of it all."""

    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    asked: list[tuple[float, str]] = field(default_factory=list)
    deaths: list[dict[str, Any]] = field(default_factory=list)


def body_of(kind: dict[str, Any]) -> bytes:
    given = {name: value for name, value in kind.items() if name not in ("path", "raw", "claims", "leaves")}
    default = {"max_tokens": 16} | ({} if "prompt" in given else said("What is a rig?"))
    raw: bytes | None = kind.get("raw")
    return raw or json.dumps({"model": "m"} | default | given).encode()


async def ask(port: int, kind: dict[str, Any], key: str, body: bytes = b"") -> str:
    """The status, or what happened instead. `body`: of this kind, made before."""
    body = body or body_of(kind)
    path, claims = kind.get("path", CHAT), kind.get("claims", len(body))
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    writer = None
    try:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{head}content-length: {claims}\r\n\r\n".encode() + body)
            if claims > len(body):
                await asyncio.sleep(0.2)
                return "left"
            line = await reader.readline()
            if not kind.get("leaves"):
                await reader.read()
            return line.split(b" ")[1].decode() if b" " in line else "closed"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return type(error).__name__
    finally:
        if writer is not None:
            writer.close()


async def others(port: int, rate: float, seconds: float, draw: random.Random) -> dict[str, Any]:
    """The other tenant's chats over one span."""
    statuses: Counter[str] = Counter()
    took: list[float] = []

    async def one() -> None:
        began = time.perf_counter()
        status = await ask(port, said(f"What is a rig? {draw.random()}") | {"temperature": 0}, "other")
        statuses[status] += 1
        took.append((time.perf_counter() - began) * 1e3)

    async with asyncio.TaskGroup() as group:
        for _ in range(int(rate * seconds)):
            group.create_task(one())
            await asyncio.sleep(1 / rate)
    took.sort()
    return {
        "statuses": dict(statuses),
        "served": round(statuses["200"] / max(1, statuses.total()), 6),
        "p50_ms": round(statistics.median(took), 1),
        "p99_ms": round(took[int(len(took) * 0.99)], 1),
    }


async def hate(port: int, options: argparse.Namespace, flood: Flood, kinds: list[str]) -> None:
    bodies = {name: body_of(KINDS[name]) for name in kinds}  # writing 3 MB of JSON would hold up who asks beside it
    turn: Iterator[str] = (kinds[n % len(kinds)] for n in range(int(options.rate * options.seconds)))

    async def one(name: str) -> None:
        flood.asked.append((time.monotonic(), name))
        flood.statuses[name][await ask(port, KINDS[name], "hater", bodies[name])] += 1

    async with asyncio.TaskGroup() as group:
        for name in turn:
            group.create_task(one(name))
            await asyncio.sleep(1 / options.rate)


def engine(port: int, options: argparse.Namespace, core: int) -> subprocess.Popen[bytes]:
    """An engine stands for a machine of its own: one core, which the others leave to it where there are enough."""
    process = engine_llama(port, options, "llama.cpp")
    if options.cores:
        os.sched_setaffinity(process.pid, {core})  # before it has threads
    return process


async def keep(ports: list[int], options: argparse.Namespace, flood: Flood) -> None:
    """Start engines, and start those anew that die."""
    core = {port: n % (os.cpu_count() or 1) for n, port in enumerate(ports)}
    running = {port: engine(port, options, core[port]) for port in ports}
    try:
        while True:
            await asyncio.sleep(0.2)
            for port, process in running.items():
                if process.poll() is not None:
                    now = time.monotonic()
                    near = sorted({name for at, name in flood.asked if now - at < NEAR_S})
                    flood.deaths.append({"code": process.returncode, "near": near})
                    running[port] = engine(port, options, core[port])
    finally:
        for process in running.values():
            os.killpg(process.pid, signal.SIGKILL)


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    ports, port, flood, draw = [await free_port() for _ in range(2)], await free_port(), Flood(), random.Random(1)
    kinds = options.kinds.split(",") if options.kinds else list(KINDS)
    engines = asyncio.create_task(keep(ports, options, flood))
    for one in ports:
        await _up(one)
    listed = "\n".join(f'[[engines]]\nurl = "http://127.0.0.1:{one}"\nkind = "llama.cpp"' for one in ports)
    tenants = "\n".join(
        f'[[tenants]]\nid = "{name}"\n[[keys]]\nid = "{name}"\ntenant = "{name}"\nsha256 = "{hash_key(name)}"'
        for name in ("hater", "other")
    )
    config = folder / "gateway.toml"
    config.write_text(CONFIG.format(port=port, engines=listed, tenants=tenants))
    gateway = subprocess.Popen(
        [sys.executable, "-m", "tieline", "gateway", "--config", str(config), "--data", str(folder / "data")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(300):
            while await ask(port, {}, "other") != "200":
                await asyncio.sleep(0.3)
        quiet = []
        for _ in range(RUNS):
            quiet.append(await others(port, options.others, options.undisturbed, draw))
            print(f"undisturbed: {json.dumps(quiet[-1])}", flush=True)
        hated = asyncio.create_task(hate(port, options, flood, kinds))
        disturbed = await others(port, options.others, options.seconds, draw)
        await hated
        print(f"under the flood: {json.dumps(disturbed)}", flush=True)
    finally:
        gateway.terminate()
        engines.cancel()
        await asyncio.gather(engines, return_exceptions=True)
        gateway.wait(30)
    near = Counter(name for death in flood.deaths for name in death["near"])
    return {
        "kinds": len(kinds), "undisturbed": quiet, "flood": disturbed,
        "deaths": flood.deaths, "near_deaths": dict(near.most_common(10)),
        "statuses": {name: dict(found) for name, found in flood.statuses.items()},
    }  # fmt: skip


def failures(found: dict[str, Any]) -> list[str]:
    wrong = []
    if found["flood"]["served"] < 1.0:
        wrong.append(f"{1 - found['flood']['served']:.2%} of the others' requests were not served")
    most = max(one["p99_ms"] for one in found["undisturbed"])
    if found["flood"]["p99_ms"] > 1.1 * most:
        wrong.append(f"their 99th percentile was {found['flood']['p99_ms']} ms, undisturbed {most} ms at most")
    alone = Counter(death["near"][0] for death in found["deaths"] if len(death["near"]) == 1)
    wrong += [f"{count} engines died of {name!r}" for name, count in alone.items() if count > 1]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of the flood")
    parser.add_argument("--undisturbed", type=float, default=200.0, help="seconds of each span before it")
    parser.add_argument("--rate", type=float, default=10.0, help="hated requests a second")
    parser.add_argument("--others", type=float, default=2.0, help="requests of the other tenant a second")
    parser.add_argument("--kinds", default="", help="comma-separated; all of them by default")
    parser.add_argument("--cores", action=argparse.BooleanOptionalAction, default=True, help="one core for each engine")
    options = parser.parse_args()
    if options.kinds and (unknown := set(options.kinds.split(",")) - KINDS.keys()):
        parser.error(f"--kinds: there is no {', '.join(sorted(unknown))}")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="tieline-hated-") as folder:
        found = asyncio.run(run(options, Path(folder)))
    machine = {"cpu": processor(), "cores": os.cpu_count(), "load": [load, os.getloadavg()[0]]}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"machine": machine, **found}, indent=2) + "\n")
    print(f"{len(found['deaths'])} engines died; {json.dumps(found['near_deaths'])}")
    wrong = failures(found)
    print("\n".join(wrong) or "all served")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
