"""The alerts part: hears over the link what needs a person, and calls somebody. Beside several consoles one calls, by a
lease like the core's, and the others stand by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tieline.alerts.service import AlertService
from tieline.app.machines.beside import alerts_of
from tieline.app.machines.leading import while_leading
from tieline.app.runtime import Runtime
from tieline.clock import wall_now
from tieline.link import NatsLink
from tieline.store.lead.holder import Lead
from tieline.tasks import Registry

Ready = Callable[[str], None]

# The office of whoever raises incidents and delivers messages.
ALERTS: Final = "alerts"


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Runs until cancelled, or until another leads. It reckons in the wall's time: people are called in that. Raises
    FencedError where another leads."""
    if not runtime.shared:
        await _call(runtime, ready, registry)
        return
    lead = Lead(runtime.store, ALERTS, runtime.machine)
    try:
        await lead.stand(ready)
        await while_leading(lead, _call(runtime, ready, registry))
    finally:
        lead.close()


async def _call(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    settings = runtime.load_config().alerts
    store = alerts_of(runtime.data)
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
