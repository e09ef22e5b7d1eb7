"""Bytes that nobody should send: each costs what it came with, is answered in a frame, and nothing else notices."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import parse, settings, start
from tests.gateway.test_batches import ask as line_of
from tests.gateway.test_batches import client_of, hand_in, lines_of, over

from tieline.gateway.batch import runner
from tieline.gateway.batch.in_hand import result_line
from tieline.gateway.requests import body as bodies
from tieline.gateway.routes import Paths
from tieline.gateway.settings import (
    Key,
    Limits,
    Model,
    RentedReplicas,
    Settings,
    SettingsError,
    Tenant,
    from_plain,
    hash_key,
)
from tieline.store.batches import StoredLine

DEEP = b'{"a":' * 50_000
ARRAYS = b"[" * 100_000
KEYS = (
    Key(id="root", sha256=hash_key("root"), tenant="ops", role="admin"),
    Key(id="user", sha256=hash_key("user"), tenant="ops"),
)


def keyed(*urls: str, **more: Any) -> Settings:
    return settings(*urls, **({"tenants": (Tenant(id="ops"),), "keys": KEYS} | more))


async def whole(client: openai.AsyncOpenAI, text: bytes) -> Any:
    file = await client.files.create(file=("requests.jsonl", text), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


@pytest.mark.parametrize("text", [DEEP, ARRAYS, b'{"custom_id":"c","method":"POST","url":"x","body":' + DEEP])
def test_a_poisoned_file_costs_its_own_batch_and_its_owner_is_told(tmp_path: Path, text: bytes) -> None:
    async def body() -> None:
        async with Scripted(slots=4) as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            bad = await whole(client, text)
            good = await hand_in(client, *(line_of(n) for n in range(3)))
            assert (await over(client, good)).request_counts.completed == 3
            failed = await over(client, bad)
            assert failed.status == "failed"
            (fault,) = failed.errors.data
            assert (fault.code, fault.line) == ("invalid_json_line", 1)

    asyncio.run(body())


def test_whatever_goes_wrong_with_a_line_or_a_batch_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults that nobody thought of, in reading a line and in reading a file."""
    plain_read, plain_lines = bodies.read, runner.read_lines

    def read(kind: bodies.Kind, text: bytes, continuity: bytes | None = None) -> Any:
        if b"line 1" in text:
            raise ZeroDivisionError("a fault of ours")
        return plain_read(kind, text, continuity)

    def read_lines(content: bytes, endpoint: str) -> Any:
        if b"line 77" in content:
            raise KeyError("another")
        return plain_lines(content, endpoint)

    monkeypatch.setattr(bodies, "read", read)
    monkeypatch.setattr(runner, "read_lines", read_lines)

    async def body() -> None:
        async with Scripted(slots=4) as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            bad = await hand_in(client, line_of(77))
            good = await hand_in(client, *(line_of(n) for n in range(3)))
            done = await over(client, good)
            assert (done.request_counts.completed, done.request_counts.failed) == (2, 1)
            rows = await lines_of(client, done.error_file_id)
            assert rows["c1"]["response"]["body"]["error"]["code"] == "internal_error"
            failed = await over(client, bad)
            assert (failed.status, failed.errors.data[0].code) == ("failed", "batch_failed")
            # The fault was in one request as well: a frame, and the connection ends cleanly.
            status, _, text = await g.post("/v1/chat/completions", line_of(1)["body"])
            assert (status, json.loads(text)["error"]["code"]) == (500, "internal_error")

    asyncio.run(body())


def test_the_runner_survives_faults_of_its_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thrown = []
    plain = runner.Runner._find

    async def find(self: runner.Runner) -> None:
        if not thrown:
            thrown.append(1)
            raise RuntimeError("once")
        await plain(self)

    monkeypatch.setattr(runner.Runner, "_find", find)

    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            assert (await over(client, await hand_in(client, line_of(1)))).request_counts.completed == 1
            assert thrown

    asyncio.run(body())


def test_a_runner_that_is_woken_and_cancelled_at_once_ends(tmp_path: Path) -> None:
    """One that went on would hold the lock while its store is closed, and the next process would wait for ever."""

    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g:
            other = runner.Runner(g.svc, None, tmp_path / "other.lock")  # type: ignore[arg-type]

            async def nothing() -> None:
                return None

            other._step = nothing  # type: ignore[method-assign]
            for steps in range(6):
                task = asyncio.create_task(other.run())
                await asyncio.sleep(0.05)
                other.wake()
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=3)
                assert done, steps

    asyncio.run(body())


