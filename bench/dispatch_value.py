"""What dispatch is worth: every policy on the scenarios A, B, B20 and control of a data folder.

    python bench/dispatch_value.py [--data FOLDER] [--scenario A ...] [--first N] [--jobs 2]

Policies of a scenario run side by side. Writes bench/out/dispatch_value.json, .md, .csv and .html. A scenario
that is run alone replaces its own part of an earlier JSON file and leaves the others.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import msgspec

from tieline.app.backtest import SCENARIOS, Result, run_scenario
from tieline.app.backtest_page import page
from tieline.app.backtest_report import assumed, to_csv, to_figures, to_markdown

OUT = Path(__file__).parent / "out"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("DATA", os.environ.get("TIELINE_DATA", "../shared/data")))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS)
    parser.add_argument("--first", type=int, help="only the first months or weeks")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    if not asked.data.is_dir():
        sys.exit(f"no data folder at {asked.data}; give one with --data or DATA=...")
    results = []
    for scenario in asked.scenario or SCENARIOS:
        begin = time.perf_counter()
        found = run_scenario(
            asked.data, scenario, limit_spans=asked.first, jobs=asked.jobs, progress=_Progress(scenario)
        )
        seconds = time.perf_counter() - begin
        results.append(found)
        keep(found, seconds, asked.jobs)
        print(to_markdown(found))
        print(f"{scenario}: {seconds:.0f} s with {asked.jobs} processes")
    text = "\n".join([*(to_markdown(found) for found in results), "Assumed or invented:", "", assumed()])
    (OUT / "dispatch_value.md").write_text(text + "\n", encoding="utf-8")
    (OUT / "dispatch_value.csv").write_text(to_csv(results), encoding="utf-8")
    (OUT / "dispatch_value.html").write_text(page(results), encoding="utf-8")
    print(f"written to {OUT}/dispatch_value.json, .md, .csv and .html")


def keep(found: Result, seconds: float, jobs: int) -> None:
    """Each scenario as soon as it is done: a run that is broken off loses only the one it was in."""
    OUT.mkdir(exist_ok=True)
    path = OUT / "dispatch_value.json"
    whole = json.loads(path.read_text()) if path.exists() else {}
    figures = msgspec.to_builtins(to_figures(found))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, shared with other work"
    whole[found.scenario] = {**figures, "seconds": round(seconds), "jobs": jobs, "machine": machine}
    path.write_text(json.dumps(whole, indent=1) + "\n")


class _Progress:
    """A line per policy and tenth of it, on stderr."""

    def __init__(self, scenario: str) -> None:
        self._scenario, self._begin, self._last = scenario, time.perf_counter(), ""

    def __call__(self, what: str, done: int, of: int) -> None:
        now = f"{self._scenario}: {what}, {10 * done // max(1, of) * 10} %"
        if now != self._last:
            self._last = now
            print(f"{now} ({time.perf_counter() - self._begin:.0f} s)", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
