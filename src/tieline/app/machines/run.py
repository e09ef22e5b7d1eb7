"""`tieline run PART`: one part of a platform over several machines, on this one; the same processes as `tieline up`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from tieline import __version__
from tieline import config as configuration
from tieline.app.acting import acting
from tieline.app.machines.keys import KEYS_FILE, TLS_FOLDER, MachineError, MachineKeys, read_keys
from tieline.app.runtime import LinkRoutes, Runtime
from tieline.app.supervise import Supervisor, python_part, save_state
from tieline.app.up import (
    UpError,
    check_data,
    check_libraries,
    check_writable,
    free_or_taken,
    is_locked,
    locked,
    settle_records,
)
from tieline.clock import wall_now
from tieline.config import Config, is_loopback
from tieline.link.certificate import CertificateError, make_certificates
from tieline.store import StoreError

# What a part of a machine is, in processes.
PROCESSES: Final[dict[str, tuple[str, ...]]] = {
    "link": ("link", "budgets"),
    "core": ("core",),
    "gateway": ("gateway",),
    "console": ("console", "alerts"),
}
# Those that speak with the store themselves.
WITH_STORE: Final = ("link", "core", "console")
# Servers of the link hear each other so far above the port that others dial.
ROUTES_ABOVE: Final = 2_000
LOOK_S: Final = 0.5
# A gateway that stops lets balancers leave it out, and its streams end.
GATEWAY_STOP_S: Final = 36.0

Say = Callable[[str], None]


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says. `server`: which of the link's servers this is, as the configuration names it.
    `reach`: the name or address at which sites reach this machine's gateway; `region`: the one it stands in."""

    part: str
    config: Path
    data_dir: Path
    name: str | None = None
    server: str | None = None
    reach: str | None = None
    gateway_port: int | None = None
    console_port: int | None = None
    region: str | None = None


def prepare_part(options: RunOptions) -> Runtime:
    """Check the ground, and write down what the part is told. Raises UpError."""
    data = options.data_dir.resolve()
    check_libraries()
    check_writable(data)
    try:
        config = configuration.load(options.config)
        keys = read_keys(data / KEYS_FILE)
    except (configuration.ConfigError, MachineError) as error:
        raise UpError(str(error)) from error
    if options.part not in keys.parts:
        have = ", ".join(keys.parts)
        raise UpError(f"this machine has keys for {have}, none for {options.part}; see: tieline machine keys")
    check_data(data)
    if options.part in WITH_STORE:
        _settle(data, options.config, config)
    now = wall_now()
    try:
        allowed = acting(data, config, now, shared=True) if options.part == "core" else None
    except StoreError as error:
        raise UpError(str(error)) from error
    link = _Link.of(config, options, keys, data)
    reach = options.reach or config.link.name
    if options.part == "gateway" and link.tls and not reach:
        raise UpError("sites have to know where this gateway is: name this machine as they reach it: --reach 10.0.0.6")
    region = region_of(options.region or config.gateway.region, config)
    return Runtime(
        version=__version__,
        data_dir=str(data),
        config=str(options.config.resolve()),
        speed=1.0,
        anchor_wall=now,
        anchor_world=now,
        link_url=link.url,
        link_secret=keys.secret or "",
        link_listen=link.listen,
        link_authority=keys.authority if link.tls else None,
        console_host=config.console.host,
        console_port=_port(options, "console", config.console.host, options.console_port, config.console.port),
        gateway_host=config.gateway.host,
        gateway_port=_port(options, "gateway", config.gateway.host, options.gateway_port, config.gateway.port),
        acting=allowed,
        machine=options.name or socket.gethostname(),
        reach=reach,
        region=region,
        shared=True,
        link_passwords=keys.passwords,
        link_routes=link.routes,
    )


def region_of(named: str, config: Config) -> str:
    """A gateway's region, which some site is in; empty: it stands nowhere in particular. Raises UpError."""
    regions = sorted({site.region for site in config.fleet.sites})
    if named and named not in regions:
        raise UpError(f"--region {named!r}: no site is there; regions of this fleet: {', '.join(regions)}")
    return named


