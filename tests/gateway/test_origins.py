"""Who may call which door from where: a table of Host, Origin and method, for a gateway with keys and one without."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import Gateway, parse, settings, start
from tests.gateway.test_admin import ask, chat, given

from tieline.gateway.budgets.keys import ADMIN_KEY_FILE, KEYS_FILE, Overlay, OverlayFile, admin_key
from tieline.gateway.settings import Key, Tenant, hash_key

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
PAGE = "http://127.0.0.1:9000"  # the one that the configuration allows
HOSTS = {
    "localhost": True, "127.0.0.1": True, "127.0.0.1:8787": True, "[::1]:80": True, "LOCALHOST": True,
    "desk.local": True, "evil.example": False, "127.0.0.1.evil.example": False, "localhost.evil.example": False,
    "0.0.0.0": False, "10.0.0.1": False, "localhost.": False, "[::1": False,
}  # fmt: skip
ORIGINS = {None: True, PAGE: True, "own": True, "https://evil.example": False, "null": False, "file://": False}
# method, path, needs a key even where there are none
DOORS = (
    ("POST", "/v1/chat/completions", False), ("GET", "/v1/models", False), ("GET", "/v1/files", False),
    ("GET", "/v1/batches", False), ("GET", "/healthz", False), ("GET", "/health", False), ("GET", "/metrics", False),
    ("GET", "/readyz", False),
    ("GET", "/openapi.json", False), ("OPTIONS", "/v1/chat/completions", False), ("GET", "/admin/keys", True),
    ("POST", "/admin/keys", True), ("GET", "/admin/replicas", True), ("DELETE", "/admin/keys/none", True),
    ("GET", "/nothing", False), ("PUT", "/v1/models", False),
)  # fmt: skip


async def call(
    g: Gateway, method: str, path: str, host: str, origin: str | None, key: str = ""
) -> tuple[int, str, bool]:
    """(status, code of the error, may a page of that origin read it)."""
    text = json.dumps(CHAT if path.startswith("/v1/") else {}).encode() if method in ("POST", "PUT") else b""
    origin = f"http://{host}" if origin == "own" else origin
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {len(text)}\r\n"
    head += f"origin: {origin}\r\n" if origin is not None else ""
    head += f"authorization: Bearer {key}\r\n" if key else ""
    status, headers, body = parse(await g.raw(head.encode() + b"\r\n" + text, until_close=True))
    code = json.loads(body).get("error", {}).get("code", "") if status >= 400 else ""
    return status, code, headers.get("access-control-allow-origin") == origin is not None


def test_without_keys_only_this_machine_and_its_own_pages(tmp_path: Path) -> None:
    async def body() -> None:
        more = {"origins": (PAGE,), "hosts": ("desk.local",)}
        async with Scripted() as engine, start(settings(engine.url, **more), tmp_path) as g:
            for method, path, admin in DOORS:
                for host, local in HOSTS.items():
                    for origin, known in ORIGINS.items():
                        status, code, readable = await call(g, method, path, host, origin)
                        case = (method, path, host, origin, status, code)
                        assert readable == (local and origin == PAGE and host != "[::1"), case
                        if host == "[::1":
                            assert status == 400, case
                        elif not local:
                            assert (status, code) == (421, "host_not_allowed"), case
                        elif not known or (admin and origin == "own"):
                            assert (status, code) == (403, "origin_not_allowed"), case
                        elif admin:
                            assert (status, code) == (401, "invalid_api_key"), case
                        else:
                            assert code in ("", "unknown_url", "method_not_allowed"), case

    asyncio.run(body())


def test_with_keys_the_key_decides_and_no_page_administers(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(given(engine.url, origins=(PAGE,)), tmp_path) as g:
            for method, path, admin in DOORS:
                for host in ("localhost", "evil.example"):
                    for origin, known in ORIGINS.items():
                        for key in ("", "wrong", "root"):
                            status, code, readable = await call(g, method, path, host, origin, key)
                            case = (method, path, host, origin, key, status, code)
                            assert readable == (origin == PAGE), case
                            public = path in ("/healthz", "/health", "/readyz", "/metrics", "/openapi.json", "/nothing")
                            public = public or method in ("OPTIONS", "PUT")
                            if admin and (not known or origin == "own"):
                                assert (status, code) == (403, "origin_not_allowed"), case
                            elif key == "root" or public:
                                assert status < 300 or code in (
                                    "unknown_url", "method_not_allowed", "not_found", "invalid_value"
                                ), case  # fmt: skip
                            else:
                                assert status == 401, case

    asyncio.run(body())


def test_a_gateway_without_keys_is_administered_with_the_key_it_made(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine:
            for turn in range(2):  # also after a restart, and after keys were made
                async with start(settings(engine.url, tenants=(Tenant(id="acme"),)), tmp_path) as g:
                    secret = admin_key(tmp_path)
                    assert (tmp_path / ADMIN_KEY_FILE).stat().st_mode & 0o777 == 0o600
                    assert (await ask(g, "GET", "/admin/keys", key="anything"))[0] == 401
                    status, made = await ask(g, "POST", "/admin/keys", {"tenant": "acme"}, secret)
                    assert status == 201
                    assert (await ask(g, "GET", "/admin/keys", key=made["key"]))[1]["error"]["code"] == "admin_only"
                    assert await chat(g, made["key"]) == ""
                    assert await chat(g, "anything") == "invalid_api_key"
                    # The one key that was made had no role: that locks nobody out.
                    assert (await ask(g, "POST", "/admin/tenants/more", {}, secret))[0] == 200
                    _, trail = await ask(g, "GET", "/admin/audit", key=secret)
                    assert {one["by"] for one in trail["data"]} == {"local-admin"}, turn

    asyncio.run(body())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/admin/keys/root", None),
        ("POST", "/admin/keys/root", {"expires": "2020-01-01T00:00:00Z"}),
        ("POST", "/admin/keys/root", {"expires": "2190-01-01T00:00:00Z"}),
        ("POST", "/admin/keys/root", {"networks": ["203.0.113.0/24"]}),
    ],
)
def test_the_last_admin_stays(tmp_path: Path, method: str, path: str, body: Any) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    others = (  # none of these lasts or works from anywhere
        Key(id="soon", sha256=hash_key("soon"), tenant="ops", role="admin", expires=soon),
        Key(id="gone", sha256=hash_key("gone"), tenant="ops", role="admin", expires=soon - timedelta(days=9)),
        Key(id="near", sha256=hash_key("near"), tenant="ops", role="admin", networks=("203.0.113.0/24",)),
    )

    async def run() -> None:
        known = given("http://127.0.0.1:1").keys
        async with Scripted() as engine, start(given(engine.url, keys=known + others), tmp_path) as g:
            status, found = await ask(g, method, path, body)
            assert (status, found["error"]["code"]) == (409, "conflict")
            assert (await ask(g, "POST", "/admin/keys", {"id": "two", "tenant": "ops", "role": "admin"}))[0] == 201
            assert (await ask(g, method, path, body))[0] == 200

    asyncio.run(run())


# --- revocation ---------------------------------------------------------------------------------


def _overlay(*revoked: str) -> Overlay:
    return Overlay(revoked=revoked)


def test_what_is_written_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a process's read of the file and its look at the file's stamp, another process revokes a key."""
    here, there = OverlayFile(tmp_path / KEYS_FILE), OverlayFile(tmp_path / KEYS_FILE)
    there.update(lambda _: _overlay("a"))
    plain = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        text = plain(path)
        if path.name == KEYS_FILE:
            monkeypatch.setattr(Path, "read_bytes", plain)
            there.update(lambda _: _overlay("a", "b"))
        return text

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert here.read().revoked == ("a",)
    assert here.changed()
    assert here.read().revoked == ("a", "b")


