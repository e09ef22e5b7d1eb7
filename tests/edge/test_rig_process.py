"""Rigs in a process of their own: the agent never waits for it, and what it was told holds when it is begun anew."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.edge.edge_bench import make_site
from tests.edge.rack import EACH_W, rig_unit, setpoint

from tieline.clock import wall_now
from tieline.edge.device import Reading, Unreachable
from tieline.edge.rigs.pooling.pools import read_pools
from tieline.edge.rigs.wire import RefusalError, SilentError
from tieline.edge.rigs.workers import parent
from tieline.edge.rigs.workers.frames import RigOpening, WorkerFailedError, read_call, read_reply, replied, value_of
from tieline.edge.rigs.workers.parent import RigWorker, WorkedGroup
from tieline.edge.rigs.workers.rows import RigDevice
from tieline.intake import IntakeError
from tieline.sim.rigs.server import FakeRigs
from tieline.tasks import Registry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="many loopback addresses are a Linux feature")
COUNT = 6


class Kept:
    """Six fakes, their process, kept running, and its group."""

    def __init__(self, rigs: FakeRigs, worker: RigWorker, registry: Registry) -> None:
        self.rigs, self.worker, self.registry = rigs, worker, registry
        (self.group,) = worker.devices()

    async def heard(self, count: int = COUNT) -> Reading:
        async with asyncio.timeout(30):
            while True:
                reading = await self.group.read(wall_now())
                if isinstance(reading, Reading) and reading.devices_heard == count:
                    return reading
                await asyncio.sleep(0.05)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def kept(path: Path) -> AsyncIterator[Kept]:
    unit = rig_unit(COUNT)
    site = msgspec.structs.replace(make_site(limit_mw=100), rig_groups=(unit,), node_groups=())
    rigs = FakeRigs(unit.addresses, unit.rig)
    assert await rigs.start() == COUNT, rigs.problem
    worker = RigWorker(RigOpening(site=site, groups=(unit,), ports={}, folder=str(path)), lambda _: 15.0)
    registry = Registry()
    registry.keep("rigs", "speaks to rigs", worker.run)
    try:
        yield Kept(rigs, worker, registry)
    finally:
        await registry.close()
        await rigs.stop()


def gone(pid: int | None) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_rigs_are_read_told_and_looked_at_in_a_process_of_their_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with kept(tmp_path) as it:
            reading = await it.heard()
            assert reading.power_w == pytest.approx(COUNT * EACH_W, rel=0.01)
            group, now = it.group, wall_now()
            assert isinstance(group, RigDevice)
            preview = await group.preview(setpoint(2.5 * EACH_W), now)
            assert (preview.sleep_count, preview.left_out) == (4, [])
            assert not any(rig.asleep for rig in it.rigs.rigs.values())
            await group.apply(setpoint(0.0), now)
            await it.until(lambda: all(rig.asleep for rig in it.rigs.rigs.values()))
            page = await group.page(2, 3)
            assert (page.count, len(page.rigs), page.rigs[0].asked) == (COUNT, 3, "sleep")
            address = next(iter(it.rigs.rigs))
            await group.tend(address, "light on")
            assert it.rigs.rigs[address].light
            with pytest.raises(RefusalError, match="held down"):
                await group.tend(address, "reboot")
            with pytest.raises(RefusalError, match="no rig at"):
                await group.tend("10.9.9.9", "light on")
            repooled = await group.set_pools(read_pools("stratum+tcp://new.pool:3333 acct.{rig}"))
            assert (repooled.done, repooled.not_done) == (COUNT, ())
            assert os.getpid() != it.worker.pid
        assert gone(it.worker.pid)
        assert (tmp_path / "rigs.json").exists()  # written down at its end

    asyncio.run(story())


def test_a_process_that_is_killed_is_begun_anew_and_off_holds_for_who_comes_late(tmp_path: Path) -> None:
    async def story() -> None:
        async with kept(tmp_path) as it:
            await it.heard()
            late = next(iter(it.rigs.rigs.values()))
            it.rigs.inject(late.address, "unreachable")
            await it.group.apply(setpoint(0.0), wall_now())
            await it.until(lambda: sum(rig.asleep for rig in it.rigs.rigs.values()) == COUNT - 1)
            before = it.worker.pid
            assert before is not None
            os.kill(before, signal.SIGKILL)
            await it.until(lambda: gone(before))
            it.rigs.mend(late.address)  # nobody tells it but the next process
            async with asyncio.timeout(30):
                while not late.asleep:
                    await it.group.read(wall_now())  # as the agent's steps do
                    await asyncio.sleep(0.05)
            assert it.worker.pid != before
            assert "ended" in it.registry.troubles[0].cause

    asyncio.run(story())


def test_a_process_that_stands_still_delays_nobody_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "ASK_S", 0.1)
    monkeypatch.setattr(parent, "STANDS_STILL_S", 1.0)
    monkeypatch.setattr(parent, "CLOSE_S", 0.2)
    monkeypatch.setattr(parent, "PAGE_S", 0.3)

    async def story() -> None:
        async with kept(tmp_path) as it:
            await it.heard()
            before = it.worker.pid
            assert before is not None
            os.kill(before, signal.SIGSTOP)
            began = time.monotonic()
            answer = await it.group.read(wall_now())
            assert time.monotonic() - began < 1.0
            assert isinstance(answer, Unreachable)
            assert "did not answer within" in answer.why
            await it.until(lambda: it.worker.pid != before)
            assert gone(before)
            await it.heard()

    asyncio.run(story())


def test_nothing_of_it_outlives_a_killed_agent(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.edge.test_rig_process import kept\n"
        "async def main():\n"
        "    async with kept(Path(sys.argv[1])) as it:\n"
        "        await it.heard()\n"
        "        print(it.worker.pid, flush=True)\n"
        "        await asyncio.sleep(90)\n"
        "asyncio.run(main())\n"
    )

    async def story() -> None:
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert agent.stdout is not None
        async with asyncio.timeout(40):
            pid = int(await agent.stdout.readline())
        agent.kill()
        await agent.wait()
        async with asyncio.timeout(10):
            while not gone(pid):
                await asyncio.sleep(0.02)

    asyncio.run(story())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff" * 20, b'{"number": 1}'])
def test_what_is_no_frame_is_not_taken(data: bytes) -> None:
    for reader in (read_call, read_reply):
        with pytest.raises(IntakeError):
            reader(data)


def test_what_is_raised_there_is_raised_here_in_one_line() -> None:
    for error, type_ in ((RefusalError("no"), RefusalError), (SilentError("nobody"), SilentError),
                         (KeyError("x\ny"), WorkerFailedError)):  # fmt: skip
        with pytest.raises(type_) as caught:
            value_of(read_reply(replied(1, error)[4:]))
        assert "\n" not in str(caught.value)
    assert value_of(read_reply(replied(1, None)[4:])) is None


def test_before_it_is_there_a_group_is_unreachable_and_says_why(tmp_path: Path) -> None:
    unit = rig_unit(1)
    worker = RigWorker(RigOpening(site=make_site(), groups=(unit,), ports={}), lambda _: None)
    answer = asyncio.run(WorkedGroup(worker, unit).read(wall_now()))
    assert isinstance(answer, Unreachable)
    assert "being started" in answer.why
