"""What the gateway costs: CPU per request and per streamed chunk, as ratios to nginx in alternating slices.

    python bench/gateway.py [--seconds 2] [--rounds 5] [--peers DIR] [--only CASES] [--out bench/out/gateway.json]
    python bench/gateway.py --soak 1000000        memory over that many requests, and nothing else
    python bench/gateway.py --engine MOCK --load LOAD     an engine and a load generator of others, for some cases

The gateway under test has everything switched on: keys, a budget, limits, body rewriting, usage in a durable
outbox, delivered text kept, access log. It and nginx are each pinned to the first core in turn; the mock engine
and the load are one process on the last. `--peers` names a virtual environment with `litellm` or
`sglang-router`, which then run in the same rounds. CPU per request is the firm figure; requests per second and
latencies are printed beside it and move with whatever else the machine does. What else it did is printed too: take
figures from a machine whose load before and after is low.

`--engine` and `--load` name two programs in place of the Python ones, which cost more than a gateway and so set its
pace: `MOCK PORT`, an engine that takes `GET /control/CHUNKS/DELAY_US`, and `LOAD PORT CONNECTIONS SECONDS json|stream
PATH MODEL`, which shows the key `sk-bench` and prints a line of JSON (`ok`, `err`, `chunks`, `lat_p50`, `lat_p99`).
They have no long prompts and no TLS; such cases are left out.

`idle_streams` holds open streams of 4 KB prompts in one fresh process and divides what its memory grew by.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from gateway_subjects import KEY, Subject, allow_files, answers, free_port, start, tieline
from machine import processor

CASES: dict[str, dict[str, Any]] = {
    "request": {"stream": False, "connections": 32},
    "request_256": {"stream": False, "connections": 256},
    "request_4kb": {"stream": False, "connections": 32, "prompt_bytes": 4_000},
    "request_500kb": {"stream": False, "connections": 8, "prompt_bytes": 500_000},
    "request_tls": {"stream": False, "connections": 32, "tls": True},
    "chunk_paced": {"stream": True, "connections": 64, "pace_s": 0.005, "chunks": 200},
    # Each chunk by itself, twice as fast as 16 streams of a busy engine: no two share a wait or a write.
    "chunk_2ms": {"stream": True, "connections": 16, "pace_s": 0.002, "chunks": 200},
    "chunk_paced_tls": {"stream": True, "connections": 64, "pace_s": 0.005, "chunks": 200, "tls": True},
    "first_token_idle": {"stream": True, "connections": 1, "pace_s": 0.002, "chunks": 5},
}
IDLE = {"hold": 10_000, "prompt_bytes": 4_000, "stream": True, "connections": 0, "pace_s": 1.5, "chunks": 1_000_000}
IDLE_S = 4.0
SOAK_STEP = 100_000
SOAK = {"stream": False, "connections": 32}
# An engine that fails, or a gateway, ends a soak: it does not go on without an end.
SOAK_STEP_S = 600.0


def main() -> None:
    options = _options()
    files = allow_files()
    cores = sorted(os.sched_getaffinity(0))
    first, last = cores[0], cores[-1]
    wanted = options.only.split(",") if options.only else [*CASES, "idle_streams"]
    unknown = set(wanted) - set(CASES) - {"idle_streams"}
    if unknown:
        raise SystemExit(f"--only: no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="tieline-bench-", dir=options.dir) as name:
        folder = Path(name)
        load = ForeignLoad(last, options.engine, options.load) if options.engine else Load(last)
        try:
            if options.soak:
                result: dict[str, Any] = {"soak": _soak(load, folder, first, options.soak)}
            else:
                result = _cases(load, folder, first, wanted, options)
                if "idle_streams" in wanted and options.engine is None:
                    result["idle_streams"] = _idle(load, folder, first, files)
        finally:
            load.stop()
    result = {"hardware": _hardware(before), **result}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(_merged(options.out, result), indent=2) + "\n")
    _print(result)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one slice")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="virtual environment with other gateways")
    parser.add_argument("--only", help="comma-separated cases")
    parser.add_argument("--soak", type=int, metavar="N", help="requests to send while memory is watched")
    parser.add_argument("--engine", type=Path, help="another mock engine; with --load")
    parser.add_argument("--load", type=Path, help="another load generator; with --engine")
    parser.add_argument("--dir", type=Path, help="where the outbox lies: the disk that is measured")
    parser.add_argument("--out", type=Path, default=Path("bench/out/gateway.json"))
    options = parser.parse_args()
    if (options.engine is None) != (options.load is None):
        parser.error("--engine and --load belong together")
    if options.engine is not None and options.soak:
        parser.error("--soak is for the load of this bench")
    return options


class Load:
    """The other process: four mock engines and the callers, on a core of their own."""

    def __init__(self, core: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("gateway_load.py")), "4"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.sched_setaffinity(self._process.pid, {core})
        self.engines: list[int] = self._read()["engines"]

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps({**job, "key": KEY}), file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the load has ended; run it alone to see why: python bench/gateway_load.py 4")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        self._process.kill()


class ForeignLoad(Load):
    """Programs of others in its place."""

    def __init__(self, core: int, engine: Path, load: Path) -> None:
        self._core, self._load = core, load
        self.engines = [free_port() for _ in range(4)]
        self._processes = [subprocess.Popen([str(engine), str(port)]) for port in self.engines]
        for process in self._processes:
            os.sched_setaffinity(process.pid, {core})
        time.sleep(0.5)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        if not self.can(job):
            raise SystemExit("this load generator has no long prompts, no TLS and no streams that are held")
        chunks = job.get("chunks", 0)
        for port in self.engines:
            if chunks:
                delay_us = round(job["pace_s"] * 1e6)
                urllib.request.urlopen(f"http://127.0.0.1:{port}/control/{chunks}/{delay_us}", timeout=5).close()
        kind = "stream" if job["stream"] else "json"
        command = [
            "taskset", "-c", str(self._core), str(self._load), str(job["port"]), str(job["connections"]),
            str(job["seconds"]), kind, "/v1/chat/completions", "mock",
        ]  # fmt: skip
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        ms = {
            name: told[f"lat_{name}"] / 1e3 if told.get(f"lat_{name}") is not None else None for name in ("p50", "p99")
        }
        return {
            "requests": told["ok"], "chunks": told["chunks"], "errors": told["err"],
            "p50_ms": ms["p50"], "p99_ms": ms["p99"],
        }  # fmt: skip

    @staticmethod
    def can(given: dict[str, Any]) -> bool:
        return not (given.get("tls") or given.get("prompt_bytes") or given.get("hold") or given.get("release"))

    def stop(self) -> None:
        for process in self._processes:
            process.kill()


# --- measuring -----------------------------------------------------------------------


def _cases(load: Load, folder: Path, core: int, wanted: list[str], options: argparse.Namespace) -> dict[str, Any]:
    cases = {name: CASES[name] for name in CASES if name in wanted}
    if isinstance(load, ForeignLoad):
        cases = {name: given for name, given in cases.items() if load.can(given)}
    if not cases:
        return {}
    tls = any(given.get("tls") for given in cases.values())
    subjects = start(folder, load.engines, core, options.peers, tls=tls)
    try:
        figures = {name: _case(load, name, given, subjects, options) for name, given in cases.items()}
        return {
            "subjects": {name: one.note for name, one in subjects.items()},
            "slices": {"seconds": options.seconds, "rounds": options.rounds},
            "rss_mb": {name: round(_rss_mb(one.process.pid), 1) for name, one in subjects.items()},
            "cases": {name: rows for name, rows in figures.items() if rows},
        }
    finally:
        for one in subjects.values():
            one.stop()


def _case(
    load: Load, case: str, given: dict[str, Any], subjects: dict[str, Subject], options: argparse.Namespace
) -> dict[str, Any]:
    """Slices of one subject after the other, round by round, so that all see the same machine."""
    meant = {name: one.tls if given.get("tls") else one for name, one in subjects.items()}
    measured = {name: one for name, one in meant.items() if one is not None}
    if "nginx" not in measured:
        print(f"{case} is left out: openssl is not here to make a certificate", file=sys.stderr)
        return {}
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in measured}
    for index in range(options.rounds + 1):
        for name, one in measured.items():
            seconds = options.seconds if index else min(1.0, options.seconds)
            before = cpu_s(one.process.pid)
            answer = load.run({**given, "port": one.port, "seconds": seconds})
            answer["cpu_s"], answer["seconds"] = cpu_s(one.process.pid) - before, seconds
            if index:  # the first round warms up
                samples[name].append(answer)
    return {name: _figure(case, samples[name], samples["nginx"]) for name in measured}


def _figure(case: str, own: list[dict[str, Any]], unit: list[dict[str, Any]]) -> dict[str, Any]:
    what = "chunks" if case.startswith(("chunk", "first")) else "requests"
    each = [one["cpu_s"] * 1e6 / one[what] if one[what] else None for one in own]
    base = [one["cpu_s"] * 1e6 / one[what] if one[what] else None for one in unit]
    ratios = [a / b for a, b in zip(each, base, strict=True) if a and b]
    known = [one for one in each if one is not None]
    p50, p99, unit_p50 = _median(own, "p50_ms"), _median(own, "p99_ms"), _median(unit, "p50_ms")
    return {
        "cpu_us": round(statistics.median(known), 2) if known else None,
        "ratio_to_nginx": round(statistics.median(ratios), 3) if ratios else None,
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)] if ratios else None,
        "per_s": round(statistics.median(one[what] / one["seconds"] for one in own), 1),
        "p50_ms": p50,
        "p99_ms": p99,
        "p50_over_nginx_ms": None if p50 is None or unit_p50 is None else round(p50 - unit_p50, 3),
        "errors": sum(one["errors"] for one in own),
    }


def _median(samples: list[dict[str, Any]], name: str) -> float | None:
    """None where nothing was answered."""
    known = [one[name] for one in samples if one[name] is not None]
    return round(statistics.median(known), 3) if known else None


def _idle(load: Load, folder: Path, core: int, files: int) -> dict[str, Any]:
    """Memory of open streams that say something every 1.5 s, in a process that has done nothing else."""
    count = min(int(IDLE["hold"]), files // 2 - 100)
    fresh = tieline(folder / "idle", load.engines, core)
    try:
        if not answers(fresh.port, 60.0, fresh.process):
            raise SystemExit("the gateway did not start")
        before = _rss_mb(fresh.process.pid)
        held = load.run({**IDLE, "hold": count, "port": fresh.port, "seconds": 0})
        time.sleep(IDLE_S)
        cpu = cpu_s(fresh.process.pid)
        time.sleep(1.0)
        cpu = cpu_s(fresh.process.pid) - cpu
        after = _rss_mb(fresh.process.pid)
        released = load.run({"release": True})
        return {
            "streams": held["held"],
            "asked": int(IDLE["hold"]),
            "rss_mb_before": round(before, 1),
            "rss_mb": round(after, 1),
            "bytes_per_stream": round((after - before) * 1e6 / max(1, held["held"])),
            "cpu_share_of_a_core": round(cpu, 3),
            "errors": released["errors"],
        }
    finally:
        fresh.stop()


def _soak(load: Load, folder: Path, core: int, count: int) -> dict[str, Any]:
    """Resident memory after each 100,000 requests."""
    fresh = tieline(folder / "soak", load.engines, core)
    seen: list[dict[str, Any]] = []
    try:
        if not answers(fresh.port, 60.0, fresh.process):
            raise SystemExit("the gateway did not start")
        done = errors = 0
        while done < count:
            job = {**SOAK, "port": fresh.port, "seconds": SOAK_STEP_S, "stop_after": min(SOAK_STEP, count - done)}
            answer = load.run(job)
            if not answer["requests"]:
                raise SystemExit(f"nothing was answered after {done} requests")
            done, errors = done + answer["requests"], errors + answer["errors"]
            seen.append({"requests": done, "rss_mb": round(_rss_mb(fresh.process.pid), 1)})
            print(f"{done:10} requests {seen[-1]['rss_mb']:8.1f} MB", flush=True)
        settled = [one["rss_mb"] for one in seen[len(seen) // 4 :]]
        return {"rss": seen, "errors": errors, "growth_mb": round(max(settled) - settled[0], 1)}
    finally:
        fresh.stop()


# --- the machine ----------------------------------------------------------------------


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if parent == pid:
                found += _family(int(entry.name))
    return found


def cpu_s(pid: int) -> float:
    """Seconds on a core so far, all threads and children, to the nanosecond."""
    total = 0
    for one in _family(pid):
        for task in Path(f"/proc/{one}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def _rss_mb(pid: int) -> float:
    total = 0
    for one in _family(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except OSError:
            continue
    return total * os.sysconf("SC_PAGE_SIZE") / 1e6


def _hardware(before: tuple[float, float, float]) -> dict[str, Any]:
    return {
        "cpu": processor(), "cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average_before": round(before[0], 2), "load_average_after": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def _merged(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """A soak is kept beside the figures of another run, with its own hardware."""
    if "cases" in result or not path.exists():
        return result
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        return result
    for name in ("soak", "idle_streams"):
        if name in result:
            kept[name] = {**result[name], "hardware": result["hardware"]}
    return kept


def _print(result: dict[str, Any]) -> None:
    print(json.dumps(result["hardware"]))
    if result.get("cases"):
        print(
            f"{'case':18} {'gateway':15} {'CPU us':>9} {'x nginx':>8} {'range':>11} {'per s':>9} {'p50 ms':>8}"
            f" {'p99 ms':>8} {'p50 - nginx':>12} {'errors':>6}"
        )
    for case, rows in result.get("cases", {}).items():
        for name, row in rows.items():
            low, high = row["ratio_range"] or (0, 0)
            if row["cpu_us"] is None:
                print(f"{case:18} {name:15} answered nothing within a slice")
                continue
            figures = f"{row['cpu_us']:9.1f} {row['ratio_to_nginx'] or 0:8.2f} {low:5.2f}-{high:5.2f}"
            delays = f"{row['p50_ms'] or 0:8.2f} {row['p99_ms'] or 0:8.2f} {row['p50_over_nginx_ms'] or 0:12.2f}"
            print(f"{case:18} {name:15} {figures} {row['per_s']:9.0f} {delays} {row['errors']:6}")
    for name in ("idle_streams", "soak"):
        if name in result:
            print(name, json.dumps(result[name]))


if __name__ == "__main__":
    main()
