"""What true engines said, played again: each kind of request, undisturbed and cut in its middle.

`bench/engines.py --record` wrote what llama.cpp and vLLM were asked and answered, frame by frame, while streams were
cut before this gateway. Here an engine that knows nothing but those exchanges stands in their place. It answers a
request only as recorded: a gateway that asked an engine for something else would be told that nobody recorded it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bench.engines_read import Answer, ask
from tests.gateway.engines import Scripted
from tests.gateway.rig import Start, settings
from tests.gateway.test_continuity import run

from tieline.gateway.settings import Engine, Model

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))
# What an engine is asked beside the answer itself, however often.
_ASIDE = ("/tokenize", "/detokenize", "/apply-template")


@dataclass
class Recorded(Scripted):
    """One of two engines that share what was recorded."""

    told: list[dict[str, Any]] = field(default_factory=list)  # exchanges that are left
    missed: list[tuple[str, Any]] = field(default_factory=list)

    async def _answer(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path in ("/v1/models", "/props"):
            await super()._answer(path, body, writer)
            return
        found = next((one for one in self.told if (one["path"], one["body"]) == (path, body)), None)
        if found is None:
            self.missed.append((path, body))
            self._json(writer, {"error": {"message": "nobody recorded this"}}, 404)
        elif "answer" in found:
            self._json(writer, found["answer"], found["status"])
        else:
            self.told.remove(found)
            await self._play(found, writer)
            return
        await writer.drain()

    async def _play(self, found: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for frame in found["frames"]:
            text = frame.encode()
            writer.write(b"%x\r\n%b\r\n" % (len(text), text))
            await writer.drain()
        if found["cut"]:
            writer.transport.abort()
            raise ConnectionResetError
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def test_there_are_recordings_of_both_engines() -> None:
    assert {path.name.partition(".")[0] for path in RECORDED} >= {"llama", "vllm", "vllm-reasoning"}
    assert len(RECORDED) >= 25


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("which", ["whole", "cut"])
def test_an_engine_s_own_words_are_delivered_whole_and_billed(gateway: Start, path: Path, which: str) -> None:
    kept = json.loads(path.read_text())
    kind = kept["engine"].partition("-")[0]
    name = "house" if kind == "vllm" else "tieline-self-test"

    async def body() -> None:
        told = sorted(kept[which], key=lambda one: not one["cut"])  # what was cut was asked for first
        if which == "whole":  # a late first token may have been asked for twice
            told = [one for at, one in enumerate(told) if one["body"] not in [other["body"] for other in told[:at]]]
        given: dict[str, Any] = {"owner": kind, "model": name, "told": told}
        async with Recorded("a", **given) as a, Recorded("b", missed=a.missed, **given) as b:
            engines = tuple(Engine(url=one.url, kind=kind, models=("house",)) for one in (a, b))  # type: ignore[arg-type]
            async with gateway(settings(engines=engines, models=(Model(name="house", upstream_name=name),))) as g:
                found: Answer = await ask(g.port, kept["path"], kept["body"], kept["headers"])
                await g.quiet()
                assert not a.missed
                assert not [one for one in told if "frames" in one]  # all of it was asked for
                assert found.clean, found.error
                assert list(found.said) == kept["said"]
                assert found.output == kept["output"]
                (usage,) = g.usage()
                assert usage.output_tokens == kept["output"]
                assert (len(usage.hops) > 1) == (which == "cut")
                assert sum(hop.output_tokens for hop in usage.hops) == usage.output_tokens

    run(body())
