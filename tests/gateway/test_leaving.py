"""A gateway that is stopped: balancers hear of it first, what is asked meanwhile is answered, streams end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import settings, start

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 20}


def test_who_is_asked_to_stop_is_left_out_first_and_fails_no_request(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("w ",) * 20, pause_s=0.05) as engine:
            serving = start(settings(engine.url), tmp_path, leave_s=0.4, drain_s=5.0)
            gateway = await serving.__aenter__()
            streaming = asyncio.create_task(gateway.post("/v1/chat/completions", CHAT | {"stream": True}))
            await asyncio.sleep(0.15)
            leaving = asyncio.create_task(serving.__aexit__(None, None, None))
            await asyncio.sleep(0.05)
            health = await gateway.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert health.startswith(b"HTTP/1.1 503")
            said = json.loads(health.partition(b"\r\n\r\n")[2])
            assert (said["ready"], said["draining"]) == (False, True)
            status, headers, _ = await gateway.post("/v1/chat/completions", CHAT | {"max_tokens": 2})
            assert (status, headers["connection"]) == (200, "close")
            status, _, text = await streaming  # a second long: beyond the moment that nothing new is taken
            assert status == 200
            assert b"[DONE]" in text
            with pytest.raises(ConnectionRefusedError):
                await gateway.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await leaving

    asyncio.run(body())
