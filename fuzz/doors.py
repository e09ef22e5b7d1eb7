"""Fuzz the HTTP doors over real sockets: whatever comes is answered in a frame, within two seconds.

    python fuzz/doors.py [seconds] [seed]

Starts a gateway with keys, one without, and a console, and sends each its own requests with values, fields, names,
headers and queries exchanged for what nobody should send. A request is always complete as HTTP or no HTTP at all, so
that no door has a reason to wait. Prints what was answered by status, and exits 1 with the first request that was not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tieline import config, records
from tieline.clock import WallClock
from tieline.console import wire
from tieline.console.app import make_app
from tieline.gateway.serve import GatewayProcess, serve
from tieline.gateway.settings import Clocks, Engine, Key, Model, Settings, Tenant, hash_key
from tieline.store import Store

SECONDS = 30.0
# A door answers anything within this; twice that where this machine is busy with something else.
ANSWER_S = 2.0
GRACE_S = 2.0

# --- what is sent ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """One right request of a door, to be spoilt."""

    method: str
    path: str
    body: Any = None
    headers: tuple[str, ...] = ()


CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "stream": False, "n": 1}
GATEWAY = (
    Case("POST", "/v1/chat/completions", CHAT),
    Case("POST", "/v1/chat/completions", CHAT | {"stream": True, "stream_options": {"include_usage": True}}),
    Case("POST", "/v1/completions", {"model": "m", "prompt": ["a", "b"], "max_tokens": 2, "best_of": 1}),
    Case("POST", "/v1/embeddings", {"model": "m", "input": ["a", [1, 2]]}),
    Case("POST", "/v1/responses", {"model": "m", "input": [{"role": "user", "content": "x"}], "instructions": "y"}),
    Case("POST", "/v1/rerank", {"model": "m", "query": "q", "documents": ["a"]}),
    Case("POST", "/v1/messages", {"model": "m", "max_tokens": 2, "system": "y", "stream": False,
                                  "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}),
    Case("POST", "/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "x"}]}),
    Case("GET", "/v1/responses/resp_a"),
    Case("GET", "/v1/models"),
    Case("GET", "/v1/models/m"),
    Case("GET", "/v1/files?limit=2&after=file-a&order=asc"),
    Case("POST", "/v1/files", {"purpose": "batch"}),
    Case("GET", "/v1/files/file-a/content"),
    Case("GET", "/v1/batches?limit=2"),
    Case("POST", "/v1/batches", {"input_file_id": "file-a", "endpoint": "/v1/completions", "completion_window": "24h"}),
    Case("POST", "/v1/batches/batch_a/cancel"),
    Case("GET", "/healthz"),
    Case("GET", "/metrics"),
    Case("GET", "/openapi.json"),
    Case("GET", "/admin/keys"),
    Case("POST", "/admin/keys", {"tenant": "t", "limits": {"budget_usd": "1.5"}, "expires": "2030-01-01T00:00:00Z",
                                 "networks": ["10.0.0.0/8"], "models": ["m"]}),
    Case("POST", "/admin/keys/user", {"limits": {"concurrent": 1}}),
    Case("POST", "/admin/keys/user/rotate", {"overlap_s": 60}),
    Case("DELETE", "/admin/keys/none"),
    Case("DELETE", "/admin/tenants/none"),
    Case("POST", "/admin/models/m", {"input_usd_per_mtok": "0.1", "aliases": ["a"], "fallbacks": [], "label": "x",
                                     "tariffs": [{"since": "2030-01-01T00:00:00Z", "input_usd_per_mtok": 1,
                                                  "output_usd_per_mtok": 2}], "image": {"size": 3, "most": 5}}),
    Case("POST", "/admin/engines/other", {"url": "http://127.0.0.1:1", "slots": 3, "models": ["m"], "kind": "vllm"}),
    Case("DELETE", "/admin/engines/other"),
    Case("POST", "/admin/reload"),
    Case("GET", "/v1/usage?since=2026-01-01&limit=5&after=a/b/c&format=csv"),
    Case("GET", "/v1/limits"),
    Case("GET", "/v1/prices"),
    Case("POST", "/admin/tenants/t", {"weight": 1.5, "projects": [{"id": "p"}], "max_usd_per_mtok": 2}),
    Case("GET", "/admin/tenants/t/usage?since=2026-01-01&until=2026-02-01&limit=5&after=a/b/c"),
    Case("GET", "/admin/audit?limit=5&before=1~a~1"),
    Case("POST", "/admin/replicas/e", {"state": "ready"}),
)  # fmt: skip
CONSOLE = (
    *(Case("GET", path) for path in (
        "/", "/site/na-tx-01", "/records?stream=Usage", "/records/1", "/static/app.js", "/healthz", "/api/overview",
        "/api/site/na-tx-01", "/api/inference", "/api/records?stream=PriceTick&limit=3&after=1&since=2026-01-01",
        "/api/records/7", "/api/month", "/api/disclosures", "/api/disclosures/table.csv?issuer=MARA", "/api/me",
        "/api/disclosures/figure/x", "/api/people",
    )),
    Case("POST", "/api/login", {"name": "a", "password": "b", "token": "c"}),
    Case("POST", "/api/override", {"site_id": "na-tx-01", "unit_id": None, "target_mw": 1, "minutes": 5, "why": "w"}),
    Case("POST", "/api/override/end", {"override_id": "x", "why": "w", "by": "b"}),
    Case("POST", "/api/order", {"site_id": "na-tx-01", "limit_mw": 1.5, "minutes": 3, "why": "w", "by": "b"}),
    Case("POST", "/api/order/end", {"instruction_id": "x", "why": "w", "by": "b"}),
    Case("POST", "/api/confirm", {"site_id": "na-tx-01", "plan_seq": 3, "by": "b"}),
    Case("POST", "/api/chat", {"messages": [{"role": "user", "content": "x"}]}),
    Case("POST", "/api/join", {"code": "x", "password": "y"}),
    Case("POST", "/api/logout"),
)  # fmt: skip

# Values that types allow and readers may not digest; bytes, so that JSON's own limits are reached too.
VALUES = (
    b"null", b"true", b"0", b"-1", b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"9" * 5_000, b"9" * 19,
    b"0.1e999999999", b'""', b'"NaN"', b'"1e400"', b'"\\u0000"', b'"\\ud800"', b'"\\uffff"', b'"\xff"', b"[]", b"{}",
    b"[[]]", b'{"a":{}}', b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b'"' + b"a" * 70_000 + b'"',
    b'"2026-01-01T00:00:00"', b'"9999-12-31T23:59:59+00:01"', b'"0001-01-01T00:00:00+23:59"', b'"../x"', b'"a/x"',
    b'"%"', b'"\xc2\xa0"', b"[null]", b'[{"role":null}]', b'[{"role":"user","content":[{"type":"image_url"}]}]',
    b"{", b"", b"\x00", b"1 2", b"tru",
)  # fmt: skip
HEADERS = (
    "host: evil.example", "host: [::1", "host:", "host: localhost:99999999", "origin: null", "origin: http://[",
    "origin: https://evil.example", "authorization: Bearer", "authorization: Basic YTpi", "authorization: Bearer \xff",
    "authorization: Bearer " + "a" * 7_000, "cookie: tieline_session=a.1.\xe9", "cookie: tieline_session=a.\xb2.b",
    "cookie: tieline_session=" + "9" * 6_000, "cookie: =;;=", "content-type: multipart/form-data; boundary=",
    "content-type: multipart/form-data; boundary=x", "content-encoding: gzip", "x-tieline-continuity: \xff",
    "idempotency-key: \xff", "traceparent: 00-0-0-0", "x-stainless-timeout: 1e9", "x-stainless-timeout: ..",
    "accept-encoding: gzip", "expect: 100-continue", "expect: x", "connection: upgrade", "upgrade: websocket",
    "sec-websocket-key: a", "x-forwarded-for: 127.0.0.1", "x-tieline: console", "sec-fetch-site: cross-site",
    "range: bytes=0-", "te: trailers", "if-none-match: *", "content-type: application/json; charset=utf-16",
)  # fmt: skip
ENDS = ("%00", "%ff", "%2e%2e", "/", "//", "/..", "%2f", "%", "?a=%ff", "?" + "&" * 50, "?limit=9e9", "?limit=%C2%B2",
        "?since=9999-12-31", "?after=%00", "?since=0001-01-01T00:00:00%2B23:59", "?until=x", "#",
        "?limit=" + "9" * 5_000)  # fmt: skip
NO_HTTP = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n", b"\r\n\r\n\r\nx\r\n\r\n",
    b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"get / http/1.1\r\n\r\n", b"\xff\xfe\r\n\r\n",
    b"GET / HTTP/1.1\r\n: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost\r\n\r\n", b"* * *\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
)  # fmt: skip


def spoilt(case: Case, random_: random.Random, key: str) -> bytes:
    """The case with one to three things exchanged, complete as HTTP."""
    if random_.random() < 0.03:
        return random_.choice(NO_HTTP)
    path, body = case.path, case.body
    text = b"" if body is None else json.dumps(body).encode()
    headers = ["host: localhost", "x-tieline: console"]
    if random_.random() < 0.9:
        headers.append(f"authorization: Bearer {key}")
    method = case.method
    for _ in range(random_.randint(1, 3)):
        turn = random_.random()
        if body is not None and turn < 0.5:
            text = _spoil_body(body, random_)
        elif turn < 0.6:
            text = random_.choice(VALUES)
        elif turn < 0.75:
            path += random_.choice(ENDS)
        elif turn < 0.9:
            new = random_.choice(HEADERS)
            name = new.partition(":")[0]
            headers = [one for one in headers if not one.startswith(name + ":")] + [new]
        else:
            method = random_.choice(("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "X-Y"))
    if not any(one.startswith("host:") for one in headers):
        headers.append("host: localhost")
    chunked = random_.random() < 0.2
    headers.append("transfer-encoding: chunked" if chunked else f"content-length: {len(text)}")
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{one}\r\n" for one in headers) + "\r\n"
    if chunked:
        text = (b"%x\r\n%b\r\n" % (len(text), text) if text else b"") + b"0\r\n\r\n"
    return head.encode("latin-1") + text


def _spoil_body(body: Any, random_: random.Random) -> bytes:
    """One value, at any depth, exchanged; or a field too many, too few, or twice."""
    places: list[tuple[Any, Any]] = []

    def walk(one: Any) -> None:
        for at in one if isinstance(one, dict) else range(len(one)):
            places.append((one, at))
            if isinstance(one[at], dict | list):
                walk(one[at])

    copy = json.loads(json.dumps(body))
    walk(copy)
    if not places:
        return random_.choice(VALUES)
    into, at = random_.choice(places)
    turn = random_.random()
    if turn < 0.1 and isinstance(into, dict):
        del into[at]
    elif turn < 0.2 and isinstance(into, dict):
        into[random_.choice(("id", "x", "", "\x00", "a" * 300))] = into[at]
    else:
        into[at] = "@HERE@"
    return json.dumps(copy).encode().replace(b'"@HERE@"', random_.choice(VALUES))


# --- what must come back -----------------------------------------------------------------------


async def answered(port: int, data: bytes) -> int | str:
    """The status of the framed answer to these bytes, or what is wrong with it."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_S + GRACE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                return await _read(reader, head_only=data.startswith(b"HEAD "))
            finally:
                writer.close()
    except TimeoutError:
        return f"no answer within {time.monotonic() - began:.1f} s"
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        return f"no whole answer: {error!r}"
    except (ValueError, IndexError) as error:
        return f"no frame: {error!r}"


