"""A true vLLM at a site that nobody can dial: placed, streamed from through two gateways, drained, and killed.

    python bench/site_vllm.py --vllm VENV/bin/vllm --model FOLDER [--environment NAME=VALUE ...]

FOLDER is the self-test model in the form that transformers reads. A folder joins by token over the real link's server;
its site's file names the command. Said at the end, in one JSON object: how long a placing took, whether eight streams
through two gateways gave one text, which processes there were, how many of them were left after a drain and after
`kill -9` of the server, of its core, of the guard and of the whole agent, and whether weights with another SHA-256
were served. Takes two minutes for each start of vLLM on a busy machine, six starts in all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.app.link_place import A, place
from tests.app.test_tunnels import MODEL, gateway, streamed
from tests.edge.test_engine import Watched

from machine import processor
from tieline.app import agent_run
from tieline.edge.nodes.command import EngineCommand
from tieline.edge.replicas import EngineSpec
from tieline.gateway.wire.tunnel import TunnelDoor

OUT = Path(__file__).parent / "out"
UNIT, REPLICA = f"{A}.gpu", f"{A}-gpu-1"
READY_S, GONE_S = 600.0, 30.0


def command(options: argparse.Namespace) -> list[str]:
    return [
        options.vllm, "serve", options.model, "--host", "127.0.0.1", "--port", "{port}", "--served-model-name",
        "{model}", *options.argument,
    ]  # fmt: skip


def environment(options: argparse.Namespace) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in options.environment)


def family(mark: str) -> dict[int, str]:
    """Processes that carry `mark` in their environment, with their titles."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if state != "Z":
                    found[int(entry.name)] = title[:90] or (entry / "comm").read_text().strip()
    return found


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(pid)
    return found


async def left_of(pids: list[int], within_s: float = GONE_S) -> dict[str, Any]:
    """How many of them live on, and how long the last took to go."""
    began = time.monotonic()
    while (left := alive(pids)) and time.monotonic() - began < within_s:
        await asyncio.sleep(0.05)
    return {"were": len(pids), "left": len(left), "gone_after_s": round(time.monotonic() - began, 2)}


def engine_pids(group: int) -> list[int]:
    """All processes below this one."""
    found, open_ = [], [group]
    while open_:
        pid = open_.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                children = [int(word) for word in (task / "children").read_text().split()]
                found += children
                open_ += children
    return found


def titles(pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:60].strip())
    return found


# --- one replica on its own: drained, and killed in each way ------------------------------------------------------


