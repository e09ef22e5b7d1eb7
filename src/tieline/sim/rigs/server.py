"""The sockets of fake rigs: one listener for each address and port, or one for all of a port on the wildcard address.

A wildcard listener serves any number of addresses of 127/8 on Linux, since a connection says which address it meant.
`ports` maps a protocol's own port to another, for machines where those below 1024 need a privilege.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from tieline.fleet.models import RigModel
from tieline.sim.rigs import antminer, braiins, luxos, vnish, whatsminer
from tieline.sim.rigs.machine import FaultName, Machine

log = logging.getLogger("tieline.sim")

# A real rig drops a client that says nothing for so long.
REQUEST_TIMEOUT_S = 5.0
FLOOD_S = 3.0

Serve = Callable[[Machine, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HINTS = {
    errno.EADDRINUSE: "another program holds it; these rigs show as unreachable, or as the other program's",
    errno.EACCES: "ports below 1024 need a privilege; map them to others",
}
ALIASES = "many loopback addresses are a Linux feature; elsewhere these rigs show as unreachable"

# firmware -> its ports and what speaks there.
FIRMWARES: dict[str, dict[int, Serve]] = {
    "luxos": {4028: luxos.serve},
    "antminer": {4028: antminer.serve, 80: antminer.serve_web},
    "antminer-2019": {4028: antminer.serve, 80: antminer.serve_web},
    "whatsminer-v2": {4028: whatsminer.serve_v2},
    "whatsminer-v3": {4028: whatsminer.serve_v2_version, 4433: whatsminer.serve_v3},
    "vnish": {4028: vnish.serve, 80: vnish.serve_web},
    "braiins": {4028: braiins.serve, 80: braiins.serve_web},
}
# What serves by a library of its own: one server for each rig, never on the wildcard address.
Start = Callable[[Machine, str, int], Awaitable[Any]]
STARTED: dict[str, dict[int, Start]] = {"braiins": {50051: braiins.start_grpc}}


class FakeRigs:
    """A rack of fake rigs. `firmware`: of all of them; "stock" is the maker's own."""

    def __init__(
        self,
        addresses: Sequence[str],
        model: RigModel,
        wake: Literal["fast", "slow"] = "fast",
        seconds: Callable[[], float] | None = None,
        firmware: str = "luxos",
        ports: Mapping[int, int] | None = None,
        wildcard: bool = False,
        grpc: bool = True,
    ) -> None:
        clock = seconds if seconds is not None else _loop_seconds
        self.firmware = _named(firmware, model)
        self.rigs = {a: Machine(a, model, clock, self.firmware, wake) for a in addresses}
        self._ports, self._wildcard = dict(ports or {}), wildcard
        self._grpc = grpc and not wildcard  # its library takes seconds to import, and our own driver needs none
        self._servers: list[Any] = []  # with `close()`
        self.problem: str | None = None

    async def start(self) -> int:
        """Open the sockets; returns how many rigs answer. Where loopback aliases are missing (macOS) or taken,
        `problem` says so in one line, and the rest go on."""
        failed: dict[str, OSError] = {}
        hosts = ["0.0.0.0"] if self._wildcard else list(self.rigs)
        for host in hosts:
            for port, serve in FIRMWARES[self.firmware].items():
                try:
                    server = await asyncio.start_server(
                        self._handler(serve), host, self._ports.get(port, port), backlog=1024 if self._wildcard else 64
                    )
                except OSError as error:
                    failed.setdefault(host, error)
                    continue
                self._servers.append(server)
        for rig in self.rigs.values() if self._grpc else ():
            for port, start in STARTED.get(self.firmware, {}).items():
                try:
                    self._servers.append(await start(rig, rig.address, self._ports.get(port, port)))
                except OSError as error:
                    failed.setdefault(rig.address, error)
        if failed:
            self.problem = self._told(failed, len(hosts))
            log.warning("%s", self.problem)
        return 0 if self._wildcard and failed else len(self.rigs) - len(failed)

    def _told(self, failed: Mapping[str, OSError], hosts: int) -> str:
        """Why some cannot listen, and what to do."""
        host, why = next(iter(failed.items()))
        hint = HINTS.get(why.errno or 0, ALIASES)
        first = min(FIRMWARES[self.firmware])
        return (
            f"{len(failed)} of {hosts} fake rigs cannot listen on {host}:{self._ports.get(first, first)} "
            f"({os.strerror(why.errno or 0)}); {hint}"
        )

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def inject(self, address: str, fault: FaultName) -> None:
        self.rigs[address].faults.add(fault)

    def mend(self, address: str) -> None:
        self.rigs[address].faults.clear()
        self.rigs[address].says.clear()

    @property
    def power_w(self) -> float:
        """What the rack truly draws, whatever it says."""
        return sum(rig.power_w for rig in self.rigs.values())

    def _handler(self, serve: Serve) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            rig = self.rigs.get(writer.get_extra_info("sockname")[0])
            if rig is None:
                writer.transport.abort()
                return
            rig.calls += 1
            # Cancelled with its loop a connection ends like any other: asyncio would print a traceback for each.
            with contextlib.suppress(
                OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError
            ):
                if not await _misbehaved(rig, reader, writer):
                    await serve(rig, reader, writer)
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

        return handle


async def _misbehaved(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Bad manners at the socket, below any protocol; True where there was one."""
    if "unreachable" in rig.faults or rig.seconds() < rig.woken_at:
        writer.transport.abort()
        return True
    if "hang" in rig.faults:
        while await reader.read(4096):
            pass  # takes everything, answers nothing, until the other side gives up
        return True
    if "half_frame" in rig.faults:
        await reader.read(4096)
        writer.write(b'{"STATUS":[{"STATUS":"S","Wh')
        await writer.drain()
        return True
    if "html" in rig.faults:
        await reader.read(4096)
        writer.write(b"<html><body>502 Bad Gateway</body></html>\x00")
        await writer.drain()
        return True
    if "flood" in rig.faults:
        end = asyncio.get_running_loop().time() + FLOOD_S
        while asyncio.get_running_loop().time() < end:
            writer.write(b"x" * 65536)
            await writer.drain()
        return True
    return False


def _named(firmware: str, model: RigModel) -> str:
    if firmware == "stock":
        return "whatsminer-v2" if model.vendor == "MicroBT" else "antminer"
    if firmware not in FIRMWARES:
        known = ", ".join(sorted(FIRMWARES))
        raise ValueError(f"no fake speaks {firmware!r}; known are {known}")
    return firmware


def _loop_seconds() -> float:
    return asyncio.get_running_loop().time()
