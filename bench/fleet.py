"""A fleet on one machine while its processes are killed and frozen: `.venv/bin/python bench/fleet.py --faults 20`.

One PostgreSQL, three servers of the link each with a coordinator of budgets, two cores, two gateways, one site with a
real engine, clients that stream and go to the other gateway when theirs is away (HAProxy between them where it is
installed). At seeded instants a process is killed (SIGKILL) or frozen (SIGSTOP, then SIGCONT), now and then two at
once. What clients saw is kept, and then held against the records: each answer that came whole has one record of its
use, with its tokens; records number without a gap; plans carry leaders' numbers that only grow; each interval of the
site was decided or is on record as not decided; no request stayed without an answer. Nothing is cut or slowed here, all
processes share one clock and one disk, and the database itself is left alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.store.server import running

from tieline import records
from tieline.app.runtime import free_port
from tieline.clock import wall_now
from tieline.records import Fault, Plan, Usage
from tieline.store import Store
from tieline.store.lead.lease import look_at
from tieline.store.place import StorePlace

ROOT = Path(__file__).resolve().parents[1]
TIELINE = Path(sys.executable).with_name("tieline")
MINUTE = timedelta(minutes=1)
PATIENCE_S, CALM_S = 30.0, 25.0
# What is killed and frozen: part, process of it, and whether it is looked for by who leads.
TARGETS = ("core", "budgets", "link", "gateway", "standby")


@dataclass
class Seen:
    """What clients saw."""

    whole: dict[str, int] = field(default_factory=dict)  # request id -> tokens
    cut: int = 0
    unanswered: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


class FleetUnderTest:
    """Its folders and processes."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.ports = folder, [_block() for _ in range(3)]
        self.doors = {"b": free_port(), "c": free_port()}
        self.balancer: int | None = None
        self.file = folder / "fleet.toml"
        self.file.write_text(_config(url, self.ports))
        self.place = StorePlace(folder, url)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        a = str(self.folder / "a")
        _say("machine", "make", "--config", str(self.file), "--data-dir", a)
        for name, parts in (("b", ("core", "gateway", "link")), ("c", ("gateway", "link"))):
            keys = str(self.folder / f"{name}.keys")
            _say("machine", "keys", *parts, "--data-dir", a, "--out", keys)
            _say("machine", "enter", keys, "--data-dir", str(self.folder / name))
        for name, port in zip("abc", self.ports, strict=True):
            self._run("link", name, "--server", f"127.0.0.1:{port}")
        self._until(lambda: all(self.pid(name, "link", 0) for name in "abc"))
        for name in "ab":
            self._run("core", name)
        for name, port in self.doors.items():
            self._run("gateway", name, "--gateway-port", str(port))
        token = _say("site", "token", "one", "--data-dir", a).strip()
        _say("join", token, "--data-dir", str(self.folder / "site"))
        self._spawn("run", "site", "--data-dir", str(self.folder / "site"))
        if shutil.which("haproxy"):
            self.balancer = free_port()
            text = (ROOT / "deploy" / "haproxy" / "gateways.cfg").read_text()
            text = text.replace("maxconn 20000", "maxconn 2000").replace(
                "bind :8700", f"bind 127.0.0.1:{self.balancer}"
            )
            text = text.replace("10.0.0.5:8701", f"127.0.0.1:{self.doors['b']}")
            text = text.replace("10.0.0.6:8701", f"127.0.0.1:{self.doors['c']}")
            (self.folder / "haproxy.cfg").write_text(text)
            self.processes.append(subprocess.Popen(["haproxy", "-f", str(self.folder / "haproxy.cfg")]))

    @property
    def key(self) -> str:
        return (self.folder / "a" / "run" / "demo_key").read_text().strip()

    def pid(self, name: str, part: str, at: int) -> int | None:
        """Of a process of a part that is well."""
        try:
            one = json.loads((self.folder / name / "run" / f"state-{part}.json").read_text())["parts"][at]
        except (OSError, ValueError, LookupError):
            return None
        return one["pid"] if one["state"] == "ready" else None

    def target(self, what: str, dice: random.Random) -> tuple[str, int | None]:
        if what in ("core", "budgets", "standby"):
            office = "budgets" if what == "budgets" else "core"
            row = look_at(self.place, [office])[office]
            leader = row.holder[1:2] if row is not None else ""
            others = [n for n in ("abc" if what == "budgets" else "ab") if n != leader]
            name = leader if what != "standby" else dice.choice(others)
            part, at = ("link", 1) if what == "budgets" else ("core", 0)
            return f"{what} {name}", self.pid(name, part, at) if name else None
        name = dice.choice("abc" if what == "link" else "bc")
        return f"{what} {name}", self.pid(name, what, 0)

    def stop(self) -> None:
        for one in self.processes:
            one.terminate()
        for one in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(15)
            one.kill()

    def _run(self, part: str, name: str, *more: str) -> None:
        words = ("run", part, "--config", str(self.file), "--data-dir", str(self.folder / name), "--name", f"m{name}")
        self._spawn(*words, *more)

    def _spawn(self, *words: str) -> None:
        with (self.folder / "out.log").open("ab") as out:
            self.processes.append(subprocess.Popen([TIELINE, *words], stdout=out, stderr=out))

    @staticmethod
    def _until(condition: Any) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the fleet did not come up")
            time.sleep(0.2)


