"""Every site's agent in one process: modelled devices from `sim`, fake and real rigs and engines from `edge`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tieline.app.joins import LINK_FOLDER, read_book
from tieline.app.runtime import Runtime
from tieline.config import Config
from tieline.dispatch import load_table
from tieline.dispatch.settings import settings_of
from tieline.edge.device import Device
from tieline.edge.meter import Meter
from tieline.edge.sites import DeviceFactory, MeterFactory, SiteHost, run_sites
from tieline.edge.surroundings import Surroundings
from tieline.fleet import NodeGroup, RigGroup, Site
from tieline.link import Link, NatsLink
from tieline.link.signing import public_key
from tieline.sim.devices import ModelledFleet
from tieline.tasks import Registry

Ready = Callable[[str], None]


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Runs until cancelled."""
    config = runtime.load_config()
    device, meter = modelled(config)

    async def connect(user: str) -> Link:
        return await NatsLink.dial(runtime.link_user(user))

    host = SiteHost(
        config,
        runtime.clock,
        runtime.data,
        connect,
        Path(runtime.model) if runtime.model else None,
        device,
        meter,
        lambda: read_book(runtime.data).sites,
        public_key(runtime.data / LINK_FOLDER),
    )
    await run_sites(host, ready, registry)


def modelled(config: Config) -> tuple[DeviceFactory, MeterFactory]:
    """Makes the device of each modelled unit and the meter of each modelled site; they share one world, which
    begins with the first of them."""
    settings = settings_of(config)
    worlds: list[ModelledFleet] = []

    def world(surroundings: Surroundings) -> ModelledFleet:
        if not worlds:
            table = load_table(settings.gpu_table)
            worlds.append(ModelledFleet(config.fleet, table, settings.interactive_batch, surroundings))
        return worlds[0]

    def device(site: Site, unit: RigGroup | NodeGroup, surroundings: Surroundings) -> Device | None:
        return world(surroundings).device(site, unit)

    def meter(site: Site, surroundings: Surroundings) -> Meter | None:
        return world(surroundings).meter(site)

    return device, meter
