"""`x-tieline-continuity: token`, against a scripted vLLM whose tokens no tokenizer would make of its text."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.gateway.engines import Faults, Llama, Scripted
from tests.gateway.rig import Gateway, Start, free_port, settings
from tests.gateway.scripted_vllm import ANSWER, OTHER, TEXT, ScriptedVllm
from tests.gateway.test_continuity import CHAT, one_stream, run, stream

TOKEN = "x-tieline-continuity: token\r\n"
USAGE = {"stream_options": {"include_usage": True}}


def heal(g: Gateway) -> None:
    for backend in g.svc.backends.values():
        backend.ejected_until, backend.failures = 0.0, 0
        backend.outcomes.clear()


async def holds(g: Gateway, body: dict[str, Any], headers: str = "") -> str:
    _, got, _ = await g.post("/v1/chat/completions", body, headers)
    return got["x-tieline-continuity"]


def test_every_position_is_exact_and_ids_stay_inside(gateway: Start) -> None:
    async def body() -> None:
        async with ScriptedVllm("a") as a, ScriptedVllm("b") as b, gateway(settings(a.url, b.url)) as g:
            for at in range(len(ANSWER)):
                a.faults = b.faults = Faults(die_after=at, times=1)
                text, events, well = await stream(g, CHAT | USAGE, TOKEN)
                assert (text, well) == (TEXT, True), at
                one_stream(events)
                assert events[-1]["usage"]["completion_tokens"] == len(ANSWER)
                assert not any("token_ids" in json.dumps(e) for e in events)
                heal(g)
            await g.quiet()
            prompts = {u.prompt_tokens for u in g.usage()}
            assert len(prompts) == 1
            resumed = [body for path, body in a.seen + b.seen if path == "/v1/completions"]
            assert len(resumed) >= len(ANSWER) - 12  # a death before any text is made anew
            assert all(one["return_token_ids"] for one in resumed)

    run(body())


def test_from_text_the_same_engine_goes_on_with_another_text(gateway: Start) -> None:
    """So the case above proves something; and the answer's header says which of the two holds."""

    async def body() -> None:
        async with ScriptedVllm("a") as a, ScriptedVllm("b") as b, gateway(settings(a.url, b.url)) as g:
            a.faults = b.faults = Faults(die_after=30, times=1)
            text, _, well = await stream(g, CHAT)
            assert well
            assert text.endswith(OTHER)
            heal(g)
            assert await holds(g, CHAT, TOKEN) == "token"
            assert await holds(g, CHAT) == "text"
            tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
            assert await holds(g, CHAT | {"tools": tools}, TOKEN) == "text"
            assert await holds(g, CHAT, "x-tieline-continuity: none\r\n") == "none"
            assert await holds(g, CHAT, "x-tieline-continuity: regenerate\r\n") == "regenerate"

    run(body())


def test_ids_of_a_stop_strings_beginning_are_not_delivered(gateway: Start) -> None:
    async def body() -> None:
        async with ScriptedVllm("a") as a, ScriptedVllm("b") as b, gateway(settings(a.url, b.url)) as g:
            for at in (11, 12, 24, 25):  # within and after "END", which may become "ENDING"
                a.faults = b.faults = Faults(die_after=at, times=1)
                text, _, well = await stream(g, CHAT | {"stop": ["ENDING"]}, TOKEN)
                assert (text, well) == (TEXT, True), at
                heal(g)

    run(body())


def test_text_after_reasoning_goes_on_from_its_tokens(gateway: Start) -> None:
    async def body() -> None:
        async with (
            ScriptedVllm("a", reasoning=1) as a,
            ScriptedVllm("b", reasoning=1) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            for at in (2, 4, 9, 40):  # within the reasoning, at its end, within the text
                a.faults = b.faults = Faults(die_after=at, times=1)
                text, events, well = await stream(g, CHAT, TOKEN)
                assert (text, well) == (TEXT, True), (at, events[-1])
                thought = "".join(c["delta"].get("reasoning") or "" for e in events for c in e["choices"])
                assert thought == "Let me think. "
                heal(g)
            a.faults = b.faults = Faults(die_after=40, times=1)
            text, events, well = await stream(g, CHAT)  # without ids it is made anew, and comes again
            assert (text, well) == (TEXT, True)
            thought = "".join(c["delta"].get("reasoning") or "" for e in events for c in e["choices"])
            assert thought == "Let me think. "

    run(body())


def test_a_client_that_asks_for_ids_gets_them_over_all_hops(gateway: Start) -> None:
    async def body() -> None:
        async with ScriptedVllm("a") as a, ScriptedVllm("b") as b, gateway(settings(a.url, b.url)) as g:
            a.faults = b.faults = Faults(die_after=30, times=1)
            text, events, well = await stream(g, CHAT | {"return_token_ids": True}, TOKEN)
            assert (text, well) == (TEXT, True)
            ids = [i for e in events for c in e["choices"] for i in c.get("token_ids") or []]
            assert ids == list(ANSWER)

    run(body())


def test_another_kind_of_engine_cannot_keep_the_promise_and_says_so(gateway: Start) -> None:
    async def body() -> None:
        async with ScriptedVllm("a") as a, Scripted("b", "sglang") as b, gateway(settings(a.url, b.url)) as g:
            g.prefer(a.port)
            a.pause_s = 0.01
            task = asyncio.create_task(stream(g, CHAT, TOKEN))
            while not any(len(ex.state.texts) > 9 for ex in g.svc.exchanges):
                await asyncio.sleep(0.01)
            a.kill()
            _, events, well = await task
            assert not well
            assert "cannot continue" in events[-1]["error"]["message"]

    run(body())


@pytest.mark.slow
def test_llama_cpp_goes_on_from_the_ids_in_its_logprobs(gateway: Start) -> None:
    async def body() -> None:
        engines = [Llama(free_port()), Llama(free_port())]
        for engine in engines:
            engine.start()
        try:
            given = settings(*(e.url for e in engines), models=())
            ask = CHAT | USAGE | {"model": "tieline-self-test", "max_tokens": 40}
            ask["messages"] = [{"role": "user", "content": "Count from 1 to 60."}]
            async with gateway(given) as g:
                whole, events, well = await stream(g, ask, TOKEN)
                assert well
                assert not any("logprobs" in c for e in events for c in e["choices"])
                usage = events[-1]["usage"]
                for at in (1, 7, 20):
                    taken = asyncio.Event()
                    task = asyncio.create_task(stream(g, ask, TOKEN))
                    while not taken.is_set():
                        for ex in g.svc.exchanges:
                            if len(ex.state.texts) >= at and ex.attempt is not None:
                                ex.attempt.connection.transport.abort()
                                taken.set()
                        await asyncio.sleep(0)
                        if task.done():
                            break
                    text, events, well = await task
                    assert (text, well) == (whole, True)
                    assert events[-1]["usage"]["completion_tokens"] == usage["completion_tokens"]
                    assert events[-1]["usage"]["prompt_tokens"] == usage["prompt_tokens"]
                    heal(g)
        finally:
            for engine in engines:
                engine.stop()

    run(body())
