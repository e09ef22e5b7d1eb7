"""Each request leaves one line in the access log, whatever becomes of the file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import Start, settings

from tieline.gateway.metering import access_log as accesslog
from tieline.gateway.metering.access_log import AccessLog


def test_a_line_for_each_request_and_no_word_of_what_was_said(gateway: Start, tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted("a") as engine, gateway(settings(engine.url, access_log=True), data=tmp_path) as g:
            for _ in range(5):
                status, _, _ = await g.post(
                    "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "a secret"}]}
                )
                assert status == 200
            await g.quiet()

    asyncio.run(body())
    text = (tmp_path / "access.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["status"] for line in lines] == [200] * 5
    assert len({line["request_id"] for line in lines}) == 5
    assert "secret" not in text


def test_it_is_rotated_once_and_survives_what_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesslog, "MAX_LOG_BYTES", 100)
    log = AccessLog(tmp_path / "gone")
    log.write([b"nowhere to write this"])
    (tmp_path / "gone").mkdir()
    for number in range(30):
        log.write([b"line %02d" % number, b"and another"])
    log.close()
    assert {one.name for one in (tmp_path / "gone").iterdir()} == {"access.jsonl", "access.1.jsonl"}
    assert all(one.stat().st_size < 200 for one in (tmp_path / "gone").iterdir())
    assert (tmp_path / "gone" / "access.jsonl").read_bytes().endswith(b"line 29\nand another\n")
