"""What people wait for: a tenant's page over a month of many requests, the table of rigs, a first file, first words,
and to be called.

    ROWS=1000000 make bench-people

Prints one line each with what the page or command may take. The portal's sums are timed as the console holds them: a
month's usage of 1,000 tenants, folded once, then asked for tenant by tenant.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))
from tests.serving import running

import alerts
from console import world
from tieline import config, records
from tieline.clock import SimClock
from tieline.console import page
from tieline.console.app import make_app
from tieline.console.rooms.rigs import COLUMNS, table
from tieline.console.rooms.tenants.spend import SpendFold
from tieline.edge.rigs.history import HEARD, RawHistory, RawRow
from tieline.records import Sample, Usage
from tieline.store import Store

ROWS, TENANTS, RIGS, RECORDS = int(os.environ.get("ROWS", "1000000")), 1_000, 10_000, 200_000
CHROMIUM = os.environ.get("TIELINE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu"]
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def said(what: str, took_s: float, most_s: float, more: str = "") -> None:
    print(f"{what:58} {1000 * took_s:9.1f} ms   may take {1000 * most_s:7.0f} ms{more}", flush=True)


def portal() -> None:
    """A month of ROWS requests of 1,000 tenants with two keys and two models each."""
    chance, month = random.Random(7), NOW.replace(day=1, hour=0)
    one = Usage(
        at=NOW, known_at=NOW, source="gateway", kind="measured", request_id="r", tenant="t", project="web", key_id="k",
        model="m", endpoint="/v1/chat/completions", status=200, prompt_tokens=900, output_tokens=300,
        cost_nano_usd=123_456, streamed=True, finish="stop", hops=(),
    )  # fmt: skip
    fold, began = SpendFold(f"{NOW:%Y-%m}"), time.perf_counter()
    for n in range(ROWS):
        tenant = f"t{n % TENANTS:04}"
        at = month + timedelta(seconds=chance.randrange(19 * 86_400))
        names = {"tenant": tenant, "key_id": f"{tenant}-{n % 2}", "model": ("a", "b")[n // 7 % 2]}
        fold.take(msgspec.structs.replace(one, at=at, known_at=at, request_id=f"r{n}", **names))
    print(f"{ROWS:,} requests of {TENANTS:,} tenants folded in {time.perf_counter() - began:.1f} s")
    for what, ask in (("usage", lambda t: fold.view(t, money=True)), ("invoice", fold.invoice)):
        times = []
        for tenant in chance.sample(range(TENANTS), 20):
            began = time.perf_counter()
            msgspec.json.encode(ask(f"t{tenant:04}"))
            times.append(time.perf_counter() - began)
        said(f"a tenant's {what}, median of 20", statistics.median(times), 0.2, f", slowest {1000 * max(times):.1f} ms")


def rigs() -> None:
    """Ten minutes of sweeps of 10,000 rigs in one site's folder."""
    site = next(s for s in config.demo().fleet.sites if s.rig_groups)
    group = msgspec.structs.replace(site.rig_groups[0], hardware="luxos", rigs=RIGS, addresses=())
    site = msgspec.structs.replace(site, rig_groups=(group,))
    with tempfile.TemporaryDirectory() as folder:

        async def write() -> None:
            history = RawHistory(Path(folder) / "sites" / site.id / "raw" / group.id)
            keys = [f"10.0.{n // 256}.{n % 256}" for n in range(RIGS)]
            for n in range(60):
                rows = [RawRow(key, 3500.0, 200.0, 60.0, HEARD) for key in keys]
                history.write(NOW - timedelta(seconds=10 * (60 - n)), rows)
            await history.close()

        asyncio.run(write())
        began, before = time.perf_counter(), time.process_time()
        body = msgspec.json.encode(table((site,), Path(folder), NOW))
        more = f", {time.process_time() - before:.1f} s of CPU, {len(body) / 1e6:.1f} MB"
        said(f"the table of {RIGS:,} rigs", time.perf_counter() - began, 1.0, more)


def first_file() -> None:
    """`tieline init` of 10,000 rows."""
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "rigs.csv"
        lines = [f"10.0.{n // 250}.{n % 250 + 1},Antminer S21" for n in range(RIGS)]
        sheet.write_text("address,model\n" + "\n".join(lines) + "\n")
        words = ["init", folder, "--rigs", str(sheet), "--interconnect-mw", "50", "--usd-per-mwh", "48"]
        began, before = time.perf_counter(), children_cpu_s()
        subprocess.run([sys.executable, "-m", "tieline", *words], check=True, capture_output=True)
        used = children_cpu_s() - before
        said(f"tieline init of {RIGS:,} rows", time.perf_counter() - began, 5.0, f", {used:.1f} s of CPU")


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_words() -> None:
    before = children_cpu_s()
    subprocess.run([sys.executable, "-m", "tieline", "--help"], check=True, capture_output=True)
    said("tieline --help, CPU", children_cpu_s() - before, 0.2)
    page_weight()


