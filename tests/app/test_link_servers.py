"""Three servers of the link: what is said at one is heard at all, and who loses theirs goes on at another."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tieline import records
from tieline.app import link_part
from tieline.app.machines.keys import KEYS_FILE
from tieline.app.runtime import LinkRoutes, Runtime, free_port
from tieline.clock import wall_now
from tieline.link import LinkDownError, NatsLink
from tieline.store import Store
from tieline.tasks import Registry


def runtime(data: Path, ports: list[int], routes: list[int], own: int) -> Runtime:
    data.mkdir()
    (data / KEYS_FILE).write_text("{}")
    Store(data / "store.db", records.encode, records.decode).close()
    now = wall_now()
    others = tuple(f"127.0.0.1:{port}" for n, port in enumerate(routes) if n != own)
    return Runtime(
        version="0", data_dir=str(data), config=None, speed=1.0, anchor_wall=now, anchor_world=now,
        link_url=",".join(f"nats://127.0.0.1:{port}" for port in ports), link_secret="s",
        link_listen=f"127.0.0.1:{ports[own]}", console_host="", console_port=0, gateway_host="", gateway_port=0,
        machine=f"m{own}", shared=True,
        link_routes=LinkRoutes(listen=f"127.0.0.1:{routes[own]}", others=others),
    )  # fmt: skip


def server_pid(data: Path) -> int:
    found = subprocess.run(["pgrep", "-f", f"nats-server -c {data}/run/nats.conf"], capture_output=True, text=True)
    return int(found.stdout.split()[0])


def test_what_is_said_at_one_server_is_heard_at_all_and_who_loses_theirs_moves(tmp_path: Path) -> None:
    async def story() -> None:
        ports, routes = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
        folders = [tmp_path / name for name in "abc"]
        runtimes = [runtime(folder, ports, routes, n) for n, folder in enumerate(folders)]
        ready: list[str] = []
        parts = [asyncio.create_task(link_part.run(one, ready.append, Registry())) for one in runtimes]
        try:
            async with asyncio.timeout(30):
                while len(ready) < 3:
                    for part in parts:
                        if part.done():
                            part.result()
                    await asyncio.sleep(0.05)
            core = await NatsLink.dial(runtimes[0].link_user("core"))
            gateway = await NatsLink.dial(runtimes[1].link_user("gateway"))
            heard: list[bytes] = []

            async def listen() -> None:
                async for _, body in gateway.follow("plan.*"):
                    heard.append(body)

            listening = asyncio.create_task(listen())
            await said_and_heard(core, heard, 10.0)
            for _ in range(2):
                own = gateway._client._current_server.uri.port
                pid = server_pid(folders[ports.index(own)])
                began = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                heard.clear()
                await said_and_heard(core, heard, 10.0)
                assert time.monotonic() - began < 6.0, "two seconds where nothing else runs"
            # Two of three are gone. The one that is left asks for no majority: it takes whoever comes, too.
            console = await NatsLink.dial(runtimes[2].link_user("console"))
            heard.clear()
            await said_and_heard(core, heard, 10.0)
            assert console.up
            await console.close()
            listening.cancel()
            for link in (core, gateway):
                await link.close()
            # A wrong password is refused by each of them.
            with pytest.raises(LinkDownError):
                await NatsLink.connect(runtimes[0].link_url, "core", "wrong", 2.0)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    asyncio.run(story())


async def said_and_heard(core: NatsLink, heard: list[bytes], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not heard:
            await core.publish("plan.one", b"x")
            await asyncio.sleep(0.02)
