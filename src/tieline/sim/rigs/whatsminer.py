"""A fake WhatsMiner: API 2 on port 4028 with a token and encrypted commands, API 3 on port 4433 with signed ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from passlib.hash import md5_crypt

from tieline.sim.rigs.machine import BOARDS, Machine

MAX_REQUEST, REQUEST_TIMEOUT_S = 8192, 5.0
PASSWORD, PASSWORD_V3 = "admin", "super"
SALT, NEWSALT, TIME = "BQ5hoXV9", "jbzkfQls", "4281"
SALT_V3 = "9dW2qbNz"
# The most a command may set, over the rating.
MOST_OF_RATED = 1.1


async def serve_v2(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        try:
            request = json.loads(await reader.read(MAX_REQUEST))
            answer = _respond_v2(rig, request)
        except (ValueError, TypeError, KeyError, AttributeError):
            answer = _error("json parse error")
        writer.write(json.dumps(answer).encode())
        await writer.drain()


async def serve_v3(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Frames with a length before them, as many as the client sends."""
    while True:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            (length,) = struct.unpack("<I", await reader.readexactly(4))
            if length > MAX_REQUEST:
                return
            body = await reader.readexactly(length)
            try:
                answer = _respond_v3(rig, json.loads(body))
            except (ValueError, TypeError, KeyError, AttributeError):
                answer = {"code": -1, "msg": "invalid command"}
            frame = json.dumps({"when": 1, "desc": ""} | answer).encode()
            writer.write(struct.pack("<I", len(frame)) + frame)
            await writer.drain()


