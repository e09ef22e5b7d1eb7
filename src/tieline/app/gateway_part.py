"""The OpenAI-compatible door as a part: settings from the configuration, replicas from the link."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import msgspec

from tieline.app.joins import LINK_FOLDER, JoinError, path_of, read_book
from tieline.app.machines.keys import BUDGETS, BUDGETS_ABOVE
from tieline.app.runtime import Runtime
from tieline.config import Config, sections
from tieline.gateway.budgets.remote import Remote
from tieline.gateway.serve import DRAIN_S, GatewayProcess, serve
from tieline.gateway.settings import Engine, Key, Limits, Model, RentedReplicas, Settings, Tenant, hash_key
from tieline.gateway.wire.tunnel import DoorPlace
from tieline.link import CheckedLink, LastNumbers, LateLink
from tieline.link.signing import public_key
from tieline.tasks import Registry

Ready = Callable[[str], None]

# The key, and the tenant it is under, with which the console makes and revokes tenants' keys.
PORTAL: Final = "platform-console"
LOOPBACK: Final[tuple[str, ...]] = ("127.0.0.0/8", "::1/128")
# A small model loads in a second; a large one goes on loading after the platform is called ready.
FIRST_REPLICA_S = 30.0
# Of several machines: a balancer has left this gateway out after two looks, a second apart. Then streams end.
LEAVE_S: Final = 3.0
GRACE_S: Final = LEAVE_S + DRAIN_S + 2.0


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Serves until cancelled. What runs then ends with it, where this is a platform's own machine; a gateway of several
    machines is left out by balancers first, and then its streams have their time."""
    settings = settings_of(runtime.load_config(), runtime)
    late = LateLink(runtime.link_user("gateway"))
    link = CheckedLink(late, public_key(runtime.data / LINK_FOLDER), LastNumbers())
    opened, stop = asyncio.Event(), asyncio.Event()
    data = runtime.data / "gateway"
    serving = asyncio.create_task(
        serve(
            settings,
            runtime.clock,
            data,
            link=link,
            stop=stop,
            started=lambda _: opened.set(),
            process=GatewayProcess(
                registry=registry,
                load=lambda: settings_of(runtime.load_config(), runtime),
                sites=_sites_door(runtime),
                coordinator=coordinators(runtime) if runtime.shared else None,
                away=Everywhere() if runtime.shared else SitesAway(runtime.data),
                together=runtime.shared,
                leave_s=LEAVE_S if runtime.shared else 0.0,
            ),
        )
    )
    try:
        await asyncio.wait({serving, asyncio.create_task(opened.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if opened.is_set():
            ready(await _first_replica(runtime, bool(settings.models or settings.engines)))
        await asyncio.shield(serving)
    finally:
        if runtime.shared and opened.is_set():
            stop.set()
            await asyncio.wait({serving}, timeout=GRACE_S)
        serving.cancel()
        await asyncio.wait({serving}, timeout=1.0)
        await link.close()


class Everywhere(frozenset[str]):
    """Of a platform over several machines every site runs elsewhere: no address that one gives is dialled."""

    def __call__(self) -> frozenset[str]:
        return self

    def __contains__(self, site: object) -> bool:
        return True


class SitesAway:
    """The sites that joined from elsewhere, read again when their book changes; one that cannot be read changes
    nothing. What such a site gives as an address is not dialled: it could be anybody's."""

    def __init__(self, data: Path) -> None:
        self._data, self._seen, self._sites = data, 0, frozenset[str]()

    def __call__(self) -> frozenset[str]:
        with contextlib.suppress(OSError, JoinError):
            seen = path_of(self._data).stat().st_mtime_ns
            if seen != self._seen:
                self._sites, self._seen = frozenset(read_book(self._data).sites), seen
        return self._sites


def coordinators(runtime: Runtime) -> Remote:
    """Where budgets, limits and calls that are made once are coordinated: beside one of the link's servers."""
    secret = runtime.link_password(BUDGETS).encode()
    tls = None
    if runtime.link_authority is not None:
        tls = ssl.create_default_context(cadata=runtime.link_authority)
    first, *others = [
        Remote(host, port + BUDGETS_ABOVE, secret, tls) for host, port in runtime.link_user("gateway").places
    ]
    return replace(first, others=tuple(others))


def _sites_door(runtime: Runtime) -> DoorPlace:
    """Where sites that nobody can dial hold their connections: beside the link."""
    door = runtime.load_config().link
    if runtime.link_authority is None:
        return DoorPlace()
    return DoorPlace(door.host, door.tunnel_port, runtime.reach or door.name)


async def _first_replica(runtime: Runtime, some: bool) -> str:
    """Wait until a request would be answered; a door without any engine is open all the same, and says so at once where
    there is to be none."""
    if not some:
        return f"{runtime.openai_base_url}, no engine is configured"
    health = runtime.openai_base_url.removesuffix("/v1") + "/healthz"
    async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
        for _ in range(int(FIRST_REPLICA_S / 0.1)):
            with contextlib.suppress(httpx.HTTPError, ValueError):
                if (await client.get(health)).json().get("ready"):
                    return runtime.openai_base_url
            await asyncio.sleep(0.1)
    return f"{runtime.openai_base_url}, no engine is ready yet"


def settings_of(config: Config, runtime: Runtime) -> Settings:
    """The door's own settings. Raises ValueError naming the key whose secret is not to be found."""
    keys = tuple(_key(key, tenant.id, runtime, config) for tenant in config.tenants for key in tenant.keys)
    tenants = tuple(tenant_of(tenant) for tenant in config.tenants)
    locked = config.gateway.auth == "keys" and bool(keys)
    if locked and runtime.portal_key_path.exists():
        keys, tenants = (*keys, _portal_key(runtime)), (*tenants, Tenant(id=PORTAL))
    served = [model for model in config.models if model.engine != "modelled"]
    return Settings(
        host=runtime.gateway_host,
        port=runtime.gateway_port,
        models=tuple(_model(model) for model in served),
        tenants=tenants,
        keys=keys if locked else (),
        engines=tuple(Engine(url=url) for url in config.gateway.upstreams),
        rentals=tuple(msgspec.convert(msgspec.structs.asdict(rental), RentedReplicas) for rental in config.rentals),
        origins=(runtime.console_url,),
        max_body_bytes=config.gateway.max_body_bytes,
        region=runtime.region or config.gateway.region,
        abroad_s=config.gateway.abroad_s,
        round_trips_ms=config.gateway.round_trips_ms,
    )


def _portal_key(runtime: Runtime) -> Key:
    """Administers from this machine only, and so is never the key that keeps an operator's last one from going."""
    networks = LOOPBACK
    with contextlib.suppress(ValueError):
        networks = (*LOOPBACK, str(ipaddress.ip_address(runtime.gateway_host)))
    digest = hash_key(runtime.portal_key_path.read_text().strip())
    return Key(id=PORTAL, sha256=digest, tenant=PORTAL, role="admin", networks=networks)


def _model(model: sections.Model) -> Model:
    return Model(
        name=model.name,
        input_usd_per_mtok=model.usd_per_million_input,
        output_usd_per_mtok=model.usd_per_million_output,
        label=model.label,
    )


def tenant_of(tenant: sections.Tenant) -> Tenant:
    limits = Limits(
        requests_per_minute=tenant.requests_per_minute,
        tokens_per_minute=tenant.tokens_per_minute,
        concurrent=tenant.concurrent_requests,
        budget_usd=tenant.budget_usd_per_month,
    )
    return Tenant(
        id=tenant.id,
        limits=limits,
        weight=tenant.weight,
        latency_class=tenant.latency_class,
        regions=tenant.regions,
        max_usd_per_mtok=tenant.max_usd_per_mtok,
    )


def _key(key: sections.Key, tenant: str, runtime: Runtime, config: Config) -> Key:
    return Key(
        id=key.id,
        sha256=_digest(key, runtime, config),
        tenant=tenant,
        project=key.project,
        models=key.models,
        regions=key.regions,
        role=key.role,
    )


def _digest(key: sections.Key, runtime: Runtime, config: Config) -> str:
    """SHA-256 of a key's secret, wherever the file says that it lies. Raises ValueError."""
    if key.generate:
        path = runtime.key_path(key.id, config)
        if not path.exists():
            raise ValueError(f"the secret of key {key.id!r} is missing: {path}; start again to have it made")
        return hash_key(path.read_text().strip())
    if key.env is None:
        return key.sha256 or ""
    if not os.environ.get(key.env):
        raise ValueError(f"key {key.id!r} is in {key.env}, which is not set; export it and start again")
    return hash_key(os.environ[key.env])
