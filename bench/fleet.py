"""A fleet on one machine while its processes are killed and frozen: `.venv/bin/python bench/fleet.py --faults 20`.

One PostgreSQL, three servers of the link each with a coordinator of budgets, two cores, three gateways, two sites (or
`--sites`) each with a real engine, clients that stream and go to another gateway when theirs is away (HAProxy between
them where it is installed). Each host is a network namespace where that is permitted (`fleet_hosts`). At seeded moments
a process is killed (SIGKILL), frozen (SIGSTOP, then SIGCONT) or a gateway stopped as for an upgrade (SIGTERM), now and
then two at once, a host is cut off or slowed, or its clock goes wrong (with libfaketime). An administrator makes and
revokes keys all along; one tenant's budget comes to its end. What clients saw is kept, and then held against the
records: each answer that came whole has one record of its use, with its tokens; records number without a gap; plans
carry leaders' numbers that only grow; each interval was decided or is on record as not decided; no request stayed
without an answer; no budget was overspent; a revoked key was taken at no gateway that had heard of the coordinator
since, but for a second. What a gateway an hour ahead says the core sets aside by name, and it counts as that. All
processes share one disk, and the database itself is left alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.store.server import running

from fleet_hosts import Hosts, permitted
from tieline import records
from tieline.app.runtime import free_port
from tieline.clock import wall_now
from tieline.records import Fault, Plan, Usage
from tieline.store import Store
from tieline.store.lead.lease import look_at
from tieline.store.place import StorePlace
from tieline.store.quarantine import Quarantine

ROOT = Path(__file__).resolve().parents[1]
TIELINE = (sys.executable, "-m", "tieline")
DAY = timedelta(days=1)
PATIENCE_S, CALM_S = 30.0, 25.0
# A gateway that heard the coordinator after a key was revoked refuses it a second later. One that has not heard of it
# is cut off, and says so; where nothing at all is wrong it hears within the second between two renewals.
HEARD_S, CALM_BEFORE_S = 1.0, 15.0
HEARD_METRIC = "tieline_gateway_coordinator_heard_seconds "
THIN_USD = "0.002"
# What is killed and frozen: part, process of it, and whether it is looked for by who leads.
TARGETS = ("core", "budgets", "link", "gateway", "standby")
WAYS = ("kill", "freeze", "roll", "cut", "slow", "clock")
GATEWAYS = "abc"
SITE_HOSTS = "defghi"


@dataclass
class Seen:
    """What clients saw."""

    whole: dict[str, int] = field(default_factory=dict)  # request id -> tokens
    cut: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # of what was refused
    refused: int = 0  # asked and answered otherwise, or not connected, before it was asked again
    unanswered: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    changes: int = 0  # keys made and revoked
    latest_s: float = 0.0  # until one was refused
    apart_s: float = 0.0  # the longest of those times in which the gateway was cut off from the coordinator
    late: list[str] = field(default_factory=list)  # revoked keys that were taken
    aside: int = 0  # answers whose use the core set aside by name, since the gateway's clock was ahead
    spent: int = 0  # requests refused because the thin tenant's budget was spent


class FleetUnderTest:
    """Its folders and processes."""

    def __init__(self, folder: Path, url: str, hosts: Hosts | None, sites: int = 2, faketime: str = "") -> None:
        """`faketime`: the library that gives each host a clock of its own, or ""."""
        self.folder, self.hosts, self.faketime = folder, hosts, faketime
        self.sites = {name: f"site-{name}" for name in SITE_HOSTS[:sites]}
        ports = [_block() for _ in range(3)]
        self.servers = [f"{self.address(name)}:{port}" for name, port in zip("abc", ports, strict=True)]
        self.doors = {name: f"{self.address(name)}:{free_port()}" for name in GATEWAYS}
        self.balancer: str | None = None
        for name in "abc":
            own = url if hosts is None else f"{url.split('?')[0]}?host={hosts.relays[name].folder}"
            listens = "127.0.0.1" if hosts is None else "0.0.0.0"
            self.file(name).write_text(_config(own, self.servers, listens, list(self.sites.values())))
        for name in self.hosts_named():
            self.set_clock(name, 0.0)
        self.place = StorePlace(folder, url)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.parts: dict[tuple[str, str], subprocess.Popen[bytes]] = {}  # by host and part
        self.words: dict[tuple[str, str], tuple[str, ...]] = {}  # how each was started
        self.code = ROOT  # the source that what is started from now on runs
        self.troubled: dict[str, float] = {}  # host -> when a fault there ended last

    def address(self, name: str) -> str:
        return "127.0.0.1" if self.hosts is None else self.hosts.address(name)

    def file(self, name: str) -> Path:
        return self.folder / f"fleet-{name}.toml"

    def hosts_named(self) -> str:
        return "abc" + "".join(self.sites)

    def set_clock(self, name: str, off_s: float) -> None:
        """A host's clock is `off_s` ahead from now on; its processes read the file anew at each look at the time."""
        if self.faketime:
            new = self.folder / f"clock-{name}.new"
            new.write_text(f"{off_s:+.0f}\n")
            new.rename(self.folder / f"clock-{name}")

    def start(self) -> None:
        a = str(self.folder / "a")
        self._say("machine", "make", "--config", str(self.file("a")), "--data-dir", a)
        for name, parts in (("b", ("core", "gateway", "link")), ("c", ("gateway", "link"))):
            keys = str(self.folder / f"{name}.keys")
            self._say("machine", "keys", *parts, "--data-dir", a, "--out", keys)
            self._say("machine", "enter", keys, "--data-dir", str(self.folder / name))
        for name, server in zip("abc", self.servers, strict=True):
            self._run("link", name, "--server", server)
        self._until(lambda: all(self.pid(name, "link", 0) for name in "abc"))
        for name in "ab":
            self._run("core", name)
        for name, door in self.doors.items():
            port = door.rpartition(":")[2]
            self._run("gateway", name, "--gateway-port", port, "--reach", self.address(name))
        for name, site in self.sites.items():
            token = self._say("site", "token", site, "--data-dir", a).strip()
            self._join(token, self.folder / site)
            self._spawn(name, "run", "site", "--data-dir", str(self.folder / site))
        if shutil.which("haproxy"):
            self.balancer = f"127.0.0.1:{free_port()}"
            text = (ROOT / "deploy" / "haproxy" / "gateways.cfg").read_text()
            text = text.replace("maxconn 20000", "maxconn 2000").replace("bind :8780", f"bind {self.balancer}")
            text = text[: text.index("    server a ")]
            text += "".join(f"    server {name} {door}\n" for name, door in self.doors.items())
            (self.folder / "haproxy.cfg").write_text(text)
            self.processes.append(subprocess.Popen(["haproxy", "-f", str(self.folder / "haproxy.cfg"), "-q"]))

    def key(self, name: str) -> str:
        folder = self.folder / "a" / "run"
        return (folder / "demo_key" if name == "demo-key" else folder / "keys" / name).read_text().strip()

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
        name = dice.choice("abc" if what == "link" else GATEWAYS)
        return f"{what} {name}", self.pid(name, what, 0)

    def stop(self) -> None:
        for one in self.processes:
            one.terminate()
        for one in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(45)
            one.kill()

    def _run(self, part: str, name: str, *more: str) -> None:
        words = ("run", part, "--config", str(self.file(name)), "--data-dir", str(self.folder / name), "--name")
        self._spawn(name, *words, f"m{name}", *more)

    def _spawn(self, host: str, *words: str) -> None:
        before = [] if self.hosts is None else self.hosts.within(host)
        env = self._environment()
        if self.faketime:
            env |= {"LD_PRELOAD": self.faketime, "FAKETIME_TIMESTAMP_FILE": str(self.folder / f"clock-{host}")}
            env |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        with (self.folder / "out.log").open("ab") as out:
            started = subprocess.Popen([*before, *TIELINE, *words], stdout=out, stderr=out, env=env)
        self.processes.append(started)
        self.parts[host, words[1]], self.words[host, words[1]] = started, words

    def _join(self, token: str, folder: Path) -> None:
        """Again until a core leads: before that nobody answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                self._say("join", token, "--data-dir", str(folder))
                return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def _environment(self) -> dict[str, str]:
        """Of a process that runs this fleet's code, which may not be the installed one."""
        return {**os.environ, "PYTHONPATH": str(self.code / "src")}

    def again(self, host: str, part: str) -> None:
        """Stop a part as a service manager does, and start it with the code of now."""
        old = self.parts[host, part]
        old.terminate()
        old.wait(90)
        self.processes.remove(old)
        self._spawn(host, *self.words[host, part])

    def _say(self, *words: str) -> str:
        done = subprocess.run([*TIELINE, *words], check=False, capture_output=True, text=True, env=self._environment())
        if done.returncode:
            raise RuntimeError(f"tieline {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

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
    key = fleet.key("demo-key")
    async with httpx.AsyncClient(timeout=8.0, trust_env=False) as http:
        while not over.is_set():
            began, last, turn = time.monotonic(), "", number
            while time.monotonic() - began < PATIENCE_S:
                turn += 1
                try:
                    url = f"http://{doors[turn % len(doors)]}/v1/chat/completions"
                    headers = {"authorization": f"Bearer {key}"}
                    async with http.stream("POST", url, json=body, headers=headers) as answer:
                        if answer.status_code != 200:
                            last = f"{answer.status_code} {(await answer.aread())[:120]!r}"
                            seen.refused += 1
                            seen.reasons[re.sub(r"[^a-z_0-9 ]+", " ", last[:160])[:80]] += 1
                        else:
                            tokens = await _tokens(answer)
                            if tokens is not None:
                                seen.whole[answer.headers["x-request-id"]] = tokens
                                break
                            seen.cut += 1
                            last = "ended without its last word"
                except httpx.HTTPError as error:
                    last = type(error).__name__
                    seen.refused += 1
                    seen.reasons[last] += 1
                    seen.cut += isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
                await asyncio.sleep(0.2)
            else:
                seen.unanswered.append(last)
            seen.slowest_s = max(seen.slowest_s, time.monotonic() - began)
            await asyncio.sleep(0.1)


async def administrator(fleet: FleetUnderTest, seen: Seen, over: asyncio.Event) -> None:
    """Makes a key at one gateway, sees it taken at another, revokes it there, and sees it refused at the first."""
    doors, root, turn = list(fleet.doors.items()), {"authorization": f"Bearer {fleet.key('root-key')}"}, 0
    async with httpx.AsyncClient(timeout=4.0, trust_env=False) as http:
        while not over.is_set():
            turn += 1
            (here, one), (there, other) = doors[turn % len(doors)], doors[(turn + 1) % len(doors)]
            with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                made = (await http.post(f"http://{one}/admin/keys", json={"tenant": "demo"}, headers=root)).json()
                secret, name = made["key"], made["id"]
                await asyncio.sleep(1.0)
                gone = await http.delete(f"http://{other}/admin/keys/{name}", headers=root)
                if gone.status_code == 200:
                    revoked = time.monotonic()
                    seen.changes += 1
                    calm = max(fleet.troubled.values(), default=0.0) < revoked - CALM_BEFORE_S
                    late = await _until_refused(http, one, secret, revoked, seen, calm=calm)
                    if late:
                        seen.late.append(f"key {name}, revoked at {there}, is taken at {here}: {late}")
            await asyncio.sleep(0.5)


async def _until_refused(
    http: httpx.AsyncClient, door: str, secret: str, revoked: float, seen: Seen, *, calm: bool
) -> str:
    """What was wrong with how long a gateway took a revoked key; "": nothing. It is asked first since when it has not
    heard of the coordinator, so that the time between the two counts for it."""
    first = float("inf")  # when it heard of the coordinator after that, at the latest
    while True:
        asked = time.monotonic()
        metrics = (await http.get(f"http://{door}/metrics")).text
        told = metrics.partition("\n" + HEARD_METRIC)[2].split()
        heard = asked - float(told[0]) if told else float("-inf")  # a version before does not say
        before = time.monotonic()
        if (
            await http.get(f"http://{door}/v1/models", headers={"authorization": f"Bearer {secret}"})
        ).status_code != 200:
            return ""
        after = before - revoked
        seen.latest_s = max(seen.latest_s, after)
        first = min(first, heard) if heard > revoked else first
        if before - first > HEARD_S:
            return f"it heard the coordinator {first - revoked:.2f} s after that and took the key at {after:.2f} s"
        if heard <= revoked:
            seen.apart_s = max(seen.apart_s, after)
            if calm and after > 2 * HEARD_S:
                return f"nothing was wrong for {CALM_BEFORE_S:.0f} s and it did not hear of it in {after:.2f} s"
        await asyncio.sleep(0.1)


async def thin(fleet: FleetUnderTest, seen: Seen, over: asyncio.Event) -> None:
    """A tenant whose budget comes to its end: at every gateway at once, small requests."""
    body = {"model": "tieline-selftest", "max_tokens": 8, "messages": [{"role": "user", "content": "x"}]}
    headers, doors, turn = {"authorization": f"Bearer {fleet.key('thin-key')}"}, list(fleet.doors.values()), 0
    async with httpx.AsyncClient(timeout=8.0, trust_env=False) as http:
        while not over.is_set():
            turn += 1
            with contextlib.suppress(httpx.HTTPError, ValueError):
                answer = await http.post(
                    f"http://{doors[turn % len(doors)]}/v1/chat/completions", json=body, headers=headers
                )
                seen.spent += answer.status_code == 429 and "insufficient_quota" in answer.text
            await asyncio.sleep(1.0 if seen.spent > 20 else 0.1)


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


async def trouble(
    fleet: FleetUnderTest, faults: int, dice: random.Random, log: list[str], ways: tuple[str, ...], brisk: float
) -> None:
    """Something goes wrong, is mended, and the next comes a while later, whether or not all is well again. `brisk`: how
    much shorter the waits are."""
    for number in range(faults):
        how = dice.choice(ways)
        if how in ("cut", "slow", "clock"):
            host = dice.choice(fleet.hosts_named())
            off_s = dice.choice((-3600.0, -90.0, -7.0, 20.0, 90.0, 3600.0))
            log.append(f"{how} host {host}" + (f" {off_s:+.0f} s" if how == "clock" else ""))
            print(f"{number + 1:4} {log[-1]}", flush=True)
            fleet.troubled[host] = float("inf")
            mend = _wrong(fleet, how, host, off_s)
            await asyncio.sleep(dice.uniform(5, 12) / brisk)
            mend()
            fleet.troubled[host] = time.monotonic()
        else:
            chosen = ["gateway"] if how == "roll" else dice.sample(TARGETS, 2 if dice.random() < 0.2 else 1)
            hit = _hit(fleet, how, chosen, dice)
            log.append(f"{how} {', '.join(name for name, _ in hit) or 'nobody: not well yet'}")
            print(f"{number + 1:4} {log[-1]}", flush=True)
            await asyncio.sleep(dice.uniform(5, 9) / brisk)
            for name, pid in hit:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                fleet.troubled[name[-1]] = time.monotonic()
        await asyncio.sleep(dice.uniform(2, 10) / brisk)


def _wrong(fleet: FleetUnderTest, how: str, host: str, off_s: float) -> Callable[[], None]:
    """Something is wrong with a host; what mends it."""
    if how == "clock":
        fleet.set_clock(host, off_s)
        return lambda: fleet.set_clock(host, 0.0)
    hosts = fleet.hosts
    assert hosts is not None
    (hosts.cut if how == "cut" else hosts.slow)(host)
    return lambda: hosts.mend(host)


def _hit(fleet: FleetUnderTest, how: str, chosen: list[str], dice: random.Random) -> list[tuple[str, int]]:
    """Processes that were killed, frozen or stopped, with their hosts."""
    hit = []
    for what in chosen:
        name, pid = fleet.target(what, dice)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "roll": signal.SIGTERM}[how])
                hit.append((name, pid))
                fleet.troubled[name[-1]] = float("inf")
    return hit


