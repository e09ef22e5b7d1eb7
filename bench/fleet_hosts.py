"""Hosts of a fleet on one machine: each a network namespace with an address of its own, cut off by its cable.

`ip netns`, a bridge, a pair of veths for each. Cut: the cable is down. Slow: 256 kbit/s both ways (`tc tbf`). The
database is reached over a Unix socket, which knows no namespaces, so that each host has a relay of its own, which
stands still while its host is cut off. Where namespaces are not permitted all is on loopback, nothing can be cut, and
it says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from pathlib import Path
from typing import Final

NET: Final = "10.77"
SLOW: Final = ("tbf", "rate", "256kbit", "burst", "8kb", "latency", "400ms")


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

    def __init__(self, names: str, folder: Path, server: Path) -> None:
        self.number = os.getpid() % 200 + 20
        self.bridge = f"tlb{self.number}"
        self.relays = {name: Relay(folder / "pg" / name, server) for name in names}
        self.cut_now: set[str] = set()
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("addr", "add", f"{NET}.{self.number}.1/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for name in names:
            space, cable = self._space(name), self._cable(name)
            _ip("netns", "add", space)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", cable, "master", self.bridge)
            _ip("link", "set", cable, "up")
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="relays").start()
        for relay in self.relays.values():
            asyncio.run_coroutine_threadsafe(relay.open(), self._loop).result()

    def address(self, name: str) -> str:
        return f"{NET}.{self.number}.{10 + ord(name) - ord('a')}"

    def within(self, name: str) -> list[str]:
        """What a command begins with to run on that host."""
        return ["ip", "netns", "exec", self._space(name)]

    def cut(self, name: str) -> None:
        self.cut_now.add(name)
        _ip("link", "set", self._cable(name), "down")
        self.relays[name].cut = True

    def slow(self, name: str) -> None:
        _run("tc", "qdisc", "add", "dev", self._cable(name), "root", *SLOW)
        _run(*self.within(name), "tc", "qdisc", "add", "dev", "eth0", "root", *SLOW)

    def mend(self, name: str) -> None:
        self.cut_now.discard(name)
        _ip("link", "set", self._cable(name), "up")
        self.relays[name].cut = False
        for before, cable in (([], self._cable(name)), (self.within(name), "eth0")):
            words = [*before, "tc", "qdisc", "del", "dev", cable, "root"]
            subprocess.run(words, capture_output=True, check=False)

    def close(self) -> None:
        for name in self.relays:
            subprocess.run(["ip", "netns", "del", self._space(name)], capture_output=True, check=False)
            subprocess.run(["ip", "link", "del", self._cable(name)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _space(self, name: str) -> str:
        return f"tl{self.number}{name}"

    def _cable(self, name: str) -> str:
        return f"tlv{self.number}{name}"


class Relay:
    """A host's way to the database: bytes wait while it is cut, as they would in a network."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self._server, self.cut = folder, server, False

    async def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        await asyncio.start_unix_server(self._serve, self.folder / ".s.PGSQL.5432")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._server / ".s.PGSQL.5432")
        with contextlib.suppress(OSError):
            await asyncio.wait(
                {asyncio.create_task(self._copy(reader, back)), asyncio.create_task(self._copy(there, writer))},
                return_when=asyncio.FIRST_COMPLETED,
            )
        for one in (writer, back):
            one.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                while self.cut:
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
