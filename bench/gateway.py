"""What the gateway costs: CPU per request and per streamed chunk, as ratios to nginx in alternating slices.

    python bench/gateway.py [--seconds 2] [--rounds 5] [--peers DIR] [--out bench/out/gateway.json]

The gateway under test has everything switched on: keys, a budget, limits, body rewriting, usage in a durable
outbox, delivered text kept, access log. It and nginx are each pinned to the first core in turn; the mock engine
and the load are one process on the last. `--peers` names a virtual environment with `litellm` or
`sglang-router`, which then run in the same rounds. CPU per request is the firm figure; requests per second and
latencies are printed beside it and move with whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KEY = "sk-bench"
NGINX = """
worker_processes 1;
daemon off;
error_log {folder}/error.log crit;
pid {folder}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size 64m; client_body_buffer_size 1m; keepalive_requests 100000000;
  upstream engines {{ {servers} keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering on;
    }}
  }}
}}
"""
CONFIG = """
port = {port}
[[models]]
name = "mock"
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.4
[[tenants]]
id = "bench"
limits = {{ requests_per_minute = 1000000000, tokens_per_minute = 1000000000000, budget_usd = 1000000000 }}
[[keys]]
id = "bench"
tenant = "bench"
sha256 = "{digest}"
{engines}
"""


def main() -> None:
    options = _options()
    first, last = _cores()
    with tempfile.TemporaryDirectory(prefix="tieline-bench-") as name:
        folder = Path(name)
        load = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("gateway_load.py")), "4"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.sched_setaffinity(load.pid, {last})
        assert load.stdout is not None
        engines = json.loads(load.stdout.readline())["engines"]
        subjects = _start(folder, engines, first, options.peers)
        try:
            result = _measure(load, subjects, options)
        finally:
            for _, process, _ in subjects.values():
                process.send_signal(signal.SIGTERM)
            for _, process, _ in subjects.values():
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
            load.kill()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    _print(result)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one slice")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="virtual environment with other gateways")
    parser.add_argument("--only", help="comma-separated cases")
    parser.add_argument("--out", type=Path, default=Path("bench/out/gateway.json"))
    return parser.parse_args()


def _cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


# --- who is measured --------------------------------------------------------------


def _start(folder: Path, engines: list[int], core: int, peers: Path | None) -> dict[str, tuple[int, Any, str]]:
    """name -> (port, process, note). Each is pinned to `core`; only one is under load at a time."""
    found: dict[str, tuple[int, Any, str]] = {}
    if shutil.which("nginx") is None and not Path("/usr/sbin/nginx").exists():
        raise SystemExit("nginx is not installed: it is the unit of this benchmark")
    port = _port()
    servers = " ".join(f"server 127.0.0.1:{one};" for one in engines)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, servers=servers))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    found["nginx"] = (
        port,
        _pinned([nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)], core),
        _version(nginx),
    )
    from tieline import __version__
    from tieline.gateway.settings import hash_key

    port = _port()
    listed = "\n".join(f'[[engines]]\nurl = "http://127.0.0.1:{one}"\nkind = "vllm"' for one in engines)
    (folder / "gateway.toml").write_text(CONFIG.format(port=port, digest=hash_key(KEY), engines=listed))
    command = [sys.executable, "-m", "tieline", "gateway", "--config", str(folder / "gateway.toml"), "--data"]
    found["tieline"] = (port, _pinned([*command, str(folder / "data")], core), __version__)
    if peers is not None:
        _start_peers(found, folder, engines, core, peers)
    for name, (port, process, _) in list(found.items()):
        if not _answers(port, 60.0, process):
            print(f"{name} did not start and is left out", file=sys.stderr)
            process.kill()
            if name in ("nginx", "tieline"):
                raise SystemExit(1)
            del found[name]
    return found


def _start_peers(found: dict[str, Any], folder: Path, engines: list[int], core: int, peers: Path) -> None:
    python = peers / "bin" / "python"
    litellm = peers / "bin" / "litellm"
    if litellm.exists():
        models = [
            {
                "model_name": "mock",
                "litellm_params": {"model": "openai/mock", "api_base": f"http://127.0.0.1:{one}/v1", "api_key": "x"},
            }
            for one in engines
        ]
        (folder / "litellm.yaml").write_text(json.dumps({"model_list": models}))
        port = _port()
        command = [str(litellm), "--config", str(folder / "litellm.yaml"), "--port", str(port), "--host", "127.0.0.1"]
        found["litellm"] = (port, _pinned(command, core), _package(python, "litellm"))
    if _package(python, "sglang_router") or _package(python, "sglang-router"):
        port = _port()
        urls = [f"http://127.0.0.1:{one}" for one in engines]
        command = [
            str(python), "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port),
            "--worker-urls", *urls, "--policy", "round_robin", "--log-level", "warn",
        ]  # fmt: skip
        found["sglang-router"] = (port, _pinned(command, core), _package(python, "sglang-router"))


def _pinned(command: list[str], core: int) -> Any:
    log = subprocess.DEVNULL if not os.environ.get("BENCH_LOG") else None
    return subprocess.Popen(
        command, stdout=log, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, {core}), cwd=Path.cwd()
    )


def _answers(port: int, wait_s: float, process: Any) -> bool:
    """A real request through it is answered with 200."""
    text = b'{"model":"mock","messages":[{"role":"user","content":"x"}],"max_tokens":5}'
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % (KEY.encode(), len(text)) + text
    )
    until = time.monotonic() + wait_s
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(request)
                if sock.recv(65536).startswith(b"HTTP/1.1 200"):
                    return True
        except OSError:
            pass
        time.sleep(0.2)
    return False


# --- measuring -----------------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "request": {"stream": False, "connections": 32},
    "request_4kb": {"stream": False, "connections": 32, "prompt_bytes": 4_000},
    "request_500kb": {"stream": False, "connections": 8, "prompt_bytes": 500_000},
    "chunk_paced": {"stream": True, "connections": 64, "pace_s": 0.005, "chunks": 200},
    "first_token_idle": {"stream": True, "connections": 1, "pace_s": 0.002, "chunks": 5},
}


def _measure(load: Any, subjects: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    cases = {k: v for k, v in CASES.items() if not options.only or k in options.only.split(",")}
    samples: dict[str, dict[str, list[dict[str, Any]]]] = {c: {s: [] for s in subjects} for c in cases}
    for case, given in cases.items():
        for index in range(options.rounds + 1):
            for name, (port, process, _) in subjects.items():
                seconds = options.seconds if index else min(1.0, options.seconds)
                job = {**given, "port": port, "seconds": seconds, "key": KEY}
                before = _cpu_s(process.pid)
                print(json.dumps(job), file=load.stdin, flush=True)
                answer = json.loads(load.stdout.readline())
                answer["cpu_s"] = _cpu_s(process.pid) - before
                if index:  # the first round warms up
                    samples[case][name].append(answer)
    figures: dict[str, Any] = {}
    for case in cases:
        figures[case] = {name: _figure(case, samples[case][name], samples[case]["nginx"]) for name in subjects}
    return {
        "hardware": _hardware(),
        "subjects": {name: note for name, (_, _, note) in subjects.items()},
        "slices": {"seconds": options.seconds, "rounds": options.rounds},
        "rss_mb": {name: round(_rss_mb(process.pid), 1) for name, (_, process, _) in subjects.items()},
        "cases": figures,
    }


def _figure(case: str, own: list[dict[str, Any]], unit: list[dict[str, Any]]) -> dict[str, Any]:
    what = "chunks" if case.startswith(("chunk", "first")) else "requests"
    each = [one["cpu_s"] * 1e6 / one[what] if one[what] else None for one in own]
    base = [one["cpu_s"] * 1e6 / one[what] if one[what] else None for one in unit]
    ratios = [a / b for a, b in zip(each, base, strict=True) if a and b]
    known = [one for one in each if one is not None]
    return {
        "cpu_us": round(statistics.median(known), 2) if known else None,
        "ratio_to_nginx": round(statistics.median(ratios), 3) if ratios else None,
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)] if ratios else None,
        "per_s": round(statistics.median(one[what] for one in own) / 1.0, 1),
        "p50_ms": statistics.median(one["p50_ms"] or 0 for one in own),
        "p99_ms": statistics.median(one["p99_ms"] or 0 for one in own),
        "errors": sum(one["errors"] for one in own),
    }


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


def _cpu_s(pid: int) -> float:
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


def _hardware() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
    }  # fmt: skip


def _port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _version(nginx: str) -> str:
    return subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr.strip()


def _package(python: Path, name: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def _print(result: dict[str, Any]) -> None:
    print(json.dumps(result["hardware"]))
    print(f"{'case':18} {'gateway':15} {'CPU us':>9} {'x nginx':>8} {'p50 ms':>8} {'p99 ms':>8} {'errors':>6}")
    for case, rows in result["cases"].items():
        for name, row in rows.items():
            print(
                f"{case:18} {name:15} {row['cpu_us'] or 0:9.1f} {row['ratio_to_nginx'] or 0:8.2f}"
                f" {row['p50_ms']:8.2f} {row['p99_ms']:8.2f} {row['errors']:6}"
            )


if __name__ == "__main__":
    main()