def violations(fleet: FleetUnderTest, seen: Seen, began: datetime) -> Iterator[str]:
    """What the records say against what was seen."""
    store = Store(fleet.place, records.encode, records.decode, read_only=True)
    now = wall_now()
    used: dict[str, list[Usage]] = {}
    for one in store.each(Usage, began - DAY, now + DAY):  # clocks were wrong
        used.setdefault(one.request_id, []).append(one)
    spent = sum((one.cost_nano_usd for ones in used.values() for one in ones if one.tenant == "thin"), 0)
    if spent > float(THIN_USD) * 1e9:
        yield f"the thin tenant spent {spent} nano-dollars of {THIN_USD} USD"
    yield from seen.late
    aside = _set_aside(fleet)
    for request, tokens in seen.whole.items():
        found = used.get(request, [])
        if not found and request in aside:
            seen.aside += 1
            continue
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
        decided |= {plan.at for plan in plans if plan.site_id == "site-d"}
        after = page.last
    if fences != sorted(fences):
        yield "a plan of an older leader stands behind one of a newer"
    excused = [one for one in store.each(Fault, began - DAY, now + DAY) if one.what == "intervals not decided"]
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


def _set_aside(fleet: FleetUnderTest) -> set[str]:
    """Requests whose use a core has set aside because of a clock, to be offered again when that time has come."""
    found = set()
    for name in "ab":
        held = Quarantine(fleet.folder / name / "quarantine.db", read_only=True)
        for one in list(held.each()):
            kept = held.get(one.id) if "ahead of this platform's clock" in one.why else None
            if kept is not None:
                found.add(str(json.loads(kept[1]).get("request_id")))
        held.close()
    return found


