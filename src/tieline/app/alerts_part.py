"""The alerts part: hears over the link what needs a person, and calls somebody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tieline.alerts.service import AlertService
from tieline.app.runtime import ALERTS_FILE, Runtime
from tieline.clock import wall_now
from tieline.link import NatsLink
from tieline.store.alerts import AlertStore
from tieline.tasks import Registry

Ready = Callable[[str], None]


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Runs until cancelled. It reckons in the wall's time: people are called in that."""
    settings = runtime.load_config().alerts
    store = AlertStore(runtime.data / ALERTS_FILE)
    link = await NatsLink.dial(runtime.link_user("alerts"))
    try:
        AlertService(settings, store, wall_now).keep(registry, link)
        count = len(settings.channels)
        ready(f"{count} channels" if count else "no channel is configured: incidents are kept, nobody is called")
        await asyncio.Event().wait()
    finally:
        await registry.close()
        await link.close()
        store.close()
