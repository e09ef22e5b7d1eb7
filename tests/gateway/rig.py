"""A gateway on a free port in the test's own loop, before engines of the test's choosing."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tieline import records
from tieline.clock import WallClock
from tieline.gateway import serve as app
from tieline.gateway.service import Service
from tieline.gateway.settings import Clocks, Engine, Model, Settings
from tieline.link import Link
from tieline.records import Usage

# Tests do not wait like people do.
QUICK = Clocks(
    stall_floor_s=0.3, resume_s=2.0, queue_s=3.0, keep_alive_s=0.2, first_token_s=3.0, idle_s=2.0, connect_s=1.0
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Gateway:
    """What a test sees of a running gateway."""

    def __init__(self, url: str, data: Path, svc: Service) -> None:
        self.url, self.data, self.svc = url, data, svc
        self.port = int(url.split(":")[2].split("/")[0])

    def usage(self) -> list[Usage]:
        """Records on disk."""
        with sqlite3.connect(f"file:{self.data / 'usage.db'}?mode=ro", uri=True) as db:
            rows = db.execute("SELECT body FROM item ORDER BY id").fetchall()
        return [records.decode(body) for (body,) in rows]  # type: ignore[misc]

    async def ready(self, count: int) -> None:
        async with asyncio.timeout(30):
            while sum(b.state.value == "ready" for b in self.svc.backends.values()) < count:
                await asyncio.sleep(0.01)

    async def quiet(self) -> None:
        """Until nothing is live and all is written."""
        async with asyncio.timeout(10):
            while self.svc.exchanges or any(b.live for b in self.svc.backends.values()):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # the outbox commits in groups

    def prefer(self, port: int) -> None:
        """New requests go to the replica at this port while it has room, whatever power costs."""
        self.svc.weigh = lambda: None  # type: ignore[method-assign]
        for backend in self.svc.backends.values():
            backend.power_term_s = 0.0 if backend.port == port else 5.0

    async def raw(self, data: bytes, *, until_close: bool = False) -> bytes:
        """Bytes in, bytes out, over one connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        out = b""
        try:
            async with asyncio.timeout(30):
                while piece := await reader.read(65536):
                    out += piece
                    if not until_close and _complete(out):
                        break
        finally:
            writer.close()
        return out

    async def post(self, path: str, body: object, headers: str = "") -> tuple[int, dict[str, str], bytes]:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self.raw(
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            f"content-length: {len(text)}\r\n{headers}\r\n".encode()
            + text,
            until_close=True,
        )
        return parse(answer)


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers, body


def _complete(out: bytes) -> bool:
    head, blank, body = out.partition(b"\r\n\r\n")
    if not blank:
        return False
    if b"chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    _, headers, _ = parse(out)
    return len(body) >= int(headers.get("content-length", 0))


def settings(*urls: str, **changes: Any) -> Settings:
    engines = tuple(Engine(url=url) for url in urls)
    given: dict[str, Any] = {
        "port": 0,
        "engines": engines,
        "clocks": QUICK,
        "models": (Model(name="m", input_usd_per_mtok=Decimal("0.1"), output_usd_per_mtok=Decimal("0.4")),),
        "access_log": False,
    } | changes
    return Settings(**given)


Start = Callable[..., Any]


@asynccontextmanager
async def start(
    given: Settings, folder: Path, *, link: Link | None = None, wait: bool = True, **more: Any
) -> AsyncIterator[Gateway]:
    """A gateway that serves while the block runs."""
    made: list[Service] = []
    original = app.Service

    def remember(*args: Any, **kwargs: Any) -> Service:
        made.append(original(*args, **kwargs))
        return made[-1]

    stop, told = asyncio.Event(), asyncio.get_running_loop().create_future()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "Service", remember)
        process = app.GatewayProcess(**({"drain_s": 0.2} | more))
        task = asyncio.create_task(
            app.serve(given, WallClock(), folder, link=link, stop=stop, started=told.set_result, process=process)
        )
        done, _ = await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
    if task in done:
        task.result()
    running = Gateway(await told, folder, made[-1])
    try:
        if wait:
            await running.ready(len(given.engines))
        yield running
    finally:
        stop.set()
        await task
