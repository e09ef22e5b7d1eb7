"""The link on a real server: push and acknowledge, a far side that is away, plans that are followed."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tieline.app.link_part import server_path
from tieline.app.runtime import free_port
from tieline.link import Ack, Link, LinkDownError, LocalLink, NatsLink, push


@contextlib.asynccontextmanager
async def nats(tmp_path: Path) -> AsyncIterator[tuple[Link, Link]]:
    port = free_port()
    server = subprocess.Popen(
        [str(server_path()), "-a", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        one = await NatsLink.connect(f"nats://127.0.0.1:{port}", "one")
        two = await NatsLink.connect(f"nats://127.0.0.1:{port}", "two")
        yield one, two
        await one.close()
        await two.close()
    finally:
        server.terminate()
        server.wait()


@contextlib.asynccontextmanager
async def local(tmp_path: Path) -> AsyncIterator[tuple[Link, Link]]:
    link = LocalLink()
    yield link, link


@pytest.mark.parametrize("kind", [nats, local])
def test_a_push_is_answered_by_the_store_and_silence_is_an_error(kind, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    async def story() -> None:
        async with kind(tmp_path) as (core, site):
            with pytest.raises(LinkDownError):
                await push(site, "s1", b"[]")
            seen: list[tuple[str, bytes]] = []

            async def take(subject: str, data: bytes) -> bytes:
                seen.append((subject, data))
                return msgspec.json.encode(Ack(3))

            await core.serve("records.*", take)
            await asyncio.sleep(0.05)
            assert await push(site, "s1", b"[1]") == Ack(3)
            assert seen == [("records.s1", b"[1]")]

    asyncio.run(story())


@pytest.mark.parametrize("kind", [nats, local])
def test_a_published_plan_reaches_its_follower_alone(kind, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    async def story() -> None:
        async with kind(tmp_path) as (core, site):
            plans = site.follow("plan.s1")
            first = asyncio.ensure_future(anext(plans))
            await asyncio.sleep(0.1)
            await core.publish("plan.s2", b"other")
            await core.publish("plan.s1", b"mine")
            assert await asyncio.wait_for(first, 2) == ("plan.s1", b"mine")

    asyncio.run(story())


def test_a_link_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(LinkDownError, match="no link at"):
        asyncio.run(NatsLink.connect(f"nats://127.0.0.1:{free_port()}", "x", wait_s=0.2))


def test_a_handler_that_fails_answers_so_and_serves_the_next(tmp_path: Path) -> None:
    async def story() -> None:
        async with nats(tmp_path) as (core, site):

            async def take(subject: str, data: bytes) -> bytes:
                if data == b"[0]":
                    raise RuntimeError("a record nobody thought of")
                return msgspec.json.encode(Ack(1))

            await core.serve("records.*", take)
            await asyncio.sleep(0.05)
            failed = await asyncio.wait_for(push(site, "s1", b"[0]"), 1.0)
            assert (failed.stored, failed.retry, failed.error) == (0, True, "RuntimeError there")
            assert await asyncio.wait_for(push(site, "s1", b"[1]"), 1.0) == Ack(1)

    asyncio.run(story())


@pytest.mark.parametrize("answer", [b"", b"{", b"[" * 100_000, b'{"stored":"x"}'])
def test_an_answer_that_is_none_is_a_link_that_is_down(answer: bytes) -> None:
    async def story() -> None:
        link = LocalLink()

        async def take(subject: str, data: bytes) -> bytes:
            return answer

        await link.serve("records.*", take)
        with pytest.raises(LinkDownError, match="the answer to a push was none"):
            await push(link, "s1", b"[]")

    asyncio.run(story())


def test_a_server_without_power_keeps_nobody_from_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address answers nothing at all, where a server that ended refuses the connection at once."""
    dark, connect = 1, asyncio.open_connection

    async def dialled(host: str, port: int, **more: object) -> object:
        if port == dark:
            await asyncio.sleep(130.0)
        return await connect(host, port, **more)  # type: ignore[arg-type]  # passed on as it came

    async def story() -> None:
        async with nats(tmp_path) as (one, _):
            assert isinstance(one, NatsLink)
            port = one._client.connected_url.port
            monkeypatch.setattr(asyncio, "open_connection", dialled)
            lost, there = f"nats://127.0.0.1:{dark}", f"nats://127.0.0.1:{port}"
            for servers in (f"{lost},{there}", f"{there},{lost}"):
                began = asyncio.get_running_loop().time()
                link = await NatsLink.connect(servers, "three", wait_s=5.0)
                assert asyncio.get_running_loop().time() - began < 1.5
                assert link.up
                await link.close()
            with pytest.raises(LinkDownError, match=r"no link at nats://127.0.0.1:1 within 2 s"):
                await NatsLink.connect(f"nats://127.0.0.1:{dark}", "three", wait_s=2.0)

    asyncio.run(story())
