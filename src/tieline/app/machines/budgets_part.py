"""The coordinator of budgets, limits and calls that are made once, over all gateways: one stands beside each server of
the link, and one of them leads."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import closing
from typing import Final

import msgspec

from tieline.app.gateway_part import tenant_of
from tieline.app.machines.keys import BUDGETS, BUDGETS_ABOVE, LINK_FOLDER, TLS_FOLDER
from tieline.app.machines.leading import while_leading
from tieline.app.runtime import Runtime
from tieline.gateway.budgets.elected import StoredBudgets, take_over
from tieline.gateway.budgets.keys import over
from tieline.gateway.budgets.lease import Coordinator
from tieline.gateway.budgets.ordered import OrderedChanges, Parts, overlay_of
from tieline.gateway.settings import Settings
from tieline.gateway.workers import limits_of
from tieline.store.lead.holder import Lead
from tieline.store.lead.kept import open_kept
from tieline.tasks import Registry, beat

log = logging.getLogger("tieline.gateway")

Ready = Callable[[str], None]

# Shorter than a core's: while there is none, requests that need more than their gateway has are told to come again.
TIMES: Final = (2.0, 2.8)
SWEEP_S, STILL_S = 1.0, 15.0


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Runs until cancelled, or until another leads. Raises FencedError then."""
    assert runtime.link_listen is not None, "only beside a server of the link"
    host, _, port = runtime.link_listen.rpartition(":")
    place = f"{host}:{int(port) + BUDGETS_ABOVE}"
    lead = Lead(runtime.store, BUDGETS, runtime.machine, place, times=TIMES)
    try:
        await lead.stand(ready)
        await while_leading(lead, _coordinate(runtime, lead, ready, registry))
    finally:
        lead.close()


async def _coordinate(runtime: Runtime, lead: Lead, ready: Ready, registry: Registry) -> None:
    host, _, port = lead.place.rpartition(":")
    configured = Settings(tenants=tuple(tenant_of(one) for one in runtime.load_config().tenants))
    now = asyncio.get_running_loop().time
    with closing(open_kept(runtime.store)) as store:
        stored = StoredBudgets(store, lead.fence)
        changes = stored.changes()
        coordinator = Coordinator(shared_limits_of(configured, changes.parts))
        server = take_over(stored, coordinator, now())
        server.changes = OrderedChanges(
            changes, stored.keep_changes, lambda parts: coordinator.set_limits(shared_limits_of(configured, parts))
        )
        await server.listen(host, int(port), runtime.link_password(BUDGETS).encode(), _tls(runtime))
        ready(f"leads, number {lead.number}, at {lead.place}")

        async def sweep() -> None:
            while True:
                beat(STILL_S)
                await asyncio.sleep(SWEEP_S)
                server.sweep()
                stored.keep_used(coordinator)

        registry.keep("budgets", "frees what dead gateways held, writes down how full limits are", sweep)
        try:
            await asyncio.Event().wait()
        finally:
            await registry.close()
            await server.close()


def shared_limits_of(configured: Settings, parts: Parts) -> dict[str, int]:
    """Budgets and limits of the file with what was changed since. What contradicts the file holds where it does not."""
    overlay, lines = overlay_of(parts)
    for line in lines:
        log.error("changes made at run time: %s", line)
    # Models and engines have no limits, and refer to what this file may not have.
    alone = msgspec.structs.replace(overlay, models={}, engines={}, gone_models=(), gone_engines=())
    try:
        return limits_of(over(configured, alone))
    except ValueError as error:
        log.error("changes made at run time: %s; of these the tenants' limits alone hold", error)
        return limits_of(over(configured, msgspec.structs.replace(alone, keys={})))


def _tls(runtime: Runtime) -> ssl.SSLContext | None:
    """With the certificate of the link's server on this machine."""
    if runtime.link_authority is None:
        return None
    folder = runtime.data / LINK_FOLDER / TLS_FOLDER
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context
