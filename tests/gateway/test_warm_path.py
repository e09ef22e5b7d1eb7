"""How much of the gateway a warm streamed chat request runs through: a reader who follows it reads that many lines."""

from __future__ import annotations

import asyncio
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
MOST_FILES, MOST_LINES = 18, 900
BODY = {"model": "m", "stream": True, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}


def test_a_warm_streamed_request_runs_through_no_more_than_it_did(gateway: Start) -> None:
    """Distinct lines and files of the gateway, of the request that met the fewest of its background tasks."""

    async def body() -> list[set[tuple[str, int]]]:
        async with Scripted() as engine, gateway(settings(engine.url)) as door:
            await door.ready(1)
            runs = []
            for attempt in range(8):
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
                    status, _, answer = await door.post("/v1/chat/completions", BODY)
                finally:
                    sys.settrace(None)
                assert status == 200
                assert b"[DONE]" in answer
                if attempt >= 3:
                    runs.append(lines)
            return runs

    fewest = min(asyncio.run(body()), key=len)
    files = {name for name, _ in fewest}
    print(f"a warm streamed request: {len(files)} files, {len(fewest)} lines")
    assert len(files) <= MOST_FILES, sorted(Path(name).relative_to(ROOM).as_posix() for name in files)
    assert len(fewest) <= MOST_LINES