def test_no_task_outlives_its_gateway(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            await over(client, await hand_in(client, line_of(1)))
        left = [str(one) for one in asyncio.all_tasks() if "tieline/gateway" in str(one)]
        assert not left

    asyncio.run(body())


def test_an_answer_over_several_lines_is_one_line_of_a_result() -> None:
    line = StoredLine(0, "c", b"", 0)
    assert json.loads(result_line("i", line, 200, b'{\n "a": 1\n}', None))["response"]["body"] == {"a": 1}
    assert result_line("i", line, 200, b'{\n "a": 1\n}', None).count(b"\n") == 1
    assert json.loads(result_line("i", line, 200, b"{\n", None))["error"]["code"] == "engine_error"


# --- requests -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [DEEP, ARRAYS, b'{"model":"m","messages":' + ARRAYS, b'{"model":"m","x":' + DEEP])
def test_deep_json_is_refused_at_every_door(tmp_path: Path, text: bytes) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(keyed(engine.url), tmp_path) as g:
            for path in (
                "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/rerank",
                "/v1/batches", "/admin/keys", "/admin/keys/user", "/admin/tenants/ops",
            ):  # fmt: skip
                began = time.monotonic()
                status, _, answer = await g.post(path, text, "authorization: Bearer root\r\n")
                assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error"), path
                assert time.monotonic() - began < 2

    asyncio.run(body())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "text", [DEEP, ARRAYS, b'{"choices":' + ARRAYS, b'{"choices":[{"index":0,"message":' + DEEP, b'{"choices":[1e999]}']
)
def test_an_engine_that_answers_rubbish_costs_its_request(tmp_path: Path, stream: bool, text: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                await reader.readexactly(size)
                given = b'{"data":[{"id":"m"}]}' if b"/v1/models" in head else text
                kind = b"application/json"
                if stream and b"/v1/models" not in head:
                    given, kind = b"data: " + text + b"\n\n", b"text/event-stream"
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(given), given)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    async def body() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, start(settings(url), tmp_path) as g:
            began = time.monotonic()
            asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": stream}
            status, _, found = await g.post("/v1/chat/completions", asked)
            assert status >= 500 or b'"error"' in found
            assert time.monotonic() - began < 4
            assert (await g.post("/v1/nothing", {}))[0] == 404

    asyncio.run(body())


def test_a_fault_of_ours_is_a_framed_answer_with_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def route(*_: Any) -> None:
        raise LookupError("nobody expected this")

    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g:
            monkeypatch.setattr(Paths, "_identify", route)
            monkeypatch.setattr(Paths, "_read", route)
            for path in (b"POST /v1/completions", b"GET /v1/models"):
                raw = await g.raw(path + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", until_close=True)
                status, headers, text = parse(raw)
                assert (status, headers["connection"]) == (500, "close")
                assert headers["x-request-id"] in json.loads(text)["error"]["message"]

    asyncio.run(body())


def test_a_fault_in_a_task_that_answers_is_a_framed_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise LookupError("nobody expected this")

    async def body() -> None:
        async with Scripted() as engine, start(keyed(engine.url), tmp_path) as g:
            monkeypatch.setattr("tieline.gateway.admin.Admin._do", fail)
            monkeypatch.setattr("tieline.gateway.batch.files.Files.answer", fail)
            for path in ("/admin/keys", "/v1/files"):
                status, _, text = await g.post(path, {}, "authorization: Bearer root\r\n")
                assert (status, json.loads(text)["error"]["code"]) == (500, "internal_error")

    asyncio.run(body())


def test_one_request_whose_clock_fails_does_not_stop_the_clocks_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tieline.gateway.requests.exchange import Exchange

    plain = Exchange.tick

    def tick(self: Exchange, now: float) -> None:
        if b"poison" in bytes(self.state.request.fields["messages"]):
            raise LookupError("nobody expected this")
        plain(self, now)

    monkeypatch.setattr(Exchange, "tick", tick)

    async def body() -> None:
        async with Scripted(words=("a ",) * 30, pause_s=0.05) as engine, start(settings(engine.url), tmp_path) as g:

            async def chat(word: str) -> bytes:
                messages = [{"role": "user", "content": word}]
                asked = {"model": "m", "messages": messages, "max_tokens": 30, "stream": True}
                return (await g.post("/v1/chat/completions", asked))[2]

            bad, good = await asyncio.gather(chat("poison"), chat("well"))
            assert b'"internal_error"' in bad
            assert b"[DONE]" not in bad
            assert b"[DONE]" in good

    asyncio.run(body())


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain door
        b"GET / HTTP/1.1\nhost: localhost\n\n",
        b"hello\r\n",
        b"\x00" * 64,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"a" * 9_000,
        b"SSH-2.0-x\r\n",
        b"{" * 1_000,
    ],
)
def test_what_is_no_http_is_answered_at_once(tmp_path: Path, data: bytes) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g:
            began = time.monotonic()
            status, _, _ = parse(await g.raw(data))
            assert 400 <= status < 500
            assert time.monotonic() - began < 2

    asyncio.run(body())


