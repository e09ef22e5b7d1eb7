"""Several gateway processes on one port: one per core, with one coordinator for their budgets.

The parent serves nobody: it holds the port, coordinates the budgets, and starts again what dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from tieline.clock import WallClock
from tieline.gateway import serve as app
from tieline.gateway.budgets.admit import shared_limits
from tieline.gateway.budgets.coordinator import CoordinatorServer
from tieline.gateway.budgets.keys import KEYS_FILE, OverlayFile, admin_key, over
from tieline.gateway.budgets.lease import Coordinator
from tieline.gateway.budgets.remote import Remembered, address, listener_tls, remote, secret_of
from tieline.gateway.changes import FIXED
from tieline.gateway.settings import Engine, Limits, Settings, SettingsError, load
from tieline.store import Spool, StoreError

log = logging.getLogger("tieline.gateway")

# A worker that dies is started again after this; one that dies at once does not spin.
AGAIN_S: Final = 0.5
STOP_S: Final = 35.0


class SettingsSource(msgspec.Struct, frozen=True):
    """Where the settings come from, so that each process can read them anew; no path: from the command line alone."""

    config: str = ""
    upstreams: tuple[str, ...] = ()

    def load(self) -> Settings:
        """Raises SettingsError."""
        settings = load(Path(self.config)) if self.config else Settings()
        more = tuple(Engine(url=url) for url in self.upstreams)
        return msgspec.structs.replace(settings, engines=(*settings.engines, *more))


def run(settings: Settings, data: Path, count: int, source: SettingsSource | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    asyncio.run(supervise(settings, data, count, source=source))


async def supervise(
    settings: Settings, data: Path, count: int, stop: asyncio.Event | None = None, source: SettingsSource | None = None
) -> None:
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
    held = _socket(settings)  # bound, never listening: the port stays ours while workers come and go
    port = held.getsockname()[1]
    settings = msgspec.structs.replace(settings, port=port)
    data.mkdir(parents=True, exist_ok=True)
    names = [f"worker-{index}" for index in range(count)]
    path = data / "budgets.sock"
    made = OverlayFile(data / KEYS_FILE)
    loads = made.read().loads
    over(settings, made.read())
    now = [settings]  # what a process that is started again is told
    server = None if settings.coordination.at else await coordinate(settings, data, path)

    def learn() -> None:
        nonlocal loads
        if not made.changed():
            return
        with contextlib.suppress(SettingsError, ValueError):  # a worker says it
            overlay = made.read()
            if overlay.loads != loads and source is not None:
                loads = overlay.loads
                with contextlib.suppress(SettingsError, ValueError):
                    fresh = source.load()
                    now[0] = msgspec.structs.replace(fresh, **{name: getattr(settings, name) for name in FIXED})
            if server is not None:
                server.coordinator.set_limits(limits_of(over(now[0], overlay)))

    def hang_up() -> None:
        """Each process reads the configuration anew, and says what is wrong with it."""
        with contextlib.suppress(SettingsError, OSError):
            made.update(lambda before: msgspec.structs.replace(before, loads=before.loads + 1))

    if server is not None:
        server.learn = learn
    if source is not None:
        with contextlib.suppress(ValueError, RuntimeError):
            loop.add_signal_handler(signal.SIGHUP, hang_up)
    keepers = [loop.create_task(_keep(now, data / name, path, name, stop, source)) for name in names]
    sys.stdout.write(f"gateway: http://{settings.host}:{port}/v1, {count} processes\n")
    if not settings.keys:
        sys.stdout.write(f"  open to this machine; /admin takes the key {admin_key(data)}\n")
    sys.stdout.flush()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
        if server is not None:
            server.sweep()
        learn()
    await asyncio.wait(keepers, timeout=STOP_S)
    if server is not None:
        await server.close()
    path.unlink(missing_ok=True)
    held.close()


async def coordinate(settings: Settings, data: Path, path: Path) -> CoordinatorServer:
    """The budgets' coordinator for this machine's processes, and for other machines where it is told to listen.
    Raises SettingsError, OSError, StoreError."""
    coordinator = Coordinator(limits_of(over(settings, OverlayFile(data / KEYS_FILE).read())))
    for folder in data.glob("worker-*"):  # also those of an earlier, larger number
        coordinator.known(folder.name, app.spent_before([folder]))
    coordinator.known("alone", app.spent_before([data]))  # before there were several processes here
    server = CoordinatorServer(coordinator, lambda name: audit(data, name), Remembered(data / "budgets.json"))
    if settings.coordination.listen:
        tls = listener_tls(settings.coordination)
        host, port = address(settings.coordination.listen, "coordination.listen")
        bound = await server.listen(host, port, secret_of(settings.coordination, host), tls)
        sys.stdout.write(f"budgets: {host}:{bound}\n")
        sys.stdout.flush()
    await server.start(path)
    return server


def limits_of(settings: Settings) -> dict[str, int]:
    """Every budget by its scope's name, in nano-dollars, and every limit by its account's."""
    by_name: dict[str, int] = {}

    def take(scope: str, limits: Limits) -> None:
        if limits.budget_nano_usd is not None:
            by_name[scope] = limits.budget_nano_usd
        by_name.update({f"{scope}|{kind}": limit for kind, limit in shared_limits(limits).items()})

    for tenant in settings.tenants:
        take(f"tenant:{tenant.id}", tenant.limits)
        for project in tenant.projects:
            take(f"project:{tenant.id}/{project.id}", project.limits)
    for key in settings.keys:
        take(f"key:{key.id}", key.limits)
    return by_name


def audit(data: Path, name: str) -> dict[str, int] | None:
    """What a gateway that is not running has spent, from its own disk; None where that cannot be read."""
    path = data / name / "usage.db"
    if not path.exists():
        return {}
    try:
        spool = Spool(path)
        totals = spool.totals()
        spool.close()
    except (StoreError, OSError):
        return None
    return totals


def _socket(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((settings.host, settings.port))
    return sock


async def _keep(
    now: list[Settings], data: Path, coordinator: Path, name: str, stop: asyncio.Event, source: SettingsSource | None
) -> None:
    """Start one worker, and again whenever it dies; its stdin closing tells it to stop."""
    while not stop.is_set():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tieline.gateway.workers", str(data), str(coordinator), name,
            *(() if source is None else (msgspec.json.encode(source).decode(),)),
            stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(now[0]) + b"\n")
        stopping = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        process.stdin.close()
        if ended.done():
            log.warning("%s ended with %s; starting it again", name, process.returncode)
        stopping.cancel()
        await ended
        if not stop.is_set():
            await asyncio.sleep(AGAIN_S)


async def _worker(settings: Settings, data: Path, path: Path, name: str, source: SettingsSource | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the parent
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin.fileno(), lambda: stop.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    await app.serve(
        settings,
        WallClock(),
        data,
        stop=stop,
        process=app.GatewayProcess(
            origin=f"gateway.{name}",
            sock=_socket(settings),
            coordinator=remote(settings.coordination) if settings.coordination.at else path,
            shared=path.parent,
            load=None if source is None else source.load,
        ),
    )


def _main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    line = b""
    while not line.endswith(b"\n"):  # byte by byte: what follows is the pipe's end, not a message
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            return
        line += byte
    settings = msgspec.json.decode(line, type=Settings, strict=False)
    data, coordinator, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    source = msgspec.json.decode(sys.argv[4], type=SettingsSource) if len(sys.argv) > 4 else None
    app.run(lambda: _worker(settings, data, coordinator, name, source))


if __name__ == "__main__":
    _main()
