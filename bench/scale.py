"""What the control plane costs for a thousand sites.

    python bench/scale.py [--sites 1000] [--seconds 630] [--usage 1000] [--gateways 20] [--month]

Starts `tieline up` with the invented fleet's forty sites copied to so many in eight regions (no invented past),
looks at its processes for two intervals, and sends the store the usage of so many gateways, so many requests a second,
over the link, as gateways do. Printed beside what they may be: the CPU and memory of core, link and console; how long
after an interval began its plans stood; how old a site's record was in the store and on the console; how long the
console took to answer with all sites; how much the store grew by. `--month` writes the fleet's invented month into a
store of its own first and times `tieline update` on it: for 1,000 sites some five million records, 15 minutes.

Everything runs on this machine, the agents of all sites (modelled) in one process beside; engines are none, so no token
is served. Writes bench/out/scale-SITES.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from edge_plane import cpu_s, family, memory_mb
from machine import processor
from tieline import config as configuration
from tieline import records
from tieline.app.runtime import Runtime
from tieline.app.up import read_state
from tieline.clock import wall_now
from tieline.link.push import push
from tieline.link.transport import LinkDownError, NatsLink
from tieline.records import Action, Plan, Usage
from tieline.replay.history import BEGUN, BY, FINISHED, Past, write_history
from tieline.store import Store

OUT = Path(__file__).parent / "out"
DEMO = Path(configuration.__file__).parents[1] / "app" / "demo" / "fleet.toml"


def fleet_of(sites: int) -> str:
    """The invented fleet's file with so many sites in eight regions: each area twice, each site again and again, its
    megawatts shared among its copies. Engines and fakes on sockets are left out."""
    text = DEMO.read_text(encoding="utf-8")
    head, *blocks = re.split(r"(?m)^(?=\[\[site\]\])", text)
    areas = re.split(r"(?m)^(?=\[area\.)", head)
    head = areas[0]
    for area in areas[1:]:
        twin = re.sub(r"^\[area\.(\w+)\]", r"[area.\1_b]", area)
        head += area + re.sub(r'region = "(\w+)"', r'region = "\1_b"', twin)
    reach = re.search(r"(?ms)^\[dispatch\.reach\].*?\n(?=\n|\[)", head)
    assert reach is not None
    rows = [line for line in reach[0].splitlines()[1:] if "=" in line]
    head = head.replace(reach[0], reach[0] + "".join(re.sub(r"(\w+)( = |\")", r"\1_b\2", row) + "\n" for row in rows))
    blocks = [re.sub(r", replicas_real = \d+", "", block) for block in blocks]
    blocks = [block for block in blocks if "addresses" not in block]
    copies = -(-sites // len(blocks))

    def copy(block: str, n: int) -> str:
        less = re.sub(
            r"(\bmw|interconnect_mw) = ([0-9.]+)", lambda m: f"{m[1]} = {max(0.05, float(m[2]) / copies):.3f}", block
        )
        less = re.sub(r'(?m)^id = "([^"]+)"', rf'id = "\1-{n:03d}"', less)
        less = re.sub(r'(?m)^name = "([^"]+)"', rf'name = "\1 {n}"', less)
        return re.sub(r'(?m)^area = "(\w+)"', r'area = "\1_b"', less) if n % 2 else less

    made = [copy(block, n) for n in range(copies) for block in blocks][:sites]
    return head + "".join(made)


READY_S = 300.0
LOOK_S = 0.5
BATCH = 50
# What is asked of a thousand sites; for more the same is printed beside.
MOST = {
    "core_cores": 1.0, "link_cores": 1.0, "core_mb": 2000.0, "link_mb": 2000.0, "console_mb": 2000.0, "plans_s": 20.0,
    "console_lag_p99_s": 5.0, "overview_p50_s": 1.0, "month_s": 60.0,
}  # fmt: skip


def without_past(data: Path) -> None:
    """Mark a new store as one whose past is written, so that none is."""
    data.mkdir(parents=True)
    now = wall_now()
    store = Store(data / "store.db", records.encode, records.decode)
    for what in (BEGUN, FINISHED):
        store.append(
            [Action(at=now, known_at=now, source=BY, kind="simulated", by=BY, what=what, target=str(Past.before(now)))]
        )
    store.close()


@contextlib.contextmanager
def platform(folder: Path, text: str) -> Iterator[Path]:
    """`tieline up` with this file until left; its data folder. Raises SystemExit: it did not come up."""
    data, fleet, said = folder / "data", folder / "fleet.toml", folder / "said"
    fleet.write_text(text, encoding="utf-8")
    without_past(data)
    command = [
        sys.executable, "-m", "tieline", "up", "--config", str(fleet), "--data-dir", str(data), "--console-port", "0",
        "--gateway-port", "0", "--feeds", "synthetic",
    ]  # fmt: skip
    with said.open("w") as out:
        running = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + READY_S
        while not read_state(data).ready:
            if running.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the platform did not come up: {said.read_text()[-2000:]}")
            time.sleep(0.5)
        yield data
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(60)


class Tenants:
    """The usage of many gateways, pushed over the link as they push it."""

    def __init__(self, data: Path, gateways: int, per_s: float) -> None:
        self.runtime = Runtime.load(data / "run" / "runtime.json")
        self.gateways, self.per_s, self.stored, self.refused = gateways, per_s, 0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Tenants:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    async def _run(self) -> None:
        await asyncio.gather(*(self._gateway(n) for n in range(self.gateways)))

    async def _gateway(self, number: int) -> None:
        link = None
        while link is None:
            with contextlib.suppress(LinkDownError):  # a busy machine; it is dialled again
                link = await NatsLink.dial(self.runtime.link_user("gateway"))
        pause, made = BATCH * self.gateways / self.per_s, 0
        await asyncio.sleep(pause * number / self.gateways)
        due = time.monotonic()
        while not self._over.is_set():
            items = [self._usage(number, made + n) for n in range(BATCH)]
            made += BATCH
            try:
                ack = await push(link, "gateway", records.encode_batch(items))
                self.stored, self.refused = self.stored + ack.stored, self.refused + (ack.trouble is not None)
            except LinkDownError:
                self.refused += 1
            due = max(due + pause, time.monotonic() - 5.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await link.close()

    def _usage(self, gateway: int, n: int) -> Usage:
        now = wall_now()
        return Usage(
            at=now, known_at=now, source=f"gateway:{gateway}", kind="measured", request_id=f"{gateway}-{n}",
            tenant="demo", project="default", key_id="demo-key", model="tieline-selftest", endpoint="chat",
            status=200, prompt_tokens=200 + n % 300, output_tokens=100 + n % 200, cost_nano_usd=100_000 + n,
            streamed=True, finish="stop", first_token_ms=80.0, total_ms=900.0,
        )  # fmt: skip


class Look:
    """What is seen of a running platform."""

    def __init__(self, data: Path) -> None:
        self.data, self.state = data, read_state(data)
        self.pids = self._processes()
        self.restarts: dict[str, int] = dict.fromkeys(self.pids, 0)
        self.store = Store(data / "store.db", records.encode, records.decode, read_only=True)
        self.most_mb: dict[str, float] = dict.fromkeys(self.pids, 0.0)
        self.stored_s: list[float] = []
        self.shown_s: list[float] = []
        self.answers_s: list[float] = []
        self.answer_bytes = 0
        self.plans: dict[datetime, list[float]] = {}
        self.waiting: deque[tuple[int, datetime]] = deque()

    def for_seconds(self, seconds: float) -> dict[str, Any]:
        after, since, began = self.store.last_seq(), wall_now(), time.monotonic()
        self._since = since
        used = {name: cpu_s(pids) for name, pids in self.pids.items()}
        self.cpu_s = dict(used)
        grown = self._bytes()
        with httpx.Client(base_url=self.state.console_url or "", timeout=30.0) as client:
            while time.monotonic() - began < seconds:
                after = self._stored(after)
                self._shown(client)
                self._weigh(used)
                time.sleep(LOOK_S)
        took = time.monotonic() - began
        self.store.close()
        cores = {name: (self.cpu_s[name] - used[name]) / took for name in self.pids}
        return self._figures(took, cores, self._bytes() - grown)

    def _processes(self) -> dict[str, list[int]]:
        return {part.name: family(part.pid) for part in read_state(self.data).parts if part.pid is not None}

    def _weigh(self, used: dict[str, float]) -> None:
        """How much each part has used so far, and its memory; one that was started again goes on from there."""
        for name, pids in self.pids.items():
            try:
                self.cpu_s[name] = cpu_s(pids)
                self.most_mb[name] = max(self.most_mb[name], memory_mb(pids))
            except OSError:
                self.restarts[name] += 1
                now = self._processes()
                if name in now:
                    used[name] -= self.cpu_s[name]
                    self.pids = now
                return

    def _bytes(self) -> int:
        return sum(one.stat().st_size for one in self.data.glob("store.db*"))

    def _stored(self, after: int) -> int:
        while True:
            page = self.store.follow(after)
            now = wall_now()
            for stored in page.items:
                record = stored.record
                if not isinstance(record, records.Record) or record.known_at < self._since:
                    continue
                if record.source.startswith("site:"):
                    self.stored_s.append((now - record.known_at).total_seconds())
                    self.waiting.append((stored.seq, record.known_at))
                if isinstance(record, Plan) and record.at >= self._since:
                    self.plans.setdefault(record.at, []).append((now - record.at).total_seconds())
            if page.last == after:
                return after
            after = page.last

    def _shown(self, client: httpx.Client) -> None:
        began = time.monotonic()
        try:
            answer = client.get("/api/overview")
        except httpx.HTTPError:
            self.answers_s.append(30.0)
            return
        self.answers_s.append(time.monotonic() - began)
        self.answer_bytes = len(answer.content)
        seq, now = answer.json()["seq"], wall_now()
        while self.waiting and self.waiting[0][0] <= seq:
            self.shown_s.append((now - self.waiting.popleft()[1]).total_seconds())

    def _figures(self, took: float, cores: dict[str, float], grown: int) -> dict[str, Any]:
        plans = [second for seconds in self.plans.values() for second in seconds]
        return {
            "seconds": took,
            **{f"{name}_cores": cores[name] for name in ("core", "link", "console", "sites") if name in cores},
            **{f"{name}_mb": self.most_mb[name] for name in ("core", "link", "console") if name in cores},
            "restarts": sum(self.restarts.values()),
            "intervals": len(self.plans),
            "plans": len(plans),
            "plans_s": max(plans, default=None),
            "site_records": len(self.stored_s),
            "store_lag_p99_s": share(self.stored_s, 0.99),
            "console_lag_p99_s": share(self.shown_s, 0.99),
            "overview_p50_s": share(self.answers_s, 0.5),
            "overview_p99_s": share(self.answers_s, 0.99),
            "overview_kb": self.answer_bytes / 1000,
            "grown_mb": grown / 1e6,
        }


def share(values: list[float], part: float) -> float | None:
    return sorted(values)[int(part * (len(values) - 1))] if values else None


def month_of(folder: Path, text: str) -> dict[str, Any]:
    """The fleet's invented month, written, and how long `tieline update` takes on it."""
    data = folder / "month"
    data.mkdir()
    fleet = folder / "month.toml"
    fleet.write_text(text, encoding="utf-8")
    now = wall_now() - timedelta(minutes=5)
    store = Store(data / "store.db", records.encode, records.decode)
    began = time.monotonic()
    asyncio.run(write_history(store, configuration.load(str(fleet)), now))
    wrote, count = time.monotonic() - began, store.last_seq()
    store.close()
    began = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "tieline",
        "update",
        f"{now:%Y-%m}",
        "--data-dir",
        str(data),
        "--config",
        str(fleet),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tieline update: {done.stderr or done.stdout}")
    return {"month_records": count, "month_written_s": wrote, "month_s": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=630.0)
    parser.add_argument("--usage", type=float, default=1000.0, help="requests a second")
    parser.add_argument("--gateways", type=int, default=20)
    parser.add_argument("--month", action="store_true", help="also a month's update")
    options = parser.parse_args()
    text = fleet_of(options.sites)
    with tempfile.TemporaryDirectory(prefix="tieline-scale-") as place:
        folder = Path(place)
        result = month_of(folder, text) if options.month else {}
        with platform(folder, text) as data:
            with Tenants(data, options.gateways, options.usage) as tenants:
                result |= Look(data).for_seconds(options.seconds)
            result |= {"usage_stored_per_s": tenants.stored / result["seconds"], "usage_refusals": tenants.refused}
    result |= {
        "sites": options.sites,
        "cores_here": os.cpu_count(),
        "load": os.getloadavg()[0],
        "processor": processor(),
    }
    OUT.mkdir(exist_ok=True)
    (OUT / f"scale-{options.sites}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, value in result.items():
        shown = "not seen" if value is None else f"{value:,.3f}" if isinstance(value, float) else str(value)
        print(f"  {name:20} {shown:>12}" + (f"   at most {MOST[name]:g}" if name in MOST else ""))


if __name__ == "__main__":
    main()
