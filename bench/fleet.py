"""A fleet on one machine while its hosts and processes fail: `make fleet-test`, or `bench/fleet.py --faults 100`.

Three servers of the link, each with a coordinator of budgets, two cores, three gateways behind HAProxy, two consoles,
three servers of PostgreSQL (a primary and two standbys), and six sites, each with a real engine of the self-test's
small model and four fake rigs; each host a network namespace where that is permitted (`fleet_hosts`, `fleet_machines`,
`fleet_store`). At seeded moments a host is killed, frozen, cut off, slowed, made to lose or delay what is sent, or its
clock is set wrong; a process is killed, frozen or stopped as for an upgrade; the store's primary is lost and a standby
promoted, as a person would (`fleet_faults`). Meanwhile clients stream, a tenant asks more than its limits allow, calls
are made under keys, a budget comes to its end, keys are made and revoked, and somebody looks at every site at both
consoles (`fleet_clients`). All of it is a history (`fleet_history`), held against the records by `fleet_judge`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fleet_clients as clients
from fleet_clients import Seen
from fleet_faults import WAYS, trouble
from fleet_history import History
from fleet_hosts import Hosts, permitted
from fleet_judge import Limits, Verdict, judge
from fleet_machines import (
    CONTROL,
    CORES,
    FEW_AT_ONCE,
    FEW_PER_MINUTE,
    GATEWAYS,
    SITE_HOSTS,
    THIN_USD,
    FleetUnderTest,
    clock_of,
    until,
)
from fleet_records import drain, on_record
from fleet_store import NAMES as STORE_HOSTS
from fleet_store import StoreServers, debians

CALM_S = 25.0
LIMITS = Limits(
    budgets_nano={"thin": round(float(THIN_USD) * 1e9), "demo": 50 * 10**9, "once": 50 * 10**9},
    few_per_minute=FEW_PER_MINUTE, few_at_once=FEW_AT_ONCE,
)  # fmt: skip


async def run(fleet: FleetUnderTest, args: argparse.Namespace) -> Verdict:
    await asyncio.to_thread(ready, fleet)
    seen, over = Seen(History(fleet.folder / "history.jsonl")), asyncio.Event()
    for kind, names in (("site", fleet.sites), ("control", CONTROL), ("store", STORE_HOSTS)):
        for name in names:
            seen.history.note("fleet", "host", "ok", host=name, kind=kind)
    began = time.monotonic()
    using = use(fleet, seen, over, args.clients)
    await trouble(fleet, seen, args.faults, random.Random(args.seed), tuple(args.only), args.brisk)
    await asyncio.sleep(CALM_S / args.brisk)
    over.set()
    await asyncio.gather(*using)
    return await told(fleet, seen, args, time.monotonic() - began)


def use(fleet: FleetUnderTest, seen: Seen, over: asyncio.Event, count: int) -> list[asyncio.Task[None]]:
    """Everybody who uses it, until it is `over`."""
    who: list[Any] = [clients.streams(fleet, n, seen, over) for n in range(count)]
    who += [clients.few(fleet, n, seen, over) for n in range(3)]
    who += [one(fleet, seen, over) for one in (clients.once, clients.thin, clients.administrator, _leaders)]
    if any(part == "console" for _, part in fleet.parts):
        who.append(clients.onlooker(fleet, seen, over))
    return [asyncio.create_task(one) for one in who]


async def _leaders(fleet: FleetUnderTest, seen: Seen, over: asyncio.Event) -> None:
    """Writes down who leads whenever that changes."""
    known: dict[str, int] = {}
    while not over.is_set():
        for office, row in (await asyncio.to_thread(fleet.store.leaders)).items():
            if known.get(office) != row.number:
                seen.history.note("store", "leads", "ok", office=office, number=row.number, holder=row.holder)
            known[office] = row.number
        await asyncio.sleep(0.5)


async def told(fleet: FleetUnderTest, seen: Seen, args: argparse.Namespace, took_s: float) -> Verdict:
    """Judge, and print what there is to say."""
    waiting = await asyncio.to_thread(drain, fleet.folder, 60.0)
    await asyncio.sleep(4.0)
    on = await asyncio.to_thread(on_record, fleet.store.place(), fleet.folder, seen.history.wall)
    verdict = judge(seen.history, on, LIMITS)
    if waiting:
        verdict.violations.append(f"{waiting} bills of gateways are not in the store a minute after all was well")
    slowest = max((one.took_s for one in seen.history.of("ask")), default=0.0)
    looked = [one.took_s for one in seen.history.of("look")]
    print(f"{args.faults} faults of seed {args.seed} in {took_s / 60:.1f} minutes, slowest answer with its repeats "
          f"{slowest:.1f} s, {len(looked)} looks at sites, slowest {max(looked, default=0.0):.1f} s, "
          f"{seen.changes} keys made and revoked (the last taken {seen.latest_s:.1f} s after, {seen.apart_s:.1f} s "
          f"where the coordinator was not heard), {seen.spent} requests beyond a budget refused, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for name, count in sorted(verdict.counts.items()):
        print(f"{count:8} {name}")
    for reason, count in seen.reasons.most_common(12):
        print(f"{count:8} refused and asked again: {reason}")
    for one in verdict.violations:
        print(f"VIOLATION {one}")
    print(f"{len(verdict.violations)} violations")
    return verdict


def ready(fleet: FleetUnderTest) -> None:
    """All of it is well, and every site's engine is known to a gateway."""
    until(lambda: all(fleet.is_well(name) for name in CONTROL + STORE_HOSTS), 240.0)
    until(lambda: fleet.replicas() >= len(fleet.sites), 120.0)
    for name in fleet.sites:
        fleet.usual[name] = 0 if fleet.hosts is None else len(fleet.hosts.processes(name))


