"""A site that nobody can dial serves streams through two gateways, over connections that its agent holds to them: the
real link, a folder that joined by token, llama.cpp behind it."""

import asyncio
import contextlib
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.app.link_place import A, Place, place, until
from tests.app.test_commands import running
from tests.gateway.rig import Gateway, settings, start

from tieline.app import agent_run
from tieline.app.gateway_part import SitesAway
from tieline.app.joins import JoinedSite, changed_book
from tieline.clock import wall_now
from tieline.gateway import serve as app
from tieline.gateway.settings import Model
from tieline.gateway.wire.tunnel import DoorPlace, TunnelDoor
from tieline.intake import IntakeError
from tieline.link import CheckedLink, LastNumbers
from tieline.link.signing import public_key
from tieline.link.tunnel import DoorNotice, hello, read_door, read_hello, read_opening, read_secret

REPLICA = f"{A}-gpu-1"
MODEL = "tieline-selftest"


@contextlib.asynccontextmanager
async def gateway(here: Place, folder: Path, doors: list[TunnelDoor]) -> AsyncIterator[Gateway]:
    """One gateway of the platform with a door for sites."""
    link = CheckedLink(await here.link("gateway"), public_key(here.runtime.data / "link"), LastNumbers())
    original = app.TunnelDoor

    def remember(*given: Any) -> TunnelDoor:
        doors.append(original(*given))
        return doors[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "TunnelDoor", remember)
        given = settings(models=(Model(name=MODEL),))
        async with start(
            given, folder, link=link, wait=False, sites=DoorPlace(), away=SitesAway(here.runtime.data)
        ) as made:
            yield made
    await link.close()


