"""A rolling upgrade under traffic, from an earlier commit to this one: `make bench-upgrade`, or `--old COMMIT`.

The fleet of `fleet.py`, all of it started with the code of an earlier commit (`git archive`, with the libraries that
are installed here). While clients stream, keys are made and revoked and a budget comes to its end, each part is stopped
(SIGTERM) and started with today's code, one machine after the other, in the order of docs/fleet.md: servers of the
link, cores (who stands by first), gateways, sites. So each pair of old and new talks for a while. Nothing is killed.
Afterwards what clients saw is held against the records as there; a stream that was cut and a request that was not
answered at the first try are counted, and may not be there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from datetime import datetime
from io import BytesIO
from pathlib import Path

import fleet as under_test
from fleet import ROOT, SITE_HOSTS, FleetUnderTest, Seen
from fleet_hosts import Hosts, permitted
from tieline.clock import wall_now

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.store.server import running

# Before it servers of the link beyond loopback did not find each other, and a stopping gateway went on saying ready.
OLD = "2ab54f4"
SETTLE_S = 6.0  # between two parts: old and new speak with each other


def unpack(commit: str, folder: Path) -> str:
    """An earlier commit's source; returns its name."""
    name = subprocess.run(["git", "rev-parse", "--short", commit], cwd=ROOT, capture_output=True, text=True, check=True)
    tar = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(tar)) as archive:
        archive.extractall(folder, filter="data")
    return name.stdout.strip()


async def upgrade(fleet: FleetUnderTest, settle_s: float) -> None:
    """Each part in turn; a part that does not come back is an error here."""
    row = under_test.look_at(fleet.place, ["core"])["core"]
    leader = "a" if row is None else row.holder[1:2]
    cores = [*(name for name in "ab" if name != leader), leader]
    steps = [("link", name) for name in "abc"] + [("core", name) for name in cores]
    steps += [("gateway", name) for name in under_test.GATEWAYS] + [("site", name) for name in fleet.sites]
    for part, host in steps:
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(fleet.again, host, part)
        folder = fleet.sites.get(host, host)
        async with asyncio.timeout(120):
            while fleet.pid(folder, part, 0) is None and part != "site":
                await asyncio.sleep(0.2)
        took = asyncio.get_running_loop().time() - began
        print(f"     {part} {host} runs the new code after {took:.1f} s", flush=True)
        await asyncio.sleep(settle_s + (SETTLE_S if part == "site" else 0.0))


async def run(fleet: FleetUnderTest, old: str, settle_s: float) -> int:
    seen, over, began = Seen(), asyncio.Event(), wall_now()
    fleet.code = ROOT
    await under_test._ready(fleet)
    clients = [asyncio.create_task(under_test.client(fleet, n, seen, over)) for n in range(3)]
    clients += [asyncio.create_task(one(fleet, seen, over)) for one in (under_test.administrator, under_test.thin)]
    await asyncio.sleep(5.0)
    try:
        await upgrade(fleet, settle_s)
        await asyncio.sleep(15.0)
    finally:
        over.set()
        await asyncio.gather(*clients)
    await asyncio.sleep(8.0)
    return tell(fleet, seen, began, old)


def tell(fleet: FleetUnderTest, seen: Seen, began: datetime, old: str) -> int:
    found = list(under_test.violations(fleet, seen, began))
    print(f"from {old}: {len(seen.whole)} answers whole, {seen.cut} cut, {seen.refused} not answered at the first try, "
          f"slowest {seen.slowest_s:.1f} s, {seen.changes} keys made and revoked, {len(found)} violations, "
          f"load {os.getloadavg()[0]:.0f}")  # fmt: skip
    for reason, count in seen.reasons.most_common():
        print(f"{count:5} times: {reason}")
    for one in found:
        print(f"VIOLATION {one}")
    return 1 if found or seen.cut or seen.refused else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", default=OLD, help="the commit that all begins with")
    parser.add_argument("--settle", type=float, default=SETTLE_S)
    args = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    random.seed(1)
    with running() as server, tempfile.TemporaryDirectory(prefix="tlup", dir=memory) as text:
        folder = Path(text)
        (folder / "old").mkdir()
        old = unpack(args.old, folder / "old")
        hosts = Hosts("abc" + SITE_HOSTS[:2], folder, server.folder) if permitted() else None
        fleet = FleetUnderTest(folder, server.url(), hosts)
        fleet.code = folder / "old"
        try:
            fleet.start()
            return asyncio.run(run(fleet, old, args.settle))
        finally:
            fleet.stop()
            if hosts is not None:
                hosts.close()


if __name__ == "__main__":
    sys.exit(main())
