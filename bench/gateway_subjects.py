"""Who is measured by `bench/gateway.py`: nginx, this gateway with everything switched on, and peers.

Each is a process pinned to one core, before the same four mock engines.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "sk-bench"
# Streams that are held open at once need two sockets each; more than this is not asked of the machine.
MAX_FILES = 65_536
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
  upstream engines {{ {servers} keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    {tls}
    location / {{
      proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering on;
    }}
  }}
}}
"""
NGINX_TLS = "listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key};"
# Its list of prices from its own package, and no keys: it is spared what the others are not.
LITELLM = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
CONFIG = """
port = {port}
{tls}
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


@dataclass
class Subject:
    """One gateway that answers: where, which process, which version."""

    port: int
    process: Any
    note: str
    tls: Subject | None = None  # the same over TLS

    def stop(self) -> None:
        for one in (self, self.tls):
            if one is not None and one.process.poll() is None:
                one.process.terminate()
                try:
                    one.process.wait(10)
                except subprocess.TimeoutExpired:
                    one.process.kill()


def start(folder: Path, engines: list[int], core: int, peers: Path | None, *, tls: bool) -> dict[str, Subject]:
    """All of them by name; one that does not start is left out, with a word on stderr."""
    cert = certificate(folder) if tls else None
    found = {"nginx": nginx(folder, engines, core, cert), "tieline": tieline(folder / "tieline", engines, core)}
    if cert is not None:
        found["tieline"].tls = tieline(folder / "tieline-tls", engines, core, cert)
    if peers is not None:
        found |= _peers(folder, engines, core, peers)
    for name, one in list(found.items()):
        if not answers(one.port, 60.0, one.process):
            print(f"{name} did not start and is left out", file=sys.stderr)
            one.stop()
            if name in ("nginx", "tieline"):
                raise SystemExit(1)
            del found[name]
    return found


def nginx(folder: Path, engines: list[int], core: int, cert: tuple[Path, Path] | None) -> Subject:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        raise SystemExit("nginx is not installed: it is the unit of this benchmark")
    port, tls_port = free_port(), free_port()
    servers = " ".join(f"server 127.0.0.1:{one};" for one in engines)
    tls = "" if cert is None else NGINX_TLS.format(port=tls_port, cert=cert[0], key=cert[1])
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, servers=servers, tls=tls))
    version = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr.strip()
    process = _pinned([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)], core)
    made = Subject(port, process, version)
    if cert is not None:
        made.tls = Subject(tls_port, process, version)
    return made


def tieline(
    folder: Path, engines: list[int], core: int, cert: tuple[Path, Path] | None = None, python: str = sys.executable
) -> Subject:
    """This gateway with keys, limits, a budget, the outbox, the access log and kept text: nothing is switched off.
    `python`: of another environment, for the gateway that is installed there."""
    from tieline import __version__
    from tieline.gateway.settings import hash_key

    folder.mkdir()
    port = free_port()
    listed = "\n".join(f'[[engines]]\nurl = "http://127.0.0.1:{one}"\nkind = "vllm"\nslots = 16384' for one in engines)
    tls = "" if cert is None else f'tls_cert = "{cert[0]}"\ntls_key = "{cert[1]}"'
    config = folder / "gateway.toml"
    config.write_text(CONFIG.format(port=port, digest=hash_key(KEY), engines=listed, tls=tls))
    command = [python, "-m", "tieline", "gateway", "--config", str(config), "--data", str(folder / "data")]
    return Subject(port, _pinned(command, core), __version__)


def _peers(folder: Path, engines: list[int], core: int, peers: Path) -> dict[str, Subject]:
    found = {}
    python, litellm = peers / "bin" / "python", peers / "bin" / "litellm"
    if litellm.exists():
        models = [
            {
                "model_name": "mock",
                "litellm_params": {"model": "openai/mock", "api_base": f"http://127.0.0.1:{one}/v1", "api_key": "x"},
            }
            for one in engines
        ]
        (folder / "litellm.yaml").write_text(json.dumps({"model_list": models}))
        port = free_port()
        command = [str(litellm), "--config", str(folder / "litellm.yaml"), "--port", str(port), "--host", "127.0.0.1"]
        found["litellm"] = Subject(port, _pinned(command, core, LITELLM), _package(python, "litellm"))
    for name, package, command in (
        ("sglang-router", "sglang-router", [str(python), "-m", "sglang_router.launch_router"]),
        ("vllm-router", "vllm-router", [str(peers / "bin" / "vllm-router")]),
    ):
        version = _package(python, package)
        if version:
            port, metrics = free_port(), free_port()
            more = [
                "--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin", "--log-level", "error",
                "--prometheus-port", str(metrics), "--worker-urls", *(f"http://127.0.0.1:{one}" for one in engines),
            ]  # fmt: skip
            found[name] = Subject(port, _pinned([*command, *more], core), version)
    return found


def certificate(folder: Path) -> tuple[Path, Path] | None:
    """A certificate of our own for 127.0.0.1; None where openssl is not installed."""
    if shutil.which("openssl") is None:
        return None
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def allow_files() -> int:
    """Raise the bound on open sockets as far as this user may; the bound then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (MAX_FILES, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
        except (ValueError, OSError):
            continue
    return soft


def answers(port: int, wait_s: float, process: Any) -> bool:
    """A real request through it is answered with 200."""
    text = b'{"model":"mock","messages":[{"role":"user","content":"x"}],"max_tokens":5}'
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\nconnection: close\r\n"
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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _pinned(command: list[str], core: int, more: dict[str, str] | None = None) -> Any:
    log = None if os.environ.get("BENCH_LOG") else subprocess.DEVNULL
    return subprocess.Popen(
        command, stdout=log, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, {core}), cwd=Path.cwd(),
        env={**os.environ, **(more or {})},
    )  # fmt: skip


def _package(python: Path, name: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip()
