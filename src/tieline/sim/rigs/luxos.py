"""A fake rig that speaks LuxOS' JSON protocol on port 4028. It answers `simulated` where a real rig gives its
description. A command wants the session of the last `logon`; a restart forgets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tieline.sim.rigs.machine import Machine

# A request is a line of JSON; real ones are under 200 bytes.
MAX_REQUEST, REQUEST_TIMEOUT_S = 4096, 5.0
DESCRIPTION = "LUXminer simulated"
# Profiles by share of rated power.
PROFILES = {"default": 1.0, "-1step": 0.86, "-2step": 0.72, "-3step": 0.58}
# What every rig answers alike.
SAME_ALWAYS: dict[str, dict[str, Any]] = {
    "tempctrl": {"Dangerous": 90, "Hot": 80, "Mode": "Automatic", "Target": 60},
    "groups": {"GROUP": 0, "Name": "default", "Quota": 1},
    "atm": {"Enabled": False},
}


async def serve(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request and one answer."""
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        try:
            request = json.loads(await reader.read(MAX_REQUEST))
            answer = respond(rig, str(request["command"]), str(request.get("parameter", "")))
        except (ValueError, TypeError, KeyError):
            answer = _error("Invalid JSON")
        writer.write(json.dumps(answer).encode() + b"\x00")
        await writer.drain()


def respond(rig: Machine, command: str, parameter: str) -> dict[str, Any]:
    """One request, one answer; `a+b` asks for several at once."""
    words = command.split("+")
    if len(words) > 1:
        return {word: [_one(rig, word, "")] for word in words} | {"id": 1}
    return _one(rig, command, parameter)


def _one(rig: Machine, command: str, parameter: str) -> dict[str, Any]:
    if command in SAME_ALWAYS:
        return _ok(command.upper(), SAME_ALWAYS[command])
    if command in TOLD:
        return TOLD[command](rig)
    if command in POOLS:
        return POOLS[command](rig, parameter)
    if command in SETS:
        return SETS[command](rig, parameter) if _logged_on(rig, parameter) else _error("bad session")
    return _error("Invalid command")


def _type(rig: Machine) -> str:
    return f"{rig.model.vendor} {rig.model.name}".removeprefix("Bitmain ")


def _version(rig: Machine) -> dict[str, Any]:
    release = "2025.1.1"
    body = {"API": "3.7", "CompileTime": "simulated", "LUXminer": release, "Miner": release, "Type": _type(rig)}
    return _ok("VERSION", body)


def _summary(rig: Machine) -> dict[str, Any]:
    rate = rig.told("rate_ghs", rig.rate_ghs)
    return _ok("SUMMARY", {"GHS 5s": rate, "GHS av": rate, "Accepted": 1, "Rejected": 0, "Elapsed": 100})


def _stats(rig: Machine) -> dict[str, Any]:
    boards = _boards(rig, rig.told("rate_ghs", rig.rate_ghs))
    return _status() | {"STATS": [{"Type": _type(rig)}, boards], "id": 1}


def _power(rig: Machine) -> dict[str, Any]:
    if "no_watts" in rig.faults:
        return _error("Invalid command")
    return _ok("POWER", {"Watts": rig.told("watts", round(rig.said_w)), "PSU": True})


def _temps(rig: Machine) -> dict[str, Any]:
    chip = 30 if rig.asleep else 62
    return _status() | {"TEMPS": [{"ID": n, "TEMP": 0, "BottomLeft": chip} for n in range(3)], "id": 1}


def _fans(rig: Machine) -> dict[str, Any]:
    fan = {"RPM": 0 if rig.asleep else 5000, "Speed": 0 if rig.asleep else 80}
    return _status() | {"FANS": [{"FAN": n, "ID": n, **fan} for n in range(4)], "id": 1}


def _pools(rig: Machine) -> dict[str, Any]:
    counts = {"Accepted": 1, "Rejected": 0, "Get Failures": 0, "Remote Failures": 0, "Stratum Active": True}
    rows = [
        {"POOL": n, "URL": url, "User": worker, "Status": "Alive", "Quota": 1, "GROUP": 0} | counts
        for n, (url, worker) in enumerate(rig.pools)
    ]
    return _status("Pools") | {"POOLS": rows, "id": 1}


def _logon(rig: Machine) -> dict[str, Any]:
    rig.session = f"s{rig.address.replace('.', '')}{rig.calls}"
    return _ok("SESSION", {"SessionID": rig.session})


def _boards(rig: Machine, rate: object) -> dict[str, Any]:
    chip = 30 if rig.says_sleep else 62
    board: dict[str, Any] = {"Elapsed": 100, "GHS 5s": rate, "total_rateideal": rig.model.hashrate_ths * 1e3}
    for n in (1, 2, 3):
        board[f"chain_rate{n}"] = str(rate / 3) if isinstance(rate, int | float) else rate
        board[f"chain_acn{n}"] = 108
        board[f"temp_chip{n}"] = "-".join([str(chip)] * 4)
        board[f"temp_pcb{n}"] = "-".join([str(chip - 10)] * 4)
    return board


