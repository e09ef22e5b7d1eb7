"""The machines of a fleet under test: their folders, what runs on each, and how they are started, ended and looked at.

On a and b a server of the link with its coordinator of budgets, a core, a gateway and a console; on c a server of the
link and a gateway; on x, y and z the store's servers (`fleet_store`); on d to i a site each, with a real engine and
four fake rigs on its own loopback. Where there are no hosts all of it is on this machine's loopback.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx

from fleet_hosts import Hosts
from fleet_store import StoreServers
from tieline.app.runtime import free_port

ROOT: Final = Path(__file__).resolve().parents[1]
TIELINE: Final = (sys.executable, "-m", "tieline")
CONTROL, GATEWAYS, CORES, SITE_HOSTS = "abc", "abc", "ab", "defghi"
THIN_USD, FEW_PER_MINUTE, FEW_AT_ONCE = "0.002", 90, 2
RIGS_A_SITE: Final = 4
# What may take its time on two processor cores with all of it beside.
UP_S: Final = 240.0


class FleetUnderTest:
    """Its folders and processes. The store's servers run already."""

    def __init__(
        self, folder: Path, servers: StoreServers, hosts: Hosts | None, sites: int = 6, faketime: str = "",
        *, url: str | None = None,
    ) -> None:  # fmt: skip
        """`folder`: becomes this user's alone; clocks lie beside it, for all to read. `faketime`: the library that
        gives each host a clock of its own, or "". `url`: of the store, where not all of its servers are to be named."""
        folder.mkdir()
        self.folder, self.store, self.hosts, self.faketime = folder, servers, hosts, faketime
        self.sites = {name: f"site-{name}" for name in SITE_HOSTS[:sites]}
        ports = [_block() for _ in range(3)]
        self.servers = [f"{self.address(name)}:{port}" for name, port in zip(CONTROL, ports, strict=True)]
        self.doors = {name: f"{self.address(name)}:{free_port()}" for name in GATEWAYS}
        self.consoles = {name: f"{self.address(name)}:{free_port()}" for name in CORES}
        self.balancer: str | None = None
        self.place = servers.place()
        listens = "127.0.0.1" if hosts is None else "0.0.0.0"
        for name in CONTROL:
            text = _config(url or servers.url(), self.servers, listens, [*self.sites.values()], self._rigs)
            self.file(name).write_text(text)
        shutil.copy(servers.password, folder / "db.password")
        (folder / "db.password").chmod(0o600)
        for name in self.hosts_named():
            self.set_clock(name, 0.0)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.parts: dict[tuple[str, str], subprocess.Popen[bytes]] = {}  # by host and part
        self.words: dict[tuple[str, str], tuple[str, ...]] = {}  # how each was started
        self.code = ROOT  # the source that what is started from now on runs
        self.troubled: dict[str, float] = {}  # host -> when a fault there ended last
        self.usual: dict[str, int] = {}  # host -> how many processes it has when it is well

    def address(self, name: str) -> str:
        return "127.0.0.1" if self.hosts is None else self.hosts.address(name)

    def file(self, name: str) -> Path:
        return self.folder / f"fleet-{name}.toml"

    def hosts_named(self) -> str:
        return CONTROL + "".join(self.sites) + "xyz"

    def set_clock(self, name: str, off_s: float) -> None:
        """A host's clock is `off_s` ahead from now on; its processes read the file anew within a second."""
        if self.faketime:
            new = self.folder.parent / f"clock-{name}.new"
            new.write_text(f"{off_s:+.0f}\n")
            new.chmod(0o644)
            new.rename(self.folder.parent / f"clock-{name}")

    def start(self, *, consoles: bool = True) -> None:
        self._give_keys()
        with ThreadPoolExecutor(2) as hands:
            for name, server in zip(CONTROL, self.servers, strict=True):
                self._run("link", name, "--server", server)
            for number, name in enumerate(self.sites):
                self._rack(name, number)
            until(lambda: all(self.pid(name, "link", 0) for name in CONTROL), UP_S)
            for name in CORES:
                self._run("core", name)
            for name, door in self.doors.items():
                self._run("gateway", name, "--gateway-port", door.rpartition(":")[2], "--reach", self.address(name))
            if consoles:
                for name, page in self.consoles.items():
                    self._run("console", name, "--console-port", page.rpartition(":")[2])
            until(lambda: "core" in self.store.leaders(), UP_S)
            list(hands.map(self._join, self.sites))
        if shutil.which("haproxy"):
            self._balance()

    def _give_keys(self) -> None:
        """What a person does at each machine, one after the other; in one process, for each takes a second to begin."""
        a = str(self.folder / "a")
        commands = [["machine", "make", "--config", str(self.file("a")), "--data-dir", a]]
        for name, parts in (("b", ("core", "gateway", "link", "console")), ("c", ("gateway", "link"))):
            keys = str(self.folder / f"{name}.keys")
            commands.append(["machine", "keys", *parts, "--data-dir", a, "--out", keys])
            commands.append(["machine", "enter", keys, "--data-dir", str(self.folder / name)])
        words = [sys.executable, "-c", _COMMANDS, json.dumps(commands)]
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=self._environment())
        if done.returncode:
            raise RuntimeError(f"the machines' keys: {done.stderr.strip()[-500:]}")

    def _balance(self) -> None:
        self.balancer = f"127.0.0.1:{free_port()}"
        text = (ROOT / "deploy" / "haproxy" / "gateways.cfg").read_text()
        text = re.sub(r"bind :\d+", f"bind {self.balancer}", text.replace("maxconn 20000", "maxconn 2000"))
        text = text[: text.index("    server a ")]
        text += "".join(f"    server {name} {door}\n" for name, door in self.doors.items())
        (self.folder / "haproxy.cfg").write_text(text)
        self.processes.append(subprocess.Popen(["haproxy", "-f", str(self.folder / "haproxy.cfg"), "-q"]))

    # --- looking -----------------------------------------------------------------

    def key(self, name: str) -> str:
        folder = self.folder / "a" / "run"
        return (folder / "demo_key" if name == "demo-key" else folder / "keys" / name).read_text().strip()

    def pid(self, name: str, part: str, at: int) -> int | None:
        """Of a process of a part that is well, and whose keeper lives."""
        try:
            state = json.loads((self.folder / name / "run" / f"state-{part}.json").read_text())
            one = state["parts"][at]
            os.kill(state["pid"], 0)
            os.kill(one["pid"], 0)
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return int(one["pid"]) if one["state"] == "ready" else None

    def target(self, what: str, dice: random.Random) -> tuple[str, int | None]:
        if what in ("core", "budgets", "standby"):
            row = self.store.leaders().get("budgets" if what == "budgets" else "core")
            leader = row.holder[1:2] if row is not None else ""
            others = [n for n in (CONTROL if what == "budgets" else CORES) if n != leader]
            name = leader if what != "standby" else dice.choice(others)
            part, at = ("link", 1) if what == "budgets" else ("core", 0)
            return f"{what} {name}", self.pid(name, part, at) if name else None
        name = dice.choice({"link": CONTROL, "console": CORES}.get(what, GATEWAYS))
        return f"{what} {name}", self.pid(name, what, 0)

    def is_well(self, name: str) -> bool:
        """All that belongs on a host runs and serves."""
        if name in "xyz":
            return self.store.is_well(name)
        parts = [part for host, part in self.parts if host == name]
        if name in self.sites:
            enough = self.hosts is None or len(self.hosts.processes(name)) >= self.usual.get(name, 1)
            return enough and all(self.parts[name, part].poll() is None for part in parts)
        wanted = [(part, at) for part in parts for at in range(2 if part in ("link", "console") else 1)]
        return all(self.pid(name, part, at) for part, at in wanted) and self.serves(name)

    def serves(self, name: str) -> bool:
        """Whether its gateway says that it does."""
        with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
            return bool(httpx.get(f"http://{self.doors[name]}/healthz", timeout=1.0).json()["ready"])
        return False

    def replicas(self) -> int:
        """Engines that every gateway can use."""
        counts = []
        for door in self.doors.values():
            try:
                known = httpx.get(f"http://{door}/healthz", timeout=1.0).json()["replicas"]
            except (httpx.HTTPError, ValueError, KeyError):
                return 0
            counts.append(sum(bool(one["usable"]) for one in known))
        return min(counts)

    # --- starting and ending -----------------------------------------------------

    def stop(self) -> None:
        for one in self.processes:
            one.terminate()
        for one in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(45)
            one.kill()

    def boot(self, host: str) -> None:
        """After its power went: everything that ran there begins anew."""
        if host in "xyz":
            self.store.start(host)
            return
        for where, part in list(self.words):
            if where == host:
                self.anew(host, part)

    def anew(self, host: str, part: str) -> None:
        """Start a part that was killed with its keeper."""
        old = self.parts[host, part]
        old.wait(10)
        self.processes.remove(old)
        self._spawn(host, *self.words[host, part])

    def again(self, host: str, part: str) -> None:
        """Stop a part as a service manager does, and start it with the code of now."""
        old = self.parts[host, part]
        old.terminate()
        old.wait(90)
        self.processes.remove(old)
        self._spawn(host, *self.words[host, part])

    def clock_of(self, host: str) -> dict[str, str]:
        """The environment of a process there."""
        if not self.faketime:
            return {}
        return clock_of(self.faketime, self.folder.parent, host)

    def _run(self, part: str, name: str, *more: str) -> None:
        words = ("run", part, "--config", str(self.file(name)), "--data-dir", str(self.folder / name), "--name")
        self._spawn(name, *words, f"m{name}", *more)

    def _spawn(self, host: str, *words: str) -> None:
        before = [] if self.hosts is None else self.hosts.within(host)
        env = self._environment() | self.clock_of(host)
        with (self.folder / "out.log").open("ab") as out:
            started = subprocess.Popen([*before, *TIELINE, *words], stdout=out, stderr=out, env=env)
        self.processes.append(started)
        self.parts[host, words[1]], self.words[host, words[1]] = started, words

    def _rack(self, host: str, number: int) -> None:
        """Fake rigs of one of the firmwares, served on the site's own loopback."""
        first = self._rigs(number)[0]
        file = self.folder / f"rigs-{host}.toml"
        file.write_text(
            f'[[rigs]]\nmodel = "Antminer S21"\nfirmware = "luxos"\nfirst = "{first}"\ncount = {RIGS_A_SITE}\n'
        )
        self._spawn(host, "sim", "rigs", str(file))

    def _rigs(self, number: int) -> list[str]:
        """Addresses: each site has loopback to itself where there are hosts."""
        block = 90 if self.hosts is not None else 90 + number
        return [f"127.0.{block}.{n + 1}" for n in range(RIGS_A_SITE)]

    def _join(self, host: str) -> None:
        """A site; again while nobody answers, for a core that leads is still beginning, or another joins just then."""
        site, deadline = self.sites[host], time.monotonic() + 60
        while True:
            try:
                token = self.say("site", "token", site, "--data-dir", str(self.folder / "a")).strip()
                self.say("join", token, "--data-dir", str(self.folder / site))
                break
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
        self._spawn(host, "run", "site", "--data-dir", str(self.folder / site))

    def _environment(self) -> dict[str, str]:
        """Of a process that runs this fleet's code, which may not be the installed one."""
        return {**os.environ, "PYTHONPATH": str(self.code / "src")}

    def say(self, *words: str) -> str:
        done = subprocess.run([*TIELINE, *words], check=False, capture_output=True, text=True, env=self._environment())
        if done.returncode:
            raise RuntimeError(f"tieline {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def clock_of(faketime: str, folder: Path, host: str) -> dict[str, str]:
    """The environment that gives a process a clock of its host's; time that passes stays this machine's."""
    return {
        "LD_PRELOAD": faketime, "FAKETIME_TIMESTAMP_FILE": str(folder / f"clock-{host}"),
        "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip


def until(condition: Callable[[], Any], patience_s: float) -> Any:
    """What a condition gives once it is true of something."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("the fleet did not come to that")
        time.sleep(0.1)
    return value


def signal_of(how: str) -> signal.Signals:
    return {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "roll": signal.SIGTERM}[how]


def _block() -> int:
    """A port whose neighbours 1,000 and 2,000 above are free by their nature: below what systems give out."""
    return random.SystemRandom().randrange(11_000, 29_000)


def _config(url: str, servers: list[str], host: str, ids: list[str], rigs: Callable[[int], list[str]]) -> str:
    named = ", ".join(f'"{server}"' for server in servers)
    sites = "".join(_SITE.format(id=site, lat=31 + at, rigs=rigs(at)) for at, site in enumerate(ids))
    tenants = "".join(
        _TENANT.format(id=name, limits=limits) for name, limits in (
            ("thin", f'budget_usd_per_month = "{THIN_USD}"'),
            ("few", f"requests_per_minute = {FEW_PER_MINUTE}\nconcurrent_requests = {FEW_AT_ONCE}"),
            ("once", 'budget_usd_per_month = "50"'),
        )
    )  # fmt: skip
    return f"""
[fleet]
name = "Three machines"
invented = true
model = "tieline-selftest"
[store]
url = "{url}"
password_file = "db.password"
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
[console]
auth = "accounts"
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
{tenants}
[[tenant]]
id = "ops"
name = "Operator"
[[tenant.key]]
id = "root-key"
role = "admin"
generate = true
{sites}
"""


_COMMANDS = """
import json, sys
from tieline.cli import main
for words in json.loads(sys.argv[1]):
    main(words, standalone_mode=False)
"""
_TENANT = """
[[tenant]]
id = "{id}"
name = "{id}"
{limits}
[[tenant.key]]
id = "{id}-key"
generate = true
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
rigs = [
  {{ model = "Antminer S21", mw = 5 }},
  {{ model = "Antminer S21", firmware = "luxos", hardware = "fake", addresses = {rigs} }},
]
gpus = [{{ node = "8xH100", count = 2, replicas_real = 1 }}]
"""
