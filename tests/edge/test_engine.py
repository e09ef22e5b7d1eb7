"""Real llama.cpp engines in processes of their own: started, killed, shed, orphaned."""

import asyncio
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from tests.edge.edge_bench import make_site

from tieline.clock import WallClock
from tieline.edge import replicas
from tieline.edge.engine import missing_library
from tieline.edge.replicas import EngineProcess, EngineSpec, Replicas
from tieline.edge.selftest import SELFTEST_MODEL, SELFTEST_SHA256
from tieline.link import LocalLink
from tieline.records import AnyRecord, Reason, ReplicaState, Setpoint, decode


class Watched:
    """A replica, what it published, and what it kept."""

    def __init__(self, spec: EngineSpec) -> None:
        self.link, self.kept, self.heard = LocalLink(), [], []  # type: ignore[var-annotated]
        self.replica = EngineProcess("s-gpu-1", make_site(), spec, WallClock(), self.link, self.keep)

    def keep(self, records: list[AnyRecord]) -> None:
        self.kept.extend(r.state for r in records if isinstance(r, ReplicaState))

    async def listen(self) -> None:
        async for _, data in self.link.follow("replica.>"):
            record = decode(data)
            assert isinstance(record, ReplicaState)
            self.heard.append(record)

    async def until(self, state: str, seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while self.replica.state != state:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(spec: EngineSpec | None = None) -> AsyncIterator[Watched]:
    watched = Watched(spec or EngineSpec(context_tokens=256, slots=2))
    tasks = [asyncio.create_task(watched.listen()), asyncio.create_task(watched.replica.run())]
    try:
        yield watched
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ask(url: str, path: str, body: dict[str, object]) -> dict[str, object]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return dict(json.load(answer))


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_a_replica_serves_real_tokens_and_beats_while_it_answers() -> None:
    async def story() -> None:
        async with running() as watched:
            await watched.until("ready")
            url = watched.replica.base_url
            assert url.startswith("http://127.0.0.1:")
            chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}
            answer = await asyncio.to_thread(ask, url, "/v1/chat/completions", chat)
            assert answer["model"] == "tieline-selftest"
            assert 0 < answer["usage"]["completion_tokens"] <= 8  # type: ignore[index]
            vector = await asyncio.to_thread(ask, url, "/v1/embeddings", {"input": "hello"})
            assert len(vector["data"][0]["embedding"]) > 8  # type: ignore[index]
            prompt = await asyncio.to_thread(ask, url, "/apply-template", {"messages": chat["messages"]})
            tokens = await asyncio.to_thread(ask, url, "/tokenize", {"content": prompt["prompt"]})
            raw = await asyncio.to_thread(ask, url, "/completion", {"prompt": tokens["tokens"], "n_predict": 4})
            assert raw["tokens_predicted"] == 4
            await asyncio.sleep(1.3)
            beats = [r for r in watched.heard if r.state == "ready"]
            assert len(beats) >= 3
            assert beats[-1].label
        assert watched.kept == ["starting", "ready"]

    run(story)


def test_a_killed_engine_is_noticed_at_once_and_mended() -> None:
    async def story() -> None:
        async with running() as watched:
            await watched.until("ready")
            first = watched.replica.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await watched.until("down", 0.5)
            assert "signal 9" in watched.replica.detail
            await watched.until("ready")
            assert watched.replica.pid != first
        assert watched.kept == ["starting", "ready", "down", "starting", "ready"]

    run(story)


def test_a_stalled_engine_stops_beating_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "HEALTH_TIMEOUT_S", 0.1)

    async def story() -> None:
        async with running() as watched:
            await watched.until("ready")
            first = watched.replica.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            beats = len(watched.heard)
            await watched.until("down", 5)
            assert len(watched.heard) <= beats + 2  # the state itself, and a beat that was under way
            await watched.until("ready")
            assert not alive(first)

    run(story)


def test_shed_means_no_process_and_restored_means_a_new_one() -> None:
    async def story() -> None:
        async with running() as watched:
            await watched.until("ready")
            first = watched.replica.pid
            assert first is not None
            watched.replica.want(False)
            await watched.until("down", 5)
            assert "draining" in watched.kept
            await asyncio.sleep(0.1)
            assert not alive(first)
            watched.replica.want(True)
            await watched.until("ready")

    run(story)


