"""What polling and commanding rigs costs: one site of 7,500 fakes of six firmwares with a dead rack, 40,000 rigs on
bare sockets, and both libraries beside our own drivers.

    python bench/edge.py [--quick] [--rigs 7500] [--dead 500] [--many 40000] [--kills 200]

Then an agent is killed at random instants, and each time the next must hold what it had acknowledged. `--quick`: a
twentieth of the size, about a minute; its figures say that it runs, no more. The whole takes some minutes; each wait
has an end, and what is not reached says so.

The fakes run in processes of their own, on loopback; what is measured is the agent and the process of its rigs: wall
time, CPU, memory, and how late the agent's own process, which decides, comes to what is due. Prints
the hardware and the figures beside what they may be, writes bench/out/edge.json and bench/out/edge.svg (edge-quick with
--quick).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from machine import processor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.edge.edge_bench import make_site  # the bench's site, from the tests

from tieline.clock import WallClock
from tieline.edge.agent import Agent, Equipment
from tieline.edge.device import Reading
from tieline.edge.orderbook import OrderBook
from tieline.edge.rigs.identify import identify
from tieline.edge.rigs.wire import Lane
from tieline.edge.rigs.workers.frames import RigOpening
from tieline.edge.rigs.workers.parent import RigWorker
from tieline.fleet.models import RIG_MODELS
from tieline.fleet.physics import RIG_MODES
from tieline.fleet.sites import RigGroup
from tieline.link import LocalLink
from tieline.records import Instruction
from tieline.sim.rigs.machine import Machine
from tieline.sim.rigs.server import FakeRigs
from tieline.store.outbox import Outbox
from tieline.tasks import Registry

OUT = Path(__file__).parent / "out"
# firmware -> model, share of the site's rigs, where its ports are here.
MIX: dict[str, tuple[str, float, dict[int, int]]] = {
    "luxos": ("Antminer S21", 0.40, {4028: 14028}),
    "whatsminer-v2": ("Whatsminer M50S", 0.20, {4028: 24028}),
    "whatsminer-v3": ("Whatsminer M60S", 0.10, {4028: 25028, 4433: 24433}),
    "antminer": ("Antminer S19 XP", 0.10, {4028: 16028, 80: 16080}),
    "vnish": ("Antminer S19j Pro", 0.10, {4028: 17028, 80: 17080}),
    "braiins": ("Antminer S19 Pro", 0.10, {4028: 18028, 80: 18080}),
}
SOCKETS = {"luxos", "whatsminer-v2", "whatsminer-v3"}  # the others are told over HTTP
MANY_PORT = 19028
KILLS_S = 600
# Of the whole size, for a look at whether it runs.
QUICK = {"rigs": 360, "dead": 20, "many": 2000, "kills": 10}


def addresses(block: int, count: int) -> tuple[str, ...]:
    return tuple(f"127.{block + n // 62500}.{n // 250 % 250}.{n % 250 + 1}" for n in range(count))


# --- the fakes, in processes of their own ---------------------------------------------------------------


async def serve_fakes(firmware: str, block: int, count: int, ports: dict[int, int], dead: int) -> None:
    """Until standard input ends. The first `dead` rigs hang once a line `dead` came in; `mark` begins to look at who is
    asked and who sleeps from then on, `seen` says so in one line of JSON."""
    model = MIX[firmware][0]
    rigs = FakeRigs(addresses(block, count), RIG_MODELS[model], firmware=firmware, ports=ports, wildcard=bool(ports))
    assert await rigs.start() == count, rigs.problem
    print("up", flush=True)
    well = list(rigs.rigs.values())[dead:]
    looks, looking = Looks(), None
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match line.strip():
            case b"dead":
                for rig in list(rigs.rigs.values())[:dead]:
                    rig.faults.add("hang")
                print("ok", flush=True)
            case b"mark":
                if looking is not None:
                    looking.cancel()
                looks = Looks()
                looking = asyncio.create_task(looks.look(well))
                print("ok", flush=True)
            case _:
                print(json.dumps(vars(looks) | {"asleep": sum(rig.asleep for rig in well)}), flush=True)


class Looks:
    """When the first and the last healthy rig was asked since the mark, and when the last slept, by the machine's
    clock."""

    def __init__(self) -> None:
        self.first_asked: float | None = None
        self.all_asked: float | None = None
        self.all_asleep: float | None = None

    async def look(self, well: list[Machine]) -> None:
        before = [rig.calls for rig in well]
        while True:
            asked = sum(rig.calls > calls for rig, calls in zip(well, before, strict=True))
            now = time.monotonic()
            if asked and self.first_asked is None:
                self.first_asked = now
            if asked == len(well) and self.all_asked is None:
                self.all_asked = now
            if self.all_asleep is None and all(rig.asleep for rig in well):
                self.all_asleep = now
            await asyncio.sleep(0.05)


class Fakes:
    """A process of fakes."""

    def __init__(self, firmware: str, block: int, count: int, ports: dict[int, int], dead: int = 0) -> None:
        self.firmware, self.well = firmware, count - dead
        spec = json.dumps([firmware, block, count, ports, dead])
        # A real rig's sockets are not in our listen queue; the fakes' process is another core's work.
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--fakes", spec], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, word: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self._line()

    async def seen(self) -> dict[str, Any]:
        return dict(json.loads(await asyncio.to_thread(self.say, "seen")))

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()


# --- what is measured ------------------------------------------------------------------------------------


async def cpu_per_poll(firmware: str, rigs: int = 200, times: int = 5) -> float:
    """Milliseconds of CPU of this process for one poll of one rig, everything included but the group's own work."""
    _, _, ports = MIX[firmware]
    drivers = [await identify(address, firmware, ports) for address in addresses(40, rigs)]
    lane = Lane(64)

    async def poll(driver: Any) -> None:
        async with lane.place():
            await driver.poll()

    await asyncio.gather(*(poll(d) for d in drivers))  # tokens, models, identities
    before = time.process_time()
    for _ in range(times):
        await asyncio.gather(*(poll(d) for d in drivers))
    return (time.process_time() - before) / times / rigs * 1e3


