"""Several answers, Responses streams, late first tokens, slow sites."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.gateway.engines import WORDS, Faults, Scripted
from tests.gateway.rig import Gateway, Start, settings
from tests.gateway.test_continuity import CHAT, TEXT, run, stream
from tests.gateway.test_continuity_token import USAGE, heal

from tieline.gateway.wire.upstream import Backend


def by_choice(events: list[dict[str, Any]]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in events:
        for choice in event.get("choices", []):
            texts[choice["index"]] = texts.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return texts


def backend(g: Gateway, engine: Scripted) -> Backend:
    return next(one for one in g.svc.backends.values() if one.port == engine.port)


@pytest.mark.parametrize("owner", ["vllm", "someone"])
def test_each_of_several_answers_goes_on_by_itself(gateway: Start, owner: str) -> None:
    """Each is ten words behind the one before: at the death some are whole, some begun, some not."""

    async def body() -> None:
        async with Scripted("a", owner) as a, Scripted("b", owner) as b, gateway(settings(a.url, b.url)) as g:
            for at in (0, 1, 15, 60, 119, 125, 135):
                for one in (a, b):
                    one.faults = Faults(die_after=at, times=1)
                _, events, well = await stream(g, CHAT | USAGE | {"n": 3})
                assert well, (at, events[-1])
                texts = by_choice(events)
                assert set(texts.values()) == {TEXT}, at
                ends = [c["index"] for e in events for c in e.get("choices", []) if c["finish_reason"]]
                assert sorted(ends) == sorted(texts)
                assert len({(e["id"], e["created"], e["model"]) for e in events if e.get("choices")}) == 1
                # An answer that was whole at the death is counted here, with the token that ended it, which a true vLLM
                # counts and a scripted one does not.
                whole = sum(at > 120 + 10 * n for n in range(3))
                assert 0 <= events[-1]["usage"]["completion_tokens"] - 3 * len(WORDS) <= whole
                assert events[-1]["usage"]["prompt_tokens"] == 4
                heal(g)
            await g.quiet()
            assert g.svc.kept_bytes == 0
            assert len(g.usage()) == 7  # one bill each

    run(body())


def test_a_client_that_leaves_a_divided_stream_stops_every_part(gateway: Start) -> None:
    async def body() -> None:
        async with (
            Scripted("a", "vllm") as a,
            Scripted("b", "vllm", pause_s=0.02) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            a.faults = Faults(die_after=5)
            text = json.dumps(CHAT | {"n": 2}).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(text)
                + text
            )
            seen = b""
            while b.running < 2 or seen.count(b"data: ") < 20:
                seen += await reader.read(4096)
            writer.close()
            async with asyncio.timeout(1.0):
                while b.cancelled < 2:
                    await asyncio.sleep(0.01)
            await g.quiet()
            (usage,) = g.usage()
            assert usage.finish == "cancelled"
            assert usage.output_tokens >= 14

    run(body())


def test_a_late_first_token_is_asked_of_an_idle_replica(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a") as a, Scripted("b") as b, gateway(settings(a.url, b.url)) as g:
            g.prefer(a.port)
            for _ in range(30):
                backend(g, a).first_token(g.svc.loop.time(), 0.05)
            a.opening.clear()  # it takes requests and says nothing
            g.svc.shared.hedges.saved = 0.0
            task = asyncio.create_task(stream(g, CHAT | USAGE))
            await asyncio.sleep(0.4)
            assert not b.running  # no budget, no hedge
            assert not any(path.endswith("completions") for path, _ in b.seen)
            g.svc.shared.hedges.saved = 1.0
            text, events, well = await task
            assert (text, well) == (TEXT, True)
            a.opening.set()
            async with asyncio.timeout(1.0):  # the loser was stopped
                while not a.cancelled:
                    await asyncio.sleep(0.01)
            assert events[-1]["usage"]["completion_tokens"] == len(WORDS)
            await g.quiet()
            (usage,) = g.usage()
            assert [hop.ended for hop in usage.hops] == ["hedged", "stop"]
            assert usage.cost_nano_usd == 4 * 100 + len(WORDS) * 400
            assert g.svc.stats.hedged == 1
            assert g.svc.stats.resumed == 0

    run(body())


def test_a_hedge_that_loses_is_stopped(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a") as a, Scripted("b") as b, gateway(settings(a.url, b.url)) as g:
            g.prefer(a.port)
            for _ in range(30):
                backend(g, a).first_token(g.svc.loop.time(), 0.05)
            a.opening.clear()
            b.opening.clear()
            g.svc.shared.hedges.saved = 1.0
            task = asyncio.create_task(stream(g, CHAT))
            while not b.running:
                await asyncio.sleep(0.01)
            a.opening.set()
            text, _, well = await task
            assert (text, well) == (TEXT, True)
            b.opening.set()
            async with asyncio.timeout(1.0):
                while not b.cancelled:
                    await asyncio.sleep(0.01)
            await g.quiet()
            (usage,) = g.usage()
            assert sorted(hop.ended for hop in usage.hops) == ["hedged", "stop"]

    run(body())


def test_one_slow_site_starts_no_storm(gateway: Start) -> None:
    """Of 40 streams that fall silent together, at most MIN_FAILOVERS are under way at a time; the others wait for
    their replica, and go on there when it does."""

    async def body() -> None:
        async with (
            Scripted("a", slots=64) as a,
            Scripted("b", slots=64) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            a.pause_s = 0.02
            tasks = [asyncio.create_task(stream(g, CHAT)) for _ in range(40)]
            await asyncio.sleep(0.8)
            a.gate.clear()
            b.gate.clear()  # those who leave get no token either, so they count as under way
            most = 0
            for _ in range(60):
                most = max(most, len(g.svc.shared.slow))
                await asyncio.sleep(0.02)
            assert 1 <= most <= 8
            assert backend(g, a).live
            a.gate.set()
            b.gate.set()
            for text, _, well in await asyncio.gather(*tasks):
                assert (text, well) == (TEXT, True)

    run(body())


def test_a_stream_outlasts_a_dead_replica_and_a_busy_one(gateway: Start) -> None:
    """A begun assistant turn goes to the chat endpoint, which answers 503 more often than a stream may hop."""

    async def body() -> None:
        async with Scripted("a") as a, Scripted("b") as b, gateway(settings(a.url, b.url)) as g:
            g.prefer(a.port)
            a.pause_s = 0.01
            ask = CHAT | {"response_format": {"type": "json_object"}}
            task = asyncio.create_task(stream(g, ask))
            while not any(len(ex.state.texts) > 3 for ex in g.svc.exchanges):
                await asyncio.sleep(0.01)
            b.faults = Faults(status=503)
            a.kill()
            await asyncio.sleep(1.2)
            assert not task.done()
            b.faults = Faults()
            text, events, well = await task
            assert (text, well) == (TEXT, True), events[-1]
            busy = [path for path, _ in b.seen if path == "/v1/chat/completions"]
            assert 3 <= len(busy) <= 12  # asked again, but not in a rush

    run(body())
