"""The official `openai` client against real llama.cpp engines, killed under it.

The engines run the self-test model; cases it is too small for are in `test_continuity` with a scripted engine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.engines import Llama, Scripted
from tests.gateway.rig import Gateway, free_port, settings, start

from tieline.gateway.settings import Key, Limits, Tenant, hash_key

MODEL = "tieline-self-test"
COUNT: list[Any] = [{"role": "user", "content": "Count from 1 to 60."}]
SITE: list[Any] = [{"role": "user", "content": "Describe the site Aurora: 12 MW, 3 feeders."}]
SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "site",
        "schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string"}, "region": {"type": "string"}, "megawatts": {"type": "integer"},
                "feeders": {"type": "integer"}, "cooling": {"type": "string", "enum": ["air", "hydro"]},
            },
            "required": ["name", "region", "megawatts", "feeders", "cooling"],
            "additionalProperties": False,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Llama, Llama]]:
    pair = Llama(free_port()), Llama(free_port())
    for engine in pair:
        engine.start()
    yield pair
    for engine in pair:
        engine.stop()


@asynccontextmanager
async def before(engines: tuple[Llama, ...], folder: Path) -> AsyncIterator[tuple[Gateway, openai.AsyncOpenAI]]:
    for engine in engines:
        if not engine.running:  # a test before this one ended with a dead engine
            await asyncio.to_thread(engine.start)
    async with (
        start(settings(*(e.url for e in engines), models=()), folder) as g,
        openai.AsyncOpenAI(base_url=g.url, api_key="any", max_retries=0) as client,
    ):
        yield g, client


async def read(client: openai.AsyncOpenAI, at: int | None, kill: Any, **changes: Any) -> tuple[str, Any, list[Any]]:
    """(text, usage, chunks); calls `kill` once `at` chunks with text have come."""
    given: dict[str, Any] = {
        "model": MODEL, "messages": COUNT, "max_tokens": 120, "temperature": 0, "stream": True,
        "stream_options": {"include_usage": True},
    } | changes  # fmt: skip
    parts: list[str] = []
    chunks, usage = [], None
    async for chunk in await client.chat.completions.create(**given):
        chunks.append(chunk)
        usage = chunk.usage or usage
        if chunk.choices and chunk.choices[0].delta.content:
            parts.append(chunk.choices[0].delta.content)
            if len(parts) == at:
                kill()
    return "".join(parts), usage, chunks


def test_greedy_text_is_identical_when_the_engine_is_killed(engines: tuple[Llama, Llama], tmp_path: Path) -> None:
    """kill -9 at a sample of token positions: the client sees one undisturbed stream and pays for one."""

    async def body() -> None:
        async with before(engines, tmp_path) as (g, client):
            whole, usage, _ = await read(client, None, None)
            assert usage.completion_tokens == 120
            ended = []  # near the end the rest may already be on its way when the engine dies
            for at in (1, 7, 40, 119):
                killed: list[Llama] = []

                def kill(killed: list[Llama] = killed) -> None:
                    for engine in engines:
                        if any(b.port == engine.port and b.live for b in g.svc.backends.values()):
                            engine.kill()
                            killed.append(engine)

                text, billed, chunks = await read(client, at, kill)
                assert text == whole, f"killed at {at}"
                assert (billed.prompt_tokens, billed.completion_tokens) == (usage.prompt_tokens, 120)
                assert len({(c.id, c.created, c.model) for c in chunks}) == 1
                await g.quiet()
                record = g.usage()[-1]
                assert (record.prompt_tokens, record.output_tokens) == (usage.prompt_tokens, 120)
                ended.append([hop.ended for hop in record.hops])
                for engine in killed:
                    await asyncio.to_thread(engine.start)
                await g.ready(2)
            assert ["died", "length"] in ended

    asyncio.run(body())


def test_structured_output_stays_valid_when_the_engine_is_killed(engines: tuple[Llama, Llama], tmp_path: Path) -> None:
    async def body() -> None:
        async with before(engines, tmp_path) as (g, client):
            for at in (1, 9, 22):
                killed: list[Llama] = []

                def kill(killed: list[Llama] = killed) -> None:
                    for engine in engines:
                        if any(b.port == engine.port and b.live for b in g.svc.backends.values()):
                            engine.kill()
                            killed.append(engine)

                text, _, _ = await read(client, at, kill, messages=SITE, response_format=SCHEMA, max_tokens=200)
                value = json.loads(text)
                assert set(value) == {"name", "region", "megawatts", "feeders", "cooling"}
                assert killed
                for engine in killed:
                    await asyncio.to_thread(engine.start)
                await g.ready(2)

    asyncio.run(body())


def test_what_clients_call(engines: tuple[Llama, Llama], tmp_path: Path) -> None:
    """Streaming and not, tools, JSON schema, n, logprobs, stop, text completions, responses, models, errors."""

    def calls(url: str) -> None:
        client = openai.OpenAI(base_url=url, api_key="any", max_retries=0)
        assert [m.id for m in client.models.list()] == [MODEL]
        chat = client.chat.completions.create
        one = chat(model=MODEL, messages=COUNT, max_tokens=5, temperature=0)
        assert one.usage is not None
        assert one.usage.completion_tokens == 5
        assert one.choices[0].message.content == "1, 2, "[: len(one.choices[0].message.content or "")]
        several = chat(model=MODEL, messages=COUNT, max_tokens=5, n=2, seed=1)
        assert len(several.choices) == 2
        probs = chat(model=MODEL, messages=COUNT, max_tokens=3, logprobs=True, top_logprobs=2, temperature=0)
        assert probs.choices[0].logprobs is not None
        assert len(probs.choices[0].logprobs.content or ()) == 3
        stopped = chat(model=MODEL, messages=COUNT, max_tokens=50, stop=[" 7"], temperature=0)
        assert (stopped.choices[0].message.content or "").endswith("6,")
        tools: Any = [
            {
                "type": "function",
                "function": {
                    "name": "get_price",
                    "description": "power price of a market",
                    "parameters": {
                        "type": "object",
                        "properties": {"market": {"type": "string"}},
                        "required": ["market"],
                    },
                },
            }
        ]
        ask: Any = [{"role": "user", "content": "What is the power price in ERCOT?"}]
        called = chat(model=MODEL, messages=ask, tools=tools, tool_choice="required", temperature=0)
        assert called.choices[0].message.tool_calls
        assert called.choices[0].message.tool_calls[0].function.name == "get_price"  # type: ignore[union-attr]
        streamed = chat(model=MODEL, messages=ask, tools=tools, tool_choice="required", temperature=0, stream=True)
        pieces = [t for c in streamed for choice in c.choices for t in choice.delta.tool_calls or ()]
        assert json.loads("".join(p.function.arguments or "" for p in pieces if p.function))
        shaped = chat(model=MODEL, messages=SITE, response_format=SCHEMA, temperature=0, max_tokens=200)
        assert json.loads(shaped.choices[0].message.content or "")["feeders"] >= 0
        text = client.completions.create(model=MODEL, prompt="A feeder is", max_tokens=4, temperature=0)
        assert text.usage is not None
        assert text.usage.completion_tokens == 4
        parts = [c.choices[0].text for c in client.completions.create(
            model=MODEL, prompt="A feeder is", max_tokens=4, temperature=0, stream=True)]  # fmt: skip
        assert "".join(parts) == text.choices[0].text
        answered = client.responses.create(model=MODEL, input="What is a feeder?", max_output_tokens=20)
        assert answered.output_text
        events = list(
            client.responses.create(model=MODEL, input="What is a feeder?", max_output_tokens=20, stream=True)
        )
        assert events[-1].type in ("response.completed", "response.incomplete")
        with pytest.raises(openai.NotFoundError) as missing:
            chat(model="nobody", messages=COUNT)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as wrong:
            chat(model=MODEL, messages=[])
        assert wrong.value.param == "messages"

    async def body() -> None:
        async with before(engines, tmp_path) as (g, _):
            await asyncio.to_thread(calls, g.url)
            await g.quiet()
            assert all(u.prompt_tokens > 0 and u.output_tokens > 0 for u in g.usage())
            # llama.cpp reports one of several choices; their tokens are counted here.
            assert [u.output_tokens for u in g.usage() if u.estimated] == [10]

    asyncio.run(body())


def test_embeddings_pass(tmp_path: Path) -> None:
    """By the scripted engine: the self-test engines are started for generation."""

    async def body() -> None:
        async with Scripted(model="m") as engine, start(settings(engine.url), tmp_path) as g:
            async with openai.AsyncOpenAI(base_url=g.url, api_key="any") as client:
                made = await client.embeddings.create(model="m", input=["a", "bc"], encoding_format="float")
            assert [item.embedding[1] for item in made.data] == [1, 2]
            (usage,) = g.usage()
            assert (usage.prompt_tokens, usage.output_tokens) == (7, 0)

    asyncio.run(body())


def test_keys_budgets_and_what_the_client_does_with_refusals(tmp_path: Path) -> None:
    async def body() -> None:
        tenant = Tenant(id="acme")
        keys = (
            Key(id="k1", sha256=hash_key("sk-1"), tenant="acme", limits=Limits(budget_usd=Decimal("0.0002"))),
            Key(id="k2", sha256=hash_key("sk-2"), tenant="acme", models=("other",)),
        )
        async with Scripted() as engine:
            given = settings(engine.url, tenants=(tenant,), keys=keys)
            async with start(given, tmp_path) as g:

                async def call(key: str, **changes: Any) -> Any:
                    async with openai.AsyncOpenAI(base_url=g.url, api_key=key, max_retries=2) as client:
                        return await client.chat.completions.create(
                            **{"model": "m", "messages": COUNT, "max_tokens": 100} | changes
                        )

                with pytest.raises(openai.AuthenticationError):
                    await call("wrong")
                with pytest.raises(openai.NotFoundError):
                    await call("sk-2")
                for _ in range(4):
                    await call("sk-1")
                with pytest.raises(openai.RateLimitError) as spent:
                    await call("sk-1")
                assert spent.value.code == "insufficient_quota"
                assert spent.value.response.headers["x-should-retry"] == "false"
                assert g.svc.stats.refused["insufficient_quota"] == 1  # the client did not retry
                await call("sk-1", max_tokens=None)  # without a limit it gets what the budget still affords
                settled = g.svc.book.scopes["key:k1"].budget
                assert settled is not None
                assert settled.reserved == 0
                assert settled.settled == sum(u.cost_nano_usd for u in g.usage()) <= 200_000

    asyncio.run(body())