async def run(fleet: FleetUnderTest, args: argparse.Namespace) -> list[str]:
    seen, over, log = Seen(), asyncio.Event(), list[str]()
    began = wall_now()
    await _ready(fleet)
    clients = [asyncio.create_task(client(fleet, n, seen, over)) for n in range(args.clients)]
    clients += [asyncio.create_task(administrator(fleet, seen, over)), asyncio.create_task(thin(fleet, seen, over))]
    ways = tuple(args.only) or possible(fleet)
    await trouble(fleet, args.faults, random.Random(args.seed), log, ways, args.brisk)
    await asyncio.sleep(CALM_S / args.brisk)
    over.set()
    await asyncio.gather(*clients)
    await asyncio.sleep(8.0)  # usage is pushed within seconds
    found = list(violations(fleet, seen, began))
    print(f"{args.faults} faults of seed {args.seed}, {len(seen.whole)} answers whole, {seen.cut} cut and asked again, "
          f"slowest with its repeats {seen.slowest_s:.1f} s, {seen.changes} keys made and revoked (the last "
          f"taken {seen.latest_s:.1f} s after, {seen.apart_s:.1f} s where the coordinator was not heard), "
          f"{seen.aside} set aside by name for a clock that was ahead, "
          f"{seen.spent} requests beyond a budget refused, load {os.getloadavg()[0]:.0f}")  # fmt: skip
    for one in found:
        print(f"VIOLATION {one}")
    print(f"{len(found)} violations")
    return found


