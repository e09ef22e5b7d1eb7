"""Engines that a site's own command starts: placed, drained, and nothing of them outlives whoever is killed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from tests.edge.edge_bench import make_site
from tests.edge.test_engine import Watched, alive, running

from tieline.clock import WallClock
from tieline.edge.nodes import command, guard
from tieline.edge.nodes.command import EngineCommand
from tieline.edge.nodes.command import running as requests_running
from tieline.edge.plant.hardware import HardwareError, load_hardware
from tieline.edge.replicas import EngineSpec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sessions are swept through /proc, which is Linux's")
WORDS = (sys.executable, "-m", "tests.edge.core_engine", "{port}")


def spec(folder: Path, *more: str) -> EngineSpec:
    return EngineSpec(
        name="m", command=EngineCommand((*WORDS, str(folder / "pids"), *more), start_s=20.0, stop_s=0.3), left=folder
    )


def pids(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "pids").read_text().split()]


def gone(found: Iterable[int], within_s: float = 10.0) -> bool:
    until = time.monotonic() + within_s
    while any(alive(pid) for pid in found) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(alive(pid) for pid in found)


@contextlib.asynccontextmanager
async def ready(folder: Path) -> AsyncIterator[tuple[Watched, list[int]]]:
    async with running(spec(folder)) as watched:
        await watched.until("ready", 30)
        found = pids(folder)
        assert len(found) == 3
        assert all(alive(pid) for pid in found)
        yield watched, found


def test_a_command_is_placed_drained_and_leaves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with ready(tmp_path) as (watched, found):
            assert watched.heard[-1].engine == "vllm"
            assert watched.heard[-1].slots == 8
            watched.replica.want(False)
            await watched.until("down", 20)
            assert "draining" in watched.kept
            assert await asyncio.to_thread(gone, found)
            assert not (tmp_path / "s-gpu-1.engine.json").exists()

    asyncio.run(story())


@pytest.mark.parametrize("who", ["server", "guard"])
def test_what_it_started_goes_with_the_server_and_with_the_guard(tmp_path: Path, who: str) -> None:
    async def story() -> None:
        async with ready(tmp_path) as (watched, found):
            victim = found[0] if who == "server" else watched.replica.pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            assert await asyncio.to_thread(gone, found)
            async with asyncio.timeout(30):
                while watched.kept.count("ready") < 2:  # and it is mended
                    await asyncio.sleep(0.02)
            again = pids(tmp_path)
        assert gone(again, 20.0)

    asyncio.run(story())


def test_nothing_outlives_a_killed_agent_not_even_with_its_guard(tmp_path: Path) -> None:
    file = tmp_path / "x.engine.json"
    started = command.guarded(file, [*WORDS[:3], str(command.free_port()), str(tmp_path / "pids")], 0.3)
    script = f"import subprocess, time\nsubprocess.Popen({started!r}, stdin=subprocess.PIPE)\ntime.sleep(60)"
    for both in (False, True):
        (tmp_path / "pids").unlink(missing_ok=True)
        agent = subprocess.Popen([sys.executable, "-c", script])
        until = time.monotonic() + 20
        while not (file.exists() and (tmp_path / "pids").exists() and len(pids(tmp_path)) == 3):
            assert time.monotonic() < until
            time.sleep(0.05)
        (guarding,) = _children(agent.pid)
        agent.kill()
        if both:
            os.kill(guarding, signal.SIGKILL)
        agent.wait()
        assert gone(pids(tmp_path), 20.0)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_what_an_earlier_start_left_is_ended_and_no_stranger(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    began, boot = guard._began(left.pid) or 0, guard._boot()
    try:
        for body in (b"", b"{", b'{"session": 1}', b"[]"):
            file.write_bytes(body)
            assert guard.end_left(file) == 0

        def kept(pid: int, began: int, boot: str) -> None:
            said = guard.LeftEngine(session=pid, began=began, boot=boot, mark="no such mark")
            file.write_bytes(guard.msgspec.json.encode(said))

        kept(stranger.pid, began - 100, boot)  # its number was given to another since
        assert guard.end_left(file) == 0
        kept(left.pid, began, "another boot")
        assert guard.end_left(file) == 0
        assert left.poll() is None
        kept(left.pid, began, boot)
        assert guard.end_left(file) == 1
        assert left.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
        assert not file.exists()
    finally:
        for one in (left, stranger):
            one.kill()
            one.wait()


def test_a_command_that_is_not_there_or_ends_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        missing, broken = ("/no/such/vllm", "{port}"), ("sh", "-c", "echo no GPU; exit 7")
        for words, says in ((missing, "No such file"), (broken, "no GPU")):
            made = EngineSpec(name="m", command=EngineCommand(words), left=tmp_path)
            async with running(made) as watched:
                async with asyncio.timeout(20):
                    while says not in watched.replica.detail:
                        await asyncio.sleep(0.02)
                assert watched.replica.state in ("down", "starting")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"", None), (b"vllm:num_requests_running 2.0", 2), (b"x 1\nsglang:num_running_reqs{a=\"b\"} 3.0\n", 3),
        (b"vllm:num_requests_running{e=\"0\"} 1.0\nvllm:num_requests_running{e=\"1\"} 4.0\n", 5),
    ],
)  # fmt: skip
def test_requests_that_run_are_read_from_metrics(body: bytes, count: int | None) -> None:
    assert requests_running(body) == count


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('unit = "s.x"\ncommand = ["a", "{port}"]', "known are s.gpu"),
        ('unit = "s.gpu"\ncommand = ["a"]', "{port}"),
        ('unit = "s.gpu"\ncommand = ["a", "{port}"]\nslots = 0', "slots"),
        ('unit = "s.gpu"\ncommand = ["a", "{port}"]\nkind = "ray"', "kind"),
        ('unit = "s.gpu"\ncommand = "a {port}"', "command"),
    ],
)
def test_a_mistake_about_an_engine_is_one_line(tmp_path: Path, lines: str, says: str) -> None:
    site = make_site()
    group = site.node_groups[0].__class__(
        id="s.gpu", feeder="s.f-gpu", node="8xH100", nodes=1, model="m", replicas_real=2
    )
    site = guard.msgspec.structs.replace(site, node_groups=(group,))
    (tmp_path / "edge.toml").write_text(f"[[engine]]\n{lines}\n")
    with pytest.raises(HardwareError, match=says) as caught:
        load_hardware(tmp_path / "edge.toml", site, WallClock())
    assert "\n" not in str(caught.value)
    good = '[[engine]]\nunit = "s.gpu"\ncommand = ["vllm", "serve", "{model}", "--port", "{port}"]\n'
    (tmp_path / "edge.toml").write_text(good + 'environment = { CUDA_VISIBLE_DEVICES = "{index}" }\n')
    found = load_hardware(tmp_path / "edge.toml", site, WallClock()).engines["s.gpu"]
    assert found.filled(1, "m", Path("p"), 1) == (["vllm", "serve", "m", "--port", "1"], {"CUDA_VISIBLE_DEVICES": "1"})