async def _read(reader: asyncio.StreamReader, *, head_only: bool) -> int | str:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ")[1])
        if not head.startswith(b"http/1.1 "):
            return f"no frame: {head[:40]!r}"
        if status != 100:
            break
    if head_only or status in (204, 304):
        return status
    if b"\r\ntransfer-encoding: chunked" in head:
        if b"text/event-stream" in head and b"x-request-id" not in head:
            return status  # the console's events go on for ever
        said = b""
        try:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                said = await reader.readexactly(size + 2)
        except asyncio.IncompleteReadError:
            # A stream that failed says so in its last event, and ends so that nobody takes it for complete.
            if b'data: {"error"' not in said:
                raise
        return status
    length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r")[0])
    body = await reader.readexactly(length)
    page = b"\r\ncontent-type: text/html" in head
    if status == 500 or (status >= 400 and not page and not isinstance(json.loads(body).get("error"), str | dict)):
        return f"{status}: {body[:200]!r}"
    return status


async def fuzz(port: int, cases: Sequence[Case], count: int, seed: int, key: str = "none") -> tuple[Counter[int], str]:
    """(answers by status, the first request that was not answered in a frame; empty: none)."""
    random_ = random.Random(seed)
    found: Counter[int] = Counter()
    for _ in range(count):
        data = spoilt(random_.choice(cases), random_, key)
        status = await answered(port, data)
        if isinstance(status, str):
            return found, f"{status}: {data[:400]!r}"
        found[status] += 1
    return found, ""