def page_weight() -> None:
    """What the overview loads before its charts: the page, its style, and every module that its first one names."""
    wanted = {path.name for name in ("style-*.css", "boot-*.js", "main-*.js") for path in page.STATIC.glob(name)}
    known: set[str] = set()
    while new := wanted - known:
        known |= new
        for name in new:
            text = (page.STATIC / name).read_text(encoding="utf-8")
            wanted |= set(re.findall(r'(?:from|import)"/static/([^"]+)"', text))
    size = sum((page.STATIC / f"{name}.gz").stat().st_size for name in known)
    print(f"the page before charts: {size / 1000:.1f} kB gzipped in {len(known)} files, may be 60")


def back() -> None:
    """A console's start over RECORDS records until all of it is read, as after its restart; and the first numbers in a
    browser, from the request on."""
    fleet, clock = config.demo().fleet, SimClock(world.NOW)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        store = Store(path, records.encode, records.decode)
        world.fill(store, fleet, hours=36.0)
        have = store.last_seq()
        unit = fleet.sites[0].rig_groups[0]
        while have < RECORDS:
            at = world.NOW - timedelta(seconds=RECORDS - have)
            rows = [
                Sample(
                    at=at + timedelta(seconds=n), known_at=at + timedelta(seconds=n), source="bench", kind="measured",
                    site_id=fleet.sites[0].id, unit_id=unit.id, length_s=1, readings=1, power_w=1e6, hashrate_hs=1e15,
                )
                for n in range(10_000)
            ]  # fmt: skip
            store.append(rows)
            have += len(rows)
        store.close()
        began, before = time.perf_counter(), time.process_time()
        store = Store(path, records.encode, records.decode, read_only=True)
        with running(make_app(store, fleet, clock)) as url:
            while httpx.get(f"{url}/api/overview", timeout=30.0).json()["caught_up"] < 1.0:
                time.sleep(0.05)
            more = f", {time.process_time() - before:.1f} s of CPU, the asking included"
            said(f"a console back in full on {have:,} records", time.perf_counter() - began, 5.0, more)
            first_numbers(url)
            filtered(url)
        store.close()


NUMBERS = """new MutationObserver((_, watch) => {
  const value = document.querySelector(".tile .value");
  if (value && /[0-9]/.test(value.textContent)) { window.numbers ??= performance.now(); watch.disconnect(); }
}).observe(document, { subtree: true, childList: true, characterData: true });"""


def first_numbers(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        times = []
        for _ in range(7):
            page = browser.new_page()
            page.add_init_script(NUMBERS)
            page.goto(url)
            page.wait_for_function("() => window.numbers")
            times.append(page.evaluate("window.numbers") / 1000)
            page.close()
        browser.close()
    said("first numbers on screen, median of 7", statistics.median(times), 0.3, f", slowest {1000 * max(times):.0f} ms")


# From the keystroke until the next frame has been painted.
FILTER = """async (text) => {
  const box = document.getElementById("rig-filter"), start = performance.now();
  box.value = text;
  box.dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""


def filtered(url: str) -> None:
    """The table of RIGS rigs, filtered as one types."""
    rest = [200.0, 3500.0, 17.5, 60.0, 1.0, "pool"]
    rows = [
        [
            f"m-{n:05}",
            f"10.0.{n // 256}.{n % 256}",
            f"site-{n % 7}",
            "g",
            "S21",
            "luxos",
            "mining",
            200.0 - n % 50,
            *rest,
        ]
        for n in range(RIGS)
    ]
    body = msgspec.json.encode({"now": 0.0, "columns": COLUMNS, "rows": rows, "elsewhere": [], "modelled": 0})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.route("**/api/rigs", lambda route: route.fulfill(body=body, content_type="application/json"))
        tab.goto(f"{url}/rigs")
        tab.wait_for_selector(".rows .rig")
        times = [tab.evaluate(FILTER, text) / 1000 for text in ("s", "site-3", "10.0.1", "nothing such", "") * 4]
        browser.close()
    said(f"the table of {RIGS:,} rigs filtered, median of 20", statistics.median(times), 0.1,
         f", slowest {1000 * max(times):.0f} ms")  # fmt: skip


def called() -> None:
    """From something that stands until a webhook has it, by the alerts' own loop over a database on disk."""
    with tempfile.TemporaryDirectory() as folder:
        longest = alerts.timed_alone(Path(folder))
    said("an alert at its webhook, longest of 10", longest, 5.0)


if __name__ == "__main__":
    first_words()
    first_file()
    rigs()
    back()
    called()
    portal()
