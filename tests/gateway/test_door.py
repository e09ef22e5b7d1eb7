"""The door against odd clients, byte by byte; and beside nginx, which it may not be laxer than."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.engines import Faults, Scripted
from tests.gateway.rig import Start, free_port, parse, settings
from tests.gateway.test_http import REFUSED

from tieline.gateway.settings import Clocks, Key, Tenant, hash_key
from tieline.store import StoreError

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 3}
TEXT = json.dumps(CHAT).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"


def error_of(answer: bytes) -> tuple[int, dict[str, Any]]:
    status, headers, body = parse(answer)
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"].startswith("req_")
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, error


def test_every_error_has_openais_shape(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted() as engine, gateway(settings(engine.url)) as g:
            for data, status in REFUSED.values():
                assert error_of(await g.raw(data, until_close=True))[0] == status
            for given, status, code in (
                (b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, "unknown_url"),
                (b"GET /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\r\n", 405, "method_not_allowed"),
                (b"DELETE /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n", 405, "method_not_allowed"),
                (b"GET /v1/models/none HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, "model_not_found"),
                (HEAD + b"content-length: 99999999999\r\n\r\n", 413, "bad_http"),
                (HEAD + b"content-length: 3\r\n\r\n{x}", 400, "invalid_json"),
                (HEAD + b"content-length: 2\r\n\r\n{}", 400, "missing_required_parameter"),
                (HEAD + b"content-length: 2\r\ncontent-encoding: gzip\r\n\r\n{}", 415, "unsupported_content_encoding"),
                (HEAD + b"origin: http://evil\r\ncontent-length: 2\r\n\r\n{}", 403, "origin_not_allowed"),
            ):
                found, error = error_of(await g.raw(given))
                assert (found, error["code"]) == (status, code)
            for change, param in (
                ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": "x"}, "max_tokens"), ({"n": 0}, "n"),
                ({"stream": "yes"}, "stream"), ({"messages": []}, "messages"), ({"messages": "x"}, "messages"),
                ({"model": 7}, "model"), ({"best_of": 3}, "best_of"),
            ):  # fmt: skip
                status, _, text = await g.post("/v1/chat/completions", {**CHAT, **change})
                assert (status, json.loads(text)["error"]["param"]) == (400, param)
            assert (await g.post("/v1/chat/completions", {**CHAT, "model": "other"}))[0] == 404

    asyncio.run(body())


def test_pipelined_chunked_and_slow_requests(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted() as engine, gateway(settings(engine.url)) as g:
            one = HEAD + b"content-length: %d\r\n\r\n" % len(TEXT) + TEXT
            chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(TEXT), TEXT)
            last = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(TEXT) + TEXT
            answer = await g.raw(one + chunked + b"\r\n" + one + last, until_close=True)
            assert answer.count(b"HTTP/1.1 200 OK") == 4
            assert answer.count(b'"finish_reason": "length"') == 4
            await g.quiet()
            assert len({u.request_id for u in g.usage()}) == 4
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
            for at in range(0, len(one), 7):  # a head and a body in small pieces
                writer.write(one[at : at + 7])
                await asyncio.sleep(0)
            assert (await reader.read(4096)).startswith(b"HTTP/1.1 200")
            writer.write(HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(TEXT))
            assert await reader.read(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(TEXT)
            assert (await reader.read(4096)).startswith(b"HTTP/1.1 200")
            writer.close()
            old = await g.raw(b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(TEXT) + TEXT)
            assert old.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in old

    asyncio.run(body())


def test_a_client_that_dawdles_is_sent_away(gateway: Start) -> None:
    async def body() -> None:
        clocks = Clocks(head_s=0.5, body_s=0.5, client_idle_s=0.5)
        async with Scripted() as engine, gateway(settings(engine.url, clocks=clocks)) as g:
            for part in (b"POST /v1", HEAD + b"content-length: 9\r\n\r\n{"):
                status, error = error_of(await g.raw(part, until_close=True))
                assert (status, error["code"]) == (408, "request_timeout")
            assert await g.raw(b"", until_close=True) == b""
            assert g.svc.stats.connections == 0

    asyncio.run(body())


def test_bodies_are_written_anew_for_the_engine(gateway: Start) -> None:
    """What a client repeats or hides reaches the engine once, and as it was admitted."""

    async def body() -> None:
        async with Scripted() as engine, gateway(settings(engine.url)) as g:
            text = TEXT[:-1] + b',"max_tokens":2,"temperature":1,"temperature":0.5}'
            await g.post("/v1/chat/completions", text)
            _, seen = engine.seen[-1]
            assert seen["max_tokens"] == 2
            assert seen["temperature"] == 0.5
            await g.post("/v1/chat/completions", {**CHAT, "max_tokens": None, "stream": True, "seed": 5})
            _, seen = engine.seen[-1]
            assert seen["max_tokens"] == 1024
            assert seen["stream_options"] == {"include_usage": True}
            assert seen["seed"] == 5

    asyncio.run(body())


def test_keep_alive_comments_come_before_the_first_token_only(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted() as engine, gateway(settings(engine.url)) as g:
            engine.gate.clear()
            asyncio.get_running_loop().call_later(0.7, engine.gate.set)
            _, _, answer = await g.post("/v1/chat/completions", {**CHAT, "stream": True})
            assert answer.count(b": keep-alive\n\n") >= 2
            assert answer.rindex(b": keep-alive") < answer.index(b'"content": "Z')
            for forbidden in (b"\nid:", b"\nretry:", b"data: \n", b"data:\n"):
                assert forbidden not in answer

    asyncio.run(body())


def test_the_same_idempotency_key_is_one_call_and_one_bill(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted() as engine, gateway(settings(engine.url)) as g:
            engine.gate.clear()
            asyncio.get_running_loop().call_later(0.2, engine.gate.set)
            call = lambda: g.post("/v1/chat/completions", CHAT, "Idempotency-Key: k1\r\n")  # noqa: E731
            first, second = await asyncio.gather(call(), call())
            third = await call()
            assert first[0] == second[0] == third[0] == 200
            assert first[2] == second[2] == third[2]
            assert len(g.usage()) == 1
            status, _, _ = await g.post("/v1/chat/completions", {**CHAT, "max_tokens": 2}, "Idempotency-Key: k1\r\n")
            assert status == 409

    asyncio.run(body())


def test_who_waits_is_served_in_turn_and_not_for_ever(gateway: Start) -> None:
    async def body() -> None:
        clocks = Clocks(queue_s=0.5, first_token_s=9.0)
        async with Scripted(slots=1) as engine, gateway(settings(engine.url, clocks=clocks, queue_length=2)) as g:
            await asyncio.sleep(0.1)
            for backend in g.svc.backends.values():
                assert backend.slots == 1
            engine.gate.clear()
            calls = [asyncio.create_task(g.post("/v1/chat/completions", CHAT)) for _ in range(4)]
            await asyncio.sleep(0.2)
            assert (len(g.svc.queue), g.svc.stats.requests["m", 429]) == (2, 1)
            await asyncio.sleep(0.6)
            engine.gate.set()
            statuses = sorted([(await one)[0] for one in calls])
            assert statuses == [200, 429, 503, 503]

    asyncio.run(body())


def test_a_browser_page_of_the_console_may_call_and_no_other(gateway: Start) -> None:
    async def body() -> None:
        keys = (Key(id="k", sha256=hash_key("sk"), tenant="t"),)
        given = {"tenants": (Tenant(id="t"),), "keys": keys, "origins": ("http://127.0.0.1:9999",)}
        async with Scripted() as engine, gateway(settings(engine.url, **given)) as g:
            asked = b"OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\norigin: %b\r\n\r\n"
            allowed = parse(await g.raw(asked % b"http://127.0.0.1:9999"))
            assert (allowed[0], allowed[1]["access-control-allow-origin"]) == (204, "http://127.0.0.1:9999")
            assert "access-control-allow-origin" not in parse(await g.raw(asked % b"http://evil"))[1]
            status, headers, _ = await g.post(
                "/v1/chat/completions", CHAT, "origin: http://127.0.0.1:9999\r\nauthorization: Bearer sk\r\n"
            )
            assert (status, headers["access-control-allow-origin"]) == (200, "http://127.0.0.1:9999")

    asyncio.run(body())


def test_a_gateway_killed_mid_stream_bills_from_its_last_progress(gateway: Start, tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(pause_s=0.05) as engine:
            async with gateway(settings(engine.url)) as g:
                task = asyncio.create_task(g.post("/v1/chat/completions", {**CHAT, "stream": True, "max_tokens": 100}))
                await asyncio.sleep(1.6)
                rows = g.svc.spool.unfinished()
                assert len(rows) == 1
                shutil.copytree(g.data, tmp_path / "after")  # the disk as a power cut would leave it
                task.cancel()
            engine.faults = Faults()
            async with gateway(settings(engine.url), data=tmp_path / "after") as g:
                await g.quiet()
                (usage,) = g.usage()
                assert usage.finish == "gateway_lost"
                assert 5 <= usage.output_tokens <= 32
                assert usage.estimated
                assert g.svc.spool.unfinished() == []

    asyncio.run(body())


def test_a_full_disk_admits_nothing_and_is_noticed_when_there_is_room_again(
    gateway: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def body() -> None:
        async with Scripted() as engine, gateway(settings(engine.url)) as g:
            await g.ready(1)
            with monkeypatch.context() as disk:
                disk.setattr(g.svc.spool, "_write", full)
                disk.setattr(g.svc.spool, "try_write", lambda: full_again())
                assert (await g.post("/v1/chat/completions", CHAT))[0] == 200
                await asyncio.sleep(1.5)
                assert (await g.post("/v1/chat/completions", CHAT))[0] == 503
            async with asyncio.timeout(10):
                while (await g.post("/v1/chat/completions", CHAT))[0] != 200:
                    await asyncio.sleep(0.1)
            await g.quiet()
            assert len(g.usage()) == 1

    def full_again() -> None:
        raise StoreError("full")

    asyncio.run(body())


def test_metrics_health_and_openapi(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted() as engine, gateway(settings(engine.url)) as g:
            await g.post("/v1/chat/completions", CHAT)
            text = parse(await g.raw(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"))[2].decode()
            assert 'tieline_gateway_requests_total{model="m",status="200"} 1.0' in text
            assert 'tieline_gateway_replica_live{replica="127.0.0.1' in text
            health = json.loads(parse(await g.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"))[2])
            assert health["ready"] is True
            document = json.loads(parse(await g.raw(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n"))[2])
            assert "/v1/chat/completions" in document["paths"]
            head = await g.raw(
                b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", until_close=True
            )
            assert head.endswith(b"\r\n\r\n")

    asyncio.run(body())


# --- beside nginx ------------------------------------------------------------------


ODD = [
    *(data for data, _ in REFUSED.values()),
    HEAD + b"transfer-encoding: chunked\r\n\r\n4\r\nwikiX\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    HEAD + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    HEAD + b"content-length: 1\r\n content-length: 2\r\n\r\n{}",
    HEAD + b"content-length: 02\r\n\r\n{}",
    HEAD + b"content-length:\r\n\r\n",
    HEAD + b"x\r\n\r\n",
    HEAD + b"x:\x7f\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nhost:\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /../../etc HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GE(T / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.12\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
    b"GET / http/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a..b:99999999\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
]


@pytest.mark.skipif(
    not (shutil.which("nginx") or os.path.exists("/usr/sbin/nginx")),
    reason="nginx is not installed: nothing to compare",
)
def test_nothing_passes_that_nginx_refuses(gateway: Start, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log crit;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;\n"
        f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{port}/ok; }}\n"
        "location /ok { return 200 ok; } } }\n"
    )
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([nginx, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)])

    def status(data: bytes, at: int) -> int:
        with socket.create_connection(("127.0.0.1", at), 2) as sock:
            sock.settimeout(0.6)
            sock.sendall(data)
            try:
                answer = sock.recv(65536)
            except OSError:
                return 0
        return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/") else 400  # 0.9 or nothing: refused

    async def body() -> None:
        async with Scripted() as engine, gateway(settings(engine.url, hosts=("a", "x", "h"))) as g:
            for _ in range(50):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
            refused = 0
            for data in ODD:
                theirs = await asyncio.to_thread(status, data, port)
                ours = await asyncio.to_thread(status, data, g.port)
                if theirs in (0, 400, 413, 414, 431, 494, 501, 505):
                    refused += 1
                    assert ours in (0, 400, 404, 413, 414, 417, 431, 501), f"nginx {theirs}, we {ours}: {data[:120]!r}"
            assert refused > 20
            assert [path for path, _ in engine.seen if path != "/props"] == []  # none of it reached an engine

    try:
        asyncio.run(body())
    finally:
        process.terminate()
        process.wait(5)
