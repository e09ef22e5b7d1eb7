"""What the control plane costs for a thousand sites.

    python bench/scale.py [--sites 1000] [--seconds 630] [--usage 1000] [--gateways 20] [--file] [--month SITES]

Starts `tieline up` with the invented fleet's forty sites copied to so many in eight regions (no invented past), its
records on a PostgreSQL of its own (`--file`: in a file, then the store's part is the core's), looks at its processes
for two intervals, and sends the store the usage of so many gateways, so many requests a second, over the link, as
gateways do. Printed beside what they may be: the CPU and memory of core, link, store and console; how long after an
interval began its plans stood, decided with the look-ahead that the configuration says; how old a site's record was in
the store and on the console; how long the console took to answer with all sites, and a browser until the first numbers
stood (Chromium, where there is one); by how much the store grew. `--month SITES` does nothing of this: it writes the
invented month of so many sites into a store of its own and times `tieline update` on it.

Everything runs on this machine, the agents of all sites (modelled by group) in one process beside; engines are none, so
no token is served. Writes bench/out/scale-SITES.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import shutil
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.store.server import running

from edge_plane import TICKS, cpu_s, family, memory_mb
from machine import processor
from tieline import config as configuration
from tieline import records
from tieline.app.runtime import Runtime
from tieline.app.up import read_state
from tieline.clock import wall_now
from tieline.dispatch.settings import settings_of
from tieline.link.push import push
from tieline.link.transport import LinkDownError, NatsLink
from tieline.records import Action, Plan, Sample, Usage
from tieline.replay.history import BEGUN, BY, FINISHED, Past, write_history
from tieline.store import Store
from tieline.store.place import StorePlace
from tieline.store.place import name as name_place
from tieline.store.rolled import growth

OUT = Path(__file__).parent / "out"
growth.WHOLE = sys.maxsize  # every record that came, not a sample of them
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


READY_S = 900.0
LOOK_S = 0.5
BATCH = 50
# What is asked of a thousand sites; for more the same is printed beside.
MOST = {
    "core_cores": 1.0, "link_cores": 1.0, "store_cores": 1.0, "core_mb": 2000.0, "link_mb": 2000.0, "store_mb": 2000.0,
    "console_mb": 2000.0, "plans_s": 20.0, "console_lag_p99_s": 5.0, "overview_p50_s": 1.0, "screen_p50_s": 1.0,
    "month_s": 60.0,
}  # fmt: skip


def without_past(place: StorePlace) -> None:
    """Mark a new store as one whose past is written, so that none is."""
    place.folder.mkdir(parents=True, mode=0o700)
    now = wall_now()
    store = Store(place, records.encode, records.decode)
    name_place(place)
    for what in (BEGUN, FINISHED):
        store.append(
            [Action(at=now, known_at=now, source=BY, kind="simulated", by=BY, what=what, target=str(Past.before(now)))]
        )
    store.close()


def memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextlib.contextmanager
def platform(folder: Path, text: str, url: str | None) -> Iterator[Path]:
    """`tieline up` with this file until left; its data folder. Raises SystemExit: it did not come up."""
    data, fleet, said = folder / "data", folder / "fleet.toml", folder / "said"
    fleet.write_text(text if url is None else f'{text}\n[store]\nurl = "{url}"\n', encoding="utf-8")
    without_past(StorePlace(data, url))
    if url is not None:
        # A thousand sites write their outboxes to a thousand disks; here they would wait for the database's one.
        (data / "sites").symlink_to(tempfile.mkdtemp(prefix="tieline-scale-sites-", dir=memory()))
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
        if url is not None:
            shutil.rmtree((data / "sites").resolve())


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
            due = max(due + pause, time.monotonic() - 30.0)
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


class ServerUse:
    """What the database's processes use. Those that ended are counted by the one that started them."""

    def __init__(self, folder: Path) -> None:
        self.pid = int((folder / "postmaster.pid").read_text().splitlines()[0])
        self.most_mb = 0.0

    def cpu_s(self) -> float:
        ended = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        used = (int(ended[13]) + int(ended[14])) / TICKS
        for pid in family(self.pid):
            with contextlib.suppress(OSError):  # ended meanwhile
                used += cpu_s([pid])
        return used

    def weigh(self) -> None:
        """Memory, each page counted once however many share it."""
        total = 0
        for pid in family(self.pid):
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        self.most_mb = max(self.most_mb, total / 1024)


