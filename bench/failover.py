"""How long until another leads: `.venv/bin/python bench/failover.py --runs 50`.

On a fleet of three machines of this one (`fleet_hosts` where namespaces are permitted, as in `fleet.py`), without
requests: the core that leads, and the coordinator of budgets that leads, are killed (SIGKILL) again and again, each
time until the lease is another's and, for the coordinator, its port takes a connection; and the link's server that a
client is connected to is killed while words are said to that client through another every 20 ms, until it hears one
again. Prints median and worst of each beside the aim.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fleet import FleetUnderTest
from fleet_hosts import Hosts, permitted
from tieline.app.runtime import Runtime
from tieline.link import NatsLink
from tieline.store.lead.lease import LeaseRow, look_at

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.store.server import running

AIMS_S = {"core": 10.0, "budgets": 5.0, "link": 2.0}
PATIENCE_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--only", choices=[*AIMS_S])
    args = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with running() as server, tempfile.TemporaryDirectory(prefix="tlfo", dir=memory) as folder:
        hosts = Hosts("abcde", Path(folder), server.folder) if permitted() else None
        fleet = FleetUnderTest(Path(folder), server.url(), hosts)
        try:
            fleet.start()
            for what in [args.only] if args.only else AIMS_S:
                measure = _link if what == "link" else _office
                times = measure(fleet, what, args.runs)
                middle, load = statistics.median(times), os.getloadavg()[0]
                print(f"{what:8} {len(times)} runs: median {middle:.2f} s, worst {max(times):.2f} s", end=", ")
                print(f"aim {AIMS_S[what]:.0f} s, load {load:.0f}", flush=True)
        finally:
            fleet.stop()
            if hosts is not None:
                hosts.close()
    return 0


def _office(fleet: FleetUnderTest, office: str, runs: int) -> list[float]:
    part, at = ("link", 1) if office == "budgets" else ("core", 0)
    names = "abc" if office == "budgets" else "ab"
    times = []
    for _ in range(runs):
        _until(lambda: all(fleet.pid(name, part, at) for name in names))
        row = _until(lambda: _held(fleet, office))
        pid = fleet.pid(row.holder[1:2], part, at)
        assert pid is not None
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        new = _until(lambda row=row: (one := _held(fleet, office)) and one.number > row.number and one)
        if office == "budgets":
            place = (fleet.address(new.holder[1:2]), int(new.place.rpartition(":")[2]))
            _until(lambda place=place: _answers(*place))
        times.append(time.monotonic() - began)
    return times


def _held(fleet: FleetUnderTest, office: str) -> LeaseRow | None:
    row = look_at(fleet.place, [office])[office]
    return row if row is not None and row.holder else None


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 0.5):
        return True
    return False


def _link(fleet: FleetUnderTest, what: str, runs: int) -> list[float]:
    return asyncio.run(_link_runs(fleet, runs))


async def _link_runs(fleet: FleetUnderTest, runs: int) -> list[float]:
    """A gateway's end hears, a core's end says; the server of the first is killed."""
    runtime = Runtime.load(fleet.folder / "a" / "run" / "runtime.json")
    times = []
    for _ in range(runs):
        await asyncio.to_thread(_until, lambda: all(fleet.pid(name, "link", 0) for name in "abc"))
        saying, hearing = [await NatsLink.dial(runtime.link_user(user)) for user in ("core", "gateway")]
        heard: list[float] = []

        async def listen(link: NatsLink = hearing, into: list[float] = heard) -> None:
            async for word in link.follow("plan.nobody"):
                into += [time.monotonic()] if word else []

        listening = asyncio.create_task(listen())
        try:
            place = str(hearing._client.connected_url.netloc).rpartition("@")[2]
            if place == str(saying._client.connected_url.netloc).rpartition("@")[2]:
                continue  # both on one server: another run
            name = next(n for n, one in zip("abc", fleet.servers, strict=True) if one == place)
            async with asyncio.timeout(PATIENCE_S):
                while not heard:
                    await saying.publish("plan.nobody", b"x")
                    await asyncio.sleep(0.02)
                pid = _server_pid(fleet.folder / name)
                began = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                while not (later := [at for at in heard if at > began + 0.005]):
                    await saying.publish("plan.nobody", b"x")
                    await asyncio.sleep(0.02)
            times.append(later[0] - began)
        finally:
            listening.cancel()
            await saying.close()
            await hearing.close()
        await asyncio.sleep(0.5)
    return times


def _server_pid(data: Path) -> int:
    """Of the nats-server of a machine."""
    words = f"nats-server -c {data}/run/nats.conf"
    return int(subprocess.run(["pgrep", "-f", words], capture_output=True, text=True, check=True).stdout.split()[0])


def _until(condition: Callable[[], object]) -> LeaseRow:
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come to that within a minute")
        time.sleep(0.02)
    return value  # what a condition on a lease gives


if __name__ == "__main__":
    sys.exit(main())
