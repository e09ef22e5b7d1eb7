"""Fake rigs on loopback sockets that speak LuxOS' JSON protocol on port 4028.

They stand in for hardware, so that polling, pausing and every fault are run over real sockets. Each answers
`simulated` where a real rig gives its description. One server per address; many loopback addresses exist on
Linux only. Faults can be injected at run time: stuck, unreachable, slow to wake, wrong readback.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from tieline.fleet.models import RigModel
from tieline.fleet.physics import RIG_MODES, WAKE_S

log = logging.getLogger("tieline.sim")

PORT = 4028
# A request is a line of JSON; real ones are under 200 bytes.
MAX_REQUEST, REQUEST_TIMEOUT_S = 4096, 5.0
DESCRIPTION = "LUXminer simulated"

FaultName = Literal["stuck", "unreachable", "slow_wake", "wrong_readback"]


@dataclass(slots=True)
class FakeRig:
    """One rig's state. `seconds` is a monotonic clock that the owner gives."""

    address: str
    model: RigModel
    seconds: Callable[[], float]
    wake: Literal["fast", "slow"] = "fast"
    asleep: bool = False
    woken_at: float = float("-inf")
    profile: str = "default"
    session: str = ""
    faults: set[FaultName] = field(default_factory=set)
    calls: int = 0

    @property
    def hashing(self) -> bool:
        """A waking rig draws from the first second and hashes later."""
        wait_s = WAKE_S["slow" if "slow_wake" in self.faults else self.wake]
        return not self.asleep and self.seconds() - self.woken_at >= wait_s

    @property
    def power_w(self) -> float:
        """What it truly draws."""
        return RIG_MODES["sleep"].fixed_w if self.asleep else self.model.power_w

    @property
    def said_w(self) -> float:
        """What it says it draws."""
        return self.model.power_w if "wrong_readback" in self.faults else self.power_w

    @property
    def hashrate_ghs(self) -> float:
        return self.model.hashrate_ths * 1e3 if self.hashing else 0.0

    def curtail(self, mode: str) -> None:
        if "stuck" in self.faults:
            return  # takes the order, does nothing: the fault that readback exists for
        if mode == "sleep":
            self.asleep = True
        elif self.asleep:
            self.asleep, self.woken_at = False, self.seconds()


class FakeRigs:
    """A rack of fake rigs, each on its own loopback address."""

    def __init__(
        self,
        addresses: Sequence[str],
        model: RigModel,
        wake: Literal["fast", "slow"] = "fast",
        seconds: Callable[[], float] | None = None,
        port: int = PORT,
    ) -> None:
        clock = seconds if seconds is not None else _loop_seconds
        self.rigs = {a: FakeRig(a, model, clock, wake) for a in addresses}
        self._port = port
        self._servers: list[asyncio.Server] = []
        self.problem: str | None = None

    async def start(self) -> int:
        """Open the sockets; returns how many rigs answer. Where loopback aliases are missing (macOS) or taken,
        `problem` says so in one line, and the rest go on."""
        failed: list[str] = []
        why, taken = "", False
        for rig in self.rigs.values():
            try:
                server = await asyncio.start_server(partial(_serve, rig), rig.address, self._port, backlog=64)
            except OSError as error:
                failed.append(rig.address)
                why = os.strerror(error.errno or 0)
                taken = taken or error.errno == errno.EADDRINUSE
            else:
                self._servers.append(server)
        if failed:
            hint = "many loopback addresses are a Linux feature; elsewhere these rigs show as unreachable"
            if taken:
                hint = "another program holds it; these rigs show as unreachable, or as the other program's"
            self.problem = (
                f"{len(failed)} of {len(self.rigs)} fake rigs cannot listen on {failed[0]}:{self._port} ({why}); {hint}"
            )
            log.warning("%s", self.problem)
        return len(self._servers)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def inject(self, address: str, fault: FaultName) -> None:
        self.rigs[address].faults.add(fault)

    def mend(self, address: str) -> None:
        self.rigs[address].faults.clear()

    @property
    def power_w(self) -> float:
        """What the rack truly draws, whatever it says."""
        return sum(rig.power_w for rig in self.rigs.values())


