"""How much faster than the world a replay runs, on this machine.

    python bench/replay.py --data FOLDER [--from 2024-08-17] [--to 2024-08-24] [--scale 0.447]

Runs one process on one core: loading, dispatch, the modelled fleet, the store, the report. Prints the hardware
and the factor, and writes both to bench/out/replay.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

from machine import processor
from tieline.clock import parse_utc
from tieline.dispatch import Settings
from tieline.feeds.days.recorded import ASSUMPTIONS, RecordedFolder
from tieline.replay.asked import Asked
from tieline.replay.run import replay

AIM = 2_000.0  # times real time for 40 sites on one core


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of a replay.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--from", dest="start", default="2024-08-17")
    parser.add_argument("--to", dest="end", default="2024-08-24")
    parser.add_argument("--scale", type=float, default=0.447)
    given = parser.parse_args()
    start, end = parse_utc(given.start), parse_utc(given.end)
    wall, cpu = time.perf_counter(), time.process_time()
    folder = RecordedFolder(given.data)
    fleet = folder.fleet(given.scale)
    recorded = folder.records(fleet, start, end, given.scale)
    loaded = time.perf_counter() - wall
    asked = Asked(fleet, Settings(), recorded, start, end, given.data.name, given.scale, ASSUMPTIONS)
    report = asyncio.run(replay(asked))
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    steps = (end - start).total_seconds() / report.interval_s
    found = {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sites": report.sites,
        "days": (end - start).days,
        "steps": int(steps),
        "records": sum(report.records.values()),
        "load_s": round(loaded, 2),
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "ms_per_step_wall": round(1000 * wall_s / steps, 2),
        "ms_per_step_cpu": round(1000 * cpu_s / steps, 2),
        "times_real_time": round((end - start).total_seconds() / wall_s),
        "peak_mb": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        ),
        "store_digest": report.store_digest,
    }
    for name, value in found.items():
        print(f"{name:>18}  {value}")
    out = Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    (out / "replay.json").write_text(json.dumps(found, indent=2) + "\n")
    if found["times_real_time"] < AIM:
        sys.exit(f"below the aim of {AIM:,.0f} times real time")


if __name__ == "__main__":
    main()
