"""How long until another leads: `.venv/bin/python bench/failover.py --runs 50`.

On the fleet of `fleet.py` (network namespaces where they are permitted), without requests. The core that leads, and the
coordinator of budgets that leads, are killed (SIGKILL) again and again, each time until the lease is another's and, for
the coordinator, its port takes a connection. The link's server that a client is connected to is killed while words are
said to that client through another every 20 ms, until it hears one again. The store's primary is killed and a standby
promoted at once, until that takes writes, until a record offered meanwhile is acknowledged through an address that
names all three servers, and until the lease of the core that leads is renewed there; the one killed is then copied
anew and follows. Prints median and worst of each beside the aim.
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
from typing import Any

from fleet import fleet_of
from fleet_machines import FleetUnderTest
from tieline import records
from tieline.app.runtime import Runtime
from tieline.clock import wall_now
from tieline.link import NatsLink
from tieline.records import Action
from tieline.store import Store, StoreError
from tieline.store.lead.lease import LeaseRow

AIMS_S: dict[str, float | None] = {"core": 10.0, "budgets": 5.0, "link": 2.0, "store": None}
PATIENCE_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--only", nargs="*", choices=[*AIMS_S], default=[*AIMS_S])
    args = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    temporary = tempfile.TemporaryDirectory(prefix="tlfo", dir=memory)
    with temporary as folder, fleet_of(Path(folder), 2, clocks=False) as fleet:
        fleet.start(consoles=False)
        for what in args.only:
            if what == "store":
                _tell_store(_store(fleet, args.runs))
            else:
                _tell(what, (_link if what == "link" else _office)(fleet, what, args.runs), AIMS_S[what])
    return 0


def _tell(what: str, times: list[float], aim_s: float | None) -> None:
    aim = "" if aim_s is None else f"aim {aim_s:.0f} s, "
    print(f"{what:8} {len(times)} runs: median {statistics.median(times):.2f} s, worst {max(times):.2f} s, "
          f"{aim}load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip


def _tell_store(times: list[tuple[float, float, float]]) -> None:
    whats = ("promoted", "a record acknowledged", "the core's lease renewed")
    for what, each in zip(whats, zip(*times, strict=True), strict=True):
        _tell(f"store, until {what}:", list(each), None)


def _office(fleet: FleetUnderTest, office: str, runs: int) -> list[float]:
    part, at = ("link", 1) if office == "budgets" else ("core", 0)
    names = "abc" if office == "budgets" else "ab"
    times = []
    for _ in range(runs):
        # One that leads and one that stands by; the third may be beginning.
        _until(lambda: sum(fleet.pid(name, part, at) is not None for name in names) >= 2)
        row = _until(lambda: _held(fleet, office))
        pid = fleet.pid(row.holder[1:2], part, at)
        assert pid is not None
        name = row.holder[1:2]
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        fleet.parts[name, part].kill()  # and who would start it anew: what ends too often is started ever later
        new = _until(lambda row=row: (one := _held(fleet, office)) and one.number > row.number and one)
        if office == "budgets":
            place = (fleet.address(new.holder[1:2]), int(new.place.rpartition(":")[2]))
            _until(lambda place=place: _answers(*place))
        times.append(time.monotonic() - began)
        print(f"{office} {len(times)}: {times[-1]:.2f} s", file=sys.stderr, flush=True)
        fleet.anew(name, part)
    return times


def _held(fleet: FleetUnderTest, office: str) -> LeaseRow | None:
    row = fleet.store.leaders().get(office)
    return row if row is not None and row.holder else None


def _store(fleet: FleetUnderTest, runs: int) -> list[tuple[float, float, float]]:
    """From the kill until the standby is a primary, a record is acknowledged, and the lease of `core` is renewed."""
    store = Store(fleet.store.place(), records.encode, records.decode)
    times = []
    for run in range(runs):
        _until(lambda: all(fleet.store.is_well(name) for name in "xyz") and _held(fleet, "core"))
        store.append([_word(f"{run} before")])
        old, before = fleet.store.primary, _held(fleet, "core")
        assert before is not None
        began = time.monotonic()
        fleet.store.kill(old)
        fleet.store.promote()
        _until(fleet.store.primary_takes)
        promoted = time.monotonic() - began
        word = _word(str(run))
        while True:
            with contextlib.suppress(StoreError):
                store.append([word])
                break
            time.sleep(0.02)
        acknowledged = time.monotonic() - began
        _until(lambda before=before: (row := _held(fleet, "core")) and (row.number, row.beats) > before[::3] and row)
        times.append((promoted, acknowledged, time.monotonic() - began))
        fleet.store.copy(old)
    store.close()
    return times


def _word(text: str) -> Action:
    now = wall_now()
    return Action(at=now, known_at=now, source="failover", kind="measured", by="failover", what="try", target=text)


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 0.5):
        return True
    return False


def _link(fleet: FleetUnderTest, what: str, runs: int) -> list[float]:
    return asyncio.run(_link_runs(fleet, runs))


async def _link_runs(fleet: FleetUnderTest, runs: int) -> list[float]:
    """A gateway's end hears, a core's end says; the server of the first is killed."""
    runtime = Runtime.load(fleet.folder / "a" / "run" / "runtime.json")
    times: list[float] = []
    while len(times) < runs:
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
                continue  # both on one server: dial again
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
            print(f"link {len(times)}: {times[-1]:.2f} s", file=sys.stderr, flush=True)
            fleet.parts[name, "link"].kill()
            await asyncio.to_thread(fleet.anew, name, "link")
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


def _until(condition: Callable[[], object]) -> Any:
    """What a condition gives once that is true of something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come to that within a minute")
        time.sleep(0.02)
    return value


if __name__ == "__main__":
    sys.exit(main())
