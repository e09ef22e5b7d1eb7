"""Runs it; see `world`.

With `--log FILE` each seed's outcome is a line of that file, and seeds that are in it already are not run again: a long
run can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import Counter
from pathlib import Path

from tests.simulation.world import Outcome, single
from tests.simulation.world import __doc__ as words
from tests.store.simulate import ViolationError


def main() -> int:
    given = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--runs", type=int, default=1)
    given.add_argument("--days", type=float, default=6.1)
    given.add_argument(
        "--years", type=float, help="of simulated time, instead of --days; three sites make three site-years of one"
    )
    given.add_argument("--log", type=Path, help="a file to go on with")
    asked = given.parse_args()
    days = asked.days if asked.years is None else asked.years * 365
    logging.disable()
    total, used_s, count, broken = Outcome(), 0.0, 0, 0
    done = _done(asked.log)
    for seed in range(asked.seed, asked.seed + asked.runs):
        began = time.process_time()
        try:
            one, cost_s = done[seed] if seed in done else (single(seed, days), None)
        except ViolationError as error:
            print(f"VIOLATION, {error}", flush=True)
            broken += 1
            continue
        if cost_s is None:
            cost_s = time.process_time() - began
            _note(asked.log, seed, one, cost_s)
        total.add(one)
        used_s, count = used_s + cost_s, count + 1
    if count:
        _print(total, used_s, count, asked.seed, broken)
    return 1 if broken else 0


def _print(total: Outcome, used_s: float, count: int, first: int, broken: int) -> None:
    print(f"{count} seeds from {first}, {total.site_days:.1f} site-days, ", end="")
    print(f"{used_s / total.site_days:.2f} s of processor for each, {broken} violations, history {total.history[:16]}")
    print(", ".join(f"{name} {number:,}" for name, number in sorted(total.seen.items())))
    pairs = [(name, side) for name in sorted(total.writes) for side in ("before", "after")]
    missed = [f"{side} {name}" for name, side in pairs if not total.crashes[name, side]]
    print(f"{len(pairs) - len(missed)} of {len(pairs)} pairs of write and side were crashed at", end="")
    print(f"; not {', '.join(missed)}" if missed else "")
    for name in sorted(total.writes):
        print(f"  crashes at {name}: {total.crashes[name, 'before']} before, {total.crashes[name, 'after']} after")


def _note(log: Path | None, seed: int, one: Outcome, cost_s: float) -> None:
    if log is None:
        return
    crashes = [[name, side, number] for (name, side), number in one.crashes.items()]
    line = {
        "seed": seed, "cpu_s": cost_s, "site_days": one.site_days, "history": one.history, "seen": one.seen,
        "crashes": crashes, "writes": sorted(one.writes),
    }  # fmt: skip
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _done(log: Path | None) -> dict[int, tuple[Outcome, float]]:
    found = {}
    for text in log.read_text().splitlines() if log is not None and log.exists() else ():
        line = json.loads(text)
        crashes = Counter({(name, side): number for name, side, number in line["crashes"]})
        one = Outcome(Counter(line["seen"]), crashes, set(line["writes"]), line["site_days"], line["history"])
        found[line["seed"]] = one, line["cpu_s"]
    return found


if __name__ == "__main__":
    sys.exit(main())