def test_real_replicas_are_the_last_of_their_group_to_be_shed() -> None:
    async def story() -> None:
        site = make_site()
        group = site.node_groups[0].__class__(
            id="s.gpu", feeder="s.f-gpu", node="8xH100", nodes=10, model="m", replicas_real=2
        )
        own = Replicas(site, group, EngineSpec(), WallClock(), LocalLink(), lambda _: None)
        for target_w, count, wanted in ((1e6, 9, 2), (1e5, 1, 1), (1e5, None, 2), (0.0, None, 0), (1e5, 0, 0)):
            reason = Reason(rule="x", text="x")
            await own.on_target(Setpoint(unit_id="s.gpu", target_w=target_w, replicas=count, reason=reason))
            assert sum(replica._wanted.is_set() for replica in own.replicas) == wanted

    run(story)


def test_a_missing_model_is_one_clear_line(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(EngineSpec(path=tmp_path / "none.gguf")) as watched:
            async with asyncio.timeout(10):
                while "no model file" not in watched.replica.detail:
                    await asyncio.sleep(0.02)
            assert watched.replica.state == "down"

    run(story)


class Weights(http.server.BaseHTTPRequestHandler):
    """Serves the self-test model's file and breaks off the first answer in the middle."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        body, given = SELFTEST_MODEL.read_bytes(), self.headers.get("Range", "")
        self.asked.append(given)
        rest = body[int(given.removeprefix("bytes=").rstrip("-") or 0) :]
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if len(self.asked) == 1 else rest)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def weights() -> Iterator[str]:
    Weights.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Weights)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/small.gguf"
    finally:
        server.shutdown()


def test_weights_come_by_address_resumed_and_only_the_right_ones_are_served(tmp_path: Path) -> None:
    async def story() -> None:
        with weights() as url:
            spec = EngineSpec(
                path=tmp_path / "small.gguf", url=url, sha256=SELFTEST_SHA256, context_tokens=256, slots=2
            )
            async with running(spec) as watched:
                await watched.until("ready", 30)
                body = {"model": "x", "prompt": "a", "max_tokens": 2}
                said = await asyncio.to_thread(ask, watched.replica.base_url, "/v1/completions", body)
                assert said["choices"]
            assert Weights.asked[0] == ""
            assert Weights.asked[1].startswith("bytes=")
            asked = len(Weights.asked)
            # Here already, and changed since: the right digest is asked of what is there.
            with (tmp_path / "small.gguf").open("ab") as file:
                file.write(b"x")
            for wrong in (spec, EngineSpec(path=tmp_path / "small.gguf", sha256=SELFTEST_SHA256)):
                async with running(wrong) as watched:
                    async with asyncio.timeout(20):
                        while "SHA-256" not in watched.replica.detail:
                            await asyncio.sleep(0.02)
                    assert (watched.replica.state, watched.replica.pid) == ("down", None)
            assert len(Weights.asked) == asked
            (tmp_path / "small.gguf").unlink()
            async with running(replace(spec, sha256="0" * 64)) as watched:
                async with asyncio.timeout(20):
                    while "SHA-256" not in watched.replica.detail:
                        await asyncio.sleep(0.02)
                assert watched.replica.state == "down"
            assert [path.name for path in tmp_path.iterdir() if path.suffix != ".sha256"] == []

    run(story)


def test_a_file_that_is_no_model_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"not a model" * 100)
    child = subprocess.Popen(
        [sys.executable, "-m", "tieline.edge.engine", "--model", str(tmp_path / "bad.gguf"), "--name", "x"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    (line,) = [one for one in child.stdout.read().splitlines() if one.startswith("@")]
    assert child.wait() == 3
    assert line.startswith("@failed cannot serve")


def test_a_missing_system_library_says_what_to_install() -> None:
    text = missing_library("libgomp.so.1: cannot open shared object file: No such file or directory")
    assert "apt-get install libgomp1" in text


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's; elsewhere stdin ends it")
def test_no_engine_outlives_a_killed_parent() -> None:
    script = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "tieline.edge.engine", "--model", {str(SELFTEST_MODEL)!r},
    "--name", "x", "--slots", "1", "--context", "64"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, _, said = parent.stdout.readline().partition(" ")
    assert said.startswith("@ready")
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 3
    while alive(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(int(pid))
