"""A load tool for a minute: what it counts against what is billed, undisturbed and while engines are killed.

    python bench/load_tool.py --guidellm ENV [--seconds 60] [--streams 8]

ENV is a virtual environment with guidellm (`pip install guidellm`, 0.8; it brings PyTorch, some 6 GB). Two llama.cpp
(the shipped self-test model) stand behind a gateway in a process of its own; guidellm asks for streams, many at once,
first undisturbed, then while each engine in turn is killed with `kill -9` every few seconds and started anew. Compared
are its counts of requests and of tokens with those of `GET /v1/usage`. What it leaves unfinished when its time is over
is billed for what was delivered, so that the bill may be above its count by no more than that.

Writes bench/out/load_tool.json. Exits 1 where guidellm met an error, or a count does not agree with the bill.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from continuity_faults import fetch, free_port
from engines import _up, engine_llama
from machine import processor
from tieline.gateway.settings import hash_key

OUT = Path(__file__).parent / "out" / "load_tool.json"
KEY = "load-tool"
CONFIG = f"""
port = {{port}}
access_log = false
[[models]]
name = "m"
upstream_name = "tieline-self-test"
{{engines}}
[[tenants]]
id = "load"
[[keys]]
id = "load"
tenant = "load"
sha256 = "{hash_key(KEY)}"
"""
KILL_EVERY_S = 8.0


def billed(port: int) -> dict[str, int]:
    """This hour's and the last one's sums of the key: requests, prompt and output tokens."""
    asked = Request(f"http://127.0.0.1:{port}/v1/usage", headers={"authorization": f"Bearer {KEY}"})
    with urlopen(asked, timeout=10) as answer:
        lines = json.load(answer)["data"]
    return {name: sum(line[name] for line in lines) for name in ("requests", "prompt_tokens", "output_tokens")}


async def guided(options: argparse.Namespace, port: int, folder: Path) -> dict[str, Any]:
    """What guidellm counted."""
    prompts, report = folder / "prompts.jsonl", folder / "report.json"
    lines = (json.dumps({"prompt": f"What is a rig? Say it in other words, number {n}."}) for n in range(100_000))
    prompts.write_text("\n".join(lines) + "\n")
    command = [
        str(options.guidellm / "bin" / "guidellm"), "run", "--disable-console",
        "--backend", f"kind=openai_http,target=http://127.0.0.1:{port},model=m,api_key={KEY},max_tokens=64",
        "--profile", f"kind=concurrent,streams={options.streams}",
        "--constraint", f"kind=max_duration,seconds={options.seconds}",
        "--data", f"kind=json_file,path={prompts}", "--output", f"kind=json,path={report}",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise SystemExit(f"guidellm ended with {process.returncode}: {said.decode()[-500:]}")
    requests = json.loads(report.read_text())["benchmarks"][0]["requests"]
    whole = requests["successful"]
    return {
        "successful": len(whole), "errored": len(requests["errored"]), "unfinished": len(requests["incomplete"]),
        "prompt_tokens": sum(one["input_metrics"]["text_tokens"] for one in whole),
        "output_tokens": sum(one["output_metrics"]["text_tokens"] for one in whole),
        "errors": sorted({str(one["info"].get("error"))[:200] for one in requests["errored"]})[:5],
    }  # fmt: skip


async def killing(ports: list[int], running: dict[int, subprocess.Popen[bytes]], options: argparse.Namespace) -> None:
    """Kill one engine after the other, and start it anew."""
    while True:
        for port in ports:
            await asyncio.sleep(KILL_EVERY_S)
            os.killpg(running[port].pid, signal.SIGKILL)
            running[port].wait()
            running[port] = engine_llama(port, options, "llama.cpp")


async def serves(port: int) -> bool:
    """Is an engine ready behind it?"""
    try:
        status, body = await fetch(port, "GET", "/healthz", timeout_s=2.0)
        return status == 200 and json.loads(body)["ready"]
    except (OSError, TimeoutError):
        return False


async def span(options: argparse.Namespace, port: int, folder: Path) -> dict[str, Any]:
    """One run of guidellm, and what was billed for it."""
    before = billed(port)
    counted = await guided(options, port, folder)
    await asyncio.sleep(2.0)  # what it left is billed
    after = billed(port)
    return {"guidellm": counted, "billed": {name: after[name] - before[name] for name in after}}


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    ports, port = [await free_port() for _ in range(2)], await free_port()
    running = {one: engine_llama(one, options, "llama.cpp") for one in ports}
    gateway = None
    try:
        for one in ports:
            await _up(one)
        listed = "\n".join(f'[[engines]]\nurl = "http://127.0.0.1:{one}"\nkind = "llama.cpp"' for one in ports)
        config = folder / "gateway.toml"
        config.write_text(CONFIG.format(port=port, engines=listed))
        gateway = subprocess.Popen(
            [sys.executable, "-m", "tieline", "gateway", "--config", str(config), "--data", str(folder / "data")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(60):
            while not await serves(port):
                await asyncio.sleep(0.2)
        found = {"undisturbed": await span(options, port, folder)}
        print(f"undisturbed: {json.dumps(found['undisturbed'])}", flush=True)
        killer = asyncio.create_task(killing(ports, running, options))
        try:
            found["killed"] = await span(options, port, folder)
        finally:
            killer.cancel()
        print(f"engines killed: {json.dumps(found['killed'])}", flush=True)
        return found
    finally:
        if gateway is not None:
            gateway.terminate()
            gateway.wait(40)
        for process in running.values():
            os.killpg(process.pid, signal.SIGKILL)


def failures(name: str, found: dict[str, Any], most: int) -> list[str]:
    """`most`: output tokens of one answer."""
    counted, bill = found["guidellm"], found["billed"]
    wrong = [f"{name}: {counted['errored']} requests met an error: {counted['errors']}"] if counted["errored"] else []
    whole, asked = counted["successful"], counted["successful"] + counted["unfinished"]
    if not whole <= bill["requests"] <= asked + counted["errored"]:
        wrong.append(f"{name}: {bill['requests']} requests billed, {whole} whole and {asked} in all")
    over = bill["output_tokens"] - counted["output_tokens"]
    if not 0 <= over <= most * (asked - whole):
        wrong.append(f"{name}: {bill['output_tokens']} output tokens billed, {counted['output_tokens']} counted")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guidellm", type=Path, required=True, metavar="ENV", help="virtual environment with guidellm")
    parser.add_argument("--seconds", type=int, default=60, help="of each run")
    parser.add_argument("--streams", type=int, default=8, help="at once")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="tieline-load-tool-") as folder:
        found = asyncio.run(run(options, Path(folder)))
    machine = {"cpu": processor(), "cores": os.cpu_count(), "load": [load, os.getloadavg()[0]]}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"machine": machine, **found}, indent=2) + "\n")
    wrong = [one for name, part in found.items() for one in failures(name, part, 64)]
    print("\n".join(wrong) or "no errors, and bills agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
