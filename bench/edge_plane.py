"""What the control plane costs for a fleet: link and core of a platform with forty sites and 257,000 rigs.

    python bench/edge_plane.py [--seconds 330] [--sockets 0]

Starts `tieline up` with the invented fleet (modelled by group, 60 rigs as fakes on sockets) in a folder of its own, and
looks at its processes for so long: the CPU of link, its server and core in cores, their memory, and how long after it
was known at its site each record is in the store. Records of an interval come every five minutes, so a shorter look
sees few. `--sockets N`: as many rigs more as fakes on sockets, spread over the sites (2,600 are one in a hundred); what
they cost their agents is `bench/edge.py`'s to say, what their reports cost the plane is this one's. Prints the figures
beside what they may be, writes bench/out/edge-plane.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tieline import config as configuration
from tieline import records
from tieline.app.up import read_state
from tieline.clock import wall_now
from tieline.store import Store

OUT = Path(__file__).parent / "out"
READY_S = 180.0
LOOK_S = 0.2
TICKS = os.sysconf("SC_CLK_TCK")
BLOCK = "127.143"
LIMITS = {"cores": 1.0, "memory_mb": 1000.0, "lag_p99_s": 5.0}


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def cpu_s(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_mb(pids: list[int]) -> float:
    lines = (line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def with_sockets(count: int) -> str:
    """The invented fleet's file with a group of LuxOS fakes more at each site whose rigs are one group."""
    text = (Path(configuration.__file__).parents[1] / "app" / "demo" / "fleet.toml").read_text(encoding="utf-8")
    groups = re.findall(r"^rigs = \[\{ (model = \"Antminer.*) \}\]$", text, re.MULTILINE)
    each = max(1, min(240, round(count / len(groups))))
    for n, group in enumerate(groups):
        less = re.sub(r"mw = ([0-9.]+)", lambda found: f"mw = {float(found[1]) - each * 0.004:.2f}", group)
        model = re.search('model = "[^"]*"', group)
        assert model is not None
        fakes = f'{model[0]}, firmware = "luxos", hardware = "fake", addresses = ["{BLOCK}.{n}.1-{each}"]'
        text = text.replace(f"rigs = [{{ {group} }}]", f"rigs = [{{ {less} }}, {{ {fakes} }}]", 1)
    return text


def lags(store: Store, after: int, since: datetime, found: list[float]) -> int:
    """Add how old each new record of a site is, those of the invented past left out; returns the last number seen."""
    page = store.follow(after)
    now = wall_now()
    for stored in page.items:
        record = stored.record
        if isinstance(record, records.Record) and record.source.startswith("site:") and record.known_at > since:
            found.append((now - record.known_at).total_seconds())
    return page.last


def look(data: Path, seconds: float) -> dict[str, Any]:
    parts = {part.name: part.pid for part in read_state(data).parts}
    pids = [pid for name in ("link", "core") if (root := parts[name]) is not None for pid in family(root)]
    store = Store(data / "store.db", records.encode, records.decode, read_only=True)
    found: list[float] = []
    after, since, most_mb = store.last_seq(), wall_now(), 0.0
    began, used = time.monotonic(), cpu_s(pids)
    while time.monotonic() - began < seconds:
        time.sleep(LOOK_S)
        after = lags(store, after, since, found)
        most_mb = max(most_mb, memory_mb(pids))
    took = time.monotonic() - began
    store.close()
    found.sort()
    return {
        "seconds": took,
        "cores": (cpu_s(pids) - used) / took,
        "memory_mb": most_mb,
        "records": len(found),
        "lag_p99_s": found[int(0.99 * (len(found) - 1))] if found else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=330.0)
    parser.add_argument("--sockets", type=int, default=0, help="rigs more as fakes on sockets")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        command = [
            sys.executable, "-m", "tieline", "up", "--data-dir", str(data), "--console-port", "0", "--gateway-port",
            "0", "--feeds", "synthetic",
        ]  # fmt: skip
        if options.sockets:
            fleet = Path(folder) / "fleet.toml"
            fleet.write_text(with_sockets(options.sockets), encoding="utf-8")
            command += ["--config", str(fleet)]
        platform = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + READY_S
            while not (data.exists() and read_state(data).ready):
                if platform.poll() is not None or time.monotonic() > until:
                    raise SystemExit("the platform did not come up; see what `tieline up` says")
                time.sleep(0.2)
            result = look(data, options.seconds)
        finally:
            platform.send_signal(signal.SIGINT)
            platform.wait(30)
    result |= {"sockets": 60 + options.sockets, "cores_here": os.cpu_count(), "load": os.getloadavg()[0]}
    OUT.mkdir(exist_ok=True)
    (OUT / "edge-plane.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, value in result.items():
        shown = "not seen" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
        print(f"  {name:12} {shown:>10}" + (f"   at most {LIMITS[name]:g}" if name in LIMITS else ""))


if __name__ == "__main__":
    main()
