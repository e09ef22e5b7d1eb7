"""Keys and limits at run time: made, used, changed, revoked, kept over a restart; and on record."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import Gateway, free_port, parse, settings, start

from tieline.gateway import workers
from tieline.gateway.budgets.keys import KEYS_FILE, Overlay, OverlayFile, over
from tieline.gateway.settings import Key, Limits, Settings, SettingsError, Tenant, hash_key

TENANTS = (Tenant(id="ops"), Tenant(id="acme"))
KEYS = (
    Key(id="root", sha256=hash_key("root"), tenant="ops", role="admin"),
    Key(id="acme-old", sha256=hash_key("old"), tenant="acme"),
    Key(id="acme-books", sha256=hash_key("books"), tenant="acme", role="billing"),
)


def given(url: str, **changes: Any) -> Settings:
    return settings(url, **({"tenants": TENANTS, "keys": KEYS} | changes))


async def ask(gateway: Gateway, method: str, path: str, body: object = None, key: str = "root") -> tuple[int, Any]:
    text = b"" if body is None else json.dumps(body).encode()
    answer = await gateway.raw(
        f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n"
        f"content-length: {len(text)}\r\n\r\n".encode()
        + text,
        until_close=True,
    )
    status, _, found = parse(answer)
    return status, json.loads(found) if found[:1] in (b"{", b"[") else found.decode()


async def chat(gateway: Gateway, key: str, **more: Any) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 3, **more}
    status, answer = await ask(gateway, "POST", "/v1/chat/completions", body, key)
    return "" if status == 200 else str(answer["error"]["code"])


async def stream(gateway: Gateway, key: str) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 20, "stream": True}
    _, _, text = await gateway.post("/v1/chat/completions", body, f"authorization: Bearer {key}\r\n")
    return text


def test_the_life_of_a_key(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine:
            async with start(given(engine.url), tmp_path) as gateway:
                status, made = await ask(
                    gateway, "POST", "/admin/keys",
                    {"id": "acme-new", "tenant": "acme", "models": ["m"], "limits": {"budget_usd": "0.00005"}},
                )  # fmt: skip
                assert (status, made["id"], made["role"]) == (201, "acme-new", "user")
                secret = made["key"]
                assert secret.startswith("sk-")
                text = (tmp_path / KEYS_FILE).read_text()
                assert secret not in text
                assert (tmp_path / KEYS_FILE).stat().st_mode & 0o077 == 0
                assert await chat(gateway, secret) == ""
                assert await chat(gateway, secret, max_tokens=900) == "insufficient_quota"
                _, found = await ask(gateway, "GET", "/admin/keys")
                assert [(one["id"], one["configured"]) for one in found["data"]] == [
                    ("root", True), ("acme-old", True), ("acme-books", True), ("acme-new", False),
                ]  # fmt: skip
                assert "sha256" not in json.dumps(found)
                assert (await ask(gateway, "POST", "/admin/keys/acme-new", {"limits": {}}))[0] == 200
                assert await chat(gateway, secret, max_tokens=900) == ""
                # A connection that is kept, with a head that repeats, hears of a revocation too.
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                request = json.dumps(
                    {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
                ).encode()
                head = (
                    f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n"
                    f"content-length: {len(request)}\r\n\r\n"
                ).encode()
                for turn, expected in enumerate((b"200", b"200", b"401")):
                    if turn == 2:
                        assert (await ask(gateway, "DELETE", "/admin/keys/acme-new"))[1]["revoked"]
                    writer.write(head + request)
                    answer = await reader.readuntil(b"\r\n\r\n")
                    assert answer.split(b" ")[1] == expected
                    await reader.readexactly(int(answer.lower().partition(b"content-length:")[2].partition(b"\r")[0]))
                writer.close()
                assert (await ask(gateway, "DELETE", "/admin/keys/acme-old"))[0] == 200
                assert await chat(gateway, "old") == "invalid_api_key"
                status, refused = await ask(gateway, "POST", "/admin/keys", {"id": "acme-new", "tenant": "acme"})
                assert (status, refused["error"]["code"]) == (409, "conflict")  # usage is kept under its name
                _, trail = await ask(gateway, "GET", "/admin/audit")
                assert [(one["by"], one["what"], one["target"]) for one in trail["data"]] == [
                    ("root", "revoke key", "acme-old"),
                    ("root", "revoke key", "acme-new"),
                    ("root", "change key", "acme-new"),
                    ("root", "make key", "acme-new"),
                ]
            # A key of the configuration that was revoked stays so after a restart.
            async with start(given(engine.url), tmp_path) as gateway:
                assert await chat(gateway, "old") == "invalid_api_key"
                assert await chat(gateway, secret) == "invalid_api_key"

    asyncio.run(body())


def test_limits_of_a_tenant_hold_for_what_comes_and_count_what_runs(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("w ",) * 20, pause_s=0.05) as engine, start(given(engine.url), tmp_path) as gateway:
            running = asyncio.create_task(stream(gateway, "old"))
            await asyncio.sleep(0.3)
            status, found = await ask(
                gateway, "POST", "/admin/tenants/acme",
                {"limits": {"concurrent": 1, "budget_usd": 0.5}, "latency_class": "batch"},
            )  # fmt: skip
            assert (status, found["latency_class"], found["limits"]["concurrent"]) == (200, "batch", 1)
            assert gateway.svc.exchanges
            assert b"[DONE]" in await running
            scope = gateway.svc.book.scopes["tenant:acme"]
            assert scope.budget is not None
            assert (scope.budget.reserved, scope.budget.granted) == (0, 500_000_000)
            first = asyncio.create_task(stream(gateway, "old"))
            async with asyncio.timeout(5):
                while not scope.live:
                    await asyncio.sleep(0.01)
            assert await chat(gateway, "old") == "concurrency_limit"
            assert (await ask(gateway, "POST", "/admin/tenants/acme", {"limits": {}}))[0] == 200
            assert await chat(gateway, "old") == ""
            assert b"[DONE]" in await first
            assert scope.budget is None
            await gateway.quiet()
            assert not scope.live
            status, made = await ask(gateway, "POST", "/admin/tenants/new-one", {"weight": 2})
            assert (status, made["weight"]) == (200, 2.0)
            status, made = await ask(gateway, "POST", "/admin/keys", {"tenant": "new-one"})
            assert await chat(gateway, made["key"]) == ""

    asyncio.run(body())


def test_usage_of_a_tenant_for_those_who_may_read_it(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(words=("a ", "b ")) as engine, start(given(engine.url), tmp_path) as gateway:
            for _ in range(3):
                assert await chat(gateway, "old", max_tokens=2) == ""
            assert await chat(gateway, "root", max_tokens=2) == ""
            await gateway.quiet()
            status, found = await ask(gateway, "GET", "/admin/tenants/acme/usage", key="books")
            assert status == 200
            (line,) = found["data"]
            assert (line["project"], line["key_id"], line["model"], line["requests"]) == ("default", "acme-old", "m", 3)
            mine = [one for one in gateway.usage() if getattr(one, "tenant", "") == "acme"]
            assert found["total"]["cost_nano_usd"] == sum(one.cost_nano_usd for one in mine) > 0
            assert found["total"]["output_tokens"] == 6
            _, none = await ask(gateway, "GET", "/admin/tenants/acme/usage?until=2020-01-01")
            assert none["total"]["requests"] == 0
            assert (await ask(gateway, "GET", "/admin/tenants/acme/usage?since=rubbish"))[0] == 400
            for method, path, key in (
                ("GET", "/admin/tenants/ops/usage", "books"),
                ("GET", "/admin/keys", "books"),
                ("GET", "/admin/tenants/acme/usage", "old"),
                ("POST", "/admin/keys", "old"),
                ("GET", "/admin/audit", "books"),
            ):
                assert (await ask(gateway, method, path, {}, key))[1]["error"]["code"] == "admin_only"
            assert await chat(gateway, "books") == "role_not_allowed"
            assert (await ask(gateway, "GET", "/v1/files", key="books"))[1]["error"]["code"] == "role_not_allowed"

    asyncio.run(body())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/admin/keys", {"tenant": "nobody"}, 400),
        ("POST", "/admin/keys", {"tenant": "acme", "limits": {"concurrent": 0}}, 400),
        ("POST", "/admin/keys", {"tenant": "acme", "id": "../x"}, 400),
        ("POST", "/admin/keys", {"tenant": "acme", "role": "god"}, 400),
        ("POST", "/admin/keys", {"tenant": "acme", "colour": 1}, 400),
        ("POST", "/admin/keys", {"tenant": "acme", "networks": ["nonsense"]}, 400),
        ("POST", "/admin/keys", [], 400),
        ("POST", "/admin/keys/nobody", {}, 404),
        ("DELETE", "/admin/keys/nobody", None, 404),
        ("DELETE", "/admin/keys/root", None, 409),
        ("PUT", "/admin/keys", {}, 405),
        ("GET", "/admin/nothing", None, 404),
        ("GET", "/admin/tenants/nobody/usage", None, 404),
        ("POST", "/admin/tenants/acme", {"max_usd_per_mtok": 0}, 400),
        ("POST", "/admin/replicas/nobody", {"state": "draining"}, 404),
    ],
)
def test_what_is_refused(tmp_path: Path, method: str, path: str, body: object, status: int) -> None:
    async def run() -> None:
        async with Scripted() as engine, start(given(engine.url), tmp_path) as gateway:
            found, answer = await ask(gateway, method, path, body)
            assert (found, "error" in answer) == (status, True), answer
            assert await chat(gateway, "old") == ""

    asyncio.run(run())


def test_all_processes_of_a_gateway_hear_of_it(tmp_path: Path) -> None:
    """Three processes; a key with a budget is made in one of them: all accept it, and none overshoots."""

    async def body() -> None:
        async with Scripted(words=("w ",) * 20, pause_s=0.0, slots=100) as engine:
            told = given(engine.url, port=free_port())
            stop = asyncio.Event()
            parent = asyncio.create_task(workers.supervise(told, tmp_path, 3, stop))
            gateway = Gateway(f"http://127.0.0.1:{told.port}/v1", tmp_path, None)  # type: ignore[arg-type]
            async with asyncio.timeout(90):
                while True:
                    try:
                        if await chat(gateway, "old") == "":
                            break
                    except (OSError, IndexError, ValueError):
                        pass
                    await asyncio.sleep(0.1)
            cost = 20 * 400 + 200 * 100  # an answer, and no more than its prompt's bound
            limits = {"budget_usd": str(Decimal(20 * cost) / 10**9)}
            _, made = await ask(gateway, "POST", "/admin/keys", {"id": "k", "tenant": "acme", "limits": limits})
            await asyncio.sleep(2.5)
            found = [await chat(gateway, made["key"], max_tokens=20) for _ in range(40)]
            assert set(found) <= {"", "insufficient_quota", "budget_unavailable"}
            assert found.count("") >= 20
            stop.set()
            await parent
            names = [workers.audit(tmp_path, f"worker-{i}") or {} for i in range(3)]
            spent = sum(value for one in names for name, value in one.items() if name.startswith("key:k|"))
            assert 0 < spent <= 20 * cost

    asyncio.run(body())


def test_a_file_that_cannot_be_read_is_not_guessed_at(tmp_path: Path) -> None:
    file = OverlayFile(tmp_path / KEYS_FILE)
    assert file.read() == Overlay()
    (tmp_path / KEYS_FILE).write_text("{")
    with pytest.raises(SettingsError, match="cannot be read"):
        file.read()


def test_a_key_whose_tenant_left_the_configuration_is_no_longer_valid() -> None:
    made = Overlay(keys={"k": Key(id="k", sha256=hash_key("k"), tenant="gone", limits=Limits())})
    assert [key.id for key in over(given("http://127.0.0.1:1"), made).keys] == ["root", "acme-old", "acme-books"]
