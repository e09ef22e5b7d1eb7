"""A fake Antminer with its maker's own firmware: cgminer's protocol without watts, and a page with digest login.

`antminer-2019` writes the work mode as text, `antminer` as a number. Asleep its cgminer goes on and hashes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tieline.sim.rigs.machine import BOARDS, Machine
from tieline.sim.rigs.page import PageAnswer, PageRequest, digest_refused, serve_page

MAX_REQUEST, REQUEST_TIMEOUT_S = 4096, 5.0
REALM, USER, PASSWORD = "antMiner Configuration", "root", "root"


async def serve(
    rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str | None = None
) -> None:
    """One request and one answer; `kind`: how it names its model."""
    kind = kind or rig.model.name
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        try:
            words = str(json.loads(await reader.read(MAX_REQUEST))["command"]).split("+")
        except (ValueError, TypeError, KeyError):
            words = [""]
        answer = one(rig, words[0], kind)
        if len(words) > 1:
            answer = {word: [one(rig, word, kind)] for word in words} | {"id": 1}
        writer.write(json.dumps(answer).encode() + b"\x00")
        await writer.drain()


async def serve_web(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await serve_page(reader, writer, lambda asked: _page(rig, asked))


def one(rig: Machine, command: str, kind: str) -> dict[str, Any]:
    """The answer to one command of cgminer's protocol."""
    rate = rig.told("rate_ghs", rig.rate_ghs)
    match command:
        case "version":
            row = {"BMMiner": "2.0.0", "API": "3.1", "Miner": "49.0.1.3", "CompileTime": "simulated", "Type": kind}
            return _rows("VERSION", [row])
        case "summary":
            return _rows("SUMMARY", [{"Elapsed": elapsed(rig), "GHS 5s": rate, "GHS av": rate, "Accepted": 1}])
        case "stats":
            return _rows("STATS", [{"BMMiner": "2.0.0", "Miner": "49.0.1.3", "Type": kind}, _chains(rig)])
        case "pools":
            counts = {"Accepted": 1, "Rejected": 0, "Get Failures": 0, "Remote Failures": 0, "Stratum Active": True}
            rows = [
                {"POOL": n, "URL": url, "User": user, "Status": "Alive", "Priority": n, "Quota": 1} | counts
                for n, (url, user) in enumerate(rig.pools)
            ]
            return _rows("POOLS", rows)
        case _:
            return {"STATUS": [{"STATUS": "E", "When": 1, "Code": 14, "Msg": "Invalid command"}], "id": 1}


def elapsed(rig: Machine) -> int:
    """Seconds since it began to run; a rig that was found running has run for long."""
    since = rig.seconds() - rig.woken_at
    return int(since) if since < 1e9 else 1_000_000


def _chains(rig: Machine) -> dict[str, Any]:
    rate = rig.rate_ghs
    row: dict[str, Any] = {"Elapsed": elapsed(rig), "GHS 5s": rate, "GHS av": rate, "rate_unit": "GH"}
    row["total_rateideal"] = rig.model.hashrate_ths * 1e3
    row |= {"fan_num": 4} | {f"fan{n}": 0 if rig.says_sleep else 5000 for n in range(1, 5)}
    for n in range(1, BOARDS + 1):
        row[f"chain_rate{n}"] = str(0.0 if n <= rig.boards_lost else rate / BOARDS)
        row[f"chain_acn{n}"] = 108
        row[f"temp_chip{n}"] = row[f"temp_pcb{n}"] = "60-60-60-60"
    return row


def _page(rig: Machine, asked: PageRequest) -> PageAnswer:
    refusal = digest_refused(asked, REALM, USER, PASSWORD)
    if refusal is not None:
        return refusal
    if asked.path == "/":
        return PageAnswer("<html>Antminer simulated</html>")
    answer = PAGES.get(asked.path.removeprefix("/cgi-bin/").removesuffix(".cgi"))
    return PageAnswer("404", 404) if answer is None else PageAnswer(answer(rig, asked))


