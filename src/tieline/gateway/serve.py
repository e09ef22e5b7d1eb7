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
from collections.abc import Callable, Container, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tieline import records
from tieline.clock import Clock
from tieline.gateway.admin import Admin
from tieline.gateway.batch import backlog as owed_work
from tieline.gateway.batch.api import BatchApi
from tieline.gateway.budgets.client import LeaseClient
from tieline.gateway.budgets.followed import FollowedChanges
from tieline.gateway.budgets.keys import KEYS_FILE, OverlayFile, over
from tieline.gateway.budgets.remote import Remote, identity
from tieline.gateway.changes import Changes
from tieline.gateway.engines import Engines
from tieline.gateway.metering.access_log import AccessLog
from tieline.gateway.metering.traces import Traces
from tieline.gateway.routes import Paths
from tieline.gateway.routing.health import Snapshot, probe_for_ever, restore
from tieline.gateway.routing.replicas import TUNNEL
from tieline.gateway.service import Service
from tieline.gateway.settings import Settings
from tieline.gateway.surfaces.api import Surfaces
from tieline.gateway.wire.client import ClientConnection
from tieline.gateway.wire.tunnel import DoorPlace, TunnelDoor
from tieline.intake import IntakeError
from tieline.link import Link, ask, heed_records
from tieline.link.certificate import CertificateError
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


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """What one process of a gateway is told beside its settings.

    `coordinator`: where several processes share budgets; `shared`: the folder that those of one machine have in
    common; `sock`: the socket to listen on, where it was opened before. `load` reads the configuration anew, at SIGHUP
    and when an operator asks for it.
    """

    origin: str = "gateway"
    sock: socket.socket | None = None
    coordinator: Path | Remote | None = None
    shared: Path | None = None
    registry: Registry | None = None
    load: Callable[[], Settings] | None = None
    drain_s: float = DRAIN_S
    leave_s: float = 0.0  # before that it still takes requests, and says that it stops to whoever asks how it is
    sites: DoorPlace | None = None  # the door for sites that nobody can dial, where there is one
    away: Callable[[], Container[str]] = tuple  # sites elsewhere, which are reached through that door alone
    together: bool = False  # what is changed at run time is shared with the coordinator's other gateways


ALONE: Final = GatewayProcess()


async def serve(
    settings: Settings,
    clock: Clock,
    data: Path,
    *,
    link: Link | None = None,
    stop: asyncio.Event | None = None,
    started: Callable[[str], None] | None = None,
    process: GatewayProcess = ALONE,
) -> None:
    """Serve until `stop` is set, then let what runs end. `started` is told the base URL once it answers; `data` is
    this process's own folder.

    Raises OSError where the address is taken, StoreError where `data` cannot be written, SettingsError where what
    was made at run time cannot be read.
    """
    stop, registry = stop or asyncio.Event(), process.registry or Registry()
    spool = Spool(data / "usage.db", keep_last=None if link is not None else ALONE_KEEPS)
    configured, folder = settings, process.shared or data
    made = OverlayFile(folder / KEYS_FILE)
    followed = FollowedChanges(folder, made.read()) if process.together else None
    overlay = made.read() if followed is None else followed.overlay
    settings = over(configured, overlay)
    svc = _service(settings, clock, data, spool, process)
    access = AccessLog(data)
    if settings.access_log:
        svc.meter.log_lines = access.write
    _recover(svc)
    # Files and batches are shared by all processes of a gateway, so they lie beside their folders.
    batch_api = BatchApi(svc, folder)
    changes = Changes(svc, made, configured, process.load, followed)
    admin = Admin(svc, changes, lambda: _folders(data, process.shared))
    tell_losses([("usage", spool), ("batches", batch_api.runner.store)], clock.now(), svc.meter.keep)
    paths = Paths(svc, batch_api, admin, Surfaces(svc, folder))
    engines = _engines(svc, changes, registry)
    svc.table.hold(frozenset(overlay.held))
    if process.coordinator is not None:
        await _share_budgets(svc, process, data, spool, registry, followed)
    server = await _listen(settings, partial(ClientConnection, svc, paths.route), process.sock)
    registry.keep("tick", "the clocks of every request", svc.tick_for_ever)
    registry.keep("batches", "carries batches out", batch_api.runner.run)
    seconds = "slow clients, new keys, a disk that was full"
    registry.keep("seconds", seconds, lambda: _every_second(svc, changes, engines))
    door = None
    if link is not None:
        door = await _open_sites_door(svc, process.sites, link, data, registry)
        _join_platform(svc, link, batch_api, data, process, registry)
    _freeze()
    _heed_hang_up(svc, changes)
    if started is not None:
        started(_base_url(settings, server))
    try:
        await stop.wait()
        batch_api.runner.stop()
        await _drain(svc, server, process)
    finally:
        await registry.close()
        await _close(svc, server, batch_api, spool, access, door)