async def libraries(rigs: int = 60) -> dict[str, float]:
    """The same for asic-rs and pyasic, against LuxOS fakes on their true port."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--fakes", json.dumps(["luxos", 44, rigs, {}, 0])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    found = {}
    try:
        warnings.simplefilter("ignore")
        import pyasic
        import pyasic_rs

        newer = [await pyasic_rs.MinerFactory().get_miner(a) for a in addresses(44, rigs)]
        older = [await pyasic.get_miner(a) for a in addresses(44, rigs)]
        calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "asic-rs": lambda miner: miner.get_data(),
            "pyasic, two fields": lambda miner: miner.get_data(include=["wattage", "hashboards"]),
            "pyasic, all": lambda miner: miner.get_data(),
        }
        for name, call in calls.items():
            miners = [m for m in (newer if name == "asic-rs" else older) if m is not None]
            await asyncio.gather(*(call(m) for m in miners))
            before = time.process_time()
            for _ in range(3):
                await asyncio.gather(*(call(m) for m in miners))
            found[name] = (time.process_time() - before) / 3 / max(1, len(miners)) * 1e3
    finally:
        child.terminate()
        child.wait()
    return found


class BenchSite:
    """One agent with its rigs in a process of their own, as a joined site runs it."""

    def __init__(self, fakes: dict[str, Fakes], total: int, dead: int, folder: Path) -> None:
        self.fakes, self.dead = fakes, dead
        units = [
            RigGroup(
                id=f"s.{firmware}", feeder="s.f-mine", model=model, rigs=(count := round(total * share)),
                firmware=firmware, hardware="fake", addresses=addresses(50 + 5 * n, count),
            )
            for n, (firmware, (model, share, _)) in enumerate(MIX.items())
        ]  # fmt: skip
        site = msgspec.structs.replace(make_site(limit_mw=100), rig_groups=tuple(units), node_groups=())
        ports = {unit.id: MIX[unit.firmware][2] for unit in units}
        opening = RigOpening(site=site, groups=tuple(units), ports=ports, folder=str(folder))
        self.worker, self.clock = RigWorker(opening, lambda _: None), WallClock()
        self.agent = Agent(
            self.clock, site, Equipment(self.worker.devices()), Outbox(folder / "outbox.db"), LocalLink(),
            OrderBook("s", folder / "o.json"),
        )  # fmt: skip
        self.count = sum(unit.rigs for unit in units)
        self.slowest_step_s = self.latest_s = 0.0

    async def steps(self) -> None:
        """As the product's: one every two seconds, and at once with an order."""
        while True:
            began = time.perf_counter()
            await self.agent.step(self.clock.now())
            self.slowest_step_s = max(self.slowest_step_s, time.perf_counter() - began)
            self.agent.awake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, 2.0 - (time.perf_counter() - began))):
                    await self.agent.awake.wait()

    async def lateness(self) -> None:
        """How late the agent's process comes to what is due."""
        while True:
            due = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            self.latest_s = max(self.latest_s, time.perf_counter() - due)

    def readings(self) -> list[Reading]:
        return [unit.reading for unit in self.agent.units.values() if unit.reading is not None and unit.heard]

    def heard(self) -> int:
        return sum(reading.devices_heard or 0 for reading in self.readings())

    def down(self) -> bool:
        """As the agent sees it: everyone who answers draws what a sleeping rig draws."""
        asleep_w = 1.1 * RIG_MODES["sleep"].fixed_w * 1.1
        readings = self.readings()
        return len(readings) == len(MIX) and all(one.power_w <= asleep_w * (one.devices or 0) for one in readings)

    async def mark(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(one.say, "mark") for one in self.fakes.values()))

    async def all_seen(self, name: str, within_s: float) -> dict[str, dict[str, Any]]:
        """What each process of fakes saw, once all have seen it or the time is over."""
        until = time.monotonic() + within_s
        while True:
            seen = {firmware: await one.seen() for firmware, one in self.fakes.items()}
            if all(one[name] is not None for one in seen.values()) or time.monotonic() > until:
                return seen
            await asyncio.sleep(0.25)

    def order(self) -> None:
        now = self.clock.now()
        self.agent.take(
            Instruction(
                at=now, known_at=now, source="grid", kind="measured", instruction_id="i", site_id="s", limit_w=1e3,
                until=now + timedelta(hours=1),
            ),
            now,
        )  # fmt: skip


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> float | None:
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > within_s:
            return None
        await asyncio.sleep(0.05)
    return time.perf_counter() - began


