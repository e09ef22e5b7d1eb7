"""What `make fleet-test` does to a host's network happens, and is over when it is mended."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from fleet_hosts import Hosts, permitted

PORT = 7
ECHO = f"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", {PORT}))
print("there", flush=True)
while True:
    answer = s.recvfrom(2000)
    try:
        s.sendto(*answer)
    except PermissionError:
        pass  # what iptables drops on its way out
"""


@pytest.fixture(scope="module")
def host() -> Iterator[tuple[Hosts, str]]:
    if not permitted():
        pytest.skip("network namespaces are not permitted here")
    hosts = Hosts("a")
    words = [*hosts.within("a"), sys.executable, "-c", ECHO]
    echo = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert echo.stdout is not None
        assert echo.stdout.readline() == b"there\n"
        yield hosts, hosts.address("a")
    finally:
        echo.kill()
        echo.wait()
        assert echo.stdout is not None
        echo.stdout.close()
        hosts.close()


def heard(address: str, count: int, size: int = 20, apart_s: float = 0.002, wait_s: float = 0.6) -> list[float]:
    """How long the answers took that came, of so many datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        sent: dict[int, float] = {}
        took: list[float] = []
        until = float("inf")
        while time.monotonic() < until:
            if len(sent) < count:
                sent[len(sent)] = time.monotonic()
                asking.settimeout(None)  # a full buffer is waited for
                asking.sendto(len(sent).to_bytes(4, "big").ljust(size, b"x"), (address, PORT))
                time.sleep(apart_s)
                until = time.monotonic() + wait_s if len(sent) == count else until
            asking.settimeout(0.001)
            with contextlib.suppress(TimeoutError):
                number = int.from_bytes(asking.recv(2000)[:4], "big") - 1
                took.append(time.monotonic() - sent[number])
            if len(took) == count:
                break
        return took


def test_a_host_is_whole_before_and_after(host: tuple[Hosts, str]) -> None:
    hosts, address = host
    for way in ("cut", "delay", "loss", "slow"):
        getattr(hosts, way)("a")
        hosts.mend("a")
        took = heard(address, 20)
        assert len(took) == 20, way
        assert min(took) < 0.05, way


def test_cut_off_nothing_passes(host: tuple[Hosts, str]) -> None:
    hosts, address = host
    hosts.cut("a")
    assert heard(address, 5, wait_s=0.3) == []
    hosts.mend("a")


def test_delayed_everything_passes_later(host: tuple[Hosts, str]) -> None:
    hosts, address = host
    hosts.delay("a")
    took = heard(address, 20, wait_s=3.0)
    hosts.mend("a")
    assert len(took) == 20
    assert min(took) > 0.18
    assert max(took) < 3.5


@pytest.mark.parametrize("tables", [True, False], ids=["iptables", "wire"])
def test_some_is_lost(host: tuple[Hosts, str], *, tables: bool) -> None:
    """One in ten each way: of 200 some 38."""
    hosts, address = host
    had, hosts.tables = hosts.tables, hosts.tables and tables
    hosts.loss("a")
    took = heard(address, 200, wait_s=1.5)
    hosts.mend("a")
    hosts.tables = had
    assert 110 < len(took) < 195


def test_slowed_it_carries_little(host: tuple[Hosts, str]) -> None:
    """32 kB at 256 kbit/s take a second, and what is beyond its queue is lost."""
    hosts, address = host
    hosts.slow("a")
    took = heard(address, 24, size=1_400, apart_s=0.0)
    hosts.mend("a")
    assert len(took) < 24 or max(took) > 0.3


def test_frozen_it_answers_when_it_goes_on_and_killed_never(host: tuple[Hosts, str]) -> None:
    hosts, address = host
    hosts.signal("a", signal.SIGSTOP)
    assert heard(address, 2, wait_s=0.2) == []
    hosts.signal("a", signal.SIGCONT)
    assert len(heard(address, 2)) == 2
    assert len(hosts.processes("a")) == 1
    hosts.signal("a", signal.SIGKILL)
    time.sleep(0.1)
    assert hosts.processes("a") == []