def possible(fleet: FleetUnderTest) -> tuple[str, ...]:
    """What can go wrong on this machine."""
    absent = {*(("cut", "slow") if fleet.hosts is None else ()), *(() if fleet.faketime else ("clock",))}
    return tuple(way for way in WAYS if way not in absent)


def faketime() -> str:
    """Where libfaketime is on this machine, from a package of the system or of Python; "": nowhere."""
    spec = importlib.util.find_spec("libfaketime")
    folders = [*Path("/usr/lib").glob("*/faketime"), *(map(Path, (spec and spec.submodule_search_locations) or ()))]
    return next((str(one) for folder in folders for one in folder.rglob("libfaketime.so.1")), "")


async def _ready(fleet: FleetUnderTest) -> None:
    async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http, asyncio.timeout(180):
        for door in fleet.doors.values():
            while True:
                with contextlib.suppress(httpx.HTTPError, ValueError):
                    if (await http.get(f"http://{door}/healthz")).json()["ready"]:
                        break
                await asyncio.sleep(0.3)


def _block() -> int:
    """A port whose neighbours 1,000 and 2,000 above are free by their nature: below what systems give out."""
    return random.SystemRandom().randrange(11_000, 29_000)


def _config(url: str, servers: list[str], host: str, ids: list[str]) -> str:
    named = ", ".join(f'"{server}"' for server in servers)
    sites = "".join(_SITE.format(id=site, lat=31 + at) for at, site in enumerate(ids))
    return f"""
[fleet]
name = "Three machines"
invented = true
model = "tieline-selftest"
[store]
url = "{url}"
[link]
servers = [{named}]
host = "{host}"
name = "{servers[0].rpartition(":")[0]}"
port = {servers[0].rpartition(":")[2]}
[dispatch]
policy = "strike"
interval_s = 60
[feeds]
source = "synthetic"
[gateway]
auth = "keys"
host = "{host}"
[[model]]
name = "tieline-selftest"
engine = "llama.cpp"
path = "selftest"
slots = 8
usd_per_million_input = "1"
usd_per_million_output = "2"
[[tenant]]
id = "demo"
name = "Demo tenant"
budget_usd_per_month = "50"
concurrent_requests = 16
[[tenant.key]]
id = "demo-key"
generate = true
[[tenant]]
id = "thin"
name = "Little money"
budget_usd_per_month = "{THIN_USD}"
[[tenant.key]]
id = "thin-key"
generate = true
[[tenant]]
id = "ops"
name = "Operator"
[[tenant.key]]
id = "root-key"
role = "admin"
generate = true
{sites}
"""


