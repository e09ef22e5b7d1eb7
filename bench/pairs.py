"""What a change of structure costs: this code and an earlier one in turn, the same work, in CPU time.

    python bench/pairs.py [--before REVISION] [--tree DIR] [--pairs 9] [--only dispatch,disclosures,gateway]

Each pair runs the same work once by either code, the second first in every other pair, and gives one ratio: CPU
seconds of this code over those of the earlier one. The median of the ratios is the figure; CPU time moves little with
what else the machine does, and what moves it moves both of a pair. The earlier code stands in a work tree of its own
with an environment made from its own lock (`--tree` names one that is there already, with its `.venv`).

dispatch: whole steps of the controller on recorded days, by either code's own bench/dispatch_speed.py.
disclosures: every real excerpt of the data folder, read whole.
gateway: requests and paced chunks before simulated engines, everything switched on; both gateways stand at once, each
on the same core while it is asked. Simulated engines, fixed bytes.

Writes bench/out/pairs.json. Exits 1 where a median is over `AT_MOST`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gateway import CASES, Load, cpu_s
from gateway_subjects import Subject, allow_files, answers, tieline
from machine import processor

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "bench" / "out"
# The last revision before rooms were moved.
BEFORE = "6d3460b"
AT_MOST = 1.03
WORK = ("dispatch", "disclosures")
GATEWAY = ("request", "chunk_2ms")


def main() -> int:
    options = _options()
    wanted = options.only.split(",")
    unknown = set(wanted) - {*WORK, "gateway"}
    if unknown:
        raise SystemExit(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join((*WORK, 'gateway'))}")
    tree = options.tree or made(options.before)
    pythons = {"before": tree / ".venv" / "bin" / "python", "now": Path(sys.executable)}
    trees = {"before": tree, "now": ROOT}
    load_before = os.getloadavg()[0]
    found: dict[str, Any] = {}
    for name in (one for one in WORK if one in wanted):
        found[name] = figure([_pair(n, name, pythons, trees, options.data) for n in range(options.pairs)])
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    if "gateway" in wanted:
        for name, pairs in gateways(pythons, options).items():
            found[f"gateway {name}"] = figure(pairs)
            print(f"gateway {name}: {json.dumps(found[f'gateway {name}'])}", flush=True)
    machine = {"cpu": processor(), "cores": os.cpu_count(), "load": [load_before, os.getloadavg()[0]]}
    OUT.mkdir(exist_ok=True)
    told = {"before": options.before, "machine": machine, "figures": found}
    (OUT / "pairs.json").write_text(json.dumps(told, indent=2) + "\n")
    dear = [name for name, one in found.items() if one["median"] > AT_MOST]
    for name in dear:
        print(f"{name} costs {found[name]['median'] - 1:+.1%}; at most {AT_MOST - 1:+.0%}")
    return 1 if dear else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, help=f"the earlier revision ({BEFORE})")
    parser.add_argument("--tree", type=Path, help="a work tree of it with its environment in .venv")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", default=",".join((*WORK, "gateway")))
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a gateway's slice")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("TIELINE_DATA", ROOT.parent / "shared" / "data"))
    )
    return parser.parse_args()


def made(revision: str) -> Path:
    """A work tree of a revision and its environment, kept for the next time."""
    tree = OUT / f"tree-{revision}"
    if not tree.exists():
        OUT.mkdir(exist_ok=True)
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(tree), revision], cwd=ROOT, check=True)
    if not (tree / ".venv" / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(tree / ".venv")], check=True)
        pip = [str(tree / ".venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
        subprocess.run([*pip, "--require-hashes", "-r", "requirements.lock"], cwd=tree, check=True)
        subprocess.run([*pip, "--no-deps", "-e", "."], cwd=tree, check=True)
        (tree / ".venv" / ".installed").touch()
    return tree


def figure(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Of pairs (before, now): the median of now / before, its range, and either's median."""
    ratios = [now / before for before, now in pairs]
    return {
        "median": round(statistics.median(ratios), 4),
        "range": [round(min(ratios), 4), round(max(ratios), 4)],
        "pairs": len(pairs),
        "before": round(statistics.median(before for before, _ in pairs), 6),
        "now": round(statistics.median(now for _, now in pairs), 6),
    }


def _pair(n: int, name: str, pythons: dict[str, Path], trees: dict[str, Path], data: Path) -> tuple[float, float]:
    """CPU seconds of (before, now)."""
    order = ("before", "now") if n % 2 == 0 else ("now", "before")
    took = {which: _work(name, pythons[which], trees[which], data) for which in order}
    return took["before"], took["now"]


def _work(name: str, python: Path, tree: Path, data: Path) -> float:
    script = str(ROOT / "bench" / "pairs_work.py")
    done = subprocess.run(
        [str(python), script, name, str(tree), str(data)], cwd=tree, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name} in {tree}: {done.stderr[-2_000:]}")
    return float(done.stdout.split()[-1])


def gateways(pythons: dict[str, Path], options: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """CPU seconds for a thousand requests, and for a thousand chunks, of (before, now), slice by slice."""
    allow_files()
    cores = sorted(os.sched_getaffinity(0))
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in GATEWAY}
    with tempfile.TemporaryDirectory(prefix="tieline-pairs-") as name:
        load = Load(cores[-1])
        subjects: dict[str, Subject] = {}
        try:
            for which, python in pythons.items():
                one = tieline(Path(name) / which, load.engines, cores[0], python=str(python))
                subjects[which] = one
                if not answers(one.port, 60.0, one.process):
                    raise SystemExit(f"the gateway ({which}) did not start; BENCH_LOG=1 shows why")
            for n in range(options.pairs + 1):
                order = ("before", "now") if n % 2 == 0 else ("now", "before")
                for case in GATEWAY:
                    took = {which: _slice(load, case, subjects[which], options.seconds) for which in order}
                    if n:  # the first warms up
                        pairs[case].append((took["before"], took["now"]))
        finally:
            for one in subjects.values():
                one.stop()
            load.stop()
    return pairs


def _slice(load: Load, case: str, subject: Subject, seconds: float) -> float:
    before = cpu_s(subject.process.pid)
    told = load.run({**CASES[case], "port": subject.port, "seconds": seconds})
    count = told["chunks"] if CASES[case]["stream"] else told["requests"]
    if not count or told["errors"]:
        raise SystemExit(f"{case}: {count} answered, {told['errors']} errors")
    return (cpu_s(subject.process.pid) - before) / count * 1000


if __name__ == "__main__":
    sys.exit(main())