async def client(fleet: FleetUnderTest, number: int, seen: Seen, over: asyncio.Event) -> None:
    """Asks one request after another; one that is refused or cut is asked again for PATIENCE_S."""
    doors = [fleet.balancer] if fleet.balancer else list(fleet.doors.values())
    body = {"model": "tieline-selftest", "stream": True, "max_tokens": 12, "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": f"Say something about {number}."}]}  # fmt: skip
    async with httpx.AsyncClient(timeout=20.0, trust_env=False) as http:
        while not over.is_set():
            began, last, turn = time.monotonic(), "", number
            while time.monotonic() - began < PATIENCE_S:
                turn += 1
                try:
                    url = f"http://127.0.0.1:{doors[turn % len(doors)]}/v1/chat/completions"
                    headers = {"authorization": f"Bearer {fleet.key}"}
                    async with http.stream("POST", url, json=body, headers=headers) as answer:
                        if answer.status_code != 200:
                            last = f"{answer.status_code} {(await answer.aread())[:120]!r}"
                        else:
                            tokens = await _tokens(answer)
                            if tokens is not None:
                                seen.whole[answer.headers["x-request-id"]] = tokens
                                break
                            seen.cut += 1
                            last = "ended without its last word"
                except httpx.HTTPError as error:
                    last = type(error).__name__
                    seen.cut += isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
                await asyncio.sleep(0.2)
            else:
                seen.unanswered.append(last)
            seen.slowest_s = max(seen.slowest_s, time.monotonic() - began)
            await asyncio.sleep(0.1)


async def _tokens(answer: httpx.Response) -> int | None:
    """Of a stream that came to its end; None where it did not."""
    tokens = None
    async for line in answer.aiter_lines():
        if line == "data: [DONE]":
            return tokens
        if line.startswith("data: "):
            usage = json.loads(line[6:]).get("usage")
            tokens = tokens if usage is None else int(usage["completion_tokens"])
    return None


async def trouble(fleet: FleetUnderTest, faults: int, dice: random.Random, log: list[str]) -> None:
    """Kill or freeze, wait until it is well again or a while, and go on."""
    for number in range(faults):
        chosen = dice.sample(TARGETS, 2 if dice.random() < 0.2 else 1)
        how, hit = dice.choice(("kill", "freeze")), []
        for what in chosen:
            name, pid = fleet.target(what, dice)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
                    hit.append((name, pid))
        log.append(f"{how} {', '.join(name for name, _ in hit) or 'nobody: not well yet'}")
        print(f"{number + 1:4} {log[-1]}", flush=True)
        await asyncio.sleep(dice.uniform(5, 9))
        for _, pid in hit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(dice.uniform(2, 10))


