"""The gateway serves while the control plane is away: from the table of before, asking the replicas themselves."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import Gateway, free_port, settings, start

from tieline import records
from tieline.link import LateLink, Link, LinkDownError, LinkUser, LocalLink
from tieline.records import ReplicaState

ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}


async def beat(
    link: Link, engine: Scripted, state: str = "ready", subject: str = "replica.a.a-1", **changes: str
) -> None:
    now = datetime.now(UTC)
    heard = ReplicaState(
        at=now, known_at=now, source="site:a", kind="measured", replica_id="a-1", site_id="a", region="eu", model="m",
        base_url=engine.url, state=state, slots=4, engine="llama.cpp", label="small",  # type: ignore[arg-type]
    )  # fmt: skip
    await link.publish(subject, records.encode(msgspec.structs.replace(heard, **changes)))


async def until(condition: object, seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def served(gateway: Gateway) -> bool:
    return (await gateway.post("/v1/chat/completions", ASK))[0] == 200


def test_heartbeats_that_stop_for_all_at_once_take_nobody_out_who_answers(tmp_path: Path) -> None:
    async def body() -> None:
        link = LocalLink()
        async with Scripted() as engine, start(settings(), tmp_path, link=link) as gateway:
            await beat(link, engine)
            await gateway.ready(1)
            backend = gateway.svc.backends["a-1"]
            await until(lambda: backend.suspect(gateway.svc.loop.time()) or backend.beat_at is None)
            await until(lambda: backend.usable(gateway.svc.loop.time()))
            assert await served(gateway)
            engine.kill()
            await until(lambda: not backend.usable(gateway.svc.loop.time()))

    asyncio.run(body())


def test_a_heartbeat_counts_on_its_own_sites_subject_alone(tmp_path: Path) -> None:
    async def body() -> None:
        link = LocalLink()
        async with Scripted() as engine, Scripted() as stranger, start(settings(), tmp_path, link=link) as gateway:
            await beat(link, engine)
            await gateway.ready(1)
            mine = gateway.svc.backends["a-1"].authority
            await beat(link, stranger, subject="replica.b.a-1")  # as site a, by site b
            await beat(link, stranger, subject="replica.b.a-1", site_id="b")  # as its own, by the other's name
            await beat(link, stranger, subject="replica.b.a-2", replica_id="a-2", site_id="b")  # another's to come
            await beat(link, engine, subject="replica.b.b-2", replica_id="b-2", site_id="b")  # another's address
            await beat(link, stranger, subject="replica.b.b-1", replica_id="b-1", site_id="b")  # its own
            await until(lambda: "b-1" in gateway.svc.backends)
            assert gateway.svc.backends["a-1"].authority == mine
            assert set(gateway.svc.backends) == {"a-1", "b-1"}

    asyncio.run(body())


def test_a_gateway_that_starts_without_the_control_plane_serves_from_the_table_of_before(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine:
            link = LocalLink()
            async with start(settings(), tmp_path, link=link) as gateway:
                await beat(link, engine)
                await gateway.ready(1)
                await until((tmp_path / "replicas.json").exists)
            away = LocalLink()
            away.up = False
            async with start(settings(), tmp_path, link=away) as gateway:
                await gateway.ready(1)
                backend = gateway.svc.backends["a-1"]
                assert (backend.site, backend.region, backend.label) == ("a", "eu", "small")
                assert await served(gateway)
                assert len(gateway.svc.spool) == 1  # the record waits for the link
                away.up = True
                await beat(away, engine, "draining")  # once it is heard again, that is what counts
                await until(lambda: backend.state.value == "draining")
            (tmp_path / "replicas.json").write_text("rubbish")
            async with start(settings(), tmp_path, link=LocalLink()) as gateway:
                assert gateway.svc.backends == {}

    asyncio.run(body())


def test_a_link_that_comes_late(tmp_path: Path) -> None:
    beside = Path(sys.executable).parent / "nats-server"
    server = str(beside) if beside.is_file() else shutil.which("nats-server")
    if server is None:
        pytest.skip("nats-server is not installed")

    async def body() -> None:
        port = free_port()
        link = LateLink(LinkUser(f"nats://127.0.0.1:{port}", "test"))
        with pytest.raises(LinkDownError):
            await link.request("x", b"")
        await link.publish("x", b"lost, as on any link that is away")
        assert not link.up
        got: list[bytes] = []

        async def follow() -> None:
            async for _, data in link.follow("replica.>"):
                got.append(data)

        following = asyncio.create_task(follow())
        process = subprocess.Popen([server, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
        try:
            await until(lambda: link.up, 20)
            async with asyncio.timeout(10):
                while not got:
                    await link.publish("replica.a", b"here")
                    await asyncio.sleep(0.05)
            assert got[0] == b"here"
        finally:
            following.cancel()
            await link.close()
            process.terminate()
            process.wait(5)

    asyncio.run(body())
