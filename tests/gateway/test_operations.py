"""A gateway that is changed while it serves: engines, models, tariffs, tenants, keys and its file; no request fails."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import settings, start
from tests.gateway.test_admin import ask, chat, given, stream

from tieline.gateway import workers
from tieline.gateway.budgets.keys import KEYS_FILE, OverlayFile
from tieline.gateway.routing.route import State
from tieline.gateway.settings import Model, ModelOffer, Settings, SettingsError, Tariff

PRICES = {"input_usd_per_mtok": "0.1", "output_usd_per_mtok": "0.4"}


def test_thirty_operations_under_traffic_fail_no_request(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(pause_s=0.01) as one, Scripted(pause_s=0.01) as two, Scripted(pause_s=0.01) as three:
            now = given(one.url)
            file: list[Any] = [now]

            def load() -> Settings:
                if isinstance(file[0], Exception):
                    raise file[0]
                return file[0]  # type: ignore[no-any-return]

            async with start(now, tmp_path, load=load) as g:
                secrets, stop, found = ["old"], asyncio.Event(), Counter[str]()

                async def client(number: int) -> None:
                    model = "m"
                    while not stop.is_set():
                        if number % 2:
                            found[await chat(g, secrets[-1], model=model)] += 1
                        else:
                            found["" if b"[DONE]" in await stream(g, secrets[-1]) else "cut"] += 1

                async def do(method: str, path: str, given: object = None, status: int = 200) -> Any:
                    code, answer = await ask(g, method, path, given)
                    assert code == status, (path, answer)
                    await asyncio.sleep(0.05)
                    return answer

                clients = [asyncio.create_task(client(n)) for n in range(4)]
                await do("POST", "/admin/engines/two", {"url": two.url})
                await do("POST", "/admin/engines/three", {"url": three.url})
                await g.ready(3)
                for name, engine in (("two", three), ("three", two), ("two", two), ("three", three)):
                    await do("POST", f"/admin/engines/{name}", {"url": engine.url})  # comes back elsewhere
                    await g.ready(3)
                first = next(iter(g.svc.settings.engines)).name
                await do("DELETE", f"/admin/engines/{first}")
                for n in range(5):
                    await do("POST", "/admin/models/m", PRICES | {"output_usd_per_mtok": f"0.{n + 4}"})
                await do("POST", "/admin/models/house", {"upstream_name": "m", **PRICES})
                await do("POST", "/admin/models/house", {"aliases": ["home"]})
                assert await chat(g, "old", model="home") == ""
                await do("POST", "/admin/models/spare", {"fallbacks": ["m"]})
                for _ in range(4):
                    rotated = await do("POST", "/admin/keys/acme-old/rotate", {"overlap_s": 60})
                    secrets.append(rotated["key"])
                await do("POST", "/admin/tenants/acme", {"weight": 3})
                await do("POST", "/admin/tenants/acme", {"limits": {"requests_per_minute": 100_000}})
                made = await do("POST", "/admin/keys", {"id": "more", "tenant": "acme"}, 201)
                assert await chat(g, made["key"]) == ""
                await do("POST", "/admin/keys/more", {"limits": {"concurrent": 1}})
                await do("DELETE", "/admin/keys/more")
                file[0] = SettingsError("gateway.toml: is not TOML: line 3")
                assert "line 3" in (await do("POST", "/admin/reload", status=400))["error"]["message"]
                file[0] = msgspec.structs.replace(now, keys=())
                await do("POST", "/admin/reload", status=400)  # nobody's slip opens the door
                file[0] = msgspec.structs.replace(now, port=1, queue_length=7, origins=("http://page",))
                assert (await do("POST", "/admin/reload"))["after_restart"] == ["port", "queue_length"]
                assert b"http://page" in g.svc.origins
                await do("DELETE", "/admin/models/house")
                await do("POST", f"/admin/engines/{first}", {"url": one.url})
                await do("DELETE", "/admin/engines/two")
                await do("POST", "/admin/tenants/other", {"weight": 1})
                await do("DELETE", "/admin/tenants/other")
                stop.set()
                await asyncio.gather(*clients)
                assert set(found) == {""}
                assert found[""] > 30
                _, trail = await ask(g, "GET", "/admin/audit")
                assert len(trail["data"]) >= 28
                async with asyncio.timeout(5):
                    while len(g.svc.backends) > 2:  # those that left are forgotten
                        await asyncio.sleep(0.05)

            async with start(now, tmp_path, load=load) as g:  # all of it holds after a restart
                await g.ready(1)
                assert {one.name for one in g.svc.settings.engines} >= {"three"}
                assert await chat(g, secrets[-1]) == ""
                assert await chat(g, "old") == ""  # for a while
                assert await chat(g, made["key"]) == "invalid_api_key"

    asyncio.run(body())


def test_a_rotated_key_has_two_secrets_for_a_while_and_then_one(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(given(engine.url), tmp_path) as g:
            _, made = await ask(g, "POST", "/admin/keys/acme-old/rotate", {"overlap_s": 1})
            assert "sha256" not in json.dumps(made)
            assert (await chat(g, made["key"]), await chat(g, "old")) == ("", "")
            async with asyncio.timeout(5):
                while await chat(g, "old") == "":
                    await asyncio.sleep(0.1)
            assert await chat(g, "old") == "expired_api_key"
            assert await chat(g, made["key"]) == ""
            # At once, and safe to repeat: who lost the answer asks again.
            _, now = await ask(g, "POST", "/admin/keys/acme-old/rotate", {"overlap_s": 0})
            assert (await chat(g, made["key"]), await chat(g, now["key"])) == ("invalid_api_key", "")
            secrets = [now["key"]]
            for _ in range(8):
                _, again = await ask(g, "POST", "/admin/keys/acme-old/rotate")
                secrets.append(again["key"])
            assert [await chat(g, one) for one in secrets] == [""] * 9
            assert (await ask(g, "POST", "/admin/keys/acme-old/rotate"))[0] == 409
            assert (await ask(g, "POST", "/admin/keys/acme-old/rotate", {"overlap_s": -1}))[0] == 400
            assert (await ask(g, "DELETE", "/admin/keys/acme-old"))[0] == 200
            assert {await chat(g, one) for one in secrets} == {"invalid_api_key"}

    asyncio.run(body())


def test_a_tenant_is_disabled_and_deleted(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("w ",) * 10, pause_s=0.03) as engine, start(given(engine.url), tmp_path) as g:
            running = asyncio.create_task(stream(g, "old"))
            await asyncio.sleep(0.1)
            assert (await ask(g, "POST", "/admin/tenants/acme", {"disabled": True}))[0] == 200
            assert await chat(g, "old") == "tenant_disabled"
            assert (await ask(g, "GET", "/v1/files", key="old"))[1]["error"]["code"] == "tenant_disabled"
            assert b"[DONE]" in await running  # what runs goes on
            assert (await ask(g, "POST", "/admin/tenants/acme", {"disabled": False}))[0] == 200
            assert await chat(g, "old") == ""
            assert (await ask(g, "DELETE", "/admin/tenants/acme"))[0] == 200
            assert await chat(g, "old") == "invalid_api_key"
            assert (await ask(g, "POST", "/admin/tenants/acme", {}))[0] == 409
            assert (await ask(g, "POST", "/admin/keys", {"tenant": "acme"}))[0] == 400
            for path, change in (("DELETE", None), ("POST", {"disabled": True})):
                assert (await ask(g, path, "/admin/tenants/ops", change))[0] == 409  # the last admin's

    asyncio.run(body())


def test_a_tariff_begins_at_its_moment_for_what_is_admitted_then(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(given(engine.url), tmp_path) as g:
            soon = datetime.now(UTC) + timedelta(seconds=1)
            later = {"since": soon.isoformat(), "input_usd_per_mtok": "0", "output_usd_per_mtok": "7"}
            status, _ = await ask(g, "POST", "/admin/models/m", {"tariffs": [later]})
            assert status == 200
            _, prices = await ask(g, "GET", "/v1/prices", key="old")
            (line,) = prices["data"]
            assert (line["output_usd_per_mtok"], len(line["later"])) == ("0.4", 1)
            assert await chat(g, "old") == ""
            async with asyncio.timeout(5):
                while g.svc.models["m"].output_nano != 7_000:
                    await asyncio.sleep(0.05)
            assert datetime.now(UTC) >= soon
            assert await chat(g, "old") == ""
            await g.quiet()
            costs = [(one.cost_nano_usd, one.output_tokens) for one in g.usage() if hasattr(one, "cost_nano_usd")]
            assert costs[0][0] < costs[1][0] == costs[1][1] * 7_000
            _, prices = await ask(g, "GET", "/v1/prices", key="old")
            assert (prices["data"][0]["output_usd_per_mtok"], prices["data"][0]["later"]) == ("7", [])

    asyncio.run(body())


def test_the_newest_tariff_that_has_begun_holds_in_any_order() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    tariffs = [
        Tariff(since=begin + timedelta(days=n), input_usd_per_mtok=Decimal(n), output_usd_per_mtok=Decimal(n))
        for n in (2, 1, 3)
    ]
    model = Model(name="m", input_usd_per_mtok=Decimal(9), tariffs=tuple(tariffs))
    for days, price in ((0, 9), (1, 1), (2, 2), (2.5, 2), (3, 3), (99, 3)):
        assert ModelOffer.of(model, begin + timedelta(days=days)).input_nano == price * 1000
    with pytest.raises(ValueError, match="same moment"):
        Model(name="m", tariffs=(tariffs[0], tariffs[0]))


def test_another_model_answers_under_its_own_name_and_tariff_while_one_cannot(tmp_path: Path) -> None:
    async def body() -> None:
        models = (
            Model(name="m", output_usd_per_mtok=Decimal("0.4")),
            Model(name="big", output_usd_per_mtok=Decimal(9), fallbacks=("gone", "m")),
            Model(name="gone"),
        )
        async with Scripted() as engine, start(given(engine.url, models=models), tmp_path) as g:
            body = {"model": "big", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
            status, answer = await ask(g, "POST", "/v1/chat/completions", body, "old")
            assert (status, answer["model"]) == (200, "m")
            await g.quiet()
            (usage,) = g.usage()
            assert (usage.model, usage.cost_nano_usd) == ("m", usage.output_tokens * 400)
            await ask(g, "POST", "/admin/keys/acme-old", {"models": ["big"]})
            assert await chat(g, "old", model="big") == "no_capacity"  # a key that may not use the other one

    asyncio.run(body())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/admin/models/m", {"input_usd_per_mtok": "NaN"}, 400),
        ("POST", "/admin/models/m", {"colour": 1}, 400),
        ("POST", "/admin/models/new", {"aliases": ["m"]}, 400),
        ("POST", "/admin/models/m", {"fallbacks": ["nobody"]}, 400),
        ("POST", "/admin/models/m", {"tariffs": [{"since": "2026-01-01T00:00:00", "input_usd_per_mtok": 1}]}, 400),
        ("DELETE", "/admin/models/m", None, 409),
        ("DELETE", "/admin/models/nobody", None, 404),
        ("POST", "/admin/engines/new", {}, 400),
        ("POST", "/admin/engines/new", {"url": "ftp://x"}, 400),
        ("POST", "/admin/engines/new", {"url": "http://x", "key_env": "HOME"}, 400),
        ("DELETE", "/admin/engines/nobody", None, 404),
        ("POST", "/admin/reload", None, 409),
        ("PUT", "/admin/models/m", {}, 405),
        ("GET", "/admin/models/m/x", None, 404),
        ("GET", "/v1/usage?limit=0", None, 400),
        ("GET", "/v1/usage?since=rubbish", None, 400),
        ("POST", "/v1/usage", {}, 405),
    ],
)
def test_what_is_refused_changes_nothing(tmp_path: Path, method: str, path: str, body: object, status: int) -> None:
    async def run() -> None:
        async with Scripted() as engine, start(given(engine.url), tmp_path) as g:
            before = g.svc.settings
            found, answer = await ask(g, method, path, body)
            assert (found, "error" in answer) == (status, True), answer
            assert g.svc.settings == before
            assert await chat(g, "old") == ""

    asyncio.run(run())


def test_a_key_reads_its_own_usage_limits_and_prices(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("a ", "b ")) as engine, start(given(engine.url), tmp_path) as g:
            await ask(g, "POST", "/admin/tenants/acme", {"projects": [{"id": "side"}],
                      "limits": {"budget_usd": "1", "requests_per_minute": 50, "concurrent": 4}})  # fmt: skip
            _, side = await ask(g, "POST", "/admin/keys", {"id": "side", "tenant": "acme", "project": "side"})
            for key in ("old", "old", side["key"], "root"):
                assert await chat(g, key, max_tokens=2) == ""
            await g.quiet()
            for key, requests in (("old", 2), (side["key"], 1), ("books", 3), ("root", 1)):
                _, found = await ask(g, "GET", "/v1/usage", key=key)
                assert found["total"]["requests"] == requests, key
            _, limits = await ask(g, "GET", "/v1/limits", key="old")
            (scope,) = limits["data"]
            assert scope["scope"] == "tenant:acme"
            assert scope["requests_per_minute"]["limit"] == 50 > scope["requests_per_minute"]["remaining"] >= 47
            assert scope["concurrent"] == {"limit": 4, "remaining": 4}
            spent = Decimal(1) - Decimal(scope["budget_usd"]["remaining"])
            assert (
                spent == sum(Decimal(u.cost_nano_usd) for u in g.usage() if getattr(u, "tenant", "") == "acme") / 10**9
            )
            _, prices = await ask(g, "GET", "/v1/prices", key="old")
            assert prices["data"][0] == {
                "model": "m", "aliases": [], "fallbacks": [], "input_usd_per_mtok": "0.1", "later": [],
                "cached_usd_per_mtok": "0.1", "output_usd_per_mtok": "0.4",
            }  # fmt: skip
            raw = await g.raw(
                b"GET /v1/usage?format=csv HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer old\r\n\r\n"
            )
            assert b"text/csv" in raw
            assert raw.rpartition(b"\r\n\r\n")[2].splitlines()[0].startswith(b"project,key_id,model,requests")
            assert (await ask(g, "GET", "/v1/usage", key="wrong"))[0] == 401

    asyncio.run(body())


def test_a_preflight_allows_what_clients_send(tmp_path: Path) -> None:
    async def body() -> None:
        page = "https://page.example"
        async with Scripted() as engine, start(settings(engine.url, origins=(page,)), tmp_path) as g:
            asked = f"OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\norigin: {page}\r\n"
            asked += "access-control-request-headers: openai-organization,openai-project\r\n\r\n"
            head = (await g.raw(asked.encode())).lower()
            assert b"openai-organization" in head
            assert b"openai-project" in head

    asyncio.run(body())


def test_processes_read_the_file_anew_when_told_so(tmp_path: Path) -> None:
    """What a worker is started with, and what it reads when another one was asked to reload."""
    file = tmp_path / "gateway.toml"
    file.write_text('[[engines]]\nurl = "http://127.0.0.1:1"\n[[models]]\nname = "a"\n')
    source = workers.SettingsSource(str(file), ("http://127.0.0.1:2",))
    assert [one.url for one in source.load().engines] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    again = msgspec.json.decode(msgspec.json.encode(source), type=workers.SettingsSource)
    file.write_text(file.read_text().replace('"a"', '"b"'))
    assert [one.name for one in again.load().models] == ["b"]


def test_a_process_that_was_not_asked_follows(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine:
            now = [given(engine.url)]
            async with (
                start(given(engine.url), tmp_path / "worker-0", load=lambda: now[0], shared=tmp_path) as one,
                start(given(engine.url), tmp_path / "worker-1", load=lambda: now[0], shared=tmp_path) as two,
            ):
                now[0] = given(engine.url, models=(Model(name="m"), Model(name="new", upstream_name="m")))
                assert (await ask(one, "POST", "/admin/reload"))[0] == 200
                async with asyncio.timeout(5):
                    while await chat(two, "old", model="new") != "":
                        await asyncio.sleep(0.05)

    asyncio.run(body())


def test_answers_say_what_they_cost_and_what_is_left(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(given(engine.url), tmp_path) as g:
            limits = {"requests_per_minute": 3, "tokens_per_minute": 1_000}
            await ask(g, "POST", "/admin/keys/acme-old", {"limits": limits})
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
            seen = []
            for _ in range(4):
                status, headers, _ = await g.post("/v1/chat/completions", body, "authorization: Bearer old\r\n")
                seen.append((status, headers.get("x-ratelimit-remaining-requests")))
                assert headers["x-ratelimit-limit-requests"] == "3"
                assert headers["x-ratelimit-limit-tokens"] == "1000"
                assert headers["x-ratelimit-reset-requests"].endswith("s")
            assert seen == [(200, "2"), (200, "1"), (200, "0"), (429, "0")]
            await g.quiet()
            costs = [one.cost_nano_usd for one in g.usage() if hasattr(one, "cost_nano_usd")]
            await ask(g, "POST", "/admin/keys/acme-old", {"limits": {}})
            _, headers, _ = await g.post("/v1/chat/completions", body, "authorization: Bearer old\r\n")
            assert Decimal(headers["x-tieline-cost-usd"]) * 10**9 == costs[-1] > 0
            assert "x-ratelimit-limit-requests" not in headers

    asyncio.run(body())


def test_metrics_tell_of_tenants_to_an_admin_alone(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("a ", "b ")) as engine, start(given(engine.url), tmp_path) as g:
            await ask(g, "POST", "/admin/tenants/acme", {"limits": {"budget_usd": "2"}})
            assert b"[DONE]" in await stream(g, "old")
            await g.quiet()

            async def metrics(key: str) -> str:
                asked = f"GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n"
                return (await g.raw(asked.encode())).decode()

            told = await metrics("root")
            assert 'tieline_gateway_tenant_requests_total{model="m",tenant="acme"} 1.0' in told
            assert 'tieline_gateway_tenant_tokens_total{kind="output",model="m",tenant="acme"} 2.0' in told
            assert 'tieline_gateway_budget_left_usd{scope="tenant:acme"} 1.99' in told
            assert 'tieline_gateway_token_seconds_count{model="m"} 1.0' in told
            for key in ("old", "books", "wrong"):
                assert "acme" not in await metrics(key)

    asyncio.run(body())


def test_a_replica_is_drained_in_every_process_and_stays_so(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine:
            id_ = engine.url.removeprefix("http://")
            for turn in range(2):  # also after a restart
                async with (
                    start(given(engine.url), tmp_path / "worker-0", shared=tmp_path, wait=not turn) as one,
                    AsyncExitStack() as later,
                ):
                    if not turn:
                        assert (await ask(one, "POST", f"/admin/replicas/{id_}", {"state": "draining"}))[0] == 200
                    two = await later.enter_async_context(
                        start(given(engine.url), tmp_path / "worker-1", shared=tmp_path, wait=False)
                    )
                    for g in (one, two):
                        async with asyncio.timeout(5):
                            while g.svc.backends[id_].state.value != "draining":
                                await asyncio.sleep(0.05)
                        g.svc.turn(g.svc.backends[id_], State.READY)  # whatever it says of itself
                        assert g.svc.backends[id_].state.value == "draining"
                    if turn:
                        assert (await ask(two, "POST", f"/admin/replicas/{id_}", {"state": "ready"}))[0] == 200
                        for g in (one, two):
                            await g.ready(1)
                        assert await chat(one, "old") == ""

    asyncio.run(body())


def test_a_file_with_a_mistake_holds_up_no_revocation(tmp_path: Path) -> None:
    """Told to read a broken file and of a revoked key in one go, a process does the second all the same."""

    async def body() -> None:
        async with Scripted() as engine:

            def load() -> Settings:
                raise SettingsError("gateway.toml: is not TOML")

            async with start(given(engine.url), tmp_path, load=load) as g:
                assert await chat(g, "old") == ""
                OverlayFile(tmp_path / KEYS_FILE).update(
                    lambda before: msgspec.structs.replace(before, loads=1, revoked=("acme-old",))
                )
                async with asyncio.timeout(5):
                    while await chat(g, "old") != "invalid_api_key":
                        await asyncio.sleep(0.05)

    asyncio.run(body())