async def streamed(url: str, on_text: Callable[[str], object] = len, tokens: int = 64) -> str:
    """One streamed answer."""

    def read() -> str:
        body = {
            "model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": tokens,
            "temperature": 0, "ignore_eos": True,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        text, ended = "", False
        with urllib.request.urlopen(request, timeout=30) as answer:
            for raw in answer:
                line = raw.decode().strip()
                if line == "data: [DONE]":
                    ended = True
                elif line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    assert "error" not in event, event
                    text += "".join(one["delta"].get("content") or "" for one in event["choices"])
                    on_text(text)
        assert ended
        return text

    return await asyncio.to_thread(read)


async def found(one: Gateway) -> None:
    await until(lambda: REPLICA in one.svc.backends and one.svc.backends[REPLICA].state.value == "ready")


@pytest.mark.timeout(120)
def test_a_site_without_inbound_ports_serves_streams_through_two_gateways(tmp_path: Path) -> None:
    async def story() -> None:
        data, folder = tmp_path / "data", tmp_path / "site"
        data.mkdir()
        doors: list[TunnelDoor] = []
        lines: list[str] = []
        async with place(data) as here:
            await agent_run.join(here.token(A), folder)
            async with (
                gateway(here, tmp_path / "g1", doors) as one,
                gateway(here, tmp_path / "g2", doors) as two,
                running(folder, lines),
            ):
                await found(one)
                await found(two)
                for made in (one, two):
                    backend = made.svc.backends[REPLICA]
                    assert backend.authority == REPLICA  # no address that could be dialled
                    assert backend.road is not None
                await until(lambda: all(door.counts().get(A, (0, 0))[0] >= 4 for door in doors))
                urls = [one.url, two.url] * 4
                texts = await asyncio.gather(*(streamed(url) for url in urls))
                assert len(set(texts)) == 1
                assert texts[0]
                await until(lambda: all(door.counts()[A][1] == 0 for door in doors))
                await until(lambda: all(door.counts()[A][0] >= 4 for door in doors))  # what was used is replaced
                await revoked(here, doors, two)

    asyncio.run(story())


async def revoked(here: Place, doors: list[TunnelDoor], one: Gateway) -> None:
    """Cut off, it loses what waits and what is in use, and its secret opens nothing more."""
    began = asyncio.Event()
    loop = asyncio.get_running_loop()
    stream = asyncio.create_task(streamed(one.url, lambda _: loop.call_soon_threadsafe(began.set), 900))
    await began.wait()
    secret = doors[0]._secrets[A]
    with changed_book(here.runtime.data) as book:
        book.revoke(A, wall_now())
    at = loop.time()
    await until(lambda: all(door.counts().get(A, (0, 0)) == (0, 0) for door in doors))
    assert loop.time() - at < 5.0  # 0.2 s to look; the rest is for a busy machine
    with pytest.raises((AssertionError, OSError)):
        await stream
    await until(lambda: all(A not in door._secrets for door in doors))
    assert await said(doors[0], hello(A, secret)) == b""


async def said(door: TunnelDoor, first: bytes) -> bytes:
    """What the door answers to this first line, until it closes or waits."""
    assert door._notice is not None
    tls = ssl.create_default_context(cadata=door._notice.authority)
    reader, writer = await asyncio.open_connection("127.0.0.1", door._notice.port, ssl=tls)
    writer.write(first)
    try:
        return await asyncio.wait_for(reader.read(100), 8.0)
    except OSError:
        return b""
    finally:
        writer.close()


@pytest.mark.timeout(60)
def test_strangers_and_rubbish_at_the_door_are_closed_and_the_door_stays_open(tmp_path: Path) -> None:
    async def story() -> None:
        doors: list[TunnelDoor] = []
        data = tmp_path / "data"
        data.mkdir()
        async with place(data) as here, gateway(here, tmp_path / "g", doors) as one:
            (door,) = doors
            secrets = {A: "a" * 64, "na-tx-02": "b" * 64}
            door._secrets.update(secrets)
            for first in (
                b"\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 600, hello(A, "b" * 64), hello("na-tx-03", "c" * 64),
                hello(A, "a" * 64) + b"more\n", b"tieline-tunnel-1 ../x " + b"a" * 64 + b"\n",
            ):  # fmt: skip
                assert await said(door, first) == b""
            assert door.counts() == {}
            assert await said(door, hello(A, "a" * 64)) == b"\n"
            # Without TLS nothing is said at all.
            assert door._notice is not None
            reader, writer = await asyncio.open_connection("127.0.0.1", door._notice.port)
            writer.write(hello(A, "a" * 64))
            assert await reader.read(100) != b"\n"
            writer.close()
            await refused_addresses(here, one)

    asyncio.run(story())


async def refused_addresses(here: Place, one: Gateway) -> None:
    """A site may not name another's replica as where it is reached."""
    from tests.app.test_link_users import _said

    from tieline.link.users import site_user
    from tieline.records import encode

    link = await here.link(site_user(A))
    with changed_book(here.runtime.data) as book:
        book.sites[A] = JoinedSite(since=wall_now(), password="x")
    for url in (
        "http://127.0.0.1:22",
        "https://metadata.example",
        "tunnel://na-tx-02-gpu-1-1",
        "tunnel://x",
        "tunnel://na-tx-01-gpu-9",
        f"tunnel://{A}-gpu-1",
    ):
        state = _said(A, base_url=url)
        await link.publish(f"replica.{A}.{state.replica_id}", encode(state))
    await until(lambda: f"{A}-gpu-1" in one.svc.backends)  # the last, its own
    assert one.svc.backends[f"{A}-gpu-1"].authority == f"{A}-gpu-1"
    assert sum(one.svc.ignored().values()) == 5
    await link.close()


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"secret":"x"}', b'{"gateway":"a","host":"","port":0}'])
def test_what_is_no_notice_is_not_taken(text: bytes) -> None:
    for read in (read_secret, read_door, read_hello, read_opening):
        with pytest.raises(IntakeError):
            read(text)


def test_a_door_says_a_port_that_there_is() -> None:
    with pytest.raises(ValueError, match="port"):
        DoorNotice(gateway="g", host="h", port=70_000, authority="")
