"""When there is not enough for all: shares, refusals a client can act on, and calls that are tried again."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from tests.gateway.engines import Scripted
from tests.gateway.rig import QUICK, Gateway, settings, start

from tieline.gateway.settings import Key, Limits, Tenant, hash_key
from tieline.store import Spool

ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4}


async def ask(gateway: Gateway, key: str, headers: str = "", **more: Any) -> tuple[int, dict[str, str], bytes]:
    return await gateway.post("/v1/chat/completions", ASK | more, f"authorization: Bearer {key}\r\n{headers}")


def two(**limits: Any) -> dict[str, Any]:
    tenants = (Tenant(id="flood", limits=Limits(**limits)), Tenant(id="quiet"))
    return {"tenants": tenants, "keys": tuple(Key(id=t.id, sha256=hash_key(t.id), tenant=t.id) for t in tenants)}


def test_a_tenant_that_floods_waits_for_itself(tmp_path: Path) -> None:
    """Two places; sixty requests of one tenant, then six of another: those do not stand behind the sixty."""

    async def body() -> None:
        order: list[str] = []
        async with Scripted(words=("w ",) * 4, pause_s=0.02, slots=2) as engine:
            clocks = msgspec.structs.replace(QUICK, queue_s=60.0, first_token_s=60.0)
            async with start(settings(engine.url, clocks=clocks, **two()), tmp_path) as gateway:

                async def one(key: str) -> None:
                    status, _, _ = await ask(gateway, key, stream=True)
                    assert status == 200
                    order.append(key)

                flood = [asyncio.create_task(one("flood")) for _ in range(60)]
                while len(gateway.svc.queue) < 50:
                    await asyncio.sleep(0.01)
                before = len(order)
                quiet = [asyncio.create_task(one("quiet")) for _ in range(6)]
                await asyncio.gather(*quiet)
                meanwhile = order[before:]
                # Turn and turn about: for each of theirs one of ours, and what was in the two places already.
                assert meanwhile.count("flood") <= 6 + 4, meanwhile
                await asyncio.gather(*flood)

    asyncio.run(body())


def test_every_refusal_says_when_to_come_back_within_two_minutes(tmp_path: Path) -> None:
    async def body() -> None:
        limits = {"requests_per_minute": 1, "tokens_per_minute": 100_000}
        async with Scripted() as engine, start(settings(engine.url, **two(**limits)), tmp_path) as gateway:
            assert (await ask(gateway, "flood"))[0] == 200
            status, headers, text = await ask(gateway, "flood")
            assert (status, json.loads(text)["error"]["code"]) == (429, "rate_limit")
            assert 1 <= int(headers["retry-after"]) <= 60
            scope = gateway.svc.book.scopes["tenant:flood"]
            assert scope.requests is not None
            scope.requests.level = -1e6  # far more used than allowed
            _, headers, _ = await ask(gateway, "flood")
            assert int(headers["retry-after"]) == 120
            assert (await ask(gateway, "quiet"))[0] == 200

    asyncio.run(body())


def test_a_client_that_waits_less_is_not_kept_in_the_queue(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("w ",) * 40, pause_s=0.1, slots=1) as engine:
            clocks = msgspec.structs.replace(QUICK, queue_s=30.0)
            async with start(settings(engine.url, clocks=clocks, **two()), tmp_path) as gateway:
                first = asyncio.create_task(ask(gateway, "flood", stream=True, max_tokens=40))
                while not gateway.svc.exchanges:
                    await asyncio.sleep(0.01)
                began = time.monotonic()
                patient = asyncio.create_task(ask(gateway, "quiet", "x-stainless-timeout: rubbish\r\n"))
                status, headers, _ = await ask(
                    gateway, "quiet", "x-stainless-timeout: 0.5\r\nx-stainless-retry-count: 1\r\n"
                )
                assert status == 503
                assert 1 <= int(headers["retry-after"]) <= 120
                assert time.monotonic() - began < 3.0
                assert not patient.done()
                patient.cancel()
                first.cancel()

    asyncio.run(body())


def test_calls_with_one_idempotency_key_at_once_are_one_call_and_one_bill(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("w ",) * 4, pause_s=0.05) as engine:  # noqa: SIM117
            async with start(settings(engine.url, **two()), tmp_path) as gateway:
                key = "idempotency-key: one\r\n"
                found = await asyncio.gather(*(ask(gateway, "quiet", key) for _ in range(8)))
                assert {(status, text) for status, _, text in found} == {(200, found[0][2])}
                assert sorted(headers.get("x-tieline-repeated", "") for _, headers, _ in found) == ["", *["true"] * 7]
                assert (await ask(gateway, "quiet", key, max_tokens=3))[0] == 409
                # Another tenant's key of the same name is another call, and so is a stream.
                assert "x-tieline-repeated" not in (await ask(gateway, "flood", key))[1]
                assert b"[DONE]" in (await ask(gateway, "quiet", key, stream=True))[2]
                await gateway.quiet()
                assert len(gateway.usage()) == 3
                # What failed may be tried again under its key.
                engine.faults.status = 500
                failing = "idempotency-key: two\r\n"
                assert (await ask(gateway, "quiet", failing))[0] == 502
                engine.faults.status = None
                await asyncio.sleep(1.1)
                assert (await ask(gateway, "quiet", failing))[0] == 200

    asyncio.run(body())


def test_a_budget_holds_over_a_change_of_the_number_of_processes(tmp_path: Path) -> None:
    async def body() -> None:
        name = f"tenant:flood|{datetime.now(UTC):%Y-%m}"
        for number in (0, 1):
            spool = Spool(tmp_path / f"worker-{number}" / "usage.db")
            spool.put(f"r{number}", b"{}", (name,), 40_000)
            spool.close()
        async with Scripted() as engine:
            told = settings(engine.url, **two(budget_usd=Decimal(100_000) / 10**9))
            async with start(told, tmp_path) as gateway:
                assert (await ask(gateway, "flood", max_tokens=40))[0] == 429
                assert (await ask(gateway, "flood", max_tokens=5))[0] == 200

    asyncio.run(body())