def used_s(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def most_mb(pid: int | None) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


async def one_site(fakes: dict[str, Fakes], total: int, dead: int, folder: Path) -> dict[str, Any]:
    """Rigs of all firmwares behind one agent: sweeps, a dead rack, an order. What was asked and who sleeps is said by
    the fakes."""
    site, registry = BenchSite(fakes, total, dead, folder), Registry()
    result: dict[str, Any] = {"rigs": site.count, "dead": dead}
    registry.keep("rigs", "speaks to the rigs", site.worker.run)
    tasks = [asyncio.create_task(site.steps()), asyncio.create_task(site.lateness())]
    result["all_heard_at_start_s"] = await until(lambda: site.heard() == site.count, 120)
    fakes["luxos"].say("dead")
    await until(lambda: site.heard() == site.count - dead)
    await site.mark()
    site.slowest_step_s = site.latest_s = 0.0
    began, cpu, own = time.perf_counter(), used_s(site.worker.pid), time.process_time()
    await asyncio.sleep(30.0)  # three sweeps
    took = time.perf_counter() - began
    seen = await site.all_seen("all_asked", 30.0)
    if all(one["all_asked"] is not None for one in seen.values()):
        first = min(one["first_asked"] for one in seen.values())
        result["healthy_polled_s"] = max(one["all_asked"] for one in seen.values()) - first
    result["rigs_cpu_per_rig_ms"] = (used_s(site.worker.pid) - cpu) / (took / 10.0) / (site.count - dead) * 1e3
    result["rigs_cores"] = (used_s(site.worker.pid) - cpu) / took
    result["reflex_cores"] = (time.process_time() - own) / took
    result["healthy_unheard"] = site.count - dead - site.heard()
    result["slowest_step_s"], result["reflex_late_s"] = site.slowest_step_s, site.latest_s
    result |= await ordered(site)
    result["memory_mb"] = most_mb(os.getpid()) + most_mb(site.worker.pid)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await registry.close()
    await site.agent.close()
    return result


async def ordered(site: BenchSite) -> dict[str, Any]:
    """From an order to the last rig that sleeps."""
    result: dict[str, Any] = {}
    await site.mark()
    site.slowest_step_s = site.latest_s = 0.0
    began, cpu = time.monotonic(), used_s(site.worker.pid)
    site.order()
    result["down_or_silent_s"] = await until(site.down)
    seen = await site.all_seen("all_asleep", 60.0)
    for name, firmwares in (("sockets", SOCKETS), ("http", set(MIX) - SOCKETS)):
        ends = [seen[firmware]["all_asleep"] for firmware in firmwares]
        result[f"order_to_last_command_{name}_s"] = None if None in ends else max(ends) - began
    result["order_cpu_s"] = used_s(site.worker.pid) - cpu
    result["truly_asleep"] = sum(one["asleep"] for one in seen.values())
    result["slowest_step_under_order_s"], result["reflex_late_under_order_s"] = site.slowest_step_s, site.latest_s
    return result


async def many(count: int) -> dict[str, Any]:
    """So many rigs once through, connections not held."""
    drivers = [await identify(a, "luxos", {4028: MANY_PORT}) for a in addresses(80, count)]
    lane, heard = Lane(512), 0

    async def poll(driver: Any) -> None:
        nonlocal heard
        async with lane.place():
            await driver.poll()
        heard += 1

    cpu, began = time.process_time(), time.perf_counter()
    results = await asyncio.gather(*(poll(d) for d in drivers), return_exceptions=True)
    why = next((str(r) for r in results if isinstance(r, Exception)), None)
    return {
        "rigs": count,
        "heard": heard,
        "wall_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "first_failure": why,
    }


# --- the report ------------------------------------------------------------------------------------------


def plot(costs: dict[str, float], path: Path) -> None:
    """CPU per poll as bars, an SVG of its own."""
    widest = max(costs.values())
    rows = []
    for n, (name, value) in enumerate(costs.items()):
        y = 10 + 26 * n
        rows.append(f'<text x="150" y="{y + 14}" text-anchor="end">{name}</text>')
        rows.append(f'<rect x="160" y="{y}" width="{400 * value / widest:.0f}" height="18" fill="#4a7"/>')
        rows.append(f'<text x="{166 + 400 * value / widest:.0f}" y="{y + 14}">{value:.2f} ms</text>')
    height = 20 + 26 * len(costs)
    style = 'font-family="sans-serif" font-size="12"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{height}" {style}>{"".join(rows)}</svg>'
    path.write_text(svg, encoding="utf-8")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {"hardware": hardware(), "cpu_per_poll_ms": {}}
    for firmware, (_, _, ports) in MIX.items():
        fakes = Fakes(firmware, 40, 200, ports)
        result["cpu_per_poll_ms"][firmware] = await cpu_per_poll(firmware)
        fakes.stop()
    result["cpu_per_poll_ms"] |= await libraries()
    racks = {}
    for n, (firmware, (_, share, ports)) in enumerate(MIX.items()):
        racks[firmware] = Fakes(
            firmware, 50 + 5 * n, round(options.rigs * share), ports, options.dead * (firmware == "luxos")
        )
    with tempfile.TemporaryDirectory() as folder:
        result["site"] = await one_site(racks, options.rigs, options.dead, Path(folder))
    for fakes in racks.values():
        fakes.stop()
    if options.many:
        fakes = Fakes("luxos", 80, options.many, {4028: MANY_PORT})
        result["many"] = await many(options.many)
        fakes.stop()
    result["kills"] = ends(options.kills, "tests.edge.kill_agent")
    result["power cuts"] = ends(options.kills, "tests.edge.power_cuts")
    return result


def ends(times: int, how: str) -> dict[str, Any]:
    """An agent killed, or its power cut over a disk that forgets what was not synced, so many times on one folder: what
    was acknowledged and is not there, or twice."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", how, folder, str(times), "11"],
            capture_output=True, text=True, timeout=KILLS_S, check=False, cwd=Path(__file__).parents[1],
        )  # fmt: skip
    said = json.loads(done.stdout) if done.stdout.startswith("{") else {"failed": done.stderr[-300:]}
    return said | {"wall_s": time.perf_counter() - began}


def hardware() -> dict[str, Any]:
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def report(result: dict[str, Any]) -> None:
    print(json.dumps(result["hardware"]))
    for name, value in result["cpu_per_poll_ms"].items():
        print(f"  CPU for one poll, {name:20} {value:6.2f} ms")
    limits = {
        "healthy_polled_s": 10, "order_to_last_command_sockets_s": 3, "order_to_last_command_http_s": 8,
        "down_or_silent_s": 60, "memory_mb": 400,
    }  # fmt: skip
    for name, value in result["site"].items():
        most = limits.get(name)
        shown = "not reached" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
        print(f"  {name:34} {shown:>12}" + (f"   at most {most}" if most is not None else ""))
    if "many" in result:
        print("  " + json.dumps(result["many"]))
    for name in ("kills", "power cuts"):
        print(f"  {name}: {json.dumps(result[name])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the size")
    parser.add_argument("--rigs", type=int, default=7500)
    parser.add_argument("--dead", type=int, default=500)
    parser.add_argument("--many", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--fakes")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    if options.fakes:
        firmware, block, count, ports, dead = json.loads(options.fakes)
        uvloop.run(serve_fakes(firmware, block, count, {int(k): v for k, v in ports.items()}, dead))
        return
    result = uvloop.run(measure(options))
    OUT.mkdir(exist_ok=True)
    name = "edge-quick" if options.quick else "edge"  # the whole one's figures are not overwritten by a look
    (OUT / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result["cpu_per_poll_ms"], OUT / f"{name}.svg")
    report(result)


if __name__ == "__main__":
    main()
