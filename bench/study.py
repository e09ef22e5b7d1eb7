"""A study's speed and truth: surfaces, paths, and years that were read in between against years run outright.

    .venv/bin/python bench/study.py [--data FOLDER] [--sites 40] [--paths 10000] [--points 10] [--jobs 2]

Without a folder of recorded days the package's invented ones are used, and it says so. Prints the hardware and the
machine's load; beside the paths the same cash-flow model in plain pandas on some of them, where pandas is installed,
with the largest difference of the two.
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

from tieline import config
from tieline.config.lines import MistakeError
from tieline.study.drivers import draw
from tieline.study.file import Study, StudySite
from tieline.study.interpolate import SurfaceReading
from tieline.study.meter import SiteMeter
from tieline.study.reading import example_text, loads
from tieline.study.results import summarise
from tieline.study.surface import MONTH_H, StudySurfaces, build, outright
from tieline.study.sweep import on, run

LEVELS = (15.0, 20.0, 25.0, 32.0, 42.0, 60.0, 90.0, 150.0, 220.0)
# Of so many paths pandas is asked, a thousand times the sites in rows each.
PANDAS_PATHS = 100


def hardware() -> str:
    models = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{len(models)} x {models[0]}, Python {platform.python_version()}, {load()}"


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def wide(one: Study, asked: argparse.Namespace) -> Study:
    """The example's assumptions and alternatives on as many sites of the demo fleet. A site whose market the days do
    not have is run as the first one."""
    fleet = [site for site in config.demo().fleet.sites if site.rig_groups]
    own = {site.like: site for site in one.site}
    found = [
        own.get(site.id, StudySite(id=site.id, like=site.id, mw=site.interconnect.limit_w / 1e6)) for site in fleet
    ][: asked.sites]
    operation = msgspec.structs.replace(
        one.operation,
        levels=LEVELS,
        rooms=tuple(sorted({*asked.room, 1.0})),
        gpu_shares=(),
        days=asked.data or "example",
        first=asked.first,
        last=asked.last,
        days_of_month=asked.days_of_month,
    )
    # By the hour, as the model in pandas has it.
    does = tuple(msgspec.structs.replace(it, usd_per_million_tokens=None) for it in one.alternative)
    return msgspec.structs.replace(one, site=tuple(found), alternative=does, paths=asked.paths, operation=operation)


def priced(one: Study, cache: Path, jobs: int) -> tuple[Study, StudySurfaces]:
    """With sites of markets that have prices, and their surfaces."""
    while True:
        try:
            return one, build(one, cache, jobs)
        except MistakeError as mistake:
            if mistake.path[:1] != ("site",) or "its market has" not in mistake.problem:
                raise
            n = int(mistake.path[1])
            print(f"  {one.site[n].id}: {mistake.problem}; run as {one.site[0].like}")
            sites = list(one.site)
            sites[n] = msgspec.structs.replace(sites[n], like=one.site[0].like)
            one = msgspec.structs.replace(one, site=tuple(sites))


def truth(one: Study, surfaces: StudySurfaces, cache: Path, points: int, seed: int) -> None:
    """Net of all recorded days at drawn hashprices and power prices: read in between, and run outright."""
    rng = np.random.default_rng(seed)
    drawn = [(float(rng.uniform(25, 140)), float(rng.uniform(0.7, 1.4)), 1.0) for _ in range(points)]
    # With more than one room the rigs have a drawn part of the site.
    if len(one.operation.rooms) > 1:
        drawn = [(level, power, float(rng.uniform(0.5, 1.0))) for level, power, _ in drawn]
    worst = 0.0
    for level, power, room in drawn:
        began = time.monotonic()
        ran, read = compared(one, surfaces, outright(one, cache, level, room, power), level, power, room)
        spent = time.monotonic() - began
        off = read / ran - 1.0
        worst = max(worst, abs(off))
        print(
            f"  hashprice {level:6.1f}, power x {power:.2f}, room {room:.2f}: outright {ran / 1e6:9.3f} M USD, "
            f"read {off:+.2%} ({spent:.0f} s)",
            flush=True,
        )
    print(f"worst {worst:.2%} (aim 0.5 %), {load()}")


def compared(
    one: Study, surfaces: StudySurfaces, meter: SiteMeter, level: float, power: float, room: float = 1.0
) -> tuple[float, float]:
    """USD of all months and sites: run, and read."""
    places = {name: n for n, name in enumerate(dict.fromkeys(site.like for site in one.site))}
    months, ran, read = np.arange(12), 0.0, 0.0
    for site in one.site:
        surface, n = surfaces.by_site[site.id], places[site.like]
        factor = 1.0 if surface.market is None else power
        at = SurfaceReading(surface, months, np.full((1, 12), level / factor), np.full((1, 12), room))
        for month, sums in meter.months.items():
            place, share = int(month[5:7]) - 1, meter.hours[month] / MONTH_H
            ran += sums["ph_days"][n] * level - sums["power_usd"][n] - sums["wear_usd"][n] - sums["peaks_usd"][n]
            hashes, bill, wear, peaks = (
                at(name)[0, place] for name in ("ph_days", "power_usd", "wear_usd", "peaks_usd")
            )
            read += share * (hashes * level - bill * factor - wear) - peaks
    return ran, read


def peer(one: Study, surfaces: StudySurfaces) -> None:
    """The same model in pandas, on the first paths."""
    try:
        from study_pandas import worths
    except ImportError:
        print("pandas is not installed: not measured")
        return
    few = msgspec.structs.replace(one, paths=PANDAS_PATHS)
    drivers = draw(few, 0, len(surfaces.markets))
    began = time.process_time()
    theirs = worths(few, surfaces, drivers)
    spent = time.process_time() - began
    began = time.process_time()
    ours = on(few, surfaces, drivers)
    own = time.process_time() - began
    off = max(
        float(np.max(np.abs(ours[str(n)]["worth"].sum(axis=1) - theirs[plan.name].to_numpy())))
        for n, plan in enumerate(few.plan)
    )
    print(
        f"plain pandas, the same model on {PANDAS_PATHS} paths: {spent:.1f} s of processor, {own:.2f} s here "
        f"({spent / own:.0f} times); the net present values differ by at most {off:.4f} USD"
    )


def swept(one: Study, surfaces: StudySurfaces, cache: Path, jobs: int) -> None:
    """Paths at a quarter and in full, then the report's figures."""
    seconds = []
    found = []
    for paths in (one.paths // 4, one.paths):
        some = msgspec.structs.replace(one, paths=paths, seed=one.seed + len(seconds))
        began = time.monotonic()
        found = run(some, surfaces, cache, jobs)
        seconds.append(time.monotonic() - began)
        what = f"{paths:,} paths x {one.months} months x {len(one.plan)} plans x {len(one.site)} sites"
        print(f"{what}, {jobs} processes: {seconds[-1]:.1f} s, {load()}", flush=True)
    print(f"  four times the paths took {seconds[1] / seconds[0]:.1f} times as long")
    began = time.monotonic()
    results = summarise(msgspec.structs.replace(one, seed=one.seed + 1), surfaces, found)
    print(f"report's figures, with break-evens and tornadoes: {time.monotonic() - began:.1f} s")
    print(f"twice the paths would move a median by {results.moved:.2%} at most")
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    here, other = (resource.getrusage(who).ru_maxrss / 1024 for who in whose)
    print(f"largest: this process {here:,.0f} MB, a worker {other:,.0f} MB, all at most {here + jobs * other:,.0f} MB")


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--data", help="a folder of recorded days; none: the package's invented ones")
    given.add_argument("--first", help="month of the first day, 2024-01")
    given.add_argument("--last", help="month of the last day")
    given.add_argument("--sites", type=int, default=40)
    given.add_argument("--paths", type=int, default=10_000)
    given.add_argument("--points", type=int, default=10)
    given.add_argument("--days-of-month", type=int, default=31, help="days of each month that surfaces are made of")
    given.add_argument("--room", type=float, action="append", default=[], help="a room beside the whole site, 0.5")
    given.add_argument("--seed", type=int, default=5, help="of the drawn points")
    given.add_argument("--jobs", type=int, default=2)
    given.add_argument("--cache", type=Path, help="keep what was computed here between runs")
    asked = given.parse_args()
    cache = asked.cache or Path(tempfile.mkdtemp(prefix="tieline-study-"))
    print(hardware())
    began = time.monotonic()
    one, surfaces = priced(wide(loads(example_text()), asked), cache, asked.jobs)
    days = "invented days" if surfaces.invented else "recorded days"
    print(
        f"surfaces of {len(surfaces.by_site)} sites x {len(LEVELS)} levels on {surfaces.ran} of {days}: "
        f"{time.monotonic() - began:.1f} s, {load()}"
    )
    began = time.monotonic()
    build(one, cache, asked.jobs)
    print(f"  cached: {time.monotonic() - began:.2f} s", flush=True)
    swept(one, surfaces, cache, asked.jobs)
    peer(one, surfaces)
    print(f"{asked.points} drawn points, all recorded days of these months run outright:")
    truth(one, surfaces, cache, asked.points, asked.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
