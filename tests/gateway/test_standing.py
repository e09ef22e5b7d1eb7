"""A tenant whose requests are mostly refused works apart from the others, and its killers are carried nowhere."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.odd_engine import Odd, answer
from tests.gateway.rig import Gateway, Start, settings
from tests.gateway.test_continuity import CHAT, run

from tieline.gateway.errors import Refusal
from tieline.gateway.requests import blame, body
from tieline.gateway.routing import apart, standing
from tieline.gateway.routing.route import Replica, State
from tieline.gateway.routing.standing import Standings
from tieline.gateway.settings import Engine, Key, Tenant, hash_key

GOOD = (200, "", answer(usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}))


POISON = {"picture": (500, "", {"error": {"message": "image input is not supported", "code": 500}})}


def replica(name: str, *models: str, state: State = State.READY, region: str = "") -> Replica:
    return Replica(name, "site", region, frozenset(models or ("m",)), "vllm", 8, state)


def test_a_standing_is_poor_for_many_bad_requests_and_a_large_share() -> None:
    found = Standings()
    for n in range(standing.MIN_BAD):
        assert not found.is_poor("t", 1.0)
        found.bad("t", n / 10)
    assert found.is_poor("t", 1.0)
    assert found.poor(1.0) == {"t"}
    assert not found.is_poor("t", 1.0 + standing.POOR_S)
    for _ in range(1_000):  # a client with a mistake in one request of many
        found.good("well")
    for n in range(50):
        found.bad("well", n / 10)
        for _ in range(9):
            found.good("well")
    assert not found.is_poor("well", 5.0)
    for n in range(standing.MIN_BAD):  # never so many within a window
        found.bad("slow", n * standing.WINDOW_S / 5)
    assert not found.is_poor("slow", 2 * standing.WINDOW_S)
    for n in range(standing.MAX_TENANTS):
        found.bad(f"t{n}", 1.0)
    assert not found.is_poor("t", 1.0)  # the oldest have made room


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.data())
def test_of_each_models_replicas_few_are_set_apart_and_never_all(counts: list[int], data: st.DataObject) -> None:
    replicas = [replica(f"{g}-{n}", f"m{g}") for g, count in enumerate(counts) for n in range(count)]
    before = frozenset(data.draw(st.sets(st.sampled_from([one.id for one in replicas])))) if replicas else frozenset()
    found = apart.chosen(replicas, before)
    for group, count in enumerate(counts):
        own = sum(1 for one in found if one.startswith(f"{group}-"))
        assert own == (0 if count < 2 else max(1, count // apart.ONE_IN))
    assert apart.chosen(replicas, found) == found
    assert not apart.elsewhere(replicas, found, frozenset()) & found


def test_what_is_set_apart_stays_so_while_it_starts_anew() -> None:
    a, b = replica("a"), replica("b")
    assert apart.chosen([a, b], frozenset()) == {"a"}
    a.state = State.STARTING
    assert apart.chosen([a, b], frozenset({"a"})) == {"a"}
    assert apart.chosen([a, b], frozenset()) == {"b"}
    a.region = "eu"  # a tenant bound to another region is not shut out by it
    assert apart.elsewhere([a, b], frozenset({"a"}), frozenset({"us"})) == frozenset()
    assert apart.elsewhere([a, b], frozenset({"a"}), frozenset({"eu"})) == {"b"}


def test_a_tenant_in_poor_standing_hears_the_same_again_without_an_engine() -> None:
    refused = blame.RefusedRequests()
    request, shorter = (body.read("chat", json.dumps({**CHAT, "max_tokens": most}).encode()) for most in (1_000, 10))
    assert isinstance(request, body.Request)
    assert isinstance(shorter, body.Request)
    why = Refusal(400, "longer than the context", "engine_refused")
    for n in range(standing.MIN_BAD):
        assert refused.repeated(request, "t", n / 10) is None
        refused.bad(request, "t", why, n / 10)
    assert refused.repeated(request, "t", 2.0) == why
    assert refused.repeated(shorter, "t", 2.0) is None  # another request
    assert refused.repeated(request, "another", 2.0) is None
    assert refused.standings.is_poor("t", 2.0 + standing.POOR_S - 0.1)  # it still asks for the same
    assert refused.repeated(request, "t", 1.0 + blame.REPEAT_S) is None
    for n in range(blame.MAX_REPEATS):
        other = body.read("chat", json.dumps({**CHAT, "max_tokens": n + 1}).encode())
        assert isinstance(other, body.Request)
        refused.bad(other, "t", why, 3.0)
    assert len(refused.repeats) == blame.MAX_REPEATS


def asked(word: str, key: str, **more: Any) -> tuple[bytes, str]:
    given = {**CHAT, "stream": False, "messages": [{"role": "user", "content": word}], **more}
    return json.dumps(given).encode(), f"authorization: Bearer {key}\r\n"


async def post(g: Gateway, word: str, key: str, **more: Any) -> int:
    text, headers = asked(word, key, **more)
    return (await g.post("/v1/chat/completions", text, headers))[0]


class Mortal(Odd):
    """A word in the prompt ends it."""

    async def _answer(self, path: str, given: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if "killer" in str(given):
            self.seen.append((path, given))
            self.kill()
            raise ConnectionResetError
        await super()._answer(path, given, writer)


def test_a_tenant_in_poor_standing_is_served_apart_and_kills_one_engine(gateway: Start) -> None:
    tenants = tuple(Tenant(id=name) for name in ("hater", "other"))
    keys = tuple(Key(id=name, sha256=hash_key(name), tenant=name) for name in ("hater", "other"))

    async def run_it() -> None:
        async with (
            Mortal("a", whole=GOOD, by_prompt=POISON) as a,
            Mortal("b", whole=GOOD, by_prompt=POISON) as b,
            gateway(settings(a.url, b.url, tenants=tenants, keys=keys)) as g,
        ):
            for _ in range(standing.MIN_BAD):
                assert await post(g, "hello", "hater", no_such_field=1) == 400
            g.svc.weigh()
            g.svc.table.judge(g.svc.loop.time() + 2.0)
            (own,) = g.svc.table.apart
            mine, others = (a, b) if g.svc.backends[own].port == a.port else (b, a)
            a.seen.clear()
            b.seen.clear()
            for n in range(6):
                assert await post(g, f"hated {n}", "hater") == 200
                assert await post(g, f"good {n}", "other") == 200
            assert {"hated" in str(given) for _, given in mine.seen if "messages" in given} == {True}
            assert {"hated" in str(given) for _, given in others.seen if "messages" in given} == {False}
            assert await post(g, "picture", "hater") == 400  # the same replica says the same again
            for n in range(4):  # ordinary words, each time others
                assert await post(g, f"killer {n}", "hater", max_tokens=1) == 503
            assert not any("killer" in str(given) for _, given in others.seen)
            assert await post(g, "the next", "other") == 200

    run(run_it())


class Doomed(Odd):
    """It says 500 to what kills it, as vLLM's server does of its engine's death, and is not well from then on."""

    dead = False

    async def _answer(self, path: str, given: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.dead = self.dead or "killer" in str(given)
        if self.dead:
            if "messages" in given:
                self.seen.append((path, given))
            await self._say(503 if path == "/health" else 500, "", {"error": {"message": "engine core died"}}, writer)
        else:
            await super()._answer(path, given, writer)


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_tells_of_its_own_death_has_died(gateway: Start, stream: bool) -> None:
    async def run_it() -> None:
        async with Doomed("a", whole=GOOD) as a, Doomed("b", whole=GOOD) as b:
            given = settings()
            engines = tuple(Engine(url=one.url, kind="vllm", models=("m",)) for one in (a, b))
            async with gateway(settings(engines=engines, models=given.models)) as g:
                text, _ = asked("killer", "", grammar="root ::= " + "a" * 1_000, stream=stream)
                status, headers, _ = await g.post("/v1/chat/completions", text)
                assert (status, headers["retry-after"]) == (503, "30")
                assert [one.dead for one in (a, b)].count(True) == 1

    run(run_it())


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("What is a rig? \n\t Été 中文 \U0001f680", False),
        ("a\\b" * 3, False),
        ("\0", True),
        ("<|im_start|>system", True),
        ("power " * 200, True),
        ("ab" * 50, False),
        ("e" + "\u0301" * 500, True),
    ],
)
def test_text_that_nobody_writes(text: str, odd: bool) -> None:
    found = body.read("chat", json.dumps({**CHAT, "messages": [{"role": "user", "content": text}]}).encode())
    assert isinstance(found, body.Request)
    assert blame.odd_text(found) == odd
