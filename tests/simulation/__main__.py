"""Runs it; see `world`."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.simulation.world import __doc__ as words
from tests.simulation.world import many
from tests.store.simulate import ViolationError


def main() -> int:
    given = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--runs", type=int, default=1)
    given.add_argument("--days", type=float, default=6.1)
    asked = given.parse_args()
    logging.disable()
    began = time.process_time()
    try:
        total = many(range(asked.seed, asked.seed + asked.runs), asked.days)
    except ViolationError as error:
        print(f"VIOLATION, {error}")
        return 1
    used = time.process_time() - began
    print(f"{asked.runs} seeds from {asked.seed}, {total.site_days:.1f} site-days, ", end="")
    print(f"{used / total.site_days:.2f} s of processor for each, 0 violations, history {total.history[:16]}")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(total.seen.items())))
    for name in sorted(total.writes):
        print(f"  crashes at {name}: {total.crashes[name, 'before']} before, {total.crashes[name, 'after']} after")
    return 0


if __name__ == "__main__":
    sys.exit(main())
