"""The OpenAI-compatible door as a part: settings from the configuration, replicas from the link."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

import httpx

from tieline.app.runtime import Runtime
from tieline.config import Config
from tieline.gateway.serve import serve
from tieline.gateway.settings import Engine, Key, Limits, Model, Rental, Settings, Tenant, hash_key
from tieline.link import LateLink
from tieline.tasks import Registry

Ready = Callable[[str], None]

# A small model loads in a second; a large one goes on loading after the platform is called ready.
FIRST_REPLICA_S = 30.0


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Serves until cancelled; what runs then is ended by the supervisor's grace."""
    settings = settings_of(runtime.load_config(), runtime)
    link = LateLink(runtime.link_url, "gateway", runtime.link_token)
    opened = asyncio.Event()
    data = runtime.data / "gateway"
    serving = asyncio.create_task(
        serve(
            settings,
            runtime.clock,
            data,
            link=link,
            started=lambda _: opened.set(),
            registry=registry,
            load=lambda: settings_of(runtime.load_config(), runtime),
        )
    )
    try:
        await asyncio.wait({serving, asyncio.create_task(opened.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if opened.is_set():
            ready(await _first_replica(runtime, bool(settings.models or settings.engines)))
        await serving
    finally:
        serving.cancel()
        await asyncio.wait({serving}, timeout=1.0)
        await link.close()


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
    keys, tenants = [], []
    for tenant in config.tenants:
        tenants.append(
            Tenant(
                id=tenant.id,
                limits=Limits(
                    requests_per_minute=tenant.requests_per_minute,
                    tokens_per_minute=tenant.tokens_per_minute,
                    concurrent=tenant.concurrent_requests,
                    budget_usd=tenant.budget_usd_per_month,
                ),
                weight=tenant.weight,
                latency_class=tenant.latency_class,
                regions=tenant.regions,
                max_usd_per_mtok=tenant.max_usd_per_mtok,
            )
        )
        for key in tenant.keys:
            if key.generate:
                path = runtime.key_path(key.id, config)
                if not path.exists():
                    raise ValueError(f"the secret of key {key.id!r} is missing: {path}; start again to have it made")
                digest = hash_key(path.read_text().strip())
            elif key.env is not None:
                if not os.environ.get(key.env):
                    raise ValueError(f"key {key.id!r} is in {key.env}, which is not set; export it and start again")
                digest = hash_key(os.environ[key.env])
            else:
                digest = key.sha256 or ""
            keys.append(
                Key(
                    id=key.id,
                    sha256=digest,
                    tenant=tenant.id,
                    project=key.project,
                    models=key.models,
                    regions=key.regions,
                    role=key.role,
                )
            )
    return Settings(
        host=runtime.gateway_host,
        port=runtime.gateway_port,
        models=tuple(
            Model(
                name=model.name,
                input_usd_per_mtok=model.usd_per_million_input,
                output_usd_per_mtok=model.usd_per_million_output,
                label=model.label,
            )
            for model in config.models
            if model.engine != "modelled"
        ),
        tenants=tuple(tenants),
        keys=tuple(keys) if config.gateway.auth == "keys" else (),
        engines=tuple(Engine(url=url) for url in config.gateway.upstreams),
        rentals=tuple(
            Rental(
                tenant=rental.tenant,
                model=rental.model,
                replicas=rental.replicas,
                since=rental.since,
                until=rental.until,
                region=rental.region,
                usd_per_replica_hour=rental.usd_per_replica_hour,
            )
            for rental in config.rentals
        ),
        origins=(runtime.console_url,),
        max_body_bytes=config.gateway.max_body_bytes,
    )
