"""`tieline gateway`: the OpenAI-compatible door alone, before any engines."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from tieline.clock import WallClock
from tieline.gateway import serve as app
from tieline.gateway.budgets.keys import admin_key
from tieline.gateway.budgets.remote import remote
from tieline.gateway.settings import Settings, SettingsError, from_plain, hash_key, load
from tieline.gateway.workers import SettingsSource
from tieline.gateway.workers import run as run_workers
from tieline.store import StoreError


@click.command()
@click.option("--upstream", "upstreams", multiple=True, metavar="URL", help="An engine's address; repeat for more.")
@click.option("--config", "config", type=click.Path(path_type=Path, dir_okay=False), help="TOML: keys, models, limits.")
@click.option("--host", default=None, help="Address to listen on (127.0.0.1).")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None, help="Port to listen on (8787); 0 takes a free one."
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes on one port.")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path(".tieline/gateway"), show_default=True,
    help="Folder for usage records and the access log.",
)  # fmt: skip
@click.option("--coordinate", metavar="HOST:PORT", help="Lease budgets to gateways of other machines from here.")
@click.option("--coordinator", metavar="HOST:PORT", help="Lease budgets from the gateway that coordinates there.")
@click.option("--hash-key", "key_to_hash", metavar="KEY", help="Print the SHA-256 to put into the configuration.")
@click.option("--verbose", is_flag=True, help="Log each failover.")
def gateway(key_to_hash: str | None, verbose: bool, workers: int, data: Path, **options: Any) -> None:
    """Serve one OpenAI-compatible address before any engines.

    \b
    tieline gateway --upstream http://127.0.0.1:8000 --upstream http://127.0.0.1:8001
    """
    if key_to_hash is not None:
        click.echo(hash_key(key_to_hash))
        return
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(message)s")
    os.umask(0o077)  # usage, batches and logs are for the owner alone
    given = _Given(**options)
    try:
        settings = _settings(given)
        source = SettingsSource(str(given.config or ""), given.upstreams)
        if workers > 1 or settings.coordination.listen:
            run_workers(settings, data, workers, source)
            return
        app.run(lambda: _serve(settings, data, source))
    except (SettingsError, StoreError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error


@dataclass(frozen=True)
class _Given:
    """What the command line says of the settings; it stands above the configuration."""

    upstreams: tuple[str, ...]
    config: Path | None
    host: str | None
    port: int | None
    coordinate: str | None
    coordinator: str | None


def _settings(line: _Given) -> Settings:
    settings = load(line.config) if line.config is not None else from_plain({}, "the command line")
    given = msgspec.to_builtins(settings)
    given["engines"] = [*given["engines"], *({"url": url} for url in line.upstreams)]
    for key, value in (("host", line.host), ("port", line.port)):
        if value is not None:
            given[key] = value
    for key, value in (("listen", line.coordinate), ("at", line.coordinator)):
        if value is not None:
            given["coordination"][key] = value
    if not given["engines"]:
        raise SettingsError("no engine given: add --upstream URL or [[engines]] in the configuration")
    return from_plain(given, str(line.config) if line.config is not None else "the command line")


async def _serve(settings: Settings, data: Path, source: SettingsSource) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def started(url: str) -> None:
        click.echo(f"gateway: {url}")
        for engine in settings.engines:
            click.echo(f"  before {engine.url}")
        if not settings.keys:
            click.echo(f"  open to this machine; /admin takes the key {admin_key(data)}")

    coordinator = remote(settings.coordination) if settings.coordination.at else None
    process = app.GatewayProcess(coordinator=coordinator, load=source.load)
    await app.serve(settings, WallClock(), data, stop=stop, started=started, process=process)
