"""Gaps in reasoning and tool streams: straight from an engine and through the gateway, in turn.

    python bench/gaps.py [--runs 20] [--running PORT --kind KIND --model NAME]

What an engine sends leaves the gateway as it comes: nothing waits for the text or for the end of a call. The same
greedy request is asked of llama.cpp (the shipped self-test model) straight and through this gateway, one after the
other. For each event of an answer its moment after the request is noted; compared are the gaps between events and the
moment of each n-th event, straight and through. `--running` names an engine that runs already. Writes
bench/out/gaps.json. Exits 1 where an event of the gateway's comes over `AT_MOST_MS` later, in the median of the runs,
than the engine's own. A busy machine hands events over in bunches, and the gaps then say nothing: take a quiet one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from continuity_faults import free_port
from engines import CASES, NAME, Case, _up, engine_llama
from machine import processor
from tieline.clock import WallClock
from tieline.gateway.serve import serve
from tieline.gateway.settings import Engine, Model, Settings

OUT = Path(__file__).parent / "out" / "gaps.json"
AT_MOST_MS = 50.0
KINDS = ("reasoning", "tools", "text")


async def events(port: int, case: Case, kind: str, model: str) -> list[float]:
    """Milliseconds from the request to each event that says something."""
    body = json.dumps(case.asked(kind) | {"model": model}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_048_576)
    head = (
        f"POST {case.path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    began = time.perf_counter()
    writer.write(head.encode() + body)
    seen = []
    async with asyncio.timeout(120):
        while line := await reader.readline():
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            deltas = [choice.get("delta") or {} for choice in event.get("choices") or ()]
            if any(
                delta.get(name)
                for delta in deltas
                for name in ("content", "reasoning_content", "reasoning", "tool_calls")
            ):
                seen.append((time.perf_counter() - began) * 1e3)
    writer.close()
    return seen


def compared(straight: list[list[float]], through: list[list[float]]) -> dict[str, Any]:
    """Gaps of all runs as quantiles, and how much later the n-th event comes through, in the median of the runs."""
    length = min(len(run) for run in (*straight, *through))
    later = [
        statistics.median(run[n] for run in through) - statistics.median(run[n] for run in straight)
        for n in range(length)
    ]
    return {
        "runs": len(straight),
        "events": sorted({len(run) for run in (*straight, *through)}),
        "gaps_ms": {"straight": quantiles(straight), "through": quantiles(through)},
        "later_ms": {"median": round(statistics.median(later), 2), "most": round(max(later), 2)},
    }


def quantiles(runs: list[list[float]]) -> dict[str, float]:
    gaps = sorted(b - a for run in runs for a, b in pairwise(run))
    return {
        name: round(gaps[min(len(gaps) - 1, int(len(gaps) * share))], 2)
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("most", 1.0))
    }


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    engine = int(options.running) if options.running else await free_port()
    process = None if options.running else engine_llama(engine, options, "llama.cpp")
    stop = asyncio.Event()
    try:
        await _up(engine)
        given = Settings(
            port=0,
            engines=(Engine(url=f"http://127.0.0.1:{engine}", kind=options.kind, models=(NAME,)),),
            models=(Model(name=NAME, upstream_name=options.model),),
            access_log=False,
        )
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(given, WallClock(), folder, stop=stop, started=told.set_result))
        port = int((await told).split(":")[2].split("/")[0])
        await asyncio.sleep(2.0)
        found = {}
        for name in KINDS:
            case = CASES[name]
            straight, through = [], []
            for n in range(options.runs + 1):
                pair = [
                    await events(engine, case, options.kind, options.model),
                    await events(port, case, options.kind, NAME),
                ]
                if n:  # the first warms the engine's memory of the prompt
                    straight.append(pair[0])
                    through.append(pair[1])
            found[name] = compared(straight, through)
            print(f"{name}: {json.dumps(found[name])}", flush=True)
        stop.set()
        await task
        return found
    finally:
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--running", default="", help="port of an engine that runs already")
    parser.add_argument("--kind", default="llama.cpp", help="what that one is")
    parser.add_argument("--model", default="tieline-self-test", help="what that one calls its model")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="tieline-gaps-") as folder:
        found = asyncio.run(measure(options, Path(folder)))
    machine = {"cpu": processor(), "cores": os.cpu_count(), "load": [load, os.getloadavg()[0]]}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"machine": machine, "kinds": found}, indent=2) + "\n")
    late = [name for name, one in found.items() if one["later_ms"]["most"] > AT_MOST_MS]
    for name in late:
        print(f"{name}: an event came {found[name]['later_ms']['most']} ms later than the engine's own")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
