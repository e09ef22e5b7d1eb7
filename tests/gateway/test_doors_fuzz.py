"""A sample of `fuzz/doors.py`: whatever a door of the gateway is sent, it answers in a frame within two seconds."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import settings, start
from tests.gateway.test_poison import keyed


def fuzzer() -> Any:
    path = Path(__file__).parents[2] / "fuzz" / "doors.py"
    spec = importlib.util.spec_from_file_location("fuzz_doors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


doors = fuzzer()


@pytest.mark.parametrize("with_keys", [True, False])
def test_the_gateway_answers_whatever_comes(tmp_path: Path, with_keys: bool) -> None:
    async def body() -> None:
        make = keyed if with_keys else settings
        async with Scripted() as engine, start(make(engine.url), tmp_path) as g:
            found, wrong = await doors.fuzz(g.port, doors.GATEWAY, 400, 3, "root")
            assert not wrong
            assert len(found) >= 8  # it reaches the doors, not one refusal in front of them
            assert found[200] > 40

    asyncio.run(body())


def test_the_console_answers_whatever_comes(tmp_path: Path) -> None:
    async def body() -> None:
        async with doors.console(tmp_path / "c") as port:
            found, wrong = await doors.fuzz(port, doors.CONSOLE, 300, 3)
            assert not wrong
            assert len(found) >= 5
            assert found[200] > 40

    asyncio.run(body())


def test_the_fuzzer_can_fail() -> None:
    """A door that resets, one that hangs, one without a frame and one that fails are each named."""

    async def body() -> None:
        said: bytes | None = b""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if said is None:
                await asyncio.sleep(9)
            else:
                writer.write(said)
            writer.close()

        doors.ANSWER_S, doors.GRACE_S = 0.2, 0.0
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for text, why in (
            (b"", "no whole answer"), (None, "no answer within"), (b"hello\r\n\r\n", "no frame"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "no frame"), (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "no whole"),
            (b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n{}", "500"),
        ):  # fmt: skip
            said = text
            assert str(await doors.answered(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(why)
        server.close()
        doors.ANSWER_S, doors.GRACE_S = 2.0, 8.0

    asyncio.run(body())
