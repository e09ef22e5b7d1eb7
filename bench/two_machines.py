"""Somebody with two machines follows docs/fleet.md, and then the plug of each is pulled: `make bench-two-machines`.

Each machine is a Linux of its own: process, mount and network namespaces, a root that is a copy on write of this one,
the addresses of the page. The blocks of the page are typed in a shell on each, word for word, and a clock runs. What
differs: `apt-get install` is not run (what it installs is here already; Debian would also start the database, which is
done in its place), `tieline` is the wheel of --wheel, pip runs on this machine's network, `scp` copies without a
network. Then clients stream through both balancers, and the plug of each machine is pulled in turn: every process of it
is killed at once, and its cable is gone. Counted is what clients saw, and held against the records.

"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx

from machine import processor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.cli.fleet_page import Typed, typed

ROOT: Final = Path(__file__).resolve().parents[1]
ADDRESSES: Final = {"a": "10.0.0.5", "b": "10.0.0.6", "site": "10.0.0.7", "database's machine": "10.0.0.4"}
MINUTES: Final = 15
COMMAND_S: Final = 240.0
PATIENCE_S: Final = 300.0
DEBIAN: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
WIRE: Final = "mnt/wire"
# What a shell on a machine has beside Debian's own. `scp` leaves files on the wire, whence they are brought.
PRELUDE: Final = r"""
set -e
cd /root
apt-get() {
  echo "apt-get $*: not run, it is here already"
  case "$*" in *postgresql*) pg_ctlcluster 15 main start;; esac
}
scp() { local to="${@: -1}"; local at="/mnt/wire/${to%%:*}${to#*:}"; mkdir -p "$at"; cp -p "${@:1:$#-1}" "$at"; }
"""


class MachineError(Exception):
    """A block of the page did not do what it says."""


class Wire:
    """The network: a bridge in a namespace of its own, in which clients are too."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "wire"
        self.files.mkdir()
        self.process = _asleep("--net")
        for words in (
            "link set lo up", "link add name wire type bridge", "addr add 10.0.0.1/24 dev wire", "link set wire up",
        ):  # fmt: skip
            self.ip(*words.split())

    def ip(self, *words: str) -> None:
        _do("nsenter", "-t", str(self.process.pid), "-n", "ip", *words)

    def within(self) -> list[str]:
        return ["nsenter", "-t", str(self.process.pid), "-n"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Machine:
    """One machine. `pull` and it has no power; `boot` and it is there again with its disk."""

    def __init__(self, name: str, folder: Path, wire: Wire, wheel: Path) -> None:
        self.name, self.wire, self.wheel = name, wire, wheel
        self.short = name[0]
        self.folder = folder / self.short
        self.root = self.folder / "root"
        for one in ("up", "work", "root"):
            (self.folder / one).mkdir(parents=True)
        self.log = self.folder / "log"
        self.counted = 0
        self.boot()

    def boot(self) -> None:
        mounts = (
            f"mount -t overlay overlay -o lowerdir=/,upperdir={self.folder}/up,workdir={self.folder}/work {self.root}"
            " && "
            f"cd {self.root} && mount -t proc proc proc && mount --rbind /dev dev && mkdir -p {WIRE} && "
            f"mount --bind {self.wire.files} {WIRE} && mount -t tmpfs tmpfs tmp && hostname {self.short} && "
            f"ip link set lo up && touch {WIRE}/up-{self.short} && exec sleep infinity"
        )
        (self.wire.files / f"up-{self.short}").unlink(missing_ok=True)
        self.process = _asleep("--mount", "--pid", "--net", "--uts", "--ipc", command=mounts)
        _until(lambda: (self.wire.files / f"up-{self.short}").exists(), f"{self.name} boots")
        # unshare waits for its child, which is the machine's first process.
        self.pid = int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])
        self.wire.ip("link", "add", f"v{self.short}", "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        self.wire.ip("link", "set", f"v{self.short}", "master", "wire")
        self.wire.ip("link", "set", f"v{self.short}", "up")
        inside = ["nsenter", "-t", str(self.pid), "-n", "ip"]
        _do(*inside, "addr", "add", f"{ADDRESSES[self.name]}/24", "dev", "eth0")
        _do(*inside, "link", "set", "eth0", "up")
        self.shell, self.outside = self._shell(net=True), None

    def _shell(self, *, net: bool) -> subprocess.Popen[str]:
        words = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", *(["-n"] if net else [])]
        env = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "XDG_CONFIG"))}
        env |= {
            "PATH": DEBIAN,
            "HOME": "/root",
            "PYTHONUNBUFFERED": "1",
            "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} /{WIRE}",
        }
        with self.log.open("ab") as out:
            words += ["chroot", str(self.root), "bash", "--norc"]
            shell = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=out, text=True, env=env)
        assert shell.stdin is not None
        shell.stdin.write(PRELUDE)
        return shell

    def type(self, body: str, timeout_s: float = COMMAND_S) -> str:
        """What it printed. Raises MachineError."""
        self.counted += 1
        began = self.log.stat().st_size
        shell = self.shell
        if "pip install" in body:  # over this machine's network
            shell = self.outside = self._shell(net=False)
        done = self.wire.files / f"done-{self.short}-{self.counted}"
        assert shell.stdin is not None
        shell.stdin.write(f"{body}\necho $? > /{WIRE}/{done.name}\n")
        shell.stdin.flush()
        if shell is self.outside:
            _until(lambda: done.exists() or shell.poll() is not None, "pip", timeout_s)
            exports = [line for line in body.splitlines() if line.startswith(("export", "mkdir"))]
            return self.type("\n".join(exports)) if done.exists() else self._failed(body, began)
        deadline = time.monotonic() + timeout_s
        while not done.exists():
            if shell.poll() is not None or time.monotonic() > deadline:
                return self._failed(body, began)
            time.sleep(0.02)
        return self.said(began)

    def said(self, since: int = 0) -> str:
        with self.log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def _failed(self, body: str, since: int) -> str:
        raise MachineError(f"on {self.name}:\n{body}\n--- it said\n{self.said(since)[-3000:]}")

    def bring(self) -> None:
        """What came over the wire."""
        here = self.wire.files / ADDRESSES[self.name]
        if here.exists():
            self.type(
                f"cd /{WIRE}/{ADDRESSES[self.name]}; find . -type f | while read -r file; do cp -p $file /$file; done; "
                f"cd - > /dev/null; rm -r /{WIRE}/{ADDRESSES[self.name]}"
            )

    def pull(self) -> None:
        """No power: its first process is killed, and with it all, and the cable goes with its namespace."""
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            self.wire.ip("link", "del", f"v{self.short}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
        for shell in filter(None, (self.shell, self.outside)):
            shell.kill()
            shell.wait()


class Walk:
    """The machines, and what is done with them."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.wire = Wire(folder)
        shutil.copy(wheel, self.wire.files)
        self.machines = {name: Machine(name, folder, self.wire, wheel) for name in ADDRESSES}
        self.began, self.commands = time.monotonic(), 0

    def play(self, blocks: list[Typed]) -> None:
        for block in blocks:
            for name in block.machines:
                machine = self.machines[name]
                machine.bring()
                began = time.monotonic()
                body = block.body
                if block.file:
                    body = f"cat > {block.file} <<'END_OF_FILE'\n{body}END_OF_FILE"
                if "gateways.cfg" in body and "haproxy" in body:
                    shutil.copy(ROOT / "deploy" / "haproxy" / "gateways.cfg", machine.wire.files)
                    body = f"cp /{WIRE}/gateways.cfg .\n{body}"
                machine.type(body)
                self.commands += len(block.lines) or 1
                first = block.file or " ".join(block.lines[0])[:60]
                print(f"{self.at():6.0f} s  {name:18} {time.monotonic() - began:5.1f} s  {first}", flush=True)

    def at(self) -> float:
        return time.monotonic() - self.began

    def close(self) -> None:
        for machine in dict.fromkeys(self.machines.values()):
            machine.pull()
        self.wire.close()


class Clients:
    """A process in the wire's namespace; each of its lines is one request as its client saw it."""

    def __init__(self, walk: Walk, key: str) -> None:
        self.out = walk.folder / "clients.jsonl"
        words = [*walk.wire.within(), sys.executable, __file__, "--client", str(self.out), "--key", key]
        self.process = subprocess.Popen(words)

    def seen(self) -> list[dict[str, Any]]:
        if not self.out.exists():
            return []
        return [json.loads(line) for line in self.out.read_text().splitlines() if line.endswith("}")]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


async def clients(out: Path, key: str) -> None:
    """Four, each asking one request after another, at the two balancers in turn and at the other where one fails."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    with out.open("a", buffering=1) as file:
        await asyncio.gather(*(_client(n, key, over, file) for n in range(4)))


async def _client(number: int, key: str, over: asyncio.Event, file: Any) -> None:
    body = {"model": "tieline-selftest", "stream": True, "max_tokens": 40, "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": f"Say something about {number}."}]}  # fmt: skip
    doors, turn = (ADDRESSES["a"], ADDRESSES["b"]), number
    headers = {"authorization": f"Bearer {key}"}
    timeout = httpx.Timeout(8.0, connect=1.0)
    while not over.is_set():
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as http:
            row: dict[str, Any] = {"began": time.time(), "tries": [], "id": "", "tokens": None}
            while row["tokens"] is None and time.time() - row["began"] < PATIENCE_S:
                turn += 1
                door = doors[turn % 2]
                asked = time.time()
                try:
                    url = f"http://{door}:8780/v1/chat/completions"
                    async with http.stream("POST", url, json=body, headers=headers) as answer:
                        if answer.status_code == 200:
                            row["tokens"] = await _tokens(answer)
                            row["id"] = answer.headers["x-request-id"]
                        why = "cut" if answer.status_code == 200 else f"{answer.status_code}"
                        if answer.status_code != 200:
                            why += f" {(await answer.aread())[:160].decode(errors='replace')}"
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    why = "not connected"
                except httpx.HTTPError as error:
                    why = f"cut: {type(error).__name__}"
                if row["tokens"] is None:
                    row["tries"].append((door, round(time.time() - asked, 2), why))
                    await asyncio.sleep(0.2)
            row["took"] = time.time() - row["began"]
            file.write(json.dumps(row) + "\n")
        await asyncio.sleep(0.05)


async def _tokens(answer: httpx.Response) -> int | None:
    """The count of an answer that came to its end; None: it did not."""
    tokens, ended = None, False
    async for line in answer.aiter_lines():
        if line == "data: [DONE]":
            ended = True
        elif line.startswith("data: {") and (usage := json.loads(line[6:]).get("usage")):
            tokens = int(usage["completion_tokens"])
    return tokens if ended else None


def pulled(walk: Walk, clients: Clients, name: str, after_s: float) -> None:
    """The plug of one machine, and what clients saw of both."""
    at, before = time.time(), len(clients.seen())
    walk.machines[name].pull()
    time.sleep(after_s)
    rows = clients.seen()[before:]
    other = ADDRESSES["b" if name == "a" else "a"]
    tries = [one for row in rows for one in row["tries"]]
    of_other = Counter(why[:110] for door, _, why in tries if door == other)
    of_own = Counter(why[:40] for door, _, why in tries if door != other)
    whole = [row for row in rows if row["tokens"] is not None]
    print(f"plug of {name} pulled: {len(whole)} answers whole in the {time.time() - at:.0f} s after, "
          f"{len(rows) - len(whole)} never answered, the slowest {max((row['took'] for row in rows), default=0):.1f} s "
          f"with its repeats; at the machine without power: {dict(of_own)}; at the other: "
          f"{dict(of_other) or 'nothing'}", flush=True)  # fmt: skip


JUDGE: Final = """
import json, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tieline import records
from tieline.records import Usage
from tieline.store import Store
from tieline.store.place import place_of
store = Store(place_of(Path("/var/lib/tieline")), records.encode, records.decode, read_only=True)
now = datetime.now(UTC)
since, until = now - timedelta(days=1), now + timedelta(days=1)
used = [(one.request_id, one.output_tokens) for one in store.each(Usage, since, until)]
store.verify()
json.dump({"used": used, "dense": store.last_seq() == sum(store.counts().values())}, open("/mnt/wire/judged", "w"))
"""


def judged(walk: Walk, rows: list[dict[str, Any]], on: str) -> int:
    """Violations: an answer that came whole has one record of its use, with its tokens."""
    machine = walk.machines[on]
    machine.type(f"/opt/tieline/bin/python - <<'END_OF_CODE'\n{JUDGE}\nEND_OF_CODE")
    told = json.loads((walk.wire.files / "judged").read_text())
    used: dict[str, list[int]] = {}
    for request, tokens in told["used"]:
        used.setdefault(request, []).append(tokens)
    wrong = [row for row in rows if row["tokens"] is not None and used.get(row["id"]) != [row["tokens"]]]
    for row in wrong[:5]:
        print(f"VIOLATION {row['id']}: {row['tokens']} tokens came, on record {used.get(row['id'])}")
    answered = sum(row["tokens"] is not None for row in rows)
    print(f"{answered} answers whole held against {len(told['used'])} records: {len(wrong)} violations, numbers "
          f"{'dense' if told['dense'] else 'NOT dense'}", flush=True)  # fmt: skip
    return len(wrong) + (not told["dense"]) + sum(row["tokens"] is None for row in rows)


def starts(block: Typed) -> str:
    """Of the block that starts a machine's parts, what is typed anew when its power is back."""
    lines = block.body.splitlines()
    return "\n".join(line for line in lines if line.startswith("tieline run"))


def again(walk: Walk, name: str) -> None:
    """Power is back: what a service manager would start."""
    machine = walk.machines[name]
    machine.boot()
    blocks = [one for one in typed("Two machines, step by step") if one.machines == (name,) and starts(one)]
    setup = "export PATH=/opt/tieline/bin:$PATH TIELINE_DATA_DIR=/var/lib/tieline\ncd /etc/tieline\n"
    began = time.time()
    machine.type(f"{setup}{starts(blocks[0])}\nhaproxy -D -f gateways.cfg")
    states = [
        machine.folder / "up" / "var" / "lib" / "tieline" / "run" / f"state-{line.split()[2]}.json"
        for line in starts(blocks[0]).splitlines()
    ]
    try:
        _until(lambda: all(one.stat().st_mtime > began for one in states), f"all parts of {name} begin", 120.0)
    except TimeoutError:
        print(machine.type("ps -eo pid,ppid,stat,etime,wchan:20,args | cut -c1-150"))
        raise


def ready(walk: Walk, name: str) -> float:
    """Seconds until its gateway says ready."""
    began = time.monotonic()
    ask = [*walk.wire.within(), "curl", "-s", "-m", "2", f"http://{ADDRESSES[name]}:8701/healthz"]

    def says() -> bool:
        return '"ready":true' in subprocess.run(ask, capture_output=True, text=True, check=False).stdout.replace(
            " ", ""
        )

    _until(says, f"the gateway of {name} is ready", 120.0)
    return time.monotonic() - began


def run(walk: Walk) -> int:
    walk.play(typed("Two machines, step by step"))
    took = walk.at()
    print(f"a second core, gateway and site after {took / 60:.1f} minutes of the machines' own time, {walk.commands} "
          f"commands typed (aim {MINUTES} minutes), load {os.getloadavg()[0]:.0f}", flush=True)  # fmt: skip
    walk.machines["a"].type("cp $TIELINE_DATA_DIR/run/demo_key /mnt/wire/key")
    key = (walk.wire.files / "key").read_text().strip()
    clients = Clients(walk, key)
    try:
        for name in "ab":
            ready(walk, name)
        time.sleep(10.0)
        print(f"before: {len(clients.seen())} answers in 10 s", flush=True)
        _plugs(walk, clients)
    finally:
        clients.stop()
    rows = clients.seen()
    time.sleep(15.0)  # what gateways have left is pushed within seconds
    return int(judged(walk, rows, "a") > 0 or took > 60 * MINUTES)


def _plugs(walk: Walk, clients: Clients) -> None:
    pulled(walk, clients, "a", 40.0)
    again(walk, "a")
    print(f"power of a is back: its gateway is ready after {ready(walk, 'a'):.1f} s", flush=True)
    time.sleep(10.0)
    pulled(walk, clients, "b", 40.0)
    again(walk, "b")
    print(f"power of b is back: its gateway is ready after {ready(walk, 'b'):.1f} s", flush=True)
    time.sleep(10.0)


def _asleep(*namespaces: str, command: str = "exec sleep infinity") -> subprocess.Popen[bytes]:
    fork = ["--fork", "--kill-child"] if "--pid" in namespaces else []
    process = subprocess.Popen(["unshare", *namespaces, *fork, "bash", "-ec", command], stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    return process


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


def _until(holds: Any, what: str, patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"within {patience_s:.0f} s it was not so: {what}")
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="default: built from what is here")
    parser.add_argument("--keep", type=Path, help="copy the machines' logs there")
    parser.add_argument("--client", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--key", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client:
        asyncio.run(clients(asked.client, asked.key))
        return 0
    print(f"on {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}", flush=True)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tl2m", dir=memory, ignore_cleanup_errors=True) as text:
        folder, wheel = Path(text), asked.wheel
        if wheel is None:
            _do(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist"))
            (wheel,) = (folder / "dist").glob("*.whl")
        walk = Walk(folder, wheel)
        try:
            return run(walk)
        except (MachineError, TimeoutError) as error:
            print(error)
            return 1
        finally:
            walk.close()
            if asked.keep:
                asked.keep.mkdir(parents=True, exist_ok=True)
                for machine in set(walk.machines.values()):
                    shutil.copy(machine.log, asked.keep / machine.short)
                if (folder / "clients.jsonl").exists():
                    shutil.copy(folder / "clients.jsonl", asked.keep)


if __name__ == "__main__":
    sys.exit(main())