@contextlib.asynccontextmanager
async def replica(options: argparse.Namespace, folder: Path, **spec: Any) -> AsyncIterator[Watched]:
    own = EngineCommand(tuple(command(options)), environment=environment(options))
    watched = Watched(EngineSpec(name=MODEL, command=own, left=folder, label="", **spec))
    tasks = [asyncio.create_task(watched.listen()), asyncio.create_task(watched.replica.run())]
    try:
        yield watched
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def killed(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Server, core and guard killed in turn; each time what is left of that life, and that another is begun."""
    found: dict[str, Any] = {}
    async with replica(options, folder) as watched:
        for who in ("server", "core", "guard"):
            began = time.monotonic()
            await watched.until("ready", READY_S)
            found[f"{who}: ready after_s"] = round(time.monotonic() - began, 1)
            guard = watched.replica.pid
            assert guard is not None
            pids = engine_pids(guard)
            named = dict(zip(pids, titles(pids), strict=False))
            core = [pid for pid, title in named.items() if "EngineCore" in title]
            server = [pid for pid, title in named.items() if "serve" in title]
            found["processes"] = sorted(named.values())
            victim = {"server": server, "core": core, "guard": [guard]}[who]
            if not victim:
                found[f"{who} killed"] = "no such process"
                continue
            os.kill(victim[0], signal.SIGKILL)
            found[f"{who} killed"] = await left_of([pid for pid in pids if pid != victim[0]])
            while watched.replica.state == "ready":
                await asyncio.sleep(0.05)
        await watched.until("ready", READY_S)
        pids = engine_pids(watched.replica.pid or 0)
        watched.replica.want(False)
        began = time.monotonic()
        await watched.until("down", 60)
        found["drained"] = {"down_after_s": round(time.monotonic() - began, 2)} | await left_of(pids)
        found["said draining"] = "draining" in watched.kept
    return found


async def wrong_weights(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Its weights are a file of another SHA-256: nothing is started."""
    async with replica(options, folder, path=Path(options.model) / "model.safetensors", sha256="0" * 64) as watched:
        await watched.until("down", 5)  # as it begins
        async with asyncio.timeout(60):
            while "SHA-256" not in watched.replica.detail:
                await asyncio.sleep(0.05)
        return {"state": watched.replica.state, "said": watched.replica.detail, "started": watched.replica.pid}


async def agent_killed(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The process that holds the replica is killed with -9."""
    script = (
        "import asyncio, sys, argparse, json; sys.path.insert(0, 'bench'); import site_vllm as it\n"
        "o = argparse.Namespace(**json.loads(sys.argv[1]))\n"
        "async def live():\n"
        "    async with it.replica(o, it.Path(sys.argv[2])) as w:\n"
        "        await w.until('ready', it.READY_S); print(w.replica.pid, flush=True); await asyncio.sleep(9e4)\n"
        "asyncio.run(live())\n"
    )
    agent = subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(vars(options)), str(folder)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert agent.stdout is not None
    guard = int(await asyncio.to_thread(agent.stdout.readline))
    pids = [guard, *engine_pids(guard)]
    agent.kill()
    agent.wait()
    return await left_of(pids)


# --- behind a site that nobody can dial ------------------------------------------------------------------------------


def site_file(options: argparse.Namespace) -> str:
    words = ", ".join(json.dumps(word) for word in command(options))
    more = ", ".join(f"{name} = {json.dumps(value)}" for name, value in environment(options).items())
    return f'[[engine]]\nunit = "{UNIT}"\ncommand = [{words}]\nkind = "vllm"\nenvironment = {{ {more} }}\nslots = 8\n'


async def served(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Joined by token, streamed from through two gateways."""
    data, site = folder / "data", folder / "site"
    data.mkdir()
    doors: list[TunnelDoor] = []
    lines: list[str] = []
    async with place(data) as here:
        await agent_run.join(here.token(A), site)
        own = site / "sites" / A
        own.mkdir(parents=True, exist_ok=True)
        (own / "edge.toml").write_text(site_file(options))
        agent = asyncio.create_task(agent_run._run_always(site, lines.append))
        try:
            async with gateway(here, folder / "g1", doors) as one, gateway(here, folder / "g2", doors) as two:
                began = time.monotonic()
                while not all(_ready(made) for made in (one, two)):
                    if time.monotonic() - began > READY_S:
                        return {"failed": "never ready", "lines": lines[-3:]}
                    await asyncio.sleep(0.2)
                ready_s = time.monotonic() - began
                texts = await asyncio.gather(*(streamed(url) for url in [one.url, two.url] * 4))
                states = {made.svc.backends[REPLICA].authority for made in (one, two)}
                return {
                    "ready_after_s": round(ready_s, 1), "streams": len(texts), "texts": len(set(texts)),
                    "text": texts[0][:80], "dialled": sorted(states),
                }  # fmt: skip
        finally:
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)


def _ready(made: Any) -> bool:
    return REPLICA in made.svc.backends and made.svc.backends[REPLICA].state.value == "ready"


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {"cpu": processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    for name, part in (
        ("wrong weights", wrong_weights), ("behind a site", served), ("killed", killed), ("agent killed", agent_killed),
    ):  # fmt: skip
        if options.only and name != options.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            result[name] = await part(options, Path(folder))
            print(name, json.dumps(result[name], indent=1), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--environment", nargs="*", default=[])
    parser.add_argument("--argument", nargs="*", default=[], help="more words of the command; begin with a space")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    options.argument = [word.strip() for word in options.argument]
    result = asyncio.run(measure(options))
    OUT.mkdir(exist_ok=True)
    (OUT / "site-vllm.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
