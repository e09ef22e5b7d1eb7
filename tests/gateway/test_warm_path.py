"""How much of the gateway a warm streamed chat request runs through: a reader who follows it reads that many lines."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.gateway.conftest import Start
from tests.gateway.engines import Scripted
from tests.gateway.rig import settings

import tieline.gateway

ROOM = str(Path(tieline.gateway.__file__).parent)
# What it may be at most today; only ever made smaller. The aim is 12 files and 900 lines.
MOST_FILES, MOST_LINES = 18, 800
BODY = json.dumps(
    {"model": "m", "stream": True, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"


def test_a_warm_streamed_request_runs_through_no_more_than_it_did(gateway: Start) -> None:
    """Distinct lines and files of the gateway, of the request that met the fewest of its background tasks. Clients keep
    their connection; so does this one."""

    async def body() -> list[set[tuple[str, int]]]:
        async with Scripted() as engine, gateway(settings(engine.url)) as door:
            await door.ready(1)
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            runs = []
            for attempt in range(12):
                lines: set[tuple[str, int]] = set()

                def line(frame: FrameType, event: str, _: Any, lines: set[tuple[str, int]] = lines) -> Any:
                    if event == "line":
                        lines.add((frame.f_code.co_filename, frame.f_lineno))
                    return line

                def call(frame: FrameType, event: str, arg: Any) -> Any:
                    return line if frame.f_code.co_filename.startswith(ROOM) else None

                if attempt >= 3:
                    sys.settrace(call)
                try:
                    writer.write(HEAD % len(BODY) + BODY)
                    answer = await reader.readuntil(b"\r\n0\r\n\r\n")
                finally:
                    sys.settrace(None)
                assert answer.startswith(b"HTTP/1.1 200")
                assert b"[DONE]" in answer
                if attempt >= 3:
                    runs.append(lines)
            writer.close()
            return runs

    def files_of(lines: set[tuple[str, int]]) -> set[str]:
        return {name for name, _ in lines}

    fewest = min(asyncio.run(body()), key=lambda lines: (len(files_of(lines)), len(lines)))
    files = files_of(fewest)
    print(f"a warm streamed request: {len(files)} files, {len(fewest)} lines")
    assert len(files) <= MOST_FILES, sorted(Path(name).relative_to(ROOM).as_posix() for name in files)
    assert len(fewest) <= MOST_LINES
