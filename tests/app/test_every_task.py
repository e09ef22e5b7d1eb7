"""Every long-lived task of every part of a platform that runs: ended from outside, its part says so at once to whoever
started it, and has it running again. The link with its real server, the core, the sites, the gateway, the console and
the alerts, each as the platform starts it, in one process so that the test can reach their tasks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.dispatch.fleets import one_site

from tieline import tasks
from tieline.app.part import PARTS
from tieline.app.runtime import Runtime, free_port
from tieline.clock import wall_now
from tieline.tasks import Registry

SHOWS_S, MENDED_S = 5.0, 20.0
# Without world: it has no tasks beside its one, whose end is the part's end, which the supervisor sees.
NAMES = ("link", "core", "sites", "gateway", "console", "alerts")
FLEET = one_site(
    'basis = "fixed", fixed_usd_per_mwh = 40.0',
    """
[[site]]
id = "b"
name = "B"
region = "r"
lat = 0.0
lon = 0.0
interconnect_mw = 1
contract = { basis = "fixed", fixed_usd_per_mwh = 40.0 }
rigs = [{ model = "Antminer S21", hardware = "fake", addresses = ["127.83.0.1", "127.83.0.2"] }]

[feeds]
source = "synthetic"

[alerts]
heartbeat_url_env = "TEST_HEARTBEAT"

[pool]
simulated = true
""",
)


class Part:
    """One part, and what it last told whoever started it: the causes of what is not well, as `state.json` has them."""

    def __init__(self, name: str) -> None:
        self.name, self.ready = name, asyncio.Event()
        self.told = ""
        self.ever: set[str] = set()
        self.registry = Registry(self._changed)

    def _changed(self) -> None:
        self.told = "; ".join(trouble.line for trouble in self.registry.troubles)
        self.ever |= {trouble.name for trouble in self.registry.troubles}


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[dict[str, Part]]:
    config = folder / "fleet.toml"
    config.write_text(FLEET)
    data, now, port = folder / "data", wall_now(), free_port()
    data.mkdir()
    runtime = Runtime(
        version="0", data_dir=str(data), config=str(config), speed=1.0, anchor_wall=now, anchor_world=now,
        link_url=f"nats://127.0.0.1:{port}", link_secret="s", console_host="127.0.0.1", console_port=free_port(),
        gateway_host="127.0.0.1", gateway_port=free_port(),
    )  # fmt: skip
    runtime.save()
    parts = {name: Part(name) for name in NAMES}
    works: list[asyncio.Future[None]] = []
    try:
        for part in parts.values():
            run = importlib.import_module(PARTS[part.name]).run
            work = asyncio.ensure_future(run(runtime, lambda _, one=part: one.ready.set(), part.registry))
            works.append(work)
            async with asyncio.timeout(30):
                done, _ = await asyncio.wait(
                    {work, asyncio.ensure_future(part.ready.wait())}, return_when=asyncio.FIRST_COMPLETED
                )
            assert work not in done, (part.name, work.exception())
        yield parts
    finally:
        for work in reversed(works):
            work.cancel()
            await asyncio.wait({work}, timeout=5)
        for part in parts.values():
            await part.registry.close()


def test_each_task_of_each_part_that_ends_shows_at_once_and_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "STEADY_S", 0.3)
    monkeypatch.setenv("TEST_HEARTBEAT", "http://127.0.0.1:9/nobody")

    async def body() -> None:
        async with running(tmp_path) as parts:
            await asyncio.sleep(0.5)
            ended: dict[str, set[str]] = {}
            for part in parts.values():
                ended[part.name] = set(part.registry.names)
                for name in part.registry.names:
                    task = part.registry.task(name)
                    assert task is not None, (part.name, name, part.told)
                    task.cancel()
            async with asyncio.timeout(SHOWS_S):
                while any(ended[part.name] - part.ever for part in parts.values()):
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(MENDED_S):
                while any(part.told for part in parts.values()):
                    await asyncio.sleep(0.05)
            for part in parts.values():
                assert set(part.registry.names) == ended[part.name]
                assert all(part.registry.task(name) is not None for name in part.registry.names), part.name
            assert {"joins"} <= ended["link"]
            assert {"intervals", "orders at once"} <= ended["core"]
            assert {"surroundings", "a steps", "a outbox", "b steps", "b commands"} <= ended["sites"]
            assert {"tick", "batches", "usage", "backlog"} <= ended["gateway"]
            assert {"page's records", "page's news", "page's month", "live readings"} <= ended["console"]
            assert {"attention", "incidents", "delivery", "heartbeat"} <= ended["alerts"]

    asyncio.run(body())
