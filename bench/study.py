"""A study's speed and truth: surfaces, paths, and years that were read in between against years run outright.

    .venv/bin/python bench/study.py [--data FOLDER] [--sites 40] [--paths 10000] [--points 10] [--jobs 2]

Without a folder of recorded days the package's invented ones are used, and it says so. Prints the hardware and the
machine's load; beside the paths the same cash flow of one mining plan in pandas, where pandas is installed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from machine import processor
from tieline import config
from tieline.study.alternatives import Block, SurfaceReading
from tieline.study.drivers import draw
from tieline.study.file import Study, StudySite, example_text, loads
from tieline.study.results import summarise
from tieline.study.surface import MONTH_H, StudySurfaces, build, outright
from tieline.study.sweep import run

LEVELS = (20.0, 30.0, 40.0, 50.0, 65.0, 85.0, 110.0, 150.0, 220.0)


def hardware() -> str:
    return f"{os.cpu_count()} x {processor()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def wide(one: Study, sites: int, paths: int, days: str | None, room: tuple[float, ...]) -> Study:
    """The example's assumptions and alternatives on as many sites of the demo fleet."""
    fleet = [site for site in config.demo().fleet.sites if site.rig_groups][:sites]
    own = {site.id: site for site in one.site}
    found = list(own.values())
    found += [
        StudySite(id=site.id, mw=site.interconnect.limit_w / 1e6)
        for site in fleet
        if site.id not in {other.like for other in own.values()}
    ][: sites - len(found)]
    operation = msgspec.structs.replace(one.operation, levels=LEVELS, rooms=room, days=days or "example")
    return msgspec.structs.replace(one, site=tuple(found), paths=paths, operation=operation)


def truth(one: Study, surfaces: StudySurfaces, cache: Path, points: int, seed: int) -> None:
    """Net of the days at drawn hashprices and power prices: read in between, and run outright."""
    rng = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(points):
        level, power = float(rng.uniform(25, 140)), float(rng.uniform(0.7, 1.4))
        meter = outright(one, cache, level, 1.0, power)
        ran = read = 0.0
        small = msgspec.structs.replace(one, paths=1, months=12)
        for n, site in enumerate(surfaces.by_site.values()):
            hours = meter.hours
            block = Block(small, surfaces, draw(small, 0, len(surfaces.markets)))
            at = SurfaceReading(site, block, np.full((1, 12), level / power), np.ones((1, 12)))
            quantities = {name: at(name)[0] for name in ("ph_days", "power_usd", "wear_usd")}
            for month, sums in meter.months.items():
                place, share = (int(month[5:]) - 1 - int(one.start[5:]) + 1) % 12, hours[month] / MONTH_H
                ran += sums["ph_days"][n] * level - sums["power_usd"][n] - sums["wear_usd"][n]
                read += share * (
                    quantities["ph_days"][place] * level
                    - quantities["power_usd"][place] * power
                    - quantities["wear_usd"][place]
                )
        off = read / ran - 1.0
        worst = max(worst, abs(off))
        print(f"  hashprice {level:6.1f}, power x {power:.2f}: outright {ran / 1e6:8.3f} M USD, read {off:+.2%}")
    print(f"worst {worst:.2%} (aim 0.5 %)")


def pandas_peer(one: Study, surfaces: StudySurfaces) -> None:
    try:
        import pandas as pd
    except ImportError:
        print("pandas is not installed: not measured")
        return
    drivers = draw(msgspec.structs.replace(one, paths=500), 0, len(surfaces.markets))
    began = time.process_time()
    frame = pd.DataFrame(
        {
            "path": np.repeat(np.arange(500), one.months),
            "month": np.tile(np.arange(one.months), 500),
            "hashprice": drivers.hashprice.ravel(),
            "power": drivers.power[:, :, 0].ravel(),
        }
    )
    for site in surfaces.by_site.values():
        level = frame["hashprice"] / frame["power"]
        hashes = np.interp(level, site.levels, site.at["ph_days"][:, -1, :].mean(axis=0))
        bill = np.interp(level, site.levels, site.at["power_usd"][:, -1, :].mean(axis=0))
        frame["cash"] = hashes * frame["hashprice"] - bill * frame["power"]
        discounted = frame["cash"] / (1.0 + one.money.discount) ** (frame["month"] / 12.0)
        discounted.groupby(frame["path"]).sum()
    spent = time.process_time() - began
    print(f"pandas, mining alone, 500 paths x {len(surfaces.by_site)} sites: {spent:.2f} s of processor, one plan")


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--data", help="a folder of recorded days; none: the package's invented ones")
    given.add_argument("--sites", type=int, default=40)
    given.add_argument("--paths", type=int, default=10_000)
    given.add_argument("--points", type=int, default=10)
    given.add_argument("--days-of-month", type=int, default=31)
    given.add_argument("--jobs", type=int, default=2)
    given.add_argument("--cache", type=Path, help="keep surfaces here between runs")
    asked = given.parse_args()
    cache = asked.cache or Path(tempfile.mkdtemp(prefix="tieline-study-"))
    one = wide(loads(example_text()), asked.sites, asked.paths, asked.data, (1.0,))
    operation = msgspec.structs.replace(one.operation, days_of_month=asked.days_of_month)
    one = msgspec.structs.replace(one, operation=operation)
    print(hardware())
    began = time.monotonic()
    surfaces = build(one, cache, asked.jobs)
    days = "invented days" if surfaces.invented else "recorded days"
    what = f"{len(surfaces.by_site)} sites x {len(LEVELS)} levels over {len(surfaces.days)} months of {days}"
    print(f"surfaces of {what}, {asked.days_of_month} days each at most: {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    build(one, cache, asked.jobs)
    print(f"  cached: {time.monotonic() - began:.2f} s")
    for paths in (asked.paths // 4, asked.paths):
        some = msgspec.structs.replace(one, paths=paths)
        began, spent = time.monotonic(), time.process_time()
        found = run(some, surfaces, cache, asked.jobs)
        what = f"{paths:,} paths x {one.months} months x {len(one.plan)} plans x {len(one.site)} sites"
        here = time.process_time() - spent
        print(f"{what}, {asked.jobs} processes: {time.monotonic() - began:.1f} s, {here:.1f} s of processor here")
    began = time.monotonic()
    results = summarise(one, surfaces, found)
    print(f"summary with break-evens and tornadoes: {time.monotonic() - began:.1f} s")
    print(f"half the paths would have moved a median by {results.moved:.2%}")
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"largest process {most / 1024:,.0f} MB")
    pandas_peer(one, surfaces)
    print(f"{asked.points} drawn points of the same days, run outright:")
    truth(one, surfaces, cache, asked.points, seed=5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