def _engines(svc: Service, changes: Changes, registry: Registry) -> Engines:
    """Those given by address, now and as they are changed."""
    engines = Engines(svc, registry)
    engines.follow(svc.settings)
    changes.on_adopt = engines.follow
    svc.troubles = lambda: [trouble.line for trouble in registry.troubles]
    svc.ignored = lambda: registry.ignored
    return engines


async def _open_sites_door(
    svc: Service, place: DoorPlace | None, link: Link, data: Path, registry: Registry
) -> TunnelDoor | None:
    """The door for sites that nobody can dial. Where it cannot be opened those that can be dialled are served."""
    if place is None:
        return None
    door = TunnelDoor(place, data / "sites-door", identity(data), link)
    try:
        await door.open(registry)
    except (OSError, CertificateError) as error:
        log.error("the door for sites on %s:%d is not open: %s", place.host, place.port, error)
        return None
    svc.table.road = door.road
    return door


def _service(settings: Settings, clock: Clock, data: Path, spool: Spool, process: GatewayProcess) -> Service:
    # A gateway that had several processes before goes on from what those have spent.
    others = {} if process.shared is not None else spent_before(data.glob("worker-*"))
    svc = Service(settings, clock, spool, process.origin, leased=process.coordinator is not None, others=others)
    if settings.otel is not None:
        svc.shared.traces = Traces(settings.otel, process.origin)
    return svc


def _recover(svc: Service) -> None:
    recovered = svc.meter.recover()
    if recovered:
        log.warning("billed %d streams of a gateway that was killed, from their last progress", recovered)


def _folders(data: Path, shared: Path | None) -> list[Path]:
    """Of all processes of this gateway."""
    return [data] if shared is None else sorted(shared.glob("worker-*"))


async def _share_budgets(
    svc: Service,
    process: GatewayProcess,
    data: Path,
    spool: Spool,
    registry: Registry,
    followed: FollowedChanges | None,
) -> None:
    coordinator = process.coordinator
    assert coordinator is not None
    name = data.name if isinstance(coordinator, Path) else identity(data)
    leases = LeaseClient(coordinator, name, svc.book, spool, svc.abandon_budgeted)
    svc.leases = leases
    if followed is not None:
        leases.changes, followed.call = followed, leases.call
        registry.keep("changes", "takes over what administrators change at other gateways", followed.follow)
    registry.keep("budgets", "shares budgets with other processes", leases.run)
    await leases.joined()


async def _listen(
    settings: Settings, connection: Callable[[], ClientConnection], sock: socket.socket | None
) -> asyncio.Server:
    tls = None
    if settings.tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    loop = asyncio.get_running_loop()
    if sock is not None:
        return await loop.create_server(connection, sock=sock, ssl=tls, backlog=4096)
    return await loop.create_server(connection, settings.host, settings.port, ssl=tls, backlog=4096)


def _heed_hang_up(svc: Service, changes: Changes) -> None:
    """SIGHUP: the configuration is read anew, where there is one to read."""
    if changes.load is None:
        return
    with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not the main thread, or Windows
        svc.loop.add_signal_handler(signal.SIGHUP, lambda: svc.spawn(changes.hang_up()))