def test_writes_within_one_tick_of_the_system_clock_are_all_seen(tmp_path: Path) -> None:
    here, there = OverlayFile(tmp_path / KEYS_FILE), OverlayFile(tmp_path / KEYS_FILE)
    for number in range(100):
        there.update(lambda _, n=number: _overlay(f"k{n % 10}"))  # type: ignore[misc]
        before = here.read()
        there.update(lambda _, n=number: _overlay(f"l{n % 10}"))  # type: ignore[misc]
        assert before.revoked[0].startswith("k")
        assert here.changed()
        assert here.read().revoked[0].startswith("l")
        for _ in range(3):  # and it comes to rest
            if here.changed():
                here.read()
        assert not here.changed()


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path: Path) -> None:
    file = OverlayFile(tmp_path / KEYS_FILE)
    file.update(lambda _: _overlay("a"))
    text = (tmp_path / KEYS_FILE).read_bytes()
    (tmp_path / KEYS_FILE).write_bytes(b"{")
    with pytest.raises(ValueError, match="cannot be read"):
        file.read()
    assert file.changed()
    (tmp_path / KEYS_FILE).write_bytes(text)
    assert file.read().revoked == ("a",)


def test_batches_run_on_keys_as_they_are_now(tmp_path: Path) -> None:
    from tests.gateway.test_batches import ask as line_of
    from tests.gateway.test_batches import client_of, hand_in, over

    async def body() -> None:
        async with Scripted(slots=4) as engine, start(given(engine.url), tmp_path) as g:
            _, made = await ask(g, "POST", "/admin/keys", {"id": "new", "tenant": "acme"})
            async with client_of(g, made["key"]) as client:
                assert (await over(client, await hand_in(client, line_of(1)))).request_counts.completed == 1
            async with client_of(g, "old") as client:
                engine.pause_s = 0.5
                await ask(g, "DELETE", "/admin/keys/acme-old")
            _, other = await ask(g, "POST", "/admin/keys", {"id": "other", "tenant": "acme"})
            async with client_of(g, other["key"]) as client:
                assert (await over(client, await hand_in(client, line_of(2)))).request_counts.completed == 1

    asyncio.run(body())