def test_a_connection_too_many_is_told_so(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url, max_connections=1), tmp_path) as g:
            _, writer = await asyncio.open_connection("127.0.0.1", g.port)
            await asyncio.sleep(0.05)
            status, headers, _ = parse(await g.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"))
            assert (status, headers["connection"]) == (503, "close")
            writer.close()

    asyncio.run(body())


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/admin/tenants/ops", {"limits": {"budget_usd": "NaN"}}),
        ("/admin/tenants/ops", {"limits": {"budget_usd": "Infinity"}}),
        ("/admin/tenants/ops", {"limits": {"budget_usd": "1e400"}}),
        ("/admin/tenants/ops", b'{"limits": {"budget_usd": 1e400}}'),
        ("/admin/tenants/ops", {"limits": {"budget_usd": "1e999999999"}}),
        ("/admin/tenants/ops", {"limits": {"budget_usd": "1e-400"}}),
        ("/admin/tenants/ops", {"limits": {"requests_per_minute": 10**30}}),
        ("/admin/tenants/ops", b'{"weight": 1e400}'),
        ("/admin/tenants/ops", {"weight": "nan"}),
        ("/admin/tenants/ops", {"max_usd_per_mtok": "inf"}),
        ("/admin/tenants/ops", {"projects": [{"id": "a/b"}]}),
        ("/admin/keys", {"tenant": "ops", "expires": "2030-01-01T00:00:00"}),
        ("/admin/keys/user", {"expires": "2030-01-01T00:00:00"}),
        ("/admin/keys", {"tenant": "ops", "project": "x/y"}),
        ("/admin/keys", b"\xff"),
    ],
)
def test_values_that_nothing_inside_could_digest_are_refused(tmp_path: Path, path: str, change: Any) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(keyed(engine.url), tmp_path) as g:
            status, _, text = await g.post(path, change, "authorization: Bearer root\r\n")
            assert (status, json.loads(text)["error"]["type"]) == (400, "invalid_request_error"), text
            asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
            assert (await g.post("/v1/chat/completions", asked, "authorization: Bearer user\r\n"))[0] == 200

    asyncio.run(body())


@pytest.mark.parametrize(
    "given",
    [
        {"tenants": [{"id": "a/x"}]},
        {"tenants": [{"id": ""}]},
        {"tenants": [{"id": "a", "projects": [{"id": "x/y"}]}]},
        {"tenants": [{"id": "a", "limits": {"budget_usd": "nan"}}]},
        {"models": [{"name": "m", "input_usd_per_mtok": float("nan")}]},
        {"models": [{"name": "m", "input_usd_per_mtok": "1e400"}]},
        {"engines": [{"url": "http://h:1", "slots": 0}]},
        {"clocks": {"idle_s": float("nan")}},
        {"clocks": {"idle_s": -1}},
        {"kwh_per_mtok": float("inf")},
        {"failover_share": float("nan")},
        {"port": 70_000},
    ],
)
def test_a_file_with_such_values_is_refused_in_one_line(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as error:
        from_plain(given, "file")
    assert "\n" not in str(error.value)


def test_two_keys_never_share_a_secret() -> None:
    with pytest.raises(ValueError, match="one secret"):
        Settings(
            tenants=(Tenant(id="a"),),
            keys=tuple(Key(id=name, sha256=hash_key("same"), tenant="a") for name in ("one", "two")),
        )


def test_money_stays_within_a_sum_of_64_bits() -> None:
    assert Limits(budget_usd=Decimal(10**9)).budget_nano_usd == 10**18 < 2**63
    with pytest.raises(ValueError, match="budget_usd"):
        Limits(budget_usd=Decimal(10**9) + 1)
    with pytest.raises(ValueError, match="input_usd_per_mtok"):
        Model(name="m", input_usd_per_mtok=Decimal("0.0001"))
    assert RentedReplicas.__struct_fields__
