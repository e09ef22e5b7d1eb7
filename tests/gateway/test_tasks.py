"""Every long-lived task of a gateway: ended from outside it shows at once, is started again, and requests go on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import parse, settings, start

from tieline import tasks
from tieline.gateway import serve as serving
from tieline.link import LocalLink
from tieline.tasks import Registry


async def health(g: Any) -> dict[str, Any]:
    status, _, body = parse(await g.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"))
    assert status == 200
    return dict(json.loads(body))


def test_each_task_that_ends_is_seen_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "STEADY_S", 0.3)
    made: list[Registry] = []
    monkeypatch.setattr(serving, "Registry", lambda: made.append(Registry()) or made[-1])

    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path, link=LocalLink()) as g:
            registry = made[-1]
            names = registry.names
            assert {"tick", "batches", "seconds", "usage", "backlog", "hears plan.*"} <= set(names)
            for name in names:
                task = registry.task(name)
                assert task is not None, name
                task.cancel()
            async with asyncio.timeout(5):
                while (await health(g))["ok"]:
                    await asyncio.sleep(0.01)
            assert {t.name for t in registry.troubles} == set(names)
            async with asyncio.timeout(15):
                while not (await health(g))["ok"]:
                    await asyncio.sleep(0.05)
            assert all(registry.task(name) is not None for name in names)

    asyncio.run(body())
