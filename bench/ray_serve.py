"""A true Ray Serve behind the gateway: one address, several replicas that come and go behind it.

    python bench/ray_serve.py --ray ENV [--streams 400]

ENV is a virtual environment with `ray[serve]`, `httpx` and `xllamacpp`. A Serve application of two replicas, each with
llama.cpp and the shipped self-test model, is one engine with many slots to the gateway. Seen: greedy streams through it
against the same undisturbed; then the same while Ray kills a replica's process every few seconds, as it does when a
node is lost; then while the application is deployed anew. Each stream is whole and the same, or an honest error.

Writes bench/out/ray_serve.json. Exits 1 where a stream was not whole and did not say so, or was billed otherwise.
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
from collections import Counter
from pathlib import Path
from typing import Any

from continuity_faults import fetch, free_port
from engines_read import Answer, ask
from machine import processor
from tieline.clock import WallClock
from tieline.gateway.serve import serve
from tieline.gateway.settings import Clocks, Engine, Model, Settings

OUT = Path(__file__).parent / "out" / "ray_serve.json"
MODEL = Path(__file__).resolve().parents[1] / "src/tieline/edge/selftest/tieline-selftest.gguf"
NAME = "tieline-self-test"
KILL_EVERY_S = 1.5
START_S = 400.0

# Runs in ENV. `deploy` and `kill` come as lines on standard input, as an operator's and a lost node's doing would.
APP = """
import os, signal, socket, sys
import httpx, ray, xllamacpp as x
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

@serve.deployment(num_replicas=2, max_ongoing_requests=8, ray_actor_options={"num_cpus": 0.1},
                  health_check_period_s=1, health_check_timeout_s=5)
class Llama:
    def __init__(self, version):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0)); self.port = s.getsockname()[1]
        p = x.CommonParams()
        p.model.path, p.port, p.hostnames = sys_model, self.port, ["127.0.0.1"]
        p.n_ctx, p.n_parallel, p.n_gpu_layers = 8192, 4, 0
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
        p.model_alias, p.use_jinja = {"tieline-self-test"}, True
        self.server = x.Server(p)
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)

    async def __call__(self, request: Request):
        if request.url.path == "/pid":
            return Response(str(os.getpid()))
        up = self.http.build_request(request.method, request.url.path, content=await request.body(),
                                     headers={"content-type": "application/json"})
        answer = await self.http.send(up, stream=True)
        kind = {"content-type": answer.headers["content-type"]}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kind)

sys_model, port = sys.argv[1], int(sys.argv[2])
from ray.serve._private import api as _api
_api.HTTP_PROXY_TIMEOUT = 300
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": port})
version = 0
serve.run(Llama.bind(version), blocking=False)
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "deploy":
        version += 1
        serve.run(Llama.bind(version), blocking=False)
        print("deployed", flush=True)
"""


class Ray:
    """The application's process."""

    def __init__(self, env: Path, port: int, folder: Path) -> None:
        self.port, self.log = port, folder / "ray.log"
        quiet = os.environ | {
            "RAY_DEDUP_LOGS": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
            "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
        }  # busy machines
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [env / "bin" / "python", "-c", APP, MODEL, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=out, start_new_session=True, env=quiet,
            )  # fmt: skip

    async def said(self, word: str) -> None:
        assert self.process.stdout is not None
        read = self.process.stdout.readline
        while line := await asyncio.wait_for(asyncio.to_thread(read), START_S):
            if line.decode().strip() == word:  # what Ray says of its workers comes in between
                return
        raise SystemExit(f"Ray ended: {self.log.read_text(errors='replace')[-2000:]}")

    async def deploy(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"deploy\n")
        self.process.stdin.flush()
        await self.said("deployed")

    async def kill(self) -> None:
        """One replica's process, whichever answers."""
        with contextlib.suppress(OSError, TimeoutError):  # none answers just now: the next time
            status, body = await fetch(self.port, "GET", "/pid", timeout_s=5.0)
            if status == 200:
                os.kill(int(body), signal.SIGKILL)

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        subprocess.run(["pkill", "-KILL", "-f", f"ray.*{self.port}"], check=False)


def body(number: int) -> dict[str, Any]:
    words = ("What is a rig?", "What is curtailment?", "What is hashprice?", "What is a megawatt hour?")
    return {
        "model": NAME, "messages": [{"role": "user", "content": words[number % len(words)]}], "stream": True,
        "temperature": 0, "max_tokens": 60, "stream_options": {"include_usage": True},
    }  # fmt: skip


async def streams(port: int, count: int, wanted: dict[int, Answer], at_once: int = 4) -> Counter[str]:
    counts: Counter[str] = Counter()
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            found = await ask(port, "/v1/chat/completions", body(number))
            known = wanted[number % 4]
            if not found.clean:
                counts["honest" if found.error else "SILENT"] += 1
                print("   ", found.error, flush=True)
            elif found.said != known.said:
                counts["CORRUPT"] += 1
            else:
                counts["exact" if found.output == known.output else "BILLED OTHERWISE"] += 1

    await asyncio.gather(*(one() for _ in range(at_once)))
    return counts


async def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    ray = Ray(options.ray, await free_port(), folder)
    stop, told = asyncio.Event(), asyncio.get_running_loop().create_future()
    try:
        await ray.said("ready")
        given = Settings(
            port=0,
            engines=(Engine(url=f"http://127.0.0.1:{ray.port}", kind=options.kind, models=(NAME,), slots=8),),
            models=(Model(name=NAME),),
            clocks=Clocks(resume_s=30.0),
            access_log=False,
        )
        task = asyncio.create_task(serve(given, WallClock(), folder / "gateway", stop=stop, started=told.set_result))
        port = int((await told).split(":")[2].split("/")[0])
        await asyncio.sleep(2.0)
        wanted = {n: await ask(port, "/v1/chat/completions", body(n)) for n in range(4)}
        bad = [answer.error for answer in wanted.values() if not answer.clean]
        if bad:
            raise SystemExit(f"undisturbed streams are not whole: {bad}")
        figures = {"undisturbed": await streams(port, options.streams, wanted)}
        print("undisturbed", dict(figures["undisturbed"]), flush=True)
        for name, fault in (("replica killed", ray.kill), ("deployed anew", ray.deploy)):
            over = asyncio.Event()

            async def faults(fault: Any = fault, over: asyncio.Event = over) -> int:
                done = 0
                while not over.is_set():
                    await fault()
                    done += 1
                    await asyncio.sleep(KILL_EVERY_S)
                return done

            running = asyncio.create_task(faults())
            figures[name] = await streams(port, options.streams, wanted)
            over.set()
            print(name, await running, "times:", dict(figures[name]), flush=True)
        stop.set()
        await task
        return {name: dict(counts) for name, counts in figures.items()}
    finally:
        ray.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ray", type=Path, required=True, metavar="ENV")
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--kind", default="llama.cpp", help="what the replicas are")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tlray") as folder:
        figures = asyncio.run(measured(options, Path(folder)))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"processor": processor(), "kind": options.kind, "figures": figures}, indent=1) + "\n")
    wrong = sum(n for counts in figures.values() for word, n in counts.items() if word.isupper())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
