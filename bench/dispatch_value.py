"""What dispatch is worth: every policy on the scenarios A, B, B20 and control of a data folder.

    python bench/dispatch_value.py [--data FOLDER] [--scenario A ...] [--first N] [--jobs 2]

Scenarios run in parallel, one core each. Writes bench/out/dispatch_value.json, .md, .csv and .html. A scenario
that is run alone replaces its own part of an earlier file and leaves the others.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import pickle
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tieline.app.backtest import SCENARIOS, Result, run_scenario
from tieline.app.backtest_report import as_dict, page, table, to_csv

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
    # The longest first, so that two cores end together.
    wanted = [s for s in ("B", "B20", "A", "control") if asked.scenario is None or s in asked.scenario]
    OUT.mkdir(exist_ok=True)
    with ProcessPoolExecutor(max_workers=max(1, asked.jobs)) as pool:
        jobs = {s: pool.submit(_run, asked.data, s, asked.first) for s in wanted}
        found = {s: job.result() for s, job in jobs.items()}
    write(found)


def write(found: dict[str, tuple[Result, float]]) -> None:
    path = OUT / "dispatch_value.json"
    whole: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
    for scenario, (result, seconds) in found.items():
        whole[scenario] = {**as_dict(result), "seconds": round(seconds)}
    path.write_text(json.dumps(whole, indent=1) + "\n")
    results = [found[s][0] for s in SCENARIOS if s in found]
    text = "\n\n".join(f"## {r.scenario}\n\n{table(r)}" for r in results)
    (OUT / "dispatch_value.md").write_text(text + "\n")
    (OUT / "dispatch_value.csv").write_text(to_csv(results))
    (OUT / "dispatch_value.html").write_text(page(results))
    print(text)
    print(f"\nwritten to {OUT}/dispatch_value.json, .md, .csv and .html")


def _run(folder: Path, scenario: str, first: int | None) -> tuple[Result, float]:
    begin = time.perf_counter()
    last = ""

    def show(what: str, done: int, of: int) -> None:
        nonlocal last
        now = f"{scenario}: {what} {100 * done // max(1, of)} %"
        if now != last and (done == of or done * 10 // max(1, of) * of // 10 == done):
            print(f"{now}, {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        last = now

    result = run_scenario(folder, scenario, limit_spans=first, progress=show)
    pickle.dumps(result)  # it crosses processes; fail here, with a name, rather than in the pool
    return result, time.perf_counter() - begin


if __name__ == "__main__":
    main()
