"""The gateway's process: sockets, the replica table, the way out.

`serve` is told everything: settings, the clock, where usage is kept, and the link of a platform if there is
one. With a link, replicas come from their sites' heartbeats; without, from addresses that are asked how they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from tieline import records
from tieline.clock import Clock
from tieline.gateway.admin import Admin
from tieline.gateway.batch import backlog as owed_work
from tieline.gateway.batch.api import Desk
from tieline.gateway.budgets.client import LeaseClient
from tieline.gateway.budgets.keys import KEYS_FILE, OverlayFile, over
from tieline.gateway.budgets.remote import Remote, identity
from tieline.gateway.changes import Changes
from tieline.gateway.engines import Engines
from tieline.gateway.metering.access_log import AccessLog
from tieline.gateway.metering.traces import Traces
from tieline.gateway.routes import Paths
from tieline.gateway.routing.health import Snapshot, probe_for_ever, restore
from tieline.gateway.service import Service
from tieline.gateway.settings import Settings
from tieline.gateway.surfaces.api import Surfaces
from tieline.gateway.wire.client import ClientConnection
from tieline.intake import IntakeError
from tieline.link import Link, ask, heed_records
from tieline.records import Instruction, Plan, ReplicaState
from tieline.records.losses import tell_losses
from tieline.store import Spool
from tieline.tasks import Registry, beat

log = logging.getLogger("tieline.gateway")

# A site's plan and orders, from the core.
ASK_SITE_S: Final = 2.0
# Live requests have this long to end when the process is told to stop.
DRAIN_S: Final = 30.0
# Replicas that are known at once; a site has at most a few hundred.
MAX_REPLICAS: Final = 20_000
# Usage rows kept by a gateway that has no store to send them to.
ALONE_KEEPS: Final = 1_000_000
# What is done every second and takes this long stands still.
STILL_S: Final = 15.0


async def serve(
    settings: Settings,
    clock: Clock,
    data: Path,
    *,
    link: Link | None = None,
    stop: asyncio.Event | None = None,
    started: Callable[[str], None] | None = None,
    sock: socket.socket | None = None,
    origin: str = "gateway",
    drain_s: float = DRAIN_S,
    coordinator: Path | Remote | None = None,
    shared: Path | None = None,
    registry: Registry | None = None,
    load: Callable[[], Settings] | None = None,
) -> None:
    """Serve until `stop` is set, then let what runs end. `started` is told the base URL once it answers.

    `data` is this process's own folder; `coordinator` where several processes share budgets;
    `shared` the folder that those of one machine have in common. `load` reads the configuration anew, at SIGHUP and
    when an operator asks for it.
    Raises OSError where the address is taken, StoreError where `data` cannot be written, SettingsError where what
    was made at run time cannot be read.
    """
    stop = stop or asyncio.Event()
    spool = Spool(data / "usage.db", keep_last=None if link is not None else ALONE_KEEPS)
    configured, folder = settings, shared or data
    made = OverlayFile(folder / KEYS_FILE)
    settings = over(configured, made.read())
    # A gateway that had several processes before goes on from what those have spent.
    others = {} if shared is not None else spent_before(data.glob("worker-*"))
    svc = Service(settings, clock, spool, origin, leased=coordinator is not None, others=others)
    if settings.otel is not None:
        svc.shared.traces = Traces(settings.otel, origin)
    access = AccessLog(data)
    if settings.access_log:
        svc.meter.log_lines = access.write
    recovered = svc.meter.recover()
    if recovered:
        log.warning("billed %d streams of a gateway that was killed, from their last progress", recovered)
    # Files and batches are shared by all processes of a gateway, so they lie beside their folders.
    desk = Desk(svc, folder)
    changes = Changes(svc, made, configured, load)
    admin = Admin(svc, changes, lambda: [data] if shared is None else sorted(shared.glob("worker-*")))
    tell_losses([("usage", spool), ("batches", desk.runner.store)], clock.now(), svc.meter.keep)
    paths = Paths(svc, desk, admin, Surfaces(svc, folder))
    loop = asyncio.get_running_loop()
    tls = None
    if settings.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(settings.tls_cert, settings.tls_key or None)

    def door() -> ClientConnection:
        return ClientConnection(svc, paths.route)

    kept = registry or Registry()
    engines = Engines(svc, kept)
    engines.follow(settings)
    changes.on_adopt = engines.follow
    svc.table.hold(frozenset(made.read().held))
    svc.troubles = lambda: [trouble.line for trouble in kept.troubles]
    if coordinator is not None:
        name = data.name if isinstance(coordinator, Path) else identity(data)
        leases = LeaseClient(coordinator, name, svc.book, spool, svc.abandon_budgeted)
        svc.leases = leases
        kept.keep("budgets", "shares budgets with other processes", leases.run)
        await leases.joined()
    if sock is not None:
        server = await loop.create_server(door, sock=sock, ssl=tls, backlog=4096)
    else:
        server = await loop.create_server(door, settings.host, settings.port, ssl=tls, backlog=4096)
    kept.keep("tick", "the clocks of every request", svc.tick_for_ever)
    kept.keep("batches", "carries batches out", desk.runner.run)
    kept.keep("seconds", "slow clients, new keys, a disk that was full", lambda: _every_second(svc, changes, engines))
    if link is not None:
        snapshot = Snapshot(data / "replicas.json")
        restore(svc.table, snapshot)
        there, runner, meter = link, desk.runner, svc.meter
        kept.keep("replica snapshot", "keeps the replica table on disk", lambda: probe_for_ever(svc.table, snapshot))
        for subject in ("replica.>", "plan.*", "command.*"):
            kept.keep(f"hears {subject}", "what sites and the core say", partial(_follow, svc, link, subject))
        kept.keep("catch up", "asks what was said before", lambda: _catch_up(svc, there))
        kept.keep("usage", "sends usage to the core", lambda: meter.push_for_ever(there, origin))
        tell = partial(owed_work.tell_for_ever, runner.waiting, runner.per_line, link, origin, clock)
        kept.keep("backlog", "tells dispatch what batch work is owed", tell)
    port = server.sockets[0].getsockname()[1]
    scheme = "https" if tls is not None else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    # What lives from here on is per request and makes no cycles; what is already here is never collected again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    if load is not None:
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not the main thread, or Windows
            loop.add_signal_handler(signal.SIGHUP, lambda: svc.spawn(changes.hang_up()))
    if started is not None:
        started(f"{scheme}://{host}:{port}/v1")
    try:
        await stop.wait()
        desk.runner.stop()
        await _drain(svc, server, drain_s)
    finally:
        await kept.close()
        svc.close()
        for one in list(svc.connections):
            if one.transport is not None:
                one.transport.abort()
        server.close()
        await asyncio.to_thread(desk.runner.close)
        await asyncio.to_thread(spool.close)
        access.close()
        if svc.shared.traces is not None:
            await asyncio.to_thread(svc.shared.traces.close)


def spent_before(folders: Iterable[Path]) -> dict[str, int]:
    """What processes that no longer run have spent, from their disks. Raises StoreError."""
    found: Counter[str] = Counter()
    for folder in folders:
        if (folder / "usage.db").exists():
            spool = Spool(folder / "usage.db")
            found.update(spool.totals())
            spool.close()
    return dict(found)


async def _drain(svc: Service, server: asyncio.Server, drain_s: float) -> None:
    """Take nothing new, let live requests end, then end them."""
    svc.draining = True
    server.close()
    deadline = svc.loop.time() + drain_s
    for door in list(svc.connections):
        if not door.request_id and door.transport is not None:
            door.transport.close()
    while svc.exchanges and svc.loop.time() < deadline:
        await asyncio.sleep(0.05)
    for exchange in list(svc.exchanges):
        exchange.cancel()


async def _every_second(svc: Service, changes: Changes, engines: Engines) -> None:
    """Slow clients, idle connections, keys that another process made, a disk that was full."""
    while True:
        beat(STILL_S)
        await asyncio.sleep(1.0)
        now = svc.loop.time()
        for door in list(svc.connections):
            door.tick(now)
        await changes.refresh()
        await engines.sweep()
        if svc.meter.failing is not None:
            await svc.meter.try_again()


# --- the replica table ----------------------------------------------------------------


async def _follow(svc: Service, link: Link, subject: str) -> None:
    """Replicas as their sites' agents tell them; plans and orders as the sites are told them."""

    def take(record: records.AnyRecord) -> None:
        if isinstance(record, ReplicaState):
            if record.replica_id in svc.backends or len(svc.backends) < MAX_REPLICAS:
                svc.heard(record)
        elif isinstance(record, Plan | Instruction):
            svc.heard_power(record)

    await heed_records(link, subject, take, svc.clock.now)


async def _catch_up(svc: Service, link: Link) -> None:
    """Ask once for the plan and the orders of each site that has a replica here: they were sent before we listened."""
    asked: set[str] = set()
    while True:
        for site in {backend.site for backend in svc.backends.values()} - asked:
            with contextlib.suppress(OSError, IntakeError):
                for question in ("plan", "orders"):
                    for record in await ask(link, f"{question}.get.{site}", svc.clock.now(), ASK_SITE_S):
                        if isinstance(record, Plan | Instruction):
                            svc.heard_power(record)
                asked.add(site)
        await asyncio.sleep(1.0)


def run(main: Callable[[], object]) -> None:
    """Run a coroutine function on the fastest loop this system has."""
    if sys.platform != "win32":
        import uvloop

        uvloop.run(main())  # type: ignore[arg-type]
    else:
        asyncio.run(main())  # type: ignore[arg-type]