def faketime() -> str:
    """Where libfaketime is on this machine, from a package of the system or of Python; "": nowhere."""
    spec = importlib.util.find_spec("libfaketime")
    folders = [*Path("/usr/lib").glob("*/faketime"), *(map(Path, (spec and spec.submodule_search_locations) or ()))]
    return next((str(one) for folder in folders for one in folder.rglob("libfaketime.so.1")), "")


@contextlib.contextmanager
def fleet_of(
    folder: Path, sites: int, *, loopback: bool = False, clocks: bool = True, one_server: bool = False
) -> Iterator[FleetUnderTest]:
    """A fleet with its store's servers running and nothing else; all of it is gone afterwards. `one_server`: the
    store's address names the primary alone, as versions before know it."""
    folder.chmod(0o755)
    apart = permitted() and debians() is not None and not loopback
    hosts = Hosts(CONTROL + SITE_HOSTS[:sites] + STORE_HOSTS) if apart else None
    library = faketime() if clocks else ""
    servers = StoreServers(folder / "pg", hosts, clock_of(library, folder, "{name}") if library else None)
    url = servers.url(primary_alone=one_server)
    fleet = FleetUnderTest(folder / "fleet", servers, hosts, sites, library, url=url)
    try:
        servers.begin()
        yield fleet
    finally:
        fleet.stop()
        servers.stop()
        if hosts is not None:
            hosts.close()


def say(fleet: FleetUnderTest) -> None:
    """What of it is how, on this machine."""
    hosts = fleet.hosts
    if hosts is None:
        print("all on loopback: no host fails as a whole, none is cut off, slowed, made to lose or delay")
    else:
        loses = "iptables" if hosts.tables else "a wire of this test"
        print(f"hosts are network namespaces; packets are lost by {loses}, delayed by a wire of this test (no netem)")
    print("each host has a clock of its own, but for nats-server" if fleet.faketime else "all clocks agree")
    print(f"{len(fleet.sites)} sites, each with llama.cpp and the self-test's model; {len(CORES)} cores and consoles, "
          f"{len(GATEWAYS)} gateways, {len(STORE_HOSTS)} servers of PostgreSQL", flush=True)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--loopback", action="store_true", help="no namespaces, also where they are permitted")
    parser.add_argument("--agree", action="store_true", help="no host's clock goes wrong, also with libfaketime")
    parser.add_argument("--sites", type=int, default=6, help="up to six, each on a host of its own with an engine")
    parser.add_argument("--only", nargs="*", default=(), choices=WAYS)
    parser.add_argument("--brisk", type=float, default=1.0, help="how much shorter all waits are")
    parser.add_argument("--keep", type=Path, help="copy the folders there when it is over")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing of it is left
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tlfl", dir=memory) as text:
        folder = Path(text)
        try:
            with fleet_of(folder, args.sites, loopback=args.loopback, clocks=not args.agree) as fleet:
                say(fleet)
                fleet.start()
                return 1 if asyncio.run(run(fleet, args)).violations else 0
        finally:
            if args.keep:
                shutil.copytree(folder / "fleet", args.keep, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