# Says when the first number stands: from the request on, by the browser's own clock.
NUMBERS = """new MutationObserver((_, watch) => {
  const value = document.querySelector(".tile .value");
  if (value && /[0-9]/.test(value.textContent)) { window.numbers ??= performance.now(); watch.disconnect(); }
}).observe(document, { subtree: true, childList: true, characterData: true });"""


def first_screen(url: str, times: int = 7) -> dict[str, Any]:
    """Seconds until a browser shows the first page's numbers, its cache empty; nothing where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return {}
    from playwright.sync_api import sync_playwright

    took = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(times):
            page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
            page.add_init_script(NUMBERS)
            page.goto(url)
            page.wait_for_function("() => window.numbers", timeout=30_000)
            took.append(page.evaluate("window.numbers") / 1000)
            page.context.close()
        browser.close()
    return {"screen_p50_s": share(took, 0.5), "screen_most_s": max(took)}


class Look:
    """What is seen of a running platform."""

    def __init__(self, data: Path, place: StorePlace, server: ServerUse | None, sites: int) -> None:
        self.data, self.state, self.server, self.sites = data, read_state(data), server, sites
        self.pids = self._processes()
        self.restarts: dict[str, int] = dict.fromkeys(self.pids, 0)
        self.store = Store(place, records.encode, records.decode, read_only=True)
        self.most_mb: dict[str, float] = dict.fromkeys(self.pids, 0.0)
        self.stored_s: list[float] = []
        self.shown_s: list[float] = []
        self.answers_s: list[float] = []
        self.answer_bytes = 0
        self.plans: dict[datetime, list[float]] = {}
        self.turns: set[datetime] = set()  # intervals of which samples came
        self.waiting: deque[tuple[int, datetime]] = deque()

    def for_seconds(self, seconds: float) -> dict[str, Any]:
        first = after = self.store.last_seq()
        began, self._since = time.monotonic(), wall_now()
        used = {name: cpu_s(pids) for name, pids in self.pids.items()}
        self.cpu_s = dict(used)
        served = None if self.server is None else self.server.cpu_s()
        with httpx.Client(base_url=self.state.console_url or "", timeout=30.0) as client:
            while time.monotonic() - began < seconds:
                after = self._stored(after)
                self._shown(client)
                self._weigh(used)
                time.sleep(LOOK_S)
        took = time.monotonic() - began
        cores = {name: (self.cpu_s[name] - used[name]) / took for name in self.pids}
        figures = self._figures(took, cores)
        if self.server is not None and served is not None:
            figures |= {"store_cores": (self.server.cpu_s() - served) / took, "store_mb": self.server.most_mb}
        figures |= first_screen(self.state.console_url or "") | self._growth(first, took)
        self.store.close()
        return figures

    def _processes(self) -> dict[str, list[int]]:
        return {part.name: family(part.pid) for part in read_state(self.data).parts if part.pid is not None}

    def _weigh(self, used: dict[str, float]) -> None:
        """How much each part has used so far, and its memory; one that was started again goes on from there."""
        if self.server is not None:
            self.server.weigh()
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

    def _growth(self, first: int, took: float) -> dict[str, Any]:
        """By the records that came meanwhile: bytes of a site and day by the intervals whose samples were seen, as kept
        and on disk with indexes, and those of a request."""
        grown = growth.growth_over(self.store, first + 1, timedelta(seconds=took))
        if grown is None:
            return {}
        day, spans = timedelta(days=1) / timedelta(seconds=took), max(1, len(self.turns))
        on_disk = grown.disk_bytes_a_day / sum(one.bytes_a_day for one in grown.streams)
        own = sum(one.bytes_a_day for one in grown.streams if one.stream != "Usage") / day / spans / self.sites * 288
        used = next((one.bytes_a_day / one.records_a_day for one in grown.streams if one.stream == "Usage"), 0.0)
        return {
            "site_day_mb": own / 1e6, "site_day_disk_mb": own * on_disk / 1e6, "request_bytes": used,
            "request_disk_bytes": used * on_disk, "disk_mb": grown.disk_bytes / 1e6,
        }  # fmt: skip

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
                if isinstance(record, Sample):
                    self.turns.add(record.at)
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

    def _figures(self, took: float, cores: dict[str, float]) -> dict[str, Any]:
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
    Runtime(  # for commands that read this folder: whose fleet it is
        version="", data_dir=str(data), config=str(fleet), speed=1.0, anchor_wall=now, anchor_world=now,
        link_url="", link_secret="", gateway_host="127.0.0.1", gateway_port=0,
        console_host="127.0.0.1", console_port=0,
    ).save()  # fmt: skip
    result: dict[str, Any] = {"month_records": count, "month_written_s": wrote}
    # Once with the books read from the first record on, and once as on a platform that runs, which keeps them up.
    for named in ("month_first", "month"):
        began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "tieline", "update", f"{now:%Y-%m}", "--data-dir", str(data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"tieline update: {done.stderr or done.stdout}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        result |= {f"{named}_s": time.monotonic() - began, f"{named}_cpu_s": cpu, "month_mb": after.ru_maxrss / 1024}
    return result


def fleet_facts(text: str, folder: Path) -> dict[str, Any]:
    """What the fleet's file says of itself."""
    path = folder / "facts.toml"
    path.write_text(text, encoding="utf-8")
    config = configuration.load(str(path))
    sites = config.fleet.sites
    return {
        "sites": len(sites),
        "regions": len({one.region for one in sites}),
        "groups": sum(len(one.units) for one in sites),
        "rigs_modelled": sum(group.rigs for one in sites for group in one.rig_groups),
        "look_ahead_h": settings_of(config).horizon_s / 3600,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=630.0)
    parser.add_argument("--usage", type=float, default=1000.0, help="requests a second")
    parser.add_argument("--gateways", type=int, default=20)
    parser.add_argument("--file", action="store_true", help="keep the records in a file, not on PostgreSQL")
    parser.add_argument("--month", type=int, metavar="SITES", help="only a month's update, of so many sites")
    options = parser.parse_args()
    sites = options.month or options.sites
    text = fleet_of(sites)
    with tempfile.TemporaryDirectory(prefix="tieline-scale-") as place, contextlib.ExitStack() as until:
        folder = Path(place)
        result = fleet_facts(text, folder)
        if options.month:
            result |= month_of(folder, text)
        else:
            server = None if options.file else until.enter_context(running(folder / "pg"))
            url = None if server is None else server.url()
            with platform(folder, text, url) as data:
                use = None if server is None else ServerUse(server.folder)
                with Tenants(data, options.gateways, options.usage) as tenants:
                    result |= Look(data, StorePlace(data, url), use, sites).for_seconds(options.seconds)
                    result |= {"usage_stored_per_s": tenants.stored / result["seconds"]}
                result |= {"usage_refusals": tenants.refused}
    result |= {
        "store": "file" if options.file or options.month else "PostgreSQL",
        "cores_here": os.cpu_count(),
        "memory_gb_here": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        "load": os.getloadavg()[0],
        "processor": processor(),
    }
    OUT.mkdir(exist_ok=True)
    name_ = f"scale-month-{sites}" if options.month else f"scale-{sites}"
    (OUT / f"{name_}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, value in result.items():
        shown = "not seen" if value is None else f"{value:,.3f}" if isinstance(value, float) else str(value)
        print(f"  {name:20} {shown:>12}" + (f"   at most {MOST[name]:g}" if name in MOST else ""))


if __name__ == "__main__":
    main()
