"""A fake VNish rig: its page's JSON API with a token for commands and presets in watts, and cgminer's protocol."""

from __future__ import annotations

import asyncio
from typing import Any

from tieline.sim.rigs import antminer
from tieline.sim.rigs.machine import BOARDS, Machine
from tieline.sim.rigs.page import PageAnswer, PageRequest, serve_page

PASSWORD, TOKEN = "admin", "simulated-token"
# Presets as shares of rated power.
PRESETS = (0.5, 0.6, 0.72, 0.86, 1.0)


async def serve(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As the maker's own firmware answers, with VNish in the model's name."""
    await antminer.serve(rig, reader, writer, f"{rig.model.name} (Vnish 1.2.6)")


async def serve_web(rig: Machine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await serve_page(reader, writer, lambda asked: _page(rig, asked))


def preset_w(rig: Machine, share: float) -> int:
    return round(rig.model.power_w * share / 10) * 10


def _page(rig: Machine, asked: PageRequest) -> PageAnswer:
    path = asked.path.removeprefix("/api/v1/")
    if asked.path == "/":
        return PageAnswer("<html><title>AnthillOS</title></html>")
    if path == "unlock":
        right = asked.json().get("pw") == PASSWORD
        return PageAnswer({"token": TOKEN}) if right else PageAnswer({"err": "wrong password"}, 403)
    if path in ("summary", "info", "model"):
        return PageAnswer({"summary": _summary, "info": _info, "model": _info}[path](rig))
    if asked.headers.get("authorization", "").removeprefix("Bearer ") != TOKEN:
        return PageAnswer({"err": "unauthorized"}, 401)
    return _commanded(rig, path, asked)


def _commanded(rig: Machine, path: str, asked: PageRequest) -> PageAnswer:
    match (asked.method, path):
        case ("POST", "mining/pause" | "mining/stop"):
            return PageAnswer({"success": rig.pause()})
        case ("POST", "mining/resume" | "mining/start" | "mining/restart"):
            return PageAnswer({"success": rig.resume()})
        case ("POST", "system/reboot"):
            rig.reboot()
            return PageAnswer({"success": True})
        case ("POST", "find-miner"):
            rig.light = not rig.light
            return PageAnswer({"on": rig.light})
        case ("GET", "settings"):
            return PageAnswer(_settings(rig))
        case ("POST", "settings"):
            return _set(rig, asked.json().get("miner", {}))
        case ("GET", "autotune/presets"):
            names = [str(preset_w(rig, share)) for share in PRESETS]
            return PageAnswer(
                [{"name": n, "pretty": f"{n} watt", "status": "tuned", "modded_psu_required": False} for n in names]
            )
        case ("GET", "perf-summary"):
            return PageAnswer({"current_preset": {"name": _settings(rig)["miner"]["overclock"]["preset"]}})
        case _:
            return PageAnswer({"err": "not found"}, 404)


def _set(rig: Machine, asked: dict[str, Any]) -> PageAnswer:
    """Pools or a preset."""
    took = {"restart_required": False, "reboot_required": False}
    if "pools" in asked:
        listed = sorted(asked["pools"], key=lambda one: int(one.get("order", 0)))
        return PageAnswer(took | {"success": rig.set_pools([(_whole(one["url"]), one["user"]) for one in listed])})
    preset = str(asked.get("overclock", {}).get("preset"))
    known = {str(preset_w(rig, share)): share for share in PRESETS}
    if preset not in known or not rig.limit(known[preset] * rig.model.power_w):
        return PageAnswer({"success": False, "err": "invalid preset"})
    return PageAnswer(took | {"success": True})


def _whole(url: str) -> str:
    """It takes the plain scheme for granted."""
    return url if "://" in url else f"stratum+tcp://{url}"


def _settings(rig: Machine) -> dict[str, Any]:
    share = 1.0 if rig.limit_w is None else rig.limit_w / rig.model.power_w
    pools = [{"url": url, "user": user, "pass": "x", "order": n} for n, (url, user) in enumerate(rig.pools)]
    cooling = {"mode": {"name": "auto", "param": 60}, "fan_min_count": 4}
    clock = {"modded_psu": False, "preset": str(preset_w(rig, share)), "globals": {"freq": 500, "volt": 1300}}
    return {"miner": {"overclock": clock | {"chains": []}, "pools": pools, "cooling": cooling, "misc": {}}}


def _summary(rig: Machine) -> dict[str, Any]:
    rate = rig.told("rate_ghs", rig.rate_ghs)
    state = "stopped" if rig.says_sleep else "mining" if rig.hashing else "starting"
    miner = {
        "miner_type": f"{rig.model.name} (Vnish 1.2.6)",
        "miner_status": {"miner_state": state, "miner_state_time": 100, "description": ""},
        "hr_realtime": rate,
        "hr_nominal": rig.model.hashrate_ths * 1e3,
        "hr_average": rate,
        "instant_hashrate": rate,
        "average_hashrate": rate,
        "power_usage": rig.told("watts", round(rig.said_w)),
        "power_consumption": rig.told("watts", round(rig.said_w)),
        "power_efficiency": 18.0,
        "pcb_temp": {"min": 45, "max": 55},
        "chip_temp": {"min": 55, "max": 65},
        "pools": [
            {"id": n, "url": url, "user": user, "status": "active", "accepted": 1, "rejected": 0}
            for n, (url, user) in enumerate(rig.pools)
        ],
        "cooling": {"fan_num": 4, "fans": [{"id": n, "rpm": 5000, "status": "ok"} for n in range(4)]},
        "chains": [_chain(rig, n) for n in range(BOARDS)],
        "found": True,
        "psu": {},
        "devfee": 0.0,
        "best_share": 0,
        "hw_errors": 0,
    }
    return {"miner": miner}


def _chain(rig: Machine, n: int) -> dict[str, Any]:
    lost = n < rig.boards_lost
    return {
        "id": n + 1, "serial": f"{rig.serial}{n}", "frequency": 500.0, "voltage": 13000,
        "hashrate_rt": 0.0 if lost else rig.rate_ghs / BOARDS, "hr_nominal": rig.model.hashrate_ths * 1e3 / BOARDS,
        "pcb_temp": {"min": 45, "max": 55}, "chip_temp": {"min": 55, "max": 65}, "chip_statuses": {"red": 0},
        "status": {"state": "failure" if lost else "mining", "description": ""},
    }  # fmt: skip


def _info(rig: Machine) -> dict[str, Any]:
    network = {"mac": rig.mac, "dhcp": True, "ip": rig.address, "netmask": "255.0.0.0", "hostname": "simulated"}
    return {
        "miner": rig.model.name,
        "model": rig.model.name.removeprefix("Antminer ").lower().replace(" ", ""),
        "fw_name": "Vnish",
        "fw_version": "1.2.6",
        "platform": "xil",
        "install_type": "nand",
        "algorithm": "sha256d",
        "serial": rig.serial,
        "hr_measure": "GH/s",
        "system": {"os": "GNU/Linux", "miner_name": "simulated", "network_status": network, "uptime": "1:00"},
    }
