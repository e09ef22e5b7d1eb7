"""A stream passes as its engine wrote it, under the names its client knows, over either HTTP version."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from tests.gateway.engines import WORDS, Scripted
from tests.gateway.rig import Start, settings

from tieline.gateway.settings import Model
from tieline.gateway.wire.passthrough import PassthroughTemplate

TEXT = "".join(WORDS)
CHAT = {"model": "public", "messages": [{"role": "user", "content": "tell me"}], "stream": True, "temperature": 0}


@pytest.mark.parametrize("own", ["public", 'own "name" é'])
@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_stream_under_its_public_name(
    gateway: Start, own: str, usage: bool, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[str, bytes] | None] = []
    texts: list[list[str] | None] = []
    one, several = PassthroughTemplate.take, PassthroughTemplate.texts
    monkeypatch.setattr(PassthroughTemplate, "take", lambda self, raw: taken.append(one(self, raw)) or taken[-1])
    monkeypatch.setattr(
        PassthroughTemplate, "texts", lambda self, frames: texts.append(several(self, frames)) or texts[-1]
    )
    offer = Model(
        name="public", upstream_name=own, input_usd_per_mtok=Decimal("0.1"), output_usd_per_mtok=Decimal("0.4")
    )

    async def body() -> None:
        async with (
            Scripted("a", "vllm", model=own, pause_s=0.001) as engine,
            gateway(settings(engine.url, models=(offer,))) as g,
        ):
            asked = {**CHAT, "stream_options": {"include_usage": usage}}
            text = json.dumps(asked).encode()
            answer = await g.raw(
                b"POST /v1/chat/completions HTTP/%b\r\nhost: [::1]\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
                % (version.encode(), len(text), text),
                until_close=True,
            )
            payload = answer.partition(b"\r\n\r\n")[2]
            if version == "1.1":
                payload = unchunked(payload)
            frames = [f for f in payload.decode().split("\n\n") if f and not f.startswith(":")]
            assert frames[-1] == "data: [DONE]"
            events: list[dict[str, Any]] = [json.loads(f.removeprefix("data: ")) for f in frames[:-1]]
            assert {e["model"] for e in events} == {"public"}
            assert len({e["id"] for e in events}) == 1
            assert "".join(c["delta"].get("content") or "" for e in events for c in e["choices"]) == TEXT
            assert all(("usage" in e) is usage for e in events)
            if usage:
                assert events[-1]["usage"]["completion_tokens"] == len(WORDS)
            await g.quiet()
            (record,) = g.usage()
            assert record.output_tokens == len(WORDS)

    asyncio.run(body())
    # The shortcut was taken for nearly all of it, so this was its test.
    shortcut = sum(t is not None for t in taken) + sum(len(t) for t in texts if t is not None)
    assert shortcut > len(WORDS) * 0.8


def unchunked(data: bytes) -> bytes:
    out, rest = b"", data
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        out, rest = out + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return out