async def _serve(rig: FakeRig, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    rig.calls += 1
    with contextlib.suppress(OSError, TimeoutError, ValueError, TypeError, KeyError):
        if "unreachable" in rig.faults:
            writer.transport.abort()
            return
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            request = json.loads(await reader.read(MAX_REQUEST))
            answer = respond(rig, str(request["command"]), str(request.get("parameter", "")))
            writer.write(json.dumps(answer).encode() + b"\x00")
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


def respond(rig: FakeRig, command: str, parameter: str) -> dict[str, Any]:
    """One request, one answer; `a+b` asks for several at once."""
    words = command.split("+")
    if len(words) > 1:
        return {word: [_one(rig, word, "")] for word in words} | {"id": 1}
    return _one(rig, command, parameter)


def _one(rig: FakeRig, command: str, parameter: str) -> dict[str, Any]:
    model = f"{rig.model.vendor} {rig.model.name}".removeprefix("Bitmain ")
    rate = rig.hashrate_ghs
    match command:
        case "version":
            body = {
                "API": "3.7",
                "CompileTime": "simulated",
                "LUXminer": "2025.1.1",
                "Miner": "2025.1.1",
                "Type": model,
            }
            return _ok("VERSION", body)
        case "summary":
            return _ok("SUMMARY", {"GHS 5s": rate, "GHS av": rate, "Accepted": 1, "Rejected": 0, "Elapsed": 100})
        case "stats":
            return _status() | {"STATS": [{"Type": model}, _boards(rig, rate)], "id": 1}
        case "power":
            return _ok("POWER", {"Watts": round(rig.said_w), "PSU": True})
        case "config":
            return _ok("CONFIG", _config(rig, model))
        case "profiles":
            return _ok("PROFILES", _profile(rig))
        case "fans":
            fan = {"RPM": 0 if rig.asleep else 5000, "Speed": 0 if rig.asleep else 80}
            return _status() | {"FANS": [{"FAN": n, "ID": n, **fan} for n in range(4)], "id": 1}
        case "pools":
            return _ok(
                "POOLS", {"POOL": 0, "URL": "stratum+tcp://simulated:3333", "User": "simulated", "Status": "Alive"}
            )
        case "tempctrl":
            return _ok("TEMPCTRL", {"Dangerous": 90, "Hot": 80, "Mode": "Automatic", "Target": 60})
        case "groups":
            return _ok("GROUPS", {"GROUP": 0, "Name": "default", "Quota": 1})
        case "atm":
            return _ok("ATM", {"Enabled": False})
        case "session":
            return _ok("SESSION", {"SessionID": rig.session})
        case "logon":
            rig.session = f"s{rig.address.replace('.', '')}{rig.calls}"
            return _ok("SESSION", {"SessionID": rig.session})
        case "curtail":
            session, _, mode = parameter.partition(",")
            if not rig.session or session != rig.session:
                return _error("bad session")
            if mode not in ("sleep", "wakeup"):
                return _error("invalid curtail mode")
            rig.curtail(mode)
            return _status("Curtail") | {"id": 1}
        case _:
            return _error("Invalid command")


def _boards(rig: FakeRig, rate: float) -> dict[str, Any]:
    chip = 30 if rig.asleep else 62
    board: dict[str, Any] = {"Elapsed": 100, "GHS 5s": rate, "total_rateideal": rig.model.hashrate_ths * 1e3}
    for n in (1, 2, 3):
        board[f"chain_rate{n}"] = str(rate / 3)
        board[f"chain_acn{n}"] = 108
        board[f"temp_chip{n}"] = "-".join([str(chip)] * 4)
        board[f"temp_pcb{n}"] = "-".join([str(chip - 10)] * 4)
    return board


def _config(rig: FakeRig, model: str) -> dict[str, Any]:
    return {
        "Profile": rig.profile,
        "CurtailMode": "Sleep" if rig.asleep else "None",
        "IsAtmEnabled": False,
        "RedLed": "off",
        "SystemStatus": "simulated",
        "Model": model,
    }


def _profile(rig: FakeRig) -> dict[str, Any]:
    return {
        "Profile Name": rig.profile,
        "Frequency": 500,
        "Hashrate": rig.model.hashrate_ths,
        "IsTuned": True,
        "Step": "0",
        "Voltage": 13.0,
        "Watts": round(rig.model.power_w),
    }


def _ok(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return _status(name.title()) | {name: [body], "id": 1}


def _status(message: str = "OK") -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "S", "When": 1, "Code": 1, "Msg": message, "Description": DESCRIPTION}]}


def _error(message: str) -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "E", "When": 1, "Code": 14, "Msg": message, "Description": DESCRIPTION}], "id": 1}


def _loop_seconds() -> float:
    return asyncio.get_running_loop().time()