async def run_part(options: RunOptions, say: Say) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit code. Raises UpError."""
    data, part = options.data_dir.resolve(), options.part
    os.umask(0o077)
    check_writable(data)
    if is_locked(data):
        raise UpError(f"`tieline up` runs on {data}; one machine of several has a folder of its own: --data-dir")
    with locked(data, f"{part}.lock"):
        runtime = prepare_part(options)
        runtime.save()  # for commands that read this folder
        path = runtime.save(f"runtime-{part}.json")
        state = data / "run" / f"state-{part}.json"
        supervisor: Supervisor | None = None

        def changed() -> None:
            if supervisor is not None:
                save_state(state, _PartStates(parts=tuple(one.status for one in supervisor.parts), pid=os.getpid()))

        processes = [python_part(name, path) for name in PROCESSES[part]]
        supervisor = Supervisor(processes, data / "run" / "logs", changed)
        if part == "gateway":
            supervisor.stop_s = GATEWAY_STOP_S
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signum, supervisor.request_stop)
        supervisor.start()
        telling = asyncio.create_task(_tell(supervisor, runtime, say))
        try:
            await supervisor.run_until_stopped()
        finally:
            telling.cancel()
            changed()
        say("Stopped.")
    return 0


class _PartStates(msgspec.Struct, frozen=True, kw_only=True):
    """What runs here of one part, for whoever looks."""

    parts: tuple[msgspec.Struct, ...]
    pid: int


class _Link(msgspec.Struct, frozen=True, kw_only=True):
    """Where the link is, and for a machine with one of its servers where that listens."""

    url: str
    tls: bool
    listen: str | None = None
    routes: LinkRoutes | None = None

    @classmethod
    def of(cls, config: Config, options: RunOptions, keys: MachineKeys, data: Path) -> _Link:
        """Raises UpError."""
        door, servers = config.link, config.link.servers
        if not servers:
            raise UpError('link.servers is missing; write what everybody dials: servers = ["10.0.0.5:4222"]')
        tls = not all(is_loopback(server.rpartition(":")[0]) for server in servers)
        url = ",".join(f"{'tls' if tls else 'nats'}://{server}" for server in servers)
        if options.part != "link":
            return cls(url=url, tls=tls)
        own = _own_server(options, servers)
        name, _, port = own.rpartition(":")
        if tls and is_loopback(door.host):
            raise UpError('link.servers are on other machines, and link.host is loopback; write host = "0.0.0.0"')
        host = door.host if tls else name
        try:
            make_certificates(data / "link" / TLS_FOLDER, list(dict.fromkeys([name, "127.0.0.1"])), wall_now())
        except (CertificateError, OSError) as error:
            raise UpError(f"the link's certificate: {error}") from error
        free_or_taken("link", host, int(port), int(port))
        others = tuple(_route(one) for one in servers if one != own)
        routes = LinkRoutes(listen=f"{host}:{int(port) + ROUTES_ABOVE}", others=others) if others else None
        return cls(url=url, tls=tls, listen=f"{host}:{port}", routes=routes)


def _own_server(options: RunOptions, servers: tuple[str, ...]) -> str:
    """Which of the link's servers this machine has. Raises UpError."""
    own = options.server or (servers[0] if len(servers) == 1 else None)
    if own in servers:
        return own
    which = f"{own!r} is none of link.servers" if own else "link.servers names several"
    raise UpError(f"{which}; say which of them this is: --server {servers[0]}")


def _route(server: str) -> str:
    host, _, port = server.rpartition(":")
    return f"{host}:{int(port) + ROUTES_ABOVE}"


def _settle(data: Path, path: Path, config: Config) -> None:
    if config.store.url is None:
        raise UpError(
            "store.url is missing; several machines keep their records on a server: [store] "
            'url = "postgresql://tieline@db/tieline"'
        )
    settle_records(data, path, config)


def _port(options: RunOptions, part: str, host: str, asked: int | None, configured: int) -> int:
    """Checked where this machine opens it."""
    if options.part == part:
        return free_or_taken(part, host, asked, configured)
    return configured if asked is None else asked


async def _tell(supervisor: Supervisor, runtime: Runtime, say: Say) -> None:
    """For ever: a line whenever a process of the part is something else than before."""
    states: dict[str, str] = {}
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            for one in supervisor.parts:
                now = f"{one.state}: {one.detail}" if one.detail else one.state
                if states.get(one.name) != now:
                    states[one.name] = now
                    say(f"{wall_now():%H:%M:%S} UTC  {runtime.machine}  {one.name:8} {now}")
            await asyncio.sleep(LOOK_S)