# --- the doors -----------------------------------------------------------------------------------

KEYS = (
    Key(id="root", sha256=hash_key("root"), tenant="t", role="admin"),
    Key(id="user", sha256=hash_key("user"), tenant="t"),
)


@asynccontextmanager
async def gateway(folder: Path, *, keys: bool) -> AsyncIterator[int]:
    more: dict[str, Any] = {"tenants": (Tenant(id="t"),), "keys": KEYS} if keys else {}
    engines, clocks = (Engine(url="http://127.0.0.1:1", id="e"),), Clocks(queue_s=1.0)  # a request may wait so long
    settings = Settings(port=0, engines=engines, clocks=clocks, models=(Model(name="m"),), **more)
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    told = serve(
        settings, WallClock(), folder, stop=stop, started=started.set_result, process=GatewayProcess(drain_s=0.1)
    )
    task = asyncio.create_task(told)
    try:
        yield int((await started).split(":")[2].split("/")[0])
    finally:
        stop.set()
        await task


@asynccontextmanager
async def console(folder: Path) -> AsyncIterator[int]:
    folder.mkdir(parents=True, exist_ok=True)
    Store(folder / "store.db", records.encode, records.decode).close()
    store = Store(folder / "store.db", records.encode, records.decode, read_only=True)
    app = make_app(store, config.demo().fleet, WallClock())
    async with on_a_port(app) as port:
        yield port
    store.close()