async def serve_v2_version(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a machine with API 3 still says on port 4028: who it is, and nothing else."""
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        try:
            request = json.loads(await reader.read(MAX_REQUEST))
            name = request.get("cmd") or request.get("command")
        except (ValueError, AttributeError):
            name = ""
        known = {"get_version": _version(rig), "devdetails": _details(rig), "version": _error("invalid cmd btminer")}
        writer.write(json.dumps(known.get(name, _error("invalid cmd"))).encode())
        await writer.drain()


def board_model(rig: Machine) -> str:
    """The maker appends its hash board's version."""
    plain = rig.model.name.removeprefix("Whatsminer ")
    return f"{plain}_V{'H30' if plain.startswith('M50') else 'K30' if plain.startswith('M60') else 'E40'}"


def _respond_v2(rig: Machine, request: dict[str, Any]) -> dict[str, Any]:
    if request.get("enc") == 1:
        return _privileged(rig, request["data"])
    name = str(request.get("cmd") or request.get("command"))
    words = name.split("+")
    if len(words) > 1:
        return {word: [_one(rig, word)] for word in words} | {"id": 1}
    return _one(rig, name)


def _one(rig: Machine, name: str) -> dict[str, Any]:
    match name:
        case "get_token":
            return _ok({"time": TIME, "salt": SALT, "newsalt": NEWSALT})
        case "get_version":
            return _version(rig)
        case "version":
            return _rows("VERSION", [{"CGMiner": "btminer", "API": "3.7"}])
        case "devdetails":
            return _details(rig)
        case "summary":
            return _rows("SUMMARY", [_summary(rig)])
        case "pools":
            counts = {"Accepted": 1, "Rejected": 0, "Get Failures": 0, "Remote Failures": 0, "Stratum Active": True}
            return _rows(
                "POOLS",
                [
                    {"POOL": n + 1, "URL": url, "User": user, "Status": "Alive", "Priority": n} | counts
                    for n, (url, user) in enumerate(rig.pools)
                ],
            )
        case "devs" | "edevs":
            return _rows("DEVS", [_board(rig, n) for n in range(BOARDS)])
        case "status":
            return _ok({"btmineroff": _text(rig.says_sleep), "mineroff": _text(rig.says_sleep), "mineroff_reason": ""})
        case "get_miner_info":
            info = {"mac": rig.mac, "minersn": rig.serial, "ledstat": "auto", "hostname": "simulated", "proto": "dhcp"}
            return _ok(info | {"ip": rig.address, "netmask": "255.0.0.0", "gateway": "", "dns": ""})
        case "get_psu":
            return _ok({"name": "P221B", "fan_speed": "5000", "vin": "22200", "iin": "1500"})
        case "get_error_code":
            return _ok({"error_code": []})
        case _:
            return _error("invalid cmd")


def _summary(rig: Machine) -> dict[str, Any]:
    mhs = rig.told("mhs", rig.hashrate_ths * 1e6)
    return {
        "Elapsed": 100,
        "MHS av": mhs,
        "MHS 5s": mhs,
        "MHS 1m": mhs,
        "HS RT": mhs,
        "Accepted": 1,
        "Rejected": 0,
        "Temperature": 60.0,
        "freq_avg": 600,
        "Fan Speed In": 0 if rig.says_sleep else 4500,
        "Fan Speed Out": 0 if rig.says_sleep else 4500,
        "Power": rig.told("watts", round(rig.said_w)),
        "Power Rate": 18.0,
        "Power Mode": "Normal",
        "Power Limit": round(rig.limit_w or rig.model.power_w),
        "Factory GHS": round(rig.model.hashrate_ths * 1e3),
        "Chip Temp Min": 55.0,
        "Chip Temp Max": 70.0,
        "Chip Temp Avg": 62.0,
        "Env Temp": 25.0,
        "MAC": rig.mac.upper(),
        "Firmware Version": "'20230101.10.REL'",
        "CB Platform": "ALLWINNER_H616",
        "Power Fanspeed": 5000,
        "Error Code Count": 0,
        "Upfreq Complete": 1,
    }


def _board(rig: Machine, n: int) -> dict[str, Any]:
    rate = 0.0 if n < rig.boards_lost else rig.hashrate_ths * 1e6 / BOARDS
    return {
        "ASC": n, "Slot": n, "Enabled": "Y", "Status": "Alive", "Temperature": 60.0, "Chip Temp Min": 55.0,
        "Chip Temp Max": 70.0, "Chip Temp Avg": 62.0, "MHS av": rate, "MHS 5s": rate, "MHS 1m": rate, "HS RT": rate,
        "Factory GHS": rig.model.hashrate_ths * 1e3 / BOARDS, "Effective Chips": 105, "PCB SN": f"{rig.serial}{n}",
        "Chip Frequency": 600, "Upfreq Complete": 1,
    }  # fmt: skip


def _privileged(rig: Machine, data: str) -> dict[str, Any]:
    secret = str(md5_crypt.using(salt=SALT).hash(PASSWORD)).rsplit("$", 1)[1]
    sign = str(md5_crypt.using(salt=NEWSALT).hash(secret + TIME)).rsplit("$", 1)[1]
    key = hashlib.sha256(secret.encode()).digest()
    plain = Cipher(algorithms.AES(key), modes.ECB()).decryptor().update(base64.b64decode(data)).rstrip(b"\0")
    request = json.loads(plain)
    name = request.get("cmd") or request.get("command")
    if request.get("token") != sign:
        answer = _error("token error")
    elif name == "adjust_power_limit":
        answer = _ok("API command OK") if rig.limit(_limit(rig, request["power_limit"])) else _error("no")
    elif name == "power_off":
        answer = _ok("API command OK") if rig.pause() else _error("can't access write cmd")
    elif name == "power_on":
        answer = _ok("API command OK") if rig.resume() else _error("can't access write cmd")
    elif name == "reboot":
        rig.reboot()
        answer = _ok("API command OK")
    elif name == "update_pools":
        listed = [(request[f"pool{n}"], request[f"worker{n}"]) for n in (1, 2, 3) if request.get(f"pool{n}")]
        answer = _ok("API command OK") if rig.set_pools(listed) else _error("can't access write cmd")
    elif name == "set_led":
        rig.light = request.get("param") != "auto"
        answer = _ok("API command OK")
    else:
        answer = _error("invalid cmd")
    body = json.dumps(answer)
    padded = (body + "\0" * (-len(body) % 16)).encode()
    return {"enc": base64.b64encode(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(padded)).decode()}


def _respond_v3(rig: Machine, request: dict[str, Any]) -> dict[str, Any]:
    name, parameter = request["cmd"], request.get("param")
    match name:
        case "get.device.info":
            full = _device(rig)
            wanted = str(parameter).split("+") if parameter else list(full)
            return {"code": 0, "msg": {key: full[key] for key in wanted if key in full}, "desc": name}
        case "get.miner.status":
            full = {"summary": _summary_v3(rig), "pools": _pools_v3(rig), "edevs": _boards_v3(rig)}
            return {"code": 0, "msg": {k: full[k] for k in str(parameter).split("+") if k in full}, "desc": name}
        case "get.miner.setting" | "get.system.setting":
            limit = round(rig.limit_w or rig.model.power_w)
            return {"code": 0, "msg": {"power-mode": "normal", "power-limit": limit}, "desc": name}
        case _ if name.startswith("set."):
            return _set_v3(rig, request) | {"desc": name}
        case _:
            return {"code": -2, "msg": "invalid command", "desc": name}


def _set_v3(rig: Machine, request: dict[str, Any]) -> dict[str, Any]:
    name, parameter = request["cmd"], request.get("param")
    digest = hashlib.sha256(f"{name}{PASSWORD_V3}{SALT_V3}{request.get('ts')}".encode()).digest()
    if request.get("token") != base64.b64encode(digest).decode()[:8]:
        return {"code": -4, "msg": "token error"}
    if name == "set.miner.service" and parameter in ("stop", "disable"):
        took = rig.pause()
    elif name == "set.miner.service":
        took = rig.resume()
    elif name == "set.miner.power_limit":
        took = rig.limit(_limit(rig, parameter))
    elif name == "set.miner.pools":
        plain = Cipher(algorithms.AES(digest), modes.ECB()).decryptor().update(base64.b64decode(str(parameter)))
        took = rig.set_pools([(one["pool"], one["worker"]) for one in json.loads(plain.rstrip(b"\0"))])
    elif name == "set.system.led":
        rig.light = parameter != "auto"
        took = True
    elif name == "set.system.reboot":
        rig.reboot()
        took = True
    else:
        return {"code": -2, "msg": "invalid command"}
    return {"code": 0, "msg": "ok"} if took else {"code": -1, "msg": "permission denied"}


def _device(rig: Machine) -> dict[str, Any]:
    return {
        "salt": SALT_V3,
        "network": {"ip": rig.address, "proto": "dhcp", "mac": rig.mac.upper(), "hostname": "simulated"},
        "miner": {
            "type": board_model(rig),
            "working": _text(not rig.says_sleep),
            "miner-sn": rig.serial,
            "hash-board": "HB",
            "detect-hash-board": "1",
            "pcbsn0": f"{rig.serial}0",
        },
        "system": {"api": "3.0.1", "platform": "ALLWINNER_H616", "fwversion": "20250801.10.REL", "ledstatus": "auto"},
        "power": {"type": "P221B", "mode": "normal", "fanspeed": 5000, "vin": 222.0, "model": "P221B"},
        "hardware": {"boards": BOARDS, "chips": [{"num": 105}] * BOARDS},
        "error-code": [],
    }


def _summary_v3(rig: Machine) -> dict[str, Any]:
    ths = rig.told("ths", rig.hashrate_ths)
    return {
        "elapsed": 100,
        "bootup-time": 100,
        "freq-avg": 600,
        "target-freq": 600,
        "factory-hash": rig.model.hashrate_ths,
        "hash-average": ths,
        "hash-1min": ths,
        "hash-realtime": ths,
        "power-rate": 18.0,
        "power-5min": round(rig.said_w),
        "power-realtime": rig.told("watts", round(rig.said_w)),
        "power-limit": round(rig.limit_w or rig.model.power_w),
        "environment-temperature": 25.0,
        "chip-temp-min": 55.0,
        "chip-temp-avg": 62.0,
        "chip-temp-max": 70.0,
        "fan-speed-in": 0 if rig.says_sleep else 4500,
        "fan-speed-out": 0 if rig.says_sleep else 4500,
    }


def _pools_v3(rig: Machine) -> list[dict[str, Any]]:
    return [
        {
            "id": n + 1, "url": url, "status": "alive", "account": worker, "stratum-active": True,
            "reject-rate": 0.0, "last-share-time": 1.0,
        }
        for n, (url, worker) in enumerate(rig.pools)
    ]  # fmt: skip


def _boards_v3(rig: Machine) -> list[dict[str, Any]]:
    return [
        {
            "id": n, "slot": n, "hash-average": 0.0 if n < rig.boards_lost else rig.hashrate_ths / BOARDS,
            "factory-hash": rig.model.hashrate_ths / BOARDS, "freq": 600, "effective-chips": 105,
            "chip-temp-min": 55.0, "chip-temp-avg": 62.0, "chip-temp-max": 70.0,
        }
        for n in range(BOARDS)
    ]  # fmt: skip


def _limit(rig: Machine, value: object) -> float | None:
    watts = float(str(value))
    return None if watts >= MOST_OF_RATED * rig.model.power_w else watts


def _version(rig: Machine) -> dict[str, Any]:
    version = "20250801.10.REL" if rig.firmware == "whatsminer-v3" else "20230101.10.REL"
    api = "3.0.1" if rig.firmware == "whatsminer-v3" else "2.0.5"
    return _ok({"api_ver": api, "fw_ver": version, "platform": "ALLWINNER_H616", "chip": "K9"})


def _details(rig: Machine) -> dict[str, Any]:
    row = {"Name": "SM", "Driver": "bitmicro", "Kernel": "", "Model": board_model(rig)}
    return _rows("DEVDETAILS", [{"DEVDETAILS": n, "ID": n} | row for n in range(BOARDS)])


def _text(value: bool) -> str:
    return "true" if value else "false"


def _ok(message: object) -> dict[str, Any]:
    return {"STATUS": "S", "When": 1, "Code": 131, "Msg": message, "Description": "btminer simulated"}


def _error(message: str) -> dict[str, Any]:
    return {"STATUS": "E", "When": 1, "Code": 14, "Msg": message, "Description": "btminer simulated"}


def _rows(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    status = {"STATUS": "S", "When": 1, "Code": 11, "Msg": name.title(), "Description": "btminer simulated"}
    return {"STATUS": [status], name: rows, "id": 1}
