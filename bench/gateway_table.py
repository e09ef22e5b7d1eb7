"""One table of the gateway and its peers: both load tools, both paces, one after the other on one machine.

    python bench/gateway_table.py [--seconds 1.5] [--rounds 5] [--peers bench/out/peers] [--tools DIR]

Makes what is missing: a virtual environment with `sglang-router` and `vllm-router` from the package index, and the
engine and load generator in C out of `mock.c` and `load.c` in `--tools`. What cannot be had is left out, with a word.
Then `bench/gateway.py` runs twice, with its own load and with the one in C, and the medians of the CPU ratios to nginx
are printed as one table, with the machine's load before and after. Takes some six minutes; run it on a machine
that does nothing else, since ratios move with what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OWN = ("request", "request_500kb", "chunk_paced", "chunk_2ms")
IN_C = ("request", "chunk_paced", "chunk_2ms")
PACKAGES = ("sglang-router", "vllm-router")
WORDS = {
    "request": "request, 32 connections",
    "request_500kb": "request, 500 KB prompt",
    "chunk_paced": "chunk, 64 streams at 5 ms",
    "chunk_2ms": "chunk, 16 streams at 2 ms",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one slice")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers", type=Path, default=HERE / "out" / "peers", help="virtual environment, made if absent"
    )
    parser.add_argument(
        "--tools", type=Path, default=HERE.parent.parent / "shared" / "bench" / "gateway" / "src",
        help="folder with mock.c and load.c",
    )  # fmt: skip
    options = parser.parse_args()
    out = HERE / "out"
    out.mkdir(parents=True, exist_ok=True)
    peers = _peers(options.peers)
    runs = [("Python", _run(out / "gateway-own.json", options, peers, OWN, []))]
    built = _tools(options.tools, out)
    if built is not None:
        more = ["--engine", str(built[0]), "--load", str(built[1])]
        runs.append(("C", _run(out / "gateway-c.json", options, peers, IN_C, more)))
    _print(runs)


def _peers(folder: Path) -> Path | None:
    """The environment with the other gateways; None where they cannot be had."""
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for package in PACKAGES:
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--prefer-binary", package]
        if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode:
            print(f"{package} cannot be installed and is left out", file=sys.stderr)
    return folder if (folder / "bin" / "python").exists() else None


def _tools(sources: Path, out: Path) -> tuple[Path, Path] | None:
    """The engine and the load generator in C, built here."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not (sources / "mock.c").exists():
        print(f"no C compiler, or no mock.c in {sources}: only this bench's own load is used", file=sys.stderr)
        return None
    for name in ("mock", "load"):
        subprocess.run([compiler, "-O2", "-o", str(out / name), str(sources / f"{name}.c")], check=True)
    return out / "mock", out / "load"


def _run(out: Path, options: Any, peers: Path | None, cases: tuple[str, ...], more: list[str]) -> dict[str, Any]:
    command = [
        sys.executable, str(HERE / "gateway.py"), "--seconds", str(options.seconds), "--rounds", str(options.rounds),
        "--only", ",".join(cases), "--out", str(out), *(["--peers", str(peers)] if peers is not None else []), *more,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def _print(runs: list[tuple[str, dict[str, Any]]]) -> None:
    subjects = dict.fromkeys(name for _, run in runs for rows in run["cases"].values() for name in rows)
    print("\n| CPU, times nginx (us) | load in |", " | ".join(subjects), "|")
    print("|---|---|" + "---|" * len(subjects))
    for tool, run in runs:
        for case, rows in run["cases"].items():
            cells = []
            for name in subjects:
                row = rows.get(name)
                if row is None or row["cpu_us"] is None:
                    cells.append("")
                else:
                    low, high = row["ratio_range"] or (0, 0)
                    wrong = f", {row['errors']} errors" if row["errors"] else ""
                    cells.append(f"{row['ratio_to_nginx']:.2f} ({low:.2f} to {high:.2f}; {row['cpu_us']:.1f}{wrong})")
            print(f"| {WORDS[case]} | {tool} |", " | ".join(cells), "|")
    for tool, run in runs:
        machine = run["hardware"]
        print(
            f"{tool}: load {machine['load_average_before']} before, {machine['load_average_after']} after;",
            ", ".join(f"{name} {note}" for name, note in run["subjects"].items()),
        )
    print(f"{os.cpu_count()} cores; medians of the rounds, in brackets their range and the CPU time itself")


if __name__ == "__main__":
    main()
