"""One platform, started for real on free ports, for all system tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY_S = 90.0


@dataclass
class Platform:
    """A running `tieline up` and what it says of itself."""

    data: Path
    process: subprocess.Popen[bytes]
    output: Path

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "tieline", "status", "--json", "--data-dir", str(self.data)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        return json.loads(done.stdout)

    def wait(self, condition: Callable[[dict[str, Any]], bool], seconds: float, what: str) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        state: dict[str, Any] = {}
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"the platform ended while waiting for {what}:\n{self.output.read_text()}")
            state = self.status()
            if condition(state):
                return state
            time.sleep(0.2)
        logs = "\n".join(f"--- {p.name}\n{p.read_text()[-1500:]}" for p in (self.data / "run" / "logs").glob("*.log"))
        pytest.fail(f"{what} did not happen in {seconds} s; status {state}\n{self.output.read_text()}\n{logs}")

    def stop(self) -> float:
        """Ctrl-C; returns how long it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        return time.monotonic() - begun


def start(data: Path, *args: str) -> Platform:
    data.mkdir(parents=True, exist_ok=True)
    output = data / "up.out"
    command = [sys.executable, "-m", "tieline", "up", "--data-dir", str(data), *args]
    with output.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True)
    return Platform(data, process, output)


def processes_of(data: Path) -> list[str]:
    """Command lines of processes that name this data folder, from /proc (Linux) or ps."""
    if Path("/proc/self/cmdline").exists():
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(data) in line and str(os.getpid()) != entry.parent.name:
                found.append(line)
        return found
    listing = subprocess.run(["ps", "-axo", "command"], capture_output=True, text=True, timeout=20).stdout
    return [line for line in listing.splitlines() if str(data) in line]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Started once. `--feeds synthetic`, so that no test depends on the internet; its world runs 120 times faster,
    so that an hour is settled within a minute, late samples and all."""
    data = tmp_path_factory.mktemp("platform")
    running = start(data, "--console-port", "0", "--gateway-port", "0", "--feeds", "synthetic", "--speed", "120")
    try:
        running.wait(lambda s: bool(s["ready"]), READY_S, "ready")
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


@pytest.fixture(scope="session")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
