"""Several real gateway processes on one port, and calls to them over connections of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from tests.gateway.rig import parse

from tieline import records
from tieline.gateway.settings import Settings
from tieline.records import Usage

ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4}


PARENT = """
import sys
from pathlib import Path
import msgspec
from tieline.gateway import workers
from tieline.gateway.settings import Settings
given = msgspec.json.decode(sys.stdin.buffer.readline(), type=Settings, strict=False)
workers.run(given, Path(sys.argv[1]), int(sys.argv[2]))
"""


class Processes:
    """`count` processes; each call is made over a new connection, so that the kernel spreads them."""

    def __init__(self, given: Settings, data: Path, count: int) -> None:
        self.port, self.data, self.count = given.port, data, count

    async def ask(self, key: str, headers: str = "", *, by: int | None = None, **more: Any) -> Any:
        """Status, headers, body. `by`: the process that is to answer."""
        return await self.post("/v1/chat/completions", ASK | more, key, headers, by=by)

    async def post(self, path: str, body: object, key: str, headers: str = "", *, by: int | None = None) -> Any:
        text = json.dumps(body).encode()
        reader, writer = await self.connect(by)
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
            f"content-length: {len(text)}\r\n{headers}\r\n".encode()
            + text
        )
        try:
            return parse(await asyncio.wait_for(reader.read(), 30))
        finally:
            writer.close()

    async def connect(self, by: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(20):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    # Until a process has accepted it, it is nobody's.
                    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"content-length: (\d+)", head)
                    assert length is not None
                    ready = json.loads(await reader.readexactly(int(length[1])))["ready"]
                    if ready and (by is None or by == self._who(writer)):
                        return reader, writer
                    writer.close()
                except (OSError, asyncio.IncompleteReadError):
                    pass
                await asyncio.sleep(0.02)

    def _who(self, writer: asyncio.StreamWriter) -> int | None:
        """Which process has the other end of this connection."""
        mine = writer.get_extra_info("sockname")[1]
        for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = row.split()
            if words[1].endswith(f":{self.port:04X}") and words[2].endswith(f":{mine:04X}"):
                for index in range(self.count):
                    with contextlib.suppress(LookupError, OSError):  # it is being started again
                        if f"socket:[{words[9]}]" in _links(pid_of(self.data / f"worker-{index}")):
                            return index
        return None

    def kill(self, index: int, number: int) -> None:
        os.kill(pid_of(self.data / f"worker-{index}"), number)

    def usage(self) -> list[Usage]:
        found: list[Usage] = []
        for index in range(self.count):
            with sqlite3.connect(f"file:{self.data / f'worker-{index}' / 'usage.db'}?mode=ro", uri=True) as db:
                found += [records.decode(body) for (body,) in db.execute("SELECT body FROM item")]  # type: ignore[misc]
        return found


@asynccontextmanager
async def several(given: Settings, data: Path, count: int) -> AsyncIterator[Processes]:
    """Processes that serve while the block runs; each has been seen to."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(data), str(count), stdin=asyncio.subprocess.PIPE
    )
    assert parent.stdin is not None
    parent.stdin.write(msgspec.json.encode(given) + b"\n")
    found = Processes(given, data, count)
    try:
        async with asyncio.timeout(60):
            for index in range(count):
                while not (data / f"worker-{index}" / "usage.db").exists():
                    await asyncio.sleep(0.05)
                _, writer = await found.connect(index)
                writer.close()
        yield found
    finally:
        if parent.returncode is None:
            parent.terminate()
        await parent.wait()


def pid_of(folder: Path) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(folder).encode() in words and b"tieline.gateway.workers" in words:
                return int(entry.name)
    raise LookupError(f"no worker in {folder}")


def _links(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return found


assert hasattr(socket, "SO_REUSEPORT")
