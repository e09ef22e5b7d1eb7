"""Who answers in a range of addresses: firmware, model, MAC, pool, asked through the same drivers that poll."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tieline.edge.rigs.driver import Raw
from tieline.edge.rigs.identify import identify
from tieline.edge.rigs.wire import Lane, RefusalError, SilentError

# A /22 is what a container's switch has; a larger range is asked in parts.
MOST_ADDRESSES = 4096
AT_ONCE = 256
NOTHING = Raw()


@dataclass(frozen=True, slots=True)
class Discovered:
    """One address where somebody answered. `problem`: it did, and could not be read."""

    address: str
    firmware: str = ""
    raw: Raw = NOTHING
    problem: str = ""


def addresses_of(network: str) -> list[str]:
    """Every host address of a network such as "10.0.4.0/22". Raises ValueError."""
    hosts = ipaddress.ip_network(network, strict=False)
    if hosts.num_addresses > MOST_ADDRESSES:
        raise ValueError(f"{network} has {hosts.num_addresses} addresses; at most {MOST_ADDRESSES} are asked at once")
    return [str(host) for host in hosts.hosts()]


async def discover(addresses: Sequence[str], ports: Mapping[int, int] | None = None) -> list[Discovered]:
    """Those that answered, in the order given. Silent addresses cost a few seconds all together."""
    lane = Lane(AT_ONCE)

    async def one(address: str) -> Discovered | None:
        firmware = ""
        try:
            async with lane.place():
                driver = await identify(address, "auto", ports or {})
                firmware = driver.firmware
                return Discovered(address, firmware, await driver.poll())
        except SilentError as error:
            return Discovered(address, firmware, problem=error.why) if firmware else None
        except RefusalError as error:
            return Discovered(address, firmware, problem=str(error))

    answers = await asyncio.gather(*(one(address) for address in addresses))
    return [one for one in answers if one is not None]
