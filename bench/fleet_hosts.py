"""Hosts of a fleet on one machine: each a network namespace with an address of its own on one bridge.

Killed and frozen: every process in the namespace. Cut off: its cable is down. Slow: 256 kbit/s both ways (`tc tbf`).
Loss: one packet in ten, both ways (`iptables -m statistic`, else by the wire below). Delay: 150 ms with 50 ms of jitter
each way; netem is in few kernels of small machines, so a wire in this process takes the cable's frames and lays them on
later. Where namespaces are not permitted all is on loopback, nothing of this can be done, and it says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Final

NET: Final = "10.77"
SLOW: Final = ("tbf", "rate", "256kbit", "burst", "8kb", "latency", "400ms")
LOSS, DELAY_S, JITTER_S = 0.10, 0.150, 0.050
_ALL_FRAMES: Final = 3  # ETH_P_ALL
_OUTGOING: Final = 4  # a frame that this socket has sent
_MEMBERSHIP, _PROMISCUOUS = (263, 1), 1  # SOL_PACKET's ADD_MEMBERSHIP and its kind
_SET: Final = 0x8946  # SIOCETHTOOL, and what of it switches checksums, scatter, and segments of the card's own off
_OFFLOADS: Final = (0x17, 0x19, 0x1F, 0x24)


def permitted() -> bool:
    """Whether this process may make network namespaces."""
    name = f"tltry{os.getpid()}"
    try:
        if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
            return False
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    except OSError:
        return False
    return True


class Hosts:
    """By their names; `number` keeps two runs on one machine apart."""

    def __init__(self, names: str, number: int | None = None) -> None:
        self.names, self.number = names, os.getpid() % 200 + 20 if number is None else number
        self.bridge = f"tlb{self.number}"
        self._wires: dict[str, Wire] = {}
        self.tables = shutil.which("iptables") is not None and self._drops_at_random()
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("addr", "add", f"{NET}.{self.number}.1/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        plain(self.bridge)
        for name in names:
            space, cable = self._space(name), self._cable(name)
            _ip("netns", "add", space)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", cable, "master", self.bridge)
            _ip("link", "set", cable, "up")
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            _run(*self.within(name), sys.executable, __file__, "eth0")
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="wires").start()

    def address(self, name: str) -> str:
        return f"{NET}.{self.number}.{10 + ord(name) - ord('a')}"

    def within(self, name: str) -> list[str]:
        """What a command begins with to run on that host."""
        return ["ip", "netns", "exec", self._space(name)]

    # --- what goes wrong ---------------------------------------------------------

    def processes(self, name: str) -> list[int]:
        said = subprocess.run(["ip", "netns", "pids", self._space(name)], capture_output=True, text=True, check=False)
        return [int(one) for one in said.stdout.split()]

    def signal(self, name: str, what: signal.Signals) -> None:
        """Every process of the host, also those that were begun meanwhile."""
        told: set[int] = set()
        while new := set(self.processes(name)) - told:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, what)
            told |= new

    def cut(self, name: str) -> None:
        _ip("link", "set", self._cable(name), "down")

    def slow(self, name: str) -> None:
        _run("tc", "qdisc", "add", "dev", self._cable(name), "root", *SLOW)
        _run(*self.within(name), "tc", "qdisc", "add", "dev", "eth0", "root", *SLOW)

    def loss(self, name: str) -> None:
        if not self.tables:
            self._wire(name, 0.0, 0.0, LOSS)
            return
        for chain in ("INPUT", "OUTPUT"):
            words = ("-A", chain, "-m", "statistic", "--mode", "random", "--probability", str(LOSS), "-j", "DROP")
            _run(*self.within(name), "iptables", *words)

    def delay(self, name: str) -> None:
        self._wire(name, DELAY_S, JITTER_S, 0.0)

    def mend(self, name: str) -> None:
        """Its network; processes are told to go on."""
        wire = self._wires.pop(name, None)
        if wire is not None:
            self._within_loop(wire.close)
        _ip("link", "set", self._cable(name), "up")
        for before, cable in (([], self._cable(name)), (self.within(name), "eth0")):
            words = [*before, "tc", "qdisc", "del", "dev", cable, "root"]
            subprocess.run(words, capture_output=True, check=False)
        if self.tables:
            _run(*self.within(name), "iptables", "-F")

    def close(self) -> None:
        for name in self.names:
            self.mend(name)
            subprocess.run(["ip", "netns", "del", self._space(name)], capture_output=True, check=False)
            subprocess.run(["ip", "link", "del", self._cable(name)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _wire(self, name: str, delay_s: float, jitter_s: float, loss: float) -> None:
        wire = self._wires[name] = Wire(self._cable(name), self.bridge, delay_s, jitter_s, loss)
        self._within_loop(lambda: wire.open(self._loop))

    def _within_loop(self, do: Callable[[], None]) -> None:
        async def once() -> None:
            do()

        asyncio.run_coroutine_threadsafe(once(), self._loop).result(10.0)

    def _drops_at_random(self) -> bool:
        """Whether the kernel has it; tried in a namespace of its own."""
        space = f"tltry{os.getpid()}"
        _ip("netns", "add", space)
        try:
            words = ["-A", "INPUT", "-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "DROP"]
            tried = ["ip", "netns", "exec", space, "iptables", *words]
            return subprocess.run(tried, capture_output=True, check=False).returncode == 0
        finally:
            _ip("netns", "del", space)

    def _space(self, name: str) -> str:
        return f"tl{self.number}{name}"

    def _cable(self, name: str) -> str:
        return f"tlv{self.number}{name}"


class Wire:
    """Between a host's cable and the bridge: takes each frame and lays it on later, or loses it."""

    def __init__(self, cable: str, bridge: str, delay_s: float, jitter_s: float, loss: float) -> None:
        self.cable, self.bridge, self.ends = cable, bridge, (f"{cable}p", f"{cable}q")
        self._delay_s, self._jitter_s, self._loss = delay_s, jitter_s, loss
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sockets: list[socket.socket] = []
        self._dice = random.Random(cable)
        self._last = [0.0, 0.0]  # frames of one way keep their order

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        near, far = self.ends
        _ip("link", "add", near, "type", "veth", "peer", "name", far)
        for one in self.ends:
            plain(one)
            _ip("link", "set", one, "up")
        _ip("link", "set", self.cable, "nomaster")
        _ip("link", "set", far, "master", self.bridge)
        self._loop = loop
        self._sockets = [_frames_of(self.cable), _frames_of(near)]
        for way, (here, there) in enumerate((self._sockets, self._sockets[::-1])):
            loop.add_reader(here, self._took, way, here, there)

    def close(self) -> None:
        assert self._loop is not None
        for one in self._sockets:
            self._loop.remove_reader(one)
            one.close()
        _ip("link", "del", self.ends[0])
        _ip("link", "set", self.cable, "master", self.bridge)

    def _took(self, way: int, here: socket.socket, there: socket.socket) -> None:
        assert self._loop is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, of = here.recvfrom(65_536)
                if of[2] == _OUTGOING or self._dice.random() < self._loss:
                    continue
                due = self._loop.time() + self._delay_s + self._dice.uniform(-1.0, 1.0) * self._jitter_s
                self._last[way] = due = max(due, self._last[way])
                self._loop.call_at(due, self._lay, there, frame)

    @staticmethod
    def _lay(there: socket.socket, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # the wire is gone, or its queue is full: a frame is lost
            there.send(frame)


def plain(name: str) -> None:
    """A card of this namespace leaves nothing of a frame to the next card: what is read off a wire is whole."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for command in _OFFLOADS:
            value = bytearray(struct.pack("II", command, 0))
            where = (struct.pack("16sP", name.encode(), _address_of(value))).ljust(40, b"\0")
            with contextlib.suppress(OSError):  # a kind of card that does not know this one
                fcntl.ioctl(asking, _SET, where)


def _address_of(value: bytearray) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(value))


def _frames_of(card: str) -> socket.socket:
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES))
    frames.bind((card, 0))
    frames.setblocking(False)
    every = struct.pack("iHH8s", socket.if_nametoindex(card), _PROMISCUOUS, 0, b"")
    frames.setsockopt(*_MEMBERSHIP, every)
    return frames


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


if __name__ == "__main__":
    plain(sys.argv[1])
