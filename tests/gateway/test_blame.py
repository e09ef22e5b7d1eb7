"""Whose fault a failure is: one poisoned request costs itself, not the engines it met or those who come after it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.odd_engine import DIE, Odd, answer
from tests.gateway.rig import Gateway, Start, settings
from tests.gateway.test_continuity import CHAT, run, stream

from tieline.gateway.requests import allowed, blame, body
from tieline.gateway.routing.route import MIN_BLAMED, Replica
from tieline.gateway.settings import Model

PLAIN = {**CHAT, "stream": False}
GOOD = (200, "", answer(usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}))


def ask(word: str, **more: Any) -> dict[str, Any]:
    return {**PLAIN, "messages": [{"role": "user", "content": word}], **more}


async def post(g: Gateway, given: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
    status, headers, got = await g.post("/v1/chat/completions", given)
    return status, json.loads(got), headers


def usable(g: Gateway) -> list[bool]:
    now = g.svc.loop.time()
    return [one.usable(now) for one in g.svc.backends.values()]


@pytest.mark.parametrize("stream_too", [False, True])
def test_pictures_to_a_text_engine_bar_nobody(gateway: Start, stream_too: bool) -> None:
    async def run_it() -> None:
        poison = {"picture": (500, "", {"error": {"message": "image input is not supported", "code": 500}})}
        async with (
            Odd("a", whole=GOOD, by_prompt=poison) as a,
            Odd("b", whole=GOOD, by_prompt=poison) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            for _ in range(4):
                status, said, headers = await post(g, ask("picture", stream=stream_too))
                assert (status, said["error"]["message"]) == (400, "image input is not supported")
                assert "retry-after" not in headers
            assert usable(g) == [True, True]
            assert all(not one.outcomes.count(False) for one in g.svc.backends.values())
            began = g.svc.loop.time()
            assert (await post(g, ask("an innocent chat")))[0] == 200
            assert g.svc.loop.time() - began < 1.0

    run(run_it())


def test_unreadable_answers_of_one_model_leave_another_one_served(gateway: Start) -> None:
    async def run_it() -> None:
        poison = {"rubbish": (200, "", b"[1, 2")}
        async with (
            Odd("a", whole=GOOD, by_prompt=poison) as a,
            Odd("b", whole=GOOD, by_prompt=poison) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            for _ in range(5):
                status, _, headers = await post(g, ask("rubbish"))
                assert (status, headers["x-should-retry"]) == (502, "false")
            assert usable(g) == [True, True]
            assert (await post(g, ask("an innocent chat")))[0] == 200

    run(run_it())


def test_a_replica_that_fails_alone_is_left_alone(gateway: Start) -> None:
    async def run_it() -> None:
        bad = (500, "", {"error": {"message": "out of pages"}})
        async with (
            Odd("a", whole=bad) as a,
            Odd("b", whole=GOOD) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            for number in range(MIN_BLAMED):
                assert (await post(g, ask(f"chat {number}")))[0] == 200
            broken = next(one for one in g.svc.backends.values() if one.port == a.port)
            assert not broken.usable(g.svc.loop.time())
            before = len(a.seen)
            assert (await post(g, ask("the next")))[0] == 200
            assert len(a.seen) == before

    run(run_it())


def test_one_tenant_cannot_bar_a_replica_that_serves_others() -> None:
    replica = Replica("a", "s", "r", frozenset({"m"}), "vllm", 4)
    for tenant in ("flood", "other"):
        replica.succeeded(0.0, tenant)
    for number in range(50):
        replica.blamed(1.0, "flood", f"req_{number}")
    assert replica.usable(1.0)
    replica.blamed(1.0, "other", "req_x")
    assert not replica.usable(1.0)
    again = Replica("b", "s", "r", frozenset({"m"}), "vllm", 4)
    for _ in range(50):
        again.blamed(1.0, "t", "the same request")
    assert again.usable(1.0)


def test_a_request_that_kills_engines_is_refused_from_then_on(gateway: Start) -> None:
    async def run_it() -> None:
        poison = {"killer": (200, "", DIE)}
        async with (
            Odd("a", whole=GOOD, by_prompt=poison) as a,
            Odd("b", whole=GOOD, by_prompt=poison) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            status, said, _ = await post(g, ask("killer"))
            assert (status, said["error"]["code"]) == (400, "request_rejected")
            met = sum(path == "/v1/chat/completions" for one in (a, b) for path, _ in one.seen)
            assert met <= 4  # each once, and once more where a kept connection may have been the reason
            for _ in range(10):
                assert (await post(g, ask("killer")))[0] == 400
            assert met == sum(path == "/v1/chat/completions" for one in (a, b) for path, _ in one.seen)
            async with asyncio.timeout(5):
                while (await post(g, ask("an innocent chat")))[0] != 200:
                    await asyncio.sleep(0.1)

    run(run_it())


def test_of_several_that_an_engine_died_with_none_is_refused_at_once() -> None:
    refused = blame.RefusedRequests()
    deaths = 0.0
    for _ in range(2):  # two engines, four requests each time
        deaths += min(refused.share("a", suspects, 0.0) for suspects in (4, 3, 2, 1))
    assert deaths < blame.DEATHS
    assert refused.share("a", 1, 10.0) == 1.0


def test_the_digest_is_of_the_whole_request_and_runs_out() -> None:
    one, same, other = (body.read("chat", json.dumps(ask(word, temperature=0.5)).encode()) for word in ("a", "a", "b"))
    assert isinstance(one, body.Request)
    assert isinstance(same, body.Request)
    assert isinstance(other, body.Request)
    refused = blame.RefusedRequests()
    assert refused.refusal(one, 0.0) is None
    assert refused.met(one, "t", 2.0, 0.0) == blame.killer()
    assert refused.refusal(same, 1.0) == blame.killer()
    assert refused.refusal(other, 1.0) is None
    assert refused.refusal(same, blame.REFUSE_S) is None
    # Twice the only suspect, half a minute apart: then it is the killer.
    assert refused.met(other, "t", 1.0, 0.0) == blame.suspect()
    assert refused.refusal(other, 1.0) == blame.suspect()
    assert refused.refusal(other, blame.SUSPECT_S) is None
    assert refused.met(other, "t", 1.0, 40.0) == blame.killer()
    assert refused.met(other, "t", 1.0, 40.0 + blame.REFUSE_S) == blame.suspect()  # the first two count no more


def test_a_tenant_whose_request_killed_is_no_bystander_for_a_while() -> None:
    one, other = (body.read("chat", json.dumps(ask(word)).encode()) for word in ("a", "b"))
    assert isinstance(one, body.Request)
    assert isinstance(other, body.Request)
    refused = blame.RefusedRequests()
    assert not refused.risky(other, "t", 0.0)
    refused.met(one, "t", 1.0, 0.0)  # once may be chance
    assert not refused.risky(other, "t", 0.0)
    refused.met(one, "t", 1.0, 1.0)
    assert refused.risky(other, "t", 1.0)
    assert not refused.risky(other, "another", 1.0)
    assert not refused.risky(other, "t", 1.0 + blame.REFUSE_S)
    for n in range(blame.MAX_TENANTS):
        refused.met(one, f"t{n}", 2.0, 2.0)
    assert not refused.risky(other, "t", 2.0)  # the oldest have made room
    assert refused.risky(other, f"t{blame.MAX_TENANTS - 1}", 2.0)


def test_what_a_request_is_like() -> None:
    def made(**more: Any) -> body.Request:
        found = body.read("chat", json.dumps(ask(**({"word": "hi"} | more))).encode())
        assert isinstance(found, body.Request)
        return found

    refused = blame.RefusedRequests()
    assert not refused.unlike(made(temperature=0.5, stop=["x"], user="ada"))
    assert refused.unlike(made(word="a" * 40_000))
    grammar = made(grammar="root ::= " + "a" * 500)
    assert refused.unlike(grammar)
    refused.answered(grammar)
    assert not refused.unlike(grammar)
    assert not refused.unlike(made(grammar="root ::= b"))
    assert refused.unlike(made(grammar="root ::= " + "a" * 5_000))
    assert refused.unlike(made(grammar="root ::= b", model="another"))
    assert refused.unlike(made(grammar="root ::= b", min_p=0.1))
    refused.answered(made(word="a" * 40_000))
    assert not refused.unlike(made(word="b" * 50_000))
    for number in range(blame.MAX_SHAPES + 5):
        refused.answered(made(model=f"m{number}", min_p=0.1))
    assert refused.unlike(grammar)  # the oldest have made room


class Mortal(Odd):
    """A word in the prompt ends it: connections are reset and nobody listens."""

    async def _answer(self, path: str, given: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if "killer" in json.dumps(given):
            self.seen.append((path, given))
            self.kill()
            raise ConnectionResetError
        await super()._answer(path, given, writer)


class Slow(Mortal):
    """The same a moment later, beside others, whose answers wait."""

    async def _answer(self, path: str, given: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if "killer" in json.dumps(given):
            await asyncio.sleep(0.3)
        elif path == "/v1/chat/completions":
            await self.opening.wait()
        await super()._answer(path, given, writer)


def wait_much(g: Gateway) -> None:
    """As if somebody had waited for a first byte a tenth of the last minute, at each replica."""
    for one in g.svc.backends.values():
        one.outcomes.extend([(g.svc.loop.time(), True)] * 30)


@pytest.mark.parametrize("stream_too", [False, True])
def test_a_killer_in_ordinary_words_costs_one_engine_where_nobody_else_waits(gateway: Start, stream_too: bool) -> None:
    async def run_it() -> None:
        engines = [Mortal(name, whole=GOOD) for name in "abc"]
        async with contextlib.AsyncExitStack() as stack:
            for one in engines:
                await stack.enter_async_context(one)
            g = await stack.enter_async_context(gateway(settings(*(one.url for one in engines))))
            assert (await post(g, ask("an innocent chat")))[0] == 200
            status, said, headers = await post(g, ask("killer", stream=stream_too))
            assert (status, said["error"]["code"], headers["retry-after"]) == (503, "engine_died", "30")
            assert sum(any("killer" in json.dumps(given) for _, given in one.seen) for one in engines) == 1
            assert (await post(g, ask("an innocent chat")))[0] == 200

    run(run_it())


def test_an_answer_that_has_taken_a_while_is_made_again_wherever_its_engine_died(gateway: Start) -> None:
    async def run_it() -> None:
        async with Slow("a", whole=GOOD) as a, Slow("b", whole=GOOD) as b, gateway(settings(a.url, b.url)) as g:
            g.prefer(a.port)
            a.opening.clear()
            first = asyncio.create_task(post(g, ask("innocent, beside nobody")))
            await asyncio.sleep(blame.FRESH_S + 0.1)
            a.kill()
            assert (await first)[0] == 200
            assert any("innocent" in json.dumps(given) for _, given in b.seen)

    run(run_it())


def test_among_many_a_killer_costs_two_engines(gateway: Start) -> None:
    async def run_it() -> None:
        engines = [Slow(name, whole=GOOD) for name in "abcd"]
        async with contextlib.AsyncExitStack() as stack:
            for one in engines:
                await stack.enter_async_context(one)
                one.opening.clear()
            g = await stack.enter_async_context(gateway(settings(*(one.url for one in engines))))
            g.prefer(engines[0].port)
            asked = [asyncio.create_task(post(g, ask(word))) for word in ("killer", "one", "two", "three")]
            assert (await asked[0])[1]["error"]["code"] == "engine_died"
            assert sum(any("killer" in json.dumps(given) for _, given in one.seen) for one in engines) == 2
            for one in engines:
                one.opening.set()
            for other in asked[1:]:  # whoever was beside it twice may be it as well
                assert (await other)[0] in (200, 503)

    run(run_it())


def test_a_death_is_hardly_chance_where_hardly_anybody_waits() -> None:
    a, b = (Replica(name, "s", "r", frozenset({"m"}), "vllm", 4) for name in "ab")
    now = 1_000.0
    assert blame.hardly_chance(a, (a, b), 0.1, now)
    assert not blame.hardly_chance(a, (a, b), blame.FRESH_S + 0.1, now)  # it has been computed for long
    b.failed(now - 0.5, lost=True)  # a site went dark
    assert not blame.hardly_chance(a, (a, b), 0.1, now)
    assert blame.hardly_chance(a, (a, b), 0.1, now + 1.0)
    for n in range(20):  # streams whose first tokens took 0.2 s: 4 s of the minute
        a.first_token(now - n, 0.2)
        a.succeeded(now - n)
    assert blame.waited(a, now) == pytest.approx(4.0 / 60.0)
    for n in range(20):  # and as many answers that were not streamed
        a.succeeded(now - n)
    assert blame.waited(a, now) == pytest.approx(8.0 / 60.0)
    assert not blame.hardly_chance(a, (a,), 0.1, now)
    assert blame.waited(a, now + 100.0) == 0.0
    for n in range(100):  # more than is remembered: 64 within 6.3 s
        b.first_token(now + n / 10, 0.05)
        b.succeeded(now + n / 10)
    assert blame.waited(b, now + 9.9) == pytest.approx(64 * 0.05 / 6.3)


@pytest.mark.parametrize("stream_too", [False, True])
def test_a_killer_that_is_like_nothing_before_costs_one_engine(gateway: Start, stream_too: bool) -> None:
    async def run_it() -> None:
        async with Mortal("a", whole=GOOD) as a, Mortal("b", whole=GOOD) as b, gateway(settings(a.url, b.url)) as g:
            given = ask("killer", grammar="root ::= " + "a" * 1_000, stream=stream_too)
            status, said, headers = await post(g, given)
            assert (status, said["error"]["code"], headers["retry-after"]) == (503, "engine_died", "30")
            dead = [one for one in (a, b) if any("killer" in json.dumps(given) for _, given in one.seen)]
            assert len(dead) == 1
            for _ in range(5):  # whoever sends it again meanwhile kills nothing
                assert (await post(g, given))[0] == 503
            assert (await post(g, ask("an innocent chat")))[0] == 200
            assert len([one for one in (a, b) if any("killer" in json.dumps(given) for _, given in one.seen)]) == 1

    run(run_it())


def test_variants_of_an_ordinary_killer_cost_one_engine_each(gateway: Start) -> None:
    async def run_it() -> None:
        engines = [Mortal(name, whole=GOOD) for name in "abcd"]
        async with contextlib.AsyncExitStack() as stack:
            for one in engines:
                await stack.enter_async_context(one)
            g = await stack.enter_async_context(gateway(settings(*(one.url for one in engines))))

            wait_much(g)

            def met(word: str) -> int:
                return sum(any(word in json.dumps(given) for _, given in one.seen) for one in engines)

            status, said, _ = await post(g, ask("killer of two"))
            assert (status, said["error"]["code"], met("killer of two")) == (400, "request_rejected", 2)
            status, said, _ = await post(g, ask("killer of one"))
            assert (status, said["error"]["code"], met("killer of one")) == (503, "engine_died", 1)
            assert (await post(g, ask("an innocent chat")))[0] == 200

    run(run_it())


def test_who_was_there_when_an_engine_died_is_asked_elsewhere(gateway: Start) -> None:
    async def run_it() -> None:
        shaped = {"grammar": "root ::= [a-z]+"}
        async with Mortal("a", whole=GOOD) as a, Mortal("b", whole=GOOD) as b, gateway(settings(a.url, b.url)) as g:
            assert (await post(g, ask("before", **shaped)))[0] == 200
            for word, more in (("plain", {}), ("shaped", shaped)):
                g.prefer(a.port)
                wait_much(g)
                a.opening.clear()
                first = asyncio.create_task(post(g, ask(word, **more)))
                async with asyncio.timeout(5):
                    while not any(word in json.dumps(given) for _, given in a.seen):
                        await asyncio.sleep(0.01)
                a.kill()
                assert (await first)[0] == 200
                a.opening.set()
                await a.__aenter__()
                async with asyncio.timeout(10):
                    while not all(usable(g)):
                        await asyncio.sleep(0.05)

    run(run_it())


def test_a_connection_that_was_cut_is_no_death(gateway: Start) -> None:
    async def run_it() -> None:
        cut = {"odd": (200, "", DIE)}
        async with (
            Odd("a", whole=GOOD, by_prompt=cut) as a,
            Odd("b", whole=GOOD) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            assert (await post(g, ask("odd", grammar="root ::= b")))[0] == 200
            assert b.seen

    run(run_it())


@pytest.mark.parametrize("status", [401, 403, 307])
def test_what_an_engine_says_to_the_gateway_is_not_for_the_client(gateway: Start, status: int) -> None:
    async def run_it() -> None:
        told = (status, "location: http://10.0.0.1/\r\n", {"error": {"message": "invalid key sk-engine-123"}})
        async with Odd(whole=told) as a, gateway(settings(a.url)) as g:
            got, said, headers = await post(g, ask("hello"))
            assert got == 502
            assert "sk-engine" not in json.dumps(said)
            assert "location" not in headers

    run(run_it())


@pytest.mark.parametrize("status", [429, 503, 529])
def test_an_engine_that_is_busy_says_when_to_come_again(gateway: Start, status: int) -> None:
    async def run_it() -> None:
        told = (status, "retry-after: 17\r\n", {"error": {"message": "overloaded"}})
        async with Odd(whole=told) as a, gateway(settings(a.url)) as g:
            got, said, headers = await post(g, ask("hello"))
            assert (got, said["error"]["code"], headers["retry-after"]) == (503, "no_capacity", "17")
            assert not any(one.outcomes.count(False) for one in g.svc.backends.values())

    run(run_it())


def test_an_engine_back_with_another_model_gets_no_more_of_the_old_ones(gateway: Start) -> None:
    async def run_it() -> None:
        gone = (404, "", {"error": {"message": "The model `m` does not exist.", "code": 404}})
        async with Odd("a", whole=GOOD) as a, Odd("b", whole=GOOD) as b, gateway(settings(a.url, b.url)) as g:
            g.prefer(a.port)
            assert (await post(g, ask("first")))[0] == 200
            a.whole, a.model = gone, "another"
            for number in range(12):
                assert (await post(g, ask(f"chat {number}")))[0] == 200
            old = next(one for one in g.svc.backends.values() if one.port == a.port)
            assert "m" not in old.models
            met = sum(path == "/v1/chat/completions" for path, _ in a.seen)
            assert met == 2
            async with asyncio.timeout(8):
                while "another" not in old.models:
                    await asyncio.sleep(0.05)
            assert "m" not in old.models
            a.whole, a.model = GOOD, "m"
            async with asyncio.timeout(8):
                while "m" not in old.models:
                    await asyncio.sleep(0.05)

    run(run_it())


def test_a_grammar_of_brackets_reaches_no_engine(gateway: Start) -> None:
    async def run_it() -> None:
        deep: Any = {"type": "object"}
        for _ in range(100):
            deep = {"type": "object", "properties": {"a": deep}}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": deep}}
        async with Scripted() as a, gateway(settings(a.url)) as g:
            for name, value in (
                ("grammar", "root ::= " + "(" * 60_000),
                ("grammar", "x" * 70_000),
                ("response_format", form),
                ("tools", [{"type": "function", "function": {"name": "f", "parameters": deep}}]),
                ("structured_outputs", {"grammar": "(" * 1_000}),
            ):
                status, said, _ = await post(g, ask("x", **{name: value}))
                assert (status, said["error"]["param"]) == (400, name)
            usual = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(200)}}
            fine = {"type": "json_schema", "json_schema": {"name": "a", "schema": usual}}
            assert (await post(g, ask("x", response_format=fine)))[0] == 200
            assert len([path for path, _ in a.seen if path == "/v1/chat/completions"]) == 1

    run(run_it())


def test_a_field_that_is_not_on_the_list_is_named_and_an_operator_may_add_it(gateway: Start) -> None:
    async def run_it() -> None:
        async with Scripted() as a, gateway(settings(a.url)) as g:
            for name in (
                "chat_template",
                "logits_processors",
                "priority",
                "n_predict",
                "id_slot",
            ):
                status, said, _ = await post(g, ask("x", **{name: 1}))
                assert (status, said["error"]["param"], name in said["error"]["message"]) == (400, name, True)
            assert (await post(g, ask("x", ignore_eos=True, min_tokens=5)))[0] == 200
            sent = a.seen[-1][1]
            assert (sent["ignore_eos"], sent["min_tokens"]) == (True, 5)
        model = Model(name="m", fields=("priority",), media=("http://10.1.2.3/pictures/",))
        async with Scripted() as a, gateway(settings(a.url, models=(model,))) as g:
            assert (await post(g, ask("x", priority=3)))[0] == 200
            assert a.seen[-1][1]["priority"] == 3
            for url, expected in (("http://10.1.2.3/pictures/a.png", 200), ("http://10.1.2.3/secrets", 400)):
                part = {"type": "image_url", "image_url": {"url": url}}
                given = {**PLAIN, "messages": [{"role": "user", "content": [part]}]}
                assert (await post(g, given))[0] == expected

    run(run_it())


@pytest.mark.parametrize("kind", ["image_url", "video_url", "audio_url"])
@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest", "https://127.0.0.1/x", "https://[::1]/x", "https://10.0.0.1/x", "file:///etc/passwd",
     "https://localhost/x", "https://metadata.internal/x", "https://2130706433/x", "https://127.1/x", "gopher://x.org/",
     "https://user@example.org/x", "https://0x7f.1/", "ftp://example.org/x", "HTTP://example.org/x"],
)  # fmt: skip
def test_no_engine_is_told_an_address_of_the_house(gateway: Start, kind: str, url: str) -> None:
    assert not allowed.may_fetch(url)
    refusal = allowed.media([{"content": [{"type": kind, kind: {"url": url}}]}], "messages", ())
    assert refusal is not None
    assert refusal.param == f"messages[0].content[0].{kind}.url"


def test_public_names_and_inline_data_are_fine() -> None:
    for url in (
        "https://example.org/a.png",
        "data:image/png;base64,AAAA",
        "https://8.8.8.8/a",
        "HTTPS://Example.org/a",
    ):
        assert allowed.may_fetch(url), url


def test_a_stream_that_an_engine_failed_on_is_made_elsewhere_with_its_words(gateway: Start) -> None:
    async def run_it() -> None:
        bad = (500, "", {"error": {"message": "out of pages"}})
        async with Odd("a", "someone", whole=bad) as a, gateway(settings(a.url)) as g:
            status, said, _ = await post(g, ask("x", stream=True))
            assert status == 502
            assert "out of pages" in said["error"]["message"]
        async with Odd("a", whole=bad) as a, Scripted("b") as b, gateway(settings(a.url, b.url)) as g:
            g.prefer(a.port)
            _, _, well = await stream(g, CHAT)
            assert well

    run(run_it())