def _set_config(rig: Machine, asked: PageRequest) -> dict[str, Any]:
    config = asked.json()
    pools = [(one["url"], one["user"]) for one in config.get("pools", []) if one.get("url")]
    took = rig.pause() if str(config.get("miner-mode")) == "1" else rig.resume()
    if not took or (pools and not rig.set_pools(pools)):
        return {"stats": "error", "code": "M001", "msg": "Illegal request!"}
    return {"stats": "success", "code": "M000", "msg": "OK!"}


def _summary(rig: Machine, _: PageRequest) -> dict[str, Any]:
    status = [{"type": t, "status": "s", "code": 0, "msg": ""} for t in ("rate", "network", "fans", "temp")]
    return {"SUMMARY": [{"elapsed": elapsed(rig), "rate_5s": rig.rate_ghs, "status": status}]}


def _stats(rig: Machine, _: PageRequest) -> dict[str, Any]:
    chain = [_chain(rig, n) for n in range(BOARDS)]
    return {"STATS": [{"elapsed": elapsed(rig), "rate_5s": rig.rate_ghs, "chain": chain}]}


def _network(rig: Machine, _: PageRequest) -> dict[str, Any]:
    return {"nettype": "DHCP", "macaddr": rig.mac.upper(), "ipaddress": rig.address}


def _blink(rig: Machine, asked: PageRequest) -> dict[str, Any]:
    rig.light = bool(asked.json().get("blink"))
    return {"code": "B000" if rig.light else "B100"}


def _reboot(rig: Machine, _: PageRequest) -> dict[str, Any]:
    rig.reboot()
    return {"stats": "success"}


def _system(rig: Machine) -> dict[str, Any]:
    return {
        "minertype": rig.model.name,
        "nettype": "DHCP",
        "netdevice": "eth0",
        "macaddr": rig.mac.upper(),
        "hostname": "simulated",
        "ipaddress": rig.address,
        "serinum": rig.serial,
        "system_filesystem_version": "Tue Sep 13 17:31:02 CST 2022",
        "firmware_type": "Release",
        "Algorithm": "sha256d",
    }


def _config(rig: Machine) -> dict[str, Any]:
    mode: object = 1 if rig.says_sleep else 0
    if rig.firmware == "antminer-2019":
        mode = str(mode)
    return {
        "pools": [{"url": url, "user": worker, "pass": "x"} for url, worker in rig.pools],
        "api-listen": True,
        "api-network": True,
        "bitmain-fan-ctrl": False,
        "bitmain-fan-pwm": "100",
        "bitmain-freq-level": "100",
        "bitmain-work-mode": mode,
    }


def _chain(rig: Machine, n: int) -> dict[str, Any]:
    return {
        "index": n, "sn": f"{rig.serial}{n}", "asic_num": 108, "rate_real": 0.0 if n < rig.boards_lost else
        rig.rate_ghs / BOARDS, "rate_ideal": rig.model.hashrate_ths * 1e3 / BOARDS, "freq_avg": 500,
        "temp_pcb": [50, 50, 50, 50], "temp_chip": [60, 60, 60, 60], "temp_pic": [50, 50, 50, 50],
        "eeprom_loaded": True,
    }  # fmt: skip


def _rows(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    status = {"STATUS": "S", "When": 1, "Code": 11, "Msg": name.title(), "Description": "cgminer simulated"}
    return {"STATUS": [status], name: rows, "id": 1}


PAGES: dict[str, Callable[[Machine, PageRequest], dict[str, Any]]] = {
    "get_system_info": lambda rig, _: _system(rig),
    "get_miner_conf": lambda rig, _: _config(rig),
    "set_miner_conf": _set_config,
    "summary": _summary,
    "stats": _stats,
    "get_network_info": _network,
    "get_blink_status": lambda rig, _: {"blink": rig.light},
    "blink": _blink,
    "reboot": _reboot,
}
