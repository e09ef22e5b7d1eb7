"""`tieline portal`: the tenants' pages alone, on a port or a host of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import click
import msgspec

from tieline.app.console_part import serve_portal
from tieline.app.runtime import Runtime
from tieline.cli.folder import data_dir
from tieline.cli.outcome import AnswerIsNoError, NothingThereError
from tieline.store import StoreError


@click.command()
@data_dir
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8710, show_default=True, type=click.IntRange(0, 65_535), help="0: any free one.")
def portal(data_dir: Path, host: str, port: int) -> None:
    """Serve what a tenant sees, and nothing that an operator sees.

    Beside a platform that runs on this data folder. Everybody signs in: tenants' people are added with `tieline people
    add ID --role owner --tenant TENANT`. It speaks plain HTTP: put a server that ends TLS before it where it is reached
    from elsewhere.
    """
    os.umask(0o077)
    try:
        runtime = Runtime.load(data_dir / "run" / "runtime.json")
    except (OSError, msgspec.MsgspecError) as error:
        raise NothingThereError(
            f"no platform was started in {data_dir}; start one with tieline up, or name its folder with --data-dir"
        ) from error
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve_portal(runtime, host, port, lambda url: click.echo(f"Tenants' pages: {url}/my")))
    except OSError as error:
        why = f"cannot listen on {host} port {port}: {error.strerror or error}; choose another with --port"
        raise AnswerIsNoError(why) from error
    except StoreError as error:
        raise click.ClickException(str(error)) from error
