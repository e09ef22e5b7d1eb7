"""The supervisor against parts that die, hang, ignore requests and leave children behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tieline.app import supervise
from tieline.app.supervise import Part, Supervisor

GOOD = "import sys; print('@ready fine', flush=True); sys.stdin.read()"
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, file=sys.stderr, flush=True)
print("@ready", flush=True)
while True: time.sleep(1)
"""
SILENT = "import time; print('@ready', flush=True); time.sleep(600)"
BROKEN = "import sys; print('no libgomp.so.1 here', file=sys.stderr); sys.exit(3)"


def part(name: str, code: str) -> Part:
    return Part(name, (sys.executable, "-c", code))


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2] if Path(f"/proc/{pid}/stat").exists() else True


def test_a_killed_part_is_started_again_and_the_others_are_left_alone(tmp_path: Path) -> None:
    async def story() -> None:
        one, two = part("one", GOOD), part("two", GOOD)
        keeper = Supervisor([one, two], tmp_path, lambda: None)
        keeper.start()
        assert await keeper.wait_ready(15)
        assert one.process is not None
        assert two.process is not None
        first, other = one.process.pid, two.process.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: one.state == "ready" and one.restarts == 1)
        assert one.process.pid != first
        assert two.process.pid == other
        assert "SIGKILL" in (tmp_path / "one.log").read_text()
        await keeper.stop()
        assert not alive(one.process.pid)

    asyncio.run(story())


def test_stop_ends_what_does_not_want_to_end_and_its_children(tmp_path: Path) -> None:
    async def story() -> None:
        one = part("one", STUBBORN)
        keeper = Supervisor([one], tmp_path, lambda: None)
        keeper.start()
        assert await keeper.wait_ready(15)
        await until(lambda: any("child" in line for line in one.last_lines))
        child = int(one.last_lines[-1].split()[1])
        begun = asyncio.get_running_loop().time()
        await keeper.stop()
        assert asyncio.get_running_loop().time() - begun < supervise.STOP_S + 1.5
        await until(lambda: not alive(child), 3)

    asyncio.run(story())


def test_a_part_that_falls_silent_is_taken_for_hung(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(supervise, "STALL_S", 0.5)

    async def story() -> None:
        one = part("one", SILENT)
        keeper = Supervisor([one], tmp_path, lambda: None)
        keeper.start()
        await until(lambda: one.restarts >= 1)
        assert "silent" in one.detail
        await keeper.stop()

    asyncio.run(story())


def test_a_part_that_keeps_dying_is_failed_and_its_last_words_are_shown(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(supervise, "BACKOFF_S", (0.0,))
    monkeypatch.setattr(supervise, "MANY", 3)

    async def story() -> None:
        one = part("one", BROKEN)
        keeper = Supervisor([one], tmp_path, lambda: None)
        keeper.start()
        assert not await keeper.wait_ready(15)
        assert one.state == "failed"
        assert "exit code 3" in one.detail
        assert "libgomp" in one.detail
        await keeper.stop()

    asyncio.run(story())


TELLING = """
import sys, time
print("@ready fine", flush=True)
for line in sys.stdin:
    print(line.strip(), flush=True)
"""
SHAKY = "import sys, time; print('@ready fine', flush=True); time.sleep(0.3); sys.exit(5)"


def test_a_part_with_a_sick_task_is_not_well_until_it_says_so(tmp_path: Path) -> None:
    changes: list[str] = []

    async def story() -> None:
        one, two = part("one", TELLING), part("two", GOOD)
        keeper = Supervisor([one, two], tmp_path, lambda: changes.append(one.state))
        keeper.start()
        assert await keeper.wait_ready(15)
        assert one.process is not None
        assert one.process.stdin is not None
        one.process.stdin.write(b"@ill batches (carries batches out): RecursionError\n")
        await until(lambda: one.state == "unwell", 5)
        assert not keeper.ready
        assert keeper.troubles == {"one": "unwell: batches (carries batches out): RecursionError"}
        one.process.stdin.write(b"@well\n")
        await until(lambda: keeper.ready, 5)
        assert one.detail == "fine"
        assert one.restarts == 0
        assert changes.count("unwell") == 1
        await keeper.stop()

    asyncio.run(story())


def test_a_part_that_is_silent_is_not_well_long_before_it_is_ended(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(supervise, "SILENT_S", 0.5)

    async def story() -> None:
        one = part("one", SILENT)
        keeper = Supervisor([one], tmp_path, lambda: None)
        keeper.start()
        await until(lambda: one.state == "unwell", 10)
        assert "silent" in one.detail
        assert one.restarts == 0
        await keeper.stop()

    asyncio.run(story())


def test_a_part_that_dies_after_each_start_is_not_ready_in_between(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """It says that it is ready each time; who asks then must not be told that all is well."""
    monkeypatch.setattr(supervise, "BACKOFF_S", (0.0,))
    states: list[tuple[int, str]] = []

    async def story() -> None:
        one = part("one", SHAKY)
        keeper = Supervisor([one], tmp_path, lambda: states.append((one.restarts, one.state)))
        keeper.start()
        await until(lambda: one.restarts >= 4, 30)
        assert (3, "ready") not in states
        assert (0, "ready") in states
        assert "exit code 5" in one.detail
        await keeper.stop()

    asyncio.run(story())


def test_a_part_that_had_served_a_while_is_back_at_once_however_often_it_was_killed(
    tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(supervise, "BACKOFF_S", (0.0, 600.0))
    monkeypatch.setattr(supervise, "SERVED_S", 0.1)
    monkeypatch.setattr(supervise, "STEADY_S", 600.0)
    monkeypatch.setattr(supervise, "MANY", 3)

    async def story() -> None:
        one = part("one", GOOD)
        keeper = Supervisor([one], tmp_path, lambda: None)
        keeper.start()
        for kills in range(5):
            await until(lambda kills=kills: one.state == "ready" and one.restarts == kills)  # type: ignore[misc]
            await asyncio.sleep(0.15)
            assert one.process is not None
            os.kill(one.process.pid, signal.SIGKILL)
        await until(lambda: one.state == "ready" and one.restarts == 5)
        await keeper.stop()

    asyncio.run(story())
