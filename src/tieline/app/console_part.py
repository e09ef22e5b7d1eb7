"""The console part: the pages, over the store opened read-only."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from tieline import records
from tieline.app.machines.beside import alerts_of, people_of
from tieline.app.runtime import Runtime
from tieline.app.up import PlatformState, disk_trouble, set_aside
from tieline.config import Config
from tieline.console import wire
from tieline.console.app import Shown, SignIn, make_app, make_portal
from tieline.disclosures.facts.keep import LiveBook
from tieline.dispatch.settings import settings_of
from tieline.link import NatsLink
from tieline.people import People
from tieline.store import Store, StoreError
from tieline.store.rolled.growth import filling, growth_of
from tieline.tasks import Registry, beat

Ready = Callable[[str], None]

COUNT_EVERY_S = 5.0
GROWTH_EVERY_S = 600.0


class _Server(uvicorn.Server):
    """Signals are the part's business, not the web server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _chat_key(runtime: Runtime, config: Config) -> str | None:
    """With what the page's chat box asks; None where no tenant's key lies here. A door without keys takes any."""
    if config.gateway.auth != "keys":
        return "none"
    generated = any(key.generate and key.role == "user" for tenant in config.tenants for key in tenant.keys)
    return runtime.demo_key if generated else None


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Serves until cancelled."""
    config = runtime.load_config()
    link = await NatsLink.dial(runtime.link_user("console"))
    # The store is the core's to make; on a first start it may take a moment.
    place = runtime.store
    while not place.exists():
        await asyncio.sleep(0.05)
    store = Store(place, records.encode, records.decode, read_only=True)
    aside, disk = Counted(runtime.data), Filling(runtime, config, store)
    registry.keep("disk", "estimates when the disk is full", disk.look)
    people = People(people_of(runtime.data))
    alerts = alerts_of(runtime.data)
    app = make_app(
        store,
        config.fleet,
        runtime.clock,
        link=link,
        registry=registry,
        sign_in=_sign_in(config, people),
        shown=Shown(
            gateway_url=runtime.openai_base_url,
            demo_key=_chat_key(runtime, config),
            info=lambda: told(runtime, aside, disk.line),
            disclosures=LiveBook(runtime.data / "disclosures.jsonl"),
            tenants=config.tenants,
            lots=config.treasury.lots,
            alerts=alerts,
            data=runtime.data,
            gateway_admin=lambda: _secret(runtime.gateway_admin_path(config)),
            keeps=settings_of(config).keeps,
            dispatch=settings_of(config),
        ),
    )
    server = _Server(uvicorn.Config(app, **wire.settings(runtime.console_host, runtime.console_port)))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.02)
        ready(runtime.console_url)
        await serving
        raise RuntimeError("the web server ended")
    finally:
        server.should_exit = True
        server.force_exit = True
        await asyncio.wait({serving}, timeout=1.5)
        await link.close()
        store.close()
        people.store.close()
        alerts.close()


async def serve_portal(runtime: Runtime, host: str, port: int, opened: Callable[[str], None]) -> None:
    """The tenants' pages alone, beside a platform of this data folder, until cancelled. Raises OSError where it cannot
    listen, StoreError where there is nothing to show."""
    config = runtime.load_config()
    store = Store(runtime.store, records.encode, records.decode, read_only=True)
    people = People(people_of(runtime.data))
    shown = Shown(
        gateway_url=runtime.openai_base_url,
        tenants=config.tenants,
        lots=config.treasury.lots,
        gateway_admin=lambda: _secret(runtime.gateway_admin_path(config)),
    )
    listening = socket.create_server((host, port))
    server = _Server(
        uvicorn.Config(make_portal(store, config.fleet, runtime.clock, people, shown), **wire.settings(host, port))
    )
    serving = asyncio.create_task(server.serve([listening]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.02)
        opened(f"http://{host}:{listening.getsockname()[1]}")
        await serving
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait({serving}, timeout=1.5)
        listening.close()
        store.close()
        people.store.close()


def _sign_in(config: Config, people: People) -> SignIn:
    """With an identity provider everybody signs in, also before there is an admin of this machine's own."""
    always = config.console.auth == "accounts" or config.login is not None
    return SignIn(tokens(config), people, always, config.login)


def _secret(path: Path) -> str | None:
    """Read anew each time: the gateway may make it after the console began."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


class Counted:
    """How many items are set aside and how many let go, looked at every few seconds: pages ask twice a second."""

    def __init__(self, data: Path) -> None:
        self.data, self._count, self._looked = data, (0, 0), float("-inf")

    def __call__(self) -> tuple[int, int]:
        now = asyncio.get_running_loop().time()
        if now - self._looked >= COUNT_EVERY_S:
            self._count, self._looked = set_aside(self.data), now
        return self._count


class Filling:
    """When the disk that the records lie on will be full, by how they grew in the last day."""

    def __init__(self, runtime: Runtime, config: Config, store: Store) -> None:
        self.runtime, self.config, self.store = runtime, config, store
        self.line: str | None = None

    async def look(self) -> None:
        granted, most = self.config.store.granted_bytes, self.config.store.warn_days
        while True:
            beat(2 * GROWTH_EVERY_S)
            with contextlib.suppress(StoreError):  # a store that cannot be read is said by those who read it
                grown = await asyncio.to_thread(growth_of, self.store, self.runtime.clock.now(), granted)
                self.line = filling(grown, most, self.runtime.speed)
            await asyncio.sleep(GROWTH_EVERY_S)


def told(runtime: Runtime, aside: Callable[[], tuple[int, int]], fills: str | None = None) -> dict[str, Any]:
    """What the page says of the platform itself: its parts as the supervisor last wrote them down."""
    parts: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, msgspec.DecodeError):
        state = msgspec.json.decode((runtime.data / "run" / "state.json").read_bytes(), type=PlatformState)
        for part in state.parts:
            detail = part.state if part.restarts == 0 else f"{part.state}, restarted {part.restarts} times"
            if part.state != "ready" and part.detail:
                detail = f"{detail}: {part.detail}"
            parts.append({"name": part.name, "ok": part.state == "ready", "detail": detail})
        trouble = disk_trouble(runtime.data) or fills
        if trouble is not None:
            parts.append({"name": "disk", "ok": False, "detail": trouble})
    held, lost = aside()
    return {"parts": parts, "version": runtime.version, "speed": runtime.speed, "set_aside": held, "lost": lost}


def tokens(config: Config) -> dict[str, str] | None:
    """Operator -> SHA-256 of their token; None on loopback without authentication. Raises ValueError."""
    if config.console.auth != "token":
        return None
    name = config.console.token_env or ""
    token = os.environ.get(name)
    if not token:
        raise ValueError(f"console.token_env names {name!r}, which is not set; export it and start again")
    return {"operator": hashlib.sha256(token.encode()).hexdigest()}