def _config(rig: Machine) -> dict[str, Any]:
    return {
        "MACAddr": rig.mac,
        "SerialNumber": f"SIM{rig.mac.replace(':', '').upper()}",
        "Profile": rig.profile,
        "CurtailMode": "Sleep" if rig.says_sleep else "None",
        "IsAtmEnabled": False,
        "RedLed": "blink" if rig.light else "off",
        "SystemStatus": "simulated",
        "Model": _type(rig),
    }


def _profile(rig: Machine, name: str) -> dict[str, Any]:
    share = PROFILES[name]
    return {
        "Profile Name": name,
        "Frequency": round(500 * share),
        "Hashrate": round(rig.model.hashrate_ths * share**0.75, 1),
        "IsTuned": True,
        "Step": str(round((share - 1) / 0.14)),
        "Voltage": 13.0,
        "Watts": round(rig.model.power_w * share),
    }


def _curtail(rig: Machine, parameter: str) -> dict[str, Any]:
    mode = parameter.partition(",")[2]
    if mode not in ("sleep", "wakeup"):
        return _error("invalid curtail mode")
    took = rig.pause() if mode == "sleep" else rig.resume()
    return _status("Curtail") | {"id": 1} if took else _error("curtail failed")


def _set_profile(rig: Machine, parameter: str) -> dict[str, Any]:
    name = parameter.partition(",")[2]
    if name not in PROFILES or not rig.limit(PROFILES[name] * rig.model.power_w):
        return _error("invalid profile")
    rig.profile = name
    return _status("Profile") | {"PROFILE": [{"Profile": name}], "id": 1}


def _add_pool(rig: Machine, parameter: str) -> dict[str, Any]:
    words = parameter.split(",")
    if len(words) < 3 or not rig.set_pools([*rig.pools, (words[0], words[1])]):
        return _error("invalid pool")
    return _status("Pool") | {"id": 1}


def _switch_pool(rig: Machine, parameter: str) -> dict[str, Any]:
    """A switched-to pool is the one in use; the order stands."""
    return _status("Pool") | {"id": 1} if _nth(rig, parameter) is not None else _error("invalid pool")


def _remove_pool(rig: Machine, parameter: str) -> dict[str, Any]:
    number = _nth(rig, parameter)
    if number is None or not rig.set_pools([one for n, one in enumerate(rig.pools) if n != number]):
        return _error("invalid pool")
    return _status("Pool") | {"id": 1}


def _remove_group(rig: Machine, parameter: str) -> dict[str, Any]:
    """The group's pools go with it; there is one group, whose number and name stand."""
    if parameter.strip() != "0" or "refuse" in rig.faults:
        return _error("invalid group")
    rig.bare = "stuck" not in rig.faults
    return _status("Group") | {"id": 1}


def _nth(rig: Machine, parameter: str) -> int | None:
    word = parameter.strip()
    return int(word) if word.isdigit() and int(word) < len(rig.pools) else None


def _logged_on(rig: Machine, parameter: str) -> bool:
    return bool(rig.session) and parameter.partition(",")[0] == rig.session


def _ok(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return _status(name.title()) | {name: [body], "id": 1}


def _status(message: str = "OK") -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "S", "When": 1, "Code": 1, "Msg": message, "Description": DESCRIPTION}]}


def _error(message: str) -> dict[str, Any]:
    return {"STATUS": [{"STATUS": "E", "When": 1, "Code": 14, "Msg": message, "Description": DESCRIPTION}], "id": 1}


def _light(rig: Machine, parameter: str) -> dict[str, Any]:
    rig.light = parameter.endswith(",blink")
    return _status("Led") | {"id": 1}


def _reboot(rig: Machine, _: str) -> dict[str, Any]:
    rig.reboot()
    return _status("Reboot") | {"id": 1}


# What it does for anyone, what it says to anyone, and what it does for who is logged on.
POOLS: dict[str, Callable[[Machine, str], dict[str, Any]]] = {
    "addpool": _add_pool,
    "switchpool": _switch_pool,
    "removepool": _remove_pool,
    "removegroup": _remove_group,
    "addgroup": lambda rig, _: _status("Group") | {"id": 1},
}
TOLD: dict[str, Callable[[Machine], dict[str, Any]]] = {
    "version": _version,
    "summary": _summary,
    "stats": _stats,
    "power": _power,
    "config": lambda rig: _ok("CONFIG", _config(rig)),
    "temps": _temps,
    "profiles": lambda rig: _status("Profiles") | {"PROFILES": [_profile(rig, name) for name in PROFILES], "id": 1},
    "fans": _fans,
    "pools": _pools,
    "session": lambda rig: _ok("SESSION", {"SessionID": rig.session}),
    "logon": _logon,
}
SETS: dict[str, Callable[[Machine, str], dict[str, Any]]] = {
    "curtail": _curtail,
    "profileset": _set_profile,
    "rebootdevice": _reboot,
    "ledset": _light,
}