_SITE = """
[[site]]
id = "{id}"
name = "{id}"
region = "home"
lat = {lat}
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
    parser.add_argument("--loopback", action="store_true", help="no namespaces, also where they are permitted")
    parser.add_argument("--sites", type=int, default=2, help="up to six, each on a host of its own with an engine")
    parser.add_argument("--only", nargs="*", default=(), choices=WAYS)
    parser.add_argument("--brisk", type=float, default=1.0, help="how much shorter all waits are")
    parser.add_argument("--keep", type=Path, help="copy the folders there when it is over")
    args = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with running() as server, tempfile.TemporaryDirectory(prefix="tlfl", dir=memory) as folder:
        names = "abc" + SITE_HOSTS[: args.sites]
        hosts = Hosts(names, Path(folder), server.folder) if permitted() and not args.loopback else None
        fleet = FleetUnderTest(Path(folder), server.url(), hosts, args.sites, faketime())
        print("hosts are network namespaces" if hosts else "all on loopback: no host is cut off or slowed", flush=True)
        print("each host has a clock of its own" if fleet.faketime else "no libfaketime: clocks agree", flush=True)
        try:
            fleet.start()
            code = 1 if asyncio.run(run(fleet, args)) else 0
            if args.keep:
                shutil.copytree(folder, args.keep, ignore=shutil.ignore_patterns(".s.PGSQL*"), dirs_exist_ok=True)
            return code
        finally:
            fleet.stop()
            if hosts is not None:
                hosts.close()


if __name__ == "__main__":
    sys.exit(main())