def _freeze() -> None:
    """What lives from here on is per request and makes no cycles; what is already here is never collected again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _base_url(settings: Settings, server: asyncio.Server) -> str:
    port = server.sockets[0].getsockname()[1]
    scheme = "https" if settings.tls_cert else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{port}/v1"


def _join_platform(
    svc: Service, link: Link, batch_api: BatchApi, data: Path, process: GatewayProcess, registry: Registry
) -> None:
    """Hear sites and the core over the link, and tell them usage and backlog."""
    origin, svc.tells_refusals = process.origin, True
    snapshot, runner, meter = Snapshot(data / "replicas.json"), batch_api.runner, svc.meter
    restore(svc.table, snapshot)
    registry.keep("replica snapshot", "keeps the replica table on disk", lambda: probe_for_ever(svc.table, snapshot))
    for subject in ("replica.>", "plan.*", "command.*"):
        registry.keep(
            f"hears {subject}", "what sites and the core say", partial(_follow, svc, link, subject, process.away)
        )
    registry.keep("catch up", "asks what was said before", lambda: _catch_up(svc, link))
    registry.keep("usage", "sends usage to the core", lambda: meter.push_for_ever(link, origin))
    tell = partial(owed_work.tell_for_ever, runner.waiting, runner.per_line, link, origin, svc.clock)
    registry.keep("backlog", "tells dispatch what batch work is owed", tell)


async def _close(
    svc: Service, server: asyncio.Server, batch_api: BatchApi, spool: Spool, access: AccessLog, door: TunnelDoor | None
) -> None:
    """Everything that is open, files last."""
    svc.close()
    if door is not None:
        door.close()
    for one in list(svc.connections):
        if one.transport is not None:
            one.transport.abort()
    server.close()
    await asyncio.to_thread(batch_api.runner.close)
    await asyncio.to_thread(spool.close)
    access.close()
    if svc.shared.traces is not None:
        await asyncio.to_thread(svc.shared.traces.close)


def spent_before(folders: Iterable[Path]) -> dict[str, int]:
    """What processes that no longer run have spent, from their disks. Raises StoreError."""
    spent: Counter[str] = Counter()
    for folder in folders:
        if (folder / "usage.db").exists():
            spool = Spool(folder / "usage.db")
            spent.update(spool.totals())
            spool.close()
    return dict(spent)


async def _drain(svc: Service, server: asyncio.Server, process: GatewayProcess) -> None:
    """Say that it stops, until balancers have heard; take nothing new, let live requests end, then end them. What is
    taken meanwhile is answered over a connection that ends with it."""
    svc.draining = True
    if process.leave_s:
        await asyncio.sleep(process.leave_s)
    svc.closed = True
    server.close()
    deadline = svc.loop.time() + process.drain_s
    for connection in list(svc.connections):
        if not connection.request_id and connection.transport is not None:
            connection.transport.close()
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
        for connection in list(svc.connections):
            connection.tick(now)
        await changes.refresh()
        await engines.sweep()
        if svc.meter.failing is not None:
            await svc.meter.try_again()


# --- the replica table ----------------------------------------------------------------


async def _follow(svc: Service, link: Link, subject: str, away: Callable[[], Container[str]]) -> None:
    """Replicas as their sites' agents tell them; plans and orders as the sites are told them."""

    def take(record: records.AnyRecord) -> None:
        if isinstance(record, ReplicaState):
            known = svc.backends.get(record.replica_id)
            if known is not None and known.site != record.site_id:
                raise IntakeError(f"{record.replica_id} is a replica of {known.site}", "replica_id")
            _same_address(svc, record)
            if record.base_url and not record.base_url.startswith(f"{TUNNEL}:") and record.site_id in away():
                raise IntakeError(f"{record.site_id} runs elsewhere: its own connections alone lead there", "base_url")
            if known is not None or len(svc.backends) < MAX_REPLICAS:
                svc.heard(record)
        elif isinstance(record, Plan | Instruction):
            svc.heard_power(record)

    await heed_records(link, subject, take, svc.clock.now, _own)


def _own(subject: str, record: records.AnyRecord) -> None:
    """A heartbeat is taken on the subject of its own site and replica, which only that site may speak on, and its name
    begins with its site's: none can be taken by another site first. Raises IntakeError."""
    if subject.startswith("replica.") and isinstance(record, ReplicaState):
        _, _, tail = subject.partition(".")
        site, _, replica = tail.partition(".")
        own = replica == site or replica.startswith(f"{site}-")
        address = urlsplit(record.base_url)
        own = own and (address.scheme != TUNNEL or address.netloc == replica)
        if (record.site_id, record.replica_id) != (site, replica) or not own:
            raise IntakeError(f"{record.replica_id} of {record.site_id} may not be told here", "replica_id")
    elif subject.startswith("replica."):
        raise IntakeError(f"a {type(record).__name__} is no heartbeat")


def _same_address(svc: Service, record: ReplicaState) -> None:
    """A site may not name another site's replica as its own: its answers would count for the wrong one. Raises
    IntakeError."""
    address, now = urlsplit(record.base_url).netloc, svc.loop.time()
    for other in svc.backends.values():
        if address and other.authority == address and other.site != record.site_id and other.usable(now):
            raise IntakeError(f"{address} is {other.id} of {other.site}", "base_url")


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


def run(main: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run a coroutine function on the fastest loop this system has."""
    if sys.platform != "win32":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