def violations(fleet: FleetUnderTest, seen: Seen, began: datetime) -> Iterator[str]:
    """What the records say against what was seen."""
    store = Store(fleet.place, records.encode, records.decode, read_only=True)
    now = wall_now()
    used: dict[str, list[Usage]] = {}
    for one in store.each(Usage, began - MINUTE, now + MINUTE):
        used.setdefault(one.request_id, []).append(one)
    for request, tokens in seen.whole.items():
        found = used.get(request, [])
        if [one.output_tokens for one in found] != [tokens]:
            yield f"{request} was answered with {tokens} tokens, on record {[one.output_tokens for one in found]}"
    if store.last_seq() != sum(store.counts().values()):
        yield f"{store.last_seq()} numbers for {sum(store.counts().values())} records"
    fences: list[int] = []
    decided: set[datetime] = set()
    after = 0
    while (page := store.follow(after, stream=Plan)).items:
        plans = [one.record for one in page.items if isinstance(one.record, Plan) and one.record.fence is not None]
        fences += [plan.fence or 0 for plan in plans]
        decided |= {plan.at for plan in plans}
        after = page.last
    if fences != sorted(fences):
        yield "a plan of an older leader stands behind one of a newer"
    excused = [one for one in store.each(Fault, began - MINUTE, now + MINUTE) if one.what == "intervals not decided"]
    length = timedelta(seconds=60)
    at, last = min(decided, default=now), max(decided, default=now)
    while at < last:
        told = any(one.at <= at < one.known_at for one in excused)
        if at not in decided and not told:
            yield f"the interval from {at.isoformat()} was decided by nobody, and nobody says so"
        at += length
    store.verify()
    store.close()
    for why in seen.unanswered:
        yield f"a request stayed without an answer for {PATIENCE_S:.0f} s: {why}"


async def run(fleet: FleetUnderTest, args: argparse.Namespace) -> list[str]:
    seen, over, log = Seen(), asyncio.Event(), list[str]()
    began = wall_now()
    await _ready(fleet)
    clients = [asyncio.create_task(client(fleet, n, seen, over)) for n in range(args.clients)]
    await trouble(fleet, args.faults, random.Random(args.seed), log)
    await asyncio.sleep(CALM_S)
    over.set()
    await asyncio.gather(*clients)
    await asyncio.sleep(8.0)  # usage is pushed within seconds
    found = list(violations(fleet, seen, began))
    print(f"{args.faults} faults of seed {args.seed}, {len(seen.whole)} answers whole, {seen.cut} cut and asked again, "
          f"slowest with its repeats {seen.slowest_s:.1f} s, load {os.getloadavg()[0]:.0f}")  # fmt: skip
    for one in found:
        print(f"VIOLATION {one}")
    print(f"{len(found)} violations")
    return found


async def _ready(fleet: FleetUnderTest) -> None:
    async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http, asyncio.timeout(180):
        for port in fleet.doors.values():
            while True:
                with contextlib.suppress(httpx.HTTPError, ValueError):
                    if (await http.get(f"http://127.0.0.1:{port}/healthz")).json()["ready"]:
                        break
                await asyncio.sleep(0.3)


def _block() -> int:
    """A port whose neighbours 1,000 and 2,000 above are free by their nature: below what systems give out."""
    return random.SystemRandom().randrange(11_000, 29_000)


def _say(*words: str) -> str:
    return subprocess.run([TIELINE, *words], check=True, capture_output=True, text=True).stdout


def _config(url: str, ports: list[int]) -> str:
    servers = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    return f"""
[fleet]
name = "Three machines"
invented = true
model = "tieline-selftest"
[store]
url = "{url}"
[link]
servers = [{servers}]
[dispatch]
policy = "strike"
interval_s = 60
[feeds]
source = "synthetic"
[gateway]
auth = "keys"
[[model]]
name = "tieline-selftest"
engine = "llama.cpp"
path = "selftest"
slots = 8
[[tenant]]
id = "demo"
name = "Demo tenant"
budget_usd_per_month = "50"
concurrent_requests = 16
[[tenant.key]]
id = "demo-key"
generate = true
[[site]]
id = "one"
name = "One"
region = "home"
lat = 31.0
lon = -100.0
interconnect_mw = 10
mode = "act"
contract = {{ basis = "fixed", fixed_usd_per_mwh = 50 }}
rigs = [{{ model = "Antminer S21", mw = 5 }}]
gpus = [{{ node = "8xH100", count = 2, replicas_real = 1 }}]
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=3)
    args = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with running() as server, tempfile.TemporaryDirectory(prefix="tlfl", dir=memory) as folder:
        fleet = FleetUnderTest(Path(folder), server.url())
        try:
            fleet.start()
            return 1 if asyncio.run(run(fleet, args)) else 0
        finally:
            fleet.stop()


if __name__ == "__main__":
    sys.exit(main())
