"""A rolling upgrade under traffic, from an earlier commit to this one: `make bench-upgrade`, or `--old COMMIT`.

The fleet of `fleet.py`, all of it started with the code of an earlier commit (`git archive`, with the libraries that
are installed here). While clients stream, keys are made and revoked and a budget comes to its end, each part is stopped
(SIGTERM) and started with today's code, one machine after the other, in the order of docs/fleet.md: servers of the
link, cores (who stands by first), consoles, gateways, sites. So each pair of old and new talks for a while; nothing
is killed.
Afterwards what clients saw is held against the records as there; a stream that was cut and a request that was not
answered at the first try are counted, and may not be there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from fleet import fleet_of, ready, told, use
from fleet_clients import Seen
from fleet_history import History
from fleet_machines import CORES, GATEWAYS, ROOT, FleetUnderTest

# Before it servers of the link beyond loopback did not find each other, and a stopping gateway went on saying ready.
OLD = "2ab54f4"
SETTLE_S = 6.0  # between two parts: old and new speak with each other


def unpack(commit: str, folder: Path) -> str:
    """An earlier commit's source; returns its name."""
    name = subprocess.run(["git", "rev-parse", "--short", commit], cwd=ROOT, capture_output=True, text=True, check=True)
    tar = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(tar)) as archive:
        archive.extractall(folder, filter="data")
    # The console's page is built, not kept: of today's, which an earlier console hands out as it is.
    page = Path("src", "tieline", "console", "static")
    shutil.copytree(ROOT / page, folder / page, dirs_exist_ok=True)
    return name.stdout.strip()


async def upgrade(fleet: FleetUnderTest, settle_s: float) -> None:
    """Each part in turn; a part that does not come back is an error here."""
    row = fleet.store.leaders().get("core")
    leader = "a" if row is None else row.holder[1:2]
    cores = [*(name for name in CORES if name != leader), leader]
    steps = [("link", name) for name in "abc"] + [("core", name) for name in cores]
    steps += [("console", name) for name in fleet.consoles]
    steps += [("gateway", name) for name in GATEWAYS] + [("site", name) for name in fleet.sites]
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


async def run(fleet: FleetUnderTest, args: argparse.Namespace) -> int:
    fleet.code = ROOT
    await asyncio.to_thread(ready, fleet)
    seen, over = Seen(History()), asyncio.Event()
    using, began = use(fleet, seen, over, 3), asyncio.get_running_loop().time()
    await asyncio.sleep(5.0)
    try:
        await upgrade(fleet, args.settle)
        await asyncio.sleep(15.0)
    finally:
        over.set()
        await asyncio.gather(*using)
    args.faults = args.seed = 0
    verdict = await told(fleet, seen, args, asyncio.get_running_loop().time() - began)
    cut = verdict.counts["cut"]
    print(f"from {args.old}: {cut} cut, {seen.refused} not answered at the first try")
    return 1 if verdict.violations or cut or seen.refused else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", default=OLD, help="the commit that all begins with")
    parser.add_argument("--settle", type=float, default=SETTLE_S)
    args = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tlup", dir=memory) as text:
        folder = Path(text)
        (folder / "old").mkdir()
        args.old = unpack(args.old, folder / "old")
        with fleet_of(folder, 2, clocks=False, one_server=True) as fleet:
            fleet.code = folder / "old"
            fleet.start()
            return asyncio.run(run(fleet, args))


if __name__ == "__main__":
    sys.exit(main())
