"""Which driver speaks to the rig at an address: by what the configuration says, else by what it answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tieline.edge.rigs.antminer import AntminerStock
from tieline.edge.rigs.braiins import BraiinsRig
from tieline.edge.rigs.cgminer import PORT
from tieline.edge.rigs.driver import RigDriver
from tieline.edge.rigs.library import find
from tieline.edge.rigs.luxos import LuxosRig
from tieline.edge.rigs.vnish import VnishRig
from tieline.edge.rigs.whatsminer import PASSWORD, PASSWORD_V3, PORT_V3, WhatsminerV2, WhatsminerV3
from tieline.edge.rigs.wire import SilentError, ask, ask_json

# What a rig's answer to `version` holds, in this order: a VNish rig says Antminer, too.
SIGNS = (
    (b"LUXMINER", "luxos"),
    (b"BOSER", "braiins"),
    (b"BOSMINER", "braiins"),
    (b"VNISH", "vnish"),
    (b"ANTHILL", "vnish"),
    (b"BTMINER", "whatsminer"),
    (b"BITMICRO", "whatsminer"),
    (b"WHATSMINER", "whatsminer"),
    (b"ANTMINER", "antminer"),
)
# Fakes serve their pages here: a port below 1024 needs a privilege that a demo does not ask for.
FAKE_PORTS = {80: 8071}


async def identify(
    address: str, firmware: str, ports: Mapping[int, int], passwords: Mapping[str, str] | None = None
) -> RigDriver:
    """The driver for one rig. `passwords` by firmware, the makers' own elsewhere. Raises SilentError where nobody
    answers, or nobody that is known."""
    name = firmware if firmware not in ("stock", "auto") else await _recognised(address, ports)
    given = (passwords or {}).get(name)
    match name:
        case "luxos":
            return LuxosRig(address, ports.get(PORT, PORT))
        case "whatsminer-v2":
            return WhatsminerV2(address, ports.get(PORT, PORT), given or PASSWORD)
        case "whatsminer-v3":
            return WhatsminerV3(address, ports.get(PORT_V3, PORT_V3), given or PASSWORD_V3)
        case "antminer" | "antminer-2019":
            return AntminerStock(address, ports.get(PORT, PORT), ports.get(80, 80), given or "root")
        case "braiins":
            return BraiinsRig(address, ports.get(80, 80), given or "root")
        case "vnish":
            return VnishRig(address, ports.get(80, 80), given or "admin")
        case _:
            return await find(address)


async def _recognised(address: str, ports: Mapping[int, int]) -> str:
    """One of the names above, or "other" where someone answers that none of them is."""
    try:
        version = (await ask(address, ports.get(PORT, PORT), b'{"command":"version"}')).upper()
    except SilentError:
        if await _speaks_v3(address, ports.get(PORT_V3, PORT_V3)):
            return "whatsminer-v3"
        raise
    name = next((name for sign, name in SIGNS if sign in version), "other")
    if name == "whatsminer":
        return "whatsminer-v3" if await _speaks_v3(address, ports.get(PORT_V3, PORT_V3)) else "whatsminer-v2"
    return name


async def _speaks_v3(address: str, port: int) -> bool:
    try:
        request = msgspec.json.encode({"cmd": "get.device.info", "param": "miner"})
        answer = await ask_json(address, port, request, prefixed=True)
    except SilentError:
        return False
    return answer.get("code") == 0