@asynccontextmanager
async def on_a_port(app: Any) -> AsyncIterator[int]:
    """The console's application behind the web server as the platform runs it."""
    server = uvicorn.Server(uvicorn.Config(app, **wire.settings("127.0.0.1", 0)))
    task = asyncio.create_task(server._serve())  # without its own signals
    while not server.started:
        await asyncio.sleep(0.02)
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await task


async def _main(seconds: float, seed: int) -> int:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    found: dict[str, Counter[int]] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        async with (
            gateway(folder / "a", keys=True) as keyed,
            gateway(folder / "b", keys=False) as open_,
            console(folder / "c") as pages,
        ):
            doors = (("gateway", keyed, GATEWAY), ("gateway without keys", open_, GATEWAY), ("console", pages, CONSOLE))
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                for name, port, cases in doors:
                    answers, wrong = await fuzz(port, cases, 200, seed, "root")
                    found.setdefault(name, Counter()).update(answers)
                    if wrong:
                        print(f"{name}, seed {seed}: {wrong}")
                        return 1
                seed += 1
    for name, answers in found.items():
        told = ", ".join(f"{count} x {status}" for status, count in sorted(answers.items()))
        print(f"{name}: {answers.total()} requests, each answered in a frame: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(
        asyncio.run(
            _main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
        )
    )
