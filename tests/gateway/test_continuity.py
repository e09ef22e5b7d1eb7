"""A stream survives what happens to its replica: no gap, no duplicate, one bill."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.gateway.engines import WORDS, Faults, Scripted
from tests.gateway.rig import Gateway, Start, settings

from tieline import records
from tieline.link import LocalLink
from tieline.records import ReplicaState

TEXT = "".join(WORDS)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "tell me"}], "stream": True, "temperature": 0}


def run(coro: Any) -> None:
    asyncio.run(coro)


async def stream(g: Gateway, body: dict[str, Any], headers: str = "") -> tuple[str, list[dict[str, Any]], bool]:
    """(text, events, ended well). Well: `[DONE]`, and the body ended as HTTP says it must."""
    _, _, answer = await g.post("/v1/chat/completions", body, headers)
    payload, rest = b"", answer
    whole = False
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            whole = True
            break
        payload, rest = payload + rest[:length], rest[length + 2 :]
    frames = [f for f in payload.decode().split("\n\n") if f and not f.startswith(":")]
    assert all(f.startswith("data: ") for f in frames)
    events = [json.loads(f[6:]) for f in frames if f != "data: [DONE]"]
    said = (c["delta"].get("content") for e in events for c in e.get("choices", []))
    text = "".join(one for one in said if isinstance(one, str))
    return text, events, whole and frames[-1] == "data: [DONE]"


def one_stream(events: list[dict[str, Any]]) -> None:
    chunks = [e for e in events if "choices" in e]
    assert len({(e["id"], e["created"], e["model"]) for e in chunks}) == 1
    roles = [c for e in chunks for c in e["choices"] if "role" in c["delta"]]
    assert len(roles) == 1
    finishes = [c["finish_reason"] for e in chunks for c in e["choices"] if c["finish_reason"]]
    assert len(finishes) == 1


@pytest.mark.parametrize("fault", ["die_after", "half_frame_after", "error_after", "stall_after"])
def test_the_replica_fails_at_any_token(gateway: Start, fault: str) -> None:
    async def body() -> None:
        async with Scripted("a") as a, Scripted("b") as b, gateway(settings(a.url, b.url)) as g:
            positions = range(0, len(WORDS) + 1, 1 if fault == "die_after" else 23)
            if fault == "stall_after":
                positions = range(1, 60, 29)
            for at in positions:
                first = a if at % 2 else b
                other = b if at % 2 else a
                first.faults, other.faults = Faults(**{fault: at}), Faults()
                other_backend = next(x for x in g.svc.backends.values() if x.port == other.port)
                first_backend = next(x for x in g.svc.backends.values() if x.port == first.port)
                for backend in (other_backend, first_backend):
                    backend.ejected_until, backend.failures, backend.prefixes = 0.0, 0, {}
                g.prefer(first.port)
                before = len(g.usage())
                text, events, well = await stream(g, {**CHAT, "stream_options": {"include_usage": True}})
                assert well, f"{fault} at {at}: {events[-1]}"
                assert text == TEXT, f"{fault} at {at}"
                one_stream(events)
                assert events[-1]["usage"]["completion_tokens"] == len(WORDS)
                assert events[-1]["usage"]["prompt_tokens"] == 4
                (usage,) = g.usage()[before:]
                assert (usage.prompt_tokens, usage.output_tokens) == (4, len(WORDS))
                assert len(usage.hops) == (1 if fault == "die_after" and at == len(WORDS) + 1 else 2)
                assert usage.cost_nano_usd == 4 * 100 + len(WORDS) * 400
            await g.quiet()

    run(body())


@pytest.mark.parametrize("owner", ["vllm", "sglang"])
def test_vllm_continues_a_final_message_and_sglang_is_asked_anew(gateway: Start, owner: str) -> None:
    """The scripted engine stands in for them: it continues a begun assistant turn as vLLM does."""

    async def body() -> None:
        async with Scripted("a", owner) as a, Scripted("b", owner) as b, gateway(settings(a.url, b.url)) as g:
            for at in (1, 40, 119):
                a.faults = b.faults = Faults(die_after=at, times=1)
                text, events, well = await stream(g, {**CHAT, "stream_options": {"include_usage": True}})
                assert (text, well) == (TEXT, True)
                one_stream(events)
                assert events[-1]["usage"]["completion_tokens"] == len(WORDS)
                for backend in g.svc.backends.values():
                    backend.ejected_until = 0.0
            bodies = [body for _, body in a.seen + b.seen if body.get("continue_final_message")]
            assert len(bodies) == (3 if owner == "vllm" else 0)
            assert all(one["add_generation_prompt"] is False for one in bodies)

    run(body())


def test_a_plain_engine_is_asked_anew_and_what_it_repeats_is_left_out(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a", "someone") as a, Scripted("b", "someone") as b, gateway(settings(a.url, b.url)) as g:
            a.faults = b.faults = Faults(die_after=7, times=1)
            text, events, well = await stream(g, CHAT | {"stream_options": {"include_usage": True}})
            assert (text, well) == (TEXT, True)
            one_stream(events)
            await g.quiet()
            (usage,) = g.usage()
            assert (usage.output_tokens, usage.estimated) == (len(WORDS), False)
            assert [hop.output_tokens for hop in usage.hops] == [7, len(WORDS) - 7]

    run(body())


def test_a_run_that_says_something_else_ends_in_an_honest_error(gateway: Start) -> None:
    async def body() -> None:
        other = (*WORDS[:5], "otherwise ", *WORDS[6:])
        async with (
            Scripted("a", "someone") as a,
            Scripted("b", "someone", words=other) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            a.faults = Faults(die_after=7)
            text, events, well = await stream(g, CHAT)
            assert not well
            assert text == "".join(WORDS[:7])
            assert events[-1]["error"]["code"] == "stream_interrupted"

    run(body())


def test_an_announced_curtailment_moves_the_stream_before_the_replica_stops(gateway: Start) -> None:
    async def body() -> None:
        link = LocalLink()

        async def store(subject: str, data: bytes) -> bytes:
            return b'{"stored": 1}'

        await link.serve("records.*", store)

        def state(engine: Scripted, word: str) -> bytes:
            now = datetime.now(UTC)
            return records.encode(
                ReplicaState(
                    at=now,
                    known_at=now,
                    source="site:x",
                    kind="measured",
                    replica_id=engine.name,
                    site_id=engine.name,
                    region="r",
                    model="m",
                    base_url=engine.url,
                    state=word,
                    slots=8,
                    engine="llama.cpp",  # type: ignore[arg-type]
                )
            )

        async with (
            Scripted("a", pause_s=0.01) as a,
            Scripted("b", pause_s=0.01) as b,
            gateway(settings(), link=link) as g,
        ):
            await asyncio.sleep(0.05)
            words = {"a": "ready", "b": "starting"}

            async def beat() -> None:
                while True:
                    for engine in (a, b):
                        await link.publish(f"replica.{engine.name}.{engine.name}", state(engine, words[engine.name]))
                    await asyncio.sleep(0.05)

            beats = asyncio.create_task(beat())
            await g.ready(1)
            task = asyncio.create_task(stream(g, CHAT))
            await asyncio.sleep(0.4)
            words.update(a="draining", b="ready")
            text, events, well = await task
            beats.cancel()
            assert (text, well) == (TEXT, True)
            one_stream(events)
            (exchange,) = [p for p, _ in b.seen if p == "/completion"]
            assert a.cancelled == 1  # the first replica was left, it did not leave
            assert exchange
            assert g.svc.stats.hops == {"moved": 1, "stop": 1}

    run(body())


def test_without_another_replica_the_error_is_honest_and_the_delivered_is_billed(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a") as a, gateway(settings(a.url)) as g:
            a.pause_s = 0.01
            task = asyncio.create_task(stream(g, CHAT))
            await asyncio.sleep(0.3)
            a.kill()
            text, events, well = await task
            assert TEXT.startswith(text)
            assert not well
            assert set(events[-1]["error"]) == {"message", "type", "param", "code"}
            await g.quiet()
            (usage,) = g.usage()
            assert usage.output_tokens == len([w for w in WORDS if w in text]) >= 10
            assert usage.estimated  # nobody was left to count the prompt

    run(body())


def test_a_client_that_leaves_stops_the_engine_and_pays_what_it_got(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a", pause_s=0.02) as a, gateway(settings(a.url)) as g:
            text = json.dumps(CHAT).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(text)
                + text
            )
            seen = b""
            while seen.count(b"data: ") < 12:
                seen += await reader.read(4096)
            writer.close()
            async with asyncio.timeout(1.0):
                while not a.cancelled:
                    await asyncio.sleep(0.01)
            await g.quiet()
            (usage,) = g.usage()
            assert usage.finish == "cancelled"
            assert 11 <= usage.output_tokens <= 14
            assert usage.prompt_tokens == 4

    run(body())


def test_tool_calls_are_held_and_made_anew(gateway: Start) -> None:
    async def body() -> None:
        async with (
            Scripted("a", tool_call=True) as a,
            Scripted("b", tool_call=True) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            a.faults, b.faults = Faults(die_after=5, times=1), Faults(die_after=9, times=1)
            tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
            _, events, well = await stream(g, {**CHAT, "tools": tools})
            assert well, events
            calls = [t for e in events for c in e["choices"] for t in c["delta"].get("tool_calls", [])]
            assert "".join(call["function"]["arguments"] for call in calls) == TEXT
            assert len([call for call in calls if "id" in call]) == 1
            one_stream(events)

    run(body())


def test_a_non_streaming_call_is_made_again_elsewhere_and_billed_once(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a") as a, Scripted("b") as b, gateway(settings(a.url, b.url)) as g:
            a.faults = b.faults = Faults(die_after=0, times=1)
            status, headers, text = await g.post("/v1/chat/completions", {**CHAT, "stream": False})
            assert status == 200
            assert headers["x-tieline-continuity"] == "regenerate"
            assert json.loads(text)["choices"][0]["message"]["content"] == TEXT
            (usage,) = g.usage()
            assert usage.hops[-1].ended == "stop"
            calls = [path for path, _ in a.seen + b.seen if path == "/v1/chat/completions"]
            assert len(calls) == 2
            assert usage.prompt_tokens == 4

    run(body())


def test_a_storm_of_503_reaches_the_client_as_503_with_a_time_to_wait(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a") as a, gateway(settings(a.url)) as g:
            a.faults = Faults(status=503)
            status, headers, text = await g.post("/v1/chat/completions", {**CHAT, "stream": False})
            assert status == 503
            assert 1 <= int(headers["retry-after"]) <= 120
            assert json.loads(text)["error"]["code"] == "no_capacity"

    run(body())


def test_an_engine_that_reports_no_usage_is_counted_and_marked(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a") as a, gateway(settings(a.url)) as g:
            a.faults = Faults(no_usage=True)
            for streamed in (True, False):
                await g.post("/v1/chat/completions", {**CHAT, "stream": streamed, "max_tokens": 9})
            await g.quiet()
            for usage in g.usage():
                assert usage.estimated
                assert (usage.prompt_tokens, usage.output_tokens) == (4, 9)

    run(body())
