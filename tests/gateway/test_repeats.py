"""Calls under an Idempotency-Key over several processes: one call and one bill, whoever dies."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given as cases
from hypothesis import settings as effort
from hypothesis import strategies as st
from tests.gateway.engines import Scripted
from tests.gateway.processes import several
from tests.gateway.rig import QUICK, free_port, settings
from tests.gateway.test_overload import two

from tieline.gateway.budgets import claims as made
from tieline.gateway.budgets.admit import KeyAccounts
from tieline.gateway.budgets.claims import KEEP_S, Claims
from tieline.gateway.budgets.client import LeaseClient
from tieline.gateway.budgets.recall import Say
from tieline.gateway.errors import Refusal
from tieline.store import Spool

ANSWER = {"status": 200, "head": "", "text": "aGk="}
ERROR = {"status": 502, "head": "", "text": ""}


class World:
    """Three processes, two keys; who makes which call now."""

    def __init__(self) -> None:
        self.claims = Claims()
        self.running: dict[str, str] = {}
        self.asking: dict[tuple[str, int], str] = {}
        self.answers: dict[str, int] = {}
        self.number = 0

    def heard(self, says: list[Say]) -> None:
        for say in says:
            name = self.asking.pop((say.gateway, say.message["re"]), None)
            if name is None:
                continue  # it died meanwhile
            if say.message["claim"] == "yours":
                assert name not in self.running, "made by two at once"
                assert name not in self.answers, "made again though it was answered"
                self.running[name] = say.gateway
            else:
                assert say.message["claim"] == "answered"

    def ask(self, gateway: str, name: str) -> None:
        self.number += 1
        self.asking[gateway, self.number] = name
        self.heard(self.claims.asked(gateway, name, "digest", self.number, 0.0))

    def end(self, name: str, how: str) -> None:
        gateway = self.running.pop(name, None)
        if gateway is None:
            return
        if how == "answer":
            self.answers[name] = 1
        answer: dict[str, Any] | None = {"answer": ANSWER, "error": ERROR, "gone": None}[how]
        self.heard(self.claims.ended(gateway, name, answer, keep=how == "answer"))

    def die(self, gateway: str) -> None:
        self.asking = {one: name for one, name in self.asking.items() if one[0] != gateway}
        self.claims.left(gateway)
        self.running = {name: one for name, one in self.running.items() if one != gateway}
        self.heard(self.claims.joined(gateway, {}, 0.0))

    def blink(self, gateway: str) -> None:
        """Only its connection is lost: it joins again and asks again."""
        again = [name for one, name in self.asking.items() if one[0] == gateway]
        self.asking = {one: name for one, name in self.asking.items() if one[0] != gateway}
        self.claims.left(gateway)
        mine = {name: "digest" for name, one in self.running.items() if one == gateway}
        self.heard(self.claims.joined(gateway, mine, 0.0))
        for name in again:
            self.ask(gateway, name)


@effort(max_examples=200, deadline=None)
@cases(st.integers(0, 2**32))
def test_a_call_is_made_by_one_process_at_a_time_and_not_again_once_answered(seed: int) -> None:
    dice, world = random.Random(seed), World()
    for _ in range(80):
        word = dice.choice(("ask", "ask", "ask", "end", "die", "blink"))
        gateway, name = dice.choice("abc"), dice.choice(("k1", "k2", "k3"))
        if word == "ask":
            world.ask(gateway, name)
        elif word == "end":
            world.end(name, dice.choice(("answer", "error", "gone")))
        else:
            getattr(world, word)(gateway)
    for _ in range(200):  # whoever waits is answered in the end
        for name in list(world.running):
            world.end(name, "gone")
    assert not world.asking


def test_claims_are_bounded_in_count_bytes_and_time(monkeypatch: Any) -> None:
    monkeypatch.setattr(made, "MAX_CLAIMS", 3)
    monkeypatch.setattr(made, "MAX_BYTES", 6)
    claims = Claims()

    def ask(name: str, now: float = 0.0) -> str:
        (say,) = claims.asked("a", name, "d", 1, now)
        return str(say.message["claim"])

    for name in ("k1", "k2", "k3"):
        assert ask(name) == "yours"
    assert ask("k4") == "busy"  # what runs is not forgotten
    for name in ("k1", "k2"):
        claims.ended("a", name, ANSWER, keep=True)
    assert ask("k2") == "answered"
    assert claims.bytes == 4  # the bytes of one
    assert ask("k1") == "yours"
    (conflict,) = claims.asked("b", "k2", "another", 2, 0.0)
    assert conflict.message["claim"] == "conflict"
    assert claims.asked("b", "k3", "d", 3, KEEP_S + 1) == []  # it still runs
    assert ask("k2", KEEP_S + 1) == "yours"
    assert claims.ended("b", "k3", ANSWER, keep=True) == []  # not its own
    assert [say.gateway for say in claims.dropped("a")] == ["b"]


def test_without_the_coordinator_nothing_is_begun_under_a_key(tmp_path: Path) -> None:
    async def body() -> None:
        spool = Spool(tmp_path / "usage.db")
        client = LeaseClient(
            tmp_path / "nobody.sock", "worker-0", KeyAccounts(settings(), leased=True), spool, lambda: None
        )
        running = asyncio.create_task(client.run())
        outcome = await client.claim("k|1", "digest")
        assert isinstance(outcome, Refusal)
        assert (outcome.status, outcome.code, outcome.retry_after_s) == (503, "idempotency_unavailable", 1)
        running.cancel()
        spool.close()

    asyncio.run(body())


def test_processes_make_a_call_once_and_another_goes_on_for_one_that_dies(tmp_path: Path) -> None:
    """Real processes."""

    async def body() -> None:
        async with Scripted(words=("w ",) * 4) as engine:
            clocks = msgspec.structs.replace(QUICK, first_token_s=60.0, idle_s=60.0)
            given = settings(engine.url, port=free_port(), clocks=clocks, **two())
            async with several(given, tmp_path, 3) as gateway:
                key = "idempotency-key: one\r\n"
                engine.opening.clear()
                asked = [asyncio.create_task(gateway.ask("quiet", key, by=index)) for index in (0, 1, 2, 0, 1, 2)]
                await asyncio.sleep(1.5)
                assert not [one.result() for one in asked if one.done()]
                other = await gateway.ask("quiet", key, by=1, max_tokens=3)
                assert other[0] == 409
                engine.opening.set()
                found = await asyncio.gather(*asked)
                assert {(status, text) for status, _, text in found} == {(200, found[0][2])}
                late = [await gateway.ask("quiet", key, by=index) for index in range(3)]
                assert [(status, text) for status, _, text in late] == [(200, found[0][2])] * 3
                repeated = [headers.get("x-tieline-repeated", "") for _, headers, _ in [*found, *late]]
                assert sorted(repeated) == ["", *["true"] * 8]
                assert len(gateway.usage()) == 1
                # Another tenant's key of the same name is another call.
                assert "x-tieline-repeated" not in (await gateway.ask("flood", key, by=2))[1]

                key = "idempotency-key: two\r\n"
                engine.opening.clear()
                first = asyncio.create_task(gateway.ask("quiet", key, by=0))
                await asyncio.sleep(1.0)
                others = [asyncio.create_task(gateway.ask("quiet", key, by=index)) for index in (1, 2)]
                await asyncio.sleep(1.0)
                gateway.kill(0, signal.SIGKILL)
                engine.opening.set()
                found = await asyncio.wait_for(asyncio.gather(*others), 20)
                assert {(status, text) for status, _, text in found} == {(200, found[0][2])}
                assert sorted(headers.get("x-tieline-repeated", "") for _, headers, _ in found) == ["", "true"]
                await asyncio.gather(first, return_exceptions=True)
                assert sum(one.key_id == "quiet" for one in gateway.usage()) == 2

    asyncio.run(body())
