"""The demo's hardware: fake rigs on loopback sockets. What speaks a real protocol is driven as if it were real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tieline.app.runtime import Runtime
from tieline.edge.rigs.identify import FAKE_PORTS
from tieline.sim.rigs.server import FakeRigs
from tieline.tasks import Registry

Ready = Callable[[str], None]


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Serves every rig group with `hardware = "fake"` until cancelled. Where the system has one loopback address
    only, as many stand as it has, and the part's line says so."""
    groups = [
        group for site in runtime.load_config().fleet.sites for group in site.rig_groups if group.hardware == "fake"
    ]
    rigs = [
        FakeRigs(group.addresses, group.rig, group.wake, firmware=group.firmware, ports=FAKE_PORTS, grpc=False)
        for group in groups
    ]
    try:
        standing = sum([await one.start() for one in rigs])
        wanted = sum(len(group.addresses) for group in groups)
        note = f"{standing} fake rigs"
        if standing < wanted:
            note += f" of {wanted}: this system has no further loopback addresses, or they are taken"
        ready(note)
        await asyncio.Event().wait()
    finally:
        for one in rigs:
            await one.stop()
