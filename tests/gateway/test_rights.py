"""The gateway's doors by every kind of key: each path that its description lists, and each of `/admin`."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from tests.gateway.engines import Scripted
from tests.gateway.rig import start
from tests.gateway.test_admin import KEYS, ask, given

from tieline.gateway.openapi import document
from tieline.gateway.settings import Key, hash_key

ROLES = {"root": "admin", "old": "user", "books": "billing", "nobody": "none"}
# What a key that only reads may read, and what anybody may.
READS = {"/v1/usage", "/v1/limits", "/v1/prices", "/v1/models", "/v1/models/{model}"}
OPEN = {"/health", "/healthz", "/ready", "/readyz", "/readyz/region", "/metrics", "/openapi.json", "/version", "/ping"}
ADMIN = (
    ("GET", "keys"), ("POST", "keys"), ("GET", "keys/acme-old"), ("POST", "keys/acme-old"),
    ("POST", "keys/acme-old/rotate"), ("DELETE", "keys/acme-old"), ("GET", "tenants"), ("GET", "tenants/acme"),
    ("POST", "tenants/acme"), ("GET", "tenants/acme/usage"), ("GET", "tenants/ops/usage"), ("GET", "models"),
    ("GET", "replicas"), ("POST", "replicas/x"), ("GET", "audit"), ("GET", "nothing"),
)  # fmt: skip


def described() -> list[tuple[str, str]]:
    """(method, path) of all that the description lists."""
    paths = json.loads(document())["paths"]
    return [(method.upper(), path) for path, calls in paths.items() for method in calls if method in METHODS]


METHODS = ("get", "post", "delete", "put", "patch")


def test_every_path_with_every_kind_of_key(tmp_path: Path) -> None:
    wrong: list[tuple[str, str, str, int, str]] = []
    asked = 0

    async def run() -> None:
        nonlocal asked
        async with Scripted() as engine, start(given(engine.url), tmp_path) as gateway:
            for key, role in ROLES.items():
                for method, path in [*described(), *((m, f"/admin/{p}") for m, p in ADMIN)]:
                    if role == "admin" and path.startswith("/admin/") and method != "GET":
                        continue  # they would be done; test_admin does them
                    status, answer = await ask(gateway, method, re.sub(r"\{.*?\}", "x", path), {}, key)
                    code = str(answer.get("error", {}).get("code", "")) if isinstance(answer, dict) else ""
                    asked += 1
                    if not _right(role, method, path, status):
                        wrong.append((role, method, path, status, code))

    asyncio.run(run())
    assert wrong == []
    assert asked > 150


def _right(role: str, method: str, path: str, status: int) -> bool:
    refused = status in (401, 403)  # messages have errors of another shape, without a code
    if path in OPEN:
        return not refused
    if role == "none":
        return status == 401
    if path.startswith("/admin/"):
        own = role == "billing" and (method, path) == ("GET", "/admin/tenants/acme/usage")
        return refused != (role == "admin" or own)
    return refused != (role != "billing" or path in READS)


def test_no_key_reaches_what_another_tenant_s_key_keeps(tmp_path: Path) -> None:
    """200 tries at a file and a batch by their ids: each is 404, as what never was."""

    async def run() -> None:
        rival = Key(id="rival", sha256=hash_key("rival"), tenant="ops")
        async with Scripted() as engine, start(given(engine.url, keys=(*KEYS, rival)), tmp_path) as gateway:
            words = {"model": "m", "messages": [{"role": "user", "content": "secret words"}]}
            line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": words}
            form = (
                '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
                '--b\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
                f"{json.dumps(line)}\r\n--b--\r\n"
            ).encode()
            head = "content-type: multipart/form-data; boundary=b\r\nauthorization: Bearer old\r\n"
            raw = await gateway.raw(
                f"POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}"
                f"content-length: {len(form)}\r\n\r\n".encode()
                + form,
                until_close=True,
            )
            kept = json.loads(raw.partition(b"\r\n\r\n")[2])["id"]
            assert (await ask(gateway, "GET", f"/v1/files/{kept}", key="old"))[0] == 200
            tries = [("GET", kept), ("GET", f"{kept}/content"), ("DELETE", kept), ("GET", f"{kept}?tenant=acme")]
            for _ in range(50):
                for method, what in tries:
                    status, answer = await ask(gateway, method, f"/v1/files/{what}", key="rival")
                    assert status == 404
                    assert "secret words" not in str(answer)
            _, listed = await ask(gateway, "GET", "/v1/files", key="rival")
            assert listed["data"] == []
            assert (await ask(gateway, "GET", f"/v1/files/{kept}", key="old"))[0] == 200

    asyncio.run(run())
